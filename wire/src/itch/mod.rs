//! Nasdaq TotalView-ITCH 5.0: every message type as a struct laid over the wire bytes.
//!
//! Source: "Nasdaq TotalView-ITCH 5.0", revision of 2023-04-28. All integers are big-endian.

mod glance;
mod messages;

pub use glance::Glance;
pub use messages::*;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::Error;

macro_rules! itch_messages {
    ($($kind:literal $name:ident),* $(,)?) => {
        /// One message, borrowed from its bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $(#[doc = concat!("Type `", $kind, "`.")] $name(&'a $name),)*
            /// A type this revision does not know: skipped by its length, never an error.
            Unknown(&'a [u8]),
        }

        impl<'a> Message<'a> {
            /// Looks at `message` (one whole message, without length prefix).
            ///
            /// # Errors
            /// [`Error::Truncated`] for an empty message; [`Error::Length`] when a known type has another length
            /// than the specification gives.
            #[inline]
            pub fn parse(message: &'a [u8]) -> Result<Message<'a>, Error> {
                let Some(&kind) = message.first() else {
                    return Err(Error::Truncated { needed: 1, actual: 0 });
                };
                let expected = usize::from(LENGTHS[usize::from(kind)]);
                if (expected != message.len()) & (expected != 0) {
                    return Err(Error::Length { kind, expected, actual: message.len() });
                }
                Ok(match kind {
                    $($name::KIND => Message::$name(view(message)),)*
                    _ => return Ok(Message::Unknown(message)),
                })
            }

            /// The header that every known message starts with.
            #[inline]
            pub fn header(&self) -> Option<&'a Header> {
                match *self {
                    $(Message::$name(message) => Some(&message.header),)*
                    Message::Unknown(_) => None,
                }
            }

            /// The message's bytes.
            #[inline]
            pub fn as_bytes(&self) -> &'a [u8] {
                match *self {
                    $(Message::$name(message) => zerocopy::IntoBytes::as_bytes(message),)*
                    Message::Unknown(bytes) => bytes,
                }
            }
        }

        /// Length in bytes that the specification gives for messages of type `kind`; `None` for unknown types.
        pub const fn length_of(kind: u8) -> Option<usize> {
            match kind {
                $($name::KIND => Some($name::BYTES),)*
                _ => None,
            }
        }

        /// The types known, in the order of the specification.
        pub const KINDS: &[u8] = &[$($name::KIND),*];
    };
}

/// Lengths by type; 0 for those that are not known.
const LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut kind = 0;
    while kind < lengths.len() {
        if let Some(length) = length_of(kind as u8) {
            assert!(0 < length && length <= u8::MAX as usize);
            lengths[kind] = length as u8;
        }
        kind += 1;
    }
    lengths
};

/// The longest message, all zero.
static BLANK: [u8; MAX_BYTES] = [0; MAX_BYTES];
const MAX_BYTES: usize = 50;

/// A message of known length as its struct. Types come in no order that a processor could guess: without a branch here,
/// the compiler makes of the `match` over the types a look into a table.
#[inline(always)]
fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(message: &[u8]) -> &T {
    const { assert!(size_of::<T>() <= MAX_BYTES) };
    let Ok((blank, _)) = T::ref_from_prefix(&BLANK) else { unreachable!() };
    T::ref_from_bytes(message).unwrap_or(blank)
}

itch_messages! {
    "S" SystemEvent, "R" StockDirectory, "H" TradingAction, "Y" RegSho, "L" ParticipantPosition,
    "V" MwcbDeclineLevel, "W" MwcbStatus, "K" IpoQuotingPeriod, "J" LuldAuctionCollar, "h" OperationalHalt,
    "A" AddOrder, "F" AddOrderMpid, "E" OrderExecuted, "C" OrderExecutedWithPrice, "X" OrderCancel,
    "D" OrderDelete, "U" OrderReplace, "P" Trade, "Q" CrossTrade, "B" BrokenTrade, "I" NetOrderImbalance,
    "N" RetailPriceImprovement, "O" DirectListing,
}
