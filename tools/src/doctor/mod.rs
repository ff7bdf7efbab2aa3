//! What is wrong with a host, a configuration or a feed, and what to do about it.
//!
//! Looking ([`listen`], and the upper half of [`site`]) and judging ([`diagnose`]) are apart: what was seen is plain data.

pub(crate) mod diagnose;
pub(crate) mod evidence;
pub(crate) mod listen;
mod packet;
pub(crate) mod procfs;
mod rewind;
pub(crate) mod site;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// As it should be.
    Ok,
    /// Could not be looked at: why is said.
    Skipped,
    /// It works, but not as well as it might; or it may be the reason.
    Warning,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Of what: `line A`, `host`, `rewind server 10.0.0.2:31010`.
    pub(crate) of: String,
    /// Which step of the way, in a word that scripts can rely on.
    pub(crate) step: &'static str,
    pub(crate) health: Health,
    pub(crate) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// Findings about one thing, as they come.
pub(crate) struct Findings<'a> {
    of: String,
    all: &'a mut Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(crate) fn of(of: impl Into<String>, all: &'a mut Vec<Finding>) -> Findings<'a> {
        Findings { of: of.into(), all }
    }

    pub(crate) fn ok(&mut self, step: &'static str, what: impl Into<String>) {
        self.add(step, Health::Ok, what.into(), None);
    }

    pub(crate) fn skipped(&mut self, step: &'static str, what: impl Into<String>) {
        self.add(step, Health::Skipped, what.into(), None);
    }

    pub(crate) fn warning(&mut self, step: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(step, Health::Warning, what.into(), Some(remedy.into()));
    }

    pub(crate) fn bad(&mut self, step: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(step, Health::Bad, what.into(), Some(remedy.into()));
    }

    fn add(&mut self, step: &'static str, health: Health, what: String, remedy: Option<String>) {
        self.all.push(Finding { of: self.of.clone(), step, health, what, remedy });
    }
}
