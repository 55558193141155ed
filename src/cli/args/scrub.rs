//! `lifeboat scrub`, `lifeboat repo scrub`.

use std::time::Duration;

use clap::Args;

use super::place::OneRepo;
use crate::app::limits::windows;
use crate::base::error::Failure;
use crate::base::size::{parse_bytes, parse_duration};
use crate::engine::scrub::ScrubRequest;
use crate::policy::rota::Budget;

/// How much a scrub reads.
#[derive(Debug, Args)]
pub struct RotaArgs {
    /// Read everything within this time (default: 28d, or what the policy says); each call reads the share
    /// for the time since the last one
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub period: Option<Duration>,
    /// Read at most so many bytes of each place in this call
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub bytes_max: Option<u64>,
    /// Send at most so many requests for bytes (of 4 MiB each)
    #[arg(long, value_name = "N")]
    pub requests_max: Option<u64>,
    /// Begin nothing new after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub time_max: Option<Duration>,
    /// Begin to read in this window alone, such as 22:00-06:00 or "sat,sun" by the machine's clocks
    /// (repeatable)
    #[arg(long, value_name = "WINDOW")]
    pub window: Vec<String>,
}

impl RotaArgs {
    /// As the engine takes it, with this period when none was given.
    ///
    /// # Errors
    /// When a window is none.
    pub fn request(&self, period: Duration) -> Result<ScrubRequest, Failure> {
        Ok(ScrubRequest {
            period: self.period.unwrap_or(period),
            budget: Budget { bytes: self.bytes_max, requests: self.requests_max },
            time_max: self.time_max,
            windows: windows(&self.window)?,
        })
    }
}

/// `lifeboat scrub`.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// The policy (default: all)
    pub policy: Option<String>,
    /// One target only
    #[arg(long)]
    pub target: Option<String>,
    /// How much to read
    #[command(flatten)]
    pub rota: RotaArgs,
    /// Mend what is found damaged, as `repair` does
    #[arg(long)]
    pub repair: bool,
    /// The occurrence this belongs to; set by the daemon
    #[arg(long, hide = true)]
    pub occurrence: Option<String>,
}

/// `lifeboat repo scrub`.
#[derive(Debug, Args)]
pub struct RepoScrubArgs {
    /// The place
    #[command(flatten)]
    pub at: OneRepo,
    /// How much to read
    #[command(flatten)]
    pub rota: RotaArgs,
    /// Mend what is found damaged, as `repo repair` does
    #[arg(long)]
    pub repair: bool,
    /// A place of the same repository that may have what is damaged (repeatable)
    #[arg(long, value_name = "URL", requires = "repair")]
    pub from: Vec<String>,
}
