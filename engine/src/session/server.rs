//! The server's end of a link.

use seqcast_wire::soup::{LoginAccepted, Packet, RejectReason};
use seqcast_wire::{SeqNo, Session};

use super::input::Input;
use super::pipe::Pipe;
use super::{Closed, LOGIN_TIMEOUT};
use crate::time::Nanos;

/// Longest packet taken from a client, which has not much to say.
const MAX_INPUT_BYTES: usize = 4 << 10;

/// Who may log in, and to what.
#[derive(Clone)]
pub struct Credentials {
    /// User name, up to 6 characters.
    pub username: String,
    /// Password, up to 10 characters.
    pub password: String,
    /// The session.
    pub session: Session,
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent<'a> {
    /// It logged in rightly and wants messages from `next` on (`None`: from the most recent one). Answer with
    /// [`ServerLink::accept`] or [`ServerLink::reject`].
    Login {
        /// Number of the first message wanted.
        next: Option<SeqNo>,
    },
    /// It sent an unsequenced message.
    Unsequenced(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitingLogin,
    /// The login was right and has not been answered.
    Answering,
    LoggedIn,
    Over(Closed),
}

/// One client's connection, as the server sees it.
pub struct ServerLink {
    credentials: Credentials,
    input: Input,
    pipe: Pipe,
    phase: Phase,
    opened: Nanos,
}

impl ServerLink {
    /// A link that was just connected. `output_bytes` bounds what waits to be sent.
    pub fn new(credentials: Credentials, output_bytes: usize, now: Nanos) -> ServerLink {
        ServerLink {
            credentials,
            input: Input::new(MAX_INPUT_BYTES),
            pipe: Pipe::new(output_bytes, now),
            phase: Phase::AwaitingLogin,
            opened: now,
        }
    }

    /// Takes bytes of the connection, however they are cut.
    pub fn on_bytes(&mut self, now: Nanos, bytes: &[u8], mut on_event: impl FnMut(ServerEvent<'_>)) {
        if let Phase::Over(_) = self.phase {
            return;
        }
        self.pipe.on_heard(now);
        let ServerLink { credentials, input, pipe, phase, .. } = self;
        let done = input.on_bytes(bytes, |packet| match packet {
            Packet::LoginRequest(request) if *phase == Phase::AwaitingLogin => {
                let (reason, why) = if !is_user(credentials, &request.username.0, &request.password.0) {
                    (RejectReason::NotAuthorized, Closed::NotAuthorized)
                } else if !request.is_for(credentials.session) {
                    (RejectReason::SessionNotAvailable, Closed::SessionNotAvailable)
                } else {
                    *phase = Phase::Answering;
                    on_event(ServerEvent::Login { next: request.next });
                    return Ok(());
                };
                pipe.try_send(now, &Packet::LoginRejected(reason));
                Err(why)
            }
            Packet::ClientHeartbeat | Packet::Debug(_) | Packet::Unknown { .. } => Ok(()),
            Packet::Logout => Err(Closed::InOrder),
            Packet::Unsequenced(message) if *phase == Phase::LoggedIn => {
                on_event(ServerEvent::Unsequenced(message));
                Ok(())
            }
            other => Err(Closed::Unexpected(other.kind())),
        });
        if let Err(why) = done {
            self.close(why);
        }
    }

    /// Accepts the login: the next sequenced message has number `next`.
    pub fn accept(&mut self, now: Nanos, next: SeqNo) {
        if self.phase == Phase::Answering {
            let session = self.credentials.session;
            self.pipe.try_send(now, &Packet::LoginAccepted(LoginAccepted { session, next }));
            self.phase = Phase::LoggedIn;
        }
    }

    /// Rejects the login because the number it asks for cannot be had, and closes.
    pub fn reject(&mut self, now: Nanos) {
        if self.phase == Phase::Answering {
            self.pipe.try_send(now, &Packet::LoginRejected(RejectReason::SessionNotAvailable));
            self.close(Closed::SessionNotAvailable);
        }
    }

    /// Sends a sequenced message; `false`, and nothing sent, when the client is too slow to take it now.
    pub fn try_send(&mut self, now: Nanos, message: &[u8]) -> bool {
        self.phase == Phase::LoggedIn && self.pipe.try_send(now, &Packet::Sequenced(message))
    }

    /// Bytes were sent past this link's own output.
    pub fn on_sent(&mut self, now: Nanos) {
        self.pipe.on_sent(now);
    }

    /// Tells the client that the session is over, and closes; `false`, and nothing done, when the client is too slow to be
    /// told now.
    pub fn try_end_session(&mut self, now: Nanos) -> bool {
        let told = self.phase == Phase::LoggedIn && self.pipe.try_send(now, &Packet::EndOfSession);
        if told {
            self.close(Closed::InOrder);
        }
        told
    }

    /// Closes without a word.
    pub fn close(&mut self, why: Closed) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Over(why);
        }
    }

    /// Runs the timers. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos) {
        let done = match self.phase {
            Phase::AwaitingLogin if now.since(self.opened) >= LOGIN_TIMEOUT => Err(Closed::NoLogin),
            Phase::AwaitingLogin | Phase::Over(_) => Ok(()),
            // No heartbeat may come before the answer.
            Phase::Answering => self.pipe.poll(now, None),
            Phase::LoggedIn => self.pipe.poll(now, Some(&Packet::ServerHeartbeat)),
        };
        if let Err(why) = done {
            self.close(why);
        }
    }

    /// Whether the client is logged in.
    pub fn is_logged_in(&self) -> bool {
        self.phase == Phase::LoggedIn
    }

    /// Why the link is over, if it is. Write what is left of the output, then close the connection.
    pub fn closed(&self) -> Option<Closed> {
        if let Phase::Over(why) = self.phase { Some(why) } else { None }
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

/// Compares without regard to case and padding, in a time that does not tell how much of it is right.
fn is_user(credentials: &Credentials, username: &[u8; 6], password: &[u8; 10]) -> bool {
    let differs = differences(username, credentials.username.as_bytes())
        | differences(password, credentials.password.as_bytes());
    differs == 0
}

fn differences(field: &[u8], text: &[u8]) -> u8 {
    let pad = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(b' ').to_ascii_lowercase();
    let skip = |bytes: &[u8]| bytes.iter().take_while(|&&byte| byte == b' ').count();
    let (field, text) = (&field[skip(field)..], &text[skip(text)..]);
    let too_long = u8::from(text.len() > field.len() && text[field.len()..].iter().any(|&byte| byte != b' '));
    (0..field.len()).fold(too_long, |all, at| all | (pad(field, at) ^ pad(text, at)))
}
