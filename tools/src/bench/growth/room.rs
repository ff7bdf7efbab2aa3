//! Whether there is room for a point: memory and disk; and how large the caches are.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::output::sized;

/// What is left to everybody else.
const MARGIN_BYTES: u64 = 512 << 20;

/// What a point needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Bytes of memory, while it is measured.
    Memory(u64),
    /// Bytes of disk, from then on.
    Disk(u64),
}

/// What there is; none where nobody knows.
#[derive(Clone, Debug)]
pub(super) struct Room {
    memory: Option<u64>,
    disk: Option<u64>,
    dir: PathBuf,
}

impl Room {
    /// Of this host, and where `dir` is.
    pub(super) fn of(dir: &Path) -> Room {
        let disk = statvfs(dir).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize));
        Room { memory: memory_bytes(), disk, dir: dir.to_path_buf() }
    }

    /// Takes what is needed; or says why it cannot be had.
    pub(super) fn take(&mut self, need: Need) -> Option<String> {
        match need {
            Need::Memory(bytes) => lack("memory", bytes, self.memory?),
            Need::Disk(bytes) => {
                let disk = self.disk?;
                let lack = lack(&format!("room in {}", self.dir.display()), bytes, disk);
                self.disk = Some(if lack.is_some() { disk } else { disk - bytes });
                lack
            }
        }
    }
}

fn lack(what: &str, needed: u64, available: u64) -> Option<String> {
    let spare = available.saturating_sub(MARGIN_BYTES);
    let told = || format!("it needs {} of {what}, and {} are to be had", sized(needed), sized(spare));
    (needed > spare).then(told)
}

/// Memory that can be had without harm to others: of the host, and of the control group.
fn memory_bytes() -> Option<u64> {
    let of_host = available_of(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let of_group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|groups| {
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let dir = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
        let of = |file| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
        Some(of("memory.max")?.saturating_sub(of("memory.current")?))
    });
    Some(of_group.map_or(of_host, |of_group| of_group.min(of_host)))
}

/// `MemAvailable` of `/proc/meminfo`.
fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// The caches of a core that hold data, from the smallest: name and bytes.
fn caches() -> Vec<(String, u64)> {
    let mut caches = Vec::new();
    for index in 0..8 {
        let read = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
        };
        let (Some(kind), Some(level), Some(size)) = (read("type"), read("level"), read("size")) else {
            break;
        };
        let bytes = size.strip_suffix('K').and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib << 10);
        if let Some(bytes) = bytes.filter(|_| kind != "Instruction") {
            caches.push((format!("L{level}"), bytes));
        }
    }
    caches
}

/// The caches in a line.
pub(super) fn caches_in_words() -> String {
    let told: Vec<String> =
        caches().iter().map(|(name, bytes)| format!("{name} {}", sized(*bytes))).collect();
    if told.is_empty() { "unknown".into() } else { told.join(", ") }
}

/// What `bytes` outgrew.
pub(super) fn outgrown(bytes: u64) -> String {
    let caches = caches();
    match caches.iter().rfind(|(_, size)| *size < bytes) {
        Some((name, size)) => format!("more than the {name} cache of {}", sized(*size)),
        None if caches.is_empty() => "the caches are not known".into(),
        None => "less than any cache".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read() {
        let meminfo = "MemTotal:       24684068 kB\nMemAvailable:   22821836 kB\nBuffers: 1 kB\n";
        assert_eq!(available_of(meminfo), Some(22_821_836 << 10));
        assert_eq!(available_of("MemFree: 1 kB"), None);
        assert_eq!(available_of("MemAvailable: much"), None);
    }

    #[test]
    fn what_does_not_fit_is_told_and_disk_that_is_taken_is_gone() {
        let mut room = Room { memory: Some(2 << 30), disk: Some(4 << 30), dir: "/here".into() };
        assert_eq!(room.take(Need::Memory(1 << 30)), None);
        assert_eq!(room.take(Need::Memory(1 << 30)), None, "it is given back");
        let told = room.take(Need::Memory(4 << 30)).unwrap();
        assert!(told.contains("4.0 GiB of memory") && told.contains("1.5 GiB are"), "{told}");
        assert_eq!(room.take(Need::Disk(3 << 30)), None);
        let told = room.take(Need::Disk(3 << 30)).unwrap();
        assert!(told.contains("3.0 GiB of room in /here") && told.contains("512.0 MiB are"), "{told}");
        assert_eq!(room.take(Need::Disk(1 << 20)), None, "what was refused took nothing");
        let mut unknown = Room { memory: None, disk: None, dir: PathBuf::new() };
        assert_eq!(unknown.take(Need::Memory(u64::MAX)), None);
        assert!(Room::of(&std::env::temp_dir()).take(Need::Disk(u64::MAX)).is_some());
    }
}
