//! When the kernel is asked what it dropped: a call that is worth making now and then only.

use crate::time::Nanos;

/// Each is asked once in this time.
const ASKED_EVERY: Nanos = Nanos::from_secs(1);

/// Whose turn it is to be asked: one call at a time, spread evenly.
#[derive(Debug, Default)]
pub(super) struct DropsTurn {
    due: Nanos,
    next: usize,
}

impl DropsTurn {
    /// The one of `count` to ask now, if it is time.
    pub(super) fn take(&mut self, now: Nanos, count: usize) -> Option<usize> {
        if now < self.due || count == 0 {
            return None;
        }
        let turn = self.next % count;
        self.due = now + Nanos(ASKED_EVERY.0 / count as u64);
        self.next = turn + 1;
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_once_a_second_in_turn() {
        let mut turn = DropsTurn::default();
        let asked: Vec<usize> = (0..3_000).filter_map(|ms| turn.take(Nanos::from_millis(ms), 4)).collect();
        assert_eq!(asked, [0, 1, 2, 3].repeat(3));
        assert_eq!(turn.take(Nanos::from_secs(100), 0), None);
        assert!(turn.take(Nanos::from_secs(100), 1).is_some(), "fewer than before");
    }
}
