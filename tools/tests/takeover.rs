//! Stock subscribers, who know lines, rewind servers and snapshot servers and nothing of a cluster, while primaries are
//! killed: nothing is lost, repeated or swapped, and late joiners get their books from whoever is left.

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use common::*;
use serde_json::Value;

const MESSAGES: u64 = 100_000;
const NODES: usize = 3;

/// A sequencer's nodes at a site.
struct Nodes<'a> {
    site: &'a Site,
    replication: Vec<SocketAddrV4>,
    rewind: Vec<SocketAddrV4>,
    snapshot: Vec<SocketAddrV4>,
}

fn listed(addresses: &[SocketAddrV4]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("[{}]", quoted.join(", "))
}

impl<'a> Nodes<'a> {
    fn new(site: &'a Site) -> Nodes<'a> {
        let ports = free_ports(3 * NODES);
        let at = |from: usize| {
            let ports = ports[from * NODES..][..NODES].iter();
            ports.map(|&port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).collect()
        };
        Nodes { site, replication: at(0), rewind: at(1), snapshot: at(2) }
    }

    fn cluster(&self) -> String {
        let node =
            |(at, address): (usize, &SocketAddrV4)| format!("{{name='n{at}', replication='{address}'}}");
        let nodes: Vec<_> = self.replication.iter().enumerate().map(node).collect();
        let dir = self.site.path("coordinator");
        // Many processes share few cores here: only the end of a connection is a death.
        format!(
            "{{suspect_after='20s', max_suspect_after='60s', lag_timeout='20s', \
             coordinator={{kind='file', dir='{}'}}, node=[{}]}}",
            dir.display(),
            nodes.join(", ")
        )
    }

    fn start(&self, at: usize) -> Proc {
        let journal = self.site.path(&format!("journal{at}"));
        self.site
            .sequence()
            .set("sequencer.name", &format!("n{at}"))
            .set("sequencer.min_in_sync", "2")
            .set("journal.dir", &format!("{:?}", journal.display().to_string()))
            .set("rewind.bind", &self.rewind[at].to_string())
            .set("snapshot.bind", &self.snapshot[at].to_string())
            .set("cluster", &self.cluster())
            .set("runtime", "{spins=10, yields=2, park_max='200us'}")
            .start()
    }

    fn subscribe(&self, record: &Path) -> Seqcast {
        self.site
            .subscribe(record)
            .set("feed.rewind_servers", &listed(&self.rewind))
            .set("runtime", "{spins=10, yields=2, park_max='200us'}")
    }

    /// Its books from a snapshot server.
    fn join(&self, record: &Path) -> Proc {
        let servers = format!("{{servers={}, username='demo', password='demo'}}", listed(&self.snapshot));
        self.subscribe(record).set("feed.snapshot", &servers).set("subscriber.start", "snapshot").start()
    }

    fn status(&self) -> Value {
        let path = self.site.path("status.toml");
        std::fs::write(&path, "").expect("writing a configuration");
        let status = Seqcast::new("status").arg("--json").arg("--config").arg(path);
        status.set("cluster", &self.cluster()).start().done().json()
    }

    /// Waits until a node other than `not` leads, with `members` nodes in its set, and gives it.
    fn primary(&self, not: Option<usize>, members: usize) -> usize {
        let mut found = None;
        wait_for("a primary with its standbys", || {
            let status = self.status();
            let place = |name: &str| name.strip_prefix('n').and_then(|at| at.parse().ok());
            let primary: Option<usize> = status["primary"].as_str().and_then(place);
            let report = primary.map(|at| &status["nodes"][at]["status"]);
            let stored = report.and_then(|report| report["stored"].as_array()).map_or(0, Vec::len);
            found = primary.filter(|&at| Some(at) != not && stored == members);
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

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
