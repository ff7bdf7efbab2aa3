//! Who hears whom: who takes over must be heard, and a primary that hears too few may be replaced.
//!
//! A primary whose inbound is dead commits nothing, and yet nobody suspects it, since all hear its heartbeats. So it says
//! in them that it is deaf. But what looks like a deaf primary may be a dumb standby, and what looks like a silent one a
//! deaf standby: a node that does not hear others, or is not heard, would commit nothing either, and must not take over.
//! So whoever doubts its primary speaks to all other nodes, each tells each whether it hears the other, and only who is
//! heard by enough of them stands. Then the lead goes only to nodes that can do something with it, and not to and fro.

use super::broken::{Broken, Rule};
use super::control::Suspect;
use super::detector::Suspicion;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What a standby thinks of its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It follows it.
    Trusted,
    /// It follows it all the same: by itself it would do no better.
    Doubted(Suspect),
    /// It takes over if it may.
    Suspected(Suspect),
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

    /// Whether to speak to `node`, which is no primary. `suspicion` is what the detector has against the primary.
    pub fn speaks_to(&self, now: Nanos, node: NodeId, suspicion: Option<Suspicion>) -> bool {
        let asks = self.hears(now, node) && self.heard_by[usize::from(node.0)].is_none();
        asks || suspicion.is_some() || self.told_since.is_some()
    }

    /// Whether `node`, which is no primary, was heard of late.
    pub fn hears(&self, now: Nanos, node: NodeId) -> bool {
        self.is_recent(now, self.heard.get(usize::from(node.0)))
    }

    fn is_recent(&self, now: Nanos, at: Option<&Option<Nanos>>) -> bool {
        at.copied().flatten().is_some_and(|at| now.since(at) < self.lately)
    }

    /// Whether enough others hear this node for a set of `min_in_sync`.
    fn is_heard(&self, now: Nanos, min_in_sync: usize) -> bool {
        let others = self.heard_by.iter().filter(|at| self.is_recent(now, Some(at))).count();
        1 + others >= min_in_sync
    }

    /// What to think of the primary that is followed. `suspicion` is what the detector has against it, `patience` how
    /// long it may be deaf. A process that is known to be dead needs no proof of being heard: that takes time.
    #[inline]
    pub fn judge(
        &self,
        now: Nanos,
        suspicion: Option<Suspicion>,
        patience: Nanos,
        min_in_sync: usize,
    ) -> Verdict {
        let why = match (suspicion, self.told_since) {
            (Some(Suspicion::LinkClosed), _) => return Verdict::Suspected(Suspect::Closed),
            (Some(Suspicion::Silent(_)), _) => Suspect::Silent,
            (None, Some(since)) if now.since(since) >= patience => Suspect::Deaf,
            (None, _) => return Verdict::Trusted,
        };
        if self.is_heard(now, min_in_sync) { Verdict::Suspected(why) } else { Verdict::Doubted(why) }
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

    fn judge(hearing: &Hearing, now: Nanos, min_in_sync: usize) -> Verdict {
        hearing.judge(now, None, PATIENCE, min_in_sync)
    }

    const DOUBTED: Verdict = Verdict::Doubted(Suspect::Deaf);
    const SUSPECTED: Verdict = Verdict::Suspected(Suspect::Deaf);

    /// Node 0 leads, this is node 1, and node 2 speaks with it.
    #[test]
    fn a_primary_that_has_been_deaf_for_long_is_suspected_by_a_standby_that_is_heard() {
        let mut hearing = Hearing::new(PATIENCE);
        assert!(!hearing.speaks_to(at(0), NodeId(2), None));
        hearing.on_primary(at(0), true);
        assert!(hearing.speaks_to(at(0), NodeId(2), None));
        for ms in 1..50 {
            hearing.on_primary(at(ms), true);
            hearing.on_standby(at(ms), NodeId(2), ms < 3);
            assert_eq!(judge(&hearing, at(ms), 2), Verdict::Trusted, "not yet");
        }
        assert!(hearing.hears(at(50), NodeId(2)));
        assert_eq!(judge(&hearing, at(50), 2), SUSPECTED);
        assert_eq!(judge(&hearing, at(50), 3), DOUBTED, "three are needed");
        assert_eq!(
            hearing.judge(at(50), None, PATIENCE + PATIENCE, 2),
            Verdict::Trusted,
            "who was misled waits"
        );
        hearing.on_primary(at(51), false);
        assert_eq!(judge(&hearing, at(51), 2), Verdict::Trusted, "it hears again");
        hearing.on_primary(at(52), true);
        assert_eq!(judge(&hearing, at(101), 1), Verdict::Trusted, "patience begins anew");
        assert_eq!(judge(&hearing, at(102), 1), SUSPECTED);
        hearing.settle();
        assert_eq!(judge(&hearing, at(102), 1), Verdict::Trusted, "somebody else leads");
    }

    #[test]
    fn who_is_not_heard_only_doubts() {
        // Nobody speaks with it; the other says that it does not hear it; the other heard it long ago.
        let mut hearing = Hearing::new(PATIENCE);
        hearing.on_primary(at(0), true);
        assert_eq!(judge(&hearing, at(900), 2), DOUBTED);
        hearing.on_standby(at(900), NodeId(2), true);
        assert!(hearing.hears(at(900), NodeId(2)));
        assert_eq!(judge(&hearing, at(900), 2), DOUBTED);
        hearing.on_standby(at(900), NodeId(2), false);
        assert_eq!(judge(&hearing, at(949), 2), SUSPECTED);
        assert!(!hearing.hears(at(950), NodeId(2)));
        assert_eq!(judge(&hearing, at(950), 2), DOUBTED);
        hearing.on_standby(at(960), NodeId(2), false);
        hearing.on_standby(at(961), NodeId(2), true);
        assert_eq!(judge(&hearing, at(961), 2), DOUBTED, "its last word counts");
        hearing.on_standby(at(961), NodeId(999), false);
        assert!(!hearing.hears(at(961), NodeId(999)), "no such node");
    }

    #[test]
    fn a_silent_primary_is_suspected_by_who_is_heard_and_a_dead_one_by_anybody() {
        let mut hearing = Hearing::new(PATIENCE);
        let judge = |hearing: &Hearing, suspicion| hearing.judge(at(9), Some(suspicion), PATIENCE, 2);
        let silent = Suspicion::Silent(PATIENCE);
        assert!(hearing.speaks_to(at(9), NodeId(2), Some(silent)));
        assert_eq!(judge(&hearing, silent), Verdict::Doubted(Suspect::Silent));
        assert_eq!(judge(&hearing, Suspicion::LinkClosed), Verdict::Suspected(Suspect::Closed));
        hearing.on_standby(at(8), NodeId(2), false);
        assert_eq!(judge(&hearing, silent), Verdict::Suspected(Suspect::Silent));
    }

    #[test]
    fn who_asks_whether_it_is_heard_gets_an_answer() {
        let mut hearing = Hearing::new(PATIENCE);
        hearing.on_standby(at(0), NodeId(2), true);
        assert!(hearing.speaks_to(at(1), NodeId(2), None) && !hearing.speaks_to(at(1), NodeId(3), None));
        assert!(!hearing.speaks_to(at(50), NodeId(2), None), "it asks no more");
        hearing.on_standby(at(60), NodeId(2), true);
        hearing.on_standby(at(61), NodeId(2), false);
        assert!(!hearing.speaks_to(at(61), NodeId(2), None), "it has its answer");
        assert!(!hearing.speaks_to(at(61), NodeId(999), None), "no such node");
    }

    /// Three nodes on links of which some are dead: which standbys would replace primary 0, after everybody has spoken with
    /// everybody for long enough?
    fn heirs(dead: &[(u16, u16)], min_in_sync: usize) -> Vec<u16> {
        let passes = |from: u16, to: u16| !dead.contains(&(from, to));
        let heard = |is_heard| Attendance { is_heard, is_fresh: is_heard, ..THERE };
        let is_deaf = roll(&[heard(passes(1, 0)), heard(passes(2, 0))]).is_deaf(min_in_sync);
        let suspicion = |me: u16| (!passes(0, me)).then_some(Suspicion::Silent(PATIENCE));
        let mut standbys = [Hearing::new(PATIENCE), Hearing::new(PATIENCE)];
        for ms in 0..=60 {
            for (me, other) in [(1, 2), (2, 1)] {
                if passes(0, me) {
                    standbys[usize::from(me) - 1].on_primary(at(ms), is_deaf);
                }
                let speaker = &standbys[usize::from(other) - 1];
                let says_deaf = !speaker.hears(at(ms), NodeId(me));
                if speaker.speaks_to(at(ms), NodeId(me), suspicion(other)) && passes(other, me) {
                    standbys[usize::from(me) - 1].on_standby(at(ms), NodeId(other), says_deaf);
                }
            }
        }
        let stands = |me: &u16| {
            let verdict = standbys[usize::from(*me) - 1].judge(at(60), suspicion(*me), PATIENCE, min_in_sync);
            matches!(verdict, Verdict::Suspected(_))
        };
        [1, 2].into_iter().filter(stands).collect()
    }

    #[test]
    fn a_dumb_standby_is_not_taken_for_a_deaf_primary_nor_a_deaf_one_for_a_silent() {
        let nobody: &[u16] = &[];
        for (dead, min_in_sync, expected, why) in [
            (&[][..], 2, nobody, "all is well"),
            (&[(1, 0), (2, 0)], 2, &[1, 2], "the primary is deaf"),
            (&[(0, 1), (0, 2)], 2, &[1, 2], "the primary is dumb"),
            (&[(0, 1), (0, 2), (1, 0), (2, 0)], 2, &[1, 2], "the primary is cut off"),
            (&[(1, 0), (1, 2)], 2, nobody, "node 1 is dumb, and the primary goes on with node 2"),
            (&[(1, 0), (1, 2)], 3, nobody, "node 1 is dumb, and nobody would do better"),
            (&[(0, 1), (2, 1)], 2, nobody, "node 1 is deaf"),
            (&[(0, 1), (2, 1), (1, 0), (1, 2)], 2, nobody, "node 1 is cut off"),
            (&[(1, 0), (2, 0), (1, 2)], 2, nobody, "no two nodes hear one another"),
            (&[(0, 1)], 2, &[1], "node 1 cannot follow, and can lead"),
        ] {
            assert_eq!(heirs(dead, min_in_sync), expected, "{why}");
        }
    }
}
