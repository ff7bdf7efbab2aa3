//! SoupBinTCP 3.00: logical packets in a TCP stream.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | length of what follows (type and payload), big-endian |
//! | 2 | 1 | type |
//! | 3 | … | payload |
//!
//! | type | from | payload |
//! |---|---|---|
//! | `+` | both | debug text |
//! | `L` | client | login request: username 6, password 10, session 10, sequence number 20 (4.10: and heartbeat timeout 5) |
//! | `A` | server | login accepted: session 10, sequence number 20 |
//! | `J` | server | login rejected: reason 1 |
//! | `S` | server | sequenced message; its number is counted, from the one in `A` |
//! | `U` | client (4.00: both) | unsequenced message |
//! | `H`, `R` | server, client | heartbeat: none |
//! | `Z` | server | end of session: none |
//! | `O` | client | logout: none |
//!
//! Text and numbers are ASCII padded with spaces. The specification pads names on the right and numbers on the left,
//! but implementations differ, so either side is read; sessions come out padded on the right, as MoldUDP64 has them.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::field::{trim_spaces, trim_spaces_end};
use crate::{Alpha, Error, SeqNo, Session, digits};

/// Bytes before the payload: length and type.
pub const HEADER_BYTES: usize = 3;
/// Longest payload.
pub const MAX_PAYLOAD_BYTES: usize = u16::MAX as usize - 1;
/// Longest packet: a receive buffer of this size always gets on.
pub const MAX_PACKET_BYTES: usize = HEADER_BYTES + MAX_PAYLOAD_BYTES;
/// Bytes of a login request.
pub const LOGIN_REQUEST_BYTES: usize = HEADER_BYTES + size_of::<RequestLayout>();
/// Bytes of a login request with the heartbeat timeout of version 4.10.
pub const LOGIN_REQUEST_4_10_BYTES: usize = LOGIN_REQUEST_BYTES + HEARTBEAT_TIMEOUT_BYTES;
/// Bytes of a login accepted.
pub const LOGIN_ACCEPTED_BYTES: usize = HEADER_BYTES + size_of::<AcceptedLayout>();
/// Bytes of a login rejected.
pub const LOGIN_REJECTED_BYTES: usize = HEADER_BYTES + 1;

/// A side that has sent nothing for this long sends a heartbeat.
pub const HEARTBEAT_NS: u64 = 1_000_000_000;
/// A side that has received nothing for this long takes the link as dead.
pub const TIMEOUT_NS: u64 = 15 * HEARTBEAT_NS;
/// A server may close a link on which no login request came for this long.
pub const LOGIN_TIMEOUT_NS: u64 = 30 * HEARTBEAT_NS;

const LENGTH_BYTES: usize = 2;
const HEARTBEAT_TIMEOUT_BYTES: usize = 5;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RequestLayout {
    username: [u8; 6],
    password: [u8; 10],
    session: [u8; 10],
    next: [u8; digits::BYTES],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AcceptedLayout {
    session: [u8; 10],
    next: [u8; digits::BYTES],
}

const _: () = assert!(LOGIN_REQUEST_BYTES == 49 && LOGIN_REQUEST_4_10_BYTES == 54);
const _: () = assert!(LOGIN_ACCEPTED_BYTES == 33 && LOGIN_REJECTED_BYTES == 4);
const _: () = assert!(MAX_PACKET_BYTES == LENGTH_BYTES + u16::MAX as usize);

/// A logical packet. Which side may send which is the session's business, not the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Type `+`: text for people; ignored.
    Debug(&'a [u8]),
    /// Type `L`.
    LoginRequest(LoginRequest),
    /// Type `A`.
    LoginAccepted(LoginAccepted),
    /// Type `J`; the server closes the link.
    LoginRejected(RejectReason),
    /// Type `S`: the next message of the session.
    Sequenced(&'a [u8]),
    /// Type `U`: a message without a number.
    Unsequenced(&'a [u8]),
    /// Type `H`.
    ServerHeartbeat,
    /// Type `R`.
    ClientHeartbeat,
    /// Type `Z`: no message will follow, now or later.
    EndOfSession,
    /// Type `O`; the server closes the link.
    Logout,
    /// A type this version does not know: skipped by its length, never an error.
    Unknown {
        /// Type byte.
        kind: u8,
        /// Payload.
        payload: &'a [u8],
    },
}

/// A client's request to log in. Names compare without regard to case: see [`LoginRequest::is_user`] and
/// [`LoginRequest::is_for`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// User.
    pub username: Alpha<6>,
    /// Password.
    pub password: Alpha<10>,
    /// Session to log in to; [`Session::BLANK`] for the current one.
    pub session: Session,
    /// Number of the next message wanted; `None` (0 on the wire) to start from the most recent one.
    pub next: Option<SeqNo>,
    /// The field that version 4.10 appends, as it stands on the wire.
    pub heartbeat_timeout: Option<Alpha<HEARTBEAT_TIMEOUT_BYTES>>,
}

/// A server's answer to a login that it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginAccepted {
    /// Session logged in to.
    pub session: Session,
    /// Number of the next sequenced message that will be sent.
    pub next: SeqNo,
}

/// Why a login is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// `A`: wrong user or password, or not allowed.
    NotAuthorized,
    /// `S`: the session asked for is not available.
    SessionNotAvailable,
    /// A reason that the specification does not list.
    Other(u8),
}

/// Looks for a whole packet at the start of `stream`.
///
/// Gives the packet and the bytes it takes, or `None` when more must arrive first. A packet of a fixed length is refused
/// as soon as its header is there, so that a peer cannot make the receiver wait for bytes that could never be right.
///
/// # Errors
/// The stream cannot be read on from here, and the link is best closed: [`Error::Field`] for a length of 0 or a field
/// with a value out of its range, [`Error::Length`] (type and payload) for a known type of another length than the
/// specification gives, [`Error::SeqNo`] for a number that is none.
pub fn decode(stream: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Error> {
    let Some((length, rest)) = stream.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 {
        return Err(Error::Field { name: "packet length (0 leaves no room for the type)" });
    }
    let Some(&kind) = rest.first() else { return Ok(None) };
    check_length(kind, length)?;
    let Some(payload) = rest.get(1..length) else { return Ok(None) };
    Ok(Some((Packet::parse(kind, payload)?, LENGTH_BYTES + length)))
}

/// Checks `length`, which counts type and payload, against the specification.
fn check_length(kind: u8, length: usize) -> Result<(), Error> {
    let expected = match kind {
        b'L' if length == LOGIN_REQUEST_4_10_BYTES - LENGTH_BYTES => length,
        b'L' => LOGIN_REQUEST_BYTES - LENGTH_BYTES,
        b'A' => LOGIN_ACCEPTED_BYTES - LENGTH_BYTES,
        b'J' => LOGIN_REJECTED_BYTES - LENGTH_BYTES,
        b'H' | b'R' | b'Z' | b'O' => 1,
        _ => length,
    };
    if length == expected { Ok(()) } else { Err(Error::Length { kind, expected, actual: length }) }
}

impl<'a> Packet<'a> {
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Packet<'a>, Error> {
        Ok(match kind {
            b'+' => Packet::Debug(payload),
            b'L' => Packet::LoginRequest(LoginRequest::parse(payload)?),
            b'A' => Packet::LoginAccepted(LoginAccepted::parse(payload)?),
            b'J' => match payload {
                [reason] => Packet::LoginRejected(RejectReason::from_wire(*reason)),
                _ => return Err(Error::Truncated { needed: 1, actual: payload.len() }),
            },
            b'S' => Packet::Sequenced(payload),
            b'U' => Packet::Unsequenced(payload),
            b'H' => Packet::ServerHeartbeat,
            b'R' => Packet::ClientHeartbeat,
            b'Z' => Packet::EndOfSession,
            b'O' => Packet::Logout,
            kind => Packet::Unknown { kind, payload },
        })
    }

    /// Type byte.
    pub const fn kind(&self) -> u8 {
        match *self {
            Packet::Debug(_) => b'+',
            Packet::LoginRequest(_) => b'L',
            Packet::LoginAccepted(_) => b'A',
            Packet::LoginRejected(_) => b'J',
            Packet::Sequenced(_) => b'S',
            Packet::Unsequenced(_) => b'U',
            Packet::ServerHeartbeat => b'H',
            Packet::ClientHeartbeat => b'R',
            Packet::EndOfSession => b'Z',
            Packet::Logout => b'O',
            Packet::Unknown { kind, .. } => kind,
        }
    }

    /// Writes the packet and gives its length; 0, and nothing written, when `buffer` is too short or the payload
    /// longer than [`MAX_PAYLOAD_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) -> usize {
        match self {
            Packet::LoginRequest(request) => request.emit(buffer),
            Packet::LoginAccepted(accepted) => accepted.emit(buffer),
            Packet::LoginRejected(reason) => emit_packet(buffer, self.kind(), &[&[reason.to_wire()]]),
            Packet::Debug(payload)
            | Packet::Sequenced(payload)
            | Packet::Unsequenced(payload)
            | Packet::Unknown { payload, .. } => emit_packet(buffer, self.kind(), &[payload]),
            Packet::ServerHeartbeat | Packet::ClientHeartbeat | Packet::EndOfSession | Packet::Logout => {
                emit_packet(buffer, self.kind(), &[])
            }
        }
    }
}

impl LoginRequest {
    /// Whether user and password are these, without regard to case.
    pub fn is_user(&self, username: &str, password: &str) -> bool {
        let equal =
            |field: &[u8], text: &str| trim_spaces(field).eq_ignore_ascii_case(trim_spaces(text.as_bytes()));
        equal(&self.username.0, username) && equal(&self.password.0, password)
    }

    /// Whether `session` is the one asked for, without regard to case; a blank request asks for any.
    pub fn is_for(&self, session: Session) -> bool {
        self.session == Session::BLANK || self.session.as_bytes().eq_ignore_ascii_case(session.as_bytes())
    }

    fn parse(payload: &[u8]) -> Result<LoginRequest, Error> {
        let (layout, rest) = RequestLayout::ref_from_prefix(payload)
            .map_err(|_| Error::Truncated { needed: size_of::<RequestLayout>(), actual: payload.len() })?;
        Ok(LoginRequest {
            username: Alpha(justified(&layout.username)),
            password: Alpha(justified(&layout.password)),
            session: Session::from_wire(justified(&layout.session)),
            next: SeqNo::new(digits::parse(&layout.next)?),
            heartbeat_timeout: rest.first_chunk().map(|field| Alpha(*field)),
        })
    }

    fn emit(&self, buffer: &mut [u8]) -> usize {
        let layout = RequestLayout {
            username: self.username.0,
            password: self.password.0,
            session: *self.session.as_bytes(),
            next: digits::emit(self.next.map_or(0, SeqNo::value)),
        };
        let timeout = self.heartbeat_timeout.as_ref().map_or(&[][..], |field| &field.0);
        emit_packet(buffer, b'L', &[layout.as_bytes(), timeout])
    }
}

/// The password stays out of logs.
impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("username", &self.username)
            .field("session", &self.session)
            .field("next", &self.next)
            .field("heartbeat_timeout", &self.heartbeat_timeout)
            .finish_non_exhaustive()
    }
}

impl LoginAccepted {
    fn parse(payload: &[u8]) -> Result<LoginAccepted, Error> {
        let layout = AcceptedLayout::ref_from_bytes(payload)
            .map_err(|_| Error::Truncated { needed: size_of::<AcceptedLayout>(), actual: payload.len() })?;
        Ok(LoginAccepted {
            session: Session::from_wire(justified(&layout.session)),
            next: digits::parse_seq(&layout.next)?,
        })
    }

    /// Here, and only here, the specification pads the session on the left.
    fn emit(&self, buffer: &mut [u8]) -> usize {
        let mut session = *self.session.as_bytes();
        let padding = session.len() - trim_spaces_end(&session).len();
        session.rotate_right(padding);
        let layout = AcceptedLayout { session, next: digits::emit(self.next.value()) };
        emit_packet(buffer, b'A', &[layout.as_bytes()])
    }
}

impl RejectReason {
    const fn from_wire(reason: u8) -> RejectReason {
        match reason {
            b'A' => RejectReason::NotAuthorized,
            b'S' => RejectReason::SessionNotAvailable,
            other => RejectReason::Other(other),
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            RejectReason::NotAuthorized => b'A',
            RejectReason::SessionNotAvailable => b'S',
            RejectReason::Other(reason) => reason,
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectReason::NotAuthorized => f.write_str("not authorized"),
            RejectReason::SessionNotAvailable => f.write_str("session not available"),
            RejectReason::Other(reason) => write!(f, "reason '{}'", reason.escape_ascii()),
        }
    }
}

/// `field` with its padding, wherever it was, on the right.
fn justified<const N: usize>(field: &[u8; N]) -> [u8; N] {
    let text = trim_spaces(field);
    let mut out = [b' '; N];
    out[..text.len()].copy_from_slice(text);
    out
}

/// Writes one packet, its payload given in parts.
fn emit_packet(buffer: &mut [u8], kind: u8, parts: &[&[u8]]) -> usize {
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let Ok(length) = u16::try_from(1 + payload_bytes) else { return 0 };
    let Some(packet) = buffer.get_mut(..HEADER_BYTES + payload_bytes) else { return 0 };
    let (head, mut rest) = packet.split_at_mut(HEADER_BYTES);
    head[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    head[LENGTH_BYTES] = kind;
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    HEADER_BYTES + payload_bytes
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use super::*;

    const LOGIN: &[u8] = b"\0\x2FLuser  password  MDREPL0001                   1";

    fn login() -> LoginRequest {
        LoginRequest {
            username: Alpha::padded("user"),
            password: Alpha::padded("password"),
            session: Session::from_wire(*b"MDREPL0001"),
            next: Some(SeqNo::FIRST),
            heartbeat_timeout: None,
        }
    }

    fn decoded(stream: &[u8]) -> Packet<'_> {
        let (packet, consumed) = decode(stream).expect("valid").expect("whole");
        assert_eq!(consumed, stream.len());
        packet
    }

    fn emitted(packet: Packet<'_>) -> Vec<u8> {
        let mut buffer = [0xAA; 100];
        let len = packet.emit(&mut buffer);
        assert_eq!(packet.emit(&mut buffer[..len - 1]), 0, "one byte too short");
        buffer[..len].to_vec()
    }

    #[test]
    fn every_type_stands_on_the_wire_as_specified() {
        let session = Session::from_wire(*b"AB12      ");
        let accepted = LoginAccepted { session, next: SeqNo::new(42).unwrap() };
        let table: &[(Packet<'_>, &[u8])] = &[
            (Packet::Debug(b"hi"), b"\0\x03+hi"),
            (Packet::LoginRequest(login()), LOGIN),
            (Packet::LoginAccepted(accepted), b"\0\x1FA      AB12                  42"),
            (Packet::LoginRejected(RejectReason::NotAuthorized), b"\0\x02JA"),
            (Packet::LoginRejected(RejectReason::SessionNotAvailable), b"\0\x02JS"),
            (Packet::LoginRejected(RejectReason::Other(b'?')), b"\0\x02J?"),
            (Packet::Sequenced(b"abc"), b"\0\x04Sabc"),
            (Packet::Sequenced(b""), b"\0\x01S"),
            (Packet::Unsequenced(b"abc"), b"\0\x04Uabc"),
            (Packet::ServerHeartbeat, b"\0\x01H"),
            (Packet::ClientHeartbeat, b"\0\x01R"),
            (Packet::EndOfSession, b"\0\x01Z"),
            (Packet::Logout, b"\0\x01O"),
            (Packet::Unknown { kind: b'!', payload: b"new" }, b"\0\x04!new"),
        ];
        for (packet, wire) in table {
            assert_eq!(emitted(*packet), *wire);
            assert_eq!(decoded(wire), *packet);
            assert_eq!(packet.kind(), wire[2]);
            for len in 0..wire.len() {
                assert_eq!(decode(&wire[..len]), Ok(None), "{packet:?} cut off at {len}");
            }
        }
    }

    #[test]
    fn packets_are_split_from_one_stream() {
        let mut stream = &b"\0\x01H\0\x04Sabc\0\x01Z\0"[..];
        let mut kinds = Vec::new();
        while let Some((packet, consumed)) = decode(stream).unwrap() {
            kinds.push(packet.kind());
            stream = &stream[consumed..];
        }
        assert_eq!((&kinds[..], stream), (&b"HSZ"[..], &b"\0"[..]));
    }

    #[test]
    fn either_padding_of_a_login_is_read() {
        for wire in [
            b"\0\x2FL  user  passwordMDREPL00011                   ",
            b"\0\x2FL user  password MDREPL000100000000000000000001",
        ] {
            assert_eq!(decoded(wire), Packet::LoginRequest(login()));
        }
        let Packet::LoginAccepted(accepted) = decoded(b"\0\x1FAAB12      42                  ") else {
            panic!("another type")
        };
        assert_eq!(accepted.session, "AB12".parse().unwrap());
        assert_eq!(accepted.next.value(), 42);
    }

    #[test]
    fn a_login_may_ask_for_the_current_session_and_the_most_recent_message() {
        let request = LoginRequest { session: Session::BLANK, next: None, ..login() };
        let wire = emitted(Packet::LoginRequest(request));
        assert_eq!(&wire[19..], b"                             0");
        assert_eq!(decoded(&wire), Packet::LoginRequest(request));
        assert!(request.is_for(Session::from_wire(*b"ANYSESSION")));
    }

    #[test]
    fn names_compare_without_regard_to_case() {
        assert!(login().is_user("USER", "PassWord"));
        assert!(!login().is_user("use", "password"));
        assert!(!login().is_user("user", "passwords"));
        assert!(login().is_for(Session::from_wire(*b"mdrepl0001")));
        assert!(!login().is_for(Session::from_wire(*b"MDREPL0002")));
    }

    #[test]
    fn the_longer_login_of_4_10_is_read_and_written() {
        let request = LoginRequest { heartbeat_timeout: Some(Alpha(*b"15000")), ..login() };
        let wire = emitted(Packet::LoginRequest(request));
        assert_eq!(wire.len(), LOGIN_REQUEST_4_10_BYTES);
        assert_eq!(wire[..2], [0, 52]);
        assert_eq!(wire[2..49], LOGIN[2..]);
        assert_eq!(&wire[49..], b"15000");
        assert_eq!(decoded(&wire), Packet::LoginRequest(request));
    }

    #[test]
    fn a_wrong_length_is_refused_before_its_bytes_arrive() {
        assert!(matches!(decode(b"\0\0"), Err(Error::Field { .. })));
        for (kind, expected) in
            [(b'L', 47), (b'A', 31), (b'J', 2), (b'H', 1), (b'R', 1), (b'Z', 1), (b'O', 1)]
        {
            for actual in [expected - 1, expected + 1, 65_535].into_iter().filter(|&length| length > 0) {
                let [high, low] = (actual as u16).to_be_bytes();
                assert_eq!(decode(&[high, low, kind]), Err(Error::Length { kind, expected, actual }));
            }
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let field = |wire: &[u8]| matches!(decode(wire), Err(Error::Field { .. }));
        assert!(field(b"\0\x2FLuser  password  MDREPL0001                    "));
        assert!(field(b"\0\x2FLuser  password  MDREPL0001                  1x"));
        assert!(field(b"\0\x1FA      AB12                    "));
        assert_eq!(decode(b"\0\x1FA      AB12                   0"), Err(Error::SeqNo));
        assert_eq!(decode(b"\0\x1FA      AB1299999999999999999999"), Err(Error::SeqNo));
    }

    #[test]
    fn the_longest_packet_fits_the_longest_buffer() {
        let mut buffer = std::vec![0; MAX_PACKET_BYTES + 10];
        let payload = std::vec![7; MAX_PAYLOAD_BYTES + 1];
        assert_eq!(Packet::Sequenced(&payload).emit(&mut buffer), 0);
        let longest = Packet::Sequenced(&payload[1..]);
        assert_eq!(longest.emit(&mut buffer), MAX_PACKET_BYTES);
        assert_eq!(decode(&buffer), Ok(Some((longest, MAX_PACKET_BYTES))));
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", Packet::LoginRequest(login()));
        assert!(shown.contains("user") && !shown.contains("password"), "{shown}");
    }
}
