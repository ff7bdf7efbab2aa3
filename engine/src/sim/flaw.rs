//! What is wrong on purpose: a world in which the referee must find something, or it could not be believed.

use crate::replica;

/// Something that no order survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// A rule of failover that the engine breaks.
    Broken(replica::Rule),
    /// Disks say that they have synced, and have not.
    LyingDisk,
    /// The network changes what datagrams say.
    AlteringNetwork,
    /// A publisher that is started again says other things under the same numbers.
    FickleSource,
}

impl Flaw {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Flaw> {
        let broken = replica::Rule::ALL.iter().map(|&rule| Flaw::Broken(rule));
        broken.chain([Flaw::LyingDisk, Flaw::AlteringNetwork, Flaw::FickleSource])
    }

    /// Short name for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Flaw::Broken(rule) => rule.name(),
            Flaw::LyingDisk => "disks that lie about syncing",
            Flaw::AlteringNetwork => "a network that alters datagrams",
            Flaw::FickleSource => "a publisher that changes its mind",
        }
    }
}
