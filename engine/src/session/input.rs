//! Bytes from a peer, cut into packets.

use seqcast_wire::soup::{self, Packet};

use super::Closed;

/// Bytes of the length field, which tells how long a packet is.
const LENGTH_BYTES: usize = 2;

/// Cuts a stream into packets. One that arrived whole is read where it is; only one that is cut is copied.
#[derive(Debug)]
pub(super) struct Input {
    /// The start of a packet whose rest has not arrived.
    partial: Box<[u8]>,
    len: usize,
}

impl Input {
    /// Takes packets of up to `max_packet_bytes`.
    pub(super) fn new(max_packet_bytes: usize) -> Input {
        Input { partial: vec![0; max_packet_bytes.max(soup::HEADER_BYTES)].into(), len: 0 }
    }

    /// Hands every packet that `bytes` completes to `on_packet`, until that says to stop by an error.
    pub(super) fn on_bytes(
        &mut self,
        mut bytes: &[u8],
        mut on_packet: impl FnMut(Packet<'_>) -> Result<(), Closed>,
    ) -> Result<(), Closed> {
        loop {
            let stream = if self.len > 0 { &self.partial[..self.len] } else { bytes };
            let packet_bytes = packet_bytes(stream, self.partial.len())?;
            if let Some((packet, len)) = soup::decode(stream)? {
                on_packet(packet)?;
                if self.len > 0 {
                    self.len = 0;
                } else {
                    bytes = &bytes[len..];
                }
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(packet_bytes - self.len));
            self.partial[self.len..self.len + piece.len()].copy_from_slice(piece);
            self.len += piece.len();
            bytes = rest;
        }
    }
}

/// Bytes of the packet that `stream` starts with; those of its length field while no more is known.
fn packet_bytes(stream: &[u8], max: usize) -> Result<usize, Closed> {
    let Some(&[high, low]) = stream.first_chunk::<LENGTH_BYTES>() else { return Ok(LENGTH_BYTES) };
    let bytes = LENGTH_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes > max { Err(Closed::TooLong { bytes, max }) } else { Ok(bytes) }
}
