//! Suspecting a peer that is not heard.

use super::config::{StreamConfigError, within};
use crate::time::Nanos;

/// When a peer is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorConfig {
    /// A peer is suspected when it is not heard for this long.
    pub suspect_after: Nanos,
    /// False suspicions double that time, up to this.
    pub max_suspect_after: Nanos,
    /// A doubling is taken back when nothing was suspected falsely for this long.
    pub calm: Nanos,
}

impl Default for DetectorConfig {
    /// For hosts that nobody tuned: they stand still for some milliseconds now and then.
    fn default() -> DetectorConfig {
        DetectorConfig {
            suspect_after: Nanos::from_millis(50),
            max_suspect_after: Nanos::from_secs(1),
            calm: Nanos::from_secs(30),
        }
    }
}

impl DetectorConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), StreamConfigError> {
        within("suspect_after (ns)", self.suspect_after.0, 1, u64::MAX)?;
        within("max_suspect_after (ns)", self.max_suspect_after.0, self.suspect_after.0, u64::MAX)?;
        within("calm (ns)", self.calm.0, 1, u64::MAX)
    }
}

/// Why a peer is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Its control connection was closed: a dead process.
    LinkClosed,
    /// It was not heard for this long, while this node was awake: a dead host or a broken network.
    Silent(Nanos),
}

/// What a detector counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorStats {
    /// Suspicions raised.
    pub suspicions: u64,
    /// Of those, the ones after which the peer was heard again.
    pub false_suspicions: u64,
    /// Times that this node itself stood still for so long that a silence proved nothing.
    pub stalls: u64,
    /// Closed control connections that were not believed, because the last one was not the peer's end.
    pub doubted_closings: u64,
}

/// Watches one peer. Feed it everything heard from the peer first, then poll it, in every duty cycle.
///
/// Only time in which this node was awake counts as silence: after a pause of half the timeout it begins anew. A
/// suspicion that proves false doubles the timeout, so that two nodes do not depose one another in turn, and closed
/// connections are doubted for a while after one that was not the peer's end.
#[derive(Clone, Debug)]
pub struct Detector {
    config: DetectorConfig,
    timeout: Nanos,
    polled_at: Nanos,
    silent_since: Nanos,
    /// This node stood still, and has not heard the peer since.
    stalled: bool,
    closed_at: Option<Nanos>,
    suspected: Option<Suspicion>,
    doubts_closings: bool,
    /// The last time that this node was misled, or that a doubling was taken back.
    misled_at: Nanos,
    stats: DetectorStats,
}

impl Detector {
    /// Watches from `now` on.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: &DetectorConfig, now: Nanos) -> Result<Detector, StreamConfigError> {
        config.check()?;
        Ok(Detector {
            config: *config,
            timeout: config.suspect_after,
            polled_at: now,
            silent_since: now,
            stalled: false,
            closed_at: None,
            suspected: None,
            doubts_closings: false,
            misled_at: now,
            stats: DetectorStats::default(),
        })
    }

    /// The peer was heard, in the epoch of this node. What arrives soon after its connection closed was on its way
    /// before, and is no sign of life.
    pub fn on_heard(&mut self, now: Nanos) {
        self.silent_since = now;
        self.stalled = false;
        if let Some(closed_at) = self.closed_at {
            if now.since(closed_at) < self.timeout {
                return;
            }
            self.closed_at = None;
        }
        if let Some(suspicion) = self.suspected.take() {
            self.stats.false_suspicions += 1;
            self.doubts_closings |= suspicion == Suspicion::LinkClosed;
            self.on_misled(now);
        }
    }

    /// The peer's control connection was closed.
    pub fn on_link_closed(&mut self, now: Nanos) {
        if self.doubts_closings {
            self.stats.doubted_closings += 1;
        } else {
            self.closed_at = Some(now);
        }
    }

    /// A suspicion, once; then none until the peer is heard again, or [`Detector::settle`].
    pub fn poll(&mut self, now: Nanos) -> Option<Suspicion> {
        let pause = now.since(self.polled_at);
        self.polled_at = now;
        self.calm_down(now);
        if self.suspected.is_some() {
            return None;
        }
        if self.closed_at.is_some() {
            return self.suspect(Suspicion::LinkClosed);
        }
        if pause >= Nanos(self.timeout.0 / 2) {
            self.on_stall(now);
            return None;
        }
        let silence = now.since(self.silent_since);
        if silence < self.timeout { None } else { self.suspect(Suspicion::Silent(silence)) }
    }

    fn suspect(&mut self, suspicion: Suspicion) -> Option<Suspicion> {
        self.stats.suspicions += 1;
        self.suspected = Some(suspicion);
        self.suspected
    }

    /// This node stood still: what it did not hear meanwhile proves nothing.
    fn on_stall(&mut self, now: Nanos) {
        self.stats.stalls += 1;
        self.silent_since = now;
        if self.stalled {
            // It stands still so often that it would never come to judge.
            self.on_misled(now);
        }
        self.stalled = true;
    }

    fn on_misled(&mut self, now: Nanos) {
        self.timeout = (self.timeout + self.timeout).min(self.config.max_suspect_after);
        self.misled_at = now;
    }

    fn calm_down(&mut self, now: Nanos) {
        if now.since(self.misled_at) >= self.config.calm {
            self.timeout = Nanos(self.timeout.0 / 2).max(self.config.suspect_after);
            self.doubts_closings = false;
            self.misled_at = now;
        }
    }

    /// A new epoch began: what was suspected is settled, neither right nor wrong, and silence begins anew.
    pub fn settle(&mut self, now: Nanos) {
        self.silent_since = now;
        self.stalled = false;
        self.closed_at = None;
        self.suspected = None;
    }

    /// Why the peer is suspected, while it is.
    pub fn suspected(&self) -> Option<Suspicion> {
        self.suspected
    }

    /// How long a silence makes the peer suspect now.
    pub fn timeout(&self) -> Nanos {
        self.timeout
    }

    /// What was counted so far.
    pub fn stats(&self) -> &DetectorStats {
        &self.stats
    }
}
