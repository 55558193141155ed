//! Bytes that no writer of ours would make.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::sample::{Memory, entry, files, id, write};
use super::strategy::trees;
use crate::base::error::{Class, Classified};
use crate::base::id::BlobId;
use crate::base::metadata::{FileKind, FileTime};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn damaged_blobs_never_panic_and_never_break_the_order(
        entries in trees(), flips in vec((any::<prop::sample::Index>(), 1u8..), 1..4), random: Vec<u8>,
    ) {
        let memory = Memory::default();
        let root = write(&entries, &memory);
        let blobs: Vec<_> = memory.blobs.borrow().iter().map(|(key, plain)| (*key, plain.clone())).collect();
        for (key, plain) in blobs {
            let mut bad = plain.to_vec();
            for (at, flip) in &flips {
                bad[at.index(plain.len())] ^= flip;
            }
            for bad in [bad, plain[..plain.len() - 1].to_vec(), [&plain[..], &random].concat(), random.clone()] {
                memory.blobs.borrow_mut().insert(key, Bytes::from(bad));
                if let Ok(reader) = ManifestReader::open(&root.id, &memory) {
                    let good: Vec<Entry> = reader.map_while(Result::ok).collect();
                    prop_assert!(good.is_sorted_by(|a, b| a.key() < b.key()));
                    prop_assert!(good.iter().all(|entry| entry.key().check().is_ok()));
                }
                let good = walked(&root.id, &memory).0;
                prop_assert!(good.is_sorted_by(|a, b| Key::of_path(a) < Key::of_path(b)));
                let _seen = visit_blobs(&root.id, &memory, &mut |_| Visit::Enter);
            }
            memory.blobs.borrow_mut().insert(key, plain);
        }
    }

    #[test]
    fn what_a_leaf_says_is_what_would_be_written(
        entries in trees(), at: prop::sample::Index, flip in 1u8..,
    ) {
        let memory = Memory::default();
        write(&entries, &memory);
        let blobs = memory.blobs.borrow();
        let ((_, id), plain) = blobs.iter().find(|((kind, _), _)| *kind == NodeKind::Leaf).expect("a leaf");
        let mut bad = plain.to_vec();
        bad[at.index(plain.len())] ^= flip;
        for plain in [plain.to_vec(), bad] {
            let Ok(leaf) = Leaf::decode(id, &plain, leaf::End::Cut) else { continue };
            let mut writer = leaf::LeafWriter::default();
            let mut dir = Vec::new();
            for row in 0..leaf.len() {
                leaf.enter(row, &mut dir);
                prop_assert_eq!(&leaf.row(row).dir(), &dir);
                writer.push(&leaf.row(row).record(&dir));
            }
            let again = Leaf::decode(id, &writer.finish(), leaf::End::Cut).expect("it was just written");
            prop_assert_eq!(format!("{leaf:?}"), format!("{again:?}"));
        }
    }
}

/// The paths that a cursor's leaves have, until the first error.
fn walked(root: &BlobId, memory: &Memory) -> (Vec<Vec<u8>>, Option<ManifestError>) {
    let mut paths = Vec::new();
    let mut walk = || {
        let mut cursor = TreeCursor::open(root, memory, NodeShelf::new())?;
        while let Some(leaf) = cursor.take_leaf()? {
            let leaf = leaf.load(&memory)?;
            let mut dir = Vec::new();
            for row in 0..leaf.len() {
                leaf.enter(row, &mut dir);
                paths.push(Key { dir: &dir, name: leaf.row(row).name() }.path());
            }
        }
        Ok(())
    };
    let error = walk().err();
    (paths, error)
}

/// A leaf as a hostile writer makes it: nothing is checked.
fn evil_leaf(entries: &[Entry]) -> Vec<u8> {
    let mut writer = leaf::LeafWriter::default();
    for entry in entries {
        let meta = &entry.meta;
        writer.push(&leaf::Record {
            key: entry.key(),
            kind: meta.kind,
            mode: meta.mode,
            owner: leaf::Owner { uid: meta.uid, gid: meta.gid, user: &meta.owner, group: &meta.group },
            size: meta.size,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
            dev: meta.dev,
            ino: meta.ino,
            rdev: meta.rdev,
            hard_link_group: meta.hard_link_group,
            link_target: &meta.link_target,
            flags: meta.flags,
            xattrs: None,
            extents: entry.extents.as_ref().map(|_| id(3)),
            content: ContentView::from(&entry.content),
            hash16: entry.hash16,
            state: entry.state,
        });
    }
    writer.finish()
}

fn refusal(plain: &[u8]) -> Option<(&'static str, String)> {
    let refused = Leaf::decode(&id(0), plain, leaf::End::Cut).err()?;
    Some((refused.code(), refused.to_string()))
}

#[test]
fn places_that_could_leave_the_destination_or_stand_twice_are_refused_on_decode() {
    let at = |dir: &str, name: &str| {
        let mut made = entry("", FileKind::File);
        (made.dir, made.name) = (dir.into(), name.into());
        made
    };
    assert_eq!(refusal(&evil_leaf(&[at("", "a"), at("", "b"), at("a", "x"), at("b", "a")])), None);
    let long = "n".repeat(256);
    let deep = vec!["d"; 4096].join("/");
    let cases: [(&[(&str, &str)], &str); 17] = [
        (&[("", "b"), ("", "a")], "names are out of order"),
        (&[("", "a"), ("", "a")], "names are out of order"),
        (&[("", "ab"), ("", "a")], "names are out of order"),
        (&[("", "a"), ("", "")], "names are out of order"),
        (&[("a", "")], "a name that can't be"),
        (&[("", "a"), ("", "b"), ("a", "")], "a name that can't be"),
        (&[("", "..")], "a name that can't be"),
        (&[("", ".")], "a name that can't be"),
        (&[("", "a/b")], "a name that can't be"),
        (&[("", "/etc/passwd")], "a name that can't be"),
        (&[("", "a\0")], "a name that can't be"),
        (&[("", &long)], "a name"),
        (&[("..", "a")], "a directory has a name that can't be"),
        (&[("a/./b", "a")], "a directory has a name that can't be"),
        (&[("a\0", "a")], "a directory has a name that can't be"),
        (&[("b", "a"), ("a", "a")], "directories are out of order"),
        (&[(&deep, "a")], "too deep"),
    ];
    for (places, expected) in cases {
        let entries: Vec<Entry> = places.iter().map(|(dir, name)| at(dir, name)).collect();
        let (code, message) = refusal(&evil_leaf(&entries)).unwrap_or_else(|| panic!("{places:?} was taken"));
        assert!(code == "E0351" && message.contains(expected), "{places:?}: {message}");
    }
}

#[test]
fn facts_that_no_writer_states_are_refused_on_decode() {
    type Spoil = fn(&mut Entry);
    let cases: [(Spoil, &str); 12] = [
        (|e| e.meta.mode = 0o10000, "permission bits"),
        (|e| e.meta.mtime.nanos = 1_000_000_000, "nanoseconds"),
        (|e| e.meta.ctime.nanos = 1_000_000_000, "nanoseconds"),
        (|e| e.meta.btime = Some(FileTime { seconds: 0, nanos: u32::MAX }), "nanoseconds"),
        (|e| e.meta.link_target = b"/etc".to_vec(), "a target of something else"),
        (|e| (e.meta.kind, e.meta.link_target) = (FileKind::Symlink, vec![b'x'; 65_536]), "too long"),
        (|e| e.meta.owner = vec![b'x'; 256], "name of an owner"),
        (|e| (e.meta.kind, e.extents) = (FileKind::Fifo, Some(Vec::new())), "extents of something else"),
        (|e| e.content = Content::Group { blob: id(1), offset: 16 << 20, len: 1 }, "out of range"),
        (|e| e.content = Content::Chunks(vec![ChunkRef { id: id(1), len: 0 }]), "impossible length"),
        (|e| e.content = Content::Chunks(vec![ChunkRef { id: id(1), len: 1 }; 4097]), "too many chunks"),
        (|e| e.content = Content::ChunkList { id: id(1), chunks: 4096 }, "too short"),
    ];
    for (spoil, expected) in cases {
        let mut spoiled = entry("a", FileKind::File);
        spoil(&mut spoiled);
        let (code, message) = refusal(&evil_leaf(&[spoiled])).unwrap_or_else(|| panic!("{expected}: taken"));
        assert!(code == "E0351" && message.contains(expected), "{expected}: {message}");
    }
    let mut folder = entry("a", FileKind::Directory);
    folder.content = Content::Group { blob: id(1), offset: 0, len: 1 };
    assert!(
        refusal(&evil_leaf(&[folder])).is_some_and(|(_, said)| said.contains("content of something else"))
    );
}

#[test]
fn an_unknown_column_refuses_the_leaf_only_when_it_is_critical() {
    let plain = evil_leaf(&[entry("a", FileKind::File)]);
    // Version, one entry, no directory, the number of columns; then eight bytes a column.
    let [1, 1, 0, count, ..] = plain[..] else { panic!("the head of a small leaf") };
    let table = 4 + 8 * usize::from(count);
    let with = |column: [u8; 8]| {
        [&[1, 1, 0, count + 1], &plain[4..table], &column, &plain[table..], b"xyz"].concat()
    };
    assert_eq!(refusal(&with([200, 0, 9, 0, 3, 0, 0, 0])), None);
    let code = |plain: Vec<u8>| refusal(&plain).map(|(code, _)| code);
    assert_eq!(code(with([200, 0, 9, 1, 3, 0, 0, 0])), Some("E0352"));
    assert_eq!(code(with([200, 0, 9, 2, 3, 0, 0, 0])), Some("E0351"));
    assert_eq!(code(with([3, 0, 2, 1, 3, 0, 0, 0])), Some("E0351"));
    assert_eq!(code(with([200, 0, 9, 0, 4, 0, 0, 0])), Some("E0351"));
    assert_eq!(code(with([200, 0, 9, 0, 255, 255, 255, 255])), Some("E0351"));
    assert_eq!(code([&[2], &plain[1..]].concat()), Some("E0352"));
}

/// Changes the name and the rest of a row.
type Lie<'a> = dyn Fn(usize, &mut Vec<u8>, &mut node::Child) + 'a;

#[test]
fn a_node_that_lies_about_its_children_is_refused() {
    let memory = Memory::default();
    let entries = files(3_000);
    let root = write(&entries, &memory);
    let node = node::Node::decode(&root.id, memory.get(NodeKind::Node, &root.id).expect("the root"));
    let node = node.expect("it was just written");
    assert!(node.level == 1 && node.len() > 1);
    let rewritten = |change: &Lie<'_>| {
        let mut writer = node::NodeWriter::new(1);
        let mut dir = Vec::new();
        for row in 0..node.len() {
            node.enter(row, &mut dir);
            let (mut name, mut child) = (node.name(row).to_vec(), *node.child(row));
            change(row, &mut name, &mut child);
            writer.push(Key { dir: &dir, name: &name }, &child);
        }
        let plain = writer.finish().expect("it has rows").plain;
        let id = (&memory).put(NodeKind::Node, &plain).expect("memory takes all");
        let read =
            ManifestReader::open(&id, &memory).and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
        let error = walked(&id, &memory).1;
        assert_eq!(error.map(|error| error.class()), read.as_ref().err().map(Classified::class));
        read
    };
    assert!(rewritten(&|_, _, _| {}).expect("nothing was changed") == entries);
    let lies: [&Lie<'_>; 4] = [
        &|row, _, child| child.entries += u64::from(row == 1),
        &|row, name, _| name.extend((row == 1).then_some(b'x')),
        &|row, name, _| name.extend((row == 0).then_some(b'x')),
        &|_, _, child| child.id = node.child(0).id,
    ];
    for lie in lies {
        assert_eq!(rewritten(lie).expect_err("it lies").class(), Class::Damage);
    }
}

#[test]
fn a_leaf_that_reaches_into_its_neighbour_is_refused() {
    let memory = Memory::default();
    let leaf = |paths: &[&str]| {
        let made: Vec<Entry> = paths.iter().map(|path| entry(path, FileKind::Directory)).collect();
        let id = (&memory).put(NodeKind::Leaf, &evil_leaf(&made)).expect("memory takes all");
        (made[0].key().name.to_vec(), id, made.len() as u64)
    };
    let tree = |leaves: &[(Vec<u8>, BlobId, u64)]| {
        let mut writer = node::NodeWriter::new(1);
        for (name, id, entries) in leaves {
            let max_mtime = FileTime { seconds: 0, nanos: 0 };
            writer.push(
                Key { dir: b"", name },
                &node::Child { id: *id, entries: *entries, bytes: 0, max_mtime },
            );
        }
        let plain = writer.finish().expect("it has rows").plain;
        let root = (&memory).put(NodeKind::Node, &plain).expect("memory takes all");
        let read =
            ManifestReader::open(&root, &memory).and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
        (read.is_ok(), walked(&root, &memory).1.is_none())
    };
    assert_eq!(tree(&[leaf(&["", "a", "c"]), leaf(&["m", "q"])]), (true, true));
    assert_eq!(tree(&[leaf(&["", "a", "z"]), leaf(&["m", "q"])]), (false, false));
    assert_eq!(tree(&[leaf(&["", "a", "m"]), leaf(&["m", "q"])]), (false, false));
}
