//! Whoever has connected and has not said who it is, and operators, who say one thing and get one answer.

use std::net::Ipv4Addr;

use super::GREETING_TIMEOUT;
use super::desk::{CommandOutcome, OperatorCommand};
use super::line::{Hello, Line};
use super::pipe::{Heard, Pipe};
use crate::io::tcp::{Interest, Stream};
use crate::time::Nanos;

/// A command that is not done by then is reported as not known.
pub(super) const COMMAND_TIMEOUT: Nanos = Nanos::from_secs(30);

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Guest {
    pipe: Pipe,
    pub(super) from: Ipv4Addr,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has said nothing yet, since then.
    Unknown(Nanos),
    /// It waits for the outcome of a command.
    Awaiting(u64),
    /// It was answered; until then it may read that.
    Leaving { until: Nanos, finished: bool },
}

/// What a guest wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Link(Hello),
    Status,
    Command(OperatorCommand),
    /// Nothing more: drop it.
    Leave,
}

impl Guest {
    pub(super) fn new(now: Nanos, stream: Stream, from: Ipv4Addr) -> Guest {
        Guest { pipe: Pipe::new(stream), from, stage: Stage::Unknown(now) }
    }

    /// What to wait for.
    pub(super) fn awaited(&self) -> (&Stream, Interest) {
        (self.pipe.stream(), self.pipe.interest())
    }

    pub(super) fn into_pipe(self) -> Pipe {
        self.pipe
    }

    /// Sends it away with a reason.
    pub(super) fn refuse(&mut self, now: Nanos, why: &str) {
        self.answer(now, &Line::Bye(why.to_owned()).to_string());
    }

    /// Gives it a line, and goodbye.
    pub(super) fn answer(&mut self, now: Nanos, line: &str) {
        self.pipe.say(line);
        self.stage = Stage::Leaving { until: now + GREETING_TIMEOUT, finished: false };
    }

    /// It waits for what becomes of the command with this ticket.
    pub(super) fn await_outcome(&mut self, ticket: u64) {
        self.stage = Stage::Awaiting(ticket);
    }

    /// Tells it what became of the command with `ticket`, if it waits for that.
    pub(super) fn on_outcome(
        &mut self,
        now: Nanos,
        ticket: u64,
        command: OperatorCommand,
        outcome: &str,
        what: &str,
    ) {
        if self.stage == Stage::Awaiting(ticket) {
            let line = serde_json::json!({ "command": command.word(), "outcome": outcome, "what": what });
            self.answer(now, &line.to_string());
        }
    }

    /// Hears what it says; `Err`: why it is refused.
    pub(super) fn poll(&mut self, now: Nanos) -> Result<Option<Wish>, String> {
        match self.stage {
            Stage::Unknown(since) => match self.pipe.hear() {
                Heard::Line(Line::Hello(hello)) => Ok(Some(Wish::Link(hello))),
                Heard::Line(Line::Status) => Ok(Some(Wish::Status)),
                Heard::Line(Line::Command(command)) => Ok(Some(Wish::Command(command))),
                Heard::Line(Line::Alive | Line::Bye(_)) => Err("begin with who you are".into()),
                Heard::Nonsense(why) => Err(why),
                Heard::Nothing if now.since(since) < GREETING_TIMEOUT => Ok(None),
                Heard::Nothing => Err("nothing was said in time".into()),
                Heard::Closed | Heard::Broken(_) => Ok(Some(Wish::Leave)),
            },
            // One that hangs up is no longer interested; what it began goes on.
            Stage::Awaiting(_) => Ok(self.pipe.drain().then_some(Wish::Leave)),
            Stage::Leaving { until, finished } => Ok(self.leave(now, until, finished)),
        }
    }

    /// Writes the answer out, then waits for the other side to close: closing first with something unread would take
    /// the answer away from it.
    fn leave(&mut self, now: Nanos, until: Nanos, finished: bool) -> Option<Wish> {
        let mut finished = finished;
        if self.pipe.write().is_err() || now >= until {
            return Some(Wish::Leave);
        }
        if !finished && self.pipe.is_written() {
            finished = true;
            if self.pipe.finish().is_err() {
                return Some(Wish::Leave);
            }
        }
        self.stage = Stage::Leaving { until, finished };
        self.pipe.drain().then_some(Wish::Leave)
    }
}

/// A command under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) ticket: u64,
    pub(super) command: OperatorCommand,
    pub(super) since: Nanos,
}

/// An outcome in words: what it is, and what it says.
pub(super) fn in_words(outcome: CommandOutcome) -> (&'static str, &'static str) {
    match outcome {
        CommandOutcome::Done(what) => ("done", what),
        CommandOutcome::Refused(why) => ("refused", why),
    }
}
