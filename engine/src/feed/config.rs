//! What a [`Receiver`](super::Receiver) is told at start.

use seqcast_wire::{SeqNo, Session, mold};

use crate::limits::{MAX_DATAGRAM_BYTES, MAX_LINES, MAX_REWIND_SERVERS};
use crate::time::Nanos;

/// Most separate missing ranges that may be configured; each takes a few words of memory.
const MAX_GAPS: usize = 1 << 16;
/// Most stashed messages, and most remembered hashes, that may be configured.
const MAX_SLOTS: usize = 1 << 26;
/// Most requests that may be configured to be in flight at a time.
const MAX_REQUESTS: usize = 1 << 10;

/// Which session is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRule {
    /// This one and no other.
    Pinned(Session),
    /// That of the first whole datagram.
    FirstSeen,
}

/// What follows the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollover {
    /// Nothing: other sessions are dropped and counted until [`Receiver::restart`](super::Receiver::restart).
    Refuse,
    /// After the end of a session has been delivered, another session that two datagrams tell of is received from
    /// its number 1 on.
    AfterEnd,
}

/// Where in the session delivery starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this number; what was sent of it before is requested, however much that is.
    At(SeqNo),
    /// At the first datagram that arrives.
    FirstSeen,
    /// Nowhere yet: messages are kept, the newest that fit, and delivery starts with
    /// [`Receiver::resume_at`](super::Receiver::resume_at) once a snapshot is there.
    Snapshot,
}

/// What happens when the feed cannot be made whole: messages that no line and no server had, a jump beyond
/// [`FeedConfig::max_gap_messages`], or a number with two contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfillable {
    /// It is told ([`Item::Lost`](super::Item::Lost), [`Item::Conflict`](super::Item::Conflict)) and delivery goes
    /// on behind it.
    Skip,
    /// It is told, the state becomes [`FeedState::Stale`](super::FeedState::Stale), and nothing more is delivered
    /// until [`Receiver::resume_at`](super::Receiver::resume_at).
    Halt,
}

/// Settings of one feed's receive path. Every bound in it is allocated at start and never exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// Which session is received.
    pub session: SessionRule,
    /// What follows the end of a session.
    pub rollover: Rollover,
    /// Where delivery starts.
    pub start: Start,
    /// Redundant lines, 1 to [`MAX_LINES`].
    pub lines: usize,
    /// Rewind servers, 0 to [`MAX_REWIND_SERVERS`]. Without any, what no line brings within `reorder_wait` is lost.
    pub rewind_servers: usize,
    /// Bytes of messages kept while earlier ones are missing; at least [`MAX_DATAGRAM_BYTES`].
    pub stash_bytes: usize,
    /// Messages kept, and how far ahead of the next one they may lie; rounded up to a power of two.
    pub stash_messages: usize,
    /// Separate missing ranges at a time. When one more would open, it is joined to the last, and the messages kept
    /// between the two are dropped, counted, and requested again.
    pub max_gaps: usize,
    /// Numbers that one datagram may jump ahead. A farther jump is believed when a second datagram confirms it, and
    /// is then [`Unfillable`]; only the hole before the very first datagram is requested whatever its size.
    pub max_gap_messages: u64,
    /// How long a hole is left to the lines that have not passed it, before it is requested. It is requested at once when
    /// every line that is heard has passed it.
    pub reorder_wait: Nanos,
    /// How long a server may take to answer before anything is known of it, and at most. One that has answered is given
    /// what it takes and four deviations more, but at least 250 µs. Doubles with each round over all servers, plus up to
    /// a quarter of jitter.
    pub request_timeout: Nanos,
    /// Upper bound of that doubling.
    pub max_backoff: Nanos,
    /// Times that a range is requested without any progress before it is lost.
    pub attempts: u32,
    /// Requests in flight at a time.
    pub max_requests_in_flight: usize,
    /// Messages asked for in one request, 1 to [`mold::MAX_COUNT`].
    pub max_request_count: u16,
    /// The feed is stale when no line brings a datagram, heartbeats included, for this long.
    pub silence: Nanos,
    /// What happens when the feed cannot be made whole.
    pub on_unfillable: Unfillable,
    /// Last messages whose hashes are kept, so that copies with the same number and other bytes are found (rounded
    /// up to a power of two); 0 turns this off, and copies are dropped by number alone.
    pub conflict_window: usize,
    /// Believe what a single datagram tells, however far it jumps: for captures, which nobody forges into meanwhile.
    pub trusting: bool,
    /// Seed of the jitter; give each receiver its own.
    pub seed: u64,
}

impl Default for FeedConfig {
    fn default() -> FeedConfig {
        FeedConfig {
            session: SessionRule::FirstSeen,
            rollover: Rollover::Refuse,
            start: Start::At(SeqNo::FIRST),
            lines: 1,
            rewind_servers: 0,
            stash_bytes: 8 << 20,
            stash_messages: 1 << 16,
            max_gaps: 1024,
            max_gap_messages: 1 << 20,
            reorder_wait: Nanos::from_micros(500),
            request_timeout: Nanos::from_millis(5),
            max_backoff: Nanos::from_millis(500),
            attempts: 30,
            max_requests_in_flight: 16,
            max_request_count: mold::MAX_COUNT,
            silence: Nanos::from_secs(3),
            on_unfillable: Unfillable::Halt,
            conflict_window: 8192,
            trusting: false,
            seed: 0,
        }
    }
}

/// A [`FeedConfig`] that cannot work, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("feed: {setting} is {actual}, must be {min} to {max}")]
pub struct FeedConfigError {
    /// Name of the setting.
    pub setting: &'static str,
    /// As configured.
    pub actual: u64,
    /// Least that works.
    pub min: u64,
    /// Most that works.
    pub max: u64,
}

impl FeedConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), FeedConfigError> {
        let within = |setting, actual: usize, min: usize, max: usize| {
            let error = FeedConfigError { setting, actual: actual as u64, min: min as u64, max: max as u64 };
            if (min..=max).contains(&actual) { Ok(()) } else { Err(error) }
        };
        let positive = |setting, Nanos(actual): Nanos| {
            let error = FeedConfigError { setting, actual, min: 1, max: u64::MAX };
            if actual > 0 { Ok(()) } else { Err(error) }
        };
        within("lines", self.lines, 1, MAX_LINES)?;
        within("rewind_servers", self.rewind_servers, 0, MAX_REWIND_SERVERS)?;
        within("stash_bytes", self.stash_bytes, MAX_DATAGRAM_BYTES, u32::MAX as usize)?;
        within("stash_messages", self.stash_messages, 1, MAX_SLOTS)?;
        within("max_gaps", self.max_gaps, 1, MAX_GAPS)?;
        within("max_requests_in_flight", self.max_requests_in_flight, 1, MAX_REQUESTS)?;
        within("max_request_count", self.max_request_count.into(), 1, mold::MAX_COUNT.into())?;
        within("attempts", self.attempts as usize, 1, u32::MAX as usize)?;
        within("conflict_window", self.conflict_window, 0, MAX_SLOTS)?;
        positive("request_timeout (ns)", self.request_timeout)?;
        positive("max_backoff (ns)", self.max_backoff)?;
        positive("silence (ns)", self.silence)
    }
}
