//! What forgers and broken publishers send.

use proptest::prelude::*;
use seqcast_engine::feed::{FeedConfig, FeedState, LineId, Start, Unfillable};
use seqcast_engine::time::Nanos;
use seqcast_wire::Session;

use crate::support::*;

#[test]
fn a_forged_number_far_ahead_neither_jumps_nor_floods() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(u64::MAX - 5, u64::MAX - 4));
    feed.on(B, &heartbeat(1 << 60));
    assert_eq!((feed.receiver.highest_seen(), feed.requests()), (seq(3), vec![]));
    assert_eq!(feed.receiver.stats().unconfirmed_jumps, 2);
    feed.on(A, &data(3, 5));
    assert_eq!(feed.sink.drain(), messages(3, 5));
    assert_eq!(feed.receiver.state(), FeedState::Live);
}

/// Within the bound a jump is believed, but costs one request at a time, and nothing is given up for it.
#[test]
fn a_forged_number_near_ahead_gives_no_real_message_up() {
    let config = FeedConfig { on_unfillable: Unfillable::Skip, attempts: 10, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(A, &data(900_000, 900_001));
    let mut requests = 0;
    for step in 0..50_000u64 {
        requests += feed.requests().len();
        if step % 1_000 == 0 {
            let n = 3 + step / 1_000;
            feed.on(A, &data(n, n + 1));
            feed.on(B, &data(n, n + 1));
        }
        feed.wait(Nanos::from_micros(100));
    }
    assert!(requests <= 10, "{requests} requests");
    let items = feed.sink.drain();
    let delivered: Vec<Owned> =
        items.iter().filter(|item| !matches!(item, Owned::State(_))).cloned().collect();
    assert_eq!(delivered, messages(3, 53));
    assert_eq!(items.last(), Some(&Owned::Message(52, text(52))));
    assert!(items.contains(&Owned::State(FeedState::Live)), "taken back when nothing confirmed it");
    assert_eq!((feed.receiver.highest_seen(), feed.receiver.state()), (seq(53), FeedState::Live));
}

/// A real loss beside a forged one is repaired, and two ends of session take the forged tail back at once.
#[test]
fn a_forged_number_does_not_hide_a_real_loss_or_the_end() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(900_000, 900_001));
    assert_eq!(feed.requests(), [], "line B has not passed it");
    feed.wait(Nanos::from_millis(1));
    assert_eq!(feed.requests(), [(0, 3, 65_534)]);
    let asked = feed.now;
    for line in [A, B] {
        feed.on(line, &data(4, 5));
    }
    let mut requests = feed.requests();
    assert_eq!(requests, [], "what was asked for may yet come");
    while requests.is_empty() {
        feed.wait(Nanos::from_micros(100));
        requests = feed.requests();
    }
    assert!(requests.contains(&(0, 3, 1)), "{requests:?}");
    assert!(feed.now <= asked + two_lines().request_timeout + two_lines().request_timeout);
    feed.reply(0, &data(3, 4));
    assert_eq!(feed.receiver.expected(), seq(5));
    feed.on(A, &end_of_session(5));
    feed.on(B, &end_of_session(5));
    let items = feed.sink.drain();
    assert_eq!(items[items.len() - 2..], [Owned::End(5), Owned::State(FeedState::Ended)]);
    assert_eq!(feed.receiver.stats().retracted_messages, 899_996);
}

#[test]
fn a_jump_that_two_tell_of_is_lost_or_stale_by_policy() {
    let far = 10_000_000;
    let config = FeedConfig { on_unfillable: Unfillable::Skip, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(A, &data(far, far + 2));
    feed.on(B, &data(far, far + 2));
    let mut expected = vec![Owned::Lost(3, far - 3)];
    expected.extend(messages(far, far + 2));
    assert_eq!(feed.sink.drain(), expected);
    assert_eq!(feed.requests(), []);

    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(far, far + 2));
    feed.on(B, &data(far, far + 2));
    assert_eq!(feed.sink.drain(), [Owned::Lost(3, far - 3), Owned::State(FeedState::Stale)]);
    feed.receiver.resume_at(feed.now, seq(far + 1));
    feed.poll();
    assert!(feed.sink.drain().contains(&Owned::Message(far + 1, text(far + 1))));
}

/// A capture may hold a few datagrams of a long day; nobody forges into a file.
#[test]
fn a_trusting_receiver_believes_a_jump_that_one_tells_of() {
    let far = 10_000_000;
    let config =
        FeedConfig { on_unfillable: Unfillable::Skip, trusting: true, lines: 1, ..FeedConfig::default() };
    let mut feed = Feed::new(&FeedConfig { start: Start::FirstSeen, ..config });
    feed.on(A, &data(7, 8));
    feed.on(A, &data(far, far + 2));
    let mut expected = messages(7, 8);
    expected.push(Owned::Lost(8, far - 8));
    expected.extend(messages(far, far + 2));
    assert_eq!(feed.sink.drain()[2..], expected);
}

#[test]
fn a_number_with_two_contents_is_an_alarm_that_halts() {
    let forged = |n: u64| data_of(session(), n, [b"forged".to_vec()]);
    let mut feed = Feed::live(&two_lines());
    feed.on(B, &forged(2));
    feed.on(A, &data(3, 4));
    feed.poll();
    assert_eq!(feed.sink.drain(), [Owned::Conflict(2), Owned::State(FeedState::Stale)]);
    assert_eq!(feed.receiver.stats().conflicts, 1);
    feed.receiver.resume_at(feed.now, seq(3));
    feed.poll();
    assert!(feed.sink.drain().contains(&Owned::Message(3, text(3))));

    // Messages that wait for their turn are compared as well, and replies too.
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(4, 6));
    feed.on(B, &forged(4));
    assert_eq!(feed.receiver.stats().conflicts, 1);
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(4, 6));
    feed.on(B, &data(4, 6));
    assert_eq!(feed.requests().len(), 1);
    feed.reply(0, &data_of(session(), 3, [text(3), b"forged".to_vec()]));
    feed.poll();
    assert!(feed.sink.drain().contains(&Owned::Conflict(4)));

    let config = FeedConfig { on_unfillable: Unfillable::Skip, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(B, &forged(2));
    feed.on(A, &data(3, 4));
    feed.poll();
    let items = feed.sink.drain();
    assert!(items.contains(&Owned::Conflict(2)) && items.contains(&Owned::Message(3, text(3))), "{items:?}");

    let config = FeedConfig { conflict_window: 0, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(B, &forged(2));
    assert_eq!(feed.receiver.stats().conflicts, 0);
}

#[test]
fn a_false_end_is_taken_back() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &end_of_session(3));
    feed.on(A, &data(3, 4));
    feed.on(B, &data(3, 4));
    assert_eq!(feed.sink.drain(), messages(3, 4));
    assert_eq!(feed.receiver.stats().false_ends, 1);
    feed.on(A, &end_of_session(2));
    feed.on(B, &end_of_session(2));
    assert_eq!(feed.receiver.stats().false_ends, 3);
    feed.on(A, &data(4, 5));
    assert_eq!(feed.sink.drain(), messages(4, 5));
    feed.on(A, &end_of_session(5));
    feed.on(B, &end_of_session(5));
    feed.on(A, &data(5, 6));
    assert_eq!(feed.sink.drain(), [Owned::End(5), Owned::State(FeedState::Ended)]);
    assert_eq!(feed.receiver.stats().datagrams_after_end, 1);
}

#[test]
fn more_holes_than_there_is_room_for_are_bounded_and_repaired() {
    let config = FeedConfig { lines: 1, max_gaps: 8, max_requests_in_flight: 4, ..two_lines() };
    let mut feed = Feed::live(&config);
    for n in (4..2_000).step_by(2) {
        feed.on(A, &data(n, n + 1));
    }
    for _ in 0..2_000 {
        feed.on(A, &heartbeat(2_000));
        let requests = feed.requests();
        assert!(requests.len() <= 4);
        for (server, first, count) in requests {
            feed.reply(server, &data(first, first + u64::from(count).min(20)));
        }
    }
    let delivered: Vec<Owned> =
        feed.sink.drain().into_iter().filter(|i| matches!(i, Owned::Message(..))).collect();
    assert_eq!(delivered, messages(3, 2_000));
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![1u64..200, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()];
    let count = prop_oneof![Just(0u16), Just(0xFFFF), 1u16..5, any::<u16>()];
    let of = prop_oneof![4 => Just(session()), 1 => Just(Session::BLANK)];
    let header = (of, number, count, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(session, number, count, tail)| {
            let mut bytes = session.as_bytes().to_vec();
            bytes.extend(number.to_be_bytes());
            bytes.extend(count.to_be_bytes());
            bytes.extend(tail);
            bytes
        },
    );
    let whole = (1u64..300, 1u64..20).prop_map(|(first, count)| data(first, first + count));
    let far = (any::<u64>(), 1usize..4).prop_map(|(first, count)| {
        data_of(session(), first.clamp(1, u64::MAX - 5), (0..count).map(|_| b"forged".to_vec()))
    });
    prop_oneof![
        2 => header,
        4 => whole,
        1 => far,
        1 => (1u64..300).prop_map(heartbeat),
        1 => (1u64..300).prop_map(end_of_session),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    /// Whatever arrives wherever: no panic, numbers told once and in order, requests within bounds.
    #[test]
    fn any_input_keeps_the_order(
        steps in prop::collection::vec((anything(), 0u8..4, 0u64..2_000_000, 0usize..4), 1..200),
        skip: bool, small: bool, snapshot in prop::option::of(1u64..300),
    ) {
        let config = FeedConfig {
            on_unfillable: if skip { Unfillable::Skip } else { Unfillable::Halt },
            max_gaps: if small { 2 } else { 64 },
            stash_messages: if small { 8 } else { 256 },
            max_requests_in_flight: 3,
            attempts: 2,
            max_gap_messages: 100,
            ..two_lines()
        };
        let mut feed = Feed::new(&config);
        let mut next = 1;
        for (index, (bytes, whither, wait, room)) in steps.into_iter().enumerate() {
            if index == 60 && let Some(at) = snapshot {
                feed.receiver.resume_at(feed.now, seq(at));
                next = at;
            }
            feed.sink.room = if room == 0 { usize::MAX } else { room };
            match whither {
                0 => feed.reply(0, &bytes),
                line => feed.on(LineId(line % 2), &bytes),
            }
            feed.wait(Nanos(wait));
            prop_assert!(feed.requests().len() <= 4);
            for item in feed.sink.drain() {
                match item {
                    Owned::Message(n, _) => {
                        prop_assert_eq!(n, next);
                        next += 1;
                    }
                    Owned::Lost(first, count) => {
                        prop_assert!(first == next && count > 0);
                        next += count;
                    }
                    _ => {}
                }
            }
            prop_assert!(feed.receiver.expected() <= feed.receiver.highest_seen());
        }
    }
}
