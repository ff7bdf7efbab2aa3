//! What the tests share: datagrams by number, a sink that records, a feed under test.

use seqcast_engine::feed::{FeedConfig, FeedState, Item, LineId, Receiver, SessionRule, Sink};
use seqcast_engine::time::Nanos;
use seqcast_wire::mold::{self, Packer, Request};
use seqcast_wire::{SeqNo, Session};

pub(crate) fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).expect("test numbers start at 1")
}

pub(crate) fn session() -> Session {
    Session::from_wire(*b"SESSION001")
}

/// The message with number `n`: different for each, of different lengths.
pub(crate) fn text(n: u64) -> Vec<u8> {
    format!("message {n}{}", ".".repeat((n % 7) as usize)).into_bytes()
}

/// A datagram with the messages `first..end`.
pub(crate) fn data(first: u64, end: u64) -> Vec<u8> {
    data_of(session(), first, (first..end).map(text))
}

pub(crate) fn data_of(session: Session, first: u64, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut buffer = vec![0; 65_507];
    let mut packer = Packer::new(&mut buffer, session, seq(first)).unwrap();
    for message in messages {
        assert!(packer.try_push(&message));
    }
    let len = packer.finish();
    buffer.truncate(len);
    buffer
}

pub(crate) fn heartbeat(next: u64) -> Vec<u8> {
    let mut buffer = vec![0; mold::HEADER_BYTES];
    mold::emit_heartbeat(&mut buffer, session(), seq(next));
    buffer
}

pub(crate) fn end_of_session(next: u64) -> Vec<u8> {
    let mut buffer = vec![0; mold::HEADER_BYTES];
    mold::emit_end_of_session(&mut buffer, session(), seq(next));
    buffer
}

/// An item, its bytes owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Message(u64, Vec<u8>),
    Lost(u64, u64),
    State(FeedState),
    Session(Session),
    Conflict(u64),
    End(u64),
}

/// Takes `room` items between two calls of [`Record::drain`], then refuses.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) items: Vec<Owned>,
    pub(crate) room: usize,
}

impl Record {
    pub(crate) fn new() -> Record {
        Record { items: Vec::new(), room: usize::MAX }
    }

    pub(crate) fn drain(&mut self) -> Vec<Owned> {
        std::mem::take(&mut self.items)
    }
}

impl Sink for Record {
    fn on_item(&mut self, item: Item<'_>) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.items.push(match item {
            Item::Message { seq, bytes } => Owned::Message(seq.value(), bytes.to_vec()),
            Item::Lost { first, count } => Owned::Lost(first.value(), count),
            Item::State(state) => Owned::State(state),
            Item::Session(session) => Owned::Session(session),
            Item::Conflict { seq } => Owned::Conflict(seq.value()),
            Item::End { next } => Owned::End(next.value()),
        });
        true
    }
}

pub(crate) fn messages(first: u64, end: u64) -> Vec<Owned> {
    (first..end).map(|n| Owned::Message(n, text(n))).collect()
}

/// A receiver, its sink, and a clock that the test moves.
pub(crate) struct Feed {
    pub(crate) receiver: Receiver,
    pub(crate) sink: Record,
    pub(crate) now: Nanos,
}

pub(crate) const A: LineId = LineId(0);
pub(crate) const B: LineId = LineId(1);

pub(crate) fn two_lines() -> FeedConfig {
    FeedConfig {
        session: SessionRule::Pinned(session()),
        lines: 2,
        rewind_servers: 2,
        reorder_wait: Nanos::from_micros(500),
        request_timeout: Nanos::from_millis(5),
        // The first numbers are asked of server 0 first.
        seed: 2,
        ..FeedConfig::default()
    }
}

impl Feed {
    pub(crate) fn new(config: &FeedConfig) -> Feed {
        Feed { receiver: Receiver::new(config).unwrap(), sink: Record::new(), now: Nanos::from_secs(1_000) }
    }

    /// A feed with two lines that is live with messages 1 and 2 delivered and no item to look at.
    pub(crate) fn live(config: &FeedConfig) -> Feed {
        let mut feed = Feed::new(config);
        for line in (0..config.lines).map(|line| LineId(line as u8)) {
            feed.on(line, &data(1, 3));
        }
        assert_eq!(feed.receiver.state(), FeedState::Live);
        feed.sink.drain();
        feed
    }

    pub(crate) fn on(&mut self, line: LineId, datagram: &[u8]) {
        self.receiver.on_datagram(self.now, line, datagram, &mut self.sink);
    }

    pub(crate) fn reply(&mut self, server: usize, datagram: &[u8]) {
        self.receiver.on_reply(self.now, server, datagram, &mut self.sink);
    }

    pub(crate) fn poll(&mut self) {
        self.receiver.poll(self.now, &mut self.sink);
    }

    pub(crate) fn wait(&mut self, span: Nanos) {
        self.now = self.now + span;
        self.poll();
    }

    /// All requests that are due: server, first number, count.
    pub(crate) fn requests(&mut self) -> Vec<(usize, u64, u16)> {
        let mut requests = Vec::new();
        while let Some((server, request)) = self.receiver.poll_request(self.now) {
            let Request { session: of, first, count } = request;
            assert_eq!(Some(of), self.receiver.session());
            requests.push((server, first.value(), count));
            assert!(requests.len() <= 10_000, "requests without end");
        }
        requests
    }
}
