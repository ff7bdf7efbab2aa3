//! How Seqcast works, for those who run it, change it or judge it.
//!
//! | chapter | answers |
//! |---|---|
//! | [`overview`] | What is a feed, which roles are there, where is what in the sources? |
//! | [`event`] | What happens to a message between a publisher and a book, and what does each step cost? |
//! | [`failover`] | When is a message final? What survives which failure, and what does not? |
//! | [`operating`] | How do I configure, watch and stop it? What does a message of it mean? |
//! | [`measuring`] | How fast is it on my hosts, and what does a figure mean? |
//! | [`testing`] | How is it tested, and how do I run that? |
//! | [`decisions`] | Why is it so, and what was measured? |
//!
//! The chapters describe what is there. Formats stand, byte by byte, with the modules of the `seqcast_wire` crate and
//! with [`frame`](crate::frame); each module's own page tells its contract.

pub mod decisions;
pub mod event;
pub mod failover;
pub mod measuring;
pub mod operating;
pub mod overview;
pub mod testing;
