//! Carrying plans out: the seven steps of docs/format.md, "Sweep", in their order.
//!
//! A sweeper may stop anywhere; another one, or the next run, starts over at step 1 and finds what
//! was done. So nothing is kept between runs, and nothing needs a lock.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::mark::{self, Mark};
use super::moves::Mover;
use super::packs::{Packs, Stored};
use super::plans::{self, Standing};
use super::roots::{self, Roots};
use super::rows::RowSet;
use super::steps::{Step, Sweeping};
use super::survey::survey;
use super::{SweepError, guard};
use crate::base::clock::Timestamp;
use crate::base::entropy;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::format::names::{SnapshotName, content_hash, done_name, pack_name};
use crate::repository::index::Location;
use crate::repository::presence;
use crate::repository::{load, snapshots};
use crate::storage::contract::{Distance, ObjectName, StorageError};

/// After a look, packs are deleted for this long; then it is made again.
const LOOK_LASTS: Duration = Duration::from_hours(1);
/// A plan that was seen to stand is taken to stand for this long.
const PLAN_LASTS: Duration = Duration::from_mins(10);
/// A plan stays visible for at least this long after it was carried out.
pub(super) const TAIL_MIN: Duration = Duration::from_hours(24);
/// So many looks in a row may be spoilt by others before the work ends with what was done.
const SPOILT_MAX: usize = 10;
/// Packs that are deleted between two looks at the clock.
const DELETES_AT_ONCE: usize = 256;
/// Deletions under way at a far place.
const DELETES_FAR: usize = 8;

/// What a sweeper goes by.
#[derive(Clone, Copy, Debug)]
pub struct SweepRules {
    /// A plan is carried out when it was visible for this long, by the target's clock.
    pub grace: Duration,
    /// Bytes to be moved, at most; with it a sweep can be done bit by bit.
    pub max_move_bytes: Option<u64>,
    /// That the clock is right is known.
    pub accept_clock: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Plans that wait for their grace.
    pub plans_waiting: u64,
    /// Plans that were carried out in whole.
    pub plans_done: u64,
    /// Plans that were deleted, their time being over.
    pub plans_ended: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// Packs written.
    pub packs_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Blobs moved.
    pub blobs_moved: u64,
    /// Snapshot objects deleted: forgotten ones, and proposals that nobody confirmed.
    pub snapshots_deleted: u64,
    /// Packs left for another run, because enough was moved.
    pub packs_left: u64,
    /// Index runs that went because a joined one says what they said.
    pub runs_joined: u64,
    /// Joined index runs written.
    pub runs_written: u64,
    /// What the place refused to delete.
    pub refused: Vec<String>,
}

/// Carries out the plans that are ripe, and ends those whose time is over. `ready` may hold what is
/// live: it is used as long as it holds everything.
///
/// # Errors
/// `Hurt`, `ShortList`, `Headless`, `Clock`; `NoRoom`; whatever the target says. What was done is
/// in the report then, too.
pub fn sweep(
    cx: &Sweeping<'_>,
    rules: &SweepRules,
    now: Timestamp,
    mut ready: Option<Mark>,
    report: &mut Report,
) -> Result<(), SweepError> {
    let mut spared = HashSet::new();
    let mut spoilt = 0;
    loop {
        cx.check()?;
        let before = (report.packs_deleted, spared.len());
        let mut pass = Pass { cx, rules, now, report: &mut *report, spared: &mut spared };
        match pass.run(ready.take()) {
            Err(SweepError::Again { place }) => {
                let has_moved_on = before != (report.packs_deleted, spared.len());
                spoilt = if has_moved_on { 0 } else { spoilt + 1 };
                if spoilt > SPOILT_MAX {
                    return Err(SweepError::Unsettled { place });
                }
            }
            other => return other,
        }
    }
}

struct Pass<'s> {
    cx: &'s Sweeping<'s>,
    rules: &'s SweepRules,
    now: Timestamp,
    report: &'s mut Report,
    /// Snapshot objects that the place refused to delete.
    spared: &'s mut HashSet<SnapshotName>,
}

/// When what was last seen.
struct Looked {
    /// Step 2.
    roots: Duration,
    /// `g/`.
    plans: Duration,
}

impl Pass<'_> {
    fn run(&mut self, ready: Option<Mark>) -> Result<(), SweepError> {
        let cx = self.cx;
        let started = cx.clock.monotonic();
        let standing = plans::list(cx)?;
        cx.reached(Step::PlansSeen)?;
        let active = self.settle(&standing)?;
        if active.is_empty() && !self.has_requests()? {
            return Ok(());
        }
        let mut looked = Looked { roots: cx.clock.monotonic(), plans: started };
        let roots = roots::look(cx, &active, &standing, self.spared)?;
        cx.reached(Step::RootsSeen)?;
        if active.is_empty() {
            // Forgotten snapshots go without a plan: nobody may build on them any more.
            return self.delete_snapshots(&roots);
        }
        let mark = self.marked(&roots, ready)?;
        cx.reached(Step::Marked)?;
        self.delete_snapshots(&roots)?;
        let condemned = plans::condemned(&standing);
        let packs = Packs::list(cx, &mark.index, mark.rows.packs())?;
        let swept = plans::condemned(active.iter().copied());
        let homeless = homeless(cx, &mark, &packs, &condemned, &swept)?;
        cx.reached(Step::HomesSeen)?;
        let known = standing.iter().map(|plan| plan.name.clone()).collect();
        let fate = Fate { swept: &swept, homeless: &homeless, plans: known };
        self.sweep(&active, &mark, &packs, fate, &mut looked)?;
        for plan in active {
            self.finish(plan)?;
        }
        Ok(())
    }

    /// Whether a snapshot is there that is to be forgotten.
    fn has_requests(&self) -> Result<bool, SweepError> {
        let format = self.cx.repository.format();
        Ok(!snapshots::list(self.cx.target, Some(format))?.forgotten.is_empty())
    }

    /// What is live: as it was marked before, if nothing was added since.
    fn marked(&self, roots: &Roots, ready: Option<Mark>) -> Result<Mark, SweepError> {
        let cx = self.cx;
        let mark = match ready {
            Some(ready) if ready.covers(roots, &load::list_runs(cx.target)?) => ready,
            _ => mark::mark(cx, roots)?,
        };
        if !self.rules.accept_clock {
            guard::clock(cx, mark.newest)?;
        }
        Ok(mark)
    }

    /// The plans to be carried out now. Those whose time is over are ended.
    fn settle<'p>(&mut self, standing: &'p [Standing]) -> Result<Vec<&'p Standing>, SweepError> {
        let mut active = Vec::new();
        self.report.plans_waiting = 0;
        for plan in standing {
            if !self.rules.grace.is_zero() && plan.seen.plus(self.rules.grace) > self.now {
                self.report.plans_waiting += 1;
                continue;
            }
            let newest = plan.done.iter().map(|(_, seen)| *seen).max();
            match newest {
                Some(done) if self.is_over(plan)? => {
                    if done.plus(self.rules.grace.max(TAIL_MIN)) <= self.now {
                        self.end(plan)?;
                    }
                }
                _ => active.push(plan),
            }
        }
        Ok(active)
    }

    /// Whether everything that a plan names is gone.
    fn is_over(&self, plan: &Standing) -> Result<bool, SweepError> {
        let storage = self.cx.target.storage.as_ref();
        let packs = plan.body.condemned();
        if presence::missing(self.cx.target, packs)?.len() < packs.len() {
            return Ok(false);
        }
        for name in plan.body.proposals() {
            if let Ok(name) = ObjectName::new(name.as_str())
                && storage.head(&name)?.is_some()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Step 7, its end: the plan goes, then its marks. A confirmation that came too late for a
    /// proposal of it is litter.
    fn end(&mut self, plan: &Standing) -> Result<(), SweepError> {
        for name in plan.body.proposals() {
            if let Ok(late) = ObjectName::new(format!("{name}.ok")) {
                self.delete(&late)?;
            }
        }
        if self.delete(&plan.name)? {
            for (mark, _) in &plan.done {
                self.delete(mark)?;
            }
            self.report.plans_ended += 1;
        }
        self.cx.target.storage.sync()?;
        self.cx.reached(Step::PlanEnded)
    }

    /// Deletes an object; `false` when the place refuses.
    fn delete(&mut self, name: &ObjectName) -> Result<bool, SweepError> {
        match self.cx.target.storage.delete(name) {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => {
                self.report.refused.push(Chain(&error).to_string());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Step 3: before any pack. What cannot be deleted counts again: back to step 2.
    fn delete_snapshots(&mut self, roots: &Roots) -> Result<(), SweepError> {
        let spared = self.spared.len();
        for (name, is_confirmed) in &roots.doomed {
            self.cx.check()?;
            let unconfirmed = !is_confirmed || self.delete(&name.confirmation())?;
            if unconfirmed && self.delete(&name.proposal())? {
                self.report.snapshots_deleted += 1;
            } else {
                self.spared.insert(name.clone());
            }
        }
        self.cx.target.storage.sync()?;
        if self.spared.len() > spared {
            return Err(SweepError::Again { place: self.cx.place() });
        }
        self.cx.reached(Step::ProposalsDeleted)
    }

    /// Steps 5 and 6: what holds nothing live goes at once and makes room; the others when what is
    /// live in them is safe.
    fn sweep(
        &mut self,
        active: &[&Standing],
        mark: &Mark,
        packs: &Packs,
        fate: Fate<'_>,
        looked: &mut Looked,
    ) -> Result<(), SweepError> {
        let Fate { swept, homeless, plans } = fate;
        let (mut dead, mut last, mut sources) = (Vec::new(), Vec::new(), BTreeMap::new());
        for pack in swept.iter().filter_map(|hash| packs.named(hash)) {
            let mut rows = Vec::new();
            for number in packs.numbers_of(&pack.hash) {
                let live: Vec<u32> = homeless.to_move.of_pack(&mark.rows, number).collect();
                if !live.is_empty() {
                    rows.push((number, live));
                }
            }
            if rows.is_empty() {
                if homeless.spare.contains(&pack.hash) { last.push(*pack) } else { dead.push(*pack) }
            } else {
                // Neighbours in time stay neighbours.
                sources.insert((pack.class, pack.modified, pack.hash), (*pack, rows));
            }
        }
        dead.sort_unstable_by_key(|pack| pack.hash);
        let moving = sources.values().map(|(pack, _): &(Stored, Vec<_>)| pack.bytes);
        let bytes = dead.iter().chain(&last).map(|pack| pack.bytes).chain(moving).sum();
        let items = u64::try_from(dead.len() + last.len() + sources.len()).unwrap_or(u64::MAX);
        self.cx.progress.phase("prune", Some(items), Some(bytes));
        self.delete_packs(active, &dead, looked)?;
        self.cx.reached(Step::DeadDeleted)?;
        if !sources.is_empty() {
            let mut mover = Mover::new(self.cx, &mark.index, plans)?;
            let mut waiting = Waiting { spare: &homeless.spare, packs: last };
            let outcome = self.move_all(active, &mut mover, sources.into_values(), &mut waiting, looked);
            let figures = mover.figures;
            self.report.packs_written += figures.packs;
            self.report.bytes_written += figures.bytes;
            self.report.blobs_moved += figures.blobs;
            outcome?;
        }
        self.cx.progress.phase_finished("prune");
        Ok(())
    }

    fn move_all(
        &mut self,
        active: &[&Standing],
        mover: &mut Mover<'_>,
        sources: impl Iterator<Item = (Stored, Vec<(u32, Vec<u32>)>)>,
        waiting: &mut Waiting<'_>,
        looked: &mut Looked,
    ) -> Result<(), SweepError> {
        let mut are_all_moved = true;
        for (source, rows) in sources {
            let is_enough = |max: u64| mover.figures.blob_bytes >= max;
            if self.rules.max_move_bytes.is_some_and(is_enough) {
                self.report.packs_left += 1;
                are_all_moved = false;
                continue;
            }
            self.cx.check()?;
            for (number, rows) in rows {
                match mover.take(number, &source, &rows) {
                    Err(error @ SweepError::NoRoom { .. }) => {
                        return self.make_room(active, mover, waiting, looked, error);
                    }
                    taken => taken?,
                }
            }
            self.delete_packs(active, &waiting.free(mover.emptied()), looked)?;
        }
        match mover.close_pack().and_then(|()| mover.list()) {
            Err(error @ SweepError::NoRoom { .. }) => {
                return self.make_room(active, mover, waiting, looked, error);
            }
            closed => closed?,
        }
        self.delete_packs(active, &waiting.free(mover.emptied()), looked)?;
        if are_all_moved {
            self.delete_packs(active, &waiting.packs, looked)?;
        } else {
            self.report.packs_left += u64::try_from(waiting.packs.len()).unwrap_or(0);
        }
        self.cx.reached(Step::SourcesDeleted)
    }

    /// The place is full: what was moved so far lets some packs go, and then there may be room.
    fn make_room(
        &mut self,
        active: &[&Standing],
        mover: &mut Mover<'_>,
        waiting: &mut Waiting<'_>,
        looked: &mut Looked,
        full: SweepError,
    ) -> Result<(), SweepError> {
        let emptied = match mover.list() {
            Ok(()) => waiting.free(mover.emptied()),
            Err(again @ SweepError::Again { .. }) => return Err(again),
            Err(_) => Vec::new(),
        };
        if emptied.is_empty() {
            return Err(full);
        }
        self.delete_packs(active, &emptied, looked)?;
        Err(SweepError::Again { place: self.cx.place() })
    }

    /// Step 6, while the look is fresh and the plans stand.
    fn delete_packs(
        &mut self,
        active: &[&Standing],
        packs: &[Stored],
        looked: &mut Looked,
    ) -> Result<(), SweepError> {
        for group in packs.chunks(DELETES_AT_ONCE) {
            self.cx.check()?;
            self.stand(active, looked)?;
            self.delete_group(group)?;
        }
        if !packs.is_empty() {
            self.cx.target.storage.sync()?;
        }
        Ok(())
    }

    fn delete_group(&mut self, group: &[Stored]) -> Result<(), SweepError> {
        let storage = self.cx.target.storage.as_ref();
        let threads = match storage.distance() {
            Distance::Near => 1,
            Distance::Far => DELETES_FAR,
        };
        let share = group.len().div_ceil(threads).max(1);
        let failed: Mutex<Vec<(Stored, StorageError)>> = Mutex::default();
        let delete = |packs: &[Stored]| {
            for pack in packs {
                if let Err(error) = storage.delete(&pack_name(pack.class, &pack.hash)) {
                    failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*pack, error));
                }
            }
        };
        std::thread::scope(|scope| {
            for packs in group.chunks(share).skip(1) {
                scope.spawn(|| delete(packs));
            }
            delete(&group[..share.min(group.len())]);
        });
        let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = group.len().saturating_sub(failed.len());
        let bytes: u64 = group.iter().map(|pack| pack.bytes).sum();
        let kept: u64 = failed.iter().map(|(pack, _)| pack.bytes).sum();
        self.report.packs_deleted += u64::try_from(count).unwrap_or(0);
        self.report.bytes_deleted += bytes.saturating_sub(kept);
        self.cx.progress.advance(u64::try_from(count).unwrap_or(0), bytes.saturating_sub(kept));
        for (_, error) in failed {
            if !is_refusal(&error) {
                return Err(error.into());
            }
            self.report.refused.push(Chain(&error).to_string());
        }
        Ok(())
    }

    fn stand(&self, active: &[&Standing], looked: &mut Looked) -> Result<(), SweepError> {
        let now = self.cx.clock.monotonic();
        let again = || SweepError::Again { place: self.cx.place() };
        if now.saturating_sub(looked.roots) >= LOOK_LASTS {
            return Err(again());
        }
        if now.saturating_sub(looked.plans) >= PLAN_LASTS {
            let names = plans::names(self.cx)?;
            if !active.iter().all(|plan| names.contains(&plan.name)) {
                return Err(again());
            }
            looked.plans = now;
            self.cx.reached(Step::PlanStands)?;
        }
        Ok(())
    }

    /// Step 7: a plan everything of which is gone gets its mark.
    fn finish(&mut self, plan: &Standing) -> Result<(), SweepError> {
        let Some(id) = content_hash(&plan.name) else { return Ok(()) };
        if !self.is_over(plan)? {
            return Ok(());
        }
        let name = done_name(&plan.name, entropy::random());
        let cx = self.cx;
        cx.put_small(cx.target, &name, Bytes::copy_from_slice(id.as_bytes()), "the mark of a plan")?;
        cx.target.storage.sync()?;
        self.report.plans_done += 1;
        self.cx.reached(Step::DoneWritten)
    }
}

/// Rights, a lock, a place that only takes: not the network.
fn is_refusal(error: &StorageError) -> bool {
    matches!(error.class(), Class::Denied | Class::Refused)
}

/// What is live in swept packs and lies in no pack that stays.
struct Homeless {
    /// The rows to be moved: of several copies the one in the lowest-named pack.
    to_move: RowSet,
    /// The packs with the other copies. They stay until everything is moved: another sweeper, who does
    /// not know the plan that names such a pack, may be about to delete the lowest-named one because of
    /// the copy here.
    spare: HashSet<ObjectHash>,
}

/// What becomes of the packs that ripe plans name.
struct Fate<'s> {
    /// Them.
    swept: &'s HashSet<ObjectHash>,
    /// What of them is to be moved.
    homeless: &'s Homeless,
    /// All plans that stood when that was found out.
    plans: HashSet<ObjectName>,
}

/// Packs that have to stay until everything is moved.
struct Waiting<'s> {
    spare: &'s HashSet<ObjectHash>,
    packs: Vec<Stored>,
}

impl Waiting<'_> {
    /// Of packs that hold nothing any more that has to be moved, those that may go now.
    fn free(&mut self, emptied: Vec<Stored>) -> Vec<Stored> {
        let (spare, free) = emptied.into_iter().partition(|pack| self.spare.contains(&pack.hash));
        self.packs.extend::<Vec<Stored>>(spare);
        free
    }
}

/// Finds what is homeless.
fn homeless(
    cx: &Sweeping<'_>,
    mark: &Mark,
    packs: &Packs,
    condemned: &HashSet<ObjectHash>,
    swept: &HashSet<ObjectHash>,
) -> Result<Homeless, SweepError> {
    let mut homeless = Homeless { to_move: RowSet::new(&mark.rows), spare: HashSet::new() };
    survey(cx, mark, packs, &mut |places| {
        let mut owners: Vec<Option<WriterId>> = places.iter().map(|at| packs.owner(at.pack)).collect();
        owners.sort_unstable();
        owners.dedup();
        // A trusted copy stands for all; one of a writer that only adds for that writer's alone.
        for owner in owners {
            let of_owner = || places.iter().filter(|at| packs.owner(at.pack) == owner);
            let named = |at: &Location| packs.of_number(at.pack).map(|pack| (pack.hash, pack.class, *at));
            let has_home = of_owner().filter_map(named).any(|(hash, ..)| !condemned.contains(&hash));
            let lowest = of_owner().filter_map(named).filter(|(hash, ..)| swept.contains(hash)).min();
            if !has_home && let Some((moved, _, at)) = lowest {
                homeless.to_move.insert(&mark.rows, at)?;
                let all = places.iter().filter_map(named).map(|(hash, ..)| hash);
                homeless.spare.extend(all.filter(|hash| *hash != moved && swept.contains(hash)));
            }
            if owner.is_none() && (has_home || lowest.is_some()) {
                break;
            }
        }
        Ok(())
    })?;
    Ok(homeless)
}
