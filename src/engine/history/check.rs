//! Whether what the places hold can be what was once there. Pure: what is listed, what was seen and
//! what the administrator removed are arguments.
//!
//! A snapshot is *gone* from a place where this machine saw it valid, or from everywhere when a
//! later one links to it, unless the administrator removed it. Snapshots link to the newest before
//! them, so that whoever takes one away has to take everything after it as well; and that is what
//! the memory, or another place, shows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::seen::{Mark, Marks, Seen};
use crate::repository::snapshots::Snapshot;

/// What one place holds.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Its label.
    pub place: String,
    /// Valid snapshots, those of checkpoints among them.
    pub snapshots: Vec<Known>,
    /// Valid ones that could not be read: they are there.
    pub unread: Vec<ObjectHash>,
}

/// What is known of a snapshot.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its id.
    pub id: ObjectHash,
    /// Who, which, when.
    pub mark: Mark,
    /// The snapshots it links to; none of one whose signature doesn't count.
    pub links: Vec<ObjectHash>,
    /// Whether it is the checkpoint of a run, which goes when the run is over.
    pub is_checkpoint: bool,
}

impl Here {
    /// From what a target was found to hold.
    pub fn new(place: &str, found: &[Snapshot], unread: impl IntoIterator<Item = ObjectHash>) -> Self {
        let known = |snapshot: &Snapshot| Known {
            id: snapshot.id,
            mark: Mark {
                writer: snapshot.writer,
                number: snapshot.number,
                captured_at: snapshot.body.captured_at,
            },
            links: if snapshot.signed { snapshot.links.clone() } else { Vec::new() },
            is_checkpoint: snapshot.body.kind == SnapshotKind::Checkpoint,
        };
        Self {
            place: place.to_owned(),
            snapshots: found.iter().map(known).collect(),
            unread: unread.into_iter().collect(),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ObjectHash> + '_ {
        self.snapshots.iter().map(|known| known.id).chain(self.unread.iter().copied())
    }

    /// Those that can be missed: a checkpoint goes when its run is over.
    fn lasting(&self) -> impl Iterator<Item = &Known> {
        self.snapshots.iter().filter(|known| !known.is_checkpoint)
    }
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    /// A snapshot went that nobody forgot: somebody deleted it, or put an older state back.
    Gone {
        /// Which.
        snapshot: ObjectHash,
        /// When it was taken, if that is known.
        captured_at: Option<Timestamp>,
        /// Where it was seen and is no more; nowhere when only a link speaks for it.
        from: Vec<String>,
        /// Where it still is.
        still: Vec<String>,
        /// A later snapshot that links to it.
        linked_by: Option<ObjectHash>,
    },
    /// A place lacks what others have and was never seen to have it: it lags, or was put back to an
    /// older state while nobody looked.
    Behind {
        /// Which.
        place: String,
        /// How many it lacks.
        snapshots: u64,
        /// When the newest of them was taken.
        newest: Timestamp,
    },
    /// One writer used a number twice: two runs at once, or a machine that was cloned.
    Twins {
        /// Who.
        writer: WriterId,
        /// The number.
        number: u64,
        /// The snapshots that have it.
        snapshots: Vec<ObjectHash>,
    },
}

impl Finding {
    /// Whether something was taken away.
    pub fn is_rollback(&self) -> bool {
        self.gone().is_some()
    }

    /// The snapshot that was taken away.
    pub fn gone(&self) -> Option<ObjectHash> {
        match self {
            Self::Gone { snapshot, .. } => Some(*snapshot),
            Self::Behind { .. } | Self::Twins { .. } => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { snapshot, captured_at, from, still, linked_by } => {
                write!(f, "snapshot {}", snapshot.short())?;
                if let Some(at) = captured_at {
                    write!(f, " of {}", at.readable())?;
                }
                if from.is_empty() {
                    f.write_str(" is nowhere here")?;
                } else {
                    write!(f, " is gone from {}", from.join(" and "))?;
                }
                f.write_str(", and nobody forgot it")?;
                match (linked_by, &still[..]) {
                    (_, [_, ..]) => write!(f, "; {} still has it", still.join(" and ")),
                    (Some(later), []) => write!(f, "; snapshot {} was made after it", later.short()),
                    (None, []) => Ok(()),
                }
            }
            Self::Behind { place, snapshots, newest } => write!(
                f,
                "{place} lacks {snapshots} snapshots that others have, the newest of {}",
                newest.readable()
            ),
            Self::Twins { writer, number, snapshots } => {
                let ids: Vec<String> = snapshots.iter().map(ObjectHash::short).collect();
                write!(
                    f,
                    "writer {} made snapshots {} with the same number {number}: two runs at once, or a machine that was cloned",
                    writer.short(),
                    ids.join(" and ")
                )
            }
        }
    }
}

/// Whether every place of the repository is among those that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All that the caller knows of.
    All,
    /// Some could not be asked: what is not here may be there.
    Part,
}

/// What was looked at, and what is held against it.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Each place.
    pub here: &'a [Here],
    /// What this machine saw before.
    pub seen: &'a Seen,
    /// Whether these are all places.
    pub sight: Sight,
}

impl Scene<'_> {
    /// Everything that does not add up. `explains` says of a snapshot whether the administrator
    /// removed it, and is asked only about those that are missing somewhere.
    pub fn findings(&self, explains: &dyn Fn(&ObjectHash) -> bool) -> Vec<Finding> {
        let mut homes: HashMap<ObjectHash, Vec<&str>> = HashMap::new();
        for here in self.here {
            for id in here.ids().collect::<BTreeSet<_>>() {
                homes.entry(id).or_default().push(&here.place);
            }
        }
        let mut gone = self.gone(&homes);
        gone.retain(|id, _| !explains(id));
        let mut findings: Vec<Finding> = Vec::new();
        for (snapshot, traces) in gone {
            let still: Vec<String> =
                homes.get(&snapshot).into_iter().flatten().map(|place| (*place).to_owned()).collect();
            findings.push(Finding::Gone {
                snapshot,
                captured_at: traces.captured_at,
                from: traces.from,
                still,
                linked_by: traces.linked_by,
            });
        }
        findings.extend(self.behind(&homes, explains));
        findings.extend(self.twins());
        findings
    }

    /// Snapshots that are missing where they were seen, or everywhere although one links to them.
    fn gone(&self, homes: &HashMap<ObjectHash, Vec<&str>>) -> BTreeMap<ObjectHash, Traces> {
        let mut gone: BTreeMap<ObjectHash, Traces> = BTreeMap::new();
        let nothing = Marks::new();
        for here in self.here {
            let ids: HashSet<ObjectHash> = here.ids().collect();
            let marks = self.seen.places.get(&here.place).unwrap_or(&nothing);
            for (id, mark) in marks.iter().filter(|(id, _)| !ids.contains(*id)) {
                let traces = gone.entry(*id).or_default();
                traces.captured_at = Some(mark.captured_at);
                traces.from.push(here.place.clone());
            }
        }
        let looked_at: HashSet<&str> = self.here.iter().map(|here| here.place.as_str()).collect();
        // Seen at a place that was not asked: it may well be there.
        let elsewhere: HashSet<ObjectHash> = self
            .seen
            .places
            .iter()
            .filter(|(place, _)| !looked_at.contains(place.as_str()))
            .flat_map(|(_, marks)| marks.keys().copied())
            .collect();
        for later in self.here.iter().flat_map(|here| &here.snapshots) {
            for id in later.links.iter().filter(|id| !homes.contains_key(*id)) {
                let may_be_away = self.sight == Sight::Part || elsewhere.contains(id);
                if may_be_away && !gone.contains_key(id) {
                    continue;
                }
                let traces = gone.entry(*id).or_default();
                let is_newer = |other: &(u64, ObjectHash)| (later.mark.number, later.id) > *other;
                if traces.newest_link.as_ref().is_none_or(is_newer) {
                    traces.newest_link = Some((later.mark.number, later.id));
                    traces.linked_by = Some(later.id);
                }
            }
        }
        gone
    }

    /// Places that lack what others have, beyond what was seen there once.
    fn behind(
        &self,
        homes: &HashMap<ObjectHash, Vec<&str>>,
        explains: &dyn Fn(&ObjectHash) -> bool,
    ) -> Vec<Finding> {
        let all: BTreeMap<ObjectHash, Timestamp> = self
            .here
            .iter()
            .flat_map(Here::lasting)
            .map(|known| (known.id, known.mark.captured_at))
            .collect();
        let mut findings = Vec::new();
        for here in self.here {
            let was_seen = |id: &ObjectHash| {
                self.seen.places.get(&here.place).is_some_and(|marks| marks.contains_key(id))
            };
            let lacks =
                |id: &ObjectHash| homes.get(id).is_none_or(|places| !places.contains(&here.place.as_str()));
            let missing = all.iter().filter(|(id, _)| lacks(id) && !was_seen(id) && !explains(id));
            let (mut snapshots, mut newest) = (0, None);
            for (_, at) in missing {
                snapshots += 1;
                newest = newest.max(Some(*at));
            }
            if let Some(newest) = newest {
                findings.push(Finding::Behind { place: here.place.clone(), snapshots, newest });
            }
        }
        findings
    }

    fn twins(&self) -> Vec<Finding> {
        let mut numbers: BTreeMap<(WriterId, u64), BTreeSet<ObjectHash>> = BTreeMap::new();
        for known in self.here.iter().flat_map(Here::lasting) {
            numbers.entry((known.mark.writer, known.mark.number)).or_default().insert(known.id);
        }
        let twins = numbers.into_iter().filter(|(_, ids)| ids.len() > 1);
        twins
            .map(|((writer, number), ids)| Finding::Twins {
                writer,
                number,
                snapshots: ids.into_iter().collect(),
            })
            .collect()
    }

    /// What to remember after this: everything that is valid now, and what is gone and was not
    /// explained, so that it is said again until it is.
    pub fn memory(&self, findings: &[Finding]) -> Seen {
        let mut seen = self.seen.clone();
        for here in self.here {
            let missed = |id: &ObjectHash| {
                findings.iter().any(|finding| {
                    matches!(finding, Finding::Gone { snapshot, from, .. }
                        if snapshot == id && from.contains(&here.place))
                })
            };
            let marks = seen.places.entry(here.place.clone()).or_default();
            let there: HashSet<ObjectHash> = here.ids().collect();
            marks.retain(|id, _| there.contains(id) || missed(id));
            marks.extend(here.lasting().map(|known| (known.id, known.mark)));
        }
        seen
    }
}

/// What speaks for a snapshot that is gone.
#[derive(Debug, Default)]
struct Traces {
    captured_at: Option<Timestamp>,
    from: Vec<String>,
    linked_by: Option<ObjectHash>,
    newest_link: Option<(u64, ObjectHash)>,
}
