//! Reading a journal that is not ours: another process may be writing it. Copies, checks everything, maps nothing.

use seqcast_wire::{SeqNo, Session};

use super::error::{Fault, JournalError};
use super::mark::Before;
use super::scan::{chain_at, content_bytes, valid_after};
use super::segment::{HEADER_BYTES, HeaderRead, SegmentHeader, VERSION};
use crate::frame::{ALIGN_BYTES, Chain, Frame, FrameError, framed_bytes};
use crate::limits::MAX_MESSAGE_BYTES;
use crate::mem::cells::CELLS;
use crate::mem::store::{ReadStore, StoreError};

const CHUNK_BYTES: usize = 256 << 10;
const _: () = assert!(CHUNK_BYTES > framed_bytes(MAX_MESSAGE_BYTES));

/// All bytes of a segment.
pub(super) fn read_whole<R: ReadStore>(store: &R, index: u64) -> Result<Vec<u8>, StoreError> {
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

/// What stands where the header of segment `index` should be; blank when there is no such segment.
pub(super) fn read_head<R: ReadStore>(store: &R, index: u64) -> Result<HeaderRead, StoreError> {
    let mut head = [0; HEADER_BYTES];
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match store.read_at(index, filled as u64, &mut head[filled..]) {
            Ok(0) | Err(StoreError::Absent { .. }) => break,
            Ok(count) => filled += count,
            Err(error) => return Err(error),
        }
    }
    Ok(SegmentHeader::decode(&head[..filled]))
}

/// A segment that has begun.
#[derive(Clone, Copy)]
struct Begun {
    index: u64,
    first: SeqNo,
    is_cut: bool,
}

impl Begun {
    fn of(header: &SegmentHeader) -> Begun {
        Begun { index: header.index, first: header.chain.next(), is_cut: header.cut_from.is_some() }
    }
}

/// Reads a journal frame by frame, and goes on as another process appends to it.
///
/// It reads up to the end, whether that is committed or not. A standby may cut such an end off: what is cut off when the
/// follower comes there is never given, and what it gave before is [taken back](JournalError::TakenBack), once, before it
/// goes on with what is in its place.
pub struct Follower<R> {
    store: R,
    session: Option<Session>,
    from: SeqNo,
    segment: u64,
    /// Segments known to be begun, from the one where reading began on; never empty behind the start.
    begun: Vec<Begun>,
    /// The segment that is read is superseded from here on.
    cut: Option<SeqNo>,
    /// A cut that a loss of power undid: the last segment before it, and where it went.
    lost_cut: Option<(u64, SeqNo)>,
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
            begun: Vec::new(),
            cut: None,
            lost_cut: None,
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
    /// See [`JournalError`]. After [`JournalError::TakenBack`] the next call goes on, with a lower number.
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
        let before = Before::read(&self.store.mark()?.unwrap_or([0; CELLS]));
        let is_unclean = before.is_unclean(self.store.boot());
        let mut start: Option<SegmentHeader> = None;
        let mut from = self.from;
        self.begun.clear();
        for info in self.store.list()?.iter().rev() {
            let Some(header) = self.read_header(info.index)? else { continue };
            if self.begun.is_empty() && is_unclean {
                self.lost_cut = before.missing_cut(info.index).map(|to| (info.index, to));
                from = self.lost_cut.map_or(from, |(_, to)| from.min(to));
            }
            self.begun.push(Begun::of(&header));
            let first = header.chain.next();
            // One that begins where a later one does, or behind that, is superseded whole.
            if start.as_ref().is_none_or(|start| first < start.chain.next()) {
                start = Some(header);
            }
            if first <= from {
                break;
            }
        }
        self.begun.reverse();
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
        self.find_cut();
    }

    fn find_cut(&mut self) {
        let cuts = self.later().filter(|begun| begun.is_cut).map(|begun| begun.first);
        let lost = self.lost_cut.filter(|&(last, _)| self.segment <= last).map(|(_, to)| to);
        self.cut = cuts.chain(lost).min();
    }

    /// The segments behind the one that is read, last first.
    fn later(&self) -> impl Iterator<Item = &Begun> {
        self.begun.iter().rev().take_while(|begun| begun.index > self.segment)
    }

    fn is_superseded(&self) -> bool {
        self.cut.is_some_and(|cut| self.chain.next() >= cut)
    }

    /// Length of the whole frame at `buffer[start..]`, which the chain has followed; `None` when there is none yet.
    fn whole_frame(&mut self) -> Result<Option<usize>, JournalError> {
        loop {
            if !self.is_superseded() {
                let mut found = self.parse()?;
                if found.is_none() {
                    self.refill()?;
                    found = self.parse()?;
                }
                if found.is_some() {
                    return Ok(found);
                }
            }
            self.discover()?;
            if !self.is_superseded() {
                if self.last_begun() == self.segment {
                    return self.judge_end().map(|()| None);
                }
                // A later segment is begun, so this one is complete by now: a last look.
                self.refill()?;
                if let found @ Some(_) = self.parse()? {
                    return Ok(found);
                }
            }
            if !self.leave()? {
                return Ok(None);
            }
        }
    }

    fn last_begun(&self) -> u64 {
        self.begun.last().map_or(self.segment, |begun| begun.index)
    }

    /// Looks for segments that were begun meanwhile.
    fn discover(&mut self) -> Result<(), JournalError> {
        while let Some(header) = self.read_header(self.last_begun() + 1)? {
            self.begun.push(Begun::of(&header));
        }
        self.find_cut();
        Ok(())
    }

    /// Goes to the segment in which the record goes on; gives whether there is one.
    fn leave(&mut self) -> Result<bool, JournalError> {
        let before = self.chain.next();
        let goes_on = self.cut.map_or(before, |cut| cut.min(before));
        let Some(index) = self.later().find(|begun| begun.first <= goes_on).map(|begun| begun.index) else {
            // Behind a cut that was lost there is nothing yet.
            return if self.is_superseded() { Ok(false) } else { Err(self.bad_frame(None)) };
        };
        let place = self.store.place(index);
        let Some(header) = self.read_header(index)? else {
            return Err(JournalError::Removed { place, seq: before });
        };
        // An end takes no number: one that is cut off is taken back like a message.
        let has_ended = self.chain.ended();
        let went_beyond = goes_on < before || has_ended;
        let fits = match went_beyond {
            true => self.chain_before(index, goes_on)?.is_none_or(|chain| chain == header.chain),
            false => self.chain == header.chain,
        };
        if !fits && self.cut == Some(goes_on) {
            return Err(JournalError::Misfit { place, seq: goes_on });
        }
        if !fits {
            return Err(self.bad_frame(None));
        }
        self.enter(header);
        match went_beyond && (before > self.from || has_ended && before == self.from) {
            true => Err(JournalError::TakenBack { place, seq: goes_on.max(self.from), before }),
            false => Ok(true),
        }
    }

    /// Where the chain stands before number `seq` in the segments before `index`; `None` when retention removed that.
    fn chain_before(&self, index: u64, seq: SeqNo) -> Result<Option<Chain>, JournalError> {
        for info in self.store.list()?.iter().rev().filter(|info| info.index < index) {
            if let Some(header) = self.read_header(info.index)?
                && header.chain.next() <= seq
            {
                let content = read_whole(&self.store, info.index)?;
                return chain_at(&content, seq).map(Some).map_err(|(offset, seq, fault)| {
                    let (place, fault) = (self.store.place(info.index), Fault::Frame(fault));
                    JournalError::BadFrame { place, offset, seq, fault, valid_at: None }
                });
            }
        }
        Ok(None)
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
        let place = || self.store.place(index);
        match read_head(&self.store, index)? {
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
            let cells = self.store.mark()?;
            let appended = cells.map_or(SeqNo::FIRST, |cells| Before::read(&cells).watermarks.appended);
            if self.chain.next() < appended {
                // Either it was appended since the last look, or it is there and damaged.
                self.refill()?;
                return match Frame::parse(&self.buffer[..self.end]) {
                    Ok(_) => Ok(()),
                    Err(_) if self.read_header(self.last_begun() + 1)?.is_some() => Ok(()),
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
    use super::super::tests::{filled, seq};
    use super::super::verify;
    use super::*;
    use crate::frame::Kind;
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
}
