//! The configuration of each node: what an operator would write, on the addresses of the simulated network and with
//! times and sizes that fit a short life.

use std::net::{Ipv4Addr, SocketAddrV4};

use seqcast_wire::Session;

use super::dice::Dice;
use super::net::address;
use crate::config::{
    Cluster, ClusterNode, Config, Coordinator, Durability, Feed, FileCoordinator, Journal, Line, Memory,
    OnUnfillable, Prefix, Publisher, Receiving, Rewind, RewindLimits, Sending, Sequencer, Source,
    SourceSession, Start, Subscriber,
};
use crate::journal::MIN_SEGMENT_BYTES;
use crate::time::Nanos;

const FEED_PORT: u16 = 31_001;
const REWIND_PORT: u16 = 31_010;
const PUBLISHER_PORT: u16 = 31_110;
const REPLICA_PORT: u16 = 31_201;
const RING_BYTES: usize = 64 << 10;

/// What all nodes of a world agree on.
pub(super) struct Settings {
    pub(super) session: Session,
    pub(super) publishers: usize,
    pub(super) sequencers: usize,
    pub(super) lines: usize,
    pub(super) is_durable: bool,
    /// The sequencer ends the session once all publishers have ended theirs.
    pub(super) ends: bool,
    /// The sequencer knows the sessions of its sources beforehand.
    knows_sessions: bool,
    window_messages: u64,
    retain_bytes: usize,
    receive: Receiving,
    send: Sending,
    /// Times and sizes of the cluster, if there is one.
    cluster: Cluster,
    pub(super) min_in_sync: usize,
    /// Everything is kept if `None`.
    pub(super) retention: Option<Retention>,
}

/// What all sequencers keep but the last one, the **archive**, which keeps everything: somebody has to have what
/// subscribers miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    pub(super) segments: u64,
    /// As long as another sequencer lacks it; `None`: as much as that takes.
    pub(super) catch_up_segments: Option<u64>,
}

/// More segments than any run fills.
const ANY_SEGMENTS: u64 = 1 << 20;

impl Settings {
    pub(super) fn draw(dice: &mut Dice, publishers: usize, sequencers: usize) -> Settings {
        let heartbeat = dice.span(Nanos::from_millis(2), Nanos::from_millis(20));
        let first_heartbeat = dice.span(Nanos::from_micros(200), Nanos::from_millis(2));
        let linger = dice.span(Nanos::from_millis(20), Nanos::from_millis(60));
        let receive = Receiving {
            reorder_wait: dice.span(Nanos::from_micros(50), Nanos::from_millis(1)),
            request_timeout: dice.span(Nanos::from_micros(500), Nanos::from_millis(5)),
            max_backoff: dice.span(Nanos::from_millis(5), Nanos::from_millis(20)),
            attempts: if dice.percent(30) { dice.between(4, 12) as u32 } else { 1_000 },
            max_requests_in_flight: dice.between(1, 16) as usize,
            stash_bytes: 128 << 10,
            stash_messages: 1 << dice.between(4, 9),
            max_gap_messages: 1 << 20,
            silence: Nanos(heartbeat.0 * dice.between(2, 5)),
        };
        let send = Sending {
            datagram_bytes: dice.pick(&[300, 600, 1_472]),
            heartbeat,
            first_heartbeat,
            end_of_session: linger,
            ..Sending::default()
        };
        Settings {
            session: Session::from_wire(*b"SIMULATION"),
            publishers,
            sequencers,
            lines: dice.between(1, 2) as usize,
            is_durable: dice.percent(50),
            ends: dice.percent(50),
            knows_sessions: dice.percent(50),
            window_messages: dice.magnitude(8, 512),
            retain_bytes: dice.magnitude(4 << 10, 256 << 10) as usize,
            receive,
            cluster: draw_cluster(dice, send.datagram_bytes),
            min_in_sync: if dice.percent(80) { sequencers.min(2) } else { 1 },
            retention: None,
            send,
        }
    }

    /// Whether this can be a world in which journals do not reach back to the beginning: a cluster in which nobody goes on
    /// alone, out of the sight of subscribers, and messages large enough to fill journals.
    pub(super) fn may_retain(&self) -> bool {
        self.sequencers > 1 && self.min_in_sync == 2 && self.max_message_bytes() > 1_000
    }

    /// Longest message that a datagram holds.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.send.datagram_bytes - seqcast_wire::mold::HEADER_BYTES - seqcast_wire::mold::BLOCK_HEADER_BYTES
    }

    /// Session of publisher number `publisher`.
    pub(super) fn publisher_session(&self, publisher: usize) -> Session {
        let mut name = *b"PUBLISHER0";
        name[9] += publisher as u8;
        Session::from_wire(name)
    }

    /// All lines there are, of all feeds.
    pub(super) fn all_lines(&self) -> Vec<SocketAddrV4> {
        let feeds = 0..=self.publishers;
        feeds.flat_map(|feed| (0..self.lines).map(move |line| group(feed, line))).collect()
    }

    fn lines_of(&self, feed: usize, node: usize) -> Vec<Line> {
        let line = |line| Line { group: group(feed, line), interface: address(node), source: None };
        (0..self.lines).map(line).collect()
    }

    /// What all roles have in common.
    fn common(&self, node: usize) -> Config {
        Config {
            feed: Some(Feed {
                session: self.session,
                lines: self.lines_of(0, node),
                rewind_servers: self.sequencer_nodes().map(|node| at(node, REWIND_PORT)).collect(),
                snapshot: None,
            }),
            sequencer: None,
            journal: None,
            publisher: None,
            rewind: None,
            snapshot: None,
            receive: self.receive.clone(),
            send: self.send.clone(),
            memory: Memory { ring_bytes: RING_BYTES, ..Memory::default() },
            ..Config::default()
        }
    }

    pub(super) fn sequencer_nodes(&self) -> impl Iterator<Item = usize> {
        self.publishers..self.publishers + self.sequencers
    }

    pub(super) fn publisher(&self, node: usize) -> Config {
        let section = Publisher {
            session: self.publisher_session(node),
            lines: self.lines_of(1 + node, node),
            rewind_bind: at(node, PUBLISHER_PORT),
            retain_bytes: self.retain_bytes,
            window_messages: Some(self.window_messages),
            allow: everybody(),
            limits: RewindLimits::default(),
        };
        Config { publisher: Some(section), ..self.common(node) }
    }

    pub(super) fn sequencer(&self, node: usize) -> Config {
        let source = |publisher: usize| Source {
            name: format!("pub{publisher}"),
            session: match self.knows_sessions {
                true => SourceSession::Only(self.publisher_session(publisher)),
                false => SourceSession::Any,
            },
            lines: self.lines_of(1 + publisher, node),
            rewind_servers: vec![at(publisher, PUBLISHER_PORT)],
            acknowledge: true,
        };
        let section = Sequencer {
            name: format!("seq{node}"),
            min_in_sync: Some(self.min_in_sync),
            durability: if self.is_durable { Durability::Disk } else { Durability::Memory },
            end_with_sources: self.ends,
            sources: (0..self.publishers).map(source).collect(),
        };
        let segment_bytes = MIN_SEGMENT_BYTES as u64;
        let is_archive = node + 1 == self.publishers + self.sequencers;
        let retention = self.retention.filter(|_| !is_archive);
        let catch_up_segments = |retention: Retention| retention.catch_up_segments.unwrap_or(ANY_SEGMENTS);
        let journal = Journal {
            dir: "memory".into(),
            segment_bytes,
            retain_bytes: retention.map(|retention| retention.segments * segment_bytes),
            catch_up_bytes: retention.map(|retention| catch_up_segments(retention) * segment_bytes),
        };
        let rewind =
            Rewind { bind: at(node, REWIND_PORT), allow: everybody(), limits: RewindLimits::default() };
        let nodes = self
            .sequencer_nodes()
            .map(|node| ClusterNode { name: format!("seq{node}"), replication: at(node, REPLICA_PORT) });
        let cluster = Cluster { nodes: nodes.collect(), ..self.cluster.clone() };
        Config {
            sequencer: Some(section),
            journal: Some(journal),
            rewind: Some(rewind),
            cluster: (self.sequencers > 1).then_some(cluster),
            ..self.common(node)
        }
    }

    pub(super) fn subscriber(&self, node: usize, start: Start) -> Config {
        let mut config = self.common(node);
        config.subscriber = Subscriber { start, on_unfillable: OnUnfillable::Stop, ..Subscriber::default() };
        // A subscriber that gives up ends; here it is to be there when everybody has caught up.
        config.receive.attempts = 1_000;
        config
    }
}

fn draw_cluster(dice: &mut Dice, datagram_bytes: usize) -> Cluster {
    let heartbeat = dice.span(Nanos::from_micros(200), Nanos::from_millis(1));
    let suspect_after = Nanos(heartbeat.0 * dice.between(5, 30));
    Cluster {
        driver: None,
        heartbeat,
        suspect_after,
        max_suspect_after: Nanos(suspect_after.0 * 4),
        stagger: dice.span(Nanos::from_millis(1), Nanos::from_millis(5)),
        lag_timeout: dice.span(Nanos::from_millis(10), Nanos::from_millis(60)),
        window_bytes: (datagram_bytes * 2).max(dice.magnitude(4 << 10, 64 << 10) as usize),
        record_refresh: dice.span(Nanos::from_millis(2), Nanos::from_millis(20)),
        operators: everybody(),
        coordinator: Coordinator::File(FileCoordinator { dir: "simulated".into() }),
        nodes: Vec::new(),
    }
}

fn group(feed: usize, line: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(239, 255, feed as u8, line as u8), FEED_PORT)
}

fn at(node: usize, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address(node), port)
}

fn everybody() -> Vec<Prefix> {
    "10.0.0.0/8".parse().into_iter().collect()
}
