//! `lifeboat ls`, `lifeboat repo ls`: what is in a snapshot.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::look::{of_place, of_policy, shown, talking, unread_mark};
use crate::app::look::{Opened, reading};
use crate::base::display;
use crate::base::error::Failure;
use crate::base::metadata::{FileKind, FileTime};
use crate::cli::args::{ListArgs, LsArgs, RepoLsArgs};
use crate::cli::output::JSON_VERSION;
use crate::cli::run::Session;
use crate::engine::cut;
use crate::engine::ls::{self, Format, Listing};
use crate::repository::manifest::{EntryView, State, extents_of};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;

/// Lists a policy's snapshot.
pub(in crate::cli) fn run(session: &Session, args: &LsArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    list(session, &of_policy(session, &args.what, &args.copy)?, &args.list)
}

/// Lists a snapshot of a bare repository.
pub(super) fn run_repo(session: &Session, args: &RepoLsArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    list(session, &of_place(session, &args.at, &args.snapshot)?, &args.list)
}

fn list(session: &Session, opened: &Opened, args: &ListArgs) -> Result<u8, Failure> {
    let mut out = session.output.stream();
    let unread = AtomicU64::new(0);
    reading(&opened.repository, |blobs| {
        let json = |path: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>| json_line(blobs, path, entry, out);
        let format: &Format<'_> = match (session.output.is_json(), args.long) {
            (true, _) => &json,
            (false, true) => &long_line,
            (false, false) => &|path, entry, out| {
                unread.fetch_add(u64::from(entry.state() == State::Unread), Ordering::Relaxed);
                line(path, out);
            },
        };
        let wanted = args.path.as_deref().map(|path| path.as_os_str().as_bytes());
        let listing = Listing { blobs, snapshot: &opened.snapshot, wanted };
        Ok(ls::list(&listing, &session.cx, format, &mut |lines| out.put(lines))?)
    })?;
    out.finish()?;
    let unread = unread.into_inner();
    if unread > 0 && !session.output.quiet {
        session.output.talk(&format!("{unread} of them were unread when it was taken: `--long` marks them"));
    }
    Ok(0)
}

/// A path a line, as `--path` takes them: nothing else has a place there.
fn line(path: &[u8], out: &mut Vec<u8>) {
    display::path_into(path, out);
    out.push(b'\n');
}

fn long_line(path: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
    let name = |name: &[u8], id: u32| if name.is_empty() { id.to_string() } else { display::path(name) };
    let rights = rights(entry.kind(), entry.mode());
    let (user, group) = (name(entry.user_name(), entry.uid()), name(entry.group_name(), entry.gid()));
    let (size, time) = (entry.size(), shown(entry.mtime()));
    // Writing into memory doesn't fail.
    drop(write!(out, "{rights} {user:<8} {group:<8} {size:>12} {time} "));
    display::path_into(path, out);
    if entry.kind() == FileKind::Symlink {
        out.extend_from_slice(b" -> ");
        display::path_into(entry.link_target(), out);
    }
    out.extend_from_slice(unread_mark(entry.state()).as_bytes());
    out.push(b'\n');
}

/// `drwxr-xr-x`, as `ls` of every Unix writes it.
fn rights(kind: FileKind, mode: u32) -> String {
    let kind = match kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => set,
            (false, true) => unset,
        });
    }
    text
}

/// One entry as a script reads it.
#[derive(Serialize)]
struct Row<'a> {
    version: u32,
    path: String,
    /// The bytes, where they are no text.
    path_hex: Option<String>,
    kind: FileKind,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: FileTime,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// How a large file was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

fn json_line(blobs: &BlobReader<'_>, path: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
    let nodes = Nodes(blobs);
    let extents = entry.extents_id().and_then(|id| extents_of(&nodes, &id).ok());
    let cut = cut::describe(entry.content(), extents.as_deref(), &nodes);
    let row = Row {
        version: JSON_VERSION,
        path: display::path(path),
        path_hex: std::str::from_utf8(path).is_err().then(|| hex::encode(path)),
        kind: entry.kind(),
        mode: entry.mode(),
        uid: entry.uid(),
        gid: entry.gid(),
        size: entry.size(),
        mtime: entry.mtime(),
        state: entry.state().word(),
        target: (entry.kind() == FileKind::Symlink).then(|| display::path(entry.link_target())),
        cut,
    };
    // Text and numbers into memory: nothing can fail.
    drop(serde_json::to_writer(&mut *out, &row));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_look_as_everywhere() {
        for (kind, mode, text) in [
            (FileKind::Directory, 0o755, "drwxr-xr-x"),
            (FileKind::File, 0o4711, "-rws--x--x"),
            (FileKind::File, 0o6644, "-rwSr-Sr--"),
            (FileKind::Directory, 0o1777, "drwxrwxrwt"),
            (FileKind::Fifo, 0o1000, "p--------T"),
            (FileKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(rights(kind, mode), text);
        }
    }
}
