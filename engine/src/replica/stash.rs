//! The bounded store of datagrams that came before their turn.

use std::collections::VecDeque;

use seqcast_wire::repl::Position;

#[derive(Clone, Copy, Debug)]
struct Entry {
    from: Position,
    len: usize,
    slot: usize,
}

/// Frames by where they begin, one datagram's in each slot of memory. When it is full the ones farthest ahead go: they
/// are needed last. Allocates when made and never again.
#[derive(Clone, Debug)]
pub(super) struct Stash {
    memory: Box<[u8]>,
    slot_bytes: usize,
    /// Slots in no entry.
    free: Vec<usize>,
    /// By rising position.
    entries: VecDeque<Entry>,
}

impl Stash {
    pub(super) fn new(datagrams: usize, slot_bytes: usize) -> Stash {
        Stash {
            memory: vec![0; datagrams * slot_bytes].into_boxed_slice(),
            slot_bytes,
            free: (0..datagrams).collect(),
            entries: VecDeque::with_capacity(datagrams),
        }
    }

    /// Keeps the frames of a datagram; `false` when there is no place for them.
    pub(super) fn insert(&mut self, from: Position, frames: &[u8]) -> bool {
        if frames.len() > self.slot_bytes {
            return false;
        }
        let at = match self.entries.binary_search_by_key(&from.at, |entry| entry.from.at) {
            Ok(at) if self.entries[at].len >= frames.len() => return true,
            Ok(at) => {
                let Entry { slot, .. } = self.entries[at];
                self.entries[at] = self.write(from, frames, slot);
                return true;
            }
            Err(at) => at,
        };
        if self.free.is_empty()
            && at < self.entries.len()
            && let Some(last) = self.entries.pop_back()
        {
            self.free.push(last.slot);
        }
        let Some(slot) = self.free.pop() else { return false };
        let entry = self.write(from, frames, slot);
        self.entries.insert(at, entry);
        true
    }

    fn write(&mut self, from: Position, frames: &[u8], slot: usize) -> Entry {
        let start = slot * self.slot_bytes;
        self.memory[start..start + frames.len()].copy_from_slice(frames);
        Entry { from, len: frames.len(), slot }
    }

    /// The frames that begin first.
    pub(super) fn first(&self) -> Option<(Position, &[u8])> {
        let entry = self.entries.front()?;
        let start = entry.slot * self.slot_bytes;
        Some((entry.from, &self.memory[start..start + entry.len]))
    }

    pub(super) fn remove_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.free.push(entry.slot);
        }
    }

    pub(super) fn clear(&mut self) {
        while !self.entries.is_empty() {
            self.remove_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use seqcast_wire::SeqNo;
    use seqcast_wire::repl::Reach;

    use super::*;

    fn at(next: u64) -> Position {
        Position { at: Reach::to(SeqNo::new(next).unwrap()), epoch: 1, crc: next as u32 }
    }

    #[test]
    fn the_longer_datagram_of_two_from_one_point_stays() {
        let mut stash = Stash::new(2, 16);
        assert!(
            stash.insert(at(5), &[1; 8]) && stash.insert(at(5), &[2; 16]) && stash.insert(at(5), &[3; 8])
        );
        assert_eq!(stash.first(), Some((at(5), &[2; 16][..])));
        assert!(!stash.insert(at(4), &[0; 17]), "larger than a slot");
        stash.remove_first();
        assert_eq!(stash.first(), None);
    }

    proptest! {
        /// Against a map that drops its last entry when it is full.
        #[test]
        fn keeps_what_is_needed_first(steps in prop::collection::vec((1u64..40, 1usize..9, any::<bool>()), 0..200)) {
            let mut stash = Stash::new(5, 64);
            let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            let capacity = (stash.entries.capacity(), stash.free.capacity());
            for (nth, (next, words, remove)) in steps.into_iter().enumerate() {
                let frames = vec![nth as u8; words * 8];
                let is_kept = model.len() < 5 || next <= *model.last_key_value().unwrap().0;
                prop_assert_eq!(stash.insert(at(next), &frames), is_kept);
                if model.get(&next).is_none_or(|kept| kept.len() < frames.len()) {
                    model.insert(next, frames);
                }
                if model.len() > 5 {
                    model.pop_last();
                }
                if remove {
                    stash.remove_first();
                    model.pop_first();
                }
                let first = model.first_key_value().map(|(&next, frames)| (at(next), &frames[..]));
                prop_assert_eq!(stash.first(), first);
            }
            stash.clear();
            prop_assert_eq!((stash.first(), stash.free.len()), (None, 5));
            prop_assert_eq!((stash.entries.capacity(), stash.free.capacity()), capacity);
        }
    }
}
