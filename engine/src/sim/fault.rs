//! The classes of faults, and how often each really happened.

use std::fmt;

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident $name:literal,)*) => {
        /// A class of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FaultClass { $($(#[$doc])* $class,)* }

        impl FaultClass {
            /// All classes.
            pub const ALL: &[FaultClass] = &[$(FaultClass::$class,)*];

            /// Short name for tables.
            pub const fn name(self) -> &'static str {
                match self { $(FaultClass::$class => $name,)* }
            }
        }
    };
}

classes! {
    /// A datagram lost at random, on a link that loses both ways alike.
    Loss "loss",
    /// A datagram lost on a link that loses one way only.
    AsymmetricLoss "asymmetric loss",
    /// A datagram lost on one line of a feed, for all its receivers.
    LineLoss "line loss",
    /// A datagram delivered twice.
    Duplicate "duplicate",
    /// A datagram held back while later ones passed.
    Reorder "reorder",
    /// A datagram that took much longer than usual.
    Latency "latency",
    /// A datagram lost between two sides of a partition.
    Partition "partition",
    /// A datagram lost where only the other direction worked.
    OneWay "one-way partition",
    /// A datagram dropped at a socket whose buffer was full.
    Overflow "queue overflow",
    /// A send refused because the driver had no room.
    Busy "send refused",
    /// A datagram of the replication stream with bits turned over.
    Corruption "corruption",
    /// A process killed.
    Kill "kill",
    /// A process stopped in order and started again.
    Restart "orderly restart",
    /// A machine that lost its power.
    PowerLoss "power loss",
    /// A sector that was written and lost with the power.
    LostSector "lost sector",
    /// A process frozen and thawed.
    Freeze "freeze",
    /// An agent that did not get its turn for long.
    Stall "stall",
    /// A cold agent that was slow.
    SlowDisk "slow disk",
    /// A segment refused because the disk was full.
    DiskFull "disk full",
    /// A sync that failed.
    SyncFailure "failing sync",
    /// A node whose monotonic clock ran fast or slow.
    ClockDrift "clock drift",
    /// A wall clock that jumped.
    ClockJump "clock jump",
    /// A request to the coordinator while that was away.
    CoordinatorAway "coordinator away",
    /// A request to the coordinator from a node that did not reach it.
    CoordinatorCut "coordinator out of reach",
    /// A request to the coordinator, or its answer, lost.
    CoordinatorLoss "coordinator answer lost",
    /// A coordinator that was slow.
    CoordinatorSlow "slow coordinator",
    /// A fault of one node that stayed, while the others had to go on.
    Lasting "lasting fault",
    /// A primary that was told to hand over, or a standby to take over.
    Operator "operator's command",
    /// A node whose journal began anew from an image: it had been away for longer than journals reach back.
    Image "image",
}

const CLASSES: usize = FaultClass::ALL.len();

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often each class of faults happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected([u64; CLASSES]);

impl Injected {
    /// How often `class` happened.
    pub fn of(&self, class: FaultClass) -> u64 {
        self.0[class as usize]
    }

    /// Each class and how often it happened.
    pub fn iter(&self) -> impl Iterator<Item = (FaultClass, u64)> + '_ {
        FaultClass::ALL.iter().map(|&class| (class, self.of(class)))
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Injected) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    pub(super) fn add(&mut self, class: FaultClass) {
        self.0[class as usize] += 1;
    }
}
