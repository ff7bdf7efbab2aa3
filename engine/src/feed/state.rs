//! What a receiver tells: items, states, counts.

use std::fmt;

use seqcast_wire::{SeqNo, Session};

/// How good what has been delivered is.
///
/// | state | is told when | messages delivered in it |
/// |---|---|---|
/// | `Live` | every number below the highest seen has been delivered | in order, as they arrive |
/// | `Gapped` | a number below the highest seen is missing, and nothing has been requested for it yet | those before the hole |
/// | `Recovering` | as `Gapped`, and a rewind has been requested | those before the next hole, until the highest seen is reached |
/// | `Stale` | nothing was heard on any line for `silence` (as at start), or delivery is halted, or waits for a snapshot | after silence: only what a rewind server still brings; halted: none |
/// | `Ended` | the session is over and all of it has been delivered, or told lost | none |
///
/// A worse state is told before the next message, a better one after the last message that leads to it: a book that
/// sees `Live` has the highest number seen. A sink that refuses items does not change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// Whole up to the highest number seen.
    Live,
    /// A hole that may be mere reordering.
    Gapped,
    /// A hole that a rewind server has been asked for.
    Recovering,
    /// Silent, halted, or waiting for a snapshot: what was delivered is not current.
    Stale,
    /// Over.
    Ended,
}

impl fmt::Display for FeedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeedState::Live => "live",
            FeedState::Gapped => "gapped",
            FeedState::Recovering => "recovering",
            FeedState::Stale => "stale",
            FeedState::Ended => "ended",
        })
    }
}

/// What a receiver gives its sink, in this order: every number of the session is in exactly one `Message` or `Lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The next message.
    Message {
        /// Its number.
        seq: SeqNo,
        /// Its bytes, borrowed for the call.
        bytes: &'a [u8],
    },
    /// These numbers will not come: no line brought them and no server has them.
    Lost {
        /// The first of them.
        first: SeqNo,
        /// How many.
        count: u64,
    },
    /// The state changed.
    State(FeedState),
    /// The messages that follow are of this session.
    Session(Session),
    /// Two copies of this number differ: somebody on the network is not whom he seems, or a publisher is broken.
    /// What was delivered from here on cannot be trusted.
    Conflict {
        /// The number with two contents.
        seq: SeqNo,
    },
    /// The session is over; `next` would have come next.
    End {
        /// Number that follows the last message.
        next: SeqNo,
    },
}

/// Takes what a receiver delivers.
pub trait Sink {
    /// Takes the next item; `false` means "no room now": the item has not been taken and is offered again at the next
    /// [`Receiver::poll`](super::Receiver::poll).
    fn on_item(&mut self, item: Item<'_>) -> bool;
}

impl<F: FnMut(Item<'_>) -> bool> Sink for F {
    fn on_item(&mut self, item: Item<'_>) -> bool {
        self(item)
    }
}

/// What a receiver counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedStats {
    /// Messages delivered.
    pub delivered_messages: u64,
    /// Datagrams that are not whole MoldUDP64, dropped.
    pub malformed_datagrams: u64,
    /// Datagrams of another session, dropped.
    pub wrong_session_datagrams: u64,
    /// Datagrams that jumped too far ahead to be believed alone, dropped.
    pub unconfirmed_jumps: u64,
    /// Ends of session taken back because the session went on.
    pub false_ends: u64,
    /// Datagrams of the session after its end, dropped.
    pub datagrams_after_end: u64,
    /// Copies of messages that were there already (beyond whole duplicate datagrams, which lines count).
    pub duplicate_messages: u64,
    /// Numbers found with two contents.
    pub conflicts: u64,
    /// Numbers that one datagram told of and that were taken back, because nothing confirmed them.
    pub retracted_messages: u64,
    /// Holes found.
    pub gaps_found: u64,
    /// Messages found missing.
    pub missing_messages: u64,
    /// Missing messages that a line brought after all.
    pub line_filled_messages: u64,
    /// Datagrams that a line brought after later ones, and after a hole was found in their place: reordering.
    pub overtaken_datagrams: u64,
    /// Of them, those that a rewind server had brought before.
    pub needless_rewinds: u64,
    /// Missing messages that a rewind server brought.
    pub rewind_filled_messages: u64,
    /// Ranges told lost.
    pub lost_ranges: u64,
    /// Messages told lost.
    pub lost_messages: u64,
    /// Requests given out, repeated ones included.
    pub requests: u64,
    /// Requests that a server did not answer in time.
    pub unanswered_requests: u64,
    /// Datagrams from rewind servers.
    pub replies: u64,
    /// Of them, those that brought nothing that was missing.
    pub useless_replies: u64,
    /// Messages dropped because the stash or the list of gaps was full; they are requested later.
    pub stash_refused_messages: u64,
    /// Messages that a halted or waiting receiver dropped to make room for newer ones.
    pub stash_evicted_messages: u64,
    /// Items that the sink had no room for.
    pub sink_refusals: u64,
}
