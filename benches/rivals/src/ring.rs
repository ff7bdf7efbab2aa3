//! `ring`: what a message of 64 bytes costs in our rings and in those of others.
//!
//! Two threads on two cores: one sends; the other has the reader, or polls three readers in turn. So nobody's readers
//! have threads or cores that the others' have not; the disruptor is used by its event pollers, which is its way of
//! leaving threads to the application. All spin.

use std::time::{Duration, Instant};

use disruptor::{
    BusySpin, EventPoller, MissingFreeSlots, Producer, SingleProducerBarrier, build_single_producer,
};
use rtrb::chunks::ChunkError;
use seqcast::bench::ring::{
    BATCH, DEPTH, MESSAGE_BYTES, Message, Receiving, Sending, TURN, Together, batch_claim, batch_publish,
    batch_publish_to_three, between_threads, claim, each, look, publish, publish_to_three, queue, typed,
};
use seqcast::bench::{Report, Session, Subject, Unit, Variant};

mod tapped;

pub(crate) use tapped::other_process;
use tapped::{Tapped, Where};

const COST: &str = "cost of a message";
const ATTACH: &str = "attach";
/// Fewest turns of a repeat.
const MIN_TURNS: usize = 3;

type Turn = fn([Option<usize>; 2]) -> Duration;

/// One way of using somebody's ring.
struct Way {
    name: &'static str,
    turn: Turn,
    /// The rival's way of doing the same.
    against: &'static [&'static str],
}

const RTRB: &str = "one reader: rtrb push, pop";
const RTRB_CHUNKS: &str = "one reader, batches of 32: rtrb chunks";
const DISRUPTOR: &str = "one reader: disruptor";
const DISRUPTOR_BATCHES: &str = "one reader, batches of 32: disruptor";
const DISRUPTOR_THREE: &str = "three readers: disruptor";
const DISRUPTOR_THREE_BATCHES: &str = "three readers, batches of 32: disruptor";
const QUEUE: &str = "one reader: crossbeam ArrayQueue";

const fn ours(name: &'static str, turn: Turn, against: &'static [&'static str]) -> Way {
    Way { name, turn, against }
}

const fn rival(name: &'static str, turn: Turn) -> Way {
    Way { name, turn, against: &[] }
}

const WAYS: [Way; 14] = [
    ours(
        "one reader: Seqcast, publish",
        |cores| between_threads(publish(), TURN, 1, cores),
        &[RTRB, DISRUPTOR, QUEUE],
    ),
    ours(
        "one reader: Seqcast, claim + commit",
        |cores| between_threads(claim(), TURN, 1, cores),
        &[RTRB, DISRUPTOR, QUEUE],
    ),
    ours(
        "one reader: Seqcast, typed spsc",
        |cores| between_threads(typed(), TURN, 1, cores),
        &[RTRB, DISRUPTOR, QUEUE],
    ),
    rival(RTRB, |cores| between_threads(rtrb(), TURN, 1, cores)),
    rival(DISRUPTOR, |cores| between_threads(disruptor(), TURN, 1, cores)),
    rival(QUEUE, |cores| between_threads(queue(), TURN, 1, cores)),
    ours(
        "one reader, batches of 32: Seqcast, publish",
        |cores| between_threads(batch_publish(), TURN, BATCH, cores),
        &[RTRB_CHUNKS, DISRUPTOR_BATCHES],
    ),
    ours(
        "one reader, batches of 32: Seqcast, claim + commit",
        |cores| between_threads(batch_claim(), TURN, BATCH, cores),
        &[RTRB_CHUNKS, DISRUPTOR_BATCHES],
    ),
    rival(RTRB_CHUNKS, |cores| between_threads(rtrb_chunks(), TURN, BATCH, cores)),
    rival(DISRUPTOR_BATCHES, |cores| between_threads(disruptor_batches(), TURN, BATCH, cores)),
    ours(
        "three readers: Seqcast, publish",
        |cores| between_threads(publish_to_three(), TURN, 1, cores),
        &[DISRUPTOR_THREE],
    ),
    rival(DISRUPTOR_THREE, |cores| between_threads(disruptor_to_three(), TURN, 1, cores)),
    ours(
        "three readers, batches of 32: Seqcast, publish",
        |cores| between_threads(batch_publish_to_three(), TURN, BATCH, cores),
        &[DISRUPTOR_THREE_BATCHES],
    ),
    rival(DISRUPTOR_THREE_BATCHES, |cores| between_threads(disruptor_batches_to_three(), TURN, BATCH, cores)),
];

struct Rtrb(rtrb::Producer<Message>);
struct RtrbChunks(rtrb::Producer<Message>);

impl Sending for Rtrb {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.push(*message).is_ok())
    }
}

impl Sending for RtrbChunks {
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

fn rtrb() -> (Rtrb, RtrbPop) {
    let (producer, consumer) = rtrb::RingBuffer::new(DEPTH);
    (Rtrb(producer), RtrbPop(consumer))
}

fn rtrb_chunks() -> (RtrbChunks, RtrbReadChunk) {
    let (producer, consumer) = rtrb::RingBuffer::new(DEPTH);
    (RtrbChunks(producer), RtrbReadChunk(consumer))
}

struct Disruptor<P>(P);
struct DisruptorBatches<P>(P);
/// One of the disruptor's readers.
struct Polled(EventPoller<Message, SingleProducerBarrier>);

impl<P: Producer<Message> + Send> Sending for Disruptor<P> {
    fn send(&mut self, messages: &[Message]) -> usize {
        each(messages, |message| self.0.try_publish(|slot| *slot = *message).is_ok())
    }
}

impl<P: Producer<Message> + Send> Sending for DisruptorBatches<P> {
    fn send(&mut self, messages: &[Message]) -> usize {
        let mut count = messages.len();
        while count > 0 {
            let sent = self.0.try_batch_publish(count, |slots| {
                slots.zip(messages).for_each(|(slot, message)| *slot = *message);
            });
            match sent {
                Ok(_) => break,
                Err(MissingFreeSlots(missing)) => count = count.saturating_sub((missing as usize).max(1)),
            }
        }
        count
    }
}

impl Receiving for Polled {
    fn receive(&mut self, limit: usize, sum: &mut u64) -> usize {
        let Ok(mut events) = self.0.take(limit as u64) else { return 0 };
        (&mut events).inspect(|message| look(*message, sum)).count()
    }
}

fn disruptor() -> (Disruptor<impl Producer<Message> + Send>, Polled) {
    let builder = build_single_producer(DEPTH, || [0; MESSAGE_BYTES], BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (Disruptor(builder.build()), Polled(poller))
}

fn disruptor_batches() -> (DisruptorBatches<impl Producer<Message> + Send>, Polled) {
    let (Disruptor(producer), polled) = disruptor();
    (DisruptorBatches(producer), polled)
}

fn disruptor_to_three() -> (Disruptor<impl Producer<Message> + Send>, Together<Polled, 3>) {
    let builder = build_single_producer(DEPTH, || [0; MESSAGE_BYTES], BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.new_event_poller();
    let (third, builder) = builder.new_event_poller();
    (Disruptor(builder.build()), Together::new([first, second, third].map(Polled)))
}

fn disruptor_batches_to_three() -> (DisruptorBatches<impl Producer<Message> + Send>, Together<Polled, 3>) {
    let (Disruptor(producer), polled) = disruptor_to_three();
    (DisruptorBatches(producer), polled)
}

/// Measures all in turn.
pub(crate) fn run(session: &Session) -> anyhow::Result<Report> {
    let names = WAYS.iter().map(|way| way.name).chain(Where::ALL.map(Where::name));
    let variants: Vec<Variant> = names.map(Variant::new).collect();
    let each = Duration::from_secs_f64(session.seconds / variants.len() as f64);
    let cores = [session.place.core(0), session.place.core(1)];
    let what = format!(
        "cost of a message of {MESSAGE_BYTES} bytes from one thread to another, in a ring of {DEPTH} messages: medians \
         of turns of {TURN}"
    );
    let subject = Subject::new("rivals-ring", what, 2)
        .with("three readers", "one thread polls all three in turn, the disruptor's as event pollers")
        .with("taps", format!("copy {} messages that stand in the ring already", tapped::STANDING))
        .without(&["readers on cores of their own", "wait strategies other than spinning"]);
    let mut report = session.measure(subject, variants, |at, variant| {
        let began = Instant::now();
        let mut costs = Vec::new();
        if let Some(way) = WAYS.get(at) {
            while costs.len() < MIN_TURNS || began.elapsed() < each {
                costs.push((way.turn)(cores).as_nanos() as f64 / TURN as f64);
            }
        } else {
            let mut tapped = Tapped::new(Where::ALL[at - WAYS.len()], cores)?;
            variant.record(ATTACH, Unit::Ns, tapped.attach_ns as f64);
            while costs.len() < MIN_TURNS || began.elapsed() < each {
                costs.push(tapped.turn()?);
            }
        }
        variant.count("turns", costs.len() as u64);
        costs.sort_by(f64::total_cmp);
        let cost = costs[costs.len() / 2];
        variant.record(COST, Unit::Ns, cost);
        Ok(format!("{cost:.1} ns"))
    })?;
    for way in &WAYS {
        for against in way.against {
            let values = report.quotients([way.name, COST], [*against, COST]);
            report.ratio(format!("{} / {against}", way.name), values);
        }
    }
    let [here, there] = Where::ALL.map(Where::name);
    let values = report.quotients([there, COST], [here, COST]);
    report.ratio(format!("{there} / {here}"), values);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_comes_to_its_end() {
        for way in WAYS {
            assert!((way.turn)([None, None]) > Duration::ZERO, "{}", way.name);
            assert!(way.against.iter().all(|against| WAYS.iter().any(|way| way.name == *against)));
        }
    }

    /// What is sent arrives, once and in order, and a full ring takes what it has room for.
    fn check((mut tx, mut rx): (impl Sending, impl Receiving), burst: usize) {
        let messages: Vec<Message> = (0..DEPTH + 5).map(|at| [at as u8; MESSAGE_BYTES]).collect();
        let (mut sum, mut sent, mut received) = (0, 0, 0);
        while sent < DEPTH {
            let more = tx.send(&messages[sent..][..burst]);
            assert!(more > 0);
            sent += more;
        }
        assert_eq!((sent, tx.send(&messages[..burst])), (DEPTH, 0));
        while received < DEPTH {
            let more = rx.receive(BATCH, &mut sum);
            assert!(more > 0);
            received += more;
        }
        assert_eq!(rx.receive(BATCH, &mut sum), 0);
    }

    #[test]
    fn the_rivals_rings_hold_what_they_are_made_for() {
        check(rtrb(), 1);
        check(rtrb_chunks(), 5);
        check(disruptor(), 1);
        check(disruptor_batches(), 5);
        check(disruptor_to_three(), 1);
        check(disruptor_batches_to_three(), 5);
    }
}
