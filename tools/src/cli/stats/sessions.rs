use std::collections::BTreeMap;
use std::ops::Range;

use seqcast_wire::Session;
use seqcast_wire::mold::{Downstream, Kind};

/// The MoldUDP64 sessions of a capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(BTreeMap<Session, Span>);

/// What was seen of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) datagrams: u64,
    pub(super) heartbeats: u64,
    pub(super) ended: bool,
    /// Messages, each number once.
    pub(super) messages: u64,
    /// Messages with a number seen before: other lines, retransmissions.
    pub(super) duplicates: u64,
    /// The highest number that was said to come next.
    next: u64,
    seen: Coverage,
}

impl Sessions {
    /// Counts a datagram and hands on those of its messages whose numbers are new.
    pub(super) fn on_datagram(&mut self, datagram: &Downstream<'_>, mut on_message: impl FnMut(&[u8])) {
        let span = self.0.entry(datagram.session()).or_default();
        span.datagrams += 1;
        match datagram.kind() {
            Kind::Data(_) => {}
            Kind::Heartbeat => span.heartbeats += 1,
            Kind::EndOfSession => span.ended = true,
        }
        let (first, next) = (datagram.first().value(), datagram.next().value());
        span.next = span.next.max(next);
        let is_new = span.seen.is_new(&(first..next));
        for (seq, message) in (first..next).zip(datagram.messages()) {
            if is_new || !span.seen.contains(seq) {
                span.messages += 1;
                on_message(message);
            } else {
                span.duplicates += 1;
            }
        }
        span.seen.add(first..next);
    }

    pub(super) fn add(&mut self, other: &Sessions) {
        for (session, more) in &other.0 {
            let span = self.0.entry(*session).or_default();
            span.datagrams += more.datagrams;
            span.heartbeats += more.heartbeats;
            span.ended |= more.ended;
            span.messages += more.messages;
            span.duplicates += more.duplicates;
            span.next = span.next.max(more.next);
            for range in &more.seen.0 {
                span.seen.add(range.clone());
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Session, &Span)> {
        self.0.iter()
    }
}

impl Span {
    /// The first number; of a session without messages, the one that comes next.
    pub(super) fn first(&self) -> u64 {
        self.seen.0.first().map_or(self.next, |range| range.start)
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Numbers between the first and the next that no datagram carried. What came before the first is no gap: a
    /// capture may begin anywhere.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Range<u64>> {
        let starts = self.seen.0.iter().skip(1).map(|range| range.start).chain([self.next]);
        let ends = self.seen.0.iter().map(|range| range.end);
        ends.zip(starts).map(|(end, start)| end..start).filter(|gap| !gap.is_empty())
    }
}

/// A set of numbers as ascending ranges that do not touch.
#[derive(Clone, Debug, Default)]
struct Coverage(Vec<Range<u64>>);

impl Coverage {
    fn is_new(&self, range: &Range<u64>) -> bool {
        let after = self.0.partition_point(|other| other.end <= range.start);
        self.0.get(after).is_none_or(|other| other.start >= range.end)
    }

    fn contains(&self, number: u64) -> bool {
        !self.is_new(&(number..number + 1))
    }

    fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|other| other.end < range.start);
        let to = self.0.partition_point(|other| other.start <= range.end);
        if from == to {
            self.0.insert(from, range);
            return;
        }
        let joined = self.0[from].start.min(range.start)..self.0[to - 1].end.max(range.end);
        self.0[from] = joined;
        self.0.drain(from + 1..to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set of numbers.
        #[test]
        fn coverage_is_a_set(ranges in prop::collection::vec((0u64..60, 0u64..8), 0..30)) {
            let (mut coverage, mut plain) = (Coverage::default(), BTreeSet::new());
            for (start, length) in ranges {
                let range = start..start + length;
                let is_new = range.clone().all(|n| !plain.contains(&n));
                prop_assert_eq!(length == 0 || coverage.is_new(&range), length == 0 || is_new);
                coverage.add(range.clone());
                plain.extend(range);
            }
            for n in 0..80 {
                prop_assert_eq!(coverage.contains(n), plain.contains(&n));
            }
            prop_assert!(coverage.0.windows(2).all(|pair| pair[0].end < pair[1].start));
            let span = Span { next: 80, seen: coverage, ..Span::default() };
            let missing: Vec<u64> = span.gaps().flatten().collect();
            let first = plain.first().copied().unwrap_or(80);
            prop_assert_eq!(missing, (first..80).filter(|n| !plain.contains(n)).collect::<Vec<_>>());
        }
    }
}
