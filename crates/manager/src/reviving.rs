//! A worker gets the state of the newest own snapshot instead of all batches since the genesis; what
//! was committed since follows from the ledger as always.

use std::collections::BTreeMap;

use boundary::manager_to_worker;
use ledger::snapshot::{Digesting, Part};
use types::{Digest, Height, Index, Millis};

use crate::Output;
use crate::fetching::PieceFor;
use crate::node::{EXIT_STORAGE, Node, log};
use crate::parts::{Piece, Reader};
use crate::snapshots::remove;
use crate::workers::send_worker;

/// Workers that are being given a snapshot, by the place of their protocol.
pub type Revivals = BTreeMap<usize, Reviving>;

/// A worker that is being given a snapshot.
pub struct Reviving {
    worker: u64,
    index: Index,
    height: Height,
    time: Millis,
    digest: Digest,
    next: u64,
    digesting: Option<Digesting>,
    reader: Reader,
    /// The worker's last chunk, kept back until the digest of all is right.
    last: Option<boundary::Restore>,
}

impl Node {
    /// The height at which a protocol's worker would begin from the newest usable snapshot.
    pub fn revivable(&self, place: usize) -> Option<Height> {
        let (index, own) = self.snapshots.usable()?;
        let known = self.snapshots.points.contains_key(&index);
        let height = own.heights.get(place).copied();
        height.filter(|height| known && *height > Height::ZERO)
    }

    /// Gives a worker that was greeted for it the newest usable snapshot.
    pub fn begin_reviving(&mut self, place: usize, worker: u64, out: &mut Vec<Output>) {
        let Some((index, own)) = self.snapshots.usable() else {
            return;
        };
        let epoch = self.snapshots.points.get(&index).copied();
        let digesting =
            epoch.and_then(|epoch| Digesting::new(&self.keyring.seals, epoch, index).ok());
        let reviving = Reviving {
            worker,
            index,
            height: own.heights[place],
            time: own.time,
            digest: own.digest.expect("it is usable"),
            next: 0,
            digesting,
            reader: Reader::new(self.protocols.len()),
            last: None,
        };
        self.revivals.insert(place, reviving);
        self.read_piece(PieceFor::Worker { place, worker }, index, 0, out);
    }

    /// A piece of the file.
    pub fn revive(
        &mut self,
        place: usize,
        worker: u64,
        index: Index,
        sequence: u64,
        opened: Result<(Part, Vec<u8>), String>,
        out: &mut Vec<Output>,
    ) {
        let Some(reviving) = self.revivals.get_mut(&place) else {
            return;
        };
        if (reviving.worker, reviving.index, reviving.next) != (worker, index, sequence) {
            return;
        }
        let taken = opened.and_then(|(part, plain)| {
            let chunks = reviving.take(place, part, &plain)?;
            Ok((part, chunks))
        });
        match taken {
            Err(reason) => self.cannot_revive(place, &reason, out),
            Ok((part, chunks)) => {
                for chunk in chunks {
                    send_worker(
                        out,
                        self.clock,
                        worker,
                        manager_to_worker::Message::Restore(chunk),
                    );
                }
                if part == Part::Inner {
                    let why = PieceFor::Worker { place, worker };
                    self.read_piece(why, index, sequence + 1, out);
                }
            }
        }
    }

    /// The file is not what it was, or the worker does not take it: it begins from what is left. False
    /// if no snapshot was being given.
    pub fn cannot_revive(&mut self, place: usize, reason: &str, out: &mut Vec<Output>) {
        let Some(reviving) = self.revivals.remove(&place) else {
            return;
        };
        let index = reviving.index;
        let epoch = self.snapshots.points.get(&index);
        if epoch.is_some_and(|epoch| !self.keyring.holds(*epoch)) {
            // The file is as good as it was: it is read again when the actors have opened the keys.
            self.workers.remove(&reviving.worker);
            out.push(Output::StopWorker(reviving.worker));
            self.protocols[place].start_again(self.now);
            return;
        }
        log(
            out,
            1,
            "snapshots",
            &format!("a worker cannot begin from the snapshot at {index}: {reason}"),
        );
        self.snapshots.forget(index);
        remove(out, index);
        self.workers.remove(&reviving.worker);
        out.push(Output::StopWorker(reviving.worker));
        let now = self.now;
        self.protocols[place].ended(now);
        if self.revivable(place).is_none() && self.protocols[place].has_gap() {
            self.end(out, EXIT_STORAGE, "neither a snapshot nor all entries are in the host's files: start the node again, it fetches a snapshot from the others");
        }
    }
}

impl Reviving {
    /// What the worker gets of a piece.
    fn take(
        &mut self,
        place: usize,
        part: Part,
        plain: &[u8],
    ) -> Result<Vec<boundary::Restore>, String> {
        self.next += 1;
        let digesting = self.digesting.take().ok_or("its key is not known")?;
        let digesting = digesting.update(plain);
        let mut chunks = Vec::new();
        for piece in self.reader.take(plain).map_err(|e| e.to_string())? {
            let Piece::Worker {
                place: of,
                sequence,
                data,
                last,
            } = piece
            else {
                continue;
            };
            if of != place {
                continue;
            }
            let chunk = boundary::Restore {
                height: self.height.0,
                sequence,
                data,
                last,
                time: self.time.0,
            };
            if last {
                self.last = Some(chunk);
            } else {
                chunks.push(chunk);
            }
        }
        if part == Part::Inner {
            self.digesting = Some(digesting);
            return Ok(chunks);
        }
        if digesting.finish().digest != self.digest || !self.reader.is_complete() {
            return Err("its digest is not the one in the ledger".into());
        }
        chunks.extend(self.last.take());
        Ok(chunks)
    }
}
