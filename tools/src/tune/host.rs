//! The machine as files and tools: all that tuning reads and changes goes through here.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine. Paths are absolute, as the machine itself sees them.
pub(crate) trait Host {
    /// What a file holds.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Gives a file, which must be there, a new value.
    fn write(&mut self, path: &str, value: &str) -> io::Result<()>;
    /// Whether [`Host::write`] may be tried: opens the file, and leaves it as it is.
    fn may_write(&self, path: &str) -> io::Result<()>;
    /// Names in a directory, in order.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Last name of what a symbolic link leads to.
    fn link_name(&self, path: &str) -> io::Result<String>;
    /// Standard output of a tool that ends well.
    fn run(&self, tool: &str, args: &[&str]) -> io::Result<String>;
    /// Whether the tools that change something may be tried.
    fn is_privileged(&self) -> bool;

    /// What a text file holds.
    fn read_text(&self, path: &str) -> io::Result<String> {
        let bytes = self.read(path)?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it holds no text"))
    }
}

/// The machine whose `/proc` and `/sys` are below a directory: `/` for this one.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(crate) fn new(root: &Path) -> Machine {
        Machine { root: root.into() }
    }

    /// Whether it is this machine, whose tools and interfaces can be asked.
    fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Host for Machine {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path == super::probe::WAKEUP_LATENCY {
            return read_four(&self.path(path));
        }
        fs::read(self.path(path))
    }

    fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.path(path))?;
        // One write: the kernel takes each as a value of its own.
        file.write_all(format!("{value}\n").as_bytes())
    }

    fn may_write(&self, path: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(path)).map(|_| ())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn link_name(&self, path: &str) -> io::Result<String> {
        let target = fs::read_link(self.path(path))?;
        let name = target.file_name().and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no name"))
    }

    fn run(&self, tool: &str, args: &[&str]) -> io::Result<String> {
        if !self.is_this() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "tools only speak of this machine"));
        }
        run(tool, args)
    }

    fn is_privileged(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

/// The first bytes of a device that never ends.
fn read_four(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut bytes = [0; 4];
    fs::File::open(path)?.read_exact(&mut bytes)?;
    Ok(bytes.to_vec())
}

fn run(tool: &str, args: &[&str]) -> io::Result<String> {
    // An administrator's tools are not always where a user looks for programs.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output =
        Command::new(tool).args(args).env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::NotFound, format!("{tool} is not installed"))
        }
        kind => io::Error::new(kind, format!("{tool}: {error}")),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().lines().last().unwrap_or("failed").to_owned();
        return Err(io::Error::other(format!("{tool}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
