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
    bar: Mutex<Option<ProgressBar>>,
    by_bytes: Mutex<bool>,
}

impl Bar {
    fn new(output: Output) -> Self {
        Self { output, bar: Mutex::new(None), by_bytes: Mutex::new(false) }
    }

    fn start(&self, phase: &str, items: Option<u64>, bytes: Option<u64>) {
        let bar = match bytes.or(items) {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        let template = match (bytes, items) {
            (Some(_), _) => {
                "{prefix:<18} {bar:24} {bytes:>10} of {total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}"
            }
            (None, Some(_)) => "{prefix:<18} {bar:24} {pos:>10} of {len}  {per_sec}  {eta} left  {msg}",
            (None, None) => "{prefix:<18} {spinner} {bytes:>10}  {binary_bytes_per_sec}  {elapsed}  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(escape(phase));
        *lock(&self.by_bytes) = bytes.is_some() || items.is_none();
        if let Some(old) = lock(&self.bar).replace(bar) {
            old.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match lock(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| self.output.talk(text)),
            None => self.output.talk(text),
        }
    }
}

impl Progress for Bar {
    fn event(&self, event: Event) {
        match event {
            Event::PhaseStarted { phase, items_total, bytes_total } => {
                self.start(&phase, items_total, bytes_total)
            }
            Event::Advanced { items, bytes } => {
                if let Some(bar) = lock(&self.bar).as_ref() {
                    bar.inc(if *lock(&self.by_bytes) { bytes } else { items });
                }
            }
            Event::PhaseFinished { .. } => {
                if let Some(bar) = lock(&self.bar).take() {
                    bar.finish_and_clear();
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
        phase.items += items;
        phase.bytes += bytes;
        if now.saturating_sub(phase.printed) < self.every {
            return;
        }
        phase.printed = now;
        if self.output.is_json() {
            self.output.json(&phase.as_json(now));
        } else if !self.output.quiet {
            self.output.talk(&phase.as_line(now));
        }
    }
}

impl Phase {
    fn seconds_left(&self, now: Duration) -> Option<u64> {
        let (done, total) = match (self.bytes_total, self.items_total) {
            (Some(total), _) => (self.bytes, total),
            (None, Some(total)) => (self.items, total),
            (None, None) => return None,
        };
        let spent = now.saturating_sub(self.started).as_secs();
        (done > 0).then(|| spent.saturating_mul(total.saturating_sub(done)) / done)
    }

    fn as_line(&self, now: Duration) -> String {
        let spent = now.saturating_sub(self.started);
        let rate = self.bytes / spent.as_secs().max(1);
        let mut line = format!(
            "{}: {} items, {}, {}/s",
            escape(&self.name),
            self.items,
            format_bytes(self.bytes),
            format_bytes(rate)
        );
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
    fn event(&self, event: Event) {
        match event {
            Event::PhaseStarted { phase, items_total, bytes_total } => {
                let now = self.clock.monotonic();
                *lock(&self.phase) = Phase {
                    name: phase,
                    items_total,
                    bytes_total,
                    started: now,
                    printed: now,
                    ..Phase::default()
                };
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
