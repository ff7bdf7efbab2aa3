//! Latency by stage inside one process: the demo and the benches hang traces on the agents they run.
//!
//! A stage's time is read from the clock when the stage is passed, not taken from the duty cycle: a datagram's worth of
//! messages would otherwise seem to take no time at all.

use seqcast_wire::SeqNo;

use crate::runtime::Clock;
pub use crate::stat::Stage;
use crate::stat::StageStamps;
use crate::time::Nanos;

/// When the messages of one feed passed each stage. Clones share the table.
#[derive(Clone)]
pub struct Trace {
    stamps: StageStamps,
    clock: Clock,
}

impl Trace {
    /// A trace of the last `messages` messages.
    pub fn new(messages: usize, clock: Clock) -> Trace {
        Trace { stamps: StageStamps::new(messages), clock }
    }

    /// Message `seq` passes `stage` now.
    #[inline]
    pub fn mark(&self, stage: Stage, seq: SeqNo) {
        self.stamps.mark(stage, seq, self.clock.now());
    }

    /// Message `seq` passed, or was to pass, `stage` at `when`.
    #[inline]
    pub fn mark_at(&self, stage: Stage, seq: SeqNo, when: Nanos) {
        self.stamps.mark(stage, seq, when);
    }

    /// The messages from `first` up to `next` pass `stage` now, together.
    pub fn mark_range(&self, stage: Stage, first: SeqNo, next: SeqNo) {
        let now = self.clock.now();
        let mut seq = first;
        while seq < next {
            self.stamps.mark(stage, seq, now);
            seq = seq.next();
        }
    }

    /// Carries over what `source` knows of its message `source_seq`, which became `seq` here.
    pub fn carry_over(&self, source: &Trace, source_seq: SeqNo, seq: SeqNo) {
        for stage in [Stage::Scheduled, Stage::Sent] {
            if let Some(when) = source.stamps.at(stage, source_seq) {
                self.stamps.mark(stage, seq, when);
            }
        }
    }

    /// When message `seq` passed `stage`; `None` when it did not, or too long ago.
    pub fn at(&self, stage: Stage, seq: SeqNo) -> Option<Nanos> {
        self.stamps.at(stage, seq)
    }

    /// The time now, on the clock that the marks are made with.
    pub fn now(&self) -> Nanos {
        self.clock.now()
    }
}
