//! Arithmetic on measurements.

use serde_json::{Value, json};

/// How times spread, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl Spread {
    /// Of these times; zero if there are none.
    pub fn of(mut times_us: Vec<u64>) -> Self {
        times_us.sort_unstable();
        Self {
            p50_us: percentile(&times_us, 500),
            p90_us: percentile(&times_us, 900),
            p99_us: percentile(&times_us, 990),
            max_us: times_us.last().copied().unwrap_or(0),
        }
    }

    /// In milliseconds.
    pub fn to_json(self) -> Value {
        json!({
            "p50": milliseconds(self.p50_us), "p90": milliseconds(self.p90_us),
            "p99": milliseconds(self.p99_us), "max": milliseconds(self.max_us),
        })
    }
}

/// Microseconds as milliseconds.
pub fn milliseconds(us: u64) -> f64 {
    // Times are far below 2^53 microseconds.
    us as f64 / 1000.0
}

/// Nearest-rank percentile: the smallest value that at least `per_mille` of all do not exceed.
pub fn percentile(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    match rank.max(1).checked_sub(1) {
        Some(at) => sorted.get(at).copied().unwrap_or(0),
        None => 0,
    }
}

/// Least, middle and greatest of some values; the middle of an even number is the mean of two.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Range {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Range {
    /// Of these values; zero if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { min, median, max }
    }

    /// For programs.
    pub fn to_json(self) -> Value {
        json!({ "min": rounded(self.min), "median": rounded(self.median), "max": rounded(self.max) })
    }
}

/// To three decimals: more would pretend.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Times of which only their distribution is kept, in constant memory: each counts in a class that is
/// at most 1/32 wide, so a percentile is up to 3.2 % above what was measured, and never below it.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

/// Classes between one power of two and the next.
const CLASSES: u64 = 32;

impl Histogram {
    /// Counts a time `times` times.
    pub fn add(&mut self, time_us: u64, times: u64) {
        let class = class(time_us);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += times;
        self.total += times;
        self.max_us = self.max_us.max(time_us);
    }

    /// Takes over all that another has.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *own += theirs;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Its percentiles: the upper end of the class that the value is in, at most the greatest.
    pub fn spread(&self) -> Spread {
        let at = |per_mille: u64| {
            let rank = (self.total * per_mille).div_ceil(1000).max(1);
            let mut seen = 0;
            for (class, count) in self.counts.iter().enumerate() {
                seen += count;
                if seen >= rank {
                    return upper(class as u64).min(self.max_us); // as wide
                }
            }
            0
        };
        Spread {
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            max_us: self.max_us,
        }
    }
}

fn class(time_us: u64) -> usize {
    let class = if time_us < CLASSES {
        time_us
    } else {
        let doublings = u64::from(time_us.ilog2()) - 5;
        // Between 32 and 63 after the shift.
        CLASSES * doublings + (time_us >> doublings)
    };
    class as usize // below 2,000
}

/// The greatest time of a class.
fn upper(class: u64) -> u64 {
    if class < 2 * CLASSES {
        return class;
    }
    let doublings = class / CLASSES - 1;
    ((class - CLASSES * doublings + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let spread = Spread::of(hundred);
        assert_eq!(
            (spread.p50_us, spread.p90_us, spread.p99_us, spread.max_us),
            (50, 90, 99, 100)
        );
        let ten = Spread::of((1..=10).collect());
        assert_eq!((ten.p50_us, ten.p90_us, ten.p99_us), (5, 9, 10));
        assert_eq!(Spread::of(vec![7]).p50_us, 7);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        let range = Range::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!((range.min, range.median, range.max), (1.0, 2.5, 4.0));
        assert_eq!(Range::of([5.0, 9.0, 1.0]).median, 5.0);
        assert_eq!(Range::of([]), Range::default());
    }

    #[test]
    fn a_histogram_never_says_less_than_was_measured_and_at_most_a_thirtysecond_more() {
        for exact in (0..200).chain([1_000, 33_333, 999_999, 60_000_000]) {
            let said = upper(class(exact) as u64);
            assert!(
                said >= exact && said <= exact + exact / 32,
                "{exact}: {said}"
            );
        }
        let mut all = Histogram::default();
        let mut some = Histogram::default();
        for time in 1..=1000 {
            let half = if time % 2 == 0 { &mut all } else { &mut some };
            half.add(time, 1);
        }
        all.merge(&some);
        let (found, exact) = (all.spread(), Spread::of((1..=1000).collect()));
        for (found, exact) in [
            (found.p50_us, exact.p50_us),
            (found.p90_us, exact.p90_us),
            (found.p99_us, exact.p99_us),
        ] {
            assert!(found >= exact && found <= exact + exact / 32);
        }
        assert_eq!(found.max_us, 1000);
        assert_eq!(Histogram::default().spread(), Spread::default());
    }
}
