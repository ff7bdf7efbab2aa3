//! What all benchmarks share: the options, and measuring in turn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use seqcast_engine::config::Config;
use seqcast_engine::runtime::StopFlag;

use super::fingerprint::Fingerprint;
use super::jitter::Jitter;
use super::place::Place;
use super::report::{Figure, HostReport, Report, SCHEMA, Unit, Variant};
use crate::output::{grouped, say};

/// How to measure.
pub struct Session {
    /// Where the busy threads are.
    pub place: Place,
    /// Of everybody, but for places.
    pub config: Config,
    /// Where journals go.
    pub dir: PathBuf,
    /// How often everything is measured, in turn.
    pub repeats: usize,
    /// How long each measurement takes, warming up included.
    pub seconds: f64,
    /// How much of it is warming up.
    pub warm_up_seconds: f64,
    /// How long the host alone is measured, before and after.
    pub host_check: Duration,
    /// Set when the user has had enough.
    pub stop: StopFlag,
}

/// What is measured, in words.
pub struct Subject {
    pub(crate) bench: &'static str,
    pub(crate) what: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// Threads that are busy at the same time.
    pub(crate) threads: usize,
    pub(crate) not_measured: Vec<&'static str>,
}

impl Subject {
    /// The benchmark `bench`, which measures `what` with so many threads busy at the same time.
    pub fn new(bench: &'static str, what: impl Into<String>, threads: usize) -> Subject {
        let (parameters, not_measured) = (BTreeMap::new(), Vec::new());
        Subject { bench, what: what.into(), parameters, threads, not_measured }
    }

    /// Adds a parameter.
    pub fn with(mut self, name: &str, value: impl ToString) -> Subject {
        self.parameters.insert(name.into(), value.to_string());
        self
    }

    /// Adds what is not measured.
    pub fn without(mut self, what: &[&'static str]) -> Subject {
        self.not_measured.extend(what);
        self
    }
}

impl Session {
    /// Messages of one measurement at `rate` a second, and how many of them are warming up; at least one is measured.
    pub fn messages(&self, rate: u64) -> (u64, u64) {
        let count = ((rate as f64 * self.seconds) as u64).max(2);
        let warm_up = ((rate as f64 * self.warm_up_seconds) as u64).clamp(1, count - 1);
        (count, warm_up)
    }

    /// Measures each of `variants` in turn by `run`, as often as asked; who goes first changes from turn to turn. `run`
    /// adds what it found to the variant, and says in a word what that was.
    ///
    /// # Errors
    /// What `run` gave, or it was interrupted.
    pub fn measure(
        &self,
        subject: Subject,
        mut variants: Vec<Variant>,
        mut run: impl FnMut(usize, &mut Variant) -> anyhow::Result<String>,
    ) -> anyhow::Result<Report> {
        let Subject { bench, what, mut parameters, threads, not_measured } = subject;
        let fingerprint = Fingerprint::take();
        let seconds = self.host_check.as_secs_f64();
        say(format_args!("{bench}: the host alone for {seconds} s, before and after"));
        let before = Jitter::measure(&self.place, threads, self.host_check);
        for repeat in 0..self.repeats {
            for turn in 0..variants.len() {
                let at = (repeat + turn) % variants.len();
                let variant = &mut variants[at];
                let found = run(at, variant);
                if self.stop.is_set() {
                    bail!("interrupted: nothing is kept of {bench}");
                }
                let found = found?;
                let name = &variant.name;
                say(format_args!("{bench}: repeat {} of {}: {name}: {found}", repeat + 1, self.repeats));
            }
        }
        let after = Jitter::measure(&self.place, threads, self.host_check);
        parameters.insert("seconds".into(), self.seconds.to_string());
        parameters.insert("warm-up".into(), format!("{} s", self.warm_up_seconds));
        let mut notices = fingerprint.doubts();
        if threads > self.place.cores() {
            notices.push(format!(
                "{threads} threads share {} core(s) and yield to each other: latency is that of the kernel's scheduler",
                self.place.cores()
            ));
        }
        let mut report = Report {
            schema: SCHEMA,
            bench: bench.into(),
            what,
            fingerprint,
            parameters,
            repeats: self.repeats,
            host: HostReport::default(),
            layout: variants.iter().map(|variant| (variant.name.clone(), variant.threads.clone())).collect(),
            is_complete: true,
            variants,
            ratios: Vec::new(),
            curves: Vec::new(),
            notices,
            not_measured: not_measured.into_iter().map(str::to_owned).collect(),
        };
        let told: Vec<String> =
            report.variants.iter_mut().flat_map(|variant| std::mem::take(&mut variant.notices)).collect();
        told.into_iter().for_each(|notice| report.notice(notice));
        report.layout.retain(|_, threads| !threads.is_empty());
        report.doubt(&before, &after);
        report.account();
        Ok(report)
    }
}

impl Report {
    /// Everything that was sent must have been received by everybody.
    fn account(&mut self) {
        for variant in &self.variants {
            let (sent, received) = (variant.counted("sent"), variant.counted("received"));
            if sent != received {
                self.is_complete = false;
                self.notices.push(format!(
                    "{}: {} of {} did not arrive",
                    variant.name,
                    grouped(sent.saturating_sub(received)),
                    grouped(sent)
                ));
            }
            for (count, what) in [
                (
                    "untimed",
                    "so many were under way that their times were forgotten: latency is worse than told",
                ),
                (
                    "unsteady runs",
                    "the set of standbys changed while it was measured: it is no measure of that set",
                ),
            ] {
                if variant.counted(count) > 0 {
                    self.is_complete = false;
                    self.notices.push(format!("{}: {}: {what}", variant.name, variant.counted(count)));
                }
            }
        }
    }

    /// What each repeat of a variant gave for a figure; nothing when there is no such figure.
    pub fn values(&self, variant: &str, figure: &str) -> &[f64] {
        let variant = self.variants.iter().find(|known| known.name == variant);
        variant.and_then(|variant| variant.figure(figure)).map_or(&[], |figure| &figure.values)
    }

    /// One over the other, repeat by repeat.
    pub fn quotients(&self, of: [&str; 2], to: [&str; 2]) -> Vec<f64> {
        let (of, to) = (self.values(of[0], of[1]), self.values(to[0], to[1]));
        of.iter().zip(to).map(|(of, to)| of / to).collect()
    }

    /// Adds a figure of one variant against another; not if there is nothing to divide by.
    pub fn ratio(&mut self, name: impl Into<String>, values: Vec<f64>) {
        if !values.is_empty() && values.iter().all(|value| value.is_finite()) {
            self.ratios.push(Figure::new(name, Unit::Ratio, values));
        }
    }

    /// Adds what to know when reading the figures.
    pub fn notice(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }
}
