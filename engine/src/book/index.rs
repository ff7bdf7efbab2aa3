//! From order reference to order: a hash index that grows one bucket at a time.
//!
//! A bucket is one cache line: twelve 8-bit tags, twelve 32-bit places in the slab of orders, and the first bucket of
//! its overflow chain. The references themselves stand in the orders, which a look-up reads anyway, so that a live
//! order costs about 8 bytes here whatever its reference is; a tag lets one wrong order in 250 be read in vain.
//!
//! Growth is linear hashing (Litwin 1980): as soon as there are more than [`LOAD`] orders a bucket, one insertion
//! splits one bucket, so that no insertion ever pays for a whole rehash.
//!
//! Exchanges number orders nearly in sequence. [`RUN`] consecutive references share a bucket, so that additions mostly
//! find it in the cache. For references without such order this changes nothing.

use std::collections::TryReserveError;
use std::hint::select_unpredictable;

use super::bucket::{Bucket, FREE, SLOTS};
use super::node::OrderNode;
use super::slab::{NONE, Slab};
use crate::mem::{prefetch, reserve};

/// Orders a bucket, on average, above which buckets are split.
const LOAD: usize = 7;
/// Consecutive references that share a bucket, as a power of two.
const RUN_BITS: u32 = 2;

/// Hash of a reference: its lower bits choose the bucket, the highest eight are the tag within it.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    /// Of no reference in particular.
    pub(super) const NONE: Hash = Hash(0);

    #[inline]
    fn tag(self) -> u8 {
        ((self.0 >> 56) as u8).max(FREE + 1)
    }
}

/// Where an order may stand, as it was found ahead: right as long as nothing happens to its bucket.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    bucket: u32,
    slot: u32,
    /// [`NONE`] when there was none.
    pub(super) order: u32,
}

impl Spot {
    pub(super) const NONE: Spot = Spot { bucket: 0, slot: 0, order: NONE };
}

/// A place for a new order; without a slot, its bucket is full.
pub(super) struct Vacancy {
    bucket: usize,
    slot: Option<usize>,
    tag: u8,
}

/// The index. Every method that compares references is given the slab that the places point into.
pub(super) struct Index {
    buckets: Vec<Bucket>,
    /// Place 0 is not used.
    overflow: Vec<Bucket>,
    free_overflow: u32,
    limit: usize,
    /// Buckets that [`Index::new`] was asked for.
    initial: usize,
    /// One less than the power of two that the number of buckets is growing to: the bits that choose a bucket, or
    /// all but the highest of them where that bucket is not there yet.
    mask: u64,
    /// What references are multiplied by: odd, and as good as random.
    factor: u64,
}

impl Index {
    pub(super) fn new(limit: u32, expected: u32, seed: u64) -> Result<Index, TryReserveError> {
        let buckets = |orders: u32| (orders as usize).div_ceil(LOAD).max(1);
        let (most, initial) = (buckets(limit), buckets(expected.min(limit)));
        // Only the last bucket of a chain has free slots, and only full buckets have chains.
        let chained = limit as usize / SLOTS + 2;
        let mut index = Index {
            buckets: reserve(most, initial, Bucket::EMPTY)?,
            overflow: reserve(chained, expected as usize / (4 * SLOTS), Bucket::EMPTY)?,
            free_overflow: NONE,
            limit: most,
            initial,
            mask: 0,
            factor: mixed(seed) | 1,
        };
        index.clear();
        Ok(index)
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
        self.buckets.resize(self.initial, Bucket::EMPTY);
        self.overflow.clear();
        self.overflow.push(Bucket::EMPTY);
        self.free_overflow = NONE;
        self.mask = (self.initial as u64 + 1).next_power_of_two() - 1;
    }

    /// Both halves of one wide product: the lower bits of the lower half tell neighbours apart, those of the upper half
    /// references that grow by a large step. Who does not know the seed does not know the factor.
    #[inline]
    pub(super) fn hash(&self, reference: u64) -> Hash {
        let product = u128::from(reference >> RUN_BITS) * u128::from(self.factor);
        let within = reference << (u64::BITS - RUN_BITS);
        Hash(product as u64 ^ (product >> 64) as u64 ^ within)
    }

    #[inline]
    fn bucket_of(&self, hash: Hash) -> usize {
        let wide = (hash.0 & self.mask) as usize;
        // Where it is not there yet, without its highest bit. As good as random, so without a branch.
        select_unpredictable(wide < self.buckets.len(), wide, wide & (self.mask >> 1) as usize)
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: Hash) {
        prefetch(&self.buckets, self.bucket_of(hash));
    }

    /// The first order in the bucket that may be the one looked for.
    #[inline]
    pub(super) fn guess(&self, hash: Hash) -> Spot {
        let bucket = self.bucket_of(hash);
        let (slot, order) = self.buckets[bucket].guess(hash.tag());
        Spot { bucket: bucket as u32, slot: slot as u32, order }
    }

    /// Is the order of `reference` still there? That it is in a bucket shows that it is live.
    #[inline]
    fn holds(&self, spot: Spot, reference: u64, orders: &Slab<OrderNode>) -> bool {
        spot.order != NONE
            && orders[spot.order].reference == reference
            && self.buckets[spot.bucket as usize].order(spot.slot as usize) == spot.order
    }

    /// [`Index::find`] that looks at `spot` first.
    #[inline]
    pub(super) fn find_near(
        &self,
        spot: Spot,
        hash: Hash,
        reference: u64,
        orders: &Slab<OrderNode>,
    ) -> Option<u32> {
        if self.holds(spot, reference, orders) {
            Some(spot.order)
        } else {
            self.find(hash, reference, orders)
        }
    }

    /// The order of `reference`.
    pub(super) fn find(&self, hash: Hash, reference: u64, orders: &Slab<OrderNode>) -> Option<u32> {
        let mut bucket = &self.buckets[self.bucket_of(hash)];
        loop {
            if let Some(slot) = slot_of(bucket, hash, reference, orders) {
                return Some(bucket.order(slot));
            }
            let next = bucket.next();
            if next == NONE {
                return None;
            }
            bucket = &self.overflow[next as usize];
        }
    }

    /// Takes the order of `reference` out; looks at `spot` first.
    #[inline]
    pub(super) fn remove(
        &mut self,
        spot: Spot,
        hash: Hash,
        reference: u64,
        orders: &Slab<OrderNode>,
    ) -> Option<u32> {
        if self.holds(spot, reference, orders) {
            let bucket = &mut self.buckets[spot.bucket as usize];
            if bucket.next() == NONE {
                bucket.put(spot.slot as usize, FREE, NONE);
                return Some(spot.order);
            }
        }
        self.search_and_remove(hash, reference, orders)
    }

    #[inline(never)]
    fn search_and_remove(&mut self, hash: Hash, reference: u64, orders: &Slab<OrderNode>) -> Option<u32> {
        let at = self.bucket_of(hash);
        let bucket = &mut self.buckets[at];
        let chained = bucket.next() != NONE;
        if let Some(slot) = slot_of(bucket, hash, reference, orders) {
            let order = bucket.order(slot);
            let (tag, moved) = if chained { self.pop_chain(at) } else { (FREE, NONE) };
            self.buckets[at].put(slot, tag, moved);
            return Some(order);
        }
        if chained { self.remove_from_chain(at, hash, reference, orders) } else { None }
    }

    /// Where a new order goes; `None` when its reference is taken.
    #[inline(always)]
    pub(super) fn vacancy(&self, hash: Hash, reference: u64, orders: &Slab<OrderNode>) -> Option<Vacancy> {
        let at = self.bucket_of(hash);
        let bucket = &self.buckets[at];
        if slot_of(bucket, hash, reference, orders).is_some() {
            return None;
        }
        let slot = bucket.slots(FREE).next();
        if slot.is_none() && self.find(hash, reference, orders).is_some() {
            return None;
        }
        Some(Vacancy { bucket: at, slot, tag: hash.tag() })
    }

    /// Puts an order where [`Index::vacancy`] said.
    #[inline]
    pub(super) fn insert(&mut self, vacancy: Vacancy, order: u32, orders: &Slab<OrderNode>) {
        match vacancy.slot {
            Some(slot) => self.buckets[vacancy.bucket].put(slot, vacancy.tag, order),
            None => self.put_in_chain(vacancy.bucket, vacancy.tag, order),
        }
        if orders.live() as usize > self.buckets.len() * LOAD && self.buckets.len() < self.limit {
            self.split(orders);
        }
    }

    #[inline]
    fn put(&mut self, at: usize, tag: u8, order: u32) {
        match self.buckets[at].slots(FREE).next() {
            Some(slot) => self.buckets[at].put(slot, tag, order),
            None => self.put_in_chain(at, tag, order),
        }
    }

    #[cold]
    fn put_in_chain(&mut self, at: usize, tag: u8, order: u32) {
        let mut link = self.buckets[at].next();
        let mut last = None;
        while link != NONE {
            let bucket = &mut self.overflow[link as usize];
            if let Some(slot) = bucket.slots(FREE).next() {
                return bucket.put(slot, tag, order);
            }
            last = Some(link);
            link = bucket.next();
        }
        let mut bucket = Bucket::EMPTY;
        bucket.put(0, tag, order);
        let new = self.take_overflow(bucket);
        match last {
            Some(last) => self.overflow[last as usize].set_next(new),
            None => self.buckets[at].set_next(new),
        }
    }

    fn take_overflow(&mut self, bucket: Bucket) -> u32 {
        let at = self.free_overflow;
        if at == NONE {
            self.overflow.push(bucket);
            return self.overflow.len() as u32 - 1;
        }
        self.free_overflow = self.overflow[at as usize].next();
        self.overflow[at as usize] = bucket;
        at
    }

    fn free_overflow(&mut self, at: u32) {
        self.overflow[at as usize] = Bucket::EMPTY;
        self.overflow[at as usize].set_next(self.free_overflow);
        self.free_overflow = at;
    }

    /// Takes an entry out of the last bucket of a chain that is not empty: its tag and order.
    #[cold]
    fn pop_chain(&mut self, at: usize) -> (u8, u32) {
        let mut before = NONE;
        let mut last = self.buckets[at].next();
        while self.overflow[last as usize].next() != NONE {
            before = last;
            last = self.overflow[last as usize].next();
        }
        let bucket = &mut self.overflow[last as usize];
        let slot = (0..SLOTS).rev().find(|&slot| bucket.tag(slot) != FREE).unwrap_or(0);
        let entry = (bucket.tag(slot), bucket.order(slot));
        bucket.put(slot, FREE, NONE);
        if bucket.is_empty() {
            self.free_overflow(last);
            match before {
                NONE => self.buckets[at].set_next(NONE),
                before => self.overflow[before as usize].set_next(NONE),
            }
        }
        entry
    }

    #[cold]
    fn remove_from_chain(
        &mut self,
        at: usize,
        hash: Hash,
        reference: u64,
        orders: &Slab<OrderNode>,
    ) -> Option<u32> {
        let mut link = self.buckets[at].next();
        while link != NONE {
            let bucket = &self.overflow[link as usize];
            if let Some(slot) = slot_of(bucket, hash, reference, orders) {
                let order = bucket.order(slot);
                let (tag, moved) = self.pop_chain(at);
                // The entry popped may be the very one to remove; then its slot is free already.
                if moved != order {
                    self.overflow[link as usize].put(slot, tag, moved);
                }
                return Some(order);
            }
            link = bucket.next();
        }
        None
    }

    /// Adds one bucket and moves there what belongs there, from the one bucket that held it.
    #[cold]
    fn split(&mut self, orders: &Slab<OrderNode>) {
        let new = self.buckets.len();
        let old = new & (self.mask >> 1) as usize;
        let mut bucket = std::mem::replace(&mut self.buckets[old], Bucket::EMPTY);
        self.buckets.push(Bucket::EMPTY);
        if self.buckets.len() as u64 > self.mask {
            self.mask = 2 * self.mask + 1;
        }
        loop {
            for slot in 0..SLOTS {
                if bucket.tag(slot) != FREE {
                    let order = bucket.order(slot);
                    let at = self.bucket_of(self.hash(orders[order].reference));
                    self.put(at, bucket.tag(slot), order);
                }
            }
            let next = bucket.next();
            if next == NONE {
                return;
            }
            bucket = self.overflow[next as usize];
            self.free_overflow(next);
        }
    }
}

/// Every bit of the seed changes about half of these.
fn mixed(seed: u64) -> u64 {
    let mut bits = seed ^ 0xa076_1d64_78bd_642f;
    bits = (bits ^ bits >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ bits >> 29).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 32
}

#[inline]
fn slot_of(bucket: &Bucket, hash: Hash, reference: u64, orders: &Slab<OrderNode>) -> Option<usize> {
    bucket.slots(hash.tag()).find(|&slot| orders[bucket.order(slot)].reference == reference)
}

#[cfg(test)]
mod tests {
    use super::super::slab::Linked;
    use super::*;

    const ORDERS: u32 = 200_000;

    fn filled(expected: u32, seed: u64, reference: impl Fn(u64) -> u64) -> (Index, Slab<OrderNode>) {
        let mut index = Index::new(ORDERS, expected, seed).unwrap();
        let mut orders = Slab::new(ORDERS, expected).unwrap();
        for number in 0..u64::from(ORDERS) {
            let reference = reference(number);
            let hash = index.hash(reference);
            let vacancy = index.vacancy(hash, reference, &orders).unwrap();
            let order = orders.insert(OrderNode { reference, ..OrderNode::BLANK });
            index.insert(vacancy, order, &orders);
        }
        (index, orders)
    }

    fn longest_chain(index: &Index) -> usize {
        let length = |bucket: &Bucket| {
            std::iter::successors(Some(bucket.next()), |&at| Some(index.overflow[at as usize].next()))
                .take_while(|&at| at != NONE)
                .count()
        };
        index.buckets.iter().map(length).max().unwrap_or(0)
    }

    /// Whatever pattern references follow, chains stay short and the overflow small, grown or prepared.
    #[test]
    fn no_pattern_of_references_piles_up() {
        type Pattern = (&'static str, fn(u64) -> u64);
        let patterns: [Pattern; 8] = [
            ("dense", |n| n),
            ("every third", |n| 1_000_000_007 + 3 * n),
            ("every 64th", |n| n * 64),
            ("high halves", |n| n << 32),
            ("top bits", |n| n << 46),
            ("same low bits", |n| n << 40 | 0xab_cdef_0123),
            ("reversed", u64::reverse_bits),
            ("scattered", |n| (n + 1).wrapping_mul(0xd134_2543_de82_ef95).rotate_left(29)),
        ];
        for (name, pattern) in patterns {
            for (expected, seed) in [(1, 0), (1, 0x1234_5678_9abc_def0), (ORDERS, 0)] {
                let (index, orders) = filled(expected, seed, pattern);
                let overflow = index.overflow.len() as f64 / index.buckets.len() as f64;
                assert!(overflow < 0.25, "{name}: {overflow} overflow buckets for each bucket");
                assert!(longest_chain(&index) <= 4, "{name}: a chain of {}", longest_chain(&index));
                assert_eq!(index.buckets.len(), (ORDERS as usize).div_ceil(LOAD), "{name}");
                for number in 0..u64::from(ORDERS) {
                    let reference = pattern(number);
                    assert!(index.find(index.hash(reference), reference, &orders).is_some(), "{name}");
                }
            }
        }
    }

    /// One insertion splits one bucket at most: growth has no pauses.
    #[test]
    fn growth_goes_by_single_buckets() {
        let mut index = Index::new(ORDERS, 1, 0).unwrap();
        let mut orders = Slab::new(ORDERS, 1).unwrap();
        for reference in 0..u64::from(ORDERS) {
            let before = index.buckets.len();
            let vacancy = index.vacancy(index.hash(reference), reference, &orders).unwrap();
            let order = orders.insert(OrderNode { reference, ..OrderNode::BLANK });
            index.insert(vacancy, order, &orders);
            assert!(index.buckets.len() - before <= 1);
        }
    }
}
