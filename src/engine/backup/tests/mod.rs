//! The commit against everything that may happen between its steps: sweeps, forgetting, lost
//! answers. The storage is in memory, the sweeper is played.

mod answers;
mod in_place;
mod lost;
mod order;
mod size;
mod stage;
mod sweeps;
