//! `compare`: one result against another, figure by figure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::report::{Figure, Report, SCHEMA, Unit};
use super::summary::{Interval, ratio};
use super::text::{table, value};
use crate::output::UsageError;

/// What became of a figure from A to B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// The whole interval is on the good side.
    Better,
    /// The whole interval is on the bad side.
    Worse,
    /// The interval holds 1.
    NotShown,
    /// In one of the results the host alone is as slow.
    Meaningless,
}

/// A figure in both results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    variant: String,
    figure: String,
    unit: Unit,
    a: f64,
    b: f64,
    /// B over A.
    ratio: Interval,
    change: Change,
    /// Worse by more than is allowed, for sure.
    is_beyond: bool,
}

/// Two results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    bench: String,
    rows: Vec<Row>,
    /// What else differs, and what only one of them has.
    notices: Vec<String>,
    /// How many times as bad a figure may be.
    limit: Option<f64>,
}

/// Reads the result in `path`.
///
/// # Errors
/// It cannot be read, or is none.
pub(crate) fn read(path: &Path) -> anyhow::Result<Report> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let report: Report = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "{} is no result of `seqcast bench`: give the JSON file that --out or --json made",
            path.display()
        )
    })?;
    anyhow::ensure!(
        report.schema == SCHEMA,
        "{} has version {} of the form, this program knows {SCHEMA}: measure again",
        path.display(),
        report.schema
    );
    Ok(report)
}

/// Compares what both have.
///
/// # Errors
/// They are results of different benchmarks, or have nothing in common.
pub(crate) fn compare(a: &Report, b: &Report, limit: Option<f64>) -> anyhow::Result<Comparison> {
    if a.bench != b.bench {
        let text = format!("A is a result of `{}`, B of `{}`: nothing to compare", a.bench, b.bench);
        return Err(UsageError(text).into());
    }
    let mut notices = differences(a, b);
    let mut rows = Vec::new();
    for of_a in &a.variants {
        match b.variants.iter().find(|variant| variant.name == of_a.name) {
            Some(of_b) => rows.extend(rows_of(&of_a.name, &of_a.figures, &of_b.figures, limit)),
            None => notices.push(format!("only A has {}", of_a.name)),
        }
    }
    let new = b.variants.iter().filter(|of_b| !a.variants.iter().any(|of_a| of_a.name == of_b.name));
    notices.extend(new.map(|variant| format!("only B has {}", variant.name)));
    rows.extend(rows_of("within the run", &a.ratios, &b.ratios, limit));
    if rows.is_empty() {
        return Err(UsageError("A and B have no figure in common".into()).into());
    }
    Ok(Comparison { bench: a.bench.clone(), rows, notices, limit })
}

fn rows_of(variant: &str, a: &[Figure], b: &[Figure], limit: Option<f64>) -> Vec<Row> {
    let row = |of_a: &Figure| {
        let of_b = b.iter().find(|figure| figure.name == of_a.name && figure.unit == of_a.unit)?;
        let change = change(of_a, of_b)?;
        let ratio = ratio(&of_a.values, &of_b.values);
        // At least so many times as bad.
        let badness = if of_a.unit.grows() { 1.0 / ratio.high } else { ratio.low };
        Some(Row {
            variant: variant.to_owned(),
            figure: of_a.name.clone(),
            unit: of_a.unit,
            a: of_a.interval.median,
            b: of_b.interval.median,
            ratio,
            change,
            is_beyond: change == Change::Worse && limit.is_some_and(|limit| badness > limit),
        })
    };
    a.iter().filter_map(row).collect()
}

/// `None` when there is no ratio: something is zero or negative.
fn change(a: &Figure, b: &Figure) -> Option<Change> {
    if a.values.iter().chain(&b.values).any(|value| !value.is_finite() || *value <= 0.0) {
        return None;
    }
    let host = |figure: &Figure| figure.doubt.as_ref().is_some_and(|doubt| doubt.starts_with("meaningless"));
    let Interval { low, high, .. } = ratio(&a.values, &b.values);
    Some(if host(a) || host(b) {
        Change::Meaningless
    } else if low <= 1.0 && high >= 1.0 {
        Change::NotShown
    } else if (low > 1.0) == a.unit.grows() {
        Change::Better
    } else {
        Change::Worse
    })
}

/// What else is different, and so may be the reason.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let mut notices = Vec::new();
    for (name, report) in [("A", a), ("B", b)] {
        if !report.is_complete {
            let why = report.notices.last().map_or("", String::as_str);
            notices.push(format!("{name} is not complete: {why}"));
        }
        if report.repeats < 3 {
            notices.push(format!("{name} has {} repeat(s): its intervals mean little", report.repeats));
        }
    }
    if a.fingerprint.program != b.fingerprint.program {
        let (a, b) = (&a.fingerprint.program, &b.fingerprint.program);
        notices.push(format!("the programs differ: {a} and {b}"));
    }
    let mut differ = |what: &str, a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let [of_a, of_b] = [a, b].map(|map| map.get(name).map_or("nothing", String::as_str));
            if of_a != of_b && name != "load" {
                notices.push(format!("{what} differ in {name}: {of_a} and {of_b}"));
            }
        }
    };
    differ("the hosts", &a.fingerprint.host, &b.fingerprint.host);
    differ("the parameters", &a.parameters, &b.parameters);
    notices
}

impl Comparison {
    /// Whether nothing is worse than allowed.
    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| !row.is_beyond)
    }

    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: B over A, medians, and where 95 % of such ratios would be\n", self.bench)?;
        let mut table = table(&["", "figure", "A", "B", "B / A", ""]);
        let mut last = "";
        for row in &self.rows {
            let Interval { median, low, high } = row.ratio;
            let change = match row.change {
                Change::Better => "better",
                Change::Worse if row.is_beyond => "WORSE THAN ALLOWED",
                Change::Worse => "worse",
                Change::NotShown => "no difference shown",
                Change::Meaningless => "the host's",
            };
            table.add_row([
                if row.variant == last { String::new() } else { row.variant.clone() },
                row.figure.clone(),
                value(row.a, row.unit),
                value(row.b, row.unit),
                format!("{median:.3} ({low:.3} … {high:.3})"),
                change.to_owned(),
            ]);
            last = &row.variant;
        }
        writeln!(out, "{table}\n")?;
        for notice in &self.notices {
            writeln!(out, "note: {notice}")?;
        }
        if let Some(limit) = self.limit {
            let word = if self.is_good() { "nothing is" } else { "something is" };
            writeln!(out, "verdict: {word} more than {limit} times as bad for sure")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Variant;
    use super::super::testing;
    use super::*;

    /// A result with a latency and a rate.
    fn result(latency: [f64; 5], rate: [f64; 5]) -> Report {
        let mut variant = Variant::new("v");
        latency.iter().for_each(|value| variant.record("all: p50", Unit::Ns, *value));
        rate.iter().for_each(|value| variant.record("rate", Unit::PerS, *value));
        testing::report(vec![variant])
    }

    const LATENCY: [f64; 5] = [100.0, 101.0, 99.0, 100.5, 99.5];
    const RATE: [f64; 5] = [1_000.0, 1_010.0, 990.0, 1_005.0, 995.0];

    fn changes(comparison: &Comparison) -> Vec<Change> {
        comparison.rows.iter().map(|row| row.change).collect()
    }

    #[test]
    fn what_is_better_depends_on_the_unit() {
        let base = result(LATENCY, RATE);
        let doubled = result(LATENCY.map(|ns| ns * 2.0), RATE.map(|rate| rate * 2.0));
        let there = compare(&base, &doubled, None).unwrap();
        assert_eq!(changes(&there), [Change::Worse, Change::Better]);
        assert_eq!(there.rows[0].ratio.median, 2.0);
        let back = compare(&doubled, &base, None).unwrap();
        assert_eq!(changes(&back), [Change::Better, Change::Worse]);
        assert!(there.is_good() && back.is_good(), "nothing was forbidden");
        let same = compare(&base, &base, Some(1.0)).unwrap();
        assert_eq!(changes(&same), [Change::NotShown; 2]);
        assert!(same.is_good());
    }

    #[test]
    fn a_limit_counts_only_what_is_sure() {
        let base = result(LATENCY, RATE);
        let slower = result(LATENCY.map(|ns| ns * 1.2), RATE);
        assert!(!compare(&base, &slower, Some(1.1)).unwrap().is_good());
        assert!(compare(&base, &slower, Some(1.3)).unwrap().is_good());
        // As slow in the middle, but it may be chance.
        let unsure = result([90.0, 150.0, 120.0, 95.0, 121.0], RATE);
        assert!(compare(&base, &unsure, Some(1.1)).unwrap().is_good());
        let fewer = result(LATENCY, RATE.map(|rate| rate / 2.0));
        assert!(!compare(&base, &fewer, Some(1.5)).unwrap().is_good());
        let mut doubted = result(LATENCY.map(|ns| ns * 9.0), RATE);
        doubted.variants[0].figures[0].doubt = Some("meaningless: the host".into());
        let found = compare(&base, &doubted, Some(1.1)).unwrap();
        assert_eq!((found.rows[0].change, found.is_good()), (Change::Meaningless, true));
    }

    #[test]
    fn what_else_differs_is_told() {
        let a = result(LATENCY, RATE);
        let mut b = result(LATENCY, RATE);
        b.parameters.insert("rate".into(), "5/s".into());
        b.fingerprint.host.insert("kernel".into(), "other".into());
        b.variants.push(Variant::new("new"));
        b.is_complete = false;
        let found = compare(&a, &b, None).unwrap();
        let notices = found.notices.join("\n");
        for told in ["rate: 20,000/s and 5/s", "kernel", "only B has new", "B is not complete"] {
            assert!(notices.contains(told), "{told}: {notices}");
        }
        let mut out = Vec::new();
        found.write_text(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("no difference shown"));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let a = result(LATENCY, RATE);
        let mut b = result(LATENCY, RATE);
        b.bench = "ring".into();
        let error = compare(&a, &b, None).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("`ring`"), "{error}");
        let mut b = result(LATENCY, RATE);
        b.variants.clear();
        assert!(compare(&a, &b, None).unwrap_err().is::<UsageError>());
        let zero = result([0.0; 5], RATE);
        assert_eq!(compare(&zero, &a, None).unwrap().rows.len(), 1, "there is no ratio to nothing");
    }
}
