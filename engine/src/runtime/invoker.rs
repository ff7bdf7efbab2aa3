//! Running an agent by hand.

use super::agent::{Agent, AgentError};
use crate::time::Nanos;

/// Runs an agent one duty cycle at a time, with the caller's own idea of `now`.
///
/// Keeps the agent's contract: starts it before its first duty cycle, and closes it exactly once.
#[derive(Debug)]
pub struct Invoker<A: Agent> {
    agent: A,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    New,
    Running,
    Closed(AgentError),
}

impl<A: Agent> Invoker<A> {
    /// An invoker of `agent`, which is not started yet.
    pub fn new(agent: A) -> Invoker<A> {
        Invoker { agent, state: State::New }
    }

    /// Starts the agent. Does nothing when it was started before.
    ///
    /// # Errors
    /// What the agent said; it is closed then.
    pub fn start(&mut self, now: Nanos) -> Result<(), AgentError> {
        match &self.state {
            State::Running => Ok(()),
            State::Closed(why) => Err(why.clone()),
            State::New => {
                self.state = State::Running;
                let started = self.agent.on_start(now);
                started.map_err(|why| self.end(now, why))
            }
        }
    }

    /// One duty cycle; starts the agent if that has not been done. Gives the amount of work.
    ///
    /// # Errors
    /// What the agent said; it is closed then, and every later call gives the same again.
    pub fn invoke(&mut self, now: Nanos) -> Result<usize, AgentError> {
        self.start(now)?;
        let worked = self.agent.do_work(now);
        worked.map_err(|why| self.end(now, why))
    }

    /// Closes the agent. Does nothing when it never started or is closed already.
    pub fn close(&mut self, now: Nanos) {
        match self.state {
            State::New => self.state = State::Closed(AgentError::Finished),
            State::Running => {
                self.end(now, AgentError::Finished);
            }
            State::Closed(_) => {}
        }
    }

    /// Whether the agent has ended or was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// The agent.
    pub fn agent(&self) -> &A {
        &self.agent
    }

    /// The agent, to talk to it between duty cycles.
    pub fn agent_mut(&mut self) -> &mut A {
        &mut self.agent
    }

    /// Gives the agent back.
    pub fn into_agent(self) -> A {
        self.agent
    }

    fn end(&mut self, now: Nanos, why: AgentError) -> AgentError {
        self.state = State::Closed(why.clone());
        self.agent.on_close(now);
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::{Script, Scripted};

    #[test]
    fn starts_once_works_and_closes_once() {
        let (agent, calls) = Scripted::new("a", [Script::Work(3), Script::Work(0), Script::Finish]);
        let mut invoker = Invoker::new(agent);
        assert_eq!(invoker.invoke(Nanos(1)), Ok(3));
        assert_eq!(invoker.invoke(Nanos(2)), Ok(0));
        assert!(!invoker.is_closed());
        assert_eq!(invoker.invoke(Nanos(3)), Err(AgentError::Finished));
        assert!(invoker.is_closed());
        assert_eq!(invoker.invoke(Nanos(4)), Err(AgentError::Finished));
        invoker.close(Nanos(5));
        assert_eq!(calls.take(), ["a start 1", "a work 1", "a work 2", "a work 3", "a close 3"]);
    }

    #[test]
    fn a_failure_is_remembered() {
        let (agent, calls) = Scripted::new("a", [Script::Fail("no space left")]);
        let mut invoker = Invoker::new(agent);
        let failure = AgentError::failed("no space left");
        assert_eq!(invoker.invoke(Nanos(1)), Err(failure.clone()));
        assert_eq!(invoker.invoke(Nanos(2)), Err(failure));
        assert_eq!(calls.take(), ["a start 1", "a work 1", "a close 1"]);
    }

    #[test]
    fn an_agent_that_cannot_start_is_closed_and_never_works() {
        let (agent, calls) = Scripted::failing_to_start("a", "address in use");
        let mut invoker = Invoker::new(agent);
        assert_eq!(invoker.invoke(Nanos(1)), Err(AgentError::failed("address in use")));
        invoker.invoke(Nanos(2)).unwrap_err();
        assert_eq!(calls.take(), ["a start 1", "a close 1"]);
    }

    #[test]
    fn an_agent_that_never_started_is_not_closed() {
        let (agent, calls) = Scripted::new("a", []);
        let mut invoker = Invoker::new(agent);
        invoker.close(Nanos(1));
        assert_eq!(invoker.invoke(Nanos(2)), Err(AgentError::Finished));
        assert!(calls.take().is_empty());
    }

    #[test]
    fn a_boxed_agent_is_an_agent() {
        let (agent, calls) = Scripted::new("a", [Script::Work(1)]);
        let mut invoker = Invoker::new(Box::new(agent) as Box<dyn Agent>);
        assert_eq!(invoker.invoke(Nanos(1)), Ok(1));
        invoker.close(Nanos(2));
        assert_eq!(invoker.agent().name(), "a");
        assert_eq!(calls.take(), ["a start 1", "a work 1", "a close 2"]);
    }
}
