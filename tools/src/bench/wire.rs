//! A wire between the sequencer and its standbys: two network namespaces, joined by a veth pair.

use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::str::FromStr;

use anyhow::Context;
use seqcast_engine::config::IoDriver;

use super::echo::RawWire;
use super::site::Ends;
use crate::space::Space;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);

/// What is between the sequencer and its standbys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// The loopback interface, which all share.
    Loopback,
    /// A wire, and the driver that moves the stream over it, if that is another one than everybody's.
    Wire(Option<IoDriver>),
}

impl FromStr for Between {
    type Err = String;

    fn from_str(text: &str) -> Result<Between, String> {
        match text {
            "loopback" => Ok(Between::Loopback),
            "veth" => Ok(Between::Wire(None)),
            "xdp" => Ok(Between::Wire(Some(IoDriver::Xdp))),
            _ => Err("give `loopback`, `veth` or `xdp`".into()),
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Between::Loopback => "loopback",
            Between::Wire(Some(IoDriver::Xdp)) => {
                "a veth pair between network namespaces, the stream over AF_XDP"
            }
            Between::Wire(_) => "a veth pair between network namespaces",
        })
    }
}

/// The wire. The thread that made it is at its near end from then on.
pub(super) struct Wire {
    far: Space,
    driver: Option<IoDriver>,
}

impl Wire {
    /// A wire; none for the loopback interface.
    ///
    /// # Errors
    /// This process may not make namespaces, or `ip` is missing.
    pub(super) fn new(between: Between) -> anyhow::Result<Option<Wire>> {
        let Between::Wire(driver) = between else { return Ok(None) };
        let make = || {
            let (near, far) = (Space::make()?, Space::make()?);
            let pair = format!("link add wire type veth peer name wire netns {}\n", far.path());
            near.feed("ip", &["-batch", "-"], &(pair + &set_up(NEAR)))?;
            far.feed("ip", &["-batch", "-"], &set_up(FAR))?;
            near.enter()?;
            anyhow::Ok(far)
        };
        let far = make()
            .context("no wire can be made; it takes root and the tool `ip`, or give --between loopback")?;
        Ok(Some(Wire { far, driver }))
    }

    /// Its ends.
    pub(super) fn ends(&self) -> Ends {
        Ends { near: NEAR, far: FAR, driver: self.driver }
    }

    /// Does `work` at the far end. Threads that it starts stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or what `work` failed with.
    pub(super) fn at_far_end<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.far.inside(work)?
    }

    /// Raw sockets at both ends.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn raw(&self) -> anyhow::Result<[RawWire; 2]> {
        let near = UdpSocket::bind((NEAR, 0))?;
        let far = self.at_far_end(|| Ok(UdpSocket::bind((FAR, 0))?))?;
        Ok(RawWire::between(near, far)?)
    }
}

fn set_up(address: Ipv4Addr) -> String {
    format!(
        "link set lo up\naddr add {address}/24 dev wire\nlink set wire up\nroute add 224.0.0.0/4 dev wire\n"
    )
}
