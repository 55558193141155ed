//! Sweep plans: packs and proposals that a maintainer has condemned. Read by every writer.

use super::error::FormatError;
use super::keys::EpochKeys;
use super::names::{PackClass, SnapshotName};
use super::object::{Closed, ObjectHeader, ObjectKind, Sealing, encode};
use super::pack_set::{self, PackSet};
use super::tlv::{self, FILL_BYTES, Reader, TlvWriter};
use crate::base::id::{ObjectHash, RepoId};
use crate::codec::sign::Signer;

const WHAT: &str = "a sweep plan";
const TAG_PACKS: u16 = 1;
const TAG_PROPOSALS: u16 = 2;
const TAG_LIVE: u16 = 3;
const TAG_WALKED: u16 = 4;

/// Which rows of a condemned pack held something live when the plan was made: every copy of a live
/// blob counts, whether or not another pack held it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRows {
    rows: u32,
    bits: Vec<u8>,
}

impl LiveRows {
    /// Of a pack with so many rows; none is live yet.
    pub fn new(rows: u32) -> Self {
        Self { rows, bits: vec![0; bytes_of(rows)] }
    }

    /// Notes a row as live; one that the pack doesn't have is passed over.
    pub fn insert(&mut self, ordinal: u32) {
        if ordinal < self.rows
            && let Some(byte) = usize::try_from(ordinal / 8).ok().and_then(|at| self.bits.get_mut(at))
        {
            *byte |= 1 << (ordinal % 8);
        }
    }

    /// How many rows the pack had.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The rows that were live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        let is_set = |row: &u32| {
            usize::try_from(row / 8)
                .is_ok_and(|at| self.bits.get(at).is_some_and(|byte| byte >> (row % 8) & 1 == 1))
        };
        (0..self.rows).filter(is_set)
    }
}

fn bytes_of(rows: u32) -> usize {
    usize::try_from(rows.div_ceil(8)).unwrap_or(usize::MAX)
}

/// A pack that a plan condemns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// Data or metadata.
    pub class: PackClass,
    /// Its name.
    pub hash: ObjectHash,
    /// What was live in it.
    pub live: LiveRows,
}

/// What a plan condemns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanBody {
    packs: Vec<(PackClass, ObjectHash)>,
    proposals: Vec<String>,
    /// One for each pack, or none at all.
    live: Vec<LiveRows>,
    walked: Vec<String>,
}

impl PlanBody {
    /// A plan over these packs and proposals, with what its mark found and the snapshots (names
    /// under `s/`) that the mark walked in full.
    pub fn of_mark(mut condemned: Vec<Condemned>, proposals: Vec<String>, mut walked: Vec<String>) -> Self {
        condemned.sort_unstable_by_key(|pack| (pack.class, pack.hash));
        condemned.dedup_by_key(|pack| (pack.class, pack.hash));
        walked.sort_unstable();
        walked.dedup();
        let packs = condemned.iter().map(|pack| (pack.class, pack.hash)).collect();
        let live = condemned.into_iter().map(|pack| pack.live).collect();
        Self { live, walked, ..Self::new(packs, proposals) }
    }

    /// A plan over these packs and proposals (names under `s/`).
    pub fn new(mut packs: Vec<(PackClass, ObjectHash)>, mut proposals: Vec<String>) -> Self {
        packs.sort_unstable();
        packs.dedup();
        proposals.sort_unstable();
        proposals.dedup();
        Self { packs, proposals, live: Vec::new(), walked: Vec::new() }
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
        self.encode(repo, admin, Some(keys))
    }

    /// Signs it, in clear for hosts that open nothing: it then says what a listing shows as soon as
    /// the plan is carried out, and nothing of what is in the packs.
    ///
    /// # Errors
    /// When it is too long.
    pub fn clear(&self, repo: &RepoId, admin: &Signer) -> Result<(Vec<u8>, ObjectHash), FormatError> {
        self.encode(repo, admin, None)
    }

    fn encode(
        &self,
        repo: &RepoId,
        admin: &Signer,
        keys: Option<&EpochKeys>,
    ) -> Result<(Vec<u8>, ObjectHash), FormatError> {
        let sealing = if keys.is_some() { Sealing::Epoch } else { Sealing::Clear };
        let mut body = TlvWriter::new();
        body.put(TAG_PACKS, &pack_set::encode(&self.packs)).put(TAG_PROPOSALS, &write_names(&self.proposals));
        // How many blobs a pack has is for readers' eyes.
        if !self.live.is_empty() && sealing != Sealing::Clear {
            body.put(TAG_LIVE, &write_live(&self.live));
        }
        if !self.walked.is_empty() {
            body.put(TAG_WALKED, &write_names(&self.walked));
        }
        let header = ObjectHeader {
            kind: ObjectKind::Plan,
            sealing,
            epoch: keys.map_or(0, EpochKeys::epoch),
            repo: *repo,
            signer: admin.id(),
            number: 0,
        };
        let mut body = body.finish();
        if sealing == Sealing::Clear {
            // As long as a sealed one: readers of every version expect the fill.
            body.resize(body.len().div_ceil(FILL_BYTES).max(1) * FILL_BYTES, 0);
        }
        encode(&header, &[], &body, admin, keys)
    }

    /// Opens a plan that the administrator signed.
    ///
    /// # Errors
    /// When it is malformed or somebody else signed it; `WritesOnly` when it is the administrator's,
    /// and sealed for readers.
    pub fn open(
        bytes: &[u8],
        repo: &RepoId,
        admin_public: &[u8; 32],
        keys: &EpochKeys,
    ) -> Result<Self, FormatError> {
        let closed = Closed::decode(bytes, repo)?;
        closed.verify(admin_public)?;
        if closed.header.kind != ObjectKind::Plan {
            return Err(FormatError::Malformed { what: WHAT, why: "it is another kind of object" });
        }
        let object = closed.open(Some(keys))?;
        let mut plan = Self::default();
        for (tag, value) in tlv::read_filled(WHAT, &object.body)? {
            match tag {
                TAG_PACKS => plan.packs = PackSet::decode(value)?.packs,
                TAG_PROPOSALS => plan.proposals = read_names(value)?,
                TAG_LIVE => plan.live = read_live(value)?,
                TAG_WALKED => plan.walked = read_names(value)?,
                tag => tlv::unknown(WHAT, tag)?,
            }
        }
        if !plan.live.is_empty() && plan.live.len() != plan.packs.len() {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "its live rows are not those of its packs",
            });
        }
        Ok(plan)
    }

    /// The packs it names.
    pub fn packs(&self) -> impl Iterator<Item = ObjectHash> + '_ {
        self.packs.iter().map(|(_, hash)| *hash)
    }

    /// The packs it names, each with its class.
    pub fn condemned(&self) -> &[(PackClass, ObjectHash)] {
        &self.packs
    }

    /// What was live in each of its packs, in their order; empty when the plan doesn't say.
    pub fn live(&self) -> &[LiveRows] {
        &self.live
    }

    /// The proposals it names: names under `s/`.
    pub fn proposals(&self) -> &[String] {
        &self.proposals
    }

    /// The snapshots (names under `s/`) that its mark walked in full.
    pub fn walked(&self) -> &[String] {
        &self.walked
    }

    /// Whether it names a pack.
    pub fn names_pack(&self, hash: &ObjectHash) -> bool {
        let named = |class| self.packs.binary_search(&(class, *hash)).is_ok();
        named(PackClass::Data) || named(PackClass::Meta)
    }

    /// Whether it names a proposal.
    pub fn names_proposal(&self, name: &SnapshotName) -> bool {
        self.proposals.binary_search_by(|named| named.as_str().cmp(name.proposal().as_str())).is_ok()
    }
}

fn write_names(names: &[String]) -> Vec<u8> {
    let mut out = u32::try_from(names.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    for name in names {
        out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    out
}

fn read_names(value: &[u8]) -> Result<Vec<String>, FormatError> {
    let mut reader = Reader::new(WHAT, value);
    let mut names = Vec::new();
    for _ in 0..reader.u32()? {
        let name = std::str::from_utf8(reader.counted()?).map_err(|_| reader.wrong("a name is no text"))?;
        names.push(name.to_owned());
    }
    reader.end()?;
    if names.is_sorted_by(|a, b| a < b) { Ok(names) } else { Err(reader.wrong("names are not sorted")) }
}

fn write_live(live: &[LiveRows]) -> Vec<u8> {
    let mut out = u32::try_from(live.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    for pack in live {
        out.extend_from_slice(&pack.rows.to_le_bytes());
        out.extend_from_slice(&pack.bits);
    }
    out
}

fn read_live(value: &[u8]) -> Result<Vec<LiveRows>, FormatError> {
    let mut reader = Reader::new(WHAT, value);
    let mut all = Vec::new();
    for _ in 0..reader.u32()? {
        let rows = reader.u32()?;
        let bits = reader.slice(bytes_of(rows))?.to_vec();
        let slack = rows % 8;
        if slack != 0 && bits.last().is_some_and(|last| last >> slack != 0) {
            return Err(reader.wrong("a row is live that the pack doesn't have"));
        }
        all.push(LiveRows { rows, bits });
    }
    reader.end()?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_rows_come_back_as_they_were_noted() {
        let mut live = LiveRows::new(11);
        for row in [0, 7, 8, 10, 11, 400] {
            live.insert(row);
        }
        let read = read_live(&write_live(&[live.clone(), LiveRows::new(0)])).expect("it was just written");
        assert_eq!(read, [live, LiveRows::new(0)]);
        assert_eq!(read[0].live().collect::<Vec<_>>(), [0, 7, 8, 10]);
        let mut wrong = write_live(&read);
        wrong[9] |= 0x80;
        assert!(read_live(&wrong).is_err(), "a bit behind the last row");
        assert!(read_live(&wrong[..6]).is_err());
    }
}
