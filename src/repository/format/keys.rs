//! The key tree (docs/format.md, "Keys"): everything follows from two random keys.

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
    /// RK: everything follows from it.
    All(Arc<Key>),
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
}

impl RootKeys {
    /// Fresh keys for a new repository.
    pub fn generate() -> Self {
        Self::new(Secret::new(entropy::random()), Some(Secret::new(entropy::random())))
    }

    /// From RK, and A where it was granted.
    pub fn new(root: Key, admin: Option<Key>) -> Self {
        Self { sees: Sees::All(Arc::new(root)), admin: admin.map(Arc::new), writer: None }
    }

    /// Of a host that reads all.
    pub fn of_host(root: Key, writer: WriterGrant) -> Self {
        Self { writer: Some(Arc::new(writer)), ..Self::new(root, None) }
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
                let seed = writer_seed(admin, repo, host.as_bytes());
                Self::of_host(Secret::new(*self.root()?.expose()), grant(seed, host))
            }
            Role::WriteOnly(host) => {
                let (root, keys) = (self.root()?, EpochKeys::derive(self, repo, 0));
                let of = |label| hash::derive(label, root.expose(), repo, &EPOCH_0);
                let add = AddKeys { domain: of("domain"), index: of("index"), readers: keys.readers()? };
                Self::of_write_only(add, grant(write_only_seed(admin, repo, host.as_bytes()), host))
            }
        })
    }

    /// RK.
    ///
    /// # Errors
    /// When the slot did not grant it.
    pub fn root(&self) -> Result<&Key, FormatError> {
        match &self.sees {
            Sees::All(root) => Ok(root),
            Sees::Nothing(_) => Err(FormatError::WritesOnly),
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

/// Everything that follows from the root key in one epoch. Cloning shares it.
#[derive(Clone)]
pub struct EpochKeys(Arc<Inner>);

struct Inner {
    repo: RepoId,
    sees: EpochSees,
    index: Key,
    ids: IdKeys,
}

enum EpochSees {
    All {
        meta_box: Key,
        data_box: Key,
        snapshot: Key,
        /// Private, and its public part once somebody asked for it.
        readers: (Key, OnceLock<[u8; 32]>),
    },
    Nothing {
        readers: [u8; 32],
    },
}

impl EpochKeys {
    /// Derives them.
    pub fn derive(root: &RootKeys, repo: &RepoId, epoch: u32) -> Self {
        let context = epoch.to_le_bytes();
        Self(Arc::new(match &root.sees {
            Sees::All(root) => {
                let of = |label| hash::derive(label, root.expose(), repo, &context);
                Inner {
                    repo: *repo,
                    sees: EpochSees::All {
                        meta_box: of("meta box"),
                        data_box: of("data box"),
                        snapshot: of("snapshot"),
                        readers: (of("readers"), OnceLock::new()),
                    },
                    index: of("index"),
                    ids: IdKeys::derive(&of("domain"), repo),
                }
            }
            Sees::Nothing(keys) => Inner {
                repo: *repo,
                sees: EpochSees::Nothing { readers: keys.readers },
                index: Secret::new(*keys.index.expose()),
                ids: IdKeys::derive(&keys.domain, repo),
            },
        }))
    }

    /// The repository they are for.
    pub fn repo(&self) -> &RepoId {
        &self.0.repo
    }

    /// Whether nothing that is stored opens with them: whoever has them can only add.
    pub fn writes_only(&self) -> bool {
        matches!(self.0.sees, EpochSees::Nothing { .. })
    }

    /// Opens footers' key boxes (role 1).
    ///
    /// # Errors
    /// `WritesOnly`; so of all that follow.
    pub fn meta_box(&self) -> Result<&Key, FormatError> {
        match &self.0.sees {
            EpochSees::All { meta_box, .. } => Ok(meta_box),
            EpochSees::Nothing { .. } => Err(FormatError::WritesOnly),
        }
    }

    /// Opens data key boxes (role 2).
    ///
    /// # Errors
    /// `WritesOnly`.
    pub fn data_box(&self) -> Result<&Key, FormatError> {
        match &self.0.sees {
            EpochSees::All { data_box, .. } => Ok(data_box),
            EpochSees::Nothing { .. } => Err(FormatError::WritesOnly),
        }
    }

    /// Seals every object but index runs.
    ///
    /// # Errors
    /// `WritesOnly`.
    pub fn snapshot(&self) -> Result<&Key, FormatError> {
        match &self.0.sees {
            EpochSees::All { snapshot, .. } => Ok(snapshot),
            EpochSees::Nothing { .. } => Err(FormatError::WritesOnly),
        }
    }

    /// The X25519 key for which hosts that only add seal what they store.
    ///
    /// # Errors
    /// None that keys of this program's making can meet.
    pub fn readers(&self) -> Result<[u8; 32], FormatError> {
        match &self.0.sees {
            EpochSees::All { readers: (private, public), .. } => {
                if let Some(public) = public.get() {
                    return Ok(*public);
                }
                let made = agree::public(private)
                    .map_err(|_| FormatError::NotOpened { what: "the readers' key" })?;
                Ok(*public.get_or_init(|| made))
            }
            EpochSees::Nothing { readers } => Ok(*readers),
        }
    }

    /// A key that only readers come to know, with the 32 bytes that they need for it.
    ///
    /// # Errors
    /// When the readers' key is none.
    pub fn for_readers(&self, label: &str) -> Result<([u8; 32], Key), FormatError> {
        let none = |_| FormatError::Unfit { what: "a key for the readers", why: "theirs is no X25519 key" };
        let (once, readers) = (Secret::new(entropy::random()), self.readers()?);
        let public = agree::public(&once).map_err(none)?;
        let shared = agree::shared(&once, &readers).map_err(none)?;
        Ok((public, self.between(label, &shared, &public, &readers)))
    }

    /// The same key for a reader.
    ///
    /// # Errors
    /// `WritesOnly`; `NotOpened` when the bytes are no X25519 key.
    pub fn as_reader(&self, label: &str, once: &[u8; 32]) -> Result<Key, FormatError> {
        let EpochSees::All { readers: (private, _), .. } = &self.0.sees else {
            return Err(FormatError::WritesOnly);
        };
        let none = |_| FormatError::NotOpened { what: "a key for the readers" };
        let shared = agree::shared(private, once).map_err(none)?;
        Ok(self.between(label, &shared, once, &self.readers()?))
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
