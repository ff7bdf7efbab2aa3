//! What a process finds around it: datagrams, a disk and the time of day.

use std::path::Path;

use super::{Node, plan};
use crate::config::Config;
use crate::io::store::FileStore;
use crate::io::{AnyDriver, Driver};
use crate::mem::store::{Store, StoreError};
use crate::runtime::{AgentError, WallClock};

/// Gives a process what it does not compute: [`Host`] from the machine it runs on, the simulator from a world of its
/// own. The agents are the same in both.
pub trait Environment {
    /// Moves datagrams.
    type Driver: Driver + Send + 'static;
    /// Keeps the journal.
    type Store: Store;

    /// A driver for the agent named `agent`, of the sizes that `config` asks for. What an operator should know about it
    /// goes to `node` as a notice.
    ///
    /// # Errors
    /// It cannot be had.
    fn driver(
        &mut self,
        agent: &'static str,
        config: &Config,
        node: &mut Node,
    ) -> Result<Self::Driver, AgentError>;

    /// Opens the store that the configuration calls `dir`, for writing.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn store(&mut self, dir: &Path) -> Result<Self::Store, StoreError>;

    /// Tells the time of day.
    fn wall(&self) -> WallClock;
}

/// The machine that the process runs on: its sockets, its files, its clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Environment for Host {
    type Driver = AnyDriver;
    type Store = FileStore;

    fn driver(
        &mut self,
        _agent: &'static str,
        config: &Config,
        node: &mut Node,
    ) -> Result<AnyDriver, AgentError> {
        plan::driver(config, node)
    }

    fn store(&mut self, dir: &Path) -> Result<FileStore, StoreError> {
        FileStore::open(dir)
    }

    fn wall(&self) -> WallClock {
        WallClock::System
    }
}
