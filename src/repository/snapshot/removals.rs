//! Which removed snapshots the administrator vouches for: the records under `f/` of one target.
//!
//! A record is written and durable before the first of its snapshots goes, so that stopped in
//! between no removal is unexplained. When many have gathered they are written anew as one, and the
//! old ones deleted after that: no id is ever named by nothing.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::base::error::{Class, Classified};
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{parse_removals_name, removals_name};
use crate::repository::format::removals::{REMOVALS_BYTES_MAX, REMOVALS_MAX, RemovalsBody};
use crate::storage::contract::{ObjectName, Read, Span, StorageError};

/// So many records stand before they are written as one.
const RECORDS_MAX: usize = 16;

/// What the records of a target say together.
#[derive(Clone, Debug, Default)]
pub struct Removals {
    /// Snapshots that were forgotten.
    pub forgotten: HashSet<ObjectHash>,
    /// Snapshots whose loss was accepted.
    pub accepted: HashSet<ObjectHash>,
    records: Vec<Record>,
}

#[derive(Clone, Debug)]
struct Record {
    name: ObjectName,
    body: RemovalsBody,
    bytes: Bytes,
}

impl Removals {
    /// Whether the administrator knows that this snapshot went.
    pub fn explain(&self, id: &ObjectHash) -> bool {
        self.forgotten.contains(id) || self.accepted.contains(id)
    }

    fn add(&mut self, record: Record) {
        self.forgotten.extend(&record.body.forgotten);
        self.accepted.extend(&record.body.accepted);
        self.records.push(record);
    }
}

/// Reads the records of a target. One that is damaged, or that somebody else signed, says nothing.
/// Costs a listing of `f/`, and a read for each record: some sixteen.
///
/// # Errors
/// Whatever the target says.
pub fn removals(repository: &Repository, target: &Target) -> Result<Removals, RepositoryError> {
    let mut names = Vec::new();
    target.storage.list("f/", &mut |stat| {
        if parse_removals_name(&stat.name).is_some() && stat.bytes <= REMOVALS_BYTES_MAX {
            names.push(stat.name);
        }
        ControlFlow::Continue(())
    })?;
    let mut found = Removals::default();
    let format = repository.format();
    for name in names {
        let bytes = match target.storage.get(&name, Span::Whole, Read::Quick) {
            Ok(bytes) => bytes,
            Err(StorageError::NotFound { .. }) => continue,
            Err(error) if error.class() == Class::Damage => continue,
            Err(error) => return Err(error.into()),
        };
        let is_named = parse_removals_name(&name).is_some_and(|id| id == hash::object(&bytes));
        if let Ok(body) = RemovalsBody::decode(&bytes, &format.repo_id, &format.admin_public)
            && is_named
        {
            found.add(Record { name, body, bytes });
        }
    }
    Ok(found)
}

/// Makes a target say that these snapshots were removed on purpose. What its records say already is
/// not said twice.
///
/// # Errors
/// When the slot that was opened grants no administrator's key; whatever the target says.
pub fn record(repository: &Repository, target: &Target, new: &RemovalsBody) -> Result<(), RepositoryError> {
    let admin = repository.admin()?;
    let known = removals(repository, target)?;
    let fresh = |ids: &[ObjectHash], known: &HashSet<ObjectHash>| -> Vec<ObjectHash> {
        ids.iter().filter(|id| !known.contains(*id)).copied().collect()
    };
    let mut body = RemovalsBody {
        forgotten: fresh(&new.forgotten, &known.forgotten),
        accepted: fresh(&new.accepted, &known.accepted),
        ..new.clone()
    };
    if body.forgotten.is_empty() && body.accepted.is_empty() {
        return Ok(());
    }
    let old = if known.records.len() < RECORDS_MAX { Vec::new() } else { merge(&mut body, known.records) };
    let (bytes, id) = body.encode(&repository.id(), &admin)?;
    put(target, &removals_name(body.at, &id), Bytes::from(bytes))?;
    target.storage.sync()?;
    for name in old {
        match target.storage.delete(&name) {
            Ok(()) => {}
            // A lock keeps it, and it goes on saying what is true.
            Err(error) if error.class() == Class::Denied => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Brings the records of one target to another that lacks some of what they say. No key is needed.
///
/// # Errors
/// Whatever the target says.
pub fn copy(from: &Removals, there: &Removals, to: &Target) -> Result<(), RepositoryError> {
    for record in &from.records {
        let says_more = record.body.forgotten.iter().any(|id| !there.forgotten.contains(id))
            || record.body.accepted.iter().any(|id| !there.accepted.contains(id));
        if says_more {
            put(to, &record.name, record.bytes.clone())?;
        }
    }
    Ok(to.storage.sync()?)
}

/// A full disk gives back the room that it keeps for what removes things.
fn put(target: &Target, name: &ObjectName, bytes: Bytes) -> Result<(), RepositoryError> {
    match target.storage.put_new(name, bytes.clone()) {
        Err(error) if error.class() == Class::NoSpace && target.storage.give_room()? => {
            target.storage.put_new(name, bytes)?;
        }
        other => drop(other?),
    }
    Ok(())
}

/// Adds what these records say, the newest first, as far as there is room; gives the names of those
/// that are in it whole.
fn merge(body: &mut RemovalsBody, mut records: Vec<Record>) -> Vec<ObjectName> {
    records.sort_unstable_by_key(|record| std::cmp::Reverse(record.body.at));
    let mut forgotten: BTreeSet<ObjectHash> = body.forgotten.iter().copied().collect();
    let mut accepted: BTreeSet<ObjectHash> = body.accepted.iter().copied().collect();
    let mut merged = Vec::new();
    for record in records {
        let fits = |have: &BTreeSet<ObjectHash>, more: &[ObjectHash]| have.len() + more.len() <= REMOVALS_MAX;
        if !fits(&forgotten, &record.body.forgotten) || !fits(&accepted, &record.body.accepted) {
            continue;
        }
        forgotten.extend(&record.body.forgotten);
        accepted.extend(&record.body.accepted);
        if body.reason.is_empty() {
            body.reason = record.body.reason;
        }
        merged.push(record.name);
    }
    body.forgotten = forgotten.into_iter().collect();
    body.accepted = accepted.into_iter().collect();
    merged
}
