//! What is there: a knob's places on a host, and what stands at each.

use std::io;

use serde::{Deserialize, Serialize};

use super::ethtool;
use super::host::Host;
use super::inputs::Inputs;
use super::profile::{Group, Knob, Source};

/// What all processes together ask of the idle states.
pub(crate) const WAKEUP_LATENCY: &str = "/dev/cpu_dma_latency";
const CPUS: &str = "/sys/devices/system/cpu";

/// A place that a value can be read from and put back to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    File(String),
    Ethtool { interface: String, group: Group, field: String },
}

impl PartialOrd for Group {
    fn partial_cmp(&self, other: &Group) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Group {
    fn cmp(&self, other: &Group) -> std::cmp::Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

impl Target {
    /// What stands there: the chosen one where a file lists all choices.
    pub(crate) fn read(&self, host: &impl Host) -> io::Result<String> {
        match self {
            Target::File(path) => host.read_text(path).map(|text| chosen(text.trim()).to_owned()),
            Target::Ethtool { interface, group, field } => {
                Ok(ethtool::read(host, interface, *group, field)?.value)
            }
        }
    }

    pub(crate) fn write(&self, host: &mut impl Host, value: &str) -> io::Result<()> {
        match self {
            Target::File(path) => host.write(path, value),
            Target::Ethtool { interface, group, field } => {
                let args = ethtool::set(interface, *group, field, value);
                host.run("ethtool", &args.iter().map(String::as_str).collect::<Vec<_>>()).map(|_| ())
            }
        }
    }

    /// Why it cannot be written, if that is known.
    pub(crate) fn may_write(&self, host: &impl Host) -> io::Result<()> {
        match self {
            Target::File(path) => host.may_write(path),
            Target::Ethtool { .. } if host.is_privileged() => Ok(()),
            Target::Ethtool { .. } => Err(io::Error::new(io::ErrorKind::PermissionDenied, "not root")),
        }
    }

    /// The command that would give it `value`.
    pub(crate) fn command(&self, value: &str) -> String {
        match self {
            Target::File(path) if value.contains(' ') => format!("echo '{value}' > {path}"),
            Target::File(path) => format!("echo {value} > {path}"),
            Target::Ethtool { interface, group, field } => {
                format!("ethtool {}", ethtool::set(interface, *group, field, value).join(" "))
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::File(path) => f.write_str(path),
            Target::Ethtool { interface, group, field } => write!(f, "{interface}: {} {field}", group.word()),
        }
    }
}

/// `a [b] c` is how the kernel says that b is chosen.
fn chosen(text: &str) -> &str {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(chosen, _)| chosen)
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Have {
    Value(String),
    /// This host has no such thing: why.
    NotHere(String),
    /// It may have: why that cannot be told.
    Unknown(String),
}

/// One place of a knob.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Where, for people.
    pub(crate) place: String,
    /// Where it can be changed; none: it is only told.
    pub(crate) target: Option<Target>,
    pub(crate) have: Have,
    /// What fits.
    pub(crate) want: Vec<String>,
}

impl Instance {
    fn not_here(place: &str, why: impl Into<String>) -> Instance {
        Instance { place: place.into(), target: None, have: Have::NotHere(why.into()), want: Vec::new() }
    }
}

/// All places of `knob` on `host`: at least one, if only to say that there is none.
pub(crate) fn instances(knob: &Knob, inputs: &Inputs, host: &impl Host) -> Vec<Instance> {
    let template = match &knob.source {
        Source::File(path) => path,
        Source::Irqs(interface) | Source::Ethtool { interface, .. } => interface,
        _ => "",
    };
    if !template.contains("{interface}") {
        return on(knob, inputs, host, "");
    }
    if inputs.interfaces.is_empty() {
        return vec![Instance::not_here(&knob.name, "no interface is hardware: name one with --interface")];
    }
    inputs.interfaces.iter().flat_map(|interface| on(knob, inputs, host, interface)).collect()
}

/// The places of `knob` that concern `interface`.
fn on(knob: &Knob, inputs: &Inputs, host: &impl Host, interface: &str) -> Vec<Instance> {
    let filled = |text: &String| inputs.fill(text, interface);
    let want = match knob.want.iter().map(filled).collect::<Result<Vec<_>, _>>() {
        Ok(want) => want,
        Err(why) => return vec![Instance::not_here(&knob.name, why)],
    };
    let told = |have| vec![Instance { place: knob.name.clone(), target: None, have, want: want.clone() }];
    match &knob.source {
        Source::File(path) => {
            let path = path.replace("{interface}", interface);
            files(host, expand(host, &path), &format!("there is no {path}"), &want)
        }
        Source::Irqs(of) => {
            let of = of.replace("{interface}", interface);
            let paths = irqs(host, &of).into_iter().map(|irq| format!("/proc/irq/{irq}/smp_affinity_list"));
            files(host, paths.collect(), &format!("{of} has no interrupts of its own"), &want)
        }
        Source::IdleStates(above_us) => {
            files(host, idle_states(host, inputs, *above_us), "no idle state is that deep", &want)
        }
        Source::WakeupLatency => told(wakeup_latency(host)),
        Source::KernelLine(parameter) => told(kernel_line(host, parameter)),
        Source::Limit(name) => told(limit(host, name)),
        Source::Process(names) => told(Have::Value(running(host, names))),
        Source::Ethtool { interface: of, group, field } => {
            let interface = of.replace("{interface}", interface);
            vec![nic(host, interface, *group, field, want)]
        }
    }
}

fn files(host: &impl Host, paths: Vec<String>, none: &str, want: &[String]) -> Vec<Instance> {
    if paths.is_empty() {
        return vec![Instance::not_here(none, none)];
    }
    let instance = |path: String| {
        let target = Target::File(path);
        let have = have(target.read(host));
        Instance { place: target.to_string(), target: Some(target), have, want: want.to_vec() }
    };
    paths.into_iter().map(instance).collect()
}

fn have(read: io::Result<String>) -> Have {
    match read {
        Ok(value) => Have::Value(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Have::NotHere("this kernel has it not".into())
        }
        Err(error) => Have::Unknown(error.to_string()),
    }
}

/// The paths that fit a pattern; one without `*` is given back, there or not.
fn expand(host: &impl Host, pattern: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in pattern.trim_start_matches('/').split('/') {
        let longer = |path: String| match part.split_once('*') {
            None => vec![format!("{path}/{part}")],
            Some((head, tail)) => host
                .list(&path)
                .unwrap_or_default()
                .into_iter()
                .filter(|name| {
                    name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
                })
                .map(|name| format!("{path}/{name}"))
                .collect(),
        };
        paths = paths.into_iter().flat_map(longer).collect();
    }
    if pattern.contains('*') {
        // Not all that fits the pattern has what it ends with.
        paths
            .retain(|path| !matches!(host.read(path), Err(error) if error.kind() == io::ErrorKind::NotFound));
    }
    paths
}

/// The interrupts of an interface.
fn irqs(host: &impl Host, interface: &str) -> Vec<u32> {
    let device = format!("/sys/class/net/{interface}/device");
    let mut irqs: Vec<u32> = [format!("{device}/msi_irqs"), format!("{device}/../msi_irqs")]
        .iter()
        .find_map(|dir| host.list(dir).ok())
        .map(|names| names.iter().filter_map(|name| name.parse().ok()).collect())
        .unwrap_or_default();
    if irqs.is_empty() {
        // Devices without message-signalled interrupts are only named there: by the interface, or by the device.
        let device = host.link_name(&device).unwrap_or_default();
        let interrupts = host.read_text("/proc/interrupts").unwrap_or_default();
        irqs = interrupts.lines().filter_map(|line| irq_of(line, interface, &device)).collect();
    }
    irqs.sort_unstable();
    irqs.dedup();
    irqs
}

/// The number of a line of `/proc/interrupts`, if it is of that interface or device.
fn irq_of(line: &str, interface: &str, device: &str) -> Option<u32> {
    let (number, rest) = line.trim().split_once(':')?;
    let is_of = |name: &str, of: &str| {
        let rest = name.strip_prefix(of).filter(|_| !of.is_empty());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '@', ',']))
    };
    let mut names = rest.split_whitespace().map(|name| name.trim_end_matches(','));
    names.any(|name| is_of(name, interface) || is_of(name, device)).then(|| number.parse().ok())?
}

/// The switches of the idle states that are deeper, on the hot cores or, without any, on all.
fn idle_states(host: &impl Host, inputs: &Inputs, above_us: u64) -> Vec<String> {
    let latencies = expand(host, &format!("{CPUS}/cpu*/cpuidle/state*/latency"));
    let core_of = |path: &str| {
        let name = path.strip_prefix(CPUS)?.strip_prefix("/cpu")?;
        name.split('/').next()?.parse::<usize>().ok()
    };
    let concerns = |path: &&String| {
        let hot = inputs.cores.is_empty() || core_of(path).is_some_and(|core| inputs.cores.contains(core));
        let latency = host.read_text(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        hot && latency.is_some_and(|latency| latency > above_us)
    };
    let switch = |path: &String| path.replace("/latency", "/disable");
    latencies.iter().filter(concerns).map(switch).collect()
}

fn wakeup_latency(host: &impl Host) -> Have {
    match host.read(WAKEUP_LATENCY).map(<[u8; 4]>::try_from) {
        Ok(Ok(bytes)) => Have::Value(i32::from_le_bytes(bytes).to_string()),
        Ok(Err(_)) => Have::Unknown(format!("{WAKEUP_LATENCY} does not hold one number")),
        Err(error) => have(Err(error)),
    }
}

/// The value of a parameter, `present` for one without a value, `absent`.
fn kernel_line(host: &impl Host, parameter: &str) -> Have {
    let line = match host.read_text("/proc/cmdline") {
        Ok(line) => line,
        Err(error) => return have(Err(error)),
    };
    // Of one that is given twice the kernel takes the last.
    let value = line.split_whitespace().rev().find_map(|word| match word.split_once('=') {
        Some((name, value)) => (name == parameter).then(|| value.to_owned()),
        None => (word == parameter).then(|| "present".to_owned()),
    });
    Have::Value(value.unwrap_or_else(|| "absent".into()))
}

fn limit(host: &impl Host, name: &str) -> Have {
    let title = match name {
        "memlock" => "Max locked memory",
        "nofile" => "Max open files",
        "rtprio" => "Max realtime priority",
        _ => return Have::Unknown(format!("the limit {name:?} is none of memlock, nofile, rtprio")),
    };
    let limits = match host.read_text("/proc/self/limits") {
        Ok(limits) => limits,
        Err(error) => return have(Err(error)),
    };
    let row = limits.lines().find_map(|line| line.strip_prefix(title));
    match row.and_then(|row| row.split_whitespace().next()) {
        Some(soft) => Have::Value(soft.into()),
        None => Have::Unknown("/proc/self/limits does not tell".into()),
    }
}

/// The first of `names` that runs, or `none`.
pub(crate) fn running(host: &impl Host, names: &[String]) -> String {
    // The kernel keeps so much of a name.
    const KEPT: usize = 15;
    let processes = host.list("/proc").unwrap_or_default();
    let processes = processes.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let comms: Vec<_> =
        processes.filter_map(|process| host.read_text(&format!("/proc/{process}/comm")).ok()).collect();
    let runs = |name: &&String| comms.iter().any(|comm| comm.trim_end() == &name[..name.len().min(KEPT)]);
    names.iter().find(runs).cloned().unwrap_or_else(|| "none".into())
}

fn nic(host: &impl Host, interface: String, group: Group, field: &str, mut want: Vec<String>) -> Instance {
    let target = Target::Ethtool { interface: interface.clone(), group, field: field.into() };
    let place = target.to_string();
    match ethtool::read(host, &interface, group, field) {
        Ok(setting) if setting.fixed => Instance::not_here(&place, "its driver does not let it be changed"),
        Ok(setting) => {
            for want in want.iter_mut().filter(|want| *want == "max") {
                match &setting.max {
                    Some(max) => want.clone_from(max),
                    None => return Instance::not_here(&place, "its driver tells no maximum"),
                }
            }
            Instance { place, target: Some(target), have: Have::Value(setting.value), want }
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            Instance::not_here(&place, error.to_string())
        }
        Err(error) => Instance { place, target: Some(target), have: Have::Unknown(error.to_string()), want },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::host::Machine;
    use super::super::profile;
    use super::*;

    /// A tree with `files`, each with a text.
    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::new(dir.path());
        (dir, machine)
    }

    fn inputs(host: &Machine, cores: &str) -> Inputs {
        Inputs::new(host, cores.parse().unwrap(), Vec::new())
    }

    /// What is found for a knob with `key`.
    fn found(key: &str, host: &Machine, cores: &str) -> Vec<(String, Have)> {
        let knob = format!("name = \"k\"\nwant = \"1\"\nwhy = \"w\"\nrisk = \"r\"\nby-hand = \"b\"\n{key}");
        let profile = profile::parse(&format!("about = \"x\"\n[[knob]]\n{knob}")).unwrap();
        let instances = instances(&profile.knobs[0], &inputs(host, cores), host);
        instances.into_iter().map(|instance| (instance.place, instance.have)).collect()
    }

    fn value(text: &str) -> Have {
        Have::Value(text.into())
    }

    #[test]
    fn files_that_choose_tell_what_is_chosen() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("1 2 3"), "1 2 3");
        assert_eq!(chosen("odd ["), "odd [");
    }

    #[test]
    fn patterns_find_what_is_there() {
        let (_dir, host) = tree(&[
            ("sys/a/cpu0/x/v", "1\n"),
            ("sys/a/cpu1/x/v", "2\n"),
            ("sys/a/cpu2/y/v", "3\n"),
            ("sys/a/other/x/v", "4\n"),
        ]);
        let places = found("file = \"/sys/a/cpu*/x/v\"", &host, "0");
        assert_eq!(places, [("/sys/a/cpu0/x/v".into(), value("1")), ("/sys/a/cpu1/x/v".into(), value("2"))]);
        let why = Have::NotHere("there is no /sys/b/*/v".into());
        assert_eq!(found("file = \"/sys/b/*/v\"", &host, "0")[0].1, why);
        assert!(matches!(found("file = \"/sys/b/v\"", &host, "0")[..], [(_, Have::NotHere(_))]));
        assert!(matches!(found("file = \"/sys/a\"", &host, "0")[..], [(_, Have::Unknown(_))]), "a directory");
    }

    #[test]
    fn interrupts_are_found_by_the_device_or_by_name() {
        const INTERRUPTS: &str = "           CPU0       CPU1\n 24:   7  8  PCI-MSI 512-edge  eth0-rx-0\n\
                                  25:   7  8  PCI-MSI 513-edge  eth01-rx-0\n 26: 1 1 PCI-MSI 4-edge virtio7-input.0\n\
                                  NMI:  0  0  Non-maskable interrupts\n";
        let (dir, host) = tree(&[
            ("proc/interrupts", INTERRUPTS),
            ("proc/irq/24/smp_affinity_list", "0-1\n"),
            ("proc/irq/26/smp_affinity_list", "1\n"),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/devices/virtio7/x", ""),
            ("sys/devices/pci1/device/x", ""),
            ("sys/devices/pci1/msi_irqs/24", "msix\n"),
        ]);
        std::os::unix::fs::symlink(
            dir.path().join("sys/devices/virtio7"),
            dir.path().join("sys/class/net/eth0/device"),
        )
        .unwrap();
        assert_eq!(irqs(&host, "eth0"), [24, 26]);
        let places = found("irqs = \"{interface}\"", &host, "0");
        assert_eq!(places.len(), 2, "{places:?}");
        assert_eq!(places[1], ("/proc/irq/26/smp_affinity_list".into(), value("1")));

        fs::create_dir_all(dir.path().join("sys/class/net/eth9")).unwrap();
        std::os::unix::fs::symlink(
            dir.path().join("sys/devices/pci1/device"),
            dir.path().join("sys/class/net/eth9/device"),
        )
        .unwrap();
        assert_eq!(irqs(&host, "eth9"), [24]);
    }

    #[test]
    fn only_deep_idle_states_of_hot_cores_count() {
        let state = |core: usize, state: usize, file: &str| {
            format!("sys/devices/system/cpu/cpu{core}/cpuidle/state{state}/{file}")
        };
        let mut files = Vec::new();
        for core in 0..2 {
            for (at, latency) in ["0\n", "2\n", "90\n"].into_iter().enumerate() {
                files.push((state(core, at, "latency"), latency));
                files.push((state(core, at, "disable"), "0\n"));
            }
        }
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (_dir, host) = tree(&files);
        let places = |cores: &str| found("idle-states-above-us = 2", &host, cores);
        assert_eq!(places("1"), [(format!("/{}", state(1, 2, "disable")), value("0"))]);
        assert_eq!(places("").len(), 2, "without hot cores: all");
    }

    #[test]
    fn what_is_only_told_is_told() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         8388608              unlimited            bytes\n";
        let (_dir, host) = tree(&[
            ("proc/cmdline", "quiet nohz_full=1 nosmt nohz_full=2-3\n"),
            ("proc/self/limits", limits),
            ("proc/12/comm", "systemd-timesyn\n"),
            ("dev/cpu_dma_latency", "\x14\0\0\0"),
        ]);
        let told = |key: &str| found(key, &host, "0")[0].1.clone();
        assert_eq!(told("kernel-line = \"nohz_full\""), value("2-3"), "the last counts");
        assert_eq!(told("kernel-line = \"nosmt\""), value("present"));
        assert_eq!(told("kernel-line = \"isolcpus\""), value("absent"));
        assert_eq!(told("limit = \"memlock\""), value("8388608"));
        assert!(matches!(told("limit = \"nofile\""), Have::Unknown(_)));
        assert_eq!(told("process = [\"chronyd\", \"systemd-timesyncd\"]"), value("systemd-timesyncd"));
        assert_eq!(told("process = [\"chronyd\"]"), value("none"));
        assert_eq!(told("wakeup-latency = true"), value("20"));
        assert!(matches!(told("ethtool = \"ring rx\""), Have::NotHere(_)), "no interface is hardware");
    }
}
