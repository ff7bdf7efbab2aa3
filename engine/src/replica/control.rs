//! The role of a node: who leads, who follows, and how that changes. The rules are those of the architecture's page on
//! failover; each stands as a comment where it is kept.

#[cfg(feature = "sim")]
mod alike;
mod change;
mod decision;

use std::collections::VecDeque;

use seqcast_wire::{SeqNo, Session};

pub use self::decision::{Action, Deposed, Notice, Role, Suspect};
use super::broken::{Broken, Rule};
use super::coordinator::{Answer, Record, Request, Versioned};
use super::gate::{CommitGate, Durability, Standing};
use super::hearing::Roll;
use super::member::{Member, Members, NodeId};
use crate::time::Nanos;

/// Actions that wait to be taken at most: a transition makes no more than four.
const MAX_ACTIONS: usize = 16;

/// Epochs grow by takeovers: a datagram that speaks of one so far ahead is forged.
const MAX_LEAP: u64 = 1 << 32;

/// Who waits for others to change the record reads it this often: nobody tells it when they have.
const LOOK_EVERY: Nanos = Nanos::from_micros(500);

/// A primary has this many staggers to renew its epoch when a member has promised a higher one.
const GRACE: u64 = 10;

/// Settings of a [`Control`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// This node, with its journal's incarnation.
    pub me: Member,
    /// Session of the feed.
    pub session: Session,
    /// Whether a coordinator keeps the record. Without one this node is alone, and leads.
    pub has_coordinator: bool,
    /// Fewest members that events are admitted with.
    pub min_in_sync: usize,
    /// When a member acknowledges.
    pub durability: Durability,
    /// How often the record is read when nothing happens.
    pub record_refresh: Nanos,
    /// How long a candidate waits for each candidate before it in the order of node numbers.
    pub stagger: Nanos,
    /// How long to wait before the coordinator is asked again after it did not know.
    pub retry: Nanos,
}

/// What the journal tells at the start and at each takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JournalState {
    /// Number that comes next.
    pub next: SeqNo,
    /// Whether the session has ended.
    pub ended: bool,
    /// Epoch of the last frame; 0 before the first.
    pub epoch: u64,
    /// Everything below was published, or is known to be committed.
    pub published: SeqNo,
}

impl JournalState {
    /// How far the journal goes, as the gate counts: the end of the session takes no number, but a place.
    fn end(&self) -> SeqNo {
        if self.ended { self.next.next() } else { self.next }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Waits for its turn.
    Waiting { until: Nanos },
    /// The same, and promises meanwhile: the primary is dead for sure, and whoever takes over needs the promise too.
    Preparing { until: Nanos, is_promised: bool },
    /// The promise is on its way to the disk.
    Promising,
    /// The swap is on its way, or due at a time.
    Swapping { due: Nanos },
    /// The outcome of the swap is not known: the record is read.
    Resolving { due: Nanos },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Candidacy {
    /// Whom it followed in which epoch, as long as it still does.
    from: Option<(u64, Member)>,
    expected: u64,
    record: Record,
    /// The record is there already: the primary before handed over.
    is_given: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Joining,
    /// Promising the epoch of `primary`, to follow it then.
    Adopting {
        epoch: u64,
        primary: Member,
    },
    Standby {
        epoch: u64,
        primary: Member,
    },
    Candidate(Candidacy),
    /// `renewal` is a new epoch of the same primary, when a member has promised a higher one.
    Primary {
        renewal: Option<Candidacy>,
    },
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Control {
    config: ControlConfig,
    state: State,
    gate: Option<CommitGate>,
    /// Which of the others are there, while this node leads.
    roll: Option<Roll>,
    /// The highest epoch promised, durably or on its way to be.
    promised: u64,
    /// The highest epoch promised durably.
    durable: u64,
    /// The highest epoch known to have been won by somebody.
    seen: u64,
    history: JournalState,
    known: Option<Versioned>,
    /// A request is at the coordinator.
    asked: bool,
    read_due: Nanos,
    /// When a change of the set whose swap failed is tried again.
    change_due: Option<Nanos>,
    /// Why a takeover is wanted as soon as the record says that it may be.
    wanted: Option<Suspect>,
    told: Option<Notice>,
    actions: VecDeque<Action>,
    broken: Broken,
}

impl Control {
    /// A node that has just opened its journal, which promised `promised` and stands as `history` says.
    pub fn new(config: ControlConfig, promised: u64, history: JournalState, broken: Broken) -> Control {
        let mut control = Control {
            config,
            state: State::Joining,
            gate: None,
            roll: None,
            promised,
            durable: promised,
            seen: history.epoch,
            history,
            known: None,
            asked: false,
            read_due: Nanos::ZERO,
            change_due: None,
            wanted: None,
            told: None,
            actions: VecDeque::with_capacity(MAX_ACTIONS),
            broken,
        };
        if control.is_alone() {
            let alone = Members::of(&[control.config.me]).unwrap_or_default();
            control.stand(Nanos::ZERO, 0, alone, None);
        }
        control
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        match self.state {
            State::Joining | State::Adopting { .. } => Role::Joining,
            State::Standby { primary, .. } => Role::Standby { primary },
            State::Candidate(_) => Role::Candidate,
            State::Primary { .. } => Role::Primary,
        }
    }

    /// The epoch that this node leads or follows; 0 when it does neither.
    pub fn epoch(&self) -> u64 {
        match self.state {
            State::Standby { epoch, .. } => epoch,
            State::Primary { .. } => self.gate.as_ref().map_or(0, CommitGate::epoch),
            _ => 0,
        }
    }

    /// The highest epoch promised: datagrams of lower ones are refused.
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// Fewest members that events are admitted with.
    pub fn min_in_sync(&self) -> usize {
        self.config.min_in_sync
    }

    /// The record as it was last seen.
    pub fn known(&self) -> Option<&Versioned> {
        self.known.as_ref()
    }

    /// The commit gate, while this node leads.
    #[inline]
    pub fn gate(&self) -> Option<&CommitGate> {
        self.gate.as_ref()
    }

    /// The commit gate, while this node leads, to tell it what came in.
    #[inline]
    pub fn gate_mut(&mut self) -> Option<&mut CommitGate> {
        self.gate.as_mut()
    }

    /// Where the journal stands now. Tell it before any other input of a duty cycle.
    #[inline]
    pub fn on_history(&mut self, history: JournalState) {
        self.history = history;
        self.seen = self.seen.max(history.epoch);
    }

    /// The next thing to do.
    #[inline]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn is_alone(&self) -> bool {
        !self.config.has_coordinator
    }

    fn act(&mut self, action: Action) {
        debug_assert!(self.actions.len() < MAX_ACTIONS, "actions are taken every duty cycle");
        self.actions.push_back(action);
    }

    fn tell(&mut self, notice: Notice) {
        if self.told != Some(notice) {
            self.told = Some(notice);
            self.act(Action::Tell(notice));
        }
    }

    fn ask(&mut self, request: Request) {
        self.asked = true;
        self.act(Action::Ask(request));
    }

    /// Runs timers. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos) {
        if self.is_alone() {
            return;
        }
        if let State::Candidate(candidacy) = self.state
            && let Stage::Waiting { until } = candidacy.stage
            && now >= until
        {
            self.promise_candidacy(candidacy, Stage::Promising);
        }
        if let State::Candidate(candidacy) = &mut self.state
            && let Stage::Preparing { until, is_promised } = candidacy.stage
            && now >= until
        {
            candidacy.stage = if is_promised { Stage::Swapping { due: now } } else { Stage::Promising };
        }
        if self.asked {
            return;
        }
        let due = self.candidacy().map(|candidacy| candidacy.stage);
        match due {
            Some(Stage::Swapping { due }) if now >= due => self.swap_candidacy(),
            Some(Stage::Resolving { due }) if now >= due => {
                let retry = now + self.config.retry;
                if let Some(candidacy) = self.candidacy_mut() {
                    candidacy.stage = Stage::Resolving { due: retry };
                }
                self.ask(Request::Read);
            }
            // It reads when it hears of somebody who was first.
            Some(Stage::Waiting { .. } | Stage::Preparing { .. }) if now >= self.read_due => self.read(now),
            Some(_) => {}
            None if self.change_due.is_some_and(|due| now >= due) => self.retry_change(),
            None if now >= self.read_due => self.read(now),
            None => {}
        }
    }

    fn read(&mut self, now: Nanos) {
        self.read_due = now + self.config.record_refresh;
        self.ask(Request::Read);
    }

    fn candidacy(&self) -> Option<&Candidacy> {
        match &self.state {
            State::Candidate(candidacy) | State::Primary { renewal: Some(candidacy) } => Some(candidacy),
            _ => None,
        }
    }

    fn candidacy_mut(&mut self) -> Option<&mut Candidacy> {
        match &mut self.state {
            State::Candidate(candidacy) | State::Primary { renewal: Some(candidacy) } => Some(candidacy),
            _ => None,
        }
    }

    /// The primary that this node follows is suspected: it takes over if it may.
    pub fn on_suspicion(&mut self, now: Nanos, why: Suspect) {
        let State::Standby { primary, .. } = self.state else { return };
        if self.wanted.is_none() {
            self.tell(Notice::Suspected { node: primary.node, why });
            // Who may not stand looks again whether it may by now.
            self.read_due = now;
            self.take_over(now, why);
        }
    }

    /// The primary that this node follows is suspected, but by itself this node would do no better: people are told.
    pub fn on_doubt(&mut self, why: Suspect) {
        let State::Standby { primary, .. } = self.state else { return };
        self.wanted = None;
        self.tell(Notice::Suspected { node: primary.node, why });
    }

    /// The primary that was followed is heard again: who was only waiting for its turn goes on following.
    pub fn on_primary_heard(&mut self) {
        self.wanted = None;
        if let State::Candidate(Candidacy { from: Some((epoch, primary)), .. }) = self.state {
            self.state = State::Standby { epoch, primary };
        }
    }

    fn followed(&self) -> Option<(u64, Member)> {
        match self.state {
            State::Standby { epoch, primary } => Some((epoch, primary)),
            _ => None,
        }
    }

    /// An operator wants this node to lead.
    pub fn on_promote(&mut self, now: Nanos) -> bool {
        if matches!(self.state, State::Standby { .. } | State::Joining) {
            self.take_over(now, Suspect::Operator);
        }
        !matches!(self.state, State::Joining)
    }

    /// Stands as candidate if the record lists this node with its current incarnation (rule 2).
    fn take_over(&mut self, now: Nanos, why: Suspect) {
        self.wanted = Some(why);
        let Some(known) = self.known else { return };
        if !self.may_stand(&known.record) {
            return;
        }
        let in_sync = known.record.in_sync;
        let is_asked = why == Suspect::Operator;
        // A primary that is suspected leaves by the same swap; otherwise it is alive and stays.
        let next_set = if why == Suspect::Operator || known.record.primary.node == self.config.me.node {
            in_sync
        } else {
            in_sync.without(known.record.primary.node)
        };
        let before_me =
            |member: &&Member| member.node < self.config.me.node && member.node != known.record.primary.node;
        let rank = in_sync.as_slice().iter().filter(before_me).count() as u64;
        let wait = (!is_asked && rank > 0).then(|| now + Nanos(self.config.stagger.0 * rank));
        self.stand(now, known.revision, next_set, wait);
        if why == Suspect::Closed
            && let State::Candidate(candidacy @ Candidacy { stage: Stage::Waiting { until }, .. }) =
                self.state
        {
            self.promise_candidacy(candidacy, Stage::Preparing { until, is_promised: false });
            self.read_due = now + LOOK_EVERY;
        }
    }

    fn may_stand(&self, record: &Record) -> bool {
        let me = self.config.me;
        let is_listed = record.in_sync.as_slice().iter().any(|member| member.node == me.node);
        record.in_sync.contains(me)
            || self.broken.is(Rule::OutsiderElected)
            || (is_listed && self.broken.is(Rule::LostJournalEligible))
    }

    fn stand(&mut self, now: Nanos, expected: u64, in_sync: Members, wait: Option<Nanos>) {
        let of_record = self.known.map_or(0, |known| known.record.epoch);
        let me = self.config.me;
        // The first record of all is of epoch 1 and no other: whoever followed somebody before refuses it.
        let is_first = self.config.has_coordinator && expected == 0;
        let epoch = if is_first { 1 } else { self.promised.max(of_record).max(self.seen) + 1 };
        // With a rule broken it may stand unlisted; a gate has its primary in its set.
        let in_sync = match in_sync.contains(me) {
            true => in_sync,
            false => in_sync.without(me.node).with(me).unwrap_or(in_sync),
        };
        let record = Record { session: self.config.session, epoch, primary: me, in_sync };
        let stage = Stage::Waiting { until: wait.unwrap_or(now) };
        let candidacy = Candidacy { from: self.followed(), expected, record, is_given: false, stage };
        self.wanted = None;
        if wait.is_some() {
            self.read_due = now + self.config.record_refresh;
            self.state = State::Candidate(candidacy);
        } else {
            self.promise_candidacy(candidacy, Stage::Promising);
        }
    }

    /// Rule 3: first it stops acknowledging, durably; then it sends its swap.
    fn promise_candidacy(&mut self, candidacy: Candidacy, stage: Stage) {
        let epoch = candidacy.record.epoch;
        self.promised = epoch;
        if !self.broken.is(Rule::PromiseAfterSwap) {
            self.act(Action::StopAcknowledging(epoch));
        }
        self.act(Action::Promise(epoch));
        // Not when it waits for others, who want the disk now.
        if stage == Stage::Promising && !candidacy.is_given && self.config.has_coordinator {
            self.act(Action::Prepare(candidacy.record));
        }
        self.tell(Notice::Standing { epoch });
        self.state = State::Candidate(Candidacy { from: None, stage, ..candidacy });
    }

    /// The promise of `epoch` is durable.
    pub fn on_promised(&mut self, now: Nanos, epoch: u64) {
        self.durable = self.durable.max(epoch);
        match &mut self.state {
            State::Candidate(Candidacy { stage: Stage::Preparing { is_promised, .. }, record, .. })
                if record.epoch == epoch =>
            {
                *is_promised = true;
            }
            State::Candidate(candidacy) | State::Primary { renewal: Some(candidacy) }
                if candidacy.stage == Stage::Promising && candidacy.record.epoch == epoch =>
            {
                candidacy.stage = Stage::Swapping { due: now };
                if candidacy.is_given || !self.config.has_coordinator {
                    let Candidacy { expected, record, .. } = *candidacy;
                    self.lead(Versioned { revision: expected, record });
                } else if !self.asked {
                    self.swap_candidacy();
                }
            }
            State::Adopting { epoch: wanted, primary } if *wanted == epoch => {
                let primary = *primary;
                self.follow(epoch, primary);
            }
            _ => {}
        }
    }

    fn swap_candidacy(&mut self) {
        if let Some(candidacy) = self.candidacy_mut() {
            candidacy.stage = Stage::Resolving { due: Nanos(u64::MAX) };
            let request = Request::Swap { expected: candidacy.expected, record: candidacy.record };
            self.ask(request);
        }
    }

    /// Leads, by `versioned`.
    fn lead(&mut self, versioned: Versioned) {
        let Record { epoch, in_sync, .. } = versioned.record;
        let ControlConfig { me, min_in_sync, durability, .. } = self.config;
        if self.gate.take().is_some() {
            self.act(Action::StepDown);
        }
        let (end, published) = (self.history.end(), self.history.published);
        // Rule 4: all of the journal counts as possibly committed.
        let gate = CommitGate::new(me, epoch, in_sync, min_in_sync, durability, end, published);
        self.gate = Some(gate.breaking(self.broken));
        self.roll = None;
        self.known = Some(versioned);
        self.seen = self.seen.max(epoch);
        self.change_due = None;
        self.wanted = None;
        self.state = State::Primary { renewal: None };
        self.act(Action::Lead { epoch });
        self.tell(Notice::Leading { epoch, members: in_sync.len() });
    }

    fn follow(&mut self, epoch: u64, primary: Member) {
        self.seen = self.seen.max(epoch);
        self.wanted = None;
        self.state = State::Standby { epoch, primary };
        self.act(Action::Follow { epoch, primary });
        self.tell(Notice::Following { primary, epoch });
    }

    fn step_down(&mut self, why: Deposed) {
        if let Some(gate) = self.gate.take() {
            self.act(Action::StepDown);
            self.tell(Notice::SteppedDown { epoch: gate.epoch(), why });
        }
        self.change_due = None;
        self.state = State::Joining;
    }

    /// The coordinator answered what was asked last.
    pub fn on_answer(&mut self, now: Nanos, answer: Answer) {
        self.asked = false;
        match answer {
            Answer::Read(found) => self.on_record(now, found),
            Answer::Swapped(versioned) => self.on_swapped(now, versioned),
            Answer::Lost | Answer::Unknown => {
                let wait = if answer == Answer::Lost { Nanos::ZERO } else { self.config.retry };
                if let Some(candidacy) = self.candidacy_mut() {
                    if let Stage::Resolving { due } = &mut candidacy.stage {
                        *due = now + wait;
                    }
                } else if let Some(gate) = &mut self.gate
                    && gate.proposal().is_some()
                {
                    // Rule 6: admit nothing new, read the record.
                    gate.on_swap_failed();
                }
                self.read_due = now + wait;
            }
        }
        self.poll(now);
    }

    fn on_swapped(&mut self, now: Nanos, versioned: Versioned) {
        let is_candidacys = self.candidacy().is_some_and(|candidacy| candidacy.record == versioned.record);
        if is_candidacys {
            self.lead(versioned);
            return;
        }
        let mine = self.gate.as_ref().is_some_and(|gate| {
            gate.epoch() == versioned.record.epoch && gate.proposal() == Some(versioned.record.in_sync)
        });
        if mine {
            self.known = Some(versioned);
            self.confirm_change();
        } else {
            self.on_record(now, Some(versioned));
        }
    }

    fn on_record(&mut self, now: Nanos, found: Option<Versioned>) {
        self.read_due = now + self.config.record_refresh;
        let Some(found) = found else {
            self.on_no_record(now);
            return;
        };
        let record = found.record;
        if record.session != self.config.session {
            self.tell(Notice::ForeignRecord(record.session));
            return;
        }
        // A coordinator restored from an old backup: its sets mean nothing any more.
        if record.epoch < self.seen && self.gate.is_none() {
            self.tell(Notice::OldRecord { found: record.epoch, seen: self.seen });
            return;
        }
        self.known = Some(found);
        if let Some(candidacy) = self.candidacy().copied() {
            self.resolve(now, candidacy, found);
        } else if self.gate.is_some() {
            self.review(now, found);
        } else {
            self.seen = self.seen.max(record.epoch);
            self.settle(now, found);
        }
    }

    fn on_no_record(&mut self, now: Nanos) {
        if self.gate.is_some() {
            self.step_down(Deposed::NoRecord);
            return;
        }
        self.known = None;
        // Epoch 1 may have been promised by a node that then died before its swap.
        let is_fresh = self.history.next == SeqNo::FIRST && self.history.epoch == 0 && self.promised <= 1;
        match self.candidacy().copied() {
            // The first record of all: nobody has a history that it could contradict.
            Some(candidacy) if candidacy.expected == 0 => {
                if let Some(candidacy) = self.candidacy_mut()
                    && matches!(candidacy.stage, Stage::Resolving { .. })
                {
                    candidacy.stage = Stage::Swapping { due: now };
                }
            }
            Some(_) => self.state = State::Joining,
            None if is_fresh && matches!(self.state, State::Joining) => {
                let rank = u64::from(self.config.me.node.0);
                let alone = Members::of(&[self.config.me]).unwrap_or_default();
                let wait = (rank > 0).then(|| now + Nanos(self.config.stagger.0 * rank));
                self.stand(now, 0, alone, wait);
            }
            None => self.tell(Notice::NoRecord { promised: self.promised }),
        }
    }

    /// The record was read while this node stands as candidate, or renews its epoch.
    fn resolve(&mut self, now: Nanos, candidacy: Candidacy, found: Versioned) {
        let record = found.record;
        if record == candidacy.record {
            self.lead(found);
            return;
        }
        let is_renewal = matches!(self.state, State::Primary { .. });
        if is_renewal && found.revision != candidacy.expected {
            self.state = State::Primary { renewal: None };
            self.review(now, found);
            return;
        }
        if found.revision == candidacy.expected {
            // The swap has not been made, though it may yet be: the same once more settles it.
            match self.candidacy_mut().map(|candidacy| &mut candidacy.stage) {
                Some(stage @ Stage::Resolving { .. }) => *stage = Stage::Swapping { due: now },
                Some(Stage::Preparing { .. }) => self.read_due = now + LOOK_EVERY,
                _ => {}
            }
            return;
        }
        // Somebody else changed it first. The loser follows the winner.
        self.state = State::Joining;
        self.seen = self.seen.max(record.epoch);
        self.settle(now, found);
    }

    /// The record was read while this node leads.
    fn review(&mut self, now: Nanos, found: Versioned) {
        let Versioned { record, .. } = found;
        let Some(gate) = &mut self.gate else { return };
        let before = *gate.stored();
        let primary = if record.primary == self.config.me { record.primary.node } else { NodeId(u16::MAX) };
        match gate.on_record(record.epoch, primary, &record.in_sync) {
            Standing::Primary => {
                let (after, is_outstanding) = (*gate.stored(), gate.proposal().is_some());
                self.change_due = is_outstanding.then_some(Nanos::ZERO);
                self.tell_change(&before, &after);
            }
            Standing::Deposed => {
                self.step_down(Deposed::Record { epoch: record.epoch, primary: record.primary.node });
                self.seen = self.seen.max(record.epoch);
                self.settle(now, found);
            }
        }
    }

    /// The record was read while this node neither leads nor stands: whom does it follow?
    fn settle(&mut self, now: Nanos, found: Versioned) {
        let record = found.record;
        let me = self.config.me;
        if record.primary == me {
            if record.epoch > self.promised {
                // The primary before made it so: an epoch that it never promised it cannot have led.
                let (stage, expected) = (Stage::Promising, found.revision);
                self.promise_candidacy(
                    Candidacy { from: None, expected, record, is_given: true, stage },
                    stage,
                );
            } else {
                // It led when its process ended: it needs a new epoch, since others may have seen it die.
                self.stand(now, found.revision, record.in_sync, None);
            }
        } else if record.primary.node == me.node {
            // Its journal cannot be proven whole any more: only another member may take over (rules 2 and 7).
            if record.in_sync.len() == 1 {
                self.tell(Notice::LastMemberLost);
            }
        } else if let Some(why) = self.wanted
            && record.epoch <= self.epoch()
        {
            self.take_over(now, why);
        } else if record.epoch >= self.promised {
            self.adopt(record.epoch, record.primary);
        } else if self.may_stand(&record) {
            // It promised a higher epoch and lost. If the primary lives, it learns of that and renews its own.
            let until = now + Nanos(self.config.stagger.0 * GRACE);
            let next_set = record.in_sync.without(record.primary.node);
            self.stand(now, found.revision, next_set, Some(until));
        }
    }

    fn adopt(&mut self, epoch: u64, primary: Member) {
        match self.state {
            State::Standby { epoch: current, primary: whom } if current == epoch && whom == primary => {}
            State::Adopting { epoch: current, .. } if current == epoch => {}
            _ if epoch == self.promised && epoch <= self.durable => self.follow(epoch, primary),
            _ => {
                self.promised = epoch;
                self.act(Action::StopAcknowledging(epoch));
                self.act(Action::Promise(epoch));
                self.state = State::Adopting { epoch, primary };
            }
        }
    }

    /// A datagram of a higher epoch came in: it is believed once the record confirms it.
    pub fn on_higher_epoch(&mut self, now: Nanos, epoch: u64) {
        if epoch > self.known.map_or(0, |known| known.record.epoch) {
            self.read_due = self.read_due.min(now);
        }
    }

    /// Somebody waits for a change of the record: it is read soon.
    pub fn look_soon(&mut self, now: Nanos) {
        self.read_due = self.read_due.min(now + LOOK_EVERY);
    }

    /// Another node refuses all below `epoch`, which it promised. To a primary: either somebody took over, or its takeover
    /// failed and this primary needs an epoch that the node may serve. To anybody else: a primary leads no longer.
    pub fn on_refused(&mut self, now: Nanos, epoch: u64) {
        let Some(gate) = &self.gate else {
            self.on_higher_epoch(now, epoch);
            return;
        };
        let is_forged = epoch > self.promised.saturating_add(MAX_LEAP);
        if epoch <= gate.epoch() || is_forged || self.candidacy().is_some() {
            return;
        }
        let Some(known) = self.known else { return };
        if gate.proposal().is_some() {
            self.read_due = self.read_due.min(now);
            return;
        }
        // The swap compares with the version known: if somebody took over it is lost, and the record says to whom.
        self.promised = self.promised.max(epoch) + 1;
        let record = Record { epoch: self.promised, in_sync: *gate.stored(), ..known.record };
        let renewal = Candidacy {
            from: None,
            expected: known.revision,
            record,
            is_given: false,
            stage: Stage::Promising,
        };
        // Should the swap be lost, it is as promised here as anywhere: who leads a lower epoch has to hear of it.
        self.act(Action::StopAcknowledging(self.promised));
        self.act(Action::Promise(self.promised));
        self.tell(Notice::Standing { epoch: self.promised });
        self.state = State::Primary { renewal: Some(renewal) };
    }
}

#[cfg(test)]
mod tests;
