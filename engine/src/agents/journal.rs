//! The cold side of the journal, beside the replica agent that appends: it prepares segments, removes old ones, makes the
//! record durable, and keeps promises.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tracing::{error, info, warn};

use crate::frame::Chain;
use crate::journal::{Journal, Mark, Preparer, Syncer, close};
use crate::runtime::{Agent, AgentError, Waker};
use crate::sync::Watermark;
use crate::time::Nanos;

/// How often a refused segment is tried again.
const RETRY: Nanos = Nanos::from_millis(100);

/// Where the agent that appends leaves the journal when it ends, for the cold one to close.
pub type Retired = Arc<ArrayQueue<Journal>>;

/// A place for one journal.
pub fn retired() -> Retired {
    Arc::new(ArrayQueue::new(1))
}

/// Where a node's journal is to begin anew: left by the agent that was given an image, when it ends, for whoever starts the
/// node's agents again. Clones share it.
#[derive(Clone, Debug)]
pub struct Rebirth(Arc<ArrayQueue<Chain>>);

impl Rebirth {
    /// Nothing is to begin anew.
    pub fn new() -> Rebirth {
        Rebirth(Arc::new(ArrayQueue::new(1)))
    }

    /// The journal is to begin where `chain` stands.
    pub fn leave(&self, chain: Chain) {
        self.0.force_push(chain);
    }

    /// Whether something was left.
    pub fn is_due(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes what was left.
    pub fn take(&self) -> Option<Chain> {
        self.0.pop()
    }
}

impl Default for Rebirth {
    fn default() -> Rebirth {
        Rebirth::new()
    }
}

/// Promises of epochs that the replica agent wants durable, and those that are. Clones share them.
#[derive(Clone, Debug)]
pub struct Promises {
    wanted: Arc<ArrayQueue<u64>>,
    made: Arc<ArrayQueue<u64>>,
    maker: Waker,
}

impl Promises {
    /// None wanted.
    pub fn new() -> Promises {
        let queue = || Arc::new(ArrayQueue::new(8));
        Promises { wanted: queue(), made: queue(), maker: Waker::default() }
    }

    /// Wants a promise made durable, and wakes who makes it, which costs a call of the kernel; `false` when too many wait.
    pub fn try_want(&self, epoch: u64) -> bool {
        let is_taken = self.wanted.push(epoch).is_ok();
        self.maker.wake();
        is_taken
    }

    /// The next promise that is durable, in the order in which they were wanted.
    #[inline]
    pub fn poll_made(&self) -> Option<u64> {
        if self.made.is_empty() { None } else { self.made.pop() }
    }
}

impl Default for Promises {
    fn default() -> Promises {
        Promises::new()
    }
}

/// From where on the record is needed.
#[derive(Clone, Debug)]
pub struct Needed {
    /// By somebody on this node.
    pub here: Watermark,
    /// By another node: everything below is in the journal of every one.
    pub everywhere: Watermark,
}

/// The cold side of the journal. It blocks: it needs a thread of its own, which ends after the other's.
pub struct JournalUpkeep {
    preparer: Preparer,
    syncer: Syncer,
    mark: Mark,
    retired: Retired,
    promises: Promises,
    needed: Needed,
    durable: Watermark,
    /// Whether commits wait for the disk.
    syncs: bool,
    refused: bool,
    retry_at: Nanos,
}

impl JournalUpkeep {
    /// Prepares and retains, keeping what is needed.
    pub fn new(
        (preparer, syncer, mark): (Preparer, Syncer, Mark),
        retired: Retired,
        promises: Promises,
        needed: Needed,
        durable: Watermark,
    ) -> JournalUpkeep {
        let retry_at = Nanos::ZERO;
        JournalUpkeep {
            preparer,
            syncer,
            mark,
            retired,
            promises,
            needed,
            durable,
            syncs: false,
            refused: false,
            retry_at,
        }
    }

    /// Syncs whatever is appended and moves the durable watermark: for `durability = "disk"`.
    pub fn syncing(mut self) -> JournalUpkeep {
        self.syncs = true;
        self
    }

    /// Makes durable what is not: everything, where commits wait for it, and in any case that the journal was cut.
    fn sync(&mut self) -> Result<usize, AgentError> {
        if !(self.syncs && self.syncer.is_behind() || !self.syncer.is_settled()) {
            return Ok(0);
        }
        // A sync that failed proves nothing by succeeding later: the node stops and is checked at its restart.
        self.durable.advance(self.syncer.poll().map_err(AgentError::failed)?);
        Ok(1)
    }
}

impl Agent for JournalUpkeep {
    fn name(&self) -> &str {
        "journal-upkeep"
    }

    fn on_start(&mut self, _now: Nanos) -> Result<(), AgentError> {
        self.promises.maker.settle();
        Ok(())
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = 0;
        while let Some(epoch) = self.promises.wanted.pop() {
            // What is not on disk is no promise: the node stops before anything is built on it.
            self.mark.promise(epoch).map_err(AgentError::failed)?;
            let _ = self.promises.made.push(epoch);
            work += 1;
        }
        if now >= self.retry_at {
            match self.preparer.poll(self.needed.here.load(), self.needed.everywhere.load()) {
                Ok(busy) => {
                    work += usize::from(busy);
                    if busy && std::mem::take(&mut self.refused) {
                        info!("the journal has room again and goes on");
                    }
                }
                Err(refusal) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        error!("the journal cannot go on past its last segment: {refusal}");
                    }
                    self.retry_at = now + RETRY;
                }
            }
        }
        Ok(work + self.sync()?)
    }

    fn on_close(&mut self, _now: Nanos) {
        // Without the journal the other agent did not end in order: the next start then looks for itself.
        if let Some(journal) = self.retired.pop()
            && let Err(error) = close(journal, &mut self.syncer, &mut self.mark)
        {
            warn!("the journal was not closed: {error}");
        }
    }
}
