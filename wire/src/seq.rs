use core::fmt;
use core::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Error;
use crate::field::trim_spaces;

/// Number of a message in its session, from 1.
///
/// A *watermark* is a `SeqNo` too: everything below it is done, so [`SeqNo::FIRST`] means "nothing yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SeqNo(u64);

impl SeqNo {
    /// The first number of every session.
    pub const FIRST: SeqNo = SeqNo(1);
    /// The last number there is; a session ends before it would be passed.
    pub const MAX: SeqNo = SeqNo(u64::MAX);

    /// The number `value`; `None` for 0, which numbers nothing.
    pub const fn new(value: u64) -> Option<SeqNo> {
        if value == 0 { None } else { Some(SeqNo(value)) }
    }

    /// The bare integer.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The number `count` further on; `None` past the end of the range.
    pub const fn checked_add(self, count: u64) -> Option<SeqNo> {
        match self.0.checked_add(count) {
            Some(value) => Some(SeqNo(value)),
            None => None,
        }
    }

    /// The number `count` further on, or [`SeqNo::MAX`].
    pub const fn saturating_add(self, count: u64) -> SeqNo {
        SeqNo(self.0.saturating_add(count))
    }

    /// The next number, or [`SeqNo::MAX`] again.
    pub const fn next(self) -> SeqNo {
        self.saturating_add(1)
    }

    /// How many numbers lie in `earlier..self`; 0 when `earlier` is not earlier.
    pub const fn since(self, earlier: SeqNo) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A MoldUDP64 session: ten bytes of printable ASCII, padded with spaces on the right, compared as raw bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Session([u8; 10]);

impl Session {
    /// Ten spaces: "no session", or "the current one" in a login.
    pub const BLANK: Session = Session([b' '; 10]);

    /// The session as it stands on the wire; any bytes are accepted, since sessions are compared, not read.
    pub const fn from_wire(bytes: [u8; 10]) -> Session {
        Session(bytes)
    }

    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }
}

impl FromStr for Session {
    type Err = Error;

    /// Pads `text` (1 to 10 graphic ASCII characters) with spaces on the right.
    fn from_str(text: &str) -> Result<Session, Error> {
        let text = text.trim_end().as_bytes();
        if text.is_empty() || text.len() > 10 || !text.iter().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Field { name: "session (1 to 10 ASCII letters, digits or signs)" });
        }
        let mut bytes = [b' '; 10];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Session(bytes))
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&trim_spaces(&self.0).escape_ascii(), f)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.0.escape_ascii())
    }
}
