//! Asks a rewind server for one message.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use seqcast_wire::mold::{Downstream, HEADER_BYTES, Request};
use seqcast_wire::{SeqNo, Session};

use super::evidence::Rewind;

/// A datagram may be lost: so often is asked.
const TRIES: usize = 4;
const PATIENCE: Duration = Duration::from_millis(300);

/// What the server at `address` does when it is asked for message `seq`.
pub(super) fn ask(address: SocketAddrV4, session: Session, seq: SeqNo) -> Rewind {
    exchange(address, session, seq).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Rewind::Unreachable("nobody listens there".into()),
        _ => Rewind::Unreachable(error.to_string()),
    })
}

fn exchange(address: SocketAddrV4, session: Session, seq: SeqNo) -> io::Result<Rewind> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Connected: what others send is not heard, and a port without a listener is told.
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; HEADER_BYTES];
    let bytes = Request { session, first: seq, count: 1 }.emit(&mut request);
    let mut reply = vec![0; 1 << 16];
    for _ in 0..TRIES {
        socket.send(&request[..bytes])?;
        match socket.recv(&mut reply) {
            Ok(bytes) => match Downstream::parse(&reply[..bytes]) {
                Ok(datagram) if datagram.session() == session => return Ok(Rewind::Answered),
                Ok(datagram) => return Ok(Rewind::OtherSession(datagram.session().to_string())),
                Err(_) => {}
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Rewind::Silent)
}
