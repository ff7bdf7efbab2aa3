use core::fmt;

/// Why bytes are not what they should be.
///
/// Offsets and lengths are in bytes from the start of what was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the fixed part needs.
    Truncated {
        /// Bytes that the format needs at least.
        needed: usize,
        /// Bytes that were there.
        actual: usize,
    },
    /// A block or record reaches past the end of its datagram or file.
    PastEnd {
        /// Offset of the block's length field.
        offset: usize,
    },
    /// Bytes are left over after the last declared block.
    Trailing {
        /// Offset of the first byte left over.
        offset: usize,
    },
    /// A message of a known type has another length than its specification gives.
    Length {
        /// The message's type byte.
        kind: u8,
        /// Length by the specification.
        expected: usize,
        /// Length found.
        actual: usize,
    },
    /// A sequence number is 0, or its range runs past `u64::MAX`.
    SeqNo,
    /// A field holds a value that its format does not allow.
    Field {
        /// Name of the field.
        name: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Truncated { needed, actual } => {
                write!(f, "truncated: {needed} bytes needed, {actual} there")
            }
            Error::PastEnd { offset } => write!(f, "the block at byte {offset} reaches past the end"),
            Error::Trailing { offset } => write!(f, "bytes left over from byte {offset}"),
            Error::Length { kind, expected, actual } => {
                write!(f, "message '{}' is {actual} bytes long, not {expected}", kind.escape_ascii())
            }
            Error::SeqNo => write!(f, "sequence number 0 or past the end of the number range"),
            Error::Field { name } => write!(f, "invalid value in field {name}"),
        }
    }
}

impl core::error::Error for Error {}
