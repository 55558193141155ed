//! The one place that repeats: passing faults are tried again until a budget is spent.
//!
//! Exponential pauses with full jitter, so that many clients don't come back at one moment
//! (the AWS Architecture Blog, "Exponential Backoff And Jitter", 2015). A store that names a
//! pause gets it. `NotFound` is an answer and is never repeated. A place that has never answered
//! gets a short budget: its address is more likely wrong than its server restarting.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::contract::{Distance, Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use super::guard::Guard;
use crate::base::clock::Clock;
use crate::base::entropy;
use crate::base::limits::{FIRST_CONTACT_SECONDS, RETRY_BUDGET_SECONDS};

/// Objects up to this size are read back to find out whose they are.
const COMPARED_BYTES_MAX: usize = 64 * 1024;

/// How long and how often to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first pause is at most this; each further one at most twice the one before.
    pub first: Duration,
    /// No pause of our own choice is longer.
    pub longest: Duration,
    /// All attempts and pauses of one operation; a listing that got on starts anew.
    pub budget: Duration,
    /// The same while the place has not done or refused anything yet.
    pub first_contact: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            budget: Duration::from_secs(RETRY_BUDGET_SECONDS),
            first_contact: Duration::from_secs(FIRST_CONTACT_SECONDS),
        }
    }
}

/// Repeats what failed for the moment; the last failure within the budget comes out as `Unreachable`.
pub struct Retry {
    inner: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    policy: RetryPolicy,
    has_answered: AtomicBool,
}

impl Retry {
    /// Around a storage.
    pub fn new(inner: Arc<dyn Storage>, clock: Arc<dyn Clock>, policy: RetryPolicy) -> Self {
        Self { inner, clock, policy, has_answered: AtomicBool::new(false) }
    }

    fn begin(&self) -> Attempts {
        Attempts { failed: 0, started: self.clock.monotonic() }
    }

    /// Waits before the next attempt, or says that there is none.
    fn pause(&self, attempts: &mut Attempts, error: StorageError) -> Result<(), StorageError> {
        let StorageError::Transient { place, action, reason, wait } = error else {
            self.note_answer();
            return Err(error);
        };
        let ceiling = self.policy.first.saturating_mul(1 << attempts.failed.min(16)).min(self.policy.longest);
        let pause = wait.unwrap_or(Duration::ZERO).max(jittered(ceiling));
        attempts.failed += 1;
        let spent = self.clock.monotonic().saturating_sub(attempts.started);
        let has_answered = self.has_answered.load(Ordering::Relaxed);
        let budget =
            if has_answered { self.policy.budget } else { self.policy.first_contact.min(self.policy.budget) };
        if spent.saturating_add(pause) > budget {
            let reason =
                format!("{action} failed {} times in {} s: {reason}", attempts.failed, spent.as_secs());
            return Err(StorageError::Unreachable { place, reason });
        }
        self.clock.sleep(pause);
        Ok(())
    }

    fn note_answer(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    fn repeat<T>(&self, call: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut attempts = self.begin();
        loop {
            match call() {
                Err(error) => self.pause(&mut attempts, error)?,
                done => {
                    self.note_answer();
                    return done;
                }
            }
        }
    }

    /// Whether an object that was there after an attempt of ours broke off is the one we wrote.
    /// Small ones are compared, because of `repo.fmt` it matters who made it; large ones are named
    /// by their bytes, so their length is enough.
    fn is_ours(&self, name: &ObjectName, bytes: &Bytes) -> Result<bool, StorageError> {
        if bytes.len() <= COMPARED_BYTES_MAX {
            return Ok(self.get(name, Span::Whole, Read::Quick)? == bytes);
        }
        let found = self.head(name)?.and_then(|stat| usize::try_from(stat.bytes).ok());
        Ok(found == Some(bytes.len()))
    }
}

struct Attempts {
    failed: u32,
    started: Duration,
}

/// Anything from a thousandth to all of it, evenly.
fn jittered(ceiling: Duration) -> Duration {
    ceiling.saturating_mul(entropy::below(1000) + 1) / 1000
}

impl Storage for Retry {
    fn label(&self) -> &str {
        self.inner.label()
    }

    /// As the contract; `Created` also for an object that an attempt of ours made before its answer
    /// was lost.
    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        let mut attempts = self.begin();
        loop {
            match self.inner.put_new(name, bytes.clone()) {
                Ok(Put::Existing) if attempts.failed > 0 && self.is_ours(name, &bytes)? => {
                    return Ok(Put::Created);
                }
                Err(error) => self.pause(&mut attempts, error)?,
                done => {
                    self.note_answer();
                    return done;
                }
            }
        }
    }

    /// As the contract: each attempt has a name of its own.
    fn put_fresh(
        &self,
        name: &mut dyn FnMut() -> ObjectName,
        bytes: Bytes,
    ) -> Result<ObjectName, StorageError> {
        let mut attempts = self.begin();
        loop {
            match self.inner.put_fresh(name, bytes.clone()) {
                Err(error) => self.pause(&mut attempts, error)?,
                done => {
                    self.note_answer();
                    return done;
                }
            }
        }
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        self.repeat(|| self.inner.get(name, span, read))
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.repeat(|| self.inner.head(name))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.list_after(prefix, None, visit)
    }

    /// Goes on where it broke off; no name is visited twice.
    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut attempts = self.begin();
        let mut last = after.cloned();
        let mut enough = false;
        loop {
            let from = last.clone();
            let listed = self.inner.list_after(prefix, from.as_ref(), &mut |stat| {
                last = Some(stat.name.clone());
                let flow = visit(stat);
                enough = flow.is_break();
                flow
            });
            // Who has enough got what was asked for, whatever happened to the rest.
            let Err(error) = listed else {
                self.note_answer();
                return Ok(());
            };
            if enough {
                return Ok(());
            }
            if last != from {
                self.note_answer();
                attempts = self.begin();
            }
            self.pause(&mut attempts, error)?;
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.repeat(|| self.inner.delete(name))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.repeat(|| self.inner.sync())
    }

    fn guard(&self) -> Option<&dyn Guard> {
        self.inner.guard()
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        self.repeat(|| self.inner.facts())
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
    use crate::storage::conformance;
    use crate::storage::contract::list_all;
    use crate::storage::fault::{Fault, FaultPlan};
    use crate::storage::memory::MemoryStorage;

    fn over(plan: FaultPlan) -> (Retry, Arc<ManualClock>, Arc<MemoryStorage>) {
        with(RetryPolicy::default(), plan)
    }

    fn with(policy: RetryPolicy, plan: FaultPlan) -> (Retry, Arc<ManualClock>, Arc<MemoryStorage>) {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let memory = Arc::new(MemoryStorage::with_clock(clock.clone()));
        let fault = Arc::new(Fault::new(memory.clone(), clock.clone(), plan));
        (Retry::new(fault, clock.clone(), policy), clock, memory)
    }

    fn name(text: &str) -> ObjectName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_contract_holds_over_a_store_that_fails_every_other_time() {
        // The pauses of all threads add up on the one manual clock: short ones.
        let policy = RetryPolicy { longest: Duration::from_millis(1), ..RetryPolicy::default() };
        for seed in 0..6 {
            let plan =
                FaultPlan { fail_per_mille: 300, lose_answer_per_mille: 200, ..FaultPlan::quiet(seed) };
            conformance::run(|| Arc::new(with(policy, plan).0));
        }
    }

    #[test]
    fn a_dead_store_is_unreachable_when_the_budget_is_spent_and_not_later() {
        let (retry, clock, _) = over(FaultPlan { fail_per_mille: 1000, ..FaultPlan::quiet(1) });
        retry.note_answer();
        let error = retry.head(&name("a")).expect_err("dead");
        assert!(matches!(error, StorageError::Unreachable { .. }), "{error}");
        let spent = clock.monotonic();
        assert!(spent <= Duration::from_secs(900), "{spent:?}");
        assert!(spent >= Duration::from_secs(600), "{spent:?}: gave up long before the budget was spent");
    }

    #[test]
    fn a_store_that_never_answered_is_given_up_soon() {
        let (retry, clock, _) = over(FaultPlan { fail_per_mille: 1000, ..FaultPlan::quiet(1) });
        let error = retry.head(&name("a")).expect_err("dead");
        assert!(matches!(error, StorageError::Unreachable { .. }), "{error}");
        assert!(clock.monotonic() <= Duration::from_secs(FIRST_CONTACT_SECONDS));
    }

    #[test]
    fn an_absent_object_is_an_answer_at_once() {
        let (retry, clock, _) = over(FaultPlan::quiet(1));
        assert!(matches!(
            retry.get(&name("a"), Span::Whole, Read::Quick),
            Err(StorageError::NotFound { .. })
        ));
        assert_eq!(clock.monotonic(), Duration::ZERO);
    }

    #[test]
    fn what_we_created_before_the_answer_was_lost_is_ours() {
        // Every first attempt does its work and loses the answer.
        let (retry, _, memory) = over(FaultPlan { lose_answer_of: Some(1), ..FaultPlan::quiet(1) });
        assert_eq!(retry.put_new(&name("repo.fmt"), Bytes::from_static(b"ours")).expect("put"), Put::Created);
        assert_eq!(memory.head(&name("repo.fmt")).expect("head").map(|stat| stat.bytes), Some(4));
        let (retry, _, other) = over(FaultPlan { fail_of: Some(1), ..FaultPlan::quiet(1) });
        other.put_new(&name("repo.fmt"), Bytes::from_static(b"theirs")).expect("put");
        assert_eq!(
            retry.put_new(&name("repo.fmt"), Bytes::from_static(b"ours")).expect("put"),
            Put::Existing
        );
        assert_eq!(memory.head(&name("repo.fmt")).expect("head").map(|stat| stat.bytes), Some(4));
    }

    #[test]
    fn an_attempt_with_an_unknown_outcome_is_never_repeated_under_its_name() {
        // The first attempt has no effect, the second has and loses its answer, the third succeeds.
        for (plan, left) in [
            (FaultPlan { fail_of: Some(1), ..FaultPlan::quiet(1) }, vec!["s/2"]),
            (FaultPlan { lose_answer_of: Some(1), ..FaultPlan::quiet(1) }, vec!["s/1", "s/2"]),
            (
                FaultPlan { fail_of: Some(1), lose_answer_of: Some(2), ..FaultPlan::quiet(1) },
                vec!["s/2", "s/3"],
            ),
        ] {
            let (retry, _, memory) = over(plan);
            let mut attempt = 0;
            let mut next = || {
                attempt += 1;
                name(&format!("s/{attempt}"))
            };
            let put = retry.put_fresh(&mut next, Bytes::from_static(b"x")).expect("put");
            let names: Vec<String> =
                list_all(memory.as_ref(), "").expect("listed").iter().map(|s| s.name.to_string()).collect();
            assert_eq!(names, left);
            assert_eq!(put.as_str(), left[left.len() - 1], "the attempt that was answered is the one");
        }
    }

    #[test]
    fn attempts_under_fresh_names_share_the_one_budget() {
        let (retry, clock, _) = over(FaultPlan { fail_per_mille: 1000, ..FaultPlan::quiet(1) });
        retry.note_answer();
        let error = retry.put_fresh(&mut || name("s/x"), Bytes::new()).expect_err("dead");
        assert!(matches!(error, StorageError::Unreachable { .. }), "{error}");
        let spent = clock.monotonic();
        assert!(spent <= Duration::from_secs(900) && spent >= Duration::from_secs(600), "{spent:?}");
    }

    #[test]
    fn a_listing_goes_on_where_it_broke_off() {
        let (retry, _, memory) = over(FaultPlan { break_list_per_mille: 400, ..FaultPlan::quiet(7) });
        for n in 0..50 {
            memory.put_new(&name(&format!("p/{n:02}")), Bytes::new()).expect("put");
        }
        let names: Vec<ObjectName> =
            list_all(&retry, "p/").expect("listed").into_iter().map(|s| s.name).collect();
        assert_eq!(names.len(), 50);
        assert!(names.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_pause_that_the_store_asks_for_is_kept() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let memory = Arc::new(MemoryStorage::new());
        let retry = Retry::new(memory, clock.clone(), RetryPolicy::default());
        retry.note_answer();
        let slow_down = StorageError::Transient {
            place: String::new(),
            action: String::new(),
            reason: String::new(),
            wait: Some(Duration::from_secs(120)),
        };
        retry.pause(&mut retry.begin(), slow_down).expect("within the budget");
        assert!(clock.monotonic() >= Duration::from_secs(120));
    }
}
