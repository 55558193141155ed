//! Keeps what the snapshots of a place need locked: Object Lock is set at each put, and ends.
//!
//! Deduplication makes the renewal necessary: a pack that was stored 36 days ago and is still used by
//! today's snapshot may have lost its lock. So a place is as immutable as its weakest needed object,
//! and that is what the outcome says.
//!
//! Locked anew is what has less than half of its time left: `repo.fmt`, keys, index runs, valid
//! snapshots with their confirmations, and the packs they need. Packs that a sweep plan names are left
//! out: they are dying, and what was live in them has moved.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::context::Context;
use super::error::EngineError;
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Classified};
use crate::base::id::ObjectHash;
use crate::base::lock::LockRule;
use crate::repository::access::{Repository, Target};
use crate::repository::format::names::{PackClass, REPO_FMT, pack_name};
use crate::repository::format::plan::PlanBody;
use crate::repository::{commit, load, needs, snapshots};
use crate::storage::contract::{ObjectName, StorageError, list_all};
use crate::storage::guard::{Guard, Lock};

/// Requests in flight: each waits for a way there and back.
const IN_FLIGHT: usize = 8;
/// A request that fails in passing is repeated so often.
const ATTEMPTS: usize = 3;
/// So many failures are named.
const NAMED_MAX: usize = 20;

/// What a renewal did.
#[derive(Clone, Debug, Serialize)]
pub struct LockOutcome {
    /// Where.
    pub target: String,
    /// Objects that the snapshots need.
    pub objects: u64,
    /// Of these, whose lock was made to last longer.
    pub extended: u64,
    /// When the first lock of a needed object ends: until then nothing that a snapshot needs can be
    /// destroyed. None when some object has no lock.
    pub locked_until: Option<Timestamp>,
    /// Objects that could not be looked at or locked.
    pub failed: u64,
    /// The first of them, with the reason.
    pub named: Vec<String>,
}

/// Extends the locks of everything that valid snapshots of a target need.
///
/// # Errors
/// When the target has no locks or no rule, or can't be listed and read.
pub fn extend_locks(
    repository: &Repository,
    target: &Target,
    cx: &Context,
) -> Result<LockOutcome, EngineError> {
    let unsupported = |reason: &str| StorageError::Unsupported {
        place: target.storage.label().to_owned(),
        reason: reason.to_owned(),
    };
    let guard = target.storage.guard().ok_or_else(|| unsupported("it has no Object Lock"))?;
    let rule = guard.rule().ok_or_else(|| {
        unsupported("no lock is asked for: add `immutable` to the target, or `lock=` to its URL")
    })?;
    let names: Vec<ObjectName> = needed(repository, target)?.into_iter().collect();
    let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
    cx.progress.phase(&format!("lock {}", target.name), Some(total), None);
    let work = Work { guard, rule, names: &names, next: AtomicUsize::new(0), cx };
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT.min(names.len()) {
            scope.spawn(|| work.run(&tally));
        }
    });
    cx.progress.phase_finished("lock");
    if cx.cancel.is_cancelled() {
        return Err(EngineError::Cancelled);
    }
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(LockOutcome {
        target: target.name.clone(),
        objects: total,
        extended: tally.extended,
        locked_until: tally.first_end.filter(|_| tally.failed == 0),
        failed: tally.failed,
        named: tally.named,
    })
}

/// Names of everything that valid snapshots need. When a pack of some pack set is gone, a sweep has
/// moved what was live in it, and what a snapshot that can't be read needs nobody knows; then every
/// pack counts.
fn needed(repository: &Repository, target: &Target) -> Result<BTreeSet<ObjectName>, EngineError> {
    let mut names: BTreeSet<ObjectName> = BTreeSet::from([REPO_FMT.clone()]);
    let storage = target.storage.as_ref();
    for prefix in ["keys/", "i/"] {
        names.extend(list_all(storage, prefix)?.into_iter().map(|stat| stat.name));
    }
    let plans = commit::plans(repository, target)?;
    let (found, unread) = snapshots::load_with_checkpoints(repository, target)?;
    let loaded = load::load(repository, std::slice::from_ref(target))?;
    let mut packs = BTreeSet::new();
    for snapshot in &found {
        names.extend([snapshot.name.proposal(), snapshot.name.confirmation()]);
        packs.extend(needs::packs_of(repository, target, &loaded.index, snapshot)?);
    }
    let there: BTreeSet<ObjectName> = ["p/", "m/"]
        .into_iter()
        .map(|prefix| list_all(storage, prefix))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .map(|stat| stat.name)
        .collect();
    let wanted: BTreeSet<ObjectName> = packs.iter().map(|(class, hash)| pack_name(*class, hash)).collect();
    let dying: BTreeSet<ObjectName> =
        plans.iter().flat_map(PlanBody::packs).flat_map(of_either_class).collect();
    let is_moved =
        !unread.is_empty() || wanted.iter().any(|name| !there.contains(name) || dying.contains(name));
    let kept = there.into_iter().filter(|name| is_moved || wanted.contains(name));
    names.extend(kept.filter(|name| !dying.contains(name)));
    Ok(names)
}

/// A plan doesn't say here which of the two a pack is; their names differ in one letter.
fn of_either_class(hash: ObjectHash) -> [ObjectName; 2] {
    [PackClass::Data, PackClass::Meta].map(|class| pack_name(class, &hash))
}

struct Work<'a> {
    guard: &'a dyn Guard,
    rule: LockRule,
    names: &'a [ObjectName],
    next: AtomicUsize,
    cx: &'a Context,
}

#[derive(Default)]
struct Tally {
    extended: u64,
    failed: u64,
    first_end: Option<Timestamp>,
    named: Vec<String>,
}

impl Work<'_> {
    fn run(&self, tally: &Mutex<Tally>) {
        while !self.cx.cancel.is_cancelled() {
            let Some(name) = self.names.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let done = self.patiently(|| self.lock(name));
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok((end, is_extended)) => {
                    tally.extended += u64::from(is_extended);
                    tally.first_end = Some(tally.first_end.map_or(end, |first| first.min(end)));
                }
                Err(error) => {
                    tally.failed += 1;
                    if tally.named.len() < NAMED_MAX {
                        tally.named.push(error.to_string());
                    }
                }
            }
            drop(tally);
            self.cx.progress.advance(1, 0);
        }
    }

    /// When the lock of an object ends now, and whether it had to be made longer.
    fn lock(&self, name: &ObjectName) -> Result<(Timestamp, bool), StorageError> {
        let now = self.cx.clock.now();
        let whole = self.rule.until(now);
        let half = Timestamp::from_unix_ms(now.unix_ms().midpoint(whole.unix_ms()));
        match self.guard.lock_of(name)? {
            Some(lock) if lock.until >= half => Ok((lock.until, false)),
            _ => {
                self.guard.extend_lock(name, Lock { mode: self.rule.mode, until: whole })?;
                Ok((whole, true))
            }
        }
    }

    fn patiently<T>(&self, call: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut attempt = 1;
        loop {
            match call() {
                Err(error) if attempt < ATTEMPTS && error.class() == Class::Transient => attempt += 1,
                done => return done,
            }
        }
    }
}
