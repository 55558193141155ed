//! `manifest`: whether every picked entry came back as the manifest recorded it.
//!
//! The restore has checked each blob against its id before writing. This check reads the written
//! files again and compares type, size, mode, modification time, link target, content, and owner
//! when it runs as root. It proves "the same as when it was read", not "right when it was read".
//! Extended attributes and inode flags are not compared.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::check::{Check, Observation, Unobserved};
use super::scene::{Scene, mtime_of};
use crate::base::display;
use crate::base::metadata::FileKind;
use crate::base::size::format_count;
use crate::drill::path::open_beneath;
use crate::drill::restorer::{Entry, EntryFact, PROBLEMS_MAX, Problem};

/// Compares everything that was picked.
#[derive(Clone, Copy, Debug)]
pub struct Manifest;

/// What a comparison counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Entries that were compared.
    pub compared: u64,
    /// Entries that cannot be restored without root: devices; and sockets, which never are.
    pub skipped: u64,
    /// Entries with other content, size, type or link target.
    pub mismatched: u64,
    /// Picked entries that are not there.
    pub missing: u64,
    /// Things in the sandbox that nobody asked for. Only counted for the scope `all`.
    pub extra: Option<u64>,
    /// Entries with the right content and another mode, time or owner.
    pub metadata_differences: u64,
    /// The first of them, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
}

/// What is wrong with an entry; the worst of it.
enum Difference {
    Missing,
    Content(String),
    Metadata(String),
}

impl Comparison {
    fn note(&mut self, path: &[u8], difference: Difference) {
        let problem = match difference {
            Difference::Missing => {
                self.missing += 1;
                "missing".to_owned()
            }
            Difference::Content(problem) => {
                self.mismatched += 1;
                problem
            }
            Difference::Metadata(problem) => {
                self.metadata_differences += 1;
                problem
            }
        };
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { path: display::path(path), problem });
        }
    }

    fn is_clean(&self) -> bool {
        self.compared > 0
            && self.mismatched + self.missing + self.metadata_differences == 0
            && self.extra.unwrap_or(0) == 0
    }
}

impl Check for Manifest {
    fn kind(&self) -> &'static str {
        "manifest"
    }

    fn expected(&self) -> String {
        "every picked entry as recorded: type, size, content, mode, time, link target".to_owned()
    }

    fn observe(&self, scene: &mut Scene<'_>) -> Result<Observation, Unobserved> {
        let picked = scene.picked;
        let is_all = *picked == crate::drill::pick::Picked::All;
        let is_root = rustix::process::geteuid().is_root();
        let mut counts = Comparison::default();
        let mut expected_in_tree = 0u64;
        scene.each_entry(&mut |folder, entry| {
            let fact = entry.fact();
            if !picked.contains(&fact.path) {
                return Ok(());
            }
            let needs_root = matches!(fact.kind, FileKind::CharDevice | FileKind::BlockDevice);
            if fact.kind == FileKind::Socket || (needs_root && !is_root) {
                counts.skipped += 1;
                return Ok(());
            }
            counts.compared += 1;
            let found = compare(folder, entry, is_root)?;
            if !matches!(found, Some(Difference::Missing)) {
                expected_in_tree += 1;
            }
            if let Some(difference) = found {
                counts.note(&fact.path, difference);
            }
            Ok(())
        })?;
        if is_all {
            counts.extra = Some(count_tree(&scene.folder)?.saturating_sub(expected_in_tree));
        }
        let mut observed = format!(
            "{} entries compared: {} with other content, {} missing, {} with other metadata",
            format_count(counts.compared),
            format_count(counts.mismatched),
            format_count(counts.missing),
            format_count(counts.metadata_differences)
        );
        if let Some(extra @ 1..) = counts.extra {
            observed.push_str(&format!(", {} that nobody asked for", format_count(extra)));
        }
        let mut seen = Observation::new(counts.is_clean(), observed);
        let owners = if is_root { "owners compared" } else { "owners not compared: not run as root" };
        seen.message = Some(match counts.skipped {
            0 => owners.to_owned(),
            skipped => format!("{owners}; {} sockets or devices not compared", format_count(skipped)),
        });
        scene.comparison = Some(counts);
        Ok(seen)
    }
}

fn compare(folder: &OwnedFd, entry: &dyn Entry, is_root: bool) -> Result<Option<Difference>, Unobserved> {
    let fact = entry.fact();
    let unreadable =
        |errno: Errno| Unobserved(format!("cannot read {} again: {errno}", display::path(&fact.path)));
    let handle = match open_beneath(folder, &fact.path, OFlags::PATH) {
        Ok(handle) => handle,
        // A link in place of a folder above it, or a path that could leave the root.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::INVAL) => {
            return Ok(Some(Difference::Missing));
        }
        Err(errno) => return Err(unreadable(errno)),
    };
    let stat = rustix::fs::fstat(&handle).map_err(unreadable)?;
    let kind = kind_of(&stat);
    if kind != Some(fact.kind) {
        return Ok(Some(Difference::Content(format!("is of another type than {:?}", fact.kind))));
    }
    match fact.kind {
        FileKind::File => {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            if size != fact.size {
                return Ok(Some(Difference::Content(format!("{size} bytes instead of {}", fact.size))));
            }
            let restored = open_beneath(folder, &fact.path, OFlags::RDONLY).map_err(unreadable)?;
            let same = entry.content_matches(&mut File::from(restored)).map_err(|error| {
                Unobserved(format!("cannot read {} again: {error}", display::path(&fact.path)))
            })?;
            if !same {
                return Ok(Some(Difference::Content("other bytes of the same length".to_owned())));
            }
        }
        FileKind::Symlink => {
            let target = rustix::fs::readlinkat(&handle, c"", Vec::new()).map_err(unreadable)?;
            if target.to_bytes() != fact.link_target {
                let problem = format!("points to {}", display::path(target.to_bytes()));
                return Ok(Some(Difference::Content(problem)));
            }
        }
        _ => {}
    }
    Ok(compare_metadata(fact, &stat, is_root).map(Difference::Metadata))
}

fn compare_metadata(fact: &EntryFact, stat: &Stat, is_root: bool) -> Option<String> {
    let mode = stat.st_mode & 0o7777;
    if fact.kind != FileKind::Symlink && mode != fact.mode {
        return Some(format!("mode {mode:04o} instead of {:04o}", fact.mode));
    }
    let mtime = mtime_of(stat);
    if mtime != fact.mtime {
        return Some(format!(
            "changed at {}.{:09} instead of {}.{:09}",
            mtime.seconds, mtime.nanos, fact.mtime.seconds, fact.mtime.nanos
        ));
    }
    if is_root && (stat.st_uid, stat.st_gid) != (fact.uid, fact.gid) {
        return Some(format!("owner {}:{} instead of {}:{}", stat.st_uid, stat.st_gid, fact.uid, fact.gid));
    }
    None
}

fn kind_of(stat: &Stat) -> Option<FileKind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Unknown => return None,
    })
}

/// Everything below a folder, itself not counted. Holds the folders that are still to be read.
fn count_tree(root: &OwnedFd) -> Result<u64, Unobserved> {
    let failed = |errno: Errno| Unobserved(format!("cannot list the restored tree: {errno}"));
    let mut count = 0;
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = if path.is_empty() {
            rustix::fs::openat(root, c".", flags | OFlags::CLOEXEC, Mode::empty())
        } else {
            open_beneath(root, &path, flags)
        }
        .map_err(failed)?;
        for entry in Dir::read_from(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            count += 1;
            let stat = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            if FileType::from_raw_mode(stat.map_err(failed)?.st_mode).is_dir() {
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name);
                waiting.push(below);
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use crate::drill::checks::CheckResult;
    use crate::drill::fake::{Fake, made, made_on, says, touch};
    use crate::drill::pick::Picked;

    fn file_with(path: &Path, bytes: &[u8]) {
        let before = path.metadata().expect("there").modified().expect("has a time");
        std::fs::write(path, bytes).expect("written");
        let file = File::options().write(true).open(path).expect("opened");
        file.set_modified(before).expect("set");
    }

    #[test]
    fn what_came_back_as_recorded_passes() {
        let outcome = made(Manifest, &Picked::All, |_| {});
        says(&outcome, CheckResult::Pass, "6 entries compared: 0 with other content");
        let some = Picked::Paths([b"data/b.bin".to_vec()].into());
        says(&made(Manifest, &some, |_| {}), CheckResult::Pass, "1 entries compared");
    }

    #[test]
    fn one_other_byte_of_the_same_length_fails() {
        let spoil = |root: &Path| file_with(&root.join("data/a.txt"), b"alphA");
        says(&made(Manifest, &Picked::All, spoil), CheckResult::Fail, "1 with other content");
    }

    #[test]
    fn every_recorded_fact_is_compared() {
        type Spoil = fn(&Path);
        let cases: [(Spoil, &str); 8] = [
            (|root| std::fs::remove_file(root.join("data/a.txt")).expect("removed"), "1 missing"),
            (|root| file_with(&root.join("data/a.txt"), b"alph"), "1 with other content"),
            (|root| touch(&root.join("data/a.txt"), 5), "1 with other metadata"),
            (
                |root| {
                    let mode = std::fs::Permissions::from_mode(0o600);
                    std::fs::set_permissions(root.join("data/a.txt"), mode).expect("set");
                },
                "1 with other metadata",
            ),
            (
                |root| {
                    std::fs::remove_file(root.join("data/link")).expect("removed");
                    symlink("b.bin", root.join("data/link")).expect("linked");
                },
                "1 with other content",
            ),
            (
                |root| {
                    std::fs::remove_file(root.join("data/a.txt")).expect("removed");
                    symlink("b.bin", root.join("data/a.txt")).expect("linked");
                },
                "1 with other content",
            ),
            (|root| std::fs::write(root.join("extra"), "x").expect("written"), "1 that nobody asked for"),
            (
                // A link in place of a folder: what lies behind it is not what was restored.
                |root| {
                    std::fs::remove_dir_all(root.join("log")).expect("removed");
                    symlink("data", root.join("log")).expect("linked");
                },
                "1 missing",
            ),
        ];
        for (at, (spoil, words)) in cases.into_iter().enumerate() {
            let outcome = made(Manifest, &Picked::All, spoil);
            assert!(outcome.observed.contains(words), "case {at}: {outcome:?}");
            says(&outcome, CheckResult::Fail, words);
        }
    }

    #[test]
    fn nothing_compared_is_no_pass() {
        let mut fake = Fake::new();
        fake.entries.clear();
        says(&made_on(fake, Manifest, &Picked::All, |_| {}), CheckResult::Fail, "0 entries compared");
    }

    #[test]
    fn a_file_that_cannot_be_read_again_is_an_error() {
        // Modes don't stop root, so the reading itself fails here.
        let mut fake = Fake::new();
        fake.entries[1].unreadable = true;
        says(
            &made_on(fake, Manifest, &Picked::All, |_| {}),
            CheckResult::Error,
            "cannot read data/a.txt again",
        );
    }
}
