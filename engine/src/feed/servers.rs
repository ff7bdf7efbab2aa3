//! Which rewind server is asked.
//!
//! Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): each receiver ranks
//! the servers anew for each block of numbers. The requests of many receivers, and those of one that is far behind, spread
//! over all servers; a block is asked of the same server as long as it answers, so what it reads for that stays in its
//! cache; and when a server fails only its own share moves. A server that keeps silent is left alone for a while, then
//! tried with one request.

use seqcast_wire::SeqNo;

use crate::limits::MAX_REWIND_SERVERS;
use crate::time::Nanos;

/// Numbers that are asked of the same server.
const BLOCK_MESSAGES: u64 = 1 << 14;
/// Silences in a row that make a server rest: a datagram may get lost either way.
const MAX_SILENCES: u32 = 2;

/// No server is given less time than this to answer, however fast it was so far: its thread may have lost its core.
const MIN_PATIENCE: Nanos = Nanos::from_micros(250);

/// Servers, as bits.
pub(super) type Set = u8;
const _: () = assert!(MAX_REWIND_SERVERS <= Set::BITS as usize);

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// Requests in a row that were not answered.
    silences: u32,
    /// Until when others are asked first.
    rests_until: Nanos,
    /// How long it takes to answer, once that is known.
    answers: Option<Answers>,
}

/// How long answers take, smoothed as TCP smooths its round trips (RFC 6298).
#[derive(Clone, Copy, Debug)]
struct Answers {
    mean: Nanos,
    deviation: Nanos,
}

impl Answers {
    fn after(known: Option<Answers>, took: Nanos) -> Answers {
        let Some(Answers { mean, deviation }) = known else {
            return Answers { mean: took, deviation: Nanos(took.0 / 2) };
        };
        let off = Nanos(mean.0.abs_diff(took.0));
        Answers {
            mean: Nanos(mean.0 - mean.0 / 8 + took.0 / 8),
            deviation: Nanos(deviation.0 - deviation.0 / 4 + off.0 / 4),
        }
    }
}

/// The rewind servers of one feed, and how they do.
#[derive(Debug)]
pub(super) struct Servers {
    health: Box<[Health]>,
    seed: u64,
    min_rest: Nanos,
    max_rest: Nanos,
}

impl Servers {
    pub(super) fn new(count: usize, seed: u64, min_rest: Nanos, max_rest: Nanos) -> Servers {
        Servers { health: vec![Health::default(); count].into_boxed_slice(), seed, min_rest, max_rest }
    }

    pub(super) fn count(&self) -> usize {
        self.health.len()
    }

    /// All servers.
    pub(super) fn all(&self) -> Set {
        ((1_u32 << self.count()) - 1) as Set
    }

    /// The server to ask for what starts at `first`: the best that is not in `tried`, and does not rest if another does not.
    ///
    /// # Panics
    /// When all were tried.
    pub(super) fn choose(&mut self, now: Nanos, first: SeqNo, tried: Set) -> usize {
        let untried = (0..self.count()).filter(|server| tried & (1 << server) == 0);
        let rank = |&server: &usize| {
            let rests = now < self.health[server].rests_until;
            (!rests, self.weight(server, first))
        };
        let chosen = untried.max_by_key(rank).expect("a server that was not tried");
        let (min_rest, health) = (self.min_rest, &mut self.health[chosen]);
        if health.silences >= MAX_SILENCES {
            // One request finds out whether it is back.
            health.rests_until = health.rests_until.max(now + min_rest);
        }
        chosen
    }

    /// `server` has answered, after `took` if it is known to which request. One that is not known is none of ours.
    pub(super) fn on_reply(&mut self, server: usize, took: Option<Nanos>) {
        if let Some(health) = self.health.get_mut(server) {
            let known = health.answers;
            let answers = took.map_or(known, |took| Some(Answers::after(known, took)));
            *health = Health { answers, ..Health::default() };
        }
    }

    /// How long `server` may take to answer: what it takes, four deviations more, and never more than `most`.
    pub(super) fn patience(&self, server: usize, most: Nanos) -> Nanos {
        let Some(Answers { mean, deviation }) = self.health[server].answers else { return most };
        Nanos(mean.0.saturating_add(deviation.0.saturating_mul(4))).max(MIN_PATIENCE).min(most)
    }

    /// `server` did not answer in time.
    pub(super) fn on_silence(&mut self, now: Nanos, server: usize) {
        let health = &mut self.health[server];
        health.silences = health.silences.saturating_add(1);
        if let Some(times) = health.silences.checked_sub(MAX_SILENCES) {
            let rest = self.min_rest.0.saturating_mul(2 << times.min(32)).min(self.max_rest.0);
            health.rests_until = now + Nanos(rest);
        }
    }

    /// `server` cannot be reached.
    pub(super) fn on_unreachable(&mut self, now: Nanos, server: usize) {
        if let Some(health) = self.health.get_mut(server) {
            health.silences = health.silences.max(MAX_SILENCES - 1);
            self.on_silence(now, server);
        }
    }

    fn weight(&self, server: usize, first: SeqNo) -> u64 {
        let block = first.value() / BLOCK_MESSAGES;
        mix(mix(self.seed ^ mix(block)).wrapping_add(server as u64))
    }
}

/// The output function of SplitMix64.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Nanos = Nanos::from_millis(5);
    const MAX_REST: Nanos = Nanos::from_millis(500);

    fn servers(count: usize, seed: u64) -> Servers {
        Servers::new(count, seed, REST, MAX_REST)
    }

    fn block(number: u64) -> SeqNo {
        SeqNo::new(number * BLOCK_MESSAGES + 7).unwrap()
    }

    fn chosen(servers: &mut Servers, now: Nanos) -> Vec<usize> {
        (0..3_000).map(|number| servers.choose(now, block(number), 0)).collect()
    }

    #[test]
    fn the_blocks_of_a_receiver_and_a_block_of_many_receivers_spread_over_all() {
        let one = chosen(&mut servers(3, 77), Nanos::ZERO);
        let many: Vec<_> = (0..3_000).map(|seed| servers(3, seed).choose(Nanos::ZERO, block(0), 0)).collect();
        for picks in [one, many] {
            for server in 0..3 {
                let share = picks.iter().filter(|&&pick| pick == server).count();
                assert!((900..1_100).contains(&share), "server {server} has {share} of 3,000");
            }
        }
        let mut servers = servers(3, 5);
        let within = [0, 1, BLOCK_MESSAGES - 8].map(|at| block(4).saturating_add(at));
        let picks = within.map(|first| servers.choose(Nanos::ZERO, first, 0));
        assert_eq!(picks, [picks[0]; 3]);
    }

    #[test]
    fn only_the_share_of_a_silent_server_moves_and_comes_back() {
        let mut servers = servers(3, 9);
        let before = chosen(&mut servers, Nanos::ZERO);
        servers.on_silence(Nanos::ZERO, 1);
        assert_eq!(chosen(&mut servers, Nanos::ZERO), before, "one loss is no failure");
        servers.on_silence(Nanos::ZERO, 1);
        let without = chosen(&mut servers, Nanos::ZERO);
        for (before, without) in before.iter().zip(&without) {
            assert!(*without != 1 && (*before == 1 || before == without));
        }
        servers.on_reply(1, None);
        assert_eq!(chosen(&mut servers, Nanos::ZERO), before);
    }

    #[test]
    fn patience_follows_what_answers_take() {
        let most = Nanos::from_millis(5);
        let mut servers = servers(2, 1);
        assert_eq!(servers.patience(0, most), most, "nothing is known");
        servers.on_reply(0, Some(Nanos::from_micros(500)));
        assert_eq!(servers.patience(0, most), Nanos::from_micros(1_500));
        assert_eq!(servers.patience(1, most), most, "of the other one nothing");
        for _ in 0..100 {
            servers.on_reply(0, Some(Nanos::from_micros(500)));
        }
        let steady = servers.patience(0, most);
        assert!((Nanos::from_micros(490)..Nanos::from_micros(510)).contains(&steady), "{steady}");
        servers.on_silence(Nanos::ZERO, 0);
        servers.on_reply(0, None);
        assert_eq!(servers.patience(0, most), steady, "an answer to nobody knows what tells nothing");
        servers.on_reply(0, Some(Nanos::from_millis(3)));
        assert!(servers.patience(0, most) > Nanos::from_millis(3), "one late answer makes it patient");
        for _ in 0..200 {
            servers.on_reply(0, Some(Nanos(20_000)));
        }
        assert_eq!(servers.patience(0, most), MIN_PATIENCE);
        servers.on_reply(0, Some(Nanos(u64::MAX)));
        assert_eq!(servers.patience(0, most), most);
        assert_eq!(servers.patience(0, Nanos(7)), Nanos(7));
    }

    #[test]
    fn a_rested_server_is_tried_with_one_request_and_rests_longer_each_time() {
        let mut servers = servers(2, 3);
        let mut now = Nanos::ZERO;
        let of_0 = (0..).map(block).find(|first| servers.choose(now, *first, 0) == 0).unwrap();
        servers.on_unreachable(now, 0);
        servers.on_unreachable(now, 7);
        for rest in [10, 20, 40, 80, 160, 320, 500, 500] {
            assert_eq!(servers.choose(now + Nanos::from_millis(rest - 1), of_0, 0), 1);
            now = now + Nanos::from_millis(rest);
            assert_eq!(servers.choose(now, of_0, 0), 0, "after {rest} ms");
            assert_eq!(servers.choose(now, of_0, 0), 1, "one at a time");
            servers.on_silence(now, 0);
        }
    }

    #[test]
    fn when_all_rest_each_is_asked_in_turn() {
        let mut servers = servers(3, 1);
        for server in 0..3 {
            servers.on_unreachable(Nanos::ZERO, server);
        }
        let (mut tried, mut picks) = (0, Vec::new());
        while tried != servers.all() {
            let pick = servers.choose(Nanos(1), block(0), tried);
            tried |= 1 << pick;
            picks.push(pick);
        }
        picks.sort_unstable();
        assert_eq!(picks, [0, 1, 2]);
    }
}
