//! A subscriber's book agent with its ring, and messages to feed it.

use seqcast_engine::agents::books::{Application, BookAgent, Input};
use seqcast_engine::agents::event;
use seqcast_engine::agents::join::Handover;
use seqcast_engine::agents::meter::Meter;
use seqcast_engine::book::{Books, BooksConfig};
use seqcast_engine::feed::{FeedState, Item};
use seqcast_engine::mem::{Region, RegionSpec};
use seqcast_engine::ring::broadcast::{self, RingSpec, Writer};
use seqcast_engine::runtime::Agent;
use seqcast_engine::stat::{Counters, CountersSpec};
use seqcast_engine::time::Nanos;
use seqcast_wire::itch::{
    AddOrder, BrokenTrade, CrossTrade, Header, OrderDelete, OrderExecuted, OrderExecutedWithPrice,
    StockDirectory, Trade,
};
use seqcast_wire::{Alpha, Price4, SeqNo, Session, Timestamp};
use zerocopy::{FromZeros, IntoBytes};

pub(super) const SMALL: BooksConfig = BooksConfig { expected_orders: 64, max_orders: 1 << 16, seed: 0 };

pub(super) fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

/// The agent, driven by hand.
pub(super) struct Rig<A> {
    ring: Writer,
    agent: BookAgent<A>,
    next: SeqNo,
}

impl<A: Application> Rig<A> {
    pub(super) fn new(application: A) -> Rig<A> {
        let spec = RingSpec { capacity_bytes: 1 << 16, max_readers: 1 };
        let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).unwrap();
        let (ring, readers) = broadcast::create(spec, region).unwrap();
        let counters = Counters::anonymous("view", CountersSpec::default()).unwrap();
        let input = Input::Wait(readers.reader().unwrap());
        let books = Books::new(SMALL).unwrap();
        let agent = BookAgent::new("books", input, books, application, Meter::new(&counters, "books", ""));
        Rig { ring, agent, next: SeqNo::FIRST }
    }

    /// It waits for a snapshot first.
    pub(super) fn joining(self, handover: Handover) -> Rig<A> {
        Rig { agent: self.agent.joining(handover), ..self }
    }

    /// Puts an item into the ring and lets the agent take it, but not rest.
    pub(super) fn item(&mut self, item: Item<'_>) {
        let mut claim = self.ring.try_claim(event::encoded_bytes(&item)).unwrap();
        event::encode(&item, Nanos(7), |bytes| claim.write(bytes));
        claim.commit();
        self.agent.do_work(Nanos(7)).unwrap();
    }

    pub(super) fn state(&mut self, state: FeedState) {
        self.item(Item::State(state));
    }

    pub(super) fn session(&mut self, name: &str) {
        self.item(Item::Session(name.parse::<Session>().unwrap()));
    }

    /// The next message.
    pub(super) fn message(&mut self, bytes: &[u8]) {
        self.item(Item::Message { seq: self.next, bytes });
        self.next = self.next.next();
    }

    /// The next messages are lost.
    pub(super) fn lost(&mut self, count: u64) {
        self.item(Item::Lost { first: self.next, count });
        self.next = self.next.saturating_add(count);
    }

    pub(super) fn end(&mut self) {
        self.item(Item::End { next: self.next });
    }

    pub(super) fn go_on_from(&mut self, next: SeqNo) {
        self.next = next;
    }

    /// A duty cycle with nothing to do.
    pub(super) fn idle(&mut self) {
        assert_eq!(self.agent.do_work(Nanos(8)), Ok(0));
    }

    pub(super) fn close(&mut self) {
        self.agent.on_close(Nanos(9));
    }
}

fn header(kind: u8, locate: u16) -> Header {
    Header::new(kind, locate, 0, Timestamp::from_ns(34_200_000_000_001))
}

pub(super) fn directory(locate: u16, stock: &str) -> Vec<u8> {
    let mut message = StockDirectory::new_zeroed();
    message.header = header(StockDirectory::KIND, locate);
    message.stock = Alpha::padded(stock);
    message.as_bytes().to_vec()
}

/// Side `B` or `S`, price in ten-thousandths.
pub(super) fn add(locate: u16, reference: u64, side: u8, shares: u32, stock: &str, price: u32) -> Vec<u8> {
    let (header, stock) = (header(AddOrder::KIND, locate), Alpha::padded(stock));
    let (reference, shares) = (reference.into(), shares.into());
    AddOrder { header, reference, side, shares, stock, price: Price4::new(price) }.as_bytes().to_vec()
}

pub(super) fn delete(locate: u16, reference: u64) -> Vec<u8> {
    OrderDelete { header: header(OrderDelete::KIND, locate), reference: reference.into() }.as_bytes().to_vec()
}

pub(super) fn execute(locate: u16, reference: u64, shares: u32, match_number: u64) -> Vec<u8> {
    let header = header(OrderExecuted::KIND, locate);
    let (reference, shares, match_number) = (reference.into(), shares.into(), match_number.into());
    OrderExecuted { header, reference, shares, match_number }.as_bytes().to_vec()
}

pub(super) fn execute_unprinted(locate: u16, reference: u64, shares: u32, price: u32) -> Vec<u8> {
    let mut message = OrderExecutedWithPrice::new_zeroed();
    message.header = header(OrderExecutedWithPrice::KIND, locate);
    message.reference = reference.into();
    message.shares = shares.into();
    message.match_number = 8.into();
    message.printable = b'N';
    message.price = Price4::new(price);
    message.as_bytes().to_vec()
}

pub(super) fn hidden(locate: u16, shares: u32, stock: &str, price: u32) -> Vec<u8> {
    let mut message = Trade::new_zeroed();
    message.header = header(Trade::KIND, locate);
    message.side = b'B';
    message.shares = shares.into();
    message.stock = Alpha::padded(stock);
    message.price = Price4::new(price);
    message.match_number = 9.into();
    message.as_bytes().to_vec()
}

pub(super) fn cross(locate: u16, shares: u64, stock: &str, price: u32) -> Vec<u8> {
    let mut message = CrossTrade::new_zeroed();
    message.header = header(CrossTrade::KIND, locate);
    message.shares = shares.into();
    message.stock = Alpha::padded(stock);
    message.price = Price4::new(price);
    message.match_number = 10.into();
    message.cross = b'O';
    message.as_bytes().to_vec()
}

pub(super) fn broken(locate: u16, match_number: u64) -> Vec<u8> {
    let header = header(BrokenTrade::KIND, locate);
    BrokenTrade { header, match_number: match_number.into() }.as_bytes().to_vec()
}
