//! A host's disk: ledger entries in at most two runs, snapshot files, and what of it would survive.
//!
//! It holds what the host's files hold and none of their format, which the host crate tests byte by
//! byte. An append survives a crash when it was synced; of those that were not, a prefix may, and the
//! entry at the tear is dropped as incomplete, as every host does at its start.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What the disk was asked to do and cannot: the manager would be at fault.
pub type Misuse = String;

#[derive(Default, Clone)]
pub struct Disk {
    entries: BTreeMap<u64, Bytes>,
    /// Where the upper of two runs begins.
    tail_first: Option<u64>,
    /// Appends that are not synced: sequence and first and last index, oldest first.
    unsynced: Vec<(u64, u64, u64)>,
    snapshots: BTreeMap<u64, Vec<Bytes>>,
    /// Snapshot files that are being written; a crash leaves nothing of them.
    writing: BTreeMap<u64, Vec<Bytes>>,
}

/// The runs of entries that a host finds when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Last of those that follow one another from index 1; 0 if there is none.
    pub ledger_last: u64,
    /// The run apart; zeros if there is none.
    pub tail: (u64, u64),
}

impl Disk {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn count(&self) -> u64 {
        self.entries.len() as u64 // usize is at most 64 bits
    }

    pub fn entries(&self) -> &BTreeMap<u64, Bytes> {
        &self.entries
    }

    pub fn snapshots(&self) -> &BTreeMap<u64, Vec<Bytes>> {
        &self.snapshots
    }

    /// Stores entries, for now without a promise.
    pub fn append(
        &mut self,
        first: u64,
        entries: Vec<Bytes>,
        sequence: u64,
        detached: bool,
    ) -> Result<(), Misuse> {
        let continues = first == 1 || self.entries.contains_key(&(first - 1));
        match (detached, continues) {
            (false, false) => return Err(format!("an append at {first} leaves a gap")),
            (true, false) => {
                let above = self
                    .entries
                    .last_key_value()
                    .is_none_or(|(i, _)| *i < first);
                if self.tail_first.is_some() || !above {
                    return Err(format!("an append at {first} makes a third run"));
                }
                self.tail_first = Some(first);
            }
            (_, true) => {}
        }
        let mut index = first;
        for entry in entries {
            if self.entries.insert(index, entry).is_some() {
                return Err(format!("an append overwrites entry {index}"));
            }
            index += 1;
        }
        if self
            .tail_first
            .is_some_and(|tail| tail == index && first < tail)
        {
            self.tail_first = None;
        }
        self.unsynced.push((sequence, first, index - 1));
        Ok(())
    }

    pub fn truncate(&mut self, from: u64) {
        self.entries.split_off(&from);
        self.tail_first = self.tail_first.filter(|first| *first < from);
        self.unsynced.retain_mut(|(_, first, last)| {
            *last = (*last).min(from - 1);
            *first <= *last
        });
    }

    /// Appends up to this one will survive.
    pub fn synced(&mut self, sequence: u64) {
        self.unsynced.retain(|(unsynced, ..)| *unsynced > sequence);
    }

    /// Entries from `first` on that fit, at least one; none if `first` is not there.
    pub fn read(&self, first: u64, last: u64, bytes_max: u64) -> Vec<Bytes> {
        let mut bytes = 0;
        (first..=last)
            .map_while(|index| {
                let entry = self.entries.get(&index)?;
                bytes += entry.len() as u64; // usize is at most 64 bits
                (index == first || bytes <= bytes_max).then(|| entry.clone())
            })
            .collect()
    }

    /// The next chunk of a snapshot file; sequence 0 begins it anew. Tells whether it fits.
    pub fn store_chunk(&mut self, index: u64, sequence: u64, chunk: Bytes, last: bool) -> bool {
        let file = self.writing.entry(index).or_default();
        if sequence == 0 {
            file.clear();
        }
        if file.len() as u64 != sequence {
            return false;
        }
        file.push(chunk);
        if last {
            let file = self.writing.remove(&index).expect("just written");
            self.snapshots.insert(index, file);
        }
        true
    }

    /// A chunk, and whether it is the file's last.
    pub fn read_chunk(&self, index: u64, sequence: u64) -> Option<(Bytes, bool)> {
        let file = self.snapshots.get(&index)?;
        let place = usize::try_from(sequence).ok()?;
        Some((file.get(place)?.clone(), place + 1 == file.len()))
    }

    pub fn remove_snapshot(&mut self, index: u64) {
        self.snapshots.remove(&index);
        self.writing.remove(&index);
    }

    /// How many entries a loss of power may take.
    pub fn unsynced_entries(&self) -> u64 {
        self.unsynced
            .iter()
            .map(|(_, first, last)| last + 1 - first)
            .sum()
    }

    /// The power fails: of what was not synced, so many entries happen to be on disk.
    pub fn lose_power(&mut self, mut lucky: u64) {
        for (_, first, last) in std::mem::take(&mut self.unsynced) {
            let kept = lucky.min(last + 1 - first);
            lucky -= kept;
            for index in first + kept..=last {
                self.entries.remove(&index);
            }
        }
        self.writing.clear();
        let runs = self.runs();
        // A host keeps two runs: whatever a tear left between them is of no use.
        self.entries
            .retain(|i, _| *i <= runs.ledger_last || *i >= runs.tail.0.max(1) && runs.tail.0 > 0);
        self.tail_first = (runs.tail.0 > 0).then_some(runs.tail.0);
    }

    pub fn runs(&self) -> Runs {
        let ledger_last = (1..)
            .zip(self.entries.keys())
            .take_while(|(expected, index)| expected == *index)
            .last()
            .map_or(0, |(index, _)| index);
        let last = self.entries.last_key_value().map_or(0, |(i, _)| *i);
        if last == ledger_last {
            return Runs {
                ledger_last,
                tail: (0, 0),
            };
        }
        let first = (0..=last)
            .rev()
            .zip(self.entries.keys().rev())
            .take_while(|(expected, index)| expected == *index)
            .last()
            .map_or(last, |(index, _)| index);
        Runs {
            ledger_last,
            tail: (first, last),
        }
    }

    /// Changes a bit of an entry.
    pub fn spoil_entry(&mut self, index: u64, place: Place) {
        if let Some(entry) = self.entries.get_mut(&index) {
            *entry = spoilt(entry, place, Spoilt::Stored);
        }
    }

    /// Entries of two places change them.
    pub fn swap_entries(&mut self, one: u64, other: u64) {
        if let (Some(a), Some(b)) = (
            self.entries.get(&one).cloned(),
            self.entries.get(&other).cloned(),
        ) {
            self.entries.insert(one, b);
            self.entries.insert(other, a);
        }
    }

    /// Changes a bit of a snapshot's chunk.
    pub fn spoil_snapshot(&mut self, index: u64, chunk: usize, place: Place) {
        if let Some(chunk) = self
            .snapshots
            .get_mut(&index)
            .and_then(|file| file.get_mut(chunk))
        {
            *chunk = spoilt(chunk, place, Spoilt::Stored);
        }
    }
}

/// Where a bit changes. Not a byte number, as lengths differ a little from run to run.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// One of the first bytes.
    Head(u8),
    Middle,
    End,
}

/// What lies on a disk and what is read of it change in different bits, or two faults could be none.
#[derive(Debug, Clone, Copy)]
pub enum Spoilt {
    Stored = 0x10,
    Read = 0x04,
}

pub fn spoilt(bytes: &Bytes, place: Place, which: Spoilt) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = match place {
        Place::Head(at) => usize::from(at).min(bytes.len().saturating_sub(1)),
        Place::Middle => bytes.len() / 2,
        Place::End => bytes.len().saturating_sub(1),
    };
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= which as u8;
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize) -> Vec<Bytes> {
        vec![Bytes::from_static(b"entry"); count]
    }

    #[test]
    fn the_runs_of_a_backfilled_ledger_grow_together() {
        let mut disk = Disk::default();
        disk.append(1, entries(3), 1, false).expect("the first");
        disk.append(10, entries(5), 2, true).expect("apart");
        disk.append(15, entries(1), 3, false).expect("of the tail");
        assert_eq!(
            disk.runs(),
            Runs {
                ledger_last: 3,
                tail: (10, 15)
            }
        );
        assert!(disk.append(6, entries(1), 4, false).is_err(), "a gap");
        assert!(disk.append(20, entries(1), 4, true).is_err(), "a third run");
        assert!(disk.append(4, entries(7), 4, false).is_err(), "an overlap");
        let mut disk = Disk::default();
        disk.append(10, entries(5), 1, true).expect("apart");
        disk.append(1, entries(9), 2, false).expect("the gap");
        assert_eq!(
            disk.runs(),
            Runs {
                ledger_last: 14,
                tail: (0, 0)
            }
        );
        disk.synced(1);
        disk.lose_power(4);
        assert_eq!(
            disk.runs(),
            Runs {
                ledger_last: 4,
                tail: (10, 14)
            }
        );
    }

    #[test]
    fn a_loss_of_power_takes_only_what_was_not_synced() {
        let mut disk = Disk::default();
        disk.append(1, entries(3), 1, false).expect("the first");
        disk.append(4, entries(3), 2, false).expect("more");
        disk.synced(1);
        disk.truncate(6);
        assert_eq!(disk.unsynced_entries(), 2);
        disk.lose_power(1);
        assert_eq!(
            disk.runs(),
            Runs {
                ledger_last: 4,
                tail: (0, 0)
            }
        );
    }
}
