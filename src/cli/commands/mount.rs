//! `lifeboat mount`, `lifeboat repo mount`: snapshots as a read-only file system.

use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use super::look::{of_policy, talking};
use super::repo::plumbing;
use crate::app::error::AppError;
use crate::app::look::{all, reading};
use crate::base::display;
use crate::base::error::Failure;
use crate::cli::args::{MountArgs, MountPointArgs, RepoMountArgs};
use crate::cli::output::JSON_VERSION;
use crate::cli::run::Session;
use crate::engine::mount::{self, MountRequest, Shape};
use crate::repository::access::Repository;
use crate::repository::snapshots::{self, Snapshot};

/// Mounts a policy's snapshots, or one.
pub(in crate::cli) fn run(session: &Session, args: &MountArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let opened = of_policy(session, &args.what, &args.copy)?;
    let is_policy = opened.policy.as_deref() == Some(args.what.as_str());
    let (found, shape) = if is_policy && args.copy.at.is_none() {
        (all(&opened.repository, opened.policy.as_deref())?, Shape::Folders)
    } else {
        (vec![opened.snapshot], Shape::One)
    };
    serve(session, &opened.repository, &found, shape, &args.point)
}

/// Mounts the snapshots of a bare repository, or one.
pub(super) fn run_repo(session: &Session, args: &RepoMountArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let secret = args.at.secret.source().read(&session.cx)?;
    let repository = plumbing(session, &args.at.access).open(&args.at.repo, &secret)?;
    let (found, shape) = match &args.snapshot {
        Some(wanted) => (vec![snapshots::find(&repository, &repository.targets()[0], wanted)?], Shape::One),
        None => (all(&repository, None)?, Shape::Folders),
    };
    serve(session, &repository, &found, shape, &args.point)
}

fn serve(
    session: &Session,
    repository: &Repository,
    found: &[Snapshot],
    shape: Shape,
    point: &MountPointArgs,
) -> Result<u8, Failure> {
    if found.is_empty() {
        return Err(AppError::Nothing {
            what: "there is no snapshot to mount".to_owned(),
            hint: "`lifeboat run POLICY` or `lifeboat repo backup` makes one".to_owned(),
        }
        .into());
    }
    let request = MountRequest { dir: point.dir.clone(), shape, allow_other: point.allow_other };
    reading(repository, |blobs| Ok(mount::mount(blobs, found, &request, &session.cx)?))?;
    if session.output.is_json() {
        let dir = display::path(request.dir.as_os_str().as_bytes());
        session
            .output
            .json(&json!({ "version": JSON_VERSION, "exit": 0, "dir": dir, "snapshots": found.len() }));
    }
    Ok(0)
}
