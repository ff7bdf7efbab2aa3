//! The driver: what a node's agents see of the network.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

use super::Datagram;
use crate::io::{
    Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, Received, check_destinations,
};
use crate::sim::shared::Shared;
use crate::time::Nanos;

/// A driver over the simulated network. Its sockets close when it is dropped, as those of a process that dies.
pub(crate) struct SimDriver {
    shared: Shared,
    node: usize,
    agent: &'static str,
    endpoints: Vec<Endpoint>,
    buffer: Box<[u8]>,
    /// Endpoint that is asked first: none is favoured.
    first: usize,
    taken: Vec<(EndpointId, Datagram)>,
    counters: DriverCounters,
}

struct Endpoint {
    /// Number of its socket on its node.
    socket: u64,
    local: SocketAddrV4,
    only_to: Option<SocketAddrV4>,
}

impl SimDriver {
    pub(crate) fn new(
        shared: Shared,
        node: usize,
        agent: &'static str,
        max_datagram_bytes: usize,
    ) -> SimDriver {
        SimDriver {
            shared,
            node,
            agent,
            endpoints: Vec::new(),
            buffer: vec![0; max_datagram_bytes].into(),
            first: 0,
            taken: Vec::new(),
            counters: DriverCounters::default(),
        }
    }

    /// Moves up to `limit` datagrams from the sockets here, so that the network is not locked while they are looked at.
    fn take(&mut self, limit: usize) {
        let SimDriver { shared, node, endpoints, first, taken, .. } = self;
        let mut shared = shared.lock();
        let (net, mut notes) = shared.net();
        net.arrive(&mut notes);
        for offset in 0..endpoints.len() {
            let at = (*first + offset) % endpoints.len();
            while taken.len() < limit
                && let Some(datagram) = net.receive(*node, endpoints[at].socket)
            {
                taken.push((EndpointId(at as u16), datagram));
            }
        }
        *first += 1;
    }
}

impl Driver for SimDriver {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        let mut shared = self.shared.lock();
        let bound = shared.net().0.bind(self.node, &spec.bind, spec.receive_buffer_bytes);
        drop(shared);
        let (socket, local) = bound.map_err(|what| io::Error::new(io::ErrorKind::AddrInUse, what))?;
        self.endpoints.push(Endpoint { socket, local, only_to: spec.bind.only_to() });
        Ok(EndpointId(self.endpoints.len() as u16 - 1))
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.endpoints[usize::from(endpoint.0)].local
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        _now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        self.take(limit);
        let count = self.taken.len();
        for (endpoint, Datagram { from, bytes }) in self.taken.drain(..) {
            self.counters.received_datagrams += 1;
            self.counters.received_bytes += bytes.len() as u64;
            on_datagram(Received { endpoint, from, bytes: &bytes });
        }
        Ok(count)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        check_destinations(to, |endpoint| self.endpoints[usize::from(endpoint.0)].only_to);
        if self.shared.lock().refuses_send(self.node) {
            self.counters.busy += 1;
            return Err(Busy);
        }
        let size = max_bytes.min(self.buffer.len());
        let len = fill(&mut self.buffer[..size]);
        if len == 0 {
            return Ok(0);
        }
        let bytes: Arc<[u8]> = self.buffer[..size][..len].into();
        let mut shared = self.shared.lock();
        for destination in to {
            let from = self.endpoints[usize::from(destination.endpoint.0)].local;
            shared.send(self.node, self.agent, from, destination.to, &bytes);
            self.counters.sent_datagrams += 1;
            self.counters.sent_bytes += len as u64;
        }
        shared.said(self.node, self.agent, &bytes);
        Ok(len)
    }

    fn flush(&mut self, _now: Nanos) -> io::Result<()> {
        Ok(())
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        let sockets: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.socket).collect();
        self.shared.lock().net().0.close(self.node, &sockets);
    }
}
