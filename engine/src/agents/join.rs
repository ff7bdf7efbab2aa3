//! Joining late: books from a snapshot server, then the live feed from where they end.
//!
//! Three agents meet at a [`Handover`]: the book agent asks for a snapshot and reads nothing until it is there; the
//! [`Joiner`], on a cold thread, fetches it; the subscriber goes on from its number and requests what it missed.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use seqcast_wire::{SeqNo, Session, glimpse};
use tracing::{info, warn};

use crate::book::{Books, BooksConfig};
use crate::io::tcp::{Stream, TryRead};
use crate::runtime::{Agent, AgentError};
use crate::session::{ClientEvent, ClientLink, Login};
use crate::time::Nanos;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Nanos = Nanos::from_secs(5);
/// After a failure the next try comes this much later; twice as much after each further one, up to the second.
const BACKOFF: (Nanos, Nanos) = (Nanos::from_millis(10), Nanos::from_secs(2));
/// Bytes read in one duty cycle at most.
const READ_LIMIT: usize = 4 << 20;

/// Books at a number.
pub struct Snapshot {
    /// Session of the feed.
    pub session: Session,
    /// First message that is not in the books.
    pub next: SeqNo,
    /// The books.
    pub books: Books,
}

/// Where the three agents of a join meet. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Handover(Arc<Meeting>);

struct Meeting {
    wanted: AtomicBool,
    snapshot: ArrayQueue<Box<Snapshot>>,
    resume: ArrayQueue<SeqNo>,
}

impl Default for Handover {
    fn default() -> Handover {
        Handover::new()
    }
}

impl Handover {
    /// A meeting place where nothing is asked for yet.
    pub fn new() -> Handover {
        Handover(Arc::new(Meeting {
            wanted: AtomicBool::new(false),
            snapshot: ArrayQueue::new(1),
            resume: ArrayQueue::new(1),
        }))
    }

    /// Asks for a snapshot.
    pub fn ask(&self) {
        self.0.wanted.store(true, Ordering::Release);
    }

    /// Whether a snapshot was asked for since the last call.
    pub fn take_wish(&self) -> bool {
        self.0.wanted.swap(false, Ordering::AcqRel)
    }

    /// Brings a snapshot; an older one that was not taken is dropped.
    pub fn bring(&self, snapshot: Snapshot) {
        self.0.snapshot.force_push(Box::new(snapshot));
    }

    /// The snapshot, once it is there.
    pub fn take_snapshot(&self) -> Option<Box<Snapshot>> {
        self.0.snapshot.pop()
    }

    /// Tells the subscriber from which number to go on.
    pub fn resume(&self, next: SeqNo) {
        self.0.resume.force_push(next);
    }

    /// The number to go on from, once.
    pub fn take_resume(&self) -> Option<SeqNo> {
        self.0.resume.pop()
    }
}

/// Fetches snapshots from GLIMPSE servers whenever one is asked for; for a cold thread.
pub struct Joiner {
    /// The first is asked next.
    servers: VecDeque<SocketAddrV4>,
    /// Since the last snapshot.
    failures: usize,
    login: Login,
    books: BooksConfig,
    handover: Handover,
    fetch: Option<Fetch>,
    retry_at: Nanos,
    backoff: Nanos,
    buffer: Box<[u8]>,
}

/// One snapshot on its way.
struct Fetch {
    stream: Stream,
    began: Nanos,
    /// There once the connection is.
    link: Option<ClientLink>,
    books: Books,
    session: Session,
    next: Option<SeqNo>,
}

impl Joiner {
    /// Fetches from one of `servers`, into books made as `books` says.
    ///
    /// # Panics
    /// When there is no server.
    pub fn new(servers: Vec<SocketAddrV4>, login: Login, books: BooksConfig, handover: Handover) -> Joiner {
        assert!(!servers.is_empty(), "a server to fetch from");
        Joiner {
            servers: servers.into(),
            failures: 0,
            login,
            books,
            handover,
            fetch: None,
            retry_at: Nanos::ZERO,
            backoff: BACKOFF.0,
            buffer: vec![0; 64 << 10].into(),
        }
    }

    fn begin(&mut self, now: Nanos) -> Result<(), AgentError> {
        let books = Books::new(self.books).map_err(AgentError::failed)?;
        match Stream::connect(self.servers[0].into()) {
            Ok(stream) => {
                let session = Session::BLANK;
                self.fetch = Some(Fetch { stream, began: now, link: None, books, session, next: None });
            }
            Err(error) => self.fail(now, &error.to_string()),
        }
        Ok(())
    }

    /// The next server is asked at once, until all have failed.
    fn fail(&mut self, now: Nanos, why: &str) {
        self.fetch = None;
        self.handover.ask();
        let failed = self.servers[0];
        self.servers.rotate_left(1);
        self.failures += 1;
        if self.failures.is_multiple_of(self.servers.len()) {
            warn!("no snapshot from {failed}: {why}; trying again in {}", self.backoff);
            self.retry_at = now + self.backoff;
            self.backoff = (self.backoff + self.backoff).min(BACKOFF.1);
        } else {
            warn!("no snapshot from {failed}: {why}; asking {}", self.servers[0]);
        }
    }

    /// Reads on; gives whether anything came, or why nothing will.
    fn read(&mut self, now: Nanos) -> Result<usize, String> {
        let Joiner { fetch: Some(fetch), login, buffer, .. } = self else { return Ok(0) };
        if fetch.link.is_none() {
            if !fetch.stream.poll_connected().map_err(|error| error.to_string())? {
                let late = now.since(fetch.began) >= CONNECT_TIMEOUT;
                return if late { Err("the connection does not come about".into()) } else { Ok(0) };
            }
            fetch.link = Some(ClientLink::new(login, now));
        }
        let Some(link) = &mut fetch.link else { return Ok(0) };
        link.poll(now);
        while !link.output().is_empty() {
            match fetch.stream.try_write(link.output()).map_err(|error| error.to_string())? {
                0 => break,
                len => link.on_written(len),
            }
        }
        let mut read = 0;
        while read < READ_LIMIT && fetch.next.is_none() {
            match fetch.stream.try_read(buffer).map_err(|error| error.to_string())? {
                TryRead::Bytes(len) => {
                    let (books, next, session) = (&mut fetch.books, &mut fetch.next, &mut fetch.session);
                    link.on_bytes(now, &buffer[..len], |event| on_event(event, books, next, session));
                    read += len;
                }
                TryRead::Empty => break,
                TryRead::Closed => return Err("the server closed the connection before the end".into()),
            }
            if let (Some(why), None) = (link.closed(), fetch.next) {
                return Err(why.to_string());
            }
        }
        Ok(read)
    }
}

fn on_event(event: ClientEvent<'_>, books: &mut Books, next: &mut Option<SeqNo>, session: &mut Session) {
    match event {
        ClientEvent::Accepted { session: accepted, .. } => *session = accepted,
        ClientEvent::Message { message, .. } if message.first() == Some(&glimpse::KIND) => {
            *next = glimpse::EndOfSnapshot::parse(message).ok().map(|end| end.next);
        }
        ClientEvent::Message { message, .. } => {
            books.apply(message);
        }
        ClientEvent::EndOfSession => {}
    }
}

impl Agent for Joiner {
    fn name(&self) -> &str {
        "join"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        if self.fetch.is_none() && now >= self.retry_at && self.handover.take_wish() {
            self.begin(now)?;
        }
        let read = match self.read(now) {
            Ok(read) => read,
            Err(why) => {
                self.fail(now, &why);
                return Ok(0);
            }
        };
        if let Some(Fetch { next: Some(next), books, session, link, began, .. }) =
            self.fetch.take_if(|fetch| fetch.next.is_some())
        {
            let took = now.since(began);
            info!(
                "snapshot of session {session} up to message {next}: {} orders in {took}",
                books.live_orders()
            );
            if let Some(mut link) = link {
                link.log_out(now);
            }
            (self.backoff, self.failures) = (BACKOFF.0, 0);
            self.handover.bring(Snapshot { session, next, books });
        }
        Ok(read)
    }
}
