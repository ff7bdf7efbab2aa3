use std::path::PathBuf;

/// A message and, if the source knows, when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Nanoseconds on the source's own clock: since midnight in ITCH messages, since 1970 in captures.
    pub stamp_ns: Option<u64>,
    /// The message, without length prefix.
    pub bytes: &'a [u8],
}

/// Messages in their order. Lends each, so it is no `Iterator`.
pub trait Messages: Send {
    /// Goes to the next message; `false`, now and ever after, when there is none.
    ///
    /// # Errors
    /// The source cannot be read any further. All before was given; nothing follows.
    fn advance(&mut self) -> Result<bool, SourceError>;

    /// The message that [`Messages::advance`] went to; an empty one before the first and after the last.
    fn current(&self) -> Message<'_>;

    /// What somebody who relies on the source should know, once it has ended: what it lacked or left out.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<M: Messages + ?Sized> Messages for Box<M> {
    fn advance(&mut self) -> Result<bool, SourceError> {
        (**self).advance()
    }

    fn current(&self) -> Message<'_> {
        (**self).current()
    }

    fn notices(&self) -> Vec<String> {
        (**self).notices()
    }
}

/// Why a source ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file system refused.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What it said.
        cause: std::io::Error,
    },
    /// The file is not whole.
    #[error("{what}; all before it was given")]
    CutOff {
        /// What is wrong, and where.
        what: String,
    },
    /// A capture is cut off or damaged.
    #[error(transparent)]
    Capture(#[from] seqcast_engine::io::pcap::CaptureError),
    /// There is nothing in it that could be played.
    #[error("{what}")]
    Nothing {
        /// What there is instead, and what to do.
        what: String,
    },
}
