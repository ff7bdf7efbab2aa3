//! What a benchmark found: figures with intervals, what they were measured with, and what is to be doubted.

use std::collections::BTreeMap;
use std::time::SystemTime;

use seqcast_engine::stat::Latency;
use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::fingerprint::Fingerprint;
use super::jitter::{Jitter, JitterReport};
use super::summary::{Interval, interval};

/// Version of the JSON form.
pub(crate) const SCHEMA: u32 = 1;
/// Percentiles of a series that become figures.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Work done a second: more is better.
    PerS,
    /// How often something bad happens in a second.
    TimesPerS,
    /// One figure divided by another.
    Ratio,
}

impl Unit {
    /// Whether more is better.
    pub(crate) fn grows(self) -> bool {
        self == Unit::PerS
    }
}

/// One figure: what each repeat gave, and their median.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// Of each repeat, in the order of measuring.
    pub(crate) values: Vec<f64>,
    #[serde(flatten)]
    pub(crate) interval: Interval,
    /// Why it may say more about the host than about what was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) doubt: Option<String>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, values: Vec<f64>) -> Figure {
        let interval = interval(&values);
        Figure { name: name.into(), unit, values, interval, doubt: None }
    }
}

/// Latencies of one kind, as they were in each repeat.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// When each repeat began, and what it gave.
    pub(crate) repeats: Vec<(SystemTime, Latency)>,
}

impl Series {
    /// All repeats together.
    pub(crate) fn merged(&self) -> Latency {
        let mut all = Latency::new();
        self.repeats.iter().for_each(|(_, latency)| all.merge(latency));
        all
    }
}

/// One of the things that were measured in turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Variant {
    pub(crate) name: String,
    pub(crate) figures: Vec<Figure>,
    /// Sums over all repeats.
    pub(crate) counts: BTreeMap<String, u64>,
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
    /// Threads of the data path in which a message waits for its turn.
    #[serde(skip)]
    pub threads: Vec<String>,
    /// What an operator should know.
    #[serde(skip)]
    pub notices: Vec<String>,
}

impl Variant {
    /// Nothing measured yet.
    pub fn new(name: impl Into<String>) -> Variant {
        Variant {
            name: name.into(),
            figures: Vec::new(),
            counts: BTreeMap::new(),
            series: Vec::new(),
            threads: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Adds what one repeat gave for the figure `name`.
    pub fn record(&mut self, name: &str, unit: Unit, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => {
                figure.values.push(value);
                figure.interval = interval(&figure.values);
            }
            None => self.figures.push(Figure::new(name, unit, vec![value])),
        }
    }

    /// Adds the latencies of one repeat, which become figures by percentile.
    pub fn record_latency(&mut self, name: &str, began: SystemTime, latency: Latency) {
        if latency.is_empty() {
            return;
        }
        for (quantile_name, quantile) in QUANTILES {
            let value = latency.histogram().value_at_quantile(quantile);
            self.record(&format!("{name}: {quantile_name}"), Unit::Ns, value as f64);
        }
        self.keep_latency(name, began, latency);
    }

    /// Keeps the latencies of one repeat for files and pictures, without making figures of them.
    pub fn keep_latency(&mut self, name: &str, began: SystemTime, latency: Latency) {
        match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.repeats.push((began, latency)),
            None => self.series.push(Series { name: name.into(), repeats: vec![(began, latency)] }),
        }
    }

    /// Adds to the sum `name` over all repeats. Of `sent` and `received` the report tells whether they differ.
    pub fn count(&mut self, name: &str, more: u64) {
        *self.counts.entry(name.into()).or_default() += more;
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

/// The host's own jitter around the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HostReport {
    pub(crate) before: JitterReport,
    pub(crate) after: JitterReport,
}

/// Everything that is kept of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub(crate) schema: u32,
    pub(crate) bench: String,
    /// One line that says what was measured.
    pub(crate) what: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) parameters: BTreeMap<String, String>,
    /// Repeats, each of all variants in turn.
    pub(crate) repeats: usize,
    /// The host's own jitter, just before and just after.
    pub(crate) host: HostReport,
    pub(crate) variants: Vec<Variant>,
    /// Figures of one variant against those of another, repeat by repeat.
    pub(crate) ratios: Vec<Figure>,
    /// How costs grow along axes, where that was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curves: Vec<Curve>,
    /// How the data path's threads were laid out, by variant.
    pub(crate) layout: BTreeMap<String, Vec<String>>,
    /// Whether everything that was sent arrived, and nothing failed.
    pub(crate) is_complete: bool,
    /// What to know when reading the figures.
    pub(crate) notices: Vec<String>,
    /// What was not measured.
    pub(crate) not_measured: Vec<String>,
}

impl Report {
    /// Says of each percentile of a latency whether the host's own jitter is above it.
    pub(crate) fn doubt(&mut self, before: &Jitter, after: &Jitter) {
        self.host = HostReport { before: before.report(), after: after.report() };
        let mut meaningless = 0;
        for figure in self.variants.iter_mut().flat_map(|variant| &mut variant.figures) {
            let Some(host) = host_delay(&figure.name, before, after) else { continue };
            let median = figure.interval.median;
            if host >= median {
                figure.doubt = Some(format!(
                    "meaningless: the host alone delays as much ({})",
                    seqcast_engine::time::Nanos(host as u64)
                ));
                meaningless += 1;
            } else if host * 2.0 >= median {
                figure.doubt = Some("half of it or more is the host".into());
            }
        }
        if meaningless > 0 {
            self.notices.push(format!(
                "{meaningless} figures, marked with !!, say nothing about Seqcast: at that percentile this host takes \
                 the core away from a spinning thread for as long"
            ));
        }
    }
}

/// What the host alone adds at the percentile that a figure is of; none when it is of none.
fn host_delay(figure: &str, before: &Jitter, after: &Jitter) -> Option<f64> {
    let (_, name) = figure.rsplit_once(": ")?;
    let &(_, quantile) = QUANTILES.iter().find(|(known, _)| *known == name)?;
    let of = |jitter: &Jitter| match quantile {
        1.0 => jitter.longest().0,
        _ => jitter.delay_at(quantile).0,
    };
    Some(of(before).max(of(after)) as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seqcast_engine::config::Idle;
    use seqcast_engine::time::Nanos;

    use super::super::place::Place;
    use super::*;

    fn latency(ns: u64) -> Latency {
        let mut latency = Latency::new();
        latency.record(Nanos(ns));
        latency
    }

    #[test]
    fn repeats_become_figures() {
        let mut variant = Variant::new("v");
        for ns in [1_000, 3_000, 2_000] {
            variant.record_latency("all", SystemTime::UNIX_EPOCH, latency(ns));
            variant.count("sent", 5);
        }
        let figure = variant.figure("all: p99").unwrap();
        assert_eq!((figure.values.len(), figure.interval.median), (3, 2_000.0));
        assert_eq!(variant.figures.len(), QUANTILES.len());
        assert_eq!((variant.counted("sent"), variant.counted("nothing")), (15, 0));
        assert_eq!(variant.series[0].merged().count(), 3);
        variant.record_latency("none", SystemTime::UNIX_EPOCH, Latency::new());
        assert!(variant.figure("none: p50").is_none(), "no latencies are no figure");
    }

    #[test]
    fn what_the_host_does_alone_is_no_figure() {
        let place = Place::new(&[], Idle::Spin).unwrap();
        let jitter = Jitter::measure(&place, 1, Duration::from_millis(2));
        let mut variant = Variant::new("v");
        // No host is as slow as a minute or as fast as nothing, however busy it is.
        variant.record("slow: max", Unit::Ns, 60e9);
        variant.record("fast: max", Unit::Ns, 0.0);
        variant.record("other", Unit::Ns, 0.0);
        let mut report = super::super::testing::report(vec![variant]);
        report.doubt(&jitter, &jitter);
        let figures = &report.variants[0].figures;
        assert_eq!(figures[0].doubt, None);
        assert!(figures[1].doubt.as_ref().unwrap().starts_with("meaningless"));
        assert_eq!(figures[2].doubt, None, "no percentile");
        assert!(report.notices[0].starts_with("1 figures"), "{:?}", report.notices);
    }

    #[test]
    fn a_report_reads_back() {
        let mut variant = Variant::new("v");
        variant.record("rate", Unit::PerS, 5.0);
        let report = super::super::testing::report(vec![variant]);
        let text = serde_json::to_string(&report).unwrap();
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }
}
