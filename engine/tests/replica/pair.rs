//! What a primary sends to one peer, when, and how much of it.

use seqcast_engine::replica::{
    AckOutcome, Lag, Member, NodeId, Outbound, Position, Reach, StreamConfig, max_message_bytes,
};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::{APPEND_BYTES, Ack, Append, Datagram};

use crate::support::*;

const NOW: Nanos = Nanos::from_secs(1);
const EPOCH: u64 = 9;

fn primary(log: Log) -> Primary {
    Primary::new(&small(), log, EPOCH)
}

/// An acknowledgement of node 1: everything below `received` verified, its journal's end at `tail`.
fn ack(received: Reach, tail: Position, wanted: Option<Reach>) -> Ack {
    let origin = origin(member(1), EPOCH);
    let committed = Reach::NOTHING;
    let (is_deaf, needs_image, wish) = (false, false, None);
    Ack { origin, tail, verified: received, received, wanted, committed, is_deaf, needs_image, wish }
}

/// An acknowledgement of node 1 that has the same as `primary` below `next`.
fn has(primary: &Primary, next: u64) -> Ack {
    ack(to(next), primary.log.position_at(next).unwrap(), None)
}

fn append(datagram: &[u8]) -> Append<'_> {
    let Datagram::Append(append) = parse(datagram) else { panic!("an append") };
    append
}

/// Where each of `datagrams` begins and how many frames it has.
fn shape(primary: &Primary, datagrams: &[Vec<u8>]) -> Vec<(u64, usize)> {
    let of = |datagram: &Vec<u8>| {
        let append = append(datagram);
        let from = append.previous.at.next.value();
        let mut len = 0;
        let frames = primary.log.frames[from as usize - 1..].iter().take_while(|frame| {
            len += frame.len();
            len <= append.frames.len()
        });
        (from, frames.count())
    };
    datagrams.iter().map(of).collect()
}

/// `datagrams` carry the frames `from..end` of `primary` and no others.
#[track_caller]
fn assert_carry(datagrams: &[Vec<u8>], primary: &Primary, from: u64, end: u64) {
    let frames: Vec<u8> = datagrams.iter().flat_map(|datagram| append(datagram).frames.to_vec()).collect();
    assert!(frames == primary.log.bytes(from, end), "{:?}, not {from} to {end}", shape(primary, datagrams));
}

#[test]
fn a_peer_that_does_not_follow_gets_heartbeats_only() {
    let mut primary = primary(Log::of(&[EPOCH; 5]));
    primary.committed = to(3);
    let datagrams = primary.poll(NOW);
    assert_eq!(datagrams.len(), 1);
    let heartbeat = append(&datagrams[0]);
    assert_eq!(heartbeat.origin, origin(member(0), EPOCH));
    assert_eq!((heartbeat.previous, heartbeat.frames.len()), (Position::START, 0));
    assert_eq!(heartbeat.head, primary.log.head(to(3)));
    let interval = small().heartbeat;
    assert!(primary.poll(NOW + interval - Nanos(1)).is_empty());
    assert_eq!(primary.poll(NOW + interval).len(), 1);
    assert_eq!((primary.outbound.stats().heartbeats, primary.outbound.verified()), (2, None));
}

#[test]
fn goes_on_where_the_peers_journal_ends_if_that_is_a_part_of_this_history() {
    let mut primary = primary(Log::of(&[1, 1, 2, 2, EPOCH]));
    primary.poll(NOW);
    let tail = primary.log.position_at(5).unwrap();
    let outcome = primary.on_ack(NOW, &ack(to(2), tail, None));
    assert_eq!(outcome, AckOutcome::Verified { member: member(1), verified: to(2) });
    let datagrams = primary.poll(NOW);
    assert_eq!(shape(&primary, &datagrams), [(5, 1)]);
    assert_eq!(append(&datagrams[0]).previous, tail);
    assert_carry(&datagrams, &primary, 5, 6);
    assert_eq!(primary.outbound.verified(), Some((member(1), to(2))), "a tail is verified by the peer alone");
}

#[test]
fn tells_a_peer_that_lacks_nothing_which_position_to_verify() {
    let mut primary = primary(Log::of(&[1, 1]));
    primary.poll(NOW);
    let tail = primary.log.position_at(3).unwrap();
    primary.on_ack(NOW, &ack(to(1), tail, None));
    let datagrams = primary.poll(NOW);
    assert_eq!((datagrams.len(), append(&datagrams[0]).previous), (1, tail));
}

#[test]
fn starts_from_what_is_verified_when_the_peers_tail_is_another() {
    for tail in [Log::of(&[1, 1, 3, 3]), Log::of(&[1, 1, 2, 2, EPOCH, EPOCH])] {
        let mut primary = primary(Log::of(&[1, 1, 2, 2, EPOCH]));
        primary.poll(NOW);
        primary.on_ack(NOW, &ack(to(2), Position::from(&tail.chain), None));
        let datagrams = primary.poll(NOW);
        assert_eq!(shape(&primary, &datagrams)[0].0, 2);
        assert_carry(&datagrams, &primary, 2, 6);
    }
}

#[test]
fn packs_datagrams_full_and_delays_no_lone_frame() {
    let mut primary = primary(Log::of(&[EPOCH]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    assert_eq!(shape_of_poll(&mut primary), [(1, 1)]);
    for _ in 0..12 {
        primary.log.push(EPOCH);
    }
    let datagrams = primary.poll(NOW);
    assert_carry(&datagrams, &primary, 2, 14);
    let longest_frame = primary.log.frames.iter().map(Vec::len).max().unwrap();
    for full in &datagrams[..datagrams.len() - 1] {
        assert!(full.len() <= 600 && full.len() + longest_frame > 600, "{} bytes", full.len());
    }
}

fn primary_at(primary: &Primary) -> Primary {
    Primary::new(&small(), primary.log.clone(), EPOCH)
}

fn shape_of_poll(primary: &mut Primary) -> Vec<(u64, usize)> {
    let datagrams = primary.poll(NOW);
    shape(primary, &datagrams)
}

#[test]
fn no_more_than_the_window_is_on_its_way() {
    let mut primary = primary(Log::of(&[EPOCH; 300]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    let mut next = 1;
    let mut rounds = 0;
    while next < 301 {
        let datagrams = primary.poll(NOW);
        let sent: usize = datagrams.iter().map(Vec::len).sum();
        assert_carry(&datagrams, &primary, next, next + count(&primary, &datagrams));
        next += count(&primary, &datagrams);
        assert!(sent > 5_400 || next == 301, "the window is used: {sent}");
        assert!(primary.outbound.in_flight_bytes() <= 6_000);
        assert_eq!(primary.outbound.in_flight_bytes(), sent);
        primary.on_ack(NOW, &has(&primary_at(&primary), next));
        assert_eq!(primary.outbound.in_flight_bytes(), 0);
        rounds += 1;
    }
    assert!((5..12).contains(&rounds), "{rounds}");
    assert_eq!(primary.outbound.stats().repeated_datagrams, 0);
    // An acknowledgement of a part opens the window by that part.
    let mut primary = self::primary(Log::of(&[EPOCH; 300]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    let datagrams = primary.poll(NOW);
    let second = append(&datagrams[1]).previous.at.next.value();
    primary.on_ack(NOW, &has(&primary_at(&primary), second));
    assert!(primary.outbound.in_flight_bytes() <= 5_400);
    assert!(!primary.poll(NOW).is_empty());
    assert!((5_401..=6_000).contains(&primary.outbound.in_flight_bytes()));
}

fn count(primary: &Primary, datagrams: &[Vec<u8>]) -> u64 {
    shape(primary, datagrams).iter().map(|(_, count)| *count as u64).sum()
}

#[test]
fn a_frame_larger_than_a_datagram_travels_alone_in_a_larger_one() {
    let mut log = Log::of(&[EPOCH; 2]);
    log.push_message(EPOCH, &[7; 2_000]);
    log.push(EPOCH);
    log.push_message(EPOCH, &[8; max_message_bytes(65_507)]);
    log.push(EPOCH);
    let mut primary = primary(log);
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    assert_eq!(shape_of_poll(&mut primary), [(1, 2), (3, 1), (4, 1)]);
    assert_eq!(shape_of_poll(&mut primary), [], "larger than the window: not while others are on their way");
    primary.on_ack(NOW, &has(&primary_at(&primary), 5));
    let datagrams = primary.poll(NOW);
    assert_eq!((shape(&primary, &datagrams), datagrams[0].len()), (vec![(5, 1)], 65_504));
    primary.on_ack(NOW, &has(&primary_at(&primary), 6));
    assert_eq!(shape_of_poll(&mut primary), [(6, 1)]);
}

#[test]
fn a_frame_that_no_buffer_holds_stops_the_stream_and_is_counted() {
    let mut log = Log::default();
    log.push_message(EPOCH, &[7; 2_000]);
    let mut primary = primary(log);
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    let mut buffer = [0; 1_500];
    let head = primary.log.head(Reach::NOTHING);
    let mut history = Reader { log: &primary.log, cursor: &mut primary.cursor };
    let len = primary.outbound.poll(NOW, &head, &mut history, &mut buffer);
    assert_eq!((len, primary.outbound.stats().oversize), (APPEND_BYTES, 1), "a heartbeat");
    assert_eq!(primary.outbound.poll(NOW, &head, &mut history, &mut buffer[..80]), 0);
}

#[test]
fn sends_again_what_is_asked_for_and_only_that() {
    let mut primary = primary(Log::of(&[EPOCH; 40]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    let sent = count_of_poll(&mut primary);
    let missing = |primary: &Primary, received, wanted| Ack {
        wanted: Some(to(wanted)),
        ..has(&primary_at(primary), received)
    };
    let hole = missing(&primary, 7, 12);
    primary.on_ack(NOW, &hole);
    let datagrams = primary.poll(NOW);
    let news = datagrams.iter().position(|datagram| append(datagram).previous.at.next.value() > sent);
    let (again, new) = datagrams.split_at(news.unwrap());
    assert_carry(again, &primary, 7, 12);
    assert_eq!(append(&new[0]).previous.at, to(sent + 1), "then it goes on");
    assert_eq!(primary.outbound.stats().repeated_datagrams, again.len() as u64);
    // Asked again: it is on its way. Another hole is filled at once, the first one again when it takes too long.
    primary.on_ack(NOW, &hole);
    assert_eq!(shape_of_poll(&mut primary), []);
    primary.on_ack(NOW, &missing(&primary, 12, 14));
    let datagrams = primary.poll(NOW);
    assert_carry(&datagrams, &primary, 12, 14);
    primary.on_ack(NOW, &missing(&primary, 12, 14));
    assert_eq!(shape_of_poll(&mut primary), []);
    let later = NOW + small().retransmit_after;
    primary.on_ack(later, &missing(&primary, 12, 14));
    let datagrams = primary.poll(later);
    assert_carry(&datagrams[..1], &primary, 12, 14);
    // Nobody gets what was never sent.
    let mut fresh = self::primary(Log::of(&[EPOCH; 40]));
    fresh.poll(NOW);
    fresh.on_ack(NOW, &missing(&fresh, 1, 30));
    assert_eq!(fresh.outbound.stats().repeated_datagrams, 0);
}

fn count_of_poll(primary: &mut Primary) -> u64 {
    let datagrams = primary.poll(NOW);
    count(primary, &datagrams)
}

#[test]
fn a_dead_peer_gets_a_window_once_and_then_heartbeats_that_say_where_it_ends() {
    let mut primary = primary(Log::of(&[EPOCH; 300]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    let sent = count_of_poll(&mut primary);
    let before = primary.outbound.stats().datagrams;
    for tick in 1..=1_000 {
        for datagram in primary.poll(NOW + Nanos(tick * small().heartbeat.0)) {
            let heartbeat = append(&datagram);
            assert_eq!((heartbeat.frames.len(), heartbeat.previous.at), (0, to(sent + 1)));
        }
    }
    assert_eq!(primary.outbound.stats().datagrams - before, 1_000);
}

#[test]
fn an_overtaken_acknowledgement_takes_nothing_back() {
    let mut primary = primary(Log::of(&[EPOCH; 20]));
    primary.poll(NOW);
    let early = Ack { wanted: Some(to(9)), ..has(&primary_at(&primary), 3) };
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 21));
    let outcome = primary.on_ack(NOW, &early);
    assert_eq!(outcome, AckOutcome::Verified { member: member(1), verified: to(3) });
    assert_eq!(shape_of_poll(&mut primary), []);
    assert_eq!(primary.outbound.verified(), Some((member(1), to(21))));
    assert_eq!(primary.outbound.stats().overtaken_acks, 1);
}

/// A peer that lost its journal goes on saying that it has less; one that says so once was overtaken.
#[test]
fn a_peer_that_comes_again_with_less_gets_it_again() {
    let mut primary = primary(Log::of(&[EPOCH; 20]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 21));
    let reborn = Member { incarnation: 7, ..member(1) };
    let empty = Ack { origin: origin(reborn, EPOCH), ..has(&primary_at(&primary), 1) };
    primary.on_ack(NOW, &empty);
    assert_eq!(shape_of_poll(&mut primary), []);
    let later = NOW + small().retransmit_after;
    let outcome = primary.on_ack(later, &empty);
    assert_eq!(outcome, AckOutcome::Verified { member: reborn, verified: to(1) });
    let datagrams = primary.poll(later);
    assert_carry(&datagrams, &primary, 1, 21);
    assert_eq!(primary.outbound.verified(), Some((reborn, to(1))));
    // It had more all the same: nothing of that is sent again.
    primary.on_ack(later, &Ack { origin: origin(reborn, EPOCH), ..has(&primary_at(&primary), 5) });
    primary.log.push(EPOCH);
    assert_eq!(shape_of_poll(&mut primary), [(21, 1)]);
    assert_eq!(primary.outbound.stats().starts, 2);
}

#[test]
fn what_the_peer_got_by_another_way_is_skipped() {
    let mut primary = primary(Log::of(&[EPOCH; 300]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    let sent = count_of_poll(&mut primary);
    assert!(sent < 200);
    primary.on_ack(NOW, &has(&primary_at(&primary), 280));
    let datagrams = primary.poll(NOW);
    assert_carry(&datagrams, &primary, 280, 301);
}

#[test]
fn a_peer_below_the_oldest_number_needs_an_image() {
    let mut primary = primary(Log::of(&[EPOCH; 20]));
    primary.log.oldest = 10;
    primary.poll(NOW);
    let outcome = primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    assert_eq!(outcome, AckOutcome::NeedsImage { member: member(1), tail: to(1) });
    assert_eq!(primary.poll(NOW + small().heartbeat).len(), 1, "a heartbeat");
    assert!(!primary.outbound.is_caught_up(NOW) && primary.outbound.verified().is_none());
    // With the image it has number 15 and all before; then the journal is removed faster than the peer takes it.
    let tail = primary.log.position_at(16).unwrap();
    let outcome = primary.on_ack(NOW, &ack(to(16), tail, None));
    assert_eq!(outcome, AckOutcome::Verified { member: member(1), verified: to(16) });
    let datagrams = primary.poll(NOW);
    assert_carry(&datagrams, &primary, 16, 21);
    primary.log.oldest = 19;
    let later = NOW + small().retransmit_after;
    let outcome = primary.on_ack(later, &ack(to(16), tail, Some(to(21))));
    assert_eq!(outcome, AckOutcome::NeedsImage { member: member(1), tail: to(16) });
    let datagrams = primary.poll(later);
    assert_eq!((datagrams.len(), append(&datagrams[0]).previous), (1, Position::START), "a heartbeat");
}

#[test]
fn what_is_no_acknowledgement_of_this_stream_changes_nothing() {
    let mut primary = primary(Log::of(&[EPOCH; 20]));
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 1));
    primary.poll(NOW);
    let good = has(&primary_at(&primary), 11);
    let of = |origin| Ack { origin, ..good };
    let session = seqcast_wire::Session::from_wire(*b"SESSION002");
    let foreign = seqcast_wire::repl::Origin { session, ..good.origin };
    assert_eq!(primary.on_ack(NOW, &of(foreign)), AckOutcome::Foreign);
    assert_eq!(primary.on_ack(NOW, &of(origin(member(2), EPOCH))), AckOutcome::Foreign);
    assert_eq!(primary.on_ack(NOW, &of(origin(member(1), EPOCH - 1))), AckOutcome::Stale);
    assert_eq!(primary.on_ack(NOW, &of(origin(member(1), EPOCH + 1))), AckOutcome::HigherEpoch(EPOCH + 1));
    let hello = Ack { verified: Reach::NOTHING, received: Reach::NOTHING, ..of(origin(member(1), 0)) };
    let (tail, committed) = (hello.tail, hello.committed);
    assert_eq!(primary.on_ack(NOW, &hello), AckOutcome::Hello { member: member(1), tail, committed });
    for received in [to(22), ended(21), ended(5)] {
        let tail = Position { at: received, ..good.tail };
        assert_eq!(primary.on_ack(NOW, &ack(received, tail, None)), AckOutcome::Ahead, "{received:?}");
    }
    let stats = primary.outbound.stats();
    assert_eq!((stats.foreign_acks, stats.other_epoch_acks, stats.acks), (5, 2, 1));
    assert_eq!(primary.outbound.verified(), Some((member(1), to(1))));
    assert_eq!(primary.poll(NOW), Vec::<Vec<u8>>::new());
}

#[test]
fn the_end_of_the_session_is_sent_repeated_and_counted() {
    let mut log = Log::of(&[EPOCH; 2]);
    log.end(EPOCH);
    let mut primary = primary(log);
    primary.committed = ended(3);
    primary.poll(NOW);
    primary.on_ack(NOW, &has(&primary_at(&primary), 3));
    let datagrams = primary.poll(NOW);
    assert_eq!(append(&datagrams[0]).frames, primary.log.frames[2]);
    let later = NOW + small().heartbeat;
    let heartbeat = primary.poll(later);
    assert_eq!(append(&heartbeat[0]).previous, Position::from(&primary.log.chain));
    primary.on_ack(later, &Ack { wanted: Some(ended(3)), ..has(&primary_at(&primary), 3) });
    let datagrams = primary.poll(later);
    assert_eq!(append(&datagrams[0]).frames, primary.log.frames[2]);
    let tail = Position::from(&primary.log.chain);
    let outcome = primary.on_ack(later, &ack(ended(3), tail, None));
    assert_eq!(outcome, AckOutcome::Verified { member: member(1), verified: ended(3) });
    // A peer that comes again with all of it, verified or not, gets nothing but a position.
    let mut again = Primary { committed: ended(3), ..primary_at(&primary) };
    again.poll(NOW);
    again.on_ack(NOW, &ack(to(2), tail, None));
    let datagrams = again.poll(NOW);
    assert_eq!((datagrams.len(), append(&datagrams[0]).previous), (1, tail));
}

#[test]
fn lag_is_told_in_messages_and_in_time_and_pauses_of_this_node_do_not_count() {
    let config = StreamConfig { caught_up_within: Nanos::from_millis(3), ..small() };
    let mut primary = Primary::new(&config, Log::of(&[EPOCH; 3]), EPOCH);
    let ms = |ms: u64| NOW + Nanos::from_millis(ms);
    primary.poll(ms(0));
    assert!(!primary.outbound.is_caught_up(ms(0)), "nobody was heard");
    primary.on_ack(ms(0), &has(&primary_at(&primary), 4));
    primary.poll(ms(1));
    let none = Lag { messages: 0, stuck: Nanos::ZERO, age: Nanos::ZERO };
    assert_eq!((primary.outbound.lag(ms(1)), primary.outbound.is_caught_up(ms(1))), (none, true));
    // Two messages a millisecond, one verified in that time: progress, but ever older.
    for n in 1..=10 {
        primary.log.push(EPOCH);
        primary.log.push(EPOCH);
        primary.on_ack(ms(1 + n), &has(&primary_at(&primary), 4 + n));
        primary.poll(ms(1 + n));
    }
    let lag = primary.outbound.lag(ms(11));
    assert_eq!((lag.messages, lag.stuck), (10, Nanos::ZERO));
    assert_eq!(lag.age, Nanos::from_millis(6), "what it verified by now was all that there was at 5 ms");
    assert!(!primary.outbound.is_caught_up(ms(11)));
    // No progress any more.
    for n in 12..=20 {
        primary.poll(ms(n));
    }
    assert_eq!(primary.outbound.lag(ms(20)).stuck, Nanos::from_millis(9));
    // This node stands still for a second, of which one `retransmit_after` counts.
    primary.poll(ms(1_020));
    assert_eq!(primary.outbound.lag(ms(1_020)).stuck, Nanos::from_millis(10));
    // It catches up.
    primary.on_ack(ms(1_021), &has(&primary_at(&primary), 24));
    primary.poll(ms(1_021));
    assert_eq!((primary.outbound.lag(ms(1_021)), primary.outbound.is_caught_up(ms(1_021))), (none, true));
}

#[test]
fn a_setting_that_cannot_work_is_refused() {
    let config = StreamConfig { window_bytes: 100, ..small() };
    let error = Outbound::new(&config, member(0), session(), EPOCH, NodeId(1)).unwrap_err();
    assert_eq!(error.to_string(), "replication: window_bytes is 100, must be 1200 to 1073741824");
}
