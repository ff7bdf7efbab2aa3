//! The book agent tells an application the same, however many items it finds at once.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use seqcast_engine::agents::books::{Application, BookAgent, Input};
use seqcast_engine::agents::event;
use seqcast_engine::agents::meter::Meter;
use seqcast_engine::book::{Applied, Books, Effect};
use seqcast_engine::feed::{FeedState, Item};
use seqcast_engine::mem::{Region, RegionSpec};
use seqcast_engine::ring::broadcast::{self, RingSpec, Subscriptions, Writer};
use seqcast_engine::runtime::Agent;
use seqcast_engine::stat::{Counters, CountersSpec};
use seqcast_engine::time::Nanos;
use seqcast_wire::SeqNo;

use super::messages::{References, draft};

/// What comes out of the feed.
#[derive(Clone, Debug)]
enum Step {
    Message(Vec<u8>),
    /// A number that came before, as behind a snapshot.
    Again(Vec<u8>),
    State(FeedState),
    Lost(u64),
    Conflict,
}

/// What an application hears.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Message(u64, Nanos, Vec<u8>),
    Book(u64, Nanos, Applied, u32, u64),
    State(FeedState),
    Lost(u64, u64),
    Conflict(u64),
    Digest(u64),
}

/// Digests of the books are dear: only some are heard.
fn heard_of(seq: u64, received: Nanos, applied: &Applied, books: &Books) -> Heard {
    let digest = if seq.is_multiple_of(16) { books.digest() } else { 0 };
    Heard::Book(seq, received, *applied, books.live_orders(), digest)
}

#[derive(Clone)]
struct Listener {
    heard: Arc<Mutex<Vec<Heard>>>,
    wants_books: bool,
}

impl Listener {
    fn new(wants_books: bool) -> Listener {
        Listener { heard: Arc::default(), wants_books }
    }

    fn hear(&self, heard: Heard) {
        self.heard.lock().unwrap().push(heard);
    }
}

impl Application for Listener {
    fn wants_books(&self) -> bool {
        self.wants_books
    }

    fn on_message(&mut self, seq: SeqNo, received: Nanos, message: &[u8]) {
        self.hear(Heard::Message(seq.value(), received, message.to_vec()));
    }

    fn on_book(&mut self, seq: SeqNo, received: Nanos, applied: &Applied, books: &Books) {
        self.hear(heard_of(seq.value(), received, applied, books));
    }

    fn on_state(&mut self, state: FeedState) {
        self.hear(Heard::State(state));
    }

    fn on_lost(&mut self, first: SeqNo, count: u64) {
        self.hear(Heard::Lost(first.value(), count));
    }

    fn on_conflict(&mut self, seq: SeqNo) {
        self.hear(Heard::Conflict(seq.value()));
    }

    fn on_close(&mut self, books: &Books) {
        self.hear(Heard::Digest(books.digest()));
    }
}

fn step() -> impl Strategy<Value = Step> {
    let message = || draft().prop_map(|draft| draft.to_bytes(References::Dense));
    let state =
        prop::sample::select(vec![FeedState::Live, FeedState::Gapped, FeedState::Live, FeedState::Stale]);
    prop_oneof![
        60 => message().prop_map(Step::Message),
        2 => message().prop_map(Step::Again),
        2 => state.prop_map(Step::State),
        1 => (1..5_u64).prop_map(Step::Lost),
        1 => Just(Step::Conflict),
    ]
}

/// The items of `steps`, numbered. Losses and conflicts only from three quarters on: nothing is said of books behind
/// them.
fn items(steps: &[Step]) -> Vec<(Nanos, Item<'_>)> {
    let seq = |value: u64| SeqNo::new(value.max(1)).unwrap();
    let (mut next, mut items) = (1, vec![(Nanos(0), Item::State(FeedState::Live))]);
    for (at, step) in steps.iter().enumerate() {
        let item = match step {
            Step::Message(bytes) => Item::Message { seq: seq(next), bytes },
            Step::Again(bytes) => Item::Message { seq: seq(next - 1), bytes },
            Step::State(state) => Item::State(*state),
            _ if at * 4 < steps.len() * 3 => continue,
            Step::Lost(count) => Item::Lost { first: seq(next), count: *count },
            Step::Conflict => Item::Conflict { seq: seq(next) },
        };
        match (step, &item) {
            (Step::Message(_), _) => next += 1,
            (Step::Lost(count), _) => next += count,
            (Step::Again(_), _) if next == 1 => continue,
            _ => {}
        }
        items.push((Nanos(at as u64), item));
    }
    items
}

/// What is to be heard, one item after the other.
fn expected(items: &[(Nanos, Item<'_>)]) -> Vec<Heard> {
    let mut books = super::books(64, 1 << 12);
    let (mut heard, mut whole, mut state, mut next) = (Vec::new(), true, FeedState::Stale, 1);
    for &(received, item) in items {
        match item {
            Item::Message { seq, bytes } if seq.value() >= next => {
                next = seq.value() + 1;
                heard.push(Heard::Message(seq.value(), received, bytes.to_vec()));
                if whole {
                    let applied = books.apply(bytes);
                    let news = applied.effect != Effect::None || applied.trade.is_some();
                    if news && state != FeedState::Stale {
                        heard.push(heard_of(seq.value(), received, &applied, &books));
                    }
                }
            }
            Item::State(new) => {
                state = new;
                heard.push(Heard::State(new));
            }
            Item::Lost { first, count } => {
                (whole, next) = (false, first.value() + count);
                heard.push(Heard::Lost(first.value(), count));
            }
            Item::Conflict { seq } => {
                whole = false;
                heard.push(Heard::Conflict(seq.value()));
            }
            _ => {}
        }
    }
    heard.push(Heard::Digest(books.digest()));
    heard
}

fn put(ring: &mut Writer, received: Nanos, item: &Item<'_>) {
    let mut claim = ring.try_claim(event::encoded_bytes(item)).unwrap();
    event::encode(item, received, |part| claim.write(part));
    claim.commit();
}

fn heard(
    listener: Listener,
    items: &[(Nanos, Item<'_>)],
    at_once: usize,
    input: impl Fn(&Subscriptions) -> Input,
) -> Vec<Heard> {
    let spec = RingSpec { capacity_bytes: 1 << 18, max_readers: 1 };
    let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).unwrap();
    let (mut ring, readers) = broadcast::create(spec, region).unwrap();
    let counters = Counters::anonymous("books", CountersSpec::default()).unwrap();
    let (books, meter) = (super::books(64, 1 << 12), Meter::new(&counters, "books", ""));
    let mut agent = BookAgent::new("books", input(&readers), books, listener.clone(), meter);
    agent.do_work(Nanos(0)).unwrap();
    for chunk in items.chunks(at_once) {
        for (received, item) in chunk {
            put(&mut ring, *received, item);
        }
        assert_eq!(agent.do_work(Nanos(0)).unwrap(), chunk.len());
    }
    agent.on_close(Nanos(0));
    std::mem::take(&mut *listener.heard.lock().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_comes_at_once_is_told_as_if_it_came_alone(
        steps in prop::collection::vec(step(), 0..400),
        at_once in prop_oneof![Just(1_usize), 2..5_usize, 20..150_usize],
    ) {
        let items = items(&steps);
        let expected = expected(&items);
        let wait = |readers: &Subscriptions| Input::Wait(readers.reader().unwrap());
        let disconnect = |readers: &Subscriptions| Input::Disconnect(readers.guest().unwrap());
        let skip = |readers: &Subscriptions| Input::Skip(readers.tap());
        let all = || Listener::new(true);
        prop_assert_eq!(&heard(all(), &items, at_once, wait), &expected);
        prop_assert_eq!(&heard(all(), &items, at_once, disconnect), &expected);
        prop_assert_eq!(&heard(all(), &items, at_once, skip), &expected);
    }

    #[test]
    fn who_wants_no_books_hears_the_rest(
        steps in prop::collection::vec(step(), 0..200),
        at_once in prop_oneof![Just(1_usize), 2..5_usize, 20..150_usize],
    ) {
        let items = items(&steps);
        let mut expected = expected(&items);
        expected.retain(|heard| !matches!(heard, Heard::Book(..) | Heard::Digest(_)));
        expected.push(Heard::Digest(super::books(64, 1 << 12).digest()));
        let wait = |readers: &Subscriptions| Input::Wait(readers.reader().unwrap());
        prop_assert_eq!(&heard(Listener::new(false), &items, at_once, wait), &expected);
    }
}

/// What was read before the writer lapped the reader is told before the loss is.
#[test]
fn a_reader_that_is_too_slow_goes_on_behind_what_it_missed() {
    let spec = RingSpec { capacity_bytes: 1 << 12, max_readers: 1 };
    let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).unwrap();
    let (mut ring, readers) = broadcast::create(spec, region).unwrap();
    let counters = Counters::anonymous("books", CountersSpec::default()).unwrap();
    let listener = Listener::new(true);
    let (books, meter) = (super::books(64, 1 << 12), Meter::new(&counters, "books", ""));
    let mut agent = BookAgent::new("books", Input::Skip(readers.tap()), books, listener.clone(), meter);
    let mut message = |value| {
        let item = Item::Message { seq: SeqNo::new(value).unwrap(), bytes: b"none that is known" };
        put(&mut ring, Nanos(value), &item);
    };
    message(1);
    assert_eq!(agent.do_work(Nanos(0)).unwrap(), 1);
    (2..200).for_each(&mut message);
    assert_eq!(agent.do_work(Nanos(0)).unwrap(), 1, "the news that something was missed");
    (200..203).for_each(&mut message);
    assert_eq!(agent.do_work(Nanos(0)).unwrap(), 3);
    let numbers: Vec<u64> = listener
        .heard
        .lock()
        .unwrap()
        .iter()
        .filter_map(|heard| match heard {
            Heard::Message(seq, ..) => Some(*seq),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [1, 200, 201, 202]);
}
