//! Scripts for publishers: where the messages come from, and when each is due.
//!
//! A [`Messages`] lends one message after the other: a [`Day`](crate::day::Day) in the making, a BinaryFILE or a
//! capture. A [`Player`] plays it at a [`Pace`] as the engine's
//! [`Script`](seqcast_engine::agents::publisher::Script), alone or as one [`Share`] of several publishers. What became
//! of the source is told to whoever kept the player's [`Watch`].

mod binary;
mod capture;
mod generator;
mod messages;
mod number;
mod pace;
mod player;
mod renumber;
mod share;
#[cfg(test)]
mod testing;

use std::path::Path;

use anyhow::bail;
use seqcast_wire::Session;

pub use binary::Recorded;
pub use capture::Captured;
pub use generator::Generated;
pub use messages::{Message, Messages, SourceError};
pub use pace::{Pace, PaceError};
pub use player::{Ended, Player, Watch};
pub use renumber::{Renumber, Renumbered};
pub use share::{Share, ShareError};

use crate::input::Kind;

/// Opens a BinaryFILE or a capture, whichever `path` is. `session` chooses one of a capture's MoldUDP64 sessions; a
/// capture with only one needs none.
///
/// # Errors
/// The file cannot be read, is empty, compressed or a directory; a session was asked of a BinaryFILE; and those of
/// [`Captured::open`].
pub fn open(path: &Path, session: Option<Session>) -> anyhow::Result<Box<dyn Messages>> {
    Ok(match Kind::of(path)? {
        Kind::Capture => Box::new(Captured::open(path, session)?),
        Kind::BinaryFile if session.is_some() => {
            bail!("{} is no capture and has no sessions: name none", path.display())
        }
        Kind::BinaryFile => Box::new(Recorded::open(path)?),
    })
}
