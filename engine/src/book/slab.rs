//! Items of one size in one vector, named by 32-bit indices that stay valid until the item is removed.

use std::collections::TryReserveError;
use std::hint::select_unpredictable;
use std::ops::{Index, IndexMut};

use crate::mem::{prefetch, reserve};

/// "No item". There is a place 0, but no item is ever put there: a link of a neighbour that does not exist is written to
/// it, unread, which is cheaper than to ask first.
pub(super) const NONE: u32 = 0;

/// An item that can keep the list of free places while it is free itself.
pub(super) trait Linked: Copy {
    /// The value that memory is touched with.
    const BLANK: Self;
    /// Next free place.
    fn next_free(&self) -> u32;
    /// Sets the next free place.
    fn set_next_free(&mut self, next: u32);
}

/// The slab. Places are reused last in, first out, so that they are warm; memory never moves or shrinks.
pub(super) struct Slab<T> {
    items: Vec<T>,
    limit: u32,
    free: u32,
    live: u32,
}

impl<T: Linked> Slab<T> {
    pub(super) fn new(limit: u32, expected: u32) -> Result<Slab<T>, TryReserveError> {
        let mut items = reserve(limit as usize + 1, expected as usize + 1, T::BLANK)?;
        items.push(T::BLANK);
        Ok(Slab { items, limit, free: NONE, live: 0 })
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn is_full(&self) -> bool {
        self.live == self.limit
    }

    /// Puts an item in. The caller has seen that the slab is not full.
    #[inline]
    pub(super) fn insert(&mut self, item: T) -> u32 {
        debug_assert!(!self.is_full());
        self.live += 1;
        if self.free == NONE {
            self.items.push(item);
            return self.items.len() as u32 - 1;
        }
        let at = self.free;
        let place = &mut self[at];
        let next = place.next_free();
        *place = item;
        self.free = next;
        prefetch(&self.items, next as usize);
        at
    }

    #[inline]
    pub(super) fn remove(&mut self, at: u32) {
        let free = self.free;
        self[at].set_next_free(free);
        self.free = at;
        self.live -= 1;
    }

    pub(super) fn clear(&mut self) {
        self.items.truncate(1);
        self.free = NONE;
        self.live = 0;
    }

    #[inline]
    pub(super) fn prefetch(&self, at: u32) {
        prefetch(&self.items, at as usize);
    }

    /// [`Slab::prefetch`] if it is wanted, else of a line that is in the cache anyway: nothing to guess.
    #[inline]
    pub(super) fn prefetch_if(&self, wanted: bool, at: u32) {
        self.prefetch(select_unpredictable(wanted, at, NONE));
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: u32) -> &T {
        &self.items[at as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.items[at as usize]
    }
}
