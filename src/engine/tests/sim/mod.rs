//! Works on simulated media: the power goes, or something else fails, at operation 1, 2, 3, ... until
//! the work passes. Then it is looked at, gone on with, and compared, as docs/reliability.md says.
//!
//! `LIFEBOAT_SIM_STATES` is the number of states for each test (an ordinary run takes some hundred,
//! spread over all of them), `LIFEBOAT_SEED` begins another sequence. A failure prints a line
//! `LIFEBOAT_SIM_ONLY=...`, with which the same test repeats that state alone. The simulation draws
//! everything from the seed; nonces and keys of the repository come from the system as always.

//!
//! Random histories (`histories.rs`) put works, kills, faults and clock jumps one behind the other:
//! `LIFEBOAT_HISTORIES` is how many, `LIFEBOAT_HISTORY_ONLY` the seed of a single one.

//!
//! The named steps (`named.rs`) are what each work does to a place for the first time, by the kind of
//! operation and of object: at each of them it is killed, given an error, made to panic and held up.
//! `LIFEBOAT_TORTURE_ROUNDS` tries every occasion of a step, not only the first and the last.

mod between;
mod histories;
mod loops;
mod named;
mod points;
mod works;
