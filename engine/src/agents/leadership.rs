//! What the replica agent tells the other agents of its node: when to lead, from where, and whether to admit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use seqcast_wire::SeqNo;

use crate::frame::Chain;

/// Directives that may wait: roles change far more slowly than agents look.
const MAX_WAITING: usize = 8;

/// From where to lead.
#[derive(Clone, Debug)]
pub struct Lead {
    /// The epoch to number in.
    pub epoch: u64,
    /// Where the order stands.
    pub chain: Chain,
    /// Everything below was published, as far as is known: publishing goes on from here.
    pub published: SeqNo,
}

/// A change of the node's role.
#[derive(Clone, Debug)]
pub enum Directive {
    /// Lead.
    Lead(Box<Lead>),
    /// Lead no longer.
    Rest,
}

/// One agent's directives, in order. Clones share them.
#[derive(Clone, Debug)]
pub struct Directives(Arc<ArrayQueue<Directive>>);

impl Directives {
    /// None waiting.
    pub fn new() -> Directives {
        Directives(Arc::new(ArrayQueue::new(MAX_WAITING)))
    }

    /// Gives a directive; `false` when the agent has not taken the earlier ones.
    pub fn try_give(&self, directive: Directive) -> bool {
        self.0.push(directive).is_ok()
    }

    /// Takes the next directive.
    #[inline]
    pub fn take(&self) -> Option<Directive> {
        // Looked at in every duty cycle, and nearly always empty.
        if self.0.is_empty() { None } else { self.0.pop() }
    }
}

impl Default for Directives {
    fn default() -> Directives {
        Directives::new()
    }
}

/// The epoch in which events are admitted, if they are. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<CachePadded<AtomicU64>>);

impl Admission {
    /// Admits events that are numbered in `epoch`, and in no other; 0: none.
    #[inline]
    pub fn set(&self, epoch: u64) {
        if self.0.load(Ordering::Relaxed) != epoch {
            self.0.store(epoch, Ordering::Release);
        }
    }

    /// Whether events are admitted in `epoch`.
    #[inline]
    pub fn is_open(&self, epoch: u64) -> bool {
        self.0.load(Ordering::Acquire) == epoch
    }
}
