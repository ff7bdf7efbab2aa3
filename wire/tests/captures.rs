//! Real market data, where it is at hand: captures of live feeds and the start of a published day file.
//!
//! The data is not part of the repository; without it these tests say so and pass.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seqcast_wire::Error;
use seqcast_wire::dump::Records;
use seqcast_wire::itch::{Message, StockDirectory};
use seqcast_wire::mold::{Downstream, Kind};
use seqcast_wire::net::{FRAME_HEADER_BYTES, Frame, LinkType, UdpDatagram};

/// The data beside the project, or `None` after saying what is skipped.
fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

/// The frames of a little-endian pcap file and their link type.
fn frames(path: &Path) -> (LinkType, Vec<Vec<u8>>) {
    let file = std::fs::read(path).expect("a readable capture");
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    assert!([0xA1B2_C3D4, 0xA1B2_3C4D].contains(&number(0)), "{} is a pcap file", path.display());
    let link = LinkType::from_number(number(20)).expect("a link type that is read");
    let (mut at, mut frames) = (24, Vec::new());
    while at < file.len() {
        let captured = number(at + 8) as usize;
        frames.push(file[at + 16..at + 16 + captured].to_vec());
        at += 16 + captured;
    }
    (link, frames)
}

fn captures(folder: &str) -> Vec<PathBuf> {
    let Some(folder) = data(folder) else { return Vec::new() };
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Calls `on_datagram` with every UDP datagram of every capture in `folder`.
fn for_each_datagram(folder: &str, mut on_datagram: impl FnMut(&UdpDatagram<'_>)) {
    for path in captures(folder) {
        let (link, frames) = frames(&path);
        for frame in &frames {
            let Ok(Frame::Udp(datagram)) = Frame::parse(link, frame) else { panic!("{}", path.display()) };
            on_datagram(&datagram);
        }
    }
}

/// Counts the messages of a datagram by type, all of which must be known and have the right length.
fn count(payload: &[u8], kinds: &mut BTreeMap<char, usize>) {
    for message in Downstream::parse(payload).expect("a whole datagram").messages() {
        let parsed = Message::parse(message).expect("the length of the specification");
        assert!(!matches!(parsed, Message::Unknown(_)));
        *kinds.entry(char::from(message[0])).or_default() += 1;
    }
}

#[test]
fn live_datagrams_parse_whole() {
    let mut kinds = BTreeMap::new();
    let mut largest = 0;
    for_each_datagram("nasdaq-totalview-itch50", |datagram| {
        assert!(datagram.destination.ip().is_multicast());
        largest = largest.max(datagram.payload.len());
        count(datagram.payload, &mut kinds);
    });
    if data("nasdaq-totalview-itch50").is_some() {
        let expected =
            [('A', 37), ('D', 2), ('E', 1), ('F', 2), ('H', 1), ('I', 1), ('L', 1), ('U', 1)].into();
        assert_eq!((kinds, largest), (expected, 1_472));
    }
}

/// Whoever published these tagged frames wiped addresses, session and number; the messages are the real ones.
#[test]
fn live_messages_in_wiped_datagrams_parse_once_they_have_a_number() {
    let mut kinds = BTreeMap::new();
    for_each_datagram("nasdaq-totalview-itch50-20230822", |datagram| {
        assert_eq!(Downstream::parse(datagram.payload).err(), Some(Error::SeqNo));
        let mut numbered = datagram.payload.to_vec();
        numbered[17] = 1;
        count(&numbered, &mut kinds);
    });
    if data("nasdaq-totalview-itch50-20230822").is_some() {
        let expected = "ACDEFHIJLPQUXY".chars().map(|kind| (kind, 5)).chain([('S', 1)]).collect();
        assert_eq!(kinds, expected);
    }
}

#[test]
fn another_payload_and_a_heartbeat_parse_whole() {
    let mut kinds = Vec::new();
    for_each_datagram("ise-order-combo-mold", |datagram| {
        let downstream = Downstream::parse(datagram.payload).expect("a whole datagram");
        assert_eq!(downstream.session().to_string(), "000008367I");
        kinds.push(downstream.kind());
    });
    if data("ise-order-combo-mold").is_some() {
        let one = Kind::Data(1);
        assert_eq!(kinds, [one, one, one, Kind::Heartbeat, one, one]);
    }
}

/// Frames whose sender filled in the UDP check sum: the one computed here is the same.
#[test]
fn check_sums_are_those_of_the_senders() {
    for path in captures("ise-order-combo-mold") {
        let (link, frames) = frames(&path);
        for frame in &frames {
            let Ok(Frame::Udp(datagram)) = Frame::parse(link, frame) else { panic!("{}", path.display()) };
            let mut headers = [0; FRAME_HEADER_BYTES];
            datagram.emit_headers(&mut headers);
            assert_eq!(headers[..6], frame[..6], "the group's Ethernet address");
            assert_eq!(headers[34..], frame[34..42], "ports, length and check sum");
        }
    }
}

#[test]
fn the_start_of_a_day_file_parses_whole() {
    let Some(path) = data("nasdaq_first1000.itch50") else { return };
    let file = std::fs::read(path).expect("a readable file");
    let mut counts = BTreeMap::<char, usize>::new();
    let mut symbols = Vec::new();
    let mut last_ns = 0;
    let mut records = Records::new(&file);
    for record in records.by_ref() {
        let parsed =
            Message::parse(record.expect("a whole record")).expect("the length of the specification");
        let header = parsed.header().expect("a known type");
        *counts.entry(char::from(header.kind)).or_default() += 1;
        assert!(header.timestamp.ns() >= last_ns, "time does not run backwards");
        last_ns = header.timestamp.ns();
        if let Message::StockDirectory(directory) = parsed {
            symbols.push((header.locate.get(), plausible(directory)));
        }
    }
    assert_eq!(records.offset(), file.len());
    assert!(!records.is_closed());
    assert_eq!(counts, BTreeMap::from([('S', 1), ('R', 993), ('H', 3), ('Y', 3)]));
    assert!(symbols.iter().map(|(locate, _)| *locate).eq(1..=993), "locates count up from 1");
    assert!(symbols.is_sorted_by(|(_, a), (_, b)| a < b), "symbols are in order");
}

/// Checks a directory entry's values, not only its length, and gives the symbol.
fn plausible(directory: &StockDirectory) -> String {
    let symbol = directory.stock.as_str().expect("ASCII");
    assert!(!symbol.is_empty() && symbol.bytes().all(|b| b.is_ascii_graphic()), "{symbol:?}");
    assert!(b"PT".contains(&directory.authenticity), "{directory:?}");
    assert!(b"YN ".contains(&directory.etp), "{directory:?}");
    assert!(b"YN ".contains(&directory.inverse), "{directory:?}");
    assert!((1..=10_000).contains(&directory.round_lot_shares.get()), "{directory:?}");
    assert!(directory.etp_leverage.get() <= 100, "{directory:?}");
    symbol.to_owned()
}
