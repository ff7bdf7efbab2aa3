//! `seqcast bench` as users run it: every benchmark to its end, with everything accounted for. No figure is judged.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

/// Tiny, and gentle to those who test beside it.
const SMALL: [&str; 10] =
    ["--repeat", "2", "--seconds", "0.2", "--warm-up", "0.05", "--host-check", "0.01", "--idle", "backoff"];

fn seqcast(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seqcast")).args(args).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The result of a benchmark, which must be complete.
fn result(bench: &[&str]) -> Value {
    let output = seqcast(&[&["--json", "bench"], &SMALL[..], bench].concat());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let notices = &result["notices"];
    assert_eq!(output.status.code(), Some(0), "{bench:?}: {}{notices:#}", stderr(&output));
    assert_eq!(result["is_complete"], true);
    assert!(stderr(&output).contains("repeat 2 of 2"), "progress is told: {}", stderr(&output));
    result
}

fn names(result: &Value) -> Vec<&str> {
    let variants = result["variants"].as_array().unwrap();
    variants.iter().map(|variant| variant["name"].as_str().unwrap()).collect()
}

/// The values of a figure, one a repeat.
fn values(result: &Value, variant: usize, figure: &str) -> Vec<f64> {
    let figures = result["variants"][variant]["figures"].as_array().unwrap();
    let found = figures.iter().find(|found| found["name"] == figure);
    let found = found.unwrap_or_else(|| panic!("{figure} is not among {figures:#?}"));
    let values: Vec<f64> = found["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(found["low"].as_f64() <= found["median"].as_f64());
    assert!(found["median"].as_f64() <= found["high"].as_f64());
    values
}

/// How much each variant sent, and that it received as much.
fn accounted(result: &Value) -> Vec<u64> {
    let variants = result["variants"].as_array().unwrap();
    let counts = variants.iter().map(|variant| &variant["counts"]);
    counts
        .map(|counts| {
            assert_eq!(counts["sent"], counts["received"], "{counts}");
            counts["sent"].as_u64().unwrap()
        })
        .collect()
}

#[test]
fn the_host_is_measured() {
    let result = result(&["host"]);
    assert_eq!(names(&result)[0], "1 thread");
    let reading = values(&result, 0, "reading of the clock");
    assert!(reading.len() == 2 && reading.iter().all(|ns| *ns > 0.0), "{reading:?}");
    assert!(result["fingerprint"]["host"]["cores"].is_string());
}

#[test]
fn datagrams_come_back() {
    let result = result(&["ping", "--rate", "2000", "--driver", "auto,udp,auto", "--bytes", "100"]);
    assert_eq!(
        names(&result),
        [
            "raw sockets, unicast",
            "raw sockets, multicast",
            "driver auto, unicast",
            "driver auto, multicast",
            "driver udp, unicast",
            "driver udp, multicast"
        ]
    );
    assert_eq!(accounted(&result), [800; 6], "0.2 s at 2,000 a second, twice");
    for variant in 0..6 {
        assert_eq!(values(&result, variant, "round trip: p50").len(), 2);
    }
    assert_eq!(result["ratios"].as_array().unwrap().len(), 4);
}

#[test]
fn the_whole_path_is_measured_with_and_without_standbys() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let journals = dir.path().join("journals");
    let (out, journals) = (out.to_str().unwrap(), journals.to_str().unwrap());
    let result = result(&["pipe", "--rate", "5000", "--standbys", "0,1,2", "--out", out, "--dir", journals]);
    let named = [
        "raw datagram, unicast, 5,000/s",
        "raw datagram, multicast, 5,000/s",
        "no standby, 5,000/s",
        "1 standby, 5,000/s",
        "2 standbys, 5,000/s",
    ];
    assert_eq!(names(&result), named);
    assert_eq!(accounted(&result), [2_000; 5]);
    for variant in 2..5 {
        for stage in [
            "publisher: due → handed to the driver",
            "→ numbered by the sequencer",
            "→ journaled, committed, published",
            "→ received in order",
            "→ applied to the book",
            "all: due → in the book",
        ] {
            assert_eq!(values(&result, variant, &format!("{stage}: p99")).len(), 2, "{stage}");
        }
    }
    let ratios: Vec<&str> =
        result["ratios"].as_array().unwrap().iter().map(|ratio| ratio["name"].as_str().unwrap()).collect();
    for ratio in ["1 standby, 5,000/s: cost of safety", "2 standbys, 5,000/s: cost of safety"] {
        assert!(ratios.iter().any(|name| name.starts_with(ratio)), "{ratios:?}");
    }
    assert_eq!(fs::read_dir(journals).unwrap().count(), 0, "nothing is left behind");
    check_files(Path::new(out), &result);
    compared(&Path::new(out).join("pipe.json"));
}

#[test]
fn standbys_can_be_behind_a_wire_and_past_the_kernel() {
    let pipe = |between| ["pipe", "--rate", "2000", "--standbys", "0,2", "--between", between];
    let tried = seqcast(&[&["bench"], &SMALL[..], &pipe("veth")].concat());
    if stderr(&tried).contains("no wire can be made") {
        eprintln!("skipped: this process may not make network namespaces");
        return;
    }
    for between in ["veth", "xdp"] {
        let result = result(&pipe(between));
        assert_eq!(names(&result)[2], "raw datagram, over the wire, 2,000/s");
        assert_eq!(accounted(&result), [800; 5], "{between}");
        let ratios = result["ratios"].as_array().unwrap();
        let cost = "2 standbys, 2,000/s: cost of safety / raw round trip over the wire, p50";
        assert!(ratios.iter().any(|ratio| ratio["name"] == cost), "{ratios:?}");
    }
}

/// The files of a result of `pipe` read back, and hold what standard output said.
fn check_files(out: &Path, result: &Value) {
    let json: Value = serde_json::from_slice(&fs::read(out.join("pipe.json")).unwrap()).unwrap();
    assert_eq!(&json, result);
    let page = fs::read_to_string(out.join("pipe.html")).unwrap();
    assert!(page.ends_with("</html>\n") && page.matches("<svg ").count() == 7, "a plot for each series");
    let log = fs::read(out.join("pipe.hlog")).unwrap();
    let entries = IntervalLogIterator::new(&log).map(|entry| entry.expect("a good line"));
    let intervals = entries.filter(|entry| matches!(entry, LogEntry::Interval(_))).count();
    assert_eq!(intervals, (2 + 3 * 6) * 2, "one for each series and repeat");
    let hgrm = fs::read_to_string(out.join("pipe-1-standby-5000-s-all-due-in-the-book.hgrm")).unwrap();
    let counted = hgrm.lines().find(|line| line.contains("Total count")).unwrap();
    let counted: u64 = counted.rsplit('=').next().unwrap().trim_matches([' ', ']']).parse().unwrap();
    assert_eq!(counted, 2 * (1_000 - 250), "all but those of the warming up");
}

/// A result compares with itself, and a limit is kept.
fn compared(path: &Path) {
    let path = path.to_str().unwrap();
    let output = seqcast(&["--json", "bench", "compare", path, path, "--limit", "1.01"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["rows"].as_array().unwrap().len() > 50);
    let text = seqcast(&["bench", "compare", path, path]);
    assert!(String::from_utf8(text.stdout).unwrap().contains("no difference shown"));
}

#[test]
fn bursts_are_in_the_book_to_the_last_message() {
    let result = result(&["burst", "--size", "16,500", "--every", "20"]);
    assert_eq!(names(&result), ["16 messages", "500 messages"]);
    assert_eq!(accounted(&result), [16 * 10 * 2, 500 * 10 * 2]);
    let last = values(&result, 1, "burst due → its last message in the book: p50");
    assert!(last.iter().all(|ns| *ns > 0.0), "{last:?}");
}

#[test]
fn what_is_lost_comes_after_all() {
    let result = result(&["loss", "--rate", "5000", "--loss", "0,0.3", "--lines", "1,2"]);
    let named = ["1 line, 0 % lost", "1 line, 30 % lost", "2 lines, 0 % lost", "2 lines, 30 % lost"];
    assert_eq!(names(&result), named);
    assert_eq!(accounted(&result), [2_000; 4]);
    let counts = &result["variants"][1]["counts"];
    assert!(counts["holes on lines"].as_u64().unwrap() > 0, "{counts}");
    assert!(counts["filled by rewind"].as_u64().unwrap() > 0, "one line has nobody else to ask: {counts}");
    assert!(!result["ratios"].as_array().unwrap().is_empty());
}

#[test]
fn the_highest_rate_is_searched_for() {
    // Nothing is asked of this machine that a busy one could not do: a second of backlog is allowed.
    let result = result(&["load", "--from", "500", "--to", "2000", "--backlog", "10000"]);
    assert_eq!(names(&result), ["no standby"]);
    let rates = values(&result, 0, "sustained rate");
    assert!(rates.iter().all(|rate| (500.0..=2_000.0).contains(rate)), "{rates:?}");
    accounted(&result);
}

#[test]
fn every_subscriber_gets_everything() {
    let result = result(&["fanout", "--subscribers", "1,6", "--rate", "500"]);
    assert_eq!(names(&result), ["1 subscriber", "6 subscribers"]);
    assert_eq!(accounted(&result), [200, 1_200]);
    assert_eq!(values(&result, 1, "p50 of the slowest subscriber").len(), 2);
}

#[test]
fn rings_and_books_are_measured() {
    let ring = result(&["ring"]);
    assert_eq!(names(&ring).len(), 13);
    assert!(values(&ring, 0, "cost of a message").iter().all(|ns| *ns > 0.0));
    assert_eq!(ring["ratios"].as_array().unwrap().len(), 10);
    let book = result(&["book", "--messages", "20000", "--symbols", "50"]);
    assert_eq!(names(&book).len(), 12);
    assert_eq!(accounted(&book), [40_000; 12]);
    assert!(values(&book, 2, "cost of a message").iter().all(|ns| *ns > 0.0));
}

/// Tiny points of all curves, and how many there are of each.
const TINY: [&str; 16] = [
    "growth",
    "--quick",
    "--rate",
    "1000,2000",
    "--symbols",
    "5,50",
    "--orders",
    "1000,100",
    "--sources",
    "1,3",
    "--subscribers",
    "1,2",
    "--journal",
    "2000,5000",
    "--set",
    "journal.segment_bytes=1MiB",
];

#[test]
fn growth_has_a_table_a_plot_and_a_verdict_for_every_curve() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let journals = dir.path().join("journals");
    let places = ["--out", out.to_str().unwrap(), "--dir", journals.to_str().unwrap()];
    let result = result(&[&TINY[..], &places].concat());
    assert_eq!(names(&result).len(), 12);
    accounted(&result);
    let curves = result["curves"].as_array().unwrap();
    let told: Vec<(&str, Vec<u64>)> = curves
        .iter()
        .map(|curve| {
            let points = curve["points"].as_array().unwrap().iter();
            (curve["name"].as_str().unwrap(), points.map(|point| point["at"].as_u64().unwrap()).collect())
        })
        .collect();
    let wanted = [
        ("rate", vec![1_000, 2_000]),
        ("symbols", vec![5, 50]),
        ("orders", vec![100, 1_000]),
        ("sources", vec![1, 3]),
        ("subscribers", vec![1, 2]),
        ("journal", vec![2_000, 5_000]),
    ];
    assert_eq!(told, wanted, "from the smallest");
    for curve in curves {
        let costs = curve["costs"].as_array().unwrap();
        assert!(costs.iter().any(|cost| cost["is_ranked"] == true), "{curve}");
        for cost in costs {
            assert!(cost["rise"]["times"]["median"].as_f64().unwrap() > 0.0, "{cost}");
            for point in curve["points"].as_array().unwrap() {
                let at = names(&result).iter().position(|name| point["variant"] == **name).unwrap();
                let values = values(&result, at, cost["figure"].as_str().unwrap());
                assert!(values.len() == 2 && values.iter().all(|ns| *ns > 0.0), "{cost}: {values:?}");
            }
        }
    }
    assert_eq!(fs::read_dir(&journals).unwrap().count(), 0, "nothing is left behind");
    let json: Value = serde_json::from_slice(&fs::read(out.join("growth.json")).unwrap()).unwrap();
    assert_eq!(json, result);
    let page = fs::read_to_string(out.join("growth.html")).unwrap();
    // One a curve, and percentiles for the four that have histograms.
    assert!(page.ends_with("</html>\n") && page.matches("<svg ").count() == 6 + 4);
    assert!(page.contains("What bends first"));
    for series in ["sources-3-all-due-in-the-book", "journal-5000-request-at-a-random-place-answer"] {
        assert!(out.join(format!("growth-{series}.hgrm")).exists(), "{series}");
    }
    assert!(out.join("growth.hlog").exists());
}

#[test]
fn one_curve_is_told_in_a_table() {
    let args = [&["bench"], &SMALL[..], &["growth", "--curve", "orders", "--orders", "300,200"]].concat();
    let output = seqcast(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("growth: 2 points, 2 repeats: about"), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = |start: &str| text.lines().filter(|line| line.trim_start().starts_with(start)).count();
    assert_eq!((rows("200 "), rows("300 ")), (1, 1), "{text}");
    assert!(text.contains("what bends first"), "{text}");
    assert_eq!(rows("orders "), 2, "both flows are ranked: {text}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    for (args, told) in [
        (&["ping", "--bytes", "7"][..], "must be 8 to 1400"),
        (&["pipe", "--standbys", "99"], "at most"),
        (&["pipe", "--rate", "0"], "--rate"),
        (&["pipe", "--between", "string"], "give `loopback`, `veth` or `xdp`"),
        (&["pipe", "--warm-up", "2", "--seconds", "1"], "leaves nothing"),
        (&["pipe", "--seconds", "nan"], "--seconds"),
        (&["host", "--cores", "100000"], "core 100000"),
        (&["host", "--repeat", "0"], "--repeat"),
        (&["host", "--set", "io.drivers=udp"], "io.drivers"),
        (&["loss", "--loss", "0.95"], "--loss names 0.95"),
        (&["load", "--from", "2", "--to", "1"], "nothing to search"),
        (&["fanout", "--subscribers", "0"], "1 to 64"),
        (&["book", "--messages", "10"], "stocks need a day"),
        (&["growth", "--symbols", "70000"], "--symbols names 70000, and must be 1 to 65535"),
        (&["growth", "--sources", "65"], "1 to 64"),
        (&["growth", "--curve", "rate", "--orders", "5"], "--orders names points of a curve"),
        (&["growth", "--curve", "none"], "none"),
        (&["compare", "a", "b", "--limit", "0.5"], "--limit is 0.5"),
    ] {
        let output = seqcast(&[&["bench"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let missing = seqcast(&["bench", "compare", "/nowhere/a.json", "/nowhere/b.json"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(stderr(&missing).contains("/nowhere/a.json"), "{}", stderr(&missing));
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let other = seqcast(&["bench", "compare", other, other]);
    assert!(stderr(&other).contains("is no result of `seqcast bench`"), "{}", stderr(&other));
}
