//! The `seqcast` command as users run it: real files, real processes, good and bad input.

#[allow(dead_code, reason = "each test binary uses its part")]
mod naive;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use naive::Checker;
use seqcast_wire::dump::Records;
use seqcast_wire::itch::{self, Message};
use serde_json::{Value, json};
use tempfile::TempDir;

fn seqcast(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seqcast")).args(args).output().expect("the binary runs")
}

fn exit_code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Standard output as JSON lines.
fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The only JSON document on standard output of a run that must succeed.
fn document(args: &[&str]) -> Value {
    let output = seqcast(args);
    assert_eq!(exit_code(&output), 0, "{args:?}: {}", stderr(&output));
    let [document] = lines(&output).try_into().unwrap();
    document
}

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn day(&self, name: &str, options: &[&str]) -> String {
        let path = self.path(name);
        let args = [&["gen", "--messages", "30000", "--symbols", "40", "--out", &path], options].concat();
        let output = seqcast(&args);
        assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
        path
    }
}

fn messages_of(day: &[u8]) -> Vec<&[u8]> {
    Records::new(day).map(Result::unwrap).collect()
}

/// The blocks of a little-endian pcapng file.
fn blocks(capture: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut blocks) = (capture, Vec::new());
    while let Some(length) = rest.get(4..8) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (block, after) = rest.split_at(length);
        blocks.push(block);
        rest = after;
    }
    assert!(rest.is_empty());
    blocks
}

#[test]
fn gen_says_what_it_wrote_and_stats_finds_the_same() {
    let scratch = Scratch::new();
    let path = scratch.path("day.itch");
    let args = ["gen", "-n", "20000", "--symbols", "30", "--seed", "5", "-o", &path, "--json"];
    let summary = document(&args);
    let day = fs::read(&path).unwrap();
    assert_eq!(summary["messages"], 20_000);
    assert_eq!(summary["bytes"], day.len());
    assert_eq!(summary["most_active"].as_array().unwrap().len(), 5);
    document(&args);
    assert_eq!(fs::read(&path).unwrap(), day, "the same seed gives the same bytes");

    let mut by_type = BTreeMap::new();
    for message in messages_of(&day) {
        *by_type.entry(char::from(message[0]).to_string()).or_insert(0) += 1;
    }
    let stats = document(&["stats", "--json", &path]);
    assert_eq!(stats["by_type"], json!(by_type));
    assert_eq!(stats["messages"], 20_000);
    assert_eq!((&stats["unknown"], &stats["malformed"]), (&json!(0), &json!(0)));
    assert!(stats["first_time"].as_str().unwrap().starts_with("03:05:00.0"));
    assert!(stats["last_time"].as_str().unwrap().starts_with("20:05:00.0"));
    assert_eq!(stats["files"][0]["format"], "BinaryFILE");
    let text = String::from_utf8(seqcast(&["stats", &path]).stdout).unwrap();
    assert!(text.contains("20,000") && text.contains("add order"), "{text}");
}

#[test]
fn a_generated_capture_is_the_same_day_as_one_feed() {
    let scratch = Scratch::new();
    let (itch, pcapng) = (scratch.day("day", &[]), scratch.day("day.pcapng", &["--format", "pcapng"]));
    let (file, capture) = (document(&["stats", "--json", &itch]), document(&["stats", "--json", &pcapng]));
    assert_eq!(file["by_type"], capture["by_type"]);
    assert_eq!(capture["not_mold"], 0);
    assert_eq!(capture["gaps"], json!([]));
    let session = &capture["sessions"][0];
    assert_eq!(session["session"], "SEQCAST001");
    assert_eq!((&session["first"], &session["next"]), (&json!(1), &json!(30_001)));
    assert_eq!((&session["messages"], &session["ended"]), (&json!(30_000), &json!(true)));
    assert_eq!(session["datagrams"], capture["datagrams"]);
    // Both hold the same books, message by message.
    let digest = |path: &str| document(&["book", "--digest", "--json", path]);
    assert_eq!(digest(&itch), digest(&pcapng));
    let total = document(&["stats", "--json", &itch, &pcapng]);
    assert_eq!(total["messages"], 60_000);
    assert_eq!(total["files"].as_array().unwrap().len(), 2);
}

#[test]
fn tshark_reads_a_generated_capture() {
    let scratch = Scratch::new();
    let pcapng = scratch.day("day.pcapng", &["--format", "pcapng", "--session", "TSHARK"]);
    let Some(fields) = tshark(Path::new(&pcapng), &["moldudp64.session", "moldudp64.count"]) else { return };
    let mut messages = 0;
    for line in fields.lines() {
        let (session, count) = line.split_once('\t').expect("MoldUDP64 in every packet");
        assert_eq!(session.trim_end(), "TSHARK");
        let count: u64 = count.parse().unwrap();
        messages += if count == 65_535 { 0 } else { count };
    }
    assert_eq!(messages, 30_000);
    let arguments = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y"];
    let bad = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0";
    let output = Command::new("tshark").args(["-r", &pcapng]).args(arguments).arg(bad).output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Fields of every packet, all UDP taken for MoldUDP64; `None` where there is no tshark.
fn tshark(capture: &Path, fields: &[&str]) -> Option<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-d", "udp.port==0-65535,moldudp64", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(_) => {
            eprintln!("skipped: no tshark here");
            None
        }
    }
}

#[test]
fn lost_datagrams_are_gaps_and_strict_minds_them() {
    let scratch = Scratch::new();
    let bytes = fs::read(scratch.day("day.pcapng", &["--format", "pcapng"])).unwrap();
    let all = blocks(&bytes);
    let holed: Vec<&[u8]> =
        all.iter().enumerate().filter(|&(at, _)| at != 12 && at != 40).map(|(_, &block)| block).collect();
    let holed = scratch.file("holed.pcapng", &holed.concat());
    let stats = document(&["stats", "--json", &holed]);
    let gaps = stats["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    let missing: u64 = gaps.iter().map(|gap| gap["messages"].as_u64().unwrap()).sum();
    assert_eq!(stats["messages"].as_u64().unwrap() + missing, 30_000);
    let strict = seqcast(&["stats", "--strict", &holed]);
    assert_eq!(exit_code(&strict), 1);
    assert!(String::from_utf8(strict.stdout).unwrap().contains("missing of session SEQCAST001"));
    let book = seqcast(&["book", "--digest", "--json", &holed]);
    assert_eq!(exit_code(&book), 0);
    assert!(stderr(&book).contains(&format!("{missing} messages are missing")), "{}", stderr(&book));
}

#[test]
fn duplicates_and_disorder_change_no_book() {
    let scratch = Scratch::new();
    let pcapng = scratch.day("day.pcapng", &["--format", "pcapng"]);
    let bytes = fs::read(&pcapng).unwrap();
    let mut all = blocks(&bytes);
    for at in (10..all.len() - 20).step_by(7) {
        all.swap(at, at + 3);
    }
    let mut twice = all.clone();
    twice.splice(5..5, all[2..200].iter().copied());
    let mixed = scratch.file("mixed.pcapng", &twice.concat());
    let digest = |path: &str| document(&["book", "--digest", "--json", path]);
    assert_eq!(digest(&pcapng), digest(&mixed));
    let stats = document(&["stats", "--json", &mixed]);
    assert_eq!((&stats["messages"], &stats["gaps"]), (&json!(30_000), &json!([])));
    assert!(stats["sessions"][0]["duplicates"].as_u64().unwrap() > 100);
}

#[test]
fn several_sessions_must_be_chosen_from() {
    let scratch = Scratch::new();
    let one = fs::read(scratch.day("a", &["--format", "pcapng", "--session", "ONE"])).unwrap();
    let two = scratch.day("b", &["--format", "pcapng", "--session", "TWO", "--seed", "2"]);
    let both = scratch.file("both.pcapng", &[one, fs::read(&two).unwrap()].concat());
    let refused = seqcast(&["book", "--digest", &both]);
    assert_eq!(exit_code(&refused), 3);
    assert!(stderr(&refused).contains("ONE, TWO"), "{}", stderr(&refused));
    let chosen = document(&["book", "--digest", "--json", &both, "--session", "TWO"]);
    assert_eq!(chosen, document(&["book", "--digest", "--json", &two]));
    let absent = seqcast(&["book", "--digest", &both, "--session", "THREE"]);
    assert_eq!(exit_code(&absent), 3);
    assert_eq!(document(&["stats", "--json", &both])["sessions"].as_array().unwrap().len(), 2);
}

#[test]
fn bad_files_are_told_and_nothing_panics() {
    let scratch = Scratch::new();
    let day = fs::read(scratch.day("day", &[])).unwrap();
    let capture = fs::read(scratch.day("capture", &["--format", "pcapng"])).unwrap();
    fs::create_dir(scratch.path("nothing")).unwrap();
    let noise: Vec<u8> =
        (0..50_000u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u8).collect();
    let cases = [
        (scratch.path("absent"), 3, "No such file"),
        (scratch.file("empty", b""), 3, "is empty"),
        (scratch.path("nothing"), 3, "director"),
        (scratch.file("torn", &day[..day.len() - 3]), 3, "ends within a message"),
        (scratch.file("torn.pcapng", &capture[..capture.len() - 3]), 3, "ends within packet"),
        (scratch.file("head.pcapng", &capture[..7]), 3, ""),
        (scratch.file("day.gz", &[0x1F, 0x8B, 8, 0, 0, 0]), 3, "unpack it first"),
        (scratch.file("noise", &noise), 3, "ends within a message"),
        (scratch.file("noise.pcapng", &[&capture[..200], noise.as_slice()].concat()), 3, ""),
        (scratch.file("noise.pcap", &[&[0xD4, 0xC3, 0xB2, 0xA1], noise.as_slice()].concat()), 3, ""),
        (scratch.file("byte", b"S"), 3, "ends within a message"),
    ];
    for (path, code, what) in &cases {
        for command in
            [&["stats", "--json"][..], &["stats"], &["book", "--digest"], &["book", "--symbol", "X"]]
        {
            let output = seqcast(&[command, &[path]].concat());
            assert_eq!(exit_code(&output), *code, "{command:?} {path}: {}", stderr(&output));
            assert!(stderr(&output).contains(what) || command[0] == "book", "{path}: {}", stderr(&output));
            assert!(!stderr(&output).is_empty(), "{command:?} {path}");
            assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
        }
    }
    // What was whole is counted all the same.
    let torn = seqcast(&["stats", "--json", &cases[3].0]);
    assert_eq!(lines(&torn)[0]["messages"], 29_999);
    assert!(lines(&torn)[0]["files"][0]["damage"].is_string());
    let torn = seqcast(&["stats", "--json", &cases[4].0]);
    assert_eq!(lines(&torn)[0]["messages"], 30_000, "only an end of session was cut off");
    // A directory stands for its files, and one that cannot be read does not hide the others.
    let all = seqcast(&["stats", "--json", &scratch.path("")]);
    assert_eq!(exit_code(&all), 3);
    assert!(lines(&all)[0]["messages"].as_u64().unwrap() > 100_000);
}

#[test]
fn a_record_of_length_zero_ends_a_file() {
    let scratch = Scratch::new();
    let mut day = fs::read(scratch.day("day", &[])).unwrap();
    day.extend([0, 0]);
    let closed = scratch.file("closed", &day);
    assert_eq!(document(&["stats", "--json", &closed])["messages"], 30_000);
    day.extend([0, 1, b'x']);
    let beyond = seqcast(&["stats", "--json", &scratch.file("beyond", &day)]);
    assert_eq!(exit_code(&beyond), 3);
    assert!(stderr(&beyond).contains("behind its end mark"), "{}", stderr(&beyond));
}

#[test]
fn strange_messages_are_counted_and_skipped() {
    let scratch = Scratch::new();
    let mut day = fs::read(scratch.day("day", &[])).unwrap();
    day.extend(b"\0\x04?abc\0\x05Dabcd");
    let strange = scratch.file("strange", &day);
    let stats = document(&["stats", "--json", &strange]);
    assert_eq!(
        (&stats["unknown"], &stats["malformed"], &stats["messages"]),
        (&json!(1), &json!(1), &json!(30_002))
    );
    assert_eq!(exit_code(&seqcast(&["stats", "--strict", &strange])), 1);
    let digest = document(&["book", "--digest", "--json", &strange]);
    assert_eq!((&digest["unknown_types"], &digest["malformed"]), (&json!(1), &json!(1)));
}

/// Every line of `--follow` against the simplest books, and every change of the book has its line.
#[test]
fn follow_prints_each_change_of_the_book() {
    let scratch = Scratch::new();
    let path = scratch.day("day", &["--seed", "9"]);
    let day = fs::read(&path).unwrap();
    let summary = document(&["gen", "--json", "-n", "30000", "--symbols", "40", "--seed", "9", "-o", &path]);
    let symbol = summary["most_active"][1].as_str().unwrap();
    let locate = locate_of(&day, symbol);
    let output = seqcast(&["book", &path, "--symbol", symbol, "--follow", "--json", "--depth", "3"]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let mut lines = lines(&output).into_iter();
    let mut checker = Checker::default();
    for (seq, message) in (1..).zip(messages_of(&day)) {
        checker.check(message);
        let of_book = b"AFECXDU".contains(&message[0]) && message[1..3] == locate.to_be_bytes();
        if of_book {
            let (bids, asks) = (checker.levels(locate, true, 3), checker.levels(locate, false, 3));
            assert_eq!(lines.next(), Some(json!({ "seq": seq, "bids": bids, "asks": asks })));
        }
    }
    assert_eq!(lines.next(), None);
}

fn locate_of(day: &[u8], symbol: &str) -> u16 {
    let named = |message: &&[u8]| match Message::parse(message) {
        Ok(Message::StockDirectory(m)) => m.stock.as_str() == Some(symbol),
        _ => false,
    };
    let message = messages_of(day).into_iter().find(named).unwrap();
    u16::from_be_bytes([message[1], message[2]])
}

#[test]
fn a_book_is_shown_at_a_message_at_a_time_and_at_the_end() {
    let scratch = Scratch::new();
    let path = scratch.day("day", &[]);
    let day = fs::read(&path).unwrap();
    let messages = messages_of(&day);
    let stock = messages.iter().find_map(|message| match Message::parse(message) {
        Ok(Message::AddOrder(m)) => Some(m.stock.to_string()),
        _ => None,
    });
    let symbol = stock.unwrap();
    let locate = locate_of(&day, &symbol);
    let ns = |message: &[u8]| Message::parse(message).unwrap().header().unwrap().timestamp.ns();
    let noon = 12 * 3_600_000_000_000;
    let by_noon = messages.iter().take_while(|message| ns(message) <= noon).count();
    let cases = [
        (vec!["--at-seq", "7000"], 7_000),
        (vec!["--at", "12:00:00"], by_noon),
        (vec!["--at", "23:59:59.999999999", "--depth", "0"], 30_000),
        (vec![], 30_000),
    ];
    for (options, count) in cases {
        let mut checker = Checker::default();
        messages[..count].iter().for_each(|message| checker.check(message));
        let shown = document(&[&["book", "--json", &path, "-s", &symbol], options.as_slice()].concat());
        let depth = if options.contains(&"--depth") { usize::MAX } else { 10 };
        assert_eq!(shown["seq"], count);
        assert_eq!(shown["bids"], json!(checker.levels(locate, true, depth)), "{options:?}");
        assert_eq!(shown["asks"], json!(checker.levels(locate, false, depth)), "{options:?}");
        assert_eq!((&shown["symbol"], &shown["locate"]), (&json!(symbol), &json!(locate)));
    }
    let text = seqcast(&["book", &path, "-s", &symbol]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("after message 30,000") && text.contains("bid levels"), "{text}");
    let digest = document(&["book", "--digest", "--json", &path, "--at-seq", "7000"]);
    assert_eq!(digest["messages"], 7_000);
    let late = seqcast(&["book", &path, "-s", &symbol, "--at-seq", "99999"]);
    assert_eq!(exit_code(&late), 0);
    assert!(stderr(&late).contains("there is no message 99999"), "{}", stderr(&late));
}

#[test]
fn an_unknown_symbol_is_told_with_near_ones() {
    let scratch = Scratch::new();
    let path = scratch.day("day", &[]);
    let day = fs::read(&path).unwrap();
    let stock = messages_of(&day).into_iter().find_map(|message| match Message::parse(message) {
        Ok(Message::StockDirectory(m)) => Some(m.stock.to_string()),
        _ => None,
    });
    let stock = stock.unwrap();
    let output = seqcast(&["book", &path, "--symbol", &format!("{stock}X")]);
    assert_eq!(exit_code(&output), 3);
    assert!(stderr(&output).contains("near: ") && stderr(&output).contains(&stock), "{}", stderr(&output));
    let early = seqcast(&["book", &path, "--symbol", &stock, "--at-seq", "1"]);
    assert!(stderr(&early).contains("names a symbol"), "{}", stderr(&early));
}

#[test]
fn a_command_line_without_sense_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.day("day", &[]);
    let out = scratch.path("out");
    let cases: &[&[&str]] = &[
        &[],
        &["unheard-of"],
        &["stats"],
        &["book", &path],
        &["book", &path, "--digest", "--symbol", "A"],
        &["book", &path, "--symbol", "A", "--at", "noon"],
        &["book", &path, "--symbol", "A", "--at", "12:00:00", "--follow"],
        &["book", &path, "--symbol", "ninecharsX"],
        &["gen", "--out", &out, "--messages", "79"],
        &["gen", "--out", &out, "--symbols", "0"],
        &["gen", "--out", &out, "--session", "elevenchars"],
        &["gen", "--messages", "1000"],
    ];
    for args in cases {
        let output = seqcast(args);
        assert_eq!(exit_code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    assert!(!Path::new(&out).exists(), "what is refused writes nothing");
    let help = seqcast(&["book", "--help"]);
    assert_eq!(exit_code(&help), 0);
    assert!(String::from_utf8(help.stdout).unwrap().contains("Exit codes:"));
    let unwritable = seqcast(&["gen", "--out", &scratch.path("no/such/directory")]);
    assert_eq!(exit_code(&unwritable), 3);
    assert!(stderr(&unwritable).contains("cannot write"));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let scratch = Scratch::new();
    let path = scratch.path("day");
    let summary = document(&["gen", "--json", "-n", "200000", "--symbols", "5", "-o", &path]);
    let symbol = summary["most_active"][0].as_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_seqcast"))
        .args(["book", &path, "--symbol", symbol, "--follow", "--json", "--depth", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(serde_json::from_str::<Value>(&first).is_ok());
    let mut talk = String::new();
    child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert_eq!((child.wait().unwrap().code(), talk.as_str()), (Some(0), ""));
}

/// Real data stands beside the project, or not at all.
fn real_data() -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let data = project.parent()?.join("shared/data");
    if !data.is_dir() {
        eprintln!("skipped: no {}", data.display());
        return None;
    }
    Some(data)
}

fn captures_in(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")).collect()
}

#[test]
fn the_start_of_a_published_day_file_is_counted() {
    let Some(data) = real_data() else { return };
    let file = data.join("nasdaq_first1000.itch50");
    let stats = document(&["stats", "--json", "--strict", file.to_str().unwrap()]);
    assert_eq!(stats["by_type"], json!({ "S": 1, "R": 993, "H": 3, "Y": 3 }));
    assert_eq!(stats["messages"], 1_000);
    let digest = document(&["book", "--digest", "--json", file.to_str().unwrap()]);
    assert_eq!(digest["symbols"].as_array().unwrap().len(), 993);
}

/// Counts by type of what tshark takes for message data. It takes scrubbed packets, to port 0, for no MoldUDP64, so
/// their payload is cut up here.
fn types_by_tshark(capture: &Path) -> Option<BTreeMap<String, u64>> {
    let fields = tshark(capture, &["moldudp64.msgdata", "udp.payload"])?;
    let mut types = BTreeMap::new();
    for line in fields.lines() {
        let (dissected, payload) = line.split_once('\t').unwrap();
        let mut messages: Vec<&str> = dissected.split(',').filter(|data| !data.is_empty()).collect();
        let mut rest = payload.get(40..).unwrap_or_default();
        while let Some(length) = rest.get(..4).filter(|_| dissected.is_empty()) {
            let (message, after) = rest[4..].split_at(2 * usize::from_str_radix(length, 16).unwrap());
            messages.push(message);
            rest = after;
        }
        for message in messages {
            let kind = u8::from_str_radix(&message[..2], 16).unwrap();
            if itch::length_of(kind) == Some(message.len() / 2) {
                *types.entry(char::from(kind).to_string()).or_insert(0) += 1;
            }
        }
    }
    Some(types)
}

#[test]
fn real_captures_are_counted_as_tshark_counts_them() {
    let Some(data) = real_data() else { return };
    for directory in ["nasdaq-totalview-itch50", "ise-order-combo-mold", "nasdaq-totalview-itch50-20230822"] {
        for capture in captures_in(&data.join(directory)) {
            let stats = document(&["stats", "--json", capture.to_str().unwrap()]);
            let Some(types) = types_by_tshark(&capture) else { return };
            assert_eq!(stats["by_type"], json!(types), "{}", capture.display());
            assert!(types.len() == 1 || !directory.ends_with("20230822"), "one type a file");
        }
    }
}

#[test]
fn another_payload_than_itch_is_counted_and_not_understood() {
    let Some(data) = real_data() else { return };
    let stats = document(&["stats", "--json", data.join("ise-order-combo-mold").to_str().unwrap()]);
    assert_eq!((&stats["messages"], &stats["by_type"]), (&json!(5), &json!({})));
    assert_eq!(stats["unknown"].as_u64().unwrap() + stats["malformed"].as_u64().unwrap(), 5);
    let session = &stats["sessions"][0];
    assert_eq!((&session["session"], &session["heartbeats"]), (&json!("000008367I"), &json!(1)));
}

#[test]
fn a_full_datagram_of_a_real_feed_makes_a_book() {
    let Some(data) = real_data() else { return };
    let capture = data.join("nasdaq-totalview-itch50/Multiple.Packets.pcap");
    let stats = document(&["stats", "--json", capture.to_str().unwrap()]);
    assert_eq!((&stats["messages"], &stats["datagrams"]), (&json!(39), &json!(2)));
    let shown = document(&["book", "--json", "--symbol", "META", capture.to_str().unwrap()]);
    let levels = |side: &str| shown[side].as_array().unwrap().len();
    assert!(levels("bids") + levels("asks") > 0, "{shown}");
}
