//! Finding what is hurt at a target, and how each piece can be made whole. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::outcome::{Means, State, Step, StepEnd};
use crate::base::error::Chain;
use crate::base::id::ObjectHash;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::hurt;
use crate::engine::verify::{self, Examined};
use crate::repository::access::{Repository, Target};
use crate::repository::commit::fetch_checked;
use crate::repository::error::RepositoryError;
use crate::repository::format::names::{
    KeyKind, PackClass, REPO_FMT, SnapshotEntry, SnapshotName, content_hash, index_name, pack_name,
    parse_index_name, parse_key_name, parse_snapshot_name,
};
use crate::repository::format::snapshot::confirmation_body;
use crate::repository::index::Index;
use crate::repository::load::{self, Loaded};
use crate::repository::mend;
use crate::repository::needs;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::contract::{ObjectName, Read, Span, list_all};

/// A target and what may mend it.
pub(super) struct Ground<'a> {
    pub(super) repository: &'a Repository,
    pub(super) target: &'a Target,
    pub(super) sources: &'a [Target],
    /// Whose key signs what has to be made anew.
    pub(super) host: &'a str,
    pub(super) cx: &'a Context,
}

/// What was found.
pub(super) struct Survey {
    pub(super) examined: Examined,
    pub(super) steps: Vec<Step>,
    /// Objects whose bytes need no other copy.
    pub(super) known: HashMap<ObjectName, Bytes>,
    /// Names that a snapshot has on other targets, by its id.
    pub(super) elsewhere: HashMap<ObjectHash, Vec<(usize, SnapshotName)>>,
}

impl Survey {
    pub(super) fn make(ground: &Ground<'_>) -> Result<Self, EngineError> {
        let examined = verify::examine(ground.target, ground.repository, ground.cx)?;
        let mut survey =
            Self { examined, steps: Vec::new(), known: HashMap::new(), elsewhere: elsewhere(ground)? };
        let snapshots = survey.snapshots(ground)?;
        survey.know(ground, &snapshots)?;
        survey.damaged(ground)?;
        survey.missing_keys(ground)?;
        survey.missing_packs(ground, &snapshots)?;
        survey.steps.sort_by_key(|step| (turn(step), step.object.clone()));
        survey.steps.dedup_by(|a, b| a.object == b.object);
        Ok(survey)
    }

    fn push(&mut self, object: ObjectName, state: State, means: Means) {
        self.steps.push(Step { object, state, means, end: StepEnd::Planned });
    }

    /// The snapshots that are valid at the target, checkpoints too; a damaged one as another target
    /// has it.
    fn snapshots(&mut self, ground: &Ground<'_>) -> Result<Vec<Snapshot>, EngineError> {
        let (mut found, unreadable) = snapshots::load_with_checkpoints(ground.repository, ground.target)?;
        let headless: HashSet<ObjectHash> = snapshots::list(ground.target, Some(ground.repository.format()))?
            .headless
            .iter()
            .map(|name| name.id)
            .collect();
        for (name, _) in unreadable {
            let mut from = None;
            for (number, there) in self.elsewhere.get(&name.id).into_iter().flatten() {
                let source = &ground.sources[*number];
                let writers = ground.repository.writers(source)?;
                if let Ok(snapshot) = snapshots::load(ground.repository, source, &writers, there) {
                    found.push(snapshot);
                    from = Some(source.name.clone());
                    break;
                }
            }
            // A damaged confirmation is a poor witness; what becomes of it is planned with the rest.
            if headless.contains(&name.id) && !self.examined.bad.contains(&name.confirmation()) {
                let nobody = || Means::Nothing { why: "no place that was named has the snapshot".to_owned() };
                let means = from.map_or_else(nobody, |from| Means::Commit { from });
                self.push(name.proposal(), State::Missing, means);
            }
        }
        Ok(found)
    }

    /// What needs no other copy: `repo.fmt`, confirmations, the certificates of the hosts that
    /// made the snapshots.
    fn know(&mut self, ground: &Ground<'_>, snapshots: &[Snapshot]) -> Result<(), EngineError> {
        self.known.insert(REPO_FMT.clone(), Bytes::from(ground.repository.format().encode()));
        for name in &self.examined.bad {
            if let Some(SnapshotEntry::Confirmation(snapshot)) = parse_snapshot_name(name)
                && self.examined.listed.contains(&snapshot.proposal())
            {
                let body = Bytes::copy_from_slice(&confirmation_body(&snapshot.id));
                self.known.insert(name.clone(), body);
            }
        }
        let hosts: BTreeSet<&str> = snapshots.iter().map(|snapshot| snapshot.body.host.as_str()).collect();
        for host in hosts {
            // Only the administrator's key makes one; without it another target has to.
            let Ok((name, bytes)) = ground.repository.certificate(host) else { continue };
            if !self.examined.listed.contains(&name) {
                self.push(name.clone(), State::Missing, Means::Known);
            }
            self.known.insert(name, bytes);
        }
        Ok(())
    }

    fn damaged(&mut self, ground: &Ground<'_>) -> Result<(), EngineError> {
        let listed = |name: &&ObjectName| self.examined.listed.contains(*name);
        let damaged: Vec<ObjectName> = self.examined.bad.iter().filter(listed).cloned().collect();
        let has_slot = self.has_slot();
        let condemned = mend::condemned(ground.repository, ground.target);
        for name in damaged {
            let means = self.means(ground, &name, has_slot, condemned.as_ref())?;
            self.push(name, State::Damaged, means);
        }
        if !self.examined.listed.contains(&*REPO_FMT) {
            self.push(REPO_FMT.clone(), State::Missing, Means::Known);
        } else if !self.examined.bad.contains(&*REPO_FMT) {
            // Sound in itself, and yet another one than every key slot names.
            let there = ground.target.storage.get(&REPO_FMT, Span::Whole, Read::Medium)?;
            if self.known.get(&*REPO_FMT).is_some_and(|known| *known != there) {
                self.push(REPO_FMT.clone(), State::Damaged, Means::Known);
            }
        }
        Ok(())
    }

    fn means(
        &self,
        ground: &Ground<'_>,
        name: &ObjectName,
        has_slot: bool,
        condemned: Result<&HashSet<ObjectHash>, &RepositoryError>,
    ) -> Result<Means, EngineError> {
        let nothing = |why: &str| Ok(Means::Nothing { why: why.to_owned() });
        if self.known.contains_key(name) {
            return Ok(Means::Known);
        }
        if let Some(SnapshotEntry::Confirmation(snapshot)) = parse_snapshot_name(name) {
            let is_litter = !ground.sources.is_empty() && !self.elsewhere.contains_key(&snapshot.id);
            return if is_litter {
                Ok(Means::SetAside)
            } else {
                nothing("the snapshot that it confirms is not here")
            };
        }
        if name.as_str().starts_with("g/") {
            return nothing("a sweep plan stands on one target alone, and no other has it");
        }
        if PackClass::of_name(name).is_some() {
            match (condemned, content_hash(name)) {
                (Err(error), _) => {
                    return Ok(Means::Nothing {
                        why: format!("a sweep plan there cannot be read, and may name it: {}", Chain(error)),
                    });
                }
                (Ok(named), Some(hash)) if named.contains(&hash) => {
                    return nothing("a sweep plan names it: the sweep moves what is still needed of it");
                }
                (Ok(_), Some(hash)) if mend::from_parity(ground.target, name, &hash)?.is_some() => {
                    return Ok(Means::Parity);
                }
                _ => {}
            }
        }
        if let Some(from) = self.source_of(ground, name)? {
            return Ok(Means::Copy { from });
        }
        if let Some(SnapshotEntry::Proposal(snapshot)) = parse_snapshot_name(name) {
            let is_confirmed = self.examined.listed.contains(&snapshot.confirmation());
            return if is_confirmed {
                nothing("no place that was named has the snapshot whole")
            } else {
                Ok(Means::SetAside)
            };
        }
        if parse_index_name(name).is_some() {
            return Ok(Means::Rebuild);
        }
        let is_slot = matches!(parse_key_name(name), Some((KeyKind::Slot, _)));
        if is_slot && !has_slot {
            return nothing("no place that was named has this key slot whole, and no other slot is here");
        }
        Ok(Means::SetAside)
    }

    /// Whether a key slot of the target is what its name says.
    fn has_slot(&self) -> bool {
        let is_slot = |name: &ObjectName| matches!(parse_key_name(name), Some((KeyKind::Slot, _)));
        self.examined.listed.iter().any(|name| is_slot(name) && !self.examined.bad.contains(name))
    }

    /// The first source that has an object with the right bytes.
    fn source_of(&self, ground: &Ground<'_>, name: &ObjectName) -> Result<Option<String>, EngineError> {
        let Some(expected) = content_hash(name) else { return Ok(None) };
        for (number, source) in ground.sources.iter().enumerate() {
            for name in self.names_at(number, name) {
                match fetch_checked(std::slice::from_ref(source), &name, &expected) {
                    Ok(_) => return Ok(Some(source.name.clone())),
                    Err(RepositoryError::Damage { .. }) => {}
                    Err(error) => {
                        let warning = format!("{} cannot be asked for {name}: {error}", source.name);
                        ground.cx.progress.warn(warning);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The names under which a source may have an object: the same, but for the nonces of snapshots.
    pub(super) fn names_at(&self, source: usize, name: &ObjectName) -> Vec<ObjectName> {
        match parse_snapshot_name(name) {
            Some(SnapshotEntry::Proposal(snapshot)) => {
                let there = self.elsewhere.get(&snapshot.id).into_iter().flatten();
                there.filter(|(number, _)| *number == source).map(|(_, name)| name.proposal()).collect()
            }
            _ => vec![name.clone()],
        }
    }

    /// Without any slot that is whole the repository cannot be opened here: those of the sources.
    /// (A slot that is missing beside others may have been taken away on purpose.)
    fn missing_keys(&mut self, ground: &Ground<'_>) -> Result<(), EngineError> {
        if self.has_slot() {
            return Ok(());
        }
        for source in ground.sources {
            for stat in list_all(source.storage.as_ref(), "keys/slot-")? {
                let is_slot = matches!(parse_key_name(&stat.name), Some((KeyKind::Slot, _)));
                if is_slot
                    && !self.examined.listed.contains(&stat.name)
                    && let Some(from) = self.source_of(ground, &stat.name)?
                {
                    self.push(stat.name, State::Missing, Means::Copy { from });
                }
            }
        }
        Ok(())
    }

    /// Packs and runs that a snapshot needs and that are not there. What snapshots find elsewhere
    /// is not brought back: it may have been removed on purpose.
    fn missing_packs(&mut self, ground: &Ground<'_>, snapshots: &[Snapshot]) -> Result<(), EngineError> {
        let own = load::load(ground.repository, std::slice::from_ref(ground.target))?;
        let mut everybody = vec![ground.target.clone()];
        everybody.extend(ground.sources.iter().cloned());
        let all = load::load(ground.repository, &everybody)?;
        let mut missing: BTreeMap<ObjectName, ObjectHash> = BTreeMap::new();
        let mut runs: BTreeSet<ObjectHash> = BTreeSet::new();
        for snapshot in snapshots {
            let Some(needed) = packs_of(ground, &everybody, &all.index, snapshot) else {
                runs.extend(&snapshot.body.index_runs);
                continue;
            };
            let is_listed = |(class, hash): &(PackClass, ObjectHash)| {
                self.examined.listed.contains(&pack_name(*class, hash))
            };
            let mut unindexed = false;
            for (_, hash) in &needed {
                unindexed |= own.index.number_of(hash)?.is_none();
            }
            if unindexed {
                runs.extend(&snapshot.body.index_runs);
            }
            let absent: Vec<(PackClass, ObjectHash)> =
                needed.iter().filter(|pack| !is_listed(pack)).copied().collect();
            if absent.is_empty() {
                continue;
            }
            let lost = self.lost(&absent);
            if unindexed || self.is_hurt(ground, &own.index, snapshot, &lost)? {
                missing.extend(absent.into_iter().map(|(class, hash)| (pack_name(class, &hash), hash)));
            }
        }
        self.plan_missing(ground, &own, &all, missing, &runs)
    }

    fn plan_missing(
        &mut self,
        ground: &Ground<'_>,
        own: &Loaded,
        all: &Loaded,
        missing: BTreeMap<ObjectName, ObjectHash>,
        runs: &BTreeSet<ObjectHash>,
    ) -> Result<(), EngineError> {
        let condemned = mend::condemned(ground.repository, ground.target);
        let mut will_be: HashSet<ObjectHash> = HashSet::new();
        for (name, hash) in missing {
            let means = match &condemned {
                Ok(named) if !named.contains(&hash) => match self.source_of(ground, &name)? {
                    Some(from) => Means::Copy { from },
                    None => Means::Nothing {
                        why: "no place that was named has it: the next full backup stores anew what the \
                              source still has"
                            .to_owned(),
                    },
                },
                _ => Means::Nothing { why: "a sweep plan names it, or cannot be read".to_owned() },
            };
            if matches!(means, Means::Copy { .. }) {
                will_be.insert(hash);
            }
            self.push(name, State::Missing, means);
        }
        let listed = own.listed.first().map(Vec::as_slice).unwrap_or_default();
        for run in runs.iter().filter(|run| listed.binary_search(run).is_err()) {
            // A run stands only where all its packs are.
            let mut complete = false;
            if let Some(packs) = all.index.packs_of_run(run)? {
                complete = packs.iter().all(|pack| {
                    will_be.contains(&pack.hash)
                        || self.examined.listed.contains(&pack_name(pack.class, &pack.hash))
                });
            }
            let name = index_name(0, run);
            let from = if complete { self.source_of(ground, &name)? } else { None };
            let means = from.map_or(Means::Rebuild, |from| Means::Copy { from });
            self.push(name, State::Missing, means);
        }
        Ok(())
    }

    /// Packs that count as lost: damaged ones and these.
    fn lost(&self, absent: &[(PackClass, ObjectHash)]) -> HashSet<ObjectHash> {
        let bad = self.examined.bad.iter().filter(|name| PackClass::of_name(name).is_some());
        absent.iter().map(|(_, hash)| *hash).chain(bad.filter_map(content_hash)).collect()
    }

    fn is_hurt(
        &self,
        ground: &Ground<'_>,
        index: &Index,
        snapshot: &Snapshot,
        lost: &HashSet<ObjectHash>,
    ) -> Result<bool, EngineError> {
        Ok(hurt::paths(ground.repository, ground.target, index, snapshot, lost, ground.cx)?.is_some())
    }
}

/// The pack set of a snapshot, from whoever can still give it.
fn packs_of(
    ground: &Ground<'_>,
    everybody: &[Target],
    index: &Index,
    snapshot: &Snapshot,
) -> Option<BTreeSet<(PackClass, ObjectHash)>> {
    everybody.iter().find_map(|place| needs::packs_of(ground.repository, place, index, snapshot).ok())
}

/// The names of each snapshot on the sources, confirmed or not: its bytes are the same.
fn elsewhere(ground: &Ground<'_>) -> Result<HashMap<ObjectHash, Vec<(usize, SnapshotName)>>, EngineError> {
    let mut names: HashMap<ObjectHash, Vec<(usize, SnapshotName)>> = HashMap::new();
    for (number, source) in ground.sources.iter().enumerate() {
        for stat in list_all(source.storage.as_ref(), "s/")? {
            if let Some(SnapshotEntry::Proposal(name)) = parse_snapshot_name(&stat.name) {
                names.entry(name.id).or_default().push((number, name));
            }
        }
    }
    Ok(names)
}

/// The order in which objects are mended: what opens the repository first, what leans on others
/// after them.
fn turn(step: &Step) -> u8 {
    let name = step.object.as_str();
    match (&step.means, name.split('/').next()) {
        (Means::SetAside, _) => 8,
        (Means::Rebuild, _) => 7,
        (Means::Commit { .. }, _) => 6,
        (_, Some("repo.fmt")) => 0,
        (_, Some("keys")) => 1,
        (_, Some("m")) => 2,
        (_, Some("p")) => 3,
        (_, Some("s")) => 4,
        _ => 5,
    }
}
