//! Which threads there are, where they run, and who shares them.

use seqcast_engine::config::{Idle, Runtime, ThreadLayout};
use seqcast_engine::runtime::{Agent, Composite, IdleStrategy, Idler, allowed_cores};
use seqcast_engine::topology::Node;

use super::busy::Ledger;
use crate::output::UsageError;

/// Names of the threads of the data path.
const THREADS: [&str; 8] =
    ["bench-1", "bench-2", "bench-3", "bench-4", "bench-5", "bench-6", "bench-7", "bench-8"];

/// The cores that may be kept busy, and how.
#[derive(Clone, Debug)]
pub struct Place {
    /// Cores; one thread of the data path each at most.
    cores: Vec<usize>,
    /// Whether each thread is pinned to its core.
    is_pinned: bool,
    /// What a thread does when there is nothing to do.
    pub(crate) idle: Idle,
}

/// Who takes part in a run. Agents of one role share a thread; roles share one where there are fewer cores than roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher(usize),
    Primary,
    Standby(usize),
    Subscriber(usize),
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Role::Publisher(at) => write!(f, "publisher {}", at + 1),
            Role::Primary => f.write_str("sequencer"),
            Role::Standby(at) => write!(f, "standby {}", at + 1),
            Role::Subscriber(at) => write!(f, "subscriber {}", at + 1),
        }
    }
}

/// Everybody on threads.
pub(crate) struct Staged {
    /// The agents of the data path.
    pub(crate) hot: Node,
    /// The agents that may block, role by role: several of one name, each to be launched with counters of its own.
    pub(crate) cold: Vec<(Role, Node)>,
    /// The threads of the data path, in words.
    pub(crate) told: Vec<String>,
}

impl Place {
    /// The cores `asked` for, threads pinned; or all that this process may use, threads not pinned.
    pub(crate) fn new(asked: &[usize], idle: Idle) -> Result<Place, UsageError> {
        let allowed = allowed_cores();
        if let Some(core) = asked.iter().find(|core| !allowed.contains(core)) {
            return Err(UsageError(format!(
                "--cores: core {core} is none of those that this process may run on, which are {allowed:?}"
            )));
        }
        if let Some(at) = (1..asked.len()).find(|&at| asked[..at].contains(&asked[at])) {
            return Err(UsageError(format!("--cores: core {} is named twice", asked[at])));
        }
        let is_pinned = !asked.is_empty();
        let mut cores = if is_pinned { asked.to_vec() } else { allowed };
        if cores.is_empty() {
            // The platform does not tell which there are.
            let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            cores = (0..count).collect();
        }
        cores.truncate(THREADS.len());
        Ok(Place { cores, is_pinned, idle })
    }

    /// How many threads may be busy at the same time.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// The core of thread `at`, if it is to be pinned.
    pub fn core(&self, at: usize) -> Option<usize> {
        self.is_pinned.then(|| self.cores[at % self.cores.len()])
    }

    /// How each of `threads` threads rests. More threads than cores never spin: each would wait for the other's end of
    /// its time slice.
    pub fn idler(&self, threads: usize) -> Idler {
        self.rest(threads).idler()
    }

    /// As [`Place::idler`], for a runner.
    pub fn rest(&self, threads: usize) -> IdleStrategy {
        let idle = if threads > self.cores() { Idle::Yield } else { self.idle };
        match idle {
            Idle::Spin => IdleStrategy::BusySpin,
            Idle::Yield => IdleStrategy::Yield,
            Idle::Backoff | Idle::Sleep => IdleStrategy::backoff(),
        }
    }

    /// Lays `roles` out on threads: the roles of each thread.
    pub(crate) fn lay_out(&self, roles: &[Role]) -> Vec<Vec<Role>> {
        let of = |wanted: fn(&Role) -> bool| roles.iter().copied().filter(wanted).collect::<Vec<_>>();
        let publishers = of(|role| matches!(role, Role::Publisher(_)));
        let standbys = of(|role| matches!(role, Role::Standby(_)));
        let subscribers = of(|role| matches!(role, Role::Subscriber(_)));
        let following = || standbys.iter().chain(&subscribers).copied().collect::<Vec<_>>();
        match self.cores() {
            1 => vec![roles.to_vec()],
            2 => vec![publishers.into_iter().chain([Role::Primary]).collect(), following()],
            3 => vec![publishers, vec![Role::Primary], following()],
            cores => {
                let mut threads = vec![publishers, vec![Role::Primary]];
                let for_standbys = standbys.len().min(cores - 3);
                let for_subscribers = subscribers.len().min(cores - 2 - for_standbys);
                threads.extend(spread(&standbys, for_standbys));
                threads.extend(spread(&subscribers, for_subscribers));
                threads
            }
        }
    }

    /// Puts the agents of each role on the threads that [`Place::lay_out`] gives them, and describes those. With a
    /// ledger their duty cycles are timed.
    pub(super) fn stage(
        &self,
        roles: Vec<(Role, Node)>,
        runtime: &mut Runtime,
        ledger: Option<&Ledger>,
    ) -> Staged {
        let threads = self.lay_out(&roles.iter().map(|(role, _)| *role).collect::<Vec<_>>());
        let mut agents: Vec<Vec<(Role, Composite)>> = threads.iter().map(|_| Vec::new()).collect();
        let (mut hot, mut cold) = (Node::default(), Vec::new());
        for (role, mut node) in roles {
            let thread = threads.iter().position(|roles| roles.contains(&role)).unwrap_or(0);
            agents[thread].push((role, node.take_hot(&role.to_string())));
            cold.push((role, node));
        }
        runtime.threads.clear();
        runtime.idle = self.idle;
        let mut told = Vec::new();
        for (at, (agents, roles)) in agents.into_iter().zip(&threads).enumerate() {
            let name = THREADS[at];
            let agents = match ledger {
                Some(ledger) => ledger.timed(agents),
                None => agents.into_iter().map(|(_, agent)| Box::new(agent) as Box<dyn Agent>).collect(),
            };
            hot.add_hot(name, Composite::new(name, agents));
            let core = self.core(at);
            runtime.threads.push(ThreadLayout {
                name: name.into(),
                agents: vec![name.into()],
                core,
                idle: None,
            });
            let pinned = core.map_or_else(|| "not pinned".into(), |core| format!("pinned to core {core}"));
            told.push(format!("{name} ({pinned}): {}", in_words(roles)));
        }
        Staged { hot, cold, told }
    }
}

/// `roles` dealt out to `threads` threads.
fn spread(roles: &[Role], threads: usize) -> Vec<Vec<Role>> {
    (0..threads).map(|thread| roles.iter().copied().skip(thread).step_by(threads).collect()).collect()
}

/// At most a few by name.
fn in_words(roles: &[Role]) -> String {
    const FEW: usize = 5;
    let named: Vec<String> = roles.iter().take(FEW).map(Role::to_string).collect();
    let more = if roles.len() > FEW { format!(" and {} more", roles.len() - FEW) } else { String::new() };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cores: usize) -> Place {
        Place { cores: (0..cores).collect(), is_pinned: true, idle: Idle::Spin }
    }

    #[test]
    fn nobody_is_left_out_and_no_core_has_two_threads() {
        for standbys in 0..4 {
            for subscribers in [1, 2, 64] {
                let mut roles = vec![Role::Publisher(0), Role::Publisher(1), Role::Primary];
                roles.extend((0..standbys).map(Role::Standby));
                roles.extend((0..subscribers).map(Role::Subscriber));
                for cores in 1..=8 {
                    let threads = place(cores).lay_out(&roles);
                    assert!(threads.len() <= cores, "{cores} cores: {threads:?}");
                    let mut laid_out: Vec<String> =
                        threads.iter().flatten().map(ToString::to_string).collect();
                    let mut wanted: Vec<String> = roles.iter().map(ToString::to_string).collect();
                    laid_out.sort();
                    wanted.sort();
                    assert_eq!(laid_out, wanted, "{cores} cores");
                }
            }
        }
    }

    #[test]
    fn a_standby_never_shares_the_primarys_thread_if_there_are_two() {
        let roles = [Role::Publisher(0), Role::Primary, Role::Standby(0), Role::Subscriber(0)];
        for cores in 2..=8 {
            for thread in place(cores).lay_out(&roles) {
                assert!(!(thread.contains(&Role::Primary) && thread.contains(&Role::Standby(0))));
            }
        }
    }

    #[test]
    fn cores_that_are_not_there_are_refused_with_those_that_are() {
        let error = Place::new(&[100_000], Idle::Spin).unwrap_err().to_string();
        assert!(error.contains("core 100000") && error.contains("which are ["), "{error}");
        let first = allowed_cores()[0];
        let error = Place::new(&[first, first], Idle::Spin).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }
}
