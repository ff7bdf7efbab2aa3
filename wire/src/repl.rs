//! Replication stream between a primary sequencer and its standbys, over UDP.
//!
//! Every datagram begins with the same 40 bytes:
//!
//! | offset | bytes | field (little-endian) |
//! |---|---|---|
//! | 0 | 4 | `SQCR` |
//! | 4 | 4 | CRC-32C of everything after this field |
//! | 8 | 1 | version: 2 |
//! | 9 | 1 | kind: 1 Append, 2 Ack, 3 Refuse, 4 Image |
//! | 10 | 1 | flags, see below; the others are zero |
//! | 11 | 1 | *wish* of an Ack: 0 none, 1 to lead, 2 to leave the in-sync set; zero in all others |
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
//! | 88 | 8 | *everywhere*: everything below it is in the journal of every node of the cluster |
//! | 96 | … | whole frames, as they stand in the journal |
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
//! **Image**, from the primary to a standby whose journal ends where no journal reaches back to: where it is to begin anew.
//! The epoch is not 0. The point is committed, and not behind the end of the session.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 40 | 8 | *position*: number of the first frame to come |
//! | 48 | 8 | *position*: epoch of the frame before; 0 before the first of the session |
//! | 56 | 4 | *position*: CRC of the frame before; 0 before the first of the session |
//! | 60 | 2 | sources that follow |
//! | 62 | 2 | zero |
//! | 64 | 8 | event time of the frame before, ns since the Unix epoch |
//! | 72 | 8 | incarnation of the standby's journal that is to be replaced: no other heeds it |
//! | 80 | 18 each | each source, from 0 on: 8 its own number that comes next, 10 its session |
//!
//! **Refuse**, to the sender of a datagram with an older epoch, is the common part alone: its epoch is the one promised. It is
//! also the last word of a primary that leads no longer, to all others.
//!
//! The end of a session is a frame that takes no number. A flag beside each number says whether that frame is counted
//! in: 1 for *end* and *verified*, 2 for *committed*, 4 for *previous* and *tail*, 8 for *received*, 16 for *wanted*. Flag 64
//! of an Ack: its journal meets no history of this session, the sender needs an Image.
//!
//! Flag 32 says who is *deaf*. In an Append: the primary hears fewer nodes than it takes to commit anything, and whoever
//! is in sync and heard by others may replace it. In an Ack: the sender has not heard of late whom it sends this to, and
//! asks to be answered; without the flag it has. Acks go to other standbys only while the primary is doubted, and as
//! answers.
//!
//! The check sum is computed by a function that the caller brings: the processor's instruction for it is out of reach
//! of a crate without `unsafe` or an operating system. What frames hold is not looked at here; each has its own CRC.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Error, SeqNo, Session};

mod image;

pub use image::{IMAGE_BYTES, IMAGE_SOURCE_BYTES, Image, ImageSources, emit_image};

/// The first bytes of every datagram.
pub const MAGIC: [u8; 4] = *b"SQCR";
/// Version of the format.
pub const VERSION: u8 = 2;
/// Bytes of the common part, and of a whole [`Refuse`].
pub const HEADER_BYTES: usize = 40;
/// Bytes of an [`Append`] before its frames.
pub const APPEND_BYTES: usize = 96;
/// Bytes of an [`Ack`].
pub const ACK_BYTES: usize = 96;
/// Frames are multiples of this many bytes, and so is where they begin.
pub const FRAME_ALIGN_BYTES: usize = 8;

const CRC_FROM: usize = 8;

const APPEND: u8 = 1;
const ACK: u8 = 2;
const REFUSE: u8 = 3;
const IMAGE: u8 = 4;

/// *end* of an Append, *verified* of an Ack.
const FLAG_END: u8 = 1;
const FLAG_COMMITTED: u8 = 2;
/// *previous* of an Append, *tail* of an Ack.
const FLAG_POSITION: u8 = 4;
const FLAG_RECEIVED: u8 = 8;
const FLAG_WANTED: u8 = 16;
const FLAG_DEAF: u8 = 32;
const FLAG_NEEDS_IMAGE: u8 = 64;

const APPEND_FLAGS: u8 = FLAG_END | FLAG_COMMITTED | FLAG_POSITION | FLAG_DEAF;
const ACK_FLAGS: u8 = APPEND_FLAGS | FLAG_RECEIVED | FLAG_WANTED | FLAG_NEEDS_IMAGE;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    crc: U32,
    version: u8,
    kind: u8,
    flags: u8,
    wish: u8,
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
    everywhere: U64,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// All that its journal holds.
    pub end: Reach,
    /// What every member of the in-sync set acknowledged: final.
    pub committed: Reach,
    /// Everything below it was sent to subscribers.
    pub published: SeqNo,
    /// Everything below it is in the journal of every node of the cluster.
    pub everywhere: SeqNo,
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
    /// The primary cannot go on: it hears fewer nodes than it takes to commit anything, or not the coordinator that it needs.
    pub is_deaf: bool,
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
    /// The sender has not heard the receiver of late.
    pub is_deaf: bool,
    /// Its journal does not meet the primary's history anywhere: it needs an [`Image`].
    pub needs_image: bool,
    /// What the sender asks of the primary.
    pub wish: Option<Wish>,
}

/// What a standby asks of its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// To hand over to it: an operator wants it to lead.
    Lead,
    /// To take it out of the in-sync set: its process is about to end.
    Leave,
}

const WISH_LEAD: u8 = 1;
const WISH_LEAVE: u8 = 2;

/// The sender promised the epoch of `origin` and heeds no lower one: an answer to a datagram of an older epoch, or the last
/// word of a primary.
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
    /// From a primary.
    Image(Image<'a>),
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
        check(header.wish == 0 || header.kind == ACK, "reserved")?;
        match header.kind {
            APPEND => Append::read(datagram).map(Datagram::Append),
            ACK => Ack::read(datagram).map(Datagram::Ack),
            REFUSE => Refuse::read(header, datagram.len()).map(Datagram::Refuse),
            IMAGE => Image::read(datagram).map(Datagram::Image),
            _ => Err(Error::Field { name: "kind" }),
        }
    }

    /// Who sent it.
    pub fn origin(&self) -> &Origin {
        match self {
            Datagram::Append(append) => &append.origin,
            Datagram::Ack(ack) => &ack.origin,
            Datagram::Refuse(refuse) => &refuse.origin,
            Datagram::Image(image) => &image.origin,
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
            wish: 0,
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

fn deaf(is_deaf: bool) -> u8 {
    if is_deaf { FLAG_DEAF } else { 0 }
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
            everywhere: SeqNo::new(layout.everywhere.get()).ok_or(Error::SeqNo)?,
        };
        check(previous.at.is_part_of(head.end), "previous (beyond the end)")?;
        check(head.committed.is_part_of(head.end), "committed (beyond the end)")?;
        check(head.published <= head.committed.next, "published (beyond committed)")?;
        check(head.everywhere <= head.end.next, "everywhere (beyond the end)")?;
        check(frames.is_empty() || previous.at < head.end, "frames (beyond the end)")?;
        let is_deaf = header.flags & FLAG_DEAF != 0;
        Ok(Append { origin: header.origin(), previous, head, is_deaf, frames })
    }

    /// Writes the datagram and gives its length; 0 when `buffer` is too short. [`Packer`] spares the copy of the frames.
    pub fn emit(&self, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
        let Ok(mut packer) = Packer::new(buffer) else { return 0 };
        if !packer.try_push(self.frames) {
            return 0;
        }
        packer.finish(&self.origin, &self.previous, &self.head, self.is_deaf, crc32c)
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
        is_deaf: bool,
        crc32c: impl Fn(&[u8]) -> u32,
    ) -> usize {
        let flags = flag(head.end, FLAG_END)
            | flag(head.committed, FLAG_COMMITTED)
            | flag(previous.at, FLAG_POSITION)
            | deaf(is_deaf);
        let layout = AppendLayout {
            header: Header::of(origin, APPEND, flags),
            previous: PositionLayout::of(previous),
            frame_bytes: ((self.len - APPEND_BYTES) as u32).into(),
            end: head.end.next.value().into(),
            committed: head.committed.next.value().into(),
            published: head.published.value().into(),
            everywhere: head.everywhere.value().into(),
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
        check(layout.reserved == U32::ZERO, "reserved")?;
        let wants = layout.wanted != U64::ZERO;
        check(wants || header.flags & FLAG_WANTED == 0, "flags")?;
        check(header.flags & !ACK_FLAGS == 0, "flags")?;
        let ack = Ack {
            origin: header.origin(),
            tail: header.position(&layout.tail)?,
            verified: header.reach(layout.verified, FLAG_END)?,
            received: header.reach(layout.received, FLAG_RECEIVED)?,
            wanted: if wants { Some(header.reach(layout.wanted, FLAG_WANTED)?) } else { None },
            committed: header.reach(layout.committed, FLAG_COMMITTED)?,
            is_deaf: header.flags & FLAG_DEAF != 0,
            needs_image: header.flags & FLAG_NEEDS_IMAGE != 0,
            wish: match header.wish {
                WISH_LEAD => Some(Wish::Lead),
                WISH_LEAVE => Some(Wish::Leave),
                _ => None,
            },
        };
        check(ack.received.is_part_of(ack.tail.at), "received (beyond the tail)")?;
        check(ack.verified.is_part_of(ack.received), "verified (beyond received)")?;
        check(ack.committed.is_part_of(ack.tail.at), "committed (beyond the tail)")?;
        check(ack.wanted.is_none_or(|wanted| wanted > ack.received), "wanted (received already)")?;
        let is_hello = ack.origin.epoch == 0;
        check(!is_hello || (ack.received == Reach::NOTHING && !wants), "received (without an epoch)")?;
        check(!is_hello || !ack.needs_image, "flags")?;
        check(header.wish == 0 || (!is_hello && ack.wish.is_some()), "wish")?;
        Ok(ack)
    }

    /// Writes the datagram and gives its length; 0 when `buffer` is too short.
    pub fn emit(&self, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
        let flags = flag(self.verified, FLAG_END)
            | flag(self.committed, FLAG_COMMITTED)
            | flag(self.tail.at, FLAG_POSITION)
            | flag(self.received, FLAG_RECEIVED)
            | self.wanted.map_or(0, |wanted| flag(wanted, FLAG_WANTED))
            | deaf(self.is_deaf)
            | if self.needs_image { FLAG_NEEDS_IMAGE } else { 0 };
        let wish = match self.wish {
            None => 0,
            Some(Wish::Lead) => WISH_LEAD,
            Some(Wish::Leave) => WISH_LEAVE,
        };
        let layout = AckLayout {
            header: Header { wish, ..Header::of(&self.origin, ACK, flags) },
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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// CRC-32C bit by bit, as its polynomial says.
    fn crc32c(bytes: &[u8]) -> u32 {
        let bit = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
    }

    const FRAMES: [u8; 16] = *b"\xA0\xA1\xA2\xA3\xA4\xA5\xA6\xA7\xA8\xA9\xAA\xAB\xAC\xAD\xAE\xAF";

    /// Made by another program, check sums included.
    const APPEND_WIRE: [u8; APPEND_BYTES + 16] = *b"SQCR\x85\xE5\xB9\x88\x02\x01\x00\x00\x02\x00MDREPL0001\
        \x09\0\0\0\0\0\0\0\x18\x17\x16\x15\x14\x13\x12\x11\
        \x02\x01\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x44\x43\x42\x41\x10\0\0\0\
        \x05\x01\0\0\0\0\0\0\x03\x01\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\xFF\0\0\0\0\0\0\0\
        \xA0\xA1\xA2\xA3\xA4\xA5\xA6\xA7\xA8\xA9\xAA\xAB\xAC\xAD\xAE\xAF";
    const ENDED_WIRE: [u8; APPEND_BYTES] = *b"SQCR\x81\xFC\x6C\x28\x02\x01\x07\x00\x02\x00MDREPL0001\
        \x09\0\0\0\0\0\0\0\x18\x17\x16\x15\x14\x13\x12\x11\
        \x05\x01\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x54\x53\x52\x51\0\0\0\0\
        \x05\x01\0\0\0\0\0\0\x05\x01\0\0\0\0\0\0\x05\x01\0\0\0\0\0\0\x04\x01\0\0\0\0\0\0";
    const ACK_WIRE: [u8; ACK_BYTES] = *b"SQCR\x61\xA6\x26\xB1\x02\x02\x00\x00\x01\x00MDREPL0001\
        \x09\0\0\0\0\0\0\0\x28\x27\x26\x25\x24\x23\x22\x21\
        \x04\x01\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x64\x63\x62\x61\0\0\0\0\
        \x02\x01\0\0\0\0\0\0\x03\x01\0\0\0\0\0\0\x07\x01\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0";
    const ENDED_ACK_WIRE: [u8; ACK_BYTES] = *b"SQCR\x11\x72\x70\x4E\x02\x02\x0F\x00\x01\x00MDREPL0001\
        \x09\0\0\0\0\0\0\0\x28\x27\x26\x25\x24\x23\x22\x21\
        \x05\x01\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x54\x53\x52\x51\0\0\0\0\
        \x05\x01\0\0\0\0\0\0\x05\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\x01\0\0\0\0\0\0";
    const REFUSE_WIRE: [u8; HEADER_BYTES] = *b"SQCR\xA3\x01\x33\xB3\x02\x03\x00\x00\x00\x00MDREPL0001\
        \x0A\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0";

    fn to(next: u64) -> Reach {
        Reach::to(SeqNo::new(next).unwrap())
    }

    fn ended(next: u64) -> Reach {
        Reach { ended: true, ..to(next) }
    }

    fn origin(node: u16, epoch: u64, incarnation: u64) -> Origin {
        Origin { session: Session::from_wire(*b"MDREPL0001"), epoch, node, incarnation }
    }

    fn append() -> Append<'static> {
        Append {
            origin: origin(2, 9, 0x1112_1314_1516_1718),
            previous: Position { at: to(0x102), epoch: 8, crc: 0x4142_4344 },
            head: Head {
                end: to(0x105),
                committed: to(0x103),
                published: SeqNo::new(0x101).unwrap(),
                everywhere: SeqNo::new(0xFF).unwrap(),
            },
            is_deaf: false,
            frames: &FRAMES,
        }
    }

    fn ended_append() -> Append<'static> {
        let end = ended(0x105);
        Append {
            previous: Position { at: end, epoch: 9, crc: 0x5152_5354 },
            head: Head { end, committed: end, published: end.next, everywhere: SeqNo::new(0x104).unwrap() },
            frames: &[],
            ..append()
        }
    }

    fn ack() -> Ack {
        Ack {
            origin: origin(1, 9, 0x2122_2324_2526_2728),
            tail: Position { at: to(0x104), epoch: 9, crc: 0x6162_6364 },
            verified: to(0x102),
            received: to(0x103),
            wanted: Some(to(0x107)),
            committed: to(0x101),
            is_deaf: false,
            needs_image: false,
            wish: None,
        }
    }

    fn ended_ack() -> Ack {
        let end = ended(0x105);
        let tail = ended_append().previous;
        Ack { tail, verified: end, received: end, wanted: None, committed: end, ..ack() }
    }

    fn emit(datagram: &Datagram<'_>, buffer: &mut [u8]) -> usize {
        match datagram {
            Datagram::Append(append) => append.emit(buffer, crc32c),
            Datagram::Ack(ack) => ack.emit(buffer, crc32c),
            Datagram::Refuse(refuse) => refuse.emit(buffer, crc32c),
            Datagram::Image(image) => image.emit(buffer, crc32c),
        }
    }

    /// `wire` with other bytes at `at`, and a check sum that fits: what is refused is then refused for those.
    fn patched(wire: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut wire = wire.to_vec();
        wire[at..at + bytes.len()].copy_from_slice(bytes);
        resealed(wire)
    }

    fn resealed(mut wire: Vec<u8>) -> Vec<u8> {
        seal(&mut wire, crc32c);
        wire
    }

    fn error(wire: &[u8]) -> Error {
        Datagram::parse(wire, crc32c).expect_err("a lying datagram")
    }

    fn field(wire: &[u8], at: usize, bytes: &[u8]) -> &'static str {
        match error(&patched(wire, at, bytes)) {
            Error::Field { name } => name,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_field_stands_where_the_tables_say() {
        for (wire, datagram) in [
            (&APPEND_WIRE[..], Datagram::Append(append())),
            (&ENDED_WIRE, Datagram::Append(ended_append())),
            (&ACK_WIRE, Datagram::Ack(ack())),
            (&ENDED_ACK_WIRE, Datagram::Ack(ended_ack())),
            (&REFUSE_WIRE, Datagram::Refuse(Refuse { origin: origin(0, 10, 7) })),
        ] {
            assert_eq!(Datagram::parse(wire, crc32c), Ok(datagram));
            let mut buffer = [0xEE; 200];
            let len = emit(&datagram, &mut buffer);
            assert_eq!(&buffer[..len], wire);
            assert_eq!(emit(&datagram, &mut buffer[..len - 1]), 0);
        }
    }

    #[test]
    fn each_flag_says_one_thing() {
        let flagged = |wire: &[u8], flags: u8| patched(wire, 10, &[flags]);
        // Numbers made equal, so that any of them may have the flag of the end.
        let wire = patched(&ENDED_WIRE, 10, &[FLAG_END]);
        let Ok(Datagram::Append(append)) = Datagram::parse(&wire, crc32c) else { panic!() };
        let ends = |a: &Append<'_>| (a.head.end.ended, a.head.committed.ended, a.previous.at.ended);
        assert_eq!(ends(&append), (true, false, false));
        for (flags, expected) in [(3, (true, true, false)), (5, (true, false, true))] {
            let wire = flagged(&ENDED_WIRE, flags);
            let Ok(Datagram::Append(append)) = Datagram::parse(&wire, crc32c) else { panic!() };
            assert_eq!(ends(&append), expected);
        }
        for (flags, expected) in [
            (4, [false, false, true, false]),
            (6, [false, true, true, false]),
            (12, [false, false, true, true]),
            (13, [true, false, true, true]),
        ] {
            let wire = flagged(&ENDED_ACK_WIRE, flags);
            let Ok(Datagram::Ack(ack)) = Datagram::parse(&wire, crc32c) else { panic!() };
            let ends = [ack.verified, ack.committed, ack.tail.at, ack.received].map(|reach| reach.ended);
            assert_eq!(ends, expected);
        }
        let wire = flagged(&ACK_WIRE, FLAG_WANTED);
        let Ok(Datagram::Ack(ack)) = Datagram::parse(&wire, crc32c) else { panic!() };
        assert_eq!(ack.wanted, Some(ended(0x107)));
        for wire in [&APPEND_WIRE[..], &ACK_WIRE] {
            let wire = flagged(wire, FLAG_DEAF);
            let parsed = Datagram::parse(&wire, crc32c).unwrap();
            let (Datagram::Append(Append { is_deaf, .. }) | Datagram::Ack(Ack { is_deaf, .. })) = parsed
            else {
                panic!()
            };
            assert!(is_deaf);
            let mut buffer = [0; 200];
            assert_eq!(emit(&parsed, &mut buffer), wire.len());
            assert_eq!(buffer[..wire.len()], wire);
        }
    }

    #[test]
    fn refuses_what_is_no_datagram_of_the_stream() {
        for wire in [&APPEND_WIRE[..], &ACK_WIRE, &REFUSE_WIRE] {
            assert_eq!(field(wire, 0, b"SQCA"), "magic");
            assert_eq!(field(wire, 8, &[VERSION + 1]), "version");
            assert_eq!(field(wire, 9, &[0]), "kind");
            assert_eq!(field(wire, 9, &[5]), "kind");
            assert_eq!(field(wire, 10, &[0x80]), "flags");
            for len in 0..HEADER_BYTES {
                let expected = Error::Truncated { needed: HEADER_BYTES, actual: len };
                assert_eq!(error(&wire[..len]), expected);
            }
            let mut damaged = wire.to_vec();
            damaged[4] ^= 1;
            assert_eq!(error(&damaged), Error::Field { name: "check sum (CRC-32C)" });
        }
        for wire in [&APPEND_WIRE[..], &REFUSE_WIRE] {
            assert_eq!(field(wire, 11, &[1]), "reserved");
        }
        assert_eq!(field(&ACK_WIRE, 11, &[3]), "wish");
        assert_eq!(field(&REFUSE_WIRE, 10, &[1]), "flags");
        assert_eq!(field(&REFUSE_WIRE, 10, &[FLAG_DEAF]), "flags");
        assert_eq!(field(&APPEND_WIRE, 10, &[FLAG_NEEDS_IMAGE]), "flags");
        assert_eq!(field(&APPEND_WIRE, 10, &[FLAG_RECEIVED]), "flags");
        assert_eq!(field(&ENDED_ACK_WIRE, 10, &[0x1F]), "flags", "nothing is wanted");
        assert_eq!(field(&APPEND_WIRE, 24, &[0]), "epoch");
        assert_eq!(field(&REFUSE_WIRE, 24, &[0]), "epoch");
        assert_eq!(field(&ACK_WIRE, 60, &[1]), "reserved");
    }

    #[test]
    fn refuses_every_other_length() {
        for len in HEADER_BYTES..APPEND_BYTES {
            let expected = Error::Truncated { needed: APPEND_BYTES, actual: len };
            assert_eq!(error(&resealed(APPEND_WIRE[..len].to_vec())), expected);
        }
        for len in APPEND_BYTES..APPEND_WIRE.len() {
            let expected = Error::Truncated { needed: APPEND_WIRE.len(), actual: len };
            assert_eq!(error(&resealed(APPEND_WIRE[..len].to_vec())), expected);
        }
        for len in HEADER_BYTES..ACK_BYTES {
            let expected = Error::Truncated { needed: ACK_BYTES, actual: len };
            assert_eq!(error(&resealed(ACK_WIRE[..len].to_vec())), expected);
        }
        for wire in [&APPEND_WIRE[..], &ACK_WIRE, &REFUSE_WIRE] {
            let longer = resealed([wire, &[0]].concat());
            assert_eq!(error(&longer), Error::Trailing { offset: wire.len() });
        }
        let odd =
            resealed([&APPEND_WIRE[..60], &[12, 0, 0, 0], &APPEND_WIRE[64..APPEND_BYTES + 12]].concat());
        assert_eq!(error(&odd), Error::Field { name: "frames (no multiple of 8 bytes)" });
        let huge = patched(&APPEND_WIRE, 60, &[0xFF; 4]);
        let needed = APPEND_BYTES + u32::MAX as usize;
        assert_eq!(error(&huge), Error::Truncated { needed, actual: huge.len() });
    }

    #[test]
    fn numbers_start_at_one() {
        for at in [40, 64, 72, 80, 88] {
            assert_eq!(error(&patched(&APPEND_WIRE, at, &[0; 8])), Error::SeqNo, "at {at}");
        }
        for at in [40, 64, 72, 88] {
            assert_eq!(error(&patched(&ACK_WIRE, at, &[0; 8])), Error::SeqNo, "at {at}");
        }
        assert!(Datagram::parse(&patched(&ACK_WIRE, 80, &[0; 8]), crc32c).is_ok(), "nothing wanted");
    }

    #[test]
    fn no_part_goes_beyond_its_whole() {
        assert_eq!(field(&APPEND_WIRE, 40, &[6]), "previous (beyond the end)");
        assert_eq!(field(&APPEND_WIRE, 10, &[FLAG_POSITION]), "previous (beyond the end)");
        assert_eq!(field(&APPEND_WIRE, 72, &[6]), "committed (beyond the end)");
        assert_eq!(field(&APPEND_WIRE, 10, &[FLAG_COMMITTED]), "committed (beyond the end)");
        assert_eq!(field(&APPEND_WIRE, 80, &[4]), "published (beyond committed)");
        assert_eq!(field(&APPEND_WIRE, 88, &[6, 1]), "everywhere (beyond the end)");
        assert_eq!(field(&APPEND_WIRE, 40, &[5]), "frames (beyond the end)");
        let end_frame = resealed({
            let mut wire = APPEND_WIRE.to_vec();
            (wire[10], wire[40]) = (FLAG_END, 5);
            wire
        });
        assert!(Datagram::parse(&end_frame, crc32c).is_ok(), "the end of the session takes no number");
        assert_eq!(field(&ACK_WIRE, 72, &[5]), "received (beyond the tail)");
        assert_eq!(field(&ACK_WIRE, 10, &[FLAG_RECEIVED]), "received (beyond the tail)");
        assert_eq!(field(&ACK_WIRE, 64, &[4]), "verified (beyond received)");
        assert_eq!(field(&ACK_WIRE, 10, &[FLAG_END]), "verified (beyond received)");
        assert_eq!(field(&ACK_WIRE, 88, &[5]), "committed (beyond the tail)");
        assert_eq!(field(&ACK_WIRE, 80, &[3]), "wanted (received already)");
    }

    #[test]
    fn without_an_epoch_nothing_is_verified() {
        assert_eq!(field(&ACK_WIRE, 24, &[0]), "received (without an epoch)");
        let hello = Ack {
            origin: origin(1, 0, 5),
            verified: Reach::NOTHING,
            received: Reach::NOTHING,
            wanted: None,
            ..ack()
        };
        let mut buffer = [0; ACK_BYTES];
        assert_eq!(hello.emit(&mut buffer, crc32c), ACK_BYTES);
        assert_eq!(Datagram::parse(&buffer, crc32c), Ok(Datagram::Ack(hello)));
        assert_eq!(field(&buffer, 80, &[9]), "received (without an epoch)");
        assert_eq!(field(&buffer, 10, &[FLAG_NEEDS_IMAGE]), "flags");
        assert_eq!(field(&buffer, 11, &[WISH_LEAVE]), "wish");
        let wishing = |wish| Ack { wish: Some(wish), ..ack() };
        for asking in [Ack { needs_image: true, ..ack() }, wishing(Wish::Lead), wishing(Wish::Leave)] {
            assert_eq!(asking.emit(&mut buffer, crc32c), ACK_BYTES);
            assert_eq!(Datagram::parse(&buffer, crc32c), Ok(Datagram::Ack(asking)));
        }
    }

    fn image() -> Vec<u8> {
        let mut buffer = [0xEE; 200];
        let position = Position { at: to(0x102), epoch: 8, crc: 0x4142_4344 };
        let source = |next, session: &[u8; 10]| (SeqNo::new(next).unwrap(), Session::from_wire(*session));
        let sources = [source(0x21, b"SOURCE0   "), source(1, b"          "), source(0x23, b"SOURCE2   ")];
        let origin = origin(2, 9, 0x1112_1314_1516_1718);
        let len = emit_image(&origin, &position, 0x71, 0x81, sources.into_iter(), &mut buffer, crc32c);
        buffer[..len].to_vec()
    }

    #[test]
    fn an_image_says_where_to_begin() {
        let wire = image();
        assert_eq!(wire.len(), IMAGE_BYTES + 3 * IMAGE_SOURCE_BYTES);
        assert_eq!(wire[8..12], [VERSION, 4, 0, 0]);
        let u64_at = |at: usize| u64::from_le_bytes(wire[at..at + 8].try_into().unwrap());
        assert_eq!([40, 48, 64, 72].map(u64_at), [0x102, 8, 0x71, 0x81]);
        assert_eq!(wire[56..64], [0x44, 0x43, 0x42, 0x41, 3, 0, 0, 0]);
        assert_eq!((u64_at(80), &wire[88..98]), (0x21, &b"SOURCE0   "[..]));
        assert_eq!((u64_at(80 + 36), &wire[88 + 36..98 + 36]), (0x23, &b"SOURCE2   "[..]));
        let Ok(Datagram::Image(image)) = Datagram::parse(&wire, crc32c) else { panic!() };
        assert_eq!(
            (image.position.at, image.position.epoch, image.position.crc),
            (to(0x102), 8, 0x4142_4344)
        );
        assert_eq!((image.stamp_ns, image.replaces, image.sources.len()), (0x71, 0x81, 3));
        let nexts: Vec<u64> = image.sources.iter().map(|(next, _)| next.value()).collect();
        assert_eq!(nexts, [0x21, 1, 0x23]);
        let mut buffer = [0; 200];
        assert_eq!(image.emit(&mut buffer, crc32c), wire.len());
        assert_eq!(buffer[..wire.len()], wire);
        assert_eq!(image.emit(&mut buffer[..wire.len() - 1], crc32c), 0);
    }

    /// Cut off or changed anywhere, it is no image.
    #[test]
    fn an_image_is_whole_or_none() {
        let wire = image();
        for len in 0..wire.len() {
            assert!(Datagram::parse(&wire[..len], crc32c).is_err());
            if len >= HEADER_BYTES {
                assert!(Datagram::parse(&resealed(wire[..len].to_vec()), crc32c).is_err());
            }
        }
        for bit in 0..wire.len() * 8 {
            let mut damaged = wire.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Datagram::parse(&damaged, crc32c).is_err(), "bit {bit}");
        }
        assert_eq!(error(&resealed([&wire[..], &[0]].concat())), Error::Trailing { offset: wire.len() });
        assert_eq!(field(&wire, 10, &[FLAG_POSITION]), "flags");
        assert_eq!(field(&wire, 24, &[0]), "epoch");
        assert_eq!(field(&wire, 62, &[1]), "reserved");
        for at in [40, 80, 98] {
            assert_eq!(error(&patched(&wire, at, &[0; 8])), Error::SeqNo, "at {at}");
        }
    }

    #[test]
    fn a_packer_takes_whole_frames_while_they_fit() {
        let mut buffer = [0xEE; APPEND_BYTES + 20];
        let mut packer = Packer::new(&mut buffer).unwrap();
        assert!(packer.is_empty());
        assert!(!packer.try_push(&[1; 12]), "no multiple of 8 bytes");
        assert!(packer.try_push(&FRAMES[..8]) && packer.try_push(&FRAMES[8..]));
        assert!(!packer.try_push(&[1; 8]), "4 bytes are left");
        assert_eq!((packer.datagram_bytes(), packer.is_empty()), (APPEND_WIRE.len(), false));
        let Append { origin, previous, head, .. } = append();
        assert_eq!(packer.finish(&origin, &previous, &head, false, crc32c), APPEND_WIRE.len());
        assert_eq!(buffer[..APPEND_WIRE.len()], APPEND_WIRE);
        assert_eq!(buffer[APPEND_WIRE.len()..], [0xEE; 4]);
        let needed = APPEND_BYTES;
        let too_short = Packer::new(&mut buffer[..needed - 1]).map(|_| ());
        assert_eq!(too_short, Err(Error::Truncated { needed, actual: needed - 1 }));
    }

    #[test]
    fn reaches_are_ordered_by_what_is_counted_in() {
        assert!(to(5) < ended(5) && ended(5) < to(6));
        assert!(to(5).is_part_of(ended(5)) && ended(5).is_part_of(ended(5)) && to(5).is_part_of(to(6)));
        assert!(!ended(5).is_part_of(to(6)), "nothing follows the end");
        assert!(!ended(5).is_part_of(to(5)) && !to(6).is_part_of(ended(5)));
    }
}
