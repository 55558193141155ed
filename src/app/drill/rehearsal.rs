//! A drill's restorer over the engine: one snapshot on one target, past every cache of this
//! machine.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use crate::app::site::Site;
use crate::base::cancel::Cancel;
use crate::base::error::{Class, Classified, Failure};
use crate::base::progress::{Event, Progress};
use crate::drill::restorer::{PROBLEMS_MAX, Problem};
use crate::drill::{
    DrillError, Entry, EntryFact, Fault, Picked, Reads, RestoreRequest, Restored, Restorer, SnapshotFacts,
};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::ls;
use crate::engine::restore::request::{Mode, Others, RestoreRequest as EngineRequest};
use crate::engine::restore::{content_matches, restore};
use crate::policy::model::Target as Planned;
use crate::repository::access::Repository;
use crate::repository::load::{self, Loaded};
use crate::repository::manifest;
use crate::repository::reader::BlobReader;
use crate::repository::snapshots::{self, Snapshot};
use crate::source::files::{Existing, Owner};
use crate::storage::contract::Read;
use crate::storage::place::Access;

/// One rehearsal's way to its copy.
pub(super) struct Rehearsal<'s> {
    site: &'s Site,
    planned: &'s Planned,
    repository: Option<Repository>,
    found: Option<(Snapshot, Loaded)>,
    bytes: u64,
}

impl<'s> Rehearsal<'s> {
    pub(super) fn new(site: &'s Site, planned: &'s Planned) -> Self {
        Self { site, planned, repository: None, found: None, bytes: 0 }
    }

    /// The snapshot that was found.
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.found.as_ref().map(|(snapshot, _)| snapshot)
    }

    /// The repository, when it opened.
    pub(super) fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    fn opened(&self) -> Result<(&Repository, &Snapshot, &Loaded), DrillError> {
        match (&self.repository, &self.found) {
            (Some(repository), Some((snapshot, loaded))) => Ok((repository, snapshot, loaded)),
            _ => Err(copy_fault("finding the snapshot", Failed::of_text("it was not found before"))),
        }
    }
}

/// A failure whose type was forgotten, as an error again.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Failed {
    message: String,
    class: Class,
    code: &'static str,
}

impl Failed {
    fn of(failure: &Failure) -> Self {
        Self { message: failure.message(), class: failure.class(), code: failure.code() }
    }

    fn of_text(message: &str) -> Self {
        Self { message: message.to_owned(), class: Class::Failed, code: "E0809" }
    }
}

impl Classified for Failed {
    fn class(&self) -> Class {
        self.class
    }

    fn code(&self) -> &'static str {
        self.code
    }
}

fn copy_fault(action: &str, error: impl Classified + Send + Sync + 'static) -> DrillError {
    DrillError::restore(Fault::Copy, action, error)
}

/// Whose fault a failed restore is: what is written to is the sandbox's, all else the copy's.
fn fault_of(error: &EngineError) -> Fault {
    match error {
        EngineError::Source(_) => Fault::Sandbox,
        _ => Fault::Copy,
    }
}

struct Visited<'e> {
    fact: EntryFact,
    entry: &'e manifest::Entry,
    blobs: &'e BlobReader<'e>,
}

impl Entry for Visited<'_> {
    fn fact(&self) -> &EntryFact {
        &self.fact
    }

    fn content_matches(&self, restored: &mut File) -> io::Result<bool> {
        content_matches(self.entry, self.blobs, restored).map_err(io::Error::other)?
    }
}

fn fact(path: &[u8], entry: &manifest::Entry) -> EntryFact {
    let meta = &entry.meta;
    EntryFact {
        path: path.to_vec(),
        kind: meta.kind,
        size: meta.size,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        link_target: meta.link_target.clone(),
    }
}

impl Restorer for Rehearsal<'_> {
    fn unlock(&mut self) -> Result<(), DrillError> {
        let action = format!("opening the repository at {}", self.planned.url);
        let opened = self.site.target(self.planned, Access::Read).and_then(|target| {
            // Without a cache: everything comes from this target, or the drill shows nothing.
            Ok(Repository::open(vec![target], &self.site.secret()?)?)
        });
        self.repository = Some(opened.map_err(|failure| copy_fault(&action, Failed::of(&failure)))?);
        Ok(())
    }

    fn locate(&mut self) -> Result<SnapshotFacts, DrillError> {
        let fault = |error| copy_fault("finding the snapshot", error);
        let Some(repository) = &self.repository else {
            return Err(copy_fault("finding the snapshot", Failed::of_text("the repository is not open")));
        };
        let target = &repository.targets()[0];
        let snapshot = snapshots::find(repository, target, "latest").map_err(fault)?;
        let loaded = load::load(repository, std::slice::from_ref(target)).map_err(fault)?;
        let root = snapshot.body.roots.first().map(|root| *root.node.as_bytes()).unwrap_or_default();
        let facts = SnapshotFacts {
            id: snapshot.id.to_hex(),
            kind: snapshot.body.kind.word().to_owned(),
            captured_at: snapshot.body.captured_at,
            manifest_root: root,
        };
        self.found = Some((snapshot, loaded));
        Ok(facts)
    }

    fn entries(&mut self, visit: &mut dyn FnMut(&dyn Entry) -> ControlFlow<()>) -> Result<(), DrillError> {
        let (repository, snapshot, loaded) = self.opened()?;
        let target = &repository.targets()[0];
        let blobs = BlobReader::new(repository, &loaded.index, vec![target], Read::Medium);
        let visited = ls::entries(&blobs, snapshot, &mut |path, entry| {
            visit(&Visited { fact: fact(path, entry), entry, blobs: &blobs })
        });
        let read = blobs.bytes_read();
        self.bytes += read;
        visited.map_err(|error| copy_fault("reading the manifest", error))
    }

    fn restore(
        &mut self,
        request: &RestoreRequest<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Restored, DrillError> {
        let (repository, snapshot, _) = self.opened()?;
        let is_root = rustix::process::geteuid().is_root();
        let request = EngineRequest {
            to: request.to.to_owned(),
            paths: match request.picked {
                Picked::All => Vec::new(),
                Picked::Paths(paths) => paths.iter().cloned().collect(),
            },
            existing: Existing::Refuse,
            owner: if is_root { Owner::Restore } else { Owner::Keep },
            others: Others::Keep,
            mode: Mode::Write,
            // The sandbox is made for it, and may lie beside them.
            ours: Vec::new(),
        };
        let (events, heard) = bounded(1024);
        let stop = Cancel::new();
        let cx = Context {
            clock: Arc::clone(&self.site.cx.clock),
            progress: Arc::new(Relay(events)),
            cancel: stop.clone(),
            workers: self.site.cx.workers,
        };
        let outcome = std::thread::scope(|scope| {
            let request = &request;
            let restoring = scope.spawn(move || restore(repository, snapshot, request, Read::Medium, &cx));
            // Ends when the restore does: it holds the only sender.
            for event in heard {
                progress.event(event);
                if cancel.is_cancelled() {
                    stop.cancel();
                }
            }
            restoring.join().unwrap_or(Err(EngineError::Defect { what: "the restore of a drill" }))
        });
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(EngineError::Cancelled) => return Err(DrillError::Stopped("restoring")),
            Err(error) => return Err(DrillError::restore(fault_of(&error), "restoring", error)),
        };
        self.bytes += outcome.bytes_fetched;
        let unread = outcome.unread_at_backup.named.iter().filter(|_| outcome.not_stored > 0);
        let problems = outcome.failed.named.iter().chain(unread).take(PROBLEMS_MAX);
        Ok(Restored {
            files: outcome.files,
            bytes: outcome.bytes,
            // What the snapshot does not hold did not come back either.
            failed: outcome.failed.count + outcome.not_stored,
            problems: problems.map(|i| Problem { path: i.path.clone(), problem: i.reason.clone() }).collect(),
        })
    }

    fn reads(&self) -> Reads {
        Reads { bytes_from_target: self.bytes, used_local_cache: false }
    }
}

/// Hands the engine's events to the thread that runs the drill.
struct Relay(Sender<Event>);

impl Progress for Relay {
    fn event(&self, event: Event) {
        // The listener is there until the restore ends.
        drop(self.0.send(event));
    }
}
