//! Agents: where the core's state machines meet drivers, rings and threads. One role a file.
//!
//! | agent | eats | makes |
//! |---|---|---|
//! | [`publisher`] | a script of messages | its feed on lines; answers to requests for gaps |
//! | [`ingress`] | the feeds of all sources | one total order, into the sequencer's ring |
//! | [`replica`] | the sequencer's ring as primary, the stream as standby | the journal, the stream, what is committed |
//! | [`journal`] | the journal's needs | prepared segments, durability, promises |
//! | [`egress`] | the committed part of the journal | the feed in total order, on lines |
//! | [`rewind`] | requests | messages from the journal |
//! | [`links`] | the other nodes' control connections, operators | their ends; answers |
//! | [`steward`] | the replica agent's requests | the coordinator's answers |
//! | [`snapshot`] | the committed part of the journal | order books for late joiners, over SoupBinTCP |
//! | [`subscriber`] | lines and rewind replies | the feed's items in order, into a ring |
//! | [`books`] | that ring | order books and an application's events |
//! | [`join`] | a snapshot server | books to begin with |

mod acknowledge;
mod batch;
pub mod books;
pub mod departure;
pub mod egress;
pub mod event;
pub mod ingress;
pub mod intake;
pub mod join;
pub mod journal;
pub mod leadership;
pub mod links;
pub mod meter;
pub mod publisher;
pub mod replica;
pub mod rewind;
pub mod snapshot;
pub mod status;
pub mod steward;
pub mod subscriber;
pub mod trace;
