//! The key tree (docs/format.md, "Keys"): everything follows from two random keys.

use std::sync::Arc;

use super::error::FormatError;
use super::names::PackClass;
use crate::base::entropy;
use crate::base::id::{BlobId, RepoId};
use crate::base::secret::{Key, Secret};
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

/// The two random keys of a repository, as far as a slot grants them.
pub struct RootKeys {
    root: Arc<Key>,
    admin: Option<Arc<Key>>,
}

impl RootKeys {
    /// Fresh keys for a new repository.
    pub fn generate() -> Self {
        Self::new(Secret::new(entropy::random()), Some(Secret::new(entropy::random())))
    }

    /// From what a slot granted.
    pub fn new(root: Key, admin: Option<Key>) -> Self {
        Self { root: Arc::new(root), admin: admin.map(Arc::new) }
    }

    /// The same keys for another handle.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { root: Arc::clone(&self.root), admin: self.admin.clone() }
    }

    /// RK.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// A, the administrator's seed.
    ///
    /// # Errors
    /// When the slot did not grant it.
    pub fn admin(&self) -> Result<&Key, FormatError> {
        self.admin.as_deref().ok_or(FormatError::NotGranted { what: "the administrator's key" })
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

/// Everything that follows from the root key in one epoch. Cloning shares it.
#[derive(Clone)]
pub struct EpochKeys(Arc<Inner>);

struct Inner {
    repo: RepoId,
    meta_box: Key,
    data_box: Key,
    index: Key,
    snapshot: Key,
    ids: IdKeys,
}

impl EpochKeys {
    /// Derives them.
    pub fn derive(root: &RootKeys, repo: &RepoId, epoch: u32) -> Self {
        let context = epoch.to_le_bytes();
        let of = |label| hash::derive(label, root.root().expose(), repo, &context);
        let domain = of("domain");
        Self(Arc::new(Inner {
            repo: *repo,
            meta_box: of("meta box"),
            data_box: of("data box"),
            index: of("index"),
            snapshot: of("snapshot"),
            ids: IdKeys::derive(&domain, repo),
        }))
    }

    /// The repository they are for.
    pub fn repo(&self) -> &RepoId {
        &self.0.repo
    }

    /// Opens footers' key boxes (role 1).
    pub fn meta_box(&self) -> &Key {
        &self.0.meta_box
    }

    /// Opens data key boxes (role 2).
    pub fn data_box(&self) -> &Key {
        &self.0.data_box
    }

    /// Seals index runs.
    pub fn index(&self) -> &Key {
        &self.0.index
    }

    /// Seals every other object.
    pub fn snapshot(&self) -> &Key {
        &self.0.snapshot
    }

    /// Names blobs.
    pub fn ids(&self) -> &IdKeys {
        &self.0.ids
    }
}

/// The keys that name and compare content: all that a write-only host will need to deduplicate.
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
