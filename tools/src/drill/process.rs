//! The processes of a drill.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::net::{HostId, Net};

/// A running process. Dropped, it is killed, with whatever froze it.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

/// A process to be started.
pub(crate) struct Plan<'a> {
    pub(crate) name: String,
    pub(crate) host: HostId,
    /// Where its output is kept.
    pub(crate) dir: &'a Path,
    pub(crate) command: Command,
}

impl Plan<'_> {
    /// Starts it. What it says is added to what the one of the same name said before it.
    pub(crate) fn start(self, net: &Net) -> anyhow::Result<Process> {
        let Plan { name, host, dir, mut command } = self;
        let log = dir.join(format!("{name}.log"));
        let out = dir.join(format!("{name}.out"));
        let said = OpenOptions::new().create(true).append(true).open(&log)?;
        // A group of its own: an interrupt from the terminal is for the drill, which ends its processes itself.
        use std::os::unix::process::CommandExt;
        command
            .env("NO_COLOR", "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(File::create(&out)?)
            .stderr(said);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child =
            net.spawn(host, &mut command).with_context(|| format!("cannot start {name} ({program})"))?;
        let stdin = child.stdin.take();
        Ok(Process { name, child, stdin, log })
    }
}

impl Process {
    /// Its number, which is its own until it was seen to have [ended](Process::ended).
    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.context("a process has a number above 0")
    }

    /// Sends a signal. It must not have been seen to have [ended](Process::ended).
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Ends it as a power switch does.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Closes its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The last lines of what it said.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 6;
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Stops a process and lets it go on, all the time, so that it gets a part of its time only. Dropped, it gets all. The
/// process must not be waited for before.
pub(crate) struct Throttle {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    /// The process `pid` gets `percent` of its time.
    pub(crate) fn new(pid: Pid, percent: u32) -> Throttle {
        /// Shorter than any timeout: the process is slow, and not away.
        const ROUND: Duration = Duration::from_millis(20);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let on = ROUND * percent.min(100) / 100;
            while !is_over.load(Ordering::Relaxed) {
                for (signal, rest) in [(Signal::STOP, ROUND - on), (Signal::CONT, on)] {
                    // One that has ended needs no throttle, and whoever waits for it will see that.
                    let _ = kill_process(pid, signal);
                    thread::sleep(rest);
                }
            }
        });
        Throttle { over, thread: Some(thread) }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Between two looks at what is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
