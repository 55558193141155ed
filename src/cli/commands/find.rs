//! `lifeboat find`, `lifeboat repo find`: in which snapshots a file is.

use serde_json::json;

use super::look::{file_time, of_policy, shown, talking, unread_mark};
use super::repo::plumbing;
use crate::app::look::{all_readable, reading};
use crate::base::display;
use crate::base::error::Failure;
use crate::cli::args::{FindArgs, FindRuleArgs, RepoFindArgs};
use crate::cli::output::JSON_VERSION;
use crate::cli::run::Session;
use crate::engine::find::{self, Letters, Rule, Version};
use crate::repository::access::Repository;
use crate::repository::snapshots::{self, Snapshot};

/// Searches a policy's snapshots.
pub(in crate::cli) fn run(session: &Session, args: &FindArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let rule = rule(&args.rule)?;
    let opened = of_policy(session, &args.what, &args.copy)?;
    let is_policy = opened.policy.as_deref() == Some(args.what.as_str());
    let (found, damage) = if is_policy && args.copy.at.is_none() {
        all_readable(&opened.repository, opened.policy.as_deref(), session.cx.progress.as_ref())?
    } else {
        (vec![opened.snapshot], None)
    };
    let code = search(session, &opened.repository, &found, &rule)?;
    damage.map_or(Ok(code), Err)
}

/// Searches the snapshots of a bare repository.
pub(super) fn run_repo(session: &Session, args: &RepoFindArgs) -> Result<u8, Failure> {
    let session = &talking(session);
    let rule = rule(&args.rule)?;
    let secret = args.at.secret.source().read(&session.cx)?;
    let repository = plumbing(session, &args.at.access).open(&args.at.repo, &secret)?;
    let (found, damage) = match &args.snapshot {
        Some(wanted) => (vec![snapshots::find(&repository, &repository.targets()[0], wanted)?], None),
        None => all_readable(&repository, None, session.cx.progress.as_ref())?,
    };
    let code = search(session, &repository, &found, &rule)?;
    damage.map_or(Ok(code), Err)
}

fn rule(args: &FindRuleArgs) -> Result<Rule, Failure> {
    let letters = if args.ignore_case { Letters::AnyCase } else { Letters::Exact };
    let mut rule = Rule::new(&args.patterns, letters)?;
    rule.kinds = args.kinds.iter().map(|kind| kind.kind()).collect();
    (rule.larger, rule.smaller) = (args.larger, args.smaller);
    rule.newer = args.newer.as_deref().map(file_time).transpose()?;
    rule.older = args.older.as_deref().map(file_time).transpose()?;
    Ok(rule)
}

fn search(
    session: &Session,
    repository: &Repository,
    found: &[Snapshot],
    rule: &Rule,
) -> Result<u8, Failure> {
    let (mut out, is_json) = (session.output.stream(), session.output.is_json());
    let (mut versions, mut paths, mut last) = (0u64, 0u64, Vec::new());
    reading(repository, |blobs| {
        let searched = find::find(blobs, found, rule, &session.cx, &mut |version| {
            versions += 1;
            if last != version.path {
                paths += 1;
                last.clone_from(&version.path);
            }
            if is_json { out.json(&view(version, found)) } else { out.put(line(version, found).as_bytes()) }
        });
        Ok(searched?)
    })?;
    out.finish()?;
    if !is_json && !session.output.quiet {
        session.output.talk(&format!("{paths} paths, {versions} versions in {} snapshots", found.len()));
    }
    Ok(0)
}

/// `size  changed  first..last (how many)  path`.
fn line(version: &Version, found: &[Snapshot]) -> String {
    let id = |at: Option<&usize>| at.map_or_else(String::new, |at| found[*at].id.short());
    let (first, last) = (id(version.snapshots.first()), id(version.snapshots.last()));
    let count = version.snapshots.len();
    let span = if count == 1 { format!("{first:<18}") } else { format!("{first}..{last}") };
    let times = if count == 1 { String::new() } else { format!("({count})") };
    let (size, time) = (version.facts.size, shown(version.facts.mtime));
    let path = display::path(&version.path);
    format!("{size:>12}  {time}  {span} {times:<6} {path}{}\n", unread_mark(version.facts.state))
}

fn view(version: &Version, found: &[Snapshot]) -> serde_json::Value {
    let end = |at: Option<&usize>| {
        at.map(|at| json!({ "id": found[*at].id, "captured_at": found[*at].body.captured_at }))
    };
    let facts = &version.facts;
    json!({
        "version": JSON_VERSION,
        "path": display::path(&version.path),
        "path_hex": std::str::from_utf8(&version.path).is_err().then(|| hex::encode(&version.path)),
        "kind": facts.kind,
        "size": facts.size,
        "mtime": facts.mtime,
        "state": facts.state.word(),
        "first": end(version.snapshots.first()),
        "last": end(version.snapshots.last()),
        "snapshots": version.snapshots.len(),
    })
}
