//! The other nodes, as one node sees them.

use std::net::SocketAddrV4;

use seqcast_wire::{SeqNo, Session, repl};

use super::ReplicaPlan;
use super::own::Streamed;
use crate::io::{Destination, Driver, EndpointId};
use crate::journal::JournalReader;
use crate::replica::{CommitGate, Detector, Head, Member, NodeId, Outbound, StreamConfig, Suspect};
use crate::time::Nanos;

/// Datagrams sent to one node in one duty cycle at most.
const SEND_LIMIT: usize = 64;

/// Another node.
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: SocketAddrV4,
    pub(super) detector: Detector,
    /// Its control connection, as far as is known.
    pub(super) linked: bool,
    /// The stream to it, while this node leads.
    stream: Option<Outbound>,
    journal: Streamed,
}

/// All other nodes.
pub(super) struct Peers {
    pub(super) list: Vec<Peer>,
    config: StreamConfig,
    me: Member,
    session: Session,
    lag_timeout: Nanos,
}

/// What the acknowledgements and silences of a duty cycle come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The node has everything and keeps up.
    CaughtUp(Member, SeqNo),
    /// The node is gone or does not keep up.
    Lost(NodeId, Suspect),
}

impl Peers {
    pub(super) fn new(plan: &ReplicaPlan) -> Peers {
        let others = plan.nodes.iter().enumerate().map(|(at, &address)| (NodeId(at as u16), address));
        let list = others
            .filter(|(node, _)| *node != plan.me.node)
            .map(|(node, address)| Peer {
                node,
                address,
                detector: Detector::new(&plan.detector),
                linked: false,
                stream: None,
                journal: Streamed::new(plan.reader.clone()),
            })
            .collect();
        let (config, me, session) = (plan.stream.clone(), plan.me, plan.session);
        Peers { list, config, me, session, lag_timeout: plan.lag_timeout }
    }

    pub(super) fn of(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.list.iter_mut().find(|peer| peer.node == node)
    }

    pub(super) fn at(&self, address: SocketAddrV4) -> Option<NodeId> {
        self.list.iter().find(|peer| peer.address == address).map(|peer| peer.node)
    }

    /// Streams to all from now on, in `epoch`.
    pub(super) fn lead(&mut self, now: Nanos, epoch: u64) {
        for peer in &mut self.list {
            peer.stream = Some(Outbound::new(&self.config, self.me, self.session, epoch, peer.node));
            // What it did not say while somebody else led says nothing.
            peer.detector.on_heard(now);
        }
    }

    /// Streams no more.
    pub(super) fn rest(&mut self) {
        self.list.iter_mut().for_each(|peer| peer.stream = None);
    }

    /// Takes an acknowledgement, for the gate.
    pub(super) fn on_ack(&mut self, now: Nanos, node: NodeId, ack: &repl::Ack, gate: &mut CommitGate) {
        let Some(peer) = self.of(node) else { return };
        let Some(stream) = &mut peer.stream else { return };
        if let Some((member, next)) = stream.on_ack(now, ack, &peer.journal) {
            gate.on_ack(member, gate.epoch(), next);
        }
    }

    /// Sends what is due to each of them.
    pub(super) fn send<D: Driver>(
        &mut self,
        now: Nanos,
        head: &Head,
        driver: &mut D,
        endpoint: EndpointId,
    ) -> usize {
        let mut sent = 0;
        for peer in &mut self.list {
            let Peer { address, stream: Some(stream), journal, .. } = peer else { continue };
            let to = [Destination { endpoint, to: *address }];
            let size = stream.max_datagram_bytes();
            for _ in 0..SEND_LIMIT {
                match driver.transmit(&to, size, |buffer| stream.poll(now, head, journal, buffer)) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => sent += 1,
                }
            }
        }
        sent
    }

    /// What is found out about them, one thing a duty cycle: the set changes one member at a time anyway.
    pub(super) fn review(&mut self, now: Nanos, gate: &CommitGate) -> Option<Finding> {
        let mut found = None;
        for peer in &mut self.list {
            let is_member = gate.local().as_slice().iter().any(|member| member.node == peer.node);
            let suspicion = peer.detector.poll(now);
            let Some(stream) = &peer.stream else { continue };
            if is_member {
                let is_lagging = stream.lag(now).is_some_and(|lag| lag > self.lag_timeout);
                if suspicion.is_some() || peer.detector.is_suspected() {
                    let why = if peer.linked { Suspect::Silent } else { Suspect::Closed };
                    found = found.or(Some(Finding::Lost(peer.node, why)));
                } else if is_lagging {
                    found = found.or(Some(Finding::Lost(peer.node, Suspect::Lagging)));
                }
            }
            if let Some((member, next)) = stream.caught_up()
                && !peer.detector.is_suspected()
                && !gate.local().contains(member)
            {
                found = found.or(Some(Finding::CaughtUp(member, next)));
            }
        }
        found
    }
}
