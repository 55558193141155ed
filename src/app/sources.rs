//! What a policy says of its source, as the engine takes it.

use crate::policy::model::Source;
use crate::source::files::WalkOptions;

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
