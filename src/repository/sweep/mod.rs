//! Freeing what nothing references, while others back up, without locks (docs/format.md, "Sweep").
//!
//! A *planner* looks and writes down which packs shall die: the plan, from then on visible to all
//! writers, who rely on none of them any more. A *sweeper* carries ripe plans out: it looks again,
//! moves what is live out of the packs, and only then deletes. Any number of both may run at any
//! time and stop anywhere. One rule carries it: announce, then look, on both sides.
//!
//! `plans` are the objects under `g/`, `roots` the snapshots that count, `mark` what they need,
//! `survey` where that lies and where it is safe, `planner` the choice, `moves` packs made of what
//! is taken out of others, `sweeper` the steps, `compact` joins index runs, `damaged` ends plans that nobody can read, `guard` what stops all of it, `rows` sets of rows.
//! `steps` are the places where a test may stop or step in. Nothing here knows what to keep: that
//! is decided before, by whoever forgets snapshots.

mod checkpoints;
mod compact;
mod damaged;
mod error;
mod guard;
mod mark;
mod moves;
mod packs;
mod planner;
mod plans;
mod roots;
mod rows;
mod steps;
mod survey;
mod sweeper;

pub use compact::compact;
pub use damaged::retire_damaged_plans;
pub use error::SweepError;
pub use mark::Mark;
pub use planner::{Choice, Draft, Kept, Reason, Rules, draft, write};
pub use steps::{NoSteps, Step, Steps, Sweeping};
pub use sweeper::{Report, SweepRules, sweep};
