//! A sender, lossy lines, lossy rewind servers and a receiver in simulated time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seqcast_engine::downstream::{MessageSource, Sender, SenderConfig};
use seqcast_engine::feed::{
    FeedConfig, FeedState, FeedStats, LineId, Receiver, SessionRule, Sink, Start, Unfillable,
};
use seqcast_engine::rewind::{Bucket, History, Policy, Prefix, Reply, Server, ServerConfig, Verdict};
use seqcast_engine::time::Nanos;
use seqcast_wire::SeqNo;

use crate::support::*;

/// What may go wrong, and how much of it.
#[derive(Clone, Debug)]
struct Weather {
    seed: u64,
    messages: u64,
    lines: usize,
    /// Per line and per server, in percent.
    loss: u32,
    duplication: u32,
    /// Longest way of a datagram; the shortest is 5 µs: datagrams overtake one another.
    delay: Nanos,
    /// Of each rewind server: loses this many percent of requests and of replies; 100 is dead.
    servers: Vec<u32>,
    /// The sink refuses this many percent of items.
    refusal: u32,
    max_datagram_bytes: usize,
    /// Another sender takes over at this message, with other datagram sizes, and repeats as many.
    takeover: Option<(u64, u64)>,
    tight: bool,
    /// The receiver waits for a snapshot, which comes in this step and is this many messages old.
    snapshot: Option<(u32, u64)>,
}

fn weather() -> impl Strategy<Value = Weather> {
    let server = prop_oneof![3 => 0u32..30, 1 => Just(100u32)];
    let sizes = (64usize..400, prop::option::of((1u64..300, 0u64..40)), any::<bool>());
    let rates = (prop_oneof![Just(0u32), 1u32..40], 0u32..10, 5u64..400, prop_oneof![Just(0u32), 0u32..40]);
    (any::<u64>(), 1u64..600, 1usize..=4, rates, prop::collection::vec(server, 0..3), sizes).prop_map(
        |(seed, messages, lines, (loss, duplication, delay, refusal), servers, sizes)| {
            let (max_datagram_bytes, takeover, tight) = sizes;
            let delay = Nanos::from_micros(delay);
            Weather {
                seed,
                messages,
                lines,
                loss,
                duplication,
                delay,
                servers,
                refusal,
                max_datagram_bytes,
                takeover,
                tight,
                snapshot: None,
            }
        },
    )
}

enum Packet {
    Line(LineId, Vec<u8>),
    Request(usize, Vec<u8>),
    Reply(usize, Vec<u8>),
}

/// Everything on its way, by time of arrival.
struct Network {
    rng: ChaCha8Rng,
    packets: BTreeMap<(Nanos, u64), Packet>,
    sent: u64,
    delay: Nanos,
}

impl Network {
    fn strikes(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn send(&mut self, now: Nanos, packet: Packet) {
        let way = Nanos(self.rng.random_range(5_000..=self.delay.0.max(5_000)));
        self.sent += 1;
        self.packets.insert((now + way, self.sent), packet);
    }

    fn arrived(&mut self, now: Nanos) -> Option<Packet> {
        let entry = self.packets.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

/// The messages that were published, as a source for a sender.
struct Source<'a> {
    history: &'a History,
    next: SeqNo,
}

impl MessageSource for Source<'_> {
    fn peek(&mut self) -> Option<(SeqNo, &[u8])> {
        Some((self.next, self.history.message(self.next)?))
    }

    fn advance(&mut self) {
        self.next = self.next.next();
    }
}

/// Offers a reply its messages until it takes no more.
pub(crate) fn offer(history: &History, reply: &Reply, push: &mut dyn FnMut(SeqNo, &[u8]) -> bool) {
    let _ = history.messages_from(reply.first).all(|(seq, message)| push(seq, message));
}

/// Refuses at random.
struct Moody<'a> {
    record: &'a mut Record,
    rng: &'a mut ChaCha8Rng,
    refusal: u32,
}

impl Sink for Moody<'_> {
    fn on_item(&mut self, item: seqcast_engine::feed::Item<'_>) -> bool {
        self.rng.random_range(0..100) >= self.refusal && self.record.on_item(item)
    }
}

struct World {
    weather: Weather,
    now: Nanos,
    network: Network,
    history: History,
    sender: Sender,
    sent_to: SeqNo,
    servers: Vec<Server>,
    receiver: Receiver,
    record: Record,
    delivered_from: SeqNo,
    moods: ChaCha8Rng,
}

fn sender(max_datagram_bytes: usize, next: SeqNo) -> Sender {
    let config =
        SenderConfig { max_datagram_bytes, linger: Nanos::from_secs(600), ..SenderConfig::default() };
    Sender::new(&config, session(), next).unwrap()
}

fn rewind_server(max_datagram_bytes: usize) -> Server {
    let bucket = Bucket { datagrams_per_s: 1_000_000, bytes_per_s: 1 << 40, burst: Nanos::from_secs(1) };
    let config = ServerConfig {
        max_datagram_bytes,
        per_source: bucket,
        total: bucket,
        ..ServerConfig::new(session(), vec![Prefix::ANY])
    };
    Server::new(config).unwrap()
}

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 4_000);

impl World {
    fn new(weather: &Weather) -> World {
        // So often that a server which answers half of the requests answers every one in the end.
        let attempts = if weather.servers.iter().all(|&loss| loss == 100) { 4 } else { 60 };
        let config = FeedConfig {
            session: SessionRule::FirstSeen,
            start: if weather.snapshot.is_some() { Start::Snapshot } else { Start::At(SeqNo::FIRST) },
            lines: weather.lines,
            rewind_servers: weather.servers.len(),
            stash_messages: if weather.tight { 32 } else { 4_096 },
            max_gaps: if weather.tight { 3 } else { 256 },
            max_requests_in_flight: if weather.tight { 2 } else { 16 },
            max_gap_messages: 200,
            reorder_wait: weather.delay,
            request_timeout: Nanos::from_millis(2),
            max_backoff: Nanos::from_millis(100),
            attempts,
            on_unfillable: Unfillable::Skip,
            seed: weather.seed,
            ..FeedConfig::default()
        };
        World {
            now: Nanos::from_secs(1),
            network: Network {
                rng: ChaCha8Rng::seed_from_u64(weather.seed),
                packets: BTreeMap::new(),
                sent: 0,
                delay: weather.delay,
            },
            history: History::new(1 << 20, 1_024, SeqNo::FIRST, Policy::Keep),
            sender: sender(weather.max_datagram_bytes, SeqNo::FIRST),
            sent_to: SeqNo::FIRST,
            servers: weather.servers.iter().map(|_| rewind_server(weather.max_datagram_bytes)).collect(),
            receiver: Receiver::new(&config).unwrap(),
            record: Record::new(),
            delivered_from: SeqNo::FIRST,
            moods: ChaCha8Rng::seed_from_u64(!weather.seed),
            weather: weather.clone(),
        }
    }

    /// Publishes some messages, or ends the session after the last.
    fn publish(&mut self) {
        let published = self.history.next().value() - 1;
        if published == self.weather.messages {
            self.sender.end(self.now);
        } else if self.network.strikes(50) {
            let some = self.network.rng.random_range(1..=12).min(self.weather.messages - published);
            for n in published + 1..=published + some {
                self.history.try_push(&text(n)).unwrap();
            }
        }
        if let Some((at, repeated)) = self.weather.takeover.filter(|(at, _)| self.sent_to.value() > *at) {
            let next = seq((at + 1).saturating_sub(repeated).max(1));
            self.sender = sender(64 + self.weather.max_datagram_bytes / 2, next);
            (self.sent_to, self.weather.takeover) = (next, None);
        }
    }

    fn send(&mut self) {
        let mut buffer = [0; 1_500];
        loop {
            let mut source = Source { history: &self.history, next: self.sent_to };
            let len = self.sender.fill(self.now, &mut source, &mut buffer);
            self.sent_to = source.next;
            if len == 0 {
                return;
            }
            for line in 0..self.weather.lines {
                let copies = if self.network.strikes(self.weather.duplication) { 2 } else { 1 };
                for _ in 0..copies {
                    if !self.network.strikes(self.weather.loss) {
                        self.network.send(self.now, Packet::Line(LineId(line as u8), buffer[..len].to_vec()));
                    }
                }
            }
        }
    }

    fn receive(&mut self) {
        let mut sink =
            Moody { record: &mut self.record, rng: &mut self.moods, refusal: self.weather.refusal };
        while let Some(packet) = self.network.arrived(self.now) {
            match packet {
                Packet::Line(line, bytes) => self.receiver.on_datagram(self.now, line, &bytes, &mut sink),
                Packet::Reply(server, bytes) => self.receiver.on_reply(self.now, server, &bytes, &mut sink),
                Packet::Request(server, bytes) => {
                    let available = self.history.range();
                    let verdict = self.servers[server].on_request(self.now, CLIENT, &bytes, available);
                    assert_ne!(verdict, Verdict::Early, "nobody asks for what was not sent");
                }
            }
        }
        self.receiver.poll(self.now, &mut sink);
    }

    fn ask(&mut self) {
        let mut requests = 0;
        while let Some((server, request)) = self.receiver.poll_request(self.now) {
            requests += 1;
            assert!(requests <= 33, "more requests at once than may be in flight");
            assert!(request.first >= self.receiver.expected(), "asked for what was delivered");
            assert!(request.first.saturating_add(request.count.into()) <= self.receiver.highest_seen());
            let mut bytes = [0; 20];
            assert_eq!(request.emit(&mut bytes), 20);
            if !self.network.strikes(self.weather.servers[server]) {
                self.network.send(self.now, Packet::Request(server, bytes.to_vec()));
            }
        }
        for (index, server) in self.servers.iter_mut().enumerate() {
            while let Some(reply) = server.poll_reply() {
                let mut buffer = [0; 1_500];
                let history = &self.history;
                let len = server.fill_reply(&reply, &mut buffer, |push| offer(history, &reply, push));
                if len > 0 && !self.network.strikes(self.weather.servers[index]) {
                    self.network.send(self.now, Packet::Reply(index, buffer[..len].to_vec()));
                }
            }
        }
    }

    /// Lets the receiver go on from a snapshot of what was sent.
    fn resume(&mut self, age: u64) {
        let next = seq(self.sent_to.value().saturating_sub(age).max(1));
        self.receiver.resume_at(self.now, next);
        self.delivered_from = next;
    }

    /// Runs until the receiver has told the end. Gives its counts.
    fn run(&mut self) -> FeedStats {
        for step in 0..400_000 {
            if let Some((_, age)) = self.weather.snapshot.filter(|(at, _)| *at == step) {
                assert!(!self.record.items.iter().any(|item| matches!(item, Owned::Message(..))));
                self.resume(age);
            }
            self.publish();
            self.send();
            self.receive();
            self.ask();
            if self.receiver.state() == FeedState::Ended && self.network.packets.is_empty() {
                return *self.receiver.stats();
            }
            self.now = self.now + if step < 2_000 { Nanos::from_micros(20) } else { Nanos::from_micros(500) };
        }
        panic!("not over after 200 s: {:?}", self.receiver);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever the weather: every message once and in order, or told lost once; nothing lost while a server answers.
    #[test]
    fn everything_is_delivered_in_order_exactly_once_or_told_lost_once(weather in weather()) {
        let mut world = World::new(&weather);
        let stats = world.run();
        world.check(1)?;
        prop_assert_eq!(stats.delivered_messages + stats.lost_messages, weather.messages);
        prop_assert_eq!(
            stats.missing_messages,
            stats.line_filled_messages + stats.rewind_filled_messages + stats.lost_messages
        );
        prop_assert_eq!((stats.malformed_datagrams, stats.wrong_session_datagrams), (0, 0));
    }

    /// A snapshot of any age, at any time: everything from its number on.
    #[test]
    fn a_late_join_delivers_everything_from_the_snapshot_on(
        weather in weather(), at in 0u32..1_500, age in 0u64..100,
    ) {
        let weather = Weather { snapshot: Some((at, age)), ..weather };
        let mut world = World::new(&weather);
        world.run();
        let from = world.delivered_from.value();
        world.check(from)?;
    }
}

impl World {
    /// Every message from number `first` on once and in order, or told lost once; nothing lost while a server answers.
    fn check(&mut self, first: u64) -> Result<(), TestCaseError> {
        let (mut next, messages) = (first, self.weather.messages);
        for item in self.record.drain() {
            match item {
                Owned::Message(n, bytes) => {
                    prop_assert_eq!(n, next);
                    prop_assert_eq!(bytes, text(n));
                    next += 1;
                }
                Owned::Lost(first, count) => {
                    prop_assert!(first == next && count > 0);
                    let is_dead = self.weather.servers.iter().all(|&loss| loss == 100);
                    prop_assert!(is_dead, "lost with a server that answers");
                    next += count;
                }
                Owned::End(end) => prop_assert_eq!((next, end), (messages + 1, messages + 1)),
                Owned::Conflict(n) => prop_assert!(false, "conflict at {}", n),
                Owned::State(_) | Owned::Session(_) => {}
            }
        }
        prop_assert_eq!(next, messages + 1);
        Ok(())
    }
}

/// Loss on two independent lines is filled by the other almost always; requests stay near the number of double losses.
#[test]
fn two_lines_with_one_percent_loss_need_few_requests() {
    let weather = Weather {
        seed: 7,
        messages: 900,
        lines: 2,
        loss: 1,
        duplication: 0,
        delay: Nanos::from_micros(10),
        servers: vec![0],
        refusal: 0,
        max_datagram_bytes: 64,
        takeover: None,
        tight: false,
        snapshot: None,
    };
    let mut requests = 0;
    let mut lost = 0;
    for seed in 0..40 {
        let mut world = World::new(&Weather { seed, ..weather.clone() });
        let stats = world.run();
        requests += stats.requests;
        lost += (0..2).map(|l| world.receiver.line_stats(LineId(l)).unwrap().lost_datagrams).sum::<u64>();
        assert_eq!(stats.lost_messages, 0);
    }
    assert!(lost > 100, "{lost} datagrams lost");
    assert!(requests * 20 < lost, "{requests} requests for {lost} lost datagrams");
}
