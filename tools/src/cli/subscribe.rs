//! `seqcast subscribe`: a subscriber with order books, from lines or from a capture.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use seqcast_engine::book::BooksConfig;
use seqcast_engine::config::{Config, Feed, Line, OnUnfillable, Start};
use seqcast_engine::io::pcap::{Contents, Pace, PcapDriver};
use seqcast_engine::topology::{self, Node, SubscriberParts};
use seqcast_wire::Session;
use seqcast_wire::itch::Stock;
use serde::Serialize;

use super::Verdict;
use super::process::{self, ConfigArgs, WiringArgs};
use crate::output::{Output, UsageError, say};
use crate::script::Renumber;
use crate::trace::{Trace, Tracer};
use crate::view::{
    Ending, Format, Outlet, OutletStatus, Recorder, Show, Summarizer, Summary, Tee, View, ViewConfig,
    parse_symbol,
};
use crate::wiring::{Played, Wired};

/// How many looks a capture that was played to its end is given to come out of the books.
const LAST_LOOKS: u32 = 4;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    wiring: WiringArgs,
    /// A line to receive instead of the configured ones: GROUP:PORT, or GROUP:PORT@INTERFACE; repeat for line B
    #[arg(long = "line", value_name = "LINE", value_parser = parse_line)]
    lines: Vec<Line>,
    /// A rewind server to ask instead of the configured ones; may be repeated
    #[arg(long = "rewind", value_name = "ADDRESS:PORT")]
    rewind_servers: Vec<SocketAddrV4>,
    /// The feed's MoldUDP64 session, or "any" for the first one heard
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    /// Where to start [default: as configured]
    #[arg(long, value_enum, value_name = "WHERE")]
    start: Option<StartArg>,
    /// Play a capture (pcap, pcapng) instead of receiving
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rewind_servers", "start"])]
    pcap: Option<PathBuf>,
    /// With --pcap: at the recorded pace, this many times as fast [default: as fast as possible]
    #[arg(long, value_name = "FACTOR", requires = "pcap")]
    speed: Option<f64>,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Show::None)]
    show: Show,
    /// How to print it [default: text, or json with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only of this symbol; may be repeated
    #[arg(long = "symbol", value_name = "SYMBOL", value_parser = parse_symbol)]
    symbols: Vec<Stock>,
    /// Levels of each side to print; 0 = all
    #[arg(long, default_value_t = 10, value_name = "N")]
    depth: usize,
    /// Write every message, in order, to this day file (BinaryFILE)
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Write number, hash and time of arrival of every message to this file, 32 bytes each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Live orders that the books have room for without growing
    #[arg(long, default_value_t = 1_000_000)]
    expected_orders: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StartArg {
    /// At number 1, by rewind
    First,
    /// At the feed as it is now
    Live,
    /// With a snapshot
    Snapshot,
}

pub(super) fn parse_line(text: &str) -> Result<Line, String> {
    let (group, interface) = text.split_once('@').unwrap_or((text, "0.0.0.0"));
    let group = group.parse().map_err(|_| format!("{group:?} is not ADDRESS:PORT"))?;
    let interface = interface.parse().map_err(|_| format!("{interface:?} is not an IPv4 address"))?;
    Ok(Line { group, interface, source: None })
}

/// What is to be watched while the agents run, and where the result will be.
struct Watch {
    ending: Ending,
    outlets: Vec<OutletStatus>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    process::talk();
    let (mut config, any_session) = configured(args)?;
    let (application, watch) = application(args, output)?;
    let parts = SubscriberParts {
        books: BooksConfig { expected_orders: args.expected_orders, ..BooksConfig::default() },
        application,
        instance: "",
        trace: None,
        any_session,
        trusting: args.pcap.is_some(),
    };
    let counters = process::counters(&config, "subscribe")?;
    let stop = process::stop_on_signals()?;
    let mut node = Node::default();
    let played = Arc::new(AtomicBool::new(false));
    match &args.pcap {
        Some(path) => {
            let driver = capture(path, args, &mut config)?;
            let driver = Played::new(driver, Arc::clone(&played), |driver| driver.driver().finished());
            let driver = Wired::new(driver, args.wiring.faults().as_ref(), None)?;
            node.merge(topology::subscriber_on(driver, &config, parts, &counters)?);
        }
        None => {
            let driver = args.wiring.wire(&config, &mut node)?;
            node.merge(topology::subscriber_on(driver, &config, parts, &counters)?);
        }
    }
    let mut last_looks = 0;
    process::run(node, &config, &counters, &stop, || {
        let ended = watch.outlets.iter().any(|outlet| outlet.failure().is_some());
        last_looks += u32::from(played.load(Ordering::Acquire));
        if ended || last_looks >= LAST_LOOKS {
            stop.set();
        }
    })?;
    let counters = counters.readings().into_iter().map(|counter| (counter.label, counter.value)).collect();
    report(args, output, &watch, counters)
}

/// The summary as JSON, with how the feed was received.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    counters: BTreeMap<String, u64>,
}

fn report(
    args: &Args,
    output: Output,
    watch: &Watch,
    counters: BTreeMap<String, u64>,
) -> anyhow::Result<Verdict> {
    if let Some(failure) = watch.outlets.iter().find(|outlet| !outlet.is_hung_up()).and_then(|o| o.failure())
    {
        return Err(anyhow::anyhow!("cannot write: {failure}"));
    }
    let summary = watch.ending.summary().context("the books' agent left no summary")?;
    if args.show == Show::None {
        output.print(&Report { summary, counters }, |data| summary.write_text(data))?;
    } else {
        let mut text = Vec::new();
        summary.write_text(&mut text)?;
        say(String::from_utf8_lossy(&text).trim_end());
    }
    let complete = args.pcap.is_some() && summary.lost_messages == 0 && summary.books.whole;
    Ok(if summary.is_good() || complete { Verdict::Good } else { Verdict::Bad })
}

/// The configuration with what the command line says of the feed, and whether any session will do.
fn configured(args: &Args) -> anyhow::Result<(Config, bool)> {
    let mut config = args.config.load()?;
    let mut any_session = args.pcap.is_some() && args.session.is_none();
    let feed = config.feed.get_or_insert_with(|| Feed {
        session: Session::BLANK,
        lines: Vec::new(),
        rewind_servers: Vec::new(),
        snapshot: None,
    });
    if !args.lines.is_empty() {
        // Another feed than the configured one: its servers have nothing to say of it.
        feed.lines.clone_from(&args.lines);
        feed.rewind_servers.clear();
        feed.snapshot = None;
    }
    if !args.rewind_servers.is_empty() {
        feed.rewind_servers.clone_from(&args.rewind_servers);
    }
    match args.session.as_deref() {
        Some("any") => any_session = true,
        Some(text) => {
            feed.session = text.parse().map_err(|error| UsageError(format!("--session: {error}")))?
        }
        None => {}
    }
    match args.start {
        Some(StartArg::First) => config.subscriber.start = Start::First,
        Some(StartArg::Live) => config.subscriber.start = Start::Live,
        Some(StartArg::Snapshot) => config.subscriber.start = Start::Snapshot,
        None => {}
    }
    config.validate().map_err(|error| UsageError(error.to_string()))?;
    Ok((config, any_session))
}

/// The capture as a driver, its flows as the lines of the feed.
fn capture(path: &Path, args: &Args, config: &mut Config) -> anyhow::Result<Renumber<PcapDriver>> {
    let contents = Contents::of(path).with_context(|| path.display().to_string())?;
    if let Some(damage) = &contents.damage {
        say(format_args!("{}: {damage}; what is whole is played", path.display()));
    }
    config.subscriber.start = Start::Live;
    let feed = config.feed.as_mut().context("no feed")?;
    feed.rewind_servers.clear();
    if args.lines.is_empty() {
        let line = |group| Line { group, interface: Ipv4Addr::UNSPECIFIED, source: None };
        feed.lines = contents.flows.iter().map(|flow| line(flow.destination)).collect();
    }
    // What is missing from a capture is missing for good. And its lines are only names here: whoever published it may have
    // blanked the addresses, which no configuration would allow.
    config.subscriber.on_unfillable = OnUnfillable::Skip;
    let pace = args.speed.map_or(Pace::AsFast, |speed| Pace::Recorded { speed });
    let driver = PcapDriver::open_file(path, pace).with_context(|| path.display().to_string())?;
    let session = config.feed()?.session;
    Ok(Renumber::new(driver, session))
}

fn application(args: &Args, output: Output) -> anyhow::Result<(Tee, Watch)> {
    let summarizer = Summarizer::new();
    let mut watch = Watch { ending: summarizer.ending(), outlets: Vec::new() };
    let mut tee = Tee::new();
    if args.show != Show::None {
        let data = Outlet::stdout();
        watch.outlets.push(data.status());
        let format = args.format.unwrap_or(if output.json { Format::Json } else { Format::Text });
        let config = ViewConfig {
            show: args.show,
            format,
            symbols: args.symbols.clone(),
            depth: (args.depth > 0).then_some(args.depth),
        };
        tee = tee.with(View::new(config, data, Outlet::stderr()));
    }
    if let Some(path) = &args.record {
        let recorder = Recorder::create(path).with_context(|| path.display().to_string())?;
        watch.outlets.push(recorder.recording().status().clone());
        tee = tee.with(recorder);
    }
    if let Some(path) = &args.trace {
        let trace = Trace::create(path).with_context(|| path.display().to_string())?;
        watch.outlets.push(trace.status());
        // First: what the others do with a message is not to count.
        tee = Tee::new().with(Tracer::new(trace)).with(tee);
    }
    Ok((tee.with(summarizer), watch))
}
