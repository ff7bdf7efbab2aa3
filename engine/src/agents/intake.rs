//! The receive side of an agent: one driver, any number of feeds, each with its lines and rewind servers.
//!
//! A subscriber has one feed here, a sequencer one a source. The driver delivers datagrams by endpoint, this routes them
//! to the feed they belong to, and sends out what the feeds ask of their rewind servers.

use std::net::{Ipv4Addr, SocketAddrV4};

use seqcast_wire::{SeqNo, Session, mold};

use crate::feed::{FeedConfig, Item, LineId, Receiver, SessionRule, Sink};
use crate::io::{Bind, Destination, Driver, EndpointId, EndpointSpec};
use crate::ring::broadcast::Writer;
use crate::runtime::AgentError;
use crate::time::Nanos;

/// Datagrams taken in one duty cycle, or up to a run of them more: so few that what they put into the ring is still in the
/// cache when a reader on the same thread has its turn.
const RECEIVE_LIMIT: usize = 32;

/// One line to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlan {
    /// Multicast group (or local unicast address) and port.
    pub group: SocketAddrV4,
    /// Interface to join on.
    pub interface: Ipv4Addr,
    /// Only this sender, by a source-specific join.
    pub source: Option<Ipv4Addr>,
}

/// One feed to receive.
#[derive(Clone, Debug)]
pub struct FeedPlan {
    /// The state machine's configuration.
    pub feed: FeedConfig,
    /// Its lines.
    pub lines: Vec<LinePlan>,
    /// Rewind servers, in the order of preference.
    pub rewind_servers: Vec<SocketAddrV4>,
    /// Local address to send requests from: the interface of the rewind servers; unspecified lets the kernel choose.
    pub request_from: Ipv4Addr,
    /// Receive buffer to ask the kernel for, per socket.
    pub receive_buffer_bytes: usize,
}

/// What an endpoint brings.
#[derive(Clone, Copy, Debug)]
enum Route {
    Line { feed: usize, line: LineId },
    Replies { feed: usize },
}

/// One feed of the intake.
#[derive(Debug)]
struct Feed {
    receiver: Receiver,
    session_rule: SessionRule,
    rewind_servers: Vec<SocketAddrV4>,
    requests: EndpointId,
}

/// Takes the items of several feeds; see [`Sink`] for the meaning of the answer.
pub trait FeedsSink {
    /// `item` is next in the order of feed number `feed`. `false`: no room now, offer it again.
    fn on_item(&mut self, feed: usize, item: Item<'_>) -> bool;

    /// Whether there is room for what a duty cycle may bring. Without, datagrams stay in the driver: better there, where
    /// the kernel counts what it has to drop, than dropped here.
    fn has_room(&mut self) -> bool;
}

/// Whether a ring has room, with a quarter of it left for what the feeds still hold.
pub(super) fn has_room(ring: &Writer) -> bool {
    ring.slowest_lag_bytes() < ring.capacity_bytes() / 4 * 3
}

/// One feed's view of a [`FeedsSink`].
struct OneFeed<'a, S> {
    feed: usize,
    sink: &'a mut S,
}

impl<S: FeedsSink> Sink for OneFeed<'_, S> {
    fn on_item(&mut self, item: Item<'_>) -> bool {
        self.sink.on_item(self.feed, item)
    }
}

/// The receive side.
#[derive(Debug)]
pub struct Intake<D> {
    driver: D,
    routes: Vec<Route>,
    feeds: Vec<Feed>,
    strangers: u64,
    busy: u64,
    held_back: u64,
}

impl<D: Driver> Intake<D> {
    /// Opens the endpoints of all feeds.
    ///
    /// # Errors
    /// What the driver refused, or a setting that cannot work.
    pub fn open(mut driver: D, plans: &[FeedPlan]) -> Result<Intake<D>, AgentError> {
        let mut routes = Vec::new();
        let mut feeds = Vec::new();
        for (feed, plan) in plans.iter().enumerate() {
            for (line, at) in plan.lines.iter().enumerate() {
                let bind = Bind::Line { group: at.group, interface: at.interface, source: at.source };
                driver.open(&spec(bind, plan.receive_buffer_bytes))?;
                routes.push(Route::Line { feed, line: LineId(line as u8) });
            }
            let bind = Bind::Local { local: SocketAddrV4::new(plan.request_from, 0), multicast_ttl: 1 };
            let requests = driver.open(&spec(bind, plan.receive_buffer_bytes))?;
            routes.push(Route::Replies { feed });
            let receiver = Receiver::new(&plan.feed).map_err(AgentError::failed)?;
            let (session_rule, rewind_servers) = (plan.feed.session, plan.rewind_servers.clone());
            feeds.push(Feed { receiver, session_rule, rewind_servers, requests });
        }
        Ok(Intake { driver, routes, feeds, strangers: 0, busy: 0, held_back: 0 })
    }

    /// Begins feed number `feed` anew at number `start`: in `session`, or in one that it hears of.
    pub fn restart(&mut self, feed: usize, session: Option<Session>, start: SeqNo) {
        self.feeds[feed].receiver.restart(session, start);
    }

    /// Which session feed number `feed` is configured to receive.
    pub fn session_rule(&self, feed: usize) -> SessionRule {
        self.feeds[feed].session_rule
    }

    /// Takes what has arrived and drops it.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub fn drain(&mut self, now: Nanos) -> Result<(), AgentError> {
        self.driver.poll_rx(now, RECEIVE_LIMIT, |_| {})?;
        Ok(())
    }

    /// One duty cycle: receive, time, request. Gives the number of datagrams handled.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub fn do_work<S: FeedsSink>(&mut self, now: Nanos, sink: &mut S) -> Result<usize, AgentError> {
        let Intake { driver, routes, feeds, strangers, busy, held_back } = self;
        let limit = if sink.has_room() { RECEIVE_LIMIT } else { 0 };
        *held_back += u64::from(limit == 0);
        let mut work = driver.poll_rx(now, limit, |received| {
            let Some(&route) = routes.get(usize::from(received.endpoint.0)) else { return };
            let (Route::Line { feed, .. } | Route::Replies { feed }) = route;
            let target = &mut feeds[feed];
            let mut one = OneFeed { feed, sink: &mut *sink };
            match route {
                Route::Line { line, .. } => target.receiver.on_datagram(now, line, received.bytes, &mut one),
                Route::Replies { .. } => match target.rewind_servers.iter().position(|s| *s == received.from)
                {
                    Some(server) => target.receiver.on_reply(now, server, received.bytes, &mut one),
                    None => *strangers += 1,
                },
            }
        })?;
        for (index, feed) in feeds.iter_mut().enumerate() {
            feed.receiver.poll(now, &mut OneFeed { feed: index, sink: &mut *sink });
            while let Some((server, request)) = feed.receiver.poll_request(now) {
                let Some(&to) = feed.rewind_servers.get(server) else { break };
                let to = [Destination { endpoint: feed.requests, to }];
                let sent = driver.transmit(&to, mold::HEADER_BYTES, |buffer| request.emit(buffer));
                // A request that found no room is one that got lost: its timeout asks again.
                *busy += u64::from(sent.is_err());
                work += 1;
            }
        }
        Ok(work)
    }

    /// Hands what was queued to the kernel. Call at the end of the duty cycle.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub fn flush(&mut self, now: Nanos) -> Result<(), AgentError> {
        Ok(self.driver.flush(now)?)
    }

    /// The feed numbered `feed`.
    pub fn receiver(&self, feed: usize) -> &Receiver {
        &self.feeds[feed].receiver
    }

    /// The feed numbered `feed`, to steer it.
    pub fn receiver_mut(&mut self, feed: usize) -> &mut Receiver {
        &mut self.feeds[feed].receiver
    }

    /// Sends `len` bytes that `fill` writes to `to`, from the endpoint that feed number `feed` sends its requests from.
    pub fn send(&mut self, feed: usize, to: SocketAddrV4, len: usize, fill: impl FnOnce(&mut [u8]) -> usize) {
        let to = [Destination { endpoint: self.feeds[feed].requests, to }];
        self.busy += u64::from(self.driver.transmit(&to, len, fill).is_err());
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Replies that came from no rewind server of ours: dropped.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Duty cycles that received nothing because there was no room for it.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// Datagrams not sent because the driver had no room.
    pub fn busy(&self) -> u64 {
        self.busy
    }
}

fn spec(bind: Bind, receive_buffer_bytes: usize) -> EndpointSpec {
    EndpointSpec { bind, receive_buffer_bytes, send_buffer_bytes: 1 << 20 }
}
