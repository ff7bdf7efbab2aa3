//! Rate, sources and subscribers: what a message costs on the whole path, publisher → sequencer (journal) → subscribers'
//! books.

use std::num::NonZeroU64;
use std::sync::Arc;

use seqcast_engine::config::Config;

use super::{Axis, Spot, per_s};
use crate::bench::busy::Party;
use crate::bench::curve::{Cost, Point};
use crate::bench::flow::Flow;
use crate::bench::observer::{SPANS, WHOLE};
use crate::bench::report::{Report, Unit, Variant};
use crate::bench::schedule::Prepared;
use crate::bench::session::Session;
use crate::bench::stage::{self, Scene, TRACED};
use crate::output::grouped;

/// Messages a second of all sources together while their number grows.
const SOURCES_RATE: u64 = 20_000;
/// Messages a second while subscribers grow.
const SUBSCRIBERS_RATE: u64 = 1_000;
/// Stocks: some for each of the most sources.
const SYMBOLS: u16 = 256;
const LINES: usize = 2;
/// What a publisher keeps is less than [`TRACED`] messages: where the path does not keep up, they wait before they are
/// taken, and are told with all of the time that they waited.
const RETAIN_BYTES: usize = 1 << 20;
const LEAST_RETAIN_BYTES: usize = 1 << 16;
/// With more subscribers or sources than these, each has a ring of this size at most.
const FEW: u64 = 4;
const RING_BYTES: usize = 1 << 20;
/// So much of a rate's messages may be on its way with its times remembered: a fifth of a second.
const TRACED_PART: u64 = 5;
/// Memory of a sequencer or a publisher, and of a subscriber with its books, with buffers of the kernel.
const NODE_BYTES: u64 = 100 << 20;
const SUBSCRIBER_BYTES: u64 = 40 << 20;

/// What a party's work on a message costs.
fn busy(party: Party) -> String {
    format!("busy: {party}")
}

/// What is drawn of the curve along `axis`.
pub(super) fn costs(axis: Axis) -> Vec<Cost> {
    // The tail is the host's as often as ours.
    let mut costs = vec![Cost::new(format!("{WHOLE}: p50")), Cost::beside(format!("{WHOLE}: p99"))];
    costs.extend([Party::Publishers, Party::Sequencer].map(|party| Cost::new(busy(party))));
    costs.push(Cost::new(if axis == Axis::Subscribers { EACH.into() } else { busy(Party::Subscribers) }));
    costs
}

/// What one of many subscribers' work on a message costs.
const EACH: &str = "busy: each subscriber";

/// What the curve is of.
pub(super) fn what(axis: Axis) -> String {
    let still = match axis {
        Axis::Rate => "one source, one subscriber".to_owned(),
        Axis::Sources => {
            format!("one subscriber, {} messages/s of all sources together", grouped(SOURCES_RATE))
        }
        _ => format!("one source, {} messages/s", grouped(SUBSCRIBERS_RATE)),
    };
    format!(
        "publisher → sequencer (journal) → subscriber's book, {LINES} lines, {still}; latency from the time due, and the time \
         of the duty cycles that had work, by message"
    )
}

/// What flows, made beforehand for all points.
pub(super) struct Path {
    messages: Arc<Prepared>,
    flow: Flow,
}

impl Path {
    /// As many messages as the longest of `spots` needs.
    ///
    /// # Errors
    /// They cannot be made.
    pub(super) fn prepare(session: &Session, spots: &[Spot], seed: u64) -> anyhow::Result<Path> {
        let flow = Flow { symbols: SYMBOLS, lines: LINES, seed };
        let rates = spots.iter().filter_map(|spot| rate(*spot));
        let most = rates.map(|rate| session.messages(rate.get()).0).max().unwrap_or(1);
        Ok(Path { messages: flow.prepare(most)?, flow })
    }

    /// Runs the path once and adds what it cost.
    ///
    /// # Errors
    /// Something could not be set up, or failed.
    pub(super) fn measure(
        &self,
        session: &Session,
        spot: Spot,
        variant: &mut Variant,
    ) -> anyhow::Result<String> {
        let rate = rate(spot).unwrap_or(NonZeroU64::MIN);
        let (sources, subscribers) = crowd(spot);
        let config = configured(&session.config, spot);
        let scene = Scene {
            config: &config,
            sources: sources as usize,
            subscribers: subscribers as usize,
            is_timed: true,
            traced: TRACED.max((rate.get() / TRACED_PART) as usize),
            ..self.flow.scene(session, &self.messages, rate)
        };
        let seen = stage::run(&scene, &session.stop)?;
        let spent = seen.busy.unwrap_or_default();
        let found = seen.record(&scene, variant);
        for (party, spent) in Party::ALL.into_iter().zip(spent).filter(|(party, _)| *party != Party::Standbys)
        {
            variant.record(&busy(party), Unit::Ns, spent.0 as f64 / scene.count as f64);
            if party == Party::Subscribers {
                let deliveries = scene.count * subscribers;
                variant.record(EACH, Unit::Ns, spent.0 as f64 / deliveries as f64);
            }
        }
        Ok(found)
    }
}

/// Messages a second at a point, if it is one of the path.
fn rate(spot: Spot) -> Option<NonZeroU64> {
    match spot.axis {
        Axis::Rate => Some(per_s(spot.at)),
        Axis::Sources => Some(per_s(SOURCES_RATE)),
        Axis::Subscribers => Some(per_s(SUBSCRIBERS_RATE)),
        Axis::Symbols | Axis::Orders | Axis::Journal => None,
    }
}

/// Sources and subscribers at a point.
fn crowd(spot: Spot) -> (u64, u64) {
    match spot.axis {
        Axis::Sources => (spot.at, 1),
        Axis::Subscribers => (1, spot.at),
        _ => (1, 1),
    }
}

fn configured(base: &Config, spot: Spot) -> Config {
    let (sources, subscribers) = crowd(spot);
    let mut config = base.clone();
    if sources.max(subscribers) > FEW {
        config.memory.ring_bytes = config.memory.ring_bytes.min(RING_BYTES);
    }
    if let Some(publisher) = &mut config.publisher {
        let most = (RETAIN_BYTES / sources as usize).max(LEAST_RETAIN_BYTES);
        publisher.retain_bytes = publisher.retain_bytes.min(most);
    }
    config
}

/// Memory for a point.
pub(super) fn needed_bytes(session: &Session, spot: Spot) -> u64 {
    let (sources, subscribers) = crowd(spot);
    let messages = rate(spot).map_or(0, |rate| session.messages(rate.get()).0);
    let base = NODE_BYTES * 2 + messages * 128;
    base + (sources + subscribers) * SUBSCRIBER_BYTES
}

/// What the counters and the stages say of a bend.
pub(super) fn why(report: &Report, bend: &Point, from: &Point) -> Option<String> {
    let of = |point: &Point| report.variants.iter().find(|variant| variant.name == point.variant);
    let (bend, from) = (of(bend)?, of(from)?);
    let median = |variant: &Variant, figure: &str| variant.figure(figure).map(|found| found.interval.median);
    let more = |figure: &str| Some(median(bend, figure)? - median(from, figure)?);
    let mut told = Vec::new();
    let whole = more(&format!("{WHOLE}: p50"));
    let stages = SPANS.iter().filter(|(.., name)| *name != WHOLE);
    let stages = stages.filter_map(|(.., name)| Some((*name, more(&format!("{name}: p50"))?)));
    if let (Some(whole), Some((name, most))) = (whole, stages.max_by(|a, b| a.1.total_cmp(&b.1)))
        && whole > 0.0
        && most > 0.0
    {
        let (most, whole) = [most, whole].map(|ns| crate::bench::text::value(ns, Unit::Ns)).into();
        told.push(format!("of {whole} more, {most} are in “{name}”"));
    }
    for (name, count) in &bend.counts {
        const HINDRANCES: [&str; 8] = [
            "dropped by the kernel",
            "dropped by the kernel before the sequencer",
            "refused by the publishers' histories",
            "refused by the sequencer's ring",
            "datagrams held back by the pace",
            "lost before the sequencer",
            "filled by rewind",
            "lost for good",
        ];
        if *count > 0 && HINDRANCES.contains(&name.as_str()) && from.counted(name) < *count {
            told.push(format!("{name}: {}", grouped(*count)));
        }
    }
    (!told.is_empty()).then(|| told.join(", "))
}
