//! Signed reports: `reports/<id>.json`, `.html` and `.sig`, each tied into the log.
//!
//! The order is: a `drill.started` line gives the id; the report's JSON names a line of the log
//! before its own (`evidence.log_seq_last`, `evidence.log_head`); the three files are made under
//! pending names; the `drill.finished` line takes the SHA-256 of JSON and HTML; the files get
//! their names; a head is signed. After a crash between any two of these the next
//! [`EvidenceLog::open`] finishes what the log vouches for and drops the rest.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::EvidenceError;
use super::head::{RepositoryAnchor, SignedHead};
use super::line::{Line, Next, read_line};
use super::log::{Entry, EvidenceLog, take_lock};
use super::sha256;
use super::tail;
use crate::base::clock::Timestamp;
use crate::base::durable::{self, Lock};
use crate::base::limits::OBJECT_BYTES_MAX;

/// The kinds of file a report has.
pub(super) const SUFFIXES: [&str; 3] = ["json", "html", "sig"];
/// Files of a report that the log doesn't vouch for yet.
const PENDING_PREFIX: &str = ".pending-";

/// `D-2026-000143`: the year and the log line of the drill's start. Sorts by age within a year.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ReportId(String);

/// Text that is no report's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a report's id such as D-2026-000143")]
pub struct NotAReportId(String);

impl ReportId {
    /// The id of the drill whose start is this line.
    pub(super) fn of_line(seq: u64, ts: Timestamp) -> Self {
        Self(format!("D-{}-{seq:06}", ts.to_utc().format("%Y")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReportId {
    type Err = NotAReportId;

    fn from_str(text: &str) -> Result<Self, NotAReportId> {
        let digits = |part: &str, least: usize| {
            (least..=20).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        match text.strip_prefix("D-").and_then(|rest| rest.split_once('-')) {
            Some((year, seq)) if year.len() == 4 && digits(year, 4) && digits(seq, 6) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NotAReportId(text.chars().take(80).collect())),
        }
    }
}

/// A report that is ready to be sealed.
#[derive(Debug)]
pub struct FinishedReport<'a> {
    /// From [`EvidenceLog::begin_report`].
    pub id: &'a ReportId,
    /// The report: an object with this `id` and `evidence.log_seq_last`, `evidence.log_head`
    /// from [`EvidenceLog::tip`]. A `pick` with a `seed` must have its `commitment`, which must
    /// be in the log already (as `commitment` in the data of the drill's start).
    pub json: &'a [u8],
    /// The page for people.
    pub html: &'a [u8],
    /// What the `drill.finished` line says beside the id and the two hashes: the verdict.
    pub data: Map<String, Value>,
    /// Where the repositories stand, for the head.
    pub repositories: &'a [RepositoryAnchor],
}

/// A report that is on disk and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedReport {
    /// The report's JSON; page and signature are beside it.
    pub json_path: PathBuf,
    /// The page for people.
    pub html_path: PathBuf,
    /// SHA-256 of the JSON, as the log has it.
    pub json_sha256: String,
    /// SHA-256 of the page, as the log has it.
    pub html_sha256: String,
    /// The `drill.finished` line.
    pub entry: Entry,
    /// The head that covers it.
    pub head: SignedHead,
}

impl EvidenceLog {
    /// Logs the start of a drill; its line gives the report its id. `data` gets the id added.
    ///
    /// # Errors
    /// As [`EvidenceLog::append`].
    pub fn begin_report(&self, mut data: Map<String, Value>) -> Result<(ReportId, Entry), EvidenceError> {
        let lock = take_lock(&self.place)?;
        let entry = self.append_locked(&lock, "drill.started", |stamp| {
            data.insert("id".to_owned(), ReportId::of_line(stamp.seq, stamp.ts).0.into());
            Value::Object(data)
        })?;
        Ok((ReportId::of_line(entry.seq, entry.ts), entry))
    }

    /// Signs a report, logs its hashes, and signs a head over all of it.
    ///
    /// # Errors
    /// Refused, when the id has a report already or the JSON doesn't name id and head; else as
    /// [`EvidenceLog::append`].
    pub fn finish_report(&self, report: FinishedReport<'_>) -> Result<SealedReport, EvidenceError> {
        let id = report.id;
        let lock = take_lock(&self.place)?;
        self.settle(&lock)?;
        let refused = |why: &str| EvidenceError::Refused { what: id.to_string(), why: why.to_owned() };
        if report.json.len() > OBJECT_BYTES_MAX || report.html.len() > OBJECT_BYTES_MAX {
            return Err(refused("it is larger than 64 MiB"));
        }
        if SUFFIXES.iter().any(|suffix| self.report_path(id, suffix).exists()) {
            return Err(refused("this report is finished; a finished report never changes"));
        }
        let stated = Stated::read(report.json).map_err(|why| refused(&why))?;
        if stated.id != id.0 {
            return Err(refused("its JSON has another id"));
        }

        let signature = self.key.sign(report.json);
        for (suffix, bytes) in SUFFIXES.into_iter().zip([report.json, report.html, signature.as_slice()]) {
            let path = self.pending_path(id, suffix);
            durable::replace(&path, bytes).map_err(EvidenceError::io("write", &path))?;
        }
        let (json_sha256, html_sha256) = (sha256::hex(report.json), sha256::hex(report.html));
        let mut data = report.data;
        data.insert("id".to_owned(), id.0.clone().into());
        data.insert("report_sha256".to_owned(), json_sha256.clone().into());
        data.insert("html_sha256".to_owned(), html_sha256.clone().into());
        let entry = self.append_locked(&lock, "drill.finished", |_| Value::Object(data))?;
        self.give_names(id)?;
        let head = self.sign_head_locked(&lock, report.repositories)?;
        Ok(SealedReport {
            json_path: self.report_path(id, "json"),
            html_path: self.report_path(id, "html"),
            json_sha256,
            html_sha256,
            entry,
            head,
        })
    }

    /// Finishes reports that a crash left between the log and their names; drops the pending
    /// files of those that never got into the log.
    pub(super) fn settle(&self, _held: &Lock) -> Result<(), EvidenceError> {
        let folder = self.place.reports();
        let mut pending = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(EvidenceError::io("list", &folder))? {
            let entry = entry.map_err(EvidenceError::io("list", &folder))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(PENDING_PREFIX)?.rsplit_once('.'));
            if let Some(id) = id.and_then(|(id, _)| id.parse::<ReportId>().ok()) {
                pending.push(id);
            }
        }
        pending.sort();
        pending.dedup();
        for id in pending {
            if self.is_finished(&id)? {
                self.give_names(&id)?;
            } else {
                for suffix in SUFFIXES {
                    let path = self.pending_path(&id, suffix);
                    if path.exists() {
                        std::fs::remove_file(&path).map_err(EvidenceError::io("remove", &path))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the log has this report's `drill.finished` line. Reads the whole log; only asked after a crash.
    fn is_finished(&self, id: &ReportId) -> Result<bool, EvidenceError> {
        let log = self.place.log();
        for (_, path) in tail::month_files(&log).map_err(EvidenceError::io("list", &log))? {
            let file = File::open(&path).map_err(EvidenceError::io("open", &path))?;
            let mut reader = BufReader::new(file);
            let mut buffer = Vec::new();
            while let Next::Whole =
                read_line(&mut reader, &mut buffer).map_err(EvidenceError::io("read", &path))?
            {
                let is_it = |line: &Line| line.kind == "drill.finished" && line.data["id"] == id.0.as_str();
                if Line::decode(&buffer).is_ok_and(|line| is_it(&line)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn give_names(&self, id: &ReportId) -> Result<(), EvidenceError> {
        for suffix in SUFFIXES {
            let (from, to) = (self.pending_path(id, suffix), self.report_path(id, suffix));
            if from.exists() {
                durable::rename_new(&from, &to).map_err(EvidenceError::io("rename", &from))?;
            }
        }
        let folder = self.place.reports();
        durable::sync_dir(&folder).map_err(EvidenceError::io("sync", &folder))
    }

    fn report_path(&self, id: &ReportId, suffix: &str) -> PathBuf {
        self.place.reports().join(format!("{id}.{suffix}"))
    }

    fn pending_path(&self, id: &ReportId, suffix: &str) -> PathBuf {
        self.place.reports().join(format!("{PENDING_PREFIX}{id}.{suffix}"))
    }
}

/// What a report's JSON states about its place in the log.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) id: String,
    pub(super) log_seq: u64,
    pub(super) log_head: String,
    /// Seed and commitment, where something was picked.
    pub(super) pick: Option<(String, String)>,
}

impl Stated {
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("it is no JSON: {error}"))?;
        if !json.starts_with(b"{") {
            return Err("its JSON does not begin with {".to_owned());
        }
        let text = |value: &Value, name: &str| {
            value[name].as_str().map(str::to_owned).ok_or_else(|| format!("it has no `{name}`"))
        };
        let evidence = &value["evidence"];
        let pick = &value["pick"];
        Ok(Self {
            id: text(&value, "id")?,
            log_seq: evidence["log_seq_last"].as_u64().ok_or("it has no `evidence.log_seq_last`")?,
            log_head: text(evidence, "log_head")?,
            pick: match pick["seed"].as_str() {
                Some(seed) => Some((seed.to_owned(), text(pick, "commitment")?)),
                None => None,
            },
        })
    }
}

/// The id and the kind in a report file's name.
pub(super) fn split_name(path: &Path) -> Option<(ReportId, &'static str)> {
    let (id, suffix) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let suffix = SUFFIXES.into_iter().find(|known| *known == suffix)?;
    Some((id.parse().ok()?, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_are_safe_file_names_are_taken() {
        assert!("D-2026-000143".parse::<ReportId>().is_ok());
        for text in ["", "D-", "D-2026-1", "D-2026-../../x", "D-2026-00014/3", "E-2026-000143"] {
            assert!(text.parse::<ReportId>().is_err(), "{text}");
        }
    }
}
