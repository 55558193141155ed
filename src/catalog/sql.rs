//! The one async room of the catalogue: a connection with its own runtime behind blocking calls.
//!
//! Nothing of sqlx or tokio leaves this file. Statements are `$n`-style and the types are those
//! that SQLite and PostgreSQL share (BIGINT, TEXT), through sqlx's `Any`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Connection as _, Row as _};
use tokio::runtime::Runtime;

use super::error::CatalogError;
use super::words::Word;
use crate::base::clock::Timestamp;
use crate::base::error::Class;

static MIGRATIONS: Migrator = sqlx::migrate!("src/catalog/migrations");

/// SQLite's primary result codes that mean more than "failed" (sqlite.org/rescode.html).
const CLASSES: [(u32, Class); 9] = [
    (3, Class::Denied),
    (5, Class::Transient),
    (6, Class::Transient),
    (8, Class::Denied),
    (11, Class::Damage),
    (13, Class::NoSpace),
    (14, Class::Denied),
    (23, Class::Denied),
    (26, Class::Damage),
];
/// SQLITE_IOERR_SHMSIZE: the shared-memory file could not grow.
const IO_ERROR_SHM_SIZE: u32 = 4874;

/// One value to bind.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Arg {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<&Option<String>> for Arg {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u64> for Arg {
    /// Counts beyond 2^63 don't occur; they are stored as the largest number there is.
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<Timestamp> for Arg {
    fn from(at: Timestamp) -> Self {
        Self::Int(Some(at.unix_ms()))
    }
}

impl From<Option<u64>> for Arg {
    fn from(value: Option<u64>) -> Self {
        Self::Int(value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<Option<Timestamp>> for Arg {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Int(at.map(Timestamp::unix_ms))
    }
}

/// The values of a statement, in the order of its `$n`.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::catalog::sql::Arg::from($value)),*] };
}
pub(super) use args;

/// One row of an answer.
pub(super) struct Row<'a> {
    row: &'a AnyRow,
    doing: &'static str,
}

impl Row<'_> {
    pub(super) fn text(&self, column: usize) -> Result<String, CatalogError> {
        self.opt_text(column)?.ok_or_else(|| self.unreadable(column, "nothing"))
    }

    pub(super) fn opt_text(&self, column: usize) -> Result<Option<String>, CatalogError> {
        self.row.try_get(column).map_err(|error| sql_error(self.doing, error))
    }

    pub(super) fn int(&self, column: usize) -> Result<i64, CatalogError> {
        self.opt_int(column)?.ok_or_else(|| self.unreadable(column, "nothing"))
    }

    pub(super) fn opt_int(&self, column: usize) -> Result<Option<i64>, CatalogError> {
        self.row.try_get(column).map_err(|error| sql_error(self.doing, error))
    }

    pub(super) fn count(&self, column: usize) -> Result<u64, CatalogError> {
        let number = self.int(column)?;
        u64::try_from(number).map_err(|_| self.unreadable(column, &number.to_string()))
    }

    pub(super) fn time(&self, column: usize) -> Result<Timestamp, CatalogError> {
        self.int(column).map(Timestamp::from_unix_ms)
    }

    pub(super) fn opt_time(&self, column: usize) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_unix_ms))
    }

    pub(super) fn word<W: Word>(&self, column: usize) -> Result<W, CatalogError> {
        let text = self.text(column)?;
        W::parse(&text).ok_or_else(|| self.unreadable(column, &text))
    }

    pub(super) fn opt_word<W: Word>(&self, column: usize) -> Result<Option<W>, CatalogError> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(text) => W::parse(&text).map(Some).ok_or_else(|| self.unreadable(column, &text)),
        }
    }

    pub(super) fn json(&self, column: usize) -> Result<serde_json::Value, CatalogError> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|_| self.unreadable(column, &text))
    }

    pub(super) fn parsed<V: std::str::FromStr>(&self, column: usize) -> Result<V, CatalogError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.unreadable(column, &text))
    }

    pub(super) fn unreadable(&self, column: usize, found: &str) -> CatalogError {
        let found = found.chars().take(80).collect();
        CatalogError::Value { doing: self.doing, column, found }
    }
}

/// A connection that is in use: statements one after the other.
pub(super) struct Session<'a> {
    runtime: &'a Runtime,
    connection: &'a mut AnyConnection,
}

impl Session<'_> {
    /// Runs a statement; answers how many rows it touched.
    pub(super) fn execute(
        &mut self,
        doing: &'static str,
        statement: &'static str,
        args: &[Arg],
    ) -> Result<u64, CatalogError> {
        let query = bind(statement, args);
        let done = self.runtime.block_on(query.execute(&mut *self.connection));
        done.map(|done| done.rows_affected()).map_err(|error| sql_error(doing, error))
    }

    /// All rows of an answer.
    pub(super) fn rows<T>(
        &mut self,
        doing: &'static str,
        statement: &'static str,
        args: &[Arg],
        read: impl Fn(&Row<'_>) -> Result<T, CatalogError>,
    ) -> Result<Vec<T>, CatalogError> {
        let query = bind(statement, args);
        let rows = self.runtime.block_on(query.fetch_all(&mut *self.connection));
        let rows = rows.map_err(|error| sql_error(doing, error))?;
        rows.iter().map(|row| read(&Row { row, doing })).collect()
    }

    /// The first row of an answer, if there is one.
    pub(super) fn row<T>(
        &mut self,
        doing: &'static str,
        statement: &'static str,
        args: &[Arg],
        read: impl Fn(&Row<'_>) -> Result<T, CatalogError>,
    ) -> Result<Option<T>, CatalogError> {
        Ok(self.rows(doing, statement, args, read)?.into_iter().next())
    }
}

/// A database file, open.
pub(super) struct Database {
    // The mutex also keeps a transaction whole when threads share the catalogue.
    inner: Mutex<Inner>,
}

struct Inner {
    runtime: Runtime,
    // Taken out only when the database is dropped.
    connection: Option<AnyConnection>,
}

impl Inner {
    fn parts(&mut self) -> (&Runtime, &mut AnyConnection) {
        let connection = self.connection.as_mut().expect("the connection is there until the drop");
        (&self.runtime, connection)
    }
}

impl Drop for Database {
    /// Waits until the write-ahead log is in the file: its presence means an unclean end.
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = inner.connection.take() {
            // Whatever fails here is found by the check at the next opening.
            drop(inner.runtime.block_on(connection.close()));
        }
    }
}

impl Database {
    /// Opens or makes the file, in WAL mode and durable at each commit.
    pub(super) fn open(path: &Path) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CatalogError::io("start the runtime for", path))?;
        let connection = runtime
            .block_on(AnyConnection::connect(&url_of(path)))
            .map_err(|error| sql_error("open it", error))?;
        let database = Self { inner: Mutex::new(Inner { runtime, connection: Some(connection) }) };
        database.with(|session| {
            session.execute("set its busy timeout", "PRAGMA busy_timeout = 30000", &[])?;
            session.execute("choose its journal", "PRAGMA journal_mode = WAL", &[])?;
            session.execute("make it durable", "PRAGMA synchronous = FULL", &[])
        })?;
        Ok(database)
    }

    /// The schema that the file has, when it is older than this version's.
    pub(super) fn older_schema(&self) -> Result<Option<u64>, CatalogError> {
        let newest = MIGRATIONS.iter().map(|one| one.version).max().unwrap_or_default();
        self.with(|session| {
            let table = "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
            let is_there =
                session.row("look for its schema", table, &[], |row| row.count(0))?.unwrap_or_default() > 0;
            if !is_there {
                return Ok(None);
            }
            let applied = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations";
            let found = session.row("read its schema", applied, &[], |row| row.count(0))?.unwrap_or_default();
            Ok((found > 0 && found < u64::try_from(newest).unwrap_or_default()).then_some(found))
        })
    }

    /// Brings the schema up to this version.
    pub(super) fn migrate(&self, path: &Path) -> Result<(), CatalogError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (runtime, connection) = inner.parts();
        runtime.block_on(MIGRATIONS.run(connection)).map_err(|error| match error {
            MigrateError::VersionMissing(_) => CatalogError::Newer { path: path.to_owned() },
            MigrateError::VersionMismatch(version) => CatalogError::Damaged {
                path: path.to_owned(),
                what: format!("its schema {version} is not the one of this program"),
            },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                sql_error("bring its schema up to date", error)
            }
            other => CatalogError::Sql {
                doing: "bring its schema up to date",
                class: Class::Failed,
                source: Box::new(other),
            },
        })
    }

    /// SQLite's own check; `None` when all is well.
    pub(super) fn check(&self) -> Result<Option<String>, CatalogError> {
        let doing = "check its integrity";
        let found =
            self.with(|session| session.rows(doing, "PRAGMA integrity_check(20)", &[], |row| row.text(0)))?;
        Ok(if found == ["ok"] { None } else { Some(found.join("; ")) })
    }

    /// Statements outside of a transaction.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (runtime, connection) = inner.parts();
        work(&mut Session { runtime, connection })
    }

    /// Statements that all happen or none: the write lock is taken first, so that what is read
    /// inside still holds at the end.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (runtime, connection) = inner.parts();
        let mut transaction = runtime
            .block_on(connection.begin_with("BEGIN IMMEDIATE"))
            .map_err(|error| sql_error("begin a transaction", error))?;
        let done = work(&mut Session { runtime, connection: &mut transaction });
        match done {
            Ok(value) => {
                runtime.block_on(transaction.commit()).map_err(|error| sql_error("commit", error))?;
                Ok(value)
            }
            Err(error) => {
                // The first error is the one to tell; an undone transaction is undone either way.
                drop(runtime.block_on(transaction.rollback()));
                Err(error)
            }
        }
    }
}

fn bind<'q>(statement: &'static str, args: &[Arg]) -> Query<'q, Any, AnyArguments> {
    let mut query = sqlx::query(statement);
    for arg in args {
        query = match arg {
            Arg::Text(text) => query.bind(text.clone()),
            Arg::Int(number) => query.bind(*number),
        };
    }
    query
}

fn sql_error(doing: &'static str, error: sqlx::Error) -> CatalogError {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    let class = match code {
        Some(IO_ERROR_SHM_SIZE) => Class::NoSpace,
        Some(code) => {
            let primary = code & 0xff;
            CLASSES.iter().find(|(known, _)| *known == primary).map_or(Class::Failed, |(_, class)| *class)
        }
        None => Class::Failed,
    };
    CatalogError::Sql { doing, class, source: Box::new(error) }
}

/// The path as the driver's URL; every byte that could mean something in a URL is escaped.
fn url_of(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                url.push(char::from(*byte))
            }
            _ => write!(url, "%{byte:02X}").expect("text takes text"),
        }
    }
    url.push_str("?mode=rwc");
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Classified;

    fn a_database() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("catalogue.db");
        let database = Database::open(&path).expect("opens");
        database.migrate(&path).expect("migrates");
        (dir, database)
    }

    fn add(session: &mut Session<'_>, id: &str) -> Result<u64, CatalogError> {
        let statement = "INSERT INTO events (id, at, kind, message) VALUES ($1, 0, 'test', $2)";
        session.execute("add an event", statement, args![id, &"x".repeat(4096)])
    }

    fn events(database: &Database) -> i64 {
        let count = database
            .with(|session| session.row("count", "SELECT COUNT(*) FROM events", args![], |row| row.int(0)));
        count.expect("answers").expect("a row")
    }

    #[test]
    fn a_full_disk_is_no_space_and_leaves_what_was_there() {
        let (_dir, database) = a_database();
        database.with(|session| add(session, "first")).expect("there is space");
        database
            .with(|session| session.execute("limit it", "PRAGMA max_page_count = 60", args![]))
            .expect("limited");
        let error = (0..100)
            .find_map(|n| database.with(|session| add(session, &n.to_string())).err())
            .expect("no space in the end");
        assert_eq!(error.class(), Class::NoSpace, "{error}");
        assert!(events(&database) > 0);
        assert_eq!(database.check().expect("checked"), None);
    }

    #[test]
    fn a_transaction_that_fails_leaves_nothing() {
        let (_dir, database) = a_database();
        let failed: Result<(), _> = database.transaction(|session| {
            add(session, "one")?;
            Err(CatalogError::NotFound { what: "thing".to_owned() })
        });
        assert!(failed.is_err());
        assert_eq!(events(&database), 0);
    }

    #[test]
    fn words_of_another_version_are_an_error() {
        let (_dir, database) = a_database();
        let read = database.with(|session| {
            session.row("read it", "SELECT 'compact'", args![], |row| row.word::<super::super::words::Job>(0))
        });
        assert!(matches!(read, Err(CatalogError::Value { .. })));
    }

    #[test]
    fn every_commit_is_durable() {
        let (_dir, database) = a_database();
        let mode = |statement| {
            database.with(|session| session.row("read a mode", statement, args![], |row| row.int(0)))
        };
        assert_eq!(mode("PRAGMA synchronous").expect("answers"), Some(2), "FULL");
        let journal = database
            .with(|session| session.row("read a mode", "PRAGMA journal_mode", args![], |row| row.text(0)));
        assert_eq!(journal.expect("answers").as_deref(), Some("wal"));
    }
}
