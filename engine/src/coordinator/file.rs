//! The coordinator of nodes on one machine: a directory of records.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use seqcast_wire::Session;

use super::versions::{Added, Versions};
use crate::mem::file::{self, Claim};
use crate::mem::store::StoreError;
use crate::replica::{
    Answer, Coordinator, LastSeen, NodeId, Record, RecordError, Request, Versioned, WentBack,
};
use crate::time::Nanos;

/// A [`Coordinator`] in a directory that all nodes of a machine share. Each request blocks for as long as the disk
/// takes: a swap is two syncs, a read none unless the record is new.
///
/// The newest record counts. One that is damaged is refused, not skipped: the one before it may name a primary that
/// others have replaced. Then every answer is [`Answer::Unknown`], and the nodes stay what they are.
pub struct FileCoordinator {
    session: Session,
    versions: Versions,
    seen: LastSeen,
    answer: Option<Answer>,
    notice: Option<String>,
    /// Keeps the node's name taken on this machine. It means no leadership: nobody asks for it but a process that
    /// starts under the same name.
    _name: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process runs as this node.
    #[error(
        "{place}: {holder} runs as node {} already; stop it, or give this process a `sequencer.name` of its own", node.0
    )]
    Taken {
        /// The directory.
        place: String,
        /// The node.
        node: NodeId,
        /// Who runs as it, as far as is known.
        holder: String,
    },
    /// What the system refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{place}: no record to act on: {error}; stop all nodes, write the record that they logged last (the version \
         before it shows how), and start them again"
    )]
    Record { place: String, error: RecordError },
    #[error(
        "{place}: {error}: the directory was restored from an older copy, or changed by hand; stop all nodes, write the \
         record that they logged last, and start them again"
    )]
    WentBack { place: String, error: WentBack },
    #[error("a record that makes no sense was not written: {0}")]
    Refused(RecordError),
    #[error("a record that goes back was not written: {0}")]
    Backwards(WentBack),
    #[error("{0}: whether the swap was made is not known; reading tells")]
    Unsure(String),
}

impl FileCoordinator {
    /// The coordinator of `session` in `dir`, which is made when it is missing, for `node`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        dir: impl Into<PathBuf>,
        session: Session,
        node: NodeId,
    ) -> Result<FileCoordinator, OpenError> {
        let dir = dir.into();
        let refused = |action| {
            let place = show(&dir);
            move |error| StoreError::of(place, action, error)
        };
        fs::create_dir_all(&dir).map_err(refused("create the directory"))?;
        let claim = file::claim(&dir.join(format!("node.{}", node.0)));
        let name = match claim.map_err(refused("claim the node's name in the directory"))? {
            Claim::Taken(name) => name,
            Claim::Held { by } => return Err(OpenError::Taken { place: show(&dir), node, holder: by }),
        };
        Ok(FileCoordinator {
            session,
            versions: Versions::new(&dir, &node.0.to_string()),
            seen: LastSeen::default(),
            answer: None,
            notice: None,
            _name: name,
        })
    }

    fn read(&mut self) -> Result<Answer, Trouble> {
        let Some((revision, bytes)) = self.versions.newest()? else {
            return self.note(None).map(|()| Answer::Read(None));
        };
        let record = Record::decode(&bytes, self.session)
            .map_err(|error| Trouble::Record { place: show(&self.versions.path(revision)), error })?;
        let found = Some(Versioned { revision, record });
        self.note(found)?;
        Ok(Answer::Read(found))
    }

    fn swap(&mut self, expected: u64, record: Record) -> Result<Answer, Trouble> {
        record.check(self.session).map_err(Trouble::Refused)?;
        self.trusted()?;
        if self.seen.is_lost(expected) {
            return Ok(Answer::Lost);
        }
        self.seen.check_swap(expected, record).map_err(Trouble::Backwards)?;
        match self.versions.add(expected, record.encode().as_bytes())? {
            Added::Taken => Ok(Answer::Lost),
            Added::Unsure => Err(Trouble::Unsure(show(&self.versions.path(expected + 1)))),
            Added::Newest => {
                let made = Versioned { revision: expected + 1, record };
                self.note(Some(made))?;
                // The swap is made; what is left behind is removed after the next.
                let _ = self.versions.prune(made.revision);
                Ok(Answer::Swapped(made))
            }
        }
    }

    fn note(&mut self, found: Option<Versioned>) -> Result<(), Trouble> {
        let checked = self.seen.check(found);
        checked.map_err(|error| Trouble::WentBack { place: show(self.versions.dir()), error })
    }

    fn trusted(&self) -> Result<(), Trouble> {
        let trusted = self.seen.trusted();
        trusted.map_err(|error| Trouble::WentBack { place: show(self.versions.dir()), error })
    }
}

impl Coordinator for FileCoordinator {
    fn submit(&mut self, _now: Nanos, request: Request) {
        let answer = match request {
            Request::Read => self.read(),
            Request::Swap { expected, record } => self.swap(expected, record),
        };
        self.answer = Some(answer.unwrap_or_else(|trouble| {
            self.notice = Some(trouble.to_string());
            Answer::Unknown
        }));
    }

    fn prepare(&mut self, record: Record) {
        if record.check(self.session).is_ok() {
            // What is refused now is refused again when it is asked, and told then.
            let _ = self.versions.prepare(record.encode().as_bytes());
        }
    }

    fn poll(&mut self, _now: Nanos) -> Option<Answer> {
        self.answer.take()
    }

    fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Member, Members};

    fn session() -> Session {
        Session::from_wire(*b"SEQCAST001")
    }

    fn open(dir: &Path, node: u16) -> FileCoordinator {
        FileCoordinator::open(dir, session(), NodeId(node)).unwrap()
    }

    fn record(epoch: u64, primary: u16, in_sync: &[u16]) -> Record {
        let member = |node| Member { node: NodeId(node), incarnation: 0xa0 + u64::from(node) };
        let members: Vec<Member> = in_sync.iter().map(|&node| member(node)).collect();
        Record {
            session: session(),
            epoch,
            primary: member(primary),
            in_sync: Members::of(&members).unwrap(),
        }
    }

    fn ask(coordinator: &mut FileCoordinator, request: Request) -> Answer {
        coordinator.submit(Nanos::ZERO, request);
        let answer = coordinator.poll(Nanos::ZERO).unwrap();
        assert_eq!(coordinator.poll(Nanos::ZERO), None, "one answer to one request");
        answer
    }

    fn swap(coordinator: &mut FileCoordinator, expected: u64, record: Record) -> Answer {
        ask(coordinator, Request::Swap { expected, record })
    }

    fn unknown(coordinator: &mut FileCoordinator, request: Request) -> String {
        assert_eq!(ask(coordinator, request), Answer::Unknown);
        let notice = coordinator.take_notice().unwrap();
        assert_eq!(coordinator.take_notice(), None);
        assert_eq!(notice.lines().count(), 1, "{notice}");
        notice
    }

    fn path(dir: &Path, revision: u64) -> PathBuf {
        dir.join(format!("record.{revision:020}"))
    }

    /// Who leads in turn, up to `revision`.
    fn filled(dir: &Path, revision: u64) -> FileCoordinator {
        let mut coordinator = open(dir, 0);
        for expected in 0..revision {
            let answer =
                swap(&mut coordinator, expected, record(expected + 1, (expected % 2) as u16, &[0, 1]));
            assert!(
                matches!(answer, Answer::Swapped(Versioned { revision, .. }) if revision == expected + 1)
            );
        }
        coordinator
    }

    #[test]
    fn what_was_swapped_in_is_read_and_swapped_out_once() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/when/missing");
        let (mut one, mut two) = (open(&dir, 0), open(&dir, 1));
        assert_eq!(ask(&mut one, Request::Read), Answer::Read(None));
        let first = Versioned { revision: 1, record: record(1, 0, &[0, 1]) };
        assert_eq!(swap(&mut one, 0, first.record), Answer::Swapped(first));
        assert_eq!(swap(&mut two, 0, record(1, 1, &[1])), Answer::Lost);
        assert_eq!(ask(&mut two, Request::Read), Answer::Read(Some(first)));
        let second = Versioned { revision: 2, record: record(2, 1, &[1]) };
        assert_eq!(swap(&mut two, 1, second.record), Answer::Swapped(second));
        assert_eq!(swap(&mut one, 1, record(1, 0, &[0])), Answer::Lost);
        assert_eq!(ask(&mut one, Request::Read), Answer::Read(Some(second)));
        assert_eq!((one.take_notice(), two.take_notice()), (None, None));
        drop((one, two));
        assert_eq!(ask(&mut open(&dir, 0), Request::Read), Answer::Read(Some(second)));
        assert_eq!(fs::read_to_string(path(&dir, 2)).unwrap(), second.record.encode());
    }

    #[test]
    fn what_was_prepared_is_what_is_swapped_in_and_nothing_else() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let mut coordinator = open(dir.path(), 1);
        let inode = |name: PathBuf| fs::metadata(name).unwrap().ino();
        coordinator.prepare(record(1, 1, &[1]));
        let draft = inode(dir.path().join("swap.1"));
        assert_eq!(ask(&mut coordinator, Request::Read), Answer::Read(None), "nothing is swapped in yet");
        let first = Versioned { revision: 1, record: record(1, 1, &[1]) };
        let swap = Request::Swap { expected: 0, record: first.record };
        assert_eq!(ask(&mut coordinator, swap), Answer::Swapped(first));
        assert_eq!(inode(path(dir.path(), 1)), draft, "it was not written again");

        coordinator.prepare(record(2, 1, &[1]));
        coordinator.prepare(record(3, 1, &[1]));
        let swap = Request::Swap { expected: 1, record: record(4, 1, &[1, 2]) };
        let second = Versioned { revision: 2, record: record(4, 1, &[1, 2]) };
        assert_eq!(ask(&mut coordinator, swap), Answer::Swapped(second), "another one than was prepared");
        assert_eq!(ask(&mut open(dir.path(), 2), Request::Read), Answer::Read(Some(second)));
        let senseless = Record { epoch: 0, ..second.record };
        coordinator.prepare(senseless);
        assert!(!dir.path().join("swap.1").exists());
    }

    #[test]
    fn old_versions_are_pruned_and_whoever_slept_through_it_loses() {
        let dir = tempfile::tempdir().unwrap();
        let mut late = open(dir.path(), 7);
        let mut coordinator = filled(dir.path(), 40);
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        let kept = (25..=40).map(|revision| format!("record.{revision:020}"));
        let expected: Vec<_> =
            ["node.0", "node.7", "origin"].map(String::from).into_iter().chain(kept).collect();
        assert_eq!(names, expected);
        for expected in [0, 1, 5, 23, 39] {
            assert_eq!(swap(&mut late, expected, record(99, 7, &[7])), Answer::Lost, "{expected}");
        }
        let Answer::Read(Some(found)) = ask(&mut late, Request::Read) else { panic!("it is there") };
        assert_eq!(found, Versioned { revision: 40, record: record(40, 1, &[0, 1]) });
        assert!(matches!(swap(&mut late, 40, record(41, 7, &[7])), Answer::Swapped(_)));
        assert_eq!(swap(&mut coordinator, 40, record(41, 0, &[0])), Answer::Lost);
        assert_eq!(swap(&mut coordinator, u64::MAX, record(41, 0, &[0])), Answer::Lost);
        assert_eq!(
            swap(&mut coordinator, 77, record(41, 0, &[0])),
            Answer::Lost,
            "there is nothing to follow"
        );
    }

    #[test]
    fn a_name_that_was_used_and_pruned_means_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut coordinator = filled(dir.path(), 30);
        // As if it had slept between the look at its predecessor and the link, while others went on.
        fs::copy(path(dir.path(), 30), path(dir.path(), 3)).unwrap();
        let mut late = open(dir.path(), 7);
        let notice = unknown(&mut late, Request::Swap { expected: 3, record: record(4, 7, &[7]) });
        assert!(
            notice.contains("record.00000000000000000004") && notice.contains("reading tells"),
            "{notice}"
        );
        let Answer::Read(Some(found)) = ask(&mut coordinator, Request::Read) else { panic!("it is there") };
        assert_eq!(found.revision, 30);
        assert!(matches!(swap(&mut coordinator, 30, record(31, 0, &[0])), Answer::Swapped(_)));
        assert!(!path(dir.path(), 3).exists() && !path(dir.path(), 4).exists(), "pruned again");
    }

    /// What a killed process leaves behind, at each of its steps.
    #[test]
    fn whatever_is_left_of_a_swap_is_no_hindrance() {
        for (left, newest) in
            [("half a draft", 2), ("a draft", 2), ("a draft and its link", 3), ("a link", 3)]
        {
            let dir = tempfile::tempdir().unwrap();
            drop(filled(dir.path(), 2));
            let (draft, third) = (dir.path().join("swap.0"), record(3, 0, &[0]));
            match left {
                "half a draft" => fs::write(&draft, &third.encode()[..20]).unwrap(),
                "a link" => fs::write(path(dir.path(), 3), third.encode()).unwrap(),
                _ => fs::write(&draft, third.encode()).unwrap(),
            }
            if left == "a draft and its link" {
                fs::hard_link(&draft, path(dir.path(), 3)).unwrap();
            }
            let mut coordinator = open(dir.path(), 0);
            let Answer::Read(Some(found)) = ask(&mut coordinator, Request::Read) else { panic!("{left}") };
            assert_eq!(found.revision, newest, "{left}");
            let next = record(9, 1, &[1]);
            assert!(matches!(swap(&mut coordinator, newest, next), Answer::Swapped(_)), "{left}");
            if newest == 3 {
                let kept = fs::read_to_string(path(dir.path(), 3)).unwrap();
                assert_eq!(kept, third.encode(), "{left}: a version is never written to again");
            }
        }
    }

    #[test]
    fn a_damaged_newest_record_is_refused_and_the_one_before_it_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut coordinator = filled(dir.path(), 3);
        let newest = path(dir.path(), 3);
        let whole = fs::read(&newest).unwrap();
        for damaged in [
            &whole[..whole.len() - 1],
            &whole[..10],
            b"",
            b"\xff\xfe",
            &[whole.clone(), whole.clone()].concat(),
        ] {
            fs::write(&newest, damaged).unwrap();
            let notice = unknown(&mut coordinator, Request::Read);
            assert!(
                notice.starts_with(newest.to_str().unwrap()) && notice.contains("stop all nodes"),
                "{notice}"
            );
            assert_eq!(swap(&mut coordinator, 2, record(9, 0, &[0])), Answer::Lost);
            let mut restarted = open(dir.path(), 1);
            assert!(unknown(&mut restarted, Request::Read).contains("no record to act on"));
        }
        fs::write(&newest, &whole).unwrap();
        assert!(
            matches!(ask(&mut coordinator, Request::Read), Answer::Read(Some(_))),
            "put right, it goes on"
        );
    }

    #[test]
    fn a_record_of_another_session_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), 1));
        let other = "OTHER".parse().unwrap();
        let mut coordinator = FileCoordinator::open(dir.path(), other, NodeId(0)).unwrap();
        let notice = unknown(&mut coordinator, Request::Read);
        assert!(notice.contains("of session SEQCAST001, not OTHER; give each session"), "{notice}");
        let foreign = unknown(&mut coordinator, Request::Swap { expected: 0, record: record(1, 0, &[0]) });
        assert!(foreign.contains("was not written: it is of session"), "{foreign}");
    }

    #[test]
    fn records_that_make_no_sense_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut coordinator = filled(dir.path(), 2);
        let outside = Record { primary: record(1, 5, &[5]).primary, ..record(3, 0, &[0]) };
        for (record, expected) in [
            (outside, "is not in its in-sync set"),
            (record(0, 0, &[0]), "epoch 0"),
            (record(1, 0, &[0]), "epoch 1 came after epoch 2"),
            (record(2, 0, &[0]), "epoch 2 is that of node 0 (incarnation a0) now, and was that of node 1"),
        ] {
            let notice = unknown(&mut coordinator, Request::Swap { expected: 2, record });
            assert!(notice.contains(expected), "{notice}");
        }
        assert!(!path(dir.path(), 3).exists());
    }

    #[test]
    fn a_directory_that_goes_back_is_noticed_and_not_trusted_again() {
        for (spoil, expected) in [
            ("older", "revision 2 came after revision 3"),
            ("changed", "revision 3 has changed"),
            ("gone", "the record is gone: revision 3, epoch 3, was there"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut coordinator = filled(dir.path(), 3);
            let newest = fs::read(path(dir.path(), 3)).unwrap();
            match spoil {
                "older" => fs::remove_file(path(dir.path(), 3)).unwrap(),
                "changed" => fs::write(path(dir.path(), 3), record(3, 0, &[0]).encode()).unwrap(),
                _ => (1..=3).for_each(|revision| fs::remove_file(path(dir.path(), revision)).unwrap()),
            }
            let notice = unknown(&mut coordinator, Request::Read);
            assert!(notice.starts_with(&format!("{}: {expected}", dir.path().display())), "{notice}");
            assert!(
                notice.contains("restored from an older copy") && notice.contains("stop all nodes"),
                "{notice}"
            );
            assert_eq!(unknown(&mut coordinator, Request::Read), notice);
            let swap = Request::Swap { expected: 3, record: record(4, 0, &[0]) };
            assert_eq!(unknown(&mut coordinator, swap), notice);
            assert!(!path(dir.path(), 4).exists());
            fs::write(path(dir.path(), 3), newest).unwrap();
            drop(coordinator);
            let Answer::Read(Some(found)) = ask(&mut open(dir.path(), 0), Request::Read) else {
                panic!("{spoil}")
            };
            assert_eq!(found.revision, 3, "put right, and started again");
        }
    }

    #[test]
    fn a_directory_whose_versions_are_all_gone_is_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), 20));
        for revision in 5..=20 {
            fs::remove_file(path(dir.path(), revision)).unwrap();
        }
        let mut coordinator = open(dir.path(), 0);
        let notice = unknown(&mut coordinator, Request::Read);
        assert!(
            notice.contains(dir.path().to_str().unwrap()) && notice.contains("its versions are gone"),
            "{notice}"
        );
    }

    #[test]
    fn one_process_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), 3);
        let error = FileCoordinator::open(dir.path(), session(), NodeId(3)).err().unwrap();
        assert!(matches!(error, OpenError::Taken { node: NodeId(3), .. }));
        let said = error.to_string();
        assert!(said.contains(&format!("process {} (", std::process::id())), "{said}");
        assert!(said.contains("runs as node 3 already; stop it, or give this process"), "{said}");
        drop(open(dir.path(), 4));
        drop(first);
        drop(open(dir.path(), 3));
    }

    #[test]
    fn a_directory_that_is_none_or_vanishes_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = FileCoordinator::open(&file, session(), NodeId(0)).err().unwrap().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("create the directory"), "{error}");
        let gone = dir.path().join("gone");
        let mut coordinator = filled(&gone, 1);
        fs::remove_dir_all(&gone).unwrap();
        let notice = unknown(&mut coordinator, Request::Read);
        assert!(notice.contains(gone.to_str().unwrap()) && notice.contains("not there"), "{notice}");
        assert_eq!(swap(&mut coordinator, 1, record(2, 0, &[0])), Answer::Lost, "there is nothing to follow");
        let mut started = open(&gone, 1);
        fs::remove_dir_all(&gone).unwrap();
        let swap = Request::Swap { expected: 0, record: record(1, 0, &[0]) };
        assert!(unknown(&mut started, swap).contains("not there"));
    }
}
