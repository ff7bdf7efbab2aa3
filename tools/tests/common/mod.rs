//! Whole `seqcast` processes, each test with its own directory, groups, ports and journal.
//!
//! Nothing here waits for a fixed time: a wait looks for what it waits for, and gives up loudly after [`BOUND`].

// Every test takes what it needs, and none is a library.
#![allow(dead_code, unreachable_pub)]

pub mod nodes;

use std::fmt::Write as _;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything.
pub const BOUND: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// Session of the ordered feed.
pub const FEED: &str = "FEED000001";

/// Where the processes of one test meet.
pub struct Site {
    dir: TempDir,
    /// Lines of the ordered feed.
    pub feed: Vec<SocketAddrV4>,
    /// The sequencer's rewind server.
    pub rewind: SocketAddrV4,
    /// The sequencer's snapshot server.
    pub snapshot: SocketAddrV4,
    /// The publishers.
    pub sources: Vec<Source>,
}

/// A publisher of a [`Site`].
#[derive(Clone)]
pub struct Source {
    pub session: String,
    pub lines: Vec<SocketAddrV4>,
    pub rewind: SocketAddrV4,
    /// Whether it is one that takes acknowledgements.
    pub acknowledge: bool,
}

impl Site {
    /// A sequencer with so many publishers, two lines each.
    pub fn new(sources: usize) -> Site {
        let mut ports = free_ports(4 + 3 * sources).into_iter();
        let mut port = move || ports.next().expect("enough ports were asked for");
        let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut lines =
            |count| (0..count).map(|_| SocketAddrV4::new(free_group(), port())).collect::<Vec<_>>();
        let feed = lines(2);
        let source_lines: Vec<_> = (0..sources).map(|_| lines(2)).collect();
        let source = |(at, lines)| Source {
            session: format!("PUB{:07}", at + 1),
            lines,
            rewind: local(port()),
            acknowledge: true,
        };
        let sources = source_lines.into_iter().enumerate().map(source).collect();
        let [rewind, snapshot] = free_ports(2)[..] else { unreachable!("two ports were asked for") };
        let dir = TempDir::new().expect("a temporary directory");
        Site { dir, feed, rewind: local(rewind), snapshot: local(snapshot), sources }
    }

    /// A file in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.path("journal")
    }

    /// `seqcast sequence` with its configuration.
    pub fn sequence(&self) -> Seqcast {
        let mut text = self.common();
        let _ = writeln!(text, "[sequencer]\nname = \"seq1\"\nmin_in_sync = 1");
        for (at, source) in self.sources.iter().enumerate() {
            let Source { session, rewind, acknowledge, .. } = source;
            let _ = writeln!(
                text,
                "[[sequencer.source]]\nname = \"pub{at}\"\nsession = \"{session}\"\n\
                 rewind_servers = [\"{rewind}\"]\nacknowledge = {acknowledge}"
            );
            lines(&mut text, "sequencer.source", &source.lines);
        }
        let Site { rewind, snapshot, .. } = self;
        let _ = writeln!(
            text,
            "[journal]\ndir = \"{}\"\nsegment_bytes = \"4MiB\"\n\
             [rewind]\nbind = \"{rewind}\"\nallow = [\"127.0.0.1/32\"]\n\
             [snapshot]\nbind = \"{snapshot}\"\nusername = \"demo\"\npassword = \"demo\"",
            self.journal().display()
        );
        self.configured("sequence", text).arg("--end-with-sources").arg("--expected-orders=20000")
    }

    /// `seqcast publish` as publisher `at`, of `file`.
    pub fn publish(&self, at: usize, file: &Path) -> Seqcast {
        let Source { session, rewind, acknowledge, .. } = &self.sources[at];
        let mut text = self.common();
        let _ = writeln!(
            text,
            "[publisher]\nsession = \"{session}\"\nrewind_bind = \"{rewind}\"\nallow = [\"127.0.0.1/32\"]"
        );
        if *acknowledge {
            let _ = writeln!(text, "window_messages = 4096");
        }
        lines(&mut text, "publisher", &self.sources[at].lines);
        self.configured("publish", text).arg("--file").arg(file)
    }

    /// `seqcast subscribe`, recording to `record`.
    pub fn subscribe(&self, record: &Path) -> Seqcast {
        self.configured("subscribe", self.common()).arg("--record").arg(record).arg("--expected-orders=20000")
    }

    /// A day of `messages` in the site's directory.
    pub fn day(&self, messages: u64) -> PathBuf {
        let path = self.path("day.itch");
        let gen_args = ["--symbols=64", "--messages", &messages.to_string()];
        Seqcast::new("gen").args(gen_args).arg("--out").arg(&path).start().good();
        path
    }

    fn common(&self) -> String {
        let mut text = format!(
            "[feed]\nsession = \"{FEED}\"\nrewind_servers = [\"{}\"]\n\
             [feed.snapshot]\nservers = [\"{}\"]\nusername = \"demo\"\npassword = \"demo\"\n",
            self.rewind, self.snapshot
        );
        lines(&mut text, "feed", &self.feed);
        // A session's end is repeated until the test has seen what it wants; it stops the processes then.
        text.push_str(
            "[send]\nend_of_session = \"60s\"\n[memory]\nring_bytes = \"8MiB\"\n[stat]\ndir = \"\"\n",
        );
        text
    }

    fn configured(&self, command: &str, text: String) -> Seqcast {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let path = self.path(&format!("{command}{}.toml", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, text).expect("writing a configuration");
        Seqcast::new(command).arg("--json").arg("--config").arg(path)
    }
}

fn lines(text: &mut String, of: &str, lines: &[SocketAddrV4]) {
    for line in lines {
        let _ = writeln!(text, "[[{of}.line]]\ngroup = \"{line}\"\ninterface = \"127.0.0.1\"");
    }
}

/// Ports that nobody had, UDP or TCP, when all of them were taken together.
pub fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
        let port = udp.local_addr().expect("a bound port").port();
        if let Ok(tcp) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            held.push((port, udp, tcp));
        }
    }
    held.into_iter().map(|(port, ..)| port).collect()
}

/// A group that no other test of this process, and hardly one of another, uses.
fn free_group() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    let [.., high, low] = process.to_be_bytes();
    Ipv4Addr::new(239, 192 + (high & 63), low, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A command to come.
pub struct Seqcast {
    name: String,
    command: Command,
}

impl Seqcast {
    pub fn new(command: &str) -> Seqcast {
        Seqcast { name: command.into(), ..Seqcast::program(env!("CARGO_BIN_EXE_seqcast")).arg(command) }
    }

    /// Another program, run and watched in the same way.
    pub fn program(path: &str) -> Seqcast {
        Seqcast { name: path.into(), command: Command::new(path) }
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Seqcast {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Seqcast {
        self.command.args(args);
        self
    }

    /// Overrides a key of the configuration.
    pub fn set(self, key: &str, value: &str) -> Seqcast {
        self.arg("--set").arg(format!("{key}={value}"))
    }

    pub fn start(mut self) -> Proc {
        let stdio = (Stdio::null(), Stdio::piped(), Stdio::piped());
        let command = self.command.stdin(stdio.0).stdout(stdio.1).stderr(stdio.2);
        let mut child = command.spawn().expect("starting seqcast");
        let out = Drain::of(child.stdout.take().expect("piped"));
        let err = Drain::of(child.stderr.take().expect("piped"));
        Proc { name: self.name, child, out, err }
    }
}

/// Reads a pipe to its end, so that nobody blocks on it.
struct Drain {
    text: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    fn of(mut pipe: impl Read + Send + 'static) -> Drain {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = pipe.read(&mut buffer) {
                sink.lock().expect("no reader panics").extend_from_slice(&buffer[..bytes]);
            }
        });
        Drain { text, thread: Some(thread) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no reader panics")).into_owned()
    }

    fn whole(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.text()
    }
}

/// A process. Dropped, it is killed; in a failing test it prints what it said.
pub struct Proc {
    name: String,
    child: Child,
    out: Drain,
    err: Drain,
}

/// How a process ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Its standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The sum of a sequencer's counters `label`, of all sources and lines.
    pub fn counter(&self, label: &str) -> u64 {
        self.counter_of(label, "")
    }

    /// The sum of a sequencer's counters `label` whose keys contain `key`, such as `node="pub0"`.
    pub fn counter_of(&self, label: &str, key: &str) -> u64 {
        let json = self.json();
        let counters = json["counters"].as_object().expect("a summary with counters");
        let is_it = |name: &str| name.split('{').next() == Some(label) && name.contains(key);
        counters.iter().filter(|(name, _)| is_it(name)).map(|(_, value)| value.as_u64().unwrap_or(0)).sum()
    }
}

impl Proc {
    /// Waits for its end.
    pub fn done(mut self) -> Done {
        let name = self.name.clone();
        wait_for(&format!("the end of {name}"), || !self.is_running());
        let code = self.child.wait().expect("waiting for a child").code();
        Done { code, out: self.out.whole(), err: self.err.whole() }
    }

    /// Waits for its end, which must be a good one.
    pub fn good(self) -> Done {
        let name = self.name.clone();
        let done = self.done();
        assert_eq!(done.code, Some(0), "{name} failed: {}\n{}", done.err, done.out);
        done
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(self) -> Done {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        self.done()
    }

    /// Ends it without giving it time for anything, as a power switch does.
    pub fn kill(mut self) {
        assert!(self.is_running(), "{} ended before it was killed: {}", self.name, self.err.whole());
        self.child.kill().expect("killing a child");
        self.child.wait().expect("waiting for a child");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("asking for a child").is_none()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.err.text()
    }

    /// Waits until it has said `text`.
    #[track_caller]
    pub fn wait_until_said(&self, text: &str) {
        wait_for(&format!("{} to say {text:?}", self.name), || self.said().contains(text));
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}{}---", self.name, self.err.whole(), self.out.whole());
        }
    }
}

/// Looks at `done` until it is true.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < BOUND, "waited {BOUND:?} in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Waits until `file` has grown to so many bytes.
#[track_caller]
pub fn wait_for_bytes(file: &Path, bytes: u64) {
    wait_for(&format!("{} to grow to {bytes} bytes", file.display()), || size(file) >= bytes);
}

/// Bytes of a file, none when there is no file.
pub fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// The messages of a BinaryFILE.
pub fn messages(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut rest = bytes.as_slice();
    let mut messages = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 {
            break;
        }
        let (message, tail) = tail.split_at_checked(length).expect("a whole record");
        messages.push(message.to_vec());
        rest = tail;
    }
    messages
}

/// Which of `of` publishers a message of a file belongs to: by its stock's locate.
pub fn share(message: &[u8], of: u16) -> u16 {
    u16::from_be_bytes([message[1], message[2]]) % of
}

/// The messages of one share, in order.
pub fn share_of(messages: &[Vec<u8>], index: u16, of: u16) -> Vec<Vec<u8>> {
    messages.iter().filter(|message| share(message, of) == index).cloned().collect()
}

/// Fails with the first difference, not with all messages.
#[track_caller]
pub fn assert_same(found: &[Vec<u8>], expected: &[Vec<u8>], what: &str) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!(differs, None, "{what}: message at that place differs");
    assert_eq!(found.len(), expected.len(), "{what}: number of messages");
}

/// What `seqcast book --digest` says of a file.
pub fn digest(file: &Path) -> String {
    let done = Seqcast::new("book").arg(file).args(["--digest", "--json"]).start().good();
    done.json()["digest"].as_str().expect("a digest").to_owned()
}

/// The books' digest in a subscriber's summary.
pub fn digest_in(summary: &Value) -> String {
    summary["books"]["digest"].as_str().expect("a digest").to_owned()
}
