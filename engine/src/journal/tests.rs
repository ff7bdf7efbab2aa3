//! The journal as a whole, over a disk in memory that loses, tears and damages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seqcast_wire::{SeqNo, Session};

use super::*;
use crate::frame::{Chain, Frame};
use crate::mem::store::{Faults, MemoryDisk, ReadStore, StoreError};

pub(super) mod cut;
mod standby;

pub(super) const SEGMENT_BYTES: usize = MIN_SEGMENT_BYTES;

pub(super) fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

pub(super) fn config() -> JournalConfig {
    let session: Session = "SESSION".parse().unwrap();
    JournalConfig { segment_bytes: SEGMENT_BYTES, ..JournalConfig::new(session, 100) }
}

pub(super) fn open(disk: &MemoryDisk) -> Result<Opened, JournalError> {
    open_with(disk, &config())
}

fn open_with(disk: &MemoryDisk, config: &JournalConfig) -> Result<Opened, JournalError> {
    Journal::open(disk.open()?, config)
}

/// What was appended, and where it has to stand.
pub(super) struct Model {
    pub(super) frames: Vec<Vec<u8>>,
    /// Segment and offset of each frame.
    pub(super) places: Vec<(u64, usize)>,
    at: (u64, usize),
}

impl Default for Model {
    fn default() -> Model {
        Model { frames: Vec::new(), places: Vec::new(), at: (0, HEADER_BYTES) }
    }
}

impl Model {
    fn add(&mut self, frame: Vec<u8>) {
        if self.at.1 + frame.len() > SEGMENT_BYTES {
            self.at = (self.at.0 + 1, HEADER_BYTES);
        }
        self.places.push(self.at);
        self.at.1 += frame.len();
        self.frames.push(frame);
    }

    pub(super) fn append(&mut self, opened: &mut Opened, payload: &[u8]) {
        let frame = opened.journal.chain().clone().extend(1, payload.len() as u16 % 5, payload);
        if opened.journal.append(&frame) == Err(AppendError::NotReady) {
            opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
            opened.journal.append(&frame).unwrap();
        }
        self.add(frame);
    }

    fn segments(&self) -> u64 {
        self.at.0 + 1
    }
}

/// Appends and publishes messages of these lengths.
pub(super) fn filled(disk: &MemoryDisk, lens: &[usize]) -> (Opened, Model) {
    let mut opened = open(disk).unwrap();
    let mut model = Model::default();
    for (nth, &len) in lens.iter().enumerate() {
        model.append(&mut opened, &vec![nth as u8; len]);
    }
    opened.journal.publish();
    (opened, model)
}

fn read_all(reader: &JournalReader) -> Vec<Vec<u8>> {
    let mut cursor = reader.cursor_at(reader.oldest()).expect("the oldest is there");
    let mut frames = Vec::new();
    while let Some(frame) = cursor.next_frame().unwrap() {
        frames.push(frame.bytes().to_vec());
    }
    assert_eq!(cursor.seq(), reader.next());
    frames
}

#[test]
fn begins_appends_and_reopens() {
    let disk = MemoryDisk::default();
    let opened = open(&disk).unwrap();
    assert_eq!(opened.recovered.unproven, Some(Unproven::New));
    assert_eq!(opened.recovered.chain, Chain::new());
    assert_eq!(opened.recovered.incarnation, 100);
    assert_eq!(opened.reader.oldest(), opened.reader.next());
    drop(opened);

    let config = JournalConfig { fresh_incarnation: 200, ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    assert_eq!(opened.recovered.unproven, None, "the same boot lost nothing");
    assert_eq!(opened.recovered.incarnation, 100);
    let mut model = Model::default();
    for len in [0, 1, 100, 20_000, 40_000, 30_000, 5] {
        model.append(&mut opened, &vec![7; len]);
    }
    assert_eq!(opened.reader.next(), seq(6), "rolling over publishes what is in the full segment");
    assert_eq!(opened.journal.publish(), seq(8));
    assert_eq!(read_all(&opened.reader), model.frames);
    let chain = opened.journal.chain().clone();
    drop(opened);

    let opened = open_with(&disk, &config).unwrap();
    assert_eq!(opened.recovered.chain, chain);
    assert_eq!(opened.recovered.oldest, SeqNo::FIRST);
    assert_eq!(opened.recovered.cut, None);
    assert_eq!(read_all(&opened.reader), model.frames);
}

#[test]
fn refuses_frames_that_do_not_follow() {
    let disk = MemoryDisk::default();
    let mut opened = open(&disk).unwrap();
    let mut chain = Chain::new();
    let first = chain.extend(1, 0, b"first");
    let second = chain.extend(1, 0, b"second");
    assert!(matches!(opened.journal.append(&second), Err(AppendError::Chain(_))));
    assert!(matches!(opened.journal.append(&first[..8]), Err(AppendError::Frame(_))));
    let two = [first.clone(), second.clone()].concat();
    assert!(matches!(opened.journal.append(&two), Err(AppendError::Frame(_))));
    assert_eq!(opened.journal.append(&first), Ok(seq(2)));
    assert_eq!(opened.journal.append(&second), Ok(seq(3)));
    let end = chain.extend_end();
    assert_eq!(opened.journal.append(&end), Ok(seq(3)));
    assert!(matches!(opened.journal.append(&end), Err(AppendError::Chain(_))));
    opened.journal.publish();
    assert_eq!(read_all(&opened.reader).len(), 3);
    let mut at_end = opened.reader.cursor_at(seq(3)).unwrap();
    assert_eq!(at_end.next_frame().unwrap().unwrap().kind(), crate::frame::Kind::End);
    drop((opened, at_end));
    let recovered = open(&disk).unwrap().recovered;
    assert!(recovered.chain.ended());
}

#[test]
fn an_unprepared_roll_is_back_pressure() {
    let disk = MemoryDisk::default();
    let mut opened = open(&disk).unwrap();
    let mut chain = Chain::new();
    let big = [3; 60_000];
    opened.journal.append(&chain.extend(1, 0, &big)).unwrap();
    let next = chain.extend(1, 0, &big);
    assert_eq!(opened.journal.append(&next), Err(AppendError::NotReady));
    assert_eq!(opened.journal.append(&next), Err(AppendError::NotReady));
    assert_eq!(opened.journal.stalls(), 2);
    disk.inject(Faults { capacity_bytes: Some(SEGMENT_BYTES as u64), ..Faults::default() });
    let error = opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    assert_eq!(opened.journal.append(&next), Err(AppendError::NotReady), "a full disk loses nothing");
    disk.inject(Faults::default());
    assert!(opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap());
    opened.journal.append(&next).unwrap();
    opened.journal.publish();
    assert_eq!(read_all(&opened.reader).len(), 2);
    while opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap() {}
    assert_eq!(ReadStore::list(&disk).unwrap().len(), 3);
}

#[test]
fn every_number_is_found_through_the_index() {
    let disk = MemoryDisk::default();
    let lens: Vec<usize> = (0..2000).map(|nth| nth * 7 % 131).collect();
    let (opened, model) = filled(&disk, &lens);
    assert!(model.segments() > 3);
    check_index(&opened.reader, &model);
    drop(opened);
    check_index(&open(&disk).unwrap().reader, &model);
}

fn check_index(reader: &JournalReader, model: &Model) {
    for (nth, frame) in model.frames.iter().enumerate() {
        let mut cursor = reader.cursor_at(seq(nth as u64 + 1)).expect("it is there");
        assert_eq!(cursor.next_frame().unwrap().unwrap().bytes(), frame);
    }
    let next = seq(model.frames.len() as u64 + 1);
    let mut live = reader.cursor_at(next).expect("what comes next is waited for");
    assert!(live.next_frame().unwrap().is_none());
    assert!(reader.cursor_at(next.next()).is_none());
}

#[test]
fn cursors_see_new_appends_across_segments() {
    let disk = MemoryDisk::default();
    let mut opened = open(&disk).unwrap();
    let mut model = Model::default();
    let mut live = opened.reader.cursor_at(SeqNo::FIRST).unwrap();
    for nth in 0..50u8 {
        model.append(&mut opened, &vec![nth; 5_000]);
        if nth % 3 == 0 {
            opened.journal.publish();
            while live.seq() < opened.reader.next() {
                let at = live.seq().value() as usize - 1;
                let frame = live.next_frame().unwrap().expect("published");
                assert_eq!(frame.bytes(), model.frames[at]);
            }
            assert!(live.next_frame().unwrap().is_none());
        }
    }
    assert!(model.segments() > 2);
}

#[test]
fn retention_removes_whole_old_segments_and_keeps_what_is_needed() {
    let disk = MemoryDisk::default();
    let config = JournalConfig { retain_bytes: Some(3 * SEGMENT_BYTES as u64), ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    let mut model = Model::default();
    let mut early = opened.reader.cursor_at(SeqNo::FIRST).unwrap();
    for nth in 0..100u8 {
        model.append(&mut opened, &[nth; 9_000]);
    }
    let next = opened.journal.publish();
    opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
    assert_eq!(opened.reader.oldest(), SeqNo::FIRST, "kept, since it is still needed");
    while opened.preparer.poll(next, SeqNo::MAX).unwrap() {}
    let oldest = opened.reader.oldest();
    assert!(oldest > seq(70), "{oldest}");
    assert_eq!(ReadStore::list(&disk).unwrap().len(), 3);
    assert!(opened.reader.cursor_at(SeqNo::FIRST).is_none());
    assert_eq!(read_all(&opened.reader), model.frames[oldest.value() as usize - 1..]);
    // A cursor in a removed segment reads it to its end, and then learns that it is late.
    let mut read = 0;
    let error = loop {
        match early.next_frame() {
            Ok(frame) => assert_eq!(frame.unwrap().bytes(), model.frames[read]),
            Err(error) => break error,
        }
        read += 1;
    };
    assert_eq!(error, ReadError::Removed { wanted: seq(read as u64 + 1), oldest });
    assert!(opened.syncer.poll().is_ok(), "removed segments need no sync");
    drop((opened, early));

    let chain = model.frames.iter().fold(Chain::new(), |mut chain, frame| {
        chain.follow(&Frame::parse(frame).unwrap()).unwrap();
        chain
    });
    let opened = open_with(&disk, &config).unwrap();
    assert_eq!(opened.recovered.chain, chain, "every source is known though its frames are gone");
    assert_eq!(opened.recovered.oldest, oldest);
}

#[test]
fn what_another_node_lacks_is_kept_within_bounds() {
    let disk = MemoryDisk::default();
    let segments = |count: u64| count * SEGMENT_BYTES as u64;
    let config = JournalConfig { retain_bytes: Some(segments(3)), catch_up_bytes: segments(8), ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    let mut model = Model::default();
    let segments_after = |opened: &mut Opened, model: &mut Model, everywhere| {
        for nth in 0..40u8 {
            model.append(opened, &[nth; 9_000]);
        }
        let next = opened.journal.publish();
        while opened.preparer.poll(next, everywhere).unwrap() {}
        (ReadStore::list(&disk).unwrap().len(), opened.reader.oldest())
    };
    assert_eq!(segments_after(&mut opened, &mut model, SeqNo::FIRST), (7, SeqNo::FIRST));
    let (count, oldest) = segments_after(&mut opened, &mut model, SeqNo::FIRST);
    assert!(oldest > SeqNo::FIRST, "no more than the bound, however long it is lacked");
    assert_eq!(count, 8);
    let (count, oldest) = segments_after(&mut opened, &mut model, seq(100));
    assert_eq!(count, 5);
    assert!(oldest <= seq(100) && oldest > seq(90), "{oldest}: what is lacked is kept, and no more");
    assert_eq!(segments_after(&mut opened, &mut model, SeqNo::MAX).0, 3);
}

#[test]
fn retention_never_removes_the_active_or_the_prepared_segment() {
    let disk = MemoryDisk::default();
    let config = JournalConfig { retain_bytes: Some(0), ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    let mut model = Model::default();
    for _ in 0..30 {
        model.append(&mut opened, &[1; 20_000]);
        let next = opened.journal.publish();
        while opened.preparer.poll(next, SeqNo::MAX).unwrap() {}
        assert_eq!(ReadStore::list(&disk).unwrap().len(), 2);
    }
}

#[test]
fn a_closed_journal_is_whole_even_after_a_new_boot() {
    let disk = MemoryDisk::default();
    let (mut opened, model) = filled(&disk, &[100; 2000]);
    opened.mark.published().advance(seq(1500));
    assert_eq!(opened.mark.promise(7).unwrap(), 7);
    assert_eq!(opened.mark.promise(3).unwrap(), 7, "a promise only rises");
    close(opened.journal, &mut opened.syncer, &mut opened.mark).unwrap();
    let reader = opened.reader;
    assert_eq!(reader.synced(), reader.next());
    drop((opened.preparer, opened.syncer, opened.mark, reader));
    disk.lose_power(|_, _| false);
    let opened = open(&disk).unwrap();
    assert_eq!(opened.recovered.unproven, None);
    assert_eq!(opened.recovered.published, seq(1500));
    assert_eq!(opened.recovered.promised_epoch, 7);
    assert_eq!(read_all(&opened.reader), model.frames);
}

#[test]
fn a_promise_torn_by_a_kill_leaves_the_one_before() {
    use crate::mem::store::Store;
    let disk = MemoryDisk::default();
    let mut opened = open(&disk).unwrap();
    for epoch in 1..=6 {
        opened.mark.promise(epoch).unwrap();
    }
    drop(opened);
    let store = disk.open().unwrap();
    let cells = store.mark();
    // The two slots, by their first cell, the generation.
    let newer = if cells.load(8) > cells.load(16) { 8 } else { 16 };
    cells.store(newer + 1, !cells.load(newer + 1));
    drop(store);
    let recovered = open(&disk).unwrap().recovered;
    assert_eq!((recovered.promised_epoch, recovered.unproven), (5, None));
}

#[test]
fn an_unclean_boot_begins_a_new_incarnation_and_keeps_what_was_synced() {
    let disk = MemoryDisk::default();
    let (mut opened, mut model) = filled(&disk, &[1000; 100]);
    let synced = opened.syncer.poll().unwrap();
    assert_eq!((synced, opened.reader.synced()), (seq(101), seq(101)));
    opened.mark.promise(9).unwrap();
    for _ in 0..50 {
        model.append(&mut opened, &[2; 1000]);
    }
    opened.journal.publish();
    drop(opened);
    disk.lose_power(|_, _| false);
    let opened = open_with(&disk, &JournalConfig { fresh_incarnation: 555, ..config() }).unwrap();
    assert_eq!(opened.recovered.unproven, Some(Unproven::UncleanBoot));
    assert_eq!(opened.recovered.incarnation, 555);
    assert_eq!(opened.recovered.promised_epoch, 9, "a promise outlives the incarnation");
    assert_eq!(opened.recovered.chain.next(), synced);
    assert_eq!(read_all(&opened.reader), model.frames[..100]);
}

#[test]
fn what_survived_a_kill_is_synced_by_the_next_process() {
    let disk = MemoryDisk::default();
    let (opened, model) = filled(&disk, &[1000; 200]);
    drop(opened);
    let mut opened = open(&disk).unwrap();
    assert_eq!(opened.syncer.poll().unwrap(), seq(201));
    drop(opened);
    disk.lose_power(|_, _| false);
    assert_eq!(read_all(&open(&disk).unwrap().reader), model.frames);
}

#[test]
fn a_failed_sync_is_final() {
    let disk = MemoryDisk::default();
    let (mut opened, mut model) = filled(&disk, &[100; 10]);
    disk.inject(Faults { sync_fails: true, ..Faults::default() });
    assert!(opened.syncer.poll().is_err());
    disk.inject(Faults::default());
    assert!(matches!(opened.syncer.poll(), Err(JournalError::Store(StoreError::Poisoned { .. }))));
    model.append(&mut opened, b"more");
    opened.journal.publish();
    assert_eq!(opened.journal.synced(), SeqNo::FIRST);
    assert!(close(opened.journal, &mut opened.syncer, &mut opened.mark).is_err());
}

#[test]
fn a_lost_mark_or_lost_segments_are_another_incarnation() {
    let disk = MemoryDisk::default();
    let (opened, model) = filled(&disk, &[100; 10]);
    drop(opened);
    disk.lose_mark();
    let config = JournalConfig { fresh_incarnation: 300, ..config() };
    let opened = open_with(&disk, &config).unwrap();
    assert_eq!(opened.recovered.unproven, Some(Unproven::MarkLost));
    assert_eq!(opened.recovered.incarnation, 300);
    assert_eq!(read_all(&opened.reader), model.frames);
    opened.mark.published().advance(seq(6));
    drop(opened);
    disk.lose_segment(0);
    let opened = open_with(&disk, &JournalConfig { fresh_incarnation: 301, ..config }).unwrap();
    assert_eq!(opened.recovered.unproven, Some(Unproven::SegmentsLost));
    assert_eq!(opened.recovered.incarnation, 301);
    assert_eq!(opened.recovered.published, seq(6));
    assert_eq!(opened.recovered.chain.next(), SeqNo::FIRST);
}

#[test]
fn errors_say_where_and_what_to_do() {
    let disk = MemoryDisk::default();
    let (opened, model) = filled(&disk, &[1000; 300]);
    drop(opened);
    let says = |words: &[&str]| {
        let error = open(&disk).err().expect("refused").to_string();
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
        let verified = verify(&disk).unwrap_err().to_string();
        assert_eq!(error, verified, "the tool says the same");
    };
    let (segment, offset) = model.places[20];
    let flip = |segment, at: usize| disk.with_segment(segment, |bytes| bytes[at] ^= 1);
    flip(segment, offset + 70);
    says(&[
        "memory/00000000000000000000.seg",
        &format!("byte {offset}"),
        "frame 21",
        "CRC-32C",
        "valid frames follow",
        "standby",
        "seqcast journal verify",
    ]);
    flip(segment, offset + 70);
    flip(2, 50);
    says(&["00000000000000000002.seg", "header is damaged", "CRC-32C", "standby"]);
    flip(2, 50);
    let segment = disk.with_segment(2, std::mem::take);
    disk.with_segment(2, |bytes| *bytes = vec![0; segment.len()]);
    says(&["00000000000000000002.seg", "blank", "next segment is begun"]);
    disk.with_segment(2, |bytes| *bytes = segment);
    disk.lose_segment(2);
    says(&["00000000000000000002.seg", "missing", "standby"]);
}

#[test]
fn another_session_is_refused_and_left_alone() {
    let disk = MemoryDisk::default();
    let (opened, model) = filled(&disk, &[10; 3]);
    drop(opened);
    let other = JournalConfig { session: "OTHER".parse().unwrap(), ..config() };
    for lost in [false, true] {
        if lost {
            disk.lose_mark();
        }
        let error = open_with(&disk, &other).err().unwrap();
        assert!(matches!(error, JournalError::ForeignSession { .. }), "{error}");
        assert!(error.to_string().contains("SESSION") && error.to_string().contains("OTHER"));
    }
    assert_eq!(read_all(&open(&disk).unwrap().reader), model.frames);
}

#[test]
fn nonsense_in_the_configuration_is_refused() {
    for (segment_bytes, fresh_incarnation) in
        [(0, 1), (MIN_SEGMENT_BYTES - 4096, 1), (100_001, 1), (1 << 40, 1), (1 << 20, 0)]
    {
        let disk = MemoryDisk::default();
        let config = JournalConfig { segment_bytes, fresh_incarnation, ..config() };
        assert!(matches!(open_with(&disk, &config), Err(JournalError::Config(_))), "{config:?}");
    }
}

#[test]
fn a_changed_segment_size_holds_for_new_segments() {
    let disk = MemoryDisk::default();
    let (opened, mut model) = filled(&disk, &[1000; 100]);
    drop(opened);
    let config = JournalConfig { segment_bytes: 2 * SEGMENT_BYTES, ..config() };
    let mut opened = open_with(&disk, &config).unwrap();
    for _ in 0..300 {
        model.append(&mut opened, &[5; 1000]);
    }
    opened.journal.publish();
    assert_eq!(read_all(&opened.reader), model.frames);
    drop(opened);
    assert_eq!(read_all(&open(&disk).unwrap().reader), model.frames);
}

#[test]
fn a_tail_that_the_mark_knows_is_never_cut() {
    let disk = MemoryDisk::default();
    let (opened, model) = filled(&disk, &[100; 20]);
    drop(opened);
    let (segment, offset) = *model.places.last().unwrap();
    disk.with_segment(segment, |bytes| bytes[offset + 80] ^= 1);
    let error = open(&disk).err().unwrap();
    assert!(matches!(error, JournalError::Short { .. }), "{error}");
    assert!(error.to_string().contains("end at 20"), "{error}");
    // Without the mark nobody knows that it was ever whole.
    disk.lose_mark();
    let opened = open(&disk).unwrap();
    let cut = opened.recovered.cut.unwrap();
    assert_eq!((cut.segment, cut.offset, cut.seq), (segment, offset, seq(20)));
    assert_eq!(read_all(&opened.reader), model.frames[..19]);
    drop(opened);
    assert!(open(&disk).unwrap().recovered.cut.is_none(), "it is cut once");
}

#[test]
fn a_segment_torn_while_it_was_begun_is_given_up() {
    let disk = MemoryDisk::default();
    let mut opened = open(&disk).unwrap();
    let mut model = Model::default();
    model.append(&mut opened, &[1; 60_000]);
    model.append(&mut opened, &[2; 60_000]); // Begins the next segment, and is lost with the process.
    drop(opened);
    disk.lose_mark();
    disk.with_segment(1, |bytes| bytes[600..].fill(0));
    assert_eq!(verify(&disk).unwrap().cut.unwrap().segment, 1);
    let opened = open(&disk).unwrap();
    let cut = opened.recovered.cut.unwrap();
    assert_eq!((cut.segment, cut.offset, cut.seq), (1, 0, seq(2)));
    assert_eq!(read_all(&opened.reader), model.frames[..1]);
    assert_eq!(ReadStore::list(&disk).unwrap().len(), 1);
}

/// One thread appends, a second prepares and syncs, and two follow: everybody sees the same frames.
#[test]
fn threads_share_a_journal() {
    const FRAMES: u64 = 20_000;
    let disk = MemoryDisk::default();
    let Opened { mut journal, reader, mut preparer, mut syncer, .. } = open(&disk).unwrap();
    let payload = |nth: u64| vec![nth as u8; (nth * 37 % 900) as usize];
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut cursor = reader.cursor_at(SeqNo::FIRST).unwrap();
            let reader = reader.clone();
            scope.spawn(move || {
                while cursor.seq().value() <= FRAMES {
                    let due = cursor.seq();
                    match cursor.next_frame().unwrap() {
                        Some(frame) => {
                            assert_eq!((frame.seq(), frame.payload()), (due, &payload(due.value())[..]));
                        }
                        None => std::thread::yield_now(),
                    }
                    if due.value().is_multiple_of(512) {
                        let half = seq(due.value() / 2);
                        let mut again = reader.cursor_at(half).unwrap();
                        assert_eq!(again.next_frame().unwrap().unwrap().seq(), half);
                    }
                }
            });
        }
        scope.spawn(move || {
            while syncer.poll().unwrap().value() <= FRAMES {
                preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
                std::thread::yield_now();
            }
        });
        let mut chain = Chain::new();
        for nth in 1..=FRAMES {
            let frame = chain.extend(1, 0, &payload(nth));
            while journal.append(&frame) == Err(AppendError::NotReady) {
                std::thread::yield_now();
            }
            if nth % 7 == 0 || nth == FRAMES {
                journal.publish();
            }
        }
    });
    assert_eq!(reader.synced(), seq(FRAMES + 1));
}

/// Payloads that look like frames do not make a torn frame look like damage in the middle.
#[test]
fn images_of_frames_in_a_torn_payload_do_not_stop_a_node() {
    let disk = MemoryDisk::default();
    let mut opened = open(&disk).unwrap();
    let mut model = Model::default();
    let mut foreign = Chain::new();
    let image: Vec<u8> = (0..100).flat_map(|_| foreign.extend(1, 0, b"image")).collect();
    for _ in 0..3 {
        model.append(&mut opened, &image[72 * 50..]);
    }
    opened.journal.publish();
    drop(opened);
    disk.lose_mark();
    let (segment, offset) = model.places[2];
    disk.with_segment(segment, |bytes| bytes[offset] ^= 1);
    let opened = open(&disk).unwrap();
    assert_eq!(opened.recovered.cut.unwrap().seq, seq(3));
    assert_eq!(read_all(&opened.reader), model.frames[..2]);
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Publish,
    Sync,
    Prepare,
    Kill,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0usize..9_000).prop_map(Op::Append),
        3 => (0usize..200).prop_map(Op::Append),
        2 => Just(Op::Publish),
        1 => Just(Op::Sync),
        1 => Just(Op::Prepare),
        1 => Just(Op::Kill),
    ];
    prop::collection::vec(op, 1..120)
}

/// Runs `ops`, ends with a killed process, and gives what was appended, up to where it was published, and up to where it
/// was synced.
fn run(disk: &MemoryDisk, ops: &[Op]) -> (Model, SeqNo, SeqNo) {
    let mut opened = open(disk).unwrap();
    let mut model = Model::default();
    let mut synced = SeqNo::FIRST;
    for (nth, op) in ops.iter().enumerate() {
        match op {
            Op::Append(len) => model.append(&mut opened, &vec![nth as u8 ^ 0x55; *len]),
            Op::Publish => {
                opened.journal.publish();
            }
            Op::Sync => synced = opened.syncer.poll().unwrap(),
            Op::Prepare => {
                opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
            }
            Op::Kill => {
                drop(opened);
                opened = open(disk).unwrap();
                assert_eq!(opened.recovered.chain.next().value(), model.frames.len() as u64 + 1);
            }
        }
    }
    let published = opened.reader.next();
    (model, published, synced)
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    Truncate(prop::sample::Index, prop::sample::Index),
    ZeroSuffix(prop::sample::Index, prop::sample::Index),
    ZeroRange(prop::sample::Index, prop::sample::Index, usize),
    Flip(prop::sample::Index, prop::sample::Index, u8),
    Garbage(prop::sample::Index, prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    prop_oneof![
        Just(Damage::None),
        at().prop_map(|(segment, at)| Damage::Truncate(segment, at)),
        at().prop_map(|(segment, at)| Damage::ZeroSuffix(segment, at)),
        (at(), 1usize..5000).prop_map(|((segment, at), len)| Damage::ZeroRange(segment, at, len)),
        (at(), 0u8..8).prop_map(|((segment, at), bit)| Damage::Flip(segment, at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..3000))
            .prop_map(|((segment, at), bytes)| Damage::Garbage(segment, at, bytes)),
    ]
}

/// Damages a segment, more often than not where frames are rather than in the zeroes behind.
fn apply(disk: &MemoryDisk, model: &Model, damage: &Damage) {
    let begun = model.segments() as usize;
    let used = |segment: u64| match model.places.iter().rposition(|place| place.0 == segment) {
        Some(last) => (model.places[last].1 + model.frames[last].len() + 300).min(SEGMENT_BYTES),
        None => HEADER_BYTES,
    };
    let at = |segment: &prop::sample::Index, at: &prop::sample::Index| {
        let segment = segment.index(begun) as u64;
        (segment, at.index(used(segment)))
    };
    match damage {
        Damage::None => {}
        Damage::Truncate(segment, offset) => {
            let (segment, offset) = at(segment, offset);
            disk.with_segment(segment, |bytes| bytes.truncate(offset));
        }
        Damage::ZeroSuffix(segment, offset) => {
            let (segment, offset) = at(segment, offset);
            disk.with_segment(segment, |bytes| bytes[offset..].fill(0));
        }
        Damage::ZeroRange(segment, offset, len) => {
            let (segment, offset) = at(segment, offset);
            let end = (offset + len).min(SEGMENT_BYTES);
            disk.with_segment(segment, |bytes| bytes[offset..end].fill(0));
        }
        Damage::Flip(segment, offset, bit) => {
            let (segment, offset) = at(segment, offset);
            disk.with_segment(segment, |bytes| bytes[offset] ^= 1 << bit);
        }
        Damage::Garbage(segment, offset, garbage) => {
            let (segment, offset) = at(segment, offset);
            let len = garbage.len().min(SEGMENT_BYTES - offset);
            disk.with_segment(segment, |bytes| bytes[offset..offset + len].copy_from_slice(&garbage[..len]));
        }
    }
}

/// What an observer sees who knows all frames and looks at the bytes: which frames and headers are still there.
struct Truth {
    whole: Vec<bool>,
    headers: BTreeMap<u64, bool>,
}

fn truth(disk: &MemoryDisk, model: &Model, headers: &BTreeMap<u64, Vec<u8>>) -> Truth {
    let segment = |index: u64| disk.with_segment(index, |bytes| bytes.clone());
    let segments: BTreeMap<u64, Vec<u8>> = headers.keys().map(|&index| (index, segment(index))).collect();
    let whole =
        model.frames.iter().zip(&model.places).map(|(frame, (index, offset))| {
            segments[index].get(*offset..offset + frame.len()) == Some(frame)
        });
    let intact = |(index, header): (&u64, &Vec<u8>)| (*index, segments[index].starts_with(header));
    Truth { whole: whole.collect(), headers: headers.iter().map(intact).collect() }
}

impl Truth {
    /// Frames up to the first one that is lost, by damage to itself or to its segment's header.
    fn prefix(&self, model: &Model) -> usize {
        let lost = |nth: &usize| !self.whole[*nth] || !self.headers[&model.places[*nth].0];
        (0..self.whole.len()).find(lost).unwrap_or(self.whole.len())
    }
}

fn check_recovery(disk: &MemoryDisk, model: &Model, truth: &Truth) -> Result<(), TestCaseError> {
    let prefix = truth.prefix(model);
    let valid_later = truth.whole[prefix..].contains(&true);
    let last_place = model.places.get(prefix.max(1) - 1).map_or(0, |place| place.0);
    let headless = truth.headers.values().any(|intact| !intact);
    let later_header = truth.headers.iter().any(|(&index, &intact)| intact && index > last_place);
    match open(disk) {
        Ok(opened) => {
            prop_assert!(!valid_later, "frame {} was dropped though valid ones follow", prefix + 1);
            prop_assert_eq!(opened.recovered.chain.next().value(), prefix as u64 + 1);
            if !model.frames.is_empty() && prefix > 0 {
                prop_assert_eq!(read_all(&opened.reader), &model.frames[..prefix]);
            }
        }
        Err(error) => {
            prop_assert!(
                valid_later || later_header || headless,
                "{} valid frames and nothing else: {}",
                prefix,
                error
            );
            let message = error.to_string();
            let names = |index: &u64| message.contains(&disk.place(*index));
            prop_assert!(truth.headers.keys().any(names), "no place: {}", message);
            if let JournalError::BadFrame { offset, seq, .. } = error {
                prop_assert_eq!(seq.value(), prefix as u64 + 1);
                if prefix < model.places.len() && model.places[prefix].0 == last_place {
                    prop_assert_eq!(offset, model.places[prefix].1);
                }
            }
        }
    }
    Ok(())
}

fn headers(disk: &MemoryDisk, model: &Model) -> BTreeMap<u64, Vec<u8>> {
    let read = |index| (index, disk.with_segment(index, |bytes| bytes[..HEADER_BYTES].to_vec()));
    (0..model.segments()).map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is done to the bytes: the longest valid prefix is recovered, or the place is named; no frame that valid
    /// ones follow is ever dropped.
    #[test]
    fn damage_is_cut_at_the_tail_and_refused_elsewhere(ops in ops(), damage in damage()) {
        let disk = MemoryDisk::default();
        let (model, ..) = run(&disk, &ops);
        let headers = headers(&disk, &model);
        disk.lose_mark();
        apply(&disk, &model, &damage);
        let truth = truth(&disk, &model, &headers);
        let verified = verify(&disk).map(|report| report.chain.next());
        check_recovery(&disk, &model, &truth)?;
        match (verified, open(&disk)) {
            (Ok(next), Ok(opened)) => {
                prop_assert_eq!(next, opened.recovered.chain.next());
                prop_assert_eq!(opened.recovered.cut, None, "cut the first time");
            }
            (Err(verified), Err(opened)) => prop_assert_eq!(verified.to_string(), opened.to_string()),
            (verified, opened) => prop_assert!(false, "verify {:?}, open {:?}", verified, opened.is_ok()),
        }
    }

    /// With the mark at hand, nothing that was published is given up on the same boot.
    #[test]
    fn nothing_published_is_ever_cut_on_the_same_boot(ops in ops(), damage in damage()) {
        let disk = MemoryDisk::default();
        let (model, published, _) = run(&disk, &ops);
        apply(&disk, &model, &damage);
        if let Ok(opened) = open(&disk) {
            if model.frames.is_empty() {
                prop_assert_eq!(opened.recovered.chain.next(), SeqNo::FIRST);
            } else if opened.recovered.unproven.is_none() {
                let next = opened.recovered.chain.next();
                prop_assert!(next >= published);
                prop_assert_eq!(read_all(&opened.reader), &model.frames[..next.value() as usize - 1]);
            } else {
                prop_assert_eq!(opened.recovered.unproven, Some(Unproven::SegmentsLost));
            }
        }
    }

    /// A loss of power keeps any sectors of what was not synced, in any order: what was synced is there, and what is
    /// recovered is a prefix.
    #[test]
    fn a_loss_of_power_keeps_what_was_synced(ops in ops(), seed in any::<u64>(), share in 0u64..=4) {
        let disk = MemoryDisk::default();
        let (model, _, synced) = run(&disk, &ops);
        disk.lose_power(|segment, sector| {
            let mixed = (seed ^ (segment << 32 | sector as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> 33) % 4 < share
        });
        match open(&disk) {
            Ok(opened) => {
                let next = opened.recovered.chain.next();
                prop_assert!(next >= synced, "{} was synced, {} is there", synced, next);
                let next = next.value();
                if next > 1 {
                    prop_assert_eq!(read_all(&opened.reader), &model.frames[..next as usize - 1]);
                }
                if share == 4 {
                    prop_assert_eq!(next as usize, model.frames.len() + 1);
                }
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// Segments of arbitrary bytes are opened or refused, never a panic.
    #[test]
    fn arbitrary_segments_are_opened_or_refused(
        segments in prop::collection::vec((0usize..3000, prop::collection::vec(any::<u8>(), 0..400), any::<bool>()), 0..4),
    ) {
        let disk = MemoryDisk::default();
        let (opened, model) = filled(&disk, &[50; 40]);
        drop(opened);
        let good = disk.with_segment(0, |bytes| bytes.clone());
        for (nth, (at, garbage, keep)) in segments.into_iter().enumerate() {
            let mut bytes = if keep { good.clone() } else { vec![0; 4096] };
            let end = (at + garbage.len()).min(bytes.len());
            let at = at.min(end);
            bytes[at..end].copy_from_slice(&garbage[..end - at]);
            let store = disk.open().unwrap();
            if nth > 0 {
                drop(crate::mem::store::Store::create(&store, nth as u64, SEGMENT_BYTES).unwrap());
            }
            drop(store);
            disk.with_segment(nth as u64, |stored| *stored = bytes);
        }
        let verified = verify(&disk).is_ok();
        let opened = open(&disk);
        prop_assert!(verified || opened.is_err());
        if let Ok(opened) = opened {
            let next = opened.recovered.chain.next().value() as usize;
            if next > 1 {
                prop_assert_eq!(read_all(&opened.reader), &model.frames[..next - 1]);
            }
        }
    }
}
