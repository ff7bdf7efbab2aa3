//! A node that was away for longer than any journal reaches back: it gets an image, and is as good as the others then.

mod common;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use common::*;
use serde_json::Value;

const MESSAGES: u64 = 120_000;

/// Three nodes, a publisher and a subscriber.
struct Cluster {
    site: Site,
    /// Of each node: stream, rewind server, snapshot server.
    nodes: Vec<[SocketAddrV4; 3]>,
}

impl Cluster {
    fn new() -> Cluster {
        let local = |port: &u16| SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port);
        let ports = free_ports(9);
        let nodes = ports.chunks(3).map(|ports| std::array::from_fn(|at| local(&ports[at]))).collect();
        Cluster { site: Site::new(1), nodes }
    }

    fn common(&self) -> String {
        let rewind: Vec<_> = self.nodes.iter().map(|[_, rewind, _]| format!("\"{rewind}\"")).collect();
        let books: Vec<_> = self.nodes.iter().map(|[.., books]| format!("\"{books}\"")).collect();
        let mut text = format!(
            "[feed]\nsession = \"{FEED}\"\nrewind_servers = [{}]\n\
             [feed.snapshot]\nservers = [{}]\nusername = \"demo\"\npassword = \"demo\"\n",
            rewind.join(", "),
            books.join(", ")
        );
        lines(&mut text, "feed", &self.site.feed);
        text.push_str(
            "[send]\nend_of_session = \"60s\"\n[memory]\nring_bytes = \"8MiB\"\n[stat]\ndir = \"\"\n\
             [runtime]\nspins = 10\nyields = 2\npark_max = \"200us\"\n",
        );
        text
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.site.path(name);
        std::fs::write(&path, text).expect("writing a configuration");
        path
    }

    fn journal(&self, at: usize) -> PathBuf {
        self.site.path(&format!("journal{at}"))
    }

    fn config(&self, at: usize) -> PathBuf {
        let mut text = self.common();
        let source = &self.site.sources[0];
        let [_, rewind, snapshot] = self.nodes[at];
        let _ = writeln!(
            text,
            "[sequencer]\nname = \"n{at}\"\nmin_in_sync = 1\n[[sequencer.source]]\nname = \"pub0\"\n\
             session = \"{}\"\nrewind_servers = [\"{}\"]",
            source.session, source.rewind
        );
        lines(&mut text, "sequencer.source", &source.lines);
        let _ = writeln!(
            text,
            "[journal]\ndir = \"{}\"\nsegment_bytes = \"1MiB\"\nretain_bytes = \"2MiB\"\ncatch_up_bytes = \"2MiB\"\n\
             [rewind]\nbind = \"{rewind}\"\nallow = [\"127.0.0.0/8\"]\n\
             [snapshot]\nbind = \"{snapshot}\"\nusername = \"demo\"\npassword = \"demo\"\n\
             [cluster]\noperators = [\"127.0.0.1\"]\n[cluster.coordinator]\nkind = \"file\"\ndir = \"{}\"",
            self.journal(at).display(),
            self.site.path("coordinator").display()
        );
        for (at, [stream, ..]) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "[[cluster.node]]\nname = \"n{at}\"\nreplication = \"{stream}\"");
        }
        self.write(&format!("node{at}.toml"), &text)
    }

    fn node(&self, at: usize) -> Proc {
        let node = Seqcast::new("sequence").arg("--json").arg("--config").arg(self.config(at));
        node.arg("--end-with-sources").arg("--expected-orders=20000").start()
    }

    fn status(&self) -> Value {
        Seqcast::new("status").arg("--json").arg("--config").arg(self.config(0)).start().done().json()
    }

    fn primary(&self) -> Option<usize> {
        (0..3).find(|at| self.status()["primary"] == format!("n{at}"))
    }

    /// Whether `node` is in the set, as the primary says.
    fn is_in_sync(&self, node: usize) -> bool {
        let status = self.status();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let primary = nodes.iter().find(|of| of["name"] == status["primary"]);
        let set = primary.map(|primary| primary["status"]["stored"].clone());
        set.is_some_and(|set| set.as_array().is_some_and(|set| set.contains(&format!("n{node}").into())))
    }
}

fn lines(text: &mut String, of: &str, lines: &[SocketAddrV4]) {
    for line in lines {
        let _ = writeln!(text, "[[{of}.line]]\ngroup = \"{line}\"\ninterface = \"127.0.0.1\"");
    }
}

/// Where the journal begins, and what `journal verify` says of it.
fn verified(journal: &PathBuf) -> (u64, Value) {
    let report = Seqcast::new("journal").arg("verify").arg(journal).arg("--json").start().good().json();
    assert_eq!(report["whole"], true, "{report}");
    (report["first"].as_u64().expect("a number"), report)
}

#[test]
fn a_node_that_joins_by_an_image_takes_over_and_no_number_is_lost_or_repeated() {
    let cluster = Cluster::new();
    let site = &cluster.site;
    let day = site.day(MESSAGES);
    let record = site.path("record.itch");
    let subscriber = cluster.write("subscriber.toml", &cluster.common());
    let subscriber = Seqcast::new("subscribe").arg("--json").arg("--config").arg(subscriber);
    let subscriber = subscriber.arg("--record").arg(&record).arg("--expected-orders=20000").start();
    let mut nodes = [Some(cluster.node(0)), Some(cluster.node(1)), None];
    wait_for("two nodes in sync", || cluster.is_in_sync(0) && cluster.is_in_sync(1));
    let publisher = site.publish(0, &day).arg("--rate=10000").start();

    // By now no journal reaches back to the beginning.
    wait_for_bytes(&record, size(&day) * 3 / 10);
    let third = cluster.node(2);
    third.wait_until_said("the journal made room for an image");
    wait_for("the third node in sync", || cluster.is_in_sync(2));
    third.wait_until_said("goes on with books");
    nodes[2] = Some(third);

    // Whoever leads dies, until the third is the last.
    while nodes[..2].iter().any(Option::is_some) {
        wait_for("a primary", || cluster.primary().is_some());
        let leads = cluster.primary().unwrap_or(0);
        let at = if leads < 2 { leads } else { nodes.iter().position(Option::is_some).unwrap_or(0) };
        if let Some(node) = nodes[at].take() {
            let before = size(&record);
            node.kill();
            wait_for_bytes(&record, (before + size(&day) / 20).min(size(&day)));
        }
    }
    let summary = subscriber.good().json();
    let publisher = publisher.terminate();
    assert_eq!(publisher.code, Some(0), "{}", publisher.err);
    let third = nodes[2].take().expect("it lives").terminate();
    assert_eq!(third.code, Some(0), "{}", third.err);

    assert_same(&messages(&record), &messages(&day), "recording");
    assert_eq!((summary["messages"].as_u64(), summary["lost_messages"].as_u64()), (Some(MESSAGES), Some(0)));
    assert_eq!(summary["conflicts"], 0);
    assert_eq!(digest_in(&summary), digest(&day));
    assert_eq!(third.counter("seqcast_snapshot_applied"), MESSAGES + 1, "its books went on");
    assert!(third.counter("seqcast_replica_takeovers_total") > 0);
    let (oldest, report) = verified(&cluster.journal(2));
    assert!(oldest > MESSAGES * 2 / 10, "it begins at {oldest}");
    assert_eq!(report["sources"][0]["next"], MESSAGES + 1, "{report}");
}
