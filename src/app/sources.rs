//! What a policy says of its source, as the engine takes it.

use crate::catalog::state::StateFolder;
use crate::engine::backup::request::Freeze;
use crate::policy::model::{Configuration, SnapshotOfSource, Source};
use crate::policy::problem::{Problem, Sort};
use crate::source::files::WalkOptions;
use crate::source::frozen::hook::{self, Hook};

/// Where in the state folder views are recorded while they exist.
pub const VIEWS: &str = "views";

/// What is left out.
pub(super) fn walk_options(source: &Source) -> WalkOptions {
    WalkOptions {
        one_file_system: source.one_file_system,
        excludes: source.exclude.clone(),
        includes: source.include.clone(),
        larger_than: source.exclude_larger_than,
        if_present: source.exclude_if_present.clone(),
        exclude_caches: !source.with_caches,
    }
}

/// Which view is read. Views of hooks are recorded in the state folder.
pub(super) fn freeze(source: &Source, state: &StateFolder) -> Freeze {
    match (source.snapshot, &source.snapshot_hook) {
        (SnapshotOfSource::Auto, _) => Freeze::Auto,
        (SnapshotOfSource::Btrfs, _) => Freeze::Btrfs,
        (SnapshotOfSource::Hook, Some(program)) => {
            let (program, limit) = (program.clone(), source.snapshot_hook_timeout);
            Freeze::Hook(Hook { program, limit, records: state.root().join(VIEWS) })
        }
        // No policy is loaded that asks for a hook and names none.
        (SnapshotOfSource::None | SnapshotOfSource::Hook, _) => Freeze::None,
    }
}

/// What is wrong with the hooks that policies name.
pub fn hook_problems(configuration: &Configuration) -> Vec<Problem> {
    let named = configuration
        .policies
        .iter()
        .filter_map(|policy| Some((policy, policy.source.snapshot_hook.as_ref()?)));
    let wrong = named.filter_map(|(policy, program)| Some((policy, hook::check(program).err()?)));
    wrong
        .map(|(policy, cause)| {
            let file = format!("policies/{}.toml", policy.id.as_str());
            let fix = "let it and every folder above it belong to root, and be writable by nobody else";
            Problem::in_file(Sort::Value, file, format!("`source.snapshot_hook`: {cause}"), fix)
        })
        .collect()
}
