//! The steward: carries requests from the hot replica agent to the coordinator, and its answers back.
//!
//! A coordinator blocks: on a disk, on a network. So it has a cold thread of its own, this agent's, and the hot one
//! talks to it through two queues of one place each. One request is outstanding at a time. The steward asks nothing of
//! itself, and decides nothing.

use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use crossbeam::queue::ArrayQueue;
use tracing::{error, info};

use super::meter::Meter;
use crate::replica::{Answer, Coordinator, Request};
use crate::runtime::{Agent, AgentError};
use crate::time::Nanos;

/// What keeps failing in the same way is told so often.
const REPEAT_AFTER: Nanos = Nanos::from_secs(10);

/// The two ways between a hot agent and the steward.
pub fn mailbox() -> (CoordinatorClient, Mailbox) {
    let shared = Arc::new(Shared {
        requests: ArrayQueue::new(1),
        answers: ArrayQueue::new(1),
        steward: OnceLock::new(),
    });
    (CoordinatorClient { shared: Arc::clone(&shared), outstanding: false }, Mailbox(shared))
}

struct Shared {
    requests: ArrayQueue<Request>,
    answers: ArrayQueue<Answer>,
    /// The steward's thread, once it runs.
    steward: OnceLock<Thread>,
}

/// The hot end: allocates nothing and waits for nothing.
pub struct CoordinatorClient {
    shared: Arc<Shared>,
    outstanding: bool,
}

impl CoordinatorClient {
    /// Whether nothing is outstanding, so that the next request would be taken.
    #[inline]
    pub fn is_idle(&self) -> bool {
        !self.outstanding
    }

    /// Asks, unless the answer to the last request is still to come. Gives whether it did.
    ///
    /// A swap is urgent: it wakes the steward, which costs a call of the kernel. A read waits for its next look.
    pub fn try_submit(&mut self, request: Request) -> bool {
        if self.outstanding || self.shared.requests.push(request).is_err() {
            return false;
        }
        self.outstanding = true;
        if let (Request::Swap { .. }, Some(steward)) = (request, self.shared.steward.get()) {
            steward.unpark();
        }
        true
    }

    /// The answer to the last request, once it is there.
    #[inline]
    pub fn poll(&mut self) -> Option<Answer> {
        if !self.outstanding {
            return None;
        }
        let answer = self.shared.answers.pop()?;
        self.outstanding = false;
        Some(answer)
    }
}

/// The steward's end.
pub struct Mailbox(Arc<Shared>);

/// The agent. Its coordinator may block: it needs a thread of its own.
pub struct Steward {
    coordinator: Box<dyn Coordinator>,
    mailbox: Mailbox,
    /// What the coordinator is at.
    asked: Option<Request>,
    complaint: Complaint,
    counts: Counts,
    meter: Meter,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    reads: u64,
    swapped: u64,
    lost: u64,
    unknown: u64,
}

impl Steward {
    /// Serves `mailbox` with `coordinator`.
    pub fn new(coordinator: Box<dyn Coordinator>, mailbox: Mailbox, meter: Meter) -> Steward {
        let (complaint, counts) = (Complaint::default(), Counts::default());
        Steward { coordinator, mailbox, asked: None, complaint, counts, meter }
    }

    fn on_answer(&mut self, now: Nanos, answer: Answer) {
        let notice = self.coordinator.take_notice();
        match answer {
            Answer::Read(_) => self.counts.reads += 1,
            Answer::Swapped(_) => self.counts.swapped += 1,
            Answer::Lost => self.counts.lost += 1,
            Answer::Unknown => self.counts.unknown += 1,
        }
        if answer == Answer::Unknown {
            let what = notice.unwrap_or_else(|| "it gave no answer".into());
            match self.complaint.on_failure(now, what) {
                Some((what, 1)) => error!("coordinator: {what}"),
                Some((what, times)) => error!("coordinator: {what} ({times} times by now)"),
                None => {}
            }
        } else if let Some(times) = self.complaint.on_success() {
            info!("the coordinator answers again, after {times} failures");
        }
        self.asked = None;
        // There is room: one request is outstanding at a time, and its answer is taken before the next is asked.
        let _ = self.mailbox.0.answers.push(answer);
    }

    fn report(&mut self) {
        let Counts { reads, swapped, lost, unknown } = self.counts;
        self.meter.set("reads_total", reads);
        self.meter.set("swaps_total", swapped);
        self.meter.set("lost_swaps_total", lost);
        self.meter.set("unknown_answers_total", unknown);
    }
}

impl Agent for Steward {
    fn name(&self) -> &str {
        "steward"
    }

    fn on_start(&mut self, _now: Nanos) -> Result<(), AgentError> {
        let _ = self.mailbox.0.steward.set(thread::current());
        Ok(())
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = 0;
        if self.asked.is_none()
            && let Some(request) = self.mailbox.0.requests.pop()
        {
            self.coordinator.submit(now, request);
            self.asked = Some(request);
            work += 1;
        }
        if self.asked.is_some()
            && let Some(answer) = self.coordinator.poll(now)
        {
            self.on_answer(now, answer);
            work += 1;
        }
        if self.meter.is_due(now) {
            self.report();
        }
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}

/// Failures in a row: each kind is told once, and again now and then.
#[derive(Default)]
struct Complaint {
    told: Option<(String, Nanos)>,
    times: u64,
}

impl Complaint {
    /// What to tell of a failure, if anything, and how many there were in a row.
    fn on_failure(&mut self, now: Nanos, what: String) -> Option<(String, u64)> {
        self.times += 1;
        if let Some((told, at)) = &self.told
            && *told == what
            && now.since(*at) < REPEAT_AFTER
        {
            return None;
        }
        self.told = Some((what.clone(), now));
        Some((what, self.times))
    }

    /// After how many failures this is the first success, if after any.
    fn on_success(&mut self) -> Option<u64> {
        self.told.take().map(|_| std::mem::take(&mut self.times))
    }
}
