//! The sections of the configuration and their defaults. `default.toml` explains each key to users.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use seqcast_wire::Session;

use super::text;
use super::unit::{self, Prefix, Rate, SourceSession};
use crate::limits::ETHERNET_PAYLOAD_BYTES;
use crate::time::Nanos;

/// `[feed]`: the feed in total order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Its session.
    #[serde(with = "text")]
    pub session: Session,
    /// Its lines, one to [`MAX_LINES`](crate::limits::MAX_LINES).
    #[serde(rename = "line")]
    pub lines: Vec<Line>,
    /// Rewind servers. Requests are spread over them, each block of numbers to one; another is asked when it is silent.
    #[serde(default, with = "text::list")]
    pub rewind_servers: Vec<SocketAddrV4>,
    /// Where to get a snapshot to join late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotSource>,
}

/// `[[….line]]`: one redundant copy of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Multicast group and port; or the unicast address and port of the one receiver.
    #[serde(with = "text")]
    pub group: SocketAddrV4,
    /// Address of the local interface to send from or to join on; 0.0.0.0 leaves it to the kernel.
    #[serde(default = "unspecified", with = "text")]
    pub interface: Ipv4Addr,
    /// Receive only datagrams of this sender (source-specific multicast).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub source: Option<Ipv4Addr>,
}

/// `[feed.snapshot]`: snapshot servers and the login there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSource {
    /// Their addresses; the next is asked when one fails.
    #[serde(with = "text::list")]
    pub servers: Vec<SocketAddrV4>,
    /// User name, up to 6 characters.
    pub username: String,
    /// Password, up to 10 characters. SoupBinTCP sends it in clear.
    pub password: String,
}

/// When a message counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In the memory of every member of the in-sync set. All of them losing power at once loses messages that were
    /// published.
    Memory,
    /// On the disk of every member of the in-sync set.
    Disk,
}

/// `[sequencer]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequencer {
    /// Name of this node.
    pub name: String,
    /// Fewest members of the in-sync set that events are admitted with, this node included. None: see
    /// [`Config::min_in_sync`](super::Config::min_in_sync).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_in_sync: Option<usize>,
    /// When a message counts as kept.
    #[serde(default = "in_memory")]
    pub durability: Durability,
    /// End the session once every source has ended its own.
    #[serde(default)]
    pub end_with_sources: bool,
    /// The feeds that it orders, one to [`MAX_SOURCES`](crate::limits::MAX_SOURCES).
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// `[[sequencer.source]]`: a publisher's feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name: in counters and messages.
    pub name: String,
    /// Its session.
    #[serde(default = "any_session", with = "text")]
    pub session: SourceSession,
    /// Its lines.
    #[serde(rename = "line")]
    pub lines: Vec<Line>,
    /// Where to ask for what is missing: the publisher's request address.
    #[serde(default, with = "text::list")]
    pub rewind_servers: Vec<SocketAddrV4>,
    /// Tell the publisher, at its request address, what is committed. Not for publishers that are not Seqcast's.
    #[serde(default = "yes")]
    pub acknowledge: bool,
}

/// `[journal]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Its directory; made when it is missing.
    pub dir: PathBuf,
    /// Size of a segment's file.
    #[serde(default = "segment_bytes", with = "unit::size")]
    pub segment_bytes: u64,
    /// Oldest segments are deleted beyond this; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "unit::size::option")]
    pub retain_bytes: Option<u64>,
    /// So much is kept as long as a node of the cluster lacks it; none: four times `retain_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "unit::size::option")]
    pub catch_up_bytes: Option<u64>,
}

impl Journal {
    /// How much is kept as long as a node of the cluster lacks it.
    pub fn catch_up_bytes(&self) -> u64 {
        let by_default = || self.retain_bytes.unwrap_or(0).saturating_mul(4);
        self.catch_up_bytes.unwrap_or_else(by_default)
    }
}

/// `[publisher]`: a publisher's own feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// Its session.
    #[serde(with = "text")]
    pub session: Session,
    /// Its lines.
    #[serde(rename = "line")]
    pub lines: Vec<Line>,
    /// Where it answers requests for gaps in its feed.
    #[serde(with = "text")]
    pub rewind_bind: SocketAddrV4,
    /// How much of its feed it keeps in memory for that.
    #[serde(default = "retain_bytes", with = "unit::size")]
    pub retain_bytes: usize,
    /// How many messages may be on their way to a sequencer that acknowledges; nothing is forgotten before it is
    /// committed there. None: nobody acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_messages: Option<u64>,
    /// Who may ask, and acknowledge.
    #[serde(with = "text::list")]
    pub allow: Vec<Prefix>,
    /// How much is answered.
    #[serde(default)]
    pub limits: RewindLimits,
}

/// `[rewind]`: answering requests for gaps in the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewind {
    /// Where.
    #[serde(with = "text")]
    pub bind: SocketAddrV4,
    /// Who may ask. A request of 20 bytes is answered by a datagram 70 times as large, so nobody is let in unnamed.
    #[serde(with = "text::list")]
    pub allow: Vec<Prefix>,
    /// How much.
    #[serde(default)]
    pub limits: RewindLimits,
}

/// `[rewind.limits]`: what one address, and all together, may be sent. A request beyond that is not answered, and the
/// client asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewindLimits {
    /// Datagrams a second to one address.
    pub client_datagrams_per_s: u32,
    /// Rate to one address.
    #[serde(with = "text")]
    pub client_rate: Rate,
    /// Datagrams a second to all together.
    pub total_datagrams_per_s: u32,
    /// Rate to all together.
    #[serde(with = "text")]
    pub total_rate: Rate,
    /// How much of the unused may be saved up, as a time.
    #[serde(with = "text")]
    pub burst: Nanos,
    /// Addresses that are told apart.
    pub max_clients: usize,
}

impl Default for RewindLimits {
    fn default() -> RewindLimits {
        RewindLimits {
            client_datagrams_per_s: 5_000,
            client_rate: Rate::BitsPerSecond(64_000_000),
            total_datagrams_per_s: 50_000,
            total_rate: Rate::BitsPerSecond(640_000_000),
            burst: Nanos::from_millis(100),
            max_clients: 1_024,
        }
    }
}

/// `[snapshot]`: serving snapshots to late joiners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Where.
    #[serde(with = "text")]
    pub bind: SocketAddrV4,
    /// User name, up to 6 characters.
    pub username: String,
    /// Password, up to 10 characters. SoupBinTCP sends it in clear.
    pub password: String,
    /// Clients at a time.
    #[serde(default = "max_clients")]
    pub max_clients: usize,
}

/// `[receive]`: the receive path of every role that eats a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receiving {
    /// How long a hole is left to the lines that have not passed it; one that every line heard has passed is requested at
    /// once. Without rewind servers, what is missing after this is lost.
    #[serde(with = "text")]
    pub reorder_wait: Nanos,
    /// How long a rewind server may take to answer before the next is asked, at most: one that answers faster is given
    /// less.
    #[serde(with = "text")]
    pub request_timeout: Nanos,
    /// The timeout doubles with each round over all servers, up to this.
    #[serde(with = "text")]
    pub max_backoff: Nanos,
    /// Requests for the same range without any progress before it counts as unfillable.
    pub attempts: u32,
    /// Requests in flight at a time.
    pub max_requests_in_flight: usize,
    /// Memory for what arrives after a hole until the hole is filled.
    #[serde(with = "unit::size")]
    pub stash_bytes: usize,
    /// Messages kept there.
    pub stash_messages: usize,
    /// Numbers that a single datagram may jump ahead. A farther jump counts as unfillable.
    pub max_gap_messages: u64,
    /// The feed counts as stale when no line brings a datagram, heartbeats included, for this long.
    #[serde(with = "text")]
    pub silence: Nanos,
}

impl Default for Receiving {
    fn default() -> Receiving {
        Receiving {
            reorder_wait: Nanos::from_micros(500),
            request_timeout: Nanos::from_millis(5),
            max_backoff: Nanos::from_millis(500),
            attempts: 30,
            max_requests_in_flight: 16,
            stash_bytes: 8 << 20,
            stash_messages: 1 << 16,
            max_gap_messages: 1 << 20,
            silence: Nanos::from_secs(3),
        }
    }
}

/// `[send]`: the send path of every role that makes a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sending {
    /// Datagrams are packed up to this size (UDP payload).
    #[serde(with = "unit::size")]
    pub datagram_bytes: usize,
    /// Rate on each line.
    #[serde(with = "text")]
    pub pace: Rate,
    /// How much unused rate may be saved up and spent at once, as a time at that rate.
    #[serde(with = "text")]
    pub burst: Nanos,
    /// The first heartbeat after a message comes this soon, each further one after twice the time, up to `heartbeat`.
    #[serde(with = "text")]
    pub first_heartbeat: Nanos,
    /// Heartbeats of an idle feed come this often.
    #[serde(with = "text")]
    pub heartbeat: Nanos,
    /// How long the end of the session is repeated.
    #[serde(with = "text")]
    pub end_of_session: Nanos,
    /// Routers that multicast may pass, plus one.
    pub multicast_ttl: u8,
}

impl Default for Sending {
    fn default() -> Sending {
        Sending {
            datagram_bytes: ETHERNET_PAYLOAD_BYTES,
            pace: Rate::BitsPerSecond(1_000_000_000),
            burst: Nanos::from_millis(1),
            first_heartbeat: Nanos::from_millis(1),
            heartbeat: Nanos::from_secs(1),
            end_of_session: Nanos::from_secs(30),
            multicast_ttl: 1,
        }
    }
}

/// What happens when an application does not keep up with the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlowConsumer {
    /// The receive path waits for it; what does not fit meanwhile is lost on the lines and asked for again.
    Wait,
    /// It misses messages and is told which.
    Skip,
    /// It is cut off, with an error.
    Disconnect,
}

/// What happens when a gap cannot be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnfillable {
    /// The process stops with an error that names the gap.
    Stop,
    /// The state is taken anew from a snapshot.
    Snapshot,
    /// The gap is reported to the application and left open. Books are wrong from then on.
    Skip,
}

/// Where in the session a subscriber starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At number 1; what was sent before is requested.
    First,
    /// At the first datagram that arrives.
    Live,
    /// At the state of a snapshot.
    Snapshot,
}

/// `[subscriber]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subscriber {
    /// Where in the session it starts.
    pub start: Start,
    /// What happens when an application does not keep up.
    pub slow_consumer: SlowConsumer,
    /// What happens when a gap cannot be filled.
    pub on_unfillable: OnUnfillable,
}

impl Default for Subscriber {
    fn default() -> Subscriber {
        Subscriber {
            start: Start::First,
            slow_consumer: SlowConsumer::Wait,
            on_unfillable: OnUnfillable::Stop,
        }
    }
}

/// Which driver moves datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoDriver {
    /// io_uring where the kernel allows it, else plain sockets; the start-up report says which.
    Auto,
    /// io_uring, or an error.
    Uring,
    /// Plain sockets.
    Udp,
    /// AF_XDP, past the kernel's network stack, where that can be had, else as `auto`; the start-up report says which.
    Xdp,
}

/// Where the program of `driver = "xdp"` runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoXdpMode {
    /// In the interface's driver where it can, else in the kernel's stack; on a veth pair there at once.
    #[default]
    Auto,
    /// In the interface's driver, or not at all.
    Native,
    /// In the kernel's stack.
    Generic,
}

/// `[io.xdp]`: for `driver = "xdp"` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IoXdp {
    /// Where the program runs that picks our datagrams out.
    pub mode: IoXdpMode,
    /// In native mode, have the interface read and write our memory itself where it can.
    pub zero_copy: bool,
    /// Compute UDP check sums of what is sent and verify those of what arrives.
    pub checksums: bool,
}

impl Default for IoXdp {
    fn default() -> IoXdp {
        IoXdp { mode: IoXdpMode::Auto, zero_copy: true, checksums: true }
    }
}

/// `[io]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Io {
    /// Which driver.
    pub driver: IoDriver,
    /// Longest datagram that is received or sent; longer ones are dropped and counted.
    #[serde(with = "unit::size")]
    pub max_datagram_bytes: usize,
    /// Datagrams that may wait between the kernel and the agent (`uring`, `xdp`), a power of two.
    pub receive_buffers: usize,
    /// Datagrams that may wait to be sent.
    pub send_slots: usize,
    /// Receive buffer to ask the kernel for, for each socket.
    #[serde(with = "unit::size")]
    pub receive_buffer_bytes: usize,
    /// Send buffer to ask the kernel for, for each socket.
    #[serde(with = "unit::size")]
    pub send_buffer_bytes: usize,
    /// Hand runs of datagrams to the kernel as one (UDP segmentation offload).
    pub gso: bool,
    /// Take runs of datagrams from the kernel as one (UDP receive offload).
    pub gro: bool,
    /// When nothing was sent for so long, send to ourselves over the loopback interface, so that the next datagram does not
    /// find the caches cold; zero: never.
    #[serde(with = "text")]
    pub keep_warm: Nanos,
    /// Options of `driver = "xdp"`.
    pub xdp: IoXdp,
}

impl Default for Io {
    fn default() -> Io {
        Io {
            driver: IoDriver::Auto,
            max_datagram_bytes: 2 << 10,
            receive_buffers: 256,
            send_slots: 256,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
            gso: true,
            gro: true,
            keep_warm: Nanos::ZERO,
            xdp: IoXdp::default(),
        }
    }
}

/// `[memory]`: the rings between agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Size of the ring that events pass through, a power of two.
    #[serde(with = "unit::size")]
    pub ring_bytes: usize,
    /// Use pages of 2 MiB.
    pub huge_pages: bool,
    /// Keep the rings from being swapped out.
    pub lock: bool,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { ring_bytes: 64 << 20, huge_pages: false, lock: false }
    }
}

/// What a thread does when there is nothing to do; see [`IdleStrategy`](crate::runtime::IdleStrategy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Spin, always.
    Spin,
    /// Give the core to whoever else can run.
    Yield,
    /// Spin, then yield, then rest for longer and longer.
    Backoff,
    /// Rest for `park_max` at once.
    Sleep,
}

/// `[runtime]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// What threads do when there is nothing to do.
    pub idle: Idle,
    /// Idle duty cycles that `backoff` spins through.
    pub spins: u32,
    /// Idle duty cycles that `backoff` yields through after that.
    pub yields: u32,
    /// First rest of `backoff`.
    #[serde(with = "text")]
    pub park_min: Nanos,
    /// Longest rest of `backoff`, and the rest of `sleep`.
    #[serde(with = "text")]
    pub park_max: Nanos,
    /// A time between duty cycles longer than this is counted as a stall.
    #[serde(with = "text")]
    pub stall_threshold: Nanos,
    /// Which agents share which threads. Empty: the role's own layout, not pinned.
    #[serde(rename = "thread", skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<ThreadLayout>,
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime {
            idle: Idle::Backoff,
            spins: 100,
            yields: 20,
            park_min: Nanos::from_micros(10),
            park_max: Nanos::from_millis(1),
            stall_threshold: Nanos::from_millis(10),
            threads: Vec::new(),
        }
    }
}

/// `[[runtime.thread]]`: a thread and its agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadLayout {
    /// Its name.
    pub name: String,
    /// The agents on it, in the order of their turns.
    pub agents: Vec<String>,
    /// Core to pin it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<usize>,
    /// What it does when there is nothing to do, if not what the others do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

/// `[stat]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stat {
    /// Directory of the mapped files that tools read counters from, one a process; empty: no files.
    pub dir: PathBuf,
}

impl Default for Stat {
    fn default() -> Stat {
        Stat { dir: "/dev/shm/seqcast".into() }
    }
}

fn unspecified() -> Ipv4Addr {
    Ipv4Addr::UNSPECIFIED
}

fn any_session() -> SourceSession {
    SourceSession::Any
}

fn in_memory() -> Durability {
    Durability::Memory
}

pub(super) fn segment_bytes() -> u64 {
    64 << 20
}

pub(super) fn retain_bytes() -> usize {
    64 << 20
}

pub(super) fn max_clients() -> usize {
    8
}

fn yes() -> bool {
    true
}
