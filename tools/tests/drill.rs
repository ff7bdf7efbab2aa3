//! Failover drills, as a user runs them.

mod common;

use std::path::Path;

use common::*;
use serde_json::Value;

/// A drill of the one sequencer, as small as it gets.
fn restart(dir: &Path) -> Seqcast {
    Seqcast::new("drill").args(["run", "restart", "--json", "--rate=2000", "--dir"]).arg(dir)
}

fn assert_passed(report: &Value) -> &Value {
    assert_eq!(
        (&report["passed"], &report["drills"][0]["name"]),
        (&true.into(), &"restart".into()),
        "{report}"
    );
    let run = &report["drills"][0]["runs"][0];
    assert_eq!(run["problems"], Value::Array(Vec::new()));
    run
}

/// Processes whose command line holds `text`.
fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

#[test]
fn a_sequencer_killed_and_started_again_loses_nothing_and_the_drill_proves_it() {
    let home = tempfile::tempdir().expect("a directory");
    let (dir, pictures) = (home.path().join("drill"), home.path().join("pictures"));
    let report = restart(&dir).arg("--svg").arg(&pictures).start().good().json();
    let run = assert_passed(&report);
    assert!(run["messages"].as_u64() > Some(1_000), "{run}");
    assert_eq!(run["epochs"], 2, "one of each process");
    let fault = &run["acts"][0];
    assert_eq!((&fault["what"], &fault["fault"]), (&"kill -9 n1".into(), &true.into()));
    assert_eq!(run["acts"][1]["what"], "start n1");
    for who in ["subscribers", "publishers"] {
        let outages = fault[who].as_array().expect("a list");
        assert_eq!(outages.len(), 2, "{fault}");
        for outage in outages {
            let number = |key: &str| outage[key].as_i64().expect("a number");
            assert_eq!(number("outage_ns"), number("first_after_ns") - number("last_before_ns"));
            assert!(number("first_after_ns") > 0);
        }
    }
    assert!(fault["subscribers"][0]["new_epoch_ns"].as_i64() > Some(0));
    assert_eq!(report["drills"][0]["faults"][0]["subscriber_outage"]["count"], 2);
    let picture = std::fs::read_to_string(pictures.join("restart-1-1.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("kill -9 n1"));
    assert!(!dir.exists(), "a drill that passed leaves nothing behind");
}

#[test]
fn repetitions_on_the_loopback_interface_leave_what_they_are_asked_to() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("drill");
    let report = restart(&dir).args(["--loopback", "--repeat=2", "--keep"]).start().good().json();
    assert_passed(&report);
    assert_eq!(report["drills"][0]["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["drills"][0]["faults"][0]["publisher_outage"]["count"], 4);
    for left in ["restart-1/n1.log", "restart-2/sub1.trace", "restart-2/n1/journal"] {
        assert!(dir.join(left).exists(), "{left}");
    }
}

#[test]
fn an_interrupted_drill_takes_its_processes_along() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("drill");
    // Everything runs once the first subscriber has a trace.
    let drill = restart(&dir).arg("--repeat=1000").start();
    wait_for("a trace", || {
        size(&dir.join("restart-1/sub1.trace")) > 0 || size(&dir.join("restart-2/sub1.trace")) > 0
    });
    let text = dir.display().to_string();
    assert!(processes_with(&text).len() > 1, "more than the drill itself");
    let done = drill.terminate();
    assert_eq!(done.code, Some(3), "{}", done.err);
    assert_eq!(processes_with(&text), [""; 0]);
}

#[test]
fn drills_are_listed_and_unknown_ones_refused() {
    let listed = Seqcast::new("drill").args(["list", "--json"]).start().good().json();
    let names: Vec<&str> =
        listed.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    for name in ["restart", "kill-primary", "freeze-primary", "cut-primary", "handover", "disk-full"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let done = Seqcast::new("drill").args(["run", "kill-primry"]).start().done();
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("did you mean kill-primary?"), "{}", done.err);
}

#[test]
fn a_drill_that_cannot_be_run_here_is_left_out_and_said_to_be() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("drill");
    let drill = Seqcast::new("drill").args(["run", "cut-primary", "--loopback", "--json", "--dir"]).arg(&dir);
    let report = drill.start().good().json();
    let why = report["drills"][0]["skipped"].as_str().expect("a reason");
    assert!(why.contains("network that can be broken"), "{why}");
}

#[test]
fn without_a_cluster_there_is_no_status() {
    for command in ["status", "retire"] {
        let done = Seqcast::new(command).start().done();
        assert_eq!(done.code, Some(2));
        assert!(done.err.contains("`[cluster]` is missing"), "{}", done.err);
    }
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("cluster.toml");
    let port = free_ports(1)[0];
    let text = format!(
        "[cluster.coordinator]\nkind = \"file\"\ndir = \"x\"\n\
         [[cluster.node]]\nname = \"n1\"\nreplication = \"127.0.0.1:{port}\"\n"
    );
    std::fs::write(&config, text).expect("writing a configuration");
    let command = |name: &str| Seqcast::new(name).arg("--json").arg("--config").arg(&config);
    let done = command("status").start().done();
    assert_eq!(done.code, Some(3), "no node answers: {}", done.err);
    let problems = done.json()["problems"].to_string();
    assert!(problems.contains("unreachable") && problems.contains("nobody leads"), "{problems}");
    let done = command("promote").arg("n9").start().done();
    assert_eq!(done.code, Some(2), "{}", done.err);
    assert!(done.err.contains("known: n1"), "{}", done.err);
    assert_eq!(command("promote").arg("n1").start().done().code, Some(3));
}
