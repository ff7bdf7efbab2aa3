//! What the stream counts. Plain numbers; agents copy them into mapped counters.

/// What an [`Outbound`](super::Outbound) counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundStats {
    /// Datagrams written, of all kinds.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames in them.
    pub frames: u64,
    /// Datagrams without frames.
    pub heartbeats: u64,
    /// Datagrams with frames that had been sent before.
    pub repeated_datagrams: u64,
    /// Times that the stream was begun: the peer came, or came again with less.
    pub starts: u64,
    /// Times that frames were there but the window was full.
    pub window_waits: u64,
    /// Times that the next frame did not fit the buffer: the stream stands still. See
    /// [`max_message_bytes`](super::max_message_bytes).
    pub oversize: u64,
    /// Images written.
    pub images: u64,
    /// Acknowledgements of this epoch.
    pub acks: u64,
    /// Acknowledgements overtaken by later ones.
    pub overtaken_acks: u64,
    /// Acknowledgements of other epochs.
    pub other_epoch_acks: u64,
    /// Acknowledgements of another session or node, or of what was never sent.
    pub foreign_acks: u64,
}

/// What an [`Inbound`](super::Inbound) counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundStats {
    /// Datagrams of the primary that is followed, in its epoch.
    pub datagrams: u64,
    /// Frames appended to the journal.
    pub appended: u64,
    /// Frames that were in the journal before and proved to be the primary's.
    pub verified: u64,
    /// Times that a tail which the primary does not have was cut off.
    pub cuts: u64,
    /// Datagrams that came before their turn and were kept.
    pub early_datagrams: u64,
    /// Datagrams that came before their turn and found no place.
    pub dropped_datagrams: u64,
    /// Times that the journal had no room: the frames wait.
    pub no_room: u64,
    /// Datagrams of another session.
    pub foreign_datagrams: u64,
    /// Datagrams of an epoch below the one promised.
    pub stale_datagrams: u64,
    /// Datagrams of an epoch that is not followed yet.
    pub higher_epoch_datagrams: u64,
    /// Datagrams in the epoch followed from somebody who is not its primary.
    pub not_primary_datagrams: u64,
    /// Datagrams with bytes that are no frame.
    pub damaged_datagrams: u64,
    /// Datagrams that contradict what was verified.
    pub divergences: u64,
    /// Images in the epoch followed that are for another incarnation, or reach no further than what is verified.
    pub useless_images: u64,
    /// Acknowledgements written.
    pub acks: u64,
}
