//! The bounded store of messages that came before their turn.

use std::collections::VecDeque;

use seqcast_wire::SeqNo;

/// Where a message stands; `start` counts bytes since the beginning and is taken modulo the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// 0: none.
    seq: u64,
    start: u64,
    len: u32,
}

const EMPTY: Slot = Slot { seq: 0, start: 0, len: 0 };

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its number lies too far ahead.
    TooFar,
    /// There is no memory left.
    Full,
}

/// Messages by number. Each is copied in once and lent out from there; space is used in the order of arrival and comes
/// free when everything that arrived before is gone, which in a feed is nearly the order of numbers. Allocates when made
/// and never again.
#[derive(Debug)]
pub(super) struct Stash {
    bytes: Box<[u8]>,
    /// A message with number `n` stands at `n & mask`: numbers in use span fewer than `mask + 1`.
    slots: Box<[Slot]>,
    mask: u64,
    /// Slots in the order of arrival, those of messages that are gone included until they are the oldest.
    arrivals: VecDeque<Slot>,
    /// Messages in it.
    len: usize,
    tail: u64,
    /// A message was refused for want of memory, and nothing has left since.
    starved: bool,
}

impl Stash {
    /// A stash of `bytes` bytes and at least `messages` messages.
    pub(super) fn new(bytes: usize, messages: usize) -> Stash {
        let slots = messages.next_power_of_two();
        Stash {
            bytes: vec![0; bytes].into_boxed_slice(),
            slots: vec![EMPTY; slots].into_boxed_slice(),
            mask: slots as u64 - 1,
            arrivals: VecDeque::with_capacity(slots),
            len: 0,
            tail: 0,
            starved: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How far numbers may lie ahead of the next one.
    pub(super) fn span(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether a message was refused for want of memory and nothing has left since.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    fn slot(&self, seq: SeqNo) -> &Slot {
        &self.slots[(seq.value() & self.mask) as usize]
    }

    /// Keeps a message that is not in yet. `base` is the lowest number that may be in. A quarter of the memory is kept
    /// back for messages that are not `eager`, so that what fills old gaps always finds room beside what is new.
    pub(super) fn try_insert(
        &mut self,
        base: SeqNo,
        seq: SeqNo,
        message: &[u8],
        eager: bool,
    ) -> Result<(), Refused> {
        debug_assert!(base <= seq && self.slot(seq).seq != seq.value());
        if seq.since(base) >= self.span() {
            return Err(Refused::TooFar);
        }
        let (bytes, slots) = (self.bytes.len(), self.slots.len());
        let (max_bytes, max_slots) =
            if eager { (bytes - bytes / 4, slots - slots / 4) } else { (bytes, slots) };
        let Some(start) = self.place(message.len(), max_bytes, max_slots) else {
            self.starved |= !eager;
            return Err(Refused::Full);
        };
        let at = (start % bytes as u64) as usize;
        self.bytes[at..at + message.len()].copy_from_slice(message);
        let slot = Slot { seq: seq.value(), start, len: message.len() as u32 };
        self.slots[(seq.value() & self.mask) as usize] = slot;
        self.arrivals.push_back(slot);
        self.tail = start + message.len() as u64;
        self.len += 1;
        Ok(())
    }

    /// Position for a message of `len` bytes within these bounds.
    fn place(&self, len: usize, max_bytes: usize, max_slots: usize) -> Option<u64> {
        let (bytes, len) = (self.bytes.len() as u64, len as u64);
        let head = self.arrivals.front().map(|oldest| oldest.start);
        // A message stands in one piece: what is left before the end of the memory is skipped when too short.
        let start = match self.tail % bytes {
            _ if head.is_none() => 0,
            at if at + len > bytes => self.tail + (bytes - at),
            _ => self.tail,
        };
        let fits = start + len - head.unwrap_or(0) <= max_bytes as u64 && self.arrivals.len() < max_slots;
        fits.then_some(start)
    }

    /// Whether there is memory for a message of `len` bytes.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.place(len, self.bytes.len(), self.slots.len()).is_some()
    }

    /// The message with number `seq`.
    pub(super) fn message(&self, seq: SeqNo) -> Option<&[u8]> {
        let slot = *self.slot(seq);
        if slot.seq != seq.value() {
            return None;
        }
        let at = (slot.start % self.bytes.len() as u64) as usize;
        self.bytes.get(at..at + slot.len as usize)
    }

    /// Drops the message with number `seq`; whether there was one.
    pub(super) fn remove(&mut self, seq: SeqNo) -> bool {
        let index = (seq.value() & self.mask) as usize;
        if self.slots[index].seq != seq.value() {
            return false;
        }
        self.slots[index] = EMPTY;
        self.len -= 1;
        self.starved = false;
        while let Some(oldest) = self.arrivals.front() {
            if self.slots[(oldest.seq & self.mask) as usize] == *oldest {
                break;
            }
            self.arrivals.pop_front();
        }
        true
    }

    /// Drops the messages with numbers in `first..end`, `first` being the lowest number that may be in or above; gives
    /// how many there were.
    pub(super) fn remove_range(&mut self, first: SeqNo, end: SeqNo) -> u64 {
        let (mut seq, mut removed) = (first, 0);
        let span = end.since(first).min(self.span());
        for _ in 0..span {
            if self.is_empty() {
                break;
            }
            removed += u64::from(self.remove(seq));
            seq = seq.next();
        }
        removed
    }

    /// Number of the message that has been in for longest.
    pub(super) fn oldest(&self) -> Option<SeqNo> {
        self.arrivals.front().and_then(|slot| SeqNo::new(slot.seq))
    }

    pub(super) fn clear(&mut self) {
        while let Some(slot) = self.arrivals.pop_front() {
            self.slots[(slot.seq & self.mask) as usize] = EMPTY;
        }
        self.len = 0;
        self.tail = 0;
        self.starved = false;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    use proptest::prelude::*;

    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    #[test]
    fn keeps_a_quarter_back_from_the_eager() {
        let mut stash = Stash::new(100, 64);
        assert_eq!(stash.try_insert(SeqNo::FIRST, seq(2), &[1; 75], true), Ok(()));
        assert_eq!(stash.try_insert(SeqNo::FIRST, seq(3), &[2; 1], true), Err(Refused::Full));
        assert!(!stash.is_starved(), "only what is kept back for others is used up");
        assert_eq!(stash.try_insert(SeqNo::FIRST, seq(3), &[2; 25], false), Ok(()));
        assert_eq!(stash.try_insert(SeqNo::FIRST, seq(4), &[3; 1], false), Err(Refused::Full));
        assert!(stash.is_starved());
        assert!(stash.remove(seq(2)) && !stash.is_starved());
        assert_eq!(stash.message(seq(3)), Some(&[2; 25][..]));
    }

    #[test]
    fn a_cleared_stash_is_as_good_as_new() {
        let mut stash = Stash::new(100, 4);
        for n in [1, 3, 4, 2] {
            assert_eq!(stash.try_insert(SeqNo::FIRST, seq(n), &[n as u8; 20], false), Ok(()));
        }
        stash.remove(seq(3));
        stash.clear();
        assert!(stash.is_empty() && stash.oldest().is_none() && stash.has_room(100));
        assert!((1..10).all(|n| stash.message(seq(n)).is_none()));
        assert_eq!(stash.try_insert(SeqNo::FIRST, seq(3), &[9; 100], false), Ok(()));
    }

    #[test]
    fn refuses_what_lies_too_far_ahead() {
        let mut stash = Stash::new(100, 5);
        assert_eq!(stash.span(), 8);
        assert_eq!(stash.try_insert(seq(10), seq(18), b"x", false), Err(Refused::TooFar));
        assert_eq!(stash.try_insert(seq(10), seq(17), b"x", false), Ok(()));
        assert_eq!(stash.message(seq(9)), None, "another number of the same slot");
    }

    #[test]
    fn an_empty_stash_takes_a_message_of_its_whole_size() {
        let mut stash = Stash::new(100, 4);
        for n in 1..20 {
            assert_eq!(stash.try_insert(seq(n), seq(n), &[n as u8; 33], false), Ok(()));
            assert!(stash.remove(seq(n)));
            assert_eq!(stash.try_insert(seq(n), seq(n), &[n as u8; 100], false), Ok(()));
            assert_eq!(stash.message(seq(n)), Some(&[n as u8; 100][..]));
            assert!(stash.remove(seq(n)));
        }
    }

    proptest! {
        /// Against a map: what was taken is there unchanged until removed, and whatever the order, once all is removed
        /// there is room again.
        #[test]
        fn is_a_map_of_messages(
            steps in prop::collection::vec((0u64..24, 0usize..40, any::<bool>(), any::<bool>()), 0..300),
        ) {
            let (mut stash, mut model, mut base) = (Stash::new(200, 16), BTreeMap::new(), 1u64);
            let allocated = stash.arrivals.capacity();
            for (index, (ahead, len, eager, advance)) in steps.into_iter().enumerate() {
                let n = base + ahead;
                let is_alone = model.is_empty();
                if let Entry::Vacant(entry) = model.entry(n) {
                    let message = vec![index as u8; len];
                    match stash.try_insert(seq(base), seq(n), &message, eager) {
                        Ok(()) => drop(entry.insert(message)),
                        Err(Refused::TooFar) => prop_assert!(ahead >= 16),
                        Err(Refused::Full) => prop_assert!(!is_alone),
                    }
                }
                if advance {
                    prop_assert_eq!(stash.remove(seq(base)), model.remove(&base).is_some());
                    base += 1;
                }
                for n in base..base + 24 {
                    prop_assert_eq!(stash.message(seq(n)), model.get(&n).map(|m| &m[..]));
                }
            }
            prop_assert_eq!(stash.arrivals.capacity(), allocated);
            let removed = stash.remove_range(seq(base), seq(base + 16));
            prop_assert_eq!(removed, model.len() as u64);
            prop_assert!(stash.is_empty() && stash.oldest().is_none());
            prop_assert_eq!(stash.try_insert(seq(base), seq(base), &[1; 200], false), Ok(()));
        }
    }
}
