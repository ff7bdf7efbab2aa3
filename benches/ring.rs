//! What a 64-byte message costs in a ring: Seqcast's rings beside `rtrb`, in one thread and between two pinned ones.
//!
//! Criterion keeps the absolute figures. Hosts move virtual processors about, which changes those by a factor of four
//! within a second; so the table at the end, which is what counts, measures rivals in turn and compares within each
//! turn. `cargo bench -p seqcast-benches --bench ring -- turns` prints only the table.

use std::time::Duration;

use criterion::Criterion;
use rtrb::chunks::ChunkError;
use seqcast::bench::ring::{
    BATCH, DEPTH, MESSAGE_BYTES, Message, Receiving, Sending, batch_claim, batch_publish, claim, each, look,
    publish, typed,
};

struct Rtrb(rtrb::Producer<Message>);
struct RtrbChunk(rtrb::Producer<Message>);

impl Sending for Rtrb {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.push(*message).is_ok())
    }
}

impl Sending for RtrbChunk {
    fn send(&mut self, messages: &[Message]) -> usize {
        let chunk = match self.0.write_chunk_uninit(messages.len()) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(0)) => return 0,
            Err(ChunkError::TooFewSlots(room)) => self.0.write_chunk_uninit(room).expect("there is room"),
        };
        chunk.fill_from_iter(messages.iter().copied())
    }
}

struct RtrbPop(rtrb::Consumer<Message>);
struct RtrbReadChunk(rtrb::Consumer<Message>);

impl Receiving for RtrbPop {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let received = std::iter::from_fn(|| self.0.pop().ok()).take(limit);
        received.inspect(|message| look(message, sum)).count()
    }
}

impl Receiving for RtrbReadChunk {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let there = self.0.slots().min(limit);
        let chunk = self.0.read_chunk(there).expect("they are there");
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(|message| look(message, sum));
        chunk.commit_all();
        there
    }
}

fn between_threads(ends: (impl Sending, impl Receiving), count: usize, burst: usize) -> Duration {
    seqcast::bench::ring::between_threads(ends, count, burst, [Some(0), Some(1)])
}

fn in_one_thread(ends: (impl Sending, impl Receiving), count: usize, burst: usize) -> Duration {
    seqcast::bench::ring::in_one_thread(ends, count, burst)
}

type Run = fn(usize) -> Duration;

/// A way of using a ring, and the rival's best way of doing the same.
struct Match {
    name: &'static str,
    ours: Run,
    rival: &'static str,
    rivals: Run,
}

fn rtrb() -> (Rtrb, RtrbPop) {
    let (producer, consumer) = rtrb::RingBuffer::new(DEPTH);
    (Rtrb(producer), RtrbPop(consumer))
}

fn rtrb_chunk() -> (RtrbChunk, RtrbReadChunk) {
    let (producer, consumer) = rtrb::RingBuffer::new(DEPTH);
    (RtrbChunk(producer), RtrbReadChunk(consumer))
}

const MATCHES: [Match; 10] = [
    Match {
        name: "two threads, publish",
        ours: |count| between_threads(publish(), count, 1),
        rival: "rtrb push/pop",
        rivals: |count| between_threads(rtrb(), count, 1),
    },
    Match {
        name: "two threads, claim + commit",
        ours: |count| between_threads(claim(), count, 1),
        rival: "rtrb push/pop",
        rivals: |count| between_threads(rtrb(), count, 1),
    },
    Match {
        name: "two threads, batch of 32, publish",
        ours: |count| between_threads(batch_publish(), count, BATCH),
        rival: "rtrb chunks",
        rivals: |count| between_threads(rtrb_chunk(), count, BATCH),
    },
    Match {
        name: "two threads, batch of 32, claim",
        ours: |count| between_threads(batch_claim(), count, BATCH),
        rival: "rtrb chunks",
        rivals: |count| between_threads(rtrb_chunk(), count, BATCH),
    },
    Match {
        name: "two threads, typed spsc",
        ours: |count| between_threads(typed(), count, 1),
        rival: "rtrb push/pop",
        rivals: |count| between_threads(rtrb(), count, 1),
    },
    Match {
        name: "one thread, publish",
        ours: |count| in_one_thread(publish(), count, 1),
        rival: "rtrb push/pop",
        rivals: |count| in_one_thread(rtrb(), count, 1),
    },
    Match {
        name: "one thread, claim + commit",
        ours: |count| in_one_thread(claim(), count, 1),
        rival: "rtrb push/pop",
        rivals: |count| in_one_thread(rtrb(), count, 1),
    },
    Match {
        name: "one thread, batch of 32, publish",
        ours: |count| in_one_thread(batch_publish(), count, BATCH),
        rival: "rtrb chunks",
        rivals: |count| in_one_thread(rtrb_chunk(), count, BATCH),
    },
    Match {
        name: "one thread, batch of 32, claim",
        ours: |count| in_one_thread(batch_claim(), count, BATCH),
        rival: "rtrb chunks",
        rivals: |count| in_one_thread(rtrb_chunk(), count, BATCH),
    },
    Match {
        name: "one thread, typed spsc",
        ours: |count| in_one_thread(typed(), count, 1),
        rival: "rtrb push/pop",
        rivals: |count| in_one_thread(rtrb(), count, 1),
    },
];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rivals in turn, compared turn by turn.
fn turns() {
    const TURNS: usize = 201;
    // A turn is over before the scheduler looks.
    const COUNT: usize = 10_000;
    let cost = |run: Run| run(COUNT).as_nanos() as f64 / COUNT as f64;
    eprintln!(
        "\nns per message of {MESSAGE_BYTES} bytes, medians of {TURNS} turns of {COUNT}; ratio within turns"
    );
    eprintln!("{:36} {:>8} {:>8} {:>6}  rival", "", "seqcast", "rival", "ratio");
    for Match { name, ours, rival, rivals } in &MATCHES {
        let (mut our, mut their, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..TURNS {
            // Who goes first changes, so that neither always inherits the other's warm caches.
            let (a, b) = if turn % 2 == 0 {
                let a = cost(*ours);
                (a, cost(*rivals))
            } else {
                let b = cost(*rivals);
                (cost(*ours), b)
            };
            our.push(a);
            their.push(b);
            ratio.push(a / b);
        }
        eprintln!("{name:36} {:8.1} {:8.1} {:6.2}  {rival}", median(our), median(their), median(ratio));
    }
}

fn main() {
    let only_turns = std::env::args().any(|arg| arg == "turns");
    if !only_turns {
        let mut criterion = Criterion::default().configure_from_args();
        let mut group = criterion.benchmark_group("ring");
        group.throughput(criterion::Throughput::Elements(1));
        let mut done = Vec::new();
        for Match { name, ours, rival, rivals } in &MATCHES {
            group.bench_function(*name, |bencher| bencher.iter_custom(|count| ours(count as usize)));
            let rival = format!("{}, {rival}", name.split(',').next().unwrap_or_default());
            if !done.contains(&rival) {
                group.bench_function(&rival, |bencher| bencher.iter_custom(|count| rivals(count as usize)));
                done.push(rival);
            }
        }
        group.finish();
        criterion.final_summary();
    }
    turns();
}
