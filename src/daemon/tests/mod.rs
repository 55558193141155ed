//! The daemon over simulated days: a manual clock, the real catalogue, processes that are played.

mod endings;
mod stage;
mod week;
