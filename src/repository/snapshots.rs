//! The snapshots of one target: which are valid there, and what they say.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::access::{Repository, Target};
use super::commit;
use super::error::RepositoryError;
use super::format::forget::{FORGET_BYTES_MAX, ForgetRequest};
use super::format::names::{SnapshotEntry, SnapshotName, parse_forget_name, parse_snapshot_name};
use super::format::object::{Closed, Object, ObjectKind};
use super::format::repo_fmt::RepoFmt;
use super::format::snapshot::{SnapshotBody, SnapshotKind};
use super::writers::Writers;
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Classified};
use crate::base::id::{ObjectHash, WriterId};
use crate::storage::contract::{ObjectName, Read, Span, StorageError};

/// A valid snapshot of a target.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Hash of its object: its id everywhere.
    pub id: ObjectHash,
    /// Its name on the target it was read from (another nonce elsewhere).
    pub name: SnapshotName,
    /// Who signed it.
    pub writer: WriterId,
    /// Whether a certificate vouches for the writer and the signature verifies.
    pub signed: bool,
    /// Its number in the writer's chain.
    pub number: u64,
    /// The snapshots it links to.
    pub links: Vec<ObjectHash>,
    /// What it says.
    pub body: SnapshotBody,
    /// The object's bytes, equal on every target.
    pub bytes: bytes::Bytes,
}

/// What `s/` and `f/` of a target list.
#[derive(Clone, Debug, Default)]
pub struct SnapshotList {
    /// Valid snapshots: proposal and confirmation are both there, and no request to
    /// forget it is in force.
    pub valid: Vec<SnapshotName>,
    /// Proposals without a confirmation.
    pub pending: Vec<SnapshotName>,
    /// Confirmations whose snapshot object is nowhere on the target. Forgetting removes the
    /// confirmation first, so somebody else removed the snapshot.
    pub headless: Vec<SnapshotName>,
    /// Ids listed here that the administrator asked to forget.
    pub forgotten: HashSet<ObjectHash>,
}

/// Lists `s/`, then `f/`. `format` says whose requests to forget count; without it, what the target
/// itself holds as `repo.fmt` does, which is for those who have no key.
///
/// # Errors
/// Whatever the target says.
pub fn list(target: &Target, format: Option<&RepoFmt>) -> Result<SnapshotList, RepositoryError> {
    let mut proposals = Vec::new();
    let mut confirmed = HashSet::new();
    target.storage.list("s/", &mut |stat| {
        match parse_snapshot_name(&stat.name) {
            Some(SnapshotEntry::Proposal(name)) => proposals.push(name),
            Some(SnapshotEntry::Confirmation(name)) => {
                confirmed.insert(name);
            }
            None => {}
        }
        ControlFlow::Continue(())
    })?;
    let ids = proposals.iter().chain(&confirmed).map(|name| name.id).collect();
    let forgotten = forgotten(target, format, &ids)?;
    let mut out = SnapshotList { forgotten, ..SnapshotList::default() };
    let mut seen = HashSet::new();
    for name in proposals {
        if !confirmed.remove(&name) {
            out.pending.push(name);
        } else if !out.forgotten.contains(&name.id) && seen.insert(name.id) {
            out.valid.push(name);
        }
    }
    // Under another nonce the snapshot may well be there: then this is litter of a repeated attempt.
    confirmed.retain(|name| !out.forgotten.contains(&name.id) && seen.insert(name.id));
    out.headless.extend(confirmed);
    Ok(out)
}

/// Of these ids, those that the administrator asked to forget on a target: only a request counts
/// that decodes, carries the administrator's signature, and names in its body the id of its name.
/// Whatever else lies under `f/` is litter. Costs a listing of `f/`, and one small read for each of
/// the ids that is listed there.
///
/// # Errors
/// Whatever the target says.
pub fn forgotten(
    target: &Target,
    format: Option<&RepoFmt>,
    ids: &HashSet<ObjectHash>,
) -> Result<HashSet<ObjectHash>, RepositoryError> {
    let mut asked = Vec::new();
    target.storage.list("f/", &mut |stat| {
        if let Some(id) = parse_forget_name(&stat.name)
            && ids.contains(&id)
            && stat.bytes <= FORGET_BYTES_MAX
        {
            asked.push((id, stat.name));
        }
        ControlFlow::Continue(())
    })?;
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let own = if format.is_none() { own_format(target)? } else { None };
    // Nobody knows the administrator, so nobody's word counts, and everything stays.
    let Some(format) = format.or(own.as_ref()) else { return Ok(HashSet::new()) };
    let mut in_force = HashSet::new();
    for (id, name) in asked {
        let Some(bytes) = read_small(target, &name)? else { continue };
        let request = ForgetRequest::decode(&bytes, &format.repo_id, &format.admin_public);
        if request.is_ok_and(|request| request.snapshot == id) {
            in_force.insert(id);
        }
    }
    Ok(in_force)
}

/// What a target holds as `repo.fmt`; nothing when it is missing or damaged.
fn own_format(target: &Target) -> Result<Option<RepoFmt>, RepositoryError> {
    let name = ObjectName::new("repo.fmt").expect("a name by its letters");
    Ok(read_small(target, &name)?.and_then(|bytes| RepoFmt::decode(&bytes).ok()))
}

/// A small object; nothing when it is gone, or cannot be read as it was written.
fn read_small(target: &Target, name: &ObjectName) -> Result<Option<bytes::Bytes>, RepositoryError> {
    let span = Span::Range { offset: 0, len: FORGET_BYTES_MAX };
    match target.storage.get(name, span, Read::Quick) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) if error.class() == Class::Damage => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads one snapshot and checks it against its name.
///
/// # Errors
/// `Damage` when it is not what its name says; whatever the target says.
pub fn load(
    repository: &Repository,
    target: &Target,
    writers: &Writers,
    name: &SnapshotName,
) -> Result<Snapshot, RepositoryError> {
    let damage = |what: String| RepositoryError::Damage {
        place: target.storage.label().to_owned(),
        object: format!("snapshot {}", name.id.short()),
        what,
    };
    let bytes = match target.storage.get(&name.proposal(), Span::Whole, Read::Quick) {
        Ok(bytes) => bytes,
        Err(StorageError::NotFound { .. }) => return Err(damage("is missing".to_owned())),
        Err(error) => return Err(error.into()),
    };
    if crate::codec::hash::object(&bytes) != name.id {
        return Err(damage("is not what its name says".to_owned()));
    }
    let object = Object::decode(&bytes, &repository.id(), Some(repository.keys()))?;
    if object.header.kind != ObjectKind::Snapshot {
        return Err(damage("is no snapshot".to_owned()));
    }
    let body = SnapshotBody::decode(&object.body)?;
    let signer = object.header.signer;
    let signed = writers.public(&signer).is_some_and(|public| object.verify(public).is_ok())
        // Whoever only adds speaks for one host.
        && writers.only_host(&signer).is_none_or(|host| host == body.host);
    Ok(Snapshot {
        id: name.id,
        name: name.clone(),
        writer: object.header.signer,
        signed,
        number: object.header.number,
        links: object.links,
        body,
        bytes,
    })
}

/// Valid snapshots, and the names of those that could not be read with the reason.
pub type Loaded = (Vec<Snapshot>, Vec<(SnapshotName, RepositoryError)>);

/// All recovery points of a target, oldest first, and those that could not be read.
///
/// # Errors
/// Whatever the target says to a listing; a single unreadable snapshot is no error here.
pub fn load_all(repository: &Repository, target: &Target) -> Result<Loaded, RepositoryError> {
    let (mut snapshots, damaged) = load_with_checkpoints(repository, target)?;
    snapshots.retain(|snapshot| snapshot.body.kind != SnapshotKind::Checkpoint);
    Ok((snapshots, damaged))
}

/// As [`load_all`], with the checkpoints of runs, which are no recovery points: only the next run
/// goes on from them.
///
/// # Errors
/// As [`load_all`].
pub fn load_with_checkpoints(repository: &Repository, target: &Target) -> Result<Loaded, RepositoryError> {
    // Not only when there is one: to see none is no answer either.
    repository.keys().reads()?;
    let writers = repository.writers(target)?;
    let mut snapshots = Vec::new();
    let mut damaged = Vec::new();
    let listed = list(target, Some(repository.format()))?;
    let headless = without_condemned(repository, target, listed.headless)?;
    for name in listed.valid.into_iter().chain(headless) {
        match load(repository, target, &writers, &name) {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) if error.class() == Class::Damage => damaged.push((name, error)),
            Err(error) => return Err(error),
        }
    }
    snapshots.sort_by_key(|snapshot| (snapshot.body.captured_at, snapshot.number, snapshot.id));
    Ok((snapshots, damaged))
}

/// Of a writer that only adds: the newest numbers that its own snapshots on a target have, read without
/// opening any. It looks at the newest names, because a machine that lost its memory is rare.
///
/// # Errors
/// Whatever the target says.
pub(crate) fn newest_own(
    repository: &Repository,
    target: &Target,
    me: &WriterId,
    public: &[u8; 32],
) -> Result<Vec<(ObjectHash, u64)>, RepositoryError> {
    const LOOKED_AT_MAX: usize = 16;
    let mut names = list(target, Some(repository.format()))?.valid;
    names.retain(|name| name.writer8 == me.short());
    names.sort_by(|a, b| b.at.cmp(&a.at));
    let mut own = Vec::new();
    for name in names.iter().take(LOOKED_AT_MAX) {
        let bytes = match target.storage.get(&name.proposal(), Span::Whole, Read::Quick) {
            Ok(bytes) => bytes,
            Err(StorageError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let Ok(closed) = Closed::decode(&bytes, &repository.id()) else { continue };
        if closed.header.kind == ObjectKind::Snapshot && closed.verify(public).is_ok() {
            own.push((name.id, closed.header.number));
        }
    }
    Ok(own)
}

/// Of confirmations without their object, those that no plan explains: a sweep removes a proposal
/// that it saw unconfirmed, and the confirmation may come just after. Nobody was told of such a
/// snapshot, and the plan's end takes the confirmation away.
fn without_condemned(
    repository: &Repository,
    target: &Target,
    headless: Vec<SnapshotName>,
) -> Result<Vec<SnapshotName>, RepositoryError> {
    if headless.is_empty() {
        return Ok(headless);
    }
    let plans = commit::plans(repository, target)?;
    let mut left = headless;
    left.retain(|name| !plans.iter().any(|plan| plan.names_proposal(name)));
    Ok(left)
}

/// Finds the snapshot that a person means: `latest` (the newest capture over all hosts), or an id
/// by at least 8 of its digits.
///
/// # Errors
/// `NoSnapshot`, `Ambiguous`; whatever the target says.
pub fn find(repository: &Repository, target: &Target, wanted: &str) -> Result<Snapshot, RepositoryError> {
    let (snapshots, damaged) = load_all(repository, target)?;
    let place = target.storage.label().to_owned();
    if wanted == "latest" {
        let newest = snapshots.into_iter().next_back();
        // An unreadable one that looks newer must not pass unseen: older data would pose as the latest.
        let newer = |name: &SnapshotName| newest.as_ref().is_none_or(|s| name.at > s.name.at);
        if let Some((_, error)) = damaged.into_iter().find(|(name, _)| newer(name)) {
            return Err(error);
        }
        return newest.ok_or(RepositoryError::NoSnapshot { wanted: wanted.to_owned(), place });
    }
    let hex_digits = wanted.len() >= 8 && wanted.bytes().all(|digit| digit.is_ascii_hexdigit());
    let digits = wanted.to_ascii_lowercase();
    let mut matching: Vec<Snapshot> =
        snapshots.into_iter().filter(|s| hex_digits && s.id.to_hex().starts_with(&digits)).collect();
    match (matching.len(), matching.pop()) {
        (1, Some(snapshot)) => Ok(snapshot),
        (0, _) | (_, None) => Err(RepositoryError::NoSnapshot { wanted: wanted.to_owned(), place }),
        (count, _) => Err(RepositoryError::Ambiguous { wanted: wanted.to_owned(), count }),
    }
}

/// The newest snapshot that a new one of the same host and roots compares itself with.
pub fn newest_for<'a>(
    snapshots: &'a [Snapshot],
    host: &str,
    roots: &[Vec<u8>],
    before: Timestamp,
    full_only: bool,
) -> Option<&'a Snapshot> {
    snapshots.iter().rev().find(|snapshot| {
        let body = &snapshot.body;
        let kind_fits = match body.kind {
            SnapshotKind::Full | SnapshotKind::FullIndependent => true,
            SnapshotKind::Checkpoint => false,
            SnapshotKind::Incremental | SnapshotKind::Differential => !full_only,
        };
        kind_fits
            && snapshot.signed
            && body.host == host
            && body.captured_at <= before
            && body.roots.len() == roots.len()
            && body.roots.iter().zip(roots).all(|(have, want)| have.path == *want)
    })
}
