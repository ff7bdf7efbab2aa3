//! Golden bytes: vectors that other implementations have accepted, read and written.

use seqcast_wire::glimpse::EndOfSnapshot;
use seqcast_wire::itch::{AddOrder, Header, Message, OrderExecuted};
use seqcast_wire::mold::{self, Downstream, Kind, Packer, Request};
use seqcast_wire::soup::{self, Packet};
use seqcast_wire::{Alpha, Price4, SeqNo, Session, Timestamp, dump};
use zerocopy::IntoBytes;

const SESSION: Session = Session::from_wire(*b"MDREPL0001");

/// Bytes written as hexadecimal digits; blanks are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let digit = |b: u8| char::from(b).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn seq(number: u64) -> SeqNo {
    SeqNo::new(number).expect("not 0")
}

fn add_bytes() -> Vec<u8> {
    hex("41 000d 0000 1f1ad635bd15 0000000000001267 42 00000064 4141504c20202020 001a2174")
}

fn add_order() -> AddOrder {
    AddOrder {
        header: Header::new(AddOrder::KIND, 13, 0, Timestamp::from_ns(34_200_123_456_789)),
        reference: 4711.into(),
        side: b'B',
        shares: 100.into(),
        stock: Alpha::padded("AAPL"),
        price: Price4::new(1_712_500),
    }
}

fn execution() -> OrderExecuted {
    OrderExecuted {
        header: Header::new(OrderExecuted::KIND, 13, 0, Timestamp::from_ns(34_200_123_456_790)),
        reference: 4711.into(),
        shares: 50.into(),
        match_number: 1001.into(),
    }
}

#[test]
fn an_add_order_is_read_and_written() {
    let bytes = add_bytes();
    assert_eq!(Message::parse(&bytes), Ok(Message::AddOrder(&add_order())));
    assert_eq!(add_order().as_bytes(), bytes);
    assert_eq!(add_order().header.timestamp.to_string(), "09:30:00.123456789");
    assert_eq!(add_order().price.to_string(), "171.2500");
    assert_eq!(add_order().stock.as_str(), Some("AAPL"));
}

#[test]
fn a_datagram_with_two_messages_is_read_and_written() {
    let mut bytes = hex("4d445245504c30303031 0000000000000001 0002 0024");
    bytes.extend_from_slice(&add_bytes());
    bytes
        .extend_from_slice(&hex("001f 45 000d 0000 1f1ad635bd16 0000000000001267 00000032 00000000000003e9"));
    let downstream = Downstream::parse(&bytes).expect("a golden vector");
    assert_eq!((downstream.session(), downstream.kind()), (SESSION, Kind::Data(2)));
    assert_eq!((downstream.first(), downstream.next()), (seq(1), seq(3)));
    let parsed: Vec<_> = downstream.messages().map(Message::parse).collect();
    assert_eq!(parsed, [Ok(Message::AddOrder(&add_order())), Ok(Message::OrderExecuted(&execution()))]);

    let mut buffer = [0; 100];
    let mut packer = Packer::new(&mut buffer, SESSION, seq(1)).expect("room");
    assert!(packer.try_push(add_order().as_bytes()) && packer.try_push(execution().as_bytes()));
    let len = packer.finish();
    assert_eq!(buffer[..len], bytes);
}

#[test]
fn a_heartbeat_is_read_and_written() {
    let bytes = hex("4d445245504c30303031 0000000000000006 0000");
    let downstream = Downstream::parse(&bytes).expect("a golden vector");
    assert_eq!((downstream.kind(), downstream.next()), (Kind::Heartbeat, seq(6)));
    let mut buffer = [0; mold::HEADER_BYTES];
    assert_eq!(mold::emit_heartbeat(&mut buffer, SESSION, seq(6)), 20);
    assert_eq!(buffer, bytes[..]);
}

#[test]
fn an_end_of_session_is_read_and_written() {
    let bytes = hex("4d445245504c30303031 0000000000000006 ffff");
    let downstream = Downstream::parse(&bytes).expect("a golden vector");
    assert_eq!(downstream.kind(), Kind::EndOfSession);
    assert_eq!(downstream.next(), seq(6), "0xFFFF is no count: the number stays");
    let mut buffer = [0; mold::HEADER_BYTES];
    assert_eq!(mold::emit_end_of_session(&mut buffer, SESSION, seq(6)), 20);
    assert_eq!(buffer, bytes[..]);
}

#[test]
fn a_request_is_read_and_written() {
    let bytes = hex("4d445245504c30303031 0000000000000002 0003");
    let request = Request { session: SESSION, first: seq(2), count: 3 };
    assert_eq!(Request::parse(&bytes), Ok(request));
    assert!(Downstream::parse(&bytes).is_err(), "it promises blocks that are not there");
    let mut buffer = [0; mold::HEADER_BYTES];
    assert_eq!(request.emit(&mut buffer), 20);
    assert_eq!(buffer, bytes[..]);
}

/// As Nasdaq sent it to 233.54.12.111:26477 on 2023-08-22.
#[test]
fn a_real_datagram_is_read() {
    let bytes = hex("30303030313030353942 0000000000e12f59 0001 0024
         41 1598 0000 1f1aced85306 000000000166b53e 42 00000640 49564f4f20202020 000d55ac");
    let downstream = Downstream::parse(&bytes).expect("a real datagram");
    assert_eq!(downstream.session().to_string(), "000010059B");
    assert_eq!((downstream.first(), downstream.next()), (seq(14_757_721), seq(14_757_722)));
    let message = downstream.messages().next().expect("one message");
    let Ok(Message::AddOrder(add)) = Message::parse(message) else { panic!("an add order") };
    assert_eq!(add.header.locate.get(), 0x1598);
    assert_eq!(add.header.timestamp.to_string(), "09:29:59.999894278");
    assert_eq!((add.reference.get(), add.side, add.shares.get()), (23_508_286, b'B', 1_600));
    assert_eq!((add.stock.as_str(), add.price.to_string().as_str()), (Some("IVOO"), "87.3900"));
}

#[test]
fn an_end_of_snapshot_is_read_and_written() {
    let bytes = hex("47 2020202020202020202020202020202020202036");
    let end = EndOfSnapshot { next: seq(6) };
    assert_eq!(EndOfSnapshot::parse(&bytes), Ok(end));
    assert_eq!(EndOfSnapshot::parse(b"G00000000000000000006"), Ok(end));
    let mut buffer = [0; 21];
    assert_eq!(end.emit(&mut buffer), 21);
    assert_eq!(buffer, bytes[..]);
}

/// A type of a later revision, between two known ones: passed over by its length.
#[test]
fn an_unknown_message_does_not_disturb_its_neighbours() {
    let unknown = b"~what a later revision adds";
    let mut buffer = [0; 200];
    let mut packer = Packer::new(&mut buffer, SESSION, seq(1)).expect("room");
    assert!(packer.try_push(add_order().as_bytes()));
    assert!(packer.try_push(unknown));
    assert!(packer.try_push(execution().as_bytes()));
    let len = packer.finish();
    let downstream = Downstream::parse(&buffer[..len]).expect("well packed");
    let parsed: Vec<_> = downstream.messages().map(Message::parse).collect();
    let (add, execution) = (add_order(), execution());
    assert_eq!(
        parsed,
        [Ok(Message::AddOrder(&add)), Ok(Message::Unknown(unknown)), Ok(Message::OrderExecuted(&execution))]
    );
    assert_eq!(parsed[1].map(|message| message.header().copied()), Ok(None));
}

/// Published day files start like this: a system event of 12 bytes.
#[test]
fn a_day_file_starts_with_a_system_event() {
    let file = hex("000c 53 0000 0000 0a2d00000000 4f 0000");
    let mut records = dump::Records::new(&file);
    let message = records.next().expect("a record").expect("a whole one");
    let Ok(Message::SystemEvent(event)) = Message::parse(message) else { panic!("a system event") };
    assert_eq!(event.event, b'O');
    assert!(records.next().is_none() && records.is_closed());
}

#[test]
fn a_snapshot_session_is_read_packet_by_packet() {
    let mut stream = b"\0\x1FAMDREPL0001                   1\0\x25S".to_vec();
    stream.extend_from_slice(&add_bytes());
    stream.extend_from_slice(b"\0\x16SG                   6\0\x01Z");
    let mut rest = &stream[..];
    let mut take = || {
        let (packet, consumed) = soup::decode(rest).expect("valid").expect("whole");
        rest = &rest[consumed..];
        packet
    };
    assert!(
        matches!(take(), Packet::LoginAccepted(accepted) if accepted.session == SESSION && accepted.next == seq(1))
    );
    assert!(matches!(take(), Packet::Sequenced(message) if message == add_bytes()));
    let Packet::Sequenced(last) = take() else { panic!("the end of the snapshot") };
    assert_eq!(EndOfSnapshot::parse(last), Ok(EndOfSnapshot { next: seq(6) }));
    assert_eq!(take(), Packet::EndOfSession);
    assert_eq!(soup::decode(rest), Ok(None));
}
