//! Looking ahead: the lines that a message will touch are asked for before earlier messages are applied.
//!
//! What a message touches is only known step by step, each step one cache miss deep:
//!
//! | step | has arrived | asked for |
//! |---|---|---|
//! | [`enter`](Books::enter) | the message | bucket, book |
//! | [`look_up`](Books::look_up) | bucket, book | the order; rungs of an addition |
//! | [`follow`](Books::follow) | order, rungs | level, neighbours in the queue; level of an addition |
//! | [`reach`](Books::reach) | level | rungs of a level that will vanish or of a replacement; tail of an addition's queue |
//! | [`search`](Books::search) | those rungs | level of a replacement |
//!
//! So a message takes each step [`LAG`] messages after the one before it, and is applied after the last: what a step asks
//! for arrives while other messages take theirs. Memory hands over one line in the time of a tenth of its latency, and
//! no more: spread evenly over the messages, the lines come while earlier messages are applied; asked for in bursts, they
//! would be waited for. What is found ahead is only a hint of where to look: earlier messages may change it, which then
//! costs time, not truth.

use std::hint::select_unpredictable;

use super::index::{Hash, Spot};
use super::ladder;
use super::slab::NONE;
use super::{Applied, Books, Side};
use crate::mem::prefetch;

/// Messages from one step to the next.
const LAG: usize = 3;
const _: () = assert!(LAG >= 2, "two messages are there before any step is due");
/// Steps before a message is applied.
const STEPS: usize = 5;
/// Messages under way at most; a power of two.
const WAY: usize = (LAG * STEPS + 1).next_power_of_two();

/// What is known of a message before it is applied.
#[derive(Clone, Copy)]
pub(super) struct Hints {
    /// Of the reference that every message about an order has at the same place.
    pub(super) hash: Hash,
    /// Order that something happens to.
    pub(super) spot: Spot,
    /// Level that an order is added to.
    pub(super) level: u32,
}

/// What is known of a message. The steps treat all messages alike as far as they can: to guess wrongly what comes next
/// costs more than to ask for a line that is there.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Plan<'m> {
    message: &'m [u8],
    hints: Hints,
    /// Price of the order that is added.
    price: u32,
    locate: u16,
    /// Side of the order that is added.
    side: Side,
    class: &'static Class,
}

impl Books {
    /// Applies `messages` one after the other, as [`Books::apply`] would, and tells `on_applied` of each, with the
    /// books as they are then. Several messages at a time cost much less than as many calls, since their cache misses
    /// overlap; none waits for messages that `messages` does not have yet.
    pub fn apply_all<'m>(
        &mut self,
        messages: impl IntoIterator<Item = &'m [u8]>,
        mut on_applied: impl FnMut(&Books, &'m [u8], &Applied),
    ) {
        let mut messages = messages.into_iter();
        let Some(first) = messages.next() else { return };
        let Some(second) = messages.next() else {
            let applied = self.apply(first);
            return on_applied(self, first, &applied);
        };
        let mut plans = [const { Plan::NONE }; WAY];
        // Fewer than a lag: none of their steps is due yet.
        self.enter(&mut plans[0], first);
        self.enter(&mut plans[1], second);
        let mut entered = 2_usize;
        let at = |step: usize, entered: usize| entered.wrapping_sub(step * LAG) % WAY;
        for message in messages {
            self.enter(&mut plans[at(0, entered)], message);
            // Of the first messages, some steps find nothing to do.
            self.look_up(&mut plans[at(1, entered)]);
            self.follow(&mut plans[at(2, entered)]);
            self.reach(&mut plans[at(3, entered)]);
            self.search(&mut plans[at(4, entered)]);
            if entered >= STEPS * LAG {
                self.apply_plan(&plans[at(5, entered)], &mut on_applied);
            }
            entered += 1;
        }
        let rest = |step: usize| entered.saturating_sub(step * LAG)..entered;
        rest(1).for_each(|nth| self.look_up(&mut plans[nth % WAY]));
        rest(2).for_each(|nth| self.follow(&mut plans[nth % WAY]));
        rest(3).for_each(|nth| self.reach(&mut plans[nth % WAY]));
        rest(4).for_each(|nth| self.search(&mut plans[nth % WAY]));
        rest(5).for_each(|nth| self.apply_plan(&plans[nth % WAY], &mut on_applied));
    }

    #[inline(always)]
    fn apply_plan<'m>(&mut self, plan: &Plan<'m>, on_applied: &mut impl FnMut(&Books, &'m [u8], &Applied)) {
        let applied = self.apply_near(plan.message, plan.hints);
        on_applied(self, plan.message, &applied);
    }

    /// All that can be known of a message when nothing comes before it.
    #[inline]
    pub(super) fn hints(&self, message: &[u8]) -> Hints {
        let mut plan = Plan::NONE;
        self.enter(&mut plan, message);
        self.look_up(&mut plan);
        self.follow(&mut plan);
        self.reach(&mut plan);
        self.search(&mut plan);
        plan.hints
    }

    #[inline]
    fn enter<'m>(&self, plan: &mut Plan<'m>, message: &'m [u8]) {
        *plan = Plan { message, ..Plan::NONE };
        let Some(&[kind, l0, l1, .., r0, r1, r2, r3, r4, r5, r6, r7]) = message.first_chunk::<19>() else {
            return;
        };
        let class = &CLASSES[usize::from(kind)];
        let Some(&price) = message.get(class.price.into()..).and_then(<[u8]>::first_chunk) else { return };
        let Some(&side) = message.get(usize::from(class.side)) else { return };
        plan.class = class;
        plan.price = u32::from_be_bytes(price);
        plan.side = select_unpredictable(side == b'S', Side::Ask, Side::Bid);
        plan.locate = u16::from_be_bytes([l0, l1]);
        prefetch(&self.books, usize::from(plan.locate));
        plan.hints.hash = self.index.hash(u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]));
        self.index.prefetch(plan.hints.hash);
        if class.replaces
            && let Some(reference) = message.get(19..).and_then(<[u8]>::first_chunk)
        {
            self.index.prefetch(self.index.hash(u64::from_be_bytes(*reference)));
        }
    }

    /// Bucket and book have arrived.
    #[inline]
    fn look_up(&self, plan: &mut Plan<'_>) {
        plan.hints.spot = self.index.guess(plan.hints.hash);
        self.orders.prefetch(plan.hints.spot.order);
        if let Some(book) = self.books.get(usize::from(plan.locate)) {
            self.ladders.prefetch_if(plan.class.adds, &book.ladders[plan.side as usize]);
        }
    }

    /// The order has arrived, or the rungs of an addition.
    #[inline]
    fn follow(&self, plan: &mut Plan<'_>) {
        let order = &self.orders[plan.hints.spot.order];
        self.levels.prefetch(order.level);
        self.orders.prefetch(order.previous);
        self.orders.prefetch(order.next);
        if plan.class.adds {
            self.find_ahead(plan);
        }
    }

    /// The level has arrived.
    #[inline]
    fn reach(&self, plan: &mut Plan<'_>) {
        // One of the two is none.
        let level = &self.levels[self.orders[plan.hints.spot.order].level.max(plan.hints.level)];
        self.orders.prefetch_if(plan.class.adds, level.tail);
        let leaves = plan.class.replaces | (plan.class.changes & (level.orders == 1));
        if let Some(book) = self.books.get(usize::from(level.locate)) {
            self.ladders.prefetch_if(leaves, &book.ladders[level.side as usize]);
        }
        (plan.locate, plan.side) = (level.locate, level.side);
    }

    /// The rungs have arrived among which a replacement goes.
    #[inline]
    fn search(&self, plan: &mut Plan<'_>) {
        if plan.class.replaces {
            self.find_ahead(plan);
        }
    }

    #[inline]
    fn find_ahead(&self, plan: &mut Plan<'_>) {
        let Some(book) = self.books.get(usize::from(plan.locate)) else { return };
        let ladder = &book.ladders[plan.side as usize];
        plan.hints.level = self.ladders.level(ladder, ladder::key(plan.side, plan.price));
        self.levels.prefetch(plan.hints.level);
    }
}

/// What a message's type says of it.
#[derive(Clone, Copy)]
struct Class {
    adds: bool,
    changes: bool,
    replaces: bool,
    /// Offset of the side, where it adds; of any byte where not.
    side: u8,
    /// Offset of the price, where it adds or replaces; of any four bytes where not.
    price: u8,
}

static CLASSES: [Class; 256] = {
    let none = Class::NONE;
    let adds = Class { adds: true, side: 19, price: 32, ..none };
    let changes = Class { changes: true, ..none };
    let mut classes = [none; 256];
    classes[b'A' as usize] = adds;
    classes[b'F' as usize] = adds;
    classes[b'D' as usize] = changes;
    classes[b'E' as usize] = changes;
    classes[b'C' as usize] = changes;
    classes[b'X' as usize] = changes;
    classes[b'U' as usize] = Class { replaces: true, price: 31, ..changes };
    classes
};

impl Class {
    const NONE: Class = Class { adds: false, changes: false, replaces: false, side: 0, price: 0 };
}

impl<'m> Plan<'m> {
    const NONE: Plan<'m> = Plan {
        message: &[],
        hints: Hints { hash: Hash::NONE, spot: Spot::NONE, level: NONE },
        price: 0,
        locate: 0,
        side: Side::Bid,
        class: &Class::NONE,
    };
}
