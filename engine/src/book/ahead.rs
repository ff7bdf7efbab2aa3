//! Looking ahead: the lines that a message will touch are asked for while earlier messages are applied.
//!
//! What a message touches is only known step by step, each step one cache miss deep: its bucket and its book from the
//! message; the order from the bucket, the level's rung from the book; the level and the order's neighbours from those.
//! So there are four stages, some messages apart, and the misses of a dozen messages are under way at once. Nothing
//! that is looked at ahead is kept but as a hint of where to look next: what was asked for in vain costs time only.

use super::index::Hash;
use super::ladder;
use super::slab::NONE;
use super::{Applied, Books, Side};
use crate::mem::prefetch;

/// Messages from one stage to the next: enough for a line to arrive meanwhile.
const LAG: usize = 4;
/// Messages under way at most; a power of two.
const AHEAD: usize = 4 * LAG;

/// A message under way.
#[derive(Clone, Copy)]
struct Pending<'m> {
    message: &'m [u8],
    hint: Hint,
}

/// Where the next stage looks.
#[derive(Clone, Copy)]
enum Hint {
    Nowhere,
    /// Adds an order.
    Add {
        locate: u16,
        side: Side,
        key: u32,
    },
    /// Is about the order with this hash.
    Hash(Hash),
    /// Is about the order at this place.
    Order(u32),
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
        let mut ring = [Pending { message: &[], hint: Hint::Nowhere }; AHEAD];
        let (mut entered, mut found, mut followed, mut applied) = (0, 0, 0, 0);
        let mut lag = LAG;
        while lag > 0 || applied < entered {
            match messages.next() {
                Some(message) => {
                    ring[entered % AHEAD] = Pending { message, hint: self.enter(message) };
                    entered += 1;
                }
                None => lag = 0,
            }
            while found + lag < entered {
                let pending = &mut ring[found % AHEAD];
                pending.hint = self.find_ahead(pending.hint);
                found += 1;
            }
            while followed + lag < found {
                let pending = &mut ring[followed % AHEAD];
                pending.hint = self.follow_ahead(pending.hint);
                followed += 1;
            }
            while applied + lag < followed {
                let pending = &ring[applied % AHEAD];
                let outcome = self.apply(pending.message);
                on_applied(self, pending.message, &outcome);
                applied += 1;
            }
        }
    }

    /// First stage: what the message alone says.
    #[inline]
    fn enter(&self, message: &[u8]) -> Hint {
        let Some((kind, locate, reference)) = order_message(message) else { return Hint::Nowhere };
        let hash = self.index.hash(reference);
        self.index.prefetch(hash);
        prefetch(&self.books, usize::from(locate));
        match kind {
            b'A' | b'F' => {
                let side = if message.get(19) == Some(&b'S') { Side::Ask } else { Side::Bid };
                let price = message.get(32..36).and_then(|price| price.first_chunk());
                let price = price.map_or(0, |&price| u32::from_be_bytes(price));
                Hint::Add { locate, side, key: ladder::key(side, price) }
            }
            _ => Hint::Hash(hash),
        }
    }

    /// Second stage: the bucket and the book have arrived.
    #[inline]
    fn find_ahead(&self, hint: Hint) -> Hint {
        match hint {
            Hint::Hash(hash) => {
                let order = self.index.guess(hash);
                self.orders.prefetch(order);
                Hint::Order(order)
            }
            Hint::Add { locate, side, .. } => {
                if let Some(book) = self.books.get(usize::from(locate)) {
                    self.ladders.prefetch(&book.ladders[side as usize]);
                }
                hint
            }
            other => other,
        }
    }

    /// Third stage: the order and the rungs have arrived.
    #[inline]
    fn follow_ahead(&self, hint: Hint) -> Hint {
        match hint {
            Hint::Order(order) if order != NONE => {
                let order = &self.orders[order];
                self.levels.prefetch(order.level);
                self.orders.prefetch(order.previous);
                self.orders.prefetch(order.next);
                Hint::Nowhere
            }
            Hint::Add { locate, side, key } => {
                let Some(book) = self.books.get(usize::from(locate)) else { return Hint::Nowhere };
                let ladder = &book.ladders[side as usize];
                let Ok(place) = self.ladders.find(ladder, key) else { return Hint::Nowhere };
                let level = self.ladders.at(ladder, place).level();
                self.levels.prefetch(level);
                Hint::Nowhere
            }
            other => other,
        }
    }
}

/// Type, locate and reference of a message about a single order.
#[inline]
fn order_message(message: &[u8]) -> Option<(u8, u16, u64)> {
    let (head, reference) = message.get(..19)?.split_at(11);
    let kind = head[0];
    if !matches!(kind, b'A' | b'F' | b'E' | b'C' | b'X' | b'D' | b'U') {
        return None;
    }
    let locate = u16::from_be_bytes([head[1], head[2]]);
    Some((kind, locate, u64::from_be_bytes(*reference.first_chunk()?)))
}
