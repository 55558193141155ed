//! How fast bytes may go to a place and come from it.
//!
//! A [`Throttle`] is shared by everything in flight at one place: whoever wants to move bytes books
//! them first and is told how long to wait, so that all together keep the rate, whatever their
//! number. Bytes are booked in steps of at most an eighth of a second and 256 KiB; an idle line
//! saves up a quarter of a second and no more. The rate is asked for at each step, so that a window
//! of time takes effect on work that is going on.
//!
//! The S3 driver books as the bytes of a body flow. [`Throttled`], for every other driver, can only
//! wait between whole operations: before an object is written, after it was read. The rate is
//! right then too, in bursts of one object.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::contract::{Facts, ObjectName, Put, Read, Span, Stat, Storage, StorageError};
use super::guard::Guard;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Timestamp};

/// Bytes a second at a moment; `None` when there is no limit then.
pub type Rate = Arc<dyn Fn(Timestamp) -> Option<u64> + Send + Sync>;

/// Largest step that is booked at once.
pub const STEP_BYTES_MAX: usize = 256 * 1024;
/// Smallest one, whatever the rate.
const STEP_BYTES_MIN: usize = 1024;
/// What an idle line may save up.
const SAVED: Duration = Duration::from_millis(250);
/// A wait looks this often whether somebody asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the place.
    Up,
    /// From it.
    Down,
}

/// The rates of one place, and what is booked of them.
pub struct Throttle {
    clock: Arc<dyn Clock>,
    cancel: Cancel,
    up: Option<Line>,
    down: Option<Line>,
}

struct Line {
    rate: Rate,
    /// From when on the line is free, on the monotonic clock.
    free_at: Mutex<Duration>,
}

/// What was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// So many bytes, one at least when any were wanted.
    pub bytes: usize,
    /// May move after this time.
    pub wait: Duration,
}

impl Throttle {
    /// With these rates; `None` when neither limits anything.
    pub fn new(
        up: Option<Rate>,
        down: Option<Rate>,
        clock: Arc<dyn Clock>,
        cancel: Cancel,
    ) -> Option<Arc<Self>> {
        let line = |rate: Rate| Line { rate, free_at: Mutex::default() };
        let (up, down) = (up.map(line), down.map(line));
        (up.is_some() || down.is_some()).then(|| Arc::new(Self { clock, cancel, up, down }))
    }

    /// Whether bytes in this direction may ever have to wait.
    pub fn limits(&self, direction: Direction) -> bool {
        self.line(direction).is_some()
    }

    fn line(&self, direction: Direction) -> Option<&Line> {
        match direction {
            Direction::Up => self.up.as_ref(),
            Direction::Down => self.down.as_ref(),
        }
    }

    /// Books the next step of so many bytes. Never waits itself.
    pub fn book(&self, direction: Direction, wanted: usize) -> Booked {
        let rate = self.line(direction).and_then(|line| Some((line, (line.rate)(self.clock.now())?)));
        let Some((line, rate)) = rate else { return Booked { bytes: wanted, wait: Duration::ZERO } };
        let eighth = usize::try_from(rate / 8).unwrap_or(usize::MAX);
        let bytes = wanted.min(eighth.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX));
        let nanos = u128::try_from(bytes).unwrap_or(0) * 1_000_000_000 / u128::from(rate.max(1));
        let now = self.clock.monotonic();
        let mut free_at = line.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*free_at).max(now.saturating_sub(SAVED));
        *free_at = start.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        Booked { bytes, wait: free_at.saturating_sub(now) }
    }

    /// Whether somebody asked to stop: then nobody waits any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The next piece of a wait, after which to look whether it should go on.
    pub fn piece(wait: Duration) -> Duration {
        wait.min(LOOK_EVERY)
    }

    /// Waits until so many bytes may move, step by step.
    ///
    /// # Errors
    /// `Cancelled`, at once when somebody asks to stop.
    fn pass(&self, direction: Direction, mut bytes: usize, place: &str) -> Result<(), StorageError> {
        while bytes > 0 {
            let booked = self.book(direction, bytes);
            let mut wait = booked.wait;
            while !wait.is_zero() {
                if self.is_cancelled() {
                    return Err(StorageError::Cancelled { place: place.to_owned() });
                }
                self.clock.sleep(Self::piece(wait));
                wait = wait.saturating_sub(LOOK_EVERY);
            }
            bytes -= booked.bytes;
        }
        Ok(())
    }
}

/// Keeps a place's rates by waiting before each write and after each read.
pub struct Throttled {
    inner: Arc<dyn Storage>,
    throttle: Arc<Throttle>,
}

impl Throttled {
    /// Around a driver; below `retry`, so that repeated bytes count again.
    pub fn new(inner: Arc<dyn Storage>, throttle: Arc<Throttle>) -> Self {
        Self { inner, throttle }
    }

    fn up(&self, bytes: &Bytes) -> Result<(), StorageError> {
        self.throttle.pass(Direction::Up, bytes.len(), self.inner.label())
    }
}

impl Storage for Throttled {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<Put, StorageError> {
        self.up(&bytes)?;
        self.inner.put_new(name, bytes)
    }

    fn put_fresh(
        &self,
        name: &mut dyn FnMut() -> ObjectName,
        bytes: Bytes,
    ) -> Result<ObjectName, StorageError> {
        self.up(&bytes)?;
        self.inner.put_fresh(name, bytes)
    }

    fn get(&self, name: &ObjectName, span: Span, read: Read) -> Result<Bytes, StorageError> {
        let bytes = self.inner.get(name, span, read)?;
        self.throttle.pass(Direction::Down, bytes.len(), self.inner.label())?;
        Ok(bytes)
    }

    fn head(&self, name: &ObjectName) -> Result<Option<Stat>, StorageError> {
        self.inner.head(name)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Stat) -> ControlFlow<()>) -> Result<(), StorageError> {
        self.inner.list(prefix, visit)
    }

    fn list_after(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Stat) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.inner.list_after(prefix, after, visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.inner.delete(name)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.inner.sync()
    }

    fn guard(&self) -> Option<&dyn Guard> {
        self.inner.guard()
    }

    fn facts(&self) -> Result<Facts, StorageError> {
        self.inner.facts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::error::{Class, Classified};
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStorage;

    fn always(rate: u64) -> Option<Rate> {
        Some(Arc::new(move |_| Some(rate)))
    }

    fn throttle(up: Option<Rate>, down: Option<Rate>) -> (Arc<Throttle>, Arc<ManualClock>, Cancel) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
        let cancel = Cancel::new();
        (Throttle::new(up, down, clock.clone(), cancel.clone()).expect("a limit"), clock, cancel)
    }

    fn name(text: &str) -> ObjectName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_throttled_storage_keeps_the_contract() {
        conformance::run(|| {
            let (throttle, ..) = throttle(always(1_000_000_000), always(1_000_000_000));
            Arc::new(Throttled::new(Arc::new(MemoryStorage::new()), throttle))
        });
    }

    #[test]
    fn no_stretch_of_time_carries_more_than_its_rate_however_many_share_the_line() {
        let rate = 1_000_000u64;
        let (throttle, clock, _) = throttle(always(rate), None);
        // Eight uploads book in turn; each moves its bytes when its wait is over.
        let mut moved: Vec<(Duration, usize)> = Vec::new();
        for turn in 0..4000usize {
            let booked = throttle.book(Direction::Up, 16 << 20);
            assert!(booked.bytes <= 125_000, "an eighth of a second");
            moved.push((clock.monotonic() + booked.wait, booked.bytes));
            if turn % 8 == 7 {
                clock.advance(moved[turn - 7].0.saturating_sub(clock.monotonic()));
            }
        }
        let total: usize = moved.iter().map(|(_, bytes)| bytes).sum();
        let (last, _) = moved[moved.len() - 1];
        let ideal = Duration::from_secs_f64(f64::from(u32::try_from(total).expect("small")) / 1e6);
        assert!(last <= ideal && last + Duration::from_millis(300) >= ideal, "{last:?} for {ideal:?}");
        for (at, (from, _)) in moved.iter().enumerate().step_by(37) {
            let mut bytes = 0;
            for (until, more) in &moved[at..] {
                bytes += more;
                let allowed = (until.saturating_sub(*from)).as_secs_f64() * 1e6 + 250_000.0 + 125_000.0;
                assert!(f64::from(u32::try_from(bytes).expect("small")) <= allowed, "{bytes} in {allowed}");
            }
        }
    }

    #[test]
    fn an_idle_line_saves_up_a_quarter_of_a_second() {
        let (throttle, clock, _) = throttle(always(1_000_000), None);
        clock.advance(Duration::from_secs(3600));
        let mut free = 0;
        loop {
            let booked = throttle.book(Direction::Up, 1 << 20);
            if !booked.wait.is_zero() {
                break;
            }
            free += booked.bytes;
        }
        assert_eq!(free, 250_000);
    }

    #[test]
    fn objects_take_as_long_as_their_bytes_each_way_by_itself() {
        let (throttle, clock, _) = throttle(always(1_000_000), always(4_000_000));
        let storage = Throttled::new(Arc::new(MemoryStorage::new()), throttle);
        clock.advance(Duration::from_secs(10));
        let start = clock.monotonic();
        storage.put_new(&name("a"), vec![0; 8_000_000].into()).expect("put");
        assert_eq!(clock.monotonic() - start, Duration::from_millis(7750));
        let fresh = storage.put_fresh(&mut || name("b"), vec![0; 1_000_000].into());
        assert_eq!(fresh.expect("put"), name("b"));
        assert_eq!(clock.monotonic() - start, Duration::from_millis(8750));
        let start = clock.monotonic();
        storage.get(&name("a"), Span::Whole, Read::Quick).expect("get");
        storage.get(&name("a"), Span::Last { len: 4_000_000 }, Read::Quick).expect("get");
        assert_eq!(clock.monotonic() - start, Duration::from_millis(2750));
        // What moves no object takes no time.
        let start = clock.monotonic();
        storage.head(&name("a")).expect("head");
        storage.delete(&name("a")).expect("delete");
        assert_eq!(clock.monotonic(), start);
    }

    #[test]
    fn a_window_that_opens_takes_effect_in_the_middle_of_an_object() {
        let opens = Timestamp::from_unix_ms(60_000);
        let rate: Rate = Arc::new(move |now| Some(if now < opens { 100_000 } else { 10_000_000 }));
        let (throttle, clock, _) = throttle(Some(rate), None);
        let storage = Throttled::new(Arc::new(MemoryStorage::new()), throttle);
        storage.put_new(&name("a"), vec![0; 16_000_000].into()).expect("put");
        // 6 MB in the first minute at the old rate, 10 MB in a second at the new one.
        let took = clock.monotonic().as_secs_f64();
        assert!((60.9..61.2).contains(&took), "{took}");
    }

    #[test]
    fn who_asks_to_stop_ends_every_wait_at_once() {
        let (throttle, clock, cancel) = throttle(always(10_000), None);
        let memory = Arc::new(MemoryStorage::new());
        let storage = Throttled::new(memory.clone(), throttle);
        cancel.cancel();
        let error = storage.put_new(&name("a"), vec![0; 8_000_000].into()).expect_err("stopped");
        assert_eq!((error.class(), error.code()), (Class::Cancelled, "E0113"));
        assert!(clock.monotonic() < Duration::from_secs(1));
        assert_eq!(memory.head(&name("a")).expect("head"), None);
    }
}
