//! The append-only log: JSON lines, each carrying the SHA-256 of the line before.
//!
//! Daemon and commands share it: every append takes the folder's lock, reads the end, writes one
//! line and makes it durable. A line goes to the month file of its time (UTC); when the clock
//! stepped back over a month's end, to the newest month file there is, so that the order of the
//! files is always the order of the lines. Nothing is ever changed or removed, but for the piece
//! of a last line whose writing was cut short: it is kept beside the log, and a line says so.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::EvidenceError;
use super::key::{EvidenceKey, PublicKey};
use super::line::{LINE_BYTES_MAX, Line};
use super::sha256;
use super::tail::{self, Tail};
use crate::base::clock::{Clock, Timestamp};
use crate::base::durable::{self, Created, Lock};

/// A clock that goes back further than this gets a line of its own.
const STEP_BACK: Duration = Duration::from_secs(5 * 60);
/// Lines that only this floor writes.
const RESERVED_KINDS: [&str; 5] =
    ["log.started", "log.recovered", "clock.stepped_back", "drill.started", "drill.finished"];
/// Pieces of lines kept for one number; more means that the medium is failing.
const TORN_FILES_MAX: usize = 16;

/// The files of an evidence folder.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// The folder `evidence/` of a state folder, or a copy of one.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Month files and torn pieces.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Signed heads.
    pub fn heads(&self) -> PathBuf {
        self.dir.join("heads")
    }

    /// Signed reports.
    pub fn reports(&self) -> PathBuf {
        self.dir.join("reports")
    }

    /// The public key, as openssl reads it.
    pub fn public_key(&self) -> PathBuf {
        self.dir.join("key.pub.pem")
    }

    /// The private key, where none is configured.
    pub fn private_key(&self) -> PathBuf {
        self.dir.join("evidence.key")
    }

    /// Held while something is written.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }
}

/// A line that was written durably, or the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; 0 stands for an empty log.
    pub seq: u64,
    /// Its time.
    pub ts: Timestamp,
    /// SHA-256 of its bytes.
    pub hash: String,
}

/// An evidence folder, open for writing.
pub struct EvidenceLog {
    pub(super) place: Place,
    pub(super) key: EvidenceKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) host: String,
}

impl EvidenceLog {
    /// Opens the folder; makes folder, key and first line where there are none.
    ///
    /// `sign_key_file` is the configured key; without it the folder's own `evidence.key` is used.
    ///
    /// # Errors
    /// Wrong key, when the log was begun with another key or its key is gone; damage, when the
    /// log does not end in a line of ours; or what the file system says.
    pub fn open(
        dir: &Path,
        sign_key_file: Option<&Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EvidenceError> {
        let place = Place::new(dir);
        for folder in [place.log(), place.heads(), place.reports()] {
            durable::create_dir_all(&folder).map_err(EvidenceError::io("create", &folder))?;
        }
        let lock = take_lock(&place)?;
        let tail = tail::find(&place.log())?;
        let key_path = sign_key_file.map_or_else(|| place.private_key(), Path::to_owned);
        // A piece of a first line proves nothing yet, so a new key may stand beside it.
        let key = if key_path.exists() || sign_key_file.is_some() {
            EvidenceKey::load(&key_path)?
        } else if tail.seq == 0 {
            EvidenceKey::create(&key_path)?
        } else {
            return Err(EvidenceError::KeyMissing { path: key_path });
        };
        let first = tail::first_line(&place.log())?.and_then(|bytes| Line::decode(&bytes).ok());
        if tail.seq > 0 && first.as_ref().and_then(public_key_of) != Some(key.public()) {
            return Err(EvidenceError::OtherKey { path: key_path });
        }
        publish(&place, &key.public())?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let log = Self { place, key, clock, host };
        if tail.seq == 0 {
            log.current_tail(&lock)?;
        }
        log.settle(&lock)?;
        drop(lock);
        Ok(log)
    }

    /// Appends one line and makes it durable.
    ///
    /// `kind` is `[a-z0-9._]`, two words: `run.finished`. `data` holds ids and counts. About one
    /// fsync of cost.
    ///
    /// # Errors
    /// Refused kinds and lines over 1 MiB; no space; damage at the end of the log.
    pub fn append(&self, kind: &str, data: Value) -> Result<Entry, EvidenceError> {
        if RESERVED_KINDS.contains(&kind) {
            let why = "only the evidence floor writes lines of this kind".to_owned();
            return Err(EvidenceError::Refused { what: kind.to_owned(), why });
        }
        self.append_locked(&take_lock(&self.place)?, kind, |_| data)
    }

    /// The end of the log: what a report names as the head before its own line.
    ///
    /// # Errors
    /// As [`EvidenceLog::append`].
    pub fn tip(&self) -> Result<Entry, EvidenceError> {
        let tail = self.current_tail(&take_lock(&self.place)?)?;
        Ok(Entry { seq: tail.seq, ts: tail.ts.unwrap_or_default(), hash: tail.hash })
    }

    /// The folder's files.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The key that checks everything signed here.
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Appends under a lock that is already held; `data` may depend on the line's own number.
    pub(super) fn append_locked(
        &self,
        lock: &Lock,
        kind: &str,
        data: impl FnOnce(&Stamp) -> Value,
    ) -> Result<Entry, EvidenceError> {
        check_kind(kind)?;
        let mut tail = self.current_tail(lock)?;
        let now = self.clock.now();
        if let Some(last) = tail.ts.filter(|last| last.since(now) > STEP_BACK) {
            self.write(&mut tail, "clock.stepped_back", now, |_| json!({ "from": last, "to": now }))?;
        }
        self.write(&mut tail, kind, now, data)
    }

    /// The end of the log after repairing a cut-off line and, in an empty log, writing the first.
    pub(super) fn current_tail(&self, _held: &Lock) -> Result<Tail, EvidenceError> {
        let mut tail = tail::find(&self.place.log())?;
        if let Some(torn) = tail.torn.take() {
            self.move_aside(tail.seq + 1, &torn)?;
        }
        let recovered = self.torn_files(tail.seq + 1)?;
        let now = self.clock.now();
        if tail.seq == 0 {
            let public_key = self.key.public();
            self.write(&mut tail, "log.started", now, |_| {
                json!({
                    "public_key": public_key.to_hex(),
                    "key_id": public_key.fingerprint(),
                    "host": self.host,
                    "version": env!("CARGO_PKG_VERSION"),
                    "torn": recovered,
                })
            })?;
        } else if !recovered.is_empty() {
            self.write(&mut tail, "log.recovered", now, |_| json!({ "torn": recovered }))?;
        }
        Ok(tail)
    }

    /// Keeps a cut-off line's bytes as `torn-<seq>` and takes them out of the month file. Every
    /// step can be repeated after a crash.
    fn move_aside(&self, seq: u64, torn: &tail::Torn) -> Result<(), EvidenceError> {
        let log = self.place.log();
        for path in torn_names(&log, seq) {
            let made = durable::create_new(&path, &torn.bytes).map_err(EvidenceError::io("write", &path))?;
            if made == Created::New
                || std::fs::read(&path).map_err(EvidenceError::io("read", &path))? == torn.bytes
            {
                durable::sync_dir(&log).map_err(EvidenceError::io("sync", &log))?;
                return cut(&torn.path, torn.at);
            }
        }
        Err(EvidenceError::damaged(&torn.path, "its last line was cut off too many times"))
    }

    /// The pieces kept for a number, as `log.recovered` lists them.
    fn torn_files(&self, seq: u64) -> Result<Vec<Value>, EvidenceError> {
        let mut files = Vec::new();
        for path in torn_names(&self.place.log(), seq) {
            if !path.exists() {
                break;
            }
            let sha256 = sha256::of_file(&path).map_err(EvidenceError::io("read", &path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(json!({ "file": name, "sha256": sha256 }));
        }
        Ok(files)
    }

    fn write(
        &self,
        tail: &mut Tail,
        kind: &str,
        ts: Timestamp,
        data: impl FnOnce(&Stamp) -> Value,
    ) -> Result<Entry, EvidenceError> {
        let seq = tail.seq + 1;
        let data = data(&Stamp { seq, ts });
        let line = Line { seq, ts, prev: tail.hash.clone(), kind: kind.to_owned(), data };
        let (mut bytes, hash) = line.encode();
        if bytes.len() > LINE_BYTES_MAX {
            let why = format!("its line would have {} bytes; 1 MiB is the most", bytes.len());
            return Err(EvidenceError::Refused { what: kind.to_owned(), why });
        }
        bytes.push(b'\n');
        let month = tail.month.take().unwrap_or_default().max(tail::month_of(ts));
        let path = self.place.log().join(format!("{month}.jsonl"));
        append_bytes(&path, &bytes)?;
        tail.seq = seq;
        tail.ts = Some(ts);
        tail.hash.clone_from(&hash);
        tail.size += u64::try_from(bytes.len()).unwrap_or(0);
        tail.month = Some(month);
        Ok(Entry { seq, ts, hash })
    }
}

impl std::fmt::Debug for EvidenceLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvidenceLog").field("dir", &self.place.dir).finish_non_exhaustive()
    }
}

/// The number and time that a line is about to get.
pub(super) struct Stamp {
    pub(super) seq: u64,
    pub(super) ts: Timestamp,
}

/// Waits for the folder's lock.
pub(super) fn take_lock(place: &Place) -> Result<Lock, EvidenceError> {
    let path = place.lock();
    durable::lock(&path).map_err(EvidenceError::io("lock", &path))
}

/// The key that a first line names.
pub(super) fn public_key_of(line: &Line) -> Option<PublicKey> {
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(line.data.get("public_key")?.as_str()?, &mut bytes).ok()?;
    Some(PublicKey::new(bytes))
}

fn publish(place: &Place, key: &PublicKey) -> Result<(), EvidenceError> {
    let path = place.public_key();
    let pem = key.to_pem();
    match durable::create_new(&path, pem.as_bytes()).map_err(EvidenceError::io("write", &path))? {
        Created::New => durable::sync_dir(place.dir()).map_err(EvidenceError::io("sync", place.dir())),
        Created::Existing => {
            let found = std::fs::read(&path).map_err(EvidenceError::io("read", &path))?;
            if found == pem.as_bytes() {
                Ok(())
            } else {
                Err(EvidenceError::damaged(&path, "it is not the key that the log was begun with"))
            }
        }
    }
}

fn torn_names(log: &Path, seq: u64) -> impl Iterator<Item = PathBuf> {
    (0..TORN_FILES_MAX).map(move |again| match again {
        0 => log.join(format!("torn-{seq:010}")),
        _ => log.join(format!("torn-{seq:010}.{again}")),
    })
}

fn check_kind(kind: &str) -> Result<(), EvidenceError> {
    let good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_');
    if !kind.is_empty() && kind.len() <= 64 && kind.bytes().all(good) {
        return Ok(());
    }
    let why = "a kind has 1 to 64 of a-z, 0-9, dot and underscore".to_owned();
    Err(EvidenceError::Refused { what: kind.chars().take(80).collect(), why })
}

/// Adds bytes to a file durably, or leaves it as it was if the file system lets it.
fn append_bytes(path: &Path, bytes: &[u8]) -> Result<(), EvidenceError> {
    let fail = EvidenceError::io("append to", path);
    let is_new = !path.exists();
    let opened = File::options().append(true).create(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => return Err(fail(error)),
    };
    let before = file.metadata().map(|metadata| metadata.len());
    if let Err(error) = file.write_all(bytes).and_then(|()| durable::sync_file(&file)) {
        if let Ok(len) = before {
            // If this fails too, the next append finds the piece and keeps it aside.
            drop(file.set_len(len));
        }
        return Err(fail(error));
    }
    if is_new {
        let folder = path.parent().unwrap_or(Path::new("."));
        durable::sync_dir(folder).map_err(EvidenceError::io("sync", folder))?;
    }
    Ok(())
}

fn cut(path: &Path, len: u64) -> Result<(), EvidenceError> {
    let cut = || {
        let file = File::options().write(true).open(path)?;
        file.set_len(len)?;
        durable::sync_file(&file)
    };
    cut().map_err(EvidenceError::io("cut the torn line off", path))
}
