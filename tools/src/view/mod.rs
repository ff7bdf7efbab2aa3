//! What a subscriber's user sees: [applications](seqcast_engine::agents::books::Application) that print, record and
//! sum up.
//!
//! | application | does |
//! |---|---|
//! | [`View`] | prints best prices, depth, trades, messages or events, as text, CSV or JSON lines |
//! | [`Recorder`] | writes every message to a BinaryFILE |
//! | [`Summarizer`] | counts, and leaves a [`Summary`] at the end |
//! | [`Tee`] | joins several |
//!
//! They run on the agent's thread. What they print goes through an [`Outlet`]: a bounded buffer, written out when it
//! is full and whenever nothing else is to do. A reader of it that is slow makes the agent slow, and what becomes of
//! the feed then is decided by the subscriber's policy for slow consumers; a reader that is gone is told by the
//! outlet's [`OutletStatus`].

mod fields;
mod ladder;
mod line;
mod outlet;
mod recorder;
mod show;
mod stats;
mod summary;
mod symbols;
mod tee;
#[cfg(test)]
mod testing;

pub(crate) use fields::{Described, Hex};
pub(crate) use ladder::{DepthLine, Ladder};
pub use outlet::{Outlet, OutletStatus};
pub use recorder::{Recorder, Recording};
pub use show::{Format, Show, View, ViewConfig};
pub(crate) use stats::{BookCounts, hex_digest};
pub use summary::{BooksSummary, Ending, Summarizer, Summary};
pub use symbols::parse_symbol;
pub use tee::Tee;
