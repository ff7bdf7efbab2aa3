//! A sequencer's process, alone in its in-sync set.

use seqcast_wire::{SeqNo, Session};
use tracing::{info, warn};

use super::{Environment, Host, Node, plan};
use crate::agents::egress::{Egress, EgressPlan};
use crate::agents::ingress::{Ingress, IngressPlan, IngressTrace, SourcePlan, Watermarks};
use crate::agents::journal::{JournalAgent, JournalUpkeep, Retired, retired};
use crate::agents::meter::Meter;
use crate::agents::rewind::Rewind;
use crate::agents::snapshot::SnapshotServer;
use crate::agents::trace::Trace;
use crate::book::{Books, BooksConfig};
use crate::config::{self, Config, Durability, SourceSession};
use crate::downstream::Sender;
use crate::io::Driver;
use crate::journal::{self, Journal, JournalConfig, JournalReader, Opened, Published, Recovered};
use crate::replica::{self, CommitGate, Member, Members, NodeId};
use crate::ring::broadcast::Reader;
use crate::runtime::AgentError;
use crate::sequencer::{Sequencer, SourceId};
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
    let driver = Host.driver("ingress", config, &mut node)?;
    node.merge(sequencer_on(driver, config, counters, books, trace)?);
    Ok(node)
}

/// As [`sequencer()`], receiving its sources on a driver of the caller's choice.
///
/// # Errors
/// As [`sequencer()`].
pub fn sequencer_on<D: Driver + Send + 'static>(
    ingress_driver: D,
    config: &Config,
    counters: &Counters,
    books: BooksConfig,
    trace: Option<SequencerTrace>,
) -> Result<Node, AgentError> {
    sequencer_in(&mut Host, ingress_driver, config, counters, books, trace)
}

/// As [`sequencer_on()`], in an environment of the caller's choice.
///
/// # Errors
/// As [`sequencer()`].
pub fn sequencer_in<E: Environment, D: Driver + Send + 'static>(
    environment: &mut E,
    ingress_driver: D,
    config: &Config,
    counters: &Counters,
    books: BooksConfig,
    trace: Option<SequencerTrace>,
) -> Result<Node, AgentError> {
    let feed = config.feed().map_err(AgentError::failed)?;
    let section = config.sequencer().map_err(AgentError::failed)?;
    let Opened { journal, reader, preparer, syncer, mut mark, recovered } =
        open_journal(environment, config, feed.session)?;
    let epoch = recovered.promised_epoch.max(recovered.chain.epoch()) + 1;
    mark.promise(epoch).map_err(AgentError::failed)?;
    let watermarks = watermarks(&recovered, reader.synced());
    let (ended, over) = (Flag::new(), Flag::new());
    // Where commits wait for the disk, so does the end.
    let is_durable = section.durability == Durability::Disk;
    let appended_end = if is_durable { Flag::new() } else { ended.clone() };
    let mut assembly = Assembly {
        environment,
        config,
        feed,
        section,
        counters,
        node: Node::default(),
        watermarks,
        reader,
        recovered,
        answered: Watermark::new(),
        ended,
        over,
    };

    let feed_trace = trace.as_ref().map(|trace| trace.feed.clone());
    let ring_reader = assembly.add_ingress(ingress_driver, epoch, trace)?;
    let closing = retired();
    assembly.add_journal(ring_reader, journal, closing.clone(), appended_end.clone());
    assembly.add_egress(mark.published(), feed_trace)?;
    assembly.add_rewind()?;
    let keep_from = assembly.add_snapshot(books)?;

    let Assembly { mut node, reader, watermarks, ended, .. } = assembly;
    let mut upkeep =
        JournalUpkeep::new((preparer, syncer, mark, reader), closing, keep_from, watermarks.durable);
    if is_durable {
        upkeep = upkeep.syncing(appended_end, ended);
    }
    node.add_cold(upkeep);
    Ok(node)
}

/// A sequencer in the making.
struct Assembly<'a, E> {
    environment: &'a mut E,
    config: &'a Config,
    feed: &'a config::Feed,
    section: &'a config::Sequencer,
    counters: &'a Counters,
    node: Node,
    watermarks: Watermarks,
    reader: JournalReader,
    recovered: Recovered,
    /// Moves with every message that the rewind server sent again.
    answered: Watermark,
    /// Raised when the end of the session is in the journal, and on disk where commits wait for that.
    ended: Flag,
    /// Raised when it was published for long enough.
    over: Flag,
}

impl<E: Environment> Assembly<'_, E> {
    fn meter(&self, agent: &'static str) -> Meter {
        Meter::new(self.counters, agent, "")
    }

    /// Gives the reader of the ring that the order goes into.
    fn add_ingress<D: Driver + Send + 'static>(
        &mut self,
        driver: D,
        epoch: u64,
        trace: Option<SequencerTrace>,
    ) -> Result<Reader, AgentError> {
        let Assembly { config, section, recovered, .. } = self;
        #[cfg_attr(not(any(test, feature = "sim")), expect(unused_mut))]
        let mut gate = gate(section, recovered, epoch)?;
        #[cfg(any(test, feature = "sim"))]
        gate.mutate(self.environment.mutation());
        let mut sequencer = Sequencer::new(recovered.chain.clone(), epoch, recovered.published)
            .map_err(AgentError::failed)?;
        for (at, source) in section.sources.iter().enumerate() {
            let state = recovered.chain.sources()[at];
            if let SourceSession::Only(session) = source.session
                && session != state.session
            {
                // The operator names another session: whatever came of the one before is all that will.
                sequencer.on_source_end(SourceId(at as u16), state.session, state.next);
            }
        }
        let sources = (0..).zip(&section.sources);
        let sources = sources.map(|(at, source)| source_plan(config, recovered, at, source)).collect();
        let names = section.sources.iter().map(|source| source.name.as_str());
        let of_sources = names.map(|name| Meter::new(self.counters, "source", name));
        let meters = std::iter::once(self.meter("sequencer")).chain(of_sources).collect();
        let (ring, readers) = plan::ring(self.config, &mut self.node, 1)?;
        let (watermarks, over) = (self.watermarks.clone(), self.over.clone());
        let wall = self.environment.wall();
        let plan = IngressPlan { sources, sequencer, gate, ring, watermarks, over, wall };
        let mut ingress = Ingress::open(driver, plan, meters)?;
        if self.section.end_with_sources {
            ingress = ingress.ending_with_sources();
        }
        if let Some(SequencerTrace { feed, sources }) = trace {
            ingress = ingress.traced(IngressTrace { feed, sources });
        }
        self.node.add_hot("order", ingress);
        readers.reader().map_err(AgentError::failed)
    }

    fn add_journal(&mut self, ring: Reader, journal: Journal, closing: Retired, appended_end: Flag) {
        let flags = (appended_end, self.over.clone());
        let appended = self.watermarks.appended.clone();
        let agent = JournalAgent::new(ring, journal, closing, appended, flags, self.meter("journal"));
        self.node.add_hot("order", agent);
    }

    fn add_egress(&mut self, mark: Published, trace: Option<Trace>) -> Result<(), AgentError> {
        let next = self.recovered.chain.next();
        let from = self.recovered.published.min(next).max(self.recovered.oldest);
        let cursor = self.reader.cursor_at(from);
        let cursor =
            cursor.ok_or_else(|| AgentError::failed(format_args!("message {from} is not in the journal")))?;
        let sender =
            Sender::new(&plan::sender(self.config), self.feed.session, from).map_err(AgentError::failed)?;
        let plan = EgressPlan {
            lines: plan::out_lines(self.config, &self.feed.lines),
            sender,
            cursor,
            committed: self.watermarks.committed.clone(),
            published: self.watermarks.published.clone(),
            mark,
            answered: self.answered.clone(),
            ended: self.ended.clone(),
            over: self.over.clone(),
        };
        let driver = self.environment.driver("egress", self.config, &mut self.node)?;
        let mut egress = Egress::open(driver, plan, self.meter("egress"))?;
        if let Some(trace) = trace {
            egress = egress.traced(trace);
        }
        self.node.add_hot("lines", egress);
        Ok(())
    }

    fn add_rewind(&mut self) -> Result<(), AgentError> {
        let Some(section) = &self.config.rewind else { return Ok(()) };
        let server = plan::rewind_server(self.config, self.feed.session, &section.allow, &section.limits);
        let driver = self.environment.driver("rewind", self.config, &mut self.node)?;
        let watermarks = (self.watermarks.committed.clone(), self.answered.clone());
        let (reader, over, meter) = (self.reader.clone(), self.over.clone(), self.meter("rewind"));
        self.node
            .add_hot("lines", Rewind::open(driver, section.bind, server, reader, watermarks, over, meter)?);
        Ok(())
    }

    /// Gives the watermark below which the journal may be thinned out.
    fn add_snapshot(&mut self, books: BooksConfig) -> Result<Watermark, AgentError> {
        let Some(section) = &self.config.snapshot else { return Ok(self.watermarks.published.clone()) };
        let books = Books::new(books).map_err(AgentError::failed)?;
        let (reader, committed) = (self.reader.clone(), self.watermarks.committed.clone());
        let session = self.feed.session;
        let server =
            SnapshotServer::open(section, session, reader, committed, books, self.meter("snapshot"))?;
        let applied = server.applied();
        self.node.add_cold(server);
        Ok(applied)
    }
}

fn open_journal(
    environment: &mut impl Environment,
    config: &Config,
    session: Session,
) -> Result<Opened, AgentError> {
    let section = config.journal().map_err(AgentError::failed)?;
    let store = environment.store(&section.dir).map_err(AgentError::failed)?;
    let opened = Journal::open(
        store,
        &JournalConfig {
            session,
            segment_bytes: section.segment_bytes as usize,
            retain_bytes: section.retain_bytes,
            // Never used before by this node: the time of its start.
            fresh_incarnation: environment.wall().now_ns().max(1),
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
        Durability::Memory => replica::Durability::Memory,
        Durability::Disk => replica::Durability::Disk,
    };
    let next = recovered.chain.next();
    Ok(CommitGate::new(me, epoch, alone, section.min_in_sync, durability, next, recovered.published))
}

fn source_plan(config: &Config, recovered: &Recovered, at: usize, source: &config::Source) -> SourcePlan {
    let state = recovered.chain.sources()[at];
    let is_ours = match source.session {
        SourceSession::Any => state.session != Session::BLANK,
        SourceSession::Only(session) => state.session == session,
    };
    let known = is_ours.then_some((state.session, state.next));
    SourcePlan {
        feed: plan::source_feed(config, source, known),
        acknowledge_to: source.rewind_servers.first().copied().filter(|_| source.acknowledge),
    }
}
