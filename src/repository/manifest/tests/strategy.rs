//! Entries of every kind, with every odd name, time and number.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::*;
use super::sample::id;
use crate::base::metadata::{Extent, FileKind, FileTime, Metadata, Xattr};

fn names() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'-'), Just(0xff), Just(b'\n'), Just(1), 1u8..=255];
    vec(byte, 1..6).prop_map(|mut name| {
        name.iter_mut().for_each(|byte| *byte = if *byte == b'/' { b'.' } else { *byte });
        if name == b"." || name == b".." { b"...".to_vec() } else { name }
    })
}

fn times() -> impl Strategy<Value = FileTime> {
    let seconds = prop_oneof![any::<i64>(), -5i64..5, Just(-1 << 31), Just(15_032_385_535)];
    (seconds, prop_oneof![0u32..1_000_000_000, Just(0), Just(999_999_999)])
        .prop_map(|(seconds, nanos)| FileTime { seconds, nanos })
}

fn contents() -> impl Strategy<Value = Content> {
    let chunk = (0u64..20, 1u32..=16 << 20).prop_map(|(number, len)| ChunkRef { id: id(number), len });
    prop_oneof![
        Just(Content::None),
        (0u64..5, 0u32..1 << 20, 0u32..131_073).prop_map(|(number, offset, len)| Content::Group {
            blob: id(number),
            offset,
            len
        }),
        vec(chunk, 1..8).prop_map(Content::Chunks),
        (0u64..5, 4097u64..).prop_map(|(number, chunks)| Content::ChunkList { id: id(number), chunks }),
    ]
}

prop_compose! {
    fn metadata()(
        kind in (1u8..=7).prop_map(|number| FileKind::from_u8(number).expect("1 to 7 are kinds")),
        (mode, uid, gid) in (0u32..=0o7777, prop_oneof![0u32..3, any::<u32>()], any::<u32>()),
        (owner, group) in (vec(any::<u8>(), 0..4), vec(any::<u8>(), 0..4)),
        (size, dev, ino, rdev) in any::<(u64, u64, u64, u64)>(),
        (mtime, ctime, btime) in (times(), times(), option::of(times())),
        (hard_link_group, flags) in any::<(u64, u32)>(),
        target in vec(any::<u8>(), 0..9),
        xattrs in btree_map(names(), vec(any::<u8>(), 0..9), 0..3),
    ) -> Metadata {
        let link_target = if kind == FileKind::Symlink { target } else { Vec::new() };
        let xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect();
        Metadata { kind, mode, uid, gid, owner, group, size, mtime, ctime, btime, dev, ino, rdev,
                   hard_link_group, link_target, flags, xattrs }
    }
}

prop_compose! {
    fn facts()(
        meta in metadata(),
        content in contents(),
        hash16 in any::<[u8; 16]>(),
        extents in option::of(Just(vec![Extent { offset: 4096, len: 1 }, Extent { offset: 1 << 40, len: 9 }])),
        state in (0u64..3).prop_map(|number| State::from_u64(number).expect("0 to 2 are states")),
    ) -> Entry {
        let file = meta.kind == FileKind::File;
        Entry {
            dir: Vec::new(), name: Vec::new(), meta, state,
            content: if file { content } else { Content::None },
            hash16: if file { hash16 } else { [0; 16] },
            extents: extents.filter(|_| file),
        }
    }
}

/// Entries of any kind below directories of any depth, in order.
pub(super) fn trees() -> impl Strategy<Value = Vec<Entry>> {
    let place = (vec(names(), 0..4), names());
    (facts(), btree_map(place, facts(), 0..40)).prop_map(|(root, below)| {
        let mut all = vec![root];
        all.extend(below.into_iter().map(|((dir, name), facts)| Entry {
            dir: dir.join(&b'/'),
            name,
            ..facts
        }));
        all
    })
}
