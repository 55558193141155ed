//! How a snapshot becomes valid on one target: announce, then look (docs/format.md, "Commit").
//!
//! 1. [`complete`]: every pack and index run that the snapshot needs is durable there;
//! 2. [`propose`]: the snapshot object, under a fresh nonce;
//! 3. to 8. [`confirm`]: no plan names anything relied on, every pack relied on exists, the parent
//!    still stands; then the confirmation, and two last looks. Only then is it a backup.
//!
//! The order is the safety; nothing here may be reordered or answered from a cache. A proposal
//! that is not confirmed is abandoned, never deleted: it is no backup to anybody.

use bytes::Bytes;

use super::access::{Repository, Target};
use super::copy::{Gone, copy_missing};
use super::error::RepositoryError;
use super::format::error::FormatError;
use super::format::index_run::IndexRun;
use super::format::names::{PackClass, SnapshotName, content_hash, pack_name};
use super::format::plan::PlanBody;
use super::format::snapshot::confirmation_body;
use super::index::Index;
use super::{presence, snapshots};
use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::entropy;
use crate::base::error::{Class, Classified};
use crate::base::id::{ObjectHash, WriterId};
use crate::base::progress::Progress;
use crate::storage::contract::{Stat, list_all};

pub(crate) use super::copy::{Along, complete, fetch_checked};

/// How often an unknown or disturbed outcome is tried again under a new nonce.
const ROUNDS_MAX: usize = 3;

/// A snapshot on its way to a target.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// The signed, sealed object: equal bytes everywhere.
    pub(crate) bytes: Bytes,
    /// Its hash.
    pub(crate) id: ObjectHash,
    /// The time in its name; for sorting only.
    pub(crate) at: Timestamp,
    /// Its writer.
    pub(crate) writer: WriterId,
    /// The snapshot whose blobs were taken over without looking where they lie.
    pub(crate) parent: Option<ObjectHash>,
    /// The index runs that list its packs.
    pub(crate) runs: Vec<ObjectHash>,
    /// Every pack that holds a blob of it.
    pub(crate) packs: Vec<NeededPack>,
}

/// A pack that a snapshot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NeededPack {
    /// Data or metadata.
    pub(crate) class: PackClass,
    /// Its name.
    pub(crate) hash: ObjectHash,
    /// Whether the parent holds all that is used of it: then its fate is the parent's.
    pub(crate) covered: bool,
}

/// The index runs that are known.
pub(crate) trait KnownRuns {
    /// The packs that a run lists; `None` for one that nobody knows.
    ///
    /// # Errors
    /// Whatever the local index says.
    fn packs_of(&self, run: &ObjectHash) -> Result<Option<Vec<(PackClass, ObjectHash)>>, RepositoryError>;

    /// A run itself; `None` for one that nobody can read here.
    ///
    /// # Errors
    /// As [`KnownRuns::packs_of`].
    fn run(&self, run: &ObjectHash) -> Result<Option<IndexRun>, RepositoryError>;
}

impl KnownRuns for Index {
    fn packs_of(&self, run: &ObjectHash) -> Result<Option<Vec<(PackClass, ObjectHash)>>, RepositoryError> {
        let packs = self.packs_of_run(run)?;
        Ok(packs.map(|packs| packs.into_iter().map(|pack| (pack.class, pack.hash)).collect()))
    }

    fn run(&self, run: &ObjectHash) -> Result<Option<IndexRun>, RepositoryError> {
        Self::run(self, run)
    }
}

/// What a commit is carried out with.
pub(crate) struct Surroundings<'a> {
    /// The opened repository.
    pub(crate) repository: &'a Repository,
    /// Where missing objects may be copied from.
    pub(crate) sources: &'a [Target],
    /// The index runs known.
    pub(crate) runs: &'a dyn KnownRuns,
    /// Who listens.
    pub(crate) progress: &'a dyn Progress,
    /// Raised when the work should stop.
    pub(crate) cancel: &'a Cancel,
}

/// The parent's name on this target when it stands there, so that what it covers needs no look.
fn standing_parent(
    repository: &Repository,
    target: &Target,
    parent: Option<&ObjectHash>,
) -> Result<Option<SnapshotName>, RepositoryError> {
    let Some(parent) = parent else { return Ok(None) };
    Ok(snapshots::list(target, Some(repository.format()))?.valid.into_iter().find(|name| name.id == *parent))
}

/// Step 2: puts the snapshot object, each attempt under a fresh nonce: an attempt with an unknown
/// outcome may appear at any time, and only as a proposal that nobody confirms.
pub(crate) fn propose(target: &Target, proposal: &Proposal) -> Result<SnapshotName, RepositoryError> {
    let mut name = SnapshotName::new(proposal.at, &proposal.writer, proposal.id, entropy::random());
    put_proposal(target, &mut name, proposal.bytes.clone())?;
    target.storage.sync()?;
    Ok(name)
}

/// Puts a snapshot object; `name` gets the nonce of the attempt that succeeded.
pub(crate) fn put_proposal(
    target: &Target,
    name: &mut SnapshotName,
    bytes: Bytes,
) -> Result<(), RepositoryError> {
    let mut fresh = || {
        name.nonce = entropy::random();
        name.proposal()
    };
    // The attempt that is answered is the last one drawn.
    let put = target.storage.put_fresh(&mut fresh, bytes)?;
    if name.proposal() == put {
        Ok(())
    } else {
        Err(RepositoryError::Defect { what: "the nonce of a proposal" })
    }
}

/// Steps 3 to 8. When it returns, the snapshot is valid on the target.
pub(crate) fn confirm(
    around: &Surroundings<'_>,
    target: &Target,
    proposal: &Proposal,
    mut name: SnapshotName,
) -> Result<SnapshotName, RepositoryError> {
    let place = || target.storage.label().to_owned();
    for _ in 0..ROUNDS_MAX {
        look(around, target, proposal, &name)?;
        // What the looks showed may be the work of somebody who died before it was durable.
        target.storage.sync()?;
        let body = Bytes::copy_from_slice(&confirmation_body(&proposal.id));
        target.storage.put_new(&name.confirmation(), body)?;
        target.storage.sync()?;
        let condemned = plans(around.repository, target)?.iter().any(|plan| plan.names_proposal(&name));
        if !condemned && target.storage.head(&name.proposal())?.is_some() {
            return Ok(name);
        }
        // The outcome is unknown: a sweeper saw the proposal without its confirmation.
        name = propose(target, proposal)?;
    }
    Err(RepositoryError::Busy { place: place(), what: "sweeps kept condemning the proposal".to_owned() })
}

/// Steps 3 to 5.
fn look(
    around: &Surroundings<'_>,
    target: &Target,
    proposal: &Proposal,
    name: &SnapshotName,
) -> Result<(), RepositoryError> {
    let busy = |what: String| RepositoryError::Busy { place: target.storage.label().to_owned(), what };
    let plans = plans(around.repository, target)?;
    let parent = standing_parent(around.repository, target, proposal.parent.as_ref())?;
    let stands = parent.is_some();
    let relied: Vec<&NeededPack> = proposal.packs.iter().filter(|pack| !(stands && pack.covered)).collect();
    for plan in &plans {
        if let Some(pack) = relied.iter().find(|pack| plan.names_pack(&pack.hash)) {
            return Err(busy(format!("a sweep removes pack {}", pack.hash.short())));
        }
        if plan.names_proposal(name) {
            return Err(busy("a sweep removes the proposal".to_owned()));
        }
        if parent.as_ref().is_some_and(|parent| plan.names_proposal(parent)) {
            return Err(busy("a sweep removes the snapshot it builds on".to_owned()));
        }
    }
    bring_relied(around, target, &relied)?;
    if stands && standing_parent(around.repository, target, proposal.parent.as_ref())?.is_none() {
        return Err(busy("the snapshot it builds on was forgotten meanwhile".to_owned()));
    }
    Ok(())
}

/// Step 4: every pack relied on exists; what is missing is copied back where somebody has it.
fn bring_relied(
    around: &Surroundings<'_>,
    target: &Target,
    relied: &[&NeededPack],
) -> Result<(), RepositoryError> {
    let names: Vec<(PackClass, ObjectHash)> = relied.iter().map(|pack| (pack.class, pack.hash)).collect();
    let missing = presence::missing(target, &names)?;
    if missing.is_empty() {
        return Ok(());
    }
    let mut gone = Gone::default();
    for pack in relied.iter().filter(|pack| missing.contains(&pack.hash)) {
        let object = pack_name(pack.class, &pack.hash);
        gone.note([pack.hash], copy_missing(around, target, &object, &pack.hash))?;
    }
    target.storage.sync()?;
    gone.finish(target)?;
    // A copied-back pack must not be one that a plan made since names: look again.
    for plan in plans(around.repository, target)? {
        if let Some(hash) = missing.iter().find(|hash| plan.names_pack(hash)) {
            return Err(RepositoryError::Busy {
                place: target.storage.label().to_owned(),
                what: format!("a sweep removes pack {}", hash.short()),
            });
        }
    }
    Ok(())
}

/// The sweep plans of a target. Objects under `g/` that the administrator did not sign count for
/// nothing. One whose bytes are not what its name says may be a plan that a sweep obeys: nobody
/// may rely on anything there until it can be read; so of the administrator's plan that this key
/// doesn't open.
pub(crate) fn plans(repository: &Repository, target: &Target) -> Result<Vec<PlanBody>, RepositoryError> {
    let listed = list_all(target.storage.as_ref(), "g/")?;
    Ok(plans_among(repository, target, listed)?.into_iter().map(|(_, plan)| plan).collect())
}

/// The plans among what `g/` listed, each with its place there.
pub(crate) fn plans_among(
    repository: &Repository,
    target: &Target,
    listed: Vec<Stat>,
) -> Result<Vec<(Stat, PlanBody)>, RepositoryError> {
    let mut plans = Vec::new();
    for stat in listed {
        let Some(expected) = content_hash(&stat.name).filter(|_| !stat.name.as_str().contains(".done-"))
        else {
            continue;
        };
        match fetch_checked(std::slice::from_ref(target), &stat.name, &expected) {
            Ok(bytes) => {
                let admin = &repository.format().admin_public;
                let plan = PlanBody::open(&bytes, &repository.id(), admin, repository.keys());
                match plan {
                    Ok(plan) => plans.push((stat, plan)),
                    Err(FormatError::WritesOnly) => {
                        return Err(RepositoryError::Busy {
                            place: target.storage.label().to_owned(),
                            what: "a sweep plan stands there that was sealed before this host had a key"
                                .to_owned(),
                        });
                    }
                    // Nobody's plan: it counts for nothing.
                    Err(_) => {}
                }
            }
            // Ended since it was listed: its packs are gone, and the look at each pack sees that.
            Err(error) if error.class() == Class::Damage && target.storage.head(&stat.name)?.is_none() => {}
            Err(RepositoryError::Damage { place, object, what }) => {
                let what =
                    format!("{what}: nobody can tell what this sweep plan removes; prunes take it away");
                return Err(RepositoryError::Damage { place, object, what });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(plans)
}
