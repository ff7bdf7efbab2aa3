//! What a simulated process finds around it.

use std::path::Path;

use super::clock::NodeClock;
use super::disk::{NodeDisk, SimStore};
use super::net::SimDriver;
use super::shared::Shared;
use crate::config::Config;
use crate::mem::store::StoreError;
use crate::runtime::{AgentError, WallClock};
use crate::topology::{Environment, Node};

/// The environment of one node.
pub(super) struct SimEnvironment<'a> {
    pub(super) node: usize,
    pub(super) shared: &'a Shared,
    pub(super) disk: &'a NodeDisk,
    pub(super) clock: &'a NodeClock,
}

impl Environment for SimEnvironment<'_> {
    type Driver = SimDriver;
    type Store = SimStore;

    fn driver(
        &mut self,
        agent: &'static str,
        config: &Config,
        _node: &mut Node,
    ) -> Result<SimDriver, AgentError> {
        let bytes = config.io.max_datagram_bytes.max(config.send.datagram_bytes);
        Ok(SimDriver::new(self.shared.clone(), self.node, agent, bytes))
    }

    fn store(&mut self, _dir: &Path) -> Result<SimStore, StoreError> {
        self.disk.open(self.node, self.shared.clone())
    }

    fn wall(&self) -> WallClock {
        self.clock.wall()
    }
}
