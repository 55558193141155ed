//! Large files in little memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;

use super::super::chunk_run::{ChunkRun, Placed, ground};
use super::super::content::list_hash;
use super::stage::Stage;
use crate::base::clock::{Clock, SystemClock};
use crate::base::id::BlobId;
use crate::engine::error::EngineError;
use crate::repository::error::RepositoryError;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::manifest::{BlobSink, ChunkListBuilder, ChunkRef, Content, NodeKind};
use crate::storage::contract::Storage;

const ASKED: &str = "LIFEBOAT_TEST_LARGE_FILE";
/// The chunks of a file of more than 2 TB.
const CHUNKS: u32 = 3_000_000;
/// In memory the references alone would take 108 MB.
const LIST_PEAK_KIB_MAX: u64 = 40 * 1024;
/// With 8 MiB packs, of which this holds some, and everything else of a small backup.
const SPARSE_PEAK_KIB_MAX: u64 = 64 * 1024;
const TIB: u64 = 1 << 40;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The peak is one of the whole process, so the test is run in one of its own.
fn in_a_child(test: &str, work: fn()) {
    if std::env::var_os(ASKED).is_some() {
        return work();
    }
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("engine::backup::tests::size::{test}"), "--nocapture"])
        .env(ASKED, "1")
        .output()
        .expect("a child runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("peak "), "the child measured nothing");
}

/// Takes lists and keeps none.
struct Counting(u64);

impl BlobSink for Counting {
    type Error = RepositoryError;

    fn put(&mut self, _: NodeKind, plain: &[u8]) -> Result<BlobId, RepositoryError> {
        self.0 += 1;
        Ok(BlobId::new(*blake3::hash(plain).as_bytes()))
    }

    fn keep(&mut self, _: NodeKind, _: &BlobId) {}
}

fn list() {
    let mut run = ChunkRun::new(&ground(None));
    for number in 0..CHUNKS {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
        run.push(Placed { chunk: ChunkRef { id: BlobId::new(id), len: 700_000 }, is_kept: true })
            .expect("taken");
    }
    run.close().expect("closed");
    assert!(run.is_on_disk());
    let stage = Stage::new();
    list_hash(stage.repository.keys().ids(), 1, None, &run).expect("hashed");
    let (mut list, mut sink) = (ChunkListBuilder::new(), Counting(0));
    run.visit(&mut |placed| Ok::<_, EngineError>(list.push(placed.chunk, &mut sink)?)).expect("read");
    let content = list.finish(&mut sink).expect("finished");
    assert!(matches!(content, Content::ChunkList { chunks, .. } if chunks == u64::from(CHUNKS)));
    println!("{CHUNKS} chunks in {} lists, peak {} KiB", sink.0, peak_kib());
    assert!(peak_kib() <= LIST_PEAK_KIB_MAX, "peak {} KiB", peak_kib());
}

#[test]
fn three_million_chunks_of_one_file_are_listed_in_40_mib() {
    in_a_child("three_million_chunks_of_one_file_are_listed_in_40_mib", list);
}

fn sparse() {
    let stage = Stage::new();
    let path = stage.source.path().join("disk");
    let file = File::create(&path).expect("created");
    file.write_all_at(b"QFI\xfb", 0).expect("written");
    // Each in a block of its own, all alike, so that the storage in memory stays small.
    let places = 20_000u64;
    for number in 1..places {
        file.write_all_at(&[7; 4096], number * (TIB / places) / 4096 * 4096).expect("written");
    }
    file.set_len(TIB).expect("as long");
    drop(file);
    let memory = stage.fresh();
    let storages: [Arc<dyn Storage>; 1] = [Arc::clone(&memory) as _];
    let clock = SystemClock::default();
    let begun = clock.monotonic();
    let outcome = stage.backup(&storages, SnapshotKind::Full).expect("backed up");
    let took = clock.monotonic() - begun;
    assert_eq!(outcome.stats.source_bytes, TIB + 4 * 2000);
    assert!(outcome.stats.bytes_read < 100_000_000, "holes are not read: {}", outcome.stats.bytes_read);
    println!(
        "1 TiB of hole with {places} places of data in {} ms, peak {} KiB",
        took.as_millis(),
        peak_kib()
    );
    assert!(peak_kib() <= SPARSE_PEAK_KIB_MAX, "peak {} KiB", peak_kib());
}

#[test]
fn a_terabyte_of_hole_is_backed_up_in_64_mib() {
    in_a_child("a_terabyte_of_hole_is_backed_up_in_64_mib", sparse);
}
