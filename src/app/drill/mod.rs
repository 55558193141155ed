//! Drills of a site: which copy, the rehearsal itself, its records, its signed report.

mod records;
mod rehearsal;
mod report;
mod run;

pub use run::{DrillDone, DrillView, list, run_drill, show};
