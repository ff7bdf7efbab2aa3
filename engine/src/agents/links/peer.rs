//! The one connection to another node: how it comes about, and how it ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use tracing::{info, warn};

use super::desk::{Desk, LinkChange, LinkEvent};
use super::line::{Hello, Line};
use super::pipe::{Heard, Pipe};
use super::{GREETING_TIMEOUT, LINES_LIMIT};
use crate::io::tcp::{Interest, Stream};
use crate::replica::NodeId;
use crate::time::Nanos;

/// After a failure the next try comes this much later; twice as much after each further one, up to the second.
const BACKOFF: (Nanos, Nanos) = (Nanos::from_millis(10), Nanos::from_millis(500));
/// A node that has nothing to say says so this often.
const ALIVE: Nanos = Nanos::from_secs(1);
/// A connection on which nothing came for this long is given up: it may lead to a host that is no more.
const SILENCE: Nanos = Nanos::from_secs(5);

/// Another node, and the connection to it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) address: SocketAddrV4,
    /// Whether it is for this node to connect: to all that come after it.
    connects: bool,
    state: State,
    backoff: Nanos,
    /// What was last said of why there is no connection.
    complaint: String,
    /// What the desk was told last.
    announced: bool,
    /// An end that the desk has not been told of yet.
    owed: Option<LinkChange>,
    pub(super) deaths: u64,
    pub(super) losses: u64,
}

#[derive(Debug)]
enum State {
    /// Until then, or until it connects.
    Away(Nanos),
    Connecting(Stream, Nanos),
    /// Connected since then; it has not said who it is.
    Greeting(Pipe, Nanos),
    Up(Link),
}

#[derive(Debug)]
struct Link {
    pipe: Pipe,
    heard: Nanos,
    told: Nanos,
}

impl Peer {
    pub(super) fn new(me: NodeId, node: NodeId, name: String, address: SocketAddrV4) -> Peer {
        Peer {
            node,
            name,
            address,
            connects: me < node,
            state: State::Away(Nanos::ZERO),
            backoff: BACKOFF.0,
            complaint: String::new(),
            announced: false,
            owed: None,
            deaths: 0,
            losses: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// What to wait for.
    pub(super) fn awaited(&self) -> Option<(&Stream, Interest)> {
        match &self.state {
            State::Away(_) => None,
            State::Connecting(stream, _) => Some((stream, Interest::ReadOrWrite)),
            State::Greeting(pipe, _) | State::Up(Link { pipe, .. }) => Some((pipe.stream(), pipe.interest())),
        }
    }

    /// Why a connection of this node is not taken.
    pub(super) fn objection(&self) -> Option<String> {
        let name = &self.name;
        if self.connects {
            return Some(format!("{name} waits for this node to connect: the configurations differ"));
        }
        self.is_up().then(|| format!("{name} is connected already"))
    }

    /// The node has connected and said who it is, and there is no objection.
    pub(super) fn admit(&mut self, now: Nanos, mut pipe: Pipe, mine: &Hello) {
        pipe.say(Line::Hello(*mine));
        self.stand(now, pipe);
    }

    fn stand(&mut self, now: Nanos, pipe: Pipe) {
        info!("links: {} at {} is connected", self.name, self.address);
        self.backoff = BACKOFF.0;
        self.complaint.clear();
        self.state = State::Up(Link { pipe, heard: now, told: now });
    }

    /// Does what is due and gives the amount of work.
    pub(super) fn poll(&mut self, now: Nanos, from: Ipv4Addr, mine: &Hello) -> usize {
        match std::mem::replace(&mut self.state, State::Away(Nanos::NEVER)) {
            State::Away(until) if !self.connects || now < until => {
                self.state = State::Away(until);
                0
            }
            State::Away(_) => {
                match Stream::connect_from(Some(from.into()), self.address.into()) {
                    Ok(stream) => self.state = State::Connecting(stream, now),
                    Err(error) => self.retry(now, &error.to_string()),
                }
                1
            }
            State::Connecting(stream, since) => self.poll_connecting(now, stream, since, mine),
            State::Greeting(pipe, since) => self.poll_greeting(now, pipe, since, mine),
            State::Up(link) => self.poll_link(now, link),
        }
    }

    fn poll_connecting(&mut self, now: Nanos, mut stream: Stream, since: Nanos, mine: &Hello) -> usize {
        match stream.poll_connected() {
            Ok(true) => {
                let mut pipe = Pipe::new(stream);
                pipe.say(Line::Hello(*mine));
                self.state = State::Greeting(pipe, now);
                return 1;
            }
            Ok(false) if now.since(since) < GREETING_TIMEOUT => self.state = State::Connecting(stream, since),
            Ok(false) => self.retry(now, "the connection does not come about"),
            Err(error) => self.retry(now, &error.to_string()),
        }
        0
    }

    fn poll_greeting(&mut self, now: Nanos, mut pipe: Pipe, since: Nanos, mine: &Hello) -> usize {
        if let Err(error) = pipe.write() {
            self.retry(now, &error.to_string());
            return 0;
        }
        match pipe.hear() {
            Heard::Line(Line::Hello(hello)) if hello.session != mine.session => {
                self.retry(
                    now,
                    &format!("it is of session {}, this node of {}", hello.session, mine.session),
                );
            }
            Heard::Line(Line::Hello(hello)) if hello.node != self.node => {
                let found = hello.node.0;
                self.retry(now, &format!("at its address is node {found}: the configurations differ"));
            }
            Heard::Line(Line::Hello(_)) => {
                self.stand(now, pipe);
                return 1;
            }
            Heard::Line(Line::Bye(why)) => self.retry(now, &format!("it says: {why}")),
            Heard::Line(line) => self.retry(now, &format!("it says {:?} for a hello", line.to_string())),
            Heard::Nonsense(why) => self.retry(now, &why),
            Heard::Nothing if now.since(since) < GREETING_TIMEOUT => {
                self.state = State::Greeting(pipe, since);
            }
            Heard::Nothing => self.retry(now, "it says nothing"),
            Heard::Closed => self.retry(now, "it closed the connection"),
            Heard::Broken(error) => self.retry(now, &error.to_string()),
        }
        0
    }

    fn retry(&mut self, now: Nanos, why: &str) {
        if self.complaint != why {
            info!("links: no connection to {}: {why}", self.name);
            why.clone_into(&mut self.complaint);
        }
        self.state = State::Away(now + self.backoff);
        self.backoff = (self.backoff + self.backoff).min(BACKOFF.1);
    }

    fn poll_link(&mut self, now: Nanos, mut link: Link) -> usize {
        let mut work = 0;
        loop {
            match link.pipe.hear() {
                Heard::Line(Line::Alive) if work < LINES_LIMIT => {
                    link.heard = now;
                    work += 1;
                }
                Heard::Line(Line::Bye(why)) => {
                    self.lose(now, LinkChange::Down, &format!("it says: {why}"));
                    return work + 1;
                }
                Heard::Line(_) => return self.give_up(now, link, "says what has no place here"),
                Heard::Nonsense(why) => return self.give_up(now, link, &why),
                Heard::Nothing => break,
                Heard::Closed => {
                    self.lose(now, LinkChange::Dead, "it closed the connection");
                    return work + 1;
                }
                Heard::Broken(error) => {
                    self.lose(now, dead_or_down(&error), &error.to_string());
                    return work + 1;
                }
            }
        }
        // Only after all that had come was heard: whoever was away itself has heard nothing, and knows nothing.
        if now.since(link.heard) >= SILENCE {
            return self.give_up(now, link, "nothing came for too long");
        }
        if now.since(link.told) >= ALIVE && link.pipe.is_written() {
            link.pipe.say(Line::Alive);
            link.told = now;
        }
        match link.pipe.write() {
            Ok(()) => self.state = State::Up(link),
            Err(error) => self.lose(now, dead_or_down(&error), &error.to_string()),
        }
        work
    }

    /// Gives a connection up and says so, so that the other does not take this node for dead.
    fn give_up(&mut self, now: Nanos, mut link: Link, why: &str) -> usize {
        link.pipe.say(Line::Bye(why.to_owned()));
        // If it cannot be written there is nobody to mistake it.
        let _ = link.pipe.write();
        self.lose(now, LinkChange::Down, why);
        1
    }

    fn lose(&mut self, now: Nanos, change: LinkChange, why: &str) {
        warn!("links: {} is disconnected: {why}", self.name);
        match change {
            LinkChange::Dead => self.deaths += 1,
            _ => self.losses += 1,
        }
        if self.announced {
            self.owed.get_or_insert(change);
        }
        self.state = State::Away(now + self.backoff);
    }

    /// Tells the desk what it does not know yet; the rest comes when it has room.
    pub(super) fn announce(&mut self, desk: &Desk) {
        let node = self.node;
        if let Some(change) = self.owed {
            if !desk.try_bring(LinkEvent { node, change }) {
                return;
            }
            self.owed = None;
            self.announced = false;
        }
        if self.is_up() && !self.announced {
            self.announced = desk.try_bring(LinkEvent { node, change: LinkChange::Up });
        }
    }
}

/// A reset is the other's kernel: no process has the connection any more. Everything else may be the way there.
fn dead_or_down(error: &io::Error) -> LinkChange {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LinkChange::Dead,
        _ => LinkChange::Down,
    }
}
