//! What the sources say, as the referee knows it beforehand.

use std::sync::Arc;

use seqcast_wire::Session;

use crate::sim::load::Load;

/// What all sources say, in the order of the configuration.
pub(in crate::sim) struct Loads {
    pub(in crate::sim) sources: Vec<(Session, Arc<Load>)>,
}

impl Loads {
    /// Message `source_seq` of `source`, if it says that much.
    pub(super) fn payload(&self, source: u16, source_seq: u64) -> Option<&[u8]> {
        let (_, load) = self.sources.get(usize::from(source))?;
        load.payload(usize::try_from(source_seq).ok()?.checked_sub(1)?)
    }

    /// Index of the source whose session that is.
    pub(super) fn source_of(&self, session: Session) -> Option<usize> {
        self.sources.iter().position(|(known, _)| *known == session)
    }

    /// Messages of all sources.
    pub(super) fn total(&self) -> u64 {
        self.sources.iter().map(|(_, load)| load.len() as u64).sum()
    }
}
