//! `seqcast journal`: checks, prints, follows and exports a journal, without disturbing who writes it.

mod export;
mod frames;
mod verify;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use seqcast_engine::io::store::FileReadStore;
use seqcast_engine::journal::{Follower, JournalError};
use seqcast_engine::mem::store::ReadStore;
use seqcast_wire::SeqNo;

use super::Verdict;
use crate::output::{Output, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check all of a journal: every frame, number and link
    ///
    /// A torn end, as a crash leaves it, is no damage: opening the journal cuts it. Exit code 1: something is damaged
    /// or missing.
    Verify(verify::Args),
    /// Print frames, a line each
    Dump(frames::DumpArgs),
    /// Print frames as another process appends them, until the session ends
    Tail(frames::TailArgs),
    /// Write the messages to a day file (BinaryFILE)
    Export(export::Args),
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    match &args.command {
        Command::Verify(args) => verify::run(args, output),
        Command::Dump(args) => frames::dump(args, output),
        Command::Tail(args) => frames::tail(args, output),
        Command::Export(args) => export::run(args, output),
    }
}

/// Which frames.
#[derive(clap::Args)]
struct Span {
    /// Number of the first frame [default: the oldest there is]
    #[arg(long, value_name = "SEQ", value_parser = parse_seq)]
    from: Option<SeqNo>,
    /// Most frames [default: all]
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
}

fn parse_seq(text: &str) -> Result<SeqNo, String> {
    text.parse().ok().and_then(SeqNo::new).ok_or_else(|| "a number is 1 or more".into())
}

/// Opens a directory that holds a journal.
fn open(dir: &Path) -> anyhow::Result<FileReadStore> {
    let store = FileReadStore::open(dir)?;
    if store.list()?.is_empty() && store.mark()?.is_none() {
        anyhow::bail!("{} holds no journal", dir.display());
    }
    Ok(store)
}

/// The frames of a journal up to its end, or to where it is damaged.
struct Frames {
    dir: PathBuf,
    follower: Follower<FileReadStore>,
    from: Option<SeqNo>,
    left: u64,
    next: Option<SeqNo>,
    /// What was read and then taken back is said and no reason to stop.
    is_live: bool,
    damage: Option<JournalError>,
}

impl Frames {
    fn open(dir: &Path, span: &Span) -> anyhow::Result<Frames> {
        let follower = Follower::open(open(dir)?, span.from)?;
        let left = span.count.unwrap_or(u64::MAX);
        let (from, next, damage) = (span.from, None, None);
        Ok(Frames { dir: dir.into(), follower, from, left, next, is_live: false, damage })
    }

    /// The next frame; `None` when there is none now, or no more.
    fn next(&mut self) -> anyhow::Result<Option<seqcast_engine::frame::Frame<'_>>> {
        if self.left == 0 || self.damage.is_some() {
            return Ok(None);
        }
        match self.follower.next_frame() {
            Ok(Some(frame)) => {
                if self.next.is_none() {
                    tell_removed(&self.dir, self.from, frame.seq());
                }
                self.left -= 1;
                self.next = Some(frame.seq().next());
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            // What does not concern the frames is no damage.
            Err(JournalError::Store(error)) => Err(error.into()),
            Err(error @ JournalError::TakenBack { .. }) if self.is_live => {
                say(error);
                Ok(None)
            }
            Err(error) => {
                self.damage = Some(error);
                Ok(None)
            }
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.damage.is_some() || self.follower.chain().ended()
    }

    /// Says what was not as asked for.
    fn finish(&self) -> Verdict {
        if let Some(damage) = &self.damage {
            say(damage);
            return Verdict::Incomplete;
        }
        if let (Some(from), None, true) = (self.from, self.next, self.left > 0) {
            let next = self.follower.chain().next();
            say(format_args!("{} ends before frame {from}: {next} comes next", self.dir.display()));
        }
        Verdict::Good
    }
}

fn tell_removed(dir: &Path, from: Option<SeqNo>, first: SeqNo) {
    let wanted = from.unwrap_or(SeqNo::FIRST);
    if first > wanted {
        say(format_args!(
            "{}: frames {wanted} to {} were removed by retention; {first} is the oldest",
            dir.display(),
            first.value() - 1
        ));
    }
}
