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
}
