//! Which objects of a place were read back, when, and what was found: what a scrub goes on from.
//!
//! One file for each place in the state folder. Losing it loses nothing but the knowledge that
//! something was read: everything counts as never read then.
//!
//! ```text
//! 8   "LBSCRUB\1"
//! 16  repository id
//! 8   i64   when the last scrub began, milliseconds since 1970; i64::MIN for never
//! 8   u64   count of entries
//! 24 each   16 the first half of blake3(object name), ascending, each once; 7 when it was read,
//!           milliseconds since 1970; 1 0 right, 1 not what it should be
//! 32  blake3 of all before
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::clock::Timestamp;
use crate::base::durable;
use crate::base::id::RepoId;
use crate::codec::hash;
use crate::storage::contract::ObjectName;

const MAGIC: &[u8; 8] = b"LBSCRUB\x01";
const HEAD_BYTES: usize = 40;
const ENTRY_BYTES: usize = 24;
const SUM_BYTES: usize = 32;
/// A longer file is none of ours: ten million objects.
const BYTES_MAX: u64 = 10_000_000 * ENTRY_BYTES as u64;

/// What a read showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When the object was read.
    pub at: Timestamp,
    /// Whether it was not what it should be.
    pub is_bad: bool,
}

/// What was read at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// When the last scrub began.
    pub last: Option<Timestamp>,
    readings: BTreeMap<[u8; 16], Reading>,
}

/// What the memory was found to be.
#[derive(Clone, Debug)]
pub enum Found {
    /// It was read.
    Known(Scrubbed),
    /// There is none yet.
    None,
    /// It is damaged, or of another version.
    Lost,
}

fn key(name: &ObjectName) -> [u8; 16] {
    let digest = hash::plain(&[name.as_str().as_bytes()]);
    *digest.first_chunk().expect("a hash has 32 bytes")
}

impl Scrubbed {
    /// Where the memory of a place lies.
    pub fn path(dir: &Path, repo: &RepoId, label: &str) -> PathBuf {
        let place = hex::encode(&hash::plain(&[label.as_bytes()])[..8]);
        dir.join(format!("{}-{place}", repo.to_hex()))
    }

    /// Reads it.
    pub fn load(path: &Path, repo: &RepoId) -> Found {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::None,
            Ok(found) if found.len() <= BYTES_MAX => {}
            _ => return Found::Lost,
        }
        let bytes = std::fs::read(path).ok();
        bytes.and_then(|bytes| Self::decode(&bytes, repo)).map_or(Found::Lost, Found::Known)
    }

    /// Writes it, as a whole or not at all.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn save(&self, path: &Path, repo: &RepoId) -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            durable::create_dir_all(dir)?;
        }
        durable::replace(path, &self.encode(repo))
    }

    /// What is known of an object.
    pub fn of(&self, name: &ObjectName) -> Option<Reading> {
        self.readings.get(&key(name)).copied()
    }

    /// Notes what a read showed.
    pub fn note(&mut self, name: &ObjectName, reading: Reading) {
        self.readings.insert(key(name), reading);
    }

    /// Forgets what isn't among these any more.
    pub fn keep<'n>(&mut self, names: impl Iterator<Item = &'n ObjectName>) {
        let names: std::collections::HashSet<[u8; 16]> = names.map(key).collect();
        self.readings.retain(|key, _| names.contains(key));
    }

    /// Its bytes.
    pub fn encode(&self, repo: &RepoId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.readings.len() * ENTRY_BYTES + SUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(repo.as_bytes());
        bytes.extend_from_slice(&self.last.map_or(i64::MIN, Timestamp::unix_ms).to_le_bytes());
        bytes.extend_from_slice(&(self.readings.len() as u64).to_le_bytes());
        for (key, reading) in &self.readings {
            bytes.extend_from_slice(key);
            let at = u64::try_from(reading.at.unix_ms()).unwrap_or(0).min((1 << 56) - 1);
            bytes.extend_from_slice(&at.to_le_bytes()[..7]);
            bytes.push(u8::from(reading.is_bad));
        }
        let sum = hash::plain(&[&bytes]);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// Reads its bytes; nothing when they are not whole, or of another repository or version.
    pub fn decode(bytes: &[u8], repo: &RepoId) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
        if hash::plain(&[body]) != *sum {
            return None;
        }
        let (head, rest) = body.split_first_chunk::<HEAD_BYTES>()?;
        let (magic, head) = head.split_first_chunk::<8>()?;
        let (id, head) = head.split_first_chunk::<16>()?;
        let (last, head) = head.split_first_chunk::<8>()?;
        let count = u64::from_le_bytes(*head.first_chunk()?);
        let (entries, slack) = rest.as_chunks::<ENTRY_BYTES>();
        if magic != MAGIC || id != repo.as_bytes() || !slack.is_empty() || count != entries.len() as u64 {
            return None;
        }
        let last = i64::from_le_bytes(*last);
        let mut readings = BTreeMap::new();
        for entry in entries {
            let (key, value) = entry.split_first_chunk::<16>()?;
            let mut at = [0; 8];
            at[..7].copy_from_slice(&value[..7]);
            let at = Timestamp::from_unix_ms(i64::from_le_bytes(at));
            if value[7] > 1 || readings.last_key_value().is_some_and(|(before, _)| before >= key) {
                return None;
            }
            readings.insert(*key, Reading { at, is_bad: value[7] == 1 });
        }
        Some(Self { last: (last != i64::MIN).then(|| Timestamp::from_unix_ms(last)), readings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ObjectName {
        ObjectName::new(text).expect("a name")
    }

    fn scrubbed() -> Scrubbed {
        let mut scrubbed =
            Scrubbed { last: Some(Timestamp::from_unix_ms(1_764_000_000_000)), ..Scrubbed::default() };
        scrubbed.note(
            &name("p/00/00"),
            Reading { at: Timestamp::from_unix_ms(1_763_000_000_000), is_bad: false },
        );
        scrubbed.note(
            &name("repo.fmt"),
            Reading { at: Timestamp::from_unix_ms(1_762_000_000_000), is_bad: true },
        );
        scrubbed
    }

    #[test]
    fn what_was_read_comes_back_and_no_part_of_it_does() {
        let repo = RepoId::new([7; 16]);
        let bytes = scrubbed().encode(&repo);
        assert_eq!(bytes.len(), HEAD_BYTES + 2 * ENTRY_BYTES + SUM_BYTES);
        assert_eq!(Scrubbed::decode(&bytes, &repo), Some(scrubbed()));
        assert_eq!(Scrubbed::decode(&bytes, &RepoId::new([6; 16])), None);
        for at in 0..bytes.len() {
            assert_eq!(Scrubbed::decode(&bytes[..at], &repo), None);
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            assert_eq!(Scrubbed::decode(&harmed, &repo), None, "byte {at}");
        }
        let mut kept = scrubbed();
        kept.keep([name("repo.fmt")].iter());
        assert!(kept.of(&name("p/00/00")).is_none() && kept.of(&name("repo.fmt")).is_some());
    }

    #[test]
    fn the_bytes_of_the_memory_are_frozen() {
        let bytes = scrubbed().encode(&RepoId::new([7; 16]));
        assert_eq!(
            hash::object(&bytes).to_hex(),
            "9e4ac407e689059d3e715e9d73983eb841f3a7c82bd52f63dab17b00f9f342d3"
        );
    }
}
