//! Shows a feed as it comes.

use std::io::Write;

use clap::ValueEnum;
use seqcast_engine::agents::books::Application;
use seqcast_engine::book::{Applied, Books, Effect};
use seqcast_engine::feed::FeedState;
use seqcast_engine::limits::MAX_LOCATES;
use seqcast_engine::time::Nanos;
use seqcast_wire::itch::Stock;
use seqcast_wire::{SeqNo, Session};

use super::Outlet;
use super::fields::Described;
use super::ladder::{BboLine, DepthLine};
use super::line::{EventLine, Line, MessageLine, SeqNumber, TradeLine, broken_trade};
use super::symbols::{Symbols, locates};

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// Nothing
    #[default]
    None,
    /// Best bid and best ask, whenever one of them changes
    Bbo,
    /// The best levels of a book, whenever it changes
    Depth,
    /// Trades
    Trades,
    /// Every message
    Messages,
    /// What happens to the feed: its state, lost messages, sessions
    Events,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// A header, then a row a line
    Csv,
    /// A JSON document a line
    Json,
}

/// What a [`View`] shows, and how.
#[derive(Clone, Debug, Default)]
pub struct ViewConfig {
    /// What.
    pub show: Show,
    /// How.
    pub format: Format,
    /// Only of these symbols; none: of all. What is about no symbol is then left out too, but for what happens to
    /// the feed.
    pub symbols: Vec<Stock>,
    /// Levels of each side; `None`: all.
    pub depth: Option<usize>,
}

/// Shows a feed as it comes, a line each.
///
/// What happens to the feed is a line among the others in JSON (`{"event":"state",…}`) and with [`Show::Events`], and
/// goes where the talk goes otherwise.
pub struct View {
    show: Show,
    format: Format,
    depth: usize,
    symbols: Symbols,
    session: Option<Session>,
    state: FeedState,
    data: Outlet,
    talk: Outlet,
    /// Best prices that changed unseen are shown with the next change of their book: those with an older era.
    era: u32,
    shown_in: Box<[u32]>,
}

impl View {
    /// Lines go to `data`, what is said about the feed beside them to `talk`.
    pub fn new(config: ViewConfig, data: Outlet, talk: Outlet) -> View {
        let ViewConfig { show, format, symbols, depth } = config;
        let mut view = View {
            show,
            format,
            depth: depth.unwrap_or(usize::MAX),
            symbols: Symbols::new(symbols),
            session: None,
            state: FeedState::Stale,
            data,
            talk,
            era: 1,
            shown_in: vec![0; MAX_LOCATES].into(),
        };
        if format == Format::Csv {
            view.put_header();
        }
        view
    }

    fn put_header(&mut self) {
        let header = match self.show {
            Show::None => return,
            Show::Bbo => BboLine::CSV_HEADER,
            Show::Depth => DepthLine::CSV_HEADER,
            Show::Trades => TradeLine::CSV_HEADER,
            Show::Messages => MessageLine::CSV_HEADER,
            Show::Events => EventLine::CSV_HEADER,
        };
        self.data.put(|out| writeln!(out, "{header}"));
    }

    fn put(&mut self, line: &impl Line) {
        let format = self.format;
        self.data.put(|out| match format {
            Format::Text => line.text(out),
            Format::Csv => line.csv(out),
            Format::Json => {
                serde_json::to_writer(&mut *out, line)?;
                out.write_all(b"\n")
            }
        });
    }

    fn put_event(&mut self, event: &EventLine) {
        if self.show == Show::Events || (self.format == Format::Json && self.show != Show::None) {
            self.put(event);
            return;
        }
        // Both may be the same terminal.
        self.data.flush();
        self.talk.put(|out| writeln!(out, "seqcast: {event}"));
        self.talk.flush();
    }

    fn put_bbo(&mut self, seq: u64, locate: u16, books: &Books) {
        self.shown_in[usize::from(locate)] = self.era;
        self.put(&BboLine::new(seq, self.symbols.name(locate), books.book(locate)));
    }

    fn put_depth(&mut self, seq: u64, locate: u16, books: &Books) {
        let name = self.symbols.name(locate);
        self.put(&DepthLine::new(seq, Some(name), books.book(locate), self.depth));
    }
}

impl Application for View {
    fn on_message(&mut self, seq: SeqNo, _received: Nanos, message: &[u8]) {
        match self.show {
            Show::None | Show::Bbo | Show::Depth | Show::Events => {}
            Show::Trades => {
                self.symbols.learn(message);
                if let Some((locate, match_number)) = broken_trade(message)
                    && self.symbols.wants(locate)
                {
                    self.put(&TradeLine::broken(seq, self.symbols.name(locate), match_number));
                }
            }
            Show::Messages => {
                self.symbols.learn(message);
                let locate = message.get(1..3).and_then(|bytes| bytes.first_chunk()).copied();
                if self.symbols.wants(u16::from_be_bytes(locate.unwrap_or_default())) {
                    self.put(&MessageLine { seq: SeqNumber(seq), message: Described(message) });
                }
            }
        }
    }

    fn on_book(&mut self, seq: SeqNo, _received: Nanos, applied: &Applied, books: &Books) {
        let locate = applied.locate;
        if applied.effect == Effect::Status || !self.symbols.knows(locate) {
            self.symbols.learn_from(locate, books);
        }
        if !self.symbols.wants(locate) {
            return;
        }
        let is_changed = applied.effect == Effect::Book;
        match self.show {
            Show::Bbo
                if is_changed && (applied.bbo_changed || self.shown_in[usize::from(locate)] != self.era) =>
            {
                self.put_bbo(seq.value(), locate, books);
            }
            Show::Depth if is_changed => self.put_depth(seq.value(), locate, books),
            Show::Trades => {
                if let Some(trade) = &applied.trade {
                    self.put(&TradeLine::new(seq, self.symbols.name(locate), trade));
                }
            }
            _ => {}
        }
    }

    fn on_state(&mut self, state: FeedState) {
        if self.state == FeedState::Stale {
            self.era = self.era.wrapping_add(1);
        }
        self.state = state;
        self.put_event(&EventLine::state(state));
    }

    fn on_lost(&mut self, first: SeqNo, count: u64) {
        self.put_event(&EventLine::Lost { first: first.value(), count });
    }

    fn on_conflict(&mut self, seq: SeqNo) {
        self.put_event(&EventLine::Conflict { seq: seq.value() });
    }

    fn on_skipped(&mut self, bytes: u64) {
        self.put_event(&EventLine::Skipped { bytes });
    }

    fn on_session(&mut self, session: Session) {
        if self.session.is_some_and(|known| known != session) {
            self.symbols.clear();
            self.era = self.era.wrapping_add(1);
        }
        self.session = Some(session);
        self.put_event(&EventLine::session(session));
    }

    fn on_snapshot(&mut self, next: SeqNo, books: &Books) {
        self.put_event(&EventLine::Snapshot { next: next.value() });
        self.symbols.clear();
        let seq = next.value() - 1;
        for locate in locates(books) {
            self.symbols.learn_from(locate, books);
            let book = books.book(locate);
            let is_empty = book.best_bid().is_none() && book.best_ask().is_none();
            match self.show {
                _ if is_empty || !self.symbols.wants(locate) => {}
                Show::Bbo => self.put_bbo(seq, locate, books),
                Show::Depth => self.put_depth(seq, locate, books),
                _ => {}
            }
        }
    }

    fn on_end(&mut self, next: SeqNo, _books: &Books) {
        self.put_event(&EventLine::End { next: next.value() });
    }

    fn on_idle(&mut self, _now: Nanos) {
        self.data.flush();
    }

    fn on_close(&mut self, _books: &Books) {
        self.data.flush();
        self.talk.flush();
    }
}

#[cfg(test)]
mod tests;
