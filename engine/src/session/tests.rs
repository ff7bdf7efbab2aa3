use proptest::prelude::*;
use seqcast_wire::soup::Packet;
use seqcast_wire::{SeqNo, Session};

use super::*;

fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

fn session() -> Session {
    "SEQ1".parse().unwrap()
}

fn server() -> ServerLink {
    let credentials = Credentials { username: "user".into(), password: "secret".into(), session: session() };
    ServerLink::new(credentials, 1 << 16, Nanos(1))
}

fn login(username: &str, password: &str, session: Session) -> Login {
    Login { username: username.into(), password: password.into(), session, next: Some(SeqNo::FIRST) }
}

/// Moves all output of the client to the server, `cut` bytes at a time; gives the logins seen.
fn to_server(client: &mut ClientLink, server: &mut ServerLink, now: Nanos, cut: usize) -> usize {
    let mut logins = 0;
    for piece in client.output().to_vec().chunks(cut) {
        server
            .on_bytes(now, piece, |event| logins += usize::from(matches!(event, ServerEvent::Login { .. })));
    }
    client.on_written(client.output().len());
    logins
}

fn to_client(
    server: &mut ServerLink,
    client: &mut ClientLink,
    now: Nanos,
    cut: usize,
) -> Vec<(u64, Vec<u8>)> {
    let mut messages = Vec::new();
    for piece in server.output().to_vec().chunks(cut) {
        client.on_bytes(now, piece, |event| {
            if let ClientEvent::Message { seq, message } = event {
                messages.push((seq.value(), message.to_vec()));
            }
        });
    }
    server.on_written(server.output().len());
    messages
}

fn logged_in() -> (ServerLink, ClientLink) {
    let (mut server, mut client) = (server(), ClientLink::new(&login("USER", "Secret", session()), Nanos(1)));
    assert_eq!(to_server(&mut client, &mut server, Nanos(2), 1), 1);
    server.accept(Nanos(2), seq(7));
    assert!(to_client(&mut server, &mut client, Nanos(2), 3).is_empty());
    assert_eq!((client.next(), server.is_logged_in()), (Some(seq(7)), true));
    (server, client)
}

/// A packet's bytes.
fn bytes_of(packet: Packet<'_>) -> Vec<u8> {
    let mut buffer = vec![0; soup::MAX_PACKET_BYTES];
    let len = packet.emit(&mut buffer);
    buffer.truncate(len);
    buffer
}

fn text(n: u64) -> Vec<u8> {
    format!("message {n}").into_bytes()
}

proptest! {
    #[test]
    fn messages_arrive_numbered_however_the_stream_is_cut(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40),
        cut in 1usize..600,
    ) {
        let (mut server, mut client) = logged_in();
        for message in &messages {
            prop_assert!(server.try_send(Nanos(3), message));
        }
        let got = to_client(&mut server, &mut client, Nanos(3), cut);
        let want: Vec<_> = (7..).zip(messages).collect();
        prop_assert_eq!(got, want);
        prop_assert_eq!(client.closed(), None);
    }

    /// Written in any pieces, broken at any byte and logged in again: every message once and in order.
    #[test]
    fn a_new_link_resumes_where_the_old_one_broke(
        pieces in proptest::collection::vec((1usize..60, 0u32..30), 1..60),
        messages in 1u64..200,
    ) {
        let mut pieces = pieces.into_iter().cycle();
        let (mut server, mut client) = (server(), ClientLink::new(&login("user", "secret", session()), Nanos(1)));
        let (mut received, mut next, mut breaks) = (Vec::new(), 1, 0);
        for step in 0..20_000u64 {
            let now = Nanos::from_millis(step);
            let (bytes, luck) = pieces.next().unwrap();
            let up = client.output().iter().take(bytes).copied().collect::<Vec<_>>();
            client.on_written(up.len());
            let mut wanted = None;
            server.on_bytes(now, &up, |event| if let ServerEvent::Login { next } = event { wanted = next });
            if let Some(wanted) = wanted {
                server.accept(now, wanted);
                next = wanted.value();
            }
            if server.is_logged_in() && next <= messages && server.try_send(now, &text(next)) {
                next += 1;
            } else if next > messages {
                server.try_end_session(now);
            }
            let down = server.output().iter().take(bytes).copied().collect::<Vec<_>>();
            server.on_written(down.len());
            client.on_bytes(now, &down, |event| if let ClientEvent::Message { seq, message } = event {
                received.push((seq.value(), message.to_vec()));
            });
            server.poll(now);
            client.poll(now);
            if client.closed().is_some() {
                break;
            }
            if luck == 0 && breaks < 20 {
                // What was on its way is gone.
                breaks += 1;
                let due = client.next().or(Some(seq(received.len() as u64 + 1)));
                client = ClientLink::new(&Login { next: due, ..login("user", "secret", session()) }, now);
                server = self::server();
            }
        }
        prop_assert_eq!(received, (1..=messages).map(|n| (n, text(n))).collect::<Vec<_>>());
        prop_assert_eq!(client.closed(), Some(Closed::InOrder));
    }

    /// Any bytes, packets among them, at any stage: no panic, bounded output, and who is closed stays so.
    #[test]
    fn arbitrary_bytes_close_a_link_or_wait_but_never_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                (proptest::sample::select(b"+LAJSUHRZO!".to_vec()), 1u8..60).prop_map(|(kind, len)| {
                    let mut packet = vec![b' '; usize::from(len) + 2];
                    packet[..3].copy_from_slice(&[0, len, kind]);
                    packet
                }),
            ],
            0..20,
        ),
    ) {
        let (mut server, mut client) = logged_in();
        let mut fresh = self::server();
        let mut before = [None; 3];
        for piece in pieces {
            server.on_bytes(Nanos(3), &piece, |_| {});
            client.on_bytes(Nanos(3), &piece, |_| {});
            fresh.on_bytes(Nanos(3), &piece, |_| {});
            let after = [server.closed(), client.closed(), fresh.closed()];
            prop_assert!(before.iter().zip(after).all(|(before, after)| before.is_none() || *before == after));
            before = after;
        }
        prop_assert!(server.output().len() <= 4 && client.output().len() <= 3);
    }

    /// What is pushed comes out in order, within the bound, however it is written.
    #[test]
    fn output_is_a_bounded_queue(
        steps in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..30), 0usize..60), 0..100),
    ) {
        let mut output = output::Output::new(100);
        let (mut pushed, mut written) = (Vec::new(), Vec::new());
        for (message, len) in steps {
            let fits = output.pending().len() + message.len() + soup::HEADER_BYTES <= 100;
            prop_assert_eq!(output.try_push(&Packet::Sequenced(&message)), fits);
            if fits {
                pushed.extend(bytes_of(Packet::Sequenced(&message)));
            }
            let len = len.min(output.pending().len());
            written.extend_from_slice(&output.pending()[..len]);
            output.on_written(len);
        }
        written.extend_from_slice(output.pending());
        prop_assert_eq!(written, pushed);
    }
}

#[test]
fn a_client_that_reads_nothing_is_disconnected_though_it_talks() {
    let (mut server, mut client) = logged_in();
    assert!(server.try_send(Nanos(2), b"m"));
    let mut at = Nanos(2);
    for second in 0..15 {
        at = Nanos(2) + Nanos::from_secs(second);
        server.on_bytes(at, &bytes_of(Packet::ClientHeartbeat), |_| {});
        server.poll(at);
        assert_eq!((server.closed(), server.output()), (None, &b"\0\x02Sm"[..]), "after {second} s");
    }
    // A byte that is written, here or past the output, is a sign of life.
    server.on_written(1);
    server.poll(at);
    at = at + TIMEOUT - Nanos(1);
    server.on_bytes(at, &bytes_of(Packet::ClientHeartbeat), |_| {});
    server.on_sent(at);
    server.poll(at);
    for second in 1..15 {
        at = at + Nanos::from_secs(1);
        server.on_bytes(at, &bytes_of(Packet::ClientHeartbeat), |_| {});
        server.poll(at);
        assert_eq!(server.closed(), None, "{second} s later");
    }
    server.poll(at + Nanos::from_secs(1));
    assert_eq!(server.closed(), Some(Closed::Stalled));
    client.on_bytes(Nanos(3), b"", |_| panic!("nothing arrived"));
}

#[test]
fn a_number_that_cannot_be_had_is_rejected() {
    let (mut server, mut client) = (server(), ClientLink::new(&login("user", "secret", session()), Nanos(1)));
    assert_eq!(to_server(&mut client, &mut server, Nanos(1), 7), 1);
    server.reject(Nanos(1));
    server.accept(Nanos(1), seq(5));
    assert!(!server.is_logged_in() && !server.try_send(Nanos(1), b"x"));
    to_client(&mut server, &mut client, Nanos(1), 7);
    let closed = Some(Closed::SessionNotAvailable);
    assert_eq!((server.closed(), client.closed()), (closed, closed));
}

#[test]
fn unknown_packets_are_skipped_and_those_out_of_turn_close() {
    let unknown = bytes_of(Packet::Unknown { kind: b'!', payload: b"from the future" });
    let (mut server, mut client) = logged_in();
    server.on_bytes(Nanos(3), &unknown, |event| panic!("{event:?}"));
    client.on_bytes(Nanos(3), &unknown, |event| panic!("{event:?}"));
    assert_eq!((server.closed(), client.closed()), (None, None));

    let again = ClientLink::new(&login("user", "secret", session()), Nanos(1)).output().to_vec();
    server.on_bytes(Nanos(3), &again, |event| panic!("{event:?}"));
    assert_eq!(server.closed(), Some(Closed::Unexpected(b'L')), "a second login");
    client.on_bytes(Nanos(3), &bytes_of(Packet::ClientHeartbeat), |event| panic!("{event:?}"));
    assert_eq!(client.closed(), Some(Closed::Unexpected(b'R')));

    let mut fresh = self::server();
    let mut logins = 0;
    fresh.on_bytes(Nanos(1), &[&again[..], &again[..]].concat(), |_| logins += 1);
    assert_eq!((logins, fresh.closed()), (1, Some(Closed::Unexpected(b'L'))), "two at once");
    let mut fresh = self::server();
    fresh.on_bytes(Nanos(1), &bytes_of(Packet::Unsequenced(b"x")), |event| panic!("{event:?}"));
    assert_eq!(fresh.closed(), Some(Closed::Unexpected(b'U')), "before the login");
}

#[test]
fn a_packet_too_long_for_a_server_closes_as_soon_as_its_length_is_there() {
    let (mut server, _client) = logged_in();
    server.on_bytes(Nanos(3), &[0x7F], |_| {});
    assert_eq!(server.closed(), None);
    server.on_bytes(Nanos(3), &[0xFF], |_| {});
    let why = server.closed().unwrap();
    assert_eq!(why.to_string(), "a packet of 32769 bytes, 4096 are the most");
}

#[test]
fn the_longest_message_reaches_a_client_in_pieces() {
    let mut client = ClientLink::new(&login("user", "secret", session()), Nanos(1));
    let accepted = soup::LoginAccepted { session: session(), next: SeqNo::MAX };
    let payload = vec![7; soup::MAX_PAYLOAD_BYTES];
    let message = bytes_of(Packet::Sequenced(&payload));
    let mut lens = Vec::new();
    client.on_bytes(
        Nanos(1),
        &bytes_of(Packet::LoginAccepted(soup::LoginAccepted { next: seq(9), ..accepted })),
        |_| {},
    );
    for piece in message.chunks(1_000) {
        client.on_bytes(Nanos(1), piece, |event| {
            if let ClientEvent::Message { message, .. } = event {
                lens.push(message.len());
            }
        });
    }
    assert_eq!((lens, client.next()), (vec![soup::MAX_PAYLOAD_BYTES], Some(seq(10))));

    let mut client = ClientLink::new(&login("user", "secret", session()), Nanos(1));
    client.on_bytes(Nanos(1), &bytes_of(Packet::LoginAccepted(accepted)), |_| {});
    client.on_bytes(Nanos(1), b"\0\x02Sx", |event| panic!("{event:?}"));
    assert_eq!(client.closed(), Some(Closed::Malformed(Error::SeqNo)), "numbers do not run over");
}

#[test]
fn a_login_that_nobody_answers_does_not_hold_the_link_for_ever() {
    let (mut server, mut client) = (server(), ClientLink::new(&login("user", "secret", session()), Nanos(1)));
    to_server(&mut client, &mut server, Nanos(2), 64);
    server.poll(Nanos(1) + TIMEOUT);
    assert_eq!((server.closed(), server.output().len()), (None, 0), "no heartbeat before the answer");
    server.poll(Nanos(2) + TIMEOUT);
    assert_eq!(server.closed(), Some(Closed::Silent));
}

#[test]
fn a_wrong_login_is_rejected_with_its_reason() {
    for (user, password, wanted, why) in [
        ("user", "secreT", session(), None),
        ("user", "secret", Session::BLANK, None),
        ("user", "secre", session(), Some(Closed::NotAuthorized)),
        ("user", "secret1", session(), Some(Closed::NotAuthorized)),
        ("use", "secret", session(), Some(Closed::NotAuthorized)),
        ("user", "secret", "OTHER".parse().unwrap(), Some(Closed::SessionNotAvailable)),
    ] {
        let (mut server, mut client) = (server(), ClientLink::new(&login(user, password, wanted), Nanos(1)));
        let logins = to_server(&mut client, &mut server, Nanos(1), 64);
        assert_eq!((logins, server.closed()), (usize::from(why.is_none()), why), "{user} {password}");
        to_client(&mut server, &mut client, Nanos(1), 64);
        assert_eq!(client.closed(), why);
    }
}

#[test]
fn silence_is_filled_with_heartbeats_and_ends_in_a_timeout() {
    let (mut server, mut client) = logged_in();
    let second = Nanos(2) + HEARTBEAT;
    server.poll(second);
    client.poll(Nanos(1) + HEARTBEAT);
    assert_eq!(server.output(), [0, 1, b'H']);
    assert_eq!(client.output(), [0, 1, b'R']);
    server.poll(second);
    assert_eq!(server.output().len(), 3, "one heartbeat a second");
    server.poll(Nanos(2) + TIMEOUT);
    client.poll(Nanos(2) + TIMEOUT);
    assert_eq!((server.closed(), client.closed()), (Some(Closed::Silent), Some(Closed::Silent)));
}

#[test]
fn who_does_not_log_in_is_disconnected() {
    let mut server = server();
    server.on_bytes(Nanos(2), &[0, 1], |_| {});
    server.poll(LOGIN_TIMEOUT);
    assert_eq!(server.closed(), None);
    server.poll(Nanos(1) + LOGIN_TIMEOUT);
    assert_eq!(server.closed(), Some(Closed::NoLogin));
}

#[test]
fn a_client_that_does_not_read_is_refused_more() {
    let (mut server, _client) = logged_in();
    let refused = (0..).find(|_| !server.try_send(Nanos(3), &[0; 1000])).unwrap();
    assert_eq!(refused, (1 << 16) / 1003);
    server.on_written(1003);
    assert!(server.try_send(Nanos(3), &[0; 1000]));
}

#[test]
fn the_end_of_the_session_and_a_logout_close_in_order() {
    let (mut server, mut client) = logged_in();
    assert!(server.try_end_session(Nanos(3)));
    to_client(&mut server, &mut client, Nanos(3), 1);
    assert_eq!((server.closed(), client.closed()), (Some(Closed::InOrder), Some(Closed::InOrder)));
    let (mut server, mut client) = logged_in();
    client.log_out(Nanos(3));
    to_server(&mut client, &mut server, Nanos(3), 1);
    assert_eq!(server.closed(), Some(Closed::InOrder));
}

#[test]
fn sequenced_data_before_the_login_is_accepted_is_refused() {
    let mut client = ClientLink::new(&login("user", "secret", session()), Nanos(1));
    client.on_bytes(Nanos(2), &[0, 2, b'S', 1], |event| panic!("{event:?}"));
    assert_eq!(client.closed(), Some(Closed::Unexpected(b'S')));
}
