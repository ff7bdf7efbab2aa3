//! Who may import whom: the directions of the architecture as a table, enforced.
//!
//! Wire imports nothing of ours. Core imports wire, memory, rings, limits and `Nanos`, does no I/O, reads no clock, takes
//! no lock, starts no thread and hashes nothing at random; core modules do not know one another. Drivers know datagrams
//! and memory, never sequence numbers. Only agents, and what is built from them, know both.

#[path = "directions/scan.rs"]
mod scan;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use scan::{Source, scan};

/// What one module of the engine may import.
struct Rule {
    module: &'static str,
    /// Modules of ours, `wire` for the crate, or one path in either; `*` for all.
    ours: &'static [&'static str],
    kind: Kind,
    /// Dependencies; `*` for all.
    crates: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Inputs and `now` come as arguments: see [`WORLD`].
    Pure,
    /// May know the world.
    Worldly,
}

use Kind::{Pure, Worldly};

/// What core modules may import of ours.
const CORE: &[&str] = &["wire", "ring", "mem", "sync", "limits", "time", "frame"];

/// Dependencies that neither know the world nor wait.
const PLAIN: &[&str] = &["crc32c", "rustc_hash", "thiserror", "zerocopy"];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // Foundation
    Rule { module: "limits",     ours: &[],                        kind: Pure,    crates: &[] },
    Rule { module: "time",       ours: &[],                        kind: Pure,    crates: &[] },
    Rule { module: "frame",      ours: &["wire", "limits"],        kind: Pure,    crates: PLAIN },
    Rule { module: "mem",        ours: &["limits"],                kind: Worldly, crates: &["crossbeam", "libc", "memmap2", "thiserror"] },
    Rule { module: "sync",       ours: &["wire"],                  kind: Worldly, crates: &["crossbeam", "loom"] },
    Rule { module: "ring",       ours: &["mem", "sync", "limits"], kind: Pure,    crates: &["crossbeam", "thiserror", "zerocopy"] },
    // Core
    Rule { module: "feed",       ours: CORE,                       kind: Pure,    crates: PLAIN },
    Rule { module: "downstream", ours: CORE,                       kind: Pure,    crates: PLAIN },
    Rule { module: "rewind",     ours: CORE,                       kind: Pure,    crates: PLAIN },
    Rule { module: "session",    ours: CORE,                       kind: Pure,    crates: PLAIN },
    Rule { module: "journal",    ours: CORE,                       kind: Pure,    crates: &["arc_swap", "crc32c", "crossbeam", "thiserror", "zerocopy"] },
    Rule { module: "sequencer",  ours: CORE,                       kind: Pure,    crates: PLAIN },
    Rule { module: "replica",    ours: CORE,                       kind: Pure,    crates: PLAIN },
    Rule { module: "book",       ours: CORE,                       kind: Pure,    crates: PLAIN },
    // Edge
    Rule { module: "io",         ours: &["wire::net", "wire::Error", "mem", "limits", "time"],
                                                                   kind: Worldly, crates: &["io_uring", "libc", "memmap2", "pcap_parser", "rand", "rand_chacha", "rustix", "socket2", "thiserror", "tracing"] },
    Rule { module: "coordinator", ours: &["wire::Session", "replica", "mem", "time"],
                                                                   kind: Worldly, crates: &["thiserror"] },
    Rule { module: "stat",       ours: &["wire", "mem", "limits", "time"],
                                                                   kind: Worldly, crates: &["crossbeam", "hdrhistogram", "thiserror"] },
    Rule { module: "runtime",    ours: &["stat", "limits", "time"], kind: Worldly, crates: &["core_affinity", "quanta", "thiserror"] },
    Rule { module: "config",     ours: &["wire", "limits", "time", "rewind::Prefix"],
                                                                   kind: Worldly, crates: &["serde", "strsim", "toml"] },
    // What joins them
    Rule { module: "agents",     ours: &["*"],                     kind: Worldly, crates: &["*"] },
    Rule { module: "topology",   ours: &["*"],                     kind: Worldly, crates: &["*"] },
    Rule { module: "sim",        ours: &["*"],                     kind: Worldly, crates: &["*"] },
    Rule { module: "manual",     ours: &[],                        kind: Pure,    crates: &[] },
];

/// What a pure module may not name, and why.
const WORLD: &[(&str, &str)] = &[
    ("std::fs", "files"),
    ("std::os::unix::fs", "files"),
    ("std::io::stdin", "terminals"),
    ("std::io::stdout", "terminals"),
    ("std::io::stderr", "terminals"),
    ("std::net::UdpSocket", "sockets"),
    ("std::net::TcpStream", "sockets"),
    ("std::net::TcpListener", "sockets"),
    ("std::net::ToSocketAddrs", "name servers"),
    ("std::os::unix::net", "sockets"),
    ("std::time::Instant", "clocks"),
    ("std::time::SystemTime", "clocks"),
    ("std::thread", "threads"),
    ("std::sync::Mutex", "locks"),
    ("std::sync::RwLock", "locks"),
    ("std::sync::Condvar", "locks"),
    ("std::sync::Barrier", "locks"),
    ("std::sync::Once", "locks"),
    ("std::sync::OnceLock", "locks"),
    ("std::sync::LazyLock", "locks"),
    ("std::sync::mpsc", "channels that block"),
    ("std::process", "processes"),
    ("std::env", "the environment"),
    ("std::hash::RandomState", "random hashers"),
    ("std::hash::DefaultHasher", "unspecified hashers"),
    ("std::collections::HashMap", "random hashers"),
    ("std::collections::HashSet", "random hashers"),
    ("std::collections::hash_map::HashMap", "random hashers"),
    ("std::collections::hash_map::RandomState", "random hashers"),
    ("std::collections::hash_map::DefaultHasher", "unspecified hashers"),
    ("std::collections::hash_set::HashSet", "random hashers"),
];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["mem", "ring", "sync", "io/uring", "io/xdp"];

/// Longest file, tests not counted: about 700 lines, and a little over is no reason to split badly.
const MAX_LINES: usize = 750;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names by which the sources of `package` know its dependencies.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    let tables = tables.chain([&manifest]).filter_map(|table| table.get("dependencies")?.as_table());
    tables.flat_map(|table| table.keys()).map(|name| name.replace('-', "_")).collect()
}

/// All source files of `package`, as paths below its `src`, with what they name; those for tests only left out.
fn sources(package: &str) -> BTreeMap<String, Source> {
    let src = root().join(package).join("src");
    let crates = dependencies(package);
    let mut files = BTreeMap::new();
    let mut dirs = vec![src.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
                let text = fs::read_to_string(&path).unwrap();
                let source = scan(&text, &module_of(&name), &crates);
                files.insert(
                    name.clone(),
                    source.unwrap_or_else(|error| panic!("{package}/src/{name}: {error}")),
                );
            }
        }
    }
    let for_tests: Vec<String> = files
        .iter()
        .flat_map(|(name, source)| source.test_modules.iter().map(|module| file_of(name, module)))
        .collect();
    // A module for tests is a file, or a folder with files.
    files.retain(|name, _| {
        !for_tests.iter().any(|test| name == &format!("{test}.rs") || name.starts_with(&format!("{test}/")))
    });
    files
}

/// The module that a file is: `feed/gap.rs` and `feed/gap/mod.rs` are `["feed", "gap"]`.
fn module_of(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" || path == "main" { Vec::new() } else { path.split('/').collect() }
}

/// Where the module `child` of `file` is, without extension.
fn file_of(file: &str, child: &str) -> String {
    module_of(file).into_iter().chain([child]).collect::<Vec<_>>().join("/")
}

fn rule_of(module: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.module == module)
}

/// Whether `path` is `prefix` or lies below it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Why a file under `rule` may not name `path`; none when it may.
fn objection(rule: &Rule, path: &str) -> Option<String> {
    let module = rule.module;
    let (root, rest) = path.split_once("::")?;
    let ours = |name: &str| rule.ours.iter().any(|allowed| *allowed == "*" || is_within(name, allowed));
    match root {
        "crate" => {
            let target = rest.split("::").next()?;
            let allowed = target == module || ours(rest);
            (!allowed).then(|| format!("{module} must not import {target}: it may import {:?}", rule.ours))
        }
        "seqcast_wire" => {
            let target = format!("wire::{rest}");
            (!ours(&target))
                .then(|| format!("{module} must not import {target}: it may import {:?}", rule.ours))
        }
        "std" if rule.kind == Pure => {
            let star = path.strip_suffix("::*");
            let met = |(world, _): &&(&str, &str)| {
                is_within(path, world)
                    || star.is_some_and(|prefix| is_within(world, prefix) || is_within(prefix, world))
            };
            WORLD.iter().find(met).map(|(_, why)| format!("{module} must know no {why} ({path})"))
        }
        "std" => None,
        name => {
            let allowed = rule.crates.iter().any(|allowed| *allowed == "*" || *allowed == name);
            (!allowed)
                .then(|| format!("{module} must not depend on {name}: it may depend on {:?}", rule.crates))
        }
    }
}

/// Everything that a file of the engine does against the rules.
fn objections(file: &str, source: &Source) -> Vec<String> {
    let module = module_of(file).first().copied().unwrap_or("");
    let mut found = Vec::new();
    if !UNSAFE
        .iter()
        .any(|allowed| file.strip_prefix(allowed).is_some_and(|rest| rest.starts_with(['/', '.'])))
    {
        // The root only forbids it.
        let lines = source.unsafe_lines.iter().filter(|_| file != "lib.rs");
        found.extend(lines.map(|line| format!("engine/src/{file}:{line}: unsafe belongs in {UNSAFE:?}")));
    }
    match rule_of(module) {
        Some(rule) => found.extend(source.named.iter().filter_map(|named| {
            let objection = objection(rule, &named.path)?;
            Some(format!("engine/src/{file}:{}: {objection}", named.line))
        })),
        None if file == "lib.rs" => {}
        None => found.push(format!("engine/src/{file}: {module} is not in the table of directions: add it")),
    }
    found
}

fn assert_none(objections: &[String]) {
    assert!(objections.is_empty(), "\n{}\n", objections.join("\n"));
}

#[test]
fn the_engine_keeps_its_directions() {
    let found: Vec<String> =
        sources("engine").iter().flat_map(|(file, source)| objections(file, source)).collect();
    assert_none(&found);
}

#[test]
fn wire_imports_nothing_of_ours_and_needs_no_operating_system() {
    assert_eq!(dependencies("wire"), ["zerocopy"]);
    let mut found = Vec::new();
    for (file, source) in sources("wire") {
        found.extend(
            source
                .unsafe_lines
                .iter()
                .filter(|_| file != "lib.rs")
                .map(|line| format!("wire/src/{file}:{line}: unsafe")),
        );
        for named in source.named {
            // Formats need no more than the language; std here also stands for core.
            let world = WORLD.iter().find(|(world, _)| is_within(&named.path, world));
            found.extend(
                world.map(|(_, why)| format!("wire/src/{file}:{}: no {why} ({})", named.line, named.path)),
            );
        }
    }
    assert_none(&found);
    let lib = fs::read_to_string(root().join("wire/src/lib.rs")).unwrap();
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(lib.lines().any(|line| line == attribute), "wire/src/lib.rs has no {attribute}");
    }
}

#[test]
fn only_the_engine_has_unsafe_code() {
    for package in ["tools", "benches"] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{package} does not take the workspace's lints"
        );
    }
    for (file, source) in sources("tools") {
        assert!(source.unsafe_lines.is_empty(), "tools/src/{file}:{:?}: unsafe", source.unsafe_lines);
    }
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for package in ["wire", "engine", "tools"] {
        let long = sources(package).into_iter().filter(|(_, source)| source.lines > MAX_LINES);
        found.extend(long.map(|(file, source)| {
            format!("{package}/src/{file}: {} lines without tests; split it below {MAX_LINES}", source.lines)
        }));
    }
    assert_none(&found);
}

#[test]
fn the_table_itself_is_sound() {
    let known = |name: &str| RULES.iter().any(|rule| rule.module == name);
    let dependencies = dependencies("engine");
    for rule in RULES {
        for ours in rule.ours {
            let module = ours.split("::").next().unwrap();
            assert!(["wire", "*"].contains(&module) || known(module), "{ours}");
        }
        for name in rule.crates {
            assert!(
                *name == "*" || dependencies.iter().any(|known| known == name),
                "{name} is no dependency"
            );
        }
        // Nothing that core may import leads to the world by a detour over another core module.
        if rule.ours == CORE {
            assert!(rule.kind == Pure && !CORE.contains(&rule.module));
        }
    }
}

/// What is found in `text` if it stood in `file`.
fn planted(file: &str, text: &str) -> Vec<String> {
    let source = scan(text, &module_of(file), &dependencies("engine")).unwrap();
    objections(file, &source)
}

#[test]
fn planted_violations_are_found() {
    for (file, text, expected) in [
        ("feed/gap.rs", "use crate::io::Driver;", "feed must not import io"),
        ("feed/gap.rs", "use super::super::rewind::Server;", "feed must not import rewind"),
        ("feed/mod.rs", "use crate::{time::Nanos, book::{Books, Level}};", "feed must not import book"),
        ("feed/mod.rs", "use crate::*;", "feed must not import *"),
        ("feed/mod.rs", "fn f() { crate::stat::x() }", "feed must not import stat"),
        ("book/mod.rs", "use std::collections::HashMap;", "book must know no random hashers"),
        ("book/mod.rs", "use std::collections::*;", "book must know no random hashers"),
        ("book/mod.rs", "use std::{sync, fmt}; fn f(x: sync::Mutex<u8>) {}", "book must know no locks"),
        ("session.rs", "fn f() { let t = std::time::Instant::now(); }", "session must know no clocks"),
        ("session/mod.rs", "use std::net::{Ipv4Addr, TcpStream};", "session must know no sockets"),
        ("journal/mod.rs", "use std::fs::{self, File};", "journal must know no files"),
        ("sequencer/mod.rs", "fn f() { std::thread::yield_now() }", "sequencer must know no threads"),
        ("ring/mod.rs", "use crate::feed::Item;", "ring must not import feed"),
        ("time.rs", "use std::time::SystemTime;", "time must know no clocks"),
        ("rewind/mod.rs", "use socket2::Socket;", "rewind must not depend on socket2"),
        ("rewind/mod.rs", "fn f() { tracing::warn!() }", "rewind must not depend on tracing"),
        ("io/udp.rs", "use seqcast_wire::SeqNo;", "io must not import wire::SeqNo"),
        ("io/udp.rs", "use crate::feed;", "io must not import feed"),
        ("coordinator/file.rs", "use crate::io::store;", "coordinator must not import io"),
        ("coordinator/file.rs", "use seqcast_wire::SeqNo;", "coordinator must not import wire::SeqNo"),
        ("runtime/mod.rs", "use crate::agents;", "runtime must not import agents"),
        ("config/mod.rs", "use crate::topology;", "config must not import topology"),
        ("config/mod.rs", "use crate::rewind::{Prefix, Server};", "config must not import rewind"),
        ("feed/gap.rs", "fn f() { unsafe { g() } }", "unsafe belongs in"),
        ("feed/gap.rs", "#[cfg(test)] #[allow(unsafe_code)] mod t {}", "unsafe belongs in"),
        ("io/udp.rs", "#![allow(unsafe_code)]", "unsafe belongs in"),
        ("memory.rs", "fn f() { unsafe { g() } }", "unsafe belongs in"),
        ("gadgets/mod.rs", "", "gadgets is not in the table"),
    ] {
        let found = planted(file, text);
        assert!(found.iter().any(|objection| objection.contains(expected)), "{file}: {text}: {found:?}");
        assert!(found[0].starts_with(&format!("engine/src/{file}:")), "{found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (file, text) in [
        ("feed/gap.rs", "use crate::time::Nanos; use seqcast_wire::{SeqNo, mold::Packer}; use super::stash;"),
        (
            "feed/gap.rs",
            "use std::{collections::BTreeMap, net::Ipv4Addr, sync::{Arc, atomic::AtomicU64}, time::Duration};",
        ),
        ("feed/gap.rs", "#[cfg(test)] mod tests { use std::collections::HashMap; use crate::book; }"),
        ("feed/gap.rs", "fn f() { Kind::Data; self::g(); crate::feed::h() } // crate::io"),
        ("io/uring/mod.rs", "#![allow(unsafe_code)] use seqcast_wire::net::Frame; fn f() { unsafe { g() } }"),
        ("mem.rs", "unsafe fn f() {}"),
        ("agents/subscriber.rs", "use crate::{feed::Receiver, io::Driver, book}; use tracing::info;"),
        ("lib.rs", "#![deny(unsafe_code)] pub mod feed; pub mod io;"),
    ] {
        assert_none(&planted(file, text));
    }
}
