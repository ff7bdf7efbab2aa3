//! Changing orders, queues and levels: what the messages are made of.

use std::cmp::Ordering;
use std::hint::select_unpredictable;

use super::ahead::Hints;
use super::books::{Books, Touch};
use super::ladder::{self, Rung};
use super::node::{LevelNode, OrderNode};
use super::slab::{Linked, NONE};
use super::{Anomaly, Side, Touched};

/// An order to be added.
pub(super) struct NewOrder {
    pub(super) locate: u16,
    pub(super) side: Side,
    pub(super) price: u32,
    pub(super) reference: u64,
    pub(super) shares: u32,
    /// Zero when there is none.
    pub(super) attribution: [u8; 4],
}

/// What happened to one level. Small enough to be handed back in registers.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) price: u32,
    pub(super) locate: u16,
    pub(super) side: Side,
    /// The level was, or is now, the best of its side.
    pub(super) at_best: bool,
}

impl From<Change> for Touched {
    #[inline]
    fn from(change: Change) -> Touched {
        Touched { side: change.side, price: seqcast_wire::Price4::new(change.price) }
    }
}

/// How the shares to be taken off an order compare with those it had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Within,
    /// None were to be taken.
    Nothing,
    /// There were fewer.
    Excess,
}

/// An order that lost shares.
pub(super) struct Reduced {
    pub(super) change: Change,
    pub(super) fit: Fit,
}

impl Books {
    /// Adds an order at the end of its level's queue, or says why not. Its locate has a book. `hints` are of
    /// its reference, and say where the level may be.
    #[inline(always)]
    pub(super) fn add(&mut self, new: &NewOrder, hints: Hints) -> Result<Change, Anomaly> {
        let Hints { hash, level: hint, .. } = hints;
        let vacancy = self.index.vacancy(hash, new.reference, &self.orders);
        let vacancy = vacancy.ok_or(Anomaly::DuplicateReference)?;
        if self.orders.is_full() {
            return Err(Anomaly::OverLimit);
        }
        let at = if self.levels[hint].is(new.locate, new.side, new.price) {
            hint
        } else {
            self.level_for(new).ok_or(Anomaly::OverLimit)?
        };
        let level = &mut self.levels[at];
        let tail = level.tail;
        let order = self.orders.insert(OrderNode {
            reference: new.reference,
            shares: new.shares,
            level: at,
            previous: tail,
            next: NONE,
            attribution: new.attribution,
        });
        self.orders[tail].next = order;
        level.head = select_unpredictable(tail == NONE, order, level.head);
        level.tail = order;
        level.shares += u64::from(new.shares);
        level.orders += 1;
        self.index.insert(vacancy, order, &self.orders);
        let NewOrder { price, locate, side, .. } = *new;
        let at_best = self.books[usize::from(locate)].ladders[side as usize].best().level() == at;
        Ok(Change { price, locate, side, at_best })
    }

    /// The level of an order, mostly a new one; `None` when there is no room for it.
    fn level_for(&mut self, new: &NewOrder) -> Option<u32> {
        let NewOrder { locate, side, price, .. } = *new;
        let at = self.levels.insert(LevelNode { price, locate, side, ..LevelNode::BLANK });
        let ladder = &mut self.books[usize::from(locate)].ladders[side as usize];
        let key = ladder::key(side, price);
        if self.ladders.insert(ladder, Rung::new(key, at)).is_ok() {
            return Some(at);
        }
        self.levels.remove(at);
        let at = self.ladders.level(ladder, key);
        (at != NONE).then_some(at)
    }

    /// Takes shares off an order, and the order out when none are left; `None` when there is no such order.
    #[inline]
    pub(super) fn reduce(&mut self, reference: u64, shares: u32, hints: Hints) -> Option<Reduced> {
        let Hints { hash, spot, .. } = hints;
        let at = self.index.find_near(spot, hash, reference, &self.orders)?;
        let order = &mut self.orders[at];
        if shares >= order.shares {
            let fit = if shares > order.shares { Fit::Excess } else { Fit::Within };
            self.index.remove(spot, hash, reference, &self.orders);
            return Some(Reduced { change: self.unlink(at), fit });
        }
        order.shares -= shares;
        let at = order.level;
        let level = &mut self.levels[at];
        level.shares -= u64::from(shares);
        let LevelNode { price, locate, side, .. } = *level;
        let at_best = self.books[usize::from(locate)].ladders[side as usize].best().level() == at;
        let change = Change { price, locate, side, at_best };
        Some(Reduced { change, fit: if shares > 0 { Fit::Within } else { Fit::Nothing } })
    }

    /// Takes an order, no longer in the index, out of its queue, and its level out when it was the last.
    #[inline(always)]
    pub(super) fn unlink(&mut self, order: u32) -> Change {
        let OrderNode { shares, level: at, previous, next, .. } = self.orders[order];
        self.orders[previous].next = next;
        self.orders[next].previous = previous;
        self.orders.remove(order);
        let level = &mut self.levels[at];
        level.head = select_unpredictable(previous == NONE, next, level.head);
        level.tail = select_unpredictable(next == NONE, previous, level.tail);
        level.shares -= u64::from(shares);
        level.orders -= 1;
        let LevelNode { locate, side, price, orders, .. } = *level;
        let at_best = self.books[usize::from(locate)].ladders[side as usize].best().level() == at;
        if orders == 0 {
            self.remove_level(at, locate, side, price);
        }
        Change { price, locate, side, at_best }
    }

    fn remove_level(&mut self, at: u32, locate: u16, side: Side, price: u32) {
        let ladder = &mut self.books[usize::from(locate)].ladders[side as usize];
        self.ladders.remove(ladder, ladder::key(side, price));
        self.levels.remove(at);
    }

    /// Is the book locked or crossed now? Hardly ever, so that this is all that most messages have to pay.
    #[inline]
    pub(super) fn note_touch(&mut self, locate: u16) {
        let book = &self.books[usize::from(locate)];
        // Of a side without orders, the worst price there is.
        let [bid, ask] = book.best_prices();
        if bid >= ask || book.touch != Touch::Open {
            self.compare_touch(locate);
        }
    }

    #[cold]
    fn compare_touch(&mut self, locate: u16) {
        let book = &mut self.books[usize::from(locate)];
        let [bid, ask] = book.best_prices();
        let touch = match bid.cmp(&ask) {
            _ if book.ladders.iter().any(|ladder| ladder.len() == 0) => Touch::Open,
            Ordering::Less => Touch::Open,
            Ordering::Equal => Touch::Locked,
            Ordering::Greater => Touch::Crossed,
        };
        if book.touch != touch {
            book.touch = touch;
            self.stats.locked += u64::from(touch == Touch::Locked);
            self.stats.crossed += u64::from(touch == Touch::Crossed);
        }
    }
}
