//! `demo`: the whole main job on a person's own folder, which is only read.
//!
//! Everything is written to a fresh folder of the demo's own: a configuration, two targets, the
//! state. Nothing of it is below the folder that is backed up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::drill::{DrillDone, run_drill};
use super::error::AppError;
use super::evidence::{Verified, verify_folder};
use super::places::Environment;
use super::run::{Occasion, PolicyRun, run_policy};
use super::site::{Site, Where};
use super::status::{PolicyStatus, statuses};
use super::verify::{PolicyVerify, verify_policy};
use crate::base::durable;
use crate::base::entropy;
use crate::base::error::Failure;
use crate::catalog::words::Cause;
use crate::engine::context::Context;
use crate::engine::verify::Depth;
use crate::repository::format::snapshot::SnapshotKind;
use crate::storage::place::PlaceOptions;

/// What to demonstrate on.
pub struct DemoRequest {
    /// The folder to back up.
    pub dir: PathBuf,
    /// Where the second copy goes; another local folder without it.
    pub s3: Option<String>,
    /// How to reach it.
    pub access: PlaceOptions,
}

/// What the demo did, step by step.
pub struct DemoOutcome {
    /// Its own folder.
    pub place: PathBuf,
    /// The configuration that it wrote.
    pub policy_file: PathBuf,
    /// The backup.
    pub run: PolicyRun,
    /// Both targets read back.
    pub verify: PolicyVerify,
    /// A drill from each copy.
    pub drills: Vec<DrillDone>,
    /// The state that follows from all that.
    pub status: PolicyStatus,
    /// The check of the evidence.
    pub evidence: Verified,
    /// Where the evidence is.
    pub evidence_dir: PathBuf,
}

const OCCASION: Occasion = Occasion { scheduled_at: None, cause: Cause::Person };

/// Does it all. `step` is told before each step.
///
/// # Errors
/// Whatever fails first; what was done before stays in the demo's folder.
pub fn demo(
    request: &DemoRequest,
    environment: &Environment,
    cx: &Context,
    step: &dyn Fn(&str),
) -> Result<DemoOutcome, Failure> {
    let source = super::plumbing::absolute(&request.dir)?;
    let place = own_folder(&source, environment)?;
    let policy_file = write_configuration(&place, &source, request)?;
    let site = Site::open(
        &Where {
            config: Some(place.join("config")),
            state_dir: Some(place.join("state")),
            environment: environment.clone(),
        },
        Context { progress: Arc::clone(&cx.progress), ..cx.clone() },
    )?;
    let policy = site.policy("demo")?;
    step("backup: one read of the source, both copies at once");
    let run = run_policy(&site, policy, SnapshotKind::Full, OCCASION)?;
    step("verify: every object of both copies read back from its medium");
    let verify = verify_policy(&site, policy, None, Depth::Blobs, OCCASION)?;
    step("drill: a restore from each copy into a private sandbox, checked against the manifest");
    let drills = run_drill(&site, "demo-restore", OCCASION)?;
    step("3-2-1: judged from what was recorded, not from what was configured");
    let status = statuses(&site, Some(policy.id.as_str()))?.remove(0);
    step("evidence: checked offline");
    let evidence_dir = site.state.evidence();
    let evidence = verify_folder(&evidence_dir, None, &[])?;
    Ok(DemoOutcome { place, policy_file, run, verify, drills, status, evidence, evidence_dir })
}

/// A fresh private folder that is not below the source.
fn own_folder(source: &Path, environment: &Environment) -> Result<PathBuf, Failure> {
    let home = environment.home.clone().unwrap_or_else(|| PathBuf::from("/"));
    let usual = [
        home.join(".local/state"),
        PathBuf::from("/var/tmp"),
        PathBuf::from("/tmp"),
        PathBuf::from("/dev/shm"),
    ];
    let name = format!("lifeboat-demo-{}", hex::encode(entropy::random::<4>()));
    let real = std::fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    let place = usual.iter().find(|folder| !folder.starts_with(&real)).map(|folder| folder.join(&name));
    let place = place.ok_or_else(|| AppError::Usage {
        what: format!("every usual place for the demo's own folder lies below {}", source.display()),
        hint: "name a smaller folder: `lifeboat demo DIR`".to_owned(),
    })?;
    make(&place)?;
    Ok(place)
}

fn make(folder: &Path) -> Result<(), AppError> {
    durable::create_dir_all(folder).map_err(|source| AppError::Unwritable { path: folder.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), AppError> {
    durable::replace(path, text.as_bytes())
        .map_err(|source| AppError::Unwritable { path: path.to_owned(), source })
}

/// A string as TOML spells it.
fn toml(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn path_text(path: &Path) -> Result<&str, AppError> {
    path.to_str().ok_or_else(|| AppError::Usage {
        what: format!("{} is not UTF-8, which a policy file must be", path.display()),
        hint: "use `lifeboat repo backup`, which takes any path".to_owned(),
    })
}

fn write_configuration(place: &Path, source: &Path, request: &DemoRequest) -> Result<PathBuf, Failure> {
    let config = place.join("config");
    for folder in ["policies", "drills"] {
        make(&config.join(folder))?;
    }
    let mut policy = format!(
        "source = [{}]\nrpo = \"2h\"\nrto = \"4h\"\n\n[targets.disk]\nurl = {}\n",
        toml(path_text(source)?),
        toml(&format!("file://{}", path_text(&place.join("disk"))?)),
    );
    match &request.s3 {
        Some(url) => {
            policy.push_str(&format!("\n[targets.cloud]\nurl = {}\nlocation = \"elsewhere\"\n", toml(url)));
            let access = &request.access;
            let keys = [("endpoint", &access.endpoint), ("region", &access.region)];
            for (key, value) in keys.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                policy.push_str(&format!("{key} = {}\n", toml(value)));
            }
            if access.path_style == Some(true) {
                policy.push_str("path_style = true\n");
            }
            let files = [("credentials_file", &access.credentials_file), ("ca_file", &access.ca_file)];
            for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?))) {
                let file = super::plumbing::absolute(file)?;
                policy.push_str(&format!("{key} = {}\n", toml(path_text(&file)?)));
            }
        }
        None => {
            let second = format!("file://{}", path_text(&place.join("second"))?);
            policy.push_str(&format!("\n[targets.second]\nurl = {}\n", toml(&second)));
        }
    }
    let policy_file = config.join("policies/demo.toml");
    write(&policy_file, &policy)?;
    let drill = "policy = \"demo\"\nkind = \"restore\"\nwhen = \"weekly sun 03:30\"\ncopy = \"each\"\n\
                 snapshot = \"latest\"\nscope = { files = \"sample 200\" }\ntime_limit = \"2h\"\n\n[[check]]\nkind = \"manifest\"\n\n\
                 [[check]]\nkind = \"count\"\nfiles = \">= 1\"\n";
    write(&config.join("drills/demo-restore.toml"), drill)?;
    write(&config.join("lifeboat.toml"), "site = \"here\"\n")?;
    Ok(policy_file)
}
