//! Answers what the kernel asks.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, select};
use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyDirectoryPlus, ReplyXattr};

use super::door::Ask;
use super::place;
use super::view::{Child, Entry, Node, Own, View};
use crate::base::error::{Chain, Classified};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::ls::full_path;
use crate::engine::stretches::{Stretch, stretches};
use crate::repository::format::keys::BlobKind;
use crate::repository::manifest::xattrs_of;

/// Nothing in a mount ever changes: what the kernel knows stays true.
const TIME_TO_LIVE: Duration = Duration::from_secs(24 * 3600);
const GENERATION: Generation = Generation(0);
/// So many broken inodes are named; the others are I/O errors like them.
const NAMED_MAX: usize = 1000;
const BLOCK_BYTES: u32 = 4096;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Why a request is refused.
enum Refusal {
    /// For a reason that is the asker's.
    Errno(Errno),
    /// Something cannot be read.
    Failed(EngineError),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl<E: Into<EngineError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Answer<T> = Result<T, Refusal>;

/// Answers for one mount, from several threads.
pub(super) struct Desk<'v> {
    view: &'v View<'v>,
    cx: &'v Context,
    /// Chunks that somebody will soon ask for.
    ahead: Sender<BlobId>,
    /// Inodes that were named as broken.
    named: Mutex<HashSet<u64>>,
}

impl<'v> Desk<'v> {
    pub(super) fn new(view: &'v View<'v>, cx: &'v Context, ahead: Sender<BlobId>) -> Self {
        Self { view, cx, ahead, named: Mutex::default() }
    }

    /// Answers until the mount is gone or `stop` is closed.
    pub(super) fn serve(&self, asks: &Receiver<Ask>, ahead: &Receiver<BlobId>, stop: &Receiver<()>) {
        loop {
            select! {
                recv(asks) -> ask => match ask {
                    Ok(ask) => self.answer(ask),
                    Err(_) => return,
                },
                recv(ahead) -> id => if let Ok(id) = id {
                    // Whoever asks for it reads it again, and hears of it.
                    drop(self.view.blobs.get(BlobKind::Chunk, &id));
                },
                recv(stop) -> _ => return,
            }
        }
    }

    fn answer(&self, ask: Ask) {
        match ask {
            Ask::Lookup(parent, name, reply) => match self.lookup(parent, &name) {
                Ok(attributes) => reply.entry(&TIME_TO_LIVE, &attributes, GENERATION),
                Err(refusal) => reply.error(self.errno(parent, refusal)),
            },
            Ask::Forget(ino, count) => self.view.forget(ino, count),
            Ask::Attributes(ino, reply) => match self.node(ino).and_then(|node| self.attributes(&node)) {
                Ok(attributes) => reply.attr(&TIME_TO_LIVE, &attributes),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
            Ask::Target(ino, reply) => match self.target(ino) {
                Ok(target) => reply.data(&target),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
            Ask::Read { ino, offset, len, reply } => match self.read(ino, offset, len) {
                Ok(bytes) => reply.data(&bytes),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
            Ask::List(ino, offset, mut reply) => {
                let listed = self.list(ino, offset, &mut |row| {
                    let name = OsStr::from_bytes(row.name);
                    Ok(!reply.add(INodeNo(row.ino), row.next, kind(row.kind), name))
                });
                match listed {
                    Ok(()) => reply.ok(),
                    Err(refusal) => reply.error(self.errno(ino, refusal)),
                }
            }
            Ask::ListWithAttributes(ino, offset, reply) => self.list_with_attributes(ino, offset, reply),
            Ask::Xattr { ino, name, room, reply } => match self.xattr(ino, &name) {
                Ok(value) => give(reply, room, &value),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
            Ask::Xattrs { ino, room, reply } => match self.xattrs(ino) {
                Ok(names) => give(reply, room, &names),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
            Ask::Space(reply) => {
                let (entries, bytes) = self.view.totals;
                let blocks = bytes.div_ceil(BLOCK_BYTES.into());
                reply.statfs(blocks, 0, 0, entries, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
            }
            Ask::Seek { ino, offset, whence, reply } => match self.seek(ino, offset, whence) {
                Ok(place) => reply.offset(place),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
            Ask::Flags(ino, reply) => match self.node(ino) {
                Ok(Node::Entry(entry)) => reply.ioctl(0, &entry.view().flags().to_ne_bytes()),
                Ok(Node::Own(_)) => reply.ioctl(0, &[0; 4]),
                Err(refusal) => reply.error(self.errno(ino, refusal)),
            },
        }
    }

    /// Each row counts as a lookup of its own.
    fn list_with_attributes(&self, ino: u64, offset: u64, mut reply: ReplyDirectoryPlus) {
        let listed = self.list(ino, offset, &mut |row| {
            // What can't be read has its name, and is asked for again by who wants more.
            let (mut attributes, time_to_live) = match row.node {
                Some(node) => (self.attributes(node)?, TIME_TO_LIVE),
                None => (own_attributes(0, &self.view.own[0]), Duration::ZERO),
            };
            attributes.ino = INodeNo(row.ino);
            let name = OsStr::from_bytes(row.name);
            let full = reply.add(INodeNo(row.ino), row.next, name, &time_to_live, &attributes, GENERATION);
            if let Some(Node::Entry(entry)) = row.node
                && !full
                && !matches!(row.name, b"." | b"..")
            {
                self.view.given(row.ino, entry);
            }
            Ok(!full)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(self.errno(ino, refusal)),
        }
    }

    /// The word for the kernel. What cannot be read is named, each inode once.
    fn errno(&self, ino: u64, refusal: Refusal) -> Errno {
        let error = match refusal {
            Refusal::Errno(errno) => return errno,
            Refusal::Failed(error) => error,
        };
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED_MAX && named.insert(ino) {
            drop(named);
            let shown = match self.view.node(ino) {
                Ok(Some(Node::Entry(entry))) => self.view.shown(&entry),
                _ => self.view.shown_tree(ino).unwrap_or("a part of the mount").to_owned(),
            };
            self.cx.progress.warn(format!("{shown} cannot be read: [{}] {}", error.code(), Chain(&error)));
        }
        place::errno(error.class())
    }

    fn node(&self, ino: u64) -> Answer<Node> {
        Ok(self.view.node(ino)?.ok_or(Errno::ENOENT)?)
    }

    fn entry(&self, ino: u64) -> Answer<Entry> {
        match self.node(ino)? {
            Node::Entry(entry) => Ok(entry),
            Node::Own(_) => Err(Errno::ENODATA.into()),
        }
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Answer<FileAttr> {
        let node = match self.node(parent)? {
            Node::Own(number) => match &self.view.own[number] {
                Own::Folder { names, .. } => self.child(*names.get(name).ok_or(Errno::ENOENT)?)?,
                Own::Link(_) => return Err(Errno::ENOTDIR.into()),
            },
            Node::Entry(folder) => {
                match self.view.laid_over(folder.tree(), &full_path(&folder.path(), name)) {
                    Some(tree) => self.child(Child::Tree(tree))?,
                    None => Node::Entry(self.view.child(&folder, name)?.ok_or(Errno::ENOENT)?),
                }
            }
        };
        let attributes = self.attributes(&node)?;
        if let Node::Entry(entry) = &node {
            self.view.given(attributes.ino.0, entry);
        }
        Ok(attributes)
    }

    fn child(&self, child: Child) -> Answer<Node> {
        Ok(match child {
            Child::Own(number) => Node::Own(number),
            Child::Tree(tree) => match self.view.root(tree) {
                Ok(root) => Node::Entry(root.ok_or(Errno::EIO)?),
                // Told of here, where it is known whose root that is.
                Err(error) => {
                    let ino = place::entry(tree, 0).ok_or(Errno::EOVERFLOW)?;
                    return Err(self.errno(ino, error.into()).into());
                }
            },
        })
    }

    /// Gives the row of a tree; one that can't be read has its name at least.
    fn tree_row(
        &self,
        tree: usize,
        name: &[u8],
        next: u64,
        visit: &mut dyn FnMut(&Row<'_>) -> Answer<bool>,
    ) -> Answer<bool> {
        match self.child(Child::Tree(tree)) {
            Ok(Node::Entry(root)) => {
                let (ino, kind) = (self.view.ino(&root).ok_or(Errno::EOVERFLOW)?, root.view().kind());
                visit(&Row { name, ino, kind, next, node: Some(&Node::Entry(root)) })
            }
            _ => {
                let ino = place::entry(tree, 0).ok_or(Errno::EOVERFLOW)?;
                visit(&Row { name, ino, kind: FileKind::Directory, next, node: None })
            }
        }
    }

    fn attributes(&self, node: &Node) -> Answer<FileAttr> {
        let entry = match node {
            Node::Own(number) => return Ok(own_attributes(*number, &self.view.own[*number])),
            Node::Entry(entry) => entry,
        };
        let view = entry.view();
        let ino = self.view.ino(entry).ok_or(Errno::EOVERFLOW)?;
        let size = match view.kind() {
            FileKind::Symlink => view.link_target().len() as u64,
            _ => view.size(),
        };
        let data = match view.extents_id() {
            Some(_) => {
                let file = self.view.file(ino, entry)?;
                file.extents
                    .iter()
                    .flatten()
                    .fold(0u64, |sum, extent| sum.saturating_add(extent.len))
                    .min(size)
            }
            None => size,
        };
        let is_folder = view.kind() == FileKind::Directory;
        let mtime = system_time(view.mtime());
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: if view.kind() == FileKind::File { data.div_ceil(512) } else { 0 },
            atime: mtime,
            mtime,
            ctime: system_time(view.ctime()),
            crtime: view.btime().map_or(SystemTime::UNIX_EPOCH, system_time),
            kind: kind(view.kind()),
            perm: u16::try_from(view.mode() & 0o7777).unwrap_or(0),
            // How many names there are nobody counted: several is what programs go by.
            nlink: if view.hard_link_group() != 0 && !is_folder { 2 } else { 1 },
            uid: view.uid(),
            gid: view.gid(),
            rdev: u32::try_from(view.rdev()).unwrap_or(0),
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }

    fn target(&self, ino: u64) -> Answer<Vec<u8>> {
        match self.node(ino)? {
            Node::Own(number) => match &self.view.own[number] {
                Own::Link(target) => Ok(target.clone()),
                Own::Folder { .. } => Err(Errno::EINVAL.into()),
            },
            Node::Entry(entry) => Ok(entry.view().link_target().to_vec()),
        }
    }

    fn read(&self, ino: u64, offset: u64, len: u32) -> Answer<Vec<u8>> {
        let entry = self.entry(ino)?;
        if entry.view().kind() != FileKind::File {
            return Err(Errno::EINVAL.into());
        }
        let file = self.view.file(ino, &entry)?;
        let mut next = None;
        let bytes = file.read(&self.view.blobs, offset, len, &self.cx.cancel, &mut |id| next = Some(id))?;
        if let Some(id) = next.filter(|id| !self.view.blobs.has(id)) {
            // When all are busy, reading ahead would only be in the way.
            let _ = self.ahead.try_send(id);
        }
        Ok(bytes)
    }

    fn xattr(&self, ino: u64, name: &[u8]) -> Answer<Vec<u8>> {
        let id = self.entry(ino)?.view().xattrs_id().ok_or(Errno::ENODATA)?;
        let found = xattrs_of(&&self.view.blobs, &id)?.into_iter().find(|xattr| xattr.name == name);
        Ok(found.ok_or(Errno::ENODATA)?.value)
    }

    /// Each name with a zero behind it.
    fn xattrs(&self, ino: u64) -> Answer<Vec<u8>> {
        let Node::Entry(entry) = self.node(ino)? else { return Ok(Vec::new()) };
        let Some(id) = entry.view().xattrs_id() else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for xattr in xattrs_of(&&self.view.blobs, &id)? {
            names.extend_from_slice(&xattr.name);
            names.push(0);
        }
        Ok(names)
    }

    fn seek(&self, ino: u64, offset: i64, whence: i32) -> Answer<i64> {
        let file = self.view.file(ino, &self.entry(ino)?)?;
        let offset = u64::try_from(offset).ok().filter(|offset| *offset < file.size).ok_or(Errno::ENXIO)?;
        let mut here = offset;
        for stretch in stretches(file.extents.as_deref(), file.size, offset, file.size) {
            let len = match (stretch, whence) {
                (Stretch::Data { .. }, SEEK_DATA) | (Stretch::Hole { .. }, SEEK_HOLE) => {
                    return Ok(i64::try_from(here).unwrap_or(i64::MAX));
                }
                (Stretch::Data { len, .. } | Stretch::Hole { len }, SEEK_DATA | SEEK_HOLE) => len,
                _ => return Err(Errno::EINVAL.into()),
            };
            here = here.saturating_add(len);
        }
        if whence == SEEK_HOLE {
            Ok(i64::try_from(file.size).unwrap_or(i64::MAX))
        } else {
            Err(Errno::ENXIO.into())
        }
    }

    /// Gives the rows of a folder from an offset on. Offsets 1 and 2 stand behind `.` and `..`,
    /// the others are 3 more than what numbers the row: its place in the folder of the mount, or
    /// its ordinal.
    fn list(&self, ino: u64, offset: u64, visit: &mut dyn FnMut(&Row<'_>) -> Answer<bool>) -> Answer<()> {
        let node = self.node(ino)?;
        for (name, next) in [(&b"."[..], 1), (b"..", 2)] {
            if offset < next {
                let row = Row { name, ino, kind: FileKind::Directory, next, node: Some(&node) };
                if !visit(&row)? {
                    return Ok(());
                }
            }
        }
        match &node {
            Node::Own(number) => {
                let Own::Folder { names, .. } = &self.view.own[*number] else {
                    return Err(Errno::ENOTDIR.into());
                };
                let begin = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
                for (number, (name, child)) in names.iter().enumerate().skip(begin) {
                    let next = number as u64 + 3;
                    let goes_on = match *child {
                        Child::Own(number) => {
                            let (ino, kind) = (place::own(number), own_kind(&self.view.own[number]));
                            visit(&Row { name, ino, kind, next, node: Some(&Node::Own(number)) })?
                        }
                        Child::Tree(tree) => self.tree_row(tree, name, next, visit)?,
                    };
                    if !goes_on {
                        return Ok(());
                    }
                }
                Ok(())
            }
            Node::Entry(folder) if folder.view().kind() == FileKind::Directory => {
                let from = offset.checked_sub(3).map(|before| before.saturating_add(1));
                let mut refused = None;
                self.view.list(folder, from, &mut |entry| {
                    let (ordinal, kind) = (entry.ordinal(), entry.view().kind());
                    let (name, next) = (entry.view().name().to_vec(), ordinal.saturating_add(3));
                    let visited = if let Some(tree) = self.view.laid_over(entry.tree(), &entry.path()) {
                        self.tree_row(tree, &name, next, visit)
                    } else {
                        let Some(ino) = self.view.ino(&entry) else { return Ok(true) };
                        visit(&Row { name: &name, ino, kind, next, node: Some(&Node::Entry(entry)) })
                    };
                    visited.or_else(|refusal| {
                        refused = Some(refusal);
                        Ok(false)
                    })
                })?;
                refused.map_or(Ok(()), Err)
            }
            Node::Entry(_) => Err(Errno::ENOTDIR.into()),
        }
    }
}

/// One name of a folder.
struct Row<'r> {
    name: &'r [u8],
    ino: u64,
    kind: FileKind,
    /// The offset behind it.
    next: u64,
    /// None when it can't be read.
    node: Option<&'r Node>,
}

fn give(reply: ReplyXattr, room: u32, bytes: &[u8]) {
    match u32::try_from(bytes.len()) {
        Ok(len) if room == 0 => reply.size(len),
        Ok(len) if len <= room => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

fn own_kind(own: &Own) -> FileKind {
    match own {
        Own::Folder { .. } => FileKind::Directory,
        Own::Link(_) => FileKind::Symlink,
    }
}

fn own_attributes(number: usize, own: &Own) -> FileAttr {
    let (size, time) = match own {
        Own::Folder { time, .. } => (0, system_time(*time)),
        Own::Link(target) => (target.len() as u64, SystemTime::UNIX_EPOCH),
    };
    FileAttr {
        ino: INodeNo(place::own(number)),
        size,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(own_kind(own)),
        perm: 0o755,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// A time that the machine can't tell is the epoch.
fn system_time(time: FileTime) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let exact = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanos.into())));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}
