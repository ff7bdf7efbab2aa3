//! An agent that comes later: the thread is there from the start, what it runs is not.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use seqcast_engine::runtime::{Agent, AgentError, Invoker};
use seqcast_engine::time::Nanos;

/// Where the agent is put when its time has come.
#[derive(Clone)]
pub(crate) struct Seat(Arc<ArrayQueue<Box<dyn Agent>>>);

impl Seat {
    pub(crate) fn new() -> Seat {
        Seat(Arc::new(ArrayQueue::new(1)))
    }

    pub(crate) fn take(&self, agent: impl Agent + 'static) {
        self.0.force_push(Box::new(agent));
    }
}

/// Runs whoever takes the seat, until it has finished.
pub(crate) struct Later {
    seat: Seat,
    agent: Option<Invoker<Box<dyn Agent>>>,
}

impl Later {
    pub(crate) fn new(seat: &Seat) -> Later {
        Later { seat: seat.clone(), agent: None }
    }
}

impl Agent for Later {
    fn name(&self) -> &str {
        "late"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        if self.agent.is_none() {
            self.agent = self.seat.0.pop().map(Invoker::new);
        }
        self.agent.as_mut().map_or(Ok(0), |agent| agent.invoke(now))
    }

    fn on_close(&mut self, now: Nanos) {
        if let Some(agent) = &mut self.agent {
            agent.close(now);
        }
    }
}
