//! What forgers, broken nodes and wrong configurations send: nothing of it changes anything.

use proptest::prelude::*;
use seqcast_engine::replica::{AppendOutcome, Head, Member, Position, Reach};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::{Ack, Append, Datagram, Origin};
use seqcast_wire::{SeqNo, Session};

use crate::support::*;

const NOW: Nanos = Nanos::from_secs(1);
const EPOCH: u64 = 9;

/// A primary, and a standby that has verified half of its history, with a stale tail behind it.
fn half_way() -> (Primary, Follower) {
    let primary = Primary::new(&small(), Log::of(&[1, 1, 2, 9, 9, 9]), EPOCH);
    let mut standby = Follower::following(Log::of(&[1, 1, 2, 3]), EPOCH, 2);
    standby.on(&primary.append(2, 3));
    assert_eq!(standby.inbound.verified(), to(3));
    (primary, standby)
}

fn forged(datagram: &[u8], change: impl FnOnce(&mut Origin)) -> Vec<u8> {
    let Datagram::Append(append) = parse(datagram) else { panic!("an append") };
    let mut origin = append.origin;
    change(&mut origin);
    bytes_of(&Append { origin, ..append })
}

#[test]
fn forged_epochs_sessions_nodes_and_incarnations_change_nothing() {
    let (primary, mut standby) = half_way();
    let before =
        (standby.journal.log.frames.clone(), standby.inbound.verified(), standby.inbound.head().copied());
    let real = primary.append(1, 7);
    let unknown = Member { incarnation: 109, ..member(999) };
    let session = Session::from_wire(*b"SESSION002");
    let node_0 = member(0);
    let cases: [(Vec<u8>, AppendOutcome); 7] = [
        (forged(&real, |origin| origin.epoch = EPOCH - 1), AppendOutcome::Stale),
        (forged(&real, |origin| origin.epoch = 1), AppendOutcome::Stale),
        (
            forged(&real, |origin| origin.epoch = u64::MAX),
            AppendOutcome::HigherEpoch { epoch: u64::MAX, from: node_0 },
        ),
        (forged(&real, |origin| origin.session = session), AppendOutcome::Foreign),
        (forged(&real, |origin| origin.node = 1), AppendOutcome::Foreign),
        (
            forged(&real, |origin| (origin.node, origin.incarnation) = (999, 109)),
            AppendOutcome::NotPrimary(unknown),
        ),
        (
            forged(&real, |origin| origin.incarnation = 0),
            AppendOutcome::NotPrimary(Member { incarnation: 0, ..node_0 }),
        ),
    ];
    for (datagram, expected) in &cases {
        assert_eq!(standby.on(datagram), *expected);
        let after =
            (standby.journal.log.frames.clone(), standby.inbound.verified(), standby.inbound.head().copied());
        assert_eq!(after, before);
    }
    let stats = standby.inbound.stats();
    assert_eq!((stats.stale_datagrams, stats.higher_epoch_datagrams), (2, 1));
    assert_eq!((stats.foreign_datagrams, stats.not_primary_datagrams), (2, 2));
    standby.on(&real);
    assert_eq!(standby.journal.log.frames, primary.log.frames, "the real one is taken");
}

#[test]
fn numbers_at_the_end_of_their_range_are_no_special_case() {
    let (primary, mut standby) = half_way();
    let last = Position { at: Reach::to(SeqNo::MAX), epoch: EPOCH, crc: 1 };
    let head = Head { end: last.at, committed: last.at, published: SeqNo::MAX, everywhere: SeqNo::MAX };
    let append =
        Append { origin: origin(member(0), EPOCH), previous: last, head, is_deaf: false, frames: &[] };
    assert_eq!(standby.on(&bytes_of(&append)), AppendOutcome::Accepted);
    assert_eq!((standby.inbound.verified(), standby.inbound.committed()), (to(3), to(3)));
    assert_eq!(standby.ack(NOW, None).unwrap().wanted, Some(last.at));
    standby.on(&primary.append(3, 7));
    assert_eq!(standby.journal.log.frames, primary.log.frames);
    // Neither on the other side.
    let mut primary = primary;
    primary.poll(NOW);
    let ack = Ack {
        origin: origin(member(1), EPOCH),
        tail: last,
        verified: to(1),
        received: to(1),
        wanted: Some(Reach::to(SeqNo::MAX)),
        committed: to(1),
        is_deaf: false,
        needs_image: false,
        wish: None,
    };
    for _ in 0..3 {
        primary.on_ack(NOW, &ack);
    }
    assert_eq!(primary.poll(NOW).len(), 2, "one datagram full, one with the rest");
}

/// Bytes that pass for frames, in a datagram whose check sum is right.
#[test]
fn a_datagram_full_of_nonsense_appends_nothing() {
    let (primary, mut standby) = half_way();
    let previous = primary.log.position_at(3).unwrap();
    for byte in [0, 1, 0xFF] {
        let outcome = standby.on(&primary.append_from(previous, &[byte; 256]));
        assert!(matches!(outcome, AppendOutcome::Damaged(_)), "{outcome:?}");
    }
    let cut_off = &primary.log.frames[2][..64];
    assert!(matches!(standby.on(&primary.append_from(previous, cut_off)), AppendOutcome::Damaged(_)));
    assert_eq!((standby.journal.log.next(), standby.journal.cuts.len()), (5, 0));
    assert_eq!(standby.inbound.stats().damaged_datagrams, 4);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One changed bit anywhere is found before anything is used.
    #[test]
    fn a_corrupt_datagram_is_no_datagram(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (primary, standby) = half_way();
        let mut ack = [0; 200];
        let chain = standby.journal.log.chain.clone();
        let len = standby.inbound.poll_ack(NOW, &chain, None).unwrap().emit(&mut ack, crc32c::crc32c);
        for mut datagram in [primary.append(1, 7), primary.heartbeat(7), ack[..len].to_vec()] {
            let at = at.index(datagram.len());
            datagram[at] ^= 1 << bit;
            prop_assert!(Datagram::parse(&datagram, crc32c::crc32c).is_err());
        }
    }

    /// Whatever a liar in the primary's place says about positions and frames: the standby's verified history stays, and
    /// nothing is acknowledged that is not in its journal.
    #[test]
    fn no_lie_changes_what_is_verified(
        lies in prop::collection::vec(
            (1u64..9, any::<u64>(), any::<u32>(), 1u64..9, 0usize..4, any::<bool>(), any::<prop::sample::Index>()),
            1..20,
        ),
    ) {
        let (primary, mut standby) = half_way();
        let verified = standby.journal.log.prefix(to(3)).to_vec();
        let other = Log::of(&[1, 4, 4, 9, 9, 9, 9, 9, 9]);
        for (next, epoch, crc, end, count, flip, at) in lies {
            let end = to(end.max(next + count as u64));
            let mut frames = other.bytes(next, (next + count as u64).min(10));
            if flip && !frames.is_empty() {
                let at = at.index(frames.len());
                frames[at] ^= 1;
            }
            let head = Head { end, committed: end, published: end.next, everywhere: end.next };
            let previous = if flip { Position { at: to(next), epoch, crc } } else { other.position_at(next).unwrap() };
            let origin = origin(member(0), EPOCH);
            let frames = &frames[..if previous.at < end { frames.len() } else { 0 }];
            standby.on(&bytes_of(&Append { origin, previous, head, is_deaf: false, frames }));
            prop_assert_eq!(standby.journal.log.prefix(to(3)), &verified[..]);
            if let Some(ack) = standby.ack(NOW, None) {
                prop_assert!(ack.received <= standby.journal.log.reach());
                prop_assert_eq!(ack.tail, Position::from(&standby.journal.log.chain));
                prop_assert!(standby.inbound.committed() <= ack.received);
            }
        }
        prop_assert!(primary.log.next() == 7);
    }
}
