//! Whether a hole that every line has passed may yet be filled by one of them.
//!
//! Most likely it is a loss, and is requested at once. On a network that reorders this costs a request for each datagram
//! that is overtaken; but such a datagram comes in the end, and tells by how much it was late. Holes are then left alone
//! for as long, and a quarter more, until enough of them were losses after all. (RFC 8985, section 6.2, step 4 does so for
//! TCP.)

use seqcast_wire::SeqNo;

use crate::time::Nanos;

/// So many losses in a row make up for reordering.
const LOSSES: u32 = 16;
/// Holes that were rewound and are remembered.
const REMEMBERED: usize = 64;

/// A hole, or part of one, that a rewind server filled.
#[derive(Clone, Copy, Debug)]
struct Rewound {
    first: SeqNo,
    next: SeqNo,
    found: Nanos,
}

#[derive(Debug)]
pub(super) struct Reordering {
    wait: Nanos,
    /// Upper bound of that.
    max_wait: Nanos,
    /// Holes that may still be rewound before nothing is waited for any more.
    losses_left: u32,
    /// The last ones, oldest at `oldest`.
    rewound: [Option<Rewound>; REMEMBERED],
    oldest: usize,
}

impl Reordering {
    pub(super) fn new(max_wait: Nanos) -> Reordering {
        Reordering { wait: Nanos::ZERO, max_wait, losses_left: 0, rewound: [None; REMEMBERED], oldest: 0 }
    }

    /// Other numbers begin. The network is the same.
    pub(super) fn on_session(&mut self) {
        self.rewound = [None; REMEMBERED];
    }

    /// How long a hole that every line has passed is left alone.
    pub(super) fn wait(&self) -> Nanos {
        self.wait
    }

    /// A rewind server brought `first..next`, of a hole that was found then.
    pub(super) fn on_rewound(&mut self, first: SeqNo, next: SeqNo, found: Nanos) {
        self.rewound[self.oldest] = Some(Rewound { first, next, found });
        self.oldest = (self.oldest + 1) % REMEMBERED;
        self.losses_left = self.losses_left.saturating_sub(1);
        if self.losses_left == 0 {
            self.wait = Nanos::ZERO;
        }
    }

    /// When the hole with one of `first..next` was found, if a rewind server filled it.
    pub(super) fn rewound(&self, first: SeqNo, next: SeqNo) -> Option<Nanos> {
        let overlaps = |hole: &&Rewound| hole.first < next && first < hole.next;
        self.rewound.iter().flatten().find(overlaps).map(|hole| hole.found)
    }

    /// A line brought a datagram that it had passed `late` before.
    pub(super) fn on_overtaken(&mut self, late: Nanos) {
        let expected = Nanos(late.0.saturating_add(late.0 / 4));
        self.wait = self.wait.max(expected).min(self.max_wait);
        self.losses_left = LOSSES;
    }
}
