//! Scenarios with one right outcome.

use seqcast_engine::feed::{FeedConfig, FeedState, Rollover, SessionRule, Start, Unfillable};
use seqcast_engine::time::Nanos;
use seqcast_wire::{SeqNo, Session};

use crate::support::*;

#[test]
fn delivers_in_order_and_tells_session_and_state_first() {
    let mut feed = Feed::new(&two_lines());
    feed.poll();
    let told = [Owned::Session(session()), Owned::State(FeedState::Stale)];
    assert_eq!(feed.sink.drain(), told);
    feed.on(A, &data(1, 4));
    let mut expected = vec![Owned::State(FeedState::Live)];
    expected.extend(messages(1, 4));
    assert_eq!(feed.sink.drain(), expected);
    feed.on(B, &data(1, 4));
    feed.on(B, &data(4, 6));
    feed.on(A, &data(4, 6));
    assert_eq!(feed.sink.drain(), messages(4, 6));
    let (a, b) = (feed.receiver.line_stats(A).unwrap(), feed.receiver.line_stats(B).unwrap());
    assert_eq!((a.won_datagrams, a.duplicate_datagrams), (1, 1));
    assert_eq!((b.won_datagrams, b.duplicate_datagrams), (1, 1));
    assert_eq!(feed.requests(), []);
}

#[test]
fn the_other_line_fills_a_loss_without_a_request() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(5, 7));
    assert_eq!(feed.sink.drain(), [Owned::State(FeedState::Gapped)]);
    assert_eq!(feed.requests(), [], "line B has not passed the hole");
    feed.on(B, &data(3, 5));
    let mut expected = messages(3, 7);
    expected.push(Owned::State(FeedState::Live));
    assert_eq!(feed.sink.drain(), expected);
    feed.on(B, &data(5, 7));
    assert_eq!(feed.requests(), []);
    let stats = feed.receiver.stats();
    assert_eq!((stats.gaps_found, stats.missing_messages, stats.line_filled_messages), (1, 2, 2));
    let a = feed.receiver.line_stats(A).unwrap();
    assert_eq!((a.holes, a.lost_messages, a.lost_datagrams), (1, 2, 1));
    assert_eq!(feed.receiver.line_stats(B).unwrap().lost_messages, 0);
}

#[test]
fn a_loss_on_both_lines_is_one_request_for_exactly_the_hole() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(6, 8));
    feed.on(B, &data(6, 8));
    assert_eq!(feed.requests(), [(0, 3, 3)], "both lines have passed the hole: no waiting");
    assert_eq!(feed.requests(), [], "asked once");
    feed.now = feed.now + Nanos::from_micros(80);
    feed.poll();
    assert_eq!(feed.sink.drain(), [FeedState::Gapped, FeedState::Recovering].map(Owned::State));
    feed.reply(0, &data(3, 6));
    let mut expected = messages(3, 8);
    expected.push(Owned::State(FeedState::Live));
    assert_eq!(feed.sink.drain(), expected);
    assert_eq!(feed.receiver.poll_recovery(), Some(Nanos::from_micros(80)));
    assert_eq!(feed.receiver.poll_recovery(), None);
    assert_eq!(feed.receiver.stats().rewind_filled_messages, 3);
    feed.wait(Nanos::from_secs(2));
    assert_eq!(feed.requests(), []);
}

#[test]
fn a_hole_that_one_line_has_not_passed_is_requested_after_the_wait() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(4, 5));
    feed.wait(Nanos::from_micros(499));
    assert_eq!(feed.requests(), []);
    feed.wait(Nanos::from_micros(1));
    assert_eq!(feed.requests(), [(0, 3, 1)]);
}

#[test]
fn a_line_that_is_dead_delays_nothing() {
    let mut feed = Feed::live(&two_lines());
    feed.wait(Nanos::from_secs(4));
    feed.on(A, &heartbeat(3));
    feed.on(A, &data(4, 5));
    assert_eq!(feed.requests(), [(0, 3, 1)], "line B has not been heard for longer than `silence`");
}

#[test]
fn a_hole_on_the_only_line_is_requested_at_once() {
    let mut feed = Feed::live(&FeedConfig { lines: 1, ..two_lines() });
    feed.on(A, &data(4, 5));
    assert_eq!(feed.requests(), [(0, 3, 1)], "nobody else could bring it");
    feed.reply(0, &data(3, 4));
    // More than one in a duty cycle, with others in between and behind.
    for n in [6, 7, 9, 12] {
        feed.on(A, &data(n, n + 1));
    }
    assert_eq!(feed.requests(), [(0, 5, 1), (0, 8, 1), (0, 10, 2)]);
}

#[test]
fn what_is_told_again_of_a_hole_that_was_asked_for_makes_no_request() {
    let mut feed = Feed::live(&FeedConfig { lines: 1, ..two_lines() });
    feed.on(A, &data(13, 14));
    assert_eq!(feed.requests(), [(0, 3, 10)]);
    // Overtaken on their way: a heartbeat, and part of what is missing.
    feed.on(A, &heartbeat(7));
    assert_eq!(feed.requests(), []);
    feed.on(A, &data(8, 9));
    assert_eq!(feed.requests(), []);
    feed.reply(0, &data(3, 13));
    assert_eq!((feed.receiver.expected(), feed.receiver.stats().requests), (seq(14), 1));
}

#[test]
fn what_was_asked_for_in_vain_is_asked_for_at_once_when_another_datagram_tells_of_it() {
    let mut feed = Feed::live(&FeedConfig { lines: 1, ..two_lines() });
    feed.on(A, &data(1_000, 1_001));
    assert_eq!(feed.requests().len(), 1);
    // Nobody answers: most likely there is no such message yet.
    let mut asked = 0;
    while asked < 3 {
        feed.wait(Nanos::from_millis(1));
        asked += feed.requests().len();
    }
    feed.on(A, &heartbeat(7));
    assert!(feed.requests().iter().any(|(_, first, count)| (*first, *count) == (3, 4)));
}

#[test]
fn a_line_that_let_a_hole_wait_in_vain_delays_no_other_until_it_is_heard() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &data(4, 5));
    feed.wait(Nanos::from_micros(500));
    assert_eq!(feed.requests(), [(0, 3, 1)]);
    feed.reply(0, &data(3, 4));
    feed.on(A, &data(6, 7));
    assert_eq!(feed.requests(), [(0, 5, 1)], "line B has been silent for as long as reordering may take");
    feed.reply(0, &data(5, 6));
    feed.on(B, &data(6, 7));
    feed.on(A, &data(8, 9));
    assert_eq!(feed.requests(), [], "it is back");
    feed.on(B, &data(7, 8));
    assert_eq!((feed.receiver.expected(), feed.receiver.missing_messages()), (seq(9), 0));
}

/// On one line: the datagram with number `missing` is overtaken by the next one and comes `after`, in time or not. Gives
/// when it was requested.
fn overtaken(feed: &mut Feed, missing: u64, after: Nanos) -> Option<Nanos> {
    let found = feed.now;
    feed.on(A, &data(missing + 1, missing + 2));
    let mut asked = None;
    while feed.now < found + after {
        if let [(server, first, 1)] = feed.requests()[..] {
            assert_eq!((asked, first), (None, missing));
            asked = Some(feed.now.since(found));
            feed.reply(server, &data(missing, missing + 1));
        }
        feed.wait(Nanos::from_micros(5));
    }
    feed.on(A, &data(missing, missing + 1));
    assert_eq!((feed.receiver.expected(), feed.receiver.missing_messages()), (seq(missing + 2), 0));
    asked
}

#[test]
fn a_line_that_reorders_is_soon_given_the_time_that_it_takes() {
    let mut feed = Feed::live(&FeedConfig { lines: 1, ..two_lines() });
    let micros = Nanos::from_micros;
    assert_eq!(overtaken(&mut feed, 3, micros(100)), Some(Nanos::ZERO), "most likely it is a loss");
    assert_eq!(feed.receiver.stats().needless_rewinds, 1, "it was none");
    for hole in 1..100 {
        assert_eq!(overtaken(&mut feed, 3 + 2 * hole, micros(100)), None);
    }
    let stats = feed.receiver.stats();
    assert_eq!((stats.requests, stats.needless_rewinds, stats.overtaken_datagrams), (1, 1, 100));
    // A loss is requested a quarter after that, and what takes longer than expected is expected from then on.
    assert_eq!(overtaken(&mut feed, 203, micros(200)), Some(micros(125)));
    assert_eq!(overtaken(&mut feed, 205, micros(200)), None);
    // But no longer than configured.
    assert_eq!(overtaken(&mut feed, 207, micros(3_000)), Some(micros(250)));
    assert_eq!(overtaken(&mut feed, 209, micros(3_000)), Some(micros(500)));
}

#[test]
fn losses_in_a_row_make_up_for_reordering() {
    let mut feed = Feed::live(&FeedConfig { lines: 1, ..two_lines() });
    overtaken(&mut feed, 3, Nanos::from_micros(100));
    let mut lose = |missing: u64| {
        feed.on(A, &data(missing + 1, missing + 2));
        let at_once = feed.requests();
        feed.wait(Nanos::from_micros(125));
        let later = feed.requests();
        let asked = [at_once, later.clone()].concat();
        assert_eq!(asked.len(), 1);
        feed.reply(asked[0].0, &data(missing, missing + 1));
        later.is_empty()
    };
    let at_once: Vec<bool> = (0..20).map(|hole| lose(5 + 2 * hole)).collect();
    assert_eq!(at_once.iter().position(|at_once| *at_once), Some(16));
    assert!(at_once[16..].iter().all(|at_once| *at_once));
}

#[test]
fn copies_and_heartbeats_that_come_late_are_no_reordering() {
    let mut feed = Feed::live(&FeedConfig { lines: 1, ..two_lines() });
    feed.on(A, &data(3, 5));
    feed.on(A, &data(8, 9));
    feed.on(A, &data(9, 10));
    assert_eq!(feed.requests(), [(0, 5, 3)]);
    for late in [data(3, 5), data(1, 3), data(3, 4), heartbeat(3), heartbeat(6)] {
        feed.wait(Nanos::from_micros(100));
        feed.on(A, &late);
    }
    feed.on(A, &data(11, 12));
    assert_eq!(feed.requests(), [(0, 10, 1)]);
    assert_eq!(feed.receiver.stats().overtaken_datagrams, 0);
}

#[test]
fn a_heartbeat_shows_a_lost_tail() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &heartbeat(3));
    assert_eq!(feed.requests(), []);
    feed.on(A, &heartbeat(5));
    feed.on(B, &heartbeat(5));
    assert_eq!(feed.requests(), [(0, 3, 2)]);
    feed.reply(0, &data(3, 5));
    assert_eq!(feed.receiver.expected(), seq(5));
    assert_eq!(feed.receiver.state(), FeedState::Live);
}

#[test]
fn an_end_of_session_shows_a_lost_tail_and_never_counts_as_messages() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &end_of_session(4));
    feed.on(B, &end_of_session(4));
    assert_eq!(feed.receiver.highest_seen(), seq(4), "0xFFFF is no count");
    assert_eq!(feed.requests(), [(0, 3, 1)]);
    assert_eq!(feed.receiver.state(), FeedState::Gapped);
    feed.reply(0, &data(3, 4));
    let items = feed.sink.drain();
    assert_eq!(items[items.len() - 2..], [Owned::End(4), Owned::State(FeedState::Ended)]);
    feed.wait(Nanos::from_secs(60));
    assert_eq!(feed.sink.drain(), [], "an ended feed does not become stale");
    for _ in 0..3 {
        feed.on(A, &end_of_session(4));
    }
    assert_eq!((feed.receiver.expected(), feed.sink.drain()), (seq(4), vec![]));
}

/// Rivals made 2,127 requests for 87 million messages out of this.
#[test]
fn losses_cost_a_request_each() {
    let config = FeedConfig { lines: 1, ..two_lines() };
    let mut feed = Feed::live(&config);
    let (mut requested, mut asked) = (0, 0);
    for datagram in 0..2_176u64 {
        let first = 3 + datagram * 30;
        if datagram % 50 != 17 {
            feed.on(A, &data(first, first + 30));
        }
        for (server, first, count) in feed.requests() {
            requested += 1;
            asked += u64::from(count);
            feed.reply(server, &data(first, first + u64::from(count)));
        }
    }
    let lost = 2_176_u64.div_ceil(50);
    assert!(requested <= lost && asked == 30 * lost, "{requested} requests for {asked} messages");
    assert_eq!(feed.receiver.expected(), seq(3 + 2_176 * 30));
    let line = feed.receiver.line_stats(A).unwrap();
    assert_eq!((line.lost_datagrams, line.lost_messages), (lost, lost * 30));
}

#[test]
fn a_silent_server_is_followed_by_the_next_with_growing_waits() {
    let mut feed = Feed::live(&FeedConfig { attempts: 10, ..two_lines() });
    feed.on(A, &data(4, 5));
    feed.on(B, &data(4, 5));
    let (mut servers, mut times) = (Vec::new(), Vec::new());
    for step in 0..20_000u64 {
        for (server, first, count) in feed.requests() {
            assert_eq!((first, count), (3, 1));
            servers.push(server);
            times.push(step);
        }
        feed.now = feed.now + Nanos::from_micros(100);
    }
    assert_eq!(servers.len(), 10);
    assert!(servers.chunks(2).all(|round| round[0] != round[1]), "each is asked in each round: {servers:?}");
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (attempt, wait) in waits.iter().enumerate() {
        let least = (5 << (attempt / 2)) * 10;
        assert!((least..=least + least / 4 + 1).contains(wait), "attempt {attempt} waited {wait} x 100 us");
    }
    feed.poll();
    assert_eq!(feed.receiver.stats().unanswered_requests, 10);
    let items = feed.sink.drain();
    assert_eq!(items.iter().filter(|item| **item == Owned::Lost(3, 1)).count(), 1);
    assert_eq!(items.last(), Some(&Owned::State(FeedState::Stale)), "the policy is to halt");
}

#[test]
fn a_silent_server_rests_until_a_request_finds_it_back() {
    let mut feed = Feed::live(&two_lines());
    let mut next = 4;
    let mut lose_one = |feed: &mut Feed| {
        for line in [A, B] {
            feed.on(line, &data(next, next + 1));
        }
        next += 2;
        feed.requests()
    };
    assert_eq!(lose_one(&mut feed), [(0, 3, 1)]);
    feed.wait(Nanos::from_millis(7));
    assert_eq!(feed.requests(), [(1, 3, 1)]);
    feed.reply(1, &data(3, 4));
    assert_eq!(lose_one(&mut feed), [(0, 5, 1)], "one silence is a lost datagram");
    feed.receiver.on_unreachable(feed.now, 0);
    assert_eq!(feed.requests(), [(1, 5, 1)], "no waiting for a port that is closed");
    feed.receiver.on_unreachable(feed.now, 1);
    assert_eq!(feed.requests(), [], "but no running in circles");
    feed.reply(1, &data(5, 6));
    assert_eq!(lose_one(&mut feed), [(1, 7, 1)], "server 0 rests");
    feed.reply(1, &data(7, 8));
    feed.now = feed.now + Nanos::from_millis(500);
    assert_eq!(lose_one(&mut feed), [(0, 9, 1)], "one request finds out");
    assert_eq!(lose_one(&mut feed), [(1, 11, 1)]);
    feed.reply(0, &data(9, 10));
    feed.reply(1, &data(11, 12));
    assert_eq!(lose_one(&mut feed), [(0, 13, 1)]);
}

#[test]
fn a_partial_reply_starts_the_next_request_and_the_rest_goes_out_in_parallel() {
    let config = FeedConfig { lines: 1, max_requests_in_flight: 4, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(A, &data(1_003, 1_004));
    feed.on(A, &heartbeat(1_004));
    assert_eq!(feed.requests(), [(0, 3, 1_000)]);
    feed.reply(0, &data(3, 43));
    assert_eq!(feed.requests(), [(0, 43, 40), (0, 83, 40), (0, 123, 40), (0, 163, 40)]);
    feed.reply(0, &data(83, 123));
    assert_eq!(feed.receiver.expected(), seq(43));
    feed.reply(0, &data(43, 83));
    assert_eq!(feed.receiver.expected(), seq(123), "out of order replies are kept");
    let requests = feed.requests();
    assert_eq!((requests.len(), requests[0].1), (2, 203));
    assert!(
        requests.iter().all(|(_, _, count)| *count > 40),
        "full replies are asked for more: {requests:?}"
    );
}

/// The live flow may fill its part of the stash; what fills the old hole still finds room, in any order.
#[test]
fn a_backfill_finds_room_beside_the_live_flow() {
    let config = FeedConfig { lines: 1, stash_bytes: 65_507, ..two_lines() };
    let mut feed = Feed::live(&config);
    for n in 103..203 {
        feed.on(A, &data_of(session(), n, [vec![n as u8; 1_000]]));
    }
    let refused = feed.receiver.stats().stash_refused_messages;
    assert!(refused > 40, "{refused} messages of the flow found no room");
    assert_eq!(feed.requests()[0], (0, 3, 100));
    feed.reply(0, &data(3, 13));
    let requests = feed.requests();
    assert_eq!(requests[..9], [13, 23, 33, 43, 53, 63, 73, 83, 93].map(|first| (0, first, 10)));
    for first in [93, 83, 73, 63, 53, 43, 33, 23] {
        feed.reply(0, &data(first, first + 10));
    }
    assert_eq!(feed.receiver.stats().stash_refused_messages, refused);
    feed.reply(0, &data(13, 23));
    assert_eq!(feed.receiver.expected(), seq(103 + 100 - refused));
}

#[test]
fn small_gaps_that_fit_one_datagram_share_a_request() {
    let config = FeedConfig { lines: 1, reorder_wait: Nanos::ZERO, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(A, &data(3, 13));
    for n in [14, 16, 18, 60] {
        feed.on(A, &data(n, n + 1));
    }
    // Missing: 13, 15, 17 and 19..60; no datagram held more than 10 so far.
    assert_eq!(feed.requests(), [(0, 13, 5), (0, 19, 41)]);
    feed.reply(0, &data(13, 18));
    assert_eq!(feed.receiver.expected(), seq(19));
}

#[test]
fn a_sink_without_room_loses_nothing() {
    for room in 0..9 {
        let mut feed = Feed::live(&two_lines());
        feed.sink.room = room;
        feed.on(A, &data(3, 8));
        feed.on(A, &data(8, 12));
        assert_eq!(
            feed.sink.items,
            messages(3, 3 + room.min(9) as u64),
            "nothing after a refusal until the next poll"
        );
        feed.sink.room = usize::MAX;
        feed.on(B, &data(3, 8));
        feed.poll();
        feed.on(A, &data(12, 13));
        assert_eq!(feed.sink.drain(), messages(3, 13), "room for {room}");
        assert_eq!(feed.requests(), []);
    }
}

#[test]
fn a_sink_without_room_for_longer_than_the_stash_lasts_costs_requests_only() {
    let config = FeedConfig { lines: 1, stash_messages: 16, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.sink.room = 0;
    for n in 3..103 {
        feed.on(A, &data(n, n + 1));
        feed.poll();
    }
    assert!(feed.receiver.stats().stash_refused_messages > 80);
    feed.sink.room = usize::MAX;
    for _ in 0..100 {
        feed.poll();
        for (server, first, count) in feed.requests() {
            feed.reply(server, &data(first, (first + u64::from(count)).min(first + 10)));
        }
    }
    let items = feed.sink.drain();
    let delivered: Vec<Owned> = items.into_iter().filter(|i| matches!(i, Owned::Message(..))).collect();
    assert_eq!(delivered, messages(3, 103));
    assert_eq!(feed.receiver.state(), FeedState::Live);
}

#[test]
fn silence_makes_the_feed_stale_and_any_datagram_ends_it_before_its_messages() {
    let mut feed = Feed::live(&two_lines());
    feed.wait(Nanos::from_secs(3));
    assert_eq!(feed.sink.drain(), []);
    feed.wait(Nanos(1));
    assert_eq!(feed.sink.drain(), [Owned::State(FeedState::Stale)]);
    feed.on(B, &data(3, 4));
    assert_eq!(feed.sink.drain()[0], Owned::State(FeedState::Live));
}

#[test]
fn a_session_follows_its_end_by_rule_and_by_two_datagrams() {
    let next = Session::from_wire(*b"SESSION002");
    let other = data_of(next, 1, [b"one".to_vec()]);
    let config = FeedConfig { rollover: Rollover::AfterEnd, session: SessionRule::FirstSeen, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(A, &other);
    feed.on(B, &other);
    assert_eq!(feed.receiver.session(), Some(session()), "the session is not over");
    feed.on(A, &end_of_session(3));
    feed.on(A, &other);
    assert_eq!(feed.receiver.session(), Some(session()), "one end of session may be forged");
    feed.on(B, &end_of_session(3));
    assert_eq!(feed.sink.drain(), [Owned::End(3), Owned::State(FeedState::Ended)]);
    feed.on(A, &other);
    assert_eq!(feed.sink.drain(), [], "one datagram does not change the session");
    feed.on(B, &other);
    let expected = [Owned::Session(next), Owned::State(FeedState::Live), Owned::Message(1, b"one".to_vec())];
    assert_eq!(feed.sink.drain(), expected);
    feed.on(A, &data(3, 5));
    assert_eq!(feed.sink.drain(), []);
    assert_eq!(feed.receiver.stats().wrong_session_datagrams, 5);
}

#[test]
fn a_session_does_not_change_when_refused_but_by_the_control_plane() {
    let next = Session::from_wire(*b"SESSION002");
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &end_of_session(3));
    feed.on(B, &end_of_session(3));
    for _ in 0..5 {
        feed.on(A, &data_of(next, 1, [b"one".to_vec()]));
    }
    assert_eq!(feed.receiver.session(), Some(session()));
    feed.receiver.restart(Some(next), seq(7));
    feed.sink.drain();
    feed.on(A, &data_of(next, 7, [b"seven".to_vec()]));
    let expected =
        [Owned::Session(next), Owned::State(FeedState::Live), Owned::Message(7, b"seven".to_vec())];
    assert_eq!(feed.sink.drain(), expected);
}

#[test]
fn a_single_end_of_session_counts_once_silence_follows() {
    let mut feed = Feed::live(&two_lines());
    feed.on(A, &end_of_session(3));
    feed.wait(Nanos::from_secs(2));
    assert_eq!(feed.sink.drain(), []);
    feed.wait(Nanos::from_secs(2));
    assert_eq!(feed.sink.drain().last(), Some(&Owned::State(FeedState::Ended)));
}

#[test]
fn joins_at_the_first_datagram_or_requests_what_was_before() {
    let mut feed = Feed::new(&FeedConfig { start: Start::FirstSeen, ..two_lines() });
    feed.on(A, &data(1_000_000_000, 1_000_000_002));
    assert_eq!(feed.sink.drain()[2..], messages(1_000_000_000, 1_000_000_002));
    assert_eq!(feed.requests(), []);

    let mut feed = Feed::new(&FeedConfig { start: Start::At(seq(500)), ..two_lines() });
    feed.on(A, &data(700, 702));
    feed.on(B, &data(700, 702));
    assert_eq!(feed.requests(), [(0, 500, 200)]);

    // However long the hole: it was asked for. But one datagram does not tell where the feed stands.
    let mut feed = Feed::new(&FeedConfig { start: Start::At(SeqNo::FIRST), ..two_lines() });
    feed.on(A, &data(1_000_000_000, 1_000_000_002));
    assert_eq!(feed.requests(), []);
    feed.on(B, &data(1_000_000_000, 1_000_000_002));
    feed.on(A, &data(1_000_000_002, 1_000_000_003));
    feed.on(B, &data(1_000_000_002, 1_000_000_003));
    let requests = feed.requests();
    assert_eq!((requests[0].1, requests.len()), (1, 2), "as much as the stash has room for: {requests:?}");
}

#[test]
fn joins_by_snapshot() {
    let config = FeedConfig { start: Start::Snapshot, stash_messages: 16, ..two_lines() };
    let mut feed = Feed::new(&config);
    for n in 100..140 {
        feed.on(A, &data(n, n + 1));
        feed.on(B, &data(n, n + 1));
    }
    feed.poll();
    assert_eq!(feed.sink.drain(), [Owned::Session(session()), Owned::State(FeedState::Stale)]);
    assert_eq!(feed.requests(), []);
    // The newest are kept.
    assert_eq!(feed.receiver.expected(), seq(124));
    feed.receiver.resume_at(feed.now, seq(130));
    feed.poll();
    let mut expected = messages(130, 140);
    expected.insert(0, Owned::State(FeedState::Gapped));
    expected.push(Owned::State(FeedState::Live));
    assert_eq!(feed.sink.drain(), expected);
}

#[test]
fn a_snapshot_older_than_what_is_kept_leaves_a_hole_to_request() {
    let config = FeedConfig { start: Start::Snapshot, stash_messages: 32, ..two_lines() };
    let mut feed = Feed::new(&config);
    feed.on(A, &data(100, 110));
    feed.receiver.resume_at(feed.now, seq(95));
    feed.poll();
    feed.on(A, &data(110, 111));
    feed.now = feed.now + Nanos::from_millis(1);
    assert_eq!(feed.requests(), [(0, 95, 5)]);
    feed.reply(0, &data(95, 100));
    let items = feed.sink.drain();
    let delivered: Vec<Owned> = items.into_iter().filter(|i| matches!(i, Owned::Message(..))).collect();
    assert_eq!(delivered, messages(95, 111));
}

#[test]
fn a_snapshot_before_the_first_datagram_is_a_start() {
    let mut feed = Feed::new(&FeedConfig { start: Start::Snapshot, ..two_lines() });
    feed.receiver.resume_at(feed.now, seq(95));
    feed.on(A, &data(90, 98));
    assert_eq!(feed.sink.drain()[2..], messages(95, 98));
}

#[test]
fn what_cannot_be_filled_halts_until_a_snapshot() {
    let config = FeedConfig { attempts: 1, rewind_servers: 1, ..two_lines() };
    let mut feed = Feed::live(&config);
    for line in [A, B] {
        feed.on(line, &data(5, 8));
    }
    assert_eq!(feed.requests(), [(0, 3, 2)]);
    feed.wait(Nanos::from_millis(10));
    assert_eq!(feed.requests(), []);
    feed.sink.drain();
    feed.poll();
    assert_eq!(feed.sink.drain(), [Owned::Lost(3, 2), Owned::State(FeedState::Stale)]);
    for line in [A, B] {
        feed.on(line, &data(8, 10));
    }
    feed.poll();
    assert_eq!(feed.sink.drain(), [], "no message while the book is stale");
    feed.receiver.resume_at(feed.now, seq(6));
    feed.poll();
    let mut expected = messages(6, 10);
    expected.insert(0, Owned::State(FeedState::Gapped));
    expected.push(Owned::State(FeedState::Live));
    assert_eq!(feed.sink.drain(), expected);
}

#[test]
fn what_cannot_be_filled_is_skipped_when_so_configured() {
    let config =
        FeedConfig { attempts: 1, rewind_servers: 1, on_unfillable: Unfillable::Skip, ..two_lines() };
    let mut feed = Feed::live(&config);
    for line in [A, B] {
        feed.on(line, &data(5, 8));
        feed.on(line, &data(9, 10));
    }
    assert_eq!(feed.requests(), [(0, 3, 2), (0, 8, 1)]);
    feed.wait(Nanos::from_millis(10));
    assert_eq!(feed.requests(), []);
    feed.sink.drain();
    // Given up, but not told yet: what comes after all is delivered.
    feed.on(B, &data(8, 9));
    let mut expected = vec![Owned::Lost(3, 2)];
    expected.extend(messages(5, 10));
    expected.push(Owned::State(FeedState::Live));
    assert_eq!(feed.sink.drain(), expected);
    let stats = feed.receiver.stats();
    assert_eq!((stats.lost_ranges, stats.lost_messages), (1, 2));
}

#[test]
fn without_servers_a_hole_is_lost_after_the_wait() {
    let config = FeedConfig { rewind_servers: 0, on_unfillable: Unfillable::Skip, ..two_lines() };
    let mut feed = Feed::live(&config);
    feed.on(A, &data(4, 5));
    feed.on(B, &data(4, 5));
    assert_eq!(feed.requests(), []);
    feed.poll();
    assert_eq!(feed.receiver.expected(), seq(3), "both lines have passed it, but it may still be reordering");
    feed.wait(Nanos::from_micros(500));
    assert_eq!(feed.requests(), []);
    feed.poll();
    assert!(feed.sink.drain().contains(&Owned::Lost(3, 1)));
    assert_eq!(feed.receiver.expected(), seq(5));
}

#[test]
fn late_multicast_of_the_same_messages_fills_too() {
    let mut feed = Feed::live(&two_lines());
    for line in [A, B] {
        feed.on(line, &data(6, 8));
    }
    assert_eq!(feed.requests(), [(0, 3, 3)]);
    feed.on(A, &data(3, 6));
    assert_eq!(feed.receiver.expected(), seq(8));
    feed.reply(0, &data(3, 6));
    assert_eq!(feed.receiver.stats().useless_replies, 1);
    assert_eq!(feed.receiver.line_stats(A).unwrap().late_datagrams, 1);
    feed.wait(Nanos::from_secs(1));
    assert_eq!(feed.requests(), []);
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    use seqcast_engine::feed::Receiver;
    let error = |config: FeedConfig| Receiver::new(&config).unwrap_err().to_string();
    assert_eq!(error(FeedConfig { lines: 0, ..two_lines() }), "feed: lines is 0, must be 1 to 8");
    assert_eq!(
        error(FeedConfig { rewind_servers: 9, ..two_lines() }),
        "feed: rewind_servers is 9, must be 0 to 8"
    );
    assert!(error(FeedConfig { stash_bytes: 1_000, ..two_lines() }).contains("must be 65507 to"));
    assert!(error(FeedConfig { silence: Nanos::ZERO, ..two_lines() }).contains("silence (ns) is 0"));
}
