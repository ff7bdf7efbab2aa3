//! `load`: the highest rate that is sustained without loss, by search.

use std::num::NonZeroU64;

use seqcast_engine::time::Nanos;

use super::flow::{Flow, in_words, standbys_in_words};
use super::report::{Report, Unit, Variant};
use super::session::Session;
use super::stage::{self, Scene, Seen};
use crate::output::{grouped, say};

/// The search ends when the rate that is sustained and the one that is not are this close.
const CLOSE: f64 = 1.05;
/// A rate is not sustained when it was not in so many trials one after the other: the host may have been away.
const TRIALS: usize = 2;

/// What to measure.
pub(crate) struct Load {
    /// Rate to begin with.
    pub(crate) from: NonZeroU64,
    /// Highest rate tried.
    pub(crate) to: NonZeroU64,
    /// How late the last message may be in the book: then nothing has piled up.
    pub(crate) backlog: Nanos,
    pub(crate) standbys: Vec<usize>,
    pub(crate) flow: Flow,
}

/// Searches with each number of standbys in turn.
///
/// # Errors
/// Something could not be set up, or failed.
pub(crate) fn run(session: &Session, load: &Load) -> anyhow::Result<Report> {
    let (count, _) = session.messages(load.to.get());
    let messages = load.flow.prepare(count)?;
    let variants = load.standbys.iter().map(|count| Variant::new(standbys_in_words(*count))).collect();
    let what = format!(
        "highest rate at which every message of {} s gets into the book and the last one is no more than {} late",
        session.seconds, load.backlog
    );
    let subject = load
        .flow
        .subject("load", what, session, &messages)
        .with("rates", format!("{}/s to {}/s", grouped(load.from.get()), grouped(load.to.get())))
        .with("standbys", in_words(&load.standbys));
    let mut report = session.measure(subject, variants, |at, variant| {
        let mut best = None;
        let search = Search { from: load.from.get(), to: load.to.get() };
        let found = search.run(|rate| {
            let scene = Scene {
                standbys: load.standbys[at],
                ..load.flow.scene(session, &messages, NonZeroU64::new(rate).unwrap_or(load.from))
            };
            for _ in 0..TRIALS {
                let seen = stage::run(&scene, &session.stop)?;
                if session.stop.is_set() {
                    anyhow::bail!("interrupted");
                }
                let is_sustained = seen.sustains(&scene, load.backlog);
                let word = if is_sustained { "sustained" } else { "not sustained" };
                say(format_args!("load: {}: {}/s {word}", variant.name, grouped(rate)));
                if is_sustained {
                    best = Some((scene, seen));
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        let Some((scene, seen)) = best.filter(|_| found.is_some()) else {
            anyhow::bail!("not even {}/s is sustained: begin with a lower --from", grouped(load.from.get()));
        };
        let rate = found.unwrap_or(0);
        seen.record(&scene, variant);
        variant.record("sustained rate", Unit::PerS, rate as f64);
        Ok(format!("{}/s", grouped(rate)))
    })?;
    let at_the_end = |variant: &&Variant| {
        variant.figure("sustained rate").is_some_and(|rate| rate.interval.high >= load.to.get() as f64)
    };
    let ended: Vec<String> =
        report.variants.iter().filter(at_the_end).map(|variant| variant.name.clone()).collect();
    for name in ended {
        report.notice(format!("{name}: the highest rate tried was sustained; more may be: raise --to"));
    }
    Ok(report)
}

impl Seen {
    /// Whether everything came, and nothing had piled up at the end.
    fn sustains(&self, scene: &Scene<'_>, backlog: Nanos) -> bool {
        let due = scene.timing.due(scene.count - 1);
        self.is_whole
            && self.is_steady
            && self
                .subscribers
                .iter()
                .all(|seen| seen.lost == 0 && seen.untimed == 0 && seen.took <= due + backlog)
    }
}

/// Between two rates.
struct Search {
    from: u64,
    to: u64,
}

impl Search {
    /// The highest rate at which `sustained`, to within [`CLOSE`]; none when the first is not.
    fn run(&self, mut sustained: impl FnMut(u64) -> anyhow::Result<bool>) -> anyhow::Result<Option<u64>> {
        if !sustained(self.from)? {
            return Ok(None);
        }
        let (mut low, mut high) = (self.from, None);
        while high.is_none() && low < self.to {
            let next = low.saturating_mul(2).min(self.to);
            if sustained(next)? { low = next } else { high = Some(next) }
        }
        let mut high = high.unwrap_or(low);
        while high as f64 > low as f64 * CLOSE {
            let middle = low + (high - low) / 2;
            if middle == low {
                break;
            }
            if sustained(middle)? { low = middle } else { high = middle }
        }
        Ok(Some(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_edge() {
        for edge in [1_000, 1_001, 12_345, 99_999, 1_000_000] {
            let mut trials = 0;
            let found = Search { from: 1_000, to: 400_000 }.run(|rate| {
                trials += 1;
                Ok(rate <= edge)
            });
            let found = found.unwrap().unwrap();
            let edge = edge.min(400_000);
            assert!(found <= edge && found as f64 * CLOSE * 1.01 >= edge as f64, "{found} of {edge}");
            assert!(trials < 20, "{trials}");
        }
        assert_eq!(Search { from: 10, to: 20 }.run(|_| Ok(false)).unwrap(), None);
        assert_eq!(Search { from: 1, to: 1 }.run(|_| Ok(true)).unwrap(), Some(1));
        assert_eq!(Search { from: 1, to: 3 }.run(|rate| Ok(rate < 2)).unwrap(), Some(1));
    }
}
