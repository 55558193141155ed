//! Many blobs in little memory.

use std::process::Command;
use std::sync::Arc;

use super::super::build::Tuning;
use super::super::lookup::{Index, RunSource};
use super::stage::{ground, workshop};
use crate::base::clock::{Clock, SystemClock};
use crate::base::id::{BlobId, ObjectHash, WriterId};
use crate::repository::error::RepositoryError;
use crate::repository::format::index_run::{IndexRun, RunEntry, RunPack};
use crate::repository::format::names::PackClass;

const ASKED: &str = "LIFEBOAT_TEST_INDEX_RUNS";
const BLOBS_A_RUN: u32 = 200_000;
const PACKS_A_RUN: u32 = 256;
const RUNS: u32 = 60;
const PEAK_KIB_MAX: u64 = 96 * 1024;
const LOOK_UPS: u32 = 100_000;

/// An id that looks drawn by lot: a mixed counter, four times.
fn id(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    let mut word = number;
    for bytes in id.chunks_exact_mut(8) {
        word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = word;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    }
    id
}

fn run(number: u32) -> ObjectHash {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    ObjectHash::new(id)
}

fn blob(number: u64) -> BlobId {
    BlobId::new(id(number))
}

struct Counted;

impl RunSource for Counted {
    fn run(&self, id: &ObjectHash) -> Result<IndexRun, RepositoryError> {
        let mut number = [0; 4];
        number.copy_from_slice(&id.as_bytes()[..4]);
        let number = u32::from_be_bytes(number);
        let pack = |place: u32| RunPack {
            hash: ObjectHash::new(self::id(u64::from(number * PACKS_A_RUN + place) | 1 << 60)),
            class: PackClass::Data,
            signer: WriterId::new([0; 16]),
            bytes: 1000,
            foot_offset: 900,
        };
        let first = u64::from(number) * u64::from(BLOBS_A_RUN);
        let entries = (0..BLOBS_A_RUN).map(|at| RunEntry {
            id: blob(first + u64::from(at)),
            pack: at % PACKS_A_RUN,
            ordinal: at / PACKS_A_RUN,
            stored_bytes: 1,
        });
        Ok(IndexRun {
            packs: (0..PACKS_A_RUN).map(pack).collect(),
            entries: entries.collect(),
            ..IndexRun::default()
        })
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn measure(runs: u32) {
    let dir = tempfile::tempdir_in(std::env::temp_dir()).expect("a folder");
    let ids: Vec<ObjectHash> = (0..runs).map(run).collect();
    let blobs = u64::from(runs) * u64::from(BLOBS_A_RUN);
    let clock = SystemClock::default();
    let begun = clock.monotonic();
    let open = || {
        let workshop = workshop(ground(Some(dir.path())), Tuning::default());
        Index::assemble(workshop, Arc::new(Counted), &ids).expect("assembled").0
    };
    let index = open();
    let built = clock.monotonic() - begun;
    let begun = clock.monotonic();
    drop(index);
    let index = open();
    let opened = clock.monotonic() - begun;
    let begun = clock.monotonic();
    for at in 0..LOOK_UPS {
        let number = u64::from(at) * 7919 % blobs;
        let found = index.first(&blob(number)).expect("read").expect("listed");
        let place = u32::try_from(number % u64::from(BLOBS_A_RUN)).expect("small");
        assert_eq!(found.ordinal, place / PACKS_A_RUN);
        assert_eq!(index.first(&blob(number | 1 << 59)).expect("read"), None);
    }
    let asked = (clock.monotonic() - begun) / (2 * LOOK_UPS);
    assert_eq!(index.blobs(), blobs);
    let bytes: u64 =
        super::stage::files(dir.path()).iter().map(|path| path.metadata().expect("there").len()).sum();
    println!(
        "{blobs} blobs: {} ns to build one, {} ns to look one up, opened in {} us, {:.1} bytes each on \
         disk, peak {} KiB.",
        built.as_nanos() / u128::from(blobs.max(1)),
        asked.as_nanos(),
        opened.as_micros(),
        bytes as f64 / blobs as f64,
        peak_kib(),
    );
    assert!(peak_kib() <= PEAK_KIB_MAX, "peak {} KiB", peak_kib());
}

#[test]
fn an_index_of_twelve_million_blobs_is_built_and_read_in_96_mib() {
    if let Ok(runs) = std::env::var(ASKED) {
        measure(runs.parse().expect("a number"));
        return;
    }
    // A process of its own: the peak is one of the whole process.
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "repository::index::tests::size::an_index_of_twelve_million_blobs_is_built_and_read_in_96_mib",
            "--nocapture",
        ])
        .env(ASKED, RUNS.to_string())
        .output()
        .expect("a child runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("12000000 blobs:"), "the child measured nothing");
}
