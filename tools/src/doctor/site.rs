//! Whether this host can do what a configuration asks of it.

use std::net::{IpAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open, statvfs};
use rustix::net::sockopt;
use seqcast_engine::config::{Config, Durability, IoDriver, Line};
use seqcast_engine::io::{DriverChoice, open_best};
use seqcast_engine::runtime::allowed_cores;
use seqcast_engine::topology;

use super::listen::is_up;
use super::{Finding, Findings};
use crate::interfaces::Address;
use crate::output::sized;
use crate::tune::cpus::CpuSet;
use crate::tune::host::{Host, Machine};
use crate::tune::probe;

const XDP_REMEDY: &str =
    "AF_XDP takes CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, or root; else say io.driver = \"auto\"";

/// What a process does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// `seqcast sequence`
    Sequence,
    /// `seqcast publish`
    Publish,
    /// `seqcast subscribe`
    Subscribe,
}

/// What the roles need.
#[derive(Debug, Default)]
struct Needs<'a> {
    /// Lines to receive, with what they are.
    receive: Vec<(String, &'a Line)>,
    /// Lines to send on.
    send: Vec<(String, &'a Line)>,
    /// Addresses to be had: key of the configuration, address, whether TCP too.
    bind: Vec<(String, SocketAddrV4, Transport)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Both,
}

impl<'a> Needs<'a> {
    fn of(config: &'a Config, roles: &[Role]) -> Needs<'a> {
        let mut needs = Needs::default();
        let named = |(at, line): (usize, &'a Line)| (format!("feed.line[{at}]"), line);
        let feed_lines = || config.feed.iter().flat_map(|feed| &feed.lines).enumerate().map(named);
        if roles.contains(&Role::Subscribe) {
            needs.receive.extend(feed_lines());
        }
        if let Some(sequencer) = config.sequencer.as_ref().filter(|_| roles.contains(&Role::Sequence)) {
            needs.send.extend(feed_lines());
            for source in &sequencer.sources {
                let lines = source.lines.iter().enumerate();
                needs
                    .receive
                    .extend(lines.map(|(at, line)| (format!("source {} line[{at}]", source.name), line)));
            }
            let rewind =
                config.rewind.iter().map(|rewind| ("rewind.bind".into(), rewind.bind, Transport::Udp));
            needs.bind.extend(rewind);
            let snapshot =
                config.snapshot.iter().map(|server| ("snapshot.bind".into(), server.bind, Transport::Tcp));
            needs.bind.extend(snapshot);
            let nodes = config.cluster.iter().flat_map(|cluster| &cluster.nodes);
            let own = nodes.filter(|node| node.name == sequencer.name);
            needs.bind.extend(
                own.map(|node| ("cluster.node.replication".into(), node.replication, Transport::Both)),
            );
        }
        if let Some(publisher) = config.publisher.as_ref().filter(|_| roles.contains(&Role::Publish)) {
            let lines = publisher.lines.iter().enumerate();
            needs.send.extend(lines.map(|(at, line)| (format!("publisher.line[{at}]"), line)));
            needs.bind.push(("publisher.rewind_bind".into(), publisher.rewind_bind, Transport::Udp));
        }
        needs
    }
}

/// Looks at everything that `config` asks for in `roles`.
pub(crate) fn inspect(
    config: &Config,
    roles: &[Role],
    addresses: &[Address],
    host: &Machine,
) -> Vec<Finding> {
    let mut all = Vec::new();
    let needs = Needs::of(config, roles);
    for (key, line) in &needs.receive {
        let mut found = Findings::of(format!("{key} ({})", line.group), &mut all);
        if judge_line_address(line, addresses, host, &mut found) {
            judge_join(line, &mut found);
        }
    }
    for (key, line) in &needs.send {
        let mut found = Findings::of(format!("{key} ({})", line.group), &mut all);
        if !line.interface.is_unspecified() {
            judge_address(line.interface.into(), addresses, host, &mut found);
        }
    }
    for (key, address, transport) in &needs.bind {
        let mut found = Findings::of(format!("{key} ({address})"), &mut all);
        if address.ip().is_unspecified() || judge_address((*address.ip()).into(), addresses, host, &mut found)
        {
            judge_port(*address, *transport, &mut found);
        }
    }
    judge_io(config, &mut Findings::of("io", &mut all));
    judge_cores(config, host, &mut Findings::of("runtime", &mut all));
    judge_memory(config, host, &mut Findings::of("memory", &mut all));
    if let Some(journal) = config.journal.as_ref().filter(|_| roles.contains(&Role::Sequence)) {
        let durability = config.sequencer.as_ref().map(|sequencer| sequencer.durability);
        let most = if config.cluster.is_some() { journal.catch_up_bytes() } else { 0 };
        let must = most.max(journal.retain_bytes.unwrap_or(0)).max(journal.segment_bytes * 2);
        let mut found = Findings::of(format!("journal ({})", journal.dir.display()), &mut all);
        judge_disk(&journal.dir, must, durability == Some(Durability::Disk), host, &mut found);
    }
    if !config.stat.dir.as_os_str().is_empty() {
        let mut found = Findings::of(format!("stat.dir ({})", config.stat.dir.display()), &mut all);
        judge_counters(&config.stat.dir, host, &mut found);
    }
    judge_clocks(host, &mut Findings::of("clock", &mut all));
    all
}

fn judge_line_address(line: &Line, addresses: &[Address], host: &Machine, found: &mut Findings<'_>) -> bool {
    match (line.interface.is_unspecified(), line.group.ip().is_multicast()) {
        (true, true) => {
            let remedy = "name the address of the interface that the line comes in at";
            found.warning("interface", "the kernel chooses the interface, by its default route", remedy);
            true
        }
        (true, false) => judge_address((*line.group.ip()).into(), addresses, host, found),
        (false, _) => judge_address(line.interface.into(), addresses, host, found),
    }
}

/// Whether an address is this host's, on an interface that is up.
fn judge_address(address: IpAddr, addresses: &[Address], host: &Machine, found: &mut Findings<'_>) -> bool {
    let is_it =
        |known: &&Address| known.address == address || address.is_loopback() && known.address.is_loopback();
    let Some(Address { interface, .. }) = addresses.iter().find(is_it) else {
        found.bad(
            "address",
            format!("{address} is no address of this host"),
            "see `ip address`; if the key concerns another host's role, name this one's with --role",
        );
        return false;
    };
    let is_up = is_up(host, interface);
    if is_up {
        found.ok("interface", format!("{address} is on {interface}, which is up"));
    } else {
        found.bad(
            "interface",
            format!("{interface} is down"),
            format!("`ip link set {interface} up`; look at the cable"),
        );
    }
    is_up
}

fn judge_join(line: &Line, found: &mut Findings<'_>) {
    if !line.group.ip().is_multicast() {
        judge_port(line.group, Transport::Udp, found);
        return;
    }
    let joined = UdpSocket::bind((*line.group.ip(), 0)).map(socket2::Socket::from).and_then(|socket| {
        match line.source {
            Some(source) => socket.join_ssm_v4(&source, line.group.ip(), &line.interface),
            None => socket.join_multicast_v4(line.group.ip(), &line.interface),
        }
    });
    match joined {
        Ok(()) => found.ok("join", "can be joined"),
        Err(error) => found.bad(
            "join",
            format!("cannot be joined: {error}"),
            "see `ip maddress` and net.ipv4.igmp_max_memberships",
        ),
    }
}

fn judge_port(address: SocketAddrV4, transport: Transport, found: &mut Findings<'_>) {
    let udp = || UdpSocket::bind(address).map(|_| "UDP");
    let tcp = || TcpListener::bind(address).map(|_| "TCP");
    let tried: &[&dyn Fn() -> std::io::Result<&'static str>] = match transport {
        Transport::Udp => &[&udp],
        Transport::Tcp => &[&tcp],
        Transport::Both => &[&udp, &tcp],
    };
    for bind in tried {
        match bind() {
            Ok(protocol) => found.ok("port", format!("{protocol} port {} is free", address.port())),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => found.warning(
                "port",
                format!("port {} is in use", address.port()),
                "fine if that is the process of this configuration; see `ss -tulnp`",
            ),
            Err(error) => found.bad(
                "port",
                format!("cannot be bound: {error}"),
                "ports below 1024 need CAP_NET_BIND_SERVICE",
            ),
        }
    }
}

fn judge_io(config: &Config, found: &mut Findings<'_>) {
    let io = &config.io;
    let sizes = topology::driver_config(config);
    if io.driver == IoDriver::Xdp {
        match open_best(DriverChoice::Xdp, &sizes) {
            Ok((_, None)) => found.ok("AF_XDP", "is allowed"),
            Ok((_, Some(notice))) => found.warning("AF_XDP", notice.to_string(), XDP_REMEDY),
            Err(error) => found.bad("AF_XDP", format!("cannot be had: {error}"), XDP_REMEDY),
        }
    } else if io.driver != IoDriver::Udp {
        let remedy =
            "sysctl kernel.io_uring_disabled, the container's seccomp profile, or the limit on locked memory";
        match (open_best(DriverChoice::Uring, &sizes), io.driver) {
            (Ok(_), _) => found.ok("io_uring", "is allowed"),
            (Err(error), IoDriver::Uring) => found.bad("io_uring", format!("cannot be had: {error}"), remedy),
            (Err(error), _) => {
                found.warning("io_uring", format!("plain sockets will be used: {error}"), remedy)
            }
        }
    }
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else { return };
    let asked = io.receive_buffer_bytes;
    let forced = sockopt::set_socket_recv_buffer_size_force(&socket, asked).is_ok();
    let _ = forced || sockopt::set_socket_recv_buffer_size(&socket, asked).is_ok();
    let granted = sockopt::socket_recv_buffer_size(&socket).map(|bytes| bytes / 2);
    judge_buffer("receive", "rmem_max", asked, granted, found);
    let asked = io.send_buffer_bytes;
    let _ = sockopt::set_socket_send_buffer_size(&socket, asked);
    let granted = sockopt::socket_send_buffer_size(&socket).map(|bytes| bytes / 2);
    judge_buffer("send", "wmem_max", asked, granted, found);
}

/// Linux grants double of what is asked, for its own bookkeeping, and reports the double: `granted` is half of it.
fn judge_buffer(
    name: &str,
    limit: &str,
    asked: usize,
    granted: rustix::io::Result<usize>,
    found: &mut Findings<'_>,
) {
    match granted {
        Ok(granted) if granted >= asked => {
            found.ok("buffers", format!("{name} buffers of {} are granted", sized(asked as u64)))
        }
        Ok(granted) => found.warning(
            "buffers",
            format!(
                "{name} buffers of {} are asked for, {} granted",
                sized(asked as u64),
                sized(granted as u64)
            ),
            format!("raise net.core.{limit} (`seqcast tune`); this was tried as the user who asks"),
        ),
        Err(error) => found.skipped("buffers", format!("the kernel does not tell: {error}")),
    }
}

fn judge_cores(config: &Config, host: &impl Host, found: &mut Findings<'_>) {
    let wanted: Vec<_> =
        config.runtime.threads.iter().filter_map(|thread| Some((&thread.name, thread.core?))).collect();
    if wanted.is_empty() {
        found.ok("cores", "no thread is pinned");
        return;
    }
    let set = |path: &str| host.read_text(path).ok().and_then(|text| text.parse::<CpuSet>().ok());
    let online = set("/sys/devices/system/cpu/online").unwrap_or_default();
    let isolated = set("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let allowed: CpuSet = allowed_cores().into_iter().collect();
    for (name, core) in wanted {
        if !online.contains(core) {
            let remedy = format!("cores {online} are there");
            found.bad("cores", format!("thread {name} is for core {core}, which this host has not"), remedy);
        } else if !allowed.contains(core) && !isolated.contains(core) {
            let remedy = format!(
                "this process may use {allowed}: see CPUAffinity of the unit, cpuset of the container, taskset"
            );
            found.bad("cores", format!("thread {name} is for core {core}, which is not allowed"), remedy);
        } else if !isolated.contains(core) {
            let remedy =
                "isolcpus, nohz_full, rcu_nocbs: `seqcast tune check --profile bare-metal --config FILE`";
            found.warning("cores", format!("core {core} of thread {name} is not isolated"), remedy);
        } else {
            found.ok("cores", format!("core {core} of thread {name} is isolated"));
        }
    }
}

fn judge_memory(config: &Config, host: &impl Host, found: &mut Findings<'_>) {
    let needed = config.memory.ring_bytes as u64;
    if config.memory.lock {
        let limits = host.read_text("/proc/self/limits").unwrap_or_default();
        let row = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
        let soft = row.and_then(|row| row.split_whitespace().next()).unwrap_or("unlimited");
        match soft.parse::<u64>() {
            Ok(limit) if limit < needed && !host.is_privileged() => found.warning(
                "memlock",
                format!("{} are to be locked, {} may be", sized(needed), sized(limit)),
                "LimitMEMLOCK=infinity in the unit, `ulimit -l`, or CAP_IPC_LOCK",
            ),
            _ => found.ok("memlock", "the rings can be locked"),
        }
    }
    if config.memory.huge_pages {
        let meminfo = host.read_text("/proc/meminfo").unwrap_or_default();
        let of = |name: &str| {
            let row = meminfo.lines().find_map(|line| line.strip_prefix(name));
            row.and_then(|row| row.split_whitespace().next())
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let free = of("HugePages_Free:") * of("Hugepagesize:") * 1_024;
        if free >= needed {
            found.ok("huge-pages", format!("{} of huge pages are free", sized(free)));
        } else {
            let what = format!("a ring takes {} of huge pages, {} are free", sized(needed), sized(free));
            found.warning("huge-pages", what, "vm.nr_hugepages: `seqcast tune apply --profile bare-metal`");
        }
    }
}

/// The directory itself, or the nearest one above it that is there.
fn existing(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).into()
}

fn judge_disk(dir: &Path, needed: u64, must_last: bool, host: &impl Host, found: &mut Findings<'_>) {
    let dir = existing(dir);
    let system = file_system(&host.read_text("/proc/self/mountinfo").unwrap_or_default(), &dir);
    match system.as_deref() {
        Some(kind @ ("tmpfs" | "ramfs")) if must_last => {
            found.bad(
                "disk",
                format!("{kind} keeps nothing, and durability is \"disk\""),
                "put the journal on a disk",
            );
        }
        Some(kind @ ("tmpfs" | "ramfs")) => {
            found.warning(
                "disk",
                format!("{kind} loses the journal with the power"),
                "put the journal on a disk",
            );
        }
        Some(kind) if kind.starts_with("nfs") || ["cifs", "smb3", "fuse", "9p", "ceph"].contains(&kind) => {
            found.bad(
                "disk",
                format!("{kind} is a network or user file system"),
                "put the journal on a local disk: its pages are mapped and synced",
            );
        }
        Some(kind) => found.ok("disk", format!("{} is on {kind}", dir.display())),
        None => found.skipped("disk", "the kernel does not tell what it is on"),
    }
    match statvfs(&dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            if free < needed {
                let what = format!("{} are free, the journal wants {}", sized(free), sized(needed));
                found.bad(
                    "space",
                    what,
                    "make room, or lower journal.retain_bytes and journal.catch_up_bytes",
                );
            } else {
                found.ok("space", format!("{} are free, the journal wants {}", sized(free), sized(needed)));
            }
        }
        Err(error) => found.skipped("space", format!("cannot be told: {error}")),
    }
    judge_prewrite(&dir, found);
}

/// Segments are made whole in advance: tries that with a file that has no name and goes by itself.
fn judge_prewrite(dir: &Path, found: &mut Findings<'_>) {
    const TRIED_BYTES: u64 = 1 << 20;
    let file = open(dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match file.and_then(|file| fallocate(&file, FallocateFlags::empty(), 0, TRIED_BYTES)) {
        Ok(()) => found.ok("prewrite", "files can be made whole in advance"),
        Err(rustix::io::Errno::OPNOTSUPP) => found.warning(
            "prewrite",
            "the file system cannot make room in advance",
            "use ext4 or xfs: appending may wait for the file system otherwise",
        ),
        Err(error) => {
            let what = format!("{} cannot be written: {error}", dir.display());
            found.bad(
                "prewrite",
                what,
                "who runs the sequencer must own the directory; this was tried as the user who asks",
            );
        }
    }
}

/// The type of the file system that `path` is on: of the longest mount point above it, the last mounted there.
fn file_system(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        // Blanks in names are written in octal.
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then(|| (point.len(), kind.split(' ').next().unwrap_or_default().to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn judge_counters(dir: &Path, host: &impl Host, found: &mut Findings<'_>) {
    match file_system(&host.read_text("/proc/self/mountinfo").unwrap_or_default(), &existing(dir)).as_deref()
    {
        Some("tmpfs" | "ramfs" | "hugetlbfs") => found.ok("counters", "in memory"),
        Some(kind) => {
            let what = format!("on {kind}: writing back to a disk stalls the threads that count");
            found.warning("counters", what, "a directory in /dev/shm");
        }
        None => found.skipped("counters", "the kernel does not tell what it is on"),
    }
}

fn judge_clocks(host: &impl Host, found: &mut Findings<'_>) {
    const FAST: [&str; 5] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "xen"];
    match host.read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource") {
        Ok(source) if FAST.contains(&source.trim()) => {
            found.ok("clock-source", format!("{} is read without a system call", source.trim()))
        }
        Ok(source) => found.warning(
            "clock-source",
            format!("{} takes a system call, or an access to a device", source.trim()),
            "`dmesg | grep -i -e tsc -e clocksource` tells why the kernel chose it",
        ),
        Err(error) => found.skipped("clock-source", format!("cannot be told: {error}")),
    }
    let daemons = ["ptp4l", "chronyd", "ntpd", "systemd-timesyncd"].map(str::to_owned);
    let daemon = probe::running(host, &daemons);
    if daemon == "none" {
        let remedy = "install chrony, or linuxptp for microseconds; a container is set by its host";
        found.warning("time-sync", "nobody keeps this host's time", remedy);
        return;
    }
    let offset = (daemon == "chronyd").then(|| host.run("chronyc", &["-n", "tracking"]).ok()).flatten();
    let offset =
        offset.as_deref().and_then(|told| told.lines().find_map(|line| line.strip_prefix("System time")));
    let offset =
        offset.map(|text| format!(":{}", text.trim_start().trim_start_matches(':'))).unwrap_or_default();
    found.ok("time-sync", format!("{daemon} runs{offset}"));
    let clocks = host.list("/sys/class/ptp").unwrap_or_default();
    if !clocks.is_empty() {
        found.ok("ptp", format!("clocks in hardware: {}", clocks.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    fn steps(findings: &[Finding], health: Health) -> Vec<&str> {
        findings.iter().filter(|finding| finding.health == health).map(|finding| finding.step).collect()
    }

    #[test]
    fn the_longest_mount_point_counts() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /dev/shm rw - tmpfs tmpfs rw\n\
                      3 1 0:6 / /mnt/a\\040b rw shared:1 - nfs4 x rw\n";
        let on = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(on("/dev/shm/seqcast").as_deref(), Some("tmpfs"));
        assert_eq!(on("/dev/shmem").as_deref(), Some("ext4"));
        assert_eq!(on("/mnt/a b/c").as_deref(), Some("nfs4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn cores_are_looked_up_in_the_tree() {
        let tree = tempfile::tempdir().unwrap();
        let cpu = tree.path().join("sys/devices/system/cpu");
        std::fs::create_dir_all(&cpu).unwrap();
        std::fs::write(cpu.join("online"), "0-3\n").unwrap();
        std::fs::write(cpu.join("isolated"), "3\n").unwrap();
        let mut config = Config::default();
        for core in [0, 3, 9] {
            let (name, agents) = (format!("t{core}"), vec!["x".into()]);
            config.runtime.threads.push(seqcast_engine::config::ThreadLayout {
                name,
                agents,
                core: Some(core),
                idle: None,
            });
        }
        let mut all = Vec::new();
        judge_cores(&config, &Machine::new(tree.path()), &mut Findings::of("runtime", &mut all));
        let healths: Vec<_> = all.iter().map(|finding| finding.health).collect();
        assert_eq!(healths, [Health::Warning, Health::Ok, Health::Bad]);
    }

    #[test]
    fn roles_need_their_own_part() {
        let config = Config::default();
        let needs = Needs::of(&config, &[Role::Subscribe]);
        assert_eq!((needs.receive.len(), needs.send.len(), needs.bind.len()), (2, 0, 0));
        let needs = Needs::of(&config, &[Role::Sequence]);
        assert_eq!((needs.receive.len(), needs.send.len(), needs.bind.len()), (2, 2, 2));
        let needs = Needs::of(&config, &[Role::Publish]);
        assert_eq!((needs.receive.len(), needs.send.len(), needs.bind.len()), (0, 2, 1));
    }

    #[test]
    fn addresses_must_be_here() {
        let here = [Address { interface: "eth0".into(), index: 2, address: [10, 0, 0, 3].into() }];
        let tree = tempfile::tempdir().unwrap();
        let host = Machine::new(tree.path());
        let mut all = Vec::new();
        let net = tree.path().join("sys/class/net/eth0");
        std::fs::create_dir_all(&net).unwrap();
        std::fs::write(net.join("flags"), "0x1003\n").unwrap();
        std::fs::write(net.join("carrier"), "1\n").unwrap();
        assert!(judge_address([10, 0, 0, 3].into(), &here, &host, &mut Findings::of("a", &mut all)));
        assert!(!judge_address([10, 0, 0, 4].into(), &here, &host, &mut Findings::of("b", &mut all)));
        std::fs::write(net.join("carrier"), "0\n").unwrap();
        assert!(!judge_address([10, 0, 0, 3].into(), &here, &host, &mut Findings::of("c", &mut all)));
        assert_eq!(steps(&all, Health::Bad), ["address", "interface"]);
    }

    #[test]
    fn memory_and_disks_are_judged() {
        let tree = tempfile::tempdir().unwrap();
        let proc = tree.path().join("proc/self");
        std::fs::create_dir_all(&proc).unwrap();
        std::fs::write(tree.path().join("proc/meminfo"), "HugePages_Free:       4\nHugepagesize:  2048 kB\n")
            .unwrap();
        std::fs::write(proc.join("mountinfo"), "1 0 8:1 / / rw - tmpfs x rw\n").unwrap();
        let host = Machine::new(tree.path());
        let mut config = Config::default();
        config.memory.huge_pages = true;
        let mut all = Vec::new();
        judge_memory(&config, &host, &mut Findings::of("memory", &mut all));
        judge_disk(tree.path(), 1, true, &host, &mut Findings::of("journal", &mut all));
        judge_disk(tree.path(), u64::MAX, false, &host, &mut Findings::of("journal", &mut all));
        assert_eq!(steps(&all, Health::Warning), ["huge-pages", "disk"]);
        assert_eq!(steps(&all, Health::Bad), ["disk", "space"]);
    }
}
