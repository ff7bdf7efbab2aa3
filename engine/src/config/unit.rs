//! Values with units, and small values that only a configuration has.

use std::fmt;
use std::str::FromStr;

use seqcast_wire::Session;

use super::text::{Text, text_by_from_str};
pub use crate::rewind::Prefix;
use crate::time::Nanos;

const DURATIONS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
const RATES: [(&str, u64); 4] =
    [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];
const UNLIMITED: &str = "unlimited";

/// Reads a decimal number with one of `units`, exactly: none when it is no such thing, is no whole number of the
/// smallest unit, or is too large.
fn read_quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let denominator = 10_u128.pow(fraction.len() as u32);
    let fraction = fraction.parse::<u128>().ok()? * u128::from(*scale);
    if fraction % denominator != 0 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*scale)?;
    whole.checked_add(u64::try_from(fraction / denominator).ok()?)
}

/// Writes `value` in the largest of `units` that divides it.
fn write_quantity(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |scale: u64| value != 0 && value.is_multiple_of(scale);
    let (name, scale) = units.iter().find(|(_, scale)| fits(*scale)).unwrap_or(&units[units.len() - 1]);
    format!("{}{name}", value / scale)
}

impl Text for Nanos {
    const EXPECTED: &'static str = "a duration with a unit (ns, us, ms, s, min or h) such as \"250us\"";

    fn read(text: &str) -> Option<Nanos> {
        read_quantity(text, &DURATIONS).map(Nanos)
    }

    fn write(&self) -> String {
        write_quantity(self.0, &DURATIONS)
    }
}

/// Sizes: a string with a unit, or a number of bytes. `#[serde(with = "size")]` on an integer.
pub(super) mod size {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{self, Deserializer, Visitor};
    use serde::{Serialize, Serializer};

    use super::super::text::refused;
    use super::{SIZES, read_quantity, write_quantity};

    pub(in super::super) const EXPECTED: &str =
        "a size with a unit (B, KiB, MiB, GiB or TiB) such as \"64MiB\"";

    pub(in super::super) fn write(bytes: u64) -> String {
        write_quantity(bytes, &SIZES)
    }

    pub(in super::super) fn serialize<T, S>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + TryInto<u64>,
        S: Serializer,
    {
        write((*bytes).try_into().unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(SizeVisitor(PhantomData))
    }

    /// A size that may be absent. To be used with `default` and `skip_serializing_if`.
    pub(in super::super) mod option {
        use serde::{Deserializer, Serializer};

        pub(in super::super::super) fn serialize<S: Serializer>(
            bytes: &Option<u64>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => super::serialize(bytes, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<u64>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }

    struct SizeVisitor<T>(PhantomData<T>);

    impl<T: TryFrom<u64>> Visitor<'_> for SizeVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            let bytes = read_quantity(text, &SIZES).and_then(|bytes| T::try_from(bytes).ok());
            bytes.ok_or_else(|| refused(text, EXPECTED))
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<T, E> {
            let size = u64::try_from(bytes).ok().and_then(|bytes| T::try_from(bytes).ok());
            size.ok_or_else(|| refused(bytes, EXPECTED))
        }
    }
}

/// A rate of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as it goes.
    Unlimited,
    /// This many bits of UDP payload a second.
    BitsPerSecond(u64),
}

impl Rate {
    /// In whole bytes a second; none when unlimited.
    pub fn bytes_per_s(self) -> Option<u64> {
        match self {
            Rate::Unlimited => None,
            Rate::BitsPerSecond(bits) => Some(bits / 8),
        }
    }
}

impl FromStr for Rate {
    type Err = ();

    fn from_str(text: &str) -> Result<Rate, ()> {
        match read_quantity(text, &RATES) {
            Some(bits) => Ok(Rate::BitsPerSecond(bits)),
            None if text == UNLIMITED => Ok(Rate::Unlimited),
            None => Err(()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Unlimited => f.write_str(UNLIMITED),
            Rate::BitsPerSecond(bits) => f.write_str(&write_quantity(*bits, &RATES)),
        }
    }
}

text_by_from_str!(
    Rate,
    "a rate with a unit (bit/s, kbit/s, Mbit/s or Gbit/s) such as \"1Gbit/s\", or \"unlimited\""
);

text_by_from_str!(Prefix, "a range of IPv4 addresses such as \"10.1.0.0/16\" (no bits set after the prefix)");

/// Which session a source may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceSession {
    /// Whichever comes: a publisher that makes a new session at each start.
    Any,
    /// This one only.
    Only(Session),
}

impl FromStr for SourceSession {
    type Err = ();

    fn from_str(text: &str) -> Result<SourceSession, ()> {
        if text == "any" {
            return Ok(SourceSession::Any);
        }
        text.parse().map(SourceSession::Only).map_err(|_| ())
    }
}

impl fmt::Display for SourceSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSession::Any => f.write_str("any"),
            SourceSession::Only(session) => session.fmt(f),
        }
    }
}

text_by_from_str!(
    SourceSession,
    "\"any\" or a session: 1 to 10 ASCII letters, digits or signs, such as \"SEQCAST001\""
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_exactly() {
        for (text, ns) in [
            ("250us", 250_000),
            ("1.5ms", 1_500_000),
            ("0ns", 0),
            ("2 s", 2_000_000_000),
            ("1min", 60_000_000_000),
            ("0.5h", 1_800_000_000_000),
            ("18446744073709551615ns", u64::MAX),
        ] {
            assert_eq!(Nanos::read(text), Some(Nanos(ns)), "{text}");
        }
        for text in
            ["", "5", "ms", "-1ms", "1.5ns", "1..5s", ".5s", "5.s", "1e3s", "5 m s", "9999999h", "5MS", "٣s"]
        {
            assert_eq!(Nanos::read(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_written_short() {
        assert_eq!(Nanos(250_000).write(), "250us");
        assert_eq!(Nanos(0).write(), "0ns");
        assert_eq!(Nanos(1_500_000).write(), "1500us");
        assert_eq!(size::write(64 << 20), "64MiB");
        assert_eq!(size::write(1472), "1472B");
        assert_eq!(Rate::BitsPerSecond(2_500_000_000).to_string(), "2500Mbit/s");
    }

    #[test]
    fn sessions_of_sources() {
        assert_eq!("any".parse(), Ok(SourceSession::Any));
        assert_eq!("PUB1".parse(), Ok(SourceSession::Only("PUB1".parse().unwrap())));
        assert_eq!("ELEVENCHARS".parse::<SourceSession>(), Err(()));
    }

    proptest! {
        #[test]
        fn quantities_read_back(value: u64) {
            prop_assert_eq!(Nanos::read(&Nanos(value).write()), Some(Nanos(value)));
            prop_assert_eq!(read_quantity(&size::write(value), &SIZES), Some(value));
            let rate = Rate::BitsPerSecond(value);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
            let _ = (Nanos::read(&text), Rate::read(&text), Prefix::read(&text), SourceSession::read(&text));
        }
    }
}
