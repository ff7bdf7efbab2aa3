//! The sequencer's state on several nodes: who is primary, what is committed, and how standbys get it.
//!
//! No I/O. The data plane is primary and backup: a commit waits for every member of the in-sync set ([`CommitGate`]), so
//! any member can take over without merging histories. The control plane is one small record that changes only by
//! compare-and-swap at a coordinator.

mod coordinator;
mod gate;
mod member;
#[cfg(any(test, feature = "sim"))]
mod mutation;
mod position;

pub use coordinator::{Answer, Coordinator, Record, Request, Versioned};
pub use gate::{Ack, ChangeError, Closed, CommitGate, Durability, Standing, Watermarks};
pub use member::{Member, Members, NodeId};
#[cfg(any(test, feature = "sim"))]
pub use mutation::Mutation;
pub use position::Position;
