//! What a 64-byte message costs in a ring: Seqcast's rings beside `rtrb`, in one thread and between two pinned ones.
//!
//! Criterion keeps the absolute figures. Hosts move virtual processors about, which changes those by a factor of four
//! within a second; so the table at the end, which is what counts, measures rivals in turn and compares within each
//! turn. `cargo bench -p seqcast-benches --bench ring -- turns` prints only the table.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use criterion::Criterion;
use rtrb::chunks::ChunkError;
use seqcast_engine::mem::{Region, RegionSpec};
use seqcast_engine::ring::broadcast::{self, Reader, RingSpec, Writer};
use seqcast_engine::ring::spsc;

const MESSAGE_BYTES: usize = 64;
const BATCH: usize = 32;
/// Rings hold about this many messages.
const DEPTH: usize = 1024;

type Message = [u8; MESSAGE_BYTES];

/// The sending side of a rival.
trait Send1: Send {
    /// Sends as many of `messages` as there is room for, the way this rival does it best.
    fn send(&mut self, messages: &[Message]) -> usize;
}

/// The receiving side of a rival.
trait Receive: Send {
    /// Receives what is there, up to `limit`, and looks at each message.
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize;
}

fn look(message: &[u8], sum: &mut u64) {
    let (words, _) = message.as_chunks::<8>();
    *sum = sum.wrapping_add(u64::from_ne_bytes(words[0]) ^ u64::from_ne_bytes(words[7]));
}

/// Sends until the first refusal.
fn each(messages: &[Message], mut send: impl FnMut(&Message) -> bool) -> usize {
    messages.iter().take_while(|message| send(message)).count()
}

struct Publish(Writer);
struct Claim(Writer);
struct BatchPublish(Writer);
struct BatchClaim(Writer);
struct Spsc(spsc::Sender<Message>);
struct Rtrb(rtrb::Producer<Message>);
struct RtrbChunk(rtrb::Producer<Message>);

impl Send1 for Publish {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.try_publish(message).is_ok())
    }
}

impl Send1 for Claim {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| match self.0.try_claim(MESSAGE_BYTES) {
            Ok(mut claim) => {
                claim.copy_from_slice(message);
                claim.commit();
                true
            }
            Err(_) => false,
        })
    }
}

impl Send1 for BatchPublish {
    fn send(&mut self, messages: &[Message]) -> usize {
        let mut batch = self.0.batch();
        each(messages, |message| batch.try_publish(message).is_ok())
    }
}

impl Send1 for BatchClaim {
    fn send(&mut self, messages: &[Message]) -> usize {
        let mut batch = self.0.batch();
        each(messages, |message| match batch.try_claim(MESSAGE_BYTES) {
            Ok(mut claim) => {
                claim.copy_from_slice(message);
                claim.commit();
                true
            }
            Err(_) => false,
        })
    }
}

impl Send1 for Spsc {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.try_send(*message).is_ok())
    }
}

impl Send1 for Rtrb {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.push(*message).is_ok())
    }
}

impl Send1 for RtrbChunk {
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

impl Receive for Reader {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        self.poll(limit, |message| {
            look(message, sum);
            true
        })
    }
}

impl Receive for spsc::Receiver<Message> {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let received = std::iter::from_fn(|| self.try_receive()).take(limit);
        received.inspect(|message| look(message, sum)).count()
    }
}

impl Receive for RtrbPop {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let received = std::iter::from_fn(|| self.0.pop().ok()).take(limit);
        received.inspect(|message| look(message, sum)).count()
    }
}

impl Receive for RtrbReadChunk {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let there = self.0.slots().min(limit);
        let chunk = self.0.read_chunk(there).expect("they are there");
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(|message| look(message, sum));
        chunk.commit_all();
        there
    }
}

fn ring() -> (Writer, Reader) {
    let spec = RingSpec { capacity_bytes: (DEPTH * MESSAGE_BYTES).next_power_of_two(), max_readers: 1 };
    let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).expect("memory");
    let (writer, subscriptions) = broadcast::create(spec, region).expect("a valid ring");
    (writer, subscriptions.reader().expect("a slot"))
}

/// Waits a little, then lets others run: the host may have taken the other end's processor away.
struct Patience(u32);

impl Patience {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(1000) { thread::yield_now() } else { spin_loop() }
    }
}

/// `count` messages from one core to another, `burst` at a time.
fn between_threads((tx, rx): (impl Send1, impl Receive), count: usize, burst: usize) -> Duration {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let (start, mut rx) = (&start, rx);
        let receiving = scope.spawn(move || {
            core_affinity::set_for_current(CoreId { id: 1 });
            let (mut received, mut sum, mut patience) = (0, 0, Patience(0));
            start.wait();
            while received < count {
                match rx.receive(BATCH, &mut sum) {
                    0 => patience.wait(),
                    more => received += more,
                }
            }
            black_box(sum);
            Instant::now()
        });
        let sending = scope.spawn(move || {
            core_affinity::set_for_current(CoreId { id: 0 });
            let (mut tx, mut sent, mut patience) = (tx, 0, Patience(0));
            let mut messages = [[1; MESSAGE_BYTES]; BATCH];
            start.wait();
            let started = Instant::now();
            while sent < count {
                messages[0][..8].copy_from_slice(&sent.to_ne_bytes());
                match tx.send(&black_box(&messages)[..burst.min(count - sent)]) {
                    0 => patience.wait(),
                    more => sent += more,
                }
            }
            started
        });
        let started = sending.join().expect("the sender finishes");
        receiving.join().expect("the receiver finishes").duration_since(started)
    })
}

/// `count` messages in and out again in this thread, `burst` at a time.
fn in_one_thread((mut tx, mut rx): (impl Send1, impl Receive), count: usize, burst: usize) -> Duration {
    let (mut received, mut sum) = (0, 0);
    let mut messages = [[1; MESSAGE_BYTES]; BATCH];
    let started = Instant::now();
    while received < count {
        messages[0][..8].copy_from_slice(&received.to_ne_bytes());
        let sent = tx.send(&black_box(&messages)[..burst.min(count - received)]);
        received += rx.receive(sent, &mut sum);
    }
    black_box(sum);
    started.elapsed()
}

type Run = fn(usize) -> Duration;

/// A way of using a ring, and the rival's best way of doing the same.
struct Match {
    name: &'static str,
    ours: Run,
    rival: &'static str,
    rivals: Run,
}

fn publish() -> (Publish, Reader) {
    let (writer, reader) = ring();
    (Publish(writer), reader)
}

fn claim() -> (Claim, Reader) {
    let (writer, reader) = ring();
    (Claim(writer), reader)
}

fn batch_publish() -> (BatchPublish, Reader) {
    let (writer, reader) = ring();
    (BatchPublish(writer), reader)
}

fn batch_claim() -> (BatchClaim, Reader) {
    let (writer, reader) = ring();
    (BatchClaim(writer), reader)
}

fn typed() -> (Spsc, spsc::Receiver<Message>) {
    let (sender, receiver) = spsc::channel(DEPTH);
    (Spsc(sender), receiver)
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
    const TURNS: usize = 31;
    const COUNT: usize = 200_000;
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
