//! What was promised, and what follows from it: policies, drills, schedules, the 3-2-1 rule,
//! objectives.
//!
//! Decisions with reasons. `now` and every fact are arguments; nothing here reads a clock, acts,
//! or touches anything but the configuration files that [`load`] reads.

pub mod copies;
pub mod due;
pub mod forecast;
pub mod incident;
pub mod limit;
pub mod load;
pub mod model;
pub mod objective;
pub mod problem;
pub mod retention;
pub mod retry;
pub mod room;
pub mod rota;
pub mod schedule;
pub mod state;
pub mod suspicion;
pub mod weaker;
pub mod window;
