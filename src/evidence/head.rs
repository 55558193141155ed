//! Signed heads: how long the log is and where it ends, over one's own signature.
//!
//! Whoever holds a head that left this machine can tell when the log behind it was cut or
//! rewritten. A head is a few lines of text and is never overwritten; its signature is the raw
//! 64 bytes beside it, written first, so that a head without a signature never appears.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::EvidenceError;
use super::log::{EvidenceLog, take_lock};
use super::sha256;
use super::tail;
use crate::base::clock::Timestamp;
use crate::base::durable::{self, Created, Lock};
use crate::base::id::{ObjectHash, RepoId, WriterId};

/// First line of every head.
pub const MAGIC: &str = "lifeboat.evidence/1";
/// Largest head that is read.
pub const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Where one writer's chain of snapshots ends in one repository: an anchor, off the target,
/// against rolling the repository back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepositoryAnchor {
    /// Which repository.
    pub repo: RepoId,
    /// Which writer.
    pub writer: WriterId,
    /// The writer's newest snapshot number.
    pub number: u64,
    /// That snapshot.
    pub snapshot: ObjectHash,
}

/// What a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// SHA-256 of the log's first line: which log this is.
    pub log: String,
    /// The machine.
    pub host: String,
    /// Number of the last line.
    pub seq: u64,
    /// Bytes of all month files up to that line, its newline included.
    pub size: u64,
    /// SHA-256 of that line.
    pub head: String,
    /// SHA-256 of the head file before; 64 zeros in the first.
    pub prev_head: String,
    /// When it was signed.
    pub time: Timestamp,
    /// Where the repositories stand.
    pub repositories: Vec<RepositoryAnchor>,
}

/// A head that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The file; its signature is beside it with `.sig` added.
    pub path: PathBuf,
    /// Number of the last line it covers.
    pub seq: u64,
    /// SHA-256 of that line.
    pub head: String,
}

impl Head {
    /// The file's bytes.
    pub fn encode(&self) -> String {
        let mut text = format!(
            "{MAGIC}\nlog {}\nhost {}\nseq {}\nsize {}\nhead {}\nprev_head {}\ntime {}\n",
            self.log, self.host, self.seq, self.size, self.head, self.prev_head, self.time
        );
        for anchor in &self.repositories {
            let RepositoryAnchor { repo, writer, number, snapshot } = anchor;
            writeln!(text, "repo {repo} {writer} {number} {snapshot}").expect("text takes text");
        }
        text
    }

    /// Reads a head; `None` when it isn't exactly of this form.
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut field = |name: &str| {
            let line = lines.next()?;
            line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned)
        };
        let magic = text.split('\n').next()?;
        if magic != MAGIC {
            return None;
        }
        // The magic line has no value; step over it.
        drop(field(MAGIC));
        let head = Self {
            log: field("log")?,
            host: field("host")?,
            seq: field("seq")?.parse().ok()?,
            size: field("size")?.parse().ok()?,
            head: field("head")?,
            prev_head: field("prev_head")?,
            time: Timestamp::parse_rfc3339(&field("time")?)?,
            repositories: lines.map(decode_anchor).collect::<Option<_>>()?,
        };
        (head.encode() == text).then_some(head)
    }
}

fn decode_anchor(line: &str) -> Option<RepositoryAnchor> {
    let mut words = line.strip_prefix("repo ")?.split(' ');
    let anchor = RepositoryAnchor {
        repo: words.next()?.parse().ok()?,
        writer: words.next()?.parse().ok()?,
        number: words.next()?.parse().ok()?,
        snapshot: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(anchor)
}

/// The name of the head of a line.
pub(super) fn head_name(seq: u64) -> String {
    format!("head-{seq:010}")
}

/// The line number in a head's name.
pub(super) fn head_seq(file_name: &str) -> Option<u64> {
    let seq = file_name.strip_prefix("head-")?.parse().ok()?;
    (head_name(seq) == file_name).then_some(seq)
}

impl EvidenceLog {
    /// Signs where the log ends now. When this end has a head already, that one is the answer.
    ///
    /// # Errors
    /// As [`EvidenceLog::append`].
    pub fn sign_head(&self, repositories: &[RepositoryAnchor]) -> Result<SignedHead, EvidenceError> {
        self.sign_head_locked(&take_lock(&self.place)?, repositories)
    }

    pub(super) fn sign_head_locked(
        &self,
        lock: &Lock,
        repositories: &[RepositoryAnchor],
    ) -> Result<SignedHead, EvidenceError> {
        let tail = self.current_tail(lock)?;
        let folder = self.place.heads();
        let path = folder.join(head_name(tail.seq));
        let signed = SignedHead { path: path.clone(), seq: tail.seq, head: tail.hash.clone() };
        if path.exists() {
            return Ok(signed);
        }
        let text = Head {
            log: tail::first_line(&self.place.log())?
                .map_or_else(|| tail.hash.clone(), |line| sha256::hex(&line)),
            // A head is lines of words; a host name with a line feed in it would break that.
            host: self.host.replace(char::is_whitespace, "_"),
            seq: tail.seq,
            size: tail.size,
            head: tail.hash,
            prev_head: previous_head(&folder)?,
            time: self.clock.now(),
            repositories: repositories.to_vec(),
        }
        .encode();
        let signature = self.key.sign(text.as_bytes());
        let signature_path = with_sig(&path);
        // A signature whose head never appeared (a crash between the two) is replaced.
        durable::replace(&signature_path, &signature).map_err(EvidenceError::io("write", &signature_path))?;
        match durable::create_new(&path, text.as_bytes()).map_err(EvidenceError::io("write", &path))? {
            Created::New => durable::sync_dir(&folder).map_err(EvidenceError::io("sync", &folder))?,
            Created::Existing => return Err(EvidenceError::damaged(&path, "it appeared without our lock")),
        }
        Ok(signed)
    }
}

/// The signature's name beside its file.
pub(super) fn with_sig(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// All heads, oldest first.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut heads = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(seq) = entry.file_name().to_str().and_then(head_seq) {
            heads.push((seq, entry.path()));
        }
    }
    heads.sort();
    Ok(heads)
}

fn previous_head(folder: &Path) -> Result<String, EvidenceError> {
    let heads = list(folder).map_err(EvidenceError::io("list", folder))?;
    match heads.last() {
        None => Ok(sha256::NONE.to_owned()),
        Some((_, path)) => sha256::of_file(path).map_err(EvidenceError::io("read", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_nothing_else_does() {
        let head = Head {
            log: sha256::hex(b"a"),
            host: "host".to_owned(),
            seq: 12,
            size: 3_000,
            head: sha256::hex(b"b"),
            prev_head: sha256::NONE.to_owned(),
            time: Timestamp::from_unix_ms(1_795_485_182_123),
            repositories: vec![RepositoryAnchor {
                repo: RepoId::new([1; 16]),
                writer: WriterId::new([2; 16]),
                number: 3,
                snapshot: ObjectHash::new([4; 32]),
            }],
        };
        let text = head.encode();
        assert_eq!(Head::decode(&text), Some(head));
        for broken in [text.replace("seq 12", "seq 012"), format!("{text}\n"), text.replace('1', "")] {
            assert_eq!(Head::decode(&broken), None, "{broken}");
        }
        assert_eq!(head_seq("head-0000000012"), Some(12));
        assert_eq!(head_seq("head-12"), None);
    }
}
