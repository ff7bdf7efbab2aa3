//! The verdict: nothing lost, nothing repeated, nothing reordered, all records and books equal.

use std::collections::BTreeMap;

use super::record::{Entry, JournalCopy, PublisherWitness, Remains, Witness, commits, dues};
use crate::trace::Event;
use crate::view::hex_digest;

/// Everything that is wrong with what a drill left; `inputs` holds what each publisher was to publish.
pub(crate) fn problems(remains: &Remains, inputs: &[Vec<u64>]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(reference) = remains.reference() else {
        return vec!["there is no journal".into()];
    };
    if remains.complete && !reference.ended {
        found.push(format!("the journal of {} does not end", reference.name));
    }
    for copy in &remains.journals {
        check_journal(copy, reference, remains, &mut found);
    }
    for subscriber in &remains.subscribers {
        check_subscriber(subscriber, reference, remains.complete, &mut found);
    }
    let by_source = by_source(reference, &mut found);
    for (publisher, input) in remains.publishers.iter().zip(inputs) {
        check_publisher(publisher, input, reference, &by_source, remains.complete, &mut found);
    }
    let known = |session: &String| remains.publishers.iter().any(|publisher| publisher.session == *session);
    for (source, session) in reference.sources.iter().filter(|(_, session)| !known(session)) {
        found.push(format!(
            "the order holds messages of session {session} (source {source}), which nobody published"
        ));
    }
    found
}

/// All journals are the same record; those of the in-sync set are whole.
fn check_journal(copy: &JournalCopy, reference: &JournalCopy, remains: &Remains, found: &mut Vec<String>) {
    let (name, other) = (&copy.name, &reference.name);
    let same = |a: &Entry, b: &Entry| (a.epoch, a.crc, a.hash) == (b.epoch, b.crc, b.hash);
    let differs = copy.entries.iter().zip(&reference.entries).position(|(a, b)| !same(a, b));
    if let Some(at) = differs {
        let is_bound = remains.complete && remains.in_sync.contains(name);
        if !is_bound && is_stale_from(copy, at, reference) {
            return;
        }
        let (a, b) = (copy.entries[at], reference.entries[at]);
        found.push(format!(
            "the journals of {name} and {other} differ at message {}: epoch {} crc {:08x}, epoch {} crc {:08x}",
            at + 1,
            a.epoch,
            a.crc,
            b.epoch,
            b.crc
        ));
        return;
    }
    if !remains.complete || !remains.in_sync.contains(name) {
        return;
    }
    if (copy.entries.len(), copy.ended) != (reference.entries.len(), reference.ended) {
        found.push(format!(
            "{name} is in sync and has {} messages (ended: {}), {other} has {} (ended: {})",
            copy.entries.len(),
            copy.ended,
            reference.entries.len(),
            reference.ended
        ));
    } else if copy.digest != reference.digest {
        found.push(format!(
            "the books of {name} are {}, those of {other} {}",
            hex_digest(copy.digest),
            hex_digest(reference.digest)
        ));
    }
}

/// Whether all of `copy` from place `at` on was numbered in an epoch before the one that `reference` has there: the end of a
/// deposed primary's journal, which nobody else had. It is cut when the node follows again.
fn is_stale_from(copy: &JournalCopy, at: usize, reference: &JournalCopy) -> bool {
    let epoch = reference.entries[at].epoch;
    copy.entries[at..].iter().all(|entry| entry.epoch < epoch)
}

/// A subscriber saw every message once, in order, as the journal has it.
fn check_subscriber(who: &Witness, reference: &JournalCopy, complete: bool, found: &mut Vec<String>) {
    let name = &who.name;
    let (mut due, mut ended) = (1, false);
    for record in &who.records {
        match record.event {
            Event::Arrived { seq, .. } if seq != due => {
                found.push(format!("{name} saw message {seq} where {due} was due"));
                return;
            }
            Event::Arrived { seq, hash } => {
                let expected = reference.entries.get(seq as usize - 1).map(|entry| entry.hash);
                if expected != Some(hash) {
                    let why = if expected.is_some() { "differs there" } else { "is in no journal" };
                    found.push(format!("{name} saw message {seq}, which {why}"));
                    return;
                }
                due += 1;
            }
            Event::Lost { first, count } => {
                found.push(format!("{name} lost {count} messages from {first} on"));
                due = first + count;
            }
            Event::Conflict { seq } => found.push(format!("{name} saw two messages numbered {seq}")),
            Event::Ended { next, digest } => {
                ended = true;
                if next != due {
                    found.push(format!("{name} saw the end at {next} where {due} was due"));
                }
                if complete && digest != reference.digest {
                    let (its, whole) = (hex_digest(digest), hex_digest(reference.digest));
                    found.push(format!("the books of {name} are {its}, the journals make {whole}"));
                }
            }
            Event::Snapshot { .. } | Event::Due { .. } | Event::Acknowledged { .. } => {}
        }
    }
    let all = reference.entries.len() as u64 + 1;
    if complete && (!ended || due != all) {
        found.push(format!("{name} saw {} of {} messages (end seen: {ended})", due - 1, all - 1));
    }
}

/// Hashes of each source's messages, in their order; each number once.
fn by_source(reference: &JournalCopy, found: &mut Vec<String>) -> BTreeMap<u16, Vec<u64>> {
    let mut by_source: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for (at, entry) in reference.entries.iter().enumerate() {
        let hashes = by_source.entry(entry.source).or_default();
        let due = hashes.len() as u64 + 1;
        if entry.source_seq != due {
            let (seq, source, number) = (at + 1, entry.source, entry.source_seq);
            found.push(format!("message {seq} is number {number} of source {source}, {due} was due"));
        }
        hashes.push(entry.hash);
    }
    by_source
}

/// The order holds what a publisher published, each message once, and all that it was told is committed.
fn check_publisher(
    publisher: &PublisherWitness,
    input: &[u64],
    reference: &JournalCopy,
    by_source: &BTreeMap<u16, Vec<u64>>,
    complete: bool,
    found: &mut Vec<String>,
) {
    let name = &publisher.witness.name;
    let source = reference.sources.iter().find(|(_, session)| *session == publisher.session);
    let none = Vec::new();
    let ordered = source.and_then(|(source, _)| by_source.get(source)).unwrap_or(&none);
    let differs = ordered.iter().zip(input).position(|(a, b)| a != b);
    if let Some(at) = differs {
        found.push(format!("message {} of {name} is another one in the order", at + 1));
    }
    let published = dues(&publisher.witness.records).len();
    if ordered.len() > published.min(input.len()) && complete {
        found.push(format!("{name} published {published} messages, the order holds {} of it", ordered.len()));
    }
    let committed = commits(&publisher.witness.records).last().map_or(0, |&(committed, _)| committed - 1);
    if committed > ordered.len() as u64 {
        found.push(format!(
            "{name} was told that {committed} of its messages are committed, the order holds {}",
            ordered.len()
        ));
    }
    if complete && (ordered.len() < published || committed < published as u64) {
        found.push(format!(
            "{name} published {published} messages, the order holds {}, {committed} were acknowledged",
            ordered.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Record;

    const MESSAGES: u64 = 20;

    fn hash(publisher: u64, number: u64) -> u64 {
        publisher << 32 | number
    }

    fn witness(name: &str, events: Vec<Event>) -> Witness {
        let records = (1..).zip(events).map(|(at_ns, event)| Record { at_ns, event }).collect();
        Witness { name: name.into(), records }
    }

    fn journal(name: &str) -> JournalCopy {
        let entry = |at: u64| {
            let (source, source_seq) = ((at % 2) as u16, at / 2 + 1);
            let (epoch, crc) = (1 + at / 10, at as u32);
            Entry { epoch, crc, source, source_seq, stamp_ns: at, hash: hash(at % 2, source_seq) }
        };
        JournalCopy {
            name: name.into(),
            entries: (0..MESSAGES).map(entry).collect(),
            ended: true,
            digest: 77,
            sources: vec![(0, "P0".into()), (1, "P1".into())],
        }
    }

    fn good() -> (Remains, Vec<Vec<u64>>) {
        let reference = journal("n1");
        let arrived =
            (1..).zip(&reference.entries).map(|(seq, entry)| Event::Arrived { seq, hash: entry.hash });
        let end = Event::Ended { next: MESSAGES + 1, digest: 77 };
        let seen: Vec<Event> = arrived.chain([end]).collect();
        let each = MESSAGES / 2;
        let told = Event::Acknowledged { epoch: 1, committed: each + 1, received: each + 1 };
        let published: Vec<Event> = (1..=each).map(|seq| Event::Due { seq }).chain([told]).collect();
        let publisher = |at: u64| PublisherWitness {
            witness: witness(&format!("pub{at}"), published.clone()),
            session: format!("P{at}"),
        };
        let remains = Remains {
            journals: vec![journal("n1"), journal("n2"), journal("n3")],
            subscribers: vec![witness("sub1", seen.clone()), witness("sub2", seen)],
            publishers: vec![publisher(0), publisher(1)],
            in_sync: vec!["n1".into(), "n2".into(), "n3".into()],
            complete: true,
        };
        let input = |publisher| (1..=each + 5).map(|number| hash(publisher, number)).collect();
        (remains, vec![input(0), input(1)])
    }

    #[track_caller]
    fn finds(spoil: impl FnOnce(&mut Remains), expected: &str) {
        let (mut remains, inputs) = good();
        spoil(&mut remains);
        let found = problems(&remains, &inputs);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected:?} is not in {found:#?}");
    }

    #[test]
    fn what_is_whole_has_no_problems() {
        let (mut remains, inputs) = good();
        assert_eq!(problems(&remains, &inputs), [""; 0]);
        // What is not in sync may be behind, and a drill that was broken off leaves less.
        remains.in_sync.pop();
        remains.journals[2].entries.truncate(5);
        remains.journals[2].ended = false;
        assert_eq!(problems(&remains, &inputs), [""; 0]);
        remains.complete = false;
        remains.journals[1].entries.truncate(7);
        remains.subscribers[0].records.truncate(4);
        remains.publishers[0].witness.records.truncate(2);
        assert_eq!(problems(&remains, &inputs), [""; 0]);
    }

    #[test]
    fn only_the_end_of_a_deposed_primary_may_differ() {
        // Message 11 begins epoch 2; the deposed primary had numbered others from there on, in epoch 1.
        let (mut remains, inputs) = good();
        remains.in_sync.pop();
        let stale = &mut remains.journals[2];
        stale.ended = false;
        stale.entries.truncate(13);
        stale.entries[10..].iter_mut().for_each(|entry| (entry.epoch, entry.hash) = (1, 9));
        assert_eq!(problems(&remains, &inputs), [""; 0]);
        finds(
            |r| {
                r.in_sync.pop();
                r.journals[2].entries[4..].iter_mut().for_each(|entry| entry.hash = 9);
            },
            "differ at message 5",
        );
        // Epoch 1 was not over there: somebody had it.
        finds(
            |r| r.journals[1].entries[10..].iter_mut().for_each(|entry| entry.epoch = 1),
            "differ at message 11",
        );
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        finds(|r| r.journals.clear(), "no journal");
        finds(|r| r.journals.iter_mut().for_each(|j| j.ended = false), "does not end");
        finds(|r| r.journals[1].entries[9].crc = 999, "differ at message 10");
        finds(|r| r.journals[1].entries[9].epoch = 9, "differ at message 10");
        finds(|r| r.journals[1].entries.truncate(19), "n2 is in sync and has 19 messages");
        finds(|r| r.journals[2].ended = false, "n3 is in sync");
        finds(|r| r.journals[2].digest = 1, "those of n3");
        finds(|r| _ = r.subscribers[1].records.remove(3), "sub2 saw message 5 where 4 was due");
        finds(|r| r.subscribers[0].records.swap(3, 4), "sub1 saw message 5 where 4 was due");
        finds(
            |r| {
                let repeated = r.subscribers[0].records[2];
                r.subscribers[0].records.insert(3, repeated);
            },
            "message 3 where 4 was due",
        );
        finds(
            |r| r.subscribers[0].records[2].event = Event::Arrived { seq: 3, hash: 1 },
            "which differs there",
        );
        finds(
            |r| r.subscribers[0].records[MESSAGES as usize].event = Event::Arrived { seq: 21, hash: 1 },
            "is in no journal",
        );
        finds(|r| r.subscribers[0].records.truncate(20), "saw 20 of 20 messages (end seen: false)");
        finds(
            |r| r.subscribers[0].records.insert(0, record(Event::Lost { first: 1, count: 1 })),
            "lost 1 messages",
        );
        finds(
            |r| r.subscribers[0].records.push(record(Event::Conflict { seq: 4 })),
            "two messages numbered 4",
        );
        finds(
            |r| r.subscribers[0].records.last_mut().unwrap().event = Event::Ended { next: 21, digest: 1 },
            "the books of sub1",
        );
    }

    #[test]
    fn every_kind_of_damage_to_a_publisher_is_found() {
        let all = |r: &mut Remains, spoil: fn(&mut JournalCopy)| r.journals.iter_mut().for_each(spoil);
        finds(|r| all(r, |j| j.entries[4].source_seq = 2), "message 5 is number 2 of source 0, 3 was due");
        finds(|r| all(r, |j| j.entries[4].hash = 5), "message 3 of pub0 is another one");
        finds(
            |r| {
                r.publishers[0].witness.records.push(record(Event::Acknowledged {
                    epoch: 1,
                    committed: 14,
                    received: 14,
                }));
            },
            "pub0 was told that 13 of its messages are committed",
        );
        finds(
            |r| _ = r.publishers[1].witness.records.remove(0),
            "pub1 published 9 messages, the order holds 10",
        );
        finds(|r| _ = r.publishers[1].witness.records.pop(), "0 were acknowledged");
        finds(
            |r| r.publishers[1].witness.records.insert(0, record(Event::Due { seq: 1 })),
            "pub1 published 11",
        );
        finds(|r| all(r, |j| j.sources[1].1 = "PX".into()), "session PX (source 1), which nobody published");
    }

    fn record(event: Event) -> Record {
        Record { at_ns: 0, event }
    }
}
