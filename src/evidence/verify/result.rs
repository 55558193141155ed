//! The order of the verification, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{chain, heads, reports};
use crate::base::clock::Timestamp;
use crate::base::durable;
use crate::evidence::error::EvidenceError;
use crate::evidence::key::PublicKey;
use crate::evidence::log::Place;
use crate::evidence::report::ReportId;

/// More problems than this are only counted.
const PROBLEMS_MAX: usize = 1000;
/// Largest public key file that is read.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// What the verifier brings along, from outside of the folder.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The key from the recovery kit or an earlier report. Without it the folder's own is used,
    /// which proves that the folder is of one piece, not whose it is.
    pub public_key: Option<PublicKey>,
    /// Heads that left the machine earlier, each with its `.sig` beside it: the log must reach
    /// and contain every one of them.
    pub outside_heads: Vec<PathBuf>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file within the folder.
    pub file: String,
    /// The line of the file, from 1.
    pub line: Option<u64>,
    /// What is wrong, as a sentence without a full stop.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Nothing is wrong.
    pub ok: bool,
    /// Fingerprint of the key that everything was checked with.
    pub key_id: Option<String>,
    /// Time of the first line.
    pub first: Option<Timestamp>,
    /// Time of the last line.
    pub last: Option<Timestamp>,
    /// Number of the last line.
    pub last_seq: u64,
    /// SHA-256 of the last line.
    pub last_hash: String,
    /// Lines read.
    pub lines: u64,
    /// Heads checked, those from outside included.
    pub heads: u64,
    /// Lines after the newest head: they could be cut off or changed together unseen.
    pub lines_after_last_head: u64,
    /// Reports checked.
    pub reports: u64,
    /// Drills that were started and never finished.
    pub unfinished: Vec<String>,
    /// What is wrong, at most 1000.
    pub problems: Vec<Problem>,
    /// How many more problems there are.
    pub problems_left_out: u64,
}

impl VerifyReport {
    pub(super) fn problem(&mut self, file: &str, line: Option<u64>, what: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { file: file.to_owned(), line, what: what.into() });
        } else {
            self.problems_left_out += 1;
        }
    }
}

/// What a head or a report says about a line of the log.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) file: String,
    pub(super) hash: String,
    /// Bytes of the log up to the line, where the claim has it.
    pub(super) size: Option<u64>,
    /// Hash of the first line, where the claim has it.
    pub(super) genesis: Option<String>,
}

/// What the log says, as far as the other files must match it.
#[derive(Debug, Default)]
pub(super) struct Logged {
    pub(super) started: BTreeSet<String>,
    pub(super) finished: BTreeMap<String, Finished>,
    /// Commitment to the first line that has it.
    pub(super) commitments: BTreeMap<String, u64>,
    /// Torn file to its SHA-256.
    pub(super) torn: BTreeMap<String, String>,
}

/// A `drill.finished` line.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) seq: u64,
    pub(super) json_sha256: String,
    pub(super) html_sha256: String,
}

/// Claims by line number.
pub(super) type Claims = BTreeMap<u64, Vec<Claim>>;

/// Verifies a folder. Reads every byte of it once; memory grows with heads and reports, not with lines.
///
/// # Errors
/// Only when the folder cannot be read at all; what is wrong inside is in the answer.
pub fn verify(dir: &Path, trust: &Trust) -> Result<VerifyReport, EvidenceError> {
    let place = Place::new(dir);
    let log = place.log();
    std::fs::read_dir(&log).map_err(EvidenceError::io("list", &log))?;
    // Keeps a daemon from writing in between; a read-only copy has no writer to keep out.
    let _lock = place.lock().exists().then(|| durable::lock(&place.lock()).ok()).flatten();

    let mut report = VerifyReport::default();
    let key = the_key(&place, trust, &mut report);
    report.key_id = key.as_ref().map(PublicKey::fingerprint);
    let mut claims = Claims::new();
    heads::check(&place, trust, key.as_ref(), &mut claims, &mut report)?;
    let sealed = reports::check(&place, key.as_ref(), &mut claims, &mut report)?;
    let newest_head = report_newest_head(&claims);
    let logged = chain::check(&place, key.as_ref(), claims, &mut report)?;
    reports::compare(&sealed, &logged, &mut report);
    report.unfinished =
        logged.started.iter().filter(|id| !logged.finished.contains_key(*id)).cloned().collect();
    report.lines_after_last_head = report.last_seq.saturating_sub(newest_head);
    report.ok = report.problems.is_empty();
    Ok(report)
}

fn report_newest_head(claims: &Claims) -> u64 {
    let is_head = |claims: &Vec<Claim>| claims.iter().any(|claim| claim.genesis.is_some());
    claims.iter().rev().find(|(_, claims)| is_head(claims)).map_or(0, |(seq, _)| *seq)
}

/// The key to check with. The folder's own must be written exactly as we write it.
fn the_key(place: &Place, trust: &Trust, report: &mut VerifyReport) -> Option<PublicKey> {
    const FILE: &str = "key.pub.pem";
    let found = read_bounded(&place.public_key(), KEY_FILE_BYTES_MAX)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| PublicKey::from_pem(&text).filter(|key| key.to_pem() == text));
    match (found, trust.public_key) {
        (None, _) => report.problem(FILE, None, "it is missing or is not an Ed25519 public key"),
        (Some(found), Some(trusted)) if found != trusted => {
            report.problem(FILE, None, "it is not the key given for this verification");
        }
        _ => {}
    }
    trust.public_key.or(found)
}

/// Reads a file that may not be larger than a bound.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than it can be"));
    }
    Ok(bytes)
}

/// The names in a folder, sorted, without unfinished files. A folder that isn't there is empty.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, EvidenceError> {
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(EvidenceError::io("list", folder)(error)),
    };
    for entry in entries {
        let name = entry.map_err(EvidenceError::io("list", folder))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether this line may be the start of the drill with this id.
pub(super) fn is_id_of(id: &str, seq: u64, ts: Timestamp) -> bool {
    ReportId::of_line(seq, ts).as_str() == id
}
