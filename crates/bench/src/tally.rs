//! What came of a load that is too long to keep every answer: counts and times for each second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figures::{Histogram, Range, Spread};

/// Kinds of refusals that are told apart; a text with a number in it could make any number.
const KINDS_MAX: usize = 20;

/// Characters of a kind.
const KIND_CHARS_MAX: usize = 100;

/// One second of answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Second {
    pub(crate) committed: u64,
    pub(crate) refused: u64,
    pub(crate) times: Histogram,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Tally {
    start: Instant,
    seconds: Vec<Second>,
    /// Refused transactions by what was said.
    kinds: BTreeMap<String, u64>,
    /// Transactions that were due and not sent before the load ended, since no connection was free.
    pub(crate) unsent: u64,
    /// Last answer.
    last: Instant,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            seconds: Vec::new(),
            kinds: BTreeMap::new(),
            unsent: 0,
            last: now,
        }
    }

    fn second(&mut self, ended: Instant) -> &mut Second {
        self.last = self.last.max(ended);
        let at = ended.saturating_duration_since(self.start).as_secs() as usize; // hours
        if self.seconds.len() <= at {
            self.seconds.resize_with(at + 1, Second::default);
        }
        &mut self.seconds[at]
    }

    pub(crate) fn committed(&mut self, ended: Instant, took_us: u64, times: u64) {
        let second = self.second(ended);
        second.committed += times;
        second.times.add(took_us, times);
    }

    pub(crate) fn refused(&mut self, ended: Instant, reason: &str) {
        self.second(ended).refused += 1;
        let kind: String = reason.chars().take(KIND_CHARS_MAX).collect();
        let full = self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind);
        let kind = if full { "others".into() } else { kind };
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// The moment that its seconds are counted from.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// From the beginning to the last answer.
    pub(crate) fn length(&self) -> Duration {
        self.last.saturating_duration_since(self.start)
    }

    pub(crate) fn total(&self) -> u64 {
        self.seconds.iter().map(|second| second.committed).sum()
    }

    pub(crate) fn refused_total(&self) -> u64 {
        self.seconds.iter().map(|second| second.refused).sum()
    }

    /// Committed in each of these seconds, as far as there are any.
    pub(crate) fn per_second(&self, from: usize, to: usize) -> Range {
        let to = to.min(self.seconds.len());
        let some = self.seconds.get(from..to).unwrap_or_default();
        Range::of(some.iter().map(|second| second.committed as f64)) // far below 2^53
    }

    /// Times of all that was committed in these seconds.
    pub(crate) fn times(&self, from: usize, to: usize) -> Spread {
        let to = to.min(self.seconds.len());
        let mut all = Histogram::default();
        for second in self.seconds.get(from..to).unwrap_or_default() {
            all.merge(&second.times);
        }
        all.spread()
    }

    /// For programs: every second, and refusals by kind.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "committed": self.total(),
            "refused": self.refused_total(),
            "unsent": self.unsent,
            "refusals": self.kinds,
            "seconds": self.seconds.iter().map(|second| {
                let spread = second.times.spread().to_json();
                json!([second.committed, second.refused, spread["p50"], spread["p99"]])
            }).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_in_the_second_in_which_it_came() {
        let mut tally = Tally::new();
        let at = |ms| tally.start + Duration::from_millis(ms);
        let moments = [at(10), at(999), at(1_000), at(3_500)];
        for moment in moments {
            tally.committed(moment, 2_000, 10);
        }
        tally.refused(moments[3], "HTTP 429: later");
        assert_eq!((tally.total(), tally.refused_total()), (40, 1));
        assert_eq!(tally.per_second(0, 9).max, 20.0);
        assert_eq!(tally.per_second(2, 3).max, 0.0);
        assert_eq!(tally.length(), Duration::from_millis(3_500));
        assert_eq!(tally.times(1, 2).max_us, 2_000);
        assert_eq!(tally.kinds()["HTTP 429: later"], 1);
    }

    #[test]
    fn kinds_of_refusals_are_bounded() {
        let mut tally = Tally::new();
        for number in 0..1000 {
            tally.refused(Instant::now(), &format!("{number} {}", "x".repeat(1000)));
        }
        assert_eq!(tally.kinds().len(), KINDS_MAX + 1);
        assert_eq!(tally.kinds()["others"], 980);
    }
}
