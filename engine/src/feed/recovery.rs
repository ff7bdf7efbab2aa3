//! Which missing range is asked for, when, and when it is given up.
//!
//! A server answers a request with one datagram, so a request is for what one datagram holds, as far as that is known
//! from earlier replies, and as many requests as allowed are in flight at a time: a long hole costs a round trip per
//! dozens of datagrams, not one per datagram. A reply that is shorter than the request starts the next request at
//! once. Small gaps that lie close enough to fit one datagram, with what is between them, share a request.

use seqcast_wire::SeqNo;

use super::config::FeedConfig;
use super::gap::Gaps;
use super::servers::{Servers, Set, mix};
use super::state::FeedStats;
use crate::time::Nanos;

/// A range asked for and not answered.
#[derive(Clone, Copy, Debug)]
struct Ask {
    first: SeqNo,
    end: SeqNo,
    server: usize,
    /// Servers asked in this round.
    tried: Set,
    /// Times asked without progress; 0: to be asked.
    attempts: u32,
    /// When it was asked at last.
    asked: Nanos,
    /// When it is asked again, or given up.
    due: Nanos,
    /// Asked in vain as often as may be, but nobody has confirmed that it was ever sent: it waits for that, unasked.
    parked: bool,
}

/// What a request may be for at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) now: Nanos,
    /// Number that is delivered next.
    pub(super) expected: SeqNo,
    /// Every line that is heard has passed this number.
    pub(super) passed: SeqNo,
    /// How long a hole below it is left alone.
    pub(super) settle: Nanos,
    /// Everything below this was sent.
    pub(super) confirmed: SeqNo,
    /// Messages from here on could not be kept if they arrived now.
    pub(super) end: SeqNo,
    /// Only the very next messages have a place to go.
    pub(super) only_next: bool,
}

/// A request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) server: usize,
    pub(super) first: SeqNo,
    pub(super) count: u16,
}

#[derive(Debug)]
pub(super) struct Recovery {
    asks: Vec<Ask>,
    max_in_flight: usize,
    servers: Servers,
    max_count: u64,
    /// Messages that a reply holds, by the replies so far.
    per_reply: u64,
    /// Most messages that any datagram held.
    densest: u64,
    reorder_wait: Nanos,
    timeout: Nanos,
    max_backoff: Nanos,
    attempts: u32,
    jitter: u64,
}

impl Recovery {
    pub(super) fn new(config: &FeedConfig) -> Recovery {
        let timeout = config.request_timeout.min(config.max_backoff);
        // To find a silent server silent costs a timeout: that is to be rare.
        let max_rest = config.max_backoff.max(Nanos(timeout.0.saturating_mul(100)));
        Recovery {
            // One more than in flight: what is parked is not.
            asks: Vec::with_capacity(config.max_requests_in_flight + 1),
            max_in_flight: config.max_requests_in_flight,
            servers: Servers::new(config.rewind_servers, config.seed, timeout, max_rest),
            max_count: config.max_request_count.into(),
            per_reply: config.max_request_count.into(),
            densest: 1,
            reorder_wait: config.reorder_wait,
            timeout,
            max_backoff: config.max_backoff,
            attempts: config.attempts,
            jitter: config.seed,
        }
    }

    /// Forgets what was asked.
    pub(super) fn clear(&mut self) {
        self.asks.clear();
    }

    /// End of the first hole if it was left to the lines for as long as one may be.
    pub(super) fn waited_for(&self, now: Nanos, gaps: &Gaps) -> Option<SeqNo> {
        gaps.open().next().filter(|gap| now >= gap.found + self.reorder_wait).map(|gap| gap.end)
    }

    /// Learns from a datagram of a line how many messages one can hold.
    #[inline]
    pub(super) fn on_datagram(&mut self, count: u64) {
        self.densest = self.densest.max(count);
    }

    /// Takes note of a reply with messages `first..next`.
    pub(super) fn on_reply(&mut self, now: Nanos, server: usize, first: SeqNo, next: SeqNo) {
        let got = next.since(first);
        self.densest = self.densest.max(got);
        let index = self.asks.iter().position(|ask| ask.first == first && ask.attempts > 0);
        // After a repeated request nobody knows which of them it answers.
        let asked_once = index.map(|index| &self.asks[index]).filter(|ask| ask.attempts == 1);
        self.servers.on_reply(server, asked_once.map(|ask| now.since(ask.asked)));
        let Some(index) = index else { return };
        let ask = &mut self.asks[index];
        if next >= ask.end {
            if got >= self.per_reply {
                self.per_reply = (self.per_reply + self.per_reply / 4 + 1).min(self.max_count);
            }
            self.asks.swap_remove(index);
        } else {
            self.per_reply = got;
            ask.first = next;
            ask.end = ask.end.min(next.saturating_add(got));
            (ask.attempts, ask.tried, ask.due, ask.parked) = (0, 0, now, false);
        }
    }

    /// Asks the next server at once for what was asked of `server`, unless all of them have had their turn.
    pub(super) fn on_unreachable(&mut self, now: Nanos, server: usize) {
        self.servers.on_unreachable(now, server);
        for ask in self.asks.iter_mut().filter(|ask| ask.server == server) {
            if ask.tried != self.servers.all() {
                ask.due = now;
            }
        }
    }

    /// The next request to send, if any. Gaps that have been asked for in vain are given up here.
    pub(super) fn poll(&mut self, view: &View, gaps: &mut Gaps, stats: &mut FeedStats) -> Option<Wanted> {
        if gaps.is_empty() {
            self.asks.clear();
            return None;
        }
        if self.servers.count() == 0 {
            self.give_up_unfilled(view, gaps);
            return None;
        }
        self.poll_repeated(view, gaps, stats).or_else(|| self.poll_new(view, gaps))
    }

    /// Without servers: what was not reordering is lost.
    fn give_up_unfilled(&mut self, view: &View, gaps: &mut Gaps) {
        loop {
            let Some(gap) = gaps.open().next().copied() else { return };
            let (first, end) = (gap.first, gap.end.min(view.confirmed));
            if view.now < gap.found + self.reorder_wait || first >= end || !gaps.give_up(first, end) {
                return;
            }
        }
    }

    fn poll_repeated(&mut self, view: &View, gaps: &mut Gaps, stats: &mut FeedStats) -> Option<Wanted> {
        let mut index = 0;
        while let Some(ask) = self.asks.get_mut(index) {
            // What was a guess, asked for in vain, and is confirmed by now is asked for anew: it may not have been there
            // before. While an answer may still come, the guess was good: what confirms it was merely overtaken.
            let is_in_vain = ask.attempts > 1 || (ask.attempts == 1 && ask.due <= view.now);
            if is_in_vain && ask.first < view.confirmed && view.confirmed < ask.end {
                ask.first = view.confirmed;
            }
            let span = gaps.span_within(ask.first, ask.end);
            let Some((first, end)) = span.filter(|_| !ask.parked || ask.end > view.confirmed) else {
                self.asks.swap_remove(index);
                continue;
            };
            if ask.parked || ask.due > view.now {
                index += 1;
            } else if ask.attempts < self.attempts {
                let is_unanswered = ask.attempts > 0;
                (ask.first, ask.end) = (first, end);
                stats.unanswered_requests += u64::from(is_unanswered);
                return Some(self.ask(index, view.now, is_unanswered));
            } else {
                stats.unanswered_requests += 1;
                ask.parked = end > view.confirmed || !gaps.give_up(first, end);
            }
        }
        None
    }

    /// Asks for `self.asks[index]`: of another server when the one asked before did not answer, until all were asked.
    fn ask(&mut self, index: usize, now: Nanos, is_unanswered: bool) -> Wanted {
        let ask = &mut self.asks[index];
        if is_unanswered {
            self.servers.on_silence(now, ask.server);
        }
        if ask.tried == self.servers.all() {
            ask.tried = 0;
        }
        ask.server = self.servers.choose(now, ask.first, ask.tried);
        ask.tried |= 1 << ask.server;
        let round = ask.attempts / self.servers.count() as u32;
        let patience = self.servers.patience(ask.server, self.timeout);
        let wait = patience.0.saturating_mul(1 << round.min(32)).min(self.max_backoff.0);
        ask.attempts += 1;
        ask.asked = now;
        self.jitter = mix(self.jitter);
        ask.due = now + Nanos(wait + self.jitter % (wait / 4 + 1));
        Wanted { server: ask.server, first: ask.first, count: ask.end.since(ask.first) as u16 }
    }

    fn poll_new(&mut self, view: &View, gaps: &Gaps) -> Option<Wanted> {
        let in_flight = self.asks.iter().filter(|ask| !ask.parked).count();
        if in_flight >= self.max_in_flight || self.asks.len() > self.max_in_flight {
            return None;
        }
        let (first, end) = self.next_unasked(view, gaps)?;
        self.asks.push(Ask {
            first,
            end,
            server: 0,
            tried: 0,
            attempts: 0,
            asked: view.now,
            due: view.now,
            parked: false,
        });
        Some(self.ask(self.asks.len() - 1, view.now, false))
    }

    /// The lowest range that may be asked for and is not yet.
    fn next_unasked(&self, view: &View, gaps: &Gaps) -> Option<(SeqNo, SeqNo)> {
        // What nobody confirmed may be a forgery: one request at a time is spent on it.
        let is_probed = self.asks.iter().any(|ask| ask.end > view.confirmed);
        let end = if is_probed { view.end.min(view.confirmed) } else { view.end };
        let mut range: Option<(SeqNo, SeqNo)> = None;
        for gap in gaps.open() {
            let wait = if gap.end <= view.passed { view.settle } else { self.reorder_wait };
            let is_ripe = view.now >= gap.found + wait;
            if gap.first >= end || (view.only_next && gap.first != view.expected) {
                break;
            }
            let Some((first, stop)) = self.unasked_within(gap.first, gap.end.min(end)).filter(|_| is_ripe)
            else {
                if range.is_some() {
                    break;
                }
                continue;
            };
            match range {
                None => range = Some((first, stop.min(first.saturating_add(self.per_reply)))),
                Some((start, last)) => {
                    let fits = stop.since(start) <= self.densest.min(self.per_reply);
                    if !fits || self.asks.iter().any(|ask| ask.first < first && ask.end > last) {
                        break;
                    }
                    range = Some((start, stop));
                }
            }
        }
        range.filter(|(first, _)| !view.only_next || *first == view.expected)
    }

    /// The lowest part of `first..end` that no request covers.
    fn unasked_within(&self, mut first: SeqNo, mut end: SeqNo) -> Option<(SeqNo, SeqNo)> {
        while let Some(ask) = self.asks.iter().find(|ask| ask.first <= first && first < ask.end) {
            first = ask.end;
        }
        for ask in self.asks.iter().filter(|ask| ask.first > first) {
            end = end.min(ask.first);
        }
        (first < end).then_some((first, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    #[test]
    fn a_server_that_answers_fast_is_soon_asked_again_when_an_answer_is_lost() {
        let config = FeedConfig { rewind_servers: 1, ..FeedConfig::default() };
        let (mut recovery, mut stats) = (Recovery::new(&config), FeedStats::default());
        let view = |now, next| View {
            now,
            expected: seq(1),
            passed: seq(next),
            settle: Nanos::ZERO,
            confirmed: seq(next),
            end: seq(1_000_000),
            only_next: false,
        };
        // Opens a gap of one, and gives the time from the request for it to the next one.
        let mut repeated_after = |answers: bool, first: u64| {
            let mut gaps = Gaps::new(8, 8);
            let start = Nanos::from_secs(first);
            gaps.open_last(seq(first), seq(first + 1), start);
            let wanted = recovery.poll(&view(start, first + 1), &mut gaps, &mut stats).unwrap();
            assert_eq!((wanted.first, wanted.count), (seq(first), 1));
            if answers {
                gaps.fill(seq(first));
                recovery.on_reply(start + Nanos::from_micros(20), 0, seq(first), seq(first + 1));
                return None;
            }
            let later = (1..10_000).map(|micros| start + Nanos::from_micros(micros));
            let mut later =
                later.filter(|now| recovery.poll(&view(*now, first + 1), &mut gaps, &mut stats).is_some());
            let found = later.next().map(|now| now.since(start));
            drop(later);
            recovery.clear();
            found
        };
        let timeout = config.request_timeout;
        assert!(repeated_after(false, 1).unwrap() >= timeout, "nothing is known yet");
        assert_eq!(repeated_after(true, 2), None);
        let repeated = repeated_after(false, 3).unwrap();
        assert!((Nanos::from_micros(250)..Nanos::from_micros(320)).contains(&repeated), "{repeated}");
    }
}
