//! Mending one target: find what is hurt, plan how each piece is made whole, do it, say what
//! remains.
//!
//! What is known without another copy is made anew (a confirmation by its name, `repo.fmt` and
//! certificates by the keys); else the object of the same name comes from another target; index runs
//! that nobody has are made of the ends of packs. What nobody can give is set aside, after whatever is whole
//! in it was moved into a new pack: it counts as absent then, and the next full backup stores anew
//! what the source still has. Nothing is believed that does not have the hash in its name.
//!
//! Every step stands for itself: a repair that was interrupted is simply begun again, and two at
//! once do the same twice. `survey` finds and plans, `execute` carries out, `outcome` is what both
//! print.

mod execute;
mod outcome;
mod run;
mod survey;

pub use outcome::{Means, RepairOutcome, State, Step, StepEnd};
pub use run::{RepairRequest, rebuild_index, repair};
