//! Plans whose bytes are not what their names say. Nobody can tell what such a plan names, so nobody
//! relies on anything at the place while it stands; and nobody can carry it out, so by itself it would
//! stand for ever.
//!
//! A prune that finds one puts a mark beside it, and one that finds a mark older than the tail takes
//! the plan away. That is safe for the reason that ends sweeps: whoever read the plan while it was
//! whole looks at it again before it deletes for longer than an hour, and cannot any more; so by the end
//! of the tail no DELETE that rests on it is under way (docs/format.md, "Sweep"). A plan that is whole
//! after all loses its marks before anybody obeys it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::SweepError;
use super::steps::{Step, Sweeping};
use super::sweeper::TAIL_MIN;
use crate::base::clock::Timestamp;
use crate::base::entropy;
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::repository::format::names::{content_hash, hurt_name, plan_of_done, plan_of_hurt};
use crate::storage::contract::{ObjectName, Read, Span, Stat, StorageError, list_all};

/// A plan must have come back with wrong bytes this often at a time.
const READS: usize = 3;

/// Marks damaged plans, and takes away those that were marked for longer than the tail.
///
/// # Errors
/// `DamagedPlan` while one has to stay; whatever the target says.
pub fn retire_damaged_plans(cx: &Sweeping<'_>, grace: Duration, now: Timestamp) -> Result<(), SweepError> {
    let storage = cx.target.storage.as_ref();
    let listed = list_all(storage, "g/")?;
    let mut marks: BTreeMap<ObjectName, Vec<&Stat>> = BTreeMap::new();
    for stat in &listed {
        if let Some(plan) = plan_of_hurt(&stat.name) {
            marks.entry(plan).or_default().push(stat);
        }
    }
    let mut waits = None;
    for stat in &listed {
        let is_plan = plan_of_hurt(&stat.name).is_none() && plan_of_done(&stat.name).is_none();
        let Some(expected) = content_hash(&stat.name).filter(|_| is_plan) else { continue };
        let of_plan = marks.remove(&stat.name).unwrap_or_default();
        if !is_damaged(cx, &stat.name, &expected)? {
            remove(cx, of_plan.iter().map(|mark| &mark.name))?;
            continue;
        }
        let tail = grace.max(TAIL_MIN);
        let since = of_plan.iter().map(|mark| mark.modified).min();
        let until = since.unwrap_or(now).plus(tail);
        if since.is_some() && until <= now {
            let done = listed.iter().filter(|mark| plan_of_done(&mark.name).as_ref() == Some(&stat.name));
            remove(cx, std::iter::once(&stat.name))?;
            remove(cx, of_plan.iter().copied().chain(done).map(|mark| &mark.name))?;
            cx.progress.warn(format!(
                "{}: the damaged sweep plan {} was taken away; what it had left to remove is looked for anew",
                cx.target.name, stat.name
            ));
            cx.reached(Step::PlanEnded)?;
            continue;
        }
        if since.is_none() {
            let mark = hurt_name(&stat.name, entropy::random());
            cx.put_small(cx.target, &mark, Bytes::copy_from_slice(expected.as_bytes()), "a mark")?;
            storage.sync()?;
        }
        waits = waits.or(Some((stat.name.to_string(), until)));
    }
    // Of plans that ended.
    remove(cx, marks.values().flatten().map(|mark| &mark.name))?;
    match waits {
        Some((plan, until)) => {
            Err(SweepError::DamagedPlan { place: cx.place(), plan, until: until.readable() })
        }
        None => Ok(()),
    }
}

/// Whether other bytes come back, again and again; a medium that gives none is no proof.
fn is_damaged(cx: &Sweeping<'_>, name: &ObjectName, expected: &ObjectHash) -> Result<bool, SweepError> {
    for _ in 0..READS {
        match cx.target.storage.get(name, Span::Whole, Read::Quick) {
            Ok(bytes) if hash::object(&bytes) == *expected => return Ok(false),
            Ok(_) => {}
            // It ended since it was listed.
            Err(StorageError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn remove<'n>(cx: &Sweeping<'_>, names: impl Iterator<Item = &'n ObjectName>) -> Result<(), SweepError> {
    let mut any = false;
    for name in names {
        cx.target.storage.delete(name)?;
        any = true;
    }
    if any {
        cx.target.storage.sync()?;
    }
    Ok(())
}
