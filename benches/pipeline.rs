//! End-to-end latency at a fixed rate, open loop: publisher → sequencer (journal in memory) → subscriber's book, over
//! loopback multicast lines A and B, no faults.
//!
//! Each message is due at its own time whatever became of those before, and its latency counts from then: a stall shows
//! in every message that it delays (no coordinated omission). Everything runs on two threads of one process. Figures are
//! told per rate as the median of several runs; p99.9 and the maximum on a machine without isolated cores are the
//! machine's.
//!
//! `cargo bench -p seqcast-benches --bench pipeline -- [MESSAGES_PER_SECOND…]`

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seqcast::day::{Day, DayConfig};
use seqcast::script::{Generated, Pace, Player, Share};
use seqcast_engine::agents::books::Application;
use seqcast_engine::agents::trace::{Stage, Trace};
use seqcast_engine::book::{Applied, Books, BooksConfig};
use seqcast_engine::config::Config;
use seqcast_engine::runtime::{Clock, StopFlag};
use seqcast_engine::stat::{Counters, CountersSpec, Latency};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node, SequencerParts, SequencerTrace, SubscriberParts};
use seqcast_wire::SeqNo;

const RUNS: usize = 5;
const SECONDS: u64 = 3;
const RATES: [u64; 3] = [1_000, 20_000, 100_000];
const TRACED: usize = 1 << 18;

type Histogram = Arc<Mutex<Latency>>;

/// Records the time from due to applied.
struct Recorder {
    trace: Trace,
    latency: Latency,
    left: Histogram,
}

impl Application for Recorder {
    fn on_book(&mut self, seq: SeqNo, _received: Nanos, _applied: &Applied, _books: &Books) {
        if let Some(due) = self.trace.at(Stage::Scheduled, seq) {
            self.latency.record(self.trace.now().since(due));
        }
    }

    fn on_close(&mut self, _books: &Books) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut self.latency);
    }
}

fn run(rate: u64) -> Result<Latency, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut config = Config::default();
    if let Some(journal) = &mut config.journal {
        journal.dir = dir.path().join("journal");
    }
    if let Some(sequencer) = &mut config.sequencer {
        sequencer.end_with_sources = true;
    }
    config.snapshot = None;
    config.send.end_of_session = Nanos::from_millis(200);
    let counters = Counters::anonymous("bench", CountersSpec::default())?;
    let clock = Clock::new();
    let (feed, source) = (Trace::new(TRACED, clock.clone()), Trace::new(TRACED, clock));
    let books = BooksConfig { expected_orders: 100_000, ..BooksConfig::default() };

    let trace = SequencerTrace { feed: feed.clone(), sources: vec![source.clone()] };
    let parts = SequencerParts { books, trace: Some(trace), ..SequencerParts::default() };
    let mut sending = topology::sequencer(&config, &counters, parts)?;
    let day = Day::new(DayConfig { messages: rate * SECONDS, symbols: 100, ..DayConfig::default() })?;
    let pace = Pace::Rate(NonZeroU64::new(rate).ok_or("a rate of 0")?);
    let player = Player::new(Generated::new(day), pace, Share::ALL)?;
    sending.merge(topology::publisher(&config, player, &counters, "", Some(source))?);

    let left = Histogram::default();
    let application = Recorder { trace: feed, latency: Latency::new(), left: Arc::clone(&left) };
    let parts = SubscriberParts {
        books,
        application,
        instance: "",
        trace: None,
        any_session: false,
        trusting: false,
    };
    let receiving = topology::subscriber(&config, parts, &counters)?;

    let mut node: Node = sending.on_thread("send");
    node.merge(receiving.on_thread("receive"));
    let running = node.launch(&config.runtime, &counters, &StopFlag::new())?;
    while !running.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
    }
    for report in running.stop() {
        if report.outcome.is_failure() {
            return Err(report.to_string().into());
        }
    }
    let latency = std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(latency)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rates = if asked.is_empty() { RATES.to_vec() } else { asked };
    eprintln!("due → in the subscriber's book; median of {RUNS} runs of {SECONDS} s (least … most)");
    for rate in rates {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(run(rate)?.percentiles());
        }
        let line = |name: &str, of: fn(&seqcast_engine::stat::Percentiles) -> Nanos| {
            let mut values: Vec<_> = runs.iter().map(of).collect();
            values.sort_unstable();
            format!("{name} {} ({} … {})", values[RUNS / 2], values[0], values[RUNS - 1])
        };
        let count = runs.iter().map(|run| run.count).sum::<u64>();
        eprintln!(
            "{rate:>9}/s  {}  {}  {}  {count} samples",
            line("p50", |run| run.p50),
            line("p90", |run| run.p90),
            line("p99", |run| run.p99)
        );
    }
    Ok(())
}
