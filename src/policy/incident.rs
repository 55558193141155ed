//! When something is an incident, how bad it is, and when the next person is told.
//!
//! Severity is a table of the policy's tier and what happened. Pure: facts and `now` are arguments.

use std::time::Duration;

use super::model::{Severity, Tier};
use crate::base::clock::Timestamp;

/// Nobody is told more often than this about one incident.
pub const ESCALATIONS_MAX: u32 = 12;
/// A target that is full within so many days needs somebody.
pub const FULL_WITHIN_DAYS: u64 = 7;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Fewer than two copies are known to be whole, or none can be restored.
    Copies,
    /// A drill failed.
    Drill,
    /// Stored bytes are damaged.
    Damage,
    /// A locked object could be destroyed.
    Lock,
    /// More than the RPO would be lost; so many RPOs.
    Rpo(u64),
    /// A run failed after all its attempts.
    Run,
    /// A target could not be tried out.
    Probe,
    /// A target is full soon.
    Space,
    /// Less is free than has to be, where the records or the copies are: backups are refused.
    Headroom,
    /// A medium that is kept apart has not come by.
    Absent,
    /// A run found its source changed as an accident or an attack would.
    Odd,
    /// A change made what was promised weaker, and nobody has agreed.
    Weakened,
    /// A policy is gone from the configuration, and nobody has agreed.
    Gone,
    /// The evidence log does not verify.
    Evidence,
    /// The clock was set back.
    Clock,
}

impl Cause {
    /// The stable word; with its policy it names an incident.
    pub fn word(self) -> &'static str {
        match self {
            Self::Copies => "rule.broken",
            Self::Drill => "drill.fail",
            Self::Damage => "verify.damage",
            Self::Lock => "lock.broken",
            Self::Rpo(_) => "rpo.exceeded",
            Self::Run => "run.failed",
            Self::Probe => "target.probe",
            Self::Space => "target.space",
            Self::Headroom => "headroom",
            Self::Absent => "target.absent",
            Self::Odd => "source.odd",
            Self::Weakened => "promise.weakened",
            Self::Gone => "promise.gone",
            Self::Evidence => "evidence.broken",
            Self::Clock => "clock.stepped",
        }
    }

    /// How bad it is for a policy of this tier; `None`: not yet worth anybody's night.
    pub fn severity(self, tier: Tier) -> Option<Severity> {
        use Severity::{Critical, Minor, Serious};
        let (critical, important, standard) = match self {
            Self::Copies => (Some(Critical), Some(Critical), Some(Serious)),
            Self::Drill | Self::Damage | Self::Lock => (Some(Critical), Some(Serious), Some(Serious)),
            Self::Rpo(0) => (None, None, None),
            Self::Rpo(1) => (Some(Minor), None, None),
            Self::Rpo(2 | 3) => (Some(Serious), Some(Minor), None),
            Self::Rpo(_) => (Some(Critical), Some(Serious), Some(Minor)),
            Self::Run | Self::Probe | Self::Space | Self::Headroom | Self::Absent => {
                (Some(Minor), Some(Minor), Some(Minor))
            }
            Self::Odd | Self::Weakened => (Some(Serious), Some(Serious), Some(Minor)),
            Self::Gone | Self::Evidence | Self::Clock => (Some(Serious), Some(Serious), Some(Serious)),
        };
        match tier {
            Tier::Critical => critical,
            Tier::Important => important,
            Tier::Standard => standard,
        }
    }
}

/// The clock of an incident that nobody has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// When somebody should have answered.
    pub respond_by: Timestamp,
    /// How often somebody else was told already.
    pub escalations: u32,
    /// How long each may take.
    pub start_within: Duration,
    /// How many there are to be told, one after the other.
    pub chain: usize,
}

/// What is to be done about it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escalation {
    /// There is time left.
    Wait,
    /// The link of the chain at this place is told; nobody has to answer before the time given.
    Tell {
        /// Which link; past the chain's end, everybody again.
        link: Option<usize>,
        /// When the next is told.
        respond_by: Timestamp,
    },
    /// Everybody was told often enough.
    Exhausted,
}

/// Decides.
pub fn escalate(unanswered: &Unanswered, now: Timestamp) -> Escalation {
    if now < unanswered.respond_by {
        return Escalation::Wait;
    }
    if unanswered.escalations >= ESCALATIONS_MAX {
        return Escalation::Exhausted;
    }
    let link = usize::try_from(unanswered.escalations).ok().filter(|link| *link < unanswered.chain);
    Escalation::Tell { link, respond_by: now.plus(unanswered.start_within) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_the_table_of_cause_and_tier() {
        let row = |cause: Cause| {
            [Tier::Critical, Tier::Important, Tier::Standard]
                .map(|tier| cause.severity(tier).map_or("-", Severity::as_str))
        };
        assert_eq!(row(Cause::Copies), ["critical", "critical", "serious"]);
        assert_eq!(row(Cause::Drill), ["critical", "serious", "serious"]);
        assert_eq!(row(Cause::Rpo(0)), ["-", "-", "-"]);
        assert_eq!(row(Cause::Rpo(1)), ["minor", "-", "-"]);
        assert_eq!(row(Cause::Rpo(3)), ["serious", "minor", "-"]);
        assert_eq!(row(Cause::Rpo(4)), ["critical", "serious", "minor"]);
        assert_eq!(row(Cause::Run), ["minor", "minor", "minor"]);
        assert_eq!(row(Cause::Headroom), ["minor", "minor", "minor"]);
        assert_eq!(row(Cause::Odd), ["serious", "serious", "minor"]);
        assert_eq!(row(Cause::Clock), ["serious", "serious", "serious"]);
    }

    #[test]
    fn nobody_answers_and_each_link_is_told_then_everybody_then_nobody_more() {
        let start = Timestamp::from_unix_ms(1_000_000_000_000);
        let within = Duration::from_secs(600);
        let mut clock =
            Unanswered { respond_by: start.plus(within), escalations: 0, start_within: within, chain: 2 };
        let mut now = start;
        let mut told = Vec::new();
        for _ in 0..2000 {
            now = now.plus(Duration::from_secs(60));
            match escalate(&clock, now) {
                Escalation::Wait => {}
                Escalation::Exhausted => break,
                Escalation::Tell { link, respond_by } => {
                    told.push(link);
                    clock = Unanswered { respond_by, escalations: clock.escalations + 1, ..clock };
                }
            }
        }
        assert_eq!(told.len(), 12);
        assert_eq!(told[..3], [Some(0), Some(1), None]);
        assert!(now.since(start) >= within * 12);
    }
}
