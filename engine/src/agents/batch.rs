//! Messages at hand, copied together, so that the books can look ahead over them.
//!
//! What a ring or a journal lends is lent one message at a time, and the next one's cache misses cannot begin before.
//! A copy of some forty bytes costs a few nanoseconds; looking ahead saves half of what a message costs.

/// Messages of a batch at most: many times what the books look ahead, and few enough to stay in the first-level cache.
const MOST_MESSAGES: usize = 64;
/// A batch that has so many bytes takes no further message.
const FULL_BYTES: usize = 8 << 10;
/// The longest message, with what an agent puts before it.
const LONGEST_BYTES: usize = (64 << 10) + 64;

/// The batch: filled, then emptied from its front. Allocates nothing after its making unless a message is longer than
/// any can be.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
    /// Messages taken out.
    taken: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            bytes: Vec::with_capacity(FULL_BYTES + LONGEST_BYTES),
            ends: Vec::with_capacity(MOST_MESSAGES),
            taken: 0,
        }
    }

    /// Whether every message was taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.ends.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= MOST_MESSAGES || self.bytes.len() >= FULL_BYTES
    }

    /// Makes room for the next batch.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.taken = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    /// The messages not taken out yet.
    #[inline]
    pub(super) fn rest(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (self.taken..self.ends.len()).map(|nth| {
            let start = if nth == 0 { 0 } else { self.ends[nth - 1] };
            &self.bytes[start..self.ends[nth]]
        })
    }

    /// Takes out the first `count` messages of the rest.
    pub(super) fn advance(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.ends.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_taken_out_in_order() {
        let mut batch = Batch::new();
        assert!(batch.is_empty() && batch.rest().next().is_none());
        for message in [&b"one"[..], b"", b"three"] {
            batch.push(message);
        }
        assert!(batch.rest().eq([&b"one"[..], b"", b"three"]));
        batch.advance(2);
        assert!(batch.rest().eq([&b"three"[..]]));
        batch.advance(2);
        assert!(batch.is_empty());
        batch.clear();
        batch.push(b"four");
        assert!(batch.rest().eq([&b"four"[..]]));
    }

    #[test]
    fn nothing_is_allocated_later() {
        let mut batch = Batch::new();
        let before = (batch.bytes.capacity(), batch.ends.capacity());
        for length in [0, 40, 70_000 - 40] {
            batch.clear();
            let message = vec![7; length.min(LONGEST_BYTES)];
            while !batch.is_full() {
                batch.push(&message);
            }
            assert!(batch.rest().all(|bytes| bytes == message));
        }
        assert_eq!((batch.bytes.capacity(), batch.ends.capacity()), before);
    }
}
