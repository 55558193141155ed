//! What the index promises: the answers of one that holds everything in memory, whatever becomes
//! of its files.

mod faults;
mod model;
mod session;
mod shelves;
mod size;
mod stage;
