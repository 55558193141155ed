//! Making a repository at its places, and opening it there.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::RepositoryError;
use super::format::keys::{EpochKeys, Role, RootKeys, writer_seed};
use super::format::names::{KeyKind, PackClass, REPO_FMT, key_name, parse_key_name};
use super::format::object::Object;
use super::format::pack::PackIdentity;
use super::format::repo_fmt::RepoFmt;
use super::format::slot::{self, KeyObject, SlotSecret};
use super::index::IndexedPack;
use super::writers::Known;
use crate::base::entropy;
use crate::base::error::Classified;
use crate::base::id::{ObjectHash, RepoId, WriterId};
use crate::base::limits::SLOTS_MAX;
use crate::codec::hash;
use crate::codec::kdf::KdfParams;
use crate::codec::sign::Signer;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError, list_all};

/// A place of the repository, with the name people know it by.
#[derive(Clone)]
pub struct Target {
    /// The target's name in a policy; in plumbing its URL.
    pub name: String,
    /// Its objects.
    pub storage: Arc<dyn Storage>,
    /// How many objects may be on their way to it at once.
    pub in_flight: usize,
}

/// What a new repository is made with.
#[derive(Clone, Copy, Debug)]
pub struct CreateOptions {
    /// Size at which packs are closed.
    pub pack_bytes: usize,
    /// Cost of the slot, when a passphrase opens it.
    pub kdf: KdfParams,
    /// Packs get parity for so many per cent of them; 0 for none.
    pub parity: u8,
}

/// An opened repository: its keys and the places it was opened at.
pub struct Repository {
    format: RepoFmt,
    root: RootKeys,
    /// The slot that was opened, or made with the repository.
    slot: Arc<KeyObject>,
    keys: EpochKeys,
    targets: Vec<Target>,
    cache: Option<PathBuf>,
    memory: Option<PathBuf>,
    /// What the administrator said, as far as it was read, by its name.
    said: Arc<Known>,
}

impl Repository {
    /// That none of these targets holds a repository.
    ///
    /// # Errors
    /// `Exists`; whatever a target says.
    pub fn refuse_existing(targets: &[Target]) -> Result<(), RepositoryError> {
        for target in targets {
            match target.storage.head(&REPO_FMT) {
                Ok(None) | Err(StorageError::NoPlace { what: "folder", .. }) => {}
                Ok(Some(_)) => {
                    return Err(RepositoryError::Exists { place: target.storage.label().to_owned() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes a new repository with fresh keys.
    ///
    /// # Errors
    /// `Exists` when the target holds one; whatever the target says.
    pub fn create(
        target: Target,
        secret: &SlotSecret,
        options: CreateOptions,
    ) -> Result<Self, RepositoryError> {
        let root = RootKeys::generate();
        let id = RepoId::new(entropy::random());
        let format =
            RepoFmt { parity: options.parity, ..RepoFmt::new(id, options.pack_bytes, root.admin_public()?) };
        let format_bytes = format.encode();
        let slot = slot::create_slot(&format_bytes, &format, &root, secret, options.kdf)?;
        let stored = Bytes::copy_from_slice(&slot.bytes);
        establish(&target, &[(key_name(KeyKind::Slot, &slot.name), stored)], &format_bytes)?;
        let keys = EpochKeys::derive(&root, &format.repo_id);
        Ok(Self {
            format,
            root,
            slot: Arc::new(slot),
            keys,
            targets: vec![target],
            cache: None,
            memory: None,
            said: Arc::default(),
        })
    }

    /// Brings this repository to one more target, which holds none: the same key objects, the same
    /// `repo.fmt`.
    ///
    /// # Errors
    /// `Exists`; whatever a target says.
    pub fn extend_to(&self, target: &Target) -> Result<Self, RepositoryError> {
        let first =
            self.targets.first().ok_or(RepositoryError::Defect { what: "a repository at no place" })?;
        let mut objects = Vec::new();
        for stat in list_all(first.storage.as_ref(), "keys/")? {
            objects.push((stat.name.clone(), first.storage.get(&stat.name, Span::Whole, Read::Quick)?));
        }
        establish(target, &objects, &self.format.encode())?;
        let mut targets = self.targets.clone();
        targets.push(target.clone());
        Ok(self.with_targets(targets))
    }

    /// Opens the repository at all targets; all must hold the same one.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, `Different`, or whatever the first failing target says.
    pub fn open(targets: Vec<Target>, secret: &SlotSecret) -> Result<Self, RepositoryError> {
        let Some(first) = targets.first() else {
            return Err(RepositoryError::Defect { what: "opening a repository at no place" });
        };
        let bytes = read_format(first)?;
        let format = RepoFmt::decode(&bytes)?;
        for other in &targets[1..] {
            let there = read_format(other)?;
            RepoFmt::decode(&there)?;
            if there != bytes {
                return Err(different(first, other));
            }
        }
        let (root, slot) = open_any_slot(first, &bytes, &format, secret)?;
        let keys = EpochKeys::derive(&root, &format.repo_id);
        Ok(Self {
            format,
            root,
            slot: Arc::new(slot),
            keys,
            targets,
            cache: None,
            memory: None,
            said: Arc::default(),
        })
    }

    /// That a place holds this repository, as far as what it holds can be read: its `repo.fmt` says
    /// so, or, where that is damaged or gone, a key object does.
    ///
    /// # Errors
    /// `Different`; `NoRepository` when nothing there speaks for it; whatever the place says.
    pub fn is_of(&self, place: &Target) -> Result<(), RepositoryError> {
        let found = match read_format(place) {
            Ok(bytes) => RepoFmt::decode(&bytes).ok(),
            Err(RepositoryError::NoRepository { .. }) => None,
            Err(error) => return Err(error),
        };
        if found.as_ref() == Some(&self.format) {
            return Ok(());
        }
        for stat in list_all(place.storage.as_ref(), "keys/")? {
            let bytes = place.storage.get(&stat.name, Span::Whole, Read::Quick)?;
            if Object::decode(&bytes, &self.id(), None)
                .is_ok_and(|object| object.verify(&self.format.admin_public).is_ok())
            {
                return Ok(());
            }
        }
        let place = place.storage.label().to_owned();
        Err(match found {
            Some(_) => RepositoryError::Different { first: self.first_label(), second: place },
            None => RepositoryError::NoRepository { place },
        })
    }

    fn first_label(&self) -> String {
        self.targets.first().map(|target| target.storage.label().to_owned()).unwrap_or_default()
    }

    /// The same repository at other places: a place is added or left out without asking for the
    /// secret again.
    pub fn with_targets(&self, targets: Vec<Target>) -> Self {
        Self {
            format: self.format.clone(),
            root: self.root.clone(),
            slot: Arc::clone(&self.slot),
            keys: self.keys.clone(),
            targets,
            cache: self.cache.clone(),
            memory: self.memory.clone(),
            said: Arc::clone(&self.said),
        }
    }

    /// Remembers in this folder which snapshots were seen where (`seen`).
    #[must_use]
    pub fn with_memory(mut self, dir: Option<PathBuf>) -> Self {
        self.memory = dir;
        self
    }

    /// The folder of what was seen.
    pub fn memory(&self) -> Option<&Path> {
        self.memory.as_deref()
    }

    /// Keeps index runs in this folder, which may vanish or be read-only at any time.
    #[must_use]
    pub fn with_cache(mut self, dir: Option<PathBuf>) -> Self {
        self.cache = dir;
        self
    }

    /// The folder of the local cache.
    pub fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// That another target holds this repository.
    ///
    /// # Errors
    /// `Different`, `NoRepository`; whatever the target says.
    pub fn same_at(&self, target: &Target) -> Result<(), RepositoryError> {
        let first =
            self.targets.first().ok_or(RepositoryError::Defect { what: "a repository at no place" })?;
        if read_format(target)? == self.format.encode() { Ok(()) } else { Err(different(first, target)) }
    }

    /// The slot that was opened.
    pub fn slot(&self) -> &Arc<KeyObject> {
        &self.slot
    }

    /// What the administrator said, as far as it was read.
    pub(super) fn said(&self) -> &Known {
        &self.said
    }

    /// What that slot granted.
    pub(super) fn root(&self) -> &RootKeys {
        &self.root
    }

    /// Its identity, the same at every place.
    pub fn id(&self) -> RepoId {
        self.format.repo_id
    }

    /// What `repo.fmt` says.
    pub fn format(&self) -> &RepoFmt {
        &self.format
    }

    /// Packs are closed at this size.
    pub fn pack_bytes(&self) -> usize {
        self.format.pack_bytes
    }

    /// Who and what a pack of the index says it is; its header is made of this.
    pub fn identity(&self, pack: &IndexedPack) -> PackIdentity {
        self.pack_identity(pack.class, pack.signer)
    }

    /// A pack of this class and writer.
    pub fn pack_identity(&self, class: PackClass, writer: WriterId) -> PackIdentity {
        PackIdentity { class, parity: self.format.parity, epoch: self.keys.epoch(), repo: self.id(), writer }
    }

    /// The keys of the current epoch.
    pub fn keys(&self) -> &EpochKeys {
        &self.keys
    }

    /// The places it was opened at.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The key that a host signs with: derived, so that it needs no state of its own.
    ///
    /// # Errors
    /// When the slot that was opened doesn't grant it.
    pub fn signer(&self, host: &str) -> Result<Signer, RepositoryError> {
        if let Some(writer) = self.root.writer() {
            if writer.host != host {
                let (of, asked) = (writer.host.clone(), host.to_owned());
                return Err(RepositoryError::OtherHost { of, asked });
            }
            return Ok(Signer::from_seed(writer.seed.expose()));
        }
        let admin = self.root.admin()?;
        Ok(Signer::from_seed(writer_seed(admin, &self.format.repo_id, host.as_bytes()).expose()))
    }

    /// The same repository as somebody sees it whose slot grants no administrator's key.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn without_admin(&self) -> Self {
        let root = self.root.root().expect("a key that reads");
        let root = RootKeys::new(crate::base::secret::Secret::new(*root.expose()), None);
        Self { root, ..self.with_targets(self.targets.clone()) }
    }

    /// The administrator's key, which condemns and forgets.
    ///
    /// # Errors
    /// When this passphrase's slot doesn't grant it.
    pub fn admin(&self) -> Result<Signer, RepositoryError> {
        Ok(Signer::from_seed(self.root.admin()?.expose()))
    }

    /// The same repository with a fresh key for a later epoch, which nobody else has yet.
    ///
    /// # Errors
    /// `WritesOnly`.
    pub(super) fn rotated(&self, epoch: u32) -> Result<Self, RepositoryError> {
        let root = self.root.rotated(epoch)?;
        let keys = EpochKeys::derive(&root, &self.format.repo_id);
        Ok(Self { root, keys, ..self.with_targets(self.targets.clone()) })
    }

    /// Who the key that opened it is for.
    pub fn role(&self) -> Role {
        match self.root.writer() {
            None => Role::Admin,
            Some(writer) if self.root.add_keys().is_some() => Role::WriteOnly(writer.host.clone()),
            Some(writer) => Role::Host(writer.host.clone()),
        }
    }
}

/// Key objects first, `repo.fmt` last and create-only: whoever sees it can open the repository.
fn establish(
    target: &Target,
    objects: &[(ObjectName, Bytes)],
    format_bytes: &[u8],
) -> Result<(), RepositoryError> {
    let storage = target.storage.as_ref();
    let exists = || RepositoryError::Exists { place: storage.label().to_owned() };
    if storage.head(&REPO_FMT)?.is_some() {
        return Err(exists());
    }
    for (name, bytes) in objects {
        storage.put_new(name, bytes.clone())?;
    }
    storage.sync()?;
    if storage.put_new(&REPO_FMT, Bytes::copy_from_slice(format_bytes))? == Put::Existing {
        return Err(exists());
    }
    storage.sync()?;
    // A disk that is too full for it is no reason to have no repository.
    drop(storage.keep_room());
    Ok(())
}

fn different(first: &Target, second: &Target) -> RepositoryError {
    RepositoryError::Different {
        first: first.storage.label().to_owned(),
        second: second.storage.label().to_owned(),
    }
}

pub(super) fn read_format(target: &Target) -> Result<Bytes, RepositoryError> {
    let storage = target.storage.as_ref();
    match storage.get(&REPO_FMT, Span::Whole, Read::Quick) {
        Ok(bytes) => Ok(bytes),
        Err(StorageError::NotFound { .. } | StorageError::NoPlace { what: "folder", .. }) => {
            Err(RepositoryError::NoRepository { place: storage.label().to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Tries every slot. A damaged slot is passed over while another one opens.
fn open_any_slot(
    target: &Target,
    format_bytes: &[u8],
    format: &RepoFmt,
    secret: &SlotSecret,
) -> Result<(RootKeys, KeyObject), RepositoryError> {
    let storage = target.storage.as_ref();
    let mut names: Vec<(Stat, ObjectHash)> = Vec::new();
    storage.list("keys/slot-", &mut |stat| {
        if let Some((KeyKind::Slot, id)) = parse_key_name(&stat.name) {
            names.push((stat, id));
        }
        if names.len() < SLOTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if let Some(spare) = secret.spare().filter(|_| names.is_empty()) {
        // Every slot is lost. While one is there, what was taken away stays taken away.
        let root = slot::open_slot(spare, format_bytes, format, secret)?;
        return Ok((root, KeyObject { bytes: spare.to_vec(), name: hash::object(spare) }));
    }
    let mut damaged = None;
    for (stat, id) in &names {
        let bytes = match storage.get(&stat.name, Span::Whole, Read::Quick) {
            // Taken away since it was listed.
            Err(StorageError::NotFound { .. }) => continue,
            other => other?,
        };
        match slot::open_slot(&bytes, format_bytes, format, secret) {
            Ok(root) => return Ok((root, KeyObject { bytes: bytes.to_vec(), name: *id })),
            Err(error) if error.class() == crate::base::error::Class::WrongKey => {}
            Err(error) => damaged = Some(error),
        }
    }
    match damaged {
        Some(error) => Err(error.into()),
        None => Err(RepositoryError::WrongKey {
            secret: secret.method().word(),
            place: storage.label().to_owned(),
            slots: names.len(),
        }),
    }
}
