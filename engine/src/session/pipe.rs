//! What both sides of a link share: output with a bound, and timers.

use seqcast_wire::soup::Packet;

use super::stream::Output;
use super::{Closing, Timing};
use crate::time::Nanos;

/// Packets on their way out, and when something last happened.
#[derive(Debug)]
pub(super) struct Pipe {
    timing: Timing,
    output: Output,
    sent: Nanos,
    /// The output was empty, or some of it was written.
    moved: Nanos,
    received: Nanos,
}

impl Pipe {
    pub(super) fn new(timing: Timing, output_bytes: usize, now: Nanos) -> Pipe {
        Pipe { timing, output: Output::new(output_bytes), sent: now, moved: now, received: now }
    }

    pub(super) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Queues a packet; `false`, and nothing changed, when it does not fit.
    pub(super) fn try_send(&mut self, now: Nanos, packet: &Packet<'_>) -> bool {
        let sent = self.output.try_push(packet);
        if sent {
            self.sent = now;
        }
        sent
    }

    pub(super) fn on_received(&mut self, now: Nanos) {
        self.received = now;
    }

    pub(super) fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    pub(super) fn on_written(&mut self, now: Nanos, count: usize) {
        self.output.consume(count);
        if count > 0 {
            self.moved = now;
        }
    }

    /// Runs the timers: queues `heartbeat` when it is due, or tells why the link must be closed. Call it on a closing link
    /// too.
    pub(super) fn poll(&mut self, now: Nanos, heartbeat: Option<&Packet<'_>>) -> Option<Closing> {
        if self.output.bytes().is_empty() {
            self.moved = now;
        }
        if now.since(self.received) >= self.timing.timeout {
            return Some(Closing::Silent);
        }
        if self.is_stuck(now) {
            return Some(Closing::Stalled);
        }
        if let Some(heartbeat) = heartbeat
            && now.since(self.sent) >= self.timing.heartbeat
        {
            self.try_send(now, heartbeat);
        }
        None
    }

    /// Whether output has waited for too long without any of it being written.
    pub(super) fn is_stuck(&self, now: Nanos) -> bool {
        !self.output.bytes().is_empty() && now.since(self.moved) >= self.timing.timeout
    }
}
