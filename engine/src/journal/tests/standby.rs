//! A standby's journal as a whole: grown, cut, killed, cut from power and begun anew in any order, and compared with the
//! record of a primary that never fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::cut::{History, Hook, HookedStore, append, check, check_tools, cut};
use super::*;
use crate::mem::store::MARK;

/// The first `count` messages of a session.
fn history(count: u64) -> History {
    let mut chain = Chain::new();
    History { frames: (0..count).map(|nth| chain.extend(1, nth as u16 % 5, &[nth as u8; 700])).collect() }
}

fn begin_at(disk: &MemoryDisk, chain: &Chain, fresh_incarnation: u64) -> Result<Opened, JournalError> {
    Journal::begin_at(disk.open()?, &JournalConfig { fresh_incarnation, ..config() }, chain)
}

/// What is to be kept for good is not removed, not even for an image.
#[test]
fn a_journal_that_keeps_everything_is_set_aside() {
    let chain = history(200).chain_at(seq(151));
    for (retain_bytes, incarnation) in [(None, 5), (Some(3 * SEGMENT_BYTES as u64), 6)] {
        let disk = MemoryDisk::default();
        let (opened, _) = filled(&disk, &[3000; 100]);
        let replaced = opened.recovered.incarnation;
        drop(opened);
        let were: Vec<_> =
            ReadStore::list(&disk).unwrap().iter().map(|info| (replaced, info.index)).collect();
        let config = JournalConfig { retain_bytes, fresh_incarnation: incarnation, ..config() };
        drop(Journal::begin_at(disk.open().unwrap(), &config, &chain).unwrap());
        assert_eq!(disk.aside(), if retain_bytes.is_none() { were } else { Vec::new() });
        assert!(
            ReadStore::list(&disk)
                .unwrap()
                .iter()
                .all(|info| !disk.aside().contains(&(replaced, info.index)))
        );
    }
}

#[test]
fn a_journal_begins_in_the_middle_of_a_session() {
    let disk = MemoryDisk::default();
    let mut record = history(300);
    let chain = record.chain_at(seq(101));
    let mut opened = begin_at(&disk, &chain, 5).unwrap();
    let recovered = opened.recovered.clone();
    assert_eq!((recovered.unproven, recovered.incarnation), (Some(Unproven::New), 5));
    assert_eq!((recovered.chain, recovered.oldest, recovered.published), (chain, seq(101), seq(101)));
    assert_eq!((opened.reader.oldest(), opened.reader.next()), (seq(101), seq(101)));
    let frames = record.frames.split_off(100);
    check(&opened, &record);
    for frame in frames {
        append(&mut opened, &frame);
        record.frames.push(frame);
    }
    opened.journal.publish();
    check(&opened, &record);
    assert!(opened.reader.cursor_at(seq(100)).is_none() && opened.reader.position_at(seq(100)).is_none());
    assert_eq!(opened.reader.chain_at(seq(100)), Ok(None));
    let removed = CutError::Removed { to: seq(100), oldest: seq(101) };
    assert_eq!(opened.journal.cut_back(seq(100)), Err(removed));
    record.cut(&mut opened, seq(101));
    check(&opened, &record);
    drop(opened);
    assert_eq!(check_tools(&disk, &record).oldest, seq(101));
    let opened = open(&disk).unwrap();
    assert_eq!((opened.recovered.unproven, opened.recovered.incarnation), (None, 5));
    check(&opened, &record);
}

#[test]
fn what_was_there_makes_room_and_its_promises_stay() {
    let disk = MemoryDisk::default();
    let (mut opened, _) = filled(&disk, &[3000; 100]);
    opened.mark.promise(8).unwrap();
    opened.mark.published().advance(seq(90));
    opened.syncer.poll().unwrap();
    let last = opened.journal.segment.index;
    drop(opened);
    disk.with_segment(1, |bytes| bytes[HEADER_BYTES + 70] ^= 1);
    assert!(open(&disk).is_err(), "nor does damage keep it");
    let record = history(200);
    let opened = begin_at(&disk, &record.chain_at(seq(151)), 6).unwrap();
    assert_eq!((opened.recovered.unproven, opened.recovered.incarnation), (Some(Unproven::Replaced), 6));
    assert_eq!((opened.recovered.promised_epoch, opened.recovered.published), (8, seq(151)));
    assert_eq!(ReadStore::list(&disk).unwrap().iter().map(|info| info.index).collect::<Vec<_>>(), [last + 1]);
    drop(opened);
    // Durable from the start.
    disk.lose_power(|segment, _| segment == MARK);
    let opened = open(&disk).unwrap();
    assert_eq!(
        (opened.recovered.unproven, opened.recovered.promised_epoch),
        (Some(Unproven::UncleanBoot), 8)
    );
    assert_eq!(
        (opened.recovered.chain.clone(), opened.recovered.published),
        (record.chain_at(seq(151)), seq(151))
    );
    opened.mark.published().advance(seq(190));
    drop(opened);
    // An image from before what was known to be committed leaves that known.
    let opened = begin_at(&disk, &record.chain_at(seq(171)), 7).unwrap();
    assert_eq!((opened.recovered.chain.next(), opened.recovered.published), (seq(171), seq(190)));
}

#[test]
fn a_beginning_that_fails_leaves_a_beginning() {
    let disk = MemoryDisk::default();
    let (mut opened, _) = filled(&disk, &[3000; 100]);
    opened.mark.promise(8).unwrap();
    opened.mark.published().advance(seq(90));
    opened.syncer.poll().unwrap();
    drop(opened);
    disk.inject(Faults { creates_refused: 1, ..Faults::default() });
    let chain = history(200).chain_at(seq(151));
    assert!(begin_at(&disk, &chain, 6).is_err());
    let opened =
        Journal::open(disk.open().unwrap(), &JournalConfig { fresh_incarnation: 7, ..config() }).unwrap();
    let Recovered { chain: empty, published, promised_epoch, incarnation, .. } = opened.recovered.clone();
    assert_eq!((empty, published, promised_epoch), (Chain::new(), seq(90), 8), "what is missing is told");
    assert_eq!(incarnation, 7);
    drop(opened);
    assert_eq!(begin_at(&disk, &chain, 9).unwrap().recovered.chain, chain);
}

/// Whoever is killed while the old segments go leaves a part of the record, and never what a cut had superseded.
#[test]
fn a_beginning_that_is_killed_brings_nothing_back() {
    for removed in 0..7 {
        let disk = MemoryDisk::default();
        let mut record = history(100);
        let mut opened = open(&disk).unwrap();
        for nth in 0..200 {
            History::default().add(&mut opened, 1, &[nth; 1500]);
        }
        cut(&mut opened, SeqNo::FIRST);
        for frame in &record.frames {
            append(&mut opened, frame);
        }
        cut(&mut opened, seq(81));
        record.frames.truncate(80);
        opened.journal.publish();
        drop(opened);
        let store = HookedStore(disk.open().unwrap(), Hook::default(), Arc::new(AtomicU32::new(removed)));
        let chain = history(300).chain_at(seq(201));
        assert!(Journal::begin_at(store, &config(), &chain).is_err());
        let opened = open(&disk).unwrap();
        check(&opened, &record);
        drop(opened);
        assert_eq!(begin_at(&disk, &chain, 6).unwrap().recovered.chain, chain);
    }
}

#[test]
fn a_foreign_journal_and_an_ended_session_are_refused() {
    let disk = MemoryDisk::default();
    let (opened, model) = filled(&disk, &[100; 10]);
    drop(opened);
    let chain = history(50).chain_at(seq(21));
    let other = JournalConfig { session: "OTHER".parse().unwrap(), ..config() };
    for lost in [false, true] {
        if lost {
            disk.lose_mark();
        }
        let error = Journal::begin_at(disk.open().unwrap(), &other, &chain).err().unwrap();
        assert!(matches!(error, JournalError::ForeignSession { .. }), "{error}");
        assert_eq!(read_all(&open(&disk).unwrap().reader), model.frames);
    }
    let mut ended = chain;
    ended.extend_end();
    assert!(matches!(begin_at(&disk, &ended, 5), Err(JournalError::Config(_))));
    assert_eq!(read_all(&open(&disk).unwrap().reader), model.frames);
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Publish,
    /// Commits some of what is published.
    Commit(prop::sample::Index),
    /// Cuts back to what is not committed.
    Cut(prop::sample::Index),
    Read(prop::sample::Index),
    Sync,
    Prepare,
    Retain,
    Refuse(u32),
    Kill,
    /// Seed, and how many of four sectors and of four marks survive.
    LosePower(u64, u64, bool),
    Close,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0usize..9_000).prop_map(Op::Append),
        4 => (0usize..200).prop_map(Op::Append),
        4 => Just(Op::Publish),
        4 => any::<prop::sample::Index>().prop_map(Op::Commit),
        4 => any::<prop::sample::Index>().prop_map(Op::Cut),
        3 => any::<prop::sample::Index>().prop_map(Op::Read),
        2 => Just(Op::Sync),
        1 => Just(Op::Prepare),
        1 => Just(Op::Retain),
        1 => (1u32..3).prop_map(Op::Refuse),
        1 => Just(Op::Kill),
        2 => (any::<u64>(), 0u64..=4, any::<bool>()).prop_map(|(seed, share, mark)| Op::LosePower(seed, share, mark)),
        1 => Just(Op::Close),
    ];
    prop::collection::vec(op, 1..80)
}

/// A standby's disk and process, and what must be there.
struct Standby {
    disk: MemoryDisk,
    opened: Option<Opened>,
    /// What is in the journal; up to `committed` it never changes.
    record: History,
    committed: SeqNo,
    /// Of the record, so much survives a loss of power for sure.
    synced: SeqNo,
    epoch: u64,
    /// Readers of what is committed.
    cursors: Vec<Cursor>,
}

impl Standby {
    fn new() -> Standby {
        let disk = MemoryDisk::default();
        let opened = Some(Journal::open(disk.open().unwrap(), &Standby::config()).unwrap());
        let (record, cursors) = (History::default(), Vec::new());
        Standby { disk, opened, record, committed: SeqNo::FIRST, synced: SeqNo::FIRST, epoch: 1, cursors }
    }

    fn config() -> JournalConfig {
        JournalConfig { retain_bytes: Some(3 * SEGMENT_BYTES as u64), ..config() }
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("it runs")
    }

    fn step(&mut self, nth: u8, op: &Op) {
        let epoch = self.epoch;
        match op {
            Op::Append(len) => {
                let payload = vec![nth ^ 0x55; *len];
                let chain = self.opened().journal.chain();
                let frame = chain.clone().extend(epoch, *len as u16 % 5, &payload);
                if self.try_to(|opened| opened.journal.append(&frame) != Err(AppendError::NotReady)) {
                    self.record.frames.push(frame);
                }
            }
            Op::Publish => assert_eq!(self.opened().journal.publish(), self.record.next()),
            Op::Commit(index) => {
                let room = self.opened().reader.next().since(self.committed);
                self.committed = self.committed.saturating_add(index.index(room as usize + 1) as u64);
                let committed = self.committed;
                self.opened().mark.published().advance(committed);
            }
            Op::Cut(index) => {
                let room = self.record.next().since(self.committed);
                let to = self.committed.saturating_add(index.index(room as usize + 1) as u64);
                if self.try_to(|opened| opened.journal.cut_back(to) != Err(CutError::NotReady)) {
                    self.record.frames.truncate(to.value() as usize - 1);
                    self.synced = self.synced.min(to);
                    self.epoch += 1;
                }
                assert!(self.synced <= self.record.next());
            }
            Op::Read(index) => self.read(index),
            Op::Sync => self.synced = self.opened().syncer.poll().unwrap(),
            Op::Prepare => drop(self.opened().preparer.poll(SeqNo::FIRST, SeqNo::MAX)),
            Op::Retain => {
                let keep_from = self.cursors.iter().map(Cursor::seq).fold(self.committed, SeqNo::min);
                drop(self.opened().preparer.poll(keep_from, SeqNo::MAX));
            }
            Op::Refuse(times) => self.disk.inject(Faults { creates_refused: *times, ..Faults::default() }),
            Op::Kill => self.kill(),
            Op::LosePower(seed, share, mark) => self.lose_power(*seed, *share, *mark),
            Op::Close => self.close(),
        }
        let synced = self.synced;
        assert!(self.opened().journal.synced() >= synced && self.opened().reader.synced() >= synced);
        assert!(self.opened().journal.synced() <= self.record.next());
    }

    /// Tries, and once more when a segment was prepared.
    fn try_to(&mut self, mut attempt: impl FnMut(&mut Opened) -> bool) -> bool {
        attempt(self.opened())
            || self.opened().preparer.poll(SeqNo::FIRST, SeqNo::MAX).is_ok() && attempt(self.opened())
    }

    /// Readers read what is committed, and another one comes.
    fn read(&mut self, index: &prop::sample::Index) {
        let (committed, oldest) = (self.committed, self.opened().reader.oldest());
        for cursor in &mut self.cursors {
            while cursor.seq() < committed {
                let at = cursor.seq().value() as usize - 1;
                assert_eq!(cursor.next_frame().unwrap().unwrap().bytes(), self.record.frames[at]);
            }
        }
        let from = oldest.saturating_add(index.index(committed.since(oldest) as usize + 1) as u64);
        let reader = &self.opened().reader;
        let cursor = reader.cursor_at(from).unwrap();
        let chain = reader.chain_at(from).unwrap().unwrap();
        assert_eq!(reader.position_at(from), Some((chain.epoch(), chain.crc())));
        assert_eq!(chain, self.record.chain_at(from));
        self.cursors.push(cursor);
    }

    fn stop(&mut self) {
        self.cursors.clear();
        self.opened = None;
        self.disk.inject(Faults::default());
    }

    fn open(&self) -> Result<Opened, JournalError> {
        Journal::open(self.disk.open()?, &Standby::config())
    }

    /// A kill takes nothing.
    fn kill(&mut self) {
        self.stop();
        check_tools(&self.disk, &self.record);
        let opened = self.open().unwrap();
        assert_eq!((opened.recovered.unproven, opened.recovered.cut_again), (None, None));
        assert_eq!(opened.recovered.published, self.committed);
        check(&opened, &self.record);
        self.opened = Some(opened);
    }

    /// Nor does a loss of power of a journal that was closed.
    fn close(&mut self) {
        let Opened { journal, mut syncer, mut mark, .. } = self.opened.take().expect("it runs");
        close(journal, &mut syncer, &mut mark).unwrap();
        drop((syncer, mark));
        self.stop();
        self.disk.lose_power(|_, _| false);
        self.synced = self.record.next();
        self.kill();
    }

    /// A loss of power takes anything that was not synced. What is left goes on as a standby does: it is compared with
    /// the record of the primary, cut where it differs, and fetches what it lacks.
    fn lose_power(&mut self, seed: u64, share: u64, mark: bool) {
        self.stop();
        self.disk.lose_power(|segment, sector| match segment {
            MARK => mark,
            _ => {
                let mixed = (seed ^ (segment << 32 | sector as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                (mixed >> 33) % 4 < share
            }
        });
        self.record.frames.truncate(self.committed.value() as usize - 1);
        let mut verified = verify(&self.disk);
        // The first opening may be killed at its work, or lose the power again.
        let removals = Arc::new(AtomicU32::new((seed >> 8) as u32 % 3));
        let store = HookedStore(self.disk.open().unwrap(), Hook::default(), Arc::clone(&removals));
        let mut opened = Journal::open(store, &Standby::config()).unwrap_or_else(|_| {
            if seed & 1 == 1 {
                self.disk.lose_power(|_, _| false);
            }
            verified = verify(&self.disk);
            self.open().unwrap_or_else(|error| panic!("{error}"))
        });
        removals.store(u32::MAX, Ordering::Relaxed);
        let oldest = opened.reader.oldest();
        // Whatever retention removed: what is left is joined to the record.
        assert!(oldest <= self.committed, "{oldest} is the oldest");
        let joint = self.record.chain_at(oldest);
        assert_eq!(opened.reader.position_at(oldest), Some((joint.epoch(), joint.crc())));
        let Recovered { chain, published, unproven, cut_again, cut: torn, .. } = opened.recovered.clone();
        match verified {
            Ok(verified) => assert_eq!((verified.lost_cut, &verified.chain), (cut_again, &chain)),
            // Whoever only looks does not give up what lies behind a hole.
            Err(error) => assert!(torn.is_some(), "opened all the same, and nothing was cut: {error}"),
        }
        assert!(chain.next() >= self.synced.min(self.committed), "what was synced is there");
        assert_ne!(unproven, None);
        assert!(published <= self.committed);
        let recovered = read_all(&opened.reader);
        let known = recovered.iter().zip(&self.record.frames[oldest.value() as usize - 1..]);
        let same = oldest.saturating_add(known.take_while(|(ours, theirs)| ours == theirs).count() as u64);
        let sure = published.max(self.synced).min(chain.next()).min(self.committed);
        assert!(same >= sure, "differs at {same}, was published or synced to {sure}");
        cut(&mut opened, same);
        for frame in &self.record.frames[same.value() as usize - 1..] {
            append(&mut opened, frame);
        }
        opened.journal.publish();
        opened.mark.published().advance(self.committed);
        // The mark may have forgotten what was synced.
        self.synced = opened.journal.synced().min(self.synced);
        check(&opened, &self.record);
        self.opened = Some(opened);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_standby_never_takes_back_what_is_committed(ops in ops()) {
        let mut standby = Standby::new();
        for (nth, op) in ops.iter().enumerate() {
            standby.step(nth as u8, op);
        }
        standby.opened().journal.publish();
        let Standby { opened, record, .. } = &standby;
        check(opened.as_ref().expect("it runs"), record);
        standby.kill();
    }
}
