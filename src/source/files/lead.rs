//! Looking ahead: whether a folder that no include pattern matches is the way to something that
//! one does.
//!
//! The order of a walk gives a folder before what it holds, so it has to be known beforehand.
//! The look stops at the first find; what it learns on the way is kept, so that hardly any folder
//! is looked through twice. What can't be looked at counts as a way: the walk then says why.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rustix::fs::{FileType, RawDir};

use super::dir::Dir;
use super::filter::{self, Verdict};
use super::stat::{Inode, Stat};
use super::walk::Walk;
use crate::base::limits::PATH_DEPTH_MAX;
use crate::base::metadata::FileKind;
use crate::source::frozen::is_view_name;

/// So many folders are remembered (some 32 bytes each); then everything is forgotten.
const KNOWN_MAX: usize = 65_536;

/// What earlier looks found.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Inode, bool>);

impl Known {
    fn learn(&mut self, folder: Inode, leads: bool) {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(folder, leads);
    }
}

/// Folders in a folder.
type Below = Vec<(Box<[u8]>, Inode)>;

/// A folder on the way down, and those in it that are still to be looked at.
struct Step {
    dir: Arc<Dir>,
    path: Vec<u8>,
    below: Below,
}

impl Walk {
    /// Whether anything below the folder is kept. `path` is its own, below the root.
    pub(super) fn leads(&mut self, parent: &Arc<Dir>, name: &[u8], path: Vec<u8>, inode: Inode) -> bool {
        self.look_ahead(parent, name, path, inode).unwrap_or(true)
    }

    fn look_ahead(
        &mut self,
        parent: &Arc<Dir>,
        name: &[u8],
        path: Vec<u8>,
        inode: Inode,
    ) -> io::Result<bool> {
        if let Some(leads) = self.known.0.get(&inode) {
            return Ok(*leads);
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut next = Some((Arc::clone(parent), Box::from(name), path, inode));
        loop {
            if let Some((parent, name, path, inode)) = next.take() {
                if parent.depth() + 1 >= PATH_DEPTH_MAX {
                    return Ok(true);
                }
                let dir = match parent.enter(&name, inode) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    dir => dir?,
                };
                match self.candidates(&dir, &path)? {
                    Some(below) => steps.push(Step { dir, path, below }),
                    None => {
                        self.known.learn(inode, true);
                        steps.iter().for_each(|step| self.known.learn(step.dir.inode(), true));
                        return Ok(true);
                    }
                }
            }
            let Some(step) = steps.last_mut() else { return Ok(false) };
            match step.below.pop() {
                None => {
                    self.known.learn(step.dir.inode(), false);
                    steps.pop();
                }
                Some((_, inode)) if self.known.0.get(&inode) == Some(&false) => {}
                Some((name, inode)) => {
                    let path = [&step.path[..], b"/", &name].concat();
                    next = Some((Arc::clone(&step.dir), name, path, inode));
                }
            }
        }
    }

    /// The folders in a folder that may lead on; none when something in it is kept.
    fn candidates(&mut self, dir: &Arc<Dir>, path: &[u8]) -> io::Result<Option<Below>> {
        let fd = dir.open()?;
        let mut below = Vec::new();
        let mut is_left = false;
        let mut is_kept = false;
        let mut list = RawDir::new(&*fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = list.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            is_left |=
                self.options.exclude_caches && name == filter::CACHE_TAG_NAME && filter::is_cache(&*fd);
            is_left |= self.options.if_present.iter().any(|mark| mark.as_bytes() == name);
            if is_left {
                return Ok(Some(Vec::new()));
            }
            if is_view_name(name) {
                continue;
            }
            let listed = kind_of(entry.file_type());
            let needs_stat = listed.is_none_or(|kind| {
                kind == FileKind::Directory || kind == FileKind::File && self.options.larger_than.is_some()
            });
            let stat = if needs_stat { Some(Stat::of(&*fd, name)) } else { None };
            let stat = match stat.transpose() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                stat => stat?,
            };
            let Some(kind) = stat.map(|stat| stat.kind).or(listed) else { continue };
            match self.filter.judge(&[path, b"/", name].concat(), kind, false) {
                Verdict::Keep => {
                    let is_large =
                        |stat: &Stat| self.options.larger_than.is_some_and(|most| stat.size > most);
                    // The rest is listed all the same: a mark may come that leaves all of it out.
                    is_kept |= !stat.as_ref().is_some_and(is_large);
                }
                Verdict::Way => {
                    let on_this = |stat: &Stat| !self.options.one_file_system || stat.dev == self.root_dev;
                    below.extend(stat.filter(on_this).map(|stat| (Box::from(name), stat.inode())));
                }
                Verdict::Leave => {}
            }
        }
        Ok((!is_kept).then_some(below))
    }
}

fn kind_of(listed: FileType) -> Option<FileKind> {
    Some(match listed {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::source::files::{Counts, Item, Stop, Walk, WalkOptions};

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let path = folder.path().join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).expect("made");
            } else {
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, *name).expect("written");
            }
        }
        folder
    }

    fn walked(root: &Path, options: &WalkOptions) -> (Vec<String>, Counts) {
        let mut walk = Walk::open(root, options.clone()).expect("opened");
        let mut paths = Vec::new();
        for item in &mut walk {
            let Item::Found(found) = item else { panic!("{item:?}") };
            paths.push(String::from_utf8(found.path()).expect("plain"));
        }
        (paths, walk.counts())
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn includes_keep_only_the_folders_that_lead_somewhere() {
        let folder = tree(&[
            "a/deep/er/x.pdf",
            "a/deep/other/x.txt",
            "b/none/at/all.txt",
            "c/docs/any.txt",
            "c/docs/sub/more",
            "c/docs/sub/old.bak",
            "empty/",
            "top.pdf",
        ]);
        let options = WalkOptions {
            includes: lines(&["*.pdf", "docs/"]),
            excludes: lines(&["*.bak"]),
            ..WalkOptions::default()
        };
        let (paths, counts) = walked(folder.path(), &options);
        let expected = [
            "",
            "a",
            "c",
            "top.pdf",
            "a/deep",
            "a/deep/er",
            "a/deep/er/x.pdf",
            "c/docs",
            "c/docs/any.txt",
            "c/docs/sub",
            "c/docs/sub/more",
        ];
        assert_eq!(paths, expected);
        // b, empty, a/deep/other; old.bak.
        assert_eq!((counts.excluded, counts.excluded_directories), (4, 3), "{counts:?}");
    }

    #[test]
    fn what_is_left_out_anyway_leads_nowhere() {
        let folder = tree(&[
            "big/x.pdf",
            "cache/sub/x.pdf",
            "marked/sub/x.pdf",
            "marked/.nobackup",
            "ex/x.pdf",
            "y.pdf",
        ]);
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
        fs::write(folder.path().join("cache/CACHEDIR.TAG"), tag).expect("written");
        fs::write(folder.path().join("big/x.pdf"), [7; 2000]).expect("written");
        let options = WalkOptions {
            includes: lines(&["*.pdf"]),
            excludes: lines(&["/ex/*"]),
            larger_than: Some(1000),
            if_present: lines(&[".nobackup"]),
            exclude_caches: true,
            ..WalkOptions::default()
        };
        assert_eq!(walked(folder.path(), &options).0, ["", "y.pdf"]);
        let everything = WalkOptions { includes: lines(&["*.pdf"]), ..WalkOptions::default() };
        assert_eq!(walked(folder.path(), &everything).0.len(), 12);
        let all_but = WalkOptions { includes: Vec::new(), ..options };
        let (paths, counts) = walked(folder.path(), &all_but);
        assert_eq!(paths, ["", "big", "cache", "ex", "marked", "y.pdf"]);
        assert_eq!((counts.larger, counts.caches, counts.marked, counts.excluded), (1, 1, 1, 1));
        assert_eq!(counts.bytes, 2000 + 8, "of ex/x.pdf and big/x.pdf");
    }

    #[test]
    fn folders_that_lead_nowhere_are_looked_through_once() {
        let names: Vec<String> = (0..200).map(|n| format!("a/b/c/d/{n:03}/e/f.txt")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("a/b/c/d/zzz/x.pdf");
        let folder = tree(&names);
        let options = WalkOptions { includes: lines(&["*.pdf"]), ..WalkOptions::default() };
        let mut walk = Walk::open(folder.path(), options).expect("opened");
        assert_eq!(walk.by_ref().count(), 7);
        assert!(walk.known.0.len() <= 406, "{}", walk.known.0.len());
        assert!(walk.known.0.values().filter(|leads| **leads).count() == 5, "{:?}", walk.known.0);
    }

    #[test]
    fn a_walk_stops_at_a_root_of_its_own() {
        let folder = tree(&["a/b/c", "a/d", "a/b2/e"]);
        let mut walk = Walk::open(folder.path(), WalkOptions::default()).expect("opened");
        walk.stop_at(b"a/b".to_vec(), Stop::OtherRoot);
        walk.stop_at(b"a/d".to_vec(), Stop::OtherRoot);
        let paths: Vec<Vec<u8>> = walk
            .by_ref()
            .filter_map(|item| if let Item::Found(found) = item { Some(found.path()) } else { None })
            .collect();
        assert_eq!(paths, [&b""[..], b"a", b"a/b", b"a/b2", b"a/b2/e"]);
        assert_eq!(walk.counts(), Counts::default(), "nothing is left out: it is in the other root");
    }
}
