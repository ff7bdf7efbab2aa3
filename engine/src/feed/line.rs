//! Loss statistics of one line.

use seqcast_wire::SeqNo;
use seqcast_wire::mold::{Downstream, Kind};

use crate::time::Nanos;

/// A line of the feed, numbered from 0 in the order of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub u8);

/// What one line brought and what it lost, counted since start.
///
/// MoldUDP64 numbers messages, not datagrams: lost datagrams are estimated from the messages of a hole and the mean
/// of messages per datagram on this line, at least one per hole. Counts never go back: a hole that a late datagram of
/// the same line fills stays counted as lost, and the datagram is counted as late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineStats {
    /// Datagrams of the session: data, heartbeats, ends.
    pub datagrams: u64,
    /// Of them, those with messages.
    pub data_datagrams: u64,
    /// Messages in them.
    pub messages: u64,
    /// Data datagrams that brought something new: this line was first.
    pub won_datagrams: u64,
    /// Data datagrams in which every message was there already.
    pub duplicate_datagrams: u64,
    /// Data datagrams behind what this line had already brought: reordered, repeated or retransmitted.
    pub late_datagrams: u64,
    /// Holes in this line's numbers.
    pub holes: u64,
    /// Messages in those holes.
    pub lost_messages: u64,
    /// Estimate of the datagrams in those holes.
    pub lost_datagrams: u64,
    /// When a datagram of the session last arrived; [`Nanos::ZERO`] before the first.
    pub last_heard: Nanos,
    /// Number that follows the highest this line told of.
    pub next: SeqNo,
}

/// The state machine behind [`LineStats`].
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stats: LineStats,
    heard: bool,
    /// A hole waited for it in vain, and it has not been heard since.
    overdue: bool,
}

impl Line {
    pub(super) fn new() -> Line {
        let stats = LineStats {
            datagrams: 0,
            data_datagrams: 0,
            messages: 0,
            won_datagrams: 0,
            duplicate_datagrams: 0,
            late_datagrams: 0,
            holes: 0,
            lost_messages: 0,
            lost_datagrams: 0,
            last_heard: Nanos::ZERO,
            next: SeqNo::FIRST,
        };
        Line { stats, heard: false, overdue: false }
    }

    /// Forgets where the line stands, not what was counted: another session begins.
    pub(super) fn on_session(&mut self) {
        (self.heard, self.overdue) = (false, false);
        self.stats.next = SeqNo::FIRST;
    }

    /// Whether the line has brought what comes after `first`, which begins a datagram.
    #[inline]
    pub(super) fn has_passed(&self, first: SeqNo) -> bool {
        self.heard && first < self.stats.next
    }

    /// Counts a datagram of the session that is believed.
    #[inline]
    pub(super) fn on_datagram(&mut self, now: Nanos, datagram: &Downstream<'_>) {
        let is_late = self.has_passed(datagram.first());
        let stats = &mut self.stats;
        stats.datagrams += 1;
        stats.last_heard = now;
        let hole = if self.heard { datagram.first().since(stats.next) } else { 0 };
        if let Kind::Data(count) = datagram.kind() {
            stats.late_datagrams += u64::from(is_late);
            stats.data_datagrams += 1;
            stats.messages += u64::from(count);
        }
        if hole > 0 {
            stats.holes += 1;
            let datagrams = estimate_datagrams(hole, stats.messages, stats.data_datagrams);
            stats.lost_messages = stats.lost_messages.saturating_add(hole);
            stats.lost_datagrams = stats.lost_datagrams.saturating_add(datagrams);
        }
        if !self.heard || datagram.next() > stats.next {
            stats.next = datagram.next();
        }
        (self.heard, self.overdue) = (true, false);
    }

    /// A hole was left to this line for as long as one may be. Whether it is silent shows when it is heard again.
    pub(super) fn on_waited(&mut self, end: SeqNo) {
        self.overdue |= self.stats.next < end;
    }

    /// Whether a datagram of the session arrived within `silence` of `now`, and nothing has waited for it in vain since.
    pub(super) fn is_heard(&self, now: Nanos, silence: Nanos) -> bool {
        self.heard && !self.overdue && now.since(self.stats.last_heard) <= silence
    }
}

fn estimate_datagrams(hole: u64, messages: u64, datagrams: u64) -> u64 {
    if messages == 0 {
        return 1;
    }
    let per_datagram = (messages as f64 / datagrams as f64).max(1.0);
    ((hole as f64 / per_datagram).round() as u64).max(1)
}
