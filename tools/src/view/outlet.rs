//! Where what is shown goes.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, OnceLock};

/// Written out once it holds so much.
const BUFFER_BYTES: usize = 64 << 10;

/// A buffer in front of a writer. After a failure everything put into it is dropped, so that the feed goes on until
/// whoever watches the [`OutletStatus`] stops it.
pub struct Outlet {
    writer: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    status: OutletStatus,
}

/// How the writer of an outlet does, seen from any thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OutletStatus(Arc<OnceLock<io::Error>>);

impl OutletStatus {
    /// Why nothing is written any more.
    pub fn failure(&self) -> Option<&io::Error> {
        self.0.get()
    }

    /// Whether whoever read it is gone: no fault, and no reason to go on.
    pub fn is_hung_up(&self) -> bool {
        self.failure().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    }
}

impl Outlet {
    /// Writes to `writer`.
    pub fn new(writer: impl Write + Send + 'static) -> Outlet {
        let buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        Outlet { writer: Box::new(writer), buffer, status: OutletStatus::default() }
    }

    /// Writes to standard output.
    pub fn stdout() -> Outlet {
        Outlet::new(io::stdout())
    }

    /// Writes to standard error.
    pub fn stderr() -> Outlet {
        Outlet::new(io::stderr())
    }

    /// Where to see how it does, once it is given away.
    pub fn status(&self) -> OutletStatus {
        self.status.clone()
    }

    /// Adds what `fill` writes.
    pub(crate) fn put(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        if self.status.failure().is_some() {
            return;
        }
        let outcome = fill(&mut self.buffer);
        self.note(outcome);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Writes out what is there.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() || self.status.failure().is_some() {
            return;
        }
        let outcome = self.writer.write_all(&self.buffer).and_then(|()| self.writer.flush());
        self.buffer.clear();
        self.note(outcome);
    }

    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            // The first failure is the one that counts.
            let _ = self.status.0.set(error);
        }
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outlet { buffer, status, .. } = self;
        f.debug_struct("Outlet").field("buffered_bytes", &buffer.len()).field("status", status).finish()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::sync::Mutex;

    use super::*;

    /// Memory that an outlet writes to and a test reads.
    #[derive(Clone, Debug, Default)]
    pub(in super::super) struct Page {
        text: Arc<Mutex<Vec<u8>>>,
        /// Refuses with this from the first byte on.
        refusal: Option<ErrorKind>,
    }

    impl Page {
        pub(in super::super) fn refusing(refusal: ErrorKind) -> Page {
            Page { refusal: Some(refusal), ..Page::default() }
        }

        pub(in super::super) fn bytes(&self) -> Vec<u8> {
            self.text.lock().unwrap().clone()
        }

        pub(in super::super) fn text(&self) -> String {
            String::from_utf8(self.bytes()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.refusal {
                Some(refusal) => Err(refusal.into()),
                None => self.text.lock().unwrap().write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Page;
    use super::*;

    #[test]
    fn it_is_written_when_full_and_when_flushed() {
        let page = Page::default();
        let mut outlet = Outlet::new(page.clone());
        outlet.put(|out| out.write_all(b"one\n"));
        assert_eq!(page.text(), "", "kept back");
        outlet.flush();
        assert_eq!(page.text(), "one\n");
        let lines = BUFFER_BYTES / 4;
        (0..lines).for_each(|_| outlet.put(|out| out.write_all(b"two\n")));
        assert_eq!(page.bytes().len(), 4 + 4 * lines, "full");
        assert!(outlet.status().failure().is_none());
    }

    #[test]
    fn a_failure_is_told_once_and_the_rest_is_dropped() {
        for (kind, hung_up) in [(ErrorKind::BrokenPipe, true), (ErrorKind::StorageFull, false)] {
            let mut outlet = Outlet::new(Page::refusing(kind));
            let status = outlet.status();
            outlet.put(|out| out.write_all(b"one\n"));
            assert!(status.failure().is_none());
            outlet.flush();
            assert_eq!(status.failure().unwrap().kind(), kind);
            assert_eq!(status.is_hung_up(), hung_up);
            (0..BUFFER_BYTES).for_each(|_| outlet.put(|out| out.write_all(b"lost\n")));
            assert!(outlet.buffer.is_empty(), "nothing piles up");
        }
    }
}
