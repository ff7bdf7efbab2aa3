//! The journal: appending, reading in place, opening (scanning).
//!
//! Frames are sealed beforehand; what is measured is the journal's own work, the copy included. `file` is the file store
//! in the temporary directory (set `TMPDIR` to choose the disk), `memory` the store without files.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seqcast_engine::frame;
use seqcast_engine::io::store::{FileReadStore, FileStore};
use seqcast_engine::journal::{Journal, JournalConfig, Opened, verify};
use seqcast_engine::mem::store::MemoryDisk;
use seqcast_engine::sequencer::{Admit, Sequencer, SourceId};
use seqcast_wire::{SeqNo, Session};

const SEGMENT_BYTES: usize = 64 << 20;
/// Messages appended before the watermark is published, as an agent does once a duty cycle.
const BATCH: usize = 32;

fn session() -> Session {
    "BENCH".parse().expect("a session")
}

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: SEGMENT_BYTES, ..JournalConfig::new(session(), 1) }
}

fn sequencer() -> Sequencer {
    let mut sequencer = Sequencer::new(frame::Chain::new(), 1, SeqNo::FIRST).expect("a new session");
    sequencer.open_source(SourceId(0), session()).expect("a new source");
    sequencer
}

/// As many frames with payloads of `len` bytes as fill most of a segment, back to back.
fn frames(len: usize) -> Vec<u8> {
    let framed = frame::framed_bytes(len);
    let count = SEGMENT_BYTES * 9 / 10 / framed;
    let mut sequencer = sequencer();
    let mut bytes = vec![0; count * framed];
    for (nth, slot) in bytes.chunks_exact_mut(framed).enumerate() {
        number(&mut sequencer, nth as u64 + 1, &vec![nth as u8; len], slot);
    }
    bytes
}

fn number(sequencer: &mut Sequencer, source_seq: u64, payload: &[u8], slot: &mut [u8]) {
    let source_seq = SeqNo::new(source_seq).expect("not 0");
    match sequencer.admit(1, SourceId(0), session(), source_seq, payload.len()) {
        Admit::Frame(header) => {
            frame::seal(slot, sequencer.seal(header, payload), payload);
        }
        other => panic!("{other:?}"),
    }
}

/// Appends all frames and gives the time that took. The preparer runs in between and is not counted: it has a thread of
/// its own.
fn append_all(opened: &mut Opened, frames: &[u8], framed: usize) -> Duration {
    let mut took = Duration::ZERO;
    for stretch in frames.chunks((1 << 20) / framed * framed) {
        opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).expect("room on the disk");
        let start = Instant::now();
        for batch in stretch.chunks(BATCH * framed) {
            for frame in batch.chunks_exact(framed) {
                opened.journal.append(frame).expect("it fits the segment");
            }
            opened.journal.publish();
        }
        took += start.elapsed();
    }
    took
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal/append");
    group.sample_size(10).warm_up_time(Duration::from_millis(1));
    for len in [64, 100, 1400] {
        let framed = frame::framed_bytes(len);
        let frames = frames(len);
        let count = (frames.len() / framed) as u64;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("memory", len), |b| {
            b.iter_custom(|iters| {
                let opened = Journal::open(MemoryDisk::default().open().expect("free"), &config());
                let mut opened = opened.expect("a new journal");
                scaled(append_all(&mut opened, &frames, framed), count, iters)
            });
        });
        group.bench_function(BenchmarkId::new("file", len), |b| {
            b.iter_custom(|iters| {
                let dir = tempfile::tempdir().expect("a temporary directory");
                let opened = Journal::open(FileStore::open(dir.path()).expect("free"), &config());
                let mut opened = opened.expect("a new journal");
                scaled(append_all(&mut opened, &frames, framed), count, iters)
            });
        });
    }
    group.finish();
}

/// A run is always a whole segment; criterion asks for any number of iterations.
fn scaled(took: Duration, count: u64, iters: u64) -> Duration {
    Duration::from_nanos((took.as_nanos() as u64 as f64 * iters as f64 / count as f64) as u64)
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal/read");
    group.sample_size(10);
    for len in [64, 1400] {
        let framed = frame::framed_bytes(len);
        let frames = frames(len);
        let opened = Journal::open(MemoryDisk::default().open().expect("free"), &config());
        let mut opened = opened.expect("a new journal");
        append_all(&mut opened, &frames, framed);
        let mut cursor = opened.reader.cursor_at(SeqNo::FIRST).expect("the first");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("next", len), |b| {
            b.iter(|| {
                if !matches!(cursor.next_frame(), Ok(Some(_))) {
                    cursor = opened.reader.cursor_at(SeqNo::FIRST).expect("the first");
                }
            });
        });
        let count = (frames.len() / framed) as u64;
        let mut at = 1;
        group.bench_function(BenchmarkId::new("cursor_at", len), |b| {
            b.iter(|| {
                at = at * 48_271 % 2_147_483_647;
                black_box(opened.reader.cursor_at(SeqNo::FIRST.saturating_add(at % count)));
            });
        });
    }
    group.finish();
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal/scan");
    group.sample_size(10);
    for len in [64, 1400] {
        let framed = frame::framed_bytes(len);
        let frames = frames(len);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let opened = Journal::open(FileStore::open(dir.path()).expect("free"), &config());
        append_all(&mut opened.expect("a new journal"), &frames, framed);
        group.throughput(Throughput::Bytes(frames.len() as u64));
        group.bench_function(BenchmarkId::new("open", len), |b| {
            b.iter(|| Journal::open(FileStore::open(dir.path()).expect("free"), &config()).map(drop));
        });
        group.bench_function(BenchmarkId::new("verify", len), |b| {
            b.iter(|| verify(&FileReadStore::open(dir.path()).expect("there")).expect("whole"));
        });
    }
    group.finish();
}

fn sequence(c: &mut Criterion) {
    let mut group = c.benchmark_group("sequencer/admit+seal");
    for len in [64, 1400] {
        let mut sequencer = sequencer();
        let payload = vec![7; len];
        let mut slot = vec![0; frame::framed_bytes(len)];
        let mut source_seq = 0;
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                source_seq += 1;
                number(&mut sequencer, source_seq, black_box(&payload), &mut slot);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append, read, scan, sequence);
criterion_main!(benches);
