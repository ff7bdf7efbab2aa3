//! What AF_XDP adds to the contract of `io::Driver`: what goes past the kernel and what does not, between two network
//! namespaces. Without the privileges for it every test prints `skipped`.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)]

mod io_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use io_support::wire::{FAR_IP, NEAR_IP, Placed, Wire, XdpStage, ip, on};
use io_support::*;
use seqcast_engine::io::uring::UringDriver;
use seqcast_engine::io::xdp::XdpDriver;
use seqcast_engine::io::{Driver, DriverConfig, XdpMode};
use socket2::{Domain, Protocol, Socket, Type};

const MODES: [XdpMode; 2] = [XdpMode::Generic, XdpMode::Native];

/// What `ip` says of an interface of the host where this thread is.
fn described(interface: &str) -> String {
    let output = Command::new("ip").args(["link", "show", interface]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn program_is_there() -> bool {
    described("near").contains("xdp")
}

#[test]
fn multicast_goes_past_the_kernel_at_once_on_both_sides() {
    for mode in MODES {
        let Some(wire) = Wire::new() else { return };
        let stage = XdpStage::new(&wire, mode);
        let (mut near, mut far) = (stage.near(&small()), stage.far(&small()));
        let (endpoint, line) = stage.open_line(&mut near, group(40, 1));
        let from = far.open(&stage.far_local()).unwrap();
        let expected = if mode == XdpMode::Native { "native mode, copying" } else { "generic mode, copying" };
        assert_eq!(near.inner.describe(), [format!("XDP on near: {expected}, 1 queue(s)")]);
        for window in 0..20 {
            for number in window * 50..(window + 1) * 50 {
                send(&mut far, &[to(from, line)], &pattern(number, 1 + number * 13 % 1_472));
            }
            for (number, seen) in receive(&mut near, 50).into_iter().enumerate() {
                let number = window * 50 + number;
                let bytes = pattern(number, 1 + number * 13 % 1_472);
                assert_eq!(seen, (endpoint, far.local_addr(from), bytes));
            }
        }
        let (sent, received) = (far.counters(), near.counters());
        assert_eq!((sent.bypass_sent_datagrams, sent.sent_datagrams), (1_000, 1_000));
        assert_eq!((received.bypass_received_datagrams, received.received_datagrams), (1_000, 1_000));
        assert_eq!((received.malformed_frames, received.received_bytes), (0, sent.sent_bytes));
    }
}

/// Sends one datagram after the other to `to`, each received before the next, until one has gone past the kernel.
fn until_bypassed(
    sender: &mut Placed<XdpDriver>,
    from: seqcast_engine::io::EndpointId,
    at: SocketAddrV4,
    mut received: impl FnMut(u8),
) {
    let before = sender.counters().bypass_sent_datagrams;
    let mut number = 0u8;
    until("a datagram goes past the kernel", || {
        number = number.wrapping_add(1);
        send(sender, &[to(from, at)], &[number]);
        received(number);
        sender.counters().bypass_sent_datagrams > before
    });
}

#[test]
fn hosts_are_reached_by_the_kernel_first_and_past_it_once_their_address_is_known() {
    for mode in MODES {
        let Some(wire) = Wire::new() else { return };
        let stage = XdpStage::new(&wire, mode);
        let mut near = stage.near(&small());
        let from = near.open(&stage.near_local()).unwrap();
        // A plain socket: the kernel over there takes only frames that are right in every field.
        let socket = stage.far_socket();
        let at = SocketAddrV4::new(FAR_IP, socket.local_addr().unwrap().port());
        let receive = |number: u8| {
            let mut buffer = [0; 10];
            let (len, sender) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], sender.ip()), (&[number][..], NEAR_IP.into()));
        };
        until_bypassed(&mut near, from, at, receive);
        assert!(
            near.counters().bypass_sent_datagrams < near.counters().sent_datagrams,
            "the kernel had the first"
        );

        // The host gets another card. What the kernel hears of it the driver follows.
        on(&wire.far, || {
            ip("link set far down").unwrap();
            ip("link set far address 02:00:00:00:77:02").unwrap();
            ip("link set far up").unwrap();
        });
        ip(&format!("neighbour replace {FAR_IP} lladdr 02:00:00:00:77:02 dev near nud permanent")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 10];
        until("a datagram reaches the new card", || {
            send(&mut near, &[to(from, at)], b"new");
            socket.recv_from(&mut buffer).is_ok_and(|(len, _)| &buffer[..len] == b"new")
        });
        socket.set_nonblocking(false).unwrap();
        while near.counters().bypass_sent_datagrams == 0 {}
        until_bypassed(&mut near, from, at, |number| {
            until("this one", || {
                let (len, _) = socket.recv_from(&mut buffer).unwrap();
                buffer[..len] == [number]
            });
        });
    }
}

#[test]
fn everything_else_still_reaches_the_kernel() {
    for mode in MODES {
        let Some(wire) = Wire::new() else { return };
        let stage = XdpStage::new(&wire, mode);
        let mut near = stage.near(&small());
        let (_, line) = stage.open_line(&mut near, group(41, 1));
        let here = near.open(&stage.near_local()).unwrap();
        assert!(program_is_there());

        // ARP and ping: the far host knows nobody yet.
        on(&wire.far, ping_near);
        // Another port of the same address, another port of the same group.
        let other = UdpSocket::bind((NEAR_IP, 0)).unwrap();
        let far = stage.far_socket();
        far.send_to(b"other port", other.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(other.recv(&mut buffer).unwrap(), 10);
        let member = UdpSocket::bind((*line.ip(), 0)).unwrap();
        member.join_multicast_v4(line.ip(), &NEAR_IP).unwrap();
        let option = socket2::SockRef::from(&far);
        option.set_multicast_if_v4(&FAR_IP).unwrap();
        far.send_to(b"other port of the group", member.local_addr().unwrap()).unwrap();
        assert_eq!(member.recv(&mut buffer).unwrap(), 23);
        // TCP.
        let listener = TcpListener::bind((NEAR_IP, 0)).unwrap();
        let mut stream = on(&wire.far, || TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        stream.write_all(b"stream").unwrap();
        drop(stream);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "stream");
        // Longer than the MTU: fragments, which the kernel puts together, for our own endpoint.
        let at = near.local_addr(here);
        far.send_to(&pattern(5, 2_000), at).unwrap();
        assert_eq!(receive(&mut near, 1)[0].2, pattern(5, 2_000));
        assert_eq!(near.counters().bypass_received_datagrams, 0);
    }
}

/// One echo request and its reply, with a raw socket.
fn ping_near() {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.connect(&SocketAddrV4::new(NEAR_IP, 0).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Type 8, code 0, check sum, identifier 0, number 0.
    socket.send(&[8, 0, 0xF7, 0xFF, 0, 0, 0, 0]).unwrap();
    let mut reply = [0; 100];
    let len = (&socket).read(&mut reply).unwrap();
    assert_eq!((len, reply[20]), (28, 0), "an echo reply behind an IP header");
}

#[test]
fn runs_that_a_neighbour_leaves_to_segmentation_arrive_as_datagrams() {
    for mode in MODES {
        let Some(wire) = Wire::new() else { return };
        let stage = XdpStage::new(&wire, mode);
        let mut near = stage.near(&small());
        let (_, line) = stage.open_line(&mut near, group(42, 1));
        let Ok(uring) = UringDriver::new(&small()) else { return };
        let mut far = Placed::new(uring, &wire.far);
        let from = far.open(&stage.far_local()).unwrap();
        // Short enough that a run would pass for one datagram in one frame.
        for number in 0..12 {
            let sent = far.transmit(&[to(from, line)], 100, |buffer| {
                buffer.copy_from_slice(&pattern(number, 100));
                100
            });
            assert_eq!(sent, Ok(100));
        }
        far.flush(now()).unwrap();
        for (number, seen) in receive(&mut near, 12).into_iter().enumerate() {
            assert_eq!(seen.2, pattern(number, 100));
        }
        assert!(far.counters().segmented_sends > 0);
    }
}

#[test]
fn several_drivers_of_a_process_share_an_interface_and_the_last_takes_the_program_away() {
    for mode in MODES {
        let Some(wire) = Wire::new() else { return };
        let stage = XdpStage::new(&wire, mode);
        let mut far = stage.far(&small());
        let from = far.open(&stage.far_local()).unwrap();
        // More rounds than there are shares: each is left whole for the next.
        for round in 0..12u8 {
            let mut drivers: Vec<_> = (0..3).map(|_| stage.near(&small())).collect();
            let lines: Vec<_> = (0..3u8)
                .map(|member| stage.open_line(&mut drivers[usize::from(member)], group(43, member)).1)
                .collect();
            assert!(program_is_there());
            let destinations: Vec<_> = lines.iter().map(|line| to(from, *line)).collect();
            for number in 0..100 {
                send(&mut far, &destinations, &[round, number]);
                if number == 50 {
                    // What nobody reads is left in the ring of a driver that ends.
                    drivers.pop();
                }
                for driver in &mut drivers[..2] {
                    assert_eq!(receive(driver, 1)[0].2, [round, number]);
                }
            }
            for driver in &drivers {
                assert_eq!(driver.counters().bypass_received_datagrams, 100);
            }
            drop(drivers);
            assert!(!program_is_there());
        }
        assert_eq!(far.counters().bypass_sent_datagrams, 12 * 300);
    }
}

#[test]
fn an_interface_that_is_down_holds_nobody_up() {
    let Some(wire) = Wire::new() else { return };
    let stage = XdpStage::new(&wire, XdpMode::Generic);
    let (mut near, mut far) = (stage.near(&small()), stage.far(&small()));
    let (_, line) = stage.open_line(&mut near, group(44, 1));
    let from = far.open(&stage.far_local()).unwrap();
    send(&mut far, &[to(from, line)], b"before");
    assert_eq!(receive(&mut near, 1)[0].2, b"before");
    on(&wire.far, || ip("link set far down").unwrap());
    for _ in 0..2_000 {
        send(&mut far, &[to(from, line)], b"into the void");
    }
    assert!(far.counters().send_errors > 0);
    on(&wire.far, || ip("link set far up").unwrap());
    let mut seen = Vec::new();
    until("what is sent arrives again", || {
        send(&mut far, &[to(from, line)], b"after");
        poll(&mut near, &mut seen);
        seen.iter().any(|seen| seen.2 == b"after")
    });
}

/// Run as a process of its own by the test below: opens a line, says so and waits for its end.
#[test]
#[ignore = "a process that another test starts and kills"]
fn child_that_is_killed() {
    let mut driver = XdpDriver::new(&small()).unwrap();
    let group = SocketAddrV4::new(Ipv4Addr::new(239, 45, 0, 1), 4_500);
    driver.open(&spec(seqcast_engine::io::Bind::Line { group, interface: NEAR_IP, source: None })).unwrap();
    println!("\nopen: {:?}", driver.describe());
    let _ = std::io::stdin().read(&mut [0]);
}

fn start_child() -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "child_that_is_killed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let open = lines.map(Result::unwrap).find(|line| line.starts_with("open: "));
    assert_eq!(open.unwrap(), "open: [\"XDP on near: generic mode, copying, 1 queue(s)\"]");
    child
}

#[test]
fn a_killed_process_leaves_no_program_and_another_may_follow() {
    let Some(wire) = Wire::new() else { return };
    let stage = XdpStage::new(&wire, XdpMode::Auto);
    let mut child = start_child();
    assert!(program_is_there());
    // Meanwhile the interface is taken: a driver here does with sockets.
    let mut near = stage.near(&small());
    near.open(&stage.near_local()).unwrap();
    assert_eq!(near.inner.describe(), [""; 0]);

    child.kill().unwrap();
    child.wait().unwrap();
    until("the program is gone", || !program_is_there());
    let mut near = stage.near(&DriverConfig { send_slots: 32, ..small() });
    near.open(&stage.near_local()).unwrap();
    assert_eq!(near.inner.describe(), ["XDP on near: generic mode, copying, 1 queue(s)"]);
}
