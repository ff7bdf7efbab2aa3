//! Coordinators: who keeps the record of the primary and the in-sync set ([`replica::Coordinator`](crate::replica)).
//!
//! Here is the one for the nodes of one machine, in files; the one in etcd is a part of the `seqcast` program, which may
//! speak HTTP. This is no part of [`crate::io`], which knows datagrams and memory, and neither epochs nor nodes.
//!
//! No coordinator holds a lock, or a lease, that would mean leadership: a stopped process keeps what it holds, and a slow one
//! believes that it still does. What counts is the record, and who changed it last.

mod file;
mod versions;

pub use file::{FileCoordinator, OpenError};
