//! What a host does for its manager: carries bytes, keeps files, asks the owner's agent.

use boundary::{host_to_manager, manager_to_host};
use types::Millis;

use super::lines::unnamed;
use super::{Event, World};
use crate::disk::{Place, Spoilt, spoilt};

/// Exit codes of a manager that hosts know, docs/operating.md.
const EXIT_STOPPED: u32 = 0;
const EXIT_STORAGE: u32 = 3;
const EXIT_REFUSED: u32 = 4;
const EXIT_AGAIN: u32 = 6;
/// What a manager says of a snapshot of its own that is not the network's: two states differ.
const DIFFERS: &str = "differs from the network's";
/// And of one that the host gave, which it does not believe.
const NOT_USED: &str = "is not used";

impl World {
    /// The host of a node carries out what its manager said.
    pub(super) fn host(&mut self, place: usize, said: Vec<manager_to_host::Message>) {
        use manager_to_host::Message as M;
        let incarnation = self.nodes[place].incarnation;
        for message in said {
            match message {
                M::Send(send) => {
                    if let Some((wire, dialled)) =
                        self.nodes[place].wires.get(&send.connection).copied()
                    {
                        self.transmit(wire, !dialled, send.data);
                    }
                }
                M::Close(close) => {
                    if let Some((wire, dialled)) = self.nodes[place].wires.remove(&close.connection)
                    {
                        self.end_wire(wire, !dialled);
                    }
                }
                M::Dial(dial) => self.dial(place, dial.connection, &dial.address),
                M::Append(append) if self.alive(place, incarnation) => self.append(place, append),
                M::Truncate(truncate) if self.alive(place, incarnation) => {
                    self.truncate(place, truncate.from);
                }
                M::ReadEntries(read) => self.read_entries(place, &read),
                M::StoreSnapshot(store) if self.alive(place, incarnation) => {
                    self.store_snapshot(place, store);
                }
                M::ReadSnapshot(read) => self.read_snapshot(place, &read),
                M::RemoveSnapshot(remove) if self.alive(place, incarnation) => {
                    let node = &mut self.nodes[place];
                    node.disk.remove_snapshot(remove.index);
                    if node.spoilt_snapshots.remove(&remove.index) {
                        self.report.corruptions_detected += 1;
                    }
                }
                M::SignTuple(sign) => self.sign_tuple(place, &sign.payload),
                M::AskShare(ask) => self.give_share(place, &ask),
                M::Log(log) if log.level == 1 && log.target == "worker/kv" => {
                    // Workers complain only of what their manager must never do.
                    self.failed = Some(format!("the worker of node {place}: {}", log.text));
                }
                M::Log(log) if log.target == "snapshots" && log.text.contains(DIFFERS) => {
                    self.failed = Some(format!("node {place}: {}", log.text));
                }
                M::Log(log) => {
                    if log.target == "snapshots" && log.text.contains(NOT_USED) {
                        let spoilt = &mut self.nodes[place].spoilt_snapshots;
                        let before = spoilt.len();
                        spoilt.retain(|index| !log.text.contains(&format!("at {index} ")));
                        let found = before - spoilt.len();
                        self.report.corruptions_detected += found as u64; // usize is at most 64 bits
                    }
                    if log.level <= 4 {
                        let text = unnamed(&log.text);
                        self.line(|| format!("node {place} [{}] {text}", log.target));
                    }
                }
                M::Status(status) => {
                    let gauges = status.gauges.iter().map(|g| (g.name.clone(), g.value));
                    self.nodes[place].gauges = gauges.collect();
                    if !status.network_certificate.is_empty() {
                        self.network = status.network_certificate;
                    }
                }
                M::Exit(exit) => self.exited(place, exit.code, &exit.reason),
                M::Append(_)
                | M::Truncate(_)
                | M::StoreSnapshot(_)
                | M::RemoveSnapshot(_)
                | M::Committed(_)
                | M::Pace(_) => {}
            }
        }
    }

    fn later(&mut self, place: usize, in_ms: u64, message: host_to_manager::Message) {
        let incarnation = self.nodes[place].incarnation;
        self.schedule(
            in_ms,
            Event::ToManager {
                place,
                incarnation,
                message: Box::new(message),
            },
        );
    }

    fn append(&mut self, place: usize, append: boundary::Append) {
        if self.nodes[place].storage_failed {
            return;
        }
        let incarnation = self.nodes[place].incarnation;
        let (first, sequence) = (append.first, append.sequence);
        let mut entries = append.entries;
        let full = self.nodes[place].full && self.may_lose(place);
        if full {
            self.nodes[place].storage_failed = true;
            let room = self.random.below(entries.len() as u64 + 1); // usize is at most 64 bits
            entries.truncate(usize::try_from(room).expect("at most the entries"));
            self.fault(
                "full disk",
                &format!("node {place} at entry {}", first + room),
            );
        }
        let node = &mut self.nodes[place];
        if node.joining {
            node.settle_reuse(&mut self.report);
            self.report.entries_fetched += entries.len() as u64; // usize is at most 64 bits
        }
        if !entries.is_empty()
            && let Err(misuse) = node.disk.append(first, entries, sequence, append.detached)
        {
            self.failed = Some(format!("node {place}: {misuse}"));
            return;
        }
        let wait = self.sync_ends(place).since(self.now);
        if full {
            let reason = "no space left on device".to_owned();
            let failed =
                host_to_manager::Message::StorageFailed(boundary::StorageFailed { reason });
            return self.later(place, wait, failed);
        }
        self.schedule(
            wait,
            Event::Synced {
                place,
                incarnation,
                sequence,
            },
        );
    }

    /// When a sync that begins now ends: in the order in which they were begun.
    fn sync_ends(&mut self, place: usize) -> Millis {
        let wait = self.random.between(0, self.nodes[place].disk_ms);
        let at = self.now.plus(wait).max(self.nodes[place].syncs_until);
        self.nodes[place].syncs_until = at;
        at
    }

    fn truncate(&mut self, place: usize, from: u64) {
        let node = &mut self.nodes[place];
        node.disk.truncate(from);
        let found = node.spoilt_entries.split_off(&from).len() as u64; // usize is at most 64 bits
        self.report.corruptions_detected += found;
        if node.read_spoilt.take_if(|index| *index >= from).is_some() {
            self.report.corruptions_detected += 1;
        }
    }

    fn read_entries(&mut self, place: usize, read: &boundary::ReadEntries) {
        let spoil = std::mem::take(&mut self.nodes[place].spoil_read) && self.may_lose(place);
        let node = &mut self.nodes[place];
        let mut entries = node.disk.read(read.first, read.last, read.bytes_max);
        let failure = match entries.first_mut() {
            None => "no such entries".to_owned(),
            Some(entry) => {
                if spoil {
                    *entry = spoilt(entry, Place::Middle, Spoilt::Read);
                    node.read_spoilt = Some(read.first);
                }
                String::new()
            }
        };
        if spoil && failure.is_empty() {
            self.report.corruptions_tried += 1;
            self.fault(
                "spoilt read",
                &format!("node {place}, entry {}", read.first),
            );
        }
        let entries = boundary::Entries {
            request: read.request,
            first: read.first,
            entries,
            failure,
        };
        self.later(place, 1, host_to_manager::Message::Entries(entries));
    }

    fn store_snapshot(&mut self, place: usize, store: boundary::StoreSnapshot) {
        let (index, sequence) = (store.index, store.sequence);
        let node = &mut self.nodes[place];
        let stored = node
            .disk
            .store_chunk(index, sequence, store.chunk, store.last);
        let failure = if stored {
            String::new()
        } else {
            "a chunk before it is missing".to_owned()
        };
        if store.last && stored {
            self.report.snapshots_taken += 1;
            if node.spoilt_snapshots.remove(&index) {
                self.report.corruptions_detected += 1;
            }
            self.line(|| format!("node {place} has a snapshot of entry {index}"));
        }
        let wait = self.sync_ends(place).since(self.now);
        let stored = boundary::SnapshotStored {
            index,
            sequence,
            failure,
        };
        self.later(
            place,
            wait,
            host_to_manager::Message::SnapshotStored(stored),
        );
    }

    fn read_snapshot(&mut self, place: usize, read: &boundary::ReadSnapshot) {
        let found = self.nodes[place].disk.read_chunk(read.index, read.sequence);
        let failure = if found.is_some() {
            String::new()
        } else {
            "no such chunk".to_owned()
        };
        let (chunk, last) = found.unwrap_or_default();
        if last {
            self.report.snapshots_used += 1;
        }
        let read = boundary::SnapshotRead {
            request: read.request,
            chunk,
            last,
            failure,
        };
        self.later(place, 1, host_to_manager::Message::SnapshotRead(read));
    }

    fn sign_tuple(&mut self, place: usize, payload: &[u8]) {
        let signer = match self.nodes[place].fraud {
            Some(crate::node::Fraud::ForeignTuple) => 0,
            _ => place,
        };
        let key = &self.consortium.members[signer].key;
        let tuple = crypto::sign1(key, crypto::Context::NodeTuple, payload).into();
        let signed = boundary::TupleSigned {
            tuple,
            failure: String::new(),
        };
        self.later(place, 1, host_to_manager::Message::TupleSigned(signed));
    }

    /// The owner's agent, which judges tuple and evidence as the real one does.
    fn give_share(&mut self, place: usize, ask: &boundary::AskShare) {
        let now = self.nodes[place].clock(self.now);
        let entropy = &mut crypto::Entropy::new(&self.random.bytes());
        let member = &self.consortium.members[place];
        let constitution = &self.consortium.constitution;
        let terms = governance::ShareTerms {
            network: &constitution.network_id(),
            constitution: self.consortium.in_force.as_ref().unwrap_or(constitution),
            owner: &member.name,
            address: &crate::network::address(place),
            chain: std::slice::from_ref(&member.certificate),
        };
        let request = governance::ShareRequest {
            tuple: ask.tuple.to_vec(),
            evidence: ask.evidence.to_vec(),
            endorsements: ask.endorsements.to_vec(),
            hpke_public: ask.hpke_public[..].try_into().expect("an enclave made it"),
        };
        let given = match request.answer(&terms, &member.share, now, entropy) {
            Ok(sealed) => boundary::ShareGiven {
                sealed: sealed.into(),
                failure: String::new(),
            },
            Err(refused) => boundary::ShareGiven {
                sealed: bytes::Bytes::new(),
                failure: refused.to_string(),
            },
        };
        self.later(place, 1, host_to_manager::Message::ShareGiven(given));
    }

    /// The manager ended. One that was told to, or whose storage failed it, is started again.
    fn exited(&mut self, place: usize, code: u32, reason: &str) {
        let node = &mut self.nodes[place];
        let expected = match code {
            EXIT_STOPPED => node.stopping,
            EXIT_AGAIN => true,
            EXIT_STORAGE => node.storage_failed || node.read_spoilt.is_some(),
            EXIT_REFUSED => node.removed,
            _ => false,
        };
        if !expected {
            self.failed = Some(format!("node {place} ended: {reason} (code {code})"));
        }
        node.again = code == EXIT_AGAIN;
        if code == EXIT_REFUSED && node.memory.is_none() {
            node.memory = node.process.take();
        }
        if node.read_spoilt.take().is_some() {
            self.report.corruptions_detected += 1;
        }
        self.line(|| format!("node {place} ended with code {code}"));
        // The machine is up: what was written is there, synced or not.
        self.end_process(place, u64::MAX);
    }
}
