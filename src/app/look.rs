//! Looking inside: one snapshot, or all of them, at one place, open for reading.

use super::plumbing::Plumbing;
use super::restore;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::progress::Progress;
use crate::repository::access::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::format::slot::SlotSecret;
use crate::repository::load;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::Read;

/// A snapshot in a repository at one place.
pub struct Opened {
    /// The repository there.
    pub repository: Repository,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The policy it was asked for by, when it was.
    pub policy: Option<String>,
}

/// A policy's newest verified snapshot, or one by its digits, in the copy that a restore would take.
///
/// # Errors
/// As [`restore::restore_policy`].
pub fn by_policy(
    site: &Site,
    named: &str,
    at: Option<Timestamp>,
    from: Option<&str>,
) -> Result<Opened, Failure> {
    let chosen = restore::choose(site, &restore::what(site, named, at), from, "looking at")?;
    Ok(Opened { repository: chosen.repository, snapshot: chosen.snapshot, policy: Some(chosen.policy) })
}

/// A snapshot of a bare repository: `latest`, or its digits.
///
/// # Errors
/// As [`Repository::open`] and [`snapshots::find`].
pub fn by_place(
    plumbing: &Plumbing,
    url: &str,
    secret: &SlotSecret,
    wanted: &str,
) -> Result<Opened, Failure> {
    let repository = plumbing.open(url, secret)?;
    let snapshot = snapshots::find(&repository, &repository.targets()[0], wanted)?;
    Ok(Opened { repository, snapshot, policy: None })
}

/// Two snapshots of one repository.
///
/// # Errors
/// `Different` when they are of two: their blobs have other names, and nothing can be compared.
pub fn together(old: Opened, new: Opened) -> Result<(Opened, Opened), Failure> {
    if old.repository.id() == new.repository.id() {
        return Ok((old, new));
    }
    let label = |opened: &Opened| opened.repository.targets()[0].storage.label().to_owned();
    Err(RepositoryError::Different { first: label(&old), second: label(&new) }.into())
}

/// Every snapshot at a place, oldest first, those of one policy when it is named.
///
/// # Errors
/// Whatever the target says to the listing, and the first snapshot that is damaged: a search or a
/// view without it would pose as whole.
pub fn all(repository: &Repository, policy: Option<&str>) -> Result<Vec<Snapshot>, Failure> {
    let (mut found, damaged) = snapshots::load_all(repository, &repository.targets()[0])?;
    if let Some((_, error)) = damaged.into_iter().next() {
        return Err(error.into());
    }
    found.retain(|snapshot| policy.is_none() || snapshot.body.policy.as_deref() == policy);
    Ok(found)
}

/// As [`all`], but a damaged snapshot is named in a warning and left out; the first one's damage
/// comes with the others, and who asked must end with it.
///
/// # Errors
/// Whatever the target says to the listing.
pub fn all_readable(
    repository: &Repository,
    policy: Option<&str>,
    progress: &dyn Progress,
) -> Result<(Vec<Snapshot>, Option<Failure>), Failure> {
    let (mut found, damaged) = snapshots::load_all(repository, &repository.targets()[0])?;
    found.retain(|snapshot| policy.is_none() || snapshot.body.policy.as_deref() == policy);
    let mut first = None;
    for (name, error) in damaged {
        let failure = Failure::from(error);
        progress.warn(format!("snapshot {} is damaged and left out: {}", name.id.short(), failure.message()));
        first.get_or_insert(failure);
    }
    Ok((found, first))
}

/// Opens the index of a repository at its first place, and reads blobs by it.
///
/// # Errors
/// When the index cannot be loaded, and those of `work`.
pub fn reading<T>(
    repository: &Repository,
    work: impl FnOnce(&BlobReader<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let target = &repository.targets()[0];
    let loaded = load::load(repository, std::slice::from_ref(target))?;
    work(&BlobReader::new(repository, &loaded.index, vec![target], Read::Quick))
}
