//! Captures made for tests.

use std::fs::File;
use std::net::SocketAddrV4;
use std::path::Path;

use seqcast_wire::mold::Packer;
use seqcast_wire::net::UdpDatagram;
use seqcast_wire::{SeqNo, Session};

use crate::pcapng::PcapngWriter;

pub(super) const A: &str = "233.252.0.1:30001";
pub(super) const B: &str = "233.252.0.2:30002";

/// A datagram of `session` with these messages from number `first` on; 0: without a number.
pub(super) fn datagram(session: &str, first: u64, messages: &[&str]) -> Vec<u8> {
    let session = if session.is_empty() { Session::from_wire([0; 10]) } else { session.parse().unwrap() };
    let mut buffer = vec![0; 2_000];
    let mut packer = Packer::new(&mut buffer, session, SeqNo::new(first).unwrap_or(SeqNo::FIRST)).unwrap();
    assert!(messages.iter().all(|message| packer.try_push(message.as_bytes())));
    let length = packer.finish();
    buffer.truncate(length);
    if first == 0 {
        buffer[10..18].fill(0);
    }
    buffer
}

/// Writes a capture of `datagrams` to these destinations, a microsecond apart from the first.
pub(super) fn capture(path: &Path, datagrams: &[(&str, Vec<u8>)]) {
    let mut writer = PcapngWriter::new(File::create(path).unwrap()).unwrap();
    for (at, (destination, payload)) in datagrams.iter().enumerate() {
        let source: SocketAddrV4 = "192.0.2.1:40000".parse().unwrap();
        let destination: SocketAddrV4 = destination.parse().unwrap();
        writer.write(1_000 * at as u64, &UdpDatagram { source, destination, payload }).unwrap();
    }
    writer.finish().unwrap();
}
