//! What a drill restores, drawn so that anybody can draw it again: commit, then reveal.
//!
//! The seed's hash stands in the log before the drill, the seed itself in the report. The sample
//! is the *n* regular files with the lowest `SHA-256(hex(seed) LF hex(manifest root) LF path)`.
//! The root, unknown when the seed was drawn, keeps anybody from trying seeds for a convenient
//! sample. One pass over the manifest; memory is that of the picked paths.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::digest::Sha256;
use super::error::DrillError;
use super::power;
use super::restorer::EntryFact;
use crate::base::display;
use crate::base::metadata::FileKind;
use crate::evidence::pick::Seed;
use crate::evidence::sha256;
use crate::policy::model::Files;

/// A drill holds at most so many picked paths in memory; more is the scope `all`.
pub const PICKED_MAX: usize = 100_000;

/// Which entries are restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picked {
    /// All of them.
    All,
    /// These paths.
    Paths(BTreeSet<Vec<u8>>),
}

impl Picked {
    /// Whether this entry is restored.
    pub fn contains(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Paths(paths) => paths.contains(path),
        }
    }
}

/// How it was picked, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickFacts {
    /// The scope that was asked for.
    pub scope: Files,
    /// Regular files in the snapshot.
    pub population: u64,
    /// Their bytes.
    pub population_bytes: u64,
    /// Regular files that were drawn, or all of them.
    pub sample: u64,
    /// Entries that were added by name and had not been drawn.
    pub always: u64,
    /// Names that were to be added and are not in the snapshot, readable.
    pub absent: Vec<String>,
    /// Regular files picked in all.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the sample was drawn with; nothing is drawn for the scope `all`.
    pub seed: Option<Seed>,
    /// How much damage this can see.
    pub detects: String,
    /// SHA-256 of the picked paths, each followed by LF: those drawn by rising hash, then those
    /// added by name in byte order. Not given for the scope `all`.
    pub list_sha256: Option<String>,
}

/// Draws while the manifest passes by.
#[derive(Debug)]
pub struct Picker<'a> {
    scope: Files,
    seed: Seed,
    prefix: Vec<u8>,
    always: &'a [Vec<u8>],
    found: Vec<bool>,
    named: BTreeMap<Vec<u8>, Option<u64>>,
    lowest: BinaryHeap<([u8; 32], Vec<u8>, u64)>,
    population: u64,
    population_bytes: u64,
}

impl<'a> Picker<'a> {
    /// Will draw from the snapshot whose manifest has this root.
    ///
    /// # Errors
    /// Usage, when the sample is larger than [`PICKED_MAX`].
    pub fn new(
        scope: Files,
        seed: Seed,
        manifest_root: &[u8; 32],
        always: &'a [Vec<u8>],
    ) -> Result<Self, DrillError> {
        if let Files::Sample(count) = scope {
            too_many(u64::from(count))?;
        }
        Ok(Self {
            scope,
            seed,
            prefix: format!("{}\n{}\n", seed.to_hex(), hex::encode(manifest_root)).into_bytes(),
            always,
            found: vec![false; always.len()],
            named: BTreeMap::new(),
            lowest: BinaryHeap::new(),
            population: 0,
            population_bytes: 0,
        })
    }

    /// Takes part in the draw. The order of the offers doesn't matter; each path comes once.
    ///
    /// # Errors
    /// Usage, when more than [`PICKED_MAX`] entries lie below the paths that are always restored.
    pub fn offer(&mut self, fact: &EntryFact) -> Result<(), DrillError> {
        let is_file = fact.kind == FileKind::File;
        if is_file {
            self.population += 1;
            self.population_bytes = self.population_bytes.saturating_add(fact.size);
        }
        let mut is_named = false;
        for (name, found) in self.always.iter().zip(&mut self.found) {
            let is_it = fact
                .path
                .strip_prefix(name.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
            *found |= is_it;
            is_named |= is_it;
        }
        let Files::Sample(count) = self.scope else { return Ok(()) };
        if is_named {
            self.named.insert(fact.path.clone(), is_file.then_some(fact.size));
            too_many(self.named.len().try_into().unwrap_or(u64::MAX))?;
        }
        if is_file {
            let rank = sha256::raw(&[self.prefix.as_slice(), &fact.path].concat());
            let is_full = u64::try_from(self.lowest.len()).is_ok_and(|len| len >= u64::from(count));
            if !is_full || self.lowest.peek().is_some_and(|(highest, ..)| rank < *highest) {
                self.lowest.push((rank, fact.path.clone(), fact.size));
                if is_full {
                    drop(self.lowest.pop());
                }
            }
        }
        Ok(())
    }

    /// The draw and how it went.
    pub fn finish(self) -> (Picked, PickFacts) {
        let absent = self.always.iter().zip(&self.found).filter(|(_, found)| !**found);
        let mut facts = PickFacts {
            scope: self.scope,
            population: self.population,
            population_bytes: self.population_bytes,
            sample: self.population,
            always: 0,
            absent: absent.map(|(name, _)| display::path(name)).collect(),
            files: self.population,
            bytes: self.population_bytes,
            seed: None,
            detects: power::sentence(self.population, self.population),
            list_sha256: None,
        };
        if self.scope == Files::All {
            return (Picked::All, facts);
        }
        let drawn = self.lowest.into_sorted_vec();
        let mut named = self.named;
        for (_, path, _) in &drawn {
            let _ = named.remove(path);
        }

        let mut list = Sha256::new();
        for path in drawn.iter().map(|(_, path, _)| path).chain(named.keys()) {
            list.update(path);
            list.update(b"\n");
        }
        let sizes = drawn.iter().map(|(_, _, size)| *size).chain(named.values().copied().flatten());
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        facts.sample = count(drawn.len());
        facts.always = count(named.len());
        facts.files = count(sizes.clone().count());
        facts.bytes = sizes.fold(0, u64::saturating_add);
        facts.seed = Some(self.seed);
        facts.detects = power::sentence(facts.sample, facts.population);
        facts.list_sha256 = Some(hex::encode(list.finish()));
        let paths = drawn.into_iter().map(|(_, path, _)| path).chain(named.into_keys()).collect();
        (Picked::Paths(paths), facts)
    }
}

fn too_many(count: u64) -> Result<(), DrillError> {
    let max = u64::try_from(PICKED_MAX).unwrap_or(u64::MAX);
    if count > max { Err(DrillError::TooManyPicked { count, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    use proptest::prelude::{Strategy, TestCaseError, prop_assert_eq, proptest};

    use crate::base::metadata::FileTime;

    fn file(path: &str) -> EntryFact {
        EntryFact {
            path: path.into(),
            kind: FileKind::File,
            size: 10,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: FileTime::default(),
            link_target: Vec::new(),
        }
    }

    const fn sample(count: u32) -> Files {
        Files::Sample(count)
    }

    fn seed() -> Seed {
        Seed::from_hex(&"07".repeat(32)).expect("digits")
    }

    fn draw(paths: &[String], scope: Files, always: &[Vec<u8>]) -> (Picked, PickFacts) {
        let mut picker = Picker::new(scope, seed(), &[9; 32], always).expect("a small sample");
        paths.iter().for_each(|path| picker.offer(&file(path)).expect("few"));
        picker.finish()
    }

    #[test]
    fn the_shell_draws_the_same_sample() {
        let paths: Vec<String> = (0..60).map(|n| format!("data/dir {}/f'{n}", n % 7)).collect();
        let (picked, facts) = draw(&paths, sample(5), &[]);

        let script = r#"while IFS= read -r path; do
            printf '%s %s\n' "$(printf '%s\n%s\n%s' "$SEED" "$ROOT" "$path" | sha256sum | cut -c1-64)" "$path"
        done | LC_ALL=C sort | head -n 5 | cut -c66-"#;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let list = dir.path().join("paths");
        std::fs::write(&list, paths.join("\n") + "\n").expect("written");
        let shell = Command::new("sh")
            .args(["-c", script])
            .env("SEED", "07".repeat(32))
            .env("ROOT", "09".repeat(32))
            .stdin(std::fs::File::open(&list).expect("opened"))
            .output()
            .expect("sh and sha256sum are on every machine");
        let drawn: Vec<Vec<u8>> =
            shell.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        assert_eq!(drawn.len(), 5);
        assert_eq!(picked, Picked::Paths(drawn.iter().cloned().collect()));
        assert_eq!(facts.list_sha256, Some(sha256::hex(&shell.stdout)));
    }

    proptest! {
        #[test]
        fn a_pick_is_the_lowest_hashes_whatever_the_order(
            paths in proptest::collection::hash_set("[a-z/]{1,8}", 0..40)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>()),
            count in 0u32..10,
        ) {
            let (Picked::Paths(picked), _) = draw(&paths, sample(count), &[]) else {
                return Err(TestCaseError::fail("a sample is a list"));
            };
            let rank = |path: &String| {
                sha256::hex(format!("{}\n{}\n{path}", "07".repeat(32), "09".repeat(32)).as_bytes())
            };
            let mut sorted = paths;
            sorted.sort_by_key(rank);
            let expected = sorted.into_iter().take(count as usize).map(String::into_bytes).collect();
            prop_assert_eq!(picked, expected);
        }
    }

    #[test]
    fn the_order_of_the_manifest_does_not_change_the_draw() {
        let mut paths: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
        let first = draw(&paths, sample(20), &[]);
        paths.reverse();
        assert_eq!(draw(&paths, sample(20), &[]), first);
        assert_eq!((first.1.sample, first.1.files, first.1.bytes, first.1.population), (20, 20, 200, 200));
    }

    #[test]
    fn named_paths_are_added_and_absent_ones_are_told() {
        let paths: Vec<String> = (0..100).map(|n| format!("d{}/f{n}", n % 2)).collect();
        let always = [b"d1".to_vec(), b"d0/f0".to_vec(), b"d".to_vec()];
        let (picked, facts) = draw(&paths, sample(1), &always);
        assert!(picked.contains(b"d0/f0") && picked.contains(b"d1/f99"));
        assert_eq!(facts.absent, ["d"], "a name is no prefix of another name");
        assert_eq!(facts.files, facts.sample + facts.always);
        assert!(facts.files >= 51);
    }

    #[test]
    fn a_draw_larger_than_memory_is_refused() {
        assert!(Picker::new(sample(100_001), seed(), &[0; 32], &[]).is_err());
    }
}
