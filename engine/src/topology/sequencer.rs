//! A sequencer's process: alone in its in-sync set, or a node of a cluster.

use std::net::SocketAddrV4;

use seqcast_wire::{SeqNo, Session};
use tracing::{info, warn};

use super::{Environment, Host, Node, plan};
use crate::agents::departure::Departure;
use crate::agents::egress::{Egress, EgressPlan};
use crate::agents::ingress::{Ingress, IngressPlan, IngressTrace, SourcePlan, Watermarks};
use crate::agents::join::{Handover, Joiner};
use crate::agents::journal::{JournalUpkeep, Needed, Promises, Rebirth, Retired, retired};
use crate::agents::leadership::{Admission, Directives};
use crate::agents::links::{self, Desk, Links, LinksPlan};
use crate::agents::meter::Meter;
use crate::agents::replica::{Replica, ReplicaPlan};
use crate::agents::rewind::Rewind;
use crate::agents::snapshot::SnapshotServer;
use crate::agents::steward::{self, Steward};
use crate::agents::trace::Trace;
use crate::book::{Books, BooksConfig};
use crate::config::{self, Config, Durability};
use crate::frame::Chain;
use crate::io::Driver;
use crate::journal::{self, Journal, JournalConfig, JournalReader, Mark, Opened, Published, Recovered};
use crate::replica::{Broken, Control, Coordinator, JournalState, Member, NodeId};
use crate::ring::broadcast::Reader;
use crate::runtime::AgentError;
use crate::sequencer::StartError;
use crate::session::Login;
use crate::stat::Counters;
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// How the journal's cold side and the steward rest. Who wants a promise or an answer wakes them.
const UPKEEP_REST: Nanos = Nanos::from_millis(2);
const STEWARD_REST: Nanos = Nanos::from_millis(2);
/// How the journal's cold side rests when commits wait for its syncs.
const SYNC_REST: Nanos = Nanos::from_micros(200);

/// Traces to hang on a sequencer's agents.
pub struct SequencerTrace {
    /// Of the ordered feed.
    pub feed: Trace,
    /// Of each source, in the order of the configuration.
    pub sources: Vec<Trace>,
}

/// What a sequencer is given beside its configuration.
#[derive(Default)]
pub struct SequencerParts {
    /// How the snapshot server's books are made.
    pub books: BooksConfig,
    /// Traces, if any.
    pub trace: Option<SequencerTrace>,
    /// Keeps the record of the primary and the in-sync set: for a node of a `[cluster]`.
    pub coordinator: Option<Box<dyn Coordinator>>,
    /// Where links and operators meet the node.
    pub desk: Desk,
    /// Whether a control port is opened, for a node of a `[cluster]`.
    pub control_port: bool,
    /// Where the journal is to begin anew, and where the node says so: when its agents failed and something was left here,
    /// make them again with the same.
    pub rebirth: Rebirth,
    /// Through which the process says that it is about to end.
    pub departure: Departure,
    /// The rule of failover that is broken on purpose.
    pub broken: Broken,
}

/// The sequencer of `[sequencer]` with its journal, its rewind server and, if configured, its snapshot server: alone, or as
/// a node of `[cluster]`.
///
/// # Errors
/// A section is missing or a setting cannot work; the journal cannot be opened; what the driver refused.
pub fn sequencer(config: &Config, counters: &Counters, parts: SequencerParts) -> Result<Node, AgentError> {
    let mut node = Node::default();
    let driver = Host.driver("ingress", config, &mut node)?;
    node.merge(sequencer_on(driver, config, counters, parts)?);
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
    parts: SequencerParts,
) -> Result<Node, AgentError> {
    sequencer_in(&mut Host, ingress_driver, config, counters, parts)
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
    parts: SequencerParts,
) -> Result<Node, AgentError> {
    let feed = config.feed().map_err(AgentError::failed)?;
    let section = config.sequencer().map_err(AgentError::failed)?;
    let Opened { journal, reader, preparer, syncer, mark, recovered } =
        open_journal(environment, config, feed.session, parts.rebirth.take())?;
    let next = recovered.chain.next();
    if config.cluster.is_none() && recovered.published > next {
        return Err(AgentError::failed(StartError::Lost { published: recovered.published, next }));
    }
    let SequencerParts { books, trace, coordinator, desk, control_port, rebirth, departure, broken } = parts;
    let mut assembly = Assembly {
        environment,
        config,
        feed,
        section,
        counters,
        node: Node::default(),
        watermarks: watermarks(&recovered, reader.synced()),
        reader,
        recovered,
        answered: Watermark::new(),
        admission: Admission::default(),
        directives: [Directives::new(), Directives::new()],
        closing: retired(),
        promises: Promises::new(),
        ended: Flag::new(),
        over: Flag::new(),
        departure,
    };

    let feed_trace = trace.as_ref().map(|trace| trace.feed.clone());
    let ring_reader = assembly.add_ingress(ingress_driver, trace)?;
    assembly.add_replica((ring_reader, journal, rebirth), &mark, coordinator, desk.clone(), broken)?;
    if control_port {
        assembly.add_links(desk)?;
    }
    assembly.add_egress(mark.published(), feed_trace)?;
    assembly.add_rewind()?;
    let keep_from = assembly.add_snapshot(books)?;

    let Assembly { mut node, watermarks, closing, promises, .. } = assembly;
    let parts = (preparer, syncer, mark);
    let needed = Needed { here: keep_from, everywhere: watermarks.everywhere };
    let mut upkeep = JournalUpkeep::new(parts, closing, promises, needed, watermarks.durable);
    let mut rest = UPKEEP_REST;
    if section.durability == Durability::Disk {
        (upkeep, rest) = (upkeep.syncing(), SYNC_REST);
    }
    node.add_cold_resting(upkeep, rest);
    Ok(node)
}

/// Which node of the cluster a configuration is for; number 0 without one.
///
/// # Errors
/// `sequencer.name` names no node.
fn own_node(config: &Config, section: &config::Sequencer) -> Result<NodeId, AgentError> {
    let Some(cluster) = &config.cluster else { return Ok(NodeId(0)) };
    let at = cluster.nodes.iter().position(|node| node.name == section.name);
    let at = at.ok_or_else(|| {
        AgentError::failed(format_args!(
            "sequencer.name is {:?}, and [cluster] has no such node",
            section.name
        ))
    })?;
    Ok(NodeId(at as u16))
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
    admission: Admission,
    /// Of the ingress and of the egress.
    directives: [Directives; 2],
    closing: Retired,
    promises: Promises,
    /// Raised when the end of the session is committed.
    ended: Flag,
    /// Raised when it was published for long enough.
    over: Flag,
    departure: Departure,
}

impl<E: Environment> Assembly<'_, E> {
    fn meter(&self, agent: &'static str) -> Meter {
        Meter::new(self.counters, agent, "")
    }

    /// Gives the reader of the ring that the order goes into.
    fn add_ingress<D: Driver + Send + 'static>(
        &mut self,
        driver: D,
        trace: Option<SequencerTrace>,
    ) -> Result<Reader, AgentError> {
        let (config, section) = (self.config, self.section);
        let sources = section.sources.iter().map(|source| source_plan(config, source)).collect();
        let names = section.sources.iter().map(|source| source.name.as_str());
        let of_sources = names.map(|name| Meter::new(self.counters, "source", name));
        let meters = std::iter::once(self.meter("sequencer")).chain(of_sources).collect();
        let (ring, readers) = plan::ring(self.config, &mut self.node, 1)?;
        let (watermarks, over) = (self.watermarks.clone(), self.over.clone());
        let wall = self.environment.wall();
        let (directives, admission) = (self.directives[0].clone(), self.admission.clone());
        let plan = IngressPlan {
            sources,
            max_message_bytes: plan::max_message_bytes(config),
            directives,
            admission,
            ring,
            watermarks,
            over,
            wall,
        };
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

    fn add_replica(
        &mut self,
        (ring, journal, rebirth): (Reader, Journal, Rebirth),
        mark: &Mark,
        coordinator: Option<Box<dyn Coordinator>>,
        desk: Desk,
        broken: Broken,
    ) -> Result<(), AgentError> {
        let (config, section, recovered) = (self.config, self.section, &self.recovered);
        let me = Member { node: own_node(config, section)?, incarnation: recovered.incarnation };
        let control = plan::control(config, self.feed.session, me);
        let state = JournalState {
            next: recovered.chain.next(),
            ended: recovered.chain.ended(),
            epoch: recovered.chain.epoch(),
            published: recovered.published.min(recovered.chain.next()),
        };
        let client = match (&config.cluster, coordinator) {
            (None, _) => None,
            (Some(_), Some(coordinator)) => {
                let (client, mailbox) = steward::mailbox();
                let meter = self.meter("steward");
                self.node.add_cold_resting(Steward::new(coordinator, mailbox, meter), STEWARD_REST);
                Some(client)
            }
            (Some(_), None) => return Err(AgentError::failed("a node of a cluster needs a coordinator")),
        };
        let plan = ReplicaPlan {
            control: Control::new(control, mark.promised_epoch(), state, broken),
            me,
            session: self.feed.session,
            stream: plan::stream(config),
            detector: plan::detector(config),
            nodes: config
                .cluster
                .iter()
                .flat_map(|cluster| &cluster.nodes)
                .map(|node| node.replication)
                .collect(),
            syncs: section.durability == Durability::Disk,
            lag_timeout: config.cluster.as_ref().map_or(Nanos(u64::MAX), |cluster| cluster.lag_timeout),
            ring,
            journal,
            reader: self.reader.clone(),
            retired: self.closing.clone(),
            rebirth,
            assumed: Some(recovered.oldest).filter(|oldest| *oldest > recovered.published),
            mark: mark.published(),
            watermarks: self.watermarks.clone(),
            listeners: self.directives.to_vec(),
            admission: self.admission.clone(),
            ended: self.ended.clone(),
            over: self.over.clone(),
            departure: self.departure.clone(),
            promises: self.promises.clone(),
            coordinator: client,
            desk,
            wall: self.environment.wall(),
            broken,
        };
        let driver = self.environment.driver("replica", &plan::replica_io(config), &mut self.node)?;
        let meter = self.meter("replica");
        self.node.add_hot("order", Replica::open(driver, plan, meter)?);
        Ok(())
    }

    /// Control connections and operators.
    fn add_links(&mut self, desk: Desk) -> Result<(), AgentError> {
        let Some(cluster) = &self.config.cluster else { return Ok(()) };
        let plan = LinksPlan {
            session: self.feed.session,
            me: own_node(self.config, self.section)?,
            incarnation: self.recovered.incarnation,
            nodes: cluster.nodes.iter().map(|node| (node.name.clone(), node.replication)).collect(),
            operators: cluster.operators.clone(),
            wait: links::WAIT,
        };
        let links = Links::open(plan, desk, self.meter("links"))?;
        self.node.add_cold(links);
        Ok(())
    }

    fn add_egress(&mut self, mark: Published, trace: Option<Trace>) -> Result<(), AgentError> {
        let plan = EgressPlan {
            lines: plan::out_lines(self.config, &self.feed.lines),
            sender: plan::sender(self.config),
            session: self.feed.session,
            journal: self.reader.clone(),
            directives: self.directives[1].clone(),
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
        let reaches_back = self.reader.oldest() == SeqNo::FIRST;
        let named = self.feed.snapshot.iter().filter(|_| !reaches_back).flat_map(|source| &source.servers);
        let others: Vec<_> = named.copied().filter(|server| *server != section.bind).collect();
        if !reaches_back && others.is_empty() && self.config.cluster.is_some() {
            // The order is worth more than books.
            warn!(
                "this node serves no snapshots: its journal begins at message {}, and [feed.snapshot] names no other \
                 server to take books from",
                self.reader.oldest()
            );
            return Ok(self.watermarks.published.clone());
        }
        let source = self.feed.snapshot.as_ref().filter(|_| !others.is_empty());
        let handover = source.map(|source| self.add_joiner(source, others, books));
        let books = Books::new(books).map_err(AgentError::failed)?;
        let record = (self.reader.clone(), self.watermarks.committed.clone());
        let (session, meter) = (self.feed.session, self.meter("snapshot"));
        let server = SnapshotServer::open(section, session, record, books, handover, meter)?;
        let applied = server.applied();
        self.node.add_cold(server);
        Ok(applied)
    }

    /// Fetches books to begin with.
    fn add_joiner(
        &mut self,
        source: &config::SnapshotSource,
        servers: Vec<SocketAddrV4>,
        books: BooksConfig,
    ) -> Handover {
        let handover = Handover::new();
        let (username, password) = (source.username.clone(), source.password.clone());
        let login = Login { username, password, session: self.feed.session, next: Some(SeqNo::FIRST) };
        self.node.add_cold(Joiner::new(servers, login, books, handover.clone()));
        handover
    }
}

fn open_journal(
    environment: &mut impl Environment,
    config: &Config,
    session: Session,
    begins: Option<Chain>,
) -> Result<Opened, AgentError> {
    let section = config.journal().map_err(AgentError::failed)?;
    let store = environment.store(&section.dir).map_err(AgentError::failed)?;
    let journal = JournalConfig {
        session,
        segment_bytes: section.segment_bytes as usize,
        retain_bytes: section.retain_bytes,
        catch_up_bytes: section.catch_up_bytes(),
        // Never used before by this node: the time of its start.
        fresh_incarnation: environment.wall().now_ns().max(1),
        synced_acks: config.sequencer.as_ref().is_some_and(|s| s.durability == Durability::Disk),
    };
    let opened = match &begins {
        Some(chain) => Journal::begin_at(store, &journal, chain),
        None => Journal::open(store, &journal),
    };
    let opened = opened.map_err(AgentError::failed)?;
    let Recovered { chain, cut, unproven, .. } = &opened.recovered;
    if let Some(cut) = cut {
        let (segment, offset, bytes) = (cut.segment, cut.offset, cut.bytes);
        warn!("cut off a torn end: segment {segment}, byte {offset}, {bytes} bytes ({})", cut.fault);
    }
    match unproven {
        _ if begins.is_some() => {
            info!("session {session} goes on from an image at message {}", chain.next());
            if section.retain_bytes.is_none() {
                warn!("what the journal held before is set aside in {}/aside-*", section.dir.display());
            }
        }
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
    // What came before the oldest was removed because nobody needed it any more.
    let published = recovered.published.max(recovered.oldest).min(next);
    Watermarks {
        appended: Watermark::starting_at(next),
        durable: Watermark::starting_at(synced),
        committed: Watermark::starting_at(published),
        published: Watermark::starting_at(published),
        everywhere: Watermark::new(),
    }
}

fn source_plan(config: &Config, source: &config::Source) -> SourcePlan {
    SourcePlan {
        name: source.name.clone(),
        feed: plan::source_feed(config, source),
        acknowledge_to: source.rewind_servers.first().copied().filter(|_| source.acknowledge),
    }
}
