//! What stands behind the `seqcast` command: one file a subcommand, and the generator of order flow.

pub mod bench;
pub mod cli;
mod control;
mod coordinator;
pub mod day;
mod doctor;
mod drill;
pub mod etcd;
mod input;
mod interfaces;
mod later;
mod notify;
mod output;
mod pcapng;
pub mod ports;
pub mod script;
mod space;
mod svg;
mod trace;
mod tune;
pub mod view;
pub mod wiring;
