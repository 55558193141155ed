//! `lifeboat diff`, `lifeboat repo diff`: what differs between two snapshots.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use super::look::{of_place, of_policy, talking};
use crate::app::look::{Opened, reading, together};
use crate::base::display;
use crate::base::error::Failure;
use crate::base::size::format_bytes;
use crate::cli::args::{CopyArgs, DiffArgs, RepoDiffArgs};
use crate::cli::output::JSON_VERSION;
use crate::cli::run::Session;
use crate::engine::diff::{self, Change, Counted, Difference, Side, Summary};
use crate::repository::manifest::EntryView;

/// Compares two snapshots of a policy.
pub(in crate::cli) fn run(session: &Session, args: &DiffArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let old = of_policy(session, &args.old, &args.copy)?;
    let newest = CopyArgs { at: None, from: args.copy.from.clone() };
    let new = of_policy(session, &args.new, &newest)?;
    compare(session, together(old, new)?, args.path.as_deref())
}

/// Compares two snapshots of a bare repository.
pub(super) fn run_repo(session: &Session, args: &RepoDiffArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let old = of_place(session, &args.at, &args.old)?;
    let new = of_place(session, &args.at, &args.new)?;
    compare(session, together(old, new)?, args.path.as_deref())
}

fn compare(session: &Session, (old, new): (Opened, Opened), path: Option<&Path>) -> Result<u8, Failure> {
    let (mut out, is_json) = (session.output.stream(), session.output.is_json());
    let wanted = path.map(|path| path.as_os_str().as_bytes());
    let summary = reading(&old.repository, |old_blobs| {
        reading(&new.repository, |new_blobs| {
            let old = Side { blobs: old_blobs, snapshot: &old.snapshot };
            let new = Side { blobs: new_blobs, snapshot: &new.snapshot };
            Ok(diff::diff(old, new, wanted, &session.cx, &mut |difference| {
                if is_json { out.json(&view(difference)) } else { out.put(line(difference).as_bytes()) }
            })?)
        })
    })?;
    if is_json {
        // What cannot be written shows at the end.
        let _ = out.json(&json!({
            "version": JSON_VERSION,
            "old": old.snapshot.id,
            "new": new.snapshot.id,
            "differs": !summary.is_empty(),
            "summary": summary,
        }));
    } else {
        let _ = out.put(format!("{}\n", sentence(&summary)).as_bytes());
    }
    out.finish()?;
    Ok(0)
}

/// `+ path`, `- path`, `M path`, `U path (mode, owner)`, `T path`.
fn line(difference: &Difference<'_>) -> String {
    let sign = match difference.change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Type => 'T',
        Change::Content => 'M',
        Change::Metadata => 'U',
    };
    let path = display::path(difference.path);
    match difference.change {
        Change::Metadata => format!("{sign} {path} ({})\n", difference.aspects.join(", ")),
        _ => format!("{sign} {path}\n"),
    }
}

fn sentence(summary: &Summary) -> String {
    let part = |counted: Counted, what: &str| {
        format!("{} {what} ({})", counted.entries, format_bytes(counted.bytes))
    };
    if summary.is_empty() {
        return "nothing differs".to_owned();
    }
    let types = match summary.types.entries {
        0 => String::new(),
        count => format!(", {count} of another type"),
    };
    format!(
        "{}, {}, {}, {} in metadata alone{types}",
        part(summary.added, "added"),
        part(summary.removed, "removed"),
        part(summary.content, "changed"),
        summary.metadata.entries,
    )
}

fn view(difference: &Difference<'_>) -> Value {
    json!({
        "version": JSON_VERSION,
        "change": difference.change,
        "path": display::path(difference.path),
        "path_hex": std::str::from_utf8(difference.path).is_err().then(|| hex::encode(difference.path)),
        "aspects": difference.aspects,
        "old": difference.old.as_ref().map(side),
        "new": difference.new.as_ref().map(side),
    })
}

fn side(view: &EntryView<'_>) -> Value {
    json!({
        "kind": view.kind(),
        "size": view.size(),
        "mode": view.mode(),
        "uid": view.uid(),
        "gid": view.gid(),
        "mtime": view.mtime(),
        "state": view.state().word(),
    })
}
