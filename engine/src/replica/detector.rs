//! Suspecting a peer that is not heard.

use super::config::{StreamConfigError, within};
use crate::time::Nanos;

/// When a peer is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorConfig {
    /// A peer is suspected when it is not heard for this long.
    pub suspect_after: Nanos,
    /// False suspicions double that time, up to this.
    pub max_suspect_after: Nanos,
    /// A doubling is taken back when nothing was suspected falsely for this long.
    pub calm: Nanos,
}

impl Default for DetectorConfig {
    /// For hosts that nobody tuned: they stand still for some milliseconds now and then.
    fn default() -> DetectorConfig {
        DetectorConfig {
            suspect_after: Nanos::from_millis(50),
            max_suspect_after: Nanos::from_secs(1),
            calm: Nanos::from_secs(30),
        }
    }
}

impl DetectorConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), StreamConfigError> {
        within("suspect_after (ns)", self.suspect_after.0, 1, u64::MAX)?;
        within("max_suspect_after (ns)", self.max_suspect_after.0, self.suspect_after.0, u64::MAX)?;
        within("calm (ns)", self.calm.0, 1, u64::MAX)
    }
}

/// Why a peer is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Its control connection was closed: a dead process.
    LinkClosed,
    /// It was not heard for this long, while this node was awake: a dead host or a broken network.
    Silent(Nanos),
}

/// What a detector counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorStats {
    /// Suspicions raised.
    pub suspicions: u64,
    /// Of those, the ones after which the peer was heard again.
    pub false_suspicions: u64,
    /// Times that this node itself stood still for so long that a silence proved nothing.
    pub stalls: u64,
    /// Closed control connections that were not believed, because the last one was not the peer's end.
    pub doubted_closings: u64,
}

/// Watches one peer. Feed it everything heard from the peer first, then poll it, in every duty cycle.
///
/// Only time in which this node was awake counts as silence: after a pause of half the timeout it begins anew. A
/// suspicion that proves false doubles the timeout, so that two nodes do not depose one another in turn, and closed
/// connections are doubted for a while after one that was not the peer's end.
#[derive(Clone, Debug)]
pub struct Detector {
    config: DetectorConfig,
    timeout: Nanos,
    polled_at: Nanos,
    silent_since: Nanos,
    heard_at: Nanos,
    /// This node stood still, and has not heard the peer since.
    stalled: bool,
    closed_at: Option<Nanos>,
    suspected: Option<Suspicion>,
    doubts_closings: bool,
    /// The last time that this node was misled, or that a doubling was taken back.
    misled_at: Nanos,
    stats: DetectorStats,
}

impl Detector {
    /// Watches from `now` on.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: &DetectorConfig, now: Nanos) -> Result<Detector, StreamConfigError> {
        config.check()?;
        Ok(Detector {
            config: *config,
            timeout: config.suspect_after,
            polled_at: now,
            silent_since: now,
            heard_at: now,
            stalled: false,
            closed_at: None,
            suspected: None,
            doubts_closings: false,
            misled_at: now,
            stats: DetectorStats::default(),
        })
    }

    /// The peer was heard, in the epoch of this node. What arrives soon after its connection closed was on its way
    /// before, and is no sign of life.
    pub fn on_heard(&mut self, now: Nanos) {
        (self.silent_since, self.heard_at) = (now, now);
        self.stalled = false;
        if let Some(closed_at) = self.closed_at {
            if now.since(closed_at) < self.timeout {
                return;
            }
            self.closed_at = None;
        }
        if let Some(suspicion) = self.suspected.take() {
            self.stats.false_suspicions += 1;
            self.doubts_closings |= suspicion == Suspicion::LinkClosed;
            self.on_misled(now);
        }
    }

    /// The peer's control connection was closed.
    pub fn on_link_closed(&mut self, now: Nanos) {
        if self.doubts_closings {
            self.stats.doubted_closings += 1;
        } else {
            self.closed_at = Some(now);
        }
    }

    /// A suspicion, once; then none until the peer is heard again, or [`Detector::settle`].
    pub fn poll(&mut self, now: Nanos) -> Option<Suspicion> {
        let pause = now.since(self.polled_at);
        self.polled_at = now;
        self.calm_down(now);
        if self.suspected.is_some() {
            return None;
        }
        if self.closed_at.is_some() {
            return self.suspect(Suspicion::LinkClosed);
        }
        if pause >= Nanos(self.timeout.0 / 2) {
            self.on_stall(now);
            return None;
        }
        let silence = now.since(self.silent_since);
        if silence < self.timeout { None } else { self.suspect(Suspicion::Silent(silence)) }
    }

    fn suspect(&mut self, suspicion: Suspicion) -> Option<Suspicion> {
        self.stats.suspicions += 1;
        self.suspected = Some(suspicion);
        self.suspected
    }

    /// This node stood still: what it did not hear meanwhile proves nothing.
    fn on_stall(&mut self, now: Nanos) {
        self.stats.stalls += 1;
        self.silent_since = now;
        if self.stalled {
            // It stands still so often that it would never come to judge.
            self.on_misled(now);
        }
        self.stalled = true;
    }

    fn on_misled(&mut self, now: Nanos) {
        self.timeout = (self.timeout + self.timeout).min(self.config.max_suspect_after);
        self.misled_at = now;
    }

    fn calm_down(&mut self, now: Nanos) {
        if now.since(self.misled_at) >= self.config.calm {
            self.timeout = Nanos(self.timeout.0 / 2).max(self.config.suspect_after);
            self.doubts_closings = false;
            self.misled_at = now;
        }
    }

    /// A new epoch began: what was suspected is settled, neither right nor wrong, and silence begins anew.
    pub fn settle(&mut self, now: Nanos) {
        (self.silent_since, self.heard_at) = (now, now);
        self.stalled = false;
        self.closed_at = None;
        self.suspected = None;
    }

    /// Why the peer is suspected, while it is.
    pub fn suspected(&self) -> Option<Suspicion> {
        self.suspected
    }

    /// Whether the peer was heard just now: the silence of another that has become a suspicion by now is not that of
    /// everybody.
    pub fn hears_now(&self, now: Nanos) -> bool {
        self.suspected.is_none() && now.since(self.heard_at) < Nanos(self.config.suspect_after.0 / 4)
    }

    /// How long a silence makes the peer suspect now.
    pub fn timeout(&self) -> Nanos {
        self.timeout
    }

    /// What was counted so far.
    pub fn stats(&self) -> &DetectorStats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: DetectorConfig = DetectorConfig {
        suspect_after: Nanos(1_000),
        max_suspect_after: Nanos(5_000),
        calm: Nanos(1_000_000),
    };

    struct Watch {
        detector: Detector,
        now: Nanos,
    }

    impl Watch {
        fn new() -> Watch {
            let now = Nanos::from_secs(1);
            Watch { detector: Detector::new(&CONFIG, now).unwrap(), now }
        }

        /// Time passes, in duty cycles of 100 ns. The first suspicion, and after how long it came.
        fn wait(&mut self, span: u64) -> Option<(u64, Suspicion)> {
            let mut raised = None;
            for cycle in 1..=span / 100 {
                self.now = self.now + Nanos(100);
                if let Some(suspicion) = self.detector.poll(self.now) {
                    assert!(raised.is_none(), "a suspicion is raised once");
                    raised = Some((cycle * 100, suspicion));
                }
            }
            raised
        }

        /// This node stands still.
        fn pause(&mut self, span: u64) -> Option<Suspicion> {
            self.now = self.now + Nanos(span);
            self.detector.poll(self.now)
        }

        fn hear(&mut self) {
            self.detector.on_heard(self.now);
        }

        fn close(&mut self) {
            self.detector.on_link_closed(self.now);
        }
    }

    fn silent(ns: u64) -> Suspicion {
        Suspicion::Silent(Nanos(ns))
    }

    #[test]
    fn a_silent_peer_is_suspected_once() {
        let mut watch = Watch::new();
        for _ in 0..10 {
            assert_eq!(watch.wait(900), None);
            watch.hear();
        }
        assert_eq!(watch.wait(50_000), Some((1_000, silent(1_000))));
        assert_eq!(watch.detector.suspected(), Some(silent(1_000)));
        assert_eq!((watch.detector.stats().suspicions, watch.detector.stats().false_suspicions), (1, 0));
    }

    #[test]
    fn long_before_a_suspicion_a_peer_is_no_longer_heard_just_now() {
        let mut watch = Watch::new();
        watch.hear();
        watch.wait(200);
        assert!(watch.detector.hears_now(watch.now));
        watch.wait(100);
        assert!(!watch.detector.hears_now(watch.now));
        watch.pause(10_000);
        assert!(!watch.detector.hears_now(watch.now), "whoever stood still");
        watch.hear();
        assert!(watch.detector.hears_now(watch.now));
        watch.close();
        watch.wait(100);
        assert!(!watch.detector.hears_now(watch.now), "suspected");
    }

    #[test]
    fn a_closed_connection_is_suspicion_enough() {
        let mut watch = Watch::new();
        watch.hear();
        watch.close();
        assert_eq!(watch.pause(3_000), Some(Suspicion::LinkClosed), "however long this node stood still");
    }

    #[test]
    fn what_was_on_its_way_when_the_connection_closed_is_no_sign_of_life() {
        let mut watch = Watch::new();
        watch.close();
        watch.hear();
        assert_eq!(watch.wait(100), Some((100, Suspicion::LinkClosed)));
        watch.hear();
        assert_eq!(watch.detector.suspected(), Some(Suspicion::LinkClosed));
        assert_eq!(watch.wait(900), None);
        watch.hear();
        assert_eq!(watch.detector.suspected(), None, "a timeout later it still speaks");
        assert_eq!(watch.detector.stats().false_suspicions, 1);
    }

    #[test]
    fn a_connection_that_closed_without_the_peers_end_makes_the_next_one_doubtful() {
        let mut watch = Watch::new();
        watch.close();
        assert!(watch.wait(1_000).is_some());
        watch.hear();
        watch.close();
        assert_eq!(watch.wait(1_500), None);
        assert_eq!(watch.wait(1_000), Some((500, silent(2_000))), "silence decides, with the longer timeout");
        assert_eq!(watch.detector.stats().doubted_closings, 1);
        watch.hear();
        watch.wait(1_100_000);
        watch.hear();
        watch.detector.settle(watch.now);
        watch.close();
        assert_eq!(watch.wait(100), Some((100, Suspicion::LinkClosed)), "calm again");
    }

    #[test]
    fn a_pause_of_this_node_voids_the_silence() {
        let mut watch = Watch::new();
        watch.wait(900);
        assert_eq!(watch.pause(500), None);
        assert_eq!(watch.wait(900), None);
        assert_eq!(watch.pause(1_000_000), None);
        assert_eq!(
            watch.wait(2_000).map(|(after, _)| after),
            Some(2_000),
            "two pauses in a row: a longer timeout"
        );
        assert_eq!(watch.detector.stats().stalls, 2);
        let mut watch = Watch::new();
        watch.wait(900);
        assert_eq!(watch.pause(400), Some(silent(1_300)), "a shorter one does not");
    }

    /// A node that is slow all the time still comes to suspect a dead peer, later.
    #[test]
    fn a_node_that_always_pauses_waits_longer_but_not_for_ever() {
        let mut watch = Watch::new();
        let mut cycles = 0;
        while watch.pause(600).is_none() {
            cycles += 1;
            assert!(cycles < 100);
        }
        assert_eq!(watch.detector.timeout(), Nanos(2_000));
        // While the peer is heard, pauses raise nothing.
        let mut watch = Watch::new();
        for _ in 0..100 {
            watch.now = watch.now + Nanos(600);
            watch.hear();
            assert_eq!(watch.detector.poll(watch.now), None);
        }
        assert_eq!(watch.detector.timeout(), Nanos(1_000));
    }

    #[test]
    fn false_suspicions_double_the_timeout_up_to_its_bound_and_calm_takes_it_back() {
        let mut watch = Watch::new();
        for expected in [1_000, 2_000, 4_000, 5_000, 5_000] {
            assert_eq!(watch.wait(6_000), Some((expected, silent(expected))));
            watch.hear();
        }
        assert_eq!(watch.detector.stats().false_suspicions, 5);
        for expected in [2_500, 1_250, 1_000, 1_000] {
            for _ in 0..2_000 {
                watch.wait(500);
                watch.hear();
            }
            assert_eq!(watch.detector.timeout(), Nanos(expected));
        }
    }

    #[test]
    fn a_new_epoch_settles_a_suspicion_without_a_verdict() {
        let mut watch = Watch::new();
        watch.wait(1_000);
        watch.detector.settle(watch.now);
        watch.hear();
        assert_eq!((watch.detector.suspected(), watch.detector.timeout()), (None, Nanos(1_000)));
        watch.close();
        watch.detector.settle(watch.now);
        assert_eq!(watch.wait(900), None);
        assert_eq!((watch.detector.stats().suspicions, watch.detector.stats().false_suspicions), (1, 0));
    }

    #[test]
    fn a_setting_that_cannot_work_is_refused() {
        for config in [
            DetectorConfig { suspect_after: Nanos::ZERO, ..CONFIG },
            DetectorConfig { max_suspect_after: Nanos(999), ..CONFIG },
            DetectorConfig { calm: Nanos::ZERO, ..CONFIG },
        ] {
            assert!(Detector::new(&config, Nanos::ZERO).is_err());
        }
        assert!(DetectorConfig::default().check().is_ok());
    }

    proptest! {
        /// A peer that speaks in time is never suspected, however this node pauses; a dead one always is, in bounded time.
        #[test]
        fn suspects_the_dead_and_not_the_living(
            cycles in prop::collection::vec((1u64..3_000, any::<bool>()), 1..200), tail in 1u64..900,
        ) {
            let mut watch = Watch::new();
            for (span, long) in cycles {
                // What came during a pause is read before the silence is judged.
                watch.now = watch.now + Nanos(if long { span } else { span % 900 });
                watch.hear();
                prop_assert_eq!(watch.detector.poll(watch.now), None);
            }
            let mut waited = 0;
            while watch.pause(tail).is_none() {
                waited += tail;
                prop_assert!(waited <= 20_000, "{}", waited);
            }
        }
    }
}
