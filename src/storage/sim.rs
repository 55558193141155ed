//! A machine that dies and media that misbehave, at an operation of one's choice, by a seed.
//!
//! Each place has two sides: what its readers see, and what outlives the power. The contract says
//! that a put has written its bytes and that the *name* is durable after `sync` alone; here this is
//! taken at its word. When the power goes, every change since the last `sync` is kept or lost by
//! the seed: any subset of them ([`Medium::Disk`]), or a beginning ([`Medium::Ordered`]). A
//! [`Medium::Store`] keeps what it acknowledged. Places of one machine count their operations
//! together and die together.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::contract::{Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError, could_begin_a_name};
use crate::base::clock::{Clock, Timestamp};
use crate::base::limits::PACK_BYTES_MAX;

/// Changes that a stale listing may not know yet.
const PAST_MAX: usize = 32;
/// Operations by which a repeated request comes late, at most.
const LATE_MAX: u64 = 24;

/// What is kept when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Any subset of the changes since the last sync: weaker than any file system in use.
    Disk,
    /// The changes up to some point, in their order: a journalling file system.
    Ordered,
    /// Everything that was acknowledged: an object store.
    Store,
}

/// What happens at an operation, or at the first one after it that it can happen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes, just before or just after the operation took effect.
    Crash,
    /// The operation fails without effect.
    Error,
    /// So do all after it.
    ErrorForGood,
    /// The medium is full from then on.
    Full,
    /// One bit of what is read is wrong.
    Flip,
    /// Another object's bytes are read.
    Misdirect,
    /// A listing doesn't know the last changes.
    StaleList,
    /// A change takes effect, and an error is answered.
    LoseAnswer,
    /// A put is carried out a second time, some operations later.
    LatePut,
    /// So is a delete.
    LateDelete,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified: Timestamp,
}

/// The object under a name from now on, or that there is none.
type Change = (ObjectName, Option<Object>);
type Objects = BTreeMap<ObjectName, Object>;

/// What a change does to an object that stands under its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    IsLeft,
    GoesAway,
}

#[derive(Default)]
struct Stock {
    live: Objects,
    durable: Objects,
    unsynced: Vec<Change>,
    /// What stood there before each of the last changes.
    past: Vec<Change>,
}

fn apply(objects: &mut Objects, (name, object): Change) -> Option<Object> {
    match object {
        Some(object) => objects.insert(name, object),
        None => objects.remove(&name),
    }
}

impl Stock {
    fn change(&mut self, change: Change) {
        self.unsynced.push(change.clone());
        let name = change.0.clone();
        let before = apply(&mut self.live, change);
        self.past.push((name, before));
        if self.past.len() > PAST_MAX {
            self.past.remove(0);
        }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, change);
        }
    }

    fn stale(&self, draw: u64) -> Objects {
        let mut objects = self.live.clone();
        let unknown = usize::try_from(draw).unwrap_or(0) % self.past.len().max(1) + 1;
        for change in self.past.iter().rev().take(unknown) {
            apply(&mut objects, change.clone());
        }
        objects
    }
}

struct State {
    seed: u64,
    medium: Medium,
    stocks: Vec<Stock>,
    operations: u64,
    plan: Option<(u64, Fault)>,
    has_struck: bool,
    is_dead: bool,
    /// Requests that are carried out once more, at which operation and where.
    late: Vec<(u64, usize, Change)>,
}

impl State {
    /// The next number of the seed's sequence (SplitMix64, Steele, Lea and Flood 2014).
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.draw() & 1 == 1
    }

    fn cut_power(&mut self) {
        for number in 0..self.stocks.len() {
            let pending = std::mem::take(&mut self.stocks[number].unsynced);
            let beginning = usize::try_from(self.draw()).unwrap_or(0) % (pending.len() + 1);
            for (at, change) in pending.into_iter().enumerate() {
                let is_kept = match self.medium {
                    Medium::Disk => self.coin(),
                    Medium::Ordered => at < beginning,
                    Medium::Store => true,
                };
                if is_kept {
                    apply(&mut self.stocks[number].durable, change);
                }
            }
            let stock = &mut self.stocks[number];
            stock.live = stock.durable.clone();
            stock.past.clear();
        }
        self.late.clear();
    }

    fn carry_out_late(&mut self, until: u64) {
        let (due, rest) = std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= until);
        self.late = rest;
        let due: Vec<(u64, usize, Change)> = due;
        for (_, place, change) in due {
            // A put is create-only, however late it comes.
            if change.1.is_none() || !self.stocks[place].live.contains_key(&change.0) {
                self.stocks[place].change(change);
            }
        }
    }

    /// Whether an object stands in the way of a change that leaves what stands.
    fn is_left(&self, place: usize, standing: Standing, change: &Change) -> bool {
        standing == Standing::IsLeft && self.stocks[place].live.contains_key(&change.0)
    }

    /// Whether this fault strikes the operation at hand.
    fn strikes(&mut self, fault: Fault) -> bool {
        let again = matches!(fault, Fault::ErrorForGood | Fault::Full);
        let strikes = self.plan.is_some_and(|(at, planned)| {
            planned == fault && self.operations >= at && (again || !self.has_struck)
        });
        self.has_struck |= strikes;
        strikes
    }

    fn later(&mut self, place: usize, change: Change) {
        let at = self.operations + 1 + self.draw() % LATE_MAX;
        self.late.push((at, place, change));
    }
}

/// What places have in common: the power, the count of operations, the seed.
pub struct Machine {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Machine {
    /// Without places, whose objects will be dated by this clock.
    pub fn new(seed: u64, medium: Medium, clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = State {
            seed,
            medium,
            stocks: Vec::new(),
            operations: 0,
            plan: None,
            has_struck: false,
            is_dead: false,
            late: Vec::new(),
        };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    /// A place on which these objects stand, durable.
    pub fn place(self: &Arc<Self>, objects: impl IntoIterator<Item = (ObjectName, Bytes)>) -> Arc<SimPlace> {
        let modified = self.clock.now();
        let objects = objects.into_iter().map(|(name, bytes)| (name, Object { bytes, modified }));
        let live: Objects = objects.collect();
        let mut state = self.state();
        let number = state.stocks.len();
        state.stocks.push(Stock { durable: live.clone(), live, ..Stock::default() });
        Arc::new(SimPlace { machine: Arc::clone(self), number, label: format!("sim:{number}") })
    }

    /// Plans a fault for the operation of that number, counted from now on, from 1.
    pub fn plan(&self, at: u64, fault: Fault) {
        let mut state = self.state();
        state.operations = 0;
        state.has_struck = false;
        state.plan = Some((at, fault));
    }

    /// Operations begun since the last plan.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether the planned fault happened.
    pub fn has_struck(&self) -> bool {
        self.state().has_struck
    }

    /// The power goes, here and now, unless it is gone already.
    pub fn cut_power(&self) {
        let mut state = self.state();
        if !state.is_dead {
            state.cut_power();
            state.is_dead = true;
        }
    }

    /// Everything works again, and what is late comes now.
    pub fn start(&self) {
        let mut state = self.state();
        state.is_dead = false;
        state.plan = None;
        state.carry_out_late(u64::MAX);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Changes are single insertions and removals, so a panicking holder leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of a machine.
pub struct SimPlace {
    machine: Arc<Machine>,
    number: usize,
    label: String,
}

impl SimPlace {
    fn failed(&self, action: &str, why: &'static str) -> StorageError {
        StorageError::Io {
            place: self.label.clone(),
            action: action.to_owned(),
            source: std::io::Error::other(why),
        }
    }

    /// Counts an operation; `effect` is what it would change.
    fn begin(
        &self,
        action: &str,
        effect: Option<(Standing, &Change)>,
    ) -> Result<MutexGuard<'_, State>, StorageError> {
        let mut state = self.machine.state();
        if state.is_dead {
            return Err(self.failed(action, "the machine is dead"));
        }
        state.operations += 1;
        let operations = state.operations;
        state.carry_out_late(operations);
        if state.strikes(Fault::Crash) {
            if let Some((standing, effect)) = effect
                && state.coin()
                && !state.is_left(self.number, standing, effect)
            {
                state.stocks[self.number].change(effect.clone());
            }
            state.cut_power();
            state.is_dead = true;
            return Err(self.failed(action, "the power went"));
        }
        if state.strikes(Fault::Error) || state.strikes(Fault::ErrorForGood) {
            return Err(self.failed(action, "a planned error"));
        }
        Ok(state)
    }

    fn object(&self, bytes: &[u8]) -> Object {
        // A copy, as a disk has it: what stays would keep the writer's buffer from coming back.
        Object { bytes: Bytes::copy_from_slice(bytes), modified: self.machine.clock.now() }
    }

    fn change(&self, action: &str, standing: Standing, change: Change) -> Result<Put, StorageError> {
        let mut state = self.begin(action, Some((standing, &change)))?;
        if state.is_left(self.number, standing, &change) {
            return Ok(Put::Existing);
        }
        if change.1.is_some() && state.strikes(Fault::Full) {
            return Err(StorageError::NoSpace { place: self.label.clone(), name: change.0 });
        }
        let repeated = if change.1.is_some() { Fault::LatePut } else { Fault::LateDelete };
        if state.strikes(repeated) {
            state.later(self.number, change.clone());
        }
        state.stocks[self.number].change(change);
        if state.strikes(Fault::LoseAnswer) {
            return Err(self.failed(action, "the answer was lost"));
        }
        Ok(Put::Created)
    }
}

fn len_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn stat(name: &ObjectName, object: &Object) -> Stat {
    Stat { name: name.clone(), bytes: len_of(&object.bytes), modified: object.modified }
}

impl Storage for SimPlace {
    fn label(&self) -> &str {
        &self.label
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.change(&format!("writing {name}"), Standing::IsLeft, (name.clone(), Some(self.object(&bytes))))
    }

    fn replace(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StorageError> {
        let change = (name.clone(), Some(self.object(&bytes)));
        self.change(&format!("replacing {name}"), Standing::GoesAway, change).map(drop)
    }

    fn get(&self, name: &ObjectName, span: Span, _read: Read) -> Result<Bytes, StorageError> {
        let mut state = self.begin(&format!("reading {name}"), None)?;
        let absent = || StorageError::NotFound { place: self.label.clone(), name: name.clone() };
        let mut bytes = state.stocks[self.number].live.get(name).ok_or_else(absent)?.bytes.clone();
        if state.stocks[self.number].live.len() > 1 && state.strikes(Fault::Misdirect) {
            let at = usize::try_from(state.draw() >> 1).unwrap_or(0);
            let live = &state.stocks[self.number].live;
            let other = live.iter().filter(|(other, _)| *other != name).nth(at % (live.len() - 1));
            bytes = other.map_or(bytes, |(_, object)| object.bytes.clone());
        }
        let (offset, len) = span.within(len_of(&bytes));
        let (Ok(offset), Ok(len)) = (usize::try_from(offset), usize::try_from(len)) else {
            return Err(self.failed("reading", "a length"));
        };
        if len > PACK_BYTES_MAX {
            let bytes = u64::try_from(len).unwrap_or(u64::MAX);
            return Err(StorageError::TooLong { place: self.label.clone(), name: name.clone(), bytes });
        }
        let bytes = bytes.slice(offset..offset + len);
        if !bytes.is_empty() && state.strikes(Fault::Flip) {
            let bit = usize::try_from(state.draw() >> 1).unwrap_or(0) % (bytes.len() * 8);
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            return Ok(bytes.into());
        }
        Ok(bytes)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        let state = self.begin(&format!("looking at {name}"), None)?;
        Ok(state.stocks[self.number].live.get(name).map(|object| stat(name, object)))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        let found: Vec<Stat> = {
            let mut state = self.begin(&format!("listing {prefix}"), None)?;
            if !could_begin_a_name(prefix) {
                return Ok(());
            }
            let has_past = !state.stocks[self.number].past.is_empty();
            let seen = if has_past && state.strikes(Fault::StaleList) {
                let draw = state.draw() >> 1;
                state.stocks[self.number].stale(draw)
            } else {
                state.stocks[self.number].live.clone()
            };
            let wanted = seen.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
            wanted.map(|(name, object)| stat(name, object)).collect()
        };
        for stat in found {
            if visit(stat).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.change(&format!("deleting {name}"), Standing::GoesAway, (name.clone(), None)).map(drop)
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.begin("making durable", None)?;
        state.stocks[self.number].sync();
        Ok(())
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        Ok(Facts { versioning: Some(false), object_lock: Some(false), checksums: true, looks_first: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::storage::conformance;
    use crate::storage::contract::list_all;

    fn machine(seed: u64, medium: Medium) -> Arc<Machine> {
        Machine::new(seed, medium, Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_800_000_000_000))))
    }

    fn name(number: usize) -> ObjectName {
        ObjectName::new(format!("n/{number}")).expect("a name")
    }

    #[test]
    fn a_simulated_place_keeps_the_contract() {
        conformance::run(|| machine(1, Medium::Disk).place([]));
    }

    /// What of two synced and six other objects outlives the power.
    fn kept(seed: u64, medium: Medium) -> Vec<usize> {
        let machine = machine(seed, medium);
        let place = machine.place([]);
        for number in 0..8 {
            place.put_new(&name(number), Bytes::from_static(b"x")).expect("put");
            if number == 1 {
                place.sync().expect("synced");
            }
        }
        machine.cut_power();
        assert!(place.head(&name(0)).is_err(), "a dead machine answers");
        machine.start();
        let left = list_all(place.as_ref(), "n/").expect("listed");
        (0..8).filter(|number| left.iter().any(|stat| stat.name == name(*number))).collect()
    }

    #[test]
    fn the_power_takes_only_what_was_not_synced_the_same_for_the_same_seed() {
        let mut has_hole = false;
        for seed in 0..64 {
            let weak = kept(seed, Medium::Disk);
            assert_eq!(weak, kept(seed, Medium::Disk), "seed {seed}");
            assert!(weak.starts_with(&[0, 1]), "seed {seed}: {weak:?}");
            has_hole |= weak.iter().enumerate().any(|(at, number)| at != *number);
            let ordered = kept(seed, Medium::Ordered);
            assert!(ordered.len() >= 2 && ordered.iter().enumerate().all(|(at, number)| at == *number));
            assert_eq!(kept(seed, Medium::Store).len(), 8);
        }
        assert!(has_hole, "a weak disk loses in any order");
    }

    #[test]
    fn a_planned_fault_strikes_once_at_its_operation() {
        let machine = machine(5, Medium::Store);
        let place =
            machine.place([(name(1), Bytes::from_static(b"one")), (name(2), Bytes::from_static(b"two"))]);
        machine.plan(2, Fault::Misdirect);
        let read = || place.get(&name(1), Span::Whole, Read::Quick).expect("read");
        assert_eq!([read(), read(), read()], [&b"one"[..], &b"two"[..], &b"one"[..]]);
        machine.plan(1, Fault::LoseAnswer);
        assert!(place.put_new(&name(3), Bytes::from_static(b"three")).is_err());
        assert!(place.head(&name(3)).expect("answered").is_some(), "it took effect all the same");
        machine.plan(1, Fault::StaleList);
        assert_eq!(list_all(place.as_ref(), "n/").expect("listed").len(), 2);
        assert_eq!(list_all(place.as_ref(), "n/").expect("listed").len(), 3);
    }
}
