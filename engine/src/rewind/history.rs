//! The last messages of a feed, by number, in memory.

use std::ops::Range;

use seqcast_wire::SeqNo;

/// What happens to messages that nobody has acknowledged when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They stay; [`History::try_push`] refuses: back-pressure.
    Keep,
    /// The oldest go.
    Evict,
}

/// A message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The history is full of messages that nobody has acknowledged. Try again after an acknowledgement.
    #[error("the history is full of unacknowledged messages")]
    Unacknowledged,
    /// It could not even be the only message.
    #[error("a message of {bytes} bytes does not fit a history of {capacity} bytes")]
    TooLong {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes that the history holds.
        capacity: usize,
    },
    /// The session has no numbers left.
    #[error("the session has used up its sequence numbers: end it and start another")]
    Numbers,
}

/// Where a message stands: `start` counts bytes since the beginning and is taken modulo the capacity.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    start: u64,
    len: u32,
}

/// A bounded store of consecutive messages. Allocates when made and never again.
#[derive(Debug)]
pub struct History {
    bytes: Box<[u8]>,
    slots: Box<[Slot]>,
    policy: Policy,
    oldest: SeqNo,
    acknowledged: SeqNo,
    next: SeqNo,
    /// Bytes used lie in `head..tail`, modulo the capacity.
    head: u64,
    tail: u64,
}

impl History {
    /// A history of up to `messages` messages and `bytes` bytes (each at least 1), whose first message will have number
    /// `first`.
    pub fn new(bytes: usize, messages: usize, first: SeqNo, policy: Policy) -> History {
        History {
            bytes: vec![0; bytes.max(1)].into_boxed_slice(),
            slots: vec![Slot::default(); messages.max(1)].into_boxed_slice(),
            policy,
            oldest: first,
            acknowledged: first,
            next: first,
            head: 0,
            tail: 0,
        }
    }

    /// Keeps `message` and gives its number. Older messages make room as the policy allows.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn try_push(&mut self, message: &[u8]) -> Result<SeqNo, Full> {
        let (seq, capacity) = (self.next, self.bytes.len() as u64);
        let after = seq.checked_add(1).ok_or(Full::Numbers)?;
        if message.len() as u64 > capacity {
            return Err(Full::TooLong { bytes: message.len(), capacity: self.bytes.len() });
        }
        // A message stands in one piece: what is left before the end of the memory is skipped when too short.
        let at = self.tail % capacity;
        let skip = if at + message.len() as u64 > capacity { capacity - at } else { 0 };
        let start = self.tail + skip;
        let end = start + message.len() as u64;
        self.make_room(start, end)?;
        let at = (start % capacity) as usize;
        self.bytes[at..at + message.len()].copy_from_slice(message);
        let slot = self.slot_of(seq);
        self.slots[slot] = Slot { start, len: message.len() as u32 };
        self.tail = end;
        self.next = after;
        Ok(seq)
    }

    /// Drops the oldest messages until one more, at positions `start..end`, has room; or none of them.
    fn make_room(&mut self, start: u64, end: u64) -> Result<(), Full> {
        let (mut oldest, mut head) = (self.oldest, self.head);
        let droppable = if self.policy == Policy::Evict { self.next } else { self.acknowledged };
        while self.next.since(oldest) >= self.slots.len() as u64 || end - head > self.bytes.len() as u64 {
            if oldest == self.next {
                head = start;
                break;
            }
            if oldest >= droppable {
                return Err(Full::Unacknowledged);
            }
            oldest = oldest.next();
            head = if oldest < self.next { self.slots[self.slot_of(oldest)].start } else { self.tail };
        }
        (self.oldest, self.head) = (oldest, head);
        self.acknowledged = self.acknowledged.max(oldest);
        Ok(())
    }

    fn slot_of(&self, seq: SeqNo) -> usize {
        (seq.value() % self.slots.len() as u64) as usize
    }

    /// Every message below `below` has been acknowledged by those who must: it may make room for new ones, and is kept
    /// until then.
    pub fn acknowledge(&mut self, below: SeqNo) {
        self.acknowledged = self.acknowledged.max(below.min(self.next));
    }

    /// The message with number `seq`; `None` when it is not kept any more or not there yet.
    #[inline]
    pub fn message(&self, seq: SeqNo) -> Option<&[u8]> {
        if !self.range().contains(&seq) {
            return None;
        }
        let slot = self.slots[self.slot_of(seq)];
        let at = (slot.start % self.bytes.len() as u64) as usize;
        self.bytes.get(at..at + slot.len as usize)
    }

    /// The messages from number `first` on; none when `first` is not kept.
    pub fn messages_from(&self, first: SeqNo) -> impl Iterator<Item = (SeqNo, &[u8])> {
        let mut seq = first;
        std::iter::from_fn(move || {
            let item = (seq, self.message(seq)?);
            seq = seq.next();
            Some(item)
        })
    }

    /// The numbers that are kept.
    pub fn range(&self) -> Range<SeqNo> {
        self.oldest..self.next
    }

    /// Number that the next message will get.
    pub fn next(&self) -> SeqNo {
        self.next
    }

    /// Messages that nobody has acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.next.since(self.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    #[test]
    fn refuses_when_full_of_unacknowledged_messages() {
        let mut history = History::new(1_000, 3, SeqNo::FIRST, Policy::Keep);
        for n in 1..=3u8 {
            assert_eq!(history.try_push(&[n]), Ok(seq(n.into())));
        }
        assert_eq!(history.try_push(b"4"), Err(Full::Unacknowledged));
        assert_eq!((history.range(), history.unacknowledged()), (seq(1)..seq(4), 3));
        history.acknowledge(seq(2));
        assert_eq!(
            history.message(seq(1)),
            Some(&[1u8][..]),
            "acknowledged messages stay until room is needed"
        );
        assert_eq!(history.try_push(b"4"), Ok(seq(4)));
        assert_eq!((history.range(), history.message(seq(1))), (seq(2)..seq(5), None));
        assert_eq!(history.try_push(b"5"), Err(Full::Unacknowledged));
    }

    #[test]
    fn refuses_what_never_fits_and_the_last_number() {
        let mut history = History::new(10, 3, SeqNo::FIRST, Policy::Evict);
        assert_eq!(history.try_push(&[0; 11]), Err(Full::TooLong { bytes: 11, capacity: 10 }));
        let mut history = History::new(10, 3, SeqNo::MAX, Policy::Evict);
        assert_eq!(history.try_push(b"x"), Err(Full::Numbers));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_counts_only_what_was() {
        let mut history = History::new(100, 2, SeqNo::FIRST, Policy::Keep);
        history.acknowledge(SeqNo::MAX);
        history.try_push(b"1").unwrap();
        history.try_push(b"2").unwrap();
        assert_eq!(history.try_push(b"3"), Err(Full::Unacknowledged));
    }

    proptest! {
        /// Against a plain queue: what is kept is the newest run, byte for byte, and no bound is broken.
        #[test]
        fn keeps_the_newest_messages(
            capacity in 1usize..200, slots in 1usize..20, evict: bool,
            steps in prop::collection::vec((0usize..60, 0u64..4), 1..200),
        ) {
            let policy = if evict { Policy::Evict } else { Policy::Keep };
            let mut history = History::new(capacity, slots, SeqNo::FIRST, policy);
            let (mut model, mut acknowledged) = (VecDeque::new(), 1u64);
            for (step, (len, acknowledge)) in steps.into_iter().enumerate() {
                let message = vec![step as u8; len];
                match history.try_push(&message) {
                    Ok(number) => {
                        model.push_back((number, message));
                        while model.front().is_some_and(|(n, _)| *n < history.range().start) {
                            let (dropped, _) = model.pop_front().unwrap();
                            prop_assert!(evict || dropped.value() < acknowledged, "unacknowledged {dropped} went");
                        }
                    }
                    Err(Full::TooLong { .. }) => prop_assert!(len > capacity),
                    Err(error) => prop_assert!(!evict, "{error}"),
                }
                prop_assert!(model.len() <= slots);
                prop_assert!(model.iter().map(|(_, m)| m.len()).sum::<usize>() <= capacity);
                let kept: Vec<_> = history.messages_from(history.range().start).collect();
                prop_assert_eq!(kept, model.iter().map(|(n, m)| (*n, &m[..])).collect::<Vec<_>>());
                acknowledged = (acknowledged + acknowledge).min(history.next().value());
                history.acknowledge(seq(acknowledged));
            }
        }

        /// Small messages keep a history of the newest ones; it never shrinks to nothing.
        #[test]
        fn always_has_room_after_eviction(lens in prop::collection::vec(0usize..=64, 1..300)) {
            let mut history = History::new(64, 8, SeqNo::FIRST, Policy::Evict);
            for len in lens {
                let number = history.try_push(&vec![7; len]).unwrap();
                prop_assert_eq!(history.message(number).map(<[u8]>::len), Some(len));
            }
        }
    }
}
