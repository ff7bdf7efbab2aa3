use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::super::status::{Note, Report, Role, What};
use super::*;
use crate::replica::Watermarks;
use crate::stat::{Counters, CountersSpec};
use seqcast_wire::SeqNo;

/// Longest wait for anything: only a hang takes as long.
const BOUND: Duration = Duration::from_secs(60);
const SESSION: &str = "LINKTEST";

/// Nodes on loopback addresses of their own, and a clock that every turn moves on.
struct World {
    nodes: Vec<(String, SocketAddrV4)>,
    links: Vec<Option<Links>>,
    desks: Vec<Desk>,
    now: Nanos,
    step: Nanos,
}

/// Addresses that nobody listens at, each test's its own.
fn addresses(count: u8) -> Vec<(String, SocketAddrV4)> {
    static WORLDS: AtomicU16 = AtomicU16::new(0);
    let [high, low] = WORLDS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let free = |node: u8| {
        let ip = Ipv4Addr::new(127, 100 + high, low, 10 + node);
        let listener = Listener::bind((ip, 0).into()).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        (format!("n{}", node + 1), address)
    };
    (0..count).map(free).collect()
}

fn plan(nodes: &[(String, SocketAddrV4)], me: u16) -> LinksPlan {
    LinksPlan {
        session: SESSION.parse().unwrap(),
        me: NodeId(me),
        incarnation: 0x100 + u64::from(me),
        nodes: nodes.to_vec(),
        operators: vec!["127.0.0.1".parse().unwrap()],
        wait: Nanos::ZERO,
    }
}

fn open(plan: LinksPlan, desk: &Desk) -> Links {
    let counters = Counters::anonymous("links", CountersSpec::default()).unwrap();
    Links::open(plan, desk.clone(), Meter::new(&counters, "links", "")).unwrap()
}

impl World {
    fn new(count: u8) -> World {
        let nodes = addresses(count);
        let desks: Vec<_> = nodes.iter().map(|_| Desk::new()).collect();
        let links = (0..).zip(&desks).map(|(me, desk)| Some(open(plan(&nodes, me), desk))).collect();
        World { nodes, links, desks, now: Nanos(1), step: Nanos::from_micros(100) }
    }

    fn start(&mut self, me: usize) {
        self.links[me] = Some(open(plan(&self.nodes, me as u16), &self.desks[me]));
    }

    fn turn(&mut self) {
        self.now = self.now + self.step;
        for links in self.links.iter_mut().flatten() {
            links.do_work(self.now).unwrap();
        }
    }

    /// Turns until `done` says so.
    #[track_caller]
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut World) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = done(self) {
                return found;
            }
            assert!(began.elapsed() < BOUND, "in vain: {what}");
            self.turn();
        }
    }

    #[track_caller]
    fn event(&mut self, at: usize) -> (u16, LinkChange) {
        let event = self.until("an event", |world| world.desks[at].poll_link());
        (event.node.0, event.change)
    }

    fn is_up(&self, at: usize, node: u16) -> bool {
        let links = self.links[at].as_ref().unwrap();
        links.peers.iter().any(|peer| peer.node.0 == node && peer.is_up())
    }

    fn connected(&mut self) {
        let count = self.nodes.len();
        let mut seen = vec![0; count];
        while seen.iter().any(|&seen| seen < count - 1) {
            for (at, seen) in seen.iter_mut().enumerate() {
                while let Some(event) = self.desks[at].poll_link() {
                    assert_eq!(event.change, LinkChange::Up);
                    *seen += 1;
                }
            }
            self.turn();
        }
    }

    /// Connects to node `at` from `from` as somebody would who is no node.
    fn call(&self, from: Ipv4Addr, at: usize) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddrV4::new(from, 0).into()).unwrap();
        // The kernel of a listener answers at once: nothing has to accept for that.
        socket.connect(&self.nodes[at].1.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.into()
    }

    /// Says `words` to node `at` and gives all that it answers until it closes.
    #[track_caller]
    fn say(&mut self, from: Ipv4Addr, at: usize, words: &[u8]) -> String {
        let mut stream = self.call(from, at);
        let (mut said, mut answer) = (0, Vec::new());
        self.until("an answer and its end", |_| {
            while said < words.len() {
                match stream.write(&words[said..]) {
                    Ok(count) => said += count,
                    Err(_) => break,
                }
            }
            match stream.read_to_end(&mut answer) {
                Ok(_) => Some(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
                Err(error) if error.kind() == std::io::ErrorKind::NotConnected => None,
                Err(_) => Some(()),
            }
        });
        String::from_utf8(answer).unwrap()
    }

    fn refused(&self, at: usize) -> u64 {
        self.links[at].as_ref().unwrap().refused
    }
}

const OPERATOR: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn status() -> NodeStatus {
    let at = |value| SeqNo::new(value).unwrap();
    NodeStatus::starting(
        0xabc,
        Watermarks {
            numbered: at(9),
            appended: at(8),
            durable: at(1),
            replicated: at(7),
            committed: at(7),
            published: at(6),
        },
    )
}

#[test]
fn every_pair_has_one_connection_and_a_death_is_told_to_all_others() {
    let mut world = World::new(3);
    world.connected();
    for at in 0..3 {
        assert!(world.desks[at].poll_link().is_none(), "once");
    }
    world.links[1] = None;
    assert_eq!(world.event(0), (1, LinkChange::Dead));
    assert_eq!(world.event(2), (1, LinkChange::Dead));
    assert!(world.is_up(0, 2) && world.is_up(2, 0), "the others are not concerned");
    world.start(1);
    assert_eq!(world.event(0), (1, LinkChange::Up));
    assert_eq!(world.event(2), (1, LinkChange::Up));
    assert_eq!(world.event(1).1, LinkChange::Up);
}

#[test]
fn the_end_comes_before_the_new_beginning_even_when_nobody_took_either() {
    let mut world = World::new(2);
    world.connected();
    world.links[1] = None;
    world.until("the end to be seen", |world| (!world.is_up(0, 1)).then_some(()));
    world.start(1);
    world.until("a new connection", |world| world.is_up(0, 1).then_some(()));
    assert_eq!(world.event(0), (1, LinkChange::Dead));
    assert_eq!(world.event(0), (1, LinkChange::Up));
}

#[test]
fn events_that_find_no_room_are_brought_later() {
    let mut world = World::new(2);
    world.connected();
    let filler = LinkEvent { node: NodeId(7), change: LinkChange::Up };
    while world.desks[0].try_bring(filler) {}
    world.links[1] = None;
    world.until("the end to be seen", |world| (!world.is_up(0, 1)).then_some(()));
    world.start(1);
    world.until("a new connection", |world| world.is_up(0, 1).then_some(()));
    while world.desks[0].poll_link() == Some(filler) {}
    assert_eq!(world.event(0), (1, LinkChange::Dead));
    assert_eq!(world.event(0), (1, LinkChange::Up));
}

#[test]
fn silence_is_given_up_in_words_and_is_no_death() {
    let mut world = World::new(2);
    world.connected();
    // Node 1 is frozen: it has the connection and says nothing.
    let frozen = world.links[1].take();
    world.step = Nanos::from_millis(100);
    assert_eq!(world.event(0), (1, LinkChange::Down));
    world.step = Nanos::from_micros(100);
    world.links[1] = frozen;
    assert_eq!(world.event(1), (0, LinkChange::Down), "it thaws and reads that it was given up");
    assert_eq!(world.event(0), (1, LinkChange::Up));
    assert_eq!(world.event(1), (0, LinkChange::Up));
}

#[test]
fn a_node_that_was_away_itself_hears_before_it_judges() {
    let mut world = World::new(2);
    world.connected();
    let away = world.links[0].take();
    // The other goes on, says that it lives, and does not give up.
    world.step = Nanos::from_millis(500);
    (0..8).for_each(|_| world.turn());
    world.links[0] = away;
    world.now = world.now + Nanos::from_millis(1500);
    for _ in 0..20 {
        world.step = Nanos::from_micros(100);
        world.turn();
    }
    assert!(world.is_up(0, 1), "what had come proves that the other lives");
    assert!(world.desks[0].poll_link().is_none());
}

#[test]
fn lives_on_for_as_long_as_both_say_so() {
    let mut world = World::new(2);
    world.connected();
    world.step = Nanos::from_millis(300);
    (0..200).for_each(|_| world.turn());
    assert!(world.is_up(0, 1) && world.is_up(1, 0));
}

#[test]
fn who_is_no_node_is_refused_with_a_reason() {
    let mut world = World::new(3);
    world.links[0] = None;
    let ip = |world: &World, node: usize| *world.nodes[node].1.ip();
    let (first, last) = (ip(&world, 0), ip(&world, 2));
    let cases: [(Ipv4Addr, &[u8], &str); 10] = [
        (first, b"SEQCAST 1 OTHER 0 1\n", "session OTHER: this node is of LINKTEST"),
        (first, b"SEQCAST 1 LINKTEST 9 1\n", "node 9: there is none"),
        (first, b"SEQCAST 1 LINKTEST 1 1\n", "that is this node"),
        (OPERATOR, b"SEQCAST 1 LINKTEST 0 1\n", "not at 127.0.0.1"),
        (last, b"SEQCAST 1 LINKTEST 2 1\n", "waits for this node to connect"),
        (first, b"SEQCAST 7 LINKTEST 0 1\n", "this node speaks 1"),
        (first, b"ALIVE\n", "begin with who you are"),
        (OPERATOR, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "neither a hello nor one of"),
        (OPERATOR, &[0xff; 100], "nothing was said in time"),
        (OPERATOR, &[b'x'; 4000], "too long"),
    ];
    for (count, (from, words, why)) in (1..).zip(cases) {
        if why.contains("in time") {
            world.step = Nanos::from_millis(200);
        }
        let answer = world.say(from, 1, words);
        world.step = Nanos::from_micros(100);
        assert!(answer.starts_with("BYE ") && answer.contains(why), "{answer:?} says nothing of {why:?}");
        assert_eq!(world.refused(1), count);
    }
    let stranger = Ipv4Addr::new(127, 9, 9, 9);
    assert_eq!(world.say(stranger, 1, b"status\n"), "", "not even a word");
    assert!(world.is_up(1, 2), "the others are not concerned");
}

#[test]
fn a_second_connection_of_a_node_is_refused_and_the_first_stays() {
    let mut world = World::new(2);
    world.connected();
    let from = *world.nodes[0].1.ip();
    let answer = world.say(from, 1, b"SEQCAST 1 LINKTEST 0 999\n");
    assert!(answer.contains("n1 is connected already"), "{answer}");
    assert!(world.is_up(0, 1) && world.is_up(1, 0));
    assert!(world.desks[1].poll_link().is_none());
}

#[test]
fn a_link_that_says_what_has_no_place_there_is_given_up() {
    let mut world = World::new(2);
    world.links[0] = None;
    let from = *world.nodes[0].1.ip();
    for nonsense in ["status\n", "SEQCAST 1 LINKTEST 0 1\n", "\u{0}\u{0}\n"] {
        let mut stream = world.call(from, 1);
        world.until("room to write", |_| stream.write(b"SEQCAST 1 LINKTEST 0 1\n").ok());
        assert_eq!(world.event(1), (0, LinkChange::Up));
        world.until("room to write", |_| stream.write(nonsense.as_bytes()).ok());
        let mut answer = String::new();
        world.until("the end", |_| stream.read_to_string(&mut answer).ok());
        assert!(answer.starts_with("SEQCAST 1 LINKTEST 1 101\nBYE "), "{answer:?}");
        assert_eq!(world.event(1), (0, LinkChange::Down));
        // All in one breath: it was never there.
        let answer = world.say(from, 1, format!("SEQCAST 1 LINKTEST 0 1\n{nonsense}").as_bytes());
        assert!(answer.starts_with("SEQCAST 1 LINKTEST 1 101\nBYE "), "{answer:?}");
        while world.desks[1].poll_link().is_some() {}
    }
}

#[test]
fn connections_that_say_nothing_are_bounded_and_do_not_keep_a_node_out_for_long() {
    let mut world = World::new(2);
    let sleeping = world.links[0].take();
    let held: Vec<_> = (0..MAX_GUESTS + 5).map(|_| world.call(OPERATOR, 1)).collect();
    world.until("all to be accepted", |world| {
        let links = world.links[1].as_ref().unwrap();
        (links.accepted as usize == held.len()).then_some(())
    });
    assert_eq!((world.links[1].as_ref().unwrap().guests.len(), world.refused(1)), (MAX_GUESTS, 5));
    world.links[0] = sleeping;
    world.step = Nanos::from_millis(50);
    world.until("the node to be let in", |world| world.is_up(1, 0).then_some(()));
    assert!(world.links[1].as_ref().unwrap().guests.len() < MAX_GUESTS);
}

#[test]
fn status_is_one_line_of_json_and_a_close() {
    let mut world = World::new(2);
    world.connected();
    let answer = world.say(OPERATOR, 0, b"status\n");
    assert!(answer.starts_with("BYE this node has not said yet"), "{answer}");
    world.desks[0].post(&status());
    let mut later = status();
    later.role = Role::Standby;
    later.peers[1].silent = Some(Nanos(5));
    world.desks[0].post(&later);
    for number in 0..MAX_NOTES as u64 + 2 {
        let about = Some(NodeId(1));
        let what = What::Suspected;
        world.desks[0].note(Note {
            wall_ns: number,
            role: Role::Standby,
            epoch: 3,
            what,
            about,
            reason: "x",
        });
    }
    let answer = world.say(OPERATOR, 0, b"status\r\n");
    let report: Report = serde_json::from_str(answer.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!((report.name.as_str(), report.role), ("n1", Role::Standby));
    assert_eq!((report.peers[0].link, report.peers[0].silent_ns), (true, Some(5)));
    assert_eq!((report.notes.len(), report.notes[0].number), (MAX_NOTES, 2), "the last ones");
    assert_eq!(report.notes[0].about.as_deref(), Some("n2"));
}

#[test]
fn a_command_is_taken_once_and_its_outcome_is_told_who_asked() {
    let mut world = World::new(2);
    let mut stream = world.call(OPERATOR, 0);
    world.until("room to write", |_| stream.write(b"promote\n").ok());
    let command = world.until("the command", |world| world.desks[0].poll_command());
    assert_eq!(command.what, OperatorCommand::Promote);
    let second = world.say(OPERATOR, 0, b"retire\n");
    assert!(second.contains("a promote is under way"), "{second}");
    world.desks[0].answer(command.ticket + 5, CommandOutcome::Done("another one"));
    (0..5).for_each(|_| world.turn());
    world.desks[0].answer(command.ticket, CommandOutcome::Refused("it is primary already"));
    let mut answer = String::new();
    world.until("the outcome", |_| stream.read_to_string(&mut answer).ok());
    assert_eq!(
        answer,
        "{\"command\":\"promote\",\"outcome\":\"refused\",\"what\":\"it is primary already\"}\n"
    );
    stream.shutdown(Shutdown::Both).unwrap();
    // The next one is served again, by whoever asks.
    let from = *world.nodes[1].1.ip();
    let mut stream = world.call(from, 0);
    world.until("room to write", |_| stream.write(b"retire\n").ok());
    let command = world.until("the command", |world| world.desks[0].poll_command());
    assert_eq!(command.what, OperatorCommand::Retire);
}

#[test]
fn a_command_that_nobody_takes_is_taken_back_in_time() {
    let mut world = World::new(1);
    world.step = Nanos::from_millis(500);
    let answer = world.say(OPERATOR, 0, b"promote\n");
    assert!(answer.contains("\"refused\"") && answer.contains("did not take"), "{answer}");
    assert!(world.desks[0].poll_command().is_none());
    // Taken, and nothing came of it.
    let mut stream = world.call(OPERATOR, 0);
    world.until("room to write", |_| stream.write(b"retire\n").ok());
    world.until("the command", |world| world.desks[0].poll_command());
    let mut answer = String::new();
    world.until("the outcome", |_| stream.read_to_string(&mut answer).ok());
    assert!(answer.contains("\"unknown\""), "{answer}");
}

#[test]
fn a_node_that_is_none_is_refused_at_the_start() {
    let nodes = addresses(1);
    let counters = Counters::anonymous("links", CountersSpec::default()).unwrap();
    let error = Links::open(plan(&nodes, 3), Desk::new(), Meter::new(&counters, "links", "")).err().unwrap();
    assert_eq!(error.to_string(), "node 3 is none of 1 nodes");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever a stranger says, however it is cut: it is answered and gone, and the node lives.
    #[test]
    fn anything_may_be_said(pieces in proptest::collection::vec(proptest::collection::vec(0u8..=255, 0..80), 0..6)) {
        let mut world = World::new(1);
        let mut stream = world.call(OPERATOR, 0);
        for piece in &pieces {
            let _ = stream.write(piece);
            world.turn();
        }
        world.step = Nanos::from_millis(500);
        world.until("it to be gone", |world| {
            let links = world.links[0].as_ref().unwrap();
            (links.accepted == 1 && links.guests.is_empty()).then_some(())
        });
    }
}
