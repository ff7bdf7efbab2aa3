//! Who hears whom: a primary that hears too few may be replaced by a standby that is heard.
//!
//! A primary whose inbound is dead commits nothing, and yet nobody suspects it, since all hear its heartbeats. So it says
//! in them that it is deaf. But what looks like a deaf primary may be a dumb standby: a node that nobody hears must not
//! take over, for it would commit nothing either. So whoever doubts its primary speaks to all other nodes, each tells each
//! whether it hears the other, and only who is heard by enough of them stands. Then the set goes on at most to nodes
//! that hear one another, and not to and fro.

use super::broken::{Broken, Rule};
use super::member::NodeId;
use crate::limits::MAX_NODES;
use crate::time::Nanos;

/// What a primary finds out about another node in a duty cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// It is in the local set.
    pub is_member: bool,
    /// It is not suspected.
    pub is_heard: bool,
    /// It was heard just now, as [`Detector::hears_now`](super::Detector::hears_now) says.
    pub is_fresh: bool,
    /// It makes progress.
    pub keeps_up: bool,
}

/// Which of the nodes are there for a primary. It counts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    heard: usize,
    keeping_up: usize,
    fresh: usize,
}

impl Default for Roll {
    /// The primary alone.
    fn default() -> Roll {
        Roll { heard: 1, keeping_up: 1, fresh: 1 }
    }
}

impl Roll {
    /// Counts another node.
    pub fn count(&mut self, node: Attendance) {
        let is_there = node.is_member && node.is_heard && node.keeps_up;
        self.heard += usize::from(node.is_heard);
        self.keeping_up += usize::from(is_there);
        self.fresh += usize::from(is_there && node.is_fresh);
    }

    /// Members that are heard and keep up: what commits can count on.
    pub fn members(&self) -> usize {
        self.keeping_up
    }

    /// Whether the set may lose the members that are not there: enough others are, and were heard just now. Who loses its
    /// hearing suspects one member after the other, and all of them must still be in the set then: one of them has to
    /// take over. Below `min_in_sync` a smaller set gains nothing in any case, since it admits nothing.
    pub fn may_shrink(&self, min_in_sync: usize) -> bool {
        self.fresh >= min_in_sync
    }

    /// Whether this primary hears too few nodes to commit anything with. A slow node is heard.
    pub fn is_deaf(&self, min_in_sync: usize) -> bool {
        self.heard < min_in_sync
    }
}

/// What a standby hears, and by whom it is heard.
#[derive(Clone, Debug)]
pub struct Hearing {
    /// What is older does not count.
    lately: Nanos,
    /// Since when the primary has been saying that it is deaf.
    told_since: Option<Nanos>,
    /// When each node was heard.
    heard: [Option<Nanos>; MAX_NODES],
    /// When each node said that it hears this one.
    heard_by: [Option<Nanos>; MAX_NODES],
    broken: Broken,
}

impl Hearing {
    /// `lately`: what was heard longer ago does not count.
    pub fn new(lately: Nanos) -> Hearing {
        let never = [None; MAX_NODES];
        Hearing { lately, told_since: None, heard: never, heard_by: never, broken: Broken::NONE }
    }

    /// The same with a rule broken on purpose, if one is.
    pub fn breaking(mut self, broken: Broken) -> Hearing {
        self.broken = broken;
        self
    }

    /// The primary that is followed was heard, and says whether it is deaf.
    #[inline]
    pub fn on_primary(&mut self, now: Nanos, is_deaf: bool) {
        let is_told = is_deaf && !self.broken.is(Rule::DeafPrimaryKept);
        self.told_since = is_told.then(|| self.told_since.unwrap_or(now));
    }

    /// `node`, which is no primary, was heard, and says whether it does not hear this one.
    pub fn on_standby(&mut self, now: Nanos, node: NodeId, is_deaf: bool) {
        let at = usize::from(node.0);
        let (Some(heard), Some(heard_by)) = (self.heard.get_mut(at), self.heard_by.get_mut(at)) else {
            return;
        };
        *heard = Some(now);
        *heard_by = (!is_deaf).then_some(now);
    }

    /// Another primary is followed, or none.
    pub fn settle(&mut self) {
        self.told_since = None;
    }

    /// Whether the primary says that it is deaf: speak to all nodes.
    #[inline]
    pub fn is_told(&self) -> bool {
        self.told_since.is_some()
    }

    /// Whether `node`, which is no primary, was heard of late.
    pub fn hears(&self, now: Nanos, node: NodeId) -> bool {
        self.is_recent(now, self.heard.get(usize::from(node.0)))
    }

    fn is_recent(&self, now: Nanos, at: Option<&Option<Nanos>>) -> bool {
        at.copied().flatten().is_some_and(|at| now.since(at) < self.lately)
    }

    /// Whether the primary has been deaf for `patience`, and this node is heard by enough others to do better: with it they
    /// are `min_in_sync`.
    #[inline]
    pub fn finds_deaf(&self, now: Nanos, patience: Nanos, min_in_sync: usize) -> bool {
        let Some(since) = self.told_since else { return false };
        if now.since(since) < patience {
            return false;
        }
        let others = self.heard_by.iter().filter(|at| self.is_recent(now, Some(at))).count();
        1 + others >= min_in_sync
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PATIENCE: Nanos = Nanos(50 * MS);

    fn at(ms: u64) -> Nanos {
        Nanos(1_000 * MS + ms * MS)
    }

    const THERE: Attendance = Attendance { is_member: true, is_heard: true, is_fresh: true, keeps_up: true };
    const SILENT: Attendance = Attendance { is_heard: false, is_fresh: false, ..THERE };
    const OUTSIDE: Attendance = Attendance { is_member: false, ..THERE };
    const SLOW: Attendance = Attendance { keeps_up: false, ..THERE };
    const FADING: Attendance = Attendance { is_fresh: false, ..THERE };

    fn roll(others: &[Attendance]) -> Roll {
        let mut roll = Roll::default();
        others.iter().for_each(|&other| roll.count(other));
        roll
    }

    #[test]
    fn a_set_shrinks_only_as_far_as_it_can_still_admit() {
        for (others, may_shrink) in [
            (&[SILENT, THERE][..], true),
            (&[SLOW, THERE], true),
            (&[SILENT, SILENT], false),
            (&[SILENT, SLOW], false),
            (&[SLOW, SLOW], false),
            (&[SILENT, FADING], false),
            (&[SILENT, OUTSIDE], false),
            (&[SILENT], false),
            (&[SILENT, SILENT, SILENT, THERE], true),
        ] {
            assert_eq!(roll(others).may_shrink(2), may_shrink, "{others:?}");
            assert!(roll(others).may_shrink(1), "who may go on alone does");
        }
    }

    #[test]
    fn who_hears_a_slow_node_or_one_outside_the_set_is_not_deaf() {
        for (others, is_deaf, members) in [
            (&[THERE, THERE][..], false, 3),
            (&[SILENT, THERE], false, 2),
            (&[SILENT, FADING], false, 2),
            (&[SILENT, SLOW], false, 1),
            (&[SILENT, OUTSIDE], false, 1),
            (&[SILENT, SILENT], true, 1),
            (&[], true, 1),
        ] {
            assert_eq!(roll(others).is_deaf(2), is_deaf, "{others:?}");
            assert_eq!(roll(others).members(), members, "{others:?}");
            assert!(!roll(others).is_deaf(1), "who may go on alone is never deaf");
        }
    }

    /// Node 0 leads, this is node 1, and node 2 speaks with it.
    #[test]
    fn a_primary_that_has_been_deaf_for_long_is_found_so_by_a_standby_that_is_heard() {
        let mut hearing = Hearing::new(PATIENCE);
        hearing.on_primary(at(0), true);
        assert!(hearing.is_told());
        for ms in 1..50 {
            hearing.on_primary(at(ms), true);
            hearing.on_standby(at(ms), NodeId(2), ms < 3);
            assert!(!hearing.finds_deaf(at(ms), PATIENCE, 2), "too early");
        }
        assert!(hearing.hears(at(50), NodeId(2)));
        assert!(hearing.finds_deaf(at(50), PATIENCE, 2));
        assert!(!hearing.finds_deaf(at(50), PATIENCE, 3), "three are needed");
        assert!(!hearing.finds_deaf(at(50), PATIENCE + PATIENCE, 2), "who was misled waits longer");
        hearing.on_primary(at(51), false);
        assert!(!hearing.is_told() && !hearing.finds_deaf(at(51), PATIENCE, 2), "it hears again");
        hearing.on_primary(at(52), true);
        assert!(!hearing.finds_deaf(at(100), PATIENCE, 1), "patience begins anew");
        assert!(hearing.finds_deaf(at(102), PATIENCE, 1));
        hearing.settle();
        assert!(!hearing.finds_deaf(at(102), PATIENCE, 1), "somebody else leads");
    }

    #[test]
    fn who_is_not_heard_by_others_never_finds_its_primary_deaf() {
        // Nobody speaks with it; the other says that it does not hear it; the other heard it long ago.
        let mut hearing = Hearing::new(PATIENCE);
        hearing.on_primary(at(0), true);
        assert!(!hearing.finds_deaf(at(900), PATIENCE, 2));
        hearing.on_standby(at(900), NodeId(2), true);
        assert!(hearing.hears(at(900), NodeId(2)) && !hearing.finds_deaf(at(900), PATIENCE, 2));
        hearing.on_standby(at(900), NodeId(2), false);
        assert!(hearing.finds_deaf(at(949), PATIENCE, 2));
        assert!(!hearing.hears(at(950), NodeId(2)) && !hearing.finds_deaf(at(950), PATIENCE, 2));
        hearing.on_standby(at(960), NodeId(2), false);
        hearing.on_standby(at(961), NodeId(2), true);
        assert!(!hearing.finds_deaf(at(961), PATIENCE, 2), "its last word counts");
        hearing.on_standby(at(961), NodeId(999), false);
        assert!(!hearing.hears(at(961), NodeId(999)), "no such node");
    }

    /// Three nodes on links of which some are dead: which standbys find primary 0 deaf, after everybody who doubts has
    /// spoken with everybody for long enough?
    fn finders(dead: &[(u16, u16)], min_in_sync: usize) -> Vec<u16> {
        let passes = |from: u16, to: u16| !dead.contains(&(from, to));
        let heard = |is_heard| Attendance { is_heard, is_fresh: is_heard, ..THERE };
        let is_deaf = roll(&[heard(passes(1, 0)), heard(passes(2, 0))]).is_deaf(min_in_sync);
        let mut standbys = [Hearing::new(PATIENCE), Hearing::new(PATIENCE)];
        for ms in 0..=60 {
            for (me, other) in [(1, 2), (2, 1)] {
                if passes(0, me) {
                    standbys[usize::from(me) - 1].on_primary(at(ms), is_deaf);
                }
                let speaker = &standbys[usize::from(other) - 1];
                let says_deaf = !speaker.hears(at(ms), NodeId(me));
                if speaker.is_told() && passes(other, me) {
                    standbys[usize::from(me) - 1].on_standby(at(ms), NodeId(other), says_deaf);
                }
            }
        }
        let found = |me: &u16| standbys[usize::from(*me) - 1].finds_deaf(at(60), PATIENCE, min_in_sync);
        [1, 2].into_iter().filter(found).collect()
    }

    const NOBODY: [u16; 0] = [];

    #[test]
    fn a_dumb_standby_is_not_taken_for_a_deaf_primary() {
        assert_eq!(finders(&[], 2), NOBODY);
        assert_eq!(finders(&[(1, 0), (2, 0)], 2), [1, 2], "the primary is deaf");
        assert_eq!(
            finders(&[(1, 0), (1, 2)], 2),
            NOBODY,
            "node 1 is dumb, and the primary goes on with node 2"
        );
        assert_eq!(finders(&[(1, 0), (1, 2)], 3), NOBODY, "node 1 is dumb, and nobody would do better");
        assert_eq!(finders(&[(1, 0), (2, 0), (1, 2)], 2), NOBODY, "no two nodes hear one another");
    }
}
