//! MoldUDP64 1.00: downstream datagrams, heartbeats, end of session, and requests.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 10 | session |
//! | 10 | 8 | sequence number of the first message (of the next one in a heartbeat or end of session) |
//! | 18 | 2 | message count: 0 = heartbeat, 0xFFFF = end of session |
//! | 20 | … | `count` blocks: u16 length, then that many bytes |
//!
//! All integers are big-endian. A request is the same 20 bytes, sent to a rewind server: first wanted number and
//! wanted count.

use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Error, SeqNo, Session};

/// Bytes of the header, and of a whole heartbeat, end of session or request.
pub const HEADER_BYTES: usize = 20;
/// Bytes of the length that precedes each message.
pub const BLOCK_HEADER_BYTES: usize = 2;
/// Most messages one datagram can carry, and most that one request can ask for.
pub const MAX_COUNT: u16 = 0xFFFE;

const END_OF_SESSION: u16 = 0xFFFF;

/// The header as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Session.
    pub session: Session,
    /// Number of the first message.
    pub first: U64,
    /// Message count, or one of the two special values.
    pub count: U16,
}

/// What a downstream datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It carries this many messages (1 to [`MAX_COUNT`]).
    Data(u16),
    /// It carries none and tells which number comes next.
    Heartbeat,
    /// It carries none; the session is over.
    EndOfSession,
}

/// A downstream datagram, whole and checked: its blocks fill it exactly and its numbers do not overflow.
#[derive(Clone, Copy, Debug)]
pub struct Downstream<'a> {
    session: Session,
    first: SeqNo,
    next: SeqNo,
    kind: Kind,
    blocks: &'a [u8],
}

impl<'a> Downstream<'a> {
    /// Checks a whole datagram before any of it is used.
    ///
    /// # Errors
    /// [`Error::Truncated`] below 20 bytes, [`Error::PastEnd`] when a block or the count promises more than is
    /// there, [`Error::Trailing`] when bytes are left over, [`Error::SeqNo`] for number 0 or a range that overflows.
    pub fn parse(datagram: &'a [u8]) -> Result<Downstream<'a>, Error> {
        let (header, blocks) = Header::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: HEADER_BYTES, actual: datagram.len() })?;
        let first = SeqNo::new(header.first.get()).ok_or(Error::SeqNo)?;
        let kind = match header.count.get() {
            0 => Kind::Heartbeat,
            END_OF_SESSION => Kind::EndOfSession,
            count => Kind::Data(count),
        };
        let count = if let Kind::Data(count) = kind { count } else { 0 };
        let next = first.checked_add(u64::from(count)).ok_or(Error::SeqNo)?;
        let mut at = 0;
        for _ in 0..count {
            let Some(&[high, low]) = blocks.get(at..at + BLOCK_HEADER_BYTES).and_then(|b| b.first_chunk())
            else {
                return Err(Error::PastEnd { offset: HEADER_BYTES + at });
            };
            let end = at + BLOCK_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
            if end > blocks.len() {
                return Err(Error::PastEnd { offset: HEADER_BYTES + at });
            }
            at = end;
        }
        if at != blocks.len() {
            return Err(Error::Trailing { offset: HEADER_BYTES + at });
        }
        Ok(Downstream { session: header.session, first, next, kind, blocks })
    }

    /// The session.
    pub fn session(&self) -> Session {
        self.session
    }

    /// Number of the first message; without messages, of the next one that will be sent.
    pub fn first(&self) -> SeqNo {
        self.first
    }

    /// Number that follows the last message.
    pub fn next(&self) -> SeqNo {
        self.next
    }

    /// Data, heartbeat or end of session.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The messages in order; the first has number [`Downstream::first`].
    pub fn messages(&self) -> Messages<'a> {
        Messages { blocks: self.blocks, remaining: self.next.since(self.first) as usize }
    }
}

/// Iterator over the messages of a datagram.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    blocks: &'a [u8],
    remaining: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.blocks.split_first_chunk::<BLOCK_HEADER_BYTES>()?;
        let (message, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.blocks = rest;
        self.remaining = self.remaining.saturating_sub(1);
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// Packs messages into one downstream datagram, straight into the memory that will be sent.
#[derive(Debug)]
pub struct Packer<'a> {
    buffer: &'a mut [u8],
    session: Session,
    first: SeqNo,
    count: u16,
    len: usize,
}

impl<'a> Packer<'a> {
    /// A packer of messages from number `first` on. At most `buffer.len()` bytes are written.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the buffer cannot even hold a header.
    pub fn new(buffer: &'a mut [u8], session: Session, first: SeqNo) -> Result<Packer<'a>, Error> {
        if buffer.len() < HEADER_BYTES {
            return Err(Error::Truncated { needed: HEADER_BYTES, actual: buffer.len() });
        }
        Ok(Packer { buffer, session, first, count: 0, len: HEADER_BYTES })
    }

    /// Adds a message; `false`, and nothing written, when it does not fit any more.
    pub fn try_push(&mut self, message: &[u8]) -> bool {
        let Ok(length) = u16::try_from(message.len()) else { return false };
        let end = self.len + BLOCK_HEADER_BYTES + message.len();
        let fits = self.count < MAX_COUNT && self.next().checked_add(1).is_some();
        let Some(block) = self.buffer.get_mut(self.len..end).filter(|_| fits) else { return false };
        let (head, body) = block.split_at_mut(BLOCK_HEADER_BYTES);
        head.copy_from_slice(&length.to_be_bytes());
        body.copy_from_slice(message);
        self.len = end;
        self.count += 1;
        true
    }

    /// Adds `count` messages that stand behind one another as they do in a datagram; `false`, and nothing written, when
    /// they do not fit any more. That there are so many is the caller's word.
    pub fn try_push_blocks(&mut self, blocks: &[u8], count: u16) -> bool {
        let numbered = self.count.checked_add(count).filter(|total| *total <= MAX_COUNT);
        let fits = self.next().checked_add(u64::from(count)).is_some();
        let Some(total) = numbered.filter(|_| fits) else { return false };
        let end = self.len + blocks.len();
        let Some(room) = self.buffer.get_mut(self.len..end) else { return false };
        room.copy_from_slice(blocks);
        (self.len, self.count) = (end, total);
        true
    }

    /// Bytes that are left.
    pub fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// Messages packed so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Number that the next message would get.
    pub fn next(&self) -> SeqNo {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Writes the header and gives the datagram's length in bytes. Without messages it is a heartbeat.
    pub fn finish(self) -> usize {
        write_header(self.buffer, self.session, self.first, self.count);
        self.len
    }
}

/// Writes a heartbeat (`next` comes next) and gives its length; 0 when `buffer` is too short.
pub fn emit_heartbeat(buffer: &mut [u8], session: Session, next: SeqNo) -> usize {
    write_header(buffer, session, next, 0)
}

/// Writes an end of session (`next` would have come next) and gives its length; 0 when `buffer` is too short.
pub fn emit_end_of_session(buffer: &mut [u8], session: Session, next: SeqNo) -> usize {
    write_header(buffer, session, next, END_OF_SESSION)
}

fn write_header(buffer: &mut [u8], session: Session, first: SeqNo, count: u16) -> usize {
    let header = Header { session, first: U64::new(first.value()), count: U16::new(count) };
    if header.write_to_prefix(buffer).is_ok() { HEADER_BYTES } else { 0 }
}

/// A request for messages, as a client sends it to a rewind server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The session asked about.
    pub session: Session,
    /// First wanted number.
    pub first: SeqNo,
    /// How many are wanted (0 and 0xFFFF stand on the wire as they are; what they mean is the server's to say).
    pub count: u16,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Trailing`] unless it is exactly 20 bytes; [`Error::SeqNo`] for number 0.
    pub fn parse(datagram: &[u8]) -> Result<Request, Error> {
        let (header, rest) = Header::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: HEADER_BYTES, actual: datagram.len() })?;
        if !rest.is_empty() {
            return Err(Error::Trailing { offset: HEADER_BYTES });
        }
        let first = SeqNo::new(header.first.get()).ok_or(Error::SeqNo)?;
        Ok(Request { session: header.session, first, count: header.count.get() })
    }

    /// Writes the request and gives its length; 0 when `buffer` is too short.
    pub fn emit(&self, buffer: &mut [u8]) -> usize {
        write_header(buffer, self.session, self.first, self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const SESSION: Session = Session::from_wire(*b"MDREPL0001");

    fn datagram(first: u64, count: u16, blocks: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(SESSION.as_bytes());
        bytes.extend_from_slice(&first.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(blocks);
        bytes
    }

    fn error(first: u64, count: u16, blocks: &[u8]) -> Error {
        Downstream::parse(&datagram(first, count, blocks)).expect_err("a lying datagram")
    }

    #[test]
    fn messages_come_in_order_with_their_lengths() {
        let bytes = datagram(7, 3, b"\0\x02ab\0\0\0\x01c");
        let downstream = Downstream::parse(&bytes).unwrap();
        assert_eq!(downstream.session(), SESSION);
        assert_eq!(downstream.kind(), Kind::Data(3));
        assert_eq!((downstream.first().value(), downstream.next().value()), (7, 10));
        let messages = downstream.messages();
        assert_eq!(messages.len(), 3);
        assert!(messages.eq([&b"ab"[..], b"", b"c"]));
    }

    #[test]
    fn a_count_that_lies_is_found_out() {
        assert_eq!(error(1, 2, b"\0\x01a"), Error::PastEnd { offset: 23 });
        assert_eq!(error(1, 2, b"\0\x01a\0"), Error::PastEnd { offset: 23 });
        assert_eq!(error(1, MAX_COUNT, b"\0\x01a"), Error::PastEnd { offset: 23 });
        assert_eq!(error(1, 1, b"\0\x01a\0\x01b"), Error::Trailing { offset: 23 });
        assert_eq!(error(1, 1, b""), Error::PastEnd { offset: 20 });
    }

    #[test]
    fn a_length_that_lies_is_found_out() {
        assert_eq!(error(1, 1, b"\0\x02a"), Error::PastEnd { offset: 20 });
        assert_eq!(error(1, 1, b"\xFF\xFFa"), Error::PastEnd { offset: 20 });
        assert_eq!(error(1, 2, b"\0\x01a\0\x03bc"), Error::PastEnd { offset: 23 });
        assert_eq!(error(1, 1, b"\0\x01ab"), Error::Trailing { offset: 23 });
    }

    #[test]
    fn heartbeat_and_end_of_session_carry_nothing() {
        for (count, kind) in [(0, Kind::Heartbeat), (0xFFFF, Kind::EndOfSession)] {
            let bytes = datagram(6, count, b"");
            let downstream = Downstream::parse(&bytes).unwrap();
            assert_eq!(downstream.kind(), kind);
            assert_eq!(downstream.first(), downstream.next(), "the number stands");
            assert_eq!(downstream.messages().count(), 0);
            assert_eq!(error(6, count, b"\0\x01a"), Error::Trailing { offset: 20 });
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(error(0, 0, b""), Error::SeqNo);
        assert_eq!(error(0, 1, b"\0\0"), Error::SeqNo);
        assert_eq!(error(u64::MAX, 1, b"\0\0"), Error::SeqNo);
        assert_eq!(error(u64::MAX - 1, 2, b"\0\0\0\0"), Error::SeqNo);
        let bytes = datagram(u64::MAX - 1, 1, b"\0\0");
        assert_eq!(Downstream::parse(&bytes).unwrap().next(), SeqNo::MAX);
        for count in [0, 0xFFFF] {
            let bytes = datagram(u64::MAX, count, b"");
            assert_eq!(Downstream::parse(&bytes).unwrap().next(), SeqNo::MAX);
        }
    }

    #[test]
    fn what_is_shorter_than_a_header_is_truncated() {
        let bytes = datagram(1, 0, b"");
        for len in 0..HEADER_BYTES {
            let expected = Error::Truncated { needed: HEADER_BYTES, actual: len };
            assert_eq!(Downstream::parse(&bytes[..len]).unwrap_err(), expected);
            assert_eq!(Request::parse(&bytes[..len]).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_request_is_exactly_a_header() {
        let bytes = datagram(2, 3, b"");
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(request, Request { session: SESSION, first: SeqNo::new(2).unwrap(), count: 3 });
        assert_eq!(Request::parse(&datagram(2, 3, b"x")), Err(Error::Trailing { offset: 20 }));
        assert_eq!(Request::parse(&datagram(0, 3, b"")), Err(Error::SeqNo));
        for count in [0, 0xFFFF] {
            assert_eq!(Request::parse(&datagram(2, count, b"")).unwrap().count, count);
        }
    }

    #[test]
    fn a_packer_refuses_what_does_not_fit_and_goes_on() {
        let mut buffer = [0xAA; 30];
        let mut packer = Packer::new(&mut buffer, SESSION, SeqNo::FIRST).unwrap();
        assert!(packer.try_push(b"abc"));
        assert!(!packer.try_push(b"four"), "5 bytes are left and 6 needed");
        assert!(packer.try_push(b"xyz"), "exactly the rest");
        assert!(!packer.try_push(b""), "not even a length fits");
        assert_eq!((packer.count(), packer.next().value()), (2, 3));
        assert_eq!(packer.finish(), 30);
        let downstream = Downstream::parse(&buffer).unwrap();
        assert!(downstream.messages().eq([&b"abc"[..], b"xyz"]));
    }

    #[test]
    fn blocks_are_packed_as_they_stand_or_not_at_all() {
        let mut buffer = [0xAA; HEADER_BYTES + 9];
        let mut packer = Packer::new(&mut buffer, SESSION, SeqNo::FIRST).unwrap();
        assert_eq!(packer.room(), 9);
        assert!(packer.try_push(b"a"));
        assert!(!packer.try_push_blocks(b"\0\x02bc\0\x01d", 2), "7 bytes, and 6 are left");
        assert!(packer.try_push_blocks(b"\0\x01b\0\x01c", 2));
        assert_eq!((packer.room(), packer.count(), packer.next().value()), (0, 3, 4));
        assert!(!packer.try_push_blocks(b"", MAX_COUNT), "more than a datagram can count");
        let len = packer.finish();
        assert!(Downstream::parse(&buffer[..len]).unwrap().messages().eq([&b"a"[..], b"b", b"c"]));
    }

    #[test]
    fn a_packer_stops_at_the_limits_of_the_format() {
        let mut buffer = std::vec![0; 200_000];
        let mut packer = Packer::new(&mut buffer, SESSION, SeqNo::FIRST).unwrap();
        assert!(!packer.try_push(&[0; 65_536]), "longer than a block can say");
        let pushed = (0..70_000).take_while(|_| packer.try_push(b"")).count();
        assert_eq!(pushed, usize::from(MAX_COUNT), "one more would say end of session");
        let len = packer.finish();
        assert_eq!(Downstream::parse(&buffer[..len]).unwrap().kind(), Kind::Data(MAX_COUNT));

        let last = SeqNo::new(u64::MAX - 1).unwrap();
        let mut packer = Packer::new(&mut buffer, SESSION, last).unwrap();
        assert!(packer.try_push(b"last"));
        assert!(!packer.try_push(b"past the last"));
        let len = packer.finish();
        assert!(Downstream::parse(&buffer[..len]).is_ok());
    }

    #[test]
    fn a_packer_without_messages_makes_a_heartbeat() {
        let mut buffer = [0; HEADER_BYTES];
        let packer = Packer::new(&mut buffer, SESSION, SeqNo::FIRST).unwrap();
        assert_eq!(packer.finish(), HEADER_BYTES);
        assert_eq!(Downstream::parse(&buffer).unwrap().kind(), Kind::Heartbeat);
    }

    #[test]
    fn too_short_a_buffer_is_told() {
        let mut buffer = [0; HEADER_BYTES - 1];
        let request = Request { session: SESSION, first: SeqNo::FIRST, count: 1 };
        assert_eq!(emit_heartbeat(&mut buffer, SESSION, SeqNo::FIRST), 0);
        assert_eq!(emit_end_of_session(&mut buffer, SESSION, SeqNo::FIRST), 0);
        assert_eq!(request.emit(&mut buffer), 0);
        assert!(Packer::new(&mut buffer, SESSION, SeqNo::FIRST).is_err());
    }
}
