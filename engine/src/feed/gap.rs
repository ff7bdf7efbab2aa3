//! The ordered, bounded set of missing ranges.

use std::collections::VecDeque;

use seqcast_wire::SeqNo;

use crate::time::Nanos;

/// Numbers `first..end` that have not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first: SeqNo,
    pub(super) end: SeqNo,
    /// When it was found.
    pub(super) found: Nanos,
    /// Given up; it stays here until delivery reaches it, and may still be filled until then.
    pub(super) lost: bool,
}

/// What became of a hole to be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// A gap of its own.
    New,
    /// Part of the gap before it.
    Extended,
    /// There are as many gaps as may be: the highest one, which ended here, reaches up to the new one now.
    Merged(SeqNo),
}

/// What became of a missing number that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// It was the last one of a gap found then.
    Closed(Nanos),
    /// Others of its gap are still missing.
    Partly,
    /// It would cut a gap in two, and there are as many as may be; nothing has changed.
    Full,
}

/// Gaps in ascending order, disjoint. Allocates when made and never again.
#[derive(Debug)]
pub(super) struct Gaps {
    gaps: VecDeque<Gap>,
    /// Most gaps that the network can open.
    max: usize,
    /// Most gaps in memory: giving up a part of a gap may cut it.
    capacity: usize,
}

impl Gaps {
    /// A set of at most `max` gaps, and `cuts` more by giving up parts of them.
    pub(super) fn new(max: usize, cuts: usize) -> Gaps {
        let capacity = max + cuts;
        Gaps { gaps: VecDeque::with_capacity(capacity), max, capacity }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.gaps.clear();
    }

    /// The highest gap.
    pub(super) fn last(&self) -> Option<&Gap> {
        self.gaps.back()
    }

    /// Gaps that have not been given up, in order.
    pub(super) fn open(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| !gap.lost)
    }

    /// Missing messages that have not been given up.
    pub(super) fn open_messages(&self) -> u64 {
        self.open().map(|gap| gap.end.since(gap.first)).sum()
    }

    /// End of the run of given-up numbers that starts at `first`; `None` when `first` is not given up.
    pub(super) fn lost_run(&self, first: SeqNo) -> Option<SeqNo> {
        let lost = self.gaps.iter().take_while(|gap| gap.lost);
        let end = lost.fold(first, |end, gap| if gap.first == end { gap.end } else { end });
        (end > first).then_some(end)
    }

    /// Notes that `first..end`, all above every gap so far, is missing.
    pub(super) fn open_last(&mut self, first: SeqNo, end: SeqNo, now: Nanos) -> Opened {
        debug_assert!(first < end && self.gaps.back().is_none_or(|last| last.end <= first));
        if let Some(last) = self.gaps.back_mut()
            && last.end == first
            && !last.lost
        {
            last.end = end;
            return Opened::Extended;
        }
        if self.gaps.len() >= self.max
            && let Some(last) = self.gaps.back_mut()
        {
            let before = last.end;
            (last.end, last.lost) = (end, false);
            return Opened::Merged(before);
        }
        self.gaps.push_back(Gap { first, end, found: now, lost: false });
        Opened::New
    }

    /// Notes that `first..end`, all below every gap so far, is missing; `false`, and nothing changed, when there are as
    /// many gaps as may be.
    pub(super) fn try_open_first(&mut self, first: SeqNo, end: SeqNo, now: Nanos) -> bool {
        debug_assert!(first < end && self.gaps.front().is_none_or(|front| front.first >= end));
        let has_room = self.gaps.len() < self.max;
        if has_room {
            self.gaps.push_front(Gap { first, end, found: now, lost: false });
        }
        has_room
    }

    /// Index of the first gap that ends after `seq`.
    fn index_of(&self, seq: SeqNo) -> usize {
        self.gaps.partition_point(|gap| gap.end <= seq)
    }

    /// Whether `seq` is missing.
    pub(super) fn contains(&self, seq: SeqNo) -> bool {
        self.gaps.get(self.index_of(seq)).is_some_and(|gap| gap.first <= seq)
    }

    /// When the lowest gap with one of `first..end` was found.
    pub(super) fn found_within(&self, first: SeqNo, end: SeqNo) -> Option<Nanos> {
        self.gaps.get(self.index_of(first)).filter(|gap| gap.first < end).map(|gap| gap.found)
    }

    /// Notes that `seq`, which is missing, has arrived.
    pub(super) fn fill(&mut self, seq: SeqNo) -> Filled {
        let at = self.index_of(seq);
        let len = self.gaps.len();
        let Some(gap) = self.gaps.get_mut(at).filter(|gap| gap.first <= seq) else { return Filled::Partly };
        let (first, last) = (gap.first == seq, gap.end == seq.next());
        if first && last {
            let found = gap.found;
            self.gaps.remove(at);
            return Filled::Closed(found);
        }
        if first {
            gap.first = seq.next();
        } else if last {
            gap.end = seq;
        } else if len < self.max {
            let upper = Gap { first: seq.next(), ..*gap };
            gap.end = seq;
            self.gaps.insert(at + 1, upper);
        } else {
            return Filled::Full;
        }
        Filled::Partly
    }

    /// Forgets what is missing below `seq`.
    pub(super) fn remove_below(&mut self, seq: SeqNo) {
        while let Some(gap) = self.gaps.front_mut() {
            if gap.end > seq {
                gap.first = gap.first.max(seq);
                return;
            }
            self.gaps.pop_front();
        }
    }

    /// Forgets what is missing from `seq` on.
    pub(super) fn remove_from(&mut self, seq: SeqNo) {
        while let Some(gap) = self.gaps.back_mut() {
            if gap.first < seq {
                gap.end = gap.end.min(seq);
                return;
            }
            self.gaps.pop_back();
        }
    }

    /// The lowest and the highest number, plus one, that are missing and not given up in `first..end`.
    pub(super) fn span_within(&self, first: SeqNo, end: SeqNo) -> Option<(SeqNo, SeqNo)> {
        let inside = self.gaps.range(self.index_of(first)..).take_while(|gap| gap.first < end);
        let mut open = inside.filter(|gap| !gap.lost);
        let lowest = open.next()?;
        let highest = open.last().unwrap_or(lowest);
        Some((lowest.first.max(first), highest.end.min(end)))
    }

    /// Gives up what is missing in `first..end`; `false`, and nothing changed, when that would cut more gaps than there
    /// is room for.
    pub(super) fn give_up(&mut self, first: SeqNo, end: SeqNo) -> bool {
        if self.gaps.len() + 2 > self.capacity {
            return false;
        }
        self.cut_at(first);
        self.cut_at(end);
        let from = self.index_of(first);
        for gap in self.gaps.range_mut(from..).take_while(|gap| gap.first < end) {
            gap.lost = true;
        }
        true
    }

    /// Makes `seq` a boundary between gaps when it lies inside one.
    fn cut_at(&mut self, seq: SeqNo) {
        let at = self.index_of(seq);
        if let Some(gap) = self.gaps.get_mut(at)
            && gap.first < seq
        {
            let upper = Gap { first: seq, ..*gap };
            gap.end = seq;
            self.gaps.insert(at + 1, upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn ranges(gaps: &Gaps) -> Vec<(u64, u64, bool)> {
        gaps.gaps.iter().map(|gap| (gap.first.value(), gap.end.value(), gap.lost)).collect()
    }

    #[test]
    fn a_gap_closes_from_both_ends_and_the_middle() {
        let mut gaps = Gaps::new(4, 4);
        assert_eq!(gaps.open_last(seq(10), seq(15), Nanos(7)), Opened::New);
        assert_eq!(gaps.fill(seq(12)), Filled::Partly);
        assert_eq!(gaps.fill(seq(10)), Filled::Partly);
        assert_eq!(gaps.fill(seq(14)), Filled::Partly);
        assert_eq!(ranges(&gaps), [(11, 12, false), (13, 14, false)]);
        assert_eq!(gaps.fill(seq(11)), Filled::Closed(Nanos(7)));
        assert_eq!(gaps.fill(seq(13)), Filled::Closed(Nanos(7)));
        assert!(gaps.is_empty());
    }

    #[test]
    fn adjacent_holes_are_one_gap_even_when_full() {
        let mut gaps = Gaps::new(1, 2);
        assert_eq!(gaps.open_last(seq(2), seq(3), Nanos(1)), Opened::New);
        assert_eq!(gaps.open_last(seq(3), seq(9), Nanos(2)), Opened::Extended);
        assert_eq!(gaps.fill(seq(5)), Filled::Full);
        assert_eq!(ranges(&gaps), [(2, 9, false)]);
        assert!(!gaps.try_open_first(seq(1), seq(2), Nanos(3)));
        assert_eq!(gaps.open_last(seq(12), seq(13), Nanos(3)), Opened::Merged(seq(9)));
        assert_eq!(ranges(&gaps), [(2, 13, false)]);
    }

    #[test]
    fn runs_of_lost_numbers_are_one() {
        let mut gaps = Gaps::new(4, 8);
        gaps.open_last(seq(1), seq(30), Nanos(1));
        assert!(gaps.give_up(seq(5), seq(10)) && gaps.give_up(seq(10), seq(20)));
        assert_eq!(gaps.lost_run(seq(1)), None);
        assert_eq!(gaps.span_within(seq(5), seq(20)), None);
        assert_eq!(gaps.span_within(seq(1), seq(25)), Some((seq(1), seq(25))));
        gaps.remove_below(seq(5));
        assert_eq!(gaps.lost_run(seq(5)), Some(seq(20)));
        assert_eq!(gaps.open_messages(), 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open(u64, u64),
        Fill(u64),
        GiveUp(u64, u64),
        RemoveBelow(u64),
        RemoveFrom(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u64..4, 1u64..8).prop_map(|(skip, len)| Step::Open(skip, len)),
            6 => (0u64..120).prop_map(Step::Fill),
            2 => (1u64..120, 1u64..20).prop_map(|(first, len)| Step::GiveUp(first, len)),
            1 => (1u64..120).prop_map(Step::RemoveBelow),
            1 => (1u64..120).prop_map(Step::RemoveFrom),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        /// Against a map of single numbers: same content after every step, ordered, disjoint, within bounds.
        #[test]
        fn is_a_set_of_numbers(steps in steps(), max in 1usize..12) {
            let (mut gaps, mut model, mut top) = (Gaps::new(max, 6), BTreeMap::new(), 1u64);
            let allocated = gaps.gaps.capacity();
            for step in steps {
                match step {
                    Step::Open(skip, len) => {
                        let (first, end) = (top + skip, top + skip + len);
                        let from = match gaps.open_last(seq(first), seq(end), Nanos(0)) {
                            Opened::New | Opened::Extended => first,
                            Opened::Merged(before) => {
                                let lowest = ranges(&gaps).last().unwrap().0;
                                prop_assert!((lowest..before.value()).all(|n| model.contains_key(&n)));
                                lowest
                            }
                        };
                        model.extend((from..end).map(|n| (n, false)));
                        top = end;
                    }
                    Step::Fill(pick) => {
                        let Some((&n, _)) = model.iter().nth(pick as usize % model.len().max(1)) else { continue };
                        prop_assert!(gaps.contains(seq(n)));
                        if gaps.fill(seq(n)) != Filled::Full {
                            model.remove(&n);
                        }
                    }
                    Step::GiveUp(first, len) => {
                        if gaps.give_up(seq(first), seq(first + len)) {
                            model.range_mut(first..first + len).for_each(|(_, lost)| *lost = true);
                        }
                    }
                    Step::RemoveBelow(n) => {
                        gaps.remove_below(seq(n));
                        model.retain(|&m, _| m >= n);
                    }
                    Step::RemoveFrom(n) => {
                        gaps.remove_from(seq(n));
                        model.retain(|&m, _| m < n);
                    }
                }
                let listed: BTreeMap<u64, bool> =
                    ranges(&gaps).into_iter().flat_map(|(f, e, lost)| (f..e).map(move |n| (n, lost))).collect();
                prop_assert_eq!(&listed, &model);
                prop_assert!(gaps.gaps.iter().zip(gaps.gaps.iter().skip(1)).all(|(a, b)| a.end <= b.first));
                prop_assert!(gaps.gaps.iter().all(|gap| gap.first < gap.end));
                prop_assert!(gaps.gaps.len() <= gaps.capacity && gaps.gaps.capacity() == allocated);
                prop_assert_eq!(gaps.open_messages(), model.values().filter(|&&lost| !lost).count() as u64);
            }
        }
    }
}
