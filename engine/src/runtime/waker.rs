//! Waking a cold thread that rests.

use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// Wakes the thread that sleeps by it. Clones wake the same one.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<OnceLock<Thread>>);

impl Waker {
    /// From now on this thread is the one to wake, unless another was first.
    pub fn settle(&self) {
        let _ = self.0.set(thread::current());
    }

    /// Ends the thread's rest, or spares it the next one; does nothing before there is a thread. Costs a call of the kernel.
    pub fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_settled_is_woken() {
        let waker = Waker::default();
        waker.wake();
        let (settled, settling) = std::sync::mpsc::channel();
        let its = waker.clone();
        let thread = thread::spawn(move || {
            its.settle();
            settled.send(()).unwrap();
            // Not woken, it would sleep for good.
            thread::park();
        });
        settling.recv().unwrap();
        waker.settle();
        waker.wake();
        thread.join().unwrap();
    }
}
