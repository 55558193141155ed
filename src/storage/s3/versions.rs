//! Old versions of objects: a bucket as it was at an earlier time.
//!
//! A bucket with versioning loses nothing to a plain DELETE or an overwrite: both only put something
//! newer on top. Reading as of a time before that sees the objects as they were. Nothing can be
//! written through such a view.

use std::ops::ControlFlow;

use aws_sdk_s3::primitives::DateTime;

use super::driver::{S3Storage, modified};
use super::failure::Failure;
use crate::base::clock::Timestamp;
use crate::storage::contract::{ObjectName, Stat, could_begin_a_name};

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// None where the store keeps no versions.
    pub(super) id: Option<String>,
    /// A mark that says that the object was deleted then.
    pub(super) is_deletion: bool,
    pub(super) modified: Timestamp,
    pub(super) bytes: u64,
}

impl Version {
    /// The one that a store without versions has.
    pub(super) fn only() -> Self {
        Self { id: None, is_deletion: false, modified: Timestamp::default(), bytes: 0 }
    }
}

/// One line of a list of versions.
struct Line {
    key: String,
    version: Version,
}

/// Of versions of one object, what was there at a time; none when it was deleted or not made yet.
/// Versions of one moment are in the order of the list, newest first.
fn as_of(versions: &[Version], at: Timestamp) -> Option<&Version> {
    let mut newest: Option<&Version> = None;
    for version in versions.iter().filter(|version| version.modified <= at) {
        if newest.is_none_or(|newest| version.modified > newest.modified) {
            newest = Some(version);
        }
    }
    newest.filter(|version| !version.is_deletion)
}

impl S3Storage {
    /// Every version of one object, deletions included.
    pub(super) fn versions_of(&self, name: &ObjectName) -> Result<Vec<Version>, Failure> {
        let key = self.key(name.as_str());
        let mut found = Vec::new();
        self.each_version(&key, None, &mut |line| {
            if line.key == key {
                found.push(line.version);
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(found)
    }

    /// The version of an object at a time.
    pub(super) fn version_at(&self, name: &ObjectName, at: Timestamp) -> Result<Option<Version>, Failure> {
        Ok(as_of(&self.versions_of(name)?, at).cloned())
    }

    /// Lists a prefix as it was at a time.
    pub(super) fn list_as_of(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        at: Timestamp,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        if !could_begin_a_name(prefix) {
            return Ok(());
        }
        let mut of_one: Vec<Version> = Vec::new();
        let mut one: Option<ObjectName> = None;
        let mut show = |name: Option<ObjectName>, versions: &mut Vec<Version>| {
            let shown = name.zip(as_of(versions, at));
            let stat =
                shown.map(|(name, version)| Stat { name, bytes: version.bytes, modified: version.modified });
            let flow = stat.map_or(ControlFlow::Continue(()), &mut *visit);
            versions.clear();
            flow
        };
        let mut unsorted = None;
        let mut is_over = false;
        self.each_version(&self.key(prefix), after.map(|name| self.key(name.as_str())), &mut |line| {
            let Some(name) = self.name_of(&line.key) else { return ControlFlow::Continue(()) };
            if after.is_some_and(|after| name <= *after) {
                return ControlFlow::Continue(());
            }
            if one.as_ref() != Some(&name) {
                if one.as_ref().is_some_and(|one| name < *one) {
                    unsorted = Some(name);
                    return ControlFlow::Break(());
                }
                if show(one.replace(name), &mut of_one).is_break() {
                    is_over = true;
                    return ControlFlow::Break(());
                }
            }
            of_one.push(line.version);
            ControlFlow::Continue(())
        })?;
        if let Some(name) = unsorted {
            return Err(Failure::Other(format!("the store lists {name} too late: its list is not sorted")));
        }
        if !is_over {
            show(one, &mut of_one).is_break();
        }
        Ok(())
    }

    /// Every version below a prefix of keys. A page has versions and deletions in two lists, each sorted
    /// by key and newest first; they are merged by key.
    fn each_version(
        &self,
        prefix: &str,
        after_key: Option<String>,
        visit: &mut dyn FnMut(Line) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let (mut key, mut id): (Option<String>, Option<String>) = (after_key, None);
        loop {
            let request = self
                .client
                .list_object_versions()
                .bucket(&self.options.bucket)
                .prefix(prefix)
                .set_key_marker(key.take())
                .set_version_id_marker(id.take());
            let page = self.call(async { request.send().await.map_err(Failure::from) })?;
            let line = |key: Option<&str>, id: Option<&str>, at: Option<&DateTime>, bytes: Option<u64>| {
                let version = Version {
                    id: id.map(str::to_owned),
                    is_deletion: bytes.is_none(),
                    modified: modified(at),
                    bytes: bytes.unwrap_or(0),
                };
                key.map(|key| Line { key: key.to_owned(), version })
            };
            let kept = page.versions().iter().filter_map(|version| {
                let bytes = version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                line(version.key(), version.version_id(), version.last_modified(), Some(bytes))
            });
            let deleted = page
                .delete_markers()
                .iter()
                .filter_map(|mark| line(mark.key(), mark.version_id(), mark.last_modified(), None));
            let mut lines: Vec<Line> = kept.chain(deleted).collect();
            lines.sort_by(|a, b| (&a.key, b.version.modified).cmp(&(&b.key, a.version.modified)));
            for line in lines {
                if visit(line).is_break() {
                    return Ok(());
                }
            }
            if page.is_truncated() != Some(true) {
                return Ok(());
            }
            (key, id) =
                (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
            if key.is_none() {
                return Err(Failure::Transient("the list of versions broke off".to_owned(), None));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_at_a_time_is_the_newest_version_until_then() {
        let version = |id: &str, at, is_deletion| Version {
            id: Some(id.to_owned()),
            is_deletion,
            modified: Timestamp::from_unix_ms(at),
            bytes: 1,
        };
        let versions = [
            version("d", 40, true),
            version("c", 30, false),
            version("b", 20, true),
            version("a", 10, false),
        ];
        let at = |at| as_of(&versions, Timestamp::from_unix_ms(at)).and_then(|version| version.id.clone());
        assert_eq!(
            [9, 10, 19, 20, 29, 30, 39, 40].map(at),
            [
                None,
                Some("a".to_owned()),
                Some("a".to_owned()),
                None,
                None,
                Some("c".to_owned()),
                Some("c".to_owned()),
                None,
            ]
        );
    }
}
