//! From a check of a drill file to one that can be made.

use super::command::Command;
use super::count::Count;
use super::exists::Exists;
use super::freshness::Freshness;
use super::manifest::Manifest;
use crate::drill::error::DrillError;
use crate::drill::plan::CheckSpec;
use crate::policy::model::{self, CheckKind};

/// Builds a check. `below_root` turns a path or glob as people write it into one over the paths
/// of the manifest, which have no slash in front.
///
/// # Errors
/// Usage, when it cannot be made: a pattern that is no glob, no program.
pub fn build(check: &model::Check, below_root: &dyn Fn(&str) -> String) -> Result<CheckSpec, DrillError> {
    let check_of = || -> Result<Box<dyn super::Check>, DrillError> {
        Ok(match &check.kind {
            CheckKind::Manifest => Box::new(Manifest),
            CheckKind::Count { files, bytes } => Box::new(Count::new(*files, *bytes)?),
            CheckKind::Exists { paths, min_bytes } => {
                let patterns: Vec<String> = paths.iter().map(|path| below_root(path)).collect();
                Box::new(Exists::new(&patterns, *min_bytes)?)
            }
            CheckKind::Freshness { path, newest_at_most } => {
                Box::new(Freshness::new(&below_root(path), *newest_at_most)?)
            }
            CheckKind::Command { run, exit } => {
                Box::new(Command::new(run.clone(), check.timeout, i32::from(*exit))?)
            }
        })
    };
    Ok(CheckSpec {
        id: check.id.clone(),
        required: check.required,
        on_fail: check.on_fail,
        check: check_of()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::drill::checks::CheckResult;
    use crate::drill::fake::{made, says};
    use crate::drill::pick::Picked;
    use crate::policy::model::{Bound, OnFail};

    #[derive(Debug)]
    struct Boxed(Box<dyn crate::drill::checks::Check>);

    impl crate::drill::checks::Check for Boxed {
        fn kind(&self) -> &'static str {
            self.0.kind()
        }
        fn expected(&self) -> String {
            self.0.expected()
        }
        fn observe(
            &self,
            scene: &mut crate::drill::checks::Scene<'_>,
        ) -> Result<crate::drill::checks::Observation, crate::drill::checks::Unobserved> {
            self.0.observe(scene)
        }
    }

    #[test]
    fn every_kind_of_a_drill_file_can_be_made() {
        let kinds = [
            CheckKind::Manifest,
            CheckKind::Count { files: Some(Bound::AtLeast(3)), bytes: None },
            CheckKind::Exists { paths: vec!["/srv/app/data/a.txt".to_owned()], min_bytes: 5 },
            CheckKind::Freshness {
                path: "/srv/app/data/**".to_owned(),
                newest_at_most: Duration::from_secs(3600),
            },
            CheckKind::Command {
                run: vec!["/bin/test".to_owned(), "-f".to_owned(), "data/a.txt".to_owned()],
                exit: 0,
            },
        ];
        for kind in kinds {
            let check = model::Check {
                id: "it".to_owned(),
                kind,
                required: true,
                on_fail: OnFail::Warn,
                timeout: Duration::from_secs(30),
            };
            let word = check.kind.word();
            let spec = build(&check, &|path| path.replacen("/srv/app/", "", 1)).expect(word);
            assert_eq!((spec.check.kind(), spec.on_fail), (word, OnFail::Warn));
            says(&made(Boxed(spec.check), &Picked::All, |_| {}), CheckResult::Pass, "");
        }
    }
}
