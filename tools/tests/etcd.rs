//! The coordinator in etcd against the real thing, on the loopback interface: races, killed and stopped members, logins,
//! restored backups.
#![allow(clippy::print_stdout)] // A test that cannot run here says so.

#[path = "etcd/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cluster::Etcd;
#[cfg(feature = "etcd-tls")]
use cluster::Options;
use common::wait_for;
use seqcast::etcd::EtcdCoordinator;
use seqcast_engine::config::{self, Config};
use seqcast_engine::replica::{Answer, Coordinator, Member, Members, NodeId, Record, Request, Versioned};
use seqcast_engine::time::Nanos;
use seqcast_wire::Session;
use serde_json::json;

const KEY: &str = "/seqcast/RACE";
/// For tests that are not about time.
const PATIENT: &str = "request_timeout = \"20s\"";
/// For those that are.
const HASTY: &str = "request_timeout = \"200ms\"";

fn session() -> Session {
    "RACE".parse().unwrap()
}

/// A coordinator at `endpoints`, with `more` lines of configuration.
fn coordinator(endpoints: &[String], more: &str) -> EtcdCoordinator {
    let text = format!(
        "[cluster]\nnode = []\n[cluster.coordinator]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n{more}\n"
    );
    let config = Config::parse(&text).unwrap().cluster.unwrap().coordinator;
    let config::Coordinator::Etcd(config) = config else { panic!("etcd") };
    EtcdCoordinator::new(&config, session()).unwrap()
}

fn ask(coordinator: &mut EtcdCoordinator, request: Request) -> Answer {
    coordinator.submit(Nanos::ZERO, request);
    coordinator.poll(Nanos::ZERO).unwrap()
}

/// Why there is no answer.
fn unknown(coordinator: &mut EtcdCoordinator, request: Request) -> String {
    assert_eq!(ask(coordinator, request), Answer::Unknown);
    coordinator.take_notice().unwrap()
}

/// The record, asked for until there is an answer.
fn read(coordinator: &mut EtcdCoordinator) -> Option<Versioned> {
    let mut found = None;
    wait_for("the record", || match ask(coordinator, Request::Read) {
        Answer::Read(record) => {
            found = record;
            true
        }
        Answer::Unknown => false,
        other => panic!("{other:?}"),
    });
    found
}

/// `node` as the primary that follows `last`.
fn successor(last: Option<Versioned>, node: u16) -> (u64, Record) {
    let primary = Member { node: NodeId(node), incarnation: 1 };
    let in_sync = Members::of(&[primary]).unwrap();
    let (expected, epoch) = last.map_or((0, 0), |last| (last.revision, last.record.epoch));
    (expected, Record { session: session(), epoch: epoch + 1, primary, in_sync })
}

fn follow(last: Option<Versioned>, node: u16) -> Request {
    let (expected, record) = successor(last, node);
    Request::Swap { expected, record }
}

/// A swap that must succeed at once.
fn swapped(coordinator: &mut EtcdCoordinator, last: Option<Versioned>, node: u16) -> Versioned {
    let answer = ask(coordinator, follow(last, node));
    let Answer::Swapped(made) = answer else {
        panic!("{answer:?}: {:?}", coordinator.take_notice());
    };
    assert_eq!(made.record, successor(last, node).1);
    made
}

/// What one racer saw: versions, and those of them that it made.
#[derive(Default)]
struct Seen {
    versions: Vec<Versioned>,
    made: Vec<u64>,
    unknown: u64,
}

/// Takes the lead again and again until it is `over`.
fn race(mut coordinator: EtcdCoordinator, node: u16, over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let guard = Raise(over);
    while !over.load(Ordering::Relaxed) {
        let last = match ask(&mut coordinator, Request::Read) {
            Answer::Read(last) => last,
            Answer::Unknown => continue,
            other => panic!("{other:?}"),
        };
        seen.versions.extend(last);
        match ask(&mut coordinator, follow(last, node)) {
            Answer::Swapped(made) => {
                seen.versions.push(made);
                seen.made.push(made.revision);
            }
            Answer::Lost => {}
            Answer::Unknown => seen.unknown += 1,
            Answer::Read(_) => panic!("that was not asked"),
        }
    }
    drop(guard);
    seen
}

/// Races three nodes for the record until `disturb` returns, and judges what they saw.
fn judged_race(etcd: &mut Etcd, disturb: impl FnOnce(&mut Etcd, &mut EtcdCoordinator)) -> u64 {
    let over = AtomicBool::new(false);
    let urls = etcd.urls();
    let all: Vec<Seen> = thread::scope(|scope| {
        // Each begins with another member.
        let turned = |by: usize| [&urls[by..], &urls[..by]].concat();
        let racers: Vec<_> = (0..3)
            .map(|node| {
                let (coordinator, over) = (coordinator(&turned(node), HASTY), &over);
                scope.spawn(move || race(coordinator, node as u16, over))
            })
            .collect();
        let guard = Raise(&over);
        disturb(etcd, &mut coordinator(&urls, HASTY));
        drop(guard);
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let mut versions = BTreeMap::new();
    let mut winners = BTreeMap::new();
    let mut epochs = BTreeMap::new();
    for (node, seen) in all.iter().enumerate() {
        for version in &seen.versions {
            let known = *versions.entry(version.revision).or_insert(version.record);
            assert_eq!(known, version.record, "revision {} is one record", version.revision);
            let known = *epochs.entry(version.record.epoch).or_insert(version.revision);
            assert_eq!(known, version.revision, "epoch {} is one revision", version.record.epoch);
        }
        for &revision in &seen.made {
            assert_eq!(winners.insert(revision, node), None, "revision {revision} has one winner");
            assert_eq!(usize::from(versions[&revision].primary.node.0), node);
        }
    }
    let last = read(&mut coordinator(&urls, HASTY)).unwrap();
    let changes = etcd.post(0, "/v3/kv/range", &json!({ "key": BASE64_STANDARD.encode(KEY) }));
    let changes = changes.unwrap()["kvs"][0]["version"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(last.record.epoch, changes, "each change of the key followed the one before");
    let won = winners.len() as u64;
    let unknown: u64 = all.iter().map(|seen| seen.unknown).sum();
    assert!(won <= changes && changes <= won + unknown, "{won} won, {unknown} unknown, {changes} made");
    changes
}

/// Ends a race, also when a test fails.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn until_epoch(coordinator: &mut EtcdCoordinator, epoch: u64) {
    wait_for("changes", || read(coordinator).is_some_and(|last| last.record.epoch >= epoch));
}

#[test]
fn what_was_swapped_in_is_read_and_swapped_out_once() {
    let Some(etcd) = Etcd::start(1) else { return };
    let (mut one, mut two) = (coordinator(&etcd.urls(), PATIENT), coordinator(&etcd.urls(), PATIENT));
    assert_eq!(ask(&mut one, Request::Read), Answer::Read(None));
    let first = swapped(&mut one, None, 0);
    assert_eq!(ask(&mut two, follow(None, 1)), Answer::Lost);
    assert_eq!(ask(&mut two, Request::Read), Answer::Read(Some(first)));
    // Changes of other keys change nothing for this one.
    let other = json!({ "key": BASE64_STANDARD.encode("/seqcast/RACE2"), "value": "eA==" });
    assert!(etcd.post(0, "/v3/kv/put", &other).is_some());
    let second = swapped(&mut two, Some(first), 1);
    assert!(second.revision > first.revision + 1);
    assert_eq!(ask(&mut one, follow(Some(first), 0)), Answer::Lost);
    assert_eq!(ask(&mut one, Request::Read), Answer::Read(Some(second)));
    let range = etcd.post(0, "/v3/kv/range", &json!({ "key": BASE64_STANDARD.encode(one.key()) })).unwrap();
    let text = BASE64_STANDARD.decode(range["kvs"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!((one.key(), text), (KEY, second.record.encode().into_bytes()));
}

#[test]
fn of_racing_nodes_one_wins_each_revision() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let changes = judged_race(&mut etcd, |_, onlooker| until_epoch(onlooker, 300));
    assert!(changes >= 300);
}

#[test]
fn a_leader_of_etcd_that_is_killed_costs_time_and_nothing_else() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    judged_race(&mut etcd, |etcd, onlooker| {
        for round in 0..3 {
            let epoch = read(onlooker).map_or(0, |last| last.record.epoch);
            until_epoch(onlooker, epoch + 30);
            let mut leader = None;
            wait_for("a leader", || {
                leader = etcd.leader();
                leader.is_some()
            });
            let leader = leader.unwrap();
            etcd.kill(leader);
            let epoch = read(onlooker).unwrap().record.epoch;
            until_epoch(onlooker, epoch + 30);
            etcd.restart(leader);
            println!("round {round}: member {leader} killed, and {epoch} epochs went on");
        }
        wait_for("all members", || {
            (0..3).all(|at| etcd.post(at, "/v3/kv/range", &json!({ "key": "AA==" })).is_some())
        });
    });
}

#[test]
fn while_all_members_are_stopped_nothing_is_known_and_then_reading_tells() {
    let Some(etcd) = Etcd::start(3) else { return };
    let mut coordinator = coordinator(&etcd.urls(), HASTY);
    let mut last = read(&mut coordinator);
    for round in 0..5 {
        (0..3).for_each(|at| etcd.stop(at));
        let swap = follow(last, 0);
        let notice = unknown(&mut coordinator, swap);
        assert!(notice.contains("timeout"), "{notice}");
        let notice = unknown(&mut coordinator, Request::Read);
        assert!(etcd.urls().iter().all(|url| notice.contains(url)), "each was tried: {notice}");
        (0..3).for_each(|at| etcd.signal(at, "CONT"));
        let found = read(&mut coordinator);
        let (_, meant) = successor(last, 0);
        let made = found.is_some_and(|found| found.record == meant);
        assert!(made || found == last, "round {round}: it was made or not: {found:?}");
        // Whatever came of it: the same record again is either made now, or was, and then the first one counts.
        if !made {
            wait_for("a swap", || match ask(&mut coordinator, swap) {
                Answer::Swapped(_) | Answer::Lost => true,
                Answer::Unknown => read(&mut coordinator).is_some_and(|found| found.record == meant),
                other => panic!("{other:?}"),
            });
        }
        last = read(&mut coordinator);
        assert_eq!(last.unwrap().record, meant, "round {round}");
    }
    assert_eq!(last.unwrap().record.epoch, 5);
}

#[test]
fn endpoints_that_are_not_there_are_passed_over() {
    let Some(etcd) = Etcd::start(1) else { return };
    let [nobody] = common::free_ports(1)[..] else { unreachable!("one port was asked for") };
    let endpoints = [vec![format!("http://127.0.0.1:{nobody}")], etcd.urls()].concat();
    let made = swapped(&mut coordinator(&endpoints, PATIENT), None, 0);
    assert_eq!(ask(&mut coordinator(&endpoints, PATIENT), Request::Read), Answer::Read(Some(made)));
    let mut alone = coordinator(&endpoints[..1], PATIENT);
    let notice = unknown(&mut alone, Request::Read);
    assert!(notice.contains(&endpoints[0]) && notice.contains("refused"), "{notice}");
}

#[test]
fn logins_are_made_renewed_and_refused() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let login = |password: &str| format!("{PATIENT}\nuser = \"node\"\npassword = \"{password}\"");
    let notice = unknown(&mut coordinator(&etcd.urls(), &login("right")), Request::Read);
    assert!(notice.contains("authentication is not enabled") && notice.contains("leave out"), "{notice}");
    etcd.demand_logins("node", "right", "/seqcast/");

    let mut right = coordinator(&etcd.urls(), &login("right"));
    let first = swapped(&mut right, None, 0);
    for (more, expected) in [
        (login("wrong"), "the login of user \"node\" failed: etcdserver: authentication failed"),
        (PATIENT.to_owned(), "give `user` and `password`"),
        (format!("{}\nprefix = \"/other/\"", login("right")), "grant the user's role to read and write"),
    ] {
        let mut refused = coordinator(&etcd.urls(), &more);
        for request in [Request::Read, follow(Some(first), 1)] {
            let notice = unknown(&mut refused, request);
            assert!(notice.contains(expected) && !notice.contains("wrong"), "{notice}");
        }
    }
    // Its tokens are forgotten by a member that is started again.
    etcd.kill(0);
    let notice = unknown(&mut right, Request::Read);
    assert!(notice.contains("refused"), "{notice}");
    etcd.restart(0);
    assert_eq!(read(&mut right), Some(first));
    let second = swapped(&mut right, Some(first), 1);
    etcd.kill(0);
    etcd.restart(0);
    wait_for("etcd to be there again", || {
        !matches!(ask(&mut coordinator(&etcd.urls(), &login("right")), Request::Read), Answer::Unknown)
    });
    let third = swapped(&mut right, Some(second), 0);
    assert_eq!(ask(&mut right, Request::Read), Answer::Read(Some(third)), "a swap renews it too");
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn an_etcd_restored_from_an_older_backup_is_refused() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let mut running = coordinator(&etcd.urls(), PATIENT);
    let first = swapped(&mut running, None, 0);
    let (data, backup) = (etcd.data(0), etcd.data(9));
    etcd.kill(0);
    copy_all(&data, &backup);
    etcd.restart(0);
    assert_eq!(read(&mut running), Some(first));
    let second = swapped(&mut running, Some(first), 1);
    etcd.kill(0);
    std::fs::remove_dir_all(&data).unwrap();
    copy_all(&backup, &data);
    etcd.restart(0);
    wait_for("etcd to be there again", || etcd.leader().is_some());
    let notice = unknown(&mut running, Request::Read);
    assert!(notice.contains("restored from an older backup") && notice.contains(KEY), "{notice}");
    // The old record could be followed, but not by who knows better, not even once etcd has come as far as it was.
    let mut restarted = coordinator(&etcd.urls(), PATIENT);
    assert_eq!(ask(&mut restarted, Request::Read), Answer::Read(Some(first)));
    let again = swapped(&mut restarted, Some(first), 0);
    let again = swapped(&mut restarted, Some(again), 0);
    assert!(again.revision > second.revision);
    for request in [Request::Read, follow(Some(first), 1), follow(Some(again), 1)] {
        let notice = unknown(&mut running, request);
        assert!(notice.contains("restored from an older backup"), "{notice}");
    }
}

#[test]
fn a_record_that_is_deleted_or_damaged_is_not_begun_anew() {
    let Some(etcd) = Etcd::start(1) else { return };
    let mut running = coordinator(&etcd.urls(), PATIENT);
    let first = swapped(&mut running, None, 0);
    let put = |value: &str| {
        let request = json!({ "key": BASE64_STANDARD.encode(KEY), "value": BASE64_STANDARD.encode(value) });
        assert!(etcd.post(0, "/v3/kv/put", &request).is_some());
    };
    let text = first.record.encode();
    for (damaged, expected) in [
        (String::new(), "it ends where line 1"),
        (text.replace("epoch = 1", "epoch = 2"), "it was damaged, or changed by hand"),
        (text[..50].to_owned(), "should follow"),
    ] {
        put(&damaged);
        let mut started = coordinator(&etcd.urls(), PATIENT);
        for coordinator in [&mut running, &mut started] {
            let notice = unknown(coordinator, Request::Read);
            assert!(notice.contains(KEY) && notice.contains(expected), "{notice}");
        }
        assert_eq!(ask(&mut started, follow(None, 1)), Answer::Lost, "there is something");
    }
    put(&text);
    assert_eq!(read(&mut running).unwrap().record, first.record, "put right, it goes on");
    let delete = json!({ "key": BASE64_STANDARD.encode(KEY) });
    assert!(etcd.post(0, "/v3/kv/deleterange", &delete).is_some());
    let notice = unknown(&mut running, Request::Read);
    assert!(notice.contains("the record is gone"), "{notice}");
}

#[test]
fn members_of_two_clusters_are_not_taken_for_one() {
    let (Some(mut first), Some(second)) = (Etcd::start(1), Etcd::start(1)) else { return };
    let mut coordinator = coordinator(&[first.urls(), second.urls()].concat(), PATIENT);
    let made = swapped(&mut coordinator, None, 0);
    first.kill(0);
    let notice = unknown(&mut coordinator, Request::Read);
    assert!(notice.contains("is of the cluster") && notice.contains("name the members of one"), "{notice}");
    let notice = unknown(&mut coordinator, follow(Some(made), 0));
    assert!(notice.contains("is of the cluster"), "{notice}");
}

/// Certificates of a small authority, made by OpenSSL: its own, a server's and a client's, each with its key.
#[cfg(feature = "etcd-tls")]
fn certificates(dir: &Path) -> bool {
    let script = r#"
        set -e
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem \
            -addext basicConstraints=critical,CA:TRUE
        for name in server client; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
            printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > $name.ext
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext \
                -out $name.pem
        done"#;
    let made = Command::new("sh").args(["-c", script]).current_dir(dir).output();
    made.is_ok_and(|made| made.status.success())
}

#[cfg(feature = "etcd-tls")]
#[test]
fn over_tls_both_sides_show_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        println!("skipped: OpenSSL is not installed");
        return;
    }
    let file = |name: &str| dir.path().join(name).display().to_string();
    let args = [
        "--cert-file",
        &file("server.pem"),
        "--key-file",
        &file("server.key"),
        "--client-cert-auth",
        "--trusted-ca-file",
        &file("ca.pem"),
    ];
    let args: Vec<String> = args.into_iter().map(String::from).collect();
    let Some(etcd) = Etcd::start_with(1, &Options { args: &args, tls: true }) else { return };
    let ca = format!("{PATIENT}\nca = {:?}", file("ca.pem"));
    let client = format!("{ca}\ncert = {:?}\nkey = {:?}", file("client.pem"), file("client.key"));
    let coordinator_of = |more: &str| coordinator(&etcd.urls(), more);
    let mut known = coordinator_of(&client);
    let first = match read(&mut known) {
        None => swapped(&mut known, None, 0),
        found => panic!("{found:?}"),
    };
    assert_eq!(read(&mut known), Some(first));
    let notice = unknown(&mut coordinator_of(PATIENT), Request::Read);
    assert!(notice.contains("certificate"), "an authority that is not known: {notice}");
    unknown(&mut coordinator_of(&ca), Request::Read);
    let wrong = format!("{PATIENT}\nca = {:?}", file("ca.key"));
    let text = format!(
        "[cluster]\nnode = []\n[cluster.coordinator]\nkind = \"etcd\"\nendpoints = {:?}\n{wrong}",
        etcd.urls()
    );
    let config = Config::parse(&text).unwrap().cluster.unwrap().coordinator;
    let config::Coordinator::Etcd(config) = config else { panic!("etcd") };
    let error = EtcdCoordinator::new(&config, session()).err().unwrap().to_string();
    assert!(error.contains("ca.key: holds no certificate"), "{error}");
}
