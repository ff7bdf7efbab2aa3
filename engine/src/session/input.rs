//! Bytes from a peer, cut into packets.

use seqcast_wire::Error;
use seqcast_wire::soup::{self, Packet};

/// Keeps the beginning of a packet until the rest of it is there.
#[derive(Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
}

impl Input {
    pub(super) fn new() -> Input {
        Input { bytes: Vec::with_capacity(2 * soup::MAX_PACKET_BYTES) }
    }

    /// Hands every packet that `bytes` completes to `on_packet`, until that says to stop by an error.
    pub(super) fn on_bytes<E: From<Error>>(
        &mut self,
        mut bytes: &[u8],
        mut on_packet: impl FnMut(Packet<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // What is kept is less than a packet, so there is always room for the next piece.
        while !bytes.is_empty() {
            let room = 2 * soup::MAX_PACKET_BYTES - self.bytes.len();
            let (piece, rest) = bytes.split_at(bytes.len().min(room));
            self.bytes.extend_from_slice(piece);
            bytes = rest;
            let mut at = 0;
            while let Some((packet, len)) = soup::decode(&self.bytes[at..])? {
                at += len;
                on_packet(packet)?;
            }
            self.bytes.drain(..at);
        }
        Ok(())
    }
}
