//! Where a standby's journal is to begin, which no journal reaches back to.

use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FLAG_POSITION, Header, IMAGE, Origin, Position, PositionLayout, check, seal};
use crate::{Error, SeqNo, Session};

/// Bytes of an [`Image`] before its sources.
pub const IMAGE_BYTES: usize = 80;
/// Bytes of one source in an [`Image`].
pub const IMAGE_SOURCE_BYTES: usize = 18;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ImageLayout {
    header: Header,
    position: PositionLayout,
    sources: U16,
    reserved: U16,
    stamp_ns: U64,
    replaces: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SourceLayout {
    next: U64,
    session: Session,
}

const _: () = assert!(size_of::<ImageLayout>() == IMAGE_BYTES);
const _: () = assert!(size_of::<SourceLayout>() == IMAGE_SOURCE_BYTES);

/// Where a standby's journal is to begin: a committed point of the primary's history, and all that a sequencer must know
/// there to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// The primary of an epoch.
    pub origin: Origin,
    /// The point. It is not behind the end of the session.
    pub position: Position,
    /// Event time of the frame before, in ns since the Unix epoch.
    pub stamp_ns: u64,
    /// Incarnation of the standby's journal that this is to take the place of: no other heeds it.
    pub replaces: u64,
    /// Each source by its number; those that are missing at the end have said nothing yet.
    pub sources: ImageSources<'a>,
}

/// The sources of an [`Image`]: of each its own number that comes next, and its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSources<'a>(&'a [u8]);

impl<'a> ImageSources<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / IMAGE_SOURCE_BYTES
    }

    /// Whether no source has said anything yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, from source 0 on.
    pub fn iter(&self) -> impl Iterator<Item = (SeqNo, Session)> + 'a {
        let layouts = self.0.chunks_exact(IMAGE_SOURCE_BYTES);
        layouts.filter_map(|bytes| {
            let layout = SourceLayout::ref_from_bytes(bytes).ok()?;
            Some((SeqNo::new(layout.next.get())?, layout.session))
        })
    }
}

impl<'a> Image<'a> {
    pub(super) fn read(datagram: &'a [u8]) -> Result<Image<'a>, Error> {
        let (layout, sources) = ImageLayout::ref_from_prefix(datagram)
            .map_err(|_| Error::Truncated { needed: IMAGE_BYTES, actual: datagram.len() })?;
        let needed = usize::from(layout.sources.get()) * IMAGE_SOURCE_BYTES;
        if needed > sources.len() {
            return Err(Error::Truncated { needed: IMAGE_BYTES + needed, actual: datagram.len() });
        }
        if needed < sources.len() {
            return Err(Error::Trailing { offset: IMAGE_BYTES + needed });
        }
        let header = &layout.header;
        check(header.flags == 0, "flags")?;
        check(header.epoch != U64::ZERO, "epoch")?;
        check(layout.reserved == U16::ZERO, "reserved")?;
        let position = header.position(&layout.position)?;
        let sources = ImageSources(sources);
        if sources.iter().count() < sources.len() {
            return Err(Error::SeqNo);
        }
        Ok(Image {
            origin: header.origin(),
            position,
            stamp_ns: layout.stamp_ns.get(),
            replaces: layout.replaces.get(),
            sources,
        })
    }

    /// Writes the datagram and gives its length; 0 when `buffer` is too short.
    pub fn emit(&self, buffer: &mut [u8], crc32c: impl Fn(&[u8]) -> u32) -> usize {
        let Image { origin, position, stamp_ns, replaces, sources } = self;
        emit_image(origin, position, *stamp_ns, *replaces, sources.iter(), buffer, crc32c)
    }
}

/// Writes an [`Image`] of these sources and gives its length; 0 when `buffer` is too short.
pub fn emit_image(
    origin: &Origin,
    position: &Position,
    stamp_ns: u64,
    replaces: u64,
    sources: impl Iterator<Item = (SeqNo, Session)>,
    buffer: &mut [u8],
    crc32c: impl Fn(&[u8]) -> u32,
) -> usize {
    let mut len = IMAGE_BYTES;
    let mut count = 0u16;
    for (next, session) in sources {
        let source = SourceLayout { next: next.value().into(), session };
        let Some(room) = buffer.get_mut(len..len + IMAGE_SOURCE_BYTES) else { return 0 };
        room.copy_from_slice(source.as_bytes());
        len += IMAGE_SOURCE_BYTES;
        count += 1;
    }
    let Some(datagram) = buffer.get_mut(..len) else { return 0 };
    let layout = ImageLayout {
        header: Header::of(origin, IMAGE, if position.at.ended { FLAG_POSITION } else { 0 }),
        position: PositionLayout::of(position),
        sources: count.into(),
        reserved: U16::ZERO,
        stamp_ns: stamp_ns.into(),
        replaces: replaces.into(),
    };
    datagram[..IMAGE_BYTES].copy_from_slice(layout.as_bytes());
    seal(datagram, crc32c)
}
