//! Sending requests over many connections from one thread, and noting when answers come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http1::ClientResponse;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::Problem;
use crate::pace::Pace;
use crate::wire::Wire;

/// Without any answer for this long the measurement is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two questions for receipts that were not all there. Below it a peer would be kept busy by
/// questions alone.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Between two urgent requests on one connection, unless arrivals are further apart: what was refused is not
/// thrown at a busy node at once.
const URGENT_EVERY: Duration = Duration::from_millis(10);

/// After the load has ended what was refused gets less within this time, again and again, or a network is stuck.
const URGENT_PATIENCE: Duration = Duration::from_secs(20);

/// What goes out in one piece stays under what a channel keeps for a reader that is slow; the rest follows when it
/// has gone.
const PIECE_BYTES_MAX: usize = 256 << 10;

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

/// Arrivals that wait for a free connection, and which one is looked at next.
#[derive(Default)]
struct Backlog {
    due: VecDeque<Instant>,
    next: usize,
}

impl Backlog {
    /// Gives free connections one each, beginning behind the one that got the last.
    fn give(&mut self, lanes: &mut [Lane<'_>]) {
        for step in 0..lanes.len() {
            if self.due.is_empty() {
                return;
            }
            let place = (self.next + step) % lanes.len();
            if lanes[place].is_done() {
                lanes[place].due.extend(self.due.pop_front());
                self.next = place + 1;
            }
        }
    }
}

/// What is sent, and what becomes of the answers.
pub(crate) trait Work {
    /// The next request of a connection. `None`: there is no more, or not now for a while.
    fn next(&mut self, lane: usize) -> Result<Option<Request>, Problem>;

    /// Takes an answer.
    fn answered(&mut self, answered: Answered) -> Result<(), Problem>;

    /// Whether something must go out on a connection although its pace has nothing more: what was refused
    /// and others wait for.
    fn is_urgent(&self, _lane: usize) -> bool {
        false
    }

    /// A request of nothing but what is urgent.
    fn next_urgent(&mut self, _lane: usize) -> Result<Option<Request>, Problem> {
        Ok(None)
    }

    /// How many transactions were begun and have not got in.
    fn left(&self) -> usize {
        0
    }

    /// The load has ended, and this many of its arrivals found no connection free. True: they are given up.
    fn gives_up(&mut self, _arrivals: usize) -> bool {
        false
    }

    /// What stands in the way of what is urgent, for a person.
    fn obstacle(&self) -> String {
        String::new()
    }

    /// A question for the receipts of this request, if it is finished only when they are there.
    fn receipts(&self, _request: &Request) -> Option<Bytes> {
        None
    }
}

/// An answered request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) request: Request,
    /// When it was sent, or due.
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) response: ClientResponse,
}

/// Requests in a list, whose answers are collected.
pub(crate) struct Listed<'a> {
    lanes: Vec<VecDeque<Request>>,
    answers: Vec<Answered>,
    receipts: Option<&'a dyn Fn(&Request) -> Bytes>,
}

impl<'a> Listed<'a> {
    pub(crate) fn new(
        requests: &[Request],
        lanes: usize,
        receipts: Option<&'a dyn Fn(&Request) -> Bytes>,
    ) -> Self {
        let mut listed = vec![VecDeque::new(); lanes];
        for request in requests {
            listed[request.lane].push_back(request.clone());
        }
        Self {
            lanes: listed,
            answers: Vec::with_capacity(requests.len()),
            receipts,
        }
    }

    pub(crate) fn into_answers(self) -> Vec<Answered> {
        self.answers
    }
}

impl Work for Listed<'_> {
    fn next(&mut self, lane: usize) -> Result<Option<Request>, Problem> {
        Ok(self.lanes[lane].pop_front())
    }

    fn answered(&mut self, answered: Answered) -> Result<(), Problem> {
        self.answers.push(answered);
        Ok(())
    }

    fn receipts(&self, request: &Request) -> Option<Bytes> {
        self.receipts.map(|question| question(request))
    }
}

struct Lane<'a> {
    number: usize,
    wire: &'a mut Wire,
    /// When each arrival that was not sent yet was due (open loop).
    due: VecDeque<Instant>,
    flying: VecDeque<Flying>,
    /// Questions for receipts to repeat, and when.
    later: VecDeque<(Instant, Flying)>,
    /// There is nothing more to send (closed loop).
    dry: bool,
    /// When something urgent may go out next.
    urgent_at: Instant,
    /// Something came in.
    readable: bool,
    /// It is watched for room to send, too.
    watched: bool,
}

/// An unanswered request, or the question for its receipts.
struct Flying {
    request: Request,
    began: Instant,
    /// The answer to the request, once it is there.
    accepted: Option<ClientResponse>,
}

/// Sends the work at this pace, each connection's in its order, and waits for every answer.
pub(crate) fn drive(wires: &mut [Wire], pace: Pace, work: &mut dyn Work) -> Result<(), Problem> {
    let mut lanes: Vec<Lane<'_>> = wires.iter_mut().enumerate().map(Lane::new).collect();
    let start = Instant::now();
    let mut arrived = 0;
    let mut answers = 0u64;
    let mut last_answer = start;
    let mut ended = false;
    let mut least_left = (usize::MAX, start);
    let urgent_every = pace.arrivals().map_or(URGENT_EVERY, |(interval, _)| {
        URGENT_EVERY.max(interval * lanes.len() as u32) // connections: at most some thousand
    });
    let mut backlog = Backlog::default();
    let events = watch(&lanes)?;
    let mut out = BytesMut::new();
    loop {
        let mut timeout = PATIENCE;
        let now = Instant::now();
        if let Some((interval, arrivals)) = pace.arrivals() {
            while arrived < arrivals && due(start, interval, arrived) <= now {
                let when = due(start, interval, arrived);
                match pace {
                    Pace::Clients { .. } => backlog.due.push_back(when),
                    _ => {
                        let place = arrived % lanes.len();
                        lanes[place].due.push_back(when);
                    }
                }
                arrived += 1;
            }
            if arrived < arrivals {
                timeout = due(start, interval, arrived).saturating_duration_since(now);
            }
        }
        if let Pace::Shared { in_flight } = pace
            && !lanes.iter().any(|lane| lane.dry)
        {
            let busy = lanes.iter().filter(|lane| !lane.is_done()).count();
            let wanted = in_flight.saturating_sub(busy);
            backlog.due.resize(wanted, now);
        }
        backlog.give(&mut lanes);
        for lane in &mut lanes {
            lane.ask_again(now, &*work)?;
            lane.fill(pace, urgent_every, work, &mut out)?;
            if let Some((at, _)) = lane.later.front() {
                timeout = timeout.min(at.saturating_duration_since(now));
            }
            if work.is_urgent(lane.number) {
                let wait = lane.urgent_at.saturating_duration_since(now);
                timeout = timeout.min(wait.max(Duration::from_millis(1)));
            }
        }
        if let Pace::Clients { arrivals, .. } = pace
            && arrived == arrivals
            && !ended
        {
            ended = true;
            if work.gives_up(backlog.due.len()) {
                backlog.due.clear();
            }
        }
        let over = pace
            .arrivals()
            .is_none_or(|(_, arrivals)| arrived == arrivals)
            && (backlog.due.is_empty() || matches!(pace, Pace::Shared { .. }));
        let urgent = |lane: &Lane<'_>| work.is_urgent(lane.number);
        if over && lanes.iter().all(|lane| lane.is_done() && !urgent(lane)) {
            return Ok(());
        }
        if !over || !lanes.iter().any(urgent) {
            least_left = (usize::MAX, now);
        } else if work.left() < least_left.0 {
            least_left = (work.left(), now);
        } else if least_left.1.elapsed() > URGENT_PATIENCE {
            return Err(Problem::Failed(format!(
                "of what was refused under load nothing has got in for {} s: {}",
                URGENT_PATIENCE.as_secs(),
                work.obstacle()
            )));
        }
        wait(&events, &mut lanes, timeout)?;
        let mut some = 0;
        for lane in &mut lanes {
            some += lane.empty(work)?;
        }
        if some > 0 || lanes.iter().all(Lane::is_done) {
            last_answer = Instant::now();
            answers += some;
        } else if last_answer.elapsed() > PATIENCE {
            return Err(Problem::Failed(format!(
                "no answer for {} s, after {answers} answers",
                PATIENCE.as_secs(),
            )));
        }
    }
}

fn due(start: Instant, interval: Duration, place: usize) -> Instant {
    // f64 keeps the nanoseconds of an hour to less than one.
    start + Duration::from_secs_f64(interval.as_secs_f64() * place as f64)
}

impl<'a> Lane<'a> {
    fn new((number, wire): (usize, &'a mut Wire)) -> Self {
        Self {
            number,
            wire,
            due: VecDeque::new(),
            flying: VecDeque::new(),
            later: VecDeque::new(),
            dry: false,
            urgent_at: Instant::now(),
            readable: false,
            watched: false,
        }
    }

    /// Whether nothing of what was begun is left.
    fn is_done(&self) -> bool {
        self.flying.is_empty() && self.later.is_empty() && self.due.is_empty()
    }

    /// Sends what the pace allows, in one piece. What the other side does not read waits here.
    fn fill(
        &mut self,
        pace: Pace,
        urgent_every: Duration,
        work: &mut dyn Work,
        out: &mut BytesMut,
    ) -> Result<(), Problem> {
        if self.wire.is_behind() {
            self.wire.catch_up()?;
            if self.wire.is_behind() {
                return Ok(());
            }
        }
        let now = Instant::now();
        let mut count = 0;
        let mut single = Bytes::new();
        while single.len().max(out.len()) < PIECE_BYTES_MAX {
            let allowed = match pace {
                Pace::Closed { in_flight } => {
                    let unanswered = self.flying.len() + self.later.len();
                    (!self.dry && unanswered < in_flight).then_some(now)
                }
                _ => self.due.front().copied(),
            };
            let mut urgent = false;
            let began = match allowed {
                Some(began) => began,
                None if count == 0 && work.is_urgent(self.number) && now >= self.urgent_at => {
                    self.urgent_at = now + urgent_every;
                    urgent = true;
                    now
                }
                None => break,
            };
            let request = if urgent {
                work.next_urgent(self.number)?
            } else {
                work.next(self.number)?
            };
            let Some(request) = request else {
                self.dry = true;
                if let Pace::Shared { .. } = pace {
                    self.due.clear();
                }
                if !self.due.is_empty() {
                    return Err(Problem::Failed(
                        "the prepared transactions ran out: ask for more with --transactions"
                            .into(),
                    ));
                }
                break;
            };
            self.due.pop_front();
            count += 1;
            if count == 1 {
                single = request.bytes.clone();
            } else {
                if count == 2 {
                    out.extend_from_slice(&single);
                }
                out.extend_from_slice(&request.bytes);
            }
            self.flying.push_back(Flying {
                request,
                began,
                accepted: None,
            });
        }
        match count {
            0 => Ok(()),
            1 => self.wire.send(&single, 1),
            _ => {
                let sent = self.wire.send(out, count);
                out.clear();
                sent
            }
        }
    }

    /// Takes in the answers that are there, and says how many.
    fn empty(&mut self, work: &mut dyn Work) -> Result<u64, Problem> {
        let mut some = 0;
        if !core::mem::take(&mut self.readable) {
            return Ok(some);
        }
        while self.wire.take_in()? {
            let ended = Instant::now();
            while let Some(response) = self.wire.next()? {
                let flying = self
                    .flying
                    .pop_front()
                    .expect("an answer that was not asked for is an error of the wire");
                some += 1;
                self.take(flying, ended, response, work)?;
            }
        }
        Ok(some)
    }

    fn take(
        &mut self,
        flying: Flying,
        ended: Instant,
        response: ClientResponse,
        work: &mut dyn Work,
    ) -> Result<(), Problem> {
        let Flying {
            request,
            began,
            accepted,
        } = flying;
        let response = match accepted {
            None => match work.receipts(&request) {
                Some(question) if !contains(&response.body, b"\"error\"") => {
                    let accepted = Some(response);
                    return self.ask(question, request, began, accepted);
                }
                _ => response,
            },
            Some(accepted) if is_whole(&response) => accepted,
            Some(accepted) => {
                let flying = Flying {
                    request,
                    began,
                    accepted: Some(accepted),
                };
                self.later.push_back((ended + ASK_AGAIN, flying));
                return Ok(());
            }
        };
        work.answered(Answered {
            request,
            began,
            ended,
            response,
        })
    }

    fn ask(
        &mut self,
        question: Bytes,
        request: Request,
        began: Instant,
        accepted: Option<ClientResponse>,
    ) -> Result<(), Problem> {
        self.flying.push_back(Flying {
            request,
            began,
            accepted,
        });
        self.wire.send(&question, 1)
    }

    fn ask_again(&mut self, now: Instant, work: &dyn Work) -> Result<(), Problem> {
        while self.later.front().is_some_and(|(at, _)| *at <= now) {
            let (_, flying) = self.later.pop_front().expect("looked at");
            let question = work
                .receipts(&flying.request)
                .expect("there was a question before");
            self.ask(question, flying.request, flying.began, flying.accepted)?;
        }
        Ok(())
    }
}

/// Whether every receipt that was asked for is there.
fn is_whole(response: &ClientResponse) -> bool {
    !contains(&response.body, b"\"result\":null")
}

pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn failed(errno: rustix::io::Errno) -> Problem {
    Problem::Failed(format!("wait for answers: {errno}"))
}

/// Watches every connection for answers. A list to look through at each turn would cost more than the answers.
fn watch(lanes: &[Lane<'_>]) -> Result<OwnedFd, Problem> {
    let events = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
    for lane in lanes {
        let place = epoll::EventData::new_u64(lane.number as u64); // as wide
        epoll::add(&events, &*lane.wire, place, epoll::EventFlags::IN).map_err(failed)?;
    }
    Ok(events)
}

/// Waits until something came in, or may go out that had to wait.
fn wait(events: &OwnedFd, lanes: &mut [Lane<'_>], timeout: Duration) -> Result<(), Problem> {
    for lane in lanes.iter_mut() {
        let behind = lane.wire.is_behind();
        if behind != lane.watched {
            lane.watched = behind;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, behind);
            let place = epoll::EventData::new_u64(lane.number as u64); // as wide
            epoll::modify(events, &*lane.wire, place, flags).map_err(failed)?;
        }
    }
    let timeout = Timespec {
        // At most the patience.
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut list = Vec::with_capacity(lanes.len());
    let space = rustix::buffer::spare_capacity(&mut list);
    match epoll::wait(events, space, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(failed(errno)),
    }
    for event in list {
        // An end of the connection is found by reading.
        lanes[event.data.u64() as usize].readable = true; // from the number above
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Door, Way};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// A server that answers each request of one connection after `answer` made its body.
    fn serve(mut answer: impl FnMut(usize) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut server = http1::Server::new(http1::Options::application());
            let mut bytes = [0; 4096];
            let mut count = 0;
            loop {
                let read = stream.read(&mut bytes).unwrap_or(0);
                if read == 0 {
                    return;
                }
                server.receive(&bytes[..read]);
                while let Ok(Some(received)) = server.next() {
                    if !matches!(received, http1::Received::Request(_)) {
                        continue;
                    }
                    let body = answer(count);
                    count += 1;
                    let length = body.len();
                    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                    if stream.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
            }
        });
        address
    }

    fn wire(address: String) -> Wire {
        let door = Door::Plain;
        Wire::open(&Way { door, address }).expect("connected")
    }

    fn requests(count: usize) -> Vec<Request> {
        let request = |first| Request {
            lane: 0,
            bytes: crate::load::http("POST", "/", "application/json", b"{}"),
            first,
            transactions: 1,
        };
        (0..count).map(request).collect()
    }

    #[test]
    fn in_an_open_loop_a_stall_is_in_the_times_of_all_that_were_due_in_it() {
        // The third answer waits for longer than all requests need to fall due.
        let start = Instant::now();
        let (tell, released) = std::sync::mpsc::channel();
        let address = serve(move |count| {
            if count == 2 {
                while start.elapsed() < Duration::from_millis(150) {
                    std::thread::yield_now();
                }
                tell.send(Instant::now()).expect("the test waits for it");
            }
            "{}".into()
        });
        let mut wires = [wire(address)];
        let mut work = Listed::new(&requests(20), 1, None);
        let pace = Pace::Open {
            interval: Duration::from_millis(3),
            arrivals: 20,
        };
        drive(&mut wires, pace, &mut work).expect("answered");
        let answers = work.into_answers();
        assert_eq!(answers.len(), 20);
        for (place, pair) in answers.windows(2).enumerate() {
            let gap = pair[1].began - pair[0].began;
            let near = Duration::from_micros(2_999)..=Duration::from_micros(3_001);
            assert!(near.contains(&gap), "{gap:?} after {place}");
        }
        let released = released.recv().expect("told");
        assert!(answers[2..].iter().all(|answer| answer.ended >= released));
    }

    #[test]
    fn with_receipts_a_request_ends_when_the_last_one_is_there() {
        let address = serve(|count| match count {
            0 => r#"{"result":"0x01"}"#.into(),
            1 | 2 => r#"[{"result":{}},{"result":null}]"#.into(),
            _ => r#"[{"result":{}},{"result":{}}]"#.into(),
        });
        let mut wires = [wire(address)];
        let question = |_: &Request| crate::load::http("POST", "/", "application/json", b"[]");
        let mut work = Listed::new(&requests(1), 1, Some(&question));
        drive(&mut wires, Pace::Closed { in_flight: 1 }, &mut work).expect("answered");
        let answers = work.into_answers();
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].response.body.as_ref(), br#"{"result":"0x01"}"#);
        assert!(answers[0].ended - answers[0].began >= 2 * ASK_AGAIN);
    }
}
