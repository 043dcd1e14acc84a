//! Entries that the own files lack before those that a snapshot stood for: power failed before they
//! were fetched. Without them nobody can say what the later ones are worth, so the nodes that are
//! present lend them. The chain of digests says that they are those that this node's own continue.

use boundary::manager_to_host;
use bytes::Bytes;
use governance::NodeSlot;
use types::{Index, Millis};

use super::{Says, Stage};
use crate::Output;
use crate::node::{Node, Phase, Reading, log, send_host};

/// One node is asked for so long.
const PATIENCE_MS: u64 = 1_000;
/// Most that is lent at once.
const LENT_ENTRIES_MAX: u64 = 512;
const LENT_BYTES_MAX: u64 = 1 << 20;

impl Node {
    /// Asks the node that reaches farthest.
    pub(super) fn ask_lent(&mut self, out: &mut Vec<Output>) {
        let asked = self.cold.asked;
        if asked > Millis::ZERO && self.now.since(asked) < PATIENCE_MS {
            return;
        }
        let (Some(copy), Some((apart, _))) = (&self.cold.copy, self.local.apart()) else {
            return;
        };
        let (first, last) = (copy.last.next(), apart.previous());
        let reaches = |slot: &NodeSlot| {
            let present = self.cold.met[slot].present.as_ref()?;
            Some(present.held.reach).filter(|reach| reach.index >= apart)
        };
        let lender = self.cold.met.keys().max_by_key(|slot| reaches(slot));
        let Some(lender) = lender.filter(|slot| reaches(slot).is_some()).cloned() else {
            return;
        };
        self.cold.asked = self.now;
        self.say(&lender, &Says::Want { first, last }, out);
    }

    /// A node that was met lacks entries.
    pub(super) fn lent_wanted(
        &mut self,
        from: &NodeSlot,
        (first, last): (Index, Index),
        out: &mut Vec<Output>,
    ) {
        let whole = matches!(self.phase, Phase::Admitted) || self.cold.stage >= Stage::Meeting;
        let last = last
            .min(self.held().reach.index)
            .min(Index(first.0.saturating_add(LENT_ENTRIES_MAX - 1)));
        if !whole || first == Index::ZERO || first > last || self.lacks(first) {
            return;
        }
        let why = Reading::Lend {
            slot: from.clone(),
            first,
        };
        self.read(why, first, last, LENT_BYTES_MAX, out);
    }

    /// The host gave what is to be lent. Whoever gets it checks it.
    pub fn lend(
        &mut self,
        to: &NodeSlot,
        first: Index,
        entries: Vec<Bytes>,
        out: &mut Vec<Output>,
    ) {
        if !entries.is_empty() {
            let entries = entries
                .into_iter()
                .map(|bytes| bytes.to_vec().into())
                .collect();
            self.say(to, &Says::Lent { first, entries }, out);
        }
    }

    pub(super) fn lent(
        &mut self,
        first: Index,
        entries: Vec<minicbor::bytes::ByteVec>,
        out: &mut Vec<Output>,
    ) {
        let (Some(copy), Some((apart, _))) = (&mut self.cold.copy, self.local.apart()) else {
            return;
        };
        if self.cold.stage != Stage::Filling || copy.last.next() != first {
            return;
        }
        let mut taken = Vec::new();
        for bytes in entries {
            let bytes = Bytes::from(Vec::from(bytes));
            if copy.last.next() >= apart {
                break;
            }
            if let Err(reason) = copy.read(&bytes) {
                let text = format!("a lent entry is not entry {}: {reason}", copy.last.next());
                log(out, 1, "cold", &text);
                break;
            }
            taken.push(bytes);
        }
        if taken.is_empty() {
            return;
        }
        let filled = copy.last.next() >= apart;
        let sequence = self.order.appending_old();
        send_host(
            out,
            manager_to_host::Message::Append(boundary::Append {
                first: first.0,
                entries: taken,
                sequence,
                detached: false,
            }),
        );
        self.cold.asked = Millis::ZERO;
        if filled {
            let text = format!("the files are whole: entries before {apart} were lent");
            log(out, 3, "cold", &text);
            self.cold.stage = Stage::Reading;
            self.inspect_next(out);
        }
    }
}
