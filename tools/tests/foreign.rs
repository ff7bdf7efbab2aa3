//! Somebody else's MoldUDP64 (the `moldudp` crate, and captures of Nasdaq's own feed) against ours.

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use moldudp::{MoldUDP64, MoldUDP64Server, Packet, PacketKind, RetransmissionPacket, RetransmissionRequest};
use seqcast_engine::io::pcap::CaptureReader;

/// Passes datagrams on and loses every `nth`; ends with the test's process.
fn lossy_relay(from: UdpSocket, to: SocketAddr, nth: u64) -> Arc<AtomicU64> {
    let lost = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lost);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        for at in 1.. {
            let Ok(bytes) = from.recv(&mut buffer) else { return };
            if at % nth == 0 {
                count.fetch_add(1, Ordering::Relaxed);
            } else {
                let _ = from.send_to(&buffer[..bytes], to);
            }
        }
    });
    lost
}

fn loopback() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket")
}

fn v4(socket: &UdpSocket) -> SocketAddrV4 {
    match socket.local_addr().expect("a bound socket") {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

#[test]
fn a_foreign_receiver_reassembles_our_feed_and_fills_its_gaps_from_us() {
    const MESSAGES: u64 = 10_000;
    let mut site = Site::new(1);
    let day = site.day(MESSAGES);
    let (relay, downstream) = (loopback(), loopback());
    site.sources[0].lines = vec![v4(&relay)];
    site.sources[0].acknowledge = false;
    let lost = lossy_relay(relay, v4(&downstream).into(), 10);
    let session = site.sources[0].session.clone();
    let server = SocketAddr::V4(site.sources[0].rewind);
    let receiver = MoldUDP64::builder()
        .multicast_addr(v4(&downstream))
        .interface_addr(Ipv4Addr::LOCALHOST)
        .rerequest_server_addrs(vec![server])
        .expected_session_ident(session.clone())
        .expected_seq_num(1)
        .build();
    let (datagrams, requests) =
        receiver.start_with_sockets(downstream, loopback(), &[server]).expect("the foreign receiver starts");
    let publisher = site.publish(0, &day).arg("--rate=10000").start();

    let ident: [u8; 10] = session.as_bytes().try_into().expect("ten characters");
    let mut received = BTreeMap::new();
    let (mut ends, began, mut asked) = (0, Instant::now(), Instant::now());
    while received.len() < MESSAGES as usize || ends == 0 {
        assert!(began.elapsed() < BOUND, "{} messages in vain: {}", received.len(), publisher.said());
        if let Ok(datagram) = datagrams.recv_timeout(Duration::from_millis(50)) {
            let packet = Packet::new(datagram.bytes());
            assert_eq!(packet.session_ident(), session);
            match packet.packet_kind() {
                PacketKind::Standard => {
                    assert_eq!(packet.iter().count(), usize::from(packet.msg_count()), "whole datagrams");
                    for (seq, message) in (packet.seq_num()..).zip(packet.iter()) {
                        let known = received.entry(seq).or_insert_with(|| message.data().to_vec());
                        assert_eq!(known, message.data(), "message {seq} came with two contents");
                    }
                }
                PacketKind::Heartbeat => {}
                PacketKind::EndOfSession => {
                    assert_eq!(packet.seq_num(), MESSAGES + 1);
                    ends += 1;
                }
            }
        }
        // It asks once for each gap, and an answer is one datagram: what is still missing is asked for again.
        if asked.elapsed() > Duration::from_millis(100) {
            asked = Instant::now();
            let missing = (1..=MESSAGES).find(|seq| !received.contains_key(seq));
            if let Some(first) = missing.filter(|_| ends > 0) {
                let next = received.range(first..).next().map_or(MESSAGES + 1, |(seq, _)| *seq);
                let count = (next - first) as u16;
                let request = RetransmissionRequest::new(RetransmissionPacket::new(ident, first, count));
                requests.try_send(request).expect("room for a request");
            }
        }
    }
    assert!(lost.load(Ordering::Relaxed) > 10, "the relay lost something");
    let received: Vec<_> = received.into_values().collect();
    assert_same(&received, &messages(&day), "what the foreign receiver has");
    assert_eq!(publisher.terminate().code, Some(0));
}

/// A site with one foreign sender of `session` on a unicast line.
fn foreign_site(session: &str) -> Site {
    let mut site = Site::new(1);
    let source = &mut site.sources[0];
    source.session = session.into();
    source.acknowledge = false;
    source.lines = vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_ports(1)[0])];
    site
}

#[test]
fn a_foreign_sender_is_sequenced_and_its_rewind_server_asked() {
    const MESSAGES: u64 = 3_000;
    const PER_DATAGRAM: usize = 10;
    let site = foreign_site("FOREIGN001");
    let day = site.day(MESSAGES);
    let input = messages(&day);
    let record = site.path("record.itch");
    let sequencer = site.sequence().start();
    let subscriber = site.subscribe(&record).start();
    // Its line is open then.
    sequencer.wait_until_said("sequencing session");

    let source = &site.sources[0];
    let server = MoldUDP64Server::builder()
        .multicast_addr(source.lines[0])
        .interface_addr(Ipv4Addr::LOCALHOST)
        .rerequest_bind_addr(source.rewind.into())
        .session(source.session.clone())
        .heartbeat_interval(Duration::from_millis(50))
        .build()
        .start()
        .expect("the foreign sender starts");
    for (at, chunk) in input.chunks(PER_DATAGRAM).enumerate() {
        // Its rewind server gives every datagram of an answer the first number: gaps of one datagram each keep clear
        // of that.
        match at % 7 {
            3 => server.send_dropped(chunk.to_vec()),
            _ => server.send(chunk.to_vec()),
        }
        // It has no pace of its own, and a socket's buffer holds only so much.
        std::thread::sleep(Duration::from_micros(500));
    }
    server.shutdown();

    let summary = subscriber.good().json();
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    assert_same(&messages(&record), &input, "recording");
    assert_eq!(summary["ended"], true);
    assert_eq!(digest_in(&summary), digest(&day));
    assert_eq!(sequencer.counter("seqcast_source_source_conflicts_total"), 0);
    assert!(sequencer.counter("seqcast_source_rewind_filled_messages_total") > 0, "{}", sequencer.out);
}

fn capture() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project's root");
    let near = |up: &str| root.join(up).join("shared/data/nasdaq-totalview-itch50/Multiple.Packets.pcap");
    ["..", "../.."].map(near).into_iter().find(|path| path.exists())
}

/// The MoldUDP64 datagrams of a capture.
fn datagrams(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = CaptureReader::open(path).expect("a capture");
    let mut all = Vec::new();
    while let Some(datagram) = reader.next_datagram().expect("a whole capture") {
        all.push(datagram.payload.to_vec());
    }
    all
}

fn blocks(datagram: &[u8]) -> Vec<Vec<u8>> {
    Packet::new(datagram).iter().map(|message| message.data().to_vec()).collect()
}

/// A datagram without messages: 0 is a heartbeat, 0xFFFF the end of the session.
fn control(session: &[u8], next: u64, count: u16) -> Vec<u8> {
    [session, &next.to_be_bytes(), &count.to_be_bytes()].concat()
}

#[test]
fn a_captured_feed_is_sequenced_from_its_first_number_only() {
    let Some(capture) = capture() else {
        eprintln!("skipped: no capture of Nasdaq's feed");
        return;
    };
    let captured = datagrams(&capture);
    let session = &captured[0][..10];
    let site = foreign_site(std::str::from_utf8(session).expect("ASCII"));
    let record = site.path("record.itch");
    let sequencer = site.sequence().start();
    let subscriber = site.subscribe(&record).start();
    // Its line is open then.
    sequencer.wait_until_said("sequencing session");
    let (socket, line) = (loopback(), site.sources[0].lines[0]);
    let send = |datagram: &[u8]| socket.send_to(datagram, line).expect("sending");

    // As captured: its numbers are in the millions, and a source is taken from number 1. It is not believed.
    captured.iter().for_each(|datagram| {
        send(datagram);
    });
    // As its sender would have sent it at the session's start.
    let (mut next, mut expected) = (1_u64, Vec::new());
    for datagram in &captured {
        let mut datagram = datagram.clone();
        datagram[10..18].copy_from_slice(&next.to_be_bytes());
        send(&datagram);
        expected.extend(blocks(&datagram));
        next = expected.len() as u64 + 1;
    }
    for _ in 0..3 {
        send(&control(session, next, 0xFFFF));
    }
    let summary = subscriber.good().json();
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    assert_same(&messages(&record), &expected, "recording");
    assert_eq!(summary["messages"], 39);
    assert_eq!(sequencer.counter("seqcast_source_unconfirmed_jumps_total"), captured.len() as u64);
    assert_eq!(sequencer.counter("seqcast_source_halted"), 0);
}
