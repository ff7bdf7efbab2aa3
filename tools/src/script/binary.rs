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

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;
    use seqcast_wire::dump::Records;

    use super::*;

    /// Gives `bytes` in pieces of `step`, then fails if told to.
    struct Trickle {
        bytes: Vec<u8>,
        at: usize,
        step: usize,
        fails: bool,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let left = &self.bytes[self.at..];
            if left.is_empty() && self.fails {
                return Err(io::Error::other("the disk is gone"));
            }
            let take = self.step.min(buffer.len()).min(left.len());
            buffer[..take].copy_from_slice(&left[..take]);
            self.at += take;
            Ok(take)
        }
    }

    fn recorded(bytes: &[u8], step: usize, buffer_bytes: usize, fails: bool) -> Recorded<Trickle> {
        let input = Trickle { bytes: bytes.to_vec(), at: 0, step, fails };
        Recorded::of("x".as_ref(), BinaryFile::new("x".as_ref(), input, buffer_bytes))
    }

    fn read(mut source: Recorded<Trickle>) -> (Vec<Vec<u8>>, Option<String>) {
        let mut messages = Vec::new();
        let failure = loop {
            match source.advance() {
                Ok(true) => messages.push(source.current().bytes.to_vec()),
                Ok(false) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        assert!(matches!(source.advance(), Ok(false)), "nothing follows the end");
        assert_eq!(source.current().bytes, b"");
        (messages, failure)
    }

    #[test]
    fn an_end_mark_ends_it() {
        let (messages, failure) = read(recorded(b"\0\x01a\0\x02bc\0\0", 3, 64, false));
        assert_eq!((messages, failure), (vec![b"a".to_vec(), b"bc".to_vec()], None));
    }

    #[test]
    fn a_file_that_is_cut_off_gives_what_is_whole_and_says_where() {
        let (messages, failure) = read(recorded(b"\0\x01a\0\x05bc", 64, 64, false));
        assert_eq!(messages, [b"a"]);
        let failure = failure.unwrap();
        assert!(failure.contains("x ends within a message, at byte 3"), "{failure}");
    }

    #[test]
    fn a_disk_that_fails_is_told() {
        let (messages, failure) = read(recorded(b"\0\x01a\0\x01b", 3, 64, true));
        assert_eq!(messages, [b"a", b"b"]);
        assert_eq!(failure.unwrap(), "cannot read x: the disk is gone");
    }

    #[test]
    fn stamps_are_those_of_itch() {
        let mut source = recorded(b"\0\x0CS\0\0\0\0\0\0\0\0\x01\x02O\0\x01S", 64, 64, false);
        assert!(source.advance().unwrap());
        assert_eq!(source.current().stamp_ns, Some(0x102));
        assert!(source.advance().unwrap());
        assert_eq!(source.current().stamp_ns, None, "too short to have one");
    }

    proptest! {
        /// Whatever the pieces, the messages are those of the wire's own iterator over all of the bytes.
        #[test]
        fn pieces_do_not_matter(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..30),
            step in 1usize..70,
            cut in 0usize..30,
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                bytes.extend((message.len() as u16).to_be_bytes());
                bytes.extend(message);
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let whole: Vec<Vec<u8>> = Records::new(&bytes).flatten().map(<[u8]>::to_vec).collect();
            let torn = Records::new(&bytes).any(|record| record.is_err());
            let (read, failure) = read(recorded(&bytes, step, 64, false));
            prop_assert_eq!((read, failure.is_some()), (whole, torn));
        }
    }
}
