//! Writes what passes a driver as a capture that any analyser opens: pcapng, nanoseconds, one interface an endpoint.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddrV4;
use std::path::Path;

use seqcast_wire::net::{FRAME_HEADER_BYTES, UdpDatagram};
use tracing::warn;

use super::{
    Bind, Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, MAX_DESTINATIONS, Received,
};
use crate::time::Nanos;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const LINK_ETHERNET: u16 = 1;
const OPTION_END: u16 = 0;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_EPB_FLAGS: u16 = 2;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A driver whose datagrams are also written to a capture. A diagnostic, not for the hot path at rest: it copies every
/// datagram into a file buffer, which goes to the disk when it is full, at [`Driver::flush`] and when the tap is
/// dropped. When the disk refuses, the capture ends there, with a warning, and the driver goes on.
///
/// Around a [`Fault`](super::fault::Fault) it shows what the agent sends and gets, inside one what the wire carries.
///
/// What is sent is stamped with the time of the last poll or flush: `transmit` is not told any.
pub struct Tap<D> {
    inner: D,
    capture: Capture,
    addresses: Vec<SocketAddrV4>,
}

struct Capture {
    /// None once the disk has refused.
    out: Option<BufWriter<File>>,
    /// Nanoseconds of wall clock at [`Nanos::ZERO`]; negative when the monotonic clock is ahead.
    wall_offset_ns: i128,
    now: Nanos,
    /// Unwritten datagrams may be in the buffer.
    dirty: bool,
}

impl<D: Driver> Tap<D> {
    /// Writes what passes `inner` to the file at `path`, which is made anew. Time stamps are those of the driver's
    /// calls, moved so that `now` is `wall_ns`, ns since the Unix epoch. Endpoints must be opened through the tap.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn create(inner: D, path: &Path, now: Nanos, wall_ns: u64) -> io::Result<Tap<D>> {
        let file = File::create(path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write the capture {}: {error}", path.display()))
        })?;
        let wall_offset_ns = i128::from(wall_ns) - i128::from(now.0);
        let mut capture = Capture { out: Some(BufWriter::new(file)), wall_offset_ns, now, dirty: false };
        capture.write_section()?;
        Ok(Tap { inner, capture, addresses: Vec::new() })
    }

    /// The driver behind.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Whether everything was written so far; false once the disk has refused.
    pub fn is_whole(&self) -> bool {
        self.capture.out.is_some()
    }
}

impl<D: Driver> Driver for Tap<D> {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        let endpoint = self.inner.open(spec)?;
        let address = self.inner.local_addr(endpoint);
        self.capture.write_interface(endpoint, spec, address)?;
        self.addresses.push(address);
        Ok(endpoint)
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.inner.local_addr(endpoint)
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        self.capture.now = now;
        let (capture, addresses) = (&mut self.capture, &self.addresses);
        self.inner.poll_rx(now, limit, |received| {
            let destination = addresses[usize::from(received.endpoint.0)];
            let datagram = UdpDatagram { source: received.from, destination, payload: received.bytes };
            capture.write_packet(received.endpoint, INBOUND, &datagram);
            on_datagram(received);
        })
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        assert!(to.len() <= MAX_DESTINATIONS, "at most {MAX_DESTINATIONS} destinations");
        let (capture, addresses) = (&mut self.capture, &self.addresses);
        self.inner.transmit(to, max_bytes, |buffer| {
            let len = fill(buffer);
            if len > 0 {
                for destination in to {
                    let datagram = UdpDatagram {
                        source: addresses[usize::from(destination.endpoint.0)],
                        destination: destination.to,
                        payload: &buffer[..len],
                    };
                    capture.write_packet(destination.endpoint, OUTBOUND, &datagram);
                }
            }
            len
        })
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.inner.flush(now)?;
        self.capture.now = now;
        self.capture.flush();
        Ok(())
    }

    fn counters(&self) -> DriverCounters {
        self.inner.counters()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

impl<D> Drop for Tap<D> {
    fn drop(&mut self) {
        self.capture.flush();
    }
}

impl Capture {
    fn write_section(&mut self) -> io::Result<()> {
        let mut body = [0; 16];
        body[..4].copy_from_slice(&BYTE_ORDER.to_ne_bytes());
        body[4..6].copy_from_slice(&1u16.to_ne_bytes());
        // Length of the section: not said.
        body[8..].copy_from_slice(&(-1i64).to_ne_bytes());
        self.write_block(SECTION_HEADER, &[&body])
    }

    fn write_interface(
        &mut self,
        endpoint: EndpointId,
        spec: &EndpointSpec,
        address: SocketAddrV4,
    ) -> io::Result<()> {
        let kind = match spec.bind {
            Bind::Line { .. } => "line",
            Bind::Local { .. } => "local",
            Bind::Sender { .. } => "sender",
        };
        let name = format!("endpoint {} {kind} {address}", endpoint.0);
        let mut body = Vec::new();
        body.extend(LINK_ETHERNET.to_ne_bytes());
        // Reserved, then the snapshot length: no limit.
        body.extend([0; 6]);
        option(&mut body, OPTION_IF_NAME, name.as_bytes());
        // 10^-9 seconds.
        option(&mut body, OPTION_IF_TSRESOL, &[9]);
        option(&mut body, OPTION_END, &[]);
        self.write_block(INTERFACE_DESCRIPTION, &[&body])
    }

    /// What the disk refuses here is told once, and not to the caller.
    fn write_packet(&mut self, endpoint: EndpointId, direction: u32, datagram: &UdpDatagram<'_>) {
        if self.out.is_none() {
            return;
        }
        let mut headers = [0; FRAME_HEADER_BYTES];
        if datagram.emit_headers(&mut headers) == 0 {
            return;
        }
        let stamp_ns = (i128::from(self.now.0) + self.wall_offset_ns).max(0) as u64;
        let frame_bytes = (headers.len() + datagram.payload.len()) as u32;
        let fields =
            [u32::from(endpoint.0), (stamp_ns >> 32) as u32, stamp_ns as u32, frame_bytes, frame_bytes];
        let mut head = [0; 20];
        for (bytes, field) in head.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&field.to_ne_bytes());
        }
        let padding = &[0; 3][..frame_bytes.next_multiple_of(4) as usize - frame_bytes as usize];
        let mut options = [0; 12];
        options[..2].copy_from_slice(&OPTION_EPB_FLAGS.to_ne_bytes());
        options[2..4].copy_from_slice(&4u16.to_ne_bytes());
        options[4..8].copy_from_slice(&direction.to_ne_bytes());
        let parts = [&head[..], &headers, datagram.payload, padding, &options];
        self.dirty = true;
        if let Err(error) = self.write_block(ENHANCED_PACKET, &parts) {
            self.give_up(&error);
        }
    }

    fn write_block(&mut self, kind: u32, body: &[&[u8]]) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let bytes = body.iter().map(|part| part.len()).sum::<usize>() as u32 + 12;
        out.write_all(&kind.to_ne_bytes())?;
        out.write_all(&bytes.to_ne_bytes())?;
        for part in body {
            out.write_all(part)?;
        }
        out.write_all(&bytes.to_ne_bytes())
    }

    fn flush(&mut self) {
        if let Some(out) = &mut self.out
            && self.dirty
        {
            self.dirty = false;
            if let Err(error) = out.flush() {
                self.give_up(&error);
            }
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        warn!(%error, "the capture ends here: it cannot be written");
        if let Some(out) = self.out.take() {
            // Dropping the buffer as it is would try to write it again.
            drop(out.into_parts());
        }
    }
}

/// An option: code, length, value padded to a multiple of four.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}
