//! `lifeboat repo ls`: what is in a snapshot.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::json;

use super::repo::plumbing;
use crate::app::secrets::read_password;
use crate::base::display;
use crate::base::error::Failure;
use crate::cli::args::OneRepo;
use crate::cli::output::JSON_VERSION;
use crate::cli::run::Session;
use crate::engine::cut;
use crate::engine::ls;
use crate::engine::manifest_source::Nodes;

/// Lists a snapshot, or one folder of it, a path a line, as `--path` takes them.
pub(super) fn run(
    session: &Session,
    at: &OneRepo,
    snapshot: &str,
    path: Option<&Path>,
) -> Result<u8, Failure> {
    let password = read_password(&at.password_file, session.cx.progress.as_ref())?;
    let repository = plumbing(session, &at.access).open(&at.repo, &password)?;
    let out = session.output;
    let wanted = path.map(|path| path.as_os_str().as_bytes().to_vec());
    ls::list(&repository, snapshot, wanted.as_deref(), &session.cx, &mut |path, entry, blobs| {
        if out.is_json() {
            out.json(&json!({
                "version": JSON_VERSION,
                "path": display::path(path),
                "path_hex": std::str::from_utf8(path).is_err().then(|| hex::encode(path)),
                "kind": entry.meta.kind,
                "mode": entry.meta.mode,
                "uid": entry.meta.uid,
                "gid": entry.meta.gid,
                "size": entry.meta.size,
                "mtime": entry.meta.mtime,
                "state": entry.state.word(),
                "cut": cut::describe((&entry.content).into(), entry.extents.as_deref(), &Nodes(blobs)),
            }));
        } else {
            out.line(&display::path(path));
        }
    })?;
    Ok(0)
}
