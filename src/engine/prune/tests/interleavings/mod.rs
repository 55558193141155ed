//! The interleavings of commit, sweep, forget, compaction and sync that docs/model.md numbers, on the
//! real code: an actor is stopped at an operation of its storage or a step of its work, others run
//! whole, and it goes on. `LIFEBOAT_TORTURE_ROUNDS=1` stops at every operation, an ordinary run at
//! each of the last ones and some of the others.

mod commits;
mod names;
mod places;
mod races;
mod readers;
mod script;
mod sweeps;
