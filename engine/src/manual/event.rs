//! The path of an event: from a publisher's message to a changed book.
//!
//! ```text
//!  publisher           sequencer: thread "order"          thread "lines"           subscriber
//!  ─────────           ─────────────────────────          ──────────────           ──────────
//!  Script              feed::Receiver (one a source)      journal::Cursor          feed::Receiver
//!    │ history           │ next in order                    │ below "committed"      │ next in order
//!    ▼                   ▼                                   ▼                        ▼
//!  downstream::Sender  Sequencer::admit ─► ring ─► Journal  downstream::Sender      ring ─► Books ─► Application
//!    │                   ▲                   │ "appended"   │                        ▲
//!    ▼                   │                   ▼              ▼                        │
//!  datagrams, lines ─────┘            commit gate ─► "committed"  datagrams, lines ──┘
//! ```
//!
//! 1. **A publisher** numbers the message in its own session, keeps it in its history and packs it, with whatever else
//!    is due, into the driver's memory. One buffer goes out on all lines.
//! 2. **The sequencer's ingress** has one [`feed::Receiver`](crate::feed::Receiver) for each source. The first copy of a
//!    message wins, whichever line brings it; a hole is requested from the publisher's address once every line that is
//!    heard has passed it, or after the little time that a slower line deserves. What is next in order goes on; what is early is stashed.
//! 3. **[`Sequencer::admit`](crate::sequencer::Sequencer::admit)** says what becomes of it: a frame, a duplicate, or
//!    refused. For a frame a slot of the [broadcast ring](crate::ring::broadcast) is claimed and the message copied into
//!    it, sealed with its number, epoch, event time, source and check sums: that is the one copy of this step. A full
//!    ring or a closed [gate](crate::replica::CommitGate) refuses; the source's receiver keeps the message and offers
//!    it again, so back-pressure ends at the publisher, not in a loss.
//! 4. **The journal's agent** copies the frame from the ring to a prepared segment, which is mapped memory: no system
//!    call. That moves the watermark *appended*; a cold thread syncs and moves *durable*.
//! 5. **The commit gate** moves *committed* once every member of the in-sync set has the frame, in memory or on disk as
//!    configured. Publishers are told what of theirs is committed; until then they keep it.
//! 6. **The egress** reads the journal in place, up to *committed*, packs datagrams and sends them on all lines. So does
//!    the rewind server for requests, and the snapshot server, on a cold thread, for the books it sends to late joiners.
//!    Nobody outside ever sees a message that is not committed.
//! 7. **A subscriber** receives like the ingress does, from the feed's lines and rewind servers, into a ring of its own.
//! 8. **The book agent** takes what is in that ring, a batch of messages at most, applies them to the [books](crate::book),
//!    which look ahead over the batch, and tells the application of each. A lone message is applied at once.
//!    When the books cannot be whole (a range is lost for good, two messages came under one number) it says so and says
//!    nothing of books until a snapshot has replaced them.
//!
//! # Which threads
//!
//! The agents of steps 3 and 4 take turns on one thread (`order`), those of step 6 on another (`lines`), a subscriber has
//! two (`receive`, `books`), a publisher one. What may block has threads of its own that are never urgent: keeping the
//! journal (preparing segments, syncing, deleting), snapshots, joining. `[[runtime.thread]]` in the configuration
//! lays the agents of the data path out otherwise, one to a core or several to one; and
//! [`Node::take_hot`](crate::topology::Node::take_hot) makes one agent of all, to be driven by hand.
//!
//! # Measuring it
//!
//! [`StageStamps`](crate::stat::StageStamps) note, when they are hung on the agents of one process, when each message was
//! scheduled, sent, admitted, published, received and applied, so that a latency can be told by stage. *Scheduled* is
//! when an open-loop load wanted the message to leave, whether it did or not: a stall is then counted for every message
//! that waited, not once.
