//! The drills, as data: what is done to whom, and what is waited for.

use std::fmt;

/// A drill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// As it is called.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// Whether it needs standbys; else a sequencer alone.
    pub(crate) cluster: bool,
    /// What it cannot do without.
    pub(crate) needs: &'static [Need],
    /// What is done, while publishers publish and subscribers receive.
    pub(crate) steps: &'static [Step],
}

/// What not every machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A network that can be broken.
    Network,
    /// A small file system of its own for each journal.
    Mount,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The primary of the moment; a sequencer that is alone is one.
    Primary,
    /// A standby of the moment, from 0 in the order of the nodes.
    Standby(usize),
    /// The one that something was done to last.
    Victim,
    /// All of them.
    All,
}

/// Whom a node is cut off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The other nodes, both ways.
    Nodes,
    /// The other nodes do not hear it; it hears them.
    NodesHearing,
    /// It does not hear the other nodes; they hear it.
    HearingNodes,
    /// The coordinator.
    Coordinator,
}

/// One step of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Let everything go on for so many milliseconds.
    Run(u64),
    /// End its process as a power switch does: kill -9.
    Kill(Who),
    /// Ask its process to end.
    Terminate(Who),
    /// Start its process again.
    Start(Who),
    /// Stop its process in its tracks: SIGSTOP.
    Freeze(Who),
    /// Let it go on: SIGCONT.
    Thaw(Who),
    /// Cut it off.
    Cut(Who, From),
    /// All nodes lose so many, and send so many late, of a hundred datagrams.
    Lossy(u32, u32),
    /// It gets no more than so many of a hundred parts of its processors' time.
    Throttle(Who, u32),
    /// What goes to it comes no faster than so many kilobits a second.
    Congest(Who, u32),
    /// Repair the network and the way to the coordinator, and throttle nobody.
    Heal,
    /// The coordinator does not answer any more.
    CoordinatorAway,
    /// It does again.
    CoordinatorBack,
    /// Ask it to hand over.
    Retire(Who),
    /// Ask it to lead.
    Promote(Who),
    /// Fill the disk of its journal.
    FillDisk(Who),
    /// Give the disk room again.
    FreeDisk(Who),
    /// Wait until another node than before leads a higher epoch than before.
    AwaitTakeover,
    /// Wait until all nodes are in the in-sync set.
    AwaitSet,
    /// Wait until the in-sync set has this many members.
    AwaitMembers(usize),
    /// Wait until events reach every subscriber.
    AwaitFlow,
    /// Wait until no events come, or another node leads.
    AwaitStall,
}

impl Step {
    /// Whether this is what the drill is about: its consequences are measured.
    pub(crate) fn is_fault(self) -> bool {
        matches!(
            self,
            Step::Kill(_)
                | Step::Terminate(_)
                | Step::Freeze(_)
                | Step::Cut(..)
                | Step::Lossy(..)
                | Step::Throttle(..)
                | Step::Congest(..)
                | Step::CoordinatorAway
                | Step::Retire(_)
                | Step::Promote(_)
                | Step::FillDisk(_)
        )
    }

    /// Whether nothing is done but waiting.
    pub(crate) fn is_wait(self) -> bool {
        matches!(
            self,
            Step::Run(_)
                | Step::AwaitTakeover
                | Step::AwaitSet
                | Step::AwaitMembers(_)
                | Step::AwaitFlow
                | Step::AwaitStall
        )
    }

    /// Whom it is done to.
    pub(crate) fn who(self) -> Option<Who> {
        match self {
            Step::Kill(who)
            | Step::Terminate(who)
            | Step::Start(who)
            | Step::Freeze(who)
            | Step::Thaw(who)
            | Step::Cut(who, _)
            | Step::Throttle(who, _)
            | Step::Congest(who, _)
            | Step::Retire(who)
            | Step::Promote(who)
            | Step::FillDisk(who)
            | Step::FreeDisk(who) => Some(who),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Run(ms) => write!(f, "go on for {ms} ms"),
            Step::Kill(_) => f.write_str("kill -9"),
            Step::Terminate(_) => f.write_str("terminate"),
            Step::Start(_) => f.write_str("start"),
            Step::Freeze(_) => f.write_str("freeze"),
            Step::Thaw(_) => f.write_str("thaw"),
            Step::Cut(_, From::Nodes) => f.write_str("cut off from the other nodes"),
            Step::Cut(_, From::NodesHearing) => f.write_str("not heard by the other nodes"),
            Step::Cut(_, From::HearingNodes) => f.write_str("does not hear the other nodes"),
            Step::Cut(_, From::Coordinator) => f.write_str("cut off from the coordinator"),
            Step::Lossy(loss, late) => write!(f, "links lose {loss} % and reorder {late} %"),
            Step::Throttle(_, part) => write!(f, "throttle to {part} %"),
            Step::Congest(_, kbit) => write!(f, "congest to {kbit} kbit/s"),
            Step::Heal => f.write_str("heal"),
            Step::CoordinatorAway => f.write_str("coordinator away"),
            Step::CoordinatorBack => f.write_str("coordinator back"),
            Step::Retire(_) => f.write_str("retire"),
            Step::Promote(_) => f.write_str("promote"),
            Step::FillDisk(_) => f.write_str("disk full"),
            Step::FreeDisk(_) => f.write_str("disk has room"),
            Step::AwaitTakeover => f.write_str("wait for a takeover"),
            Step::AwaitSet => f.write_str("wait for all nodes to be in sync"),
            Step::AwaitMembers(count) => write!(f, "wait for {count} nodes to be in sync"),
            Step::AwaitFlow => f.write_str("wait for events"),
            Step::AwaitStall => f.write_str("wait until nothing comes, or another leads"),
        }
    }
}

use Step::{
    AwaitFlow, AwaitMembers, AwaitSet, AwaitStall, AwaitTakeover, Congest, CoordinatorAway, CoordinatorBack,
    Cut, FillDisk, FreeDisk, Freeze, Heal, Kill, Lossy, Promote, Retire, Run, Start, Terminate, Thaw,
    Throttle,
};
use Who::{All, Primary, Standby, Victim};

/// All drills.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "restart",
        about: "a sequencer that is alone: kill -9, and start it again",
        cluster: false,
        needs: &[],
        steps: &[Run(500), Kill(Primary), Start(Victim), AwaitFlow, Run(300)],
    },
    Scenario {
        name: "alone-stop",
        about: "a sequencer that is alone: end it in order, and start it again",
        cluster: false,
        needs: &[],
        steps: &[Run(500), Terminate(Primary), Start(Victim), AwaitFlow, Run(300)],
    },
    Scenario {
        name: "alone-freeze",
        about: "a sequencer that is alone: stop it in its tracks, and let it go on",
        cluster: false,
        needs: &[],
        steps: &[Run(500), Freeze(Primary), Run(500), Thaw(Victim), AwaitFlow, Run(300)],
    },
    Scenario {
        name: "alone-lossy",
        about: "a sequencer that is alone loses 3 % of what it is sent, and sends 5 % late",
        cluster: false,
        needs: &[Need::Network],
        steps: &[Run(300), Lossy(3, 5), AwaitFlow, Run(1_000), Heal, AwaitFlow, Run(200)],
    },
    Scenario {
        name: "alone-disk-full",
        about: "the disk of a sequencer that is alone is full: it takes no more, until there is room again",
        cluster: false,
        needs: &[Need::Mount],
        steps: &[Run(300), FillDisk(Primary), AwaitStall, FreeDisk(Victim), AwaitFlow, Run(300)],
    },
    Scenario {
        name: "kill-primary",
        about: "kill -9 the primary; a standby takes over; it comes back",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Kill(Primary),
            AwaitTakeover,
            AwaitFlow,
            Run(300),
            Start(Victim),
            AwaitSet,
            Run(300),
        ],
    },
    Scenario {
        name: "kill-standby",
        about: "kill -9 a standby: commits wait for it until it is out of the set; it comes back",
        cluster: true,
        needs: &[],
        steps: &[Run(500), Kill(Standby(0)), AwaitFlow, Run(300), Start(Victim), AwaitSet, Run(300)],
    },
    Scenario {
        name: "kill-in-turn",
        about: "kill -9 the primary, bring it back, then the one that took over",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Kill(Primary),
            AwaitTakeover,
            AwaitFlow,
            Start(Victim),
            AwaitSet,
            Run(300),
            Kill(Primary),
            AwaitTakeover,
            AwaitFlow,
            Start(Victim),
            AwaitSet,
            Run(300),
        ],
    },
    Scenario {
        name: "freeze-primary",
        about: "stop the primary in its tracks; a standby takes over; the zombie thaws and must not harm",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Freeze(Primary),
            AwaitTakeover,
            AwaitFlow,
            Run(300),
            Thaw(Victim),
            Run(300),
            AwaitSet,
            AwaitFlow,
        ],
    },
    Scenario {
        name: "freeze-standby",
        about: "stop a standby in its tracks: it leaves the set; it thaws and comes back",
        cluster: true,
        needs: &[],
        steps: &[Run(500), Freeze(Standby(0)), AwaitMembers(2), AwaitFlow, Thaw(Victim), AwaitSet, Run(300)],
    },
    Scenario {
        name: "cut-primary",
        about: "cut the primary off from the standbys, but not from the coordinator",
        cluster: true,
        needs: &[Need::Network],
        steps: &[
            Run(500),
            Cut(Primary, From::Nodes),
            AwaitFlow,
            Run(500),
            Heal,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "cut-coordinator",
        about: "cut the primary off from the coordinator, but not from the standbys: events go on",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Cut(Primary, From::Coordinator),
            AwaitFlow,
            Run(1_000),
            Heal,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "unheard-primary",
        about: "one way: the standbys do not hear the primary, which hears them",
        cluster: true,
        needs: &[Need::Network],
        steps: &[
            Run(500),
            Cut(Primary, From::NodesHearing),
            AwaitFlow,
            Run(500),
            Heal,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "deaf-primary",
        about: "the other way: the primary does not hear the standbys, which hear it",
        cluster: true,
        needs: &[Need::Network],
        steps: &[
            Run(500),
            Cut(Primary, From::HearingNodes),
            AwaitFlow,
            Run(500),
            Heal,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "lossy-links",
        about: "all nodes lose 3 % of what they are sent, and send 5 % late",
        cluster: true,
        needs: &[Need::Network],
        steps: &[Run(300), Lossy(3, 5), AwaitFlow, Run(2_000), Heal, AwaitSet, AwaitFlow, Run(200)],
    },
    Scenario {
        name: "slow-standby",
        about: "a standby gets a fifth of its processors' time: commits are as slow as it is, or it leaves the set",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Throttle(Standby(0), 20),
            AwaitFlow,
            Run(1_500),
            Heal,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "congested-standby",
        about: "what goes to a standby mostly gets lost, and the rest comes late",
        cluster: true,
        needs: &[Need::Network],
        steps: &[
            Run(500),
            Congest(Standby(0), 256),
            AwaitFlow,
            Run(2_000),
            Heal,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "coordinator-away",
        about: "the coordinator is away in normal running: nobody notices",
        cluster: true,
        needs: &[],
        steps: &[
            Run(300),
            CoordinatorAway,
            AwaitFlow,
            Run(1_500),
            CoordinatorBack,
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "coordinator-away-at-failover",
        about: "the primary dies while the coordinator is away: the takeover waits for it",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            CoordinatorAway,
            Run(300),
            Kill(Primary),
            Run(1_000),
            CoordinatorBack,
            AwaitTakeover,
            AwaitFlow,
            Start(Victim),
            AwaitSet,
            Run(300),
        ],
    },
    Scenario {
        name: "restart-all",
        about: "kill -9 all nodes at once, and start them again",
        cluster: true,
        needs: &[],
        steps: &[Run(500), Kill(All), Start(All), AwaitFlow, AwaitSet, Run(300)],
    },
    Scenario {
        name: "handover",
        about: "planned: the primary drains, hands over and goes",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Retire(Primary),
            AwaitTakeover,
            AwaitFlow,
            Terminate(Victim),
            Start(Victim),
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
    Scenario {
        name: "promote",
        about: "planned: a standby is to lead; the primary drains, hands over to it and stays",
        cluster: true,
        needs: &[],
        steps: &[Run(500), Promote(Standby(1)), AwaitTakeover, AwaitFlow, AwaitSet, Run(300)],
    },
    Scenario {
        name: "disk-full",
        about: "the disk of the primary's journal is full, then has room again",
        cluster: true,
        needs: &[Need::Mount],
        steps: &[Run(500), FillDisk(Primary), AwaitStall, FreeDisk(Victim), AwaitFlow, AwaitSet, Run(300)],
    },
    Scenario {
        name: "rolling-restart",
        about: "all nodes, one after the other, standbys first: retired where they lead, ended, started again",
        cluster: true,
        needs: &[],
        steps: &[
            Run(500),
            Terminate(Standby(0)),
            Start(Victim),
            AwaitSet,
            AwaitFlow,
            Terminate(Standby(1)),
            Start(Victim),
            AwaitSet,
            AwaitFlow,
            Retire(Primary),
            AwaitTakeover,
            Terminate(Victim),
            Start(Victim),
            AwaitSet,
            AwaitFlow,
            Run(300),
        ],
    },
];

/// The drill called `name`.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_drill_has_its_name_a_fault_and_an_end_with_events() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            let Scenario { name, steps, .. } = scenario;
            assert_eq!(named(name).map(|found| found.about), Some(scenario.about));
            assert!(steps.iter().any(|step| step.is_fault()), "{name}");
            let fault = steps.iter().rposition(|step| step.is_fault()).unwrap();
            assert!(steps[fault..].contains(&AwaitFlow), "{name}: events flow after the last fault");
        }
        assert!(named("nothing").is_none());
    }

    #[test]
    fn what_was_broken_is_mended_before_the_end() {
        let last = |steps: &[Step], of: fn(&Step) -> bool| steps.iter().rposition(of);
        for Scenario { name, steps, cluster, needs, .. } in SCENARIOS {
            for (broken, mended) in [
                (
                    last(steps, |step| matches!(step, Kill(_) | Terminate(_))),
                    last(steps, |step| matches!(step, Start(_))),
                ),
                (last(steps, |step| matches!(step, Freeze(_))), last(steps, |step| matches!(step, Thaw(_)))),
                (
                    last(steps, |step| matches!(step, Cut(..) | Lossy(..) | Congest(..) | Throttle(..))),
                    last(steps, |step| *step == Heal),
                ),
                (last(steps, |step| *step == CoordinatorAway), last(steps, |step| *step == CoordinatorBack)),
                (
                    last(steps, |step| matches!(step, FillDisk(_))),
                    last(steps, |step| matches!(step, FreeDisk(_))),
                ),
            ] {
                assert!(broken <= mended, "{name}: {broken:?} {mended:?}");
            }
            let awaits_set = last(steps, |step| *step == AwaitSet);
            assert_eq!(awaits_set.is_some(), *cluster, "{name}: all are in sync in the end");
            let breaks = last(steps, |step| {
                matches!(step, Lossy(..) | Congest(..))
                    || matches!(step, Cut(_, from) if *from != From::Coordinator)
            });
            assert_eq!(breaks.is_some(), needs.contains(&Need::Network), "{name}");
        }
    }
}
