//! The options that all benchmarks share.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use seqcast_engine::config::{Config, Idle};

use crate::bench::{self, Place, Report, Session};
use crate::cli::{Verdict, process};
use crate::output::{Output, UsageError, say};

/// Overrides of the configuration that a benchmark begins with; users' own come after them. A run sets up everything
/// anew: rings as large as the default would take longer to prepare than the run.
const SET: [&str; 2] = ["memory.ring_bytes=8MiB", "stat.dir="];
/// What a benchmark takes where nothing else is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) repeats: u16,
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
    pub(super) host_check: f64,
}

impl Defaults {
    /// Of all but `growth`.
    pub(super) const USUAL: Defaults = Defaults { repeats: 7, seconds: 2.0, warm_up: 0.3, host_check: 1.0 };
}

/// Longest measurement.
const MAX_SECONDS: f64 = 600.0;

#[derive(clap::Args)]
pub(super) struct Common {
    /// Measure everything so many times, in turn [default: 7; growth has its own]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: Option<u16>,
    /// How long each measurement takes, warming up included [default: 2; growth has its own]
    #[arg(long, global = true)]
    seconds: Option<f64>,
    /// How much of that is warming up [default: 0.3; growth has its own]
    #[arg(long, global = true, value_name = "SECONDS")]
    warm_up: Option<f64>,
    /// How long the host alone is measured, before and after [default: 1]
    #[arg(long, global = true, value_name = "SECONDS")]
    host_check: Option<f64>,
    /// Pin the busy threads to these cores, and keep no more busy [default: all cores, not pinned]
    #[arg(long, global = true, value_delimiter = ',', value_name = "CORE,…")]
    cores: Vec<usize>,
    /// What a busy thread does when there is nothing to do
    #[arg(long, global = true, value_enum, default_value_t = Rest::Spin)]
    idle: Rest,
    /// Write JSON, histograms (.hgrm, .hlog) and a page with plots into this directory
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where journals go [default: the directory for temporary files]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Override a key of the configuration, such as io.driver=udp; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rest {
    /// Look again at once
    Spin,
    /// Give the core to whoever else can run
    Yield,
    /// Spin, then yield, then rest for longer and longer
    Backoff,
}

impl From<Rest> for Idle {
    fn from(rest: Rest) -> Idle {
        match rest {
            Rest::Spin => Idle::Spin,
            Rest::Yield => Idle::Yield,
            Rest::Backoff => Idle::Backoff,
        }
    }
}

impl Common {
    /// Writes and prints what was found.
    pub(super) fn finish(&self, report: &Report, output: Output) -> anyhow::Result<Verdict> {
        if let Some(dir) = &self.out {
            let files = bench::write_files(report, dir)?;
            say(format_args!("{} files in {}", files.len(), dir.display()));
        }
        output.print(report, |data| report.write_text(data))?;
        Ok(if report.is_complete { Verdict::Good } else { Verdict::Bad })
    }

    /// How to measure: as asked, and else by `defaults`.
    pub(super) fn session(&self, defaults: Defaults) -> anyhow::Result<Session> {
        process::talk_little();
        let Common { cores, idle, dir, set, .. } = self;
        let repeat = self.repeat.unwrap_or(defaults.repeats);
        let seconds = self.seconds.unwrap_or(defaults.seconds);
        let warm_up = self.warm_up.unwrap_or(defaults.warm_up);
        let host_check = self.host_check.unwrap_or(defaults.host_check);
        for (name, value, least) in
            [("--seconds", seconds, 0.001), ("--warm-up", warm_up, 0.0), ("--host-check", host_check, 0.001)]
        {
            if !(least..=MAX_SECONDS).contains(&value) {
                let text = format!("{name} is {value}, and must be {least} to {MAX_SECONDS} seconds");
                return Err(UsageError(text).into());
            }
        }
        if warm_up >= seconds {
            let text =
                format!("--warm-up is {warm_up}, and leaves nothing of --seconds {seconds} to be measured");
            return Err(UsageError(text).into());
        }
        let all: Vec<String> = SET.iter().map(ToString::to_string).chain(set.iter().cloned()).collect();
        let config = Config::load(None, &all).map_err(|error| UsageError(error.to_string()))?;
        let dir = dir.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&dir).with_context(|| format!("--dir {}", dir.display()))?;
        Ok(Session {
            place: Place::new(cores, (*idle).into())?,
            config,
            dir,
            repeats: usize::from(repeat),
            seconds,
            warm_up_seconds: warm_up,
            host_check: Duration::from_secs_f64(host_check),
            stop: process::stop_on_signals()?,
        })
    }
}
