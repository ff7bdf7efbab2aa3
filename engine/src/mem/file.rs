//! The few calls on files that the standard library lacks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const MODE: u32 = 0o640;
/// A process that was killed just now, or the child of a fork before it runs its program, holds a lock for a moment.
const CLAIM_ATTEMPTS: u32 = 10;
const CLAIM_PAUSE: Duration = Duration::from_millis(20);
/// Of who holds a lock, so much is read.
const HOLDER_BYTES: u64 = 256;

/// What came of [`claim`].
#[derive(Debug)]
pub enum Claim {
    /// The lock is this process's for as long as the file is open.
    Taken(File),
    /// Somebody else has it.
    Held {
        /// Who, as far as is known.
        by: String,
    },
}

/// Takes the lock of the file at `path`, which is made when it is missing, and writes down who did.
///
/// # Errors
/// What the system refused.
pub fn claim(path: &Path) -> io::Result<Claim> {
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
    let mut attempts = CLAIM_ATTEMPTS;
    while !try_lock(&lock)? {
        attempts -= 1;
        if attempts == 0 {
            return Ok(Claim::Held { by: holder(&lock) });
        }
        thread::sleep(CLAIM_PAUSE);
    }
    let program = std::env::args_os().next().map(PathBuf::from);
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default().display().to_string();
    let holder = format!("process {} ({program})\n", std::process::id());
    // Who holds it is a courtesy: a disk that is too full to say so keeps nobody from working.
    let _ = lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes()));
    Ok(Claim::Taken(lock))
}

/// Who holds `lock`, a file that was claimed.
pub fn holder(lock: &File) -> String {
    let mut holder = String::new();
    let _ = lock.take(HOLDER_BYTES).read_to_string(&mut holder);
    match holder.trim() {
        "" => "another process".into(),
        holder => holder.into(),
    }
}

/// Takes the exclusive lock of `file`, which is open for writing, for as long as it is open. Gives whether it was free.
///
/// The lock keeps two processes from writing to one journal. It is no leadership: a stopped process keeps it.
///
/// # Errors
/// When the file system knows no locks.
#[cfg(target_os = "linux")]
pub fn try_lock(file: &File) -> io::Result<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: `fcntl` takes a descriptor, which `file` keeps open, and a lock description that outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Whether somebody holds the lock of `file`, without taking it.
///
/// # Errors
/// When the file system knows no locks.
#[cfg(target_os = "linux")]
pub fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: as in `try_lock`; the kernel writes its answer into `lock`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_os = "linux")]
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the exclusive lock of `file` for as long as it is open. Gives whether it was free.
///
/// # Errors
/// When the file system knows no locks.
#[cfg(not(target_os = "linux"))]
pub fn try_lock(file: &File) -> io::Result<bool> {
    flock(file, libc::LOCK_EX)
}

/// Whether somebody holds the lock of `file`.
///
/// # Errors
/// When the file system knows no locks.
#[cfg(not(target_os = "linux"))]
pub fn is_locked(file: &File) -> io::Result<bool> {
    Ok(!flock(file, libc::LOCK_SH)?)
}

#[cfg(not(target_os = "linux"))]
fn flock(file: &File, kind: libc::c_int) -> io::Result<bool> {
    // SAFETY: `flock` takes a descriptor, which `file` keeps open, and touches no memory of ours.
    if unsafe { libc::flock(file.as_raw_fd(), kind | libc::LOCK_NB) } == 0 {
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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(dir.path().join("lock")).unwrap()
        };
        let (first, second) = (open(), open());
        assert!(!is_locked(&second).unwrap());
        assert!(try_lock(&first).unwrap());
        assert!(!try_lock(&second).unwrap());
        let reader = File::open(dir.path().join("lock")).unwrap();
        assert!(is_locked(&reader).unwrap());
        drop(first);
        assert!(!is_locked(&reader).unwrap());
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn a_claim_names_its_holder_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let Claim::Taken(first) = claim(&path).unwrap() else { panic!("nobody else") };
        let Claim::Held { by } = claim(&path).unwrap() else { panic!("held") };
        assert!(by.starts_with(&format!("process {} (", std::process::id())), "{by}");
        drop(first);
        assert!(matches!(claim(&path).unwrap(), Claim::Taken(_)));
        assert_eq!(claim(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn reserving_extends_the_file() {
        let file = tempfile::tempfile().unwrap();
        reserve(&file, 12_345).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 12_345);
    }
}
