//! What a standby verifies, appends, cuts and acknowledges; and what it never does.

use seqcast_engine::replica::{AppendOutcome, Divergence, Inbound, Position, Reach};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::Wish;

use crate::support::*;

const NOW: Nanos = Nanos::from_secs(1);

/// A standby whose journal is of `tail` epochs, told of a primary with `epochs`, in epoch 9. Both agree below `committed`.
fn meet(epochs: &[u64], tail: &[u64], committed: u64) -> (Primary, Follower) {
    let primary = Primary::new(&small(), Log::of(epochs), 9);
    (primary, Follower::following(Log::of(tail), 9, committed))
}

#[test]
fn an_empty_standby_appends_all() {
    let (primary, mut standby) = meet(&[1, 1, 2, 9, 9], &[], 1);
    assert_eq!(standby.on(&primary.append(1, 4)), AppendOutcome::Accepted);
    assert_eq!(standby.inbound.verified(), to(4));
    standby.on(&primary.append(4, 6));
    assert_eq!(standby.journal.log.frames, primary.log.frames);
    assert_eq!((standby.journal.cuts.len(), standby.journal.lookups), (0, 0));
    assert_eq!(standby.inbound.stats().appended, 5);
}

#[test]
fn a_tail_that_the_primary_has_is_verified_by_its_position_alone() {
    let (primary, mut standby) = meet(&[1, 1, 2, 2, 9], &[1, 1, 2, 2], 2);
    standby.on(&primary.heartbeat(5));
    assert_eq!((standby.inbound.verified(), standby.journal.cuts.len()), (to(5), 0));
    standby.on(&primary.append(5, 6));
    assert_eq!(standby.journal.log.frames, primary.log.frames);
    assert_eq!((standby.inbound.stats().verified, standby.inbound.stats().appended), (3, 1));
}

#[test]
fn a_tail_is_cut_exactly_where_it_differs() {
    // Numbers 4 and 5 were given in epoch 3 by a primary whose standbys never had them.
    let (primary, mut standby) = meet(&[1, 1, 2, 9, 9, 9], &[1, 1, 2, 3, 3], 2);
    for next in [6, 7] {
        assert_eq!(standby.on(&primary.heartbeat(next)), AppendOutcome::Accepted);
        assert_eq!(standby.inbound.verified(), to(2), "the position is not this journal's");
    }
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.received, ack.wanted, ack.tail.at), (to(2), Some(to(7)), to(6)));
    standby.on(&primary.append(2, 7));
    assert_eq!(standby.journal.cuts, [4]);
    assert_eq!(standby.journal.log.frames, primary.log.frames);
    let stats = standby.inbound.stats();
    assert_eq!((stats.cuts, stats.verified, stats.appended), (1, 2, 3));
}

#[test]
fn a_longer_tail_of_older_epochs_is_cut_at_the_primarys_end() {
    let (primary, mut standby) = meet(&[1, 1, 2], &[1, 1, 2, 2, 3], 2);
    standby.on(&primary.heartbeat(1));
    assert_eq!(standby.journal.cuts, [0_u64; 0], "what is verified has not reached the primary's end");
    standby.on(&primary.append(2, 4));
    assert_eq!(standby.journal.cuts, [4]);
    assert_eq!(standby.journal.log.frames, primary.log.frames);
    assert_eq!(standby.ack(NOW, None).unwrap().tail, Position::from(&primary.log.chain));
}

/// The whole history of a primary may be nothing.
#[test]
fn before_the_primary_was_heard_nothing_is_cut() {
    let (primary, mut standby) = meet(&[], &[1, 1], 1);
    assert_eq!(standby.inbound.poll(&mut standby.journal), AppendOutcome::Accepted);
    assert_eq!(standby.journal.cuts, [0_u64; 0]);
    standby.on(&primary.heartbeat(1));
    assert_eq!(standby.journal.cuts, [1]);
}

#[test]
fn late_datagrams_of_the_same_epoch_never_cut() {
    let (mut primary, mut standby) = meet(&[1, 1, 9], &[1, 1], 1);
    let mut late =
        vec![primary.heartbeat(1), primary.heartbeat(3), primary.append(1, 4), primary.append(3, 4)];
    for _ in 0..5 {
        primary.log.push(9);
        late.push(primary.heartbeat(primary.log.next()));
    }
    standby.on(&primary.append(1, 9));
    let log = standby.journal.log.clone();
    for datagram in &late {
        assert_eq!(standby.on(datagram), AppendOutcome::Accepted);
    }
    // Neither when the standby came again and has verified nothing beyond what is committed.
    standby.inbound.follow(9, member(0), Position::START);
    for datagram in &late {
        standby.on(datagram);
    }
    assert_eq!((standby.journal.cuts.len(), standby.journal.log.frames), (0, log.frames));
    assert_eq!(standby.inbound.head().unwrap().end, to(9), "the most that was said");
}

#[test]
fn datagrams_of_an_older_epoch_change_nothing() {
    let (old, mut standby) = meet(&[1, 1, 9], &[1, 1], 1);
    let mut new = Primary::new(&small(), Log::of(&[1, 1]), 11);
    new.log.push(11);
    standby.inbound.stop_acking(11);
    assert_eq!(standby.on(&old.append(1, 4)), AppendOutcome::Stale);
    let from = member(0);
    assert_eq!(standby.on(&new.append(1, 4)), AppendOutcome::HigherEpoch { epoch: 11, from });
    assert_eq!((standby.journal.log.next(), standby.inbound.promised()), (3, 11));
    standby.inbound.follow(11, from, Position::START);
    assert_eq!(standby.on(&old.append(1, 4)), AppendOutcome::Stale);
    standby.on(&new.append(1, 4));
    assert_eq!(standby.on(&old.append(1, 4)), AppendOutcome::Stale);
    assert_eq!(standby.journal.log.frames, new.log.frames);
    assert_eq!(standby.inbound.stats().stale_datagrams, 3);
}

#[test]
#[should_panic(expected = "below the promised one is refused for good")]
fn a_promise_is_for_good() {
    let mut standby = Follower::following(Log::default(), 9, 1);
    standby.inbound.stop_acking(11);
    standby.inbound.follow(10, member(0), Position::START);
}

#[test]
fn only_the_primary_of_the_epoch_is_heeded() {
    let (primary, mut standby) = meet(&[9], &[], 1);
    let datagram = primary.append(1, 2);
    let seqcast_wire::repl::Datagram::Append(append) = parse(&datagram) else { panic!() };
    let reborn = seqcast_engine::replica::Member { incarnation: 1, ..member(0) };
    for sender in [reborn, member(2)] {
        let forged = seqcast_wire::repl::Append { origin: origin(sender, 9), ..append };
        let outcome = standby.inbound.on_append(&forged, &mut standby.journal);
        assert_eq!(outcome, AppendOutcome::NotPrimary(sender));
    }
    let echo = seqcast_wire::repl::Append { origin: origin(member(1), 9), ..append };
    assert_eq!(standby.inbound.on_append(&echo, &mut standby.journal), AppendOutcome::Foreign);
    assert_eq!(standby.journal.log.frames.len(), 0);
    assert_eq!(standby.inbound.head(), None);
}

#[test]
fn what_came_early_waits_and_what_is_missing_is_asked_for() {
    let (primary, mut standby) = meet(&[9; 12], &[], 1);
    standby.on(&primary.append(5, 7));
    standby.on(&primary.append(9, 11));
    assert_eq!(standby.ack(NOW, None).unwrap().wanted, Some(to(5)));
    standby.on(&primary.append(1, 3));
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.received, ack.wanted), (to(3), Some(to(5))));
    standby.on(&primary.append(3, 5));
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.received, ack.wanted), (to(7), Some(to(9))));
    // A datagram that overlaps both what is there and what waits.
    standby.on(&primary.append(6, 10));
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.received, ack.wanted), (to(11), None));
    standby.on(&primary.heartbeat(13));
    assert_eq!(standby.ack(NOW, None).unwrap().wanted, Some(to(13)), "the last datagram was lost");
    standby.on(&primary.append(11, 13));
    assert_eq!(standby.journal.log.frames, primary.log.frames);
    assert_eq!(standby.inbound.stats().early_datagrams, 2);
}

#[test]
fn a_journal_without_room_loses_nothing() {
    let (primary, mut standby) = meet(&[9; 8], &[], 1);
    standby.journal.room = Some(2);
    assert_eq!(standby.on(&primary.append(1, 5)), AppendOutcome::Accepted);
    standby.on(&primary.append(5, 9));
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.received, ack.wanted), (to(3), None), "nothing is missing, it waits");
    for room in [0, 1, 4] {
        standby.journal.room = Some(room);
        standby.inbound.poll(&mut standby.journal);
    }
    assert_eq!(standby.inbound.verified(), to(8));
    standby.journal.room = None;
    standby.inbound.poll(&mut standby.journal);
    assert_eq!(standby.journal.log.frames, primary.log.frames);
}

#[test]
fn a_cut_that_has_to_wait_is_made_later() {
    for (epochs, tail) in [(&[1, 9, 9][..], &[1, 3][..]), (&[1], &[1, 3])] {
        let (primary, mut standby) = meet(epochs, tail, 1);
        standby.journal.busy = 2;
        standby.on(&primary.append(1, primary.log.next()));
        assert_eq!((standby.inbound.verified(), standby.journal.log.next()), (to(2), 3));
        for _ in 0..2 {
            standby.inbound.poll(&mut standby.journal);
        }
        assert_eq!((standby.journal.log.frames, standby.journal.cuts), (primary.log.frames, vec![2]));
    }
}

#[test]
fn the_end_of_the_session_is_replicated_cut_and_acknowledged() {
    let mut old = Log::of(&[1, 1]);
    old.end(3);
    // The end of an old epoch, which the primary does not have.
    let (mut primary, _) = meet(&[1, 1, 9], &[], 1);
    let mut standby = Follower::following(old.clone(), 9, 2);
    standby.on(&primary.append(2, 4));
    assert_eq!((standby.journal.cuts, standby.journal.log.frames), (vec![3], primary.log.frames.clone()));
    // The same where the primary goes no further.
    let (shorter, _) = meet(&[1, 1], &[], 1);
    let mut standby = Follower::following(old.clone(), 9, 2);
    standby.on(&shorter.heartbeat(3));
    assert_eq!(standby.journal.cuts, [3]);
    // The end that the primary has is kept, and verified by its position.
    let (same, _) = meet(&[1, 1], &[], 1);
    let same = Primary { log: old.clone(), ..same };
    let mut standby = Follower::following(old.clone(), 9, 2);
    standby.on(&same.append_from(Position::from(&old.chain), &[]));
    assert_eq!((standby.inbound.verified(), standby.journal.cuts.len()), (ended(3), 0));
    // And a new one is appended, asked for when it is lost, and acknowledged.
    primary.log.end(9);
    primary.committed = ended(4);
    let mut standby = Follower::following(Log::of(&[1, 1, 9]), 9, 4);
    standby.on(&primary.append_from(Position::from(&primary.log.chain), &[]));
    assert_eq!(standby.ack(NOW, None).unwrap().wanted, Some(ended(4)));
    assert_eq!(standby.inbound.committed(), to(4));
    let frames = primary.log.frames[3].clone();
    standby.on(&primary.append_from(primary.log.position_at(4).unwrap(), &frames));
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.verified, ack.received, ack.wanted), (ended(4), ended(4), None));
    assert_eq!(standby.inbound.committed(), ended(4));
}

#[test]
fn on_disk_only_what_is_durable_and_verified_is_acknowledged() {
    let (primary, mut standby) = meet(&[1, 1, 9, 9], &[1, 1, 3], 1);
    let acked = |standby: &mut Follower, durable| {
        let ack = standby.ack(NOW, Some(durable)).unwrap();
        (ack.verified, ack.received)
    };
    assert_eq!(acked(&mut standby, to(4)), (to(1), to(1)), "durable, but not verified");
    standby.on(&primary.append(1, 3));
    assert_eq!(acked(&mut standby, to(4)), (to(3), to(3)));
    standby.on(&primary.append(3, 5));
    assert_eq!(acked(&mut standby, to(3)), (to(3), to(5)));
    assert_eq!(acked(&mut standby, to(4)), (to(4), to(5)));
    assert_eq!(standby.ack(NOW, Some(ended(4))), None, "an end that was cut is not counted");
    assert_eq!(acked(&mut standby, to(5)), (to(5), to(5)));
}

#[test]
fn acknowledges_at_once_what_changed_and_else_with_each_heartbeat() {
    let (primary, mut standby) = meet(&[9; 4], &[], 1);
    let heartbeat = small().heartbeat;
    assert!(standby.ack(NOW, None).is_some(), "it follows");
    assert!(standby.ack(NOW, None).is_none());
    standby.on(&primary.append(1, 3));
    assert_eq!(standby.ack(NOW + Nanos(1), None).unwrap().verified, to(3));
    standby.on(&primary.append(1, 3));
    assert!(standby.ack(NOW + heartbeat, None).is_none());
    assert!(standby.ack(NOW + Nanos(1) + heartbeat, None).is_some());
    let chain = standby.journal.log.chain.clone();
    let later = NOW + heartbeat + heartbeat + Nanos(1);
    assert!(standby.inbound.poll_ack(later, &chain, None).is_some());
    assert!(standby.ack(later, None).is_some(), "it was not sent, and stays due");
    assert!(standby.ack(later, None).is_none());
}

#[test]
fn without_a_primary_and_as_candidate_it_says_hello() {
    let mut standby = Follower::new(Log::of(&[1, 2]));
    let hello = standby.ack(NOW, None).unwrap();
    assert_eq!(
        (hello.origin, hello.tail),
        (origin(member(1), 0), Position::from(&standby.journal.log.chain))
    );
    assert_eq!((hello.verified, hello.received, hello.wanted), (Reach::NOTHING, Reach::NOTHING, None));
    assert!(standby.ack(NOW + small().heartbeat, None).is_some());
    standby.inbound.stop_acking(9);
    for periods in 2..5 {
        let hello = standby.ack(NOW + Nanos(periods * small().heartbeat.0), None).unwrap();
        assert_eq!((hello.origin.epoch, hello.verified, hello.received), (0, Reach::NOTHING, Reach::NOTHING));
    }
    standby.inbound.follow(9, member(0), Position::START);
    assert_eq!(standby.ack(NOW, None).unwrap().origin.epoch, 9);
}

#[test]
fn knows_as_committed_what_it_verified_of_it() {
    let (mut primary, mut standby) = meet(&[1, 1, 9, 9], &[1, 1, 3], 2);
    assert_eq!(standby.inbound.committed(), to(2));
    primary.committed = to(4);
    standby.on(&primary.heartbeat(5));
    assert_eq!(standby.inbound.committed(), to(2), "its own number 3 is another one");
    standby.on(&primary.append(2, 4));
    assert_eq!(standby.inbound.committed(), to(4));
    // A late datagram, and another primary, take nothing back.
    primary.committed = to(1);
    standby.on(&primary.append(4, 5));
    standby.inbound.follow(11, member(2), standby.journal.log.position_at(2).unwrap());
    assert_eq!(standby.inbound.committed(), to(4));
    assert_eq!(standby.inbound.head(), None);
}

fn diverged(outcome: AppendOutcome) -> Divergence {
    match outcome {
        AppendOutcome::Diverged(divergence) => divergence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_history_that_contradicts_what_was_verified_is_loud_and_changes_nothing() {
    let ours = Log::of(&[1, 1, 9]);
    let follower = || {
        let mut standby = Follower::following(ours.clone(), 9, 3);
        standby.on(&Primary::new(&small(), ours.clone(), 9).heartbeat(4));
        assert_eq!(standby.inbound.verified(), to(4));
        standby
    };
    let stream = |epochs: &[u64]| Primary::new(&small(), Log::of(epochs), 9);
    // Another history before what was verified ends.
    let other = stream(&[1, 2, 9, 9]);
    let mut standby = follower();
    let divergence = diverged(standby.on(&other.append(4, 5)));
    assert!(matches!(divergence, Divergence::Verified { next, .. } if next == seq(4)), "{divergence}");
    assert!(divergence.to_string().contains("though it was verified"));
    assert!(matches!(diverged(standby.on(&other.append(1, 5))), Divergence::Verified { .. }));
    // A frame that does not follow the one before, though its position says so.
    let mut standby = follower();
    let same = stream(&[1, 1, 9]);
    let alien = other.log.bytes(4, 5);
    let divergence = diverged(standby.on(&same_end(&same, &alien)));
    assert!(matches!(divergence, Divergence::Chain { seq: at, .. } if at == seq(4)), "{divergence}");
    // A number left out, and a frame of a higher epoch.
    let longer = stream(&[1, 1, 9, 9, 9]);
    let divergence = diverged(standby.on(&same_end(&same, &longer.log.bytes(5, 6))));
    assert!(matches!(divergence, Divergence::Chain { .. }), "{divergence}");
    let higher = stream(&[1, 1, 9, 10]);
    let divergence = diverged(standby.on(&higher.append(4, 5)));
    assert_eq!(divergence, Divergence::Epoch { seq: seq(4), frame: 10, stream: 9 });
    assert_eq!(standby.inbound.stats().divergences, 3);
    assert_eq!((standby.journal.log.frames, standby.journal.cuts.len()), (ours.frames, 0));
    // Neither is a stale tail cut for a frame that does not follow what was verified.
    let mut standby = Follower::following(Log::of(&[1, 1, 3, 3]), 9, 3);
    let divergence = diverged(standby.on(&same_end(&stream(&[1, 1]), &other.log.bytes(3, 4))));
    assert!(matches!(divergence, Divergence::Chain { seq: at, .. } if at == seq(3)), "{divergence}");
    assert_eq!(standby.journal.log.next(), 5);
}

/// An append at the end of `primary`'s history, which claims to go on.
fn same_end(primary: &Primary, frames: &[u8]) -> Vec<u8> {
    let at = Position::from(&primary.log.chain);
    let mut head = primary.log.head(Reach::NOTHING);
    head.end = to(primary.log.next() + 9);
    bytes_of(&seqcast_wire::repl::Append {
        origin: origin(member(0), 9),
        previous: at,
        head,
        is_deaf: false,
        frames,
    })
}

/// One epoch has one history: what differs in it is never cut, but told.
#[test]
fn two_histories_of_one_epoch_are_never_settled_by_a_cut() {
    let mut theirs = Log::of(&[1, 9]);
    theirs.push_message(9, b"another message");
    let primary = Primary::new(&small(), theirs, 9);
    let mut standby = Follower::following(Log::of(&[1, 9, 9]), 9, 1);
    let divergence = diverged(standby.on(&primary.append(1, 4)));
    assert_eq!(divergence, Divergence::SameEpoch { next: seq(3), epoch: 9 });
    assert_eq!((standby.journal.log.next(), standby.journal.cuts.len()), (4, 0));
}

#[test]
fn a_journal_that_cannot_be_read_is_told() {
    let (primary, mut standby) = meet(&[1, 1, 1, 9], &[1, 1, 1, 3], 1);
    standby.journal.log.oldest = 4;
    assert_eq!(standby.on(&primary.append(1, 5)), AppendOutcome::Unreadable(seq(2)));
    assert_eq!(standby.journal.log.next(), 5);
}

#[test]
fn a_damaged_frame_is_dropped_and_asked_for_again() {
    let (primary, mut standby) = meet(&[9; 4], &[], 1);
    let mut frames = primary.log.bytes(1, 5);
    let second = primary.log.frames[0].len();
    frames[second + 70] ^= 1;
    let outcome = standby.on(&primary.append_from(Position::START, &frames));
    assert!(matches!(outcome, AppendOutcome::Damaged(_)), "{outcome:?}");
    assert_eq!(standby.inbound.verified(), to(2), "the frame before it was whole");
    standby.on(&primary.heartbeat(5));
    assert_eq!(standby.ack(NOW, None).unwrap().wanted, Some(to(5)));
    standby.on(&primary.append(2, 5));
    assert_eq!(standby.journal.log.frames, primary.log.frames);
}

/// What waits in the stash of one epoch is not taken into the next.
#[test]
fn another_primary_starts_with_an_empty_stash() {
    let (primary, mut standby) = meet(&[1, 9, 9, 9], &[1], 2);
    standby.on(&primary.append(3, 5));
    let mut next = Primary::new(&small(), Log::of(&[1, 11]), 11);
    standby.inbound.follow(11, member(0), standby.journal.log.position_at(2).unwrap());
    assert_eq!(standby.on(&next.append(2, 3)), AppendOutcome::Accepted);
    assert_eq!(standby.journal.log.frames, next.log.frames);
    next.log.push(11);
    standby.on(&next.append(3, 4));
    assert_eq!((standby.journal.log.frames, standby.journal.cuts.len()), (next.log.frames, 0));
}

#[test]
fn a_setting_that_cannot_work_is_refused() {
    let config = seqcast_engine::replica::StreamConfig { stash_datagrams: 0, ..small() };
    assert!(Inbound::new(&config, member(1), session(), 0, Reach::NOTHING).is_err());
}

/// A primary that came by a coordinator's old record: it lacks what is committed.
#[test]
fn a_primary_that_lacks_what_is_committed_gets_no_acknowledgement() {
    let primary = Primary::new(&small(), Log::of(&[1, 1]), 9);
    let mut standby = Follower::following(Log::of(&[1, 1, 2, 2]), 9, 5);
    let ack = standby.ack(NOW, None).unwrap();
    assert_eq!((ack.verified, ack.received), (Reach::NOTHING, to(5)), "nobody has seen that it has that");
    let told = AppendOutcome::Diverged(Divergence::Short { end: seq(3), committed: seq(5) });
    // What the network kept for long may say so too: nobody stops for that.
    let datagrams = (1..).take_while(|_| standby.on(&primary.heartbeat(3)) != told).count();
    assert!((100..10_000).contains(&datagrams), "{datagrams} datagrams");
    // It numbers on, and gets farther than what is committed: what it has there is something else.
    let longer = Primary::new(&small(), Log::of(&[1, 1, 9, 9, 9]), 9);
    for datagram in [longer.append(1, 6), longer.append(5, 6), longer.heartbeat(5)] {
        let mut standby = Follower::following(Log::of(&[1, 1, 2, 2]), 9, 5);
        let outcome = standby.on(&datagram);
        assert!(matches!(outcome, AppendOutcome::Diverged(Divergence::Verified { .. })), "{outcome:?}");
        assert_eq!(standby.ack(NOW, None).unwrap().verified, Reach::NOTHING);
        assert_eq!((standby.journal.log.next(), standby.journal.cuts.len()), (5, 0));
    }
}

#[test]
fn a_standby_acknowledges_once_it_has_seen_where_it_stands_in_the_primarys_history() {
    let primary = Primary::new(&small(), Log::of(&[1, 1, 2, 2]), 9);
    for datagram in [primary.heartbeat(3), primary.append(1, 3), primary.append(2, 4), primary.heartbeat(5)] {
        let mut standby = Follower::following(Log::of(&[1, 1, 2, 2]), 9, 3);
        assert_eq!(standby.ack(NOW, None).unwrap().verified, Reach::NOTHING);
        assert_eq!(standby.on(&datagram), AppendOutcome::Accepted);
        let ack = standby.ack(NOW, None).unwrap();
        assert_eq!(ack.verified, ack.received);
        assert!(ack.verified >= to(3));
    }
    let mut standby = Follower::following(Log::of(&[1, 1, 2, 2]), 9, 3);
    standby.on(&primary.heartbeat(1));
    assert_eq!(standby.ack(NOW, None).unwrap().verified, Reach::NOTHING, "every history begins so");
}

#[test]
fn a_wish_is_told_at_once_and_again_until_there_is_none() {
    let (primary, mut standby) = meet(&[9, 9], &[], 1);
    standby.on(&primary.append(1, 3));
    assert_eq!(standby.ack(NOW, None).unwrap().wish, None);
    assert_eq!(standby.ack(NOW, None), None, "nothing is due");
    standby.inbound.wish(Some(Wish::Lead));
    assert_eq!(standby.ack(NOW, None).unwrap().wish, Some(Wish::Lead));
    assert_eq!(standby.ack(NOW, None), None, "it was said");
    assert_eq!(
        standby.ack(NOW + Nanos::from_secs(1), None).unwrap().wish,
        Some(Wish::Lead),
        "it is said again"
    );
    standby.inbound.wish(None);
    assert_eq!(standby.ack(NOW + Nanos::from_secs(1), None).unwrap().wish, None);
}
