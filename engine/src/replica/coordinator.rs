//! The seam to the coordinator: one record, read and changed by compare-and-swap.

use super::member::Member;
use super::member::Members;
use crate::time::Nanos;
use seqcast_wire::Session;

/// What the coordinator keeps: who may commit, and who may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Session that it is about.
    pub session: Session,
    /// Epoch of the primary: each has its own, and a higher one than all before.
    pub epoch: u64,
    /// The primary, with the incarnation of its journal.
    pub primary: Member,
    /// The in-sync set, the primary included.
    pub in_sync: Members,
}

/// A [`Record`] and the coordinator's own number of this version of it. Never 0: that is "there is none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versioned {
    /// Version.
    pub revision: u64,
    /// The record.
    pub record: Record,
}

/// What is asked of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The record, linearizably.
    Read,
    /// Replace version `expected` (0: there is none yet) by `record`.
    Swap {
        /// The version to replace.
        expected: u64,
        /// What to put there.
        record: Record,
    },
}

/// What the coordinator answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To [`Request::Read`]: the record as it is now.
    Read(Option<Versioned>),
    /// The swap was made.
    Swapped(Versioned),
    /// The swap was not made and never will be: another version is there.
    Lost,
    /// Not known: a swap may have been made, or may yet be. Read again.
    Unknown,
}

/// A coordinator. It may block a cold thread for as long as its own timeouts say; it never sits in the path of events.
pub trait Coordinator: Send {
    /// Asks. One request is outstanding at a time: the next one is asked after the answer to the last.
    fn submit(&mut self, now: Nanos, request: Request);

    /// A swap to `record` is likely to be asked next: what of it can be done before it is asked may be done now. It may
    /// never come.
    fn prepare(&mut self, _record: Record) {}

    /// The answer, once it is there.
    fn poll(&mut self, now: Nanos) -> Option<Answer>;

    /// Why the last answer was [`Answer::Unknown`]: what is wrong, where, and what to do. Given once.
    fn take_notice(&mut self) -> Option<String> {
        None
    }
}

/// The newest record that a coordinator was seen to hold. It never goes back: one that does was restored from an older
/// copy, or tampered with, and acting on what it says from then on could bring back a primary that others have replaced.
/// So it is refused for good; whoever puts it right starts the nodes again.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSeen {
    newest: Option<Versioned>,
    went_back: Option<WentBack>,
}

/// What a coordinator did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WentBack {
    /// There is no record any more.
    #[error("the record is gone: revision {revision}, epoch {epoch}, was there")]
    Gone {
        /// Revision seen.
        revision: u64,
        /// Epoch seen.
        epoch: u64,
    },
    /// An older version came after a newer one.
    #[error("revision {found} came after revision {seen}")]
    Revision {
        /// Revision found.
        found: u64,
        /// Revision seen.
        seen: u64,
    },
    /// One version has two contents.
    #[error("revision {0} has changed")]
    Changed(u64),
    /// An older epoch came after a newer one.
    #[error("epoch {found} came after epoch {seen}")]
    Epoch {
        /// Epoch found.
        found: u64,
        /// Epoch seen.
        seen: u64,
    },
    /// One epoch has two primaries.
    #[error("epoch {epoch} is that of {found} now, and was that of {seen}")]
    Primary {
        /// The epoch.
        epoch: u64,
        /// Primary found.
        found: Member,
        /// Primary seen.
        seen: Member,
    },
}

impl LastSeen {
    /// Takes note of what was found.
    ///
    /// # Errors
    /// It contradicts what was seen before, or something before did.
    pub fn check(&mut self, found: Option<Versioned>) -> Result<(), WentBack> {
        let sound = self.trusted().and_then(|()| self.follows(found));
        match sound {
            Ok(()) => self.newest = found,
            Err(error) => self.went_back = Some(error),
        }
        sound
    }

    /// Whether the coordinator never went back.
    ///
    /// # Errors
    /// How it first did.
    pub fn trusted(&self) -> Result<(), WentBack> {
        self.went_back.map_or(Ok(()), Err)
    }

    /// Whether a swap of version `expected` is lost already: a newer one was seen.
    pub fn is_lost(&self, expected: u64) -> bool {
        self.newest.is_some_and(|newest| expected < newest.revision)
    }

    /// Whether the coordinator never went back, and `record` as the next version would not either.
    ///
    /// # Errors
    /// How it did, or would.
    pub fn check_swap(&self, expected: u64, record: Record) -> Result<(), WentBack> {
        self.trusted()?;
        self.follows(Some(Versioned { revision: expected.saturating_add(1), record }))
    }

    fn follows(&self, found: Option<Versioned>) -> Result<(), WentBack> {
        let Some(seen) = self.newest else { return Ok(()) };
        let Some(found) = found else {
            return Err(WentBack::Gone { revision: seen.revision, epoch: seen.record.epoch });
        };
        if found.revision < seen.revision {
            return Err(WentBack::Revision { found: found.revision, seen: seen.revision });
        }
        let (old, new) = (&seen.record, &found.record);
        if found.revision == seen.revision && new != old {
            return Err(WentBack::Changed(seen.revision));
        }
        if new.epoch < old.epoch {
            return Err(WentBack::Epoch { found: new.epoch, seen: old.epoch });
        }
        if new.epoch == old.epoch && new.primary != old.primary {
            return Err(WentBack::Primary { epoch: new.epoch, found: new.primary, seen: old.primary });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::NodeId;
    use super::*;

    fn version(revision: u64, epoch: u64, primary: u16, in_sync: &[u16]) -> Option<Versioned> {
        let member = |node| Member { node: NodeId(node), incarnation: 1 };
        let members: Vec<Member> = in_sync.iter().map(|&node| member(node)).collect();
        let in_sync = Members::of(&members).unwrap();
        let record = Record { session: Session::BLANK, epoch, primary: member(primary), in_sync };
        Some(Versioned { revision, record })
    }

    #[test]
    fn a_coordinator_goes_forward_only() {
        let mut seen = LastSeen::default();
        for found in [
            None,
            None,
            version(1, 1, 0, &[0, 1]),
            version(1, 1, 0, &[1, 0]),
            version(5, 1, 0, &[0]),
            version(6, 3, 1, &[1]),
        ] {
            assert_eq!(seen.check(found), Ok(()), "{found:?}");
        }
        let seen_member = Member { node: NodeId(1), incarnation: 1 };
        let found_member = Member { node: NodeId(0), incarnation: 1 };
        for (found, expected) in [
            (None, WentBack::Gone { revision: 6, epoch: 3 }),
            (version(5, 3, 1, &[1]), WentBack::Revision { found: 5, seen: 6 }),
            (version(6, 3, 1, &[1, 0]), WentBack::Changed(6)),
            (version(6, 4, 1, &[1]), WentBack::Changed(6)),
            (version(7, 2, 1, &[1]), WentBack::Epoch { found: 2, seen: 3 }),
            (
                version(7, 3, 0, &[0, 1]),
                WentBack::Primary { epoch: 3, found: found_member, seen: seen_member },
            ),
        ] {
            let mut seen = seen;
            assert_eq!(seen.trusted(), Ok(()));
            assert_eq!(seen.check(found), Err(expected));
            let forward = version(9, 9, 1, &[1]);
            assert_eq!(seen.check(forward), Err(expected), "it is not trusted again");
            assert_eq!(
                (seen.trusted(), seen.check_swap(9, forward.unwrap().record)),
                (Err(expected), Err(expected))
            );
        }
        assert_eq!(seen.check(version(7, 3, 1, &[0, 1])), Ok(()));
    }

    #[test]
    fn swaps_that_are_lost_or_go_back_are_told_beforehand() {
        let record = |epoch, primary| version(9, epoch, primary, &[primary]).unwrap().record;
        let mut seen = LastSeen::default();
        assert_eq!((seen.is_lost(0), seen.check_swap(0, record(1, 1))), (false, Ok(())));
        seen.check(version(7, 3, 1, &[1])).unwrap();
        assert!(seen.is_lost(6) && !seen.is_lost(7) && !seen.is_lost(8));
        assert_eq!(seen.check_swap(7, record(4, 0)), Ok(()));
        assert_eq!(seen.check_swap(7, record(3, 1)), Ok(()));
        assert_eq!(seen.check_swap(7, record(2, 1)), Err(WentBack::Epoch { found: 2, seen: 3 }));
        assert!(matches!(seen.check_swap(7, record(3, 0)), Err(WentBack::Primary { .. })));
        assert_eq!(seen.trusted(), Ok(()), "whoever asked was wrong, not the coordinator");
    }
}
