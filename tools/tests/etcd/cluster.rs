//! An etcd cluster on the loopback interface, with data in memory, whose members can be killed and stopped.

// As in `common`: no library.
#![allow(unreachable_pub)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{free_ports, wait_for};

/// A cluster. Dropped, its members are killed.
pub struct Etcd {
    dir: TempDir,
    members: Vec<Member>,
    agent: ureq::Agent,
}

struct Member {
    args: Vec<String>,
    url: String,
    child: Option<Child>,
}

/// What one asks for of a cluster.
#[derive(Default)]
pub struct Options<'a> {
    /// Further arguments of each member.
    pub args: &'a [String],
    /// Whether clients speak TLS.
    pub tls: bool,
}

impl Etcd {
    /// Starts `count` members; none, and says so, where etcd is not installed.
    pub fn start(count: usize) -> Option<Etcd> {
        Etcd::start_with(count, &Options::default())
    }

    pub fn start_with(count: usize, options: &Options<'_>) -> Option<Etcd> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: etcd is not installed (apt-get install etcd-server)");
            return None;
        }
        let memory = PathBuf::from("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let dir = dir.expect("a temporary directory");
        let ports = free_ports(2 * count);
        let scheme = if options.tls { "https" } else { "http" };
        let (clients, peers) = ports.split_at(count);
        let peer = |at: usize| format!("http://127.0.0.1:{}", peers[at]);
        let names: Vec<_> = (0..count).map(|at| format!("m{at}={}", peer(at))).collect();
        let member = |at: usize| {
            let (url, data) =
                (format!("{scheme}://127.0.0.1:{}", clients[at]), dir.path().join(format!("m{at}")));
            let data = data.display();
            let args = format!(
                "--name m{at} --data-dir {data} --listen-client-urls {url} --advertise-client-urls {url} \
                 --listen-peer-urls {peer} --initial-advertise-peer-urls {peer} --initial-cluster {cluster} \
                 --initial-cluster-token {token} --heartbeat-interval 10 --election-timeout 50 --logger zap \
                 --log-level warn",
                peer = peer(at),
                cluster = names.join(","),
                token = dir.path().display(),
            );
            let args = args.split(' ').map(String::from).chain(options.args.iter().cloned()).collect();
            Member { args, url, child: None }
        };
        let members = (0..count).map(member).collect();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent = agent.timeout_global(Some(std::time::Duration::from_secs(5))).build().new_agent();
        let mut etcd = Etcd { dir, members, agent };
        (0..count).for_each(|at| etcd.restart(at));
        if !options.tls {
            wait_for("etcd to choose a leader", || etcd.leader().is_some());
        }
        Some(etcd)
    }

    /// Addresses of all members for clients.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.url.clone()).collect()
    }

    /// Where a member has its data.
    pub fn data(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("m{at}"))
    }

    /// Starts a member that does not run.
    pub fn restart(&mut self, at: usize) {
        let log = self.dir.path().join(format!("m{at}.log"));
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let member = &mut self.members[at];
        assert!(member.child.is_none(), "it runs");
        let child = Command::new("etcd").args(&member.args).stdout(Stdio::null()).stderr(log).spawn();
        member.child = Some(child.expect("etcd starts"));
    }

    /// Kills a member, as a power switch does.
    pub fn kill(&mut self, at: usize) {
        let mut child = self.members[at].child.take().expect("it runs");
        child.kill().expect("killing a child");
        child.wait().expect("waiting for a child");
    }

    /// Stops a member without its noticing, or lets it go on.
    pub fn signal(&self, at: usize, signal: &str) {
        let child = self.members[at].child.as_ref().expect("it runs");
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    /// Stops a member, and waits until it has: a thread that goes on until another one has seen the signal may still
    /// answer.
    pub fn stop(&self, at: usize) {
        self.signal(at, "STOP");
        let tasks = format!("/proc/{}/task", self.members[at].child.as_ref().expect("it runs").id());
        let is_stopped = |task: &Path| {
            // The state follows the name, which is in brackets.
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
        };
        wait_for("a member that was stopped", || {
            std::fs::read_dir(&tasks).expect("it is there").flatten().all(|task| is_stopped(&task.path()))
        });
    }

    /// The member that leads, as those that answer have it.
    pub fn leader(&self) -> Option<usize> {
        (0..self.members.len()).find(|&at| {
            self.post(at, "/v3/maintenance/status", &json!({})).is_some_and(|status| {
                let member = &status["header"]["member_id"];
                member.is_string() && *member == status["leader"]
            })
        })
    }

    /// What a member answers, if it does and does not refuse.
    pub fn post(&self, at: usize, path: &str, request: &Value) -> Option<Value> {
        let post = self.agent.post(format!("{}{path}", self.members[at].url));
        let mut response =
            post.send(request.to_string()).ok().filter(|response| response.status().is_success())?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }

    /// Turns authentication on: user `root`, and `user`, who may use keys below `prefix`.
    pub fn demand_logins(&self, user: &str, password: &str, prefix: &str) {
        use base64::Engine;
        use base64::prelude::BASE64_STANDARD;
        let key = BASE64_STANDARD.encode(prefix);
        // The end of the range of keys that begin with the prefix.
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix") += 1;
        let end = BASE64_STANDARD.encode(end);
        for (path, request) in [
            ("user/add", json!({ "name": "root", "password": "toor" })),
            ("role/add", json!({ "name": "root" })),
            ("user/grant", json!({ "user": "root", "role": "root" })),
            ("user/add", json!({ "name": user, "password": password })),
            ("role/add", json!({ "name": "records" })),
            (
                "role/grant",
                json!({ "name": "records", "perm": { "permType": "READWRITE", "key": key, "range_end": end } }),
            ),
            ("user/grant", json!({ "user": user, "role": "records" })),
            ("enable", json!({})),
        ] {
            assert!(self.post(0, &format!("/v3/auth/{path}"), &request).is_some(), "{path}");
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for (at, member) in self.members.iter_mut().enumerate() {
            if let Some(child) = &mut member.child {
                let _ = child.kill();
                let _ = child.wait();
            }
            if std::thread::panicking() {
                let log =
                    std::fs::read_to_string(self.dir.path().join(format!("m{at}.log"))).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                eprintln!("--- m{at} said last:\n{}\n---", lines[lines.len().saturating_sub(8)..].join("\n"));
            }
        }
    }
}
