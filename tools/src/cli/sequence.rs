//! `seqcast sequence`: a sequencer with its journal, rewind server and snapshot server.

use std::io::Write;
use std::time::{Duration, Instant};

use seqcast_engine::agents::departure::Departure;
use seqcast_engine::agents::journal::Rebirth;
use seqcast_engine::book::{Books, BooksConfig};
use seqcast_engine::config::Config;
use seqcast_engine::runtime::StopFlag;
use seqcast_engine::stat::Counters;
use seqcast_engine::topology::{self, Node, SequencerParts};
use serde::Serialize;

use super::Verdict;
use super::process::{self, ConfigArgs, WiringArgs};
use crate::coordinator;
use crate::output::{Output, grouped, say};

/// A process that is asked to end waits so long for its node to leave the cluster.
const LEAVE_FOR: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    wiring: WiringArgs,
    /// End the session, and the program, once every source has ended its own
    #[arg(long)]
    end_with_sources: bool,
    /// Live orders that the snapshot server's books have room for without growing
    #[arg(long, default_value_t = 1_000_000)]
    expected_orders: u32,
}

#[derive(Serialize)]
struct Summary {
    session: String,
    counters: std::collections::BTreeMap<String, u64>,
}

/// The other nodes learn of a death by the end of a connection: it is to come with the death.
fn be_missed_at_once() {
    #[cfg(target_os = "linux")]
    if let Err(error) = seqcast_engine::mem::heir::appoint() {
        say(format_args!("should this process be killed, the others will notice late: {error}"));
    }
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    process::talk();
    let mut config = args.config.load()?;
    if let Some(sequencer) = &mut config.sequencer {
        sequencer.end_with_sources |= args.end_with_sources;
    }
    let session = config.feed()?.session;
    if config.cluster.is_some() {
        be_missed_at_once();
    }
    let asked = process::stop_on_signals()?;
    let stop = StopFlag::new();
    let mut leave = Leave { asked, stop: stop.clone(), since: None };
    let rebirth = Rebirth::new();
    let counters = loop {
        let counters = process::counters(&config, "sequence")?;
        let lived = live(args, &config, &counters, &mut leave, &rebirth);
        if !rebirth.is_due() || stop.is_set() {
            lived?;
            break counters;
        }
        say("the journal made room for an image: all agents begin anew");
    };
    let counters = counters.readings().into_iter().map(|counter| (counter.label, counter.value)).collect();
    let summary = Summary { session: session.to_string(), counters };
    output.print(&summary, |data| {
        for (label, value) in &summary.counters {
            writeln!(data, "{label} {}", grouped(*value))?;
        }
        Ok(())
    })?;
    Ok(Verdict::Good)
}

/// How the process ends: when it is asked to, its node leaves the cluster first.
struct Leave {
    asked: StopFlag,
    stop: StopFlag,
    since: Option<Instant>,
}

impl Leave {
    fn look(&mut self, departure: &Departure) {
        if self.asked.is_set() {
            let since = *self.since.get_or_insert_with(Instant::now);
            departure.ask();
            if departure.is_allowed() || since.elapsed() >= LEAVE_FOR {
                self.stop.set();
            }
        }
    }
}

/// One life of the sequencer's agents. A node whose journal is to begin anew from an image ends it with an error, and has
/// left in `rebirth` where the next one begins.
fn live(
    args: &Args,
    config: &Config,
    counters: &Counters,
    leave: &mut Leave,
    rebirth: &Rebirth,
) -> anyhow::Result<()> {
    let mut node = Node::default();
    let driver = args.wiring.wire(config, &mut node)?;
    let books = BooksConfig { expected_orders: args.expected_orders, ..BooksConfig::default() };
    if config.snapshot.is_some() {
        // Books that cannot be made are better known before the sources are joined.
        drop(Books::new(books)?);
    }
    let departure = Departure::new();
    let parts = SequencerParts {
        departure: departure.clone(),
        books,
        coordinator: coordinator::open(config)?,
        control_port: config.cluster.is_some(),
        rebirth: rebirth.clone(),
        ..SequencerParts::default()
    };
    node.merge(topology::sequencer_on(driver, config, counters, parts)?);
    say(format_args!("sequencing session {}", config.feed()?.session));
    let mut halted = std::collections::BTreeSet::new();
    let stop = leave.stop.clone();
    process::run(node, config, counters, &stop, || {
        leave.look(&departure);
        for counter in counters.readings() {
            let is_halted = counter.label.starts_with("seqcast_source_halted") && counter.value > 0;
            if is_halted && halted.insert(counter.label.clone()) {
                say(format_args!(
                    "{}: messages of this source are lost for good; it stands still until its publisher starts again",
                    counter.label
                ));
            }
        }
    })?;
    Ok(())
}
