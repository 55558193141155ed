//! One drill from its start to its verdict, measured.
//!
//! Order: sandbox, keys, locate and pick, free space, restore, checks (manifest first), judge,
//! clean up, judge again with the cleanup's outcome. Whatever happens there is an outcome; an
//! error on the way is a reason in it. Recovery time is claimed for the scope `all` only.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::checks::{CheckOutcome, Comparison, Scene, make};
use super::error::{DrillError, Fault};
use super::pick::{PickFacts, Picked, Picker};
use super::plan::{CheckSpec, DrillPlan};
use super::restorer::{Reads, RestoreRequest, Restored, Restorer, SnapshotFacts};
use super::sandbox::{Cleanup, Sandbox};
use super::verdict::{Ended, Facts, RestoreOutcome, Verdict, judge};
use super::watch::Watch;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Chain, Class, Classified};
use crate::base::progress::Progress;
use crate::policy::model::{Files, Leftover};

/// What a drill runs with.
pub struct Stage<'a> {
    /// The snapshot and the copy.
    pub restorer: &'a mut dyn Restorer,
    /// The state folder; the sandbox is made below it.
    pub state_dir: &'a Path,
    /// Times and limits.
    pub clock: &'a dyn Clock,
    /// Told about each phase.
    pub progress: &'a dyn Progress,
    /// A person's wish to stop.
    pub cancel: &'a Cancel,
}

/// A measured part of the drill.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `keys`, `locate`, `restore`, `checks`, `cleanup`.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Bytes read from the target during it.
    pub bytes: u64,
}

/// Whether a promised recovery time was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtoMet {
    /// Everything came back and every required check passed in time.
    Yes,
    /// It took longer.
    No,
    /// Not everything was restored, it did not pass, or nothing was promised.
    NotClaimed,
}

/// The recovery time.
#[derive(Clone, Debug, PartialEq)]
pub struct Rto {
    /// What was promised.
    pub objective: Option<Duration>,
    /// From the start to the end of the last check. None when the drill did not get so far.
    pub measured_seconds: Option<f64>,
    /// What a restore of everything would take, scaled from a sample. An estimate.
    pub projected_full_seconds: Option<f64>,
    /// Whether the promise was kept.
    pub met: RtoMet,
}

/// All that a drill has found.
#[derive(Debug)]
pub struct DrillOutcome {
    /// The drill's id.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When the last picked byte was written.
    pub restored_at: Option<Timestamp>,
    /// When the last check had been made.
    pub checked_at: Option<Timestamp>,
    /// When everything was over.
    pub ended_at: Timestamp,
    /// What took how long.
    pub phases: Vec<Phase>,
    /// The snapshot, when it was found.
    pub snapshot: Option<SnapshotFacts>,
    /// How it was picked, when it came so far.
    pub pick: Option<PickFacts>,
    /// The outcome of the restore alone.
    pub restore: RestoreOutcome,
    /// What the restore wrote, when it came to its end.
    pub restored: Restored,
    /// What was read, and from where.
    pub reads: Reads,
    /// What the manifest check counted, when it was made.
    pub comparison: Option<Comparison>,
    /// The outcomes of the checks, manifest first.
    pub checks: Vec<CheckOutcome>,
    /// What became of the restored files. None when there was no sandbox.
    pub cleanup: Option<Cleanup>,
    /// The recovery time.
    pub rto: Rto,
    /// The time limit.
    pub time_limit: Duration,
    /// How the drill ended.
    pub ended: Ended,
    /// The judgement.
    pub verdict: Verdict,
    /// Its reasons.
    pub reasons: Vec<String>,
    /// The stable code of the error that stopped the drill, if one did.
    pub error_code: Option<&'static str>,
}

/// Runs a drill.
pub fn run(plan: &DrillPlan, stage: Stage<'_>) -> DrillOutcome {
    let watch = Watch::start(stage.clock, stage.progress, stage.cancel, plan.time_limit);
    let mut run = Run::new(plan, stage.clock, &watch);
    match Sandbox::create(stage.state_dir, &plan.id) {
        Ok(sandbox) => {
            let outcome = run.rehearse(stage.restorer, &sandbox);
            run.settle(outcome, stage.restorer);
            run.clean_up(sandbox, stage.restorer);
        }
        Err(error) => {
            run.settle(Err(error), stage.restorer);
        }
    }
    run.out.ended_at = stage.clock.now();
    run.out
}

struct Run<'a> {
    plan: &'a DrillPlan,
    clock: &'a dyn Clock,
    watch: &'a Watch<'a>,
    begun: Duration,
    restore_seconds: f64,
    out: DrillOutcome,
}

impl<'a> Run<'a> {
    fn new(plan: &'a DrillPlan, clock: &'a dyn Clock, watch: &'a Watch<'a>) -> Self {
        let now = clock.now();
        let out = DrillOutcome {
            id: plan.id.clone(),
            started_at: now,
            restored_at: None,
            checked_at: None,
            ended_at: now,
            phases: Vec::new(),
            snapshot: None,
            pick: None,
            restore: RestoreOutcome::Stopped,
            restored: Restored::default(),
            reads: Reads::default(),
            comparison: None,
            checks: Vec::new(),
            cleanup: None,
            rto: Rto {
                objective: plan.rto_objective,
                measured_seconds: None,
                projected_full_seconds: None,
                met: RtoMet::NotClaimed,
            },
            time_limit: plan.time_limit,
            ended: Ended::InTime,
            verdict: Verdict::Inconclusive,
            reasons: Vec::new(),
            error_code: None,
        };
        Self { plan, clock, watch, begun: clock.monotonic(), restore_seconds: 0.0, out }
    }

    /// Measures a part of the drill, also when it fails.
    fn phase<T>(
        &mut self,
        name: &'static str,
        restorer: &mut dyn Restorer,
        work: impl FnOnce(&mut Self, &mut dyn Restorer) -> T,
    ) -> T {
        let (begun, bytes) = (self.clock.monotonic(), restorer.reads().bytes_from_target);
        self.watch.phase(name, None, None);
        let done = work(self, restorer);
        self.watch.phase_finished(name);
        self.out.phases.push(Phase {
            name,
            seconds: self.clock.monotonic().saturating_sub(begun).as_secs_f64(),
            bytes: restorer.reads().bytes_from_target.saturating_sub(bytes),
        });
        done
    }

    fn rehearse(&mut self, restorer: &mut dyn Restorer, sandbox: &Sandbox) -> Result<(), DrillError> {
        self.phase("keys", restorer, |_, restorer| restorer.unlock())?;
        let (snapshot, picked) = self.phase("locate", restorer, Self::locate)?;
        sandbox.require_free(self.out.pick.as_ref().map_or(0, |pick| pick.bytes))?;
        self.phase("restore", restorer, |run, restorer| {
            run.go_on("restoring")?;
            let begun = run.clock.monotonic();
            let request = RestoreRequest { to: sandbox.root(), picked: &picked };
            run.out.restored = restorer.restore(&request, run.watch, run.watch.work())?;
            run.restore_seconds = run.clock.monotonic().saturating_sub(begun).as_secs_f64();
            run.out.restored_at = Some(run.clock.now());
            run.out.restore = match run.out.restored.failed {
                0 => RestoreOutcome::Complete,
                failed => RestoreOutcome::Incomplete(failed),
            };
            Ok::<(), DrillError>(())
        })?;
        self.phase("checks", restorer, |run, restorer| {
            let mut scene = Scene::open(sandbox.root(), &picked, &snapshot, restorer, run.watch)?;
            // Others may change restored files; what the manifest check sees must not be theirs.
            let is_manifest = |spec: &&CheckSpec| spec.check.kind() == "manifest";
            let (first, rest): (Vec<_>, Vec<_>) = run.plan.checks.iter().partition(is_manifest);
            for spec in first.into_iter().chain(rest) {
                run.out.checks.push(make(spec, &mut scene));
            }
            run.out.comparison = scene.comparison;
            run.out.checked_at = Some(run.clock.now());
            Ok(())
        })
    }

    fn locate(&mut self, restorer: &mut dyn Restorer) -> Result<(SnapshotFacts, Picked), DrillError> {
        self.go_on("finding the snapshot")?;
        let snapshot = restorer.locate()?;
        self.out.snapshot = Some(snapshot.clone());
        let plan = self.plan;
        let mut picker = Picker::new(plan.scope, plan.seed, &snapshot.manifest_root, &plan.always)?;
        let mut offered = Ok(());
        restorer.entries(&mut |entry| {
            offered = self.go_on("reading the manifest").and_then(|()| picker.offer(entry.fact()));
            if offered.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        offered?;
        let (picked, facts) = picker.finish();
        self.out.pick = Some(facts);
        Ok((snapshot, picked))
    }

    fn go_on(&self, doing: &'static str) -> Result<(), DrillError> {
        if self.watch.must_stop() { Err(DrillError::Stopped(doing)) } else { Ok(()) }
    }

    /// Writes down how the rehearsal went, and judges it.
    fn settle(&mut self, outcome: Result<(), DrillError>, restorer: &dyn Restorer) {
        self.out.ended = self.watch.ended();
        self.out.reads = restorer.reads();
        if let Err(error) = &outcome {
            self.out.error_code = Some(error.code());
            let why = Chain(error).to_string();
            let was_stopped = self.out.ended != Ended::InTime && error.class() == Class::Cancelled;
            if !was_stopped {
                self.out.restore = match error.fault() {
                    Fault::Copy => RestoreOutcome::Failed(why),
                    Fault::Sandbox => RestoreOutcome::Broken(why),
                };
            }
        } else {
            self.measure_rto();
        }
        self.judge();
    }

    fn measure_rto(&mut self) {
        let seconds = self.clock.monotonic().saturating_sub(self.begun).as_secs_f64();
        self.out.rto.measured_seconds = Some(seconds);
        let (Files::Sample(_), Some(pick)) = (self.plan.scope, &self.out.pick) else { return };
        let ratio = |whole: u64, part: u64| if part == 0 { 1.0 } else { whole as f64 / part as f64 };
        let factor =
            ratio(pick.population_bytes, pick.bytes).max(ratio(pick.population, pick.files)).max(1.0);
        if pick.files > 0 {
            let checks: f64 = self.out.phases.iter().filter(|p| p.name == "checks").map(|p| p.seconds).sum();
            let once = (seconds - self.restore_seconds - checks).max(0.0);
            self.out.rto.projected_full_seconds = Some(once + (self.restore_seconds + checks) * factor);
        }
    }

    fn judge(&mut self) {
        let met = self.out.rto.met;
        let mut judged = self.judged(met);
        let may_claim = self.plan.scope == Files::All && judged.verdict.is_pass();
        if let (true, Some(objective), Some(seconds)) =
            (may_claim, self.out.rto.objective, self.out.rto.measured_seconds)
        {
            let met = if seconds <= objective.as_secs_f64() { RtoMet::Yes } else { RtoMet::No };
            self.out.rto.met = met;
            judged = self.judged(met);
        }
        self.out.verdict = judged.verdict;
        self.out.reasons = judged.reasons;
    }

    fn judged(&self, rto: RtoMet) -> super::verdict::Judgement {
        judge(&Facts {
            ended: self.out.ended,
            restore: &self.out.restore,
            absent: self.out.pick.as_ref().map_or(&[], |pick| &pick.absent),
            used_local_cache: self.out.reads.used_local_cache,
            checks: &self.out.checks,
            cleanup: self.out.cleanup.as_ref(),
            rto,
        })
    }

    fn clean_up(&mut self, sandbox: Sandbox, restorer: &mut dyn Restorer) {
        let keep = match self.out.verdict {
            // Without a restored byte there is nothing to look at.
            _ if self.out.restored_at.is_none() => Leftover::Delete,
            Verdict::Fail | Verdict::Inconclusive => self.plan.cleanup.fail,
            _ => self.plan.cleanup.pass,
        };
        let cleanup = self.phase("cleanup", restorer, |run, _| sandbox.clean_up(keep, run.clock.now()));
        self.out.cleanup = Some(cleanup);
        self.judge();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::progress::{Event, Silent};
    use crate::drill::checks::{CheckResult, Command, Manifest};
    use crate::drill::fake::{Fake, Trouble, spec};
    use crate::evidence::pick::Seed;
    use crate::policy::model;

    fn plan(scope: Files) -> DrillPlan {
        DrillPlan {
            id: "D-2026-000007".to_owned(),
            scope,
            always: Vec::new(),
            seed: Seed::from_hex(&"07".repeat(32)).expect("digits"),
            time_limit: Duration::from_secs(1000),
            rto_objective: Some(Duration::from_secs(60)),
            checks: vec![spec("same", Manifest)],
            cleanup: model::Cleanup {
                pass: Leftover::Delete,
                fail: Leftover::Keep(Duration::from_secs(72 * 3600)),
            },
        }
    }

    fn one_file() -> Files {
        Files::Sample(1)
    }

    /// Runs a drill whose restore takes `seconds_each` for each entry.
    fn drill(plan: &DrillPlan, trouble: Trouble, seconds_each: u64) -> (DrillOutcome, tempfile::TempDir) {
        let state = tempfile::tempdir().expect("a temporary folder");
        let clock = ManualClock::new(Timestamp::from_unix_ms(1_795_500_000_000));
        let mut fake = Fake { trouble, clock: Some((&clock, seconds_each)), ..Fake::new() };
        let stage = Stage {
            restorer: &mut fake,
            state_dir: state.path(),
            clock: &clock,
            progress: &Silent,
            cancel: &Cancel::new(),
        };
        (run(plan, stage), state)
    }

    fn is_left(state: &tempfile::TempDir) -> bool {
        state.path().join("sandbox/D-2026-000007").exists()
    }

    #[test]
    fn a_whole_restore_in_time_meets_its_objective() {
        let (out, state) = drill(&plan(Files::All), Trouble::None, 3);
        assert_eq!((out.verdict, out.rto.met), (Verdict::Pass, RtoMet::Yes), "{:?}", out.reasons);
        assert_eq!(out.rto.measured_seconds, Some(18.0));
        assert_eq!(out.cleanup, Some(Cleanup::Deleted));
        assert!(!is_left(&state));
        let names: Vec<_> = out.phases.iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["keys", "locate", "restore", "checks", "cleanup"]);
        assert_eq!(out.phases[2].seconds, 18.0);
        assert_eq!(out.phases[2].bytes, 5125);
        assert_eq!(out.reads.bytes_from_target, 5125);
    }

    #[test]
    fn a_whole_restore_that_takes_too_long_is_a_finding() {
        let (out, _state) = drill(&plan(Files::All), Trouble::None, 30);
        assert_eq!((out.verdict, out.rto.met), (Verdict::PassWithFindings, RtoMet::No));
        assert!(out.reasons[0].contains("recovery time objective"));
    }

    #[test]
    fn a_sample_claims_no_recovery_time_and_projects_one() {
        let (out, _state) = drill(&plan(one_file()), Trouble::None, 3);
        assert_eq!((out.verdict, out.rto.met), (Verdict::Pass, RtoMet::NotClaimed), "{:?}", out.reasons);
        let pick = out.pick.expect("picked");
        assert_eq!((pick.population, pick.sample, out.restored.files), (3, 1, 1));
        assert!(out.rto.projected_full_seconds.expect("projected") >= 9.0);
    }

    #[test]
    fn a_target_that_is_away_fails_the_drill() {
        let (out, state) = drill(&plan(Files::All), Trouble::TargetAway, 1);
        assert_eq!(out.verdict, Verdict::Fail);
        assert!(out.reasons[0].contains("no route to host"));
        assert_eq!(out.error_code, Some("E0707"));
        assert!(!is_left(&state), "there is nothing to look at");
    }

    #[test]
    fn a_sandbox_that_breaks_shows_nothing_about_the_copy() {
        let (out, _state) = drill(&plan(Files::All), Trouble::SandboxFull, 1);
        assert_eq!(out.verdict, Verdict::Inconclusive);
        let mut odd = plan(Files::All);
        odd.id = "../D-1".to_owned();
        let (out, _state) = drill(&odd, Trouble::None, 1);
        assert_eq!((out.verdict, out.cleanup), (Verdict::Inconclusive, None));
    }

    #[test]
    fn damage_fails_the_drill_and_the_files_are_kept() {
        let (out, state) = drill(&plan(Files::All), Trouble::FirstFileDamaged, 1);
        assert_eq!((out.verdict, &out.restore), (Verdict::Fail, &RestoreOutcome::Incomplete(1)));
        assert_eq!(out.rto.met, RtoMet::NotClaimed);
        assert!(matches!(out.cleanup, Some(Cleanup::KeptUntil(_))));
        assert!(is_left(&state));
        assert_eq!(out.comparison.expect("compared").missing, 1);
    }

    #[test]
    fn a_drill_over_its_limit_stops_and_has_failed() {
        let limited = DrillPlan { time_limit: Duration::from_secs(5), ..plan(Files::All) };
        let (out, _state) = drill(&limited, Trouble::None, 3);
        assert_eq!((out.verdict, out.ended), (Verdict::Fail, Ended::OverLimit), "{:?}", out.reasons);
        assert_eq!(out.restore, RestoreOutcome::Stopped);
        assert!(out.checks.is_empty());
    }

    #[test]
    fn a_check_after_the_limit_is_not_made() {
        // Six entries of one second: the limit passes during the last one.
        let limited = DrillPlan { time_limit: Duration::from_millis(5500), ..plan(Files::All) };
        let (out, _state) = drill(&limited, Trouble::None, 1);
        assert_eq!(out.restore, RestoreOutcome::Complete);
        assert_eq!((out.verdict, out.checks[0].result), (Verdict::Fail, CheckResult::Error));
    }

    #[test]
    fn a_person_who_stops_it_aborts_it() {
        struct Stopper<'a>(&'a Cancel);
        impl Progress for Stopper<'_> {
            fn event(&self, event: Event) {
                if matches!(event, Event::Advanced { .. }) {
                    self.0.cancel();
                }
            }
        }
        let state = tempfile::tempdir().expect("a temporary folder");
        let (clock, cancel) = (ManualClock::new(Timestamp::default()), Cancel::new());
        let out = run(
            &plan(Files::All),
            Stage {
                restorer: &mut Fake::new(),
                state_dir: state.path(),
                clock: &clock,
                progress: &Stopper(&cancel),
                cancel: &cancel,
            },
        );
        assert_eq!((out.verdict, out.cleanup), (Verdict::Aborted, Some(Cleanup::Deleted)));
    }

    #[test]
    fn commands_cannot_spoil_what_the_manifest_check_sees() {
        let mut plan = plan(Files::All);
        let argv = ["/bin/sh", "-c", "rm data/a.txt"].map(str::to_owned).to_vec();
        plan.checks
            .insert(0, spec("rm", Command::new(argv, Duration::from_secs(3_600), 0).expect("a program")));
        let (out, _state) = drill(&plan, Trouble::None, 1);
        // How long the program takes is no matter here: a busy machine may be late for the RTO.
        assert!(matches!(out.verdict, Verdict::Pass | Verdict::PassWithFindings), "{:?}", out.reasons);
        assert_eq!((out.checks[0].kind, out.checks[0].result), ("manifest", CheckResult::Pass));
    }

    #[test]
    fn without_a_manifest_check_nothing_passes() {
        let bare = DrillPlan { checks: Vec::new(), ..plan(Files::All) };
        assert_eq!(drill(&bare, Trouble::None, 1).0.verdict, Verdict::Inconclusive);
    }
}
