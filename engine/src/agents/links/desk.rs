//! Where the agent that decides and the one that talks to the other nodes' control ports meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use super::super::status::{NodeStatus, Note};
use crate::replica::NodeId;

/// Events of links that wait to be taken: more than can come between two duty cycles.
const EVENTS: usize = 64;
/// Notes that wait to be told.
const NOTES: usize = 256;

/// What became of the control connection to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// It stands.
    Up,
    /// It was given up in words, or by this side: the other may well live.
    Down,
    /// The other's kernel closed it without a word from the process: the process has ended.
    Dead,
}

/// A change of the control connection to `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// The other node.
    pub node: NodeId,
    /// What became of it.
    pub change: LinkChange,
}

/// What an operator wants of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorCommand {
    /// Become primary.
    Promote,
    /// Hand over, if it is primary.
    Retire,
}

impl OperatorCommand {
    /// As it is sent.
    pub const fn word(self) -> &'static str {
        match self {
            OperatorCommand::Promote => "promote",
            OperatorCommand::Retire => "retire",
        }
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It was done.
    Done(&'static str),
    /// It was not done, and will not be.
    Refused(&'static str),
}

/// A command on its way; the ticket finds the outcome's way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticketed<T> {
    /// Which command.
    pub ticket: u64,
    /// The command, or its outcome.
    pub what: T,
}

/// Where the two agents meet. Cheap to clone; neither side ever blocks or allocates.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Queues>);

#[derive(Debug)]
struct Queues {
    events: ArrayQueue<LinkEvent>,
    commands: ArrayQueue<Ticketed<OperatorCommand>>,
    outcomes: ArrayQueue<Ticketed<CommandOutcome>>,
    status: ArrayQueue<NodeStatus>,
    notes: ArrayQueue<Note>,
    lost_notes: AtomicU64,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk::new()
    }
}

impl Desk {
    /// A desk with nothing on it.
    pub fn new() -> Desk {
        Desk(Arc::new(Queues {
            events: ArrayQueue::new(EVENTS),
            commands: ArrayQueue::new(1),
            outcomes: ArrayQueue::new(1),
            status: ArrayQueue::new(1),
            notes: ArrayQueue::new(NOTES),
            lost_notes: AtomicU64::new(0),
        }))
    }

    /// The next change of a link, in order.
    pub fn poll_link(&self) -> Option<LinkEvent> {
        self.0.events.pop()
    }

    /// The next command. Answer it with [`Desk::answer`], however much later: there is one at a time.
    pub fn poll_command(&self) -> Option<Ticketed<OperatorCommand>> {
        self.0.commands.pop()
    }

    /// Says what became of the command with this ticket.
    pub fn answer(&self, ticket: u64, outcome: CommandOutcome) {
        self.0.outcomes.force_push(Ticketed { ticket, what: outcome });
    }

    /// Says how the node stands; what was said before and not taken yet is replaced.
    pub fn post(&self, status: &NodeStatus) {
        self.0.status.force_push(*status);
    }

    /// Says what has happened. When nobody takes notes for long, the newest are lost, and counted.
    pub fn note(&self, note: Note) {
        if self.0.notes.push(note).is_err() {
            self.0.lost_notes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Brings a change of a link; `false` when there is no room: bring it again.
    pub fn try_bring(&self, event: LinkEvent) -> bool {
        self.0.events.push(event).is_ok()
    }

    /// Brings a command; `false` when the one before was not taken yet.
    pub fn try_command(&self, command: Ticketed<OperatorCommand>) -> bool {
        self.0.commands.push(command).is_ok()
    }

    /// Takes a command back that was not taken for too long.
    pub fn take_back(&self) -> bool {
        self.0.commands.pop().is_some()
    }

    /// What became of a command.
    pub fn poll_outcome(&self) -> Option<Ticketed<CommandOutcome>> {
        self.0.outcomes.pop()
    }

    /// How the node stands, if that was said since the last call.
    pub fn poll_status(&self) -> Option<NodeStatus> {
        self.0.status.pop()
    }

    /// The next thing that has happened.
    pub fn poll_note(&self) -> Option<Note> {
        self.0.notes.pop()
    }

    /// Notes that found no room.
    pub fn lost_notes(&self) -> u64 {
        self.0.lost_notes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::status::{Role, What};
    use super::*;

    #[test]
    fn what_finds_no_room_is_told_and_nothing_blocks() {
        let desk = Desk::new();
        let event = |node| LinkEvent { node: NodeId(node), change: LinkChange::Up };
        let brought = (0..).map(event).take_while(|&event| desk.try_bring(event)).count();
        assert_eq!(brought, EVENTS);
        assert_eq!(desk.poll_link(), Some(event(0)), "in order");
        let command = Ticketed { ticket: 1, what: OperatorCommand::Promote };
        assert!(desk.try_command(command));
        assert!(!desk.try_command(Ticketed { ticket: 2, ..command }), "one at a time");
        assert_eq!(desk.poll_command(), Some(command));
        let note =
            Note { wall_ns: 0, role: Role::Standby, epoch: 1, what: What::Role, about: None, reason: "" };
        (0..NOTES + 3).for_each(|_| desk.note(note));
        assert_eq!(desk.lost_notes(), 3);
    }
}
