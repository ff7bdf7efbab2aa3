//! BinaryFILE: messages in a file, such as the day files that exchanges publish.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | length of the message, big-endian; 0 ends the session |
//! | 2 | … | the message |
//!
//! Records follow one another without gaps, to the end of the file or to the record of length 0.

use crate::Error;

/// Bytes of the length that precedes each message.
pub const RECORD_HEADER_BYTES: usize = 2;

/// Iterator over the messages of a file that stands in memory.
///
/// It yields an error once, for a record that the file's end cuts off, and nothing after it.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    file: &'a [u8],
    offset: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    CutOff,
}

impl<'a> Records<'a> {
    /// The records of `file` from its first byte on.
    pub fn new(file: &'a [u8]) -> Records<'a> {
        Records { file, offset: 0, state: State::Open }
    }

    /// Offset of the first byte that no yielded message and no end mark covers.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Whether a record of length 0 was met: the session was ended on purpose, the file was not merely left off.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Result<&'a [u8], Error>> {
        let rest =
            self.file.get(self.offset..).filter(|rest| self.state == State::Open && !rest.is_empty())?;
        let message = rest
            .split_first_chunk::<RECORD_HEADER_BYTES>()
            .and_then(|(length, rest)| rest.get(..usize::from(u16::from_be_bytes(*length))));
        let Some(message) = message else {
            self.state = State::CutOff;
            return Some(Err(Error::PastEnd { offset: self.offset }));
        };
        self.offset += RECORD_HEADER_BYTES + message.len();
        if message.is_empty() {
            self.state = State::Closed;
            return None;
        }
        Some(Ok(message))
    }
}

impl core::iter::FusedIterator for Records<'_> {}

/// Writes `message` as a record and gives the record's length; 0 when `buffer` is too short, or when a record
/// cannot hold the message: an empty one would end the session, and one above 65,535 bytes has no length.
pub fn emit(buffer: &mut [u8], message: &[u8]) -> usize {
    if message.is_empty() { 0 } else { emit_record(buffer, message) }
}

/// Writes the record that ends a session and gives its length; 0 when `buffer` is too short.
pub fn emit_end(buffer: &mut [u8]) -> usize {
    emit_record(buffer, &[])
}

fn emit_record(buffer: &mut [u8], message: &[u8]) -> usize {
    let Ok(length) = u16::try_from(message.len()) else { return 0 };
    let Some(record) = buffer.get_mut(..RECORD_HEADER_BYTES + message.len()) else { return 0 };
    let (head, body) = record.split_at_mut(RECORD_HEADER_BYTES);
    head.copy_from_slice(&length.to_be_bytes());
    body.copy_from_slice(message);
    record.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_simply_end() {
        let mut records = Records::new(b"\0\x02ab\0\x01c");
        assert_eq!(records.next(), Some(Ok(&b"ab"[..])));
        assert_eq!(records.offset(), 4);
        assert_eq!(records.next(), Some(Ok(&b"c"[..])));
        assert_eq!(records.next(), None);
        assert_eq!((records.offset(), records.is_closed()), (7, false));
        assert_eq!(Records::new(b"").next(), None);
    }

    #[test]
    fn a_record_of_length_zero_ends_the_session() {
        let mut records = Records::new(b"\0\x01a\0\0\0\x01b");
        assert_eq!(records.next(), Some(Ok(&b"a"[..])));
        assert!(!records.is_closed());
        assert_eq!(records.next(), None);
        assert_eq!(
            (records.offset(), records.is_closed()),
            (5, true),
            "the end mark is covered, the rest is not"
        );
        assert_eq!(records.next(), None);
    }

    #[test]
    fn a_tail_cut_off_is_an_error_once() {
        for file in [&b"\0\x01a\0"[..], b"\0\x01a\0\x05", b"\0\x01a\0\x05bcde", b"\0\x01a\xFF\xFF"] {
            let mut records = Records::new(file);
            assert_eq!(records.next(), Some(Ok(&b"a"[..])));
            assert_eq!(records.next(), Some(Err(Error::PastEnd { offset: 3 })));
            assert_eq!(records.next(), None);
            assert_eq!((records.offset(), records.is_closed()), (3, false));
        }
    }

    #[test]
    fn what_no_record_can_hold_is_not_written() {
        let mut buffer = [0xAA; 70_000];
        assert_eq!(emit(&mut buffer, b""), 0);
        assert_eq!(emit(&mut buffer, &[0; 65_536]), 0);
        assert_eq!(emit(&mut buffer[..3], b"ab"), 0);
        assert_eq!(emit_end(&mut buffer[..1]), 0);
        assert!(buffer.iter().all(|&b| b == 0xAA));
        assert_eq!(emit(&mut buffer, &[1; 65_535]), 65_537);
        assert_eq!(Records::new(&buffer[..65_537]).next(), Some(Ok(&[1; 65_535][..])));
        assert_eq!(emit_end(&mut buffer), 2);
        assert_eq!(&buffer[..2], b"\0\0");
    }
}
