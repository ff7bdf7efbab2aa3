//! The ring itself: made with the best flags the kernel has, entered only when there is reason to, closed only when
//! nothing is in flight.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::opcode::AsyncCancel2;
use io_uring::{EnterFlags, IoUring, cqueue, squeue, types};

use crate::limits::MAX_ENDPOINTS;

/// Registered file that outlives every request: see [`Ring::close`].
const WITNESS: u32 = MAX_ENDPOINTS as u32;
/// How long a ring that was used on another thread may take to end.
const CLOSING: Duration = Duration::from_secs(1);
/// How often a ring of this thread may wait for completions, and how long each time.
const CLOSING_WAITS: usize = 100;
const CLOSING_WAIT_NS: u32 = 10_000_000;

/// An io_uring, its sockets as registered files. It belongs to the thread that calls [`Ring::enable`].
///
/// Its own descriptor is not registered: that saves some 20 of the 230 ns of an empty call, but the thread would hold
/// the ring, and with it every socket, until it ends, whoever drops the driver.
pub(super) struct Ring {
    ring: IoUring,
    enabled: bool,
    /// Our end of a socket pair whose other end only the ring holds.
    witness: UnixStream,
}

impl Ring {
    /// A ring with room for `submissions` and `completions`, not yet enabled.
    ///
    /// # Errors
    /// Why the kernel does not let us have one, in words.
    pub(super) fn new(submissions: usize, completions: usize) -> io::Result<Ring> {
        let submissions = submissions.next_power_of_two() as u32;
        let completions = completions.next_power_of_two() as u32;
        let ring = build(submissions, completions)?;
        ring.submitter().register_files_sparse(WITNESS + 1).map_err(explain)?;
        let (witness, other) = UnixStream::pair()?;
        witness.set_read_timeout(Some(CLOSING))?;
        let ring = Ring { ring, enabled: false, witness };
        ring.register_file(WITNESS, other.as_raw_fd())?;
        Ok(ring)
    }

    /// Lets `types::Fixed(index)` name the file; the ring keeps it open.
    pub(super) fn register_file(&self, index: u32, fd: RawFd) -> io::Result<()> {
        self.ring.submitter().register_files_update(index, &[fd]).map(drop)
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// `base` starts a page and holds `entries` entries; that memory outlives this ring and everything in flight.
    pub(super) unsafe fn register_buffers(&self, base: *mut u8, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: what the caller promises.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(base as u64, entries, group, 0) }
            .map_err(explain)
    }

    /// From here on the ring is this thread's: it is made on one thread and mostly used on another, while the kernel
    /// takes entries of a single one. A second call does nothing.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings().map_err(explain)?;
            self.enabled = true;
        }
        Ok(())
    }

    /// Queues an entry; false when the submission queue is full. Nothing happens before [`Ring::enter`].
    ///
    /// # Safety
    /// All memory that the entry points to stays valid, and is not touched where the kernel may write or written
    /// where it may read, until its completion was popped.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the caller promises.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// The next completion, if the kernel has posted one.
    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Whether the kernel has work that waits for us to enter: something has happened at a socket.
    pub(super) fn has_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    /// Whether we have entries for the kernel.
    pub(super) fn has_entries(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Whether there is any reason to enter.
    pub(super) fn wants_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || !queue.is_empty() || queue.cq_overflow()
    }

    /// Submits what is queued and runs what the kernel has deferred to this thread. Never blocks. Where the kernel is
    /// short of memory or of completion entries, what is queued stays queued.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: no argument is passed, and what the queued entries point to is promised at `push`.
        match unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, flags, None) } {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                Some(libc::EEXIST) => Err(io::Error::new(
                    error.kind(),
                    "a uring driver belongs to the thread that polled it first, and was used on another",
                )),
                _ => Err(error),
            },
        }
    }

    /// Submits what is queued and waits a moment for a completion, at closing.
    fn wait(&mut self) -> io::Result<()> {
        let moment = types::Timespec::new().nsec(CLOSING_WAIT_NS);
        let arguments = types::SubmitArgs::new().timespec(&moment);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Cancels everything, hands the last completions to `is_idle` until it says that nothing is in flight any more,
    /// and closes the ring. True when the kernel will not touch our memory again.
    pub(super) fn close<F: FnMut(Option<&cqueue::Entry>) -> bool>(mut self, mut is_idle: F) -> bool {
        let idle = !self.enabled || self.drain(&mut is_idle);
        if idle {
            // Closes the sockets now; a closed ring would do so some milliseconds later.
            let _ = self.ring.submitter().unregister_files();
        }
        let Ring { ring, mut witness, .. } = self;
        drop(ring);
        // Not idle: this was not the ring's thread, or the kernel did not answer. It cancels on its own once the
        // ring is closed, lets go of registered files after the last request, and then we read the stream's end.
        idle || matches!(witness.read(&mut [0]), Ok(0))
    }

    fn drain<F: FnMut(Option<&cqueue::Entry>) -> bool>(&mut self, is_idle: &mut F) -> bool {
        let mut idle = is_idle(None);
        let all = AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(u64::MAX);
        // SAFETY: a cancellation points to no memory.
        if idle || !unsafe { self.push(&all) } {
            return idle;
        }
        for _ in 0..CLOSING_WAITS {
            if idle || self.wait().is_err() {
                break;
            }
            while let Some(entry) = self.pop() {
                idle = is_idle(Some(&entry));
            }
        }
        idle
    }
}

/// Tries the flags from the best to what every kernel with multishot receives has (6.0).
fn build(submissions: u32, completions: u32) -> io::Result<IoUring> {
    type Flags = fn(&mut io_uring::Builder);
    let attempts: [Flags; 3] = [
        |builder| {
            builder.setup_defer_taskrun().setup_no_sqarray();
        },
        |builder| {
            builder.setup_defer_taskrun();
        },
        |builder| {
            builder.setup_coop_taskrun();
        },
    ];
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for flags in attempts {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_clamp()
            .setup_cqsize(completions);
        flags(&mut builder);
        match builder.build(submissions) {
            Ok(ring) => return Ok(ring),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(explain(error)),
        }
    }
    Err(explain(refused))
}

/// What the kernel's refusal means.
fn explain(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here (sysctl kernel.io_uring_disabled, or a container's seccomp profile)"
        }
        Some(libc::ENOSYS) => "this kernel has no io_uring, or a container hides it",
        Some(libc::EINVAL) => "this kernel's io_uring is too old: 6.0 is needed, 6.6 is better",
        Some(libc::ENOMEM) => "io_uring got no memory: raise the limit of locked memory (`ulimit -l`)",
        _ => "io_uring failed",
    };
    io::Error::new(error.kind(), format!("{why}: {error}"))
}
