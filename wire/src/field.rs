use core::fmt;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `N` bytes of ASCII, left-justified, padded with spaces on the right.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Alpha<const N: usize>(pub [u8; N]);

impl<const N: usize> Alpha<N> {
    /// Pads `text` with spaces, or cuts it, to `N` bytes.
    pub fn padded(text: &str) -> Alpha<N> {
        let mut bytes = [b' '; N];
        let take = text.len().min(N);
        bytes[..take].copy_from_slice(&text.as_bytes()[..take]);
        Alpha(bytes)
    }

    /// The bytes without their padding.
    pub fn trimmed(&self) -> &[u8] {
        trim_spaces_end(&self.0)
    }

    /// The text without its padding; `None` when the bytes are not ASCII.
    pub fn as_str(&self) -> Option<&str> {
        let bytes = self.trimmed();
        if bytes.is_ascii() { core::str::from_utf8(bytes).ok() } else { None }
    }
}

impl<const N: usize> fmt::Display for Alpha<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.trimmed().escape_ascii(), f)
    }
}

impl<const N: usize> fmt::Debug for Alpha<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// `text` without the spaces after it.
pub(crate) fn trim_spaces_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// `text` without the spaces on either side.
pub(crate) fn trim_spaces(text: &[u8]) -> &[u8] {
    let mut text = trim_spaces_end(text);
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// A price in units of 1/10,000 (ITCH "Price(4)").
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Price4(pub U32);

impl Price4 {
    /// The price of `units` ten-thousandths.
    pub const fn new(units: u32) -> Price4 {
        Price4(U32::new(units))
    }

    /// The price in ten-thousandths.
    pub const fn units(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Price4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.units();
        write!(f, "{}.{:04}", units / 10_000, units % 10_000)
    }
}

impl fmt::Debug for Price4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A price in units of 1/100,000,000 (ITCH "Price(8)").
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Price8(pub U64);

impl Price8 {
    /// The price of `units` hundred-millionths.
    pub const fn new(units: u64) -> Price8 {
        Price8(U64::new(units))
    }

    /// The price in hundred-millionths.
    pub const fn units(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Price8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.units();
        write!(f, "{}.{:08}", units / 100_000_000, units % 100_000_000)
    }
}

impl fmt::Debug for Price8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Nanoseconds since midnight (US/Eastern), 48 bits, big-endian.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Timestamp(pub [u8; 6]);

impl Timestamp {
    /// The lower 48 bits of `ns`.
    pub const fn from_ns(ns: u64) -> Timestamp {
        let [_, _, a, b, c, d, e, f] = ns.to_be_bytes();
        Timestamp([a, b, c, d, e, f])
    }

    /// Nanoseconds since midnight.
    pub const fn ns(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.ns();
        let s = ns / 1_000_000_000;
        write!(f, "{:02}:{:02}:{:02}.{:09}", s / 3600, s / 60 % 60, s % 60, ns % 1_000_000_000)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
