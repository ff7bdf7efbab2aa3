//! The replication stream: its two ends alone, and against one another over a bad network, in simulated time.

mod hostile;
mod image;
mod pair;
mod support;
mod tails;
mod world;
