//! `lifeboat repo prune`.

use std::time::Duration;

use clap::Args;

use super::place::ManyRepos;
use crate::base::size::{NotAQuantity, parse_bytes, parse_duration};
use crate::engine::prune::PruneRequest;

/// A duration; nought needs no unit.
fn parse_grace(text: &str) -> Result<Duration, NotAQuantity> {
    if text == "0" { Ok(Duration::ZERO) } else { parse_duration(text) }
}

/// `lifeboat repo prune`.
#[derive(Debug, Args)]
pub struct RepoPruneArgs {
    /// Where and with which passphrase
    #[command(flatten)]
    pub at: ManyRepos,
    /// Look and show only: nothing is written, nothing is deleted
    #[arg(long)]
    pub dry_run: bool,
    /// How long a pack is left alone, and how long a plan is visible before it is carried out. 0 is safe, too: a
    /// backup that runs at the same time may then have to store something twice
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = parse_grace)]
    pub grace: Duration,
    /// Share of a pack that may be unused; one with more is condemned, and what is used in it moved
    #[arg(long, value_name = "PERCENT", default_value = "15", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub max_unused: u8,
    /// Move at most this much; the next run goes on
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_move: Option<u64>,
    /// Go on when more than half of all bytes would be gone
    #[arg(long)]
    pub accept_more_than_half: bool,
    /// Go on when the newest snapshot is over 400 days old, or lies in the future
    #[arg(long)]
    pub accept_clock: bool,
    /// Name of the machine that signs what is moved (default: this one's)
    #[arg(long)]
    pub host: Option<String>,
}

impl RepoPruneArgs {
    /// What the arguments ask for.
    pub fn request(&self, host: String) -> PruneRequest {
        PruneRequest {
            dry_run: self.dry_run,
            grace: self.grace,
            max_unused_percent: self.max_unused,
            max_move_bytes: self.max_move,
            accept_more_than_half: self.accept_more_than_half,
            accept_clock: self.accept_clock,
            ..PruneRequest::new(host)
        }
    }
}
