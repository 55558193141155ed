//! Limits of the command line: who takes them, and when they begin.

use super::args::{Command, LimitArgs, RepoCommand};
use super::run::Session;
use crate::app::error::AppError;
use crate::app::limits::{Traffic, step_back};
use crate::app::site::Site;
use crate::base::error::Failure;
use crate::policy::model::Limits;

/// What the flags say of the machine.
pub(super) fn of(args: &LimitArgs) -> Limits {
    Limits { workers: args.workers, nice: args.nice, io: args.ionice }
}

/// What the flags say of the targets. A command that they could not limit refuses them.
///
/// # Errors
/// When one is no limit, or the command takes none.
pub(super) fn traffic(args: &LimitArgs, command: &Command) -> Result<Traffic, Failure> {
    let wrong = |flags: &str, hint: &str| -> Failure {
        AppError::Usage {
            what: format!("{flags} would have no effect on this command"),
            hint: hint.to_owned(),
        }
        .into()
    };
    let limits_traffic = !(args.upload_limit.is_empty() && args.download_limit.is_empty());
    match command {
        Command::Daemon(_) if limits_traffic || args.workers.is_some() => Err(wrong(
            "--upload-limit, --download-limit and --workers",
            "its children go by the configuration: put limits at the targets of a policy, workers into [limits]",
        )),
        Command::Run(_)
        | Command::Verify(_)
        | Command::Scrub(_)
        | Command::Prune(_)
        | Command::Restore(_)
        | Command::Drill(_)
        | Command::Daemon(_)
        | Command::RebuildCatalogue(_) => Traffic::parse(&args.upload_limit, &args.download_limit),
        Command::Repo(repo) if !matches!(**repo, RepoCommand::Init { .. }) => {
            Traffic::parse(&args.upload_limit, &args.download_limit)
        }
        _ if limits_traffic => Err(wrong(
            "--upload-limit and --download-limit",
            "give them to run, verify, restore, drill run or repo",
        )),
        _ => Ok(Traffic::default()),
    }
}

/// The site for a job of this policy (none: of all), with the limits of the configuration where the
/// flags said nothing.
pub(super) fn limited(session: &Session, mut site: Site, policy: Option<&str>) -> Result<Site, Failure> {
    let of_site = site.configuration.site.limits;
    let of_policy = match policy {
        Some(name) => site.policy(name)?.limits,
        None => Limits::default(),
    };
    let configured = of_policy.or(of_site);
    let flags = session.limits;
    // What a flag said holds already.
    let rest = Limits {
        workers: flags.workers.or(configured.workers),
        nice: configured.nice.filter(|_| flags.nice.is_none()),
        io: configured.io.filter(|_| flags.io.is_none()),
    };
    step_back(rest, &mut site.cx);
    Ok(site)
}
