//! Whether there is room for a point: memory and disk; and how large the caches are.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use crate::output::sized;

/// What is left to everybody else.
const MARGIN_BYTES: u64 = 512 << 20;

/// Why `needed` bytes of memory cannot be had; none where they can, or nobody knows.
pub(super) fn lack_of_memory(needed: u64) -> Option<String> {
    lack("memory", needed, memory_bytes()?)
}

/// Why `needed` bytes cannot be had where `dir` is.
pub(super) fn lack_of_disk(dir: &Path, needed: u64) -> Option<String> {
    let found = statvfs(dir).ok()?;
    lack(&format!("room in {}", dir.display()), needed, found.f_bavail.saturating_mul(found.f_frsize))
}

fn lack(what: &str, needed: u64, available: u64) -> Option<String> {
    let spare = available.saturating_sub(MARGIN_BYTES);
    (needed > spare).then(|| {
        format!(
            "it needs {} of {what}, and {} can be had without harm to others",
            sized(needed),
            sized(spare)
        )
    })
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
    fn what_does_not_fit_is_told_and_what_does_is_not() {
        assert_eq!(lack("memory", 1 << 30, 1 << 32), None);
        let told = lack("memory", 4 << 30, 2 << 30).unwrap();
        assert!(told.contains("4.0 GiB of memory") && told.contains("1.5 GiB can be had"), "{told}");
        assert!(lack_of_disk(&std::env::temp_dir(), u64::MAX).is_some());
        assert_eq!(lack_of_memory(0), None);
    }
}
