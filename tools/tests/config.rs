//! `seqcast config`, run as users run it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use seqcast_engine::config::Config;
use serde_json::{Value, json};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seqcast")).arg("config").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn good(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Writes a configuration and gives its path.
fn file(dir: &Path, content: &str) -> String {
    let path = dir.join("seqcast.toml");
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_default_is_commented_and_valid() {
    let toml = good(&["default"]);
    assert_eq!(toml, Config::default_toml());
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &toml);
    assert_eq!(good(&["check", &path]), format!("{path}: ok\n"));
    assert_eq!(Config::parse(&good(&["show", &path])).unwrap(), Config::default());
    let json: Value = serde_json::from_str(&good(&["default", "--json"])).unwrap();
    assert_eq!(json["feed"]["session"], "SEQCAST001");
}

#[test]
fn what_is_shown_is_what_a_process_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "[feed]\nsession = \"MINE\"\n[[feed.line]]\ngroup = \"239.1.2.3:5000\"\n");
    let shown = Config::parse(&good(&["show", &path, "--set", "feed.line[0].group=239.9.9.9:9"])).unwrap();
    let feed = shown.feed.unwrap();
    assert_eq!(
        (feed.session.to_string(), feed.lines[0].group.to_string()),
        ("MINE".into(), "239.9.9.9:9".into())
    );
    assert!(shown.sequencer.is_none());
    let json: Value =
        serde_json::from_str(&good(&["show", "--json", "--set", "feed.session=20260101"])).unwrap();
    assert_eq!(json["feed"]["session"], "20260101");
    assert!(json["receive"].is_object());
}

#[test]
fn an_unknown_key_is_found_with_its_line_and_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "# mine\n[feed]\nsesion = \"MINE\"\n");
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("unknown key `sesion` at line 3, column 1; did you mean `session`?"), "{said}");
    let output = run(&["check", "--json", &path]);
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&checked["ok"], &checked["problems"][0]["line"]), (&json!(false), &json!(3)));
    let output = run(&["show", &path]);
    assert_eq!(output.status.code(), Some(3), "there is nothing to show");
    assert!(text(&output.stderr).contains("did you mean `session`?"));
}

#[test]
fn every_problem_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let toml = Config::default_toml().replacen("127.0.0.1:31010", "127.0.0.1:0", 1);
    let toml = toml.replacen("max_orders = ", "max_orders = 0 # ", 1).replacen(
        "# min_in_sync = 2",
        "min_in_sync = 9",
        1,
    );
    let path = file(dir.path(), &toml);
    let output = run(&["check", "--json", &path]);
    assert_eq!(output.status.code(), Some(1));
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = checked["problems"].as_array().unwrap();
    assert!(problems.len() > 1, "{checked}");
    assert!(problems.iter().all(|problem| problem["line"].is_u64()), "{checked}");
    let lines = text(&run(&["check", &path]).stdout);
    assert_eq!(lines.lines().count(), problems.len());
    assert!(lines.lines().all(|line| line.starts_with(&path) && line.contains(" at line ")), "{lines}");
}

#[test]
fn an_override_that_cannot_be_is_an_error_of_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), Config::default_toml());
    for (set, said) in [("feed.sesion=X", "did you mean `session`?"), ("feed", "write key=value")] {
        for args in [&["check", &path, "--set", set][..], &["show", "--set", set]] {
            let output = run(args);
            assert_eq!(output.status.code(), Some(2), "{args:?}");
            assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
        }
    }
    assert_eq!(run(&["check"]).status.code(), Some(2));
}

#[test]
fn a_file_that_is_not_there_is_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere.toml");
    for command in ["check", "show"] {
        let output = run(&[command, nowhere.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        assert!(text(&output.stderr).contains("cannot read"), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let path = file(dir.path(), "this is no TOML");
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("at line 1"), "{}", text(&output.stdout));
}
