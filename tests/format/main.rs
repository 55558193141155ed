//! The stored format: vectors made by another implementation, round trips, and hostile bytes.

mod bodies;
mod fuzz;
mod objects;
mod packs;
mod readers;
mod seals;
mod slots;
mod support;
mod vectors;
