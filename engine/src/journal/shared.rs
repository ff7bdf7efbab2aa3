//! What the parts of an open journal share. Readers take no lock and never wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam::utils::CachePadded;
use seqcast_wire::SeqNo;

use super::segment::HEADER_BYTES;
use crate::frame::{self, ALIGN_BYTES};
use crate::mem::append::View;

/// Every this many messages a segment's index has an entry.
pub(super) const INDEX_STRIDE: u64 = 64;

/// One segment as its readers know it.
pub(super) struct Segment {
    pub(super) index: u64,
    pub(super) view: View,
    /// First sequence number; 0 until the segment is begun. Set before anything is published.
    first: AtomicU64,
    /// Where every [`INDEX_STRIDE`]th message begins, in units of [`ALIGN_BYTES`]. Entry `i` is set before message
    /// `first + i * INDEX_STRIDE` is published, and read only after that message was seen published.
    table: Box<[AtomicU32]>,
}

impl Segment {
    pub(super) fn new(index: u64, view: View) -> Segment {
        let entries = (view.capacity() / frame::HEADER_BYTES).div_ceil(INDEX_STRIDE as usize);
        let table = (0..entries).map(|_| AtomicU32::new(0)).collect();
        Segment { index, view, first: AtomicU64::new(0), table }
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
    /// `None` only when memory went bad.
    pub(super) fn offset_behind(&self, nth: u64) -> Option<usize> {
        let Some(last) = nth.checked_sub(1) else { return Some(HEADER_BYTES) };
        let published = self.view.published();
        let entry = self.table.get((last / INDEX_STRIDE) as usize)?;
        let mut offset = entry.load(Ordering::Relaxed) as usize * ALIGN_BYTES;
        for _ in 0..=last % INDEX_STRIDE {
            offset += frame::Frame::view(published.get(offset..)?).ok()?.framed_bytes();
        }
        Some(offset)
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
    /// Survives a loss of power.
    pub(super) synced: CachePadded<AtomicU64>,
}

impl Shared {
    /// Segment `index`; `None` when it was removed or is not there yet.
    pub(super) fn segment(&self, index: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.load();
        let at = index.checked_sub(segments.first()?.index)?;
        segments.get(usize::try_from(at).ok()?).cloned()
    }

    pub(super) fn next(&self) -> SeqNo {
        watermark(&self.next)
    }

    pub(super) fn synced(&self) -> SeqNo {
        watermark(&self.synced)
    }

    pub(super) fn oldest(&self) -> SeqNo {
        let first = self.segments.load().first().and_then(|segment| segment.first());
        first.unwrap_or(SeqNo::FIRST)
    }
}

fn watermark(cell: &AtomicU64) -> SeqNo {
    SeqNo::new(cell.load(Ordering::Acquire)).unwrap_or(SeqNo::FIRST)
}
