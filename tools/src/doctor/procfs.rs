//! Tables of the kernel: who has joined what, which sockets there are, what was dropped.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::evidence::KernelDrops;

/// A group that an interface has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) interface: String,
    pub(crate) group: Ipv4Addr,
    /// Sockets that have joined it.
    pub(crate) users: u32,
    /// `V2` or `V3`.
    pub(crate) version: String,
}

/// `/proc/net/igmp`.
pub(crate) fn memberships(text: &str) -> Vec<Membership> {
    let mut memberships = Vec::new();
    let (mut interface, mut version) = (String::new(), String::new());
    for line in text.lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        if line.starts_with(char::is_whitespace) {
            let [group, users, ..] = words[..] else { continue };
            if let (Some(group), Ok(users)) = (address(group), users.parse()) {
                let (interface, version) = (interface.clone(), version.clone());
                memberships.push(Membership { interface, group, users, version });
            }
        } else {
            interface = words.get(1).copied().unwrap_or_default().trim_end_matches(':').into();
            version = words.last().copied().unwrap_or_default().into();
        }
    }
    memberships
}

/// A UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpSocket {
    pub(crate) local: SocketAddrV4,
    pub(crate) inode: u64,
    pub(crate) drops: u64,
}

/// `/proc/net/udp`.
pub(crate) fn udp_sockets(text: &str) -> Vec<UdpSocket> {
    let socket = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = words.get(1)?.split_once(':')?;
        let local = SocketAddrV4::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
        let inode = words.get(9)?.parse().ok()?;
        Some(UdpSocket { local, inode, drops: words.get(12)?.parse().ok()? })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// An address as the kernel prints it: the bytes of the network, read as a number of this machine.
fn address(hex: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hex, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
}

/// `/proc/net/snmp` and `/proc/net/netstat`.
pub(crate) fn drops(snmp: &str, netstat: &str) -> KernelDrops {
    KernelDrops {
        reverse_path: counter(netstat, "TcpExt:", "IPReversePathFilter"),
        receive_buffer: counter(snmp, "Udp:", "RcvbufErrors"),
        checksum: counter(snmp, "Udp:", "InCsumErrors"),
    }
}

impl KernelDrops {
    pub(crate) fn since(self, before: KernelDrops) -> KernelDrops {
        KernelDrops {
            reverse_path: self.reverse_path.saturating_sub(before.reverse_path),
            receive_buffer: self.receive_buffer.saturating_sub(before.receive_buffer),
            checksum: self.checksum.saturating_sub(before.checksum),
        }
    }
}

/// One counter of a table whose lines come in pairs, of names and of values.
fn counter(text: &str, table: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.split_whitespace().next() == Some(table));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(found, _)| *found == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_of_the_kernel_are_read() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     2      V3\n\t\t\t\t014DFFEF     2 0:00000000\t\t0\n\
                    \t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    4\teth0      :     1      V2\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let found = memberships(igmp);
        assert_eq!(found.len(), 3);
        let group = Ipv4Addr::new(239, 255, 77, 1);
        assert_eq!(found[0], Membership { interface: "lo".into(), group, users: 2, version: "V3".into() });
        assert_eq!((found[2].interface.as_str(), found[2].version.as_str()), ("eth0", "V2"));

        let udp = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                   12345: 014DFFEF:7919 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 43210 2 0000000000000000 17\n";
        let local = "239.255.77.1:31001".parse().unwrap();
        assert_eq!(udp_sockets(udp), [UdpSocket { local, inode: 43_210, drops: 17 }]);

        let snmp = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams RcvbufErrors InCsumErrors\nUdp: 9 5 2\n";
        let netstat = "TcpExt: A IPReversePathFilter B\nTcpExt: 1 7 3\n";
        let found = drops(snmp, netstat);
        assert_eq!(found, KernelDrops { reverse_path: 7, receive_buffer: 5, checksum: 2 });
        assert_eq!(found.since(found), KernelDrops::default());
        for text in ["", "x", "\n\n", "Udp: a\n", "TcpExt:\nTcpExt:\n"] {
            assert!(memberships(text).is_empty() && udp_sockets(text).is_empty());
            assert_eq!(drops(text, text), KernelDrops::default());
        }
    }
}
