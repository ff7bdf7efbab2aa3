//! The contract of `io::Driver`, run over every driver and wrapper on this host's loopback; AF_XDP over a pair of network
//! namespaces.
//!
//! Nothing is decided by time: each case polls until what must arrive has arrived, within a bound that only a hang
//! reaches. Where io_uring or AF_XDP is not to be had its cases print `skipped`.
#![allow(clippy::print_stdout)]

mod io_support;

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use io_support::*;
use seqcast_engine::io::fault::{Fault, FaultPlan};
use seqcast_engine::io::tap::Tap;
use seqcast_engine::io::udp::UdpDriver;
use seqcast_engine::io::{
    AnyDriver, Bind, Busy, Driver, DriverChoice, DriverConfig, EndpointId, EndpointSpec, Received, open_best,
};
use seqcast_engine::time::Nanos;

/// Makes a module of tests of each case: one for each driver.
macro_rules! on_every_driver {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use super::*;

            #[test]
            fn udp() {
                super::$case(make_udp);
            }

            #[test]
            fn any() {
                super::$case(make_any);
            }

            #[test]
            fn fault_without_faults() {
                super::$case(|config: &DriverConfig| Fault::new(make_any(config), &FaultPlan::default()).unwrap());
            }

            #[test]
            fn tap() {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("tap.pcapng");
                super::$case(|config: &DriverConfig| Tap::create(make_any(config), &path, Nanos::ZERO, 1 << 60).unwrap());
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn uring() {
                if uring_is_here() {
                    super::$case(make_uring);
                }
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn uring_without_receive_offload() {
                if uring_is_here() {
                    super::$case(|config: &DriverConfig| make_uring(&DriverConfig { gro: false, ..config.clone() }));
                }
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn uring_without_offloads() {
                if uring_is_here() {
                    super::$case(|config: &DriverConfig| make_uring(&DriverConfig { gso: false, gro: false, ..config.clone() }));
                }
            }

            #[test]
            fn kept_warm() {
                super::$case(|config: &DriverConfig| make_any(&DriverConfig { keep_warm: Nanos(1), ..config.clone() }));
            }

            #[cfg(all(target_os = "linux", feature = "xdp"))]
            #[test]
            fn xdp_generic() {
                if let Some(wire) = wire::Wire::new() {
                    super::$case(wire::XdpStage::new(&wire, seqcast_engine::io::XdpMode::Generic));
                }
            }

            #[cfg(all(target_os = "linux", feature = "xdp"))]
            #[test]
            fn xdp_native() {
                if let Some(wire) = wire::Wire::new() {
                    super::$case(wire::XdpStage::new(&wire, seqcast_engine::io::XdpMode::Native));
                }
            }
        }
    )*};
}

on_every_driver!(
    two_lines_on_one_port_do_not_mix,
    a_source_specific_line_hears_its_source_only,
    several_subscribers_share_a_line,
    a_request_is_answered_to_its_sender,
    order_and_bytes_are_kept,
    a_sender_reaches_its_group_alone_and_in_runs,
    a_sender_refuses_another_receiver,
    lone_datagrams_are_found_wherever_they_come,
    sizes_from_nothing_to_the_largest,
    longer_than_a_buffer_is_counted_and_dropped,
    one_buffer_goes_to_several_destinations,
    a_claim_taken_back_sends_nothing,
    full_slots_are_busy_and_recover,
    receive_buffers_run_out_and_nothing_is_lost,
    an_overflowing_socket_is_counted,
    many_endpoints,
    runs_arrive_as_the_same_datagrams,
    the_limit_is_kept,
    small_limits_keep_the_order_and_none_gives_nothing,
    made_here_and_used_on_another_thread,
    dropped_with_operations_in_flight,
    refusals_name_the_address,
);

fn make_udp(config: &DriverConfig) -> UdpDriver {
    UdpDriver::new(config).unwrap()
}

fn make_any(config: &DriverConfig) -> AnyDriver {
    let (driver, notice) = open_best(DriverChoice::Auto, config).unwrap();
    assert_eq!(notice.is_some(), driver.name() == "udp");
    driver
}

#[cfg(target_os = "linux")]
fn make_uring(config: &DriverConfig) -> seqcast_engine::io::uring::UringDriver {
    seqcast_engine::io::uring::UringDriver::new(config).unwrap()
}

#[cfg(target_os = "linux")]
fn uring_is_here() -> bool {
    let refused = seqcast_engine::io::uring::UringDriver::new(&small()).err();
    if let Some(error) = &refused {
        println!("skipped: {error}");
    }
    refused.is_none()
}

fn two_lines_on_one_port_do_not_mix(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let (a, line_a) = stage.open_line(&mut receiver, group(1, 1));
    let line_b = SocketAddrV4::new(group(1, 2), line_a.port());
    let b = receiver.open(&stage.line(line_b)).unwrap();
    let from = sender.open(&stage.far_local()).unwrap();
    for number in 0..20 {
        let (line, letter) = if number % 3 == 0 { (line_a, b'a') } else { (line_b, b'b') };
        send(&mut sender, &[to(from, line)], &[letter, number]);
    }
    let seen = receive(&mut receiver, 20);
    assert_eq!(seen.len(), 20);
    for (endpoint, sent_by, bytes) in seen {
        assert_eq!(endpoint, if bytes[0] == b'a' { a } else { b });
        assert_eq!(sent_by, sender.local_addr(from));
    }
}

fn a_source_specific_line_hears_its_source_only(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let wanted = stage.other_far_ip();
    let bind = |group| Bind::Line { group, interface: stage.near_ip(), source: Some(wanted) };
    let line = receiver.open(&spec(bind(SocketAddrV4::new(group(2, 1), 0)))).unwrap();
    let line = receiver.local_addr(line);
    let stranger = sender.open(&stage.far_local()).unwrap();
    let source = sender.open(&stage.local(wanted)).unwrap();
    for number in 0..10 {
        send(&mut sender, &[to(stranger, line)], b"stranger");
        send(&mut sender, &[to(source, line)], &[number]);
    }
    let seen = receive(&mut receiver, 10);
    for (number, (_, from, bytes)) in seen.iter().enumerate() {
        assert_eq!((from.ip(), &bytes[..]), (&wanted, &[number as u8][..]));
    }
}

fn several_subscribers_share_a_line(stage: impl Stage) {
    let (mut first, mut second, mut sender) =
        (stage.near(&small()), stage.near(&small()), stage.far(&small()));
    let (_, shared) = stage.open_line(&mut first, group(3, 1));
    second.open(&stage.line(shared)).unwrap();
    let from = sender.open(&stage.far_local()).unwrap();
    for number in 0..10 {
        send(&mut sender, &[to(from, shared)], &[number]);
    }
    for receiver in [&mut first, &mut second] {
        let seen = receive(receiver, 10);
        assert!(seen.iter().map(|seen| seen.2[0]).eq(0..10));
    }
}

fn a_request_is_answered_to_its_sender(stage: impl Stage) {
    let (mut client, mut server) = (stage.far(&small()), stage.near(&small()));
    let at_server = server.open(&stage.near_local()).unwrap();
    let at_client = client.open(&stage.far_local()).unwrap();
    send(&mut client, &[to(at_client, server.local_addr(at_server))], b"request");
    let (_, from, bytes) = receive(&mut server, 1).remove(0);
    assert_eq!((from, &bytes[..]), (client.local_addr(at_client), &b"request"[..]));
    send(&mut server, &[to(at_server, from)], b"answer");
    let (_, from, bytes) = receive(&mut client, 1).remove(0);
    assert_eq!((from, &bytes[..]), (server.local_addr(at_server), &b"answer"[..]));
}

fn order_and_bytes_are_kept(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let lines = [stage.open_line(&mut receiver, group(4, 1)), stage.open_line(&mut receiver, group(4, 2))];
    let from = sender.open(&stage.far_local()).unwrap();
    let mut next = HashMap::from([(lines[0].0, 0), (lines[1].0, 0)]);
    for window in 0..40 {
        for number in window * 50..(window + 1) * 50 {
            // Runs of one length among others, as a feed has them.
            let len = if number % 10 < 6 { 700 } else { 1 + number * 37 % 1_400 };
            let destinations = lines.map(|line| to(from, line.1));
            send(&mut sender, &destinations, &pattern(number, len));
        }
        for (endpoint, _, bytes) in receive(&mut receiver, 100) {
            let number = next.get_mut(&endpoint).unwrap();
            assert!(bytes == pattern(*number, bytes.len()), "datagram {number} at {endpoint:?}");
            *number += 1;
        }
    }
    assert!(next.values().all(|&number| number == 2_000));
    let (sent, received) = (sender.counters(), receiver.counters());
    assert_eq!((sent.sent_datagrams, sent.send_errors), (4_000, 0));
    assert_eq!((received.received_datagrams, received.received_bytes), (4_000, sent.sent_bytes));
}

fn a_sender_reaches_its_group_alone_and_in_runs(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let (endpoint, group) = stage.open_line(&mut receiver, group(20, 1));
    let from = sender.open(&stage.far_sender(group)).unwrap();
    let address = sender.local_addr(from);
    let mut next = 0;
    for run in (0..60).map(|turn| [1, 1, 2, 1, 30, 3][turn % 6]) {
        let expected: Vec<Seen> =
            (next..next + run).map(|number| (endpoint, address, pattern(number, 64))).collect();
        for (_, _, bytes) in &expected {
            let filled = sender.transmit(&[to(from, group)], bytes.len(), |buffer| {
                buffer.copy_from_slice(bytes);
                bytes.len()
            });
            assert_eq!(filled, Ok(bytes.len()));
        }
        sender.flush(now()).unwrap();
        assert!(receive(&mut receiver, run) == expected, "a run of {run} from {next} on");
        next += run;
    }
    // Nobody reaches it, from wherever; what is sent after by the same way arrives at its neighbour.
    let neighbour = sender.open(&stage.far_local()).unwrap();
    let neighbours_address = sender.local_addr(neighbour);
    let back = receiver.open(&stage.near_local()).unwrap();
    let (outside, back_address) = (stage.far_socket(), receiver.local_addr(back));
    for _ in 0..5 {
        outside.send_to(b"nobody", address).unwrap();
        send(&mut receiver, &[to(back, address)], b"nobody");
        send(&mut receiver, &[to(back, neighbours_address)], b"somebody");
        assert_eq!(receive(&mut sender, 1), [(neighbour, back_address, b"somebody".to_vec())]);
    }
    assert_eq!((sender.counters().sent_datagrams, sender.counters().send_errors), (next as u64, 0));
}

fn a_sender_refuses_another_receiver(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let lines = [1, 2].map(|member| stage.open_line(&mut receiver, group(22, member)));
    let host = receiver.open(&stage.near_local()).unwrap();
    let host = (host, receiver.local_addr(host));
    for ((endpoint, own), (_, other)) in [(lines[0], lines[1]), (host, lines[1]), (lines[1], host)] {
        let from = sender.open(&stage.far_sender(own)).unwrap();
        let misused = AssertUnwindSafe(|| sender.transmit(&[to(from, own), to(from, other)], 5, |_| 5));
        assert!(catch_unwind(misused).is_err());
        send(&mut sender, &[to(from, own)], b"right");
        let address = sender.local_addr(from);
        assert_eq!(receive(&mut receiver, 1), [(endpoint, address, b"right".to_vec())]);
    }
}

fn lone_datagrams_are_found_wherever_they_come(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let lines = [1, 2, 3].map(|member| stage.open_line(&mut receiver, group(21, member)));
    let from = sender.open(&stage.far_local()).unwrap();
    // One endpoint for long, then taking turns, then surprises, then several at once.
    let one: &[usize] = &[0];
    let patterns: [&[&[usize]]; 4] =
        [&[one; 8], &[&[0], &[1], &[2]], &[&[1], &[1], &[1], &[2], &[1]], &[&[0, 1], &[1, 0], &[2, 2, 1]]];
    for (number, together) in patterns.iter().flat_map(|pattern| pattern.repeat(5)).enumerate() {
        let bytes = pattern(number, 1 + number % 100);
        together.iter().for_each(|&line| send(&mut sender, &[to(from, lines[line].1)], &bytes));
        let mut seen: Vec<EndpointId> = Vec::new();
        for (endpoint, _, arrived) in receive(&mut receiver, together.len()) {
            assert!(arrived == bytes, "datagram {number} at {endpoint:?}");
            seen.push(endpoint);
        }
        let mut expected: Vec<EndpointId> = together.iter().map(|&line| lines[line].0).collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "datagram {number}");
    }
}

fn sizes_from_nothing_to_the_largest(stage: impl Stage) {
    let config = DriverConfig {
        max_datagram_bytes: 65_507,
        receive_buffers: 16,
        send_slots: 8,
        ..DriverConfig::default()
    };
    let (mut receiver, mut sender) = (stage.near(&config), stage.far(&config));
    let at = receiver.open(&stage.near_local()).unwrap();
    let at = receiver.local_addr(at);
    let from = sender.open(&stage.far_local()).unwrap();
    let outside = stage.far_socket();
    for len in [1, 2, 1_472, 1_473, 2_049, 40_000, 65_506, 65_507] {
        send(&mut sender, &[to(from, at)], &pattern(len, len));
        outside.send_to(&[], at).unwrap();
        let mut seen = receive(&mut receiver, 2);
        seen.sort_by_key(|seen| seen.2.len());
        assert!(seen[0].2.is_empty(), "one without a byte");
        assert!(seen[1].2 == pattern(len, len), "one with {len}");
    }
    assert_eq!(sender.counters().send_errors, 0);
}

fn longer_than_a_buffer_is_counted_and_dropped(stage: impl Stage) {
    let config = DriverConfig { max_datagram_bytes: 512, ..small() };
    let mut receiver = stage.near(&config);
    let endpoint = receiver.open(&stage.near_local()).unwrap();
    let at = receiver.local_addr(endpoint);
    let outside = stage.far_socket();
    for len in [512, 513, 511, 20_000, 512] {
        outside.send_to(&pattern(len, len), at).unwrap();
    }
    let lengths: Vec<usize> = receive(&mut receiver, 3).iter().map(|seen| seen.2.len()).collect();
    assert_eq!(lengths, [512, 511, 512]);
    assert_eq!(receiver.counters().truncated_datagrams, 2);
    assert_eq!(receiver.counters().received_datagrams, 3);
    // What is lent for sending is no longer either.
    let lent = receiver.transmit(&[to(endpoint, at)], 10_000, |buffer| {
        assert_eq!(buffer.len(), 512);
        0
    });
    assert_eq!(lent, Ok(0));
}

fn one_buffer_goes_to_several_destinations(stage: impl Stage) {
    let (mut receiver, mut sender) = (stage.near(&small()), stage.far(&small()));
    let mut expected = Vec::new();
    let from = [sender.open(&stage.far_local()).unwrap(), sender.open(&stage.far_local()).unwrap()];
    let mut destinations = Vec::new();
    for member in 0..6 {
        let (endpoint, at) = if member % 2 == 0 {
            stage.open_line(&mut receiver, group(5, member))
        } else {
            let endpoint = receiver.open(&stage.near_local()).unwrap();
            (endpoint, receiver.local_addr(endpoint))
        };
        let from = from[usize::from(member / 3)];
        destinations.push(to(from, at));
        expected.push((endpoint, sender.local_addr(from), b"to all of you".to_vec()));
    }
    let mut calls = 0;
    let sent = sender.transmit(&destinations, 100, |buffer| {
        calls += 1;
        assert_eq!(buffer.len(), 100);
        buffer[..13].copy_from_slice(b"to all of you");
        13
    });
    assert_eq!((sent, calls), (Ok(13), 1));
    sender.flush(now()).unwrap();
    let mut seen = receive(&mut receiver, 6);
    seen.sort();
    assert_eq!(seen, expected);
    assert_eq!(sender.transmit(&[], 10, |_| 10), Ok(10), "to nobody");
    until("the sends are over", || {
        sender.flush(now()).unwrap();
        sender.counters().sent_datagrams == 6
    });
    assert_eq!(sender.counters().sent_bytes, 6 * 13);
}

fn a_claim_taken_back_sends_nothing(stage: impl Stage) {
    let (mut receiver, mut sender) =
        (stage.near(&small()), stage.far(&DriverConfig { send_slots: 2, ..small() }));
    let (_, line) = stage.open_line(&mut receiver, group(6, 1));
    let from = sender.open(&stage.far_local()).unwrap();
    for _ in 0..100 {
        assert_eq!(sender.transmit(&[to(from, line)], 100, |_| 0), Ok(0), "a claim taken back is free again");
    }
    send(&mut sender, &[to(from, line)], b"the only one");
    assert_eq!(receive(&mut receiver, 1)[0].2, b"the only one");
    assert_eq!(sender.counters().sent_datagrams, 1);
}

fn full_slots_are_busy_and_recover(stage: impl Stage) {
    let (mut receiver, mut sender) =
        (stage.near(&small()), stage.far(&DriverConfig { send_slots: 4, ..small() }));
    let (_, line) = stage.open_line(&mut receiver, group(7, 1));
    let from = sender.open(&stage.far_local()).unwrap();
    let (mut accepted, mut busy) = (0u8, 0);
    let mut seen = Vec::new();
    until("200 datagrams are accepted", || {
        for _ in 0..20 {
            let sent = sender.transmit(&[to(from, line)], 1, |buffer| {
                buffer[0] = accepted;
                1
            });
            match sent {
                Ok(_) => accepted += 1,
                Err(Busy) => busy += 1,
            }
        }
        if sender.name() == "uring" {
            assert!(busy > 0, "20 datagrams do not fit 4 slots");
        }
        sender.flush(now()).unwrap();
        poll(&mut receiver, &mut seen);
        accepted >= 200
    });
    while seen.len() < usize::from(accepted) {
        seen.extend(receive(&mut receiver, 1));
    }
    assert!(seen.iter().map(|seen| seen.2[0]).eq(0..accepted), "what was accepted arrives, once");
    assert_eq!(sender.counters().busy, busy);
}

fn receive_buffers_run_out_and_nothing_is_lost(stage: impl Stage) {
    let mut receiver = stage.near(&DriverConfig { receive_buffers: 4, ..small() });
    let at = receiver.open(&stage.near_local()).unwrap();
    let at = receiver.local_addr(at);
    let outside = stage.far_socket();
    let mut seen = Vec::new();
    let mut next = 0;
    for round in 0..20 {
        // 100 fit even the smallest socket buffer, and are many more than 4.
        for number in round * 100..(round + 1) * 100 {
            outside.send_to(&pattern(number, 1 + number % 200), at).unwrap();
        }
        until("the round arrives", || {
            poll(&mut receiver, &mut seen);
            next + seen.len() >= (round + 1) * 100
        });
        for (_, _, bytes) in seen.drain(..) {
            assert_eq!(bytes, pattern(next, 1 + next % 200));
            next += 1;
        }
    }
    let counters = receiver.counters();
    assert_eq!((counters.received_datagrams, counters.kernel_dropped_datagrams), (2_000, 0));
    if receiver.name() == "uring" {
        assert!(counters.rearms > 0);
    }
}

fn an_overflowing_socket_is_counted(stage: impl Stage) {
    let mut receiver = stage.near(&DriverConfig { receive_buffers: 8, ..small() });
    let small_socket = EndpointSpec { receive_buffer_bytes: 8_192, ..stage.near_local() };
    let at = receiver.open(&small_socket).unwrap();
    let at = receiver.local_addr(at);
    let outside = stage.far_socket();
    let mut seen = Vec::new();
    // Armed receives must not help: what overflows is the socket, while nobody polls.
    poll(&mut receiver, &mut seen);
    // Behind an AF_XDP socket stands no receive buffer but the ring.
    let bypass = receiver.name() == "xdp";
    let mut sent = if bypass { 5_000 } else { 500 };
    for number in 0..sent {
        outside.send_to(&pattern(number as usize, 500), at).unwrap();
    }
    until("every datagram is received or counted", || {
        while poll(&mut receiver, &mut seen) > 0 {}
        let counters = receiver.counters();
        let known = counters.received_datagrams + counters.kernel_dropped_datagrams;
        if known < sent && receiver.name() == "uring" {
            // The count of drops comes with the next datagram.
            outside.send_to(b"next", at).unwrap();
            sent += 1;
        }
        // What a veth pair drops before the ring is the pair's to count.
        known == sent || bypass && counters.kernel_dropped_datagrams > 0
    });
    assert!(receiver.counters().kernel_dropped_datagrams > 0, "500 datagrams do not fit 8 KiB");
}

fn many_endpoints(stage: impl Stage) {
    let mut receiver = stage.near(&small());
    let outside = stage.far_socket();
    let endpoints: Vec<_> = (0..100).map(|_| receiver.open(&stage.near_local()).unwrap()).collect();
    assert!(endpoints.iter().map(|endpoint| endpoint.0).eq(0..100), "numbered in the order of opening");
    for round in 0..5u8 {
        for endpoint in &endpoints {
            outside.send_to(&[endpoint.0 as u8, round], receiver.local_addr(*endpoint)).unwrap();
        }
    }
    let mut rounds = [0; 100];
    for (endpoint, _, bytes) in receive(&mut receiver, 500) {
        assert_eq!(bytes, [endpoint.0 as u8, rounds[usize::from(endpoint.0)]]);
        rounds[usize::from(endpoint.0)] += 1;
    }
    assert_eq!(rounds, [5; 100]);
}

fn runs_arrive_as_the_same_datagrams(stage: impl Stage) {
    let config = DriverConfig { send_slots: 256, ..small() };
    let (mut receiver, mut sender) = (stage.near(&config), stage.far(&config));
    let lines = [stage.open_line(&mut receiver, group(8, 1)), stage.open_line(&mut receiver, group(8, 2))];
    let from = sender.open(&stage.far_local()).unwrap();
    let destinations = lines.map(|line| to(from, line.1));
    // Each run ends with a shorter one, a longer one, or at the bounds of 64 datagrams and 64 KiB.
    let runs: [&[(usize, usize)]; 5] = [
        &[(100, 10), (40, 1), (100, 3)],
        &[(100, 10), (101, 10), (99, 1), (99, 1)],
        &[(1, 70), (2, 1)],
        &[(1_400, 60), (1_399, 1)],
        &[(64, 64), (64, 1), (63, 1), (1, 1)],
    ];
    for run in runs {
        let lengths: Vec<usize> =
            run.iter().flat_map(|&(len, times)| std::iter::repeat_n(len, times)).collect();
        for (number, &len) in lengths.iter().enumerate() {
            let bytes = pattern(number, len);
            let sent = sender.transmit(&destinations, len, |buffer| {
                buffer.copy_from_slice(&bytes);
                len
            });
            assert_eq!(sent, Ok(len));
        }
        sender.flush(now()).unwrap();
        let seen = receive(&mut receiver, 2 * lengths.len());
        for (endpoint, _) in lines {
            let here: Vec<&[u8]> =
                seen.iter().filter(|seen| seen.0 == endpoint).map(|seen| &seen.2[..]).collect();
            assert_eq!(here.len(), lengths.len());
            for (number, (&len, bytes)) in lengths.iter().zip(here).enumerate() {
                assert!(bytes == pattern(number, len), "datagram {number} of {run:?}");
            }
        }
    }
    assert_eq!(sender.counters().sent_datagrams, receiver.counters().received_datagrams);
}

fn the_limit_is_kept(stage: impl Stage) {
    let mut receiver = stage.near(&small());
    let at = [receiver.open(&stage.near_local()).unwrap(), receiver.open(&stage.near_local()).unwrap()];
    let at = at.map(|endpoint| receiver.local_addr(endpoint));
    let outside = stage.far_socket();
    for number in 0..50 {
        outside.send_to(&[number], at[usize::from(number % 2)]).unwrap();
    }
    assert_eq!(receiver.poll_rx(now(), 0, |_| panic!("none was asked for")).unwrap(), 0);
    let mut total = 0;
    until("all 50", || {
        let given = receiver.poll_rx(now(), 3, |_| {}).unwrap();
        assert!(given <= 3);
        total += given;
        total == 50
    });
}

fn small_limits_keep_the_order_and_none_gives_nothing(stage: impl Stage) {
    let mut receiver = stage.near(&small());
    let at = receiver.open(&stage.near_local()).unwrap();
    let at = receiver.local_addr(at);
    let outside = stage.far_socket();
    // Lone datagrams first: a driver may learn from them where to look for the next.
    let (mut sent, mut seen) = (0u8, Vec::new());
    let mut send_next = |count: u8| {
        (sent..sent + count).for_each(|number| _ = outside.send_to(&[number], at).unwrap());
        sent += count;
        usize::from(sent)
    };
    for _ in 0..8 {
        let all = send_next(1);
        until("a lone datagram", || {
            poll(&mut receiver, &mut seen);
            seen.len() == all
        });
    }
    // Then more is always waiting than is asked for, and new ones come between the polls.
    for limit in [1, 0, 0, 2, 0, 1, 3, 0].repeat(6) {
        let all = send_next(2);
        if limit == 0 {
            let given = receiver.poll_rx(now(), 0, |datagram| panic!("none was asked for: {datagram:?}"));
            assert_eq!(given.unwrap(), 0);
            continue;
        }
        let before = seen.len();
        until("some", || {
            let take = |datagram: Received<'_>| {
                seen.push((datagram.endpoint, datagram.from, datagram.bytes.to_vec()));
            };
            assert!(receiver.poll_rx(now(), limit, take).unwrap() <= limit);
            seen.len() > before
        });
        assert!(seen.len() < all);
    }
    let all = send_next(1);
    until("all", || {
        poll(&mut receiver, &mut seen);
        seen.len() == all
    });
    assert!(seen.iter().map(|seen| seen.2[0]).eq(0..all as u8), "in the order of sending");
}

/// As agents do: the main thread makes and opens, a runner's thread uses, and either drops the driver.
fn made_here_and_used_on_another_thread(stage: impl Stage<Driver: Send>) {
    for round in 0..6 {
        let mut driver = stage.near(&small());
        let at = driver.open(&stage.near_local()).unwrap();
        let to_itself = to(at, driver.local_addr(at));
        let (hand_back, handed_back) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let user = scope.spawn(move || {
                send(&mut driver, &[to_itself], b"over there");
                assert_eq!(receive(&mut driver, 1)[0].2, b"over there");
                send(&mut driver, &[to_itself], b"never read");
                if round % 3 > 0 {
                    hand_back.send(driver).unwrap();
                }
                // Lives on until the main thread has dropped its end.
                let _ = ended.recv();
            });
            match round % 3 {
                0 => drop(end),
                1 => {
                    drop(end);
                    user.join().unwrap();
                    drop(handed_back.recv().unwrap());
                }
                _ => {
                    drop(handed_back.recv().unwrap());
                    drop(end);
                }
            }
        });
    }
}

fn dropped_with_operations_in_flight(stage: impl Stage) {
    let outside = stage.far_socket();
    let mut port = 0;
    for round in 0..30 {
        let mut driver = stage.near(&small());
        // The port is free again as soon as the last driver is gone.
        let bind = Bind::Local { local: SocketAddrV4::new(stage.near_ip(), port), multicast_ttl: 0 };
        let endpoint = driver.open(&spec(bind)).unwrap();
        let at = driver.local_addr(endpoint);
        port = at.port();
        let (_, line) = stage.open_line(&mut driver, group(9, 1));
        if round % 3 > 0 {
            driver.poll_rx(now(), 1, |_| {}).unwrap();
        }
        for number in 0..10 {
            outside.send_to(&pattern(number, 300), at).unwrap();
            let queued = driver.transmit(&[to(endpoint, line), to(endpoint, at)], 300, |buffer| buffer.len());
            assert_eq!(queued, Ok(300));
            if round % 2 == 0 {
                driver.flush(now()).unwrap();
            }
        }
        if round % 5 == 0 {
            driver.poll_rx(now(), 1, |_| {}).unwrap();
        }
    }
}

fn refusals_name_the_address(stage: impl Stage) {
    let mut driver = stage.near(&small());
    let taken = driver.open(&stage.near_local()).unwrap();
    let taken = driver.local_addr(taken);
    let again = spec(Bind::Local { local: taken, multicast_ttl: 0 });
    let text = driver.open(&again).unwrap_err().to_string();
    assert!(text.contains(&taken.to_string()), "{text}");
    let endpoint = driver.open(&stage.near_local()).unwrap();
    assert_eq!(endpoint, EndpointId(1), "what was refused took no number");
}
