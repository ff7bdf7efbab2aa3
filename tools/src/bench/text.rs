//! A report for people, on a terminal.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use seqcast_engine::time::Nanos;

use super::report::{Figure, QUANTILES, Report, Unit, Variant};
use crate::output::grouped;

/// A value with its unit.
pub(super) fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ns if value < 100.0 => format!("{value:.1} ns"),
        Unit::Ns => Nanos(value as u64).to_string(),
        Unit::PerS => format!("{}/s", grouped(value as u64)),
        Unit::TimesPerS => format!("{value:.1}/s"),
        Unit::Ratio => format!("{value:.3}"),
    }
}

/// A round time, such as an axis has.
pub(super) fn round_ns(ns: f64) -> String {
    // Powers of ten are not exact.
    Nanos((ns + 0.5) as u64).to_string().replace(".00 ", " ").replace(".0 ", " ")
}

/// A figure with its interval.
pub(super) fn figure(figure: &Figure) -> String {
    let [median, low, high] = [figure.interval.median, figure.interval.low, figure.interval.high]
        .map(|found| value(found, figure.unit));
    let mark = match &figure.doubt {
        Some(doubt) if doubt.starts_with("meaningless") => " !!",
        Some(_) => " !",
        None => "",
    };
    match figure.values.len() {
        1 => format!("{median}{mark}"),
        _ => format!("{median} ({low} … {high}){mark}"),
    }
}

/// Names of the latency series among a variant's figures, in their order.
pub(super) fn series(variant: &Variant) -> Vec<&str> {
    let first = format!(": {}", QUANTILES[0].0);
    variant.figures.iter().filter_map(|figure| figure.name.strip_suffix(&first)).collect()
}

/// Figures that are no percentiles.
pub(super) fn plain(variant: &Variant) -> impl Iterator<Item = &Figure> {
    let is_quantile = |figure: &Figure| {
        figure.name.rsplit_once(": ").is_some_and(|(_, of)| QUANTILES.iter().any(|(name, _)| *name == of))
    };
    variant.figures.iter().filter(move |figure| !is_quantile(figure))
}

impl Report {
    /// Writes everything that is in tables and sentences.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.bench, self.what)?;
        let turns = if self.variants.len() > 1 { ", in turn" } else { "" };
        writeln!(
            out,
            "medians of {} repeats{turns} (95 % of such medians would be within …)\n",
            self.repeats
        )?;
        for (name, value) in &self.parameters {
            writeln!(out, "  {name}: {value}")?;
        }
        writeln!(out, "\n{}", self.fingerprint.program)?;
        for (name, value) in &self.fingerprint.host {
            writeln!(out, "  {name}: {value}")?;
        }
        self.write_host(out)?;
        if self.curves.is_empty() {
            self.write_latencies(out)?;
            self.write_figures(out)?;
        } else {
            // What is behind them is in the JSON form and on the page: many times as much.
            self.write_curves(out)?;
        }
        for (variant, threads) in self.layout.iter().filter(|_| self.curves.is_empty()) {
            writeln!(out, "threads, {variant}: {}", threads.join("; "))?;
        }
        for notice in &self.notices {
            writeln!(out, "note: {notice}")?;
        }
        for what in &self.not_measured {
            writeln!(out, "not measured: {what}")?;
        }
        Ok(())
    }

    fn write_host(&self, out: &mut impl Write) -> io::Result<()> {
        for (when, host) in [("before", &self.host.before), ("after", &self.host.after)] {
            let delays = host.delay_ns.iter().map(|(name, ns)| format!("{name} {}", Nanos(*ns)));
            let delays: Vec<String> = delays.collect();
            let longest = Nanos(host.longest_ns);
            writeln!(
                out,
                "  the host alone {when} delays a message by {}, at most {longest}",
                delays.join(", ")
            )?;
        }
        writeln!(out)
    }

    fn write_latencies(&self, out: &mut impl Write) -> io::Result<()> {
        let header: Vec<&str> = ["", "latency"].into_iter().chain(QUANTILES.map(|(name, _)| name)).collect();
        let mut table = table(&header);
        for variant in &self.variants {
            for (at, series) in series(variant).into_iter().enumerate() {
                let name = if at == 0 { variant.name.clone() } else { String::new() };
                let figures = QUANTILES.map(|(quantile, _)| {
                    variant.figure(&format!("{series}: {quantile}")).map(figure).unwrap_or_default()
                });
                table.add_row([name, series.to_owned()].into_iter().chain(figures));
            }
        }
        if table.row_count() > 0 { writeln!(out, "{table}\n") } else { Ok(()) }
    }

    fn write_figures(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = table(&["", "figure", ""]);
        for variant in &self.variants {
            let figures = plain(variant).map(|found| (found.name.clone(), figure(found)));
            let counts = variant.counts.iter().filter(|(_, count)| **count > 0);
            let counts = counts.map(|(name, count)| (name.clone(), grouped(*count)));
            for (at, (name, value)) in figures.chain(counts).enumerate() {
                let of = if at == 0 { variant.name.clone() } else { String::new() };
                table.add_row([of, name, value]);
            }
        }
        for (at, ratio) in self.ratios.iter().enumerate() {
            let of = if at == 0 { "within the run" } else { "" };
            table.add_row([of.to_owned(), ratio.name.clone(), figure(ratio)]);
        }
        if table.row_count() > 0 { writeln!(out, "{table}\n") } else { Ok(()) }
    }
}

/// A plain table whose numbers are on the right.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use seqcast_engine::stat::Latency;

    use super::super::testing;
    use super::*;

    #[test]
    fn everything_is_told() {
        let mut variant = Variant::new("1 standby");
        for ns in [20_000, 21_000] {
            let mut latency = Latency::new();
            latency.record(Nanos(ns));
            variant.record_latency("all", SystemTime::UNIX_EPOCH, latency);
        }
        variant.record("rate", Unit::PerS, 1_234_567.0);
        variant.count("sent", 40_000);
        let mut report = testing::report(vec![variant]);
        report.ratios.push(Figure::new("a / b", Unit::Ratio, vec![1.5]));
        report.notice("mind the gap");
        let mut out = Vec::new();
        report.write_text(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for told in ["1 standby", "p99.9", "20.5", "1,234,567/s", "40,000", "a / b", "1.500", "mind the gap"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert_eq!(text.matches("1 standby").count(), 2, "each variant is named once a table");
    }
}
