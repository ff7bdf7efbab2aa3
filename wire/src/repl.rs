//! Replication stream between a primary sequencer and its standbys, over UDP.
//!
//! Every datagram begins with the same 40 bytes:
//!
//! | offset | bytes | field (little-endian) |
//! |---|---|---|
//! | 0 | 4 | `SQCR` |
//! | 4 | 4 | CRC-32C of everything after this field |
//! | 8 | 1 | version: 1 |
//! | 9 | 1 | kind: 1 Append, 2 Ack, 3 Refuse |
//! | 10 | 1 | flags, see below; the others are zero |
//! | 11 | 1 | zero |
//! | 12 | 2 | node that sends it |
//! | 14 | 10 | session |
//! | 24 | 8 | epoch |
//! | 32 | 8 | incarnation of the sender's journal |
//!
//! **Append**, from the primary to a standby. Without frames it is a heartbeat. The epoch is not 0.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 40 | 8 | *previous*: number of the first frame that follows |
//! | 48 | 8 | *previous*: epoch of the frame before; 0 before the first of the session |
//! | 56 | 4 | *previous*: CRC of the frame before; 0 before the first of the session |
//! | 60 | 4 | bytes of frames, a multiple of 8 |
//! | 64 | 8 | *end*: the number that the primary gives next |
//! | 72 | 8 | *committed*: everything below it is committed |
//! | 80 | 8 | *published*: everything below it was sent to subscribers |
//! | 88 | … | whole frames, as they stand in the journal |
//!
//! **Ack**, from a standby to the primary. With epoch 0 it is a *hello*: the standby follows nobody and verified nothing.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 40 | 8 | *tail*: the number that comes next in the sender's journal |
//! | 48 | 8 | *tail*: epoch of its last frame; 0 when there is none |
//! | 56 | 4 | *tail*: CRC of its last frame; 0 when there is none |
//! | 60 | 4 | zero |
//! | 64 | 8 | *verified*: everything below it equals the primary's history of this epoch, and is as durable as configured |
//! | 72 | 8 | *received*: the same, in memory; never below *verified* |
//! | 80 | 8 | *wanted*: what lies between *received* and here has not arrived; 0: nothing is missing |
//! | 88 | 8 | *committed*, as the sender knows it |
//!
//! **Refuse**, to the sender of a datagram with an older epoch, is the common part alone: its epoch is the one promised.
//!
//! The end of a session is a frame that takes no number. A flag beside each number says whether that frame is counted
//! in: 1 for *end* and *verified*, 2 for *committed*, 4 for *previous* and *tail*, 8 for *received*, 16 for *wanted*.
//!
//! The check sum is computed by a function that the caller brings: the processor's instruction for it is out of reach
//! of a crate without `unsafe` or an operating system. What frames hold is not looked at here; each has its own CRC.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Error, SeqNo, Session};

/// The first bytes of every datagram.
pub const MAGIC: [u8; 4] = *b"SQCR";
/// Version of the format.
pub const VERSION: u8 = 1;
/// Bytes of the common part, and of a whole [`Refuse`].
pub const HEADER_BYTES: usize = 40;
/// Bytes of an [`Append`] before its frames.
pub const APPEND_BYTES: usize = 88;
/// Bytes of an [`Ack`].
pub const ACK_BYTES: usize = 96;
/// Frames are multiples of this many bytes, and so is where they begin.
pub const FRAME_ALIGN_BYTES: usize = 8;

const CRC_FROM: usize = 8;

const APPEND: u8 = 1;
const ACK: u8 = 2;
const REFUSE: u8 = 3;

/// *end* of an Append, *verified* of an Ack.
const FLAG_END: u8 = 1;
const FLAG_COMMITTED: u8 = 2;
/// *previous* of an Append, *tail* of an Ack.
const FLAG_POSITION: u8 = 4;
const FLAG_RECEIVED: u8 = 8;
const FLAG_WANTED: u8 = 16;

const APPEND_FLAGS: u8 = FLAG_END | FLAG_COMMITTED | FLAG_POSITION;
const ACK_FLAGS: u8 = APPEND_FLAGS | FLAG_RECEIVED | FLAG_WANTED;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    crc: U32,
    version: u8,
    kind: u8,
    flags: u8,
    reserved: u8,
    node: U16,
    session: Session,
    epoch: U64,
    incarnation: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PositionLayout {
    next: U64,
    epoch: U64,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AppendLayout {
    header: Header,
    previous: PositionLayout,
    frame_bytes: U32,
    end: U64,
    committed: U64,
    published: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AckLayout {
    header: Header,
    tail: PositionLayout,
    reserved: U32,
    verified: U64,
    received: U64,
    wanted: U64,
    committed: U64,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () =
    assert!(size_of::<AppendLayout>() == APPEND_BYTES && APPEND_BYTES.is_multiple_of(FRAME_ALIGN_BYTES));
const _: () = assert!(size_of::<AckLayout>() == ACK_BYTES);

/// How far a history goes, or a part of one: ordered by what is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reach {
    /// Every message below this number.
    pub next: SeqNo,
    /// And the end of the session, which takes no number. Nothing follows it.
    pub ended: bool,
}

impl Reach {
    /// Nothing at all.
    pub const NOTHING: Reach = Reach::to(SeqNo::FIRST);

    /// Every message below `next`, and no end of the session.
    pub const fn to(next: SeqNo) -> Reach {
        Reach { next, ended: false }
    }

    /// Whether this can be a part of a history that goes as far as `whole`.
    pub fn is_part_of(self, whole: Reach) -> bool {
        self <= whole && (!self.ended || self == whole)
    }
}

/// A point of an ordered history. Two histories that agree on a position agree on everything before it: each frame's CRC
/// chains over the one before, and a number is never used twice in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything before the point.
    pub at: Reach,
    /// Epoch of the last frame; 0 before the first.
    pub epoch: u64,
    /// CRC of the last frame; 0 before the first.
    pub crc: u32,
}

impl Position {
    /// Before the first frame.
    pub const START: Position = Position { at: Reach::NOTHING, epoch: 0, crc: 0 };
}

/// How far the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// All that its journal holds.
    pub end: Reach,
    /// What every member of the in-sync set acknowledged: final.
    pub committed: Reach,
    /// Everything below it was sent to subscribers.
    pub published: SeqNo,
}

/// Who speaks, of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Session that is replicated.
    pub session: Session,
    /// Epoch in which the sender says it.
    pub epoch: u64,
    /// Number of the sending node.
    pub node: u16,
    /// Incarnation of the sender's journal.
    pub incarnation: u64,
}

/// Frames for a standby, and how far the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append<'a> {
    /// The primary of an epoch.
    pub origin: Origin,
    /// Where the frames begin in the primary's history. Without frames: a point of that history.
    pub previous: Position,
    /// How far the primary is.
    pub head: Head,
    /// Whole frames; none in a heartbeat. A multiple of [`FRAME_ALIGN_BYTES`].
    pub frames: &'a [u8],
}

/// What a standby has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The standby, and the epoch it follows; 0: it follows nobody.
    pub origin: Origin,
    /// Where its journal ends, verified or not.
    pub tail: Position,
    /// How far its journal equals the primary's history of this epoch, and is as durable as configured.
    pub verified: Reach,
    /// The same, in memory.
    pub received: Reach,
    /// What lies between `received` and here did not arrive, though later things did.
    pub wanted: Option<Reach>,
    /// How far is committed, as the standby knows it.
    pub committed: Reach,
}

/// An answer to a datagram of an older epoch: the sender promised the epoch of `origin` and heeds no lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// Who refuses, and the epoch promised.
    pub origin: Origin,
}

/// A datagram of the stream, whole and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// From a primary.
    Append(Append<'a>),
    /// From a standby.
    Ack(Ack),
    /// From whoever knows better.
    Refuse(Refuse),
}

impl<'a> Datagram<'a> {
    /// Reads a datagram. `crc32c` computes the CRC-32C (Castagnoli) of bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`] and [`Error::Trailing`] when its length is not what its kind and fields say;
    /// [`Error::SeqNo`] for number 0 where it numbers something; [`Error::Field`] for another magic, version or kind, a
    /// check sum that differs, unknown flags, reserved bytes that are not zero, and numbers that contradict one
    /// another: a part that goes further than its whole.
    pub fn parse(datagram: &'a [u8], crc32c: impl Fn(&[u8]) -> u32) -> Result<Datagram<'a>, Error> {
        let (header, _) = Header::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: HEADER_BYTES, actual: datagram.len() })?;
        check(header.magic == MAGIC, "magic")?;
        check(header.version == VERSION, "version")?;
        check(header.crc.get() == crc32c(&datagram[CRC_FROM..]), "check sum (CRC-32C)")?;
        check(header.reserved == 0, "reserved")?;
        match header.kind {
            APPEND => Append::read(datagram).map(Datagram::Append),
            ACK => Ack::read(datagram).map(Datagram::Ack),
            REFUSE => Refuse::read(header, datagram.len()).map(Datagram::Refuse),
            _ => Err(Error::Field { name: "kind" }),
        }
    }

    /// Who sent it.
    pub fn origin(&self) -> &Origin {
        match self {
            Datagram::Append(append) => &append.origin,
            Datagram::Ack(ack) => &ack.origin,
            Datagram::Refuse(refuse) => &refuse.origin,
        }
    }
}

fn check(holds: bool, name: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Field { name }) }
}

impl Header {
    fn of(origin: &Origin, kind: u8, flags: u8) -> Header {
        Header {
            magic: MAGIC,
            crc: U32::ZERO,
            version: VERSION,
            kind,
            flags,
            reserved: 0,
            node: origin.node.into(),
            session: origin.session,
            epoch: origin.epoch.into(),
            incarnation: origin.incarnation.into(),
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            session: self.session,
            epoch: self.epoch.get(),
            node: self.node.get(),
            incarnation: self.incarnation.get(),
        }
    }

    fn reach(&self, next: U64, flag: u8) -> Result<Reach, Error> {
        let next = SeqNo::new(next.get()).ok_or(Error::SeqNo)?;
        Ok(Reach { next, ended: self.flags & flag != 0 })
    }

    fn position(&self, layout: &PositionLayout) -> Result<Position, Error> {
        let at = self.reach(layout.next, FLAG_POSITION)?;
        Ok(Position { at, epoch: layout.epoch.get(), crc: layout.crc.get() })
    }
}

impl PositionLayout {
    fn of(position: &Position) -> PositionLayout {
        PositionLayout {
            next: position.at.next.value().into(),
            epoch: position.epoch.into(),
            crc: position.crc.into(),
        }
    }
}

fn flag(reach: Reach, flag: u8) -> u8 {
    if reach.ended { flag } else { 0 }
}

/// Writes the check sum over a datagram that is complete but for it, and gives its length.
fn seal(datagram: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
    let crc = crc32c(&datagram[CRC_FROM..]);
    datagram[4..CRC_FROM].copy_from_slice(&crc.to_le_bytes());
    datagram.len()
}

impl<'a> Append<'a> {
    fn read(datagram: &'a [u8]) -> Result<Append<'a>, Error> {
        let (layout, frames) = AppendLayout::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: APPEND_BYTES, actual: datagram.len() })?;
        let header = &layout.header;
        let frame_bytes = layout.frame_bytes.get() as usize;
        if frame_bytes > frames.len() {
            let needed = APPEND_BYTES.saturating_add(frame_bytes);
            return Err(Error::Truncated { needed, actual: datagram.len() });
        }
        if frame_bytes < frames.len() {
            return Err(Error::Trailing { offset: APPEND_BYTES + frame_bytes });
        }
        check(header.flags & !APPEND_FLAGS == 0, "flags")?;
        check(header.epoch != U64::ZERO, "epoch")?;
        check(frame_bytes.is_multiple_of(FRAME_ALIGN_BYTES), "frames (no multiple of 8 bytes)")?;
        let previous = header.position(&layout.previous)?;
        let head = Head {
            end: header.reach(layout.end, FLAG_END)?,
            committed: header.reach(layout.committed, FLAG_COMMITTED)?,
            published: SeqNo::new(layout.published.get()).ok_or(Error::SeqNo)?,
        };
        check(previous.at.is_part_of(head.end), "previous (beyond the end)")?;
        check(head.committed.is_part_of(head.end), "committed (beyond the end)")?;
        check(head.published <= head.committed.next, "published (beyond committed)")?;
        check(frames.is_empty() || previous.at < head.end, "frames (beyond the end)")?;
        Ok(Append { origin: header.origin(), previous, head, frames })
    }

    /// Writes the datagram and gives its length; 0 when `buffer` is too short. [`Packer`] spares the copy of the frames.
    pub fn emit(&self, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
        let Ok(mut packer) = Packer::new(buffer) else { return 0 };
        if !packer.try_push(self.frames) {
            return 0;
        }
        packer.finish(&self.origin, &self.previous, &self.head, crc32c)
    }
}

/// Packs frames into one [`Append`], straight into the memory that will be sent.
#[derive(Debug)]
pub struct Packer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Packer<'a> {
    /// A packer that writes at most `buffer.len()` bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the buffer cannot even hold what precedes the frames.
    pub fn new(buffer: &'a mut [u8]) -> Result<Packer<'a>, Error> {
        if buffer.len() < APPEND_BYTES {
            return Err(Error::Truncated { needed: APPEND_BYTES, actual: buffer.len() });
        }
        Ok(Packer { buffer, len: APPEND_BYTES })
    }

    /// Adds whole frames; `false`, and nothing written, when they do not fit any more or are no multiple of
    /// [`FRAME_ALIGN_BYTES`] long.
    #[inline]
    pub fn try_push(&mut self, frames: &[u8]) -> bool {
        let aligned = frames.len().is_multiple_of(FRAME_ALIGN_BYTES);
        let Some(room) = self.buffer.get_mut(self.len..self.len + frames.len()).filter(|_| aligned) else {
            return false;
        };
        room.copy_from_slice(frames);
        self.len += frames.len();
        true
    }

    /// Bytes of the datagram so far.
    #[inline]
    pub fn datagram_bytes(&self) -> usize {
        self.len
    }

    /// Whether no frame was added.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == APPEND_BYTES
    }

    /// Writes what precedes the frames and gives the datagram's length. Without frames it is a heartbeat.
    pub fn finish(
        self,
        origin: &Origin,
        previous: &Position,
        head: &Head,
        crc32c: impl Fn(&[u8]) -> u32,
    ) -> usize {
        let flags = flag(head.end, FLAG_END)
            | flag(head.committed, FLAG_COMMITTED)
            | flag(previous.at, FLAG_POSITION);
        let layout = AppendLayout {
            header: Header::of(origin, APPEND, flags),
            previous: PositionLayout::of(previous),
            frame_bytes: ((self.len - APPEND_BYTES) as u32).into(),
            end: head.end.next.value().into(),
            committed: head.committed.next.value().into(),
            published: head.published.value().into(),
        };
        self.buffer[..APPEND_BYTES].copy_from_slice(layout.as_bytes());
        seal(&mut self.buffer[..self.len], crc32c)
    }
}

impl Ack {
    fn read(datagram: &[u8]) -> Result<Ack, Error> {
        let (layout, rest) = AckLayout::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: ACK_BYTES, actual: datagram.len() })?;
        if !rest.is_empty() {
            return Err(Error::Trailing { offset: ACK_BYTES });
        }
        let header = &layout.header;
        check(header.flags & !ACK_FLAGS == 0, "flags")?;
        check(layout.reserved == U32::ZERO, "reserved")?;
        let wants = layout.wanted != U64::ZERO;
        check(wants || header.flags & FLAG_WANTED == 0, "flags")?;
        let ack = Ack {
            origin: header.origin(),
            tail: header.position(&layout.tail)?,
            verified: header.reach(layout.verified, FLAG_END)?,
            received: header.reach(layout.received, FLAG_RECEIVED)?,
            wanted: if wants { Some(header.reach(layout.wanted, FLAG_WANTED)?) } else { None },
            committed: header.reach(layout.committed, FLAG_COMMITTED)?,
        };
        check(ack.received.is_part_of(ack.tail.at), "received (beyond the tail)")?;
        check(ack.verified.is_part_of(ack.received), "verified (beyond received)")?;
        check(ack.committed.is_part_of(ack.tail.at), "committed (beyond the tail)")?;
        check(ack.wanted.is_none_or(|wanted| wanted > ack.received), "wanted (received already)")?;
        let is_hello = ack.origin.epoch == 0;
        check(!is_hello || (ack.received == Reach::NOTHING && !wants), "received (without an epoch)")?;
        Ok(ack)
    }

    /// Writes the datagram and gives its length; 0 when `buffer` is too short.
    pub fn emit(&self, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
        let flags = flag(self.verified, FLAG_END)
            | flag(self.committed, FLAG_COMMITTED)
            | flag(self.tail.at, FLAG_POSITION)
            | flag(self.received, FLAG_RECEIVED)
            | self.wanted.map_or(0, |wanted| flag(wanted, FLAG_WANTED));
        let layout = AckLayout {
            header: Header::of(&self.origin, ACK, flags),
            tail: PositionLayout::of(&self.tail),
            reserved: U32::ZERO,
            verified: self.verified.next.value().into(),
            received: self.received.next.value().into(),
            wanted: self.wanted.map_or(0, |wanted| wanted.next.value()).into(),
            committed: self.committed.next.value().into(),
        };
        let Some(datagram) = buffer.get_mut(..ACK_BYTES) else { return 0 };
        datagram.copy_from_slice(layout.as_bytes());
        seal(datagram, crc32c)
    }
}

impl Refuse {
    fn read(header: &Header, len: usize) -> Result<Refuse, Error> {
        if len > HEADER_BYTES {
            return Err(Error::Trailing { offset: HEADER_BYTES });
        }
        check(header.flags == 0, "flags")?;
        check(header.epoch != U64::ZERO, "epoch")?;
        Ok(Refuse { origin: header.origin() })
    }

    /// Writes the datagram and gives its length; 0 when `buffer` is too short.
    pub fn emit(&self, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
        let Some(datagram) = buffer.get_mut(..HEADER_BYTES) else { return 0 };
        datagram.copy_from_slice(Header::of(&self.origin, REFUSE, 0).as_bytes());
        seal(datagram, crc32c)
    }
}
