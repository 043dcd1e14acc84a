//! The protocols of the network and their workers, as the manager sees them: which batches are
//! committed, which are in flight, and how far each worker has been fed.

use std::collections::VecDeque;

use boundary::{Inject, Message};
use bytes::Bytes;
use types::{Height, Index, Millis, Term};

use crate::heights::Heights;

/// A worker that dies this often within [`RESTART_WINDOW_MS`] is not started again.
pub const RESTARTS_MAX: u32 = 5;
pub const RESTART_WINDOW_MS: u64 = 60_000;
const RESTART_BACKOFF_MS: u64 = 200;

/// Units held for a term that opens: what clients send within a few round trips.
const HELD_BYTES_MAX: usize = 8 << 20;
const HELD_MAX: usize = 256;

/// One blockchain protocol of the network.
#[derive(Debug)]
pub struct Protocol {
    /// Its place in the constitution; names it in ledger entries.
    pub place: u16,
    pub name: String,
    /// Genesis and rules; their digest is in the constitution.
    pub settings: Bytes,
    pub heights: Heights,
    pub worker: Worker,
    /// Measurement of the image that the worker runs, or ran last.
    pub image: Bytes,
    /// Proposals of this leader that are not committed yet, oldest first.
    pub in_flight: VecDeque<Flying>,
    /// The term in which the worker was told to lead.
    pub leading: Option<Term>,
    /// Units that came between election and the opening of the term.
    pub held: Vec<Inject>,
    restarts: u32,
    restarts_since: Millis,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worker {
    /// Waits until `at`, then is started.
    Absent { at: Millis },
    /// Asked for; the platform has not answered yet.
    ExpectStarted,
    /// Runs, and waits for what only the ledger's first entry can tell (its key).
    ExpectGenesis { worker: u64 },
    /// Was greeted and makes its genesis.
    ExpectReady { worker: u64 },
    /// Gets the committed batches; `next` is the first that it lacks. `request` is a read under way.
    Feeding {
        worker: u64,
        next: Height,
        request: Option<u64>,
    },
    /// Has every committed batch and gets new ones as they commit.
    Live { worker: u64 },
    /// Died too often; only a restart of the VN or another image can help.
    GivenUp,
}

/// A proposal in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flying {
    pub height: Height,
    pub index: Index,
}

impl Protocol {
    pub fn new(place: u16, name: String, settings: Bytes) -> Self {
        Self {
            place,
            name,
            settings,
            heights: Heights::default(),
            worker: Worker::Absent { at: Millis::ZERO },
            image: Bytes::new(),
            in_flight: VecDeque::new(),
            leading: None,
            held: Vec::new(),
            restarts: 0,
            restarts_since: Millis::ZERO,
        }
    }

    /// Height of the last committed batch.
    pub fn committed(&self) -> Height {
        self.heights.last()
    }

    /// Height that the next proposal must have.
    pub fn next(&self) -> Height {
        self.in_flight
            .back()
            .map_or_else(|| self.committed().next(), |flying| flying.height.next())
    }

    /// Where in the ledger a committed batch stands.
    pub fn index_of(&self, height: Height) -> Option<Index> {
        self.heights.index_of(height)
    }

    /// Height of the state after the entry `index`.
    pub fn height_at(&self, index: Index) -> Height {
        self.heights.at(index)
    }

    /// Whether a worker cannot be fed from the first batch on.
    pub fn has_gap(&self) -> bool {
        self.heights.has_gap()
    }

    /// The worker's process, if there is one.
    pub fn running(&self) -> Option<u64> {
        match self.worker {
            Worker::ExpectGenesis { worker }
            | Worker::ExpectReady { worker }
            | Worker::Feeding { worker, .. }
            | Worker::Live { worker } => Some(worker),
            Worker::Absent { .. } | Worker::ExpectStarted | Worker::GivenUp => None,
        }
    }

    pub fn live(&self) -> Option<u64> {
        match self.worker {
            Worker::Live { worker } => Some(worker),
            _ => None,
        }
    }

    /// Keeps units until the worker leads; what is beyond the limit is forwarded again later.
    pub fn hold(&mut self, inject: Inject) {
        let bytes: usize = self.held.iter().map(Message::encoded_len).sum();
        if bytes + inject.encoded_len() <= HELD_BYTES_MAX && self.held.len() < HELD_MAX {
            self.held.push(inject);
        }
    }

    /// It is started again, through no fault of its own.
    pub fn start_again(&mut self, now: Millis) {
        self.leading = None;
        self.worker = Worker::Absent {
            at: now.plus(RESTART_BACKOFF_MS),
        };
    }

    /// The worker ended. Tells whether and when another is started; none after one that was given up.
    pub fn ended(&mut self, now: Millis) {
        self.leading = None;
        if self.worker == Worker::GivenUp {
            return;
        }
        if now.since(self.restarts_since) > RESTART_WINDOW_MS {
            self.restarts_since = now;
            self.restarts = 0;
        }
        self.restarts += 1;
        self.worker = if self.restarts > RESTARTS_MAX {
            Worker::GivenUp
        } else {
            Worker::Absent {
                at: now.plus(RESTART_BACKOFF_MS << self.restarts.min(6)),
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_keeps_dying_is_given_up() {
        let mut protocol = Protocol::new(0, "kv".into(), Bytes::new());
        for _ in 0..RESTARTS_MAX {
            protocol.ended(Millis(1));
            assert!(matches!(protocol.worker, Worker::Absent { .. }));
        }
        protocol.ended(Millis(1));
        assert_eq!(protocol.worker, Worker::GivenUp);
    }
}
