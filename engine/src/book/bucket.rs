//! A bucket of the index: one cache line.

use std::hint::select_unpredictable;

use super::slab::NONE;

/// Orders that a bucket has room for.
pub(super) const SLOTS: usize = 12;
/// Tag of a slot without an order.
pub(super) const FREE: u8 = 0;

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = ONES * 0x7f;
const LOWER_HALF: u64 = u32::MAX as u64;

/// Twelve places of orders, a tag for each, and the next bucket of the chain.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// Eight tags in the first word, four in the lower half of the second; its upper half is the next bucket. Read and
    /// written by words only: to load a word just after a byte of it was stored takes as long as all stores before.
    words: [u64; 2],
    orders: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    pub(super) const EMPTY: Bucket = Bucket { words: [0; 2], orders: [NONE; SLOTS] };

    /// The next bucket of the chain.
    #[inline]
    pub(super) fn next(&self) -> u32 {
        (self.words[1] >> 32) as u32
    }

    pub(super) fn set_next(&mut self, next: u32) {
        self.words[1] = self.words[1] & LOWER_HALF | u64::from(next) << 32;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words[0] | self.words[1] & LOWER_HALF == 0
    }

    /// The slots whose tag is `tag`.
    #[inline]
    pub(super) fn slots(&self, tag: u8) -> Slots {
        let wanted = u64::from(tag) * ONES;
        // The top bit of each byte that is equal.
        let [first, second] = self.words.map(|word| {
            let differing = word ^ wanted;
            !(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS)
        });
        Slots(first >> 7 | second & LOWER_HALF)
    }

    /// The first slot whose tag is `tag`, and its order, [`NONE`] where there is none: found without a branch.
    #[inline]
    pub(super) fn guess(&self, tag: u8) -> (usize, u32) {
        let slots = self.slots(tag).0;
        let slot = slot_of(slots | 1 << 56).min(SLOTS - 1);
        (slot, select_unpredictable(slots != 0, self.orders[slot], NONE))
    }

    #[inline]
    pub(super) fn order(&self, slot: usize) -> u32 {
        self.orders[slot]
    }

    pub(super) fn tag(&self, slot: usize) -> u8 {
        (self.words[slot / 8 % 2] >> (slot % 8 * 8)) as u8
    }

    #[inline]
    pub(super) fn put(&mut self, slot: usize, tag: u8, order: u32) {
        let shift = slot % 8 * 8;
        let word = &mut self.words[slot / 8 % 2];
        *word = *word & !(0xff << shift) | u64::from(tag) << shift;
        self.orders[slot] = order;
    }
}

/// Slots of a bucket. Of the bits of each byte the lowest stands for a slot of the first word, the highest for one of
/// the second.
#[derive(Clone, Copy)]
pub(super) struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = slot_of(self.0);
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// The slot of the lowest bit.
#[inline]
fn slot_of(slots: u64) -> usize {
    let bit = slots.trailing_zeros() as usize;
    bit / 8 + bit % 2 * 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_keep_what_is_put(puts in prop::collection::vec((0..SLOTS, 0..4_u8, any::<u32>()), 0..40), next: u32) {
            let mut bucket = Bucket::EMPTY;
            let mut model = [(FREE, NONE); SLOTS];
            bucket.set_next(next);
            for (slot, tag, order) in puts {
                let tag = tag * 85;
                bucket.put(slot, tag, order);
                model[slot] = (tag, order);
            }
            prop_assert_eq!(bucket.next(), next);
            prop_assert_eq!(bucket.is_empty(), model.iter().all(|&(tag, _)| tag == FREE));
            for (slot, &(tag, order)) in model.iter().enumerate() {
                prop_assert_eq!((bucket.tag(slot), bucket.order(slot)), (tag, order));
            }
            for tag in 0..=u8::MAX {
                let mut found: Vec<usize> = bucket.slots(tag).collect();
                found.sort_unstable();
                let expected: Vec<usize> = (0..SLOTS).filter(|&slot| model[slot].0 == tag).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
