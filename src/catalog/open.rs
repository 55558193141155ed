//! Opening the catalogue: one file, many processes.
//!
//! Each holder shares a lock beside the file for as long as it is open. Who finds nobody else
//! there is alone, and when there is a write-ahead log then, the last holder did not end
//! cleanly: the file is checked before it is used.

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::CatalogError;
use super::sql::{Database, Session, args};
use crate::base::clock::Timestamp;
use crate::base::durable::{self, Lock};
use crate::base::entropy;

/// The catalogue of a state folder. Shared by threads; each call is one short transaction.
pub struct Catalog {
    pub(super) database: Database,
    path: PathBuf,
    // Dropped after the database: fields drop in their order.
    _open: Lock,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A policy as last loaded.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PolicySeen {
    /// The policy's name.
    pub id: String,
    /// SHA-256 of what was loaded.
    pub sha256: String,
    /// When the policy was first loaded.
    pub first_seen_at: Timestamp,
    /// When its hash last changed.
    pub changed_at: Timestamp,
}

impl Catalog {
    /// Opens the file; makes it where there is none; brings an older schema up to date.
    ///
    /// # Errors
    /// Usage: a newer version wrote it. Damage: its bytes are damaged. No space; denied.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let lock_path = path.with_extension("open");
        let failed = |error| CatalogError::io("lock", &lock_path)(error);
        let alone = durable::try_lock(&lock_path).map_err(failed)?;
        let wal_bytes = std::fs::metadata(wal_of(path)).map_or(0, |metadata| metadata.len());
        let is_unclean = alone.is_some() && wal_bytes > 0;
        let open = match alone {
            Some(alone) => {
                let database = prepare(path, is_unclean)?;
                Self { database, path: path.to_owned(), _open: alone.share().map_err(failed)? }
            }
            None => {
                let shared = durable::lock_shared(&lock_path).map_err(failed)?;
                Self { database: prepare(path, false)?, path: path.to_owned(), _open: shared }
            }
        };
        Ok(open)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a copy that holds still, in the place of one that is there.
    ///
    /// # Errors
    /// Of the database and of the file system.
    pub fn copy_to(&self, path: &Path) -> Result<(), CatalogError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CatalogError::io("remove", path)(error));
            }
            _ => {}
        }
        write_copy(&self.database, path)
    }

    /// What is known of a policy, or of another thing that is remembered by its hash.
    ///
    /// # Errors
    /// Of the database.
    pub fn policy_seen(&self, id: &str) -> Result<Option<PolicySeen>, CatalogError> {
        self.database.with(|session| read_seen(session, id))
    }

    /// Records that a policy was loaded; answers what is known of it.
    ///
    /// # Errors
    /// As of every call here: no space, denied, damage, transient.
    pub fn record_policy(&self, id: &str, sha256: &str, now: Timestamp) -> Result<PolicySeen, CatalogError> {
        self.database.transaction(|session| {
            session.execute(
                "record a policy",
                "INSERT INTO policies (id, sha256, first_seen_at, changed_at) VALUES ($1, $2, $3, $3)
                 ON CONFLICT (id) DO UPDATE SET sha256 = $2, changed_at = $3 WHERE policies.sha256 <> $2",
                args![id, sha256, now],
            )?;
            read_seen(session, id)?.ok_or_else(|| CatalogError::NotFound { what: format!("policy {id}") })
        })
    }
}

fn read_seen(session: &mut Session<'_>, id: &str) -> Result<Option<PolicySeen>, CatalogError> {
    session.row(
        "read a policy",
        "SELECT id, sha256, first_seen_at, changed_at FROM policies WHERE id = $1",
        args![id],
        |row| {
            Ok(PolicySeen {
                id: row.text(0)?,
                sha256: row.text(1)?,
                first_seen_at: row.time(2)?,
                changed_at: row.time(3)?,
            })
        },
    )
}

/// A fresh id: sorts by time, and two made at once differ.
pub(super) fn new_id(now: Timestamp) -> String {
    format!("{}-{}", now.compact(), hex::encode(entropy::random::<4>()))
}

/// SQLite makes its files as the umask lets it, and the log beside the file with the file's rights.
/// Whatever fails here fails again, and is told, when the file is opened.
fn keep_private(path: &Path) {
    match std::fs::File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let others_may =
                std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o077 != 0);
            if others_may {
                drop(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)));
            }
        }
        made => drop(made),
    }
}

fn prepare(path: &Path, is_unclean: bool) -> Result<Database, CatalogError> {
    keep_private(path);
    let database = Database::open(path)?;
    if is_unclean && let Some(what) = database.check()? {
        return Err(CatalogError::Damaged { path: path.to_owned(), what });
    }
    if let Some(schema) = database.older_schema()? {
        keep_for_the_way_back(&database, path, schema)?;
    }
    database.migrate(path)?;
    Ok(database)
}

/// A copy of the file as the version before can read it, in the place of older copies: so that an upgrade
/// can be taken back.
fn keep_for_the_way_back(database: &Database, path: &Path, schema: u64) -> Result<(), CatalogError> {
    let new = durable::temp_path(path);
    let copied = write_copy(database, &new).and_then(|()| {
        let file = std::fs::File::open(&new).map_err(CatalogError::io("open", &new))?;
        durable::sync_file(&file).map_err(CatalogError::io("sync", &new))?;
        let kept = path.with_extension(format!("schema-{schema}.db"));
        durable::rename(&new, &kept).map_err(CatalogError::io("rename", &new))
    });
    if copied.is_err() {
        drop(std::fs::remove_file(&new));
    }
    copied?;
    for other in (1..schema).map(|other| path.with_extension(format!("schema-{other}.db"))) {
        drop(std::fs::remove_file(other));
    }
    Ok(())
}

/// Writes a copy that holds still, where there is none; for its owner alone.
fn write_copy(database: &Database, path: &Path) -> Result<(), CatalogError> {
    keep_private(path);
    let text = path.to_string_lossy().into_owned();
    // An empty file is taken for none.
    database.with(|session| session.execute("copy the catalogue", "VACUUM INTO $1", args![&text]))?;
    Ok(())
}

fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
