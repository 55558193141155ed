//! The key slots of a repository on its targets: which there are, one more, one less.
//!
//! A slot is the same object on every target. Taking one away is the only deletion here, and it
//! keeps one rule: the slot that the caller's own secret opened stays, with the administrator's
//! rights, on every target. So whatever goes, something is left that opens and may administer, and
//! that is shown by having been opened, not by what a slot claims. Two who take away each other's
//! slot at once both look again afterwards, and put their own back.
//!
//! A store that keeps versions keeps the slot that was taken away: nothing here revokes a secret.

use bytes::Bytes;

use super::access::{Repository, Target, read_format};
use super::error::RepositoryError;
use super::format::epoch;
use super::format::error::FormatError;
use super::format::keys::Role;
use super::format::names::{KeyKind, key_name, parse_key_name};
use super::format::repo_fmt::RepoFmt;
use super::format::slot::{self, KeyObject, SlotHead, SlotSecret};
use crate::base::clock::Timestamp;
use crate::base::error::Chain;
use crate::base::id::{ObjectHash, RepoId};
use crate::base::limits::SLOTS_MAX;
use crate::codec::hash;
use crate::codec::kdf::KdfParams;
use crate::storage::contract::{ObjectName, Put, Read, Span, Storage, StorageError, list_all};

/// A slot on a target.
#[derive(Debug)]
pub struct Slot {
    /// Its id.
    pub id: ObjectHash,
    /// What it says of itself, or what is wrong with it.
    pub about: Result<SlotHead, String>,
    /// When the store says that it was put there.
    pub put_at: Timestamp,
}

/// The slots of a target. Needs no secret: what a slot says of itself is clear and signed.
///
/// # Errors
/// `NoRepository`; whatever the target says. A damaged slot is in the list.
pub fn list(target: &Target) -> Result<(RepoId, Vec<Slot>), RepositoryError> {
    let bytes = read_format(target)?;
    let format = RepoFmt::decode(&bytes)?;
    let mut slots = Vec::new();
    for stat in list_all(target.storage.as_ref(), "keys/slot-")?.into_iter().take(SLOTS_MAX) {
        let Some((KeyKind::Slot, id)) = parse_key_name(&stat.name) else { continue };
        let about = match target.storage.get(&stat.name, Span::Whole, Read::Quick) {
            Ok(bytes) if hash::object(&bytes) != id => Err("it is not what its name says".to_owned()),
            Ok(bytes) => slot::head(&bytes, &format).map_err(|error| Chain(&error).to_string()),
            // Taken away since it was listed.
            Err(StorageError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        slots.push(Slot { id, about, put_at: stat.modified });
    }
    Ok((format.repo_id, slots))
}

/// Makes a slot that this secret opens and that grants this role, without putting it anywhere.
///
/// # Errors
/// When the opened slot does not grant the administrator's key, or the passphrase is none.
pub fn make(
    repository: &Repository,
    role: &Role,
    secret: &SlotSecret,
    kdf: KdfParams,
) -> Result<KeyObject, RepositoryError> {
    let format = repository.format();
    Ok(slot::create_slot_for(role, &format.encode(), format, repository.root(), secret, kdf)?)
}

/// Begins an epoch: announces it on every target, and gives the repository with the epoch's key, for
/// which slots have yet to be made. Until one is, nobody stores anything, and the same again goes on.
///
/// # Errors
/// When the opened slot does not grant the administrator's key; `TwoRotations`; whatever a target says.
pub fn rotate(repository: &Repository) -> Result<Repository, RepositoryError> {
    let admin = repository.admin()?;
    let announced = repository.writers_of(repository.targets())?.epoch();
    let number = announced.max(repository.keys().epoch()).saturating_add(1);
    let note = epoch::announce(number, &repository.id(), &admin)?;
    let name = key_name(KeyKind::Epoch, &note.name);
    for target in repository.targets() {
        put_object(target.storage.as_ref(), &name, &note.bytes)?;
    }
    for target in repository.targets() {
        if repository.writers(target)?.is_announced_beside(number, &name) {
            for target in repository.targets() {
                target.storage.delete(&name)?;
                target.storage.sync()?;
            }
            return Err(RepositoryError::TwoRotations { place: target.storage.label().to_owned() });
        }
    }
    repository.rotated(number)
}

/// Puts the certificate of a role's host on a target: before its key is, so that whoever sees what
/// the host stored knows what it may do.
///
/// # Errors
/// When the opened slot does not grant the administrator's key, or is of an earlier epoch; whatever the
/// target says.
pub fn certify(repository: &Repository, target: &Target, role: &Role) -> Result<(), RepositoryError> {
    // A slot that is of the past from its first day would help nobody.
    repository.refuse_old_epoch(repository.writers(target)?.epoch())?;
    repository.certify_role(target, role)?;
    Ok(target.storage.sync()?)
}

/// Puts a slot on a target and opens what stands there afterwards.
///
/// # Errors
/// Whatever the target says; when what stands there is not opened by the secret, or it would be
/// one more than are ever tried.
pub fn put(
    repository: &Repository,
    target: &Target,
    made: &KeyObject,
    secret: &SlotSecret,
) -> Result<Put, RepositoryError> {
    let name = key_name(KeyKind::Slot, &made.name);
    let others = list_all(target.storage.as_ref(), "keys/slot-")?;
    if others.len() >= SLOTS_MAX && others.iter().all(|stat| stat.name != name) {
        return Err(
            FormatError::Unfit { what: "one more key slot", why: "there are 100; remove one first" }.into()
        );
    }
    let put = put_whole(target.storage.as_ref(), made)?;
    let format = repository.format();
    let there = target.storage.get(&name, Span::Whole, Read::Medium)?;
    if secret.opens() {
        slot::open_slot(&there, &format.encode(), format, secret)?;
    } else if there != made.bytes {
        let place = target.storage.label().to_owned();
        return Err(RepositoryError::StillHurt { place, object: name.to_string() });
    }
    Ok(put)
}

/// Takes a slot away from a target; one that isn't there is no error, and the answer says so.
///
/// # Errors
/// `OwnSlot` for the slot that the caller's secret opens; when that one does not grant the
/// administrator's key; whatever the target says.
pub fn remove(repository: &Repository, target: &Target, id: &ObjectHash) -> Result<bool, RepositoryError> {
    let own = repository.slot();
    if own.name == *id {
        return Err(RepositoryError::OwnSlot { id: *id });
    }
    repository.root().admin()?;
    let storage = target.storage.as_ref();
    // Whatever goes, this one stays: whole, and durable, before anything else is taken.
    put_whole(storage, own)?;
    let name = key_name(KeyKind::Slot, id);
    let was_there = storage.head(&name)?.is_some();
    storage.delete(&name)?;
    storage.sync()?;
    put_whole(storage, own)?;
    Ok(was_there)
}

fn put_whole(storage: &dyn Storage, slot: &KeyObject) -> Result<Put, RepositoryError> {
    put_object(storage, &key_name(KeyKind::Slot, &slot.name), &slot.bytes)
}

fn put_object(storage: &dyn Storage, name: &ObjectName, bytes: &[u8]) -> Result<Put, RepositoryError> {
    let put = storage.put_new(name, Bytes::copy_from_slice(bytes))?;
    storage.sync()?;
    let there = storage.get(name, Span::Whole, Read::Medium)?;
    if there != bytes {
        return Err(RepositoryError::Damage {
            place: storage.label().to_owned(),
            object: name.to_string(),
            what: "is not what its name says".to_owned(),
        });
    }
    Ok(put)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::base::error::{Class, Classified};
    use crate::codec::kdf::MEMORY_KIB_MIN;
    use crate::repository::access::CreateOptions;
    use crate::storage::contract::Stat;
    use crate::storage::memory::MemoryStorage;

    const CHEAP: KdfParams = KdfParams { memory_kib: MEMORY_KIB_MIN, passes: 1, lanes: 1 };

    type Deed = Box<dyn FnOnce() + Send>;

    /// A storage in which something happens right before the first deletion, or the first put, and that
    /// may be full.
    struct Shared {
        memory: Arc<MemoryStorage>,
        before_delete: Mutex<Option<Deed>>,
        before_put: Mutex<Option<Deed>>,
        is_full: bool,
    }

    impl Storage for Shared {
        fn label(&self) -> &str {
            self.memory.label()
        }
        fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
            if self.is_full {
                return Err(StorageError::NoSpace { place: self.label().to_owned(), name: name.clone() });
            }
            let deed = self.before_put.lock().expect("no panic").take();
            if let Some(deed) = deed {
                deed();
            }
            self.memory.put_new(name, bytes)
        }
        fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
            self.memory.get(name, span, read)
        }
        fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
            self.memory.head(name)
        }
        fn list(
            &self,
            prefix: &str,
            visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
        ) -> Result<(), StorageError> {
            self.memory.list(prefix, visit)
        }
        fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
            let deed = self.before_delete.lock().expect("no panic").take();
            if let Some(deed) = deed {
                deed();
            }
            self.memory.delete(name)
        }
        fn sync(&self) -> Result<(), StorageError> {
            self.memory.sync()
        }
    }

    fn target(storage: Arc<dyn Storage>) -> Target {
        Target { name: "memory".to_owned(), storage, in_flight: 1 }
    }

    #[test]
    fn two_who_take_away_each_others_slot_leave_one() {
        let memory = Arc::new(MemoryStorage::new());
        let plain = target(memory.clone());
        let secrets = [1, 2].map(|byte| SlotSecret::KeyFile(crate::base::secret::Secret::new([byte; 32])));
        let options = CreateOptions { pack_bytes: 8 << 20, kdf: CHEAP, parity: 0 };
        let first = Repository::create(plain.clone(), &secrets[0], options).expect("made");
        let made = make(&first, &Role::Admin, &secrets[1], CHEAP).expect("a slot");
        put(&first, &plain, &made, &secrets[1]).expect("put");
        let second = Repository::open(vec![plain.clone()], &secrets[1]).expect("opened");
        let (own, other) = (first.slot().name, second.slot().name);
        assert_ne!(own, other);
        // Between the first's look and its deletion, the second takes the first's slot away.
        let there = plain.clone();
        let deed: Deed = Box::new(move || {
            remove(&second, &there, &own).expect("removed");
        });
        let shared = Arc::new(Shared {
            memory,
            before_delete: Mutex::new(Some(deed)),
            before_put: Mutex::default(),
            is_full: false,
        });
        remove(&first, &target(shared), &other).expect("removed");
        let opens = |secret| Repository::open(vec![plain.clone()], secret).is_ok();
        assert!(secrets.iter().any(opens), "nothing opens the repository any more");
    }

    #[test]
    fn nothing_goes_from_a_target_that_lacks_the_callers_slot_and_cannot_take_it() {
        let memory = Arc::new(MemoryStorage::new());
        let plain = target(memory.clone());
        let (old, new) = (SlotSecret::new_key_file(), SlotSecret::new_key_file());
        let options = CreateOptions { pack_bytes: 8 << 20, kdf: CHEAP, parity: 0 };
        let first = Repository::create(plain.clone(), &old, options).expect("made");
        let made = make(&first, &Role::Admin, &new, CHEAP).expect("a slot");
        put(&first, &plain, &made, &new).expect("put");
        let caller = Repository::open(vec![plain.clone()], &new).expect("opened");
        memory.delete(&key_name(KeyKind::Slot, &made.name)).expect("lost");
        let full =
            Shared { memory, before_delete: Mutex::default(), before_put: Mutex::default(), is_full: true };
        remove(&caller, &target(Arc::new(full)), &first.slot().name).unwrap_err();
        assert!(Repository::open(vec![plain], &old).is_ok(), "the old secret opens it still");
    }

    #[test]
    fn no_slot_is_added_that_would_never_be_tried() {
        let memory = Arc::new(MemoryStorage::new());
        let plain = target(memory.clone());
        let secret = SlotSecret::new_key_file();
        let options = CreateOptions { pack_bytes: 8 << 20, kdf: CHEAP, parity: 0 };
        let repository = Repository::create(plain.clone(), &secret, options).expect("made");
        for number in 1..SLOTS_MAX {
            let id = hash::object(&number.to_le_bytes());
            memory.put_new(&key_name(KeyKind::Slot, &id), Bytes::from_static(b"x")).expect("put");
        }
        let new = SlotSecret::new_key_file();
        let made = make(&repository, &Role::Admin, &new, CHEAP).expect("a slot");
        put(&repository, &plain, &made, &new).unwrap_err();
        assert!(memory.head(&key_name(KeyKind::Slot, &made.name)).expect("asked").is_none());
        // One that is there already is only read back.
        put(&repository, &plain, repository.slot(), &secret).expect("there");
        assert!(Repository::open(vec![plain], &secret).is_ok(), "damaged ones are passed over");
    }

    #[test]
    fn of_two_rotations_at_once_one_is_taken_back_whole() {
        let memory = Arc::new(MemoryStorage::new());
        let plain = target(memory.clone());
        let secret = SlotSecret::new_key_file();
        let options = CreateOptions { pack_bytes: 8 << 20, kdf: CHEAP, parity: 0 };
        let first = Repository::create(plain.clone(), &secret, options).expect("made");
        let second = Repository::open(vec![plain.clone()], &secret).expect("opened");
        // The second one rotates whole between the first's look and its put.
        let won = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&won);
        let deed: Deed = Box::new(move || {
            *keep.lock().expect("no panic") = Some(rotate(&second).expect("rotated").keys().epoch());
        });
        let shared = Arc::new(Shared {
            memory: memory.clone(),
            before_delete: Mutex::default(),
            before_put: Mutex::new(Some(deed)),
            is_full: false,
        });
        let error = rotate(&first.with_targets(vec![target(shared)])).err().expect("the number is taken");
        assert_eq!(error.code(), "E0313");
        assert_eq!(*won.lock().expect("no panic"), Some(1));
        assert_eq!(list_all(memory.as_ref(), "keys/epoch-").expect("listed").len(), 1, "the winner's");
        assert_eq!(rotate(&first).expect("the same again").keys().epoch(), 2);
    }

    #[test]
    fn the_callers_own_slot_is_refused_and_stays() {
        let plain = target(Arc::new(MemoryStorage::new()));
        let secret = SlotSecret::new_key_file();
        let options = CreateOptions { pack_bytes: 8 << 20, kdf: CHEAP, parity: 0 };
        let repository = Repository::create(plain.clone(), &secret, options).expect("made");
        let error = remove(&repository, &plain, &repository.slot().name).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Refused, "E0308"));
        assert!(Repository::open(vec![plain], &secret).is_ok());
    }
}
