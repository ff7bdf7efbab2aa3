//! The frame: one ordered event as it stands in the sequencer's ring, in the journal and in the replication stream.
//!
//! A frame is sealed once, by the sequencer that numbers it, and only copied afterwards.
//!
//! | offset | bytes | field (little-endian) |
//! |---|---|---|
//! | 0 | 4 | length of the payload |
//! | 4 | 4 | CRC-32C of everything after this field, payload included |
//! | 8 | 8 | sequence number |
//! | 16 | 8 | epoch |
//! | 24 | 8 | event time, ns since the Unix epoch |
//! | 32 | 8 | the source's own number of the message |
//! | 40 | 4 | CRC-32C of the frame before: chains the order, so that two histories compare by (epoch, number, CRC) |
//! | 44 | 2 | source |
//! | 46 | 1 | kind |
//! | 47 | 1 | version |
//! | 48 | 10 | the source's session: its incarnation |
//! | 58 | 6 | zero |
//! | 64 | … | payload, padded with zeros to a multiple of 8 |

use std::fmt;

use seqcast_wire::{SeqNo, Session};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::MAX_MESSAGE_BYTES;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// Frames start at multiples of this many bytes.
pub const ALIGN_BYTES: usize = 8;
/// Version of the format.
pub const VERSION: u8 = 1;

/// Where in the header the version stands.
pub const VERSION_OFFSET: usize = 47;

const CRC_FROM: usize = 8;

mod chain;

pub use chain::{Chain, ChainError, SourceState};

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message of the feed; it takes its sequence number.
    Message = 1,
    /// The session is over. Carries the number that would have come next and no payload; nothing follows it.
    End = 2,
}

/// A frame's header as it stands in memory and on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Payload bytes.
    pub len: U32,
    /// CRC-32C of all that follows this field.
    pub crc: U32,
    /// Sequence number in the session.
    pub seq: U64,
    /// Epoch of the primary that numbered it.
    pub epoch: U64,
    /// Event time, ns since the Unix epoch: max(previous + 1, wall clock of the primary).
    pub stamp_ns: U64,
    /// Number that the source gave the message.
    pub source_seq: U64,
    /// CRC of the frame before.
    pub previous_crc: U32,
    /// Index of the source in the configuration.
    pub source: U16,
    /// [`Kind`].
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// The source's session.
    pub source_session: Session,
    /// Zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(Header, version) == VERSION_OFFSET);

const MESSAGE: u8 = Kind::Message as u8;
const END: u8 = Kind::End as u8;

/// Why bytes are not a whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing was written here: the length field is zero and so is all of the header.
    #[error("no frame")]
    Empty,
    /// The bytes end before the frame does.
    #[error("cut off: {needed} bytes needed, {actual} there")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        actual: usize,
    },
    /// The check sum differs.
    #[error("CRC-32C is {found:08x}, computed {computed:08x}")]
    Crc {
        /// As stored.
        found: u32,
        /// As computed.
        computed: u32,
    },
    /// A field has a value that this version does not know, or that cannot be.
    #[error("invalid {0}")]
    Field(&'static str),
}

/// A whole frame, checked.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    seq: SeqNo,
}

/// Bytes that a frame with a payload of `len` bytes takes, padding included.
pub const fn framed_bytes(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(ALIGN_BYTES)
}

impl<'a> Frame<'a> {
    /// Looks at the frame at the start of `bytes` and checks it whole: CRC, padding and all.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let frame = Frame::view(bytes)?;
        let (covered, padding) = frame.bytes.split_at(HEADER_BYTES + frame.payload().len());
        let found = frame.header.crc.get();
        let computed = crc32c::crc32c(&covered[CRC_FROM..]);
        if found != computed {
            return Err(FrameError::Crc { found, computed });
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Err(FrameError::Field("padding"));
        }
        Ok(frame)
    }

    /// Looks at a frame that this process sealed or has checked before: bounds and fields only, no CRC.
    ///
    /// # Errors
    /// See [`FrameError`].
    #[inline]
    pub fn view(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let (header, _) = Header::ref_from_prefix(bytes)
            .map_err(|_| FrameError::Truncated { needed: HEADER_BYTES, actual: bytes.len() })?;
        if header.version != VERSION {
            let empty = header.as_bytes().iter().all(|&byte| byte == 0);
            return Err(if empty { FrameError::Empty } else { FrameError::Field("version") });
        }
        let len = header.len.get() as usize;
        if len > MAX_MESSAGE_BYTES {
            return Err(FrameError::Field("length"));
        }
        match header.kind {
            MESSAGE => {}
            END if len == 0 => {}
            END => return Err(FrameError::Field("length of an end")),
            _ => return Err(FrameError::Field("kind")),
        }
        let seq = SeqNo::new(header.seq.get()).ok_or(FrameError::Field("sequence number"))?;
        let needed = framed_bytes(len);
        let actual = bytes.len();
        let bytes = bytes.get(..needed).ok_or(FrameError::Truncated { needed, actual })?;
        Ok(Frame { bytes, header, seq })
    }

    /// The header.
    #[inline]
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Sequence number.
    #[inline]
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    /// What the frame holds.
    #[inline]
    pub fn kind(&self) -> Kind {
        if self.header.kind == END { Kind::End } else { Kind::Message }
    }

    /// The message.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..][..self.header.len.get() as usize]
    }

    /// All of the frame, padding included: what is appended to a journal and sent to standbys.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes that the frame takes, padding included.
    #[inline]
    pub fn framed_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = self.header;
        f.debug_struct("Frame")
            .field("seq", &self.seq)
            .field("kind", &self.kind())
            .field("epoch", &h.epoch.get())
            .field("stamp_ns", &h.stamp_ns.get())
            .field("source", &h.source.get())
            .field("source_session", &h.source_session)
            .field("source_seq", &h.source_seq.get())
            .field("payload_bytes", &h.len.get())
            .finish()
    }
}

/// Seals the frame of `header` and `payload`: fills in length, version and CRC, which the next frame carries as
/// `previous_crc`. What this gives, the payload and zeros up to [`framed_bytes`] are the frame.
///
/// # Panics
/// When the payload is longer than [`MAX_MESSAGE_BYTES`].
#[inline]
pub fn sealed(mut header: Header, payload: &[u8]) -> Header {
    assert!(payload.len() <= MAX_MESSAGE_BYTES, "a message fits a datagram");
    header.len = U32::new(payload.len() as u32);
    header.version = VERSION;
    header.reserved = [0; 6];
    let crc = crc32c::crc32c(&header.as_bytes()[CRC_FROM..]);
    header.crc = U32::new(crc32c::crc32c_append(crc, payload));
    header
}

/// Writes the frame of `header` and `payload` into `out`, [`sealed`], and gives its CRC.
///
/// # Panics
/// When `out` is not exactly [`framed_bytes`] of the payload long, or the payload is longer than [`MAX_MESSAGE_BYTES`].
pub fn seal(out: &mut [u8], header: Header, payload: &[u8]) -> u32 {
    let header = sealed(header, payload);
    assert_eq!(out.len(), framed_bytes(payload.len()), "the slot is as long as this frame");
    let (head, body) = out.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(header.as_bytes());
    let (message, padding) = body.split_at_mut(payload.len());
    message.copy_from_slice(payload);
    padding.fill(0);
    header.crc.get()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromZeros;

    use super::*;

    fn header() -> Header {
        let mut header = Header::new_zeroed();
        header.seq = 0x0102_0304_0506_0708.into();
        header.epoch = 0x1112_1314_1516_1718.into();
        header.stamp_ns = 0x2122_2324_2526_2728.into();
        header.source_seq = 0x3132_3334_3536_3738.into();
        header.previous_crc = 0x4142_4344.into();
        header.source = 0x5152.into();
        header.kind = Kind::Message as u8;
        header.source_session = "SOURCE".parse().unwrap();
        header
    }

    fn sealed(header: Header, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xEE; framed_bytes(payload.len())];
        seal(&mut bytes, header, payload);
        bytes
    }

    /// Writes `value` at `at` and makes the CRC fit again: what is refused is then refused for the field.
    fn patched(at: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = sealed(header(), b"hello");
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = crc32c::crc32c(&bytes[CRC_FROM..HEADER_BYTES + 5]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn every_field_stands_where_the_table_says() {
        let bytes = sealed(header(), b"hello");
        let crc = crc32c::crc32c(&bytes[8..69]).to_le_bytes();
        let mut expected = Vec::new();
        expected.extend([5, 0, 0, 0]);
        expected.extend(crc);
        expected.extend([8, 7, 6, 5, 4, 3, 2, 1]);
        expected.extend([0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        expected.extend([0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21]);
        expected.extend([0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31]);
        expected.extend([0x44, 0x43, 0x42, 0x41]);
        expected.extend([0x52, 0x51, 1, 1]);
        expected.extend(b"SOURCE    \0\0\0\0\0\0hello\0\0\0");
        assert_eq!(bytes, expected);
    }

    /// A frame of version 1 as it has always been, its CRC computed bit by bit elsewhere: journals stay readable.
    #[test]
    fn golden_bytes() {
        let mut header = Header::new_zeroed();
        header.seq = 1.into();
        header.kind = Kind::Message as u8;
        let crc = seal(&mut [0; 72], header, b"12345678");
        assert_eq!(crc, 0x98f3_79e7);
    }

    #[test]
    fn views_what_was_sealed() {
        let bytes = sealed(header(), b"hello");
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.seq().value(), 0x0102_0304_0506_0708);
        assert_eq!(frame.kind(), Kind::Message);
        assert_eq!(frame.payload(), b"hello");
        assert_eq!(frame.bytes(), bytes);
        assert_eq!(frame.framed_bytes(), 72);
        assert!(format!("{frame:?}").contains("payload_bytes: 5"));
        let mut longer = bytes.clone();
        longer.extend([1; 100]);
        assert_eq!(Frame::parse(&longer).unwrap().bytes(), bytes, "what follows is not the frame's");
    }

    #[test]
    fn refuses_each_field_out_of_range() {
        let field = |bytes: &[u8]| match Frame::parse(bytes) {
            Err(FrameError::Field(name)) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(&patched(8, &[0; 8])), "sequence number");
        assert_eq!(field(&patched(46, &[0])), "kind");
        assert_eq!(field(&patched(46, &[3])), "kind");
        assert_eq!(field(&patched(46, &[2])), "length of an end");
        assert_eq!(field(&patched(47, &[2])), "version");
        assert_eq!(field(&patched(0, &u32::MAX.to_le_bytes())), "length");
        assert_eq!(field(&patched(0, &(MAX_MESSAGE_BYTES as u32 + 1).to_le_bytes())), "length");
        assert_eq!(field(&patched(70, &[1])), "padding");
    }

    #[test]
    fn tells_nothing_from_something_cut_off() {
        assert_eq!(Frame::parse(&[0; 64]).unwrap_err(), FrameError::Empty);
        assert_eq!(Frame::parse(&[0; 1000]).unwrap_err(), FrameError::Empty);
        assert_eq!(Frame::parse(&[]).unwrap_err(), FrameError::Truncated { needed: 64, actual: 0 });
        let bytes = sealed(header(), b"hello");
        for cut in 0..bytes.len() {
            let needed = if cut < 64 { 64 } else { 72 };
            let error = Frame::parse(&bytes[..cut]).unwrap_err();
            assert_eq!(error, FrameError::Truncated { needed, actual: cut });
        }
        let longest = sealed(header(), &[7; MAX_MESSAGE_BYTES]);
        assert_eq!(Frame::parse(&longest).unwrap().payload().len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    #[should_panic(expected = "as long as this frame")]
    fn a_slot_of_another_length_is_a_bug() {
        seal(&mut [0; 64], header(), b"hello");
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_seen(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut bytes = sealed(header(), &payload);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Frame::parse(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), plausible in any::<bool>()) {
            let mut bytes = bytes;
            if plausible && bytes.len() >= HEADER_BYTES {
                bytes[1..4].fill(0);
                (bytes[46], bytes[47]) = (1, VERSION);
            }
            if let Ok(frame) = Frame::view(&bytes) {
                prop_assert!(frame.bytes().len() <= bytes.len());
                prop_assert_eq!(frame.bytes().len(), framed_bytes(frame.payload().len()));
            }
            prop_assert!(Frame::parse(&bytes).is_err());
        }
    }
}
