//! Prunes on a storage in memory: what they free, what they keep, and what stops them.

mod basics;
mod damaged_plan;
mod guards;
mod interleavings;
mod interrupted;
mod places;
mod readers;
mod requests;
mod runs;
mod size;
mod stage;
mod strangers;
