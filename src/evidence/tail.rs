//! Where the log ends. Only the last line is read, however long the log is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::EvidenceError;
use super::line::{LINE_BYTES_MAX, Line, Next, read_line};
use super::sha256;
use crate::base::clock::Timestamp;

/// Read backwards in steps of this size.
const STEP_BYTES: u64 = 64 * 1024;

/// The end of the log.
#[derive(Debug)]
pub(super) struct Tail {
    /// The last whole line's number; 0 in an empty log.
    pub(super) seq: u64,
    /// The last whole line's time.
    pub(super) ts: Option<Timestamp>,
    /// The last whole line's hash; 64 zeros in an empty log.
    pub(super) hash: String,
    /// Bytes of all month files without what is torn.
    pub(super) size: u64,
    /// The newest month file, `2026-11`.
    pub(super) month: Option<String>,
    /// Bytes after the last newline, if a write was cut short.
    pub(super) torn: Option<Torn>,
}

/// A line whose writing was cut short.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) path: PathBuf,
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// The name of a month file without `.jsonl`.
pub(super) fn month_of(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m").to_string()
}

/// The month files in order, as (month, path). Other names are left out.
pub(super) fn month_files(log: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut months = Vec::new();
    for entry in std::fs::read_dir(log)? {
        let entry = entry?;
        if let Some(month) = entry.file_name().to_str().and_then(month_name) {
            months.push((month.to_owned(), entry.path()));
        }
    }
    months.sort();
    Ok(months)
}

/// `2026-11` of `2026-11.jsonl`.
pub(super) fn month_name(file_name: &str) -> Option<&str> {
    let month = file_name.strip_suffix(".jsonl")?;
    let shape = month.len() == 7
        && month
            .bytes()
            .enumerate()
            .all(|(place, byte)| if place == 4 { byte == b'-' } else { byte.is_ascii_digit() });
    shape.then_some(month)
}

/// Finds the end of the log.
///
/// # Errors
/// Damage, when the last line is not one of ours; or what the file system says.
pub(super) fn find(log: &Path) -> Result<Tail, EvidenceError> {
    let mut tail = Tail { seq: 0, ts: None, hash: sha256::NONE.to_owned(), size: 0, month: None, torn: None };
    let months = month_files(log).map_err(EvidenceError::io("list", log))?;
    for (_, path) in &months {
        tail.size += std::fs::metadata(path).map_err(EvidenceError::io("read", path))?.len();
    }
    tail.month = months.last().map(|(month, _)| month.clone());
    for (place, (_, path)) in months.iter().rev().enumerate() {
        let end = last_line(path)?;
        if !end.torn.bytes.is_empty() {
            if place > 0 || tail.torn.is_some() {
                return Err(EvidenceError::damaged(path, "it ends without a newline, but is not the newest"));
            }
            tail.size -= u64::try_from(end.torn.bytes.len()).unwrap_or(0);
            tail.torn = Some(end.torn);
        }
        if let Some(bytes) = end.line {
            let line = Line::decode(&bytes)
                .map_err(|why| EvidenceError::damaged(path, format!("its last line is not ours: {why}")))?;
            tail.seq = line.seq;
            tail.ts = Some(line.ts);
            tail.hash = sha256::hex(&bytes);
            break;
        }
    }
    Ok(tail)
}

/// The bytes of the log's first line, without its newline; `None` in an empty log.
///
/// # Errors
/// Whatever the file system says.
pub(super) fn first_line(log: &Path) -> Result<Option<Vec<u8>>, EvidenceError> {
    for (_, path) in &month_files(log).map_err(EvidenceError::io("list", log))? {
        let file = File::open(path).map_err(EvidenceError::io("open", path))?;
        let mut line = Vec::new();
        let next = read_line(&mut io::BufReader::new(file), &mut line);
        if matches!(next.map_err(EvidenceError::io("read", path))?, Next::Whole) {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

struct End {
    line: Option<Vec<u8>>,
    torn: Torn,
}

/// The last whole line of a file, and what follows it.
fn last_line(path: &Path) -> Result<End, EvidenceError> {
    let fail = EvidenceError::io;
    let file = File::open(path).map_err(fail("open", path))?;
    let len = file.metadata().map_err(fail("read", path))?.len();
    let bound = u64::try_from(2 * LINE_BYTES_MAX + 2).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut start = len;
    // Two newlines bound a whole line; the file's start does as well.
    while start > 0 && bytes.iter().filter(|b| **b == b'\n').count() < 2 {
        if len - start > bound {
            return Err(EvidenceError::damaged(path, "a line is longer than 1 MiB"));
        }
        let step = STEP_BYTES.min(start);
        start -= step;
        let mut block = vec![0u8; usize::try_from(step).unwrap_or(0)];
        file.read_exact_at(&mut block, start).map_err(fail("read", path))?;
        block.append(&mut bytes);
        bytes = block;
    }
    let torn_at = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let torn = bytes.split_off(torn_at);
    let torn_len = u64::try_from(torn.len()).unwrap_or(0);
    bytes.pop();
    let line_at = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let line = (torn_at > 0).then(|| bytes.split_off(line_at));
    Ok(End { line, torn: Torn { path: path.to_owned(), at: len - torn_len, bytes: torn } })
}
