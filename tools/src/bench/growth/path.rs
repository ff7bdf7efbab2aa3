//! Rate, sources and subscribers: what a message costs on the whole path, publisher → sequencer (journal) → subscribers'
//! books.

use std::num::NonZeroU64;
use std::sync::Arc;

use seqcast_engine::config::Config;
use seqcast_engine::limits::MIN_SEGMENT_BYTES;

use super::{Axis, Spot, per_s};
use crate::bench::busy::Party;
use crate::bench::curve::Cost;
use crate::bench::flow::Flow;
use crate::bench::observer::{SPANS, WHOLE};
use crate::bench::report::{Unit, Variant};
use crate::bench::schedule::Prepared;
use crate::bench::session::Session;
use crate::bench::stage::{self, Scene, TRACED};
use crate::bench::text;
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
/// A message in the journal, with the header of its frame.
const FRAME_BYTES: u64 = 96;
/// Memory of a sequencer or a publisher, and of a subscriber with its books, with buffers of the kernel.
const NODE_BYTES: u64 = 100 << 20;
const SUBSCRIBER_BYTES: u64 = 40 << 20;

/// What a party's work on a message costs.
fn busy(party: Party) -> String {
    format!("busy: {party}")
}

/// Which part of the time a party had work.
fn part_busy(party: Party) -> String {
    format!("part of the time busy: {party}")
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
         of the duty cycles that had work, by message. Where there are fewer cores than agents, agents wait for each \
         other's turns"
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
        let config = configured(&session.config, spot, session.messages(rate.get()).0);
        let scene = Scene {
            config: &config,
            sources: sources as usize,
            subscribers: subscribers as usize,
            is_timed: true,
            traced: TRACED.max((rate.get() / TRACED_PART) as usize),
            ..self.flow.scene(session, &self.messages, rate)
        };
        let seen = stage::run(&scene, &session.stop)?;
        let (spent, passed) = seen.busy.unwrap_or_default();
        let found = seen.record(&scene, variant);
        for (party, spent) in Party::ALL.into_iter().zip(spent).filter(|(party, _)| *party != Party::Standbys)
        {
            variant.record(&busy(party), Unit::Ns, spent.0 as f64 / scene.count as f64);
            variant.record(&part_busy(party), Unit::Ratio, spent.0 as f64 / passed.0.max(1) as f64);
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

/// `base` for a point with so many messages.
fn configured(base: &Config, spot: Spot, messages: u64) -> Config {
    let (sources, subscribers) = crowd(spot);
    let mut config = base.clone();
    if sources.max(subscribers) > FEW {
        config.memory.ring_bytes = config.memory.ring_bytes.min(RING_BYTES);
    }
    if let Some(journal) = &mut config.journal {
        // A segment is zeroed and synced when it is made: more than the run needs would be done while it is measured.
        let needed = (messages * FRAME_BYTES).next_multiple_of(1 << 20).max(MIN_SEGMENT_BYTES);
        journal.segment_bytes = journal.segment_bytes.min(needed);
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

/// What the stages, the counters and the datagrams say of a bend.
pub(super) fn why(figure: &str, bend: &Variant, from: &Variant) -> Option<String> {
    let mut told = Vec::new();
    if let Some((WHOLE, quantile)) = figure.rsplit_once(": ") {
        told.extend(slowest_stage(quantile, bend, from));
        told.push(occupied(bend));
    }
    if let Some((_, name)) = DATAGRAMS.iter().find(|(party, _)| figure == busy(*party)) {
        let a_message = |variant: &Variant| {
            let messages = variant.counted("sent") as f64 / subscribers_of(variant);
            variant.counted(name) as f64 / messages.max(1.0)
        };
        told.push(format!("{name}, by message: {:.2}, and {:.2} there", a_message(bend), a_message(from)));
    }
    for (name, count) in &bend.counts {
        if HINDRANCES.contains(&name.as_str()) && from.counted(name) < *count {
            told.push(format!("{name}: {}", grouped(*count)));
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// Counts that tell of something in the way.
const HINDRANCES: [&str; 8] = [
    "dropped by the kernel",
    "dropped by the kernel before the sequencer",
    "refused by the publishers' histories",
    "refused by the sequencer's ring",
    "datagrams held back by the pace",
    "filled by rewind before the sequencer",
    "filled by rewind",
    "lost for good",
];
/// Counts of the datagrams that parties had to do with.
const DATAGRAMS: [(Party, &str); 3] = [
    (Party::Publishers, "datagrams sent by publishers"),
    (Party::Sequencer, "datagrams sent by the sequencer"),
    (Party::Subscribers, "datagrams received by subscribers"),
];

/// How many got each message: each counts what was sent to it.
fn subscribers_of(variant: &Variant) -> f64 {
    let of = |figure: &str| Some(variant.figure(figure)?.interval.median);
    match (of(&busy(Party::Subscribers)), of(EACH)) {
        (Some(all), Some(each)) if each > 0.0 => (all / each).round().max(1.0),
        _ => 1.0,
    }
}

/// How much of the time each party had work: those that share a thread have all of it between them.
fn occupied(variant: &Variant) -> String {
    let of = |party: Party| Some((party, variant.figure(&part_busy(party))?.interval.median));
    let parts = Party::ALL.into_iter().filter_map(of);
    let parts: Vec<String> = parts.map(|(party, part)| format!("{party} {:.0} %", part * 100.0)).collect();
    format!("busy there: {}", parts.join(", "))
}

/// The stage that grew most, at a percentile.
fn slowest_stage(quantile: &str, bend: &Variant, from: &Variant) -> Option<String> {
    let value = |variant: &Variant, name: &str| {
        variant.figure(&format!("{name}: {quantile}")).map(|figure| figure.interval.median)
    };
    let more = |name: &str| Some(value(bend, name)? - value(from, name)?);
    let stages = SPANS.iter().filter(|(.., name)| *name != WHOLE);
    let stages = stages.filter_map(|(.., name)| Some((*name, more(name)?)));
    let (name, most) = stages.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let whole = more(WHOLE).filter(|whole| *whole > 0.0 && most > 0.0)?;
    let [most, whole] = [most, whole].map(|ns| text::value(ns, Unit::Ns));
    Some(format!("{whole} more in all, {most} more in “{name}”"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(p50: f64, stage: f64, refused: u64) -> Variant {
        let mut variant = Variant::new("v");
        variant.record(&format!("{WHOLE}: p50"), Unit::Ns, p50);
        for (nth, (.., name)) in SPANS.iter().filter(|(.., name)| *name != WHOLE).enumerate() {
            variant.record(&format!("{name}: p50"), Unit::Ns, if nth == 1 { stage } else { 10.0 });
        }
        variant.record(&busy(Party::Subscribers), Unit::Ns, 40.0);
        variant.record(EACH, Unit::Ns, 20.0);
        variant.record(&part_busy(Party::Sequencer), Unit::Ratio, 0.58);
        variant.count("sent", 2_000);
        variant.count("datagrams sent by the sequencer", 500 + refused * 1_000);
        variant.count("refused by the sequencer's ring", refused);
        variant
    }

    #[test]
    fn a_bend_is_told_by_its_stage_its_datagrams_and_what_was_in_the_way() {
        let (bend, from) = (variant(5_000.0, 4_000.0, 7), variant(1_000.0, 500.0, 0));
        let told = why(&format!("{WHOLE}: p50"), &bend, &from).unwrap();
        let stage = SPANS[1].2;
        assert!(told.contains(&format!("4.0 µs more in all, 3.5 µs more in “{stage}”")), "{told}");
        assert!(told.contains("busy there: sequencer 58 %"), "{told}");
        assert!(told.ends_with("refused by the sequencer's ring: 7"), "{told}");
        let told = why(&busy(Party::Sequencer), &bend, &from).unwrap();
        assert!(told.contains("by message: 7.50, and 0.50 there") && !told.contains("more in "), "{told}");
        assert_eq!(why(EACH, &from, &from), None);
    }

    #[test]
    fn every_point_has_a_configuration_that_fits_it() {
        for (axis, at) in [(Axis::Rate, 1), (Axis::Sources, 64), (Axis::Subscribers, 64)] {
            let config = configured(&Config::default(), Spot { axis, at }, 800);
            assert!(config.publisher.as_ref().unwrap().retain_bytes <= RETAIN_BYTES);
            assert_eq!(config.memory.ring_bytes == RING_BYTES, at > FEW);
            config.validate().unwrap();
        }
    }
}
