//! The configuration: plain data, read from a commented TOML file and checked as a whole.
//!
//! One file describes all roles; a process reads the sections of its role. Sections that say *who* and *where*
//! ([`Feed`], [`Sequencer`], [`Publisher`], …) are absent unless written, and then have required keys; sections that
//! only tune ([`Receiving`], [`Sending`], [`Io`], …) have defaults for every key. Without any file the configuration
//! is [`Config::default`]: all roles on the loopback interface of one machine, as [`Config::default_toml`] shows
//! with a comment at every key.
//!
//! Every mistake is a [`ConfigError`] that says what is wrong, in which line, and what to do. Nothing here knows
//! sockets or files of the feed: `topology` turns these sections into the configurations of agents and drivers.

mod cluster;
mod demo;
mod error;
mod load;
mod section;
mod text;
mod unit;
mod validate;

use serde::{Deserialize, Serialize};

pub use cluster::{Cluster, ClusterNode, Coordinator, Endpoint, EtcdCoordinator, FileCoordinator};
pub use error::{ConfigError, Position, Problem};
pub use section::{
    Durability, Feed, Idle, Io, IoDriver, IoXdp, IoXdpMode, Journal, Line, Memory, OnUnfillable, Publisher,
    Receiving, Rewind, RewindLimits, Runtime, Sending, Sequencer, SlowConsumer, Snapshot, SnapshotSource,
    Source, Start, Stat, Subscriber, ThreadLayout,
};
pub use unit::{Prefix, Rate, SourceSession};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The feed in total order: made by a sequencer, received by subscribers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<Feed>,
    /// The sequencer and its sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequencer: Option<Sequencer>,
    /// Hot standbys; none: the sequencer is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// The ordered record on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
    /// A publisher's own feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<Publisher>,
    /// Answering requests for gaps in the feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewind: Option<Rewind>,
    /// Serving snapshots to late joiners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// The receive path of every role that eats a feed.
    #[serde(default)]
    pub receive: Receiving,
    /// The send path of every role that makes a feed.
    #[serde(default)]
    pub send: Sending,
    /// What a subscriber does when things go wrong.
    #[serde(default)]
    pub subscriber: Subscriber,
    /// The driver.
    #[serde(default)]
    pub io: Io,
    /// The rings.
    #[serde(default)]
    pub memory: Memory,
    /// Threads and what they do when there is nothing to do.
    #[serde(default)]
    pub runtime: Runtime,
    /// Counters.
    #[serde(default)]
    pub stat: Stat,
}

impl Config {
    /// The default configuration as a TOML file with a comment at every key.
    pub const fn default_toml() -> &'static str {
        include_str!("default.toml")
    }

    /// Section `[feed]`.
    ///
    /// # Errors
    /// It is missing.
    pub fn feed(&self) -> Result<&Feed, ConfigError> {
        required(self.feed.as_ref(), "feed", "its session and lines")
    }

    /// Section `[sequencer]`.
    ///
    /// # Errors
    /// It is missing.
    pub fn sequencer(&self) -> Result<&Sequencer, ConfigError> {
        required(self.sequencer.as_ref(), "sequencer", "its name and sources")
    }

    /// Fewest members of the in-sync set that events are admitted with, this node included:
    /// [`Sequencer::min_in_sync`], or else one alone and two in a cluster.
    pub fn min_in_sync(&self) -> usize {
        let nodes = self.cluster.as_ref().map_or(1, |cluster| cluster.nodes.len());
        self.sequencer.as_ref().and_then(|sequencer| sequencer.min_in_sync).unwrap_or(nodes.clamp(1, 2))
    }

    /// Section `[journal]`.
    ///
    /// # Errors
    /// It is missing.
    pub fn journal(&self) -> Result<&Journal, ConfigError> {
        required(self.journal.as_ref(), "journal", "its directory")
    }

    /// Section `[publisher]`.
    ///
    /// # Errors
    /// It is missing.
    pub fn publisher(&self) -> Result<&Publisher, ConfigError> {
        required(self.publisher.as_ref(), "publisher", "its session, lines and request address")
    }

    /// Section `[rewind]`.
    ///
    /// # Errors
    /// It is missing.
    pub fn rewind(&self) -> Result<&Rewind, ConfigError> {
        required(self.rewind.as_ref(), "rewind", "its address and who may ask")
    }

    /// Section `[snapshot]`.
    ///
    /// # Errors
    /// It is missing.
    pub fn snapshot(&self) -> Result<&Snapshot, ConfigError> {
        required(self.snapshot.as_ref(), "snapshot", "its address and login")
    }
}

impl Default for Config {
    /// All roles on the loopback interface of one machine.
    fn default() -> Config {
        Config {
            feed: Some(demo::feed()),
            sequencer: Some(demo::sequencer()),
            cluster: None,
            journal: Some(demo::journal()),
            publisher: Some(demo::publisher()),
            rewind: Some(demo::rewind()),
            snapshot: Some(demo::snapshot()),
            receive: Receiving::default(),
            send: Sending::default(),
            subscriber: Subscriber::default(),
            io: Io::default(),
            memory: Memory::default(),
            runtime: Runtime::default(),
            stat: Stat::default(),
        }
    }
}

fn required<'a, T>(section: Option<&'a T>, name: &str, needs: &str) -> Result<&'a T, ConfigError> {
    section.ok_or_else(|| {
        ConfigError::from(Problem::new(
            name,
            format!("section `[{name}]` is missing, and this role needs {needs} from it"),
            "`seqcast config default` prints a complete example",
        ))
    })
}

#[cfg(test)]
mod tests;
