//! What the command line takes, and the help that teaches it. Parsing only; no work.

mod forget;
mod hold;
mod incident;
mod key;
mod later;
mod limits;
mod look;
mod operate;
mod place;
mod policy;
mod prune;
mod repo;
mod scrub;
mod source;
mod top;

pub use forget::RepoForgetArgs;
pub use hold::{BecauseArgs, FreezeArgs, HoldCommand};
pub use incident::{ByArgs, IncidentCommand, NotifyCommand, SeverityArg, StageArg};
pub use key::{
    KeyCommand, KitArgs, KitChoice, ManyReposKeyOptional, NewSecretArgs, PolicyKeyCommand, RoleArgs,
};
pub use later::Later;
pub use limits::LimitArgs;
pub use look::{
    CopyArgs, DiffArgs, DumpArgs, FindArgs, FindRuleArgs, ListArgs, LsArgs, MountArgs, MountPointArgs,
    RepoDiffArgs, RepoDumpArgs, RepoFindArgs, RepoLsArgs, RepoMountArgs,
};
pub use operate::{
    CheckArgs, CompletionsArgs, DoctorArgs, InitArgs, ManArgs, MetricsArgs, PolicyCommand, RecoverArgs,
    SchemaArg, SupportArgs,
};
pub use place::{ManyRepos, OneRepo, OneRepoKeyOptional, OptionalSecretArgs, S3Args, SecretArgs};
pub use policy::{
    DaemonArgs, DemoArgs, DrillCommand, EvidenceCommand, ExplainArgs, ExposureArgs, KindArgs, PlanArgs,
    PolicyArg, PruneArgs, RepairArgs, ReportArgs, RestoreArgs, RestoreToArgs, RunArgs, SnapshotsArgs,
    StatusArgs, TargetArgs, TargetCommand, VerifyArgs,
};
pub use prune::RepoPruneArgs;
pub use repo::{RepoBackupArgs, RepoCommand};
pub use scrub::{RepoScrubArgs, ScrubArgs};
pub use source::{RuleArgs, SnapshotArgs, SnapshotKindArg, StreamArgs};
pub use top::{Cli, Command, Global};
