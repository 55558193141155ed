//! From a finished manifest to the snapshot object, and the commit.

use std::collections::HashSet;

use bytes::Bytes;

use super::collect::Collected;
use super::finish::{self, Ready};
use super::outcome::{BackupOutcome, TargetOutcome};
use super::pass::{Gathered, Pass};
use super::start::Chain;
use crate::base::clock::Timestamp;
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::engine::error::EngineError;
use crate::engine::history;
use crate::repository::access::Target;
use crate::repository::commit::Proposal;
use crate::repository::format::names::SnapshotName;
use crate::repository::format::snapshot::{
    PackSetRef, SnapshotBody, SnapshotKind, SnapshotRoot, SnapshotStats, UnreadItems,
};
use crate::repository::manifest::Root;
use crate::repository::needs;
use crate::repository::reader::BlobReader;
use crate::repository::seen::Mark;
use crate::repository::snapshots::Snapshot;
use crate::source::files::WalkOptions;
use crate::storage::contract::Read;

use super::publish::{Known, Needed};

/// A tree that is stored with all it needs.
pub(super) struct Tree<'a> {
    pub(super) collected: &'a Collected,
    pub(super) roots: Vec<SnapshotRoot>,
    pub(super) needed: Needed,
    pub(super) pack_set: PackSetRef,
}

impl Pass<'_> {
    /// The snapshot over a tree, signed and sealed, on its way to the targets.
    pub(super) fn proposal(
        &self,
        kind: SnapshotKind,
        tree: Tree<'_>,
        chain: &Chain,
    ) -> Result<(SnapshotBody, Proposal), EngineError> {
        let body = self.body(kind, &tree);
        let (bytes, id) = finish::seal(self.repository, self.signer, chain, &body)?;
        let proposal = Proposal {
            bytes,
            id,
            at: self.captured_at,
            writer: self.signer.id(),
            // What came over from a checkpoint is looked at pack by pack: the parent doesn't hold it.
            parent: self.start.parent.as_ref().filter(|_| self.start.resume.is_none()).map(|p| p.id),
            runs: tree.needed.runs,
            packs: tree.needed.packs,
        };
        Ok((body, proposal))
    }

    /// A proposal with what its commit needs to know.
    pub(super) fn ready<'a>(
        &'a self,
        proposal: &'a Proposal,
        runs: &'a Known<'a>,
        parent_packs: &'a HashSet<ObjectHash>,
    ) -> Ready<'a> {
        Ready {
            repository: self.repository,
            signer: self.signer,
            host: &self.request.host,
            start: self.start,
            proposal,
            runs,
            parent_packs,
        }
    }

    pub(super) fn commit(&self, gathered: Gathered) -> Result<BackupOutcome, EngineError> {
        let Gathered { collected, roots, needed, pack_set, stored, lanes } = gathered;
        let kind = if self.start.parent.is_some() { self.request.kind } else { SnapshotKind::Full };
        let tree = Tree { collected: &collected, roots, needed, pack_set };
        let (body, proposal) = self.proposal(kind, tree, &stored.chain)?;
        let parent_packs = self.parent_packs()?;
        let known = stored.known(self);
        let ready = self.ready(&proposal, &known, &parent_packs);
        let targets = finish::commit_everywhere(&ready, lanes, self.cx)?;
        if targets.iter().all(|target| !target.complete) {
            return Err(finish::nowhere(&targets));
        }
        self.note(&proposal, &stored.chain, &targets);
        self.keep(&body, &proposal, &stored.chain);
        let Collected { stats, unread, changed, vanished, left_out } = collected;
        Ok(BackupOutcome {
            snapshot: proposal.id,
            manifest_root: body.roots.first().map(|root| root.node).unwrap_or_default(),
            kind: body.kind,
            asked: body.asked,
            parent: body.parent,
            resumed: self.start.resume.as_ref().map(|resume| resume.id),
            captured_at: self.captured_at,
            ended_at: body.ended_at,
            targets,
            stats,
            unread,
            changed,
            vanished,
            roots: self.sources.views(),
            left_out,
            history: self.start.history.rollbacks().cloned().collect(),
        })
    }

    /// Remembers that this snapshot was there, from this moment on.
    fn note(&self, proposal: &Proposal, chain: &Chain, targets: &[TargetOutcome]) {
        let has_it = |target: &&Target| targets.iter().any(|t| t.complete && t.target == target.name);
        let places: Vec<&str> =
            self.start.targets.iter().filter(has_it).map(|target| target.storage.label()).collect();
        let mark = Mark { writer: proposal.writer, number: chain.number, captured_at: self.captured_at };
        history::note(self.repository, &places, proposal.id, mark);
    }

    /// Keeps a snapshot that these keys don't open again.
    pub(super) fn keep(&self, body: &SnapshotBody, proposal: &Proposal, chain: &Chain) {
        let Some(kept) = self.kept else { return };
        kept.note(&Snapshot {
            id: proposal.id,
            name: SnapshotName::new(proposal.at, &proposal.writer, proposal.id, [0; 8]),
            writer: proposal.writer,
            signed: true,
            number: chain.number,
            links: Vec::new(),
            body: body.clone(),
            bytes: Bytes::new(),
        });
    }

    /// Packs that the parent needs, which were read back with it.
    fn parent_packs(&self) -> Result<HashSet<ObjectHash>, EngineError> {
        let (Some(parent), Some(target)) = (&self.start.parent, self.start.targets.first()) else {
            return Ok(HashSet::new());
        };
        let index = &self.start.loaded.index;
        let reader = BlobReader::new(self.repository, index, vec![target], Read::Quick).with_kept(self.kept);
        let packs = needs::packs_through(&reader, parent);
        // Unknown means none: then everything is read back again, which is only slow.
        Ok(packs.unwrap_or_default().into_iter().map(|(_, hash)| hash).collect())
    }

    fn body(&self, kind: SnapshotKind, tree: &Tree<'_>) -> SnapshotBody {
        let stats = &tree.collected.stats;
        SnapshotBody {
            kind,
            host: self.request.host.clone(),
            policy: self.request.policy.clone(),
            tags: self.request.tags.clone(),
            started_at: self.captured_at,
            ended_at: self.now(),
            parent: self.start.parent.as_ref().map(|parent| parent.id),
            base_full: if kind == SnapshotKind::Full { None } else { self.start.base_full },
            roots: tree.roots.clone(),
            index_runs: tree.needed.runs.clone(),
            pack_set: tree.pack_set.clone(),
            excludes_hash: excludes_hash(&self.request.walk),
            tool: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).to_owned(),
            stats: SnapshotStats {
                files: stats.files,
                files_read: stats.files_read,
                bytes_read: stats.bytes_read,
                bytes_new: stats.bytes_new,
                changed: tree.collected.changed.count,
                excluded: stats.excluded,
            },
            unread: UnreadItems { count: tree.collected.unread.count },
            run_id: self.request.run_id.clone(),
            occurrence: self.request.occurrence.clone(),
            asked: self.request.kind,
            captured_at: self.captured_at,
        }
    }

    fn now(&self) -> Timestamp {
        self.cx.clock.now()
    }
}

/// A root as the snapshot stores it.
pub(super) fn snapshot_root(path: &[u8], root: &Root) -> SnapshotRoot {
    SnapshotRoot { path: path.to_vec(), node: root.id, entries: root.entries, bytes: root.bytes }
}

/// What the snapshot says of the rules that left things out.
pub(super) fn excludes_hash(rules: &WalkOptions) -> [u8; 32] {
    hash::plain(&[&rules.digest_text()])
}
