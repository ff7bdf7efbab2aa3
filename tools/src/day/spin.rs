//! Before the first order: the directory and what stands beside it.

use seqcast_wire::itch::{
    Mpid, MwcbDeclineLevel, ParticipantPosition, RegSho, StockDirectory, TradingAction,
};
use seqcast_wire::{Alpha, Price8};

use super::Day;
use super::schedule::Stage;

/// Participants of this day; invented.
pub(super) const MPIDS: [&[u8; 4]; 24] = [
    b"ACMX", b"ARBQ", b"BLKW", b"BRTL", b"CDRX", b"CRWN", b"DLTQ", b"DRVX", b"ELMQ", b"EQNX", b"FLCX",
    b"FRST", b"GLDQ", b"HRNX", b"IRNQ", b"JUNX", b"KITQ", b"LARX", b"MNTQ", b"NRTH", b"OAKX", b"PNEQ",
    b"QRTZ", b"RVRX",
];

impl Day {
    pub(super) fn mpid(&mut self) -> Mpid {
        Alpha(*self.dice.pick(&MPIDS))
    }

    pub(super) fn directory(&mut self, market: u16) -> Stage {
        let (header, stock) = self.header_of(StockDirectory::KIND, market);
        let etp = self.dice.per_million(250_000);
        let leverage = if etp && self.dice.per_million(80_000) { self.dice.between(2, 3) } else { 0 };
        let message = StockDirectory {
            header,
            stock,
            market_category: self.dice.pick(b"QQQGGSSNNNNAPPPZZ"),
            financial_status: b'N',
            round_lot_shares: 100.into(),
            round_lots_only: b'N',
            issue_class: if etp { b'Q' } else { self.dice.pick(b"CCCCCCAUWP") },
            issue_subtype: Alpha(if etp { *b"E " } else { *b"Z " }),
            authenticity: if self.dice.per_million(2_000) { b'T' } else { b'P' },
            short_sale_threshold: if self.dice.per_million(10_000) { b'Y' } else { b'N' },
            ipo: if self.dice.per_million(1_000) { b'Y' } else { b'N' },
            luld_tier: self.dice.pick(b"1222"),
            etp: if etp { b'Y' } else { b'N' },
            etp_leverage: leverage.into(),
            inverse: if leverage > 0 && self.dice.per_million(400_000) { b'Y' } else { b'N' },
        };
        self.outbox.push(&message);
        if self.is_last(market) { Stage::Status(0) } else { Stage::Directory(market + 1) }
    }

    pub(super) fn status(&mut self, market: u16) -> Stage {
        self.trading_action(market, b'T', *b"    ");
        let (header, stock) = self.header_of(RegSho::KIND, market);
        let action = if self.dice.per_million(20_000) { b'2' } else { b'0' };
        self.outbox.push(&RegSho { header, stock, action });
        if self.is_last(market) {
            Stage::Positions(self.schedule.positions)
        } else {
            Stage::Status(market + 1)
        }
    }

    pub(super) fn trading_action(&mut self, market: u16, state: u8, reason: [u8; 4]) {
        let (header, stock) = self.header_of(TradingAction::KIND, market);
        self.outbox.push(&TradingAction { header, stock, state, reserved: b' ', reason: Alpha(reason) });
    }

    pub(super) fn positions(&mut self, left: u64) -> Stage {
        let Some(left) = left.checked_sub(1) else { return Stage::DeclineLevels };
        let market = (left % u64::from(self.config.symbols)) as u16;
        let mpid = self.mpid();
        let (header, stock) = self.header_of(ParticipantPosition::KIND, market);
        let primary = if self.dice.per_million(300_000) { b'Y' } else { b'N' };
        let mode = self.dice.pick(b"NNNNP");
        self.outbox.push(&ParticipantPosition { header, mpid, stock, primary, mode, state: b'A' });
        Stage::Positions(left)
    }

    pub(super) fn decline_levels(&mut self) -> Stage {
        const POINTS: u64 = 100_000_000;
        let header = self.header(MwcbDeclineLevel::KIND, 0);
        let index = 4_000 + u64::from(self.dice.below(2_000));
        let level = |percent: u64| Price8((index * (100 - percent) * (POINTS / 100)).into());
        self.outbox.push(&MwcbDeclineLevel {
            header,
            level_1: level(7),
            level_2: level(13),
            level_3: level(20),
        });
        Stage::StartOfSystemHours
    }

    pub(super) fn is_last(&self, market: u16) -> bool {
        usize::from(market) + 1 == self.pool.markets.len()
    }
}
