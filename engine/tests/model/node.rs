//! One node: the real control with its gate, the real end of a standby's stream, and a journal. What the replica agent does
//! between them is done here in the same order.

use seqcast_engine::replica::{
    Action, Answer, AppendOutcome, Attendance, Broken, Control, ControlConfig, Durability, Head, Inbound,
    JournalState, Member, NodeId, Reach, Request, Role, Roll, StreamConfig, Suspect,
};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::{Append, Origin, Position};
use seqcast_wire::{SeqNo, Session};

use crate::log::Log;

/// Inputs come at this time, and timers that they start are not due yet.
const EARLY: Nanos = Nanos::ZERO;
/// Later than every timer.
const LATE: Nanos = Nanos(1 << 40);

pub(crate) fn session() -> Session {
    Session::from_wire(*b"MODELLED01")
}

/// What a node waits for from the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    Nothing,
    /// On its way there.
    Request(Request),
    /// On its way back.
    Answer(Answer),
}

/// What a primary sends: everything it has. Parts of it are what it sent before it had all that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stream {
    pub(crate) epoch: u64,
    pub(crate) log: Log,
    pub(crate) committed: SeqNo,
}

/// What a standby sends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Acknowledgement {
    pub(crate) epoch: u64,
    pub(crate) verified: SeqNo,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) me: Member,
    pub(crate) control: Control,
    pub(crate) inbound: Inbound,
    pub(crate) log: Log,
    pub(crate) asked: Asked,
    /// A promise on its way to the disk.
    pub(crate) promising: Option<u64>,
    /// On the disk: the promise, and what is known to be published.
    pub(crate) promised: u64,
    pub(crate) mark: SeqNo,
    /// What may be published or rewound.
    pub(crate) committed: SeqNo,
    /// Its history contradicts what it verified: the process stops.
    pub(crate) diverged: bool,
    /// A tail of its journal was cut.
    pub(crate) was_cut: bool,
}

/// What does not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) min_in_sync: usize,
    pub(crate) broken: Broken,
}

impl Setting {
    fn control(self, me: Member) -> ControlConfig {
        ControlConfig {
            me,
            session: session(),
            has_coordinator: true,
            min_in_sync: self.min_in_sync,
            durability: Durability::Memory,
            record_refresh: Nanos(1),
            stagger: Nanos(1),
            retry: Nanos(1),
        }
    }

    fn inbound(self, me: Member, promised: u64, committed: SeqNo) -> Inbound {
        let config = StreamConfig {
            max_datagram_bytes: 256,
            window_bytes: 512,
            stash_datagrams: 1,
            ..StreamConfig::default()
        };
        let inbound = Inbound::new(&config, me, session(), promised, Reach::to(committed));
        inbound.expect("settings that work").breaking(self.broken)
    }
}

impl Node {
    pub(crate) fn new(setting: Setting, me: Member) -> Node {
        Node::opened(setting, me, Log::default(), 0, SeqNo::FIRST)
    }

    /// A process that has just opened its journal.
    fn opened(setting: Setting, me: Member, log: Log, promised: u64, mark: SeqNo) -> Node {
        let committed = mark.min(log.next());
        let history = history(&log, mark);
        Node {
            me,
            control: Control::new(setting.control(me), promised, history, setting.broken),
            inbound: setting.inbound(me, promised, committed),
            log,
            asked: Asked::Nothing,
            promising: None,
            promised,
            mark,
            committed,
            diverged: false,
            was_cut: false,
        }
    }

    /// The process died, and another one begins.
    pub(crate) fn restarted(&self, setting: Setting) -> Node {
        Node::opened(setting, self.me, self.log.clone(), self.promised, self.mark)
    }

    /// The machine lost its power, and what it kept of the journal cannot be proven whole.
    pub(crate) fn powered_again(&self, setting: Setting, kept: u64) -> Node {
        let me = Member { incarnation: self.me.incarnation + 1, ..self.me };
        let log = self.log.prefix(SeqNo::FIRST.saturating_add(kept));
        Node::opened(setting, me, log, self.promised, self.mark)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.control.role() == Role::Primary
    }

    /// The epoch that it leads.
    pub(crate) fn leads(&self) -> Option<u64> {
        self.control.gate().filter(|_| self.is_primary()).map(|gate| gate.epoch())
    }

    pub(crate) fn is_admitting(&self) -> bool {
        self.is_primary() && self.control.gate().is_some_and(|gate| gate.admitting().is_ok())
    }

    /// Numbers a message and appends it.
    pub(crate) fn number(&mut self) {
        let Some(epoch) = self.leads() else { return };
        self.log = self.log.with_message(self.me, epoch);
        self.settle();
    }

    /// Timers run out.
    pub(crate) fn tick(&mut self) {
        self.tell_history();
        self.control.poll(LATE);
        self.settle();
    }

    pub(crate) fn suspect(&mut self) {
        self.tell_history();
        self.control.on_suspicion(EARLY, Suspect::Silent);
        self.settle();
    }

    pub(crate) fn promote(&mut self) {
        self.tell_history();
        self.control.on_promote(EARLY);
        self.settle();
    }

    /// As primary: `node` is gone.
    pub(crate) fn lose(&mut self, node: NodeId) {
        self.tell_history();
        self.call_the_roll(Some(node));
        self.control.on_lost(node, Suspect::Silent);
        self.settle();
    }

    pub(crate) fn hand_over(&mut self, to: Member) {
        self.tell_history();
        self.control.on_hand_over(to);
        self.settle();
    }

    pub(crate) fn on_promised(&mut self) {
        let Some(epoch) = self.promising.take() else { return };
        self.promised = self.promised.max(epoch);
        self.tell_history();
        self.control.on_promised(EARLY, epoch);
        self.settle();
    }

    pub(crate) fn on_answer(&mut self, answer: Answer) {
        self.asked = Asked::Nothing;
        self.tell_history();
        self.control.on_answer(EARLY, answer);
        self.settle();
    }

    pub(crate) fn on_refused(&mut self, epoch: u64) {
        self.tell_history();
        self.control.on_refused(EARLY, epoch);
        self.settle();
    }

    pub(crate) fn on_stream(&mut self, from: Member, stream: &Stream) {
        let frames = stream.log.frames();
        let origin = origin(from, stream.epoch);
        let head = Head {
            end: stream.log.reach(),
            committed: Reach::to(stream.committed),
            published: stream.committed,
            everywhere: SeqNo::FIRST,
        };
        let append = Append { origin, is_deaf: false, previous: Position::START, head, frames: &frames };
        let before = self.log.clone();
        match self.inbound.on_append(&append, &mut self.log) {
            AppendOutcome::Accepted if self.inbound.following().is_some() => self.control.on_primary_heard(),
            AppendOutcome::Accepted
            | AppendOutcome::Stale
            | AppendOutcome::Foreign
            | AppendOutcome::NotPrimary(_) => {}
            AppendOutcome::HigherEpoch { epoch, .. } => self.control.on_higher_epoch(EARLY, epoch),
            AppendOutcome::Damaged(_)
            | AppendOutcome::Diverged(_)
            | AppendOutcome::Unreadable(_)
            | AppendOutcome::Begin => {
                self.diverged = true;
            }
        }
        self.was_cut |= !self.log.begins_with(&before);
        self.tell_history();
        self.settle();
    }

    pub(crate) fn on_acknowledgement(&mut self, from: Member, said: &Acknowledgement, most: Option<SeqNo>) {
        self.tell_history();
        self.control.on_higher_epoch(EARLY, said.epoch);
        let next = self.log.next();
        if let Some(gate) = self.control.gate_mut()
            && said.epoch == gate.epoch()
            && said.verified <= next
        {
            gate.on_ack(from, said.epoch, said.verified);
            if !gate.local().contains(from) {
                self.control.on_caught_up(from, most.unwrap_or(said.verified));
            }
        }
        self.settle();
    }

    /// As primary: all members are there, but for `gone`.
    fn call_the_roll(&mut self, gone: Option<NodeId>) {
        let Some(gate) = self.control.gate() else { return };
        let others = gate.local().as_slice().iter().filter(|member| member.node != self.me.node);
        let mut roll = Roll::default();
        for member in others {
            let is_there = Some(member.node) != gone;
            roll.count(Attendance {
                is_member: true,
                is_heard: is_there,
                is_fresh: is_there,
                keeps_up: true,
            });
        }
        self.control.on_roll(roll);
    }

    fn tell_history(&mut self) {
        self.control.on_history(history(&self.log, self.mark));
    }

    /// Does what was decided, and what a duty cycle does then.
    fn settle(&mut self) {
        while let Some(action) = self.control.poll_action() {
            match action {
                Action::StopAcknowledging(epoch) => self.inbound.stop_acking(epoch),
                Action::Promise(epoch) => self.promising = self.promising.max(Some(epoch)),
                Action::Ask(request) if self.asked == Asked::Nothing => self.asked = Asked::Request(request),
                Action::Ask(_) => self.control.on_answer(EARLY, Answer::Unknown),
                Action::Follow { epoch, primary } => {
                    let verified = self.log.prefix(self.committed.min(self.log.next())).position();
                    self.inbound.follow(epoch, primary, verified);
                }
                Action::Lead { epoch } => self.inbound.stop_acking(epoch),
                Action::Prepare(_) | Action::StepDown | Action::Tell(_) => {}
            }
        }
        let next = self.log.next();
        self.call_the_roll(None);
        if let (true, Some(gate)) = (self.is_primary(), self.control.gate_mut()) {
            gate.on_numbered(next);
            gate.on_appended(next);
            // What is committed is published at once: the sooner, the worse if it was not final.
            let committed = gate.committed();
            gate.on_published(committed);
            self.committed = self.committed.max(committed);
            self.mark = self.mark.max(committed);
        } else {
            self.committed = self.committed.max(self.inbound.committed().next);
            let head = self.inbound.head().map_or(SeqNo::FIRST, |head| head.published);
            self.mark = self.mark.max(head.min(self.inbound.committed().next));
        }
        self.tell_history();
    }

    /// What it streams to all others.
    pub(crate) fn stream(&self) -> Option<Stream> {
        let gate = self.control.gate().filter(|_| self.is_primary())?;
        Some(Stream { epoch: gate.epoch(), log: self.log.clone(), committed: gate.committed() })
    }

    /// What it acknowledges, and to whom.
    pub(crate) fn acknowledgement(&self) -> Option<(NodeId, Acknowledgement)> {
        if self.is_primary() || self.diverged {
            return None;
        }
        // What was said last and when matters to the network only.
        let ack = self.inbound.poll_ack(LATE, self.log.chain(), None)?;
        let (_, primary) = self.inbound.following()?;
        Some((primary.node, Acknowledgement { epoch: ack.origin.epoch, verified: ack.verified.next }))
    }
}

fn history(log: &Log, mark: SeqNo) -> JournalState {
    JournalState {
        next: log.next(),
        ended: false,
        epoch: log.chain().epoch(),
        published: mark.min(log.next()),
    }
}

fn origin(from: Member, epoch: u64) -> Origin {
    Origin { session: session(), epoch, node: from.node.0, incarnation: from.incarnation }
}
