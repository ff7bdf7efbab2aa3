//! Scripts for publishers: where the messages come from, and when each is due.
//!
//! A [`Messages`] lends one message after the other: a [`Day`](crate::day::Day) in the making, a BinaryFILE or a
//! capture. A [`Player`] plays it at a [`Pace`] as the engine's
//! [`Script`](seqcast_engine::agents::publisher::Script), alone or as one [`Share`] of several publishers. What became
//! of the source is told to whoever kept the player's [`Watch`].

mod generator;
mod messages;
mod number;
mod pace;
mod player;
mod renumber;
mod share;

pub use generator::Generated;
pub use messages::{Message, Messages, SourceError};
pub use pace::{Pace, PaceError};
pub use player::{Ended, Player, Watch};
pub use renumber::{Renumber, Renumbered};
pub use share::{Share, ShareError};
