//! Small bytes that say they are large, parts that hold themselves, counts that nothing can hold.

use lifeboat::base::id::BlobId;
use lifeboat::base::metadata::{Extent, FileKind, Xattr};
use lifeboat::codec::compress::Compression;
use lifeboat::repository::format::keys::BlobKind;
use lifeboat::repository::format::pack::BlobRow;
use lifeboat::repository::format::snapshot::{PackSetRef, SnapshotRoot};
use lifeboat::repository::manifest::{Content, Entry};

use super::writer::{Blob, Evil, chunks, entry, file};
use super::{Case, Stand};

fn root() -> Entry {
    entry("", FileKind::Directory, b"")
}

fn number(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("masked") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("small"));
    out
}

/// A frame whose head is by hand: descriptor, the rest of the head, then one block that repeats a
/// byte `times` times, and that block again and again (RFC 8878, 3.1.1).
fn frame(head: &[u8], times: u32, blocks: usize) -> Vec<u8> {
    let mut out = [&[0x28, 0xb5, 0x2f, 0xfd], head].concat();
    for block in 1..=blocks {
        let said = times << 3 | 1 << 1 | u32::from(block == blocks);
        out.extend_from_slice(&said.to_le_bytes()[..3]);
        out.push(b'A');
    }
    out
}

/// Frames that say something else than their row, or too much: name, plain bytes of the row, frame.
fn frames() -> Vec<(&'static str, u32, Vec<u8>)> {
    let zeros = |bytes: usize| zstd::bulk::compress(&vec![0; bytes], 1).expect("compressed");
    let hello = zstd::bulk::compress(b"hello", 1).expect("compressed");
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff][..], &hello].concat();
    let sized = |bytes: u32, window: u8| [&[0x80, window][..], &bytes.to_le_bytes()].concat();
    let mut eight = vec![0xc0, 0x50];
    eight.extend_from_slice(&u64::MAX.to_le_bytes());
    vec![
        ("100 MiB in a row of 1 KiB", 1024, zeros(100 << 20)),
        ("5 bytes in a row of 16 MiB", 16 << 20, hello.clone()),
        ("no content size", 1 << 17, frame(&[0, 0x50], 1 << 17, 1)),
        ("a window of 2^41 bytes", 1 << 17, frame(&sized(1 << 17, 0xf8), 1 << 17, 1)),
        ("a content size of 2^64 - 1", 1 << 17, frame(&eight, 1 << 17, 1)),
        ("a thousand blocks behind the size", 1024, frame(&sized(1024, 0x50), 1 << 17, 1000)),
        ("cut off", 16 << 20, zeros(16 << 20)[..100].to_vec()),
        ("two frames", 10, [&hello[..], &hello].concat()),
        ("a skippable frame of 4 GiB", 5, skipped),
        ("no frame at all", 16 << 20, vec![0xff; 4096]),
    ]
}

#[test]
fn frames_that_are_bombs_are_refused_in_little_memory() {
    let stand = Stand::new();
    let evil = &stand.evil;
    let mut cases = Vec::new();
    for (what, plain_bytes, stored) in frames() {
        let chunk = evil.frame(BlobKind::Chunk, what.as_bytes(), plain_bytes, stored);
        let victim = file("victim", chunks(&[&chunk]), u64::from(plain_bytes));
        let id = evil.commit_with(&[root(), victim], &[], &[chunk]);
        cases.push(Case::refused(format!("a chunk's frame: {what}"), id));
    }
    for (what, plain_bytes, stored) in frames().into_iter().take(3) {
        let node = evil.frame(BlobKind::Node, what.as_bytes(), plain_bytes, stored);
        let id = evil.commit_root(node.row.id, 2, 0, &[node]);
        cases.push(Case::refused(format!("the root's frame: {what}"), id));
    }
    cases.iter().for_each(|case| stand.try_all(case));
    stand.look_at_all(&cases);
}

/// A chunk list: level, rows, what stands behind each id.
fn list(level: u8, rows: u32, row: impl Fn(u32) -> (BlobId, u64)) -> Vec<u8> {
    let mut plain = vec![1, level, 0, 0];
    plain.extend_from_slice(&rows.to_le_bytes());
    for at in 0..rows {
        let (id, says) = row(at);
        plain.extend_from_slice(id.as_bytes());
        plain.extend_from_slice(&says.to_le_bytes()[..if level == 0 { 4 } else { 8 }]);
    }
    plain
}

/// A file of lists of lists of one chunk: its entry's content, and the blobs.
fn tower(evil: &Evil, chunk: &Blob, rows: &[u32]) -> (Content, Vec<Blob>) {
    let mut blobs = vec![chunk.clone()];
    let mut below = (chunk.row.id, u64::from(chunk.row.plain_bytes), 1);
    for (level, rows) in (0u8..).zip(rows) {
        let (id, says, total) = below;
        let blob = evil.blob(BlobKind::ChunkList, &list(level, *rows, |_| (id, says)));
        let total = total * u64::from(*rows);
        below = (blob.row.id, total, total);
        blobs.push(blob);
    }
    (Content::ChunkList { id: below.0, chunks: below.2 }, blobs)
}

/// The same bytes under another id.
fn forged(evil: &Evil, id: BlobId, kind: BlobKind, plain: &[u8]) -> Blob {
    let blob = evil.blob(kind, plain);
    Blob { row: BlobRow { id, ..blob.row }, ..blob }
}

#[test]
fn lists_of_too_many_chunks_end_in_time_and_in_little_memory() {
    let stand = Stand::new();
    let evil = &stand.evil;
    let mut cases = Vec::new();
    let big = evil.blob(BlobKind::Chunk, &vec![b'A'; 16 << 20]);
    let one = evil.blob(BlobKind::Chunk, b"A");
    for (what, chunk, rows) in [
        ("100 TiB of one chunk", &big, &[16_384, 400][..]),
        ("10^9 chunks of a byte", &one, &[16_000, 16_000, 4]),
        ("4 * 10^12 chunks of a byte", &one, &[16_384, 16_384, 16_384]),
    ] {
        let (content, blobs) = tower(evil, chunk, rows);
        let Content::ChunkList { chunks, .. } = content else { unreachable!("a list") };
        let bytes = chunks.saturating_mul(u64::from(chunk.row.plain_bytes));
        let id = evil.commit_with(&[root(), file("victim", content, bytes)], &[], &blobs);
        // Nothing of it is untrue, but there is no room for it.
        let case = Case::told(what, id);
        stand.try_all(&case);
        cases.push(case);
    }
    let itself = BlobId::new([7; 32]);
    let plain = list(1, 2, |_| (itself, 5000));
    let honest = evil.blob(BlobKind::ChunkList, &list(0, 5000, |_| (one.row.id, 1)));
    let long = [&[1, 0, 0, 0][..], &u32::MAX.to_le_bytes(), &[0; 72]].concat();
    let same = evil.blob(BlobKind::ChunkList, &list(1, 1, |_| (honest.row.id, 5000)));
    let twice = evil.blob(BlobKind::ChunkList, &list(1, 1, |_| (same.row.id, 5000)));
    let deep = evil.blob(BlobKind::ChunkList, &list(200, 1, |_| (honest.row.id, 5000)));
    let long = evil.blob(BlobKind::ChunkList, &long);
    for (what, id, said, blobs) in [
        ("a list of itself", itself, 10_000, vec![forged(evil, itself, BlobKind::ChunkList, &plain)]),
        ("a list of lists of its level", twice.row.id, 5000, vec![twice.clone(), same, honest.clone()]),
        ("a list of level 200", deep.row.id, 5000, vec![deep.clone(), honest.clone()]),
        ("2^32 rows claimed", long.row.id, u64::from(u32::MAX), vec![long.clone()]),
        ("2^64 chunks claimed", honest.row.id, u64::MAX, vec![honest.clone()]),
    ] {
        let content = Content::ChunkList { id, chunks: said };
        let more = [&blobs[..], std::slice::from_ref(&one)].concat();
        let id = evil.commit_with(&[root(), file("victim", content, said)], &[], &more);
        let case = Case::refused(what, id);
        stand.try_all(&case);
        cases.push(case);
    }
    stand.look_at_all(&cases);
}

/// A node of one row, whose first key is the root's.
fn node(level: u8, child: &BlobId, entries: u64) -> Vec<u8> {
    let tail = [number(entries), number(0), number(0), number(0)].concat();
    [&[1, level, 1, 0, 0, 0][..], child.as_bytes(), &tail].concat()
}

/// A leaf of these columns: number, encoding, bytes.
fn leaf(entries: u64, dirs: u64, columns: &[(u16, u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = [vec![1], number(entries), number(dirs), number(columns.len() as u64)].concat();
    for (column, encoding, bytes) in columns {
        out.extend_from_slice(&column.to_le_bytes());
        out.extend_from_slice(&[*encoding, 1]);
        out.extend_from_slice(&u32::try_from(bytes.len()).expect("small").to_le_bytes());
    }
    columns.iter().for_each(|(_, _, bytes)| out.extend_from_slice(bytes));
    out
}

#[test]
fn trees_that_loop_or_claim_what_nothing_holds_are_refused() {
    let stand = Stand::new();
    let evil = &stand.evil;
    let itself = BlobId::new([9; 32]);
    let other = BlobId::new([8; 32]);
    let forge = |id, plain: &[u8]| forged(evil, id, BlobKind::Node, plain);
    let true_node = |plain: &[u8]| evil.blob(BlobKind::Node, plain);
    let runs = |count: u64, value: u64| [number(count), number(value)].concat();
    let mut cases: Vec<(&str, BlobId, Vec<Blob>)> = vec![
        ("a node of itself", itself, vec![forge(itself, &node(2, &itself, 2))]),
        (
            "a node of its parent",
            itself,
            vec![forge(itself, &node(3, &other, 2)), forge(other, &node(2, &itself, 2))],
        ),
    ];
    let nodes: [(&str, Vec<u8>); 4] = [
        ("a node of level 255", node(255, &other, 2)),
        ("a node of level 0", node(0, &other, 2)),
        ("a node of 2^32 rows", [&[1, 1][..], &number(1 << 32)].concat()),
        ("a child of 2^64 - 1 entries", node(1, &other, u64::MAX)),
    ];
    for (what, plain) in nodes {
        let root = true_node(&plain);
        cases.push((what, root.row.id, vec![root]));
    }
    let deep = 131_072;
    let leaves = [
        ("a leaf of 2^32 entries", leaf(1 << 32, 0, &[])),
        ("a leaf of 2^64 - 1 entries", leaf(u64::MAX, 0, &[])),
        ("a leaf of 2^32 folders", leaf(2, 1 << 32, &[])),
        ("a leaf of 8192 entries without a name", leaf(8192, 0, &[(8, 1, runs(8192, 1))])),
        ("folders 131,072 deep", leaf(1, deep, &[(2, 1, runs(deep, 1)), (3, 2, vec![b'd'; 131_072])])),
        ("names of 2^60 bytes", leaf(2, 0, &[(6, 1, runs(2, 1 << 60)), (7, 2, vec![b'n'; 8])])),
        ("2^20 columns", [&[1, 1, 0][..], &number(1 << 20), &[0; 64]].concat()),
    ];
    for (what, plain) in leaves {
        let leaf = evil.blob(BlobKind::Leaf, &plain);
        let root = true_node(&node(1, &leaf.row.id, 2));
        cases.push((what, root.row.id, vec![root, leaf]));
    }
    let cases: Vec<Case> = cases
        .into_iter()
        .map(|(what, root, blobs)| Case::refused(what, evil.commit_root(root, 2, 0, &blobs)))
        .collect();
    cases.iter().for_each(|case| stand.try_all(case));
    stand.look_at_all(&cases);
}

/// A tree in which the attribute blob of `victim` is another.
fn with_attr(evil: &Evil, mut victim: Entry, plain: &[u8]) -> lifeboat::base::id::ObjectHash {
    if victim.extents.is_none() {
        victim.meta.xattrs = vec![Xattr { name: b"user.a".to_vec(), value: b"b".to_vec() }];
    }
    let (_, honest) = evil.tree(&[root(), victim.clone()], &[]);
    let honest = honest.iter().find(|blob| blob.row.kind == BlobKind::Attr).expect("an attribute");
    let attr = evil.blob(BlobKind::Attr, plain);
    let swap = (&honest.row.id.as_bytes()[..], &attr.row.id.as_bytes()[..]);
    evil.commit_with(&[root(), victim], &[swap], std::slice::from_ref(&attr))
}

#[test]
fn attributes_extents_and_pack_sets_without_end_are_refused() {
    let stand = Stand::new();
    let evil = &stand.evil;
    let plain = || file("victim", Content::None, 0);
    let one = evil.blob(BlobKind::Chunk, b"A");
    let mut many = [&[1, 1][..], &number(1_000_000)].concat();
    for at in 0..1_000_000u32 {
        many.push(4);
        many.extend_from_slice(&at.to_be_bytes());
        many.push(0);
    }
    let extents = |count: u64, bytes: &[u8]| [&[1, 2][..], &number(count), bytes].concat();
    let holes = |size: u64, extents: Vec<Extent>| {
        let mut victim = file("victim", chunks(&[&one]), size);
        victim.extents = Some(extents);
        victim
    };
    let sparse = holes(1, vec![Extent { offset: 0, len: 1 }]);
    let far = holes(u64::MAX, vec![Extent { offset: u64::MAX - 1, len: 1 }]);
    let mut cases = vec![
        Case::refused("10^6 attributes", with_attr(evil, plain(), &many)),
        Case::refused("2^60 attributes", with_attr(evil, plain(), &[&[1, 1][..], &number(1 << 60)].concat())),
        Case::refused("2^60 extents", with_attr(evil, sparse.clone(), &extents(1 << 60, &[]))),
        Case::refused(
            "extents beyond 2^64",
            with_attr(evil, sparse, &extents(1, &[number(u64::MAX), number(2)].concat())),
        ),
        Case::not_restored(
            "a byte at the end of 2^64",
            evil.commit_with(&[root(), far], &[], std::slice::from_ref(&one)),
        ),
    ];
    let (tree, blobs) = evil.tree(&[root(), plain()], &[]);
    for (what, plain) in [
        ("a pack set of 2^32 packs", u32::MAX.to_le_bytes().to_vec()),
        ("a pack set that is empty bytes", vec![0; 16 << 20]),
    ] {
        let set = evil.blob(BlobKind::PackSet, &plain);
        let stock = evil.stow(&[&blobs[..], std::slice::from_ref(&set)].concat());
        let at = SnapshotRoot { path: b"/evil".to_vec(), node: tree.id, entries: 2, bytes: 0 };
        let mut body = evil.body(at, &stock);
        body.pack_set = PackSetRef::Blob(set.row.id);
        cases.push(Case::told(what, evil.confirm(&body)));
    }
    let at = |number: u32| SnapshotRoot {
        path: format!("/evil/{number}").into_bytes(),
        node: tree.id,
        entries: 2,
        bytes: 0,
    };
    let mut body = evil.body(at(0), &evil.stow(&blobs));
    body.roots = (0..2_000).map(at).collect();
    cases.push(Case::told("2,000 roots", evil.confirm(&body)));
    let levels: Vec<String> = (1..4000).map(|depth| vec!["d"; depth].join("/")).collect();
    let folders = levels.iter().map(|path| entry(path, FileKind::Directory, b""));
    let deep: Vec<Entry> = std::iter::once(root()).chain(folders).collect();
    cases.push(Case::told("folders 4,000 deep", evil.commit_with(&deep, &[], &[])));
    cases.iter().for_each(|case| stand.try_all(case));
    assert!(Compression::from_number(2).is_none(), "a third way needs bombs of its own");
    stand.look_at_all(&cases);
}
