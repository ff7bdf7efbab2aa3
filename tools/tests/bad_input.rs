//! Whole processes fed with what they should never get: from the network, the disk, files and the command line.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROUNDS: usize = 300;

/// A MoldUDP64 header with whatever behind it.
fn datagram(session: &str, seq: u64, count: u16, rest: &[u8]) -> Vec<u8> {
    [session.as_bytes(), &seq.to_be_bytes(), &count.to_be_bytes(), rest].concat()
}

/// What a network may do to a line: no datagram of it is one.
fn malformed(rng: &mut impl Rng, session: &str) -> Vec<u8> {
    let mut noise = vec![0; rng.random_range(0..1_400)];
    rng.fill_bytes(&mut noise);
    match rng.random_range(0..5) {
        0 => noise,
        1 => datagram(session, 1, 1, &[])[..rng.random_range(0..20)].to_vec(),
        // A count that lies.
        2 => datagram(session, 1, rng.random_range(2..0xFFFF), &[0, 1, b'S']),
        // A length that lies.
        3 => datagram(session, 1, 1, &[0xFF, 0xFF, b'S']),
        // Something behind the last message.
        _ => datagram(session, 1, 1, &[0, 1, b'S', 0, 0]),
    }
}

/// Everything bad that comes from the network, at every port.
fn vandalise(site: &Site) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let allowed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let stranger = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("a socket");
    let send = |to: &SocketAddrV4, bytes: &[u8]| {
        // A full buffer is a loss like any other.
        let _ = allowed.send_to(bytes, to);
    };
    let feeds = [(FEED, &site.feed), (site.sources[0].session.as_str(), &site.sources[0].lines)];
    for (session, lines) in feeds {
        for round in 0..ROUNDS {
            send(&lines[round % lines.len()], &malformed(&mut rng, session));
            send(&lines[round % lines.len()], &datagram("STRANGER01", 1, 1, &[0, 1, b'S']));
        }
        // One liar: numbers that nobody else speaks of, up to those that cannot be.
        for seq in [u64::MAX / 2, u64::MAX - 5, u64::MAX, 0] {
            send(&lines[0], &datagram(session, seq, 3, &[0, 1, b'S', 0, 1, b'S', 0, 1, b'S']));
        }
        // An end that is none.
        send(&lines[0], &datagram(session, 3, 0xFFFF, &[]));
    }
    for (session, rewind) in [(FEED, &site.rewind), (&site.sources[0].session, &site.sources[0].rewind)] {
        for round in 0..ROUNDS as u64 {
            send(rewind, &malformed(&mut rng, session));
            send(rewind, &datagram("STRANGER01", 1, 10, &[]));
            send(rewind, &datagram(session, u64::MAX - round, 0xFFFF, &[]));
            let _ = stranger.send_to(&datagram(session, 1, 0xFFFF, &[]), rewind);
            for at in 1..=10 {
                send(rewind, &datagram(session, 10 * round + at, 0xFFFF, &[]));
            }
        }
    }
}

/// Clients that speak everything but SoupBinTCP.
fn vandalise_snapshots(server: SocketAddrV4) {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut login = b"\0\x2fLnobodywrong     ".to_vec();
    login.extend([b' '; 30]);
    let mut said: Vec<Vec<u8>> = vec![
        vec![],
        vec![0xFF; 5],
        vec![0, 0, 0, 0],
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"\0\x01R".to_vec(),
        b"\0\x2fL".to_vec(),
        login,
    ];
    for _ in 0..20 {
        let mut noise = vec![0; rng.random_range(1..5_000)];
        rng.fill_bytes(&mut noise);
        said.push(noise);
    }
    for bytes in said {
        let mut client = TcpStream::connect(server).expect("the snapshot server listens");
        client.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        // It may hang up at any time.
        let _ = client.write_all(&bytes);
        let _ = client.read(&mut [0; 64]);
    }
}

#[test]
fn garbage_at_every_port_is_counted_and_the_feed_goes_on() {
    let site = Site::new(1);
    let day = site.day(40_000);
    let (record, late_record) = (site.path("record.itch"), site.path("late.itch"));
    let sequencer = site.sequence().start();
    let subscriber = site.subscribe(&record).start();
    let publisher = site.publish(0, &day).arg("--rate=10000").start();
    wait_for_bytes(&record, size(&day) / 8);
    vandalise(&site);
    vandalise_snapshots(site.snapshot);
    let late = site.subscribe(&late_record).arg("--start=snapshot").start();

    let (summary, late) = (subscriber.good().json(), late.good().json());
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    let publisher = publisher.terminate();
    assert_eq!(publisher.code, Some(0), "{}", publisher.err);
    assert_same(&messages(&record), &messages(&day), "recording");
    for summary in [&summary, &late] {
        assert_eq!(summary["lost_messages"], 0, "{summary}");
        assert_eq!(summary["conflicts"], 0, "{summary}");
        assert_eq!(digest_in(summary), digest(&day));
    }
    for counted in [
        "seqcast_source_malformed_datagrams_total",
        "seqcast_source_wrong_session_datagrams_total",
        "seqcast_source_unconfirmed_jumps_total",
        "seqcast_rewind_not_allowed_requests_total",
        "seqcast_rewind_limited_requests_total",
    ] {
        assert!(sequencer.counter(counted) > 0, "{counted} in {}", sequencer.out);
    }
    assert_eq!(sequencer.counter("seqcast_source_lost_messages_total"), 0);
}

/// A whole session in a journal, sequenced and ended.
fn kept_session(site: &Site, messages: u64) {
    let day = site.day(messages);
    let record = site.path("record.itch");
    let sequencer = site.sequence().start();
    let subscriber = site.subscribe(&record).start();
    let publisher = site.publish(0, &day).start();
    subscriber.good();
    sequencer.terminate();
    publisher.terminate();
}

fn verify(site: &Site) -> Done {
    Seqcast::new("journal").arg("verify").arg(site.journal()).arg("--json").start().done()
}

/// The journal's first segment, and where its frames end.
fn segment(site: &Site) -> (PathBuf, u64) {
    let report = verify(site).json();
    let segments = report["segments"].as_array().expect("segments");
    let file = segments[0]["file"].as_str().expect("a file's name");
    let path = if Path::new(file).exists() { file.into() } else { site.journal().join(file) };
    (path, report["used_bytes"].as_u64().expect("a length"))
}

#[test]
fn a_journal_damaged_in_the_middle_is_refused_with_the_place_and_the_remedy() {
    let site = Site::new(1);
    kept_session(&site, 10_000);
    let (path, used) = segment(&site);
    let file = std::fs::File::options().read(true).write(true).open(&path).expect("the segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, used / 2).expect("reading the segment");
    file.write_all_at(&[byte[0] ^ 0x40], used / 2).expect("damaging the segment");

    let done = site.sequence().start().done();
    assert_eq!(done.code, Some(3), "{}", done.err);
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    for told in [name, "byte ", "is damaged", "seqcast journal verify", "backup"] {
        assert!(done.err.contains(told), "{told:?} is missing in: {}", done.err);
    }
    assert_eq!(verify(&site).code, Some(1));
}

#[test]
fn a_torn_end_is_cut_and_the_session_goes_on() {
    let site = Site::new(1);
    let day = site.day(20_000);
    let record = site.path("record.itch");
    let subscriber = site.subscribe(&record).start();
    let sequencer = site.sequence().start();
    let publisher = site.publish(0, &day).arg("--rate=10000").start();
    wait_for_bytes(&record, size(&day) / 3);
    sequencer.kill();
    let (path, used) = segment(&site);
    let file = std::fs::File::options().write(true).open(&path).expect("the segment");
    file.write_all_at(&[0xA5; 24], used).expect("tearing the end");

    let sequencer = site.sequence().start();
    let summary = subscriber.good().json();
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    assert!(sequencer.err.contains("cut off a torn end"), "{}", sequencer.err);
    assert_eq!(publisher.terminate().code, Some(0));
    assert_same(&messages(&record), &messages(&day), "recording");
    assert_eq!(summary["conflicts"], 0);
    assert_eq!(verify(&site).json()["whole"], true);
}

/// A file system of a size of its own.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where mounting is not allowed.
    fn mount(at: PathBuf, size: &str) -> Option<Tmpfs> {
        std::fs::create_dir_all(&at).expect("a mount point");
        Tmpfs::run(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &at).then_some(Tmpfs(at))
    }

    fn grow(&self, size: &str) {
        assert!(Tmpfs::run(&["-o", &format!("remount,size={size}")], &self.0), "remounting");
    }

    fn run(args: &[&str], at: &Path) -> bool {
        Command::new("mount").args(args).arg(at).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_holds_publishers_back_until_there_is_room() {
    let site = Site::new(1);
    let Some(disk) = Tmpfs::mount(site.journal(), "10m") else {
        eprintln!("skipped: mounting is not allowed here");
        return;
    };
    let day = site.day(150_000);
    let record = site.path("record.itch");
    let subscriber = site.subscribe(&record).start();
    let mut sequencer = site.sequence().start();
    let mut publisher = site.publish(0, &day).start();
    sequencer.wait_until_said("no room");
    // Everything that has room comes through; then all wait, and nobody gives up.
    let mut before = 0;
    wait_for("the standstill", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = size(&record);
        std::mem::replace(&mut before, now) == now && now > 0
    });
    assert!(sequencer.is_running() && publisher.is_running());
    assert!(before < size(&day), "the disk was full before everything was kept");
    disk.grow("100m");

    let summary = subscriber.good().json();
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    assert_eq!(publisher.terminate().code, Some(0));
    assert_same(&messages(&record), &messages(&day), "recording");
    assert_eq!(digest_in(&summary), digest(&day));
    assert_eq!(verify(&site).json()["whole"], true);
}

/// A command that must fail with `code`, saying all of `told`.
#[track_caller]
fn refused(seqcast: Seqcast, code: i32, told: &[&str]) {
    let done = seqcast.start().done();
    assert_eq!(done.code, Some(code), "{}{}", done.err, done.out);
    assert!(!done.err.contains("panicked"), "{}", done.err);
    for told in told {
        assert!(done.err.contains(told), "{told:?} is missing in: {}", done.err);
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let site = Site::new(1);
    let missing = site.path("missing.itch");
    let name = missing.display().to_string();
    refused(site.publish(0, &missing), 3, &[&name]);
    refused(Seqcast::new("book").arg(&missing).arg("--digest"), 3, &[&name]);
    refused(Seqcast::new("stats").arg(&missing), 3, &[&name]);
    let directory = site.path("directory");
    std::fs::create_dir(&directory).expect("a directory");
    refused(site.publish(0, &directory), 3, &["directory"]);
    refused(Seqcast::new("book").arg(&directory).arg("--digest"), 3, &["directory"]);
    let empty = site.path("empty.itch");
    std::fs::write(&empty, []).expect("a file");
    refused(site.publish(0, &empty), 3, &["empty"]);
    let record = site.path("no/such/place.itch");
    refused(site.subscribe(&record), 3, &["place.itch"]);
    refused(Seqcast::new("journal").arg("verify").arg(site.path("nowhere")), 3, &["nowhere"]);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_the_key() {
    let site = Site::new(1);
    let configured = |text: &str| {
        let path = site.path("bad.toml");
        std::fs::write(&path, text).expect("a file");
        Seqcast::new("sequence").arg("--config").arg(path)
    };
    refused(configured("[feed\n"), 2, &["bad.toml"]);
    refused(configured("[sned]\npace = \"1Gbit/s\"\n"), 2, &["sned"]);
    refused(configured("[send]\npace = \"fast\"\n"), 2, &["pace"]);
    refused(configured("\u{0}\u{1}\u{2}"), 2, &["bad.toml"]);
    refused(site.sequence().set("feed.session", "TOO-LONG-FOR-IT"), 2, &["feed.session"]);
    refused(site.sequence().set("memory.ring_bytes", "3MiB"), 2, &["memory.ring_bytes"]);
    refused(site.sequence().set("no.such.key", "1"), 2, &["no"]);
    refused(Seqcast::new("sequence").arg("--config").arg(site.path("missing.toml")), 2, &["missing.toml"]);
    refused(Seqcast::new("publish").arg("--share=2/2"), 2, &["share"]);
}
