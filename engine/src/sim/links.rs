//! Control connections of a world: who is told, and when, that another node's process has ended.
//!
//! Stands in for the agent that keeps TCP connections. A process that ends takes its connections along, and the other
//! nodes hear of it unless the network or the other's machine is down too; one that ends in order says goodbye.

use super::fault::FaultClass;
use super::shared::Shared;
use super::trace::Event;
use crate::agents::links::{Desk, LinkChange, LinkEvent, LinksPlan, OperatorCommand, Ticketed};
use crate::replica::NodeId;
use crate::runtime::{Agent, AgentError};
use crate::time::Nanos;

/// A closing connection is heard of after this.
const CLOSING: Nanos = Nanos::from_micros(150);
/// A connection stands this long after both processes began.
const CONNECTING: Nanos = Nanos::from_millis(1);
/// What could not be told, because nothing passed, is told again after this.
const AGAIN: Nanos = Nanos::from_millis(4);

/// Which processes live, and what is still to be told of those that ended.
#[derive(Default)]
pub(super) struct Switchboard {
    /// By node: the life of its process and when it began.
    alive: Vec<Option<(u32, Nanos)>>,
    notices: Vec<Notice>,
    /// Commands of operators, by node.
    commands: Vec<Option<OperatorCommand>>,
}

/// To be told to a node.
#[derive(Clone, Copy, Debug)]
struct Notice {
    at: Nanos,
    to: usize,
    of: usize,
    life: u32,
    change: LinkChange,
}

impl Switchboard {
    pub(super) fn new(nodes: usize) -> Switchboard {
        Switchboard { alive: vec![None; nodes], notices: Vec::new(), commands: vec![None; nodes] }
    }

    /// The process of a node begins.
    pub(super) fn on_started(&mut self, now: Nanos, node: usize, life: u32) {
        self.alive[node] = Some((life, now));
    }

    /// It ends. `None`: nobody will hear of it, because the machine went down with it.
    pub(super) fn on_ended(&mut self, now: Nanos, of: usize, change: Option<LinkChange>) {
        let Some((life, _)) = self.alive[of].take() else { return };
        self.notices.retain(|notice| notice.to != of);
        if let Some(change) = change {
            let others = (0..self.alive.len()).filter(|&to| to != of);
            let at = now + CLOSING;
            self.notices.extend(others.map(|to| Notice { at, to, of, life, change }));
        }
    }

    /// An operator commands a node.
    pub(super) fn command(&mut self, node: usize, command: OperatorCommand) {
        self.commands[node] = Some(command);
    }

    /// The next notice for `to` that is due; `is_cut` says whether nothing passes from a node to it.
    fn take(&mut self, now: Nanos, to: usize, is_cut: impl Fn(usize) -> bool) -> Option<Notice> {
        for notice in self.notices.iter_mut().filter(|notice| notice.to == to && notice.at <= now) {
            if is_cut(notice.of) {
                notice.at = now + AGAIN;
            }
        }
        let at = self.notices.iter().position(|notice| notice.to == to && notice.at <= now)?;
        Some(self.notices.remove(at))
    }
}

/// The agent.
pub(super) struct SimLinks {
    shared: Shared,
    node: usize,
    /// Node of the world that the cluster's node 0 is.
    first: usize,
    desk: Desk,
    /// By node of the cluster: life of the process that it is connected to.
    up: Vec<Option<u32>>,
    tickets: u64,
}

impl SimLinks {
    pub(super) fn new(shared: Shared, node: usize, plan: &LinksPlan, desk: Desk) -> SimLinks {
        let first = node - usize::from(plan.me.0);
        SimLinks { shared, node, first, desk, up: vec![None; plan.nodes.len()], tickets: 0 }
    }

    fn bring(&mut self, peer: usize, change: LinkChange) -> usize {
        usize::from(self.desk.try_bring(LinkEvent { node: NodeId(peer as u16), change }))
    }

    fn hear(&mut self) -> usize {
        let mut work = 0;
        while !self.shared.lock().switchboard.notices.is_empty() {
            let mut shared = self.shared.lock();
            let (now, node) = (shared.now, self.node);
            let cut: Vec<bool> = (0..shared.nodes()).map(|of| shared.is_cut(of, node)).collect();
            let Some(notice) = shared.switchboard.take(now, node, |of| cut[of]) else { break };
            drop(shared);
            let Some(peer) = notice.of.checked_sub(self.first) else { continue };
            if self.up.get(peer) == Some(&Some(notice.life)) {
                self.up[peer] = None;
                work += self.bring(peer, notice.change);
            }
        }
        work
    }

    fn connect(&mut self) -> usize {
        let mut work = 0;
        for peer in 0..self.up.len() {
            let other = self.first + peer;
            let shared = self.shared.lock();
            let alive = shared.switchboard.alive[other].filter(|&(life, began)| {
                other != self.node && self.up[peer] != Some(life) && began + CONNECTING <= shared.now
            });
            let is_cut = shared.is_cut(other, self.node) || shared.is_cut(self.node, other);
            drop(shared);
            if let (Some((life, _)), false) = (alive, is_cut) {
                // Whoever answers there now knows nothing of a connection to the process before.
                if self.up[peer].is_some() {
                    work += self.bring(peer, LinkChange::Dead);
                }
                self.up[peer] = Some(life);
                work += self.bring(peer, LinkChange::Up);
            }
        }
        work
    }

    fn command(&mut self) -> usize {
        let mut shared = self.shared.lock();
        let Some(command) = shared.switchboard.commands[self.node].take() else { return 0 };
        shared.fault(FaultClass::Operator, self.node, self.node);
        drop(shared);
        self.tickets += 1;
        usize::from(self.desk.try_command(Ticketed { ticket: self.tickets, what: command }))
    }

    /// What the node says of itself.
    fn listen(&mut self) {
        while self.desk.poll_outcome().is_some() {}
        while let Some(note) = self.desk.poll_note() {
            self.shared.lock().event(Event::Note { node: self.node, note: &note });
        }
        if let Some(status) = self.desk.poll_status() {
            let mut shared = self.shared.lock();
            let (referee, mut notes) = shared.referee();
            referee.on_status(self.node, &status, &mut notes);
        }
    }
}

impl Agent for SimLinks {
    fn name(&self) -> &str {
        "links"
    }

    fn do_work(&mut self, _now: Nanos) -> Result<usize, AgentError> {
        self.listen();
        Ok(self.hear() + self.connect() + self.command())
    }
}
