//! A subscriber's process.

use super::{Environment, Host, Node, plan};
use crate::agents::books::{Application, BookAgent, Input};
use crate::agents::join::{Handover, Joiner};
use crate::agents::meter::Meter;
use crate::agents::subscriber::Subscriber;
use crate::agents::trace::Trace;
use crate::book::{Books, BooksConfig};
use crate::config::{Config, OnUnfillable, SlowConsumer, Start};
use crate::feed::SessionRule;
use crate::io::Driver;
use crate::runtime::AgentError;
use crate::session::Login;
use crate::stat::Counters;
use seqcast_wire::SeqNo;

/// What a subscriber is made of beside its configuration.
pub struct SubscriberParts<A> {
    /// How its books are made.
    pub books: BooksConfig,
    /// Who sees the events.
    pub application: A,
    /// Tells its counters apart from those of another subscriber in this process.
    pub instance: &'static str,
    /// Marks when messages were received.
    pub trace: Option<Trace>,
    /// Receive whichever session is heard first, instead of the configured one.
    pub any_session: bool,
    /// Believe every datagram: they come from a capture.
    pub trusting: bool,
}

/// The subscriber of `[feed]`, on the configured driver.
///
/// # Errors
/// The section is missing or a setting cannot work; what the driver refused.
pub fn subscriber<A: Application + 'static>(
    config: &Config,
    parts: SubscriberParts<A>,
    counters: &Counters,
) -> Result<Node, AgentError> {
    subscriber_in(&mut Host, config, parts, counters)
}

/// As [`subscriber()`], in an environment of the caller's choice.
///
/// # Errors
/// As [`subscriber()`].
pub fn subscriber_in<E: Environment, A: Application + 'static>(
    environment: &mut E,
    config: &Config,
    parts: SubscriberParts<A>,
    counters: &Counters,
) -> Result<Node, AgentError> {
    let mut node = Node::default();
    let driver = environment.driver("subscriber", config, &mut node)?;
    node.merge(subscriber_on(driver, config, parts, counters)?);
    Ok(node)
}

/// As [`subscriber()`], on a driver of the caller's choice: a capture, or one that injects faults.
///
/// # Errors
/// As [`subscriber()`].
pub fn subscriber_on<D: Driver + Send + 'static, A: Application + 'static>(
    driver: D,
    config: &Config,
    parts: SubscriberParts<A>,
    counters: &Counters,
) -> Result<Node, AgentError> {
    let feed = config.feed().map_err(AgentError::failed)?;
    let mut node = Node::default();
    let (writer, readers) = plan::ring(config, &mut node, 1)?;
    let input = match config.subscriber.slow_consumer {
        SlowConsumer::Wait => Input::Wait(readers.reader().map_err(AgentError::failed)?),
        SlowConsumer::Disconnect => Input::Disconnect(readers.guest().map_err(AgentError::failed)?),
        SlowConsumer::Skip => Input::Skip(readers.tap()),
    };
    let SubscriberParts { books: books_config, application, instance, trace, any_session, trusting } = parts;
    let books = Books::new(books_config).map_err(AgentError::failed)?;
    let meter = |agent| Meter::new(counters, agent, instance);
    let mut feed_plan = plan::subscriber_feed(config, feed);
    feed_plan.feed.trusting = trusting;
    if any_session {
        feed_plan.feed.session = SessionRule::FirstSeen;
    }
    let mut subscriber = Subscriber::open("subscriber", driver, &feed_plan, writer, meter("subscriber"))?;
    let mut agent = BookAgent::new("books", input, books, application, meter("books")).finishing_at_end();
    subscriber = subscriber.finishing_at_end();
    if config.subscriber.slow_consumer == SlowConsumer::Disconnect {
        subscriber = subscriber.evicting(config.memory.ring_bytes as u64 / 2);
    }
    if config.subscriber.on_unfillable == OnUnfillable::Stop {
        subscriber = subscriber.stopping_at_loss();
    }
    if let Some(trace) = trace {
        subscriber = subscriber.traced(trace);
    }
    let joins = config.subscriber.start == Start::Snapshot;
    let rejoins = config.subscriber.on_unfillable == OnUnfillable::Snapshot;
    if joins || rejoins {
        let Some(source) = &feed.snapshot else {
            return Err(AgentError::failed(
                "[subscriber] wants a snapshot, but [feed.snapshot] does not say where: add servers, username, password",
            ));
        };
        let handover = Handover::new();
        let login = Login {
            username: source.username.clone(),
            password: source.password.clone(),
            session: feed.session,
            next: Some(SeqNo::FIRST),
        };
        node.add_cold(Joiner::new(source.servers.clone(), login, books_config, handover.clone()));
        subscriber = subscriber.joining(handover.clone());
        agent = if joins { agent.joining(handover) } else { agent.rejoining(handover) };
    }
    node.add_hot("receive", subscriber);
    node.add_hot("books", agent);
    Ok(node)
}
