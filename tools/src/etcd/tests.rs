//! Against a server that answers as it is told to. The real etcd is met in `tests/etcd.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use seqcast_engine::replica::{Member, Members, NodeId};

use super::*;

/// What the server does about a request.
enum Reply {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Closes the connection without an answer.
    Close,
    /// Keeps it open without an answer.
    Silence,
}

use Reply::{Answer as Give, Close, Silence};

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    path: String,
    token: Option<String>,
    body: serde_json::Value,
}

struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers the nth request with the nth reply, and all further ones with the last.
    fn new(replies: Vec<Reply>) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, replies) = (Arc::clone(&asked), Arc::new(replies));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, seen, replies) = (stream.unwrap(), Arc::clone(&seen), Arc::clone(&replies));
                thread::spawn(move || serve(&stream, &seen, &replies));
            }
        });
        Server { address, asked }
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.path.clone()).collect()
    }

    fn tokens(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().iter().map(|asked| asked.token.clone()).collect()
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Asked>>, replies: &[Reply]) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let field = |name: &str| {
            let mut fields = head.iter().filter_map(|line| line.split_once(": "));
            fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let mut body = vec![0; field("content-length").unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let asked =
            Asked { path, token: field("authorization"), body: serde_json::from_slice(&body).unwrap() };
        let nth = {
            let mut seen = seen.lock().unwrap();
            seen.push(asked);
            seen.len() - 1
        };
        let mut writer = stream;
        match &replies[nth.min(replies.len() - 1)] {
            Give(status, body) => {
                let length = body.len();
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
                if writer.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Close => return drop(stream.shutdown(std::net::Shutdown::Both)),
            Silence => {}
        }
    }
}

fn session() -> Session {
    Session::from_wire(*b"SEQCAST001")
}

fn record(epoch: u64, primary: u16) -> Record {
    let primary = Member { node: NodeId(primary), incarnation: 0xbeef };
    Record { session: session(), epoch, primary, in_sync: Members::of(&[primary]).unwrap() }
}

fn coordinator(endpoints: &[&str], more: &str) -> EtcdCoordinator {
    let endpoints = endpoints.iter().map(|endpoint| format!("{endpoint:?}")).collect::<Vec<_>>().join(",");
    let text = format!(
        "[cluster]\nnode = []\n[cluster.coordinator]\nkind = \"etcd\"\nendpoints = [{endpoints}]\n{more}\n"
    );
    let config = config::Config::parse(&text).unwrap().cluster.unwrap().coordinator;
    let config::Coordinator::Etcd(config) = config else { panic!("etcd") };
    EtcdCoordinator::new(&config, session()).unwrap()
}

fn ask(coordinator: &mut EtcdCoordinator, request: Request) -> Answer {
    coordinator.submit(Nanos::ZERO, request);
    coordinator.poll(Nanos::ZERO).unwrap()
}

fn unknown(coordinator: &mut EtcdCoordinator, request: Request) -> String {
    assert_eq!(ask(coordinator, request), Answer::Unknown);
    let notice = coordinator.take_notice().unwrap();
    assert_eq!(notice.lines().count(), 1, "{notice}");
    notice
}

fn header(cluster: &str, revision: u64) -> String {
    format!(
        r#""header":{{"cluster_id":"{cluster}","member_id":"1","revision":"{revision}","raft_term":"2"}}"#
    )
}

/// An answer to a reading.
fn found(store: u64, revision: u64, text: &str) -> Reply {
    let value = BASE64_STANDARD.encode(text);
    let header = header("7", store);
    Give(
        200,
        format!(
            r#"{{{header},"kvs":[{{"key":"eA==","mod_revision":"{revision}","value":"{value}"}}],"count":"1"}}"#
        ),
    )
}

fn refusal(status: u16, code: u64, said: &str) -> Reply {
    Give(status, format!(r#"{{"error":"{said}","message":"{said}","code":{code}}}"#))
}

#[test]
fn requests_and_answers_are_those_of_etcd() {
    let first = record(1, 0);
    let server = Server::new(vec![
        Give(200, format!("{{{}}}", header("7", 1))),
        Give(200, format!("{{{},\"succeeded\":true,\"responses\":[]}}", header("7", 2))),
        found(5, 2, &first.encode()),
        Give(200, format!("{{{}}}", header("7", 6))),
    ]);
    let mut coordinator = coordinator(&[&server.address], "prefix = \"/a/\"");
    assert_eq!(coordinator.key(), "/a/SEQCAST001");
    let swap = |expected| Request::Swap { expected, record: first };
    let made = Versioned { revision: 2, record: first };
    assert_eq!(ask(&mut coordinator, Request::Read), Answer::Read(None));
    assert_eq!(ask(&mut coordinator, swap(0)), Answer::Swapped(made));
    assert_eq!(ask(&mut coordinator, Request::Read), Answer::Read(Some(made)));
    assert_eq!(ask(&mut coordinator, swap(1)), Answer::Lost, "that needs no asking");
    assert_eq!(coordinator.take_notice(), None);
    let mut late = self::coordinator(&[&server.address], "prefix = \"/a/\"");
    assert_eq!(ask(&mut late, swap(0)), Answer::Lost);
    let key = BASE64_STANDARD.encode("/a/SEQCAST001");
    let asked = server.asked.lock().unwrap();
    let range = Asked { path: "/v3/kv/range".into(), token: None, body: json!({ "key": key }) };
    let txn = json!({
        "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": "0" }],
        "success": [{ "request_put": { "key": key, "value": BASE64_STANDARD.encode(first.encode()) } }],
    });
    let txn = Asked { path: "/v3/kv/txn".into(), token: None, body: txn };
    assert_eq!(*asked, [range.clone(), txn.clone(), range, txn]);
}

#[test]
fn a_swap_without_an_answer_is_not_made_again() {
    for reply in
        [Close, Silence, Give(503, "no leader".into()), Give(200, "{}".into()), refusal(504, 4, "timed out")]
    {
        let server = Server::new(vec![reply]);
        let other = Server::new(vec![Give(200, format!("{{{},\"succeeded\":true}}", header("7", 2)))]);
        let mut coordinator = coordinator(&[&server.address, &other.address], "request_timeout = \"200ms\"");
        let notice = unknown(&mut coordinator, Request::Swap { expected: 0, record: record(1, 0) });
        assert!(notice.starts_with(&format!("etcd at {}: ", server.address)), "{notice}");
        assert_eq!((server.paths().len(), other.paths().len()), (1, 0), "{notice}");
        let swap = Request::Swap { expected: 0, record: record(1, 0) };
        assert!(matches!(ask(&mut coordinator, swap), Answer::Swapped(_)), "the next one is asked at once");
        assert_eq!((server.paths().len(), other.paths().len()), (1, 1));
    }
}

#[test]
fn readings_go_on_to_the_next_endpoint_and_so_do_swaps_that_were_not_sent() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let nobody = format!("http://{nobody}");
    let broken = Server::new(vec![Close]);
    let whole = Server::new(vec![
        found(9, 4, &record(1, 0).encode()),
        Give(200, format!("{{{},\"succeeded\":true}}", header("7", 10))),
    ]);
    let mut one = coordinator(&[&nobody, &broken.address, &whole.address], "");
    assert!(matches!(ask(&mut one, Request::Read), Answer::Read(Some(_))));
    assert!(matches!(ask(&mut one, Request::Swap { expected: 4, record: record(2, 1) }), Answer::Swapped(_)));
    assert_eq!((broken.paths().len(), whole.paths().len()), (1, 2), "it stays where it was answered");

    let mut two = coordinator(&[&nobody, &whole.address], "");
    assert!(matches!(ask(&mut two, Request::Swap { expected: 0, record: record(2, 1) }), Answer::Swapped(_)));
    let mut three = coordinator(&[&nobody, &broken.address], "");
    let notice = unknown(&mut three, Request::Read);
    assert!(notice.starts_with(&format!("etcd at {nobody}: ")), "{notice}");
    assert!(notice.contains(&format!("; etcd at {}: ", broken.address)), "{notice}");
    assert_eq!(unknown(&mut three, Request::Read), notice, "the same trouble reads the same");
}

#[test]
fn a_refused_token_is_renewed_once() {
    let login = |token: &str| Give(200, format!(r#"{{{},"token":"{token}"}}"#, header("7", 1)));
    let server = Server::new(vec![
        login("first"),
        Give(200, format!("{{{}}}", header("7", 1))),
        refusal(401, 16, "etcdserver: invalid auth token"),
        login("second"),
        found(5, 2, &record(1, 0).encode()),
        refusal(401, 16, "etcdserver: invalid auth token"),
        login("third"),
        refusal(401, 16, "etcdserver: invalid auth token"),
    ]);
    let mut coordinator = coordinator(&[&server.address], "user = \"u\"\npassword = \"secret\"");
    assert_eq!(ask(&mut coordinator, Request::Read), Answer::Read(None));
    assert!(matches!(ask(&mut coordinator, Request::Read), Answer::Read(Some(_))));
    let swap = Request::Swap { expected: 2, record: record(2, 1) };
    assert!(unknown(&mut coordinator, swap).contains("invalid auth token (HTTP status 401)"));
    let (login, range, txn) = ("/v3/auth/authenticate", "/v3/kv/range", "/v3/kv/txn");
    assert_eq!(server.paths(), [login, range, range, login, range, txn, login, txn]);
    let tokens = server.tokens();
    let tokens: Vec<_> = tokens.iter().map(Option::as_deref).collect();
    let (one, two, three) = (Some("first"), Some("second"), Some("third"));
    assert_eq!(tokens, [None, one, one, None, two, two, None, three]);
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let login = "user = \"u\"\npassword = \"secret\"";
    for (reply, more, expected) in [
        (refusal(400, 3, "etcdserver: user name is empty"), "", "give `user` and `password`"),
        (
            refusal(400, 3, "etcdserver: authentication failed, invalid"),
            login,
            "correct `user` and `password`",
        ),
        (refusal(412, 9, "etcdserver: authentication is not enabled"), login, "leave out `user`"),
        (refusal(403, 7, "etcdserver: permission denied"), "", "grant the user's role"),
        (Give(404, "Not Found".into()), "", "is it etcd 3.4 or later?"),
        (Give(200, "<html>".into()), "", "its answer is not understood"),
        (Give(200, "{}".into()), "", "its answer is not understood: missing field `header`"),
        (Give(200, format!("{{{}}}", header("7", 0))), "", "answers what it should not: revision \"0\""),
        (Give(200, r#"{"header":{},"kvs":[]}"#.into()), "", "answers what it should not: revision \"\""),
        (Give(200, "x".repeat(100_000)), "", "limit"),
        (found(5, 2, "garbage"), "", "no record to act on: it ends where line 1"),
        (found(5, 2, &record(1, 0).encode().replace("001", "002")), "", "it was damaged, or changed by hand"),
        (Give(302, String::new()), "", "HTTP status 302"),
    ] {
        let server = Server::new(vec![reply]);
        let mut coordinator = coordinator(&[&server.address], more);
        let notice = unknown(&mut coordinator, Request::Read);
        assert!(notice.contains(expected), "{expected}: {notice}");
        assert!(!notice.contains("secret"), "{notice}");
        let swap = Request::Swap { expected: 0, record: record(1, 0) };
        assert!(matches!(ask(&mut coordinator, swap), Answer::Unknown | Answer::Lost));
    }
}

#[test]
fn an_etcd_that_goes_back_is_refused() {
    let text = |epoch, primary| record(epoch, primary).encode();
    for (second, expected) in [
        (
            found(19, 10, &text(5, 0)),
            "was at revision 20 and then at 19: it was restored from an older backup",
        ),
        (found(21, 9, &text(5, 0)), "revision 9 came after revision 10: etcd was restored"),
        (found(21, 10, &text(6, 0)), "revision 10 has changed"),
        (found(21, 21, &text(4, 0)), "epoch 4 came after epoch 5"),
        (found(21, 21, &text(5, 1)), "epoch 5 is that of node 1"),
        (Give(200, format!("{{{}}}", header("7", 21))), "the record is gone"),
        (Give(200, format!("{{{}}}", header("8", 21))), "is of the cluster 8, and the others are of 7"),
    ] {
        let server = Server::new(vec![found(20, 10, &text(5, 0)), second, found(30, 30, &text(9, 0))]);
        let mut coordinator = coordinator(&[&server.address], "");
        assert!(matches!(ask(&mut coordinator, Request::Read), Answer::Read(Some(_))));
        let notice = unknown(&mut coordinator, Request::Read);
        assert!(notice.contains(expected), "{expected}: {notice}");
        if !expected.contains("is of the cluster") {
            assert_eq!(unknown(&mut coordinator, Request::Read), notice, "it is not trusted again");
            let asked = server.paths().len();
            let swap = Request::Swap { expected: 30, record: record(10, 0) };
            assert_eq!(unknown(&mut coordinator, swap), notice);
            assert_eq!(server.paths().len(), asked, "nothing was sent");
        }
    }
}

#[test]
fn records_that_make_no_sense_are_not_sent() {
    let server = Server::new(vec![found(20, 10, &record(5, 0).encode())]);
    let mut coordinator = coordinator(&[&server.address], "");
    assert!(matches!(ask(&mut coordinator, Request::Read), Answer::Read(Some(_))));
    let foreign = Record { session: Session::BLANK, ..record(6, 0) };
    for (record, expected) in [
        (foreign, "it is of session"),
        (record(0, 0), "epoch 0"),
        (record(4, 0), "epoch 4 came after epoch 5"),
        (record(5, 1), "epoch 5 is that of node 1"),
    ] {
        let notice = unknown(&mut coordinator, Request::Swap { expected: 10, record });
        assert!(notice.contains("was not written") && notice.contains(expected), "{notice}");
    }
    assert_eq!(server.paths(), ["/v3/kv/range"]);
}

#[cfg(not(feature = "etcd-tls"))]
#[test]
fn without_tls_https_is_refused_at_the_start() {
    let text = "[cluster]\nnode = []\ncoordinator = {kind='etcd', endpoints=['https://h:1']}";
    let config = config::Config::parse(text).unwrap().cluster.unwrap().coordinator;
    let config::Coordinator::Etcd(config) = config else { panic!("etcd") };
    let error = EtcdCoordinator::new(&config, session()).err().unwrap().to_string();
    assert!(error.contains("names https://h:1") && error.contains("--features etcd-tls"), "{error}");
}
