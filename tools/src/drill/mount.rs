//! Small disks that can be filled.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::net::run;

/// Size of a small disk: some segments of a journal.
const DISK: &str = "size=12m";

/// A file system of its own at a directory, in memory. Dropped, it is gone.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Puts one at `dir`, which is made.
    pub(crate) fn mount(dir: &Path) -> anyhow::Result<Disk> {
        std::fs::create_dir_all(dir)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "seqcast-drill"]).arg(dir))?;
        Ok(Disk(dir.into()))
    }

    /// Leaves no room.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.ballast())?;
        let block = vec![0x5a; 64 << 10];
        let mut size = block.len();
        while size > 0 {
            match file.write(&block[..size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives room again.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process may be on its way out.
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Whether small disks can be had here.
///
/// # Errors
/// Why not.
pub(crate) fn check(dir: &Path) -> anyhow::Result<()> {
    Disk::mount(&dir.join("disk-check")).map(drop)
}
