//! Seqcast's engine: sequenced feeds from publishers through a sequencer to order books.
//!
//! The folder tree is the architecture. **Core** modules ([`feed`], [`downstream`], [`rewind`], [`session`],
//! [`journal`], [`sequencer`], [`replica`], [`book`]) are state machines without I/O, clocks, threads or locks, and do not know
//! one another. [`io`] moves datagrams and bytes and knows no sequence numbers; [`coordinator`] keeps the record of who
//! leads. [`agents`] join them, once per duty cycle; [`runtime`] runs agents on pinned threads. [`manual`] explains the
//! whole.

pub mod limits;
pub mod time;

pub mod frame;
pub mod mem;
pub mod ring;
pub mod sync;

pub mod book;
pub mod downstream;
pub mod feed;
pub mod journal;
pub mod replica;
pub mod rewind;
pub mod sequencer;
pub mod session;

pub mod coordinator;
pub mod io;

pub mod runtime;
pub mod stat;

pub mod agents;
pub mod config;
pub mod manual;
#[cfg(feature = "sim")]
pub mod sim;
pub mod topology;
