use std::io;
use std::net::SocketAddrV4;
use std::path::Path;

use seqcast_engine::agents::publisher::Script;
use seqcast_engine::config::Config;
use seqcast_engine::io::store::FileStore;
use seqcast_engine::io::{
    AnyDriver, Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, Received,
};
use seqcast_engine::mem::store::StoreError;
use seqcast_engine::runtime::{AgentError, WallClock, wall_ns};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{Environment, Host, Node};
use seqcast_wire::ack::Ack;

use super::{Event, Trace};

/// Traces when each message of a script was due.
pub(crate) struct TracedScript<S> {
    script: S,
    trace: Trace,
    taken: u64,
    /// When the message last shown was due, and when that was asked.
    shown: Option<(Nanos, Nanos)>,
}

impl<S> TracedScript<S> {
    /// Writes to `trace`.
    pub(crate) fn new(script: S, trace: Trace) -> TracedScript<S> {
        TracedScript { script, trace, taken: 0, shown: None }
    }
}

impl<S: Script> Script for TracedScript<S> {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        let found = self.script.peek(now);
        self.shown = found.as_ref().map(|(due, _)| (*due, now));
        if found.is_none() {
            self.trace.flush();
        }
        found
    }

    fn advance(&mut self) {
        self.script.advance();
        self.taken += 1;
        if let Some((due, now)) = self.shown.take() {
            self.trace.put_at(wall_ns().saturating_sub(now.since(due).0), Event::Due { seq: self.taken });
        }
    }

    fn is_finished(&self) -> bool {
        self.script.is_finished()
    }
}

/// The machine, with a publisher's acknowledgements traced.
pub(crate) struct TracedHost(pub(crate) Trace);

impl Environment for TracedHost {
    type Driver = TracedDriver;
    type Store = FileStore;

    fn driver(
        &mut self,
        agent: &'static str,
        config: &Config,
        node: &mut Node,
    ) -> Result<TracedDriver, AgentError> {
        Ok(TracedDriver { driver: Host.driver(agent, config, node)?, trace: self.0.clone() })
    }

    fn store(&mut self, dir: &Path) -> Result<FileStore, StoreError> {
        Host.store(dir)
    }

    fn wall(&self) -> WallClock {
        Host.wall()
    }
}

/// A publisher's driver: traces the acknowledgements that it receives.
pub(crate) struct TracedDriver {
    driver: AnyDriver,
    trace: Trace,
}

impl Driver for TracedDriver {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        self.driver.open(spec)
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.driver.local_addr(endpoint)
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        let trace = &self.trace;
        self.driver.poll_rx(now, limit, |datagram| {
            if let Ok(Ack { epoch, committed, received, .. }) = Ack::parse(datagram.bytes) {
                let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
                let (committed, received) = (committed.value(), received.value());
                trace.put(Event::Acknowledged { epoch, committed, received });
            }
            on_datagram(datagram);
        })
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        self.driver.transmit(to, max_bytes, fill)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.driver.flush(now)
    }

    fn counters(&self) -> DriverCounters {
        self.driver.counters()
    }

    fn name(&self) -> &'static str {
        self.driver.name()
    }
}

impl Drop for TracedDriver {
    fn drop(&mut self) {
        self.trace.flush();
    }
}
