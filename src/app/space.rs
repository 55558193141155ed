//! Room: what is left where the records and the copies are, and that no backup starts where it would
//! take the last of it. Restores, prunes, holds and every look go on whatever is left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::error::AppError;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::room::Room;
use crate::catalog::Catalog;
use crate::catalog::space::SpaceOf;
use crate::policy::forecast::RoomThen;
use crate::policy::model::{Place, Policy, Target};

/// All places are looked at so far apart, by whoever looks at all promises.
const LOOKS_APART: Duration = Duration::from_secs(600);

/// As far back as any forecast looks.
const LOOK_BACK: Duration = Duration::from_secs(29 * 86_400);

/// What the state folder has and needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateRoom {
    pub(super) room: Room,
    pub(super) limit_bytes: u64,
}

impl StateRoom {
    /// As it is now; `None` when its file system does not say.
    pub(super) fn of(site: &Site) -> Option<Self> {
        let room = measured(site.state.root())?;
        Some(Self { room, limit_bytes: site.configuration.site.state_min_free.of(room.total_bytes) })
    }

    pub(super) fn is_short(self) -> bool {
        self.room.free_bytes < self.limit_bytes
    }
}

/// Records what room there is, and refuses a backup whose own records would find none.
///
/// # Errors
/// No space; of the catalogue.
pub(super) fn ask(site: &Site, catalogue: &Catalog, policy: &Policy) -> Result<(), Failure> {
    let state = StateRoom::of(site);
    let mut rooms = rooms_of(policy);
    rooms.extend(state.map(|state| (SpaceOf::STATE, state.room)));
    catalogue.record_space(&rooms, site.cx.clock.now())?;
    let Some(state) = state else { return Ok(()) };
    if !state.is_short() {
        return Ok(());
    }
    Err(AppError::NoHeadroom {
        what: "the state folder".to_owned(),
        path: site.state.root().to_owned(),
        free_bytes: state.room.free_bytes,
        limit_bytes: state.limit_bytes,
        hint: "make room there; restores, prunes and `status` go on; the limit is `[space] state_min_free` in lifeboat.toml".to_owned(),
    }
    .into())
}

/// Refuses a folder of copies with too little room. Where there is none yet, that of the nearest folder
/// above is asked for: it is where this one would be made.
///
/// # Errors
/// No space.
pub(super) fn ask_target(policy: &Policy, planned: &Target) -> Result<(), Failure> {
    let Place::Folder(path) = &planned.place else { return Ok(()) };
    let Some(room) = path.ancestors().find(|path| path.exists()).and_then(measured) else { return Ok(()) };
    if !planned.min_free.is_crossed(room) {
        return Ok(());
    }
    Err(AppError::NoHeadroom {
        what: format!("target {}", planned.name),
        path: path.clone(),
        free_bytes: room.free_bytes,
        limit_bytes: planned.min_free.of(room.total_bytes),
        hint: format!(
            "`lifeboat prune {}` frees what nothing needs; else a larger disk; the limit is `min_free` of the target",
            policy.id
        ),
    }
    .into())
}

/// Records how much room each folder of a policy has.
///
/// # Errors
/// Of the catalogue.
pub(super) fn note_space(catalogue: &Catalog, policy: &Policy, now: Timestamp) -> Result<(), Failure> {
    Ok(catalogue.record_space(&rooms_of(policy), now)?)
}

/// The same of all policies, and of the state folder, now and then.
///
/// # Errors
/// Of the catalogue.
pub(super) fn note_all(site: &Site, catalogue: &Catalog, now: Timestamp) -> Result<(), Failure> {
    if catalogue.spaces_at(now)?.is_some_and(|at| now.since(at) < LOOKS_APART) {
        return Ok(());
    }
    let mut rooms: Vec<(SpaceOf<'_>, Room)> = site.configuration.policies.iter().flat_map(rooms_of).collect();
    rooms.extend(StateRoom::of(site).map(|state| (SpaceOf::STATE, state.room)));
    Ok(catalogue.record_space(&rooms, now)?)
}

/// The room that each folder of a policy has now. A folder that is not there is that of a disk that is
/// away: what holds its name says nothing.
fn rooms_of<'p>(policy: &'p Policy) -> Vec<(SpaceOf<'p>, Room)> {
    let id = policy.id.as_str();
    let room = |target: &'_ Target| match &target.place {
        Place::Folder(path) => measured(path),
        Place::Bucket { .. } => None,
    };
    let with = |(target, room): (&'p Target, Room)| (SpaceOf::target(id, target.name.as_str()), room);
    policy.targets.iter().filter_map(|target| Some((target, room(target)?))).map(with).collect()
}

/// What was recorded of places lately, by target.
pub(super) struct Rooms(BTreeMap<String, Vec<RoomThen>>);

impl Rooms {
    /// Those of a policy.
    ///
    /// # Errors
    /// Of the catalogue.
    pub(super) fn of(catalogue: &Catalog, policy: &Policy, now: Timestamp) -> Result<Self, Failure> {
        Self::read(catalogue, policy.id.as_str(), now)
    }

    /// That of the state folder.
    ///
    /// # Errors
    /// Of the catalogue.
    pub(super) fn of_state(catalogue: &Catalog, now: Timestamp) -> Result<Vec<RoomThen>, Failure> {
        Ok(Self::read(catalogue, "", now)?.0.remove("").unwrap_or_default())
    }

    fn read(catalogue: &Catalog, policy: &str, now: Timestamp) -> Result<Self, Failure> {
        let mut rooms: BTreeMap<String, Vec<RoomThen>> = BTreeMap::new();
        for (target, one) in catalogue.spaces(policy, now.minus(LOOK_BACK), now)? {
            rooms.entry(target).or_default().push(RoomThen { at: one.at, room: one.room() });
        }
        Ok(Self(rooms))
    }

    /// Those of a target, oldest first.
    pub(super) fn at(&self, target: &Target) -> &[RoomThen] {
        self.0.get(target.name.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The newest of a target, and what has to stay free there.
    pub(super) fn newest(&self, target: &Target) -> Option<(Room, u64)> {
        let room = self.at(target).last().filter(|_| matches!(target.place, Place::Folder(_)))?.room;
        Some((room, target.min_free.of(room.total_bytes)))
    }
}

fn measured(path: &Path) -> Option<Room> {
    Room::at(path).ok().flatten()
}
