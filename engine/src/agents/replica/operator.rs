//! What operators want: that a node leads, that the primary leads no longer, or that a node goes.

use super::peers::Peer;
use super::{Replica, gate_number};
use crate::agents::links::{CommandOutcome, OperatorCommand};
use crate::io::Driver;
use crate::replica::{CommitGate, Member, Role};
use crate::time::Nanos;
use seqcast_wire::repl::Wish;

/// A command that is not done by then is given up.
const COMMAND_TIMEOUT: Nanos = Nanos::from_secs(3);
/// A primary is asked for so long to hand over. If it has not then, it is deposed.
const ASK_FOR: Nanos = Nanos::from_secs(1);

/// A primary that is to lead no longer.
pub(super) struct Retiring {
    /// The command; none when its process is about to end.
    ticket: Option<u64>,
    until: Nanos,
}

/// A node that is to lead.
pub(super) struct Promoting {
    ticket: u64,
    until: Nanos,
    /// The primary is asked until then.
    asks_until: Option<Nanos>,
}

impl<D: Driver> Replica<D> {
    pub(super) fn command(&mut self, now: Nanos, ticket: u64, command: OperatorCommand) {
        let is_primary = self.control.role() == Role::Primary;
        let until = now + COMMAND_TIMEOUT;
        let outcome = match command {
            OperatorCommand::Promote if is_primary => Some(CommandOutcome::Done("this node is primary")),
            // Who takes over from a primary that lives stops it in the midst of its work; who is handed the lead does not.
            OperatorCommand::Promote
                if self.primary().is_some_and(|primary| primary.detector.suspected().is_none()) =>
            {
                self.inbound.wish(Some(Wish::Lead));
                self.promoting = Some(Promoting { ticket, until, asks_until: Some(now + ASK_FOR) });
                None
            }
            OperatorCommand::Promote if self.control.on_promote(now) => {
                self.promoting = Some(Promoting { ticket, until, asks_until: None });
                None
            }
            OperatorCommand::Promote => {
                Some(CommandOutcome::Refused("the record does not list this node as it is: it may not lead"))
            }
            OperatorCommand::Retire if is_primary && self.endpoint.is_some() => {
                self.retiring = Some(Retiring { ticket: Some(ticket), until });
                None
            }
            OperatorCommand::Retire => Some(CommandOutcome::Refused("this node is not primary, or is alone")),
        };
        if let Some(outcome) = outcome {
            self.desk.answer(ticket, outcome);
        }
    }

    /// The primary that this node follows.
    fn primary(&self) -> Option<&Peer> {
        let Role::Standby { primary } = self.control.role() else { return None };
        self.peers.list.iter().find(|peer| peer.node == primary.node)
    }

    /// Whether this primary admits nothing any more, since another node is to lead.
    pub(super) fn hands_over(&self, now: Nanos) -> bool {
        let asks = |gate: &CommitGate| self.peers.asking(now, gate.stored()).is_some();
        self.retiring.is_some() || self.control.gate().is_some_and(asks)
    }

    /// As a primary that hands over: names a standby that has everything primary, once all is committed.
    pub(super) fn hand_over(&mut self, now: Nanos) {
        if !self.hands_over(now) {
            return;
        }
        if let Some(Retiring { ticket, .. }) = self.retiring.take_if(|retiring| now >= retiring.until) {
            match ticket {
                Some(ticket) => {
                    self.desk.answer(ticket, CommandOutcome::Refused("no standby could take over in time"));
                }
                None => self.departure.allow(),
            }
            return;
        }
        let end = gate_number(self.tail().at);
        let Some(gate) = self.control.gate() else { return };
        if gate.committed() < end || self.ring.peek().is_some() {
            return;
        }
        let stored = *gate.stored();
        let anybody = || stored.as_slice().iter().copied().find(|member| self.may_inherit(member));
        if let Some(heir) = self.peers.asking(now, &stored).or_else(anybody) {
            self.control.on_hand_over(heir);
        }
    }

    /// It leads no longer.
    pub(super) fn end_retirement(&mut self) {
        if let Some(Retiring { ticket: Some(ticket), .. }) = self.retiring.take() {
            self.desk.answer(ticket, CommandOutcome::Done("another node is primary"));
        }
    }

    /// As anything but a primary that is to lead: goes on with it, or gives it up.
    pub(super) fn promote(&mut self, now: Nanos) {
        let Some(Promoting { ticket, until, asks_until }) = self.promoting else { return };
        if now >= until {
            self.end_promotion(CommandOutcome::Refused("it did not become primary in time"));
            return;
        }
        let is_dead = self.primary().is_some_and(|primary| primary.detector.suspected().is_some());
        if asks_until.is_some_and(|asks_until| is_dead || now >= asks_until) {
            self.inbound.wish(None);
            self.promoting = Some(Promoting { ticket, until, asks_until: None });
            self.control.on_promote(now);
        }
    }

    /// It leads.
    pub(super) fn promoted(&mut self) {
        self.end_promotion(CommandOutcome::Done("this node is primary"));
    }

    fn end_promotion(&mut self, outcome: CommandOutcome) {
        self.inbound.wish(None);
        if let Some(Promoting { ticket, .. }) = self.promoting.take() {
            self.desk.answer(ticket, outcome);
        }
    }

    /// The process is about to end: this node hands over if it leads, and leaves the in-sync set, so that nobody waits for
    /// it. Where that helps nobody it goes at once.
    pub(super) fn depart(&mut self, now: Nanos) {
        if !self.departure.is_asked() || self.departure.is_allowed() {
            return;
        }
        let min_in_sync = self.control.min_in_sync();
        let set = self.control.known().map(|known| known.record.in_sync).unwrap_or_default();
        let is_listed = set.as_slice().iter().any(|member| member.node == self.me.node);
        match self.control.role() {
            _ if self.endpoint.is_none() => self.departure.allow(),
            Role::Primary if !set.as_slice().iter().any(|member| self.may_inherit(member)) => {
                self.departure.allow();
            }
            Role::Primary if self.retiring.is_none() => {
                self.retiring = Some(Retiring { ticket: None, until: now + COMMAND_TIMEOUT });
            }
            Role::Standby { .. } if !is_listed || set.len() <= min_in_sync => self.departure.allow(),
            Role::Standby { .. } => {
                self.inbound.wish(Some(Wish::Leave));
                self.control.look_soon(now);
            }
            // It is on its way to one of these.
            Role::Primary | Role::Joining | Role::Candidate => {}
        }
    }

    /// Whether `member` is another node that is there and stays.
    fn may_inherit(&self, member: &Member) -> bool {
        let peer = self.peers.list.iter().find(|peer| peer.node == member.node);
        peer.is_some_and(|peer| peer.detector.suspected().is_none() && !peer.leaves())
    }
}
