//! Cutting back: what is left, what is read, and what a crash leaves.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam::queue::ArrayQueue;

use super::*;
use crate::frame::Kind;
use crate::journal::segment::{HeaderRead, SegmentHeader};
use crate::mem::append::Memory;
use crate::mem::cells::Cells;
use crate::mem::store::{MARK, MemoryStore, SECTOR_BYTES, SegmentInfo, Store};
use crate::sync::{Flag, Watermark};

/// The record as it has to be, from the first message of the session on.
#[derive(Clone, Default)]
pub(super) struct History {
    pub(super) frames: Vec<Vec<u8>>,
}

impl History {
    pub(super) fn next(&self) -> SeqNo {
        seq(self.frames.len() as u64 + 1)
    }

    /// Where the chain stands before message `to`.
    pub(super) fn chain_at(&self, to: SeqNo) -> Chain {
        self.frames[..to.value() as usize - 1].iter().fold(Chain::new(), |mut chain, frame| {
            chain.follow(&Frame::parse(frame).unwrap()).unwrap();
            chain
        })
    }

    pub(super) fn add(&mut self, opened: &mut Opened, epoch: u64, payload: &[u8]) {
        let frame = opened.journal.chain().clone().extend(epoch, payload.len() as u16 % 5, payload);
        append(opened, &frame);
        self.frames.push(frame);
    }

    pub(super) fn cut(&mut self, opened: &mut Opened, to: SeqNo) {
        cut(opened, to);
        self.frames.truncate(to.value() as usize - 1);
    }
}

pub(in crate::journal) fn append(opened: &mut Opened, frame: &[u8]) {
    if opened.journal.append(frame) == Err(AppendError::NotReady) {
        opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
        opened.journal.append(frame).unwrap();
    }
}

pub(super) fn cut(opened: &mut Opened, to: SeqNo) {
    if opened.journal.cut_back(to) == Err(CutError::NotReady) {
        opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
        opened.journal.cut_back(to).unwrap();
    }
}

/// A journal of `count` messages of `len` bytes, published.
fn grown(disk: &MemoryDisk, count: u64, len: usize) -> (Opened, History) {
    let mut opened = open(disk).unwrap();
    let mut history = History::default();
    for nth in 0..count {
        history.add(&mut opened, 1, &vec![nth as u8; len]);
    }
    opened.journal.publish();
    (opened, history)
}

/// Everything that readers can ask for is as the history says.
pub(super) fn check(opened: &Opened, history: &History) {
    let (reader, oldest) = (&opened.reader, opened.reader.oldest());
    assert_eq!(opened.journal.chain(), &history.chain_at(history.next()));
    assert_eq!(reader.next(), history.next());
    let skip = oldest.value() as usize - 1;
    assert_eq!(read_all(reader), history.frames[skip..]);
    let mut chain = history.chain_at(oldest);
    for (nth, frame) in history.frames.iter().enumerate().skip(skip) {
        let at = seq(nth as u64 + 1);
        assert_eq!(reader.position_at(at), Some((chain.epoch(), chain.crc())), "{at}");
        let mut cursor = reader.cursor_at(at).unwrap();
        assert_eq!(cursor.next_frame().unwrap().unwrap().bytes(), frame);
        if nth % 16 == 0 {
            assert_eq!(reader.chain_at(at).unwrap().as_ref(), Some(&chain));
        }
        chain.follow(&Frame::parse(frame).unwrap()).unwrap();
    }
    let next = history.next();
    assert_eq!(reader.position_at(next), Some((chain.epoch(), chain.crc())));
    assert_eq!(reader.chain_at(next).unwrap(), Some(chain));
    assert_eq!((reader.position_at(next.next()), reader.chain_at(next.next())), (None, Ok(None)));
    assert!(reader.cursor_at(next).unwrap().next_frame().unwrap().is_none());
    assert!(reader.cursor_at(next.next()).is_none());
}

/// What the tools find on a disk that nobody writes to.
pub(super) fn check_tools(disk: &MemoryDisk, history: &History) -> VerifyReport {
    let report = verify(disk).unwrap();
    assert_eq!(report.chain, history.chain_at(history.next()));
    let mut follower = Follower::open(disk.clone(), None).unwrap();
    for frame in &history.frames[report.oldest.value() as usize - 1..] {
        assert_eq!(follower.next_frame().unwrap().unwrap().bytes(), frame);
    }
    assert!(follower.next_frame().unwrap().is_none());
    assert_eq!(*follower.chain(), report.chain);
    report
}

#[test]
fn cuts_back_to_any_number_and_goes_on() {
    for to in [1, 2, 31, 32, 33, 34, 63, 64, 65, 66, 90, 99, 100, 101] {
        let disk = MemoryDisk::default();
        let (mut opened, mut history) = grown(&disk, 100, 2000);
        let firsts: Vec<u64> = (0..4).map(|index| first_of(&opened, index)).collect();
        assert!(firsts.windows(2).all(|pair| pair[0] < pair[1]), "{firsts:?}: more than one segment");
        history.cut(&mut opened, seq(to));
        check(&opened, &history);
        for nth in 0..60 {
            history.add(&mut opened, 2, &[nth; 1700]);
        }
        opened.journal.publish();
        check(&opened, &history);
        opened.syncer.poll().unwrap();
        assert_eq!((opened.journal.synced(), opened.reader.synced()), (history.next(), history.next()));
        drop(opened);
        assert_eq!(check_tools(&disk, &history).superseded, 101 - to);
        let opened = open(&disk).unwrap();
        assert_eq!((opened.recovered.superseded, opened.recovered.cut_again), (101 - to, None));
        assert_eq!((opened.recovered.oldest, opened.recovered.unproven), (seq(1), None));
        check(&opened, &history);
    }
}

fn first_of(opened: &Opened, index: u64) -> u64 {
    opened.reader.shared.segment(index).and_then(|segment| segment.first()).map_or(0, SeqNo::value)
}

#[test]
fn what_was_not_published_is_cut_as_well() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 10, 100);
    for _ in 0..10 {
        history.add(&mut opened, 1, &[7; 100]);
    }
    assert_eq!(opened.reader.next(), seq(11));
    history.cut(&mut opened, seq(15));
    check(&opened, &history);
}

#[test]
fn a_cut_at_the_end_changes_nothing() {
    let disk = MemoryDisk::default();
    let (mut opened, history) = grown(&disk, 10, 100);
    for _ in 0..3 {
        opened.journal.cut_back(seq(11)).unwrap();
    }
    assert_eq!(opened.journal.stalls(), 0, "it takes no segment");
    check(&opened, &history);
}

#[test]
fn an_end_is_cut_off_like_a_message() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 10, 100);
    let end = opened.journal.chain().clone().extend_end();
    append(&mut opened, &end);
    opened.journal.publish();
    let mut cursor = opened.reader.cursor_at(seq(11)).unwrap();
    history.cut(&mut opened, seq(11));
    assert!(!opened.journal.chain().ended());
    check(&opened, &history);
    assert!(cursor.next_frame().unwrap().is_none());
    history.add(&mut opened, 2, b"instead");
    opened.journal.publish();
    assert_eq!(cursor.next_frame().unwrap().unwrap().bytes(), history.frames[10]);
    check(&opened, &history);
    drop((opened, cursor));
    check_tools(&disk, &history);
    check(&open(&disk).unwrap(), &history);
}

#[test]
fn numbers_that_are_not_there_are_refused_and_so_is_haste() {
    let disk = MemoryDisk::default();
    let config = JournalConfig { retain_bytes: Some(2 * SEGMENT_BYTES as u64), ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    let mut history = History::default();
    for _ in 0..100 {
        history.add(&mut opened, 1, &[1; 4000]);
    }
    opened.journal.publish();
    let beyond = CutError::Beyond { to: seq(102), next: seq(101) };
    assert_eq!(opened.journal.cut_back(seq(102)), Err(beyond));
    while opened.preparer.poll(seq(101), SeqNo::MAX).unwrap() {}
    let oldest = opened.reader.oldest();
    assert!(oldest > seq(50));
    let to = seq(oldest.value() - 1);
    assert_eq!(opened.journal.cut_back(to), Err(CutError::Removed { to, oldest }));
    opened.journal.cut_back(oldest).unwrap();
    assert_eq!(opened.journal.cut_back(oldest), Ok(()), "it stands there");
    history.frames.truncate(oldest.value() as usize - 1);
    history.add(&mut opened, 2, b"first");
    disk.inject(Faults { creates_refused: 2, ..Faults::default() });
    let before = opened.journal.stalls();
    for stalls in 1..3 {
        assert!(opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).is_err());
        assert_eq!(opened.journal.cut_back(oldest), Err(CutError::NotReady));
        assert_eq!(opened.journal.stalls(), before + stalls);
    }
    opened.journal.publish();
    check(&opened, &history);
    history.cut(&mut opened, oldest);
    check(&opened, &history);
    assert_eq!((opened.reader.oldest(), opened.reader.next()), (oldest, oldest));
}

#[test]
fn readers_below_the_cut_go_on_and_those_beyond_it_are_told() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 100, 2000);
    let mut cursors: Vec<Cursor> = (1..=101).map(|at| opened.reader.cursor_at(seq(at)).unwrap()).collect();
    // One that came to the end of a segment by reading, and has not looked at the next.
    let boundary = seq(first_of(&opened, 1));
    let mut reading = opened.reader.cursor_at(SeqNo::FIRST).unwrap();
    while reading.seq() < boundary {
        reading.next_frame().unwrap().unwrap();
    }
    history.cut(&mut opened, boundary);
    for nth in 0..100 {
        history.add(&mut opened, 2, &[nth; 1500]);
    }
    opened.journal.publish();
    cursors.push(reading);
    for cursor in &mut cursors {
        if cursor.seq() > boundary {
            let taken_back = ReadError::TakenBack { wanted: cursor.seq(), cut: boundary };
            for _ in 0..2 {
                assert_eq!(cursor.next_frame().unwrap_err(), taken_back);
            }
            continue;
        }
        while cursor.seq() < history.next() {
            let at = cursor.seq().value() as usize - 1;
            assert_eq!(cursor.next_frame().unwrap().unwrap().bytes(), history.frames[at]);
        }
        assert!(cursor.next_frame().unwrap().is_none());
    }
}

#[test]
fn cuts_within_cuts() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 100, 2000);
    for (epoch, (to, more)) in (2..).zip([(60, 80), (90, 5), (92, 0), (60, 0), (59, 70), (128, 1), (20, 3)]) {
        history.cut(&mut opened, seq(to));
        for nth in 0..more {
            history.add(&mut opened, epoch, &[nth; 2000]);
        }
        opened.journal.publish();
        check(&opened, &history);
        drop(opened);
        check_tools(&disk, &history);
        opened = open(&disk).unwrap();
        check(&opened, &history);
    }
    assert_eq!(history.next(), seq(23));
}

/// Whatever became of the tail that a cut superseded: nobody misses it.
#[test]
fn damage_counts_before_the_cut_and_not_behind() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 100, 2000);
    let offset_of = |nth: usize| HEADER_BYTES + nth * crate::frame::framed_bytes(2000);
    let in_first = first_of(&opened, 1) as usize - 1;
    history.cut(&mut opened, seq(11));
    history.add(&mut opened, 2, b"instead");
    opened.journal.publish();
    drop(opened);
    disk.with_segment(0, |bytes| bytes[offset_of(10) + 3..offset_of(in_first - 1)].fill(0));
    disk.with_segment(1, |bytes| bytes[HEADER_BYTES + 700] ^= 1);
    check_tools(&disk, &history);
    check(&open(&disk).unwrap(), &history);
    disk.with_segment(0, |bytes| bytes[offset_of(9) + 100] ^= 1);
    let error = open(&disk).err().unwrap();
    assert!(matches!(error, JournalError::BadFrame { seq: due, .. } if due == seq(10)), "{error}");
    assert_eq!(verify(&disk).unwrap_err().to_string(), error.to_string());
    let mut follower = Follower::open(disk.clone(), None).unwrap();
    let followed = (0..20).find_map(|_| follower.next_frame().err()).unwrap();
    assert!(matches!(followed, JournalError::BadFrame { seq: due, .. } if due == seq(10)), "{followed}");
}

#[test]
fn a_header_that_fits_no_point_is_refused() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 20, 100);
    history.cut(&mut opened, seq(11));
    drop(opened);
    let good: [u8; HEADER_BYTES] = disk.with_segment(1, |bytes| *bytes.first_chunk().unwrap());
    let HeaderRead::Header(header) = SegmentHeader::decode(&good) else { panic!("a header") };
    assert_eq!(header.cut_from, Some(seq(21)));
    let put = |header: &SegmentHeader| {
        disk.with_segment(1, |bytes| bytes[..HEADER_BYTES].copy_from_slice(&header.encode()));
        let opened = open(&disk).err().unwrap();
        assert_eq!(verify(&disk).unwrap_err().to_string(), opened.to_string());
        let mut follower = Follower::open(disk.clone(), None).unwrap();
        let followed = (0..30).find_map(|_| follower.next_frame().err());
        (opened, followed.expect("a follower stops as well"))
    };
    let elsewhere = SegmentHeader { chain: history.chain_at(seq(11)), cut_from: None, ..header.clone() };
    let (error, _) = put(&elsewhere);
    let JournalError::Discontinuity { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected, found), (seq(21), seq(11)), "only a cut goes back");
    let mut chain = history.chain_at(seq(10));
    chain.extend(1, 3, b"another tenth message");
    let (error, followed) = put(&SegmentHeader { chain: chain.clone(), ..header.clone() });
    assert!(matches!(error, JournalError::Misfit { seq: at, .. } if at == seq(11)), "{error}");
    assert!(matches!(followed, JournalError::Misfit { .. }), "{followed}");
    assert!(
        error.to_string().contains("another history") && error.to_string().contains("standby"),
        "{error}"
    );
    // A follower that comes to see the cut has to look back.
    for (fits, head) in
        [(false, SegmentHeader { chain: chain.clone(), ..header.clone() }.encode()), (true, good)]
    {
        disk.with_segment(1, |bytes| bytes[..HEADER_BYTES].fill(0));
        let mut follower = Follower::open(disk.clone(), None).unwrap();
        while follower.next_frame().unwrap().is_some() {}
        disk.with_segment(1, |bytes| bytes[..HEADER_BYTES].copy_from_slice(&head));
        match follower.next_frame().unwrap_err() {
            JournalError::Misfit { .. } => assert!(!fits),
            JournalError::TakenBack { .. } => assert!(fits),
            error => panic!("{error}"),
        }
    }
    check(&open(&disk).unwrap(), &history);
}

#[test]
fn retention_goes_past_what_cuts_superseded() {
    let disk = MemoryDisk::default();
    let config = JournalConfig { retain_bytes: Some(0), ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    let mut history = History::default();
    for _ in 0..100 {
        history.add(&mut opened, 1, &[1; 2000]);
    }
    history.cut(&mut opened, seq(20));
    history.add(&mut opened, 2, &[2; 2000]);
    opened.journal.publish();
    opened.preparer.poll(seq(19), SeqNo::MAX).unwrap();
    assert_eq!(opened.reader.oldest(), seq(1), "still needed");
    check(&opened, &history);
    while opened.preparer.poll(seq(20), SeqNo::MAX).unwrap() {}
    assert_eq!(
        opened.reader.oldest(),
        seq(1),
        "the cut could still be lost, and then there would be nothing"
    );
    opened.syncer.poll().unwrap();
    while opened.preparer.poll(seq(20), SeqNo::MAX).unwrap() {}
    assert_eq!(opened.reader.oldest(), seq(20));
    check(&opened, &history);
    assert_eq!(ReadStore::list(&disk).unwrap().len(), 2, "what it superseded is gone, too");
    drop(opened);
    assert_eq!(check_tools(&disk, &history).oldest, seq(20));
    check(&open_with(&disk, &config).unwrap(), &history);
}

/// Whatever retention removed, what is left after a loss of power is joined to the record, and the mark knows how far
/// the record was taken back by cuts whose segments are gone.
#[test]
fn retention_leaves_what_a_loss_of_power_needs() {
    let disk = MemoryDisk::default();
    let config = JournalConfig { retain_bytes: Some(0), ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    let mut history = History::default();
    for _ in 0..100 {
        history.add(&mut opened, 1, &[1; 2000]);
    }
    opened.journal.publish();
    opened.syncer.poll().unwrap();
    opened.mark.promise(1).unwrap();
    history.cut(&mut opened, seq(20));
    for _ in 0..40 {
        history.add(&mut opened, 2, &[2; 2000]);
    }
    opened.journal.publish();
    opened.mark.published().advance(seq(60));
    opened.syncer.poll().unwrap();
    while opened.preparer.poll(seq(60), SeqNo::MAX).unwrap() {}
    let oldest = opened.reader.oldest();
    assert!(oldest > seq(20) && oldest < seq(60), "{oldest}: the cut is gone, and all before it");
    drop(opened);
    disk.lose_power(|_, _| false);
    let opened = open_with(&disk, &config).unwrap();
    assert_eq!((opened.recovered.oldest, opened.recovered.published), (oldest, seq(60)));
    check(&opened, &history);
}

/// Retention may stop between segments that a cut superseded whole.
#[test]
fn a_journal_may_begin_with_a_superseded_segment() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 100, 2000);
    history.cut(&mut opened, seq(20));
    for nth in 0..40 {
        history.add(&mut opened, 2, &[nth; 2000]);
    }
    opened.journal.publish();
    drop(opened);
    for lost in 0..2 {
        disk.lose_segment(lost);
        assert_eq!(check_tools(&disk, &history).oldest, seq(20));
        let opened = open(&disk).unwrap();
        assert_eq!((opened.recovered.oldest, opened.reader.oldest()), (seq(20), seq(20)));
        check(&opened, &history);
    }
}

/// The disk as it is when the process is killed, or the power goes, after the cut was noted and before the segment that it
/// begins was.
fn killed_before_the_segment(published: u64, to: u64) -> (MemoryDisk, History) {
    let disk = MemoryDisk::default();
    let (mut opened, history) = grown(&disk, 100, 2000);
    opened.mark.published().advance(seq(published));
    cut(&mut opened, seq(to));
    let index = opened.journal.segment.index;
    drop(opened);
    disk.with_segment(index, |bytes| bytes.fill(0));
    (disk, history)
}

#[test]
fn a_kill_before_the_segment_is_begun_leaves_the_old_end() {
    let (disk, mut history) = killed_before_the_segment(30, 40);
    assert_eq!(check_tools(&disk, &history).lost_cut, None);
    let mut opened = open(&disk).unwrap();
    assert_eq!((opened.recovered.cut_again, opened.recovered.unproven), (None, None));
    check(&opened, &history);
    // The cut never was: whatever comes later, it is not made up for.
    for nth in 0..10 {
        history.add(&mut opened, 1, &[nth; 100]);
    }
    opened.journal.publish();
    opened.syncer.poll().unwrap();
    drop(opened);
    disk.lose_power(|_, _| true);
    let opened = open(&disk).unwrap();
    assert_eq!(opened.recovered.cut_again, None);
    check(&opened, &history);
}

/// A loss of power may take the segment that a cut began, but not the tail that the cut superseded, nor the mark: that
/// tail must not pass for what was published in its place.
#[test]
fn a_cut_that_a_loss_of_power_undid_is_made_again() {
    for torn in [false, true] {
        let disk = MemoryDisk::default();
        let (mut opened, mut history) = grown(&disk, 100, 2000);
        opened.syncer.poll().unwrap();
        history.cut(&mut opened, seq(40));
        let lost = opened.journal.segment.index;
        for nth in 0..30 {
            history.add(&mut opened, 2, &[nth; 2000]);
        }
        opened.mark.published().advance(opened.journal.publish());
        drop(opened);
        disk.lose_power(|segment, sector| segment == MARK || torn && segment == lost && sector == 0);
        let fetched = history.frames.split_off(39);
        assert_eq!(check_tools(&disk, &history).lost_cut, Some(seq(40)));
        let mut waiting = Follower::open(disk.clone(), Some(seq(39))).unwrap();
        assert_eq!(waiting.next_frame().unwrap().unwrap().seq(), seq(39));
        assert!(waiting.next_frame().unwrap().is_none());
        assert!(Follower::open(disk.clone(), Some(seq(60))).unwrap().next_frame().unwrap().is_none());
        let fresh = JournalConfig { fresh_incarnation: 77, ..config() };
        let mut opened = open_with(&disk, &fresh).unwrap();
        let recovered = opened.recovered.clone();
        assert_eq!((recovered.unproven, recovered.incarnation), (Some(Unproven::UncleanBoot), 77));
        assert_eq!((recovered.cut_again, recovered.chain.next()), (Some(seq(40)), seq(40)));
        assert_eq!(recovered.published, seq(70), "what is missing is told");
        check(&opened, &history);
        for frame in fetched {
            append(&mut opened, &frame);
            history.frames.push(frame);
        }
        opened.journal.publish();
        for frame in &history.frames[39..] {
            assert_eq!(waiting.next_frame().unwrap().unwrap().bytes(), frame);
        }
        drop(opened);
        check_tools(&disk, &history);
        let opened = open(&disk).unwrap();
        assert_eq!((opened.recovered.cut_again, opened.recovered.unproven), (None, None));
        check(&opened, &history);
    }
}

/// As long as no cut is synced, a loss of power may undo all there were: then the lowest is made again.
#[test]
fn of_several_lost_cuts_the_lowest_is_made_again() {
    for synced in [false, true] {
        let disk = MemoryDisk::default();
        let (mut opened, mut history) = grown(&disk, 100, 2000);
        opened.syncer.poll().unwrap();
        for (epoch, to) in [(2, 40), (3, 60)] {
            history.cut(&mut opened, seq(to));
            for nth in 0..25 {
                history.add(&mut opened, epoch, &[nth; 2000]);
            }
            let next = opened.journal.publish();
            opened.mark.published().advance(next);
            if synced && epoch == 2 {
                opened.syncer.poll().unwrap();
            }
        }
        drop(opened);
        disk.lose_power(|segment, _| segment == MARK);
        history.frames.truncate(if synced { 59 } else { 39 });
        assert_eq!(check_tools(&disk, &history).lost_cut, Some(history.next()));
        let opened = open(&disk).unwrap();
        assert_eq!((opened.recovered.cut_again, opened.recovered.published), (Some(history.next()), seq(85)));
        check(&opened, &history);
    }
}

/// Opening after a loss of power may fail, and is tried again.
#[test]
fn a_lost_cut_is_not_forgotten_by_an_opening_that_fails() {
    let refused = Faults { capacity_bytes: Some(0), ..Faults::default() };
    let half_done = Faults { sync_fails: true, ..Faults::default() };
    for (faults, again) in [(refused, Some(seq(40))), (half_done, None)] {
        let (disk, mut history) = killed_before_the_segment(40, 40);
        disk.lose_power(|_, _| true);
        disk.inject(faults);
        assert!(open(&disk).is_err());
        disk.inject(Faults::default());
        let opened = open(&disk).unwrap();
        assert_eq!(
            (opened.recovered.cut_again, opened.recovered.unproven),
            (again, Some(Unproven::UncleanBoot))
        );
        history.frames.truncate(39);
        check(&opened, &history);
    }
}

#[test]
fn a_synced_cut_is_whole_after_a_loss_of_power() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 100, 2000);
    assert!(opened.syncer.is_settled());
    history.cut(&mut opened, seq(40));
    assert!(!opened.syncer.is_settled());
    assert_eq!(opened.journal.synced(), SeqNo::FIRST);
    assert_eq!(opened.syncer.poll().unwrap(), seq(40));
    assert!(opened.syncer.is_settled());
    opened.mark.promise(3).unwrap();
    history.add(&mut opened, 2, b"lost");
    opened.journal.publish();
    drop(opened);
    disk.lose_power(|_, _| false);
    let opened = open(&disk).unwrap();
    history.frames.truncate(39);
    assert_eq!(opened.recovered.cut_again, None);
    check(&opened, &history);
}

/// What the mark says of the synced tail is taken back with the tail, even where the mark knows nothing of the cut yet.
#[test]
fn a_cut_that_the_mark_has_not_heard_of_makes_no_frames_missing() {
    for close in [false, true] {
        let disk = MemoryDisk::default();
        let (mut opened, mut history) = grown(&disk, 100, 2000);
        opened.syncer.poll().unwrap();
        opened.mark.promise(2).unwrap();
        history.cut(&mut opened, seq(40));
        if close {
            close_all(opened);
            disk.lose_power(|_, _| false);
        } else {
            drop(opened);
            disk.lose_power(|segment, _| segment != MARK);
        }
        check_tools(&disk, &history);
        let opened = open(&disk).unwrap();
        assert_eq!(opened.recovered.unproven.is_none(), close);
        check(&opened, &history);
    }
}

fn close_all(mut opened: Opened) {
    close(opened.journal, &mut opened.syncer, &mut opened.mark).unwrap();
}

pub(super) type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A store in which something happens once while a segment is synced, and so many segments can be taken away.
pub(super) struct HookedStore(pub(super) MemoryStore, pub(super) Hook, pub(super) Arc<AtomicU32>);

impl HookedStore {
    fn take_one(&self, index: u64) -> Result<(), StoreError> {
        let taken = self.2.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| StoreError::Absent { place: self.0.place(index) })
    }
}

impl Store for HookedStore {
    fn sync(&self, index: u64, range: Range<usize>) -> Result<(), StoreError> {
        let hook = self.1.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.sync(index, range)
    }

    fn list(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        Store::list(&self.0)
    }

    fn create(&self, index: u64, bytes: usize) -> Result<Memory, StoreError> {
        self.0.create(index, bytes)
    }

    fn open(&self, index: u64) -> Result<Memory, StoreError> {
        self.0.open(index)
    }

    fn cut(&self, index: u64, at: usize) -> Result<(), StoreError> {
        self.0.cut(index, at)
    }

    fn remove(&self, index: u64) -> Result<(), StoreError> {
        self.take_one(index)?;
        self.0.remove(index)
    }

    fn set_aside(&self, index: u64, incarnation: u64) -> Result<(), StoreError> {
        self.take_one(index)?;
        self.0.set_aside(index, incarnation)
    }

    fn mark(&self) -> Cells {
        self.0.mark()
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        self.0.sync_mark()
    }

    fn boot(&self) -> u128 {
        Store::boot(&self.0)
    }

    fn place(&self, index: u64) -> String {
        self.0.place(index)
    }

    fn place_of_mark(&self) -> String {
        self.0.place_of_mark()
    }
}

/// A syncer that is at work while the record is cut does not vouch for what it has not seen.
#[test]
fn a_cut_under_a_sync_is_not_taken_for_synced() {
    let disk = MemoryDisk::default();
    let hook = Hook::default();
    let hooked = HookedStore(disk.open().unwrap(), Arc::clone(&hook), Arc::new(AtomicU32::new(9)));
    let mut opened = Journal::open(hooked, &config()).unwrap();
    let mut history = History::default();
    for nth in 0..20 {
        history.add(&mut opened, 1, &[nth; 100]);
    }
    opened.journal.publish();
    opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
    let Opened { mut journal, reader, mut syncer, mark, preparer, .. } = opened;
    let back = Arc::new(ArrayQueue::new(1));
    let place = Arc::clone(&back);
    *hook.lock().unwrap() = Some(Box::new(move || {
        journal.cut_back(seq(11)).unwrap();
        let mut chain = journal.chain().clone();
        for _ in 0..15 {
            journal.append(&chain.extend(2, 0, b"instead")).unwrap();
        }
        journal.publish();
        assert!(place.push(journal).is_ok());
    }));
    syncer.poll().unwrap();
    let journal = back.pop().unwrap();
    assert_eq!(reader.next(), seq(26));
    assert!(journal.synced() <= seq(11) && reader.synced() <= seq(11), "{}", journal.synced());
    assert!(!syncer.is_settled());
    drop((journal, reader, syncer, mark, preparer));
    // Nor does the mark: what it says of the first twenty is held against the cut.
    disk.lose_power(|segment, sector| {
        segment == MARK || segment == 1 && sector < HEADER_BYTES / SECTOR_BYTES
    });
    let opened = open(&disk).unwrap();
    history.frames.truncate(10);
    check(&opened, &history);
}

#[test]
fn a_follower_is_told_what_was_taken_back() {
    let disk = MemoryDisk::default();
    let (mut opened, mut history) = grown(&disk, 100, 2000);
    let follow = |from| {
        let mut follower = Follower::open(disk.clone(), Some(seq(from))).unwrap();
        while follower.next_frame().unwrap().is_some() {}
        follower
    };
    let [mut all, mut above, mut later] = [1, 60, 101].map(follow);
    for (epoch, to, more) in [(2, 70, 10), (3, 40, 100)] {
        let before = history.next();
        history.cut(&mut opened, seq(to));
        for nth in 0..more {
            history.add(&mut opened, epoch, &[nth; 1900]);
        }
        opened.journal.publish();
        for (follower, from) in [(&mut all, 1), (&mut above, 60), (&mut later, 101)] {
            if from < before.value() {
                let error = follower.next_frame().expect_err("it has read beyond the cut");
                let JournalError::TakenBack { place, seq: at, before: was } = error else {
                    panic!("{error}")
                };
                assert_eq!((at, was), (seq(to.max(from)), before));
                assert!(place.contains("000000"), "{place}");
            }
            let from = to.max(from) as usize - 1;
            for frame in history.frames.iter().skip(from) {
                assert_eq!(follower.next_frame().unwrap().unwrap().bytes(), frame);
            }
            assert!(follower.next_frame().unwrap().is_none());
        }
    }
    assert_eq!(later.chain(), opened.journal.chain());
    let end = opened.journal.chain().clone().extend_end();
    append(&mut opened, &end);
    opened.journal.publish();
    assert_eq!(all.next_frame().unwrap().unwrap().kind(), Kind::End);
    history.cut(&mut opened, history.next());
    assert!(matches!(all.next_frame(), Err(JournalError::TakenBack { .. })));
    assert!(all.next_frame().unwrap().is_none());
}

/// Raised when it goes, whether the thread ends or panics: who waits for it must not wait for ever.
struct RaiseAtLast(Flag);

impl Drop for RaiseAtLast {
    fn drop(&mut self) {
        self.0.raise();
    }
}

fn committed_payload(nth: u64) -> Vec<u8> {
    vec![nth as u8; (nth * 37 % 900) as usize]
}

/// Reads what is committed until it is over. One that asks again takes a new cursor wherever it came to the end, which is
/// where the record is cut.
fn read_committed(reader: &JournalReader, committed: &Watermark, over: &Flag, asks_again: bool) {
    let mut cursor = reader.cursor_at(SeqNo::FIRST).unwrap();
    loop {
        let is_over = over.is_raised();
        let due = cursor.seq();
        if due == committed.load() {
            if is_over {
                break;
            }
            if asks_again && let Some(again) = reader.cursor_at(due) {
                cursor = again;
            }
            std::thread::yield_now();
            continue;
        }
        let frame = cursor.next_frame().unwrap().expect("committed");
        assert_eq!((frame.seq(), frame.payload()), (due, &committed_payload(due.value())[..]));
        if due.value().is_multiple_of(256) {
            let half = seq(due.value() / 2);
            let mut again = reader.cursor_at(half).unwrap();
            assert_eq!(again.next_frame().unwrap().unwrap().payload(), committed_payload(half.value()));
            assert!(reader.position_at(half).is_some() && reader.oldest() == SeqNo::FIRST);
        }
    }
}

/// One thread appends and cuts, others prepare, sync, and read what is committed: nobody ever sees a frame that was
/// taken back.
#[test]
fn threads_share_a_journal_that_is_cut() {
    const FRAMES: u64 = 8_000;
    let disk = MemoryDisk::default();
    let Opened { mut journal, reader, mut preparer, mut syncer, .. } = open(&disk).unwrap();
    let (committed, over) = (Watermark::new(), Flag::new());
    std::thread::scope(|scope| {
        let _over = RaiseAtLast(over.clone());
        for asks_again in [false, true] {
            let (reader, committed, over) = (reader.clone(), committed.clone(), over.clone());
            scope.spawn(move || read_committed(&reader, &committed, &over, asks_again));
        }
        scope.spawn(move || {
            while !over.is_raised() {
                syncer.poll().unwrap();
                preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
                std::thread::yield_now();
            }
        });
        let append = |journal: &mut Journal, payload: &[u8]| {
            let frame = journal.chain().clone().extend(1, 0, payload);
            while journal.append(&frame) == Err(AppendError::NotReady) {
                std::thread::yield_now();
            }
        };
        for nth in 1..=FRAMES {
            append(&mut journal, &committed_payload(nth));
            if nth % 40 != 0 {
                continue;
            }
            let next = journal.publish();
            if nth % 80 == 0 {
                (0..nth % 7).for_each(|_| append(&mut journal, b"never committed"));
                journal.publish();
                while journal.cut_back(next) == Err(CutError::NotReady) {
                    std::thread::yield_now();
                }
                assert_eq!(reader.next(), next);
                assert!(journal.synced() <= next);
            }
            committed.advance(next);
        }
    });
    drop((journal, reader));
    let report = verify(&disk).unwrap();
    assert_eq!((report.chain.next(), report.oldest), (seq(FRAMES + 1), SeqNo::FIRST));
    assert!(report.superseded > 100);
}
