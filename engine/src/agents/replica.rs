//! The replica agent: one node's part in keeping the order on several machines. It owns the journal.
//!
//! As primary it appends what the ingress numbered, streams the journal, read in place, to every other node, takes their
//! acknowledgements, and moves the committed watermark. As standby it appends what the primary streams and acknowledges it.
//! Which of the two it is, [`Control`] says; this agent carries out what that decides. A node that is alone is a primary
//! without others.

mod account;
mod operator;
mod own;
mod peers;

use std::net::SocketAddrV4;

use seqcast_wire::repl::{self, Datagram};
use seqcast_wire::{SeqNo, Session};

use self::operator::{Promoting, Retiring};
use self::own::{Followed, OwnError};
use self::peers::{Peer, Peers, Review};
use super::departure::Departure;
use super::ingress::Watermarks;
use super::journal::{Promises, Rebirth, Retired};
use super::leadership::{Admission, Directive, Directives, Lead};
use super::links::{Desk, LinkChange};
use super::meter::Meter;
use super::status::What;
use super::steward::CoordinatorClient;
use crate::frame::{Chain, Frame, SourceState};
use crate::io::{Bind, Destination, Driver, EndpointId, EndpointSpec};
use crate::journal::{AppendError, Journal, JournalReader, Published};
use crate::limits::MAX_SOURCES;
use crate::replica::{
    Action, Answer, AppendOutcome, Broken, CommitGate, Control, DetectorConfig, Divergence, Head, Hearing,
    Inbound, JournalState, Member, Position, Reach, Refusals, Role, StreamConfig, Verdict,
};
use crate::ring::broadcast::Reader;
use crate::runtime::{Agent, AgentError, WallClock};
use crate::sync::Flag;
use crate::time::Nanos;

/// Frames appended in one duty cycle at most; readers see them together.
const APPEND_LIMIT: usize = 1024;
/// Datagrams taken from the driver in one duty cycle at most.
const RECEIVE_LIMIT: usize = 256;
/// An older primary is refused this often at most.
const REFUSE_EVERY: Nanos = Nanos::from_micros(200);

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
    /// When a silent node is suspected.
    pub detector: DetectorConfig,
    /// Every node's address, this one's included, by its number; empty for a node that is alone.
    pub nodes: Vec<SocketAddrV4>,
    /// Whether acknowledgements wait for the disk.
    pub syncs: bool,
    /// A standby whose acknowledgements stand still for longer leaves the set.
    pub lag_timeout: Nanos,
    /// What the ingress numbers.
    pub ring: Reader,
    /// The journal, to append.
    pub journal: Journal,
    /// The journal, to stream.
    pub reader: JournalReader,
    /// Where the journal goes in the end.
    pub retired: Retired,
    /// Where it is told that the journal is to begin anew.
    pub rebirth: Rebirth,
    /// The point where the journal begins, if that is only taken to be committed because what came before was removed.
    pub assumed: Option<SeqNo>,
    /// The published watermark that survives the process; on a standby, what it knows to be published.
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
    /// Of the process, when it is about to end.
    pub departure: Departure,
    /// The cold side of the journal.
    pub promises: Promises,
    /// The coordinator; none for a node that is alone.
    pub coordinator: Option<CoordinatorClient>,
    /// Links, operators, and what they are told.
    pub desk: Desk,
    /// Tells when something happened, for people.
    pub wall: WallClock,
    /// The rule that is broken on purpose.
    pub broken: Broken,
}

/// The agent.
pub struct Replica<D> {
    driver: D,
    endpoint: Option<EndpointId>,
    control: Control,
    me: Member,
    inbound: Inbound,
    hearing: Hearing,
    refusals: Refusals,
    /// Who is to be refused: it leads an epoch below the one promised.
    refuse: Option<SocketAddrV4>,
    peers: Peers,
    syncs: bool,
    ring: Reader,
    /// There until the agent is closed.
    journal: Option<Journal>,
    reader: JournalReader,
    retired: Retired,
    rebirth: Rebirth,
    assumed: Option<SeqNo>,
    mark: Published,
    watermarks: Watermarks,
    listeners: Vec<Directives>,
    admission: Admission,
    ended: Flag,
    over: Flag,
    departure: Departure,
    promises: Promises,
    coordinator: Option<CoordinatorClient>,
    desk: Desk,
    wall: WallClock,
    /// An operator wants this primary to hand over.
    retiring: Option<Retiring>,
    /// An operator wants this node to take over.
    promoting: Option<Promoting>,
    /// As new primary: the end of what it inherited, until that is committed.
    inherited: Option<SeqNo>,
    was_admitting: bool,
    status_due: Nanos,
    counts: Counts,
    meter: Meter,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    discarded_frames: u64,
    strange_datagrams: u64,
    damaged_datagrams: u64,
    cuts: u64,
    takeovers: u64,
}

/// How far something goes, as the gate counts: the end of the session takes no number, but a place.
fn gate_number(reach: Reach) -> SeqNo {
    if reach.ended { reach.next.next() } else { reach.next }
}

fn reach_of(chain: &Chain) -> Reach {
    Reach { next: chain.next(), ended: chain.ended() }
}

/// Where an image says that the order stands; `None` when it knows more sources than there can be.
fn chain_of(image: &repl::Image<'_>) -> Option<Chain> {
    let mut sources = Box::new([SourceState::NONE; MAX_SOURCES]);
    for (at, (next, session)) in image.sources.iter().enumerate() {
        *sources.get_mut(at)? = SourceState { session, next };
    }
    let Position { at, epoch, crc } = image.position;
    Some(Chain::resume(at.next, crc, epoch, image.stamp_ns, sources))
}

/// What a gate's number means in a journal that goes as far as `whole`.
fn reach_up_to(number: SeqNo, whole: Reach) -> Reach {
    if number > whole.next { whole } else { Reach::to(number) }
}

impl<D: Driver> Replica<D> {
    /// Opens the stream's endpoint.
    ///
    /// # Errors
    /// What the driver refused, or a setting that cannot work.
    pub fn open(mut driver: D, plan: ReplicaPlan, meter: Meter) -> Result<Replica<D>, AgentError> {
        let endpoint = match plan.nodes.get(usize::from(plan.me.node.0)) {
            Some(&local) => Some(driver.open(&EndpointSpec {
                bind: Bind::Local { local, multicast_ttl: 1 },
                receive_buffer_bytes: 8 << 20,
                send_buffer_bytes: 8 << 20,
            })?),
            None => None,
        };
        let committed = Reach::to(plan.watermarks.committed.load());
        let promised = plan.control.promised();
        let inbound = Inbound::new(&plan.stream, plan.me, plan.session, promised, committed);
        let inbound = inbound.map_err(AgentError::failed)?.breaking(plan.broken);
        let peers = Peers::new(&plan)?;
        Ok(Replica {
            driver,
            endpoint,
            control: plan.control,
            me: plan.me,
            inbound,
            hearing: Hearing::new(plan.detector.suspect_after).breaking(plan.broken),
            refusals: Refusals::new(plan.me, plan.session, REFUSE_EVERY),
            refuse: None,
            peers,
            syncs: plan.syncs,
            ring: plan.ring,
            journal: Some(plan.journal),
            reader: plan.reader,
            retired: plan.retired,
            rebirth: plan.rebirth,
            assumed: plan.assumed,
            mark: plan.mark,
            watermarks: plan.watermarks,
            listeners: plan.listeners,
            admission: plan.admission,
            ended: plan.ended,
            over: plan.over,
            departure: plan.departure,
            promises: plan.promises,
            coordinator: plan.coordinator,
            desk: plan.desk,
            wall: plan.wall,
            retiring: None,
            promoting: None,
            inherited: None,
            was_admitting: false,
            status_due: Nanos::ZERO,
            counts: Counts::default(),
            meter,
        })
    }

    fn tail(&self) -> Position {
        self.journal.as_ref().map_or(Position::START, |journal| journal.chain().into())
    }

    /// Takes what this node's cold agents bring.
    fn attend(&mut self, now: Nanos) {
        let Position { at, epoch, .. } = self.tail();
        let published = self.mark.next().min(at.next);
        self.control.on_history(JournalState { next: at.next, ended: at.ended, epoch, published });
        while let Some(epoch) = self.promises.poll_made() {
            self.tell(What::Promised, None, "");
            self.control.on_promised(now, epoch);
        }
        if let Some(answer) = self.coordinator.as_mut().and_then(CoordinatorClient::poll) {
            self.tell_answer(&answer);
            self.control.on_answer(now, answer);
        }
        while let Some(event) = self.desk.poll_link() {
            let Some(peer) = self.peers.of(event.node) else { continue };
            if event.change == LinkChange::Dead {
                peer.detector.on_link_closed(now);
            }
        }
        while let Some(command) = self.desk.poll_command() {
            self.command(now, command.ticket, command.what);
        }
    }

    /// Takes what the other nodes sent.
    fn receive(&mut self, now: Nanos) -> Result<usize, AgentError> {
        if self.endpoint.is_none() {
            return Ok(0);
        }
        let Replica { driver, control, inbound, hearing, peers, journal, reader, refuse, counts, .. } = self;
        let Some(journal) = journal else { return Ok(0) };
        let mut error = None;
        let mut fatal = None;
        let mut begin = None;
        let before = Position::from(journal.chain());
        let mut work = driver.poll_rx(now, RECEIVE_LIMIT, |received| {
            let known = Datagram::parse(received.bytes, crc32c::crc32c).ok();
            let known = known.and_then(|it| Some((it, peers.at(received.from, it.origin())?)));
            let Some((datagram, node)) = known else {
                counts.strange_datagrams += 1;
                return;
            };
            let tail = Position::from(journal.chain());
            match datagram {
                Datagram::Append(append) => {
                    let cuts = &mut counts.cuts;
                    let mut own = Followed { journal: &mut *journal, reader, error: &mut error, cuts };
                    match inbound.on_append(&append, &mut own) {
                        AppendOutcome::Accepted => {
                            peers.on_heard(now, node);
                            hearing.on_primary(now, append.is_deaf);
                        }
                        AppendOutcome::Stale => *refuse = Some(received.from),
                        AppendOutcome::HigherEpoch { epoch, .. } => control.on_higher_epoch(now, epoch),
                        AppendOutcome::Damaged(_) => counts.damaged_datagrams += 1,
                        AppendOutcome::NotPrimary(_) | AppendOutcome::Foreign => {
                            counts.strange_datagrams += 1
                        }
                        outcome => fatal = fatal.take().or(Some(outcome)),
                    }
                }
                Datagram::Ack(ack) => {
                    control.on_higher_epoch(now, ack.origin.epoch);
                    hearing.on_standby(now, node, ack.is_deaf);
                    if let Some(gate) = control.gate_mut() {
                        // What it says in another epoch is no sign that it follows this primary.
                        if ack.origin.epoch == gate.epoch() {
                            peers.on_heard(now, node);
                        }
                        peers.on_ack(now, node, &ack, tail, gate);
                    }
                }
                Datagram::Refuse(repl::Refuse { origin }) => control.on_refused(now, origin.epoch),
                Datagram::Image(image) => match inbound.on_image(&image) {
                    AppendOutcome::Accepted => peers.on_heard(now, node),
                    AppendOutcome::Begin => begin = chain_of(&image),
                    AppendOutcome::Stale => *refuse = Some(received.from),
                    AppendOutcome::HigherEpoch { epoch, .. } => control.on_higher_epoch(now, epoch),
                    _ => counts.strange_datagrams += 1,
                },
            }
        })?;
        if let Some(chain) = begin {
            return self.begin_anew(chain);
        }
        let cuts = &mut counts.cuts;
        let mut own = Followed { journal: &mut *journal, reader, error: &mut error, cuts };
        match inbound.poll(&mut own) {
            AppendOutcome::Accepted => {}
            outcome => fatal = fatal.or(Some(outcome)),
        }
        // What came early is appended later, without a datagram: when its turn has come, or a segment is ready.
        if Position::from(journal.chain()) != before {
            self.watermarks.appended.advance(journal.publish());
            work += 1;
        }
        self.judge(error, fatal)?;
        Ok(work)
    }

    /// What the stream came to that cannot go on.
    fn judge(&mut self, error: Option<OwnError>, fatal: Option<AppendOutcome>) -> Result<(), AgentError> {
        match (error, fatal) {
            (Some(error), _) => Err(AgentError::failed(error)),
            (None, Some(AppendOutcome::Diverged(Divergence::Verified { next, .. })))
                if Some(next) == self.assumed =>
            {
                self.tell(What::Cut, None, "the journal meets the primary's nowhere: it needs an image");
                self.inbound.ask_for_image();
                Ok(())
            }
            (None, Some(AppendOutcome::Diverged(divergence))) => Err(AgentError::failed(divergence)),
            (None, Some(AppendOutcome::Unreadable(seq))) => {
                Err(AgentError::failed(format_args!("message {seq} of the own journal cannot be read")))
            }
            _ => Ok(()),
        }
    }

    /// The journal is to begin where `chain` stands, and with it all agents.
    fn begin_anew(&mut self, chain: Chain) -> Result<usize, AgentError> {
        let next = chain.next();
        self.rebirth.leave(chain);
        Err(AgentError::failed(format_args!("the journal begins anew at message {next}, from an image")))
    }

    /// Carries out what the control decided.
    fn act(&mut self, now: Nanos) -> Result<(), AgentError> {
        while let Some(action) = self.control.poll_action() {
            match action {
                Action::StopAcknowledging(epoch) => self.inbound.stop_acking(epoch),
                Action::Promise(epoch) => {
                    if !self.promises.try_want(epoch) {
                        return Err(AgentError::failed("the journal's cold side takes no promises"));
                    }
                }
                Action::Prepare(record) => {
                    if let Some(coordinator) = &self.coordinator {
                        coordinator.prepare(record);
                    }
                }
                Action::Ask(request) => {
                    self.tell_request(&request);
                    let asked = self.coordinator.as_mut().is_some_and(|client| client.try_submit(request));
                    if !asked {
                        self.control.on_answer(now, Answer::Unknown);
                    }
                }
                Action::Follow { epoch, primary } => self.follow(now, epoch, primary)?,
                Action::Lead { epoch } => self.lead(now, epoch)?,
                Action::StepDown => self.rest()?,
                Action::Tell(notice) => self.tell_notice(&notice),
            }
        }
        Ok(())
    }

    fn follow(&mut self, now: Nanos, epoch: u64, primary: Member) -> Result<(), AgentError> {
        let tail = self.tail();
        let committed = self.watermarks.committed.load().min(tail.at.next);
        let verified = match own::position_at(&self.reader, committed) {
            Some(position) => position,
            None => {
                return Err(AgentError::failed(format_args!("message {committed} is not in the journal")));
            }
        };
        self.inbound.follow(epoch, primary, verified);
        self.hearing.settle();
        if let Some(peer) = self.peers.of(primary.node) {
            peer.detector.settle(now);
        }
        self.listeners.iter().try_for_each(|listener| give(listener, Directive::Rest))
    }

    fn lead(&mut self, now: Nanos, epoch: u64) -> Result<(), AgentError> {
        self.inbound.stop_acking(epoch);
        self.hearing.settle();
        self.peers.lead(now, epoch)?;
        self.retiring = None;
        self.promoted();
        self.inherited = Some(gate_number(self.tail().at));
        self.counts.takeovers += 1;
        let Some(journal) = &self.journal else { return Ok(()) };
        let chain = journal.chain();
        for listener in &self.listeners {
            let published = self.mark.next().min(chain.next());
            let lead = Lead { epoch, chain: chain.clone(), published };
            give(listener, Directive::Lead(Box::new(lead)))?;
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), AgentError> {
        self.admission.set(0);
        self.was_admitting = false;
        self.peers.rest();
        self.resign();
        self.end_retirement();
        self.listeners.iter().try_for_each(|listener| give(listener, Directive::Rest))
    }

    /// Appends what the ingress numbered in the epoch that this node leads; what it numbered in another is dropped.
    fn append(&mut self) -> Result<usize, AgentError> {
        let Some(journal) = &mut self.journal else { return Ok(0) };
        let leading = self.control.gate().map_or(0, CommitGate::epoch);
        let (mut work, mut appended) = (0, false);
        while work < APPEND_LIMIT {
            let Some(bytes) = self.ring.peek() else { break };
            if Frame::view(bytes).is_ok_and(|frame| frame.header().epoch.get() == leading) {
                match journal.append(bytes) {
                    Ok(_) => appended = true,
                    // The ring fills, the sequencer refuses, the publishers wait: nothing is lost.
                    Err(AppendError::NotReady) => break,
                    Err(error) => return Err(AgentError::failed(error)),
                }
            } else {
                self.counts.discarded_frames += 1;
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

    /// How far the journal is durable.
    fn durable(&self) -> Reach {
        let Some(journal) = &self.journal else { return Reach::NOTHING };
        let (whole, synced) = (reach_of(journal.chain()), journal.synced());
        Reach { next: synced.min(whole.next), ended: whole.ended && journal.is_end_synced() }
    }

    /// As primary: tells the gate how far the journal is, and everybody what that commits.
    fn commit(&mut self, now: Nanos) -> usize {
        let (tail, durable) = (self.tail(), self.durable());
        let published = self.watermarks.published.load();
        let hands_over = self.hands_over(now);
        let Some(gate) = self.control.gate_mut() else { return 0 };
        let end = gate_number(tail.at);
        gate.on_numbered(end);
        gate.on_appended(end);
        gate.on_durable(gate_number(durable));
        gate.on_published(published.min(gate.committed()));
        let (committed, epoch) = (gate.committed(), gate.epoch());
        let is_admitting = gate.admitting().is_ok() && !hands_over;
        self.admission.set(if is_admitting { epoch } else { 0 });
        let local = *gate.local();
        let committed = reach_up_to(committed, tail.at);
        self.committed(committed);
        self.tell_progress(gate_number(committed), is_admitting);
        self.watermarks.everywhere.advance(self.peers.everywhere(tail.at.next));
        let Some(endpoint) = self.endpoint else { return 0 };
        let everywhere = self.watermarks.everywhere.load().min(tail.at.next);
        let head = Head { end: tail.at, committed, published: published.min(committed.next), everywhere };
        self.peers.say_deaf(self.control.is_deaf());
        self.peers.send(now, (&head, &local), tail, &mut self.driver, endpoint)
    }

    fn committed(&mut self, committed: Reach) {
        self.watermarks.committed.advance(committed.next);
        if committed.ended {
            self.ended.raise();
        }
    }

    /// As primary: who joins the set, who leaves it, and to whom to hand over.
    fn review(&mut self, now: Nanos) {
        let Some(gate) = self.control.gate() else { return };
        let Review { roll, gone, arrived } = self.peers.review(now, gate);
        self.control.on_roll(roll);
        if let Some((node, why)) = gone {
            self.control.on_lost(node, why);
        }
        if let Some((member, next)) = arrived {
            self.control.on_caught_up(member, next);
        }
        self.hand_over(now);
    }

    /// As standby: acknowledges, learns what is committed, and watches the primary.
    fn stand_by(&mut self, now: Nanos) -> usize {
        self.committed(self.inbound.committed());
        if let Some(head) = self.inbound.head() {
            self.watermarks.everywhere.advance(head.everywhere);
            let published = head.published.min(self.inbound.committed().next);
            if published > self.mark.next() {
                self.mark.advance(published);
                // For retention: nobody needs here what was published.
                self.watermarks.published.advance(published);
            }
        }
        let sent = self.acknowledge(now);
        let Replica { inbound, hearing, peers, control, .. } = self;
        let followed = inbound.following().map(|(_, primary)| primary.node);
        let min_in_sync = control.min_in_sync();
        for Peer { node, detector, .. } in &mut peers.list {
            detector.poll(now);
            if Some(*node) == followed {
                match hearing.judge(now, detector.suspected(), detector.timeout(), min_in_sync) {
                    Verdict::Suspected(why) => control.on_suspicion(now, why),
                    Verdict::Doubted(why) => control.on_doubt(why),
                    Verdict::Trusted => control.on_primary_heard(),
                }
            }
        }
        sent
    }

    /// Sends the acknowledgement that is due: to the primary, and to all others while there is none or it is doubted.
    fn acknowledge(&mut self, now: Nanos) -> usize {
        let durable = self.syncs.then(|| self.durable());
        let Replica {
            driver, endpoint: Some(endpoint), inbound, hearing, peers, journal: Some(journal), ..
        } = self
        else {
            return 0;
        };
        let Some(ack) = inbound.poll_ack(now, journal.chain(), durable) else { return 0 };
        let followed = inbound.following().map(|(_, primary)| primary.node);
        let primary = peers.list.iter().find(|peer| Some(peer.node) == followed);
        let suspicion = primary.and_then(|primary| primary.detector.suspected());
        let mut is_sent = false;
        for peer in &peers.list {
            let leads = Some(peer.node) == followed;
            if followed.is_some() && !leads && !hearing.speaks_to(now, peer.node, suspicion) {
                continue;
            }
            // Who led and follows somebody now says so: it is heard, though not as a primary.
            let hears = hearing.hears(now, peer.node) || leads && suspicion.is_none();
            let is_deaf = !hears;
            let ack = repl::Ack { is_deaf, ..ack };
            let to = [Destination { endpoint: *endpoint, to: peer.address }];
            let sent = driver.transmit(&to, repl::ACK_BYTES, |buffer| ack.emit(buffer, crc32c::crc32c));
            // One to the primary that finds no room is due again at once; to another node it is as good as lost.
            is_sent |= sent.is_ok() && (leads || followed.is_none());
        }
        if is_sent {
            inbound.on_acked(now, &ack);
        }
        usize::from(is_sent)
    }
}

fn give(listener: &Directives, directive: Directive) -> Result<(), AgentError> {
    match listener.try_give(directive) {
        true => Ok(()),
        false => Err(AgentError::failed("an agent of this node does not take its directives")),
    }
}

impl<D: Driver + Send> Agent for Replica<D> {
    fn name(&self) -> &str {
        "replica"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = self.receive(now)?;
        self.attend(now);
        self.depart(now);
        self.control.poll(now);
        self.act(now)?;
        work += self.append()?;
        if self.control.role() == Role::Primary {
            work += self.commit(now);
            self.review(now);
        } else {
            work += self.stand_by(now);
            self.promote(now);
        }
        self.act(now)?;
        self.refuse(now);
        if self.endpoint.is_some() {
            self.driver.flush(now)?;
        }
        self.report(now);
        if self.over.is_raised() { Err(AgentError::Finished) } else { Ok(work) }
    }

    fn on_close(&mut self, now: Nanos) {
        // What is still in the ring was never acknowledged; append it all the same, it costs nothing.
        while matches!(self.append(), Ok(work) if work > 0) {}
        self.status_due = Nanos::ZERO;
        self.report(now);
        if let Some(journal) = self.journal.take() {
            let _ = self.retired.push(journal);
        }
    }
}
