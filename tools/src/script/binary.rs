//! A BinaryFILE as a source.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use seqcast_wire::dump::RECORD_HEADER_BYTES;

use super::{Message, Messages, SourceError};
use crate::input::{BinaryFile, itch_time_ns};

/// The messages of a BinaryFILE, such as a day file: to its end, or to its end mark (a message of length 0). A file
/// that ends within a message gives all before it and then an error. Stamps are those of ITCH.
#[derive(Debug)]
pub struct Recorded<R = File> {
    path: PathBuf,
    file: BinaryFile<R>,
    /// Where in the records lent by `file` the current message stands.
    current: Range<usize>,
    ended: bool,
}

impl Recorded {
    /// Opens a file.
    ///
    /// # Errors
    /// [`SourceError::Read`].
    pub fn open(path: &Path) -> Result<Recorded, SourceError> {
        let refused = |cause| SourceError::Read { path: path.into(), cause };
        Ok(Recorded::of(path, BinaryFile::open(path).map_err(refused)?))
    }
}

impl<R: Read> Recorded<R> {
    fn of(path: &Path, file: BinaryFile<R>) -> Recorded<R> {
        Recorded { path: path.into(), file, current: 0..0, ended: false }
    }

    /// Why the file was not read to its end, if its end is not what it should be.
    fn failure(&self) -> Option<SourceError> {
        self.file.damage().map(|damage| SourceError::CutOff { what: damage.into() })
    }
}

impl<R: Read + Send> Messages for Recorded<R> {
    fn advance(&mut self) -> Result<bool, SourceError> {
        if self.ended {
            return Ok(false);
        }
        let mut at = self.current.end;
        if at == self.file.lent().len() {
            let read = self.file.next_records();
            let more = read.map(|records| records.is_some());
            if !matches!(more, Ok(true)) {
                (self.ended, self.current) = (true, 0..0);
                more.map_err(|cause| SourceError::Read { path: self.path.clone(), cause })?;
                return self.failure().map_or(Ok(false), Err);
            }
            at = 0;
        }
        let start = at + RECORD_HEADER_BYTES;
        let length = self.file.lent().get(at..start).and_then(|head| head.first_chunk()).copied();
        self.current = start..start + usize::from(u16::from_be_bytes(length.unwrap_or_default()));
        Ok(true)
    }

    fn current(&self) -> Message<'_> {
        let bytes = self.file.lent().get(self.current.clone()).filter(|_| !self.ended).unwrap_or_default();
        Message { stamp_ns: itch_time_ns(bytes), bytes }
    }
}
