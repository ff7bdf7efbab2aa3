//! When a message is final, and what survives which failure.
//!
//! # What is there today
//!
//! One sequencer, alone in its in-sync set, with a journal. The rules below are those of a set of any size, and the
//! [commit gate](crate::replica::CommitGate) keeps them for any size; what is **not** there yet is what a second node
//! needs: the replication stream, the standby that follows it, the coordinator that stores who is primary, and the
//! takeover. A sequencer that dies is started again, on the same machine or with its journal's directory at hand, and
//! goes on where it was.
//!
//! # When a message is final
//!
//! A message is **committed** once every member of the in-sync set has acknowledged it in the primary's epoch. Only
//! committed messages are published, rewound, put into snapshots or acknowledged to publishers: whatever a subscriber
//! has seen stays as it is, under its number, for good. `sequencer.durability` says what an acknowledgement means:
//!
//! | durability | the member has | lost by |
//! |---|---|---|
//! | `memory` | appended it to its journal, which is mapped memory | all members losing power, or their kernels crashing, at once. A killed process loses nothing |
//! | `disk` | synced that to its disk | all members losing their disks |
//!
//! With one member, `memory` means that **a loss of power can lose messages that were published**. After it the journal
//! goes on under a new incarnation, with a warning. Where its mark shows that messages were published which it does not
//! hold, the sequencer refuses to number on, since it would give their numbers to other messages. But the mark may have
//! been lost with them: after a loss of power with `memory`, begin a new session, or use `disk`.
//!
//! # Epochs, incarnations, watermarks
//!
//! - **Epoch.** Each primary has a higher one than any before it, promised durably before it numbers anything. It stands
//!   in every frame and every acknowledgement. Who has promised an epoch refuses lower ones.
//! - **Incarnation.** A journal that cannot be proven whole (the machine went down uncleanly, a segment or the mark is
//!   missing or damaged) goes on under a new incarnation, which is somebody else to the in-sync set: it may have lost what
//!   it once acknowledged.
//! - **Chain.** Every frame carries the check sum of the one before, so that two histories compare by epoch, number and
//!   check sum, never by number alone.
//! - **Watermarks.** *numbered* ≥ *appended* ≥ *durable*; *committed* is the least that all members have; *published*
//!   never passes *committed*. After a restart publishing goes on from the published watermark that the journal's mark
//!   kept: repeats are harmless, since receivers drop them message by message; a hole would not be.
//!
//! # The set changes in one order only
//!
//! The local set, which commits wait for, always contains the stored set, from which a new primary could come. It
//! **shrinks** by a confirmed swap first and then locally; it **grows** locally first and then by a swap. One change is
//! outstanding at a time, and after an unknown answer the larger set counts. Each other order loses a published message
//! within a few steps; that was found by checking a model of the scheme exhaustively, not by thinking hard. Below
//! `sequencer.min_in_sync` members nothing is admitted.
//!
//! # What each failure does today
//!
//! | failure | outcome |
//! |---|---|
//! | a datagram lost on one line | nothing: the other line brings it |
//! | lost on all lines | requested after `receive.reorder_wait`; delivered late, in order |
//! | a gap that nobody can fill | `subscriber.on_unfillable`: stop, take a snapshot, or go on and say so |
//! | two different messages under one number | told to the application; books stop until a snapshot |
//! | a publisher dies and starts again in its session | it sends the same messages from number 1 on; the sequencer drops what it has numbered before and takes the rest. Another session of the same source is taken up only after the end of the first |
//! | the sequencer's process is killed | started again, it reads its journal, publishes from the last published number, and asks the publishers for what it lacks; they kept it |
//! | the sequencer's machine dies | as above, from what was synced; see durability |
//! | the journal's disk is full | nothing is appended, the ring fills, publishers wait. Nothing is lost; make room and it goes on |
//! | a torn end of the journal | cut at the start, and reported |
//! | a damaged frame with whole ones behind it | the journal refuses to open and says file, offset and remedy: cutting would take back published messages |
//! | a subscriber too slow for its ring | `subscriber.slow_consumer`: wait, skip (and be told what) or be cut off |
//! | an agent fails or panics | its process stops, with the reason; half a process is worse than none |
//! | a clock is set back | nothing: event time is max(previous + 1, wall clock), and timers run on the monotonic clock |
//!
//! # Suspecting others
//!
//! Clocks guard nothing here, and a silence proves nothing about a peer when the listener itself was asleep. That is what
//! [`StallTracker::stalled_longer_than`](crate::runtime::StallTracker::stalled_longer_than) is for: a suspicion is void
//! if the suspecting thread was away longer than its timeout.
