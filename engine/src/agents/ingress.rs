//! Sequencer ingress: the feeds of all sources in, one total order out, into the ring.
//!
//! Each source is received like any feed: arbitrated over its lines, its gaps filled from the publisher's rewind server.
//! What comes out in order is numbered and sealed into the ring. A full ring or a closed gate refuses the message; the
//! source's feed keeps it and offers it again. Only the primary numbers: on any other node what arrives is dropped, and a
//! node that becomes primary asks the publishers for everything that its order lacks.

use std::net::SocketAddrV4;

use seqcast_wire::{SeqNo, Session, ack};
use tracing::error;
use zerocopy::IntoBytes;

use super::acknowledge::Acknowledger;
use super::intake::{FeedPlan, FeedsSink, Intake, has_room};
use super::leadership::{Admission, Directive, Directives, Lead};
use super::meter::Meter;
use super::trace::{Stage, Trace};
use crate::feed::{FeedState, Item, SessionRule};
use crate::frame;
use crate::io::Driver;
use crate::ring::broadcast::Writer;
use crate::runtime::{Agent, AgentError, WallClock};
use crate::sequencer::{Admit, Refusal, Sequencer, SourceEnd, SourceId};
use crate::stat::Latency;
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// The watermarks that the primary's agents share.
#[derive(Clone, Default)]
pub struct Watermarks {
    /// In the journal, in memory; moved by the replica agent.
    pub appended: Watermark,
    /// On disk; moved by the journal's cold agent.
    pub durable: Watermark,
    /// Final; moved by the replica agent, whose gate knows.
    pub committed: Watermark,
    /// Sent to subscribers; moved by the egress.
    pub published: Watermark,
    /// In the journal of every node of the cluster; moved by the replica agent, as it knows or is told.
    pub everywhere: Watermark,
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// What it is called.
    pub name: String,
    /// How its feed is received.
    pub feed: FeedPlan,
    /// Where its publisher takes acknowledgements.
    pub acknowledge_to: Option<SocketAddrV4>,
}

/// What an ingress is built from.
pub struct IngressPlan {
    /// The sources, in the order of the configuration.
    pub sources: Vec<SourcePlan>,
    /// The longest message that is numbered. At a longer one its source stands still: nothing of a source may be left out.
    pub max_message_bytes: usize,
    /// When to number, and from where.
    pub directives: Directives,
    /// Whether events are admitted.
    pub admission: Admission,
    /// Where ordered messages go.
    pub ring: Writer,
    /// Shared with the other agents.
    pub watermarks: Watermarks,
    /// Raised when there is nothing left to do.
    pub over: Flag,
    /// Tells the time of events.
    pub wall: WallClock,
}

/// Marks when each message was admitted, and carries over what its publisher marked.
pub struct IngressTrace {
    /// Of the ordered feed.
    pub feed: Trace,
    /// Of each source.
    pub sources: Vec<Trace>,
}

/// The agent.
pub struct Ingress<D> {
    intake: Intake<D>,
    directives: Directives,
    /// Another node leads: what arrives here is its business.
    rests: bool,
    order: Order,
    watermarks: Watermarks,
    acknowledgers: Vec<Option<Acknowledger>>,
    names: Vec<String>,
    /// Of each source, the message that people were told of as being too long.
    told: Vec<Option<(SeqNo, usize)>>,
    max_message_bytes: usize,
    end_with_sources: bool,
    over: Flag,
    /// Of each source, the time from a hole to its filling.
    recoveries: Vec<Latency>,
    meters: Vec<Meter>,
}

/// Where the sources become one.
struct Order {
    /// While this node leads.
    sequencer: Option<Sequencer>,
    admission: Admission,
    ring: Writer,
    wall: WallClock,
    wall_ns: u64,
    sources: Vec<Source>,
    refusals: u64,
    trace: Option<IngressTrace>,
}

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    session: Option<Session>,
    ended: bool,
    duplicates: u64,
    refused_messages: u64,
    conflicts: u64,
    halted: bool,
    /// The message that it stands still at because of its length, and how long that is.
    too_long: Option<(SeqNo, usize)>,
    too_long_messages: u64,
}

impl<D: Driver> Ingress<D> {
    /// Opens the endpoints of all sources. `meters` holds one for the sequencer and then one a source.
    ///
    /// # Errors
    /// What the driver refused, or a setting that cannot work.
    pub fn open(driver: D, plan: IngressPlan, meters: Vec<Meter>) -> Result<Ingress<D>, AgentError> {
        let IngressPlan {
            sources: plans,
            max_message_bytes,
            directives,
            admission,
            ring,
            watermarks,
            over,
            wall,
        } = plan;
        assert_eq!(meters.len(), plans.len() + 1, "one meter for the sequencer, one a source");
        let feeds: Vec<_> = plans.iter().map(|plan| plan.feed.clone()).collect();
        let acknowledgers = plans.iter().map(|plan| plan.acknowledge_to.map(Acknowledger::new)).collect();
        let sources = vec![Source::default(); plans.len()];
        let wall_ns = wall.now_ns();
        let order =
            Order { sequencer: None, admission, ring, wall, wall_ns, sources, refusals: 0, trace: None };
        let intake = Intake::open(driver, &feeds)?;
        let recoveries = plans.iter().map(|_| Latency::new()).collect();
        Ok(Ingress {
            intake,
            directives,
            rests: false,
            order,
            watermarks,
            acknowledgers,
            names: plans.iter().map(|plan| plan.name.clone()).collect(),
            told: vec![None; plans.len()],
            max_message_bytes,
            end_with_sources: false,
            over,
            recoveries,
            meters,
        })
    }

    /// Ends the session once every source has ended its own.
    pub fn ending_with_sources(mut self) -> Ingress<D> {
        self.end_with_sources = true;
        self
    }

    /// Marks when each message was admitted.
    pub fn traced(mut self, trace: IngressTrace) -> Ingress<D> {
        self.order.trace = Some(trace);
        self
    }

    /// Takes up or lays down the numbering.
    fn direct(&mut self, directive: Directive) -> Result<(), AgentError> {
        let Directive::Lead(lead) = directive else {
            self.order.sequencer = None;
            self.rests = true;
            return Ok(());
        };
        let Lead { epoch, chain, published } = *lead;
        let sequencer = Sequencer::new(chain, epoch, published).map_err(AgentError::failed)?;
        let mut sequencer = sequencer.limiting(self.max_message_bytes);
        for feed in 0..self.order.sources.len() {
            let state = sequencer.chain().sources()[feed];
            let pinned = match self.intake.session_rule(feed) {
                SessionRule::Pinned(session) => Some(session),
                _ => None,
            };
            let known = match pinned {
                Some(session) if session != state.session => {
                    // The operator names another session: whatever came of the one before is all that will.
                    sequencer.on_source_end(SourceId(feed as u16), state.session, state.next);
                    None
                }
                _ => (state.session != Session::BLANK).then_some(state),
            };
            match known {
                Some(state) => self.intake.restart(feed, Some(state.session), state.next),
                None => self.intake.restart(feed, pinned, SeqNo::FIRST),
            }
            self.order.sources[feed] = Source::default();
            if let Some(acknowledger) = &mut self.acknowledgers[feed] {
                *acknowledger = Acknowledger::new(acknowledger.to);
            }
        }
        self.order.sequencer = Some(sequencer);
        self.rests = false;
        Ok(())
    }

    fn acknowledge(&mut self, now: Nanos) {
        let Some(sequencer) = &self.order.sequencer else { return };
        let committed = self.watermarks.committed.load();
        let chain = sequencer.chain();
        let (next, epoch) = (chain.next(), sequencer.epoch());
        for (feed, acknowledger) in self.acknowledgers.iter_mut().enumerate() {
            let (Some(acknowledger), Some(session)) = (acknowledger, self.order.sources[feed].session) else {
                continue;
            };
            let state = chain.sources()[feed];
            if state.session == session {
                acknowledger.on_numbered(next, state.next);
            } else {
                acknowledger.restart(SeqNo::FIRST);
            }
            acknowledger.on_committed(committed);
            if let Some(told) = acknowledger.poll(now, session, epoch) {
                self.intake.send(feed, acknowledger.to, ack::BYTES, |buffer| told.emit(buffer));
            }
        }
    }

    fn end_when_sources_did(&mut self) {
        let Order { sequencer: Some(sequencer), ring, admission, sources, wall_ns, .. } = &mut self.order
        else {
            return;
        };
        let is_due = self.end_with_sources && sources.iter().all(|source| source.ended);
        if !is_due || sequencer.chain().ended() || !admission.is_open(sequencer.epoch()) {
            return;
        }
        if let Ok(mut claim) = ring.try_claim(frame::HEADER_BYTES)
            && let Ok(end) = sequencer.end_session(*wall_ns)
        {
            claim.write(end.as_bytes());
            claim.commit();
        }
    }

    fn finish(&mut self, now: Nanos, work: usize) -> Result<usize, AgentError> {
        self.intake.flush(now)?;
        if self.meters[0].is_due(now) {
            self.report();
        }
        if self.over.is_raised() { Err(AgentError::Finished) } else { Ok(work) }
    }

    fn report(&mut self) {
        let watermarks = &self.watermarks;
        let meter = &mut self.meters[0];
        if let Some(sequencer) = &self.order.sequencer {
            meter.set("numbered", sequencer.chain().next().value());
        } else {
            meter.expect(&["numbered"]);
        }
        meter.set("appended", watermarks.appended.load().value());
        meter.set("durable", watermarks.durable.load().value());
        meter.set("committed", watermarks.committed.load().value());
        meter.set("published", watermarks.published.load().value());
        meter.set("epoch", self.order.sequencer.as_ref().map_or(0, Sequencer::epoch));
        meter.set("backpressure_total", self.order.refusals);
        meter.set("stranger_datagrams_total", self.intake.strangers());
        meter.set("held_back_cycles_total", self.intake.held_back());
        meter.driver(&self.intake.driver().counters());
        for (feed, (meter, source)) in self.meters[1..].iter_mut().zip(&self.order.sources).enumerate() {
            meter.feed(self.intake.receiver(feed));
            meter.set("repeated_messages_total", source.duplicates);
            meter.set("refused_messages_total", source.refused_messages);
            meter.set("source_conflicts_total", source.conflicts);
            meter.set("too_long_messages_total", source.too_long_messages);
            meter.set("halted", source.halted.into());
            if let Some((at, len)) = source.too_long
                && self.told[feed] != source.too_long
            {
                let (name, max) = (&self.names[feed], self.max_message_bytes);
                error!(
                    "source {name} stands still at its message {at}: it has {len} bytes, and a message of the order \
                     {max} at most; raise send.datagram_bytes on every node, or begin another session of the source \
                     without it"
                );
                self.told[feed] = source.too_long;
            }
        }
    }
}

impl Order {
    fn on_message(&mut self, feed: usize, source_seq: SeqNo, message: &[u8]) -> bool {
        let Order { sequencer: Some(sequencer), ring, admission, sources, refusals, trace, .. } = self else {
            return true;
        };
        let source = &mut sources[feed];
        let Some(session) = source.session else { return false };
        if !admission.is_open(sequencer.epoch()) {
            *refusals += 1;
            return false;
        }
        match sequencer.admit(self.wall_ns, SourceId(feed as u16), session, source_seq, message.len()) {
            Admit::Frame(header) => {
                let Ok(mut claim) = ring.try_claim(frame::framed_bytes(message.len())) else {
                    *refusals += 1;
                    return false;
                };
                let seq = sequencer.chain().next();
                claim.write(sequencer.seal(header, message).as_bytes());
                claim.write(message);
                claim.commit();
                if let Some(trace) = trace {
                    trace.feed.carry_over(&trace.sources[feed], source_seq, seq);
                    trace.feed.mark(Stage::Admitted, seq);
                }
                true
            }
            Admit::Duplicate => {
                source.duplicates += 1;
                true
            }
            // The feed delivers in order from the number that was due: what is missing here was lost for good.
            Admit::Gap { .. } => {
                source.halted = true;
                false
            }
            Admit::Refused(Refusal::TooLong { len, .. }) => {
                source.stand_still(source_seq, len);
                false
            }
            Admit::Refused(_) => {
                source.refused_messages += 1;
                true
            }
        }
    }
}

impl Source {
    /// Message `at`, `len` bytes long, has no way to standbys and subscribers. It is offered again and again.
    #[cold]
    fn stand_still(&mut self, at: SeqNo, len: usize) {
        if self.too_long.replace((at, len)) != Some((at, len)) {
            self.too_long_messages += 1;
        }
    }
}

impl FeedsSink for Order {
    fn has_room(&mut self) -> bool {
        has_room(&self.ring)
    }

    fn on_item(&mut self, feed: usize, item: Item<'_>) -> bool {
        let id = SourceId(feed as u16);
        let Some(sequencer) = &mut self.sequencer else { return true };
        match item {
            Item::Message { seq, bytes } => return self.on_message(feed, seq, bytes),
            Item::Session(session) => match sequencer.open_source(id, session) {
                Ok(_) => {
                    let source = &mut self.sources[feed];
                    source.session = Some(session);
                    source.ended = false;
                }
                Err(_) => self.sources[feed].refused_messages += 1,
            },
            Item::End { next } => {
                if let Some(session) = self.sources[feed].session {
                    let end = sequencer.on_source_end(id, session, next);
                    self.sources[feed].ended = end == SourceEnd::Ended;
                }
            }
            Item::Conflict { .. } => self.sources[feed].conflicts += 1,
            Item::Lost { .. } => self.sources[feed].halted = true,
            Item::State(state) => self.sources[feed].ended &= state == FeedState::Ended,
        }
        true
    }
}

impl<D: Driver + Send> Agent for Ingress<D> {
    fn name(&self) -> &str {
        "ingress"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        while let Some(directive) = self.directives.take() {
            self.direct(directive)?;
        }
        if self.order.sequencer.is_none() {
            // Until somebody leads it stays in the driver: that may yet be this node.
            if self.rests {
                self.intake.drain(now)?;
            }
            return self.finish(now, 0);
        }
        self.order.wall_ns = self.order.wall.now_ns();
        let work = self.intake.do_work(now, &mut self.order)?;
        for (feed, recovery) in self.recoveries.iter_mut().enumerate() {
            while let Some(span) = self.intake.receiver_mut(feed).poll_recovery() {
                recovery.record(span);
            }
        }
        self.end_when_sources_did();
        self.acknowledge(now);
        self.finish(now, work)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
        for (meter, recovery) in self.meters[1..].iter_mut().zip(&self.recoveries) {
            meter.latency(recovery);
        }
    }
}
