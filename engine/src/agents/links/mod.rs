//! Control connections: one TCP connection between each two nodes, and the operator's commands.
//!
//! A node listens at the address of its replication stream. Of two nodes the one with the lower number connects. Both say
//! who they are, `SEQCAST 1 SESSION NODE INCARNATION`, and then every second that they live. Nothing of the stream goes
//! over such a connection. It is there to end: **a process that dies takes its connections along**, and the other kernel
//! says so in a fraction of a millisecond. A node that closes a connection and lives on says `BYE`, so that it is not
//! taken for dead.
//!
//! The same port serves operators: `status` is answered by one line of JSON ([`Report`](super::status::Report)), `promote`
//! and `retire` by one line with the outcome. Nobody proves who he is: what counts is the address that a connection
//! comes from. Let nobody on that network who must not do this.
//!
//! | what comes | what is done |
//! |---|---|
//! | from an address that is neither a node's nor an operator's | closed at once, counted |
//! | another session, another node's address, a node that is connected already, an unknown node | refused in words, counted |
//! | something else, too long a line | refused in words, counted |
//! | nothing for two seconds | the same |
//! | more connections at a time than there is room for | the newest is refused, counted |
//!
//! The agent is cold: it waits in the kernel until something comes, at most [`WAIT`].

mod desk;
mod guest;
mod line;
mod peer;
mod pipe;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use seqcast_wire::Session;
use tracing::{info, warn};

pub use desk::{CommandOutcome, Desk, LinkChange, LinkEvent, OperatorCommand, Ticketed};

use self::guest::{COMMAND_TIMEOUT, Guest, Pending, Wish, in_words};
use self::line::Hello;
use self::peer::Peer;
use super::meter::Meter;
use super::status::{Names, NodeStatus, NoteReport};
use crate::io::tcp::{Listener, Stream, wait};
use crate::replica::NodeId;
use crate::rewind::Prefix;
use crate::runtime::{Agent, AgentError};
use crate::time::Nanos;

/// Longest wait: what the desk brings is seen after it. What a connection brings ends the wait.
pub const WAIT: Nanos = Nanos::from_millis(5);
/// Who has connected says who he is within this time.
const GREETING_TIMEOUT: Nanos = Nanos::from_secs(2);
/// Connections at a time beside those between nodes.
const MAX_GUESTS: usize = 16;
/// Lines heard of one connection in one duty cycle at most.
const LINES_LIMIT: usize = 16;
/// Refusals are told of no more often.
const COMPLAINT_INTERVAL: Nanos = Nanos::from_secs(1);
/// Notes that are kept for operators.
const MAX_NOTES: usize = 64;

/// What the agent is built from.
#[derive(Clone, Debug)]
pub struct LinksPlan {
    /// Session of the feed.
    pub session: Session,
    /// This node.
    pub me: NodeId,
    /// Incarnation of its journal.
    pub incarnation: u64,
    /// Name and replication address of every node, by [`NodeId`].
    pub nodes: Vec<(String, SocketAddrV4)>,
    /// Who may ask and command, beside the nodes.
    pub operators: Vec<Prefix>,
    /// Longest wait in the kernel in one duty cycle: [`WAIT`], or none for whoever drives it by hand.
    pub wait: Nanos,
}

/// The agent.
pub struct Links {
    plan: LinksPlan,
    hello: Hello,
    names: Names,
    listener: Listener,
    peers: Vec<Peer>,
    guests: Vec<Guest>,
    desk: Desk,
    status: Option<NodeStatus>,
    notes: VecDeque<NoteReport>,
    noted: u64,
    tickets: u64,
    pending: Option<Pending>,
    accepted: u64,
    refused: u64,
    /// When a refusal was told last.
    complained: Nanos,
    meter: Meter,
}

impl Links {
    /// Listens at this node's replication address. Events go to `desk`, and from there comes what operators are told.
    ///
    /// # Errors
    /// The address cannot be had; `plan.me` is none of the nodes.
    pub fn open(plan: LinksPlan, desk: Desk, meter: Meter) -> Result<Links, AgentError> {
        let me = usize::from(plan.me.0);
        let Some((_, address)) = plan.nodes.get(me) else {
            return Err(AgentError::failed(format_args!("node {me} is none of {} nodes", plan.nodes.len())));
        };
        let listener = Listener::bind((*address).into())?;
        let all = (0..).map(NodeId).zip(&plan.nodes);
        let others = all.filter(|(node, _)| *node != plan.me);
        let peers = others.map(|(node, (name, at))| Peer::new(plan.me, node, name.clone(), *at)).collect();
        Ok(Links {
            hello: Hello { session: plan.session, node: plan.me, incarnation: plan.incarnation },
            names: Names(plan.nodes.iter().map(|(name, _)| name.clone()).collect()),
            listener,
            peers,
            guests: Vec::with_capacity(MAX_GUESTS),
            desk,
            status: None,
            notes: VecDeque::with_capacity(MAX_NOTES),
            noted: 0,
            tickets: 0,
            pending: None,
            accepted: 0,
            refused: 0,
            complained: Nanos::ZERO,
            meter,
            plan,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> Result<SocketAddr, AgentError> {
        Ok(self.listener.local_addr()?)
    }

    fn accept(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        loop {
            match self.listener.poll_accept() {
                Ok(Some((stream, peer))) => {
                    work += 1;
                    self.accepted += 1;
                    self.receive(now, stream, peer);
                }
                Ok(None) => return work,
                Err(error) => {
                    // No file is left to be opened: nothing that the order of events should stop for.
                    self.complain(now, format_args!("cannot accept a connection: {error}"));
                    std::thread::sleep(std::time::Duration::from_nanos(self.plan.wait.0));
                    return work;
                }
            }
        }
    }

    fn receive(&mut self, now: Nanos, stream: Stream, peer: SocketAddr) {
        let from = match peer {
            SocketAddr::V4(peer) => *peer.ip(),
            // The listener has an IPv4 address.
            SocketAddr::V6(_) => return,
        };
        let is_node = self.plan.nodes.iter().any(|(_, address)| *address.ip() == from);
        if !is_node && !self.plan.operators.iter().any(|prefix| prefix.contains(from)) {
            let why = "it is no node and not among cluster.operators";
            return self.complain(now, format_args!("{from} may not connect: {why}"));
        }
        if self.guests.len() == MAX_GUESTS {
            let most = format_args!("{from} is turned away: {MAX_GUESTS} connections at a time are the most");
            return self.complain(now, most);
        }
        self.guests.push(Guest::new(now, stream, from));
    }

    fn serve(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        for at in (0..self.guests.len()).rev() {
            let wish = match self.guests[at].poll(now) {
                Ok(None) => continue,
                Ok(Some(wish)) => wish,
                Err(why) => {
                    self.refuse(now, at, &why);
                    continue;
                }
            };
            work += 1;
            match wish {
                Wish::Leave => {
                    self.guests.swap_remove(at);
                }
                Wish::Link(hello) => self.link(now, at, &hello),
                Wish::Status => self.tell(now, at),
                Wish::Command(command) => self.command(now, at, command),
            }
        }
        work
    }

    fn refuse(&mut self, now: Nanos, at: usize, why: &str) {
        let from = self.guests[at].from;
        self.complain(now, format_args!("{from} is refused: {why}"));
        self.guests[at].refuse(now, why);
    }

    /// Counts a refusal, and tells of it unless one was told just now: nobody fills the log from outside.
    fn complain(&mut self, now: Nanos, what: fmt::Arguments<'_>) {
        self.refused += 1;
        if self.complained == Nanos::ZERO || now.since(self.complained) >= COMPLAINT_INTERVAL {
            self.complained = now;
            warn!("links: {what} ({} refused so far)", self.refused);
        }
    }

    /// A guest says that it is a node.
    fn link(&mut self, now: Nanos, at: usize, hello: &Hello) {
        let from = self.guests[at].from;
        let node = hello.node;
        if hello.session != self.plan.session {
            let why = format!("session {}: this node is of {}", hello.session, self.plan.session);
            return self.refuse(now, at, &why);
        }
        if node == self.plan.me {
            return self.refuse(now, at, &format!("node {}: that is this node; two have one name", node.0));
        }
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) else {
            return self.refuse(now, at, &format!("node {}: there is none in cluster.node", node.0));
        };
        if *peer.address.ip() != from {
            let why = format!("{} is configured at {}, not at {from}", peer.name, peer.address.ip());
            return self.refuse(now, at, &why);
        }
        if let Some(why) = peer.objection() {
            return self.refuse(now, at, &why);
        }
        peer.admit(now, self.guests.swap_remove(at).into_pipe(), &self.hello);
    }

    fn tell(&mut self, now: Nanos, at: usize) {
        let Some(status) = &self.status else {
            return self.guests[at].refuse(now, "this node has not said yet how it stands: ask again");
        };
        let link = |node| self.peers.iter().any(|peer| peer.node == node && peer.is_up());
        let notes = self.notes.iter().cloned().collect();
        let report = self.names.report((self.plan.session, self.plan.me), status, link, notes);
        let json =
            serde_json::to_string(&report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        self.guests[at].answer(now, &json);
    }

    fn command(&mut self, now: Nanos, at: usize, command: OperatorCommand) {
        if let Some(pending) = self.pending {
            let why = format!("a {} is under way", pending.command.word());
            return self.refuse(now, at, &why);
        }
        self.tickets += 1;
        let ticket = self.tickets;
        if !self.desk.try_command(Ticketed { ticket, what: command }) {
            return self.refuse(now, at, "the command before was not taken yet");
        }
        info!("links: {} asks this node to {}", self.guests[at].from, command.word());
        self.pending = Some(Pending { ticket, command, since: now });
        self.guests[at].await_outcome(ticket);
    }

    /// Takes what the desk has: how the node stands, what has happened, what became of a command.
    fn take(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        while let Some(status) = self.desk.poll_status() {
            self.status = Some(status);
        }
        while let Some(note) = self.desk.poll_note() {
            let report = self.names.note(self.noted, &note);
            info!("{} is {report}", self.names.of(self.plan.me));
            self.noted += 1;
            if self.notes.len() == MAX_NOTES {
                self.notes.pop_front();
            }
            self.notes.push_back(report);
            work += 1;
        }
        while let Some(Ticketed { ticket, what }) = self.desk.poll_outcome() {
            if let Some(pending) = self.pending.take_if(|pending| pending.ticket == ticket) {
                let (outcome, words) = in_words(what);
                self.close_command(now, pending, outcome, words);
                work += 1;
            }
        }
        if let Some(pending) = self.pending.take_if(|pending| now.since(pending.since) >= COMMAND_TIMEOUT) {
            let (outcome, words) = if self.desk.take_back() {
                ("refused", "the node did not take the command")
            } else {
                ("unknown", "the command is still under way: look at `seqcast status`")
            };
            self.close_command(now, pending, outcome, words);
        }
        work
    }

    fn close_command(&mut self, now: Nanos, pending: Pending, outcome: &str, words: &str) {
        info!("links: {}: {outcome}: {words}", pending.command.word());
        for guest in &mut self.guests {
            guest.on_outcome(now, pending.ticket, pending.command, outcome, words);
        }
    }

    fn report(&mut self) {
        let up = self.peers.iter().filter(|peer| peer.is_up()).count();
        self.meter.set("up", up as u64);
        self.meter.set("deaths_total", self.peers.iter().map(|peer| peer.deaths).sum());
        self.meter.set("losses_total", self.peers.iter().map(|peer| peer.losses).sum());
        self.meter.set("accepted_total", self.accepted);
        self.meter.set("refused_total", self.refused);
        self.meter.set("commands_total", self.tickets);
        self.meter.set("notes_total", self.noted);
        self.meter.set("lost_notes_total", self.desk.lost_notes());
    }

    fn rest(&self) -> Result<(), AgentError> {
        let peers = self.peers.iter().filter_map(Peer::awaited);
        let guests = self.guests.iter().map(Guest::awaited);
        Ok(wait(&self.listener, peers.chain(guests), self.plan.wait)?)
    }
}

impl Agent for Links {
    fn name(&self) -> &str {
        "links"
    }

    /// Never idle: it has waited itself, and a rest on top of that would be time lost on a closing connection.
    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = self.take(now);
        work += self.accept(now);
        work += self.serve(now);
        let from = *self.plan.nodes[usize::from(self.plan.me.0)].1.ip();
        for peer in &mut self.peers {
            work += peer.poll(now, from, &self.hello);
            peer.announce(&self.desk);
        }
        if self.meter.is_due(now) {
            self.report();
        }
        if work == 0 {
            self.rest()?;
        }
        Ok(work.max(1))
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}
