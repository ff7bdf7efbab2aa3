//! The percentile distribution as text (`.hgrm`), which plotters of HdrHistogram read.
//!
//! The format is that of HdrHistogram's own `outputPercentileDistribution`; the Rust library has no writer for it.

use std::io::{self, Write};

use super::latency::Latency;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Writes the distribution, values in microseconds.
///
/// # Errors
/// What `out` refused.
pub fn write_hgrm(latency: &Latency, out: &mut impl Write) -> io::Result<()> {
    let histogram = latency.histogram();
    let us = |ns: u64| ns as f64 / 1e3;
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to()), step.quantile_iterated_to());
        write!(out, "{value:12.3} {quantile:14.12} {total:10}")?;
        if quantile < 1.0 {
            write!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    let (max, count, buckets) = (us(histogram.max()), histogram.len(), histogram.buckets());
    // The first bucket is used whole, each further one only in its upper half.
    let sub_buckets = 2 * histogram.distinct_values() / (usize::from(buckets) + 1);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {count:12}]")?;
    writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Nanos;

    fn text(values: impl IntoIterator<Item = u64>) -> String {
        let mut latency = Latency::new();
        values.into_iter().for_each(|ns| latency.record(Nanos(ns)));
        let mut out = Vec::new();
        write_hgrm(&latency, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn looks_like_the_original() {
        let text = text([1_000, 1_000, 2_000, 1_000_000]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "       1.000 0.000000000000          2           1.00");
        assert!(lines.contains(&"       2.000 0.700000000000          3           3.33"), "{text}");
        assert!(lines.contains(&"    1000.447 1.000000000000          4"), "{text}");
        let footer = [
            "#[Mean    =      251.048, StdDeviation   =      432.519]",
            "#[Max     =     1000.447, Total count    =            4]",
            "#[Buckets =           26, SubBuckets     =         2048]",
        ];
        assert_eq!(lines[lines.len() - 3..], footer);
    }

    #[test]
    fn values_quantiles_and_counts_only_grow() {
        let text = text((0..10_000u64).map(|i| i * i));
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        for column in 0..3 {
            assert!(rows.iter().map(|row| row[column]).is_sorted(), "column {column}");
        }
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 10_000.0, 3));
    }

    #[test]
    fn an_empty_histogram_is_all_footer() {
        let text = text([]);
        assert_eq!(text.lines().count(), 2 + 3, "{text}");
        assert!(text.contains("Total count    =            0]"));
    }
}
