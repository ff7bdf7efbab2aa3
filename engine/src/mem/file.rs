//! The few calls on files that the standard library lacks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes the exclusive lock of `file` for as long as it is open. Gives whether it was free.
///
/// The lock keeps two processes from writing to one journal. It is no leadership: a stopped process keeps it.
///
/// # Errors
/// When the file system knows no locks.
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: `flock` takes a descriptor, which `file` keeps open, and touches no memory of ours.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        error => Err(error),
    }
}

/// Reserves the first `bytes` bytes of `file` on its disk and extends it to them. File systems that cannot reserve
/// only extend it.
///
/// # Errors
/// `StorageFull`, `QuotaExceeded` and what else the kernel refuses.
#[cfg(target_os = "linux")]
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let Ok(len) = libc::off_t::try_from(bytes) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    loop {
        // SAFETY: `fallocate` takes a descriptor, which `file` keeps open, and touches no memory of ours.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP) => return file.set_len(bytes),
            _ => return Err(error),
        }
    }
}

/// Extends `file` to `bytes` bytes; the caller writes them to have them reserved.
///
/// # Errors
/// What the kernel refuses.
#[cfg(not(target_os = "linux"))]
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)
}
