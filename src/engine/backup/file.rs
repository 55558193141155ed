//! One file of the source: opened, and read as a whole when it is small.

use super::content::{FileContent, ReadFile};
use super::links::Twin;
use crate::base::error::Chain;
use crate::source::files::{Completed, FilesError, Found, OpenFile, Owners, Stat, complete, open_regular};

/// Why a file has no content. No error of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is gone.
    Vanished,
    /// It is there and cannot be read: the reason for people.
    Unread(String),
}

impl Fault {
    /// What a failed call on an entry of the source means for it.
    pub(super) fn of(error: &FilesError) -> Self {
        if error.is_vanished() { Self::Vanished } else { Self::Unread(Chain(error).to_string()) }
    }
}

/// A file that is replaced all the time is opened at most this often until it is caught.
const OPENS_MAX: usize = 16;

/// Opens a file; one that was replaced since the walk came by is looked at anew.
pub(super) fn open(found: &Found) -> Result<OpenFile, Fault> {
    let mut opened = open_regular(found);
    for _ in 1..OPENS_MAX {
        match opened {
            Err(error) if error.is_replaced() => {
                opened = found.refresh().and_then(|found| open_regular(&found));
            }
            other => return other.map_err(|error| Fault::of(&error)),
        }
    }
    opened.map_err(|error| Fault::of(&error))
}

/// A file that was read under another name: its metadata, and where the bytes went. `None` when it
/// has moved since, so that it must be read.
pub(super) fn describe_twin(
    found: &Found,
    opened: &OpenFile,
    twin: Twin,
    owners: &Owners,
) -> Option<ReadFile> {
    let state = |stat: &Stat| (stat.ino, stat.size, stat.mtime, stat.ctime);
    if state(opened.stat()) != state(&found.stat) {
        return None;
    }
    let completed = complete(found, Some(opened), owners).ok()?;
    let Twin { content, hash16, extents } = twin;
    Some(ReadFile { content, hash16, extents, ..described(completed) })
}

/// Reads a file into `bytes`, at most `bytes_max` of it; twice when it changed under the first
/// reading. Its content is still to be placed.
pub(super) fn read_small(
    found: &Found,
    owners: &Owners,
    bytes_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<ReadFile, Fault> {
    let of = |error: FilesError| Fault::of(&error);
    let mut file = open(found)?;
    let completed = complete(found, Some(&file), owners).map_err(of)?;
    let mut changed = fill(&mut file, bytes_max, bytes).map_err(of)?;
    if changed {
        file.restart().map_err(of)?;
        changed = fill(&mut file, bytes_max, bytes).map_err(of)?;
    }
    Ok(ReadFile { changed, ..described(completed) })
}

fn described(completed: Completed) -> ReadFile {
    ReadFile {
        meta: completed.metadata,
        content: FileContent::None,
        hash16: [0; 16],
        extents: None,
        changed: false,
        issues: completed.issues.iter().map(|error| Chain(error).to_string()).collect(),
    }
}

/// Reads to the end or to the bound; says whether the file changed meanwhile.
fn fill(file: &mut OpenFile, bytes_max: usize, bytes: &mut Vec<u8>) -> Result<bool, FilesError> {
    bytes.clear();
    // One byte more than expected shows the end of a file that did not grow.
    let expected = usize::try_from(file.stat().size).unwrap_or(bytes_max).min(bytes_max);
    let mut step = expected + 1;
    loop {
        let start = bytes.len();
        let room = bytes_max.saturating_sub(start).min(step);
        if room == 0 {
            return Ok(true);
        }
        bytes.resize(start + room, 0);
        let got = file.read(&mut bytes[start..])?;
        bytes.truncate(start + got);
        if got < room {
            return Ok(file.finish()?.changed);
        }
        step = 64 * 1024;
    }
}
