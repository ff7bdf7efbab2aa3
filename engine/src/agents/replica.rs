//! The replica agent: one node's part in keeping the order on several machines. It owns the journal.
//!
//! As primary it appends what the ingress numbered, streams the journal, read in place, to every other node, takes their
//! acknowledgements, and moves the committed watermark. As standby it appends what the primary streams and acknowledges it.
//! Which of the two it is, [`Control`] says; this agent carries out what that decides. A node that is alone is a primary
//! without others.

mod own;
mod peers;

use std::net::SocketAddrV4;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use seqcast_wire::{SeqNo, Session, repl};

use self::own::Followed;
use self::peers::Peers;
use super::ingress::Watermarks;
use super::journal::Retired;
use super::leadership::{Admission, Directive, Directives, Lead};
use super::meter::Meter;
use super::steward::CoordinatorClient;
use crate::frame::{Frame, Kind};
use crate::io::{Bind, Destination, Driver, EndpointId, EndpointSpec};
use crate::journal::{AppendError, Journal, JournalReader, Published};
use crate::replica::{
    Action, AppendOutcome, CommitGate, Control, Head, Inbound, JournalState, Member, NodeId, Notice, Role,
    StreamConfig, Suspect,
};
use crate::ring::broadcast::Reader;
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Frames appended in one duty cycle at most; readers see them together.
const APPEND_LIMIT: usize = 1024;
/// Datagrams taken from the driver in one duty cycle at most.
const RECEIVE_LIMIT: usize = 256;

/// What a replica agent is built from.
pub struct ReplicaPlan {
    /// The role's rules.
    pub control: Control,
    /// This node.
    pub me: Member,
    /// The feed's session.
    pub session: Session,
    /// The streams' settings.
    pub stream: StreamConfig,
    /// Every node's address, this one's included, by its number; empty for a node that is alone.
    pub nodes: Vec<SocketAddrV4>,
    /// Whether acknowledgements wait for the disk.
    pub syncs: bool,
    /// A standby that lags for longer leaves the set.
    pub lag_timeout: Nanos,
    /// What the ingress numbers.
    pub ring: Reader,
    /// The journal, to append.
    pub journal: Journal,
    /// The journal, to stream.
    pub reader: JournalReader,
    /// Where the journal goes in the end.
    pub retired: Retired,
    /// The published watermark that survives the process; on a standby, what it knows to be committed.
    pub mark: Published,
    /// Shared with the other agents.
    pub watermarks: Watermarks,
    /// Of the ingress and the egress.
    pub listeners: Vec<Directives>,
    /// For the ingress.
    pub admission: Admission,
    /// Raised when the end of the session is committed.
    pub ended: Flag,
    /// Raised when there is nothing left to do.
    pub over: Flag,
    /// The cold side of the journal.
    pub promises: Promises,
    /// The coordinator; none for a node that is alone.
    pub coordinator: Option<CoordinatorClient>,
    /// Links, operators, and what they are told.
    pub desk: Desk,
    /// When a silent node is suspected.
    pub detector: DetectorConfig,
    /// Tells when something happened, for people.
    pub wall: WallClock,
}

/// The agent.
pub struct Replica<D> {
    driver: D,
    endpoint: Option<EndpointId>,
    control: Control,
    me: Member,
    nodes: Vec<SocketAddrV4>,
    inbound: Inbound,
    peers: Peers,
    syncs: bool,
    ring: Reader,
    /// There until the agent is closed.
    journal: Option<Journal>,
    reader: JournalReader,
    retired: Retired,
    mark: Published,
    watermarks: Watermarks,
    listeners: Vec<Directives>,
    admission: Admission,
    ended: Flag,
    over: Flag,
    promises: Promises,
    coordinator: Option<CoordinatorClient>,
    desk: Desk,
    wall: WallClock,
    /// An operator wants this primary to hand over: the ticket of that command.
    retiring: Option<u64>,
    /// As new primary: the end of what it inherited, until that is committed.
    inherited: Option<SeqNo>,
    status_due: Nanos,
    discarded_frames: u64,
    strange_datagrams: u64,
    meter: Meter,
}

impl<D: Driver> Replica<D> {
    /// Opens the stream's endpoint.
    ///
    /// # Errors
    /// What the driver refused.
    pub fn open(mut driver: D, plan: ReplicaPlan, meter: Meter) -> Result<Replica<D>, AgentError> {
        let endpoint = match plan.nodes.get(usize::from(plan.me.node.0)) {
            Some(&local) => Some(driver.open(&EndpointSpec {
                bind: Bind::Local { local, multicast_ttl: 1 },
                receive_buffer_bytes: 8 << 20,
                send_buffer_bytes: 8 << 20,
            })?),
            None => None,
        };
        let inbound = Inbound::new(&plan.stream, plan.me, plan.session);
        let peers = Peers::new(&plan);
        Ok(Replica {
            driver,
            endpoint,
            control: plan.control,
            me: plan.me,
            nodes: plan.nodes,
            inbound,
            peers,
            syncs: plan.syncs,
            ring: plan.ring,
            journal: Some(plan.journal),
            reader: plan.reader,
            retired: plan.retired,
            mark: plan.mark,
            watermarks: plan.watermarks,
            listeners: plan.listeners,
            admission: plan.admission,
            ended: plan.ended,
            over: plan.over,
            promises: plan.promises,
            coordinator: plan.coordinator,
            desk: plan.desk,
            wall: plan.wall,
            retiring: None,
            inherited: None,
            status_due: Nanos::ZERO,
            discarded_frames: 0,
            strange_datagrams: 0,
            meter,
        })
    }

    fn state(&self) -> JournalState {
        let chain = self.journal.as_ref().map(Journal::chain);
        let (next, epoch) = chain.map_or((SeqNo::FIRST, 0), |chain| (chain.next(), chain.epoch()));
        JournalState { next, epoch, published: self.mark.next().min(next) }
    }
}

/// What a datagram of another node is heard with.
struct Ears<'a> {
    control: &'a mut Control,
    inbound: &'a mut Inbound,
    peers: &'a mut Peers,
    refusals: &'a mut Refusals,
}

impl Ears<'_> {
    fn hear(&mut self, now: Nanos, node: NodeId, datagram: &repl::Datagram<'_>, own: &mut Followed<'_>) {
        match datagram {
            repl::Datagram::Append(append) => match self.inbound.on_append(now, append, own) {
                AppendOutcome::Accepted => {
                    if let Some(peer) = self.peers.of(node) {
                        peer.detector.on_heard(now);
                    }
                }
                AppendOutcome::Stale => self.refusals.add(node),
                AppendOutcome::HigherEpoch { epoch } => self.control.on_higher_epoch(now, epoch),
                AppendOutcome::Diverged | AppendOutcome::Ignored => {}
            },
            repl::Datagram::Ack(ack) => {
                if let Some(peer) = self.peers.of(node) {
                    peer.detector.on_heard(now);
                }
                if let Some(gate) = self.control.gate_mut() {
                    self.peers.on_ack(now, node, ack, gate);
                }
            }
            repl::Datagram::Refuse(refuse) => self.control.on_refused(now, node, refuse.origin.epoch),
        }
    }
}

impl<D: Driver> Replica<D> {
    /// Carries out what the control decided.
    fn act(&mut self, now: Nanos) -> Result<(), AgentError> {
        while let Some(action) = self.control.poll_action() {
            match action {
                Action::StopAcknowledging => self.inbound.stop_acknowledging(),
                Action::Promise(epoch) => {
                    if self.promises.wanted.push(epoch).is_err() {
                        return Err(AgentError::failed("the journal's cold side takes no promises"));
                    }
                }
                Action::Ask(request) => {
                    self.note_request(&request);
                    let asked = self.coordinator.as_ref().is_some_and(|client| client.try_submit(request));
                    if !asked {
                        self.control.on_answer(now, Answer::Unknown);
                    }
                }
                Action::Follow { epoch, primary } => self.follow(now, epoch, primary),
                Action::Lead { epoch } => self.lead(now, epoch)?,
                Action::StepDown => self.rest()?,
                Action::Tell(notice) => self.note(&notice),
            }
        }
        Ok(())
    }

    fn follow(&mut self, now: Nanos, epoch: u64, primary: Member) {
        let journal_next = self.state().next;
        self.inbound.follow(epoch, primary, self.watermarks.committed.load().min(journal_next));
        if let Some(peer) = self.peers.of(primary.node) {
            peer.detector.restart(now);
        }
    }

    fn lead(&mut self, now: Nanos, epoch: u64) -> Result<(), AgentError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let chain = journal.chain();
        // What is in the ring was numbered in an earlier epoch, and is nowhere else.
        self.peers.lead(now, epoch);
        self.retiring = None;
        self.inherited = Some(end_of(chain));
        for listener in &self.listeners {
            let published = self.mark.next().min(chain.next());
            let lead = Lead { epoch, chain: chain.clone(), published };
            if !listener.try_give(Directive::Lead(Box::new(lead))) {
                return Err(AgentError::failed("an agent of this node does not take its directives"));
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), AgentError> {
        self.admission.set(0);
        self.peers.rest();
        for listener in &self.listeners {
            if !listener.try_give(Directive::Rest) {
                return Err(AgentError::failed("an agent of this node does not take its directives"));
            }
        }
        Ok(())
    }

    /// Appends what the ingress numbered in the epoch that this node leads; what it numbered in another is dropped.
    fn append(&mut self) -> Result<usize, AgentError> {
        let Some(journal) = &mut self.journal else { return Ok(0) };
        let leading = self.control.gate().map_or(0, CommitGate::epoch);
        let (mut work, mut appended) = (0, false);
        while work < APPEND_LIMIT {
            let Some(bytes) = self.ring.peek() else { break };
            let is_ours = Frame::view(bytes).is_ok_and(|frame| frame.header().epoch.get() == leading);
            if is_ours {
                match journal.append(bytes) {
                    Ok(_) => appended = true,
                    // The ring fills, the sequencer refuses, the publishers wait: nothing is lost.
                    Err(AppendError::NotReady) => break,
                    Err(error) => return Err(AgentError::failed(error)),
                }
            } else {
                self.discarded_frames += 1;
            }
            self.ring.advance();
            work += 1;
        }
        if work > 0 {
            self.ring.release();
        }
        if appended {
            self.watermarks.appended.advance(journal.publish());
        }
        Ok(work)
    }

    /// As primary: tells the gate how far the journal is, and everybody what that commits.
    fn commit(&mut self) {
        let Some(journal) = &self.journal else { return };
        let (end, next, is_ended) = (end_of(journal.chain()), journal.chain().next(), journal.chain().ended());
        let durable = self.watermarks.durable.load();
        let Some(gate) = self.control.gate_mut() else { return };
        gate.on_numbered(end);
        gate.on_appended(end);
        // The end of the session takes no number: it is durable once the journal says so of what is before it, and the
        // syncer has looked once more.
        gate.on_durable(if is_ended && durable == next { end } else { durable });
        gate.on_published(self.watermarks.published.load().min(gate.committed()));
        let committed = gate.committed();
        self.admission.set(if gate.admitting().is_ok() && self.retiring.is_none() { gate.epoch() } else { 0 });
        self.watermarks.committed.advance(committed.min(next));
        if committed > next {
            self.ended.raise();
        }
        if self.inherited.is_some_and(|inherited| committed >= inherited) {
            self.inherited = None;
            self.tell(What::CaughtUp, None, "");
        }
    }
}
