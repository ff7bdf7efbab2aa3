//! Who joins the in-sync set of a primary, who leaves it, and to whom it hands over.

use super::{Control, Notice, Suspect};
use crate::replica::broken::Rule;
use crate::replica::coordinator::{Record, Request};
use crate::replica::hearing::Roll;
use crate::replica::member::{Member, Members, NodeId};
use seqcast_wire::SeqNo;

impl Control {
    /// `member` has everything up to `next` in this epoch and keeps up: it may join the set (rule 1: locally first).
    pub fn on_caught_up(&mut self, member: Member, next: SeqNo) {
        let is_busy = self.asked || self.candidacy().is_some();
        let Some(gate) = &mut self.gate else { return };
        if is_busy || gate.local().contains(member) {
            return;
        }
        let stale = gate.local().as_slice().iter().any(|known| known.node == member.node)
            && !self.broken.is(Rule::StaleIncarnationCounted);
        let started = if stale { gate.try_shrink(member.node) } else { gate.try_grow(member, next) };
        if started.is_ok() {
            self.swap_change();
        }
    }

    /// Which of the others are there, as this primary finds them in this duty cycle.
    #[inline]
    pub fn on_roll(&mut self, roll: Roll) {
        self.roll = Some(roll);
        if let Some(gate) = &mut self.gate {
            gate.on_present(roll.members());
        }
    }

    /// Whether this primary cannot go on, and should say so: it hears too few to commit anything with, or the coordinator does
    /// not tell it what became of a change. Others may hear more than it does.
    #[inline]
    pub fn is_deaf(&self) -> bool {
        let hears_too_few = self.roll.is_some_and(|roll| roll.is_deaf(self.config.min_in_sync));
        self.gate.as_ref().is_some_and(|gate| hears_too_few || gate.is_unresolved())
    }

    /// `node` is gone or does not keep up: it leaves the set (rule 1: by swap first), unless too few would be left. A set
    /// below the minimum admits nothing (rule 7), so it is no better than one that waits; and who is left out of it could
    /// not take over from a primary that is cut off itself.
    pub fn on_lost(&mut self, node: NodeId, why: Suspect) {
        let overlaps = self.broken.is(Rule::OverlappingChanges);
        let is_busy = self.asked && !overlaps || self.candidacy().is_some();
        let Some(gate) = &mut self.gate else { return };
        let may_shrink = self.roll.is_some_and(|roll| roll.may_shrink(self.config.min_in_sync))
            || self.broken.is(Rule::ShrinkBelowMinimum);
        if !may_shrink {
            self.tell(Notice::Suspected { node, why });
        } else if !is_busy && gate.try_shrink(node).is_ok() {
            self.tell(Notice::Suspected { node, why });
            self.swap_change();
        }
    }

    /// An operator wants `to`, which has everything, to lead instead of this node: it is named primary by a swap, and
    /// takes over when it reads that. `false`: not now.
    pub fn on_hand_over(&mut self, to: Member) -> bool {
        let is_busy = self.asked || self.candidacy().is_some();
        let (Some(gate), Some(known)) = (&self.gate, self.known) else { return false };
        if is_busy || gate.proposal().is_some() || !gate.stored().contains(to) || to == self.config.me {
            return false;
        }
        let record = Record { epoch: self.promised.max(gate.epoch()) + 1, primary: to, ..known.record };
        self.ask(Request::Swap { expected: known.revision, record });
        true
    }

    fn swap_change(&mut self) {
        let (Some(gate), Some(known)) = (&self.gate, self.known) else { return };
        let Some(in_sync) = gate.proposal() else { return };
        let record = Record { in_sync, ..known.record };
        self.ask(Request::Swap { expected: known.revision, record });
    }

    pub(super) fn retry_change(&mut self) {
        self.change_due = None;
        self.swap_change();
    }

    pub(super) fn confirm_change(&mut self) {
        self.change_due = None;
        let Some(gate) = &mut self.gate else { return };
        let before = *gate.stored();
        gate.on_swapped();
        let after = *gate.stored();
        self.tell_change(&before, &after);
    }

    pub(super) fn tell_change(&mut self, before: &Members, after: &Members) {
        let joined = after.as_slice().iter().find(|member| !before.contains(**member));
        let left = before.as_slice().iter().find(|member| !after.contains(**member));
        if let Some(&member) = joined {
            self.tell(Notice::Grown(member));
        }
        if let Some(&member) = left {
            self.tell(Notice::Shrunk(member.node));
        }
    }
}
