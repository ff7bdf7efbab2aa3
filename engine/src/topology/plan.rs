//! From the configuration's words to the core's settings.

use std::net::Ipv4Addr;

use crate::agents::intake::{FeedPlan, LinePlan};
use crate::agents::publisher::OutLine;
use crate::config::{self, Config, IoDriver, IoXdpMode, OnUnfillable, RewindLimits, SourceSession};
use crate::downstream::{self, Pacing, SenderConfig};
use crate::feed::{FeedConfig, Rollover, SessionRule, Start, Unfillable};
use crate::frame;
use crate::io::{AnyDriver, DriverChoice, DriverConfig, XdpConfig, XdpMode, open_best};
use crate::limits::MAX_DATAGRAM_BYTES;
use crate::mem::{Region, RegionSpec};
use crate::replica::{self, ControlConfig, DetectorConfig, Member, StreamConfig};
use crate::rewind::{Bucket, Prefix, ServerConfig};
use crate::ring::broadcast::{self, RingSpec, Subscriptions, Writer};
use crate::runtime::AgentError;
use crate::time::Nanos;
use seqcast_wire::repl::APPEND_BYTES;
use seqcast_wire::{SeqNo, Session};

use super::Node;

/// Opens the driver that the configuration asks for; a notice goes to `node` when it is another one.
///
/// # Errors
/// What the kernel refused.
pub fn driver(config: &Config, node: &mut Node) -> Result<AnyDriver, AgentError> {
    let io = &config.io;
    let choice = match io.driver {
        IoDriver::Auto => DriverChoice::Auto,
        IoDriver::Uring => DriverChoice::Uring,
        IoDriver::Udp => DriverChoice::Udp,
        IoDriver::Xdp => DriverChoice::Xdp,
    };
    let (driver, notice) = open_best(choice, &driver_config(config))?;
    if let Some(notice) = notice {
        node.notice(notice.to_string());
    }
    Ok(driver)
}

/// How large the driver's parts are to be, and what it may use.
pub fn driver_config(config: &Config) -> DriverConfig {
    let io = &config.io;
    let xdp = XdpConfig {
        mode: match io.xdp.mode {
            IoXdpMode::Auto => XdpMode::Auto,
            IoXdpMode::Native => XdpMode::Native,
            IoXdpMode::Generic => XdpMode::Generic,
        },
        zero_copy: io.xdp.zero_copy,
        checksums: io.xdp.checksums,
    };
    DriverConfig {
        max_datagram_bytes: io.max_datagram_bytes.max(config.send.datagram_bytes),
        receive_buffers: io.receive_buffers,
        send_slots: io.send_slots,
        gso: io.gso,
        gro: io.gro,
        keep_warm: io.keep_warm,
        xdp,
    }
}

/// A ring of the configured size; what memory could not be had as asked for goes to `node` as a notice.
pub(super) fn ring(
    config: &Config,
    node: &mut Node,
    max_readers: usize,
) -> Result<(Writer, Subscriptions), AgentError> {
    let memory = &config.memory;
    let spec = RingSpec { capacity_bytes: memory.ring_bytes, max_readers };
    let region = Region::anonymous(&RegionSpec {
        len_bytes: spec.region_bytes(),
        huge_pages: memory.huge_pages,
        lock: memory.lock,
    })
    .map_err(AgentError::failed)?;
    for shortfall in region.shortfalls() {
        node.notice(shortfall.to_string());
    }
    broadcast::create(spec, region).map_err(AgentError::failed)
}

/// The receive path's settings for `lines` lines and `servers` rewind servers.
pub(super) fn feed(config: &Config, lines: usize, servers: usize) -> FeedConfig {
    let receive = &config.receive;
    FeedConfig {
        lines,
        rewind_servers: servers,
        stash_bytes: receive.stash_bytes,
        stash_messages: receive.stash_messages,
        max_gap_messages: receive.max_gap_messages,
        reorder_wait: receive.reorder_wait,
        request_timeout: receive.request_timeout,
        max_backoff: receive.max_backoff,
        attempts: receive.attempts,
        max_requests_in_flight: receive.max_requests_in_flight,
        silence: receive.silence,
        ..FeedConfig::default()
    }
}

/// A source's feed as the sequencer receives it; where in it, a primary knows from its order.
///
/// The sequencer never leaves a hole in a source: what cannot be filled halts it, loudly, until it can.
pub(super) fn source_feed(config: &Config, source: &config::Source) -> FeedPlan {
    let mut feed = feed(config, source.lines.len(), source.rewind_servers.len());
    feed.rollover = Rollover::AfterEnd;
    feed.on_unfillable = Unfillable::Halt;
    // A publisher may be away for longer than any number of requests takes. It keeps what is not committed, so it is
    // asked until it is back.
    feed.attempts = u32::MAX;
    feed.session = match source.session {
        SourceSession::Only(session) => SessionRule::Pinned(session),
        SourceSession::Any => SessionRule::FirstSeen,
    };
    plan(config, feed, &source.lines, &source.rewind_servers)
}

/// The ordered feed as a subscriber receives it.
pub(super) fn subscriber_feed(config: &Config, feed_section: &config::Feed) -> FeedPlan {
    let mut feed = feed(config, feed_section.lines.len(), feed_section.rewind_servers.len());
    feed.session = SessionRule::Pinned(feed_section.session);
    feed.start = match config.subscriber.start {
        config::Start::First => Start::At(SeqNo::FIRST),
        config::Start::Live => Start::FirstSeen,
        config::Start::Snapshot => Start::Snapshot,
    };
    feed.on_unfillable = match config.subscriber.on_unfillable {
        OnUnfillable::Stop => Unfillable::Halt,
        OnUnfillable::Snapshot | OnUnfillable::Skip => Unfillable::Skip,
    };
    plan(config, feed, &feed_section.lines, &feed_section.rewind_servers)
}

fn plan(
    config: &Config,
    feed: FeedConfig,
    lines: &[config::Line],
    servers: &[std::net::SocketAddrV4],
) -> FeedPlan {
    FeedPlan {
        feed,
        lines: lines
            .iter()
            .map(|line| LinePlan { group: line.group, interface: line.interface, source: line.source })
            .collect(),
        rewind_servers: servers.to_vec(),
        request_from: Ipv4Addr::UNSPECIFIED,
        receive_buffer_bytes: config.io.receive_buffer_bytes,
    }
}

/// The lines to send on.
pub(super) fn out_lines(config: &Config, lines: &[config::Line]) -> Vec<OutLine> {
    let ttl = config.send.multicast_ttl;
    lines.iter().map(|line| OutLine { group: line.group, interface: line.interface, ttl }).collect()
}

/// The send path's settings.
pub(super) fn sender(config: &Config) -> SenderConfig {
    let send = &config.send;
    SenderConfig {
        max_datagram_bytes: send.datagram_bytes,
        heartbeat: send.heartbeat,
        first_heartbeat: send.first_heartbeat,
        pacing: send.pace.bytes_per_s().map(|bytes_per_s| Pacing { bytes_per_s, burst: send.burst }),
        linger: send.end_of_session,
    }
}

/// The rewind server's settings.
pub(super) fn rewind_server(
    config: &Config,
    session: Session,
    allow: &[Prefix],
    limits: &RewindLimits,
) -> ServerConfig {
    let bucket = |datagrams_per_s: u32, rate: config::Rate| Bucket {
        datagrams_per_s: datagrams_per_s.into(),
        bytes_per_s: rate.bytes_per_s().unwrap_or(u64::MAX),
        burst: limits.burst,
    };
    ServerConfig {
        max_datagram_bytes: config.send.datagram_bytes,
        per_source: bucket(limits.client_datagrams_per_s, limits.client_rate),
        total: bucket(limits.total_datagrams_per_s, limits.total_rate),
        max_sources: limits.max_clients,
        ..ServerConfig::new(session, allow.to_vec())
    }
}

/// The rules of this node's role.
pub(super) fn control(config: &Config, session: Session, me: Member) -> ControlConfig {
    let cluster = config.cluster.as_ref();
    let durability =
        config.sequencer.as_ref().map_or(config::Durability::Memory, |section| section.durability);
    ControlConfig {
        me,
        session,
        has_coordinator: cluster.is_some(),
        min_in_sync: config.min_in_sync(),
        durability: match durability {
            config::Durability::Memory => replica::Durability::Memory,
            config::Durability::Disk => replica::Durability::Disk,
        },
        record_refresh: cluster.map_or(Nanos::ZERO, |cluster| cluster.record_refresh),
        stagger: cluster.map_or(Nanos::ZERO, |cluster| cluster.stagger),
        retry: Nanos::from_millis(2),
    }
}

/// The streams' settings.
pub(super) fn stream(config: &Config) -> StreamConfig {
    let mut stream = StreamConfig::default();
    if let Some(cluster) = &config.cluster {
        stream.max_datagram_bytes = config.send.datagram_bytes;
        stream.window_bytes = cluster.window_bytes;
        stream.heartbeat = cluster.heartbeat;
        // What fits the window is kept, if it comes early.
        stream.stash_datagrams = (cluster.window_bytes / config.send.datagram_bytes).clamp(64, 1 << 14);
    }
    stream
}

/// The longest message that may be numbered: one that the datagrams of lines and rewind servers hold, and those of the
/// replication stream.
pub(super) fn max_message_bytes(config: &Config) -> usize {
    let published = downstream::max_message_bytes(config.send.datagram_bytes);
    match config.cluster {
        Some(_) => published.min(replica::max_message_bytes(MAX_DATAGRAM_BYTES)),
        None => published,
    }
}

/// The configuration for the driver of the replication stream, which carries a frame around the longest message.
pub(super) fn replica_io(config: &Config) -> Config {
    let mut config = config.clone();
    if let Some(cluster) = &config.cluster {
        config.io.driver = cluster.driver.unwrap_or(config.io.driver);
        let needed = APPEND_BYTES + frame::framed_bytes(max_message_bytes(&config));
        config.io.max_datagram_bytes = config.io.max_datagram_bytes.max(needed);
    }
    config
}

/// When a silent node is suspected.
pub(super) fn detector(config: &Config) -> DetectorConfig {
    match &config.cluster {
        Some(cluster) => DetectorConfig {
            suspect_after: cluster.suspect_after,
            max_suspect_after: cluster.max_suspect_after,
            ..DetectorConfig::default()
        },
        None => DetectorConfig::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_numbered_fits_every_datagram_on_its_way() {
        let alone = Config::default();
        let text = "kind='file', dir='/tmp'}, node=[{name='n0', replication='10.0.0.1:1'}";
        let cluster = Config::parse(&format!("cluster={{coordinator={{{text}]}}")).unwrap();
        for datagram_bytes in [64, 1_472, 9_000, 65_365, 65_366, 65_367, 65_400, MAX_DATAGRAM_BYTES] {
            let mut longest = [0; 2];
            for (config, longest) in [&alone, &cluster].into_iter().zip(&mut longest) {
                let mut config = config.clone();
                config.send.datagram_bytes = datagram_bytes;
                config.io.max_datagram_bytes = datagram_bytes;
                *longest = max_message_bytes(&config);
                assert!(*longest <= downstream::max_message_bytes(datagram_bytes));
                let replica_bytes = replica_io(&config).io.max_datagram_bytes;
                assert!((datagram_bytes..=MAX_DATAGRAM_BYTES).contains(&replica_bytes));
                if config.cluster.is_some() {
                    assert!(replica::max_message_bytes(replica_bytes) >= *longest);
                }
            }
            assert_eq!(longest[0], datagram_bytes - 22, "alone nothing else limits it");
            assert_eq!(longest[1], longest[0].min(65_344));
        }
    }
}
