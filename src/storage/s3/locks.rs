//! Object Lock, and trying whether it holds.

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};

use super::driver::S3Storage;
use super::failure::Failure;
use super::versions::Version;
use crate::base::clock::Timestamp;
use crate::base::lock::{LockMode, LockRule};
use crate::storage::contract::{ObjectName, StorageError};
use crate::storage::guard::{Guard, Lock, forever};

pub(super) fn mode_of(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

/// Stores count in whole seconds; upwards, so that no lock ends before its time.
pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_secs(at.unix_ms().saturating_add(999).div_euclid(1000))
}

impl S3Storage {
    fn retention_of(&self, name: &ObjectName) -> Result<Option<Lock>, Failure> {
        let request = self.client.head_object().bucket(&self.options.bucket).key(self.key(name.as_str()));
        let found = match self.call(async { request.send().await.map_err(Failure::from) }) {
            Ok(found) => found,
            Err(Failure::Absent) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        if found.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On) {
            return Ok(Some(Lock { mode: LockMode::Compliance, until: forever() }));
        }
        let until = found.object_lock_retain_until_date().and_then(|at| at.to_millis().ok());
        let mode = match found.object_lock_mode() {
            Some(ObjectLockMode::Compliance) => LockMode::Compliance,
            Some(_) => LockMode::Governance,
            None => return Ok(None),
        };
        Ok(until.map(|until| Lock { mode, until: Timestamp::from_unix_ms(until) }))
    }

    fn retain(&self, name: &ObjectName, lock: Lock) -> Result<(), Failure> {
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(date(lock.until)).build();
        let request = self
            .client
            .put_object_retention()
            .bucket(&self.options.bucket)
            .key(self.key(name.as_str()))
            .retention(retention);
        self.call(async { request.send().await.map_err(Failure::from) }).map(drop)
    }

    fn newest_version(&self, name: &ObjectName) -> Result<Version, Failure> {
        let request = self.client.head_object().bucket(&self.options.bucket).key(self.key(name.as_str()));
        let found = self.call(async { request.send().await.map_err(Failure::from) })?;
        Ok(Version { id: found.version_id().map(str::to_owned), ..Version::only() })
    }

    fn destroy_version(&self, name: &ObjectName, version: &Version) -> Result<(), Failure> {
        let delete = |bypass: bool| {
            let request = self
                .client
                .delete_object()
                .bucket(&self.options.bucket)
                .key(self.key(name.as_str()))
                .set_version_id(version.id.clone())
                .set_bypass_governance_retention(bypass.then_some(true));
            self.call(async { request.send().await.map_err(Failure::from) }).map(drop)
        };
        match delete(false) {
            // Whoever may go round a lock can, and so can who steals the credentials.
            Err(Failure::Denied(_)) => delete(true),
            done => done,
        }
    }
}

impl Guard for S3Storage {
    fn rule(&self) -> Option<LockRule> {
        self.options.lock
    }

    fn lock_of(&self, name: &ObjectName) -> Result<Option<Lock>, StorageError> {
        self.retention_of(name)
            .map_err(|failure| failure.into_error(&self.label, "looking at the lock of", Some(name)))
    }

    fn extend_lock(&self, name: &ObjectName, lock: Lock) -> Result<(), StorageError> {
        let failed = |failure: Failure| failure.into_error(&self.label, "locking", Some(name));
        match self.retention_of(name).map_err(failed)? {
            Some(now) if now.until >= lock.until => Ok(()),
            _ => self.retain(name, lock).map_err(failed),
        }
    }

    fn destroy(&self, name: &ObjectName) -> Result<(), StorageError> {
        let failed = |failure: Failure| failure.into_error(&self.label, "destroying", Some(name));
        // A store that knows no versions has the one.
        let versions = match self.versions_of(name) {
            Ok(versions) => versions,
            // Who may not list versions still learns the newest one's id by asking for the object.
            Err(Failure::Denied(_)) => vec![self.newest_version(name).map_err(failed)?],
            Err(Failure::Unknown(_) | Failure::Absent) => vec![Version::only()],
            Err(failure) => return Err(failed(failure)),
        };
        for version in &versions {
            match self.destroy_version(name, version) {
                Ok(()) | Err(Failure::Absent) => {}
                Err(failure) => return Err(failed(failure)),
            }
        }
        Ok(())
    }
}
