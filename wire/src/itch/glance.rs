//! A look at a message that no branch on its type is taken for.
//!
//! Types come in no order that a processor could guess, so each `match` on them costs several nanoseconds. Who only
//! filters by stock or time, counts, or copies need not pay that.

use zerocopy::FromBytes;

use super::{Header, LENGTHS, Message};
use crate::Error;

/// A message that is as long as its type wants: what [`Message::parse`] accepts, its type not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Glance<'a> {
    /// Looks at `message` (one whole message, without length prefix).
    ///
    /// # Errors
    /// As for [`Message::parse`].
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Glance<'a>, Error> {
        let Some(&kind) = message.first() else {
            return Err(Error::Truncated { needed: 1, actual: 0 });
        };
        let expected = usize::from(LENGTHS[usize::from(kind)]);
        if (expected == message.len()) | (expected == 0) {
            Ok(Glance { kind, bytes: message })
        } else {
            Err(Error::Length { kind, expected, actual: message.len() })
        }
    }

    /// The type byte, known or not.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The header that every known message starts with; of an unknown one, its first bytes, if it has as many.
    #[inline]
    pub fn header(&self) -> Option<&'a Header> {
        Header::ref_from_prefix(self.bytes).ok().map(|(header, _)| header)
    }

    /// The message's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> From<Glance<'a>> for Message<'a> {
    #[inline]
    fn from(glance: Glance<'a>) -> Message<'a> {
        Message::parse(glance.bytes).unwrap_or(Message::Unknown(glance.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::KINDS;
    use super::*;

    /// Every type byte with every length there is.
    #[test]
    fn accepts_and_refuses_what_parsing_does() {
        let mut bytes = [b'1'; 300];
        for kind in 0..=u8::MAX {
            bytes[0] = kind;
            for length in 0..bytes.len() {
                let message = &bytes[..length];
                let (glance, parsed) = (Glance::parse(message), Message::parse(message));
                match (glance, parsed) {
                    (Ok(glance), Ok(parsed)) => {
                        assert_eq!((glance.kind(), glance.as_bytes()), (kind, message));
                        assert_eq!(Message::from(glance), parsed);
                        if KINDS.contains(&kind) {
                            assert_eq!(glance.header(), parsed.header());
                        }
                    }
                    (glance, parsed) => assert_eq!(glance.err(), parsed.err()),
                }
            }
        }
    }
}
