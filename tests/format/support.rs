//! One small repository's keys, and the ways in which bytes are spoilt.

use lifeboat::base::id::RepoId;
use lifeboat::base::secret::Secret;
use lifeboat::codec::chunker::ChunkerParams;
use lifeboat::codec::sign::Signer;
use lifeboat::repository::format::keys::{EpochKeys, RootKeys, writer_seed};
use lifeboat::repository::format::repo_fmt::RepoFmt;

pub(crate) struct Repo {
    pub(crate) root: RootKeys,
    pub(crate) keys: EpochKeys,
    pub(crate) format: RepoFmt,
    pub(crate) id: RepoId,
}

impl Repo {
    pub(crate) fn numbered(number: u8) -> Self {
        let id = RepoId::new([number; 16]);
        let root = RootKeys::new(Secret::new([number; 32]), Some(Secret::new([number ^ 0xff; 32])));
        let admin_public = root.admin_public().expect("an administrator's keys");
        let format = RepoFmt {
            repo_id: id,
            chunker: ChunkerParams::default(),
            pack_bytes: 16 << 20,
            admin_public,
            parity: 0,
        };
        Self { keys: EpochKeys::derive(&root, &id), root, format, id }
    }

    pub(crate) fn admin(&self) -> Signer {
        Signer::from_seed(self.root.admin().expect("an administrator's keys").expose())
    }

    pub(crate) fn writer(&self, host: &[u8]) -> Signer {
        let admin = self.root.admin().expect("an administrator's keys");
        Signer::from_seed(writer_seed(admin, &self.id, host).expose())
    }
}

pub(crate) fn repo() -> Repo {
    Repo::numbered(1)
}

/// The bytes with one bit turned.
pub(crate) fn with_bit_flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}
