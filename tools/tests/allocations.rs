//! The data path allocates when it starts and never again: publisher, sequencer and subscriber with its books on one thread
//! whose allocations are counted. What may block (the journal's cold side) has threads of its own, which may.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use seqcast::day::{Day, DayConfig};
use seqcast_engine::agents::books::Application;
use seqcast_engine::agents::publisher::Script;
use seqcast_engine::book::BooksConfig;
use seqcast_engine::config::Config;
use seqcast_engine::runtime::{Agent, Clock, Composite, StopFlag};
use seqcast_engine::stat::{Counters, CountersSpec};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node, SequencerParts, SubscriberParts};
use seqcast_wire::SeqNo;

/// Until then whatever is made at first use has been made: every stock's book among it.
const WARM: u64 = 60_000;
const MEASURED: u64 = 200_000;
/// Time runs so much faster here, so that all that comes now and then comes: heartbeats, counters, statuses.
const FASTER: u64 = 20;
/// A path that brings nothing for so long is stuck.
const BOUND: Duration = Duration::from_secs(60);

/// Says messages as fast as they are taken.
struct Said {
    messages: Vec<Vec<u8>>,
    at: usize,
}

impl Script for Said {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        self.messages.get(self.at).map(|message| (now, message.as_slice()))
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_finished(&self) -> bool {
        false
    }
}

/// Counts what arrives.
struct Seen(Arc<AtomicU64>);

impl Application for Seen {
    fn on_message(&mut self, _seq: SeqNo, _received: Nanos, _message: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held: [UdpSocket; N] = std::array::from_fn(|_| UdpSocket::bind("0.0.0.0:0").unwrap());
    held.each_ref().map(|socket| socket.local_addr().as_ref().map(SocketAddr::port).unwrap())
}

fn config(journal: &str, driver: &str) -> Config {
    let ports: [u16; 6] = free_ports();
    let [.., high, low] = std::process::id().to_be_bytes();
    let lines = |of: &str, first: usize| {
        (first..first + 2).fold(String::new(), |mut text, at| {
            let _ = writeln!(
                text,
                "[[{of}.line]]\ngroup = \"239.{}.{low}.{}:{}\"\ninterface = \"127.0.0.1\"",
                high | 128,
                at + 1,
                ports[at]
            );
            text
        })
    };
    let text = format!(
        "[feed]\nsession = \"NOALLOC\"\nrewind_servers = [\"127.0.0.1:{rewind}\"]\n{feed}\
         [sequencer]\nname = \"s\"\n[[sequencer.source]]\nname = \"p\"\nsession = \"any\"\n\
         rewind_servers = [\"127.0.0.1:{source_rewind}\"]\n{source}\
         [journal]\ndir = \"{journal}\"\nsegment_bytes = \"1MiB\"\n\
         [rewind]\nbind = \"127.0.0.1:{rewind}\"\nallow = [\"127.0.0.1/32\"]\n\
         [publisher]\nsession = \"PUB\"\nrewind_bind = \"127.0.0.1:{source_rewind}\"\nallow = [\"127.0.0.1/32\"]\n{publisher}\
         [subscriber]\nstart = \"first\"\n[io]\ndriver = \"{driver}\"\n[stat]\ndir = \"\"\n",
        rewind = ports[4],
        source_rewind = ports[5],
        feed = lines("feed", 0),
        source = lines("sequencer.source", 2),
        publisher = lines("publisher", 2),
    );
    Config::parse(&text).unwrap()
}

/// The data path as one, and what else there must be, running.
fn path(config: &Config, seen: &Arc<AtomicU64>, stop: &StopFlag) -> (Vec<Composite>, Vec<topology::Running>) {
    let counters = || Counters::anonymous("test", CountersSpec::default()).unwrap();
    let day = DayConfig { seed: 7, symbols: 50, messages: WARM + MEASURED + 50_000, ..DayConfig::default() };
    let mut day = Day::new(day).unwrap();
    let mut messages = Vec::new();
    while let Some(message) = day.next_message() {
        messages.push(message.to_vec());
    }
    let publisher = topology::publisher(config, Said { messages, at: 0 }, &counters(), "", None).unwrap();
    let sequencer = topology::sequencer(config, &counters(), SequencerParts::default()).unwrap();
    let parts = SubscriberParts {
        books: BooksConfig { expected_orders: 200_000, ..BooksConfig::default() },
        application: Seen(Arc::clone(seen)),
        instance: "",
        trace: None,
        any_session: false,
        trusting: false,
    };
    let subscriber = topology::subscriber(config, parts, &counters()).unwrap();
    let mut hot = Vec::new();
    let mut cold = Vec::new();
    for (name, mut node) in [("publisher", publisher), ("sequencer", sequencer), ("subscriber", subscriber)] {
        hot.push(node.take_hot(name));
        cold.push(Node::launch(node, &config.runtime, &counters(), stop).unwrap());
    }
    (hot, cold)
}

fn allocates_nothing(driver: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("journal").display().to_string(), driver);
    let (seen, stop, clock) = (Arc::new(AtomicU64::new(0)), StopFlag::new(), Clock::new());
    let (mut hot, cold) = path(&config, &seen, &stop);
    let now = || Nanos(clock.now().0 * FASTER);
    hot.iter_mut().for_each(|agent| agent.on_start(now()).unwrap());
    let mut run_until = |count: u64| {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            for agent in &mut hot {
                agent.do_work(now()).unwrap();
            }
            let far = seen.load(Ordering::Relaxed);
            if far >= count {
                return;
            }
            if far > last {
                (last, moved) = (far, Instant::now());
            }
            assert!(moved.elapsed() < BOUND, "stuck at {far} of {count}");
        }
    };
    run_until(WARM);
    let counted = allocation_counter::measure(|| run_until(WARM + MEASURED));
    assert_eq!(counted.count_total, 0, "driver {driver}: {counted:?}");
    // The counter counts.
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100]))).count_total, 1);
    stop.set();
    hot.iter_mut().for_each(|agent| agent.on_close(now()));
    drop(hot);
    cold.into_iter().for_each(|running| {
        running.stop();
    });
}

#[test]
fn nothing_is_allocated_on_plain_sockets() {
    allocates_nothing("udp");
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_allocated_on_io_uring() {
    if seqcast_engine::io::open_best(
        seqcast_engine::io::DriverChoice::Uring,
        &seqcast_engine::io::DriverConfig::default(),
    )
    .is_err()
    {
        eprintln!("skipped: no io_uring here");
        return;
    }
    allocates_nothing("uring");
}
