//! Checking a journal that is not ours.

use seqcast_wire::{SeqNo, Session};

use super::error::JournalError;
use super::follow::{read_head, read_whole};
use super::mark::Before;
use super::scan::{Cut, Survey, scan};
use super::segment::{HEADER_BYTES, HeaderRead};
use crate::frame::{Chain, Frame};
use crate::mem::cells::CELLS;
use crate::mem::store::{ReadStore, SegmentInfo, StoreError};

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Session recorded; `None` when nothing is.
    pub session: Option<Session>,
    /// Segments begun.
    pub segments: usize,
    /// Bytes of their headers and frames, without what is superseded.
    pub bytes: u64,
    /// The oldest number there is.
    pub oldest: SeqNo,
    /// Where the record ends.
    pub chain: Chain,
    /// Messages that [cuts](super::Journal::cut_back) superseded: they stand in the segments and count no more.
    pub superseded: u64,
    /// A loss of power undid a cut: the record ends there at the latest, and opening the journal cuts again.
    pub lost_cut: Option<SeqNo>,
    /// Incarnation that wrote last.
    pub incarnation: u64,
    /// The highest epoch promised, if the mark is readable.
    pub promised_epoch: Option<u64>,
    /// The published watermark, if the mark is readable.
    pub published: Option<SeqNo>,
    /// What stands behind the end and is no frame: opening the journal cuts it.
    pub cut: Option<Cut>,
    /// Who is writing. What was appended while it was verified is not looked at.
    pub writer: Option<String>,
}

/// Checks all of a journal: every CRC, every number, every link. What a cut superseded is not part of it.
///
/// # Errors
/// The first thing that is wrong, as [`Journal::open`](super::Journal::open) would say it.
pub fn verify<R: ReadStore>(store: &R) -> Result<VerifyReport, JournalError> {
    loop {
        let list = store.list()?;
        let writer = store.writer();
        // Read before the segments: everything below the appended watermark is in them by now.
        let before = read_mark(store)?;
        let outcome = verify_list(store, &list, &before, writer.clone());
        // What changed under the look is looked at again: a cut was made, retention removed a segment, a writer came.
        if read_mark(store)?.watermarks.noted_cut != before.watermarks.noted_cut {
            continue;
        }
        let oldest = |list: &[SegmentInfo]| list.first().map(|info| info.index);
        if outcome.is_ok() || (store.writer() == writer && oldest(&store.list()?) == oldest(&list)) {
            return outcome;
        }
    }
}

fn read_mark<R: ReadStore>(store: &R) -> Result<Before, StoreError> {
    Ok(Before::read(&store.mark()?.unwrap_or([0; CELLS])))
}

fn verify_list<R: ReadStore>(
    store: &R,
    list: &[SegmentInfo],
    before: &Before,
    writer: Option<String>,
) -> Result<VerifyReport, JournalError> {
    let marks = before.watermarks;
    let live_end = (writer.is_some() && before.record.is_some()).then_some(marks.appended);
    let survey = Survey::new(read_heads(store, list, live_end)?, before, store.boot());
    let mut heads = survey.heads.iter();
    let (mut segments, mut bytes, mut session) = (0, 0, None);
    let scanned = scan(
        None,
        &survey,
        &|index| store.place(index),
        |index| match (heads.next(), live_end) {
            (Some((_, HeaderRead::Header(_))), Some(end)) => {
                let mut content = read_whole(store, index)?;
                content.truncate(offset_of(&content, end));
                Ok(content)
            }
            // It may be begun just now.
            (_, Some(_)) => Ok(Vec::new()),
            (_, None) => read_whole(store, index),
        },
        |found| {
            segments += 1;
            bytes += found.end as u64;
            session = Some(found.header.session);
        },
    )
    .map_err(|failed| failed.error)?;
    let next = scanned.chain.next();
    // A live writer, or one that closed the journal, left all that was appended; a dead one all that was synced.
    let expected = match before.record {
        Some(record) if writer.is_some() || record.clean => marks.appended,
        Some(_) => survey.clamp(marks.synced, marks.synced_branch),
        None => SeqNo::FIRST,
    };
    if segments > 0 && next < expected && !survey.is_void() {
        let place = store.place(list.last().map_or(0, |info| info.index));
        return Err(JournalError::Short { place, expected, found: next });
    }
    Ok(VerifyReport {
        session,
        segments,
        bytes,
        oldest: scanned.oldest.unwrap_or(next),
        chain: scanned.chain,
        superseded: survey.superseded(),
        lost_cut: survey.lost_cut.filter(|_| !survey.is_void()),
        incarnation: scanned.incarnation,
        promised_epoch: before.record.map(|record| record.promised_epoch),
        published: before.record.map(|_| marks.published),
        cut: scanned.cut,
        writer,
    })
}

/// The header of each segment. The last ones, if they begin behind `live_end`, were begun under the look and count as
/// blank.
fn read_heads<R: ReadStore>(
    store: &R,
    list: &[SegmentInfo],
    live_end: Option<SeqNo>,
) -> Result<Vec<(u64, HeaderRead)>, StoreError> {
    let read = |info: &SegmentInfo| Ok((info.index, read_head(store, info.index)?));
    let mut heads: Vec<(u64, HeaderRead)> = list.iter().map(read).collect::<Result<_, StoreError>>()?;
    let begun = |head: &HeaderRead| match head {
        HeaderRead::Header(header) => live_end.is_none_or(|end| header.chain.next() <= end),
        _ => false,
    };
    let known = heads.iter().rposition(|(_, head)| begun(head)).map_or(0, |last| last + 1);
    for (_, head) in heads[known..].iter_mut().filter(|(_, head)| matches!(head, HeaderRead::Header(_))) {
        *head = HeaderRead::Blank;
    }
    Ok(heads)
}

/// Where in a segment frame `seq` begins, as far as whole frames lead there; else the segment's length.
fn offset_of(segment: &[u8], seq: SeqNo) -> usize {
    let mut offset = HEADER_BYTES;
    while let Some(rest) = segment.get(offset..) {
        match Frame::view(rest) {
            Ok(frame) if frame.seq() >= seq => return offset,
            Ok(frame) => offset += frame.framed_bytes(),
            Err(_) => break,
        }
    }
    segment.len()
}

#[cfg(test)]
mod tests {
    use super::super::tests::cut::append;
    use super::super::tests::{filled, open, seq};
    use super::*;
    use crate::mem::store::MemoryDisk;

    #[test]
    fn verify_reports_what_is_there() {
        let disk = MemoryDisk::default();
        let empty = verify(&disk).unwrap();
        assert_eq!((empty.session, empty.segments, empty.chain.next()), (None, 0, SeqNo::FIRST));
        let (mut opened, model) = filled(&disk, &[3000; 100]);
        opened.mark.promise(4).unwrap();
        opened.mark.published().advance(seq(90));
        let report = verify(&disk).unwrap();
        assert_eq!(report.session.unwrap().to_string(), "SESSION");
        assert_eq!(report.chain, *opened.journal.chain());
        assert_eq!((report.oldest, report.incarnation), (SeqNo::FIRST, 100));
        assert_eq!((report.promised_epoch, report.published), (Some(4), Some(seq(90))));
        assert!(report.writer.is_some());
        let frames: usize = model.frames.iter().map(Vec::len).sum();
        assert_eq!(report.bytes, (frames + report.segments * HEADER_BYTES) as u64);
        drop(opened);
        let report = verify(&disk).unwrap();
        assert_eq!((report.writer, report.cut), (None, None));
        disk.lose_mark();
        assert_eq!(verify(&disk).unwrap().promised_epoch, None);
        assert_eq!(open(&disk).unwrap().recovered.promised_epoch, 0);
    }

    /// A disk on which something happens just after its mark was read.
    struct MeanwhileDisk<F>(MemoryDisk, std::cell::RefCell<Option<F>>);

    impl<F: FnOnce()> ReadStore for MeanwhileDisk<F> {
        fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
            self.0.list()
        }

        fn read_at(&self, index: u64, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
            self.0.read_at(index, offset, into)
        }

        fn mark(&self) -> Result<Option<[u64; CELLS]>, StoreError> {
            let mark = self.0.mark();
            if let Some(meanwhile) = self.1.take() {
                meanwhile();
            }
            mark
        }

        fn writer(&self) -> Option<String> {
            self.0.writer()
        }

        fn boot(&self) -> u128 {
            ReadStore::boot(&self.0)
        }

        fn place(&self, index: u64) -> String {
            self.0.place(index)
        }
    }

    #[test]
    fn verify_takes_no_cut_amiss_that_was_made_under_its_look() {
        for more in [0, 10, 300] {
            let disk = MemoryDisk::default();
            let (mut opened, _) = filled(&disk, &[1000; 100]);
            opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
            let meanwhile = || {
                opened.journal.cut_back(seq(41)).unwrap();
                for _ in 0..more {
                    let frame = opened.journal.chain().clone().extend(2, 0, &[7; 1000]);
                    append(&mut opened, &frame);
                }
                opened.journal.publish();
            };
            let moving = MeanwhileDisk(disk, Some(meanwhile).into());
            let report = verify(&moving).unwrap();
            assert_eq!((&report.chain, report.superseded), (opened.journal.chain(), 60));
            assert_eq!(report.lost_cut, None);
        }
    }

    #[test]
    fn verify_takes_no_segment_amiss_that_was_begun_under_its_look() {
        let disk = MemoryDisk::default();
        let (mut opened, mut model) = filled(&disk, &[1000; 3]);
        opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
        let before = opened.journal.chain().clone();
        let meanwhile = || {
            for _ in 0..200 {
                model.append(&mut opened, &[7; 1000]);
            }
            opened.journal.publish();
        };
        let moving = MeanwhileDisk(disk, Some(meanwhile).into());
        let report = verify(&moving).unwrap();
        assert_eq!((report.chain, report.segments), (before, 1));
    }
}
