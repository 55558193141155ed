//! What the files promise, as plain data: every value resolved, every default filled in.
//!
//! Where each value came from stands beside it in [`Setting`]s, which `policy show --effective`
//! and `plan` print. Nothing here reads or decides.

mod drill;
mod limits;
mod people;
mod policy;
mod site;

pub use drill::{Bound, Check, CheckKind, Cleanup, CopyChoice, DrillPlan, Files, Leftover, OnFail, Scope};
pub use limits::Limits;
pub use people::{
    Contact, Hook, HookForm, Mail, MailTls, Notifier, OnCall, People, Recipient, Response, Responses,
    Severity, Vendor, Way,
};
pub use policy::{
    AfterRun, BackupKind, CatchUp, CopyClass, Objective, Place, Plan, Policy, Retention, Rule,
    SnapshotOfSource, Source, Target, Tier, Verify,
};
pub use site::{
    Concurrency, Configuration, DrillId, NAME_BYTES_MAX, Origin, PolicyId, Setting, Site, TargetName, Version,
};
