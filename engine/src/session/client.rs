//! The client's end of a link.

use seqcast_wire::soup::{LoginRequest, MAX_PACKET_BYTES, Packet, RejectReason};
use seqcast_wire::{Alpha, Error, SeqNo, Session};

use super::Closed;
use super::input::Input;
use super::pipe::Pipe;
use crate::time::Nanos;

/// Room for a login, a heartbeat and a logout.
const OUTPUT_BYTES: usize = 128;

/// What to log in with.
#[derive(Clone)]
pub struct Login {
    /// User name, up to 6 characters.
    pub username: String,
    /// Password, up to 10 characters.
    pub password: String,
    /// Session; [`Session::BLANK`] for the current one.
    pub session: Session,
    /// Number of the first message wanted; `None` for the most recent one.
    pub next: Option<SeqNo>,
}

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// The login was accepted.
    Accepted {
        /// The session logged in to.
        session: Session,
        /// Number of the next message.
        next: SeqNo,
    },
    /// A sequenced message.
    Message {
        /// Its number, as counted from the login.
        seq: SeqNo,
        /// It.
        message: &'a [u8],
    },
    /// The session is over.
    EndOfSession,
}

/// A connection to a server. To resume after a lost connection, log in again with the number that is due.
pub struct ClientLink {
    input: Input,
    pipe: Pipe,
    /// Number of the next message; `None` until the login is accepted.
    next: Option<SeqNo>,
    closed: Option<Closed>,
}

impl ClientLink {
    /// A link that was just connected: it logs in.
    pub fn new(login: &Login, now: Nanos) -> ClientLink {
        let request = LoginRequest {
            username: Alpha::padded(&login.username),
            password: Alpha::padded(&login.password),
            session: login.session,
            next: login.next,
            heartbeat_timeout: None,
        };
        let mut pipe = Pipe::new(OUTPUT_BYTES, now);
        pipe.try_send(now, &Packet::LoginRequest(request));
        ClientLink { input: Input::new(MAX_PACKET_BYTES), pipe, next: None, closed: None }
    }

    /// Takes bytes of the connection, however they are cut.
    pub fn on_bytes(&mut self, now: Nanos, bytes: &[u8], mut on_event: impl FnMut(ClientEvent<'_>)) {
        if self.closed.is_some() {
            return;
        }
        self.pipe.on_heard(now);
        let ClientLink { input, next, .. } = self;
        let done = input.on_bytes(bytes, |packet| {
            match (packet, *next) {
                (Packet::LoginAccepted(accepted), None) => {
                    *next = Some(accepted.next);
                    on_event(ClientEvent::Accepted { session: accepted.session, next: accepted.next });
                }
                (Packet::LoginRejected(reason), None) => {
                    return Err(match reason {
                        RejectReason::NotAuthorized => Closed::NotAuthorized,
                        RejectReason::SessionNotAvailable => Closed::SessionNotAvailable,
                        RejectReason::Other(_) => Closed::Rejected,
                    });
                }
                (Packet::Sequenced(message), Some(seq)) => {
                    *next = Some(seq.checked_add(1).ok_or(Error::SeqNo)?);
                    on_event(ClientEvent::Message { seq, message });
                }
                (Packet::EndOfSession, Some(_)) => {
                    on_event(ClientEvent::EndOfSession);
                    return Err(Closed::InOrder);
                }
                (Packet::ServerHeartbeat | Packet::Debug(_) | Packet::Unknown { .. }, _)
                | (Packet::Unsequenced(_), Some(_)) => {}
                (other, _) => return Err(Closed::Unexpected(other.kind())),
            }
            Ok(())
        });
        self.closed = done.err();
    }

    /// Logs out, and closes.
    pub fn log_out(&mut self, now: Nanos) {
        if self.closed.is_none() {
            self.pipe.try_send(now, &Packet::Logout);
            self.closed = Some(Closed::InOrder);
        }
    }

    /// Runs the timers. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos) {
        if self.closed.is_none() {
            self.closed = self.pipe.poll(now, Some(&Packet::ClientHeartbeat)).err();
        }
    }

    /// Number of the next message; `None` until the login is accepted.
    pub fn next(&self) -> Option<SeqNo> {
        self.next
    }

    /// Why the link is over, if it is. Write what is left of the output, then close the connection.
    pub fn closed(&self) -> Option<Closed> {
        self.closed
    }

    /// Bytes to write to the connection.
    pub fn output(&self) -> &[u8] {
        self.pipe.pending()
    }

    /// The first `len` bytes of the output were written.
    pub fn on_written(&mut self, len: usize) {
        self.pipe.on_written(len);
    }
}
