//! What leaves the receiver: messages in order, and what is told beside them.

use seqcast_wire::SeqNo;

use super::{End, Receiver};
use crate::feed::config::Unfillable;
use crate::feed::state::{FeedState, Item, Sink};
use crate::time::Nanos;

impl Receiver {
    pub(super) fn on_refusal(&mut self) {
        self.blocked = true;
        self.stats.sink_refusals += 1;
    }

    /// Offers `item` unless the sink refused one since the last poll; whether it was taken.
    pub(super) fn offer(&mut self, item: Item<'_>, sink: &mut impl Sink) -> bool {
        if self.blocked {
            return false;
        }
        if !sink.on_item(item) {
            self.on_refusal();
        }
        !self.blocked
    }

    /// Delivers what can be delivered, then tells the state that this led to.
    pub(super) fn settle(&mut self, sink: &mut impl Sink) {
        while !self.held && !self.blocked && self.expected < self.highest {
            let seq = self.expected;
            if let Some(bytes) = self.stash.message(seq) {
                if !sink.on_item(Item::Message { seq, bytes }) {
                    self.on_refusal();
                    break;
                }
                self.stash.remove(seq);
                self.delivered_to(seq.next());
            } else if !self.tell_lost(sink) {
                break;
            }
        }
        if self.expected == self.highest {
            (self.behind, self.asked) = (false, false);
        }
        self.tell_end(sink);
        self.tell(sink);
    }

    /// Tells that the numbers next in order are lost; `false` when they are not, or not told.
    pub(super) fn tell_lost(&mut self, sink: &mut impl Sink) -> bool {
        let first = self.expected;
        let Some(end) = self.gaps.lost_run(first) else { return false };
        let count = end.since(first);
        if !self.offer(Item::Lost { first, count }, sink) {
            return false;
        }
        self.stats.lost_ranges += 1;
        self.stats.lost_messages = self.stats.lost_messages.saturating_add(count);
        self.gaps.remove_below(end);
        self.expected = end;
        if self.on_unfillable == Unfillable::Halt {
            self.hold();
        }
        true
    }

    /// Takes back what nothing but one datagram told of, for as long as a feed may be silent: it was a forgery.
    pub(super) fn doubt(&mut self, now: Nanos) {
        let floor = self.witness.confirmed().max(self.expected);
        if !self.silent
            && self.gaps.last().is_some_and(|gap| gap.end > floor && now.since(gap.found) >= self.silence)
        {
            self.retract_to(floor);
        }
    }

    /// Forgets that there is anything from `end` on.
    fn retract_to(&mut self, end: SeqNo) {
        if self.highest > end {
            self.stats.retracted_messages =
                self.stats.retracted_messages.saturating_add(self.highest.since(end));
            self.gaps.remove_from(end);
            self.stash.remove_range(end, self.highest);
            self.highest = end;
        }
    }

    pub(super) fn tell_end(&mut self, sink: &mut impl Sink) {
        let Some(end) = self.end.filter(|end| end.confirmed && !end.told) else { return };
        // One datagram told of more than there was: two say that there is no such thing.
        self.retract_to(end.next.max(self.expected));
        if !self.held && self.expected == self.highest && self.offer(Item::End { next: end.next }, sink) {
            self.end = Some(End { told: true, ..end });
        }
    }

    /// Tells what has not been told yet, the state last.
    pub(super) fn tell(&mut self, sink: &mut impl Sink) {
        if let Some(session) = self.session
            && !self.told_session
        {
            self.told_session = self.offer(Item::Session(session), sink);
        }
        if let Some(seq) = self.untold_conflict
            && self.offer(Item::Conflict { seq }, sink)
        {
            self.untold_conflict = None;
        }
        let state = self.assess();
        if self.told != Some(state) && self.offer(Item::State(state), sink) {
            self.told = Some(state);
        }
    }

    pub(super) fn assess(&self) -> FeedState {
        if self.held {
            FeedState::Stale
        } else if self.end.is_some_and(|end| end.told) {
            FeedState::Ended
        } else if self.silent {
            FeedState::Stale
        } else if !self.behind {
            FeedState::Live
        } else if self.asked {
            FeedState::Recovering
        } else {
            FeedState::Gapped
        }
    }
}
