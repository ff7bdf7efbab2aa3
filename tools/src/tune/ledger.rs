//! The memory of what was changed: written before any change, so that `undo` knows whatever happens in between.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::probe::Target;

const VERSION: u32 = 1;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What was changed since the kernel started, in the order in which it was changed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    version: u32,
    /// Which start of the kernel it is about: the next one begins with other values.
    pub(crate) boot: String,
    pub(crate) changes: Vec<Change>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) knob: String,
    pub(crate) target: Target,
    /// What stood there before the first change.
    pub(crate) before: String,
    /// What was written last.
    pub(crate) wrote: String,
    /// What the kernel made of it; none: the change was not finished.
    pub(crate) after: Option<String>,
}

impl Ledger {
    pub(crate) fn new(boot: String) -> Ledger {
        Ledger { version: VERSION, boot, changes: Vec::new() }
    }

    /// About to write `value` where `before` stands. What stood there at first is not forgotten.
    pub(crate) fn begin(&mut self, knob: &str, target: &Target, before: &str, value: &str) {
        match self.changes.iter_mut().find(|change| change.target == *target) {
            Some(change) => {
                value.clone_into(&mut change.wrote);
                change.after = None;
            }
            None => self.changes.push(Change {
                knob: knob.into(),
                target: target.clone(),
                before: before.into(),
                wrote: value.into(),
                after: None,
            }),
        }
    }

    /// `after` stands there now. If that is what was there at first, there is nothing to remember.
    pub(crate) fn end(&mut self, target: &Target, after: String) {
        self.changes.retain(|change| change.target != *target || change.before != after);
        if let Some(change) = self.changes.iter_mut().find(|change| change.target == *target) {
            change.after = Some(after);
        }
    }

    pub(crate) fn forget(&mut self, target: &Target) {
        self.changes.retain(|change| change.target != *target);
    }
}

/// Which start of the kernel this is.
///
/// # Errors
/// It cannot be read, though it is there.
pub(crate) fn boot(host: &impl Host) -> anyhow::Result<String> {
    match host.read_text(BOOT_ID) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).context(BOOT_ID),
    }
}

/// Where a ledger is kept.
pub(crate) trait Keep {
    /// What is kept, if anything is.
    fn load(&self) -> anyhow::Result<Option<Ledger>>;
    /// Keeps `ledger`, as a whole or not at all; nothing, when nothing is left in it.
    fn save(&mut self, ledger: &Ledger) -> anyhow::Result<()>;
}

/// A file. While this is there, nobody else keeps one in the same directory.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Its directory, locked.
    dir: File,
}

impl StateFile {
    pub(crate) fn open(path: &Path) -> anyhow::Result<StateFile> {
        let Some(parent) = path.parent() else { bail!("{}: no file", path.display()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let context =
            || format!("cannot use {} for what is to be undone; --state names another", path.display());
        fs::create_dir_all(parent).with_context(context)?;
        let dir = File::open(parent).with_context(context)?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateFile { path: path.into(), dir }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another `seqcast tune` is at work in {}: wait for its end", parent.display())
            }
            Err(error) => Err(error).with_context(context),
        }
    }
}

impl Keep for StateFile {
    fn load(&self) -> anyhow::Result<Option<Ledger>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| self.path.display().to_string()),
        };
        let ledger: Ledger = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged: it holds the values to go back to; look into it, then move it away",
                self.path.display()
            )
        })?;
        if ledger.version != VERSION {
            bail!("{}: version {} is not known here, {VERSION} is", self.path.display(), ledger.version);
        }
        Ok(Some(ledger))
    }

    fn save(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let context = || format!("cannot write {}", self.path.display());
        if ledger.changes.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(context)?,
                _ => {}
            }
        } else {
            let new = self.path.with_extension("new");
            let mut file = File::create(&new).with_context(context)?;
            file.write_all(&serde_json::to_vec_pretty(ledger)?).with_context(context)?;
            file.sync_all().with_context(context)?;
            fs::rename(&new, &self.path).with_context(context)?;
        }
        self.dir.sync_all().with_context(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(value: &str) -> Ledger {
        let mut ledger = Ledger::new("boot".into());
        ledger.begin("k", &Target::File("/proc/k".into()), "1", value);
        ledger
    }

    #[test]
    fn a_state_file_is_whole_and_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/undo.json");
        let mut keep = StateFile::open(&path).unwrap();
        assert!(StateFile::open(&path).unwrap_err().to_string().contains("another `seqcast tune`"));
        assert_eq!(keep.load().unwrap(), None);
        keep.save(&ledger("2")).unwrap();
        assert_eq!(keep.load().unwrap(), Some(ledger("2")));
        // What a crash in the middle of writing leaves is not taken for the state.
        fs::write(path.with_extension("new"), "{").unwrap();
        assert_eq!(keep.load().unwrap(), Some(ledger("2")));
        keep.save(&Ledger::new("boot".into())).unwrap();
        assert!(!path.exists());
        fs::write(&path, "{").unwrap();
        assert!(format!("{:#}", keep.load().unwrap_err()).contains("is damaged"));
        drop(keep);
        StateFile::open(&path).unwrap();
    }

    #[test]
    fn what_was_there_at_first_is_kept() {
        let target = Target::File("/proc/k".into());
        let mut ledger = ledger("2");
        ledger.end(&target, "2".into());
        ledger.begin("k", &target, "2", "3");
        assert_eq!((ledger.changes[0].before.as_str(), &ledger.changes[0].after), ("1", &None));
        ledger.end(&target, "1".into());
        assert!(ledger.changes.is_empty(), "there is nothing to go back to");
    }
}
