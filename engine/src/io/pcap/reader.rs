//! Reads the UDP datagrams of a capture file: pcap with micro- or nanoseconds and either byte order, and pcapng.

use std::fs::File;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use pcap_parser::pcapng::{Block, InterfaceDescriptionBlock};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};
use seqcast_wire::Error as FrameError;
use seqcast_wire::net::{Frame, LinkType};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// A block longer than this is taken for damage.
const MAX_BLOCK_BYTES: usize = 1 << 24;

/// A UDP datagram of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When it was captured, ns since the Unix epoch.
    pub stamp_ns: u64,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Whom it was for.
    pub destination: SocketAddrV4,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// Packets of a capture that are not whole UDP datagrams over IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Other protocols.
    pub other: u64,
    /// Fragments of larger datagrams, which are not put together.
    pub fragments: u64,
    /// Cut by the capture's snapshot length: capture with `-s 0`.
    pub cut: u64,
    /// Headers that contradict themselves.
    pub damaged: u64,
    /// Frames of a link type that is not read.
    pub unknown_link: u64,
}

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file system refused.
    #[error("cannot read {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a capture: it starts like neither pcap nor pcapng")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file ends too early: its writer was stopped, or the copy was.
    #[error("{path} ends within packet {packet}, at byte {offset}; all before it was read")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Number of the packet (or other block) that is not whole, from 1.
        packet: u64,
        /// Where it starts.
        offset: u64,
    },
    /// Bytes that are no packet.
    #[error("{path} is damaged at packet {packet}, byte {offset} ({what}); all before it was read")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Number of the packet (or other block) that is damaged, from 1.
        packet: u64,
        /// Where it starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A speed at which nothing would ever be due.
    #[error("cannot play at a speed of {0}: it must be above 0")]
    Speed(f64),
}

impl From<CaptureError> for io::Error {
    fn from(error: CaptureError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The UDP datagrams of a capture file, in the file's order. It lends each, so it is no `Iterator`:
///
/// ```no_run
/// # use seqcast_engine::io::pcap::{CaptureError, CaptureReader};
/// # fn main() -> Result<(), CaptureError> {
/// let mut capture = CaptureReader::open("feed.pcap".as_ref())?;
/// while let Some(datagram) = capture.next_datagram()? {
///     println!("{} {} bytes", datagram.destination, datagram.payload.len());
/// }
/// # Ok(())
/// # }
/// ```
pub struct CaptureReader {
    path: PathBuf,
    blocks: Box<dyn PcapReaderIterator + Send>,
    found: Found,
    ended: bool,
}

/// What was made of the blocks so far.
#[derive(Default)]
struct Found {
    interfaces: Vec<Interface>,
    big_endian: bool,
    packets: u64,
    skipped: Skipped,
    stamp_ns: u64,
    addresses: Option<(SocketAddrV4, SocketAddrV4)>,
    payload: Vec<u8>,
}

struct Interface {
    link: Option<LinkType>,
    units_per_s: u64,
    offset_s: i64,
}

impl CaptureReader {
    /// Opens a capture.
    ///
    /// # Errors
    /// [`CaptureError::File`] and [`CaptureError::Format`].
    pub fn open(path: &Path) -> Result<CaptureReader, CaptureError> {
        let file = File::open(path).map_err(|cause| CaptureError::File { path: path.into(), cause })?;
        let blocks = create_reader(BUFFER_BYTES, file).map_err(|error| match error {
            PcapError::ReadError => unreadable(path),
            _ => CaptureError::Format { path: path.into() },
        })?;
        Ok(CaptureReader { path: path.into(), blocks, found: Found::default(), ended: false })
    }

    /// The next datagram; `None` at the end, and ever after an error.
    ///
    /// # Errors
    /// Where the file is cut off or damaged. Everything before was given.
    pub fn next_datagram(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        self.advance()?;
        Ok(self.current())
    }

    /// What was found last; `None` before the start and after the end.
    pub(super) fn current(&self) -> Option<Captured<'_>> {
        let (source, destination) = self.found.addresses?;
        Some(Captured { stamp_ns: self.found.stamp_ns, source, destination, payload: &self.found.payload })
    }

    /// Packets that were read so far and are no whole UDP datagrams.
    pub fn skipped(&self) -> Skipped {
        self.found.skipped
    }

    /// Packets read so far, of any kind.
    pub fn packets(&self) -> u64 {
        self.found.packets
    }

    /// Reads up to the next datagram; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, CaptureError> {
        self.found.addresses = None;
        while !self.ended {
            let error = match self.blocks.next() {
                Ok((bytes, block)) => {
                    self.found.take(&block);
                    drop(block);
                    self.blocks.consume(bytes);
                    if self.found.addresses.is_some() {
                        return Ok(true);
                    }
                    continue;
                }
                Err(error) => without_input(&error),
            };
            if let Err(error) = self.read_on(error) {
                self.ended = true;
                return Err(error);
            }
        }
        Ok(false)
    }

    /// Gets the reader what it lacks, or says why that cannot be.
    fn read_on(&mut self, error: PcapError<()>) -> Result<(), CaptureError> {
        match error {
            PcapError::Eof => {
                self.ended = true;
                return Ok(());
            }
            PcapError::Incomplete(_) => {}
            PcapError::BufferTooSmall => {
                let bytes = 2 * self.blocks.data().len().max(BUFFER_BYTES);
                if bytes > MAX_BLOCK_BYTES || !self.blocks.grow(bytes) {
                    return Err(self.damaged("its length is out of reason"));
                }
            }
            PcapError::UnexpectedEof => {
                let (packet, offset) = self.place();
                return Err(CaptureError::Truncated { path: self.path.clone(), packet, offset });
            }
            PcapError::ReadError => return Err(unreadable(&self.path)),
            _ => return Err(self.damaged("it is no packet")),
        }
        let refilled = self.blocks.refill().map_err(|_| ());
        refilled.map_err(|()| unreadable(&self.path))
    }

    fn damaged(&self, what: &'static str) -> CaptureError {
        let (packet, offset) = self.place();
        CaptureError::Damaged { path: self.path.clone(), packet, offset, what }
    }

    fn place(&self) -> (u64, u64) {
        (self.found.packets + 1, self.blocks.consumed() as u64)
    }
}

impl Found {
    fn take(&mut self, block: &PcapBlockOwned<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.interfaces.push(Interface {
                link: LinkType::from_number(header.network.0 as u32),
                units_per_s: if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 },
                offset_s: 0,
            }),
            PcapBlockOwned::Legacy(packet) => {
                let units_per_s = self.interfaces.first().map_or(1, |interface| interface.units_per_s);
                let units = u64::from(packet.ts_sec) * units_per_s + u64::from(packet.ts_usec);
                self.take_frame(0, Some(units), packet.data);
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                self.big_endian = section.big_endian();
                self.interfaces.clear();
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => self.take_interface(interface),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                self.take_frame(packet.if_id as usize, Some(units), packet.packet_data());
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                self.take_frame(0, None, packet.packet_data());
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn take_interface(&mut self, interface: &InterfaceDescriptionBlock<'_>) {
        let exponent = u32::from(interface.if_tsresol & 0x7f);
        let base: u64 = if interface.if_tsresol & 0x80 == 0 { 10 } else { 2 };
        // The parser reads the offset as little-endian always.
        let offset_s = interface.if_tsoffset;
        self.interfaces.push(Interface {
            link: LinkType::from_number(interface.linktype.0 as u32),
            units_per_s: base.checked_pow(exponent).unwrap_or(u64::MAX),
            offset_s: if self.big_endian { offset_s.swap_bytes() } else { offset_s },
        });
    }

    /// A packet without a time is as old as the one before.
    fn take_frame(&mut self, interface: usize, units: Option<u64>, frame: &[u8]) {
        self.packets += 1;
        let Some(Interface { link: Some(link), units_per_s, offset_s }) = self.interfaces.get(interface)
        else {
            self.skipped.unknown_link += 1;
            return;
        };
        if let Some(units) = units {
            let ns = u128::from(units) * 1_000_000_000 / u128::from(*units_per_s);
            let offset_ns = i128::from(*offset_s) * 1_000_000_000;
            self.stamp_ns = (ns as i128 + offset_ns).clamp(0, i128::from(u64::MAX)) as u64;
        }
        match Frame::parse(*link, frame) {
            Ok(Frame::Udp(datagram)) => {
                self.addresses = Some((datagram.source, datagram.destination));
                self.payload.clear();
                self.payload.extend_from_slice(datagram.payload);
            }
            Ok(Frame::Fragment) => self.skipped.fragments += 1,
            Ok(Frame::Other) => self.skipped.other += 1,
            Err(FrameError::Truncated { .. }) => self.skipped.cut += 1,
            Err(_) => self.skipped.damaged += 1,
        }
    }
}

/// The same error without the input it borrows.
fn without_input(error: &PcapError<&[u8]>) -> PcapError<()> {
    match error {
        PcapError::Eof => PcapError::Eof,
        PcapError::BufferTooSmall => PcapError::BufferTooSmall,
        PcapError::UnexpectedEof => PcapError::UnexpectedEof,
        PcapError::ReadError => PcapError::ReadError,
        PcapError::Incomplete(bytes) => PcapError::Incomplete(*bytes),
        PcapError::HeaderNotRecognized => PcapError::HeaderNotRecognized,
        PcapError::NomError(_, kind) | PcapError::OwnedNomError(_, kind) => PcapError::NomError((), *kind),
    }
}

/// The parser keeps what the file system said to itself.
fn unreadable(path: &Path) -> CaptureError {
    CaptureError::File { path: path.into(), cause: io::Error::other("the file system gave an error") }
}
