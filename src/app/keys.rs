//! The keys of a repository at its places: list, add, replace and remove slots.
//!
//! Slots are put on every place that answers. One that doesn't is named, and the outcome is
//! partial: `sync` brings new slots there, and a removal is asked for again.

use std::sync::Arc;

use serde::Serialize;

use super::error::AppError;
use super::plumbing::Plumbing;
use super::site::{Site, place_options};
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Class, Failure};
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::kdf::KdfParams;
use crate::policy::model::Policy;
use crate::report::kit;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::keys::Role;
use crate::repository::format::slot::{KeyObject, SlotMethod, SlotSecret};
use crate::repository::slots;
use crate::storage::place::{Access, Place, PlaceOptions};

/// Digits of an id that are enough to name it.
const DIGITS_MIN: usize = 8;

/// A place that took no part.
#[derive(Clone, Debug, Serialize)]
pub struct Away {
    /// Its URL, or its name in the policy.
    pub target: String,
    /// Why.
    pub reason: String,
}

/// A slot, over all places.
#[derive(Clone, Debug, Serialize)]
pub struct SlotFacts {
    /// Its id.
    pub id: ObjectHash,
    /// `passphrase`, `key file`, `recovery code`; `unknown` for those of a newer version.
    pub kind: &'static str,
    /// What trying a passphrase costs; absent where nothing is derived.
    pub memory_kib: Option<u32>,
    /// And how many passes.
    pub passes: Option<u32>,
    /// When it was first put somewhere, by that store's clock.
    pub put_at: Timestamp,
    /// Where it is.
    pub targets: Vec<String>,
    /// Where it should be, and isn't.
    pub missing: Vec<String>,
    /// Whether it is the one that the given secret opens.
    pub opened: bool,
    /// What is wrong with it, and where.
    pub damaged: Option<String>,
}

/// Every slot.
#[derive(Clone, Debug, Serialize)]
pub struct KeyList {
    /// Of this repository.
    pub repository: RepoId,
    /// Oldest first.
    pub slots: Vec<SlotFacts>,
    /// Places that were not looked at.
    pub away: Vec<Away>,
}

/// What became of a slot at the places.
#[derive(Clone, Debug, Serialize)]
pub struct SlotChange {
    /// Which.
    pub slot: ObjectHash,
    /// `passphrase`, `key file`, `recovery code`.
    pub kind: &'static str,
    /// Where it is now; where it was taken away.
    pub targets: Vec<String>,
    /// Where nothing could be done.
    pub away: Vec<Away>,
}

type Open<'a> = dyn Fn(&str, Access) -> Result<Target, Failure> + 'a;
type Describe<'a> = dyn Fn(&str) -> Result<kit::Place, Failure> + 'a;

/// The places of one repository whose slots are meant.
pub struct Keys<'a> {
    /// What people call them: URLs, or the names of a policy's targets.
    pub(super) places: Vec<String>,
    pub(super) clock: &'a dyn Clock,
    open: Box<Open<'a>>,
    /// What a recovery kit says of a place.
    pub(super) describe: Box<Describe<'a>>,
}

impl Plumbing {
    /// The keys of a repository at these URLs.
    pub fn keys(&self, urls: &[String]) -> Keys<'_> {
        Keys {
            places: urls.to_vec(),
            clock: self.cx.clock.as_ref(),
            open: Box::new(|url, access| self.target(url, access)),
            describe: Box::new(|url| described(url, &self.places)),
        }
    }
}

impl Site {
    /// The keys of a policy's repository.
    pub fn keys<'a>(&'a self, policy: &'a Policy) -> Keys<'a> {
        let planned = |name: &str| {
            policy.targets.iter().find(|target| target.name.as_str() == name).ok_or_else(|| {
                AppError::Unknown { what: "target", name: name.to_owned(), known: String::new() }
            })
        };
        Keys {
            places: policy.targets.iter().map(|target| target.name.as_str().to_owned()).collect(),
            clock: self.cx.clock.as_ref(),
            open: Box::new(move |name, access| self.target(planned(name)?, access)),
            describe: Box::new(move |name| {
                let target = planned(name)?;
                described(&target.url, &place_options(target))
            }),
        }
    }
}

fn described(url: &str, options: &PlaceOptions) -> Result<kit::Place, Failure> {
    let place = Place::parse(url, options)?;
    let (endpoint, region) = match &place {
        Place::S3(options) => (options.endpoint.clone(), options.region.clone()),
        Place::Local(_) => (None, None),
    };
    Ok(kit::Place { url: place.label(), endpoint, region })
}

impl Keys<'_> {
    /// What opens the repository. Without a secret none of them is marked as opened.
    ///
    /// # Errors
    /// When no place answers, they hold different repositories, or the secret opens nothing.
    pub fn list(&self, secret: Option<&SlotSecret>) -> Result<KeyList, Failure> {
        let (mut lists, mut away, mut first) = (Vec::new(), Vec::new(), None);
        for url in &self.places {
            match (self.open)(url, Access::Read).and_then(|target| Ok((slots::list(&target)?, target))) {
                Ok(((id, list), target)) => lists.push((url.clone(), target, id, list)),
                Err(failure) => first = first.or(note(&mut away, url, failure)?),
            }
        }
        let Some((_, target, repository, _)) = lists.first() else { return Err(none_answered(first)) };
        let repository = *repository;
        if let Some((_, other, ..)) = lists.iter().find(|(_, _, id, _)| *id != repository) {
            let (first, second) = (target.storage.label().to_owned(), other.storage.label().to_owned());
            return Err(RepositoryError::Different { first, second }.into());
        }
        let opened = match secret {
            Some(secret) => {
                let targets: Vec<Target> = lists.iter().map(|(_, target, ..)| target.clone()).collect();
                Some(open_first(&targets, secret)?.slot().name)
            }
            None => None,
        };
        let mut all: Vec<SlotFacts> = Vec::new();
        for (url, _, _, list) in &lists {
            for slot in list {
                gather(&mut all, url, slot, opened);
            }
        }
        for slot in &mut all {
            let lacks = lists.iter().map(|(url, ..)| url).filter(|url| !slot.targets.contains(url));
            slot.missing = lacks.cloned().collect();
        }
        all.sort_by_key(|slot| (slot.put_at, slot.id));
        Ok(KeyList { repository, slots: all, away })
    }

    /// Adds a slot that `new` opens, for this role. One that it opens already is completed instead.
    ///
    /// # Errors
    /// When no place answers or none takes it, or `secret` opens no slot that may administer; when
    /// `new` opens one for another role.
    pub fn add(&self, secret: &SlotSecret, new: &SlotSecret, role: &Role) -> Result<SlotChange, Failure> {
        let (repository, away) = self.reach(secret)?;
        add(&repository, new, role, away)
    }

    /// Puts a slot in the place of the one that `secret` opens. The new one stands, and was opened,
    /// before the old one goes.
    ///
    /// # Errors
    /// As [`Self::add`]; when both are the same.
    pub fn replace(
        &self,
        secret: &SlotSecret,
        new: &SlotSecret,
    ) -> Result<(SlotChange, SlotChange), Failure> {
        let (repository, away) = self.reach(secret)?;
        let old = repository.slot().name;
        let added = add(&repository, new, &Role::Admin, away)?;
        if added.slot == old {
            return Err(AppError::Usage {
                what: "the new secret is the old one".to_owned(),
                hint: "name another file".to_owned(),
            }
            .into());
        }
        let reached = repository.targets().iter().filter(|target| added.targets.contains(&target.name));
        let repository = Repository::open(reached.cloned().collect(), new)?;
        let removed = take_away(&repository, old, secret.method().word(), added.away.clone())?;
        Ok((added, removed))
    }

    /// Begins a new epoch: what is stored from now on is sealed under a fresh key, for which `new` opens
    /// a slot. Gives that slot, and those that stand beside it and are of the past.
    ///
    /// # Errors
    /// As [`Self::add`]; when `new` opens a slot already; when another rotation ran at the same time.
    pub fn rotate(
        &self,
        secret: &SlotSecret,
        new: &SlotSecret,
    ) -> Result<(SlotChange, Vec<SlotFacts>), Failure> {
        let (repository, away) = self.reach(secret)?;
        let open = |target: &Target| Repository::open(vec![target.clone()], new).is_ok();
        if repository.targets().iter().any(open) {
            return Err(AppError::Usage {
                what: "the new secret opens a slot already".to_owned(),
                hint: "name a file that isn't there: a new epoch wants a new secret".to_owned(),
            }
            .into());
        }
        let rotated = slots::rotate(&repository)?;
        let slot = slots::make(&rotated, &Role::Admin, new, KdfParams::default())?;
        let added = put_everywhere(&rotated, &slot, new, &Role::Admin, away)?;
        let mut older = self.list(None)?.slots;
        older.retain(|slot| slot.id != added.slot);
        Ok((added, older))
    }

    /// Takes a slot away from every place. `secret` must open another one.
    ///
    /// # Errors
    /// When no slot is meant, or several; when it is the one that `secret` opens.
    pub fn remove(&self, secret: &SlotSecret, wanted: &str) -> Result<SlotChange, Failure> {
        let (repository, away) = self.reach(secret)?;
        let mut known: Vec<(ObjectHash, &'static str)> = Vec::new();
        for target in repository.targets() {
            known.extend(slots::list(target)?.1.iter().map(|slot| (slot.id, kind_of(slot))));
        }
        known.sort();
        known.dedup_by_key(|(id, _)| *id);
        let (id, kind) = named(&known, wanted)?;
        take_away(&repository, id, kind, away)
    }

    /// Opens the repository at the places that answer, for writing; the others come beside it.
    pub(super) fn reach(&self, secret: &SlotSecret) -> Result<(Repository, Vec<Away>), Failure> {
        let (mut targets, mut away, mut first) = (Vec::new(), Vec::new(), None);
        for url in &self.places {
            let found = (self.open)(url, Access::Write).and_then(|target| {
                slots::list(&target)?;
                Ok(target)
            });
            match found {
                Ok(target) => targets.push(target),
                Err(failure) => first = first.or(note(&mut away, url, failure)?),
            }
        }
        if targets.is_empty() {
            return Err(none_answered(first));
        }
        let opened = open_first(&targets, secret)?;
        for target in &targets {
            opened.same_at(target)?;
        }
        Ok((opened.with_targets(targets), away))
    }
}

/// Opens the repository at the first place whose slots the secret opens: one that was away when the
/// slot was added may lack it.
fn open_first(targets: &[Target], secret: &SlotSecret) -> Result<Repository, Failure> {
    let mut refused = None;
    for target in targets {
        match Repository::open(vec![target.clone()], secret) {
            Ok(repository) => return Ok(repository),
            Err(error @ RepositoryError::WrongKey { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.unwrap_or(RepositoryError::Defect { what: "opening a repository at no place" }).into())
}

fn add(
    repository: &Repository,
    new: &SlotSecret,
    role: &Role,
    away: Vec<Away>,
) -> Result<SlotChange, Failure> {
    let open = |target: &Target| Repository::open(vec![target.clone()], new).ok();
    let slot = match repository.targets().iter().find_map(open) {
        Some(opened) if opened.role() == *role => Arc::clone(opened.slot()),
        Some(_) => {
            return Err(AppError::Usage {
                what: "the new secret opens a slot already, for something else".to_owned(),
                hint: "name a file that isn't there, or take the other slot away first".to_owned(),
            }
            .into());
        }
        None => Arc::new(slots::make(repository, role, new, KdfParams::default())?),
    };
    put_everywhere(repository, &slot, new, role, away)
}

/// Puts a slot at every place; each is read back and opened. A host's certificate goes first.
pub(super) fn put_everywhere(
    repository: &Repository,
    slot: &KeyObject,
    secret: &SlotSecret,
    role: &Role,
    away: Vec<Away>,
) -> Result<SlotChange, Failure> {
    let kind = secret.method().word();
    everywhere(repository, slot.name, kind, away, |target| {
        slots::certify(repository, target, role)?;
        slots::put(repository, target, slot, secret).map(|_| ())
    })
}

fn take_away(
    repository: &Repository,
    id: ObjectHash,
    kind: &'static str,
    away: Vec<Away>,
) -> Result<SlotChange, Failure> {
    everywhere(repository, id, kind, away, |target| slots::remove(repository, target, &id).map(|_| ()))
}

/// Does it at every place; a place that fails is named beside those that are away.
fn everywhere(
    repository: &Repository,
    slot: ObjectHash,
    kind: &'static str,
    mut away: Vec<Away>,
    work: impl Fn(&Target) -> Result<(), RepositoryError>,
) -> Result<SlotChange, Failure> {
    let (mut targets, mut first) = (Vec::new(), None);
    for target in repository.targets() {
        match work(target) {
            Ok(()) => targets.push(target.name.clone()),
            Err(error) => {
                let failure = Failure::from(error);
                if matches!(failure.class(), Class::Refused | Class::WrongKey | Class::Usage) {
                    return Err(failure);
                }
                away.push(Away { target: target.name.clone(), reason: failure.message() });
                first = first.or(Some(failure));
            }
        }
    }
    match first {
        Some(failure) if targets.is_empty() => Err(failure),
        _ => Ok(SlotChange { slot, kind, targets, away }),
    }
}

/// Notes a place that doesn't answer, and gives the failure back; other failures end the command.
fn note(away: &mut Vec<Away>, url: &str, failure: Failure) -> Result<Option<Failure>, Failure> {
    let passes = matches!(
        failure.class(),
        Class::NoRepository | Class::Unreachable | Class::Denied | Class::NotFound | Class::Failed
    );
    if !passes {
        return Err(failure);
    }
    away.push(Away { target: url.to_owned(), reason: failure.message() });
    Ok(Some(failure))
}

fn none_answered(first: Option<Failure>) -> Failure {
    first.unwrap_or_else(|| {
        AppError::Usage {
            what: "no place was named".to_owned(),
            hint: "name one with --repo, or give the policy a target".to_owned(),
        }
        .into()
    })
}

fn kind_of(slot: &slots::Slot) -> &'static str {
    match &slot.about {
        Ok(head) => head.method.map_or("unknown", SlotMethod::word),
        Err(_) => "damaged",
    }
}

fn gather(all: &mut Vec<SlotFacts>, url: &str, slot: &slots::Slot, opened: Option<ObjectHash>) {
    let damage = slot.about.as_ref().err().map(|what| format!("at {url}: {what}"));
    if let Some(known) = all.iter_mut().find(|known| known.id == slot.id) {
        known.targets.push(url.to_owned());
        known.put_at = known.put_at.min(slot.put_at);
        known.damaged = known.damaged.take().or(damage);
        if known.kind == "damaged" {
            known.kind = kind_of(slot);
        }
        return;
    }
    let costs = slot.about.as_ref().ok().filter(|head| head.kdf.memory_kib > 0);
    all.push(SlotFacts {
        id: slot.id,
        kind: kind_of(slot),
        memory_kib: costs.map(|head| head.kdf.memory_kib),
        passes: costs.map(|head| head.kdf.passes),
        put_at: slot.put_at,
        targets: vec![url.to_owned()],
        missing: Vec::new(),
        opened: opened == Some(slot.id),
        damaged: damage,
    });
}

fn named(known: &[(ObjectHash, &'static str)], wanted: &str) -> Result<(ObjectHash, &'static str), Failure> {
    let digits = wanted.to_ascii_lowercase();
    let meant: Vec<_> = known.iter().filter(|(id, _)| id.to_hex().starts_with(&digits)).collect();
    let why = match meant.as_slice() {
        [one] if digits.len() >= DIGITS_MIN => return Ok(**one),
        [] => "no key slot begins with it",
        [_] => "that is too short to be sure",
        _ => "several key slots begin with it",
    };
    Err(AppError::Slot { wanted: wanted.to_owned(), why }.into())
}
