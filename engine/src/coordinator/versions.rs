//! Create-once versions of one small content, as files in a directory: compare-and-swap without a lock.
//!
//! | file | holds |
//! |---|---|
//! | `record.00000000000000000001`, … | the versions, by revision |
//! | `swap.<node>` | what a node is about to add |
//! | `origin` | the first version, once it was pruned: says that there once was one |
//!
//! A version is written and synced under a name of its writer's, then *linked* to its revision's name, which fails if
//! that exists, then the directory is synced. So a version is there whole or not at all, and of all who want to follow
//! one version exactly one does.
//!
//! Old versions are pruned, lowest first, with [`KEPT`] left. That is far behind the newest, but a process may sleep at
//! any point and wake up much later, so nothing rests on it: whoever reads looks again whether what it read is still the
//! newest, and whoever has added a version looks whether it became the newest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::mem::store::StoreError;

const MODE: u32 = 0o640;
const PREFIX: &str = "record.";
const ORIGIN: &str = "origin";
const DIGITS: usize = 20;
/// Versions that pruning leaves: to look at after an incident.
const KEPT: u64 = 16;
/// Reading begins again when others add versions meanwhile, so often.
const ATTEMPTS: u32 = 64;

/// What came of [`Versions::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// The version is there, was the newest, and survives a loss of power.
    Newest,
    /// Another one was there before.
    Taken,
    /// The version was added, and either others have gone on from it already, or it came much too late and means nothing.
    Unsure,
}

/// A directory of versions.
pub(super) struct Versions {
    dir: PathBuf,
    /// This writer's name for what it is about to add.
    draft: PathBuf,
    /// What the file of that name holds, synced, if this process wrote it.
    drafted: Option<Vec<u8>>,
    /// The newest revision whose name is known to survive a loss of power.
    synced: u64,
}

impl Versions {
    /// The versions in `dir`. `writer` names who adds to them: nobody else does so under that name.
    pub(super) fn new(dir: &Path, writer: &str) -> Versions {
        Versions { dir: dir.to_owned(), draft: dir.join(format!("swap.{writer}")), drafted: None, synced: 0 }
    }

    /// Their directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a revision.
    pub(super) fn path(&self, revision: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{revision:0DIGITS$}"))
    }

    /// The newest version, at some time during the call, and its bytes.
    ///
    /// # Errors
    /// What the system refused; versions are missing that were there once.
    pub(super) fn newest(&mut self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(&revision) = self.list()?.last() else {
                // A first version that is not there now was never there, or has been pruned, which leaves its trace first.
                if !self.is_there(&self.path(1))? && !self.is_there(&self.dir.join(ORIGIN))? {
                    return Ok(None);
                }
                continue;
            };
            let path = self.path(revision);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(refused(&path, "read the record", error)),
            };
            // The next one not being there makes this the newest, unless both were pruned, this one first.
            let next = revision.checked_add(1).map(|next| self.is_there(&self.path(next))).transpose()?;
            if next != Some(true) && self.is_there(&path)? {
                if self.synced < revision {
                    // Its writer may have died before it did so.
                    self.sync(revision)?;
                }
                return Ok(Some((revision, bytes)));
            }
        }
        let missing = io::Error::new(ErrorKind::NotFound, "its versions are gone, or change all the time");
        Err(StoreError::Io { place: show(&self.dir), action: "find the newest record", source: missing })
    }

    /// Adds `bytes` as the version after `previous` (0: as the first).
    ///
    /// # Errors
    /// What the system refused. The version may have been added all the same.
    pub(super) fn add(&mut self, previous: u64, bytes: &[u8]) -> Result<Added, StoreError> {
        let Some(revision) = previous.checked_add(1) else { return Ok(Added::Taken) };
        let pruned = match previous {
            0 => self.is_there(&self.dir.join(ORIGIN))?,
            _ => !self.is_there(&self.path(previous))?,
        };
        if pruned {
            return Ok(Added::Taken); // Many have followed it.
        }
        self.prepare(bytes)?;
        let path = self.path(revision);
        let linked = fs::hard_link(&self.draft, &path);
        // A draft that stays is removed before the next one.
        self.drafted = None;
        let _ = fs::remove_file(&self.draft);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Added::Taken),
            Err(error) => return Err(refused(&path, "add the record", error)),
        }
        self.sync(revision)?;
        // Where this process slept before it linked, the name may have been used and pruned meanwhile.
        Ok(if self.list()?.last() == Some(&revision) { Added::Newest } else { Added::Unsure })
    }

    /// Does what [`Versions::add`] of `bytes` begins with: the slower half of it.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn prepare(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.drafted.as_deref() != Some(bytes) {
            self.drafted = None;
            self.write_draft(bytes)?;
            self.drafted = Some(bytes.to_vec());
        }
        Ok(())
    }

    /// Writes `bytes` under this writer's own name, synced. A file that is there already is never written to: it may be
    /// a version too, if its writer died between linking and removing it.
    fn write_draft(&self, bytes: &[u8]) -> Result<(), StoreError> {
        match fs::remove_file(&self.draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(refused(&self.draft, "remove an old draft", error));
            }
            _ => {}
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&self.draft)?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        write().map_err(|error| refused(&self.draft, "write the record", error))
    }

    /// Removes what is old, seen from `newest`.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn prune(&self, newest: u64) -> Result<(), StoreError> {
        // In this order, and no further than to the first that cannot be removed: so that none is there without all
        // that followed it.
        for revision in self.list()? {
            if revision.saturating_add(KEPT) > newest {
                break;
            }
            let path = self.path(revision);
            if revision == 1 {
                match fs::hard_link(&path, self.dir.join(ORIGIN)) {
                    Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                        return Err(refused(&path, "keep the first record as `origin`", error));
                    }
                    _ => sync_dir(&self.dir)?,
                }
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(refused(&path, "remove an old record", error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The revisions that are there, lowest first.
    fn list(&self) -> Result<Vec<u64>, StoreError> {
        let failed = |error| refused(&self.dir, "list the directory", error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let digits =
                digits.filter(|digits| digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit()));
            found.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn is_there(&self, path: &Path) -> Result<bool, StoreError> {
        path.try_exists().map_err(|error| refused(path, "look for the record", error))
    }

    fn sync(&mut self, revision: u64) -> Result<(), StoreError> {
        sync_dir(&self.dir)?;
        self.synced = self.synced.max(revision);
        Ok(())
    }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let sync = File::open(dir).and_then(|dir| dir.sync_all());
    sync.map_err(|error| refused(dir, "sync the directory", error))
}

fn refused(path: &Path, action: &'static str, error: io::Error) -> StoreError {
    StoreError::of(show(path), action, error)
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
