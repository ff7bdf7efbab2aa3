//! The other nodes, as one node sees them.

use std::net::SocketAddrV4;

use seqcast_wire::repl::Wish;
use seqcast_wire::{SeqNo, Session, repl};

use super::own::Streamed;
use super::{ReplicaPlan, gate_number};
use crate::frame::Chain;
use crate::io::{Destination, Driver, EndpointId};
use crate::journal::{Cursor, JournalReader};
use crate::replica::{
    AckOutcome, Attendance, Broken, CommitGate, Detector, Head, Member, Members, NodeId, Outbound, Position,
    Roll, Rule, StreamConfig, Suspect,
};
use crate::runtime::AgentError;
use crate::time::Nanos;

/// Datagrams sent to one node in one duty cycle at most.
const SEND_LIMIT: usize = 64;

/// Another node.
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: SocketAddrV4,
    pub(super) detector: Detector,
    pub(super) heard_at: Option<Nanos>,
    /// The stream to it, while this node leads.
    pub(super) stream: Option<Outbound>,
    cursor: Option<Cursor>,
    /// The most that it acknowledged in this epoch, in whatever incarnation, and the one that it has now: what counts when
    /// that rule is broken.
    most: SeqNo,
    /// Where it is to begin, if it needs an image.
    image: Option<Chain>,
    /// What it asks for, and when it did last.
    wish: Option<(Wish, Nanos)>,
}

impl Peer {
    /// Whether its process is about to end.
    pub(super) fn leaves(&self) -> bool {
        self.wish.is_some_and(|(wish, _)| wish == Wish::Leave)
    }
}

/// All other nodes.
pub(super) struct Peers {
    pub(super) list: Vec<Peer>,
    config: StreamConfig,
    me: Member,
    session: Session,
    reader: JournalReader,
    lag_timeout: Nanos,
    broken: Broken,
    pub(super) damaged: u64,
    pub(super) images: u64,
}

/// What the acknowledgements and silences of a duty cycle come to. Of several members that are gone, or nodes that arrived,
/// the first: the set changes by one member at a time anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Review {
    /// Which of the nodes are there.
    pub(super) roll: Roll,
    /// A member that is gone or does not keep up.
    pub(super) gone: Option<(NodeId, Suspect)>,
    /// A node outside the set that keeps up and has everything below that number.
    pub(super) arrived: Option<(Member, SeqNo)>,
}

impl Peers {
    pub(super) fn new(plan: &ReplicaPlan) -> Result<Peers, AgentError> {
        let mut list = Vec::with_capacity(plan.nodes.len());
        for (at, &address) in plan.nodes.iter().enumerate() {
            let node = NodeId(at as u16);
            if node == plan.me.node {
                continue;
            }
            let detector = Detector::new(&plan.detector, Nanos::ZERO).map_err(AgentError::failed)?;
            list.push(Peer {
                node,
                address,
                detector,
                heard_at: None,
                stream: None,
                cursor: None,
                most: SeqNo::FIRST,
                image: None,
                wish: None,
            });
        }
        let (config, me, session) = (plan.stream.clone(), plan.me, plan.session);
        let (reader, lag_timeout) = (plan.reader.clone(), plan.lag_timeout);
        Ok(Peers {
            list,
            config,
            me,
            session,
            reader,
            lag_timeout,
            broken: plan.broken,
            damaged: 0,
            images: 0,
        })
    }

    pub(super) fn of(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.list.iter_mut().find(|peer| peer.node == node)
    }

    /// Who is at `address` and speaks of this session.
    pub(super) fn at(&self, address: SocketAddrV4, origin: &repl::Origin) -> Option<NodeId> {
        let peer = self.list.iter().find(|peer| peer.address == address)?;
        (origin.node == peer.node.0 && origin.session == self.session).then_some(peer.node)
    }

    /// Streams to all from now on, in `epoch`.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub(super) fn lead(&mut self, now: Nanos, epoch: u64) -> Result<(), AgentError> {
        for peer in &mut self.list {
            let stream = Outbound::new(&self.config, self.me, self.session, epoch, peer.node);
            peer.stream = Some(stream.map_err(AgentError::failed)?);
            (peer.cursor, peer.most, peer.image, peer.wish) = (None, SeqNo::FIRST, None, None);
            // That it was silent while somebody else led says nothing.
            peer.detector.settle(now);
        }
        Ok(())
    }

    /// Streams no more.
    pub(super) fn rest(&mut self) {
        self.list.iter_mut().for_each(|peer| peer.stream = None);
    }

    /// Takes an acknowledgement, for the gate.
    pub(super) fn on_ack(
        &mut self,
        now: Nanos,
        node: NodeId,
        ack: &repl::Ack,
        tail: Position,
        gate: &mut CommitGate,
    ) {
        let Peers { list, reader, damaged, .. } = self;
        let Some(peer) = list.iter_mut().find(|peer| peer.node == node) else { return };
        if ack.origin.epoch == gate.epoch() {
            peer.wish = ack.wish.map(|wish| (wish, now));
        }
        let Peer { stream: Some(stream), cursor, .. } = peer else { return };
        let mut history = Streamed { reader, cursor, tail, damaged };
        match stream.on_ack(now, ack, &mut history) {
            AckOutcome::Verified { member, verified } => {
                peer.image = None;
                peer.most = peer.most.max(gate_number(verified));
                gate.on_ack(member, gate.epoch(), gate_number(verified));
            }
            AckOutcome::NeedsImage { .. }
            | AckOutcome::Hello { .. }
            | AckOutcome::HigherEpoch(_)
            | AckOutcome::Stale
            | AckOutcome::Foreign
            | AckOutcome::Ahead => {}
        }
    }

    /// Something of this epoch was heard of `node`.
    pub(super) fn on_heard(&mut self, now: Nanos, node: NodeId) {
        if let Some(peer) = self.of(node) {
            peer.detector.on_heard(now);
            peer.heard_at = Some(now);
        }
    }

    /// The member of `stored` that asks to lead. It asks again and again for as long as it wants to.
    #[inline]
    pub(super) fn asking(&self, now: Nanos, stored: &Members) -> Option<Member> {
        let lasts = |peer: &Peer, at| now.since(at) < peer.detector.timeout();
        let asks = |peer: &&Peer| peer.wish.is_some_and(|(wish, at)| wish == Wish::Lead && lasts(peer, at));
        let peer = self.list.iter().find(asks)?;
        stored.as_slice().iter().copied().find(|member| member.node == peer.node)
    }

    /// Tells all of them from now on whether this primary is deaf.
    pub(super) fn say_deaf(&mut self, is_deaf: bool) {
        self.list
            .iter_mut()
            .filter_map(|peer| peer.stream.as_mut())
            .for_each(|stream| stream.say_deaf(is_deaf));
    }

    /// Sends what is due to each of them.
    pub(super) fn send<D: Driver>(
        &mut self,
        now: Nanos,
        (head, local): (&Head, &Members),
        tail: Position,
        driver: &mut D,
        endpoint: EndpointId,
    ) -> usize {
        let Peers { list, reader, damaged, images, .. } = self;
        let mut sent = 0;
        for peer in list {
            let Peer { address, stream: Some(stream), cursor, image, .. } = peer else { continue };
            let to = [Destination { endpoint, to: *address }];
            let size = stream.max_datagram_bytes();
            // What a member of the set has may be all that is left of the order should this node be lost now: it leaves the
            // set before its journal makes room for an image.
            if stream.needs_image().is_some_and(|member| !local.contains(member))
                && let Some(chain) = image_at(reader, head, image)
                && let Ok(1..) = driver.transmit(&to, size, |buffer| stream.poll_image(now, chain, buffer))
            {
                *images += 1;
                sent += 1;
            }
            for _ in 0..SEND_LIMIT {
                let mut history = Streamed { reader, cursor, tail, damaged };
                match driver.transmit(&to, size, |buffer| stream.poll(now, head, &mut history, buffer)) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => sent += 1,
                }
            }
        }
        sent
    }

    /// Everything below it is in the journal of each of them, as far as this primary, whose own goes as far as `end`, knows.
    pub(super) fn everywhere(&self, end: SeqNo) -> SeqNo {
        let verified = |peer: &Peer| peer.stream.as_ref().and_then(Outbound::verified);
        let has = |peer| verified(peer).map_or(SeqNo::FIRST, |(_, reach)| reach.next);
        self.list.iter().map(has).fold(end, SeqNo::min)
    }

    /// What is found out about them.
    pub(super) fn review(&mut self, now: Nanos, gate: &CommitGate) -> Review {
        let mut review = Review { roll: Roll::default(), gone: None, arrived: None };
        for peer in &mut self.list {
            peer.detector.poll(now);
            let suspicion = peer.detector.suspected();
            let Some(stream) = &peer.stream else { continue };
            let is_member = gate.local().as_slice().iter().any(|member| member.node == peer.node);
            let is_stuck = stream.lag(now).stuck > self.lag_timeout;
            let leaves = peer.leaves();
            // What is listed may be an earlier incarnation, which acknowledges nothing any more.
            let is_other = stream.verified().is_some_and(|(member, _)| !gate.local().contains(member));
            review.roll.count(Attendance {
                is_member,
                is_heard: suspicion.is_none(),
                is_fresh: peer.detector.hears_now(now),
                keeps_up: !is_stuck && !is_other && !leaves,
            });
            if is_member {
                let lost = suspicion.map(Suspect::from).or(is_stuck.then_some(Suspect::Lagging));
                let lost = lost.or(leaves.then_some(Suspect::Leaving));
                review.gone = review.gone.or(lost.map(|why| (peer.node, why)));
            }
            if let Some((member, verified)) = stream.verified()
                && suspicion.is_none()
                && !leaves
                && !gate.local().contains(member)
            {
                let counts_all = self.broken.is(Rule::StaleIncarnationCounted);
                let next = if counts_all { peer.most } else { gate_number(verified) };
                if counts_all || stream.is_caught_up(now) {
                    review.arrived = review.arrived.or(Some((member, next)));
                }
            }
        }
        review
    }
}

/// Where a node is to begin that needs an image: the last committed point of which the journal says itself where the order
/// stands. So little is left to be streamed, and much can happen before the journal does not reach back there either.
fn image_at<'a>(reader: &JournalReader, head: &Head, image: &'a mut Option<Chain>) -> Option<&'a Chain> {
    if image.as_ref().is_none_or(|chain| chain.next() < reader.oldest()) {
        *image = reader.chain_before(head.committed.next);
    }
    image.as_ref()
}
