//! Sweep plans: packs and proposals that a maintainer has condemned. Read by every writer.

use super::error::FormatError;
use super::keys::EpochKeys;
use super::names::{PackClass, SnapshotName};
use super::object::{Object, ObjectHeader, ObjectKind, Sealing, encode};
use super::pack_set::{self, PackSet};
use super::tlv::{self, Reader, TlvWriter};
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::sign::Signer;

const WHAT: &str = "a sweep plan";
const TAG_PACKS: u16 = 1;
const TAG_PROPOSALS: u16 = 2;

/// What a plan condemns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanBody {
    packs: Vec<(PackClass, ObjectHash)>,
    proposals: Vec<String>,
}

impl PlanBody {
    /// A plan over these packs and proposals (names under `s/`).
    pub fn new(mut packs: Vec<(PackClass, ObjectHash)>, mut proposals: Vec<String>) -> Self {
        packs.sort_unstable();
        packs.dedup();
        proposals.sort_unstable();
        proposals.dedup();
        Self { packs, proposals }
    }

    /// Signs and seals it.
    ///
    /// # Errors
    /// When it is too long.
    pub fn seal(
        &self,
        repo: &RepoId,
        admin: &Signer,
        keys: &EpochKeys,
    ) -> Result<(Vec<u8>, ObjectHash), FormatError> {
        let mut proposals = u32::try_from(self.proposals.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        for name in &self.proposals {
            proposals.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
            proposals.extend_from_slice(name.as_bytes());
        }
        let mut body = TlvWriter::new();
        body.put(TAG_PACKS, &pack_set::encode(&self.packs)).put(TAG_PROPOSALS, &proposals);
        let header = ObjectHeader {
            kind: ObjectKind::Plan,
            sealing: Sealing::Epoch,
            epoch: 0,
            repo: *repo,
            signer: admin.id(),
            number: 0,
        };
        encode(&header, &[], &body.finish(), admin, Some(keys))
    }

    /// Opens a plan that the administrator signed.
    ///
    /// # Errors
    /// When it is malformed or somebody else signed it.
    pub fn open(
        bytes: &[u8],
        repo: &RepoId,
        admin_public: &[u8; 32],
        keys: &EpochKeys,
    ) -> Result<Self, FormatError> {
        let object = Object::decode(bytes, repo, Some(keys))?;
        object.verify(admin_public)?;
        if object.header.kind != ObjectKind::Plan {
            return Err(FormatError::Malformed { what: WHAT, why: "it is another kind of object" });
        }
        let mut plan = Self::default();
        for (tag, value) in tlv::read_filled(WHAT, &object.body)? {
            match tag {
                TAG_PACKS => plan.packs = PackSet::decode(value)?.packs,
                TAG_PROPOSALS => plan.proposals = read_proposals(value)?,
                tag => tlv::unknown(WHAT, tag)?,
            }
        }
        Ok(plan)
    }

    /// The packs it names.
    pub fn packs(&self) -> impl Iterator<Item = ObjectHash> + '_ {
        self.packs.iter().map(|(_, hash)| *hash)
    }

    /// Whether it names a pack.
    pub fn names_pack(&self, hash: &ObjectHash) -> bool {
        self.packs.iter().any(|(_, named)| named == hash)
    }

    /// Whether it names a proposal.
    pub fn names_proposal(&self, name: &SnapshotName) -> bool {
        self.proposals.binary_search_by(|named| named.as_str().cmp(name.proposal().as_str())).is_ok()
    }
}

fn read_proposals(value: &[u8]) -> Result<Vec<String>, FormatError> {
    let mut reader = Reader::new(WHAT, value);
    let mut proposals = Vec::new();
    for _ in 0..reader.u32()? {
        let name = std::str::from_utf8(reader.counted()?).map_err(|_| reader.wrong("a name is no text"))?;
        proposals.push(name.to_owned());
    }
    reader.end()?;
    if proposals.is_sorted_by(|a, b| a < b) {
        Ok(proposals)
    } else {
        Err(reader.wrong("names are not sorted"))
    }
}
