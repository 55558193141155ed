//! One site: its configuration, its state folder, its keys and its targets.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono_tz::Tz;

use super::error::AppError;
use super::limits::Traffic;
use super::places::{Environment, open_target, state_dir};
use super::plumbing;
use super::secrets::{SecretSource, make_key_file};
use super::space;
use crate::base::durable;
use crate::base::error::{Class, Failure};
use crate::base::limits::PACK_BYTES_DEFAULT;
use crate::catalog::Catalog;
use crate::catalog::state::StateFolder;
use crate::catalog::targets::TargetRecord;
use crate::engine::context::Context;
use crate::engine::sync;
use crate::evidence::{EvidenceLog, RepositoryAnchor};
use crate::policy::load::{Machine, Observed, find, load};
use crate::policy::model::{Configuration, Place, Policy, Target as Planned};
use crate::policy::problem::Problems;
use crate::repository::access::{Repository, Target};
use crate::repository::format::names::REPO_FMT;
use crate::repository::format::slot::SlotSecret;
use crate::repository::snapshots::Snapshot;
use crate::storage::capabilities::Capabilities;
use crate::storage::contract::StorageError;
use crate::storage::place::{Access, PlaceOptions};

/// Where a site's configuration and state are looked for.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// What the process was started in.
    pub environment: Environment,
}

/// Reads the configuration; every problem comes at once.
///
/// # Errors
/// All problems, class usage.
pub fn configuration(place: &Where) -> Result<Configuration, Problems> {
    let explicit = place.config.as_ref().or(place.environment.config.as_ref());
    let usual = [PathBuf::from("."), PathBuf::from("/etc/lifeboat")];
    let dir = find(explicit.map(PathBuf::as_path), &usual)?;
    let machine = Machine { host: plumbing::host_name(), timezone: system_zone() };
    load(&dir, &machine, &Observed::default())
}

/// The machine's zone: `/etc/timezone`, or what `/etc/localtime` points to, else UTC.
pub(super) fn system_zone() -> Tz {
    let named = std::fs::read_to_string("/etc/timezone").ok().and_then(|text| text.trim().parse().ok());
    let linked = || {
        let target = std::fs::read_link("/etc/localtime").ok()?;
        let name = target.to_str()?.split_once("zoneinfo/")?.1.to_owned();
        name.parse().ok()
    };
    named.or_else(linked).unwrap_or(Tz::UTC)
}

/// A site, ready to work.
pub struct Site {
    /// What was configured.
    pub configuration: Configuration,
    /// Where its state is.
    pub state: StateFolder,
    /// Time, listeners, threads.
    pub cx: Context,
    /// How fast bytes may go to each target and come from it, whatever its policy says.
    pub traffic: Traffic,
}

impl Site {
    /// Reads the configuration and makes the state folder.
    ///
    /// # Errors
    /// The configuration's problems; a state folder that cannot be made.
    pub fn open(place: &Where, cx: Context) -> Result<Self, Failure> {
        let configuration = configuration(place)?;
        let flag = place.state_dir.clone().or_else(|| {
            let from_file = configuration.site.state_dir.clone();
            if place.environment.state_dir.is_some() { None } else { from_file }
        });
        let state = StateFolder::new(state_dir(flag, place.environment.clone()));
        state.create()?;
        Ok(Self { configuration, state, cx, traffic: Traffic::default() })
    }

    /// Folders of our own on this machine: the state folder, and the targets of all policies.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let targets = self.configuration.policies.iter().flat_map(|policy| &policy.targets);
        let folders = targets.filter_map(|target| match &target.place {
            Place::Folder(folder) => Some(folder.clone()),
            Place::Bucket { .. } => None,
        });
        self.state.cache().parent().map(Path::to_owned).into_iter().chain(folders).collect()
    }

    /// A policy by name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn policy(&self, name: &str) -> Result<&Policy, Failure> {
        self.configuration.policy(name).ok_or_else(|| {
            let known: Vec<&str> = self.configuration.policies.iter().map(|p| p.id.as_str()).collect();
            AppError::Unknown { what: "policy", name: name.to_owned(), known: known.join(", ") }.into()
        })
    }

    /// The policies meant by a name, or all.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn policies(&self, name: Option<&str>) -> Result<Vec<&Policy>, Failure> {
        match name {
            Some(name) => Ok(vec![self.policy(name)?]),
            None => Ok(self.configuration.policies.iter().collect()),
        }
    }

    /// What happened so far.
    ///
    /// # Errors
    /// When the catalogue cannot be opened.
    pub fn catalogue(&self) -> Result<Catalog, Failure> {
        Ok(Catalog::open(&self.state.catalogue())?)
    }

    /// The evidence log.
    ///
    /// # Errors
    /// When it cannot be opened, or its key is not the log's.
    pub fn evidence(&self) -> Result<EvidenceLog, Failure> {
        let key = self.configuration.site.sign_key_file.as_deref();
        Ok(EvidenceLog::open(&self.state.evidence(), key, Arc::clone(&self.cx.clock))?)
    }

    /// Where the site key is.
    pub fn key_file(&self) -> PathBuf {
        let configured = self.configuration.site.key_file.clone();
        configured.unwrap_or_else(|| self.state.keys().join("repository.key"))
    }

    /// Whether there is a site key, or a program that should print it.
    pub fn has_secret(&self) -> bool {
        !self.configuration.site.key_command.is_empty() || self.key_file().exists()
    }

    /// The site key: what the program prints, a key file, or the passphrase that sites had before
    /// key files.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn secret(&self) -> Result<SlotSecret, Failure> {
        let command = &self.configuration.site.key_command;
        if !command.is_empty() {
            let words = command.iter().map(OsString::from).collect();
            return Ok(SecretSource::Command(words).read(&self.cx)?);
        }
        let path = self.key_file();
        if !path.exists() {
            return Err(AppError::Usage {
                what: format!(
                    "the site key {} is not here, and what it sealed opens with nothing else",
                    path.display()
                ),
                hint: "put back the copy that was kept of it, or name it by key_file in lifeboat.toml"
                    .to_owned(),
            }
            .into());
        }
        Ok(SecretSource::PasswordFile(path).read(&self.cx)?)
    }

    /// The site key, made when there is none: with a loud word, because nothing else can open
    /// what it seals.
    fn secret_or_new(&self) -> Result<SlotSecret, Failure> {
        let path = self.key_file();
        if !self.has_secret() {
            if let Some(parent) = path.parent() {
                durable::create_dir_all(parent)
                    .map_err(|source| AppError::Unwritable { path: path.clone(), source })?;
            }
            make_key_file(&path)?;
            self.cx.progress.warn(format!(
                "made the site key {}. NO RECOVERY KIT EXISTS: copy this file to a safe place now, or make a kit \
                 with `lifeboat key kit`; without either no backup can be read when this machine is lost",
                path.display()
            ));
        }
        self.secret()
    }

    /// Opens a policy's target.
    ///
    /// # Errors
    /// When its URL is wrong or it cannot be opened now.
    pub fn target(&self, planned: &Planned, access: Access) -> Result<Target, Failure> {
        self.target_at(planned, access, &self.traffic.or_of(planned))
    }

    fn target_at(&self, planned: &Planned, access: Access, traffic: &Traffic) -> Result<Target, Failure> {
        let options = place_options(planned);
        open_target(planned.name.as_str(), &planned.url, &options, access, traffic, &self.cx)
    }

    /// Opens a policy's repository at one target, for reading.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn repository_at(&self, planned: &Planned) -> Result<Repository, Failure> {
        let target = self.target(planned, Access::Read)?;
        Ok(Repository::open(vec![target], &self.secret()?)?
            .with_cache(Some(self.state.cache()))
            .with_memory(Some(self.state.seen())))
    }

    /// The same for a restore: nothing that the policy says slows it down, only what the command
    /// line says.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn repository_for_restore(&self, planned: &Planned) -> Result<Repository, Failure> {
        let target = self.target_at(planned, Access::Read, &self.traffic)?;
        Ok(Repository::open(vec![target], &self.secret()?)?
            .with_cache(Some(self.state.cache()))
            .with_memory(Some(self.state.seen())))
    }

    /// Opens a policy's repository at every target that answers, and makes it where there is none
    /// yet. Targets that do not answer come back with their reason.
    ///
    /// # Errors
    /// When no target answers, or the key does not open it.
    pub fn repository_for_backup(&self, policy: &Policy) -> Result<(Repository, Vec<Unreached>), Failure> {
        let mut holding = Vec::new();
        let mut empty = Vec::new();
        let mut unreached = Vec::new();
        let held = self.targets_that_held(policy)?;
        for planned in &policy.targets {
            let found = self.look(planned, held.contains(planned.name.as_str()));
            // A folder with too little room is treated as the full one that it would become.
            match found.and_then(|found| space::ask_target(policy, planned).map(|()| found)) {
                Ok((target, true)) => holding.push(target),
                Ok((target, false)) => empty.push(target),
                Err(failure) => {
                    let reason = failure.message();
                    self.cx
                        .progress
                        .warn(format!("{} takes no part in this run: {reason}", planned.name.as_str()));
                    unreached.push(Unreached { target: planned.name.as_str().to_owned(), reason, failure });
                }
            }
        }
        let repository = match (holding.first().cloned(), empty.is_empty()) {
            (Some(first), _) => {
                for target in &empty {
                    sync::establish(&first, target)?;
                    holding.push(target.clone());
                }
                Repository::open(holding, &self.secret()?)?
            }
            (None, false) => {
                let key = self.secret_or_new()?;
                let shape = plumbing::Shape { pack_bytes: PACK_BYTES_DEFAULT, parity: 0 };
                let created = plumbing::create(empty, &key, shape, &self.cx)?;
                if let Some(failure) = created.failed {
                    self.cx.progress.warn(format!("a target could not be set up: {}", failure.message()));
                }
                self.record_targets(policy, &created.probed)?;
                created.repository
            }
            (None, true) => match worth_waiting_for(unreached) {
                Some(one) => return Err(one.failure),
                None => {
                    return Err(AppError::Nothing {
                        what: format!("policy {} has no target", policy.id.as_str()),
                        hint: "add a [targets.NAME] section".to_owned(),
                    }
                    .into());
                }
            },
        };
        Ok((repository.with_cache(Some(self.state.cache())).with_memory(Some(self.state.seen())), unreached))
    }

    /// What the targets were found to do, into the catalogue.
    ///
    /// # Errors
    /// Of the catalogue.
    pub fn record_targets(&self, policy: &Policy, probed: &[(String, Capabilities)]) -> Result<(), Failure> {
        let catalogue = self.catalogue()?;
        for (name, found) in probed {
            let Some(planned) = policy.targets.iter().find(|t| t.name.as_str() == name) else { continue };
            catalogue.record_target(&TargetRecord {
                policy: policy.id.as_str().to_owned(),
                name: name.clone(),
                url: planned.url.clone(),
                capabilities: serde_json::to_value(found).unwrap_or_default(),
                facts: serde_json::Value::Null,
                probed_at: self.cx.clock.now(),
            })?;
        }
        Ok(())
    }

    /// Targets on which a copy of this policy was recorded.
    fn targets_that_held(&self, policy: &Policy) -> Result<HashSet<String>, Failure> {
        let catalogue = self.catalogue()?;
        let mut held = HashSet::new();
        for snapshot in catalogue.snapshots(policy.id.as_str())? {
            held.extend(catalogue.copies(&snapshot.id)?.into_iter().map(|copy| copy.target));
            if held.len() >= policy.targets.len() {
                break;
            }
        }
        Ok(held)
    }

    /// Opens a target for a backup and says whether it holds a repository. One that held copies
    /// before and is empty now is not begun anew: its disk is not mounted, or it was emptied.
    fn look(&self, planned: &Planned, held: bool) -> Result<(Target, bool), Failure> {
        let access = if held { Access::Write } else { Access::Create };
        let target = self.target(planned, access)?;
        let found = match target.storage.head(&REPO_FMT) {
            Ok(stat) => stat.is_some(),
            Err(StorageError::NoPlace { what: "folder", .. }) if !held => false,
            Err(error) => return Err(error.into()),
        };
        if held && !found {
            return Err(AppError::Nothing {
                what: format!("{} held copies before and holds no repository now", target.storage.label()),
                hint: "mount it; if it was emptied, `lifeboat repo sync` fills it again".to_owned(),
            }
            .into());
        }
        Ok((target, found))
    }

    /// Signs a head over the evidence log, with where the repositories stand.
    ///
    /// # Errors
    /// As the log's.
    pub fn sign_head(&self, log: &EvidenceLog, anchors: &[RepositoryAnchor]) -> Result<(), Failure> {
        log.sign_head(anchors)?;
        Ok(())
    }
}

/// A target that did not answer.
pub struct Unreached {
    /// Its name.
    pub target: String,
    /// Why, for people.
    pub reason: String,
    /// The failure itself.
    pub failure: Failure,
}

impl Unreached {
    /// The class of its failure.
    pub fn class(&self) -> Class {
        self.failure.class()
    }
}

/// Of targets that all failed, the one to answer for: one whose reason passes, so that the run is
/// tried again, or else the first.
fn worth_waiting_for(mut unreached: Vec<Unreached>) -> Option<Unreached> {
    let passes = unreached.iter().position(|one| one.class().is_transient()).unwrap_or(0);
    (passes < unreached.len()).then(|| unreached.swap_remove(passes))
}

/// Where a snapshot stands in its writer's chain, for a signed head.
pub fn anchor(repository: &Repository, snapshot: &Snapshot) -> RepositoryAnchor {
    RepositoryAnchor {
        repo: repository.id(),
        writer: snapshot.writer,
        number: snapshot.number,
        snapshot: snapshot.id,
    }
}

/// The options of a policy's target.
pub(super) fn place_options(planned: &Planned) -> PlaceOptions {
    PlaceOptions {
        endpoint: planned.endpoint.clone(),
        region: planned.region.clone(),
        path_style: planned.path_style.then_some(true),
        credentials_file: planned.credentials_file.clone(),
        ca_file: planned.ca_file.clone(),
        lock: planned.immutable,
    }
}
