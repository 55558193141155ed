//! Use cases on bare repositories: no configuration, no catalogue, an empty or read-only state
//! folder.

use std::path::{Component, Path, PathBuf};

use super::error::AppError;
use super::limits::Traffic;
use super::places::open_target;
use crate::base::durable;
use crate::base::error::{Class, Failure};
use crate::codec::kdf::KdfParams;
use crate::engine;
use crate::engine::backup::outcome::{BackupOutcome, TargetOutcome};
use crate::engine::backup::request::BackupRequest;
use crate::engine::context::Context;
use crate::engine::history::{Finding, Sight};
use crate::engine::locks::LockOutcome;
use crate::engine::repair::{RepairOutcome, RepairRequest};
use crate::engine::stats::Stats;
use crate::engine::sync::SyncOutcome;
use crate::engine::verify::{Depth, VerifyOutcome};
use crate::repository::access::{CreateOptions, Repository, Target};
use crate::repository::error::RepositoryError;
use crate::repository::format::names::REPO_FMT;
use crate::repository::format::slot::SlotSecret;
use crate::repository::rebuild::Rebuilt;
use crate::storage::capabilities::{self, Capabilities};
use crate::storage::place::{Access, PlaceOptions};

/// What every plumbing command starts from.
pub struct Plumbing {
    /// Time, listeners, threads.
    pub cx: Context,
    /// Options of all S3 places.
    pub places: PlaceOptions,
    /// How fast bytes may go to each place and come from it.
    pub traffic: Traffic,
    /// Folder of the index cache, when there is a usable one.
    pub cache: Option<PathBuf>,
    /// Folder of what was seen of repositories, when there is a usable one.
    pub memory: Option<PathBuf>,
    /// Folder of what scrubs read.
    pub scrubbed: PathBuf,
}

impl Plumbing {
    /// Opens one place.
    ///
    /// # Errors
    /// When the URL is wrong or the place cannot be opened.
    pub fn target(&self, url: &str, access: Access) -> Result<Target, Failure> {
        open_target(url, url, &self.places, access, &self.traffic, &self.cx)
    }

    /// The repository with what this machine keeps of it.
    pub(super) fn at_home(&self, repository: Repository) -> Repository {
        repository.with_cache(self.cache.clone()).with_memory(self.memory.clone())
    }

    /// Opens a repository at one place, for reading.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open(&self, url: &str, secret: &SlotSecret) -> Result<Repository, Failure> {
        let target = self.target(url, Access::Read)?;
        Ok(self.at_home(Repository::open(vec![target], secret)?))
    }

    /// That none of the places holds a repository. A folder that isn't there holds none.
    ///
    /// # Errors
    /// When one does, or can't be asked.
    pub fn refuse_existing(&self, urls: &[String]) -> Result<(), Failure> {
        for url in urls {
            match self.target(url, Access::Read) {
                Ok(target) => Repository::refuse_existing(&[target])?,
                Err(failure) if failure.class() == Class::NoRepository => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Makes one new repository at all places. Each is probed first.
    ///
    /// # Errors
    /// When a place holds one already, lacks something that is needed, or fails.
    pub fn init(&self, urls: &[String], secret: &SlotSecret, shape: Shape) -> Result<Repository, Failure> {
        let mut targets = Vec::new();
        for url in urls {
            targets.push(self.target(url, Access::Create)?);
        }
        let Created { repository, probed, failed } = create(targets, secret, shape, &self.cx)?;
        self.remember(&repository, &probed);
        failed.map_or(Ok(repository), Err)
    }

    /// Keeps what the places were found to do beside the index cache. A state folder that cannot be
    /// written is no obstacle: what is not known is found out at each use.
    fn remember(&self, repository: &Repository, probed: &[(String, Capabilities)]) {
        let Some(cache) = &self.cache else { return };
        let folder = cache.join(repository.id().to_hex());
        if let Ok(json) = serde_json::to_vec_pretty(probed)
            && durable::create_dir_all(&folder).is_ok()
        {
            drop(durable::replace(&folder.join("capabilities.json"), &json));
        }
    }

    /// Backs up to all places at once. A place that cannot be opened now lags; the run goes on
    /// while one can.
    ///
    /// # Errors
    /// As [`engine::backup::backup`].
    pub fn backup(
        &self,
        urls: &[String],
        secret: &SlotSecret,
        request: &BackupRequest,
    ) -> Result<BackupOutcome, Failure> {
        let targets = urls.iter().map(|url| (url.clone(), self.target(url, Access::Write)));
        let (repository, absent) = open_reachable(targets, secret, &self.cx)?;
        let repository = self.at_home(repository);
        let sight = if absent.is_empty() { request.sight } else { Sight::Part };
        let request = BackupRequest { sight, ..request.clone() };
        let mut outcome = engine::backup::backup(&repository, &request, &self.cx)?;
        outcome.targets.extend(absent);
        Ok(outcome)
    }

    /// Reads every object at a place.
    ///
    /// # Errors
    /// As [`engine::verify::verify`].
    pub fn verify(
        &self,
        url: &str,
        secret: Option<&SlotSecret>,
        depth: Depth,
    ) -> Result<VerifyOutcome, Failure> {
        let target = self.target(url, Access::Read)?;
        let repository = match secret {
            // No cache: what verify says must rest on what the target holds now.
            Some(secret) => Some(Repository::open(vec![target.clone()], secret)?),
            None => None,
        };
        let mut outcome = engine::verify::verify(&target, repository.as_ref(), depth, &self.cx)?;
        if let Some(repository) = repository.map(|repository| repository.with_memory(self.memory.clone())) {
            outcome.history = engine::history::look(&repository, Sight::All, &self.cx)?.findings;
        }
        Ok(outcome)
    }

    /// Puts on record that what is gone from these places is known to be gone.
    ///
    /// # Errors
    /// As [`engine::history::accept`].
    pub fn accept_loss(
        &self,
        urls: &[String],
        secret: &SlotSecret,
        reason: &str,
        dry_run: bool,
    ) -> Result<Vec<Finding>, Failure> {
        let access = if dry_run { Access::Read } else { Access::Write };
        let targets: Result<Vec<Target>, Failure> = urls.iter().map(|url| self.target(url, access)).collect();
        let repository = self.at_home(Repository::open(targets?, secret)?);
        Ok(engine::history::accept(&repository, reason, dry_run, &self.cx)?)
    }

    /// Completes one place from another.
    ///
    /// # Errors
    /// As [`engine::sync::sync`].
    pub fn sync(&self, from: &str, to: &str, secret: Option<&SlotSecret>) -> Result<SyncOutcome, Failure> {
        let (from, to) = (self.target(from, Access::Read)?, self.target(to, Access::Create)?);
        Ok(match secret {
            Some(secret) => {
                let repository = self.at_home(Repository::open(vec![from.clone()], secret)?);
                engine::sync::sync(&repository, &from, &to, &self.cx)?
            }
            None => engine::sync::sync_keyless(&from, &to, &self.cx)?,
        })
    }

    /// Mends one place, with what the others have.
    ///
    /// # Errors
    /// As [`engine::repair::repair`]; what opening the place said when no other opens either.
    pub fn repair(
        &self,
        url: &str,
        from: &[String],
        secret: &SlotSecret,
        dry_run: bool,
    ) -> Result<RepairOutcome, Failure> {
        let access = if dry_run { Access::Read } else { Access::Write };
        let target = self.target(url, access)?;
        let sources = from.iter().map(|url| self.target(url, Access::Read)).collect::<Result<Vec<_>, _>>()?;
        repair_at(&target, &sources, secret, dry_run, &self.cx)
    }

    /// Lists the packs of a place anew that no index run of it lists.
    ///
    /// # Errors
    /// As [`engine::repair::rebuild_index`].
    pub fn rebuild_index(&self, url: &str, secret: &SlotSecret) -> Result<Rebuilt, Failure> {
        let target = self.target(url, Access::Write)?;
        let repository = Repository::open(vec![target.clone()], secret)?;
        Ok(engine::repair::rebuild_index(&repository, &target, &host_name(), &self.cx)?)
    }

    /// Tries a place out.
    ///
    /// # Errors
    /// When it can't be reached or lacks what is needed.
    pub fn probe(&self, url: &str) -> Result<Capabilities, Failure> {
        let target = self.target(url, Access::Write)?;
        Ok(capabilities::probe(target.storage.as_ref(), self.cx.clock.as_ref())?)
    }

    /// Extends the locks of everything that snapshots need.
    ///
    /// # Errors
    /// As [`engine::locks::extend_locks`].
    pub fn extend_locks(&self, urls: &[String], secret: &SlotSecret) -> Result<Vec<LockOutcome>, Failure> {
        let mut outcomes = Vec::new();
        for url in urls {
            let target = self.target(url, Access::Write)?;
            let repository = self.at_home(Repository::open(vec![target.clone()], secret)?);
            outcomes.push(engine::locks::extend_locks(&repository, &target, &self.cx)?);
        }
        Ok(outcomes)
    }

    /// Counts what a place holds.
    ///
    /// # Errors
    /// As [`engine::stats::stats`].
    pub fn stats(&self, url: &str, secret: Option<&SlotSecret>) -> Result<Stats, Failure> {
        let target = self.target(url, Access::Read)?;
        let repository = secret.map(|secret| self.open(url, secret)).transpose()?;
        Ok(engine::stats::stats(&target, repository.as_ref())?)
    }
}

/// Mends a target with what the sources have, whichever of them can still be opened.
///
/// # Errors
/// As [`engine::repair::repair`]; what opening the target said when no source opens either.
pub fn repair_at(
    target: &Target,
    sources: &[Target],
    secret: &SlotSecret,
    dry_run: bool,
    cx: &Context,
) -> Result<RepairOutcome, Failure> {
    let repository = match Repository::open(vec![target.clone()], secret) {
        Ok(repository) => repository,
        Err(error) => {
            let opened = sources.iter().find_map(|s| Repository::open(vec![s.clone()], secret).ok());
            let Some(opened) = opened else { return Err(error.into()) };
            opened.with_targets(vec![target.clone()])
        }
    };
    for place in sources.iter().chain([target]) {
        repository.is_of(place)?;
    }
    let host = host_name();
    let request = RepairRequest { target, sources, host: &host, dry_run };
    // No cache: what is said of the target must rest on what it holds now.
    Ok(engine::repair::repair(&repository, &request, cx)?)
}

/// What a new repository's packs are like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Size at which they are closed.
    pub pack_bytes: usize,
    /// Parity for so many per cent of them; 0 for none.
    pub parity: u8,
}

/// A repository that was made, and what its places can do.
pub struct Created {
    /// The repository, open at the places where it was made.
    pub repository: Repository,
    /// What each of them was found to do.
    pub probed: Vec<(String, Capabilities)>,
    /// Why it could not be made at a later place.
    pub failed: Option<Failure>,
}

/// Makes one repository at all targets, each probed first. When a later target fails, those before
/// it keep the repository: it comes back with the failure.
///
/// # Errors
/// When nothing was made.
pub fn create(
    targets: Vec<Target>,
    secret: &SlotSecret,
    shape: Shape,
    cx: &Context,
) -> Result<Created, Failure> {
    let options =
        CreateOptions { pack_bytes: shape.pack_bytes, kdf: KdfParams::default(), parity: shape.parity };
    Repository::refuse_existing(&targets)?;
    let mut made: Option<Repository> = None;
    let mut probed = Vec::new();
    for target in targets {
        let found = capabilities::probe(target.storage.as_ref(), cx.clock.as_ref()).map_err(Failure::from);
        let result = found.and_then(|found| {
            let repository = match &made {
                None => Repository::create(target.clone(), secret, options)?,
                Some(first) => first.extend_to(&target)?,
            };
            probed.push((target.name.clone(), found));
            Ok(repository)
        });
        match (result, made) {
            (Ok(repository), _) => made = Some(repository),
            (Err(error), Some(repository)) => return Ok(Created { repository, probed, failed: Some(error) }),
            (Err(error), None) => return Err(error),
        }
    }
    made.map(|repository| Created { repository, probed, failed: None }).ok_or_else(|| {
        AppError::Usage { what: "no place was named".to_owned(), hint: "name one with --repo".to_owned() }
            .into()
    })
}

/// Opens a repository at the targets that answer and hold one; the others come back as lagging.
///
/// # Errors
/// When none does, one refuses the secret, or they hold different repositories.
pub fn open_reachable(
    targets: impl Iterator<Item = (String, Result<Target, Failure>)>,
    secret: &SlotSecret,
    cx: &Context,
) -> Result<(Repository, Vec<TargetOutcome>), Failure> {
    let mut reachable = Vec::new();
    let mut absent = Vec::new();
    let mut first = None;
    for (name, opened) in targets {
        let failure = match opened.and_then(holding) {
            Ok(target) => {
                reachable.push(target);
                continue;
            }
            Err(failure) => failure,
        };
        let class = failure.class();
        if !matches!(class, Class::NoRepository | Class::Unreachable | Class::Denied | Class::NotFound) {
            return Err(failure);
        }
        let reason = failure.message();
        cx.progress.warn(format!("{name} takes no part in this run: {reason}"));
        absent.push(TargetOutcome {
            target: name,
            complete: false,
            reason: Some(reason),
            class: Some(class),
            stored_bytes: 0,
            new_objects: Vec::new(),
        });
        first = first.or(Some(failure));
    }
    match first {
        Some(failure) if reachable.is_empty() => Err(failure),
        _ => Ok((Repository::open(reachable, secret)?, absent)),
    }
}

/// The target, when it answers and holds a repository.
fn holding(target: Target) -> Result<Target, Failure> {
    match target.storage.head(&REPO_FMT)? {
        Some(_) => Ok(target),
        None => Err(RepositoryError::NoRepository { place: target.storage.label().to_owned() }.into()),
    }
}

/// A source path as it is stored: absolute, without following links, unless it goes up again
/// through `..`: what that leads to only the file system can say.
///
/// # Errors
/// When the working folder is unknown, or a folder before a `..` is not there.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let unreadable = |source| AppError::Unreadable { what: "the path", path: path.to_owned(), source };
    let mut full = std::path::absolute(path).map_err(unreadable)?;
    let parts: Vec<Component<'_>> = full.components().collect();
    if let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) {
        let (up, down) = parts.split_at(last + 1);
        let up: PathBuf = up.iter().collect();
        let down: PathBuf = down.iter().collect();
        full = up.canonicalize().map_err(unreadable)?.join(down);
    }
    // `.` leaves a trailing component behind that would make another root of the same folder.
    Ok(full.components().collect())
}

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
