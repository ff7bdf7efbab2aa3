//! What we send, opened by an independent judge (tshark), and what others sent, counted by both.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;

/// tshark's number for a warning; graver ones are higher.
const WARNING: u64 = 0x0060_0000;

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: no {tool}");
    }
    found
}

/// Rows of `fields`, a packet each. `decode` says which ports are what, such as `udp.port==1,moldudp64`.
fn tshark(capture: &Path, decode: &[String], filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields"]);
    decode.iter().for_each(|decode| {
        command.args(["-d", decode]);
    });
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.output().expect("running tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn numbers(field: &str) -> impl Iterator<Item = u64> {
    field.split(',').filter(|number| !number.is_empty()).map(|number| {
        let hex = number.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
        hex.unwrap_or_else(|| number.parse()).unwrap_or_else(|_| panic!("{number:?} is no number"))
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// What the judge saw in a capture of one feed.
#[derive(Debug, Default)]
struct Seen {
    messages: BTreeMap<u64, Vec<u8>>,
    data: u64,
    replies: u64,
    requests: u64,
    requested: u64,
    heartbeats: u64,
    ends: u64,
}

/// Judges every datagram of `capture`: all are well-formed MoldUDP64 of `session`.
fn judge(capture: &Path, session: &str, lines: &[u16], rewind: u16) -> Seen {
    let decode: Vec<_> =
        lines.iter().chain([&rewind]).map(|port| format!("udp.port=={port},moldudp64")).collect();
    let fields = [
        "udp.srcport",
        "udp.dstport",
        "frame.protocols",
        "moldudp64.session",
        "moldudp64.count",
        "moldudp64.msgseq",
        "moldudp64.msgdata",
        "_ws.expert.severity",
        "_ws.malformed",
    ];
    let mut seen = Seen::default();
    for row in tshark(capture, &decode, "udp", &fields) {
        let [from, to, protocols, of, count, seqs, data, severity, malformed] = &row[..] else {
            panic!("{row:?}")
        };
        assert!(protocols.ends_with("udp:moldudp64"), "{row:?}");
        assert_eq!(of.trim_end(), session, "{row:?}");
        assert_eq!(malformed, "", "{row:?}");
        assert!(numbers(severity).all(|severity| severity < WARNING), "{row:?}");
        let (from, to): (u16, u16) = (from.parse().expect("a port"), to.parse().expect("a port"));
        if to == rewind {
            seen.requests += 1;
            seen.requested += numbers(count).sum::<u64>();
            continue;
        }
        match count.as_str() {
            "0" => seen.heartbeats += 1,
            "65535" => seen.ends += 1,
            _ if from == rewind => seen.replies += 1,
            _ => {
                assert!(lines.contains(&to), "{row:?}");
                seen.data += 1;
            }
        }
        for (seq, data) in numbers(seqs).zip(data.split(',')) {
            let (data, known) = (bytes(data), seen.messages.get(&seq));
            assert!(known.is_none_or(|known| *known == data), "message {seq} came with two contents");
            seen.messages.insert(seq, data);
        }
    }
    seen
}

#[test]
fn every_datagram_of_ours_is_moldudp64_to_tshark() {
    if !has("tshark") {
        return;
    }
    const MESSAGES: u64 = 1_200;
    let mut site = Site::new(1);
    // Acknowledgements are our own format: here a publisher without them.
    site.sources[0].acknowledge = false;
    let day = site.day(MESSAGES);
    let record = site.path("record.itch");
    let (source_tap, feed_tap) = (site.path("source.pcapng"), site.path("feed.pcapng"));
    // The second line of each loses nothing that the first does, and so every hole would be filled from there: one
    // line only.
    site.sources[0].lines.truncate(1);
    site.feed.truncate(1);
    let sequencer = site.sequence().arg("--loss=0.05").arg("--tap").arg(&source_tap).start();
    let subscriber = site.subscribe(&record).arg("--loss=0.05").arg("--tap").arg(&feed_tap).start();
    // Slow enough for heartbeats between messages.
    let publisher = site.publish(0, &day).arg("--rate=200").start();
    subscriber.good();
    sequencer.terminate();
    publisher.terminate();

    let ports = |lines: &[std::net::SocketAddrV4]| lines.iter().map(|line| line.port()).collect::<Vec<_>>();
    let input = messages(&day);
    let source = &site.sources[0];
    for (capture, session, lines, rewind) in [
        (&source_tap, source.session.as_str(), ports(&source.lines), source.rewind.port()),
        (&feed_tap, FEED, ports(&site.feed), site.rewind.port()),
    ] {
        let seen = judge(capture, session, &lines, rewind);
        let what = capture.display();
        let Seen { data, heartbeats, ends, .. } = seen;
        assert!(data > 0 && heartbeats > 0 && ends > 0, "{what}: {data} {heartbeats} {ends}");
        assert!(seen.requests > 0 && seen.replies > 0, "{what}: no hole was filled");
        assert!(seen.requested >= seen.requests, "{what}: a request asks for at least one message");
        assert_eq!(
            seen.messages.keys().copied().collect::<BTreeSet<_>>(),
            (1..=MESSAGES).collect(),
            "{what}"
        );
        assert_same(&seen.messages.into_values().collect::<Vec<_>>(), &input, &what.to_string());
    }
}

#[test]
fn a_snapshot_is_soupbintcp_to_tshark() {
    if !has("tshark") || !has("dumpcap") {
        return;
    }
    let site = Site::new(1);
    let (day, capture) = (site.day(10_000), site.path("snapshot.pcapng"));
    let (early_file, late_file) = (site.path("early.itch"), site.path("late.itch"));
    let port = site.snapshot.port();
    let mut dumpcap = Seqcast::program("dumpcap")
        .args(["-q", "-i", "lo", "-B", "16", "-f", &format!("tcp port {port}"), "-w"])
        .arg(&capture)
        .start();
    wait_for("dumpcap to begin", || dumpcap.said().contains("File:") || !dumpcap.is_running());
    if !dumpcap.is_running() {
        eprintln!("skipped: dumpcap may not capture: {}", dumpcap.said());
        return;
    }
    let sequencer = site.sequence().start();
    let early = site.subscribe(&early_file).start();
    let publisher = site.publish(0, &day).arg("--rate=5000").start();
    wait_for_bytes(&early_file, size(&day) / 3);
    let late = site.subscribe(&late_file).arg("--start=snapshot").start();
    let summary = late.good().json();
    early.good();
    sequencer.terminate();
    publisher.terminate();
    assert_eq!(summary["snapshots"], 1);
    assert_eq!(digest_in(&summary), digest(&day));
    dumpcap.terminate();

    let decode = [format!("tcp.port=={port},soupbintcp")];
    let bad = "_ws.malformed || soupbintcp.req_seq_num.invalid || soupbintcp.next_seq_num.invalid";
    assert_eq!(tshark(&capture, &decode, bad, &["frame.number"]), Vec::<Vec<String>>::new());
    let rows = tshark(&capture, &decode, "soupbintcp", &["tcp.dstport", "soupbintcp.packet_type"]);
    let types = |of_client: bool| -> String {
        let to = |row: &&Vec<String>| (row[0] == port.to_string()) == of_client;
        rows.iter().filter(to).flat_map(|row| row[1].chars()).filter(char::is_ascii_uppercase).collect()
    };
    let (client, server) = (types(true), types(false));
    let (first, rest) = client.split_at(1);
    assert_eq!(first, "L", "a client logs in: {client}");
    assert!(rest.chars().all(|kind| "RO".contains(kind)), "and says no more than that it lives: {client}");
    let (first, rest) = server.split_at(1);
    assert_eq!(first, "A", "the server accepts");
    assert!(rest.contains('S') && rest.chars().all(|kind| "SHZ".contains(kind)), "{server}");
}

/// Captures of Nasdaq's feed, if there are any.
fn nasdaq_captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project's root");
    let mut captures = Vec::new();
    for up in ["..", "../.."] {
        for of in ["nasdaq-totalview-itch50", "nasdaq-totalview-itch50-20230822"] {
            let Ok(entries) = std::fs::read_dir(root.join(up).join("shared/data").join(of)) else { continue };
            captures.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        if !captures.is_empty() {
            break;
        }
    }
    captures.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    captures.sort();
    captures
}

/// Messages that a subscriber makes of one packet of a capture.
fn play(capture: &Path, packet: &str) -> u64 {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let cut = Command::new("editcap").arg("-r").args([capture, file.path()]).arg(packet).output();
    assert!(cut.is_ok_and(|output| output.status.success()), "editcap comes with tshark");
    let subscribe = Seqcast::new("subscribe").args(["--json", "--expected-orders=1000"]).set("stat.dir", "");
    let summary = subscribe.arg("--pcap").arg(file.path()).start().good().json();
    summary["messages"].as_u64().expect("a number")
}

#[test]
fn captures_of_nasdaq_are_counted_as_tshark_counts_them() {
    let captures = nasdaq_captures();
    if captures.is_empty() {
        eprintln!("skipped: no captures of Nasdaq's feed");
        return;
    }
    if !has("tshark") {
        return;
    }
    let dir = tempfile::TempDir::new().expect("a directory");
    let (all, records_file) = (dir.path().join("all.pcapng"), dir.path().join("blank.itch"));
    let merged = Command::new("mergecap").arg("-a").arg("-w").arg(&all).args(&captures).output();
    assert!(merged.is_ok_and(|output| output.status.success()), "mergecap comes with tshark");
    let decode = ["udp.port==1-65535,moldudp64".to_owned()];
    let rows = tshark(&all, &decode, "udp", &["frame.number", "moldudp64.msgdata", "data"]);

    let (mut by_type, mut packets, mut records) = (BTreeMap::<String, u64>::new(), Vec::new(), Vec::new());
    let mut blank = 0_u64;
    for row in &rows {
        if row[1].is_empty() {
            // Addresses, session and numbers were blanked: what is behind the header is a BinaryFILE.
            records.extend_from_slice(&bytes(&row[2])[20..]);
            blank += 1;
            continue;
        }
        packets.push(&row[0]);
        for message in row[1].split(',') {
            *by_type.entry(char::from(bytes(message)[0]).to_string()).or_default() += 1;
        }
    }
    let stats = |files: &[PathBuf]| Seqcast::new("stats").args(files).arg("--json").start().good().json();
    let counts = stats(&captures);
    assert_eq!(counts["by_type"], serde_json::to_value(&by_type).expect("a map"));
    assert_eq!(counts["not_mold"], blank);
    assert_eq!((&counts["unknown"], &counts["malformed"]), (&0.into(), &0.into()));
    if blank > 0 {
        std::fs::write(&records_file, records).expect("writing a file");
        let counts = stats(&[records_file]);
        assert_eq!(counts["messages"], blank);
        assert_eq!((&counts["unknown"], &counts["malformed"]), (&0.into(), &0.into()));
    }
    // Excerpts of a session: a far jump that nobody else confirms is not believed, so each packet is played alone.
    let played: u64 = packets.iter().map(|packet| play(&all, packet)).sum();
    assert_eq!(played, by_type.values().sum::<u64>());
}
