//! Looking ahead: the lines that a message will touch are asked for before earlier messages are applied.
//!
//! What a message touches is only known step by step, each step one cache miss deep: its bucket and its book from the
//! message; the order from the bucket, the rungs from the book; the level and the order's neighbours from those. So a
//! group of messages goes through the steps together, and its misses are under way at once. What is looked at ahead is
//! only a hint of where to look next: earlier messages of the group may change it, which then costs time, not truth.

use super::index::Hash;
use super::ladder;
use super::slab::NONE;
use super::{Applied, Books, Side};
use crate::mem::prefetch;

/// Messages that go through the steps together: enough for the line that the first asked for to arrive while the others
/// ask, few enough for all of them to stay in the first-level cache.
const GROUP: usize = 16;

/// A group of messages under way. Additions and the rest are kept apart, since a loop over either runs without
/// guessing what comes next.
struct Group<'m> {
    messages: [&'m [u8]; GROUP],
    len: usize,
    additions: List<Addition>,
    /// Hashes of the orders that something happens to; then their places.
    others: List<Hash>,
    orders: [u32; GROUP],
    /// By message: a place where the level of the order that it adds may be.
    levels: [u32; GROUP],
}

/// Part of a group.
struct List<T> {
    items: [T; GROUP],
    len: usize,
}

impl<T: Copy> List<T> {
    fn new(blank: T) -> List<T> {
        List { items: [blank; GROUP], len: 0 }
    }

    #[inline]
    fn push(&mut self, item: T) {
        self.items[self.len % GROUP] = item;
        self.len += 1;
    }

    #[inline]
    fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items[..self.len.min(GROUP)].iter()
    }
}

/// Where an order is to be added.
#[derive(Clone, Copy)]
struct Addition {
    /// The message's place in the group.
    message: usize,
    locate: u16,
    side: Side,
    key: u32,
}

impl Books {
    /// Applies `messages` one after the other, as [`Books::apply`] would, and tells `on_applied` of each, with the
    /// books as they are then. Several messages at a time cost much less than as many calls, since their cache misses
    /// overlap.
    pub fn apply_all<'m>(
        &mut self,
        messages: impl IntoIterator<Item = &'m [u8]>,
        mut on_applied: impl FnMut(&Books, &'m [u8], &Applied),
    ) {
        let mut messages = messages.into_iter();
        let mut group = Group::new();
        loop {
            group.clear();
            while group.len < GROUP
                && let Some(message) = messages.next()
            {
                self.enter(&mut group, message);
            }
            self.look_up(&mut group);
            self.follow(&mut group);
            for (message, level) in group.messages[..group.len].iter().zip(group.levels) {
                let applied = self.apply_near(message, level);
                on_applied(self, message, &applied);
            }
            if group.len < GROUP {
                return;
            }
        }
    }

    /// First step: what the message alone says.
    #[inline]
    fn enter<'m>(&self, group: &mut Group<'m>, message: &'m [u8]) {
        let at = group.len;
        group.messages[at % GROUP] = message;
        group.levels[at % GROUP] = NONE;
        group.len += 1;
        let Some((head, rest)) = message.split_first_chunk::<19>() else { return };
        let [kind, l0, l1, .., r0, r1, r2, r3, r4, r5, r6, r7] = *head;
        let locate = u16::from_be_bytes([l0, l1]);
        let hash = self.index.hash(u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]));
        match kind {
            b'A' | b'F' => {
                let Some(&[side, .., p0, p1, p2, p3]) = rest.first_chunk::<17>() else { return };
                let side = if side == b'S' { Side::Ask } else { Side::Bid };
                let key = ladder::key(side, u32::from_be_bytes([p0, p1, p2, p3]));
                group.additions.push(Addition { message: at, locate, side, key });
            }
            b'D' | b'E' | b'C' | b'X' => group.others.push(hash),
            b'U' => {
                group.others.push(hash);
                if let Some(reference) = rest.first_chunk() {
                    self.index.prefetch(self.index.hash(u64::from_be_bytes(*reference)));
                }
            }
            _ => return,
        }
        self.index.prefetch(hash);
        prefetch(&self.books, usize::from(locate));
    }

    /// Second step: the buckets and the books have arrived.
    #[inline]
    fn look_up(&self, group: &mut Group<'_>) {
        for (hash, order) in group.others.iter().zip(&mut group.orders) {
            *order = self.index.guess(*hash);
            self.orders.prefetch(*order);
        }
        for addition in group.additions.iter() {
            if let Some(book) = self.books.get(usize::from(addition.locate)) {
                self.ladders.prefetch(&book.ladders[addition.side as usize]);
            }
        }
    }

    /// Third step: the orders and the rungs have arrived.
    #[inline]
    fn follow(&self, group: &mut Group<'_>) {
        for &order in &group.orders[..group.others.len] {
            let order = &self.orders[order];
            self.levels.prefetch(order.level);
            self.orders.prefetch(order.previous);
            self.orders.prefetch(order.next);
        }
        for addition in group.additions.iter() {
            let Some(book) = self.books.get(usize::from(addition.locate)) else { continue };
            let ladder = &book.ladders[addition.side as usize];
            if let Ok(place) = self.ladders.find(ladder, addition.key) {
                let level = self.ladders.at(ladder, place).level();
                self.levels.prefetch(level);
                group.levels[addition.message % GROUP] = level;
            }
        }
    }
}

impl<'m> Group<'m> {
    fn new() -> Group<'m> {
        let addition = Addition { message: 0, locate: 0, side: Side::Bid, key: 0 };
        Group {
            messages: [&[]; GROUP],
            len: 0,
            additions: List::new(addition),
            others: List::new(Hash::default()),
            orders: [NONE; GROUP],
            levels: [NONE; GROUP],
        }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.additions.len = 0;
        self.others.len = 0;
    }
}
