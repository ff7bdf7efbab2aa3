//! The simulator: whole worlds of publishers, sequencers and subscribers, in one thread, from one seed.
//!
//! It runs the production agents, put together by the production [`topology`](crate::topology), over a simulated network,
//! disk and clock. Agents take their turns at times of their own; faults come by a schedule that the seed draws; a
//! referee looks after every step. The same seed gives the same run, event by event, on every machine.
//!
//! | module | what |
//! |---|---|
//! | `plan`, `settings`, `load` | what a seed means: nodes, configurations, faults and their times, what publishers say |
//! | `world`, `process`, `weather` | whose turn is next; processes that start, freeze, die; faults in force |
//! | `net`, `disk`, `clock`, `coordinator`, `environment` | what agents find around them |
//! | `referee` | what must never happen, and who catches up |
//! | `trace`, `fault` | what happened, line by line, and what was injected |
//! | `flaw` | what is wrong on purpose, to see that the referee finds it |

mod clock;
mod coordinator;
mod dice;
mod disk;
mod environment;
mod fault;
mod flaw;
mod load;
mod net;
mod plan;
mod process;
mod referee;
mod settings;
mod shared;
mod trace;
mod weather;
mod world;

pub use fault::{FaultClass, Injected};
pub use flaw::Flaw;
pub use referee::{Rule, Violation};

use crate::time::Nanos;
use trace::Trace;
use world::World;

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// Faults that really happened.
    pub injected: Injected,
    /// Messages that were ordered and told of.
    pub messages: u64,
    /// Somebody could lead to the end. By rule nobody can once every member of an in-sync set that keeps messages in memory
    /// has lost its power.
    pub has_heirs: bool,
    /// How long it took in the world's time.
    pub virtual_time: Nanos,
    /// Turns that agents took.
    pub turns: u64,
    /// Events of the trace.
    pub events: u64,
    /// One number for the whole trace: equal for equal runs.
    pub trace_hash: u64,
}

/// Runs the world of `seed` to its end.
pub fn run(seed: u64) -> Report {
    play(seed, None, Trace::default())
}

/// As [`run`], in a world with a flaw that the referee must find.
pub fn run_flawed(seed: u64, flaw: Flaw) -> Report {
    play(seed, Some(flaw), Trace::default())
}

/// As [`run`], and gives every event to `line` as a line of text.
pub fn run_traced(seed: u64, line: impl FnMut(&str) + Send + 'static) -> Report {
    play(seed, None, Trace::new(Some(Box::new(line))))
}

fn play(seed: u64, flaw: Option<Flaw>, trace: Trace) -> Report {
    let mut world = World::new(seed, flaw, trace);
    world.run();
    world.report(seed)
}
