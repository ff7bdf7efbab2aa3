use crossbeam::utils::CachePadded;
use seqcast_wire::SeqNo;

use super::{Arc, AtomicU64, Ordering};

/// A [`SeqNo`] that one agent raises and others read: everything below it is done.
///
/// Clones share the number. Whoever reads a value also sees everything that was written before that value was
/// set. The number alone fills its cache lines, so that raising one watermark does not slow the readers of another.
#[derive(Clone, Debug)]
pub struct Watermark(Arc<CachePadded<AtomicU64>>);

impl Watermark {
    /// A watermark at [`SeqNo::FIRST`]: nothing is done yet.
    pub fn new() -> Watermark {
        Watermark::starting_at(SeqNo::FIRST)
    }

    /// A watermark at `seq`: a journal that was opened again starts where it ended.
    pub fn starting_at(seq: SeqNo) -> Watermark {
        Watermark(Arc::new(CachePadded::new(AtomicU64::new(seq.value()))))
    }

    /// Raises the watermark to `seq`; a lower or equal one changes nothing and costs one load.
    ///
    /// Meant for one agent; should two raise it, the highest wins.
    pub fn advance(&self, seq: SeqNo) {
        if seq.value() > self.0.load(Ordering::Relaxed) {
            self.0.fetch_max(seq.value(), Ordering::Release);
        }
    }

    /// Where the watermark is.
    pub fn load(&self) -> SeqNo {
        SeqNo::new(self.0.load(Ordering::Acquire)).unwrap_or(SeqNo::FIRST)
    }
}

impl Default for Watermark {
    fn default() -> Watermark {
        Watermark::new()
    }
}

/// A signal that is raised once and stays raised: stop, closed, failed.
///
/// Clones share it. Whoever sees it raised also sees everything written before.
#[derive(Clone, Debug)]
pub struct Flag(Arc<CachePadded<AtomicU64>>);

impl Flag {
    /// A flag that is not raised.
    pub fn new() -> Flag {
        Flag(Arc::new(CachePadded::new(AtomicU64::new(0))))
    }

    /// Raises the flag, for good.
    pub fn raise(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

impl Default for Flag {
    fn default() -> Flag {
        Flag::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    #[test]
    fn a_watermark_only_rises_and_clones_share_it() {
        let watermark = Watermark::new();
        let reader = watermark.clone();
        assert_eq!(reader.load(), SeqNo::FIRST);
        watermark.advance(seq(7));
        watermark.advance(seq(3));
        assert_eq!(reader.load(), seq(7));
        assert_eq!(Watermark::starting_at(seq(9)).load(), seq(9));
    }

    #[test]
    fn a_flag_stays_raised_for_every_clone() {
        let flag = Flag::new();
        let other = flag.clone();
        assert!(!other.is_raised());
        flag.raise();
        flag.raise();
        assert!(other.is_raised());
    }
}
