//! The ladder of levels that the effort `auto` climbs.
//!
//! `auto` spends processor time that nobody else in the run could use. While the workers set the
//! pace it stays on the lowest rung; while they stand and wait for the targets it climbs, one rung
//! at a time and only when the next one still fits into the time they waited. As soon as the
//! targets run out of work it is back at the bottom. A blob's id is of its plain bytes, so its
//! level never decides whether it is stored again.
//!
//! Pure: time and waits are arguments.

use std::time::Duration;

use crate::base::effort::LEVEL_DEFAULT;

/// The levels that `auto` chooses from.
pub const RUNGS: [i32; 4] = [LEVEL_DEFAULT, 3, 6, 9];
/// From each rung to the next: the share of their time, in percent, that the workers must have
/// waited. The next rung costs about 1.7, 3 and 1.5 times as much (`cargo bench --bench stages`),
/// so that they still wait a little there.
const CLIMB_AT: [u128; 3] = [50, 70, 45];
/// So long is looked at before a step up.
const WINDOW: Duration = Duration::from_secs(1);

/// What the run looks like before a blob.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The time now, on a clock that only goes forward.
    pub now: Duration,
    /// How long all workers together have waited for the targets so far.
    pub waited: Duration,
    /// Whether the targets have nothing to do.
    pub targets_idle: bool,
}

/// Chooses the rung for each blob.
#[derive(Clone, Debug)]
pub struct Ladder {
    workers: u32,
    rung: usize,
    /// Where the window of time began.
    began: Duration,
    /// What the workers had waited by then.
    waited: Duration,
}

impl Ladder {
    /// At the bottom, for so many workers.
    pub fn new(workers: usize, now: Duration) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        Self { workers, rung: 0, began: now, waited: Duration::ZERO }
    }

    /// The level for the next blob.
    pub fn level(&mut self, look: Look) -> i32 {
        let elapsed = look.now.saturating_sub(self.began);
        if look.targets_idle && self.rung > 0 {
            // They could store more than they get: nothing is gained by more work.
            self.step_to(0, look);
        } else if elapsed >= WINDOW {
            let all = elapsed.saturating_mul(self.workers).as_nanos().max(1);
            let share = look.waited.saturating_sub(self.waited).as_nanos().saturating_mul(100) / all;
            // Who waits less has found the rung: with too high a one the targets would be idle.
            let climbs = CLIMB_AT.get(self.rung).is_some_and(|at| share >= *at);
            self.step_to(self.rung + usize::from(climbs), look);
        }
        RUNGS[self.rung]
    }

    fn step_to(&mut self, rung: usize, look: Look) {
        (self.rung, self.began, self.waited) = (rung, look.now, look.waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of blobs of 1 MiB on one worker. What a rung costs in seconds and leaves in bytes, as
    /// measured on text; the target stores `rate` bytes a second and holds two packs.
    struct Run {
        ladder: Ladder,
        now: f64,
        waited: f64,
        /// When the target will have stored what it got.
        busy_until: f64,
        in_pack: f64,
    }

    const COSTS: [(f64, f64); 4] = [(0.0017, 0.144), (0.0025, 0.131), (0.009, 0.118), (0.014, 0.114)];
    const PACK: f64 = 16e6;

    impl Run {
        fn new() -> Self {
            let ladder = Ladder::new(1, Duration::ZERO);
            Self { ladder, now: 0.0, waited: 0.0, busy_until: 0.0, in_pack: 0.0 }
        }

        fn blob(&mut self, rate: f64) -> i32 {
            let level = self.ladder.level(Look {
                now: Duration::from_secs_f64(self.now),
                waited: Duration::from_secs_f64(self.waited),
                targets_idle: self.busy_until <= self.now,
            });
            let (cost, left) = COSTS[RUNGS.iter().position(|l| *l == level).expect("a rung")];
            self.now += cost;
            self.in_pack += left * 1_048_576.0;
            if self.in_pack >= PACK {
                // One pack in the target's hands, one waiting: a third has to wait.
                let wait = (self.busy_until - self.now - PACK / rate).max(0.0);
                self.now += wait;
                self.waited += wait;
                self.busy_until = self.busy_until.max(self.now) + self.in_pack / rate;
                self.in_pack = 0.0;
            }
            level
        }

        fn levels(&mut self, rate: f64, blobs: usize) -> Vec<i32> {
            (0..blobs).map(|_| self.blob(rate)).collect()
        }
    }

    #[test]
    fn a_quick_target_keeps_the_lowest_level() {
        // 0.62 GB/s of text at level 1 are 89 MB/s of packs.
        let levels = Run::new().levels(500e6, 20_000);
        assert!(levels.iter().all(|level| *level == 1));
    }

    #[test]
    fn a_slow_target_is_met_with_the_highest_level_step_by_step() {
        let mut run = Run::new();
        let levels = run.levels(2e6, 6_000);
        let mut steps = levels.clone();
        steps.dedup();
        assert_eq!(steps, RUNGS, "one rung at a time, and no way back");
        assert!(run.levels(2e6, 2_000).iter().all(|level| *level == 9));
    }

    #[test]
    fn a_level_that_would_make_the_processors_the_limit_is_not_taken() {
        // At 40 MB/s level 3 fits and level 6 would not: 13.7 MB/s.
        let mut run = Run::new();
        run.levels(40e6, 20_000);
        let levels = run.levels(40e6, 20_000);
        assert!(levels.iter().all(|level| *level <= 3), "{levels:?}");
        assert!(levels.contains(&3));
        // The target never waited for long.
        let stored = levels.iter().map(|l| if *l == 1 { 0.144 } else { 0.131 }).sum::<f64>() * 1_048_576.0;
        let began = run.now;
        let more = run.levels(40e6, 20_000).len();
        assert!(run.now - began < 1.1 * stored / 40e6, "{more}");
    }

    #[test]
    fn a_target_that_turns_quick_is_noticed_within_two_packs() {
        let mut run = Run::new();
        run.levels(2e6, 8_000);
        let before = run.now;
        let levels = run.levels(500e6, 20_000);
        let raised = levels.iter().take_while(|level| **level > 1).count();
        assert!(levels[raised..].iter().all(|level| *level == 1));
        // What the slow target had still to store, and what a pack takes at level 9.
        assert!(raised < 400, "{raised}");
        assert!(run.now > before);
    }
}
