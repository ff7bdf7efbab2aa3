//! Network namespaces: hosts of their own on this one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace; it ends when this is dropped and no process is in it any more.
pub(crate) struct Space(File);

impl Space {
    /// A new one, with nothing in it but a loopback interface that is down.
    ///
    /// # Errors
    /// This process may not make namespaces, or `ip` is missing.
    pub(crate) fn make() -> anyhow::Result<Space> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("seqcast-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let file = File::open(format!("/run/netns/{name}")).with_context(|| format!("namespace {name}"));
        // It lives on as long as the file is open; nothing is left behind if nobody comes to clean up.
        run(Command::new("ip").args(["netns", "del", &name]))?;
        let space = Space(file?);
        space.inside(|| ())?;
        Ok(space)
    }

    /// Does `work` in the namespace, on a thread of its own. Processes started there are in it too.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the work in the namespace failed")))
        })
    }

    /// Moves this thread into the namespace, and with it the threads and processes that it starts from then on.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// What commands call it, as long as this is kept.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs a tool with arguments that hold no spaces.
    pub(crate) fn run(&self, tool: &str, args: &str) -> anyhow::Result<()> {
        self.inside(|| run(Command::new(tool).args(args.split(' '))))?
    }

    /// Runs a tool that reads `input`.
    pub(crate) fn feed(&self, tool: &str, args: &[&str], input: &str) -> anyhow::Result<()> {
        self.inside(|| feed(Command::new(tool).args(args), input))?
    }
}

/// Runs a tool to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    feed(command, "")
}

fn feed(command: &mut Command, input: &str) -> anyhow::Result<()> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot run {tool}; is it installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{tool}: {}", said.trim().lines().last().unwrap_or("failed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_fails_says_why() {
        let error = run(Command::new("sh").args(["-c", "echo first >&2; echo why >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh: why");
        let error = run(&mut Command::new("no-such-tool-of-ours")).unwrap_err();
        assert!(format!("{error:#}").contains("is it installed?"), "{error:#}");
    }
}
