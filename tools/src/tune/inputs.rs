//! What a profile does not know: the cores and interfaces of this host.

use super::cpus::CpuSet;
use super::host::Host;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// What the placeholders of a profile stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// Cores of the hot threads.
    pub(crate) cores: CpuSet,
    /// All that run.
    pub(crate) online: CpuSet,
    /// Interfaces that carry feeds.
    pub(crate) interfaces: Vec<String>,
}

impl Inputs {
    /// For hot threads on `cores` and feeds on `interfaces`; without any, those that are hardware.
    pub(crate) fn new(host: &impl Host, cores: CpuSet, mut interfaces: Vec<String>) -> Inputs {
        let online = host.read_text(ONLINE).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
        if interfaces.is_empty() {
            interfaces = host.list("/sys/class/net").unwrap_or_default();
            interfaces.retain(|name| host.list(&format!("/sys/class/net/{name}/device")).is_ok());
        }
        Inputs { cores, online, interfaces }
    }

    /// `text` with `{cores}`, `{housekeeping}`, `{housekeeping-mask}` and `{interface}` filled in.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(crate) fn fill(&self, text: &str, interface: &str) -> Result<String, String> {
        let mut filled = text.replace("{interface}", interface);
        if filled.contains("{cores}") || filled.contains("{housekeeping") {
            if self.cores.is_empty() {
                return Err(
                    "no cores for hot threads are named: --cores, or [[runtime.thread]] of --config".into()
                );
            }
            let rest = self.online.without(&self.cores);
            if rest.is_empty() {
                return Err("no core is left for everything else".into());
            }
            filled = filled.replace("{cores}", &self.cores.to_string());
            filled = filled.replace("{housekeeping}", &rest.to_string());
            filled = filled.replace("{housekeeping-mask}", &rest.to_mask());
        }
        Ok(filled)
    }
}

/// A name of an interface, as the kernel allows it: nothing that leads elsewhere when it is made part of a path.
pub(crate) fn interface_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() < 16
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if fits { Ok(text.into()) } else { Err(format!("{text:?} is no name of an interface, such as eth0")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_need_something_to_stand_for() {
        let set = |text: &str| text.parse::<CpuSet>().unwrap();
        let inputs = Inputs { cores: set("2-3"), online: set("0-3"), interfaces: Vec::new() };
        assert_eq!(
            inputs.fill("{cores};{housekeeping};{housekeeping-mask};{interface}", "e").unwrap(),
            "2-3;0-1;3;e"
        );
        let bare = Inputs { cores: CpuSet::default(), ..inputs.clone() };
        assert!(bare.fill("{cores}", "e").unwrap_err().contains("--cores"));
        assert_eq!(bare.fill("7", "e").unwrap(), "7");
        let all = Inputs { cores: set("0-3"), ..inputs };
        assert!(all.fill("{housekeeping}", "e").unwrap_err().contains("no core is left"));
    }

    #[test]
    fn names_lead_nowhere_else() {
        assert!(interface_name("eth0.7").is_ok());
        for wrong in ["", "..", "a/b", "a b", "sixteen-letters-x"] {
            assert!(interface_name(wrong).is_err(), "{wrong}");
        }
    }
}
