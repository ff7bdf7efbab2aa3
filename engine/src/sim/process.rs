//! A node's process: its agents, each with its turns.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seqcast_wire::{SeqNo, Session};

use super::coordinator::SimCoordinator;
use super::environment::SimEnvironment;
use super::load::{Load, Playback};
use super::plan::{Kind, NodePlan};
use super::shared::Shared;
use crate::agents::books::Application;
use crate::agents::departure::Departure;
use crate::agents::journal::Rebirth;
use crate::agents::links::Desk;
use crate::book::{Applied, Books, BooksConfig};
use crate::replica::{Broken, Coordinator};
use crate::runtime::{Agent, AgentError, Invoker};
use crate::stat::{Counters, CountersSpec};
use crate::time::Nanos;
use crate::topology::{self, Environment, Node, SequencerParts, SubscriberParts};
use std::sync::Arc;

/// Room for the orders that the loads keep open.
pub(super) const BOOKS: BooksConfig = BooksConfig { expected_orders: 64, max_orders: 1 << 10, seed: 0 };

/// A process that runs.
pub(super) struct Process {
    pub(super) seats: Vec<Seat>,
    /// Of a sequencer: where links and operators meet it.
    pub(super) desk: Desk,
    /// Through which it takes leave of its cluster.
    pub(super) departure: Departure,
}

/// Agents that take their turns together.
pub(super) struct Seat {
    agents: Vec<Member>,
    pub(super) is_cold: bool,
    /// Shortest and longest rest between turns.
    pub(super) limits: (Nanos, Nanos),
    /// The rest after the next idle turn.
    pub(super) rest: Nanos,
}

/// An agent, to be run by hand.
type Member = Invoker<Box<dyn Agent>>;

/// How a turn ended.
pub(super) enum Turn {
    /// The amount of work done.
    Worked(usize),
    /// All agents of the seat have finished.
    Finished,
    /// One of them cannot go on.
    Failed(String),
    /// One of them panicked.
    Panicked(String),
}

impl Process {
    /// Starts the process of a node.
    pub(super) fn start(
        plan: &NodePlan,
        load: Option<&Arc<Load>>,
        rebirth: Rebirth,
        broken: Broken,
        mut environment: SimEnvironment<'_>,
    ) -> Result<Process, AgentError> {
        let SimEnvironment { node, shared, clock, .. } = environment;
        let (desk, departure) = (Desk::new(), Departure::new());
        let mut agents = match (&plan.kind, load) {
            (Kind::Publisher, Some(load)) => {
                let script = Playback::new(Arc::clone(load), clock.clone());
                topology::publisher_in(&mut environment, &plan.config, script, &counters()?, "", None)?
            }
            (Kind::Publisher, None) => return Err(AgentError::failed("a publisher with nothing to say")),
            (Kind::Sequencer, _) => {
                let driver = environment.driver("ingress", &plan.config, &mut Node::default())?;
                let coordinator: Box<dyn Coordinator> = Box::new(SimCoordinator::new(node, shared.clone()));
                let parts = SequencerParts {
                    books: BOOKS,
                    coordinator: Some(coordinator),
                    desk: desk.clone(),
                    departure: departure.clone(),
                    rebirth,
                    broken,
                    ..SequencerParts::default()
                };
                topology::sequencer_in(&mut environment, driver, &plan.config, &counters()?, parts)?
            }
            (Kind::Subscriber { .. }, _) => {
                let parts = SubscriberParts {
                    books: BOOKS,
                    application: Witness { node, shared: shared.clone() },
                    instance: "",
                    trace: None,
                    any_session: false,
                    trusting: false,
                };
                topology::subscriber_in(&mut environment, &plan.config, parts, &counters()?)?
            }
        };
        Ok(Process { seats: seats(&mut agents, plan), desk, departure })
    }

    /// Gives the agents of a seat their turn. `after` looks at the world after each of them.
    pub(super) fn turn(&mut self, seat: usize, now: Nanos, mut after: impl FnMut(&str, usize)) -> Turn {
        let seat = &mut self.seats[seat];
        let mut work = 0;
        for agent in &mut seat.agents {
            if agent.is_closed() {
                continue;
            }
            match catch_unwind(AssertUnwindSafe(|| agent.invoke(now))) {
                Ok(Ok(count)) => {
                    work += count;
                    after(agent.agent().name(), count);
                }
                Ok(Err(AgentError::Finished)) => after(agent.agent().name(), 1),
                Ok(Err(AgentError::Failed { what })) => {
                    return Turn::Failed(format!("{}: {what}", agent.agent().name()));
                }
                Err(panic) => return Turn::Panicked(text_of(&*panic)),
            }
        }
        if seat.agents.iter().all(Invoker::is_closed) { Turn::Finished } else { Turn::Worked(work) }
    }

    /// Whether the data path has finished.
    pub(super) fn is_finished(&self) -> bool {
        let mut hot = self.seats.iter().filter(|seat| !seat.is_cold);
        hot.all(|seat| seat.agents.iter().all(Invoker::is_closed))
    }

    /// Ends in order: the data path first, as [`topology::Running::stop`] does.
    pub(super) fn close(mut self, now: Nanos) {
        for is_cold in [false, true] {
            for seat in self.seats.iter_mut().filter(|seat| seat.is_cold == is_cold) {
                seat.agents.iter_mut().for_each(|agent| agent.close(now));
            }
        }
    }
}

fn counters() -> Result<Counters, AgentError> {
    // Nobody reads them: one place, so that agents find no room for more.
    Counters::anonymous("sim", CountersSpec { counters: 1, errors: 1 }).map_err(AgentError::failed)
}

fn seats(node: &mut Node, plan: &NodePlan) -> Vec<Seat> {
    let mut threads: Vec<(&str, Vec<Member>)> = Vec::new();
    for (thread, agent) in node.take_hot_each() {
        let agent = Invoker::new(agent);
        match threads.iter_mut().find(|(name, _)| plan.shares_threads && *name == thread) {
            Some((_, agents)) => agents.push(agent),
            None => threads.push((thread, vec![agent])),
        }
    }
    let hot = threads.into_iter().map(|(_, agents)| (agents, false));
    let cold: Vec<_> = node.take_cold().into_iter().map(|agent| (vec![Invoker::new(agent)], true)).collect();
    let seat = |(agents, is_cold)| {
        let limits = if is_cold { plan.cold_rest } else { plan.rest };
        Seat { agents, is_cold, limits, rest: limits.0 }
    };
    hot.chain(cold).map(seat).collect()
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something").to_owned()
}

/// The application of a subscriber: tells the referee all it hears.
struct Witness {
    node: usize,
    shared: Shared,
}

impl Witness {
    fn object(&self, rule: super::Rule, what: &str) {
        let mut shared = self.shared.lock();
        let at = shared.now;
        shared.referee.break_rule(at, rule, format!("node {}: its application {what}", self.node));
    }
}

impl Application for Witness {
    fn on_message(&mut self, seq: SeqNo, _received: Nanos, message: &[u8]) {
        let mut shared = self.shared.lock();
        let (referee, mut notes) = shared.referee();
        referee.on_delivered(self.node, seq, message, &mut notes);
    }

    fn on_book(&mut self, seq: SeqNo, _received: Nanos, _applied: &Applied, books: &Books) {
        let mut shared = self.shared.lock();
        let (referee, notes) = shared.referee();
        referee.on_books(self.node, seq, books, &notes);
    }

    fn on_lost(&mut self, first: SeqNo, count: u64) {
        self.object(super::Rule::Delivery, &format!("lost {count} messages from {first} on"));
    }

    fn on_conflict(&mut self, seq: SeqNo) {
        self.object(super::Rule::OneOrder, &format!("was told of two different messages {seq}"));
    }

    fn on_session(&mut self, session: Session) {
        let _ = session;
    }

    fn on_end(&mut self, next: SeqNo, _books: &Books) {
        let mut shared = self.shared.lock();
        let (referee, notes) = shared.referee();
        referee.on_ended(self.node, next, &notes);
    }
}
