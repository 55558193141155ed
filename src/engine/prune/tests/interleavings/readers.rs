//! Readers and long writers across sweeps.

use std::time::Duration;

use super::script::{Answer, Op, Scene, Scripted, at_each, backup, forget_newest, greedy, judge};
use crate::base::error::{Class, Classified};
use crate::engine::backup::tests::stage::{packs, target};
use crate::engine::error::EngineError;
use crate::engine::prune::PruneRequest;
use crate::engine::prune::tests::stage::Case;
use crate::engine::restore::outcome::RestoreOutcome;
use crate::engine::restore::request::{Mode, Others, RestoreRequest};
use crate::engine::restore::restore;
use crate::repository::snapshots;
use crate::source::files::{Existing, Owner};
use crate::storage::contract::{Read, Storage};

#[test]
fn interleaving_13_a_first_backup_longer_than_three_graces_with_plans_all_the_time() {
    let scene = Scene::new();
    let case = scene.case();
    forget_newest(&case);
    case.settle("emptied");
    assert_eq!(packs(&case.memory).len(), 0);
    let grace = Duration::from_hours(1);
    let other = case.clone();
    let storage = Scripted::new(&case.memory, move |call| {
        // Everything is older than the grace after four calls.
        if call.op != Op::Page {
            other.stage.clock.advance(grace / 4);
            let request = PruneRequest { grace, stale: grace * 2, ..Case::request() };
            other.prune(&request).expect("pruned");
        }
        Answer::Go
    });
    let result = backup(&case, storage.clone());
    assert!(storage.calls() > 12, "longer than three graces");
    judge(&case, result, 0, "plans all the time");
    case.settle("plans all the time");
    let found = case.is_whole("plans all the time");
    judge(&case, backup(&case, case.storage()), found, "plans all the time");
}

fn restored(
    case: &Case,
    storage: std::sync::Arc<dyn Storage>,
    what: &str,
) -> Result<RestoreOutcome, EngineError> {
    let at = target(storage);
    let repository = case.stage.repository.with_targets(vec![at.clone()]);
    let snapshot = snapshots::find(&repository, &at, "latest")?;
    let to = tempfile::tempdir().expect("a folder");
    let request = RestoreRequest {
        to: to.path().to_owned(),
        paths: Vec::new(),
        existing: Existing::Refuse,
        owner: Owner::Keep,
        others: Others::Keep,
        mode: Mode::Write,
        ours: Vec::new(),
    };
    let outcome = restore(&repository, &snapshot, &request, Read::Quick, &case.cx())?;
    // What is there is right, whatever the outcome says.
    let source = case.stage.source.path();
    for number in 1..4 {
        let name = format!("big-{number}");
        let mut found = Vec::new();
        find(to.path(), &name, &mut found);
        if let Some(path) = found.first() {
            let same = std::fs::read(path).expect("read") == std::fs::read(source.join(&name)).expect("read");
            assert!(same, "{what}: {name} has other bytes");
        }
    }
    Ok(outcome)
}

fn find(folder: &std::path::Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path()) {
        if entry.is_dir() {
            find(&entry, name, found);
        } else if entry.ends_with(name) {
            found.push(entry);
        }
    }
}

#[test]
fn interleaving_14_a_restore_during_a_sweep_reads_on_where_the_blobs_went() {
    let scene = Scene::new();
    for is_forgotten in [false, true] {
        at_each(|number| {
            let case = scene.case();
            let other = case.clone();
            let storage = Scripted::at(&case.memory, number, move || {
                if is_forgotten {
                    forget_newest(&other);
                }
                other.stage.plan(&other.memory, packs(&other.memory), Vec::new());
                other.prune(&greedy()).expect("pruned");
            });
            let what = format!("swept before operation {number}, forgotten {is_forgotten}");
            match restored(&case, storage.clone(), &what) {
                Ok(outcome) => assert!(is_forgotten || outcome.worst.is_none(), "{what}: {outcome:#?}"),
                Err(error) => {
                    assert!(is_forgotten, "{what}: {error}");
                    assert!(matches!(error.class(), Class::Damage | Class::NotFound), "{what}: {error}");
                }
            }
            storage.calls()
        });
    }
}
