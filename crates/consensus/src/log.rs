//! The log as the engine knows it: terms and configurations of all entries, the entries themselves
//! only while someone needs them.
//!
//! Terms are kept as runs, so that any index can be compared with a peer's without a disk read. It is
//! not the ledger; the driver stores that.

use std::collections::VecDeque;

use types::{Index, Term};

use crate::{Configuration, LogEntry, Runs};

/// Entries that are applied stay in memory for followers up to this many.
const WINDOW_ENTRIES_MAX: usize = 4096;
/// And up to this many bytes: a follower that lost 16 MiB of batches is sent them from disk.
const WINDOW_BYTES_MAX: usize = 16 << 20;

/// What a node knows when it starts: nothing by default, or the entries that its driver has on disk.
#[derive(Debug, Default)]
pub struct Start {
    log: Log,
}

impl Start {
    /// A log whose entries up to `last` are committed, applied and with the driver, on disk or to come
    /// from a snapshot; none is held in memory. `configurations` has every one that an entry up to
    /// there brought.
    ///
    /// # Panics
    /// If the parts are not of one log: the driver has verified its ledger before.
    pub fn at(last: Index, runs: Runs, configurations: Vec<(Index, Configuration)>) -> Self {
        let within = |index: Option<&(Index, Configuration)>| {
            index.is_none_or(|(index, _)| *index > Index::ZERO && *index <= last)
        };
        assert!(
            within(configurations.first()) && within(configurations.last()),
            "configurations belong to entries of the log"
        );
        assert!(
            configurations.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "configurations come in order"
        );
        assert!(
            (last == Index::ZERO) == (runs.last() == Term::ZERO),
            "a log with entries has terms"
        );
        let log = Log {
            runs,
            last,
            configurations,
            committed: last,
            persisted: last,
            applied: last,
            ..Log::default()
        };
        Self { log }
    }

    /// The same for the node with which a network goes on that lost its quorum: this configuration is
    /// in force although no entry brought it yet; the one that opens the term will.
    #[must_use]
    pub fn restarting(mut self, configuration: Configuration) -> Self {
        self.log.restarting = Some((self.log.last, configuration));
        self
    }

    /// The next entry on disk, with its configuration filled in.
    ///
    /// # Panics
    /// If it is not the next one: the driver has verified its ledger before.
    pub fn push(&mut self, entry: LogEntry) {
        self.log.append(entry);
        self.log.persisted = self.log.last;
    }

    /// Entries up to here are known to be committed and are applied already; they will not come
    /// in an [`crate::Effect::Commit`]. All others of those pushed stay in memory until then.
    pub fn committed(&mut self, upto: Index) {
        assert!(
            upto <= self.log.last,
            "only what was pushed can be committed"
        );
        self.log.committed = self.log.committed.max(upto);
        self.log.applied(upto);
    }

    pub(crate) fn into_log(mut self, base: Configuration) -> Log {
        self.log.configurations.insert(0, (Index::ZERO, base));
        self.log
    }
}

/// See the top of this file.
#[derive(Debug, Default)]
pub(crate) struct Log {
    runs: Runs,
    last: Index,
    /// The newest entries, without gaps up to `last`.
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Every configuration with the index of its entry; the first is what the node started with.
    configurations: Vec<(Index, Configuration)>,
    pub(crate) committed: Index,
    pub(crate) persisted: Index,
    applied: Index,
    /// In force while this is the last entry, see [`Start::restarting`]. No entry carries it.
    restarting: Option<(Index, Configuration)>,
    /// [`WINDOW_ENTRIES_MAX`] unless a test makes it small.
    window_entries_max: Option<usize>,
}

impl Log {
    #[cfg(feature = "mutations")]
    pub(crate) fn keep_at_most(&mut self, entries_max: usize) {
        self.window_entries_max = Some(entries_max);
    }

    pub(crate) fn last(&self) -> (Term, Index) {
        (self.runs.last(), self.last)
    }

    /// The term of an entry, also of one no longer in memory; of index 0 it is 0.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        (index <= self.last).then(|| self.runs.term_at(index))
    }

    /// The highest index at or below `index` whose term is at most `term`: where two logs may
    /// still agree (thesis 5.3, the accelerated back-up).
    pub(crate) fn agreement(&self, index: Index, term: Term) -> Index {
        let index = index.min(self.last);
        self.runs
            .first_above(term)
            .map_or(index, |first| index.min(first.previous()))
    }

    pub(crate) fn append(&mut self, entry: LogEntry) {
        assert_eq!(
            entry.index,
            self.last.next(),
            "entries are appended in order"
        );
        self.runs.push(entry.index, entry.term);
        if let Some(configuration) = &entry.configuration {
            self.configurations
                .push((entry.index, configuration.clone()));
        }
        self.last = entry.index;
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
    }

    /// Removes `from` and all after it.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(from > self.committed, "what is committed is never removed");
        while self.entries.back().is_some_and(|entry| entry.index >= from) {
            self.bytes -= self
                .entries
                .pop_back()
                .map_or(0, |entry| entry.payload.len());
        }
        self.last = self.last.min(from.previous());
        self.persisted = self.persisted.min(self.last);
        self.runs.truncate(from);
        self.configurations.retain(|(index, _)| *index < from);
    }

    /// The lowest index in memory, `last + 1` if none is.
    pub(crate) fn first_in_memory(&self) -> Index {
        Index(self.last.0 + 1 - self.entries.len() as u64)
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&LogEntry> {
        let offset = index.0.checked_sub(self.first_in_memory().0)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Entries from `first` on that fit into a message of so many entries and bytes, at least one.
    /// Empty if `first` is not in memory.
    pub(crate) fn batch(&self, first: Index, count_max: usize, bytes_max: usize) -> Vec<&LogEntry> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut index = first;
        while let Some(entry) = self.entry(index) {
            bytes += entry.payload.len();
            if batch.len() == count_max || (bytes > bytes_max && !batch.is_empty()) {
                break;
            }
            batch.push(entry);
            index = index.next();
        }
        batch
    }

    /// Forgets entries that are applied and on disk beyond the window.
    pub(crate) fn applied(&mut self, upto: Index) {
        self.applied = self.applied.max(upto.min(self.committed));
        let unneeded = self.applied.min(self.persisted);
        while (self.entries.len() > self.window_entries_max.unwrap_or(WINDOW_ENTRIES_MAX)
            || self.bytes > WINDOW_BYTES_MAX)
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.index <= unneeded)
        {
            self.bytes -= self
                .entries
                .pop_front()
                .map_or(0, |entry| entry.payload.len());
        }
    }

    /// The configuration in force: the newest, committed or not (thesis 4.1).
    pub(crate) fn configuration(&self) -> &Configuration {
        if let Some((index, configuration)) = &self.restarting
            && *index == self.last
        {
            return configuration;
        }
        &self
            .configurations
            .last()
            .expect("the log starts with a configuration")
            .1
    }

    /// Whether the configuration in force is committed.
    pub(crate) fn configuration_is_committed(&self) -> bool {
        self.configurations
            .last()
            .is_some_and(|(index, _)| *index <= self.committed)
    }

    /// The newest committed configuration and all after it: each may turn out to be the one.
    pub(crate) fn configurations_in_play(&self) -> &[(Index, Configuration)] {
        let committed = self
            .configurations
            .partition_point(|(index, _)| *index <= self.committed);
        &self.configurations[committed.saturating_sub(1)..]
    }

    /// The configuration that the entry at exactly this index carries.
    pub(crate) fn configuration_at(&self, index: Index) -> Option<&Configuration> {
        let found = self
            .configurations
            .binary_search_by_key(&index, |(index, _)| *index)
            .ok()?;
        (index > Index::ZERO).then(|| &self.configurations[found].1)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn log(terms: &[u64]) -> Log {
        let mut log = Start::default().into_log(Configuration::default());
        for (offset, term) in terms.iter().enumerate() {
            let index = Index(offset as u64 + 1);
            log.append(LogEntry {
                term: Term(*term),
                index,
                payload: Bytes::new(),
                configuration: None,
            });
        }
        log
    }

    proptest! {
        #[test]
        fn runs_tell_the_same_as_the_entries(
            mut terms in prop::collection::vec(1..6u64, 0..20), cut in 1..22u64, at in 0..22u64, of in 0..7u64,
        ) {
            terms.sort_unstable();
            let mut log = log(&terms);
            log.truncate(Index(cut));
            terms.truncate(cut as usize - 1);
            for index in 1..=22 {
                let expected = terms.get(index as usize - 1).map(|term| Term(*term));
                prop_assert_eq!(log.term_at(Index(index)), expected);
            }
            let expected = (1..=at).rev().find(|i| terms.get(*i as usize - 1).is_some_and(|term| *term <= of));
            prop_assert_eq!(log.agreement(Index(at), Term(of)), Index(expected.unwrap_or(0)));
        }
    }

    #[test]
    fn a_log_goes_on_behind_entries_that_it_does_not_hold() {
        let runs = Runs::new(vec![(Index(1), Term(2)), (Index(7), Term(3))]).expect("a log's");
        let of = |node| Configuration::of([types::NodeId(node)]);
        let start = Start::at(Index(9), runs, vec![(Index(1), of(1)), (Index(8), of(2))]);
        let mut log = start.into_log(Configuration::default());
        assert_eq!(log.last(), (Term(3), Index(9)));
        assert_eq!(log.first_in_memory(), Index(10));
        assert_eq!(log.entry(Index(9)), None);
        assert_eq!(log.term_at(Index(6)), Some(Term(2)));
        assert_eq!(log.agreement(Index(9), Term(2)), Index(6));
        assert_eq!(log.configuration_at(Index(8)), Some(&of(2)));
        assert_eq!(log.configurations_in_play(), &[(Index(8), of(2))]);
        log.append(LogEntry {
            term: Term(4),
            index: Index(10),
            payload: Bytes::new(),
            configuration: Some(of(3)),
        });
        assert_eq!(log.configurations_in_play().len(), 2);
        log.truncate(Index(10));
        assert_eq!(log.last(), (Term(3), Index(9)));
        assert_eq!(log.configuration(), &of(2));
    }

    #[test]
    fn what_is_not_applied_or_not_on_disk_stays_in_memory() {
        let mut log = log(&vec![1; WINDOW_ENTRIES_MAX + 100]);
        log.committed = log.last;
        log.applied(log.last);
        assert_eq!(log.first_in_memory(), Index(1));
        log.persisted = Index(60);
        log.applied(log.last);
        assert_eq!(log.first_in_memory(), Index(61));
        log.persisted = log.last;
        log.applied(log.last);
        assert_eq!(log.first_in_memory(), Index(101));
        assert_eq!(log.term_at(Index(1)), Some(Term(1)));
    }

    #[test]
    fn a_batch_holds_a_mebibyte_or_one_larger_entry() {
        let mut log = log(&[]);
        for (offset, size) in [10, 2000, 10, 10].into_iter().enumerate() {
            let payload = Bytes::from(vec![0; size]);
            log.append(LogEntry {
                term: Term(1),
                index: Index(offset as u64 + 1),
                payload,
                configuration: None,
            });
        }
        let sizes = |first| log.batch(Index(first), 8, 1000).len();
        assert_eq!([sizes(1), sizes(2), sizes(3), sizes(5)], [1, 1, 2, 0]);
        assert_eq!(log.batch(Index(3), 1, 1000).len(), 1);
    }
}
