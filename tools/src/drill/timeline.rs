//! What came of what the drill did: when it was noticed, who took over, and how long publishers and subscribers saw nothing.

use seqcast_engine::agents::status::{NoteReport, What};
use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;
use serde::Serialize;

use super::record::{JournalCopy, Remains, arrivals, commits, dues};
use super::stage::Mark;

/// So long after all subscribers have heard of the new epoch a silence still counts as the takeover's.
const SETTLING_NS: u64 = 50_000_000;

/// Something that the drill did, and what came of it. Times are ns since then; negative before it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Act {
    pub(crate) what: String,
    /// Whether it is a fault; else it mends one.
    pub(crate) fault: bool,
    /// When, in ns since 1970.
    pub(crate) at_ns: u64,
    /// What the nodes noted, and what else the drill did, until the next fault; none of what is no fault.
    pub(crate) events: Vec<TimedEvent>,
    pub(crate) phases: Phases,
    pub(crate) subscribers: Vec<Outage>,
    pub(crate) publishers: Vec<Outage>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TimedEvent {
    pub(crate) after_ns: i64,
    /// The node; none when it was the drill.
    pub(crate) node: Option<String>,
    pub(crate) what: String,
}

/// Where the time of a takeover went, in ns; none for what did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Phases {
    /// From the fault to the first suspicion.
    pub(crate) detection_ns: Option<u64>,
    /// From there to the swapped record.
    pub(crate) swap_ns: Option<u64>,
    /// From there until all that was inherited is committed again.
    pub(crate) catch_up_ns: Option<u64>,
    /// From there to the first event of the new epoch at a subscriber.
    pub(crate) first_event_ns: Option<u64>,
    /// From the fault to the first event of a new epoch at a subscriber.
    pub(crate) total_ns: Option<u64>,
}

/// How somebody saw an act: the longest time without news that ended after it and before the next fault, and began
/// before the next act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outage {
    pub(crate) who: String,
    pub(crate) outage_ns: u64,
    /// Last news before.
    pub(crate) last_before_ns: i64,
    /// First news after.
    pub(crate) first_after_ns: i64,
    /// First event of a new epoch.
    pub(crate) new_epoch_ns: Option<i64>,
}

/// A message's way: when it was seen, and how long after it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) at_ns: u64,
    pub(crate) latency_ns: u64,
}

/// How long messages took, from due to seen.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latencies {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// What can be said of a drill's times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    pub(crate) acts: Vec<Act>,
    /// Of each subscriber.
    pub(crate) passages: Vec<Vec<Passage>>,
    /// Before the first fault, all subscribers.
    pub(crate) calm: Latencies,
    /// The longest time without news that any subscriber saw before the first fault.
    pub(crate) calm_gap_ns: u64,
}

/// News of one kind: what came, and when.
struct News {
    who: String,
    /// Number and time.
    points: Vec<(u64, u64)>,
}

impl Timeline {
    /// Of what was left, what was done (`marks`) and what each node noted (`notes`, in the order of the journals).
    pub(crate) fn new(
        remains: &Remains,
        marks: &[Mark],
        notes: &[Vec<NoteReport>],
        names: &[String],
    ) -> Timeline {
        let Some(reference) = remains.reference() else { return Timeline::default() };
        let passages: Vec<_> =
            remains.subscribers.iter().map(|who| passages(remains, reference, &who.records)).collect();
        let subscribers: Vec<News> = remains
            .subscribers
            .iter()
            .map(|who| News { who: who.name.clone(), points: arrivals(&who.records) })
            .collect();
        let publishers: Vec<News> = remains
            .publishers
            .iter()
            .map(|who| News { who: who.witness.name.clone(), points: commits(&who.witness.records) })
            .collect();
        let first = marks.iter().find(|mark| mark.fault).map_or(u64::MAX, |mark| mark.at_ns);
        let calm_gaps = subscribers.iter().filter_map(|news| longest_gap(&news.points, |_, to| to < first));
        let calm_gap_ns = calm_gaps.map(|(from, to)| to - from).max().unwrap_or(0);
        let acts = marks.iter().enumerate().map(|(at, mark)| {
            let span = Span::of(mark, &marks[at + 1..]);
            let new_epoch = new_epoch(reference, span).filter(|_| mark.fault);
            let span = span.settling(new_epoch.and_then(|seq| all_had(&subscribers, seq)));
            let outages = |news: &[News], new_epoch: Option<u64>| -> Vec<Outage> {
                news.iter().filter_map(|news| outage(news, span, new_epoch)).collect()
            };
            let seen = outages(&subscribers, new_epoch);
            let publishers = outages(&publishers, None);
            let (events, phases) = match mark.fault {
                true => (events(marks, notes, names, span), phases(notes, span, &seen)),
                false => (Vec::new(), Phases::default()),
            };
            let (what, fault, at_ns) = (mark.what.clone(), mark.fault, mark.at_ns);
            Act { what, fault, at_ns, events, phases, subscribers: seen, publishers }
        });
        Timeline {
            acts: acts.collect(),
            calm: latencies(passages.iter().flatten().filter(|passage| passage.at_ns < first)),
            calm_gap_ns,
            passages,
        }
    }
}

/// The time that belongs to an act.
#[derive(Clone, Copy)]
struct Span {
    from_ns: u64,
    /// Until the next act, or until a takeover has settled: silence that begins later is not of this act's making.
    next_ns: u64,
    /// Until the next fault: what is mended meanwhile is part of it.
    until_ns: u64,
}

impl Span {
    fn of(mark: &Mark, later: &[Mark]) -> Span {
        let at = |mark: Option<&Mark>| mark.map_or(u64::MAX, |mark| mark.at_ns);
        let until_ns = at(later.iter().find(|mark| mark.fault));
        Span { from_ns: mark.at_ns, next_ns: at(later.first()), until_ns }
    }

    /// The same, when a takeover in it ended at `at_ns`: what the host takes away long after is not of its making.
    fn settling(self, at_ns: Option<u64>) -> Span {
        let settled_ns = at_ns.map_or(u64::MAX, |at| at + SETTLING_NS);
        Span { next_ns: self.next_ns.min(settled_ns), ..self }
    }

    fn holds(self, at_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&at_ns)
    }

    fn after(self, at_ns: u64) -> i64 {
        at_ns as i64 - self.from_ns as i64
    }
}

/// When the last of `subscribers` had a message numbered `seq` or higher.
fn all_had(subscribers: &[News], seq: u64) -> Option<u64> {
    let firsts = subscribers.iter().filter_map(|news| news.points.iter().find(|point| point.0 >= seq));
    firsts.map(|&(_, at)| at).max()
}

/// The longest time between two of `points` that `counts`.
fn longest_gap(points: &[(u64, u64)], counts: impl Fn(u64, u64) -> bool) -> Option<(u64, u64)> {
    let gaps = points.windows(2).map(|pair| (pair[0].1, pair[1].1.max(pair[0].1)));
    gaps.filter(|&(from, to)| counts(from, to)).max_by_key(|(from, to)| to - from)
}

fn outage(news: &News, span: Span, new_epoch: Option<u64>) -> Option<Outage> {
    let counts = |from, to| span.holds(to) && from < span.next_ns;
    let (last, first) = longest_gap(&news.points, counts)?;
    let new_epoch_at = new_epoch.and_then(|seq| news.points.iter().find(|point| point.0 >= seq));
    Some(Outage {
        who: news.who.clone(),
        outage_ns: first - last,
        last_before_ns: span.after(last),
        first_after_ns: span.after(first),
        new_epoch_ns: new_epoch_at.map(|&(_, at)| span.after(at)),
    })
}

/// Number of the first message of an epoch that began in the span.
fn new_epoch(reference: &JournalCopy, span: Span) -> Option<u64> {
    let entries = &reference.entries;
    let first = (1..entries.len())
        .find(|&at| entries[at].epoch > entries[at - 1].epoch && span.holds(entries[at].stamp_ns));
    first.map(|at| at as u64 + 1)
}

fn events(marks: &[Mark], notes: &[Vec<NoteReport>], names: &[String], span: Span) -> Vec<TimedEvent> {
    let drill = marks.iter().filter(|mark| span.holds(mark.at_ns)).map(|mark| TimedEvent {
        after_ns: span.after(mark.at_ns),
        node: None,
        what: mark.what.clone(),
    });
    let of_nodes = notes.iter().zip(names).flat_map(|(notes, name)| {
        notes.iter().filter(|note| span.holds(note.wall_ns)).map(|note| TimedEvent {
            after_ns: span.after(note.wall_ns),
            node: Some(name.clone()),
            what: note.to_string(),
        })
    });
    let mut events: Vec<_> = drill.chain(of_nodes).collect();
    events.sort_by_key(|event| event.after_ns);
    events
}

fn phases(notes: &[Vec<NoteReport>], span: Span, subscribers: &[Outage]) -> Phases {
    let since = |from: u64, what: What| {
        let found = notes.iter().flatten().filter(|note| note.what == what && span.holds(note.wall_ns));
        found.map(|note| note.wall_ns).filter(|&at| at >= from).min()
    };
    let suspected = since(span.from_ns, What::Suspected);
    let swapped = since(suspected.unwrap_or(span.from_ns), What::Swapped);
    let caught_up = swapped.and_then(|swapped| since(swapped, What::CaughtUp));
    let first_event = subscribers.iter().filter_map(|outage| outage.new_epoch_ns).min();
    let first_event = first_event.and_then(|after| u64::try_from(after).ok());
    let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
    Phases {
        detection_ns: between(Some(span.from_ns), suspected),
        swap_ns: between(suspected, swapped),
        catch_up_ns: between(swapped, caught_up),
        first_event_ns: between(caught_up, first_event.map(|after| span.from_ns + after)),
        total_ns: first_event,
    }
}

/// How long each message took on its way to a subscriber.
fn passages(remains: &Remains, reference: &JournalCopy, records: &[crate::trace::Record]) -> Vec<Passage> {
    let due: Vec<(u16, Vec<u64>)> = remains
        .publishers
        .iter()
        .filter_map(|publisher| {
            let source = reference.sources.iter().find(|(_, session)| *session == publisher.session)?;
            Some((source.0, dues(&publisher.witness.records)))
        })
        .collect();
    let due_ns = |seq: u64| {
        let entry = reference.entries.get(seq as usize - 1)?;
        let (_, dues) = due.iter().find(|(source, _)| *source == entry.source)?;
        dues.get(entry.source_seq as usize - 1).copied()
    };
    let passage =
        |(seq, at_ns): (u64, u64)| Some(Passage { at_ns, latency_ns: at_ns.saturating_sub(due_ns(seq)?) });
    arrivals(records).into_iter().filter_map(passage).collect()
}

fn latencies<'a>(passages: impl Iterator<Item = &'a Passage>) -> Latencies {
    let mut latency = Latency::new();
    passages.for_each(|passage| latency.record(Nanos(passage.latency_ns)));
    let found = latency.percentiles();
    Latencies { p50_ns: found.p50.0, p99_ns: found.p99.0, max_ns: found.max.0 }
}

#[cfg(test)]
mod tests {
    use seqcast_engine::agents::status::Role;

    use super::super::record::{Entry, PublisherWitness, Witness};
    use super::*;
    use crate::trace::{Event, Record};

    const MS: u64 = 1_000_000;

    fn note(at_ms: u64, what: What) -> NoteReport {
        NoteReport {
            number: 0,
            wall_ns: at_ms * MS,
            role: Role::Candidate,
            epoch: 2,
            what,
            about: None,
            reason: String::new(),
        }
    }

    /// A message every ms; the primary dies at 50 ms, and the next epoch begins at 60 ms.
    fn remains() -> Remains {
        let seen: Vec<u64> = (1..=50).chain(62..=90).collect();
        let entry = |(at, ms): (usize, &u64)| Entry {
            epoch: if *ms > 50 { 2 } else { 1 },
            crc: 0,
            source: 3,
            source_seq: at as u64 + 1,
            stamp_ns: ms * MS - MS / 2,
            hash: 0,
        };
        let journal = JournalCopy {
            name: "n1".into(),
            entries: seen.iter().enumerate().map(entry).collect(),
            ended: true,
            digest: 0,
            sources: vec![(3, "P1".into())],
        };
        let arrived = (1..)
            .zip(&seen)
            .map(|(seq, ms)| Record { at_ns: ms * MS, event: Event::Arrived { seq, hash: 0 } });
        let told = (1..).zip(&seen).map(|(seq, ms)| {
            let event = Event::Acknowledged { epoch: 1, committed: seq + 1, received: seq + 1 };
            Record { at_ns: ms * MS + 1, event }
        });
        let due = (1..=79).map(|seq| Record { at_ns: seq * MS, event: Event::Due { seq } });
        let publisher = PublisherWitness {
            witness: Witness { name: "pub1".into(), records: due.chain(told).collect() },
            session: "P1".into(),
        };
        Remains {
            journals: vec![journal],
            subscribers: vec![Witness { name: "sub1".into(), records: arrived.collect() }],
            publishers: vec![publisher],
            in_sync: Vec::new(),
            complete: true,
        }
    }

    fn mark(at_ms: u64, what: &str, fault: bool) -> Mark {
        Mark { at_ns: at_ms * MS, what: what.into(), fault }
    }

    #[test]
    fn an_outage_is_the_longest_silence_that_ends_after_the_fault() {
        let marks = [mark(51, "kill -9 n1", true), mark(80, "start n1", false)];
        let notes = [vec![
            note(3, What::Suspected),
            note(52, What::Suspected),
            note(54, What::Swapped),
            note(57, What::CaughtUp),
        ]];
        let timeline = Timeline::new(&remains(), &marks, &notes, &["n2".into()]);
        let [fault, start] = &timeline.acts[..] else { panic!("{:?}", timeline.acts) };
        let sub = &fault.subscribers[0];
        assert_eq!(
            (sub.outage_ns, sub.last_before_ns, sub.first_after_ns),
            (12 * MS, -(MS as i64), 11 * MS as i64)
        );
        assert_eq!(sub.new_epoch_ns, Some(11 * MS as i64));
        assert_eq!(fault.publishers[0].outage_ns, 12 * MS);
        let Phases { detection_ns, swap_ns, catch_up_ns, first_event_ns, total_ns } = fault.phases;
        assert_eq!((detection_ns, swap_ns), (Some(MS), Some(2 * MS)));
        assert_eq!((catch_up_ns, first_event_ns, total_ns), (Some(3 * MS), Some(5 * MS), Some(11 * MS)));
        let events: Vec<_> =
            fault.events.iter().map(|event| (event.after_ns / MS as i64, event.node.is_some())).collect();
        assert_eq!(events, [(0, false), (1, true), (3, true), (6, true), (29, false)]);
        assert!((fault.fault, start.fault, start.phases) == (true, false, Phases::default()));
        assert_eq!(start.subscribers[0].outage_ns, MS, "the silence before it is not of its making");
        assert_eq!(timeline.calm_gap_ns, MS);
        assert_eq!((timeline.calm.p50_ns, timeline.passages[0].len()), (0, 79));
        assert_eq!(timeline.passages[0][78], Passage { at_ns: 90 * MS, latency_ns: 11 * MS });
    }

    #[test]
    fn a_silence_long_after_a_takeover_is_not_of_its_making() {
        let mut remains = remains();
        let late = [(80, 105), (81, 115), (82, 300)];
        let arrived = late.map(|(seq, ms)| Record { at_ns: ms * MS, event: Event::Arrived { seq, hash: 0 } });
        remains.subscribers[0].records.extend(arrived);
        let timeline = Timeline::new(&remains, &[mark(51, "kill -9 n1", true)], &[], &[]);
        assert_eq!(
            timeline.acts[0].subscribers[0].outage_ns,
            15 * MS,
            "the one that followed soon, not the last"
        );
    }

    #[test]
    fn each_fault_has_its_own_span() {
        let marks = [mark(10, "freeze n2", true), mark(51, "kill -9 n1", true)];
        let timeline = Timeline::new(&remains(), &marks, &[], &[]);
        let outages: Vec<_> = timeline.acts.iter().map(|fault| fault.subscribers[0].outage_ns / MS).collect();
        assert_eq!(outages, [1, 12]);
        assert_eq!(timeline.acts[0].subscribers[0].new_epoch_ns, None);
        assert_eq!(timeline.acts[0].phases, Phases::default());
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let timeline = Timeline::new(&Remains::default(), &[mark(1, "x", true)], &[], &[]);
        assert!(timeline.acts.is_empty());
        let silent = Remains { subscribers: vec![Witness::default()], ..remains() };
        let timeline = Timeline::new(&silent, &[mark(1, "x", true)], &[], &[]);
        assert!(timeline.acts[0].subscribers.is_empty());
    }
}
