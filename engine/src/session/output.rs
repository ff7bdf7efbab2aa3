//! Bytes on their way to a peer.

use seqcast_wire::soup::Packet;

/// A bounded buffer of whole packets, written to the connection from the front.
#[derive(Debug)]
pub(super) struct Output {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Output {
    pub(super) fn new(capacity: usize) -> Output {
        Output { bytes: vec![0; capacity].into(), start: 0, end: 0 }
    }

    /// Appends a packet; `false`, and nothing appended, when it finds no room.
    pub(super) fn try_push(&mut self, packet: &Packet<'_>) -> bool {
        let mut len = packet.emit(&mut self.bytes[self.end..]);
        if len == 0 && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            len = packet.emit(&mut self.bytes[self.end..]);
        }
        self.end += len;
        len > 0
    }

    /// What is still to be written.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `len` bytes of [`Output::pending`] were written.
    pub(super) fn on_written(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}
