//! Locks on stored objects, as people ask for them.

use super::clock::Timestamp;

/// Who can take a lock away before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Whoever has a right of its own for that (`s3:BypassGovernanceRetention`).
    Governance,
    /// Nobody, the owner of the account included.
    Compliance,
}

/// What is asked of every object that is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRule {
    /// Who can take it away.
    pub mode: LockMode,
    /// From the time of the put.
    pub days: u32,
}

impl LockRule {
    /// Days that a rule may ask for: a lock of compliance can't be taken back, so a slip of the pen must
    /// not bind anybody for a century.
    pub const DAYS_MAX: u32 = 3650;

    /// `governance:30d` or `compliance:35d`.
    pub fn parse(text: &str) -> Option<Self> {
        let (mode, days) = text.split_once(':')?;
        let mode = match mode {
            "governance" => LockMode::Governance,
            "compliance" => LockMode::Compliance,
            _ => return None,
        };
        let days = days.strip_suffix('d')?.parse().ok().filter(|days| (1..=Self::DAYS_MAX).contains(days))?;
        Some(Self { mode, days })
    }

    /// Until when an object that is put now is to be locked.
    pub fn until(self, now: Timestamp) -> Timestamp {
        Timestamp::from_unix_ms(now.unix_ms().saturating_add(i64::from(self.days) * 86_400_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_bad_ones_are_not() {
        let rule = LockRule::parse("compliance:35d").expect("read");
        assert_eq!(rule, LockRule { mode: LockMode::Compliance, days: 35 });
        assert_eq!(rule.until(Timestamp::from_unix_ms(0)).unix_ms(), 35 * 86_400_000);
        assert_eq!(LockRule::parse("governance:1d").map(|rule| rule.days), Some(1));
        for bad in [
            "",
            "compliance",
            "compliance:0d",
            "compliance:35",
            "compliance:3651d",
            "forever:1d",
            "governance:-1d",
        ] {
            assert_eq!(LockRule::parse(bad), None, "{bad}");
        }
    }
}
