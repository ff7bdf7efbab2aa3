use std::collections::BTreeMap;

use seqcast_wire::SeqNo;
use seqcast_wire::mold::{Downstream, Kind};

/// Bytes of datagrams kept while an earlier one is missing. Later than that it does not come in any capture.
const MOST_STASHED_BYTES: usize = 32 << 20;

/// Brings the datagrams of one session, from any number of lines, back into order: each message once.
#[derive(Debug)]
pub(crate) struct Ordered {
    next: Option<SeqNo>,
    /// The highest number any datagram gave as the next one.
    announced: SeqNo,
    stash: BTreeMap<SeqNo, Box<[u8]>>,
    stashed_bytes: usize,
    lost: u64,
}

impl Ordered {
    pub(crate) fn new() -> Ordered {
        Ordered { next: None, announced: SeqNo::FIRST, stash: BTreeMap::new(), stashed_bytes: 0, lost: 0 }
    }

    /// Messages that are in no datagram, so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a datagram (`payload` is what `datagram` was parsed from) and hands on what is in order now.
    pub(crate) fn on_datagram<E>(
        &mut self,
        datagram: &Downstream<'_>,
        payload: &[u8],
        mut on_message: impl FnMut(SeqNo, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.announced = self.announced.max(datagram.next());
        if !matches!(datagram.kind(), Kind::Data(_)) {
            return Ok(());
        }
        let next = *self.next.get_or_insert(datagram.first());
        if datagram.first() > next {
            // Lines may cut the feed into datagrams differently: the longer one holds the shorter.
            let kept = self.stash.get(&datagram.first()).map_or(0, |kept| kept.len());
            if payload.len() > kept {
                self.stashed_bytes += payload.len() - kept;
                self.stash.insert(datagram.first(), payload.into());
            }
            if self.stashed_bytes > MOST_STASHED_BYTES {
                self.give_up_gap();
                self.drain(&mut on_message)?;
            }
            return Ok(());
        }
        self.deliver(datagram, &mut on_message)?;
        self.drain(&mut on_message)
    }

    /// Hands on what is left, and counts what never came.
    pub(crate) fn finish<E>(
        &mut self,
        mut on_message: impl FnMut(SeqNo, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !self.stash.is_empty() {
            self.give_up_gap();
            self.drain(&mut on_message)?;
        }
        if let Some(next) = self.next {
            self.lost += self.announced.since(next);
        }
        Ok(())
    }

    fn give_up_gap(&mut self) {
        if let (Some(next), Some((&first, _))) = (self.next, self.stash.first_key_value()) {
            self.lost += first.since(next);
            self.next = Some(first.max(next));
        }
    }

    fn drain<E>(&mut self, on_message: &mut impl FnMut(SeqNo, &[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(entry) = self.stash.first_entry() {
            if self.next.is_some_and(|next| *entry.key() > next) {
                break;
            }
            let payload = entry.remove();
            self.stashed_bytes -= payload.len();
            if let Ok(datagram) = Downstream::parse(&payload) {
                self.deliver(&datagram, on_message)?;
            }
        }
        Ok(())
    }

    fn deliver<E>(
        &mut self,
        datagram: &Downstream<'_>,
        on_message: &mut impl FnMut(SeqNo, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut seq = datagram.first();
        for message in datagram.messages() {
            if self.next.is_none_or(|next| seq >= next) {
                self.next = Some(seq.next());
                on_message(seq, message)?;
            }
            seq = seq.next();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use seqcast_wire::Session;
    use seqcast_wire::mold::{self, Packer};

    use super::*;

    fn datagram(first: u64, count: u64) -> Vec<u8> {
        let mut buffer = vec![0; 2_000];
        let mut packer = Packer::new(&mut buffer, Session::BLANK, SeqNo::new(first).unwrap()).unwrap();
        for seq in first..first + count {
            assert!(packer.try_push(&seq.to_be_bytes()));
        }
        let bytes = packer.finish();
        buffer.truncate(bytes);
        buffer
    }

    fn order(datagrams: &[Vec<u8>]) -> (Vec<u64>, u64) {
        let (mut ordered, mut seen) = (Ordered::new(), Vec::new());
        let mut note = |seq: SeqNo, message: &[u8]| {
            assert_eq!(message, seq.value().to_be_bytes());
            seen.push(seq.value());
            Ok::<(), Infallible>(())
        };
        for bytes in datagrams {
            let Ok(()) = ordered.on_datagram(&Downstream::parse(bytes).unwrap(), bytes, &mut note);
        }
        let Ok(()) = ordered.finish(&mut note);
        (seen, ordered.lost())
    }

    #[test]
    fn two_lines_make_one_feed() {
        let (a, b) = (datagram(5, 3), datagram(8, 2));
        assert_eq!(order(&[a.clone(), a.clone(), b.clone(), b.clone()]), ((5..10).collect(), 0));
        assert_eq!(order(&[datagram(5, 1), b.clone(), b, a]), ((5..10).collect(), 0));
        assert_eq!(order(&[datagram(1, 3), datagram(2, 5), datagram(4, 1)]), ((1..7).collect(), 0));
    }

    #[test]
    fn what_never_comes_is_counted() {
        assert_eq!(order(&[datagram(1, 2), datagram(5, 2), datagram(9, 1)]), (vec![1, 2, 5, 6, 9], 4));
        let mut heartbeat = vec![0; 20];
        mold::emit_heartbeat(&mut heartbeat, Session::BLANK, SeqNo::new(7).unwrap());
        assert_eq!(order(&[datagram(1, 2), heartbeat.clone()]), (vec![1, 2], 4));
        assert_eq!(order(&[heartbeat]), (vec![], 0), "a capture may begin anywhere");
    }

    #[test]
    fn the_stash_is_bounded() {
        let mut datagrams = vec![datagram(1, 1)];
        datagrams.extend((0..40_000).map(|n| datagram(3 + 100 * n, 100)));
        let (seen, lost) = order(&datagrams);
        assert_eq!((seen.len(), lost), (4_000_001, 1));
    }
}
