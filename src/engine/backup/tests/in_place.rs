//! Large files that are cut into blocks: what a snapshot says of them when they move under the
//! reader, and when they are taken over.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::stage::{Meddled, Stage, draw, packs, snapshots, target};
use crate::engine::cut::PlacedChunks;
use crate::engine::ls;
use crate::repository::format::names::{PackClass, pack_name};
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::load;
use crate::repository::manifest::{Content, Entry, State};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots as stored;
use crate::storage::contract::{Read, Storage};
use crate::storage::memory::MemoryStorage;

const SQLITE: &[u8] = b"SQLite format 3\0\x20\0";

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut seed = seed;
    let words = std::iter::repeat_with(|| draw(&mut seed, u64::MAX).to_le_bytes());
    words.take(bytes.div_ceil(8)).flatten().take(bytes).collect()
}

/// The entry of `large` in the newest snapshot, whose chunks must be exactly its data.
fn entry(stage: &Stage, memory: &Arc<MemoryStorage>) -> Entry {
    let storage: Arc<dyn Storage> = Arc::clone(memory) as _;
    let repository = stage.repository.with_targets(vec![target(storage)]);
    let target = repository.targets().first().expect("one");
    let snapshot = stored::find(&repository, target, "latest").expect("a snapshot");
    let loaded = load::load(&repository, std::slice::from_ref(target)).expect("loaded");
    let blobs = BlobReader::new(&repository, &loaded.index, vec![target], Read::Quick);
    let mut found = None;
    ls::entries(&blobs, &snapshot, &mut |path, entry| {
        if path == b"large" {
            let nodes = Nodes(&blobs);
            let placed = PlacedChunks::new((&entry.content).into(), entry.extents.as_deref(), &nodes);
            let bytes: u64 = placed.map(|placed| u64::from(placed.chunk.len)).sum();
            let data = entry.extents.as_ref().map(|extents| extents.iter().map(|extent| extent.len).sum());
            assert_eq!(bytes, data.unwrap_or(entry.meta.size), "its chunks are its data");
            found = Some(entry.clone());
        }
        ControlFlow::Continue(())
    })
    .expect("listed");
    found.expect("in the snapshot")
}

#[test]
fn a_database_that_shrinks_or_grows_under_the_reader_is_stored_as_it_was_read() {
    let stage = Stage::new();
    let path = stage.source.path().join("large");
    // More than all pack buffers and parcels hold: it can't have been read when the first pack is put.
    const BYTES: u64 = 64_000_000;
    let mut content = noise(1, 4_000_000).repeat(16);
    (0..)
        .zip(content.chunks_mut(8192))
        .for_each(|(page, bytes): (u64, _)| bytes[..8].copy_from_slice(&page.to_le_bytes()));
    content[..SQLITE.len()].copy_from_slice(SQLITE);
    let (mut shrunk, mut grown) = (0, 0);
    for operation in 6..8 {
        for bytes in [3_000_001u64, 66_000_000] {
            std::fs::write(&path, &content).expect("written");
            let memory = stage.fresh();
            let meddled = Meddled::new(Arc::clone(&memory));
            let changed = path.clone();
            let change = move |_: &MemoryStorage| {
                let file = File::options().write(true).open(&changed).expect("opened");
                file.set_len(bytes).expect("its length changed");
            };
            meddled.before(operation, Box::new(change));
            let storages: [Arc<dyn Storage>; 1] = [Arc::new(meddled)];
            let outcome = stage.backup(&storages, SnapshotKind::Incremental).expect("backed up");
            let entry = entry(&stage, &memory);
            let (size, state) = (entry.meta.size, entry.state);
            println!(
                "before operation {operation} to {bytes}: {size} {state:?}, {:?}",
                outcome.stats.files_read
            );
            // A reading that the change fell into says so, or was followed by another one.
            assert!(state != State::Ok || [BYTES, bytes].contains(&size), "{size}");
            if size != BYTES || state != State::Ok {
                *(if bytes < BYTES { &mut shrunk } else { &mut grown }) += 1;
            }
        }
    }
    assert!(shrunk > 0 && grown > 0, "no change fell into the reading: {shrunk}, {grown}");
}

/// A sparse file whose data lies in so many places that its chunks need a list of their own.
fn sparse(path: &Path) {
    let file = File::create(path).expect("created");
    file.write_all_at(SQLITE, 0).expect("written");
    for number in 1..=(Content::CHUNKS_MAX as u64 + 100) {
        file.write_all_at(&noise(number, 4096), number * 256 * 1024).expect("written");
    }
}

#[test]
fn a_long_list_that_is_taken_over_keeps_all_its_packs_in_the_snapshot() {
    let stage = Stage::new();
    sparse(&stage.source.path().join("large"));
    let memory = stage.fresh();
    let storages: [Arc<dyn Storage>; 1] = [Arc::clone(&memory) as _];
    let of = |kind| {
        let outcome = stage.backup(&storages, kind).expect("backed up");
        let (proposals, _) = snapshots(&memory);
        let name = proposals.iter().find(|name| name.id == outcome.snapshot).expect("there");
        (outcome.stats.bytes_new, stage.packs_of(&memory, name).into_iter().collect::<BTreeSet<_>>())
    };
    let (_, first) = of(SnapshotKind::Incremental);
    assert!(matches!(entry(&stage, &memory).content, Content::ChunkList { .. }));
    let data = |packs: &BTreeSet<_>| packs.iter().filter(|(class, _)| *class == PackClass::Data).count();
    assert!(data(&first) >= 2, "{first:?}");
    let (added, second) = of(SnapshotKind::Full);
    assert_eq!(added, 0, "nothing is new");
    assert!(second.is_superset(&first), "a pack of the file is not in the second snapshot");
    // Packs that are lost are noticed, and what they held is stored anew from the blocks.
    for (class, hash) in packs(&memory).into_iter().filter(|(class, _)| *class == PackClass::Data) {
        memory.delete(&pack_name(class, &hash)).expect("deleted");
    }
    let (added, third) = of(SnapshotKind::Full);
    assert!(added > 4096 * 4096, "{added}");
    for (class, hash) in third {
        assert!(memory.head(&pack_name(class, &hash)).expect("looked").is_some(), "{hash} is missing");
    }
}
