//! The Wireshark dissector of the replication stream reads what this crate writes, and finds what is wrong.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use seqcast_wire::net::{FRAME_HEADER_BYTES, UdpDatagram};
use seqcast_wire::repl::{APPEND_BYTES, Ack, Append, Datagram, Head, Origin, Position, Reach, Refuse, Wish};
use seqcast_wire::{SeqNo, Session};

/// CRC-32C bit by bit, as its polynomial says.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

fn to(next: u64) -> Reach {
    Reach::to(SeqNo::new(next).expect("not 0"))
}

fn origin(node: u16, epoch: u64) -> Origin {
    Origin { session: Session::from_wire(*b"MDREPL0001"), epoch, node, incarnation: 0xABC }
}

/// A journal's frame, as the engine's table has it.
fn frame(seq: u64, previous_crc: u32, payload: &[u8]) -> (Vec<u8>, u32) {
    let mut covered = Vec::new();
    for word in [seq, 9, 1_000 + seq, 70 + seq] {
        covered.extend(word.to_le_bytes());
    }
    covered.extend(previous_crc.to_le_bytes());
    covered.extend([3, 0, 1, 1]);
    covered.extend(b"SOURCE    \0\0\0\0\0\0");
    covered.extend(payload);
    let crc = crc32c(&covered);
    let mut bytes = [(payload.len() as u32).to_le_bytes(), crc.to_le_bytes()].concat();
    bytes.extend(covered);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    (bytes, crc)
}

fn bytes_of(datagram: &Datagram<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 1_000];
    let len = match datagram {
        Datagram::Append(append) => append.emit(&mut buffer, crc32c),
        Datagram::Ack(ack) => ack.emit(&mut buffer, crc32c),
        Datagram::Refuse(refuse) => refuse.emit(&mut buffer, crc32c),
        Datagram::Image(image) => image.emit(&mut buffer, crc32c),
    };
    buffer.truncate(len);
    buffer
}

/// Six datagrams that are right, then one each with a wrong length, a frame cut off and a wrong check sum.
fn datagrams() -> Vec<Vec<u8>> {
    let (first, crc) = frame(5, 77, b"hello");
    let (second, last_crc) = frame(6, crc, b"12345678");
    let frames = [first, second].concat();
    let head = Head { end: to(7), committed: to(5), published: SeqNo::FIRST, everywhere: to(3).next };
    let previous = Position { at: to(5), epoch: 8, crc: 77 };
    let append = Append { origin: origin(2, 9), previous, head, is_deaf: false, frames: &frames };
    let ended = Reach { ended: true, ..to(7) };
    let tail = Position { at: ended, epoch: 9, crc: last_crc };
    let head = Head { end: ended, ..head };
    let heartbeat = Append { previous: tail, head, is_deaf: true, frames: &[], ..append };
    let tail = Position { at: to(7), ..tail };
    let (received, wanted) = (to(6), Some(to(9)));
    let (verified, committed) = (to(5), to(4));
    let (is_deaf, needs_image, wish) = (false, false, Some(Wish::Lead));
    let ack =
        Ack { origin: origin(1, 9), tail, verified, received, wanted, committed, is_deaf, needs_image, wish };
    let nothing = Reach::NOTHING;
    let hello = Ack {
        origin: origin(1, 0),
        verified: nothing,
        received: nothing,
        wanted: None,
        is_deaf: true,
        wish: None,
        ..ack
    };
    let refuse = Refuse { origin: origin(0, 10) };
    let cut_off = Append { frames: &frames[..frames.len() - 8], ..append };
    let right = [
        Datagram::Append(append),
        Datagram::Append(heartbeat),
        Datagram::Ack(ack),
        Datagram::Ack(hello),
        Datagram::Refuse(refuse),
    ];
    let mut all: Vec<_> = right.iter().map(bytes_of).collect();
    all.push([bytes_of(&right[4]), vec![0]].concat());
    all.push(bytes_of(&Datagram::Append(cut_off)));
    let mut damaged = bytes_of(&right[0]);
    damaged[APPEND_BYTES + 64] ^= 1;
    all.push(damaged);
    all
}

/// A pcap file of Ethernet frames around `datagrams`.
fn capture(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4, 2 | 4 << 16, 0, 0, 65_535, 1u32] {
        file.extend(word.to_le_bytes());
    }
    let address = |host| SocketAddrV4::new([10, 0, 0, host].into(), 31_200);
    for payload in datagrams {
        let datagram = UdpDatagram { source: address(1), destination: address(2), payload };
        let mut headers = [0; FRAME_HEADER_BYTES];
        assert_eq!(datagram.emit_headers(&mut headers), FRAME_HEADER_BYTES);
        let len = (headers.len() + payload.len()) as u32;
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(headers);
        file.extend(payload);
    }
    file
}

/// What tshark prints with the dissector; `None`, after saying so, where there is no tshark with Lua.
fn tshark(capture: &Path, arguments: &[&str]) -> Option<String> {
    let version = Command::new("tshark").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("with Lua")) {
        eprintln!("skipped: no tshark with Lua here");
        return None;
    }
    let script = concat!("lua_script:", env!("CARGO_MANIFEST_DIR"), "/dissector/seqcast-repl.lua");
    let output = Command::new("tshark")
        .args(["-X", script, "-r"])
        .arg(capture)
        .args(arguments)
        .output()
        .expect("it told its version");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("Lua"), "{errors}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

fn write_capture(name: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, capture(&datagrams())).expect("a writable folder for tests");
    path
}

#[test]
fn tshark_reads_every_field() {
    let capture = write_capture("repl-fields.pcap");
    let fields = |names: &str| {
        let mut arguments = vec!["-c", "5", "-T", "fields", "-E", "occurrence=a"];
        let names: Vec<_> = names.split(' ').map(|name| format!("seqcast_repl.{name}")).collect();
        arguments.extend(names.iter().flat_map(|name| ["-e", name]));
        tshark(&capture, &arguments)
    };
    let Some(common) = fields("kind node session epoch incarnation version flags wish") else { return };
    let common: Vec<_> = common.lines().collect();
    assert_eq!(
        common,
        [
            "1\t2\tMDREPL0001\t9\t0x0000000000000abc\t2\t0x00\t",
            "1\t2\tMDREPL0001\t9\t0x0000000000000abc\t2\t0x25\t",
            "2\t1\tMDREPL0001\t9\t0x0000000000000abc\t2\t0x00\t1",
            "2\t1\tMDREPL0001\t0\t0x0000000000000abc\t2\t0x20\t0",
            "3\t0\tMDREPL0001\t10\t0x0000000000000abc\t2\t0x00\t",
        ]
    );
    let numbers = fields(
        "position.next position.epoch frame_bytes end committed published everywhere verified received wanted frame.seq \
         frame.epoch frame.stamp frame.source frame.source_seq frame.session frame.payload",
    );
    let numbers = numbers.expect("tshark is there");
    let frames = "5,6\t9,9\t1005,1006\t3,3\t75,76\tSOURCE    ,SOURCE    \t68656c6c6f,3132333435363738";
    assert_eq!(
        numbers.lines().collect::<Vec<_>>(),
        [
            format!("5\t8\t144\t7\t5\t1\t3\t\t\t\t{frames}"),
            "7\t9\t0\t7\t5\t1\t3\t\t\t\t\t\t\t\t\t\t".into(),
            "7\t9\t\t\t4\t\t\t5\t6\t9\t\t\t\t\t\t\t".into(),
            "7\t9\t\t\t4\t\t\t1\t1\t0\t\t\t\t\t\t\t".into(),
            "\t".repeat(16),
        ]
    );
}

#[test]
fn tshark_finds_what_is_wrong_and_nothing_else() {
    let capture = write_capture("repl-experts.pcap");
    let found = |filter: &str| tshark(&capture, &["-Y", filter, "-T", "fields", "-e", "frame.number"]);
    let Some(malformed) = found("seqcast_repl.malformed") else { return };
    assert_eq!(malformed, "6\n7\n");
    assert_eq!(found("seqcast_repl.crc.wrong").as_deref(), Some("6\n8\n"));
    assert_eq!(found("_ws.lua.error").as_deref(), Some(""));
}
