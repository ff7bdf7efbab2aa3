//! Who is who: nodes, their journals' incarnations, and sets of them.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::limits::MAX_NODES;

/// A node of the cluster, as the configuration numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// A node with one incarnation of its journal: after an unclean boot it is somebody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its journal's incarnation.
    pub incarnation: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} (incarnation {:x})", self.node.0, self.incarnation)
    }
}

/// A set of members, one a node, at most [`MAX_NODES`].
#[derive(Clone, Copy, Default)]
pub struct Members {
    list: [Member; MAX_NODES],
    len: usize,
}

impl Members {
    /// The set of `members`; `None` when they are too many or a node is named twice.
    pub fn of(members: &[Member]) -> Option<Members> {
        members.iter().try_fold(Members::default(), |set, &member| set.with(member))
    }

    /// The members, in no order that means anything.
    pub fn as_slice(&self) -> &[Member] {
        &self.list[..self.len]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `member` is one of them.
    pub fn contains(&self, member: Member) -> bool {
        self.as_slice().contains(&member)
    }

    /// Whether all of `other` are among them.
    pub fn contains_all(&self, other: &Members) -> bool {
        other.as_slice().iter().all(|&member| self.contains(member))
    }

    /// The set with `member`; `None` when it is full or has that node already.
    pub fn with(mut self, member: Member) -> Option<Members> {
        if self.len == MAX_NODES || self.position(member.node).is_some() {
            return None;
        }
        self.list[self.len] = member;
        self.len += 1;
        Some(self)
    }

    /// The set without `node`.
    pub fn without(mut self, node: NodeId) -> Members {
        if let Some(at) = self.position(node) {
            self.list.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
        self
    }

    pub(super) fn position(&self, node: NodeId) -> Option<usize> {
        self.as_slice().iter().position(|member| member.node == node)
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Members) -> bool {
        self.len == other.len && self.contains_all(other)
    }
}

impl Eq for Members {}

impl Hash for Members {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut sorted = *self;
        sorted.list[..sorted.len].sort_unstable_by_key(|member| member.node);
        sorted.as_slice().hash(state);
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}
