//! What the command line takes, and the help that teaches it. Parsing only; no work.

mod limits;
mod place;
mod policy;
mod repo;
mod top;

pub use limits::LimitArgs;
pub use place::{ManyRepos, OneRepo, OneRepoKeyOptional, S3Args};
pub use policy::{
    DaemonArgs, DemoArgs, DrillCommand, EvidenceCommand, ExplainArgs, KindArgs, PlanArgs, PolicyArg,
    ReportArgs, RestoreArgs, RestoreToArgs, RunArgs, SnapshotsArgs, StatusArgs, VerifyArgs,
};
pub use repo::{RepoBackupArgs, RepoCommand};
pub use top::{Cli, Command, Global};
