//! The rewind server: who is answered, with what, and how much.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use proptest::prelude::*;
use seqcast_engine::rewind::{Bucket, History, Policy, Prefix, Reason, Reply, Server, ServerConfig, Verdict};
use seqcast_engine::time::Nanos;
use seqcast_wire::mold::{Downstream, Request};
use seqcast_wire::{SeqNo, Session};

use crate::support::*;
use crate::world::offer;

const T0: Nanos = Nanos::from_secs(70);

fn client(host: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, host), 5_000)
}

fn config() -> ServerConfig {
    let prefix: Prefix = "10.1.0.0/16".parse().unwrap();
    ServerConfig::new(session(), vec![prefix])
}

fn request(first: u64, count: u16) -> Vec<u8> {
    let mut buffer = vec![0; 20];
    Request { session: session(), first: seq(first), count }.emit(&mut buffer);
    buffer
}

const AVAILABLE: Range<u64> = 100..200;

fn ask(server: &mut Server, now: Nanos, from: SocketAddrV4, bytes: &[u8]) -> Verdict {
    server.on_request(now, from, bytes, seq(AVAILABLE.start)..seq(AVAILABLE.end))
}

fn history() -> History {
    let mut history = History::new(1 << 16, 1 << 10, seq(AVAILABLE.start), Policy::Keep);
    for n in AVAILABLE {
        history.try_push(&text(n)).unwrap();
    }
    history
}

/// The next reply as a datagram.
fn answer(server: &mut Server, history: &History) -> Option<(Reply, Vec<u8>)> {
    let reply = server.poll_reply()?;
    let mut buffer = vec![0; 65_507];
    let len = server.fill_reply(&reply, &mut buffer, |push| offer(history, &reply, push));
    buffer.truncate(len);
    Some((reply, buffer))
}

#[test]
fn a_request_is_answered_with_exactly_what_it_asks_for() {
    let (mut server, history) = (Server::new(config()).unwrap(), history());
    assert_eq!(ask(&mut server, T0, client(1), &request(120, 3)), Verdict::Queued);
    let (reply, datagram) = answer(&mut server, &history).unwrap();
    assert_eq!((reply.to, datagram), (client(1), data(120, 123)));
    assert_eq!(server.poll_reply(), None);
}

#[test]
fn large_counts_are_answered_with_one_datagram_of_what_fits() {
    let (mut server, history) = (Server::new(config()).unwrap(), history());
    for count in [1_000, 0xFFFE, 0xFFFF] {
        assert_eq!(ask(&mut server, T0, client(1), &request(100, count)), Verdict::Queued);
        let (_, datagram) = answer(&mut server, &history).unwrap();
        assert_eq!(server.poll_reply(), None, "one datagram for a request");
        let parsed = Downstream::parse(&datagram).unwrap();
        assert!(datagram.len() <= 1_472 && parsed.first() == seq(100));
        let next = parsed.next().value();
        let room = 1_472 - datagram.len();
        assert!(next < 200 && room < text(next).len() + 2, "{room} bytes left");
        assert!(parsed.messages().zip(100..).all(|(message, n)| message == text(n)));
    }
    assert_eq!(ask(&mut server, T0, client(1), &request(198, 0xFFFF)), Verdict::Queued);
    let (_, datagram) = answer(&mut server, &history).unwrap();
    assert_eq!(datagram, data(198, 200), "what exists is sent");
}

/// A standby's clients hear of a message on the lines before the standby hears that it is committed.
#[test]
fn a_request_that_comes_a_little_early_is_answered_when_what_it_asks_for_is_there() {
    let (mut server, history) = (Server::new(config()).unwrap(), history());
    let millis = |millis| T0 + Nanos::from_millis(millis);
    let until = |end| seq(AVAILABLE.start)..seq(end);
    for count in [1, 7] {
        let early = server.on_request(T0, client(1), &request(150, count), until(150));
        assert_eq!(early, Verdict::Early);
    }
    let again = server.on_request(T0, client(1), &request(150, 7), until(150));
    assert_eq!(again, Verdict::Silent(Reason::Repeated));
    assert_eq!(server.on_request(millis(1), client(2), &request(190, 1), until(150)), Verdict::Early);
    server.poll(millis(1), &until(150));
    assert_eq!(server.poll_reply(), None);
    server.poll(millis(1), &until(153));
    assert_eq!(answer(&mut server, &history).unwrap().1, data(150, 151));
    assert_eq!(answer(&mut server, &history).unwrap().1, data(150, 153), "as much as there is");
    server.poll(millis(3), &until(153));
    server.poll(millis(4), &until(200));
    assert_eq!(server.poll_reply(), None, "it took too long");
    assert_eq!(server.stats().silent[Reason::BeyondEnd as usize], 1);
    for n in 0..100 {
        server.on_request(T0, client(3), &request(300 + n, 1), until(200));
    }
    assert_eq!(server.stats().silent[Reason::BeyondEnd as usize], 1 + 36, "a bounded number waits");
}

#[test]
fn what_cannot_be_answered_is_met_with_silence_and_counted() {
    let mut server = Server::new(config()).unwrap();
    let mut other = request(150, 1);
    other[..10].copy_from_slice(b"SESSION002");
    let mut zero = request(1, 1);
    zero[17] = 0;
    let stranger = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), 5_000);
    let cases = [
        (client(1), request(150, 0), Reason::ZeroCount),
        (client(1), request(200 + (1 << 16), 1), Reason::BeyondEnd),
        (client(1), request(u64::MAX, 0xFFFF), Reason::BeyondEnd),
        (client(1), request(99, 5), Reason::AgedOut),
        (client(1), other, Reason::WrongSession),
        (client(1), zero, Reason::Malformed),
        (client(1), request(150, 1)[..19].to_vec(), Reason::Malformed),
        (client(1), data(150, 151), Reason::Malformed),
        (stranger, request(150, 1), Reason::NotAllowed),
    ];
    for (from, bytes, reason) in &cases {
        assert_eq!(ask(&mut server, T0, *from, bytes), Verdict::Silent(*reason));
    }
    assert_eq!(server.poll_reply(), None);
    for reason in Reason::ALL {
        let expected = cases.iter().filter(|(_, _, r)| *r == reason).count() as u64;
        assert_eq!(server.stats().silent[reason as usize], expected, "{}", reason.name());
    }
    let config = || ServerConfig { patience: Nanos::ZERO, ..config() };
    let mut server = Server::new(config()).unwrap();
    let nothing = server.on_request(T0, client(1), &request(1, 1), SeqNo::FIRST..SeqNo::FIRST);
    assert_eq!(nothing, Verdict::Silent(Reason::BeyondEnd));
    let mut server = Server::new(ServerConfig { allow: vec![], ..config() }).unwrap();
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 1)), Verdict::Silent(Reason::NotAllowed));
}

#[test]
fn what_waits_to_be_sent_is_not_queued_twice() {
    let mut server = Server::new(config()).unwrap();
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 5)), Verdict::Queued);
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 5)), Verdict::Silent(Reason::Repeated));
    assert_eq!(ask(&mut server, T0, client(2), &request(150, 5)), Verdict::Queued);
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 6)), Verdict::Queued);
    let reply = server.poll_reply().unwrap();
    server.put_back(reply);
    assert_eq!(server.poll_reply(), Some(reply));
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 5)), Verdict::Queued, "it has been sent by now");
}

#[test]
fn a_storm_from_one_address_is_bounded_and_leaves_the_others_alone() {
    let burst = Nanos::from_millis(10);
    let per_source = Bucket { datagrams_per_s: 1_000, bytes_per_s: 1_000_000, burst };
    let (mut server, history) = (Server::new(ServerConfig { per_source, ..config() }).unwrap(), history());
    let (mut datagrams, mut bytes) = (0u64, 0u64);
    for step in 0..100_000u64 {
        let now = T0 + Nanos::from_micros(10 * step);
        // Another port and another number each time.
        let from = SocketAddrV4::new(*client(66).ip(), step as u16);
        ask(&mut server, now, from, &request(100 + step % 100, 0xFFFF));
        while let Some((reply, datagram)) = answer(&mut server, &history) {
            assert_eq!(*reply.to.ip(), *client(66).ip());
            datagrams += 1;
            bytes += datagram.len() as u64;
        }
        if step % 1_000 == 0 {
            assert_eq!(ask(&mut server, now, client(1), &request(150, 5)), Verdict::Queued);
            assert_eq!(answer(&mut server, &history).unwrap().0.to, client(1));
        }
    }
    assert!(datagrams <= 1_000 + 12 && bytes <= 1_000_000 + 13_000, "{datagrams} datagrams, {bytes} bytes");
    assert!(bytes > 900_000 || datagrams > 990, "what is configured is also given: {bytes} bytes");
    assert!(server.stats().silent[Reason::SourceRate as usize] > 90_000);
}

#[test]
fn a_storm_from_everywhere_is_bounded_in_total() {
    let burst = Nanos::from_millis(10);
    let total = Bucket { datagrams_per_s: 2_000, bytes_per_s: 1 << 40, burst };
    let mut server = Server::new(ServerConfig { total, ..config() }).unwrap();
    let mut queued = 0;
    for step in 0..100_000u64 {
        let now = T0 + Nanos::from_micros(10 * step);
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 1, (step >> 8) as u8, step as u8), 5_000);
        queued += u64::from(ask(&mut server, now, from, &request(150, 1)) == Verdict::Queued);
        while server.poll_reply().is_some() {}
    }
    assert!((1_900..=2_022).contains(&queued), "{queued}");
}

#[test]
fn replies_that_wait_are_bounded() {
    let config = ServerConfig { max_pending: 4, ..config() };
    let mut server = Server::new(config).unwrap();
    for n in 0..10 {
        let verdict = ask(&mut server, T0, client(1), &request(150 + n, 1));
        let expected = if n < 4 { Verdict::Queued } else { Verdict::Silent(Reason::PendingFull) };
        assert_eq!(verdict, expected);
    }
}

/// Forged addresses can neither grow the table nor push an address out of it to give it a fresh bucket.
#[test]
fn a_full_table_forgets_only_buckets_that_are_full_again() {
    let burst = Nanos::from_millis(1);
    let per_source = Bucket { datagrams_per_s: 100, bytes_per_s: 1 << 40, burst };
    let config = ServerConfig { per_source, max_sources: 4, ..config() };
    let mut server = Server::new(config).unwrap();
    for host in 1..=4 {
        assert_eq!(ask(&mut server, T0, client(host), &request(150, 1)), Verdict::Queued);
    }
    for host in 5..=200 {
        let verdict = ask(&mut server, T0, client(host), &request(150, 1));
        assert_eq!(verdict, Verdict::Silent(Reason::SourcesFull));
    }
    assert_eq!(ask(&mut server, T0, client(1), &request(151, 1)), Verdict::Silent(Reason::SourceRate));
    let later = T0 + Nanos::from_millis(10);
    assert_eq!(ask(&mut server, later, client(5), &request(150, 1)), Verdict::Queued);
    assert_eq!(ask(&mut server, later, client(1), &request(151, 1)), Verdict::Queued);
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    let error = |config: ServerConfig| Server::new(config).unwrap_err().to_string();
    let none = Bucket { datagrams_per_s: 0, bytes_per_s: 1, burst: Nanos::ZERO };
    assert_eq!(
        error(ServerConfig { total: none, ..config() }),
        format!("rewind server: total.datagrams_per_s is 0, must be 1 to {}", u64::MAX)
    );
    assert!(error(ServerConfig { max_sources: 0, ..config() }).contains("max_sources is 0"));
}

#[test]
fn another_session_drops_what_waits() {
    let mut server = Server::new(config()).unwrap();
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 5)), Verdict::Queued);
    server.on_session(Session::from_wire(*b"SESSION002"));
    assert_eq!(server.poll_reply(), None);
    assert_eq!(ask(&mut server, T0, client(1), &request(150, 5)), Verdict::Silent(Reason::WrongSession));
}

proptest! {
    /// Whatever arrives from wherever: an answer never exceeds one datagram per request, and holds what was asked for.
    #[test]
    fn any_request_gets_at_most_one_right_datagram(
        requests in prop::collection::vec((any::<[u8; 4]>(), 1u64..400, any::<u16>(), 0usize..24), 1..60),
        max_datagram_bytes in 64usize..600,
    ) {
        let config = ServerConfig { allow: vec![Prefix::ANY], max_datagram_bytes, ..config() };
        let (mut server, history) = (Server::new(config).unwrap(), history());
        for (from, first, count, len) in requests {
            let from = SocketAddrV4::new(from.into(), 9);
            let mut bytes = request(first, count);
            bytes.resize(if len < 20 { len } else { 20 }, 0);
            let verdict = ask(&mut server, T0, from, &bytes);
            let reply = answer(&mut server, &history);
            prop_assert_eq!(verdict == Verdict::Queued, reply.is_some());
            if let Some((reply, datagram)) = reply {
                prop_assert!(AVAILABLE.contains(&first) && count > 0 && bytes.len() == 20);
                prop_assert!(reply.to == from && datagram.len() <= max_datagram_bytes);
                let parsed = Downstream::parse(&datagram).unwrap();
                prop_assert!(parsed.first() == seq(first) && parsed.messages().len() <= usize::from(count));
                for (message, n) in parsed.messages().zip(first..) {
                    prop_assert_eq!(message, text(n));
                }
            }
            prop_assert_eq!(server.poll_reply(), None);
        }
    }
}
