//! The directory: which stocks there are, how active each is, and what it costs.

use seqcast_wire::Alpha;
use seqcast_wire::itch::Stock;

use super::dice::Dice;
use super::pool::Market;

/// Activity falls with rank as 1 / (rank + FLATTEN) (Zipf-Mandelbrot): the busiest of 8,000 stocks gets 2.3 %, as
/// the largest book of a real day has of all live orders.
const FLATTEN: f64 = 5.0;

/// Makes the markets in the order of their locates, and the order of their activity.
pub(super) fn markets(dice: &mut Dice, count: u16) -> (Vec<Market>, Vec<u16>) {
    let mut names: Vec<Stock> = (0..u32::from(count)).map(name).collect();
    names.sort_unstable();
    let mut by_activity: Vec<u16> = (0..count).collect();
    for at in (1..by_activity.len()).rev() {
        by_activity.swap(at, dice.below(at as u32 + 1) as usize);
    }
    let weights: Vec<f64> = (1..=u32::from(count)).map(|rank| 1.0 / (f64::from(rank) + FLATTEN)).collect();
    let total: f64 = weights.iter().sum();
    let mut rank_of = vec![0; names.len()];
    for (rank, &market) in by_activity.iter().enumerate() {
        rank_of[usize::from(market)] = rank;
    }
    let markets = names.iter().zip(&rank_of).map(|(&stock, &rank)| {
        let price = price(dice, rank);
        let activity = (weights[rank] / total * f64::from(u32::MAX)) as u32;
        Market::new(stock, activity, price)
    });
    (markets.collect(), by_activity)
}

/// Four letters, unlike for every index below 26^4.
fn name(index: u32) -> Stock {
    const LETTERS: u32 = 26;
    // Coprime with 26^4, so that neighbours are scattered and none is hit twice.
    let mut code = index * 40_503 % LETTERS.pow(4);
    let mut name = [b' '; 8];
    for letter in name[..4].iter_mut().rev() {
        *letter = b'A' + (code % LETTERS) as u8;
        code /= LETTERS;
    }
    Alpha(name)
}

/// An opening price in 1/10,000. Some of the busiest stocks are dear ones, since those have the deepest books.
fn price(dice: &mut Dice, rank: usize) -> u32 {
    let class = if rank == 0 || rank == 3 { 99 } else { dice.below(100) };
    let (low, high) = match class {
        0..4 => (3_000, 7_000),
        4..28 => (12_000, 100_000),
        28..70 => (100_000, 600_000),
        70..91 => (600_000, 2_000_000),
        91..98 => (2_000_000, 6_000_000),
        _ => (10_000_000, 25_000_000),
    };
    let price = dice.between(low, high);
    if price < 10_000 { price } else { price - price % 100 }
}

/// Draws markets by activity in constant time (Walker's alias method).
#[derive(Debug)]
pub(super) struct Wheel {
    /// Per slot: threshold below which the slot's own market is taken, and the market taken above it.
    slots: Vec<(u32, u16)>,
}

impl Wheel {
    pub(super) fn new(markets: &[Market]) -> Wheel {
        let count = markets.len() as u64;
        let total: u64 = markets.iter().map(|m| u64::from(m.activity.max(1))).sum();
        // Scaled so that a full slot is `total`.
        let mut left: Vec<u64> = markets.iter().map(|m| u64::from(m.activity.max(1)) * count).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..markets.len()).partition(|&at| left[at] < total);
        let mut slots: Vec<(u32, u16)> = (0..markets.len()).map(|at| (u32::MAX, at as u16)).collect();
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            let own = u128::from(left[poor]) * u128::from(u32::MAX) / u128::from(total);
            slots[poor] = (own as u32, rich as u16);
            left[rich] -= total - left[poor];
            if left[rich] < total {
                small.push(rich);
                large.pop();
            }
        }
        Wheel { slots }
    }

    pub(super) fn spin(&self, dice: &mut Dice) -> u16 {
        let at = dice.below(self.slots.len() as u32) as u16;
        let (threshold, other) = self.slots[usize::from(at)];
        if dice.u32() <= threshold { at } else { other }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unlike_and_sorted_by_locate() {
        let names: BTreeSet<Stock> = (0..65_535).map(name).collect();
        assert_eq!(names.len(), 65_535);
        let (markets, _) = markets(&mut Dice::new(1), 100);
        assert!(markets.is_sorted_by(|a, b| a.stock < b.stock));
    }

    #[test]
    fn the_wheel_gives_each_market_its_share() {
        let mut dice = Dice::new(9);
        let (markets, by_activity) = markets(&mut dice, 8_000);
        let wheel = Wheel::new(&markets);
        let mut hits = vec![0u64; markets.len()];
        const SPINS: u64 = 2_000_000;
        for _ in 0..SPINS {
            hits[usize::from(wheel.spin(&mut dice))] += 1;
        }
        for &market in &by_activity[..50] {
            let expected = (SPINS * u64::from(markets[usize::from(market)].activity)) >> 32;
            let actual = hits[usize::from(market)];
            assert!(actual.abs_diff(expected) < expected / 10, "{actual} of {expected}");
        }
        let first = hits[usize::from(by_activity[0])] * 1_000 / SPINS;
        assert!((22..25).contains(&first), "the busiest has {first} in a thousand");
    }

    #[test]
    fn one_market_is_enough_for_a_wheel() {
        let (markets, _) = markets(&mut Dice::new(1), 1);
        assert_eq!(Wheel::new(&markets).spin(&mut Dice::new(1)), 0);
    }
}
