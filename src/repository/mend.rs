//! Putting single objects of one target right: the one room that overwrites, and that takes a
//! damaged object out of the way.
//!
//! A name is the hash of its bytes, so an object is mended under its own name, and a mend counts
//! only when the bytes read back from the medium have that hash. Bytes are checked before they are
//! written, and the driver gives the name to the new ones whole, so that a crash leaves the damaged
//! object or the mended one. What cannot be mended is copied below `aside/` before it goes: there it
//! is out of every listing, counts as absent, and is kept for whoever can still make use of it.
//!
//! A pack that a sweep plan names is dying and is never mended: a DELETE may be on its way.

use std::collections::HashSet;

use bytes::Bytes;

use super::access::{Repository, Target};
use super::commit::plans;
use super::error::RepositoryError;
use super::format::names::{PackClass, content_hash};
use super::format::plan::PlanBody;
use crate::base::entropy;
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::storage::contract::{ObjectName, Read, Span, StorageError};

/// Where damaged objects lie that nobody could mend.
pub const ASIDE_PREFIX: &str = "aside/";

/// The packs that plans on a target name.
///
/// # Errors
/// Whatever the target says; `Damage` when a plan there cannot be read: then nobody knows.
pub(crate) fn condemned(
    repository: &Repository,
    target: &Target,
) -> Result<HashSet<ObjectHash>, RepositoryError> {
    Ok(plans(repository, target)?.iter().flat_map(PlanBody::packs).collect())
}

/// Puts an object that carries its hash in its name, over whatever is there.
///
/// # Errors
/// `Damage` when these are not its bytes; `Busy` for a pack that a plan names; `StillHurt` when
/// other bytes come back; whatever the target says.
pub(crate) fn put_hashed(
    repository: &Repository,
    target: &Target,
    name: &ObjectName,
    bytes: Bytes,
) -> Result<(), RepositoryError> {
    let place = || target.storage.label().to_owned();
    let expected =
        content_hash(name).ok_or(RepositoryError::Defect { what: "the name of an object to be mended" })?;
    if hash::object(&bytes) != expected {
        return Err(RepositoryError::Damage {
            place: place(),
            object: name.to_string(),
            what: "was not mended: other bytes were given for it".to_owned(),
        });
    }
    // Looked at for every pack anew: a plan may have become visible since the last one.
    if PackClass::of_name(name).is_some() && condemned(repository, target)?.contains(&expected) {
        return Err(RepositoryError::Condemned { place: place(), object: name.to_string() });
    }
    put_known(target, name, bytes)
}

/// Puts an object whose bytes are known for sure, over whatever is there.
///
/// # Errors
/// `StillHurt` when other bytes come back; whatever the target says.
pub(crate) fn put_known(target: &Target, name: &ObjectName, bytes: Bytes) -> Result<(), RepositoryError> {
    let storage = target.storage.as_ref();
    storage.replace(name, bytes.clone())?;
    storage.sync()?;
    if storage.get(name, Span::Whole, Read::Medium)? == bytes {
        Ok(())
    } else {
        Err(RepositoryError::StillHurt { place: storage.label().to_owned(), object: name.to_string() })
    }
}

/// Moves a damaged object below `aside/`, under a name that was never used. What became whole
/// meanwhile stays, and an object that is gone already is no error. Says where it lies.
///
/// # Errors
/// `StillHurt` when its copy does not come back; whatever the target says, also when it cannot be
/// read at all.
pub(crate) fn set_aside(target: &Target, name: &ObjectName) -> Result<Option<ObjectName>, RepositoryError> {
    let storage = target.storage.as_ref();
    let bytes = match storage.get(name, Span::Whole, Read::Medium) {
        Ok(bytes) => bytes,
        Err(StorageError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if content_hash(name).is_some_and(|expected| hash::object(&bytes) == expected) {
        return Ok(None);
    }
    let mut fresh = || {
        let text = format!("{ASIDE_PREFIX}{name}.{}", hex::encode(entropy::random::<4>()));
        ObjectName::new(text).expect("a name of the format is short, and its letters are allowed")
    };
    let aside = storage.put_fresh(&mut fresh, bytes.clone())?;
    storage.sync()?;
    if storage.get(&aside, Span::Whole, Read::Medium)? != bytes {
        return Err(RepositoryError::StillHurt {
            place: storage.label().to_owned(),
            object: aside.to_string(),
        });
    }
    storage.delete(name)?;
    storage.sync()?;
    Ok(Some(aside))
}
