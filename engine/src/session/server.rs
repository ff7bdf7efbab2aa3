//! The server's end of a link.

use seqcast_wire::soup::{LoginAccepted, Packet, RejectReason};
use seqcast_wire::{SeqNo, Session};

use super::input::Input;
use super::output::Output;
use super::{Closed, HEARTBEAT, LOGIN_TIMEOUT, TIMEOUT};
use crate::time::Nanos;

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
    /// [`ServerLink::accept`].
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
    LoggedIn,
    Over(Closed),
}

/// One client's connection, as the server sees it.
pub struct ServerLink {
    credentials: Credentials,
    input: Input,
    output: Output,
    phase: Phase,
    opened: Nanos,
    heard: Nanos,
    sent: Nanos,
}

impl ServerLink {
    /// A link that was just connected. `output_bytes` bounds what waits to be sent.
    pub fn new(credentials: Credentials, output_bytes: usize, now: Nanos) -> ServerLink {
        ServerLink {
            credentials,
            input: Input::new(),
            output: Output::new(output_bytes),
            phase: Phase::AwaitingLogin,
            opened: now,
            heard: now,
            sent: now,
        }
    }

    /// Takes bytes of the connection, however they are cut.
    pub fn on_bytes(&mut self, now: Nanos, bytes: &[u8], mut on_event: impl FnMut(ServerEvent<'_>)) {
        self.heard = now;
        let ServerLink { credentials, input, output, phase, .. } = self;
        let done = input.on_bytes(bytes, |packet| {
            if let Phase::Over(why) = *phase {
                return Err(why);
            }
            match packet {
                Packet::LoginRequest(request) if *phase == Phase::AwaitingLogin => {
                    let (reason, why) = if !is_user(credentials, &request.username.0, &request.password.0) {
                        (RejectReason::NotAuthorized, Closed::NotAuthorized)
                    } else if !request.is_for(credentials.session) {
                        (RejectReason::SessionNotAvailable, Closed::SessionNotAvailable)
                    } else {
                        on_event(ServerEvent::Login { next: request.next });
                        return Ok(());
                    };
                    output.try_push(&Packet::LoginRejected(reason));
                    Err(why)
                }
                Packet::ClientHeartbeat | Packet::Debug(_) => Ok(()),
                Packet::Logout => Err(Closed::InOrder),
                Packet::Unsequenced(message) if *phase == Phase::LoggedIn => {
                    on_event(ServerEvent::Unsequenced(message));
                    Ok(())
                }
                other => Err(Closed::Unexpected(other.kind())),
            }
        });
        if let Err(why) = done {
            self.close(why);
        }
    }

    /// Accepts the login: the next sequenced message has number `next`.
    pub fn accept(&mut self, now: Nanos, next: SeqNo) {
        if self.phase == Phase::AwaitingLogin {
            let session = self.credentials.session;
            self.output.try_push(&Packet::LoginAccepted(LoginAccepted { session, next }));
            self.phase = Phase::LoggedIn;
            self.sent = now;
        }
    }

    /// Sends a sequenced message; `false`, and nothing sent, when the client is too slow to take it now.
    pub fn try_send(&mut self, now: Nanos, message: &[u8]) -> bool {
        let sent = self.phase == Phase::LoggedIn && self.output.try_push(&Packet::Sequenced(message));
        if sent {
            self.sent = now;
        }
        sent
    }

    /// Whole packets were sent past this link's own output.
    pub fn on_sent(&mut self, now: Nanos) {
        self.sent = now;
    }

    /// Tells the client that the session is over, and closes.
    pub fn end_session(&mut self) {
        self.output.try_push(&Packet::EndOfSession);
        self.close(Closed::InOrder);
    }

    /// Closes without a word.
    pub fn close(&mut self, why: Closed) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Over(why);
        }
    }

    /// Runs the timers. Call once per duty cycle.
    pub fn poll(&mut self, now: Nanos) {
        match self.phase {
            Phase::AwaitingLogin if now.since(self.opened) >= LOGIN_TIMEOUT => self.close(Closed::NoLogin),
            Phase::LoggedIn if now.since(self.heard) >= TIMEOUT => self.close(Closed::Silent),
            Phase::LoggedIn if now.since(self.sent) >= HEARTBEAT => {
                if self.output.try_push(&Packet::ServerHeartbeat) {
                    self.sent = now;
                }
            }
            _ => {}
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
        self.output.pending()
    }

    /// The first `len` bytes of the output were written.
    pub fn on_written(&mut self, len: usize) {
        self.output.on_written(len);
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
