//! `seqcast tune` on made-up trees, and for real inside a network namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const PROFILE: &str = r#"
about = "For tests."
[[knob]]
name = "rmem_max"
sysctl = "net.core.rmem_max"
want = "1000"
fit = "at-least"
why = "bursts"
risk = "memory"
[[knob]]
name = "governor"
file = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
want = "performance"
why = "speed"
risk = "heat"
[[knob]]
name = "interrupts"
irqs = "{interface}"
want = "{housekeeping}"
fit = "within"
why = "quiet"
risk = "none"
[[knob]]
name = "nohz_full"
kernel-line = "nohz_full"
want = "{cores}"
fit = "covers"
why = "ticks"
risk = "none"
by-hand = "add nohz_full={cores}"
"#;

/// A made-up machine.
struct Tree(TempDir);

impl Tree {
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.file("root/proc/sys/net/core/rmem_max", "212");
        tree.file("root/sys/devices/system/cpu/online", "0-3");
        for core in 0..4 {
            let path = format!("root/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
            tree.file(&path, ["powersave", "performance"][core % 2]);
        }
        tree.file("root/sys/class/net/eth0/device/msi_irqs/30", "msix");
        tree.file("root/sys/class/net/lo/flags", "0x9");
        tree.file("root/proc/irq/30/smp_affinity_list", "0-3");
        tree.file("root/proc/irq/31/smp_affinity_list", "0-3");
        tree.file("root/proc/cmdline", "quiet nohz_full=3");
        tree.file("profile.toml", PROFILE);
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn state(&self) -> PathBuf {
        self.path("var/undo.json")
    }

    fn look(&self, command: &str) -> Command {
        let mut look = tune(command);
        look.arg("--root").arg(self.path("root")).arg("--profile").arg(self.path("profile.toml"));
        look.args(["--cores", "2-3"]);
        look
    }

    fn apply(&self) -> Command {
        let mut apply = self.look("apply");
        apply.arg("--state").arg(self.state());
        apply
    }

    fn undo(&self) -> Command {
        let mut undo = tune("undo");
        undo.arg("--root").arg(self.path("root")).arg("--state").arg(self.state());
        undo
    }

    /// All files and what they hold.
    fn contents(&self) -> Vec<(PathBuf, String)> {
        fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false => found.push((path.clone(), fs::read_to_string(&path).unwrap())),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("root"), &mut found);
        found.sort();
        found
    }
}

fn tune(command: &str) -> Command {
    let mut tune = Command::new(env!("CARGO_BIN_EXE_seqcast"));
    tune.args(["--json", "tune", command]).stdin(Stdio::null());
    tune
}

#[track_caller]
fn ended(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_and_plan_say_what_differs_and_change_nothing() {
    let tree = Tree::new();
    let before = tree.contents();
    let checked = json(&ended(&mut tree.look("check"), 1));
    let verdicts: Vec<_> = checked["knobs"].as_array().unwrap().iter().map(|knob| &knob["verdict"]).collect();
    assert_eq!(verdicts, ["differs", "differs", "differs", "needs-reboot"]);
    let planned = json(&ended(&mut tree.look("plan"), 0));
    let steps: Vec<_> = planned["steps"].as_array().unwrap().iter().map(|step| &step["command"]).collect();
    assert_eq!(
        steps,
        [
            "echo 1000 > /proc/sys/net/core/rmem_max",
            "echo performance > /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "echo performance > /sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
            "echo 0-1 > /proc/irq/30/smp_affinity_list",
        ],
        "not the interrupts of others"
    );
    assert_eq!(planned["by_hand"][0]["how"], "add nohz_full=2-3");
    assert_eq!(tree.contents(), before);
}

#[test]
fn nothing_is_done_unasked() {
    let tree = Tree::new();
    let before = tree.contents();
    let output = ended(&mut tree.apply(), 2);
    assert!(talk(&output).contains("echo 1000 >") && talk(&output).contains("--yes"), "{}", talk(&output));
    assert_eq!(tree.contents(), before);
    assert!(!tree.state().exists());
    ended(&mut tree.undo(), 0);
}

#[test]
fn undo_brings_back_what_was_there_but_not_over_others() {
    let tree = Tree::new();
    let before = tree.contents();
    let outcomes = json(&ended(tree.apply().arg("--yes"), 0));
    assert_eq!(outcomes["outcomes"].as_array().unwrap().len(), 4);
    assert_eq!(fs::read_to_string(tree.path("root/proc/sys/net/core/rmem_max")).unwrap(), "1000\n");
    let state = fs::read_to_string(tree.state()).unwrap();
    // Again, and with more: the first values stay.
    ended(tree.apply().arg("--yes"), 0);
    assert_eq!(fs::read_to_string(tree.state()).unwrap(), state);

    tree.file("root/proc/irq/30/smp_affinity_list", "1");
    let undone = json(&ended(&mut tree.undo(), 1));
    let outcomes: Vec<_> = undone["outcomes"].as_array().unwrap().iter().map(|o| &o["outcome"]).collect();
    assert_eq!(outcomes, ["left-alone", "restored", "restored", "restored"], "the last change first");
    let undone = json(&ended(tree.undo().arg("--force"), 0));
    assert_eq!(undone["outcomes"][0]["outcome"], "restored");
    assert_eq!(tree.contents(), before);
    assert!(!tree.state().exists());
}

#[test]
fn a_damaged_state_file_stops_everything() {
    let tree = Tree::new();
    tree.file("var/undo.json", "{");
    let before = tree.contents();
    for command in [tree.apply().arg("--yes"), &mut tree.undo()] {
        assert!(talk(&ended(command, 3)).contains("is damaged"));
    }
    assert_eq!(tree.contents(), before);
}

#[test]
fn mistakes_are_told() {
    let tree = Tree::new();
    let output = ended(tune("check").args(["--profile", "bare-steel"]), 2);
    assert!(talk(&output).contains("bare-metal"), "{}", talk(&output));
    tree.file("profile.toml", &PROFILE.replace("sysctl = \"net.core.rmem_max\"", ""));
    assert!(talk(&ended(&mut tree.look("check"), 2)).contains("\"rmem_max\": give exactly one of"));
    ended(tune("check").args(["--cores", "3-1"]), 2);
    ended(tune("check").args(["--interface", "../x"]), 2);
}

#[test]
fn every_built_in_profile_looks_at_this_machine() {
    let listed = json(&ended(&mut tune("profiles"), 0));
    for profile in listed.as_array().unwrap() {
        let name = profile["name"].as_str().unwrap();
        let output = tune("check").args(["--profile", name, "--cores", "0"]).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{name}: {}", talk(&output));
        let knobs = json(&output)["knobs"].as_array().unwrap().len();
        assert_eq!(profile["knobs"], knobs);
    }
}

/// The real thing, where it harms nobody: settings of a network namespace that ends with the test.
#[test]
fn a_real_kernel_is_tuned_and_untuned() {
    let own = |command: &Command| {
        let mut own = Command::new("unshare");
        own.arg("-n").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        own
    };
    if !own(&Command::new("true")).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespace can be had");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (profile, script) = (dir.path().join("profile.toml"), dir.path().join("script"));
    let knob = "[[knob]]\nname = \"groups\"\nsysctl = \"net.ipv4.igmp_max_memberships\"\nwant = \"512\"\n\
                fit = \"at-least\"\nwhy = \"w\"\nrisk = \"r\"\n";
    let forwarding = "[[knob]]\nname = \"all\"\nfile = \"/proc/sys/net/ipv4/conf/*/rp_filter\"\nwant = \"2\"\nwhy = \"w\"\nrisk = \"r\"\n";
    fs::write(&profile, format!("about = \"x\"\n{knob}{forwarding}")).unwrap();
    // One namespace for all of it.
    let text = "set -e; cat /proc/sys/net/ipv4/igmp_max_memberships /proc/sys/net/ipv4/conf/*/rp_filter > before\n\
                $SEQCAST tune apply --yes --profile profile.toml --state undo.json\n\
                $SEQCAST tune check --profile profile.toml\n\
                cat /proc/sys/net/ipv4/igmp_max_memberships /proc/sys/net/ipv4/conf/*/rp_filter > tuned\n\
                $SEQCAST tune undo --state undo.json\n\
                cat /proc/sys/net/ipv4/igmp_max_memberships /proc/sys/net/ipv4/conf/*/rp_filter > after\n";
    fs::write(&script, text).unwrap();
    let mut shell = own(Command::new("sh").arg("script"));
    ended(shell.current_dir(dir.path()).env("SEQCAST", env!("CARGO_BIN_EXE_seqcast")), 0);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(read("tuned").starts_with("512\n2\n"), "{}", read("tuned"));
    assert_ne!(read("before"), read("tuned"));
    assert_eq!(read("before"), read("after"));
}
