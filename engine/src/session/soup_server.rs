//! One client's link at a server.

use seqcast_wire::soup::{LoginAccepted, LoginRequest, MAX_PACKET_BYTES, Packet, RejectReason};
use seqcast_wire::{SeqNo, Session};

use super::pipe::Pipe;
use super::stream::{Input, Taken};
use super::{Closing, Fault, Timing};
use crate::time::Nanos;

/// Settings of a server's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Times.
    pub timing: Timing,
    /// Bytes that may wait to be written to one client; raised to the longest packet when less.
    pub output_bytes: usize,
    /// Longest packet taken from a client; raised to a login when less.
    pub max_input_bytes: usize,
}

impl Default for LinkConfig {
    fn default() -> LinkConfig {
        LinkConfig { timing: Timing::default(), output_bytes: 256 << 10, max_input_bytes: 4 << 10 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for a login request since then.
    Fresh(Nanos),
    /// Waits for [`Link::accept`] or [`Link::reject`].
    Asked(LoginRequest),
    Up,
    Closing(Closing),
}

/// One client's link: a new one waits for a login.
#[derive(Debug)]
pub struct Link {
    stage: Stage,
    input: Input,
    pipe: Pipe,
    next: SeqNo,
}

/// Shortest input buffer: a login of version 4.10.
const MIN_INPUT_BYTES: usize = seqcast_wire::soup::LOGIN_REQUEST_4_10_BYTES;

impl Link {
    /// The link of a client that connected at `now`.
    pub fn new(config: &LinkConfig, now: Nanos) -> Link {
        Link {
            stage: Stage::Fresh(now),
            input: Input::new(config.max_input_bytes.max(MIN_INPUT_BYTES)),
            pipe: Pipe::new(config.timing, config.output_bytes.max(MAX_PACKET_BYTES), now),
            next: SeqNo::FIRST,
        }
    }

    /// Takes bytes that arrived, and gives the client's unsequenced messages to `on_message`. Then look for
    /// [`Link::login`].
    pub fn on_bytes(&mut self, now: Nanos, bytes: &[u8], mut on_message: impl FnMut(&[u8])) {
        if let Stage::Closing(_) = self.stage {
            return;
        }
        if !bytes.is_empty() {
            self.pipe.on_received(now);
        }
        let stage = &mut self.stage;
        let read = self.input.read(bytes, |packet| {
            match (packet, *stage) {
                (_, Stage::Closing(_))
                | (Packet::ClientHeartbeat | Packet::Debug(_) | Packet::Unknown { .. }, _) => {}
                (Packet::Logout, _) => *stage = Stage::Closing(Closing::LoggedOut),
                (Packet::LoginRequest(request), Stage::Fresh(_)) => *stage = Stage::Asked(request),
                (Packet::Unsequenced(message), Stage::Up) => on_message(message),
                (packet, _) => return Err(Fault::OutOfTurn { kind: packet.kind() }),
            }
            Ok(Taken::Yes)
        });
        if let Err(fault) = read {
            self.close(Closing::Fault(fault));
        }
    }

    /// The login that waits to be judged; answer with [`Link::accept`] or [`Link::reject`].
    pub fn login(&self) -> Option<&LoginRequest> {
        if let Stage::Asked(request) = &self.stage { Some(request) } else { None }
    }

    /// Accepts the login: messages of `session` follow, from number `next` on.
    pub fn accept(&mut self, now: Nanos, session: Session, next: SeqNo) {
        if let Stage::Asked(_) = self.stage
            && self.pipe.try_send(now, &Packet::LoginAccepted(LoginAccepted { session, next }))
        {
            self.stage = Stage::Up;
            self.next = next;
        }
    }

    /// Rejects the login; the link closes.
    pub fn reject(&mut self, now: Nanos, reason: RejectReason) {
        if let Stage::Asked(_) = self.stage {
            self.pipe.try_send(now, &Packet::LoginRejected(reason));
            self.close(Closing::Rejected(reason));
        }
    }

    /// Whether the client is logged in.
    pub fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Number of the message that the client needs next.
    pub fn next(&self) -> SeqNo {
        self.next
    }

    /// Queues the message with number [`Link::next`]; `false`, and nothing changed, when the link is not up, the output is
    /// full (the client is slow: try again later, or close), the message is longer than a packet, or there are no numbers
    /// left.
    pub fn try_send(&mut self, now: Nanos, message: &[u8]) -> bool {
        let Some(after) = self.next.checked_add(1) else { return false };
        let sent = self.is_up() && self.pipe.try_send(now, &Packet::Sequenced(message));
        if sent {
            self.next = after;
        }
        sent
    }

    /// Queues the end of the session, after which the link closes; `false` when the output is full.
    pub fn try_end(&mut self, now: Nanos) -> bool {
        let ended = self.is_up() && self.pipe.try_send(now, &Packet::EndOfSession);
        if ended {
            self.close(Closing::Ended);
        }
        ended
    }

    /// Runs timers: heartbeats, and closing a link that is silent, stalled, or without a login.
    pub fn poll(&mut self, now: Nanos) {
        let heartbeat = self.is_up().then_some(&Packet::ServerHeartbeat);
        let expired = self.pipe.poll(now, heartbeat);
        let is_late =
            matches!(self.stage, Stage::Fresh(since) if now.since(since) >= self.pipe.timing().login_timeout);
        let closing = if is_late { Some(Closing::NoLogin) } else { expired };
        if let Some(closing) = closing.filter(|_| self.closing().is_none()) {
            self.close(closing);
        }
    }

    /// Bytes to write to the socket.
    pub fn output(&self) -> &[u8] {
        self.pipe.output()
    }

    /// The first `count` bytes of the output have been written.
    pub fn on_written(&mut self, now: Nanos, count: usize) {
        self.pipe.on_written(now, count);
    }

    /// Why the link is to be closed, when it is: as soon as the output is written, or [`Link::is_abandoned`].
    pub fn closing(&self) -> Option<Closing> {
        if let Stage::Closing(closing) = self.stage { Some(closing) } else { None }
    }

    /// Whether to close without waiting for the output: the client does not read it.
    pub fn is_abandoned(&self, now: Nanos) -> bool {
        self.closing().is_some() && self.pipe.is_stuck(now)
    }

    fn close(&mut self, closing: Closing) {
        self.stage = Stage::Closing(closing);
    }
}
