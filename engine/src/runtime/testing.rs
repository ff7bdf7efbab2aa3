//! An agent that follows a script and writes down how it was called.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::agent::{Agent, AgentError};
use crate::time::Nanos;

/// What one duty cycle of a [`Scripted`] agent does. After the script's end it does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    Work(usize),
    Finish,
    Fail(&'static str),
    Panic(&'static str),
}

/// The calls that agents got, in order: "name call now".
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn push(&self, name: &str, call: &str, now: Nanos) {
        self.0.lock().unwrap().push(format!("{name} {call} {}", now.0));
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Scripted {
    name: &'static str,
    start: Result<(), AgentError>,
    script: VecDeque<Script>,
    calls: Calls,
}

impl Scripted {
    pub(crate) fn new(name: &'static str, script: impl IntoIterator<Item = Script>) -> (Scripted, Calls) {
        let calls = Calls::default();
        (Scripted { name, start: Ok(()), script: script.into_iter().collect(), calls: calls.clone() }, calls)
    }

    pub(crate) fn failing_to_start(name: &'static str, what: &str) -> (Scripted, Calls) {
        let (agent, calls) = Scripted::new(name, []);
        (Scripted { start: Err(AgentError::failed(what)), ..agent }, calls)
    }

    pub(crate) fn reporting_to(self, calls: &Calls) -> Scripted {
        Scripted { calls: calls.clone(), ..self }
    }
}

impl Agent for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn on_start(&mut self, now: Nanos) -> Result<(), AgentError> {
        self.calls.push(self.name, "start", now);
        self.start.clone()
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        self.calls.push(self.name, "work", now);
        match self.script.pop_front() {
            None => Ok(0),
            Some(Script::Work(count)) => Ok(count),
            Some(Script::Finish) => Err(AgentError::Finished),
            Some(Script::Fail(what)) => Err(AgentError::failed(what)),
            Some(Script::Panic(what)) => panic!("{what}"),
        }
    }

    fn on_close(&mut self, now: Nanos) {
        self.calls.push(self.name, "close", now);
    }
}
