//! A sequencer's process, alone in its in-sync set.

use seqcast_wire::{SeqNo, Session};
use tracing::{info, warn};

use super::{Node, plan};
use crate::agents::egress::{Egress, EgressPlan};
use crate::agents::ingress::{Ingress, IngressTrace, SourcePlan, Watermarks};
use crate::agents::journal::{JournalAgent, JournalUpkeep, retired};
use crate::agents::meter::Meter;
use crate::agents::rewind::Rewind;
use crate::agents::snapshot::SnapshotServer;
use crate::agents::trace::Trace;
use crate::book::{Books, BooksConfig};
use crate::config::{self, Config, Durability};
use crate::downstream::Sender;
use crate::io::Driver;
use crate::io::store::FileStore;
use crate::journal::{self, Journal, JournalConfig, Opened, Recovered};
use crate::runtime::{AgentError, wall_ns};
use crate::sequencer::{self, CommitGate, Member, Members, NodeId, Sequencer};
use crate::stat::Counters;
use crate::sync::{Flag, Watermark};

/// This node, while the in-sync set is the primary alone.
const ME: NodeId = NodeId(0);

/// Traces to hang on a sequencer's agents.
pub struct SequencerTrace {
    /// Of the ordered feed.
    pub feed: Trace,
    /// Of each source, in the order of the configuration.
    pub sources: Vec<Trace>,
}

/// The sequencer of `[sequencer]` with its journal, its rewind server and, if configured, its snapshot server.
/// `books` says how the snapshot server's books are made.
///
/// # Errors
/// A section is missing or a setting cannot work; the journal cannot be opened; what the driver refused.
pub fn sequencer(
    config: &Config,
    counters: &Counters,
    books: BooksConfig,
    trace: Option<SequencerTrace>,
) -> Result<Node, AgentError> {
    let mut node = Node::default();
    let driver = plan::driver(config, &mut node)?;
    node.merge(sequencer_on(driver, config, counters, books, trace)?);
    Ok(node)
}

/// As [`sequencer`], receiving its sources on a driver of the caller's choice.
///
/// # Errors
/// As [`sequencer`].
pub fn sequencer_on<D: Driver + Send + 'static>(
    ingress_driver: D,
    config: &Config,
    counters: &Counters,
    books: BooksConfig,
    trace: Option<SequencerTrace>,
) -> Result<Node, AgentError> {
    let feed = config.feed().map_err(AgentError::failed)?;
    let section = config.sequencer().map_err(AgentError::failed)?;
    let mut node = Node::default();
    let Opened { journal, reader, preparer, syncer, mut mark, recovered } =
        open_journal(config, feed.session)?;
    let epoch = recovered.promised_epoch.max(recovered.chain.epoch()) + 1;
    mark.promise(epoch).map_err(AgentError::failed)?;
    let next = recovered.chain.next();
    let watermarks = watermarks(&recovered, reader.synced());
    let sequencer = Sequencer::new(recovered.chain.clone(), gate(section, &recovered, epoch)?)
        .map_err(AgentError::failed)?;

    let (ring, readers) = plan::ring(config, &mut node, 1)?;
    let sources: Vec<_> =
        (0..).zip(&section.sources).map(|(at, source)| source_plan(config, &recovered, at, source)).collect();
    let names = section.sources.iter().map(|source| source.name.as_str());
    let meters = std::iter::once(Meter::new(counters, "sequencer", ""))
        .chain(names.map(|name| Meter::new(counters, "source", name)))
        .collect();
    let mut ingress =
        Ingress::open(ingress_driver, &sources, sequencer, ring, watermarks.clone(), wall_ns, meters)?;
    if section.end_with_sources {
        ingress = ingress.ending_with_sources();
    }
    let feed_trace = trace.as_ref().map(|trace| trace.feed.clone());
    if let Some(SequencerTrace { feed, sources }) = trace {
        ingress = ingress.traced(IngressTrace { feed, sources });
    }
    node.add_hot("order", ingress);

    let (ended, closing) = (Flag::new(), retired());
    let ring_reader = readers.reader().map_err(AgentError::failed)?;
    let meter = Meter::new(counters, "journal", "");
    let appender = JournalAgent::new(
        ring_reader,
        journal,
        closing.clone(),
        watermarks.appended.clone(),
        ended.clone(),
        meter,
    );
    node.add_hot("order", appender);

    let from = recovered.published.min(next).max(recovered.oldest);
    let cursor = reader
        .cursor_at(from)
        .ok_or_else(|| AgentError::failed(format_args!("message {from} is not in the journal")))?;
    let sender = Sender::new(&plan::sender(config), feed.session, from).map_err(AgentError::failed)?;
    let egress_plan = EgressPlan {
        lines: plan::out_lines(config, &feed.lines),
        sender,
        cursor,
        committed: watermarks.committed.clone(),
        published: watermarks.published.clone(),
        mark: mark.published(),
        ended,
    };
    let mut egress =
        Egress::open(plan::driver(config, &mut node)?, egress_plan, Meter::new(counters, "egress", ""))?;
    if let Some(trace) = feed_trace {
        egress = egress.traced(trace);
    }
    node.add_hot("lines", egress);

    if let Some(rewind) = &config.rewind {
        let server = plan::rewind_server(config, feed.session, &rewind.allow, &rewind.limits);
        let driver = plan::driver(config, &mut node)?;
        let meter = Meter::new(counters, "rewind", "");
        let committed = watermarks.committed.clone();
        node.add_hot("lines", Rewind::open(driver, rewind.bind, server, reader.clone(), committed, meter)?);
    }
    let mut keep_from = watermarks.published.clone();
    if let Some(snapshot) = &config.snapshot {
        let meter = Meter::new(counters, "snapshot", "");
        let books = Books::new(books).map_err(AgentError::failed)?;
        let server = SnapshotServer::open(
            snapshot,
            feed.session,
            reader.clone(),
            watermarks.committed.clone(),
            books,
            meter,
        )?;
        keep_from = server.applied();
        node.add_cold(server);
    }
    let mut upkeep =
        JournalUpkeep::new((preparer, syncer, mark, reader), closing, keep_from, watermarks.durable);
    if section.durability == Durability::Disk {
        upkeep = upkeep.syncing();
    }
    node.add_cold(upkeep);
    Ok(node)
}

fn open_journal(config: &Config, session: Session) -> Result<Opened<FileStore>, AgentError> {
    let section = config.journal().map_err(AgentError::failed)?;
    let store = FileStore::open(&section.dir).map_err(AgentError::failed)?;
    let opened = Journal::open(
        store,
        &JournalConfig {
            session,
            segment_bytes: section.segment_bytes as usize,
            retain_bytes: section.retain_bytes,
            // Never used before by this node: the time of its start.
            fresh_incarnation: wall_ns().max(1),
        },
    )
    .map_err(AgentError::failed)?;
    let Recovered { chain, cut, unproven, .. } = &opened.recovered;
    if let Some(cut) = cut {
        let (segment, offset, bytes) = (cut.segment, cut.offset, cut.bytes);
        warn!("cut off a torn end: segment {segment}, byte {offset}, {bytes} bytes ({})", cut.fault);
    }
    match unproven {
        Some(journal::Unproven::New) => {
            info!("a new journal in {} begins session {session}", section.dir.display())
        }
        Some(why) => warn!("the journal cannot be proven whole ({why:?}): it goes on as a new incarnation"),
        None => info!("session {session} goes on at message {}", chain.next()),
    }
    Ok(opened)
}

/// Where everything stands at the start: what is in the journal is appended, what was published is committed.
fn watermarks(recovered: &Recovered, synced: SeqNo) -> Watermarks {
    let next = recovered.chain.next();
    let published = recovered.published.min(next);
    Watermarks {
        appended: Watermark::starting_at(next),
        durable: Watermark::starting_at(synced),
        committed: Watermark::starting_at(published),
        published: Watermark::starting_at(published),
    }
}

fn gate(section: &config::Sequencer, recovered: &Recovered, epoch: u64) -> Result<CommitGate, AgentError> {
    let me = Member { node: ME, incarnation: recovered.incarnation };
    let alone = Members::of(&[me]).ok_or_else(|| AgentError::failed("an in-sync set of one"))?;
    let durability = match section.durability {
        Durability::Memory => sequencer::Durability::Memory,
        Durability::Disk => sequencer::Durability::Disk,
    };
    let next = recovered.chain.next();
    Ok(CommitGate::new(me, epoch, alone, section.min_in_sync, durability, next, recovered.published))
}

fn source_plan(config: &Config, recovered: &Recovered, at: usize, source: &config::Source) -> SourcePlan {
    let state = recovered.chain.sources()[at];
    let known = (state.session != Session::BLANK).then_some((state.session, state.next));
    SourcePlan {
        feed: plan::source_feed(config, source, known),
        acknowledge_to: source.rewind_servers.first().copied().filter(|_| source.acknowledge),
    }
}
