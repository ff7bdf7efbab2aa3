//! Traces: what a process saw of each message, and when, in a file that others read while it grows.
//!
//! A file is a row of records of 32 bytes, all numbers little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | kind |
//! | 4 | 4 | epoch, where one is known; else 0 |
//! | 8 | 8 | time: ns since 1970 by the wall clock, which all processes of a machine share |
//! | 16 | 8 | first number |
//! | 24 | 8 | second number |
//!
//! | kind | record | first | second |
//! |---|---|---|---|
//! | 1 | a publisher's message was due | its number there | |
//! | 2 | a publisher was told | everything below is committed | everything below has arrived |
//! | 3 | a subscriber's application saw a message | its number | [hash](hash_of) of its bytes |
//! | 4 | … was told that messages are lost for good | first number | how many |
//! | 5 | … was told of one number with two contents | the number | |
//! | 6 | … saw the session end | the next number | digest of its books |
//! | 7 | … was given a snapshot | the next number | |

mod publisher;
mod subscriber;

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHasher;
use seqcast_engine::runtime::wall_ns;

pub(crate) use publisher::{TracedHost, TracedScript};
pub(crate) use subscriber::Tracer;

use crate::view::{Outlet, OutletStatus};

/// Bytes of a record.
const RECORD_BYTES: usize = 32;

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Due { seq: u64 },
    Acknowledged { epoch: u32, committed: u64, received: u64 },
    Arrived { seq: u64, hash: u64 },
    Lost { first: u64, count: u64 },
    Conflict { seq: u64 },
    Ended { next: u64, digest: u64 },
    Snapshot { next: u64 },
}

/// An event and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at_ns: u64,
    pub(crate) event: Event,
}

/// Tells messages apart: equal for equal bytes.
pub(crate) fn hash_of(message: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(message);
    hasher.write_usize(message.len());
    hasher.finish()
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let (kind, epoch, first, second) = match self.event {
            Event::Due { seq } => (1, 0, seq, 0),
            Event::Acknowledged { epoch, committed, received } => (2, epoch, committed, received),
            Event::Arrived { seq, hash } => (3, 0, seq, hash),
            Event::Lost { first, count } => (4, 0, first, count),
            Event::Conflict { seq } => (5, 0, seq, 0),
            Event::Ended { next, digest } => (6, 0, next, digest),
            Event::Snapshot { next } => (7, 0, next, 0),
        };
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&u32::to_le_bytes(kind));
        bytes[4..8].copy_from_slice(&epoch.to_le_bytes());
        for (at, number) in [(8, self.at_ns), (16, first), (24, second)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Record, String> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let number = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (first, second) = (number(16), number(24));
        let event = match word(0) {
            1 => Event::Due { seq: first },
            2 => Event::Acknowledged { epoch: word(4), committed: first, received: second },
            3 => Event::Arrived { seq: first, hash: second },
            4 => Event::Lost { first, count: second },
            5 => Event::Conflict { seq: first },
            6 => Event::Ended { next: first, digest: second },
            7 => Event::Snapshot { next: first },
            kind => return Err(format!("kind {kind} is none")),
        };
        Ok(Record { at_ns: number(8), event })
    }
}

/// Where a process writes its trace. Cheap to clone; several parts of one thread may share it.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Mutex<Outlet>>);

impl Trace {
    /// A new file; an existing one is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Trace> {
        Ok(Trace(Arc::new(Mutex::new(Outlet::new(File::create(path)?)))))
    }

    /// Whether the file takes what is written.
    pub(crate) fn status(&self) -> OutletStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).status()
    }

    /// Adds what happened now.
    fn put(&self, event: Event) {
        self.put_at(wall_ns(), event);
    }

    fn put_at(&self, at_ns: u64, event: Event) {
        let bytes = Record { at_ns, event }.encode();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(|out| out.write_all(&bytes));
    }

    /// Lets readers see what is there.
    fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

/// Reads a trace that may still grow.
#[derive(Debug)]
pub(crate) struct TraceReader {
    path: PathBuf,
    offset: u64,
}

impl TraceReader {
    /// From the beginning of `path`, which need not be there yet.
    pub(crate) fn new(path: &Path) -> TraceReader {
        TraceReader { path: path.into(), offset: 0 }
    }

    /// All whole records that were added since the last call.
    ///
    /// # Errors
    /// The file cannot be read, or holds what is no trace.
    pub(crate) fn read(&mut self) -> anyhow::Result<Vec<Record>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => anyhow::bail!("{}: {error}", self.path.display()),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
        let found = records.iter().map(Record::decode).collect::<Result<Vec<_>, _>>();
        let place = |why| anyhow::anyhow!("{} is no trace: {why}", self.path.display());
        let found = found.map_err(place)?;
        self.offset += (records.len() * RECORD_BYTES) as u64;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 7] = [
        Event::Due { seq: 1 },
        Event::Acknowledged { epoch: 7, committed: 2, received: u64::MAX },
        Event::Arrived { seq: 3, hash: 0xdead_beef_0bad_cafe },
        Event::Lost { first: 4, count: 5 },
        Event::Conflict { seq: 6 },
        Event::Ended { next: 7, digest: 8 },
        Event::Snapshot { next: 9 },
    ];

    #[test]
    fn records_come_back_as_they_were_written_and_while_the_file_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let mut reader = TraceReader::new(&path);
        assert_eq!(reader.read().unwrap(), [], "not there yet");
        let trace = Trace::create(&path).unwrap();
        let shared = trace.clone();
        trace.put_at(10, EVENTS[0]);
        assert_eq!(reader.read().unwrap(), [], "kept back");
        shared.flush();
        assert_eq!(reader.read().unwrap(), [Record { at_ns: 10, event: EVENTS[0] }]);
        EVENTS.iter().for_each(|&event| trace.put_at(11, event));
        trace.flush();
        let found: Vec<Event> = reader.read().unwrap().iter().map(|record| record.event).collect();
        assert_eq!(found, EVENTS);
        // A record half written is not there yet.
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[1; 7]).unwrap();
        assert_eq!(reader.read().unwrap(), []);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        std::fs::write(&path, [b'x'; 64]).unwrap();
        let error = TraceReader::new(&path).read().unwrap_err().to_string();
        assert!(error.contains("is no trace: kind"), "{error}");
        assert!(TraceReader::new(dir.path()).read().is_err());
    }

    #[test]
    fn hashes_tell_messages_apart() {
        let messages = [&b""[..], b"\0", b"\0\0", b"a", b"ab", b"ba"];
        for (at, a) in messages.iter().enumerate() {
            assert_eq!(hash_of(a), hash_of(a));
            assert!(messages[..at].iter().all(|b| hash_of(a) != hash_of(b)));
        }
    }
}
