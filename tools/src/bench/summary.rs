//! From repeats to a figure with an interval.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Times that repeats are drawn again to find an interval.
const RESAMPLES: usize = 2_000;
/// Part of the resamples that the interval leaves out on each side: 95 % are within.
const TAIL: f64 = 0.025;

/// A median, and where it may be: 95 % of what the repeats would give if they were drawn again (bootstrap).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// The median of the repeats.
    pub(crate) median: f64,
    /// Lower end.
    pub(crate) low: f64,
    /// Upper end.
    pub(crate) high: f64,
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The median of `values` and its interval.
pub(crate) fn interval(values: &[f64]) -> Interval {
    resampled(median(values), |random| median(&drawn(values, random)))
}

/// The ratio of the median of `b` to that of `a`, and its interval.
pub(crate) fn ratio(a: &[f64], b: &[f64]) -> Interval {
    resampled(median(b) / median(a), |random| median(&drawn(b, random)) / median(&drawn(a, random)))
}

fn resampled(median: f64, mut again: impl FnMut(&mut ChaCha8Rng) -> f64) -> Interval {
    // The same repeats always have the same interval.
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut found: Vec<f64> = (0..RESAMPLES).map(|_| again(&mut random)).collect();
    found.sort_by(f64::total_cmp);
    let at = |part: f64| found[((RESAMPLES - 1) as f64 * part) as usize];
    Interval { median, low: at(TAIL), high: at(1.0 - TAIL) }
}

fn drawn(values: &[f64], random: &mut ChaCha8Rng) -> Vec<f64> {
    if values.is_empty() {
        return Vec::new();
    }
    (0..values.len()).map(|_| values[random.random_range(0..values.len())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
    }

    #[test]
    fn an_interval_holds_the_median_and_none_but_what_was_measured() {
        let values = [10.0, 11.0, 9.0, 10.5, 30.0, 9.5, 10.2];
        let Interval { median, low, high } = interval(&values);
        assert_eq!(median, 10.2);
        assert!((9.0..=median).contains(&low) && (median..=30.0).contains(&high), "{low} … {high}");
        assert!(low < median && high > median, "seven different values leave doubt");
        assert_eq!(interval(&values), interval(&values), "the same each time");
        let Interval { low, high, .. } = interval(&[5.0]);
        assert_eq!((low, high), (5.0, 5.0));
    }

    #[test]
    fn a_ratio_that_is_there_is_told_from_one_that_is_not() {
        let a = [10.0, 11.0, 9.0, 10.5, 10.1, 9.5, 10.2];
        let doubled: Vec<f64> = a.iter().map(|value| value * 2.0).collect();
        let Interval { median, low, high } = ratio(&a, &doubled);
        assert_eq!(median, 2.0);
        assert!(low > 1.5 && high < 2.5, "{low} … {high}");
        let Interval { low, high, .. } = ratio(&a, &a);
        assert!(low <= 1.0 && high >= 1.0, "{low} … {high}");
    }
}
