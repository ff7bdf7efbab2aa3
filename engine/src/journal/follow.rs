//! Reading a journal that is not ours: another process may be writing it. Copies, checks everything, maps nothing.

use seqcast_wire::{SeqNo, Session};

use super::error::{Fault, JournalError};
use super::mark::{Watermarks, read_record};
use super::scan::{Cut, content_bytes, scan, valid_after};
use super::segment::{HEADER_BYTES, HeaderRead, SegmentHeader, VERSION};
use crate::frame::{ALIGN_BYTES, Chain, Frame, FrameError, framed_bytes};
use crate::limits::MAX_MESSAGE_BYTES;
use crate::mem::store::{ReadStore, SegmentInfo, StoreError};

const CHUNK_BYTES: usize = 256 << 10;
const _: () = assert!(CHUNK_BYTES > framed_bytes(MAX_MESSAGE_BYTES));

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Session recorded; `None` when nothing is.
    pub session: Option<Session>,
    /// Segments begun.
    pub segments: usize,
    /// Bytes of their headers and frames.
    pub bytes: u64,
    /// The oldest number there is.
    pub oldest: SeqNo,
    /// Where the record ends.
    pub chain: Chain,
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

/// Checks all of a journal: every CRC, every number, every link.
///
/// # Errors
/// The first thing that is wrong, as [`Journal::open`](super::Journal::open) would say it.
pub fn verify<R: ReadStore>(store: &R) -> Result<VerifyReport, JournalError> {
    loop {
        let list = store.list()?;
        let writer = store.writer();
        let outcome = verify_list(store, &list, writer.clone());
        // What changed under the look is looked at again: retention removed a segment, or a writer came.
        let oldest = |list: &[SegmentInfo]| list.first().map(|info| info.index);
        if outcome.is_ok() || (store.writer() == writer && oldest(&store.list()?) == oldest(&list)) {
            return outcome;
        }
    }
}

fn verify_list<R: ReadStore>(
    store: &R,
    list: &[SegmentInfo],
    writer: Option<String>,
) -> Result<VerifyReport, JournalError> {
    // Read before the segments: everything below the appended watermark is in them by now.
    let cells = store.mark()?;
    let record = cells.as_ref().and_then(|cells| read_record(cells).0);
    let watermarks = cells.as_ref().filter(|_| record.is_some()).map(Watermarks::read);
    let live_end = watermarks.map(|marks| marks.appended).filter(|_| writer.is_some());
    let (mut segments, mut bytes, mut oldest, mut session) = (0, 0, None, None);
    let scanned = scan(
        None,
        list,
        &|index| store.place(index),
        |index| {
            let mut content = read_whole(store, index)?;
            if let Some(end) = live_end {
                let is_later = matches!(
                    SegmentHeader::decode(&content),
                    HeaderRead::Header(header) if header.chain.next() > end
                );
                content.truncate(if is_later { 0 } else { offset_of(&content, end) });
            }
            Ok(content)
        },
        |found| {
            segments += 1;
            bytes += found.end as u64;
            oldest.get_or_insert(found.header.chain.next());
            session = Some(found.header.session);
        },
    )?;
    let next = scanned.chain.next();
    let expected = match watermarks {
        // A live writer, or one that closed the journal, left all that was appended; a dead one all that was synced.
        Some(marks) if writer.is_some() || record.is_some_and(|record| record.clean) => marks.appended,
        Some(marks) => marks.synced,
        None => SeqNo::FIRST,
    };
    if segments > 0 && next < expected {
        let place = store.place(list.last().map_or(0, |info| info.index));
        return Err(JournalError::Short { place, expected, found: next });
    }
    Ok(VerifyReport {
        session,
        segments,
        bytes,
        oldest: oldest.unwrap_or(next),
        chain: scanned.chain,
        incarnation: scanned.incarnation,
        promised_epoch: record.map(|record| record.promised_epoch),
        published: watermarks.map(|marks| marks.published),
        cut: scanned.cut,
        writer,
    })
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

fn read_whole<R: ReadStore>(store: &R, index: u64) -> Result<Vec<u8>, StoreError> {
    let listed = store.list()?.iter().find(|info| info.index == index).map_or(0, |info| info.bytes);
    let mut content = Vec::with_capacity(usize::try_from(listed).unwrap_or(0).saturating_add(CHUNK_BYTES));
    loop {
        let filled = content.len();
        content.resize(filled + CHUNK_BYTES, 0);
        let count = store.read_at(index, filled as u64, &mut content[filled..])?;
        content.truncate(filled + count);
        if count == 0 {
            return Ok(content);
        }
    }
}

/// Reads a journal frame by frame, and goes on as another process appends to it.
pub struct Follower<R> {
    store: R,
    session: Option<Session>,
    from: SeqNo,
    segment: u64,
    /// Offset in the segment of what comes next.
    offset: u64,
    chain: Chain,
    /// Bytes of the segment from `offset` on are `buffer[start..end]`.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Segment and offset of an end that was found to be one, with nobody writing.
    judged: Option<(u64, u64)>,
}

impl<R: ReadStore> Follower<R> {
    /// Begins before frame `from`, or before the oldest there is. A later number than there is yet is waited for.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(store: R, from: Option<SeqNo>) -> Result<Follower<R>, JournalError> {
        let from = from.unwrap_or(SeqNo::FIRST);
        let mut follower = Follower {
            store,
            session: None,
            from,
            segment: 0,
            offset: 0,
            chain: Chain::new(),
            buffer: vec![0; CHUNK_BYTES].into(),
            start: 0,
            end: 0,
            judged: None,
        };
        follower.try_start()?;
        Ok(follower)
    }

    /// Session recorded; `None` while nothing is.
    pub fn session(&self) -> Option<Session> {
        self.session
    }

    /// Where the record stands behind what was read.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Index of the segment that is read, and the offset in it of what comes next.
    pub fn position(&self) -> (u64, u64) {
        (self.segment, self.offset)
    }

    /// The next frame; `None` when there is none yet.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, JournalError> {
        loop {
            if self.session.is_none() && !self.try_start()? {
                return Ok(None);
            }
            let Some(len) = self.whole_frame()? else { return Ok(None) };
            let start = self.start;
            self.start += len;
            self.offset += len as u64;
            let frame = Frame::view(&self.buffer[start..start + len]);
            if frame.is_ok_and(|frame| frame.seq() >= self.from) {
                return Ok(Frame::view(&self.buffer[start..start + len]).ok());
            }
        }
    }

    /// Finds the segment to begin in; gives whether there is one.
    fn try_start(&mut self) -> Result<bool, JournalError> {
        let mut start = None;
        for info in self.store.list()?.iter().rev() {
            if let Some(header) = self.read_header(info.index)? {
                let reached = header.chain.next() <= self.from;
                start = Some(header);
                if reached {
                    break;
                }
            }
        }
        let Some(header) = start else { return Ok(false) };
        self.session = Some(header.session);
        self.enter(header);
        Ok(true)
    }

    fn enter(&mut self, header: SegmentHeader) {
        self.segment = header.index;
        self.offset = HEADER_BYTES as u64;
        self.chain = header.chain;
        (self.start, self.end) = (0, 0);
        self.judged = None;
    }

    /// Length of the whole frame at `buffer[start..]`, which the chain has followed; `None` when there is none yet.
    fn whole_frame(&mut self) -> Result<Option<usize>, JournalError> {
        loop {
            let mut found = self.parse()?;
            if found.is_none() {
                self.refill()?;
                found = self.parse()?;
            }
            if found.is_some() {
                return Ok(found);
            }
            let Some(header) = self.read_header(self.segment + 1)? else {
                return self.judge_end().map(|()| None);
            };
            // The next segment is begun, so this one is complete by now: a last look.
            self.refill()?;
            if let found @ Some(_) = self.parse()? {
                return Ok(found);
            }
            if header.chain != self.chain {
                return Err(self.bad_frame(None));
            }
            self.enter(header);
        }
    }

    fn parse(&mut self) -> Result<Option<usize>, JournalError> {
        let Ok(frame) = Frame::parse(&self.buffer[self.start..self.end]) else { return Ok(None) };
        match self.chain.follow(&frame) {
            Ok(()) => Ok(Some(frame.framed_bytes())),
            Err(_) => Err(self.bad_frame(Some(self.offset as usize))),
        }
    }

    /// Reads again from the segment what comes next.
    fn refill(&mut self) -> Result<(), JournalError> {
        (self.start, self.end) = (0, 0);
        while self.end < self.buffer.len() {
            let from = self.offset + self.end as u64;
            match self.store.read_at(self.segment, from, &mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(StoreError::Absent { place }) => {
                    return Err(JournalError::Removed { place, seq: self.chain.next() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The header of segment `index`, if it has begun.
    fn read_header(&self, index: u64) -> Result<Option<SegmentHeader>, JournalError> {
        let mut head = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.store.read_at(index, filled as u64, &mut head[filled..]) {
                Ok(0) | Err(StoreError::Absent { .. }) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(error.into()),
            }
        }
        let place = || self.store.place(index);
        match SegmentHeader::decode(&head[..filled]) {
            HeaderRead::Header(header) if header.index != index => {
                Err(JournalError::BadHeader { place: place(), why: "it belongs to another segment" })
            }
            HeaderRead::Header(header) => match self.session {
                Some(expected) if expected != header.session => {
                    Err(JournalError::ForeignSession { place: place(), found: header.session, expected })
                }
                _ => Ok(Some(header)),
            },
            HeaderRead::Version(found) => {
                Err(JournalError::Version { place: place(), found, known: VERSION })
            }
            HeaderRead::Bad(why) if self.store.writer().is_none() => {
                match content_bytes(&read_whole(&self.store, index)?) {
                    0..=HEADER_BYTES => Ok(None),
                    _ => Err(JournalError::BadHeader { place: place(), why }),
                }
            }
            HeaderRead::Blank | HeaderRead::Bad(_) => Ok(None),
        }
    }

    /// No whole frame follows, nor a segment: is this the end, or damage?
    fn judge_end(&mut self) -> Result<(), JournalError> {
        let here = (self.segment, self.offset);
        if self.store.writer().is_some() {
            let appended = self.store.mark()?.map_or(SeqNo::FIRST, |cells| Watermarks::read(&cells).appended);
            if self.chain.next() < appended {
                // Either it was appended since the last look, or it is there and damaged.
                self.refill()?;
                return match Frame::parse(&self.buffer[..self.end]) {
                    Ok(_) => Ok(()),
                    Err(_) if self.read_header(self.segment + 1)?.is_some() => Ok(()),
                    Err(_) => Err(self.bad_frame(None)),
                };
            }
        } else if self.judged != Some(here) {
            let content = read_whole(&self.store, self.segment)?;
            let valid_at = valid_after(&content, self.offset as usize + ALIGN_BYTES, self.chain.next());
            if valid_at.is_some() {
                return Err(self.bad_frame(valid_at));
            }
            self.judged = Some(here);
        }
        Ok(())
    }

    fn bad_frame(&self, valid_at: Option<usize>) -> JournalError {
        let fault = match Frame::parse(&self.buffer[self.start..self.end]) {
            Ok(frame) => self.chain.check(&frame).err().map(Fault::Chain),
            Err(fault) => Some(Fault::Frame(fault)),
        };
        JournalError::BadFrame {
            place: self.store.place(self.segment),
            offset: self.offset as usize,
            seq: self.chain.next(),
            fault: fault.unwrap_or(Fault::Frame(FrameError::Empty)),
            valid_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{filled, open, seq};
    use super::*;
    use crate::frame::Kind;
    use crate::mem::cells::CELLS;
    use crate::mem::store::MemoryDisk;

    fn frames(follower: &mut Follower<MemoryDisk>) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = follower.next_frame().unwrap() {
            frames.push(frame.bytes().to_vec());
        }
        frames
    }

    #[test]
    fn follows_a_writer_live_from_the_oldest_or_any_number() {
        let disk = MemoryDisk::default();
        let mut waiting = Follower::open(disk.clone(), None).unwrap();
        assert!(waiting.next_frame().unwrap().is_none());
        assert_eq!(waiting.session(), None);
        let (mut opened, mut model) = filled(&disk, &[3000; 100]);
        let mut oldest = Follower::open(disk.clone(), None).unwrap();
        let mut middle = Follower::open(disk.clone(), Some(seq(70))).unwrap();
        let mut later = Follower::open(disk.clone(), Some(seq(151))).unwrap();
        assert_eq!(oldest.session().unwrap().to_string(), "SESSION");
        assert_eq!(frames(&mut oldest), model.frames);
        assert_eq!(frames(&mut middle), model.frames[69..]);
        assert!(later.next_frame().unwrap().is_none());
        for _ in 0..100 {
            model.append(&mut opened, &[7; 3000]);
        }
        assert_eq!(oldest.chain().next(), seq(101));
        opened.journal.publish();
        assert_eq!(frames(&mut oldest), model.frames[100..]);
        assert_eq!(frames(&mut later), model.frames[150..]);
        assert_eq!(frames(&mut waiting), model.frames);
        assert_eq!(oldest.chain(), opened.journal.chain());
        let end = opened.journal.chain().clone().extend_end();
        opened.journal.append(&end).unwrap();
        opened.journal.publish();
        assert_eq!(oldest.next_frame().unwrap().unwrap().kind(), Kind::End);
        assert!(oldest.next_frame().unwrap().is_none());
    }

    #[test]
    fn retention_under_a_follower_is_an_error_that_says_so() {
        let disk = MemoryDisk::default();
        let (opened, _) = filled(&disk, &[3000; 500]);
        let mut follower = Follower::open(disk.clone(), None).unwrap();
        follower.next_frame().unwrap();
        disk.lose_segment(0);
        disk.lose_segment(1);
        let error = loop {
            match follower.next_frame() {
                Ok(frame) => assert!(frame.is_some(), "the end is not reached"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, JournalError::Removed { .. }), "{error}");
        drop(opened);
    }

    #[test]
    fn damage_stops_a_follower_with_the_place() {
        for writing in [false, true] {
            let disk = MemoryDisk::default();
            let (opened, model) = filled(&disk, &[1000; 200]);
            drop(opened);
            let (segment, offset) = model.places[150];
            disk.with_segment(segment, |bytes| bytes[offset + 100] ^= 4);
            let _writer = writing.then(|| disk.open().unwrap());
            for from in [1, 100, 150, 151, 180] {
                let mut follower = Follower::open(disk.clone(), Some(seq(from))).unwrap();
                let error = loop {
                    match follower.next_frame() {
                        Ok(frame) => assert!(frame.is_some_and(|frame| frame.seq() <= seq(150))),
                        Err(error) => break error,
                    }
                };
                match error {
                    JournalError::BadFrame { offset: at, seq: due, .. } => {
                        assert_eq!((at, due), (offset, seq(151)));
                    }
                    error => panic!("{error}"),
                }
            }
        }
    }

    #[test]
    fn a_torn_end_is_an_end() {
        let disk = MemoryDisk::default();
        let (opened, model) = filled(&disk, &[1000; 50]);
        drop(opened);
        let (segment, offset) = model.places[49];
        disk.with_segment(segment, |bytes| bytes[offset + 500..].fill(0));
        let mut follower = Follower::open(disk.clone(), None).unwrap();
        assert_eq!(frames(&mut follower), model.frames[..49]);
        assert!(follower.next_frame().unwrap().is_none());
        let report = verify(&disk);
        assert!(report.is_ok_and(|report| report.cut.is_some_and(|cut| cut.seq == seq(50))));
    }

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

        fn place(&self, index: u64) -> String {
            self.0.place(index)
        }
    }

    #[test]
    fn verify_takes_no_segment_amiss_that_was_begun_under_its_look() {
        let disk = MemoryDisk::default();
        let (mut opened, mut model) = filled(&disk, &[1000; 3]);
        opened.preparer.poll(SeqNo::FIRST).unwrap();
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
