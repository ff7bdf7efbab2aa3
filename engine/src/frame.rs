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

use seqcast_wire::{SeqNo, Session};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// Frames start at multiples of this many bytes.
pub const ALIGN_BYTES: usize = 8;
/// Version of the format.
pub const VERSION: u8 = 1;

const CRC_FROM: usize = 8;

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
    /// A field has a value that this version does not know.
    #[error("invalid {0}")]
    Field(&'static str),
}

/// A whole frame, checked.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: &'a Header,
    payload: &'a [u8],
}

/// Bytes that a frame with a payload of `len` bytes takes, padding included.
pub const fn framed_bytes(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(ALIGN_BYTES)
}

impl<'a> Frame<'a> {
    /// Looks at the frame at the start of `bytes` and checks it whole, CRC included.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let frame = Frame::view(bytes)?;
        let found = frame.header.crc.get();
        let computed = crc32c::crc32c(&bytes[CRC_FROM..HEADER_BYTES + frame.payload.len()]);
        if found != computed {
            return Err(FrameError::Crc { found, computed });
        }
        Ok(frame)
    }

    /// Looks at a frame that this process sealed or has checked before: bounds and fields only, no CRC.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn view(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let (header, rest) = Header::ref_from_prefix(bytes)
            .map_err(|_| FrameError::Truncated { needed: HEADER_BYTES, actual: bytes.len() })?;
        if header.version == 0 && header.as_bytes().iter().all(|&b| b == 0) {
            return Err(FrameError::Empty);
        }
        let len = header.len.get() as usize;
        let payload = rest
            .get(..len)
            .ok_or(FrameError::Truncated { needed: HEADER_BYTES.saturating_add(len), actual: bytes.len() })?;
        if header.version != VERSION {
            return Err(FrameError::Field("version"));
        }
        if header.kind != Kind::Message as u8 && header.kind != Kind::End as u8 {
            return Err(FrameError::Field("kind"));
        }
        if header.seq.get() == 0 {
            return Err(FrameError::Field("sequence number"));
        }
        Ok(Frame { header, payload })
    }

    /// The header.
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Sequence number.
    pub fn seq(&self) -> SeqNo {
        SeqNo::new(self.header.seq.get()).unwrap_or(SeqNo::FIRST)
    }

    /// What the frame holds.
    pub fn kind(&self) -> Kind {
        if self.header.kind == Kind::End as u8 { Kind::End } else { Kind::Message }
    }

    /// The message.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes that the frame takes, padding included.
    pub fn framed_bytes(&self) -> usize {
        framed_bytes(self.payload.len())
    }
}

/// Writes `header` and `payload` as one frame into `out` and seals it: length, version and CRC are filled in here.
/// Gives the CRC, which the next frame carries as `previous_crc`.
///
/// # Panics
/// When `out` is not exactly [`framed_bytes`] of the payload long: the caller claimed the wrong room.
pub fn seal(out: &mut [u8], mut header: Header, payload: &[u8]) -> u32 {
    assert_eq!(out.len(), framed_bytes(payload.len()), "the slot is claimed for this frame");
    header.len = U32::new(payload.len() as u32);
    header.version = VERSION;
    header.reserved = [0; 6];
    let (head, body) = out.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(header.as_bytes());
    let (message, padding) = body.split_at_mut(payload.len());
    message.copy_from_slice(payload);
    padding.fill(0);
    let crc = crc32c::crc32c(&out[CRC_FROM..HEADER_BYTES + payload.len()]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}
