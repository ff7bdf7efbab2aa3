//! When a message is final, and what survives which failure.
//!
//! # The nodes
//!
//! A sequencer is alone, or one node of a `[cluster]`. Every node runs the same agents. The
//! [replica agent](crate::agents::replica) owns the journal; what the node is, [`Control`](crate::replica::Control)
//! decides, and the ingress and the egress work only while it leads:
//!
//! ```text
//! primary:  ingress → ring → replica → journal → stream ─────→ replica → journal     (standby)
//!                              ↑          └→ egress, rewind       │         └→ rewind, snapshots
//!                              └────────── acknowledgements ──────┘
//! ```
//!
//! The stream ([`seqcast_wire::repl`]) carries whole frames; a standby verifies each against its own journal by epoch,
//! number and check sum, cuts its journal where the two differ, appends, and acknowledges what is verified. Cutting is
//! append-only: the next segment begins at an earlier point, and what it supersedes is never read again. Frames are small
//! against datagrams; a lost one is asked for by the standby, and only what is missing is sent again.
//!
//! One small record says who is primary of which epoch and who is in the in-sync set. It is kept by a **coordinator** and
//! changes by compare-and-swap only: a directory of create-once files for nodes of one machine, etcd for several. It is
//! not in the path of events: while it is away everything goes on but changes of who leads and who is in the set.
//!
//! # A takeover
//!
//! 1. A standby suspects the primary: its control connection closed (a dead process), or it was silent for
//!    `cluster.suspect_after` while this node was awake (a dead host, a broken network); or it says that it is *deaf*. A
//!    node that merely suspects speaks with the others first: it stands only if with those that hear it it can commit
//!    something, so that a node which is cut off itself, or is not heard, deposes nobody. A dead process needs no such
//!    proof.
//! 2. If the record lists it with its journal's current incarnation, it stops acknowledging, makes its promise of the next
//!    epoch durable, and only then swaps itself in as primary, the old one out, in one swap. Others wait
//!    `cluster.stagger` longer each, so that they do not race, and behind a dead process promise meanwhile; who loses
//!    follows the winner.
//! 3. Its whole journal counts as possibly committed: the set acknowledges it again, then it is published, from the
//!    last number known to be published. Repeats are harmless, a hole is not.
//! 4. It asks the publishers for what it lacks; they keep what is not committed.
//!
//! A primary that was frozen or cut off meanwhile can only repeat what is committed: no member acknowledges its epoch any
//! more. A member that promised an epoch and did not win it refuses the lower one for good; the primary learns of it and
//! takes a new epoch of its own. `seqcast retire` hands over in order: the primary drains, names a standby in the
//! record, and that takes over without a gap. So does `seqcast promote`: the standby asks the primary for the lead in its
//! acknowledgements. One that does not hand over within a second, or is not heard, is deposed as in a takeover.
//!
//! A process that is asked to end (SIGTERM, `systemctl stop`) leaves its cluster first: it hands over if it leads, and asks
//! the primary to take it out of the in-sync set, so that nobody waits for it. With five seconds gone, or where too few
//! would be left, it ends all the same. A second signal ends it at once.
//!
//! What the simulator (`seqcast sim`) found in the first version of these rules stands in the code as comments and in the
//! tests: a standby may join the set only when it has everything that the primary *inherited*, not only what that knows to
//! be committed; below `sequencer.min_in_sync` members what is numbered stays uncommitted, or a second failure could take
//! it along; and with `durability = "disk"` a loss of power keeps the incarnation, since nothing that was acknowledged
//! can be missing.
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
//! With one member left, `memory` means that **a loss of power can lose messages that were published**. After it the journal
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
//! within a few steps; that was found by checking a model of the scheme exhaustively, not by thinking hard: one that drives
//! this code stands in `engine/tests/model`.
//!
//! With fewer than `sequencer.min_in_sync` members that are heard and keep up nothing is admitted, and the set stays as it
//! is: a smaller one would admit nothing either, and who is left out of it may not take over. So a primary that is cut
//! off from all others, or hears none of them, does not lock them out. An earlier incarnation of a node that came back
//! leaves the set in any case. With `min_in_sync = 1` a primary may go on alone: it shrinks the set to itself, and is
//! never replaced for being deaf.
//!
//! # What each failure does
//!
//! | failure | outcome |
//! |---|---|
//! | a datagram lost on one line | nothing: the other line brings it |
//! | lost on all lines | requested at once when every line that is heard has passed it, else after `receive.reorder_wait`; delivered late, in order |
//! | a gap that nobody can fill | `subscriber.on_unfillable`: stop, take a snapshot, or go on and say so |
//! | two different messages under one number | told to the application; books stop until a snapshot |
//! | a publisher dies and starts again in its session | it sends the same messages from number 1 on; the sequencer drops what it has numbered before and takes the rest. Another session of the same source is taken up only after the end of the first |
//! | the primary's process is killed | a standby takes over, within milliseconds |
//! | the primary's machine dies, or is cut off | a standby takes over after `cluster.suspect_after` |
//! | the primary hears nobody, though all hear it | it says so, and a standby takes over after twice `cluster.suspect_after` |
//! | a standby hears nobody, or is heard by nobody | it leaves the set, and deposes nobody |
//! | a node is stopped in order | it hands over, leaves the set, and goes: nobody waits |
//! | a standby dies, is cut off or does not keep up | commits wait for it until the set has shrunk; it comes back by itself |
//! | a standby was away for longer than the primary's journal reaches back (`journal.catch_up_bytes`) | it is given an image and begins anew; see below |
//! | the coordinator is away | nothing, until a member fails; then commits or the takeover wait for it |
//! | the coordinator lost its record, or was restored from an old backup | nodes that know better change nothing until it is current. One that does not may lead by the old record; a standby acknowledges nothing before it has seen that its primary has what is committed, and stops, in words, if it has not |
//! | a message longer than a datagram of the lines or of the replication stream holds | it gets no number: its source stands still there, in words, and the others go on |
//! | a lone sequencer's process is killed | started again, it reads its journal, publishes from the last published number, and asks the publishers for what it lacks; they kept it |
//! | a lone sequencer's machine dies | as above, from what was synced; see durability |
//! | the journal's disk is full | nothing is appended, the ring fills, publishers wait. Nothing is lost; make room and it goes on |
//! | a torn end of the journal | cut at the start, and reported |
//! | holes in what was not synced when the power went | everything from the first hole on is given up, as if it had not reached the disk |
//! | a damaged frame with whole ones behind it | the journal refuses to open and says file, offset and remedy: cutting would take back published messages |
//! | a subscriber too slow for its ring | `subscriber.slow_consumer`: wait, skip (and be told what) or be cut off |
//! | an agent fails or panics | its process stops, with the reason; half a process is worse than none |
//! | a clock is set back | nothing: event time is max(previous + 1, wall clock), and timers run on the monotonic clock |
//!
//! # Image and tail
//!
//! A new or returning standby takes what it lacks from the primary's journal. Journals keep it for that: the primary knows
//! what every node has, and tells them all; what one of them lacks, or may lack because it has not been heard in this epoch,
//! retention lets go only beyond `journal.catch_up_bytes`; `seqcast_replica_everywhere` is the number below which nobody lacks
//! anything. Where the primary's journal does not reach back, the standby is
//! given an **image**: the last point at which a segment of the primary's journal begins and everything before is committed.
//! All that a sequencer must know there is the chain (number, epoch, event time, CRC of the frame before) and, for each
//! source, its session and the number that comes next: under 1,300 bytes for 64 sources, one datagram of the stream
//! with a CRC over all of it ([`wire::repl::Image`](seqcast_wire::repl::Image)). It is whole or it is nothing, it is sent again and again
//! until the standby is there, and who becomes primary meanwhile sends one of its own.
//!
//! The standby ends its agents in order, removes its journal (one without `journal.retain_bytes`, which is to keep everything,
//! is set aside in `aside-*` of its directory, where `seqcast journal` reads it), begins one at that point
//! ([`Journal::begin_at`](crate::journal::Journal::begin_at)) as a new incarnation, and starts its agents again, in the
//! same process. The rest comes by the ordinary stream, and once it has caught up it is a member as any other: who
//! takes over from there knows every source's next number.
//!
//! What is dropped is nothing that the cluster counts on:
//!
//! - No member of the in-sync set gets an image: it leaves the set first, by a swap. What it has may be all that is left.
//! - An image names the incarnation of the journal that it replaces: one that comes late finds another and is dropped.
//! - It is taken only for more than the standby knows to be the primary's.
//! - The node's promise, and what it knows to be published, stay.
//!
//! A snapshot server that has no beginning to build books from fetches books from `[feed.snapshot]`, which on a node names
//! the snapshot server of another one, and goes on where they end. `seqcast status` shows under *verified* who is being given
//! an image; `seqcast_replica_images_total` counts those sent.
//!
//! # What a takeover takes
//!
//! | step | what it waits for |
//! |---|---|
//! | the death is noticed | the kernel ends the dead process's control connection; see [`mem::heir`](crate::mem::heir) |
//! | promises | one sync of the disk on each node, all at once. The candidate's record is written and synced meanwhile |
//! | swap | the `file` coordinator: a link and a sync of the directory; `etcd`: a round of its own consensus |
//! | the others follow | they read the record every half millisecond meanwhile, and need not hear of the new primary first |
//! | what is inherited is committed | one round trip of the stream |
//! | the first event of the epoch | one datagram; the sources' feeds go on in the memory they have |
//!
//! `seqcast drill run kill-primary --repeat 200` measures all of it. An outage there is the longest silence that begins before
//! the takeover has settled, 50 ms after everybody has heard of the new epoch: what the host takes away later is not
//! counted, but see what it took before the fault.
//!
//! # Suspecting others
//!
//! Clocks guard nothing here, and a silence proves nothing about a peer when the listener itself was asleep. That is what
//! [`StallTracker::stalled_longer_than`](crate::runtime::StallTracker::stalled_longer_than) is for: a suspicion is void
//! if the suspecting thread was away longer than its timeout.
