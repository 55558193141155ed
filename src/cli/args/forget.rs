//! `lifeboat repo forget`.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;

use super::place::ManyRepos;
use crate::base::size::parse_duration;
use crate::engine::forget::{ForgetRequest, Selection};
use crate::policy::retention::{Rules, Zone, parse_zone};

/// `lifeboat repo forget`.
#[derive(Debug, Args)]
pub struct RepoForgetArgs {
    /// Where and with which passphrase
    #[command(flatten)]
    pub at: ManyRepos,
    /// Plan and show only: nothing is removed
    #[arg(long)]
    pub dry_run: bool,
    /// What to keep
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Only snapshots of this machine
    #[arg(long, conflicts_with = "ids")]
    pub host: Option<String>,
    /// Only snapshots of this policy
    #[arg(long, conflicts_with = "ids")]
    pub policy: Option<String>,
    /// Go on when more than half of the snapshots of a host, policy and set of paths would go
    #[arg(long)]
    pub accept_more_than_half: bool,
    /// Go on when the newest snapshot is over 400 days old, or lies in the future
    #[arg(long)]
    pub accept_clock: bool,
    /// Snapshots to forget instead, by their ids (at least 8 digits of each)
    #[arg(value_name = "SNAPSHOT", conflicts_with = "KeepArgs")]
    pub ids: Vec<String>,
}

/// The rules.
#[derive(Debug, Args)]
#[group(multiple = true)]
pub struct KeepArgs {
    /// Keep the newest N
    #[arg(long, value_name = "N", default_value_t)]
    pub keep_last: u32,
    /// Keep all that are younger than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub keep_within: Option<Duration>,
    /// Keep one for each of the newest N hours that have any
    #[arg(long, value_name = "N", default_value_t)]
    pub keep_hourly: u32,
    /// Keep one for each of the newest N days that have any
    #[arg(long, value_name = "N", default_value_t)]
    pub keep_daily: u32,
    /// Keep one for each of the newest N weeks (from Monday) that have any
    #[arg(long, value_name = "N", default_value_t)]
    pub keep_weekly: u32,
    /// Keep one for each of the newest N months that have any
    #[arg(long, value_name = "N", default_value_t)]
    pub keep_monthly: u32,
    /// Keep one for each of the newest N years that have any
    #[arg(long, value_name = "N", default_value_t)]
    pub keep_yearly: u32,
    /// Keep those with this tag (repeatable)
    #[arg(long, value_name = "TAG")]
    pub keep_tag: Vec<String>,
    /// Always keep the newest N, whatever the other rules say
    #[arg(long, value_name = "N", default_value_t)]
    pub min_keep: u32,
    /// Whose calendar hours, days and so on are of
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone)]
    pub zone: Zone,
}

impl RepoForgetArgs {
    /// What the arguments ask for; none when they name neither snapshots nor a rule.
    pub fn request(&self) -> Option<ForgetRequest> {
        let keep = &self.keep;
        let rules = Rules {
            last: keep.keep_last,
            within: keep.keep_within,
            hourly: keep.keep_hourly,
            daily: keep.keep_daily,
            weekly: keep.keep_weekly,
            monthly: keep.keep_monthly,
            yearly: keep.keep_yearly,
            min_keep: keep.min_keep,
            tags: keep.keep_tag.iter().cloned().collect(),
            holds: Vec::new(),
        };
        let selection = match (self.ids.is_empty(), rules.is_empty()) {
            (false, _) => Selection::Ids(self.ids.clone()),
            (true, false) => Selection::Rules {
                rules,
                zone: keep.zone,
                host: self.host.clone(),
                policy: self.policy.clone(),
            },
            (true, true) => return None,
        };
        Some(ForgetRequest {
            selection,
            read_back: HashSet::new(),
            dry_run: self.dry_run,
            accept_more_than_half: self.accept_more_than_half,
            accept_clock: self.accept_clock,
        })
    }
}
