//! With the key: what is missing, and which snapshots it hurts.
//!
//! An index run may name packs that are gone: a sweep took them, when nothing needed them any more
//! or all of it had been moved. So the manifests are asked, blob by blob, whether what they need is
//! somewhere. What seems to be missing is believed only when `i/` stands still: a sweep that goes
//! on meanwhile moves things.

use std::collections::{HashMap, HashSet};

use super::{Depth, Findings, HurtSnapshot, VerifyOutcome, count, lock, read_all};
use crate::base::error::Chain;
use crate::base::id::ObjectHash;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::hurt::{self, Hurt};
use crate::repository::access::{Repository, Target};
use crate::repository::format::names::{PackClass, index_name, pack_name};
use crate::repository::format::snapshot::PackSetRef;
use crate::repository::index::Index;
use crate::repository::load::{self, Loaded};
use crate::repository::needs;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::ObjectName;

/// How often is looked again when what is stored changes meanwhile.
const LOOKS_MAX: usize = 10;

/// What one look found.
#[derive(Default)]
struct Judged {
    problems: Vec<(String, String)>,
    missing: Vec<ObjectName>,
    hurt: Vec<HurtSnapshot>,
    whole: Vec<ObjectHash>,
    snapshots: usize,
}

/// Packs that cannot be relied on.
#[derive(Default)]
struct Lost {
    /// Damaged or absent.
    all: HashSet<ObjectHash>,
    /// Absent.
    absent: HashMap<ObjectHash, PackClass>,
}

/// What the snapshots need must be there; what is bad or missing hurts them. Backups and prunes may
/// go on meanwhile: snapshots are listed before the runs, and the runs before what they name is
/// looked for, so that what a writer puts first is never missed; it is read now.
pub(super) fn find(
    repository: &Repository,
    target: &Target,
    findings: &Findings,
    outcome: &mut VerifyOutcome,
    cx: &Context,
) -> Result<(), EngineError> {
    let mut looks = 0;
    let judged = loop {
        looks += 1;
        let (snapshots, unreadable) = snapshots::load_all(repository, target)?;
        let loaded = load::load(repository, std::slice::from_ref(target))?;
        let lost = find_lost(repository, target, &loaded.index, findings, outcome.depth, cx)?;
        let mut look =
            Look { repository, target, loaded: &loaded, lost: &lost, cx, judged: Judged::default() };
        look.judge(&snapshots)?;
        let mut judged = look.judged;
        for (name, error) in &unreadable {
            // Forgotten since it was listed.
            if target.storage.head(&name.confirmation())?.is_none() {
                continue;
            }
            judged.snapshots += 1;
            judged.problems.push((name.proposal().to_string(), Chain(error).to_string()));
            let named = vec!["the snapshot itself".to_owned()];
            judged.hurt.push(HurtSnapshot { snapshot: name.id, paths: 0, named });
        }
        for (id, error) in &loaded.damaged {
            judged.problems.push((format!("index run {id}"), Chain(error).to_string()));
        }
        let is_calm = judged.hurt.is_empty() && judged.problems.is_empty();
        if is_calm || looks == LOOKS_MAX || loaded.listed.first() == Some(&load::list_runs(target)?) {
            break judged;
        }
    };
    for (object, what) in judged.problems {
        findings.add(object, what);
    }
    for name in judged.missing {
        findings.add_bad(&name, "is missing".to_owned());
    }
    outcome.snapshots = count(judged.snapshots);
    (outcome.whole, outcome.hurt) = (judged.whole, judged.hurt);
    Ok(())
}

struct Look<'l> {
    repository: &'l Repository,
    target: &'l Target,
    loaded: &'l Loaded,
    lost: &'l Lost,
    cx: &'l Context,
    judged: Judged,
}

impl Look<'_> {
    fn judge(&mut self, snapshots: &[Snapshot]) -> Result<(), EngineError> {
        for snapshot in snapshots {
            if self.cx.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let proposal = snapshot.name.proposal();
            let found = self.hurt(snapshot)?;
            if found.is_some() && self.target.storage.head(&proposal)?.is_none() {
                // Forgotten since it was listed, and what only it needed was swept.
                continue;
            }
            self.judged.snapshots += 1;
            if !snapshot.signed {
                let what = "carries no signature that verifies".to_owned();
                self.judged.problems.push((proposal.to_string(), what));
            }
            match found {
                None => self.judged.whole.push(snapshot.id),
                Some(Hurt { count, named, packs }) => {
                    self.name_missing(snapshot, &packs)?;
                    self.judged.hurt.push(HurtSnapshot { snapshot: snapshot.id, paths: count, named });
                }
            }
        }
        Ok(())
    }

    /// What is hurt of a snapshot, if anything.
    fn hurt(&mut self, snapshot: &Snapshot) -> Result<Option<Hurt>, EngineError> {
        let Self { repository, target, loaded, lost, cx, .. } = *self;
        let index = &loaded.index;
        let found = hurt::paths(repository, target, index, snapshot, &lost.all, cx)?;
        match needs::packs_of(repository, target, index, snapshot) {
            // A damaged pack of the set hurts nobody when all that is needed of it stands elsewhere.
            Ok(_) => Ok(found),
            Err(error) => {
                let what = Chain(&error).to_string();
                self.judged.problems.push((format!("snapshot {}", snapshot.id.short()), what));
                let mut hurt = found.unwrap_or_default();
                if let PackSetRef::Blob(id) = &snapshot.body.pack_set {
                    hurt.packs.extend(hurt::packs_of(index, id)?);
                }
                Ok(Some(hurt))
            }
        }
    }

    /// Names the objects whose absence hurts a snapshot.
    fn name_missing(&mut self, snapshot: &Snapshot, packs: &HashSet<ObjectHash>) -> Result<(), EngineError> {
        for (hash, class) in packs.iter().filter_map(|hash| Some((hash, self.lost.absent.get(hash)?))) {
            self.judged.missing.push(pack_name(*class, hash));
        }
        let needed = needs::packs_of(self.repository, self.target, &self.loaded.index, snapshot);
        let mut lacks_a_run = needed.is_err();
        for (class, hash) in needed.unwrap_or_default() {
            if self.loaded.index.number_of(&hash)?.is_none() {
                lacks_a_run = true;
                let name = pack_name(class, &hash).to_string();
                self.judged.problems.push((name, "is in no index run".to_owned()));
            }
        }
        let listed = self.loaded.listed.first().map(Vec::as_slice).unwrap_or_default();
        let gone = snapshot.body.index_runs.iter().filter(|run| listed.binary_search(run).is_err());
        // Where every pack is in a run, the one that is gone is not what is lacking.
        for run in gone.filter(|_| lacks_a_run) {
            self.judged.problems.push((index_name(0, run).to_string(), "is missing".to_owned()));
        }
        Ok(())
    }
}

/// The packs that the runs name and that are bad or missing. Those that came after the listing are
/// read now.
fn find_lost(
    repository: &Repository,
    target: &Target,
    index: &Index,
    findings: &Findings,
    depth: Depth,
    cx: &Context,
) -> Result<Lost, EngineError> {
    let (mut late, mut lost) = (Vec::new(), Lost::default());
    for pack in index.packs() {
        let (_, pack) = pack?;
        let name = pack_name(pack.class, &pack.hash);
        if !lock(&findings.seen).contains(&name) {
            match target.storage.head(&name)? {
                Some(stat) => late.push(stat),
                None => drop(lost.absent.insert(pack.hash, pack.class)),
            }
        }
    }
    read_all(target, &late, (depth == Depth::Blobs).then_some(repository), findings, cx)?;
    lost.all.extend(lost.absent.keys());
    let bad = lock(&findings.bad);
    for pack in index.packs().filter(|_| !bad.is_empty()) {
        let (_, pack) = pack?;
        if bad.contains(&pack_name(pack.class, &pack.hash)) {
            lost.all.insert(pack.hash);
        }
    }
    Ok(lost)
}
