//! The referee: knows what must never happen, looks after every step, and remembers the first time it did.
//!
//! It sees a world from outside: what stands in the nodes' journals, what datagrams say, what applications were given.
//! What a node *told* anybody, a subscriber by a message, a heartbeat or an end of session, a publisher by an
//! acknowledgement, is **settled**: it can never be taken back. All rules are about the settled order:
//!
//! - it is a prefix of the journal of whoever tells of it, and of every member of the in-sync set;
//! - it holds every source's messages without hole or repetition, as the source said them;
//! - an epoch belongs to one process, and no node goes back to an earlier one;
//! - with `durability = "disk"` it is on the disk of who tells of it;
//! - applications get it in order, once, and all books agree.

mod epoch;
mod journal;
mod load;
mod reader;

use std::fmt;

use seqcast_wire::ack::Ack;
use seqcast_wire::mold::{Downstream, Kind};
use seqcast_wire::{SeqNo, Session, repl};

pub(super) use self::load::Loads;

use self::epoch::Epochs;
use self::journal::{Fact, JournalView};
use self::reader::Readers;
use super::coordinator::Change;
use super::disk::Seen;
use super::net::Notes;
use super::trace::Event;
use crate::agents::status::NodeStatus;
use crate::book::Books;
use crate::replica::{Member, Record};
use crate::time::Nanos;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// One order on every node.
    OneOrder,
    /// What was told is never taken back.
    TakenBack,
    /// Every acknowledged message of a source is in the order exactly once, in the source's order.
    ExactlyOnce,
    /// What is told is in the journal of every member of the in-sync set, and on disk where that is promised.
    InSync,
    /// Applications get the order: all of it, in order, once.
    Delivery,
    /// Books agree at equal numbers.
    Digest,
    /// A journal holds whole frames, one after the other.
    Journal,
    /// An epoch belongs to one process, and no node goes back to an earlier one.
    Epoch,
    /// The record changes as the rules allow: only a member, as it was listed, takes over, in an epoch of its own.
    Succession,
    /// No process fails but by an injected fault.
    Failure,
    /// Once faults end, everybody catches up.
    Liveness,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in the world's time.
    pub at: Nanos,
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}: {}", self.rule, self.at, self.what)
    }
}

/// See the module's documentation.
pub(super) struct Referee {
    loads: Loads,
    session: Session,
    /// Whether commits wait for the disk.
    is_durable: bool,
    /// What is settled, from number 1 on.
    order: Vec<Fact>,
    /// Number that would have come next, once somebody was told that the session is over.
    ended: Option<u64>,
    /// By node; publishers and subscribers have none.
    journals: Vec<Option<JournalView>>,
    /// Nodes of the in-sync set, each with the incarnation listed; 0: whatever it has.
    members: Vec<(usize, u64)>,
    /// Node of the world that the cluster's node 0 is.
    first: usize,
    /// Incarnation of each node's journal, as its disk says.
    incarnations: Vec<u64>,
    readers: Readers,
    epochs: Epochs,
    violation: Option<Violation>,
}

impl Referee {
    pub(super) fn new(loads: Loads, session: Session, nodes: usize, is_durable: bool) -> Referee {
        let mut journals = Vec::new();
        journals.resize_with(nodes, || None);
        Referee {
            loads,
            session,
            is_durable,
            order: Vec::new(),
            ended: None,
            journals,
            members: Vec::new(),
            first: 0,
            incarnations: vec![0; nodes],
            readers: Readers::new(nodes),
            epochs: Epochs::new(nodes),
            violation: None,
        }
    }

    /// Looks at the disk of `node` from now on.
    pub(super) fn watch(&mut self, node: usize, seen: Seen) {
        self.journals[node] = Some(JournalView::new(seen, self.loads.sources.len()));
    }

    /// The application of `node` joins with whatever message comes first.
    pub(super) fn join_anywhere(&mut self, node: usize) {
        self.readers.join_anywhere(node);
    }

    /// The cluster's node 0 is `first`; without a cluster it alone holds the order.
    pub(super) fn begin(&mut self, first: usize, is_alone: bool) {
        self.first = first;
        self.members.extend(is_alone.then_some((first, 0)));
    }

    /// The coordinator's record has changed: who may, did, and who is in the set holds everything that is settled.
    pub(super) fn on_record(&mut self, change: &Change, notes: &Notes<'_>) {
        let Change { by, before, after } = change;
        if let Err(what) = check_succession(before.as_ref(), after) {
            self.break_rule(notes.now, Rule::Succession, what);
        }
        let node_of = |member: &Member| self.first + usize::from(member.node.0);
        // A primary that hands over names another, who may well not know of it yet.
        if node_of(&after.primary) == *by {
            self.epochs.on_elected(*by, after.epoch);
        }
        self.members = after.in_sync.as_slice().iter().map(|m| (node_of(m), m.incarnation)).collect();
        self.check_members(notes);
    }

    /// What `node` says of itself: what it calls committed is final.
    pub(super) fn on_status(&mut self, node: usize, status: &NodeStatus, notes: &mut Notes<'_>) {
        self.on_worked(node, notes);
        let Some(journal) = &self.journals[node] else { return };
        // The end takes no number of the order, and counts here as if it did.
        let committed = status.watermarks.committed.value();
        let ends = journal.has_ended_at(committed - 1);
        self.settle(node, committed - u64::from(ends), notes);
    }

    /// Whether every member's journal is of another incarnation now: nobody may lead any more, by rule.
    pub(super) fn has_no_heir(&self) -> bool {
        !self.members.is_empty() && !self.members.iter().any(|&(node, _)| self.is_member(node))
    }

    /// Number that comes next in the journal of `node`, or at its application.
    pub(super) fn next_of(&self, node: usize) -> u64 {
        self.journals[node].as_ref().map_or_else(|| self.readers.next_of(node), JournalView::next)
    }

    /// The first rule that was broken.
    pub(super) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Messages that are settled.
    pub(super) fn settled(&self) -> u64 {
        self.order.len() as u64
    }

    /// Whether everything that the sources say is settled.
    pub(super) fn has_all(&self) -> bool {
        self.settled() == self.loads.total()
    }

    /// What applications got.
    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(super) fn break_rule(&mut self, at: Nanos, rule: Rule, what: String) {
        self.violation.get_or_insert(Violation { at, rule, what });
    }

    /// The process of `node` has started, and opened its journal if it has one.
    pub(super) fn on_started(&mut self, node: usize, incarnation: u64, notes: &mut Notes<'_>) {
        self.incarnations[node] = incarnation;
        self.readers.restart(node);
        self.epochs.restart(node);
        if let Some(journal) = &mut self.journals[node] {
            journal.restart();
        }
        self.on_worked(node, notes);
        self.check_members(notes);
    }

    /// An agent of `node` had its turn: reads on in its journal.
    pub(super) fn on_worked(&mut self, node: usize, notes: &mut Notes<'_>) {
        let Referee { loads, journals, .. } = self;
        let Some(journal) = &mut journals[node] else { return };
        let before = journal.next();
        let from = match journal.poll(loads) {
            Ok(news) => news.from,
            Err((rule, what)) => return self.break_rule(notes.now, rule, format!("node {node}: {what}")),
        };
        let next = journal.next();
        if from.is_none() && next == before {
            return;
        }
        let (tip, crc) = journal.tip();
        notes.trace.event(notes.now, Event::Appended { node, next: tip, crc });
        if self.is_member(node) {
            self.check_history(node, from.unwrap_or(next), notes);
            if next < before {
                self.check_members(notes);
            }
        }
    }

    /// A member's journal, read from number `from` on, agrees with what is settled.
    fn check_history(&mut self, node: usize, from: u64, notes: &Notes<'_>) {
        let Some(journal) = &self.journals[node] else { return };
        let settled = self.order.len() as u64;
        for seq in from..journal.next().min(settled + 1) {
            if let (Some(fact), Some(told)) = (journal.fact(seq), self.order.get(seq as usize - 1))
                && fact.crc != told.crc
            {
                let what =
                    format!("node {node} has {:08x} as message {seq}, told was {:08x}", fact.crc, told.crc);
                return self.break_rule(notes.now, Rule::OneOrder, what);
            }
        }
        if let Some(end) = self.ended
            && journal.next() > end
        {
            let what = format!("node {node} goes on behind the end of the session, which was told at {end}");
            self.break_rule(notes.now, Rule::TakenBack, what);
        }
    }

    /// Whether `node` is in the set, as it is now.
    fn is_member(&self, node: usize) -> bool {
        self.members
            .iter()
            .any(|&(known, listed)| known == node && (listed == 0 || listed == self.incarnations[node]))
    }

    /// Whether `node` has everything that is settled.
    pub(super) fn holds_all(&self, node: usize) -> bool {
        self.journals[node].as_ref().is_none_or(|journal| journal.next() > self.settled())
    }

    /// Every member has everything that is settled.
    fn check_members(&mut self, notes: &Notes<'_>) {
        let Some(last) = self.order.last() else { return };
        let settled = self.order.len() as u64;
        for &(node, _) in self.members.iter().filter(|(node, _)| self.is_member(*node)) {
            let Some(journal) = &self.journals[node] else { continue };
            if journal.next() <= settled {
                let what =
                    format!("node {node} has messages below {}, told was of {settled}", journal.next());
                return self.break_rule(notes.now, Rule::TakenBack, what);
            }
            if self.is_durable && !journal.is_synced(settled) {
                let what = format!(
                    "node {node} is in sync, and message {settled}, which was told, is not on its disk"
                );
                return self.break_rule(notes.now, Rule::InSync, what);
            }
            if journal.fact(settled).is_some_and(|fact| fact.crc != last.crc) {
                let what = format!("node {node} has another message {settled} than the one that was told");
                return self.break_rule(notes.now, Rule::OneOrder, what);
            }
        }
    }

    /// `agent` of `node` sent a datagram.
    pub(super) fn on_said(&mut self, node: usize, agent: &str, bytes: &[u8], notes: &mut Notes<'_>) {
        match agent {
            "egress" | "rewind" => self.on_published(node, bytes, notes),
            "ingress" => self.on_acknowledged(node, bytes, notes),
            "replica" => {
                self.on_replicated(node, bytes, notes);
                self.on_image(node, bytes, notes);
            }
            _ => {}
        }
    }

    fn on_published(&mut self, node: usize, bytes: &[u8], notes: &mut Notes<'_>) {
        let Ok(datagram) = Downstream::parse(bytes) else { return };
        if datagram.session() != self.session {
            return;
        }
        self.on_worked(node, notes);
        if !self.settle(node, datagram.next().value(), notes) {
            return;
        }
        for (seq, bytes) in (datagram.first().value()..).zip(datagram.messages()) {
            if self.payload(seq) != Some(bytes) {
                let what = format!("node {node} published something else as message {seq}");
                return self.break_rule(notes.now, Rule::OneOrder, what);
            }
        }
        if datagram.kind() == Kind::EndOfSession {
            self.on_end(node, datagram.next().value(), notes);
        }
    }

    fn on_end(&mut self, node: usize, next: u64, notes: &Notes<'_>) {
        let Some(journal) = &self.journals[node] else { return };
        if !journal.has_ended_at(next) || (self.is_durable && !journal.is_end_synced()) {
            let what = format!("node {node} tells that the session ended at {next}, which it has not kept");
            return self.break_rule(notes.now, Rule::InSync, what);
        }
        self.ended = Some(next);
    }

    fn on_acknowledged(&mut self, node: usize, bytes: &[u8], notes: &mut Notes<'_>) {
        let Ok(ack) = Ack::parse(bytes) else { return };
        if let Err(what) = self.epochs.on_primary(node, ack.epoch) {
            return self.break_rule(notes.now, Rule::Epoch, what);
        }
        let Some(last) = ack.committed.value().checked_sub(1).filter(|&last| last > 0) else { return };
        let Some(source) = self.loads.source_of(ack.session) else { return };
        self.on_worked(node, notes);
        let Some(journal) = &self.journals[node] else { return };
        match journal.seq_of(source, last) {
            Some(seq) => {
                self.settle(node, seq + 1, notes);
            }
            None => {
                let what = format!(
                    "node {node} acknowledged number {last} of source {source}, and does not have it"
                );
                self.break_rule(notes.now, Rule::ExactlyOnce, what);
            }
        }
    }

    fn on_replicated(&mut self, node: usize, bytes: &[u8], notes: &Notes<'_>) {
        if bytes.len() == repl::ACK_BYTES
            && let Ok(repl::Datagram::Ack(ack)) = repl::Datagram::parse(bytes, crc32c::crc32c)
            && let Err(what) = self.epochs.on_acknowledged(node, ack.origin.epoch)
        {
            self.break_rule(notes.now, Rule::Epoch, what);
        }
    }

    /// An image is of what is committed, and the chain of it is that of the journal of who sends it.
    fn on_image(&mut self, node: usize, bytes: &[u8], notes: &mut Notes<'_>) {
        let Ok(repl::Datagram::Image(image)) = repl::Datagram::parse(bytes, crc32c::crc32c) else { return };
        self.on_worked(node, notes);
        let Some(journal) = &self.journals[node] else { return };
        let next = image.position.at.next.value();
        if journal.fact(next - 1).is_some_and(|fact| fact.crc != image.position.crc) {
            let what = format!("node {node} sends an image at {next} of another history than its own");
            return self.break_rule(notes.now, Rule::OneOrder, what);
        }
        self.settle(node, next, notes);
    }

    /// `node` told somebody of everything below `next`. Whether it could.
    fn settle(&mut self, node: usize, next: u64, notes: &mut Notes<'_>) -> bool {
        let Some(journal) = &self.journals[node] else { return true };
        if next > journal.next() {
            let what =
                format!("node {node} told of messages below {next}, its journal ends at {}", journal.next());
            self.break_rule(notes.now, Rule::InSync, what);
            return false;
        }
        let before = self.order.len() as u64 + 1;
        // Frames are chained: who agrees on the last one that both have agrees on all before.
        let last = next.min(before) - 1;
        if let (Some(fact), Some(told)) =
            (journal.fact(last), self.order.get((last as usize).wrapping_sub(1)))
            && fact.crc != told.crc
        {
            let what = format!("node {node} tells another history up to message {last} than was told");
            self.break_rule(notes.now, Rule::OneOrder, what);
            return false;
        }
        if next <= before {
            return true;
        }
        self.order.extend((before..next).filter_map(|seq| journal.fact(seq)));
        if let Some(next) = SeqNo::new(next) {
            notes.trace.event(notes.now, Event::Settled { node, next });
        }
        self.check_members(notes);
        true
    }

    /// What is settled as message `seq`.
    fn payload(&self, seq: u64) -> Option<&[u8]> {
        let fact = self.order.get(usize::try_from(seq.checked_sub(1)?).ok()?)?;
        self.loads.payload(fact.source, fact.source_seq)
    }

    /// The application of `node` got message `seq`.
    pub(super) fn on_delivered(&mut self, node: usize, seq: SeqNo, bytes: &[u8], notes: &mut Notes<'_>) {
        notes.trace.event(notes.now, Event::Delivered { node, seq });
        let seq = seq.value();
        if let Err(what) = self.readers.on_message(node, seq) {
            self.break_rule(notes.now, Rule::Delivery, what);
        } else if self.payload(seq) != Some(bytes) {
            let what = format!("node {node}: its application got something else as message {seq}");
            self.break_rule(notes.now, Rule::OneOrder, what);
        }
    }

    /// The books of `node` have message `seq` and everything before it.
    pub(super) fn on_books(&mut self, node: usize, seq: SeqNo, books: &Books, notes: &Notes<'_>) {
        if let Err(what) = self.readers.on_books(node, seq.value(), books) {
            self.break_rule(notes.now, Rule::Digest, what);
        }
    }

    /// The application of `node` was told that the session ended.
    pub(super) fn on_ended(&mut self, node: usize, next: SeqNo, notes: &Notes<'_>) {
        if self.ended != Some(next.value()) || !self.readers.is_at(node, next.value()) {
            let what = format!("node {node}: its application was told that the session ended at {next}");
            self.break_rule(notes.now, Rule::Delivery, what);
        }
    }

    /// Applies the settled order to `books`.
    pub(super) fn apply_all(&self, books: &mut Books) {
        for seq in 1..=self.settled() {
            if let Some(bytes) = self.payload(seq) {
                books.apply(bytes);
            }
        }
    }
}

/// Whether the record may change like this.
fn check_succession(before: Option<&Record>, after: &Record) -> Result<(), String> {
    let Record { epoch, primary, in_sync, .. } = after;
    if !in_sync.contains(*primary) {
        return Err(format!("{primary} is primary of epoch {epoch}, and not in its own set"));
    }
    let Some(before) = before else { return Ok(()) };
    if *epoch < before.epoch || (*epoch == before.epoch && *primary != before.primary) {
        return Err(format!(
            "{primary} leads in epoch {epoch}, after {} in {}",
            before.primary, before.epoch
        ));
    }
    if *epoch > before.epoch && !before.in_sync.contains(*primary) {
        return Err(format!("{primary} takes over in epoch {epoch}, and was not in the set before"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Members, NodeId};

    fn member(node: u16, incarnation: u64) -> Member {
        Member { node: NodeId(node), incarnation }
    }

    fn record(epoch: u64, primary: Member, in_sync: &[Member]) -> Record {
        let in_sync = Members::of(in_sync).unwrap();
        Record { session: Session::BLANK, epoch, primary, in_sync }
    }

    #[test]
    fn only_a_member_as_it_was_listed_takes_over_in_an_epoch_of_its_own() {
        let (a, b, reborn) = (member(0, 1), member(1, 1), member(1, 2));
        let before = record(4, a, &[a, b]);
        let check = |after: &Record| check_succession(Some(&before), after);
        assert_eq!(check_succession(None, &record(1, a, &[a])), Ok(()));
        for good in [record(5, b, &[b]), record(4, a, &[a]), record(4, a, &[a, b]), record(6, a, &[a])] {
            assert_eq!(check(&good), Ok(()), "{good:?}");
        }
        for bad in [
            record(5, reborn, &[reborn]),
            record(5, member(2, 1), &[member(2, 1), b]),
            record(4, b, &[a, b]),
            record(3, a, &[a, b]),
            record(5, b, &[a]),
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
