//! The key tree (docs/format.md, "Keys"): everything follows from two random keys.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::error::FormatError;
use super::names::PackClass;
use crate::base::entropy;
use crate::base::id::{BlobId, RepoId};
use crate::base::secret::{Key, Secret};
use crate::codec::agree;
use crate::codec::chunker::GearTable;
use crate::codec::hash::{self, Hasher};
use crate::codec::sign::Signer;

/// What a blob is; its kind chooses the key of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobKind {
    /// A stretch of a file.
    Chunk = 1,
    /// Small files joined.
    Group = 2,
    /// A column hunk of a manifest.
    Leaf = 3,
    /// An inner node of a manifest.
    Node = 4,
    /// Chunk references of a large file, or a list of unread items.
    ChunkList = 5,
    /// Extended attributes or extents.
    Attr = 6,
    /// The names of a snapshot's packs.
    PackSet = 7,
}

impl BlobKind {
    /// From the stored number.
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Chunk, Self::Group, Self::Leaf, Self::Node, Self::ChunkList, Self::Attr, Self::PackSet]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Which packs hold it.
    pub fn class(self) -> PackClass {
        match self {
            Self::Chunk | Self::Group => PackClass::Data,
            _ => PackClass::Meta,
        }
    }
}

/// Who a key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads, adds, forgets and prunes.
    Admin,
    /// A host that adds, and reads all; it signs with the key of its name and removes nothing.
    Host(String),
    /// A host that only adds: it opens nothing that is stored, its own backups included.
    WriteOnly(String),
}

/// The keys of a repository, as far as a slot grants them.
#[derive(Clone)]
pub struct RootKeys {
    sees: Sees,
    admin: Option<Arc<Key>>,
    writer: Option<Arc<WriterGrant>>,
}

#[derive(Clone)]
enum Sees {
    /// RK of each epoch up to the newest, that of epoch 0 always: everything follows from them.
    All(Arc<BTreeMap<u32, Key>>),
    /// What is needed to name blobs, to find them, and to seal what others open.
    Nothing(Arc<AddKeys>),
}

/// What a host signs with.
pub struct WriterGrant {
    /// W.
    pub seed: Key,
    /// The host that it is the key of.
    pub host: String,
}

/// What a host has that only adds.
pub struct AddKeys {
    /// KD: names and compares content.
    pub domain: Key,
    /// Opens and seals index runs.
    pub index: Key,
    /// What is sealed for this X25519 key is opened by whoever has RK.
    pub readers: [u8; 32],
    /// The epoch of that key.
    pub epoch: u32,
}

impl RootKeys {
    /// Fresh keys for a new repository.
    pub fn generate() -> Self {
        Self::new(Secret::new(entropy::random()), Some(Secret::new(entropy::random())))
    }

    /// From RK of epoch 0, and A where it was granted.
    pub fn new(root: Key, admin: Option<Key>) -> Self {
        Self { admin: admin.map(Arc::new), ..Self::of_roots(BTreeMap::from([(0, root)])) }
    }

    /// From what a slot grants: RK of some epochs, that of epoch 0 among them.
    pub(super) fn of_slot(
        roots: BTreeMap<u32, Key>,
        admin: Option<Key>,
        writer: Option<WriterGrant>,
    ) -> Self {
        Self { admin: admin.map(Arc::new), writer: writer.map(Arc::new), ..Self::of_roots(roots) }
    }

    fn of_roots(roots: BTreeMap<u32, Key>) -> Self {
        Self { sees: Sees::All(Arc::new(roots)), admin: None, writer: None }
    }

    /// Of a host that only adds.
    pub fn of_write_only(keys: AddKeys, writer: WriterGrant) -> Self {
        Self { sees: Sees::Nothing(Arc::new(keys)), admin: None, writer: Some(Arc::new(writer)) }
    }

    /// What of these keys a role is granted.
    ///
    /// # Errors
    /// When these are not the administrator's.
    pub fn granted_to(&self, role: &Role, repo: &RepoId) -> Result<Self, FormatError> {
        let admin = self.admin()?;
        let grant = |seed: Key, host: &String| WriterGrant { seed, host: host.clone() };
        Ok(match role {
            Role::Admin => self.clone(),
            Role::Host(host) => {
                let writer = grant(writer_seed(admin, repo, host.as_bytes()), host);
                Self { admin: None, writer: Some(Arc::new(writer)), ..self.clone() }
            }
            Role::WriteOnly(host) => {
                let keys = EpochKeys::derive(self, repo);
                let first = self.root_of(0)?;
                let of = |label| hash::derive(label, first.expose(), repo, &EPOCH_0);
                let add = AddKeys {
                    domain: of("domain"),
                    index: of("index"),
                    readers: keys.readers(keys.epoch())?,
                    epoch: keys.epoch(),
                };
                Self::of_write_only(add, grant(write_only_seed(admin, repo, host.as_bytes()), host))
            }
        })
    }

    /// The same with a fresh RK for this epoch, which is a later one than all that are there.
    ///
    /// # Errors
    /// `WritesOnly`.
    pub fn rotated(&self, epoch: u32) -> Result<Self, FormatError> {
        let Sees::All(roots) = &self.sees else { return Err(FormatError::WritesOnly) };
        let copy = |(epoch, root): (&u32, &Key)| (*epoch, Secret::new(*root.expose()));
        let mut roots: BTreeMap<u32, Key> = roots.iter().map(copy).collect();
        roots.insert(epoch, Secret::new(entropy::random()));
        Ok(Self { sees: Sees::All(Arc::new(roots)), ..self.clone() })
    }

    /// The newest epoch that they are of.
    pub fn epoch(&self) -> u32 {
        match &self.sees {
            Sees::All(roots) => roots.last_key_value().map_or(0, |(epoch, _)| *epoch),
            Sees::Nothing(keys) => keys.epoch,
        }
    }

    /// RK of the newest epoch.
    ///
    /// # Errors
    /// When the slot did not grant it.
    pub fn root(&self) -> Result<&Key, FormatError> {
        self.root_of(self.epoch())
    }

    /// RK of an epoch.
    ///
    /// # Errors
    /// When the slot did not grant it.
    pub fn root_of(&self, epoch: u32) -> Result<&Key, FormatError> {
        match &self.sees {
            Sees::All(roots) => roots.get(&epoch).ok_or(FormatError::OldEpoch),
            Sees::Nothing(_) => Err(FormatError::WritesOnly),
        }
    }

    /// RK of the epochs before the newest.
    pub(super) fn older(&self) -> Vec<(u32, &Key)> {
        match &self.sees {
            Sees::All(roots) => {
                roots.iter().filter(|(of, _)| **of != self.epoch()).map(|(of, root)| (*of, root)).collect()
            }
            Sees::Nothing(_) => Vec::new(),
        }
    }

    /// What a host has that only adds; `None` for whoever sees all.
    pub fn add_keys(&self) -> Option<&AddKeys> {
        match &self.sees {
            Sees::All(_) => None,
            Sees::Nothing(keys) => Some(keys),
        }
    }

    /// A, the administrator's seed.
    ///
    /// # Errors
    /// When the slot did not grant it.
    pub fn admin(&self) -> Result<&Key, FormatError> {
        self.admin.as_deref().ok_or(FormatError::NotGranted { what: "the administrator's key" })
    }

    /// What a host signs with whose slot grants no administrator's key.
    pub fn writer(&self) -> Option<&WriterGrant> {
        self.writer.as_deref()
    }

    /// The administrator's public key.
    ///
    /// # Errors
    /// When the slot did not grant it.
    pub fn admin_public(&self) -> Result<[u8; 32], FormatError> {
        Ok(*Signer::from_seed(self.admin()?.expose()).public())
    }
}

/// W: the seed that a host signs with.
pub fn writer_seed(admin: &Key, repo: &RepoId, host: &[u8]) -> Key {
    hash::derive("writer", admin.expose(), repo, host)
}

/// The same for a host that only adds: another key than the one that the host of this name would
/// have if it were trusted.
pub fn write_only_seed(admin: &Key, repo: &RepoId, host: &[u8]) -> Key {
    hash::derive("write-only writer", admin.expose(), repo, host)
}

/// The context of the keys of epoch 0.
const EPOCH_0: [u8; 4] = [0; 4];

/// Everything that follows from the root keys. Cloning shares it.
#[derive(Clone)]
pub struct EpochKeys(Arc<Inner>);

struct Inner {
    repo: RepoId,
    /// The newest: what is stored now is sealed under its keys.
    epoch: u32,
    sees: EpochSees,
    index: Key,
    ids: IdKeys,
}

enum EpochSees {
    All(BTreeMap<u32, OneEpoch>),
    Nothing { readers: [u8; 32] },
}

/// The keys that each epoch has for itself.
struct OneEpoch {
    meta_box: Key,
    data_box: Key,
    snapshot: Key,
    /// Private, and its public part once somebody asked for it.
    readers: (Key, OnceLock<[u8; 32]>),
}

impl OneEpoch {
    fn derive(root: &Key, repo: &RepoId, epoch: u32) -> Self {
        let of = |label| hash::derive(label, root.expose(), repo, &epoch.to_le_bytes());
        Self {
            meta_box: of("meta box"),
            data_box: of("data box"),
            snapshot: of("snapshot"),
            readers: (of("readers"), OnceLock::new()),
        }
    }
}

impl EpochKeys {
    /// Derives them. What names, finds and compares content follows from the key of epoch 0, so that
    /// nothing is stored twice because of a later one.
    pub fn derive(root: &RootKeys, repo: &RepoId) -> Self {
        let (sees, domain, index) = match &root.sees {
            Sees::All(roots) => {
                let first = roots.first_key_value().map_or([0; 32], |(_, root)| *root.expose());
                let of = |label| hash::derive(label, &first, repo, &EPOCH_0);
                let each = roots.iter().map(|(epoch, root)| (*epoch, OneEpoch::derive(root, repo, *epoch)));
                (EpochSees::All(each.collect()), of("domain"), of("index"))
            }
            Sees::Nothing(keys) => {
                let copy = |key: &Key| Secret::new(*key.expose());
                let sees = EpochSees::Nothing { readers: keys.readers };
                (sees, copy(&keys.domain), copy(&keys.index))
            }
        };
        let ids = IdKeys::derive(&domain, repo);
        Self(Arc::new(Inner { repo: *repo, epoch: root.epoch(), sees, index, ids }))
    }

    /// The repository they are for.
    pub fn repo(&self) -> &RepoId {
        &self.0.repo
    }

    /// The newest epoch of which these are keys.
    pub fn epoch(&self) -> u32 {
        self.0.epoch
    }

    /// Whether nothing that is stored opens with them: whoever has them can only add.
    pub fn writes_only(&self) -> bool {
        matches!(self.0.sees, EpochSees::Nothing { .. })
    }

    /// That something that is stored opens with them.
    ///
    /// # Errors
    /// `WritesOnly`.
    pub fn reads(&self) -> Result<(), FormatError> {
        if self.writes_only() { Err(FormatError::WritesOnly) } else { Ok(()) }
    }

    fn of(&self, epoch: u32) -> Result<&OneEpoch, FormatError> {
        match &self.0.sees {
            EpochSees::All(epochs) => epochs.get(&epoch).ok_or(FormatError::OldEpoch),
            EpochSees::Nothing { .. } => Err(FormatError::WritesOnly),
        }
    }

    /// Opens footers' key boxes (role 1) of an epoch.
    ///
    /// # Errors
    /// `WritesOnly`, or `OldEpoch` of a later one; so of all that follow.
    pub fn meta_box(&self, epoch: u32) -> Result<&Key, FormatError> {
        Ok(&self.of(epoch)?.meta_box)
    }

    /// Opens data key boxes (role 2).
    ///
    /// # Errors
    /// As [`EpochKeys::meta_box`].
    pub fn data_box(&self, epoch: u32) -> Result<&Key, FormatError> {
        Ok(&self.of(epoch)?.data_box)
    }

    /// Seals every object but index runs.
    ///
    /// # Errors
    /// As [`EpochKeys::meta_box`].
    pub fn snapshot(&self, epoch: u32) -> Result<&Key, FormatError> {
        Ok(&self.of(epoch)?.snapshot)
    }

    /// The X25519 key for which hosts that only add seal what they store in an epoch.
    ///
    /// # Errors
    /// `OldEpoch` of another epoch than these keys are of.
    pub fn readers(&self, epoch: u32) -> Result<[u8; 32], FormatError> {
        match &self.0.sees {
            EpochSees::Nothing { readers } if epoch == self.0.epoch => Ok(*readers),
            EpochSees::Nothing { .. } => Err(FormatError::OldEpoch),
            EpochSees::All(_) => {
                let (private, public) = &self.of(epoch)?.readers;
                if let Some(public) = public.get() {
                    return Ok(*public);
                }
                let made = agree::public(private)
                    .map_err(|_| FormatError::NotOpened { what: "the readers' key" })?;
                Ok(*public.get_or_init(|| made))
            }
        }
    }

    /// A key that only readers come to know, with the 32 bytes that they need for it.
    ///
    /// # Errors
    /// When the readers' key is none.
    pub fn for_readers(&self, label: &str) -> Result<([u8; 32], Key), FormatError> {
        let none = |_| FormatError::Unfit { what: "a key for the readers", why: "theirs is no X25519 key" };
        let (once, readers) = (Secret::new(entropy::random()), self.readers(self.0.epoch)?);
        let public = agree::public(&once).map_err(none)?;
        let shared = agree::shared(&once, &readers).map_err(none)?;
        Ok((public, self.between(label, &shared, &public, &readers)))
    }

    /// The same key for a reader.
    ///
    /// # Errors
    /// `WritesOnly`, `OldEpoch`; `NotOpened` when the bytes are no X25519 key.
    pub fn as_reader(&self, label: &str, epoch: u32, once: &[u8; 32]) -> Result<Key, FormatError> {
        let none = |_| FormatError::NotOpened { what: "a key for the readers" };
        let (private, _) = &self.of(epoch)?.readers;
        let shared = agree::shared(private, once).map_err(none)?;
        Ok(self.between(label, &shared, once, &self.readers(epoch)?))
    }

    /// What both sides of an agreement know and nobody else, bound to both of them.
    fn between(&self, label: &str, shared: &Key, once: &[u8; 32], readers: &[u8; 32]) -> Key {
        hash::derive(label, shared.expose(), &self.0.repo, &[&once[..], readers].concat())
    }

    /// Seals index runs.
    pub fn index(&self) -> &Key {
        &self.0.index
    }

    /// Names blobs.
    pub fn ids(&self) -> &IdKeys {
        &self.0.ids
    }
}

/// The keys that name and compare content: all that a host needs to deduplicate.
pub struct IdKeys {
    by_kind: [Key; 7],
    file: Key,
    list: Key,
    cut: Key,
    gear: Arc<GearTable>,
}

impl IdKeys {
    /// From KD, the domain key.
    pub fn derive(domain: &Key, repo: &RepoId) -> Self {
        let of = |label, context: &[u8]| hash::derive(label, domain.expose(), repo, context);
        let mut gear = [0u8; 2048];
        hash::derive_into("gear", domain.expose(), repo, &[], &mut gear);
        Self {
            by_kind: [1u8, 2, 3, 4, 5, 6, 7].map(|kind| of("id", &[kind])),
            file: of("file", &[]),
            list: of("list", &[]),
            cut: of("cut", &[]),
            gear: Arc::new(GearTable::new(&gear)),
        }
    }

    fn key(&self, kind: BlobKind) -> &[u8; 32] {
        self.by_kind[usize::from(kind as u8) - 1].expose()
    }

    /// The id of a blob whose kind is not [`BlobKind::Group`].
    pub fn id(&self, kind: BlobKind, plain: &[u8]) -> BlobId {
        BlobId::new(hash::keyed(self.key(kind), &[plain]))
    }

    /// The keyed hash of a small file.
    pub fn file_hash(&self, bytes: &[u8]) -> [u8; 32] {
        hash::keyed(self.file.expose(), &[bytes])
    }

    /// The id of a group: over the lengths and hashes of its files.
    pub fn group_id(&self, files: &[(u32, [u8; 32])]) -> BlobId {
        let mut hasher = Hasher::keyed(self.key(BlobKind::Group));
        hasher.update(&u32::try_from(files.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (len, hash) in files {
            hasher.update(&len.to_le_bytes()).update(hash);
        }
        BlobId::new(hasher.finish())
    }

    /// A hasher for the list hash of a chunked file.
    pub fn list_hasher(&self) -> Hasher {
        Hasher::keyed(self.list.expose())
    }

    /// K_cut, which cuts manifests.
    pub fn cut(&self) -> &[u8; 32] {
        self.cut.expose()
    }

    /// The chunker's table.
    pub fn gear(&self) -> &Arc<GearTable> {
        &self.gear
    }
}
