//! Clusters of whole processes, fed with what they should never get: records that are none, names that are taken,
//! configurations that contradict one another, coordinators from an old backup, forged datagrams, messages too long.
//! Nothing is lost, nothing is ordered twice, and people are told what to do.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::nodes::{NODES, Nodes};
use common::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seqcast_wire::repl::{Ack, Datagram, Origin, Position, Reach, Refuse};
use seqcast_wire::{SeqNo, Session};

const MESSAGES: u64 = 30_000;

/// A cluster in which a day is being published, slowly enough that there is time for mischief.
struct Cluster<'a> {
    nodes: Nodes<'a>,
    processes: Vec<Option<Proc>>,
    day: PathBuf,
    record: PathBuf,
    subscriber: Proc,
    publisher: Proc,
    primary: usize,
}

impl<'a> Cluster<'a> {
    fn start(site: &'a Site) -> Cluster<'a> {
        let nodes = Nodes::new(site);
        let (day, record) = (site.day(MESSAGES), site.path("record.itch"));
        let subscriber = nodes.subscribe(&record).start();
        let processes = (0..NODES).map(|at| Some(nodes.start(at))).collect();
        let primary = nodes.primary(None, NODES);
        let publisher = site.publish(0, &day).arg("--rate=3000").start();
        let cluster = Cluster { nodes, processes, day, record, subscriber, publisher, primary };
        cluster.wait_for_share(1, 8);
        cluster
    }

    /// Waits until so many eighths of the day are recorded.
    fn wait_for_share(&self, share: u64, of: u64) {
        wait_for_bytes(&self.record, size(&self.day) * share / of);
    }

    /// Waits until the recording has grown, from now on.
    fn wait_for_more(&self) {
        wait_for_bytes(&self.record, size(&self.record) + 1_000);
    }

    fn standby(&self) -> usize {
        (0..NODES).find(|&at| at != self.primary).expect("there are several")
    }

    fn process(&self, at: usize) -> &Proc {
        self.processes[at].as_ref().expect("it runs")
    }

    fn take(&mut self, at: usize) -> Proc {
        self.processes[at].take().expect("it runs")
    }

    fn coordinator(&self) -> PathBuf {
        self.nodes.site.path("coordinator")
    }

    /// Sees to it that all came through, and gives the ends of the nodes that still ran.
    fn finish(self) -> BTreeMap<usize, Done> {
        let Cluster { processes, day, record, subscriber, publisher, .. } = self;
        let summary = subscriber.good().json();
        assert_eq!(publisher.terminate().code, Some(0));
        assert_same(&messages(&record), &messages(&day), "recording");
        assert_eq!((&summary["lost_messages"], &summary["conflicts"]), (&0.into(), &0.into()));
        assert_eq!(digest_in(&summary), digest(&day));
        let running = processes.into_iter().enumerate().filter_map(|(at, process)| Some((at, process?)));
        let done: BTreeMap<_, _> = running.map(|(at, process)| (at, process.terminate())).collect();
        for (at, done) in &done {
            assert_eq!(done.code, Some(0), "node {at}: {}", done.err);
            assert!(!done.err.contains("panicked"), "node {at}: {}", done.err);
        }
        done
    }
}

/// Fails unless `done` ended with `code`, saying all of `told`.
#[track_caller]
fn refused(done: &Done, code: i32, told: &[&str]) {
    assert_eq!(done.code, Some(code), "{}{}", done.err, done.out);
    assert!(!done.err.contains("panicked"), "{}", done.err);
    for told in told {
        assert!(done.err.contains(told), "{told:?} is missing in: {}", done.err);
    }
}

/// The newest record in a coordinator's directory, and its revision.
fn newest(dir: &Path) -> (PathBuf, u64) {
    let names = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let revisions = names.filter_map(|name| name.strip_prefix("record.")?.parse().ok());
    let revision = revisions.max().expect("a record");
    (record_at(dir, revision), revision)
}

fn record_at(dir: &Path, revision: u64) -> PathBuf {
    dir.join(format!("record.{revision:020}"))
}

#[test]
fn a_record_that_cannot_be_read_stops_changes_and_nothing_else() {
    let site = Site::new(1);
    let mut cluster = Cluster::start(&site);
    let dir = cluster.coordinator();
    let (good, revision) = newest(&dir);
    // What somebody's editor made of it.
    let text = fs::read_to_string(good).expect("a record");
    let bad = record_at(&dir, revision + 1);
    fs::write(&bad, text.replace("epoch = ", "epoch = 9")).expect("writing a record");

    let primary = cluster.primary;
    let told = ["no record to act on", "it was damaged, or changed by hand", "stop all nodes"];
    told.iter().for_each(|told| cluster.process(primary).wait_until_said(told));
    assert!(cluster.process(primary).said().contains(&bad.display().to_string()));
    cluster.wait_for_more();
    // A death now: nobody can take over by a record that is none. Nothing is published, and nothing is lost.
    cluster.take(primary).kill();
    let standby = cluster.standby();
    cluster.process(standby).wait_until_said("no record to act on");
    // Neither may a process that begins now.
    let late = cluster.nodes.start(primary);
    late.wait_until_said("no record to act on");
    assert_eq!(cluster.nodes.status()["primary"], serde_json::Value::Null);
    cluster.processes[primary] = Some(late);

    fs::remove_file(bad).expect("removing the record");
    cluster.primary = cluster.nodes.primary(None, NODES);
    cluster.finish();
}

#[test]
fn two_processes_of_one_name_are_one_too_many() {
    let site = Site::new(1);
    let cluster = Cluster::start(&site);
    let standby = cluster.standby();
    let name = format!("node {standby} already");
    let ports = free_ports(2);
    // Another journal, other ports: a copy of the service on the same machine.
    let twin = |journal: &str| {
        cluster
            .nodes
            .node(standby)
            .set("journal.dir", &format!("{:?}", site.path(journal).display().to_string()))
            .set("rewind.bind", &format!("127.0.0.1:{}", ports[0]))
            .set("snapshot.bind", &format!("127.0.0.1:{}", ports[1]))
    };
    refused(&twin("twin").start().done(), 3, &[&name, "sequencer.name"]);
    refused(&twin(&format!("journal{standby}")).start().done(), 3, &[&name, "sequencer.name"]);
    // With a coordinator of its own it gets as far as the address that the other one has.
    let other = cluster.nodes.cluster().replace("/coordinator'", "/elsewhere'");
    let done = twin("twin").set("cluster", &other).start().done();
    refused(&done, 3, &[&cluster.nodes.replication[standby].to_string(), "in use"]);
    cluster.wait_for_more();
    cluster.finish();
}

#[test]
fn a_node_that_knows_other_nodes_stays_outside_and_says_why() {
    let site = Site::new(1);
    let mut cluster = Cluster::start(&site);
    let standby = cluster.standby();
    cluster.take(standby).kill();
    cluster.nodes.primary(None, NODES - 1);
    let others: Vec<usize> = (0..NODES).filter(|&at| at != standby).collect();
    let [first, second] = others[..] else { unreachable!("three nodes") };
    let at = |node: usize| cluster.nodes.replication[node].to_string();
    // The others' addresses, each under the other's name.
    let swapped = cluster.nodes.cluster();
    let swapped = swapped.replace(&at(first), "X").replace(&at(second), &at(first)).replace('X', &at(second));
    let confused = cluster.nodes.node(standby).set("cluster", &swapped).start();
    confused.wait_until_said("node");
    wait_for("a complaint", || {
        let said = confused.said();
        ["of that number", "expected", "is node", "says it is"].iter().any(|told| said.contains(told))
    });
    cluster.wait_for_more();
    let status = cluster.nodes.status();
    let stored = &status["nodes"][cluster.primary]["status"]["stored"];
    assert_eq!(stored.as_array().map(Vec::len), Some(NODES - 1), "{status}");
    confused.terminate();
    // A list that does not name it at all.
    let mine = format!("n{standby}");
    let done = cluster.nodes.node(standby).set("sequencer.name", "n9").start().done();
    refused(&done, 2, &["sequencer.name", "n9", &mine]);

    cluster.processes[standby] = Some(cluster.nodes.start(standby));
    cluster.nodes.primary(None, NODES);
    cluster.finish();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copying");
    }
}

#[test]
fn a_coordinator_from_an_old_backup_is_not_believed_by_those_who_know_better() {
    let site = Site::new(1);
    let mut cluster = Cluster::start(&site);
    let (dir, backup, newer) = (cluster.coordinator(), site.path("backup"), site.path("newer"));
    copy(&dir, &backup);
    let first = cluster.primary;
    cluster.take(first).kill();
    cluster.primary = cluster.nodes.primary(Some(first), NODES - 1);
    cluster.wait_for_more();
    // The whole set ends, and somebody restores what the record was before the takeover.
    let running: Vec<usize> = (0..NODES).filter(|&at| at != first).collect();
    running.iter().for_each(|&at| cluster.take(at).kill());
    fs::rename(&dir, &newer).expect("renaming");
    fs::rename(&backup, &dir).expect("renaming");
    for at in 0..NODES {
        cluster.processes[at] = Some(cluster.nodes.start(at));
    }
    // Node `first` never heard of the takeover and goes on from what it finds. Those who took part in it know better:
    // they refuse the old record, or stop at a primary that lacks what is committed, whichever they see first.
    let refusals = ["restored from an old backup", "though it was verified", "has another history of epoch"];
    for &at in &running {
        let process = cluster.process(at);
        wait_for("a refusal", || refusals.iter().any(|told| process.said().contains(told)));
    }
    for at in 0..NODES {
        let done = cluster.take(at).terminate();
        assert!(matches!(done.code, Some(0 | 3)), "{}", done.err);
    }
    fs::remove_dir_all(&dir).expect("removing");
    fs::rename(&newer, &dir).expect("renaming");
    for at in 0..NODES {
        cluster.processes[at] = Some(cluster.nodes.start(at));
    }
    cluster.primary = cluster.nodes.primary(None, NODES);
    cluster.finish();
}

#[test]
fn a_journal_or_a_record_of_another_session_is_not_this_ones() {
    let site = Site::new(1);
    let mut cluster = Cluster::start(&site);
    let standby = cluster.standby();
    cluster.take(standby).kill();
    cluster.nodes.primary(None, NODES - 1);
    let other = || cluster.nodes.node(standby).set("feed.session", "OTHER00001");
    refused(&other().start().done(), 3, &[FEED, "OTHER00001", "directory of its own"]);
    // Another journal, but the same coordinator: it stays outside, and says why.
    let journal = format!("{:?}", site.path("other").display().to_string());
    let stranger = other().set("journal.dir", &journal).start();
    stranger.wait_until_said(&format!("it is of session {FEED}, not OTHER00001"));
    cluster.wait_for_more();
    stranger.terminate();
    cluster.processes[standby] = Some(cluster.nodes.start(standby));
    cluster.nodes.primary(None, NODES);
    cluster.finish();
}

/// Datagrams of the stream that somebody forged in the name of `node`.
fn forged(rng: &mut impl Rng, session: Session, node: u16) -> Vec<u8> {
    let epoch = match rng.random_range(0..4) {
        0 => rng.random_range(0..3),
        1 => rng.random_range(2..40),
        2 => u64::MAX,
        _ => rng.random(),
    };
    let session = if rng.random_range(0..4) == 0 { Session::from_wire(*b"STRANGER01") } else { session };
    let node = [node, 0, 1, 2, 77, u16::MAX][rng.random_range(0..6)];
    let origin = Origin { session, epoch, node, incarnation: rng.random() };
    let reach = Reach::to(SeqNo::new(rng.random_range(1..u64::MAX)).expect("not 0"));
    let mut buffer = vec![0; 200];
    let len = match rng.random_range(0..2) {
        0 => Refuse { origin }.emit(&mut buffer, crc32c::crc32c),
        _ => {
            let tail = Position { at: reach, epoch: 1, crc: rng.random() };
            let (verified, received) = (Reach::NOTHING, Reach::NOTHING);
            let ack = Ack {
                origin,
                tail,
                verified,
                received,
                wanted: Some(reach),
                committed: reach,
                is_deaf: false,
                needs_image: false,
                wish: None,
            };
            ack.emit(&mut buffer, crc32c::crc32c)
        }
    };
    buffer.truncate(len);
    buffer
}

#[test]
fn forged_and_broken_datagrams_of_the_stream_change_nothing() {
    let site = Site::new(1);
    let mut cluster = Cluster::start(&site);
    let standby = cluster.standby();
    cluster.take(standby).kill();
    cluster.nodes.primary(None, NODES - 1);
    let session: Session = FEED.parse().expect("a session");
    let others: Vec<SocketAddrV4> =
        (0..NODES).filter(|&at| at != standby).map(|at| cluster.nodes.replication[at]).collect();
    // In the place of the node that died, where the others listen; and from where nobody is expected.
    // The kernel takes a moment to give the dead process's address back.
    let mut bound = None;
    wait_for("the dead node's address", || {
        bound = UdpSocket::bind(cluster.nodes.replication[standby]).ok();
        bound.is_some()
    });
    let insider = bound.expect("it was waited for");
    insider.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    for round in 0..400 {
        if let Ok((len, _)) = insider.recv_from(&mut buffer) {
            heard.push(buffer[..len].to_vec());
        }
        let mut noise = vec![0; rng.random_range(0..1_400)];
        rng.fill_bytes(&mut noise);
        let mut said = vec![noise, forged(&mut rng, session, standby as u16)];
        if !heard.is_empty() {
            // What the primary said, once more and later; cut off; with a bit turned over.
            let real = heard[rng.random_range(0..heard.len())].clone();
            let mut flipped = real.clone();
            let at = rng.random_range(0..flipped.len());
            flipped[at] ^= 1 << rng.random_range(0..8);
            said.extend([real[..rng.random_range(0..real.len())].to_vec(), flipped, real]);
        }
        for bytes in said {
            for to in &others {
                // A full buffer is a loss like any other.
                let _ = insider.send_to(&bytes, to);
                let _ = stranger.send_to(&bytes, to);
            }
        }
        if round % 100 == 0 {
            let to = others[round / 100 % others.len()];
            let mut client = TcpStream::connect(to).expect("the control port");
            let _ = client.write_all(b"SEQCAST 1 STRANGER01 77 zzz\nGET / HTTP/1.0\r\n\r\n\xFF\xFF");
        }
    }
    let real = heard.iter().filter(|bytes| Datagram::parse(bytes, crc32c::crc32c).is_ok()).count();
    assert!(real > 0, "the primary looks for the node that died");
    drop((insider, stranger));
    cluster.wait_for_more();
    cluster.processes[standby] = Some(cluster.nodes.start(standby));
    cluster.primary = cluster.nodes.primary(None, NODES);
    let done = cluster.finish();
    let of_all = |label: &str| done.values().map(|done| done.counter(label)).sum::<u64>();
    assert!(of_all("seqcast_replica_strange_datagrams_total") > 1_000, "strange datagrams are counted");
}

/// Binary file of `messages`.
fn binary(path: &Path, messages: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
    }
    bytes.extend([0, 0]);
    fs::write(path, bytes).expect("writing messages");
}

#[test]
fn a_message_longer_than_the_stream_carries_is_not_numbered() {
    const LONGEST: usize = 65_344;
    let site = Site::new(1);
    let nodes = Nodes::new(&site);
    let message = |len: usize, mark: u8| [vec![b'S'], vec![mark; len - 1]].concat();
    let said = [message(20, 1), message(LONGEST, 2), message(12, 3), message(LONGEST + 1, 4), message(12, 5)];
    let file = site.path("long.itch");
    binary(&file, &said);
    let large =
        |seqcast: Seqcast| seqcast.set("send.datagram_bytes", "65507").set("io.max_datagram_bytes", "65507");
    let record = site.path("record.itch");
    let subscriber = large(nodes.subscribe(&record)).start();
    let processes: Vec<Proc> = (0..NODES).map(|at| large(nodes.node(at)).start()).collect();
    let primary = nodes.primary(None, NODES);
    let publisher = large(site.publish(0, &file)).start();

    processes[primary].wait_until_said("source pub0 stands still at its message 4: it has 65345 bytes");
    assert!(processes[primary].said().contains("65344 at most; raise send.datagram_bytes"));
    wait_for_bytes(&record, said[..3].iter().map(|message| message.len() as u64 + 2).sum());
    assert_eq!(nodes.primary(None, NODES), primary, "all of them have all of it");
    subscriber.terminate();
    assert_same(&messages(&record), &said[..3], "recording");
    publisher.terminate();
    for (at, process) in processes.into_iter().enumerate() {
        let done = process.terminate();
        assert_eq!(done.counter("seqcast_source_too_long_messages_total"), u64::from(at == primary));
    }
}
