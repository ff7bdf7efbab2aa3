//! Pinning a thread to a core, and finding out what came of it.

use std::fmt;

use core_affinity::CoreId;

/// Where a thread was wanted and where the kernel lets it run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The core asked for; none: wherever the kernel likes.
    pub wanted: Option<usize>,
    /// The cores that the thread may run on, as read back from the kernel after pinning. Empty where the platform
    /// does not tell.
    pub got: Vec<usize>,
}

impl Pinned {
    /// Whether the thread is where it was wanted: on that core alone, or anywhere when no core was asked for.
    pub fn is_as_wanted(&self) -> bool {
        self.wanted.is_none_or(|core| self.got == [core])
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wanted {
            None => write!(f, "not pinned, on {}", Cores(&self.got)),
            Some(core) if self.is_as_wanted() => write!(f, "pinned to core {core}"),
            Some(core) => write!(f, "wanted core {core}, but runs on {}", Cores(&self.got)),
        }
    }
}

/// A set of cores, for people.
struct Cores<'a>(&'a [usize]);

impl fmt::Display for Cores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("unknown cores"),
            [core] => write!(f, "core {core}"),
            [first, rest @ ..] => {
                write!(f, "cores {first}")?;
                rest.iter().try_for_each(|core| write!(f, ", {core}"))
            }
        }
    }
}

/// The cores that the calling thread may run on, in ascending order; empty where the platform does not tell.
///
/// A container or `taskset` may allow fewer than the machine has, and a thread that is already pinned sees one only.
pub fn allowed_cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// Pins the calling thread to `wanted`, when that is given and allowed, and reads back where it may run.
///
/// The kernel's answer to the pinning itself is not asked for: core_affinity turns it into a bare `false`, and the
/// mask read back says more.
pub fn pin_current_thread(wanted: Option<usize>) -> Pinned {
    let allowed = allowed_cores();
    let Some(core) = wanted.filter(|core| allowed.contains(core)) else {
        return Pinned { wanted, got: allowed };
    };
    core_affinity::set_for_current(CoreId { id: core });
    Pinned { wanted, got: allowed_cores() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Pins on a thread of its own, so that the test's thread stays where it is.
    fn pin(wanted: Option<usize>) -> Pinned {
        thread::spawn(move || pin_current_thread(wanted)).join().unwrap()
    }

    #[test]
    fn the_report_is_what_the_kernel_says() {
        let allowed = allowed_cores();
        assert_eq!(pin(None).got, allowed);
        for core in allowed {
            let pinned = pin(Some(core));
            // A sandbox may refuse to pin; then the report must not claim it.
            assert_eq!(pinned.is_as_wanted(), pinned.got == [core], "{pinned}");
        }
    }

    #[test]
    fn a_core_that_does_not_exist_is_reported_not_pinned() {
        let allowed = allowed_cores();
        for core in [9_999, usize::MAX] {
            let pinned = pin(Some(core));
            assert!(!pinned.is_as_wanted());
            assert_eq!(pinned.got, allowed, "the thread stays where it was");
        }
    }

    #[test]
    fn reports_read_well() {
        let report = |wanted, got: &[usize]| Pinned { wanted, got: got.to_vec() }.to_string();
        assert_eq!(report(None, &[0, 1]), "not pinned, on cores 0, 1");
        assert_eq!(report(Some(1), &[1]), "pinned to core 1");
        assert_eq!(report(Some(7), &[0, 1]), "wanted core 7, but runs on cores 0, 1");
        assert_eq!(report(Some(7), &[]), "wanted core 7, but runs on unknown cores");
    }
}
