//! Randomness: one seeded ChaCha8 stream and the few distributions that the day draws from, in integers only, so that
//! every platform throws the same numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

#[derive(Debug, Clone)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        let mut bytes = *b"seqcast day ....................";
        bytes[24..].copy_from_slice(&seed.to_le_bytes());
        Dice(ChaCha8Rng::from_seed(bytes))
    }

    pub(super) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `0..n`; 0 for `n` = 0. The bias of the multiplication is below n / 2^32.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.u32()) * u64::from(n)) >> 32) as u32
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below((high - low).saturating_add(1))
    }

    pub(super) fn per_million(&mut self, chances: u32) -> bool {
        self.below(1_000_000) < chances
    }

    /// Log-logistic with exponent 1: half of the throws lie below `median`, and P(x > k·median) = 1 / (1 + k), a tail
    /// without mean, as depth in the book, life times and bursts have.
    pub(super) fn heavy(&mut self, median: u32) -> u32 {
        let r = u64::from(self.u32());
        let x = u64::from(median) * r / ((1 << 32) - r);
        u32::try_from(x).unwrap_or(u32::MAX)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_stay_in_range_and_fill_it() {
        let mut dice = Dice::new(1);
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            seen[dice.below(6) as usize] += 1;
            assert!((3..=5).contains(&dice.between(3, 5)));
        }
        assert!(seen.iter().all(|&n| (850..1_150).contains(&n)), "{seen:?}");
        assert_eq!(dice.below(0), 0);
        assert!(!dice.per_million(0));
        assert!(dice.per_million(1_000_000));
    }

    #[test]
    fn heavy_has_its_median_and_its_tail() {
        let mut dice = Dice::new(2);
        let throws: Vec<u32> = (0..100_000).map(|_| dice.heavy(100)).collect();
        let above = |x: u32| throws.iter().filter(|&&t| t > x).count();
        assert!((49_000..51_000).contains(&above(100)));
        assert!((800..1_200).contains(&above(9_900)));
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(Dice::new(1).u32(), Dice::new(2).u32());
    }
}
