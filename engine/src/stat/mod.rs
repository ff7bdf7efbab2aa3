//! What a process tells about itself: counters, latencies, errors.
//!
//! | type | what | written | read |
//! |---|---|---|---|
//! | [`Counters`] | labelled 64-bit numbers and the distinct [`Errors`], in one mapped file | by agents, a plain store each | by tools of other processes ([`CountersReader`]), also after a crash |
//! | [`Latency`] | a histogram of fixed range and size | by the agent that owns it | through [`swapped`] while it runs, or at its end |
//! | [`StageStamps`] | when the same message passed each stage, inside one process | by each stage's agent | by whoever joins them |
//!
//! Nothing here allocates, locks or calls the kernel once an agent works, but recording an error, which is rare and
//! takes a lock.

mod counters;
mod errors;
mod hgrm;
mod latency;
mod layout;
mod stages;

pub use counters::{Counter, CounterReading, Counters, CountersError, CountersReader, CountersSpec};
pub use errors::{ErrorReading, Errors};
pub use hgrm::write_hgrm;
pub use latency::{Latency, LatencyReader, LatencyWriter, Percentiles, swapped};
pub use layout::{LABEL_BYTES, NAME_BYTES};
pub use stages::{STAGES, Stage, StageStamps};
