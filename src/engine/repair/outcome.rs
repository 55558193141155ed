//! What a repair plans and what became of it.

use serde::Serialize;

use crate::base::id::ObjectHash;
use crate::engine::verify::{HurtSnapshot, Problem};
use crate::storage::contract::ObjectName;

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its bytes are not what its name says, or cannot be read.
    Damaged,
    /// It is not there.
    Missing,
}

/// How an object is made whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Means {
    /// Its bytes are known without another copy.
    Known,
    /// Out of the pack's own parity.
    Parity,
    /// The object of this name from another target.
    Copy {
        /// Which.
        from: String,
    },
    /// The snapshot is committed again, because another target has it.
    Commit {
        /// Which.
        from: String,
    },
    /// Its packs are listed in a new index run, from their own ends.
    Rebuild,
    /// Nobody can give it: what is whole in it is saved, then it is moved out of the way. The next
    /// full backup stores anew what the source still has.
    SetAside,
    /// Nothing can be done here.
    Nothing {
        /// Why.
        why: String,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum StepEnd {
    /// Only planned.
    Planned,
    /// The object is whole: its bytes were read back.
    Mended,
    /// It is out of the way.
    Aside {
        /// Where it lies now.
        at: String,
        /// Blobs that were saved from it.
        saved: u64,
        /// Blobs that are lost with it.
        lost: u64,
    },
    /// It is as it was.
    Failed {
        /// Why.
        why: String,
    },
}

/// One object to be mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub object: ObjectName,
    /// What is wrong with it.
    pub state: State,
    /// How it is to be made whole.
    #[serde(flatten)]
    pub means: Means,
    /// What became of that.
    #[serde(flatten)]
    pub end: StepEnd,
}

/// What a repair found, planned and did.
#[derive(Clone, Debug, Serialize)]
pub struct RepairOutcome {
    /// Where.
    pub target: String,
    /// Whether it was only planned.
    pub dry_run: bool,
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Every object that is hurt, in the order in which they are mended.
    pub steps: Vec<Step>,
    /// Snapshots that were hurt, with the paths.
    pub hurt: Vec<HurtSnapshot>,
    /// Those of them that are whole again.
    pub whole_again: Vec<ObjectHash>,
    /// Those that are not.
    pub still_hurt: Vec<HurtSnapshot>,
    /// What is wrong now, as `verify` would say it: when nothing was done, what was found.
    pub remaining_count: u64,
    /// The first of it.
    pub remaining: Vec<Problem>,
}

impl RepairOutcome {
    /// Whether the target is whole now.
    pub fn is_whole(&self) -> bool {
        let all_done = !self.dry_run || self.steps.is_empty();
        all_done && self.remaining_count == 0 && self.still_hurt.is_empty()
    }

    /// How many objects were mended.
    pub fn mended(&self) -> usize {
        self.steps.iter().filter(|step| step.end == StepEnd::Mended).count()
    }
}
