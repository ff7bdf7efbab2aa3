//! `ping`: the round trip of one datagram between two threads, each with its own end.

use std::num::NonZeroU64;

use seqcast::bench::echo::{Addressing, DriverWire, MAX_BYTES, MIN_BYTES, RawWire};
use seqcast::bench::{ROUND_TRIP, Report, Session, Subject, Variant, driver_name, round_trips};
use seqcast_engine::config::IoDriver;

#[cfg(feature = "aeron")]
use crate::aeron::AeronWire;

/// Our drivers that are measured.
const DRIVERS: [IoDriver; 2] = [IoDriver::Udp, IoDriver::Uring];
const ADDRESSINGS: [Addressing; 2] = [Addressing::Unicast, Addressing::Multicast];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pings a second
    #[arg(long, default_value = "10000")]
    rate: NonZeroU64,
    /// Length of a ping
    #[arg(long, default_value_t = 64, value_parser = bytes)]
    bytes: usize,
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (MIN_BYTES..=MAX_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(format!("must be {MIN_BYTES} to {MAX_BYTES}")),
    }
}

/// Whose round trip.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Raw(Addressing),
    Ours(IoDriver, Addressing),
    #[cfg(feature = "aeron")]
    Aeron(Addressing),
}

impl Who {
    fn all() -> Vec<Who> {
        let of = |addressing| {
            let mut all = vec![Who::Raw(addressing)];
            all.extend(DRIVERS.map(|driver| Who::Ours(driver, addressing)));
            #[cfg(feature = "aeron")]
            all.push(Who::Aeron(addressing));
            all
        };
        ADDRESSINGS.into_iter().flat_map(of).collect()
    }

    fn addressing(self) -> Addressing {
        match self {
            Who::Raw(addressing) | Who::Ours(_, addressing) => addressing,
            #[cfg(feature = "aeron")]
            Who::Aeron(addressing) => addressing,
        }
    }

    fn name(self) -> String {
        let who = match self {
            Who::Raw(_) => "raw sockets",
            Who::Ours(driver, _) => driver_name(driver),
            #[cfg(feature = "aeron")]
            Who::Aeron(_) => "Aeron",
        };
        let how = match self.addressing() {
            Addressing::Unicast => "unicast",
            Addressing::Multicast => "multicast",
        };
        format!("{who}, {how}")
    }
}

/// Measures all in turn.
pub(crate) fn run(session: &Session, args: &Args) -> anyhow::Result<Report> {
    let who = Who::all();
    let variants = who.iter().map(|who| Variant::new(who.name())).collect();
    let what = format!(
        "round trip of {} bytes between two threads on loopback, due → back, open loop at {}/s",
        args.bytes, args.rate
    );
    let subject = Subject::new("rivals-ping", what, 2)
        .with("rate", format!("{}/s", args.rate))
        .with("bytes", args.bytes)
        .without(&["network cards, cables and switches: loopback only"]);
    let mut report = session.measure(subject, variants, |at, variant| match who[at] {
        Who::Raw(addressing) => {
            round_trips(session, RawWire::pair(addressing)?, args.rate, args.bytes, variant)
        }
        Who::Ours(driver, addressing) => {
            let mut config = session.config.clone();
            config.io.driver = driver;
            let (ends, _, notices) = DriverWire::pair(&config, addressing)?;
            variant.notices.extend(notices);
            round_trips(session, ends, args.rate, args.bytes, variant)
        }
        #[cfg(feature = "aeron")]
        Who::Aeron(addressing) => {
            variant.threads = vec!["each thread has its driver in invoker mode".into()];
            round_trips(session, AeronWire::pair(addressing)?, args.rate, args.bytes, variant)
        }
    })?;
    for of in &who {
        for to in who.iter().filter(|to| to.addressing() == of.addressing()) {
            if matches!(of, Who::Ours(..)) && !matches!(to, Who::Ours(..)) {
                let (of, to) = (of.name(), to.name());
                for quantile in ["p50", "p90"] {
                    let figure = format!("{ROUND_TRIP}: {quantile}");
                    let values = report.quotients([&of, &figure], [&to, &figure]);
                    report.ratio(format!("{of} / {to}, {quantile}"), values);
                }
            }
        }
    }
    crate::without_aeron(&mut report);
    Ok(report)
}
