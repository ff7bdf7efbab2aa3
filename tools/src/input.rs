//! Files of messages: BinaryFILE and captures, told apart by how they start and read in pieces, however large.

mod binary;
mod ordered;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

pub(crate) use self::binary::BinaryFile;
pub(crate) use self::ordered::Ordered;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records of u16 length and message, or anything else that is not recognised.
    BinaryFile,
    /// pcap or pcapng.
    Capture,
}

impl Kind {
    /// Looks at the first bytes of a file.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Kind> {
        let context = || format!("cannot read {}", path.display());
        if path.is_dir() {
            bail!("{} is a directory: name a file", path.display());
        }
        let mut start = Vec::with_capacity(4);
        File::open(path).and_then(|file| file.take(4).read_to_end(&mut start)).with_context(context)?;
        match *start.as_slice() {
            [] => bail!("{} is empty", path.display()),
            [0x1F, 0x8B, ..] => {
                bail!("{} is compressed: unpack it first (gzip -dk {0})", path.display())
            }
            [0x28, 0xB5, 0x2F, 0xFD] => {
                bail!("{} is compressed: unpack it first (zstd -d {0})", path.display())
            }
            // pcapng; pcap with micro- and nanoseconds in either byte order.
            [0x0A, 0x0D, 0x0D, 0x0A]
            | [0xA1, 0xB2, 0xC3, 0xD4]
            | [0xD4, 0xC3, 0xB2, 0xA1]
            | [0xA1, 0xB2, 0x3C, 0x4D]
            | [0x4D, 0x3C, 0xB2, 0xA1] => Ok(Kind::Capture),
            _ => Ok(Kind::BinaryFile),
        }
    }
}

/// The files meant by `paths`: a directory stands for the regular files in it that are not hidden, by name.
pub(crate) fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = inside(path).with_context(|| format!("cannot list {}", path.display()))?;
        if inside.is_empty() {
            bail!("the directory {} holds no files", path.display());
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn inside(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let entry = entry?;
        if entry.path().is_file() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// The time stamp of an ITCH message, ns since midnight; `None` when it is too short to have one.
pub(crate) fn itch_time_ns(message: &[u8]) -> Option<u64> {
    let stamp = message.get(5..)?.first_chunk()?;
    Some(seqcast_wire::Timestamp(*stamp).ns())
}
