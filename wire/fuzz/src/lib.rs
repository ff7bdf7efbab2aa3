//! What must hold for any bytes, one function a format.
//!
//! The fuzz targets call these, and so do `wire/tests/fuzz_corpus.rs` over the checked-in corpus and
//! `wire/tests/properties.rs` over random bytes: plain `cargo test` replays all that fuzzing found. Each panics when a
//! property is broken.

use seqcast_wire::ack::Ack;
use seqcast_wire::glimpse::EndOfSnapshot;
use seqcast_wire::itch::Message;
use seqcast_wire::mold::{self, Downstream, Kind, Packer, Request};
use seqcast_wire::net::{FRAME_HEADER_BYTES, Frame, LinkType};
use seqcast_wire::repl::{self, Datagram};
use seqcast_wire::soup::{self, Packet};
use seqcast_wire::{Error, SeqNo, Session, dump, itch};

/// A target's name, as in `fuzz_targets/` and `corpus/`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("mold", mold),
    ("itch", itch),
    ("soup", soup),
    ("dump", dump),
    ("net", net),
    ("glimpse", glimpse),
    ("ack", ack),
    ("repl", repl),
];

/// MoldUDP64: what parses is written again byte for byte, and what a packer takes is read again.
pub fn mold(data: &[u8]) {
    if let Ok(downstream) = Downstream::parse(data) {
        assert_eq!(rewritten(&downstream, data.len()), data);
    }
    if let Ok(request) = Request::parse(data) {
        let mut buffer = [0; mold::HEADER_BYTES];
        assert_eq!(request.emit(&mut buffer), data.len());
        assert_eq!(buffer, data);
    }
    packed(data);
}

fn rewritten(downstream: &Downstream<'_>, room: usize) -> Vec<u8> {
    let mut buffer = vec![0; room];
    let (session, first) = (downstream.session(), downstream.first());
    let messages = downstream.messages();
    let carried = u64::from(if let Kind::Data(count) = downstream.kind() { count } else { 0 });
    assert_eq!(downstream.next().since(first), carried);
    assert_eq!(messages.len() as u64, carried);
    let len = match downstream.kind() {
        Kind::Heartbeat => mold::emit_heartbeat(&mut buffer, session, first),
        Kind::EndOfSession => mold::emit_end_of_session(&mut buffer, session, first),
        Kind::Data(_) => {
            let mut packer = Packer::new(&mut buffer, session, first).expect("room for the header");
            for message in messages {
                assert!(packer.try_push(message), "what came in one datagram fits one");
            }
            packer.finish()
        }
    };
    buffer.truncate(len);
    buffer
}

/// Takes `data` as a first number, a buffer size and message lengths, and packs.
fn packed(data: &[u8]) {
    let Some((head, lengths)) = data.split_first_chunk::<10>() else { return };
    let [first @ .., high, low] = *head;
    let Some(first) = SeqNo::new(u64::from_be_bytes(first)) else { return };
    let mut buffer = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    let room = buffer.len();
    let Ok(mut packer) = Packer::new(&mut buffer, Session::BLANK, first) else {
        assert!(room < mold::HEADER_BYTES);
        return;
    };
    let mut pushed = Vec::new();
    for &length in lengths {
        let message = &data[..usize::from(length).min(data.len())];
        if packer.try_push(message) {
            pushed.push(message);
        }
        assert_eq!(packer.next().since(first), pushed.len() as u64);
    }
    let len = packer.finish();
    let downstream = Downstream::parse(&buffer[..len]).expect("a packer writes what parses");
    assert_eq!(downstream.first(), first);
    assert!(downstream.messages().eq(pushed));
}

/// ITCH: a known type has its length and its bytes, another type is passed over.
pub fn itch(data: &[u8]) {
    let known = data.first().and_then(|&kind| itch::length_of(kind));
    match Message::parse(data) {
        Ok(message) => {
            assert_eq!(message.as_bytes(), data);
            assert_eq!(known, message.header().map(|_| data.len()));
            if let Some(header) = message.header() {
                assert_eq!(header.kind, data[0]);
                let [_, locate @ ..] = *data.first_chunk::<3>().expect("a header");
                assert_eq!(header.locate.get(), u16::from_be_bytes(locate));
                assert!(header.timestamp.ns() < 1 << 48);
            }
        }
        Err(Error::Truncated { .. }) => assert!(data.is_empty()),
        Err(error) => {
            let expected = known.expect("only known types have a length");
            assert_eq!(error, Error::Length { kind: data[0], expected, actual: data.len() });
            assert_ne!(expected, data.len());
        }
    }
}

/// SoupBinTCP: a packet is the same however much of the stream has arrived, and is read again when written.
pub fn soup(data: &[u8]) {
    let mut stream = data;
    while let Ok(Some((packet, consumed))) = soup::decode(stream) {
        let (bytes, rest) = stream.split_at(consumed);
        assert_eq!(soup::decode(bytes), Ok(Some((packet, consumed))));
        for len in [consumed - 1, soup::HEADER_BYTES - 1, 1] {
            assert_eq!(soup::decode(&bytes[..len.min(consumed - 1)]), Ok(None));
        }
        let mut buffer = vec![0; consumed];
        assert_eq!(packet.emit(&mut buffer), consumed);
        assert_eq!(soup::decode(&buffer), Ok(Some((packet, consumed))));
        assert_eq!(packet.emit(&mut buffer[..consumed - 1]), 0);
        if !matches!(packet, Packet::LoginRequest(_) | Packet::LoginAccepted(_)) {
            assert_eq!(buffer, bytes, "only padded fields have more than one spelling");
        }
        stream = rest;
    }
    if let Err(error) = soup::decode(stream) {
        let longer = [stream, b"more"].concat();
        assert_eq!(soup::decode(&longer), Err(error), "more bytes do not change a verdict");
    }
}

/// BinaryFILE: the messages written again are the file up to the offset that is told.
pub fn dump(data: &[u8]) {
    let mut records = dump::Records::new(data);
    let mut written = Vec::new();
    let mut cut_off = false;
    for record in &mut records {
        assert!(!cut_off, "nothing comes after an error");
        match record {
            Ok(message) => {
                let mut buffer = vec![0; dump::RECORD_HEADER_BYTES + message.len()];
                assert_eq!(dump::emit(&mut buffer, message), buffer.len());
                written.extend_from_slice(&buffer);
            }
            Err(error) => {
                assert_eq!(error, Error::PastEnd { offset: written.len() });
                cut_off = true;
            }
        }
    }
    if records.is_closed() {
        let mut end = [0xFF; dump::RECORD_HEADER_BYTES];
        assert_eq!(dump::emit_end(&mut end), end.len());
        written.extend_from_slice(&end);
    }
    assert_eq!(written, data[..records.offset()]);
    if !records.is_closed() {
        assert_eq!(records.offset() == data.len(), !cut_off);
    }
    assert_eq!(records.next(), None);
}

/// Frames: a datagram, put behind headers of our own, is the same datagram. The first byte picks the link type.
pub fn net(data: &[u8]) {
    let Some((&link, frame)) = data.split_first() else { return };
    let links = [LinkType::Ethernet, LinkType::RawIp, LinkType::LinuxCooked, LinkType::LinuxCooked2];
    let link = links[usize::from(link) % links.len()];
    match Frame::parse(link, frame) {
        Ok(Frame::Udp(datagram)) => {
            let mut written = vec![0; FRAME_HEADER_BYTES];
            assert_eq!(datagram.emit_headers(&mut written), FRAME_HEADER_BYTES);
            written.extend_from_slice(datagram.payload);
            assert_eq!(Frame::parse(LinkType::Ethernet, &written), Ok(Frame::Udp(datagram)));
            assert_check_sums(&written);
        }
        Ok(Frame::Fragment | Frame::Other) => {}
        Err(Error::Truncated { needed, actual }) => {
            assert_eq!(actual, frame.len());
            assert!(needed > actual, "{needed} bytes are there");
        }
        Err(Error::Field { .. }) => {}
        Err(error) => panic!("undocumented: {error}"),
    }
}

/// Adds up as a receiver does: header, and pseudo header with datagram, make all ones.
fn assert_check_sums(frame: &[u8]) {
    let sum = |bytes: &[u8]| {
        bytes.iter().enumerate().fold(0u16, |sum, (at, &byte)| {
            let (sum, carry) = sum.overflowing_add(u16::from(byte) << if at % 2 == 0 { 8 } else { 0 });
            sum + u16::from(carry)
        })
    };
    assert_eq!(sum(&frame[14..34]), 0xFFFF);
    let pseudo_header = [&frame[26..34], &[0, 17], &frame[38..40]].concat();
    assert_eq!(sum(&[&pseudo_header, &frame[34..]].concat()), 0xFFFF);
    assert_ne!(frame[40..42], [0, 0], "a check sum was computed");
}

/// GLIMPSE: what parses is written again as one spelling of it.
pub fn glimpse(data: &[u8]) {
    if let Ok(end) = EndOfSnapshot::parse(data) {
        let mut buffer = vec![0; data.len()];
        assert_eq!(end.emit(&mut buffer), data.len());
        assert_eq!(EndOfSnapshot::parse(&buffer), Ok(end));
        let digits = |bytes: &[u8]| {
            bytes[1..].iter().filter(|b| **b != b' ').skip_while(|b| **b == b'0').copied().collect::<Vec<_>>()
        };
        assert_eq!(digits(data), digits(&buffer));
    }
}

/// Acknowledgements: what parses is written again byte for byte, and is no MoldUDP64 request.
pub fn ack(data: &[u8]) {
    if let Ok(ack) = Ack::parse(data) {
        let mut buffer = vec![0; data.len()];
        assert_eq!(ack.emit(&mut buffer), data.len());
        assert_eq!(buffer, data);
        assert!(ack.committed <= ack.received);
        assert!(Request::parse(data).is_err());
    }
}

/// CRC-32C bit by bit, as its polynomial says.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

/// Writes a datagram of the replication stream with the check sum that `crc32c` makes.
pub fn emit_repl(datagram: &Datagram<'_>, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
    match datagram {
        Datagram::Append(append) => append.emit(buffer, crc32c),
        Datagram::Ack(ack) => ack.emit(buffer, crc32c),
        Datagram::Refuse(refuse) => refuse.emit(buffer, crc32c),
        Datagram::Image(image) => image.emit(buffer, crc32c),
    }
}

/// Replication: what parses is written again byte for byte, and its numbers do not contradict one another.
pub fn repl(data: &[u8]) {
    // Any check sum is taken for right: nobody finds one by chance.
    let Some(claimed) = data.get(4..8).and_then(|crc| crc.first_chunk()) else {
        assert!(Datagram::parse(data, crc32c).is_err());
        return;
    };
    let claimed = u32::from_le_bytes(*claimed);
    let parsed = Datagram::parse(data, |_| claimed);
    let is_right = data.get(8..).is_some_and(|covered| crc32c(covered) == claimed);
    assert_eq!(Datagram::parse(data, crc32c).is_ok(), parsed.is_ok() && is_right);
    let Ok(datagram) = parsed else { return };
    let mut buffer = vec![0; data.len()];
    assert_eq!(emit_repl(&datagram, &mut buffer, |_| claimed), data.len());
    assert_eq!(buffer, data);
    assert_eq!(emit_repl(&datagram, &mut buffer[1..], |_| claimed), 0);
    match datagram {
        Datagram::Append(append) => {
            assert!(append.head.published <= append.head.committed.next);
            assert!(append.head.committed <= append.head.end && append.previous.at <= append.head.end);
            assert!(append.frames.len().is_multiple_of(repl::FRAME_ALIGN_BYTES));
            assert!(append.origin.epoch > 0);
        }
        Datagram::Ack(ack) => {
            assert!(ack.verified <= ack.received && ack.received <= ack.tail.at);
            assert!(ack.committed <= ack.tail.at);
            assert!(ack.wanted.is_none_or(|wanted| wanted > ack.received));
            assert!(ack.origin.epoch > 0 || ack.received == repl::Reach::NOTHING);
        }
        Datagram::Refuse(refuse) => assert!(refuse.origin.epoch > 0),
        Datagram::Image(image) => {
            assert!(image.origin.epoch > 0 && !image.position.at.ended);
            assert_eq!(image.sources.iter().count(), image.sources.len());
        }
    }
}
