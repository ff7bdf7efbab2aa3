//! Where the time goes inside one process: when the same message passed each stage.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use seqcast_wire::SeqNo;

use crate::time::Nanos;

/// Number of stages.
pub const STAGES: usize = 6;

/// Words of one message: number and time for each stage, rounded up to whole cache lines.
const SLOT_WORDS: usize = 16;
const _: () = assert!(2 * STAGES <= SLOT_WORDS);

/// A point that a message passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Stage {
    /// It was due to be sent: when an open-loop load wanted it to leave, whether it did or not.
    Scheduled,
    /// The publisher handed it to its driver.
    Sent,
    /// The sequencer took it in and numbered it.
    Admitted,
    /// The sequencer handed it to its driver.
    Published,
    /// A subscriber had it in order.
    Received,
    /// A book has changed.
    Applied,
}

impl Stage {
    /// All stages in the order of passing.
    pub const ALL: [Stage; STAGES] =
        [Stage::Scheduled, Stage::Sent, Stage::Admitted, Stage::Published, Stage::Received, Stage::Applied];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Scheduled => "scheduled",
            Stage::Sent => "sent",
            Stage::Admitted => "admitted",
            Stage::Published => "published",
            Stage::Received => "received",
            Stage::Applied => "applied",
        }
    }
}

/// When the last so many messages of one feed passed each stage. Clones are the same table.
///
/// Each stage is marked by one thread. A publisher numbers its messages otherwise than the sequencer: whoever knows
/// both numbers of a message carries its earlier times over from the publisher's table.
#[derive(Clone)]
pub struct StageStamps {
    /// For each message and stage the number of the message, 0 while it is being written, and the time.
    words: Arc<[AtomicU64]>,
    mask: u64,
}

impl StageStamps {
    /// A table for the last `messages` messages, rounded up to a power of two; 128 bytes each.
    pub fn new(messages: usize) -> StageStamps {
        let messages = messages.next_power_of_two();
        let words = (0..messages * SLOT_WORDS).map(|_| AtomicU64::new(0)).collect();
        StageStamps { words, mask: messages as u64 - 1 }
    }

    /// Message `seq` passes `stage` at `now`. Replaces what an older message left there.
    #[inline]
    pub fn mark(&self, stage: Stage, seq: SeqNo, now: Nanos) {
        let [number, time] = self.cell(stage, seq);
        number.store(0, Ordering::Relaxed);
        // A reader that sees the new time sees the number gone too.
        fence(Ordering::Release);
        time.store(now.0, Ordering::Relaxed);
        number.store(seq.value(), Ordering::Release);
    }

    /// When message `seq` passed `stage`; none when it has not, or so long ago that it is forgotten.
    #[inline]
    pub fn at(&self, stage: Stage, seq: SeqNo) -> Option<Nanos> {
        let [number, time] = self.cell(stage, seq);
        let before = number.load(Ordering::Acquire);
        let stamp = time.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let after = number.load(Ordering::Relaxed);
        (before == seq.value() && after == seq.value()).then_some(Nanos(stamp))
    }

    /// The time from message `seq` passing `stage` to `now`.
    #[inline]
    pub fn since(&self, stage: Stage, seq: SeqNo, now: Nanos) -> Option<Nanos> {
        self.at(stage, seq).map(|at| now.since(at))
    }

    #[inline]
    fn cell(&self, stage: Stage, seq: SeqNo) -> [&AtomicU64; 2] {
        let slot = (seq.value() & self.mask) as usize * SLOT_WORDS;
        let at = slot + 2 * stage as usize;
        [&self.words[at], &self.words[at + 1]]
    }
}

impl fmt::Debug for StageStamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageStamps").field("messages", &(self.mask + 1)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn seq(number: u64) -> SeqNo {
        SeqNo::new(number).unwrap()
    }

    #[test]
    fn stages_of_one_message_are_joined() {
        let stamps = StageStamps::new(5);
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stamps.at(stage, seq(7)), None);
            stamps.mark(stage, seq(7), Nanos(at as u64 * 10));
        }
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stamps.clone().at(stage, seq(7)), Some(Nanos(at as u64 * 10)), "{}", stage.name());
            assert_eq!(stamps.since(stage, seq(7), Nanos(50)), Some(Nanos(50 - at as u64 * 10)));
        }
    }

    #[test]
    fn a_slot_belongs_to_its_latest_message() {
        let stamps = StageStamps::new(8);
        stamps.mark(Stage::Sent, seq(3), Nanos(100));
        stamps.mark(Stage::Received, seq(3), Nanos(200));
        stamps.mark(Stage::Sent, seq(11), Nanos(300));
        assert_eq!(stamps.at(Stage::Sent, seq(3)), None, "forgotten");
        assert_eq!(stamps.at(Stage::Sent, seq(11)), Some(Nanos(300)));
        assert_eq!(stamps.at(Stage::Received, seq(3)), Some(Nanos(200)), "each stage on its own");
        assert_eq!(stamps.at(Stage::Received, seq(11)), None);
        assert_eq!(stamps.at(Stage::Sent, seq(u64::MAX)), None);
    }

    #[test]
    fn a_reader_never_gets_the_time_of_another_message() {
        const MESSAGES: u64 = 200_000;
        let stamps = StageStamps::new(1);
        let newest = AtomicU64::new(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=MESSAGES {
                    newest.store(number, Ordering::Relaxed);
                    stamps.mark(Stage::Admitted, seq(number), Nanos(number * 3));
                }
            });
            let mut number = 1;
            while number < MESSAGES {
                number = newest.load(Ordering::Relaxed);
                for wanted in number..number + 2 {
                    let at = stamps.at(Stage::Admitted, seq(wanted));
                    assert!(at.is_none_or(|at| at == Nanos(wanted * 3)), "{wanted}: {at:?}");
                }
            }
        });
        assert_eq!(stamps.at(Stage::Admitted, seq(MESSAGES)), Some(Nanos(MESSAGES * 3)));
    }
}
