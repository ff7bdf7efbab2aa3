//! A tap's capture is whole, opens in tshark without complaint, and plays back as it was.
#![allow(clippy::print_stdout)]

mod io_support;

use std::path::Path;
use std::process::Command;

use io_support::*;
use seqcast_engine::io::pcap::{CaptureReader, Contents, Flow, Pace, PcapDriver};
use seqcast_engine::io::tap::Tap;
use seqcast_engine::io::udp::UdpDriver;
use seqcast_engine::io::{Driver, DriverConfig};
use seqcast_engine::time::Nanos;

const WALL_NS: u64 = 1_700_000_000_000_000_000;

/// Lengths sent, in order: the largest, odd ones for the padding, and some like a feed's.
fn lengths() -> Vec<usize> {
    let mut lengths = vec![65_507, 1, 2, 3, 4, 5];
    lengths.extend((0..50).map(|number| 20 + number * 29));
    lengths
}

/// Sends to two lines and receives them, through a tap; gives the lines.
fn capture(path: &Path) -> [std::net::SocketAddrV4; 2] {
    let config = DriverConfig { max_datagram_bytes: 65_507, receive_buffers: 16, send_slots: 4, ..small() };
    let driver = UdpDriver::new(&config).unwrap();
    let mut tap = Tap::create(driver, path, now(), WALL_NS).unwrap();
    let lines = [open_line(&mut tap, group(20, 1)).1, open_line(&mut tap, group(20, 2)).1];
    let from = tap.open(&local(LOCALHOST)).unwrap();
    for (number, len) in lengths().into_iter().enumerate() {
        send(&mut tap, &lines.map(|line| to(from, line)), &pattern(number, len));
        receive(&mut tap, 2);
    }
    assert!(tap.is_whole());
    lines
}

#[test]
fn a_capture_plays_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tap.pcapng");
    let lines = capture(&path);
    let contents = Contents::of(&path).unwrap();
    assert!(contents.damage.is_none(), "{:?}", contents.damage);
    let bytes: usize = lengths().iter().sum();
    // Each datagram was sent and received.
    let flow =
        |destination| Flow { destination, datagrams: 2 * lengths().len() as u64, bytes: 2 * bytes as u64 };
    let mut expected = lines.map(flow);
    expected.sort_by_key(|flow| flow.destination);
    assert_eq!(contents.flows, expected);

    let mut driver = PcapDriver::open_file(&path, Pace::AsFast).unwrap();
    let endpoints = lines.map(|address| driver.open(&line(address)).unwrap());
    let mut seen = Vec::new();
    while !driver.finished() {
        poll(&mut driver, &mut seen);
    }
    for endpoint in endpoints {
        let mut here = seen.iter().filter(|seen| seen.0 == endpoint);
        for (number, len) in lengths().into_iter().enumerate() {
            for direction in ["sent", "received"] {
                let bytes = &here.next().unwrap().2;
                assert!(*bytes == pattern(number, len), "datagram {number}, {direction}");
            }
        }
        assert!(here.next().is_none());
    }
}

#[test]
fn stamps_are_those_of_the_calls_on_the_wall_clock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tap.pcapng");
    let mut tap = Tap::create(UdpDriver::new(&small()).unwrap(), &path, Nanos(1_000), WALL_NS).unwrap();
    let at = tap.open(&local(LOCALHOST)).unwrap();
    let itself = [to(at, tap.local_addr(at))];
    tap.flush(Nanos(3_000)).unwrap();
    assert_eq!(tap.transmit(&itself, 4, |_| 4), Ok(4));
    assert_eq!(tap.transmit(&itself, 4, |_| 0), Ok(0), "taken back, and so not written");
    until("it is back", || tap.poll_rx(Nanos(7_000), 1, |_| {}).unwrap() == 1);
    drop(tap);
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut stamps = Vec::new();
    while let Some(datagram) = reader.next_datagram().unwrap() {
        stamps.push(datagram.stamp_ns - WALL_NS);
    }
    assert_eq!(stamps, [2_000, 6_000]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_capture_and_not_the_driver() {
    let mut tap =
        Tap::create(UdpDriver::new(&small()).unwrap(), "/dev/full".as_ref(), Nanos::ZERO, 0).unwrap();
    let at = tap.open(&local(LOCALHOST)).unwrap();
    let itself = [to(at, tap.local_addr(at))];
    for number in 0..20 {
        send(&mut tap, &itself, &pattern(number, 1_000));
        assert_eq!(receive(&mut tap, 1)[0].2, pattern(number, 1_000));
    }
    assert!(!tap.is_whole());
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("no/such/directory");
    let error = Tap::create(UdpDriver::new(&small()).unwrap(), &nowhere, Nanos::ZERO, 0).err().unwrap();
    assert!(error.to_string().contains("no/such/directory"), "{error}");
}

#[test]
fn tshark_finds_nothing_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tap.pcapng");
    capture(&path);
    let tshark = |arguments: &[&str]| {
        Command::new("tshark")
            .arg("-r")
            .arg(&path)
            .args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"])
            .args(arguments)
            .output()
    };
    let fields = ["udp.length", "frame.interface_name", "frame.packet_flags_direction"];
    let mut arguments = vec!["-T", "fields"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let Ok(output) = tshark(&arguments) else {
        println!("skipped: no tshark here");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    let complaint = errors.lines().find(|text| !text.contains("Running as user") && !text.trim().is_empty());
    assert!(output.status.success() && complaint.is_none(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 4 * lengths().len());
    let first: Vec<&str> = lines.lines().next().unwrap().split('\t').collect();
    assert_eq!(first[0], "65515");
    assert!(first[1].starts_with("endpoint 2 local 127.0.0.1:"), "{}", first[1]);
    assert!(first[2].ends_with('2'), "outbound: {}", first[2]);

    // Anything malformed, of a wrong check sum, or otherwise worth a warning.
    let wrong = "_ws.malformed or _ws.expert.severity >= 0x600000 or ip.checksum.status == 0 or udp.checksum.status == 0";
    let output = tshark(&["-Y", wrong]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
