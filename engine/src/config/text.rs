//! Values that are written as strings: how serde reads and writes them.
//!
//! `#[serde(with = "text")]` for one, `text::list` for several, `text::option` for one that may be absent.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use seqcast_wire::Session;

/// A value with a form as text.
pub(super) trait Text: Sized {
    /// What to write, with an example: "an address such as …".
    const EXPECTED: &'static str;

    /// Reads it; none when it is not [`Text::EXPECTED`].
    fn read(text: &str) -> Option<Self>;

    /// Writes it so that it reads back the same.
    fn write(&self) -> String;
}

macro_rules! text_by_from_str {
    ($type:ty, $expected:literal) => {
        impl Text for $type {
            const EXPECTED: &'static str = $expected;

            fn read(text: &str) -> Option<Self> {
                <$type>::from_str(text).ok()
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    };
}
pub(super) use text_by_from_str;

text_by_from_str!(Session, "a session: 1 to 10 ASCII letters, digits or signs, such as \"SEQCAST001\"");
text_by_from_str!(SocketAddrV4, "an IPv4 address and port such as \"239.255.77.1:31001\"");
text_by_from_str!(Ipv4Addr, "an IPv4 address such as \"192.168.1.10\"");

pub(super) fn serialize<T: Text, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write().serialize(serializer)
}

pub(super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_str(TextVisitor(PhantomData))
}

/// Reads a [`Text`] from a string and says what was expected instead of anything else.
struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).ok_or_else(|| refused(text, T::EXPECTED))
    }
}

/// The error for a value that is not what was expected.
pub(super) fn refused<E: de::Error>(text: impl Display, expected: &str) -> E {
    E::custom(format_args!("{text} is not {expected}"))
}

/// Wraps a [`Text`] for the use in lists and options.
struct AsText<T>(T);

impl<T: Text> Serialize for AsText<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.0, serializer)
    }
}

impl<'de, T: Text> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(AsText)
    }
}

/// A list of values that are written as strings.
pub(super) mod list {
    use super::{AsText, Deserialize, Deserializer, Serializer, Text};

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(AsText))
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let values = Vec::<AsText<T>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.0).collect())
    }
}

/// A value that is written as a string or absent. To be used with `default` and `skip_serializing_if`.
pub(super) mod option {
    use super::{AsText, Deserialize, Deserializer, Serialize, Serializer, Text};

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(AsText).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        AsText::deserialize(deserializer).map(|value| Some(value.0))
    }
}
