//! Bugs that can be planted, one at a time, to show that the simulator would find them. Not there in builds without it.

/// A rule of the order's safety, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// What is not committed is published.
    PublishBeforeCommit,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Mutation] = &[Mutation::PublishBeforeCommit];

    /// Short name for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Mutation::PublishBeforeCommit => "publish before commit",
        }
    }
}
