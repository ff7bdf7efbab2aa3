//! Looks at the nodes of a cluster all the time, as an operator would with `seqcast status`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use seqcast_engine::agents::status::{NoteReport, Report, Role};

use super::net::Net;
use crate::control;

/// Between two looks at one node.
const PERIOD: Duration = Duration::from_millis(20);
/// A node that takes longer is not there.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is known of one node.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// As it last said; none when it did not answer last time.
    report: Option<Report>,
    /// All that has happened to it, of all its processes.
    notes: BTreeMap<(u64, u64), NoteReport>,
}

/// The watch. Dropped, it ends.
pub(crate) struct Watch {
    seen: Vec<Arc<Mutex<Seen>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// The node's place.
    pub(crate) node: usize,
    pub(crate) epoch: u64,
    pub(crate) admitting: bool,
    /// Names of the in-sync set.
    pub(crate) in_sync: Vec<String>,
}

impl Watch {
    /// Watches the nodes at these addresses.
    pub(crate) fn new(net: &Arc<Net>, nodes: &[SocketAddrV4]) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let seen: Vec<Arc<Mutex<Seen>>> = nodes.iter().map(|_| Arc::default()).collect();
        let threads = nodes.iter().zip(&seen).map(|(&address, seen)| {
            let (net, seen, over) = (Arc::clone(net), Arc::clone(seen), Arc::clone(&over));
            thread::spawn(move || {
                // Whoever cannot be asked is seen as not there: what waits for it says so.
                let _ = net.as_operator(|| look(address, &seen, &over));
            })
        });
        let threads = threads.collect();
        Watch { seen, over, threads }
    }

    /// Who leads, by the highest epoch of those who say that they do.
    pub(crate) fn lead(&self) -> Option<Lead> {
        let leads = self.seen.iter().enumerate().filter_map(|(node, seen)| {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let report = seen.report.as_ref().filter(|report| report.role == Role::Primary)?;
            let in_sync = report.stored.clone();
            Some(Lead { node, epoch: report.epoch, admitting: report.admitting, in_sync })
        });
        leads.max_by_key(|lead| lead.epoch)
    }

    /// Whether every node has said since `wall_ns` that it leads or follows.
    pub(crate) fn are_all_there_since(&self, wall_ns: u64) -> bool {
        self.seen.iter().all(|seen| {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let is_there = |report: &Report| {
                report.wall_ns >= wall_ns && matches!(report.role, Role::Primary | Role::Standby)
            };
            seen.report.as_ref().is_some_and(is_there)
        })
    }

    /// All that has happened to each node, in order.
    pub(crate) fn notes(&self) -> Vec<Vec<NoteReport>> {
        let notes = |seen: &Arc<Mutex<Seen>>| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).notes.values().cloned().collect()
        };
        self.seen.iter().map(notes).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn look(address: SocketAddrV4, seen: &Mutex<Seen>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let report = control::status(address, PATIENCE).ok();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for note in report.iter().flat_map(|report| &report.notes) {
            seen.notes.entry((note.wall_ns, note.number)).or_insert_with(|| note.clone());
        }
        seen.report = report;
        drop(seen);
        thread::sleep(PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use seqcast_engine::agents::links::{Desk, Links, LinksPlan};
    use seqcast_engine::agents::meter::Meter;
    use seqcast_engine::agents::status::{NodeStatus, Note, What};
    use seqcast_engine::replica::{Member, Members, NodeId, Watermarks};
    use seqcast_engine::rewind::Prefix;
    use seqcast_engine::runtime::Agent;
    use seqcast_engine::stat::{Counters, CountersSpec};
    use seqcast_engine::time::Nanos;
    use seqcast_wire::{SeqNo, Session};

    use super::*;

    /// A node's control port, and the desk behind it.
    fn node(name: &str) -> (Links, Desk, SocketAddrV4) {
        let address = {
            let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            SocketAddrV4::new(Ipv4Addr::LOCALHOST, taken.local_addr().unwrap().port())
        };
        let desk = Desk::new();
        let plan = LinksPlan {
            session: Session::BLANK,
            me: NodeId(0),
            incarnation: 1,
            nodes: vec![(name.into(), address)],
            operators: vec![Prefix::LOOPBACK],
            wait: Nanos::from_millis(1),
        };
        let counters = Counters::anonymous("watch", CountersSpec::default()).unwrap();
        let links = Links::open(plan, desk.clone(), Meter::new(&counters, "links", "")).unwrap();
        (links, desk, address)
    }

    fn primary(epoch: u64) -> NodeStatus {
        let start = SeqNo::FIRST;
        let watermarks = Watermarks {
            numbered: start,
            appended: start,
            durable: start,
            replicated: start,
            committed: start,
            published: start,
        };
        let stored = Members::of(&[Member { node: NodeId(0), incarnation: 1 }]).unwrap();
        NodeStatus { role: Role::Primary, epoch, stored, closed: None, ..NodeStatus::starting(1, watermarks) }
    }

    #[test]
    fn the_highest_epoch_leads_and_what_happened_is_kept() {
        let mut nodes = [node("n1"), node("n2")];
        let addresses: Vec<_> = nodes.iter().map(|(.., address)| *address).collect();
        let net = Arc::new(Net::new(2, true).unwrap());
        let watch = Watch::new(&net, &addresses);
        let mut turn = {
            let mut now = Nanos(1);
            move |nodes: &mut [(Links, Desk, SocketAddrV4)]| {
                now = now + Nanos::from_millis(1);
                nodes.iter_mut().for_each(|(links, ..)| _ = links.do_work(now).unwrap());
            }
        };
        for (node, epoch) in [(0, 3), (1, 4)] {
            let (_, desk, _) = &nodes[node];
            desk.post(&primary(epoch));
            let (what, role) = (What::Role, Role::Primary);
            desk.note(Note { wall_ns: epoch, role, epoch, what, about: None, reason: "asked" });
            while watch.lead().is_none_or(|lead| lead.epoch != epoch) {
                turn(&mut nodes);
            }
        }
        let lead = watch.lead().unwrap();
        assert_eq!((lead.node, lead.admitting, lead.in_sync), (1, true, vec!["n2".to_owned()]));
        assert!(!watch.are_all_there_since(1), "what they said is older");
        for (_, desk, _) in &nodes {
            desk.post(&NodeStatus { wall_ns: 7, ..primary(4) });
        }
        while !watch.are_all_there_since(7) {
            turn(&mut nodes);
        }
        // The second is gone, with its process: the first is all that answers, and the notes stay.
        let [(first, desk, at), _] = nodes;
        desk.post(&primary(3));
        let first = (first, desk, at);
        let mut left = [first];
        while watch.lead().is_none_or(|lead| lead.node != 0) {
            turn(&mut left);
        }
        let notes = watch.notes();
        assert_eq!(notes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(notes[1][0].reason, "asked");
    }
}
