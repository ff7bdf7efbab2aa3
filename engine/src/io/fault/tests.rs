use std::net::Ipv4Addr;

use super::super::Bind;
use super::*;

const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);

/// A wire in memory: what is sent comes back at the next poll, at the endpoint it left from.
#[derive(Default)]
struct Loop {
    wire: Vec<(u16, Vec<u8>)>,
    room: Option<usize>,
    busy: u64,
}

impl Driver for Loop {
    fn open(&mut self, _: &EndpointSpec) -> io::Result<EndpointId> {
        Ok(EndpointId(0))
    }

    fn local_addr(&self, _: EndpointId) -> SocketAddrV4 {
        ADDRESS
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        _: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        let ready = self.wire.len().min(limit);
        for (endpoint, bytes) in self.wire.drain(..ready) {
            on_datagram(Received { endpoint: EndpointId(endpoint), from: ADDRESS, bytes: &bytes });
        }
        Ok(ready)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        if self.room.is_some_and(|room| self.wire.len() + to.len() > room) {
            self.busy += 1;
            return Err(Busy);
        }
        let mut bytes = vec![0; max_bytes];
        let len = fill(&mut bytes);
        if len > 0 {
            let sent = to.iter().map(|to| (to.endpoint.0, bytes[..len].to_vec()));
            self.wire.extend(sent);
        }
        Ok(len)
    }

    fn flush(&mut self, _: Nanos) -> io::Result<()> {
        Ok(())
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters { busy: self.busy, ..DriverCounters::default() }
    }

    fn name(&self) -> &'static str {
        "loop"
    }
}

fn to(endpoint: u16) -> Destination {
    Destination { endpoint: EndpointId(endpoint), to: ADDRESS }
}

fn send<D: Driver>(driver: &mut D, to: &[Destination], number: u32) -> Result<usize, Busy> {
    driver.transmit(to, 4, |buffer| {
        buffer.copy_from_slice(&number.to_le_bytes());
        4
    })
}

fn receive<D: Driver>(driver: &mut D, now: Nanos) -> Vec<(u16, u32)> {
    let mut seen = Vec::new();
    driver
        .poll_rx(now, usize::MAX, |received| {
            seen.push((received.endpoint.0, u32::from_le_bytes(received.bytes.try_into().unwrap())));
        })
        .unwrap();
    seen
}

/// Sends `count` datagrams out of endpoints 0 and 1 by turns, one every microsecond, and gives what comes back.
fn run(plan: &FaultPlan, count: u32) -> (Vec<(u16, u32)>, FaultCounters, FaultCounters) {
    let mut driver = Fault::new(Loop::default(), plan).unwrap();
    let mut seen = Vec::new();
    for number in 0..count {
        let now = Nanos::from_micros(u64::from(number));
        send(&mut driver, &[to((number % 2) as u16)], number).unwrap();
        driver.flush(now).unwrap();
        seen.extend(receive(&mut driver, now));
    }
    driver.flush(Nanos::from_secs(1_000)).unwrap();
    seen.extend(receive(&mut driver, Nanos::from_secs(1_000)));
    (seen, driver.receive_faults(), driver.transmit_faults())
}

fn all_faults() -> Faults {
    Faults {
        loss: 0.05,
        duplicate: 0.02,
        reorder: 0.10,
        reorder_by: Nanos::from_micros(20),
        delay: Nanos::from_micros(3),
        jitter: Nanos::from_micros(4),
    }
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    let plan = FaultPlan { seed: 7, receive: all_faults(), transmit: all_faults(), ..FaultPlan::default() };
    assert_eq!(run(&plan, 20_000), run(&plan, 20_000));
    assert_ne!(run(&plan, 20_000).0, run(&FaultPlan { seed: 8, ..plan }, 20_000).0);
}

#[test]
fn rates_are_what_was_asked_for() {
    let count = 100_000;
    for receive in [true, false] {
        let plan = if receive {
            FaultPlan { seed: 1, receive: all_faults(), ..FaultPlan::default() }
        } else {
            FaultPlan { seed: 1, transmit: all_faults(), ..FaultPlan::default() }
        };
        let (seen, at_receive, at_transmit) = run(&plan, count);
        let counters = if receive { at_receive } else { at_transmit };
        assert_eq!(counters.datagrams, u64::from(count));
        assert_eq!(counters.overflowed, 0);
        // Within five standard deviations.
        let near = |counted: u64, chance: f64, of: u64| {
            let (expected, n) = (chance * of as f64, of as f64);
            assert!(
                (counted as f64 - expected).abs() < 5.0 * (n * chance * (1.0 - chance)).sqrt(),
                "{counted}"
            );
        };
        let survivors = counters.datagrams - counters.lost;
        near(counters.lost, 0.05, counters.datagrams);
        near(counters.duplicated, 0.02, survivors);
        near(counters.reordered, 0.10, survivors);
        assert_eq!(counters.delayed, survivors + counters.duplicated, "every one takes 3 µs at least");
        assert_eq!(seen.len() as u64, survivors + counters.duplicated);
        // What was reordered was overtaken, and nothing else: each is 20 µs late where one leaves every 2.
        for endpoint in [0, 1] {
            let mut highest = 0;
            let late = seen
                .iter()
                .filter(|datagram| datagram.0 == endpoint)
                .filter(|datagram| {
                    highest = highest.max(datagram.1);
                    datagram.1 < highest
                })
                .count() as f64;
            assert!((0.09..0.11).contains(&(late / (seen.len() as f64 / 2.0))), "{late}");
        }
    }
}

#[test]
fn lines_are_independent() {
    let faults = Faults { loss: 0.3, ..Faults::NONE };
    let fates = |driver: &mut Fault<Loop>, endpoints: &[u16]| {
        let mut seen = Vec::new();
        for number in 0..1_000 {
            for &endpoint in endpoints {
                send(driver, &[to(endpoint)], number).unwrap();
            }
            seen.extend(receive(driver, Nanos::ZERO));
        }
        seen.retain(|datagram| datagram.0 == 1);
        seen
    };
    let plan = FaultPlan { seed: 3, transmit: faults, ..FaultPlan::default() };
    let alone = fates(&mut Fault::new(Loop::default(), &plan).unwrap(), &[1]);
    let beside_another = fates(&mut Fault::new(Loop::default(), &plan).unwrap(), &[0, 1, 0]);
    assert_eq!(alone, beside_another);

    let only_the_other = (EndpointId(0), Faults::NONE, Faults { loss: 1.0, ..Faults::NONE });
    let plan = FaultPlan { transmit: Faults::NONE, endpoints: vec![only_the_other], ..plan };
    assert_eq!(fates(&mut Fault::new(Loop::default(), &plan).unwrap(), &[0, 1]).len(), 1_000);
}

#[test]
fn delay_keeps_order_and_time() {
    let faults = Faults { delay: Nanos(100), ..Faults::NONE };
    let plan = FaultPlan { receive: faults, ..FaultPlan::default() };
    let mut driver = Fault::new(Loop::default(), &plan).unwrap();
    for number in 0..3 {
        send(&mut driver, &[to(0)], number).unwrap();
        assert_eq!(receive(&mut driver, Nanos(u64::from(number))), []);
    }
    assert_eq!(receive(&mut driver, Nanos(99)), []);
    assert_eq!(receive(&mut driver, Nanos(101)), [(0, 0), (0, 1)]);
    assert_eq!(receive(&mut driver, Nanos(102)), [(0, 2)]);
}

#[test]
fn jitter_does_not_reorder() {
    let faults = Faults { jitter: Nanos::from_micros(50), ..Faults::NONE };
    for plan in [
        FaultPlan { seed: 5, receive: faults, ..FaultPlan::default() },
        FaultPlan { seed: 5, transmit: faults, ..FaultPlan::default() },
    ] {
        let seen = run(&plan, 5_000).0;
        assert_eq!(seen.len(), 5_000);
        for endpoint in [0, 1] {
            let numbers: Vec<u32> =
                seen.iter().filter(|datagram| datagram.0 == endpoint).map(|datagram| datagram.1).collect();
            assert!(numbers.is_sorted());
        }
    }
}

#[test]
fn what_finds_no_room_is_lost_and_counted() {
    let faults = Faults { delay: Nanos(100), ..Faults::NONE };
    let plan = FaultPlan { receive: faults, held_datagrams: 2, ..FaultPlan::default() };
    let mut driver = Fault::new(Loop::default(), &plan).unwrap();
    for number in 0..5 {
        send(&mut driver, &[to(0)], number).unwrap();
    }
    assert_eq!(receive(&mut driver, Nanos(0)), []);
    assert_eq!(receive(&mut driver, Nanos(100)), [(0, 0), (0, 1)]);
    assert_eq!((driver.receive_faults().delayed, driver.receive_faults().overflowed), (2, 3));

    let plan = FaultPlan { receive: faults, held_datagram_bytes: 3, ..FaultPlan::default() };
    let mut driver = Fault::new(Loop::default(), &plan).unwrap();
    send(&mut driver, &[to(0)], 0).unwrap();
    assert_eq!(receive(&mut driver, Nanos(0)), []);
    assert_eq!(driver.receive_faults().overflowed, 1);
}

#[test]
fn a_busy_driver_stays_busy_and_nothing_is_lost() {
    let faults = Faults { duplicate: 1.0, ..Faults::NONE };
    let plan = FaultPlan { transmit: faults, ..FaultPlan::default() };
    let mut driver = Fault::new(Loop { room: Some(1), ..Loop::default() }, &plan).unwrap();
    send(&mut driver, &[to(0)], 1).unwrap();
    assert_eq!(driver.transmit(&[to(1)], 4, |_| panic!("not called")), Err(Busy));
    assert_eq!(driver.counters().busy, 1);
    assert_eq!(driver.transmit_faults().datagrams, 1, "what was refused did not happen");
    // The second copy waits for room.
    driver.flush(Nanos(1)).unwrap();
    assert_eq!(receive(&mut driver, Nanos(1)), [(0, 1)]);
    driver.flush(Nanos(2)).unwrap();
    assert_eq!(receive(&mut driver, Nanos(2)), [(0, 1)]);
}

#[test]
fn several_destinations_have_their_own_fates_and_a_claim_can_be_taken_back() {
    let lossy = (EndpointId(0), Faults::NONE, Faults { loss: 1.0, ..Faults::NONE });
    let slow = (EndpointId(1), Faults::NONE, Faults { delay: Nanos(10), ..Faults::NONE });
    let plan = FaultPlan { endpoints: vec![lossy, slow], ..FaultPlan::default() };
    let mut driver = Fault::new(Loop::default(), &plan).unwrap();
    let lines = [to(0), to(1), to(2)];
    assert_eq!(send(&mut driver, &lines, 9), Ok(4));
    assert_eq!(receive(&mut driver, Nanos(0)), [(2, 9)]);
    driver.flush(Nanos(10)).unwrap();
    assert_eq!(receive(&mut driver, Nanos(10)), [(1, 9)]);

    let before = driver.transmit_faults();
    assert_eq!(driver.transmit(&lines, 4, |_| 0), Ok(0));
    assert_eq!(driver.transmit(&lines[..2], 4, |_| 0), Ok(0));
    driver.flush(Nanos(20)).unwrap();
    assert_eq!(receive(&mut driver, Nanos(30)), []);
    assert_eq!(driver.transmit_faults(), before);
}

#[test]
fn plans_out_of_bounds_are_refused() {
    let refused = |plan: FaultPlan, word: &str| {
        let text = plan.validate().unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    };
    let wrong = Faults { loss: 1.5, ..Faults::NONE };
    refused(FaultPlan { receive: wrong, ..FaultPlan::default() }, "loss is 1.5");
    let wrong = Faults { reorder: f64::NAN, ..Faults::NONE };
    refused(
        FaultPlan { endpoints: vec![(EndpointId(3), Faults::NONE, wrong)], ..FaultPlan::default() },
        "reorder",
    );
    refused(FaultPlan { held_datagrams: 100_000, ..FaultPlan::default() }, "held_datagrams");
    refused(FaultPlan { held_datagram_bytes: 0, ..FaultPlan::default() }, "held_datagram_bytes");
    let bind = Bind::Local { local: ADDRESS, multicast_ttl: 1 };
    let spec = EndpointSpec { bind, receive_buffer_bytes: 0, send_buffer_bytes: 0 };
    let mut driver = Fault::new(Loop::default(), &FaultPlan::default()).unwrap();
    assert_eq!(driver.open(&spec).unwrap(), EndpointId(0));
}
