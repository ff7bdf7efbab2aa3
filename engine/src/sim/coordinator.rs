//! The coordinator of a world: one record, and all that can go wrong on the way to it.
//!
//! A request takes a while to arrive, then it is carried out, then the answer takes a while. The way can be slow; the
//! coordinator can be away or a node cut off from it, and then a request is lost or, worse, arrives much later, when
//! whoever asked has long given up; the answer can be lost though the request was carried out. All of that is
//! [`Answer::Unknown`] to the node.

use super::dice::Dice;
use super::fault::FaultClass;
use super::shared::Shared;
use crate::replica::{Answer, Coordinator, Record, Request, Versioned};
use crate::time::Nanos;

/// A way to the coordinator or back takes between these.
const WAY: (Nanos, Nanos) = (Nanos::from_micros(50), Nanos::from_millis(2));
/// A node gives up waiting for an answer after this.
const TIMEOUT: (Nanos, Nanos) = (Nanos::from_millis(4), Nanos::from_millis(15));
/// Chances in a hundred that a request that finds no way arrives much later, instead of never.
const LATE: u32 = 40;

/// How a node reaches the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Beyond the usual, each way.
    pub(super) extra: Nanos,
    /// Nothing passes, because of this.
    pub(super) cut: Option<FaultClass>,
    /// Chances per million that the answer gets lost.
    pub(super) unknown: u32,
}

/// The record and who asks about it.
pub(super) struct Registry {
    dice: Dice,
    current: Option<Versioned>,
    /// By node.
    reach: Vec<Reach>,
    /// Requests on their way; carried out in the order of their arrival.
    pending: Vec<Pending>,
    tickets: u64,
    /// What came of requests that were carried out, until somebody takes it.
    answers: Vec<(u64, Answer)>,
}

struct Pending {
    at: Nanos,
    ticket: u64,
    node: usize,
    request: Request,
}

/// A request as its node sees it.
struct Asked {
    ticket: u64,
    /// When there is an answer.
    due: Nanos,
    /// The answer is [`Answer::Unknown`], whatever came of it.
    is_unknown: bool,
}

impl Registry {
    pub(super) fn new(nodes: usize, dice: Dice) -> Registry {
        let (pending, answers) = (Vec::new(), Vec::new());
        Registry { dice, current: None, reach: vec![Reach::default(); nodes], pending, tickets: 0, answers }
    }

    /// How a node reaches it, to change it.
    pub(super) fn reach_mut(&mut self, node: usize) -> &mut Reach {
        &mut self.reach[node]
    }

    /// The record as it is.
    pub(super) fn record(&self) -> Option<Record> {
        self.current.map(|current| current.record)
    }

    /// Takes a request of `node`. Gives also the fault that befell it.
    fn submit(&mut self, now: Nanos, node: usize, request: Request) -> (Asked, Option<FaultClass>) {
        self.tickets += 1;
        let ticket = self.tickets;
        let Reach { extra, cut, unknown } = self.reach[node];
        let timeout = self.dice.span(TIMEOUT.0, TIMEOUT.1);
        let way = self.dice.span(WAY.0, WAY.1) + extra;
        let back = self.dice.span(WAY.0, WAY.1) + extra;
        let mut asked = Asked { ticket, due: now + way + back, is_unknown: false };
        let mut fault = None;
        let mut at = Some(now + way);
        if cut.is_some() {
            fault = cut;
            asked.is_unknown = true;
            let late = now + timeout + self.dice.span(TIMEOUT.0, TIMEOUT.1);
            at = self.dice.percent(LATE).then_some(late);
        } else if self.dice.per_million(unknown) {
            fault = Some(FaultClass::UnknownOutcome);
            asked.is_unknown = true;
        } else if extra > Nanos::ZERO {
            fault = Some(FaultClass::SlowCoordinator);
            asked.is_unknown = way + back > timeout;
        }
        if asked.is_unknown {
            asked.due = now + timeout;
        }
        if let Some(at) = at {
            self.pending.push(Pending { at, ticket, node, request });
        }
        (asked, fault)
    }

    /// Carries out the next request that has arrived by now. Gives the record before and after a change.
    pub(super) fn step(&mut self, now: Nanos) -> Option<Change> {
        while let Some(at) = self.first_arrived(now) {
            let Pending { ticket, node, request, .. } = self.pending.swap_remove(at);
            let (answer, change) = self.carry_out(node, request);
            self.answers.push((ticket, answer));
            if change.is_some() {
                return change;
            }
        }
        None
    }

    fn first_arrived(&self, now: Nanos) -> Option<usize> {
        let arrived = self.pending.iter().enumerate().filter(|(_, pending)| pending.at <= now);
        arrived.min_by_key(|(_, pending)| (pending.at, pending.ticket)).map(|(at, _)| at)
    }

    fn carry_out(&mut self, by: usize, request: Request) -> (Answer, Option<Change>) {
        match request {
            Request::Read => (Answer::Read(self.current), None),
            Request::Swap { expected, .. } if expected != self.current.map_or(0, |known| known.revision) => {
                (Answer::Lost, None)
            }
            Request::Swap { expected, record } => {
                let before = self.record();
                // Like etcd, which numbers all its changes, not only those of one key.
                let revision = expected + 1 + self.dice.below(3);
                let versioned = Versioned { revision, record };
                self.current = Some(versioned);
                (Answer::Swapped(versioned), Some(Change { by, before, after: record }))
            }
        }
    }

    fn poll(&mut self, now: Nanos, asked: &Asked) -> Option<Answer> {
        if now < asked.due {
            return None;
        }
        let at = self.answers.iter().position(|(ticket, _)| *ticket == asked.ticket);
        let answer = at.map(|at| self.answers.swap_remove(at).1);
        if asked.is_unknown { Some(Answer::Unknown) } else { answer }
    }
}

/// A change of the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The node that asked for it.
    pub(super) by: usize,
    pub(super) before: Option<Record>,
    pub(super) after: Record,
}

/// A node's way to the coordinator. A request outlives the process that made it.
pub(super) struct SimCoordinator {
    shared: Shared,
    node: usize,
    asked: Option<Asked>,
}

impl SimCoordinator {
    pub(super) fn new(shared: Shared, node: usize) -> SimCoordinator {
        SimCoordinator { shared, node, asked: None }
    }
}

impl Coordinator for SimCoordinator {
    fn submit(&mut self, _now: Nanos, request: Request) {
        let mut shared = self.shared.lock();
        let now = shared.now;
        let (asked, fault) = shared.registry.submit(now, self.node, request);
        if let Some(class) = fault {
            shared.fault(class, self.node, self.node);
        }
        self.asked = Some(asked);
    }

    fn poll(&mut self, _now: Nanos) -> Option<Answer> {
        let asked = self.asked.as_ref()?;
        let mut shared = self.shared.lock();
        shared.coordinate();
        let now = shared.now;
        let answer = shared.registry.poll(now, asked)?;
        drop(shared);
        self.asked = None;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use seqcast_wire::Session;

    use super::*;
    use crate::replica::{Member, Members, NodeId};
    use crate::sim::dice::Purpose;

    fn registry() -> Registry {
        Registry::new(2, Dice::new(1, Purpose::Coordinator))
    }

    fn swap(expected: u64, epoch: u64) -> Request {
        let primary = Member { node: NodeId(0), incarnation: 1 };
        let in_sync = Members::of(&[primary]).unwrap();
        Request::Swap { expected, record: Record { session: Session::BLANK, epoch, primary, in_sync } }
    }

    fn ask(registry: &mut Registry, now: Nanos, node: usize, request: Request) -> (Nanos, Answer) {
        let (asked, _) = registry.submit(now, node, request);
        while registry.step(asked.due).is_some() {}
        assert_eq!(registry.poll(Nanos(asked.due.0 - 1), &asked), None);
        (asked.due, registry.poll(asked.due, &asked).unwrap())
    }

    #[test]
    fn swaps_compare_and_reads_see_them() {
        let mut registry = registry();
        let (now, answer) = ask(&mut registry, Nanos(1), 0, Request::Read);
        assert_eq!(answer, Answer::Read(None));
        let (now, answer) = ask(&mut registry, now, 0, swap(0, 1));
        let Answer::Swapped(first) = answer else { panic!("{answer:?}") };
        let (now, answer) = ask(&mut registry, now, 1, swap(0, 9));
        assert_eq!(answer, Answer::Lost);
        let (now, answer) = ask(&mut registry, now, 1, Request::Read);
        assert_eq!(answer, Answer::Read(Some(first)));
        let (_, answer) = ask(&mut registry, now, 1, swap(first.revision, 2));
        assert!(matches!(answer, Answer::Swapped(second) if second.revision > first.revision));
    }

    #[test]
    fn a_swap_may_arrive_long_after_its_node_gave_up() {
        let mut registry = registry();
        registry.reach_mut(0).cut = Some(FaultClass::NoCoordinator);
        let mut late = 0;
        for epoch in 1..200 {
            let now = Nanos::from_secs(epoch);
            let expected = registry.current.map_or(0, |current| current.revision);
            let (due, answer) = ask(&mut registry, now, 0, swap(expected, epoch));
            assert_eq!(answer, Answer::Unknown);
            assert_eq!(registry.current.map_or(0, |current| current.revision), expected);
            late += usize::from(registry.step(due + Nanos::from_secs(1)).is_some());
        }
        assert!((40..160).contains(&late), "{late} of 199");
    }

    #[test]
    fn an_answer_may_get_lost_though_the_swap_was_made() {
        let mut registry = registry();
        registry.reach_mut(1).unknown = 1_000_000;
        assert_eq!(ask(&mut registry, Nanos(1), 1, swap(0, 1)).1, Answer::Unknown);
        assert_eq!(registry.record().map(|record| record.epoch), Some(1));
    }
}
