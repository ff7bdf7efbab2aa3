//! Settings of interfaces, as `ethtool` prints and takes them.

use std::io;

use super::host::Host;
use super::profile::Group;

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    /// The most that the hardware can.
    pub(crate) max: Option<String>,
    /// Whether the driver leaves no choice.
    pub(crate) fixed: bool,
}

impl Group {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Group::Coalesce => "coalesce",
            Group::Ring => "ring",
            Group::Channels => "channels",
            Group::Offload => "offload",
            Group::Pause => "pause",
        }
    }

    /// The options that show and set it.
    fn options(self) -> (&'static str, &'static str) {
        match self {
            Group::Coalesce => ("-c", "-C"),
            Group::Ring => ("-g", "-G"),
            Group::Channels => ("-l", "-L"),
            Group::Offload => ("-k", "-K"),
            Group::Pause => ("-a", "-A"),
        }
    }
}

/// The arguments that set `field`.
pub(crate) fn set(interface: &str, group: Group, field: &str, value: &str) -> Vec<String> {
    [group.options().1, interface, field, value].map(str::to_owned).to_vec()
}

/// Reads `field`.
///
/// # Errors
/// `Unsupported`: the interface has no such setting. Otherwise what kept us from asking.
pub(crate) fn read(host: &impl Host, interface: &str, group: Group, field: &str) -> io::Result<Setting> {
    let told = host.run("ethtool", &[group.options().0, interface]).map_err(|error| {
        let none = error.to_string().to_lowercase();
        let none = ["not supported", "no such device"].iter().any(|why| none.contains(why));
        if none { io::Error::new(io::ErrorKind::Unsupported, error.to_string()) } else { error }
    })?;
    parse(&told, group, field).ok_or_else(|| {
        io::Error::new(io::ErrorKind::Unsupported, format!("{interface} has no {} {field}", group.word()))
    })
}

/// `field` in what ethtool printed; `None` where it says `n/a` or nothing.
fn parse(told: &str, group: Group, field: &str) -> Option<Setting> {
    let title = title(group, field);
    let (maxima, current) = match told.split_once("Current hardware settings:") {
        Some((maxima, current)) => (Some(maxima), current),
        None => (None, told),
    };
    let (value, fixed) = find(current, &title)?;
    let max = maxima.and_then(|maxima| find(maxima, &title)).map(|(value, _)| value);
    Some(Setting { value, max, fixed })
}

/// The value after `title:` on a line, and whether it is fixed. Several stand on one line: `Adaptive RX: off  TX: off`.
fn find(text: &str, title: &str) -> Option<(String, bool)> {
    let value = text.lines().find_map(|line| {
        let line = line.trim();
        match title.strip_prefix("Adaptive TX") {
            Some(_) => line.strip_prefix("Adaptive RX:")?.split_once("TX:").map(|(_, value)| value),
            None => line.strip_prefix(title)?.strip_prefix(':'),
        }
    })?;
    let mut words = value.split_whitespace();
    let word = words.next().filter(|word| *word != "n/a")?;
    Some((word.into(), words.next() == Some("[fixed]")))
}

/// How ethtool prints what it takes as `field`.
fn title(group: Group, field: &str) -> String {
    let title = match (group, field) {
        (Group::Coalesce, "adaptive-rx") => "Adaptive RX",
        (Group::Coalesce, "adaptive-tx") => "Adaptive TX",
        (Group::Ring, "rx") | (Group::Channels, "rx") | (Group::Pause, "rx") => "RX",
        (Group::Ring, "tx") | (Group::Channels, "tx") | (Group::Pause, "tx") => "TX",
        (Group::Channels, "combined") => "Combined",
        (Group::Pause, "autoneg") => "Autonegotiate",
        (Group::Offload, "rx") => "rx-checksumming",
        (Group::Offload, "tx") => "tx-checksumming",
        (Group::Offload, "gro") => "generic-receive-offload",
        (Group::Offload, "gso") => "generic-segmentation-offload",
        (Group::Offload, "lro") => "large-receive-offload",
        (Group::Offload, "tso") => "tcp-segmentation-offload",
        (Group::Offload, "rxvlan") => "rx-vlan-offload",
        (Group::Offload, "ntuple") => "ntuple-filters",
        (Group::Offload, "rxhash") => "receive-hashing",
        _ => field,
    };
    title.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(value: &str, max: Option<&str>, fixed: bool) -> Option<Setting> {
        Some(Setting { value: value.into(), max: max.map(str::to_owned), fixed })
    }

    #[test]
    fn what_ethtool_prints_is_understood() {
        let coalesce = "Coalesce parameters for eth0:\nAdaptive RX: on  TX: off\nstats-block-usecs:\tn/a\n\
                        rx-usecs:\t50\nrx-usecs-irq:\tn/a\n";
        assert_eq!(parse(coalesce, Group::Coalesce, "adaptive-rx"), setting("on", None, false));
        assert_eq!(parse(coalesce, Group::Coalesce, "adaptive-tx"), setting("off", None, false));
        assert_eq!(parse(coalesce, Group::Coalesce, "rx-usecs"), setting("50", None, false));
        assert_eq!(parse(coalesce, Group::Coalesce, "stats-block-usecs"), None);

        let ring = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t4096\n\
                    Current hardware settings:\nRX:\t\t512\nRX Mini:\tn/a\nTX:\t\t256\n";
        assert_eq!(parse(ring, Group::Ring, "rx"), setting("512", Some("4096"), false));
        assert_eq!(parse(ring, Group::Ring, "tx"), setting("256", Some("4096"), false));

        let features = "Features for eth0:\nrx-checksumming: on [fixed]\ngeneric-receive-offload: on\n\
                        rx-gro-hw: off [requested on]\n";
        assert_eq!(parse(features, Group::Offload, "gro"), setting("on", None, false));
        assert_eq!(parse(features, Group::Offload, "rx"), setting("on", None, true));
        assert_eq!(parse(features, Group::Offload, "rx-gro-hw"), setting("off", None, false));
        assert_eq!(parse(features, Group::Offload, "lro"), None);
    }
}
