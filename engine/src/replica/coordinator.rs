//! The seam to the coordinator: one record, read and changed by compare-and-swap.

use super::member::Member;
use super::member::Members;
use crate::time::Nanos;
use seqcast_wire::Session;

/// What the coordinator keeps: who may commit, and who may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Version.
    pub revision: u64,
    /// The record.
    pub record: Record,
}

/// What is asked of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The answer, once it is there.
    fn poll(&mut self, now: Nanos) -> Option<Answer>;

    /// Why the last answer was [`Answer::Unknown`]: what is wrong, where, and what to do. Given once.
    fn take_notice(&mut self) -> Option<String> {
        None
    }
}

/// The newest record that a coordinator was seen to hold. It never goes back: one that does was restored from an older
/// copy, or tampered with, and acting on what it says now could bring back a primary that others have replaced.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSeen(Option<Versioned>);

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
    /// It contradicts what was seen before, which stays as it was.
    pub fn check(&mut self, found: Option<Versioned>) -> Result<(), WentBack> {
        if let Some(seen) = self.0 {
            let Some(found) = found else {
                return Err(WentBack::Gone { revision: seen.revision, epoch: seen.record.epoch });
            };
            if found.revision < seen.revision {
                return Err(WentBack::Revision { found: found.revision, seen: seen.revision });
            }
            if found.revision == seen.revision && found.record != seen.record {
                return Err(WentBack::Changed(seen.revision));
            }
            let (old, new) = (&seen.record, &found.record);
            if new.epoch < old.epoch {
                return Err(WentBack::Epoch { found: new.epoch, seen: old.epoch });
            }
            if new.epoch == old.epoch && new.primary != old.primary {
                return Err(WentBack::Primary { epoch: new.epoch, found: new.primary, seen: old.primary });
            }
        }
        self.0 = found;
        Ok(())
    }

    /// Whether `record` may follow version `expected`, as far as that was seen.
    ///
    /// # Errors
    /// It goes back behind it: whoever read it would refuse it.
    pub fn check_swap(&self, expected: u64, record: Record) -> Result<(), WentBack> {
        match self.0 {
            Some(seen) if seen.revision == expected => {
                let next = Versioned { revision: expected.saturating_add(1), record };
                LastSeen(Some(seen)).check(Some(next))
            }
            _ => Ok(()), // Not based on what is there: it will be lost.
        }
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
        for (found, expected) in [
            (None, WentBack::Gone { revision: 6, epoch: 3 }),
            (version(5, 3, 1, &[1]), WentBack::Revision { found: 5, seen: 6 }),
            (version(6, 3, 1, &[1, 0]), WentBack::Changed(6)),
            (version(6, 4, 1, &[1]), WentBack::Changed(6)),
            (version(7, 2, 1, &[1]), WentBack::Epoch { found: 2, seen: 3 }),
            (
                version(7, 3, 0, &[0, 1]),
                WentBack::Primary {
                    epoch: 3,
                    found: Member { node: NodeId(0), incarnation: 1 },
                    seen: seen_member,
                },
            ),
        ] {
            assert_eq!(seen.check(found), Err(expected));
        }
        assert_eq!(seen.check(version(7, 3, 1, &[0, 1])), Ok(()), "what was refused has changed nothing");
        let record = |epoch, primary| version(9, epoch, primary, &[primary]).unwrap().record;
        assert_eq!(seen.check_swap(7, record(4, 0)), Ok(()));
        assert_eq!(seen.check_swap(7, record(3, 1)), Ok(()));
        assert_eq!(seen.check_swap(7, record(2, 1)), Err(WentBack::Epoch { found: 2, seen: 3 }));
        assert!(matches!(seen.check_swap(7, record(3, 0)), Err(WentBack::Primary { .. })));
        assert_eq!(seen.check_swap(6, record(2, 1)), Ok(()), "the coordinator will say that it is lost");
        assert_eq!(LastSeen::default().check_swap(0, record(1, 1)), Ok(()));
    }
}
