//! A thread that runs one agent.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::affinity::{Pinned, pin_current_thread};
use super::agent::{Agent, AgentError};
use super::clock::Clock;
use super::idle::IdleStrategy;
use super::invoker::Invoker;
use super::stall::StallTracker;
use crate::stat::{Counter, CounterReading, Counters, CountersError};
use crate::time::Nanos;

/// A flag that asks every runner of a process to stop. Clones are the same flag.
///
/// A runner whose agent fails or panics sets it, so that the others do not go on without it. Setting it wakes nobody:
/// a runner sees it after its rest.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> StopFlag {
        StopFlag::default()
    }

    /// Asks all to stop.
    pub fn set(&self) {
        // Relaxed: whoever stops because of the flag reads nothing that was written before it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether all were asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler that sets it.
    pub fn as_atomic(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// How to run an agent.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Name of the thread (Linux shows 15 bytes of it).
    pub name: String,
    /// Core to pin the thread to; none: wherever the kernel likes.
    pub core: Option<usize>,
    /// What to do when there is no work.
    pub idle: IdleStrategy,
    /// A time between two duty cycles longer than this is counted as a stall.
    pub stall_threshold: Nanos,
    /// Where to count duty cycles for tools to see: `seqcast_<name>_duty_cycles_total`, `…_busy_cycles_total`,
    /// `…_stalls_total` and `…_stall_max_ns`, with everything but letters and digits in the name as `_`.
    pub counters: Option<Counters>,
}

impl Default for RunnerConfig {
    fn default() -> RunnerConfig {
        RunnerConfig {
            name: "agent".into(),
            core: None,
            idle: IdleStrategy::backoff(),
            stall_threshold: Nanos::from_millis(10),
            counters: None,
        }
    }
}

/// Why a runner could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system gives no more threads.
    #[error("cannot start thread `{name}`: {source}")]
    Thread {
        /// Name of the thread.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Its counters could not be made.
    #[error(transparent)]
    Counters(#[from] CountersError),
}

/// How a runner ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to stop.
    Stopped,
    /// Its agent had no more work.
    Finished,
    /// Its agent could not go on: what it said.
    Failed(String),
    /// Its agent panicked, which is a bug: the panic's message.
    Panicked(String),
}

impl Outcome {
    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        matches!(self, Outcome::Failed(_) | Outcome::Panicked(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Stopped => f.write_str("stopped"),
            Outcome::Finished => f.write_str("finished"),
            Outcome::Failed(what) => write!(f, "failed: {what}"),
            Outcome::Panicked(what) => write!(f, "panicked: {what}"),
        }
    }
}

/// What a runner did.
#[derive(Clone, Debug)]
pub struct RunnerReport {
    /// Name of the thread.
    pub name: String,
    /// Where it ran.
    pub pinned: Pinned,
    /// Duty cycles.
    pub duty_cycles: u64,
    /// Duty cycles that found work.
    pub busy_cycles: u64,
    /// The time between duty cycles, rests included.
    pub stalls: StallTracker,
    /// How it ended.
    pub outcome: Outcome,
}

impl fmt::Display for RunnerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunnerReport { name, pinned, duty_cycles, busy_cycles, stalls, outcome } = self;
        let (over, threshold, max) = (stalls.stalls(), stalls.threshold(), stalls.max());
        write!(f, "{name}: {outcome}; {pinned}; {duty_cycles} duty cycles, {busy_cycles} with work; ")?;
        write!(f, "{over} stalls over {threshold}, longest {max}")
    }
}

/// Runs an agent on a thread of its own.
#[derive(Debug)]
pub struct Runner {
    clock: Clock,
    idle: IdleStrategy,
    stop: Arc<AtomicBool>,
    stop_all: StopFlag,
    counters: Option<DutyCounters>,
    report: RunnerReport,
}

const DUTY_CYCLES: &str = "duty_cycles_total";

/// The label of a counter of the thread `name`.
fn label(name: &str, noun: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("seqcast_{}_{noun}", name.chars().map(plain).collect::<String>())
}

/// What of the report can be seen while the runner runs.
#[derive(Debug)]
struct DutyCounters {
    duty_cycles: Counter,
    busy_cycles: Counter,
    stalls: Counter,
    stall_max_ns: Counter,
}

impl DutyCounters {
    fn new(counters: &Counters, name: &str) -> Result<DutyCounters, CountersError> {
        let counter = |noun: &str| counters.counter(&label(name, noun));
        Ok(DutyCounters {
            duty_cycles: counter(DUTY_CYCLES)?,
            busy_cycles: counter("busy_cycles_total")?,
            stalls: counter("stalls_total")?,
            stall_max_ns: counter("stall_max_ns")?,
        })
    }

    fn show(&mut self, report: &RunnerReport) {
        self.duty_cycles.set(report.duty_cycles);
        self.busy_cycles.set(report.busy_cycles);
        self.stalls.set(report.stalls.stalls());
        self.stall_max_ns.set(report.stalls.max().0);
    }
}

impl Runner {
    /// Starts a thread that runs `agent` until it ends, [`RunnerHandle::stop`] is called or `stop_all` is set.
    ///
    /// The first runner of a process calibrates the [`Clock`], which takes up to a fifth of a second.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn spawn(
        agent: Box<dyn Agent>,
        config: RunnerConfig,
        stop_all: &StopFlag,
    ) -> Result<RunnerHandle, SpawnError> {
        let RunnerConfig { name, core, idle, stall_threshold, counters } = config;
        let counters = counters.map(|counters| DutyCounters::new(&counters, &name)).transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        let report = RunnerReport {
            name: name.clone(),
            pinned: Pinned { wanted: core, got: Vec::new() },
            duty_cycles: 0,
            busy_cycles: 0,
            stalls: StallTracker::new(stall_threshold),
            outcome: Outcome::Stopped,
        };
        let runner = Runner {
            clock: Clock::new(),
            idle,
            stop: Arc::clone(&stop),
            stop_all: stop_all.clone(),
            counters,
            report: report.clone(),
        };
        let thread = thread::Builder::new().name(name.clone()).spawn(move || runner.run(agent));
        let thread = thread.map_err(|source| SpawnError::Thread { name, source })?;
        Ok(RunnerHandle { stop, thread: Some(thread), not_joined: report })
    }

    fn run(mut self, agent: Box<dyn Agent>) -> RunnerReport {
        self.report.pinned = pin_current_thread(self.report.pinned.wanted);
        // Whatever a panic leaves half done is the agent's, and the agent is dropped in here and never seen again.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.drive(Invoker::new(agent))))
            .unwrap_or_else(|payload| Outcome::Panicked(message_of(&*payload)));
        if outcome.is_failure() {
            self.stop_all.set();
        }
        RunnerReport { outcome, ..self.report }
    }

    fn drive(&mut self, mut invoker: Invoker<Box<dyn Agent>>) -> Outcome {
        let mut idler = self.idle.idler();
        let mut now = self.clock.now();
        if let Err(why) = invoker.start(now) {
            return why.into();
        }
        while !self.stop.load(Ordering::Relaxed) && !self.stop_all.is_set() {
            // A thread that is not pinned may move to a core whose counter is a little behind.
            now = self.clock.now().max(now);
            self.report.stalls.on_cycle(now);
            self.report.duty_cycles += 1;
            match invoker.invoke(now) {
                Ok(work_count) => {
                    self.report.busy_cycles += u64::from(work_count > 0);
                    if let Some(counters) = &mut self.counters {
                        counters.show(&self.report);
                    }
                    idler.idle(work_count);
                }
                Err(why) => return why.into(),
            }
        }
        invoker.close(now);
        Outcome::Stopped
    }
}

impl From<AgentError> for Outcome {
    fn from(why: AgentError) -> Outcome {
        match why {
            AgentError::Finished => Outcome::Finished,
            AgentError::Failed { what } => Outcome::Failed(what),
        }
    }
}

/// A running [`Runner`]. Dropping it asks the thread to stop but does not wait for it.
#[derive(Debug)]
#[must_use = "the runner stops when its handle is dropped"]
pub struct RunnerHandle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<RunnerReport>>,
    /// What to report if the thread's own report is lost.
    not_joined: RunnerReport,
}

impl RunnerHandle {
    /// Asks the thread to stop after the duty cycle that it is in, and wakes it if it rests.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The duty cycles that the thread has begun, as its counters tell; `None` when it has ended or has none.
    pub fn duty_cycles(&self, counters: &[CounterReading]) -> Option<u64> {
        let label = label(&self.not_joined.name, DUTY_CYCLES);
        let reading = counters.iter().find(|reading| reading.label == label);
        reading.filter(|_| !self.is_finished()).map(|reading| reading.value)
    }

    /// Waits for the thread to end and gives its report. Does not ask it to stop.
    pub fn join(mut self) -> RunnerReport {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(report)) => report,
            Some(Err(payload)) => {
                RunnerReport { outcome: Outcome::Panicked(message_of(&*payload)), ..self.not_joined.clone() }
            }
            None => self.not_joined.clone(),
        }
    }
}

impl Drop for RunnerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).into()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::allowed_cores;
    use crate::runtime::testing::{Script, Scripted};
    use crate::stat::CountersSpec;

    fn config(name: &str) -> RunnerConfig {
        RunnerConfig { name: name.into(), ..RunnerConfig::default() }
    }

    #[test]
    fn runs_an_agent_to_its_end() {
        let (agent, calls) = Scripted::new("a", [Script::Work(2), Script::Work(0), Script::Finish]);
        let stop_all = StopFlag::new();
        let report = Runner::spawn(Box::new(agent), config("run"), &stop_all).unwrap().join();
        assert_eq!(report.outcome, Outcome::Finished);
        assert_eq!((report.duty_cycles, report.busy_cycles), (3, 1));
        assert_eq!(report.stalls.intervals(), 2);
        assert!(!stop_all.is_set(), "a normal end concerns nobody else");
        let names: Vec<_> = calls.take().iter().map(|call| call[..call.len().min(6)].to_owned()).collect();
        assert_eq!(names, ["a star", "a work", "a work", "a work", "a clos"]);
    }

    #[test]
    fn time_never_goes_backwards_for_an_agent() {
        let (agent, calls) = Scripted::new("a", vec![Script::Work(1); 100]);
        let handle = Runner::spawn(Box::new(agent), config("time"), &StopFlag::new()).unwrap();
        handle.stop();
        handle.join();
        let times: Vec<u64> =
            calls.take().iter().map(|call| call.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn a_failure_is_reported_and_stops_the_others() {
        let stop_all = StopFlag::new();
        let (steady, steady_calls) = Scripted::new("steady", []);
        let (failing, _) = Scripted::new("failing", [Script::Work(1), Script::Fail("no route to host")]);
        let rest = RunnerConfig { idle: IdleStrategy::Yield, ..config("steady") };
        let other = Runner::spawn(Box::new(steady), rest, &stop_all).unwrap();
        let report = Runner::spawn(Box::new(failing), config("failing"), &stop_all).unwrap().join();
        assert_eq!(report.outcome, Outcome::Failed("no route to host".into()));
        assert!(stop_all.is_set());
        assert_eq!(other.join().outcome, Outcome::Stopped);
        assert!(steady_calls.take().last().unwrap().starts_with("steady close"));
    }

    #[test]
    fn a_panic_is_reported_and_stops_the_others() {
        let stop_all = StopFlag::new();
        let (agent, calls) = Scripted::new("a", [Script::Panic("index out of bounds")]);
        let report = Runner::spawn(Box::new(agent), config("panic"), &stop_all).unwrap().join();
        assert_eq!(report.outcome, Outcome::Panicked("index out of bounds".into()));
        assert!(report.outcome.is_failure() && stop_all.is_set());
        assert_eq!(report.duty_cycles, 1, "what was counted before is not lost");
        assert_eq!(calls.take().len(), 2, "an agent that panicked is left alone");
    }

    #[test]
    fn an_agent_that_cannot_start_is_a_failure() {
        let stop_all = StopFlag::new();
        let (agent, _) = Scripted::failing_to_start("a", "address in use");
        let report = Runner::spawn(Box::new(agent), config("start"), &stop_all).unwrap().join();
        assert_eq!(report.outcome, Outcome::Failed("address in use".into()));
        assert_eq!(report.duty_cycles, 0);
        assert!(stop_all.is_set());
    }

    #[test]
    fn stop_wakes_a_thread_that_rests() {
        let (agent, calls) = Scripted::new("a", []);
        let hour = IdleStrategy::Sleep(Nanos::from_secs(3_600));
        let config = RunnerConfig { idle: hour, ..config("rest") };
        let handle = Runner::spawn(Box::new(agent), config, &StopFlag::new()).unwrap();
        assert!(!handle.is_finished());
        handle.stop();
        assert_eq!(handle.join().outcome, Outcome::Stopped);
        assert!(calls.take().last().unwrap().starts_with("a close"));
    }

    #[test]
    fn duty_cycles_are_counted_for_tools() {
        let counters = Counters::anonymous("test", CountersSpec::default()).unwrap();
        let (agent, _) = Scripted::new("a", [Script::Work(1), Script::Work(0), Script::Work(1)]);
        let config = RunnerConfig { counters: Some(counters.clone()), ..config("Feed-1") };
        let handle = Runner::spawn(Box::new(agent), config.clone(), &StopFlag::new()).unwrap();
        let value = |label: &str| counters.readings().iter().find(|r| r.label == label).map(|r| r.value);
        while value("seqcast_feed_1_busy_cycles_total") < Some(2) {
            thread::yield_now();
        }
        handle.stop();
        let report = handle.join();
        assert_eq!(value("seqcast_feed_1_duty_cycles_total"), Some(report.duty_cycles));
        assert_eq!(value("seqcast_feed_1_busy_cycles_total"), Some(2));
        assert_eq!(value("seqcast_feed_1_stalls_total"), Some(report.stalls.stalls()));
        assert_eq!(value("seqcast_feed_1_stall_max_ns"), Some(report.stalls.max().0));

        let (agent, calls) = Scripted::new("a", []);
        let error = Runner::spawn(Box::new(agent), config, &StopFlag::new()).unwrap_err();
        assert!(error.to_string().contains("`seqcast_feed_1_duty_cycles_total` is there already"), "{error}");
        assert!(calls.take().is_empty());
    }

    #[test]
    fn the_report_says_where_the_thread_ran() {
        let allowed = allowed_cores();
        for core in [None, allowed.first().copied(), Some(9_999)] {
            let (agent, _) = Scripted::new("a", [Script::Finish]);
            let config = RunnerConfig { core, ..config("pin") };
            let report = Runner::spawn(Box::new(agent), config, &StopFlag::new()).unwrap().join();
            assert_eq!(report.pinned.wanted, core);
            assert!(report.pinned.got.iter().all(|core| allowed.contains(core)));
            assert!(report.to_string().starts_with("pin: finished; "), "{report}");
        }
    }
}
