//! Progress for people: a bar with rate and time left on a terminal, a plain line now and then
//! elsewhere, JSON lines for scripts. Three printers of the engine's one stream of events.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Output, escape, stderr_is_terminal};
use crate::base::clock::{Clock, SystemClock};
use crate::base::progress::{Event, Progress};
use crate::base::size::{format_bytes, format_duration};

/// Plain lines and JSON events come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
const JSON_EVERY: Duration = Duration::from_secs(1);
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// What an item costs besides its content, in bytes of content: 27 µs for a small file against
/// about 1.5 s a GB (docs/benchmarks.md).
const ITEM_BYTES: u128 = 16 * 1024;

/// The printer that fits the streams and the flags.
pub(super) fn printer(output: Output) -> Box<dyn Progress> {
    if output.is_json() {
        Box::new(Lines::new(output, JSON_EVERY))
    } else if stderr_is_terminal() && !output.quiet {
        Box::new(Bar::new(output))
    } else {
        Box::new(Lines::new(output, LINE_EVERY))
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

    fn draw(&self, now: Duration) {
        if let Some((done, total)) = self.phase.work() {
            self.bar.set_position(u64::try_from(done.saturating_mul(PARTS.into()) / total).unwrap_or(PARTS));
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
            Event::Note { message } => self.say(&escape(&message)),
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
    started: Duration,
    printed: Duration,
}

impl Lines {
    fn new(output: Output, every: Duration) -> Self {
        Self { output, every, clock: SystemClock::new(), phase: Mutex::default() }
    }

    fn advanced(&self, items: u64, bytes: u64) {
        let now = self.clock.monotonic();
        let mut phase = lock(&self.phase);
        if !phase.advance(items, bytes, now, self.every) {
            return;
        }
        if self.output.is_json() {
            self.output.json(&phase.as_json(now));
        } else if !self.output.quiet {
            self.output.talk(&format!("{}: {}", escape(&phase.name), phase.figures(now)));
        }
    }
}

impl Phase {
    fn new(name: String, items_total: Option<u64>, bytes_total: Option<u64>, now: Duration) -> Self {
        Self { name, items_total, bytes_total, started: now, printed: now, ..Self::default() }
    }

    fn expect(&mut self, items_total: u64, bytes_total: u64) {
        (self.items_total, self.bytes_total) = (Some(items_total), Some(bytes_total));
    }

    /// Counts; says whether it is time to print.
    fn advance(&mut self, items: u64, bytes: u64, now: Duration, every: Duration) -> bool {
        self.items += items;
        self.bytes += bytes;
        let due = now.saturating_sub(self.printed) >= every;
        if due {
            self.printed = now;
        }
        due
    }

    fn has_totals(&self) -> bool {
        self.items_total.is_some() || self.bytes_total.is_some()
    }

    /// Work done and work in all, in bytes: an item costs about as much as [`ITEM_BYTES`] of
    /// content. What is done is never more than all.
    fn work(&self) -> Option<(u128, u128)> {
        let work = |items: u64, bytes: u64| u128::from(items) * ITEM_BYTES + u128::from(bytes);
        let total = match (self.items_total, self.bytes_total) {
            (Some(items), Some(bytes)) => work(items, bytes),
            (None, Some(bytes)) => u128::from(bytes),
            (Some(items), None) => work(items, 0),
            (None, None) => return None,
        };
        let items = if self.items_total.is_some() { self.items } else { 0 };
        let bytes = if self.bytes_total.is_some() { self.bytes } else { 0 };
        let total = total.max(1);
        Some((work(items, bytes).min(total), total))
    }

    fn seconds_left(&self, now: Duration) -> Option<u64> {
        let (done, total) = self.work().filter(|(done, _)| *done > 0)?;
        let spent = now.saturating_sub(self.started).as_millis();
        u64::try_from(spent.saturating_mul(total - done) / done / 1000).ok()
    }

    fn figures(&self, now: Duration) -> String {
        let spent = now.saturating_sub(self.started);
        let rate = self.bytes / spent.as_secs().max(1);
        let mut line =
            format!("{} items, {}, {}/s", self.items, format_bytes(self.bytes), format_bytes(rate));
        if let Some(left) = self.seconds_left(now) {
            line.push_str(&format!(", {} left", format_duration(Duration::from_secs(left))));
        }
        line
    }

    fn as_json(&self, now: Duration) -> serde_json::Value {
        serde_json::json!({
            "event": "progress",
            "phase": self.name,
            "items": self.items,
            "bytes": self.bytes,
            "items_total": self.items_total,
            "bytes_total": self.bytes_total,
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
            Event::Advanced { items, bytes } => self.advanced(items, bytes),
            Event::PhaseFinished { .. } => {}
            Event::Warning { message } if self.output.is_json() => {
                self.output.json(&serde_json::json!({ "event": "warning", "message": message }));
            }
            Event::Warning { message } => self.output.talk(&format!("warning: {}", escape(&message))),
            Event::Note { message } if !self.output.is_json() && !self.output.quiet => {
                self.output.talk(&escape(&message));
            }
            Event::Note { .. } => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
