//! The records of the backup host itself: configuration, catalogue and evidence go along with a policy's
//! backups, and a lost host is made again from one target and the recovery kit.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::AppError;
use super::plumbing::{Plumbing, host_name};
use super::secrets::{SecretSource, make_key_file};
use super::site::Site;
use crate::base::durable;
use crate::base::error::Failure;
use crate::base::id::ObjectHash;
use crate::catalog::Catalog;
use crate::catalog::state::StateFolder;
use crate::engine::backup::backup;
use crate::engine::backup::request::{BackupRequest, CheckpointRule, Freeze, ParentChoice, SourceRule};
use crate::engine::history::Sight;
use crate::engine::restore::request::{Mode, Others, RestoreRequest};
use crate::engine::restore::restore;
use crate::evidence::EvidenceLog;
use crate::policy::model::Policy;
use crate::repository::access::Repository;
use crate::repository::format::keys::Role;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::snapshots;
use crate::source::files::{Existing, Owner, WalkOptions};
use crate::storage::contract::Read;
use crate::storage::place::Access;

/// What these snapshots say of their policy; no file of this name makes one.
pub(super) const NAME: &str = "lifeboat-self";
/// The catalogue's copy in its folder.
const CATALOGUE: &str = "catalogue.db";

/// Keeps the records of this host beside the policy's backups, where the site asks for it. A failure is
/// told and recorded, and fails nothing else.
///
/// # Errors
/// When that can't be recorded.
pub(super) fn keep(
    site: &Site,
    catalogue: &Catalog,
    log: &EvidenceLog,
    policy: &Policy,
) -> Result<(), Failure> {
    if site.configuration.site.self_backup.as_deref() != Some(policy.id.as_str()) {
        return Ok(());
    }
    let data = match keep_now(site, catalogue, policy) {
        Ok(snapshot) => json!({ "policy": policy.id.as_str(), "snapshot": snapshot }),
        Err(failure) => {
            let words = failure.message();
            site.cx.progress.warn(format!("the records of this host were not kept: {words}"));
            json!({ "policy": policy.id.as_str(), "error_code": failure.code() })
        }
    };
    let kind = if data.get("snapshot").is_some() { "self.kept" } else { "self.failed" };
    log.append(kind, data)?;
    Ok(())
}

fn keep_now(site: &Site, catalogue: &Catalog, policy: &Policy) -> Result<ObjectHash, Failure> {
    let own = site.state.own();
    durable::create_dir_all(&own).map_err(|source| AppError::Unwritable { path: own.clone(), source })?;
    catalogue.copy_to(&own.join(CATALOGUE))?;
    let (repository, unreached) = site.repository_for_backup(policy)?;
    let config = std::path::absolute(&site.configuration.dir).map_err(|source| AppError::Unreadable {
        what: "the configuration",
        path: site.configuration.dir.clone(),
        source,
    })?;
    let request = BackupRequest {
        // In the order in which they are told apart when they come back.
        roots: vec![config, site.state.evidence(), own],
        kind: SnapshotKind::Incremental,
        host: host_name(),
        policy: Some(NAME.to_owned()),
        tags: Vec::new(),
        parent: ParentChoice::Newest,
        walk: WalkOptions::default(),
        freeze: Freeze::None,
        stream: None,
        rule: SourceRule { files_min: 1 },
        effort: policy.effort,
        checkpoint: CheckpointRule::default(),
        run_id: None,
        occurrence: None,
        sight: if unreached.is_empty() { Sight::All } else { Sight::Part },
    };
    Ok(backup(&repository, &request, &site.cx)?.snapshot)
}

/// A host that was made again.
pub struct Recovered {
    /// The snapshot it was made from.
    pub snapshot: ObjectHash,
    /// When that was taken, as text.
    pub taken: String,
    /// The configuration's folder.
    pub config: PathBuf,
    /// The state folder, with a site key of its own.
    pub state: PathBuf,
}

/// Makes a lost host again below a new folder: `config`, and `state` with catalogue, evidence, and a new
/// site key that opens the repository.
///
/// # Errors
/// When the folder is not empty, the kit opens nothing there, no records were kept there, or something
/// can't be written.
pub fn recover(plumbing: &Plumbing, from: &str, kit: &Path, to: &Path) -> Result<Recovered, Failure> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| AppError::Unwritable { path, source }
    };
    if std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(AppError::Usage {
            what: format!("{} is not empty", to.display()),
            hint: "name a new folder with --to".to_owned(),
        }
        .into());
    }
    let secret = SecretSource::RecoveryKit(kit.to_owned()).read(&plumbing.cx)?;
    let repository = Repository::open(vec![plumbing.target(from, Access::Read)?], &secret)?;
    let (found, _) = snapshots::load_all(&repository, &repository.targets()[0])?;
    let ours = found.into_iter().filter(|one| one.signed && one.body.policy.as_deref() == Some(NAME));
    let Some(newest) = ours.max_by_key(|one| one.body.captured_at) else {
        return Err(AppError::Nothing {
            what: format!("{from} holds no records of a backup host"),
            hint: "only a site with `self_backup` keeps them; without: write the policy anew, then \
                   `lifeboat rebuild-catalogue` (docs/recovery.md)"
                .to_owned(),
        }
        .into());
    };
    durable::create_dir_all(to).map_err(unwritable(to))?;
    let staging = to.join(".restored");
    let request = RestoreRequest {
        to: staging.clone(),
        paths: Vec::new(),
        existing: Existing::Refuse,
        owner: Owner::Keep,
        others: Others::Keep,
        mode: Mode::WriteAndCheck,
        ours: Vec::new(),
    };
    restore(&repository, &newest, &request, Read::Quick, &plumbing.cx)?;
    let root = |number: usize| {
        let path =
            newest.body.roots.get(number).map(|root| Path::new(std::ffi::OsStr::from_bytes(&root.path)));
        staging.join(path.map_or(Path::new(""), |path| path.strip_prefix("/").unwrap_or(path)))
    };
    let config = to.join("config");
    let state = StateFolder::new(to.join("state"));
    durable::create_dir_all(state.root()).map_err(unwritable(state.root()))?;
    for (from, place) in
        [(root(0), config.clone()), (root(1), state.evidence()), (root(2).join(CATALOGUE), state.catalogue())]
    {
        durable::rename(&from, &place).map_err(unwritable(&place))?;
    }
    std::fs::remove_dir_all(&staging).map_err(unwritable(&staging))?;
    state.create()?;
    let key = state.keys().join("repository.key");
    make_key_file(&key)?;
    let new = SecretSource::KeyFile(key).read(&plumbing.cx)?;
    plumbing.keys(&[from.to_owned()]).add(&secret, &new, &Role::Admin)?;
    Ok(Recovered {
        snapshot: newest.id,
        taken: newest.body.captured_at.readable(),
        config,
        state: state.root().to_owned(),
    })
}
