use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use seqcast_wire::SeqNo;

use super::JournalConfig;
use super::append::{Journal, begin};
use super::error::JournalError;
use super::mark::{Mark, Unproven};
use super::reader::JournalReader;
use super::scan::{Cut, Found, Scanned, scan};
use super::shared::{Segment, Shared};
use super::upkeep::{Preparer, Syncer, WARM_BYTES};
use crate::frame::Chain;
use crate::mem::append::{Appender, Memory};
use crate::mem::store::Store;

/// Segments that are prepared ahead of need.
const AHEAD: usize = 1;

/// An open journal, in parts.
pub struct Opened {
    /// Appends.
    pub journal: Journal,
    /// Reads.
    pub reader: JournalReader,
    /// Prepares segments and removes old ones.
    pub preparer: Preparer,
    /// Syncs.
    pub syncer: Syncer,
    /// What a restart must know.
    pub mark: Mark,
    /// What was found.
    pub recovered: Recovered,
}

/// What opening a journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the record stands: next number, last CRC, epoch and event time, each source, whether it ended.
    pub chain: Chain,
    /// The oldest number there is.
    pub oldest: SeqNo,
    /// The published watermark: a primary goes on publishing from here. Higher than the chain's next number when
    /// published messages are missing: then nothing may be numbered before they were fetched from elsewhere.
    pub published: SeqNo,
    /// The journal's incarnation from now on.
    pub incarnation: u64,
    /// Why it is a new one; `None` when the journal is proven whole and kept its incarnation.
    pub unproven: Option<Unproven>,
    /// The highest epoch promised.
    pub promised_epoch: u64,
    /// A torn end that was cut off.
    pub cut: Option<Cut>,
}

impl Journal {
    /// Opens the journal in `store`, or begins it there: checks every segment, cuts a torn end, and hands out the
    /// parts.
    ///
    /// # Errors
    /// See [`JournalError`]. What is damaged or foreign is left as it was.
    pub fn open(store: impl Store, config: &JournalConfig) -> Result<Opened, JournalError> {
        config.check()?;
        let store: Arc<dyn Store> = Arc::new(store);
        let list = store.list()?;
        let mut begun = Vec::new();
        let scanned = scan(
            Some(config.session),
            &list,
            &|index| store.place(index),
            |index| store.open(index),
            |found| begun.push(found),
        )?;
        let next = scanned.chain.next();
        let (mark, before, unproven) = Mark::open(Arc::clone(&store), config, !begun.is_empty(), next)?;
        discard(&*store, &scanned, &mut begun)?;
        let (segments, active, appender) = match begun.is_empty() {
            true => begin_first(&*store, config, mark.incarnation(), &scanned.chain)?,
            false => recovered_segments(begun),
        };
        let recovered = Recovered {
            chain: scanned.chain,
            oldest: segments.first().and_then(|segment| segment.first()).unwrap_or(next),
            published: before.published,
            incarnation: mark.incarnation(),
            unproven,
            promised_epoch: mark.promised_epoch(),
            cut: scanned.cut,
        };
        let end = appender.written();
        active.view.prefault(end..end + WARM_BYTES);
        let shared = Arc::new(Shared {
            active: CachePadded::new(AtomicU64::new(active.index)),
            next: CachePadded::new(AtomicU64::new(next.value())),
            synced: CachePadded::new(AtomicU64::new(before.synced.min(next).value())),
            segments: ArcSwap::from_pointee(segments),
        });
        Ok(parts(config, store, shared, mark, recovered, (active, appender)))
    }
}

/// Zeroes what was cut, so that nothing of it can ever be taken for frames, and removes segments never begun.
fn discard(store: &dyn Store, scanned: &Scanned, begun: &mut Vec<Found<Memory>>) -> Result<(), JournalError> {
    for &index in scanned.unused.iter().rev() {
        store.remove(index)?;
    }
    if let Some(cut) = &scanned.cut
        && let Some(last) = begun.pop_if(|last| last.header.index == cut.segment)
    {
        let Found { header, bytes, end, next, strides } = last;
        drop(bytes);
        store.cut(cut.segment, cut.offset)?;
        begun.push(Found { header, bytes: store.open(cut.segment)?, end, next, strides });
    }
    Ok(())
}

type Segments = (Vec<Arc<Segment>>, Arc<Segment>, Appender);

fn begin_first(
    store: &dyn Store,
    config: &JournalConfig,
    incarnation: u64,
    chain: &Chain,
) -> Result<Segments, JournalError> {
    let memory = store.create(0, config.segment_bytes)?;
    let segment = Arc::new(Segment::new(0, memory.view()));
    let mut appender = memory.appender(0);
    begin(&segment, &mut appender, config.session, incarnation, chain);
    Ok((vec![Arc::clone(&segment)], segment, appender))
}

fn recovered_segments(begun: Vec<Found<Memory>>) -> Segments {
    let mut segments = Vec::with_capacity(begun.len());
    let mut last = None;
    for found in begun {
        let first = found.header.chain.next();
        let view = found.bytes.view();
        let appender = found.bytes.appender(found.end);
        let segment = Arc::new(Segment::recovered(found.header.index, view, first, &found.strides));
        segments.push(Arc::clone(&segment));
        last = Some((segment, appender));
    }
    let (active, appender) = last.expect("asked only when there are segments");
    (segments, active, appender)
}

fn parts(
    config: &JournalConfig,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    mark: Mark,
    recovered: Recovered,
    (segment, appender): (Arc<Segment>, Appender),
) -> Opened {
    let prepared = Arc::new(ArrayQueue::new(AHEAD));
    let first = shared.segments.load().first().map_or(0, |segment| segment.index);
    Opened {
        reader: JournalReader { shared: Arc::clone(&shared) },
        preparer: Preparer {
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            prepared: Arc::clone(&prepared),
            segment_bytes: config.segment_bytes,
            retain_bytes: config.retain_bytes,
            retired: Vec::new(),
            warm: (segment.index, appender.written() + WARM_BYTES),
        },
        // From the oldest segment on: what an earlier process left in the page cache is not known to be on disk.
        syncer: Syncer {
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            mark: mark.cells.clone(),
            segment: first,
            offset: 0,
            failed: false,
        },
        journal: Journal {
            shared,
            prepared,
            segment,
            appender,
            chain: recovered.chain.clone(),
            mark: mark.cells.clone(),
            session: config.session,
            incarnation: mark.incarnation(),
            stalls: 0,
            _store: store,
        },
        mark,
        recovered,
    }
}
