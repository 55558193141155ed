//! Reads a leaf. Whatever the bytes are, the result is an error or a leaf whose every row can
//! be used without a further check.

use super::super::entry::{ChunkRef, Content};
use super::super::error::ManifestError;
use super::super::key::check_name;
use super::super::store::NodeKind;
use super::super::wire::{Fault, Input, ensure, malformed, undelta, unzigzag};
use super::columns::{Column as C, ColumnsReader, Ints};
use super::view::{ContentSlot, DirRow, GroupPart, Leaf, OwnerRow, Refs, Times};
use super::{LEAF_BYTES_MAX, LEAF_CHUNKS_MAX, LEAF_ENTRIES_MAX, LINK_TARGET_BYTES_MAX};
use crate::base::id::BlobId;
use crate::base::limits::{BLOB_PLAIN_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use crate::base::metadata::FileKind;

const NANOS: u64 = 1_000_000_000;
/// Directories in a leaf at most: those of a full weight and two paths of the deepest.
const DIRS_MAX: usize = 131_072;

/// Why a leaf ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum End {
    /// By the rule of cuts: the same entries end it in any tree.
    Cut,
    /// Because it is the last of its tree.
    Tree,
}

impl Leaf {
    /// Reads the leaf `id` from its plaintext.
    pub(in super::super) fn decode(id: &BlobId, bytes: &[u8], end: End) -> Result<Self, ManifestError> {
        decode(id, bytes, end).map_err(|fault| fault.of(NodeKind::Leaf, id))
    }
}

fn decode(id: &BlobId, bytes: &[u8], end: End) -> Result<Leaf, Fault> {
    ensure(bytes.len() <= LEAF_BYTES_MAX, "it is too long")?;
    let mut columns = ColumnsReader::open(bytes, LEAF_ENTRIES_MAX, DIRS_MAX)?;
    let columns = &mut columns;
    let rows = columns.entries;
    let Places { dirs, dir_bytes, dir, names, name_ends } = read_places(columns)?;
    let kind = columns.ints(C::Kind, rows)?.at_most(FileKind::BlockDevice as u64 - 1, "an unknown type")?;
    let mode = columns.ints(C::Mode, rows)?.running(rows, |code, before| code ^ before);
    let (owner, owners) = read_owners(columns)?;
    let size = columns.ints(C::Size, rows)?;
    let [mtime, ctime, btime] = read_times(columns)?;
    let (target_ends, targets) = read_targets(columns, &kind)?;
    let extents = read_refs(columns, C::Extents, C::ExtentsIds)?;
    for (row, at) in extents.at.iter().enumerate() {
        ensure(at.is_none() || is_file(&kind, row), "extents of something else than a file")?;
    }
    let hashes = read_hashes(columns, &kind)?;
    let (content, parts) = read_content(columns, &kind, &size)?;
    Ok(Leaf {
        id: *id,
        end,
        dirs,
        dir_bytes,
        dir,
        names,
        name_ends,
        kind,
        mode: mode.at_most(0o7777, "permission bits out of range")?,
        owner,
        owners,
        size,
        mtime,
        ctime,
        btime,
        dev: columns.ints(C::Dev, rows)?.running(rows, undelta),
        ino: columns.ints(C::Ino, rows)?.running(rows, undelta),
        rdev: columns.ints(C::Rdev, rows)?,
        hard_link_group: columns.ints(C::HardLinkGroup, rows)?,
        target_ends,
        targets,
        flags: columns.ints(C::Flags, rows)?.at_most(u64::from(u32::MAX), "flags out of range")?,
        xattrs: read_refs(columns, C::Xattrs, C::XattrsIds)?,
        extents,
        content,
        groups: parts.groups,
        group_ids: parts.group_ids,
        chunks: parts.chunks,
        chunk_ids: parts.chunk_ids,
        lists: parts.lists,
        hashes,
        state: columns.ints(C::State, rows)?.at_most(2, "an unknown state")?,
    })
}

fn is_file(kind: &Ints, row: usize) -> bool {
    kind.get(row) == FileKind::File as u64 - 1
}

fn size_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Directories and names.
struct Places {
    dirs: Vec<DirRow>,
    dir_bytes: Vec<u8>,
    dir: Vec<u32>,
    names: Vec<u8>,
    name_ends: Vec<usize>,
}

/// The dictionary of directories: each row says how many levels it is above a child of the row
/// before. Siblings ascend, so the whole ascends and has no directory twice.
fn read_dirs(columns: &mut ColumnsReader<'_>, ups: &Ints) -> Result<(Vec<DirRow>, Vec<u8>), Fault> {
    let count = columns.dirs;
    let lens = columns.ints(C::DirLen, count)?;
    let mut input = columns.bytes(C::DirBytes)?;
    let bytes = input.rest();
    ensure(bytes.len() >= count, "it has more directories than names of them")?;
    let mut dirs = Vec::with_capacity(count + 1);
    dirs.push(DirRow::default());
    let mut stack = vec![0u32];
    let mut start = 0;
    for row in 0..count {
        let up = size_of(ups.get(row));
        let len = size_of(lens.get(row)).min(NAME_BYTES_MAX + 1);
        let component = bytes.get(start..start + len).ok_or(Fault::Malformed("it ends too early"))?;
        check_name(component).map_err(|_| Fault::Malformed("a directory has a name that can't be"))?;
        ensure(up < stack.len(), "a directory lies above the root")?;
        if up > 0 {
            let sibling: &DirRow = &dirs[stack[stack.len() - up] as usize];
            let sibling = &bytes[sibling.start..sibling.start + sibling.len];
            ensure(sibling < component, "its directories are out of order")?;
            stack.truncate(stack.len() - up);
        }
        let parent = stack[stack.len() - 1];
        let parent_len = dirs[parent as usize].path_len;
        let path_len = parent_len + len + usize::from(parent != 0);
        ensure(path_len <= PATH_BYTES_MAX, "a path is too long")?;
        ensure(stack.len() < PATH_DEPTH_MAX, "a path is too deep")?;
        stack.push(u32::try_from(dirs.len()).unwrap_or(u32::MAX));
        dirs.push(DirRow { parent, path_len, start, len });
        start += len;
    }
    ensure(start == bytes.len(), "a column of bytes is longer than it says")?;
    Ok((dirs, bytes.to_vec()))
}

fn read_places(columns: &mut ColumnsReader<'_>) -> Result<Places, Fault> {
    let rows = columns.entries;
    let ups = columns.ints(C::DirUp, columns.dirs)?;
    let (dirs, dir_bytes) = read_dirs(columns, &ups)?;
    let new_dirs = columns.ints(C::Dir, rows)?;
    let prefixes = columns.ints(C::NamePrefix, rows)?;
    let lens = columns.ints(C::NameLen, rows)?;
    let mut suffixes = columns.bytes(C::NameBytes)?;
    let mut dir = Vec::with_capacity(rows);
    let mut names: Vec<u8> = Vec::new();
    let mut name_ends = Vec::with_capacity(rows);
    let mut at = 0;
    let mut before = 0..0;
    for row in 0..rows {
        let added = size_of(new_dirs.get(row));
        ensure(added <= columns.dirs - at, "a directory is not there")?;
        let within = (at + 1..at + added).all(|dir| ups.get(dir) == 0);
        ensure(within, "a directory is there in vain")?;
        at += added;
        dir.push(u32::try_from(at).unwrap_or(u32::MAX));
        let suffix = suffixes.take(size_of(lens.get(row)))?;
        let prefix = size_of(prefixes.get(row));
        ensure(prefix <= before.len() && suffix.len() <= NAME_BYTES_MAX, "a name is too long")?;
        let next = names.get(before.start + prefix).filter(|_| prefix < before.len()).copied();
        ensure(suffix.is_empty() || next != suffix.first().copied(), "a name is not at its shortest")?;
        if row > 0 && added == 0 {
            ensure(suffix.first().copied() > next, "its names are out of order")?;
        }
        let start = names.len();
        names.extend_from_within(before.start..before.start + prefix);
        names.extend_from_slice(suffix);
        let name = &names[start..];
        if row > 0 || at > 0 || !name.is_empty() {
            check_name(name).map_err(|_| Fault::Malformed("an entry has a name that can't be"))?;
        }
        ensure(dirs[at].path_len + 1 + name.len() <= PATH_BYTES_MAX, "a path is too long")?;
        before = start..names.len();
        name_ends.push(names.len());
    }
    suffixes.end()?;
    ensure(at == columns.dirs, "a directory is there in vain")?;
    Ok(Places { dirs, dir_bytes, dir, names, name_ends })
}

/// Owners, in the order of their first use.
fn read_owners(columns: &mut ColumnsReader<'_>) -> Result<(Ints, Vec<OwnerRow>), Fault> {
    let rows = columns.entries;
    let owner = columns.ints(C::Owner, rows)?;
    let mut count: u64 = 0;
    for row in 0..if matches!(owner, Ints::All(_)) { 1 } else { rows } {
        let at = owner.get(row);
        ensure(at <= count, "its owners are out of order")?;
        count = count.max(at + 1);
    }
    let count = size_of(count);
    let ids = u64::from(u32::MAX);
    let uids = columns.ints(C::OwnerUid, count)?.at_most(ids, "an owner out of range")?;
    let gids = columns.ints(C::OwnerGid, count)?.at_most(ids, "a group out of range")?;
    let user_lens = columns.ints(C::OwnerNameLen, count)?;
    let mut users = columns.bytes(C::OwnerNameBytes)?;
    let group_lens = columns.ints(C::GroupNameLen, count)?;
    let mut groups = columns.bytes(C::GroupNameBytes)?;
    let name = |input: &mut Input<'_>, len: u64| {
        ensure(len <= NAME_BYTES_MAX as u64, "the name of an owner is too long")?;
        input.take(size_of(len)).map(<[u8]>::to_vec)
    };
    let mut owners = Vec::with_capacity(count);
    for row in 0..count {
        owners.push(OwnerRow {
            uid: u32::try_from(uids.get(row)).unwrap_or(u32::MAX),
            gid: u32::try_from(gids.get(row)).unwrap_or(u32::MAX),
            user: name(&mut users, user_lens.get(row))?,
            group: name(&mut groups, group_lens.get(row))?,
        });
    }
    users.end()?;
    groups.end()?;
    Ok((owner, owners))
}

fn read_times(columns: &mut ColumnsReader<'_>) -> Result<[Times; 3], Fault> {
    let rows = columns.entries;
    let mtime = Times {
        seconds: columns.ints(C::MtimeSeconds, rows)?.running(rows, undelta),
        nanos: columns.ints(C::MtimeNanos, rows)?.at_most(NANOS - 1, "nanoseconds out of range")?,
    };
    let mut relative = |seconds: C, nanos: C, first: u64| {
        let times = Times { seconds: columns.ints(seconds, rows)?, nanos: columns.ints(nanos, rows)? };
        for row in 0..rows {
            let Some(code) = times.nanos.get(row).checked_sub(first) else {
                ensure(times.seconds.get(row) == 0, "a time that isn't there has seconds")?;
                continue;
            };
            let nanos = unzigzag(code).checked_add_unsigned(mtime.nanos.get(row));
            ensure(nanos.is_some_and(|n| (0..1_000_000_000).contains(&n)), "nanoseconds out of range")?;
        }
        Ok(times)
    };
    let ctime = relative(C::CtimeSeconds, C::CtimeNanos, 0)?;
    let btime = relative(C::BtimeSeconds, C::BtimeNanos, 1)?;
    Ok([mtime, ctime, btime])
}

fn read_targets(columns: &mut ColumnsReader<'_>, kind: &Ints) -> Result<(Vec<usize>, Vec<u8>), Fault> {
    let rows = columns.entries;
    let lens = columns.ints(C::TargetLen, rows)?;
    let mut input = columns.bytes(C::TargetBytes)?;
    if matches!(lens, Ints::All(0)) {
        input.end()?;
        return Ok((Vec::new(), Vec::new()));
    }
    let bytes = input.rest();
    let mut end = 0;
    let mut ends = Vec::with_capacity(rows);
    for row in 0..rows {
        let len = size_of(lens.get(row));
        ensure(len <= LINK_TARGET_BYTES_MAX, "the target of a link is too long")?;
        let is_link = kind.get(row) == FileKind::Symlink as u64 - 1;
        ensure(len == 0 || is_link, "a target of something else than a link")?;
        end += len;
        ends.push(end);
    }
    ensure(end == bytes.len(), "the targets of links have another length than they say")?;
    Ok((ends, bytes.to_vec()))
}

/// The ids of a dictionary: each once.
fn read_ids(columns: &mut ColumnsReader<'_>, column: C) -> Result<Vec<BlobId>, Fault> {
    let ids: Vec<BlobId> = columns.records::<32>(column)?.iter().copied().map(BlobId::new).collect();
    let mut starts: Vec<u64> = ids
        .iter()
        .filter_map(|id| id.as_bytes().first_chunk::<8>().map(|start| u64::from_le_bytes(*start)))
        .collect();
    starts.sort_unstable();
    if starts.windows(2).any(|pair| pair[0] == pair[1]) {
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        ensure(sorted.windows(2).all(|pair| pair[0] != pair[1]), "an id stands twice in a dictionary")?;
    }
    Ok(ids)
}

/// Follows references in the order in which they were written: 0 is the next new id, k the one
/// that was new k ids ago.
struct Follow<'a> {
    ids: &'a [BlobId],
    next: usize,
}

impl<'a> Follow<'a> {
    fn new(ids: &'a [BlobId]) -> Self {
        Self { ids, next: 0 }
    }

    fn at(&mut self, code: u64) -> Result<usize, Fault> {
        if code > 0 {
            let at = self.next.checked_sub(size_of(code));
            return at.ok_or(Fault::Malformed("a reference points before its dictionary"));
        }
        ensure(self.next < self.ids.len(), "a reference points behind its dictionary")?;
        self.next += 1;
        Ok(self.next - 1)
    }

    fn id(&mut self, code: u64) -> Result<BlobId, Fault> {
        self.at(code).map(|at| self.ids[at])
    }

    fn end(&self) -> Result<(), Fault> {
        ensure(self.next == self.ids.len(), "an id is there in vain")
    }
}

fn read_refs(columns: &mut ColumnsReader<'_>, column: C, ids: C) -> Result<Refs, Fault> {
    let rows = columns.entries;
    let codes = columns.ints(column, rows)?;
    let ids = read_ids(columns, ids)?;
    let mut follow = Follow::new(&ids);
    let mut at = Vec::new();
    if !matches!(codes, Ints::All(0)) {
        at.reserve_exact(rows);
        for row in 0..rows {
            at.push(match codes.get(row).checked_sub(1) {
                Some(code) => Some(u32::try_from(follow.at(code)?).unwrap_or(u32::MAX)),
                None => None,
            });
        }
    }
    follow.end()?;
    Ok(Refs { at, ids })
}

/// One hash for each regular file, spread over all rows.
fn read_hashes(columns: &mut ColumnsReader<'_>, kind: &Ints) -> Result<Vec<[u8; 16]>, Fault> {
    let rows = columns.entries;
    let records = columns.records::<16>(C::Hash)?;
    if records.is_empty() {
        return Ok(Vec::new());
    }
    ensure(records.iter().any(|hash| *hash != [0; 16]), "a column says nothing")?;
    let mut left = records.iter();
    let mut hashes = Vec::with_capacity(rows);
    for row in 0..rows {
        if is_file(kind, row) {
            hashes.push(*left.next().ok_or(Fault::Malformed("a file has no hash"))?);
        } else {
            hashes.push([0; 16]);
        }
    }
    ensure(left.next().is_none(), "a hash is there in vain")?;
    Ok(hashes)
}

#[derive(Default)]
struct Parts {
    groups: Vec<GroupPart>,
    group_ids: Vec<BlobId>,
    chunks: Vec<ChunkRef>,
    chunk_ids: Vec<BlobId>,
    lists: Vec<(BlobId, u64)>,
}

fn read_content(
    columns: &mut ColumnsReader<'_>,
    kind: &Ints,
    size: &Ints,
) -> Result<(Vec<ContentSlot>, Parts), Fault> {
    let rows = columns.entries;
    let numbers = columns.ints(C::Content, rows)?;
    let mut counts = [0usize; 4];
    let mut sizes = Vec::new();
    for row in 0..rows {
        let number = size_of(numbers.get(row));
        ensure(number == 0 || is_file(kind, row), "content of something else than a file")?;
        match counts.get_mut(number) {
            Some(count) => *count += 1,
            None => return malformed("an unknown kind of content"),
        }
        if number == 1 {
            sizes.push(size.get(row));
        }
    }
    let [none, _, chunked, listed] = counts;
    let mut parts = Parts::default();
    read_groups(columns, &sizes, &mut parts)?;
    let mut spans = read_chunks(columns, chunked, &mut parts)?.into_iter();
    read_lists(columns, listed, &mut parts)?;
    if none == rows {
        return Ok((Vec::new(), parts));
    }
    let (mut groups, mut lists) = (0, 0);
    let mut slots = Vec::with_capacity(rows);
    for row in 0..rows {
        slots.push(match numbers.get(row) {
            1 => {
                groups += 1;
                ContentSlot::Group(groups - 1)
            }
            2 => spans.next().unwrap_or(ContentSlot::None),
            3 => {
                lists += 1;
                ContentSlot::List(lists - 1)
            }
            _ => ContentSlot::None,
        });
    }
    Ok((slots, parts))
}

/// Parts of groups: each follows the one before it in the same group, and is as long as its
/// file, unless said otherwise.
fn read_groups(columns: &mut ColumnsReader<'_>, sizes: &[u64], parts: &mut Parts) -> Result<(), Fault> {
    let count = sizes.len();
    let codes = columns.ints(C::Group, count)?;
    let offsets = columns.ints(C::GroupOffset, count)?;
    let lens = columns.ints(C::GroupLen, count)?;
    let ids = read_ids(columns, C::GroupIds)?;
    let mut follow = Follow::new(&ids);
    let mut expected: Option<(BlobId, u64)> = None;
    parts.groups.reserve_exact(count);
    for (row, size) in sizes.iter().enumerate() {
        let blob = follow.id(codes.get(row))?;
        let start = expected.filter(|(group, _)| *group == blob).map_or(0, |(_, end)| end);
        let offset = undelta(offsets.get(row), start);
        let len = undelta(lens.get(row), *size);
        let end = offset.checked_add(len).filter(|end| *end <= BLOB_PLAIN_BYTES_MAX as u64);
        let end = end.ok_or(Fault::Malformed("a part of a group out of range"))?;
        let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(len)) else {
            return malformed("a part of a group out of range");
        };
        parts.groups.push(GroupPart { blob, offset, len });
        expected = Some((blob, end));
    }
    follow.end()?;
    parts.group_ids = ids;
    Ok(())
}

fn read_chunks(
    columns: &mut ColumnsReader<'_>,
    files: usize,
    parts: &mut Parts,
) -> Result<Vec<ContentSlot>, Fault> {
    let counts = columns.ints(C::Chunks, files)?;
    let mut spans = Vec::with_capacity(files);
    let mut start = 0;
    for file in 0..files {
        let len = size_of(counts.get(file));
        ensure((1..=Content::CHUNKS_MAX).contains(&len), "a file with too few or too many chunks")?;
        ensure(start + len <= LEAF_CHUNKS_MAX, "it has too many chunks")?;
        let span = (u32::try_from(start), u32::try_from(len));
        let (Ok(first), Ok(len32)) = span else { return malformed("it has too many chunks") };
        spans.push(ContentSlot::Chunks { start: first, len: len32 });
        start += len;
    }
    let codes = columns.ints(C::Chunk, start)?;
    let lens = columns.ints(C::ChunkLen, start)?;
    let ids = read_ids(columns, C::ChunkIds)?;
    let mut follow = Follow::new(&ids);
    parts.chunks.reserve_exact(start);
    for chunk in 0..start {
        let len = u32::try_from(lens.get(chunk)).unwrap_or(u32::MAX);
        ensure((1..=BLOB_PLAIN_BYTES_MAX).contains(&(len as usize)), "a chunk of an impossible length")?;
        parts.chunks.push(ChunkRef { id: follow.id(codes.get(chunk))?, len });
    }
    follow.end()?;
    parts.chunk_ids = ids;
    Ok(spans)
}

fn read_lists(columns: &mut ColumnsReader<'_>, files: usize, parts: &mut Parts) -> Result<(), Fault> {
    let codes = columns.ints(C::List, files)?;
    let counts = columns.ints(C::ListChunks, files)?;
    let ids = read_ids(columns, C::ListIds)?;
    let mut follow = Follow::new(&ids);
    for file in 0..files {
        let chunks = counts.get(file);
        ensure(chunks > Content::CHUNKS_MAX as u64, "a chunk list that is too short")?;
        parts.lists.push((follow.id(codes.get(file))?, chunks));
    }
    follow.end()
}
