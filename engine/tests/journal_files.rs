//! The journal over files: processes that are killed, directories that are taken, disks that are full, bytes that are
//! bad.
#![allow(clippy::print_stdout)] // A test that cannot run here says so.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use seqcast_engine::frame::{self, Chain};
use seqcast_engine::io::store::{FileReadStore, FileStore, aside_path};
use seqcast_engine::journal::segment::{HEADER_BYTES, SegmentHeader};
use seqcast_engine::journal::{
    AppendError, CutError, Follower, Journal, JournalConfig, JournalError, MIN_SEGMENT_BYTES, Opened, verify,
};
use seqcast_engine::mem::store::{Store, StoreError};
use seqcast_engine::sequencer::{Admit, Sequencer, SourceId};
use seqcast_wire::{SeqNo, Session};
use zerocopy::IntoBytes;

const DIR: &str = "SEQCAST_TEST_JOURNAL";
const SOURCE: SourceId = SourceId(2);

fn session(name: &str) -> Session {
    name.parse().unwrap()
}

fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: MIN_SEGMENT_BYTES, ..JournalConfig::new(session("FILES"), 4711) }
}

fn open(dir: &Path) -> Result<Opened, JournalError> {
    Journal::open(FileStore::open(dir)?, &config())
}

/// A primary on its own over a chain: makes frames as the real one does.
struct Primary {
    sequencer: Sequencer,
    next: SeqNo,
}

impl Primary {
    fn new(chain: Chain, published: SeqNo) -> Primary {
        let mut sequencer = Sequencer::new(chain, 1, published).unwrap();
        let next = sequencer.open_source(SOURCE, session("PUB")).unwrap();
        Primary { sequencer, next }
    }

    fn frame(&mut self, payload: &[u8]) -> Vec<u8> {
        let admit = self.sequencer.admit(0, SOURCE, session("PUB"), self.next, payload.len());
        let Admit::Frame(header) = admit else { panic!("{admit:?}") };
        self.next = self.next.next();
        let mut slot = vec![0; frame::framed_bytes(payload.len())];
        frame::seal(&mut slot, self.sequencer.seal(header, payload), payload);
        slot
    }
}

fn append(opened: &mut Opened, frame: &[u8]) {
    if opened.journal.append(frame) == Err(AppendError::NotReady) {
        opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
        opened.journal.append(frame).unwrap();
    }
}

/// The payload of message `nth`: told from every other, of varying length.
fn payload(nth: u64) -> Vec<u8> {
    let mut bytes = nth.to_le_bytes().to_vec();
    bytes.resize(8 + (nth * 131 % 700) as usize, nth as u8);
    bytes
}

fn fill(dir: &Path, count: u64) -> Opened {
    let mut opened = open(dir).unwrap();
    let mut primary = Primary::new(opened.recovered.chain.clone(), SeqNo::FIRST);
    for nth in 1..=count {
        append(&mut opened, &primary.frame(&payload(nth)));
    }
    opened.journal.publish();
    opened
}

fn check(opened: &Opened) {
    let mut cursor = opened.reader.cursor_at(opened.reader.oldest()).unwrap();
    let mut nth = opened.reader.oldest().value();
    while let Some(frame) = cursor.next_frame().unwrap() {
        assert_eq!((frame.seq().value(), frame.payload()), (nth, &payload(nth)[..]));
        nth += 1;
    }
    assert_eq!(nth, opened.reader.next().value());
}

fn segment(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:020}.seg"))
}

#[test]
fn reopens_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = fill(dir.path(), 1000);
    assert_eq!(opened.syncer.poll().unwrap(), seq(1001));
    check(&opened);
    let chain = opened.journal.chain().clone();
    drop(opened);
    let opened = open(dir.path()).unwrap();
    assert_eq!(opened.recovered.chain, chain);
    assert_eq!((opened.recovered.cut, opened.recovered.unproven), (None, None));
    check(&opened);
}

#[test]
fn the_next_segment_stays_prepared_and_is_reused_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = fill(dir.path(), 10);
    assert!(opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap());
    let prepared = fs::metadata(segment(dir.path(), 1)).unwrap();
    assert_eq!(prepared.len(), MIN_SEGMENT_BYTES as u64);
    drop(opened);
    let mut opened = open(dir.path()).unwrap();
    assert!(!segment(dir.path(), 1).exists(), "never begun");
    assert!(opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap());
    check(&opened);
}

/// Not a test of its own: the process that [`killed_writers_lose_nothing_they_published`] kills.
#[test]
#[ignore = "a child process of another test"]
fn child_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut opened = open(Path::new(&dir)).unwrap();
    let published = opened.mark.published();
    let mut primary = Primary::new(opened.recovered.chain.clone(), published.next());
    let mut stdout = std::io::stdout();
    loop {
        for _ in 0..7 {
            let nth = primary.next.value();
            append(&mut opened, &primary.frame(&payload(nth)));
            opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
        }
        let next = opened.journal.publish();
        published.advance(next);
        writeln!(stdout, "published {next}").unwrap();
    }
}

fn spawn_writer(dir: &Path) -> Child {
    spawn("child_writer", dir)
}

fn spawn(child: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn killed_writers_lose_nothing_they_published() {
    let dir = tempfile::tempdir().unwrap();
    let mut reached = 1;
    for round in 0..4 {
        let mut child = spawn_writer(dir.path());
        let mut published = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(next) = line.split("published ").nth(1) else { continue };
            published = Some(next.trim().parse::<u64>().unwrap());
            if published >= Some(reached + 700) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let published = published.expect("the writer came to publish");
        let report = verify(&FileReadStore::open(dir.path()).unwrap()).unwrap();
        let opened = open(dir.path()).unwrap();
        assert_eq!(report.chain, opened.recovered.chain);
        assert!(opened.recovered.chain.next().value() >= published, "round {round}");
        assert!(opened.recovered.published.value() >= published);
        assert!(opened.recovered.published <= opened.recovered.chain.next());
        assert_eq!(opened.recovered.unproven, None, "a kill loses nothing");
        check(&opened);
        reached = opened.recovered.chain.next().value();
    }
}

/// Not a test of its own: the standby that [`killed_standbys_keep_what_was_committed`] kills. It appends what is committed
/// and tails that never are, and cuts those back.
#[test]
#[ignore = "a child process of another test"]
fn child_standby() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut opened = open_standby(Path::new(&dir));
    let known = opened.mark.published();
    let mut stdout = std::io::stdout();
    for round in 0_u64.. {
        let committed = extend(&mut opened, round, 1 + round % 7);
        // Known to be committed before it is told, as a primary publishes only what all have acknowledged.
        known.advance(committed);
        writeln!(stdout, "committed {committed} {}", opened.journal.chain().crc()).unwrap();
        let tail = if round % 8 == 7 { 500 } else { round % 3 };
        extend(&mut opened, u64::MAX - round, tail);
        while opened.journal.cut_back(committed) == Err(CutError::NotReady) {
            opened.preparer.poll(committed, SeqNo::MAX).unwrap();
        }
        if round % 5 == 0 {
            opened.syncer.poll().unwrap();
            opened.preparer.poll(committed, SeqNo::MAX).unwrap();
        }
    }
}

fn open_standby(dir: &Path) -> Opened {
    let config = JournalConfig { retain_bytes: Some(12 * MIN_SEGMENT_BYTES as u64), ..config() };
    Journal::open(FileStore::open(dir).unwrap(), &config).unwrap()
}

/// Appends `count` messages, told from all others by `salt`, and publishes them.
fn extend(opened: &mut Opened, salt: u64, count: u64) -> SeqNo {
    let mut primary = Primary::new(opened.journal.chain().clone(), SeqNo::FIRST);
    for _ in 0..count {
        let mut payload = payload(primary.next.value());
        payload.extend(salt.to_le_bytes());
        append(opened, &primary.frame(&payload));
    }
    opened.journal.publish()
}

#[test]
fn killed_standbys_keep_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let mut committed: Vec<(SeqNo, u32)> = Vec::new();
    for round in 1..=4 {
        let mut child = spawn("child_standby", dir.path());
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((next, crc)) = line.split("committed ").nth(1).and_then(|told| told.split_once(' '))
            else {
                continue;
            };
            committed.push((seq(next.parse().unwrap()), crc.parse().unwrap()));
            if committed.len() >= 60 * round {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let report = verify(&FileReadStore::open(dir.path()).unwrap()).unwrap();
        assert!(report.superseded > 0);
        let opened = open_standby(dir.path());
        assert_eq!((&report.chain, report.oldest), (&opened.recovered.chain, opened.recovered.oldest));
        assert_eq!((opened.recovered.unproven, opened.recovered.cut_again), (None, None));
        let (last, _) = *committed.last().unwrap();
        assert!(opened.recovered.published >= last && opened.recovered.chain.next() >= last);
        let there = committed.iter().filter(|(next, _)| *next >= opened.recovered.oldest);
        for &(next, crc) in there {
            let found = opened.reader.position_at(next).map(|(_, crc)| crc);
            assert_eq!(found, Some(crc), "round {round}: what was committed before {next} is another");
        }
        let mut cursor = opened.reader.cursor_at(opened.reader.oldest()).unwrap();
        while cursor.next_frame().unwrap().is_some() {}
        assert_eq!(cursor.seq(), opened.reader.next());
    }
}

#[test]
fn a_tool_follows_another_process() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let mut child = spawn_writer(dir.path());
    let mut follower = Follower::open(FileReadStore::open(dir.path()).unwrap(), None).unwrap();
    // Drained aside, or the writer would stop at a full pipe.
    let stdout = child.stdout.take().unwrap();
    let drain = std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).count());
    let mut nth = 1;
    while nth <= 3000 {
        match follower.next_frame().unwrap() {
            Some(frame) => {
                assert_eq!((frame.seq().value(), frame.payload()), (nth, &payload(nth)[..]));
                nth += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    let report = verify(&FileReadStore::open(dir.path()).unwrap()).unwrap();
    assert!(report.chain.next() > seq(3000));
    let writer = report.writer.expect("it is running");
    assert!(writer.contains(&child.id().to_string()), "{writer}");
    let error = FileStore::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", child.id())) && error.contains("stop it"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    drain.join().unwrap();
    check(&open(dir.path()).unwrap());
}

#[test]
fn two_writers_are_one_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let opened = fill(dir.path(), 3);
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, JournalError::Store(StoreError::Locked { .. })), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(opened);
    check(&open(dir.path()).unwrap());
}

#[test]
fn what_is_set_aside_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = fill(dir.path(), 300);
    opened.syncer.poll().unwrap();
    let (chain, replaced) = (opened.journal.chain().clone(), opened.recovered.incarnation);
    let before = opened.reader.next();
    drop(opened);
    let store = FileStore::open(dir.path()).unwrap();
    let opened = Journal::begin_at(store, &config(), &chain).unwrap();
    assert_eq!((opened.reader.oldest(), opened.reader.next()), (before, before));
    let aside = FileReadStore::open(aside_path(dir.path(), replaced)).unwrap();
    let report = verify(&aside).unwrap();
    assert_eq!((report.oldest, report.chain), (SeqNo::FIRST, chain));
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let error = FileStore::open(&file).err().unwrap().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    let error = FileReadStore::open(dir.path().join("nowhere")).err().unwrap().to_string();
    assert!(error.contains("nowhere") && error.contains("not there"), "{error}");

    let journal = dir.path().join("journal");
    drop(fill(&journal, 3));
    let path = segment(&journal, 0);
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let error = open(&journal).err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("check the disk"), "{error}");
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0);
    fs::set_permissions(&path, permissions).unwrap();
    if File::open(&path).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    let error = open(&journal).err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("may not open"), "{error}");
}

/// A small file system of its own, for as long as it lives.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(bytes: usize) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_back_pressure_and_loses_nothing() {
    let Some(tmpfs) = Tmpfs::mount(3 * MIN_SEGMENT_BYTES + 16_384) else {
        println!("skipped: mounting a small file system takes root");
        return;
    };
    let dir = tmpfs.0.path().join("journal");
    let mut opened = open(&dir).unwrap();
    let mut primary = Primary::new(Chain::new(), SeqNo::FIRST);
    let mut nth = 1;
    let (refused, error) = loop {
        let frame = primary.frame(&payload(nth));
        if opened.journal.append(&frame) == Err(AppendError::NotReady) {
            match opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX) {
                Ok(_) => opened.journal.append(&frame).map(drop).unwrap(),
                Err(error) => break (frame, error.to_string()),
            }
        }
        nth += 1;
    };
    assert!(
        error.contains(".seg") && error.contains("no room for") && error.contains("free some"),
        "{error}"
    );
    assert_eq!(opened.journal.append(&refused), Err(AppendError::NotReady));
    opened.journal.publish();
    assert_eq!(opened.reader.next(), seq(nth));
    check(&opened);
    let left = fs::read_dir(&dir).unwrap().count();
    assert_eq!(left, 3 + 2, "nothing is left of the segment that did not fit");
    // Room comes from retention, and the journal goes on by itself.
    drop(opened);
    let config = JournalConfig { retain_bytes: Some(2 * MIN_SEGMENT_BYTES as u64), ..config() };
    let mut opened = Journal::open(FileStore::open(&dir).unwrap(), &config).unwrap();
    let next = opened.reader.next();
    assert_eq!(opened.journal.append(&refused), Err(AppendError::NotReady));
    opened.preparer.poll(next, SeqNo::MAX).unwrap();
    opened.journal.append(&refused).unwrap();
    opened.journal.publish();
    check(&opened);
}

#[test]
fn a_disk_too_full_to_begin_says_so() {
    let Some(tmpfs) = Tmpfs::mount(32_768) else {
        println!("skipped: mounting a small file system takes root");
        return;
    };
    let error = open(tmpfs.0.path()).err().unwrap();
    assert!(matches!(error, JournalError::Store(StoreError::Full { .. })), "{error}");
}

#[test]
fn a_torn_end_is_cut_and_zeroed() {
    let dir = tempfile::tempdir().unwrap();
    drop(fill(dir.path(), 5));
    fs::remove_file(dir.path().join("mark")).unwrap();
    let path = segment(dir.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let frames: usize = (1..=5).map(|nth| frame::framed_bytes(payload(nth).len())).sum();
    let end = HEADER_BYTES + frames;
    assert!(bytes[end..].iter().all(|&byte| byte == 0));
    let last = end - frame::framed_bytes(payload(5).len());
    for cut in (last + 1..end).step_by(31).chain([end - 1]) {
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        let ended = torn[..end] == bytes[..end]; // Padding is zero anyway.
        fs::write(&path, &torn).unwrap();
        let opened = open(dir.path()).unwrap();
        assert_eq!(opened.recovered.chain.next(), seq(if ended { 6 } else { 5 }));
        assert_eq!(opened.recovered.cut.is_some(), !ended);
        drop(opened);
        fs::remove_file(dir.path().join("mark")).unwrap();
        let zeroed = fs::read(&path).unwrap();
        assert!(ended || zeroed[last..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_file_cut_short_is_recovered_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(fill(dir.path(), 300));
    fs::remove_file(dir.path().join("mark")).unwrap();
    let path = segment(dir.path(), 0);
    File::options().write(true).open(&path).unwrap().set_len(50_000).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, JournalError::BadFrame { .. }), "{error}");
    for later in 1..9 {
        let _ = fs::remove_file(segment(dir.path(), later));
    }
    let opened = open(dir.path()).unwrap();
    assert!(opened.recovered.chain.next() > seq(60));
    assert!(opened.recovered.cut.is_some());
    check(&opened);
}

#[test]
fn a_store_creates_exclusively_and_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    drop(store.create(0, MIN_SEGMENT_BYTES).unwrap());
    let error = store.create(0, MIN_SEGMENT_BYTES).err().unwrap();
    assert!(error.to_string().contains("cannot create"), "{error}");
    File::options().write(true).open(segment(dir.path(), 0)).unwrap().write_all_at(&[7; 9000], 0).unwrap();
    store.cut(0, 100).unwrap();
    let memory = store.open(0).unwrap();
    assert_eq!(memory.bytes()[98..102], [7, 7, 0, 0]);
    assert!(memory.bytes()[100..].iter().all(|&byte| byte == 0));
    assert!(matches!(store.sync(1, 0..1), Err(StoreError::Absent { .. })));
    fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
    fs::write(dir.path().join("7.seg"), "not ours").unwrap();
    assert_eq!(store.list().unwrap().len(), 1, "other files are left alone");
}

/// What opening each case of the corpus has to say: the number that comes next and whether an end was cut, or words of
/// the error.
enum Verdict {
    Whole(u64),
    Cut(u64),
    Refused(&'static [&'static str]),
}

const CORPUS: &[(&str, Verdict)] = &[
    ("whole", Verdict::Whole(4)),
    ("torn-payload", Verdict::Cut(3)),
    ("torn-header", Verdict::Cut(3)),
    ("zeroed-last", Verdict::Whole(3)),
    ("garbage-behind", Verdict::Cut(4)),
    ("empty-file", Verdict::Whole(1)),
    ("torn-segment-header", Verdict::Cut(1)),
    ("flipped-first", Verdict::Refused(&["frame 1 ", "CRC-32C", "byte 2048", "valid frames follow"])),
    ("zeroed-middle", Verdict::Refused(&["frame 2 ", "no frame", "valid frames follow"])),
    ("wild-length", Verdict::Refused(&["frame 2 ", "length", "valid frames follow"])),
    ("bad-segment-header", Verdict::Refused(&["header is damaged", "CRC-32C"])),
    ("no-segment", Verdict::Refused(&["header is damaged", "no journal segment"])),
    ("newer-version", Verdict::Refused(&["version 2", "use the release"])),
    ("other-session", Verdict::Refused(&["OTHER", "FILES"])),
    ("misplaced", Verdict::Refused(&["another segment"])),
    ("skipped-number", Verdict::Refused(&["frame 3 ", "sequence number 4"])),
    ("forked", Verdict::Refused(&["frame 2 ", "follows a frame with"])),
    ("old-epoch", Verdict::Refused(&["frame 2 ", "epoch 0 after epoch 1"])),
    ("after-the-end", Verdict::Refused(&["after the end"])),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/journal")
}

/// Each case is a segment 0 that this version, or a disk, once wrote.
#[test]
fn the_corpus_of_bad_segments() {
    for (case, verdict) in CORPUS {
        let dir = tempfile::tempdir().unwrap();
        let file = corpus().join(format!("{case}.seg"));
        fs::copy(&file, segment(dir.path(), 0)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let verified = verify(&FileReadStore::open(dir.path()).unwrap());
        let opened = open(dir.path());
        match (verdict, opened) {
            (Verdict::Whole(next) | Verdict::Cut(next), Ok(opened)) => {
                assert_eq!(opened.recovered.chain.next(), seq(*next), "{case}");
                assert_eq!(opened.recovered.cut.is_some(), matches!(verdict, Verdict::Cut(_)), "{case}");
                assert_eq!(verified.unwrap().cut, opened.recovered.cut, "{case}");
            }
            (Verdict::Refused(words), Err(error)) => {
                let message = error.to_string();
                let place = segment(dir.path(), 0).display().to_string();
                assert!(message.starts_with(&place), "{case}: {message}");
                for word in *words {
                    assert!(message.contains(word), "{case}: {message:?} does not say {word:?}");
                }
                if *case != "other-session" {
                    assert_eq!(verified.unwrap_err().to_string(), message, "{case}");
                }
                let kept = fs::read(segment(dir.path(), 0)).unwrap();
                assert_eq!(kept, fs::read(&file).unwrap(), "{case}: evidence is left alone");
            }
            (_, outcome) => panic!("{case}: {:?}", outcome.map(|opened| opened.recovered)),
        }
    }
}

/// Writes the corpus. Run it by hand when a case is added: the files are the test, not this.
#[test]
#[ignore = "writes tests/corpus/journal"]
fn write_the_corpus() {
    let mut primary = Primary::new(Chain::new(), SeqNo::FIRST);
    let frames: Vec<Vec<u8>> = [&b"first"[..], b"second, longer", b"third"].map(|p| primary.frame(p)).into();
    let header = |name: &str, index| SegmentHeader {
        session: session(name),
        index,
        segment_bytes: MIN_SEGMENT_BYTES as u64,
        incarnation: 4711,
        chain: Chain::new(),
        cut_from: None,
    };
    let resealed = |nth: usize, change: &dyn Fn(&mut frame::Header)| {
        let whole = frame::Frame::parse(&frames[nth]).unwrap();
        let mut bytes = frames[nth].clone();
        let mut changed = *whole.header();
        change(&mut changed);
        frame::seal(&mut bytes, changed, whole.payload());
        bytes
    };
    let head = header("FILES", 0).encode().to_vec();
    let of = |frames: &[Vec<u8>]| [head.clone(), frames.concat()].concat();
    let whole = of(&frames);
    let second = HEADER_BYTES + frames[0].len();
    let third = second + frames[1].len();
    let patched = |at: usize, bytes: &[u8]| {
        let mut patched = whole.clone();
        patched[at..at + bytes.len()].copy_from_slice(bytes);
        patched
    };
    let mut newer = whole.clone();
    newer[12] = 2;
    let crc = crc32c::crc32c(&newer[12..HEADER_BYTES]);
    newer[8..12].copy_from_slice(&crc.to_le_bytes());
    let end = primary.sequencer.end_session(0).unwrap();
    let mut beyond = [0; frame::HEADER_BYTES];
    frame::seal(&mut beyond, frame::Header { previous_crc: end.crc, ..end }, &[]);
    let end = end.as_bytes();
    let bare = |name: &str, index| [header(name, index).encode().to_vec(), frames.concat()].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("whole", whole.clone()),
        ("torn-payload", whole[..third + 66].to_vec()),
        ("torn-header", whole[..third + 40].to_vec()),
        ("zeroed-last", patched(third, &[0; 72])),
        ("garbage-behind", [whole.clone(), vec![0; 64], b"garbage ".repeat(20)].concat()),
        ("empty-file", Vec::new()),
        ("torn-segment-header", head[..512].to_vec()),
        ("flipped-first", patched(HEADER_BYTES + 64, b"F")),
        ("zeroed-middle", patched(second, &[0; 80])),
        ("wild-length", patched(second, &u32::MAX.to_le_bytes())),
        ("bad-segment-header", patched(70, b"x")),
        ("no-segment", b"this is no journal\n".repeat(200)),
        ("newer-version", newer),
        ("other-session", bare("OTHER", 0)),
        ("misplaced", bare("FILES", 7)),
        ("skipped-number", of(&[frames[0].clone(), frames[1].clone(), resealed(2, &|h| h.seq = 4.into())])),
        ("forked", of(&[frames[0].clone(), resealed(1, &|h| h.previous_crc = 1.into()), frames[2].clone()])),
        ("old-epoch", of(&[frames[0].clone(), resealed(1, &|h| h.epoch = 0.into())])),
        ("after-the-end", of(&[frames.concat(), end.to_vec(), beyond.to_vec()])),
    ];
    fs::create_dir_all(corpus()).unwrap();
    for (case, bytes) in cases {
        fs::write(corpus().join(format!("{case}.seg")), bytes).unwrap();
    }
}
