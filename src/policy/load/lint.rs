//! What single values can't show: promises that the schedule can't keep, targets in each
//! other's way, copies that no drill looks at.
//!
//! A promise that can never be kept is an error. One that facts may still help is a warning:
//! a slow week must not stop a configuration that ran yesterday from loading.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::files::{Draft, Observed};
use super::target::overlap;
use super::values;
use crate::base::size::format_duration;
use crate::policy::model::{CopyClass, DrillPlan, Place, Policy, PolicyId, Site, Target};
use crate::policy::problem::{Complaint, Problem, Severity, Sort};
use crate::policy::schedule::{Schedule, longest_gap};

/// So long an intruder often stays unseen: what is locked for less is gone when it is needed.
const DETECTION_DAYS: u32 = 30;
/// Time from a run's start until its copies are confirmed, before any was measured.
const TIME_TO_ACKED_GUESS: Duration = Duration::from_secs(6 * 60);

/// Two targets, of any policies, that are one place or lie inside each other.
pub(super) fn clashes(drafts: &[Draft]) -> Vec<Problem> {
    let all: Vec<_> = drafts
        .iter()
        .flat_map(|draft| {
            draft.policy.targets.iter().zip(&draft.spots.urls).map(move |(t, span)| (draft, t, span))
        })
        .collect();
    let mut problems = Vec::new();
    for (index, (draft, target, span)) in all.iter().enumerate() {
        let earlier = all[..index].iter().find(|(_, other, _)| overlap(target, other));
        let Some((other_draft, other, _)) = earlier else { continue };
        let cause = format!(
            "target `{}` is the same place as, or lies inside or around, target `{}` of policy `{}`",
            target.name, other.name, other_draft.policy.id
        );
        let complaint = Complaint::new(Sort::Clash, cause, "give each target a folder or prefix of its own");
        problems.push(error(draft, complaint, (*span).clone()));
    }
    problems
}

/// The policy that keeps the records of this host.
pub(super) fn self_backup(site: &Site, ids: &BTreeSet<PolicyId>, file: &str) -> Option<Problem> {
    let named = site.self_backup.as_deref().filter(|name| ids.iter().all(|id| id.as_str() != *name))?;
    Some(values::unknown_name("policy", named, ids.iter().map(PolicyId::as_str)).in_file(file))
}

/// All about one policy.
pub(super) fn policy(draft: &Draft, site: &Site, drills: &[DrillPlan], observed: &Observed) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(rpo(draft, observed));
    problems.extend(rota(draft));
    problems.extend(rule(draft, site));
    problems.extend(locations(draft, site));
    problems.extend(undrilled(draft, site, drills));
    problems.extend(target_in_source(draft));
    problems.extend(residency(draft));
    problems.extend(locks(draft));
    problems
}

fn rpo(draft: &Draft, observed: &Observed) -> Option<Problem> {
    let policy = &draft.policy;
    let schedules: Vec<&Schedule> = policy.schedule.lines().into_iter().map(|line| line.schedule).collect();
    let gap = longest_gap(&schedules)?;
    let (measured, time_to_acked) = match observed.time_to_acked.get(policy.id.as_str()) {
        Some(measured) => ("95 % of runs measured", *measured),
        None => ("a guess before the first runs", TIME_TO_ACKED_GUESS),
    };
    let rpo = policy.objective.rpo;
    let needed = gap.saturating_add(time_to_acked);
    if rpo > needed {
        return None;
    }
    let cause = format!(
        "an rpo of {} can't be promised: runs are up to {} apart and take {} until they are confirmed ({measured})",
        format_duration(rpo),
        format_duration(gap),
        format_duration(time_to_acked),
    );
    let fix = format!("set rpo above {}, or run more often", format_duration(needed));
    let complaint = Complaint::new(Sort::Promise, cause, fix);
    let span = draft.spots.rpo.clone();
    Some(if rpo <= gap { error(draft, complaint, span) } else { warning(draft, complaint, span) })
}

fn rota(draft: &Draft) -> Option<Problem> {
    let gap = longest_gap(&[&draft.policy.verify.deep])?;
    let age = draft.policy.rule.max_verify_age;
    if age > gap {
        return None;
    }
    let cause = format!(
        "copies count for {} after they were read back, but that happens only every {}",
        format_duration(age),
        format_duration(gap)
    );
    let fix = format!("set max_verify_age above {}, or [verify] deep more often", format_duration(gap));
    Some(warning(draft, Complaint::new(Sort::Promise, cause, fix), draft.spots.max_verify_age.clone()))
}

fn rule(draft: &Draft, site: &Site) -> Vec<Problem> {
    let Policy { rule, targets, .. } = &draft.policy;
    let mut complaints = Vec::new();
    let mut promise = |cause: String, fix: &str| complaints.push(Complaint::new(Sort::Promise, cause, fix));
    let possible = targets.len() + usize::from(rule.count_source);
    if usize::try_from(rule.copies).is_ok_and(|copies| copies > possible) {
        promise(
            format!("the rule asks for {} copies, and there can be {possible}", rule.copies),
            "add a target, or ask for fewer in [rule]",
        );
    }
    let offsite = targets.iter().filter(|t| t.class(&site.name) == CopyClass::Offsite).count();
    if usize::try_from(rule.offsite).is_ok_and(|wanted| wanted > offsite) {
        promise(
            format!(
                "the rule asks for {} off-site, and {offsite} of the targets is (site `{}`)",
                rule.offsite, site.name
            ),
            "declare a target's `location`, add one elsewhere, or ask for fewer in [rule]",
        );
    }
    let apart = targets.iter().filter(|target| target.immutable.is_some() || target.offline).count();
    if usize::try_from(rule.immutable_or_offline).is_ok_and(|wanted| wanted > apart) {
        promise(
            format!(
                "the rule asks for {} immutable or offline, and {apart} of the targets is",
                rule.immutable_or_offline
            ),
            "give a bucket `immutable = { mode = \"compliance\", days = 35 }`, mark a disk that is kept apart \
             `offline = true`, or ask for fewer in [rule]",
        );
    } else if apart == 0 {
        promise(
            "no copy is immutable or offline (immutable_or_offline = 0): who holds the credentials can delete all"
                .to_owned(),
            "give the writer credentials that can't delete, where the provider allows it",
        );
    }
    complaints.into_iter().map(|complaint| warning(draft, complaint, None)).collect()
}

fn locations(draft: &Draft, site: &Site) -> Vec<Problem> {
    let targets = &draft.policy.targets;
    let undeclared = targets
        .iter()
        .zip(&draft.spots.urls)
        .filter(|(target, _)| target.location.is_none() && matches!(target.place, Place::Bucket { .. }));
    let mut problems: Vec<Problem> = undeclared
        .map(|(target, span)| {
            let cause =
                format!("target `{}`: location not declared, so it does not count as off-site", target.name);
            let complaint =
                Complaint::new(Sort::Promise, cause, "add `location = \"...\"`: where the medium stands");
            warning(draft, complaint, span.clone())
        })
        .collect();
    let offsite: Vec<_> = targets.iter().filter(|t| t.class(&site.name) == CopyClass::Offsite).collect();
    let providers: BTreeSet<_> = offsite.iter().filter_map(|t| t.provider.as_deref()).collect();
    if let (2.., Some(provider), 1) = (offsite.len(), providers.first(), providers.len()) {
        let cause = format!("all off-site targets are with one provider, `{provider}`");
        let complaint = Complaint::new(Sort::Promise, cause, "put one of them with another provider");
        problems.push(warning(draft, complaint, None));
    }
    problems
}

/// Copies outside the countries that were promised, or in none that anybody named.
fn residency(draft: &Draft) -> Vec<Problem> {
    let Policy { residency, targets, .. } = &draft.policy;
    let named = residency.join(", ");
    let wrong = targets.iter().zip(&draft.spots.urls).filter(|(target, _)| {
        !residency.is_empty() && target.country.as_ref().is_none_or(|country| !residency.contains(country))
    });
    let complain = |(target, span): (&Target, &Option<Range<usize>>)| {
        let complaint = match &target.country {
            Some(country) => Complaint::new(
                Sort::Promise,
                format!("target `{}` is in {country}, and copies may lie in {named} only", target.name),
                "move it, or change `residency`",
            ),
            None => Complaint::new(
                Sort::Promise,
                format!(
                    "copies may lie in {named} only, and target `{}` doesn't say where it is",
                    target.name
                ),
                "add `country = \"..\"` to it",
            ),
        };
        error(draft, complaint, span.clone())
    };
    wrong.map(complain).collect()
}

/// Locks that end before what they protect is old, and locks that outlast it.
fn locks(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (target, span) in draft.policy.targets.iter().zip(&draft.spots.urls) {
        let Some(days) = target.immutable.map(|rule| rule.days) else { continue };
        if days < DETECTION_DAYS {
            let cause = format!(
                "the locks of `{}` last {days} days, and an attack is often found only after {DETECTION_DAYS}",
                target.name
            );
            let fix = format!("set immutable.days to {DETECTION_DAYS} or more");
            problems.push(warning(draft, Complaint::new(Sort::Promise, cause, fix), span.clone()));
        }
    }
    problems
}

fn undrilled(draft: &Draft, site: &Site, drills: &[DrillPlan]) -> Vec<Problem> {
    let policy = &draft.policy;
    let own: Vec<_> = drills.iter().filter(|d| d.policy == policy.id).collect();
    let classes: BTreeSet<CopyClass> = policy.targets.iter().map(|t| t.class(&site.name)).collect();
    let drilled = |class: &CopyClass| {
        let mut targets = policy.targets.iter().filter(|t| t.class(&site.name) == *class);
        targets.any(|target| own.iter().any(|d| d.copy.admits(target, &site.name)))
    };
    let complain = |class: CopyClass| {
        let word = match class {
            CopyClass::Local => "a local",
            CopyClass::Offsite => "an off-site",
        };
        let cause = format!("no drill ever restores from {word} copy");
        warning(
            draft,
            Complaint::new(Sort::Promise, cause, "set copy = \"each\" in a drill of this policy"),
            None,
        )
    };
    // A policy without any drill is one whose drill file is wrong: it has its own problem.
    classes.into_iter().filter(|class| !own.is_empty() && !drilled(class)).map(complain).collect()
}

fn target_in_source(draft: &Draft) -> Vec<Problem> {
    let policy = &draft.policy;
    let inside =
        policy.targets.iter().zip(&draft.spots.urls).filter_map(|(target, span)| match &target.place {
            Place::Folder(folder) => policy
                .source
                .paths
                .iter()
                .find(|path| folder.starts_with(path))
                .map(|path| (target, span, path)),
            Place::Bucket { .. } => None,
        });
    let complain = |(target, span, path): (&Target, &Option<Range<usize>>, &std::path::PathBuf)| {
        let cause = format!(
            "target `{}` lies inside the source {}: it would back up itself",
            target.name,
            path.display()
        );
        let complaint = Complaint::new(Sort::Promise, cause, "exclude its folder in [source], or move it");
        warning(draft, complaint, span.clone())
    };
    inside.map(complain).collect()
}

fn error(draft: &Draft, complaint: Complaint, span: Option<Range<usize>>) -> Problem {
    let file = &draft.policy.version.file;
    match span {
        Some(span) => complaint.at(file, &draft.text, span),
        None => complaint.in_file(file),
    }
}

fn warning(draft: &Draft, complaint: Complaint, span: Option<Range<usize>>) -> Problem {
    Problem { severity: Severity::Warning, ..error(draft, complaint, span) }
}
