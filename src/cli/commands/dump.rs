//! `lifeboat dump`, `lifeboat repo dump`: one file to standard output.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::look::{of_place, of_policy, talking};
use crate::app::error::AppError;
use crate::app::look::{Opened, reading};
use crate::base::error::Failure;
use crate::cli::args::{DumpArgs, RepoDumpArgs};
use crate::cli::run::Session;
use crate::engine::dump;

/// Writes a file of a policy's snapshot.
pub(in crate::cli) fn run(session: &Session, args: &DumpArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    write(session, &of_policy(session, &args.what, &args.copy)?, &args.path)
}

/// Writes a file of a snapshot of a bare repository.
pub(super) fn run_repo(session: &Session, args: &RepoDumpArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    write(session, &of_place(session, &args.at, &args.snapshot)?, &args.path)
}

fn write(session: &Session, opened: &Opened, path: &Path) -> Result<u8, Failure> {
    if session.output.is_json() {
        return Err(AppError::Usage {
            what: "dump writes the bytes of a file, which leave no room for --json".to_owned(),
            hint: "leave --json away; `ls --json` tells of the file".to_owned(),
        }
        .into());
    }
    let mut out = session.output.stream();
    let dumped = reading(&opened.repository, |blobs| {
        let path = path.as_os_str().as_bytes();
        Ok(dump::dump(blobs, &opened.snapshot, path, &session.cx, &mut |bytes| out.put(bytes))?)
    });
    // What came before damage was right, and whoever reads it may want it.
    let written = out.finish();
    dumped?;
    written?;
    Ok(0)
}
