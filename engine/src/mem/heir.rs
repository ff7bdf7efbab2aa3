//! An heir for the process's memory, so that a killed process is missed at once.
//!
//! When a process is killed the kernel gives its memory back first and closes its files after that. A hundred mebibytes
//! take about ten milliseconds, and only then do its TCP peers read the end that tells them of its death. The heir is a
//! second process that shares the memory and nothing else, no file above all. It keeps the memory alive while the
//! files of the dead are closed, and ends a moment later.
//!
//! The files are closed by the last thread that dies, and threads die in any order, each when it gets a processor: so the
//! heir waits for the end of the whole process, and then hurries: an io_uring that is mapped into the memory lives as long
//! as that, and with it the UDP sockets that whoever is started next has to bind. The signal that the system sends at the death of a parent
//! (`PR_SET_PDEATHSIG`) comes when the one *thread* dies that made the heir, which may be the first.

use std::ffi::{c_int, c_void};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// More than the few calls that it makes need.
const STACK_BYTES: usize = 64 << 10;
/// How long it may take to begin.
const ATTEMPTS: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(1);

/// The nicest there is.
const LEAST_URGENT: c_int = 19;

/// What the heir has done so far.
const BEGUN: u32 = 0;
const READY: u32 = 1;
const FAILED: u32 = 2;

/// What the heir is told.
struct Will {
    /// The process that it outlives.
    of: u32,
    progress: AtomicU32,
}

/// Gives this process an heir. Call it at the start, on the thread that lives as long as the process does, before sockets
/// are opened: files that are open now are not kept by it either way, but threads started before may miss it.
///
/// # Errors
/// What the system refused. The process can do without: its death is noticed later.
pub fn appoint() -> io::Result<()> {
    // Both stay for good: the heir uses them for as long as this process lives, and a little longer.
    let will: &'static Will =
        Box::leak(Box::new(Will { of: std::process::id(), progress: AtomicU32::new(BEGUN) }));
    let stack = vec![0_u128; STACK_BYTES / size_of::<u128>()].leak();
    let top = stack.as_mut_ptr_range().end;
    let argument = std::ptr::from_ref(will).cast_mut().cast::<c_void>();
    let blocked = Blocked::all()?;
    // SAFETY: the heir runs `inherit` on a stack of its own, which is aligned, large enough and never freed, and reads
    // `will`, which is never freed either and is shared through an atomic only. It makes system calls and nothing else, so
    // that it needs no thread-local storage of its own.
    let pid = unsafe { libc::clone(inherit, top.cast(), libc::CLONE_VM, argument) };
    let begun = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    drop(blocked);
    begun?;
    for _ in 0..ATTEMPTS {
        match will.progress.load(Ordering::Acquire) {
            READY => return Ok(()),
            FAILED => return Err(io::ErrorKind::Unsupported.into()),
            _ => thread::sleep(PAUSE),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The heir's life. It shares the thread-local storage of the thread that made it, where a failing call leaves its reason:
/// so nothing here may fail once that thread goes on.
extern "C" fn inherit(will: *mut c_void) -> c_int {
    // SAFETY: `appoint` hands in a will that lives for good.
    let will = unsafe { &*will.cast::<Will>() };
    // SAFETY: plain system calls on numbers; the name is a C string, and `parent` one `pollfd` on the heir's own stack.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, c"seqcast-heir".as_ptr(), 0, 0, 0);
        // Giving the memory back takes a core for milliseconds, in which others may want to take over.
        libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, LEAST_URGENT);
        let is_closed = libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) == 0;
        let fd = if is_closed { libc::syscall(libc::SYS_pidfd_open, will.of, 0) } else { -1 };
        // Who died before that may have left its number to another.
        let is_orphan = libc::syscall(libc::SYS_getppid) != libc::c_long::from(will.of);
        let is_ready = fd >= 0 && !is_orphan;
        will.progress.store(if is_ready { READY } else { FAILED }, Ordering::Release);
        // Readable when the last thread of the process has died.
        let mut parent = libc::pollfd { fd: fd as c_int, events: libc::POLLIN, revents: 0 };
        while is_ready && parent.revents == 0 {
            libc::syscall(libc::SYS_ppoll, &raw mut parent, 1, 0, 0, 0);
        }
        libc::syscall(libc::SYS_exit, 0);
    }
    0
}

/// All signals are blocked, so that the heir, which is made meanwhile, never runs this process's handlers.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> io::Result<Blocked> {
        let mut before = std::mem::MaybeUninit::uninit();
        let mut all = std::mem::MaybeUninit::uninit();
        // SAFETY: `sigfillset` initialises the set that it is given, and `pthread_sigmask` the one that it writes.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Blocked(before.assume_init())),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that `pthread_sigmask` wrote.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use super::*;

    const PLAYED: &str = "SEQCAST_TEST_OF_THE_HEIR";
    const BOUND: Duration = Duration::from_secs(60);

    /// Played by a process of its own, that is to be killed: this test again.
    #[allow(clippy::print_stdout)]
    fn play() {
        appoint().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        println!("\nport {}", listener.local_addr().unwrap().port());
        let _connection = listener.accept().unwrap();
        loop {
            thread::park();
        }
    }

    /// Numbers of the processes whose parent is `parent`.
    fn children_of(parent: u32) -> Vec<u32> {
        let numbers = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let is_child = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
            fields.nth(1).and_then(|field| field.parse().ok()) == Some(parent)
        };
        numbers.filter(is_child).collect()
    }

    fn start() -> (Child, TcpStream) {
        let this = std::env::current_exe().unwrap();
        let mut player = Command::new(this)
            .args([
                "--exact",
                "mem::heir::tests::the_heir_shares_the_memory_and_ends_with_its_process",
                "--nocapture",
            ])
            .env(PLAYED, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(player.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = said.filter_map(|line| line.strip_prefix("port ")?.parse::<u16>().ok()).next().unwrap();
        (player, TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    #[test]
    fn the_heir_shares_the_memory_and_ends_with_its_process() {
        if std::env::var_os(PLAYED).is_some() {
            play();
        }
        let (mut player, mut connection) = start();
        let [heir] = children_of(player.id())[..] else { panic!("one heir") };
        let comm = std::fs::read_to_string(format!("/proc/{heir}/comm")).unwrap();
        assert_eq!(comm, "seqcast-heir\n");
        let open = std::fs::read_dir(format!("/proc/{heir}/fd")).unwrap().map(Result::unwrap);
        let open: Vec<_> = open.map(|file| std::fs::read_link(file.path()).unwrap()).collect();
        assert!(
            matches!(&open[..], [of] if of.ends_with("anon_inode:[pidfd]")),
            "it keeps no file: {open:?}"
        );
        let maps = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        assert_eq!(maps(heir), maps(player.id()), "it keeps the memory");
        player.kill().unwrap();
        // A reset is an end too.
        assert!(matches!(connection.read(&mut [0]), Ok(0) | Err(_)));
        player.wait().unwrap();
        let began = Instant::now();
        while std::fs::exists(format!("/proc/{heir}")).unwrap() {
            assert!(began.elapsed() < BOUND, "the heir lives on");
            thread::yield_now();
        }
    }
}
