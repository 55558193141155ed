//! The daemon over simulated days: a manual clock, the real catalogue, processes that are played.

mod changes;
mod endings;
mod stage;
mod week;
mod year;
