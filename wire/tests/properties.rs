//! Properties over random inputs: what is written is read again, and no bytes make a parser panic.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use seqcast_wire::ack::{self, Ack};
use seqcast_wire::glimpse::{self, EndOfSnapshot};
use seqcast_wire::itch::{self, Message};
use seqcast_wire::mold::{self, Downstream, Kind, Packer, Request};
use seqcast_wire::net::{FRAME_HEADER_BYTES, Frame, LinkType, UdpDatagram};
use seqcast_wire::repl::{self, Datagram, Head, Origin, Position, Reach};
use seqcast_wire::soup::{self, LoginAccepted, LoginRequest, Packet, RejectReason};
use seqcast_wire::{Alpha, Price4, SeqNo, Session, Timestamp, dump};
use std::net::SocketAddrV4;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod checks;

fn seq() -> impl Strategy<Value = SeqNo> {
    let ends = prop_oneof![1..=9u64, u64::MAX - 9..=u64::MAX, 1..=u64::MAX];
    ends.prop_map(|number| SeqNo::new(number).expect("not 0"))
}

fn session() -> impl Strategy<Value = Session> {
    "[!-~]{1,10}".prop_map(|text| text.parse().expect("graphic characters"))
}

fn alpha<const N: usize>() -> impl Strategy<Value = Alpha<N>> {
    vec(0x21..0x7Fu8, 0..=N).prop_map(|text| Alpha::padded(std::str::from_utf8(&text).expect("ASCII")))
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..60), 0..50)
}

fn packet() -> impl Strategy<Value = Packet<'static>> {
    let payload = b"payload";
    let timeout = proptest::option::of(any::<[u8; 5]>().prop_map(Alpha));
    let blank_or = prop_oneof![Just(Session::BLANK), session()];
    let request = (alpha(), alpha(), blank_or, proptest::option::of(seq()), timeout).prop_map(
        |(username, password, session, next, heartbeat_timeout)| {
            Packet::LoginRequest(LoginRequest { username, password, session, next, heartbeat_timeout })
        },
    );
    let accepted =
        (session(), seq()).prop_map(|(session, next)| Packet::LoginAccepted(LoginAccepted { session, next }));
    let reasons =
        vec![RejectReason::NotAuthorized, RejectReason::SessionNotAvailable, RejectReason::Other(b'x')];
    let simple = vec![
        Packet::Debug(payload),
        Packet::Sequenced(payload),
        Packet::Unsequenced(payload),
        Packet::ServerHeartbeat,
        Packet::ClientHeartbeat,
        Packet::EndOfSession,
        Packet::Logout,
        Packet::Unknown { kind: b'?', payload },
    ];
    prop_oneof![request, accepted, select(reasons).prop_map(Packet::LoginRejected), select(simple)]
}

fn origin() -> impl Strategy<Value = Origin> {
    (session(), 1..=u64::MAX, any::<u16>(), any::<u64>())
        .prop_map(|(session, epoch, node, incarnation)| Origin { session, epoch, node, incarnation })
}

/// Four reaches in order, each a part of the last.
fn reaches() -> impl Strategy<Value = [Reach; 4]> {
    ([seq(), seq(), seq(), seq()], any::<[bool; 4]>()).prop_map(|(mut numbers, ended)| {
        numbers.sort_unstable();
        let last = numbers[3];
        let mut reaches = numbers.map(Reach::to);
        for (reach, ended) in reaches.iter_mut().zip(ended) {
            reach.ended = ended && reach.next == last;
        }
        reaches.sort_unstable();
        reaches
    })
}

/// A valid datagram, packet, record or frame of each format, for mutation.
fn valid_inputs() -> Vec<Vec<u8>> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    let mut inputs: Vec<_> = checks::TARGETS
        .iter()
        .flat_map(|(name, _)| std::fs::read_dir(format!("{corpus}/{name}")).expect("a corpus"))
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("an input"))
        .filter(|bytes| !bytes.is_empty())
        .collect();
    inputs.sort();
    inputs
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_break_nothing(bytes in vec(any::<u8>(), 0..300)) {
        for (_, check) in checks::TARGETS {
            check(&bytes);
        }
    }

    #[test]
    fn damaged_inputs_break_nothing(
        input in select(valid_inputs()),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        keep in any::<Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = input;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        for (_, check) in checks::TARGETS {
            check(&bytes);
        }
    }

    #[test]
    fn a_packed_datagram_yields_what_was_pushed(
        session in session(), first in seq(), messages in messages(), room in 0..1500usize,
    ) {
        let mut buffer = vec![0xAA; room + 1];
        let Ok(mut packer) = Packer::new(&mut buffer[..room], session, first) else {
            prop_assert!(room < mold::HEADER_BYTES);
            return Ok(());
        };
        let mut used = mold::HEADER_BYTES;
        let mut pushed = Vec::new();
        for message in &messages {
            let fits = used + 2 + message.len() <= room && first.checked_add(pushed.len() as u64 + 1).is_some();
            prop_assert_eq!(packer.try_push(message), fits);
            if fits {
                used += 2 + message.len();
                pushed.push(&message[..]);
            }
        }
        let next = packer.next();
        prop_assert_eq!(packer.finish(), used);
        prop_assert_eq!(buffer[room], 0xAA, "nothing is written past the buffer");
        let downstream = Downstream::parse(&buffer[..used]).expect("well packed");
        prop_assert_eq!((downstream.session(), downstream.first(), downstream.next()), (session, first, next));
        let kind = if pushed.is_empty() { Kind::Heartbeat } else { Kind::Data(pushed.len() as u16) };
        prop_assert_eq!(downstream.kind(), kind);
        prop_assert!(downstream.messages().eq(pushed));
    }

    #[test]
    fn a_wrong_count_never_passes(session in session(), messages in messages(), count in any::<u16>()) {
        let mut buffer = vec![0; 5000];
        let mut packer = Packer::new(&mut buffer, session, SeqNo::FIRST).expect("room");
        prop_assume!(!messages.is_empty() && messages.len() != usize::from(count));
        prop_assert!(messages.iter().all(|message| packer.try_push(message)));
        let len = packer.finish();
        buffer[18..20].copy_from_slice(&count.to_be_bytes());
        prop_assert!(Downstream::parse(&buffer[..len]).is_err());
    }

    #[test]
    fn requests_are_read_as_written(session in session(), first in seq(), count in any::<u16>()) {
        let request = Request { session, first, count };
        let mut buffer = [0; mold::HEADER_BYTES];
        prop_assert_eq!(request.emit(&mut buffer), buffer.len());
        prop_assert_eq!(Request::parse(&buffer), Ok(request));
    }

    #[test]
    fn itch_messages_are_views_of_their_bytes(kind in select(itch::KINDS), body in vec(any::<u8>(), 49)) {
        let mut bytes = body;
        bytes.insert(0, kind);
        bytes.truncate(itch::length_of(kind).expect("a known type"));
        let message = Message::parse(&bytes).expect("the right length");
        prop_assert_eq!(message.as_bytes(), &bytes[..]);
        prop_assert!(!matches!(message, Message::Unknown(_)));
        prop_assert!(!format!("{message:?}").is_empty(), "any bytes can be shown");
    }

    #[test]
    fn packets_are_read_as_written(
        packet in packet(), payload in vec(any::<u8>(), 0..200), room in 0..300usize,
    ) {
        let packet = match packet {
            Packet::Sequenced(_) => Packet::Sequenced(&payload),
            other => other,
        };
        let mut buffer = vec![0xAA; room + 1];
        let len = packet.emit(&mut buffer[..room]);
        prop_assert_eq!(buffer[room], 0xAA, "nothing is written past the buffer");
        if len > 0 {
            prop_assert_eq!(soup::decode(&buffer), Ok(Some((packet, len))));
        } else {
            let longest = soup::LOGIN_REQUEST_4_10_BYTES.max(soup::HEADER_BYTES + payload.len());
            prop_assert!(room < longest);
            prop_assert!(buffer.iter().all(|&byte| byte == 0xAA), "nothing half written");
        }
    }

    #[test]
    fn a_stream_gives_the_same_packets_however_it_is_cut(
        packets in vec(packet(), 0..20), cuts in vec(1..40usize, 1..20),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            let mut buffer = [0; 100];
            let len = packet.emit(&mut buffer);
            stream.extend_from_slice(&buffer[..len]);
        }
        let (mut arrived, mut read) = (0, 0);
        let mut decoded = 0;
        for cut in cuts.iter().cycle() {
            arrived = (arrived + cut).min(stream.len());
            while let Some((packet, consumed)) = soup::decode(&stream[read..arrived]).expect("valid") {
                prop_assert_eq!(&packet, &packets[decoded]);
                decoded += 1;
                read += consumed;
            }
            if arrived == stream.len() {
                break;
            }
        }
        prop_assert_eq!((decoded, read), (packets.len(), stream.len()));
    }

    #[test]
    fn snapshots_end_where_it_was_written(next in seq()) {
        let mut buffer = [0; glimpse::BYTES];
        prop_assert_eq!(EndOfSnapshot { next }.emit(&mut buffer), buffer.len());
        prop_assert_eq!(EndOfSnapshot::parse(&buffer), Ok(EndOfSnapshot { next }));
        let digits: String = buffer[1..].iter().map(|&b| char::from(b)).collect();
        prop_assert_eq!(digits, format!("{:>20}", next.value()), "the standard library writes the same");
    }

    #[test]
    fn acknowledgements_are_read_as_written(
        session in session(), epoch in any::<u64>(), one in seq(), other in seq(), byte in any::<Index>(),
    ) {
        let ack = Ack { session, epoch, committed: one.min(other), received: one.max(other) };
        let mut buffer = [0; ack::BYTES];
        prop_assert_eq!(ack.emit(&mut buffer), buffer.len());
        prop_assert_eq!(Ack::parse(&buffer), Ok(ack));
        buffer[byte.index(6)] ^= 1;
        prop_assert!(Ack::parse(&buffer).is_err(), "magic, version and the reserved byte are checked");
    }

    #[test]
    fn files_are_read_as_written(messages in messages(), end in any::<bool>(), keep in any::<Index>()) {
        let messages: Vec<_> = messages.into_iter().filter(|message| !message.is_empty()).collect();
        let mut file = Vec::new();
        let mut ends = vec![0];
        for message in &messages {
            let mut buffer = [0; 100];
            let len = dump::emit(&mut buffer, message);
            file.extend_from_slice(&buffer[..len]);
            ends.push(file.len());
        }
        let whole = file.len();
        if end {
            file.extend_from_slice(&[0, 0]);
        }
        let mut records = dump::Records::new(&file);
        let read: Result<Vec<_>, _> = records.by_ref().collect();
        prop_assert!(read.expect("a whole file").iter().eq(messages.iter()));
        prop_assert_eq!((records.offset(), records.is_closed()), (file.len(), end));

        let keep = keep.index(whole + 1);
        let last_whole = *ends.iter().rfind(|&&end| end <= keep).expect("0 is one");
        let cut_off = (keep != last_whole).then_some(seqcast_wire::Error::PastEnd { offset: last_whole });
        let error = dump::Records::new(&file[..keep]).find_map(Result::err);
        prop_assert_eq!(error, cut_off);
    }

    #[test]
    fn datagrams_are_read_as_written(
        source in any::<([u8; 4], u16)>(), destination in any::<([u8; 4], u16)>(),
        payload in vec(any::<u8>(), 0..200), padding in 0..30usize,
    ) {
        let address = |(ip, port): ([u8; 4], u16)| SocketAddrV4::new(ip.into(), port);
        let datagram =
            UdpDatagram { source: address(source), destination: address(destination), payload: &payload };
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        prop_assert_eq!(datagram.emit_headers(&mut frame), FRAME_HEADER_BYTES);
        frame.extend_from_slice(&payload);
        frame.resize(frame.len() + padding, 0);
        prop_assert_eq!(Frame::parse(LinkType::Ethernet, &frame), Ok(Frame::Udp(datagram)));
        checks::net(&[&[0], &frame[..]].concat());
    }

    #[test]
    fn replication_datagrams_are_read_as_written(
        origin in origin(), parts in reaches(), epoch in any::<u64>(), crc in any::<u32>(), words in 0..20usize,
        wants in any::<bool>(), hole in 1..9u64, is_deaf in any::<bool>(),
    ) {
        let [a, b, c, d] = parts;
        let previous = Position { at: a, epoch, crc };
        let frames = vec![0xA5; if a < d { words * 8 } else { 0 }];
        let head = Head { end: d, committed: c, published: b.next, everywhere: a.next };
        let append = Datagram::Append(repl::Append { origin, previous, head, is_deaf, frames: &frames });
        let wanted = Some(Reach::to(c.next.saturating_add(hole))).filter(|wanted| wants && *wanted > c);
        let tail = Position { at: d, epoch, crc };
        let (verified, received, committed) = (b, c, a);
        let needs_image = crc.is_multiple_of(2);
        let wish = [None, Some(repl::Wish::Lead), Some(repl::Wish::Leave)][crc as usize % 3];
        let ack = repl::Ack {
            origin, tail, verified, received, wanted, committed, is_deaf, needs_image, wish,
        };
        let refuse = Datagram::Refuse(repl::Refuse { origin });
        let mut bytes = vec![0; 300];
        let sources = (0..words.min(9)).map(|_| (b.next, origin.session));
        let position = Position { at: Reach::to(b.next), ..previous };
        let len = repl::emit_image(&origin, &position, epoch, epoch, sources, &mut bytes, checks::crc32c);
        let image = Datagram::parse(&bytes[..len], checks::crc32c).unwrap();
        for datagram in [append, Datagram::Ack(ack), refuse, image] {
            let mut buffer = vec![0; 300];
            let len = checks::emit_repl(&datagram, &mut buffer, checks::crc32c);
            buffer.truncate(len);
            prop_assert_eq!(Datagram::parse(&buffer, checks::crc32c), Ok(datagram));
            prop_assert_eq!(*datagram.origin(), origin);
            for at in 0..len {
                buffer[at] ^= 1 << (at % 8);
                prop_assert!(Datagram::parse(&buffer, checks::crc32c).is_err(), "byte {}", at);
                buffer[at] ^= 1 << (at % 8);
            }
            checks::repl(&buffer);
        }
    }

    #[test]
    fn fields_keep_their_values(ns in 0..1u64 << 48, units in any::<u32>(), text in "[A-Z]{0,8}") {
        prop_assert_eq!(Timestamp::from_ns(ns).ns(), ns);
        prop_assert_eq!(Price4::new(units).units(), units);
        let padded = Alpha::<8>::padded(&text);
        prop_assert_eq!(padded.as_str(), Some(&text[..]));
        prop_assert_eq!(padded.to_string(), text);
    }

    #[test]
    fn sequence_numbers_do_not_wrap(number in seq(), count in any::<u64>()) {
        let further = number.checked_add(count);
        prop_assert_eq!(further.map(SeqNo::value), number.value().checked_add(count));
        prop_assert_eq!(number.saturating_add(count), further.unwrap_or(SeqNo::MAX));
        prop_assert_eq!(number.saturating_add(count).since(number), count.min(u64::MAX - number.value()));
        prop_assert_eq!(number.since(number.saturating_add(count)), 0);
    }
}
