//! The commit gate: what may be published, and whether anything may be admitted.
//!
//! An event is committed once **every** member of the primary's local set acknowledged it in this epoch. The local set
//! always contains the stored set (the one that the coordinator keeps, from which a new primary can come):
//!
//! - it shrinks by swap first, then locally: until the swap is confirmed the member may still take over;
//! - it grows locally first, then by swap: once the swap is done the member may take over, so it must have
//!   everything that is committed;
//! - one change is outstanding at a time, and after an unknown answer the larger set counts.

use seqcast_wire::SeqNo;

use super::broken::{Broken, Rule};
use super::member::{Member, Members, NodeId};
use crate::limits::MAX_NODES;

/// What a node must have done with a frame before it acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Appended it to the journal in memory: survives the process, not the machine's power.
    Memory,
    /// Synced it to disk.
    Disk,
}

/// How far things are. Everything *below* each number is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Numbered by this primary, on its way to the journal and the standbys.
    pub numbered: SeqNo,
    /// In this node's journal, in memory.
    pub appended: SeqNo,
    /// On this node's disk.
    pub durable: SeqNo,
    /// Acknowledged by every other member of the local set; equal to `numbered` without others.
    pub replicated: SeqNo,
    /// Acknowledged by every member: final.
    pub committed: SeqNo,
    /// Sent to subscribers.
    pub published: SeqNo,
}

/// What an acknowledgement was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It raised the member's watermark.
    Counted,
    /// It says nothing new.
    Old,
    /// It is of another epoch.
    OtherEpoch,
    /// The sender is not in the local set with that incarnation.
    NotMember,
    /// It acknowledges what was never numbered: the sender's history is another one.
    Ahead,
}

/// Why nothing is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// This node is not the primary any more.
    #[error("this node is not the primary")]
    NotPrimary,
    /// It is not known whether this node still is the primary.
    #[error("the last change of the in-sync set is unresolved")]
    Unresolved,
    /// Too few members.
    #[error("{len} in-sync members, {min} are required; bring a standby back, or configure min_in_sync = 1")]
    BelowMinimum {
        /// Members of the local set.
        len: usize,
        /// Members required.
        min: usize,
    },
}

/// Why the in-sync set cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another change is outstanding.
    #[error("another change of the in-sync set is outstanding")]
    Outstanding,
    /// This node is not the primary any more.
    #[error("this node is not the primary")]
    NotPrimary,
    /// The node is in the set already (perhaps with an earlier incarnation: shrink first), or the set is full.
    #[error("the node is in the set, or the set is full")]
    NotAddable,
    /// The node is not in the set, or is this one.
    #[error("the node is not in the set, or is the primary itself")]
    NotRemovable,
    /// The node lacks committed events.
    #[error("the node has everything below {next}, committed is everything below {committed}")]
    Behind {
        /// What the node acknowledged.
        next: SeqNo,
        /// What is committed.
        committed: SeqNo,
    },
}

/// Whether this node is the primary, by the coordinator's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Primary,
    /// It is not: follow the record.
    Deposed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    Grow(Members),
    Shrink(NodeId),
}

/// Decides what is committed and whether events are admitted, on the primary of one epoch.
#[derive(Clone, Debug)]
pub struct CommitGate {
    me: Member,
    epoch: u64,
    min_in_sync: usize,
    durability: Durability,
    stored: Members,
    local: Members,
    /// Members of `local` that are heard and keep up.
    present: usize,
    /// What each member of `local` acknowledged, in the same order.
    acked: [SeqNo; MAX_NODES],
    change: Option<Change>,
    unresolved: bool,
    deposed: bool,
    numbered: SeqNo,
    appended: SeqNo,
    durable: SeqNo,
    committed: SeqNo,
    published: SeqNo,
    /// Where the journal ended when this primary took over.
    inherited: SeqNo,
    broken: Broken,
}

impl CommitGate {
    /// The gate of primary `me` of `epoch`, whose record names `stored` as the in-sync set. `next` is where its journal
    /// ends: all of it counts as possibly committed and is acknowledged again by the set. `published` is the last
    /// known published watermark.
    ///
    /// # Panics
    /// When `me` is not in `stored`: the record cannot name such a primary.
    pub fn new(
        me: Member,
        epoch: u64,
        stored: Members,
        min_in_sync: usize,
        durability: Durability,
        next: SeqNo,
        published: SeqNo,
    ) -> CommitGate {
        assert!(stored.contains(me), "the primary is in the set that made it primary");
        let mut gate = CommitGate {
            me,
            epoch,
            min_in_sync,
            durability,
            stored,
            local: stored,
            present: stored.len(),
            acked: [SeqNo::FIRST; MAX_NODES],
            change: None,
            unresolved: false,
            deposed: false,
            numbered: next,
            appended: SeqNo::FIRST,
            durable: SeqNo::FIRST,
            committed: published,
            published,
            inherited: next,
            broken: Broken::NONE,
        };
        gate.on_appended(next);
        gate
    }

    /// The same with a rule broken on purpose, if one is.
    pub fn breaking(mut self, broken: Broken) -> CommitGate {
        self.broken = broken;
        self
    }

    /// Epoch of this primary.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The set whose acknowledgements a commit waits for.
    pub fn local(&self) -> &Members {
        &self.local
    }

    /// The set that the coordinator keeps, as far as is known.
    pub fn stored(&self) -> &Members {
        &self.stored
    }

    /// Everything below is final: acknowledged by every member of the local set in this epoch.
    #[inline]
    pub fn committed(&self) -> SeqNo {
        self.committed
    }

    /// How far everything is.
    pub fn watermarks(&self) -> Watermarks {
        let others = self.local.as_slice().iter().zip(&self.acked).filter(|(member, _)| **member != self.me);
        Watermarks {
            numbered: self.numbered,
            appended: self.appended,
            durable: self.durable,
            replicated: others.map(|(_, &next)| next).min().unwrap_or(self.numbered),
            committed: self.committed,
            published: self.published,
        }
    }

    /// Whether events are admitted.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn admitting(&self) -> Result<(), Closed> {
        if self.deposed {
            return Err(Closed::NotPrimary);
        }
        if self.unresolved {
            return Err(Closed::Unresolved);
        }
        let len = self.local.len().min(self.present);
        if len < self.min_in_sync {
            return Err(Closed::BelowMinimum { len, min: self.min_in_sync });
        }
        Ok(())
    }

    /// So many members of the local set are heard and keep up, this node included.
    #[inline]
    pub fn on_present(&mut self, members: usize) {
        self.present = members;
    }

    /// Everything below `next` has its number.
    #[inline]
    pub fn on_numbered(&mut self, next: SeqNo) {
        self.numbered = self.numbered.max(next);
    }

    /// Everything below `next` is in this node's journal, in memory. What is only in a ring is not: a killed process
    /// takes it along.
    ///
    /// # Panics
    /// When it was not numbered.
    #[inline]
    pub fn on_appended(&mut self, next: SeqNo) {
        assert!(next <= self.numbered, "the journal holds what was numbered");
        self.appended = self.appended.max(next);
        if self.durability == Durability::Memory {
            self.acknowledge(self.me, self.appended);
        }
    }

    /// Everything below `next` is on this node's disk.
    ///
    /// # Panics
    /// When it was not numbered.
    #[inline]
    pub fn on_durable(&mut self, next: SeqNo) {
        assert!(next <= self.numbered, "the disk holds what was numbered");
        self.durable = self.durable.max(next);
        if self.durability == Durability::Disk {
            self.acknowledge(self.me, self.durable);
        }
    }

    /// Everything below `next` was sent to subscribers.
    ///
    /// # Panics
    /// When it was not committed: that must never happen.
    #[inline]
    pub fn on_published(&mut self, next: SeqNo) {
        assert!(next <= self.committed, "only committed events are published");
        self.published = self.published.max(next);
    }

    /// `from` acknowledged everything below `next`, in `epoch`.
    #[inline]
    pub fn on_ack(&mut self, from: Member, epoch: u64, next: SeqNo) -> Ack {
        if self.deposed || epoch != self.epoch {
            return Ack::OtherEpoch;
        }
        if next > self.numbered {
            return Ack::Ahead;
        }
        self.acknowledge(from, next)
    }

    fn acknowledge(&mut self, from: Member, next: SeqNo) -> Ack {
        let is_from = |member: &Member| {
            *member == from || (member.node == from.node && self.broken.is(Rule::StaleIncarnationCounted))
        };
        let Some(at) = self.local.as_slice().iter().position(is_from) else {
            return Ack::NotMember;
        };
        if next <= self.acked[at] {
            return Ack::Old;
        }
        self.acked[at] = next;
        self.commit();
        Ack::Counted
    }

    fn commit(&mut self) {
        if self.deposed {
            return; // The record names another primary: what it commits is not this node's to say.
        }
        if self.broken.is(Rule::PublishBeforeCommit) {
            self.committed = self.committed.max(self.appended);
        }
        let mut all = self.acked[..self.local.len()].iter().min().copied();
        if self.local.len() < self.min_in_sync {
            // Too few hold what was numbered last: it waits for more. What was inherited may be published already.
            all = all.map(|all| all.min(self.inherited));
        }
        self.committed = self.committed.max(all.unwrap_or(self.committed));
    }

    /// Takes `member`, which acknowledged everything below `next` in this epoch, into the local set: from now on
    /// commits wait for it. Then swap [`CommitGate::proposal`] in.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing changes.
    pub fn try_grow(&mut self, member: Member, next: SeqNo) -> Result<(), ChangeError> {
        self.check_changeable()?;
        // Once the swap is done it may become primary, so it must have all that is committed before; and what was
        // inherited may have been, whoever knows.
        let committed = self.committed.max(self.inherited);
        if next < committed {
            return Err(ChangeError::Behind { next, committed });
        }
        if self.broken.is(Rule::StaleIncarnationCounted) {
            self.leave(member.node);
        }
        let grown = self.local.with(member).ok_or(ChangeError::NotAddable)?;
        self.change = Some(Change::Grow(grown));
        if !self.broken.is(Rule::GrowAfterSwap) {
            self.local = grown;
            self.acked[self.local.len() - 1] = next.min(self.numbered);
        }
        self.check_sets();
        Ok(())
    }

    /// Prepares to take `node` out of the set: swap [`CommitGate::proposal`] in. Until that is confirmed commits wait for
    /// it, since it may still take over.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing changes.
    pub fn try_shrink(&mut self, node: NodeId) -> Result<(), ChangeError> {
        if self.broken.is(Rule::OverlappingChanges) && matches!(self.change, Some(Change::Grow(_))) {
            // The growth is taken back here, while its swap is on its way.
            self.leave(node);
            self.change = None;
            self.commit();
            return Err(ChangeError::Outstanding);
        }
        self.check_changeable()?;
        if node == self.me.node || self.local.position(node).is_none() {
            return Err(ChangeError::NotRemovable);
        }
        self.change = Some(Change::Shrink(node));
        if self.broken.is(Rule::LocalShrinkFirst) {
            self.leave(node);
            self.commit();
            return Ok(());
        }
        self.check_sets();
        Ok(())
    }

    /// The set to swap into the coordinator's record while a change is outstanding.
    pub fn proposal(&self) -> Option<Members> {
        if self.deposed {
            return None;
        }
        self.change.map(|change| match change {
            Change::Grow(grown) => grown,
            Change::Shrink(node) => self.local.without(node),
        })
    }

    /// The coordinator confirmed the swap.
    ///
    /// # Panics
    /// When no change was outstanding.
    pub fn on_swapped(&mut self) {
        let stored = self.proposal().expect("a swap was outstanding");
        match self.change {
            Some(Change::Shrink(node)) => self.leave(node),
            // Only with a rule broken: otherwise it is there by now.
            Some(Change::Grow(grown)) if self.local != grown => {
                self.local = grown;
                self.acked[self.local.len() - 1] = self.committed;
            }
            _ => {}
        }
        self.stored = stored;
        self.change = None;
        self.unresolved = false;
        self.check_sets();
        self.commit();
    }

    /// The swap failed, or its answer is unknown. Nothing is admitted until the record was read:
    /// [`CommitGate::on_record`].
    pub fn on_swap_failed(&mut self) {
        self.unresolved = true;
    }

    /// Whether a swap failed or its answer is unknown, and the record was not read since.
    pub fn is_unresolved(&self) -> bool {
        self.unresolved
    }

    /// The coordinator's record was read: who is primary of which epoch, and the stored set. When this node still is,
    /// an outstanding change counts as done if the record shows it, and is to be swapped again if not.
    pub fn on_record(&mut self, epoch: u64, primary: NodeId, stored: &Members) -> Standing {
        let mine = epoch == self.epoch && primary == self.me.node && !self.deposed;
        if mine && self.proposal().is_some_and(|proposal| proposal == *stored) {
            self.on_swapped();
        } else if mine && *stored == self.stored {
            // A swap that is still on its way may yet be applied: the larger set counts, the change stays outstanding.
            self.unresolved = false;
        } else {
            // Another primary; or a set that only another primary could have stored.
            self.deposed = true;
            return Standing::Deposed;
        }
        Standing::Primary
    }

    /// Stops: somebody else is primary, or this node must not be.
    pub fn step_down(&mut self) {
        self.deposed = true;
    }

    fn leave(&mut self, node: NodeId) {
        if let Some(at) = self.local.position(node) {
            self.acked.copy_within(at + 1..self.local.len(), at);
            self.local = self.local.without(node);
        }
    }

    fn check_changeable(&self) -> Result<(), ChangeError> {
        if self.deposed {
            return Err(ChangeError::NotPrimary);
        }
        let is_outstanding = self.change.is_some() || self.unresolved;
        if is_outstanding {
            return Err(ChangeError::Outstanding);
        }
        Ok(())
    }

    /// All that decides what it does next, but for its settings.
    #[cfg(feature = "sim")]
    fn decisive(&self) -> impl PartialEq + std::hash::Hash {
        let CommitGate {
            me,
            epoch,
            min_in_sync: _,
            durability: _,
            stored,
            local,
            present,
            acked,
            change,
            unresolved,
            deposed,
            numbered,
            appended,
            durable,
            committed,
            published,
            inherited,
            broken: _,
        } = *self;
        let mut said = [(Member::default(), SeqNo::FIRST); MAX_NODES];
        let members = local.as_slice().iter().copied().zip(acked);
        said.iter_mut().zip(members).for_each(|(said, member)| *said = member);
        said[..local.len()].sort_unstable_by_key(|(member, _)| member.node);
        let sets = (me, epoch, stored, said, present, change, unresolved, deposed);
        (sets, (numbered, appended, durable, committed, published, inherited))
    }

    fn check_sets(&self) {
        if self.broken != Broken::NONE {
            return;
        }
        assert!(self.local.contains_all(&self.stored), "the local set contains the stored set");
        assert!(self.local.contains(self.me), "the primary is in its own set");
    }
}

/// Two are equal when they will act alike: for whoever explores all that may become of one.
#[cfg(feature = "sim")]
impl PartialEq for CommitGate {
    fn eq(&self, other: &CommitGate) -> bool {
        self.decisive() == other.decisive()
    }
}

#[cfg(feature = "sim")]
impl Eq for CommitGate {}

#[cfg(feature = "sim")]
impl std::hash::Hash for CommitGate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.decisive().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: u64 = 7;

    fn member(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: 100 + u64::from(node) }
    }

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn set(nodes: &[u16]) -> Members {
        let members: Vec<Member> = nodes.iter().map(|&node| member(node)).collect();
        Members::of(&members).unwrap()
    }

    fn gate(nodes: &[u16], min_in_sync: usize, next: u64) -> CommitGate {
        let next = seq(next);
        CommitGate::new(member(0), EPOCH, set(nodes), min_in_sync, Durability::Memory, next, SeqNo::FIRST)
    }

    fn number(gate: &mut CommitGate, next: u64) {
        gate.on_numbered(seq(next));
        gate.on_appended(seq(next));
    }

    #[test]
    fn alone_in_memory_what_is_appended_is_committed() {
        let mut gate = gate(&[0], 1, 1);
        gate.on_numbered(seq(5));
        assert_eq!(gate.committed(), seq(1), "a frame in the ring dies with the process");
        gate.on_appended(seq(4));
        assert_eq!(gate.committed(), seq(4));
        gate.on_published(seq(3));
        let marks = gate.watermarks();
        assert_eq!((marks.numbered, marks.appended, marks.durable), (seq(5), seq(4), seq(1)));
        assert_eq!((marks.replicated, marks.committed, marks.published), (seq(5), seq(4), seq(3)));
    }

    #[test]
    fn alone_on_disk_what_is_synced_is_committed() {
        let set = set(&[0]);
        let mut gate = CommitGate::new(member(0), EPOCH, set, 1, Durability::Disk, seq(10), seq(4));
        assert_eq!(gate.committed(), seq(4), "what was published is final; the rest has to be synced again");
        gate.on_durable(seq(8));
        assert_eq!(gate.committed(), seq(8));
        gate.on_numbered(seq(12));
        gate.on_appended(seq(12));
        assert_eq!(gate.committed(), seq(8));
        gate.on_durable(seq(12));
        assert_eq!(gate.committed(), seq(12));
    }

    #[test]
    #[should_panic(expected = "only committed events are published")]
    fn nothing_uncommitted_is_published() {
        let mut gate = gate(&[0, 1], 2, 9);
        gate.on_published(seq(2));
    }

    #[test]
    fn a_commit_waits_for_every_member() {
        let mut gate = gate(&[0, 1, 2], 2, 10);
        assert_eq!(gate.on_ack(member(1), EPOCH, seq(10)), Ack::Counted);
        assert_eq!(gate.committed(), seq(1));
        assert_eq!(gate.on_ack(member(2), EPOCH, seq(6)), Ack::Counted);
        assert_eq!(gate.committed(), seq(6));
        assert_eq!(gate.watermarks().replicated, seq(6));
        assert_eq!(gate.on_ack(member(2), EPOCH, seq(5)), Ack::Old);
        assert_eq!(gate.committed(), seq(6));
    }

    #[test]
    fn acknowledgements_of_another_epoch_incarnation_or_history_do_not_count() {
        let mut gate = gate(&[0, 1], 2, 10);
        assert_eq!(gate.on_ack(member(1), EPOCH - 1, seq(9)), Ack::OtherEpoch);
        assert_eq!(gate.on_ack(member(1), EPOCH + 1, seq(9)), Ack::OtherEpoch);
        let reborn = Member { incarnation: 1, ..member(1) };
        assert_eq!(gate.on_ack(reborn, EPOCH, seq(9)), Ack::NotMember);
        assert_eq!(gate.on_ack(member(2), EPOCH, seq(9)), Ack::NotMember);
        assert_eq!(gate.on_ack(member(1), EPOCH, seq(11)), Ack::Ahead);
        assert_eq!(gate.committed(), seq(1));
    }

    #[test]
    fn shrinking_waits_for_the_swap() {
        let mut gate = gate(&[0, 1, 2], 2, 10);
        gate.on_ack(member(1), EPOCH, seq(10));
        gate.try_shrink(NodeId(2)).unwrap();
        assert_eq!(gate.proposal(), Some(set(&[0, 1])));
        assert_eq!(gate.committed(), seq(1), "until the swap is confirmed node 2 may take over");
        gate.on_swapped();
        assert_eq!(gate.committed(), seq(10));
        assert_eq!(*gate.stored(), set(&[1, 0]));
        assert_eq!(gate.on_ack(member(2), EPOCH, seq(9)), Ack::NotMember);
    }

    #[test]
    fn growing_waits_for_the_member_before_the_swap() {
        let mut gate = gate(&[0], 1, 10);
        assert_eq!(gate.committed(), seq(10));
        let behind = gate.try_grow(member(1), seq(9));
        assert_eq!(behind, Err(ChangeError::Behind { next: seq(9), committed: seq(10) }));
        gate.try_grow(member(1), seq(10)).unwrap();
        number(&mut gate, 12);
        assert_eq!(gate.committed(), seq(10), "commits wait for the member before it is stored");
        assert_eq!(gate.proposal(), Some(set(&[0, 1])));
        gate.on_swapped();
        gate.on_ack(member(1), EPOCH, seq(12));
        assert_eq!(gate.committed(), seq(12));
    }

    #[test]
    fn one_change_at_a_time() {
        let mut gate = gate(&[0, 1], 1, 10);
        gate.try_shrink(NodeId(1)).unwrap();
        assert_eq!(gate.try_grow(member(2), seq(10)), Err(ChangeError::Outstanding));
        assert_eq!(gate.try_shrink(NodeId(1)), Err(ChangeError::Outstanding));
        gate.on_swapped();
        assert_eq!(gate.try_shrink(NodeId(1)), Err(ChangeError::NotRemovable));
        assert_eq!(gate.try_shrink(NodeId(0)), Err(ChangeError::NotRemovable));
        gate.try_grow(member(1), seq(10)).unwrap();
        gate.on_swapped();
        let reborn = Member { incarnation: 1, ..member(1) };
        assert_eq!(gate.try_grow(reborn, seq(10)), Err(ChangeError::NotAddable));
    }

    #[test]
    fn an_unknown_swap_admits_nothing_until_the_record_is_read() {
        let mut gate = gate(&[0, 1, 2], 2, 10);
        gate.try_shrink(NodeId(2)).unwrap();
        gate.on_swap_failed();
        assert_eq!(gate.admitting(), Err(Closed::Unresolved));
        assert_eq!(gate.on_record(EPOCH, NodeId(0), &set(&[0, 1, 2])), Standing::Primary);
        assert_eq!(gate.admitting(), Ok(()));
        assert_eq!(gate.proposal(), Some(set(&[0, 1])), "swapped again");
        assert_eq!(*gate.local(), set(&[0, 1, 2]));
        gate.on_swap_failed();
        assert_eq!(gate.on_record(EPOCH, NodeId(0), &set(&[0, 1])), Standing::Primary);
        assert_eq!(*gate.local(), set(&[0, 1]));
        assert_eq!(gate.proposal(), None);
    }

    #[test]
    fn the_record_deposes() {
        for (epoch, primary, stored) in
            [(EPOCH + 1, 1, set(&[0, 1])), (EPOCH, 1, set(&[0, 1])), (EPOCH, 0, set(&[0]))]
        {
            let mut gate = gate(&[0, 1], 1, 10);
            assert_eq!(gate.on_record(epoch, NodeId(primary), &stored), Standing::Deposed);
            assert_eq!(gate.admitting(), Err(Closed::NotPrimary));
            assert_eq!(gate.on_ack(member(1), EPOCH, seq(10)), Ack::OtherEpoch);
            number(&mut gate, 11);
            assert_eq!(gate.committed(), seq(1));
            assert_eq!(gate.try_shrink(NodeId(1)), Err(ChangeError::NotPrimary));
        }
    }

    #[test]
    fn below_the_minimum_nothing_is_admitted() {
        let mut gate = gate(&[0, 1], 2, 10);
        assert_eq!(gate.admitting(), Ok(()));
        gate.try_shrink(NodeId(1)).unwrap();
        gate.on_swapped();
        assert_eq!(gate.admitting(), Err(Closed::BelowMinimum { len: 1, min: 2 }));
        let message = gate.admitting().unwrap_err().to_string();
        assert!(message.contains("min_in_sync"), "{message}");
    }

    #[test]
    fn members_that_are_not_there_do_not_count() {
        let mut gate = gate(&[0, 1, 2], 2, 10);
        gate.on_present(1);
        assert_eq!(gate.admitting(), Err(Closed::BelowMinimum { len: 1, min: 2 }));
        gate.on_ack(member(1), EPOCH, seq(10));
        gate.on_ack(member(2), EPOCH, seq(10));
        assert_eq!(gate.committed(), seq(10), "what all of them have is committed all the same");
        gate.on_present(2);
        assert_eq!(gate.admitting(), Ok(()));
    }

    #[test]
    fn sets_hold_each_node_once() {
        assert_eq!(Members::of(&[member(1), member(1)]), None);
        assert!(Members::of(&(0..9).map(member).collect::<Vec<_>>()).is_none());
        let set = set(&[3, 1, 2]);
        assert_eq!(set.without(NodeId(3)), self::set(&[2, 1]));
        assert_eq!(set.without(NodeId(9)), set);
        assert_ne!(set, self::set(&[1, 2, 4]));
        assert!(Members::default().is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Number(u64),
        Ack { node: u16, lag: u64 },
        Grow(u16),
        Shrink(u16),
        Swap { applied: bool, answered: bool },
        Deliver,
        Read,
        Publish,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u64..4).prop_map(Step::Number),
            (1u16..4, 0u64..3).prop_map(|(node, lag)| Step::Ack { node, lag }),
            (1u16..4, 0u64..3).prop_map(|(node, lag)| Step::Ack { node, lag }),
            (1u16..4).prop_map(Step::Grow),
            (1u16..4).prop_map(Step::Shrink),
            (any::<bool>(), any::<bool>()).prop_map(|(applied, answered)| Step::Swap { applied, answered }),
            Just(Step::Deliver),
            Just(Step::Read),
            Just(Step::Publish),
        ]
    }

    /// The coordinator's record with its revision, and a swap that is still on its way to it.
    struct Record {
        stored: Members,
        revision: u64,
        late: Option<(u64, Members)>,
    }

    impl Record {
        fn swap(&mut self, revision: u64, to: Members) -> bool {
            let applies = revision == self.revision;
            if applies {
                (self.stored, self.revision) = (to, self.revision + 1);
            }
            applies
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whoever the record lets take over has everything that was ever committed: at every moment, whatever becomes
        /// of swaps and their answers.
        #[test]
        fn any_stored_member_has_all_that_is_committed(steps in prop::collection::vec(step(), 1..80)) {
            let mut gate = gate(&[0, 1], 1, 1);
            let mut record = Record { stored: set(&[0, 1]), revision: 1, late: None };
            let mut known_revision = 1;
            let mut next = 1;
            let mut journals = [1u64; 4];
            for step in steps {
                match step {
                    Step::Number(count) => {
                        next += count;
                        number(&mut gate, next);
                        journals[0] = next;
                    }
                    Step::Ack { node, lag } => {
                        let has = next.saturating_sub(lag).max(1);
                        let journal = &mut journals[usize::from(node)];
                        *journal = has.max(*journal);
                        gate.on_ack(member(node), EPOCH, seq(has));
                    }
                    Step::Grow(node) => {
                        let _ = gate.try_grow(member(node), seq(journals[usize::from(node)]));
                    }
                    Step::Shrink(node) => {
                        let _ = gate.try_shrink(NodeId(node));
                    }
                    Step::Swap { applied, answered } => {
                        let Some(to) = gate.proposal() else { continue };
                        if gate.admitting() == Err(Closed::Unresolved) {
                            continue;
                        }
                        let won = applied && record.swap(known_revision, to);
                        if !applied {
                            record.late = Some((known_revision, to));
                        }
                        if won && answered {
                            known_revision = record.revision;
                            gate.on_swapped();
                        } else {
                            gate.on_swap_failed();
                        }
                    }
                    Step::Deliver => {
                        if let Some((revision, to)) = record.late.take() {
                            record.swap(revision, to);
                        }
                    }
                    Step::Read => {
                        known_revision = record.revision;
                        prop_assert_eq!(gate.on_record(EPOCH, NodeId(0), &record.stored), Standing::Primary);
                    }
                    Step::Publish => gate.on_published(gate.committed()),
                }
                for candidate in record.stored.as_slice() {
                    let has = journals[usize::from(candidate.node.0)];
                    prop_assert!(has >= gate.committed().value(), "{} lacks committed events", candidate);
                }
                prop_assert!(gate.local().contains_all(&record.stored));
            }
        }
    }
}
