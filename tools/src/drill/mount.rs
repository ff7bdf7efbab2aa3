//! Small disks that can be filled.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::space::run;

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
        // Cut short first: a process just being started may hold the file open for a moment longer.
        File::create(self.ballast())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_until_it_is_freed_and_then_gone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("disk");
        let disk = match Disk::mount(&place) {
            Ok(disk) => disk,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let write = || std::fs::write(place.join("file"), [1; 4096]);
        write().unwrap();
        std::fs::remove_file(place.join("file")).unwrap();
        disk.fill().unwrap();
        assert_eq!(write().unwrap_err().kind(), ErrorKind::StorageFull);
        let _ = std::fs::remove_file(place.join("file"));
        disk.free().unwrap();
        write().unwrap();
        drop(disk);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "unmounted");
    }
}
