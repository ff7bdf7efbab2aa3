//! `seqcast journal`, run as users run it, on journals made by the engine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use seqcast_engine::frame::{self, Header, Kind};
use seqcast_engine::io::store::FileStore;
use seqcast_engine::journal::segment::HEADER_BYTES;
use seqcast_engine::journal::{AppendError, Journal, JournalConfig, MIN_SEGMENT_BYTES, Opened, close};
use seqcast_wire::dump::Records;
use seqcast_wire::{SeqNo, Session};
use serde_json::{Value, json};

const SESSION: &str = "JRNL";
const STAMP_NS: u64 = 1_704_171_600_000_000_000;

fn session(name: &str) -> Session {
    name.parse().unwrap()
}

fn open(dir: &Path) -> Opened {
    let config =
        JournalConfig { segment_bytes: MIN_SEGMENT_BYTES, ..JournalConfig::new(session(SESSION), 0xBEEF) };
    Journal::open(FileStore::open(dir).unwrap(), &config).unwrap()
}

fn append(opened: &mut Opened, kind: Kind, payload: &[u8]) {
    let chain = opened.journal.chain();
    let seq = chain.next().value();
    let header = Header {
        len: 0.into(),
        crc: 0.into(),
        seq: seq.into(),
        epoch: 3.into(),
        stamp_ns: (STAMP_NS + seq).into(),
        source_seq: (100 + seq).into(),
        previous_crc: chain.crc().into(),
        source: 2.into(),
        kind: kind as u8,
        version: 0,
        source_session: session("PUB1"),
        reserved: [0; 6],
    };
    let mut frame = vec![0; frame::framed_bytes(payload.len())];
    frame::seal(&mut frame, header, payload);
    if opened.journal.append(&frame) == Err(AppendError::NotReady) {
        opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
        opened.journal.append(&frame).unwrap();
    }
}

fn payload(nth: u64) -> Vec<u8> {
    vec![nth as u8; 1 + (nth * 37 % 500) as usize]
}

/// Appends `count` messages more, the first of them number `from`.
fn extend(opened: &mut Opened, from: u64, count: u64) {
    (from..from + count).for_each(|nth| append(opened, Kind::Message, &payload(nth)));
    opened.journal.publish();
}

fn shut(mut opened: Opened) {
    close(opened.journal, &mut opened.syncer, &mut opened.mark).unwrap();
}

/// A closed journal of `count` messages.
fn journal(dir: &Path, count: u64) {
    let mut opened = open(dir);
    extend(&mut opened, 1, count);
    shut(opened);
}

fn seqcast(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqcast"));
    command.arg("journal").arg(args[0]).arg(dir).args(&args[1..]);
    command
}

fn run(args: &[&str], dir: &Path) -> Output {
    seqcast(args, dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn good(args: &[&str], dir: &Path) -> String {
    let output = run(args, dir);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json_lines(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    found.sort();
    found
}

/// Where frame `seq` begins in the journal's first segment.
fn offset_of(seq: u64) -> usize {
    HEADER_BYTES + (1..seq).map(|nth| frame::framed_bytes(payload(nth).len())).sum::<usize>()
}

#[test]
fn a_whole_journal_is_told_in_full() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 1_000);
    let report: Value = serde_json::from_str(&good(&["verify", "--json"], dir.path())).unwrap();
    for (key, value) in [
        ("whole", json!(true)),
        ("session", json!(SESSION)),
        ("first", json!(1)),
        ("next", json!(1_001)),
        ("ended", json!(false)),
        ("epoch", json!(3)),
        ("incarnation", json!(0xBEEF)),
        ("torn", Value::Null),
        ("writer", Value::Null),
        ("sources", json!([{"index": 2, "session": "PUB1", "next": 1_101}])),
    ] {
        assert_eq!(report[key], value, "{key}");
    }
    let found = report["segments"].as_array().unwrap();
    assert!(found.len() > 2 && found.len() == segments(dir.path()).len());
    assert_eq!((&found[0]["first"], &found[0]["epoch"]), (&json!(1), &json!(0)));
    let second = found[1]["first"].as_u64().unwrap();
    assert!(second > 1 && found[1]["epoch"] == 3);
    let lines = good(&["verify"], dir.path());
    assert!(lines.contains("session JRNL: 1,000 messages from 1, 1001 comes next"), "{lines}");
    assert!(lines.contains("source 2: session PUB1, 1101 comes next"), "{lines}");
    assert!(lines.trim_end().ends_with("is whole"), "{lines}");
}

#[test]
fn damage_in_the_middle_is_shown_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 1_000);
    let first = &segments(dir.path())[0];
    let mut bytes = fs::read(first).unwrap();
    let offset = offset_of(50);
    bytes[offset + frame::HEADER_BYTES] ^= 1;
    fs::write(first, &bytes).unwrap();

    let output = run(&["verify", "--json"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["whole"], false);
    let damage = &report["damage"];
    assert_eq!((&damage["offset"], &damage["seq"]), (&json!(offset), &json!(50)));
    assert_eq!(damage["file"], first.display().to_string());
    assert!(damage["what"].as_str().unwrap().contains("CRC-32C"), "{damage}");

    for (args, lines) in
        [(&["dump"][..], 49), (&["dump", "--count", "10"], 10), (&["dump", "--count", "50"], 49)]
    {
        let output = run(args, dir.path());
        assert_eq!(text(&output.stdout).lines().count(), lines, "{args:?}: all before it");
        let stopped = lines == 49;
        assert_eq!(output.status.code(), Some(if stopped { 3 } else { 0 }), "{args:?}");
        assert_eq!(text(&output.stderr).contains("frame 50 is damaged"), stopped, "{args:?}");
    }
}

#[test]
fn a_torn_end_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    extend(&mut opened, 1, 20);
    drop(opened);
    let first = &segments(dir.path())[0];
    let mut bytes = fs::read(first).unwrap();
    bytes[offset_of(21)..][..100].fill(0x5A);
    fs::write(first, &bytes).unwrap();
    let report: Value = serde_json::from_str(&good(&["verify", "--json"], dir.path())).unwrap();
    assert_eq!((&report["whole"], &report["next"]), (&json!(true), &json!(21)));
    assert_eq!((&report["torn"]["seq"], &report["torn"]["offset"]), (&json!(21), &json!(offset_of(21))));
    assert!(good(&["verify"], dir.path()).contains("torn end of 100 bytes where frame 21 would be"));
    assert_eq!(good(&["dump"], dir.path()).lines().count(), 20);
}

#[test]
fn a_missing_segment_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 1_000);
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    let output = run(&["verify"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let lines = text(&output.stdout);
    assert!(lines.contains("damaged: ") && lines.contains("missing"), "{lines}");
}

#[test]
fn where_there_is_no_journal_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    for command in ["verify", "dump", "tail"] {
        let output = run(&[command], &nowhere);
        assert_eq!(output.status.code(), Some(3), "{command}");
        assert!(text(&output.stderr).contains("not there"), "{}", text(&output.stderr));
        let output = run(&[command], dir.path());
        assert_eq!(output.status.code(), Some(3), "{command}");
        assert!(text(&output.stderr).contains("holds no journal"), "{}", text(&output.stderr));
    }
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(run(&["verify"], &file).status.code(), Some(3));
    assert_eq!(run(&["dump", "--from", "0"], dir.path()).status.code(), Some(2));
}

#[test]
fn frames_are_printed_from_where_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    append(&mut opened, Kind::Message, b"S\0\0\0\0\0\x1f\x1a\xce\xd8\x53O");
    append(&mut opened, Kind::Message, b"\x01\x02");
    append(&mut opened, Kind::Message, b"");
    append(&mut opened, Kind::End, b"");
    opened.journal.publish();
    shut(opened);
    let frames = json_lines(&good(&["dump", "--json"], dir.path()));
    let first = json!({
        "seq": 1, "kind": "message", "epoch": 3, "stamp_ns": STAMP_NS + 1, "source": 2, "source_session": "PUB1",
        "source_seq": 101, "bytes": 12,
        "payload": {"type": "S", "time": "00:02:13.593749587", "locate": 0, "tracking": 0, "event": "O"},
    });
    assert_eq!(frames[0], first);
    assert_eq!(frames[1]["payload"], json!({"hex": "0102"}));
    assert_eq!(frames[3], json!({"seq": 4, "kind": "end", "epoch": 3, "stamp_ns": STAMP_NS + 4}));
    let lines = good(&["dump", "--from", "2", "--count", "1", "--payload", "hex"], dir.path());
    assert_eq!(lines, "2 message epoch 3 at 1704171600.000000002 source 2 PUB1 102 2 bytes: 0102\n");
    let lines = good(&["dump", "--from", "3", "--payload", "none"], dir.path());
    assert!(lines.ends_with("3 message epoch 3 at 1704171600.000000003 source 2 PUB1 103 0 bytes\n4 end epoch 3 at 1704171600.000000004\n"), "{lines}");
    let output = run(&["dump", "--from", "9"], dir.path());
    assert!(output.stdout.is_empty() && output.status.success());
    assert!(text(&output.stderr).contains("ends before frame 9"), "{}", text(&output.stderr));
}

#[test]
fn messages_are_exported_to_a_day_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.itch");
    let out = out.to_str().unwrap();
    let journaled = dir.path().join("journal");
    let mut opened = open(&journaled);
    extend(&mut opened, 1, 300);
    append(&mut opened, Kind::End, b"");
    opened.journal.publish();
    shut(opened);
    let report: Value = serde_json::from_str(&good(&["export", "--json", "--out", out], &journaled)).unwrap();
    assert_eq!(
        (&report["messages"], &report["first"], &report["ended"]),
        (&json!(300), &json!(1), &json!(true))
    );
    let bytes = fs::read(out).unwrap();
    assert_eq!(report["bytes"], bytes.len());
    let mut records = Records::new(&bytes);
    let messages: Vec<_> = records.by_ref().map(|record| record.unwrap().to_vec()).collect();
    assert_eq!(messages, (1..=300).map(payload).collect::<Vec<_>>());
    assert!(records.is_closed());
    good(&["export", "--out", out, "--from", "299", "--count", "1"], &journaled);
    assert_eq!(fs::read(out).unwrap()[2..], payload(299));
    let output = run(&["export", "--out", dir.path().to_str().unwrap()], &journaled);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("cannot write"), "{}", text(&output.stderr));
}

#[test]
fn an_empty_message_cannot_be_exported_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.itch");
    let journaled = dir.path().join("journal");
    let mut opened = open(&journaled);
    [&b"a"[..], b"", b"b"].iter().for_each(|payload| append(&mut opened, Kind::Message, payload));
    opened.journal.publish();
    shut(opened);
    let output = run(&["export", "--out", out.to_str().unwrap()], &journaled);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("1 empty messages were left out"), "{}", text(&output.stderr));
    assert_eq!(fs::read(&out).unwrap(), b"\0\x01a\0\x01b");
}

/// Another process writes while we read, and neither minds.
#[test]
fn a_live_journal_is_followed_over_its_segments_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    extend(&mut opened, 1, 10);
    let start = |args: &[&str]| seqcast(args, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let all = start(&["tail", "--from", "1", "--json", "--payload", "none"]);
    let some = start(&["tail", "--from", "5", "--count", "400", "--json"]);
    let report: Value = serde_json::from_str(&good(&["verify", "--json"], dir.path())).unwrap();
    assert_eq!((&report["whole"], &report["next"]), (&json!(true), &json!(11)));
    assert!(report["writer"].as_str().unwrap().contains(&std::process::id().to_string()), "{report}");
    extend(&mut opened, 11, 600);
    let seqs = |lines: &str| -> Vec<u64> {
        json_lines(lines).iter().map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    let some = some.wait_with_output().unwrap();
    assert!(some.status.success());
    assert_eq!(seqs(&text(&some.stdout)), (5..405).collect::<Vec<_>>());
    append(&mut opened, Kind::End, b"");
    opened.journal.publish();
    let all = all.wait_with_output().unwrap();
    assert!(all.status.success());
    assert_eq!(seqs(&text(&all.stdout)), (1..=611).collect::<Vec<_>>());
    assert!(segments(dir.path()).len() > 2);
    shut(opened);
    assert_eq!(good(&["dump"], dir.path()).lines().count(), 611);
    let last = json_lines(&good(&["tail", "--json"], dir.path()));
    assert_eq!((last.len(), &last[0]["kind"]), (1, &json!("end")), "nothing more will come");
}

#[test]
fn frames_that_retention_removed_are_told() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 1_000);
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let report: Value = serde_json::from_str(&good(&["verify", "--json"], dir.path())).unwrap();
    let oldest = report["first"].as_u64().unwrap();
    assert!(oldest > 1);
    let output = run(&["dump", "--json", "--payload", "none", "--count", "2"], dir.path());
    assert!(output.status.success());
    assert_eq!(json_lines(&text(&output.stdout))[0]["seq"], oldest);
    let said = text(&output.stderr);
    assert!(said.contains(&format!("frames 1 to {} were removed by retention", oldest - 1)), "{said}");
}

fn cut(opened: &mut Opened, to: u64) {
    opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX).unwrap();
    opened.journal.cut_back(SeqNo::new(to).unwrap()).unwrap();
}

#[test]
fn what_was_cut_off_is_told_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.itch");
    let journaled = dir.path().join("journal");
    let mut opened = open(&journaled);
    extend(&mut opened, 1, 400);
    cut(&mut opened, 51);
    (51..=60).for_each(|nth| append(&mut opened, Kind::Message, &payload(1000 + nth)));
    opened.journal.publish();
    shut(opened);
    let report: Value = serde_json::from_str(&good(&["verify", "--json"], &journaled)).unwrap();
    assert_eq!((&report["whole"], &report["next"]), (&json!(true), &json!(61)));
    assert_eq!((&report["superseded"], &report["lost_cut"]), (&json!(350), &Value::Null));
    let last = report["segments"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["first"], &last["cut_from"]), (&json!(51), &json!(401)));
    assert_eq!(report["segments"][0]["cut_from"], Value::Null);
    let lines = good(&["verify"], &journaled);
    assert!(
        lines.contains("350 messages were cut off") && lines.contains("from frame 51 (a cut)"),
        "{lines}"
    );
    let seqs: Vec<_> = json_lines(&good(&["dump", "--json", "--payload", "none"], &journaled))
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
    good(&["export", "--out", out.to_str().unwrap()], &journaled);
    let bytes = fs::read(&out).unwrap();
    let messages: Vec<_> = Records::new(&bytes).map(|record| record.unwrap().to_vec()).collect();
    let expected: Vec<_> = (1..=50).chain(1051..=1060).map(payload).collect();
    assert_eq!(messages, expected);
}

#[test]
fn what_was_printed_and_then_cut_off_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    extend(&mut opened, 1, 100);
    let mut tail = seqcast(&["tail", "--from", "1", "--json", "--payload", "none"], dir.path());
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut printed: Vec<String> = lines.by_ref().take(100).map(Result::unwrap).collect();
    cut(&mut opened, 51);
    extend(&mut opened, 51, 10);
    append(&mut opened, Kind::End, b"");
    opened.journal.publish();
    printed.extend(lines.map(Result::unwrap));
    let output = tail.wait_with_output().unwrap();
    assert!(output.status.success());
    let seqs: Vec<_> =
        json_lines(&printed.join("\n")).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=100).chain(51..=61).collect::<Vec<_>>());
    let said = text(&output.stderr);
    assert!(said.contains("cuts off what was read from frame 51 on, before frame 101"), "{said}");
}
