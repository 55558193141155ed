//! Listing a bucket page by page.
//!
//! Stores that keep folders inside (SeaweedFS) sort folder by folder: `a/b` before `a-b`. That is
//! noticed and refused rather than passed on; a repository's names never make the difference.

use std::ops::ControlFlow;

use super::driver::{S3Storage, modified};
use super::failure::Failure;
use crate::storage::contract::{ObjectName, Stat, could_begin_a_name};

impl S3Storage {
    pub(super) fn list_pages(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        if !could_begin_a_name(prefix) {
            return Ok(());
        }
        let first = after.map(|name| self.key(name.as_str()));
        let mut last = after.cloned();
        let mut token: Option<String> = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.options.bucket)
                .prefix(self.key(prefix))
                .set_start_after(first.clone())
                .set_continuation_token(token.take());
            let page = self.call(async { request.send().await.map_err(Failure::from) })?;
            for object in page.contents() {
                let Some(name) = object.key().and_then(|key| self.name_of(key)) else { continue };
                if !name.as_str().starts_with(prefix) {
                    continue;
                }
                if last.as_ref().is_some_and(|last| name <= *last) {
                    // Going on would break the promise of sorted names, on which merges rely.
                    return Err(Failure::Other(format!(
                        "the store lists {name} too late: its list is not sorted"
                    )));
                }
                last = Some(name.clone());
                let bytes = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                if visit(Stat { name, bytes, modified: modified(object.last_modified()) }).is_break() {
                    return Ok(());
                }
            }
            match page.next_continuation_token() {
                Some(next) if page.is_truncated() == Some(true) => token = Some(next.to_owned()),
                None if page.is_truncated() == Some(true) => {
                    return Err(Failure::Transient("the list broke off".to_owned(), None));
                }
                _ => return Ok(()),
            }
        }
    }

    /// The name of a key, when it can be one of ours.
    pub(super) fn name_of(&self, key: &str) -> Option<ObjectName> {
        let prefix = &self.options.prefix;
        let name = if prefix.is_empty() { key } else { key.strip_prefix(prefix)?.strip_prefix('/')? };
        ObjectName::new(name).ok()
    }
}
