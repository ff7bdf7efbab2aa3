//! Checking what stands in segments. No I/O: bytes in, findings out.

use seqcast_wire::{SeqNo, Session};

use super::error::{Fault, JournalError};
use super::segment::{HEADER_BYTES, HeaderRead, SegmentHeader, VERSION};
use super::shared::INDEX_STRIDE;
use crate::frame::{self, ALIGN_BYTES, Chain, Frame, Kind};
use crate::mem::store::{SegmentInfo, StoreError};

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

/// Follows the frames of a segment from byte `from` on, until zeroes or something that is not the next frame. Gives
/// where the whole frames end, and what is wrong there if it is not zeroes.
fn scan_frames(
    bytes: &[u8],
    from: usize,
    chain: &mut Chain,
    mut on_frame: impl FnMut(usize, &Frame<'_>),
) -> (usize, Option<Fault>) {
    let mut offset = from;
    loop {
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

/// One begun segment, as [`scan`] found it.
pub(super) struct Found<B> {
    pub(super) header: SegmentHeader,
    pub(super) bytes: B,
    /// Behind the last whole frame.
    pub(super) end: usize,
    /// The number that comes next behind it.
    pub(super) next: SeqNo,
    /// Where every [`INDEX_STRIDE`]th message begins.
    pub(super) strides: Vec<usize>,
}

/// What [`scan`] found in all.
pub(super) struct Scanned {
    /// Where the record ends.
    pub(super) chain: Chain,
    /// The incarnation that wrote last; 0 for an empty journal.
    pub(super) incarnation: u64,
    /// What stands behind the end of the record and is no frame.
    pub(super) cut: Option<Cut>,
    /// Segments behind the last begun one: prepared and never begun, or begun when the power went.
    pub(super) unused: Vec<u64>,
}

/// Checks all segments of `list` in order: headers, CRCs, and that each frame follows the one before. `load` gives a
/// segment's bytes; `on_segment` takes each begun segment when it is done.
pub(super) fn scan<B: AsRef<[u8]>>(
    session: Option<Session>,
    list: &[SegmentInfo],
    place: &dyn Fn(u64) -> String,
    mut load: impl FnMut(u64) -> Result<B, StoreError>,
    mut on_segment: impl FnMut(Found<B>),
) -> Result<Scanned, JournalError> {
    check_contiguous(list, place)?;
    let mut scan =
        Scan { session, place, chain: None, incarnation: 0, loose: None, cut: None, unused: Vec::new() };
    for info in list {
        let bytes = load(info.index)?;
        match SegmentHeader::decode(bytes.as_ref()) {
            HeaderRead::Header(header) => {
                scan.begin(info.index, &header)?;
                on_segment(scan.follow(header, bytes));
            }
            HeaderRead::Version(found) => {
                return Err(JournalError::Version { place: place(info.index), found, known: VERSION });
            }
            HeaderRead::Blank => scan.leave_out(info.index, bytes.as_ref(), None)?,
            HeaderRead::Bad(why) => scan.leave_out(info.index, bytes.as_ref(), Some(why))?,
        }
    }
    scan.finish()
}

fn check_contiguous(list: &[SegmentInfo], place: &dyn Fn(u64) -> String) -> Result<(), JournalError> {
    for pair in list.windows(2) {
        let due = pair[0].index + 1;
        if pair[1].index != due {
            return Err(JournalError::MissingSegment { place: place(due) });
        }
    }
    Ok(())
}

struct Scan<'a> {
    session: Option<Session>,
    place: &'a dyn Fn(u64) -> String,
    chain: Option<Chain>,
    incarnation: u64,
    /// What stands behind the last frame of the segment before, and where valid frames follow that.
    loose: Option<(Cut, Option<usize>)>,
    /// The first header that is damaged with nothing behind it.
    cut: Option<Cut>,
    unused: Vec<u64>,
}

impl Scan<'_> {
    /// A segment begins with `header`.
    fn begin(&mut self, index: u64, header: &SegmentHeader) -> Result<(), JournalError> {
        let place = (self.place)(index);
        if let Some(&blank) = self.unused.first() {
            let why = "it is blank or unreadable, and the next segment is begun";
            return Err(JournalError::BadHeader { place: (self.place)(blank), why });
        }
        let expected = self.session.unwrap_or(header.session);
        if header.session != expected {
            return Err(JournalError::ForeignSession { place, found: header.session, expected });
        }
        if header.index != index {
            return Err(JournalError::BadHeader { place, why: "it belongs to another segment" });
        }
        if let Some(chain) = &self.chain
            && *chain != header.chain
        {
            if let Some((cut, valid_at)) = &self.loose {
                return Err(self.bad_frame(cut, *valid_at));
            }
            let (expected, found) = (chain.next(), header.chain.next());
            return Err(JournalError::Discontinuity { place, expected, found });
        }
        self.session = Some(header.session);
        self.incarnation = header.incarnation;
        Ok(())
    }

    /// Follows the frames of a segment that has begun.
    fn follow<B: AsRef<[u8]>>(&mut self, header: SegmentHeader, bytes: B) -> Found<B> {
        let content = bytes.as_ref();
        let mut chain = header.chain.clone();
        let mut strides = Vec::new();
        let first = chain.next();
        let (end, fault) = scan_frames(content, HEADER_BYTES, &mut chain, |offset, frame| {
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
        Found { header, bytes, end, next, strides }
    }

    /// A segment has no header. It may have none only if the power went while it was written, so nothing follows.
    fn leave_out(&mut self, index: u64, bytes: &[u8], bad: Option<&'static str>) -> Result<(), JournalError> {
        let why = bad.unwrap_or("all zeroes");
        let bytes = content_bytes(bytes);
        if bytes > HEADER_BYTES {
            return Err(JournalError::BadHeader { place: (self.place)(index), why });
        }
        if bytes > 0 && self.cut.is_none() {
            let seq = self.chain.as_ref().map_or(SeqNo::FIRST, Chain::next);
            self.cut = Some(Cut { segment: index, offset: 0, bytes, seq, fault: Fault::Header(why) });
        }
        self.unused.push(index);
        Ok(())
    }

    fn finish(self) -> Result<Scanned, JournalError> {
        if let Some((cut, valid_at @ Some(_))) = &self.loose {
            return Err(self.bad_frame(cut, *valid_at));
        }
        Ok(Scanned {
            chain: self.chain.unwrap_or_default(),
            incarnation: self.incarnation,
            cut: self.loose.map(|(cut, _)| cut).or(self.cut),
            unused: self.unused,
        })
    }

    fn bad_frame(&self, cut: &Cut, valid_at: Option<usize>) -> JournalError {
        JournalError::BadFrame {
            place: (self.place)(cut.segment),
            offset: cut.offset,
            seq: cut.seq,
            fault: cut.fault,
            valid_at,
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
        let stop =
            scan_frames(&bytes, 0, &mut chain, |offset, frame| seen.push((offset, frame.seq().value())));
        assert_eq!(stop.0, 72);
        assert!(matches!(stop.1, Some(Fault::Chain(_))));
        assert_eq!(seen, [(0, 1)]);
        assert_eq!(chain.next().value(), 2);
        let clean = scan_frames(&bytes[..72], 0, &mut Chain::new(), |_, _| {});
        assert_eq!(clean, (72, None));
    }
}
