//! `lifeboat repo ...`: bare repositories.

use serde_json::json;

use super::repo_rules::Sourced;
use crate::app::error::AppError;
use crate::app::plumbing::{Plumbing, Shape};
use crate::app::secrets::SecretSource;
use crate::base::display;
use crate::base::durable::Created;
use crate::base::error::{Class, Failure};
use crate::base::limits::{PACK_BYTES_MAX, PACK_BYTES_MIN};
use crate::base::size::{format_bytes, parse_bytes};
use crate::cli::args::{
    KindArgs, KitChoice, ManyRepos, OneRepo, OneRepoKeyOptional, OptionalSecretArgs, RepoBackupArgs,
    RepoCommand, S3Args,
};
use crate::cli::output::{JSON_VERSION, Output, escape, more};
use crate::cli::run::Session;
use crate::engine::backup::outcome::BackupOutcome;
use crate::engine::backup::request::{BackupRequest, CheckpointRule, ParentChoice, SourceRule};
use crate::engine::error::ROLLED_BACK_HINT;
use crate::engine::history::{self, Finding, Sight};
use crate::engine::verify::{Depth, VerifyOutcome};
use crate::repository::format::slot::SlotSecret;
use crate::repository::format::snapshot::SnapshotKind;
use crate::repository::snapshots::{self, Snapshot};
use crate::storage::place::PlaceOptions;

/// Runs one plumbing command.
pub(in crate::cli) fn run(session: &Session, command: RepoCommand) -> Result<u8, Failure> {
    match command {
        RepoCommand::Init { at, pack_size, parity, kit } => init(session, &at, (&pack_size, parity), &kit),
        RepoCommand::Backup(args) => backup(session, *args),
        RepoCommand::Snapshots(at) => list_snapshots(session, &at),
        RepoCommand::Verify { at, deep } => verify(session, &at, deep),
        RepoCommand::Sync { from, to, secret, access } => {
            let plumbing = plumbing(session, &access);
            let secret = optional_secret(session, &secret)?;
            let outcome = plumbing.sync(&from, &to, secret.as_ref())?;
            let out = session.output;
            if out.is_json() {
                out.json(&json!({ "version": JSON_VERSION, "sync": outcome }));
            } else {
                for failed in &outcome.failed {
                    out.talk(&format!("warning: {}", escape(failed)));
                }
                let forgotten = match outcome.snapshots_forgotten {
                    0 => String::new(),
                    count => format!("{count} forgotten and left out, "),
                };
                out.line(&format!(
                    "{} snapshots copied, {} were there, {forgotten}{} in all",
                    outcome.snapshots_copied,
                    outcome.snapshots_present,
                    format_bytes(outcome.bytes)
                ));
            }
            Ok(if outcome.failed.is_empty() { 0 } else { Class::Partial.exit_code() })
        }
        RepoCommand::Key(command) => super::key::run_repo(session, &command),
        RepoCommand::Prune(args) => super::prune::run(session, &args),
        RepoCommand::Forget(args) => super::forget::run(session, &args),
        RepoCommand::AcceptLoss { at, reason, dry_run } => accept_loss(session, &at, &reason, dry_run),
        RepoCommand::Repair { at, from, dry_run } => super::repair::run_repo(session, &at, &from, dry_run),
        RepoCommand::Scrub(args) => super::scrub::run_repo(session, &args),
        RepoCommand::RebuildIndex(at) => super::repair::rebuild_index(session, &at),
        RepoCommand::Stats(at) => stats(session, &at),
        RepoCommand::Probe { repos, access } => super::target::probe_places(session, &repos, &access),
        RepoCommand::ExtendLocks(at) => super::target::extend_places(session, &at),
        RepoCommand::Restore { at, snapshot, to } => super::repo_restore::run(session, &at, &snapshot, &to),
        RepoCommand::Ls(args) => super::ls::run_repo(session, &args),
        RepoCommand::Find(args) => super::find::run_repo(session, &args),
        RepoCommand::Diff(args) => super::diff::run_repo(session, &args),
        RepoCommand::Mount(args) => super::mount::run_repo(session, &args),
        RepoCommand::Dump(args) => super::dump::run_repo(session, &args),
    }
}

/// The plumbing of a command line.
pub(super) fn plumbing(session: &Session, access: &S3Args) -> Plumbing {
    let cache = Some(session.state_folder().join("cache"));
    Plumbing {
        cx: session.cx.clone(),
        places: place_options(access),
        traffic: session.traffic.clone(),
        cache,
        memory: Some(session.state_folder().join("seen")),
        scrubbed: session.state_folder().join("scrubbed"),
    }
}

/// The options of S3 places.
pub(in crate::cli) fn place_options(access: &S3Args) -> PlaceOptions {
    PlaceOptions {
        endpoint: access.endpoint.clone(),
        region: access.region.clone(),
        path_style: access.path_style.then_some(true),
        credentials_file: access.credentials_file.clone(),
        ca_file: access.ca_file.clone(),
        lock: None,
    }
}

/// Which kind of backup the flags ask for.
pub(in crate::cli) fn kind_of(args: KindArgs) -> SnapshotKind {
    if args.full {
        SnapshotKind::Full
    } else if args.differential {
        SnapshotKind::Differential
    } else {
        SnapshotKind::Incremental
    }
}

fn init(
    session: &Session,
    at: &ManyRepos,
    (pack_size, parity): (&str, u8),
    choice: &KitChoice,
) -> Result<u8, Failure> {
    let wrong = |hint: String| AppError::Usage { what: format!("`{pack_size}` is no pack size"), hint };
    let bytes = parse_bytes(pack_size).map_err(|error| wrong(error.to_string()))?;
    let fits = usize::try_from(bytes).ok().filter(|bytes| (PACK_BYTES_MIN..=PACK_BYTES_MAX).contains(bytes));
    let pack_bytes = fits.ok_or_else(|| wrong("from 8 MiB to 512 MiB".to_owned()))?;
    let source = at.secret.source();
    let plumbing = plumbing(session, &at.access);
    // Before a key file is made: one beside a repository that it doesn't open would mislead.
    plumbing.refuse_existing(&at.repos)?;
    let (secret, key_file) = source.read_or_make(&session.cx)?;
    let repository = plumbing.init(&at.repos, &secret, Shape { pack_bytes, parity })?;
    let out = session.output;
    if !out.is_json() {
        let places = at.repos.len();
        out.line(&format!("repository {} made at {places} of {places} places", repository.id()));
        if let (SecretSource::KeyFile(path), Created::New) = (&source, key_file) {
            out.line(&format!("key file made: {}", escape(&path.display().to_string())));
        }
        out.talk(&format!(
            "Keep the {}, and a copy of it elsewhere: without it nothing in the repository can ever be read.",
            secret.method().word()
        ));
    }
    let kit = super::kit::at_init(session, at, choice, &secret, &repository.id().to_hex())?;
    if out.is_json() {
        out.json(&json!({
            "version": JSON_VERSION,
            "repository": repository.id(),
            "targets": at.repos,
            "key_file_made": key_file == Created::New,
            "recovery_kit": kit.word(),
        }));
    }
    Ok(0)
}

fn backup(session: &Session, args: RepoBackupArgs) -> Result<u8, Failure> {
    let secret = args.at.secret.source().read(&session.cx)?;
    let Sourced { roots, stream } = super::repo_rules::sourced(&args.stream, &args.paths, &args.rules)?;
    let walk = super::repo_rules::rules(args.rules)?;
    // Includes that match nothing must not look like a backup.
    let rule = SourceRule { files_min: u64::from(!walk.includes.is_empty()) };
    let request = BackupRequest {
        roots,
        freeze: super::repo_rules::freeze(args.snapshot, &session.state_folder()),
        stream,
        kind: kind_of(args.kind),
        host: args.host.unwrap_or_else(crate::app::plumbing::host_name),
        policy: None,
        tags: args.tags,
        parent: args.parent.map_or(ParentChoice::Newest, ParentChoice::Named),
        walk,
        rule,
        effort: args.compression,
        checkpoint: CheckpointRule { time: args.checkpoint_every, ..CheckpointRule::default() },
        run_id: None,
        occurrence: None,
        sight: Sight::All,
    };
    let outcome = plumbing(session, &args.at.access).backup(&args.at.repos, &secret, &request)?;
    Ok(print_backup(session.output, &outcome))
}

/// Prints what a backup did and gives the exit code.
pub(in crate::cli) fn print_backup(out: Output, outcome: &BackupOutcome) -> u8 {
    let code = if outcome.is_rolled_back() {
        Class::Damage.exit_code()
    } else if outcome.is_partial() {
        Class::Partial.exit_code()
    } else {
        0
    };
    let lagging: Vec<&str> =
        outcome.targets.iter().filter(|t| !t.complete).map(|t| t.target.as_str()).collect();
    if out.is_json() {
        let mut value = json!({ "version": JSON_VERSION, "exit": code, "outcome": outcome });
        value["outcome"]["lagging"] = json!(lagging);
        out.json(&value);
        return code;
    }
    let stats = &outcome.stats;
    for item in &outcome.unread.named {
        out.talk(&format!("unread: {}: {}", escape(&item.path), escape(&item.reason)));
    }
    if let Some(more) = more(outcome.unread.count, outcome.unread.named.len()) {
        out.talk(&format!("unread: {more}"));
    }
    for item in &outcome.changed.named {
        out.talk(&format!("changed: {}: {}", escape(&item.path), escape(&item.reason)));
    }
    if let Some(more) = more(outcome.changed.count, outcome.changed.named.len()) {
        out.talk(&format!("changed: {more}"));
    }
    for target in outcome.targets.iter().filter(|target| !target.complete) {
        let reason = target.reason.as_deref().unwrap_or("no reason given");
        out.talk(&format!("lagging: {}: {}", escape(&target.target), escape(reason)));
    }
    if !lagging.is_empty() {
        out.talk("  next: the next backup completes it, or `lifeboat repo sync` now");
    }
    super::repo_rules::name_idle(out, &outcome.left_out);
    name_history(out, &outcome.history);
    let seconds = outcome.ended_at.since(outcome.captured_at).as_secs();
    out.line(&format!(
        "{}: {} files, {}; {} read, {} new, {} stored in {seconds} s",
        outcome.kind.word(),
        stats.files,
        format_bytes(stats.source_bytes),
        format_bytes(stats.bytes_read),
        format_bytes(stats.bytes_new),
        format_bytes(stats.bytes_stored),
    ));
    let (changed, unread) = (outcome.changed.count, outcome.unread.count);
    if changed + unread + outcome.vanished + stats.excluded > 0 {
        out.line(&format!(
            "{unread} unread, {changed} changed while read, {} vanished, {} left out by rules",
            outcome.vanished, stats.excluded
        ));
    }
    if let Some(text) = super::repo_rules::describe(&outcome.left_out) {
        out.line(&format!("left out by rules: {text}"));
    }
    out.line(&format!(
        "snapshot {} saved to {} of {} targets",
        outcome.snapshot.short(),
        outcome.complete(),
        outcome.targets.len()
    ));
    code
}

fn list_snapshots(session: &Session, at: &OneRepo) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let repository = plumbing(session, &at.access).open(&at.repo, &secret)?;
    let target = &repository.targets()[0];
    let (found, damaged) = snapshots::load_all(&repository, target)?;
    let out = session.output;
    if out.is_json() {
        let list: Vec<serde_json::Value> = found.iter().map(snapshot_json).collect();
        let damaged: Vec<String> = damaged.iter().map(|(name, _)| name.id.to_hex()).collect();
        out.json(&json!({ "version": JSON_VERSION, "snapshots": list, "damaged": damaged }));
    } else {
        for snapshot in &found {
            let body = &snapshot.body;
            let roots: Vec<String> = body.roots.iter().map(|root| display::path(&root.path)).collect();
            let bytes = body.roots.iter().map(|root| root.bytes).sum();
            out.line(&format!(
                "{}  {}  {:<12} {:>10}  {}  {}{}",
                snapshot.id.short(),
                body.captured_at.readable(),
                body.kind.word(),
                format_bytes(bytes),
                escape(&body.host),
                roots.join(" "),
                if body.unread.count > 0 {
                    format!("  partial: {} unread", body.unread.count)
                } else {
                    String::new()
                },
            ));
        }
        for (name, error) in &damaged {
            out.talk(&format!("damaged: snapshot {}: {error}", name.id.short()));
        }
    }
    // A list is only read; what is missing from it is said, and no more.
    let history = history::look(&repository, Sight::Part, &session.cx)?;
    if !out.is_json() {
        name_history(out, &history.rollbacks().cloned().collect::<Vec<_>>());
    }
    Ok(if damaged.is_empty() { 0 } else { Class::Damage.exit_code() })
}

fn snapshot_json(snapshot: &Snapshot) -> serde_json::Value {
    let body = &snapshot.body;
    let roots: Vec<serde_json::Value> = body
        .roots
        .iter()
        .map(
            |root| json!({ "path": display::path(&root.path), "entries": root.entries, "bytes": root.bytes }),
        )
        .collect();
    json!({
        "id": snapshot.id,
        "kind": body.kind,
        "asked": body.asked,
        "host": body.host,
        "policy": body.policy,
        "tags": body.tags,
        "captured_at": body.captured_at,
        "ended_at": body.ended_at,
        "parent": body.parent,
        "base_full": body.base_full,
        "number": snapshot.number,
        "signed": snapshot.signed,
        "partial": body.unread.count > 0,
        "unread": body.unread.count,
        "files": body.stats.files,
        "roots": roots,
    })
}

fn verify(session: &Session, at: &OneRepoKeyOptional, deep: bool) -> Result<u8, Failure> {
    let secret = optional_secret(session, &at.secret)?;
    let depth = if deep { Depth::Blobs } else { Depth::Objects };
    let outcome = plumbing(session, &at.access).verify(&at.repo, secret.as_ref(), depth)?;
    Ok(print_verify(session.output, &outcome))
}

/// What was named, read.
pub(super) fn optional_secret(
    session: &Session,
    args: &OptionalSecretArgs,
) -> Result<Option<SlotSecret>, Failure> {
    Ok(args.source().map(|source| source.read(&session.cx)).transpose()?)
}

fn accept_loss(session: &Session, at: &ManyRepos, reason: &str, dry_run: bool) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let gone = plumbing(session, &at.access).accept_loss(&at.repos, &secret, reason, dry_run)?;
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "dry_run": dry_run, "gone": gone }));
        return Ok(0);
    }
    for finding in &gone {
        out.line(&escape(&finding.to_string()));
    }
    out.line(&match (gone.len(), dry_run) {
        (0, _) => "nothing is gone that nobody forgot".to_owned(),
        (count, true) => format!("{count} to accept; nothing was put on record"),
        (count, false) => format!("{count} accepted, on record at {} places", at.repos.len()),
    });
    Ok(0)
}

/// Names what of the past does not add up.
pub(in crate::cli) fn name_history(out: Output, findings: &[Finding]) {
    for finding in findings {
        let word = if finding.is_rollback() { "gone[E0470]" } else { "note" };
        out.talk(&format!("{word}: {}", escape(&finding.to_string())));
    }
    if findings.iter().any(Finding::is_rollback) {
        out.talk(&format!("  next: {ROLLED_BACK_HINT}"));
    }
}

/// Prints what a verification found and gives the exit code.
pub(in crate::cli) fn print_verify(out: Output, outcome: &VerifyOutcome) -> u8 {
    let code = if outcome.is_clean() { 0 } else { Class::Damage.exit_code() };
    if out.is_json() {
        let mut value = json!({ "version": JSON_VERSION, "exit": code, "verify": outcome });
        value["verify"]["hurt_paths"] = json!(outcome.hurt.iter().map(|hurt| hurt.paths).sum::<u64>());
        out.json(&value);
        return code;
    }
    for problem in &outcome.problems {
        out.line(&format!("damaged: {} {}", escape(&problem.object), escape(&problem.what)));
    }
    if let Some(more) = more(outcome.problem_count, outcome.problems.len()) {
        out.line(&format!("damaged: {more}"));
    }
    for hurt in &outcome.hurt {
        out.line(&format!("hurt: snapshot {}, {} paths", hurt.snapshot.short(), hurt.paths));
        for path in &hurt.named {
            out.line(&format!("  {}", escape(path)));
        }
        if let Some(more) = more(hurt.paths, hurt.named.len()) {
            out.line(&format!("  {more}"));
        }
    }
    name_history(out, &outcome.history);
    let keyless = if outcome.with_key { "" } else { "; without the key, missing objects are not noticed" };
    out.line(&format!(
        "{}: {} objects, {} read back, {} blobs opened, {} problems, {} snapshots{keyless}",
        escape(&outcome.target),
        outcome.objects,
        format_bytes(outcome.bytes),
        outcome.blobs,
        outcome.problem_count,
        outcome.snapshots,
    ));
    code
}

fn stats(session: &Session, at: &OneRepoKeyOptional) -> Result<u8, Failure> {
    let secret = optional_secret(session, &at.secret)?;
    let stats = plumbing(session, &at.access).stats(&at.repo, secret.as_ref())?;
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "stats": stats }));
        return Ok(0);
    }
    let rows = [
        ("data packs", stats.data_packs),
        ("metadata packs", stats.metadata_packs),
        ("index runs", stats.index_runs),
        ("keys", stats.keys),
        ("all objects", stats.total),
    ];
    for (name, objects) in rows {
        out.line(&format!("{name:<15} {:>8}  {:>10}", objects.objects, format_bytes(objects.bytes)));
    }
    out.line(&format!("{:<15} {:>8}", "snapshots", stats.snapshots));
    if let Some(parity) = stats.parity_percent.filter(|percent| *percent > 0) {
        out.line(&format!("{:<15} {:>8}", "parity", format!("{parity} %")));
    }
    if stats.pending > 0 {
        out.line(&format!("{:<15} {:>8}  never confirmed: no backups", "proposals", stats.pending));
    }
    if let Some(blobs) = stats.blobs {
        out.line(&format!("{:<15} {blobs:>8}", "blobs"));
    }
    if let Some(bytes) = stats.newest_source_bytes {
        out.line(&format!("{:<15} {:>8}  {:>10}", "newest snapshot", "", format_bytes(bytes)));
    }
    Ok(0)
}
