//! Round trips, reuse, search, and what they cost.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::*;
use super::sample::{CUT, Memory, entry, files, id, read, rewrite, write};
use super::strategy::trees;
use crate::base::error::{Class, Classified};
use crate::base::metadata::{Extent, FileKind, Xattr};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_back(entries in trees()) {
        let memory = Memory::default();
        let root = write(&entries, &memory);
        prop_assert_eq!(root.entries, entries.len() as u64);
        prop_assert_eq!(read(&root, &memory), entries.clone());
        prop_assert_eq!(rewrite(&entries, &root, &memory), root);
        let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
        for entry in &entries {
            let found = reader.lookup(&entry.path()).expect("it can be read");
            prop_assert_eq!(found.as_ref(), Some(entry));
        }
    }
}

#[test]
fn a_hundred_thousand_files_come_back_and_are_found_in_few_reads() {
    let memory = Memory::default();
    let entries = files(100_000);
    let root = write(&entries, &memory);
    assert!(read(&root, &memory) == entries);
    let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
    assert_eq!((reader.entries(), reader.bytes()), (root.entries, root.bytes));
    assert_eq!(reader.height(), root.height);
    for entry in entries.iter().step_by(997) {
        let (found, reads) = memory.reads(|| reader.lookup(&entry.path()));
        assert_eq!(found.expect("it can be read").as_ref(), Some(entry));
        assert!(reads <= root.height as usize + 1, "{reads} reads in a tree of height {}", root.height);
    }
    for nothing in ["project-000/module-00000/source", "zzz", "project-000/..", "a//b", "project-999/x"] {
        assert_eq!(reader.lookup(nothing.as_bytes()).expect("it can be read"), None);
    }
    let blobs = memory.blobs.borrow();
    let leaves: Vec<_> = blobs.iter().filter(|((kind, _), _)| *kind == NodeKind::Leaf).collect();
    let bytes: usize = leaves.iter().map(|(_, plain)| plain.len()).sum();
    let each = entries.len() / leaves.len();
    assert!((600..2500).contains(&each), "{each} entries a leaf");
    let hashes = 16 * entries.iter().filter(|entry| entry.meta.kind == FileKind::File).count();
    let plain = (bytes - hashes) as f64 / entries.len() as f64;
    assert!(plain < 25.0, "{plain} bytes an entry besides its hash");
}

#[test]
fn a_tree_so_far_is_the_tree_of_the_entries_so_far_and_disturbs_nothing() {
    let memory = Memory::default();
    let entries = files(5_000);
    let whole = write(&entries, &memory);
    // Kept rows as well as pushed ones may be open when somebody asks.
    let mut parent = ManifestReader::open(&whole.id, &memory).expect("it was just written");
    let mut builder = ManifestBuilder::new(CUT, &memory);
    assert_eq!(builder.so_far().expect("nothing is stored"), None);
    for (count, entry) in entries.iter().enumerate() {
        if count % 3 == 0 || count > 3_000 {
            let row = parent.advance_to(entry.key()).expect("it can be read").expect("it is there").row();
            let leaf = Arc::clone(parent.leaf().expect("an entry was found"));
            builder.keep(&leaf, row).expect("entries are in order");
        } else {
            builder.push(entry).expect("entries are in order");
        }
        if count % 701 == 0 || count == entries.len() - 2 {
            let so_far = builder.so_far().expect("memory takes all").expect("there are entries");
            assert_eq!(so_far, write(&entries[..=count], &memory));
        }
    }
    assert_eq!(builder.finish().expect("a root is there").0, whole);
}

#[test]
fn a_directory_of_half_a_million_has_several_levels_and_the_same_promises() {
    let memory = Memory::default();
    let count = 500_000u32;
    let path = |number: u32| if number == 0 { String::new() } else { format!("g{number:07}") };
    let made = |number: u32| {
        let mut made = entry(&path(number), FileKind::File);
        made.meta.size = u64::from(number);
        made
    };
    let mut builder = ManifestBuilder::new(CUT, &memory);
    (0..count).for_each(|number| builder.push(&made(number)).expect("entries are in order"));
    let root = builder.finish().expect("a root is there").0;
    assert!(root.height >= 2, "{root:?}");
    assert_eq!(root.bytes, u64::from(count) * u64::from(count - 1) / 2);

    let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
    let mut builder = ManifestBuilder::new(CUT, &memory);
    let written = memory.puts.get();
    for number in 0..count {
        let row = reader.peek().expect("it can be read").map(|view| (view.row(), view.size()));
        assert_eq!(row.map(|(_, size)| size), Some(u64::from(number)));
        let leaf = reader.leaf().map(Arc::clone).expect("it stands at an entry");
        builder.keep(&leaf, row.map_or(0, |(row, _)| row)).expect("it is in order");
        reader.skip_entry().expect("it was read");
    }
    assert!(reader.peek().expect("nothing is left").is_none());
    assert_eq!(builder.finish().expect("a root is there").0, root);
    assert!(memory.puts.get() - written < 16, "only nodes and the last leaf are written again");

    for number in (1..count).step_by(9_973) {
        let (found, reads) = memory.reads(|| reader.lookup(path(number).as_bytes()));
        assert!(found.expect("it can be read") == Some(made(number)));
        assert!(reads <= root.height as usize, "the root is at hand: {reads} reads");
    }
    reader.seek(Key::ROOT).expect("it can be read");
    let last = made(count - 1);
    let (found, reads) = memory.reads(|| reader.advance_to(last.key()).map(|view| view.is_some()));
    assert!(found.expect("it can be read"));
    assert!(reads < 16, "{reads} reads");
    let mut leaves = HashSet::new();
    let mut visit = |blob| if leaves.insert(blob) { Visit::Enter } else { Visit::Skip };
    visit_blobs(&root.id, &memory, &mut visit).expect("it can be read");
    assert_eq!(leaves.len(), memory.blobs.borrow().len());
}

#[test]
fn a_directory_and_a_subtree_are_listed_alone() {
    let memory = Memory::default();
    let entries = files(9_000);
    let root = write(&entries, &memory);
    let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
    for dir in ["", "project-001", "project-001/module-00100", "project-00", "nowhere"] {
        let dir = dir.as_bytes();
        let listed: Result<Vec<Entry>, _> = reader.list_dir(dir).expect("it can be read").collect();
        let there = |entry: &&Entry| entry.dir == dir && !entry.name.is_empty();
        let expected: Vec<Entry> = entries.iter().filter(there).cloned().collect();
        assert!(listed.expect("it can be read") == expected, "{}", dir.escape_ascii());
        let below: Result<Vec<Entry>, _> = reader.subtree(dir).expect("it can be read").collect();
        let inside = |entry: &&Entry| {
            let path = entry.path();
            dir.is_empty() || path == dir || path.starts_with(&[dir, b"/"].concat())
        };
        let expected: Vec<Entry> = entries.iter().filter(inside).cloned().collect();
        assert!(below.expect("it can be read") == expected, "{}", dir.escape_ascii());
    }
}

#[test]
fn an_unchanged_tree_is_kept_without_writing_its_leaves() {
    let memory = Memory::default();
    let entries = files(30_000);
    let root = write(&entries, &memory);
    let written = memory.puts.get();
    assert_eq!(rewrite(&entries, &root, &memory), root);
    let again = memory.puts.get() - written;
    let nodes = memory.blobs.borrow().keys().filter(|(kind, _)| *kind == NodeKind::Node).count();
    assert!(again <= nodes + 1, "{again} blobs were written again; nodes and the last leaf would do");
}

#[test]
fn reuse_gives_the_same_root_as_writing_anew() {
    let memory = Memory::default();
    let before = files(12_000);
    let parent = write(&before, &memory);
    let last = before.len() - 1;
    for (first, step) in [(0, usize::MAX), (1, usize::MAX), (5_000, 1_700), (last, 1), (77, 3)] {
        let picked: HashSet<usize> = (first..before.len()).step_by(step).collect();
        let pick = |row: &usize| picked.contains(row) && *row != 0;
        let touched = before.iter().cloned().enumerate().map(|(row, mut entry)| {
            entry.meta.mode ^= u32::from(picked.contains(&row));
            entry
        });
        let removed =
            before.iter().cloned().enumerate().filter(|(row, _)| !pick(row)).map(|(_, entry)| entry);
        let added = before.iter().enumerate().flat_map(|(row, entry)| {
            let mut new = entry.clone();
            new.name.push(b'+');
            [Some(entry.clone()), Some(new).filter(|_| pick(&row))].into_iter().flatten()
        });
        let shorter = before[..before.len() / 2].to_vec();
        let longer = {
            let mut last = before[last].clone();
            last.name.push(b'~');
            [before.clone(), vec![last]].concat()
        };
        for now in [touched.collect(), removed.collect(), added.collect(), shorter, longer] {
            let now: Vec<Entry> = now;
            assert_eq!(rewrite(&now, &parent, &memory), write(&now, &Memory::default()), "{first} {step}");
        }
    }
}

#[test]
fn one_change_writes_little() {
    let memory = Memory::default();
    let mut entries = files(60_000);
    let root = write(&entries, &memory);
    entries[30_000].meta.size += 1;
    let before = memory.blobs.borrow().len();
    let changed = write(&entries, &memory);
    assert_ne!(changed.id, root.id);
    let new = memory.blobs.borrow().len() - before;
    assert!(new <= 1 + changed.height as usize, "{new} new blobs for one changed entry");
    entries.remove(30_000);
    let before = memory.blobs.borrow().len();
    write(&entries, &memory);
    let new = memory.blobs.borrow().len() - before;
    assert!(new <= 8, "{new} new blobs for one removed entry");
}

#[test]
fn passing_over_a_deleted_subtree_reads_little_of_it() {
    let memory = Memory::default();
    let entries = files(100_000);
    let root = write(&entries, &memory);
    let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
    reader.peek().expect("it can be read");
    let far = entries.last().expect("there are many").clone();
    let (found, reads) = memory.reads(|| reader.advance_to(far.key()).map(|view| view.is_some()));
    assert!(found.expect("it can be read"));
    assert!(reads <= 4, "{reads} reads");
}

#[test]
fn what_is_out_of_order_or_unfit_is_refused_and_leaves_the_builder_usable() {
    let memory = Memory::default();
    let mut builder = ManifestBuilder::new(CUT, &memory);
    let first = builder.push(&entry("a", FileKind::File)).expect_err("the root comes first");
    assert_eq!(first.code(), "E0355");
    builder.push(&entry("", FileKind::Directory)).expect("the root comes first");
    builder.push(&entry("b", FileKind::Directory)).expect("it is in order");
    for (path, code) in [("a", "E0353"), ("b", "E0353"), ("", "E0353"), ("..", "E0354"), ("c/.", "E0354")] {
        let error = builder.push(&entry(path, FileKind::File)).expect_err(path);
        assert_eq!(error.code(), code, "{error}");
    }
    let mut unfit = entry("c", FileKind::Directory);
    unfit.content = Content::Group { blob: id(1), offset: 0, len: 1 };
    assert_eq!(builder.push(&unfit).expect_err("a folder has no content").code(), "E0355");
    builder.push(&entry("b/a", FileKind::File)).expect("it is in order");
    assert_eq!(builder.finish().expect("a root is there").0.entries, 3);
    let empty = ManifestBuilder::new(CUT, &memory).finish().expect_err("there is no entry");
    assert_eq!(empty.code(), "E0356");
}

#[test]
fn long_paths_fill_leaves_within_their_bounds() {
    let memory = Memory::default();
    let mut entries = vec![entry("", FileKind::Directory)];
    let mut dir = Vec::new();
    for depth in 0..400u32 {
        let mut made = entry("", FileKind::Directory);
        made.dir.clone_from(&dir);
        made.name = vec![b'a' + u8::try_from(depth % 26).expect("small"); 250];
        dir = made.path();
        entries.push(made);
    }
    let root = write(&entries, &memory);
    assert!(read(&root, &memory) == entries);
    let longest = memory.blobs.borrow().values().map(Bytes::len).max().expect("blobs are there");
    assert!(longest <= leaf::LEAF_BYTES_MAX, "{longest} bytes");
    let mut reader = ManifestReader::open(&root.id, &memory).expect("it was just written");
    assert!(reader.lookup(&dir).expect("it can be read").is_some());
}

#[test]
fn chunk_lists_of_any_length_come_back_in_order() {
    let memory = Memory::default();
    for count in [0u64, 1, 4096, 4097, 20_000, 70_000] {
        let chunks = (0..count)
            .map(|number| ChunkRef { id: id(number), len: 1 + u32::try_from(number).expect("small") });
        let mut lists = ChunkListBuilder::new();
        let mut sink = &memory;
        for chunk in chunks.clone() {
            lists.push(chunk, &mut sink).expect("memory takes all");
        }
        let content = lists.finish(&mut sink).expect("memory takes all");
        match &content {
            Content::None => assert_eq!(count, 0),
            Content::Chunks(few) => assert!(count <= 4096 && few.len() as u64 == count),
            Content::ChunkList { chunks, .. } => assert!(count > 4096 && *chunks == count),
            Content::Group { .. } => panic!("chunks are no group"),
        }
        let back: Result<Vec<ChunkRef>, _> = ChunkIter::new(ContentView::from(&content), &memory).collect();
        assert!(back.expect("it was just written").into_iter().eq(chunks), "{count}");
    }
}

#[test]
fn a_list_that_is_not_what_is_said_of_it_is_damage() {
    let memory = Memory::default();
    let mut lists = ChunkListBuilder::new();
    let mut sink = &memory;
    for number in 0..30_000 {
        lists.push(ChunkRef { id: id(number), len: 1 }, &mut sink).expect("memory takes all");
    }
    let Content::ChunkList { id, chunks } = lists.finish(&mut sink).expect("memory takes all") else {
        panic!("these are many chunks");
    };
    for wrong in [chunks - 1, chunks + 1] {
        let iter = ChunkIter::new(ContentView::ChunkList { id, chunks: wrong }, &memory);
        let error = iter.collect::<Result<Vec<_>, _>>().expect_err("the count is wrong");
        assert_eq!(error.class(), Class::Damage);
    }
}

#[test]
fn a_visit_names_every_blob_and_enters_none_twice() {
    let memory = Memory::default();
    let mut entries = files(6_000);
    let many = {
        let mut lists = ChunkListBuilder::new();
        for number in 0..9_000 {
            lists.push(ChunkRef { id: id(number), len: 7 }, &mut &memory).expect("memory takes all");
        }
        lists.finish(&mut &memory).expect("memory takes all")
    };
    let file = entries.iter_mut().rfind(|entry| entry.meta.kind == FileKind::File).expect("a file");
    file.content = many;
    file.extents = Some(vec![Extent { offset: 0, len: 1 }]);
    file.meta.xattrs = vec![Xattr { name: b"user.a".to_vec(), value: Vec::new() }];
    let root = write(&entries, &memory);
    let mut seen = HashSet::new();
    let mut visit = |blob| if seen.insert(blob) { Visit::Enter } else { Visit::Skip };
    let (done, reads) = memory.reads(|| visit_blobs(&root.id, &memory, &mut visit));
    done.expect("it was just written");
    let named: HashSet<_> = seen
        .iter()
        .filter_map(|blob| match blob {
            BlobRef::Manifest(kind, id) => Some((*kind, *id)),
            _ => None,
        })
        .collect();
    assert_eq!(named, memory.blobs.borrow().keys().copied().collect());
    assert_eq!(seen.iter().filter(|blob| matches!(blob, BlobRef::Chunk(_))).count(), 9_000);
    assert!(reads <= named.len() - 2, "attribute blobs need no read");
    let mut visited_again = |_| Visit::Skip;
    let ((), reads) = memory.reads(|| visit_blobs(&root.id, &memory, &mut visited_again).expect("no read"));
    assert_eq!(reads, 0);
}

#[test]
fn a_missing_blob_carries_the_class_and_name_of_the_store_s_error() {
    let memory = Memory::default();
    let root = write(&files(10), &memory);
    memory.blobs.borrow_mut().retain(|(kind, _), _| *kind == NodeKind::Node);
    let mut reader = ManifestReader::open(&root.id, &memory).expect("the node is there");
    let error = reader.peek().expect_err("the leaf is gone");
    assert_eq!((error.class(), error.code()), (Class::Damage, "E9999"));
    let chain = crate::base::error::Chain(&error).to_string();
    assert!(chain.starts_with("reading leaf ") && chain.ends_with(" is not there"), "{chain}");
    assert!(reader.next().is_some_and(|next| next.is_err()));
    assert!(reader.next().is_none(), "it ends after an error");
}
