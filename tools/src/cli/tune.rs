//! `seqcast tune`: compares a host with a profile, changes it, and changes it back.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{ContentArrangement, Table, presets};
use seqcast_engine::config::Config;
use serde::Serialize;

use super::Verdict;
use crate::interfaces;
use crate::output::{Output, UsageError, say};
use crate::tune::change::{self, Outcome, Step, What};
use crate::tune::check::{self, Finding};
use crate::tune::cpus::CpuSet;
use crate::tune::host::Machine;
use crate::tune::inputs::{Inputs, interface_name};
use crate::tune::ledger::StateFile;
use crate::tune::profile::{self, Profile};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare this host with a profile
    ///
    /// Exit code 0: all fits that can be told and is here. 1: something differs. 3: something cannot be told.
    Check(CheckArgs),
    /// Print what `apply` would do as root, in order, and what is left to do by hand; changes nothing
    Plan(LookArgs),
    /// Change what differs and can be changed while the host runs
    ///
    /// Asks before it does, unless --yes is given. What was there before is written to the state file before each change.
    /// Exit code 1: something could not be changed as wanted. 2: nobody said yes.
    Apply(ApplyArgs),
    /// Put back what `apply` changed, the last change first
    ///
    /// What somebody else has changed since is told and left alone. Exit code 1: something was left alone. 3: something
    /// could not be put back.
    Undo(UndoArgs),
    /// List the built-in profiles, or print one
    Profiles(ProfilesArgs),
}

#[derive(clap::Args)]
struct LookArgs {
    /// shared-vm, bare-metal, bench, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "shared-vm")]
    profile: String,
    /// Cores of the hot threads, such as 2-3 [default: those of [[runtime.thread]] in --config]
    #[arg(long, value_name = "LIST")]
    cores: Option<CpuSet>,
    /// An interface that carries feeds; may be repeated [default: those of --config, else all that are hardware]
    #[arg(long = "interface", value_name = "NAME", value_parser = interface_name)]
    interfaces: Vec<String>,
    /// Configuration to take cores and interfaces from
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at the machine whose /proc and /sys are below this directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Say why for every knob, not only for those that differ
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args)]
struct StateArgs {
    /// What was changed, and what was there before
    #[arg(long, value_name = "FILE", default_value = "/var/lib/seqcast/tuning-undo.json")]
    state: PathBuf,
}

#[derive(clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    look: LookArgs,
    #[command(flatten)]
    state: StateArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(clap::Args)]
struct UndoArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Put back what somebody else has changed since, too
    #[arg(long)]
    force: bool,
    /// The machine whose /proc and /sys are below this directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(clap::Args)]
struct ProfilesArgs {
    /// The one to print
    name: Option<String>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    match &args.command {
        Command::Check(args) => check(args, output),
        Command::Plan(args) => plan(args, output),
        Command::Apply(args) => apply(args, output),
        Command::Undo(args) => undo(args, output),
        Command::Profiles(args) => profiles(args, output),
    }
}

/// A host, judged.
struct Look {
    host: Machine,
    profile: String,
    findings: Vec<Finding>,
}

impl LookArgs {
    fn look(&self) -> anyhow::Result<Look> {
        let profile = load(&self.profile)?;
        let host = Machine::new(&self.root);
        let (mut cores, mut interfaces) = (self.cores.clone().unwrap_or_default(), self.interfaces.clone());
        if let Some(path) = &self.config {
            let config = Config::load(Some(path), &[]).map_err(|error| UsageError(error.to_string()))?;
            if self.cores.is_none() {
                cores = config.runtime.threads.iter().filter_map(|thread| thread.core).collect();
            }
            if interfaces.is_empty() {
                interfaces = interfaces_of(&config)?;
            }
        }
        let inputs = Inputs::new(&host, cores, interfaces);
        let findings = check::check(&profile, &inputs, &host);
        Ok(Look { host, profile: self.profile.clone(), findings })
    }
}

/// The interfaces that have the addresses of the configuration's lines.
fn interfaces_of(config: &Config) -> anyhow::Result<Vec<String>> {
    let addresses = interfaces::addresses().context("cannot list the addresses of this host")?;
    let feeds = config.feed.iter().flat_map(|feed| &feed.lines);
    let sources = config.sequencer.iter().flat_map(|sequencer| &sequencer.sources);
    let lines = feeds.chain(sources.flat_map(|source| &source.lines));
    let lines = lines.chain(config.publisher.iter().flat_map(|publisher| &publisher.lines));
    let mut names = Vec::new();
    for line in lines.filter(|line| !line.interface.is_unspecified()) {
        match addresses.iter().find(|address| address.address == line.interface) {
            Some(address) if !names.contains(&address.interface) => names.push(address.interface.clone()),
            Some(_) => {}
            None => say(format_args!("no interface of this host has the address {}", line.interface)),
        }
    }
    Ok(names)
}

fn load(name: &str) -> anyhow::Result<Profile> {
    if let Some((_, text)) = profile::BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        return Ok(profile::parse(text)?);
    }
    let path = Path::new(name);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let known: Vec<_> = profile::BUILT_IN.iter().map(|(name, _)| *name).collect();
            let text = format!("--profile: {name:?} is neither a file nor one of {}", known.join(", "));
            return Err(UsageError(text).into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
    };
    profile::parse(&text).map_err(|error| UsageError(format!("{name}: {error}")).into())
}

#[derive(Serialize)]
struct Checked<'a> {
    profile: &'a str,
    fits: bool,
    knobs: &'a [Finding],
}

fn verdict_of(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.verdict).max() {
        Some(worst) if worst.is_difference() => Verdict::Bad,
        Some(check::Verdict::Unknown) => Verdict::Incomplete,
        _ => Verdict::Good,
    }
}

fn check(args: &CheckArgs, output: Output) -> anyhow::Result<Verdict> {
    let Look { profile, findings, .. } = args.look.look()?;
    let verdict = verdict_of(&findings);
    let checked = Checked { profile: &profile, fits: verdict == Verdict::Good, knobs: &findings };
    output.print(&checked, |data| {
        writeln!(data, "{}", table(&findings))?;
        for finding in &findings {
            let reasons = finding.reasons();
            if !reasons.is_empty() {
                writeln!(data, "{}: {}", finding.knob, reasons.join("; "))?;
            }
            if args.all || finding.verdict.is_difference() {
                writeln!(data, "{}: {}", finding.knob, finding.why)?;
            }
            if let Some(by_hand) = finding.by_hand.as_ref().filter(|_| finding.verdict.is_difference()) {
                writeln!(data, "    {by_hand}")?;
            }
        }
        writeln!(data, "{}", tally(&findings))
    })?;
    Ok(verdict)
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["knob", "want", "have", "verdict"]);
    for finding in findings {
        table.add_row([&finding.knob, &finding.want, &finding.have, finding.verdict.words()]);
    }
    table
}

fn tally(findings: &[Finding]) -> String {
    use check::Verdict::{ByHand, Differs, NeedsReboot, NeedsRoot, NotHere, Ok, Unknown};
    let all = [Ok, Differs, NeedsRoot, ByHand, NeedsReboot, Unknown, NotHere];
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let counts =
        all.into_iter().map(|verdict| (count(verdict), verdict.words())).filter(|(count, _)| *count > 0);
    counts.map(|(count, words)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct Planned<'a> {
    profile: &'a str,
    steps: &'a [Step],
    by_hand: Vec<ByHand<'a>>,
}

#[derive(Serialize)]
struct ByHand<'a> {
    knob: &'a str,
    have: &'a str,
    want: &'a str,
    how: &'a str,
    risk: &'a str,
}

impl<'a> Planned<'a> {
    fn new(profile: &'a str, steps: &'a [Step], findings: &'a [Finding]) -> Planned<'a> {
        let by_hand = |finding: &'a Finding| {
            let Finding { knob, have, want, by_hand, risk, verdict, .. } = finding;
            let how = by_hand.as_deref().filter(|_| verdict.is_difference())?;
            Some(ByHand { knob, have, want, how, risk })
        };
        Planned { profile, steps, by_hand: findings.iter().filter_map(by_hand).collect() }
    }

    fn write_text(&self, data: &mut impl Write) -> io::Result<()> {
        let mut knob = "";
        for step in self.steps {
            if step.knob != knob {
                writeln!(data, "# {}; risk: {}", step.knob, step.risk)?;
                knob = &step.knob;
            }
            writeln!(data, "{}    # was {}", step.command, step.have)?;
        }
        if self.steps.is_empty() {
            writeln!(data, "# nothing to change")?;
        }
        for ByHand { knob, have, want, how, risk } in &self.by_hand {
            writeln!(data, "# by hand: {knob} (have {have}, want {want}): {how}; risk: {risk}")?;
        }
        Ok(())
    }
}

fn plan(args: &LookArgs, output: Output) -> anyhow::Result<Verdict> {
    let Look { profile, findings, .. } = args.look()?;
    let steps = change::plan(&findings, true);
    let planned = Planned::new(&profile, &steps, &findings);
    output.print(&planned, |data| planned.write_text(data))?;
    Ok(Verdict::Good)
}

#[derive(Serialize)]
struct Changed<'a> {
    state: &'a Path,
    outcomes: &'a [Outcome],
}

impl Changed<'_> {
    fn write_text(&self, data: &mut impl Write) -> io::Result<()> {
        for Outcome { knob, place, outcome, now, why } in self.outcomes {
            let words = match outcome {
                What::Changed => "changed",
                What::ChangedOtherwise => "changed, but not as wanted",
                What::Refused => "refused by the kernel",
                What::Restored => "restored",
                What::AlreadyBack => "already back",
                What::LeftAlone => "left alone",
                What::Gone => "gone",
                What::Failed => "failed",
            };
            let now = now.as_ref().map(|now| format!(", now {now}")).unwrap_or_default();
            let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            writeln!(data, "{knob}: {words}{now}{why}    {place}")?;
        }
        Ok(())
    }
}

fn apply(args: &ApplyArgs, output: Output) -> anyhow::Result<Verdict> {
    let Look { mut host, profile, findings } = args.look.look()?;
    let not_ours = change::plan(&findings, true).len() - change::plan(&findings, false).len();
    let steps = change::plan(&findings, false);
    if not_ours > 0 {
        say(format_args!("{not_ours} changes need root; `seqcast tune plan` shows them"));
    }
    if !steps.is_empty() && !args.yes && !is_agreed(&profile, &steps, &findings)? {
        return Err(UsageError("nothing was changed: say --yes to do what stands above".into()).into());
    }
    let state = &args.state.state;
    let outcomes = match steps.is_empty() {
        true => Vec::new(),
        false => change::apply(&steps, &mut host, &mut StateFile::open(state)?)?,
    };
    let changed = Changed { state, outcomes: &outcomes };
    output.print(&changed, |data| {
        changed.write_text(data)?;
        match outcomes.len() {
            0 => writeln!(data, "nothing to change"),
            _ => writeln!(data, "`seqcast tune undo` puts it back; {} remembers how", state.display()),
        }
    })?;
    let is_good = not_ours == 0 && outcomes.iter().all(|outcome| outcome.outcome == What::Changed);
    Ok(if is_good { Verdict::Good } else { Verdict::Bad })
}

/// Shows what would be done, and asks whoever sits there, if anybody does.
fn is_agreed(profile: &str, steps: &[Step], findings: &[Finding]) -> anyhow::Result<bool> {
    let mut text = Vec::new();
    Planned::new(profile, steps, findings).write_text(&mut text)?;
    let mut talk = io::stderr();
    talk.write_all(&text)?;
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(talk, "Do this? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn undo(args: &UndoArgs, output: Output) -> anyhow::Result<Verdict> {
    let state = &args.state.state;
    let outcomes = match state.exists() {
        true => change::undo(&mut Machine::new(&args.root), &mut StateFile::open(state)?, args.force)?,
        false => None,
    };
    let is_there = outcomes.is_some();
    let outcomes = outcomes.unwrap_or_default();
    let changed = Changed { state, outcomes: &outcomes };
    output.print(&changed, |data| {
        changed.write_text(data)?;
        if !is_there {
            writeln!(data, "nothing to undo: nothing was changed since the kernel started")?;
        }
        Ok(())
    })?;
    let became = |what| outcomes.iter().any(|outcome| outcome.outcome == what);
    Ok(match (became(What::Failed), became(What::LeftAlone)) {
        (true, _) => Verdict::Incomplete,
        (_, true) => Verdict::Bad,
        _ => Verdict::Good,
    })
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    about: String,
    knobs: usize,
}

fn profiles(args: &ProfilesArgs, output: Output) -> anyhow::Result<Verdict> {
    let mut listed = Vec::new();
    for (name, text) in profile::BUILT_IN {
        let profile = profile::parse(text)?;
        listed.push((text, Listed { name, about: profile.about, knobs: profile.knobs.len() }));
    }
    if let Some(name) = &args.name {
        let Some((text, listed)) = listed.iter().find(|(_, listed)| listed.name == name) else {
            return Err(UsageError(format!(
                "there is no profile {name:?}; `seqcast tune profiles` lists them"
            ))
            .into());
        };
        output.print(listed, |data| data.write_all(text.as_bytes()))?;
        return Ok(Verdict::Good);
    }
    let listed: Vec<_> = listed.into_iter().map(|(_, listed)| listed).collect();
    output.print(&listed, |data| {
        listed.iter().try_for_each(|Listed { name, about, knobs }| {
            writeln!(data, "{name:<12} {knobs:>3} knobs  {about}")
        })
    })?;
    Ok(Verdict::Good)
}
