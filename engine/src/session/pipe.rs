//! What both ends of a link share: output and timers.

use seqcast_wire::soup::Packet;

use super::output::Output;
use super::{Closed, HEARTBEAT, TIMEOUT};
use crate::time::Nanos;

/// Packets on their way out, and when something last happened.
#[derive(Debug)]
pub(super) struct Pipe {
    output: Output,
    heard: Nanos,
    sent: Nanos,
    /// Nothing waited to be written then, or some of it was.
    moved: Nanos,
    /// Some was written since `moved`.
    written: bool,
}

impl Pipe {
    pub(super) fn new(output_bytes: usize, now: Nanos) -> Pipe {
        Pipe { output: Output::new(output_bytes), heard: now, sent: now, moved: now, written: false }
    }

    pub(super) fn on_heard(&mut self, now: Nanos) {
        self.heard = now;
    }

    /// Queues a packet; `false`, and nothing queued, when it finds no room.
    pub(super) fn try_send(&mut self, now: Nanos, packet: &Packet<'_>) -> bool {
        let sent = self.output.try_push(packet);
        if sent {
            self.sent = now;
        }
        sent
    }

    /// Bytes were sent past the output.
    pub(super) fn on_sent(&mut self, now: Nanos) {
        self.sent = now;
        self.written = true;
    }

    pub(super) fn pending(&self) -> &[u8] {
        self.output.pending()
    }

    pub(super) fn on_written(&mut self, len: usize) {
        self.output.on_written(len);
        self.written |= len > 0;
    }

    /// Runs the timers: sends `heartbeat`, if any, when nothing else was sent, or tells why the link is over.
    pub(super) fn poll(&mut self, now: Nanos, heartbeat: Option<&Packet<'_>>) -> Result<(), Closed> {
        let is_empty = self.output.pending().is_empty();
        if is_empty || self.written {
            (self.moved, self.written) = (now, false);
        }
        if now.since(self.heard) >= TIMEOUT {
            return Err(Closed::Silent);
        }
        if now.since(self.moved) >= TIMEOUT {
            return Err(Closed::Stalled);
        }
        // While something waits to be written, a heartbeat would wait behind it.
        if let Some(heartbeat) = heartbeat
            && is_empty
            && now.since(self.sent) >= HEARTBEAT
        {
            self.try_send(now, heartbeat);
        }
        Ok(())
    }
}
