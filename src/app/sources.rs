//! What a policy says of its source, as the engine takes it.

use crate::engine::backup::request::Freeze;
use crate::policy::model::{SnapshotOfSource, Source};
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

/// Which view is read.
pub(super) fn freeze(kind: SnapshotOfSource) -> Freeze {
    match kind {
        SnapshotOfSource::None => Freeze::None,
        SnapshotOfSource::Auto => Freeze::Auto,
        SnapshotOfSource::Btrfs => Freeze::Btrfs,
    }
}
