//! Order books of all symbols from one ITCH 5.0 feed: every order, in the queue of its price level.
//!
//! [`Books`] eats messages in order and says of each what it changed. It knows nothing of sequence numbers, sockets or
//! time. Nothing is allocated after [`Books::new`], and nothing a feed may hold makes it panic: what cannot be applied
//! is refused and counted in [`BookStats`].
//!
//! Cache misses are most of the cost of a book that is applied to message by message, so the state is laid out by cache
//! lines (sizes for a million live orders):
//!
//! | part | bytes each | touched by |
//! |---|---|---|
//! | index: reference → order | 64 a bucket of about 7 orders | every order message: 1 line |
//! | order | 32 | its own message: 1 line; its neighbours in the queue, written but not waited for |
//! | level | 32 | 1 line |
//! | rungs of a side, in price order, best last | 8 | additions: 1 line near the touch; others only when a level vanishes |
//! | book | 64 | 1 line, known from the message before anything is looked up |
//!
//! [`Books::apply_all`] asks for these lines a few messages ahead, evenly: a core can have about two dozen lines under
//! way, and memory hands over one in about a tenth of the time that a single one takes. An [`ImageEncoder`] writes the
//! whole state as ITCH messages, and [`Books::digest`] sums it up in 64 bits, whatever the history that led there.

mod ahead;
mod applied;
mod apply;
mod books;
mod bucket;
mod digest;
mod edit;
mod image;
mod index;
mod ladder;
mod node;
mod slab;
mod stats;
mod symbol;
mod view;

pub use applied::{Anomaly, Applied, Effect, Side, Touched, Trade, TradeKind};
pub use books::{Books, BooksConfig, BooksError};
pub use image::{IMAGE_MESSAGE_BYTES, ImageEncoder};
pub use stats::BookStats;
pub use view::{Book, Level, Levels, Order, Orders};
