//! What travels through a subscriber's ring: every item of the feed in order, with the time it was received.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | kind |
//! | 8 | 8 | sequence number (first lost, next after the end), or the state |
//! | 16 | 8 | received, ns of the monotonic clock |
//! | 24 | … | message, session, or for a lost item the count, 8 bytes |
//!
//! Numbers are in the machine's order. With the word that a ring puts before it, a message of 32 bytes takes one cache
//! line.

use seqcast_wire::{SeqNo, Session};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::feed::{FeedState, Item};
use crate::time::Nanos;

/// Bytes before the message.
pub const HEADER_BYTES: usize = size_of::<Header>();

const MESSAGE: u64 = 1;
const LOST: u64 = 2;
const STATE: u64 = 3;
const SESSION: u64 = 4;
const END: u64 = 5;
const CONFLICT: u64 = 6;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    /// Whole words only: parts of one that are stored apart would hold up the word's copy.
    kind: u64,
    number: u64,
    received_ns: u64,
}

/// An item of the feed as a reader of the ring sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When the datagram that brought it was received (for a message from the stash: when it was delivered).
    pub received: Nanos,
    /// The item.
    pub item: Item<'a>,
}

/// Bytes that `item` takes in the ring.
#[inline]
pub fn encoded_bytes(item: &Item<'_>) -> usize {
    HEADER_BYTES
        + match item {
            Item::Message { bytes, .. } => bytes.len(),
            Item::Session(_) => 10,
            Item::Lost { .. } => size_of::<u64>(),
            _ => 0,
        }
}

/// Writes `item`, which takes [`encoded_bytes`], part by part.
#[inline]
pub fn encode(item: &Item<'_>, received: Nanos, mut write: impl FnMut(&[u8])) {
    let (session, lost);
    let (kind, number, tail): (u64, u64, &[u8]) = match *item {
        Item::Message { seq, bytes } => (MESSAGE, seq.value(), bytes),
        Item::Lost { first, count } => {
            lost = count;
            (LOST, first.value(), lost.as_bytes())
        }
        Item::State(state) => (STATE, state_number(state), &[]),
        Item::Session(value) => {
            session = value;
            (SESSION, 0, session.as_bytes())
        }
        Item::Conflict { seq } => (CONFLICT, seq.value(), &[]),
        Item::End { next } => (END, next.value(), &[]),
    };
    write(Header { kind, number, received_ns: received.0 }.as_bytes());
    write(tail);
}

/// Reads what [`encode`] wrote; `None` when the bytes are not that.
#[inline]
pub fn decode(bytes: &[u8]) -> Option<Event<'_>> {
    let (head, tail) = bytes.split_at_checked(HEADER_BYTES)?;
    let header = Header::read_from_bytes(head).ok()?;
    let seq = SeqNo::new(header.number);
    let item = match header.kind {
        MESSAGE => Item::Message { seq: seq?, bytes: tail },
        LOST => Item::Lost { first: seq?, count: u64::read_from_bytes(tail).ok()? },
        STATE => Item::State(state_of(header.number)?),
        SESSION => Item::Session(Session::from_wire(tail.try_into().ok()?)),
        CONFLICT => Item::Conflict { seq: seq? },
        END => Item::End { next: seq? },
        _ => return None,
    };
    Some(Event { received: Nanos(header.received_ns), item })
}

const STATES: [FeedState; 5] =
    [FeedState::Live, FeedState::Gapped, FeedState::Recovering, FeedState::Stale, FeedState::Ended];

fn state_number(state: FeedState) -> u64 {
    STATES.iter().position(|known| *known == state).unwrap_or(STATES.len()) as u64
}

fn state_of(number: u64) -> Option<FeedState> {
    STATES.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_out_of_the_ring_as_it_went_in() {
        let seq = SeqNo::new(u64::MAX - 7).unwrap();
        let items = [
            Item::Message { seq, bytes: b"message" },
            Item::Message { seq, bytes: b"" },
            Item::Lost { first: seq, count: 7 },
            Item::Session(Session::from_wire(*b"SESSION001")),
            Item::Conflict { seq },
            Item::End { next: SeqNo::MAX },
        ];
        for item in items.into_iter().chain(STATES.map(Item::State)) {
            let mut bytes = Vec::new();
            encode(&item, Nanos(99), |part| bytes.extend_from_slice(part));
            assert_eq!(bytes.len(), encoded_bytes(&item));
            assert_eq!(decode(&bytes), Some(Event { received: Nanos(99), item }));
        }
    }

    #[test]
    fn what_is_no_item_is_not_read() {
        let header = |kind, number| Header { kind, number, received_ns: 0 }.as_bytes().to_vec();
        for bytes in [header(0, 1), header(7, 1), header(MESSAGE, 0), header(STATE, 5), header(LOST, 1)] {
            assert_eq!(decode(&bytes), None);
        }
        assert_eq!(decode(&header(END, 1)[..HEADER_BYTES - 1]), None);
    }
}
