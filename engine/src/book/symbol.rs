//! What the feed said about symbols and the session: cold beside the books, kept as it came for images.

use seqcast_wire::itch::{OperationalHalt, RegSho, StockDirectory, SystemEvent, TradingAction};

/// Markets that halt a stock each for itself: Nasdaq, BX, PSX.
pub(super) const MARKETS: [u8; 3] = [b'Q', b'B', b'X'];
/// Distinct system events that are kept; the specification has six.
const MAX_EVENTS: usize = 8;

/// The latest message of each kind about one stock locate.
#[derive(Clone, Copy, Default)]
pub(super) struct Symbol {
    pub(super) directory: Option<StockDirectory>,
    pub(super) trading_action: Option<TradingAction>,
    /// In the order of [`MARKETS`].
    pub(super) halts: [Option<OperationalHalt>; MARKETS.len()],
    pub(super) reg_sho: Option<RegSho>,
}

impl Symbol {
    /// Was there any message?
    pub(super) fn is_known(&self) -> bool {
        self.directory.is_some()
            || self.trading_action.is_some()
            || self.reg_sho.is_some()
            || self.halts.iter().any(Option::is_some)
    }
}

/// The system events so far, each kind at its latest.
#[derive(Clone, Copy, Default)]
pub(super) struct Events {
    events: [Option<SystemEvent>; MAX_EVENTS],
}

impl Events {
    pub(super) fn iter(&self) -> impl Iterator<Item = &SystemEvent> {
        self.events.iter().flatten()
    }

    pub(super) fn nth(&self, at: usize) -> Option<&SystemEvent> {
        self.events.get(at)?.as_ref()
    }

    /// Adds an event as the latest; `false` when there are too many kinds.
    pub(super) fn push(&mut self, event: SystemEvent) -> bool {
        let same = self.iter().position(|earlier| earlier.event == event.event);
        let at = same.unwrap_or_else(|| self.iter().count());
        let Some(rest) = self.events.get_mut(at..).filter(|rest| !rest.is_empty()) else {
            return false;
        };
        rest[0] = Some(event);
        if same.is_some() {
            let kept = rest.iter().take_while(|event| event.is_some()).count();
            rest[..kept].rotate_left(1);
        }
        true
    }
}
