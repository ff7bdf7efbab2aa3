//! What comes in at an interface, before the rest of the kernel has judged it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::net::{RecvFlags, recv};
use seqcast_wire::mold::HEADER_BYTES;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::evidence::Wire;

const ETHERTYPE_IPV4: u16 = 0x0800;
const PROTOCOL_IGMP: u8 = 2;
const PROTOCOL_UDP: u8 = 17;
const IGMP_QUERY: u8 = 0x11;
const UDP_BYTES: usize = 8;
/// So much of each packet is looked at: the headers and the first of the payload.
const SEEN_BYTES: u32 = 128;
/// More addresses than this are not told apart.
const MOST_ADDRESSES: usize = 64;

/// Sees the IPv4 packets that an interface receives.
pub(super) struct PacketSocket(Socket);

impl PacketSocket {
    /// On the interface with that number.
    pub(super) fn open(interface: u32) -> io::Result<PacketSocket> {
        let protocol = Protocol::from(i32::from(ETHERTYPE_IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        socket.attach_filter(&received_by(interface))?;
        // What was caught before the filter was there is of any interface.
        let mut nothing = [0; 1];
        while recv(&socket, &mut nothing, RecvFlags::DONTWAIT).is_ok() {}
        Ok(PacketSocket(socket))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.0
    }
}

/// UDP and IGMP that came in at one interface (classic BPF; offsets beyond the packet ask the kernel for other facts).
fn received_by(interface: u32) -> [SockFilter; 9] {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const PACKET_TYPE: u32 = 0xFFFF_F004;
    const INTERFACE: u32 = 0xFFFF_F008;
    const OUTGOING: u32 = 4;
    const IPV4_PROTOCOL: u32 = 9;
    [
        SockFilter::new(LOAD_WORD, 0, 0, INTERFACE),
        SockFilter::new(JUMP_IF_EQUAL, 0, 6, interface),
        SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 4, 0, OUTGOING),
        SockFilter::new(LOAD_BYTE, 0, 0, IPV4_PROTOCOL),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, PROTOCOL_UDP as u32),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, PROTOCOL_IGMP as u32),
        SockFilter::new(RETURN, 0, 0, SEEN_BYTES),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Counts an IPv4 packet for the line at `group`; `session` is what is wanted there.
pub(super) fn count(wire: &mut Wire, packet: &[u8], group: SocketAddrV4, session: Option<&str>) {
    let Some(Packet { source, destination, protocol, is_fragment, body }) = Packet::parse(packet) else {
        return;
    };
    if protocol == PROTOCOL_IGMP {
        wire.igmp_queries += u64::from(body.first() == Some(&IGMP_QUERY));
        return;
    }
    let is_ours = destination == *group.ip();
    if is_fragment {
        wire.fragments += u64::from(is_ours);
        return;
    }
    let Some(&[high, low]) = body.get(2..4) else { return };
    let port = u16::from_be_bytes([high, low]);
    if is_ours && port == group.port() {
        tally(&mut wire.senders, source);
    } else if is_ours {
        tally(&mut wire.other_ports, port);
    } else if session.is_some() && session_of(body) == session {
        tally(&mut wire.elsewhere, SocketAddrV4::new(destination, port));
    }
}

/// The session of what may be a MoldUDP64 datagram.
fn session_of(udp: &[u8]) -> Option<&str> {
    let payload = udp.get(UDP_BYTES..).filter(|payload| payload.len() >= HEADER_BYTES)?;
    std::str::from_utf8(&payload[..10]).ok().map(str::trim_end)
}

fn tally<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    if counts.len() < MOST_ADDRESSES || counts.contains_key(&key) {
        *counts.entry(key).or_default() += 1;
    }
}

struct Packet<'a> {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    is_fragment: bool,
    body: &'a [u8],
}

impl Packet<'_> {
    /// Only the first of a packet may be there.
    fn parse(packet: &[u8]) -> Option<Packet<'_>> {
        let header: &[u8; 20] = packet.first_chunk()?;
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        // More fragments, or not the first.
        let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3FFF != 0;
        let body = packet.get(usize::from(header[0] & 15) * 4..)?;
        (header[0] >> 4 == 4).then_some(Packet {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            is_fragment,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 1), 5_000);

    fn udp(destination: [u8; 4], port: u16, session: &[u8; 10], fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([1, PROTOCOL_UDP, 0, 0, 10, 0, 0, 9]);
        packet.extend(destination);
        packet.extend([0, 9]);
        packet.extend(port.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(session);
        packet.extend([0; 10]);
        packet
    }

    #[test]
    fn packets_are_told_apart() {
        let mut wire = Wire::default();
        let ours = GROUP.ip().octets();
        count(&mut wire, &udp(ours, 5_000, b"FEED      ", 0), GROUP, Some("FEED"));
        count(&mut wire, &udp(ours, 5_001, b"FEED      ", 0), GROUP, Some("FEED"));
        count(&mut wire, &udp([239, 1, 1, 2], 5_000, b"FEED      ", 0), GROUP, Some("FEED"));
        count(&mut wire, &udp([239, 1, 1, 2], 5_000, b"ELSE      ", 0), GROUP, Some("FEED"));
        count(&mut wire, &udp(ours, 5_000, b"FEED      ", 0x2000), GROUP, Some("FEED"));
        let mut query = udp([224, 0, 0, 1], 0, b"          ", 0);
        (query[9], query[20]) = (PROTOCOL_IGMP, IGMP_QUERY);
        count(&mut wire, &query, GROUP, Some("FEED"));
        assert_eq!(wire.senders, BTreeMap::from([(Ipv4Addr::new(10, 0, 0, 9), 1)]));
        assert_eq!(wire.other_ports, BTreeMap::from([(5_001, 1)]));
        assert_eq!(wire.elsewhere, BTreeMap::from([("239.1.1.2:5000".parse().unwrap(), 1)]));
        assert_eq!((wire.fragments, wire.igmp_queries), (1, 1));
    }

    proptest! {
        #[test]
        fn no_packet_is_fatal(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            count(&mut Wire::default(), &packet, GROUP, Some("FEED"));
        }
    }
}
