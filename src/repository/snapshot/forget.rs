//! Removing snapshots from a target: first what confirms them, then themselves.
//!
//! The order is a safety rule. A snapshot without its confirmation is pending: nobody lists it as a
//! backup, and a sweep still keeps what it needs. A confirmation without its snapshot says that
//! somebody removed a backup behind our back, so the removal of the confirmations is made durable
//! before any snapshot goes. Stopped anywhere, nothing is half there: what is pending goes with a
//! prune once it is stale. What to remove is decided elsewhere, and so is what becomes of the packs.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use crate::base::cancel::Cancel;
use crate::base::error::{Class, Classified};
use crate::base::id::ObjectHash;
use crate::repository::access::Target;
use crate::repository::format::names::{SnapshotEntry, SnapshotName, parse_snapshot_name};
use crate::storage::contract::StorageError;

/// Rounds of listing and deleting: a copy under another nonce may come in between.
const ROUNDS_MAX: u32 = 3;

/// What was removed.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Snapshots that are gone.
    pub gone: Vec<ObjectHash>,
    /// Those that the place keeps, with its words.
    pub refused: Vec<(ObjectHash, StorageError)>,
}

/// All names of one snapshot.
#[derive(Default)]
struct Names {
    proposals: Vec<SnapshotName>,
    confirmations: Vec<SnapshotName>,
}

/// Removes these snapshots, under every name that they have here.
///
/// # Errors
/// Whatever the target says, but for a refusal to delete, which is told in the outcome. Cancelled,
/// it ends between two objects and says what is gone.
pub fn forget(
    target: &Target,
    ids: &HashSet<ObjectHash>,
    cancel: &Cancel,
) -> Result<Forgotten, StorageError> {
    let mut out = Forgotten::default();
    let mut refused: BTreeMap<ObjectHash, StorageError> = BTreeMap::new();
    let mut gone = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let mut left = names(target, ids)?;
        left.retain(|id, _| !refused.contains_key(id));
        if left.is_empty() || cancel.is_cancelled() {
            break;
        }
        remove(target, &left, &mut refused, cancel)?;
        gone.extend(left.into_keys());
    }
    // What a listing still shows is not gone, whatever the answers were.
    let left = names(target, ids)?;
    out.gone.extend(gone.into_iter().filter(|id| !left.contains_key(id)));
    out.gone.sort_unstable();
    out.refused.extend(refused);
    Ok(out)
}

fn names(target: &Target, ids: &HashSet<ObjectHash>) -> Result<BTreeMap<ObjectHash, Names>, StorageError> {
    let mut found: BTreeMap<ObjectHash, Names> = BTreeMap::new();
    target.storage.list("s/", &mut |stat| {
        match parse_snapshot_name(&stat.name) {
            Some(SnapshotEntry::Proposal(name)) if ids.contains(&name.id) => {
                found.entry(name.id).or_default().proposals.push(name);
            }
            Some(SnapshotEntry::Confirmation(name)) if ids.contains(&name.id) => {
                found.entry(name.id).or_default().confirmations.push(name);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn remove(
    target: &Target,
    names: &BTreeMap<ObjectHash, Names>,
    refused: &mut BTreeMap<ObjectHash, StorageError>,
    cancel: &Cancel,
) -> Result<(), StorageError> {
    let storage = target.storage.as_ref();
    for confirmations in [true, false] {
        for (id, names) in names {
            let objects = if confirmations { &names.confirmations } else { &names.proposals };
            for name in objects {
                if refused.contains_key(id) {
                    break;
                }
                if cancel.is_cancelled() {
                    return storage.sync();
                }
                let name = if confirmations { name.confirmation() } else { name.proposal() };
                match storage.delete(&name) {
                    Ok(()) => {}
                    Err(error) if error.class() == Class::Denied => {
                        refused.insert(*id, error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        storage.sync()?;
    }
    Ok(())
}
