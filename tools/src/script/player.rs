//! Plays messages at their times.

use std::sync::{Arc, OnceLock};

use seqcast_engine::agents::publisher::Script;
use seqcast_engine::sync::Flag;
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
    /// Ends it early.
    end: Flag,
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
        let (end, watch) = (Flag::new(), Watch::default());
        Ok(Player { messages, share, timetable, due: None, played: 0, end, watch })
    }

    /// Ends in order, whatever is left, once `end` is raised.
    pub fn ending_on(mut self, end: Flag) -> Player<M> {
        self.end = end;
        self
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
            if self.end.is_raised() {
                break None;
            }
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
        if self.end.is_raised() {
            self.due = None;
        }
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::script::Message;

    /// Gives what it is told, then ends or fails.
    struct Told {
        messages: Vec<(Option<u64>, &'static [u8])>,
        at: usize,
        fails: bool,
    }

    fn told(messages: &[(Option<u64>, &'static [u8])]) -> Told {
        Told { messages: messages.to_vec(), at: 0, fails: false }
    }

    impl Messages for Told {
        fn advance(&mut self) -> Result<bool, SourceError> {
            if self.at == self.messages.len() && std::mem::take(&mut self.fails) {
                return Err(SourceError::CutOff { what: "cut".into() });
            }
            self.at += 1;
            Ok(self.at <= self.messages.len())
        }

        fn current(&self) -> Message<'_> {
            let (stamp_ns, bytes) = self.messages[self.at - 1];
            Message { stamp_ns, bytes }
        }

        fn notices(&self) -> Vec<String> {
            vec!["as told".into()]
        }
    }

    /// What is taken at `now`, with the times it was due.
    fn take(player: &mut impl Script, now: u64) -> Vec<(u64, Vec<u8>)> {
        let mut taken = Vec::new();
        while let Some((due, bytes)) = player.peek(Nanos(now)) {
            taken.push((due.0, bytes.to_vec()));
            player.advance();
        }
        taken
    }

    const ABC: [(Option<u64>, &[u8]); 3] =
        [(Some(5), b"A\0\x01"), (Some(6), b"A\0\x02"), (Some(9), b"A\0\x03")];

    #[test]
    fn messages_come_when_they_are_due() {
        let mut player = Player::new(told(&ABC), Pace::Recorded { speed: 1.0 }, Share::ALL).unwrap();
        assert_eq!(take(&mut player, 100), [(100, b"A\0\x01".to_vec())]);
        assert_eq!(take(&mut player, 100), []);
        assert!(!player.is_finished());
        assert_eq!(take(&mut player, 103), [(101, b"A\0\x02".to_vec())], "due earlier than it is asked for");
        assert_eq!(take(&mut player, 104), [(104, b"A\0\x03".to_vec())]);
        assert!(player.is_finished());
        let watch = player.watch();
        let ended = watch.ended().unwrap();
        assert_eq!((ended.messages, ended.notices.len()), (3, 1));
        assert!(ended.failure.is_none());
    }

    #[test]
    fn peeking_is_no_taking() {
        let mut player = Player::new(told(&ABC), Pace::AsFast, Share::ALL).unwrap();
        for _ in 0..3 {
            assert_eq!(player.peek(Nanos(1)), Some((Nanos(1), &b"A\0\x01"[..])));
        }
        player.advance();
        player.advance();
        assert_eq!(player.peek(Nanos(2)), Some((Nanos(1), &b"A\0\x02"[..])), "one at a time");
    }

    #[test]
    fn an_open_loop_does_not_wait_for_who_is_late() {
        let rate = Pace::Rate(NonZeroU64::new(1_000_000_000).unwrap());
        let mut player = Player::new(told(&ABC), rate, Share::ALL).unwrap();
        assert_eq!(player.peek(Nanos(10)).unwrap().0, Nanos(10));
        let dues: Vec<u64> = take(&mut player, 500).iter().map(|(due, _)| *due).collect();
        assert_eq!(dues, [10, 11, 12]);
    }

    #[test]
    fn a_share_keeps_the_pace_of_its_own_messages() {
        let rate = Pace::Rate(NonZeroU64::new(1_000_000_000).unwrap());
        let mut player = Player::new(told(&ABC), rate, Share::new(1, 2).unwrap()).unwrap();
        assert_eq!(take(&mut player, 99), [(99, b"A\0\x01".to_vec())]);
        assert_eq!(take(&mut player, 100), [(100, b"A\0\x03".to_vec())]);
        assert_eq!(player.watch().ended().unwrap().messages, 2);
    }

    #[test]
    fn a_failure_ends_it_behind_what_was_read() {
        let source = Told { fails: true, ..told(&ABC[..2]) };
        let mut player = Player::new(source, Pace::AsFast, Share::ALL).unwrap();
        let watch = player.watch();
        assert_eq!(take(&mut player, 1).len(), 2);
        assert!(player.is_finished());
        let ended = watch.ended().unwrap();
        assert_eq!(ended.failure.as_ref().unwrap().to_string(), "cut; all before it was given");
        assert_eq!(take(&mut player, 2), [], "and it stays ended");
        assert_eq!(watch.ended().unwrap().messages, 2);
    }

    #[test]
    fn it_can_be_ended_early_and_in_order() {
        let end = Flag::new();
        let player = Player::new(told(&ABC), Pace::Recorded { speed: 1.0 }, Share::ALL).unwrap();
        let mut player = player.ending_on(end.clone());
        assert_eq!(take(&mut player, 100).len(), 1);
        assert!(!player.is_finished());
        end.raise();
        assert_eq!(take(&mut player, 200), [], "the one that waited for its time does not come any more");
        assert!(player.is_finished());
        assert_eq!(player.watch().ended().map(|ended| ended.messages), Some(1));
    }

    #[test]
    fn an_empty_source_is_finished_once_it_was_asked() {
        let mut player = Player::new(told(&[]), Pace::AsFast, Share::ALL).unwrap();
        assert!(!player.is_finished());
        assert_eq!(take(&mut player, 1), []);
        assert!(player.is_finished());
    }
}
