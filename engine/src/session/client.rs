//! The client's end of a link.

use seqcast_wire::soup::{LoginRequest, Packet, RejectReason};
use seqcast_wire::{Alpha, SeqNo, Session};

use super::input::Input;
use super::output::Output;
use super::{Closed, HEARTBEAT, TIMEOUT};
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
    output: Output,
    /// Number of the next message; `None` until the login is accepted.
    next: Option<SeqNo>,
    closed: Option<Closed>,
    heard: Nanos,
    sent: Nanos,
}

impl ClientLink {
    /// A link that was just connected: it logs in.
    pub fn new(login: &Login, now: Nanos) -> ClientLink {
        let mut output = Output::new(OUTPUT_BYTES);
        output.try_push(&Packet::LoginRequest(LoginRequest {
            username: Alpha::padded(&login.username),
            password: Alpha::padded(&login.password),
            session: login.session,
            next: login.next,
            heartbeat_timeout: None,
        }));
        ClientLink { input: Input::new(), output, next: None, closed: None, heard: now, sent: now }
    }

    /// Takes bytes of the connection, however they are cut.
    pub fn on_bytes(&mut self, now: Nanos, bytes: &[u8], mut on_event: impl FnMut(ClientEvent<'_>)) {
        self.heard = now;
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
                    *next = Some(seq.next());
                    on_event(ClientEvent::Message { seq, message });
                }
                (Packet::EndOfSession, _) => {
                    on_event(ClientEvent::EndOfSession);
                    return Err(Closed::InOrder);
                }
                (Packet::ServerHeartbeat | Packet::Debug(_) | Packet::Unsequenced(_), _) => {}
                (other, _) => return Err(Closed::Unexpected(other.kind())),
            }
            Ok(())
        });
        if let Err(why) = done {
            self.closed.get_or_insert(why);
        }
    }

    /// Logs out, and closes.
    pub fn log_out(&mut self) {
        if self.closed.is_none() {
            self.output.try_push(&Packet::Logout);
            self.closed = Some(Closed::InOrder);
        }
    }

    /// Runs the timers. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos) {
        if self.closed.is_some() {
            return;
        }
        if now.since(self.heard) >= TIMEOUT {
            self.closed = Some(Closed::Silent);
        } else if now.since(self.sent) >= HEARTBEAT && self.output.try_push(&Packet::ClientHeartbeat) {
            self.sent = now;
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
        self.output.pending()
    }

    /// The first `len` bytes of the output were written.
    pub fn on_written(&mut self, len: usize) {
        self.output.on_written(len);
    }
}
