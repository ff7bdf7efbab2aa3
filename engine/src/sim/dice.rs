//! Chances: one seed, one stream for each purpose, so that a change of one part does not move the chances of another.
//! Integers only: every platform throws the same.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::time::Nanos;

/// What a stream of chances is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Shape of the world, settings, fault schedule.
    Plan,
    /// What publishers say.
    Load,
    /// Fate of each datagram.
    Network,
    /// When each agent gets its turn.
    Pace,
    /// What a loss of power leaves on a disk.
    Disk,
    /// How the coordinator fares.
    Coordinator,
    /// What goes wrong for good.
    Lasting,
    /// Whether journals reach back to the beginning.
    Retention,
    /// Whether processes that are asked to stop take leave.
    Departure,
}

/// One stream.
#[derive(Clone, Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64, purpose: Purpose) -> Dice {
        let mut chances = ChaCha8Rng::seed_from_u64(seed);
        chances.set_stream(purpose as u64);
        Dice(chances)
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..n`; 0 for `n` = 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    /// Uniform in its order of magnitude, from `low`, which is above 0, to `high`.
    pub(super) fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high / low).max(1).ilog2());
        let from = low << self.below(doublings + 1);
        self.between(from.min(high), from.saturating_mul(2).min(high))
    }

    /// As [`Dice::magnitude`], of times.
    pub(super) fn span(&mut self, low: Nanos, high: Nanos) -> Nanos {
        Nanos(self.magnitude(low.0, high.0))
    }

    pub(super) fn per_million(&mut self, chances: u32) -> bool {
        chances > 0 && self.below(1_000_000) < u64::from(chances)
    }

    pub(super) fn percent(&mut self, chances: u32) -> bool {
        self.per_million(chances * 10_000)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let throws = |purpose| {
            let mut dice = Dice::new(7, purpose);
            [dice.u64(), dice.u64()]
        };
        assert_ne!(throws(Purpose::Plan), throws(Purpose::Network));
        assert_eq!(throws(Purpose::Plan), throws(Purpose::Plan));
    }

    #[test]
    fn throws_stay_in_range() {
        let mut dice = Dice::new(1, Purpose::Plan);
        for _ in 0..10_000 {
            assert!(dice.below(3) < 3);
            assert!((5..=9).contains(&dice.between(5, 9)));
            assert!((3..=1_000).contains(&dice.magnitude(3, 1_000)));
            assert_eq!(dice.magnitude(4, 4), 4);
        }
        assert_eq!(dice.below(0), 0);
        assert!(!dice.per_million(0) && dice.per_million(1_000_000));
    }
}
