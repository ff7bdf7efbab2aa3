//! The coordinator of a simulated cluster: one register, far away, slow, sometimes out of reach.
//!
//! What a node asked may be lost on the way there, its answer on the way back; and a swap whose answer the node has given
//! up on may still be made.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::fault::FaultClass;
use super::shared::Shared;
use crate::replica::{Answer, Coordinator, Record, Request, Versioned};
use crate::time::Nanos;

/// A node gives up on an answer after this.
const TIMEOUT: Nanos = Nanos::from_millis(8);

/// Chances in a hundred that a request that was lost arrives after all.
const LATE: u32 = 30;

/// The register, and what is on its way to it.
pub(super) struct Register {
    dice: Dice,
    current: Option<Versioned>,
    /// When a request gets there, with whose it is.
    coming: BTreeMap<(Nanos, u64), (u64, Request)>,
    /// Answers, by ticket, and when they are back.
    answers: BTreeMap<u64, (Nanos, Answer)>,
    tickets: u64,
    /// Who asked, by ticket.
    askers: Vec<usize>,
    /// The epoch that each node, as its process runs now, was last told of.
    told: BTreeMap<usize, u64>,
    /// Weather: chances per million that a request or an answer is lost, and how much slower everything is.
    pub(super) loss: u32,
    pub(super) extra_latency: Nanos,
    pub(super) is_away: bool,
    /// Nodes whose bit is set do not reach it.
    pub(super) cut: u32,
}

/// What came of time passing.
pub(super) struct Passed {
    /// Faults that took effect, and on whom.
    pub(super) faults: Vec<FaultClass>,
    /// How the record has changed.
    pub(super) changes: Vec<Change>,
}

/// A change of the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The node that asked for it.
    pub(super) by: usize,
    pub(super) before: Option<Record>,
    pub(super) after: Record,
}

impl Register {
    pub(super) fn new(dice: Dice) -> Register {
        Register {
            dice,
            current: None,
            coming: BTreeMap::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            askers: Vec::new(),
            told: BTreeMap::new(),
            loss: 0,
            extra_latency: Nanos::ZERO,
            is_away: false,
            cut: 0,
        }
    }

    /// Whether the record is, or may soon be, one that passes `test`.
    pub(super) fn may_be(&self, test: impl Fn(&Record) -> bool) -> bool {
        let coming = self.coming.values().filter_map(|(_, request)| match request {
            Request::Swap { record, .. } => Some(record),
            Request::Read => None,
        });
        self.current.iter().map(|current| &current.record).chain(coming).any(test)
    }

    /// The record as it is.
    #[cfg(test)]
    pub(super) fn record(&self) -> Option<Record> {
        self.current.map(|current| current.record)
    }

    /// Whether there is a record, and it passes `test`.
    pub(super) fn is(&self, test: impl Fn(&Record) -> bool) -> bool {
        self.current.is_some_and(|current| test(&current.record))
    }

    /// Whether `node` was told of the epoch that the record is of.
    pub(super) fn has_told(&self, node: usize) -> bool {
        self.current.is_some_and(|current| self.told.get(&node) == Some(&current.record.epoch))
    }

    fn way(&mut self) -> Nanos {
        let extra = Nanos(self.dice.below(self.extra_latency.0 + 1));
        self.dice.span(Nanos::from_micros(50), Nanos::from_micros(800)) + extra
    }

    /// `node` asks. Gives the ticket for the answer, and the fault that hit the request if one did.
    fn submit(&mut self, now: Nanos, node: usize, request: Request) -> (u64, Option<FaultClass>) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.askers.push(node);
        let fault = match () {
            () if self.is_away => Some(FaultClass::CoordinatorAway),
            () if self.cut >> node & 1 != 0 => Some(FaultClass::CoordinatorCut),
            () if self.dice.per_million(self.loss) => Some(FaultClass::CoordinatorLoss),
            () => None,
        };
        // What finds no way now may still find one long after whoever asked has given up.
        let late = self.dice.percent(LATE).then(|| TIMEOUT + Nanos(self.dice.below(TIMEOUT.0)));
        if let Some(late) = if fault.is_none() { Some(Nanos::ZERO) } else { late } {
            let arrives = now + self.way() + late;
            self.coming.insert((arrives, ticket), (ticket, request));
        }
        let is_slow = self.extra_latency > Nanos::ZERO;
        (ticket, fault.or(is_slow.then_some(FaultClass::CoordinatorSlow)))
    }

    /// Does what is due.
    pub(super) fn pass(&mut self, now: Nanos) -> Passed {
        let mut passed = Passed { faults: Vec::new(), changes: Vec::new() };
        while let Some((&(at, serial), _)) = self.coming.first_key_value()
            && at <= now
        {
            let Some((ticket, request)) = self.coming.remove(&(at, serial)) else { break };
            let answer = match request {
                Request::Read => Answer::Read(self.current),
                Request::Swap { expected, .. }
                    if expected != self.current.map_or(0, |current| current.revision) =>
                {
                    Answer::Lost
                }
                Request::Swap { expected, record } => {
                    // Like etcd, which numbers all its changes, not only those of one key.
                    let revision = expected + 1 + self.dice.below(3);
                    let versioned = Versioned { revision, record };
                    let before = self.current.replace(versioned).map(|versioned| versioned.record);
                    let by = self.askers[ticket as usize - 1];
                    passed.changes.push(Change { by, before, after: record });
                    Answer::Swapped(versioned)
                }
            };
            if self.dice.per_million(self.loss) {
                passed.faults.push(FaultClass::CoordinatorLoss);
            } else {
                let back = at + self.way();
                self.answers.insert(ticket, (back, answer));
            }
        }
        passed
    }

    fn answer(&mut self, now: Nanos, ticket: u64) -> Option<Answer> {
        let &(back, answer) = self.answers.get(&ticket)?;
        if back > now {
            return None;
        }
        self.answers.remove(&ticket);
        if let Answer::Read(Some(told)) | Answer::Swapped(told) = answer {
            self.told.insert(self.askers[ticket as usize - 1], told.record.epoch);
        }
        Some(answer)
    }
}

/// One node's way to the register.
pub(super) struct SimCoordinator {
    node: usize,
    shared: Shared,
    /// Ticket, and when it is given up.
    asked: Option<(u64, Nanos)>,
}

impl SimCoordinator {
    pub(super) fn new(node: usize, shared: Shared) -> SimCoordinator {
        shared.lock().register.told.remove(&node);
        SimCoordinator { node, shared, asked: None }
    }
}

impl Coordinator for SimCoordinator {
    fn submit(&mut self, _now: Nanos, request: Request) {
        let mut shared = self.shared.lock();
        let now = shared.now;
        let (ticket, fault) = shared.register.submit(now, self.node, request);
        if let Some(class) = fault {
            shared.fault(class, self.node, self.node);
        }
        self.asked = Some((ticket, now + TIMEOUT));
    }

    fn poll(&mut self, _now: Nanos) -> Option<Answer> {
        let (ticket, until) = self.asked?;
        let mut shared = self.shared.lock();
        let now = shared.now;
        let answer =
            shared.register.answer(now, ticket).or_else(|| (now >= until).then_some(Answer::Unknown))?;
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

    fn register() -> Register {
        Register::new(Dice::new(1, Purpose::Coordinator))
    }

    fn swap(expected: u64, epoch: u64) -> Request {
        let primary = Member { node: NodeId(0), incarnation: 1 };
        let in_sync = Members::of(&[primary]).unwrap();
        Request::Swap { expected, record: Record { session: Session::BLANK, epoch, primary, in_sync } }
    }

    /// Asks at second `at`, and gives what came back within another.
    fn ask(register: &mut Register, at: u64, request: Request) -> Option<Answer> {
        let (ticket, _) = register.submit(Nanos::from_secs(at), 0, request);
        let later = Nanos::from_secs(at + 1);
        register.pass(later);
        register.answer(later, ticket)
    }

    #[test]
    fn swaps_compare_and_reads_see_them() {
        let mut register = register();
        assert_eq!(ask(&mut register, 1, Request::Read), Some(Answer::Read(None)));
        let Some(Answer::Swapped(first)) = ask(&mut register, 2, swap(0, 1)) else { panic!("not swapped") };
        assert_eq!(ask(&mut register, 3, swap(0, 9)), Some(Answer::Lost));
        assert_eq!(ask(&mut register, 4, Request::Read), Some(Answer::Read(Some(first))));
        let Some(Answer::Swapped(second)) = ask(&mut register, 5, swap(first.revision, 2)) else {
            panic!("not swapped")
        };
        assert!(second.revision > first.revision && second.record.epoch == 2);
    }

    #[test]
    fn a_swap_may_be_made_long_after_its_node_gave_up() {
        let mut register = register();
        let mut late = 0;
        for second in 1..200 {
            register.is_away = true;
            let expected = register.current.map_or(0, |current| current.revision);
            let asked = Nanos::from_secs(second);
            let (_, fault) = register.submit(asked, 1, swap(expected, second));
            assert_eq!(fault, Some(FaultClass::CoordinatorAway));
            assert!(register.pass(asked + TIMEOUT).changes.is_empty(), "not while somebody waits for it");
            let changes = register.pass(asked + TIMEOUT + TIMEOUT + TIMEOUT).changes;
            late += changes.len();
            assert!(changes.iter().all(|change| change.by == 1 && change.after.epoch == second));
        }
        assert!((30..100).contains(&late), "{late} of 199");
    }

    #[test]
    fn an_answer_may_get_lost_though_the_swap_was_made() {
        let mut register = register();
        register.loss = 1_000_000;
        let mut made = 0;
        for second in 1..100 {
            let expected = register.current.map_or(0, |current| current.revision);
            assert_eq!(ask(&mut register, second, swap(expected, second)), None);
            made += u64::from(register.current.is_some_and(|current| current.record.epoch == second));
        }
        assert!((10..60).contains(&made), "{made} of 99");
    }
}
