//! The snapshot server: order books for late joiners, in the manner of GLIMPSE 5.0 over SoupBinTCP.
//!
//! It follows the committed part of the journal on a cold thread, so that neither a slow client nor a large image ever
//! holds the data path. An image is encoded once and sent to everybody who asked for it until it is too old.

use std::net::SocketAddr;
use std::sync::Arc;

use seqcast_wire::itch::Glance;
use seqcast_wire::soup::Packet;
use seqcast_wire::{SeqNo, Session, Timestamp, glimpse, soup};
use tracing::{info, warn};

use super::batch::Batch;
use super::join::{Handover, Snapshot};
use super::meter::Meter;
use crate::book::{Books, IMAGE_MESSAGE_BYTES, ImageEncoder};
use crate::config;
use crate::frame::Kind;
use crate::io::tcp::{Listener, Stream, TryRead};
use crate::journal::{Cursor, JournalReader};
use crate::runtime::{Agent, AgentError};
use crate::session::{Closed, Credentials, ServerEvent, ServerLink};
use crate::sync::Watermark;
use crate::time::Nanos;

/// Frames applied in one duty cycle at most, so that clients get their turn.
const APPLY_LIMIT: usize = 20_000;
/// Bytes written to one client in one duty cycle at most.
const WRITE_LIMIT: usize = 1 << 20;
/// Room for what a link says beside the image.
const LINK_OUTPUT_BYTES: usize = 256;
/// An image is given to further clients for this long. A client that needs a newer one asks again.
const FRESH: Nanos = Nanos::from_millis(200);

/// The agent.
pub struct SnapshotServer {
    listener: Listener,
    credentials: Credentials,
    max_clients: usize,
    clients: Vec<Client>,
    books: Books,
    /// What is applied together.
    batch: Batch,
    /// Time of the last message: what the image's orders are stamped with.
    last_time: Timestamp,
    journal: JournalReader,
    /// There once the books are.
    cursor: Option<Cursor>,
    /// Where books come from that the journal does not reach back to, and those that came.
    elsewhere: Option<(Handover, Option<Box<Snapshot>>)>,
    committed: Watermark,
    applied: Watermark,
    image: Option<Arc<Image>>,
    accepted: u64,
    refused: u64,
    served: u64,
    meter: Meter,
}

/// A whole snapshot, as packets.
struct Image {
    made: Nanos,
    packets: Vec<u8>,
}

struct Client {
    stream: Stream,
    peer: SocketAddr,
    link: ServerLink,
    /// It has logged in and waits for its image.
    wants: bool,
    /// The image, and how much of it is written.
    image: Option<(Arc<Image>, usize)>,
}

impl SnapshotServer {
    /// Listens as `plan` says and keeps `books`, which are empty, up with the committed part of the journal. If the
    /// beginning of that was removed, books to begin with are asked for `elsewhere`; clients are sent away until they are
    /// there.
    ///
    /// # Errors
    /// The address cannot be had; the beginning of the journal was removed, and there is no elsewhere.
    pub fn open(
        plan: &config::Snapshot,
        session: Session,
        (journal, committed): (JournalReader, Watermark),
        books: Books,
        elsewhere: Option<Handover>,
        meter: Meter,
    ) -> Result<SnapshotServer, AgentError> {
        let cursor = journal.cursor_at(SeqNo::FIRST);
        let elsewhere = elsewhere.filter(|_| cursor.is_none());
        match &elsewhere {
            Some(handover) => handover.ask(),
            None if cursor.is_none() => {
                let oldest = journal.oldest();
                return Err(AgentError::failed(format_args!(
                    "the journal begins at message {oldest}: books cannot be built from it; name another snapshot \
                     server in [feed.snapshot], leave [snapshot] out, or raise journal.retain_bytes before the next session"
                )));
            }
            None => {}
        }
        let credentials =
            Credentials { username: plan.username.clone(), password: plan.password.clone(), session };
        Ok(SnapshotServer {
            listener: Listener::bind(plan.bind.into())?,
            credentials,
            max_clients: plan.max_clients,
            clients: Vec::new(),
            books,
            batch: Batch::new(),
            last_time: Timestamp::from_ns(0),
            journal,
            cursor,
            elsewhere: elsewhere.map(|handover| (handover, None)),
            committed,
            applied: Watermark::new(),
            image: None,
            accepted: 0,
            refused: 0,
            served: 0,
            meter,
        })
    }

    /// Everything below is in the books: what the journal must keep for them.
    pub fn applied(&self) -> Watermark {
        self.applied.clone()
    }

    /// Where it listens, its port filled in.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> Result<SocketAddr, AgentError> {
        Ok(self.listener.local_addr()?)
    }

    /// Begins with books from elsewhere, once the journal has got to where they are.
    fn begin(&mut self) -> usize {
        let Some((handover, arrived)) = &mut self.elsewhere else { return 0 };
        if let Some(snapshot) = handover.take_snapshot() {
            *arrived = Some(snapshot);
        }
        let Some(snapshot) = arrived.take_if(|snapshot| snapshot.next <= self.committed.load()) else {
            return 0;
        };
        let Snapshot { session, next, books } = *snapshot;
        let cursor = self.journal.cursor_at(next).filter(|_| session == self.credentials.session);
        if cursor.is_none() {
            let oldest = self.journal.oldest();
            warn!(
                "snapshot: books of session {session} up to message {next} are of no use: the journal begins at {oldest}"
            );
            handover.ask();
            return 1;
        }
        info!("snapshot: goes on with books up to message {next}");
        (self.cursor, self.books, self.elsewhere) = (cursor, books, None);
        1
    }

    /// Where the books are; `None` until they are there.
    fn at(&self) -> Option<SeqNo> {
        self.cursor.as_ref().map(Cursor::seq)
    }

    fn apply(&mut self) -> Result<usize, AgentError> {
        let committed = self.committed.load();
        let mut work = 0;
        let Some(cursor) = &mut self.cursor else { return Ok(self.begin()) };
        let mut more = true;
        while more && work < APPLY_LIMIT {
            self.batch.clear();
            while more && !self.batch.is_full() {
                let frame = if cursor.seq() < committed { cursor.next_frame() } else { Ok(None) };
                match frame.map_err(AgentError::failed)? {
                    Some(frame) if frame.kind() == Kind::Message => self.batch.push(frame.payload()),
                    Some(_) => {}
                    None => more = false,
                }
                work += usize::from(more);
            }
            self.books.apply_all(self.batch.rest(), |_, _, _| ());
            let headers = self.batch.rest().filter_map(|message| Glance::parse(message).ok()?.header());
            if let Some(header) = headers.last() {
                self.last_time = header.timestamp;
            }
        }
        if work > 0 {
            self.applied.advance(cursor.seq());
        }
        Ok(work)
    }

    fn accept(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = 0;
        while let Some((stream, peer)) = self.listener.poll_accept()? {
            work += 1;
            if self.clients.len() == self.max_clients {
                self.refused += 1;
                warn!("snapshot: {peer} refused, {} clients are the most", self.max_clients);
                continue;
            }
            self.accepted += 1;
            let link = ServerLink::new(self.credentials.clone(), LINK_OUTPUT_BYTES, now);
            self.clients.push(Client { stream, peer, link, wants: false, image: None });
        }
        Ok(work)
    }

    fn serve(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        for at in (0..self.clients.len()).rev() {
            self.clients[at].receive(now);
            if self.clients[at].wants && self.cursor.is_none() {
                // Another server has them: better asked now than waited for.
                self.clients[at].wants = false;
                self.clients[at].link.reject(now);
                self.refused += 1;
            }
            // Books that are behind would make an image that the client has to throw away.
            if self.clients[at].wants
                && let Some(next) = self.at().filter(|next| *next >= self.committed.load())
            {
                let image = self.image(now, next);
                self.clients[at].answer(now, image);
                self.served += 1;
                work += 1;
            }
            let client = &mut self.clients[at];
            client.link.poll(now);
            match client.write(now) {
                Ok(0) => {}
                Ok(_) => work += 1,
                Err(error) => {
                    warn!("snapshot: {}: {error}", client.peer);
                    self.clients.swap_remove(at);
                    continue;
                }
            }
            if let Some(why) = self.clients[at].is_done() {
                info!("snapshot: {}: {why}", self.clients[at].peer);
                self.clients.swap_remove(at);
            }
        }
        work
    }

    /// The image of now, or one that is fresh enough.
    fn image(&mut self, now: Nanos, next: SeqNo) -> Arc<Image> {
        if let Some(image) = &self.image
            && now.since(image.made) <= FRESH
        {
            return Arc::clone(image);
        }
        let image = Arc::new(Image { made: now, packets: encode(&self.books, next, self.last_time) });
        self.image = Some(Arc::clone(&image));
        image
    }

    fn report(&mut self) {
        self.meter.set("clients", self.clients.len() as u64);
        self.meter.set("accepted_total", self.accepted);
        self.meter.set("refused_total", self.refused);
        self.meter.set("images_total", self.served);
        self.meter.set("applied", self.at().map_or(0, SeqNo::value));
        self.meter.set("live_orders", self.books.live_orders().into());
        self.meter.books(self.books.stats());
    }
}

impl Client {
    /// Reads what the client says.
    fn receive(&mut self, now: Nanos) {
        let mut bytes = [0; 1024];
        let Client { stream, link, wants, .. } = self;
        match stream.try_read(&mut bytes) {
            Ok(TryRead::Bytes(len)) => link.on_bytes(now, &bytes[..len], |event| {
                *wants |= matches!(event, ServerEvent::Login { .. });
            }),
            Ok(TryRead::Empty) => {}
            Ok(TryRead::Closed) => link.close(Closed::InOrder),
            Err(_) => link.close(Closed::Silent),
        }
    }

    fn answer(&mut self, now: Nanos, image: Arc<Image>) {
        self.wants = false;
        // A snapshot always begins at 1: it is a session of its own in all but name.
        self.link.accept(now, SeqNo::FIRST);
        self.image = Some((image, 0));
    }

    /// Writes what the link has to say, then the image, and gives the number of bytes.
    fn write(&mut self, now: Nanos) -> std::io::Result<usize> {
        let mut written = 0;
        // A heartbeat must not come into the middle of a packet, and none is needed while the image is under way.
        let between_packets = self.image.as_ref().is_none_or(|&(_, at)| at == 0);
        while between_packets && !self.link.output().is_empty() {
            let len = self.stream.try_write(self.link.output())?;
            if len == 0 {
                return Ok(written);
            }
            self.link.on_written(len);
            written += len;
        }
        if self.link.closed().is_some() {
            return Ok(written);
        }
        while let Some((image, at)) = &mut self.image
            && written < WRITE_LIMIT
        {
            let len = self.stream.try_write(&image.packets[*at..])?;
            if len == 0 {
                break;
            }
            *at += len;
            written += len;
            self.link.on_sent(now);
            if *at == image.packets.len() {
                self.image = None;
            }
        }
        Ok(written)
    }

    /// Why there is nothing more to do for this client, if so.
    fn is_done(&self) -> Option<Closed> {
        self.link.closed().filter(|_| self.link.output().is_empty() || self.image.is_some())
    }
}

/// The whole image as SoupBinTCP packets, the end-of-snapshot message last.
fn encode(books: &Books, next: SeqNo, timestamp: Timestamp) -> Vec<u8> {
    let mut packets =
        Vec::with_capacity(books.live_orders() as usize * (soup::HEADER_BYTES + IMAGE_MESSAGE_BYTES));
    let mut encoder = ImageEncoder::new(timestamp);
    let mut message = [0; IMAGE_MESSAGE_BYTES];
    let mut packet = [0; soup::HEADER_BYTES + IMAGE_MESSAGE_BYTES];
    while let Some(len) = encoder.next(books, &mut message) {
        let len = Packet::Sequenced(&message[..len]).emit(&mut packet);
        packets.extend_from_slice(&packet[..len]);
    }
    let len = glimpse::EndOfSnapshot { next }.emit(&mut message);
    let len = Packet::Sequenced(&message[..len]).emit(&mut packet);
    packets.extend_from_slice(&packet[..len]);
    packets
}

impl Agent for SnapshotServer {
    fn name(&self) -> &str {
        "snapshot"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let work = self.apply()? + self.accept(now)? + self.serve(now);
        if self.meter.is_due(now) {
            self.report();
        }
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}
