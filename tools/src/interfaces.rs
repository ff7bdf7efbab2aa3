//! The IPv4 addresses of this host's interfaces, as the kernel tells them (rtnetlink).

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{netdevice, recv, sendto, socket_with};

const RTM_GETADDR: u16 = 22;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
const HEADER_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;

/// An address and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) interface: String,
    pub(crate) index: u32,
    pub(crate) address: Ipv4Addr,
}

/// All IPv4 addresses of this host.
pub(crate) fn addresses() -> io::Result<Vec<Address>> {
    // Without a protocol: number 0, which of netlink's is the routing one.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut request = Vec::with_capacity(HEADER_BYTES + ADDRESS_BYTES);
    request.extend_from_slice(&((HEADER_BYTES + ADDRESS_BYTES) as u32).to_ne_bytes());
    request.extend_from_slice(&RTM_GETADDR.to_ne_bytes());
    request.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[AF_INET, 0, 0, 0, 0, 0, 0, 0]);
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut addresses = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (bytes, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let (found, is_done) = parse(&buffer[..bytes])?;
        for (index, address) in found {
            // An interface may be gone by now.
            if let Ok(interface) = netdevice::index_to_name(&socket, index) {
                addresses.push(Address { interface, index, address });
            }
        }
        if is_done {
            return Ok(addresses);
        }
    }
}

/// The addresses of an answer, each with the number of its interface, and whether it is the last.
fn parse(mut answer: &[u8]) -> io::Result<(Vec<(u32, Ipv4Addr)>, bool)> {
    let cut_off = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's list of addresses is cut off");
    let mut found = Vec::new();
    while !answer.is_empty() {
        let (length, kind) = (u32_at(answer, 0), u16_at(answer, 4));
        let (Some(length), Some(kind)) = (length, kind) else { return Err(cut_off()) };
        let length = length as usize;
        let message = answer.get(HEADER_BYTES..length).ok_or_else(cut_off)?;
        match kind {
            NLMSG_DONE => return Ok((found, true)),
            NLMSG_ERROR => {
                let code = u32_at(message, 0).ok_or_else(cut_off)? as i32;
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            RTM_NEWADDR => found.extend(address(message)),
            _ => {}
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((found, false))
}

fn address(message: &[u8]) -> Option<(u32, Ipv4Addr)> {
    let index = u32_at(message, 4)?;
    let mut attributes = message.get(ADDRESS_BYTES..)?;
    let (mut local, mut address) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        let octets = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        match kind {
            IFA_LOCAL => local = octets,
            IFA_ADDRESS => address = octets,
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // On point-to-point links the other one is the peer's.
    Some((index, local.or(address)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loopback_has_its_address() {
        let addresses = addresses().unwrap();
        let is_lo = |a: &&Address| a.address == Ipv4Addr::LOCALHOST;
        assert_eq!(addresses.iter().find(is_lo).unwrap().interface, "lo");
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_is_fatal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
