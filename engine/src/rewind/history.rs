//! The last messages of a feed, by number, in memory.

use std::ops::Range;

use seqcast_wire::SeqNo;
use seqcast_wire::mold::{BLOCK_HEADER_BYTES, MAX_COUNT};

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
    #[error("a message of {bytes} bytes does not fit a history that takes {longest} at most")]
    TooLong {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes of the longest message that the history takes.
        longest: usize,
    },
    /// The session has no numbers left.
    #[error("the session has used up its sequence numbers: end it and start another")]
    Numbers,
}

/// A bounded store of consecutive messages. Allocates when made and never again.
///
/// They stand as they stand in a datagram, each behind its length, so that a datagram's worth of them is one piece of
/// memory.
#[derive(Debug)]
pub struct History {
    bytes: Box<[u8]>,
    /// Where the block of each message starts, by its number: bytes since the beginning, taken modulo the capacity. A power
    /// of two of them.
    starts: Box<[u64]>,
    /// Most messages kept.
    messages: u64,
    policy: Policy,
    oldest: SeqNo,
    acknowledged: SeqNo,
    next: SeqNo,
    /// Bytes used lie in `head..tail`, modulo the capacity.
    head: u64,
    tail: u64,
    /// Where in `bytes` the tail is.
    tail_at: usize,
}

impl History {
    /// A history of up to `messages` messages and `bytes` bytes, of which each message takes two more than it has, and
    /// whose first message will have number `first`. It holds one message and its length at least.
    pub fn new(bytes: usize, messages: usize, first: SeqNo, policy: Policy) -> History {
        let messages = messages.max(1);
        History {
            bytes: vec![0; bytes.max(BLOCK_HEADER_BYTES + 1)].into_boxed_slice(),
            starts: vec![0; messages.next_power_of_two()].into_boxed_slice(),
            messages: messages as u64,
            policy,
            oldest: first,
            acknowledged: first,
            next: first,
            head: 0,
            tail: 0,
            tail_at: 0,
        }
    }

    /// Keeps `message` and gives its number. Older messages make room as the policy allows.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    #[inline]
    pub fn try_push(&mut self, message: &[u8]) -> Result<SeqNo, Full> {
        let (seq, capacity) = (self.next, self.bytes.len());
        let after = seq.checked_add(1).ok_or(Full::Numbers)?;
        let longest = (capacity - BLOCK_HEADER_BYTES).min(u16::MAX.into());
        if message.len() > longest {
            return Err(Full::TooLong { bytes: message.len(), longest });
        }
        // A block stands in one piece: what is left before the end of the memory is skipped when too short.
        let len = BLOCK_HEADER_BYTES + message.len();
        let fits = self.tail_at + len <= capacity;
        let (start, at) =
            if fits { (self.tail, self.tail_at) } else { (self.tail + (capacity - self.tail_at) as u64, 0) };
        self.make_room(start, start + len as u64)?;
        let (head, body) = self.bytes[at..at + len].split_at_mut(BLOCK_HEADER_BYTES);
        head.copy_from_slice(&(message.len() as u16).to_be_bytes());
        body.copy_from_slice(message);
        let slot = self.slot_of(seq);
        self.starts[slot] = start;
        self.tail = start + len as u64;
        self.tail_at = at + len;
        self.next = after;
        Ok(seq)
    }

    /// Drops the oldest messages until one more, at positions `start..end`, has room; or none of them.
    #[inline]
    fn make_room(&mut self, start: u64, end: u64) -> Result<(), Full> {
        let (mut oldest, mut head) = (self.oldest, self.head);
        let droppable = if self.policy == Policy::Evict { self.next } else { self.acknowledged };
        while self.next.since(oldest) >= self.messages || end - head > self.bytes.len() as u64 {
            if oldest == self.next {
                head = start;
                break;
            }
            if oldest >= droppable {
                return Err(Full::Unacknowledged);
            }
            oldest = oldest.next();
            head = if oldest < self.next { self.starts[self.slot_of(oldest)] } else { self.tail };
        }
        (self.oldest, self.head) = (oldest, head);
        self.acknowledged = self.acknowledged.max(oldest);
        Ok(())
    }

    #[inline]
    fn slot_of(&self, seq: SeqNo) -> usize {
        seq.value() as usize & (self.starts.len() - 1)
    }

    #[inline]
    fn start_of(&self, seq: SeqNo) -> u64 {
        self.starts[self.slot_of(seq)]
    }

    /// Bytes of the block that stands at `at`.
    #[inline]
    fn block_bytes(&self, at: usize) -> usize {
        let length = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK_HEADER_BYTES>());
        BLOCK_HEADER_BYTES + length.map_or(0, |length| u16::from_be_bytes(*length).into())
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
        let at = (self.start_of(seq) % self.bytes.len() as u64) as usize;
        self.bytes.get(at + BLOCK_HEADER_BYTES..at + self.block_bytes(at))
    }

    /// The messages from number `first` to `end` at most, as many as fit `room` bytes in one piece: their blocks as they
    /// stand in a datagram, and their number. None when `first` is not kept or does not fit.
    pub fn run(&self, first: SeqNo, end: SeqNo, room: usize) -> Option<(&[u8], u16)> {
        let end = end.min(self.next);
        if first < self.oldest || first >= end {
            return None;
        }
        let from = self.start_of(first);
        let at = (from % self.bytes.len() as u64) as usize;
        let limit = room.min(self.bytes.len() - at);
        // How far behind `from` the block starts of the message that comes `nth` after the first.
        let offset = |nth: u64| (self.start_of(first.saturating_add(nth)) - from) as usize;
        let most = end.since(first).min((limit / BLOCK_HEADER_BYTES) as u64).min(MAX_COUNT.into());
        // Of those that start before the limit, all but the last end before it as well.
        let mut count = partition_point(most, |nth| offset(nth) < limit);
        let mut len = 0;
        while count > 0 {
            let last = offset(count - 1);
            len = last + self.block_bytes(at + last);
            if len <= limit {
                break;
            }
            count -= 1;
        }
        (count > 0).then(|| (&self.bytes[at..at + len], count as u16))
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

/// How many of `0..count` are `true`, which all are that come before one that is.
fn partition_point(count: u64, is_before: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
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
        assert_eq!(history.try_push(&[0; 9]), Err(Full::TooLong { bytes: 9, longest: 8 }));
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
            capacity in 3usize..200, slots in 1usize..20, evict: bool,
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
                    Err(Full::TooLong { .. }) => prop_assert!(len + BLOCK_HEADER_BYTES > capacity),
                    Err(error) => prop_assert!(!evict, "{error}"),
                }
                prop_assert!(model.len() <= slots);
                let taken = |message: &Vec<u8>| BLOCK_HEADER_BYTES + message.len();
                prop_assert!(model.iter().map(|(_, m)| taken(m)).sum::<usize>() <= capacity);
                let kept: Vec<_> = history.messages_from(history.range().start).collect();
                prop_assert_eq!(kept, model.iter().map(|(n, m)| (*n, &m[..])).collect::<Vec<_>>());
                acknowledged = (acknowledged + acknowledge).min(history.next().value());
                history.acknowledge(seq(acknowledged));
            }
        }

        /// What is sent of it in pieces is what packing one message after the other sends.
        #[test]
        fn a_run_is_as_many_whole_blocks_as_fit(
            capacity in 3usize..300, lens in prop::collection::vec(0usize..40, 1..100), room in 0usize..120, most in 1u64..9,
        ) {
            let mut history = History::new(capacity, 50, SeqNo::FIRST, Policy::Evict);
            for (nth, len) in lens.into_iter().enumerate() {
                let _ = history.try_push(&vec![nth as u8; len]);
            }
            let kept = history.range();
            for first in kept.start.value()..kept.end.value() {
                let end = seq(first + most).min(kept.end);
                let mut expected = Vec::new();
                let mut count = 0;
                for (_, message) in history.messages_from(seq(first)).take_while(|(number, _)| *number < end) {
                    let block = [&(message.len() as u16).to_be_bytes()[..], message].concat();
                    if expected.len() + block.len() > room {
                        break;
                    }
                    expected.extend(block);
                    count += 1;
                }
                let (mut at, mut got) = (seq(first), Vec::new());
                while let Some((blocks, run)) = history.run(at, end, room - got.len()) {
                    got.extend_from_slice(blocks);
                    at = at.saturating_add(run.into());
                }
                prop_assert_eq!((at.since(seq(first)), got), (count, expected));
            }
            prop_assert_eq!(history.run(kept.end, SeqNo::MAX, room), None);
            if let Some(before) = kept.start.value().checked_sub(1).and_then(SeqNo::new) {
                prop_assert_eq!(history.run(before, SeqNo::MAX, room), None);
            }
        }

        /// Small messages keep a history of the newest ones; it never shrinks to nothing.
        #[test]
        fn always_has_room_after_eviction(lens in prop::collection::vec(0usize..=64, 1..300)) {
            let mut history = History::new(66, 8, SeqNo::FIRST, Policy::Evict);
            for len in lens {
                let number = history.try_push(&vec![7; len]).unwrap();
                prop_assert_eq!(history.message(number).map(<[u8]>::len), Some(len));
            }
        }
    }
}
