//! The books as anyone would write them first: ordered maps and queues. Slow, short, and right.

use std::collections::{BTreeMap, HashMap, VecDeque};

use seqcast_engine::book::Side;
use seqcast_wire::itch::{Message, Stock};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelOrder {
    pub(crate) locate: u16,
    pub(crate) side: Side,
    pub(crate) price: u32,
    pub(crate) shares: u32,
    pub(crate) attribution: [u8; 4],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelStats {
    pub(crate) malformed: u64,
    pub(crate) unknown_types: u64,
    pub(crate) unknown_references: u64,
    pub(crate) duplicate_references: u64,
    pub(crate) over_executions: u64,
    pub(crate) over_cancels: u64,
    pub(crate) wrong_locates: u64,
    pub(crate) wrong_symbols: u64,
    pub(crate) over_limits: u64,
    pub(crate) locked: u64,
    pub(crate) crossed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Touch {
    #[default]
    Open,
    Locked,
    Crossed,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) max_orders: usize,
    pub(crate) orders: HashMap<u64, ModelOrder>,
    /// By locate, side and price: references in the order of the queue.
    pub(crate) levels: BTreeMap<(u16, Side, u32), VecDeque<u64>>,
    pub(crate) directory: BTreeMap<u16, Stock>,
    learned: BTreeMap<u16, Stock>,
    touch: BTreeMap<u16, Touch>,
    pub(crate) stats: ModelStats,
}

/// Price and shares of a best level.
pub(crate) type Best = Option<(u32, u64)>;

impl Model {
    pub(crate) fn new(max_orders: usize) -> Model {
        Model { max_orders, ..Model::default() }
    }

    pub(crate) fn stock(&self, locate: u16) -> Option<Stock> {
        self.directory.get(&locate).or(self.learned.get(&locate)).copied()
    }

    /// The levels of a side, best first: price, shares, references.
    pub(crate) fn side(&self, locate: u16, side: Side) -> Vec<(u32, u64, Vec<u64>)> {
        let range = self.levels.range((locate, side, 0)..=(locate, side, u32::MAX));
        let mut levels: Vec<_> = range
            .map(|(&(_, _, price), queue)| {
                let shares = queue.iter().map(|reference| u64::from(self.orders[reference].shares)).sum();
                (price, shares, queue.iter().copied().collect())
            })
            .collect();
        if side == Side::Bid {
            levels.reverse();
        }
        levels
    }

    pub(crate) fn best(&self, locate: u16, side: Side) -> Best {
        self.side(locate, side).first().map(|&(price, shares, _)| (price, shares))
    }

    pub(crate) fn apply(&mut self, message: &[u8]) {
        let Ok(parsed) = Message::parse(message) else {
            self.stats.malformed += 1;
            return;
        };
        match parsed {
            Message::StockDirectory(m) => {
                self.directory.insert(m.header.locate.get(), m.stock);
            }
            Message::AddOrder(m) => self.add_message(
                m.header.locate.get(),
                m.reference.get(),
                m.side,
                m.shares.get(),
                m.stock,
                m.price.units(),
                [0; 4],
            ),
            Message::AddOrderMpid(m) => self.add_message(
                m.header.locate.get(),
                m.reference.get(),
                m.side,
                m.shares.get(),
                m.stock,
                m.price.units(),
                m.attribution.0,
            ),
            Message::OrderExecuted(m) => {
                self.stats.over_executions +=
                    self.reduce(m.header.locate.get(), m.reference.get(), m.shares.get());
            }
            Message::OrderExecutedWithPrice(m) => {
                self.stats.over_executions +=
                    self.reduce(m.header.locate.get(), m.reference.get(), m.shares.get());
            }
            Message::OrderCancel(m) => {
                self.stats.over_cancels +=
                    self.reduce(m.header.locate.get(), m.reference.get(), m.shares.get());
            }
            Message::OrderDelete(m) => {
                self.reduce(m.header.locate.get(), m.reference.get(), u32::MAX);
            }
            Message::OrderReplace(m) => {
                if m.shares.get() == 0 {
                    self.stats.malformed += 1;
                } else if let Some(old) = self.take(m.header.locate.get(), m.original.get()) {
                    let new = ModelOrder { price: m.price.units(), shares: m.shares.get(), ..old };
                    self.add(m.reference.get(), new);
                }
            }
            Message::OperationalHalt(m) if !b"QBX".contains(&m.market) => self.stats.malformed += 1,
            Message::Unknown(_) => self.stats.unknown_types += 1,
            _ => {}
        }
        self.count_touch();
    }

    #[allow(clippy::too_many_arguments)]
    fn add_message(
        &mut self,
        locate: u16,
        reference: u64,
        side: u8,
        shares: u32,
        stock: Stock,
        price: u32,
        attribution: [u8; 4],
    ) {
        let side = match side {
            b'B' if shares > 0 => Side::Bid,
            b'S' if shares > 0 => Side::Ask,
            _ => {
                self.stats.malformed += 1;
                return;
            }
        };
        match self.stock(locate) {
            None => {}
            Some(known) => self.stats.wrong_symbols += u64::from(known != stock),
        }
        self.learned.insert(locate, stock);
        self.add(reference, ModelOrder { locate, side, price, shares, attribution });
    }

    fn add(&mut self, reference: u64, order: ModelOrder) {
        if self.orders.contains_key(&reference) {
            self.stats.duplicate_references += 1;
        } else if self.orders.len() == self.max_orders {
            self.stats.over_limits += 1;
        } else {
            self.levels.entry((order.locate, order.side, order.price)).or_default().push_back(reference);
            self.orders.insert(reference, order);
        }
    }

    fn take(&mut self, locate: u16, reference: u64) -> Option<ModelOrder> {
        let Some(order) = self.orders.remove(&reference) else {
            self.stats.unknown_references += 1;
            return None;
        };
        self.stats.wrong_locates += u64::from(order.locate != locate);
        let key = (order.locate, order.side, order.price);
        let queue = self.levels.get_mut(&key).unwrap();
        queue.retain(|&other| other != reference);
        if queue.is_empty() {
            self.levels.remove(&key);
        }
        Some(order)
    }

    /// Gives 1 when there were fewer shares than asked.
    fn reduce(&mut self, locate: u16, reference: u64, shares: u32) -> u64 {
        match self.orders.get_mut(&reference) {
            Some(order) if order.shares > shares => {
                order.shares -= shares;
                self.stats.wrong_locates += u64::from(order.locate != locate);
                0
            }
            Some(order) => {
                let excess = u64::from(order.shares < shares);
                self.take(locate, reference);
                excess
            }
            None => {
                self.stats.unknown_references += 1;
                0
            }
        }
    }

    fn count_touch(&mut self) {
        let mut locates: Vec<u16> = self.levels.keys().map(|key| key.0).collect();
        locates.extend(self.touch.keys());
        for locate in locates {
            let touch = match (self.best(locate, Side::Bid), self.best(locate, Side::Ask)) {
                (Some((bid, _)), Some((ask, _))) if bid == ask => Touch::Locked,
                (Some((bid, _)), Some((ask, _))) if bid > ask => Touch::Crossed,
                _ => Touch::Open,
            };
            let before = self.touch.insert(locate, touch).unwrap_or_default();
            if touch != before {
                self.stats.locked += u64::from(touch == Touch::Locked);
                self.stats.crossed += u64::from(touch == Touch::Crossed);
            }
        }
    }
}
