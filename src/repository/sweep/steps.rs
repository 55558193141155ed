//! What planner and sweeper work with, and the places where a test may step in.

use std::time::Duration;

use bytes::Bytes;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Timestamp};
use crate::base::entropy;
use crate::base::progress::Progress;
use crate::repository::access::{Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::sweep::SweepError;
use crate::storage::capabilities::PROBE_PREFIX;
use crate::storage::contract::{Distance, ObjectName, StorageError};

/// Two looks at a far place lie this far apart: a listing that was stale once is not so twice.
const APART: Duration = Duration::from_secs(2);

/// What was just done. The numbers are those of docs/format.md, "Sweep".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The planner listed the plans that stand (before its own look).
    PlansListed,
    /// The planner listed snapshots and forget requests, marked, and listed the packs.
    PlanLooked,
    /// The plan is visible.
    PlanWritten,
    /// 1: all plans were listed.
    PlansSeen,
    /// 2: the snapshots were listed, twice.
    RootsSeen,
    /// 2: everything that they need is marked.
    Marked,
    /// 3: what is no root was deleted.
    ProposalsDeleted,
    /// 4 and 5: the packs were listed, and for every live blob it is known where it is safe.
    HomesSeen,
    /// 6: `g/` was listed once more: the plan stands.
    PlanStands,
    /// 6: packs that hold nothing live were deleted.
    DeadDeleted,
    /// 5: a pack of moved blobs is on the target; no index lists it yet.
    PackMoved,
    /// 5: the index run that lists moved blobs is durable.
    RunWritten,
    /// 6: packs whose live blobs were moved were deleted.
    SourcesDeleted,
    /// 7: everything that a plan names is gone, and the plan is marked as done.
    DoneWritten,
    /// 7: the plan and its marks were deleted.
    PlanEnded,
    /// A run that says what several say is durable; they still stand.
    RunsJoined,
}

/// Told of each step; may stop the work there.
pub trait Steps: Sync {
    /// Something was just done.
    ///
    /// # Errors
    /// What the work shall end with, here and now.
    fn reached(&self, step: Step) -> Result<(), RepositoryError>;
}

/// Lets everything happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSteps;

impl Steps for NoSteps {
    fn reached(&self, _step: Step) -> Result<(), RepositoryError> {
        Ok(())
    }
}

/// One target, and what planner and sweeper work with there.
#[derive(Clone, Copy)]
pub struct Sweeping<'a> {
    /// The opened repository.
    pub repository: &'a Repository,
    /// The target that is planned and swept.
    pub target: &'a Target,
    /// The other targets of the run: they may help with what is hurt on this one, and get the
    /// packs of moved blobs as well where their plans name the same old packs.
    pub others: &'a [Target],
    /// The machine that signs packs of moved blobs.
    pub host: &'a str,
    /// Time, for waits; safety rests on none of it.
    pub clock: &'a dyn Clock,
    /// Who listens.
    pub progress: &'a dyn Progress,
    /// Raised when the work should stop.
    pub cancel: &'a Cancel,
    /// Where a test may step in.
    pub steps: &'a dyn Steps,
}

impl Sweeping<'_> {
    /// The target's name for messages.
    pub(super) fn place(&self) -> String {
        self.target.storage.label().to_owned()
    }

    pub(super) fn reached(&self, step: Step) -> Result<(), SweepError> {
        Ok(self.steps.reached(step)?)
    }

    pub(super) fn check(&self) -> Result<(), SweepError> {
        if self.cancel.is_cancelled() { Err(RepositoryError::Cancelled.into()) } else { Ok(()) }
    }

    /// Puts a small object without which nothing could be removed: on a full disk out of the room
    /// that was kept for it.
    pub(super) fn put_small(
        &self,
        target: &Target,
        name: &ObjectName,
        bytes: Bytes,
        needed: &'static str,
    ) -> Result<(), SweepError> {
        let storage = target.storage.as_ref();
        let mut put = storage.put_new(name, bytes.clone());
        if matches!(put, Err(StorageError::NoSpace { .. })) && storage.give_room()? {
            put = storage.put_new(name, bytes);
        }
        match put {
            Ok(_) => Ok(()),
            Err(StorageError::NoSpace { place, .. }) => Err(SweepError::NoRoom { place, needed }),
            Err(error) => Err(error.into()),
        }
    }

    /// How long the second look waits for. A place on this machine shows what is there.
    pub(super) fn apart(&self) -> Duration {
        match self.target.storage.distance() {
            Distance::Near => Duration::ZERO,
            Distance::Far => APART,
        }
    }

    /// Now by the target's clock. A far place's is read off an object that is put there and taken
    /// away again; where that is refused, and on this machine, it is this machine's clock.
    pub fn target_now(&self) -> Timestamp {
        let ours = self.clock.now();
        if self.target.storage.distance() == Distance::Near {
            return ours;
        }
        let storage = self.target.storage.as_ref();
        let Ok(name) =
            ObjectName::new(format!("{PROBE_PREFIX}{}/clock", hex::encode(entropy::random::<8>())))
        else {
            return ours;
        };
        let put = storage.put_new(&name, Bytes::from_static(b"clock"));
        let seen = put.and_then(|_| storage.head(&name)).ok().flatten().map(|stat| stat.modified);
        drop(storage.delete(&name));
        seen.unwrap_or(ours)
    }
}
