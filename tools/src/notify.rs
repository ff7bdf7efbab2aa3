//! Telling the service manager that a process is ready, alive and stopping (the `sd_notify` protocol of systemd: a
//! datagram of `KEY=VALUE` lines to the socket that `$NOTIFY_SOCKET` names).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::output::say;

/// A watchdog is told so many times in its period: one that is missed is no death.
const BEATS: u32 = 4;

/// What the process tells its service manager; nothing where there is none.
pub(crate) struct Service {
    manager: Option<Manager>,
    watchdog: Option<Watchdog>,
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// Beats while the threads of the data path turn.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    due: Option<Instant>,
    seen: Vec<Option<u64>>,
}

impl Service {
    /// As the environment says.
    pub(crate) fn from_environment() -> Service {
        let variable = |name| env::var(name).ok();
        let watchdog =
            watchdog_period(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        Service::new(variable("NOTIFY_SOCKET").as_deref(), watchdog)
    }

    fn new(address: Option<&str>, watchdog: Option<Duration>) -> Service {
        let manager = address.and_then(|address| {
            let manager = Manager::at(address);
            manager.inspect_err(|error| say(format_args!("NOTIFY_SOCKET {address:?}: {error}"))).ok()
        });
        let watchdog = watchdog.filter(|_| manager.is_some()).map(Watchdog::new);
        Service { manager, watchdog }
    }

    /// All threads run.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The process comes to its end.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Now and then: `duty_cycles` tells how often each thread of the data path has turned so far.
    pub(crate) fn look(&mut self, now: Instant, duty_cycles: impl FnOnce() -> Vec<Option<u64>>) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.is_due(now)) else { return };
        if watchdog.on_duty_cycles(now, duty_cycles()) {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, what: &str) {
        let Some(Manager { socket, address }) = &self.manager else { return };
        // A manager that does not listen loses its beats, as it should: it is not for us to wait for it.
        if let Err(error) = socket.send_to_addr(what.as_bytes(), address) {
            say(format_args!("cannot tell the service manager {what}: {error}"));
        }
    }
}

impl Manager {
    fn at(address: &str) -> io::Result<Manager> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if address.starts_with('/') => SocketAddr::from_pathname(address)?,
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "neither a path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Manager { socket, address })
    }
}

impl Watchdog {
    fn new(period: Duration) -> Watchdog {
        Watchdog { every: period / BEATS, due: None, seen: Vec::new() }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// Whether all threads have turned since the last time; those that have ended need not.
    fn on_duty_cycles(&mut self, now: Instant, cycles: Vec<Option<u64>>) -> bool {
        self.due = Some(now + self.every);
        let stands = |(before, after): (&Option<u64>, &Option<u64>)| before.is_some() && before == after;
        let is_alive = !self.seen.iter().zip(&cycles).any(stands);
        self.seen = cycles;
        is_alive
    }
}

/// The period of the watchdog, if it is meant for the process `id`.
fn watchdog_period(microseconds: Option<String>, process: Option<String>, id: u32) -> Option<Duration> {
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    let is_ours = process.is_none_or(|process| process.parse() == Ok(id));
    is_ours.then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn beats_only_while_threads_turn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut service = Service::new(path.to_str(), Some(Duration::from_millis(400)));
        service.ready();
        assert_eq!(next(&manager), "READY=1");
        let began = Instant::now();
        let mut look = |ms, cycles: &[Option<u64>]| {
            let mut asked = false;
            service.look(began + Duration::from_millis(ms), || {
                asked = true;
                cycles.to_vec()
            });
            let told = manager.recv(&mut [0; 64]).is_ok();
            (asked, told)
        };
        assert_eq!(look(0, &[Some(1), Some(1)]), (true, true));
        assert_eq!(look(99, &[Some(2), Some(2)]), (false, false), "not due");
        assert_eq!(look(100, &[Some(3), Some(2)]), (true, true));
        assert_eq!(look(200, &[Some(4), Some(2)]), (true, false), "one stands still");
        assert_eq!(look(300, &[Some(5), Some(3)]), (true, true), "and goes on");
        assert_eq!(look(400, &[Some(6), None]), (true, true), "one has ended");
        assert_eq!(look(500, &[Some(7), None]), (true, true));
        service.stopping();
        assert_eq!(next(&manager), "STOPPING=1");
    }

    #[test]
    fn abstract_names_are_addresses_too() {
        let name = format!("seqcast-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Service::new(Some(&format!("@{name}")), None).ready();
        assert_eq!(next(&manager), "READY=1");
        assert!(Service::new(Some("nonsense"), None).manager.is_none());
        Service::new(None, None).ready();
    }

    #[test]
    fn the_watchdog_may_be_meant_for_another() {
        let period =
            |us: &str, process: Option<&str>| watchdog_period(Some(us.into()), process.map(str::to_owned), 7);
        assert_eq!(period("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!(period("2000000", Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(period("2000000", Some("8")), None);
        assert_eq!(
            (period("0", None), period("x", None), watchdog_period(None, None, 7)),
            (None, None, None)
        );
    }
}
