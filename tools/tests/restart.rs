//! Processes killed without warning and started again, under load. Nothing is lost, repeated or swapped.

mod common;

use common::*;

const MESSAGES: u64 = 120_000;
const KILLS: u64 = 8;

/// The journal, checked by its own tool.
fn assert_journal_whole(site: &Site, messages: u64) {
    let report =
        Seqcast::new("journal").arg("verify").arg(site.journal()).arg("--json").start().good().json();
    assert_eq!(report["whole"], true, "{report}");
    assert_eq!(report["session"], FEED);
    assert_eq!(report["ended"], true);
    let next_of: Vec<_> =
        report["sources"].as_array().expect("sources").iter().map(|source| &source["next"]).collect();
    let sum: u64 = next_of.iter().map(|next| next.as_u64().expect("a number") - 1).sum();
    assert_eq!(sum, messages, "{report}");
}

#[test]
fn a_sequencer_killed_again_and_again_loses_nothing() {
    let site = Site::new(1);
    let day = site.day(MESSAGES);
    let record = site.path("record.itch");
    let subscriber = site.subscribe(&record).start();
    let mut sequencer = site.sequence().start();
    let publisher = site.publish(0, &day).arg("--rate=20000").start();
    for kill in 1..=KILLS {
        wait_for_bytes(&record, kill * size(&day) / (KILLS + 1));
        sequencer.wait_until_said("sequencing session");
        sequencer.kill();
        sequencer = site.sequence().start();
    }
    let summary = subscriber.good().json();
    let publisher = publisher.terminate();
    assert_eq!(publisher.code, Some(0), "{}", publisher.err);
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);

    assert_same(&messages(&record), &messages(&day), "recording");
    assert_eq!(summary["session"], FEED, "the same session throughout");
    assert_eq!(summary["messages"], MESSAGES);
    assert_eq!(summary["lost_messages"], 0);
    assert_eq!(summary["conflicts"], 0, "nothing was published that was not kept");
    assert_eq!(digest_in(&summary), digest(&day));
    assert_journal_whole(&site, MESSAGES);
    assert_eq!(sequencer.counter("seqcast_sequencer_epoch"), KILLS + 1, "an epoch for each start");
}

#[test]
fn a_publisher_killed_and_started_from_its_beginning_is_sequenced_once() {
    let site = Site::new(2);
    let day = site.day(60_000);
    let record = site.path("record.itch");
    let subscriber = site.subscribe(&record).start();
    let sequencer = site.sequence().start();
    let publish =
        |at: usize| site.publish(at, &day).arg("--share").arg(format!("{at}/2")).arg("--rate=10000").start();
    let mut victim = publish(0);
    let other = publish(1);
    for kill in 1..=3 {
        wait_for_bytes(&record, kill * size(&day) / 5);
        victim.kill();
        victim = publish(0);
    }
    let summary = subscriber.good().json();
    let sequencer = sequencer.terminate();
    for publisher in [victim, other] {
        let done = publisher.terminate();
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
    let (input, recorded) = (messages(&day), messages(&record));
    for at in 0..2 {
        assert_same(&share_of(&recorded, at, 2), &share_of(&input, at, 2), &format!("publisher {at}"));
    }
    assert_eq!(summary["messages"], 60_000);
    assert_eq!(summary["lost_messages"], 0);
    assert_eq!(digest_in(&summary), digest(&day));
    assert_eq!(sequencer.counter("seqcast_source_conflicts_total"), 0);
    assert_journal_whole(&site, 60_000);
}
