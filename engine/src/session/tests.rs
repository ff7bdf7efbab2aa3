use proptest::prelude::*;
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

    #[test]
    fn arbitrary_bytes_close_a_link_or_wait_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (mut server, mut client) = logged_in();
        server.on_bytes(Nanos(3), &bytes, |_| {});
        client.on_bytes(Nanos(3), &bytes, |_| {});
        let mut fresh = self::server();
        fresh.on_bytes(Nanos(3), &bytes, |_| {});
    }
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
    server.end_session();
    to_client(&mut server, &mut client, Nanos(3), 1);
    assert_eq!((server.closed(), client.closed()), (Some(Closed::InOrder), Some(Closed::InOrder)));
    let (mut server, mut client) = logged_in();
    client.log_out();
    to_server(&mut client, &mut server, Nanos(3), 1);
    assert_eq!(server.closed(), Some(Closed::InOrder));
}

#[test]
fn sequenced_data_before_the_login_is_accepted_is_refused() {
    let mut client = ClientLink::new(&login("user", "secret", session()), Nanos(1));
    client.on_bytes(Nanos(2), &[0, 2, b'S', 1], |event| panic!("{event:?}"));
    assert_eq!(client.closed(), Some(Closed::Unexpected(b'S')));
}
