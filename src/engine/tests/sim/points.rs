//! Places whose operations have names, and one of which something happens at.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::between::Deed;
use crate::storage::contract::{ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use crate::storage::sim::SimPlace;

/// Whether it happens just before the operation takes effect or just after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The process is gone: nothing that it still tries has an effect.
    Kill,
    /// The operation answers an error.
    Error,
    /// The thread panics.
    Panic,
    /// It is held up until others have done what they want to.
    Delay,
}

/// At which step, on which occasion (counted from 1), and what.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) step: String,
    pub(super) occasion: u64,
    pub(super) side: Side,
    pub(super) act: Act,
}

/// What the places of a work share: the names that came, and what is planned.
#[derive(Default)]
pub(super) struct Points {
    seen: Mutex<BTreeMap<String, u64>>,
    plan: Option<Plan>,
    delay: Mutex<Option<Deed<'static>>>,
    is_dead: AtomicBool,
    has_struck: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panics here was told to, between two changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Points {
    /// Only notes names.
    pub(super) fn watching() -> Arc<Self> {
        Arc::default()
    }

    /// `delay` is what others do when the plan is a delay.
    pub(super) fn planned(plan: Plan, delay: Deed<'static>) -> Arc<Self> {
        Arc::new(Self { plan: Some(plan), delay: Mutex::new(Some(delay)), ..Self::default() })
    }

    /// The steps that came, and how often each.
    pub(super) fn seen(&self) -> BTreeMap<String, u64> {
        lock(&self.seen).clone()
    }

    pub(super) fn has_struck(&self) -> bool {
        self.has_struck.load(Ordering::SeqCst)
    }

    /// A place of which every operation is a named step.
    pub(super) fn at(self: &Arc<Self>, number: usize, place: Arc<SimPlace>) -> Arc<dyn Storage> {
        Arc::new(Pointed { points: Arc::clone(self), number, place })
    }
}

/// What an object is, by its name.
fn kind(name: &str) -> &'static str {
    let ends = |end| name.ends_with(end);
    match name.split_once('/').map_or(name, |(folder, _)| folder) {
        "p" => "data pack",
        "m" => "metadata pack",
        "i" => "index run",
        "s" if ends(".ok") => "confirmation",
        "s" => "snapshot",
        "g" if name.contains(".done-") => "done mark",
        "g" => "plan",
        "f" => "forget request",
        "keys" => "keys",
        "repo.fmt" => "format",
        "" => "everything",
        _ => "other",
    }
}

struct Pointed {
    points: Arc<Points>,
    number: usize,
    place: Arc<SimPlace>,
}

impl Pointed {
    fn error(&self, what: &str) -> StorageError {
        StorageError::Io {
            place: self.place.label().to_owned(),
            action: what.to_owned(),
            source: std::io::Error::other("a planned error"),
        }
    }

    /// An operation, with whatever is planned for it.
    fn step<T>(
        &self,
        what: &str,
        object: &str,
        effect: impl FnOnce(&SimPlace) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let points = &self.points;
        if points.is_dead.load(Ordering::SeqCst) {
            return Err(self.error(what));
        }
        let step = format!("{} {what} {object}", self.number).trim_end().to_owned();
        let occasion = {
            let mut seen = lock(&points.seen);
            let count = seen.entry(step.clone()).or_default();
            *count += 1;
            *count
        };
        let Some(plan) = points.plan.as_ref().filter(|plan| plan.step == step && plan.occasion == occasion)
        else {
            return effect(&self.place);
        };
        points.has_struck.store(true, Ordering::SeqCst);
        match plan.side {
            Side::Before => {
                self.act(plan, what)?;
                effect(&self.place)
            }
            Side::After => {
                let done = effect(&self.place);
                self.act(plan, what)?;
                done
            }
        }
    }

    fn act(&self, plan: &Plan, what: &str) -> Result<(), StorageError> {
        match plan.act {
            Act::Kill => {
                self.points.is_dead.store(true, Ordering::SeqCst);
                Err(self.error(what))
            }
            Act::Error => Err(self.error(what)),
            Act::Panic => panic!("a planned panic at {}", plan.step),
            Act::Delay => {
                let deed = lock(&self.points.delay).take();
                deed.into_iter().for_each(|deed| deed());
                Ok(())
            }
        }
    }
}

impl Storage for Pointed {
    fn label(&self) -> &str {
        self.place.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.step("put", kind(name.as_str()), |place| place.put_new(name, bytes))
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.step("read", kind(name.as_str()), |place| place.get(name, span, read))
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.step("look at", kind(name.as_str()), |place| place.head(name))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.step("list", kind(prefix), |place| place.list(prefix, visit))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.step("delete", kind(name.as_str()), |place| place.delete(name))
    }

    fn replace(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StorageError> {
        self.step("replace", kind(name.as_str()), |place| place.replace(name, bytes))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.step("sync", "", |place| place.sync())
    }
}
