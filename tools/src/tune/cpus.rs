//! Sets of cores, as the kernel writes them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// No machine has more; a range beyond is a typing error, not a reason to fill memory.
const MAX_CORES: usize = 8_192;
/// The kernel writes masks in words of so many bits.
const WORD_BITS: usize = 32;

/// Cores by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuSet(BTreeSet<usize>);

impl CpuSet {
    /// A set from a mask such as `ff` or `1,00000000`.
    pub(crate) fn from_mask(text: &str) -> Option<CpuSet> {
        let mut cores = BTreeSet::new();
        for (word_at, word) in text.trim().rsplit(',').enumerate() {
            let word = u32::from_str_radix(word, 16).ok()?;
            let first = word_at * WORD_BITS;
            cores.extend((0..WORD_BITS).filter(|bit| word & (1 << bit) != 0).map(|bit| first + bit));
        }
        Some(CpuSet(cores))
    }

    /// As a mask.
    pub(crate) fn to_mask(&self) -> String {
        let words = self.0.last().map_or(1, |last| last / WORD_BITS + 1);
        let word = |at: usize| {
            let bits = self.0.range(at * WORD_BITS..(at + 1) * WORD_BITS);
            bits.fold(0_u32, |word, bit| word | 1 << (bit % WORD_BITS))
        };
        let rest = (0..words - 1).rev().map(|at| format!(",{:08x}", word(at)));
        format!("{:x}", word(words - 1)) + &rest.collect::<String>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, core: usize) -> bool {
        self.0.contains(&core)
    }

    pub(crate) fn is_within(&self, other: &CpuSet) -> bool {
        self.0.is_subset(&other.0)
    }

    pub(crate) fn without(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.difference(&other.0).copied().collect())
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cores: I) -> CpuSet {
        CpuSet(cores.into_iter().collect())
    }
}

impl FromStr for CpuSet {
    type Err = String;

    fn from_str(text: &str) -> Result<CpuSet, String> {
        let refuse = || format!("{text:?} is no list of cores, such as 2,3 or 2-5");
        let mut cores = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.parse().map_err(|_| refuse())?;
            let last: usize = last.parse().map_err(|_| refuse())?;
            if first > last || last >= MAX_CORES {
                return Err(refuse());
            }
            cores.extend(first..=last);
        }
        Ok(CpuSet(cores))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cores = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = cores.next() {
            let mut last = first;
            while let Some(next) = cores.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_masks_are_the_kernels() {
        let set: CpuSet = "0-2,8,33".parse().unwrap();
        assert_eq!(set.to_string(), "0-2,8,33");
        assert_eq!(set.to_mask(), "2,00000107");
        assert_eq!(CpuSet::from_mask("00000002,00000107\n").unwrap(), set);
        assert_eq!(CpuSet::default().to_mask(), "0");
        assert!("".parse::<CpuSet>().unwrap().is_empty());
        for wrong in ["x", "3-1", "1-", "-1", "0-99999999999", "1;2"] {
            assert!(wrong.parse::<CpuSet>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cores in prop::collection::btree_set(0_usize..200, 0..40)) {
            let set = CpuSet(cores);
            prop_assert_eq!(&set.to_string().parse::<CpuSet>().unwrap(), &set);
            prop_assert_eq!(CpuSet::from_mask(&set.to_mask()).unwrap(), set);
        }
    }
}
