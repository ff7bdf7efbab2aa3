//! Profiles: what a host is wanted to be, as data.

use serde::Deserialize;

/// What a host is wanted to be, for one kind of use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// For whom it is, in a sentence.
    pub(crate) about: String,
    /// What is looked at, in the order in which it is changed.
    #[serde(rename = "knob")]
    pub(crate) knobs: Vec<Knob>,
}

/// One setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawKnob")]
pub(crate) struct Knob {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// What fits; the first is what is set. May hold [placeholders](super::inputs::Inputs::fill).
    pub(crate) want: Vec<String>,
    pub(crate) fit: Fit,
    pub(crate) why: String,
    pub(crate) risk: String,
    /// How to change it, where that is not ours to do.
    pub(crate) by_hand: Option<String>,
}

/// Where a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file; `*` stands for any part of a name.
    File(String),
    /// The cores that the interrupts of an interface go to.
    Irqs(String),
    /// Whether the idle states whose way back takes longer than so many microseconds are off, on every core.
    IdleStates(u64),
    /// How long the way back from an idle state may take, as all processes together ask for.
    WakeupLatency,
    /// A setting of an interface.
    Ethtool { interface: String, group: Group, field: String },
    /// A parameter of the kernel's command line.
    KernelLine(String),
    /// A limit of this process.
    Limit(String),
    /// Whether one of these programs runs.
    Process(Vec<String>),
}

/// What `ethtool` shows and changes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    Coalesce,
    Ring,
    Channels,
    Offload,
    Pause,
}

/// When what is there fits what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fit {
    /// It is one of the wanted.
    #[default]
    Equal,
    /// Each number is as large or larger.
    AtLeast,
    /// Each number is as small or smaller.
    AtMost,
    /// Only cores of the wanted list.
    Within,
    /// Only cores of the wanted mask.
    MaskWithin,
    /// All cores of the wanted list.
    Covers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawKnob {
    name: String,
    sysctl: Option<String>,
    file: Option<String>,
    irqs: Option<String>,
    idle_states_above_us: Option<u64>,
    #[serde(default)]
    wakeup_latency: bool,
    ethtool: Option<String>,
    interface: Option<String>,
    kernel_line: Option<String>,
    limit: Option<String>,
    process: Option<Vec<String>>,
    want: OneOrMore,
    #[serde(default)]
    fit: Fit,
    why: String,
    risk: String,
    by_hand: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// The keys that say where a setting is.
const KINDS: [&str; 9] = [
    "sysctl",
    "file",
    "irqs",
    "idle-states-above-us",
    "ethtool",
    "kernel-line",
    "limit",
    "wakeup-latency",
    "process",
];

impl TryFrom<RawKnob> for Knob {
    type Error = String;

    fn try_from(raw: RawKnob) -> Result<Knob, String> {
        let name = raw.name.clone();
        knob(raw).map_err(|what| format!("knob {name:?}: {what}"))
    }
}

fn knob(raw: RawKnob) -> Result<Knob, String> {
    let RawKnob { name, want, fit, why, risk, by_hand, .. } = raw;
    let interface = raw.interface.unwrap_or_else(|| "{interface}".into());
    let ethtool = raw.ethtool.map(|text| ethtool(interface, &text)).transpose()?;
    let sources = [
        raw.sysctl.map(|key| Source::File(sysctl_path(&key))),
        raw.file.map(Source::File),
        raw.irqs.map(Source::Irqs),
        raw.idle_states_above_us.map(Source::IdleStates),
        raw.wakeup_latency.then_some(Source::WakeupLatency),
        ethtool,
        raw.kernel_line.map(Source::KernelLine),
        raw.limit.map(Source::Limit),
        raw.process.map(Source::Process),
    ];
    let mut sources = sources.into_iter().flatten();
    let (Some(source), None) = (sources.next(), sources.next()) else {
        return Err(format!("give exactly one of {}", KINDS.join(", ")));
    };
    let want = match want {
        OneOrMore::One(want) => vec![want],
        OneOrMore::More(want) => want,
    };
    if want.is_empty() || name.is_empty() || why.is_empty() || risk.is_empty() {
        return Err("name, want, why and risk must say something".into());
    }
    let is_below = |path: &str| {
        (path.starts_with("/proc/") || path.starts_with("/sys/")) && path.split('/').all(|name| name != "..")
    };
    if matches!(&source, Source::File(path) if !is_below(path)) {
        return Err("files are below /proc or /sys".into());
    }
    let told =
        !matches!(source, Source::File(_) | Source::Irqs(_) | Source::IdleStates(_) | Source::Ethtool { .. });
    if told && by_hand.is_none() {
        return Err("this kind is not changed by `tune apply`: say in by-hand how it is".into());
    }
    Ok(Knob { name, source, want, fit, why, risk, by_hand })
}

/// `net.core.rmem_max` as a file; a key with a dot inside a name is written with slashes, as for `sysctl`.
fn sysctl_path(key: &str) -> String {
    if key.contains('/') {
        format!("/proc/sys/{key}")
    } else {
        format!("/proc/sys/{}", key.replace('.', "/"))
    }
}

fn ethtool(interface: String, text: &str) -> Result<Source, String> {
    let (group, field) =
        text.split_once(' ').ok_or("ethtool takes a group and a field, such as \"ring rx\"")?;
    let group = match group {
        "coalesce" => Group::Coalesce,
        "ring" => Group::Ring,
        "channels" => Group::Channels,
        "offload" => Group::Offload,
        "pause" => Group::Pause,
        _ => return Err(format!("{group:?} is none of coalesce, ring, channels, offload, pause")),
    };
    Ok(Source::Ethtool { interface, group, field: field.into() })
}

/// The profiles that the program brings along: name and text.
pub(crate) const BUILT_IN: [(&str, &str); 3] = [
    ("shared-vm", include_str!("../../../tuning/profiles/shared-vm.toml")),
    ("bare-metal", include_str!("../../../tuning/profiles/bare-metal.toml")),
    ("bench", include_str!("../../../tuning/profiles/bench.toml")),
];

/// A profile from its text.
pub(crate) fn parse(text: &str) -> Result<Profile, toml::de::Error> {
    toml::from_str(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn refusal(keys: &str) -> String {
        let text =
            format!("about = \"x\"\n[[knob]]\nname = \"k\"\nwant = \"1\"\nwhy = \"w\"\nrisk = \"r\"\n{keys}");
        parse(&text).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_profiles_are_whole() {
        for (name, text) in BUILT_IN {
            let profile = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let names: BTreeSet<_> = profile.knobs.iter().map(|knob| &knob.name).collect();
            assert_eq!(names.len(), profile.knobs.len(), "{name}: a name stands twice");
            assert!(profile.about.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn mistakes_are_told_with_the_knobs_name() {
        assert!(refusal("").contains("\"k\": give exactly one of"), "{}", refusal(""));
        assert!(refusal("sysctl = \"a.b\"\nlimit = \"memlock\"").contains("exactly one of"));
        assert!(refusal("limit = \"memlock\"").contains("by-hand"));
        assert!(refusal("file = \"/etc/passwd\"").contains("below /proc or /sys"));
        assert!(refusal("file = \"/sys/../etc/passwd\"").contains("below /proc or /sys"));
        assert!(refusal("ethtool = \"rings rx\"").contains("none of coalesce"));
        assert!(refusal("colour = \"red\"").contains("colour"));
    }

    #[test]
    fn the_manual_of_profiles_is_complete() {
        let manual = include_str!("../../../tuning/README.md");
        let rows: Vec<_> =
            manual.lines().filter_map(|line| line.strip_prefix("| `")?.split([' ', '`']).next()).collect();
        assert_eq!(rows, KINDS);
        for word in ["equal", "at-least", "at-most", "within", "covers", "mask-within"] {
            assert!(manual.contains(&format!("`{word}`")), "{word}");
            let text = BUILT_IN[0].1.replace("fit = \"at-least\"", &format!("fit = \"{word}\""));
            assert!(parse(&text).is_ok(), "{word}");
        }
        assert!(BUILT_IN.iter().all(|(name, _)| manual.contains(name) || *name == "bench"));
    }

    #[test]
    fn keys_of_sysctl_are_files() {
        assert_eq!(sysctl_path("net.core.rmem_max"), "/proc/sys/net/core/rmem_max");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.7/rp_filter"), "/proc/sys/net/ipv4/conf/eth0.7/rp_filter");
    }
}
