//! What a node of a cluster knows of itself, for operators: posted by the hot agent that knows it, told by a cold one.
//!
//! [`NodeStatus`] and [`Note`] are plain data that can be copied: making one allocates, formats and locks nothing.
//! [`Report`] is the same with names, as `seqcast status` reads and prints it.

use std::fmt;

use seqcast_wire::{SeqNo, Session};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_NODES;
use crate::replica::{Closed, Members, NodeId, Watermarks};
use crate::time::Nanos;

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It has just started, or its journal is behind: it follows, and is in no set.
    #[default]
    Joining,
    /// It follows, and commits wait for it.
    Standby,
    /// It has stopped following and asks the coordinator to make it primary.
    Candidate,
    /// It numbers, commits and publishes.
    Primary,
    /// It admits nothing any more and hands over.
    Retiring,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Joining => "joining",
            Role::Standby => "standby",
            Role::Candidate => "candidate",
            Role::Primary => "primary",
            Role::Retiring => "retiring",
        })
    }
}

/// How a node stands.
#[derive(Clone, Copy, Debug)]
pub struct NodeStatus {
    /// When this was so, by the wall clock: a label for people.
    pub wall_ns: u64,
    /// What it is.
    pub role: Role,
    /// The highest epoch that it knows of; 0: none.
    pub epoch: u64,
    /// Primary of that epoch, as far as it knows.
    pub primary: Option<NodeId>,
    /// Of its journal.
    pub incarnation: u64,
    /// The set that the coordinator keeps, as far as it knows.
    pub stored: Members,
    /// On a primary: the set that commits wait for.
    pub local: Members,
    /// Members without which nothing is admitted.
    pub min_in_sync: usize,
    /// Why nothing is admitted; `None` while events are.
    pub closed: Option<Closed>,
    /// How far everything is.
    pub watermarks: Watermarks,
    /// Everything below is in its order books.
    pub applied: SeqNo,
    /// How the others stand, by [`NodeId`]; its own place is not looked at.
    pub peers: [PeerStatus; MAX_NODES],
}

impl NodeStatus {
    /// A node that has just started with a journal of this incarnation.
    pub fn starting(incarnation: u64, watermarks: Watermarks) -> NodeStatus {
        NodeStatus {
            wall_ns: 0,
            role: Role::Joining,
            epoch: 0,
            primary: None,
            incarnation,
            stored: Members::default(),
            local: Members::default(),
            min_in_sync: 0,
            closed: Some(Closed::NotPrimary),
            watermarks,
            applied: SeqNo::FIRST,
            peers: [PeerStatus::default(); MAX_NODES],
        }
    }
}

/// How a node sees another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// On a primary: everything below equals its own record there and is kept. `None`: nothing is known.
    pub verified: Option<SeqNo>,
    /// On a primary: how long the other has been behind; zero when it is not.
    pub lag: Nanos,
    /// Since anything was heard of it; `None`: never.
    pub silent: Option<Nanos>,
    /// How often it was wrongly taken for dead.
    pub false_suspicions: u64,
    /// On a primary: its journal ends where no journal reaches back to any more, so it is given an image.
    pub needs_image: bool,
}

/// Something that happened to a node's standing, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, by the wall clock.
    pub wall_ns: u64,
    /// What the node is since.
    pub role: Role,
    /// Epoch that it is about.
    pub epoch: u64,
    /// What happened.
    pub what: What,
    /// Whom it is about, if somebody else.
    pub about: Option<NodeId>,
    /// Why, in a few words.
    pub reason: &'static str,
}

/// What may happen to a node's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is something else now.
    Role,
    /// It takes another for dead.
    Suspected,
    /// The other lives after all.
    Cleared,
    /// It promised, durably, to acknowledge no lower epoch.
    Promised,
    /// It asked the coordinator for a change.
    SwapAsked,
    /// The coordinator made it.
    Swapped,
    /// The coordinator did not make it.
    SwapLost,
    /// It is not known whether the coordinator made it.
    SwapUnknown,
    /// As a new primary: all that it inherited is acknowledged by its set again.
    CaughtUp,
    /// It admits events again.
    Opened,
    /// It admits no events any more.
    Closed,
    /// Another is in the in-sync set now.
    Joined,
    /// Another is no longer in the in-sync set.
    Left,
    /// It cut the end of its journal that the new primary does not have.
    Cut,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Role => "changes its role",
            What::Suspected => "takes for dead",
            What::Cleared => "took for dead, wrongly,",
            What::Promised => "acknowledges no lower epoch any more",
            What::SwapAsked => "asks the coordinator for a change",
            What::Swapped => "the coordinator made the change",
            What::SwapLost => "the coordinator refused the change",
            What::SwapUnknown => "does not know whether the coordinator made the change",
            What::CaughtUp => "all that was inherited is committed",
            What::Opened => "admits events",
            What::Closed => "admits no events",
            What::Joined => "has in its set",
            What::Left => "has no longer in its set",
            What::Cut => "cut off its journal's end",
        })
    }
}

/// A node's status, with names: what goes to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Session of the feed.
    pub session: String,
    /// Name of the node.
    pub name: String,
    /// Its number.
    pub node: u16,
    /// What it is.
    pub role: Role,
    /// The highest epoch that it knows of; 0: none.
    pub epoch: u64,
    /// Name of the primary of that epoch, as far as it knows.
    pub primary: Option<String>,
    /// Of its journal, in hexadecimal.
    pub incarnation: String,
    /// Names of the set that the coordinator keeps.
    pub stored: Vec<String>,
    /// On a primary: names of the set that commits wait for.
    pub local: Vec<String>,
    /// Members without which nothing is admitted.
    pub min_in_sync: usize,
    /// Whether events are admitted.
    pub admitting: bool,
    /// Why not.
    pub closed: Option<String>,
    /// How far everything is.
    pub watermarks: Levels,
    /// The other nodes.
    pub peers: Vec<PeerReport>,
    /// When this was so, in ns since 1970.
    pub wall_ns: u64,
    /// What happened last, oldest first.
    pub notes: Vec<NoteReport>,
}

/// Watermarks as numbers: everything *below* each is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// See [`Watermarks::numbered`].
    pub numbered: u64,
    /// See [`Watermarks::appended`].
    pub appended: u64,
    /// See [`Watermarks::durable`].
    pub durable: u64,
    /// See [`Watermarks::replicated`].
    pub replicated: u64,
    /// See [`Watermarks::committed`].
    pub committed: u64,
    /// See [`Watermarks::published`].
    pub published: u64,
    /// In the order books.
    pub applied: u64,
}

/// Another node, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Name.
    pub name: String,
    /// Number.
    pub node: u16,
    /// Whether the control connection stands.
    pub link: bool,
    /// On a primary: everything below is the same there, and kept.
    pub verified: Option<u64>,
    /// On a primary: messages that it lacks.
    pub lag_messages: Option<u64>,
    /// On a primary: how long it has been behind.
    pub lag_ns: u64,
    /// Since anything was heard of it; `None`: never.
    pub silent_ns: Option<u64>,
    /// How often it was wrongly taken for dead.
    pub false_suspicions: u64,
    /// On a primary: it is given an image, since no journal reaches back to where its own ends.
    #[serde(default)]
    pub needs_image: bool,
}

/// A [`Note`] with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteReport {
    /// Counts the notes of a process, from 0.
    pub number: u64,
    /// When, in ns since 1970.
    pub wall_ns: u64,
    /// What the node is since.
    pub role: Role,
    /// Epoch that it is about.
    pub epoch: u64,
    /// What happened.
    pub what: What,
    /// Whom it is about, if somebody else.
    pub about: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for NoteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoteReport { role, epoch, what, about, reason, .. } = self;
        match (what, about) {
            (What::Role, _) => write!(f, "{role} in epoch {epoch}")?,
            (_, Some(about)) => write!(f, "{role} in epoch {epoch} {what} {about}")?,
            (_, None) => write!(f, "{role} in epoch {epoch}: {what}")?,
        }
        if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
    }
}

/// The nodes' names, by [`NodeId`].
#[derive(Clone, Debug)]
pub(super) struct Names(pub(super) Vec<String>);

impl Names {
    pub(super) fn of(&self, node: NodeId) -> String {
        self.0.get(usize::from(node.0)).cloned().unwrap_or_else(|| format!("node {}", node.0))
    }

    fn all(&self, members: &Members) -> Vec<String> {
        members.as_slice().iter().map(|member| self.of(member.node)).collect()
    }

    pub(super) fn note(&self, number: u64, note: &Note) -> NoteReport {
        NoteReport {
            number,
            wall_ns: note.wall_ns,
            role: note.role,
            epoch: note.epoch,
            what: note.what,
            about: note.about.map(|node| self.of(node)),
            reason: note.reason.to_owned(),
        }
    }

    /// `status` of node `me`, with names. `link` says of each node whether its connection stands.
    pub(super) fn report(
        &self,
        (session, me): (Session, NodeId),
        status: &NodeStatus,
        link: impl Fn(NodeId) -> bool,
        notes: Vec<NoteReport>,
    ) -> Report {
        let Watermarks { numbered, appended, durable, replicated, committed, published } = status.watermarks;
        let others = (0..).map(NodeId).zip(&self.0).filter(|(node, _)| *node != me);
        let peer = |(node, name): (NodeId, &String)| {
            let seen = status.peers.get(usize::from(node.0)).copied().unwrap_or_default();
            PeerReport {
                name: name.clone(),
                node: node.0,
                link: link(node),
                verified: seen.verified.map(SeqNo::value),
                lag_messages: seen.verified.map(|verified| appended.value().saturating_sub(verified.value())),
                lag_ns: seen.lag.0,
                silent_ns: seen.silent.map(|silent| silent.0),
                false_suspicions: seen.false_suspicions,
                needs_image: seen.needs_image,
            }
        };
        Report {
            session: session.to_string(),
            name: self.of(me),
            node: me.0,
            role: status.role,
            epoch: status.epoch,
            primary: status.primary.map(|node| self.of(node)),
            incarnation: format!("{:x}", status.incarnation),
            stored: self.all(&status.stored),
            local: self.all(&status.local),
            min_in_sync: status.min_in_sync,
            admitting: status.closed.is_none(),
            closed: status.closed.map(|why| why.to_string()),
            watermarks: Levels {
                numbered: numbered.value(),
                appended: appended.value(),
                durable: durable.value(),
                replicated: replicated.value(),
                committed: committed.value(),
                published: published.value(),
                applied: status.applied.value(),
            },
            peers: others.map(peer).collect(),
            wall_ns: status.wall_ns,
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Member;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn status() -> NodeStatus {
        let member = |node| Member { node: NodeId(node), incarnation: 7 };
        let watermarks = Watermarks {
            numbered: seq(30),
            appended: seq(29),
            durable: seq(10),
            replicated: seq(20),
            committed: seq(20),
            published: seq(19),
        };
        let mut status = NodeStatus {
            role: Role::Primary,
            epoch: 4,
            primary: Some(NodeId(1)),
            stored: Members::of(&[member(1), member(2)]).unwrap(),
            local: Members::of(&[member(1), member(2)]).unwrap(),
            min_in_sync: 2,
            closed: None,
            ..NodeStatus::starting(0xabc, watermarks)
        };
        status.peers[2] = PeerStatus {
            needs_image: true,
            verified: Some(seq(20)),
            lag: Nanos(5),
            silent: Some(Nanos(9)),
            false_suspicions: 3,
        };
        status
    }

    fn names() -> Names {
        Names(["n1", "n2", "n3"].map(str::to_owned).into())
    }

    #[test]
    fn a_report_has_names_and_comes_back_from_json() {
        let note = Note {
            wall_ns: 1,
            role: Role::Primary,
            epoch: 4,
            what: What::Suspected,
            about: Some(NodeId(0)),
            reason: "its connection closed",
        };
        let note = names().note(0, &note);
        assert_eq!(note.to_string(), "primary in epoch 4 takes for dead n1: its connection closed");
        let report = names().report(
            ("FEED".parse().unwrap(), NodeId(1)),
            &status(),
            |node| node == NodeId(2),
            vec![note],
        );
        assert_eq!((report.name.as_str(), report.primary.as_deref()), ("n2", Some("n2")));
        assert_eq!((report.stored.join(" "), report.admitting), ("n2 n3".into(), true));
        let [first, second] = &report.peers[..] else { panic!("{report:?}") };
        assert_eq!(
            (first.name.as_str(), first.link, first.verified, first.lag_messages),
            ("n1", false, None, None)
        );
        assert_eq!((second.name.as_str(), second.link, second.lag_messages), ("n3", true, Some(9)));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""role":"primary""#) && json.contains(r#""what":"suspected""#), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn a_node_that_admits_nothing_says_why() {
        let status = NodeStatus { closed: Some(Closed::BelowMinimum { len: 1, min: 2 }), ..status() };
        let report = names().report((Session::BLANK, NodeId(1)), &status, |_| false, Vec::new());
        assert!(!report.admitting);
        assert!(report.closed.unwrap().starts_with("1 in-sync members, 2 are required"));
    }
}
