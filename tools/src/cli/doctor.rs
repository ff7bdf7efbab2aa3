//! `seqcast doctor`: what is wrong with this host for a configuration, or with a feed at this host.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use seqcast_engine::config::{Config, Line};
use serde::Serialize;

use super::Verdict;
use super::process::ConfigArgs;
use super::subscribe::parse_line;
use crate::doctor::listen::{self, Order};
use crate::doctor::site::{self, Role};
use crate::doctor::{Finding, Health, diagnose};
use crate::interfaces;
use crate::output::{Output, UsageError, say};
use crate::tune::host::Machine;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// What this host does; may be repeated [default: all that the configuration has sections for]
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    roles: Vec<Role>,
    /// Why do I see no data? Listen to the feed's lines for a while, and say at which step of the way it goes wrong
    #[arg(long, conflicts_with = "roles")]
    feed: bool,
    /// With --feed: how long to listen
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// With --feed: a line to listen to instead of the configured ones: GROUP:PORT, or GROUP:PORT@INTERFACE; may be repeated
    #[arg(long = "line", value_name = "LINE", value_parser = parse_line, requires = "feed")]
    lines: Vec<Line>,
    /// With --feed: the session that should be there, or "any"
    #[arg(long, value_name = "SESSION", requires = "feed")]
    session: Option<String>,
}

#[derive(Serialize)]
struct Diagnosis {
    /// The worst of the findings.
    health: Health,
    findings: Vec<Finding>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let config = args.config.load()?;
    let host = Machine::new(Path::new("/"));
    let findings = match args.feed {
        true => feed(args, &config, &host)?,
        false => {
            let addresses = interfaces::addresses().context("cannot list the addresses of this host")?;
            site::inspect(&config, &roles(args, &config), &addresses, &host)
        }
    };
    let health = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Ok);
    let diagnosis = Diagnosis { health, findings };
    output.print(&diagnosis, |data| write_text(&diagnosis.findings, data))?;
    Ok(if health == Health::Bad { Verdict::Bad } else { Verdict::Good })
}

fn roles(args: &Args, config: &Config) -> Vec<Role> {
    if !args.roles.is_empty() {
        return args.roles.clone();
    }
    let sequence = config.sequencer.as_ref().map(|_| Role::Sequence);
    let publish = config.publisher.as_ref().map(|_| Role::Publish);
    // A feed alone is a subscriber's; beside a sequencer's sections it may be only the sequencer's own.
    let subscribe = config.feed.as_ref().map(|_| Role::Subscribe);
    [sequence, publish, subscribe].into_iter().flatten().collect()
}

fn feed(args: &Args, config: &Config, host: &Machine) -> anyhow::Result<Vec<Finding>> {
    let (lines, servers) = match (&args.lines[..], &config.feed) {
        ([], Some(feed)) => (feed.lines.clone(), feed.rewind_servers.clone()),
        ([], None) => (config.feed()?.lines.clone(), Vec::new()),
        // Another feed than the configured one: its servers have nothing to say of it.
        (lines, _) => (lines.to_vec(), Vec::new()),
    };
    let session = match (args.session.as_deref(), &config.feed) {
        (Some("any"), _) => None,
        (Some(text), _) => Some(text.parse().map_err(|error| UsageError(format!("--session: {error}")))?),
        (None, Some(feed)) if args.lines.is_empty() => Some(feed.session),
        (None, _) => None,
    };
    say(format_args!("listening for {} s", args.seconds));
    let order = Order {
        lines: &lines,
        session,
        rewind_servers: &servers,
        counters: &config.stat.dir,
        receive_buffer_bytes: config.io.receive_buffer_bytes,
        span: Duration::from_secs(args.seconds),
    };
    Ok(diagnose::diagnose(&listen::listen(&order, host)))
}

fn write_text(findings: &[Finding], data: &mut impl Write) -> io::Result<()> {
    let mut of = "";
    for finding in findings {
        if finding.of != of {
            of = &finding.of;
            writeln!(data, "{of}")?;
        }
        let mark = match finding.health {
            Health::Ok => "ok  ",
            Health::Skipped => "skip",
            Health::Warning => "warn",
            Health::Bad => "BAD ",
        };
        writeln!(data, "  {mark} {}: {}", finding.step, finding.what)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(data, "         -> {remedy}")?;
        }
    }
    let count = |health| findings.iter().filter(|finding| finding.health == health).count();
    writeln!(
        data,
        "{} bad, {} warnings, {} ok",
        count(Health::Bad),
        count(Health::Warning),
        count(Health::Ok)
    )
}
