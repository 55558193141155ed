//! Listing, searching and comparing trees.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;

use super::trees::{File, Memory, Tree, shared};
use crate::base::id::BlobId;
use crate::engine::context::Context;
use crate::engine::diff::{Change, Reading, Walk};
use crate::engine::error::EngineError;
use crate::engine::find::{Letters, Rule, Search, Version};
use crate::engine::ls::{is_inside, leaves_below, row_of};
use crate::repository::manifest::{
    ChunkListBuilder, ChunkMap, ChunkRef, Content, Found, Key, NodeShelf, TreeCursor,
};

fn rule(patterns: &[&str]) -> Rule {
    let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Rule::new(&patterns, Letters::Exact).expect("patterns")
}

fn differences(
    memory: &Memory,
    old: &BlobId,
    new: &BlobId,
    dir: &[u8],
) -> Result<Vec<(Change, String)>, EngineError> {
    let (shelf, cx) = (NodeShelf::new(), Context::quiet());
    let reading = |root| Reading::new(shared(memory, root, &shelf));
    let mut walk = Walk { a: reading(old), b: reading(new), prefix: b"", inner: &[], dir, cx: &cx };
    let mut found = Vec::new();
    let flow = walk.run(&mut |difference| {
        found.push((difference.change, String::from_utf8_lossy(difference.path).into_owned()));
        ControlFlow::Continue(())
    })?;
    assert!(flow.is_continue());
    Ok(found)
}

fn versions(memory: &Memory, roots: &[BlobId], rule: &Rule) -> Result<Vec<Version>, EngineError> {
    let mut search = Search::new(memory, b"", rule);
    for (number, root) in roots.iter().enumerate() {
        search.add(number, root)?;
    }
    let mut found = Vec::new();
    let flow = search.run(&Context::quiet(), &mut |version| {
        found.push(version.clone());
        ControlFlow::Continue(())
    })?;
    assert!(flow.is_continue());
    search.damage.first.take().map_or(Ok(found), Err)
}

/// A tree with many leaves.
fn large() -> Tree {
    let file =
        |number: u32| File { content: u8::try_from(number % 200).expect("small"), time: i64::from(number) };
    (0..20_000).map(|number| (format!("d{:03}/f{number:05}", number / 100), file(number))).collect()
}

fn trees() -> impl Strategy<Value = Tree> {
    // Signs below and above the slash: order by components is not that of bytes.
    let path = proptest::collection::vec("[ab!-]{1,2}", 1..4).prop_map(|parts| parts.join("/"));
    let file = (0u8..3, 0i64..2).prop_map(|(content, time)| File { content, time });
    proptest::collection::btree_map(path, file, 0..12).prop_map(|mut tree| {
        // What is a folder in one path is no file in another.
        let paths: Vec<String> = tree.keys().cloned().collect();
        tree.retain(|path, _| !paths.iter().any(|other| other.starts_with(&format!("{path}/"))));
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn diff_is_what_a_naive_comparison_finds(old in trees(), new in trees()) {
        let memory = Memory::default();
        let (a, b) = (memory.write(&old), memory.write(&new));
        let found: BTreeSet<_> = differences(&memory, &a, &b, b"").expect("a diff").into_iter()
            .filter(|(_, path)| old.contains_key(path) || new.contains_key(path))
            .map(|(change, path)| (path, format!("{change:?}"))).collect();
        let mut naive = BTreeSet::new();
        let folder = |tree: &Tree, path: &str| tree.keys().any(|other| other.starts_with(&format!("{path}/")));
        for path in old.keys().chain(new.keys()) {
            let change = match (old.get(path), new.get(path)) {
                (Some(a), Some(b)) if a == b => continue,
                (Some(a), Some(b)) if a.content != b.content => "Content",
                (Some(_), Some(_)) => "Metadata",
                (Some(_), None) if folder(&new, path) => "Type",
                (Some(_), None) => "Removed",
                (None, _) if folder(&old, path) => "Type",
                (None, _) => "Added",
            };
            naive.insert((path.clone(), change.to_owned()));
        }
        prop_assert_eq!(found, naive);
    }

    #[test]
    fn find_is_what_a_naive_search_finds(history in proptest::collection::vec(trees(), 1..5)) {
        let memory = Memory::default();
        let roots: Vec<BlobId> = history.iter().map(|tree| memory.write(tree)).collect();
        let mut rule = rule(&["*a*", "b/*"]);
        rule.kinds = vec![crate::base::metadata::FileKind::File];
        let found = versions(&memory, &roots, &rule).expect("a search");
        let mut naive: BTreeMap<(String, File), Vec<usize>> = BTreeMap::new();
        for (number, tree) in history.iter().enumerate() {
            for (path, file) in tree {
                let name = path.rsplit('/').next().unwrap_or(path);
                let below_b = path.strip_prefix("b/").is_some_and(|rest| !rest.contains('/'));
                if name.contains('a') || below_b {
                    naive.entry((path.clone(), *file)).or_default().push(number);
                }
            }
        }
        let found_paths: Vec<&[u8]> = found.iter().map(|version| version.path.as_slice()).collect();
        prop_assert!(found_paths.is_sorted_by(|a, b| Key::of_path(a) <= Key::of_path(b)));
        let found: BTreeMap<_, _> = found.iter().map(|version| {
            let content = u8::try_from(version.facts.size - 100).expect("small");
            let file = File { content, time: version.facts.mtime.seconds };
            ((String::from_utf8_lossy(&version.path).into_owned(), file), version.snapshots.clone())
        }).collect();
        prop_assert_eq!(found, naive);
    }

    #[test]
    fn changed_bytes_of_a_tree_are_an_error_or_another_tree_and_never_a_panic_or_a_loop(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        old in trees(), new in trees(),
    ) {
        let memory = Memory::default();
        let (a, b) = (memory.write(&old), memory.write(&new));
        {
            let mut blobs = memory.blobs.borrow_mut();
            let mut ids: Vec<BlobId> = blobs.keys().copied().collect();
            ids.sort_unstable();
            for (blob, at, byte) in edits {
                let id = ids[blob.index(ids.len())];
                let mut bytes = blobs[&id].to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                blobs.insert(id, Bytes::from(bytes));
            }
        }
        drop(differences(&memory, &a, &b, b""));
        drop(differences(&memory, &a, &b, b"a/b"));
        drop(versions(&memory, &[a, b], &rule(&["*"])));
        for root in [a, b] {
            let Ok(mut cursor) = TreeCursor::open(&root, &memory, NodeShelf::new()) else { continue };
            let total = cursor.entries();
            for ordinal in [0, 1, 2, 5, total.saturating_sub(1), total, u64::MAX] {
                if cursor.seek_ordinal(ordinal).is_err() {
                    continue;
                }
                let before = cursor.ordinal();
                prop_assert!(before <= ordinal);
                if let Ok(Some(leaf)) = cursor.take_leaf() && let Ok(leaf) = leaf.load(&&memory) {
                    (0..leaf.len()).for_each(|row| drop(leaf.row(row).dir()));
                }
            }
            drop(row_of(&mut cursor, Key::of_path(b"a/b")));
            if let Ok(leaves) = leaves_below(&mut cursor, b"a") {
                leaves.take(100).for_each(drop);
            }
        }
    }
}

#[test]
fn a_byte_of_a_file_with_chunk_lists_is_found_in_any_order() {
    let memory = Memory::default();
    let (mut lists, mut chunks, mut end) = (ChunkListBuilder::new(), Vec::new(), 0u64);
    for number in 0..60_000u32 {
        let id = BlobId::new(crate::codec::hash::plain(&[&number.to_le_bytes()]));
        let chunk = ChunkRef { id, len: 1 + number % 900 };
        lists.push(chunk, &mut &memory).expect("stored");
        chunks.push((end, chunk));
        end += u64::from(chunk.len);
    }
    let Content::ChunkList { id, chunks: count } = lists.finish(&mut &memory).expect("stored") else {
        panic!("so many chunks have lists");
    };
    let mut map = ChunkMap::new(id, count);
    let mut find = |offset| loop {
        match map.find(offset, &memory).expect("readable") {
            Found::At(start, chunk) => return Some((start, chunk)),
            Found::Behind => return None,
            Found::NotYet => {}
        }
    };
    for number in [0, 1, 59_999, 17, 30_000, 29_999, 4096, 4095].into_iter().chain((0..60_000).step_by(7001))
    {
        let (start, chunk) = chunks[number];
        assert_eq!(find(start), Some((start, chunk)));
        assert_eq!(find(start + u64::from(chunk.len) - 1), Some((start, chunk)));
    }
    assert_eq!((find(end), find(u64::MAX)), (None, None));
    // Read once from front to back, it asks for each list once.
    memory.gets.set(0);
    let mut map = ChunkMap::new(id, count);
    for (start, _) in &chunks {
        while map.find(*start, &memory).expect("readable") == Found::NotYet {}
    }
    let stored = memory.blobs.borrow().len();
    assert!(memory.gets.get() <= stored, "{} reads of {stored} lists", memory.gets.get());
}

#[test]
fn diff_reads_what_differs() {
    let memory = Memory::default();
    let old = large();
    let mut new = old.clone();
    new.insert("d100/f10050".to_owned(), File { content: 7, time: -1 });
    new.remove("d150/f15000");
    let (a, b) = (memory.write(&old), memory.write(&new));
    memory.gets.set(0);
    let found = differences(&memory, &a, &b, b"").expect("a diff");
    let expected = [(Change::Content, "d100/f10050".to_owned()), (Change::Removed, "d150/f15000".to_owned())];
    assert_eq!(found, expected);
    assert!(memory.gets.get() <= 10, "{} blobs read for two changes", memory.gets.get());
    memory.gets.set(0);
    assert_eq!(differences(&memory, &a, &a, b"").expect("a diff"), []);
    assert!(memory.gets.get() <= 1, "equal trees are not read");
    assert_eq!(differences(&memory, &a, &b, b"d150").expect("a diff"), expected[1..]);
    assert_eq!(differences(&memory, &a, &b, b"d15").expect("a diff"), []);
}

#[test]
fn find_reads_what_snapshots_have_in_common_once() {
    let memory = Memory::default();
    let mut tree = large();
    let mut roots = vec![memory.write(&tree)];
    for number in 0..20 {
        tree.insert(
            format!("d{number:03}/f{:05}", u32::from(number) * 100),
            File { content: number, time: -1 },
        );
        roots.push(memory.write(&tree));
    }
    let distinct = memory.blobs.borrow().len();
    memory.gets.set(0);
    let found = versions(&memory, &roots, &rule(&["f00100", "f1999?"])).expect("a search");
    assert!(memory.gets.get() <= distinct, "{} reads of {distinct} blobs", memory.gets.get());
    let spans: Vec<(&[u8], usize)> =
        found.iter().map(|version| (version.path.as_slice(), version.snapshots.len())).collect();
    assert_eq!(spans[..2], [(&b"d001/f00100"[..], 2), (b"d001/f00100", 19)]);
    assert_eq!(spans.len(), 12);
    assert!(spans[2..].iter().all(|(_, count)| *count == 21));
}

#[test]
fn a_folder_is_listed_from_the_leaves_that_have_it() {
    let memory = Memory::default();
    let root = memory.write(&large());
    let mut cursor = memory.cursor(&root);
    let total = cursor.entries();
    memory.gets.set(0);
    let (leaf, row) = row_of(&mut cursor, Key::of_path(b"d123/f12345")).expect("readable").expect("there");
    assert_eq!(leaf.row(row).name(), b"f12345");
    assert!(row_of(&mut cursor, Key::of_path(b"d123/f1234")).expect("readable").is_none());
    assert!(row_of(&mut cursor, Key::of_path(b"d123/../x")).expect("readable").is_none());
    let leaves: Vec<_> = leaves_below(&mut cursor, b"d123").expect("readable").collect();
    assert!((1..=2).contains(&leaves.len()), "{}", leaves.len());
    assert!(memory.gets.get() <= 4, "{}", memory.gets.get());
    // Every entry is found by its number, and says its own.
    for ordinal in (0..total).step_by(1237).chain([0, total - 1]) {
        cursor.seek_ordinal(ordinal).expect("readable");
        let before = cursor.ordinal();
        let leaf = cursor.take_leaf().expect("readable").expect("a leaf");
        let row = usize::try_from(ordinal - before).expect("small");
        let leaf = leaf.load(&&memory).expect("readable");
        let view = leaf.row(row);
        let path = crate::engine::ls::full_path(&view.dir(), view.name());
        let mut again = memory.cursor(&root);
        let (twin, twin_row) = row_of(&mut again, Key::of_path(&path)).expect("readable").expect("there");
        assert_eq!((twin.id(), twin_row), (leaf.id(), row));
    }
    cursor.seek_ordinal(total).expect("readable");
    assert!(cursor.part().is_none());
    assert!(
        is_inside(b"a/b", b"a") && is_inside(b"a", b"a") && is_inside(b"a", b"") && !is_inside(b"ab", b"a")
    );
}
