//! `lifeboat diff`, `lifeboat repo diff`: what differs between two snapshots.

use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use super::look::{of_place, of_policy, talking};
use crate::app::look::{reading, together};
use crate::base::display;
use crate::base::error::Failure;
use crate::base::size::format_bytes;
use crate::cli::args::{CopyArgs, DiffArgs, RepoDiffArgs};
use crate::cli::output::{JSON_VERSION, Stream};
use crate::cli::run::Session;
use crate::engine::diff::{self, Change, Counted, Difference, Side, Summary};
use crate::repository::manifest::EntryView;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::{self, Snapshot};

/// Compares two snapshots of a policy.
pub(in crate::cli) fn run(session: &Session, args: &DiffArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let old = of_policy(session, &args.old, &args.copy)?;
    let newest = CopyArgs { at: None, from: args.copy.from.clone() };
    let new = of_policy(session, &args.new, &newest)?;
    let (old, new) = together(old, new)?;
    let sides = [&old.snapshot, &new.snapshot];
    let wanted = args.path.as_deref().map(|path| path.as_os_str().as_bytes());
    let mut out = session.output.stream();
    let summary = reading(&old.repository, |old| {
        reading(&new.repository, |new| tell(session, [old, new], sides, wanted, &mut out))
    })?;
    finish(session, out, sides, &summary)
}

/// Compares two snapshots of a bare repository.
pub(super) fn run_repo(session: &Session, args: &RepoDiffArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let old = of_place(session, &args.at, &args.old)?;
    let new = snapshots::find(&old.repository, &old.repository.targets()[0], &args.new)?;
    let sides = [&old.snapshot, &new];
    let wanted = args.path.as_deref().map(|path| path.as_os_str().as_bytes());
    let mut out = session.output.stream();
    let summary = reading(&old.repository, |blobs| tell(session, [blobs; 2], sides, wanted, &mut out))?;
    finish(session, out, sides, &summary)
}

/// A line for each difference.
fn tell(
    session: &Session,
    blobs: [&BlobReader<'_>; 2],
    [old, new]: [&Snapshot; 2],
    wanted: Option<&[u8]>,
    out: &mut Stream,
) -> Result<Summary, Failure> {
    let old = Side { blobs: blobs[0], snapshot: old };
    let new = Side { blobs: blobs[1], snapshot: new };
    let is_json = session.output.is_json();
    Ok(diff::diff(old, new, wanted, &session.cx, &mut |difference| {
        if is_json { out.json(&view(difference)) } else { out.put(line(difference).as_bytes()) }
    })?)
}

/// The summary.
fn finish(
    session: &Session,
    mut out: Stream,
    [old, new]: [&Snapshot; 2],
    summary: &Summary,
) -> Result<u8, Failure> {
    if session.output.is_json() {
        // What cannot be written shows at the end.
        let _ = out.json(&json!({
            "version": JSON_VERSION,
            "old": old.id,
            "new": new.id,
            "differs": !summary.is_empty(),
            "summary": summary,
        }));
    } else {
        let _ = out.put(format!("{}\n", sentence(summary)).as_bytes());
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
