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
