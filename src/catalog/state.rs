//! The state folder: where catalogue, evidence, caches, keys and sandboxes are, and which daemon
//! owns it. Commands that need none of these never open it.

use std::path::{Path, PathBuf};

use super::error::CatalogError;
use crate::base::durable::{self, Lock};

/// A state folder. Its subfolders are private (0700).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFolder {
    root: PathBuf,
}

/// One daemon's ownership of a state folder, until dropped or until the process ends in any way.
#[derive(Debug)]
pub struct DaemonClaim {
    _lock: Lock,
}

impl StateFolder {
    /// Names the folder; touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes the folder and what belongs into it, where it isn't there.
    ///
    /// # Errors
    /// Denied or no space, by the file system.
    pub fn create(&self) -> Result<(), CatalogError> {
        for folder in
            [self.evidence(), self.cache(), self.seen(), self.scrubbed(), self.keys(), self.sandbox()]
        {
            durable::create_dir_all(&folder).map_err(CatalogError::io("create", &folder))?;
        }
        Ok(())
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalogue's file.
    pub fn catalogue(&self) -> PathBuf {
        self.root.join("catalogue.db")
    }

    /// The evidence folder.
    pub fn evidence(&self) -> PathBuf {
        self.root.join("evidence")
    }

    /// Caches; may be deleted at any time.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What was seen of repositories. Losing it loses no backup, only what a roll-back is held
    /// against.
    pub fn seen(&self) -> PathBuf {
        self.root.join("seen")
    }

    /// What scrubs read, and when. Losing it means that everything counts as unread.
    pub fn scrubbed(&self) -> PathBuf {
        self.root.join("scrubbed")
    }

    /// Key files, where no others are configured.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where drills restore to.
    pub fn sandbox(&self) -> PathBuf {
        self.root.join("sandbox")
    }

    /// Held by the daemon.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Shared by restores for as long as they go on: other work waits for them.
    pub fn restoring(&self) -> PathBuf {
        self.root.join("restoring")
    }

    /// A copy of the catalogue that holds still, for the backup of this host's records.
    pub fn own(&self) -> PathBuf {
        self.root.join("own")
    }

    /// Touched whenever the daemon has looked at the clock.
    pub fn ticked(&self) -> PathBuf {
        self.root.join("ticked")
    }

    /// Held by whoever looks at all promises.
    pub fn watching(&self) -> PathBuf {
        self.root.join("watching")
    }

    /// Says that a restore goes on, until dropped or until the process ends in any way.
    ///
    /// # Errors
    /// Of the file system.
    pub fn claim_restore(&self) -> Result<Lock, CatalogError> {
        let path = self.restoring();
        durable::lock_shared(&path).map_err(CatalogError::io("lock", &path))
    }

    /// Whether a restore goes on.
    pub fn is_restoring(&self) -> bool {
        let path = self.restoring();
        path.exists() && matches!(durable::try_lock(&path), Ok(None))
    }

    /// The process of the daemon, when one lives.
    ///
    /// # Errors
    /// Of the file system.
    pub fn daemon(&self) -> Result<Option<u32>, CatalogError> {
        let path = self.lock();
        if !path.exists() || durable::try_lock(&path).map_err(CatalogError::io("lock", &path))?.is_some() {
            return Ok(None);
        }
        let pid = std::fs::read_to_string(&path).map_err(CatalogError::io("read", &path))?;
        Ok(pid.trim().parse().ok())
    }

    /// Makes this process the folder's daemon.
    ///
    /// # Errors
    /// State in use, naming the process that is the daemon already.
    pub fn claim_daemon(&self) -> Result<DaemonClaim, CatalogError> {
        let path = self.lock();
        match durable::try_lock(&path).map_err(CatalogError::io("lock", &path))? {
            Some(lock) => {
                // The lock decides; the number is for people.
                std::fs::write(&path, format!("{}\n", std::process::id()))
                    .map_err(CatalogError::io("write", &path))?;
                Ok(DaemonClaim { _lock: lock })
            }
            None => {
                let pid = std::fs::read_to_string(&path).unwrap_or_default();
                let pid =
                    pid.trim().parse::<u32>().map_or_else(|_| "unknown".to_owned(), |pid| pid.to_string());
                Err(CatalogError::InUse { path: self.root.clone(), pid })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{Class, Classified};

    #[test]
    fn a_state_folder_has_one_daemon_and_names_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let state = StateFolder::new(dir.path().join("state"));
        state.create().expect("made");
        let claim = state.claim_daemon().expect("free");
        let error = state.claim_daemon().expect_err("taken");
        assert_eq!(error.class(), Class::StateInUse);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(claim);
        state.claim_daemon().expect("free again");
    }
}
