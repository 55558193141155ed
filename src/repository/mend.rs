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
use super::format::pack;
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

/// A damaged pack as it was, out of its own parity; none when it has none or too much is lost. One
/// that the medium does not give back at all can't be mended so.
///
/// # Errors
/// When the target cannot be asked.
pub(crate) fn from_parity(
    target: &Target,
    name: &ObjectName,
    expected: &ObjectHash,
) -> Result<Option<Bytes>, RepositoryError> {
    match target.storage.get(name, Span::Whole, Read::Medium) {
        Ok(left) => Ok(pack::mend(&left, expected).map(Bytes::from)),
        Err(StorageError::NotFound { .. } | StorageError::Io { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::codec::kdf::KdfParams;
    use crate::codec::sign::Signer;
    use crate::repository::access::CreateOptions;
    use crate::repository::format::names::pack_name;
    use crate::repository::format::slot::{SlotSecret, open_slot};
    use crate::storage::contract::{Storage, list_all};
    use crate::storage::fault::{Fault, FaultPlan};
    use crate::storage::memory::MemoryStorage;

    fn target(storage: Arc<dyn Storage>) -> Target {
        Target { name: "place".to_owned(), storage, in_flight: 1 }
    }

    /// A repository with a damaged pack, and that pack's name and bytes.
    fn stage() -> (Arc<MemoryStorage>, Repository, ObjectName, Bytes) {
        let memory = Arc::new(MemoryStorage::new());
        let kdf = KdfParams { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
        let options = CreateOptions { pack_bytes: 8 << 20, kdf, parity: 0 };
        let passphrase = SlotSecret::passphrase("mend");
        let repository = Repository::create(target(memory.clone()), &passphrase, options).expect("made");
        let bytes = Bytes::from(vec![7; 5000]);
        let name = pack_name(PackClass::Data, &hash::object(&bytes));
        memory.put_new(&name, Bytes::from_static(b"damaged")).expect("put");
        (memory, repository, name, bytes)
    }

    fn get(memory: &MemoryStorage, name: &ObjectName) -> Bytes {
        memory.get(name, Span::Whole, Read::Quick).expect("there")
    }

    #[test]
    fn only_bytes_of_the_right_hash_take_a_damaged_objects_place() {
        let (memory, repository, name, bytes) = stage();
        let place = target(memory.clone());
        let wrong = Bytes::from(vec![8; 5000]);
        assert!(matches!(put_hashed(&repository, &place, &name, wrong), Err(RepositoryError::Damage { .. })));
        assert_eq!(get(&memory, &name), &b"damaged"[..]);
        put_hashed(&repository, &place, &name, bytes.clone()).expect("mended");
        assert_eq!(get(&memory, &name), bytes);
    }

    #[test]
    fn what_does_not_come_back_from_the_medium_does_not_count_as_mended() {
        let (memory, _, name, bytes) = stage();
        let plan = FaultPlan { flip_per_mille: 1000, ..FaultPlan::quiet(3) };
        let lying = Fault::new(memory.clone(), Arc::new(ManualClock::new(Default::default())), plan);
        let place = target(Arc::new(lying));
        assert!(matches!(put_known(&place, &name, bytes), Err(RepositoryError::StillHurt { .. })));
        memory.replace(&name, Bytes::from_static(b"damaged")).expect("put");
        assert!(set_aside(&place, &name).is_err(), "its copy did not come back");
        assert_eq!(get(&memory, &name), &b"damaged"[..], "so it stays");
    }

    #[test]
    fn a_pack_that_a_sweep_plan_names_is_never_mended() {
        let (memory, repository, name, bytes) = stage();
        let format = repository.format();
        let slot = list_all(memory.as_ref(), "keys/slot-").expect("listed").remove(0).name;
        let passphrase = SlotSecret::passphrase("mend");
        let root = open_slot(&get(&memory, &slot), &format.encode(), format, &passphrase);
        let admin = Signer::from_seed(root.expect("opened").admin().expect("granted").expose());
        let plan = PlanBody::new(vec![(PackClass::Data, hash::object(&bytes))], Vec::new());
        let (sealed, id) = plan.seal(&repository.id(), &admin, repository.keys()).expect("sealed");
        let plan_name: ObjectName = format!("g/20270115T080000Z-{id}").parse().expect("a name");
        memory.put_new(&plan_name, Bytes::from(sealed)).expect("put");
        let place = target(memory.clone());
        let mended = put_hashed(&repository, &place, &name, bytes.clone());
        assert!(matches!(mended, Err(RepositoryError::Condemned { .. })));
        assert_eq!(get(&memory, &name), &b"damaged"[..]);
        // Nor where nobody can read what the plan names.
        memory.tamper(&plan_name, |bytes| bytes[200] ^= 1);
        assert!(put_hashed(&repository, &place, &name, bytes).is_err());
        assert_eq!(get(&memory, &name), &b"damaged"[..]);
    }

    #[test]
    fn what_is_set_aside_is_kept_out_of_every_listing_and_what_is_whole_stays() {
        let (memory, repository, name, bytes) = stage();
        let place = target(memory.clone());
        let aside = set_aside(&place, &name).expect("moved").expect("it was damaged");
        assert_eq!(get(&memory, &aside), &b"damaged"[..]);
        assert!(aside.as_str().starts_with(ASIDE_PREFIX));
        assert!(list_all(memory.as_ref(), "p/").expect("listed").is_empty());
        assert_eq!(set_aside(&place, &name).expect("looked"), None, "it is gone already");
        put_hashed(&repository, &place, &name, bytes.clone()).expect("mended");
        assert_eq!(set_aside(&place, &name).expect("looked"), None, "it is whole");
        assert_eq!(get(&memory, &name), bytes);
    }
}
