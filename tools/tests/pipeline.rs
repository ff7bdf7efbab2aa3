//! Two publishers, a sequencer and two subscribers, all of them losing, doubling and swapping datagrams.

mod common;

use common::*;

const FAULTS: [&str; 3] = ["--loss=0.01", "--duplicate=0.001", "--reorder=0.001"];

/// What a subscriber that has everything must say.
fn assert_whole(summary: &serde_json::Value, expected_digest: &str) {
    assert_eq!(digest_in(summary), expected_digest, "{summary}");
    assert_eq!(summary["session"], FEED);
    assert_eq!(summary["ended"], true);
    assert_eq!(summary["books"]["whole"], true);
    for never in ["lost_messages", "conflicts", "skipped_bytes"] {
        assert_eq!(summary[never], 0, "{never} in {summary}");
    }
    assert_eq!(summary["books"]["symptoms"], 0);
}

#[test]
fn every_replica_is_equal_and_every_message_comes_once_and_in_order() {
    let site = Site::new(2);
    let day = site.day(60_000);
    let (early_file, late_file) = (site.path("early.itch"), site.path("late.itch"));

    let sequencer = site.sequence().args(FAULTS).arg("--fault-seed=11").start();
    let early = site.subscribe(&early_file).arg("--start=first").args(FAULTS).arg("--fault-seed=12").start();
    let publish =
        |at: usize| site.publish(at, &day).arg("--share").arg(format!("{at}/2")).arg("--rate=10000").start();
    let publishers = [publish(0), publish(1)];
    wait_for_bytes(&early_file, size(&day) / 3);
    let late = site.subscribe(&late_file).arg("--start=snapshot").args(FAULTS).arg("--fault-seed=13").start();

    let early = early.good();
    let late = late.good();
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    for publisher in publishers {
        assert_eq!(publisher.terminate().code, Some(0));
    }

    let digest = digest(&day);
    assert_whole(&early.json(), &digest);
    assert_whole(&late.json(), &digest);
    assert_eq!(early.json()["snapshots"], 0);
    assert_eq!(late.json()["snapshots"], 1);
    assert_eq!(early.json()["messages"], 60_000);

    let input = messages(&day);
    let recorded = messages(&early_file);
    for at in 0..2 {
        assert_same(&share_of(&recorded, at, 2), &share_of(&input, at, 2), &format!("publisher {at}"));
    }
    // A late joiner has everything after its snapshot, as the other has it.
    let late_recorded = messages(&late_file);
    let first = recorded.len() - late_recorded.len();
    assert!(first > 0, "the late joiner came after the first message");
    assert_same(&late_recorded, &recorded[first..], "late joiner");

    // The faults were real: both receive paths had holes to fill.
    for source in ["pub0", "pub1"] {
        let holes = sequencer.counter_of("seqcast_source_line_holes_total", &format!("node=\"{source}\""));
        assert!(holes > 0, "{source}");
    }
    assert_eq!(sequencer.counter("seqcast_source_lost_messages_total"), 0);
}
