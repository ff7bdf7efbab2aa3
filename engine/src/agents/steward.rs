//! The steward: carries requests from the hot replica agent to the coordinator, and its answers back.
//!
//! A coordinator blocks: on a disk, on a network. So it has a cold thread of its own, this agent's, and the hot one
//! talks to it through two queues of one place each. One request is outstanding at a time. The steward asks nothing of
//! itself, and decides nothing.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tracing::{error, info};

use super::meter::Meter;
use crate::replica::{Answer, Coordinator, Record, Request};
use crate::runtime::{Agent, AgentError, Waker};
use crate::time::Nanos;

/// What keeps failing in the same way is told so often.
const REPEAT_AFTER: Nanos = Nanos::from_secs(10);
/// And what fails in ever new ways, so often.
const TELL_AFTER: Nanos = Nanos::from_secs(1);

/// The two ways between a hot agent and the steward.
pub fn mailbox() -> (CoordinatorClient, Mailbox) {
    let shared = Arc::new(Shared {
        requests: ArrayQueue::new(1),
        answers: ArrayQueue::new(1),
        prepared: ArrayQueue::new(1),
        steward: Waker::default(),
    });
    (CoordinatorClient { shared: Arc::clone(&shared), outstanding: false }, Mailbox(shared))
}

struct Shared {
    requests: ArrayQueue<Request>,
    answers: ArrayQueue<Answer>,
    /// The record of a swap that is likely to come.
    prepared: ArrayQueue<Record>,
    steward: Waker,
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
    /// That wakes the steward, which costs a call of the kernel: requests are rare, and in a takeover each is urgent.
    pub fn try_submit(&mut self, request: Request) -> bool {
        if self.outstanding || self.shared.requests.push(request).is_err() {
            return false;
        }
        self.outstanding = true;
        self.shared.steward.wake();
        true
    }

    /// A swap to `record` is likely to be asked next; see [`Coordinator::prepare`].
    pub fn prepare(&self, record: Record) {
        self.shared.prepared.force_push(record);
        self.shared.steward.wake();
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
            match self.complaint.on_failure(now, &what) {
                Some(1) => error!("coordinator: {what}"),
                Some(failures) => error!("coordinator: {what} ({failures} failures in a row)"),
                None => {}
            }
        } else if let Some(failures) = self.complaint.on_success() {
            info!("the coordinator answers again, after {failures} failures");
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
        self.mailbox.0.steward.settle();
        Ok(())
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = 0;
        // Too late once anything is asked.
        let prepared = self.mailbox.0.prepared.pop();
        if self.asked.is_none()
            && let Some(request) = self.mailbox.0.requests.pop()
        {
            self.coordinator.submit(now, request);
            self.asked = Some(request);
            work += 1;
        } else if self.asked.is_none()
            && let Some(record) = prepared
        {
            self.coordinator.prepare(record);
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

/// Failures in a row: told once, and again now and then.
#[derive(Default)]
struct Complaint {
    /// What was told last, and when.
    told: Option<(String, Nanos)>,
    failures: u64,
}

impl Complaint {
    /// How many failures in a row `what` is to be told with; none when it is too soon to tell anything.
    fn on_failure(&mut self, now: Nanos, what: &str) -> Option<u64> {
        self.failures += 1;
        if let Some((told, at)) = &self.told {
            let pause = if told == what { REPEAT_AFTER } else { TELL_AFTER };
            if now.since(*at) < pause {
                return None;
            }
        }
        self.told = Some((what.to_owned(), now));
        Some(self.failures)
    }

    /// After how many failures this is the first success, if after any.
    fn on_success(&mut self) -> Option<u64> {
        self.told.take().map(|_| std::mem::take(&mut self.failures))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::thread;

    use seqcast_wire::Session;

    use super::*;
    use crate::replica::{Member, Members, Record};
    use crate::stat::{Counters, CountersSpec};

    /// Answers as it is told to, and notes what it was asked.
    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Script>>);

    #[derive(Default)]
    struct Script {
        asked: Vec<Request>,
        answers: VecDeque<Answer>,
        prepared: Vec<Record>,
    }

    impl Coordinator for Scripted {
        fn submit(&mut self, _now: Nanos, request: Request) {
            self.0.lock().unwrap().asked.push(request);
        }

        fn prepare(&mut self, record: Record) {
            self.0.lock().unwrap().prepared.push(record);
        }

        fn poll(&mut self, _now: Nanos) -> Option<Answer> {
            self.0.lock().unwrap().answers.pop_front()
        }

        fn take_notice(&mut self) -> Option<String> {
            Some("the disk is gone".into())
        }
    }

    impl Scripted {
        fn answer(&self, answer: Answer) {
            self.0.lock().unwrap().answers.push_back(answer);
        }

        fn asked(&self) -> Vec<Request> {
            self.0.lock().unwrap().asked.clone()
        }
    }

    fn world() -> (CoordinatorClient, Steward, Scripted, Counters) {
        let (client, mailbox) = mailbox();
        let coordinator = Scripted::default();
        let counters = Counters::anonymous("test", CountersSpec::default()).unwrap();
        let meter = Meter::new(&counters, "steward", "");
        (client, Steward::new(Box::new(coordinator.clone()), mailbox, meter), coordinator, counters)
    }

    fn swap(expected: u64) -> Request {
        let primary = Member::default();
        let in_sync = Members::of(&[primary]).unwrap();
        Request::Swap { expected, record: Record { session: Session::BLANK, epoch: 1, primary, in_sync } }
    }

    #[test]
    fn one_request_at_a_time_is_carried_there_and_its_answer_back() {
        let (mut client, mut steward, coordinator, _) = world();
        assert_eq!(steward.do_work(Nanos(1)), Ok(0), "it asks nothing of itself");
        assert!(client.is_idle() && client.poll().is_none());
        assert!(client.try_submit(Request::Read));
        assert!(!client.is_idle() && !client.try_submit(swap(1)) && client.poll().is_none());
        assert_eq!(steward.do_work(Nanos(2)), Ok(1));
        assert!(!client.try_submit(swap(1)), "taken, and not answered");
        assert_eq!(steward.do_work(Nanos(3)), Ok(0));
        coordinator.answer(Answer::Read(None));
        assert_eq!(steward.do_work(Nanos(4)), Ok(1));
        assert!(!client.is_idle(), "answered, and not taken");
        assert_eq!((client.poll(), client.poll()), (Some(Answer::Read(None)), None));
        coordinator.answer(Answer::Lost);
        assert!(client.is_idle() && client.try_submit(swap(1)));
        assert_eq!(steward.do_work(Nanos(5)), Ok(2), "asked and answered in one");
        assert_eq!(client.poll(), Some(Answer::Lost));
        assert_eq!(coordinator.asked(), [Request::Read, swap(1)]);
    }

    #[test]
    fn a_swap_is_prepared_unless_something_is_asked_already() {
        let (mut client, mut steward, coordinator, _) = world();
        let Request::Swap { record, .. } = swap(1) else { return };
        let later = Record { epoch: 2, ..record };
        client.prepare(record);
        client.prepare(later);
        assert_eq!((steward.do_work(Nanos(1)), steward.do_work(Nanos(2))), (Ok(1), Ok(0)));
        client.prepare(record);
        assert!(client.try_submit(swap(1)));
        assert_eq!((steward.do_work(Nanos(3)), steward.do_work(Nanos(4))), (Ok(1), Ok(0)));
        client.prepare(record);
        assert_eq!(steward.do_work(Nanos(5)), Ok(0), "too late");
        assert_eq!(coordinator.0.lock().unwrap().prepared, [later], "the newest, once");
    }

    #[test]
    fn an_answer_that_nobody_asked_for_stays_where_it_is() {
        let (mut client, mut steward, coordinator, _) = world();
        coordinator.answer(Answer::Lost);
        assert_eq!(steward.do_work(Nanos(1)), Ok(0));
        assert_eq!(client.poll(), None);
    }

    #[test]
    fn answers_are_counted() {
        let (mut client, mut steward, coordinator, counters) = world();
        for answer in [Answer::Read(None), Answer::Lost, Answer::Unknown, Answer::Unknown] {
            coordinator.answer(answer);
            assert!(client.try_submit(Request::Read));
            steward.do_work(Nanos(1)).unwrap();
            assert_eq!(client.poll(), Some(answer));
        }
        steward.on_close(Nanos(2));
        let readings = counters.readings();
        let value = |name: &str| readings.iter().find(|reading| reading.label == name).unwrap().value;
        assert_eq!(value("seqcast_steward_reads_total"), 1);
        assert_eq!(value("seqcast_steward_swaps_total"), 0);
        assert_eq!(value("seqcast_steward_lost_swaps_total"), 1);
        assert_eq!(value("seqcast_steward_unknown_answers_total"), 2);
    }

    #[test]
    fn a_request_wakes_the_steward() {
        let (mut client, mut steward, coordinator, _) = world();
        coordinator.answer(Answer::Lost);
        let (started, starting) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            steward.on_start(Nanos(1)).unwrap();
            started.send(()).unwrap();
            // Not woken, it would sleep for good.
            while steward.do_work(Nanos(2)) != Ok(2) {
                thread::park();
            }
        });
        starting.recv().unwrap();
        assert!(client.try_submit(swap(1)));
        thread.join().unwrap();
        assert_eq!(client.poll(), Some(Answer::Lost));
    }

    #[test]
    fn complaints_do_not_flood() {
        let mut complaint = Complaint::default();
        let at = Nanos::from_millis;
        assert_eq!(complaint.on_success(), None);
        assert_eq!(complaint.on_failure(at(0), "a"), Some(1));
        assert_eq!(complaint.on_failure(at(250), "a"), None);
        assert_eq!(complaint.on_failure(at(500), "b"), None, "too soon, although it is new");
        assert_eq!(complaint.on_failure(at(1_000), "b"), Some(4));
        assert_eq!(complaint.on_failure(at(10_900), "b"), None);
        assert_eq!(complaint.on_failure(at(11_000), "b"), Some(6), "it still is so");
        assert_eq!(complaint.on_success(), Some(6));
        assert_eq!(complaint.on_success(), None);
        assert_eq!(complaint.on_failure(at(11_001), "b"), Some(1), "a new row of failures");
    }
}
