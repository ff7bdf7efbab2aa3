use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use seqcast_wire::dump::{RECORD_HEADER_BYTES, Records};

/// Bytes read at a time; more than the longest record.
const BUFFER_BYTES: usize = 4 << 20;

/// A BinaryFILE, read in large pieces.
#[derive(Debug)]
pub(crate) struct BinaryFile<R = File> {
    path: PathBuf,
    input: R,
    buffer: Vec<u8>,
    /// Lent last, from here; and up to here, behind which records follow up to `filled`.
    lent_from: usize,
    lent: usize,
    filled: usize,
    /// Bytes of the file before the buffer.
    before: u64,
    ended: bool,
    damage: Option<String>,
}

impl BinaryFile {
    pub(crate) fn open(path: &Path) -> io::Result<BinaryFile> {
        Ok(BinaryFile::new(path, File::open(path)?, BUFFER_BYTES))
    }
}

impl<R: Read> BinaryFile<R> {
    pub(crate) fn new(path: &Path, input: R, buffer_bytes: usize) -> BinaryFile<R> {
        BinaryFile {
            path: path.into(),
            input,
            buffer: vec![0; buffer_bytes],
            lent_from: 0,
            lent: 0,
            filled: 0,
            before: 0,
            ended: false,
            damage: None,
        }
    }

    /// The next whole records, at least one; `None` at the end of the file, at its end mark, or where it is cut off.
    pub(crate) fn next_records(&mut self) -> io::Result<Option<Records<'_>>> {
        while !self.ended {
            let from = self.lent;
            let (whole, closed) = whole_records(&self.buffer[from..self.filled]);
            self.lent_from = from;
            if whole > 0 {
                self.lent += whole;
                return Ok(Some(Records::new(&self.buffer[from..from + whole])));
            }
            if closed {
                self.ended = true;
                self.note_rest()?;
            } else if !self.refill()? {
                self.ended = true;
                let rest = self.filled - self.lent;
                if rest > 0 {
                    self.damage = Some(format!(
                        "{} ends within a message, at byte {}; {rest} bytes of it are there",
                        self.path.display(),
                        self.before + self.lent as u64,
                    ));
                }
            }
        }
        Ok(None)
    }

    /// The bytes of the records lent last.
    pub(crate) fn lent(&self) -> &[u8] {
        &self.buffer[self.lent_from..self.lent]
    }

    /// What is wrong with the file's end, once it was reached.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Moves what is left to the front and reads more behind it; `false` at the end of the file.
    fn refill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.lent..self.filled, 0);
        self.before += self.lent as u64;
        self.filled -= self.lent;
        (self.lent_from, self.lent) = (0, 0);
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(read) => {
                    self.filled += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Behind the end mark nothing is read; that there is something is worth a word.
    fn note_rest(&mut self) -> io::Result<()> {
        self.lent += RECORD_HEADER_BYTES;
        let mark = self.before + self.lent as u64;
        if self.lent < self.filled || self.refill()? {
            self.damage = Some(format!(
                "{} goes on behind its end mark (a message of length 0), from byte {mark}; that was not read",
                self.path.display()
            ));
        }
        Ok(())
    }
}

/// Bytes of the whole records at the start of `bytes`, and whether an end mark follows them.
fn whole_records(bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<RECORD_HEADER_BYTES>()) {
        let length = usize::from(u16::from_be_bytes(*length));
        let end = at + RECORD_HEADER_BYTES + length;
        if length == 0 {
            return (at, true);
        }
        if end > bytes.len() {
            break;
        }
        at = end;
    }
    (at, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of `step`.
    struct Trickle<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let take = self.step.min(buffer.len()).min(self.bytes.len());
            let (now, later) = self.bytes.split_at(take);
            buffer[..take].copy_from_slice(now);
            self.bytes = later;
            Ok(take)
        }
    }

    fn read(bytes: &[u8], step: usize, buffer_bytes: usize) -> (Vec<Vec<u8>>, bool) {
        let mut file = BinaryFile::new("x".as_ref(), Trickle { bytes, step }, buffer_bytes);
        let mut messages = Vec::new();
        while let Some(records) = file.next_records().unwrap() {
            messages.extend(records.map(|message| message.unwrap().to_vec()));
        }
        assert!(file.next_records().unwrap().is_none());
        (messages, file.damage().is_some())
    }

    #[test]
    fn an_end_mark_ends_and_the_rest_is_told() {
        assert_eq!(read(b"\0\x01a\0\0", 2, 8), (vec![b"a".to_vec()], false));
        assert_eq!(read(b"\0\x01a\0\0\0\x01b", 8, 8), (vec![b"a".to_vec()], true));
        assert_eq!(read(b"\0\x01a\0\0\0\x01b", 1, 8), (vec![b"a".to_vec()], true));
        assert_eq!(read(b"", 1, 8), (vec![], false));
        assert_eq!(read(b"\0", 1, 8), (vec![], true));
    }

    proptest! {
        /// However the bytes arrive, the messages are those of the wire's own iterator over all of them.
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
            prop_assert_eq!(read(&bytes, step, 64), (whole, torn));
        }
    }
}
