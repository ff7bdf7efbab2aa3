use zerocopy::{Immutable, IntoBytes};

/// Messages made and not yet handed out, as BinaryFILE records (u16 length, message) in one buffer that is reused.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    records: Vec<u8>,
    at: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, message: &(impl IntoBytes + Immutable)) {
        let bytes = message.as_bytes();
        self.records.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        self.records.extend_from_slice(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.records.len()
    }

    /// Forgets what was handed out; called when empty, so that the buffer never grows beyond one event.
    pub(super) fn recycle(&mut self) {
        self.records.clear();
        self.at = 0;
    }

    pub(super) fn pop(&mut self) -> Option<&[u8]> {
        let (length, rest) = self.records.get(self.at..)?.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        self.at += 2 + length;
        rest.get(..length)
    }
}
