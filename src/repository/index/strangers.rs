//! Packs that do not count, and packs that count for their writer alone.
//!
//! A writer that only adds can name any content, so what it stored is asked last, for what others need
//! not at all, and it cannot crowd anything out (docs/format.md, "Writers' certificates").

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::bits::Bits;
use super::lookup::{Index, LOCATIONS_MAX};
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::error::RepositoryError;

impl Index {
    /// Puts what a pack gives to what is trusted, or, while there is room for more, to what is not:
    /// whoever only adds cannot crowd out what others stored.
    pub(super) fn sort_in<T>(&self, pack: u32, item: T, known: &mut Vec<T>, strange: &mut Vec<T>) {
        if !self.strange.contains(pack) {
            known.push(item);
        } else if strange.len() < LOCATIONS_MAX {
            strange.push(item);
        }
    }

    /// Forgets every entry of these packs: they count as absent.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn drop_packs(&mut self, condemned: &HashSet<ObjectHash>) -> Result<(), RepositoryError> {
        for hash in condemned {
            for (number, _) in self.named(hash)? {
                self.drop_pack(number)?;
            }
        }
        Ok(())
    }

    /// Says which writers only add (sorted): what they stored is asked last, and it is known to be
    /// theirs.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn set_strangers(&mut self, writers: &[WriterId]) -> Result<(), RepositoryError> {
        if writers.is_empty() {
            return Ok(());
        }
        let mut strange = Bits::default();
        for pack in self.packs() {
            let (number, pack) = pack?;
            if writers.binary_search(&pack.signer).is_ok() {
                strange.insert(number);
            }
        }
        self.strange = strange;
        Ok(())
    }

    /// Whether a writer that only adds stored this pack.
    pub fn is_strange(&self, number: u32) -> bool {
        self.strange.contains(number)
    }

    /// Leaves out what is not `me`'s of the packs of writers that only add: nobody builds on it.
    ///
    /// # Errors
    /// When a part is hurt and cannot be built anew.
    pub fn drop_strangers_but(&mut self, me: &WriterId) -> Result<(), RepositoryError> {
        if self.strange.is_empty() {
            return Ok(());
        }
        let mut others = Vec::new();
        for pack in self.packs() {
            let (number, pack) = pack?;
            if self.strange.contains(number) && pack.signer != *me {
                others.push(number);
            }
        }
        others.into_iter().try_for_each(|number| self.drop_pack(number))
    }

    fn drop_pack(&mut self, number: u32) -> Result<(), RepositoryError> {
        let Some(place) = self.place_of(number) else { return Ok(()) };
        let blobs = self.ask(place, |part| Ok(part.pack(number - place.first)?.blobs))?;
        if self.condemned.insert(number) {
            self.blobs = self.blobs.saturating_sub(u64::from(blobs));
        }
        Ok(())
    }
}

/// Goes on until there is as much as is ever given.
pub(super) fn until_full<T>(found: &[T]) -> ControlFlow<()> {
    if found.len() < LOCATIONS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
