//! Joining late: books from a snapshot server, then the live feed from where they end.
//!
//! Three agents meet at a [`Handover`]: the book agent asks for a snapshot and reads nothing until it is there; the
//! [`Joiner`], on a cold thread, fetches it; the subscriber goes on from its number and requests what it missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use seqcast_wire::{SeqNo, Session};

use crate::book::Books;

/// Books at a number.
pub struct Snapshot {
    /// Session of the feed.
    pub session: Session,
    /// First message that is not in the books.
    pub next: SeqNo,
    /// The books.
    pub books: Books,
}

/// Where the three agents of a join meet. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Handover(Arc<Meeting>);

struct Meeting {
    wanted: AtomicBool,
    snapshot: ArrayQueue<Box<Snapshot>>,
    resume: ArrayQueue<SeqNo>,
}

impl Default for Handover {
    fn default() -> Handover {
        Handover::new()
    }
}

impl Handover {
    /// A meeting place where nothing is asked for yet.
    pub fn new() -> Handover {
        Handover(Arc::new(Meeting {
            wanted: AtomicBool::new(false),
            snapshot: ArrayQueue::new(1),
            resume: ArrayQueue::new(1),
        }))
    }

    /// Asks for a snapshot.
    pub fn ask(&self) {
        self.0.wanted.store(true, Ordering::Release);
    }

    /// Whether a snapshot was asked for since the last call.
    pub fn take_wish(&self) -> bool {
        self.0.wanted.swap(false, Ordering::AcqRel)
    }

    /// Brings a snapshot; an older one that was not taken is dropped.
    pub fn bring(&self, snapshot: Snapshot) {
        self.0.snapshot.force_push(Box::new(snapshot));
    }

    /// The snapshot, once it is there.
    pub fn take_snapshot(&self) -> Option<Box<Snapshot>> {
        self.0.snapshot.pop()
    }

    /// Tells the subscriber from which number to go on.
    pub fn resume(&self, next: SeqNo) {
        self.0.resume.force_push(next);
    }

    /// The number to go on from, once.
    pub fn take_resume(&self) -> Option<SeqNo> {
        self.0.resume.pop()
    }
}
