//! Entries that the host reads back. Nothing of them is believed: an entry that opens under the key of
//! its sealer, and has the term that the committed log has at its index, is the committed one.

use boundary::manager_to_host;
use bytes::Bytes;
use consensus::{Engine, LogEntry};
use ledger::{Header, Opened, inspect};
use types::Index;

use crate::Output;
use crate::node::{EXIT_STORAGE, Node, Reading, send_host};

/// Most bytes that one read of the host may bring.
pub const READ_BYTES_MAX: u64 = 4 << 20;

/// What to do when the files are not what they were.
const HEALED: &str = "Look at the disk, then start the node again: it keeps what its files still \
                      prove and fetches the rest from the others";

/// A committed entry from the host's files, checked.
pub struct Read {
    /// As it is stored.
    pub bytes: Bytes,
    pub opened: Opened,
}

impl Node {
    /// Asks the host for entries; gives the number of the request.
    pub fn read(
        &mut self,
        why: Reading,
        first: Index,
        last: Index,
        bytes_max: u64,
        out: &mut Vec<Output>,
    ) -> u64 {
        let request = self.request();
        self.reading.insert(request, why);
        send_host(
            out,
            manager_to_host::Message::ReadEntries(boundary::ReadEntries {
                request,
                first: first.0,
                last: last.0,
                bytes_max,
            }),
        );
        request
    }

    /// The host answered a read.
    pub fn entries_read(&mut self, read: boundary::Entries, out: &mut Vec<Output>) {
        let Some(why) = self.reading.remove(&read.request) else {
            return;
        };
        if let Reading::Restore = why {
            return self.restored(read, out);
        }
        if let Reading::Inspect = why {
            return self.inspected(&read, out);
        }
        if let Reading::Lend { slot, first } = why {
            let given = read.failure.is_empty() && read.first == first.0;
            return self.lend(
                &slot,
                first,
                if given { read.entries } else { Vec::new() },
                out,
            );
        }
        if !read.failure.is_empty() {
            return self.end(
                out,
                EXIT_STORAGE,
                &format!(
                    "the ledger's files cannot be read: {}. {HEALED}",
                    read.failure
                ),
            );
        }
        let waits = read.entries.iter().any(|bytes| {
            Header::peek(bytes)
                .is_some_and(|h| self.order.is_committed(&h) && !self.keyring.holds(h.epoch))
        });
        if waits {
            // Read again when the actors have opened the keys.
            return self.wait_for_keys(why, &read, out);
        }
        let mut entries: Vec<Read> = Vec::with_capacity(read.entries.len());
        for (index, bytes) in (read.first..u64::MAX).map(Index).zip(read.entries) {
            match self.check_read(index, &bytes) {
                Ok(opened) => entries.push(Read { bytes, opened }),
                Err(reason) => {
                    let text = format!(
                        "entry {index} in the ledger's files is not the one that was committed: {reason}. {HEALED}"
                    );
                    return self.end(out, EXIT_STORAGE, &text);
                }
            }
        }
        match why {
            Reading::Restore | Reading::Inspect | Reading::Lend { .. } => {
                unreachable!("handled above")
            }
            Reading::Feed { place } => self.fed(place, entries, out),
            Reading::History {
                worker,
                request,
                index,
                place,
            } => {
                let entry = entries.into_iter().find(|e| e.opened.header.index == index);
                self.tell_history(place, worker, request, entry, out);
            }
            Reading::Receipt { job } => {
                let entries: Vec<(Header, Bytes)> = entries
                    .into_iter()
                    .map(|read| (read.opened.header, read.bytes))
                    .collect();
                self.receipt_read(job, &entries, out);
            }
            Reading::Serve { node, first } => self.entries_served(node, first, entries, out),
            Reading::Load { node } => {
                let entries = entries
                    .into_iter()
                    .map(|read| LogEntry {
                        term: read.opened.header.term,
                        index: read.opened.header.index,
                        // The engine knows them.
                        configuration: None,
                        payload: read.bytes,
                    })
                    .collect();
                self.with_engine(|engine, effects| engine.supply(node, entries, effects));
            }
        }
    }

    /// The entry that the host or another node gave for `index`, if it is the committed one.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_read(&self, index: Index, bytes: &Bytes) -> Result<Opened, String> {
        let entry = inspect(bytes).map_err(|e| e.to_string())?;
        if entry.header.index != index {
            return Err(format!("by its header it is entry {}", entry.header.index));
        }
        if !self.order.is_committed(&entry.header) {
            return Err("it is of another term".into());
        }
        let sealer = self.sealer_key(&entry.header, &entry.public)?;
        self.keyring
            .seals
            .open_entry(entry, &sealer)
            .map_err(|e| e.to_string())
    }
}
