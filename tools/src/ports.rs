//! Ports for everybody that a command starts on this machine.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// `count` different ports that no UDP socket and no TCP listener of this host has now.
///
/// # Errors
/// What the system refused.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = udp.local_addr()?.port();
        // Held until all are found, so that none comes twice.
        if let Ok(tcp) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            held.push((port, udp, tcp));
        }
    }
    Ok(held.into_iter().map(|(port, ..)| port).collect())
}
