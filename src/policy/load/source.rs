//! `[source]` of a policy: what is backed up, and what is left out.

use toml_edit::Value;

use super::reader::{Parsed, Section};
use super::values;
use crate::policy::model::{SnapshotOfSource, Source};
use crate::policy::problem::{Complaint, Sort};

const LATER: [&str; 2] = ["dump", "hook"];

/// `source = ["/a", "/b"]`, or `[source]` with `paths` and more.
pub(super) fn read(root: &Section<'_>) -> Option<Source> {
    const EXAMPLE: &str = "[\"/srv/web\", \"/etc\"]";
    let (paths, section) = if root.has_table("source") {
        let section = root.section("source");
        (section.required_list("paths", EXAMPLE, values::path), section)
    } else {
        (root.required_list("source", EXAMPLE, values::path), root.absent("source"))
    };
    let exclude = section.list("exclude", pattern);
    let include = section.list("include", pattern);
    let exclude_larger_than = section.optional("exclude_larger_than", values::bytes);
    let exclude_if_present = section.list("exclude_if_present", name);
    let with_caches = section.or("with_caches", false, values::switch);
    let must_exist = section.or("must_exist", true, values::switch);
    let min_files = section.or("min_files", 1, values::number);
    let max_shrink = section.or("max_shrink", "50%", values::percent);
    let one_file_system = section.or("one_file_system", false, values::switch);
    let kinds = [
        ("none", SnapshotOfSource::None),
        ("auto", SnapshotOfSource::Auto),
        ("btrfs", SnapshotOfSource::Btrfs),
        ("hook", SnapshotOfSource::Hook),
    ];
    let snapshot = section.or("snapshot", "none", |value| match value.as_str() {
        Some(other @ ("lvm" | "zfs")) => {
            let fix =
                "write \"hook\" and name a program that makes it: docs/snapshot-hooks.md has one for each";
            Err(Complaint::value(format!("`{other}` is not built in"), fix))
        }
        _ => values::one_of(value, &kinds, &[]),
    });
    let snapshot_hook = section.optional("snapshot_hook", values::path);
    let snapshot_hook_timeout = section.or("snapshot_hook_timeout", "10m", values::duration);
    let fits = hook_fits(&section, snapshot.as_ref().map(|found| found.value));
    section.finish(&LATER);
    fits.then_some(())?;
    Some(Source {
        paths: paths?,
        exclude: exclude?,
        must_exist: must_exist?.value,
        min_files: min_files?.value,
        max_shrink: max_shrink?.value,
        one_file_system: one_file_system?.value,
        include: include?,
        exclude_larger_than: exclude_larger_than.map(|found| found.value),
        exclude_if_present: exclude_if_present?,
        with_caches: with_caches?.value,
        snapshot: snapshot?.value,
        snapshot_hook: snapshot_hook.map(|found| found.value),
        snapshot_hook_timeout: snapshot_hook_timeout?.value,
    })
}

/// A hook is named where one is asked for, and nowhere else.
fn hook_fits(section: &Section<'_>, snapshot: Option<SnapshotOfSource>) -> bool {
    let complaint = match (snapshot, section.has("snapshot_hook")) {
        (Some(SnapshotOfSource::Hook), false) => Complaint::new(
            Sort::Missing,
            "`snapshot = \"hook\"` names no hook",
            "add `snapshot_hook = \"/etc/lifeboat/hooks.d/NAME\"`",
        ),
        (Some(other), true) if other != SnapshotOfSource::Hook => Complaint::value(
            "the hook is never called",
            "write `snapshot = \"hook\"`, or remove `snapshot_hook`",
        ),
        _ => return true,
    };
    section.reader().complain(complaint, section.span.clone());
    false
}

fn pattern(value: &Value) -> Parsed<String> {
    let pattern = values::word(value)?;
    ignore::gitignore::GitignoreBuilder::new("/").add_line(None, &pattern).map_err(|error| {
        Complaint::value(format!("`{pattern}` is no pattern: {error}"), "write it as in a .gitignore file")
    })?;
    Ok(pattern)
}

/// The name of one entry.
fn name(value: &Value) -> Parsed<String> {
    let name = values::word(value)?;
    if name.contains('/') || name == "." || name == ".." {
        let cause = format!("`{name}` is not the name of one entry");
        return Err(Complaint::value(cause, "write a plain name such as \".nobackup\""));
    }
    Ok(name)
}
