//! The primary's end of the stream to one peer.

use seqcast_wire::repl::{self, Head, Origin, Packer, Position, Reach};
use seqcast_wire::{SeqNo, Session};

use super::config::{StreamConfig, StreamConfigError};
use super::flight::Flight;
use super::lag::{Lag, LagMeter};
use super::member::{Member, NodeId};
use super::position;
use super::stats::OutboundStats;
use crate::frame::{Chain, Frame, SourceState};
use crate::limits::MAX_DATAGRAM_BYTES;
use crate::time::Nanos;

/// The primary's journal, as one peer's stream reads it.
pub trait History {
    /// Where the history stands before the frame numbered `next`, an end of the session not counted in. `None` when it
    /// does not go that far, or the journal no longer reaches back.
    fn position_at(&mut self, next: SeqNo) -> Option<Position>;

    /// Where the history ends.
    fn tail(&self) -> Position;

    /// Goes to before the frame numbered `seq`, which may be still to come; `false` when the journal no longer reaches
    /// back.
    fn seek(&mut self, seq: SeqNo) -> bool;

    /// The whole frame that comes next; `None` when there is none yet. Gives the same until [`History::advance`].
    fn peek(&mut self) -> Option<&[u8]>;

    /// Moves past the frame that [`History::peek`] gave.
    fn advance(&mut self);
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Tell the gate: `member` has everything up to `verified`, as durable as configured, in this epoch. The
    /// incarnation is the one that the acknowledgement names; whether it counts is the gate's to say.
    Verified {
        /// Who acknowledged.
        member: Member,
        /// What it has.
        verified: Reach,
    },
    /// The peer cannot be served from the journal, which no longer reaches back to where the peer is. It needs an image.
    NeedsImage {
        /// Who needs it.
        member: Member,
        /// Where its journal ends.
        tail: Reach,
    },
    /// The peer is there and follows nobody.
    Hello {
        /// Who it is.
        member: Member,
        /// Where its journal ends.
        tail: Position,
        /// How far is committed, as it knows it.
        committed: Reach,
    },
    /// The peer still follows an older epoch.
    Stale,
    /// The peer follows a higher epoch: this node is not the primary any more.
    HigherEpoch(u64),
    /// Another session or another node: forged, or a mistake in the configuration.
    Foreign,
    /// It acknowledges what was never sent: forged, or the peer's history is another one.
    Ahead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The peer has said nothing in this epoch.
    Unknown,
    /// Frames go out.
    Streaming,
    /// The journal no longer reaches back to where the peer is.
    NeedsImage,
}

/// Streams the primary's history of one epoch to one peer.
///
/// The peer says where its journal ends and what of it is verified. If its end is a position of this history, the
/// stream goes on from there; else from what is verified, and the peer finds the difference itself. Frames go out
/// in order within a window of bytes. Heartbeats name the last position sent, so that the peer finds out what it
/// lost, and only what it asks for is sent again: to a dead peer nothing goes but heartbeats.
#[derive(Debug)]
pub struct Outbound {
    config: StreamConfig,
    origin: Origin,
    peer: NodeId,
    state: State,
    /// Incarnation of the peer that the stream goes to.
    incarnation: u64,
    /// The peer has everything up to here in memory, verified or about to be.
    received: Reach,
    /// When the peer last said so.
    confirmed_at: Nanos,
    /// How far frames were sent.
    sent: Position,
    /// Where the history stands.
    cursor: Position,
    /// The cursor is behind `sent`: frames up to here are sent once more.
    repair: Option<Reach>,
    /// How far, and when, frames were last sent once more.
    repaired: (Reach, Nanos),
    flight: Flight,
    /// How far this node's journal goes.
    end: Reach,
    lag: LagMeter,
    heartbeat_due: Nanos,
    /// What datagrams say of this primary's hearing.
    is_deaf: bool,
    image_due: Nanos,
    stats: OutboundStats,
}

impl Outbound {
    /// The stream of `me`, primary of `epoch`, to `peer`. Heartbeats go out at once, frames when the peer follows.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(
        config: &StreamConfig,
        me: Member,
        session: Session,
        epoch: u64,
        peer: NodeId,
    ) -> Result<Outbound, StreamConfigError> {
        config.check()?;
        Ok(Outbound {
            origin: Origin { session, epoch, node: me.node.0, incarnation: me.incarnation },
            peer,
            state: State::Unknown,
            incarnation: 0,
            received: Reach::NOTHING,
            confirmed_at: Nanos::ZERO,
            sent: Position::START,
            cursor: Position::START,
            repair: None,
            repaired: (Reach::NOTHING, Nanos::ZERO),
            flight: Flight::new(),
            end: Reach::NOTHING,
            lag: LagMeter::new(config.retransmit_after),
            heartbeat_due: Nanos::ZERO,
            is_deaf: false,
            image_due: Nanos::ZERO,
            stats: OutboundStats::default(),
            config: config.clone(),
        })
    }

    /// The peer.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// What datagrams say from now on: whether this primary can not go on by itself.
    pub fn say_deaf(&mut self, is_deaf: bool) {
        self.is_deaf = is_deaf;
    }

    /// Size of the largest datagram that [`Outbound::poll`] writes: what to ask the driver for. Most are packed to
    /// [`StreamConfig::max_datagram_bytes`].
    pub fn max_datagram_bytes(&self) -> usize {
        MAX_DATAGRAM_BYTES
    }

    /// Takes an acknowledgement of the peer, in whatever order they come.
    pub fn on_ack(&mut self, now: Nanos, ack: &repl::Ack, history: &mut impl History) -> AckOutcome {
        let from = &ack.origin;
        if from.session != self.origin.session || from.node != self.peer.0 {
            self.stats.foreign_acks += 1;
            return AckOutcome::Foreign;
        }
        let member = Member { node: self.peer, incarnation: from.incarnation };
        if from.epoch == 0 {
            return AckOutcome::Hello { member, tail: ack.tail, committed: ack.committed };
        }
        if from.epoch != self.origin.epoch {
            self.stats.other_epoch_acks += 1;
            let is_higher = from.epoch > self.origin.epoch;
            return if is_higher { AckOutcome::HigherEpoch(from.epoch) } else { AckOutcome::Stale };
        }
        if !ack.received.is_part_of(self.end) {
            self.stats.foreign_acks += 1;
            return AckOutcome::Ahead;
        }
        self.stats.acks += 1;
        self.follow(now, ack, history);
        if self.state == State::NeedsImage {
            return AckOutcome::NeedsImage { member, tail: ack.tail.at };
        }
        AckOutcome::Verified { member, verified: ack.verified }
    }

    /// Lets the stream go where the peer is.
    fn follow(&mut self, now: Nanos, ack: &repl::Ack, history: &mut impl History) {
        if ack.needs_image {
            self.incarnation = ack.origin.incarnation;
            self.lag.on_verified(now, Reach::NOTHING);
            self.state = State::NeedsImage;
            return;
        }
        let resume = resume_at(ack, history);
        let is_known = self.state == State::Streaming && ack.origin.incarnation == self.incarnation;
        if is_known && resume >= self.received {
            self.confirmed_at = now;
            self.received = resume;
            self.flight.on_acked(resume);
            self.lag.on_verified(now, ack.verified.max(self.lag.verified()));
            if resume > self.sent.at {
                self.start(resume, history);
            } else if let Some(wanted) = ack.wanted {
                self.repair(now, wanted, history);
            }
        } else if self.state == State::Streaming
            && now.since(self.confirmed_at) < self.config.retransmit_after
        {
            // Overtaken by the acknowledgement that said more. If the peer really has less, it goes on saying so.
            self.stats.overtaken_acks += 1;
        } else {
            self.incarnation = ack.origin.incarnation;
            self.confirmed_at = now;
            self.lag.on_verified(now, ack.verified);
            self.start(resume, history);
        }
    }

    fn start(&mut self, resume: Reach, history: &mut impl History) {
        self.flight.clear();
        self.repair = None;
        match position_of(history, resume) {
            Some(position) if self.go_to(position, history) => {
                self.stats.starts += 1;
                self.state = State::Streaming;
                self.received = resume;
                self.sent = position;
                self.repaired = (resume, Nanos::ZERO);
                // Even when there is nothing to send: it tells the peer which position to verify.
                self.heartbeat_due = Nanos::ZERO;
            }
            _ => self.state = State::NeedsImage,
        }
    }

    /// Who needs an image, if the peer does.
    pub fn needs_image(&self) -> Option<Member> {
        let member = Member { node: self.peer, incarnation: self.incarnation };
        (self.state == State::NeedsImage).then_some(member)
    }

    /// Writes an image for a peer that needs one into `buffer` and gives its length; 0 when none is due. `chain` is a
    /// committed point of this history from which on the journal has everything. It is said again and again until the peer
    /// is there with a journal that begins with it. The peer drops its journal for it: so it is for nobody whose
    /// acknowledgements count.
    pub fn poll_image(&mut self, now: Nanos, chain: &Chain, buffer: &mut [u8]) -> usize {
        if self.state != State::NeedsImage || now < self.image_due {
            return 0;
        }
        let said = chain.sources().iter().rposition(|source| *source != SourceState::NONE);
        let sources = chain.sources().iter().take(said.map_or(0, |at| at + 1));
        let len = repl::emit_image(
            &self.origin,
            &Position::from(chain),
            chain.stamp_ns(),
            self.incarnation,
            sources.map(|source| (source.next, source.session)),
            buffer,
            crc32c::crc32c,
        );
        if len > 0 {
            self.image_due = now + self.config.retransmit_after;
            self.stats.images += 1;
            self.on_written(now, len);
        }
        len
    }

    /// Goes back to send again what the peer asks for, unless that was sent again a moment ago.
    fn repair(&mut self, now: Nanos, wanted: Reach, history: &mut impl History) {
        let wanted = wanted.min(self.sent.at);
        let (repaired, repaired_at) = self.repaired;
        let is_answered = now.since(repaired_at) < self.config.retransmit_after;
        let from = if is_answered { self.received.max(repaired) } else { self.received };
        if self.repair.is_some() || from >= wanted {
            return;
        }
        match position_of(history, from) {
            Some(position) if self.go_to(position, history) => self.repair = Some(wanted),
            _ => self.state = State::NeedsImage,
        }
    }

    /// Moves the cursor; `false` when the journal no longer reaches back.
    fn go_to(&mut self, position: Position, history: &mut impl History) -> bool {
        if !history.seek(position.at.next) {
            return false;
        }
        if position.at.ended {
            if history.peek().is_none() {
                return false;
            }
            history.advance();
        }
        self.cursor = position;
        true
    }

    /// Writes the next datagram into `buffer` and gives its length; 0 when nothing is due. `head` is how far this
    /// primary is: it never goes back within the epoch. Call in every duty cycle, until 0.
    pub fn poll(&mut self, now: Nanos, head: &Head, history: &mut impl History, buffer: &mut [u8]) -> usize {
        self.end = head.end;
        self.lag.poll(now, head.end);
        if let Some(until) = self.repair {
            let len = self.send_again(now, until, head, history, buffer);
            if len > 0 {
                return len;
            }
        }
        if self.state == State::Streaming && self.cursor.at < head.end {
            let len = self.send(now, head, history, buffer);
            if len > 0 {
                return len;
            }
        }
        if now < self.heartbeat_due {
            return 0;
        }
        let position = if self.state == State::Streaming { self.sent } else { Position::START };
        let Ok(packer) = Packer::new(buffer) else { return 0 };
        let len = packer.finish(&self.origin, &position, head, self.is_deaf, crc32c::crc32c);
        self.stats.heartbeats += 1;
        self.on_written(now, len);
        len
    }

    fn send_again(
        &mut self,
        now: Nanos,
        until: Reach,
        head: &Head,
        history: &mut impl History,
        buffer: &mut [u8],
    ) -> usize {
        let len = self.pack(until, usize::MAX, head, history, buffer);
        if len > 0 {
            self.stats.repeated_datagrams += 1;
            self.on_written(now, len);
        }
        if len == 0 || self.cursor.at >= until {
            self.repair = None;
            self.repaired = (self.cursor.at, now);
            if !self.go_to(self.sent, history) {
                self.state = State::NeedsImage;
            }
        }
        len
    }

    fn send(&mut self, now: Nanos, head: &Head, history: &mut impl History, buffer: &mut [u8]) -> usize {
        let in_flight = self.flight.bytes();
        let room = match self.config.window_bytes.saturating_sub(in_flight) {
            _ if in_flight == 0 => usize::MAX,
            room if room < self.config.max_datagram_bytes => {
                self.stats.window_waits += 1;
                return 0;
            }
            room => room,
        };
        let len = self.pack(head.end, room, head, history, buffer);
        if len > 0 {
            self.sent = self.cursor;
            self.flight.on_sent(self.sent.at, len);
            self.on_written(now, len);
        }
        len
    }

    /// Packs frames from the cursor on, up to `until`: as many as fit a datagram, or one alone that is larger but has
    /// no more than `room` bytes. Gives the datagram's length; 0 without a frame.
    fn pack(
        &mut self,
        until: Reach,
        room: usize,
        head: &Head,
        history: &mut impl History,
        buffer: &mut [u8],
    ) -> usize {
        let previous = self.cursor;
        let Ok(mut packer) = Packer::new(buffer) else { return 0 };
        while self.cursor.at < until {
            let Some(frame) = history.peek().and_then(|bytes| Frame::view(bytes).ok()) else { break };
            let len = packer.datagram_bytes() + frame.framed_bytes();
            let limit = if packer.is_empty() { room } else { self.config.max_datagram_bytes };
            if len > limit {
                break;
            }
            if !packer.try_push(frame.bytes()) {
                self.stats.oversize += u64::from(packer.is_empty());
                break;
            }
            self.cursor = position::behind(&frame);
            self.stats.frames += 1;
            history.advance();
        }
        if packer.is_empty() {
            self.check_cursor(history);
            return 0;
        }
        packer.finish(&self.origin, &previous, head, self.is_deaf, crc32c::crc32c)
    }

    /// There is no frame at the cursor: what comes next was removed while the peer took its time, perhaps.
    fn check_cursor(&mut self, history: &mut impl History) {
        if history.peek().is_none() && position_of(history, self.cursor.at).is_none() {
            self.state = State::NeedsImage;
        }
    }

    fn on_written(&mut self, now: Nanos, len: usize) {
        self.stats.datagrams += 1;
        self.stats.bytes += len as u64;
        self.heartbeat_due = now + self.config.heartbeat;
    }

    /// Who the stream goes to and how far it has the history of this epoch, as durable as configured; `None` while
    /// nothing is streamed.
    pub fn verified(&self) -> Option<(Member, Reach)> {
        let member = Member { node: self.peer, incarnation: self.incarnation };
        (self.state == State::Streaming).then(|| (member, self.lag.verified()))
    }

    /// How far the peer is behind, as of the last [`Outbound::poll`].
    pub fn lag(&self, now: Nanos) -> Lag {
        self.lag.lag(now)
    }

    /// Whether the peer follows and verified all that there was [`StreamConfig::caught_up_within`] ago.
    pub fn is_caught_up(&self, now: Nanos) -> bool {
        self.state == State::Streaming && self.lag.lag(now).age <= self.config.caught_up_within
    }

    /// Bytes of datagrams on their way to the peer.
    pub fn in_flight_bytes(&self) -> usize {
        self.flight.bytes()
    }

    /// What was counted so far.
    pub fn stats(&self) -> &OutboundStats {
        &self.stats
    }
}

/// Up to where the peer need not be sent anything: the end of its journal if that is a position of this history, or else
/// what it verified.
fn resume_at(ack: &repl::Ack, history: &mut impl History) -> Reach {
    let tail = ack.tail;
    if tail.at > ack.received && position_of(history, tail.at) == Some(tail) {
        return tail.at;
    }
    ack.received
}

fn position_of(history: &mut impl History, at: Reach) -> Option<Position> {
    if at.ended { Some(history.tail()).filter(|tail| tail.at == at) } else { history.position_at(at.next) }
}
