//! A made-up kernel: files that choose, clamp and refuse as real ones do, and a death at any moment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::host::Host;
use super::inputs::Inputs;
use super::ledger::{Keep, Ledger};
use super::profile::{self, Profile};

/// How many more steps a process may take. Whatever it tries afterwards fails and changes nothing, as if it were gone.
#[derive(Clone)]
pub(crate) struct Life(Rc<Cell<usize>>);

impl Life {
    pub(crate) fn endless() -> Life {
        Life(Rc::new(Cell::new(usize::MAX)))
    }

    pub(crate) fn end_after(&self, steps: usize) {
        self.0.set(steps);
    }

    pub(crate) fn begin_anew(&self) {
        self.0.set(usize::MAX);
    }

    fn step(&self) -> io::Result<()> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(io::Error::other("killed")),
        }
    }
}

/// What the kernel does with what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum File {
    /// Keeps it.
    Plain(String),
    /// Chooses among these.
    Choice(Vec<&'static str>, usize),
    /// Keeps no more than so much.
    Capped(u64, u64),
    /// Refuses it.
    Stubborn(String),
}

/// A kernel.
#[derive(Clone)]
pub(crate) struct Kernel {
    files: BTreeMap<String, File>,
    life: Life,
}

const THP: [&str; 3] = ["always", "madvise", "never"];

impl Kernel {
    /// One as distributions ship it.
    pub(crate) fn untuned(life: &Life) -> Kernel {
        let plain = |path: &str, text: &str| (path.to_owned(), File::Plain(text.into()));
        let mut files = BTreeMap::from([
            plain("/proc/sys/kernel/random/boot_id", "one"),
            plain("/sys/devices/system/cpu/online", "0-3"),
            plain("/proc/sys/net/core/rmem_max", "212992"),
            plain("/proc/sys/net/ipv4/udp_mem", "100\t200\t300"),
            plain("/proc/irq/7/smp_affinity_list", "0-3"),
            plain("/proc/irq/8/smp_affinity_list", "0-1"),
            plain("/proc/cmdline", "quiet isolcpus=managed_irq,2-3"),
        ]);
        files.insert("/sys/kernel/mm/transparent_hugepage/enabled".into(), File::Choice(THP.to_vec(), 0));
        files.insert("/proc/sys/vm/nr_hugepages".into(), File::Capped(0, 100));
        files.insert("/proc/irq/9/smp_affinity_list".into(), File::Stubborn("0-3".into()));
        for core in 0..4 {
            let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
            files.insert(path, File::Plain("powersave".into()));
        }
        Kernel { files, life: life.clone() }
    }

    /// One that somebody has been at, with some files missing.
    pub(crate) fn random(seed: u64, life: &Life) -> Kernel {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut kernel = Kernel::untuned(life);
        kernel.files.retain(|path, _| path.ends_with("boot_id") || dice.random_ratio(4, 5));
        for (path, file) in &mut kernel.files {
            match file {
                File::Plain(text) if path.contains("affinity") => {
                    *text = ["0", "0-3", "2", "1,3"][dice.random_range(0..4)].into();
                }
                File::Plain(text) if path.contains("governor") => {
                    *text = ["performance", "powersave"][dice.random_range(0..2)].into();
                }
                File::Plain(text) if path.contains("rmem") => {
                    *text = dice.random_range(1_u64..1 << 28).to_string();
                }
                File::Plain(_) | File::Stubborn(_) => {}
                File::Choice(choices, at) => *at = dice.random_range(0..choices.len()),
                File::Capped(value, cap) => {
                    *cap = dice.random_range(0..1_000);
                    *value = dice.random_range(0..=*cap);
                }
            }
        }
        kernel
    }

    pub(crate) fn start_anew(&mut self) {
        self.files.insert("/proc/sys/kernel/random/boot_id".into(), File::Plain("two".into()));
    }

    /// What all files hold.
    pub(crate) fn state(&self) -> Vec<(String, String)> {
        self.files.iter().map(|(path, file)| (path.clone(), text_of(file))).collect()
    }
}

fn text_of(file: &File) -> String {
    match file {
        File::Plain(text) | File::Stubborn(text) => format!("{text}\n"),
        File::Capped(value, _) => format!("{value}\n"),
        File::Choice(choices, at) => {
            let mark = |(place, choice): (usize, &&str)| {
                if place == *at { format!("[{choice}]") } else { (*choice).to_owned() }
            };
            choices.iter().enumerate().map(mark).collect::<Vec<_>>().join(" ") + "\n"
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Host for Kernel {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.life.step()?;
        self.files.get(path).map(|file| text_of(file).into_bytes()).ok_or_else(missing)
    }

    fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.life.step()?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        match self.files.get_mut(path).ok_or_else(missing)? {
            File::Plain(text) => value.clone_into(text),
            File::Stubborn(_) => return Err(io::Error::other("Input/output error")),
            File::Capped(kept, cap) => *kept = value.parse::<u64>().map_err(|_| invalid())?.min(*cap),
            File::Choice(choices, at) => {
                *at = choices.iter().position(|choice| *choice == value).ok_or_else(invalid)?;
            }
        }
        Ok(())
    }

    fn may_write(&self, path: &str) -> io::Result<()> {
        self.read(path).map(|_| ())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.life.step()?;
        let below =
            |path: &String| path.strip_prefix(dir)?.strip_prefix('/')?.split('/').next().map(str::to_owned);
        let mut names: Vec<_> = self.files.keys().filter_map(below).collect();
        names.dedup();
        if names.is_empty() { Err(missing()) } else { Ok(names) }
    }

    fn link_name(&self, _: &str) -> io::Result<String> {
        Err(missing())
    }

    fn run(&self, tool: &str, _: &[&str]) -> io::Result<String> {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{tool} is not installed")))
    }

    fn is_privileged(&self) -> bool {
        true
    }
}

/// A state file that is as safe as a disk.
pub(crate) struct Memory {
    kept: Option<Ledger>,
    life: Life,
}

impl Memory {
    pub(crate) fn new(life: &Life) -> Memory {
        Memory { kept: None, life: life.clone() }
    }
}

impl Keep for Memory {
    fn load(&self) -> anyhow::Result<Option<Ledger>> {
        self.life.step()?;
        Ok(self.kept.clone())
    }

    fn save(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        self.life.step()?;
        self.kept = (!ledger.changes.is_empty()).then(|| ledger.clone());
        Ok(())
    }
}

const PROFILE: &str = r#"
about = "For tests."
[[knob]]
name = "rmem"
sysctl = "net.core.rmem_max"
want = "67108864"
fit = "at-least"
why = "w"
risk = "r"
[[knob]]
name = "udp_mem"
sysctl = "net.ipv4.udp_mem"
want = "200 200 400"
fit = "at-least"
why = "w"
risk = "r"
[[knob]]
name = "thp"
file = "/sys/kernel/mm/transparent_hugepage/enabled"
want = ["madvise", "never"]
why = "w"
risk = "r"
[[knob]]
name = "huge pages"
sysctl = "vm.nr_hugepages"
want = "512"
fit = "at-least"
why = "w"
risk = "r"
[[knob]]
name = "governor"
file = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
want = "performance"
why = "w"
risk = "r"
[[knob]]
name = "irq"
file = "/proc/irq/*/smp_affinity_list"
want = "{housekeeping}"
fit = "within"
why = "w"
risk = "r"
[[knob]]
name = "isolcpus"
kernel-line = "isolcpus"
want = "{cores}"
fit = "covers"
why = "w"
risk = "r"
by-hand = "add isolcpus=managed_irq,domain,{cores}"
"#;

/// A profile of every kind that the made-up kernel knows, for hot threads on cores 2 and 3.
pub(crate) fn profile() -> (Profile, Inputs) {
    let set = |text: &str| text.parse().unwrap();
    let inputs = Inputs { cores: set("2-3"), online: set("0-3"), interfaces: Vec::new() };
    (profile::parse(PROFILE).unwrap(), inputs)
}
