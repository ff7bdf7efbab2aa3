//! Plays messages at their times.

use std::sync::{Arc, OnceLock};

use seqcast_engine::agents::publisher::Script;
use seqcast_engine::time::Nanos;

use super::pace::Timetable;
use super::{Messages, Pace, PaceError, Share, SourceError};

/// A source, played at a pace.
///
/// A source that cannot be read any further **ends the script there**: what came before is published and the session
/// ends in order, since nothing else could follow; the error is in the [`Watch`], and whoever runs the publisher
/// reports it once it has finished.
#[derive(Debug)]
pub struct Player<M> {
    messages: M,
    share: Share,
    timetable: Timetable,
    /// When the source's current message is due; `None` when it was played.
    due: Option<Nanos>,
    played: u64,
    watch: Watch,
}

/// How a source ended.
#[derive(Debug)]
pub struct Ended {
    /// Messages played.
    pub messages: u64,
    /// Why there were no more, if not because that was all.
    pub failure: Option<SourceError>,
    /// What the source lacked or left out.
    pub notices: Vec<String>,
}

/// Sees how a player's source ended, from any thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<OnceLock<Ended>>);

impl Watch {
    /// How it ended; `None` as long as it has not.
    pub fn ended(&self) -> Option<&Ended> {
        self.0.get()
    }
}

impl<M: Messages> Player<M> {
    /// Plays the messages of `messages` that are in `share`.
    ///
    /// # Errors
    /// See [`Pace::check`].
    pub fn new(messages: M, pace: Pace, share: Share) -> Result<Player<M>, PaceError> {
        let timetable = Timetable::new(pace.check()?);
        Ok(Player { messages, share, timetable, due: None, played: 0, watch: Watch::default() })
    }

    /// Where to see how the source ended, once the player is given away.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Goes to the next message of the share and gives when it is due.
    fn load(&mut self) -> Option<Nanos> {
        if self.watch.ended().is_some() {
            return None;
        }
        let failure = loop {
            match self.messages.advance() {
                Ok(true) => {
                    let message = self.messages.current();
                    if self.share.takes(message.bytes) {
                        return Some(self.timetable.next_due(message.stamp_ns));
                    }
                }
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        let ended = Ended { messages: self.played, failure, notices: self.messages.notices() };
        // Set once: nothing is loaded after the end.
        let _ = self.watch.0.set(ended);
        None
    }
}

impl<M: Messages> Script for Player<M> {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        self.timetable.start(now);
        if self.due.is_none() {
            self.due = self.load();
        }
        let due = self.due.filter(|due| *due <= now)?;
        Some((due, self.messages.current().bytes))
    }

    fn advance(&mut self) {
        if self.due.take().is_some() {
            self.played += 1;
        }
    }

    fn is_finished(&self) -> bool {
        self.due.is_none() && self.watch.ended().is_some()
    }
}
