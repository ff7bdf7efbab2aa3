//! Capture files as a source of datagrams: a driver that only receives, and a reader for tools.

mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;

pub use self::reader::{CaptureError, CaptureReader, Captured, Skipped};
use super::{Bind, Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, Received};
use crate::limits::MAX_ENDPOINTS;
use crate::time::Nanos;

/// How fast a capture is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it is polled.
    AsFast,
    /// As it was captured, `speed` times faster; the first datagram is due at the first poll.
    Recorded {
        /// 1 is the recorded speed, 2 is twice as fast.
        speed: f64,
    },
}

/// A destination of a capture's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Group or host, and port.
    pub destination: SocketAddrV4,
    /// Datagrams to it.
    pub datagrams: u64,
    /// Bytes of them (UDP payload).
    pub bytes: u64,
}

/// What a capture holds, read from its start to its end or to where it is damaged.
#[derive(Debug)]
pub struct Contents {
    /// Every destination, by address.
    pub flows: Vec<Flow>,
    /// What is no flow.
    pub skipped: Skipped,
    /// Why it was not read to its end, if it was not. A [`PcapDriver`] meets the same when it gets there.
    pub damage: Option<CaptureError>,
}

impl Contents {
    /// Reads the capture through.
    ///
    /// # Errors
    /// [`CaptureError::File`] and [`CaptureError::Format`]: nothing could be read.
    pub fn of(path: &Path) -> Result<Contents, CaptureError> {
        let mut reader = CaptureReader::open(path)?;
        let mut flows = BTreeMap::<SocketAddrV4, Flow>::new();
        let damage = loop {
            match reader.next_datagram() {
                Ok(Some(Captured { destination, payload, .. })) => {
                    let flow =
                        flows.entry(destination).or_insert(Flow { destination, datagrams: 0, bytes: 0 });
                    flow.datagrams += 1;
                    flow.bytes += payload.len() as u64;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        Ok(Contents { flows: flows.into_values().collect(), skipped: reader.skipped(), damage })
    }
}

/// Plays a capture: each of its datagrams goes to the [`Bind::Line`] endpoints with its destination. Nothing can be
/// sent: [`Driver::transmit`] does not call `fill`, counts send errors and gives 0. Unlike live drivers it allocates
/// and waits for the disk while it is polled.
pub struct PcapDriver {
    reader: CaptureReader,
    pace: Pace,
    /// When the first datagram was due, and its stamp.
    start: Option<(Nanos, u64)>,
    /// The reader's current datagram has yet to be delivered.
    waiting: bool,
    finished: bool,
    /// Why the file was not read to its end, to be told once what is whole was delivered.
    failure: Option<CaptureError>,
    endpoints: Vec<Bind>,
    counters: DriverCounters,
}

impl PcapDriver {
    /// Opens a capture to play.
    ///
    /// # Errors
    /// [`CaptureError::File`], [`CaptureError::Format`], and [`CaptureError::Speed`] for a speed that is not above 0.
    pub fn open_file(path: &Path, pace: Pace) -> Result<PcapDriver, CaptureError> {
        if let Pace::Recorded { speed } = pace
            && !(speed > 0.0 && speed.is_finite())
        {
            return Err(CaptureError::Speed(speed));
        }
        Ok(PcapDriver {
            reader: CaptureReader::open(path)?,
            pace,
            start: None,
            waiting: false,
            finished: false,
            failure: None,
            endpoints: Vec::new(),
            counters: DriverCounters::default(),
        })
    }

    /// Whether every datagram was delivered, up to the file's end or to where it is damaged.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Packets that were read so far and are no whole UDP datagrams.
    pub fn skipped(&self) -> Skipped {
        self.reader.skipped()
    }

    /// Makes the next datagram the reader's current one; false when there is none.
    fn load(&mut self) -> bool {
        if !self.waiting && !self.finished {
            match self.reader.advance() {
                Ok(found) => self.waiting = found,
                Err(error) => self.failure = Some(error),
            }
            self.finished = !self.waiting;
        }
        self.waiting
    }

    fn is_due(&mut self, now: Nanos, stamp_ns: u64) -> bool {
        let Pace::Recorded { speed } = self.pace else { return true };
        let (start, first_ns) = *self.start.get_or_insert((now, stamp_ns));
        let after = stamp_ns.saturating_sub(first_ns) as f64 / speed;
        now >= start + Nanos(after as u64)
    }
}

impl Driver for PcapDriver {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        if self.endpoints.len() == MAX_ENDPOINTS {
            return Err(io::Error::other(format!("a driver has at most {MAX_ENDPOINTS} endpoints")));
        }
        self.endpoints.push(spec.bind.clone());
        Ok(EndpointId(self.endpoints.len() as u16 - 1))
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        match self.endpoints[usize::from(endpoint.0)] {
            Bind::Line { group, .. } => group,
            Bind::Local { local, .. } | Bind::Sender { local, .. } => local,
        }
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        let mut delivered = 0;
        // What nobody asked for counts against the limit too, so that a poll never reads the whole file.
        for _ in 0..limit {
            if !self.load() {
                break;
            }
            let stamp_ns = self.reader.current().map_or(0, |datagram| datagram.stamp_ns);
            if !self.is_due(now, stamp_ns) {
                break;
            }
            self.waiting = false;
            let Some(datagram) = self.reader.current() else { break };
            for (index, bind) in self.endpoints.iter().enumerate() {
                if wants(bind, &datagram) {
                    delivered += 1;
                    self.counters.received_datagrams += 1;
                    self.counters.received_bytes += datagram.payload.len() as u64;
                    let endpoint = EndpointId(index as u16);
                    on_datagram(Received { endpoint, from: datagram.source, bytes: datagram.payload });
                }
            }
        }
        match self.failure.take() {
            Some(error) if delivered == 0 => Err(error.into()),
            failure => {
                self.failure = failure;
                Ok(delivered)
            }
        }
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        _max_bytes: usize,
        _fill: F,
    ) -> Result<usize, Busy> {
        self.counters.send_errors += to.len() as u64;
        Ok(0)
    }

    fn flush(&mut self, _now: Nanos) -> io::Result<()> {
        Ok(())
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }

    fn name(&self) -> &'static str {
        "pcap"
    }
}

fn wants(bind: &Bind, datagram: &Captured<'_>) -> bool {
    match bind {
        Bind::Line { group, source, .. } => {
            *group == datagram.destination && source.is_none_or(|source| source == *datagram.source.ip())
        }
        Bind::Local { .. } | Bind::Sender { .. } => false,
    }
}
