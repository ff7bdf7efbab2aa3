//! From a configuration to the agents of a process, their rings and their threads.
//!
//! The same functions serve a process with one role, the demo (all roles in one process) and tests that drive the
//! agents by hand: a [`Node`] is launched on threads or turned into one composite. What a process finds around it
//! comes from an [`Environment`]: the [`Host`], or a simulated world.

mod environment;
mod node;
mod plan;
mod publisher;
mod sequencer;
mod subscriber;

pub use environment::{Environment, Host};
pub use node::{Node, Running};
pub use plan::{driver, driver_config};
pub use publisher::{publisher, publisher_in};
pub use sequencer::{SequencerParts, SequencerTrace, sequencer, sequencer_in, sequencer_on};
pub use subscriber::{SubscriberParts, subscriber, subscriber_in, subscriber_on};
