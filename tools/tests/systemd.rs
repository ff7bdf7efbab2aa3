//! The units in `tuning/systemd`, and what the processes tell the service manager.

mod common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;

fn units() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tuning/systemd");
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
    };
    let mut units: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| read(entry.unwrap().path())).collect();
    units.sort();
    assert_eq!(units.len(), 4);
    units
}

/// Sections, keys and values.
fn settings(unit: &str) -> Vec<(String, String, String)> {
    let (mut section, mut found) = (String::new(), Vec::new());
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name.into(),
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
                found.push((section.clone(), key.into(), value.into()));
            }
        }
    }
    found
}

fn value<'a>(settings: &'a [(String, String, String)], key: &str) -> Option<&'a str> {
    settings.iter().find(|(_, found, _)| found == key).map(|(.., value)| value.as_str())
}

#[test]
fn processes_that_run_are_watched_and_limited() {
    for (name, text) in units() {
        let settings = settings(&text);
        let is_process = name != "seqcast-tune.service";
        assert_eq!(value(&settings, "Type"), Some(if is_process { "notify" } else { "oneshot" }), "{name}");
        for key in [
            "WatchdogSec",
            "LimitMEMLOCK",
            "LimitNOFILE",
            "TimeoutStopSec",
            "OOMScoreAdjust",
            "NoNewPrivileges",
        ] {
            assert_eq!(value(&settings, key).is_some(), is_process, "{name}: {key}");
        }
        let sections: Vec<_> = settings.iter().map(|(section, ..)| section.as_str()).collect();
        assert!(sections.iter().all(|section| ["Unit", "Service", "Install"].contains(section)), "{name}");
    }
}

#[test]
fn the_commands_of_the_units_are_commands() {
    for (name, text) in units() {
        let settings = settings(&text);
        for (_, key, command) in settings.iter().filter(|(_, key, _)| key.starts_with("Exec")) {
            let mut words = command.split(' ');
            assert_eq!(words.next(), Some("/usr/local/bin/seqcast"), "{name}: {key}");
            // Arguments that make no sense are told before the help.
            let output =
                Command::new(env!("CARGO_BIN_EXE_seqcast")).args(words).arg("--help").output().unwrap();
            assert!(
                output.status.success(),
                "{name}: {command}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn systemd_understands_the_units() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in units() {
        let text = text.replace("/usr/local/bin/seqcast", env!("CARGO_BIN_EXE_seqcast"));
        fs::write(dir.path().join(&name), text).unwrap();
    }
    let files = units().into_iter().map(|(name, _)| dir.path().join(name));
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg("--man=no").args(files).output()
    else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // What it says of other units of this machine is not ours to mend.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("seqcast-")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_manager_is_told_of_start_life_and_end() {
    let site = Site::new(1);
    let path = site.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(BOUND)).unwrap();
    let next = || {
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).expect("a word of the process");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let process = site
        .subscribe(&site.path("record"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .start();
    assert_eq!(next(), "READY=1");
    for _ in 0..5 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    process.terminate();
    let last = std::iter::repeat_with(next).find(|told| told != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}
