//! A node's journal, as the referee reads it: in place, frame by frame, as it is appended.

use seqcast_wire::SeqNo;

use super::Rule;
use super::load::Loads;
use crate::frame::{Frame, Kind};
use crate::journal::segment::{HEADER_BYTES, HeaderRead, SegmentHeader};
use crate::sim::disk::{Seen, Sight, Watched};

/// A frame, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) crc: u32,
    pub(super) source: u16,
    pub(super) source_seq: u64,
    pub(super) epoch: u64,
    place: Place,
}

/// Segment, and where in it a frame ends.
type Place = (u64, usize);

/// One journal.
pub(super) struct JournalView {
    seen: Seen,
    /// Segment that is read, and how far.
    at: Option<(u64, usize)>,
    /// Number of the first fact.
    first: u64,
    facts: Vec<Fact>,
    /// Numbers of each source's messages, in the source's order, from its first on.
    by_source: Vec<Vec<u64>>,
    /// Where the end of the session stands, behind the last fact.
    end: Option<Place>,
}

/// What reading on found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// There are frames from this number on that were not there before; the end of the session counts as one.
    pub(super) from: Option<u64>,
}

impl JournalView {
    pub(super) fn new(seen: Seen, sources: usize) -> JournalView {
        JournalView {
            seen,
            at: None,
            first: 1,
            facts: Vec::new(),
            by_source: vec![Vec::new(); sources],
            end: None,
        }
    }

    /// Number that comes next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.facts.len() as u64
    }

    /// The frame with that number, if it is there.
    pub(super) fn fact(&self, seq: u64) -> Option<&Fact> {
        self.facts.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Number of a source's message.
    pub(super) fn seq_of(&self, source: usize, source_seq: u64) -> Option<u64> {
        self.by_source[source].get(usize::try_from(source_seq.checked_sub(1)?).ok()?).copied()
    }

    /// Whether the frame with that number, which is there, survives a loss of power.
    pub(super) fn is_synced(&self, seq: u64) -> bool {
        self.fact(seq).is_none_or(|fact| self.is_on_disk(fact.place))
    }

    /// Whether the session has ended in this journal, at number `next`.
    pub(super) fn has_ended_at(&self, next: u64) -> bool {
        self.end.is_some() && self.next() == next
    }

    /// Whether its end survives a loss of power.
    pub(super) fn is_end_synced(&self) -> bool {
        self.end.is_some_and(|place| self.is_on_disk(place))
    }

    fn is_on_disk(&self, (segment, end): Place) -> bool {
        let sight = self.seen.lock();
        sight.segments.get(&segment).is_none_or(|watched| end <= watched.synced)
    }

    /// The journal was opened anew: reads it from its beginning.
    pub(super) fn restart(&mut self) {
        self.at = None;
        self.first = 1;
        self.facts.clear();
        self.by_source.iter_mut().for_each(Vec::clear);
        self.end = None;
    }

    /// Reads on.
    ///
    /// # Errors
    /// What no journal may hold.
    pub(super) fn poll(&mut self, loads: &Loads) -> Result<News, (Rule, String)> {
        let seen = self.seen.clone();
        let sight = seen.lock();
        let mut news = News::default();
        if self.at.is_none() {
            self.at = sight.segments.keys().next().map(|&index| (index, 0));
        }
        while let Some((index, offset)) = self.at {
            self.read(&sight, loads, &mut news)?;
            if self.at == Some((index, offset)) {
                let begun = sight.segments.get(&(index + 1)).filter(|next| !next.view.published().is_empty());
                if begun.is_none() {
                    break;
                }
                self.at = Some((index + 1, 0));
            }
        }
        Ok(news)
    }

    /// Reads what is published of the segment that is read.
    fn read(&mut self, sight: &Sight, loads: &Loads, news: &mut News) -> Result<(), (Rule, String)> {
        let Some((index, mut offset)) = self.at else { return Ok(()) };
        let Some(watched) = sight.segments.get(&index) else { return Ok(()) };
        let bytes = watched.view.published();
        if offset == 0 && !bytes.is_empty() {
            if self.is_superseded(sight, index) {
                self.at = Some((index + 1, 0));
                return Ok(());
            }
            self.on_header(bytes)?;
            offset = HEADER_BYTES;
        }
        while offset < bytes.len() {
            let frame = Frame::view(&bytes[offset..])
                .map_err(|error| (Rule::Journal, format!("segment {index}, byte {offset}: {error}")))?;
            offset += frame.framed_bytes();
            news.from.get_or_insert(self.next());
            self.on_frame(&frame, loads, (index, offset))?;
        }
        self.at = Some((index, offset));
        Ok(())
    }

    /// Whether segment `index` begins beyond what there is, in a tail that a later segment has cut off.
    fn is_superseded(&self, sight: &Sight, index: u64) -> bool {
        let begins = |watched: &Watched| match SegmentHeader::decode(watched.view.published()) {
            HeaderRead::Header(header) => Some(header.chain.next().value()),
            _ => None,
        };
        let is_beyond = sight.segments.get(&index).and_then(begins).is_some_and(|at| at > self.next());
        let mut later = sight.segments.range(index + 1..).filter_map(|(_, watched)| begins(watched));
        !self.facts.is_empty() && is_beyond && later.any(|at| at <= self.next())
    }

    fn on_header(&mut self, bytes: &[u8]) -> Result<(), (Rule, String)> {
        let HeaderRead::Header(header) = SegmentHeader::decode(bytes) else {
            return Err((Rule::Journal, "a segment without a header".into()));
        };
        let begins = header.chain.next().value();
        if self.facts.is_empty() {
            self.first = begins;
            for (list, source) in self.by_source.iter_mut().zip(header.chain.sources()) {
                // What stood in segments that were removed cannot be looked up; only its count matters.
                list.resize(source.next.value() as usize - 1, 0);
            }
        }
        if begins > self.next() {
            return Err((Rule::Journal, format!("a segment begins at {begins}, due was {}", self.next())));
        }
        self.cut(begins);
        Ok(())
    }

    /// Takes back everything from `seq` on, which may be the end alone.
    fn cut(&mut self, seq: u64) {
        self.end = None;
        self.facts.truncate((seq - self.first) as usize);
        for list in &mut self.by_source {
            list.truncate(list.partition_point(|&known| known < seq));
        }
    }

    fn on_frame(&mut self, frame: &Frame<'_>, loads: &Loads, place: Place) -> Result<(), (Rule, String)> {
        let seq = frame.seq().value();
        if seq != self.next() || self.end.is_some() {
            return Err((Rule::Journal, format!("frame {seq} where {} is due", self.next())));
        }
        if frame.kind() == Kind::End {
            self.end = Some(place);
            return Ok(());
        }
        let header = frame.header();
        let (source, source_seq) = (header.source.get(), header.source_seq.get());
        let Some(list) = self.by_source.get_mut(usize::from(source)) else {
            return Err((
                Rule::ExactlyOnce,
                format!("message {seq} is of source {source}, which there is not"),
            ));
        };
        if source_seq != list.len() as u64 + 1 {
            let due = list.len() + 1;
            let what = format!("message {seq} is number {source_seq} of source {source}, due was {due}");
            return Err((Rule::ExactlyOnce, what));
        }
        if loads.payload(source, source_seq) != Some(frame.payload()) {
            let what = format!("message {seq} is not what source {source} said as its number {source_seq}");
            return Err((Rule::ExactlyOnce, what));
        }
        list.push(seq);
        let (crc, epoch) = (header.crc.get(), header.epoch.get());
        self.facts.push(Fact { crc, source, source_seq, epoch, place });
        Ok(())
    }

    /// Where the journal stands, for the record.
    pub(super) fn tip(&self) -> (SeqNo, u32) {
        let next = SeqNo::new(self.next()).unwrap_or(SeqNo::FIRST);
        (next, self.facts.last().map_or(0, |fact| fact.crc))
    }
}
