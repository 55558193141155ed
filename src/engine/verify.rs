//! Reading back: does every stored byte still say what it said?
//!
//! Three depths. Without a key: each object's hash is its name. With the key, also what is
//! missing: every run's packs, every snapshot's packs, every blob its manifests name, and which
//! paths are hurt. Deep: every blob is opened and its id computed again. Reads go past the caches
//! of this machine, because a page cache proves nothing about a disk.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;

use super::context::Context;
use super::error::EngineError;
use super::history::Finding;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::ObjectHash;
use crate::codec::hash::Hasher;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{PackClass, REPO_FMT, content_hash};
use crate::repository::format::pack::{BlobOpener, PackDirectory, PackIdentity};
use crate::repository::format::repo_fmt::RepoFmt;
use crate::repository::format::snapshot::confirmation_matches;
use crate::repository::snapshots;
use crate::storage::contract::{ObjectName, Read, Span, Stat, StorageError};

mod missing;

/// At most this many problems are named; the count is always whole.
const PROBLEMS_NAMED_MAX: usize = 1000;
/// Objects are read in stretches of this length.
const STRETCH_BYTES: u64 = 4 * 1024 * 1024;
/// A mismatch is read again this often before it is called damage.
const READS_MAX: usize = 3;

/// How deep to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Every object against its name.
    Objects,
    /// And every blob opened and hashed.
    Blobs,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object, or the blob.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// A snapshot that is hurt, and where.
#[derive(Clone, Debug, Serialize)]
pub struct HurtSnapshot {
    /// Its id.
    pub snapshot: ObjectHash,
    /// How many of its paths are hurt.
    pub paths: u64,
    /// The first of them.
    pub named: Vec<String>,
}

/// What was read and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyOutcome {
    /// Where.
    pub target: String,
    /// How deep.
    pub depth: Depth,
    /// Whether the key was there, so that missing things could be found.
    pub with_key: bool,
    /// Objects read.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Blobs opened.
    pub blobs: u64,
    /// Problems found.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
    /// Valid snapshots.
    pub snapshots: u64,
    /// Those that are whole, so far as this look can tell.
    pub whole: Vec<ObjectHash>,
    /// Those that are not.
    pub hurt: Vec<HurtSnapshot>,
    /// What of the past does not add up, as far as somebody looked.
    pub history: Vec<Finding>,
}

impl VerifyOutcome {
    fn empty(target: &Target, depth: Depth, with_key: bool) -> Self {
        Self {
            target: target.name.clone(),
            depth,
            with_key,
            objects: 0,
            bytes: 0,
            blobs: 0,
            problem_count: 0,
            problems: Vec::new(),
            snapshots: 0,
            whole: Vec::new(),
            hurt: Vec::new(),
            history: Vec::new(),
        }
    }

    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0 && self.hurt.is_empty() && !self.history.iter().any(Finding::is_rollback)
    }
}

/// What goes wrong along the way is collected here by all threads.
struct Findings {
    problems: Mutex<BTreeSet<Problem>>,
    bad: Mutex<HashSet<ObjectName>>,
    seen: Mutex<HashSet<ObjectName>>,
    count: AtomicU64,
    objects: AtomicU64,
    bytes: AtomicU64,
    blobs: AtomicU64,
}

impl Findings {
    fn new() -> Self {
        Self {
            problems: Mutex::default(),
            bad: Mutex::default(),
            seen: Mutex::default(),
            count: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            blobs: AtomicU64::new(0),
        }
    }

    fn add(&self, object: String, what: String) {
        let mut problems = lock(&self.problems);
        let is_full = problems.len() >= PROBLEMS_NAMED_MAX;
        if is_full || problems.insert(Problem { object, what }) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_bad(&self, name: &ObjectName, what: String) {
        self.add(name.to_string(), what);
        lock(&self.bad).insert(name.clone());
    }

    fn fill(&self, outcome: &mut VerifyOutcome) {
        outcome.objects = self.objects.load(Ordering::Relaxed);
        outcome.bytes = self.bytes.load(Ordering::Relaxed);
        outcome.blobs = self.blobs.load(Ordering::Relaxed);
        outcome.problem_count = self.count.load(Ordering::Relaxed);
        outcome.problems = lock(&self.problems).iter().cloned().collect();
    }

    fn into_examined(self, mut outcome: VerifyOutcome, objects: &[Stat]) -> Examined {
        self.fill(&mut outcome);
        let bad = self.bad.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Examined { outcome, listed: objects.iter().map(|stat| stat.name.clone()).collect(), bad }
    }
}

/// What a look at a whole target found, as a repair needs it.
pub(crate) struct Examined {
    /// What `verify` would say.
    pub(crate) outcome: VerifyOutcome,
    /// Every object that is listed.
    pub(crate) listed: HashSet<ObjectName>,
    /// Those that are not what their names say, and packs that index runs name and that are missing.
    pub(crate) bad: HashSet<ObjectName>,
}

/// As [`verify`] with the key, for a place whose `repo.fmt` may be missing.
///
/// # Errors
/// As [`verify`].
pub(crate) fn examine(
    target: &Target,
    repository: &Repository,
    cx: &Context,
) -> Result<Examined, EngineError> {
    let findings = Findings::new();
    let (objects, has_format) = list_objects(target)?;
    if !has_format {
        findings.add_bad(&REPO_FMT, "is missing".to_owned());
    }
    let total = objects.iter().map(|stat| stat.bytes).sum();
    cx.progress.phase(&format!("read {}", target.name), Some(count(objects.len())), Some(total));
    read_all(target, &objects, None, &findings, cx)?;
    cx.progress.phase_finished("read");
    let mut outcome = VerifyOutcome::empty(target, Depth::Objects, true);
    missing::find(repository, target, &findings, &mut outcome, cx)?;
    Ok(findings.into_examined(outcome, &objects))
}

/// What is hurt at a target where these objects are known to be damaged and no others: for what
/// was read a moment ago.
///
/// # Errors
/// As [`verify`].
pub(crate) fn examine_again(
    target: &Target,
    repository: &Repository,
    damaged: &HashSet<ObjectName>,
    cx: &Context,
) -> Result<Examined, EngineError> {
    let findings = Findings::new();
    let (objects, has_format) = list_objects(target)?;
    if !has_format {
        findings.add_bad(&REPO_FMT, "is missing".to_owned());
    }
    for stat in &objects {
        lock(&findings.seen).insert(stat.name.clone());
        if damaged.contains(&stat.name) {
            findings.add_bad(&stat.name, "is not what its name says".to_owned());
        }
    }
    let mut outcome = VerifyOutcome::empty(target, Depth::Objects, true);
    missing::find(repository, target, &findings, &mut outcome, cx)?;
    Ok(findings.into_examined(outcome, &objects))
}

/// Reads everything at a target. With the repository opened (`keyed`), also finds what is missing.
///
/// # Errors
/// When the target cannot be listed or stops answering; damage is no error but an outcome.
pub fn verify(
    target: &Target,
    keyed: Option<&Repository>,
    depth: Depth,
    cx: &Context,
) -> Result<VerifyOutcome, EngineError> {
    let findings = Findings::new();
    let (objects, has_format) = list_objects(target)?;
    if !has_format {
        return Err(RepositoryError::NoRepository { place: target.storage.label().to_owned() }.into());
    }
    let total = objects.iter().map(|stat| stat.bytes).sum();
    cx.progress.phase(&format!("verify {}", target.name), Some(count(objects.len())), Some(total));
    read_all(target, &objects, keyed.filter(|_| depth == Depth::Blobs), &findings, cx)?;
    cx.progress.phase_finished("verify");
    let mut outcome = VerifyOutcome::empty(target, depth, keyed.is_some());
    match keyed {
        Some(repository) => missing::find(repository, target, &findings, &mut outcome, cx)?,
        None => outcome.snapshots = count(snapshots::list(target, None)?.valid.len()),
    }
    findings.fill(&mut outcome);
    Ok(outcome)
}

/// Reads back exactly these objects, which a run has just stored.
///
/// # Errors
/// `Damage` naming the first object that is not what it should be; whatever the target says.
pub fn read_back(target: &Target, names: &[ObjectName], cx: &Context) -> Result<VerifyOutcome, EngineError> {
    let findings = Findings::new();
    let mut objects = Vec::new();
    for name in names {
        match target.storage.head(name)? {
            Some(stat) => objects.push(stat),
            None => findings.add_bad(name, "is missing".to_owned()),
        }
    }
    let total = objects.iter().map(|stat| stat.bytes).sum();
    cx.progress.phase(&format!("read back {}", target.name), Some(count(objects.len())), Some(total));
    read_all(target, &objects, None, &findings, cx)?;
    cx.progress.phase_finished("read back");
    let mut outcome = VerifyOutcome::empty(target, Depth::Objects, false);
    findings.fill(&mut outcome);
    Ok(outcome)
}

/// What reading some objects showed.
pub(crate) struct ReadSome {
    /// Those that were read, or found damaged.
    pub(crate) read: HashSet<ObjectName>,
    /// Those of them that are not what they should be.
    pub(crate) bad: HashSet<ObjectName>,
    /// What is wrong with them.
    pub(crate) problems: Vec<Problem>,
    /// Bytes of those that are right.
    pub(crate) bytes: u64,
}

/// Reads these objects past all caches and compares each with its name. One that is gone is not read.
///
/// # Errors
/// When the target stops answering; damage is no error.
pub(crate) fn read_some(target: &Target, objects: &[Stat], cx: &Context) -> Result<ReadSome, EngineError> {
    let findings = Findings::new();
    read_all(target, objects, None, &findings, cx)?;
    let mut outcome = VerifyOutcome::empty(target, Depth::Objects, false);
    findings.fill(&mut outcome);
    Ok(ReadSome {
        read: findings.seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
        bad: findings.bad.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
        problems: outcome.problems,
        bytes: outcome.bytes,
    })
}

/// Everything that a repository consists of, and whether `repo.fmt` is among it.
pub(crate) fn list_objects(target: &Target) -> Result<(Vec<Stat>, bool), EngineError> {
    let mut objects = Vec::new();
    for prefix in ["keys/", "p/", "m/", "i/", "s/", "g/", "f/"] {
        target.storage.list(prefix, &mut |stat| {
            objects.push(stat);
            ControlFlow::Continue(())
        })?;
    }
    let format = target.storage.head(&REPO_FMT)?;
    let has_format = format.is_some();
    objects.extend(format);
    Ok((objects, has_format))
}

/// Reads objects with a few threads; a target that fails ends the work, damage does not.
fn read_all(
    target: &Target,
    objects: &[Stat],
    deep: Option<&Repository>,
    findings: &Findings,
    cx: &Context,
) -> Result<(), EngineError> {
    let next = AtomicU64::new(0);
    let failure: Mutex<Option<EngineError>> = Mutex::new(None);
    let threads = cx.workers.max(target.in_flight).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut reader = ObjectReader { target, deep, findings, opener: BlobOpener::default() };
                loop {
                    let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(stat) = objects.get(number) else { return };
                    if cx.cancel.is_cancelled() || lock(&failure).is_some() {
                        return;
                    }
                    if let Err(error) = reader.read(stat) {
                        lock(&failure).get_or_insert(error);
                    }
                    cx.progress.advance(1, stat.bytes);
                }
            });
        }
    });
    if cx.cancel.is_cancelled() {
        return Err(EngineError::Cancelled);
    }
    failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

struct ObjectReader<'a> {
    target: &'a Target,
    deep: Option<&'a Repository>,
    findings: &'a Findings,
    opener: BlobOpener,
}

impl ObjectReader<'_> {
    fn read(&mut self, stat: &Stat) -> Result<(), EngineError> {
        lock(&self.findings.seen).insert(stat.name.clone());
        let Some(expected) = content_hash(&stat.name) else {
            return match self.check_unhashed(stat) {
                Err(EngineError::Repository(RepositoryError::Storage(StorageError::NotFound { .. })))
                    if stat.name != *REPO_FMT =>
                {
                    Ok(())
                }
                checked => checked,
            };
        };
        let mut what = "is not what its name says";
        for _ in 0..READS_MAX {
            match self.hash(stat) {
                Ok((found, pack)) if found == expected => {
                    self.findings.objects.fetch_add(1, Ordering::Relaxed);
                    self.findings.bytes.fetch_add(stat.bytes, Ordering::Relaxed);
                    if let (Some(repository), Some(bytes)) = (self.deep, pack) {
                        self.open_blobs(repository, stat, &bytes);
                    }
                    return Ok(());
                }
                Ok(_) => what = "is not what its name says",
                // A sweep or a compaction took it since it was listed. Whether anything needs it is
                // asked later.
                Err(StorageError::NotFound { .. }) if stat.name != *REPO_FMT => {
                    lock(&self.findings.seen).remove(&stat.name);
                    return Ok(());
                }
                Err(error) if error.class() == Class::Failed => what = "cannot be read from the medium",
                Err(error) => return Err(error.into()),
            }
        }
        self.findings.add_bad(&stat.name, what.to_owned());
        Ok(())
    }

    /// The hash of an object's bytes; with them, when it is a pack whose blobs are to be opened.
    fn hash(&self, stat: &Stat) -> Result<(ObjectHash, Option<Bytes>), StorageError> {
        let mut hasher = Hasher::plain();
        if self.deep.is_some() && PackClass::of_name(&stat.name).is_some() {
            let bytes = self.target.storage.get(&stat.name, Span::Whole, Read::Medium)?;
            hasher.update(&bytes);
            return Ok((ObjectHash::new(hasher.finish()), Some(bytes)));
        }
        let mut offset = 0;
        while offset < stat.bytes {
            let len = STRETCH_BYTES.min(stat.bytes - offset);
            let bytes = self.target.storage.get(&stat.name, Span::Range { offset, len }, Read::Medium)?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(&bytes);
            offset += count(bytes.len());
        }
        Ok((ObjectHash::new(hasher.finish()), None))
    }

    /// `repo.fmt` ends in its own hash; what a confirmation says is known from its name.
    fn check_unhashed(&self, stat: &Stat) -> Result<(), EngineError> {
        let bytes = self.target.storage.get(&stat.name, Span::Whole, Read::Medium)?;
        let right = if stat.name == *REPO_FMT {
            RepoFmt::decode(&bytes).is_ok()
        } else {
            confirmation_matches(&stat.name, &bytes)
        };
        if !right {
            self.findings.add_bad(&stat.name, "is not what its name says".to_owned());
        }
        self.findings.objects.fetch_add(1, Ordering::Relaxed);
        self.findings.bytes.fetch_add(stat.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Deep: opens every blob of a pack.
    fn open_blobs(&mut self, repository: &Repository, stat: &Stat, bytes: &[u8]) {
        let keys = repository.keys();
        let opened = PackIdentity::of_header(bytes, &repository.id())
            .and_then(|identity| PackDirectory::open(bytes, stat.bytes, &identity, keys));
        let directory = match opened {
            Ok(directory) => directory,
            Err(error) => return self.findings.add_bad(&stat.name, Chain(&error).to_string()),
        };
        for ordinal in 0..directory.len() {
            let Some(range) = directory.sealed_range(ordinal) else { continue };
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            let end = usize::try_from(range.end).unwrap_or(usize::MAX);
            let Some(sealed) = bytes.get(start..end) else {
                self.findings.add_bad(&stat.name, format!("blob {ordinal} lies outside of it"));
                continue;
            };
            match directory.open_blob(ordinal, sealed, keys.ids(), &mut self.opener) {
                Ok(_) => {
                    self.findings.blobs.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.findings.add_bad(&stat.name, format!("blob {ordinal}: {}", Chain(&error))),
            }
        }
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
