//! Three members of etcd, as a coordinator for drills.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::net::{HostId, Net};
use super::process::{LOOK, Plan, Process};

const MEMBERS: u16 = 3;
/// Ports for clients, and behind them for the members among themselves.
const PORT: u16 = 32_379;
/// Longest wait for them to agree on a leader.
const PATIENCE: Duration = Duration::from_secs(60);

/// The members. Dropped, they are killed.
pub(crate) struct Etcd {
    members: Vec<Process>,
    pub(crate) clients: Vec<SocketAddrV4>,
}

impl Etcd {
    /// Starts them on `host`, data in `dir`, and waits until they answer.
    pub(crate) fn start(net: &Net, host: HostId, dir: &Path) -> anyhow::Result<Etcd> {
        let place = |port: u16| SocketAddrV4::new(net.address(host), port);
        let client = |member: u16| place(PORT + member);
        let peer = |member: u16| format!("http://{}", place(PORT + MEMBERS + member));
        let all: Vec<_> = (0..MEMBERS).map(|member| format!("etcd{member}={}", peer(member))).collect();
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            let name = format!("etcd{member}");
            let client = format!("http://{}", client(member));
            let mut command = Command::new("etcd");
            command
                .args(["--name", &name, "--data-dir"])
                .arg(dir.join(&name))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
                .args(["--initial-cluster", &all.join(","), "--initial-cluster-token", "seqcast-drill"])
                // On one machine: see the chapter on failover for what it is on several.
                .args(["--heartbeat-interval=10", "--election-timeout=100", "--log-level=warn"]);
            let plan = Plan { name, host, dir, command };
            members.push(plan.start(net).context("apt-get install etcd-server, or use --coordinator file")?);
        }
        let mut etcd = Etcd { members, clients: (0..MEMBERS).map(client).collect() };
        etcd.wait(net)?;
        Ok(etcd)
    }

    fn wait(&mut self, net: &Net) -> anyhow::Result<()> {
        let began = Instant::now();
        let clients = self.clients.clone();
        while !net.as_operator(|| clients.iter().all(|client| is_healthy(*client)))? {
            for member in &mut self.members {
                if let Some(status) = member.ended()? {
                    bail!("{} ended ({status}): {}", member.name, member.last_words());
                }
            }
            if began.elapsed() > PATIENCE {
                bail!("etcd does not answer: {}", self.members[0].last_words());
            }
            std::thread::sleep(LOOK * 10);
        }
        Ok(())
    }

    /// None of them answers any more, until [`Etcd::come_back`].
    pub(crate) fn go_away(&self) -> anyhow::Result<()> {
        self.members.iter().try_for_each(|member| member.signal(Signal::STOP))
    }

    /// They go on where they were.
    pub(crate) fn come_back(&self) -> anyhow::Result<()> {
        self.members.iter().try_for_each(|member| member.signal(Signal::CONT))
    }
}

/// Whether a member answers and its cluster has a leader.
fn is_healthy(client: SocketAddrV4) -> bool {
    let ask = || -> std::io::Result<String> {
        let patience = Duration::from_millis(500);
        let mut stream = TcpStream::connect_timeout(&client.into(), patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "GET /health HTTP/1.0\r\nHost: {client}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}
