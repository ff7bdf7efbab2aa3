//! Benchmarks for users on their own hosts: `seqcast bench`.
//!
//! Everything here runs the agents, drivers and rings that production runs, put together by the same topology. Load comes
//! in an open loop: a message is due at its own time whatever became of those before, and its latency counts from
//! then, so that a stall shows in every message that it delays (no coordinated omission). What is compared is measured
//! in turn, several times; a figure is the median of its repeats, with an interval. Before and after, the host alone is
//! measured: a percentile at which it takes the core away for as long says nothing about Seqcast, and is marked.

pub mod book;
mod burst;
mod busy;
mod compare;
mod curve;
mod curve_plot;
pub mod echo;
mod fanout;
mod files;
mod fingerprint;
mod flow;
mod growth;
mod hosting;
mod jitter;
mod load;
mod loss;
mod observer;
mod page;
mod ping;
mod pipe;
mod place;
mod plot;
mod report;
pub mod ring;
mod schedule;
mod session;
mod site;
mod stage;
mod summary;
#[cfg(test)]
mod testing;
mod text;
mod wire;

pub(crate) use book::{Book, run as book};
pub(crate) use burst::{Burst, run as burst};
pub(crate) use compare::{compare, read};
pub(crate) use fanout::{Fanout, MAX_SUBSCRIBERS, run as fanout};
pub(crate) use files::write as write_files;
pub(crate) use flow::Flow;
pub(crate) use growth::{Axis, Growth, MAX_LENGTH, MAX_ORDERS, run as growth};
pub(crate) use hosting::run as host;
pub(crate) use load::{Load, run as load};
pub(crate) use loss::{Loss, run as loss};
pub(crate) use observer::SPANS;
pub(crate) use ping::{Ping, run as ping};
pub use ping::{ROUND_TRIP, driver_name, round_trips};
pub(crate) use pipe::{Pipe, run as pipe};
pub use place::Place;
pub use report::{Report, Unit, Variant};
pub(crate) use ring::run as ring;
pub(crate) use schedule::MAX_MESSAGES;
pub use schedule::Timing;
pub use session::{Session, Subject};
pub(crate) use wire::Between;
