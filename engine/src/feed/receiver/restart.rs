//! Starting over: at another session, after a halt, behind a snapshot.

use seqcast_wire::{SeqNo, Session};

use super::{End, Receiver};
use crate::feed::config::Start;
use crate::feed::line::Line;
use crate::time::Nanos;

impl Receiver {
    /// Starts over at `start`, as if nothing had been heard: in `session`, whatever the rules say, or in one that is believed
    /// as at first. Gaps and messages kept are dropped, what was counted stays. Allocates nothing.
    pub fn restart(&mut self, session: Option<Session>, start: SeqNo) {
        self.session = session;
        (self.expected, self.highest) = (start, start);
        self.joining = Some(Start::At(start));
        self.end = None;
        (self.held, self.behind, self.asked, self.silent) = (false, false, false, true);
        self.lines.iter_mut().for_each(Line::on_session);
        self.gaps.clear();
        self.stash.clear();
        self.recovery.clear();
        self.reordering.on_session();
        self.witness.restart(start);
        self.hashes.clear();
        (self.told_session, self.told, self.untold_conflict) = (false, None, None);
    }

    /// Nothing was delivered yet: delivery starts at `seq`.
    pub(super) fn restart_at(&mut self, seq: SeqNo) {
        (self.expected, self.highest) = (seq, seq);
        self.witness.restart(seq);
    }

    /// While delivery waits for a snapshot, the oldest messages make room for newer ones: the snapshot will be newer too.
    pub(super) fn make_room(&mut self, seq: SeqNo, bytes: &[u8]) {
        let span = self.stash.span();
        if seq.since(self.expected) >= span {
            self.advance_base(SeqNo::new(seq.value() - span + 1).unwrap_or(SeqNo::FIRST));
        }
        while seq >= self.expected && !self.stash.has_room(bytes.len()) {
            let Some(oldest) = self.stash.oldest() else { return };
            self.advance_base(oldest.next());
        }
    }

    /// Drops everything below `seq` without delivering it.
    pub(super) fn advance_base(&mut self, seq: SeqNo) {
        self.gaps.remove_below(seq);
        self.stats.stash_evicted_messages += self.stash.remove_range(self.expected, seq);
        self.expected = seq;
        self.highest = self.highest.max(seq);
    }

    pub(super) fn hold(&mut self) {
        self.held = true;
        self.recovery.clear();
    }

    /// Delivers from `seq` on, at the next poll: a snapshot holds everything before. What is kept from `seq` on stays,
    /// what is missing is requested.
    pub fn resume_at(&mut self, now: Nanos, seq: SeqNo) {
        if self.joining.is_some() {
            self.joining = Some(Start::At(seq));
            self.restart_at(seq);
        } else if seq >= self.expected {
            self.gaps.remove_below(seq);
            self.stash.remove_range(self.expected, seq);
            (self.expected, self.highest) = (seq, self.highest.max(seq));
        } else {
            self.go_back_to(now, seq);
        }
        (self.held, self.asked) = (false, false);
        self.behind = self.expected < self.highest;
        self.end = self.end.filter(|end| end.next >= seq).map(|end| End { told: false, ..end });
    }

    /// Delivers from a number again that has been passed.
    pub(super) fn go_back_to(&mut self, now: Nanos, seq: SeqNo) {
        let missing_before = self.gaps.open_messages();
        let fits = self.highest.since(seq) <= self.stash.span();
        if !fits || !self.gaps.try_open_first(seq, self.expected, now) {
            self.stash.clear();
            self.gaps.clear();
            self.gaps.open_last(seq, self.highest, now);
        }
        self.stats.gaps_found += 1;
        self.count_missing(self.gaps.open_messages() - missing_before);
        self.expected = seq;
    }
}
