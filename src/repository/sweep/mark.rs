//! What the roots need: every blob that a snapshot leads to, as rows of the index.
//!
//! Valid snapshots are walked first. What cannot be found below one of them ends the work: who
//! does not know all that is live deletes nothing. Below a pending one it is passed over, since
//! its writer looks at everything it relies on before it confirms. Before either is believed, `i/`
//! is listed again: another sweeper may just have moved it. A part of a manifest that several
//! snapshots share is read once.

use std::collections::HashSet;

use super::SweepError;
use super::roots::{self, Roots};
use super::rows::{RowSet, Rows};
use super::steps::Sweeping;
use crate::base::clock::Timestamp;
use crate::base::error::{Chain, Class, Classified};
use crate::base::id::{BlobId, ObjectHash};
use crate::repository::access::Target;
use crate::repository::error::RepositoryError;
use crate::repository::format::names::SnapshotName;
use crate::repository::format::snapshot::PackSetRef;
use crate::repository::index::{Index, Location};
use crate::repository::load;
use crate::repository::manifest::{BlobRef, ManifestError, Visit, visit_blobs_past};
use crate::repository::manifest_source::Nodes;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::{self, Snapshot};
use crate::repository::writers::Writers;
use crate::storage::contract::Read;

/// How often the index is loaded anew because it changed while it was walked.
const LOADS_MAX: usize = 20;

/// What is live, in the numbers of one index.
#[derive(Debug)]
pub struct Mark {
    /// The index that the rows are of.
    pub(super) index: Index,
    /// The runs that `i/` listed, sorted.
    pub(super) runs: Vec<ObjectHash>,
    /// Its packs' rows.
    pub(super) rows: Rows,
    /// Every copy of every blob that a root needs.
    pub(super) live: RowSet,
    /// Those that a valid root needs.
    pub(super) valid: RowSet,
    /// The snapshots walked in full: the valid ones, and the others.
    walked: (HashSet<ObjectHash>, HashSet<ObjectHash>),
    /// The names that the valid ones were read under.
    pub(super) walked_names: Vec<String>,
    /// When the newest valid snapshot was taken.
    pub(super) newest: Option<Timestamp>,
}

impl Mark {
    /// Whether it holds all that these roots need, so that it need not be made again: `runs` are
    /// those that `i/` lists after the roots were listed.
    pub(super) fn covers(&self, roots: &Roots, runs: &[ObjectHash]) -> bool {
        let (valid, pending) = &self.walked;
        self.runs == runs
            && roots.valid.iter().all(|name| valid.contains(&name.id))
            && roots.pending.iter().all(|name| valid.contains(&name.id) || pending.contains(&name.id))
    }

    /// Whether the blob at this place is live.
    pub(super) fn is_live(&self, at: Location) -> bool {
        self.live.contains(&self.rows, at)
    }

    /// Whether a valid snapshot needs it.
    pub(super) fn is_needed(&self, at: Location) -> bool {
        self.valid.contains(&self.rows, at)
    }
}

/// Marks what these roots need.
///
/// # Errors
/// `Hurt` when something below a valid root is missing or damaged; `Again` when a root vanished;
/// whatever the target says.
pub(super) fn mark(cx: &Sweeping<'_>, roots: &Roots) -> Result<Mark, SweepError> {
    let mut runs = load::list_runs(cx.target)?;
    for _ in 0..LOADS_MAX {
        cx.check()?;
        let Attempt { made, fault, passed_over } = attempt(cx, roots)?;
        if fault.is_none() && passed_over == 0 {
            return Ok(made);
        }
        // Only an index that stands still can be believed when it lacks something.
        let now = load::list_runs(cx.target)?;
        let stands = made.runs == now && runs == now;
        runs = now;
        match fault {
            Some(what) if stands => {
                let walked = roots.valid.iter().map(SnapshotName::proposal);
                return Err(roots::lost(cx, walked, what)?);
            }
            None if stands => return Ok(made),
            _ => {}
        }
    }
    Err(SweepError::Unsettled { place: cx.place() })
}

struct Attempt {
    made: Mark,
    /// What is wrong below a valid root.
    fault: Option<String>,
    /// Parts below pending roots that could not be found or read.
    passed_over: u64,
}

fn attempt(cx: &Sweeping<'_>, roots: &Roots) -> Result<Attempt, SweepError> {
    let loaded = load::load(cx.repository, std::slice::from_ref(cx.target))?;
    // What is moved is sealed anew.
    cx.repository.refuse_old_epoch(loaded.epoch)?;
    let rows = Rows::of(&loaded.index)?;
    let runs = loaded.listed.into_iter().next().unwrap_or_default();
    let targets: Vec<&Target> = std::iter::once(cx.target).chain(cx.others).collect();
    let reader = BlobReader::new(cx.repository, &loaded.index, targets, Read::Quick);
    let mut marker = Marker {
        cx,
        reader: &reader,
        rows: &rows,
        live: RowSet::new(&rows),
        last: BlobId::default(),
        lost: None,
        trouble: None,
    };
    let mut fault = loaded
        .damaged
        .into_iter()
        .next()
        .map(|(id, error)| format!("index run {} cannot be read: {}", id.short(), Chain(&error)));
    let writers = cx.repository.writers(cx.target)?;
    let (mut walked, mut walked_names, mut newest) = ((HashSet::new(), HashSet::new()), Vec::new(), None);
    for name in &roots.valid {
        if fault.is_some() {
            break;
        }
        match marker.walk_valid(&writers, name)? {
            Ok(snapshot) => {
                newest = newest.max(Some(snapshot.body.captured_at.max(snapshot.body.ended_at)));
                walked.0.insert(name.id);
                walked_names.push(name.proposal().to_string());
            }
            Err(what) => fault = Some(format!("snapshot {}: {what}", name.id.short())),
        }
        cx.progress.advance(1, 0);
    }
    let valid = marker.live.clone();
    let mut passed_over = 0;
    for name in roots.pending.iter().filter(|_| fault.is_none()) {
        let unknown = marker.walk_pending(&writers, name)?;
        passed_over += unknown;
        if unknown == 0 {
            walked.1.insert(name.id);
        }
    }
    let live = marker.live;
    drop(reader);
    let index = loaded.index;
    let made = Mark { index, runs, rows, live, valid, walked, walked_names, newest };
    Ok(Attempt { made, fault, passed_over })
}

struct Marker<'m, 'r> {
    cx: &'m Sweeping<'m>,
    reader: &'m BlobReader<'r>,
    rows: &'m Rows,
    live: RowSet,
    last: BlobId,
    /// A blob that no index run lists.
    lost: Option<BlobId>,
    /// What went wrong in a look-up.
    trouble: Option<RepositoryError>,
}

impl Marker<'_, '_> {
    /// Notes every place of a blob; says whether it is new.
    fn see(&mut self, id: &BlobId) -> Visit {
        // Neighbours often share their blob.
        if self.last == *id || self.trouble.is_some() {
            return Visit::Skip;
        }
        self.last = *id;
        match self.insert(id) {
            Ok(true) => Visit::Enter,
            Ok(false) => Visit::Skip,
            Err(error) => {
                self.trouble = Some(error);
                Visit::Skip
            }
        }
    }

    fn insert(&mut self, id: &BlobId) -> Result<bool, RepositoryError> {
        if self.cx.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        let places = self.reader.index().locations(id)?;
        if places.is_empty() {
            self.lost.get_or_insert(*id);
            return Ok(true);
        }
        let mut fresh = false;
        for at in places {
            fresh |= self.live.insert(self.rows, at)?;
        }
        Ok(fresh)
    }

    /// Everything below a valid snapshot; inside is what is wrong with it.
    fn walk_valid(
        &mut self,
        writers: &Writers,
        name: &SnapshotName,
    ) -> Result<Result<Snapshot, String>, SweepError> {
        let snapshot = match snapshots::load(self.cx.repository, self.cx.target, writers, name) {
            Ok(snapshot) => snapshot,
            Err(error) if error.class() == Class::Damage => {
                if self.cx.target.storage.head(&name.proposal())?.is_none() {
                    return Err(SweepError::Again { place: self.cx.place() });
                }
                return Ok(Err(Chain(&error).to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        self.lost = None;
        match self.walk(&snapshot, &mut Err) {
            Ok(()) => {}
            Err(Stop::Trouble(error)) if error.class() == Class::Damage => {
                return Ok(Err(Chain(&error).to_string()));
            }
            Err(Stop::Trouble(error)) => return Err(error.into()),
            Err(Stop::Manifest(error)) if error.class() == Class::Damage => {
                return Ok(Err(Chain(&error).to_string()));
            }
            Err(Stop::Manifest(error)) => return Err(RepositoryError::from(error).into()),
        }
        Ok(match self.lost.take() {
            Some(id) => Err(format!("no index run lists blob {}", id.short())),
            None => Ok(snapshot),
        })
    }

    /// What can be found below a proposal; says how many parts could not.
    fn walk_pending(&mut self, writers: &Writers, name: &SnapshotName) -> Result<u64, SweepError> {
        let snapshot = match snapshots::load(self.cx.repository, self.cx.target, writers, name) {
            Ok(snapshot) => snapshot,
            Err(error) if error.class() == Class::Damage => return Ok(1),
            Err(error) => return Err(error.into()),
        };
        self.lost = None;
        let mut passed_over = 0;
        let walked = self.walk(&snapshot, &mut |error: ManifestError| {
            if error.class() == Class::Damage {
                passed_over += 1;
                Ok(())
            } else {
                Err(error)
            }
        });
        match walked {
            Ok(()) => Ok(passed_over + u64::from(self.lost.take().is_some())),
            Err(Stop::Trouble(error)) => Err(error.into()),
            Err(Stop::Manifest(error)) => Err(RepositoryError::from(error).into()),
        }
    }

    fn walk(
        &mut self,
        snapshot: &Snapshot,
        fault: &mut dyn FnMut(ManifestError) -> Result<(), ManifestError>,
    ) -> Result<(), Stop> {
        if let PackSetRef::Blob(id) = &snapshot.body.pack_set {
            self.see(id);
        }
        for root in &snapshot.body.roots {
            let source = Nodes(self.reader);
            let visit = &mut |blob: BlobRef| match blob {
                BlobRef::Manifest(_, id) | BlobRef::Chunk(id) | BlobRef::Group(id) => self.see(&id),
            };
            let walked = visit_blobs_past(&root.node, &source, visit, fault);
            if let Some(trouble) = self.trouble.take() {
                return Err(Stop::Trouble(trouble));
            }
            walked.map_err(Stop::Manifest)?;
        }
        Ok(())
    }
}

enum Stop {
    Trouble(RepositoryError),
    Manifest(ManifestError),
}
