//! What kind of host this is, as far as figures depend on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use seqcast_engine::runtime::{allowed_cores, wall_ns};
use serde::{Deserialize, Serialize};

/// Words of the kernel's command line that say how a host was tuned.
const TUNING: [&str; 17] = [
    "isolcpus",
    "nohz_full",
    "nohz",
    "rcu_nocbs",
    "irqaffinity",
    "mitigations",
    "idle",
    "processor.max_cstate",
    "intel_idle.max_cstate",
    "intel_pstate",
    "amd_pstate",
    "tsc",
    "clocksource",
    "hugepages",
    "default_hugepagesz",
    "transparent_hugepage",
    "skew_tick",
];
/// Others' work, in cores, beyond which it shows in every figure.
const BUSY: f64 = 0.5;

/// The host and the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// Version of this program, and how it was built.
    pub(crate) program: String,
    /// When the run began, in ns since 1970.
    pub(crate) wall_ns: u64,
    /// Everything else, by name, in words.
    pub(crate) host: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Of this host, now.
    pub(crate) fn take() -> Fingerprint {
        let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
        let mut host = BTreeMap::new();
        let mut tell = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                host.insert(name.to_owned(), value);
            }
        };
        tell("kernel", read("/proc/sys/kernel/osrelease"));
        tell("kernel flags", tuning());
        tell("cpu", cpu_line("model name"));
        tell("cores", Some(cores()));
        tell("isolated cores", read("/sys/devices/system/cpu/isolated"));
        tell("tickless cores", read("/sys/devices/system/cpu/nohz_full").filter(|cores| cores != "(null)"));
        tell("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
        tell("hyperthreads", read("/sys/devices/system/cpu/smt/active").map(|on| on_off(&on)));
        tell("virtual machine", Some(if is_virtual() { "yes" } else { "not seen" }.to_owned()));
        tell("clock source", read("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
        tell("counter", Some(counter()));
        tell("load", read("/proc/loadavg"));
        tell("huge pages", read("/sys/kernel/mm/transparent_hugepage/enabled").map(|modes| chosen(&modes)));
        tell("receive buffer limit", read("/proc/sys/net/core/rmem_max"));
        tell("busy polling", read("/proc/sys/net/core/busy_poll"));
        let program = format!("seqcast {} ({build}, {})", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        Fingerprint { program, wall_ns: wall_ns(), host }
    }

    /// What of it makes figures worse, or meaningless.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let is = |name: &str, value: &str| self.host.get(name).is_some_and(|known| known == value);
        let mut doubts = Vec::new();
        if cfg!(debug_assertions) {
            doubts
                .push("this is a debug build: its figures mean nothing; use `cargo build --release`".into());
        }
        if !self.host.contains_key("isolated cores") {
            doubts.push(
                "no core is isolated: the kernel runs others between two steps of any thread, and p99 and above are \
                 the host's"
                    .into(),
            );
        }
        if is("virtual machine", "yes") {
            doubts.push(
                "this is a virtual machine: its host moves processors about, and absolute figures change from minute \
                 to minute; ratios within one run hold"
                    .into(),
            );
        }
        if self.host.get("governor").is_some_and(|governor| governor != "performance") {
            doubts.push("the frequency governor is not `performance`: idle cores are slow at first".into());
        }
        let load = self.host.get("load").and_then(|load| load.split(' ').next()?.parse::<f64>().ok());
        if let Some(load) = load.filter(|load| *load > BUSY) {
            doubts.push(format!("others keep this host busy (load {load:.2}): they are in every figure"));
        }
        doubts
    }

    /// The file system that `path` is on.
    pub(crate) fn file_system(path: &Path) -> String {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of = |line: &str| {
            let mut words = line.split(' ').skip(1);
            let (mount, kind) = (words.next()?, words.next()?);
            path.starts_with(mount).then(|| (mount.len(), kind.to_owned()))
        };
        mounts
            .lines()
            .filter_map(of)
            .max_by_key(|(depth, _)| *depth)
            .map_or_else(|| "unknown".into(), |(_, kind)| kind)
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn tuning() -> Option<String> {
    let all = read("/proc/cmdline")?;
    let is_tuning = |word: &&str| TUNING.contains(&word.split('=').next().unwrap_or_default());
    Some(all.split_whitespace().filter(is_tuning).collect::<Vec<_>>().join(" "))
}

fn cpu_line(name: &str) -> Option<String> {
    let info = read("/proc/cpuinfo")?;
    let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn has_flag(flag: &str) -> bool {
    cpu_line("flags").is_some_and(|flags| flags.split(' ').any(|known| known == flag))
}

fn is_virtual() -> bool {
    has_flag("hypervisor")
}

fn cores() -> String {
    let there = read("/sys/devices/system/cpu/online").unwrap_or_else(|| "unknown".into());
    format!("{there} are there, {:?} may be used", allowed_cores())
}

/// What times are read from.
fn counter() -> String {
    let steady = has_flag("constant_tsc") && has_flag("nonstop_tsc");
    if steady { "time stamp counter" } else { "the kernel's monotonic clock" }.to_owned()
}

fn on_off(value: &str) -> String {
    if value == "1" { "on" } else { "off" }.to_owned()
}

/// The word in brackets.
fn chosen(modes: &str) -> String {
    let inside = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or_else(|| modes.to_owned(), |(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_by_what_it_is() {
        let fingerprint = Fingerprint::take();
        assert!(fingerprint.program.contains(env!("CARGO_PKG_VERSION")));
        assert!(fingerprint.host["cores"].contains("may be used"));
        if cfg!(target_os = "linux") {
            assert!(fingerprint.host.contains_key("kernel"));
            assert_ne!(Fingerprint::file_system(Path::new("/proc/self")), "unknown");
        }
    }

    #[test]
    fn doubts_say_what_is_wrong() {
        let host = [("virtual machine", "yes"), ("governor", "powersave"), ("load", "3.10 0.1 0.1 1/100 7")];
        let host = host.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let doubts = Fingerprint { host, ..Fingerprint::default() }.doubts().join("\n");
        for word in ["isolated", "virtual machine", "governor", "load 3.10"] {
            assert!(doubts.contains(word), "{word}: {doubts}");
        }
        let host = [("isolated cores", "2-3"), ("governor", "performance"), ("load", "0.10 0.1 0.1 1/100 7")];
        let host = host.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let doubts = Fingerprint { host, ..Fingerprint::default() }.doubts();
        assert_eq!(doubts.len(), usize::from(cfg!(debug_assertions)), "{doubts:?}");
    }

    #[test]
    fn the_chosen_mode_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("odd"), "odd");
    }
}
