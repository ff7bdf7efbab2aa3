//! The sender.

use seqcast_wire::mold::{self, Packer};
use seqcast_wire::{SeqNo, Session};

use super::pacer::{Pacer, Pacing};
use crate::limits::{ETHERNET_PAYLOAD_BYTES, MAX_DATAGRAM_BYTES};
use crate::time::Nanos;

const MIN_DATAGRAM_BYTES: usize = mold::HEADER_BYTES + mold::BLOCK_HEADER_BYTES + 1;

/// Where a sender's messages come from: a ring, a journal, a publisher's history.
pub trait MessageSource {
    /// The next message that may be published and its number; `None` when there is none now. Gives the same until
    /// [`MessageSource::advance`].
    fn peek(&mut self) -> Option<(SeqNo, &[u8])>;

    /// Moves past the message that [`MessageSource::peek`] gave.
    fn advance(&mut self);

    /// Packs the next messages, as long as they fit and follow one another, and moves past them.
    #[inline]
    fn pack(&mut self, packer: &mut Packer<'_>) {
        while let Some((seq, message)) = self.peek() {
            if seq != packer.next() || !packer.try_push(message) {
                break;
            }
            self.advance();
        }
    }
}

/// Settings of a send path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderConfig {
    /// Datagrams are packed up to this size (UDP payload).
    pub max_datagram_bytes: usize,
    /// Heartbeats when idle come this often.
    pub heartbeat: Nanos,
    /// Heartbeats come this long after the last message, then twice, four times, … as long after it, until they are
    /// `heartbeat` apart: a lost last message is found this soon. Equal to `heartbeat` turns that off.
    pub first_heartbeat: Nanos,
    /// Rate of datagrams with messages; `None`: as fast as the driver takes them.
    pub pacing: Option<Pacing>,
    /// How long the end of the session is repeated: the last chance to request what was lost.
    pub linger: Nanos,
}

impl Default for SenderConfig {
    fn default() -> SenderConfig {
        SenderConfig {
            max_datagram_bytes: ETHERNET_PAYLOAD_BYTES,
            heartbeat: Nanos::from_secs(1),
            first_heartbeat: Nanos::from_millis(1),
            pacing: None,
            linger: Nanos::from_secs(30),
        }
    }
}

/// A [`SenderConfig`] that cannot work, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderConfigError {
    /// No message fits, or no driver carries it.
    #[error(
        "datagram size is {actual} bytes, must be {MIN_DATAGRAM_BYTES} to {MAX_DATAGRAM_BYTES} (UDP payload)"
    )]
    DatagramBytes {
        /// As configured.
        actual: usize,
    },
    /// Heartbeats would never come, or without end.
    #[error("first heartbeat after {first}, then every {interval}: must be above zero, the first not longer")]
    Heartbeat {
        /// As configured.
        first: Nanos,
        /// As configured.
        interval: Nanos,
    },
    /// Nothing could ever be sent.
    #[error("pacing to 0 bytes per second: leave pacing out to send without a limit")]
    Pacing,
}

/// What a sender counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// Datagrams written, of all kinds.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages in them.
    pub messages: u64,
    /// Heartbeats among the datagrams.
    pub heartbeats: u64,
    /// Ends of session among the datagrams.
    pub ends: u64,
    /// Times that messages were there but had to wait for the pace.
    pub paced: u64,
    /// Times that the next message did not fit an empty datagram: the feed stands still, because a number cannot be
    /// left out. See [`Sender::max_message_bytes`].
    pub oversize: u64,
}

/// The longest message that fits a datagram of `datagram_bytes`.
pub const fn max_message_bytes(datagram_bytes: usize) -> usize {
    datagram_bytes.saturating_sub(mold::HEADER_BYTES + mold::BLOCK_HEADER_BYTES)
}

/// The send path of one feed.
#[derive(Debug)]
pub struct Sender {
    session: Session,
    next: SeqNo,
    max_datagram_bytes: usize,
    heartbeat: Nanos,
    first_heartbeat: Nanos,
    linger: Nanos,
    pacer: Pacer,
    /// When the next datagram without messages is due.
    idle_due: Nanos,
    /// What the time between two of them is now.
    idle_interval: Nanos,
    ending: Ending,
    stats: SenderStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// As soon as the source is empty.
    Asked,
    /// The end of the session was first sent then.
    Since(Nanos),
}

impl Sender {
    /// A sender of `session` whose next message has number `next`. It says so at once, with a heartbeat, when no
    /// message is there.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: &SenderConfig, session: Session, next: SeqNo) -> Result<Sender, SenderConfigError> {
        let actual = config.max_datagram_bytes;
        if !(MIN_DATAGRAM_BYTES..=MAX_DATAGRAM_BYTES).contains(&actual) {
            return Err(SenderConfigError::DatagramBytes { actual });
        }
        let (first, interval) = (config.first_heartbeat, config.heartbeat);
        if first == Nanos::ZERO || first > interval {
            return Err(SenderConfigError::Heartbeat { first, interval });
        }
        if config.pacing.is_some_and(|pacing| pacing.bytes_per_s == 0) {
            return Err(SenderConfigError::Pacing);
        }
        Ok(Sender {
            session,
            next,
            max_datagram_bytes: config.max_datagram_bytes,
            heartbeat: config.heartbeat,
            first_heartbeat: config.first_heartbeat,
            linger: config.linger,
            pacer: Pacer::new(config.pacing),
            idle_due: Nanos::ZERO,
            idle_interval: config.first_heartbeat,
            ending: Ending::No,
            stats: SenderStats::default(),
        })
    }

    /// The longest message that fits a datagram. Refuse longer ones before they get a number.
    pub fn max_message_bytes(&self) -> usize {
        max_message_bytes(self.max_datagram_bytes)
    }

    /// Size of the largest datagram that [`Sender::fill`] writes: what to ask the driver for.
    pub fn max_datagram_bytes(&self) -> usize {
        self.max_datagram_bytes
    }

    /// Whether [`Sender::fill`] would write something now; spares the claim of a send buffer when not.
    #[inline]
    pub fn due(&self, now: Nanos, has_messages: bool) -> bool {
        (has_messages && self.pacer.is_open(now)) || (now >= self.idle_due && !self.finished(now))
    }

    /// Writes the next datagram into `buffer` and gives its length; 0 when nothing is to be sent now. Call until 0.
    #[inline]
    pub fn fill(&mut self, now: Nanos, source: &mut impl MessageSource, buffer: &mut [u8]) -> usize {
        let size = self.max_datagram_bytes.min(buffer.len());
        let buffer = &mut buffer[..size];
        let mut exhausted = false;
        if source.peek().is_some() {
            if self.pacer.is_open(now) {
                let len = self.pack(now, source, buffer);
                if len > 0 {
                    return len;
                }
            } else {
                self.stats.paced += 1;
            }
        } else {
            exhausted = true;
        }
        self.fill_idle(now, exhausted, buffer)
    }

    fn pack(&mut self, now: Nanos, source: &mut impl MessageSource, buffer: &mut [u8]) -> usize {
        let Some((first, _)) = source.peek() else { return 0 };
        let Ok(mut packer) = Packer::new(buffer, self.session, first) else { return 0 };
        source.pack(&mut packer);
        let count = packer.count();
        if count == 0 {
            self.stats.oversize += 1;
            return 0;
        }
        self.next = packer.next();
        let len = packer.finish();
        self.stats.messages += u64::from(count);
        self.pacer.on_sent(now, len);
        self.on_written(len);
        self.idle_interval = self.first_heartbeat;
        self.idle_due = now + self.idle_interval;
        if self.ending != Ending::No {
            self.ending = Ending::Asked;
            self.idle_due = now;
        }
        len
    }

    fn fill_idle(&mut self, now: Nanos, exhausted: bool, buffer: &mut [u8]) -> usize {
        if now < self.idle_due || self.finished(now) {
            return 0;
        }
        let ends = exhausted && self.ending != Ending::No;
        let len = if ends {
            mold::emit_end_of_session(buffer, self.session, self.next)
        } else {
            mold::emit_heartbeat(buffer, self.session, self.next)
        };
        if len == 0 {
            return 0;
        }
        if ends {
            self.stats.ends += 1;
            if self.ending == Ending::Asked {
                self.ending = Ending::Since(now);
            }
        } else {
            self.stats.heartbeats += 1;
        }
        self.pacer.on_sent(now, len);
        self.on_written(len);
        self.idle_due = now + self.idle_interval;
        self.idle_interval = (self.idle_interval + self.idle_interval).min(self.heartbeat);
        len
    }

    fn on_written(&mut self, len: usize) {
        self.stats.datagrams += 1;
        self.stats.bytes += len as u64;
    }

    /// Goes on at number `next` if that is further on: what lies before it was sent in an earlier life of this feed, and
    /// need not be sent again.
    pub fn skip_to(&mut self, next: SeqNo) {
        self.next = self.next.max(next);
    }

    /// Ends the session: after the last message of the source, and without delay, the end of session is sent in place
    /// of heartbeats for the linger time. No effect when it is ending already.
    pub fn end(&mut self, now: Nanos) {
        if self.ending == Ending::No {
            self.ending = Ending::Asked;
            self.idle_interval = self.first_heartbeat;
            self.idle_due = now;
        }
    }

    /// Somebody still asks for what was lost: once the session was ended, its linger time begins anew.
    pub fn linger_on(&mut self, now: Nanos) {
        if let Ending::Since(first) = &mut self.ending {
            *first = now;
        }
    }

    /// Whether the session was ended and its linger time is over: nothing is sent any more.
    pub fn finished(&self, now: Nanos) -> bool {
        matches!(self.ending, Ending::Since(first) if now.since(first) >= self.linger)
    }

    /// Number of the next message.
    pub fn next(&self) -> SeqNo {
        self.next
    }

    /// The session.
    pub fn session(&self) -> Session {
        self.session
    }

    /// Whether the session has no numbers left: its messages end at the last but one of 64 bits. End it.
    pub fn is_exhausted(&self) -> bool {
        self.next == SeqNo::MAX
    }

    /// What was counted so far.
    pub fn stats(&self) -> &SenderStats {
        &self.stats
    }
}
