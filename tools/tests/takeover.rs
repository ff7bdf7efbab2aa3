//! Stock subscribers, who know lines, rewind servers and snapshot servers and nothing of a cluster, while primaries are
//! killed: nothing is lost, repeated or swapped, and late joiners get their books from whoever is left.

mod common;

use common::nodes::{NODES, Nodes};
use common::*;

const MESSAGES: u64 = 100_000;

#[test]
fn stock_subscribers_read_on_and_join_late_while_primaries_are_killed() {
    let site = Site::new(1);
    let nodes = Nodes::new(&site);
    let day = site.day(MESSAGES);
    let record = site.path("record.itch");
    let subscriber = nodes.subscribe(&record).args(["--loss=0.01", "--fault-seed=5"]).start();
    let mut processes: Vec<Option<Proc>> = (0..NODES).map(|at| Some(nodes.start(at))).collect();
    let mut kill = |at: usize| processes[at].take().expect("it is running").kill();
    let first = nodes.primary(None, NODES);
    let publisher = site.publish(0, &day).arg("--rate=10000").start();

    wait_for_bytes(&record, size(&day) / 5);
    kill(first);
    let second = nodes.primary(Some(first), NODES - 1);
    let joined = [site.path("late1.itch"), site.path("late2.itch")].map(|record| {
        wait_for_bytes(&site.path("record.itch"), 2 * size(&day) / 5);
        nodes.join(&record)
    });
    joined.iter().for_each(|late| late.wait_until_said("snapshot of session"));
    processes[first] = Some(nodes.start(first));
    nodes.primary(Some(first), NODES);
    let mut kill = |at: usize| processes[at].take().expect("it is running").kill();
    kill(second);
    nodes.primary(Some(second), NODES - 1);
    let last = nodes.join(&site.path("late3.itch"));

    let summary = subscriber.good().json();
    assert_eq!(publisher.terminate().code, Some(0));
    assert_same(&messages(&record), &messages(&day), "recording");
    assert_eq!((&summary["messages"], &summary["lost_messages"]), (&MESSAGES.into(), &0.into()));
    assert_eq!((&summary["session"], &summary["conflicts"]), (&FEED.into(), &0.into()));
    let expected = digest(&day);
    assert_eq!(digest_in(&summary), expected);
    for late in joined.into_iter().chain([last]) {
        let summary = late.good().json();
        assert_eq!(digest_in(&summary), expected, "joined late: {summary}");
        assert_eq!(summary["lost_messages"], 0);
    }
    for process in processes.into_iter().flatten() {
        assert_eq!(process.terminate().code, Some(0));
    }
}
