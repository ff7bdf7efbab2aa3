use std::net::Ipv4Addr;
use std::path::PathBuf;

use proptest::prelude::*;
use seqcast_wire::net::{FRAME_HEADER_BYTES, UdpDatagram};
use tempfile::TempDir;

use super::*;

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 4_000);
const LINE_A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 1), 5_000);
const LINE_B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 2), 5_000);

fn frame(destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    UdpDatagram { source: SENDER, destination, payload }.emit_headers(&mut bytes);
    bytes.extend(payload);
    bytes
}

fn order32(big: bool, value: u32) -> [u8; 4] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

fn order16(big: bool, value: u16) -> [u8; 2] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// A classic capture of (seconds, fraction, frame).
fn pcap(big: bool, nanoseconds: bool, link: u32, packets: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut bytes = order32(big, magic).to_vec();
    bytes.extend(order16(big, 2));
    bytes.extend(order16(big, 4));
    for field in [0, 0, 65_535, link] {
        bytes.extend(order32(big, field));
    }
    for (seconds, fraction, frame) in packets {
        for field in [*seconds, *fraction, frame.len() as u32, frame.len() as u32] {
            bytes.extend(order32(big, field));
        }
        bytes.extend(frame);
    }
    bytes
}

fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = order32(big, body.len() as u32 + 12);
    [&order32(big, kind)[..], &length, &body, &length].concat()
}

fn section(big: bool) -> Vec<u8> {
    let version = [&order16(big, 1)[..], &order16(big, 0)].concat();
    block(big, 0x0A0D_0D0A, &[&order32(big, 0x1A2B_3C4D)[..], &version, &[0xff; 8]].concat())
}

/// An interface whose stamps count in `resolution` (as the option says it) from `offset_s`.
fn interface(big: bool, resolution: u8, offset_s: i64) -> Vec<u8> {
    let offset = if big { offset_s.to_be_bytes() } else { offset_s.to_le_bytes() };
    let mut body = [&order16(big, 1)[..], &[0; 6]].concat();
    body.extend([&order16(big, 9)[..], &order16(big, 1), &[resolution, 0, 0, 0]].concat());
    body.extend([&order16(big, 14)[..], &order16(big, 8), &offset].concat());
    body.extend([0; 4]);
    block(big, 1, &body)
}

fn packet(big: bool, interface: u32, units: u64, frame: &[u8]) -> Vec<u8> {
    let len = frame.len() as u32;
    let fields = [interface, (units >> 32) as u32, units as u32, len, len];
    let mut body: Vec<u8> = fields.iter().flat_map(|&field| order32(big, field)).collect();
    body.extend(frame);
    block(big, 6, &body)
}

fn write(directory: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join("capture");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Stamp, destination and payload.
type Datagrams = Vec<(u64, SocketAddrV4, Vec<u8>)>;

fn read_all(bytes: &[u8]) -> (Datagrams, Option<CaptureError>) {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = match CaptureReader::open(&write(&directory, bytes)) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut datagrams = Vec::new();
    loop {
        match reader.next_datagram() {
            Ok(Some(datagram)) => {
                assert_eq!(datagram.source, SENDER);
                datagrams.push((datagram.stamp_ns, datagram.destination, datagram.payload.to_vec()));
            }
            Ok(None) => return (datagrams, None),
            Err(error) => {
                assert!(reader.next_datagram().unwrap().is_none(), "an error ends it");
                return (datagrams, Some(error));
            }
        }
    }
}

fn three() -> Vec<(u32, u32, Vec<u8>)> {
    vec![
        (1_000, 1, frame(LINE_A, b"first")),
        (1_000, 500, frame(LINE_B, b"")),
        (1_001, 999_999, frame(LINE_A, &[7; 1_472])),
    ]
}

#[test]
fn classic_captures_are_read_in_either_order_and_precision() {
    for big in [false, true] {
        for (nanoseconds, ns_each) in [(false, 1_000), (true, 1)] {
            let (datagrams, error) = read_all(&pcap(big, nanoseconds, 1, &three()));
            assert!(error.is_none(), "{error:?}");
            let stamps: Vec<u64> = datagrams.iter().map(|datagram| datagram.0).collect();
            assert_eq!(stamps[0], 1_000_000_000_000 + ns_each);
            assert_eq!(stamps[2], 1_001_000_000_000 + 999_999 * ns_each);
            assert_eq!((datagrams[0].1, &datagrams[0].2[..]), (LINE_A, &b"first"[..]));
            assert_eq!((datagrams[1].1, datagrams[1].2.len()), (LINE_B, 0));
            assert_eq!(datagrams[2].2, [7; 1_472]);
        }
    }
}

#[test]
fn pcapng_is_read_with_each_interfaces_clock() {
    for big in [false, true] {
        let mut bytes = section(big);
        bytes.extend(interface(big, 6, 0));
        bytes.extend(interface(big, 9, 100));
        bytes.extend(interface(big, 0x80 | 10, -1));
        bytes.extend(packet(big, 0, 5_000_001, &frame(LINE_A, b"micro")));
        bytes.extend(packet(big, 1, 5_000_000_001, &frame(LINE_A, b"nano, moved")));
        bytes.extend(packet(big, 2, 3 * 1024 + 512, &frame(LINE_A, b"binary")));
        let simple = frame(LINE_B, b"simple");
        let mut body = order32(big, simple.len() as u32).to_vec();
        body.extend(&simple);
        bytes.extend(block(big, 3, &body));
        // A second section of the other order starts anew.
        bytes.extend(section(!big));
        bytes.extend(interface(!big, 9, 0));
        bytes.extend(packet(!big, 0, 77, &frame(LINE_B, b"other order")));
        let (datagrams, error) = read_all(&bytes);
        assert!(error.is_none(), "{error:?}");
        let stamps: Vec<u64> = datagrams.iter().map(|datagram| datagram.0).collect();
        assert_eq!(stamps, [5_000_001_000, 105_000_000_001, 2_500_000_000, 2_500_000_000, 77]);
        assert_eq!(datagrams[3].2, b"simple");
        assert_eq!(datagrams[4].2, b"other order");
    }
}

#[test]
fn what_is_no_datagram_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut tcp = frame(LINE_A, b"not udp");
    tcp[23] = 6;
    let mut fragment = frame(LINE_A, b"part");
    fragment[20] = 0x20;
    let mut damaged = frame(LINE_A, b"bad");
    damaged[14] = 0x43;
    let cut = frame(LINE_A, b"longer than captured")[..50].to_vec();
    let packets: Vec<_> = [tcp, fragment, damaged, cut, frame(LINE_A, b"good")]
        .into_iter()
        .map(|frame| (0, 0, frame))
        .collect();
    let contents = Contents::of(&write(&directory, &pcap(false, true, 1, &packets))).unwrap();
    assert!(contents.damage.is_none());
    assert_eq!(contents.flows, [Flow { destination: LINE_A, datagrams: 1, bytes: 4 }]);
    let expected = Skipped { other: 1, fragments: 1, cut: 1, damaged: 1, unknown_link: 0 };
    assert_eq!(contents.skipped, expected);

    let contents = Contents::of(&write(&directory, &pcap(false, true, 127, &packets))).unwrap();
    assert_eq!(contents.skipped, Skipped { unknown_link: 5, ..Skipped::default() });
}

#[test]
fn a_capture_cut_anywhere_gives_what_is_whole_and_says_where_it_ends() {
    let mut ng = section(false);
    ng.extend(interface(false, 9, 0));
    for (_, stamp, frame) in three() {
        ng.extend(packet(false, 0, u64::from(stamp), &frame));
    }
    for whole in [pcap(false, true, 1, &three()), ng] {
        let (all, none) = read_all(&whole);
        assert!(none.is_none() && all.len() == 3);
        for len in (0..whole.len()).step_by(7).chain(whole.len() - 30..whole.len()) {
            let (datagrams, error) = read_all(&whole[..len]);
            assert_eq!(datagrams, all[..datagrams.len()]);
            match error {
                None => assert!(datagrams.len() < 3, "cut between two packets: not to be told from the end"),
                Some(CaptureError::Format { .. }) => assert!(len < 28 && datagrams.is_empty()),
                Some(CaptureError::Truncated { packet, offset, .. }) => {
                    assert!(packet == datagrams.len() as u64 + 1 && offset < len as u64, "{packet} {offset}");
                }
                Some(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn damage_is_placed() {
    let mut bytes = pcap(false, false, 1, &three());
    let second = 24 + 16 + three()[0].2.len();
    bytes[second + 8..second + 12].fill(0xff);
    let (datagrams, error) = read_all(&bytes);
    assert_eq!(datagrams.len(), 1);
    let text = error.unwrap().to_string();
    assert!(text.contains("packet 2") && text.contains(&format!("byte {second}")), "{text}");

    let (_, error) = read_all(b"not a capture at all, but long enough to hold a header");
    assert!(matches!(error, Some(CaptureError::Format { .. })));
    let (_, error) = read_all(b"");
    assert!(matches!(error, Some(CaptureError::Format { .. })));
    let error = CaptureReader::open("/nonexistent/capture".as_ref()).err().unwrap().to_string();
    assert!(error.contains("/nonexistent/capture"), "{error}");
}

fn line(group: SocketAddrV4, source: Option<Ipv4Addr>) -> EndpointSpec {
    let bind = Bind::Line { group, interface: Ipv4Addr::UNSPECIFIED, source };
    EndpointSpec { bind, receive_buffer_bytes: 0, send_buffer_bytes: 0 }
}

#[test]
fn flows_become_endpoints_and_get_their_datagrams() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(&directory, &pcap(false, true, 1, &three()));
    let flows = Contents::of(&path).unwrap().flows;
    assert_eq!(
        flows.iter().map(|flow| (flow.datagrams, flow.bytes)).collect::<Vec<_>>(),
        [(2, 1_477), (1, 0)]
    );
    let mut driver = PcapDriver::open_file(&path, Pace::AsFast).unwrap();
    for flow in &flows {
        let endpoint = driver.open(&line(flow.destination, None)).unwrap();
        assert_eq!(driver.local_addr(endpoint), flow.destination);
    }
    driver.open(&line(LINE_A, Some(Ipv4Addr::new(10, 0, 0, 2)))).unwrap();
    driver.open(&line(LINE_A, Some(*SENDER.ip()))).unwrap();
    let mut seen = Vec::new();
    while !driver.finished() {
        driver
            .poll_rx(Nanos::ZERO, 2, |received| {
                assert_eq!(received.from, SENDER);
                seen.push((received.endpoint.0, received.bytes.len()));
            })
            .unwrap();
    }
    assert_eq!(seen, [(0, 5), (3, 5), (1, 0), (0, 1_472), (3, 1_472)]);
    assert_eq!(driver.counters().received_datagrams, 5);

    let to = [Destination { endpoint: EndpointId(0), to: LINE_A }; 2];
    assert_eq!(driver.transmit(&to, 100, |_| panic!("not called")), Ok(0));
    assert_eq!(driver.counters().send_errors, 2);
}

#[test]
fn a_damaged_capture_is_played_up_to_the_damage() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = pcap(false, true, 1, &three());
    let path = write(&directory, &bytes[..bytes.len() - 1]);
    assert!(Contents::of(&path).unwrap().damage.is_some());
    let mut driver = PcapDriver::open_file(&path, Pace::AsFast).unwrap();
    driver.open(&line(LINE_A, None)).unwrap();
    driver.open(&line(LINE_B, None)).unwrap();
    assert_eq!(driver.poll_rx(Nanos::ZERO, 10, |_| {}).unwrap(), 2);
    let text = driver.poll_rx(Nanos::ZERO, 10, |_| {}).unwrap_err().to_string();
    assert!(text.contains("packet 3"), "{text}");
    assert!(driver.finished());
    assert_eq!(driver.poll_rx(Nanos::ZERO, 10, |_| {}).unwrap(), 0);
}

#[test]
fn recorded_time_is_kept_and_scaled() {
    let directory = tempfile::tempdir().unwrap();
    let packets = [0, 1_000, 1_000, 900, 3_000].map(|fraction| (5, fraction, frame(LINE_A, b"x"))).to_vec();
    let path = write(&directory, &pcap(false, true, 1, &packets));
    let mut driver = PcapDriver::open_file(&path, Pace::Recorded { speed: 2.0 }).unwrap();
    driver.open(&line(LINE_A, None)).unwrap();
    let start = Nanos::from_secs(9);
    let mut at = |ns: u64| driver.poll_rx(start + Nanos(ns), 10, |_| {}).unwrap();
    assert_eq!([at(0), at(499), at(500), at(1_499), at(1_500), at(9_999)], [1, 0, 3, 0, 1, 0]);
    assert!(driver.finished());
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            PcapDriver::open_file(&path, Pace::Recorded { speed }),
            Err(CaptureError::Speed(_))
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever stands in the file: no panic, no hang.
    #[test]
    fn any_damage_ends_in_an_answer(
        next_generation: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = if next_generation {
            let mut bytes = section(false);
            bytes.extend(interface(false, 9, 0));
            for (_, stamp, frame) in three() {
                bytes.extend(packet(false, 0, u64::from(stamp), &frame));
            }
            bytes
        } else {
            pcap(false, false, 1, &three())
        };
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let directory = tempfile::tempdir().unwrap();
        if let Ok(mut reader) = CaptureReader::open(&write(&directory, &bytes)) {
            let mut datagrams = 0;
            while let Ok(Some(_)) = reader.next_datagram() {
                datagrams += 1;
                prop_assert!(datagrams <= bytes.len());
            }
        }
    }
}
