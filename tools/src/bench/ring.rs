//! `ring`: what a message costs in our rings, in one thread and between two.
//!
//! Public, so that rivals can be measured by the same hands.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam::queue::ArrayQueue;
use seqcast_engine::mem::{Region, RegionSpec};
use seqcast_engine::ring::broadcast::{self, Reader, RingSpec, Writer};
use seqcast_engine::ring::spsc;
use seqcast_engine::runtime::{Clock, pin_current_thread};
use seqcast_engine::stat::Latency;

use super::report::{Report, Unit, Variant};
use super::session::{Session, Subject};
use super::summary::median;

/// Length of a message.
pub const MESSAGE_BYTES: usize = 64;
/// Messages of a batch.
pub const BATCH: usize = 32;
/// Rings hold about this many messages.
pub const DEPTH: usize = 1024;
/// Messages of a turn, which is over before the scheduler looks.
pub const TURN: usize = 10_000;
/// Fewest turns of a repeat.
const MIN_TURNS: usize = 3;

/// What goes through the rings.
pub type Message = [u8; MESSAGE_BYTES];

/// The sending side of a ring.
pub trait Sending: Send {
    /// Sends as many of `messages` as there is room for, the way this ring does it best, and gives their number.
    fn send(&mut self, messages: &[Message]) -> usize;
}

/// The receiving side of a ring.
pub trait Receiving: Send {
    /// Receives what is there, up to `limit`, looks at each message ([`look`]) and gives their number.
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize;
}

/// Reads the first and the last word of a message.
pub fn look(message: &[u8], sum: &mut u64) {
    let (words, _) = message.as_chunks::<8>();
    *sum = sum.wrapping_add(u64::from_ne_bytes(words[0]) ^ u64::from_ne_bytes(words[words.len() - 1]));
}

/// Sends until the first refusal, and gives how many were taken.
pub fn each(messages: &[Message], mut send: impl FnMut(&Message) -> bool) -> usize {
    messages.iter().take_while(|message| send(message)).count()
}

/// Our broadcast ring, published message by message.
pub struct Publish(Writer);
/// Our broadcast ring, claimed and committed message by message.
pub struct Claim(Writer);
/// Our broadcast ring, published in batches.
pub struct BatchPublish(Writer);
/// Our broadcast ring, claimed in batches.
pub struct BatchClaim(Writer);
/// Our typed ring for one sender and one receiver.
pub struct Spsc(spsc::Sender<Message>);
/// Both ends of crossbeam's queue.
pub struct Queue(std::sync::Arc<ArrayQueue<Message>>);

impl Sending for Publish {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.try_publish(message).is_ok())
    }
}

impl Sending for Claim {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| match self.0.try_claim(MESSAGE_BYTES) {
            Ok(mut claim) => {
                claim.write(message);
                claim.commit();
                true
            }
            Err(_) => false,
        })
    }
}

impl Sending for BatchPublish {
    fn send(&mut self, messages: &[Message]) -> usize {
        let mut batch = self.0.batch();
        each(messages, |message| batch.try_publish(message).is_ok())
    }
}

impl Sending for BatchClaim {
    fn send(&mut self, messages: &[Message]) -> usize {
        let mut batch = self.0.batch();
        each(messages, |message| match batch.try_claim(MESSAGE_BYTES) {
            Ok(mut claim) => {
                claim.write(message);
                claim.commit();
                true
            }
            Err(_) => false,
        })
    }
}

impl Sending for Spsc {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.try_send(*message).is_ok())
    }
}

impl Sending for Queue {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.push(*message).is_ok())
    }
}

impl Receiving for Reader {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        self.poll(limit, |message| {
            look(message, sum);
            true
        })
    }
}

impl Receiving for spsc::Receiver<Message> {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let received = std::iter::from_fn(|| self.try_receive()).take(limit);
        received.inspect(|message| look(message, sum)).count()
    }
}

impl Receiving for Queue {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let received = std::iter::from_fn(|| self.0.pop()).take(limit);
        received.inspect(|message| look(message, sum)).count()
    }
}

/// A broadcast ring of [`DEPTH`] messages for so many readers.
pub const fn spec(max_readers: usize) -> RingSpec {
    RingSpec { capacity_bytes: (DEPTH * MESSAGE_BYTES).next_power_of_two(), max_readers }
}

fn ring_for<const READERS: usize>() -> (Writer, [Reader; READERS]) {
    let spec = spec(READERS);
    let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).expect("memory");
    let (writer, subscriptions) = broadcast::create(spec, region).expect("a valid ring");
    (writer, std::array::from_fn(|_| subscriptions.reader().expect("a slot")))
}

fn ring() -> (Writer, Reader) {
    let (writer, [reader]) = ring_for();
    (writer, reader)
}

/// Several readers of one ring that one thread polls in turn.
pub struct Together<R, const READERS: usize> {
    readers: [(R, usize); READERS],
    received: usize,
}

impl<R, const READERS: usize> Together<R, READERS> {
    /// All of `readers`, which have received nothing yet.
    pub fn new(readers: [R; READERS]) -> Together<R, READERS> {
        Together { readers: readers.map(|reader| (reader, 0)), received: 0 }
    }
}

impl<R: Receiving, const READERS: usize> Receiving for Together<R, READERS> {
    /// What each of them has received counts.
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        for (reader, received) in &mut self.readers {
            *received += reader.receive(limit, sum);
        }
        let slowest = self.readers.iter().map(|(_, received)| *received).min().unwrap_or(0);
        std::mem::replace(&mut self.received, slowest).abs_diff(slowest)
    }
}

/// The writer of our broadcast ring, and three readers that one thread polls; published message by message.
pub fn publish_to_three() -> (Publish, Together<Reader, 3>) {
    let (writer, readers) = ring_for();
    (Publish(writer), Together::new(readers))
}

/// The same, published in batches.
pub fn batch_publish_to_three() -> (BatchPublish, Together<Reader, 3>) {
    let (writer, readers) = ring_for();
    (BatchPublish(writer), Together::new(readers))
}

/// Both ends of our broadcast ring, published message by message.
pub fn publish() -> (Publish, Reader) {
    let (writer, reader) = ring();
    (Publish(writer), reader)
}

/// Both ends of our broadcast ring, claimed message by message.
pub fn claim() -> (Claim, Reader) {
    let (writer, reader) = ring();
    (Claim(writer), reader)
}

/// Both ends of our broadcast ring, published in batches.
pub fn batch_publish() -> (BatchPublish, Reader) {
    let (writer, reader) = ring();
    (BatchPublish(writer), reader)
}

/// Both ends of our broadcast ring, claimed in batches.
pub fn batch_claim() -> (BatchClaim, Reader) {
    let (writer, reader) = ring();
    (BatchClaim(writer), reader)
}

/// Both ends of our typed ring.
pub fn typed() -> (Spsc, spsc::Receiver<Message>) {
    let (sender, receiver) = spsc::channel(DEPTH);
    (Spsc(sender), receiver)
}

/// Both ends of crossbeam's queue.
pub fn queue() -> (Queue, Queue) {
    let queue = std::sync::Arc::new(ArrayQueue::new(DEPTH));
    (Queue(std::sync::Arc::clone(&queue)), Queue(queue))
}

/// Waits a little, then lets others run: the host may have taken the other end's processor away, or there is only one.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(1000) { thread::yield_now() } else { spin_loop() }
    }
}

/// Waits, running, for the other of two threads: one that slept would begin late.
fn meet(met: &AtomicUsize) {
    let mut patience = Patience::default();
    met.fetch_add(1, Ordering::Relaxed);
    while met.load(Ordering::Relaxed) < 2 {
        patience.wait();
    }
}

/// `count` messages from one thread to another, `burst` at a time, each pinned to its core if one is given: the time from
/// the first sent to the last received.
pub fn between_threads(
    (tx, rx): (impl Sending, impl Receiving),
    count: usize,
    burst: usize,
    cores: [Option<usize>; 2],
) -> Duration {
    let met = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (met, mut rx) = (&met, rx);
        let receiving = scope.spawn(move || {
            pin_current_thread(cores[1]);
            let (mut received, mut sum, mut patience) = (0, 0, Patience::default());
            meet(met);
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
            pin_current_thread(cores[0]);
            let (mut tx, mut sent, mut patience) = (tx, 0, Patience::default());
            let mut messages = [[1; MESSAGE_BYTES]; BATCH];
            meet(met);
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
pub fn in_one_thread(
    (mut tx, mut rx): (impl Sending, impl Receiving),
    count: usize,
    burst: usize,
) -> Duration {
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

/// `count` messages to another thread and back through two broadcast rings, one at a time.
fn round_trips(count: usize, cores: [Option<usize>; 2]) -> Latency {
    let ((mut there, mut far), (mut back, mut near)) = (ring(), ring());
    thread::scope(|scope| {
        scope.spawn(move || {
            pin_current_thread(cores[1]);
            let (mut passed, mut patience) = (0, Patience::default());
            while passed < count {
                let more = far.poll(BATCH, |message| back.try_publish(message).is_ok());
                passed += more;
                if more == 0 {
                    patience.wait();
                }
            }
        });
        let pinging = scope.spawn(move || {
            pin_current_thread(cores[0]);
            let (clock, mut latency, mut patience) = (Clock::new(), Latency::new(), Patience::default());
            for _ in 0..count {
                let sent = clock.now();
                while there.try_publish(&[1; MESSAGE_BYTES]).is_err() {
                    patience.wait();
                }
                while near.poll(1, |_| true) == 0 {
                    patience.wait();
                }
                latency.record(clock.now().since(sent));
            }
            latency
        });
        pinging.join().expect("the pinging thread finishes")
    })
}

type Turn = fn([Option<usize>; 2]) -> Duration;

/// Ways of using a ring; crossbeam's queue as a yardstick that many know.
const WAYS: [(&str, Turn); 12] = [
    ("two threads, publish", |cores| between_threads(publish(), TURN, 1, cores)),
    ("two threads, claim + commit", |cores| between_threads(claim(), TURN, 1, cores)),
    ("two threads, batch of 32, publish", |cores| between_threads(batch_publish(), TURN, BATCH, cores)),
    ("two threads, batch of 32, claim", |cores| between_threads(batch_claim(), TURN, BATCH, cores)),
    ("two threads, typed spsc", |cores| between_threads(typed(), TURN, 1, cores)),
    (YARDSTICKS[0], |cores| between_threads(queue(), TURN, 1, cores)),
    ("one thread, publish", |_| in_one_thread(publish(), TURN, 1)),
    ("one thread, claim + commit", |_| in_one_thread(claim(), TURN, 1)),
    ("one thread, batch of 32, publish", |_| in_one_thread(batch_publish(), TURN, BATCH)),
    ("one thread, batch of 32, claim", |_| in_one_thread(batch_claim(), TURN, BATCH)),
    ("one thread, typed spsc", |_| in_one_thread(typed(), TURN, 1)),
    (YARDSTICKS[1], |_| in_one_thread(queue(), TURN, 1)),
];
const YARDSTICKS: [&str; 2] = ["two threads, crossbeam ArrayQueue", "one thread, crossbeam ArrayQueue"];
const COST: &str = "cost of a message";
const ROUND_TRIP: &str = "round trip";

/// Measures each way in turn, and round trips through two rings.
///
/// # Errors
/// It was interrupted.
pub(crate) fn run(session: &Session) -> anyhow::Result<Report> {
    let names = WAYS.iter().map(|(name, _)| *name).chain([ROUND_TRIP]);
    let variants: Vec<Variant> = names.map(Variant::new).collect();
    let ways = variants.len();
    let what = format!(
        "cost of a message of {MESSAGE_BYTES} bytes in a ring of {DEPTH} messages: medians of turns of {TURN}"
    );
    let subject = Subject::new("ring", what, 2).without(&[
        "several readers of one ring, and readers in other processes",
        "rivals: benches/rivals, `seqcast-rivals ring`",
    ]);
    let cores = [session.place.core(0), session.place.core(1)];
    let each = Duration::from_secs_f64(session.seconds / ways as f64);
    let mut report = session.measure(subject, variants, |at, variant| {
        let began = Instant::now();
        let wall = SystemTime::now();
        let Some((_, turn)) = WAYS.get(at) else {
            let mut all = Latency::new();
            while all.is_empty() || began.elapsed() < each {
                all.merge(&round_trips(TURN / 10, cores));
            }
            let p50 = all.percentiles().p50;
            variant.count("sent", all.count());
            variant.count("received", all.count());
            variant.record_latency(ROUND_TRIP, wall, all);
            return Ok(format!("p50 {p50}"));
        };
        let mut costs = Vec::new();
        while costs.len() < MIN_TURNS || began.elapsed() < each {
            costs.push(turn(cores).as_nanos() as f64 / TURN as f64);
        }
        variant.count("turns", costs.len() as u64);
        let cost = median(&costs);
        variant.record(COST, Unit::Ns, cost);
        Ok(format!("{cost:.1} ns"))
    })?;
    compare(&mut report);
    Ok(report)
}

/// Each way against crossbeam's queue, with as many threads.
fn compare(report: &mut Report) {
    for yardstick in YARDSTICKS {
        let threads = yardstick.split(',').next().unwrap_or_default();
        let of_as_many = |name: &&str| name.starts_with(threads) && *name != yardstick;
        for name in WAYS.iter().map(|(name, _)| *name).filter(of_as_many) {
            let values = report.quotients([name, COST], [yardstick, COST]);
            report.ratio(format!("{name} / crossbeam ArrayQueue"), values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every ring gives what was sent, once and in order.
    fn check((mut tx, mut rx): (impl Sending, impl Receiving)) {
        let messages: Vec<Message> = (0..BATCH as u8).map(|at| [at; MESSAGE_BYTES]).collect();
        let (mut sum, mut wanted) = (0, 0);
        for _ in 0..2 * DEPTH / BATCH {
            assert_eq!(tx.send(&messages), BATCH);
            messages.iter().for_each(|message| look(message, &mut wanted));
            assert_eq!(rx.receive(BATCH, &mut sum), BATCH);
            assert_eq!(rx.receive(BATCH, &mut sum), 0);
        }
        assert_eq!(sum, wanted);
    }

    #[test]
    fn every_way_gives_what_was_sent() {
        check(publish());
        check(claim());
        check(batch_publish());
        check(batch_claim());
        check(typed());
        check(queue());
    }

    #[test]
    fn three_readers_have_received_what_the_slowest_has() {
        let (mut tx, mut rx) = publish_to_three();
        let messages = [[7; MESSAGE_BYTES]; BATCH];
        let (mut sum, mut first) = (0, 0);
        assert_eq!(tx.send(&messages), BATCH);
        assert_eq!(rx.readers[1].0.receive(5, &mut first), 5);
        rx.readers[1].1 += 5;
        assert_eq!(rx.receive(BATCH, &mut sum), BATCH);
        assert_eq!(rx.receive(BATCH, &mut sum), 0);
        assert_eq!(tx.send(&messages), BATCH);
        assert_eq!(rx.receive(BATCH, &mut sum), BATCH);
    }

    #[test]
    fn every_way_comes_to_its_end() {
        for (name, turn) in WAYS {
            assert!(turn([None, None]) > Duration::ZERO, "{name}");
        }
        assert_eq!(round_trips(100, [None, None]).count(), 100);
    }
}
