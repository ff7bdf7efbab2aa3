//! One hop of Seqcast: a publisher with its history and rewind server, a subscriber with its recovery and its ring, and an
//! application that reads that. The agents are those of production, put together by the same topology.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context;
use seqcast::ports::free_ports;
use seqcast::wiring::Wired;
use seqcast_engine::agents::books::Application;
use seqcast_engine::book::{Books, BooksConfig};
use seqcast_engine::config::{Config, IoDriver, Line, Rate, RewindLimits};
use seqcast_engine::io::Driver;
use seqcast_engine::io::fault::{FaultPlan, Faults};
use seqcast_engine::runtime::Agent;
use seqcast_engine::stat::{Counters, CountersSpec};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node, SubscriberParts};
use seqcast_wire::{SeqNo, Session};

use crate::flow::{Far, Flow};
use crate::hop::{Ends, groups};

const SESSION: Session = Session::from_wire(*b"RIVALS0001");
/// What is told of the subscriber's counters.
const TOLD: [(&str, &str); 4] = [
    ("gaps", "gaps_found_total"),
    ("filled by rewind", "rewind_filled_messages_total"),
    ("requests", "requests_total"),
    ("dropped by the kernel", "kernel_dropped_datagrams_total"),
];

/// How it is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setup {
    pub(crate) driver: IoDriver,
    pub(crate) lines: usize,
    /// UDP payload that datagrams are packed up to.
    pub(crate) datagram_bytes: usize,
    /// Part of the datagrams that the subscriber loses, on each line for itself, and of the answers to its requests.
    pub(crate) loss: f64,
    /// Of the losses.
    pub(crate) seed: u64,
    /// Whether it is set up for as many messages as can be: see [`for_load`].
    pub(crate) for_load: bool,
}

/// The application.
struct Reader(Far);

impl Application for Reader {
    // As with Aeron, what is measured ends where the application has the message.
    fn wants_books(&self) -> bool {
        false
    }

    fn on_message(&mut self, _seq: SeqNo, _received: Nanos, message: &[u8]) {
        self.0.on_message(message);
    }

    fn on_close(&mut self, _books: &Books) {
        self.0.close();
    }
}

/// Both ends, for `flow`.
pub(crate) fn ends(base: &Config, setup: Setup, flow: &Flow) -> anyhow::Result<Ends> {
    let config = config(base, setup)?;
    let counters = || Counters::anonymous("rivals", CountersSpec::default());
    let mut publisher = topology::publisher(&config, flow.near(), &counters()?, "", None)?;
    let mut node = Node::default();
    let driver = topology::driver(&config, &mut node)?;
    let name = driver.name();
    let plan = FaultPlan {
        seed: setup.seed,
        receive: Faults { loss: setup.loss, ..Faults::NONE },
        ..FaultPlan::default()
    };
    let driver = Wired::new(driver, (setup.loss > 0.0).then_some(&plan), None)?;
    let parts = SubscriberParts {
        books: BooksConfig { expected_orders: 1, ..BooksConfig::default() },
        application: Reader(flow.far()),
        instance: "",
        trace: None,
        any_session: false,
        trusting: false,
    };
    let counters = counters()?;
    let mut subscriber = topology::subscriber_on(driver, &config, parts, &counters)?;
    let notices = [&publisher, &node, &subscriber].iter().flat_map(|node| node.notices()).cloned().collect();
    let told = move || {
        let readings = counters.readings();
        let of = |noun: &str| {
            let wanted = format!("seqcast_subscriber_{noun}");
            let all = readings.iter().filter(|reading| reading.label.split('{').next() == Some(&wanted));
            all.map(|reading| reading.value).sum::<u64>()
        };
        TOLD.map(|(name, noun)| (name, of(noun))).to_vec()
    };
    Ok(Ends {
        sending: Box::new(publisher.take_hot("publisher")) as Box<dyn Agent>,
        receiving: Box::new(subscriber.take_hot("subscriber")),
        layout: format!("driver {name}; one thread publishes, one receives and reads"),
        notices,
        told: Box::new(told),
    })
}

fn config(base: &Config, setup: Setup) -> anyhow::Result<Config> {
    let mut config = base.clone();
    let groups = groups(setup.lines)?;
    let lines: Vec<Line> = groups
        .iter()
        .map(|group| Line { group: *group, interface: Ipv4Addr::LOCALHOST, source: None })
        .collect();
    let rewind = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_ports(1)?[0]);
    config.io.driver = setup.driver;
    config.send.datagram_bytes = setup.datagram_bytes;
    config.io.max_datagram_bytes = config.io.max_datagram_bytes.max(setup.datagram_bytes);
    // A pace protects a network; Aeron has none.
    config.send.pace = Rate::Unlimited;
    let publisher = config.publisher.as_mut().context("no publisher")?;
    publisher.session = SESSION;
    publisher.lines.clone_from(&lines);
    publisher.rewind_bind = rewind;
    // Nobody acknowledges: a subscriber asks for what it lacks.
    publisher.window_messages = None;
    let feed = config.feed.as_mut().context("no feed")?;
    feed.session = SESSION;
    feed.lines = lines;
    feed.rewind_servers = vec![rewind];
    feed.snapshot = None;
    if setup.for_load {
        for_load(&mut config);
    }
    config.validate()?;
    Ok(config)
}

/// What a subscriber of such a feed sets: room in the kernel and after a hole for the milliseconds that a host may be away,
/// as much retransmission as there can be (Aeron does not bound its own), and rings that stay in a cache.
fn for_load(config: &mut Config) {
    config.io.receive_buffer_bytes = 32 << 20;
    config.receive.stash_messages = 1 << 20;
    config.receive.stash_bytes = 64 << 20;
    // More than a duty cycle brings.
    config.memory.ring_bytes = 1 << 20;
    if let Some(publisher) = &mut config.publisher {
        publisher.retain_bytes = 16 << 20;
        publisher.limits = RewindLimits {
            client_datagrams_per_s: u32::MAX,
            client_rate: Rate::Unlimited,
            total_datagrams_per_s: u32::MAX,
            total_rate: Rate::Unlimited,
            ..publisher.limits
        };
    }
}
