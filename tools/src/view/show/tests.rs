use std::collections::BTreeMap;
use std::io::ErrorKind;

use seqcast_engine::agents::join::{Handover, Snapshot};
use seqcast_engine::feed::Item;
use seqcast_wire::Alpha;
use serde_json::{Value, json};

use super::super::outlet::testing::Page;
use super::super::testing::{
    Rig, SMALL, add, broken, cross, delete, directory, execute, execute_unprinted, hidden, seq,
};
use super::*;
use crate::day::{Day, DayConfig};

struct Watched {
    rig: Rig<View>,
    data: Page,
    talk: Page,
}

fn watch(config: ViewConfig) -> Watched {
    let (data, talk) = (Page::default(), Page::default());
    let view = View::new(config, Outlet::new(data.clone()), Outlet::new(talk.clone()));
    Watched { rig: Rig::new(view), data, talk }
}

fn shown(show: Show, format: Format) -> ViewConfig {
    ViewConfig { show, format, ..ViewConfig::default() }
}

impl Watched {
    /// A session that is live.
    fn begin(mut self) -> Watched {
        self.rig.session("S1");
        self.rig.state(FeedState::Live);
        self
    }

    fn send(&mut self, messages: &[Vec<u8>]) {
        messages.iter().for_each(|message| self.rig.message(message));
    }

    /// What was written to the data, line by line, after a rest.
    fn lines(&mut self) -> Vec<String> {
        self.rig.idle();
        self.data.text().lines().map(str::to_owned).collect()
    }

    /// The lines as JSON, without those of events.
    fn json(&mut self) -> Vec<Value> {
        let lines = self.lines();
        let values = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        values.filter(|value| value.get("event").is_none()).collect()
    }
}

/// A book of AAPL that grows and shrinks, with something of MSFT between.
fn some_orders() -> Vec<Vec<u8>> {
    vec![
        directory(13, "AAPL"),
        directory(14, "MSFT"),
        add(13, 1, b'B', 100, "AAPL", 1_712_500),
        add(13, 2, b'S', 200, "AAPL", 1_712_600),
        add(14, 3, b'B', 5, "MSFT", 10),
        add(13, 4, b'B', 50, "AAPL", 1_712_400),
        delete(13, 1),
        delete(13, 2),
    ]
}

#[test]
fn best_prices_are_shown_when_they_change() {
    let mut watched = watch(shown(Show::Bbo, Format::Json)).begin();
    watched.send(&some_orders());
    let expected = [
        json!({"seq": 3, "symbol": "AAPL", "bid": ["171.2500", 100], "ask": null}),
        json!({"seq": 4, "symbol": "AAPL", "bid": ["171.2500", 100], "ask": ["171.2600", 200]}),
        json!({"seq": 5, "symbol": "MSFT", "bid": ["0.0010", 5], "ask": null}),
        json!({"seq": 7, "symbol": "AAPL", "bid": ["171.2400", 50], "ask": ["171.2600", 200]}),
        json!({"seq": 8, "symbol": "AAPL", "bid": ["171.2400", 50], "ask": null}),
    ];
    assert_eq!(watched.json(), expected);
}

#[test]
fn best_prices_as_text_and_csv() {
    let symbols = vec![Alpha::padded("AAPL")];
    let mut text = watch(ViewConfig { symbols: symbols.clone(), ..shown(Show::Bbo, Format::Text) }).begin();
    text.send(&some_orders());
    assert_eq!(
        text.lines()[..2],
        ["3 AAPL  bid 171.2500x100  ask -", "4 AAPL  bid 171.2500x100  ask 171.2600x200"]
    );
    let mut csv = watch(ViewConfig { symbols, ..shown(Show::Bbo, Format::Csv) }).begin();
    csv.send(&some_orders());
    let expected = [
        "seq,symbol,bid,bid_shares,ask,ask_shares",
        "3,AAPL,171.2500,100,,",
        "4,AAPL,171.2500,100,171.2600,200",
        "7,AAPL,171.2400,50,171.2600,200",
        "8,AAPL,171.2400,50,,",
    ];
    assert_eq!(csv.lines(), expected);
    assert_eq!(csv.talk.text(), "seqcast: session S1\nseqcast: the feed is live\n");
}

#[test]
fn depth_is_shown_at_each_change_up_to_its_limit() {
    let symbols = vec![Alpha::padded("AAPL")];
    let config = ViewConfig { symbols, depth: Some(1), ..shown(Show::Depth, Format::Json) };
    let mut watched = watch(config.clone()).begin();
    watched.send(&some_orders());
    let expected = [
        json!({"seq": 3, "symbol": "AAPL", "bids": [["171.2500", 100]], "asks": []}),
        json!({"seq": 4, "symbol": "AAPL", "bids": [["171.2500", 100]], "asks": [["171.2600", 200]]}),
        json!({"seq": 6, "symbol": "AAPL", "bids": [["171.2500", 100]], "asks": [["171.2600", 200]]}),
        json!({"seq": 7, "symbol": "AAPL", "bids": [["171.2400", 50]], "asks": [["171.2600", 200]]}),
        json!({"seq": 8, "symbol": "AAPL", "bids": [["171.2400", 50]], "asks": []}),
    ];
    assert_eq!(watched.json(), expected);
    let mut all = watch(ViewConfig { depth: None, format: Format::Csv, ..config }).begin();
    all.send(&some_orders());
    let lines = all.lines();
    assert_eq!(
        (lines[0].as_str(), lines[3].as_str()),
        ("seq,symbol,bids,asks", "6,AAPL,171.2500x100 171.2400x50,171.2600x200",)
    );
}

#[test]
fn trades_of_every_kind() {
    let messages = [
        add(13, 1, b'B', 100, "A,B", 1_712_500),
        execute(13, 1, 40, 7),
        execute_unprinted(13, 1, 60, 1_712_400),
        hidden(13, 5, "A,B", 1_712_300),
        cross(13, 900, "A,B", 1_712_200),
        broken(13, 7),
    ];
    let mut watched = watch(shown(Show::Trades, Format::Json)).begin();
    watched.send(&messages);
    let symbol = "A,B";
    let expected = [
        json!({"seq": 2, "symbol": symbol, "price": "171.2500", "shares": 40, "match": 7, "printable": true,
               "kind": "order", "side": "B"}),
        json!({"seq": 3, "symbol": symbol, "price": "171.2400", "shares": 60, "match": 8, "printable": false,
               "kind": "order", "side": "B"}),
        json!({"seq": 4, "symbol": symbol, "price": "171.2300", "shares": 5, "match": 9, "printable": true,
               "kind": "hidden", "side": "B"}),
        json!({"seq": 5, "symbol": symbol, "price": "171.2200", "shares": 900, "match": 10, "printable": true,
               "kind": "cross", "cross": "O"}),
        json!({"seq": 6, "symbol": symbol, "price": null, "shares": null, "match": 7, "printable": false,
               "kind": "broken"}),
    ];
    assert_eq!(watched.json(), expected);
    let mut csv = watch(shown(Show::Trades, Format::Csv)).begin();
    csv.send(&messages);
    let lines = csv.lines();
    assert_eq!(lines[0], "seq,symbol,price,shares,match,printable,kind,side,cross");
    assert_eq!(lines[1], "2,\"A,B\",171.2500,40,7,true,order,B,");
    assert_eq!(lines[5], "6,\"A,B\",,,7,false,broken,,");
    let mut text = watch(shown(Show::Trades, Format::Text)).begin();
    text.send(&messages);
    let lines = text.lines();
    assert_eq!(lines[1], "3 A,B 60 @ 171.2400 order B match 8, not printable");
    assert_eq!(lines[4], "6 A,B broken match 7");
}

#[test]
fn messages_are_described_or_shown_as_they_are() {
    let messages = [add(13, 1, b'B', 100, "AAPL", 1_712_500), b"?!".to_vec(), Vec::new()];
    let mut watched = watch(shown(Show::Messages, Format::Json)).begin();
    watched.send(&messages);
    let expected = [
        json!({"seq": 1, "type": "A", "time": "09:30:00.000000001", "locate": 13, "tracking": 0, "reference": 1,
               "side": "B", "shares": 100, "stock": "AAPL", "price": "171.2500"}),
        json!({"seq": 2, "hex": "3f21"}),
        json!({"seq": 3, "hex": ""}),
    ];
    assert_eq!(watched.json(), expected);
    let mut text = watch(shown(Show::Messages, Format::Text)).begin();
    text.send(&messages);
    let described =
        "A 09:30:00.000000001 locate=13 tracking=0 reference=1 side=B shares=100 stock=AAPL price=171.2500";
    assert_eq!(text.lines(), [&format!("1 {described}"), "2 3f21", "3 "]);
    let mut csv = watch(shown(Show::Messages, Format::Csv)).begin();
    csv.send(&messages);
    assert_eq!(csv.lines()[2..], ["2,,,,3f21", "3,,,,"]);
}

#[test]
fn messages_of_chosen_symbols() {
    let symbols = vec![Alpha::padded("MSFT"), Alpha::padded("NONE")];
    let mut watched = watch(ViewConfig { symbols, ..shown(Show::Messages, Format::Json) }).begin();
    watched.send(&some_orders());
    watched.send(&[b"S".to_vec()]);
    let seqs: Vec<_> = watched.json().iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [2, 5]);
}

#[test]
fn what_happens_to_the_feed_is_a_line_too() {
    let feed = |watched: &mut Watched| {
        watched.rig.state(FeedState::Gapped);
        watched.rig.lost(3);
        watched.rig.item(Item::Conflict { seq: seq(2) });
        watched.rig.end();
    };
    let mut json = watch(shown(Show::Bbo, Format::Json)).begin();
    feed(&mut json);
    let events = [
        r#"{"event":"session","session":"S1"}"#,
        r#"{"event":"state","state":"live"}"#,
        r#"{"event":"state","state":"gapped"}"#,
        r#"{"event":"lost","first":1,"count":3}"#,
        r#"{"event":"conflict","seq":2}"#,
        r#"{"event":"end","next":4}"#,
    ];
    assert_eq!(json.lines(), events);
    assert_eq!(json.talk.text(), "");
    let mut csv = watch(shown(Show::Events, Format::Csv)).begin();
    feed(&mut csv);
    let header = "event,state,session,seq,count,bytes";
    let rows = [
        "session,,S1,,,",
        "state,live,,,,",
        "state,gapped,,,,",
        "lost,,,1,3,",
        "conflict,,,2,,",
        "end,,,4,,",
    ];
    assert_eq!(csv.lines(), [&[header][..], &rows].concat());
    let mut text = watch(shown(Show::Depth, Format::Text)).begin();
    feed(&mut text);
    assert_eq!(text.lines(), [""; 0]);
    let talk = text.talk.text();
    assert!(talk.contains("seqcast: messages 1 to 3 are lost"), "{talk}");
    assert!(talk.ends_with("seqcast: the session is over before message 4\n"), "{talk}");
    let mut none = watch(shown(Show::None, Format::Json)).begin();
    feed(&mut none);
    assert_eq!(none.lines(), [""; 0], "a summary may follow there, alone");
    assert_eq!(none.talk.text(), talk);
}

#[test]
fn best_prices_that_changed_in_silence_are_shown_with_the_next_change() {
    let mut watched = watch(shown(Show::Bbo, Format::Json)).begin();
    watched.send(&some_orders()[..4]);
    watched.rig.state(FeedState::Stale);
    watched.send(&[add(13, 9, b'B', 70, "AAPL", 1_712_550)]);
    watched.rig.state(FeedState::Live);
    watched.send(&[add(13, 10, b'B', 1, "AAPL", 1_000), add(13, 11, b'B', 1, "AAPL", 1_000)]);
    let lines = watched.json();
    assert_eq!(lines.len(), 3, "the last message changed nothing more");
    let expected = json!({"seq": 6, "symbol": "AAPL", "bid": ["171.2550", 70], "ask": ["171.2600", 200]});
    assert_eq!(lines[2], expected);
}

#[test]
fn a_snapshot_shows_all_books_and_another_session_forgets_them() {
    let mut books = Books::new(SMALL).unwrap();
    for message in &some_orders()[..6] {
        books.apply(message);
    }
    let handover = Handover::new();
    let symbols = vec![Alpha::padded("AAPL")];
    let mut watched = watch(ViewConfig { symbols, ..shown(Show::Bbo, Format::Json) });
    watched.rig = watched.rig.joining(handover.clone());
    handover.bring(Snapshot { session: "S1".parse().unwrap(), next: seq(7), books });
    watched.rig.go_on_from(seq(7));
    let mut watched = watched.begin();
    watched.send(&some_orders()[6..7]);
    let expected = [
        json!({"seq": 6, "symbol": "AAPL", "bid": ["171.2500", 100], "ask": ["171.2600", 200]}),
        json!({"seq": 7, "symbol": "AAPL", "bid": ["171.2400", 50], "ask": ["171.2600", 200]}),
    ];
    assert_eq!(watched.json(), expected);
    assert_eq!(watched.lines()[0], r#"{"event":"snapshot","next":7}"#);

    watched.rig.session("S2");
    watched.rig.go_on_from(seq(1));
    watched.send(&[
        directory(14, "AAPL"),
        directory(13, "MSFT"),
        add(13, 1, b'B', 1, "MSFT", 10),
        add(14, 2, b'B', 2, "AAPL", 20),
    ]);
    let lines = watched.json();
    assert_eq!(lines[2..], [json!({"seq": 4, "symbol": "AAPL", "bid": ["0.0020", 2], "ask": null})]);
}

#[test]
fn symbols_are_found_without_a_directory() {
    let symbols = vec![Alpha::padded("AAPL")];
    let mut watched = watch(ViewConfig { symbols, ..shown(Show::Bbo, Format::Json) }).begin();
    watched.send(&[add(13, 1, b'B', 100, "AAPL", 10), add(14, 2, b'B', 100, "MSFT", 10)]);
    assert_eq!(watched.json().len(), 1);
}

#[test]
fn a_reader_that_hung_up_stops_nothing() {
    let data = Outlet::new(Page::refusing(ErrorKind::BrokenPipe));
    let status = data.status();
    let talk = Page::default();
    let view = View::new(shown(Show::Bbo, Format::Text), data, Outlet::new(talk.clone()));
    let mut watched = Watched { rig: Rig::new(view), data: Page::default(), talk }.begin();
    watched.send(&some_orders());
    watched.rig.idle();
    assert!(status.is_hung_up());
    watched.send(&[directory(15, "MORE")]);
    watched.rig.end();
    assert!(watched.talk.text().contains("over before message 10"));
}

/// A day seen as best prices: every line differs from the one before of its symbol, and the last is the book's.
#[test]
fn a_day_of_best_prices() {
    let config = DayConfig { symbols: 20, messages: 12_000, ..DayConfig::default() };
    let mut day = Day::new(config).unwrap();
    let mut books = Books::new(SMALL).unwrap();
    let mut watched = watch(shown(Show::Bbo, Format::Json)).begin();
    while let Some(message) = day.next_message() {
        books.apply(message);
        watched.rig.message(message);
    }
    let mut last = BTreeMap::<String, (Value, Value)>::new();
    for line in watched.json() {
        let symbol = line["symbol"].as_str().unwrap().to_owned();
        let best = (line["bid"].clone(), line["ask"].clone());
        let before = last.insert(symbol, best.clone());
        assert_ne!(before, Some(best), "{line}");
    }
    assert_eq!(last.len(), 20);
    for locate in 1..=20 {
        let book = books.book(locate);
        let best = |level: Option<seqcast_engine::book::Level<'_>>| {
            level.map_or(Value::Null, |level| json!([level.price().to_string(), level.shares()]))
        };
        let (bid, ask) = &last[&book.stock().unwrap().to_string()];
        assert_eq!((bid, ask), (&best(book.best_bid()), &best(book.best_ask())));
    }
}
