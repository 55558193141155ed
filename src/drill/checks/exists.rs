//! `exists`: whether each of some paths or globs is there, and large enough.

use globset::GlobMatcher;

use super::check::{Check, Observation, Unobserved};
use super::scene::{Scene, Where, glob, path_of};
use crate::base::size::{format_bytes, format_count};
use crate::drill::error::DrillError;

/// Each pattern must match a regular file of at least a size.
#[derive(Clone, Debug)]
pub struct Exists {
    patterns: Vec<(String, GlobMatcher)>,
    bytes_min: u64,
}

impl Exists {
    /// Paths or globs over the paths of the manifest, and the least size of each file in bytes.
    ///
    /// # Errors
    /// Usage, when there is no pattern or one is no glob.
    pub fn new(patterns: &[String], bytes_min: u64) -> Result<Self, DrillError> {
        if patterns.is_empty() {
            let reason = "it needs a path".to_owned();
            return Err(DrillError::BadCheck { check: "exists".to_owned(), reason });
        }
        let compile = |text: &String| Ok((text.clone(), glob("exists", text)?));
        Ok(Self { patterns: patterns.iter().map(compile).collect::<Result<_, DrillError>>()?, bytes_min })
    }
}

impl Check for Exists {
    fn kind(&self) -> &'static str {
        "exists"
    }

    fn expected(&self) -> String {
        let names: Vec<&str> = self.patterns.iter().map(|(text, _)| text.as_str()).collect();
        match self.bytes_min {
            0 => format!("a file for each of: {}", names.join(", ")),
            least => format!("a file of at least {} for each of: {}", format_bytes(least), names.join(", ")),
        }
    }

    fn observe(&self, scene: &mut Scene<'_>) -> Result<Observation, Unobserved> {
        let mut found = vec![(0u64, 0u64); self.patterns.len()];
        scene.each_file(&mut |seen| {
            for ((_, pattern), (all, restored)) in self.patterns.iter().zip(&mut found) {
                if seen.size >= self.bytes_min && pattern.is_match(path_of(seen.path)) {
                    *all += 1;
                    *restored += u64::from(seen.from == Where::Restored);
                }
            }
        })?;
        let tell = |((text, _), (all, restored)): (&(String, GlobMatcher), &(u64, u64))| match (all, restored)
        {
            (0, _) => format!("{text}: none"),
            (all, restored) if all == restored => format!("{text}: {} restored", format_count(*all)),
            (all, restored) => {
                format!(
                    "{text}: {} in the manifest, {} of them restored",
                    format_count(*all),
                    format_count(*restored)
                )
            }
        };
        let told: Vec<String> = self.patterns.iter().zip(&found).map(tell).collect();
        Ok(Observation::new(found.iter().all(|(all, _)| *all > 0), told.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::checks::CheckResult;
    use crate::drill::fake::{Fake, made, made_on, says};
    use crate::drill::pick::Picked;

    fn exists(patterns: &[&str], bytes_min: u64) -> Exists {
        let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
        Exists::new(&patterns, bytes_min).expect("globs")
    }

    #[test]
    fn each_pattern_needs_a_file_that_is_large_enough() {
        let all = Picked::All;
        says(&made(exists(&["/data/a.txt", "**/*.bin"], 1), &all, |_| {}), CheckResult::Pass, "1 restored");
        says(&made(exists(&["data/*", "srv/*"], 0), &all, |_| {}), CheckResult::Fail, "srv/*: none");
        says(&made(exists(&["log/today"], 1), &all, |_| {}), CheckResult::Fail, "log/today: none");
        says(&made(exists(&["*.txt"], 0), &all, |_| {}), CheckResult::Fail, "*.txt: none");
    }

    #[test]
    fn a_file_that_was_picked_and_did_not_come_back_does_not_count() {
        let lost = made(exists(&["data/a.txt"], 0), &Picked::All, |root| {
            std::fs::remove_file(root.join("data/a.txt")).expect("removed");
        });
        says(&lost, CheckResult::Fail, "data/a.txt: none");
        let others = Picked::Paths([b"data/b.bin".to_vec()].into());
        let unpicked = made(exists(&["data/a.txt"], 0), &others, |_| {});
        says(&unpicked, CheckResult::Pass, "1 in the manifest, 0 of them restored");
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_an_error() {
        let fake = Fake { manifest_reads: 0, ..Fake::new() };
        says(&made_on(fake, exists(&["*"], 0), &Picked::All, |_| {}), CheckResult::Error, "no route");
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        assert!(Exists::new(&["a{b".to_owned()], 0).is_err());
        assert!(Exists::new(&[], 0).is_err());
    }
}
