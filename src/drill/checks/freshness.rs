//! `freshness`: whether something was written shortly before the snapshot.
//!
//! Finds sources that stopped: an application that no longer writes, a dump that silently ended.
//! Applications can set times as they like, so a fresh time is no proof of fresh content.

use std::time::Duration;

use globset::GlobMatcher;

use super::check::{Check, Observation, Unobserved};
use super::scene::{Scene, Where, glob, path_of};
use crate::base::clock::Timestamp;
use crate::base::display;
use crate::base::size::format_duration;
use crate::drill::error::DrillError;

/// The newest file under a glob must be at most so much older than the snapshot.
#[derive(Clone, Debug)]
pub struct Freshness {
    text: String,
    pattern: GlobMatcher,
    age_max: Duration,
}

impl Freshness {
    /// The newest of the files that match `pattern` is at most `age_max` older than the start of
    /// the backup.
    ///
    /// # Errors
    /// Usage, when the pattern is no glob.
    pub fn new(pattern: &str, age_max: Duration) -> Result<Self, DrillError> {
        Ok(Self { text: pattern.to_owned(), pattern: glob("freshness", pattern)?, age_max })
    }
}

impl Check for Freshness {
    fn kind(&self) -> &'static str {
        "freshness"
    }

    fn expected(&self) -> String {
        format!(
            "a file under {} changed at most {} before the snapshot",
            self.text,
            format_duration(self.age_max)
        )
    }

    fn observe(&self, scene: &mut Scene<'_>) -> Result<Observation, Unobserved> {
        let mut newest: Option<(i64, u32, Vec<u8>, Where)> = None;
        scene.each_file(&mut |seen| {
            let time = (seen.mtime.seconds, seen.mtime.nanos);
            let is_newer = newest.as_ref().is_none_or(|(seconds, nanos, ..)| time > (*seconds, *nanos));
            if is_newer && self.pattern.is_match(path_of(seen.path)) {
                newest = Some((time.0, time.1, seen.path.to_vec(), seen.from));
            }
        })?;
        let Some((seconds, nanos, path, from)) = newest else {
            return Ok(Observation::new(false, format!("no file under {}", self.text)));
        };
        let at = Timestamp::from_unix_ms(
            seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)),
        );
        let age = scene.snapshot.captured_at.since(at);
        let source = match from {
            Where::Restored => "as restored",
            Where::Manifest => "as the manifest has it",
        };
        let observed = if at > scene.snapshot.captured_at {
            format!("{} changed after the backup began ({source})", display::path(&path))
        } else {
            format!("{} changed {} before ({source})", display::path(&path), format_duration(age))
        };
        Ok(Observation::new(age <= self.age_max, observed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::size::parse_duration;
    use crate::drill::checks::CheckResult;
    use crate::drill::fake::{CAPTURED_AT_SECONDS, Fake, made, made_on, says, touch};
    use crate::drill::pick::Picked;

    fn fresh(pattern: &str, age: &str) -> Freshness {
        Freshness::new(pattern, parse_duration(age).expect("an age")).expect("a glob")
    }

    #[test]
    fn the_newest_file_decides() {
        let all = Picked::All;
        says(&made(fresh("data/**", "1h"), &all, |_| {}), CheckResult::Pass, "59m 59s before");
        says(&made(fresh("data/**", "59m"), &all, |_| {}), CheckResult::Fail, "59m 59s before (as restored)");
        says(&made(fresh("srv/**", "1h"), &all, |_| {}), CheckResult::Fail, "no file under srv/**");
        let touched = made(fresh("data/**", "1m"), &all, |root| {
            let newer = u64::try_from(CAPTURED_AT_SECONDS - 30).expect("after 1970");
            touch(&root.join("data/b.bin"), newer);
        });
        says(&touched, CheckResult::Pass, "data/b.bin changed 30s before");
    }

    #[test]
    fn times_of_files_that_were_not_picked_are_the_manifests() {
        let none = Picked::Paths(std::collections::BTreeSet::new());
        says(&made(fresh("**", "2h"), &none, |_| {}), CheckResult::Pass, "as the manifest has it");
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_an_error() {
        let fake = Fake { manifest_reads: 0, ..Fake::new() };
        says(&made_on(fake, fresh("**", "2h"), &Picked::All, |_| {}), CheckResult::Error, "no route");
    }
}
