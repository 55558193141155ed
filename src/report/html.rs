//! A drill report as one page: no script, nothing loaded, fit for screen, dark screen and A4.
//!
//! Prints the data and nothing else. Every word that somebody else chose (paths, names, output)
//! goes through [`visible`]; the template escapes the rest. Sections without data are left out,
//! the limits never are.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::bar;
use super::drill::{Check, CheckResult, CleanupOutcome, DrillReport, Met, OnFail, Verdict};
use super::labels::Labels;
use super::style::CSS;
use super::text::{seconds, visible_lines};
use crate::base::clock::Timestamp;
use crate::base::display::text as visible;
use crate::base::size::{format_bytes, format_count, format_duration};

/// What binds the page to the signed data.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    /// SHA-256 of the report's JSON, byte for byte.
    pub json_sha256: &'a str,
}

/// The shapes that stand beside words, so that colour never speaks alone.
#[derive(Clone, Copy)]
enum Mark {
    Good,
    Warn,
    Bad,
    Unknown,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "pass",
            Self::Warn => "warn",
            Self::Bad => "fail",
            Self::Unknown => "none",
        }
    }

    /// A filled disc with a tick, a triangle, an octagon with a cross, a hollow ring with a bar.
    fn shape(self) -> PreEscaped<&'static str> {
        PreEscaped(match self {
            Self::Good => {
                r##"<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="11" fill="var(--tone)"/><path d="M6.8 12.6l3.4 3.4 7-7.6" fill="none" stroke="var(--tone-bg)" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"/></svg>"##
            }
            Self::Warn => {
                r##"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 2.2L23 21.6H1z" fill="var(--tone)" stroke="var(--tone)" stroke-width="1.4" stroke-linejoin="round"/><path d="M12 9v6" stroke="var(--tone-bg)" stroke-width="2.4" stroke-linecap="round"/><circle cx="12" cy="18.4" r="1.4" fill="var(--tone-bg)"/></svg>"##
            }
            Self::Bad => {
                r##"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z" fill="var(--tone)"/><path d="M8 8l8 8M16 8l-8 8" stroke="var(--tone-bg)" stroke-width="2.6" stroke-linecap="round"/></svg>"##
            }
            Self::Unknown => {
                r##"<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="9.8" fill="none" stroke="var(--tone)" stroke-width="2.2" stroke-dasharray="4.1 2.6"/><path d="M7.6 12h8.8" stroke="var(--tone)" stroke-width="2.4" stroke-linecap="round"/></svg>"##
            }
        })
    }
}

/// The whole page.
pub fn page(report: &DrillReport, seal: Seal<'_>, labels: &Labels) -> String {
    let page = Page { report, seal, l: labels };
    let title = format!("{} {} · {}", labels.title, visible(&report.id), page.verdict().1);
    html! {
        (DOCTYPE)
        html lang=(labels.language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(CSS)) }
            }
            body {
                main {
                    header.top { b { "Lifeboat" } span { (labels.title) " " span.mono { (visible(&report.id)) } } }
                    (page.banner()) (page.summary()) (page.plan()) (page.subject()) (page.pick())
                    (page.timeline()) (page.checks()) (page.files()) (page.findings())
                    (page.environment()) (page.limits()) (page.evidence())
                    footer { span { (visible(&report.schema)) " · " (visible(&report.id)) } span { (report.times.ended_at.readable()) } }
                }
            }
        }
    }
    .into_string()
}

struct Page<'a> {
    report: &'a DrillReport,
    seal: Seal<'a>,
    l: &'a Labels,
}

impl Page<'_> {
    fn verdict(&self) -> (Mark, &'static str) {
        let words = &self.l.verdicts;
        match self.report.verdict {
            Verdict::Pass => (Mark::Good, words.pass),
            Verdict::PassWithFindings => (Mark::Warn, words.pass_with_findings),
            Verdict::Fail => (Mark::Bad, words.fail),
            Verdict::Inconclusive => (Mark::Unknown, words.inconclusive),
            Verdict::Aborted => (Mark::Unknown, words.aborted),
        }
    }

    fn banner(&self) -> Markup {
        let (r, f) = (self.report, &self.l.facts);
        let (mark, word) = self.verdict();
        html! {
            div class={ "banner " (mark.class()) } {
                h1 { (mark.shape()) (word) }
                dl.meta {
                    div { dt { (f.policy) } dd { (visible(&r.subject.policy)) } }
                    div { dt { (f.copy) } dd { (visible(&r.subject.copy.target)) } }
                    div { dt { (f.drill) } dd { (visible(&r.plan.name)) } }
                    div { dt { (f.date) } dd { (r.times.started_at.readable()) } }
                }
                div.says {
                    div { h2 { (self.l.proves) } p { (self.proves()) } }
                    div { h2 { (self.l.proves_not) } p { (r.limits.first().map(|limit| visible(limit)).unwrap_or_default()) } }
                }
            }
        }
    }

    /// What the drill proves, in a sentence.
    fn proves(&self) -> String {
        let (r, s) = (self.report, &self.l.sentences);
        let sentence = match r.verdict {
            Verdict::Pass | Verdict::PassWithFindings if r.rto.scope.is_full() => s.full,
            Verdict::Pass | Verdict::PassWithFindings => s.partial,
            Verdict::Fail => s.fail,
            Verdict::Inconclusive => s.inconclusive,
            Verdict::Aborted => s.aborted,
        };
        let snapshot = r.subject.snapshot.as_ref();
        fill(
            sentence,
            &[
                ("files", format_count(r.restore.files)),
                ("population", format_count(r.pick.as_ref().map_or(0, |pick| pick.population))),
                ("snapshot", snapshot.map(|s| visible(s.id.get(..8).unwrap_or(&s.id))).unwrap_or_default()),
                ("captured", snapshot.map(|s| s.captured_at.readable()).unwrap_or_default()),
                ("target", visible(&r.subject.copy.target)),
                ("reason", r.verdict_reasons.first().map(|reason| visible(reason)).unwrap_or_default()),
            ],
        )
    }

    fn summary(&self) -> Markup {
        let (r, c, f) = (self.report, &self.l.columns, &self.l.facts);
        let missing = || self.l.not_measured.to_owned();
        let whole = |s: u64| format_duration(std::time::Duration::from_secs(s));
        let none = || self.l.none.to_owned();
        let rto = r.rto.measured_s.map_or_else(missing, seconds);
        let projected =
            r.rto.projected_full_s.map(|s| format!("{}: {} ({})", f.projected, seconds(s), self.l.estimate));
        let lasted = r.times.ended_at.since(r.times.started_at);
        let in_limit = lasted.as_secs_f64() <= r.plan.time_limit_s as f64;
        html! {
            (self.section(self.l.sections.summary, html! {
                table.summary {
                    thead { tr { th { (c.what) } th { (c.objective) } th { (c.measured) } th { (c.met) } } }
                    tbody {
                        tr { td.k { (f.integrity) } td { (f.integrity_objective) } td { (self.integrity()) } td { (self.met(self.integrity_met())) } }
                        tr {
                            td.k { (f.rto) } td { (r.rto.objective_s.map_or_else(none, whole)) }
                            td { (rto) @if let Some(text) = projected { span.sub { (text) } } }
                            td { (self.met(r.rto.met)) }
                        }
                        tr { td.k { (f.rpo) } td { (r.rpo.objective_s.map_or_else(none, whole)) } td { (r.rpo.exposure_s.map_or_else(missing, whole)) } td { (self.met(r.rpo.met)) } }
                        tr { td.k { (f.time_limit) } td { (whole(r.plan.time_limit_s)) } td { (seconds(lasted.as_secs_f64())) } td { (self.met(if in_limit { Met::Yes } else { Met::No })) } }
                    }
                }
                @if r.verdict != Verdict::Pass {
                    ul.reasons { @for reason in &r.verdict_reasons { li { (visible(reason)) } } }
                }
            }))
        }
    }

    fn integrity(&self) -> String {
        let r = &self.report.restore;
        match self.integrity_met() {
            Met::NotClaimed => self.l.not_measured.to_owned(),
            _ => fill(
                self.l.sentences.integrity,
                &[
                    ("files", format_count(r.files)),
                    ("mismatched", format_count(r.mismatched)),
                    ("missing", format_count(r.missing)),
                    ("metadata", format_count(r.metadata_differences)),
                ],
            ),
        }
    }

    fn integrity_met(&self) -> Met {
        let results: Vec<_> =
            self.report.checks.iter().filter(|check| check.kind == "manifest").map(|c| c.result).collect();
        if results.contains(&CheckResult::Fail) || self.report.restore.outcome == "incomplete" {
            Met::No
        } else if results.contains(&CheckResult::Pass) {
            Met::Yes
        } else {
            Met::NotClaimed
        }
    }

    fn plan(&self) -> Markup {
        let (r, f) = (self.report, &self.l.facts);
        let trigger = match &r.trigger.actor {
            Some(actor) => format!("{} ({actor})", r.trigger.by),
            None => r.trigger.by.clone(),
        };
        self.section(
            self.l.sections.plan,
            html! {
                dl.facts {
                    (fact(f.objective, &r.plan.objective))
                    (some(f.scenario, r.plan.scenario.as_deref()))
                    dt { (f.criteria) } dd { ul { @for item in &r.plan.success_criteria { li { (visible(item)) } } } }
                    (fact(f.trigger, &trigger))
                    (some(f.scheduled_for, r.trigger.scheduled_for.map(Timestamp::readable).as_deref()))
                    (some(f.retest_of, r.trigger.retest_of.as_deref()))
                    (hash(f.plan_hash, Some(&r.plan.sha256)))
                    (hash(f.policy_hash, r.subject.policy_sha256.as_deref()))
                }
            },
        )
    }

    fn subject(&self) -> Markup {
        let (s, f) = (&self.report.subject, &self.l.facts);
        let copy = &s.copy;
        let at: Vec<&str> = [copy.location.as_deref(), copy.media.as_deref()].into_iter().flatten().collect();
        self.section(
            self.l.sections.subject,
            html! {
                dl.facts {
                    @if let Some(snapshot) = &s.snapshot {
                        (fact(f.snapshot, &format!("{} ({})", snapshot.id, snapshot.kind)))
                        (fact(f.captured, &snapshot.captured_at.readable()))
                        (fact(f.contents, &format!("{} {}, {}", format_count(snapshot.files), f.files, format_bytes(snapshot.bytes))))
                        @if !snapshot.chain.is_empty() { (fact(f.chain, &snapshot.chain.join(", "))) }
                        (hash(f.root, Some(&snapshot.manifest_root)))
                    } @else {
                        (fact(f.snapshot, self.l.none))
                    }
                    (fact(f.copy, &copy.target))
                    (hash(f.place, Some(&copy.place)))
                    @if !at.is_empty() { (fact(f.location, &at.join(", "))) }
                    (fact(f.offsite, self.yes_no(copy.offsite)))
                    (some(f.locked_until, copy.immutable_until.map(Timestamp::readable).as_deref()))
                    (some(f.level_before, copy.level_before.as_deref()))
                }
            },
        )
    }

    fn pick(&self) -> Markup {
        let f = &self.l.facts;
        let Some(pick) = &self.report.pick else { return html! {} };
        let is_all = pick.method == "all";
        self.section(
            self.l.sections.pick,
            html! {
                dl.facts {
                    (fact(f.method, if is_all { f.method_all } else { f.method_sample }))
                    (fact(f.population, &format_count(pick.population)))
                    @if !is_all {
                        (fact(f.sample, &format_count(pick.sample)))
                        @if pick.always > 0 { (fact(f.always, &format_count(pick.always))) }
                    }
                    (fact(f.detects, &pick.detects))
                    (hash(f.seed, pick.seed.as_deref()))
                    (hash(f.commitment, pick.commitment.as_deref()))
                    (hash(f.list_hash, pick.list_sha256.as_deref()))
                }
                @if pick.seed.is_some() { p.note { (self.l.sentences.pick_again) } }
            },
        )
    }

    fn timeline(&self) -> Markup {
        let (c, phases) = (&self.l.columns, &self.report.times.phases);
        if phases.is_empty() {
            return html! {};
        }
        self.section(
            self.l.sections.timeline,
            html! {
                (bar::phases(phases, |name| self.l.phase(name)))
                table {
                    thead { tr { th { (c.phase) } th.n { (c.duration) } th.n { (c.share) } th.n { (c.read) } } }
                    tbody {
                        @for (at, phase) in phases.iter().enumerate() {
                            tr {
                                td { span class={ "key " (bar::tone(at)) } { (at + 1) } (visible(self.l.phase(&phase.name))) }
                                td.n { (seconds(phase.s)) }
                                td.n { (format!("{:.1} %", bar::percent(phase, phases))) }
                                td.n { (format_bytes(phase.bytes)) }
                            }
                        }
                    }
                }
                p.note { (self.l.sentences.phase_note) }
            },
        )
    }

    fn checks(&self) -> Markup {
        let c = &self.l.columns;
        let mut checks: Vec<&Check> = self.report.checks.iter().collect();
        checks.sort_by_key(|check| match check.result {
            CheckResult::Fail => 0,
            CheckResult::Error => 1,
            CheckResult::Pass => 2,
        });
        self.section(
            self.l.sections.checks,
            html! {
                @if checks.is_empty() { p { (self.l.sentences.no_checks) } } @else {
                    table.checks {
                        thead { tr { th { (c.result) } th { (c.check) } th { (c.expected) } th { (c.observed) } th.n { (c.duration) } } }
                        tbody { @for check in checks { (self.check(check)) } }
                    }
                }
            },
        )
    }

    fn check(&self, check: &Check) -> Markup {
        let f = &self.l.facts;
        let [pass, fail, error] = self.l.results;
        let is_optional = !check.required || check.on_fail == OnFail::Warn;
        let (mark, word) = match check.result {
            CheckResult::Pass => (Mark::Good, pass),
            CheckResult::Fail if is_optional => (Mark::Warn, fail),
            CheckResult::Fail => (Mark::Bad, fail),
            CheckResult::Error => (Mark::Unknown, error),
        };
        html! {
            tr {
                td { (marked(mark, word)) }
                td.k { (visible(&check.id)) span.sub { (visible(&check.kind)) @if is_optional { ", " (f.optional) } } }
                td { (visible(&check.expected)) }
                td {
                    (visible(&check.observed))
                    @if let Some(message) = &check.message { span.sub { (visible(message)) } }
                    @if let Some(output) = check.output.as_deref().filter(|output| !output.is_empty()) {
                        details open[check.result != CheckResult::Pass] { summary { (f.output) } pre { (visible_lines(output)) } }
                    }
                    @if let Some(sha256) = &check.output_sha256 { span.sub { (f.output_hash) " " span.mono { (visible(sha256)) } } }
                }
                td.n { (seconds(check.s)) }
            }
        }
    }

    fn files(&self) -> Markup {
        let (r, f, c) = (&self.report.restore, &self.l.facts, &self.l.columns);
        let listed = u64::try_from(r.worst.len()).unwrap_or(u64::MAX);
        let all = r.mismatched.saturating_add(r.missing).saturating_add(r.metadata_differences);
        let is_compared = self.integrity_met() != Met::NotClaimed;
        self.section(
            self.l.sections.files,
            html! {
                div.counts {
                    div { b { (format_count(r.files)) } span { (f.restored) ", " (format_bytes(r.bytes)) } }
                    div { b { (format_bytes(r.bytes_read_from_target)) } span { (f.from_target) } }
                    @if is_compared {
                        (count(f.mismatched, r.mismatched)) (count(f.missing, r.missing)) (count(f.metadata, r.metadata_differences))
                        @if let Some(extra) = r.extra { (count(f.extra, extra)) }
                    }
                }
                @if !r.worst.is_empty() {
                    table {
                        thead { tr { th { (c.path) } th { (c.problem) } } }
                        tbody { @for item in &r.worst { tr { td.mono { (visible(&item.path)) } td { (visible(&item.problem)) } } } }
                    }
                    @if all > listed { p.note { (fill(self.l.sentences.more_problems, &[("count", format_count(all - listed))])) } }
                } @else if self.integrity_met() == Met::Yes { p.note { (self.l.sentences.no_problems) } }
            },
        )
    }

    fn findings(&self) -> Markup {
        let (c, none) = (&self.l.columns, self.l.none);
        let findings = &self.report.findings;
        self.section(
            self.l.sections.findings,
            html! {
                @if findings.is_empty() { p { (self.l.sentences.no_findings) } } @else {
                    table {
                        thead { tr { th { (c.severity) } th { (c.title) } th { (c.action) } th { (c.owner) } th { (c.due) } th { (c.status) } } }
                        tbody {
                            @for finding in findings {
                                tr {
                                    td { (marked(if finding.severity == "minor" { Mark::Warn } else { Mark::Bad }, &visible(&finding.severity))) }
                                    td { (visible(&finding.title)) span.sub { (visible(&finding.id)) @if let Some(cause) = &finding.root_cause { ": " (visible(cause)) } } }
                                    td { (finding.action.as_deref().map_or(none.to_owned(), visible)) }
                                    td { (finding.owner.as_deref().map_or(none.to_owned(), visible)) }
                                    td { (finding.due.map_or(none.to_owned(), |due| due.to_utc().format("%Y-%m-%d").to_string())) }
                                    td { (visible(&finding.status.replace('_', " "))) @if let Some(by) = &finding.closed_by { span.sub { (visible(by)) } } }
                                }
                            }
                        }
                    }
                }
            },
        )
    }

    fn environment(&self) -> Markup {
        let (e, f) = (&self.report.environment, &self.l.facts);
        let [deleted, kept, failed, none] = self.l.cleanup;
        let cleanup = match e.cleanup.outcome {
            CleanupOutcome::Deleted => deleted.to_owned(),
            CleanupOutcome::Kept => {
                fill(kept, &[("until", e.cleanup.until.map(Timestamp::readable).unwrap_or_default())])
            }
            CleanupOutcome::Failed => failed.to_owned(),
            CleanupOutcome::None => none.to_owned(),
        };
        let state = if e.state_used.is_empty() { self.l.none.to_owned() } else { e.state_used.join(", ") };
        self.section(
            self.l.sections.environment,
            html! {
                dl.facts {
                    (fact(f.host, &e.host))
                    (fact(f.sandbox, &e.sandbox))
                    (fact(f.isolated, self.yes_no(e.isolated_from_source)))
                    (fact(f.network, &e.network))
                    (fact(f.cache, self.yes_no(self.report.restore.used_local_cache)))
                    (fact(f.state_used, &state))
                    (fact(f.keys_from, &e.keys_from))
                    (fact(f.version, &e.version))
                    (hash(f.binary, e.binary_sha256.as_deref()))
                    dt { (f.cleanup) } dd { (cleanup) @if let Some(message) = &e.cleanup.message { ": " (visible(message)) } }
                }
            },
        )
    }

    fn limits(&self) -> Markup {
        self.section(
            self.l.sections.limits,
            html! { ol.limits { @for limit in &self.report.limits { li { (visible(limit)) } } } },
        )
    }

    fn evidence(&self) -> Markup {
        let (r, f, s) = (self.report, &self.l.facts, &self.l.sentences);
        let e = &r.evidence;
        let id = visible(&r.id);
        let one = format!(
            "sha256sum reports/{id}.json\n  # {}\nopenssl pkey -pubin -in key.pub.pem -outform DER | sha256sum\n  # {}\nopenssl pkeyutl -verify -pubin -inkey key.pub.pem -rawin \\\n  -in reports/{id}.json -sigfile reports/{id}.sig",
            visible(self.seal.json_sha256),
            visible(&e.key_id)
        );
        self.section(
            self.l.sections.evidence,
            html! {
                dl.facts {
                    (fact(f.log_range, &format!("{} \u{2013} {}", e.log_seq_first, e.log_seq_last)))
                    (hash(f.log_head, Some(&e.log_head)))
                    (hash(f.json_hash, Some(self.seal.json_sha256)))
                    (hash(f.key, Some(&e.key_id)))
                    @if !e.attachments.is_empty() {
                        dt { (f.attachments) }
                        dd { @for file in &e.attachments { div { (visible(&file.name)) " " span.mono { (visible(&file.sha256)) } } } }
                    }
                }
                p.cmd { (s.verify_all) } pre { "lifeboat evidence verify ." }
                p.cmd { (s.verify_one) } pre { (one) }
            },
        )
    }

    fn section(&self, title: &str, body: Markup) -> Markup {
        html! { section { h2 { (title) } (body) } }
    }

    fn met(&self, met: Met) -> Markup {
        let [yes, no, not_claimed] = self.l.met;
        match met {
            Met::Yes => marked(Mark::Good, yes),
            Met::No => marked(Mark::Bad, no),
            Met::NotClaimed => marked(Mark::Unknown, not_claimed),
        }
    }

    fn yes_no(&self, is: bool) -> &'static str {
        let [yes, no] = self.l.yes_no;
        if is { yes } else { no }
    }
}

fn marked(mark: Mark, word: &str) -> Markup {
    html! { span class={ "mark " (mark.class()) } { (mark.shape()) (word) } }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { dt { (name) } dd { (visible(value)) } }
}

fn some(name: &str, value: Option<&str>) -> Markup {
    html! { @if let Some(value) = value { (fact(name, value)) } }
}

fn hash(name: &str, value: Option<&str>) -> Markup {
    html! { @if let Some(value) = value { dt { (name) } dd.mono { (visible(value)) } } }
}

fn count(name: &str, number: u64) -> Markup {
    html! { div.bad[number > 0] { b { (format_count(number)) } span { (name) } } }
}

/// Replaces each `{name}` once over; values are not looked at again.
fn fill(sentence: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = tail;
    }
    out.push_str(rest);
    out
}
