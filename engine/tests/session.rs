//! SoupBinTCP links of both sides against each other, over a byte stream that the test cuts.

use proptest::prelude::*;
use seqcast_engine::session::soup_client::{self, Event, Login};
use seqcast_engine::session::soup_server::{self, LinkConfig};
use seqcast_engine::session::{Account, Accounts, Closing, Fault, Timing};
use seqcast_engine::time::Nanos;
use seqcast_wire::soup::{self, Packet, RejectReason};
use seqcast_wire::{Alpha, SeqNo, Session};

const T0: Nanos = Nanos::from_secs(9);

fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

fn session() -> Session {
    Session::from_wire(*b"SESSION001")
}

fn text(n: u64) -> Vec<u8> {
    format!("message {n}").into_bytes()
}

fn login(next: Option<u64>) -> Login {
    Login {
        username: Alpha::padded("bob"),
        password: Alpha::padded("hunter2"),
        session: Session::BLANK,
        next: next.map(seq),
    }
}

fn accounts() -> Accounts {
    Accounts::new(vec![Account::new("BOB", "hunter2").unwrap()])
}

/// A client and a server with everything between them.
struct Pair {
    now: Nanos,
    client: soup_client::Link,
    server: soup_server::Link,
    received: Vec<(u64, Vec<u8>)>,
    told: Vec<String>,
    unsequenced: Vec<Vec<u8>>,
}

impl Pair {
    fn new(login: Login) -> Pair {
        Pair {
            now: T0,
            client: soup_client::Link::new(Timing::default(), login, T0),
            server: soup_server::Link::new(&LinkConfig::default(), T0),
            received: Vec::new(),
            told: Vec::new(),
            unsequenced: Vec::new(),
        }
    }

    fn up() -> Pair {
        let mut pair = Pair::new(login(Some(1)));
        pair.exchange();
        assert!(pair.client.is_up() && pair.server.is_up());
        pair
    }

    /// Carries up to `bytes` in each direction.
    fn carry(&mut self, bytes: usize, takes: bool) {
        let now = self.now;
        let up = self.client.output();
        let up = up[..up.len().min(bytes)].to_vec();
        self.client.on_written(now, up.len());
        self.server.on_bytes(now, &up, |message| self.unsequenced.push(message.to_vec()));
        if let Some(request) = self.server.login() {
            match accounts().judge(request, session(), seq(1)..seq(1_000)) {
                Ok(next) => self.server.accept(now, session(), next),
                Err(reason) => self.server.reject(now, reason),
            }
        }
        let down = self.server.output();
        let down = down[..down.len().min(bytes)].to_vec();
        let used = self.client.on_bytes(now, &down, |event| {
            match event {
                _ if !takes => return false,
                Event::Message { seq, bytes } => self.received.push((seq.value(), bytes.to_vec())),
                event => self.told.push(format!("{event:?}")),
            }
            true
        });
        self.server.on_written(now, used);
    }

    fn exchange(&mut self) {
        for _ in 0..4 {
            self.carry(usize::MAX, true);
        }
    }

    fn wait(&mut self, span: Nanos) {
        self.now = self.now + span;
        self.client.poll(self.now);
        self.server.poll(self.now);
    }
}

#[test]
fn a_client_logs_in_and_receives_from_the_number_it_asked_for() {
    let mut pair = Pair::new(login(Some(42)));
    pair.exchange();
    assert_eq!(pair.told, ["Accepted { session: Session(SESSION001), next: SeqNo(42) }"]);
    assert_eq!(pair.server.next(), seq(42));
    assert!(pair.server.try_send(pair.now, b"a") && pair.server.try_send(pair.now, b""));
    assert!(pair.client.try_send(pair.now, b"hello"));
    pair.exchange();
    assert_eq!(pair.received, [(42, b"a".to_vec()), (43, b"".to_vec())]);
    assert_eq!(pair.unsequenced, [b"hello"]);
    assert_eq!(pair.client.resume(), Login { session: session(), ..login(Some(44)) });
    assert!(pair.server.try_end(pair.now) && !pair.server.try_send(pair.now, b"late"));
    pair.exchange();
    assert_eq!(pair.told[1..], ["End { next: SeqNo(44) }"]);
    assert_eq!((pair.client.closing(), pair.server.closing()), (Some(Closing::Ended), Some(Closing::Ended)));
}

#[test]
fn a_login_is_rejected_with_its_reason_and_the_link_closes() {
    let wrong = Login { password: Alpha::padded("hunter3"), ..login(Some(1)) };
    let elsewhere = Login { session: Session::from_wire(*b"SESSION002"), ..login(Some(1)) };
    for (login, reason) in [
        (wrong, RejectReason::NotAuthorized),
        (elsewhere, RejectReason::SessionNotAvailable),
        (login(Some(5_000)), RejectReason::SessionNotAvailable),
    ] {
        let mut pair = Pair::new(login);
        pair.exchange();
        let closing = Some(Closing::Rejected(reason));
        assert_eq!((pair.client.closing(), pair.server.closing()), (closing, closing));
        assert!(!pair.server.try_send(pair.now, b"x") && !pair.client.try_send(pair.now, b"x"));
        assert!(pair.told.is_empty());
    }
}

#[test]
fn heartbeats_keep_an_idle_link_alive() {
    let mut pair = Pair::up();
    for _ in 0..600 {
        pair.wait(Nanos::from_millis(100));
        assert!(pair.client.output().len() <= 3 && pair.server.output().len() <= 3);
        pair.exchange();
    }
    assert!(pair.client.is_up() && pair.server.is_up());
    // One a second, and none while there is something else to say.
    pair.now = pair.now + Nanos::from_millis(1_000);
    pair.server.try_send(pair.now, b"m");
    pair.server.poll(pair.now);
    assert_eq!(pair.server.output(), b"\0\x02Sm");
}

#[test]
fn a_silent_peer_ends_the_link_after_15_s() {
    let mut pair = Pair::up();
    pair.wait(Nanos::from_secs(15) - Nanos(1));
    assert_eq!((pair.client.closing(), pair.server.closing()), (None, None));
    pair.wait(Nanos(1));
    assert_eq!(
        (pair.client.closing(), pair.server.closing()),
        (Some(Closing::Silent), Some(Closing::Silent))
    );
}

#[test]
fn nobody_logging_in_ends_the_link_after_30_s() {
    let mut server = soup_server::Link::new(&LinkConfig::default(), T0);
    for second in 0..30 {
        let now = T0 + Nanos::from_secs(second);
        server.on_bytes(now, b"\0\x01R", |_| {});
        server.poll(now);
        assert_eq!(server.closing(), None);
    }
    server.poll(T0 + Nanos::from_secs(30));
    assert_eq!(server.closing(), Some(Closing::NoLogin));
    assert_eq!(server.output(), b"", "no heartbeats to strangers");
}

#[test]
fn a_client_that_does_not_read_is_refused_and_then_dropped() {
    let mut pair = Pair::up();
    let message = [7; 1_000];
    let mut queued = 0;
    while pair.server.try_send(pair.now, &message) {
        queued += 1;
        assert!(queued < 1_000, "without bound");
    }
    assert_eq!((queued, pair.server.next()), ((256 << 10) / 1_003, seq(1 + queued)));
    for _ in 0..15 {
        assert_eq!(pair.server.closing(), None);
        pair.now = pair.now + Nanos::from_secs(1);
        pair.server.on_bytes(pair.now, b"\0\x01R", |_| {});
        pair.server.poll(pair.now);
    }
    assert_eq!(pair.server.closing(), Some(Closing::Stalled));
    assert!(pair.server.is_abandoned(pair.now));
}

#[test]
fn a_client_whose_sink_has_no_room_keeps_its_link() {
    let mut pair = Pair::up();
    assert!(pair.server.try_send(pair.now, b"m"));
    for _ in 0..40 {
        pair.wait(Nanos::from_secs(1));
        let up = pair.client.output().to_vec();
        pair.client.on_written(pair.now, up.len());
        pair.server.on_bytes(pair.now, &up, |_| {});
        // The server's bytes were read from the socket, but the sink refuses them.
        let down = pair.server.output().to_vec();
        let used = pair.client.on_bytes(pair.now, &down, |_| false);
        assert_eq!(used, 0);
        pair.server.on_written(pair.now, 0);
    }
    assert_eq!(pair.client.closing(), None);
}

#[test]
fn packets_out_of_turn_are_faults() {
    let packet = |packet: Packet<'_>| {
        let mut buffer = vec![0; 100];
        let len = packet.emit(&mut buffer);
        buffer.truncate(len);
        buffer
    };
    let mut early = soup_server::Link::new(&LinkConfig::default(), T0);
    early.on_bytes(T0, &packet(Packet::Unsequenced(b"x")), |_| panic!("not logged in"));
    assert_eq!(early.closing(), Some(Closing::Fault(Fault::OutOfTurn { kind: b'U' })));

    let mut pair = Pair::up();
    let again = soup_client::Link::new(Timing::default(), login(None), T0).output().to_vec();
    pair.server.on_bytes(T0, &again, |_| {});
    assert_eq!(pair.server.closing(), Some(Closing::Fault(Fault::OutOfTurn { kind: b'L' })));

    let mut pair = Pair::up();
    pair.server.on_bytes(T0, &packet(Packet::Sequenced(b"x")), |_| {});
    assert_eq!(pair.server.closing(), Some(Closing::Fault(Fault::OutOfTurn { kind: b'S' })));

    let mut client = soup_client::Link::new(Timing::default(), login(None), T0);
    client.on_bytes(T0, &packet(Packet::Sequenced(b"x")), |_| panic!("not accepted"));
    assert_eq!(client.closing(), Some(Closing::Fault(Fault::OutOfTurn { kind: b'S' })));

    let mut pair = Pair::up();
    pair.server.on_bytes(T0, b"\x7f\xffU", |_| {});
    let closing = pair.server.closing().unwrap();
    assert_eq!(closing.to_string(), "packet of 32769 bytes, at most 4096 are taken");
    pair.client.on_bytes(T0, b"\0\0", |_| true);
    assert!(matches!(pair.client.closing(), Some(Closing::Fault(Fault::Malformed(_)))));
    assert!(pair.client.closing().unwrap().to_string().starts_with("malformed packet: "));
}

#[test]
fn a_client_logs_out() {
    let mut pair = Pair::up();
    pair.client.log_out(pair.now);
    pair.exchange();
    let closing = Some(Closing::LoggedOut);
    assert_eq!((pair.client.closing(), pair.server.closing()), (closing, closing));
}

#[test]
fn the_last_number_is_not_passed() {
    let mut server = soup_server::Link::new(&LinkConfig::default(), T0);
    server.on_bytes(T0, soup_client::Link::new(Timing::default(), login(None), T0).output(), |_| {});
    server.accept(T0, session(), SeqNo::MAX);
    assert!(server.is_up() && !server.try_send(T0, b"x"));
}

proptest! {
    /// Cut anywhere, refused at any time, broken and resumed at any time: every message once and in order.
    #[test]
    fn messages_arrive_once_and_in_order(
        cuts in prop::collection::vec((1usize..60, any::<bool>(), 0u32..40), 1..60),
        messages in 1u64..200,
    ) {
        let mut pair = Pair::new(login(Some(1)));
        let mut cuts = cuts.into_iter().cycle();
        let mut breaks = 0;
        for step in 0..20_000 {
            let (bytes, takes, luck) = cuts.next().unwrap();
            // The list of cuts repeats: let every tenth step go on, so that it ends.
            pair.carry(bytes, takes || step % 10 == 0);
            let next = pair.server.next().value();
            if next <= messages && pair.server.is_up() {
                pair.server.try_send(pair.now, &text(next));
            } else if pair.server.is_up() {
                pair.server.try_end(pair.now);
            }
            pair.wait(Nanos::from_millis(10));
            prop_assert!(!matches!(pair.client.closing(), Some(Closing::Fault(_))));
            if pair.client.closing() == Some(Closing::Ended) {
                break;
            }
            if luck == 0 && breaks < 20 {
                // What was on its way is gone.
                breaks += 1;
                pair.client = soup_client::Link::new(Timing::default(), pair.client.resume(), pair.now);
                pair.server = soup_server::Link::new(&LinkConfig::default(), pair.now);
            }
        }
        let expected: Vec<_> = (1..=messages).map(|n| (n, text(n))).collect();
        prop_assert_eq!(&pair.received, &expected);
        prop_assert_eq!(pair.client.closing(), Some(Closing::Ended));
    }

    /// Any bytes at either side: no panic, and once it closes it stays closed for the same reason.
    #[test]
    fn any_bytes_are_taken_or_close_the_link(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                (prop::sample::select(b"+LAJSUHRZO!".to_vec()), 1u8..60).prop_map(|(kind, len)| {
                    let mut packet = vec![b' '; usize::from(len) + 2];
                    packet[..3].copy_from_slice(&[0, len, kind]);
                    packet
                }),
            ],
            0..20,
        ),
    ) {
        let mut pair = Pair::up();
        let mut closings = (None, None);
        for piece in pieces {
            pair.server.on_bytes(T0, &piece, |_| {});
            pair.client.on_bytes(T0, &piece, |_| true);
            prop_assert!(closings.0.is_none() || closings.0 == pair.server.closing());
            prop_assert!(closings.1.is_none() || closings.1 == pair.client.closing());
            closings = (pair.server.closing(), pair.client.closing());
        }
        prop_assert!(pair.server.output().len() <= soup::MAX_PACKET_BYTES);
    }
}
