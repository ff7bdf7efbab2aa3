//! What a message costs whoever works on it: the time of the duty cycles that found something to do.
//!
//! A thread that spins is busy all the time. What its agents need is what is left without the duty cycles that found
//! nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seqcast_engine::runtime::{Agent, AgentError, Clock, Composite};
use seqcast_engine::time::Nanos;

use super::place::Role;

/// Those whose work is told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Publishers,
    Sequencer,
    Standbys,
    Subscribers,
}

impl Party {
    /// All of them.
    pub(super) const ALL: [Party; 4] =
        [Party::Publishers, Party::Sequencer, Party::Standbys, Party::Subscribers];
}

impl From<Role> for Party {
    fn from(role: Role) -> Party {
        match role {
            Role::Publisher(_) => Party::Publishers,
            Role::Primary => Party::Sequencer,
            Role::Standby(_) => Party::Standbys,
            Role::Subscriber(_) => Party::Subscribers,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Party::Publishers => "publishers",
            Party::Sequencer => "sequencer",
            Party::Standbys => "standbys",
            Party::Subscribers => "subscribers",
        })
    }
}

/// How long each party was busy, seen from outside. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<[AtomicU64; Party::ALL.len()]>);

impl Ledger {
    /// So long until now, in the order of [`Party::ALL`].
    pub(super) fn busy(&self) -> [Nanos; Party::ALL.len()] {
        std::array::from_fn(|at| Nanos(self.0[at].load(Ordering::Relaxed)))
    }

    /// `agents` as one for each run of one party, whose duty cycles are timed.
    pub(super) fn timed(&self, agents: Vec<(Role, Composite)>) -> Vec<Box<dyn Agent>> {
        let mut timed: Vec<Box<dyn Agent>> = Vec::new();
        let mut agents = agents.into_iter().peekable();
        while let Some((role, first)) = agents.next() {
            let party = Party::from(role);
            let mut same: Vec<Box<dyn Agent>> = vec![Box::new(first)];
            while let Some((_, next)) = agents.next_if(|(role, _)| Party::from(*role) == party) {
                same.push(Box::new(next));
            }
            let agent = Composite::new(party.to_string(), same);
            timed.push(Box::new(Timed { agent, party, clock: Clock::new(), ledger: self.clone() }));
        }
        timed
    }
}

/// Times what its agent does.
struct Timed<A> {
    agent: A,
    party: Party,
    clock: Clock,
    ledger: Ledger,
}

impl<A: Agent> Agent for Timed<A> {
    fn name(&self) -> &str {
        self.agent.name()
    }

    fn on_start(&mut self, now: Nanos) -> Result<(), AgentError> {
        self.agent.on_start(now)
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let began = self.clock.now();
        let work = self.agent.do_work(now)?;
        if work > 0 {
            let took = self.clock.now().since(began);
            self.ledger.0[self.party as usize].fetch_add(took.0, Ordering::Relaxed);
        }
        Ok(work)
    }

    fn on_close(&mut self, now: Nanos) {
        self.agent.on_close(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works as often as told, and takes a while for it.
    struct Works(Vec<usize>);

    impl Agent for Works {
        fn name(&self) -> &str {
            "works"
        }

        fn do_work(&mut self, _now: Nanos) -> Result<usize, AgentError> {
            std::hint::black_box(vec![1_u8; 1 << 20]);
            self.0.pop().ok_or(AgentError::Finished)
        }
    }

    fn composite(works: &[usize]) -> Composite {
        Composite::new("one", vec![Box::new(Works(works.to_vec()))])
    }

    #[test]
    fn only_duty_cycles_that_do_something_count() {
        let ledger = Ledger::default();
        let mut timed = ledger.timed(vec![
            (Role::Publisher(0), composite(&[0, 1])),
            (Role::Publisher(1), composite(&[0, 1])),
            (Role::Primary, composite(&[0, 0])),
        ]);
        assert_eq!(timed.len(), 2, "publishers are one party");
        for agent in &mut timed {
            agent.on_start(Nanos(0)).unwrap();
            agent.do_work(Nanos(1)).unwrap();
        }
        let [publishers, sequencer, ..] = ledger.busy();
        assert!(publishers > Nanos::ZERO && sequencer == Nanos::ZERO);
        assert_eq!(timed[0].do_work(Nanos(2)), Ok(0));
        assert_eq!(ledger.busy()[0], publishers, "a duty cycle without work costs a message nothing");
        assert!(
            timed.iter_mut().all(|agent| agent.do_work(Nanos(3)).is_err() || agent.name() == "sequencer")
        );
    }
}
