//! Acknowledgement: what a sequencer tells a publisher, over UDP.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `SQCA` |
//! | 4 | 1 | version: 1 |
//! | 5 | 1 | zero |
//! | 6 | 10 | session of the publisher's feed |
//! | 16 | 8 | epoch of the sequencer |
//! | 24 | 8 | committed: every message of that session below this number is committed |
//! | 32 | 8 | received: number that the sequencer wants next; never below *committed* |
//!
//! All integers are big-endian. The length is fixed at 40 bytes, which no MoldUDP64 request has (20), so a publisher
//! takes both from one socket. What was once committed stays committed, whatever a later acknowledgement says;
//! *received* counts from the highest epoch seen only, and may be lower there: a new sequencer lacks what was in flight
//! to the last one. An acknowledgement of messages that were never sent is forged or damaged, and is ignored.

use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Error, SeqNo, Session, mold};

/// Length in bytes.
pub const BYTES: usize = 40;
/// The first bytes of every acknowledgement.
pub const MAGIC: [u8; 4] = *b"SQCA";
/// Version of the format.
pub const VERSION: u8 = 1;

const _: () = assert!(BYTES != mold::HEADER_BYTES, "an acknowledgement must not look like a request");
const _: () = assert!(size_of::<Layout>() == BYTES);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: u8,
    reserved: u8,
    session: Session,
    epoch: U64,
    committed: U64,
    received: U64,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Session of the publisher's feed.
    pub session: Session,
    /// Epoch of the sequencer that speaks.
    pub epoch: u64,
    /// Every message below this number is committed: the publisher may forget it.
    pub committed: SeqNo,
    /// Number that the sequencer wants next: what is at or above it has not arrived, or not in order.
    pub received: SeqNo,
}

impl Ack {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Trailing`] unless it is exactly 40 bytes; [`Error::Field`] for another magic
    /// or version, a reserved byte that is not 0, or *committed* above *received*; [`Error::SeqNo`] for number 0.
    pub fn parse(datagram: &[u8]) -> Result<Ack, Error> {
        let (layout, rest) = Layout::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: BYTES, actual: datagram.len() })?;
        if !rest.is_empty() {
            return Err(Error::Trailing { offset: BYTES });
        }
        if layout.magic != MAGIC {
            return Err(Error::Field { name: "magic" });
        }
        if layout.version != VERSION {
            return Err(Error::Field { name: "version" });
        }
        if layout.reserved != 0 {
            return Err(Error::Field { name: "reserved" });
        }
        let committed = SeqNo::new(layout.committed.get()).ok_or(Error::SeqNo)?;
        let received = SeqNo::new(layout.received.get()).ok_or(Error::SeqNo)?;
        if committed > received {
            return Err(Error::Field { name: "committed (above received)" });
        }
        Ok(Ack { session: layout.session, epoch: layout.epoch.get(), committed, received })
    }

    /// Writes the acknowledgement and gives its length; 0 when `buffer` is too short.
    pub fn emit(&self, buffer: &mut [u8]) -> usize {
        let layout = Layout {
            magic: MAGIC,
            version: VERSION,
            reserved: 0,
            session: self.session,
            epoch: U64::new(self.epoch),
            committed: U64::new(self.committed.value()),
            received: U64::new(self.received.value()),
        };
        if layout.write_to_prefix(buffer).is_ok() { BYTES } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: [u8; BYTES] =
        *b"SQCA\x01\0PUB0000001\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\x01\x03";

    fn ack() -> Ack {
        Ack {
            session: Session::from_wire(*b"PUB0000001"),
            epoch: 9,
            committed: SeqNo::new(0x102).unwrap(),
            received: SeqNo::new(0x103).unwrap(),
        }
    }

    fn with(offset: usize, byte: u8) -> [u8; BYTES] {
        let mut wire = WIRE;
        wire[offset] = byte;
        wire
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        assert_eq!(Ack::parse(&WIRE), Ok(ack()));
        let mut buffer = [0xAA; BYTES];
        assert_eq!(ack().emit(&mut buffer), BYTES);
        assert_eq!(buffer, WIRE);
        assert_eq!(ack().emit(&mut buffer[..BYTES - 1]), 0);
    }

    #[test]
    fn it_is_no_request_and_a_request_is_no_acknowledgement() {
        assert!(mold::Request::parse(&WIRE).is_err());
        assert!(mold::Downstream::parse(&WIRE).is_err());
        assert!(Ack::parse(&WIRE[..mold::HEADER_BYTES]).is_err());
    }

    #[test]
    fn what_is_no_acknowledgement_is_refused() {
        assert_eq!(Ack::parse(&WIRE[..39]), Err(Error::Truncated { needed: 40, actual: 39 }));
        let mut long = [0; BYTES + 1];
        long[..BYTES].copy_from_slice(&WIRE);
        assert_eq!(Ack::parse(&long), Err(Error::Trailing { offset: 40 }));
        assert_eq!(Ack::parse(&with(0, b'X')), Err(Error::Field { name: "magic" }));
        assert_eq!(Ack::parse(&with(4, 2)), Err(Error::Field { name: "version" }));
        assert_eq!(Ack::parse(&with(5, 1)), Err(Error::Field { name: "reserved" }));
        assert_eq!(Ack::parse(&with(31, 4)), Err(Error::Field { name: "committed (above received)" }));
        let mut nothing = WIRE;
        nothing[24..32].fill(0);
        assert_eq!(Ack::parse(&nothing), Err(Error::SeqNo));
        nothing[32..].fill(0);
        assert_eq!(Ack::parse(&nothing), Err(Error::SeqNo));
    }

    #[test]
    fn both_watermarks_may_be_the_same() {
        assert_eq!(Ack::parse(&with(31, 3)).unwrap().committed, ack().received);
    }
}
