//! The receiver: joins arbitration, gaps, stash and recovery.

use seqcast_wire::mold::Request;
use seqcast_wire::{SeqNo, Session};

use super::config::{FeedConfig, FeedConfigError};
use super::line::{LineId, LineStats};
use super::state::{FeedState, FeedStats, Sink};
use crate::time::Nanos;

/// The receive path of one feed.
#[derive(Debug)]
pub struct Receiver {
    stats: FeedStats,
    lines: Vec<LineStats>,
    expected: SeqNo,
}

impl Receiver {
    /// A receiver that has heard nothing. All memory is allocated here.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: &FeedConfig) -> Result<Receiver, FeedConfigError> {
        config.check()?;
        Ok(Receiver { stats: FeedStats::default(), lines: Vec::new(), expected: SeqNo::FIRST })
    }

    /// Takes a datagram that arrived on `line`.
    ///
    /// # Panics
    /// When `line` is not below the configured number of lines.
    pub fn on_datagram(&mut self, _now: Nanos, _line: LineId, _bytes: &[u8], _sink: &mut impl Sink) {}

    /// Takes a datagram that rewind server `server` sent in answer to a request.
    pub fn on_reply(&mut self, _now: Nanos, _server: usize, _bytes: &[u8], _sink: &mut impl Sink) {}

    /// Tells that rewind server `server` cannot be reached (the kernel reported an ICMP error): what was asked of it
    /// is asked of the next one without waiting.
    pub fn on_unreachable(&mut self, _now: Nanos, _server: usize) {}

    /// Runs timers, and offers the sink again what it refused. Call once per duty cycle.
    pub fn poll(&mut self, _now: Nanos, _sink: &mut impl Sink) {}

    /// The next request to send and the index of the server to send it to. Call until `None` once per duty cycle.
    pub fn poll_request(&mut self, _now: Nanos) -> Option<(usize, Request)> {
        None
    }

    /// Delivers from `seq` on, at the next poll: a snapshot holds everything before. What is kept from `seq` on stays,
    /// what is missing is requested.
    pub fn resume_at(&mut self, _now: Nanos, _seq: SeqNo) {}

    /// Receives `session` from `seq` on, whatever the rules say: the word of a control plane. Gaps and messages kept
    /// of another session are dropped.
    pub fn adopt(&mut self, _session: Session, _seq: SeqNo) {}

    /// Number that is delivered next.
    pub fn expected(&self) -> SeqNo {
        self.expected
    }

    /// Number that follows the highest one believed to have been sent.
    pub fn highest_seen(&self) -> SeqNo {
        self.expected
    }

    /// The state as the sink was last told it.
    pub fn state(&self) -> FeedState {
        FeedState::Stale
    }

    /// The session received, when it is known.
    pub fn session(&self) -> Option<Session> {
        None
    }

    /// Messages known to be missing now.
    pub fn missing_messages(&self) -> u64 {
        0
    }

    /// Counts of the whole feed.
    pub fn stats(&self) -> &FeedStats {
        &self.stats
    }

    /// Counts of one line; `None` when there is no such line.
    pub fn line_stats(&self, line: LineId) -> Option<&LineStats> {
        self.lines.get(usize::from(line.0))
    }

    /// How long the next closed gap had been open: from when it was found to when its last message arrived. The last 64
    /// are kept; call until `None` once per duty cycle and record them.
    pub fn poll_recovery(&mut self) -> Option<Nanos> {
        None
    }
}
