use super::*;
use crate::sim::dice::Purpose;

const US: u64 = 1_000;

/// Three nodes, each 10 µs from the others.
struct World {
    net: Net,
    trace: Trace,
    injected: Injected,
    now: Nanos,
}

impl World {
    fn new() -> World {
        let mut net = Net::new(3, Dice::new(1, Purpose::Network), 4_096);
        for (from, to) in (0..9).map(|at| (at / 3, at % 3)) {
            net.link_mut(from, to).latency = Nanos(10 * US);
        }
        World { net, trace: Trace::default(), injected: Injected::default(), now: Nanos::ZERO }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Net, &mut Notes<'_>) -> T) -> T {
        let mut notes = Notes { now: self.now, trace: &mut self.trace, injected: &mut self.injected };
        call(&mut self.net, &mut notes)
    }

    fn send(&mut self, node: usize, to: SocketAddrV4, what: &[u8]) {
        let from = SocketAddrV4::new(address(node), 9);
        self.with(|net, notes| net.send((node, from), to, &what.into(), false, notes));
    }

    /// What is in a socket after `us` more microseconds.
    fn after(&mut self, us: u64, (node, socket): (usize, u64)) -> Vec<Vec<u8>> {
        self.now = self.now + Nanos(us * US);
        self.with(|net, notes| {
            net.arrive(notes);
            std::iter::from_fn(|| net.receive(node, socket)).map(|datagram| datagram.bytes.to_vec()).collect()
        })
    }

    fn socket(&mut self, node: usize, port: u16) -> ((usize, u64), SocketAddrV4) {
        let bind = Bind::Local { local: SocketAddrV4::new(address(node), port), multicast_ttl: 1 };
        let (id, local) = self.net.bind(node, &bind, 1 << 20).unwrap();
        ((node, id), local)
    }

    fn line(&mut self, node: usize, source: Option<Ipv4Addr>) -> (usize, u64) {
        let bind = Bind::Line { group: group(), interface: address(node), source };
        (node, self.net.bind(node, &bind, 1 << 20).unwrap().0)
    }
}

fn group() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 1), 7)
}

#[test]
fn datagrams_take_their_time_and_keep_their_order() {
    let mut world = World::new();
    let (socket, to) = world.socket(1, 5);
    world.send(0, to, b"1");
    world.net.link_mut(0, 1).latency = Nanos(US);
    world.send(0, to, b"2");
    assert!(world.after(9, socket).is_empty(), "the second does not overtake");
    assert_eq!(world.after(1, socket), [b"1", b"2"]);
}

#[test]
fn what_was_sent_before_paths_changed_may_be_overtaken() {
    let mut world = World::new();
    let (socket, to) = world.socket(1, 5);
    world.send(0, to, b"1");
    world.net.link_mut(0, 1).latency = Nanos(US);
    world.net.reroute();
    world.send(0, to, b"2");
    assert_eq!(world.after(2, socket), [b"2"]);
    assert_eq!(world.after(10, socket), [b"1"]);
}

#[test]
fn groups_reach_who_joined_by_sender_where_asked() {
    let mut world = World::new();
    let (all, of_two, itself) = (world.line(1, None), world.line(1, Some(address(2))), world.line(0, None));
    world.send(0, group(), b"from 0");
    world.send(2, group(), b"from 2");
    assert_eq!(world.after(20, all).len(), 2);
    assert_eq!(world.after(0, of_two), [b"from 2"]);
    assert_eq!(world.after(0, itself).len(), 2, "looped back");
}

#[test]
fn a_cut_is_one_way_and_lets_pass_what_was_on_its_way() {
    let mut world = World::new();
    let ((here, at_0), (there, at_1)) = (world.socket(0, 5), world.socket(1, 5));
    world.send(0, at_1, b"early");
    world.net.link_mut(0, 1).cut = Some(FaultClass::OneWay);
    world.send(0, at_1, b"late");
    world.send(1, at_0, b"back");
    assert_eq!(world.after(20, there), [b"early"]);
    assert_eq!(world.after(0, here), [b"back"]);
    assert_eq!(world.injected.of(FaultClass::OneWay), 1);
}

#[test]
fn a_socket_that_nobody_reads_overflows() {
    let mut world = World::new();
    let (socket, to) = world.socket(1, 5);
    (0..10).for_each(|_| world.send(0, to, &[0; 700]));
    assert_eq!(world.after(20, socket).len(), 4_096 / (700 + OVERHEAD_BYTES));
    assert_eq!(world.injected.of(FaultClass::Overflow), 6);
    world.send(0, to, b"again");
    assert_eq!(world.after(20, socket), [b"again"], "there is room once it was read");
}

#[test]
fn addresses_are_ones_own_and_taken_once() {
    let mut world = World::new();
    world.socket(1, 5);
    let bind =
        |at: usize, port| Bind::Local { local: SocketAddrV4::new(address(at), port), multicast_ttl: 1 };
    assert!(world.net.bind(1, &bind(1, 5), 1).is_err(), "in use");
    assert!(world.net.bind(1, &bind(2, 5), 1).is_err(), "another node's");
    let (_, local) = world.net.bind(1, &bind(1, 0), 1).unwrap();
    assert!(local.port() > EPHEMERAL);
}
