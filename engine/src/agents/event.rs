//! What travels through a subscriber's ring: every item of the feed in order, with the time it was received.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 1 | state, for a state item |
//! | 2 | 6 | zero |
//! | 8 | 8 | sequence number (first lost, next after the end) |
//! | 16 | 8 | received, ns of the monotonic clock |
//! | 24 | 8 | count, for a lost item |
//! | 32 | … | message or session |

use seqcast_wire::{SeqNo, Session};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::feed::{FeedState, Item};
use crate::time::Nanos;

/// Bytes before the message.
pub const HEADER_BYTES: usize = size_of::<Header>();

const MESSAGE: u8 = 1;
const LOST: u8 = 2;
const STATE: u8 = 3;
const SESSION: u8 = 4;
const END: u8 = 5;
const CONFLICT: u8 = 6;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    kind: u8,
    state: u8,
    reserved: [u8; 6],
    seq: u64,
    received_ns: u64,
    count: u64,
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
pub fn encoded_bytes(item: &Item<'_>) -> usize {
    HEADER_BYTES
        + match item {
            Item::Message { bytes, .. } => bytes.len(),
            Item::Session(_) => 10,
            _ => 0,
        }
}

/// Writes `item`, which takes [`encoded_bytes`], part by part.
#[inline]
pub fn encode(item: &Item<'_>, received: Nanos, mut write: impl FnMut(&[u8])) {
    let mut header =
        Header { kind: 0, state: 0, reserved: [0; 6], seq: 0, received_ns: received.0, count: 0 };
    let mut tail: &[u8] = &[];
    let session;
    match *item {
        Item::Message { seq, bytes } => {
            header.kind = MESSAGE;
            header.seq = seq.value();
            tail = bytes;
        }
        Item::Lost { first, count } => {
            header.kind = LOST;
            header.seq = first.value();
            header.count = count;
        }
        Item::State(state) => {
            header.kind = STATE;
            header.state = state_byte(state);
        }
        Item::Session(value) => {
            header.kind = SESSION;
            session = value;
            tail = session.as_bytes();
        }
        Item::Conflict { seq } => {
            header.kind = CONFLICT;
            header.seq = seq.value();
        }
        Item::End { next } => {
            header.kind = END;
            header.seq = next.value();
        }
    }
    write(header.as_bytes());
    write(tail);
}

/// Reads what [`encode`] wrote; `None` when the bytes are not that.
pub fn decode(bytes: &[u8]) -> Option<Event<'_>> {
    let (head, tail) = bytes.split_at_checked(HEADER_BYTES)?;
    let header = Header::read_from_bytes(head).ok()?;
    let seq = SeqNo::new(header.seq);
    let item = match header.kind {
        MESSAGE => Item::Message { seq: seq?, bytes: tail },
        LOST => Item::Lost { first: seq?, count: header.count },
        STATE => Item::State(state_of(header.state)?),
        SESSION => Item::Session(Session::from_wire(tail.try_into().ok()?)),
        CONFLICT => Item::Conflict { seq: seq? },
        END => Item::End { next: seq? },
        _ => return None,
    };
    Some(Event { received: Nanos(header.received_ns), item })
}

const STATES: [FeedState; 5] =
    [FeedState::Live, FeedState::Gapped, FeedState::Recovering, FeedState::Stale, FeedState::Ended];

fn state_byte(state: FeedState) -> u8 {
    STATES.iter().position(|known| *known == state).unwrap_or(STATES.len()) as u8
}

fn state_of(byte: u8) -> Option<FeedState> {
    STATES.get(usize::from(byte)).copied()
}
