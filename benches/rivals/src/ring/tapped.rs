//! Our ring in shared memory, copied out by a tap in this process and by one in another.

use std::ffi::OsString;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, bail};
use seqcast::bench::ring::{DEPTH, MESSAGE_BYTES, look, spec};
use seqcast_engine::mem::{Region, RegionSpec, RegionView};
use seqcast_engine::ring::broadcast::{self, Subscriptions, Tap, Writer};
use seqcast_engine::runtime::pin_current_thread;

/// Messages that stand in the ring before the tap is let at them: no tap can be overrun.
pub(crate) const STANDING: usize = DEPTH / 2;

/// Says to a process that it is the other one, and which ring and core it has.
const RING: &str = "SEQCAST_RIVALS_RING";
const CORE: &str = "SEQCAST_RIVALS_CORE";

/// Where the tap is.
#[derive(Clone, Copy)]
pub(crate) enum Where {
    Here,
    There,
}

impl Where {
    pub(crate) const ALL: [Where; 2] = [Where::Here, Where::There];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Where::Here => "a tap: Seqcast, in the same process",
            Where::There => "a tap: Seqcast, in another process",
        }
    }
}

/// The ring, and who taps it.
pub(crate) struct Tapped {
    writer: Writer,
    core: Option<usize>,
    other: Other,
    /// What it took to attach to the ring.
    pub(crate) attach_ns: u64,
}

enum Other {
    Thread { thread: Option<JoinHandle<()>>, go: Option<Sender<()>>, done: Receiver<anyhow::Result<u64>> },
    Process { child: Child, go: ChildStdin, done: Lines<BufReader<ChildStdout>> },
}

impl Tapped {
    pub(crate) fn new(place: Where, cores: [Option<usize>; 2]) -> anyhow::Result<Tapped> {
        let spec = spec(0);
        let region = Region::shared(c"seqcast-rivals-ring", &RegionSpec::plain(spec.region_bytes()))?;
        let (writer, subscriptions) = broadcast::create(spec, region)?;
        let other = match place {
            Where::Here => in_a_thread(subscriptions, cores[1]),
            Where::There => in_a_process(&subscriptions, cores[1])?,
        };
        let mut tapped = Tapped { writer, core: cores[0], other, attach_ns: 0 };
        tapped.attach_ns = tapped.other.answer()?;
        // The first round is over pages that the tap has not touched before.
        for _ in 0..2 * DEPTH / STANDING {
            tapped.turn()?;
        }
        Ok(tapped)
    }

    /// Lets the tap copy what another core has just written: ns a message.
    pub(crate) fn turn(&mut self) -> anyhow::Result<f64> {
        let Tapped { writer, core, .. } = self;
        thread::scope(|scope| {
            scope.spawn(|| {
                pin_current_thread(*core);
                for _ in 0..STANDING {
                    writer.try_publish(&[1; MESSAGE_BYTES]).expect("nobody is waited for");
                }
            });
        });
        self.other.go()?;
        Ok(self.other.answer()? as f64 / STANDING as f64)
    }
}

impl Other {
    fn go(&mut self) -> anyhow::Result<()> {
        match self {
            Other::Thread { go, .. } => go.as_ref().context("over")?.send(())?,
            Other::Process { go, .. } => writeln!(go).context("the other process is gone")?,
        }
        Ok(())
    }

    /// Nanoseconds, as the tap measured them.
    fn answer(&mut self) -> anyhow::Result<u64> {
        match self {
            Other::Thread { done, .. } => done.recv()?,
            Other::Process { done, .. } => {
                let line = done.next().context("the other process is gone")??;
                line.parse().with_context(|| format!("the other process says {line:?}"))
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        match self {
            Other::Thread { thread, go, .. } => {
                drop(go.take());
                let _ = thread.take().map(JoinHandle::join);
            }
            Other::Process { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn in_a_thread(subscriptions: Subscriptions, core: Option<usize>) -> Other {
    let ((go, wait), (answer, done)) = (channel(), channel());
    let thread = thread::spawn(move || {
        pin_current_thread(core);
        let began = Instant::now();
        let mut tap = subscriptions.tap();
        let _ = answer.send(Ok(began.elapsed().as_nanos() as u64));
        while wait.recv().is_ok() {
            let _ = answer.send(drain(&mut tap));
        }
    });
    Other::Thread { thread: Some(thread), go: Some(go), done }
}

fn in_a_process(subscriptions: &Subscriptions, core: Option<usize>) -> anyhow::Result<Other> {
    let path = subscriptions.path().context("the ring is not in shared memory")?;
    let mut child = Command::new(std::env::current_exe()?)
        .env(RING, path)
        .env(CORE, core.map(|core| core.to_string()).unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start another process")?;
    let go = child.stdin.take().context("no standard input")?;
    let done = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    Ok(Other::Process { child, go, done })
}

/// What this process does when it is the other one; nothing when it is not.
pub(crate) fn other_process() -> Option<ExitCode> {
    let path = std::env::var_os(RING)?;
    pin_current_thread(std::env::var(CORE).ok().and_then(|core| core.parse().ok()));
    Some(match tap_from_outside(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the other process: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn tap_from_outside(path: &OsString) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let began = Instant::now();
    let mut tap = broadcast::attach(RegionView::open(Path::new(path))?)?;
    writeln!(out, "{}", began.elapsed().as_nanos())?;
    for line in std::io::stdin().lines() {
        line?;
        writeln!(out, "{}", drain(&mut tap)?)?;
    }
    Ok(())
}

/// Copies what stands in the ring, and gives how long it took.
fn drain(tap: &mut Tap) -> anyhow::Result<u64> {
    let (mut copied, mut sum) = (0, 0);
    let began = Instant::now();
    while copied < STANDING {
        match tap.try_next()? {
            Some(message) => look(message, &mut sum),
            None => bail!("{copied} of {STANDING} messages stand in the ring"),
        }
        copied += 1;
    }
    let took = began.elapsed();
    black_box(sum);
    Ok(took.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_in_this_process_copies_what_stands_in_the_ring() {
        let mut tapped = Tapped::new(Where::Here, [None, None]).unwrap();
        for _ in 0..10 {
            assert!(tapped.turn().unwrap() > 0.0);
        }
    }
}
