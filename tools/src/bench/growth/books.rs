//! Symbols and live orders: what a message costs in the books as they grow.

use seqcast_engine::book::{Books, BooksConfig};

use super::steady::{Leaning, Steady};
use super::{Axis, room};
use crate::bench::book::{Stopwatch, applied_all};
use crate::bench::curve::Cost;
use crate::bench::report::{Unit, Variant};
use crate::bench::session::Session;
use crate::output::{grouped, sized};

/// Live orders while symbols grow: a few for each of the most.
pub(super) const ORDERS: u64 = 250_000;
/// Symbols while live orders grow: one order for each of the fewest.
pub(super) const SYMBOLS: u64 = 1_000;
/// Messages measured for each second that a measurement is to take: few enough to be made in that time.
const MESSAGES_PER_S: u64 = 500_000;
/// Bytes of additions that are made and applied at a time while the books fill.
const FILL_BYTES: usize = 1 << 19;
/// Memory for each live order: in the books (order, index, level) and in the flow.
const ORDER_BYTES: u64 = 130;
/// Bytes of a message in memory, and room that the books take whatever is in them.
const MESSAGE_BYTES: u64 = 40;
const BASE_BYTES: u64 = 64 << 20;
/// What messages touch for each live order, level and symbol; the layout is told in `seqcast_engine::book`.
const TOUCHED_BYTES: [u64; 3] = [32 + 64 / 7, 32 + 8, 64];
const TOUCHED: &str = "bytes that orders, levels and symbols take";
const LIVE_ORDERS: &str = "live orders";
const LEVELS: &str = "levels";

/// The flows, and what a message of them costs.
const COSTS: [(Leaning, &str); 2] =
    [(Leaning::None, "any order of any stock"), (Leaning::Market, "busy stocks, young orders")];

/// What is drawn.
pub(super) fn costs() -> Vec<Cost> {
    COSTS.map(|(_, name)| Cost::new(name)).into()
}

/// What the curve is of.
pub(super) fn what(axis: Axis) -> String {
    let still = match axis {
        Axis::Symbols => format!("{} live orders", grouped(ORDERS)),
        _ => format!("{} symbols", grouped(SYMBOLS)),
    };
    format!(
        "cost of a message in the books (Books::apply_all), in time that the thread ran; {still}, additions and deletions \
         in balance"
    )
}

/// Memory for `orders` live ones.
pub(super) fn needed_bytes(session: &Session, orders: u64) -> u64 {
    BASE_BYTES + orders * ORDER_BYTES + session.messages(MESSAGES_PER_S).0 * MESSAGE_BYTES
}

/// How long one repeat takes: both flows are filled and measured.
pub(super) fn estimate_s(session: &Session, orders: u64) -> f64 {
    let messages = session.messages(MESSAGES_PER_S).0;
    (orders as f64 * 300e-9 + messages as f64 * 350e-9) * COSTS.len() as f64
}

/// Fills books with `orders` live orders of `symbols` stocks by each flow, goes on with it, and adds what a message
/// costs.
///
/// # Errors
/// There is no memory for the books, or it was interrupted.
pub(super) fn measure(
    session: &Session,
    (symbols, orders): (u64, u64),
    seed: u64,
    variant: &mut Variant,
) -> anyhow::Result<String> {
    let (count, warm_up) = session.messages(MESSAGES_PER_S);
    let mut told = Vec::new();
    for (leaning, name) in COSTS {
        // Both are bounded where they are asked for.
        let (symbols, orders) = (symbols as u16, orders as u32);
        let mut books =
            Books::new(BooksConfig { expected_orders: orders + 2, max_orders: orders + 2, seed })?;
        let mut flow = Steady::new(symbols, orders as usize, leaning, seed);
        let mut file = Vec::with_capacity(FILL_BYTES + MESSAGE_BYTES as usize);
        while !flow.is_full() {
            file.clear();
            while !flow.is_full() && file.len() < FILL_BYTES {
                flow.next(&mut file);
            }
            applied_all(&file, &mut books);
            if session.stop.is_set() {
                anyhow::bail!("interrupted");
            }
        }
        let mut made = |count: u64| {
            let mut file = Vec::with_capacity((count * MESSAGE_BYTES) as usize);
            (0..count).for_each(|_| flow.next(&mut file));
            file
        };
        let (first, measured) = (made(warm_up), made(count - warm_up));
        let before = applied_all(&first, &mut books);
        let stopwatch = Stopwatch::start();
        let found = applied_all(&measured, &mut books) - before;
        let cost = stopwatch.elapsed_ns() / found.max(1) as f64;
        variant.record(name, Unit::Ns, cost);
        variant.count("sent", count - warm_up);
        variant.count("received", found);
        variant.count("symptoms of loss", books.stats().symptoms());
        if leaning == Leaning::None {
            let [orders, levels] = [books.live_orders(), books.live_levels()].map(u64::from);
            let touched = [orders, levels, symbols.into()];
            let touched = touched.iter().zip(TOUCHED_BYTES).map(|(count, bytes)| count * bytes).sum();
            variant.counts.insert(LIVE_ORDERS.into(), orders);
            variant.counts.insert(LEVELS.into(), levels);
            variant.counts.insert(TOUCHED.into(), touched);
        }
        told.push(format!("{cost:.1} ns"));
    }
    Ok(told.join(" and "))
}

/// What was outgrown between the two points.
pub(super) fn why(_figure: &str, bend: &Variant, from: &Variant) -> Option<String> {
    let (touched, before) = (bend.counted(TOUCHED), from.counted(TOUCHED));
    let orders_a_level =
        |variant: &Variant| variant.counted(LIVE_ORDERS) as f64 / variant.counted(LEVELS).max(1) as f64;
    Some(format!(
        "what messages touch went from {} to {}, {}; orders a level from {:.1} to {:.1}: with fewer, more of them come with \
         their level and take it along",
        sized(before),
        sized(touched),
        room::outgrown(touched),
        orders_a_level(from),
        orders_a_level(bend),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bend_is_told_by_what_messages_touch_and_by_orders_a_level() {
        let variant = |touched, levels| {
            let mut variant = Variant::new("v");
            variant.count(TOUCHED, touched);
            variant.count(LIVE_ORDERS, 1_000);
            variant.count(LEVELS, levels);
            variant
        };
        let told = why("any", &variant(1 << 50, 800), &variant(1 << 10, 10)).unwrap();
        assert!(told.contains("from 1.0 KiB to 1024.0 TiB"), "{told}");
        assert!(told.contains("from 100.0 to 1.2"), "{told}");
    }
}
