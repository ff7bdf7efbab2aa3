//! Writes UDP datagrams as a capture that any analyser opens: pcapng, Ethernet, nanoseconds.
//!
//! | block | content |
//! |---|---|
//! | section header | byte order, version 1.0, length not given |
//! | interface description | Ethernet, `if_tsresol` = 9 |
//! | enhanced packet, one a datagram | time stamp, lengths, frame, padding to four bytes |

use std::io::{self, Write};

use seqcast_wire::net::{FRAME_HEADER_BYTES, UdpDatagram};

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const LINK_ETHERNET: u16 = 1;
const OPTION_TSRESOL: u16 = 9;

/// A capture in the making.
#[derive(Debug)]
pub(crate) struct PcapngWriter<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> PcapngWriter<W> {
    pub(crate) fn new(out: W) -> io::Result<PcapngWriter<W>> {
        let mut writer = PcapngWriter { out, bytes: 0 };
        let mut section = [0; 16];
        section[..4].copy_from_slice(&BYTE_ORDER.to_le_bytes());
        section[4..6].copy_from_slice(&1u16.to_le_bytes());
        section[8..].copy_from_slice(&u64::MAX.to_le_bytes());
        writer.block(SECTION_HEADER, &[&section])?;
        let mut interface = [0; 20];
        interface[..2].copy_from_slice(&LINK_ETHERNET.to_le_bytes());
        interface[8..10].copy_from_slice(&OPTION_TSRESOL.to_le_bytes());
        interface[10..12].copy_from_slice(&1u16.to_le_bytes());
        interface[12] = 9;
        // The rest pads the option and ends the list.
        writer.block(INTERFACE_DESCRIPTION, &[&interface])?;
        Ok(writer)
    }

    /// Adds a datagram; `stamp_ns` counts from the Unix epoch.
    pub(crate) fn write(&mut self, stamp_ns: u64, datagram: &UdpDatagram<'_>) -> io::Result<()> {
        let mut headers = [0; FRAME_HEADER_BYTES];
        if datagram.emit_headers(&mut headers) == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the payload is longer than a datagram's",
            ));
        }
        let frame_bytes = (FRAME_HEADER_BYTES + datagram.payload.len()) as u32;
        let mut packet = [0; 20];
        packet[4..8].copy_from_slice(&((stamp_ns >> 32) as u32).to_le_bytes());
        packet[8..12].copy_from_slice(&(stamp_ns as u32).to_le_bytes());
        packet[12..16].copy_from_slice(&frame_bytes.to_le_bytes());
        packet[16..20].copy_from_slice(&frame_bytes.to_le_bytes());
        let padding = frame_bytes.next_multiple_of(4) - frame_bytes;
        self.block(ENHANCED_PACKET, &[&packet, &headers, datagram.payload, &[0; 3][..padding as usize]])
    }

    /// Flushes and gives the bytes written.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn block(&mut self, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
        let length = 12 + parts.iter().map(|part| part.len()).sum::<usize>() as u32;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length.to_le_bytes())?;
        for part in parts {
            self.out.write_all(part)?;
        }
        self.bytes += u64::from(length);
        self.out.write_all(&length.to_le_bytes())
    }
}
