//! A storage that breaks things on purpose, the same way for the same seed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::contract::{Distance, Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use super::guard::Guard;
use crate::base::clock::Clock;

/// What to break and how often. Operations are counted from 1, all kinds together.
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    /// The same seed breaks the same operations when they come in the same order.
    pub seed: u64,
    /// Fail for the moment, without effect.
    pub fail_per_mille: u32,
    /// Take effect, then fail for the moment: the answer is lost.
    pub lose_answer_per_mille: u32,
    /// Break a listing off at a name.
    pub break_list_per_mille: u32,
    /// Leave names out of a listing, without a word.
    pub hide_in_list_per_mille: u32,
    /// Give fewer bytes than asked for, without a word.
    pub truncate_per_mille: u32,
    /// Flip one bit of the bytes read, without a word.
    pub flip_per_mille: u32,
    /// Let this much time pass in each operation.
    pub delay: Duration,
    /// Fail this operation for the moment, without effect.
    pub fail_of: Option<u64>,
    /// Let this operation take effect and lose its answer.
    pub lose_answer_of: Option<u64>,
    /// From the operation after this one on, nothing works: the machine is dead.
    pub stop_after: Option<u64>,
}

impl FaultPlan {
    /// Nothing is broken; the start of every plan.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            fail_per_mille: 0,
            lose_answer_per_mille: 0,
            break_list_per_mille: 0,
            hide_in_list_per_mille: 0,
            truncate_per_mille: 0,
            flip_per_mille: 0,
            delay: Duration::ZERO,
            fail_of: None,
            lose_answer_of: None,
            stop_after: None,
        }
    }

    /// Nothing is broken until the machine dies after that many operations.
    pub fn stop_after(operations: u64) -> Self {
        Self { stop_after: Some(operations), ..Self::quiet(0) }
    }
}

/// Passes operations on and breaks some of them.
pub struct Fault {
    inner: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    plan: FaultPlan,
    operations: AtomicU64,
    draws: AtomicU64,
}

impl Fault {
    /// Around a storage.
    pub fn new(inner: Arc<dyn Storage>, clock: Arc<dyn Clock>, plan: FaultPlan) -> Self {
        Self { inner, clock, plan, operations: AtomicU64::new(0), draws: AtomicU64::new(0) }
    }

    /// How many operations were begun.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    /// The next number of the seed's sequence (SplitMix64, Steele, Lea and Flood 2014).
    fn draw(&self) -> u64 {
        let step = self.draws.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        let mut z = self.plan.seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.draw() % 1000 < u64::from(per_mille)
    }

    fn passing(&self, reason: &str) -> StorageError {
        StorageError::Transient {
            place: self.label().to_owned(),
            action: "an operation".to_owned(),
            reason: format!("{reason} (seed {})", self.plan.seed),
            wait: None,
        }
    }

    fn operation<T>(&self, call: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        if self.plan.stop_after.is_some_and(|last| number > last) {
            return Err(StorageError::Io {
                place: self.label().to_owned(),
                action: format!("operation {number}"),
                source: std::io::Error::other("the machine is dead"),
            });
        }
        if !self.plan.delay.is_zero() {
            self.clock.sleep(self.plan.delay);
        }
        if self.plan.fail_of == Some(number) || self.happens(self.plan.fail_per_mille) {
            return Err(self.passing("a planned failure"));
        }
        let done = call()?;
        if self.plan.lose_answer_of == Some(number) || self.happens(self.plan.lose_answer_per_mille) {
            return Err(self.passing("a planned loss of the answer"));
        }
        Ok(done)
    }

    fn spoil(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let index = || usize::try_from(self.draw() % len).unwrap_or(0);
        if self.happens(self.plan.truncate_per_mille) {
            return bytes.slice(..index());
        }
        if self.happens(self.plan.flip_per_mille) {
            let mut bytes = bytes.to_vec();
            bytes[index()] ^= 1 << (self.draw() % 8);
            return bytes.into();
        }
        bytes
    }
}

impl Storage for Fault {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.operation(|| self.inner.put_new(name, bytes))
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.operation(|| self.inner.get(name, span, read)).map(|bytes| self.spoil(bytes))
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.operation(|| self.inner.head(name))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.list_after(prefix, None, visit)
    }

    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.operation(|| {
            let mut broken = false;
            let mut ended = false;
            self.inner.list_after(prefix, after, &mut |stat| {
                if self.happens(self.plan.hide_in_list_per_mille) {
                    return ControlFlow::Continue(());
                }
                broken = self.happens(self.plan.break_list_per_mille);
                if broken {
                    return ControlFlow::Break(());
                }
                let flow = visit(stat);
                ended = flow.is_break();
                flow
            })?;
            if broken && !ended { Err(self.passing("a listing broken off")) } else { Ok(()) }
        })
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.operation(|| self.inner.delete(name))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.operation(|| self.inner.sync())
    }

    fn guard(&self) -> Option<&dyn Guard> {
        self.inner.guard()
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        self.operation(|| self.inner.facts())
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }

    fn keep_room(&self) -> Result<(), StorageError> {
        self.inner.keep_room()
    }

    fn give_room(&self) -> Result<bool, StorageError> {
        self.inner.give_room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Timestamp};
    use crate::storage::memory::MemoryStorage;

    fn broken(plan: FaultPlan) -> Fault {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let memory = Arc::new(MemoryStorage::new());
        memory.put_new(&name(), Bytes::from(vec![7; 100])).expect("put");
        Fault::new(memory, clock, plan)
    }

    fn name() -> ObjectName {
        "a".parse().expect("a name")
    }

    #[test]
    fn the_same_seed_breaks_the_same_operations() {
        let history = |seed| -> Vec<bool> {
            let fault = broken(FaultPlan { fail_per_mille: 500, ..FaultPlan::quiet(seed) });
            (0..64).map(|_| fault.head(&name()).is_ok()).collect()
        };
        assert_eq!(history(1), history(1));
        assert_ne!(history(1), history(2));
        assert!(history(1).contains(&true) && history(1).contains(&false));
    }

    #[test]
    fn nothing_works_after_the_stop() {
        let fault = broken(FaultPlan::stop_after(2));
        assert!(fault.head(&name()).is_ok());
        assert!(fault.sync().is_ok());
        assert!(fault.put_new(&"b".parse().expect("a name"), Bytes::new()).is_err());
        assert!(fault.get(&name(), Span::Whole, Read::Quick).is_err());
        assert_eq!(fault.operations(), 4);
    }

    #[test]
    fn reads_lie_when_they_are_told_to() {
        let get = |plan| broken(plan).get(&name(), Span::Whole, Read::Quick).expect("get");
        assert!(get(FaultPlan { truncate_per_mille: 1000, ..FaultPlan::quiet(3) }).len() < 100);
        let flipped = get(FaultPlan { flip_per_mille: 1000, ..FaultPlan::quiet(3) });
        assert_eq!(flipped.iter().map(|byte| (byte ^ 7).count_ones()).sum::<u32>(), 1);
    }
}
