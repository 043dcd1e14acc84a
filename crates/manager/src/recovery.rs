//! Restart: what the files of a former incarnation are still worth.
//!
//! Source: DESIGN section 6. The node is admitted as a new one and was told, over the attested
//! channel, how far the network is ([`Standing`]): the last committed entry and the terms of all.
//! Then it reads its own files from the first entry on. An entry counts if it continues the chain,
//! opens under its sealer's key, has the committed log's term at its index and, if it signs a root,
//! signs the root of what was read. Such an entry is the committed one: a term has one leader, and a
//! sealer makes one entry for a place. At the first that does not count, the rest is dropped, with
//! place and reason, and fetched from the other nodes as if it had never been there.
//!
//! So a host that damages files, serves an older copy of them or another network's gains nothing:
//! the node fetches more. An uncommitted tail that a later leader replaced has other terms.

use boundary::{Entries, manager_to_host};
use bytes::Bytes;
use consensus::{Runs, Start};
use types::{Index, Millis};

use crate::Output;
use crate::node::{Node, Phase, Reading, log, send_host};
use crate::reading::READ_BYTES_MAX;
use crate::wire::Standing;

/// What the host says it has.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// The last of the entries that follow one another from index 1.
    pub last: Index,
}

/// A restoration under way.
pub struct Restoring {
    committed: Index,
    runs: Runs,
    since: Millis,
}

/// What a start cost; gauges of the node's status.
#[derive(Debug, Default)]
pub struct Figures {
    pub began: Millis,
    /// Entries of the own files that counted.
    pub restored_entries: u64,
    pub restore_ms: u64,
    /// What came from others until this node was a voter.
    pub fetched_entries: u64,
    pub fetched_bytes: u64,
    /// From the start until this node was a voter; 0 until then.
    pub voter_ms: u64,
}

impl Figures {
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("restored_entries", self.restored_entries),
            ("restore_ms", self.restore_ms),
            ("fetched_entries", self.fetched_entries),
            ("fetched_bytes", self.fetched_bytes),
            ("voter_ms", self.voter_ms),
        ]
        .into_iter()
    }
}

impl Node {
    /// Admitted: what of the host's files can be used?
    ///
    /// # Errors
    /// The standing is none; the node that gave it is of no use.
    pub fn restore(&mut self, standing: Standing, out: &mut Vec<Output>) -> Result<(), String> {
        let runs = Runs::new(standing.runs).ok_or("the terms that it tells are no log's")?;
        self.phase = Phase::Restoring;
        self.restoring = Some(Restoring {
            committed: standing.committed,
            runs,
            since: self.now,
        });
        self.restore_next(out);
        Ok(())
    }

    fn restore_next(&mut self, out: &mut Vec<Output>) {
        let Some(restoring) = &self.restoring else {
            return;
        };
        let next = self.order.committed.next();
        let last = self.local.last.min(restoring.committed);
        if next > last {
            return self.restored_all(None, out);
        }
        self.read(Reading::Restore, next, last, READ_BYTES_MAX, out);
    }

    /// The host gave entries of the files: takes those that count.
    pub fn restored(&mut self, read: Entries, out: &mut Vec<Output>) {
        let expected = self.order.committed.next();
        if !read.failure.is_empty() {
            let reason = format!("it cannot be read: {}", read.failure);
            return self.restored_all(Some(reason), out);
        }
        if read.first != expected.0 || read.entries.is_empty() {
            return self.restored_all(Some("the host does not give it".into()), out);
        }
        for bytes in &read.entries {
            if let Err(reason) = self.restore_entry(bytes, out) {
                return self.restored_all(Some(reason), out);
            }
            if matches!(self.phase, Phase::Ended) {
                return;
            }
        }
        self.restore_next(out);
    }

    fn restore_entry(&mut self, bytes: &Bytes, out: &mut Vec<Output>) -> Result<(), String> {
        let next = self.open_next(bytes)?;
        let restoring = self.restoring.as_ref().ok_or("nothing is restored")?;
        let header = next.header();
        if header.index > restoring.committed || restoring.runs.term_at(header.index) != header.term
        {
            return Err("it is not of the committed order".into());
        }
        let next = self.enter(next);
        if let Some(command) = &next.command {
            self.govern(&next.opened.header, command, out);
        }
        self.figures.restored_entries += 1;
        Ok(())
    }

    /// The files end, or the next entry of them does not count: from here on the network tells.
    fn restored_all(&mut self, reason: Option<String>, out: &mut Vec<Output>) {
        let Some(restoring) = self.restoring.take() else {
            return;
        };
        let base = self.order.committed;
        self.figures.restore_ms = self.now.since(restoring.since);
        if let Some(reason) = reason {
            let next = base.next();
            log(
                out,
                1,
                "ledger",
                &format!(
                    "entry {next} in the ledger's files is not used: {reason}; it and all after it are fetched from the other nodes"
                ),
            );
        }
        if self.local.last > base {
            send_host(
                out,
                manager_to_host::Message::Truncate(boundary::Truncate {
                    from: base.next().0,
                }),
            );
        }
        let configurations = self
            .configurations
            .iter()
            .map(|(index, configuration)| (*index, configuration.clone()))
            .collect();
        let start = Start::at(base, self.order.runs.clone(), configurations);
        self.begin(consensus::Configuration::default(), start);
        self.phase = Phase::Admitted;
        self.leader_heard = self.now;
        if base > Index::ZERO {
            send_host(
                out,
                manager_to_host::Message::Committed(boundary::Committed { upto: base.0 }),
            );
            self.ask_certificate(out);
        }
        log(
            out,
            3,
            "ledger",
            &format!(
                "{} entries of the ledger's files are used; the network is at entry {}",
                self.figures.restored_entries, restoring.committed
            ),
        );
        self.report(out);
    }
}
