//! `seqcast doctor` in real situations: on loopback, and between two network namespaces.

mod common;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::*;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const SESSION: &str = "FEED000001";

/// Says the same to a group, again and again, until it is dropped.
struct Talker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Talker {
    /// From `source`, in the namespace where `place` is, if that is given. `datagram` is made from the number of turns.
    fn start(
        source: Ipv4Addr,
        to: SocketAddrV4,
        place: Option<File>,
        datagram: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> Talker {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            if let Some(place) = place {
                move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            }
            let socket = Socket::from(UdpSocket::bind((source, 0)).unwrap());
            socket.set_multicast_if_v4(&source).unwrap();
            let socket = UdpSocket::from(socket);
            for turn in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // A full queue is a loss like any other.
                let _ = socket.send_to(&datagram(turn), to);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Talker { stop, thread: Some(thread) }
    }

    /// On loopback.
    fn here(to: SocketAddrV4, datagram: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Talker {
        Talker::start(Ipv4Addr::LOCALHOST, to, None, datagram)
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn header(session: &str, seq: u64, count: u16) -> Vec<u8> {
    [session.as_bytes(), &seq.to_be_bytes(), &count.to_be_bytes()].concat()
}

/// One message a turn.
fn data(turn: u64) -> Vec<u8> {
    [header(SESSION, turn + 1, 1), vec![0, 1, b'x']].concat()
}

/// A group and port that nobody else has.
fn group() -> SocketAddrV4 {
    Site::new(0).feed[0]
}

/// What `doctor --feed` says of one line, and its exit code.
fn ask(
    doctor: &mut Command,
    line: SocketAddrV4,
    interface: Ipv4Addr,
    session: &str,
    more: &str,
) -> (i32, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let text = format!(
        "[feed]\nsession = \"{session}\"\n{more}\n[[feed.line]]\ngroup = \"{line}\"\ninterface = \"{interface}\"\n[stat]\ndir = \"\"\n"
    );
    fs::write(&path, text).unwrap();
    let output = doctor
        .args(["doctor", "--json", "--feed", "--seconds", "1", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let json: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let finding = |finding: &Value| (text(&finding["step"]), text(&finding["health"]));
    (output.status.code().unwrap(), json["findings"].as_array().unwrap().iter().map(finding).collect())
}

fn seqcast() -> Command {
    Command::new(env!("CARGO_BIN_EXE_seqcast"))
}

fn here(line: SocketAddrV4, more: &str) -> (i32, Vec<(String, String)>) {
    ask(&mut seqcast(), line, Ipv4Addr::LOCALHOST, SESSION, more)
}

#[track_caller]
fn assert_has(found: &[(String, String)], step: &str, health: &str) {
    assert!(found.iter().any(|(s, h)| s == step && h == health), "no {health} {step} in {found:?}");
}

/// Whether packets can be seen before the kernel has judged them; says so where not.
fn sees_packets() -> bool {
    let can = rustix::process::geteuid().is_root() && Socket::new(Domain::PACKET, Type::DGRAM, None).is_ok();
    if !can {
        eprintln!("skipped: packet sockets need privileges");
    }
    can
}

#[test]
fn a_feed_that_comes_is_fine() {
    let line = group();
    let _talker = Talker::here(line, data);
    let (code, found) = here(line, "");
    assert_eq!(code, 0, "{found:?}");
    assert_has(&found, "data", "ok");
    assert_has(&found, "join", "ok");
}

#[test]
fn nothing_comes() {
    // Of a session that the other tests do not have: theirs would be found at another group.
    let (code, found) = ask(&mut seqcast(), group(), Ipv4Addr::LOCALHOST, "NOBODY0001", "");
    assert_eq!(code, 1);
    let step = if sees_packets() { "nic" } else { "socket" };
    assert_has(&found, step, "bad");
}

#[test]
fn only_heartbeats_come() {
    let line = group();
    let _talker = Talker::here(line, |_| header(SESSION, 77, 0));
    let (code, found) = here(line, "");
    assert_eq!(code, 0, "nothing is broken");
    assert_has(&found, "data", "warning");
}

#[test]
fn another_session_comes() {
    let line = group();
    let _talker = Talker::here(line, |turn| [header("OTHER00001", turn + 1, 1), vec![0, 1, b'x']].concat());
    let (code, found) = here(line, "");
    assert_eq!(code, 1);
    assert_has(&found, "session", "bad");
}

#[test]
fn something_else_comes() {
    let line = group();
    let _talker = Talker::here(line, |_| b"what is this?".to_vec());
    assert_has(&here(line, "").1, "format", "bad");
}

#[test]
fn it_comes_to_another_port() {
    if !sees_packets() {
        return;
    }
    let line = group();
    let port = free_ports(1)[0];
    let _talker = Talker::here(SocketAddrV4::new(*line.ip(), port), data);
    let (code, found) = here(line, "");
    assert_eq!(code, 1);
    assert_has(&found, "port", "bad");
}

#[test]
fn it_comes_to_another_group() {
    if !sees_packets() {
        return;
    }
    let line = group();
    let _talker = Talker::here(group(), data);
    assert_has(&here(line, "").1, "group", "bad");
}

#[test]
fn there_are_holes() {
    let line = group();
    // Every tenth message is missing.
    let _talker = Talker::here(line, |turn| {
        [header(SESSION, turn / 9 * 10 + turn % 9 + 1, 1), vec![0, 1, b'x']].concat()
    });
    assert_has(&here(line, "").1, "holes", "warning");
}

#[test]
fn a_subscriber_does_not_keep_up() {
    let line = group();
    let slow = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    slow.set_reuse_address(true).unwrap();
    slow.bind(&line.into()).unwrap();
    slow.join_multicast_v4(line.ip(), &Ipv4Addr::LOCALHOST).unwrap();
    slow.set_recv_buffer_size(1).unwrap();
    let _talker = Talker::here(line, data);
    let (code, found) = here(line, "");
    assert_eq!(code, 1, "{found:?}");
    assert_has(&found, "overflow", "bad");
    drop(slow);
}

#[test]
fn rewind_servers_are_asked() {
    let line = group();
    let _talker = Talker::here(line, data);
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (silent, nobody) =
        (silent.local_addr().unwrap().to_string(), format!("127.0.0.1:{}", free_ports(1)[0]));
    let (_held, good) = answering();
    for (server, health) in [(&silent, "bad"), (&nobody, "bad"), (&good, "ok")] {
        // The silent one is held until here.
        let (_, found) = here(line, &format!("rewind_servers = [\"{server}\"]"));
        assert_has(&found, "rewind", health);
    }
}

/// A server that answers each request with the message asked for, for as long as the handle lives.
fn answering() -> (Talker, String) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut request = [0; 64];
        while !stopped.load(Ordering::Relaxed) {
            if let Ok((20, from)) = socket.recv_from(&mut request) {
                let _ = socket.send_to(&[&request[..20], &[0, 1, b'x']].concat(), from);
            }
        }
    });
    (Talker { stop, thread: Some(thread) }, address)
}

/// Two hosts with a cable between them; `None` where namespaces cannot be had.
struct Hosts {
    names: [String; 2],
}

impl Hosts {
    const SENDER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
    /// An address of the sender that the receiver knows no way to.
    const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    fn new() -> Option<Hosts> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let names = [format!("seqcast-a-{id}"), format!("seqcast-b-{id}")];
        let [a, b] = &names;
        let hosts = Hosts { names: names.clone() };
        for name in &names {
            if !ip(&format!("netns add {name}")) {
                eprintln!("skipped: no network namespace can be had");
                return None;
            }
        }
        let commands = [
            format!("-n {a} link add eth0 type veth peer name eth0 netns {b}"),
            format!("-n {a} addr add {}/24 dev eth0", Hosts::SENDER),
            format!("-n {a} addr add {}/32 dev eth0", Hosts::STRANGER),
            format!("-n {b} addr add {}/24 dev eth0", Hosts::RECEIVER),
            format!("-n {a} link set eth0 up"),
            format!("-n {b} link set eth0 up"),
            format!("-n {a} route add 224.0.0.0/4 dev eth0"),
        ];
        for command in commands {
            assert!(ip(&command), "ip {command}");
        }
        Some(hosts)
    }

    fn talk(&self, source: Ipv4Addr, to: SocketAddrV4) -> Talker {
        let place = File::open(format!("/run/netns/{}", self.names[0])).unwrap();
        Talker::start(source, to, Some(place), data)
    }

    /// Runs a tool at the receiver.
    fn at_receiver(&self, tool: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[1], tool]);
        command
    }

    fn ask(&self, line: SocketAddrV4) -> (i32, Vec<(String, String)>) {
        ask(&mut self.at_receiver(env!("CARGO_BIN_EXE_seqcast")), line, Hosts::RECEIVER, SESSION, "")
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

fn ip(args: &str) -> bool {
    let ip = Command::new("ip").args(args.split(' ')).stderr(Stdio::null()).status();
    ip.is_ok_and(|status| status.success())
}

const LINE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 77, 1, 1), 31_001);

#[test]
fn between_hosts_a_feed_comes_or_does_not() {
    let Some(hosts) = Hosts::new() else { return };
    let (code, found) = hosts.ask(LINE);
    assert_eq!(code, 1);
    assert_has(&found, "nic", "bad");
    assert_has(&found, "querier", "warning");
    let _talker = hosts.talk(Hosts::SENDER, LINE);
    let (code, found) = hosts.ask(LINE);
    assert_eq!(code, 0, "{found:?}");
    assert_has(&found, "nic", "ok");
    assert_has(&found, "data", "ok");
    assert!(ip(&format!("-n {} link set eth0 down", hosts.names[1])));
    let (code, found) = hosts.ask(LINE);
    assert_eq!(code, 1);
    assert_has(&found, "interface", "bad");
}

#[test]
fn the_reverse_path_filter_is_in_the_way() {
    let Some(hosts) = Hosts::new() else { return };
    let strict = "echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter";
    assert!(hosts.at_receiver("sh").args(["-c", strict]).status().unwrap().success());
    let _talker = hosts.talk(Hosts::STRANGER, LINE);
    let (code, found) = hosts.ask(LINE);
    assert_eq!(code, 1, "{found:?}");
    assert_has(&found, "nic", "ok");
    assert_has(&found, "rp-filter", "bad");
}

#[test]
fn the_firewall_is_in_the_way() {
    let Some(hosts) = Hosts::new() else { return };
    let rules = "add table inet t\nadd chain inet t in { type filter hook input priority 0; }\n\
                 add rule inet t in udp dport 31001 drop\n";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rules"), rules).unwrap();
    if !hosts.at_receiver("nft").arg("-f").arg(dir.path().join("rules")).status().unwrap().success() {
        eprintln!("skipped: no nftables");
        return;
    }
    let _talker = hosts.talk(Hosts::SENDER, LINE);
    let (code, found) = hosts.ask(LINE);
    assert_eq!(code, 1, "{found:?}");
    assert_has(&found, "nic", "ok");
    assert_has(&found, "firewall", "bad");
}

#[test]
fn another_sender_is_wanted() {
    let Some(hosts) = Hosts::new() else { return };
    let _talker = hosts.talk(Hosts::SENDER, LINE);
    let doctor = &mut hosts.at_receiver(env!("CARGO_BIN_EXE_seqcast"));
    // Another line of the same feed: its interface and source come before the first's.
    let more = format!(
        "[[feed.line]]\ngroup = \"{LINE}\"\ninterface = \"{}\"\nsource = \"10.99.0.7\"\n",
        Hosts::RECEIVER
    );
    let other = SocketAddrV4::new(Ipv4Addr::new(239, 77, 1, 2), 31_002);
    let (code, found) = ask(doctor, other, Hosts::RECEIVER, SESSION, &more);
    assert_eq!(code, 1);
    assert_has(&found, "source", "bad");
}

/// The configuration against the host.
fn inspect(text: &str) -> (i32, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, text).unwrap();
    let output = seqcast().args(["doctor", "--json", "--config"]).arg(&path).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let finding = |finding: &Value| (text(&finding["step"]), text(&finding["health"]));
    (output.status.code().unwrap(), json["findings"].as_array().unwrap().iter().map(finding).collect())
}

#[test]
fn a_configuration_is_held_against_the_host() {
    let port = free_ports(1)[0];
    let feed = |interface: &str| {
        format!(
            "[feed]\nsession = \"X\"\n[[feed.line]]\ngroup = \"239.77.2.1:{port}\"\ninterface = \"{interface}\"\n"
        )
    };
    let (code, found) = inspect(&feed("127.0.0.1"));
    assert_eq!(code, 0, "{found:?}");
    assert_has(&found, "interface", "ok");
    assert_has(&found, "join", "ok");
    let (code, found) = inspect(&feed("203.0.113.7"));
    assert_eq!(code, 1);
    assert_has(&found, "address", "bad");
    let (code, found) = inspect(
        &(feed("127.0.0.1") + "[[runtime.thread]]\nname = \"t\"\nagents = [\"subscriber\"]\ncore = 4000\n"),
    );
    assert_eq!(code, 1);
    assert_has(&found, "cores", "bad");
}
