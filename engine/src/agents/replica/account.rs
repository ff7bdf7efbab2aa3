//! What a node says of itself: to operators, in counters, and in words of what has happened.

use super::{Replica, reach_of};
use crate::agents::status::{self, NodeStatus, Note, PeerStatus, What};
use crate::io::{Destination, Driver};
use crate::limits::MAX_NODES;
use crate::replica::{
    Answer, Closed, CommitGate, Deposed, NodeId, Notice, Request, Role, Suspect, Watermarks,
};
use crate::time::Nanos;
use seqcast_wire::{SeqNo, repl};

/// How often the node's status is posted.
const STATUS_EVERY: Nanos = Nanos::from_millis(20);

fn words(why: Suspect) -> &'static str {
    match why {
        Suspect::Closed => "its connection closed",
        Suspect::Silent => "silent for too long",
        Suspect::Lagging => "it does not keep up",
        Suspect::Deaf => "it hears too few nodes, or not the coordinator",
        Suspect::Leaving => "it leaves",
        Suspect::Operator => "an operator's command",
    }
}

impl<D: Driver> Replica<D> {
    fn role(&self) -> status::Role {
        match self.control.role() {
            Role::Joining => status::Role::Joining,
            Role::Standby { .. } => status::Role::Standby,
            Role::Candidate => status::Role::Candidate,
            Role::Primary if self.retiring.is_some() => status::Role::Retiring,
            Role::Primary => status::Role::Primary,
        }
    }

    pub(super) fn tell(&self, what: What, about: Option<NodeId>, reason: &'static str) {
        let epoch = self.control.epoch().max(self.control.promised());
        let wall_ns = self.wall.now_ns();
        self.desk.note(Note { wall_ns, role: self.role(), epoch, what, about, reason });
    }

    pub(super) fn tell_notice(&self, notice: &Notice) {
        match *notice {
            Notice::Following { primary, .. } => self.tell(What::Role, Some(primary.node), "it is primary"),
            // That it has left is told when it has.
            Notice::Suspected { why: Suspect::Leaving, .. } => {}
            Notice::Suspected { node, why } => self.tell(What::Suspected, Some(node), words(why)),
            Notice::Standing { .. } => self.tell(What::Role, None, "it stands for a new epoch"),
            Notice::Leading { .. } => self.tell(What::Role, None, "the record names this node"),
            Notice::SteppedDown { why: Deposed::Record { primary, .. }, .. } => {
                self.tell(What::Role, Some(primary), "the record names another primary");
            }
            Notice::SteppedDown { why: Deposed::NoRecord, .. } => {
                self.tell(What::Role, None, "the coordinator has no record any more");
            }
            Notice::Grown(member) => self.tell(What::Joined, Some(member.node), "it has caught up"),
            Notice::Shrunk(node) => self.tell(What::Left, Some(node), "the coordinator confirmed it"),
            Notice::NoRecord { .. } => {
                self.tell(What::Closed, None, "the coordinator lost its record: restore it");
            }
            Notice::OldRecord { .. } => {
                self.tell(
                    What::Closed,
                    None,
                    "the coordinator was restored from an old backup: make it current",
                );
            }
            Notice::ForeignRecord(_) => {
                self.tell(What::Closed, None, "the record is about another session: give each its own place");
            }
            Notice::LastMemberLost => {
                let why = "the in-sync set was this node alone, and its journal cannot be proven whole: check \
                           what was published, then begin a new session";
                self.tell(What::Closed, None, why);
            }
        }
    }

    pub(super) fn tell_request(&self, request: &Request) {
        if matches!(request, Request::Swap { .. }) {
            self.tell(What::SwapAsked, None, "");
        }
    }

    pub(super) fn tell_answer(&self, answer: &Answer) {
        match answer {
            Answer::Read(_) => {}
            Answer::Swapped(_) => self.tell(What::Swapped, None, ""),
            Answer::Lost => self.tell(What::SwapLost, None, "somebody else was first"),
            Answer::Unknown => self.tell(What::SwapUnknown, None, "the coordinator gave no answer"),
        }
    }

    pub(super) fn tell_progress(&mut self, committed: SeqNo, is_admitting: bool) {
        if self.inherited.is_some_and(|inherited| committed >= inherited) {
            self.inherited = None;
            self.tell(What::CaughtUp, None, "");
        }
        if is_admitting != self.was_admitting {
            self.was_admitting = is_admitting;
            let why = match self.control.gate().map(CommitGate::admitting) {
                Some(Err(Closed::BelowMinimum { .. })) => "too few members are in sync",
                Some(Err(Closed::Unresolved)) => "the last change of the set is unresolved",
                Some(Ok(())) if !is_admitting => "it hands over to another node",
                _ => "",
            };
            self.tell(if is_admitting { What::Opened } else { What::Closed }, None, why);
        }
    }

    /// Tells a primary of an older epoch what was promised.
    pub(super) fn refuse(&mut self, now: Nanos) {
        let (Some(to), Some(endpoint)) = (self.refuse.take(), self.endpoint) else { return };
        let promised = self.control.promised();
        let refusals = &mut self.refusals;
        let to = [Destination { endpoint, to }];
        // One that finds no room is one that got lost: the primary speaks again.
        let _ =
            self.driver.transmit(&to, repl::HEADER_BYTES, |buffer| refusals.answer(now, promised, buffer));
    }

    /// Tells all others that this node leads no longer, so that they read the record now and not when that is due.
    pub(super) fn resign(&mut self) {
        let Some(endpoint) = self.endpoint else { return };
        let promised = self.control.promised();
        for peer in &self.peers.list {
            let to = [Destination { endpoint, to: peer.address }];
            // One that gets lost is made up for by the first acknowledgement of the new epoch.
            let _ = self
                .driver
                .transmit(&to, repl::HEADER_BYTES, |buffer| self.refusals.resign(promised, buffer));
        }
    }

    pub(super) fn report(&mut self, now: Nanos) {
        if now >= self.status_due && self.endpoint.is_some() {
            self.status_due = now + STATUS_EVERY;
            self.post(now);
        }
        if !self.meter.is_due(now) {
            return;
        }
        self.meter.set("epoch", self.control.epoch());
        self.meter.set("promised_epoch", self.control.promised());
        self.meter.set("is_primary", (self.control.role() == Role::Primary).into());
        self.meter.set("takeovers_total", self.counts.takeovers);
        self.meter.set("discarded_frames_total", self.counts.discarded_frames);
        self.meter.set("strange_datagrams_total", self.counts.strange_datagrams);
        self.meter.set("damaged_datagrams_total", self.counts.damaged_datagrams);
        self.meter.set("stale_datagrams_total", self.inbound.stats().stale_datagrams);
        self.meter.set("higher_epoch_datagrams_total", self.inbound.stats().higher_epoch_datagrams);
        self.meter.set("cuts_total", self.counts.cuts);
        self.meter.set("damaged_frames_total", self.peers.damaged);
        self.meter.set("images_total", self.peers.images);
        self.meter.set("ring_lag_bytes", self.ring.lag_bytes());
        if let Some(journal) = &self.journal {
            self.meter.set("next", journal.chain().next().value());
            self.meter.set("everywhere", self.watermarks.everywhere.load().value());
            self.meter.set("journal_stalls_total", journal.stalls());
        }
        if self.endpoint.is_some() {
            self.meter.driver(&self.driver.counters());
        }
    }

    fn post(&mut self, now: Nanos) {
        let tail = self.journal.as_ref().map(|journal| reach_of(journal.chain()));
        let next = tail.map_or(SeqNo::FIRST, |reach| reach.next);
        let watermarks = match self.control.gate() {
            Some(gate) => gate.watermarks(),
            None => Watermarks {
                numbered: next,
                appended: next,
                durable: self.durable().next,
                replicated: self.inbound.verified().next,
                committed: self.watermarks.committed.load(),
                published: self.mark.next(),
            },
        };
        let mut status = NodeStatus::starting(self.me.incarnation, watermarks);
        status.wall_ns = self.wall.now_ns();
        status.role = self.role();
        status.epoch = self.control.epoch().max(self.control.known().map_or(0, |known| known.record.epoch));
        status.primary = match self.control.role() {
            Role::Primary => Some(self.me.node),
            Role::Standby { primary } => Some(primary.node),
            _ => self.control.known().map(|known| known.record.primary.node),
        };
        status.stored = self.control.known().map(|known| known.record.in_sync).unwrap_or_default();
        status.min_in_sync = self.control.min_in_sync();
        status.closed = Some(Closed::NotPrimary);
        if let Some(gate) = self.control.gate() {
            status.stored = *gate.stored();
            status.local = *gate.local();
            status.closed = gate.admitting().err();
        }
        for peer in &self.peers.list {
            let at = usize::from(peer.node.0);
            if at < MAX_NODES {
                let stream = peer.stream.as_ref();
                status.peers[at] = PeerStatus {
                    verified: stream.and_then(|stream| stream.verified()).map(|(_, reach)| reach.next),
                    lag: stream.map_or(Nanos::ZERO, |stream| stream.lag(now).stuck),
                    silent: peer.heard_at.map(|heard| now.since(heard)),
                    false_suspicions: peer.detector.stats().false_suspicions,
                    needs_image: stream.is_some_and(|stream| stream.needs_image().is_some()),
                };
            }
        }
        self.desk.post(&status);
    }
}
