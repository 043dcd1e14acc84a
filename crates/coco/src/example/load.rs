//! The speedometer: real transactions for some seconds, and how long each took until it was durable.
//!
//! Every connection has a fresh account and sends one transaction after the other to one of the nodes; the
//! node answers when a quorum has it on disk. One load at a time, bounded in seconds and connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, TxKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rpc::{Rpc, request};
use super::wallet::Wallet;
use crate::failure::{Code, Failure};

/// Longest load.
const SECONDS_MAX: u64 = 15;

/// Most connections; each is a TLS session of a node.
const CONNECTIONS_MAX: usize = 64;

/// Between two points of the curve.
const POINT: Duration = Duration::from_millis(500);

/// What to send.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    seconds: u64,
    connections: usize,
}

/// One load at a time, and the figures of the last.
pub(crate) struct Load {
    lanes: Vec<Rpc>,
    figures: Arc<Mutex<Figures>>,
}

#[derive(Default)]
struct Figures {
    running: bool,
    seconds: u64,
    connections: usize,
    failed: u64,
    /// Of what was committed, in microseconds; of the present point, and of all.
    recent: Vec<u64>,
    all: Vec<u64>,
    points: Vec<Value>,
    took: Duration,
}

impl Load {
    pub(crate) fn new(lanes: Vec<Rpc>) -> Self {
        Self {
            lanes,
            figures: Arc::default(),
        }
    }

    /// Begins, and returns at once.
    pub(crate) fn start(&self, wanted: Wanted) -> Result<(), Failure> {
        if !(1..=SECONDS_MAX).contains(&wanted.seconds)
            || !(1..=CONNECTIONS_MAX).contains(&wanted.connections)
        {
            return Err(Failure::input(format!(
                "a load has 1 to {SECONDS_MAX} seconds and 1 to {CONNECTIONS_MAX} connections"
            )));
        }
        let mut figures = lock(&self.figures);
        if figures.running {
            return Err(Failure::new(
                Code::Refused,
                "a load is running: wait for its end",
            ));
        }
        *figures = Figures {
            running: true,
            seconds: wanted.seconds,
            connections: wanted.connections,
            ..Figures::default()
        };
        drop(figures);
        tokio::spawn(run(self.lanes.clone(), self.figures.clone(), wanted));
        Ok(())
    }

    /// How it stands.
    pub(crate) fn figures(&self) -> Value {
        let figures = lock(&self.figures);
        let mut all = figures.all.clone();
        all.sort_unstable();
        let seconds = figures.took.as_secs_f64();
        let rate = match seconds > 0.0 {
            true => all.len() as f64 / seconds, // far below 2^53
            false => 0.0,
        };
        json!({
            "running": figures.running,
            "seconds": figures.seconds,
            "connections": figures.connections,
            "committed": all.len(),
            "failed": figures.failed,
            "elapsed_s": seconds,
            "rate_per_s": rate,
            "latency_ms": { "p50": share(&all, 50), "p99": share(&all, 99) },
            "points": figures.points,
        })
    }
}

impl Figures {
    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.recent.push(micros);
        self.all.push(micros);
    }
}

fn lock(figures: &Mutex<Figures>) -> MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(lanes: Vec<Rpc>, figures: Arc<Mutex<Figures>>, wanted: Wanted) {
    let began = Instant::now();
    let until = began + Duration::from_secs(wanted.seconds);
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..wanted.connections {
        let lane = lanes[number % lanes.len()].clone();
        senders.spawn(send(lane, figures.clone(), until));
    }
    let mut last = began;
    loop {
        let ended = tokio::time::timeout(POINT, async {
            while senders.join_next().await.is_some() {}
        });
        let ended = ended.await.is_ok();
        let now = Instant::now();
        let mut figures = lock(&figures);
        let mut recent = std::mem::take(&mut figures.recent);
        recent.sort_unstable();
        let span = now.duration_since(last).as_secs_f64();
        // What a last fraction of a point holds is in the sum, and no rate.
        if span > POINT.as_secs_f64() / 2.0 {
            let point = json!({
                "at_s": now.duration_since(began).as_secs_f64(),
                "rate_per_s": recent.len() as f64 / span, // far below 2^53
                "p50_ms": share(&recent, 50),
                "p99_ms": share(&recent, 99),
            });
            figures.points.push(point);
        }
        figures.took = now.duration_since(began);
        last = now;
        if ended {
            figures.running = false;
            return;
        }
    }
}

/// One connection: a transaction, its answer, the next.
async fn send(lane: Rpc, figures: Arc<Mutex<Figures>>, until: Instant) {
    let Ok(wallet) = Wallet::random() else {
        return;
    };
    let mut nonce = 0;
    while Instant::now() < until {
        let raw = wallet.sign(nonce, TxKind::Call(Address::repeat_byte(0x10)), Vec::new());
        let began = Instant::now();
        let body = request("eth_sendRawTransaction", &json!([raw])).to_string();
        let answer = lane.post(body).await;
        let took = began.elapsed();
        let accepted = answer.is_ok_and(|text| {
            serde_json::from_str::<Value>(&text).is_ok_and(|reply| reply["result"].is_string())
        });
        if accepted {
            nonce += 1;
            lock(&figures).add(took);
        } else {
            lock(&figures).failed += 1;
            // Whoever is told that there is too much slows down.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A percentile of sorted microseconds, in milliseconds.
fn share(sorted: &[u64], percent: usize) -> Option<f64> {
    let place = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
    Some(sorted[place] as f64 / 1000.0) // far below 2^53
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        assert_eq!(share(&[], 50), None);
        assert_eq!(share(&[7_000], 99), Some(7.0));
        let all: Vec<u64> = (1..=100).map(|n| n * 1_000).collect();
        assert_eq!((share(&all, 50), share(&all, 99)), (Some(50.0), Some(99.0)));
    }

    #[tokio::test]
    async fn a_load_without_bounds_is_refused_and_so_is_a_second_one() {
        // Nobody listens there: everything fails, which is counted.
        let lane = Rpc::new("http://127.0.0.1:1".into()).expect("a client");
        let load = Load::new(vec![lane]);
        for (seconds, connections) in [(0, 1), (16, 1), (1, 0), (1, 65)] {
            let wanted = Wanted {
                seconds,
                connections,
            };
            assert!(load.start(wanted).is_err());
        }
        let wanted = Wanted {
            seconds: 1,
            connections: 2,
        };
        load.start(wanted).expect("started");
        assert!(load.start(wanted).is_err());
        while load.figures()["running"] == true {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let figures = load.figures();
        assert_eq!(figures["committed"], 0);
        assert!(figures["failed"].as_u64().is_some_and(|failed| failed > 0));
        load.start(wanted).expect("again");
    }
}
