//! Reads of the ledger that wait until the actors have opened its keys.
//!
//! What the host gave is not kept, only what was asked for and why: it is read again. So those that
//! wait cost little, whatever the entries weigh, and there are [`READS_WAITING_MAX`] at most; what is
//! asked beyond that is refused.

use boundary::Entries;
use types::Index;

use crate::Output;
use crate::node::{Node, Reading, log};
use crate::reading::READ_BYTES_MAX;

/// More than all workers, nodes and clients of a node have under way at once in ordinary use.
pub const READS_WAITING_MAX: usize = 256;

/// A read that waits.
pub struct Waiting {
    why: Reading,
    first: Index,
    last: Index,
}

impl Node {
    /// Keeps a read whose entries cannot be opened, or refuses it.
    pub fn wait_for_keys(&mut self, why: Reading, read: &Entries, out: &mut Vec<Output>) {
        let first = Index(read.first);
        let count = read.entries.len() as u64; // usize is at most 64 bits
        let last = Index(first.0.saturating_add(count.saturating_sub(1)));
        let waiting = &mut self.releases.waiting;
        match why {
            // One a worker, and one a follower: the newest is what it wants.
            Reading::Feed { place } => {
                waiting.retain(|w| !matches!(w.why, Reading::Feed { place: p } if p == place));
            }
            Reading::Load { node } => {
                waiting.retain(|w| !matches!(w.why, Reading::Load { node: n } if n == node));
            }
            _ if waiting.len() < self.limits.reads => {}
            _ => return self.refuse_read(why, out),
        }
        waiting.push(Waiting { why, first, last });
    }

    fn refuse_read(&mut self, why: Reading, out: &mut Vec<Output>) {
        log(
            out,
            2,
            "keys",
            "a read of the ledger is refused: the session keys are not here, and too many wait for them",
        );
        match why {
            Reading::History {
                place,
                worker,
                request,
                ..
            } => self.tell_history(place, worker, request, None, out),
            Reading::Receipt { job } => self.receipt_refused(job, out),
            // Another node is asked when the time is up.
            Reading::Serve { .. } => {}
            Reading::Feed { .. } | Reading::Load { .. } => unreachable!("these may always wait"),
            Reading::Restore | Reading::Inspect | Reading::Lend { .. } => {
                unreachable!("these are handled before their keys are looked at")
            }
        }
    }

    /// Keys have come.
    pub fn read_again(&mut self, out: &mut Vec<Output>) {
        for Waiting { why, first, last } in std::mem::take(&mut self.releases.waiting) {
            self.read(why, first, last, READ_BYTES_MAX, out);
        }
    }
}
