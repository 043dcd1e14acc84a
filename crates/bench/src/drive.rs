//! Sending prepared requests over many connections from one thread, and noting when answers come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http1::ClientResponse;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Problem;
use crate::wire::Wire;

/// Without any answer for this long the measurement is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The connection that it must go over.
    pub(crate) lane: usize,
    pub(crate) bytes: Bytes,
    /// First of its transactions among those of the load.
    pub(crate) first: usize,
    pub(crate) transactions: usize,
}

/// When requests go out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// When fewer than this many are unanswered on their connection.
    Closed { in_flight: usize },
    /// One each interval, whatever the answers do. Its time counts from when it was due, also if it
    /// could not be sent then: otherwise a network that stalls would hide its own delay.
    Open { interval: Duration },
}

/// An answered request.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Its place among the requests.
    pub(crate) request: usize,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) response: ClientResponse,
}

struct Lane<'a> {
    wire: &'a mut Wire,
    waiting: VecDeque<usize>,
    flying: VecDeque<(usize, Instant)>,
}

/// Sends all of `requests`, each connection's in their order, and waits for every answer.
pub(crate) fn drive(
    wires: &mut [Wire],
    requests: &[Request],
    pace: Pace,
) -> Result<Vec<Answered>, Problem> {
    let mut lanes: Vec<Lane<'_>> = wires
        .iter_mut()
        .map(|wire| Lane {
            wire,
            waiting: VecDeque::new(),
            flying: VecDeque::new(),
        })
        .collect();
    let mut answers = Vec::with_capacity(requests.len());
    let mut released = 0;
    if let Pace::Closed { .. } = pace {
        for (place, request) in requests.iter().enumerate() {
            lanes[request.lane].waiting.push_back(place);
        }
        released = requests.len();
    }
    let start = Instant::now();
    let mut last_answer = start;
    let mut out = BytesMut::new();
    while answers.len() < requests.len() {
        let mut timeout = PATIENCE;
        if let Pace::Open { interval } = pace {
            let now = Instant::now();
            while released < requests.len() && due(start, interval, released) <= now {
                lanes[requests[released].lane].waiting.push_back(released);
                released += 1;
            }
            if released < requests.len() {
                timeout = due(start, interval, released).saturating_duration_since(now);
            }
        }
        for lane in &mut lanes {
            lane.fill(requests, pace, start, &mut out)?;
        }
        wait(&lanes, timeout)?;
        let before = answers.len();
        for lane in &mut lanes {
            lane.empty(&mut answers)?;
        }
        if answers.len() > before {
            last_answer = Instant::now();
        } else if last_answer.elapsed() > PATIENCE && released > before {
            return Err(Problem::Failed(format!(
                "no answer for {} s; {before} of {} requests were answered",
                PATIENCE.as_secs(),
                requests.len()
            )));
        }
    }
    Ok(answers)
}

fn due(start: Instant, interval: Duration, place: usize) -> Instant {
    // Nanoseconds of a measurement fit into 64 bits; f64 keeps them to a microsecond.
    start + Duration::from_secs_f64(interval.as_secs_f64() * place as f64)
}

impl Lane<'_> {
    /// Sends what the pace allows, in one piece.
    fn fill(
        &mut self,
        requests: &[Request],
        pace: Pace,
        start: Instant,
        out: &mut BytesMut,
    ) -> Result<(), Problem> {
        let room = match pace {
            Pace::Closed { in_flight } => in_flight.saturating_sub(self.flying.len()),
            Pace::Open { .. } => usize::MAX,
        };
        let count = room.min(self.waiting.len());
        if count == 0 {
            return Ok(());
        }
        let now = Instant::now();
        for place in self.waiting.drain(..count) {
            let began = match pace {
                Pace::Closed { .. } => now,
                Pace::Open { interval } => due(start, interval, place),
            };
            self.flying.push_back((place, began));
            if count > 1 {
                out.extend_from_slice(&requests[place].bytes);
            }
        }
        if count == 1 {
            let (place, _) = self.flying.back().expect("pushed above");
            return self.wire.send(&requests[*place].bytes, 1);
        }
        self.wire.send(out, count)?;
        out.clear();
        Ok(())
    }

    /// Takes in the answers that are there.
    fn empty(&mut self, answers: &mut Vec<Answered>) -> Result<(), Problem> {
        if self.flying.is_empty() {
            return Ok(());
        }
        while self.wire.take_in()? {
            let ended = Instant::now();
            while let Some(response) = self.wire.next()? {
                let (request, began) = self
                    .flying
                    .pop_front()
                    .expect("an answer that was not asked for is an error of the wire");
                answers.push(Answered {
                    request,
                    began,
                    ended,
                    response,
                });
            }
        }
        Ok(())
    }
}

fn wait(lanes: &[Lane<'_>], timeout: Duration) -> Result<(), Problem> {
    let mut polled: Vec<PollFd<'_>> = lanes
        .iter()
        .filter(|lane| !lane.flying.is_empty())
        .map(|lane| PollFd::new(lane.wire, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        // At most the patience.
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(Problem::Failed(format!("wait for answers: {errno}"))),
    }
}
