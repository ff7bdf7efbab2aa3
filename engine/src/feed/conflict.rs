//! Finds copies of one number that differ.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use seqcast_wire::SeqNo;

/// 32-bit hashes of the last messages by number: enough to find a publisher that says two things, or a forger, with one
/// miss in four thousand million. It is no defence against somebody who computes collisions; that takes signatures.
#[derive(Debug)]
pub(super) struct Hashes {
    /// Upper half: the number's bits above the index, so that an older number is not taken for this one. Lower half: hash.
    slots: Box<[u64]>,
    index_bits: u32,
}

impl Hashes {
    /// Room for the last `window` messages, rounded up to a power of two; none for 0.
    pub(super) fn new(window: usize) -> Hashes {
        let slots = if window == 0 { 0 } else { window.next_power_of_two() };
        Hashes { slots: vec![0; slots].into_boxed_slice(), index_bits: slots.max(1).trailing_zeros() }
    }

    /// Whether anything is remembered at all.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        !self.slots.is_empty()
    }

    #[inline]
    fn entry(&self, seq: SeqNo, message: &[u8]) -> (usize, u64) {
        let mut hasher = FxHasher::default();
        hasher.write(message);
        let hash = hasher.finish() >> 32;
        // One is added so that no number's tag is that of an empty slot.
        let tag = ((seq.value() >> self.index_bits) + 1) << 32;
        ((seq.value() & (self.slots.len() as u64 - 1)) as usize, tag | hash)
    }

    /// Remembers the copy that was taken.
    #[inline]
    pub(super) fn record(&mut self, seq: SeqNo, message: &[u8]) {
        if self.is_on() {
            let (index, entry) = self.entry(seq, message);
            self.slots[index] = entry;
        }
    }

    /// Whether the copy that was taken is remembered and differs from this one.
    pub(super) fn differs(&self, seq: SeqNo, message: &[u8]) -> bool {
        if !self.is_on() {
            return false;
        }
        let (index, entry) = self.entry(seq, message);
        self.slots[index] >> 32 == entry >> 32 && self.slots[index] != entry
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_other_bytes_from_the_same_and_from_what_is_forgotten() {
        let mut hashes = Hashes::new(100);
        for n in 1..=128u64 {
            hashes.record(SeqNo::new(n).unwrap(), &n.to_be_bytes());
        }
        for n in 1..=128u64 {
            let seq = SeqNo::new(n).unwrap();
            assert!(!hashes.differs(seq, &n.to_be_bytes()));
            assert!(hashes.differs(seq, &(n + 1).to_be_bytes()));
            assert!(hashes.differs(seq, b""));
        }
        hashes.record(SeqNo::new(129).unwrap(), b"x");
        assert!(!hashes.differs(SeqNo::FIRST, b"other"), "forgotten");
        assert!(!hashes.differs(SeqNo::new(257).unwrap(), b"other"), "never seen");
        hashes.clear();
        assert!(!hashes.differs(SeqNo::new(100).unwrap(), b"other"));
    }

    #[test]
    fn a_window_of_zero_remembers_nothing() {
        let mut hashes = Hashes::new(0);
        hashes.record(SeqNo::FIRST, b"a");
        assert!(!hashes.is_on() && !hashes.differs(SeqNo::FIRST, b"b"));
    }
}
