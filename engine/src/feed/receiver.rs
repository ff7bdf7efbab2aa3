//! The receiver: joins arbitration, gaps, stash and recovery.

mod deliver;
mod restart;

use std::collections::VecDeque;

use seqcast_wire::mold::{Downstream, Kind, Request};
use seqcast_wire::{SeqNo, Session};

use super::config::{FeedConfig, FeedConfigError, Rollover, SessionRule, Start, Unfillable};
use super::conflict::Hashes;
use super::gap::{Filled, Gaps, Opened};
use super::line::{Line, LineId, LineStats};
use super::recovery::{Recovery, View};
use super::reordering::Reordering;
use super::stash::Stash;
use super::state::{FeedState, FeedStats, Item, Sink};
use super::witness::Witness;
use crate::time::Nanos;

/// Recovery times kept until they are polled.
const MAX_SAMPLES: usize = 64;

/// The receive path of one feed.
///
/// Give it every datagram of every line ([`Receiver::on_datagram`]) and every reply of a rewind server
/// ([`Receiver::on_reply`]); once per duty cycle call [`Receiver::poll`], then [`Receiver::poll_request`] until `None`.
/// All numbers below [`Receiver::expected`] have been delivered, told lost, or belong to a snapshot. Of those from there to
/// [`Receiver::highest_seen`] each is either kept in the stash or noted as missing.
#[derive(Debug)]
pub struct Receiver {
    rollover: Rollover,
    on_unfillable: Unfillable,
    max_gap_messages: u64,
    silence: Nanos,

    lines: Box<[Line]>,
    session: Option<Session>,
    expected: SeqNo,
    highest: SeqNo,
    /// Where the first believed datagram makes delivery start; `None` once there was one.
    joining: Option<Start>,
    end: Option<End>,
    /// Delivery waits for [`Receiver::resume_at`].
    held: bool,
    /// The sink refused an item since the last poll.
    blocked: bool,
    /// A number below the highest seen went missing, and the highest seen has not been reached since.
    behind: bool,
    /// A request was given out since `behind`.
    asked: bool,
    heard: Nanos,
    /// Nothing was heard for too long, or ever.
    silent: bool,

    gaps: Gaps,
    stash: Stash,
    recovery: Recovery,
    reordering: Reordering,
    witness: Witness,
    hashes: Hashes,

    told_session: bool,
    told: Option<FeedState>,
    untold_conflict: Option<SeqNo>,

    stats: FeedStats,
    recovered: VecDeque<Nanos>,
}

/// The end of the session, as claimed by a datagram.
#[derive(Clone, Copy, Debug)]
struct End {
    next: SeqNo,
    /// Another datagram, or silence since, agrees.
    confirmed: bool,
    told: bool,
}

/// What became of the numbers of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    Dropped,
    Noted,
    /// Noted, and what lies before it may have been given up: to be told first, so that there is room for it.
    Jumped,
}

/// Who brought a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Line,
    Rewind,
}

impl Receiver {
    /// A receiver that has heard nothing. All memory is allocated here.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: &FeedConfig) -> Result<Receiver, FeedConfigError> {
        config.check()?;
        let start = if let Start::At(seq) = config.start { seq } else { SeqNo::FIRST };
        let session = if let SessionRule::Pinned(session) = config.session { Some(session) } else { None };
        Ok(Receiver {
            rollover: config.rollover,
            on_unfillable: config.on_unfillable,
            max_gap_messages: config.max_gap_messages,
            silence: config.silence,
            lines: (0..config.lines).map(|_| Line::new()).collect(),
            session,
            expected: start,
            highest: start,
            joining: Some(config.start),
            end: None,
            held: config.start == Start::Snapshot,
            blocked: false,
            behind: false,
            asked: false,
            heard: Nanos::ZERO,
            silent: true,
            gaps: Gaps::new(config.max_gaps, 2 * config.max_requests_in_flight),
            stash: Stash::new(config.stash_bytes, config.stash_messages),
            recovery: Recovery::new(config),
            reordering: Reordering::new(config.reorder_wait),
            witness: Witness::new(start).trusting(config.trusting),
            hashes: Hashes::new(config.conflict_window),
            told_session: false,
            told: None,
            untold_conflict: None,
            stats: FeedStats::default(),
            recovered: VecDeque::with_capacity(MAX_SAMPLES),
        })
    }

    /// Takes a datagram that arrived on `line`.
    ///
    /// # Panics
    /// When `line` is not below the configured number of lines.
    #[inline]
    pub fn on_datagram(&mut self, now: Nanos, line: LineId, bytes: &[u8], sink: &mut impl Sink) {
        let Ok(datagram) = Downstream::parse(bytes) else {
            self.stats.malformed_datagrams += 1;
            return;
        };
        if self.session != Some(datagram.session()) && !self.admits(datagram.session()) {
            self.stats.wrong_session_datagrams += 1;
            return;
        }
        let is_data = matches!(datagram.kind(), Kind::Data(_));
        if is_data && datagram.first() == self.expected && self.is_clear() {
            self.on_next_in_order(now, line, &datagram, sink);
        } else if is_data && datagram.next() <= self.expected && self.joining.is_none() {
            self.on_duplicate(now, line, &datagram);
        } else {
            self.on_other(now, line, &datagram, sink);
        }
    }

    /// Whether the next message can go straight to the sink: nothing is missing, kept, pending or untold.
    #[inline]
    fn is_clear(&self) -> bool {
        self.expected == self.highest
            && self.told == Some(FeedState::Live)
            && self.untold_conflict.is_none()
            && self.end.is_none()
            && !self.held
            && !self.blocked
    }

    /// The fast path: no gap, no stash, only numbers to count.
    #[inline]
    fn on_next_in_order(
        &mut self,
        now: Nanos,
        line: LineId,
        datagram: &Downstream<'_>,
        sink: &mut impl Sink,
    ) {
        self.note(now, line, datagram);
        self.lines[usize::from(line.0)].stats.won_datagrams += 1;
        let mut messages = datagram.messages();
        let mut seq = self.expected;
        while let Some(bytes) = messages.next() {
            self.hashes.record(seq, bytes);
            if !sink.on_item(Item::Message { seq, bytes }) {
                self.delivered_to(seq);
                self.on_refusal();
                self.keep(now, seq, bytes, Origin::Line);
                for rest in messages {
                    seq = seq.next();
                    self.hashes.record(seq, rest);
                    self.keep(now, seq, rest, Origin::Line);
                }
                return;
            }
            seq = seq.next();
        }
        self.delivered_to(seq);
    }

    #[inline]
    fn delivered_to(&mut self, next: SeqNo) {
        self.stats.delivered_messages += next.since(self.expected);
        self.expected = next;
        self.highest = self.highest.max(next);
    }

    /// A datagram in which everything is old: dropped by its numbers, but for a look at its content.
    fn on_duplicate(&mut self, now: Nanos, line: LineId, datagram: &Downstream<'_>) {
        self.judge_order(now, line, datagram);
        self.note(now, line, datagram);
        self.lines[usize::from(line.0)].stats.duplicate_datagrams += 1;
        if self.hashes.is_on() {
            let mut seq = datagram.first();
            for bytes in datagram.messages() {
                self.check_copy(seq, bytes);
                seq = seq.next();
            }
        }
    }

    /// Learns from a datagram with messages that comes after later ones of its line.
    #[inline]
    fn judge_order(&mut self, now: Nanos, line: LineId, datagram: &Downstream<'_>) {
        let (first, next) = (datagram.first(), datagram.next());
        if first == next || !self.lines[usize::from(line.0)].has_passed(first) {
            return;
        }
        let open = self.gaps.found_within(first, next);
        let rewound = self.reordering.rewound(first, next).filter(|_| open.is_none());
        // One that filled nothing is a copy.
        let Some(found) = open.or(rewound) else { return };
        self.stats.overtaken_datagrams += 1;
        self.stats.needless_rewinds += u64::from(rewound.is_some());
        self.reordering.on_overtaken(now.since(found));
    }

    fn on_other(&mut self, now: Nanos, line: LineId, datagram: &Downstream<'_>, sink: &mut impl Sink) {
        self.judge_order(now, line, datagram);
        match self.judge(now, line, datagram) {
            Belief::Dropped => return,
            Belief::Noted => self.tell(sink),
            Belief::Jumped => self.settle(sink),
        }
        if let Kind::Data(_) = datagram.kind() {
            let new = self.take(now, datagram, Origin::Line, sink);
            let stats = &mut self.lines[usize::from(line.0)].stats;
            stats.won_datagrams += u64::from(new > 0);
            stats.duplicate_datagrams += u64::from(new == 0);
        }
        self.settle(sink);
    }

    /// Takes note of the numbers of a datagram that is believed.
    #[inline]
    fn note(&mut self, now: Nanos, line: LineId, datagram: &Downstream<'_>) {
        self.lines[usize::from(line.0)].on_datagram(now, datagram);
        self.heard = now;
        self.silent = false;
        self.witness.on_next(datagram.next());
        self.recovery.on_datagram(datagram.next().since(datagram.first()));
    }

    /// Whether datagrams of another session than the current one are received, which they may be when none is known,
    /// or after the end of the current one.
    fn admits(&mut self, session: Session) -> bool {
        let is_over = self.end.is_some_and(|end| end.told);
        match self.session {
            None => self.session = Some(session),
            Some(_) if is_over && self.rollover == Rollover::AfterEnd => {
                if !self.witness.confirms_session(session) {
                    return false;
                }
                self.restart(Some(session), SeqNo::FIRST);
            }
            Some(_) => return false,
        }
        true
    }

    /// Judges the numbers of a datagram that is not simply next or old, and notes the hole before it.
    fn judge(&mut self, now: Nanos, line: LineId, datagram: &Downstream<'_>) -> Belief {
        let (first, next) = (datagram.first(), datagram.next());
        if self.end.is_some_and(|end| end.told && next > end.next) {
            self.stats.datagrams_after_end += 1;
            return Belief::Dropped;
        }
        let is_anywhere = matches!(self.joining, Some(Start::FirstSeen | Start::Snapshot));
        let jump = first.since(self.highest);
        let is_far = jump > self.max_gap_messages && !is_anywhere;
        if is_far && !self.witness.confirms_jump(line, datagram, self.max_gap_messages) {
            self.stats.unconfirmed_jumps += 1;
            return Belief::Dropped;
        }
        if is_anywhere {
            self.restart_at(first);
        } else if is_far && self.joining.is_none() {
            self.give_up_to(now, first);
        } else if jump > 0 {
            self.open_gap(now, first);
        }
        self.joining = None;
        self.note(now, line, datagram);
        self.judge_end(datagram);
        if is_far { Belief::Jumped } else { Belief::Noted }
    }

    /// Notes that everything from the highest number seen to `first` is missing.
    fn open_gap(&mut self, now: Nanos, first: SeqNo) {
        self.count_missing(first.since(self.highest));
        match self.gaps.open_last(self.highest, first, now) {
            Opened::New => self.stats.gaps_found += 1,
            Opened::Extended => {}
            Opened::Merged(end) => {
                let dropped = self.stash.remove_range(end, self.highest);
                self.count_missing(dropped);
                self.stats.stash_refused_messages += dropped;
            }
        }
        self.highest = first;
        self.behind = true;
    }

    /// Saturates: forged numbers add up.
    fn count_missing(&mut self, count: u64) {
        self.stats.missing_messages = self.stats.missing_messages.saturating_add(count);
    }

    /// After a confirmed jump that is too far: everything up to `first` is lost.
    fn give_up_to(&mut self, now: Nanos, first: SeqNo) {
        if self.held {
            self.advance_base(first);
        } else {
            let from = self.highest;
            self.open_gap(now, first);
            // When the gap list has no room for another cut, it is requested like any other hole.
            self.gaps.give_up(from, first);
        }
    }

    /// Notes the end of the session when a datagram claims it, and forgets it when one contradicts.
    fn judge_end(&mut self, datagram: &Downstream<'_>) {
        let next = datagram.next();
        if datagram.kind() != Kind::EndOfSession {
            if self.end.is_some_and(|end| next > end.next) {
                self.end = None;
                self.stats.false_ends += 1;
            }
        } else if next < self.expected || next < self.witness.confirmed() {
            self.stats.false_ends += 1;
        } else {
            let before = self.end.filter(|end| end.next == next);
            let (confirmed, told) = (before.is_some(), before.is_some_and(|end| end.told));
            self.end = Some(End { next, confirmed, told });
        }
    }

    /// Takes the messages of a datagram: delivers those whose turn it is, keeps those that are early, drops copies. Gives
    /// the number of new ones.
    fn take(&mut self, now: Nanos, datagram: &Downstream<'_>, origin: Origin, sink: &mut impl Sink) -> u64 {
        let mut new = 0;
        let mut next = datagram.first();
        for bytes in datagram.messages() {
            let seq = next;
            next = seq.next();
            if seq < self.highest && (seq < self.expected || !self.gaps.contains(seq)) {
                self.stats.duplicate_messages += 1;
                self.check_copy(seq, bytes);
                continue;
            }
            // A reply holds nothing that no line told of; if it does, the lines will bring it.
            if origin == Origin::Rewind && seq >= self.highest {
                break;
            }
            new += 1;
            self.hashes.record(seq, bytes);
            if seq == self.expected && !self.held && !self.blocked {
                if sink.on_item(Item::Message { seq, bytes }) {
                    self.fill(now, seq, origin);
                    self.delivered_to(next);
                    continue;
                }
                self.on_refusal();
            }
            self.keep(now, seq, bytes, origin);
        }
        new
    }

    /// Keeps a message whose turn it is not; when it cannot be kept, it is missing.
    fn keep(&mut self, now: Nanos, seq: SeqNo, bytes: &[u8], origin: Origin) {
        if self.held {
            self.make_room(seq, bytes);
        }
        let eager = origin == Origin::Line && !self.held;
        if seq >= self.expected && self.stash.try_insert(self.expected, seq, bytes, eager).is_ok() {
            if seq >= self.highest {
                self.highest = seq.next();
                return;
            }
            if self.fill(now, seq, origin) {
                return;
            }
            self.stash.remove(seq);
        }
        self.stats.stash_refused_messages += 1;
        if seq >= self.highest {
            self.open_gap(now, seq.next());
        }
    }

    /// Notes that `seq` arrived, if it was missing; `false` when there is no room to.
    fn fill(&mut self, now: Nanos, seq: SeqNo, origin: Origin) -> bool {
        if seq >= self.highest {
            return true;
        }
        match self.gaps.fill(seq) {
            Filled::Full => return false,
            Filled::Partly => {}
            Filled::Closed(found) => {
                if self.recovered.len() == MAX_SAMPLES {
                    self.recovered.pop_front();
                }
                self.recovered.push_back(now.since(found));
            }
        }
        match origin {
            Origin::Line => self.stats.line_filled_messages += 1,
            Origin::Rewind => self.stats.rewind_filled_messages += 1,
        }
        true
    }

    /// Compares a copy with what was taken before.
    fn check_copy(&mut self, seq: SeqNo, bytes: &[u8]) {
        if self.hashes.differs(seq, bytes) {
            self.stats.conflicts += 1;
            self.untold_conflict = self.untold_conflict.or(Some(seq));
            if self.on_unfillable == Unfillable::Halt {
                self.hold();
            }
        }
    }

    /// Takes a datagram that rewind server `server` sent in answer to a request.
    pub fn on_reply(&mut self, now: Nanos, server: usize, bytes: &[u8], sink: &mut impl Sink) {
        self.stats.replies += 1;
        let Ok(datagram) = Downstream::parse(bytes) else {
            self.stats.malformed_datagrams += 1;
            return;
        };
        if self.session != Some(datagram.session()) {
            self.stats.wrong_session_datagrams += 1;
            return;
        }
        let is_data = matches!(datagram.kind(), Kind::Data(_));
        if !is_data || datagram.next() <= self.expected || datagram.first() >= self.highest {
            self.stats.useless_replies += 1;
            return;
        }
        self.tell(sink);
        let (first, next) = (datagram.first(), datagram.next());
        let found = self.gaps.found_within(first, next);
        let new = self.take(now, &datagram, Origin::Rewind, sink);
        if let Some(found) = found.filter(|_| new > 0) {
            self.reordering.on_rewound(first, next, found);
        }
        self.stats.useless_replies += u64::from(new == 0);
        self.witness.on_proof(next.min(self.highest));
        self.recovery.on_reply(now, server, first, next);
        self.settle(sink);
    }

    /// Tells that rewind server `server` cannot be reached (the kernel reported an ICMP error): what was asked of it
    /// is asked of the next one without waiting.
    pub fn on_unreachable(&mut self, now: Nanos, server: usize) {
        self.recovery.on_unreachable(now, server);
    }

    /// Runs timers, and offers the sink again what it refused. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos, sink: &mut impl Sink) {
        self.blocked = false;
        if now.since(self.heard) > self.silence {
            self.silent = true;
            if let Some(end) = &mut self.end {
                end.confirmed = true;
            }
        }
        self.doubt(now);
        self.tell(sink);
        self.settle(sink);
    }

    /// The next request to send and the index of the server to send it to. Call until `None` once per duty cycle.
    pub fn poll_request(&mut self, now: Nanos) -> Option<(usize, Request)> {
        let session = self.session.filter(|_| !self.held)?;
        let only_next = self.stash.is_starved();
        if self.gaps.is_empty() || (only_next && self.blocked) {
            return None;
        }
        if let Some(end) = self.recovery.waited_for(now, &self.gaps) {
            self.lines.iter_mut().for_each(|line| line.on_waited(end));
        }
        let heard = self.lines.iter().filter(|line| line.is_heard(now, self.silence));
        let view = View {
            now,
            expected: self.expected,
            passed: heard.map(|line| line.stats.next).min().unwrap_or(SeqNo::FIRST),
            settle: self.reordering.wait(),
            confirmed: self.witness.confirmed(),
            end: self.expected.saturating_add(self.stash.span()),
            only_next,
        };
        let wanted = self.recovery.poll(&view, &mut self.gaps, &mut self.stats)?;
        self.stats.requests += 1;
        self.asked = true;
        Some((wanted.server, Request { session, first: wanted.first, count: wanted.count }))
    }

    /// Number that is delivered next.
    pub fn expected(&self) -> SeqNo {
        self.expected
    }

    /// Number that follows the highest one believed to have been sent.
    pub fn highest_seen(&self) -> SeqNo {
        self.highest
    }

    /// The state as the sink was last told it.
    pub fn state(&self) -> FeedState {
        self.told.unwrap_or(FeedState::Stale)
    }

    /// The session received, when it is known.
    pub fn session(&self) -> Option<Session> {
        self.session
    }

    /// Messages known to be missing now.
    pub fn missing_messages(&self) -> u64 {
        self.gaps.open_messages()
    }

    /// Counts of the whole feed.
    pub fn stats(&self) -> &FeedStats {
        &self.stats
    }

    /// Counts of one line; `None` when there is no such line.
    pub fn line_stats(&self, line: LineId) -> Option<&LineStats> {
        self.lines.get(usize::from(line.0)).map(|line| &line.stats)
    }

    /// How long the next closed gap had been open: from when it was found to when its last message arrived. The last 64
    /// are kept; call until `None` once per duty cycle and record them.
    pub fn poll_recovery(&mut self) -> Option<Nanos> {
        self.recovered.pop_front()
    }
}
