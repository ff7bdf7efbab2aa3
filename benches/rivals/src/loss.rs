//! `loss`: latency at a fixed rate over one hop while the receiving end loses datagrams, each side by its own injector.

use std::num::NonZeroU64;
use std::time::Duration;

use seqcast::bench::{Report, Session, Subject, Timing, Variant};
use seqcast_engine::config::IoDriver;
use seqcast_engine::time::Nanos;

#[cfg(feature = "aeron")]
use crate::aeron;
use crate::flow::Flow;
use crate::{hop, ours};

/// Longest datagram.
const DATAGRAM_BYTES: usize = 1_408;
/// Name of the series.
const LATENCY: &str = "due → handed over";
/// Of the last message of each burst: nothing comes after it that would show that it is missing.
const LAST: &str = "last of a burst → handed over";
const QUANTILES: [&str; 3] = ["p50", "p90", "p99"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Messages a second
    #[arg(long, default_value = "20000")]
    rate: NonZeroU64,
    /// Length of a message
    #[arg(long, default_value_t = 32, value_parser = crate::message_bytes)]
    bytes: usize,
    /// Parts of the datagrams that are lost
    #[arg(long, value_delimiter = ',', default_value = "0,0.001,0.01", value_name = "PART,…", value_parser = part)]
    loss: Vec<f64>,
    /// Send bursts of so many messages, one every --every, instead of evenly: shows what becomes of a lost last message
    #[arg(long, value_name = "N")]
    burst: Option<NonZeroU64>,
    /// Milliseconds from one burst to the next
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    every: u64,
    /// Start of the chances
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure only those whose name holds this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..0.9).contains(&part) => Ok(part),
        _ => Err("must be a part from 0 to less than 0.9 (0.01: one in a hundred)".into()),
    }
}

/// Who suffers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whom {
    /// On so many lines.
    Ours(usize),
    #[cfg(feature = "aeron")]
    Aeron(aeron::Tuning),
}

impl Whom {
    fn all() -> Vec<Whom> {
        vec![
            Whom::Ours(1),
            Whom::Ours(2),
            #[cfg(feature = "aeron")]
            Whom::Aeron(aeron::Tuning::Defaults),
            #[cfg(feature = "aeron")]
            Whom::Aeron(aeron::Tuning::Loss),
        ]
    }

    fn is_ours(self) -> bool {
        matches!(self, Whom::Ours(_))
    }

    fn name(self, loss: f64) -> String {
        // Parts in a million are as exact as anybody asks.
        let percent = (loss * 1e8).round() / 1e6;
        match self {
            Whom::Ours(1) => format!("Seqcast, 1 line, {percent} % lost"),
            Whom::Ours(lines) => format!("Seqcast, {lines} lines, {percent} % lost"),
            #[cfg(feature = "aeron")]
            Whom::Aeron(tuning) => format!("Aeron {tuning}, {percent} % lost"),
        }
    }

    fn ends(self, session: &Session, loss: f64, seed: u64, flow: &Flow) -> anyhow::Result<hop::Ends> {
        match self {
            Whom::Ours(lines) => {
                let driver = IoDriver::Auto;
                let setup = ours::Setup {
                    driver,
                    lines,
                    datagram_bytes: DATAGRAM_BYTES,
                    loss,
                    seed,
                    for_load: false,
                };
                ours::ends(&session.config, setup, flow)
            }
            #[cfg(feature = "aeron")]
            Whom::Aeron(tuning) => {
                let loss = (loss > 0.0).then_some((loss, seed));
                aeron::ends(aeron::Settings { mtu: DATAGRAM_BYTES, tuning, loss }, flow)
            }
        }
    }
}

/// Measures all in turn.
pub(crate) fn run(session: &Session, args: &Args) -> anyhow::Result<Report> {
    let mut turns: Vec<(Whom, f64)> =
        Whom::all().iter().flat_map(|whom| args.loss.iter().map(|loss| (*whom, *loss))).collect();
    if let Some(word) = &args.only {
        turns.retain(|(whom, loss)| whom.name(*loss).contains(word.as_str()));
    }
    let variants = turns.iter().map(|(whom, loss)| Variant::new(whom.name(*loss))).collect();
    let (timing, how) = match args.burst {
        None => (Timing::Rate(args.rate), format!("at {}/s", args.rate)),
        Some(size) => {
            let every = Nanos::from_millis(args.every);
            (Timing::Bursts { size, every }, format!("in bursts of {size} every {every}"))
        }
    };
    let what = format!(
        "due → handed to the application over one hop of multicast on loopback, open loop {how}, while the receiving end \
         loses datagrams at random"
    );
    let subject = Subject::new("rivals-loss", what, 2)
        .with("bytes", args.bytes)
        .with("Seqcast", "each line loses for itself, and answers to requests are lost as well")
        .with("Aeron", "data frames are lost, retransmitted ones and heartbeats as well")
        .without(&["network cards, cables and switches: loopback only", "losses in a row"]);
    let mut chances = args.seed;
    let mut report = session.measure(subject, variants, |at, variant| {
        let (whom, loss) = turns[at];
        // Other chances in each run, the same in each session.
        chances = chances.wrapping_add(1);
        let mut flow = flow(session, args, timing);
        flow.sample = 1;
        let ran =
            hop::run(session, whom.ends(session, loss, chances, &flow)?, &flow, Duration::MAX, variant)?;
        variant.count("sent", flow.count);
        variant.count("received", flow.arrived());
        variant.count("out of order", ran.seen.disordered);
        ran.counts.iter().for_each(|(name, more)| variant.count(name, *more));
        let p99 = ran.seen.latency.percentiles().p99;
        variant.record_latency(LATENCY, ran.began, ran.seen.latency);
        if args.burst.is_some() {
            variant.record_latency(LAST, ran.began, ran.seen.last_of_burst);
        }
        Ok(format!("p99 {p99}"))
    })?;
    compare(&mut report, &turns);
    crate::without_aeron(&mut report);
    Ok(report)
}

fn flow(session: &Session, args: &Args, timing: Timing) -> Flow {
    let per_s = match timing {
        Timing::Rate(rate) => rate.get(),
        Timing::Bursts { size, .. } => (size.get() * 1_000).div_ceil(args.every),
    };
    let (count, warm_up) = session.messages(per_s);
    let mut flow = Flow::new(count, args.bytes, timing);
    flow.warm_up = warm_up;
    flow
}

/// Ours over theirs with the same loss; and ours with loss over ours without, on as many lines.
fn compare(report: &mut Report, turns: &[(Whom, f64)]) {
    for quantile in QUANTILES {
        let figure = format!("{LATENCY}: {quantile}");
        for (of, loss) in turns.iter().filter(|(whom, loss)| whom.is_ours() && *loss > 0.0) {
            let name = of.name(*loss);
            for (to, _) in turns.iter().filter(|(whom, part)| !whom.is_ours() && part == loss) {
                let to = to.name(*loss);
                let values = report.quotients([&name, &figure], [&to, &figure]);
                report.ratio(format!("{name} / {to}, {quantile}"), values);
            }
            let values = report.quotients([&name, &figure], [&of.name(0.0), &figure]);
            report.ratio(format!("{name} / without loss, {quantile}"), values);
        }
    }
}
