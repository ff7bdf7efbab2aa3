//! Ethernet, Linux cooked and raw IP frames that carry IPv4 and UDP: what captures are made of.
//!
//! Reading is for captures taken anywhere: VLAN tags, IP options, Ethernet padding and truncated frames are met, and
//! fragments are told, not guessed at. Check sums are not verified, because a capture on the sending host holds the
//! placeholders that checksum offload leaves; writing computes them. Receiving off the wire itself is
//! [`UdpDatagram::receive`], which is strict.
//!
//! | written | offset | bytes |
//! |---|---|---|
//! | Ethernet II: destination, source, type 0x0800 | 0 | 14 |
//! | IPv4 without options (RFC 791) | 14 | 20 |
//! | UDP (RFC 768) | 34 | 8 |
//! | payload | 42 | … |

mod checksum;

use core::net::{Ipv4Addr, SocketAddrV4};

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use self::checksum::Sum;
use crate::Error;

/// Bytes of the headers that [`UdpDatagram::emit_headers`] writes.
pub const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
/// Longest payload of a UDP datagram over IPv4.
pub const MAX_UDP_PAYLOAD_BYTES: usize = u16::MAX as usize - IPV4_BYTES - UDP_BYTES;

const IPV4_BYTES: usize = size_of::<Ipv4Header>();
const UDP_BYTES: usize = size_of::<UdpHeader>();

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88A8;
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;
const PROTOCOL_UDP: u8 = 17;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT_OFFSET: u16 = 0x1FFF;
const TTL: u8 = 64;

const _: () = assert!(IPV4_BYTES == 20 && UDP_BYTES == 8);
const _: () = assert!(size_of::<EthernetHeader>() == 14 && FRAME_HEADER_BYTES == 42);
const _: () = assert!(size_of::<CookedHeader>() == 16 && size_of::<Cooked2Header>() == 20);

/// What the frames of a capture start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet II, with or without 802.1Q and QinQ tags.
    Ethernet,
    /// The IP packet itself.
    RawIp,
    /// Linux cooked capture, version 1 (`any` interface).
    LinuxCooked,
    /// Linux cooked capture, version 2.
    LinuxCooked2,
}

impl LinkType {
    /// The link type with this number in a pcap or pcapng file; `None` for one that is not read here.
    pub const fn from_number(number: u32) -> Option<LinkType> {
        match number {
            1 => Some(LinkType::Ethernet),
            101 | 228 => Some(LinkType::RawIp),
            113 => Some(LinkType::LinuxCooked),
            276 => Some(LinkType::LinuxCooked2),
            _ => None,
        }
    }
}

/// What a captured frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole UDP datagram over IPv4.
    Udp(UdpDatagram<'a>),
    /// A fragment of an IPv4 packet that carries UDP. Fragments are not put together again.
    Fragment,
    /// Something else: another protocol than IPv4 or than UDP.
    Other,
}

/// A UDP datagram and its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Whom it is for: a group or a host.
    pub destination: SocketAddrV4,
    /// Its payload.
    pub payload: &'a [u8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EthernetHeader {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: U16,
}

/// What follows an ethertype that announces a tag.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VlanTag {
    _control: U16,
    ethertype: U16,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CookedHeader {
    _sender: [u8; 14],
    ethertype: U16,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Cooked2Header {
    ethertype: U16,
    _sender: [u8; 18],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Ipv4Header {
    version_and_words: u8,
    service: u8,
    total_bytes: U16,
    identification: U16,
    fragment: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct UdpHeader {
    source: U16,
    destination: U16,
    bytes: U16,
    checksum: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FrameHeader {
    ethernet: EthernetHeader,
    ipv4: Ipv4Header,
    udp: UdpHeader,
}

impl<'a> Frame<'a> {
    /// Looks into a captured frame.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the frame ends before what its headers promise (a capture with a short snapshot
    /// length), [`Error::Field`] when a header contradicts itself. Offsets and lengths count from the frame's start.
    pub fn parse(link: LinkType, frame: &'a [u8]) -> Result<Frame<'a>, Error> {
        let mut reader = Reader { frame, at: 0 };
        let mut ethertype = match link {
            LinkType::RawIp => match frame.first() {
                Some(first) if first >> 4 == 4 => U16::new(ETHERTYPE_IPV4),
                Some(_) => return Ok(Frame::Other),
                None => return Err(Error::Truncated { needed: 1, actual: 0 }),
            },
            LinkType::Ethernet => reader.header::<EthernetHeader>()?.ethertype,
            LinkType::LinuxCooked => reader.header::<CookedHeader>()?.ethertype,
            LinkType::LinuxCooked2 => reader.header::<Cooked2Header>()?.ethertype,
        };
        while let ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD = ethertype.get() {
            ethertype = reader.header::<VlanTag>()?.ethertype;
        }
        if ethertype == ETHERTYPE_IPV4 { parse_ipv4(reader) } else { Ok(Frame::Other) }
    }
}

/// Takes headers off the front of a frame and tells, when one is cut off, how long the frame should have been.
#[derive(Clone, Copy)]
struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let needed = self.at + bytes;
        let taken =
            self.frame.get(self.at..needed).ok_or(Error::Truncated { needed, actual: self.frame.len() })?;
        self.at = needed;
        Ok(taken)
    }

    fn header<T: FromBytes + KnownLayout + Immutable + Unaligned>(&mut self) -> Result<&'a T, Error> {
        let bytes = self.take(size_of::<T>())?;
        T::ref_from_bytes(bytes).map_err(|_| Error::Truncated { needed: size_of::<T>(), actual: bytes.len() })
    }
}

fn parse_ipv4(mut reader: Reader<'_>) -> Result<Frame<'_>, Error> {
    let start = reader.at;
    let header = reader.header::<Ipv4Header>()?;
    if header.version_and_words >> 4 != 4 {
        return Err(Error::Field { name: "IPv4 version" });
    }
    let header_bytes = usize::from(header.version_and_words & 0x0F) * 4;
    let total_bytes = usize::from(header.total_bytes.get());
    if header_bytes < IPV4_BYTES {
        return Err(Error::Field { name: "IPv4 header length" });
    }
    if total_bytes < header_bytes {
        return Err(Error::Field { name: "IPv4 total length" });
    }
    if header.protocol != PROTOCOL_UDP {
        return Ok(Frame::Other);
    }
    if header.fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
        return Ok(Frame::Fragment);
    }
    // What stands after the packet's end pads the frame to the least that Ethernet sends.
    let needed = start + total_bytes;
    reader.frame =
        reader.frame.get(..needed).ok_or(Error::Truncated { needed, actual: reader.frame.len() })?;
    reader.take(header_bytes - IPV4_BYTES)?;
    parse_udp(reader, header)
}

fn parse_udp<'a>(mut reader: Reader<'a>, ipv4: &Ipv4Header) -> Result<Frame<'a>, Error> {
    let length_error = Error::Field { name: "UDP length" };
    let header = reader.header::<UdpHeader>().map_err(|_| length_error)?;
    let payload_bytes = usize::from(header.bytes.get()).checked_sub(UDP_BYTES).ok_or(length_error)?;
    let payload = reader.take(payload_bytes).map_err(|_| length_error)?;
    Ok(Frame::Udp(UdpDatagram {
        source: SocketAddrV4::new(Ipv4Addr::from(ipv4.source), header.source.get()),
        destination: SocketAddrV4::new(Ipv4Addr::from(ipv4.destination), header.destination.get()),
        payload,
    }))
}

impl UdpDatagram<'_> {
    /// Writes the Ethernet, IPv4 and UDP headers that go before the payload, check sums included, and gives their
    /// length; 0 when `buffer` is too short or the payload longer than [`MAX_UDP_PAYLOAD_BYTES`].
    ///
    /// A multicast group gets its own Ethernet address (RFC 1112). Hosts get locally administered ones made from their IP
    /// addresses: nobody asked the real ones for theirs.
    pub fn emit_headers(&self, buffer: &mut [u8]) -> usize {
        let hop = Hop {
            source: ethernet_address(*self.source.ip()),
            destination: ethernet_address(*self.destination.ip()),
            ttl: TTL,
        };
        self.emit_headers_for(&hop, Some(Sum::of(self.payload)), buffer)
    }

    /// The same for a frame that really leaves: to the Ethernet address and with the time to live of `hop`.
    /// `payload_sum` is the sum of the payload, so that one that goes to several receivers is summed up once; without
    /// it the UDP check sum is left out (0), as IPv4 allows.
    #[inline]
    pub fn emit_headers_for(&self, hop: &Hop, payload_sum: Option<Sum>, buffer: &mut [u8]) -> usize {
        if self.payload.len() > MAX_UDP_PAYLOAD_BYTES {
            return 0;
        }
        let udp_bytes = (UDP_BYTES + self.payload.len()) as u16;
        let mut ipv4 = Ipv4Header {
            version_and_words: 0x45,
            service: 0,
            total_bytes: U16::new(IPV4_BYTES as u16 + udp_bytes),
            identification: U16::ZERO,
            fragment: U16::new(DONT_FRAGMENT),
            ttl: hop.ttl,
            protocol: PROTOCOL_UDP,
            checksum: U16::ZERO,
            source: self.source.ip().octets(),
            destination: self.destination.ip().octets(),
        };
        ipv4.checksum = U16::new(Sum::of(ipv4.as_bytes()).checksum());
        let mut udp = UdpHeader {
            source: U16::new(self.source.port()),
            destination: U16::new(self.destination.port()),
            bytes: U16::new(udp_bytes),
            checksum: U16::ZERO,
        };
        if let Some(payload_sum) = payload_sum {
            let addresses = Sum::of(&ipv4.source) + Sum::of(&ipv4.destination);
            let pseudo_header = addresses + pseudo_header_rest(udp_bytes);
            // 0 on the wire would say that no check sum was computed.
            udp.checksum =
                U16::new(match (pseudo_header + Sum::of(udp.as_bytes()) + payload_sum).checksum() {
                    0 => u16::MAX,
                    sum => sum,
                });
        }
        let header = FrameHeader {
            ethernet: EthernetHeader {
                destination: hop.destination,
                source: hop.source,
                ethertype: U16::new(ETHERTYPE_IPV4),
            },
            ipv4,
            udp,
        };
        if header.write_to_prefix(buffer).is_ok() { FRAME_HEADER_BYTES } else { 0 }
    }
}

/// What the UDP check sum covers beside the addresses, the UDP header and the payload.
#[inline]
fn pseudo_header_rest(udp_bytes: u16) -> Sum {
    Sum::of_word(u16::from(PROTOCOL_UDP)) + Sum::of_word(udp_bytes)
}

/// The way to the next station: what an Ethernet frame says beyond its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Ethernet address of the interface that it leaves.
    pub source: [u8; 6],
    /// Ethernet address of the receiver, the gateway or the group, see [`multicast_address`].
    pub destination: [u8; 6],
    /// Routers that may pass it on, plus one.
    pub ttl: u8,
}

/// The Ethernet address of a multicast group (RFC 1112); 32 groups share one.
#[inline]
pub const fn multicast_address(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5E, b & 0x7F, c, d]
}

fn ethernet_address(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    if ip.is_multicast() {
        multicast_address(ip)
    } else if ip.is_broadcast() {
        [0xFF; 6]
    } else {
        [0x02, 0x00, a, b, c, d]
    }
}

/// Why a frame that looks like a plain UDP datagram is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// Not an untagged IPv4 packet without options, not whole, or not UDP.
    Kind,
    /// The lengths of frame, IP packet and UDP datagram contradict one another.
    Length,
    /// A check sum is wrong.
    Checksum,
}

impl<'a> UdpDatagram<'a> {
    /// Reads a frame taken off the wire in the one form that [`UdpDatagram::emit_headers_for`] writes: Ethernet
    /// without tags, IPv4 without options and not a fragment. Unlike [`Frame::parse`], which reads captures, it refuses
    /// what a receiving host would refuse, wrong check sums among it unless `checksums` is false.
    ///
    /// Taken for right is also a UDP check sum over the pseudo header alone: what a sender leaves to its interface's
    /// offload, and what stands in the frame when there was no such interface because the sender is on this host.
    ///
    /// # Errors
    /// [`Unsound`].
    #[inline]
    pub fn receive(frame: &'a [u8], checksums: bool) -> Result<UdpDatagram<'a>, Unsound> {
        let (header, rest) = FrameHeader::ref_from_prefix(frame).map_err(|_| Unsound::Length)?;
        let FrameHeader { ethernet, ipv4, udp } = header;
        if ethernet.ethertype.get() != ETHERTYPE_IPV4
            || ipv4.version_and_words != 0x45
            || ipv4.protocol != PROTOCOL_UDP
            || ipv4.fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
        {
            return Err(Unsound::Kind);
        }
        let in_packet = usize::from(ipv4.total_bytes.get()).checked_sub(IPV4_BYTES + UDP_BYTES);
        let in_datagram = usize::from(udp.bytes.get()).checked_sub(UDP_BYTES);
        let payload = match (in_packet, in_datagram) {
            (Some(in_packet), Some(in_datagram)) if in_datagram <= in_packet && in_packet <= rest.len() => {
                &rest[..in_datagram]
            }
            _ => return Err(Unsound::Length),
        };
        if checksums && !(Sum::of(ipv4.as_bytes()).folded() == Sum::VALID && udp.is_sound(ipv4, payload)) {
            return Err(Unsound::Checksum);
        }
        Ok(UdpDatagram {
            source: SocketAddrV4::new(Ipv4Addr::from(ipv4.source), udp.source.get()),
            destination: SocketAddrV4::new(Ipv4Addr::from(ipv4.destination), udp.destination.get()),
            payload,
        })
    }
}

impl UdpHeader {
    #[inline]
    fn is_sound(&self, ipv4: &Ipv4Header, payload: &[u8]) -> bool {
        let pseudo_header =
            Sum::of(&ipv4.source) + Sum::of(&ipv4.destination) + pseudo_header_rest(self.bytes.get());
        let whole = pseudo_header + Sum::of(self.as_bytes()) + Sum::of(payload);
        self.checksum.get() == 0
            || whole.folded() == Sum::VALID
            || self.checksum.get() == pseudo_header.folded()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Ethernet to UDP of a datagram with the payload `abcd`, 46 bytes in all.
    const FRAME: &[u8] = &[
        0x01, 0x00, 0x5E, 0x36, 0x0C, 0x6F, 0x02, 0x00, 0xC0, 0x00, 0x02, 0x01, 0x08, 0x00, // Ethernet
        0x45, 0x00, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x83, 0x26, // IPv4
        0xC0, 0x00, 0x02, 0x01, 0xE9, 0x36, 0x0C, 0x6F, // addresses
        0x1F, 0x90, 0x67, 0x6D, 0x00, 0x0C, 0xFC, 0x6A, b'a', b'b', b'c', b'd', // UDP
    ];
    const IPV4_AT: usize = 14;
    const UDP_AT: usize = 34;

    fn datagram() -> UdpDatagram<'static> {
        UdpDatagram {
            source: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 8080),
            destination: SocketAddrV4::new(Ipv4Addr::new(233, 54, 12, 111), 26477),
            payload: b"abcd",
        }
    }

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    fn with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut frame = FRAME.to_vec();
        for &(at, byte) in changes {
            frame[at] = byte;
        }
        frame
    }

    fn ethernet(frame: &[u8]) -> Result<Frame<'_>, Error> {
        Frame::parse(LinkType::Ethernet, frame)
    }

    #[test]
    fn every_link_type_leads_to_the_datagram() {
        let ip = &FRAME[IPV4_AT..];
        let cooked = b"\0\x02\0\x01\0\x06\x02\0\xC0\0\x02\x01\0\0\x08\0";
        let cooked2 = b"\x08\0\0\0\0\0\0\x02\0\x01\x02\x06\x02\0\xC0\0\x02\x01\0\0";
        let expected = Ok(Frame::Udp(datagram()));
        assert_eq!(ethernet(FRAME), expected);
        assert_eq!(Frame::parse(LinkType::RawIp, ip), expected);
        assert_eq!(Frame::parse(LinkType::LinuxCooked, &joined(&[cooked, ip])), expected);
        assert_eq!(Frame::parse(LinkType::LinuxCooked2, &joined(&[cooked2, ip])), expected);
        let numbers = [0, 1, 101, 113, 228, 276].map(LinkType::from_number);
        use LinkType::{Ethernet, LinuxCooked, LinuxCooked2, RawIp};
        assert_eq!(
            numbers,
            [None, Some(Ethernet), Some(RawIp), Some(LinuxCooked), Some(RawIp), Some(LinuxCooked2)]
        );
    }

    #[test]
    fn tags_are_passed_over() {
        let (addresses, rest) = FRAME.split_at(12);
        for tags in [&b"\x81\0\0\x8D"[..], b"\x88\xA8\0\x01\x81\0\0\x8D", b"\x91\0\0\x01\x81\0\0\x8D"] {
            assert_eq!(ethernet(&joined(&[addresses, tags, rest])), Ok(Frame::Udp(datagram())));
        }
        let only_tags = joined(&[addresses, &b"\x81\0\0\x8D".repeat(50)]);
        assert_eq!(ethernet(&only_tags), Err(Error::Truncated { needed: 214, actual: 212 }));
    }

    #[test]
    fn padding_and_options_are_passed_over() {
        let padded = joined(&[FRAME, &[0; 14]]);
        assert_eq!(ethernet(&padded), Ok(Frame::Udp(datagram())));
        let (before, after) = FRAME.split_at(UDP_AT);
        let mut options = joined(&[before, b"\x94\x04\0\0", after]);
        options[IPV4_AT] = 0x46;
        options[IPV4_AT + 3] = 36;
        assert_eq!(ethernet(&options), Ok(Frame::Udp(datagram())));
        let shorter_udp = with(&[(UDP_AT + 5, 11)]);
        assert_eq!(ethernet(&shorter_udp), Ok(Frame::Udp(UdpDatagram { payload: b"abc", ..datagram() })));
    }

    #[test]
    fn fragments_and_strangers_are_told_apart() {
        assert_eq!(ethernet(&with(&[(IPV4_AT + 6, 0x20)])), Ok(Frame::Fragment), "the first");
        assert_eq!(
            ethernet(&with(&[(IPV4_AT + 6, 0x00), (IPV4_AT + 7, 1)])),
            Ok(Frame::Fragment),
            "the last"
        );
        assert_eq!(ethernet(&with(&[(IPV4_AT + 9, 6)])), Ok(Frame::Other), "TCP");
        assert_eq!(ethernet(&with(&[(12, 0x86), (13, 0xDD)])), Ok(Frame::Other), "IPv6");
        assert_eq!(ethernet(&with(&[(12, 0x00), (13, 0x40)])), Ok(Frame::Other), "802.3 length");
        assert_eq!(Frame::parse(LinkType::RawIp, &[0x60; 40]), Ok(Frame::Other), "IPv6");
    }

    #[test]
    fn a_frame_cut_off_anywhere_says_how_long_it_should_be() {
        for len in 0..FRAME.len() {
            let Err(Error::Truncated { needed, actual }) = ethernet(&FRAME[..len]) else {
                panic!("{len} bytes are not the whole frame")
            };
            assert!(actual == len && (len + 1..=FRAME.len()).contains(&needed), "{needed} after {len}");
        }
    }

    #[test]
    fn headers_that_contradict_themselves_are_refused() {
        let name = |changes| match ethernet(&with(changes)) {
            Err(Error::Field { name }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(&[(IPV4_AT, 0x65)]), "IPv4 version");
        assert_eq!(name(&[(IPV4_AT, 0x44)]), "IPv4 header length");
        assert_eq!(name(&[(IPV4_AT + 3, 19)]), "IPv4 total length");
        assert_eq!(name(&[(IPV4_AT, 0x4F)]), "IPv4 total length");
        assert_eq!(name(&[(IPV4_AT + 3, 27)]), "UDP length");
        assert_eq!(name(&[(UDP_AT + 5, 7)]), "UDP length");
        assert_eq!(name(&[(UDP_AT + 5, 13)]), "UDP length");
    }

    #[test]
    fn headers_are_written_with_check_sums() {
        let mut buffer = [0; FRAME_HEADER_BYTES];
        assert_eq!(datagram().emit_headers(&mut buffer), FRAME_HEADER_BYTES);
        assert_eq!(&buffer, &FRAME[..FRAME_HEADER_BYTES]);
        assert_eq!(datagram().emit_headers(&mut buffer[1..]), 0);
    }

    /// A heartbeat as an exchange sent it on 2023-08-22, with the check sums of its own hardware.
    #[test]
    fn check_sums_agree_with_a_real_frame() {
        let ipv4 = b"\x45\0\x00\x30\xE3\x3D\x40\0\x12\x11\xD9\xB5\xCE\xC8\xE7\x2C\xE9\x36\x0C\x9E";
        assert_eq!(Sum::of(ipv4).folded(), Sum::VALID);
        let datagram = UdpDatagram {
            source: SocketAddrV4::new(Ipv4Addr::new(206, 200, 231, 44), 42120),
            destination: SocketAddrV4::new(Ipv4Addr::new(233, 54, 12, 158), 18024),
            payload: b"000008367I\0\0\0\0\0\x05\xD9\x21\0\0",
        };
        let mut buffer = [0; FRAME_HEADER_BYTES];
        datagram.emit_headers(&mut buffer);
        assert_eq!(buffer[..6], [0x01, 0x00, 0x5E, 0x36, 0x0C, 0x9E]);
        assert_eq!(buffer[UDP_AT..], [0xA4, 0x88, 0x46, 0x68, 0x00, 0x1C, 0x94, 0xBC]);
    }

    #[test]
    fn a_check_sum_of_zero_is_written_as_ones() {
        let addresses = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        // 17 (protocol) + 10 + 10 (both lengths) and these two bytes make 0xFFFF.
        let datagram = UdpDatagram {
            source: addresses,
            destination: addresses,
            payload: &(0xFFFF_u16 - 37).to_be_bytes(),
        };
        let mut buffer = [0; FRAME_HEADER_BYTES];
        datagram.emit_headers(&mut buffer);
        assert_eq!(buffer[40..], [0xFF, 0xFF]);
    }

    #[test]
    fn what_a_sound_host_sends_is_received_and_what_it_would_refuse_is_not() {
        let receive = |frame: &[u8]| UdpDatagram::receive(frame, true).map(|datagram| datagram.payload.len());
        assert_eq!(UdpDatagram::receive(FRAME, true), Ok(datagram()));
        let padded = joined(&[FRAME, &[0; 14]]);
        assert_eq!(UdpDatagram::receive(&padded, true), Ok(datagram()), "short frames are padded");
        for len in 0..FRAME.len() {
            assert_eq!(receive(&FRAME[..len]), Err(Unsound::Length), "cut to {len}");
        }
        for (changes, why) in [
            (&[(12, 0x86), (13, 0xDD)][..], Unsound::Kind),
            (&[(12, 0x81), (13, 0x00)], Unsound::Kind),
            (&[(IPV4_AT, 0x46)], Unsound::Kind),
            (&[(IPV4_AT + 6, 0x20)], Unsound::Kind),
            (&[(IPV4_AT + 7, 1)], Unsound::Kind),
            (&[(IPV4_AT + 9, 6)], Unsound::Kind),
            (&[(IPV4_AT + 3, 33)], Unsound::Length),
            (&[(IPV4_AT + 3, 27)], Unsound::Length),
            (&[(UDP_AT + 5, 7)], Unsound::Length),
            (&[(UDP_AT + 5, 13)], Unsound::Length),
            (&[(IPV4_AT + 8, 63)], Unsound::Checksum),
            (&[(UDP_AT + 8, b'A')], Unsound::Checksum),
        ] {
            assert_eq!(receive(&with(changes)), Err(why), "{changes:?}");
        }
        assert_eq!(UdpDatagram::receive(&with(&[(UDP_AT + 8, b'A')]), false).unwrap().payload, b"Abcd");
        assert_eq!(receive(&with(&[(UDP_AT + 6, 0), (UDP_AT + 7, 0)])), Ok(4), "no check sum");
        let udp_bytes = &FRAME[UDP_AT + 4..UDP_AT + 6];
        let pseudo_header = Sum::of(&FRAME[IPV4_AT + 12..UDP_AT]) + Sum::of_word(17) + Sum::of(udp_bytes);
        let [high, low] = pseudo_header.folded().to_be_bytes();
        assert_eq!(receive(&with(&[(UDP_AT + 6, high), (UDP_AT + 7, low)])), Ok(4), "left to an offload");
    }

    #[test]
    fn a_frame_leaves_for_its_hop_with_or_without_a_check_sum() {
        let hop = Hop { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2], ttl: 7 };
        for len in [0, 1, 2, 3, 63, 64, 65, 1_472] {
            let payload: Vec<u8> = (0..len).map(|at| (at * 5) as u8).collect();
            let datagram = UdpDatagram { payload: &payload, ..datagram() };
            for sum in [Some(Sum::of(&payload)), None] {
                let mut headers = [0; FRAME_HEADER_BYTES];
                assert_eq!(datagram.emit_headers_for(&hop, sum, &mut headers), FRAME_HEADER_BYTES);
                assert_eq!((&headers[..6], &headers[6..12]), (&hop.destination[..], &hop.source[..]));
                assert_eq!((headers[IPV4_AT + 8], headers[40..] == [0, 0]), (7, sum.is_none()));
                assert_eq!(UdpDatagram::receive(&joined(&[&headers, &payload]), true), Ok(datagram));
            }
        }
    }

    #[test]
    fn the_longest_payload_is_written_and_one_more_is_not() {
        let mut buffer = [0; FRAME_HEADER_BYTES];
        let payload = std::vec![0xFF; MAX_UDP_PAYLOAD_BYTES + 1];
        let mut datagram = UdpDatagram { payload: &payload, ..datagram() };
        assert_eq!(datagram.emit_headers(&mut buffer), 0);
        datagram.payload = &payload[1..];
        assert_eq!(datagram.emit_headers(&mut buffer), FRAME_HEADER_BYTES);
        assert_eq!(ethernet(&joined(&[&buffer, datagram.payload])), Ok(Frame::Udp(datagram)));
    }

    #[test]
    fn hosts_and_broadcasts_have_addresses_too() {
        assert_eq!(ethernet_address(Ipv4Addr::new(239, 255, 1, 2)), [1, 0, 0x5E, 0x7F, 1, 2]);
        assert_eq!(ethernet_address(Ipv4Addr::new(10, 1, 2, 3)), [2, 0, 10, 1, 2, 3]);
        assert_eq!(ethernet_address(Ipv4Addr::BROADCAST), [0xFF; 6]);
    }
}
