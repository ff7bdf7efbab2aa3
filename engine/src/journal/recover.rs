use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use seqcast_wire::SeqNo;

use super::JournalConfig;
use super::append::{Journal, begin};
use super::error::JournalError;
use super::mark::{self, Before, Mark, Unproven};
use super::reader::JournalReader;
use super::scan::{Cut, Failed, Found, Scanned, Survey, scan};
use super::segment::{HEADER_BYTES, Head, HeaderRead, SegmentHeader};
use super::shared::{Segment, Shared, Synced};
use super::upkeep::{Preparer, Syncer, WARM_BYTES};
use crate::frame::Chain;
use crate::mem::append::{Appender, Memory};
use crate::mem::store::{SegmentInfo, Store, StoreError};

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
    ///
    /// After an unclean boot everything there that is below `published` is what was published. What is not may be a
    /// tail that a cut had superseded, and all of the journal may be where `oldest` is not below `published`: a standby
    /// compares positions with the primary, from `oldest` on, before it counts on any of it.
    pub unproven: Option<Unproven>,
    /// The highest epoch promised.
    pub promised_epoch: u64,
    /// A torn end that was cut off.
    pub cut: Option<Cut>,
    /// Messages in the segments that [cuts](Journal::cut_back) superseded.
    pub superseded: u64,
    /// Where a cut was made again that a loss of power had undone. `published` can be higher: then other messages than
    /// the lost ones were published from here on.
    pub cut_again: Option<SeqNo>,
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
        let mut given_up = None;
        let (before, survey, scanned, mut begun) = loop {
            let before = Before::read(&store.mark().values());
            match look(&*store, config, &before)? {
                Look::Whole(survey, scanned, begun) => break (before, survey, scanned, begun),
                Look::Hole(end, synced) => {
                    // What is removed may be the only word of a cut.
                    mark::note_synced(&store.mark(), synced, before.watermarks.synced_branch);
                    give_up(&*store, &end)?;
                    given_up.get_or_insert(end);
                }
            }
        };
        let (next, lost_cut) = (scanned.chain.next(), survey.lost_cut.filter(|_| !survey.is_void()));
        let found = mark::Segments {
            begun: !begun.is_empty() && !survey.is_void(),
            next,
            synced: survey.clamp(before.watermarks.synced, before.watermarks.synced_branch),
            noted_cut: noted_cut(&survey, &before),
        };
        let judged = before.judge(&*store, config, &found)?;
        let (branch, incarnation) = (found.noted_cut.0, judged.incarnation);
        discard(&*store, &scanned, &mut begun)?;
        if survey.is_void() {
            begun.drain(..).try_for_each(|found| store.remove(found.header.index))?;
        }
        let mut segments = recovered_segments(begun);
        if lost_cut.is_some() {
            // Before the mark forgets that the machine went down: who dies here finds everything as it was.
            let cut_from = Some(next);
            segments.push(begin_at(&*store, config, branch, incarnation, &scanned.chain, cut_from)?);
            store.sync(branch, 0..HEADER_BYTES)?;
        }
        let mark = Mark::take(Arc::clone(&store), config, &before, &found, incarnation)?;
        if segments.is_empty() {
            segments.push(begin_at(&*store, config, 0, incarnation, &scanned.chain, None)?);
        }
        let recovered = Recovered {
            oldest: scanned.oldest.unwrap_or(next),
            chain: scanned.chain,
            published: before.watermarks.published,
            incarnation,
            unproven: judged.unproven,
            promised_epoch: mark.promised_epoch(),
            cut: given_up.or(scanned.cut),
            superseded: survey.superseded(),
            cut_again: lost_cut,
        };
        let synced = Synced::new(branch, found.synced.min(next));
        Ok(parts(config, store, synced, mark, recovered, segments))
    }

    /// Begins an empty journal in `store` in the middle of its session, where `chain` stands: for a standby that was given
    /// an image, since no journal reaches back far enough any more. `chain` is of a committed point that has not ended.
    ///
    /// Segments that are there are removed, whatever they hold; those of a journal that keeps everything are
    /// [set aside](Store::set_aside). The node's promise stays, its published watermark does not fall, and its incarnation
    /// becomes the fresh one.
    ///
    /// # Errors
    /// See [`JournalError`]. A journal of another session is refused and left as it was.
    pub fn begin_at(
        store: impl Store,
        config: &JournalConfig,
        chain: &Chain,
    ) -> Result<Opened, JournalError> {
        config.check()?;
        if chain.ended() {
            return Err(JournalError::Config("a journal cannot begin behind the end of its session".into()));
        }
        let store: Arc<dyn Store> = Arc::new(store);
        let before = Before::read(&store.mark().values());
        let list = store.list()?;
        before.check_session(&*store, config)?;
        check_session(&*store, config, &list)?;
        // The mark first, as that of a new incarnation: whatever a crash leaves of the segments is a beginning then.
        let nothing = mark::Segments::NONE;
        let mark = Mark::take(Arc::clone(&store), config, &before, &nothing, config.fresh_incarnation)?;
        // The oldest first: what cuts superseded never outlives them.
        let replaced = before.record.map_or(0, |record| record.incarnation);
        for info in &list {
            match config.retain_bytes {
                Some(_) => store.remove(info.index)?,
                None => store.set_aside(info.index, replaced)?,
            }
        }
        let index = list.last().map_or(0, |last| last.index + 1);
        let segment = begin_at(&*store, config, index, mark.incarnation(), chain, None)?;
        store.sync(index, 0..HEADER_BYTES)?;
        let next = chain.next();
        let published = before.watermarks.published.max(next);
        mark::note_appended(&mark.cells, next);
        mark::note_synced(&mark.cells, next, before.watermarks.synced_branch);
        mark.published().advance(published);
        let recovered = Recovered {
            chain: chain.clone(),
            oldest: next,
            published,
            incarnation: mark.incarnation(),
            unproven: Some(if before.record.is_some() { Unproven::Replaced } else { Unproven::New }),
            promised_epoch: mark.promised_epoch(),
            cut: None,
            superseded: 0,
            cut_again: None,
        };
        Ok(parts(config, store, Synced::new(0, next), mark, recovered, vec![segment]))
    }
}

/// What a journal's segments are.
enum Look {
    Whole(Survey, Scanned, Vec<Found<Memory>>),
    /// Where the first hole is, and where what was synced ends, which is not behind it.
    Hole(Cut, SeqNo),
}

/// Checks all segments. What a loss of power left behind a hole is no damage, as long as the hole lies where nothing was
/// synced yet: sectors reach a disk in any order.
fn look(store: &dyn Store, config: &JournalConfig, before: &Before) -> Result<Look, JournalError> {
    let (survey, loaded) = survey(store, before)?;
    let mut loaded = loaded.into_iter();
    let mut begun = Vec::new();
    let scanned = scan(
        Some(config.session),
        &survey,
        &|index| store.place(index),
        |index| loaded.next().ok_or_else(|| StoreError::Absent { place: store.place(index) }),
        |found| begun.push(found),
    );
    let synced = survey.clamp(before.watermarks.synced, before.watermarks.synced_branch);
    match scanned {
        Ok(scanned) => Ok(Look::Whole(survey, scanned, begun)),
        Err(Failed { end: Some(end), .. }) if before.is_unclean(store.boot()) && end.seq >= synced => {
            Ok(Look::Hole(*end, synced))
        }
        Err(failed) => Err(failed.error),
    }
}

/// Removes everything from `end` on, the last first: who dies meanwhile finds less of the same.
fn give_up(store: &dyn Store, end: &Cut) -> Result<(), JournalError> {
    let is_behind = |index: u64| index > end.segment || (index == end.segment && end.offset == 0);
    for info in store.list()?.iter().rev().filter(|info| is_behind(info.index)) {
        store.remove(info.index)?;
    }
    if end.offset > 0 {
        store.cut(end.segment, end.offset)?;
    }
    Ok(())
}

/// Loads all segments and reads their headers.
fn survey(store: &dyn Store, before: &Before) -> Result<(Survey, Vec<Memory>), JournalError> {
    let list = store.list()?;
    let loaded: Vec<Memory> =
        list.iter().map(|info| store.open(info.index)).collect::<Result<_, StoreError>>()?;
    let heads = list.iter().zip(&loaded);
    let heads = heads.map(|(info, memory)| (info.index, SegmentHeader::decode(memory.bytes()))).collect();
    let survey = Survey::new(heads, before, store.boot());
    Ok((survey, loaded))
}

/// The segment that the last cut begins, and where the record ends if that gets lost.
fn noted_cut(survey: &Survey, before: &Before) -> (u64, SeqNo) {
    match (survey.lost_cut, survey.last_begun()) {
        _ if survey.is_void() => (0, SeqNo::MAX),
        (Some(to), Some(last)) => (last + 1, to),
        // Where the lowest of the cuts went that are not known to be on disk.
        _ => (survey.branch(), survey.clamp(SeqNo::MAX, before.watermarks.synced_branch)),
    }
}

/// Whether the segments belong to the configured session, as far as headers are readable.
fn check_session(
    store: &dyn Store,
    config: &JournalConfig,
    list: &[SegmentInfo],
) -> Result<(), JournalError> {
    for info in list {
        if let HeaderRead::Header(header) = SegmentHeader::decode(store.open(info.index)?.bytes()) {
            let (found, expected) = (header.session, config.session);
            if found != expected {
                let place = store.place(info.index);
                return Err(JournalError::ForeignSession { place, found, expected });
            }
            break; // One journal, one session.
        }
    }
    Ok(())
}

/// Zeroes what was cut, so that nothing of it can ever be taken for frames, and removes segments never begun.
fn discard(store: &dyn Store, scanned: &Scanned, begun: &mut Vec<Found<Memory>>) -> Result<(), JournalError> {
    for &index in scanned.unused.iter().rev() {
        store.remove(index)?;
    }
    if let Some(cut) = &scanned.cut
        && let Some(last) = begun.pop_if(|last| last.header.index == cut.segment)
    {
        let Found { header, bytes, end, strides } = last;
        drop(bytes);
        store.cut(cut.segment, cut.offset)?;
        begun.push(Found { header, bytes: store.open(cut.segment)?, end, strides });
    }
    Ok(())
}

/// Segments of a journal that is opened; the last is appended to.
type Segments = Vec<(Arc<Segment>, Appender)>;

/// Creates segment `index` and begins it at `chain`.
fn begin_at(
    store: &dyn Store,
    config: &JournalConfig,
    index: u64,
    incarnation: u64,
    chain: &Chain,
    cut_from: Option<SeqNo>,
) -> Result<(Arc<Segment>, Appender), JournalError> {
    let memory = store.create(index, config.segment_bytes)?;
    let segment = Arc::new(Segment::new(index, memory.view()));
    let mut appender = memory.appender(0);
    let head = Head {
        session: config.session,
        index,
        segment_bytes: config.segment_bytes as u64,
        incarnation,
        chain,
        cut_from,
    };
    begin(&segment, &mut appender, &head);
    Ok((segment, appender))
}

fn recovered_segments(begun: Vec<Found<Memory>>) -> Segments {
    let recovered = |found: Found<Memory>| {
        let first = found.header.chain.next();
        let view = found.bytes.view();
        let appender = found.bytes.appender(found.end);
        (Arc::new(Segment::recovered(found.header.index, view, first, &found.strides)), appender)
    };
    begun.into_iter().map(recovered).collect()
}

/// Lets each segment end where the lowest later one begins.
fn link(segments: &[(Arc<Segment>, Appender)]) {
    let mut lowest: Option<SeqNo> = None;
    for (segment, _) in segments.iter().rev() {
        if let Some(end) = lowest {
            segment.end_at(end);
        }
        lowest = segment.lowest();
    }
}

fn parts(
    config: &JournalConfig,
    store: Arc<dyn Store>,
    synced: Arc<Synced>,
    mark: Mark,
    recovered: Recovered,
    mut segments: Segments,
) -> Opened {
    link(&segments);
    let list = segments.iter().map(|(segment, _)| Arc::clone(segment)).collect();
    let (segment, appender) = segments.pop().expect("a journal has a segment from the start");
    let end = appender.written();
    segment.view.prefault(end..end + WARM_BYTES);
    let shared = Arc::new(Shared {
        active: CachePadded::new(AtomicU64::new(segment.index)),
        next: CachePadded::new(AtomicU64::new(recovered.chain.next().value())),
        ended: AtomicBool::new(recovered.chain.ended()),
        synced: ArcSwap::new(Arc::clone(&synced)),
        segments: ArcSwap::from_pointee(list),
    });
    let prepared = Arc::new(ArrayQueue::new(AHEAD));
    let first = shared.segments.load().first().map_or(0, |segment| segment.index);
    Opened {
        reader: JournalReader { shared: Arc::clone(&shared) },
        preparer: Preparer {
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            mark: mark.cells.clone(),
            prepared: Arc::clone(&prepared),
            segment_bytes: config.segment_bytes,
            retain_bytes: config.retain_bytes,
            catch_up_bytes: config.catch_up_bytes,
            retired: Vec::new(),
            warm: (segment.index, end + WARM_BYTES),
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
            synced,
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
