//! `burst`: many messages at once, and the time until the last is in the book.

use std::num::NonZeroU64;

use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;

use super::flow::{Flow, in_words};
use super::report::{Report, Unit, Variant};
use super::schedule::Timing;
use super::session::Session;
use super::stage::{self, Scene};
use crate::output::grouped;

/// Name of the series.
const LAST: &str = "burst due → its last message in the book";

/// What to measure.
pub(crate) struct Burst {
    /// Messages of a burst.
    pub(crate) sizes: Vec<NonZeroU64>,
    /// Time from one burst to the next.
    pub(crate) every: Nanos,
    pub(crate) flow: Flow,
}

/// Measures bursts of each size in turn.
///
/// # Errors
/// Something could not be set up, or failed.
pub(crate) fn run(session: &Session, burst: &Burst) -> anyhow::Result<Report> {
    let bursts = ((session.seconds * 1e9 / burst.every.0 as f64) as u64).max(2);
    let not_measured = ((session.warm_up_seconds * 1e9 / burst.every.0 as f64) as u64).clamp(1, bursts - 1);
    let most = burst.sizes.iter().max().map_or(0, |size| size.get() * bursts);
    let messages = burst.flow.prepare(most)?;
    let name = |size: &NonZeroU64| format!("{} messages", grouped(size.get()));
    let variants = burst.sizes.iter().map(|size| Variant::new(name(size))).collect();
    let what =
        "so many messages due at once, again and again; until the last of them is in the subscriber's book";
    let subject = burst
        .flow
        .subject("burst", what, session, &messages)
        .with("sizes", in_words(&burst.sizes))
        .with("a burst every", burst.every)
        .with("bursts a repeat", bursts);
    session.measure(subject, variants, |at, variant| {
        let size = burst.sizes[at];
        let scene = Scene {
            count: size.get() * bursts,
            timing: Timing::Bursts { size, every: burst.every },
            warm_up: size.get() * not_measured,
            ..burst.flow.scene(session, &messages, size)
        };
        let seen = stage::run(&scene, &session.stop)?;
        let mut last = Latency::new();
        seen.subscribers.iter().for_each(|seen| last.merge(&seen.bursts));
        let (began, p50) = (seen.began, last.percentiles().p50);
        seen.record(&scene, variant);
        variant.record_latency(LAST, began, last);
        let rate = size.get() as f64 * 1e9 / p50.0.max(1) as f64;
        variant.record("messages of a burst a second, at its p50", Unit::PerS, rate);
        Ok(format!("the last is in the book after {p50} (p50)"))
    })
}
