//! Who and where by default: one machine, everything on its loopback interface.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::section::{
    Durability, Feed, Journal, Line, Publisher, Rewind, RewindLimits, Sequencer, Snapshot, SnapshotSource,
    Source, max_clients, retain_bytes, segment_bytes,
};
use super::unit::{Prefix, SourceSession};
use seqcast_wire::Session;

const REWIND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 31_010);
const SNAPSHOT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 31_020);
const PUBLISHER_REWIND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 31_110);
const USERNAME: &str = "demo";
const PASSWORD: &str = "demo";

/// Lines A and B in the block of organisation-local multicast (RFC 2365).
fn lines(group: u8, port: u16) -> Vec<Line> {
    (0..2)
        .map(|line| Line {
            group: SocketAddrV4::new(Ipv4Addr::new(239, 255, 77, group + line), port + u16::from(line)),
            interface: Ipv4Addr::LOCALHOST,
            source: None,
        })
        .collect()
}

pub(super) fn feed() -> Feed {
    Feed {
        session: Session::from_wire(*b"SEQCAST001"),
        lines: lines(1, 31_001),
        rewind_servers: vec![REWIND],
        snapshot: Some(SnapshotSource {
            servers: vec![SNAPSHOT],
            username: USERNAME.into(),
            password: PASSWORD.into(),
        }),
    }
}

pub(super) fn sequencer() -> Sequencer {
    Sequencer {
        name: "seq1".into(),
        min_in_sync: None,
        durability: Durability::Memory,
        end_with_sources: false,
        sources: vec![Source {
            name: "pub1".into(),
            session: SourceSession::Any,
            lines: lines(11, 31_101),
            rewind_servers: vec![PUBLISHER_REWIND],
            acknowledge: true,
        }],
    }
}

pub(super) fn journal() -> Journal {
    Journal {
        dir: "seqcast-data/journal".into(),
        segment_bytes: segment_bytes(),
        retain_bytes: Some(4 << 30),
        catch_up_bytes: None,
    }
}

pub(super) fn publisher() -> Publisher {
    Publisher {
        session: Session::from_wire(*b"PUB0000001"),
        lines: lines(11, 31_101),
        rewind_bind: PUBLISHER_REWIND,
        retain_bytes: retain_bytes(),
        window_messages: Some(4_096),
        allow: vec![Prefix::LOOPBACK],
        limits: RewindLimits::default(),
    }
}

pub(super) fn rewind() -> Rewind {
    Rewind { bind: REWIND, allow: vec![Prefix::LOOPBACK], limits: RewindLimits::default() }
}

pub(super) fn snapshot() -> Snapshot {
    Snapshot {
        bind: SNAPSHOT,
        username: USERNAME.into(),
        password: PASSWORD.into(),
        max_clients: max_clients(),
    }
}
