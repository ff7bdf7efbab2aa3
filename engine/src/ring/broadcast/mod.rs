//! One writer, many readers, messages of any length.
//!
//! | made by | sees | when it is too slow | how it reads |
//! |---|---|---|---|
//! | [`Subscriptions::reader`] → [`Reader`] | every message since it joined | the writer waits | in place |
//! | [`Subscriptions::guest`] → [`Guest`] | every message until it is evicted | the writer waits, or evicts it, at once | a copy |
//! | [`Subscriptions::tap`], [`attach`] → [`Tap`] | what it is fast enough for | it skips, and is told how much | a copy |
//!
//! The kinds are apart because of memory safety: what a [`Reader`] looks at must not be overwritten, so nothing can
//! take it off the gate but itself, by being dropped. Who may be overwritten reads a copy, made of single words with
//! relaxed atomic loads, and checks afterwards that nothing was overwritten meanwhile.
//!
//! Another process can tap the ring (see [`attach`]) and nothing else: no other process can hold the writer or change
//! a byte.
//!
//! **Writing.** A [`Claim`] is room in the ring that is written from its beginning to its end, part by part, and then
//! committed; nothing is staged. Only whole words are ever stored, atomically, which lets taps race with the writer
//! soundly: so a claim cannot be lent as bytes. Records stand at multiples of 8 bytes: at multiples of 16 bytes, or of
//! whole cache lines, they measured no faster, and the ring holds fewer.
//!
//! **Joining.** A reader or guest takes a free slot and is let in by the writer's next claim, at the position of that
//! claim: it sees every message claimed after [`Subscriptions::reader`] returned. Readers made before the first claim
//! therefore see everything.
//!
//! The idea of intent and tail is Agrona's broadcast buffer; cached positions are rtrb's and FastForward's.

mod guest;
mod layout;
mod reader;
mod seat;
mod tap;
mod writer;

use std::path::PathBuf;

pub use guest::{Evicted, Guest};
pub use reader::Reader;
pub use tap::{Overrun, Tap};
pub use writer::{Batch, Claim, Refused, Writer};

use crate::limits::MAX_RING_READERS;
use crate::mem::{Region, RegionView};
use layout::{MIN_CAPACITY_BYTES, Shared};

/// Shape of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// Bytes of records the ring holds: a power of two, from 4 KiB to 1 TiB.
    pub capacity_bytes: usize,
    /// Readers and guests at one time, up to [`MAX_RING_READERS`]. Taps are not counted.
    pub max_readers: usize,
}

impl RingSpec {
    /// Memory that the ring needs.
    pub const fn region_bytes(&self) -> usize {
        layout::region_bytes(self)
    }

    /// Longest message that fits: an eighth of the ring less 8 bytes, or
    /// [`MAX_RING_MESSAGE_BYTES`](crate::limits::MAX_RING_MESSAGE_BYTES).
    pub const fn max_message_bytes(&self) -> usize {
        layout::max_message_bytes(self.capacity_bytes)
    }
}

/// Why a ring could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// Capacity out of range.
    #[error(
        "a ring of {capacity_bytes} bytes is not possible: \
         choose a power of two from {MIN_CAPACITY_BYTES} bytes to 1 TiB"
    )]
    Capacity {
        /// As asked for.
        capacity_bytes: usize,
    },
    /// Too many readers.
    #[error("a ring with {max_readers} readers is not possible: the most is {MAX_RING_READERS}")]
    Readers {
        /// As asked for.
        max_readers: usize,
    },
    /// The region is too small.
    #[error("the ring needs {needed_bytes} bytes of memory and was given {actual_bytes}")]
    TooSmall {
        /// [`RingSpec::region_bytes`].
        needed_bytes: usize,
        /// Of the region.
        actual_bytes: usize,
    },
    /// Others could write the memory.
    #[error("a ring cannot stand in a file that others may write: use anonymous or shared (sealed) memory")]
    Writable,
}

/// Why there is nothing to attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Not a ring, or cut off.
    #[error("there is no broadcast ring in this memory")]
    NoRing,
    /// Another version of the layout.
    #[error(
        "the ring has layout version {found}, this program knows {known}: use the same build on both sides"
    )]
    Version {
        /// In the memory.
        found: u64,
        /// Ours.
        known: u64,
    },
}

/// Every slot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {max_readers} readers of the ring are taken: raise max_readers")]
pub struct NoSlot {
    /// [`RingSpec::max_readers`].
    pub max_readers: usize,
}

/// Lays a ring out in `region`.
///
/// # Errors
/// See [`CreateError`].
pub fn create(spec: RingSpec, region: Region) -> Result<(Writer, Subscriptions), CreateError> {
    let path = region.path();
    let shared = Shared::create(&spec, region)?;
    Ok((Writer::new(shared.clone()), Subscriptions { shared, path }))
}

/// Taps the ring of another process, from its current end. `view` is [`RegionView::open`] of
/// [`Subscriptions::path`].
///
/// # Errors
/// See [`AttachError`].
pub fn attach(view: RegionView) -> Result<Tap, AttachError> {
    Ok(Tap::new(Shared::attach(view)?))
}

/// Adds readers to a ring, before it is used and while it is; clones are the same ring. Cold: allocates.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    shared: Shared,
    path: Option<PathBuf>,
}

impl Subscriptions {
    /// A reader that the writer waits for. See the module's documentation for where it starts.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn reader(&self) -> Result<Reader, NoSlot> {
        Reader::join(&self.shared)
    }

    /// A reader that the writer waits for until it has enough of it.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn guest(&self) -> Result<Guest, NoSlot> {
        Guest::join(&self.shared)
    }

    /// A reader that the writer does not know of, from the current end.
    pub fn tap(&self) -> Tap {
        Tap::new(self.shared.clone())
    }

    /// Where another process finds the ring's memory; `None` when it is private.
    pub fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }
}
