//! Several agents as one.

use super::agent::{Agent, AgentError};
use super::invoker::Invoker;
use crate::time::Nanos;

/// Agents that share a thread: each gets a turn in every duty cycle, in the order given.
///
/// An agent that finishes is closed and leaves; the composite finishes when the last one has. One that fails fails
/// the whole: agents on one core usually need each other, and a feed that half works is worse than none.
pub struct Composite {
    name: String,
    agents: Vec<Invoker<Box<dyn Agent>>>,
}

impl Composite {
    /// A composite of `agents`, named for the thread.
    pub fn new(name: impl Into<String>, agents: Vec<Box<dyn Agent>>) -> Composite {
        Composite { name: name.into(), agents: agents.into_iter().map(Invoker::new).collect() }
    }

    /// Runs `step` for each agent and lets those go that finished by it. Gives the sum of the work.
    fn each(
        &mut self,
        step: impl Fn(&mut Invoker<Box<dyn Agent>>) -> Result<usize, AgentError>,
    ) -> Result<usize, AgentError> {
        let mut work_count = 0;
        let mut finished = false;
        for invoker in &mut self.agents {
            match step(invoker) {
                Ok(count) => work_count += count,
                Err(AgentError::Finished) => {
                    finished = true;
                    // The thread must not rest before the others had a chance to see the end.
                    work_count += 1;
                }
                Err(AgentError::Failed { what }) => {
                    return Err(AgentError::Failed { what: format!("{}: {what}", invoker.agent().name()) });
                }
            }
        }
        if finished {
            self.agents.retain(|invoker| !invoker.is_closed());
        }
        if self.agents.is_empty() { Err(AgentError::Finished) } else { Ok(work_count) }
    }
}

impl Agent for Composite {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_start(&mut self, now: Nanos) -> Result<(), AgentError> {
        self.each(|invoker| invoker.start(now).map(|()| 0)).map(|_| ())
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        self.each(|invoker| invoker.invoke(now))
    }

    fn on_close(&mut self, now: Nanos) {
        for invoker in &mut self.agents {
            invoker.close(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::{Calls, Script, Scripted};

    fn composite(agents: Vec<(Scripted, Calls)>) -> (Invoker<Composite>, Calls) {
        let calls = Calls::default();
        let agents = agents
            .into_iter()
            .map(|(agent, _)| Box::new(agent.reporting_to(&calls)) as Box<dyn Agent>)
            .collect();
        (Invoker::new(Composite::new("both", agents)), calls)
    }

    #[test]
    fn agents_take_turns_and_their_work_adds_up() {
        let (mut both, calls) = composite(vec![
            Scripted::new("a", [Script::Work(1), Script::Work(0)]),
            Scripted::new("b", [Script::Work(2), Script::Work(0)]),
        ]);
        assert_eq!(both.invoke(Nanos(1)), Ok(3));
        assert_eq!(both.invoke(Nanos(2)), Ok(0));
        both.close(Nanos(3));
        let expected = [
            "a start 1",
            "b start 1",
            "a work 1",
            "b work 1",
            "a work 2",
            "b work 2",
            "a close 3",
            "b close 3",
        ];
        assert_eq!(calls.take(), expected);
    }

    #[test]
    fn a_finished_agent_leaves_and_the_last_one_ends_it() {
        let (mut both, calls) = composite(vec![
            Scripted::new("a", [Script::Finish]),
            Scripted::new("b", [Script::Work(0), Script::Work(0), Script::Finish]),
        ]);
        assert_eq!(both.invoke(Nanos(1)), Ok(1), "an end is news: no rest yet");
        assert_eq!(both.invoke(Nanos(2)), Ok(0));
        assert_eq!(both.invoke(Nanos(3)), Err(AgentError::Finished));
        let expected = [
            "a start 1",
            "b start 1",
            "a work 1",
            "a close 1",
            "b work 1",
            "b work 2",
            "b work 3",
            "b close 3",
        ];
        assert_eq!(calls.take(), expected);
    }

    #[test]
    fn one_failing_agent_fails_all_and_is_named() {
        let (mut both, calls) = composite(vec![
            Scripted::new("a", [Script::Work(0)]),
            Scripted::new("b", [Script::Fail("disk full")]),
        ]);
        assert_eq!(both.invoke(Nanos(1)), Err(AgentError::failed("b: disk full")));
        assert_eq!(calls.take()[2..], ["a work 1", "b work 1", "b close 1", "a close 1"]);
    }

    #[test]
    fn agents_after_one_that_cannot_start_are_neither_started_nor_closed() {
        let (mut both, calls) = composite(vec![
            Scripted::new("a", []),
            Scripted::failing_to_start("b", "address in use"),
            Scripted::new("c", []),
        ]);
        assert_eq!(both.invoke(Nanos(1)), Err(AgentError::failed("b: address in use")));
        assert_eq!(calls.take(), ["a start 1", "b start 1", "b close 1", "a close 1"]);
    }

    #[test]
    fn a_composite_of_nothing_is_finished() {
        let (mut none, _) = composite(vec![]);
        assert_eq!(none.invoke(Nanos(1)), Err(AgentError::Finished));
    }
}
