//! Which packs shall die: chosen, explained, written down.
//!
//! A bad choice costs work, never data: whatever is live in a pack that was named is moved before
//! the pack goes. So the planner looks once, and trusts an index.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::SweepError;
use super::checkpoints;
use super::guard;
use super::mark::{self, Mark};
use super::packs::{Packs, Stored};
use super::plans::{self, Standing};
use super::roots::{self, Roots};
use super::rows::RowSet;
use super::steps::{Step, Sweeping};
use super::survey::survey;
use crate::base::clock::Timestamp;
use crate::base::error::{Class, Classified};
use crate::base::id::ObjectHash;
use crate::codec::seal::TAG_BYTES;
use crate::repository::format::names::{PackClass, SnapshotName, plan_name};
use crate::repository::format::plan::{Condemned, LiveRows, PlanBody};
use crate::repository::index::Location;
use crate::repository::pack_pool::pack_bytes_of;

/// A pack below this share of the usual size is small.
const SMALL_SHARE: u64 = 4;
/// So many small packs of like size are made one: each byte is moved a few times in all.
const SMALL_AT_ONCE: usize = 8;
/// Packs of one plan, and bytes of their live rows: a plan is read by every writer.
const PLAN_PACKS_MAX: usize = 65_536;
const PLAN_LIVE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a planner goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Snapshots that count for nothing, for somebody who wants to know what forgetting them would free:
    /// such a draft is never written.
    pub without: HashSet<ObjectHash>,
    /// Younger packs are left alone, by the target's clock.
    pub grace: Duration,
    /// Proposals that nobody confirmed for this long are condemned.
    pub stale: Duration,
    /// A pack may have this share of its blobs' bytes unused, in per cent; one with more is
    /// condemned.
    pub max_unused_percent: u8,
    /// Bytes to be moved by all plans that stand, at most.
    pub max_move_bytes: Option<u64>,
    /// That more than half of all bytes go is meant.
    pub accept_more_than_half: bool,
    /// That the clock is right is known.
    pub accept_clock: bool,
}

/// Why a pack is condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing in it is live, or all of it lies in other packs, too.
    Dead,
    /// No index run lists it: what a run left behind that did not end.
    Unlisted,
    /// Too much of it is unused.
    Sparse,
    /// It is small, and so are others that it is joined with.
    Small,
}

/// A pack that is to be condemned.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// Its name.
    pub pack: ObjectHash,
    /// Data or metadata.
    #[serde(skip)]
    pub class: PackClass,
    /// Why.
    pub reason: Reason,
    /// Its length.
    pub bytes: u64,
    /// Of these, what is live and has to be moved.
    pub moved_bytes: u64,
}

/// What stays, and why.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Kept {
    /// Packs that are used well enough.
    pub used: u64,
    /// Their bytes.
    pub used_bytes: u64,
    /// Bytes in them that nothing uses.
    pub unused_bytes: u64,
    /// Packs that are younger than the grace.
    pub young: u64,
    /// Their bytes.
    pub young_bytes: u64,
    /// Packs that another plan names already.
    pub condemned: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Packs that would be condemned, if as much might be moved.
    pub over_budget: u64,
    /// Bytes that would have to be moved out of them.
    pub over_budget_bytes: u64,
}

/// A plan that is not written yet.
#[derive(Debug)]
pub struct Draft {
    /// The packs that it names.
    pub choices: Vec<Choice>,
    /// The proposals that it names.
    pub proposals: Vec<String>,
    /// Checkpoints that are forgotten first.
    pub checkpoints: Vec<SnapshotName>,
    /// What stays.
    pub kept: Kept,
    /// All packs of the target.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots that count.
    pub snapshots: u64,
    /// What is live, for the sweep that follows at once.
    pub mark: Mark,
    live: HashMap<ObjectHash, LiveRows>,
}

impl Draft {
    /// Bytes that go for good once the plan is carried out.
    pub fn freed_bytes(&self) -> u64 {
        self.choices.iter().map(|choice| choice.bytes.saturating_sub(choice.moved_bytes)).sum()
    }

    /// Bytes that have to be moved for it.
    pub fn moved_bytes(&self) -> u64 {
        self.choices.iter().map(|choice| choice.moved_bytes).sum()
    }

    /// Whether there is nothing to condemn.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty() && self.proposals.is_empty()
    }
}

/// Looks and chooses. Writes nothing.
///
/// # Errors
/// What `guard` refuses; `Hurt`; whatever the target says.
pub fn draft(cx: &Sweeping<'_>, rules: &Rules, now: Timestamp) -> Result<Draft, SweepError> {
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        match draft_once(cx, rules, now) {
            Err(SweepError::Again { .. }) => {}
            other => return other,
        }
    }
    Err(SweepError::Unsettled { place: cx.place() })
}

fn draft_once(cx: &Sweeping<'_>, rules: &Rules, now: Timestamp) -> Result<Draft, SweepError> {
    let standing = plans::list(cx)?;
    cx.reached(Step::PlansListed)?;
    let mut roots = roots::look(cx, &[], &standing, &HashSet::new())?;
    let checkpoints = checkpoints::stale(cx, now, rules.stale)?;
    roots.forget(&checkpoints);
    roots.valid.retain(|name| !rules.without.contains(&name.id));
    let mark = mark::mark(cx, &roots)?;
    if !rules.accept_clock {
        guard::clock(cx, mark.newest)?;
    }
    let packs = Packs::list(cx, &mark.index, mark.rows.packs())?;
    cx.reached(Step::PlanLooked)?;
    let shares = Shares::of(cx, &mark, &packs, &plans::condemned(&standing))?;
    let mut choosing = Choosing { cx, rules, now, packs: &packs, shares: &shares, kept: Kept::default() };
    let mut choices = choosing.choose(&standing);
    choices.sort_unstable_by_key(|choice| (choice.class, choice.pack));
    let kept = choosing.kept;
    let live = choices.iter().map(|choice| (choice.pack, live_rows(&mark, &packs, &choice.pack))).collect();
    let draft = Draft {
        choices,
        proposals: stale_proposals(&roots, &standing, rules, now),
        checkpoints,
        kept,
        packs: u64::try_from(packs.all().len()).unwrap_or(u64::MAX),
        bytes: packs.all().iter().map(|pack| pack.bytes).sum(),
        snapshots: u64::try_from(roots.valid.len()).unwrap_or(u64::MAX),
        mark,
        live,
    };
    if !rules.accept_more_than_half {
        guard::half(cx, draft.freed_bytes(), draft.bytes)?;
    }
    Ok(draft)
}

fn stale_proposals(roots: &Roots, standing: &[Standing], rules: &Rules, now: Timestamp) -> Vec<String> {
    let is_stale = |seen: Timestamp| seen.plus(rules.stale) <= now;
    let stale = roots.unconfirmed.iter().filter(|(name, seen)| {
        is_stale(*seen) && !standing.iter().any(|plan| plan.body.names_proposal(name))
    });
    stale.map(|(name, _)| name.proposal().to_string()).collect()
}

/// Every copy of a live blob counts here: between this look and the sweep another copy may go.
fn live_rows(mark: &Mark, packs: &Packs, pack: &ObjectHash) -> LiveRows {
    let rows = packs.numbers_of(pack).map(|number| mark.rows.of_pack(number)).max().unwrap_or(0);
    let mut live = LiveRows::new(rows);
    for number in packs.numbers_of(pack) {
        for ordinal in mark.live.of_pack(&mark.rows, number) {
            live.insert(ordinal);
        }
    }
    live
}

/// How much of each pack is used.
struct Shares {
    /// By the packs' numbers: bytes of live blobs that have their home there, and of all blobs.
    bytes: Vec<(u64, u64)>,
}

impl Shares {
    /// Of several copies only the one in the lowest-named reliable pack counts; where none is a trusted
    /// writer's, one of each writer.
    fn of(
        cx: &Sweeping<'_>,
        mark: &Mark,
        packs: &Packs,
        condemned: &HashSet<ObjectHash>,
    ) -> Result<Self, SweepError> {
        let mut homes = RowSet::new(&mark.rows);
        survey(cx, mark, packs, &mut |places| {
            let reliable = places.iter().filter_map(|at| {
                let pack = packs.of_number(at.pack).filter(|pack| !condemned.contains(&pack.hash))?;
                Some((packs.owner(at.pack), (pack.hash, *at)))
            });
            let mut lowest = BTreeMap::new();
            for (owner, home) in reliable {
                let held = lowest.entry(owner).or_insert(home);
                *held = home.min(*held);
            }
            if let Some(trusted) = lowest.remove(&None) {
                lowest = BTreeMap::from([(None, trusted)]);
            }
            for (_, home) in lowest.into_values() {
                homes.insert(&mark.rows, home)?;
            }
            Ok(())
        })?;
        let mut bytes = vec![(0, 0); usize::try_from(mark.rows.packs()).unwrap_or(usize::MAX)];
        let read = mark.index.visit_stored(&mut |at: Location, stored| {
            let share = usize::try_from(at.pack).ok().and_then(|pack| bytes.get_mut(pack));
            if let Some((live, all)) = share {
                let sealed = u64::from(stored) + TAG_BYTES as u64;
                *all += sealed;
                if homes.contains(&mark.rows, at) {
                    *live += sealed;
                }
            }
        });
        match read {
            Ok(()) => Ok(Self { bytes }),
            // The mark could read every run: this one was joined into another since.
            Err(error) if error.class() == Class::Damage => Err(SweepError::Again { place: cx.place() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Of a pack that is listed under these numbers; `None` when no run lists it.
    fn of_pack(&self, numbers: impl Iterator<Item = u32>) -> Option<(u64, u64)> {
        let of_number = |number| usize::try_from(number).ok().and_then(|number| self.bytes.get(number));
        // A pack under two numbers has some blobs at home under one of them and some under the other.
        numbers.filter_map(of_number).copied().reduce(|one, other| (one.0 + other.0, one.1.max(other.1)))
    }
}

/// A pack with the bytes in it that are used, and those of all its blobs.
type Shared = ((u64, u64), Stored);

struct Choosing<'c> {
    cx: &'c Sweeping<'c>,
    rules: &'c Rules,
    now: Timestamp,
    packs: &'c Packs,
    shares: &'c Shares,
    kept: Kept,
}

impl Choosing<'_> {
    fn choose(&mut self, standing: &[Standing]) -> Vec<Choice> {
        let condemned = plans::condemned(standing);
        let (mut chosen, mut sparse, mut small) = (Vec::new(), Vec::new(), Vec::new());
        let mut outstanding = 0;
        for pack in self.packs.all() {
            let share = self.shares.of_pack(self.packs.numbers_of(&pack.hash));
            if condemned.contains(&pack.hash) {
                self.kept.condemned += 1;
                self.kept.condemned_bytes += pack.bytes;
                outstanding += share.map_or(0, |(live, _)| live);
            } else if pack.modified.plus(self.rules.grace) > self.now {
                self.kept.young += 1;
                self.kept.young_bytes += pack.bytes;
            } else {
                match share {
                    None => chosen.push(choice(pack, Reason::Unlisted, 0)),
                    Some((0, _)) => chosen.push(choice(pack, Reason::Dead, 0)),
                    Some(share) if self.is_sparse(share) => sparse.push((share, *pack)),
                    Some(share) if self.is_small(pack) => small.push((share, *pack)),
                    Some(share) => self.keep(pack, share),
                }
            }
        }
        let mut left = self.rules.max_move_bytes.map(|max| max.saturating_sub(outstanding));
        // Where the most is gained for the least, first.
        sparse.sort_by_key(|((live, all), pack)| (live.saturating_mul(1000) / (*all).max(1), pack.hash));
        for (share, pack) in sparse {
            self.take(&mut chosen, &mut left, share, &pack, Reason::Sparse);
        }
        for ((live, all), pack) in self.joinable(small) {
            self.take(&mut chosen, &mut left, (live, all), &pack, Reason::Small);
        }
        chosen
    }

    fn take(
        &mut self,
        chosen: &mut Vec<Choice>,
        left: &mut Option<u64>,
        share: (u64, u64),
        pack: &Stored,
        reason: Reason,
    ) {
        match left {
            Some(left) if *left < share.0 => {
                self.kept.over_budget += 1;
                self.kept.over_budget_bytes += share.0;
                self.keep(pack, share);
            }
            left => {
                if let Some(left) = left {
                    *left -= share.0;
                }
                chosen.push(choice(pack, reason, share.0));
            }
        }
    }

    fn keep(&mut self, pack: &Stored, (live, all): (u64, u64)) {
        self.kept.used += 1;
        self.kept.used_bytes += pack.bytes;
        self.kept.unused_bytes += all.saturating_sub(live);
    }

    fn is_sparse(&self, (live, all): (u64, u64)) -> bool {
        let unused = all.saturating_sub(live);
        unused.saturating_mul(100) > all.saturating_mul(self.rules.max_unused_percent.into())
    }

    fn is_small(&self, pack: &Stored) -> bool {
        pack.bytes < self.full_bytes(pack) / SMALL_SHARE
    }

    fn full_bytes(&self, pack: &Stored) -> u64 {
        u64::try_from(pack_bytes_of(pack.class, self.cx.repository.pack_bytes())).unwrap_or(u64::MAX)
    }

    /// The small packs that have enough others of like size: each step of a factor of eight below
    /// the usual size is a level, and a level with eight packs is joined.
    fn joinable(&mut self, small: Vec<Shared>) -> Vec<Shared> {
        let mut levels: HashMap<(PackClass, u32), Vec<Shared>> = HashMap::new();
        for (share, pack) in small {
            let smaller = self.full_bytes(&pack) / SMALL_SHARE / pack.bytes.max(1);
            let level = smaller.max(1).ilog2() / 3;
            levels.entry((pack.class, level)).or_default().push((share, pack));
        }
        let mut joined = Vec::new();
        for packs in levels.into_values() {
            if packs.len() >= SMALL_AT_ONCE {
                joined.extend(packs);
            } else {
                for (share, pack) in packs {
                    self.keep(&pack, share);
                }
            }
        }
        joined.sort_by_key(|(_, pack)| (pack.bytes, pack.hash));
        joined
    }
}

fn choice(pack: &Stored, reason: Reason, moved_bytes: u64) -> Choice {
    Choice { pack: pack.hash, class: pack.class, reason, bytes: pack.bytes, moved_bytes }
}

/// Makes the plan visible, durably: several objects when it names very many packs.
///
/// # Errors
/// `NotAdmin`; whatever the target says.
pub fn write(cx: &Sweeping<'_>, draft: &Draft) -> Result<(), SweepError> {
    forget_checkpoints(cx, &draft.checkpoints)?;
    if draft.is_empty() {
        return Ok(());
    }
    let admin = cx.repository.admin().map_err(|_| SweepError::NotAdmin)?;
    let mut bodies = Vec::new();
    let (mut packs, mut live_bytes) = (Vec::new(), 0);
    for choice in &draft.choices {
        let live = draft.live.get(&choice.pack).cloned().unwrap_or_default();
        let bytes = usize::try_from(live.rows() / 8).unwrap_or(0) + 8;
        if packs.len() >= PLAN_PACKS_MAX || live_bytes + bytes > PLAN_LIVE_BYTES_MAX && !packs.is_empty() {
            bodies.push(std::mem::take(&mut packs));
            live_bytes = 0;
        }
        live_bytes += bytes;
        packs.push(Condemned { class: choice.class, hash: choice.pack, live });
    }
    bodies.push(packs);
    let mut proposals = draft.proposals.clone();
    let is_for_all = !cx.repository.writers(cx.target)?.write_only().is_empty();
    for packs in bodies {
        let walked = draft.mark.walked_names.clone();
        let body = PlanBody::of_mark(packs, std::mem::take(&mut proposals), walked);
        // Every writer obeys a plan, so every writer has to read it.
        let (bytes, id) = if is_for_all {
            body.clear(&cx.repository.id(), &admin)?
        } else {
            body.seal(&cx.repository.id(), &admin, cx.repository.keys())?
        };
        cx.put_small(cx.target, &plan_name(cx.clock.now(), &id), Bytes::from(bytes), "a plan")?;
    }
    cx.target.storage.sync()?;
    cx.reached(Step::PlanWritten)
}

/// Checkpoints go as any forgotten snapshot: the confirmation, then the object. Where that is
/// refused they stay, and the sweep counts them.
fn forget_checkpoints(cx: &Sweeping<'_>, checkpoints: &[SnapshotName]) -> Result<(), SweepError> {
    let storage = cx.target.storage.as_ref();
    for name in checkpoints {
        let gone = storage.delete(&name.confirmation()).and_then(|()| storage.delete(&name.proposal()));
        match gone {
            Err(error) if !matches!(error.class(), Class::Denied | Class::Refused) => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    if checkpoints.is_empty() { Ok(()) } else { Ok(storage.sync()?) }
}
