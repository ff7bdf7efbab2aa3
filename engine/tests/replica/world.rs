//! Several nodes over a bad network: primaries come and go, standbys restart, journals fill up.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seqcast_engine::frame::Frame;
use seqcast_engine::replica::{
    AckOutcome, AppendOutcome, Inbound, NodeId, Outbound, Reach, Standby, StreamConfig,
};
use seqcast_engine::time::Nanos;
use seqcast_wire::repl::{Ack, Append, Datagram};

use crate::support::*;

const STEP: Nanos = Nanos::from_micros(20);

/// What may go wrong, and how much of it; rates are in percent.
#[derive(Clone, Debug)]
struct Weather {
    seed: u64,
    nodes: usize,
    messages: usize,
    loss: u32,
    duplication: u32,
    corruption: u32,
    /// Longest way of a datagram; the shortest is 5 µs: datagrams overtake one another.
    delay: Nanos,
    /// Steps in which a journal has no room, and in which a cut has to wait.
    no_room: u32,
    /// Steps at which another node takes over.
    takeovers: Vec<u32>,
    /// Steps at which a standby forgets all but its journal.
    restarts: Vec<u32>,
    /// Acknowledgements wait for the disk.
    disk: bool,
    ends: bool,
}

impl Weather {
    fn fair(seed: u64) -> Weather {
        Weather {
            seed,
            nodes: 3,
            messages: 300,
            loss: 0,
            duplication: 0,
            corruption: 0,
            delay: Nanos::ZERO,
            no_room: 0,
            takeovers: Vec::new(),
            restarts: Vec::new(),
            disk: false,
            ends: true,
        }
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    let steps = |most: u32| prop::collection::vec(1..most, 0..4);
    let rates = (prop_oneof![Just(0u32), 1u32..40], 0u32..20, 0u32..5, 0u64..400, 0u32..30);
    (any::<u64>(), 2usize..=4, 1usize..600, rates, steps(600), steps(600), any::<[bool; 2]>()).prop_map(
        |(
            seed,
            nodes,
            messages,
            (loss, duplication, corruption, delay, no_room),
            takeovers,
            restarts,
            flags,
        )| {
            let ([disk, ends], delay) = (flags, Nanos::from_micros(delay));
            Weather {
                seed,
                nodes,
                messages,
                loss,
                duplication,
                corruption,
                delay,
                no_room,
                takeovers,
                restarts,
                disk,
                ends,
            }
        },
    )
}

/// Everything on its way, by time of arrival: to which node, and what.
struct Network {
    rng: ChaCha8Rng,
    weather: Weather,
    packets: BTreeMap<(Nanos, u64), (usize, Vec<u8>)>,
    sent: u64,
    lost: u64,
}

impl Network {
    fn strikes(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn send(&mut self, now: Nanos, to: usize, bytes: &[u8]) {
        let copies = if self.strikes(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.strikes(self.weather.loss) {
                self.lost += 1;
                continue;
            }
            let mut bytes = bytes.to_vec();
            if self.strikes(self.weather.corruption) {
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << self.rng.random_range(0..8);
            }
            let way = Nanos(self.rng.random_range(5_000..=self.weather.delay.0.max(5_000)));
            self.sent += 1;
            self.packets.insert((now + way, self.sent), (to, bytes));
        }
    }

    fn arrived(&mut self, now: Nanos) -> Option<(usize, Vec<u8>)> {
        let entry = self.packets.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

struct Stream {
    peer: usize,
    outbound: Outbound,
    cursor: usize,
}

/// A node as the primary of an epoch.
struct Leader {
    epoch: u64,
    streams: Vec<Stream>,
    acked: Vec<Reach>,
}

enum Role {
    Standby(Box<Inbound>),
    Leader(Leader),
}

struct Node {
    journal: Journal,
    synced: Reach,
    promised: u64,
    /// As it is known, and as it survives a restart.
    committed: Reach,
    role: Role,
    /// What the last checked acknowledgement said, and in which epoch.
    checked: (u64, Reach),
}

struct World {
    config: StreamConfig,
    weather: Weather,
    now: Nanos,
    network: Network,
    nodes: Vec<Node>,
    /// The history of each epoch, as far as its primary got.
    histories: BTreeMap<u64, Log>,
    /// What any primary ever committed.
    committed: Vec<Vec<u8>>,
    pushed: usize,
    /// Datagrams with frames.
    loaded: u64,
    cuts: usize,
    stale: u64,
}

impl World {
    fn new(weather: &Weather) -> World {
        let config = small();
        let nodes = (0..weather.nodes).map(|node| Node {
            journal: Journal::default(),
            synced: Reach::NOTHING,
            promised: 0,
            committed: Reach::NOTHING,
            role: Role::Standby(Box::new(inbound(&config, node, 0, Reach::NOTHING))),
            checked: (0, Reach::NOTHING),
        });
        let network = Network {
            rng: ChaCha8Rng::seed_from_u64(weather.seed),
            weather: weather.clone(),
            packets: BTreeMap::new(),
            sent: 0,
            lost: 0,
        };
        let mut world = World {
            nodes: nodes.collect(),
            config,
            weather: weather.clone(),
            now: Nanos::from_secs(1),
            network,
            histories: BTreeMap::new(),
            committed: Vec::new(),
            pushed: 0,
            loaded: 0,
            cuts: 0,
            stale: 0,
        };
        world.lead(0);
        world
    }

    fn latest(&self) -> u64 {
        self.histories.last_key_value().map_or(0, |(&epoch, _)| epoch)
    }

    /// Makes `node` primary of the next epoch.
    fn lead(&mut self, node: usize) {
        let epoch = self.latest() + 1;
        let it = &mut self.nodes[node];
        if let Role::Standby(inbound) = &mut it.role {
            inbound.stop_acking(epoch);
        }
        it.promised = epoch;
        let peers = (0..self.weather.nodes).filter(|&peer| peer != node);
        let streams = peers.map(|peer| Stream {
            peer,
            outbound: Outbound::new(&self.config, member(node as u16), session(), epoch, NodeId(peer as u16))
                .unwrap(),
            cursor: 0,
        });
        let acked = vec![Reach::NOTHING; self.weather.nodes];
        it.role = Role::Leader(Leader { epoch, streams: streams.collect(), acked });
        self.histories.insert(epoch, it.journal.log.clone());
    }

    /// A leader numbers some messages; a deposed one that does not know yet does so too.
    fn number(&mut self) {
        let latest = self.latest();
        for node in 0..self.nodes.len() {
            let Role::Leader(Leader { epoch, .. }) = self.nodes[node].role else { continue };
            let log = &mut self.nodes[node].journal.log;
            if log.chain.ended() {
                continue;
            }
            if epoch == latest && self.pushed >= self.weather.messages {
                if self.weather.ends {
                    log.end(epoch);
                    self.histories.insert(epoch, log.clone());
                }
            } else if self.network.strikes(30) {
                for _ in 0..self.network.rng.random_range(1..5) {
                    if self.network.strikes(2) {
                        log.push_message(epoch, &[b'.'; 1_500]);
                    } else {
                        log.push(epoch);
                    }
                    self.pushed += usize::from(epoch == latest);
                }
                self.histories.insert(epoch, log.clone());
            }
        }
    }

    fn send(&mut self) {
        let mut buffer = vec![0; 65_507];
        for node in 0..self.nodes.len() {
            let it = &mut self.nodes[node];
            it.synced = it.synced.min(it.journal.log.reach());
            if self.network.strikes(10) {
                it.synced = it.journal.log.reach();
            }
            let committed = it.committed;
            match &mut it.role {
                Role::Leader(leader) => {
                    let head = it.journal.log.head(committed);
                    for stream in &mut leader.streams {
                        let mut history = Reader { log: &it.journal.log, cursor: &mut stream.cursor };
                        loop {
                            let len = stream.outbound.poll(self.now, &head, &mut history, &mut buffer);
                            if len == 0 {
                                break;
                            }
                            assert!(len <= self.config.max_datagram_bytes || is_one_frame(&buffer[..len]));
                            assert!(stream.outbound.in_flight_bytes() <= self.config.window_bytes);
                            self.loaded += u64::from(len > seqcast_wire::repl::APPEND_BYTES);
                            self.network.send(self.now, stream.peer, &buffer[..len]);
                        }
                    }
                }
                Role::Standby(inbound) => {
                    let durable = self.weather.disk.then_some(it.synced);
                    if let Some(ack) = inbound.poll_ack(self.now, &it.journal.log.chain, durable) {
                        inbound.on_acked(self.now, &ack);
                        let len = ack.emit(&mut buffer, crc32c::crc32c);
                        self.check_ack(node, &buffer[..len]);
                        for peer in (0..self.weather.nodes).filter(|&peer| peer != node) {
                            self.network.send(self.now, peer, &buffer[..len]);
                        }
                    }
                }
            }
        }
    }

    /// What is acknowledged is in the journal, and is the history of that epoch.
    fn check_ack(&mut self, node: usize, bytes: &[u8]) {
        let Datagram::Ack(ack) = parse(bytes) else { panic!("an ack") };
        let it = &mut self.nodes[node];
        assert!(ack.received <= it.journal.log.reach() && it.committed.is_part_of(ack.tail.at));
        assert!(!self.weather.disk || ack.verified <= it.synced, "acknowledged before it was synced");
        assert!(ack.origin.epoch == 0 || ack.origin.epoch == it.promised);
        let said = (ack.origin.epoch, ack.received);
        if ack.origin.epoch > 0 && it.checked != said {
            let history = &self.histories[&ack.origin.epoch];
            assert!(it.journal.log.prefix(ack.received) == history.prefix(ack.received), "another history");
            it.checked = said;
        }
    }

    fn receive(&mut self) {
        while let Some((node, bytes)) = self.network.arrived(self.now) {
            let Ok(datagram) = Datagram::parse(&bytes, crc32c::crc32c) else {
                assert!(self.weather.corruption > 0);
                continue;
            };
            match datagram {
                Datagram::Append(append) => self.on_append(node, &append),
                Datagram::Ack(ack) => self.on_ack(node, &ack),
                Datagram::Refuse(_) | Datagram::Image(_) => unreachable!(),
            }
        }
        for node in 0..self.nodes.len() {
            self.change_mood(node);
            let it = &mut self.nodes[node];
            if let Role::Standby(inbound) = &mut it.role {
                assert_eq!(inbound.poll(&mut it.journal), AppendOutcome::Accepted);
                it.committed = inbound.committed();
            }
            self.check_cuts(node);
        }
    }

    fn change_mood(&mut self, node: usize) {
        let no_room = self.weather.no_room;
        let journal = &mut self.nodes[node].journal;
        journal.room = self.network.strikes(no_room).then(|| self.network.rng.random_range(0..4));
        journal.busy = if self.network.strikes(no_room) { 1 } else { 0 };
    }

    /// What is cut was not committed, and was not a part of the history that is followed.
    fn check_cuts(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        for cut in std::mem::take(&mut it.journal.cuts) {
            assert!(cut > self.committed.len() as u64, "committed messages were cut");
            it.synced = it.synced.min(to(cut));
            self.cuts += 1;
        }
    }

    fn on_append(&mut self, node: usize, append: &Append<'_>) {
        let it = &mut self.nodes[node];
        if let Role::Leader(leader) = &it.role {
            if append.origin.epoch > leader.epoch {
                let inbound = inbound(&self.config, node, it.promised, it.committed);
                it.role = Role::Standby(Box::new(inbound));
            } else {
                self.stale += 1;
                return;
            }
        }
        let Role::Standby(inbound) = &mut it.role else { unreachable!() };
        let before = it.journal.log.frames.len();
        match inbound.on_append(append, &mut it.journal) {
            AppendOutcome::Accepted => {}
            AppendOutcome::Stale => {
                assert_eq!(it.journal.log.frames.len(), before);
                self.stale += 1;
            }
            // What the record would say.
            AppendOutcome::HigherEpoch { epoch, from } => {
                it.promised = epoch;
                let verified = it.journal.position_at(it.committed.next).unwrap();
                inbound.follow(epoch, from, verified);
            }
            other => panic!("{other:?}"),
        }
        self.check_cuts(node);
    }

    fn on_ack(&mut self, node: usize, ack: &Ack) {
        let it = &mut self.nodes[node];
        let Role::Leader(leader) = &mut it.role else { return };
        let peer = usize::from(ack.origin.node);
        let stream = leader.streams.iter_mut().find(|stream| stream.peer == peer).unwrap();
        let mut history = Reader { log: &it.journal.log, cursor: &mut stream.cursor };
        match stream.outbound.on_ack(self.now, ack, &mut history) {
            AckOutcome::Verified { verified, .. } => {
                leader.acked[peer] = leader.acked[peer].max(verified);
            }
            AckOutcome::Hello { .. } | AckOutcome::Stale | AckOutcome::HigherEpoch(_) => return,
            other => panic!("{other:?}"),
        }
        leader.acked[node] = if self.weather.disk { it.synced } else { it.journal.log.reach() };
        let committed = leader.acked.iter().copied().min().unwrap();
        if committed > it.committed {
            it.committed = committed;
            let prefix = it.journal.log.prefix(committed);
            let known = self.committed.len().min(prefix.len());
            assert!(prefix[..known] == self.committed[..known], "two histories were committed");
            if prefix.len() > known {
                self.committed = prefix.to_vec();
            }
        }
    }

    /// A takeover or a restart, when it is time.
    fn strike(&mut self, step: u32) {
        let takeovers = self.weather.takeovers.iter().filter(|&&at| at == step).count();
        for _ in 0..takeovers {
            let standbys: Vec<usize> = (0..self.nodes.len())
                .filter(|&node| matches!(self.nodes[node].role, Role::Standby(_)))
                .collect();
            if !standbys.is_empty() {
                let chosen = self.network.rng.random_range(0..standbys.len());
                self.lead(standbys[chosen]);
            }
        }
        if self.weather.restarts.contains(&step) {
            let node = self.network.rng.random_range(0..self.nodes.len());
            let forgets = self.network.strikes(50);
            let it = &mut self.nodes[node];
            if let Role::Standby(role) = &mut it.role {
                if forgets {
                    it.committed = Reach::NOTHING;
                }
                **role = inbound(&self.config, node, it.promised, it.committed);
            }
        }
    }

    /// Whether every journal is the latest primary's and all of it is committed.
    fn is_settled(&self) -> bool {
        let history = &self.histories[&self.latest()];
        let everywhere = self.nodes.iter().all(|node| node.journal.log.frames == history.frames);
        let known = self.nodes.iter().all(|node| node.committed == history.reach());
        self.pushed >= self.weather.messages
            && (history.chain.ended() || !self.weather.ends)
            && everywhere
            && known
            && self.committed == history.frames
    }

    fn run(&mut self) {
        for step in 0..60_000 {
            self.strike(step);
            self.number();
            self.send();
            self.receive();
            if step > 600 && step % 50 == 0 && self.is_settled() {
                return;
            }
            self.now = self.now + STEP;
        }
        panic!("not settled after {} s of this: {:?}", 60_000 * STEP.0 / 1_000_000_000, self.weather);
    }
}

fn is_one_frame(datagram: &[u8]) -> bool {
    let Datagram::Append(append) = parse(datagram) else { return false };
    Frame::parse(append.frames).is_ok_and(|frame| frame.framed_bytes() == append.frames.len())
}

fn inbound(config: &StreamConfig, node: usize, promised: u64, committed: Reach) -> Inbound {
    Inbound::new(config, member(node as u16), session(), promised, committed).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 100, ..ProptestConfig::default() })]

    /// Whatever the weather: every journal becomes the latest primary's byte for byte, nothing committed is ever cut,
    /// and nothing is acknowledged that is not so (the world checks that at each step).
    #[test]
    fn every_journal_becomes_the_primarys_and_nothing_committed_is_lost(weather in weather()) {
        let mut world = World::new(&weather);
        world.run();
    }
}

/// The weather above really has tails to cut and old epochs to refuse.
#[test]
fn the_weather_is_bad_enough() {
    let (mut cuts, mut stale, mut repeated) = (0, 0, 0);
    for seed in 0..10 {
        let weather = Weather {
            loss: 15,
            duplication: 10,
            corruption: 2,
            delay: Nanos::from_micros(200),
            no_room: 10,
            messages: 600,
            takeovers: vec![100, 200, 300],
            restarts: vec![150, 250],
            ..Weather::fair(seed)
        };
        let mut world = World::new(&weather);
        world.run();
        cuts += world.cuts;
        stale += world.stale;
        let leaders = world.nodes.iter().filter_map(|node| match &node.role {
            Role::Leader(leader) => Some(leader),
            Role::Standby(_) => None,
        });
        let streams = leaders.flat_map(|leader| &leader.streams);
        repeated += streams.map(|stream| stream.outbound.stats().repeated_datagrams).sum::<u64>();
    }
    assert!(cuts >= 10 && stale >= 50 && repeated >= 50, "{cuts} cuts, {stale} stale, {repeated} repeated");
}

/// On a good network each frame travels once; on a bad one, few of them more often.
#[test]
fn what_is_sent_again_is_bounded() {
    let run = |weather: &Weather| {
        let mut world = World::new(weather);
        world.run();
        let Role::Leader(leader) = &world.nodes[0].role else { panic!("nobody took over") };
        let repeated = leader.streams.iter().map(|stream| stream.outbound.stats().repeated_datagrams);
        (repeated.sum::<u64>(), world.loaded, world.network.lost)
    };
    for seed in 0..5 {
        assert_eq!(run(&Weather::fair(seed)).0, 0, "nothing was lost");
        let lossy = Weather { loss: 10, messages: 600, ..Weather::fair(seed) };
        let (repeated, loaded, lost) = run(&lossy);
        assert!(
            repeated > 0 && repeated <= lost,
            "{repeated} sent again of {loaded}, {lost} lost, acks included"
        );
    }
}

/// A node without anything catches up with a long history while it grows.
#[test]
fn a_fresh_standby_catches_up_with_a_long_history() {
    let mut world = World::new(&Weather { nodes: 2, messages: 200, loss: 2, ..Weather::fair(1) });
    let Role::Leader(leader) = &world.nodes[0].role else { panic!("node 0 leads") };
    let epoch = leader.epoch;
    for _ in 0..20_000 {
        world.nodes[0].journal.log.push(epoch);
    }
    world.histories.insert(epoch, world.nodes[0].journal.log.clone());
    world.run();
    assert_eq!(world.nodes[1].journal.log.frames.len(), world.histories[&epoch].frames.len());
    assert!(world.loaded < 12_000, "{} datagrams with frames", world.loaded);
}
