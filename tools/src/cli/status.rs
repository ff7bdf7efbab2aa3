//! `seqcast status`: who is primary, who follows, how far everything is.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use seqcast_engine::agents::status::{PeerReport, Report, Role, What};
use seqcast_engine::config::{Cluster, Config};
use seqcast_engine::runtime::wall_ns;
use seqcast_engine::time::Nanos;
use serde::Serialize;

use super::Verdict;
use super::process::ConfigArgs;
use crate::control;
use crate::output::{Output, UsageError, grouped};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Show so many of the last things that happened to each node
    #[arg(long, default_value_t = 3, value_name = "N")]
    notes: usize,
}

/// The whole cluster.
#[derive(Serialize)]
struct Status {
    session: String,
    /// The highest epoch that any node knows of.
    epoch: u64,
    /// Primary of that epoch.
    primary: Option<String>,
    /// What is not as it should be.
    problems: Vec<String>,
    nodes: Vec<NodeStatus>,
}

#[derive(Serialize)]
struct NodeStatus {
    name: String,
    address: SocketAddrV4,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What it says of itself.
    #[serde(rename = "status")]
    report: Option<Report>,
}

/// Section `[cluster]`.
pub(super) fn cluster(config: &Config) -> anyhow::Result<&Cluster> {
    config.cluster.as_ref().ok_or_else(|| {
        UsageError("section `[cluster]` is missing: a sequencer without standbys has no control port".into())
            .into()
    })
}

/// What every node says, in the order of the configuration; asked at the same time.
pub(super) fn ask_all(cluster: &Cluster) -> Vec<Result<Report, control::AskError>> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| scope.spawn(|| control::status(node.replication, PATIENCE)))
            .collect();
        let lost = || Err(control::AskError::Nonsense("the question failed".into()));
        asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    })
}

/// The place of the primary among `reports`: of the highest epoch, should several take themselves for it.
pub(super) fn primary_of(reports: &[Result<Report, control::AskError>]) -> Option<usize> {
    let leads = |report: &Report| matches!(report.role, Role::Primary | Role::Retiring);
    let epochs = reports.iter().enumerate().filter_map(|(at, report)| {
        report.as_ref().ok().filter(|report| leads(report)).map(|report| (report.epoch, at))
    });
    epochs.max().map(|(_, at)| at)
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let config = args.config.load()?;
    let cluster = cluster(&config)?;
    let reports = ask_all(cluster);
    let reached = reports.iter().any(Result::is_ok);
    let status = Status::new(cluster, reports);
    output.print(&status, |data| status.write_text(args.notes, data))?;
    Ok(match (reached, status.problems.is_empty()) {
        (false, _) => Verdict::Incomplete,
        (true, false) => Verdict::Bad,
        (true, true) => Verdict::Good,
    })
}

impl Status {
    fn new(cluster: &Cluster, reports: Vec<Result<Report, control::AskError>>) -> Status {
        let primary = primary_of(&reports);
        let nodes: Vec<NodeStatus> = cluster
            .nodes
            .iter()
            .zip(reports)
            .map(|(node, report)| {
                let (name, address) = (node.name.clone(), node.replication);
                match report {
                    Ok(report) => NodeStatus { name, address, error: None, report: Some(report) },
                    Err(error) => NodeStatus { name, address, error: Some(error.to_string()), report: None },
                }
            })
            .collect();
        let known: Vec<&Report> = nodes.iter().filter_map(|node| node.report.as_ref()).collect();
        let epoch = known.iter().map(|report| report.epoch).max().unwrap_or(0);
        let leader = primary.and_then(|at| nodes[at].report.as_ref()).filter(|report| report.epoch == epoch);
        Status {
            session: known.first().map(|report| report.session.clone()).unwrap_or_default(),
            epoch,
            primary: leader.map(|report| report.name.clone()),
            problems: problems(&nodes, leader),
            nodes,
        }
    }

    fn primary(&self) -> Option<&Report> {
        let name = self.primary.as_ref()?;
        self.nodes.iter().filter_map(|node| node.report.as_ref()).find(|report| report.name == *name)
    }

    fn write_text(&self, notes: usize, out: &mut impl Write) -> io::Result<()> {
        match self.primary() {
            Some(primary) => writeln!(
                out,
                "session {}, epoch {}: {} leads, in sync: {} (at least {} needed)",
                self.session,
                self.epoch,
                primary.name,
                primary.stored.join(" "),
                primary.min_in_sync,
            )?,
            None => writeln!(out, "session {}, epoch {}: nobody leads", self.session, self.epoch)?,
        }
        writeln!(out, "{}", self.table())?;
        for node in &self.nodes {
            let Some(report) = &node.report else { continue };
            let skip = report.notes.len().saturating_sub(notes);
            for note in &report.notes[skip..] {
                writeln!(out, "{}: {} ago, {note}", report.name, ago(note.wall_ns))?;
            }
        }
        for problem in &self.problems {
            writeln!(out, "problem: {problem}")?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "node",
            "role",
            "epoch",
            "since",
            "numbered",
            "appended",
            "durable",
            "committed",
            "published",
            "in books",
            "verified",
            "lacks",
            "behind",
            "heard",
            "link",
            "falsely suspected",
        ]);
        for node in &self.nodes {
            let Some(report) = &node.report else {
                table.add_row([node.name.as_str(), node.error.as_deref().unwrap_or("no answer")]);
                continue;
            };
            let mut row = vec![report.name.clone(), report.role.to_string(), report.epoch.to_string()];
            let since = report.notes.iter().rev().find(|note| note.what == What::Role);
            row.push(since.map_or_else(|| "-".into(), |note| ago(note.wall_ns)));
            let levels = report.watermarks;
            row.extend(
                [
                    levels.numbered,
                    levels.appended,
                    levels.durable,
                    levels.committed,
                    levels.published,
                    levels.applied,
                ]
                .map(grouped),
            );
            let seen =
                self.primary().and_then(|primary| primary.peers.iter().find(|p| p.name == report.name));
            row.extend(seen.map_or_else(Default::default, as_seen));
            table.add_row(row);
        }
        table
    }
}

/// A standby as its primary sees it.
fn as_seen(peer: &PeerReport) -> [String; 6] {
    let or_none = |number: Option<u64>| number.map_or_else(|| "-".into(), grouped);
    [
        if peer.needs_image { "gets an image".into() } else { or_none(peer.verified) },
        or_none(peer.lag_messages),
        Nanos(peer.lag_ns).to_string(),
        peer.silent_ns.map_or_else(|| "never".into(), |ns| format!("{} ago", Nanos(ns))),
        if peer.link { "up" } else { "down" }.into(),
        grouped(peer.false_suspicions),
    ]
}

fn ago(at_ns: u64) -> String {
    Nanos(wall_ns().saturating_sub(at_ns)).to_string()
}

fn problems(nodes: &[NodeStatus], leader: Option<&Report>) -> Vec<String> {
    let mut found = Vec::new();
    for node in nodes {
        if let Some(error) = &node.error {
            found.push(format!("{} at {}: {error}", node.name, node.address));
        }
    }
    let Some(leader) = leader else {
        found.push("nobody leads".into());
        return found;
    };
    if let Some(why) = &leader.closed {
        found.push(format!("{} admits no events: {why}", leader.name));
    }
    let in_sync: BTreeSet<&String> = leader.stored.iter().collect();
    for report in nodes.iter().filter_map(|node| node.report.as_ref()) {
        if !in_sync.contains(&report.name) {
            found.push(format!("{} is not in the in-sync set", report.name));
        }
        if report.session != leader.session {
            found.push(format!("{} is of session {}, not {}", report.name, report.session, leader.session));
        }
        let leads = matches!(report.role, Role::Primary | Role::Retiring);
        if leads && report.name != leader.name {
            found.push(format!("{} takes itself for the primary, of epoch {}", report.name, report.epoch));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use seqcast_engine::agents::status::Levels;
    use seqcast_engine::config::Config;

    use super::*;

    fn report(name: &str, role: Role, epoch: u64, stored: &[&str]) -> Report {
        let peer = PeerReport {
            name: "n2".into(),
            node: 1,
            link: true,
            verified: Some(1_234),
            lag_messages: Some(7),
            lag_ns: 1_500,
            silent_ns: None,
            false_suspicions: 0,
            needs_image: false,
        };
        Report {
            session: "FEED".into(),
            name: name.into(),
            node: 0,
            role,
            epoch,
            primary: None,
            incarnation: "1".into(),
            stored: stored.iter().map(|name| (*name).to_owned()).collect(),
            local: Vec::new(),
            min_in_sync: 2,
            admitting: role == Role::Primary,
            closed: (role != Role::Primary).then(|| "this node is not the primary".into()),
            watermarks: Levels { numbered: 5_001, ..Levels::default() },
            peers: vec![peer],
            wall_ns: 0,
            notes: Vec::new(),
        }
    }

    fn cluster() -> Cluster {
        let text = "[cluster.coordinator]\nkind = \"file\"\ndir = \"x\"\n\
                    [[cluster.node]]\nname = \"n1\"\nreplication = \"127.0.0.1:1\"\n\
                    [[cluster.node]]\nname = \"n2\"\nreplication = \"127.0.0.1:2\"\n";
        Config::parse(text).unwrap().cluster.unwrap()
    }

    fn text(status: &Status) -> String {
        let mut out = Vec::new();
        status.write_text(3, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_healthy_cluster_has_no_problems() {
        let reports =
            vec![Ok(report("n1", Role::Primary, 3, &["n1", "n2"])), Ok(report("n2", Role::Standby, 3, &[]))];
        assert_eq!(primary_of(&reports), Some(0));
        let status = Status::new(&cluster(), reports);
        assert_eq!(
            (status.primary.as_deref(), status.problems.len()),
            (Some("n1"), 0),
            "{:?}",
            status.problems
        );
        let text = text(&status);
        assert!(
            text.contains("n1 leads, in sync: n1 n2") && text.contains("1,234") && text.contains("never")
        );
    }

    #[test]
    fn who_gets_an_image_is_shown() {
        let mut primary = report("n1", Role::Primary, 3, &["n1"]);
        (primary.peers[0].verified, primary.peers[0].needs_image) = (None, true);
        let status = Status::new(&cluster(), vec![Ok(primary), Ok(report("n2", Role::Joining, 3, &[]))]);
        assert!(text(&status).contains("gets an image"));
        let json = serde_json::to_value(&status.nodes[0].report).unwrap();
        assert_eq!(json["peers"][0]["needs_image"], true);
    }

    #[test]
    fn the_highest_epoch_leads_and_everything_else_is_told() {
        let reports = vec![
            Ok(report("n1", Role::Primary, 3, &["n1", "n2"])),
            Ok(report("n2", Role::Primary, 4, &["n2"])),
        ];
        assert_eq!(primary_of(&reports), Some(1));
        let status = Status::new(&cluster(), reports);
        assert_eq!(status.primary.as_deref(), Some("n2"));
        let problems = status.problems.join("\n");
        assert!(problems.contains("n1 is not in the in-sync set"), "{problems}");
        assert!(problems.contains("n1 takes itself for the primary, of epoch 3"), "{problems}");
    }

    #[test]
    fn a_primary_of_an_epoch_that_others_have_left_does_not_lead() {
        let reports = vec![
            Ok(report("n1", Role::Primary, 3, &["n1", "n2"])),
            Ok(report("n2", Role::Candidate, 4, &["n1", "n2"])),
        ];
        let status = Status::new(&cluster(), reports);
        assert_eq!((status.epoch, status.primary.as_deref()), (4, None));
        assert!(text(&status).contains("nobody leads"));
    }

    #[test]
    fn who_does_not_answer_is_shown() {
        let gone = || Err(control::AskError::Unreachable(io::ErrorKind::ConnectionRefused.into()));
        let status = Status::new(&cluster(), vec![gone(), Ok(report("n2", Role::Standby, 3, &["n1"]))]);
        let text = text(&status);
        assert!(text.contains("unreachable: connection refused") && text.contains("nobody leads"), "{text}");
    }
}
