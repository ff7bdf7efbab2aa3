//! The levels of each side in price order.
//!
//! The best rung of a side stands in the book itself, the others in a sorted run, the better **last**: nearly all
//! activity is near the touch, so that a search from the end ends soon and an insertion moves little. Runs live in one
//! arena, in blocks of 8 rungs (one cache line) times a power of two; a run that outgrows its block moves to the next
//! size, one that needs less than a quarter moves back. So nothing is allocated after the start, and memory is bounded
//! by the levels there are.

use std::collections::TryReserveError;
use std::hint::select_unpredictable;

use super::Side;
use super::slab::NONE;
use crate::limits::MAX_LEVELS_PER_SIDE;
use crate::mem::{prefetch, reserve};

const LINE_ENTRIES: usize = 8;
const LINE_BYTES: usize = 64;
const CLASSES: usize = (MAX_LEVELS_PER_SIDE / LINE_ENTRIES).ilog2() as usize + 1;

/// A level's place in the order of its side: greater is better.
#[inline]
pub(super) const fn key(side: Side, price: u32) -> u32 {
    // All bits turned for one side, without a branch.
    price ^ 0_u32.wrapping_sub(side as u32)
}

/// The price of `key`.
#[inline]
pub(super) const fn price(side: Side, key: u32) -> u32 {
    self::key(side, key)
}

/// Key and level of one rung, ordered by key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Rung(u64);

impl Rung {
    #[inline]
    pub(super) const fn new(key: u32, level: u32) -> Rung {
        Rung((key as u64) << 32 | level as u64)
    }

    #[inline]
    pub(super) const fn key(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(super) const fn level(self) -> u32 {
        self.0 as u32
    }

    /// The level if the key is `key`, else [`NONE`], without a branch.
    #[inline]
    fn level_if(self, key: u32) -> u32 {
        self.level() & 0_u32.wrapping_sub(u32::from(self.key() == key))
    }
}

/// One side: its best rung, which most messages ask for, and the run of the others.
#[derive(Clone, Copy)]
pub(super) struct Ladder {
    best: Rung,
    /// Rungs, the best included.
    len: u32,
    /// The block of the others; [`NONE`] until there are any.
    start: u32,
    class: u8,
}

impl Ladder {
    pub(super) const EMPTY: Ladder = Ladder { best: Rung::new(0, NONE), len: 0, start: NONE, class: 0 };

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The best rung; on an empty side one whose level is [`NONE`].
    #[inline]
    pub(super) fn best(&self) -> Rung {
        self.best
    }

    const fn capacity(&self) -> usize {
        if self.start == NONE { 0 } else { LINE_ENTRIES << self.class }
    }
}

/// There is no room for another level, or there is one of that key.
pub(super) struct Refused;

/// The arena.
pub(super) struct Ladders {
    rungs: Vec<Rung>,
    limit: usize,
    /// First free block of each class; a free block's first rung links the next.
    free: [u32; CLASSES],
}

impl Ladders {
    /// What a side with a single level takes.
    pub(super) const LEAST_ENTRIES: usize = LINE_ENTRIES;

    pub(super) fn new(limit: usize, expected: usize) -> Result<Ladders, TryReserveError> {
        let limit = (limit + 2 * LINE_ENTRIES).min(u32::MAX as usize);
        let rungs = reserve(limit, expected, Rung(0))?;
        let mut ladders = Ladders { rungs, limit, free: [NONE; CLASSES] };
        ladders.clear();
        Ok(ladders)
    }

    pub(super) fn clear(&mut self) {
        self.rungs.clear();
        // Blocks start at cache lines, and none at 0.
        let skip = self.rungs.as_ptr().align_offset(LINE_BYTES).min(LINE_ENTRIES);
        self.rungs.resize(LINE_ENTRIES + skip, Rung(0));
        self.free = [NONE; CLASSES];
    }

    /// The rungs but the best, best last.
    #[inline]
    pub(super) fn others(&self, ladder: &Ladder) -> &[Rung] {
        &self.rungs[ladder.start as usize..][..ladder.len().saturating_sub(1)]
    }

    /// The rung at `place`, counted from the worst.
    #[inline]
    pub(super) fn at(&self, ladder: &Ladder, place: usize) -> Rung {
        if place + 1 == ladder.len() { ladder.best } else { self.others(ladder)[place] }
    }

    /// Asks for the rungs next to the best if they are wanted, else for a line that is in the cache anyway: nothing to
    /// guess.
    #[inline]
    pub(super) fn prefetch_if(&self, wanted: bool, ladder: &Ladder) {
        let near = (ladder.start + ladder.len).saturating_sub(2);
        prefetch(&self.rungs, select_unpredictable(wanted, near, NONE) as usize);
    }

    /// The level of `key`, or [`NONE`].
    #[inline]
    pub(super) fn level(&self, ladder: &Ladder, key: u32) -> u32 {
        let mut others = self.others(ladder);
        let mut step = LINE_ENTRIES;
        // How far it is from the best is all that there is to guess.
        while let Some((far, near)) = others.split_last_chunk::<LINE_ENTRIES>() {
            if near[0].key() <= key {
                return ladder.best.level_if(key) | level_among(near, key);
            }
            others = far;
            // Long ladders are passed by steps that double, and halve where they would go too far.
            match others.len().checked_sub(step) {
                Some(cut) if others[cut].key() > key => {
                    others = &others[..cut];
                    step *= 2;
                }
                _ => step = (step / 2).max(LINE_ENTRIES),
            }
        }
        ladder.best.level_if(key) | level_among(others, key)
    }

    /// Inserts a rung where it belongs.
    #[inline]
    pub(super) fn insert(&mut self, ladder: &mut Ladder, rung: Rung) -> Result<(), Refused> {
        if ladder.len == 0 {
            ladder.best = rung;
            ladder.len = 1;
            return Ok(());
        }
        if rung.key() == ladder.best.key() || ladder.len() == MAX_LEVELS_PER_SIDE {
            return Err(Refused);
        }
        let others = ladder.len() - 1;
        if others == ladder.capacity() {
            self.grow(ladder)?;
        }
        let run = &mut self.rungs[ladder.start as usize..][..others + 1];
        if rung.key() > ladder.best.key() {
            run[others] = std::mem::replace(&mut ladder.best, rung);
        } else {
            place(run, rung)?;
        }
        ladder.len += 1;
        Ok(())
    }

    /// Removes the rung of `key`, which is there.
    #[inline]
    pub(super) fn remove(&mut self, ladder: &mut Ladder, key: u32) {
        ladder.len -= 1;
        let others = ladder.len();
        let run = &mut self.rungs[ladder.start as usize..][..others];
        if key == ladder.best.key() {
            ladder.best = run.last().copied().unwrap_or(Ladder::EMPTY.best);
        } else {
            // Looked for and closed up in one go: where that ends is all that there is to guess.
            let mut carried = Ladder::EMPTY.best;
            for rung in run.iter_mut().rev() {
                carried = std::mem::replace(rung, carried);
                if carried.key() == key {
                    break;
                }
            }
        }
        if ladder.class > 0 && others < ladder.capacity() / 4 {
            self.shrink(ladder);
        }
    }

    #[cold]
    fn grow(&mut self, ladder: &mut Ladder) -> Result<(), Refused> {
        if ladder.start == NONE {
            ladder.start = self.take(0)?;
            ladder.class = 0;
            return Ok(());
        }
        let block = self.take(ladder.class + 1)?;
        self.relocate(ladder, block, ladder.class + 1);
        Ok(())
    }

    /// Halves the block; stays when there is none of that size to be had.
    #[cold]
    fn shrink(&mut self, ladder: &mut Ladder) {
        if let Ok(block) = self.take(ladder.class - 1) {
            self.relocate(ladder, block, ladder.class - 1);
        }
    }

    fn relocate(&mut self, ladder: &mut Ladder, block: u32, class: u8) {
        let from = ladder.start as usize;
        let others = ladder.len().saturating_sub(1);
        self.rungs.copy_within(from..from + others, block as usize);
        self.give_back(ladder.start, ladder.class);
        ladder.start = block;
        ladder.class = class;
    }

    fn take(&mut self, class: u8) -> Result<u32, Refused> {
        let free = self.free[usize::from(class)];
        if free != NONE {
            self.free[usize::from(class)] = self.rungs[free as usize].level();
            return Ok(free);
        }
        let start = self.rungs.len();
        let end = start + (LINE_ENTRIES << class);
        if end > self.limit {
            return Err(Refused);
        }
        self.rungs.resize(end, Rung(0));
        Ok(start as u32)
    }

    fn give_back(&mut self, block: u32, class: u8) {
        self.rungs[block as usize] = Rung::new(0, self.free[usize::from(class)]);
        self.free[usize::from(class)] = block;
    }
}

/// The level of `key`, which one rung has at most. To look at all of a line is cheaper than to guess where to stop.
#[inline]
fn level_among(rungs: &[Rung], key: u32) -> u32 {
    rungs.iter().fold(NONE, |level, rung| level | rung.level_if(key))
}

/// Puts `rung` into a run that is sorted but for its last place, which is free.
#[inline]
fn place(run: &mut [Rung], rung: Rung) -> Result<(), Refused> {
    let Some((mut free, others)) = run.split_last_mut() else { return Err(Refused) };
    for other in others.iter_mut().rev() {
        if other.key() <= rung.key() {
            if other.key() == rung.key() {
                close(run, rung.key());
                return Err(Refused);
            }
            break;
        }
        *free = *other;
        free = other;
    }
    *free = rung;
    Ok(())
}

/// Undoes what [`place`] did before it met the key.
#[cold]
fn close(run: &mut [Rung], key: u32) {
    if let Some(at) = run.iter().position(|rung| rung.key() == key) {
        run.copy_within(at + 2.., at + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check(ladders: &Ladders, ladder: &Ladder, model: &BTreeMap<u32, u32>) {
        assert_eq!(ladder.len(), model.len());
        for (place, (&key, &level)) in model.iter().enumerate() {
            let rung = ladders.at(ladder, place);
            assert_eq!((rung.key(), rung.level()), (key, level));
            assert_eq!(ladders.level(ladder, key), level);
            if !model.contains_key(&(key + 1)) {
                assert_eq!(ladders.level(ladder, key + 1), NONE);
            }
        }
        assert_eq!(ladders.level(ladder, u32::MAX), NONE);
        let best = model.last_key_value().map_or((0, NONE), |(&key, &level)| (key, level));
        assert_eq!((ladder.best().key(), ladder.best().level()), best);
    }

    fn toggle(ladders: &mut Ladders, ladder: &mut Ladder, model: &mut BTreeMap<u32, u32>, key: u32) {
        let rung = Rung::new(key, !key);
        if model.remove(&key).is_some() {
            assert!(ladders.insert(ladder, rung).is_err());
            ladders.remove(ladder, key);
        } else {
            model.insert(key, !key);
            assert!(ladders.insert(ladder, rung).is_ok());
        }
    }

    proptest! {
        #[test]
        fn two_sides_in_one_arena_stay_sorted(
            keys in prop::collection::vec((any::<bool>(), 0..90_u32), 0..600),
        ) {
            let mut ladders = Ladders::new(10_000, 10).unwrap();
            let mut sides = [(Ladder::EMPTY, BTreeMap::new()), (Ladder::EMPTY, BTreeMap::new())];
            for (side, key) in keys {
                let (ladder, model) = &mut sides[usize::from(side)];
                toggle(&mut ladders, ladder, model, key);
            }
            for (ladder, model) in &sides {
                check(&ladders, ladder, model);
            }
        }
    }

    /// Sides that grow and shrink for ever take no more room than the largest of them took once.
    #[test]
    fn freed_blocks_are_used_again() {
        let mut ladders = Ladders::new(4_096, 10).unwrap();
        for round in 0..100 {
            let (mut ladder, mut model) = (Ladder::EMPTY, BTreeMap::new());
            for key in 0..900 {
                toggle(&mut ladders, &mut ladder, &mut model, key * 7 % 900 + round);
            }
            check(&ladders, &ladder, &model);
            for key in (0..900).rev() {
                toggle(&mut ladders, &mut ladder, &mut model, key * 11 % 900 + round);
            }
            check(&ladders, &ladder, &model);
            assert_eq!(ladder.class, 0);
        }
    }

    #[test]
    fn an_exhausted_arena_refuses_and_keeps_what_there_is() {
        let mut ladders = Ladders::new(64, 0).unwrap();
        let (mut ladder, mut model) = (Ladder::EMPTY, BTreeMap::new());
        let refused = (0..100).find(|&key| {
            let refused = ladders.insert(&mut ladder, Rung::new(key, !key)).is_err();
            if !refused {
                model.insert(key, !key);
            }
            refused
        });
        assert!(refused.is_some_and(|key| key > 30));
        check(&ladders, &ladder, &model);
    }
}
