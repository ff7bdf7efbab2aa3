//! GLIMPSE 5.0: the message that ends a snapshot.
//!
//! A snapshot is a SoupBinTCP session that carries ITCH messages and, last, this one:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | `G` |
//! | 1 | 20 | sequence number as ASCII digits: the first message that the snapshot does **not** hold |
//!
//! It has none of the header that ITCH messages start with.

use crate::{Error, SeqNo, digits};

/// Message type byte.
pub const KIND: u8 = b'G';
/// Length in bytes.
pub const BYTES: usize = 1 + digits::BYTES;

/// End of snapshot: where the live feed continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfSnapshot {
    /// Number of the first message that is not in the snapshot.
    pub next: SeqNo,
}

impl EndOfSnapshot {
    /// Reads a whole message. The digits may be padded with spaces on either side, or with zeros.
    ///
    /// # Errors
    /// [`Error::Truncated`] when it is empty; [`Error::Field`] for another type or when there are no digits;
    /// [`Error::Length`] unless it is 21 bytes long; [`Error::SeqNo`] for 0 or a number past `u64::MAX`.
    pub fn parse(message: &[u8]) -> Result<EndOfSnapshot, Error> {
        let (&kind, field) = message.split_first().ok_or(Error::Truncated { needed: BYTES, actual: 0 })?;
        if kind != KIND {
            return Err(Error::Field { name: "message type ('G' expected)" });
        }
        let field =
            field.try_into().map_err(|_| Error::Length { kind, expected: BYTES, actual: message.len() })?;
        Ok(EndOfSnapshot { next: digits::parse_seq(field)? })
    }

    /// Writes the message, the number padded with spaces on the left, and gives its length; 0 when `buffer` is too
    /// short.
    pub fn emit(&self, buffer: &mut [u8]) -> usize {
        let Some((kind, rest)) = buffer.split_first_mut() else { return 0 };
        let Some(field) = rest.first_chunk_mut() else { return 0 };
        *kind = KIND;
        *field = digits::emit(self.next.value());
        BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_padding_is_read_and_spaces_on_the_left_are_written() {
        let end = EndOfSnapshot { next: SeqNo::new(6).unwrap() };
        for message in [b"G                   6", b"G00000000000000000006", b"G6                   "] {
            assert_eq!(EndOfSnapshot::parse(message), Ok(end));
        }
        let mut buffer = [0; BYTES + 1];
        assert_eq!(end.emit(&mut buffer), BYTES);
        assert_eq!(&buffer, b"G                   6\0");
        assert_eq!(end.emit(&mut buffer[..BYTES - 1]), 0);
    }

    #[test]
    fn what_is_no_end_of_snapshot_is_refused() {
        let length = |actual| Err(Error::Length { kind: b'G', expected: 21, actual });
        assert_eq!(EndOfSnapshot::parse(b""), Err(Error::Truncated { needed: 21, actual: 0 }));
        assert_eq!(EndOfSnapshot::parse(b"G                  6"), length(20));
        assert_eq!(EndOfSnapshot::parse(b"G                    6"), length(22));
        assert_eq!(EndOfSnapshot::parse(b"G00000000000000000000"), Err(Error::SeqNo));
        assert_eq!(EndOfSnapshot::parse(b"G18446744073709551616"), Err(Error::SeqNo));
        assert!(matches!(EndOfSnapshot::parse(b"G                    "), Err(Error::Field { .. })));
        assert!(matches!(EndOfSnapshot::parse(b"H                   6"), Err(Error::Field { .. })));
    }
}
