//! The server: judges requests, queues and bounds the answers.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use rustc_hash::FxHashMap;
use seqcast_wire::mold::{Packer, Request};
use seqcast_wire::{SeqNo, Session};

use super::bucket::{Bucket, Level};
use super::prefix::Prefix;
use crate::limits::{ETHERNET_PAYLOAD_BYTES, MAX_DATAGRAM_BYTES};
use crate::time::Nanos;

/// A datagram with less room could not carry a market-data message.
const MIN_DATAGRAM_BYTES: u64 = 64;
/// Most addresses that may be configured to be told apart.
const MAX_SOURCES: u64 = 1 << 20;
/// Most replies that may be configured to wait; a repeated request is looked for among them.
const MAX_PENDING: u64 = 1 << 12;
/// Requests that wait for what they ask for.
const MAX_EARLY: usize = 64;
/// How far ahead it may be.
const MAX_EARLY_MESSAGES: u64 = 1 << 16;

/// Settings of a rewind server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The session that is answered for.
    pub session: Session,
    /// Who may ask. Empty: nobody.
    pub allow: Vec<Prefix>,
    /// Replies are packed up to this size (UDP payload).
    pub max_datagram_bytes: usize,
    /// What one address may be sent. Ports do not count: they are too cheap to change.
    pub per_source: Bucket,
    /// What all of them together may be sent.
    pub total: Bucket,
    /// Addresses that are told apart. An address that is not known and finds no room is not answered.
    pub max_sources: usize,
    /// Replies that may wait to be sent.
    pub max_pending: usize,
    /// How long a request for what does not exist yet is kept: on a standby a request can overtake the word that what it
    /// asks for is committed. 0: not at all.
    pub patience: Nanos,
}

impl ServerConfig {
    /// Settings for `session`, answering those in `allow`: 5,000 datagrams a second and 8 MB/s to an address, ten times that
    /// in all, 100 ms of which may be saved up.
    pub fn new(session: Session, allow: Vec<Prefix>) -> ServerConfig {
        let burst = Nanos::from_millis(100);
        ServerConfig {
            session,
            allow,
            max_datagram_bytes: ETHERNET_PAYLOAD_BYTES,
            per_source: Bucket { datagrams_per_s: 5_000, bytes_per_s: 8_000_000, burst },
            total: Bucket { datagrams_per_s: 50_000, bytes_per_s: 80_000_000, burst },
            max_sources: 1024,
            max_pending: 256,
            patience: Nanos::from_millis(2),
        }
    }
}

/// A [`ServerConfig`] that cannot work, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rewind server: {setting} is {actual}, must be {min} to {max}")]
pub struct ServerConfigError {
    /// Name of the setting.
    pub setting: &'static str,
    /// As configured.
    pub actual: u64,
    /// Least that works.
    pub min: u64,
    /// Most that works.
    pub max: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will be answered.
    Queued,
    /// It asks for what does not exist yet, and is judged again when it does.
    Early,
    /// It will not, and the asker hears nothing.
    Silent(Reason),
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The address is in no configured prefix.
    NotAllowed,
    /// Not a request of 20 bytes, or for number 0.
    Malformed,
    /// For another session.
    WrongSession,
    /// For no messages.
    ZeroCount,
    /// For messages that do not exist yet, and did not come to exist in time.
    BeyondEnd,
    /// For messages that are not kept any more.
    AgedOut,
    /// The same answer to the same asker waits to be sent already.
    Repeated,
    /// The address has used up its rate.
    SourceRate,
    /// All addresses together have used up their rate.
    TotalRate,
    /// The address is not known, and as many as fit are using their rates just now.
    SourcesFull,
    /// Too many replies wait to be sent.
    PendingFull,
}

impl Reason {
    /// All of them, in the order of [`ServerStats::silent`].
    pub const ALL: [Reason; 11] = [
        Reason::NotAllowed,
        Reason::Malformed,
        Reason::WrongSession,
        Reason::ZeroCount,
        Reason::BeyondEnd,
        Reason::AgedOut,
        Reason::Repeated,
        Reason::SourceRate,
        Reason::TotalRate,
        Reason::SourcesFull,
        Reason::PendingFull,
    ];

    /// Name for counters.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::NotAllowed => "not_allowed",
            Reason::Malformed => "malformed",
            Reason::WrongSession => "wrong_session",
            Reason::ZeroCount => "zero_count",
            Reason::BeyondEnd => "beyond_end",
            Reason::AgedOut => "aged_out",
            Reason::Repeated => "repeated",
            Reason::SourceRate => "source_rate",
            Reason::TotalRate => "total_rate",
            Reason::SourcesFull => "sources_full",
            Reason::PendingFull => "pending_full",
        }
    }
}

/// A datagram to be sent in answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Where the request came from.
    pub to: SocketAddrV4,
    /// First number.
    pub first: SeqNo,
    /// How many are wanted and exist; what completely fits one datagram is sent.
    pub count: u16,
}

/// What a server counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Requests received.
    pub requests: u64,
    /// Replies written.
    pub replies: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Replies for which nothing was there when they were to be written.
    pub empty_replies: u64,
    /// Requests not answered, by [`Reason`].
    pub silent: [u64; Reason::ALL.len()],
}

/// The server side of gap filling for one feed.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    /// One entry per address that has used its rate lately. An entry makes room only once its bucket is full again,
    /// that is when it is no different from an unknown address: pushing it out with forged addresses resets nothing.
    sources: FxHashMap<Ipv4Addr, Level>,
    /// No entry of a full table makes room before this.
    crowded_until: Nanos,
    total: Level,
    pending: VecDeque<Reply>,
    early: VecDeque<Early>,
    stats: ServerStats,
}

/// A request for what does not exist yet.
#[derive(Clone, Copy, Debug)]
struct Early {
    from: SocketAddrV4,
    request: Request,
    until: Nanos,
}

impl Server {
    /// A server that has heard nothing.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: ServerConfig) -> Result<Server, ServerConfigError> {
        config.check()?;
        Ok(Server {
            sources: FxHashMap::with_capacity_and_hasher(config.max_sources, Default::default()),
            crowded_until: Nanos::ZERO,
            total: Level::default(),
            pending: VecDeque::with_capacity(config.max_pending),
            early: VecDeque::with_capacity(MAX_EARLY),
            stats: ServerStats::default(),
            config,
        })
    }

    /// Judges a datagram that came from `from`. `available` are the numbers that can be answered now.
    pub fn on_request(
        &mut self,
        now: Nanos,
        from: SocketAddrV4,
        bytes: &[u8],
        available: Range<SeqNo>,
    ) -> Verdict {
        self.stats.requests += 1;
        let judged = self.read(from, bytes).and_then(|request| {
            if request.first >= available.end {
                return self.keep_early(now, from, request, available.end);
            }
            self.admit(now, from, &request, &available).map(|()| Verdict::Queued)
        });
        judged.unwrap_or_else(|reason| self.refuse(reason))
    }

    fn refuse(&mut self, reason: Reason) -> Verdict {
        self.stats.silent[reason as usize] += 1;
        Verdict::Silent(reason)
    }

    /// Judges again what came too early. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos, available: &Range<SeqNo>) {
        for _ in 0..self.early.len() {
            let Some(early) = self.early.pop_front() else { return };
            let judged = if early.request.first < available.end {
                self.admit(now, early.from, &early.request, available)
            } else if now < early.until {
                self.early.push_back(early);
                Ok(())
            } else {
                Err(Reason::BeyondEnd)
            };
            if let Err(reason) = judged {
                self.refuse(reason);
            }
        }
    }

    fn read(&self, from: SocketAddrV4, bytes: &[u8]) -> Result<Request, Reason> {
        if !self.config.allow.iter().any(|prefix| prefix.contains(*from.ip())) {
            return Err(Reason::NotAllowed);
        }
        let request = Request::parse(bytes).map_err(|_| Reason::Malformed)?;
        if request.session != self.config.session {
            return Err(Reason::WrongSession);
        }
        if request.count == 0 {
            return Err(Reason::ZeroCount);
        }
        Ok(request)
    }

    fn keep_early(
        &mut self,
        now: Nanos,
        from: SocketAddrV4,
        request: Request,
        end: SeqNo,
    ) -> Result<Verdict, Reason> {
        let is_near = request.first.since(end) < MAX_EARLY_MESSAGES;
        if !is_near || self.config.patience == Nanos::ZERO || self.early.len() == MAX_EARLY {
            return Err(Reason::BeyondEnd);
        }
        if self.early.iter().any(|early| early.from == from && early.request == request) {
            return Err(Reason::Repeated);
        }
        self.early.push_back(Early { from, request, until: now + self.config.patience });
        Ok(Verdict::Early)
    }

    fn admit(
        &mut self,
        now: Nanos,
        from: SocketAddrV4,
        request: &Request,
        available: &Range<SeqNo>,
    ) -> Result<(), Reason> {
        let config = &self.config;
        if request.first < available.start {
            return Err(Reason::AgedOut);
        }
        let mut level = self.sources.get(from.ip()).copied().unwrap_or_default();
        if !level.is_open(now, &config.per_source) {
            return Err(Reason::SourceRate);
        }
        let exist = available.end.since(request.first);
        let count = u64::from(request.count).min(exist) as u16;
        let reply = Reply { to: from, first: request.first, count };
        if self.pending.contains(&reply) {
            return Err(Reason::Repeated);
        }
        if self.pending.len() == config.max_pending {
            return Err(Reason::PendingFull);
        }
        if !self.total.is_open(now, &config.total) {
            return Err(Reason::TotalRate);
        }
        self.make_room(now, *from.ip())?;
        // The whole datagram is charged now; what it turns out to be shorter is given back when it is written.
        level.take(now, &self.config.per_source, self.config.max_datagram_bytes);
        self.sources.insert(*from.ip(), level);
        self.total.take(now, &self.config.total, self.config.max_datagram_bytes);
        self.pending.push_back(reply);
        Ok(())
    }

    /// Makes sure that `source` has a place in the table. An entry whose bucket is full again holds nothing worth
    /// keeping and goes; any other stays.
    fn make_room(&mut self, now: Nanos, source: Ipv4Addr) -> Result<(), Reason> {
        if self.sources.len() < self.config.max_sources || self.sources.contains_key(&source) {
            return Ok(());
        }
        if now < self.crowded_until {
            return Err(Reason::SourcesFull);
        }
        self.sources.retain(|_, level| !level.is_full(now));
        if self.sources.len() < self.config.max_sources {
            return Ok(());
        }
        self.crowded_until = self.sources.values().map(Level::full_at).min().unwrap_or(now);
        Err(Reason::SourcesFull)
    }

    /// The next reply to write and send; pass it to [`Server::fill_reply`].
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.pending.pop_front()
    }

    /// Puts a reply back that found no send buffer: it is the next one again. When others have taken its place meanwhile, it
    /// is dropped and counted, and its asker will ask again.
    pub fn put_back(&mut self, reply: Reply) {
        if self.pending.len() < self.config.max_pending {
            self.pending.push_front(reply);
        } else {
            self.stats.silent[Reason::PendingFull as usize] += 1;
        }
    }

    /// Writes a reply into `buffer` and gives its length; 0 when nothing is to be sent.
    ///
    /// `messages` is called once and pushes messages, numbers rising from [`Reply::first`], until `push` answers
    /// `false`: the reply holds as many as completely fit, and no more than were asked for.
    pub fn fill_reply(
        &mut self,
        reply: &Reply,
        buffer: &mut [u8],
        messages: impl FnOnce(&mut dyn FnMut(SeqNo, &[u8]) -> bool),
    ) -> usize {
        let size = self.config.max_datagram_bytes.min(buffer.len());
        let mut len = 0;
        if let Ok(mut packer) = Packer::new(&mut buffer[..size], self.config.session, reply.first) {
            messages(&mut |seq, message| {
                packer.count() < reply.count && seq == packer.next() && packer.try_push(message)
            });
            let count = packer.count();
            if count > 0 {
                len = packer.finish();
                self.stats.replies += 1;
                self.stats.messages += u64::from(count);
                self.stats.bytes += len as u64;
            } else {
                self.stats.empty_replies += 1;
            }
        }
        let unused = self.config.max_datagram_bytes - len;
        if let Some(level) = self.sources.get_mut(reply.to.ip()) {
            level.give_back(&self.config.per_source, unused);
        }
        self.total.give_back(&self.config.total, unused);
        len
    }

    /// Size of the largest reply: what to ask the driver for.
    pub fn max_datagram_bytes(&self) -> usize {
        self.config.max_datagram_bytes
    }

    /// Answers for `session` from now on; what waits to be sent of another one is dropped.
    pub fn on_session(&mut self, session: Session) {
        if session != self.config.session {
            self.config.session = session;
            self.pending.clear();
            self.early.clear();
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> &ServerStats {
        &self.stats
    }
}

impl ServerConfig {
    fn check(&self) -> Result<(), ServerConfigError> {
        let within = |setting, actual: u64, min: u64, max: u64| {
            let error = ServerConfigError { setting, actual, min, max };
            if (min..=max).contains(&actual) { Ok(()) } else { Err(error) }
        };
        let max_bytes = MAX_DATAGRAM_BYTES as u64;
        within("max_datagram_bytes", self.max_datagram_bytes as u64, MIN_DATAGRAM_BYTES, max_bytes)?;
        within("max_sources", self.max_sources as u64, 1, MAX_SOURCES)?;
        within("max_pending", self.max_pending as u64, 1, MAX_PENDING)?;
        for (bucket, datagrams, bytes) in [
            (&self.per_source, "per_source.datagrams_per_s", "per_source.bytes_per_s"),
            (&self.total, "total.datagrams_per_s", "total.bytes_per_s"),
        ] {
            within(datagrams, bucket.datagrams_per_s, 1, u64::MAX)?;
            within(bytes, bucket.bytes_per_s, 1, u64::MAX)?;
        }
        Ok(())
    }
}
