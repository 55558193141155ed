//! The commit against everything that may happen between its steps: sweeps, forgetting, lost
//! answers. The storage is in memory, the sweeper is played.

mod answers;
mod effort;
mod in_place;
mod lost;
mod order;
mod size;
pub(in crate::engine) mod stage;
mod sweeps;
