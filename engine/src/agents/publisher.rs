//! A publisher: its own feed out, on any number of lines, and answers to requests for gaps in it.
//!
//! Messages come from a [`Script`] (a file, a capture, a generator, an application's ring). Each is numbered, kept in the
//! history and sent from there; the history answers rewind requests. With a sequencer that acknowledges, a message is
//! kept until it is committed there, and no more than a window of them is under way: nothing is lost when the sequencer
//! restarts. Without, the oldest is forgotten when the history is full.

use std::net::{Ipv4Addr, SocketAddrV4};

use seqcast_wire::mold::Packer;
use seqcast_wire::{SeqNo, Session, ack::Ack};

use super::meter::Meter;
use super::trace::{Stage, Trace};
use crate::downstream::{MessageSource, Sender, SenderConfig};
use crate::io::{Bind, Destination, Driver, EndpointId, EndpointSpec, Received};
use crate::rewind::{Full, History, Policy, Server, ServerConfig};
use crate::runtime::{Agent, AgentError};
use crate::time::Nanos;

/// Datagrams taken from the driver in one duty cycle at most.
const RECEIVE_LIMIT: usize = 64;
/// Messages taken from the script in one duty cycle at most: enough to make the call that sends them worth its price, few
/// enough that the first of a burst need not wait for the last.
const SCRIPT_LIMIT: usize = 1024;
/// Datagrams sent in one duty cycle at most, so that requests get their turn.
const SEND_LIMIT: usize = 64;

/// Where a publisher's messages come from, in order, each at its time.
pub trait Script: Send {
    /// The next message and the time it was meant for, if that is not after `now`. Does not advance.
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])>;

    /// Goes to the message after the one that `peek` showed.
    fn advance(&mut self);

    /// There will be no more messages.
    fn is_finished(&self) -> bool;
}

impl<S: Script + ?Sized> Script for Box<S> {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        (**self).peek(now)
    }

    fn advance(&mut self) {
        (**self).advance();
    }

    fn is_finished(&self) -> bool {
        (**self).is_finished()
    }
}

/// A line to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutLine {
    /// Group (or unicast address) and port.
    pub group: SocketAddrV4,
    /// Address of the interface it leaves through.
    pub interface: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
}

/// What a publisher is built from.
#[derive(Clone, Debug)]
pub struct PublisherPlan {
    /// Its name in reports.
    pub name: String,
    /// Its session: its identity.
    pub session: Session,
    /// Its lines.
    pub lines: Vec<OutLine>,
    /// Where it takes rewind requests and acknowledgements.
    pub rewind: SocketAddrV4,
    /// The send path.
    pub sender: SenderConfig,
    /// The rewind server.
    pub server: ServerConfig,
    /// Bytes of messages kept.
    pub history_bytes: usize,
    /// Messages kept.
    pub history_messages: usize,
    /// With a sequencer that acknowledges: how many messages may be under way. `None`: nobody acknowledges.
    pub window_messages: Option<u64>,
}

/// The agent.
pub struct Publisher<D, S> {
    plan: PublisherPlan,
    driver: D,
    rewind: EndpointId,
    lines: Vec<Destination>,
    script: S,
    history: History,
    sender: Sender,
    server: Server,
    /// Everything below is committed at the sequencer.
    committed: SeqNo,
    /// Everything below has arrived at the sequencer.
    received: SeqNo,
    acknowledgements: u64,
    foreign_acknowledgements: u64,
    /// Messages that had to wait because the history was full of unacknowledged ones.
    refusals: u64,
    trace: Option<Trace>,
    meter: Meter,
}

/// The messages of a history that may be sent now.
struct Sendable<'a> {
    history: &'a History,
    at: SeqNo,
    end: SeqNo,
}

impl MessageSource for Sendable<'_> {
    fn peek(&mut self) -> Option<(SeqNo, &[u8])> {
        if self.at >= self.end {
            return None;
        }
        self.history.message(self.at).map(|message| (self.at, message))
    }

    fn advance(&mut self) {
        self.at = self.at.next();
    }

    // Pieces of memory, not messages: two where the history begins anew.
    fn pack(&mut self, packer: &mut Packer<'_>) {
        while let Some((blocks, count)) = self.history.run(self.at, self.end, packer.room()) {
            if self.at != packer.next() || !packer.try_push_blocks(blocks, count) {
                break;
            }
            self.at = self.at.saturating_add(count.into());
        }
    }
}

impl<D: Driver, S: Script> Publisher<D, S> {
    /// Opens the endpoints: one a line and one for requests.
    ///
    /// # Errors
    /// What the driver refused, or a setting that cannot work.
    pub fn open(
        mut driver: D,
        script: S,
        plan: PublisherPlan,
        meter: Meter,
    ) -> Result<Publisher<D, S>, AgentError> {
        let rewind = driver.open(&EndpointSpec {
            bind: Bind::Local { local: plan.rewind, multicast_ttl: 1 },
            receive_buffer_bytes: 1 << 20,
            send_buffer_bytes: 1 << 20,
        })?;
        let lines = open_lines(&mut driver, &plan.lines)?;
        let policy = if plan.window_messages.is_some() { Policy::Keep } else { Policy::Evict };
        let history = History::new(plan.history_bytes, plan.history_messages, SeqNo::FIRST, policy);
        let sender = Sender::new(&plan.sender, plan.session, SeqNo::FIRST).map_err(AgentError::failed)?;
        let server = Server::new(plan.server.clone()).map_err(AgentError::failed)?;
        Ok(Publisher {
            plan,
            driver,
            rewind,
            lines,
            script,
            history,
            sender,
            server,
            committed: SeqNo::FIRST,
            received: SeqNo::FIRST,
            acknowledgements: 0,
            foreign_acknowledgements: 0,
            refusals: 0,
            trace: None,
            meter,
        })
    }

    /// Marks the time that each message was meant for, so that latency is measured from there.
    pub fn traced(mut self, trace: Trace) -> Publisher<D, S> {
        self.trace = Some(trace);
        self
    }

    /// Where it takes requests, its port filled in.
    pub fn rewind_addr(&self) -> SocketAddrV4 {
        self.driver.local_addr(self.rewind)
    }

    fn receive(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let Publisher { plan, driver, server, history, committed, received, .. } = self;
        let available = history.range();
        let (mut good, mut foreign) = (0, 0);
        let work = driver.poll_rx(now, RECEIVE_LIMIT, |datagram: Received<'_>| {
            match Ack::parse(datagram.bytes) {
                Ok(ack) => {
                    let allowed = plan.server.allow.iter().any(|prefix| prefix.contains(*datagram.from.ip()));
                    if allowed && ack.session == plan.session && ack.committed <= ack.received {
                        *committed = (*committed).max(ack.committed);
                        *received = (*received).max(ack.received);
                        good += 1;
                    } else {
                        foreign += 1;
                    }
                }
                Err(_) => {
                    server.on_request(now, datagram.from, datagram.bytes, available.clone());
                }
            }
        })?;
        server.poll(now, &available);
        self.acknowledgements += good;
        self.foreign_acknowledgements += foreign;
        if good > 0 {
            self.history.acknowledge(self.committed.min(self.history.next()));
        }
        Ok(work)
    }

    /// Takes what is due from the script into the history.
    fn take(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut taken = 0;
        while taken < SCRIPT_LIMIT {
            let Some((due, message)) = self.script.peek(now) else { break };
            if message.len() > self.sender.max_message_bytes() {
                return Err(AgentError::failed(format_args!(
                    "message {} of {} is {} bytes long, a datagram holds {}: raise `max_datagram_bytes`",
                    self.history.next(),
                    self.plan.name,
                    message.len(),
                    self.sender.max_message_bytes(),
                )));
            }
            match self.history.try_push(message) {
                Ok(seq) => {
                    if let Some(trace) = &self.trace {
                        trace.mark_at(Stage::Scheduled, seq, due);
                    }
                }
                Err(Full::Unacknowledged) => {
                    self.refusals += 1;
                    break;
                }
                Err(error) => return Err(AgentError::failed(error)),
            }
            self.script.advance();
            taken += 1;
        }
        Ok(taken)
    }

    fn send(&mut self, now: Nanos) -> usize {
        let mut sent = 0;
        while let Some(reply) = self.server.poll_reply() {
            let (server, history) = (&mut self.server, &self.history);
            let to = [Destination { endpoint: self.rewind, to: reply.to }];
            let size = server.max_datagram_bytes();
            let fill = |buffer: &mut [u8]| {
                server.fill_reply(&reply, buffer, |push| {
                    history
                        .messages_from(reply.first)
                        .take_while(|(seq, message)| push(*seq, message))
                        .count();
                })
            };
            if self.driver.transmit(&to, size, fill).is_err() {
                self.server.put_back(reply);
                return sent;
            }
            sent += 1;
        }
        if sent > 0 {
            self.sender.linger_on(now);
        }
        let end = match self.plan.window_messages {
            Some(window) => self.received.saturating_add(window),
            None => SeqNo::MAX,
        };
        // What an earlier process sent and the sequencer committed may be gone from the history: it must not hold up the
        // rest.
        self.sender.skip_to(self.committed.min(self.history.next()));
        let size = self.sender.max_datagram_bytes();
        let first = self.sender.next();
        while sent < SEND_LIMIT {
            let (sender, history) = (&mut self.sender, &self.history);
            let mut source = Sendable { history, at: sender.next(), end };
            let fill = |buffer: &mut [u8]| sender.fill(now, &mut source, buffer);
            match self.driver.transmit(&self.lines, size, fill) {
                Ok(0) | Err(_) => break,
                Ok(_) => sent += 1,
            }
        }
        if let Some(trace) = &self.trace {
            trace.mark_range(Stage::Sent, first, self.sender.next());
        }
        sent
    }

    /// Ends the session once there is nothing more to say and, with a sequencer that acknowledges, all is committed.
    fn end_when_done(&mut self, now: Nanos) -> Result<(), AgentError> {
        let all_sent = self.sender.next() == self.history.next();
        let all_kept = self.plan.window_messages.is_none() || self.committed >= self.history.next();
        if self.script.is_finished() && all_sent && all_kept {
            self.sender.end(now);
        }
        if self.sender.finished(now) { Err(AgentError::Finished) } else { Ok(()) }
    }

    fn report(&mut self) {
        let (sender, server) = (self.sender.stats(), self.server.stats());
        self.meter.set("messages_total", sender.messages);
        self.meter.set("heartbeats_total", sender.heartbeats);
        self.meter.set("acknowledgements_total", self.acknowledgements);
        self.meter.set("foreign_acknowledgements_total", self.foreign_acknowledgements);
        self.meter.set("backpressure_total", self.refusals);
        self.meter.set("unacknowledged_messages", self.history.unacknowledged());
        self.meter.rewind(server);
        self.meter.driver(&self.driver.counters());
    }
}

impl<D: Driver + Send, S: Script> Agent for Publisher<D, S> {
    fn name(&self) -> &str {
        &self.plan.name
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = self.receive(now)?;
        work += self.take(now)?;
        work += self.send(now);
        self.driver.flush(now)?;
        if self.meter.is_due(now) {
            self.report();
        }
        self.end_when_done(now)?;
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}

/// Opens one sending endpoint a line.
pub(super) fn open_lines<D: Driver>(
    driver: &mut D,
    lines: &[OutLine],
) -> Result<Vec<Destination>, AgentError> {
    let mut destinations = Vec::with_capacity(lines.len());
    for line in lines {
        let endpoint = driver.open(&EndpointSpec {
            bind: Bind::Sender {
                local: SocketAddrV4::new(line.interface, 0),
                to: line.group,
                multicast_ttl: line.ttl,
            },
            receive_buffer_bytes: 1 << 16,
            send_buffer_bytes: 4 << 20,
        })?;
        destinations.push(Destination { endpoint, to: line.group });
    }
    Ok(destinations)
}
