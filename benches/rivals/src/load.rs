//! `load`: the highest rate at which every message arrives and nothing piles up, over one hop.

use std::num::NonZeroU64;
use std::time::Duration;

use seqcast::bench::{Report, Session, Subject, Timing, Unit, Variant};
use seqcast_engine::config::IoDriver;
use seqcast_engine::time::Nanos;

#[cfg(feature = "aeron")]
use crate::aeron;
use crate::flow::Flow;
use crate::{hop, ours};

/// Latency is measured of one message in so many.
const SAMPLE: u64 = 64;
/// A run that has not ended so long after it should have is not waited for.
const LATE: Duration = Duration::from_millis(50);
/// Name of the figure.
const RATE: &str = "sustained rate";
/// The first search goes in steps of this, the last one that holds is then refined.
const STEPS: [f64; 3] = [1.5, 1.15, 1.05];
/// How far below the last repeat's rate the next one begins.
const BELOW: f64 = 0.8;
/// A rate is not sustained when it was not in so many trials one after the other: the host may have been away.
const TRIALS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Length of a message
    #[arg(long, default_value_t = 32, value_parser = crate::message_bytes)]
    bytes: usize,
    /// Lengths of datagrams (UDP payload)
    #[arg(long, value_delimiter = ',', default_value = "1408,8192", value_parser = datagram)]
    datagram: Vec<usize>,
    /// Messages a second to begin with
    #[arg(long, default_value = "500000", value_name = "RATE")]
    from: NonZeroU64,
    /// Most messages a second to try
    #[arg(long, default_value = "60000000", value_name = "RATE")]
    to: NonZeroU64,
    /// Milliseconds that the last message may be late
    #[arg(long, default_value_t = 10, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    backlog: u64,
    /// Measure only those whose name holds this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

fn datagram(text: &str) -> Result<usize, String> {
    match text.parse() {
        // Aeron takes multiples of its frame's alignment.
        Ok(bytes) if (1_088..=65_504).contains(&bytes) && bytes % 32 == 0 => Ok(bytes),
        _ => Err("must be a multiple of 32 from 1088 to 65504".into()),
    }
}

/// Whose throughput.
#[derive(Clone, Copy, Debug)]
enum Who {
    Ours(IoDriver, usize),
    #[cfg(feature = "aeron")]
    Aeron(usize, aeron::Tuning),
}

impl Who {
    fn all(datagrams: &[usize]) -> Vec<Who> {
        let mut all = Vec::new();
        for &datagram in datagrams {
            all.push(Who::Ours(IoDriver::Uring, datagram));
            #[cfg(feature = "aeron")]
            all.extend(
                [aeron::Tuning::Defaults, aeron::Tuning::Load].map(|tuning| Who::Aeron(datagram, tuning)),
            );
        }
        all
    }

    fn datagram(self) -> usize {
        match self {
            Who::Ours(_, datagram) => datagram,
            #[cfg(feature = "aeron")]
            Who::Aeron(datagram, _) => datagram,
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Who::Ours(..))
    }

    fn name(self) -> String {
        match self {
            Who::Ours(_, datagram) => format!("Seqcast, {datagram} B"),
            #[cfg(feature = "aeron")]
            Who::Aeron(datagram, tuning) => format!("Aeron {tuning}, {datagram} B"),
        }
    }

    fn ends(self, session: &Session, flow: &Flow) -> anyhow::Result<hop::Ends> {
        match self {
            Who::Ours(driver, datagram_bytes) => {
                let setup =
                    ours::Setup { driver, lines: 1, datagram_bytes, loss: 0.0, seed: 0, for_load: true };
                ours::ends(&session.config, setup, flow)
            }
            #[cfg(feature = "aeron")]
            Who::Aeron(mtu, tuning) => aeron::ends(aeron::Settings { mtu, tuning, loss: None }, flow),
        }
    }
}

/// Measures all in turn.
pub(crate) fn run(session: &Session, args: &Args) -> anyhow::Result<Report> {
    let mut who = Who::all(&args.datagram);
    if let Some(word) = &args.only {
        who.retain(|who| who.name().contains(word.as_str()));
    }
    let variants = who.iter().map(|who| Variant::new(who.name())).collect();
    let what = format!(
        "highest rate at which every message of {} bytes arrives over one hop of multicast on loopback, the last one no \
         more than {} ms late, in trials of {} s",
        args.bytes, args.backlog, session.seconds
    );
    let subject = Subject::new("rivals-load", what, 2)
        .with("bytes", args.bytes)
        .with(
            "Seqcast",
            "publisher with history and rewind server → one line → subscriber with recovery → ring → reader",
        )
        .with(
            "Aeron",
            "exclusive publication → multicast → subscription, each end with its driver in invoker mode",
        )
        .without(&["network cards, cables and switches: loopback only", "sequencing, journals and books"]);
    let mut known = vec![None; who.len()];
    let mut report = session.measure(subject, variants, |at, variant| {
        let mut trial = |rate: u64| trial(session, args, who[at], rate, variant);
        let found =
            search(known[at].unwrap_or(args.from.get()), args.to.get(), known[at].is_some(), &mut trial)?;
        let Some(rate) = found else {
            anyhow::bail!("{}: not even a hundredth of what was tried is sustained", who[at].name());
        };
        known[at] = Some(rate);
        variant.record(RATE, Unit::PerS, rate as f64);
        Ok(format!("{rate}/s"))
    })?;
    for of in who.iter().filter(|who| who.is_ours()) {
        for to in who.iter().filter(|to| !to.is_ours() && to.datagram() == of.datagram()) {
            let (of, to) = (of.name(), to.name());
            let values = report.quotients([&of, RATE], [&to, RATE]);
            report.ratio(format!("{of} / {to}"), values);
        }
    }
    crate::without_aeron(&mut report);
    Ok(report)
}

/// Whether `rate` is sustained in one of a few trials.
fn trial(session: &Session, args: &Args, who: Who, rate: u64, variant: &mut Variant) -> anyhow::Result<bool> {
    let rate = NonZeroU64::new(rate).unwrap_or(NonZeroU64::MIN);
    let backlog = Nanos::from_millis(args.backlog);
    let count = ((rate.get() as f64 * session.seconds) as u64).max(1_000);
    for _ in 0..TRIALS {
        let mut flow = Flow::new(count, args.bytes, Timing::Rate(rate));
        flow.sample = SAMPLE;
        let end = flow.timing.due(count - 1) + backlog;
        // Later than that it may end, but not be sustained.
        let most = Duration::from_nanos(end.0) + LATE;
        let ran = hop::run(session, who.ends(session, &flow)?, &flow, most, variant)?;
        if session.stop.is_set() {
            anyhow::bail!("interrupted");
        }
        for (name, more) in &ran.counts {
            variant.count(name, *more);
        }
        if ran.is_whole && ran.seen.disordered == 0 && ran.seen.took <= end {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The highest rate that `sustained`, to within the last of [`STEPS`]; none when hardly any is. `is_near`: `from` is
/// what was found before.
fn search(
    from: u64,
    to: u64,
    is_near: bool,
    sustained: &mut impl FnMut(u64) -> anyhow::Result<bool>,
) -> anyhow::Result<Option<u64>> {
    let mut low = if is_near { (from as f64 * BELOW) as u64 } else { from };
    let least = low / 100;
    while !sustained(low)? {
        low = (low as f64 * BELOW) as u64;
        if low <= least {
            return Ok(None);
        }
    }
    for step in &STEPS[usize::from(is_near)..] {
        loop {
            let next = ((low as f64 * step) as u64).min(to);
            if next == low || !sustained(next)? {
                break;
            }
            low = next;
        }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_edge_from_below_and_from_above() {
        for edge in [20_000, 123_456, 999_999, 7_654_321] {
            for (from, is_near) in [(20_000, false), (edge, true), (edge / 2, true), (edge * 2, true)] {
                let mut trials = 0;
                let found = search(from, 10_000_000, is_near, &mut |rate| {
                    trials += 1;
                    Ok(rate <= edge)
                });
                let found = found.unwrap().unwrap();
                assert!(
                    found <= edge && found as f64 * 1.051 >= edge as f64,
                    "{found} of {edge} from {from}"
                );
                assert!(trials < 40, "{trials}");
            }
        }
        assert_eq!(search(1_000, 5_000, false, &mut |_| Ok(true)).unwrap(), Some(5_000));
        assert_eq!(search(1_000, 5_000, false, &mut |_| Ok(false)).unwrap(), None);
    }
}
