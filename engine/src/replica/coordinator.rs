//! The seam to the coordinator: one record, read and changed by compare-and-swap.

use super::member::Member;
use super::member::Members;
use crate::time::Nanos;
use seqcast_wire::Session;

/// What the coordinator keeps: who may commit, and who may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Session that it is about.
    pub session: Session,
    /// Epoch of the primary: each has its own, and a higher one than all before.
    pub epoch: u64,
    /// The primary, with the incarnation of its journal.
    pub primary: Member,
    /// The in-sync set, the primary included.
    pub in_sync: Members,
}

/// A [`Record`] and the coordinator's own number of this version of it. Never 0: that is "there is none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Version.
    pub revision: u64,
    /// The record.
    pub record: Record,
}

/// What is asked of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The record, linearizably.
    Read,
    /// Replace version `expected` (0: there is none yet) by `record`.
    Swap {
        /// The version to replace.
        expected: u64,
        /// What to put there.
        record: Record,
    },
}

/// What the coordinator answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Read`]: the record as it is now.
    Read(Option<Versioned>),
    /// The swap was made.
    Swapped(Versioned),
    /// The swap was not made and never will be: another version is there.
    Lost,
    /// Not known: a swap may have been made, or may yet be. Read again.
    Unknown,
}

/// A coordinator. It may block a cold thread for as long as its own timeouts say; it never sits in the path of events.
pub trait Coordinator: Send {
    /// Asks. One request is outstanding at a time: the next one is asked after the answer to the last.
    fn submit(&mut self, now: Nanos, request: Request);

    /// The answer, once it is there.
    fn poll(&mut self, now: Nanos) -> Option<Answer>;
}
