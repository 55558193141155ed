//! Commands under a command, laid out only when it was chosen.
//!
//! The tree of all commands and their arguments costs every process more than two million instructions to
//! make and to drop, however small its own work is; most of it is never looked at.

use std::ops::Deref;

use clap::{ArgMatches, Command, Error, FromArgMatches, Subcommand};

/// The commands of `T`.
#[derive(Debug)]
pub struct Later<T>(T);

impl<T> Later<T> {
    /// What was chosen.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Later<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Subcommand> Subcommand for Later<T> {
    fn augment_subcommands(command: Command) -> Command {
        command.defer(|command| under_its_own_words(command, T::augment_subcommands))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command.defer(|command| under_its_own_words(command, T::augment_subcommands_for_update))
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}

/// What `T` says of itself comes late, and must not take the place of what the command says.
fn under_its_own_words(command: Command, augment: fn(Command) -> Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    augment(command).about(about)
}
