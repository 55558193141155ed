//! Restoring a policy: the newest verified snapshot from the nearest target that has it.

use super::error::AppError;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Failure};
use crate::catalog::Catalog;
use crate::catalog::copies::Snapshot as Recorded;
use crate::engine::restore::outcome::RestoreOutcome;
use crate::engine::restore::request::RestoreRequest;
use crate::engine::restore::restore;
use crate::policy::model::{Place, Policy, Target as Planned};
use crate::repository::access::Repository;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::Read;

/// What a person named.
#[derive(Clone, Debug)]
pub enum What {
    /// The newest of a policy, or the newest at a time.
    Policy {
        /// Its name.
        name: String,
        /// Not after this.
        at: Option<Timestamp>,
    },
    /// A snapshot by its digits, wherever it is.
    Snapshot(String),
}

/// A policy's name or a snapshot's digits.
pub fn what(site: &Site, named: &str, at: Option<Timestamp>) -> What {
    if site.configuration.policy(named).is_some() {
        What::Policy { name: named.to_owned(), at }
    } else {
        What::Snapshot(named.to_owned())
    }
}

/// Restores, and says on the way which copy was chosen and what was passed over.
///
/// # Errors
/// When there is nothing to restore, no target that has it answers, or the restore fails.
pub fn restore_policy(
    site: &Site,
    what: &What,
    from: Option<&str>,
    request: &RestoreRequest,
) -> Result<RestoreOutcome, Failure> {
    let chosen = choose(site, what, from, "restoring")?;
    Ok(restore(&chosen.repository, &chosen.snapshot, request, Read::Quick, &site.cx)?)
}

/// A snapshot in the copy that was chosen for it.
pub(super) struct Chosen {
    pub(super) repository: Repository,
    pub(super) snapshot: Snapshot,
    /// The policy it is of.
    pub(super) policy: String,
}

/// Opens the snapshot that is meant in the nearest copy that answers, and says which; `doing` is
/// what is done with it.
///
/// # Errors
/// When there is none, or no target that has it answers.
pub(super) fn choose(site: &Site, what: &What, from: Option<&str>, doing: &str) -> Result<Chosen, Failure> {
    let mut candidates = candidates(site, what, from)?.into_iter().peekable();
    let mut last: Option<Failure> = None;
    while let Some(candidate) = candidates.next() {
        match open(site, &candidate) {
            Ok((repository, snapshot)) => {
                let policy = candidate.policy.id.as_str().to_owned();
                site.cx.progress.note(format!(
                    "{doing} snapshot {} of policy {policy}, taken {}, from {}",
                    snapshot.id.short(),
                    snapshot.body.captured_at.readable(),
                    candidate.target.name.as_str(),
                ));
                return Ok(Chosen { repository, snapshot, policy });
            }
            Err(failure) if failure.class() == Class::WrongKey => return Err(failure),
            Err(failure) => {
                let name = candidate.target.name.as_str();
                let next =
                    if candidates.peek().is_some() { "trying the next copy" } else { "no copy is left" };
                site.cx.progress.warn(format!("{name}: {}; {next}", failure.message()));
                last = Some(failure);
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        AppError::Nothing {
            what: "there is no snapshot yet".to_owned(),
            hint: "`lifeboat snapshots` lists what there is; `lifeboat run POLICY` makes one".to_owned(),
        }
        .into()
    }))
}

/// Nothing is known of a policy, and nothing could be opened: most likely it never ran.
fn never_run(site: &Site, policy: &str) -> Failure {
    let hint = format!(
        "`lifeboat run {policy}` makes the first; if it ran elsewhere, put the site key of then at {}",
        site.key_file().display()
    );
    AppError::Nothing { what: format!("policy {policy} has no snapshot yet"), hint }.into()
}

/// Whether this can only be meant as too few digits of a snapshot's id.
fn is_cut_short(digits: &str) -> bool {
    (4..8).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

struct Candidate<'a> {
    policy: &'a Policy,
    target: &'a Planned,
    /// `None`: whatever is newest there.
    snapshot: Option<String>,
}

/// Copies in the order in which to try them: local targets first, because they are nearest.
fn candidates<'a>(site: &'a Site, what: &What, from: Option<&str>) -> Result<Vec<Candidate<'a>>, Failure> {
    let catalogue = match site.catalogue() {
        Ok(catalogue) => catalogue,
        Err(failure) => return without_catalogue(site, what, from, failure),
    };
    let (policy, recorded) = match what {
        What::Policy { name, at } => {
            let policy = site.policy(name)?;
            if catalogue.snapshots(name)?.is_empty() && !site.has_secret() {
                return Err(never_run(site, name));
            }
            (policy, newest_verified(site, &catalogue, policy, *at)?)
        }
        What::Snapshot(digits) => match find_recorded(site, &catalogue, digits)? {
            Some((policy, recorded)) => (policy, Some(recorded)),
            None if is_cut_short(digits) => {
                return Err(AppError::Usage {
                    what: format!("{digits} is no policy, and too short for the id of a snapshot"),
                    hint: "give at least 8 digits of the id; `lifeboat snapshots` lists them".to_owned(),
                }
                .into());
            }
            None => {
                let known: Vec<&str> = site.configuration.policies.iter().map(|p| p.id.as_str()).collect();
                let name = digits.clone();
                return Err(
                    AppError::Unknown { what: "policy or snapshot", name, known: known.join(", ") }.into()
                );
            }
        },
    };
    let mut targets = nearest_first(policy, from)?;
    let snapshot = recorded.map(|recorded| recorded.id);
    if let Some(id) = &snapshot {
        let copies = catalogue.copies(id)?;
        // Copies that were read back come before those that only should be there.
        targets.sort_by_key(|target| {
            let copy = copies.iter().find(|copy| copy.target == target.name.as_str());
            !copy.is_some_and(|copy| copy.read_back_at.is_some() && copy.problem.is_none())
        });
    }
    Ok(targets.into_iter().map(|target| Candidate { policy, target, snapshot: snapshot.clone() }).collect())
}

/// A policy's targets, or the one that was named; folders before services.
fn nearest_first<'a>(policy: &'a Policy, from: Option<&str>) -> Result<Vec<&'a Planned>, Failure> {
    let mut targets: Vec<&Planned> = policy.targets.iter().collect();
    if let Some(from) = from {
        targets.retain(|target| target.name.as_str() == from);
        if targets.is_empty() {
            let known: Vec<&str> = policy.targets.iter().map(|t| t.name.as_str()).collect();
            return Err(
                AppError::Unknown { what: "target", name: from.to_owned(), known: known.join(", ") }.into()
            );
        }
    }
    targets.sort_by_key(|target| !matches!(target.place, Place::Folder(_)));
    Ok(targets)
}

/// With a state folder that is full, read-only or damaged a restore still goes on: the targets know
/// their snapshots. What isn't known is which copies were read back, and that is said.
fn without_catalogue<'a>(
    site: &'a Site,
    what: &What,
    from: Option<&str>,
    failure: Failure,
) -> Result<Vec<Candidate<'a>>, Failure> {
    let (policies, snapshot) = match what {
        What::Policy { at: Some(_), .. } => return Err(failure),
        What::Policy { name, at: None } => (vec![site.policy(name)?], None),
        What::Snapshot(digits) => (site.configuration.policies.iter().collect(), Some(digits.clone())),
    };
    site.cx.progress.warn(format!("{}; going by what the targets have", failure.message()));
    let mut candidates = Vec::new();
    for policy in policies {
        let targets = nearest_first(policy, from)?.into_iter();
        candidates.extend(targets.map(|target| Candidate { policy, target, snapshot: snapshot.clone() }));
    }
    Ok(candidates)
}

/// The newest snapshot of which a copy was read back; newer ones that were not are named.
fn newest_verified(
    site: &Site,
    catalogue: &Catalog,
    policy: &Policy,
    at: Option<Timestamp>,
) -> Result<Option<Recorded>, Failure> {
    let mut recorded = catalogue.snapshots(policy.id.as_str())?;
    recorded.retain(|snapshot| at.is_none_or(|at| snapshot.captured_at <= at));
    recorded.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.captured_at));
    let mut passed_over = Vec::new();
    for snapshot in &recorded {
        let copies = catalogue.copies(&snapshot.id)?;
        if copies.iter().any(|copy| copy.read_back_at.is_some() && copy.problem.is_none()) {
            if !passed_over.is_empty() {
                site.cx.progress.warn(format!(
                    "passed over newer snapshots that were never read back whole: {}; name one to restore it",
                    passed_over.join(", ")
                ));
            }
            return Ok(Some(snapshot.clone()));
        }
        passed_over.push(format!(
            "{} of {}",
            &snapshot.id[..8.min(snapshot.id.len())],
            snapshot.captured_at.readable()
        ));
    }
    if at.is_some() && recorded.is_empty() {
        return Err(AppError::Nothing {
            what: format!("policy {} has no snapshot of that time or before", policy.id.as_str()),
            hint: "`lifeboat snapshots` lists what there is".to_owned(),
        }
        .into());
    }
    let newest = recorded.into_iter().next();
    match &newest {
        Some(_) => site.cx.progress.warn("no copy was ever read back; taking the newest".to_owned()),
        None => site.cx.progress.warn(
            "the catalogue knows no snapshot of this policy; taking the newest that a target has".to_owned(),
        ),
    }
    Ok(newest)
}

fn find_recorded<'a>(
    site: &'a Site,
    catalogue: &Catalog,
    digits: &str,
) -> Result<Option<(&'a Policy, Recorded)>, Failure> {
    if digits.len() < 8 {
        return Ok(None);
    }
    let digits = digits.to_ascii_lowercase();
    for policy in &site.configuration.policies {
        for snapshot in catalogue.snapshots(policy.id.as_str())? {
            if snapshot.id.starts_with(&digits) {
                return Ok(Some((policy, snapshot)));
            }
        }
    }
    Ok(None)
}

fn open(site: &Site, candidate: &Candidate<'_>) -> Result<(Repository, Snapshot), Failure> {
    let repository = site.repository_for_restore(candidate.target)?;
    let wanted = candidate.snapshot.as_deref().unwrap_or("latest");
    let snapshot = snapshots::find(&repository, &repository.targets()[0], wanted)?;
    Ok((repository, snapshot))
}
