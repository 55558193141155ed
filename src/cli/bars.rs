//! Progress for people: a bar with rate and time left on a terminal, a plain line now and then
//! elsewhere, JSON lines for scripts. Three printers of the engine's one stream of events.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::cost::Cost;
use super::output::{Output, escape, stderr_is_terminal};
use crate::base::clock::{Clock, SystemClock};
use crate::base::progress::{Event, Progress};
use crate::base::size::{format_bytes, format_duration};

/// Plain lines and JSON events come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
const JSON_EVERY: Duration = Duration::from_millis(500);
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// What an item costs besides its content, in bytes that are compressed: 17 µs for a small file
/// against 3.2 s a GB (CPU time of each part of a mixed tree of `benches/generate` by itself).
const ITEM_BYTES: u128 = 5 * 1024;
/// What a byte costs that can't be compressed, in percent of one that is: 1.3 s a GB.
const QUICK_PERCENT: u128 = 40;

/// The printer that fits the streams and the flags.
pub(super) fn printer(output: Output) -> Arc<dyn Progress> {
    if output.is_json() {
        Arc::new(Beating::new(Lines::new(output, JSON_EVERY), JSON_EVERY))
    } else if stderr_is_terminal() && !output.quiet {
        Arc::new(Beating::new(Bar::new(output), DRAW_EVERY))
    } else {
        Arc::new(Beating::new(Lines::new(output, LINE_EVERY), LINE_EVERY))
    }
}

/// A printer that speaks while nothing happens, too: while the last packs are on their way to a slow
/// place somebody wants to know that the work still lives, and how long it takes.
struct Beating<P> {
    printer: Arc<P>,
    every: Duration,
    /// Begun with the first phase: a thread takes the place in the queue that its starter has then.
    beat: Mutex<Option<Beat>>,
}

struct Beat {
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<P: Progress + 'static> Beating<P> {
    fn new(printer: P, every: Duration) -> Self {
        Self { printer: Arc::new(printer), every, beat: Mutex::default() }
    }

    fn begin(&self) {
        let mut beat = lock(&self.beat);
        if beat.is_some() {
            return;
        }
        let (stop, stopped) = bounded::<()>(0);
        let (printer, every) = (Arc::clone(&self.printer), self.every);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                printer.advance(0, 0);
            }
        });
        // Without the thread only the silent stretches are silent.
        *beat = thread.ok().map(|thread| Beat { stop: Some(stop), thread: Some(thread) });
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl<P: Progress + 'static> Progress for Beating<P> {
    fn wants_totals(&self) -> bool {
        self.printer.wants_totals()
    }

    fn event(&self, event: Event) {
        if matches!(event, Event::PhaseStarted { .. }) {
            self.begin();
        }
        self.printer.event(event);
    }
}

struct Bar {
    output: Output,
    clock: SystemClock,
    shown: Mutex<Option<Shown>>,
}

/// A phase and the bar that shows it.
struct Shown {
    bar: ProgressBar,
    phase: Phase,
}

/// A bar's length: a phase is done in parts of this.
const PARTS: u64 = 1000;

impl Bar {
    fn new(output: Output) -> Self {
        Self { output, clock: SystemClock::new(), shown: Mutex::new(None) }
    }

    fn start(&self, phase: Phase) {
        let bar = ProgressBar::new(PARTS);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_prefix(escape(&phase.name));
        let shown = Shown { bar, phase };
        shown.style();
        if let Some(old) = lock(&self.shown).replace(shown) {
            old.bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match lock(&self.shown).as_ref() {
            Some(shown) => shown.bar.suspend(|| self.output.talk(text)),
            None => self.output.talk(text),
        }
    }
}

impl Shown {
    fn style(&self) {
        let template = if self.phase.has_totals() {
            "{prefix:<18} {bar:24} {percent:>3} %  {msg}"
        } else {
            "{prefix:<18} {spinner} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    fn draw(&mut self, now: Duration) {
        if let Some(share) = self.phase.share() {
            self.bar.set_position(share / (WHOLE / PARTS));
        }
        self.bar.set_message(self.phase.figures(now));
    }
}

impl Progress for Bar {
    fn wants_totals(&self) -> bool {
        true
    }

    fn event(&self, event: Event) {
        let now = self.clock.monotonic();
        match event {
            Event::PhaseStarted { phase, items_total, bytes_total } => {
                self.start(Phase::new(phase, items_total, bytes_total, now));
            }
            Event::TotalsKnown { items_total, bytes_total } => {
                if let Some(shown) = lock(&self.shown).as_mut() {
                    shown.phase.expect(items_total, bytes_total);
                    shown.style();
                }
            }
            Event::QuickExpected { bytes_total } => {
                if let Some(shown) = lock(&self.shown).as_mut() {
                    shown.phase.quick_total = bytes_total;
                }
            }
            Event::Quick { bytes } => {
                if let Some(shown) = lock(&self.shown).as_mut() {
                    shown.phase.quick += bytes;
                }
            }
            Event::Advanced { items, bytes } => {
                if let Some(shown) = lock(&self.shown).as_mut()
                    && shown.phase.advance(items, bytes, now, DRAW_EVERY)
                {
                    shown.draw(now);
                }
            }
            Event::PhaseFinished { .. } => {
                if let Some(shown) = lock(&self.shown).take() {
                    shown.bar.finish_and_clear();
                }
            }
            Event::Warning { message } => self.say(&format!("warning: {}", escape(&message))),
            Event::Note { message } | Event::Logged { message, .. } => self.say(&escape(&message)),
        }
    }
}

struct Lines {
    output: Output,
    every: Duration,
    clock: SystemClock,
    phase: Mutex<Phase>,
}

#[derive(Default)]
struct Phase {
    name: String,
    items: u64,
    bytes: u64,
    items_total: Option<u64>,
    bytes_total: Option<u64>,
    /// Of the bytes done, those that were quick work.
    quick: u64,
    /// Of the bytes to do, those that are expected to be.
    quick_total: u64,
    /// The largest share shown so far, in millionths: what is learned later never takes it back.
    share: u64,
    started: Duration,
    printed: Duration,
    /// Of a restore, which makes each file: what that costs.
    cost: Option<Cost>,
}

/// All of a phase's work, in the parts of [`Phase::share`].
const WHOLE: u64 = 1_000_000;

impl Lines {
    fn new(output: Output, every: Duration) -> Self {
        Self { output, every, clock: SystemClock::new(), phase: Mutex::default() }
    }

    fn advanced(&self, items: u64, bytes: u64) {
        let now = self.clock.monotonic();
        let mut phase = lock(&self.phase);
        if phase.name.is_empty() || !phase.advance(items, bytes, now, self.every) {
            return;
        }
        if self.output.is_json() {
            self.output.json(&phase.as_json(now));
        } else if !self.output.quiet {
            self.output.talk(&format!("{}: {}", escape(&phase.name), phase.figures(now)));
        }
    }
}

impl Lines {
    /// Scripts are told that all of it is done: nothing else says so before the result.
    fn finished(&self) {
        let mut phase = lock(&self.phase);
        if self.output.is_json() && !phase.name.is_empty() {
            phase.share = WHOLE;
            self.output.json(&phase.as_json(self.clock.monotonic()));
        }
        *phase = Phase::default();
    }
}

impl Phase {
    fn new(name: String, items_total: Option<u64>, bytes_total: Option<u64>, now: Duration) -> Self {
        let cost = name.starts_with("restore").then(|| Cost::begin(now));
        Self { name, items_total, bytes_total, started: now, printed: now, cost, ..Self::default() }
    }

    fn expect(&mut self, items_total: u64, bytes_total: u64) {
        (self.items_total, self.bytes_total) = (Some(items_total), Some(bytes_total));
    }

    /// Counts; says whether it is time to print.
    fn advance(&mut self, items: u64, bytes: u64, now: Duration, every: Duration) -> bool {
        self.items += items;
        self.bytes += bytes;
        if let Some(cost) = &mut self.cost {
            cost.learn(self.items, self.bytes, now);
        }
        let due = now.saturating_sub(self.printed) >= every;
        if due {
            self.printed = now;
        }
        due
    }

    fn has_totals(&self) -> bool {
        self.items_total.is_some() || self.bytes_total.is_some()
    }

    /// The share of the work that is done, of [`WHOLE`]; `None` as long as nobody knows how much
    /// there is. Work is counted in bytes that are compressed. Never less than before, never more
    /// than all.
    fn share(&mut self) -> Option<u64> {
        let item = self.cost.as_ref().map_or(ITEM_BYTES, |cost| cost.item_bytes().into());
        let work = |items: u64, bytes: u64, quick: u64| {
            let saved = u128::from(quick.min(bytes)) * (100 - QUICK_PERCENT) / 100;
            u128::from(items) * item + u128::from(bytes) - saved
        };
        let (done, total) = match (self.items_total, self.bytes_total) {
            (Some(items), Some(bytes)) => {
                // What is not expected to be quick counts in full, so that both sides agree.
                let quick = self.quick.min(self.quick_total);
                (work(self.items, self.bytes, quick), work(items, bytes, self.quick_total))
            }
            (None, Some(bytes)) => (u128::from(self.bytes), u128::from(bytes)),
            (Some(items), None) => (u128::from(self.items), u128::from(items)),
            (None, None) => return None,
        };
        let total = total.max(1);
        let share = u64::try_from(done.min(total) * u128::from(WHOLE) / total).unwrap_or(WHOLE);
        self.share = self.share.max(share);
        Some(self.share)
    }

    /// With one decimal.
    fn percent(&mut self) -> Option<f64> {
        let per_mille = u32::try_from(self.share()? / 1000).unwrap_or(1000);
        Some(f64::from(per_mille) / 10.0)
    }

    fn seconds_left(&mut self, now: Duration) -> Option<u64> {
        let share = u128::from(self.share().filter(|share| *share > 0)?);
        let spent = now.saturating_sub(self.started).as_millis();
        u64::try_from(spent.saturating_mul(u128::from(WHOLE) - share) / share / 1000).ok()
    }

    fn figures(&mut self, now: Duration) -> String {
        let spent = now.saturating_sub(self.started);
        let rate = self.bytes / spent.as_secs().max(1);
        let mut line =
            format!("{} items, {}, {}/s", self.items, format_bytes(self.bytes), format_bytes(rate));
        if let Some(left) = self.seconds_left(now) {
            line.push_str(&format!(", {} left", format_duration(Duration::from_secs(left))));
        }
        line
    }

    fn as_json(&mut self, now: Duration) -> serde_json::Value {
        serde_json::json!({
            "event": "progress",
            "phase": self.name,
            "items": self.items,
            "bytes": self.bytes,
            "items_total": self.items_total,
            "bytes_total": self.bytes_total,
            "percent": self.percent(),
            "seconds_left": self.seconds_left(now),
        })
    }
}

impl Progress for Lines {
    fn wants_totals(&self) -> bool {
        self.output.is_json() || !self.output.quiet
    }

    fn event(&self, event: Event) {
        match event {
            Event::PhaseStarted { phase, items_total, bytes_total } => {
                *lock(&self.phase) = Phase::new(phase, items_total, bytes_total, self.clock.monotonic());
            }
            Event::TotalsKnown { items_total, bytes_total } => {
                lock(&self.phase).expect(items_total, bytes_total);
            }
            Event::QuickExpected { bytes_total } => lock(&self.phase).quick_total = bytes_total,
            Event::Quick { bytes } => lock(&self.phase).quick += bytes,
            Event::Advanced { items, bytes } => self.advanced(items, bytes),
            Event::PhaseFinished { .. } => self.finished(),
            Event::Warning { message } if self.output.is_json() => {
                let at = self.clock.now();
                self.output.json(&serde_json::json!({ "event": "warning", "at": at, "message": message }));
            }
            Event::Logged { message, about } if self.output.is_json() => {
                let mut line = serde_json::Map::new();
                line.insert("event".to_owned(), "log".into());
                line.insert("at".to_owned(), self.clock.now().rfc3339().into());
                line.insert("message".to_owned(), message.into());
                line.extend(about.into_iter().map(|(name, value)| (name.to_owned(), value)));
                self.output.json(&line);
            }
            Event::Logged { message, .. } if !self.output.quiet => self.output.talk(&escape(&message)),
            Event::Warning { message } => self.output.talk(&format!("warning: {}", escape(&message))),
            Event::Note { message } if !self.output.is_json() && !self.output.quiet => {
                self.output.talk(&escape(&message));
            }
            Event::Note { .. } | Event::Logged { .. } => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GB: u64 = 1_000_000_000;

    struct Told(Sender<Event>);

    impl Progress for Told {
        fn event(&self, event: Event) {
            drop(self.0.send(event));
        }
    }

    #[test]
    fn while_nothing_happens_the_work_is_told_of_and_behind_its_end_it_is_not() {
        let (told, events) = crossbeam_channel::unbounded();
        let beating = Beating::new(Told(told), Duration::from_millis(5));
        beating.note("before the first phase".to_owned());
        beating.phase("upload", None, None);
        let beats = events.iter().filter(|event| *event == Event::Advanced { items: 0, bytes: 0 });
        assert_eq!(beats.take(3).count(), 3);
        drop(beating);
        // The thread is over: its end of the channel is gone.
        assert!(events.iter().all(|event| event == Event::Advanced { items: 0, bytes: 0 }));
    }

    fn phase(items: Option<u64>, bytes: Option<u64>) -> Phase {
        Phase::new("backup".to_owned(), items, bytes, Duration::ZERO)
    }

    #[test]
    fn time_left_and_share_are_said_only_when_all_that_is_to_do_is_known() {
        let mut phase = phase(None, None);
        phase.advance(10, GB, Duration::from_secs(10), LINE_EVERY);
        let now = Duration::from_secs(10);
        assert_eq!((phase.percent(), phase.seconds_left(now)), (None, None));
        assert!(!phase.figures(now).contains("left"));
        assert!(phase.as_json(now)["percent"].is_null());
        phase.expect(20, 2 * GB);
        assert_eq!((phase.percent(), phase.seconds_left(now)), (Some(50.0), Some(10)));
        assert!(phase.figures(now).contains("10s left"));
        assert_eq!(phase.as_json(now)["percent"], 50.0);
    }

    #[test]
    fn what_cannot_be_compressed_weighs_less_on_both_sides() {
        let mut phase = phase(Some(0), Some(2 * GB));
        phase.quick_total = GB;
        phase.bytes = GB;
        // The compressible half first: 1 of 1.4.
        assert_eq!(phase.percent(), Some(71.4));
        phase.bytes = 2 * GB;
        phase.quick = GB;
        assert_eq!(phase.percent(), Some(100.0));
    }

    #[test]
    fn an_incremental_counts_entries() {
        let mut phase = phase(Some(1000), None);
        phase.advance(250, GB, Duration::from_secs(1), LINE_EVERY);
        assert_eq!(phase.percent(), Some(25.0));
    }

    proptest! {
        #[test]
        fn the_share_never_falls_and_ends_at_all(
            steps in prop::collection::vec((0u64..50, 0u64..GB, 0u64..100), 1..60), known_at in 0usize..60, kind in 0u8..3,
        ) {
            let items: u64 = steps.iter().map(|step| step.0).sum();
            let bytes: u64 = steps.iter().map(|step| step.1).sum();
            let quick: u64 = steps.iter().map(|step| step.1 * step.2 / 100).sum();
            let mut phase = phase(None, None);
            let mut last = 0.0;
            for (at, (items_now, bytes_now, percent)) in steps.iter().enumerate() {
                if at == known_at.min(steps.len() - 1) {
                    phase.expect(items, bytes);
                    match kind {
                        0 => phase.quick_total = quick,
                        1 => phase.quick_total = quick / 2,
                        _ => phase.bytes_total = None,
                    }
                }
                phase.advance(*items_now, *bytes_now, Duration::from_secs(1), LINE_EVERY);
                // It is known to be quick only after it was done.
                let share = phase.percent();
                phase.quick += bytes_now * percent / 100;
                let later = phase.percent();
                for share in [share, later].into_iter().flatten() {
                    prop_assert!(share >= last && share <= 100.0, "{share} after {last}");
                    last = share;
                }
            }
            if items > 0 || (bytes > 0 && kind != 2) {
                prop_assert_eq!(phase.percent(), Some(100.0));
            }
        }
    }
}
