//! How hard a backup compresses, as the rows of its packs tell it: by what limits the run.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::stage::{Stage, draw, packs, target};
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::base::effort::Effort;
use crate::codec::compress::Compression;
use crate::engine::backup::backup;
use crate::engine::backup::request::{BackupRequest, CheckpointRule, Freeze, ParentChoice, SourceRule};
use crate::engine::context::Context;
use crate::engine::history::Sight;
use crate::repository::format::names::{PackClass, pack_name};
use crate::repository::format::pack::{PackDirectory, PackIdentity};
use crate::repository::format::snapshot::SnapshotKind;
use crate::source::files::WalkOptions;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::memory::MemoryStorage;

/// A clock that goes only when it is told to, and knows how often it was asked.
struct Watched {
    manual: ManualClock,
    asked: AtomicU64,
}

impl Clock for Watched {
    fn now(&self) -> Timestamp {
        self.manual.now()
    }

    fn monotonic(&self) -> Duration {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.manual.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.manual.sleep(duration);
    }
}

/// How long an object takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// No time.
    Quick,
    /// Ten seconds after everybody else has come to a stand, because all buffers are full.
    Slow,
}

/// A line to a storage in memory. What arrives is a copy, so that the pack's buffer goes back.
struct Line {
    memory: Arc<MemoryStorage>,
    clock: Arc<Watched>,
    pace: Pace,
}

impl Line {
    fn wait(&self) {
        let mut before = None;
        loop {
            let asked = self.clock.asked.load(Ordering::Relaxed);
            if before.replace(asked) == Some(asked) {
                break;
            }
            SystemClock::new().sleep(Duration::from_millis(200));
        }
        self.clock.manual.advance(Duration::from_secs(10));
    }
}

impl Storage for Line {
    fn label(&self) -> &str {
        "line"
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        if self.pace == Pace::Slow {
            self.wait();
        }
        self.memory.put_new(name, Bytes::copy_from_slice(&bytes))
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.memory.get(name, span, read)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.memory.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.memory.list(prefix, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.memory.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Random digits of base 64: every level leaves three quarters.
fn write_source(stage: &Stage, megabytes: u64) {
    for number in 0..megabytes {
        let mut seed = number;
        let noise = (0..131_072).flat_map(|_| draw(&mut seed, u64::MAX).to_le_bytes());
        let text: Vec<u8> = noise.map(|byte| b'0' + (byte & 63)).collect();
        std::fs::write(stage.source.path().join(format!("text-{number}")), text).expect("written");
    }
}

/// Backs the source up over the storage and counts the data blobs of each form and level in memory.
fn levels(stage: &Stage, pace: Pace, effort: Effort) -> BTreeMap<(u8, i8), usize> {
    let memory = stage.fresh();
    let start = Timestamp::from_unix_ms(1_800_000_000_000);
    let clock = Arc::new(Watched { manual: ManualClock::new(start), asked: AtomicU64::new(0) });
    let line = Line { memory: Arc::clone(&memory), clock: Arc::clone(&clock), pace };
    let repository = stage.repository.with_targets(vec![target(Arc::new(line))]);
    let request = BackupRequest {
        roots: vec![stage.source.path().to_owned()],
        kind: SnapshotKind::Full,
        host: "stage".to_owned(),
        policy: None,
        tags: Vec::new(),
        parent: ParentChoice::Newest,
        walk: WalkOptions::default(),
        freeze: Freeze::None,
        stream: None,
        rule: SourceRule::default(),
        effort,
        checkpoint: CheckpointRule::default(),
        run_id: None,
        occurrence: None,
        sight: Sight::All,
    };
    backup(&repository, &request, &Context { clock, workers: 2, ..Context::quiet() }).expect("backed up");
    let mut levels = BTreeMap::new();
    for (class, hash) in packs(&memory).into_iter().filter(|(class, _)| *class == PackClass::Data) {
        let pack = memory.get(&pack_name(class, &hash), Span::Whole, Read::Quick).expect("read");
        let total = u64::try_from(pack.len()).expect("a length");
        let identity = PackIdentity::of_tail(&pack, total, &repository.id()).expect("a pack");
        let directory = PackDirectory::open(&pack, total, &identity, repository.keys()).expect("opened");
        for row in (0..directory.len()).filter_map(|ordinal| directory.row(ordinal)) {
            *levels.entry((row.compression.number(), row.level)).or_default() += 1;
        }
    }
    levels
}

#[test]
fn auto_climbs_only_while_the_target_is_the_limit() {
    let stage = Stage::new();
    // Six packs fill the pipeline at level 1 before anybody waits, three more do not fit into it.
    write_source(&stage, 90);
    let zstd = Compression::Zstd.number();
    let quick = levels(&stage, Pace::Quick, Effort::Auto);
    assert_eq!(quick.keys().copied().collect::<Vec<_>>(), [(zstd, 1)], "{quick:?}");
    let slow = levels(&stage, Pace::Slow, Effort::Auto);
    println!("{slow:?}");
    assert!(slow.keys().any(|(_, level)| *level >= 3), "{slow:?}");
    assert!(slow.keys().all(|(form, level)| *form == zstd && [1, 3, 6, 9].contains(level)), "{slow:?}");
}

#[test]
fn a_level_or_none_is_taken_at_its_word() {
    let stage = Stage::new();
    write_source(&stage, 3);
    for (effort, row) in
        [(Effort::Level(4), (Compression::Zstd.number(), 4)), (Effort::None, (Compression::Raw.number(), 0))]
    {
        let levels = levels(&stage, Pace::Quick, effort);
        assert_eq!(levels.into_keys().collect::<Vec<_>>(), [row], "{effort}");
    }
}
