//! Non-blocking TCP for the agents that speak it (snapshots, rewinds, replication): no buffers of its own, so that
//! what is bounded is bounded by the agent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that the kernel may hold for [`Listener::poll_accept`].
const PENDING_CONNECTIONS: i32 = 128;

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one. An address in use by sockets of an earlier process that are
    /// merely closing can be taken (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// What the kernel refused, with the address.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SockAddr::from(address))?;
            socket.listen(PENDING_CONNECTIONS)?;
            Ok(Listener { listener: socket.into() })
        };
        bind().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen at TCP {address}: {error}"))
        })
    }

    /// The address listened at, its port filled in.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, when there is one. Never blocks.
    ///
    /// # Errors
    /// Only what stands in the way of accepting at all, such as the limit of open files: try again later. A
    /// connection that its peer gave up before it was accepted is no error.
    pub fn poll_accept(&self) -> io::Result<Option<(Stream, SocketAddr)>> {
        loop {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => return Err(error),
                },
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            return Ok(Some((Stream { stream, connected: true }, peer)));
        }
    }
}

/// What [`Stream::try_read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRead {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing there yet.
    Empty,
    /// The peer has closed its side; nothing will follow.
    Closed,
}

/// A connection, `TCP_NODELAY` set. Nothing here blocks or buffers.
#[derive(Debug)]
pub struct Stream {
    stream: TcpStream,
    connected: bool,
}

impl Stream {
    /// Starts to connect to `peer` and does not wait. Call [`Stream::poll_connected`] until it is true, and give up
    /// by dropping the stream: the deadline is the caller's, who has the clock.
    ///
    /// # Errors
    /// What is known at once, with the address.
    pub fn connect(peer: SocketAddr) -> io::Result<Stream> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            match socket.connect(&SockAddr::from(peer)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                Err(error) => return Err(error),
            }
            Ok(Stream { stream: socket.into(), connected: false })
        };
        connect().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot connect to TCP {peer}: {error}"))
        })
    }

    /// Whether the connection stands. Never blocks.
    ///
    /// # Errors
    /// Why it will not come about: refused, unreachable, timed out by the kernel.
    pub fn poll_connected(&mut self) -> io::Result<bool> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => self.connected = true,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.connected)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` before the connection stands and after it broke.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Reads what is there into `bytes`.
    ///
    /// # Errors
    /// The connection broke; drop it.
    ///
    /// # Panics
    /// When `bytes` is empty, which could not be told from the end.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<TryRead> {
        assert!(!bytes.is_empty(), "nothing to read into");
        loop {
            match self.stream.read(bytes) {
                Ok(0) => return Ok(TryRead::Closed),
                Ok(len) => return Ok(TryRead::Bytes(len)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(TryRead::Empty),
                    // Still connecting.
                    io::ErrorKind::NotConnected if !self.connected => return Ok(TryRead::Empty),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Writes as much of `bytes` as the kernel takes now and gives that number, 0 when it has no room.
    ///
    /// # Errors
    /// The connection broke; drop it.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(len) => return Ok(len),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(0),
                    io::ErrorKind::NotConnected if !self.connected => return Ok(0),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Says that nothing more will be written; the peer reads [`TryRead::Closed`] after what was written.
    ///
    /// # Errors
    /// The connection broke before.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}
