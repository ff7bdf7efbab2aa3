//! `ping`: the round trip of one datagram, over our driver and over raw sockets.

use std::num::NonZeroU64;

use seqcast_engine::config::IoDriver;

use super::echo::{self, Addressing, DriverWire, Play, RawWire, Wire};
use super::report::{Report, Variant};
use super::schedule::Timing;
use super::session::{Session, Subject};
use crate::output::grouped;

/// Name of the series of round trips.
pub const ROUND_TRIP: &str = "round trip";

/// What to measure.
pub(crate) struct Ping {
    pub(crate) rate: NonZeroU64,
    pub(crate) bytes: usize,
    pub(crate) drivers: Vec<IoDriver>,
}

/// Whose round trip.
#[derive(Clone, Copy)]
enum Who {
    Raw(Addressing),
    Ours(IoDriver, Addressing),
}

impl Who {
    fn name(self) -> String {
        match self {
            Who::Raw(addressing) => format!("raw sockets, {}", word(addressing)),
            Who::Ours(driver, addressing) => format!("{}, {}", driver_name(driver), word(addressing)),
        }
    }
}

/// The driver as benchmarks call it.
pub fn driver_name(driver: IoDriver) -> &'static str {
    match driver {
        IoDriver::Auto => "driver auto",
        IoDriver::Uring => "driver uring",
        IoDriver::Udp => "driver udp",
        IoDriver::Xdp => "driver xdp",
    }
}

pub(super) fn word(addressing: Addressing) -> &'static str {
    match addressing {
        Addressing::Unicast => "unicast",
        Addressing::Multicast => "multicast",
    }
}

/// Measures the round trips in turn.
///
/// # Errors
/// A driver or a socket cannot be had.
pub(crate) fn run(session: &Session, ping: &Ping) -> anyhow::Result<Report> {
    let both = [Addressing::Unicast, Addressing::Multicast];
    let mut who: Vec<Who> = both.map(Who::Raw).to_vec();
    who.extend(ping.drivers.iter().flat_map(|driver| both.map(|addressing| Who::Ours(*driver, addressing))));
    let variants = who.iter().map(|who| Variant::new(who.name())).collect();
    let what = format!(
        "round trip of one datagram of {} bytes between two threads on loopback, due → back, open loop at {}/s",
        ping.bytes,
        grouped(ping.rate.get())
    );
    let subject = Subject::new("ping", what, 2)
        .with("rate", format!("{}/s", grouped(ping.rate.get())))
        .with("bytes", ping.bytes)
        .without(&["network cards, cables and switches: loopback only", "the sending of several at once"]);
    let mut report = session.measure(subject, variants, |at, variant| match who[at] {
        Who::Raw(addressing) => raw(session, addressing, ping.rate, ping.bytes, variant),
        Who::Ours(driver, addressing) => {
            let mut config = session.config.clone();
            config.io.driver = driver;
            let (ends, name, notices) = DriverWire::pair(&config, addressing)?;
            variant.notices.extend(notices);
            variant.threads = vec![format!("driver {name}: one thread pings, one sends back")];
            round_trips(session, ends, ping.rate, ping.bytes, variant)
        }
    })?;
    let p50 = format!("{ROUND_TRIP}: p50");
    for addressing in both {
        let raw = Who::Raw(addressing).name();
        for who in who.iter().filter(|who| matches!(who, Who::Ours(_, of) if *of == addressing)) {
            let values = report.quotients([&who.name(), &p50], [&raw, &p50]);
            report.ratio(format!("{} / raw sockets, p50", who.name()), values);
        }
    }
    Ok(report)
}

/// Plays over raw sockets, adds what came of it to `variant`, and says in a word what that was.
///
/// # Errors
/// What the system refused.
pub(super) fn raw(
    session: &Session,
    addressing: Addressing,
    rate: NonZeroU64,
    bytes: usize,
    variant: &mut Variant,
) -> anyhow::Result<String> {
    round_trips(session, RawWire::pair(addressing)?, rate, bytes, variant)
}

/// Plays ping-pong between `ends` as long as a measurement takes, adds what came of it to `variant`, and says in a word
/// what that was.
///
/// # Errors
/// What the system refused.
pub fn round_trips<W: Wire>(
    session: &Session,
    ends: [W; 2],
    rate: NonZeroU64,
    bytes: usize,
    variant: &mut Variant,
) -> anyhow::Result<String> {
    let (count, warm_up) = session.messages(rate.get());
    let play = Play { place: &session.place, bytes, count, warm_up, timing: Timing::Rate(rate) };
    let played = echo::play(ends, play, &session.stop)?;
    variant.count("sent", played.sent);
    variant.count("received", played.received);
    let p50 = played.round_trips.percentiles().p50;
    variant.record_latency(ROUND_TRIP, played.began, played.round_trips);
    Ok(format!("p50 {p50}"))
}
