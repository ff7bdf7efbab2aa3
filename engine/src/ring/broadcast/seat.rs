//! A reader's or guest's place at the gate: the slot that the writer watches.

use std::cell::Cell;

use super::NoSlot;
use super::layout::{Shared, Slot, slot};
use crate::sync::Ordering;

/// A slot, freed when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Shared,
    index: usize,
    /// The position that the writer knows; meaningless before admission.
    released: Cell<u64>,
}

impl Seat {
    /// Takes a free slot and asks to be admitted.
    pub(super) fn take(shared: &Shared, waiting: u64) -> Result<Seat, NoSlot> {
        let free = shared.slots().position(|free| {
            let taken = free.state.compare_exchange(slot::FREE, waiting, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok()
        });
        let index = free.ok_or(NoSlot { max_readers: shared.max_readers() })?;
        shared.roster().fetch_add(1, Ordering::Release);
        Ok(Seat { shared: shared.clone(), index, released: Cell::new(0) })
    }

    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn slot(&self) -> Slot<'_> {
        self.shared.slot(self.index)
    }

    pub(super) fn state(&self) -> u64 {
        self.slot().state.load(Ordering::Acquire)
    }

    /// Where the writer let us in. Only once it did.
    pub(super) fn admitted_at(&self) -> u64 {
        self.released.set(self.slot().position.load(Ordering::Relaxed));
        self.released.get()
    }

    /// Gives the room before `position` back to the writer.
    #[inline]
    pub(super) fn release(&self, position: u64) {
        if position != self.released.get() {
            self.slot().position.store(position, Ordering::Release);
            self.released.set(position);
        }
    }

    /// Where to release at the latest. Not much earlier either: the writer's processor has to fetch the line.
    #[inline]
    pub(super) fn release_due(&self) -> u64 {
        self.released.get() + self.shared.capacity_bytes() / 8
    }

    /// Releases if it is due.
    #[inline]
    pub(super) fn release_in_steps(&self, position: u64) {
        if position >= self.release_due() {
            self.release(position);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The writer may be admitting or evicting just now. It does so by compare-and-swap, which fails after this.
        self.slot().state.swap(slot::FREE, Ordering::AcqRel);
    }
}
