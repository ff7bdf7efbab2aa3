//! Counters in a mapped file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use super::errors::{ErrorReading, Errors, read_errors};
use super::layout::{
    COUNTERS_AT, ERRORS_AT, LABEL_BYTES, Layout, MAGIC, MAGIC_AT, NAME_AT, NAME_BYTES, PROCESS_AT,
    STARTED_AT, VERSION, VERSION_AT, Word, read_text, write_text,
};
use crate::mem::{Region, RegionError, RegionSpec, RegionView};

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersSpec {
    /// Counters; 256 bytes each.
    pub counters: usize,
    /// Distinct errors; 512 bytes each.
    pub errors: usize,
}

impl Default for CountersSpec {
    fn default() -> CountersSpec {
        CountersSpec { counters: 1_024, errors: 64 }
    }
}

/// Why counters cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The memory could not be mapped.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The directory could not be made.
    #[error("cannot make the directory of counters {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// All counters are taken.
    #[error("no room for counter `{label}`: all {counters} are taken; raise the number of counters")]
    Full {
        /// The label.
        label: String,
        /// How many there are.
        counters: usize,
    },
    /// There is such a counter already: two writers would lose each other's counts.
    #[error("counter `{0}` is there already; give each agent its own name")]
    Duplicate(String),
    /// A label that tools could not show.
    #[error("`{0}` is no label: write 1 to {LABEL_BYTES} visible ASCII characters")]
    Label(String),
    /// A name that tools could not show.
    #[error("`{0}` is no name of a process: write 1 to {NAME_BYTES} visible ASCII characters")]
    Name(String),
    /// The file holds something else.
    #[error("{}: no file of counters ({what}); give a file that a running Seqcast process made", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The counters and distinct errors of this process. Clones are the same.
///
/// Labels follow the text format of Prometheus: `seqcast_<agent>_<noun>_total` for what only grows, another last word
/// for a gauge, and `{key="value"}` after it to tell lines or sources apart.
#[derive(Clone)]
pub struct Counters {
    shared: Arc<Shared>,
}

struct Shared {
    region: Region,
    layout: Layout,
    /// The file; removed at the end. A process that is killed leaves it behind for whoever looks into that.
    path: Option<PathBuf>,
    taken: Mutex<usize>,
    /// Held while an error is recorded.
    recording: Mutex<()>,
}

impl Counters {
    /// Makes the file of counters at `path`, and its directory where that is missing. `name` tells people which
    /// process it is. Put it into a memory file system: on a disk, the kernel's writing back stalls the writers.
    ///
    /// # Errors
    /// [`CountersError::Name`], or what the system refused.
    pub fn create(
        path: &Path,
        name: &str,
        spec: CountersSpec,
        started_ns: u64,
    ) -> Result<Counters, CountersError> {
        check_name(name)?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)
                .map_err(|source| CountersError::Directory { path: dir.into(), source })?;
        }
        let layout = Layout { counters: spec.counters, errors: spec.errors };
        let region = Region::create_file(path, layout.len_bytes())?;
        Ok(Counters::over(region, layout, Some(path.into()), name, started_ns))
    }

    /// Makes counters that only this process can read.
    ///
    /// # Errors
    /// [`CountersError::Name`], or no memory.
    pub fn anonymous(name: &str, spec: CountersSpec) -> Result<Counters, CountersError> {
        check_name(name)?;
        let layout = Layout { counters: spec.counters, errors: spec.errors };
        let region = Region::anonymous(&RegionSpec::plain(layout.len_bytes()))?;
        Ok(Counters::over(region, layout, None, name, 0))
    }

    fn over(region: Region, layout: Layout, path: Option<PathBuf>, name: &str, started_ns: u64) -> Counters {
        let words = region.atomics();
        words[VERSION_AT].store(VERSION, Ordering::Relaxed);
        words[COUNTERS_AT].store(layout.counters as u64, Ordering::Relaxed);
        words[ERRORS_AT].store(layout.errors as u64, Ordering::Relaxed);
        words[PROCESS_AT].store(u64::from(std::process::id()), Ordering::Relaxed);
        words[STARTED_AT].store(started_ns, Ordering::Relaxed);
        write_text(&words[NAME_AT..], name);
        words[MAGIC_AT].store(MAGIC, Ordering::Release);
        let shared = Shared { region, layout, path, taken: Mutex::new(0), recording: Mutex::new(()) };
        Counters { shared: Arc::new(shared) }
    }

    /// Takes a counter, at zero. Only at start: it takes a lock.
    ///
    /// # Errors
    /// [`CountersError::Label`], [`CountersError::Duplicate`] or [`CountersError::Full`].
    pub fn counter(&self, label: &str) -> Result<Counter, CountersError> {
        if !is_visible(label, LABEL_BYTES) {
            return Err(CountersError::Label(label.escape_debug().to_string()));
        }
        let Shared { region, layout, taken, .. } = &*self.shared;
        // A poisoned lock: the thread that held it died between two registrations, which are complete each.
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let words = region.atomics();
        if label_texts(words, layout).any(|other| other == label) {
            return Err(CountersError::Duplicate(label.into()));
        }
        if *taken == layout.counters {
            return Err(CountersError::Full { label: label.into(), counters: layout.counters });
        }
        let index = *taken;
        *taken += 1;
        write_text(&words[layout.label_at(index)..], label);
        Ok(Counter { at: layout.value_at(index), shared: Arc::clone(&self.shared) })
    }

    /// The distinct errors of this process.
    pub fn errors(&self) -> Errors {
        Errors::new(self.clone())
    }

    /// All counters as they are now.
    pub fn readings(&self) -> Vec<CounterReading> {
        read_counters(self.words(), &self.shared.layout)
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        self.shared.region.atomics()
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    pub(super) fn recording(&self) -> &Mutex<()> {
        &self.shared.recording
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nobody is left to be told: what cannot be removed stays, as after a crash.
            let _ = fs::remove_file(path);
        }
    }
}

/// One counter and the right to write it. There is one handle to each, so that a count is a load and a store.
pub struct Counter {
    shared: Arc<Shared>,
    at: usize,
}

impl Counter {
    /// Adds `count`; wraps.
    #[inline]
    pub fn add(&mut self, count: u64) {
        let word = self.word();
        word.store(word.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Sets the value: of a gauge, or of a count that is kept elsewhere.
    #[inline]
    pub fn set(&mut self, value: u64) {
        self.word().store(value, Ordering::Relaxed);
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> u64 {
        self.word().load(Ordering::Relaxed)
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        &self.shared.region.atomics()[self.at]
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.value())
    }
}

/// One counter as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterReading {
    /// Its label.
    pub label: String,
    /// Its value.
    pub value: u64,
}

/// Another process's counters, for reading.
///
/// The file is mapped: one that is cut off while it is read kills the reader, as with every mapped file. Seqcast
/// processes never do that.
pub struct CountersReader {
    view: RegionView,
    layout: Layout,
}

impl CountersReader {
    /// Opens a file of counters.
    ///
    /// # Errors
    /// It cannot be mapped, or is no file of counters.
    pub fn open(path: &Path) -> Result<CountersReader, CountersError> {
        let view = RegionView::open(path)?;
        let refuse = |what: String| CountersError::Format { path: path.into(), what };
        let words = view.words();
        if words.get(MAGIC_AT).is_none_or(|word| word.load() != MAGIC) {
            return Err(refuse("it does not begin like one".into()));
        }
        // The magic is written last.
        fence(Ordering::Acquire);
        let header = |at: usize| words.get(at).map_or(0, |word| word.load());
        if header(VERSION_AT) != VERSION {
            let found = header(VERSION_AT);
            return Err(refuse(format!("its format is version {found}, known here is {VERSION}")));
        }
        let layout = Layout::of(header(COUNTERS_AT), header(ERRORS_AT), words.len())
            .ok_or_else(|| refuse("it is cut off".into()))?;
        Ok(CountersReader { view, layout })
    }

    /// Name of the process.
    pub fn name(&self) -> String {
        read_text(&self.view.words()[NAME_AT..], NAME_BYTES).unwrap_or_default()
    }

    /// Id of the process.
    pub fn process_id(&self) -> u32 {
        u32::try_from(self.view.words()[PROCESS_AT].load()).unwrap_or_default()
    }

    /// When the process started: wall clock, ns since the Unix epoch.
    pub fn started_ns(&self) -> u64 {
        self.view.words()[STARTED_AT].load()
    }

    /// All counters as they are now, in the order of their making. Each is exact; together they are no snapshot, since
    /// the process goes on meanwhile.
    pub fn readings(&self) -> Vec<CounterReading> {
        read_counters(self.view.words(), &self.layout)
    }

    /// All distinct errors as they are now, in the order of their first time.
    pub fn errors(&self) -> Vec<ErrorReading> {
        read_errors(self.view.words(), &self.layout)
    }
}

impl fmt::Debug for CountersReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountersReader({}, process {})", self.name(), self.process_id())
    }
}

fn label_texts<'a, W: Word>(words: &'a [W], layout: &'a Layout) -> impl Iterator<Item = String> + 'a {
    (0..layout.counters).map_while(|index| read_text(&words[layout.label_at(index)..], LABEL_BYTES))
}

fn read_counters<W: Word>(words: &[W], layout: &Layout) -> Vec<CounterReading> {
    label_texts(words, layout)
        .enumerate()
        .map(|(index, label)| CounterReading { label, value: words[layout.value_at(index)].value() })
        .collect()
}

fn check_name(name: &str) -> Result<(), CountersError> {
    if is_visible(name, NAME_BYTES) {
        Ok(())
    } else {
        Err(CountersError::Name(name.escape_debug().to_string()))
    }
}

fn is_visible(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SMALL: CountersSpec = CountersSpec { counters: 2, errors: 2 };

    fn reading(label: &str, value: u64) -> CounterReading {
        CounterReading { label: label.into(), value }
    }

    #[test]
    fn a_second_mapping_sees_labels_and_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/on/the/way/test.counters");
        let counters = Counters::create(&path, "test", SMALL, 77).unwrap();
        let reader = CountersReader::open(&path).unwrap();
        assert_eq!(reader.readings(), []);
        let mut events = counters.counter("seqcast_sequencer_events_total").unwrap();
        let mut depth = counters.counter("seqcast_ring_depth{ring=\"feed\"}").unwrap();
        events.add(5);
        events.add(37);
        depth.set(9);
        depth.set(3);
        let expected =
            [reading("seqcast_sequencer_events_total", 42), reading("seqcast_ring_depth{ring=\"feed\"}", 3)];
        assert_eq!(reader.readings(), expected);
        assert_eq!(counters.readings(), expected);
        assert_eq!((reader.name(), reader.started_ns()), ("test".into(), 77));
        assert_eq!(reader.process_id(), std::process::id());
        assert_eq!((events.value(), depth.value()), (42, 3));
    }

    #[test]
    fn a_counter_has_one_writer() {
        let counters = Counters::anonymous("test", SMALL).unwrap();
        let _first = counters.counter("a").unwrap();
        assert!(matches!(counters.counter("a"), Err(CountersError::Duplicate(label)) if label == "a"));
        let _second = counters.clone().counter("b").unwrap();
        let full = counters.counter("c").unwrap_err();
        assert_eq!(
            full.to_string(),
            "no room for counter `c`: all 2 are taken; raise the number of counters"
        );
        assert_eq!(counters.readings(), [reading("a", 0), reading("b", 0)]);
    }

    #[test]
    fn counters_wrap_and_are_taken_from_many_threads() {
        let counters = Counters::anonymous("test", CountersSpec { counters: 64, errors: 1 }).unwrap();
        thread::scope(|scope| {
            for worker in 0..4 {
                let counters = &counters;
                scope.spawn(move || {
                    for index in 0..16 {
                        let mut counter = counters.counter(&format!("c{worker}_{index}")).unwrap();
                        counter.set(u64::MAX);
                        counter.add(2);
                    }
                });
            }
        });
        let readings = counters.readings();
        assert_eq!(readings.len(), 64);
        assert!(readings.iter().all(|reading| reading.value == 1), "{readings:?}");
    }

    #[test]
    fn labels_and_names_are_visible_and_fit() {
        let counters = Counters::anonymous("test", SMALL).unwrap();
        for label in ["", "two\nlines", "größe", &"x".repeat(LABEL_BYTES + 1)] {
            assert!(matches!(counters.counter(label), Err(CountersError::Label(_))), "{label}");
        }
        let longest = "x".repeat(LABEL_BYTES);
        let _counter = counters.counter(&longest).unwrap();
        assert_eq!(counters.readings(), [reading(&longest, 0)]);
        assert!(matches!(Counters::anonymous("", SMALL), Err(CountersError::Name(_))));
        let name = "n".repeat(NAME_BYTES);
        Counters::anonymous(&name, SMALL).unwrap();
    }

    #[test]
    fn the_file_goes_with_its_last_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        let counters = Counters::create(&path, "test", SMALL, 0).unwrap();
        let mut counter = counters.counter("a").unwrap();
        drop(counters);
        counter.add(1);
        let reader = CountersReader::open(&path).unwrap();
        drop(counter);
        assert!(!path.exists());
        assert_eq!(reader.readings(), [reading("a", 1)], "who has it mapped keeps it");
    }

    #[test]
    fn files_of_something_else_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        let refusal = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            CountersReader::open(&path).unwrap_err().to_string()
        };
        let good = {
            let counters = Counters::create(&path, "test", SMALL, 0).unwrap();
            counters.counter("a").unwrap().add(1);
            fs::read(&path).unwrap()
        };
        fs::write(&path, &good).unwrap();
        assert_eq!(CountersReader::open(&path).unwrap().readings(), [reading("a", 1)]);

        assert!(refusal(b"hello, world").contains("does not begin like one"));
        assert!(refusal(&[0; 4096]).contains("does not begin like one"));
        assert!(refusal(&good[..64]).contains("cut off"));
        assert!(refusal(&good[..8]).contains("version 0"));
        let spoilt = |word: usize, value: u64| {
            let mut bytes = good.clone();
            bytes[word * 8..][..8].copy_from_slice(&value.to_ne_bytes());
            bytes
        };
        assert!(refusal(&spoilt(VERSION_AT, 9)).contains("version 9, known here is 1"));
        for counters in [3_000, u64::MAX, u64::MAX / 32] {
            assert!(refusal(&spoilt(COUNTERS_AT, counters)).contains("cut off"));
        }
        // Lengths of texts are bounded, and their bytes need not be UTF-8.
        let label_at = Layout { counters: 2, errors: 2 }.label_at(0);
        let mut bytes = spoilt(label_at, u64::MAX);
        bytes[(label_at + 1) * 8] = 0xFF;
        fs::write(&path, bytes).unwrap();
        let label = &CountersReader::open(&path).unwrap().readings()[0].label;
        assert!(label.starts_with('\u{FFFD}') && label.len() >= LABEL_BYTES);
    }
}
