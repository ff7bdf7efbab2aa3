//! What the faults that are in force now do to the network: worked out anew whenever one begins or ends, so that faults
//! may overlap.

use super::coordinator::Register;
use super::fault::FaultClass;
use super::net::{Link, Net};
use super::plan::{Episode, What};
use crate::time::Nanos;

/// Sets every link, line and driver as `episodes` leave them.
pub(super) fn apply<'a>(
    net: &mut Net,
    nodes: usize,
    usual: Link,
    episodes: impl Iterator<Item = &'a Episode> + Clone,
) {
    net.reroute();
    for from in 0..nodes {
        net.keep_busy(from, 0);
        for to in 0..nodes {
            let link = episodes.clone().fold(usual, |link, episode| changed(link, episode.what, from, to));
            *net.link_mut(from, to) = link;
        }
    }
    let mut lines = Vec::new();
    for episode in episodes {
        match episode.what {
            What::LineLoss { line, chances } => lines.push((line, chances)),
            What::Busy { node, chances } => net.keep_busy(node, chances),
            _ => {}
        }
    }
    net.lose_on_lines(lines);
}

/// Sets the coordinator as `episodes` leave it.
pub(super) fn apply_to_register<'a>(register: &mut Register, episodes: impl Iterator<Item = &'a Episode>) {
    (register.loss, register.extra_latency, register.is_away, register.cut) = (0, Nanos::ZERO, false, 0);
    for episode in episodes {
        match episode.what {
            What::CoordinatorAway => register.is_away = true,
            What::CoordinatorCut { node } => register.cut |= 1 << node,
            What::CoordinatorLoss { chances } => register.loss = register.loss.max(chances),
            What::CoordinatorSlow { extra } => register.extra_latency = register.extra_latency.max(extra),
            _ => {}
        }
    }
}

/// The link between two nodes after a fault.
fn changed(mut link: Link, what: What, from: usize, to: usize) -> Link {
    let is_between = |a, b| (from, to) == (a, b) || (from, to) == (b, a);
    match what {
        What::Loss { a, b, chances } if is_between(a, b) => link.loss = link.loss.max(chances),
        What::AsymmetricLoss { from: a, to: b, chances } if (from, to) == (a, b) => {
            link.asymmetric_loss = link.asymmetric_loss.max(chances);
        }
        What::Duplicate { chances } => link.duplicate = link.duplicate.max(chances),
        What::Corruption { chances } => link.corruption = link.corruption.max(chances),
        What::Reorder { chances, by } => (link.reorder, link.reorder_by) = (chances, by),
        What::Latency { node, extra } if node == from || node == to => {
            link.extra_latency = link.extra_latency.max(extra);
        }
        What::Partition { side } if (side >> from & 1) != (side >> to & 1) => {
            link.cut = Some(FaultClass::Partition);
        }
        What::Cut { from: these, to: those } if these >> from & those >> to & 1 != 0 => {
            link.cut = link.cut.or(Some(FaultClass::OneWay));
        }
        What::OneWay { from: a, to: b } if (from, to) == (a, b) => {
            link.cut = link.cut.or(Some(FaultClass::OneWay));
        }
        _ => {}
    }
    link
}
