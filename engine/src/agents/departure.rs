//! How a process that is about to end takes leave of the cluster.

use crate::sync::Flag;

/// A node is asked to leave, and says when it has. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Departure {
    asked: Flag,
    allowed: Flag,
}

impl Departure {
    /// One that nobody has asked for.
    pub fn new() -> Departure {
        Departure::default()
    }

    /// The process is about to end: its node is to hand over if it leads, and to leave the in-sync set.
    pub fn ask(&self) {
        self.asked.raise();
    }

    /// Whether it is.
    pub fn is_asked(&self) -> bool {
        self.asked.is_raised()
    }

    /// Nobody waits for the node any more, or nobody can take its place.
    pub fn allow(&self) {
        self.allowed.raise();
    }

    /// Whether the process may end.
    pub fn is_allowed(&self) -> bool {
        self.allowed.is_raised()
    }
}
