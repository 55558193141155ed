//! Programs of the system that make snapshots: found in the system's own folders, started with
//! typed arguments, an empty environment and a limit in time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::source::stream::{Stream, Surroundings};

/// Where the system keeps its programs.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// A program that takes longer is ended. A snapshot waits for the writes in flight.
const LIMIT: Duration = Duration::from_secs(120);
/// More output than this is no answer.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// Where a program is, if it is installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// One call of a program.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    /// Its path.
    pub(super) program: &'a Path,
    /// What it is told.
    pub(super) arguments: &'a [&'a OsStr],
    /// What it finds in its environment, besides a path to the system's programs.
    pub(super) environment: &'a [(&'static str, &'a OsStr)],
    /// What it reads from, and keeps open while it runs.
    pub(super) stdin: Option<&'a File>,
    /// It is ended when it takes longer.
    pub(super) limit: Duration,
    /// It is ended when this is raised.
    pub(super) cancel: Cancel,
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// When it can't be started, fails, takes too long or says too much.
pub(super) fn call(call: Call<'_>, clock: &Arc<dyn Clock>) -> io::Result<Vec<u8>> {
    let words: Vec<OsString> = std::iter::once(call.program.as_os_str())
        .chain(call.arguments.iter().copied())
        .map(OsStr::to_owned)
        .collect();
    let surroundings =
        Surroundings::Clean { limit: call.limit, environment: call.environment, stdin: call.stdin };
    let mut stream = Stream::program(&words, surroundings, call.cancel, Arc::clone(clock))?;
    let mut said = Vec::new();
    stream.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut said)?;
    if said.len() as u64 == OUTPUT_BYTES_MAX {
        return Err(io::Error::other(format!("{} says more than it should", call.program.display())));
    }
    Ok(said)
}

/// Runs a program of the system. A request to stop doesn't end it: what it takes away has to be gone.
///
/// # Errors
/// As of [`call`].
pub(super) fn run(program: &Path, arguments: &[&OsStr], clock: &Arc<dyn Clock>) -> io::Result<String> {
    let said = call(
        Call { program, arguments, environment: &[], stdin: None, limit: LIMIT, cancel: Cancel::new() },
        clock,
    )?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
