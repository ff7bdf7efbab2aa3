//! `seqcast publish`: one publisher, from a file, a capture or the generator.

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;

use anyhow::Context;
use seqcast_engine::config::Config;
use seqcast_engine::stat::Counters;
use seqcast_engine::sync::Flag;
use seqcast_engine::topology::{self, Node};
use seqcast_wire::Session;
use serde::Serialize;

use super::Verdict;
use super::process::{self, ConfigArgs};
use crate::day::{Day, DayConfig};
use crate::output::{Output, grouped, say};
use crate::script::{self, Generated, Messages, Pace, Player, Share};
use crate::trace::{Trace, TracedHost, TracedScript};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Day file (BinaryFILE) or capture (pcap, pcapng) to publish [default: the built-in generator]
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Of a capture with several MoldUDP64 sessions, the one to publish
    #[arg(long, value_name = "SESSION", requires = "file")]
    file_session: Option<Session>,
    /// Messages to generate
    #[arg(long, short = 'n', default_value_t = 1_000_000, conflicts_with = "file")]
    messages: u64,
    /// Seed of the generator
    #[arg(long, default_value_t = 1, conflicts_with = "file")]
    seed: u64,
    /// Publish only this share of the messages, such as 0/2, so that several publishers can divide a file by stock
    #[arg(long, value_name = "INDEX/COUNT", default_value = "0/1")]
    share: Share,
    /// Messages a second, each at its time (open loop) [default: as fast as they are taken]
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "speed")]
    rate: Option<NonZeroU64>,
    /// At the recorded pace, this many times as fast
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// End the session in order once standard input is closed, whatever is left to publish
    #[arg(long)]
    until_eof: bool,
    /// Write when each message was due, and each acknowledgement, to this file, 32 bytes each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Serialize)]
struct Summary {
    session: String,
    messages: u64,
    seconds: f64,
    messages_per_s: f64,
    stopped: bool,
}

/// Raised when standard input is closed.
fn eof() -> anyhow::Result<Flag> {
    let raised = Flag::new();
    let raise = raised.clone();
    std::thread::Builder::new().name("eof".into()).spawn(move || {
        // What comes is of no interest, and a failure is an end too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        raise.raise();
    })?;
    Ok(raised)
}

fn node(
    args: &Args,
    config: &Config,
    player: Player<Box<dyn Messages>>,
    counters: &Counters,
) -> anyhow::Result<Node> {
    Ok(match &args.trace {
        None => topology::publisher(config, player, counters, "", None)?,
        Some(path) => {
            let trace = Trace::create(path).with_context(|| path.display().to_string())?;
            let script = TracedScript::new(player, trace.clone());
            topology::publisher_in(&mut TracedHost(trace), config, script, counters, "", None)?
        }
    })
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    process::talk();
    let config = args.config.load()?;
    let messages: Box<dyn Messages> = match &args.file {
        Some(path) => script::open(path, args.file_session)?,
        None => Box::new(Generated::new(Day::new(DayConfig {
            seed: args.seed,
            messages: args.messages,
            ..DayConfig::default()
        })?)),
    };
    let pace = match (args.rate, args.speed) {
        (Some(rate), _) => Pace::Rate(rate),
        (None, Some(speed)) => Pace::Recorded { speed },
        (None, None) => Pace::AsFast,
    };
    let mut player = Player::new(messages, pace, args.share)?;
    if args.until_eof {
        player = player.ending_on(eof()?);
    }
    let watch = player.watch();
    let session = config.publisher()?.session;
    let counters = process::counters(&config, "publish")?;
    let stop = process::stop_on_signals()?;
    let node = node(args, &config, player, &counters)?;
    say(format_args!("publishing session {session}"));
    let began = std::time::Instant::now();
    let mut played_after = None;
    process::run(node, &config, &counters, &stop, || {
        if watch.ended().is_some() {
            played_after.get_or_insert_with(|| began.elapsed());
        }
    })?;
    let Some(ended) = watch.ended() else {
        say("stopped before the end");
        return Ok(Verdict::Incomplete);
    };
    ended.notices.iter().for_each(say);
    let seconds = played_after.unwrap_or_else(|| began.elapsed()).as_secs_f64();
    let summary = Summary {
        session: session.to_string(),
        messages: ended.messages,
        seconds,
        messages_per_s: ended.messages as f64 / seconds.max(1e-9),
        stopped: stop.is_set(),
    };
    output.print(&summary, |data| {
        use std::io::Write;
        let rate = grouped(summary.messages_per_s as u64);
        writeln!(data, "{} messages in {seconds:.2} s ({rate} a second)", grouped(summary.messages))
    })?;
    match &ended.failure {
        Some(failure) => {
            say(failure);
            Ok(Verdict::Incomplete)
        }
        None => Ok(Verdict::Good),
    }
}
