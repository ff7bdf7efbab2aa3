//! Images: to whom they are given, and who takes them.

use seqcast_engine::frame::Chain;
use seqcast_engine::replica::{AckOutcome, AppendOutcome, Divergence, Reach};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::{Ack, Datagram, Image};

use crate::support::*;

const NOW: Nanos = Nanos::from_secs(1);
const EPOCH: u64 = 9;

/// A primary whose journal begins at 10, and an acknowledgement of a node that has nothing.
fn met() -> (Primary, Ack) {
    let mut primary = Primary::new(&small(), Log::of(&[EPOCH; 20]), EPOCH);
    primary.log.oldest = 10;
    primary.poll(NOW);
    let mut standby = Follower::following(Log::default(), EPOCH, 1);
    let ack = standby.ack(NOW, None).unwrap();
    (primary, ack)
}

fn chain_at(log: &Log, next: u64) -> Chain {
    let mut prefix = Log::default();
    log.frames[..next as usize - 1].iter().for_each(|frame| prefix.append(frame));
    prefix.chain
}

fn image(primary: &mut Primary, now: Nanos, chain: &Chain) -> Option<Vec<u8>> {
    let mut buffer = vec![0xEE; primary.outbound.max_datagram_bytes()];
    let len = primary.outbound.poll_image(now, chain, &mut buffer);
    buffer.truncate(len);
    (len > 0).then_some(buffer)
}

fn read(datagram: &[u8]) -> Image<'_> {
    let Datagram::Image(image) = parse(datagram) else { panic!("an image") };
    image
}

#[test]
fn an_image_is_said_until_the_peer_has_it() {
    let (mut primary, ack) = met();
    let chain = chain_at(&primary.log, 15);
    assert_eq!(image(&mut primary, NOW, &chain), None, "nobody asked");
    assert!(matches!(primary.on_ack(NOW, &ack), AckOutcome::NeedsImage { .. }));
    assert_eq!(primary.outbound.needs_image(), Some(member(1)));
    let first = image(&mut primary, NOW, &chain).unwrap();
    let said = read(&first);
    assert_eq!(
        (said.position.at, said.position.crc, said.replaces),
        (to(15), chain.crc(), member(1).incarnation)
    );
    assert_eq!(said.stamp_ns, chain.stamp_ns());
    let sources: Vec<_> = said.sources.iter().collect();
    for (source, known) in chain.sources().iter().zip(&sources) {
        assert_eq!((source.next, source.session), *known);
    }
    assert_eq!(image(&mut primary, NOW, &chain), None, "a moment ago");
    let later = NOW + small().retransmit_after;
    assert_eq!(image(&mut primary, later, &chain).as_ref(), Some(&first), "that one got lost or damaged");
    // It is there with a journal that begins with it.
    let mut reborn = Log { chain: chain.clone(), ..Log::default() };
    reborn.frames = primary.log.frames[..14].to_vec();
    let mut standby = Follower::following(reborn, EPOCH, 15);
    let ack = standby.ack(later, None).unwrap();
    let verified = AckOutcome::Verified { member: member(1), verified: Reach::NOTHING };
    assert_eq!(
        primary.on_ack(later, &ack),
        verified,
        "it is yet to see that this primary goes on from there"
    );
    assert_eq!((primary.outbound.needs_image(), primary.outbound.stats().images), (None, 2));
    let much_later = later + small().retransmit_after;
    assert_eq!(image(&mut primary, much_later, &chain), None);
    for datagram in primary.poll(much_later) {
        assert_eq!(standby.on(&datagram), AppendOutcome::Accepted);
    }
    assert_eq!(standby.journal.log.frames, primary.log.frames);
}

#[test]
fn only_the_journal_that_is_meant_makes_room_and_only_for_more_than_it_has() {
    let (mut primary, ack) = met();
    primary.on_ack(NOW, &ack);
    let chain = chain_at(&primary.log, 15);
    let datagram = image(&mut primary, NOW, &chain).unwrap();
    let good = read(&datagram);
    let mut standby = Follower::following(Log::of(&[EPOCH; 20]), EPOCH, 14);
    assert_eq!(standby.inbound.on_image(&good), AppendOutcome::Begin);
    let another = Image { replaces: good.replaces + 1, ..good };
    assert_eq!(standby.inbound.on_image(&another), AppendOutcome::Accepted, "it was for the one before");
    let mut ahead = Follower::following(Log::of(&[EPOCH; 20]), EPOCH, 15);
    assert_eq!(ahead.inbound.on_image(&good), AppendOutcome::Accepted, "it has all that");
    assert_eq!((standby.inbound.stats().useless_images, ahead.inbound.stats().useless_images), (1, 1));
    let mut follower = Follower::following(Log::default(), EPOCH, 1);
    let mut of = |origin| follower.inbound.on_image(&Image { origin, ..good });
    assert_eq!(of(origin(member(0), EPOCH - 1)), AppendOutcome::Stale);
    assert!(matches!(of(origin(member(0), EPOCH + 1)), AppendOutcome::HigherEpoch { .. }));
    assert_eq!(of(origin(member(2), EPOCH)), AppendOutcome::NotPrimary(member(2)));
    assert_eq!(of(origin(member(1), EPOCH)), AppendOutcome::Foreign);
    // Nor while nobody is followed.
    let mut nobody = Follower::new(Log::default());
    assert_ne!(nobody.inbound.on_image(&good), AppendOutcome::Begin);
}

#[test]
fn a_journal_that_meets_the_primarys_nowhere_asks_for_an_image() {
    // Its beginning was removed, and what is left is another history's.
    let mut primary = Primary::new(&small(), Log::of(&[EPOCH; 20]), EPOCH);
    let mut standby = Follower::following(Log::of(&[7; 12]), EPOCH, 10);
    let outcome = standby.on(&primary.append(10, 12));
    assert!(matches!(outcome, AppendOutcome::Diverged(Divergence::Verified { next, .. }) if next == seq(10)));
    standby.inbound.ask_for_image();
    let ack = standby.ack(NOW, None).unwrap();
    assert!(ack.needs_image);
    assert_eq!(standby.on(&primary.append(10, 12)), AppendOutcome::Accepted, "and appends nothing");
    assert_eq!(standby.journal.log.next(), 13);
    primary.poll(NOW);
    assert!(matches!(primary.on_ack(NOW, &ack), AckOutcome::NeedsImage { .. }), "though it reaches back");
    let chain = chain_at(&primary.log, 5);
    let datagram = image(&mut primary, NOW, &chain).unwrap();
    assert_eq!(standby.inbound.on_image(&read(&datagram)), AppendOutcome::Begin, "whatever it reaches");
}

#[test]
fn what_retention_removes_before_it_was_sent_ends_the_stream() {
    let mut primary = Primary::new(&small(), Log::of(&[EPOCH; 300]), EPOCH);
    primary.poll(NOW);
    let mut standby = Follower::following(Log::default(), EPOCH, 1);
    let ack = standby.ack(NOW, None).unwrap();
    primary.on_ack(NOW, &ack);
    for datagram in primary.poll(NOW) {
        standby.on(&datagram);
    }
    let got = standby.inbound.verified();
    assert!(got > Reach::NOTHING && got < to(301), "the window is full");
    primary.log.oldest = 290;
    let ack = standby.ack(NOW, None).unwrap();
    primary.on_ack(NOW, &ack);
    primary.poll(NOW);
    assert_eq!(primary.outbound.needs_image(), Some(member(1)));
}
