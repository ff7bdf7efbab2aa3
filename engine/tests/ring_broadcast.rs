//! The broadcast ring against a plain list, in one thread; then between threads and processes.
#![cfg(not(loom))]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use seqcast_engine::mem::{Region, RegionSpec, RegionView};
use seqcast_engine::ring::broadcast::{
    self, AttachError, Claim, CreateError, Evicted, Guest, NoSlot, Overrun, Reader, Refused, RingSpec,
    Subscriptions, Tap, Writer,
};

const CAPACITY_BYTES: usize = 4096;
const MAX_LEN: usize = CAPACITY_BYTES / 8 - 8;
const MAX_READERS: usize = 3;

fn ring(capacity_bytes: usize, max_readers: usize) -> (Writer, Subscriptions) {
    let spec = RingSpec { capacity_bytes, max_readers };
    let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).unwrap();
    broadcast::create(spec, region).unwrap()
}

/// The message with number `number`, of `len` bytes.
fn message(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// The same, when only `parts` of it are written.
fn message_in(number: usize, len: usize, parts: &[usize]) -> Vec<u8> {
    let mut message = message(number, len);
    message[len.min(parts.iter().sum())..].fill(0);
    message
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Claim(usize, Parts),
    Abort(usize, Parts),
    Batch(Vec<(usize, Parts)>),
    AddReader,
    AddGuest,
    AddTap,
    DropReader(usize),
    DropGuest(usize),
    Read { reader: usize, limit: usize },
    StopAt { reader: usize, at: usize },
    GuestRead { guest: usize, limit: usize },
    TapRead { tap: usize, limit: usize },
    Evict(u64),
}

/// Bytes of the writes into a claim. What they leave of it has to be zeros.
type Parts = Vec<usize>;

fn parts() -> impl Strategy<Value = Parts> {
    prop_oneof![1 => Just(vec![MAX_LEN]), 3 => prop::collection::vec(0..40usize, 0..5)]
}

/// Writes `message` in `parts`, as far as they reach.
fn write_parts(claim: &mut Claim<'_>, message: &[u8], parts: &[usize]) {
    let mut rest = message;
    for part in parts {
        let (now, later) = rest.split_at(rest.len().min(*part));
        claim.write(now);
        rest = later;
    }
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..=80usize, 1 => 0..=MAX_LEN, 1 => Just(MAX_LEN), 1 => Just(MAX_LEN + 1)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => len().prop_map(Step::Publish),
        4 => (len(), parts()).prop_map(|(len, parts)| Step::Claim(len, parts)),
        2 => (len(), parts()).prop_map(|(len, parts)| Step::Abort(len, parts)),
        4 => prop::collection::vec((len(), parts()), 0..12).prop_map(Step::Batch),
        1 => Just(Step::AddReader),
        1 => Just(Step::AddGuest),
        1 => Just(Step::AddTap),
        1 => any::<usize>().prop_map(Step::DropReader),
        1 => any::<usize>().prop_map(Step::DropGuest),
        8 => (any::<usize>(), 0..40usize).prop_map(|(reader, limit)| Step::Read { reader, limit }),
        2 => (any::<usize>(), 0..10usize).prop_map(|(reader, at)| Step::StopAt { reader, at }),
        6 => (any::<usize>(), 0..40usize).prop_map(|(guest, limit)| Step::GuestRead { guest, limit }),
        4 => (any::<usize>(), 0..40usize).prop_map(|(tap, limit)| Step::TapRead { tap, limit }),
        1 => (0..CAPACITY_BYTES as u64).prop_map(Step::Evict),
    ]
}

fn record_bytes(len: usize) -> u64 {
    8 + len.div_ceil(8) as u64 * 8
}

/// What the ring should be: every message ever published, and where each one's record ends.
#[derive(Default)]
struct History {
    messages: Vec<Vec<u8>>,
    ends: Vec<u64>,
    /// Where the next record goes: where the last one ends, or past padding that a claim made and did not use.
    next: u64,
    /// Up to where readers and taps may read.
    tail: u64,
    /// Up to where taps know that the writer may be overwriting.
    intent: u64,
    full_total: u64,
}

impl History {
    /// Where the first `count` messages end.
    fn end(&self, count: usize) -> u64 {
        count.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Where the record of message `number` starts, after any padding.
    fn start(&self, number: usize) -> u64 {
        self.ends[number] - record_bytes(self.messages[number].len())
    }

    /// Where a record of a message of `len` bytes would start if it came next.
    fn start_with(&self, len: usize) -> u64 {
        let to_end = CAPACITY_BYTES as u64 - self.next % CAPACITY_BYTES as u64;
        self.next + if record_bytes(len) > to_end { to_end } else { 0 }
    }

    /// What a claim that is granted does, whether it is used or not.
    fn grant(&mut self, len: usize) {
        self.next = self.start_with(len);
        let end = self.next + record_bytes(len);
        if end > self.intent {
            self.intent = end + CAPACITY_BYTES as u64 / 16;
        }
    }

    /// What a claim or a publication did.
    fn note(&mut self, message: Vec<u8>, outcome: Result<(), Refused>) {
        match outcome {
            Ok(()) => {
                self.grant(message.len());
                self.next += record_bytes(message.len());
                self.ends.push(self.next);
                self.messages.push(message);
            }
            Err(Refused::Full) => self.full_total += 1,
            Err(Refused::TooLong { .. }) => return,
        }
        self.tail = self.next;
    }

    /// What a claim of `len` bytes has to give, when the slowest reader, if there is one, has consumed up to `gate`.
    fn expected(&self, len: usize, gate: Option<u64>) -> Result<(), Refused> {
        if len > MAX_LEN {
            return Err(Refused::TooLong { len, max: MAX_LEN });
        }
        match gate {
            Some(gate) if self.start_with(len) + record_bytes(len) > gate + CAPACITY_BYTES as u64 => {
                Err(Refused::Full)
            }
            _ => Ok(()),
        }
    }
}

/// One who looked for a message and found one, or found the end: padding before the end is behind it now.
fn moved(next: &mut usize, past: &mut u64, found: bool, tail: u64) {
    if found {
        *next += 1;
    } else {
        *past = (*past).max(tail);
    }
}

struct World {
    writer: Writer,
    subscriptions: Subscriptions,
    history: History,
    /// Each with the number of the message it has to see next, and a position it is known to be past.
    readers: Vec<(Reader, usize, u64)>,
    guests: Vec<(Guest, usize, u64)>,
    evicted: Vec<Guest>,
    taps: Vec<(Tap, usize, u64)>,
}

impl World {
    fn new() -> World {
        let (writer, subscriptions) = ring(CAPACITY_BYTES, MAX_READERS);
        World {
            writer,
            subscriptions,
            history: History::default(),
            readers: Vec::new(),
            guests: Vec::new(),
            evicted: Vec::new(),
            taps: Vec::new(),
        }
    }

    /// What the slowest reader or guest has consumed, if there is one.
    fn gate(&self) -> Option<u64> {
        let readers = self.readers.iter().map(|(_, next, past)| self.history.end(*next).max(*past));
        let guests = self.guests.iter().map(|(_, next, past)| self.history.end(*next).max(*past));
        readers.chain(guests).min()
    }

    fn release_all(&mut self) {
        self.readers.iter_mut().for_each(|(reader, ..)| reader.release());
        self.guests.iter_mut().for_each(|(guest, ..)| guest.release());
    }

    fn run(&mut self, step: Step) {
        self.release_all();
        match step {
            Step::Publish(len) => self.publish(len),
            Step::Claim(len, parts) => self.claim(len, &parts, true),
            Step::Abort(len, parts) => self.claim(len, &parts, false),
            Step::Batch(lens) => self.batch(&lens),
            Step::AddReader => match self.subscriptions.reader() {
                Ok(reader) => self.readers.push((reader, self.history.messages.len(), self.history.next)),
                Err(error) => self.refused_a_seat(error),
            },
            Step::AddGuest => match self.subscriptions.guest() {
                Ok(guest) => self.guests.push((guest, self.history.messages.len(), self.history.next)),
                Err(error) => self.refused_a_seat(error),
            },
            Step::AddTap => {
                self.taps.push((self.subscriptions.tap(), self.history.messages.len(), self.history.tail));
            }
            Step::DropReader(which) if !self.readers.is_empty() => {
                self.readers.swap_remove(which % self.readers.len());
            }
            Step::DropGuest(which) if !self.guests.is_empty() => {
                self.guests.swap_remove(which % self.guests.len());
                self.evicted.clear();
            }
            Step::Read { reader, limit } if !self.readers.is_empty() => self.read(reader, limit),
            Step::StopAt { reader, at } if !self.readers.is_empty() => self.stop_at(reader, at),
            Step::GuestRead { guest, limit } if !self.guests.is_empty() => self.guest_read(guest, limit),
            Step::TapRead { tap, limit } if !self.taps.is_empty() => self.tap_read(tap, limit),
            Step::Evict(lag_bytes) => self.evict(lag_bytes),
            _ => {}
        }
        assert_eq!(self.writer.full_total(), self.history.full_total);
    }

    fn refused_a_seat(&self, error: NoSlot) {
        assert_eq!(error, NoSlot { max_readers: MAX_READERS });
        assert_eq!(self.readers.len() + self.guests.len() + self.evicted.len(), MAX_READERS);
    }

    fn publish(&mut self, len: usize) {
        let message = message(self.history.messages.len(), len);
        let expected = self.history.expected(len, self.gate());
        assert_eq!(self.writer.try_publish(&message), expected);
        self.history.note(message, expected);
    }

    fn claim(&mut self, len: usize, parts: &[usize], commit: bool) {
        let message = message_in(self.history.messages.len(), len, parts);
        let expected = self.history.expected(len, self.gate());
        let claim = self.writer.try_claim(len).map(|mut claim| {
            write_parts(&mut claim, &message, parts);
            if commit {
                claim.commit();
            }
        });
        assert_eq!(claim, expected);
        if commit || expected.is_err() {
            self.history.note(message, expected);
        } else {
            self.history.grant(len);
        }
    }

    fn batch(&mut self, messages: &[(usize, Parts)]) {
        let gate = self.gate();
        let mut batch = self.writer.batch();
        for (len, parts) in messages {
            let message = message_in(self.history.messages.len(), *len, parts);
            let expected = self.history.expected(*len, gate);
            let claim = batch.try_claim(*len).map(|mut claim| {
                write_parts(&mut claim, &message, parts);
                claim.commit();
            });
            assert_eq!(claim, expected);
            self.history.note(message, expected);
        }
    }

    fn read(&mut self, which: usize, limit: usize) {
        let which = which % self.readers.len();
        let (reader, next, past) = &mut self.readers[which];
        let messages = &self.history.messages;
        let expected = limit.min(messages.len() - *next);
        let taken = reader.poll(limit, |bytes| {
            assert_eq!(bytes, messages[*next]);
            *next += 1;
            true
        });
        assert_eq!(taken, expected);
        if *next == messages.len() {
            assert!(reader.peek().is_none());
            moved(next, past, false, self.history.tail);
            assert_eq!(reader.lag_bytes(), 0);
        }
    }

    /// Takes `at` messages and stops before the next, which has to come again.
    fn stop_at(&mut self, which: usize, at: usize) {
        let which = which % self.readers.len();
        let (reader, next, past) = &mut self.readers[which];
        let mut offered = 0;
        let taken = reader.poll(usize::MAX, |bytes| {
            assert_eq!(bytes, self.history.messages[*next + offered]);
            offered += 1;
            offered <= at
        });
        assert_eq!(taken, at.min(self.history.messages.len() - *next));
        *next += taken;
        if offered > taken {
            // It has seen the next message without taking it: the padding before it is consumed.
            *past = self.history.start(*next);
        }
    }

    fn guest_read(&mut self, which: usize, limit: usize) {
        let which = which % self.guests.len();
        let (guest, next, past) = &mut self.guests[which];
        for _ in 0..limit {
            let expected = self.history.messages.get(*next).map(Vec::as_slice);
            assert_eq!(guest.try_next(), Ok(expected));
            moved(next, past, expected.is_some(), self.history.tail);
        }
    }

    fn tap_read(&mut self, which: usize, limit: usize) {
        let which = which % self.taps.len();
        let (tap, next, past) = &mut self.taps[which];
        for _ in 0..limit {
            let position = self.history.end(*next).max(*past);
            let lag_bytes = self.history.tail - position;
            assert_eq!(tap.lag_bytes(), lag_bytes);
            if lag_bytes > 0 && self.history.intent > position + CAPACITY_BYTES as u64 {
                assert_eq!(tap.try_next(), Err(Overrun { skipped_bytes: lag_bytes }));
                (*next, *past) = (self.history.messages.len(), self.history.tail);
            } else {
                let expected = self.history.messages.get(*next).map(Vec::as_slice);
                assert_eq!(tap.try_next(), Ok(expected));
                moved(next, past, expected.is_some(), self.history.tail);
            }
        }
    }

    fn evict(&mut self, lag_bytes: u64) {
        // Whoever joined and was not admitted yet is not behind; admit all.
        self.claim(0, &[], false);
        let next = self.history.next;
        let (slow, rest): (Vec<_>, Vec<_>) = self
            .guests
            .drain(..)
            .partition(|(_, at, past)| next - self.history.end(*at).max(*past) >= lag_bytes);
        self.guests = rest;
        assert_eq!(self.writer.evict_lagging(lag_bytes), slow.len());
        for (mut guest, ..) in slow {
            assert_eq!(guest.try_next(), Err(Evicted));
            self.evicted.push(guest);
        }
        assert_eq!(self.writer.slowest_lag_bytes(), next - self.gate().unwrap_or(next));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_behaves_like_a_list(steps in prop::collection::vec(step(), 0..400)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
    }
}

/// A refused claim makes the padding of an aborted one visible: a tap that sees no message has read it all the same.
#[test]
fn padding_before_the_end_is_read_with_the_end() {
    let mut world = World::new();
    world.run(Step::AddReader);
    world.run(Step::AddTap);
    for len in [248, MAX_LEN, MAX_LEN, MAX_LEN, MAX_LEN, MAX_LEN, MAX_LEN, MAX_LEN, 208] {
        world.run(Step::Publish(len));
    }
    world.run(Step::Read { reader: 0, limit: 1 });
    world.run(Step::TapRead { tap: 0, limit: 9 });
    world.run(Step::Abort(201, vec![]));
    world.run(Step::Publish(MAX_LEN));
    assert_eq!((world.history.full_total, world.history.tail), (1, CAPACITY_BYTES as u64));
    world.run(Step::TapRead { tap: 0, limit: 2 });
}

/// A number and bytes that follow from it.
fn stamped(number: u64) -> Vec<u8> {
    let len = 8 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as usize;
    let mut message = number.to_le_bytes().to_vec();
    message.resize(len, number as u8);
    message
}

fn number_of(message: &[u8]) -> u64 {
    let number = u64::from_le_bytes(message[..8].try_into().unwrap());
    assert_eq!(message, stamped(number), "torn");
    number
}

/// Publishes the messages from 0 to `count`, alone and in batches, and evicts guests when they hold it up.
fn write(mut writer: Writer, count: u64) {
    let mut number = 0;
    while number < count {
        let mut batch = writer.batch();
        let until = count.min(number + 1 + number % 7);
        while number < until && batch.try_publish(&stamped(number)).is_ok() {
            number += 1;
        }
        drop(batch);
        if number < until {
            if writer.full_total().is_multiple_of(64) {
                writer.evict_lagging(CAPACITY_BYTES as u64 / 2);
            }
            std::thread::yield_now();
        }
    }
}

/// Reads with one reader, one guest (a new one after each eviction) and one tap, all in this thread.
fn read(subscriptions: &Subscriptions, mut reader: Reader, count: u64) {
    let (mut guest, mut tap) = (subscriptions.guest().unwrap(), subscriptions.tap());
    let (mut next, mut guest_next, mut tap_next, mut turn) = (0, 0, 0, 0u64);
    while next < count {
        turn += 1;
        let taken = reader.poll(1 + turn as usize % 50, |message| {
            assert_eq!(number_of(message), next);
            next += 1;
            true
        });
        if taken == 0 {
            std::thread::yield_now();
        }
        // The guest reads less than there is, now and then.
        for _ in 0..turn % 29 {
            match guest.try_next() {
                Ok(Some(message)) => {
                    let number = number_of(message);
                    assert!(number == guest_next || guest_next == 0, "{number} instead of {guest_next}");
                    guest_next = number + 1;
                }
                Ok(None) => break,
                Err(Evicted) => {
                    drop(guest);
                    (guest, guest_next) = (subscriptions.guest().unwrap(), 0);
                }
            }
        }
        for _ in 0..turn % 61 {
            match tap.try_next() {
                Ok(Some(message)) => {
                    let number = number_of(message);
                    assert!(number >= tap_next, "{number} after {tap_next}");
                    tap_next = number + 1;
                }
                Ok(None) => break,
                Err(Overrun { skipped_bytes }) => assert!(skipped_bytes > 0),
            }
        }
    }
}

#[test]
fn two_threads_lose_and_tear_nothing() {
    const COUNT: u64 = 200_000;
    let (writer, subscriptions) = ring(CAPACITY_BYTES, 2);
    let reader = subscriptions.reader().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| write(writer, COUNT));
        read(&subscriptions, reader, COUNT);
    });
}

const RING_PATH: &str = "SEQCAST_TEST_RING_PATH";
const IN_THE_RING: u64 = 500;

/// Not a test of its own: what the test below starts as another process.
#[test]
fn other_process() {
    let Ok(path) = std::env::var(RING_PATH) else { return };
    let mut tap = broadcast::attach(RegionView::open(path.as_ref()).unwrap()).unwrap();
    writeln!(std::io::stdout(), "\nattached").unwrap();
    let mut next = 0;
    while !tap.is_finished() {
        match tap.try_next().unwrap() {
            Some(message) => {
                assert_eq!(number_of(message), next);
                next += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    assert_eq!(next, IN_THE_RING);
}

#[cfg(target_os = "linux")]
#[test]
fn another_process_taps_the_ring() {
    let spec = RingSpec { capacity_bytes: 1 << 17, max_readers: 0 };
    let region = Region::shared(c"seqcast-ring-test", &RegionSpec::plain(spec.region_bytes())).unwrap();
    let (mut writer, subscriptions) = broadcast::create(spec, region).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["other_process", "--exact", "--nocapture"])
        .env(RING_PATH, subscriptions.path().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "attached"), "the other process could not attach");
    for number in 0..IN_THE_RING {
        writer.try_publish(&stamped(number)).unwrap();
    }
    drop(writer);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_is_no_ring_is_not_attached_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region");
    let attach = |words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        broadcast::attach(RegionView::open(&path).unwrap()).map(drop)
    };
    let magic = u64::from_le_bytes(*b"SeqcRing");
    let mut words = vec![0; 64 + 512];
    assert_eq!(attach(&words), Err(AttachError::NoRing));
    assert_eq!(attach(&[magic, 1, 4096, 0]), Err(AttachError::NoRing));
    words[..4].copy_from_slice(&[magic, 2, 4096, 0]);
    assert_eq!(attach(&words), Err(AttachError::Version { found: 2, known: 1 }));
    for bad in [[magic, 1, 4095, 0], [magic, 1, 8192, 0], [magic, 1, u64::MAX, 0], [magic, 1, 4096, u64::MAX]]
    {
        words[..4].copy_from_slice(&bad);
        assert_eq!(attach(&words), Err(AttachError::NoRing), "{bad:?}");
    }
    words[..4].copy_from_slice(&[magic, 1, 4096, 0]);
    assert_eq!(attach(&words), Ok(()));
}

#[test]
fn whatever_stands_in_anothers_ring_a_tap_reads_it_safely() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region");
    let nonsense = [u64::MAX, 1 << 63, (1 << 63) | 8, (1 << 63) | 4096, 505, 4096, 504, 3];
    for tail in [1, 8, 4096, 1 << 40, u64::MAX, u64::MAX - 7] {
        for word in nonsense {
            let mut words = vec![word; 64 + 512];
            words[..4].copy_from_slice(&[u64::from_le_bytes(*b"SeqcRing"), 1, 4096, 0]);
            (words[16], words[32], words[49]) = (0, 0, 0);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            std::fs::write(&path, bytes).unwrap();
            let ring = Region::open_file(&path).unwrap();
            let mut tap = broadcast::attach(RegionView::open(&path).unwrap()).unwrap();
            ring.atomics()[16].store(tail, std::sync::atomic::Ordering::Relaxed);
            for _ in 0..1000 {
                // Any outcome will do; it has to come without a panic, and a message has to be one in bounds.
                if let Ok(Some(message)) = tap.try_next() {
                    assert!(message.len() <= MAX_LEN);
                }
            }
        }
    }
}

#[test]
fn a_ring_that_cannot_be_is_refused_with_a_reason() {
    let create = |capacity_bytes, max_readers, region_bytes| {
        let region = Region::anonymous(&RegionSpec::plain(region_bytes)).unwrap();
        broadcast::create(RingSpec { capacity_bytes, max_readers }, region).map(drop).unwrap_err()
    };
    for capacity_bytes in [0, 1, 2048, 4097, 3 << 20, 1 << 41] {
        assert_eq!(create(capacity_bytes, 1, 1 << 20), CreateError::Capacity { capacity_bytes });
    }
    assert_eq!(create(4096, 65, 1 << 20), CreateError::Readers { max_readers: 65 });
    assert!(matches!(create(4096, 1, 4096), CreateError::TooSmall { actual_bytes: 4096, .. }));
    let dir = tempfile::tempdir().unwrap();
    let file = Region::create_file(&dir.path().join("ring"), 1 << 20).unwrap();
    let spec = RingSpec { capacity_bytes: 4096, max_readers: 1 };
    assert_eq!(broadcast::create(spec, file).map(drop).unwrap_err(), CreateError::Writable);
}

#[test]
fn readers_learn_that_the_writer_is_gone_after_the_last_message() {
    let (mut writer, subscriptions) = ring(CAPACITY_BYTES, 1);
    let (mut reader, mut tap) = (subscriptions.reader().unwrap(), subscriptions.tap());
    writer.try_publish(b"last").unwrap();
    drop(writer);
    assert!(!reader.is_finished() && !tap.is_finished());
    assert_eq!(reader.poll(9, |message| message == b"last"), 1);
    assert_eq!(tap.try_next(), Ok(Some(&b"last"[..])));
    assert!(reader.is_finished() && tap.is_finished());
}
