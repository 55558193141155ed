//! What an item of a restore costs beside its bytes, learned while it runs.
//!
//! Making a small file takes 30 µs on one machine, or on one day, and 300 µs on another (ext4 looks long
//! for an inode after many were freed), while bytes cost about the same. No constant is right for both.
//! Of some ratios of the two costs the one is taken that explains best how long the stretches of work
//! took so far; one far from the usual ratio has to explain much better.

use std::time::Duration;

/// The usual cost of an item, in bytes. Rather too much: a share that was shown can rise, never fall.
const USUAL: u32 = 64 * 1024;
/// The ratios that are tried are these powers of two, and half as much again of each.
const POWERS: std::ops::RangeInclusive<u32> = 11..=21;
/// A stretch of work is looked at when it took this long.
const STRETCH: Duration = Duration::from_millis(100);
/// So much of all variation a ratio has to explain more for each factor of two away from the usual.
const DOUBT: f64 = 0.002;

/// The sums that a line through the origin is fitted by.
#[derive(Debug, Default)]
pub(super) struct Cost {
    items_items: f64,
    items_bytes: f64,
    bytes_bytes: f64,
    items_time: f64,
    bytes_time: f64,
    time_time: f64,
    last: (u64, u64, Duration),
}

impl Cost {
    /// Starts to look at this time, with nothing done.
    pub(super) fn begin(now: Duration) -> Self {
        Self { last: (0, 0, now), ..Self::default() }
    }

    /// So much is done by now.
    pub(super) fn learn(&mut self, items: u64, bytes: u64, now: Duration) {
        let time = now.saturating_sub(self.last.2);
        if time < STRETCH {
            return;
        }
        let items_now = float(items.saturating_sub(self.last.0));
        let bytes_now = float(bytes.saturating_sub(self.last.1));
        let time = time.as_secs_f64();
        self.last = (items, bytes, now);
        self.items_items += items_now * items_now;
        self.items_bytes += items_now * bytes_now;
        self.bytes_bytes += bytes_now * bytes_now;
        self.items_time += items_now * time;
        self.bytes_time += bytes_now * time;
        self.time_time += time * time;
    }

    /// What an item costs, in bytes.
    pub(super) fn item_bytes(&self) -> u32 {
        let mut best = (f64::INFINITY, USUAL);
        for item in POWERS.flat_map(|power| [1u32 << power, 3 << (power - 1)]) {
            let ratio = f64::from(item);
            let work = ratio * ratio * self.items_items + 2.0 * ratio * self.items_bytes + self.bytes_bytes;
            if work <= 0.0 {
                return USUAL;
            }
            let explained = (ratio * self.items_time + self.bytes_time).powi(2) / work;
            let doubt = DOUBT * self.time_time * (ratio / f64::from(USUAL)).log2().powi(2);
            let unexplained = self.time_time - explained + doubt;
            if unexplained < best.0 {
                best = (unexplained, item);
            }
        }
        best.1
    }
}

/// Exact up to 2^53, and near enough beyond.
#[expect(clippy::cast_precision_loss, reason = "a share of work, not a count")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: u64 = 37_500;
    const BYTES: u64 = 1_750_000_000;

    /// The largest error of the shares that are shown, in points, after the first tenth of the time. Of
    /// each stretch of work a part is items; the rest is bytes.
    fn error_of(seconds_an_item: f64, seconds_a_byte: f64, order: impl Fn(f64) -> (f64, f64)) -> f64 {
        let mut cost = Cost::begin(Duration::ZERO);
        let total_time = seconds_an_item * float(ITEMS) + seconds_a_byte * float(BYTES);
        let (mut shown, mut error) = (0.0f64, 0.0f64);
        let mut time = 0.0;
        let mut before = (0.0, 0.0);
        for step in 1..=2000 {
            let (items, bytes) = order(f64::from(step) / 2000.0);
            time += (items - before.0) * seconds_an_item * float(ITEMS)
                + (bytes - before.1) * seconds_a_byte * float(BYTES);
            before = (items, bytes);
            let (items, bytes) = (items * float(ITEMS), bytes * float(BYTES));
            let whole = |part: f64| Duration::from_secs_f64(part).as_secs();
            cost.learn(whole(items), whole(bytes), Duration::from_secs_f64(time));
            let ratio = f64::from(cost.item_bytes());
            let share = (items * ratio + bytes) / (float(ITEMS) * ratio + float(BYTES));
            shown = shown.max(share);
            let true_share = time / total_time;
            if true_share > 0.1 {
                error = error.max((shown - true_share).abs());
            }
        }
        error * 100.0
    }

    #[test]
    fn the_share_is_right_whatever_an_item_costs() {
        // In turns: a few large files among many small ones, as a walk finds them.
        let in_turns = |share: f64| {
            let turn = (share * 10.0).fract();
            let whole = (share * 10.0).floor() / 10.0;
            let (items, bytes) = ((turn * 2.0).min(1.0), (turn * 2.0 - 1.0).max(0.0));
            (whole + items / 10.0, whole + bytes / 10.0)
        };
        let together = |share: f64| (share, share);
        let bytes_first = |share: f64| ((share * 2.0 - 1.0).max(0.0), (share * 2.0).min(1.0));
        for seconds_an_item in [30e-6, 60e-6, 150e-6, 300e-6] {
            let seconds_a_byte = 1.2e-9;
            let name = seconds_an_item * 1e6;
            assert!(error_of(seconds_an_item, seconds_a_byte, together) < 1.0);
            let error = error_of(seconds_an_item, seconds_a_byte, in_turns);
            assert!(error < 10.0, "{name} µs an item in turns: {error}");
            // Before the first item nobody can know what one costs.
            let error = error_of(seconds_an_item, seconds_a_byte, bytes_first);
            assert!(error < 30.0, "{name} µs an item after all bytes: {error}");
        }
    }

    #[test]
    fn without_anything_to_learn_from_an_item_costs_the_usual() {
        let mut cost = Cost::begin(Duration::ZERO);
        assert_eq!(cost.item_bytes(), USUAL);
        cost.learn(0, 1_000_000, Duration::from_secs(1));
        cost.learn(0, 9_000_000, Duration::from_secs(2));
        assert_eq!(cost.item_bytes(), USUAL, "bytes alone say nothing of items");
    }
}
