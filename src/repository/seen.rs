//! Which snapshots this machine has seen valid, and where: what a roll-back is held against.
//!
//! One small file for each repository in the state folder. It is a memory, not a record: losing it
//! loses no backup, only the knowledge that something was there before. Its sum guards it against
//! bad disks, not against whoever may write to the state folder.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::clock::Timestamp;
use crate::base::durable;
use crate::base::id::{ObjectHash, RepoId, WriterId};
use crate::codec::hash;

const TITLE: &str = "lifeboat seen 1";
/// So many snapshots of one place are remembered, the newest.
pub const SEEN_MAX: usize = 20_000;
/// A longer file is none of ours: 64 places with all that is remembered of each.
const BYTES_MAX: u64 = 64 * 160 * SEEN_MAX as u64;

/// What is remembered of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who wrote it.
    pub writer: WriterId,
    /// Its number in the writer's chain.
    pub number: u64,
    /// When it was taken.
    pub captured_at: Timestamp,
}

/// What was seen at one place.
pub type Marks = BTreeMap<ObjectHash, Mark>;

/// What was seen, by the label of the place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Each place.
    pub places: BTreeMap<String, Marks>,
}

/// What the memory was found to be.
#[derive(Clone, Debug)]
pub enum Memory {
    /// It was read.
    Known(Seen),
    /// There is none yet.
    None,
    /// It is damaged, or of another version.
    Lost,
}

impl Seen {
    /// The highest number that a writer was seen to use; 0 when none was.
    pub fn newest_number(&self, writer: &WriterId) -> u64 {
        let marks = self.places.values().flat_map(BTreeMap::values);
        marks.filter(|mark| mark.writer == *writer).map(|mark| mark.number).max().unwrap_or(0)
    }

    /// Reads the memory of a repository.
    pub fn load(dir: &Path, repo: &RepoId) -> Memory {
        let path = dir.join(repo.to_hex());
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Memory::None,
            Ok(found) if found.len() <= BYTES_MAX => {}
            _ => return Memory::Lost,
        }
        let text = std::fs::read_to_string(&path).ok();
        text.and_then(|text| Self::decode(&text, repo)).map_or(Memory::Lost, Memory::Known)
    }

    /// Writes it, as a whole or not at all.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn save(&self, dir: &Path, repo: &RepoId) -> std::io::Result<()> {
        durable::create_dir_all(dir)?;
        durable::replace(&dir.join(repo.to_hex()), self.encode(repo).as_bytes())
    }

    /// Its text: a title, each place with a line for each snapshot, and a sum of all that.
    pub fn encode(&self, repo: &RepoId) -> String {
        let mut text = format!("{TITLE} {repo}\n");
        for (place, marks) in &self.places {
            // A label is one line, whatever is in it.
            let label = serde_json::to_string(place).unwrap_or_default();
            text.push_str(&format!("place {label}\n"));
            let mut newest: Vec<(&ObjectHash, &Mark)> = marks.iter().collect();
            newest.sort_unstable_by_key(|(id, mark)| (std::cmp::Reverse(mark.captured_at), **id));
            newest.truncate(SEEN_MAX);
            newest.sort_unstable_by_key(|(id, _)| **id);
            for (id, mark) in newest {
                text.push_str(&format!(
                    "{id} {} {} {}\n",
                    mark.writer,
                    mark.number,
                    mark.captured_at.unix_ms()
                ));
            }
        }
        let sum = hex::encode(hash::plain(&[text.as_bytes()]));
        text.push_str(&format!("sum {sum}\n"));
        text
    }

    /// Reads its text; nothing when it is not whole, or of another repository or version.
    pub fn decode(text: &str, repo: &RepoId) -> Option<Self> {
        let at = text.rfind("sum ")?;
        let (body, sum) = text.split_at(at);
        if sum != format!("sum {}\n", hex::encode(hash::plain(&[body.as_bytes()]))) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != format!("{TITLE} {repo}") {
            return None;
        }
        let mut seen = Self::default();
        let mut marks: Option<&mut Marks> = None;
        for line in lines {
            if let Some(label) = line.strip_prefix("place ") {
                marks = Some(seen.places.entry(serde_json::from_str(label).ok()?).or_default());
                continue;
            }
            let mut words = line.split(' ');
            let id = words.next()?.parse().ok()?;
            let writer = words.next()?.parse().ok()?;
            let number = words.next()?.parse().ok()?;
            let captured_at = Timestamp::from_unix_ms(words.next()?.parse().ok()?);
            if words.next().is_some() {
                return None;
            }
            marks.as_mut()?.insert(id, Mark { writer, number, captured_at });
        }
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let mark = |number| Mark {
            writer: WriterId::new([8; 16]),
            number,
            captured_at: Timestamp::from_unix_ms(1_764_000_000_000 + number.cast_signed()),
        };
        let marks =
            |ids: &[u8]| ids.iter().map(|id| (ObjectHash::new([*id; 32]), mark(u64::from(*id)))).collect();
        let places =
            [("/mnt/disk\nof place x".to_owned(), marks(&[1, 2])), ("s3://b/p".to_owned(), marks(&[2]))];
        Seen { places: places.into() }
    }

    #[test]
    fn what_was_seen_comes_back_and_no_part_of_it_does() {
        let repo = RepoId::new([7; 16]);
        let text = seen().encode(&repo);
        assert_eq!(Seen::decode(&text, &repo), Some(seen()));
        assert_eq!(Seen::decode(&text, &RepoId::new([6; 16])), None);
        for at in 0..text.len() {
            assert_eq!(text.is_char_boundary(at).then(|| Seen::decode(&text[..at], &repo)).flatten(), None);
        }
        assert_eq!(Seen::decode(&text.replacen("1764", "1765", 1), &repo), None);
    }

    #[test]
    fn the_text_of_the_memory_is_frozen() {
        let text = seen().encode(&RepoId::new([7; 16]));
        let frozen = "lifeboat seen 1 07070707070707070707070707070707\nplace \"/mnt/disk\\nof place x\"\n";
        assert!(text.starts_with(frozen), "{text}");
        assert_eq!(
            hex::encode(hash::plain(&[text.as_bytes()])),
            "e95ab0854bd2d2926459d06bc3d3519c5aee41e3e54ba0c36b108344faff754d"
        );
    }

    #[test]
    fn the_newest_are_remembered_when_there_are_too_many() {
        let repo = RepoId::new([7; 16]);
        let mut marks = Marks::new();
        for number in 0..SEEN_MAX as u64 + 5 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let captured_at = Timestamp::from_unix_ms(number.cast_signed());
            marks.insert(ObjectHash::new(id), Mark { writer: WriterId::new([1; 16]), number, captured_at });
        }
        let seen = Seen { places: [("/a".to_owned(), marks)].into() };
        let back = Seen::decode(&seen.encode(&repo), &repo).expect("decoded");
        assert_eq!(back.places["/a"].len(), SEEN_MAX);
        assert_eq!(back.places["/a"].values().map(|mark| mark.number).min(), Some(5));
    }
}
