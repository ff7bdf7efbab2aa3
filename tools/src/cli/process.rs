//! What every command that runs agents needs: the configuration, faults and taps, counters, signals, the wait.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, bail};
use seqcast_engine::config::Config;
use seqcast_engine::io::AnyDriver;
use seqcast_engine::io::fault::{FaultPlan, Faults};
use seqcast_engine::runtime::{RunnerReport, StopFlag, wall_ns};
use seqcast_engine::stat::{Counters, CountersSpec};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node};
use tracing_subscriber::EnvFilter;

use crate::output::{UsageError, say};
use crate::wiring::Wired;

/// How often a waiting command looks whether it is done.
const LOOK: Duration = Duration::from_millis(50);

#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: all roles on this machine's loopback interface; see `seqcast config default`]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key of the configuration, such as feed.session=ABC; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    /// The configuration that the arguments mean.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        Config::load(self.config.as_deref(), &self.set).map_err(|error| UsageError(error.to_string()).into())
    }
}

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct WiringArgs {
    /// Lose this part of the datagrams received, each line for itself (0.01: one in a hundred)
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    loss: f64,
    /// Receive this part of the datagrams twice
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    duplicate: f64,
    /// Hold this part of the datagrams back for 500 µs, so that later ones pass them
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    reorder: f64,
    /// Start of the sequence of those chances
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    fault_seed: u64,
    /// Write every datagram received and sent to this pcapng file (slow: for diagnosis)
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
}

impl WiringArgs {
    /// The faults asked for, if any.
    pub(crate) fn faults(&self) -> Option<FaultPlan> {
        let WiringArgs { loss, duplicate, reorder, fault_seed, .. } = *self;
        let receive =
            Faults { loss, duplicate, reorder, reorder_by: Nanos::from_micros(500), ..Faults::NONE };
        let plan = FaultPlan { seed: fault_seed, receive, ..FaultPlan::default() };
        (loss > 0.0 || duplicate > 0.0 || reorder > 0.0).then_some(plan)
    }

    /// The configured driver with what was asked for around it.
    pub(crate) fn wire(&self, config: &Config, node: &mut Node) -> anyhow::Result<Wired<AnyDriver>> {
        let driver = topology::driver(config, node)?;
        let tap = self.tap.as_deref();
        Wired::new(driver, self.faults().as_ref(), tap).with_context(|| match tap {
            Some(path) => format!("--tap {}", path.display()),
            None => "faults".into(),
        })
    }
}

/// Lets the engine's cold threads talk on standard error; `RUST_LOG` chooses how much.
pub(crate) fn talk() {
    talk_from("info");
}

/// As [`talk`], but only of what went wrong, unless `RUST_LOG` says otherwise: for commands that start agents by the
/// dozen.
pub(crate) fn talk_little() {
    talk_from("error");
}

fn talk_from(level: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .try_init();
    });
}

/// Counters in the configured directory, where `seqcast` tools and others can read them; private ones where that
/// cannot be.
pub(crate) fn counters(config: &Config, role: &str) -> anyhow::Result<Counters> {
    let dir: &Path = &config.stat.dir;
    if !dir.as_os_str().is_empty() {
        let path = dir.join(format!("{role}-{}", std::process::id()));
        match Counters::create(&path, role, CountersSpec::default(), wall_ns()) {
            Ok(counters) => return Ok(counters),
            Err(error) => say(format_args!("counters cannot be read from outside: {error}")),
        }
    }
    Ok(Counters::anonymous(role, CountersSpec::default())?)
}

/// A flag that is set by the first interrupt or termination signal.
pub(crate) fn stop_on_signals() -> anyhow::Result<StopFlag> {
    let stop = StopFlag::new();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one kills, for whoever does not want to wait.
        signal_hook::flag::register_conditional_default(signal, stop.as_atomic())?;
        signal_hook::flag::register(signal, stop.as_atomic())?;
    }
    Ok(stop)
}

/// Runs `node` until it has finished or `stop` is set, calling `look` now and then, and gives the threads' reports.
///
/// # Errors
/// A thread failed.
pub(crate) fn run(
    node: Node,
    config: &Config,
    counters: &Counters,
    stop: &StopFlag,
    mut look: impl FnMut(),
) -> anyhow::Result<Vec<RunnerReport>> {
    for notice in node.notices() {
        say(notice);
    }
    let failed = StopFlag::new();
    let running = node.launch(&config.runtime, counters, &failed)?;
    while !running.is_finished() && !stop.is_set() && !failed.is_set() {
        std::thread::sleep(LOOK);
        look();
    }
    let reports = running.stop();
    let failures: Vec<_> =
        reports.iter().filter(|report| report.outcome.is_failure()).map(|r| r.to_string()).collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(reports)
}
