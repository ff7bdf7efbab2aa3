use super::DayConfig;
use super::dice::Dice;

/// Gives order references that are unique in the day: growing with some disorder, as several matching engines give
/// them, or scattered over 64 bits.
#[derive(Debug)]
pub(super) struct References {
    taken: u64,
    scatter: Option<u64>,
}

/// References are handed out in this order within each block of sixteen.
const DISORDER: [u8; 16] = [0, 2, 1, 3, 4, 7, 5, 6, 8, 9, 11, 10, 13, 12, 14, 15];

impl References {
    pub(super) fn new(config: &DayConfig) -> References {
        References { taken: 16, scatter: config.sparse_references.then_some(config.seed) }
    }

    pub(super) fn take(&mut self, dice: &mut Dice) -> u64 {
        self.taken += u64::from(dice.between(1, 2));
        match self.scatter {
            None => self.taken & !15 | u64::from(DISORDER[(self.taken & 15) as usize]),
            // Two rounds of a finalizer that is one to one, so unique numbers stay unique; no order is 0.
            Some(seed) => mix(mix(self.taken) ^ seed.rotate_left(17)).max(1),
        }
    }
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn references_are_unique_in_either_fashion() {
        for sparse_references in [false, true] {
            let config = DayConfig { sparse_references, ..DayConfig::default() };
            let (mut references, mut dice) = (References::new(&config), Dice::new(1));
            let taken: HashSet<u64> = (0..100_000).map(|_| references.take(&mut dice)).collect();
            assert_eq!(taken.len(), 100_000);
            let largest = taken.iter().copied().max().unwrap();
            assert_eq!(largest > 1 << 60, sparse_references);
            assert!(!taken.contains(&0));
        }
    }
}
