//! `pipe`: publisher → sequencer → [standbys] → subscriber → book, by stage.

use std::num::NonZeroU64;

use anyhow::Context;

use super::echo::Addressing;
use super::flow::{Flow, in_words, standbys_in_words};
use super::observer::WHOLE;
use super::ping::{self, ROUND_TRIP};
use super::report::{Report, Variant};
use super::session::Session;
use super::stage::{self, Scene};
use super::wire::{Between, Wire};
use crate::output::grouped;

/// Payload of the datagrams that the path and the cost of safety are measured by.
const RAW_BYTES: usize = 64;

/// What to measure.
pub(crate) struct Pipe {
    pub(crate) rates: Vec<NonZeroU64>,
    pub(crate) standbys: Vec<usize>,
    pub(crate) between: Between,
    pub(crate) flow: Flow,
}

#[derive(Clone, Copy)]
enum Turn {
    /// The round trip of a raw datagram: the yardstick. Standbys are spoken to by unicast, all else is multicast.
    Raw(NonZeroU64, Addressing),
    /// The same over the wire that the standbys are behind.
    RawWire(NonZeroU64),
    Path {
        rate: NonZeroU64,
        standbys: usize,
    },
}

impl Turn {
    fn name(self) -> String {
        match self {
            Turn::Raw(rate, addressing) => {
                format!("raw datagram, {}, {}/s", ping::word(addressing), grouped(rate.get()))
            }
            Turn::RawWire(rate) => format!("raw datagram, over the wire, {}/s", grouped(rate.get())),
            Turn::Path { rate, standbys } => {
                format!("{}, {}/s", standbys_in_words(standbys), grouped(rate.get()))
            }
        }
    }
}

/// Measures the path with each number of standbys and at each rate in turn, and raw round trips between them.
///
/// # Errors
/// Something could not be set up, or failed.
pub(crate) fn run(session: &Session, pipe: &Pipe) -> anyhow::Result<Report> {
    let wire = Wire::new(pipe.between)?;
    let turns: Vec<Turn> = pipe
        .rates
        .iter()
        .flat_map(|&rate| {
            let paths = pipe.standbys.iter().map(move |&standbys| Turn::Path { rate, standbys });
            let raw = [Addressing::Unicast, Addressing::Multicast].map(|way| Turn::Raw(rate, way));
            raw.into_iter().chain(wire.is_some().then_some(Turn::RawWire(rate))).chain(paths)
        })
        .collect();
    let most = pipe.rates.iter().map(|rate| session.messages(rate.get()).0).max().unwrap_or(0);
    let messages = pipe.flow.prepare(most)?;
    let variants = turns.iter().map(|turn| Variant::new(turn.name())).collect();
    let network = match pipe.between {
        Between::Loopback => "over loopback multicast",
        Between::Wire(_) => "over multicast, the standbys behind a veth pair",
    };
    let what = format!(
        "publisher → sequencer (journal) → [standbys] → subscriber → book, in one process {network}, due → in the book, \
         open loop"
    );
    let subject = pipe
        .flow
        .subject("pipe", what, session, &messages)
        .with("rates", in_words(&pipe.rates))
        .with("standbys", in_words(&pipe.standbys))
        .with("between sequencer and standbys", pipe.between)
        .with("raw datagram", format!("{RAW_BYTES} bytes"));
    let mut report = session.measure(subject, variants, |at, variant| match turns[at] {
        Turn::Raw(rate, addressing) => ping::raw(session, addressing, rate, RAW_BYTES, variant),
        Turn::RawWire(rate) => {
            let ends = wire.as_ref().context("no wire")?.raw()?;
            ping::round_trips(session, ends, rate, RAW_BYTES, variant)
        }
        Turn::Path { rate, standbys } => {
            let scene = Scene { standbys, wire: wire.as_ref(), ..pipe.flow.scene(session, &messages, rate) };
            Ok(stage::run(&scene, &session.stop)?.record(&scene, variant))
        }
    })?;
    compare(&mut report, pipe);
    Ok(report)
}

/// What standbys cost, and the whole path, in raw round trips of the same run.
fn compare(report: &mut Report, pipe: &Pipe) {
    let (whole, round_trip) = (format!("{WHOLE}: p50"), format!("{ROUND_TRIP}: p50"));
    for &rate in &pipe.rates {
        let [raw, raw_multicast] =
            [Addressing::Unicast, Addressing::Multicast].map(|way| Turn::Raw(rate, way).name());
        let alone = Turn::Path { rate, standbys: 0 }.name();
        for &standbys in &pipe.standbys {
            let path = Turn::Path { rate, standbys }.name();
            let values = report.quotients([&path, &whole], [&raw, &round_trip]);
            report.ratio(format!("{path}: whole path / raw round trip, p50"), values);
            let values = report.quotients([&path, &whole], [&raw_multicast, &round_trip]);
            report.ratio(format!("{path}: whole path / raw multicast round trip, p50"), values);
            if standbys > 0 {
                // How much longer the path is than alone, in raw round trips.
                let with = report.values(&path, &whole).iter().zip(report.values(&alone, &whole));
                let more: Vec<f64> = with.map(|(with, alone)| with - alone).collect();
                let mut cost = |yardstick: &str, name: &str| {
                    let raw = report.values(yardstick, &round_trip);
                    let values = more.iter().zip(raw).map(|(more, raw)| more / raw).collect();
                    report.ratio(format!("{path}: cost of safety / {name}, p50"), values);
                };
                cost(&raw, "raw round trip");
                if pipe.between != Between::Loopback {
                    cost(&Turn::RawWire(rate).name(), "raw round trip over the wire");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Unit;
    use super::super::testing;
    use super::*;

    #[test]
    fn the_cost_of_safety_is_what_a_standby_adds_in_raw_round_trips() {
        let [rate] = [NonZeroU64::new(100).unwrap()];
        let pipe = Pipe {
            rates: vec![rate],
            standbys: vec![0, 1],
            between: Between::Loopback,
            flow: Flow { symbols: 1, lines: 2, seed: 1 },
        };
        let variant = |turn: Turn, series: &str, values: [f64; 3]| {
            let mut variant = Variant::new(turn.name());
            values.iter().for_each(|value| variant.record(&format!("{series}: p50"), Unit::Ns, *value));
            variant
        };
        let mut report = testing::report(vec![
            variant(Turn::Raw(rate, Addressing::Unicast), ROUND_TRIP, [10.0, 20.0, 10.0]),
            variant(Turn::Raw(rate, Addressing::Multicast), ROUND_TRIP, [15.0, 30.0, 15.0]),
            variant(Turn::Path { rate, standbys: 0 }, WHOLE, [30.0, 60.0, 30.0]),
            variant(Turn::Path { rate, standbys: 1 }, WHOLE, [41.0, 80.0, 42.0]),
        ]);
        compare(&mut report, &pipe);
        let found: Vec<(&str, &[f64])> =
            report.ratios.iter().map(|ratio| (ratio.name.as_str(), ratio.values.as_slice())).collect();
        assert_eq!(
            found,
            [
                ("no standby, 100/s: whole path / raw round trip, p50", &[3.0, 3.0, 3.0][..]),
                ("no standby, 100/s: whole path / raw multicast round trip, p50", &[2.0, 2.0, 2.0][..]),
                ("1 standby, 100/s: whole path / raw round trip, p50", &[4.1, 4.0, 4.2][..]),
                (
                    "1 standby, 100/s: whole path / raw multicast round trip, p50",
                    &[41.0 / 15.0, 80.0 / 30.0, 2.8][..]
                ),
                ("1 standby, 100/s: cost of safety / raw round trip, p50", &[1.1, 1.0, 1.2][..]),
            ]
        );
    }
}
