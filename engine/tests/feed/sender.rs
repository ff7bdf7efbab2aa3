//! The send path: what a sender writes is what a receiver delivers.

use proptest::prelude::*;
use seqcast_engine::downstream::{MessageSource, Pacing, Sender, SenderConfig, SenderConfigError};
use seqcast_engine::feed::{FeedConfig, FeedState, SessionRule};
use seqcast_engine::time::Nanos;
use seqcast_wire::SeqNo;
use seqcast_wire::mold::{Downstream, Kind};

use crate::support::*;

/// Messages from number `first` on, of which those below `published` may be sent.
struct Queue {
    first: u64,
    messages: Vec<Vec<u8>>,
    published: usize,
    next: usize,
}

impl Queue {
    fn of(first: u64, messages: Vec<Vec<u8>>) -> Queue {
        Queue { first, published: messages.len(), messages, next: 0 }
    }
}

impl MessageSource for Queue {
    fn peek(&mut self) -> Option<(SeqNo, &[u8])> {
        let message = self.messages[..self.published].get(self.next)?;
        Some((seq(self.first + self.next as u64), message))
    }

    fn advance(&mut self) {
        self.next += 1;
    }
}

const T0: Nanos = Nanos::from_secs(50);

fn sender(config: &SenderConfig) -> Sender {
    Sender::new(config, session(), SeqNo::FIRST).unwrap()
}

/// Fills a datagram and gives it; `None` when nothing is to be sent.
fn next_datagram(sender: &mut Sender, now: Nanos, queue: &mut Queue) -> Option<Vec<u8>> {
    let mut buffer = vec![0xAA; 65_507];
    let len = sender.fill(now, queue, &mut buffer);
    buffer.truncate(len);
    (len > 0).then_some(buffer)
}

fn kind_and_next(datagram: &[u8]) -> (Kind, u64) {
    let datagram = Downstream::parse(datagram).unwrap();
    (datagram.kind(), datagram.next().value())
}

#[test]
fn a_feed_goes_on_behind_what_an_earlier_life_sent() {
    let mut sender = sender(&SenderConfig::default());
    sender.skip_to(seq(40));
    sender.skip_to(seq(7));
    let mut queue = Queue::of(40, vec![vec![7; 36]; 2]);
    let datagram = next_datagram(&mut sender, T0, &mut queue).unwrap();
    assert_eq!(Downstream::parse(&datagram).unwrap().first(), seq(40));
    assert_eq!(sender.next(), seq(42));
}

#[test]
fn a_lone_message_goes_at_once_and_many_share_a_datagram() {
    let mut sender = sender(&SenderConfig::default());
    let mut queue = Queue::of(1, (1..=100).map(|_| vec![7; 36]).collect());
    queue.published = 1;
    assert!(sender.due(T0, true));
    let datagram = next_datagram(&mut sender, T0, &mut queue).unwrap();
    assert_eq!(kind_and_next(&datagram), (Kind::Data(1), 2));
    assert_eq!(next_datagram(&mut sender, T0, &mut queue), None);
    queue.published = 100;
    let counts: Vec<usize> = std::iter::from_fn(|| next_datagram(&mut sender, T0, &mut queue))
        .map(|datagram| {
            assert!(datagram.len() <= 1_472);
            Downstream::parse(&datagram).unwrap().messages().len()
        })
        .collect();
    assert_eq!(counts, [38, 38, 23], "1,452 bytes hold 38 messages of 38 bytes");
    assert_eq!(sender.next(), seq(101));
}

#[test]
fn heartbeats_come_soon_after_data_and_then_ever_more_rarely() {
    let mut sender = sender(&SenderConfig::default());
    let mut queue = Queue::of(1, vec![b"x".to_vec()]);
    queue.published = 0;
    let datagram = next_datagram(&mut sender, T0, &mut queue).unwrap();
    assert_eq!(kind_and_next(&datagram), (Kind::Heartbeat, 1), "a new sender says where it stands");
    queue.published = 1;
    next_datagram(&mut sender, T0, &mut queue).unwrap();
    let mut times = Vec::new();
    for step in 0..6_000u64 {
        let now = T0 + Nanos::from_millis(step);
        let due = sender.due(now, false);
        let datagram = next_datagram(&mut sender, now, &mut queue);
        assert_eq!(due, datagram.is_some());
        if let Some(datagram) = datagram {
            assert_eq!(kind_and_next(&datagram), (Kind::Heartbeat, 2));
            times.push(step);
        }
    }
    assert_eq!(times[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]);
    assert_eq!(times[11..], [2_024, 3_024, 4_024, 5_024]);
    assert_eq!(sender.stats().heartbeats, 16);
}

#[test]
fn the_end_comes_after_the_last_message_and_lingers() {
    let config = SenderConfig { linger: Nanos::from_millis(100), ..SenderConfig::default() };
    let mut sender = sender(&config);
    let mut queue = Queue::of(1, vec![vec![1; 1_000], vec![2; 1_000]]);
    sender.end(T0);
    assert_eq!(kind_and_next(&next_datagram(&mut sender, T0, &mut queue).unwrap()), (Kind::Data(1), 2));
    assert_eq!(kind_and_next(&next_datagram(&mut sender, T0, &mut queue).unwrap()), (Kind::Data(1), 3));
    assert!(!sender.finished(T0));
    let mut ends = 0;
    for step in 0..200 {
        let now = T0 + Nanos::from_millis(step);
        assert_eq!(sender.finished(now), step >= 100, "after {step} ms");
        assert!(step < 100 || !sender.due(now, false));
        if let Some(datagram) = next_datagram(&mut sender, now, &mut queue) {
            assert_eq!(kind_and_next(&datagram), (Kind::EndOfSession, 3));
            ends += 1;
        }
    }
    assert_eq!((ends, sender.stats().ends), (7, 7), "at 0, 1, 3, 7, 15, 31 and 63 ms");
}

#[test]
fn the_end_lingers_on_while_somebody_asks_for_what_was_lost() {
    let config = SenderConfig { linger: Nanos::from_millis(100), ..SenderConfig::default() };
    let mut sender = sender(&config);
    let mut queue = Queue::of(1, Vec::new());
    let at = |millis| T0 + Nanos::from_millis(millis);
    sender.linger_on(T0);
    sender.end(T0);
    next_datagram(&mut sender, T0, &mut queue).unwrap();
    sender.linger_on(at(90));
    assert!(!sender.finished(at(189)) && sender.finished(at(190)));
    assert!(next_datagram(&mut sender, at(180), &mut queue).is_some(), "the end is still told");
}

#[test]
fn messages_wait_for_the_pace_and_heartbeats_do_not() {
    let pacing = Pacing { bytes_per_s: 1_000_000, burst: Nanos::from_millis(2) };
    let config = SenderConfig { pacing: Some(pacing), ..SenderConfig::default() };
    let mut sender = sender(&config);
    let mut queue = Queue::of(1, (0..2_000).map(|_| vec![7; 978]).collect());
    let (mut bytes, mut heartbeats) = (0, 0);
    for step in 0..1_000u64 {
        let now = T0 + Nanos::from_millis(step);
        while let Some(datagram) = next_datagram(&mut sender, now, &mut queue) {
            bytes += datagram.len() as u64;
            heartbeats += u64::from(datagram.len() == 20);
        }
        assert!(bytes <= 1_000 * step + 3_000, "{bytes} bytes after {step} ms");
    }
    assert!(bytes > 990_000 && sender.stats().paced > 0, "{bytes} bytes, {heartbeats} heartbeats");
}

#[test]
fn what_cannot_be_sent_is_refused_beforehand_and_never_skipped() {
    let config = SenderConfig { max_datagram_bytes: 100, ..SenderConfig::default() };
    let mut sender = sender(&config);
    assert_eq!((sender.max_message_bytes(), sender.max_datagram_bytes()), (78, 100));
    let mut queue = Queue::of(1, vec![vec![1; 78], vec![2; 79], vec![3; 1]]);
    assert_eq!(kind_and_next(&next_datagram(&mut sender, T0, &mut queue).unwrap()), (Kind::Data(1), 2));
    assert_eq!(next_datagram(&mut sender, T0, &mut queue), None);
    assert_eq!((sender.next(), sender.stats().oversize), (seq(2), 1));
}

#[test]
fn the_last_number_is_not_passed() {
    let next = SeqNo::MAX.value() - 2;
    let mut sender = Sender::new(&SenderConfig::default(), session(), seq(next)).unwrap();
    let mut queue = Queue::of(next, (0..3).map(|_| b"m".to_vec()).collect());
    queue.published = 2;
    assert_eq!(
        kind_and_next(&next_datagram(&mut sender, T0, &mut queue).unwrap()),
        (Kind::Data(2), SeqNo::MAX.value())
    );
    assert!(sender.is_exhausted());
    queue.published = 3;
    assert_eq!(next_datagram(&mut sender, T0, &mut queue), None);
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    let error = |config: SenderConfig| Sender::new(&config, session(), SeqNo::FIRST).unwrap_err();
    let config = SenderConfig::default();
    assert_eq!(
        error(SenderConfig { max_datagram_bytes: 22, ..config.clone() }).to_string(),
        "datagram size is 22 bytes, must be 23 to 65507 (UDP payload)"
    );
    assert!(matches!(
        error(SenderConfig { first_heartbeat: Nanos::from_secs(2), ..config.clone() }),
        SenderConfigError::Heartbeat { .. }
    ));
    let pacing = Some(Pacing { bytes_per_s: 0, burst: Nanos::ZERO });
    assert_eq!(error(SenderConfig { pacing, ..config }), SenderConfigError::Pacing);
}

proptest! {
    /// Any messages, published in any portions, packed to any size: delivered as they were, whatever arrives how often.
    #[test]
    fn a_receiver_delivers_what_a_sender_was_given(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..80),
        portions in prop::collection::vec((1usize..9, 0u64..5_000), 1..80),
        max_datagram_bytes in 142usize..1_500,
        first in prop_oneof![Just(1u64), 1u64..u64::MAX - 200],
        pace in prop::option::of(10_000u64..10_000_000),
    ) {
        let pacing = pace.map(|bytes_per_s| Pacing { bytes_per_s, burst: Nanos::from_millis(1) });
        let config = SenderConfig { max_datagram_bytes, pacing, ..SenderConfig::default() };
        let mut sender = Sender::new(&config, session(), seq(first)).unwrap();
        let config = FeedConfig {
            session: SessionRule::FirstSeen,
            start: seqcast_engine::feed::Start::At(seq(first)),
            lines: 2,
            ..FeedConfig::default()
        };
        let mut feed = Feed::new(&config);
        let mut queue = Queue::of(first, messages.clone());
        queue.published = 0;
        let mut portions = portions.into_iter().cycle();
        let mut ended = false;
        for _ in 0..1_000_000 {
            let (count, wait) = portions.next().unwrap();
            queue.published = (queue.published + count).min(messages.len());
            if queue.next == messages.len() && !ended {
                sender.end(feed.now);
                ended = true;
            }
            while let Some(datagram) = next_datagram(&mut sender, feed.now, &mut queue) {
                prop_assert!(datagram.len() <= max_datagram_bytes);
                feed.on(A, &datagram);
                feed.on(B, &datagram);
            }
            feed.wait(Nanos::from_micros(wait));
            if feed.receiver.state() == FeedState::Ended {
                break;
            }
        }
        let mut delivered = Vec::new();
        for item in feed.sink.drain() {
            match item {
                Owned::Message(n, bytes) => {
                    prop_assert_eq!(n, first + delivered.len() as u64);
                    delivered.push(bytes);
                }
                item => prop_assert!(!matches!(item, Owned::Lost(..) | Owned::State(FeedState::Gapped))),
            }
        }
        prop_assert_eq!(delivered, messages);
        prop_assert_eq!(feed.receiver.state(), FeedState::Ended);
    }
}
