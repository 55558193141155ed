//! The terminal: arguments in, text or JSON out, an exit code at the end.

pub mod args;
mod bars;
mod commands;
mod cost;
mod examples;
mod limits;
mod output;
mod run;

pub use run::run;
