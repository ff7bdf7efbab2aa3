//! What applications of subscribers got.

use std::collections::BTreeMap;

use crate::book::Books;

/// Books are compared at every number that this divides.
const DIGEST_EVERY: u64 = 4;

/// The readers of all nodes.
pub(in crate::sim) struct Readers {
    /// Number that each begins with; 0 for one that begins with whatever comes.
    first: Vec<u64>,
    /// Number that comes next at each node; 0 for any.
    next: Vec<u64>,
    /// The first that was found at each number.
    digests: BTreeMap<u64, u64>,
}

impl Readers {
    pub(super) fn new(nodes: usize) -> Readers {
        Readers { first: vec![1; nodes], next: vec![1; nodes], digests: BTreeMap::new() }
    }

    /// The application of `node` joins with whatever comes first; its books never are whole.
    pub(super) fn join_anywhere(&mut self, node: usize) {
        self.first[node] = 0;
    }

    /// A new process: it begins where it begins.
    pub(super) fn restart(&mut self, node: usize) {
        self.next[node] = self.first[node];
    }

    pub(super) fn on_message(&mut self, node: usize, seq: u64) -> Result<(), String> {
        let next = &mut self.next[node];
        if *next != 0 && seq != *next {
            return Err(format!("node {node}: its application got message {seq}, due was {next}"));
        }
        *next = seq + 1;
        Ok(())
    }

    /// Whether `next` comes next at `node`.
    pub(in crate::sim) fn is_at(&self, node: usize, next: u64) -> bool {
        self.next[node] == next
    }

    pub(super) fn next_of(&self, node: usize) -> u64 {
        self.next[node]
    }

    pub(super) fn on_books(&mut self, node: usize, seq: u64, books: &Books) -> Result<(), String> {
        if !seq.is_multiple_of(DIGEST_EVERY) || self.first[node] == 0 {
            return Ok(());
        }
        let digest = books.digest();
        let known = *self.digests.entry(seq).or_insert(digest);
        if known == digest {
            return Ok(());
        }
        Err(format!("node {node}: digest {digest:016x} after message {seq}, elsewhere {known:016x}"))
    }

    /// What was found after message `seq`, if somebody looked.
    pub(in crate::sim) fn digest_at(&self, seq: u64) -> Option<u64> {
        self.digests.get(&seq).copied()
    }
}
