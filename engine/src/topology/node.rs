//! A process: its agents, laid out on threads.

use crate::config::{Idle, Runtime};
use crate::runtime::{
    Agent, AgentError, Composite, IdleStrategy, Runner, RunnerConfig, RunnerHandle, RunnerReport, StopFlag,
};
use crate::stat::Counters;
use crate::time::Nanos;

/// How a cold thread rests: what it does is never urgent.
const COLD_REST: Nanos = Nanos::from_millis(1);

/// The agents of a process, not running yet.
#[derive(Default)]
pub struct Node {
    /// Agents of the data path, by the default thread they share.
    hot: Vec<(&'static str, Box<dyn Agent>)>,
    /// Agents that may block, each on a thread of its own, with how long it rests when there was nothing to do.
    cold: Vec<(Box<dyn Agent>, Nanos)>,
    /// What an operator should know: a driver not chosen, memory not locked.
    notices: Vec<String>,
}

impl Node {
    /// Adds an agent of the data path; `thread` names the thread it runs on unless the configuration says otherwise.
    pub fn add_hot(&mut self, thread: &'static str, agent: impl Agent + 'static) {
        self.hot.push((thread, Box::new(agent)));
    }

    /// Adds an agent that may block.
    pub fn add_cold(&mut self, agent: impl Agent + 'static) {
        self.add_cold_resting(agent, COLD_REST);
    }

    /// Adds an agent that may block, and looks for work again after `rest` when there was none.
    pub fn add_cold_resting(&mut self, agent: impl Agent + 'static, rest: Nanos) {
        self.cold.push((Box::new(agent), rest));
    }

    /// Adds something that an operator should know.
    pub fn notice(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    /// What an operator should know.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Takes over the agents of `other`.
    pub fn merge(&mut self, other: Node) {
        self.hot.extend(other.hot);
        self.cold.extend(other.cold);
        for text in other.notices {
            self.notice(text);
        }
    }

    /// Puts all agents of the data path on one thread, named `thread`.
    pub fn on_thread(mut self, thread: &'static str) -> Node {
        self.hot.iter_mut().for_each(|(name, _)| *name = thread);
        self
    }

    /// Takes the agents of the data path as one, to be run by hand or beside others; those that may block stay.
    pub fn take_hot(&mut self, name: &str) -> Composite {
        Composite::new(name, self.hot.drain(..).map(|(_, agent)| agent).collect())
    }

    /// Takes the agents that may block, each to be run by hand where it may take its time.
    pub fn take_cold(&mut self) -> Vec<Box<dyn Agent>> {
        std::mem::take(&mut self.cold).into_iter().map(|(agent, _)| agent).collect()
    }

    /// Takes the agents of the data path, each to be run by hand, with the name of its thread.
    pub fn take_hot_each(&mut self) -> Vec<(&'static str, Box<dyn Agent>)> {
        std::mem::take(&mut self.hot)
    }

    /// Starts the threads, whose duty cycles and stalls go to `counters`. An agent that fails stops them all.
    ///
    /// # Errors
    /// The system gives no more threads, or the layout names an agent that is not there.
    pub fn launch(
        self,
        runtime: &Runtime,
        counters: &Counters,
        stop: &StopFlag,
    ) -> Result<Running, AgentError> {
        let Node { mut hot, cold, .. } = self;
        let mut runners = Vec::new();
        for thread in &runtime.threads {
            let mut agents = Vec::new();
            for name in &thread.agents {
                let Some(at) = hot.iter().position(|(_, agent)| agent.name() == name) else {
                    return Err(unknown_agent(&thread.name, name, &hot));
                };
                agents.push(hot.remove(at).1);
            }
            let idle = strategy(thread.idle.unwrap_or(runtime.idle), runtime);
            let config = runner(&thread.name, thread.core, idle, runtime, counters);
            runners.push(
                Runner::spawn(together(&thread.name, agents), config, stop).map_err(AgentError::failed)?,
            );
        }
        while let Some(&(name, _)) = hot.first() {
            let agents: Vec<_> =
                hot.extract_if(.., |(thread, _)| *thread == name).map(|(_, agent)| agent).collect();
            let config = runner(name, None, strategy(runtime.idle, runtime), runtime, counters);
            runners.push(Runner::spawn(together(name, agents), config, stop).map_err(AgentError::failed)?);
        }
        let mut background = Vec::new();
        for (agent, rest) in cold {
            let name = agent.name().to_owned();
            let config = runner(&name, None, IdleStrategy::Sleep(rest), runtime, counters);
            background.push(Runner::spawn(agent, config, stop).map_err(AgentError::failed)?);
        }
        Ok(Running { runners, background, counters: counters.clone() })
    }
}

/// A running process. Dropping it asks all threads to stop.
pub struct Running {
    runners: Vec<RunnerHandle>,
    background: Vec<RunnerHandle>,
    counters: Counters,
}

impl Running {
    /// Whether every agent of the data path has ended.
    pub fn is_finished(&self) -> bool {
        self.runners.iter().all(RunnerHandle::is_finished)
    }

    /// The duty cycles of each thread of the data path so far; `None` for one that has ended. Whoever looks twice knows
    /// which of them turn. For a cold place: it reads all counters.
    pub fn duty_cycles(&self) -> Vec<Option<u64>> {
        let readings = self.counters.readings();
        self.runners.iter().map(|runner| runner.duty_cycles(&readings)).collect()
    }

    /// Stops what still runs, waits for it, and gives each thread's report: the data path first, so that what is on
    /// its way still finds the others.
    pub fn stop(self) -> Vec<RunnerReport> {
        let mut reports = Vec::new();
        for group in [self.runners, self.background] {
            group.iter().for_each(RunnerHandle::stop);
            reports.extend(group.into_iter().map(RunnerHandle::join));
        }
        reports
    }
}

fn together(name: &str, mut agents: Vec<Box<dyn Agent>>) -> Box<dyn Agent> {
    match agents.len() {
        1 => agents.swap_remove(0),
        _ => Box::new(Composite::new(name, agents)),
    }
}

fn runner(
    name: &str,
    core: Option<usize>,
    idle: IdleStrategy,
    runtime: &Runtime,
    counters: &Counters,
) -> RunnerConfig {
    let counters = Some(counters.clone());
    RunnerConfig { name: name.into(), core, idle, stall_threshold: runtime.stall_threshold, counters }
}

fn strategy(idle: Idle, runtime: &Runtime) -> IdleStrategy {
    let Runtime { spins, yields, park_min, park_max, .. } = *runtime;
    match idle {
        Idle::Spin => IdleStrategy::BusySpin,
        Idle::Yield => IdleStrategy::Yield,
        Idle::Backoff => IdleStrategy::Backoff { spins, yields, park_min, park_max },
        Idle::Sleep => IdleStrategy::Sleep(park_max),
    }
}

fn unknown_agent(thread: &str, name: &str, hot: &[(&'static str, Box<dyn Agent>)]) -> AgentError {
    let known: Vec<_> = hot.iter().map(|(_, agent)| agent.name()).collect();
    AgentError::failed(format_args!(
        "thread {thread:?} of [[runtime.thread]] names the agent {name:?}, which this process does not have or \
         has given to another thread; left are: {}",
        known.join(", ")
    ))
}
