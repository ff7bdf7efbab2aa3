//! The coordinator in files: threads and processes that race for it, that are killed while they do, and disks that are
//! full.
#![allow(clippy::print_stdout)] // A test that cannot run here says so.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use seqcast_engine::coordinator::FileCoordinator;
use seqcast_engine::replica::{Answer, Coordinator, Member, Members, NodeId, Record, Request, Versioned};
use seqcast_engine::time::Nanos;
use seqcast_wire::Session;

const DIR: &str = "SEQCAST_TEST_COORDINATOR";
const NODE: &str = "SEQCAST_TEST_NODE";

fn session() -> Session {
    "RACE".parse().unwrap()
}

fn open(dir: &Path, node: u16) -> FileCoordinator {
    FileCoordinator::open(dir, session(), NodeId(node)).unwrap()
}

fn ask(coordinator: &mut FileCoordinator, request: Request) -> Answer {
    coordinator.submit(Nanos::ZERO, request);
    coordinator.poll(Nanos::ZERO).unwrap()
}

/// The newest version; every reading must succeed, and none may go back.
fn read(coordinator: &mut FileCoordinator) -> Option<Versioned> {
    match ask(coordinator, Request::Read) {
        Answer::Read(found) => found,
        other => panic!("{other:?}: {}", coordinator.take_notice().unwrap()),
    }
}

/// `node` as the primary that follows `last`.
fn successor(last: Option<Versioned>, node: u16) -> (u64, Record) {
    let primary = Member { node: NodeId(node), incarnation: 1 };
    let in_sync = Members::of(&[primary]).unwrap();
    let (expected, epoch) = last.map_or((0, 0), |last| (last.revision, last.record.epoch));
    (expected, Record { session: session(), epoch: epoch + 1, primary, in_sync })
}

/// Reads and tries to follow what is there: the revision and epoch that `node` made, if it did.
fn compete(coordinator: &mut FileCoordinator, node: u16) -> Option<(u64, u64)> {
    let (expected, record) = successor(read(coordinator), node);
    match ask(coordinator, Request::Swap { expected, record }) {
        Answer::Swapped(made) => {
            assert_eq!(made, Versioned { revision: expected + 1, record });
            Some((made.revision, record.epoch))
        }
        Answer::Lost | Answer::Unknown => None,
        Answer::Read(_) => panic!("that was not asked"),
    }
}

/// Who made which revision; panics when two did.
#[derive(Default)]
struct Winners(BTreeMap<u64, u16>);

impl Winners {
    fn add(&mut self, revision: u64, node: u16) {
        let other = self.0.insert(revision, node);
        assert_eq!(other, None, "revision {revision} was made by node {node} too");
    }
}

/// Ends a race, also when somebody in it fails.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn of_racing_threads_one_wins_each_revision() {
    const REVISIONS: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let over = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    let mut winners = Winners::default();
    thread::scope(|scope| {
        for node in 0..4 {
            let (tell, over, dir) = (tell.clone(), &over, dir.path());
            scope.spawn(move || {
                let guard = Raise(over);
                let mut coordinator = open(dir, node);
                while !over.load(Ordering::Relaxed) {
                    if let Some((revision, _)) = compete(&mut coordinator, node) {
                        tell.send((revision, node)).unwrap();
                    }
                }
                drop(guard);
            });
        }
        let (over, dir) = (&over, dir.path());
        scope.spawn(move || {
            let guard = Raise(over);
            let mut onlooker = open(dir, 9);
            let short = |last: Option<Versioned>| last.is_none_or(|last| last.revision < REVISIONS);
            while !over.load(Ordering::Relaxed) && short(read(&mut onlooker)) {}
            drop(guard);
        });
        drop(tell);
        told.into_iter().for_each(|(revision, node)| winners.add(revision, node));
    });
    let last = read(&mut open(dir.path(), 9)).unwrap();
    assert!(last.revision >= REVISIONS);
    assert_eq!(last.record.epoch, last.revision, "each epoch followed the one before");
    // Of a swap whose maker was overtaken at once it is not told who made it.
    let told = winners.0.len() as u64;
    assert!(told > 0 && told <= last.revision, "{told} of {}", last.revision);
    if let Some((&newest, &node)) = winners.0.last_key_value()
        && newest == last.revision
    {
        assert_eq!(last.record.primary.node, NodeId(node));
    }
}

/// Not a test of its own: a process that competes until it is killed.
#[test]
#[ignore = "a child process of another test"]
fn child_competitor() {
    let (Some(dir), Some(node)) = (std::env::var_os(DIR), std::env::var(NODE).ok()) else { return };
    let node = node.parse().unwrap();
    let mut coordinator = open(Path::new(&dir), node);
    let mut stdout = std::io::stdout();
    loop {
        if let Some((revision, epoch)) = compete(&mut coordinator, node) {
            writeln!(stdout, "made {revision} {epoch}").unwrap();
        }
    }
}

fn spawn(dir: &Path, node: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_competitor", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(NODE, node.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_killed_in_the_midst_of_it_leave_a_readable_record() {
    const ROUNDS: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    let mut winners = Winners::default();
    let mut last = None;
    for round in 0..ROUNDS {
        let mut children: Vec<(u16, Child)> = (0..2).map(|node| (node, spawn(dir.path(), node))).collect();
        // The first dies after some swaps of its own, the other with it: at whatever step each of them is.
        let mut outputs: Vec<_> = children
            .iter_mut()
            .map(|(node, child)| (*node, BufReader::new(child.stdout.take().unwrap())))
            .collect();
        let made = |line: &str| {
            let (revision, epoch) = line.split("made ").nth(1)?.trim().split_once(' ')?;
            Some((revision.parse::<u64>().ok()?, epoch.parse::<u64>().ok()?))
        };
        let mut line = String::new();
        let mut own = 0;
        while own < 10 + round {
            line.clear();
            assert_ne!(outputs[0].1.read_line(&mut line).unwrap(), 0, "the child ended");
            if let Some((revision, _)) = made(&line) {
                winners.add(revision, 0);
                own += 1;
            }
        }
        for (_, child) in &mut children {
            child.kill().unwrap();
        }
        for (_, child) in &mut children {
            child.wait().unwrap();
        }
        for (node, output) in &mut outputs {
            // The last line may have been cut off with its writer.
            let lines = output.lines().map_while(Result::ok);
            lines.filter_map(|line| made(&line)).for_each(|(revision, _)| winners.add(revision, *node));
        }
        let mut onlooker = open(dir.path(), 9);
        let found = read(&mut onlooker).unwrap();
        assert!(winners.0.last_key_value().is_none_or(|(&made, _)| made <= found.revision));
        assert!(last.is_none_or(|last: Versioned| found.revision > last.revision), "round {round}");
        assert_eq!(found.record.epoch, found.revision, "each epoch followed the one before");
        last = Some(found);
    }
    assert!(fs::read_dir(dir.path()).unwrap().count() < 40, "what is old, and drafts, do not pile up");
}

/// A small file system of its own, for as long as it lives.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(bytes: usize) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Tmpfs::call(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"], dir.path());
        mounted.then_some(Tmpfs(dir))
    }

    fn remount(&self, option: &str) {
        assert!(Tmpfs::call(&["-o", &format!("remount,{option}")], self.0.path()));
    }

    fn call(args: &[&str], path: &Path) -> bool {
        let mount = Command::new("mount").args(args).arg(path).stderr(Stdio::null()).status();
        mount.is_ok_and(|status| status.success())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_refuses_leaves_the_record_as_it_was() {
    let Some(tmpfs) = Tmpfs::mount(32_768) else {
        println!("skipped: mounting a small file system takes root");
        return;
    };
    let dir = tmpfs.0.path().join("coordinator");
    let mut coordinator = open(&dir, 0);
    assert_eq!(compete(&mut coordinator, 0), Some((1, 1)));
    let before = read(&mut coordinator);
    let (expected, record) = successor(before, 0);
    let ballast = tmpfs.0.path().join("ballast");
    assert!(fs::write(&ballast, vec![1; 1 << 20]).is_err(), "the disk is full");
    assert_eq!(ask(&mut coordinator, Request::Swap { expected, record }), Answer::Unknown);
    let notice = coordinator.take_notice().unwrap();
    assert!(notice.contains(dir.to_str().unwrap()) && notice.contains("No space left on device"), "{notice}");
    assert_eq!(read(&mut coordinator), before);
    fs::remove_file(&ballast).unwrap();
    assert_eq!(compete(&mut coordinator, 0), Some((2, 2)), "with room it goes on by itself");

    drop(coordinator);
    tmpfs.remount("ro");
    let error = FileCoordinator::open(&dir, session(), NodeId(0)).err().unwrap().to_string();
    assert!(
        error.contains(dir.to_str().unwrap()) && error.contains("may not claim the node's name"),
        "{error}"
    );
    tmpfs.remount("rw");
    assert_eq!(compete(&mut open(&dir, 0), 0), Some((3, 3)));
}
