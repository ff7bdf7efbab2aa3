//! A link to a server.

use seqcast_wire::soup::{LoginAccepted, LoginRequest, MAX_PACKET_BYTES, Packet};
use seqcast_wire::{Alpha, SeqNo, Session};

use super::pipe::Pipe;
use super::stream::{Input, Taken};
use super::{Closing, Fault, Timing};
use crate::time::Nanos;

/// What a client says about itself and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub username: Alpha<6>,
    /// Password.
    pub password: Alpha<10>,
    /// Session, or [`Session::BLANK`] for the current one.
    pub session: Session,
    /// Number of the first message wanted; `None` for the most recent one.
    pub next: Option<SeqNo>,
}

/// What a server tells, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The login was accepted: messages of `session` follow, from number `next` on.
    Accepted {
        /// The session.
        session: Session,
        /// Number of the first message.
        next: SeqNo,
    },
    /// The next message.
    Message {
        /// Its number.
        seq: SeqNo,
        /// Its bytes, borrowed for the call.
        bytes: &'a [u8],
    },
    /// A message without a number.
    Unsequenced(&'a [u8]),
    /// The session is over; `next` would have come next.
    End {
        /// Number that follows the last message.
        next: SeqNo,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The login is on its way.
    Asked,
    Up,
    Closing(Closing),
}

/// A link to a server: a new one has its login in the output.
#[derive(Debug)]
pub struct Link {
    stage: Stage,
    input: Input,
    pipe: Pipe,
    login: Login,
}

impl Link {
    /// A link to a server that was connected to at `now`.
    pub fn new(timing: Timing, login: Login, now: Nanos) -> Link {
        let mut link = Link {
            stage: Stage::Asked,
            input: Input::new(MAX_PACKET_BYTES),
            pipe: Pipe::new(timing, 2 * MAX_PACKET_BYTES, now),
            login,
        };
        let Login { username, password, session, next } = login;
        let request = LoginRequest { username, password, session, next, heartbeat_timeout: None };
        link.pipe.try_send(now, &Packet::LoginRequest(request));
        link
    }

    /// Takes bytes that arrived, gives what they tell to `on_event`, and gives how many bytes were used. `on_event` answers
    /// `false` when it has no room: the event has not been taken, the rest of `bytes` has not been used, and both
    /// are to be offered again (with the same bytes, or none, to start with).
    pub fn on_bytes(
        &mut self,
        now: Nanos,
        bytes: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> bool,
    ) -> usize {
        if let Stage::Closing(_) = self.stage {
            return bytes.len();
        }
        if !bytes.is_empty() || self.input.is_waiting() {
            self.pipe.on_received(now);
        }
        let (stage, login) = (&mut self.stage, &mut self.login);
        let read = self.input.read(bytes, |packet| on_packet(packet, stage, login, &mut on_event));
        match read {
            Ok(used) => used,
            Err(fault) => {
                self.stage = Stage::Closing(Closing::Fault(fault));
                bytes.len()
            }
        }
    }

    /// Queues an unsequenced message; `false`, and nothing changed, when not logged in or the output is full.
    pub fn try_send(&mut self, now: Nanos, message: &[u8]) -> bool {
        self.is_up() && self.pipe.try_send(now, &Packet::Unsequenced(message))
    }

    /// Logs out: the link closes.
    pub fn log_out(&mut self, now: Nanos) {
        if self.closing().is_none() {
            self.pipe.try_send(now, &Packet::Logout);
            self.stage = Stage::Closing(Closing::LoggedOut);
        }
    }

    /// Runs timers: heartbeats, and closing a link that is silent or stalled.
    pub fn poll(&mut self, now: Nanos) {
        let is_open = self.closing().is_none();
        let expired = self.pipe.poll(now, is_open.then_some(&Packet::ClientHeartbeat));
        if let Some(closing) = expired.filter(|_| is_open) {
            self.stage = Stage::Closing(closing);
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

    /// Whether the login was accepted.
    pub fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Why the link is to be closed, when it is: as soon as the output is written.
    pub fn closing(&self) -> Option<Closing> {
        if let Stage::Closing(closing) = self.stage { Some(closing) } else { None }
    }

    /// Whether to close without waiting for the output: the server does not read it.
    pub fn is_abandoned(&self, now: Nanos) -> bool {
        self.closing().is_some() && self.pipe.is_stuck(now)
    }

    /// The login that continues where this link stands: use it for the next one after this broke.
    pub fn resume(&self) -> Login {
        self.login
    }
}

/// Takes a packet in: `login` follows what has been received.
fn on_packet(
    packet: Packet<'_>,
    stage: &mut Stage,
    login: &mut Login,
    on_event: &mut impl FnMut(Event<'_>) -> bool,
) -> Result<Taken, Fault> {
    let offer = |is_taken: bool| if is_taken { Taken::Yes } else { Taken::NotNow };
    match (packet, *stage) {
        (_, Stage::Closing(_)) | (Packet::ServerHeartbeat | Packet::Debug(_) | Packet::Unknown { .. }, _) => {
            Ok(Taken::Yes)
        }
        (Packet::LoginAccepted(LoginAccepted { session, next }), Stage::Asked) => {
            let taken = offer(on_event(Event::Accepted { session, next }));
            if taken == Taken::Yes {
                *stage = Stage::Up;
                (login.session, login.next) = (session, Some(next));
            }
            Ok(taken)
        }
        (Packet::LoginRejected(reason), Stage::Asked) => {
            *stage = Stage::Closing(Closing::Rejected(reason));
            Ok(Taken::Yes)
        }
        (Packet::Sequenced(bytes), Stage::Up) => {
            let seq = login.next.ok_or(Fault::Numbers)?;
            let after = seq.checked_add(1).ok_or(Fault::Numbers)?;
            let taken = offer(on_event(Event::Message { seq, bytes }));
            if taken == Taken::Yes {
                login.next = Some(after);
            }
            Ok(taken)
        }
        (Packet::Unsequenced(bytes), Stage::Up) => Ok(offer(on_event(Event::Unsequenced(bytes)))),
        (Packet::EndOfSession, Stage::Up) => {
            let next = login.next.ok_or(Fault::Numbers)?;
            let taken = offer(on_event(Event::End { next }));
            if taken == Taken::Yes {
                *stage = Stage::Closing(Closing::Ended);
            }
            Ok(taken)
        }
        (packet, _) => Err(Fault::OutOfTurn { kind: packet.kind() }),
    }
}
