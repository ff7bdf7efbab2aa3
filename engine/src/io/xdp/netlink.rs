//! What the kernel knows of interfaces, routes and neighbours, asked over a netlink socket (rtnetlink(7)).
//!
//! A request is answered before the call that sends it returns; nothing here waits.

use std::io::{self, Read};
use std::net::Ipv4Addr;

use socket2::{Domain, Protocol, Socket, Type};

use super::sys;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NTF_USE: u8 = 1;
const RTN_UNICAST: u8 = 1;
const ARPHRD_ETHER: u16 = 1;

/// States of a neighbour whose Ethernet address is good to send to: REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT.
const USABLE_STATES: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;

const GROUP_LINK: u32 = 0x01;
const GROUP_NEIGHBOUR: u32 = 0x04;
const GROUP_IPV4_ADDRESS: u32 = 0x10;
const GROUP_IPV4_ROUTE: u32 = 0x40;

const HEADER_BYTES: usize = 16;
/// The kernel's answers fit this, dumps come in parts of it.
const BUFFER_BYTES: usize = 32 << 10;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// None when it is no Ethernet.
    pub(super) ethernet: Option<[u8; 6]>,
    pub(super) mtu: usize,
}

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) interface: u32,
    pub(super) gateway: Option<Ipv4Addr>,
}

/// Something that may concern a way or a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This neighbour is other than before.
    Neighbour(Ipv4Addr),
    /// Interfaces, addresses or routes are; or so much has happened that not all was told.
    Anything,
}

/// A socket for requests, or for news.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Netlink {
    /// For requests, in the network namespace of this thread.
    pub(super) fn new() -> io::Result<Netlink> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_nonblocking(true)?;
        Ok(Netlink { socket, request: Vec::with_capacity(128), buffer: vec![0; BUFFER_BYTES] })
    }

    /// For [`Netlink::poll_news`].
    pub(super) fn for_news() -> io::Result<Netlink> {
        let netlink = Netlink::new()?;
        let groups = GROUP_LINK | GROUP_NEIGHBOUR | GROUP_IPV4_ADDRESS | GROUP_IPV4_ROUTE;
        sys::bind_netlink(&netlink.socket, groups)?;
        Ok(netlink)
    }

    /// The interface that has `address`.
    pub(super) fn interface_of(&mut self, address: Ipv4Addr) -> io::Result<Option<u32>> {
        let mut found = None;
        self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8], &[], |kind, body| {
            let Some((head, attributes)) = body.split_first_chunk::<8>() else { return };
            let local = Attributes(attributes).find(|(kind, _)| *kind == IFA_LOCAL);
            if kind == RTM_NEWADDR && local.and_then(|(_, value)| ipv4(value)) == Some(address) {
                found = Some(number(&head[4..]));
            }
        })?;
        Ok(found)
    }

    /// What there is to know of an interface.
    pub(super) fn link(&mut self, interface: u32) -> io::Result<Link> {
        let mut head = [0; 16];
        head[4..8].copy_from_slice(&interface.to_ne_bytes());
        let mut found = None;
        self.ask(RTM_GETLINK, 0, &head, &[], |kind, body| {
            if kind == RTM_NEWLINK && body.len() >= 16 {
                found = Some(parse_link(body));
            }
        })?;
        found.ok_or_else(|| io::Error::other(format!("the kernel says nothing of interface {interface}")))
    }

    /// Where the kernel would send a packet from `source` to `destination`; `None` when it would keep it here, or
    /// not send it.
    pub(super) fn way(&mut self, source: Ipv4Addr, destination: Ipv4Addr) -> io::Result<Option<Way>> {
        let mut head = [0; 12];
        (head[0], head[1], head[2]) = (libc::AF_INET as u8, 32, 32);
        let attributes = [(RTA_DST, &destination.octets()[..]), (RTA_SRC, &source.octets())];
        let mut found = None;
        let asked = self.ask(RTM_GETROUTE, 0, &head, &attributes, |kind, body| {
            if kind == RTM_NEWROUTE && body.len() >= 12 {
                found = parse_way(body);
            }
        });
        match asked {
            Err(error) if is_unreachable(&error) => Ok(None),
            outcome => outcome.map(|()| found),
        }
    }

    /// The Ethernet address of a neighbour, as far as the kernel knows it.
    pub(super) fn neighbour(&mut self, interface: u32, address: Ipv4Addr) -> io::Result<Option<[u8; 6]>> {
        let mut found = None;
        let head = neighbour_head(interface, 0);
        let asked = self.ask(RTM_GETNEIGH, 0, &head, &[(NDA_DST, &address.octets())], |kind, body| {
            if kind == RTM_NEWNEIGH {
                found = parse_neighbour(body).and_then(|(_, ethernet)| ethernet);
            }
        });
        match asked {
            Err(error) if is_unreachable(&error) => Ok(None),
            outcome => outcome.map(|()| found),
        }
    }

    /// Tells the kernel that a neighbour is in use, so that it makes sure that it is still there.
    pub(super) fn use_neighbour(&mut self, interface: u32, address: Ipv4Addr) {
        let head = neighbour_head(interface, NTF_USE);
        // Refused when the neighbour is gone: then the next question says so.
        let _ = self.ask(RTM_NEWNEIGH, 0, &head, &[(NDA_DST, &address.octets())], |_, _| {});
    }

    /// Hands on what has changed since the last call. Never blocks.
    pub(super) fn poll_news(&mut self, interface: u32, mut on_news: impl FnMut(News)) {
        loop {
            match self.receive() {
                Ok(len) => each_message(&self.buffer[..len], |kind, body| match kind {
                    RTM_NEWNEIGH | RTM_DELNEIGH => {
                        let ours = body.len() >= 12 && number(&body[4..]) == interface;
                        if let Some((address, _)) = parse_neighbour(body).filter(|_| ours) {
                            on_news(News::Neighbour(address));
                        }
                    }
                    _ => on_news(News::Anything),
                }),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => on_news(News::Anything),
                Err(_) => return,
            }
        }
    }

    /// Sends a request and hands its answers to `on_answer`: message type and body.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        head: &[u8],
        attributes: &[(u16, &[u8])],
        mut on_answer: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        // Answers to a request that was given up.
        while self.receive().is_ok() {}
        write_request(&mut self.request, kind, flags, head, attributes);
        self.socket.send(&self.request)?;
        let dump = flags & NLM_F_DUMP != 0;
        loop {
            let len = match self.receive() {
                Ok(len) => len,
                // A request without an answer asks for none.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut end = !dump;
            let mut refused = None;
            each_message(&self.buffer[..len], |kind, body| match kind {
                NLMSG_ERROR if body.len() >= 4 && number(body) != 0 => {
                    refused = Some(io::Error::from_raw_os_error((number(body) as i32).wrapping_neg()));
                }
                NLMSG_ERROR | NLMSG_DONE => end = true,
                _ => on_answer(kind, body),
            });
            if let Some(refused) = refused {
                return Err(refused);
            }
            if end {
                return Ok(());
            }
        }
    }

    /// The next answer's length.
    fn receive(&mut self) -> io::Result<usize> {
        (&self.socket).read(&mut self.buffer)
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENOENT | libc::EINVAL | libc::EACCES)
    )
}

fn neighbour_head(interface: u32, flags: u8) -> [u8; 12] {
    let mut head = [0; 12];
    head[0] = libc::AF_INET as u8;
    head[4..8].copy_from_slice(&interface.to_ne_bytes());
    head[10] = flags;
    head
}

fn write_request(bytes: &mut Vec<u8>, kind: u16, flags: u16, head: &[u8], attributes: &[(u16, &[u8])]) {
    bytes.clear();
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend(head);
    for (kind, value) in attributes {
        bytes.extend((4 + value.len() as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
}

/// The first four bytes, in the machine's order.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn each_message(mut bytes: &[u8], mut on_message: impl FnMut(u16, &[u8])) {
    while let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let len = number(head) as usize;
        if len < HEADER_BYTES || len > bytes.len() {
            return;
        }
        on_message(u16::from_ne_bytes([head[4], head[5]]), &bytes[HEADER_BYTES..len]);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Attributes: length with its header, type, value, padding to a multiple of four.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = self.0.get(4..len)?;
        // The upper two bits are flags.
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3FFF;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn parse_link(body: &[u8]) -> Link {
    let mut link = Link { name: String::new(), ethernet: None, mtu: 0 };
    let ethernet = u16::from_ne_bytes([body[2], body[3]]) == ARPHRD_ETHER;
    for (kind, value) in Attributes(&body[16..]) {
        match kind {
            IFLA_IFNAME => {
                let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(text).into_owned();
            }
            IFLA_ADDRESS if ethernet => link.ethernet = value.try_into().ok(),
            IFLA_MTU => link.mtu = number(value) as usize,
            _ => {}
        }
    }
    link
}

fn parse_way(body: &[u8]) -> Option<Way> {
    if body[7] != RTN_UNICAST {
        return None;
    }
    let mut interface = None;
    let mut gateway = None;
    for (kind, value) in Attributes(&body[12..]) {
        match kind {
            RTA_OIF => interface = Some(number(value)),
            RTA_GATEWAY => gateway = ipv4(value),
            _ => {}
        }
    }
    Some(Way { interface: interface?, gateway })
}

/// A neighbour's address, and its Ethernet address when that can be used.
fn parse_neighbour(body: &[u8]) -> Option<(Ipv4Addr, Option<[u8; 6]>)> {
    let (head, attributes) = body.split_first_chunk::<12>()?;
    let usable = u16::from_ne_bytes([head[8], head[9]]) & USABLE_STATES != 0;
    let (mut address, mut ethernet) = (None, None);
    for (kind, value) in Attributes(attributes) {
        match kind {
            NDA_DST => address = ipv4(value),
            NDA_LLADDR if usable => ethernet = value.try_into().ok(),
            _ => {}
        }
    }
    Some((address?, ethernet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback_and_sends_to_itself_on_no_way() {
        let mut netlink = Netlink::new().unwrap();
        let interface = netlink.interface_of(Ipv4Addr::LOCALHOST).unwrap().unwrap();
        let link = netlink.link(interface).unwrap();
        assert_eq!((&link.name[..], link.ethernet), ("lo", None));
        assert!(link.mtu > 0);
        assert_eq!(netlink.way(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).unwrap(), None);
        assert_eq!(netlink.neighbour(interface, Ipv4Addr::new(198, 51, 100, 7)).unwrap(), None);
        assert_eq!(netlink.interface_of(Ipv4Addr::new(198, 51, 100, 7)).unwrap(), None);
        assert!(netlink.link(1 << 30).is_err());
    }

    #[test]
    fn answers_that_are_cut_off_or_lie_are_bounded() {
        let neighbour = {
            let mut head = neighbour_head(3, 0);
            head[8..10].copy_from_slice(&2u16.to_ne_bytes());
            let attributes = [(NDA_DST, &[10, 0, 0, 9][..]), (NDA_LLADDR, &[2, 0, 0, 0, 0, 9])];
            let mut bytes = Vec::new();
            write_request(&mut bytes, RTM_NEWNEIGH, 0, &head, &attributes);
            bytes
        };
        let mut seen = Vec::new();
        each_message(&neighbour, |kind, body| seen.push((kind, parse_neighbour(body))));
        let expected = Some((Ipv4Addr::new(10, 0, 0, 9), Some([2, 0, 0, 0, 0, 9])));
        assert_eq!(seen, [(RTM_NEWNEIGH, expected)]);
        for len in 0..neighbour.len() {
            each_message(&neighbour[..len], |_, _| panic!("a message of {len} bytes"));
            let _ = parse_neighbour(&neighbour[HEADER_BYTES..len.max(HEADER_BYTES)]);
        }
        let endless = [4u8, 0, 1, 0].repeat(3);
        assert_eq!(Attributes(&endless).count(), 3);
        assert_eq!(Attributes(&[0, 0, 1, 0, 9, 9]).count(), 0);
    }
}
