//! The header of a segment.
//!
//! | offset | bytes | field (little-endian) |
//! |---|---|---|
//! | 0 | 8 | `SEQCJRNL` |
//! | 8 | 4 | CRC-32C of the rest of the header |
//! | 12 | 4 | version of the format |
//! | 16 | 8 | index of the segment |
//! | 24 | 8 | bytes of the segment |
//! | 32 | 8 | incarnation of the journal that wrote it |
//! | 40 | 8 | first sequence number |
//! | 48 | 8 | epoch of the frame before |
//! | 56 | 8 | event time of the frame before |
//! | 64 | 4 | CRC-32C of the frame before |
//! | 68 | 10 | session |
//! | 78 | 2 | zero |
//! | 80 | 8 | number that came next before the cut that the segment begins with; 0 where it just goes on |
//! | 88 | 40 | zero |
//! | 128 | 64 × 24 | each source at that point: 8 next number, 10 session, 6 zero |
//! | 1,664 | 384 | zero |
//! | 2,048 | … | frames |
//!
//! It holds all of a [`Chain`], so that a journal whose oldest segments were removed still knows every source.
//!
//! A segment that begins with a cut supersedes, in the segments before it, everything from its first number on.

use seqcast_wire::{SeqNo, Session};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::{Chain, SourceState};
use crate::limits::MAX_SOURCES;

/// Bytes of a segment's header: the first frame begins here.
pub const HEADER_BYTES: usize = 2048;
/// The first bytes of a segment.
pub const MAGIC: [u8; 8] = *b"SEQCJRNL";
/// Version of the format.
pub const VERSION: u32 = 1;

const CRC_FROM: usize = 12;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSource {
    next: U64,
    session: Session,
    reserved: [u8; 6],
}

#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    crc: U32,
    version: U32,
    index: U64,
    segment_bytes: U64,
    incarnation: U64,
    first: U64,
    epoch: U64,
    stamp_ns: U64,
    previous_crc: U32,
    session: Session,
    reserved: [u8; 2],
    cut_from: U64,
    reserved_too: [u8; 40],
    sources: [RawSource; MAX_SOURCES],
    tail: [u8; 384],
}

const _: () = assert!(size_of::<Raw>() == HEADER_BYTES);

/// A segment's header, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Session that the journal records.
    pub session: Session,
    /// Index of the segment.
    pub index: u64,
    /// Bytes of the segment.
    pub segment_bytes: u64,
    /// Incarnation of the journal that wrote it.
    pub incarnation: u64,
    /// Where the chain stands before the first frame.
    pub chain: Chain,
    /// The number that came next before the cut that the segment begins with: everything in earlier segments from
    /// the chain's next number on is superseded. `None` where the segment just goes on.
    pub cut_from: Option<SeqNo>,
}

/// What a header is made from, borrowed: a segment begins on the hot path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) session: Session,
    pub(super) index: u64,
    pub(super) segment_bytes: u64,
    pub(super) incarnation: u64,
    pub(super) chain: &'a Chain,
    pub(super) cut_from: Option<SeqNo>,
}

impl Head<'_> {
    /// The header as it stands in the segment.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = Raw::new_zeroed();
        raw.magic = MAGIC;
        raw.version = U32::new(VERSION);
        raw.index = U64::new(self.index);
        raw.segment_bytes = U64::new(self.segment_bytes);
        raw.incarnation = U64::new(self.incarnation);
        raw.first = U64::new(self.chain.next().value());
        raw.epoch = U64::new(self.chain.epoch());
        raw.stamp_ns = U64::new(self.chain.stamp_ns());
        raw.previous_crc = U32::new(self.chain.crc());
        raw.session = self.session;
        raw.cut_from = U64::new(self.cut_from.map_or(0, SeqNo::value));
        for (raw, source) in raw.sources.iter_mut().zip(self.chain.sources()) {
            raw.next = U64::new(source.next.value());
            raw.session = source.session;
        }
        raw.crc = U32::new(crc32c::crc32c(&raw.as_bytes()[CRC_FROM..]));
        zerocopy::transmute!(raw)
    }
}

/// What stands where a segment's header should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderRead {
    /// A header.
    Header(SegmentHeader),
    /// Only zeroes: the segment was prepared, and never begun.
    Blank,
    /// A header of another version.
    Version(u32),
    /// Something else.
    Bad(&'static str),
}

impl SegmentHeader {
    /// The header as it stands in the segment.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let &SegmentHeader { session, index, segment_bytes, incarnation, ref chain, cut_from } = self;
        Head { session, index, segment_bytes, incarnation, chain, cut_from }.encode()
    }

    /// Reads the header at the start of a segment.
    pub fn decode(segment: &[u8]) -> HeaderRead {
        let head = &segment[..segment.len().min(HEADER_BYTES)];
        if head.iter().all(|&byte| byte == 0) {
            return HeaderRead::Blank;
        }
        let Ok(raw) = Raw::ref_from_bytes(head) else {
            return HeaderRead::Bad("cut off");
        };
        if raw.magic != MAGIC {
            return HeaderRead::Bad("no journal segment");
        }
        if raw.crc.get() != crc32c::crc32c(&head[CRC_FROM..]) {
            return HeaderRead::Bad("its CRC-32C differs");
        }
        if raw.version.get() != VERSION {
            return HeaderRead::Version(raw.version.get());
        }
        let mut sources = Box::new([SourceState::NONE; MAX_SOURCES]);
        for (source, raw) in sources.iter_mut().zip(&raw.sources) {
            let Some(next) = SeqNo::new(raw.next.get()) else {
                return HeaderRead::Bad("a source's number is 0");
            };
            *source = SourceState { session: raw.session, next };
        }
        let Some(first) = SeqNo::new(raw.first.get()) else {
            return HeaderRead::Bad("the first number is 0");
        };
        HeaderRead::Header(SegmentHeader {
            session: raw.session,
            index: raw.index.get(),
            segment_bytes: raw.segment_bytes.get(),
            incarnation: raw.incarnation.get(),
            chain: Chain::resume(first, raw.previous_crc.get(), raw.epoch.get(), raw.stamp_ns.get(), sources),
            cut_from: SeqNo::new(raw.cut_from.get()),
        })
    }

    /// Epoch and CRC of the frame before the segment's first, from a header that was decoded before.
    pub(super) fn previous(segment: &[u8]) -> Option<(u64, u32)> {
        let (raw, _) = Raw::ref_from_prefix(segment).ok()?;
        Some((raw.epoch.get(), raw.previous_crc.get()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SegmentHeader {
        let mut chain = Chain::new();
        for source in [0, 3, 63, 3] {
            chain.extend(9, source, b"message");
        }
        let session = "SESSION".parse().unwrap();
        SegmentHeader { session, index: 5, segment_bytes: 69_632, incarnation: 77, chain, cut_from: None }
    }

    #[test]
    fn reads_what_it_wrote() {
        let header = header();
        let mut bytes = header.encode().to_vec();
        assert_eq!(SegmentHeader::decode(&bytes), HeaderRead::Header(header.clone()));
        bytes.extend([9; 500]);
        assert_eq!(SegmentHeader::decode(&bytes), HeaderRead::Header(header.clone()));
        let cut = SegmentHeader { cut_from: SeqNo::new(9), ..header };
        assert_eq!(SegmentHeader::previous(&cut.encode()), Some((9, cut.chain.crc())));
        assert_eq!(SegmentHeader::decode(&cut.encode()), HeaderRead::Header(cut));
    }

    #[test]
    fn every_field_stands_where_the_table_says() {
        let header = SegmentHeader { cut_from: SeqNo::new(6), ..header() };
        let bytes = header.encode();
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(&bytes[..8], b"SEQCJRNL");
        assert_eq!(u32_at(8), crc32c::crc32c(&bytes[12..]));
        assert_eq!((u32_at(12), u64_at(16), u64_at(24), u64_at(32)), (1, 5, 69_632, 77));
        assert_eq!((u64_at(40), u64_at(48), u64_at(56)), (5, 9, 4));
        assert_eq!(u32_at(64), header.chain.crc());
        assert_eq!(&bytes[68..78], b"SESSION   ");
        assert_eq!(u64_at(80), 6);
        assert!(bytes[78..80].iter().chain(&bytes[88..128]).all(|&byte| byte == 0));
        assert_eq!((u64_at(128 + 3 * 24), &bytes[136 + 3 * 24..146 + 3 * 24]), (3, b"SRC3      ".as_slice()));
        assert_eq!((u64_at(128 + 24), &bytes[136 + 24..146 + 24]), (1, b"          ".as_slice()));
        assert!(bytes[1664..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn tells_blank_from_bad_and_from_another_version() {
        assert_eq!(SegmentHeader::decode(&[]), HeaderRead::Blank);
        assert_eq!(SegmentHeader::decode(&[0; 5000]), HeaderRead::Blank);
        let good = header().encode();
        assert_eq!(SegmentHeader::decode(&good[..2047]), HeaderRead::Bad("cut off"));
        assert_eq!(SegmentHeader::decode(&[1; 4096]), HeaderRead::Bad("no journal segment"));
        let mut newer = good;
        newer[12] = 2;
        let crc = crc32c::crc32c(&newer[12..]);
        newer[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), HeaderRead::Version(2));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_seen(at in 0..HEADER_BYTES, bit in 0u8..8) {
            let mut bytes = header().encode();
            bytes[at] ^= 1 << bit;
            prop_assert!(matches!(SegmentHeader::decode(&bytes), HeaderRead::Bad(_)));
        }
    }
}
