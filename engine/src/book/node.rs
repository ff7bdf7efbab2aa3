//! Orders and levels as they stand in memory: half a cache line each.

use super::Side;
use super::slab::{Linked, NONE};

/// A live order, linked into the queue of its level.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct OrderNode {
    pub(super) reference: u64,
    pub(super) shares: u32,
    pub(super) level: u32,
    /// Towards the head of the queue.
    pub(super) previous: u32,
    /// Towards the tail of the queue.
    pub(super) next: u32,
    /// Participant as on the wire; zero when the order came without one.
    pub(super) attribution: [u8; 4],
}

const _: () = assert!(size_of::<OrderNode>() == 32);

impl Linked for OrderNode {
    const BLANK: OrderNode =
        OrderNode { reference: 0, shares: 0, level: NONE, previous: NONE, next: NONE, attribution: [0; 4] };

    #[inline]
    fn next_free(&self) -> u32 {
        self.next
    }

    #[inline]
    fn set_next_free(&mut self, next: u32) {
        self.next = next;
    }
}

/// A price level with at least one order.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct LevelNode {
    /// Sum of its orders' shares.
    pub(super) shares: u64,
    pub(super) price: u32,
    /// Number of its orders; 0 in a free place.
    pub(super) orders: u32,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) locate: u16,
    pub(super) side: Side,
}

const _: () = assert!(size_of::<LevelNode>() == 32);

impl LevelNode {
    /// Is this the level of that price? There is one at most.
    #[inline]
    pub(super) fn is(&self, locate: u16, side: Side, price: u32) -> bool {
        (self.orders > 0) & (self.price == price) & (self.locate == locate) & (self.side == side)
    }
}

impl Linked for LevelNode {
    const BLANK: LevelNode =
        LevelNode { shares: 0, price: 0, orders: 0, head: NONE, tail: NONE, locate: 0, side: Side::Bid };

    #[inline]
    fn next_free(&self) -> u32 {
        self.head
    }

    #[inline]
    fn set_next_free(&mut self, next: u32) {
        self.head = next;
    }
}
