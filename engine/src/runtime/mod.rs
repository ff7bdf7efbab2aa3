//! What runs agents: on threads of their own, several on one thread, or one step at a time.
//!
//! An [`Agent`] does a bounded amount of work when it is asked to (a *duty cycle*) and never blocks. Who asks is not
//! its business:
//!
//! - a [`Runner`] is a thread, pinned to a core when the configuration says so, that reads the [`Clock`] once per
//!   duty cycle and idles by an [`IdleStrategy`] when there was nothing to do;
//! - an [`Invoker`] lets the caller drive with a time of the caller's choosing: simulator, tests, applications with
//!   a loop of their own;
//! - a [`Composite`] makes one agent of several, for machines with fewer cores than agents.
//!
//! A [`StallTracker`] knows the time between duty cycles, and so whether the thread itself was away: a silence that
//! one has slept through proves nothing about the peer. A [`Waker`] ends a cold thread's rest when something is urgent.

mod affinity;
mod agent;
mod clock;
mod composite;
mod idle;
mod invoker;
mod runner;
mod stall;
#[cfg(test)]
mod testing;
mod waker;

pub use affinity::{Pinned, allowed_cores, pin_current_thread};
pub use agent::{Agent, AgentError};
pub use clock::{Clock, WallClock, wall_ns};
pub use composite::Composite;
pub use idle::{IdleStrategy, Idler};
pub use invoker::Invoker;
pub use runner::{Outcome, Runner, RunnerConfig, RunnerHandle, RunnerReport, SpawnError, StopFlag};
pub use stall::StallTracker;
pub use waker::Waker;
