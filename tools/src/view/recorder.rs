//! Writes what comes to a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seqcast_engine::agents::books::Application;
use seqcast_engine::book::Books;
use seqcast_engine::limits::MAX_DATAGRAM_BYTES;
use seqcast_engine::time::Nanos;
use seqcast_wire::{SeqNo, dump};

use super::{Outlet, OutletStatus};

/// Writes every message to a BinaryFILE, and its end mark once the session has ended. Messages that are lost leave no
/// trace in it: see the [`Summary`](super::Summary).
#[derive(Debug)]
pub struct Recorder {
    file: Outlet,
    record: Box<[u8]>,
    ended: bool,
    recording: Recording,
}

/// How a recording goes, seen from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recording {
    status: OutletStatus,
    empty: Arc<AtomicU64>,
}

impl Recording {
    /// Whether the file takes what is written.
    pub fn status(&self) -> &OutletStatus {
        &self.status
    }

    /// Messages of length 0, left out: the format cannot hold them.
    pub fn empty_messages(&self) -> u64 {
        self.empty.load(Ordering::Relaxed)
    }
}

impl Recorder {
    /// Records to a new file; an existing one is replaced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Recorder> {
        Ok(Recorder::new(Outlet::new(File::create(path)?)))
    }

    /// Records to `file`.
    pub fn new(file: Outlet) -> Recorder {
        let recording = Recording { status: file.status(), empty: Arc::default() };
        let record = vec![0; dump::RECORD_HEADER_BYTES + MAX_DATAGRAM_BYTES].into();
        Recorder { file, record, ended: false, recording }
    }

    /// Where to see how it goes, once the recorder is given away.
    pub fn recording(&self) -> Recording {
        self.recording.clone()
    }
}

impl Application for Recorder {
    fn on_message(&mut self, _seq: SeqNo, _received: Nanos, message: &[u8]) {
        self.ended = false;
        let length = dump::emit(&mut self.record, message);
        if length == 0 {
            self.recording.empty.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let record = &self.record[..length];
        self.file.put(|out| out.write_all(record));
    }

    fn on_end(&mut self, _next: SeqNo, _books: &Books) {
        self.ended = true;
    }

    fn on_idle(&mut self, _now: Nanos) {
        self.file.flush();
    }

    fn on_close(&mut self, _books: &Books) {
        // Not earlier: another session may follow, and nothing is read behind the mark.
        if std::mem::take(&mut self.ended) {
            let length = dump::emit_end(&mut self.record);
            let record = &self.record[..length];
            self.file.put(|out| out.write_all(record));
        }
        self.file.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::outlet::testing::Page;
    use super::super::testing::Rig;
    use super::*;

    fn record(page: &Page) -> (Rig<Recorder>, Recording) {
        let recorder = Recorder::new(Outlet::new(page.clone()));
        let recording = recorder.recording();
        (Rig::new(recorder), recording)
    }

    #[test]
    fn messages_are_recorded_up_to_the_end_mark() {
        let page = Page::default();
        let (mut rig, recording) = record(&page);
        rig.message(b"ab");
        rig.message(b"");
        rig.lost(5);
        rig.message(b"c");
        assert_eq!(page.bytes(), b"");
        rig.idle();
        assert_eq!(page.bytes(), b"\0\x02ab\0\x01c");
        rig.end();
        rig.close();
        assert_eq!(page.bytes(), b"\0\x02ab\0\x01c\0\0");
        assert_eq!(recording.empty_messages(), 1);
        assert!(recording.status().failure().is_none());
    }

    #[test]
    fn no_end_mark_where_more_follows_or_none_was_seen() {
        let page = Page::default();
        let (mut rig, _) = record(&page);
        rig.message(b"a");
        rig.end();
        rig.session("S2");
        rig.message(b"b");
        rig.close();
        assert_eq!(page.bytes(), b"\0\x01a\0\x01b");
    }

    #[test]
    fn a_full_disk_is_told() {
        let (mut rig, recording) = record(&Page::refusing(ErrorKind::StorageFull));
        rig.message(b"a");
        rig.idle();
        assert_eq!(recording.status().failure().unwrap().kind(), ErrorKind::StorageFull);
        rig.message(b"b");
        rig.close();
    }

    #[test]
    fn an_existing_file_is_replaced_and_a_directory_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feed");
        std::fs::write(&path, b"something longer than what follows").unwrap();
        let mut rig = Rig::new(Recorder::create(&path).unwrap());
        rig.message(b"a");
        rig.close();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\x01a");
        assert!(Recorder::create(dir.path()).is_err());
    }
}
