//! Tuning a host: profiles say what is wanted and why, `check` compares, `apply` changes what can be changed while the
//! host runs, `undo` puts back exactly what was there.
//!
//! Everything is read and changed through a [`Host`](host::Host): this machine, a tree of files that looks like one, or a
//! made-up kernel.

pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod cpus;
mod ethtool;
pub(crate) mod host;
pub(crate) mod inputs;
pub(crate) mod ledger;
pub(crate) mod probe;
pub(crate) mod profile;
#[cfg(test)]
mod testing;
