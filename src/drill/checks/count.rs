//! `count`: whether there are as many files and bytes as there should be.
//!
//! Picked files are counted where they were restored, the others in the manifest: with a sample
//! this speaks about the snapshot, with the scope `all` about what came back.

use super::check::{Check, Observation, Unobserved};
use super::scene::{Scene, Where};
use crate::base::size::{format_bytes, format_count};
use crate::drill::error::DrillError;
use crate::policy::model::Bound;

/// Compares the number of regular files, their bytes, or both.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    files: Option<Bound>,
    bytes: Option<Bound>,
}

impl Count {
    /// Compares what is given.
    ///
    /// # Errors
    /// Usage, when nothing is given.
    pub fn new(files: Option<Bound>, bytes: Option<Bound>) -> Result<Self, DrillError> {
        if files.is_none() && bytes.is_none() {
            let reason = "it needs `files` or `bytes`".to_owned();
            return Err(DrillError::BadCheck { check: "count".to_owned(), reason });
        }
        Ok(Self { files, bytes })
    }
}

impl Check for Count {
    fn kind(&self) -> &'static str {
        "count"
    }

    fn expected(&self) -> String {
        let files = self.files.map(|bound| format!("{} files", describe(bound, format_count)));
        let bytes = self.bytes.map(|bound| describe(bound, format_bytes));
        files.into_iter().chain(bytes).collect::<Vec<_>>().join(", ")
    }

    fn observe(&self, scene: &mut Scene<'_>) -> Result<Observation, Unobserved> {
        let (mut files, mut bytes, mut restored) = (0u64, 0u64, 0u64);
        scene.each_file(&mut |seen| {
            files += 1;
            bytes = bytes.saturating_add(seen.size);
            restored += u64::from(seen.from == Where::Restored);
        })?;
        let passed = self.files.is_none_or(|bound| bound.holds(files))
            && self.bytes.is_none_or(|bound| bound.holds(bytes));
        let source = if restored == files {
            "all counted in the restored tree".to_owned()
        } else {
            format!(
                "{} of them counted in the restored tree, the others in the manifest",
                format_count(restored)
            )
        };
        Ok(Observation::new(
            passed,
            format!("{} files, {}; {source}", format_count(files), format_bytes(bytes)),
        ))
    }
}

fn describe(bound: Bound, print: fn(u64) -> String) -> String {
    match bound {
        Bound::AtLeast(limit) => format!("at least {}", print(limit)),
        Bound::AtMost(limit) => format!("at most {}", print(limit)),
        Bound::Exactly(limit) => format!("exactly {}", print(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::checks::CheckResult;
    use crate::drill::fake::{Fake, made, made_on, says};
    use crate::drill::pick::Picked;

    fn files(bound: Bound) -> Count {
        Count::new(Some(bound), None).expect("a bound")
    }

    #[test]
    fn what_was_restored_is_counted_on_disk() {
        says(
            &made(
                Count::new(Some(Bound::AtLeast(3)), Some(Bound::AtLeast(5005))).expect("bounds"),
                &Picked::All,
                |_| {},
            ),
            CheckResult::Pass,
            "3 files",
        );
        let lost = made(files(Bound::AtLeast(3)), &Picked::All, |root| {
            std::fs::remove_file(root.join("data/a.txt")).expect("removed");
        });
        says(&lost, CheckResult::Fail, "2 files, 4.88 KiB; all counted in the restored tree");
        says(
            &made(Count::new(None, Some(Bound::AtLeast(5006))).expect("a bound"), &Picked::All, |_| {}),
            CheckResult::Fail,
            "4.89 KiB",
        );
    }

    #[test]
    fn what_was_not_picked_is_counted_in_the_manifest_and_said_so() {
        let some = Picked::Paths([b"data/a.txt".to_vec()].into());
        says(
            &made(files(Bound::Exactly(3)), &some, |_| {}),
            CheckResult::Pass,
            "1 of them counted in the restored",
        );
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_an_error() {
        let fake = Fake { manifest_reads: 0, ..Fake::new() };
        says(
            &made_on(fake, files(Bound::AtLeast(0)), &Picked::All, |_| {}),
            CheckResult::Error,
            "no route to host",
        );
    }

    #[test]
    fn a_count_of_nothing_is_refused() {
        assert!(Count::new(None, None).is_err());
    }
}
