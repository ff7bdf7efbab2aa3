//! Checking what stands in segments. No I/O: bytes in, findings out.

use seqcast_wire::{SeqNo, Session};

use super::error::{Fault, JournalError};
use super::mark::Before;
use super::segment::{HEADER_BYTES, HeaderRead, SegmentHeader, VERSION};
use super::shared::INDEX_STRIDE;
use crate::frame::{self, ALIGN_BYTES, Chain, Frame, FrameError, Kind};
use crate::mem::store::StoreError;

/// What stands behind the last whole frame and is given up: the torn end of the last append before a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index of the segment.
    pub segment: u64,
    /// Where in the segment the cut is.
    pub offset: usize,
    /// Bytes given up.
    pub bytes: usize,
    /// The number of the frame that stood there.
    pub seq: SeqNo,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Follows the frames of a segment from byte `from` on, until zeroes, something that is not the next frame, or the frame
/// before which the segment ends. Gives where the whole frames end, and what is wrong there if it is not zeroes.
fn scan_frames(
    bytes: &[u8],
    from: usize,
    chain: &mut Chain,
    end: Option<SeqNo>,
    mut on_frame: impl FnMut(usize, &Frame<'_>),
) -> (usize, Option<Fault>) {
    let mut offset = from;
    loop {
        if end.is_some_and(|end| chain.next() >= end) {
            return (offset, None);
        }
        let rest = bytes.get(offset..).unwrap_or_default();
        match Frame::parse(rest) {
            Ok(frame) => match chain.follow(&frame) {
                Ok(()) => {
                    on_frame(offset, &frame);
                    offset += frame.framed_bytes();
                }
                Err(fault) => return (offset, Some(Fault::Chain(fault))),
            },
            Err(_) if content_bytes(rest) == 0 => return (offset, None),
            Err(fault) => return (offset, Some(Fault::Frame(fault))),
        }
    }
}

/// Where the chain stands in a segment before number `to`, which it holds. The error says where the frames that lead
/// there break off, the number due there, and what is wrong.
pub(super) fn chain_at(segment: &[u8], to: SeqNo) -> Result<Chain, (usize, SeqNo, FrameError)> {
    let HeaderRead::Header(SegmentHeader { mut chain, .. }) = SegmentHeader::decode(segment) else {
        return Err((0, to, FrameError::Field("segment header")));
    };
    let (offset, fault) = scan_frames(segment, HEADER_BYTES, &mut chain, Some(to), |_, _| {});
    match fault {
        None if chain.next() == to => Ok(chain),
        Some(Fault::Frame(fault)) => Err((offset, chain.next(), fault)),
        Some(Fault::Chain(_)) => Err((offset, chain.next(), FrameError::Field("place in the order"))),
        None | Some(Fault::Header(_)) => Err((offset, chain.next(), FrameError::Empty)),
    }
}

/// Bytes up to the last one that is not zero.
pub(super) fn content_bytes(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let mut end = bytes.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        // Folding whole blocks lets the compiler use wide registers: tails of zeroes are long.
        if bytes[start..end].iter().fold(0, |any, byte| any | byte) != 0 {
            return start + bytes[start..end].iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        }
        end = start;
    }
    0
}

/// The first place from byte `from` on where a whole frame stands that may belong behind the frame due there.
///
/// A torn frame's payload might hold the image of a frame. So that nobody stops a node by publishing such, the
/// number has to fit: it is not behind what is due, and no further ahead than frames have room in between.
pub(super) fn valid_after(bytes: &[u8], from: usize, due: SeqNo) -> Option<usize> {
    let end = content_bytes(bytes);
    let mut offset = from;
    while offset < end {
        let rest = &bytes[offset..];
        // The cheapest test first: most places fail it, and only few cost a CRC.
        if rest.get(frame::VERSION_OFFSET) == Some(&frame::VERSION)
            && let Ok(frame) = Frame::view(rest)
        {
            let room = ((offset - from) / frame::HEADER_BYTES) as u64;
            if frame.seq() >= due && frame.seq().since(due) <= room && Frame::parse(rest).is_ok() {
                return Some(offset);
            }
        }
        offset += ALIGN_BYTES;
    }
    None
}

/// The segments that there are, as their headers tell.
pub(super) struct Survey {
    /// Index and header of each, in order.
    pub(super) heads: Vec<(u64, HeaderRead)>,
    /// Where a cut went whose segment was lost with the power: nothing from here on counts.
    pub(super) lost_cut: Option<SeqNo>,
}

impl Survey {
    /// What the headers tell, and a mark of before `boot`.
    pub(super) fn new(heads: Vec<(u64, HeaderRead)>, before: &Before, boot: u128) -> Survey {
        let mut survey = Survey { heads, lost_cut: None };
        if let Some(last) = survey.last_begun().filter(|_| before.is_unclean(boot)) {
            survey.lost_cut = before.missing_cut(last);
        }
        survey
    }

    /// Whether nothing counts: the cut that was lost went to a number that retention had removed from what it superseded.
    pub(super) fn is_void(&self) -> bool {
        self.lost_cut.is_some_and(|to| self.begun().all(|header| header.chain.next() > to))
    }

    fn begun(&self) -> impl DoubleEndedIterator<Item = &SegmentHeader> {
        self.heads.iter().filter_map(|(_, read)| match read {
            HeaderRead::Header(header) => Some(header),
            _ => None,
        })
    }

    /// Index of the last segment that was begun.
    pub(super) fn last_begun(&self) -> Option<u64> {
        self.begun().next_back().map(|header| header.index)
    }

    /// Index of the segment that the last cut began; 0 where nothing was cut.
    pub(super) fn branch(&self) -> u64 {
        self.begun().rfind(|header| header.cut_from.is_some()).map_or(0, |header| header.index)
    }

    /// What of a watermark of branch `branch` still holds: as far as nothing was cut since.
    pub(super) fn clamp(&self, watermark: SeqNo, branch: u64) -> SeqNo {
        let since = self.begun().filter(|header| header.index > branch && header.cut_from.is_some());
        let cuts = since.map(|header| header.chain.next()).chain(self.lost_cut);
        cuts.fold(watermark, SeqNo::min)
    }

    /// Messages that cuts superseded.
    pub(super) fn superseded(&self) -> u64 {
        let cut = |header: &SegmentHeader| header.cut_from.map_or(0, |from| from.since(header.chain.next()));
        self.begun().map(cut).sum()
    }

    /// The number from which on each segment is superseded, if it is.
    fn ends(&self) -> Vec<Option<SeqNo>> {
        let mut lowest = self.lost_cut;
        let mut ends = Vec::with_capacity(self.heads.len());
        for (_, read) in self.heads.iter().rev() {
            ends.push(lowest);
            if let HeaderRead::Header(SegmentHeader { chain, cut_from: Some(_), .. }) = read {
                lowest = Some(lowest.map_or(chain.next(), |lowest| lowest.min(chain.next())));
            }
        }
        ends.reverse();
        ends
    }

    fn check_contiguous(&self, place: &dyn Fn(u64) -> String) -> Result<(), JournalError> {
        for pair in self.heads.windows(2) {
            let due = pair[0].0 + 1;
            if pair[1].0 != due {
                return Err(JournalError::MissingSegment { place: place(due) });
            }
        }
        Ok(())
    }
}

/// One begun segment, as [`scan`] found it.
pub(super) struct Found<B> {
    pub(super) header: SegmentHeader,
    pub(super) bytes: B,
    /// Behind the last whole frame that counts.
    pub(super) end: usize,
    /// Where every [`INDEX_STRIDE`]th message begins.
    pub(super) strides: Vec<usize>,
}

/// What [`scan`] found in all.
pub(super) struct Scanned {
    /// Where the record ends.
    pub(super) chain: Chain,
    /// The oldest number there is; `None` for an empty journal.
    pub(super) oldest: Option<SeqNo>,
    /// The incarnation that wrote last; 0 for an empty journal.
    pub(super) incarnation: u64,
    /// What stands behind the end of the record and is no frame.
    pub(super) cut: Option<Cut>,
    /// Segments behind the last begun one: prepared and never begun, or begun when the power went.
    pub(super) unused: Vec<u64>,
}

/// Why the record is not whole, and where what is whole of it ends, if it is only that something is missing from there on.
pub(super) struct Failed {
    pub(super) error: JournalError,
    pub(super) end: Option<Box<Cut>>,
}

impl From<JournalError> for Failed {
    fn from(error: JournalError) -> Failed {
        Failed { error, end: None }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        JournalError::from(error).into()
    }
}

/// Checks all segments of a survey in order: headers, CRCs, and that each frame follows the one before. What is superseded
/// is not looked at: it may be torn and lost, and nobody will miss it. `load` gives a segment's bytes; `on_segment` takes
/// each begun segment when it is done.
pub(super) fn scan<B: AsRef<[u8]>>(
    session: Option<Session>,
    survey: &Survey,
    place: &dyn Fn(u64) -> String,
    mut load: impl FnMut(u64) -> Result<B, StoreError>,
    mut on_segment: impl FnMut(Found<B>),
) -> Result<Scanned, Failed> {
    survey.check_contiguous(place)?;
    let mut scan = Scan {
        session,
        place,
        chain: None,
        oldest: None,
        incarnation: 0,
        loose: None,
        cut: None,
        unused: Vec::new(),
    };
    for ((index, read), end) in survey.heads.iter().zip(survey.ends()) {
        let bytes = load(*index)?;
        match read {
            HeaderRead::Header(header) => on_segment(scan.segment(*index, header, end, bytes)?),
            HeaderRead::Version(found) => {
                return Err(
                    JournalError::Version { place: place(*index), found: *found, known: VERSION }.into()
                );
            }
            HeaderRead::Blank => scan.leave_out(*index, bytes.as_ref(), None)?,
            HeaderRead::Bad(why) => scan.leave_out(*index, bytes.as_ref(), Some(why))?,
        }
    }
    scan.finish()
}

struct Scan<'a> {
    session: Option<Session>,
    place: &'a dyn Fn(u64) -> String,
    chain: Option<Chain>,
    oldest: Option<SeqNo>,
    incarnation: u64,
    /// What stands behind the last frame of the segment before, and where valid frames follow that.
    loose: Option<(Cut, Option<usize>)>,
    /// The first header that is damaged with nothing behind it.
    cut: Option<Cut>,
    unused: Vec<u64>,
}

impl Scan<'_> {
    /// A segment that has begun, and is superseded from number `end` on.
    fn segment<B: AsRef<[u8]>>(
        &mut self,
        index: u64,
        header: &SegmentHeader,
        end: Option<SeqNo>,
        bytes: B,
    ) -> Result<Found<B>, Failed> {
        self.check_header(index, header)?;
        self.incarnation = header.incarnation;
        if end.is_some_and(|end| end < header.chain.next()) {
            return Ok(Found { header: header.clone(), bytes, end: HEADER_BYTES, strides: Vec::new() });
        }
        self.check_link(index, header, content_bytes(bytes.as_ref()))?;
        Ok(self.follow(header.clone(), end, bytes))
    }

    fn check_header(&mut self, index: u64, header: &SegmentHeader) -> Result<(), Failed> {
        let place = (self.place)(index);
        if let Some(&blank) = self.unused.first() {
            let why = "it is blank or unreadable, and the next segment is begun";
            return Err(self.bad_header(blank, why, 0));
        }
        let expected = *self.session.get_or_insert(header.session);
        if header.session != expected {
            return Err(JournalError::ForeignSession { place, found: header.session, expected }.into());
        }
        if header.index != index {
            return Err(JournalError::BadHeader { place, why: "it belongs to another segment" }.into());
        }
        Ok(())
    }

    /// Whether a segment goes on where the record stands.
    fn check_link(&self, index: u64, header: &SegmentHeader, bytes: usize) -> Result<(), Failed> {
        let Some(chain) = self.chain.as_ref().filter(|&chain| *chain != header.chain) else { return Ok(()) };
        if let Some((cut, valid_at)) = &self.loose {
            return Err(self.bad_frame(cut, *valid_at));
        }
        let (place, expected, found) = ((self.place)(index), chain.next(), header.chain.next());
        if expected == found {
            return Err(JournalError::Misfit { place, seq: found }.into());
        }
        let fault = Fault::Header("frames before it are missing");
        let end = Box::new(Cut { segment: index, offset: 0, bytes, seq: expected, fault });
        let error = JournalError::Discontinuity { place, expected, found };
        Err(Failed { error, end: Some(end).filter(|_| found > expected) })
    }

    /// Follows the frames of a segment that has begun.
    fn follow<B: AsRef<[u8]>>(&mut self, header: SegmentHeader, end: Option<SeqNo>, bytes: B) -> Found<B> {
        let content = bytes.as_ref();
        let mut chain = header.chain.clone();
        let mut strides = Vec::new();
        let first = chain.next();
        self.oldest.get_or_insert(first);
        let (end, fault) = scan_frames(content, HEADER_BYTES, &mut chain, end, |offset, frame| {
            if frame.kind() == Kind::Message && frame.seq().since(first).is_multiple_of(INDEX_STRIDE) {
                strides.push(offset);
            }
        });
        let next = chain.next();
        self.loose = fault.map(|fault| {
            // A whole frame that does not fit was not torn: it is itself what must not be lost.
            let valid_at = match fault {
                Fault::Chain(_) => Some(end),
                _ => valid_after(content, end + ALIGN_BYTES, next),
            };
            let bytes = content_bytes(&content[end..]);
            (Cut { segment: header.index, offset: end, bytes, seq: next, fault }, valid_at)
        });
        self.chain = Some(chain);
        Found { header, bytes, end, strides }
    }

    /// A segment has no header. It may have none only if the power went while it was written, so nothing follows.
    fn leave_out(&mut self, index: u64, bytes: &[u8], bad: Option<&'static str>) -> Result<(), Failed> {
        let why = bad.unwrap_or("all zeroes");
        let bytes = content_bytes(bytes);
        if bytes > HEADER_BYTES {
            return Err(self.bad_header(index, why, bytes));
        }
        if bytes > 0 && self.cut.is_none() {
            let seq = self.chain.as_ref().map_or(SeqNo::FIRST, Chain::next);
            self.cut = Some(Cut { segment: index, offset: 0, bytes, seq, fault: Fault::Header(why) });
        }
        self.unused.push(index);
        Ok(())
    }

    fn finish(self) -> Result<Scanned, Failed> {
        if let Some((cut, valid_at @ Some(_))) = &self.loose {
            return Err(self.bad_frame(cut, *valid_at));
        }
        Ok(Scanned {
            chain: self.chain.unwrap_or_default(),
            oldest: self.oldest,
            incarnation: self.incarnation,
            cut: self.loose.map(|(cut, _)| cut).or(self.cut),
            unused: self.unused,
        })
    }

    fn bad_frame(&self, cut: &Cut, valid_at: Option<usize>) -> Failed {
        let error = JournalError::BadFrame {
            place: (self.place)(cut.segment),
            offset: cut.offset,
            seq: cut.seq,
            fault: cut.fault,
            valid_at,
        };
        // A whole frame that does not fit is not missing.
        let end = (!matches!(cut.fault, Fault::Chain(_))).then(|| Box::new(*cut));
        Failed { error, end }
    }

    /// Segment `index` has no header, and more follows.
    fn bad_header(&self, index: u64, why: &'static str, bytes: usize) -> Failed {
        let seq = self.chain.as_ref().map_or(SeqNo::FIRST, Chain::next);
        let end = Cut { segment: index, offset: 0, bytes, seq, fault: Fault::Header(why) };
        Failed {
            error: JournalError::BadHeader { place: (self.place)(index), why },
            end: Some(Box::new(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ends_with_the_last_byte_that_is_not_zero() {
        assert_eq!(content_bytes(&[]), 0);
        assert_eq!(content_bytes(&[0; 10_000]), 0);
        for at in [0, 1, 4095, 4096, 4097, 9_999] {
            let mut bytes = [0; 10_000];
            bytes[at] = 1;
            assert_eq!(content_bytes(&bytes), at + 1);
        }
    }

    #[test]
    fn a_frame_counts_as_valid_only_where_its_number_fits() {
        let mut chain = Chain::new();
        let frames: Vec<Vec<u8>> = (0..4).map(|_| chain.extend(1, 0, b"12345678")).collect();
        let bytes = frames.concat();
        let seq = |value| SeqNo::new(value).unwrap();
        let after = |from: usize, due: u64| valid_after(&bytes, from, seq(due));
        assert_eq!(after(0, 1), Some(0));
        assert_eq!(after(8, 2), Some(72));
        assert_eq!(after(8, 1), Some(72), "frame 1 is damaged");
        assert_eq!(after(80, 4), Some(216), "frames that were numbered before do not count");
        assert_eq!(after(8, 5), None);
        assert_eq!(valid_after(&bytes[72..], 0, seq(1)), None, "no room for frame 1 before frame 2");
        assert_eq!(valid_after(&bytes[..220], 80, seq(3)), Some(144));
        assert_eq!(valid_after(&bytes[..220], 152, seq(3)), None, "the last one is cut off");
    }

    #[test]
    fn scanning_stops_where_the_chain_breaks() {
        let mut chain = Chain::new();
        let frames: Vec<Vec<u8>> = (0..3).map(|_| chain.extend(1, 0, b"payload")).collect();
        let mut bytes = [frames[0].clone(), frames[2].clone()].concat();
        bytes.extend([0; 100]);
        let mut chain = Chain::new();
        let mut seen = Vec::new();
        let stop = scan_frames(&bytes, 0, &mut chain, None, |offset, frame| {
            seen.push((offset, frame.seq().value()))
        });
        assert_eq!(stop.0, 72);
        assert!(matches!(stop.1, Some(Fault::Chain(_))));
        assert_eq!(seen, [(0, 1)]);
        assert_eq!(chain.next().value(), 2);
        let clean = scan_frames(&bytes[..72], 0, &mut Chain::new(), None, |_, _| {});
        assert_eq!(clean, (72, None));
    }
}
