//! The terms of a log as runs: 16 bytes a change of leader, not a word an entry.
//!
//! Whoever knows the runs of the committed log can tell of any authentic entry whether it is the
//! committed one: a term has one leader, and a leader makes one entry for a place.

use types::{Index, Term};

/// First index and term of each run of entries of one term, ascending in both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(Vec<(Index, Term)>);

impl Runs {
    /// Runs that came from elsewhere; `None` if they are no log's.
    pub fn new(runs: Vec<(Index, Term)>) -> Option<Self> {
        let first = runs
            .first()
            .is_none_or(|(index, term)| *index == Index(1) && *term > Term::ZERO);
        let ascending = runs
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        (first && ascending).then_some(Self(runs))
    }

    /// The next entry of the log has this term.
    ///
    /// # Panics
    /// If terms decrease: a log's never do.
    pub fn push(&mut self, index: Index, term: Term) {
        assert!(term >= self.last(), "terms never decrease in a log");
        if term > self.last() {
            self.0.push((index, term));
        }
    }

    /// The term of the last entry; 0 of an empty log.
    pub fn last(&self) -> Term {
        self.0.last().map_or(Term::ZERO, |run| run.1)
    }

    /// The term of an entry that is in the log; of index 0 it is 0.
    pub fn term_at(&self, index: Index) -> Term {
        let run = self.0.partition_point(|run| run.0 <= index).checked_sub(1);
        run.map_or(Term::ZERO, |run| self.0[run].1)
    }

    /// The first index whose term is above `term`.
    pub fn first_above(&self, term: Term) -> Option<Index> {
        self.0
            .get(self.0.partition_point(|run| run.1 <= term))
            .map(|run| run.0)
    }

    /// Forgets `from` and all after it.
    pub fn truncate(&mut self, from: Index) {
        self.0.retain(|run| run.0 < from);
    }

    /// As [`Runs::new`] takes them.
    pub fn as_slice(&self) -> &[(Index, Term)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_no_log_are_refused() {
        let runs = |runs: &[(u64, u64)]| {
            Runs::new(runs.iter().map(|(i, t)| (Index(*i), Term(*t))).collect()).is_some()
        };
        assert!(runs(&[]) && runs(&[(1, 1)]) && runs(&[(1, 2), (7, 3)]));
        for broken in [
            &[(2, 1)][..],
            &[(1, 0)],
            &[(1, 1), (1, 2)],
            &[(1, 2), (3, 2)],
            &[(1, 2), (3, 1)],
        ] {
            assert!(!runs(broken), "{broken:?}");
        }
    }
}
