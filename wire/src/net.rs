//! Ethernet, Linux cooked and raw IP frames that carry IPv4 and UDP: what captures are made of.
//!
//! Reading is for captures taken anywhere: VLAN tags, IP options, Ethernet padding and truncated frames are met, and
//! fragments are told, not guessed at. Check sums are not verified, because a capture on the sending host holds the
//! placeholders that checksum offload leaves; writing computes them.
//!
//! | written | offset | bytes |
//! |---|---|---|
//! | Ethernet II: destination, source, type 0x0800 | 0 | 14 |
//! | IPv4 without options (RFC 791) | 14 | 20 |
//! | UDP (RFC 768) | 34 | 8 |
//! | payload | 42 | … |

use core::net::{Ipv4Addr, SocketAddrV4};

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Error;

/// Bytes of the headers that [`UdpDatagram::emit_headers`] writes.
pub const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
/// Longest payload of a UDP datagram over IPv4.
pub const MAX_UDP_PAYLOAD_BYTES: usize = u16::MAX as usize - IPV4_BYTES - UDP_BYTES;

const ETHERNET_BYTES: usize = 14;
const VLAN_TAG_BYTES: usize = 4;
const COOKED_V1_BYTES: usize = 16;
const COOKED_V2_BYTES: usize = 20;
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
const _: () = assert!(FRAME_HEADER_BYTES == ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES);

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

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FrameHeader {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: U16,
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
                Some(first) if first >> 4 == 4 => ETHERTYPE_IPV4,
                Some(_) => return Ok(Frame::Other),
                None => return Err(Error::Truncated { needed: 1, actual: 0 }),
            },
            LinkType::Ethernet => reader.u16_at_end_of(ETHERNET_BYTES)?,
            LinkType::LinuxCooked => reader.u16_at_end_of(COOKED_V1_BYTES)?,
            LinkType::LinuxCooked2 => reader.u16_at_start_of(COOKED_V2_BYTES)?,
        };
        while let ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD = ethertype {
            ethertype = reader.u16_at_end_of(VLAN_TAG_BYTES)?;
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

    fn u16_at_end_of(&mut self, bytes: usize) -> Result<u16, Error> {
        self.take(bytes - 2)?;
        self.header::<U16>().map(|value| value.get())
    }

    fn u16_at_start_of(&mut self, bytes: usize) -> Result<u16, Error> {
        let value = self.header::<U16>()?.get();
        self.take(bytes - 2)?;
        Ok(value)
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
            ttl: TTL,
            protocol: PROTOCOL_UDP,
            checksum: U16::ZERO,
            source: self.source.ip().octets(),
            destination: self.destination.ip().octets(),
        };
        ipv4.checksum = U16::new(checksum(&[ipv4.as_bytes()]));
        let mut udp = UdpHeader {
            source: U16::new(self.source.port()),
            destination: U16::new(self.destination.port()),
            bytes: U16::new(udp_bytes),
            checksum: U16::ZERO,
        };
        let [high, low] = udp_bytes.to_be_bytes();
        let pseudo_header = [0, PROTOCOL_UDP, high, low];
        let parts = [&ipv4.source, &ipv4.destination, &pseudo_header, udp.as_bytes(), self.payload];
        // 0 on the wire would say that no check sum was computed.
        udp.checksum = U16::new(match checksum(&parts) {
            0 => u16::MAX,
            sum => sum,
        });
        let header = FrameHeader {
            destination: ethernet_address(*self.destination.ip()),
            source: ethernet_address(*self.source.ip()),
            ethertype: U16::new(ETHERTYPE_IPV4),
            ipv4,
            udp,
        };
        if header.write_to_prefix(buffer).is_ok() { FRAME_HEADER_BYTES } else { 0 }
    }
}

fn ethernet_address(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    if ip.is_multicast() {
        [0x01, 0x00, 0x5E, b & 0x7F, c, d]
    } else if ip.is_broadcast() {
        [0xFF; 6]
    } else {
        [0x02, 0x00, a, b, c, d]
    }
}

/// The internet check sum (RFC 1071) over `parts`, each of which but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (words, odd) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += odd.first().map_or(0, |&byte| u64::from(byte) << 8);
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}
