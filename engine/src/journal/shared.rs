//! What the parts of an open journal share. Readers take no lock and never wait.
//!
//! A segment **ends** at the number that the next one begins with. A cut begins a segment at a number that earlier ones
//! hold already: then they end there too, and what they hold from there on is superseded. Ends only ever fall, and are
//! set after the segment that they lead to was begun, so that a reader who sees an end finds what comes behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam::utils::CachePadded;
use seqcast_wire::SeqNo;

use super::error::ReadError;
use super::scan::chain_at;
use super::segment::{HEADER_BYTES, SegmentHeader};
use crate::frame::{self, ALIGN_BYTES, Chain, Frame};
use crate::mem::append::View;

/// Every this many messages a segment's index has an entry.
pub(super) const INDEX_STRIDE: u64 = 64;

/// One segment as its readers know it.
pub(super) struct Segment {
    pub(super) index: u64,
    pub(super) view: View,
    /// First sequence number; 0 until the segment is begun. Set before anything is published.
    first: AtomicU64,
    /// Numbers from here on are in a later segment; 0 while there is none.
    end: AtomicU64,
    /// Where every [`INDEX_STRIDE`]th message begins, in units of [`ALIGN_BYTES`]. Entry `i` is set before message
    /// `first + i * INDEX_STRIDE` is published, and read only after that message was seen published.
    table: Box<[AtomicU32]>,
}

impl Segment {
    pub(super) fn new(index: u64, view: View) -> Segment {
        let entries = (view.capacity() / frame::HEADER_BYTES).div_ceil(INDEX_STRIDE as usize);
        let table = (0..entries).map(|_| AtomicU32::new(0)).collect();
        Segment { index, view, first: AtomicU64::new(0), end: AtomicU64::new(0), table }
    }

    /// A segment that was begun before, with the entries of its index.
    pub(super) fn recovered(index: u64, view: View, first: SeqNo, strides: &[usize]) -> Segment {
        let segment = Segment::new(index, view);
        segment.begin(first);
        for (entry, &offset) in segment.table.iter().zip(strides) {
            entry.store((offset / ALIGN_BYTES) as u32, Ordering::Relaxed);
        }
        segment
    }

    /// Begins the segment with number `first`; nothing of it is published yet.
    pub(super) fn begin(&self, first: SeqNo) {
        self.first.store(first.value(), Ordering::Relaxed);
    }

    /// First sequence number; `None` until the segment is begun.
    pub(super) fn first(&self) -> Option<SeqNo> {
        if self.view.published().is_empty() {
            return None;
        }
        SeqNo::new(self.first.load(Ordering::Relaxed))
    }

    /// The number from which on a later segment holds what there is; `None` while there is no later one.
    #[inline]
    pub(super) fn end(&self) -> Option<SeqNo> {
        SeqNo::new(self.end.load(Ordering::Acquire))
    }

    /// Lets the segment end at `end`, unless it ends before.
    pub(super) fn end_at(&self, end: SeqNo) {
        let lower = self.end().map_or(end, |before| before.min(end));
        self.end.store(lower.value(), Ordering::Release);
    }

    /// The lowest number that this segment or a later one begins with. It rises from segment to segment, whatever was
    /// cut; `None` until the segment is begun.
    pub(super) fn lowest(&self) -> Option<SeqNo> {
        let first = self.first()?;
        Some(self.end().map_or(first, |end| end.min(first)))
    }

    /// Notes where message `seq` begins, if the index wants to know.
    #[inline]
    pub(super) fn note(&self, seq: SeqNo, offset: usize) {
        let nth = seq.value() - self.first.load(Ordering::Relaxed);
        if nth.is_multiple_of(INDEX_STRIDE) {
            let entry = &self.table[(nth / INDEX_STRIDE) as usize];
            entry.store((offset / ALIGN_BYTES) as u32, Ordering::Relaxed);
        }
    }

    /// Where the message behind the `nth` (from 0) published messages of this segment begins, were it there.
    /// `None` only when memory went bad, or the segment was cut meanwhile.
    pub(super) fn offset_behind(&self, nth: u64) -> Option<usize> {
        let Some(last) = nth.checked_sub(1) else { return Some(HEADER_BYTES) };
        let mut offset = self.offset_of(last)?;
        offset += Frame::view(self.view.published().get(offset..)?).ok()?.framed_bytes();
        Some(offset)
    }

    /// Where the `nth` (from 0) published message begins.
    fn offset_of(&self, nth: u64) -> Option<usize> {
        let published = self.view.published();
        let entry = self.table.get(usize::try_from(nth / INDEX_STRIDE).ok()?)?;
        let mut offset = entry.load(Ordering::Relaxed) as usize * ALIGN_BYTES;
        if offset < HEADER_BYTES {
            return None;
        }
        for _ in 0..nth % INDEX_STRIDE {
            offset += Frame::view(published.get(offset..)?).ok()?.framed_bytes();
        }
        Some(offset)
    }

    /// Epoch and CRC of the frame before message `seq`, which is in this segment or comes next in it.
    fn previous(&self, seq: SeqNo) -> Option<(u64, u32)> {
        let Some(last) = seq.since(self.first()?).checked_sub(1) else {
            return SegmentHeader::previous(self.view.published());
        };
        let frame = Frame::parse(self.view.published().get(self.offset_of(last)?..)?).ok()?;
        let header = frame.header();
        (frame.seq().next() == seq).then(|| (header.epoch.get(), header.crc.get()))
    }
}

/// How far one **branch** of the record is synced. Every cut begins a branch with a number of its own, so that a syncer
/// that was at work while the record was cut never vouches for frames that it has not seen.
pub(super) struct Synced {
    /// Index of the segment that the last cut began; 0 where nothing was cut.
    pub(super) branch: u64,
    next: AtomicU64,
    ended: AtomicBool,
}

impl Synced {
    pub(super) fn new(branch: u64, next: SeqNo) -> Arc<Synced> {
        Arc::new(Synced { branch, next: AtomicU64::new(next.value()), ended: AtomicBool::new(false) })
    }

    #[inline]
    pub(super) fn next(&self) -> SeqNo {
        watermark(&self.next)
    }

    /// Whether the end of the session is synced.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, next: SeqNo, ended: bool) {
        self.next.store(next.value(), Ordering::Release);
        self.ended.store(ended, Ordering::Release);
    }
}

/// What all parts see.
pub(super) struct Shared {
    /// All segments, begun or prepared, by rising index without holes; never empty. Changed by the preparer alone.
    pub(super) segments: ArcSwap<Vec<Arc<Segment>>>,
    /// Index of the segment that is written to. All before it are complete.
    pub(super) active: CachePadded<AtomicU64>,
    /// Appended and published: the number that comes next.
    pub(super) next: CachePadded<AtomicU64>,
    /// The end of the session is appended and published: it takes no number.
    pub(super) ended: AtomicBool,
    /// Survives a loss of power, in the branch that is written to.
    pub(super) synced: ArcSwap<Synced>,
}

impl Shared {
    /// Segment `index`; `None` when it was removed or is not there yet.
    pub(super) fn segment(&self, index: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.load();
        let at = index.checked_sub(segments.first()?.index)?;
        segments.get(usize::try_from(at).ok()?).cloned()
    }

    /// The segment that holds message `seq`, or will; `None` when it was removed.
    pub(super) fn holder(&self, seq: SeqNo) -> Option<Arc<Segment>> {
        let segments = self.segments.load();
        let later = segments.partition_point(|segment| segment.lowest().is_some_and(|lowest| lowest <= seq));
        segments.get(later.checked_sub(1)?).cloned()
    }

    pub(super) fn next(&self) -> SeqNo {
        watermark(&self.next)
    }

    pub(super) fn synced(&self) -> SeqNo {
        self.synced.load().next()
    }

    pub(super) fn oldest(&self) -> SeqNo {
        let lowest = self.segments.load().first().and_then(|segment| segment.lowest());
        lowest.unwrap_or(SeqNo::FIRST)
    }

    /// Epoch and CRC of the frame before message `seq`; `None` when neither is there.
    pub(super) fn position_at(&self, seq: SeqNo) -> Option<(u64, u32)> {
        if seq > self.next() {
            return None;
        }
        self.holder(seq)?.previous(seq)
    }

    /// Where the chain stands before message `seq`; `None` when it was removed. Follows all frames of its segment up to
    /// there.
    pub(super) fn chain_at(&self, seq: SeqNo) -> Result<Option<Chain>, ReadError> {
        let Some(segment) = self.holder(seq) else { return Ok(None) };
        let chain = chain_at(segment.view.published(), seq);
        chain.map(Some).map_err(|(offset, seq, fault)| ReadError::Damaged {
            segment: segment.index,
            offset,
            seq,
            fault,
        })
    }

    /// Supersedes from number `to` on whatever the segments before the active one, `last`, hold.
    pub(super) fn supersede(&self, last: u64, to: SeqNo) {
        let segments = self.segments.load();
        for segment in segments.iter().rev().filter(|segment| segment.index <= last) {
            segment.end_at(to);
            if segment.first().is_some_and(|first| first < to) {
                break; // Those before end where this one begins, or before.
            }
        }
    }
}

fn watermark(cell: &AtomicU64) -> SeqNo {
    SeqNo::new(cell.load(Ordering::Acquire)).unwrap_or(SeqNo::FIRST)
}
