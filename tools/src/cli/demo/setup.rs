//! The demo's stage: who is there, how they are wired, and what they start from.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context;
use seqcast_engine::agents::trace::Trace;
use seqcast_engine::book::{Books, BooksConfig};
use seqcast_engine::config::{self, Config, Line, Rate, SourceSession, Start};
use seqcast_engine::io::AnyDriver;
use seqcast_engine::io::fault::{FaultPlan, Faults};
use seqcast_engine::runtime::{Clock, StopFlag};
use seqcast_engine::stat::{Counters, CountersSpec};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node, Running, SequencerParts, SequencerTrace, SubscriberParts};
use seqcast_wire::Session;

use super::Args;
use super::replica::{Left, Replica};
use crate::day::{Day, DayConfig};
use crate::later::{Later, Seat};
use crate::ports::free_ports;
use crate::script::{self, Generated, Messages, Pace, Player, Share};
use crate::wiring::Wired;

/// The publishers' sessions: their identities.
const PUBLISHERS: [&str; 2] = ["DEMOPUBA", "DEMOPUBB"];
/// Messages whose times are remembered: more than are ever under way.
const TRACED: usize = 1 << 16;
const THREADS: [&str; 2] = ["send", "receive"];

/// What is published, summed up before anything moves.
pub(super) struct Source {
    pub(super) messages: u64,
    pub(super) shares: [u64; PUBLISHERS.len()],
    pub(super) digest: u64,
    pub(super) live_orders: u32,
}

/// The messages, from the start.
fn messages(args: &Args) -> anyhow::Result<Box<dyn Messages>> {
    Ok(match &args.file {
        Some(path) => script::open(path, None)?,
        None => Box::new(Generated::new(Day::new(DayConfig {
            seed: args.seed,
            messages: args.messages,
            symbols: args.symbols,
            ..DayConfig::default()
        })?)),
    })
}

fn books() -> BooksConfig {
    BooksConfig { expected_orders: 100_000, ..BooksConfig::default() }
}

/// Applies all messages to books of their own.
pub(super) fn source(args: &Args) -> anyhow::Result<Source> {
    let mut messages = messages(args)?;
    let mut books = Books::new(books())?;
    let mut source = Source { messages: 0, shares: [0; PUBLISHERS.len()], digest: 0, live_orders: 0 };
    let share = |index| Share::new(index, PUBLISHERS.len() as u16);
    let shares = [share(0)?, share(1)?];
    while messages.advance()? {
        let message = messages.current().bytes;
        books.apply(message);
        source.messages += 1;
        for (share, count) in shares.iter().zip(&mut source.shares) {
            *count += u64::from(share.takes(message));
        }
    }
    source.digest = books.digest();
    source.live_orders = books.live_orders();
    Ok(source)
}

/// Everybody, wired and ready.
pub(super) struct Stage {
    config: Config,
    node: Option<Node>,
    counters: Counters,
    faults: FaultPlan,
    seat: Seat,
    notices: Vec<String>,
    pub(super) early: Left,
    pub(super) late: Option<Left>,
    /// The journal's directory, removed at the end.
    _dir: TempDir,
}

/// A directory that goes when this does.
struct TempDir(std::path::PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    pub(super) fn new(args: &Args, source: &Source) -> anyhow::Result<Stage> {
        let dir = std::env::temp_dir().join(format!("seqcast-demo-{}", std::process::id()));
        let dir = TempDir(dir);
        let config = configuration(&dir.0)?;
        let counters = Counters::anonymous("demo", CountersSpec::default())?;
        let faults = faults(args);
        let clock = Clock::new();
        let traces: Vec<_> = PUBLISHERS.iter().map(|_| Trace::new(TRACED, clock.clone())).collect();
        let feed_trace = Trace::new(TRACED, clock);

        let mut sending = Node::default();
        let driver = wired(&config, &faults, 1, &mut sending)?;
        let trace = SequencerTrace { feed: feed_trace.clone(), sources: traces.clone() };
        let order = SequencerParts { books: books(), trace: Some(trace), ..SequencerParts::default() };
        sending.merge(topology::sequencer_on(driver, &config, &counters, order)?);
        for (index, trace) in (0..).zip(traces) {
            sending.merge(publisher(args, &config, index, source, &counters, trace)?);
        }
        let mut receiving = Node::default();
        let driver = wired(&config, &faults, 2, &mut receiving)?;
        let replica = Replica::new(Some(feed_trace.clone()));
        let early = replica.left();
        let parts = parts(replica, "early", Some(feed_trace));
        receiving.merge(topology::subscriber_on(driver, &config, parts, &counters)?);
        let seat = Seat::new();
        receiving.add_hot(THREADS[1], Later::new(&seat));

        let mut node = sending.on_thread(THREADS[0]);
        node.merge(receiving.on_thread(THREADS[1]));
        let notices = node.notices().to_vec();
        Ok(Stage { config, node: Some(node), counters, faults, seat, notices, early, late: None, _dir: dir })
    }

    pub(super) fn notices(&self) -> &[String] {
        &self.notices
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Starts everybody but the late joiner.
    pub(super) fn launch(&mut self, stop: &StopFlag) -> anyhow::Result<Running> {
        let node = self.node.take().context("launched twice")?;
        Ok(node.launch(&self.config.runtime, &self.counters, stop)?)
    }

    /// Starts the late joiner: its data path beside the first subscriber's, its cold agent on a thread of its own.
    pub(super) fn launch_late(&mut self, stop: &StopFlag) -> anyhow::Result<Running> {
        let mut config = self.config.clone();
        config.subscriber.start = Start::Snapshot;
        let mut node = Node::default();
        let driver = wired(&config, &self.faults, 3, &mut node)?;
        let replica = Replica::new(None);
        self.late = Some(replica.left());
        node.merge(topology::subscriber_on(driver, &config, parts(replica, "late", None), &self.counters)?);
        self.seat.take(node.take_hot("late"));
        Ok(node.launch(&config.runtime, &self.counters, stop)?)
    }
}

fn parts(application: Replica, instance: &'static str, trace: Option<Trace>) -> SubscriberParts<Replica> {
    SubscriberParts { books: books(), application, instance, trace, any_session: false, trusting: false }
}

fn publisher(
    args: &Args,
    config: &Config,
    index: usize,
    source: &Source,
    counters: &Counters,
    trace: Trace,
) -> anyhow::Result<Node> {
    // Each publishes its share of the rate, so that both end at the same time.
    let part = source.shares[index] as f64 / source.messages.max(1) as f64;
    let rate = ((args.rate.get() as f64 * part) as u64).try_into().unwrap_or(std::num::NonZeroU64::MIN);
    let share = Share::new(index as u16, PUBLISHERS.len() as u16)?;
    let player = Player::new(messages(args)?, Pace::Rate(rate), share)?;
    let mut config = config.clone();
    let section = config.publisher.as_mut().context("no publisher")?;
    let section_of = &config.sequencer.as_ref().context("no sequencer")?.sources[index];
    section.session = PUBLISHERS[index].parse()?;
    section.lines.clone_from(&section_of.lines);
    section.rewind_bind = section_of.rewind_servers[0];
    let name = ["A", "B"][index];
    Ok(topology::publisher(&config, player, counters, name, Some(trace))?)
}

/// The same faults for every receiver, with other chances.
fn wired(
    config: &Config,
    faults: &FaultPlan,
    receiver: u64,
    node: &mut Node,
) -> anyhow::Result<Wired<AnyDriver>> {
    let driver = topology::driver(config, node)?;
    let plan = FaultPlan { seed: faults.seed.wrapping_mul(1_000).wrapping_add(receiver), ..faults.clone() };
    Ok(Wired::new(driver, Some(&plan), None)?)
}

fn faults(args: &Args) -> FaultPlan {
    let Args { loss, duplicate, reorder, seed, .. } = *args;
    let receive = Faults { loss, duplicate, reorder, reorder_by: Nanos::from_micros(500), ..Faults::NONE };
    FaultPlan { seed, receive, ..FaultPlan::default() }
}

/// Everybody on loopback, on ports that are free now and groups of this process.
fn configuration(dir: &std::path::Path) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let mut ports = free_ports(10)?.into_iter();
    let mut port = || ports.next().unwrap_or(0);
    let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let id = std::process::id();
    let lines = |feed: u8, ports: [u16; 2]| -> Vec<Line> {
        let group = |line: u8| Ipv4Addr::new(239, 255, (id % 250) as u8, feed * 2 + line);
        let line = |(line, port)| Line {
            group: SocketAddrV4::new(group(line), port),
            interface: Ipv4Addr::LOCALHOST,
            source: None,
        };
        (0..).zip(ports).map(line).collect()
    };
    let session: Session = "DEMOFEED01".parse()?;
    let (rewind, snapshot) = (local(port()), local(port()));
    let feed = config.feed.as_mut().context("no feed")?;
    feed.session = session;
    feed.lines = lines(1, [port(), port()]);
    feed.rewind_servers = vec![rewind];
    if let Some(source) = &mut feed.snapshot {
        source.servers = vec![snapshot];
    }
    if let Some(section) = &mut config.rewind {
        section.bind = rewind;
    }
    if let Some(section) = &mut config.snapshot {
        section.bind = snapshot;
    }
    if let Some(section) = &mut config.journal {
        section.dir = dir.to_path_buf();
    }
    let sequencer = config.sequencer.as_mut().context("no sequencer")?;
    sequencer.end_with_sources = true;
    sequencer.sources.clear();
    for (index, publisher) in (0..).zip(PUBLISHERS) {
        let ports = [port(), port()];
        sequencer.sources.push(config::Source {
            name: publisher.to_lowercase(),
            session: SourceSession::Only(publisher.parse()?),
            lines: lines(2 + index, ports),
            rewind_servers: vec![local(port())],
            acknowledge: true,
        });
    }
    config.send.end_of_session = Nanos::from_secs(1);
    config.send.pace = Rate::Unlimited;
    config.validate()?;
    Ok(config)
}
