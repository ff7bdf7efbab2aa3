//! The agent: one role's work, cut into duty cycles.

use std::fmt::Display;
use std::io;

use crate::time::Nanos;

/// Something that does a bounded amount of work each time it is asked, and never blocks.
///
/// The order of calls is `on_start`, any number of `do_work`, `on_close`. `on_close` is called exactly once when
/// `on_start` was called, even if that failed; only an agent that panicked is not called again, because nothing is
/// known about its state any more.
pub trait Agent: Send {
    /// Name for threads, counters and messages: short, in lower case, unique in the process.
    fn name(&self) -> &str;

    /// Called once, on the thread that will run the agent and before its first duty cycle: the place to allocate.
    ///
    /// # Errors
    /// The agent cannot run.
    fn on_start(&mut self, now: Nanos) -> Result<(), AgentError> {
        let _ = now;
        Ok(())
    }

    /// One duty cycle: does what is due now and gives the amount of work done; 0 means idle, and the caller may
    /// then rest. `now` never goes backwards.
    ///
    /// # Errors
    /// [`AgentError::Finished`] when there will be no more work, [`AgentError::Failed`] when it cannot go on.
    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError>;

    /// Called once at the end: the place to flush and to say goodbye.
    fn on_close(&mut self, now: Nanos) {
        let _ = now;
    }
}

impl<A: Agent + ?Sized> Agent for Box<A> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn on_start(&mut self, now: Nanos) -> Result<(), AgentError> {
        (**self).on_start(now)
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        (**self).do_work(now)
    }

    fn on_close(&mut self, now: Nanos) {
        (**self).on_close(now);
    }
}

/// Why an agent stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// It has done all there was to do. The normal end, not a fault.
    #[error("finished")]
    Finished,
    /// It cannot go on.
    #[error("{what}")]
    Failed {
        /// What is wrong, where, and what to do about it.
        what: String,
    },
}

impl AgentError {
    /// A failure, described by `what`.
    pub fn failed(what: impl Display) -> AgentError {
        AgentError::Failed { what: what.to_string() }
    }
}

impl From<io::Error> for AgentError {
    fn from(error: io::Error) -> AgentError {
        AgentError::failed(error)
    }
}
