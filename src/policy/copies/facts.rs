//! What the 3-2-1 rule looks at: declared and found facts, each with its date.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::policy::model::{AfterRun, BackupKind, CopyClass, Place, Rule, Target, TargetName};

/// What is known about everything that the rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// Where this host stands.
    pub site: &'a str,
    /// What was promised.
    pub rule: &'a Rule,
    /// What runs read back.
    pub after_run: AfterRun,
    /// The live source, once a run read it. `None` also when the last run could not.
    pub source: Option<&'a SourceFacts>,
    /// The policy's targets.
    pub targets: &'a [TargetFacts],
    /// Its snapshots, in any order.
    pub snapshots: &'a [SnapshotFacts],
    /// The copies of these snapshots, in any order.
    pub copies: &'a [CopyFacts],
    /// The newest drill of each target that came to a result.
    pub drills: &'a [DrillFacts],
    /// Ids of open findings.
    pub open_findings: &'a [String],
}

/// The live source, as the last run saw it.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// When it was read.
    pub read_at: Timestamp,
    /// What it lies on: `disk`.
    pub media: String,
}

/// Whose address a target's endpoint resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A folder has none.
    Folder,
    /// 127.0.0.0/8 or ::1.
    Loopback,
    /// Another address of this host.
    Own,
    /// RFC 1918, unique local or link-local: somewhere near, perhaps.
    Private,
    /// Any other.
    Public,
}

/// A target: what is declared, and what was found.
#[derive(Clone, Debug)]
pub struct TargetFacts {
    /// Its name in the policy.
    pub name: TargetName,
    /// Declared.
    pub location: Option<String>,
    /// Declared.
    pub media: String,
    /// Declared, or from the endpoint.
    pub provider: Option<String>,
    /// Found: `st_dev` of a folder.
    pub device: Option<u64>,
    /// Found: a folder on a device of the source.
    pub on_source_device: bool,
    /// Found.
    pub network: Network,
    /// Found: the earliest end of a lock that was probed, over the packs of its copies.
    pub lock_until: Option<Timestamp>,
    /// Declared.
    pub offline: bool,
}

impl TargetFacts {
    /// What is declared; everything that must be found is unknown or harmless.
    pub fn declared(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            location: target.location.clone(),
            media: target.media.clone(),
            provider: target.provider.clone(),
            device: None,
            on_source_device: false,
            network: match target.place {
                Place::Folder(_) => Network::Folder,
                Place::Bucket { .. } => Network::Public,
            },
            lock_until: None,
            offline: target.offline,
        }
    }

    pub(super) fn class(&self, site: &str) -> CopyClass {
        CopyClass::of(self.location.as_deref(), site)
    }

    /// What would be lost together: a device, or one provider's one place.
    pub(super) fn domain(&self, site: &str) -> String {
        match (self.network, self.device) {
            (Network::Folder, Some(device)) => format!("device {device}"),
            (Network::Folder, None) => format!("folder {}", self.name),
            _ => {
                let location = self.location.as_deref().unwrap_or(site);
                format!("{} in {location}", self.provider.as_deref().unwrap_or_default())
            }
        }
    }
}

/// A recovery point.
#[derive(Clone, Debug)]
pub struct SnapshotFacts {
    /// Its id.
    pub id: String,
    /// What sort of run made it.
    pub kind: BackupKind,
    /// When its view of the source began.
    pub captured_at: Timestamp,
}

/// How sure a copy is, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// The target answered.
    Written,
    /// The target confirmed our whole-object checksum.
    Acked,
    /// Every pack it needs was read from this target, and its hash matched.
    ReadBack,
    /// A drill restored from it, and the files matched the manifest.
    Restored,
    /// The application's checks passed on what was restored.
    Usable,
}

/// One snapshot on one target.
#[derive(Clone, Debug)]
pub struct CopyFacts {
    /// The snapshot's id.
    pub snapshot: String,
    /// Where.
    pub target: TargetName,
    /// When each level was reached, last time.
    pub levels: BTreeMap<Assurance, Timestamp>,
    /// The oldest verification among the packs it needs; the copy's age. `None`: never all of them.
    pub oldest_verified: Option<Timestamp>,
}

impl CopyFacts {
    /// The highest level reached.
    pub fn level(&self) -> Option<Assurance> {
        self.levels.keys().next_back().copied()
    }
}

/// The newest drill from a target that came to a result (inconclusive ones reset nothing).
#[derive(Clone, Debug)]
pub struct DrillFacts {
    /// Where it restored from.
    pub target: TargetName,
    /// Whether it passed.
    pub passed: bool,
    /// When it ended.
    pub at: Timestamp,
    /// When the next one is overdue: see [`drill_valid_until`].
    pub valid_until: Timestamp,
}

/// A drill counts for a period of its plan and the grace of a missed one: a quarter, at most 7 days.
pub fn drill_valid_until(passed_at: Timestamp, period: Duration) -> Timestamp {
    passed_at.plus(period).plus((period / 4).min(Duration::from_secs(7 * 86_400)))
}
