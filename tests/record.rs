//! Promises of the evidence folder and the catalogue.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lifeboat::base::clock::{ManualClock, Timestamp};
use lifeboat::base::durable;
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::id::{ObjectHash, RepoId, WriterId};
use lifeboat::catalog::copies::{CopyKey, Snapshot};
use lifeboat::catalog::drills::{DrillCheck, DrillEnd, NewDrill};
use lifeboat::catalog::findings::NewFinding;
use lifeboat::catalog::messages::NewMessage;
use lifeboat::catalog::occurrences::{Claim, Occurrence, OccurrenceKey, Period};
use lifeboat::catalog::outbox::OutboxLine;
use lifeboat::catalog::process::Holder;
use lifeboat::catalog::runs::{Failure, NewRun, RunEnd};
use lifeboat::catalog::targets::{TargetRecord, Verification};
use lifeboat::catalog::words::{
    BackupKind, Cause, CheckResult, Job, Level, MessageState, OccurrenceState, RunState, Severity, Verdict,
    VerifyScope,
};
use lifeboat::catalog::{Catalog, CatalogError};
use lifeboat::evidence::line::Line;
use lifeboat::evidence::pick::Seed;
use lifeboat::evidence::verify::{Trust, VerifyReport, verify};
use lifeboat::evidence::{EvidenceLog, FinishedReport, ReportId, RepositoryAnchor};
use serde_json::{Map, Value, json};

/// 2026-10-31 23:00 UTC: an hour before a new month file.
const OCTOBER: i64 = 1_793_487_600_000;

struct Folder {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Folder {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(OCTOBER)));
        Self { dir: tempfile::tempdir().expect("a temporary folder"), clock }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("evidence")
    }

    fn open(&self) -> EvidenceLog {
        EvidenceLog::open(&self.path(), None, self.clock.clone()).expect("opens")
    }

    fn verify(&self) -> VerifyReport {
        verify(&self.path(), &Trust::default()).expect("readable")
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn anchor() -> RepositoryAnchor {
    RepositoryAnchor {
        repo: RepoId::new([1; 16]),
        writer: WriterId::new([2; 16]),
        number: 3,
        snapshot: ObjectHash::new([4; 32]),
    }
}

/// A drill from its start to its sealed report.
fn drill(log: &EvidenceLog) -> ReportId {
    let seed = Seed::draw();
    let start = object(json!({ "policy": "home", "commitment": seed.commitment() }));
    let (id, _) = log.begin_report(start).expect("begun");
    let tip = log.tip().expect("a tip");
    let report = json!({
        "id": id.as_str(),
        "pick": { "seed": seed.to_hex(), "commitment": seed.commitment() },
        "evidence": { "log_seq_last": tip.seq, "log_head": tip.hash },
    });
    let json = serde_json::to_vec_pretty(&report).expect("JSON");
    let data = object(json!({ "verdict": "pass" }));
    let finished =
        FinishedReport { id: &id, json: &json, html: b"<p>passed</p>", data, repositories: &[anchor()] };
    log.finish_report(finished).expect("sealed");
    id
}

/// A folder with two months, two heads and two reports.
fn a_full_folder() -> Folder {
    let folder = Folder::new();
    let log = folder.open();
    log.append("run.finished", json!({ "policy": "home", "bytes": 17 })).expect("appended");
    drill(&log);
    folder.clock.advance(Duration::from_secs(2 * 3600));
    log.append("run.finished", json!({ "policy": "home", "bytes": 18 })).expect("appended");
    drill(&log);
    folder
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("readable"));
        }
    }
    found
}

fn evidence_of(folder: &Folder) -> BTreeMap<PathBuf, Vec<u8>> {
    let not_evidence = |path: &Path| path.ends_with("lock") || path.ends_with("evidence.key");
    files(&folder.path()).into_iter().filter(|(path, _)| !not_evidence(path)).collect()
}

#[test]
fn an_untouched_folder_verifies() {
    let folder = a_full_folder();
    let report = folder.verify();
    assert_eq!(report.problems, []);
    assert!(report.ok);
    assert_eq!((report.lines, report.heads, report.reports, report.lines_after_last_head), (7, 2, 2, 0));
    assert!(folder.path().join("log/2026-10.jsonl").exists());
    assert!(folder.path().join("log/2026-11.jsonl").exists());
}

#[test]
fn every_changed_byte_is_noticed() {
    let folder = a_full_folder();
    let evidence = evidence_of(&folder);
    assert_eq!(evidence.len(), 1 + 2 + 4 + 6, "key, months, heads, reports");
    for (path, bytes) in &evidence {
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= if place % 2 == 0 { 0x01 } else { 0x20 };
            std::fs::write(path, &changed).expect("written");
            let report = folder.verify();
            assert!(!report.ok, "byte {place} of {} was changed unseen", path.display());
        }
        std::fs::write(path, bytes).expect("written");
    }
    assert!(folder.verify().ok);
}

#[test]
fn every_missing_file_is_noticed() {
    let folder = a_full_folder();
    for (path, bytes) in evidence_of(&folder) {
        // The newest head may go: nothing names it but heads that left the machine.
        if path.ends_with("heads/head-0000000007") {
            continue;
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(!folder.verify().ok, "{} went missing unseen", path.display());
        std::fs::write(&path, bytes).expect("written");
    }
    assert!(folder.verify().ok);
}

#[test]
fn an_added_file_is_noticed() {
    for name in
        ["log/2026-12.jsonl", "log/torn-0000000003", "heads/head-0000000002", "reports/D-2026-000001.json"]
    {
        let folder = a_full_folder();
        std::fs::write(folder.path().join(name), b"{\"seq\":8}\n").expect("written");
        assert!(!folder.verify().ok, "{name}");
    }
}

#[test]
fn a_log_cut_back_to_an_earlier_line_is_noticed() {
    let folder = a_full_folder();
    let path = folder.path().join("log/2026-11.jsonl");
    let text = std::fs::read_to_string(&path).expect("readable");
    for keep in 0..text.lines().count() {
        let kept: String = text.lines().take(keep).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, kept).expect("written");
        let report = folder.verify();
        assert!(report.problems.iter().any(|p| p.what.contains("was cut")), "{keep}: {report:?}");
    }
}

#[test]
fn a_head_from_outside_notices_a_folder_cut_back_as_a_whole() {
    let folder = Folder::new();
    let log = folder.open();
    drill(&log);
    let outside = folder.dir.path().join("head-outside");
    log.append("run.finished", json!({})).expect("appended");
    let log_path = folder.path().join("log/2026-10.jsonl");
    let before = std::fs::read(&log_path).expect("readable");
    log.append("restore.finished", json!({ "who": "somebody" })).expect("appended");
    let head = log.sign_head(&[]).expect("signed");
    std::fs::copy(&head.path, &outside).expect("copied");
    std::fs::copy(head.path.with_extension("sig"), outside.with_extension("sig")).expect("copied");

    std::fs::write(&log_path, before).expect("written");
    std::fs::remove_file(&head.path).expect("removed");
    std::fs::remove_file(head.path.with_extension("sig")).expect("removed");
    assert!(folder.verify().ok, "the folder alone cannot know");
    let trust = Trust { outside_heads: vec![outside], ..Trust::default() };
    assert!(!verify(&folder.path(), &trust).expect("readable").ok);
}

#[test]
fn another_key_is_noticed_by_who_has_the_right_one() {
    let (ours, forged) = (a_full_folder(), a_full_folder());
    let trust = Trust { public_key: Some(ours.open().public_key()), ..Trust::default() };
    assert!(verify(&ours.path(), &trust).expect("readable").ok);
    assert!(!verify(&forged.path(), &trust).expect("readable").ok);
}

#[test]
fn a_torn_line_is_kept_and_accounted_for() {
    let folder = a_full_folder();
    let path = folder.path().join("log/2026-11.jsonl");
    let mut bytes = std::fs::read(&path).expect("readable");
    let whole = bytes.len();
    bytes.extend_from_slice(b"{\"seq\":8,\"ts\":\"2026");
    std::fs::write(&path, &bytes).expect("written");
    assert!(!folder.verify().ok, "a torn line is a problem until somebody appends");

    let entry = folder.open().append("run.finished", json!({})).expect("appended");
    assert_eq!(entry.seq, 9, "8 is log.recovered");
    let torn = folder.path().join("log/torn-0000000008");
    assert_eq!(std::fs::read(&torn).expect("kept"), bytes[whole..]);
    assert_eq!(folder.verify().problems, []);
    std::fs::write(&torn, b"other").expect("written");
    assert!(!folder.verify().ok);
}

#[test]
fn recovery_of_a_torn_line_can_itself_be_torn() {
    let folder = Folder::new();
    folder.open();
    let path = folder.path().join("log/2026-10.jsonl");
    for piece in ["{\"seq\":2", "{\"se", "{"] {
        let mut bytes = std::fs::read(&path).expect("readable");
        bytes.extend_from_slice(piece.as_bytes());
        std::fs::write(&path, &bytes).expect("written");
        // Stop between the cut and the line about it: cut by hand, as a crash would leave it.
        let number = ["torn-0000000002", "torn-0000000002.1", "torn-0000000002.2"]
            .into_iter()
            .map(|name| folder.path().join("log").join(name))
            .find(|path| !path.exists())
            .expect("free");
        std::fs::write(number, piece).expect("written");
        bytes.truncate(bytes.len() - piece.len());
        std::fs::write(&path, &bytes).expect("written");
    }
    folder.open().append("run.finished", json!({})).expect("appended");
    assert_eq!(folder.verify().problems, []);
    assert_eq!(folder.verify().lines, 3);
}

#[test]
fn a_torn_first_line_does_not_stop_the_log() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("log")).expect("made");
    std::fs::write(folder.path().join("log/2026-10.jsonl"), b"{\"seq\":1,").expect("written");
    folder.open().append("run.finished", json!({})).expect("appended");
    assert_eq!(folder.verify().problems, []);
}

#[test]
fn a_crash_between_the_log_and_the_names_is_settled_by_the_next_open() {
    let folder = a_full_folder();
    let reports = folder.path().join("reports");
    let id = "D-2026-000006";
    for suffix in ["json", "html", "sig"] {
        let name = reports.join(format!("{id}.{suffix}"));
        durable::rename(&name, &reports.join(format!(".pending-{id}.{suffix}"))).expect("renamed");
        std::fs::write(reports.join(format!(".pending-D-2026-000099.{suffix}")), b"{}").expect("written");
    }
    assert!(!folder.verify().ok);
    folder.open();
    assert_eq!(folder.verify().problems, []);
    assert_eq!(
        std::fs::read_dir(&reports).expect("a folder").count(),
        6,
        "what never got into the log is gone"
    );
}

#[test]
fn a_clock_set_back_is_logged_and_the_chain_goes_on() {
    let folder = a_full_folder();
    folder.clock.step_to(Timestamp::from_unix_ms(OCTOBER));
    let log = folder.open();
    log.append("run.finished", json!({})).expect("appended");
    let text = std::fs::read_to_string(folder.path().join("log/2026-11.jsonl")).expect("readable");
    assert!(text.contains("\"kind\":\"clock.stepped_back\""));
    assert_eq!(folder.verify().problems, []);
}

#[test]
fn appends_of_many_threads_make_one_chain() {
    let folder = Folder::new();
    folder.open();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let log = folder.open();
                for _ in 0..10 {
                    log.append("run.finished", json!({})).expect("appended");
                }
            });
        }
    });
    let report = folder.verify();
    assert_eq!(report.problems, []);
    assert_eq!(report.lines, 41);
}

#[test]
fn a_log_is_not_continued_with_another_key() {
    let folder = a_full_folder();
    let key = folder.path().join("evidence.key");
    std::fs::remove_file(&key).expect("removed");
    let open = || EvidenceLog::open(&folder.path(), None, folder.clock.clone());
    assert_eq!(open().expect_err("refused").class(), Class::WrongKey);
    std::fs::copy(a_full_folder().path().join("evidence.key"), &key).expect("copied");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("private");
    assert_eq!(open().expect_err("refused").class(), Class::WrongKey);
}

#[test]
fn a_finished_report_never_changes() {
    let folder = Folder::new();
    let log = folder.open();
    let id = drill(&log);
    let tip = log.tip().expect("a tip");
    let json = json!({ "id": id.as_str(), "evidence": { "log_seq_last": tip.seq, "log_head": tip.hash } });
    let json = json.to_string();
    let again =
        FinishedReport { id: &id, json: json.as_bytes(), html: b"", data: Map::new(), repositories: &[] };
    assert!(log.finish_report(again).is_err());
    assert_eq!(folder.verify().problems, []);
}

#[test]
fn a_pick_that_does_not_match_its_commitment_is_noticed() {
    let folder = Folder::new();
    let log = folder.open();
    let (id, _) =
        log.begin_report(object(json!({ "commitment": Seed::draw().commitment() }))).expect("begun");
    let tip = log.tip().expect("a tip");
    let seed = Seed::draw();
    let json = json!({
        "id": id.as_str(),
        "pick": { "seed": seed.to_hex(), "commitment": seed.commitment() },
        "evidence": { "log_seq_last": tip.seq, "log_head": tip.hash },
    });
    let json = json.to_string();
    let report =
        FinishedReport { id: &id, json: json.as_bytes(), html: b"", data: Map::new(), repositories: &[] };
    log.finish_report(report).expect("sealed");
    let problems = folder.verify().problems;
    assert!(problems.iter().any(|p| p.what.contains("commitment")), "{problems:?}");
}

#[test]
fn lines_that_only_the_floor_may_write_are_refused() {
    let folder = Folder::new();
    let log = folder.open();
    for kind in ["drill.finished", "log.started", "", "Run", "a\nb"] {
        assert!(log.append(kind, json!({})).is_err(), "{kind:?}");
    }
    let long = "x".repeat(1024 * 1024);
    assert!(log.append("run.finished", json!({ "long": long })).is_err());
}

#[test]
fn an_operators_own_key_signs_and_openssl_reads_it() {
    let folder = Folder::new();
    let key = folder.dir.path().join("own.key");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(&key)
        .status()
        .expect("openssl runs");
    assert!(made.success());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("private");
    let log = EvidenceLog::open(&folder.path(), Some(&key), folder.clock.clone()).expect("opens");
    drill(&log);
    assert_eq!(folder.verify().problems, []);
    assert!(!folder.path().join("evidence.key").exists());
}

/// Signs as whoever holds the key could.
fn forge_signature(folder: &Folder, file: &Path, signature: &Path) {
    let signed = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-rawin", "-inkey"])
        .arg(folder.path().join("evidence.key"))
        .arg("-in")
        .arg(file)
        .arg("-out")
        .arg(signature)
        .status();
    assert!(signed.expect("openssl runs").success());
}

fn is_reported(folder: &Folder, what: &str) -> bool {
    folder.verify().problems.iter().any(|problem| problem.what.contains(what))
}

#[test]
fn a_signed_head_that_says_anything_untrue_is_noticed() {
    let folder = a_full_folder();
    let head = folder.path().join("heads/head-0000000007");
    let good = std::fs::read_to_string(&head).expect("readable");
    let field = |name: &str| good.lines().find(|line| line.starts_with(name)).expect("there").to_owned();
    let other = "ab".repeat(32);
    for (was, forged, what) in [
        (field("size "), "size 17".to_owned(), "size"),
        (field("head "), format!("head {other}"), "is not the one it names"),
        (field("log "), format!("log {other}"), "another first line"),
        (field("prev_head "), format!("prev_head {other}"), "the head before it"),
        (field("seq "), "seq 6".to_owned(), "its name says 7"),
        (field("seq "), "seq 9".to_owned(), "the log was cut"),
    ] {
        std::fs::write(&head, good.replace(&format!("\n{was}\n"), &format!("\n{forged}\n")))
            .expect("written");
        forge_signature(&folder, &head, &head.with_extension("sig"));
        assert!(is_reported(&folder, what), "{forged}: {:?}", folder.verify().problems);
    }
    std::fs::write(&head, &good).expect("written");
    forge_signature(&folder, &head, &head.with_extension("sig"));
    assert!(folder.verify().ok);
}

#[test]
fn a_head_that_went_missing_with_its_signature_is_noticed() {
    let folder = a_full_folder();
    for name in ["head-0000000004", "head-0000000004.sig"] {
        std::fs::remove_file(folder.path().join("heads").join(name)).expect("removed");
    }
    assert!(is_reported(&folder, "the head before it"), "{:?}", folder.verify().problems);
}

#[test]
fn a_line_left_out_is_noticed_although_the_chain_was_made_anew() {
    let folder = Folder::new();
    let log = folder.open();
    let first = log.tip().expect("a tip");
    let line =
        Line { seq: 3, ts: first.ts, prev: first.hash, kind: "run.finished".to_owned(), data: json!({}) };
    let path = folder.path().join("log/2026-10.jsonl");
    let text =
        std::fs::read_to_string(&path).expect("readable") + &serde_json::to_string(&line).expect("JSON");
    std::fs::write(&path, text + "\n").expect("written");
    assert!(is_reported(&folder, "line 1 is followed by line 3"), "{:?}", folder.verify().problems);
}

#[test]
fn a_month_under_another_name_is_noticed() {
    let folder = a_full_folder();
    let log = folder.path().join("log");
    durable::rename(&log.join("2026-11.jsonl"), &log.join("2026-12.jsonl")).expect("renamed");
    assert!(is_reported(&folder, "belongs into 2026-11.jsonl"), "{:?}", folder.verify().problems);
}

#[test]
fn a_signed_report_that_was_never_logged_is_noticed() {
    let folder = a_full_folder();
    let reports = folder.path().join("reports");
    let tip = folder.open().tip().expect("a tip");
    let json =
        json!({ "id": "D-2026-000007", "evidence": { "log_seq_last": tip.seq, "log_head": tip.hash } });
    let file = reports.join("D-2026-000007.json");
    std::fs::write(&file, json.to_string()).expect("written");
    forge_signature(&folder, &file, &file.with_extension("sig"));
    let problems: Vec<_> = folder.verify().problems.into_iter().map(|problem| problem.what).collect();
    assert_eq!(problems, ["the log does not have this report"]);
}

/// Runs the script of `docs/evidence.md` in a folder.
fn by_hand(folder: &Folder) -> (bool, String) {
    let text = std::fs::read_to_string("docs/evidence.md").expect("the document");
    let script = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its script");
    let ran = Command::new("sh").arg("-c").arg(script).current_dir(folder.path()).output().expect("sh runs");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_documents_script_accepts_a_good_folder_and_refuses_changed_bytes() {
    let folder = a_full_folder();
    let (good, said) = by_hand(&folder);
    assert!(good, "{said}");
    assert!(said.contains("ok log, 7 lines") && said.contains("ok reports, 2"), "{said}");
    assert!(said.contains(&folder.open().public_key().fingerprint()), "{said}");
    for (path, bytes) in evidence_of(&folder) {
        for place in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 0x01;
            std::fs::write(&path, &changed).expect("written");
            let (good, said) = by_hand(&folder);
            assert!(!good, "byte {place} of {} was changed unseen: {said}", path.display());
        }
        std::fs::write(&path, &bytes).expect("written");
    }
    assert!(by_hand(&folder).0);
}

// The catalogue.

struct Records {
    dir: tempfile::TempDir,
}

impl Records {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        // A name with everything in it that could mean something in a URL.
        self.dir.path().join("a folder %41?#&/catalogue.db")
    }

    fn open(&self) -> Catalog {
        std::fs::create_dir_all(self.path().parent().expect("a parent")).expect("made");
        Catalog::open(&self.path()).expect("opens")
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(OCTOBER + seconds * 1000)
}

fn hourly(seconds: i64) -> OccurrenceKey {
    OccurrenceKey {
        policy: "home".to_owned(),
        job: Job::Backup(BackupKind::Incremental),
        scheduled_at: at(seconds),
    }
}

fn occurrence(seconds: i64, state: OccurrenceState) -> Occurrence {
    Occurrence { key: hourly(seconds), state, reason: "for a reason".to_owned(), changed_at: at(seconds + 1) }
}

fn a_run(job: Job) -> NewRun {
    NewRun {
        policy: "home".to_owned(),
        job,
        scheduled_at: Some(at(0)),
        cause: Cause::Schedule,
        holder: Holder::this_process(),
    }
}

fn full() -> Job {
    Job::Backup(BackupKind::Full)
}

fn ended(state: RunState) -> RunEnd {
    RunEnd {
        state,
        at: at(60),
        job_done: Some(full()),
        snapshot: Some("ab".repeat(32)),
        stats: json!({ "files": 3 }),
        failure: Some(Failure { code: "E0301".to_owned(), message: "a: b".to_owned() }),
        lines: Vec::new(),
    }
}

/// A process that is gone: its id and start were never given out in this boot.
fn a_dead_holder() -> Holder {
    let this = Holder::this_process();
    Holder { started_ticks: this.started_ticks + 1, ..this }
}

#[test]
fn an_occurrence_has_one_taker_among_processes() {
    const DATABASE: &str = "RECORD_TEST_CLAIM";
    let claim_all = |catalog: &Catalog| {
        (0..50).filter(|n| catalog.claim(&hourly(n * 3600), at(0)).expect("answers") == Claim::Yours).count()
    };
    if let Some(path) = std::env::var_os(DATABASE) {
        let catalog = Catalog::open(Path::new(&path)).expect("opens");
        println!("claimed {}.", claim_all(&catalog));
        return;
    }
    let records = Records::new();
    std::fs::create_dir_all(records.path().parent().expect("a parent")).expect("made");
    // Nobody has made the file yet: the first opening is a race as well.
    let children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "an_occurrence_has_one_taker_among_processes", "--nocapture"])
                .env(DATABASE, records.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("a child starts")
        })
        .collect();
    let mut claimed = claim_all(&records.open());
    for child in children {
        let output = child.wait_with_output().expect("a child ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = said.split("claimed ").nth(1).and_then(|rest| rest.split('.').next()).expect("an answer");
        claimed += count.parse::<usize>().expect("a number");
    }
    assert_eq!(claimed, 50);
}

#[test]
fn an_occurrence_that_is_over_never_changes() {
    let records = Records::new();
    let catalog = records.open();
    assert!(catalog.record_occurrence(&occurrence(0, OccurrenceState::Missed)).expect("recorded"));
    assert!(!catalog.record_occurrence(&occurrence(0, OccurrenceState::Due)).expect("known"));
    let answer = catalog.claim(&hourly(0), at(5)).expect("answers");
    assert_eq!(answer, Claim::Taken(OccurrenceState::Missed));
    assert!(catalog.settle_occurrence(&occurrence(0, OccurrenceState::Done)).is_err());
    assert!(catalog.record_occurrence(&occurrence(7, OccurrenceState::Done)).is_err(), "nobody did it");

    catalog.record_occurrence(&occurrence(3600, OccurrenceState::Due)).expect("recorded");
    assert!(catalog.settle_occurrence(&occurrence(3600, OccurrenceState::Done)).is_err(), "nobody took it");
    assert_eq!(catalog.claim(&hourly(3600), at(3601)).expect("answers"), Claim::Yours);
    assert_eq!(catalog.due_occurrences().expect("listed"), []);
    catalog.settle_occurrence(&occurrence(3600, OccurrenceState::Due)).expect("its process died");
    assert_eq!(catalog.claim(&hourly(3600), at(3700)).expect("answers"), Claim::Yours);
    catalog.settle_occurrence(&occurrence(3600, OccurrenceState::Done)).expect("done");
    for state in [OccurrenceState::Due, OccurrenceState::Missed, OccurrenceState::Skipped] {
        let error = catalog.settle_occurrence(&occurrence(3600, state)).expect_err("final");
        assert!(matches!(error, CatalogError::State { .. }), "{error}");
    }
    let period = Period { from: at(0), to: at(3601) };
    let states: Vec<_> = catalog.occurrences_in(period).expect("listed").iter().map(|o| o.state).collect();
    assert_eq!(states, [OccurrenceState::Missed, OccurrenceState::Done]);
    let last = catalog.last_occurrence("home", &hourly(0).job).expect("answers").expect("one");
    assert_eq!(last, occurrence(3600, OccurrenceState::Done));
}

#[test]
fn a_policy_has_one_run_of_a_lane_at_a_time() {
    let records = Records::new();
    let (one, other) = (records.open(), records.open());
    let id = one.start_run(&a_run(full()), at(0)).expect("started");
    let error = other.start_run(&a_run(Job::Backup(BackupKind::Incremental)), at(1)).expect_err("overlap");
    assert!(matches!(&error, CatalogError::Overlap { run, .. } if *run == id.to_string()), "{error}");
    other.start_run(&a_run(Job::Drill("weekly".to_owned())), at(1)).expect("another lane");
    one.end_run(&id, &ended(RunState::Succeeded)).expect("ended");
    other.start_run(&a_run(full()), at(2)).expect("the lane is free");
}

#[test]
fn runs_of_many_policies_do_not_get_into_each_others_way() {
    let records = Records::new();
    drop(records.open());
    std::thread::scope(|scope| {
        for number in 0..4 {
            let catalog = records.open();
            scope.spawn(move || {
                for _ in 0..40 {
                    let run = NewRun { policy: format!("policy-{number}"), ..a_run(full()) };
                    let id = catalog.start_run(&run, at(0)).expect("started");
                    catalog.heartbeat(&id, at(1)).expect("alive");
                    catalog.end_run(&id, &ended(RunState::Succeeded)).expect("ended");
                }
            });
        }
    });
    let runs = records.open().runs_in(Period { from: at(0), to: at(1) }).expect("listed");
    assert_eq!(runs.len(), 160);
}

#[test]
fn a_run_that_has_ended_never_changes() {
    for state in
        [RunState::Succeeded, RunState::Partial, RunState::Failed, RunState::Cancelled, RunState::TimedOut]
    {
        let records = Records::new();
        let catalog = records.open();
        let id = catalog.start_run(&a_run(full()), at(0)).expect("started");
        catalog.heartbeat(&id, at(10)).expect("alive");
        assert!(catalog.end_run(&id, &ended(RunState::Interrupted)).is_err(), "that is not an end");
        catalog.end_run(&id, &ended(state)).expect("ended");
        let before = catalog.run(&id).expect("there");
        assert_eq!((before.state, before.heartbeat_at, before.ended_at), (state, at(10), Some(at(60))));
        assert_eq!((&before.snapshot, &before.failure), (&ended(state).snapshot, &ended(state).failure));
        assert!(catalog.end_run(&id, &ended(RunState::Succeeded)).is_err());
        assert!(catalog.heartbeat(&id, at(70)).is_err());
        assert!(catalog.next_attempt(&id, None, &Holder::this_process(), at(70)).is_err());
        assert_eq!(catalog.run(&id).expect("there"), before);
    }
}

#[test]
fn what_a_run_came_to_waits_for_the_log_until_the_log_has_it() {
    let records = Records::new();
    let catalog = records.open();
    let line = |kind: &str| OutboxLine::new(kind, json!({ "policy": "home" }));
    let first = catalog.start_run(&a_run(full()), at(0)).expect("started");
    let failure = Failure { code: "E0301".to_owned(), message: "unreachable".to_owned() };
    catalog.await_next_attempt(&first, &failure, &[line("run.attempt_failed")], at(1)).expect("it waits");
    let end = RunEnd { lines: vec![line("run.ended"), line("verify.ended")], ..ended(RunState::Failed) };
    catalog.end_run(&first, &end).expect("ended");
    // A second end is refused, and leaves no line.
    assert!(catalog.end_run(&first, &end).is_err());
    drop(catalog);

    let catalog = records.open();
    let mut seen = Vec::new();
    let full_disk = catalog.hand_over(|line| {
        seen.push(line.kind.clone());
        if seen.len() < 2 { Ok(()) } else { Err("no space") }
    });
    assert_eq!(full_disk.expect("recorded"), Err("no space"));
    assert_eq!(seen, ["run.attempt_failed", "run.ended"]);
    assert!(catalog.has_lines().expect("read"));

    seen.clear();
    let done = catalog.hand_over(|line| {
        seen.push(line.kind.clone());
        Ok::<_, &str>(())
    });
    assert_eq!(done.expect("recorded"), Ok(()));
    assert_eq!(seen, ["run.ended", "verify.ended"]);
    assert!(!catalog.has_lines().expect("read"));
}

#[test]
fn the_run_of_a_dead_process_is_interrupted_and_may_be_tried_again() {
    let records = Records::new();
    let catalog = records.open();
    let living = catalog.start_run(&a_run(Job::Verify), at(0)).expect("started");
    let dead = NewRun { holder: a_dead_holder(), ..a_run(full()) };
    let id = catalog.start_run(&dead, at(0)).expect("started");
    let marked = catalog.mark_interrupted(at(30)).expect("marked");
    assert_eq!(
        marked.iter().map(|run| (&run.id, run.state)).collect::<Vec<_>>(),
        [(&id, RunState::Interrupted)]
    );
    assert_eq!(catalog.mark_interrupted(at(31)).expect("marked"), []);
    assert_eq!(catalog.run(&living).expect("there").state, RunState::Running);

    assert_eq!(catalog.next_attempt(&id, None, &Holder::this_process(), at(40)).expect("again"), 2);
    let failure = Failure { code: "E0301".to_owned(), message: "unreachable".to_owned() };
    assert_eq!(catalog.next_attempt(&id, Some(&failure), &Holder::this_process(), at(50)).expect("again"), 3);
    catalog.end_run(&id, &ended(RunState::Partial)).expect("ended");
    let states: Vec<_> = catalog
        .attempts(&id)
        .expect("listed")
        .iter()
        .map(|attempt| (attempt.number, attempt.state))
        .collect();
    assert_eq!(states, [(1, RunState::Interrupted), (2, RunState::Failed), (3, RunState::Partial)]);
    let runs = catalog.runs_in(Period { from: at(0), to: at(1) }).expect("listed");
    assert_eq!(runs.len(), 2);
    assert_eq!(catalog.last_run("home", &full()).expect("answers").expect("one").id, id);
}

#[test]
fn a_catalogue_survives_a_process_that_stops_dead() {
    const DATABASE: &str = "RECORD_TEST_ABORT";
    if let Some(path) = std::env::var_os(DATABASE) {
        let catalog = Catalog::open(Path::new(&path)).expect("opens");
        catalog.start_run(&a_run(full()), at(0)).expect("started");
        std::process::abort();
    }
    let records = Records::new();
    drop(records.open());
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_catalogue_survives_a_process_that_stops_dead"])
        .env(DATABASE, records.path())
        .output()
        .expect("a child runs");
    assert!(!ran.status.success());
    let wal = records.path().with_extension("db-wal");
    assert!(std::fs::metadata(&wal).expect("a log is left").len() > 0);
    let catalog = records.open();
    assert_eq!(catalog.mark_interrupted(at(30)).expect("marked").len(), 1);
    drop(catalog);
    assert!(!wal.exists(), "a clean end leaves no log");
}

#[test]
fn damage_after_an_unclean_end_is_found_when_opening() {
    let records = Records::new();
    let catalog = records.open();
    for n in 0..400 {
        catalog.claim(&hourly(n * 3600), at(0)).expect("claimed");
    }
    drop(catalog);
    let path = records.path();
    let mut bytes = std::fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xee);
    std::fs::write(&path, &bytes).expect("written");
    std::fs::write(path.with_extension("db-wal"), b"not a log").expect("written");
    let error = Catalog::open(&path).expect_err("damaged");
    assert_eq!(error.class(), Class::Damage, "{error}");

    std::fs::write(&path, b"this is not a database, whatever its name says").expect("written");
    assert_eq!(Catalog::open(&path).expect_err("no database").class(), Class::Damage);
}

#[test]
fn an_upgrade_keeps_what_was_there_and_a_copy_for_the_way_back() {
    // A catalogue as the schema before this one's newest left it, with a run in it.
    let script = r#"
import hashlib, pathlib, sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, "
          "installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, "
          "checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)")
for file in sorted(pathlib.Path("src/catalog/migrations").glob("*.sql"))[:5]:
    c.executescript(file.read_text())
    number, name = file.stem.split("_", 1)
    c.execute("INSERT INTO _sqlx_migrations VALUES (?, ?, CURRENT_TIMESTAMP, 1, ?, 0)",
              (int(number), name.replace("_", " "), hashlib.sha384(file.read_bytes()).digest()))
c.execute("INSERT INTO policies VALUES ('home', 'ab', 1, 2)")
c.commit()
"#;
    let records = Records::new();
    std::fs::create_dir_all(records.path().parent().expect("a folder")).expect("made");
    let mut python = Command::new("python3");
    let done = python.args(["-c", script]).arg(records.path()).status().expect("python3 runs");
    assert!(done.success());
    let catalog = records.open();
    assert_eq!(
        catalog.policy_seen("home").expect("read").expect("kept").changed_at,
        Timestamp::from_unix_ms(2)
    );
    assert!(!catalog.has_lines().expect("the new table is there"));
    drop(catalog);

    let kept = records.path().with_extension("schema-5.db");
    assert_eq!(std::fs::metadata(&kept).expect("kept").permissions().mode() & 0o777, 0o600);
    let look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                print(c.execute('SELECT MAX(version) FROM _sqlx_migrations').fetchone(), \
                c.execute('SELECT id FROM policies').fetchone())";
    let mut python = Command::new("python3");
    let seen = python.args(["-c", look]).arg(&kept).output().expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "(5,) ('home',)", "{seen:?}");
    // Nothing is kept of a file that needs no upgrade, and nothing is left lying about.
    std::fs::remove_file(&kept).expect("removed");
    drop(records.open());
    let names = std::fs::read_dir(records.path().parent().expect("a folder")).expect("listed");
    let names: Vec<String> =
        names.map(|name| name.expect("a name").file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| !name.contains("schema") && !name.contains("tmp")), "{names:?}");
}

#[test]
fn a_newer_schema_is_refused() {
    let records = Records::new();
    drop(records.open());
    let statement = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 1)";
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let mut python = Command::new("python3");
    let done = python.args(["-c", script]).arg(records.path()).arg(statement).status().expect("python3 runs");
    assert!(done.success());
    let error = Catalog::open(&records.path()).expect_err("refused");
    assert!(matches!(error, CatalogError::Newer { .. }), "{error}");
}

#[test]
fn levels_keep_their_own_times_and_never_go_back() {
    let records = Records::new();
    let catalog = records.open();
    let snapshot = Snapshot {
        id: "ab".repeat(32),
        policy: "home".to_owned(),
        repo: RepoId::new([7; 16]),
        kind: BackupKind::Full,
        captured_at: at(0),
        parent: None,
        files: 3,
        bytes: 17,
        manifest_root: "cd".repeat(32),
        unread: Some(2),
    };
    let key = CopyKey { snapshot: &snapshot.id, target: "disk" };
    assert!(catalog.raise_copy(key, Level::Acked, at(1)).is_err(), "there is no such copy");
    for _ in 0..2 {
        catalog.import_snapshot(&snapshot).expect("recorded");
        catalog.import_copy(key, at(1)).expect("recorded");
    }
    assert_eq!(catalog.snapshots("home").expect("listed"), std::slice::from_ref(&snapshot));
    let copy = || catalog.copies(&snapshot.id).expect("listed").remove(0);
    assert_eq!(copy().level(), Level::Written);
    catalog.raise_copy(key, Level::Restored, at(5)).expect("raised");
    assert_eq!((copy().level(), copy().read_back_at), (Level::Restored, None));
    catalog.raise_copy(key, Level::ReadBack, at(9)).expect("raised");
    catalog.raise_copy(key, Level::ReadBack, at(7)).expect("an older reading");
    assert_eq!(copy().read_back_at, Some(at(9)));

    catalog.record_problem(key, "pack 12 is damaged", at(20)).expect("recorded");
    catalog.raise_copy(key, Level::Restored, at(30)).expect("raised");
    catalog.raise_copy(key, Level::ReadBack, at(20)).expect("the reading that found it");
    assert_eq!(copy().problem.as_deref(), Some("pack 12 is damaged"));
    catalog.raise_copy(key, Level::ReadBack, at(40)).expect("a later reading");
    assert_eq!((copy().problem, copy().problem_at), (None, None));
    catalog.import_copy(key, at(50)).expect("found again");
    assert_eq!(copy().read_back_at, Some(at(40)), "an import takes nothing back");
    catalog.remove_copy(key).expect("removed");
    assert_eq!(catalog.copies(&snapshot.id).expect("listed"), []);
}

#[test]
fn the_last_verification_of_a_target_is_one_that_read_everything() {
    let records = Records::new();
    let catalog = records.open();
    let verification = |target: &str, scope, ended: i64| Verification {
        policy: "home".to_owned(),
        target: target.to_owned(),
        scope,
        started_at: at(ended - 1),
        ended_at: at(ended),
        objects: 3,
        bytes: 17,
        damaged: 0,
    };
    let (old, newest) =
        (verification("disk", VerifyScope::All, 10), verification("disk", VerifyScope::Deep, 20));
    let cloud = verification("cloud", VerifyScope::All, 5);
    for one in [&newest, &old, &cloud, &verification("disk", VerifyScope::New, 30)] {
        catalog.record_verification(one).expect("recorded");
    }
    assert_eq!(catalog.last_verifications("home").expect("listed"), [cloud, newest]);
}

#[test]
fn a_target_is_known_as_last_probed() {
    let records = Records::new();
    let catalog = records.open();
    let mut target = TargetRecord {
        policy: "home".to_owned(),
        name: "disk".to_owned(),
        url: "file:///copies".to_owned(),
        capabilities: json!({ "conditional_create": true }),
        facts: json!({ "device": 7 }),
        probed_at: at(0),
    };
    catalog.record_target(&target).expect("recorded");
    target.facts = json!({ "device": 8 });
    target.probed_at = at(9);
    catalog.record_target(&target).expect("recorded");
    assert_eq!(catalog.targets("home").expect("listed"), [target]);
}

/// Records a finished drill with one check.
fn a_drill(catalog: &Catalog, id: &str, copy_class: &str, result: CheckResult, started: i64) {
    let new = NewDrill {
        id: id.to_owned(),
        plan: "weekly".to_owned(),
        policy: "home".to_owned(),
        target: "disk".to_owned(),
        copy_class: copy_class.to_owned(),
        scope: "sample 20".to_owned(),
        scheduled_at: None,
        started_at: at(started),
    };
    catalog.start_drill(&new).expect("started");
    assert!(catalog.close_by_drill(id).is_err(), "it is not finished");
    let verdict = if result == CheckResult::Pass { Verdict::Pass } else { Verdict::Fail };
    let check = DrillCheck {
        check_id: "count".to_owned(),
        kind: "count".to_owned(),
        result,
        expected: "3".to_owned(),
        observed: "2".to_owned(),
        milliseconds: 4,
    };
    let end = DrillEnd {
        verdict,
        at: at(started + 5),
        snapshot: None,
        times: json!({ "restore_seconds": 2 }),
        report_sha256: Some("ef".repeat(32)),
        checks: vec![check],
    };
    catalog.finish_drill(id, &end).expect("finished");
    assert!(catalog.finish_drill(id, &end).is_err(), "a finished drill never changes");
}

#[test]
fn a_finding_closes_only_by_a_later_passing_drill_of_its_check_and_class() {
    let records = Records::new();
    let catalog = records.open();
    let finding = NewFinding {
        policy: "home".to_owned(),
        check_id: "count".to_owned(),
        copy_class: "local".to_owned(),
        source: "D-2026-000010".to_owned(),
        severity: Severity::Serious,
        title: "2 of 3 files came back".to_owned(),
    };
    a_drill(&catalog, "D-2026-000005", "local", CheckResult::Pass, 50);
    let id = catalog.open_finding(&finding, at(100)).expect("opened");
    assert_eq!(catalog.open_finding(&finding, at(200)).expect("seen again"), id);
    let other = NewFinding { copy_class: "offsite".to_owned(), ..finding.clone() };
    assert_ne!(catalog.open_finding(&other, at(100)).expect("opened"), id);

    let none: [String; 0] = [];
    a_drill(&catalog, "D-2026-000020", "local", CheckResult::Pass, 150);
    a_drill(&catalog, "D-2026-000030", "local", CheckResult::Fail, 300);
    for earlier in ["D-2026-000005", "D-2026-000020", "D-2026-000030"] {
        assert_eq!(catalog.close_by_drill(earlier).expect("answers"), none, "{earlier}");
    }
    a_drill(&catalog, "D-2026-000040", "local", CheckResult::Pass, 400);
    assert_eq!(catalog.close_by_drill("D-2026-000040").expect("closes"), std::slice::from_ref(&id));
    assert_eq!(catalog.close_by_drill("D-2026-000040").expect("answers"), none);
    assert_eq!(catalog.finding(&id).expect("there").closed_by.as_deref(), Some("D-2026-000040"));
    let open = catalog.open_findings(Some("home")).expect("listed");
    assert_eq!(open.iter().map(|finding| finding.copy_class.as_str()).collect::<Vec<_>>(), ["offsite"]);
    assert_eq!(catalog.open_findings(None).expect("listed"), open);
    assert_eq!(catalog.open_findings(Some("other")).expect("listed"), []);
    assert_ne!(catalog.open_finding(&finding, at(500)).expect("a new one"), id);

    let last = catalog.last_drills("home").expect("listed");
    assert_eq!(last.iter().map(|drill| drill.id.as_str()).collect::<Vec<_>>(), ["D-2026-000040"]);
}

#[test]
fn a_policys_hash_tells_when_it_changed() {
    let records = Records::new();
    let catalog = records.open();
    for (hash, now, changed) in [("a", 0, 0), ("a", 5, 0), ("b", 9, 9), ("b", 12, 9)] {
        let seen = catalog.record_policy("home", hash, at(now)).expect("recorded");
        assert_eq!((seen.first_seen_at, seen.changed_at), (at(0), at(changed)));
    }
}

fn message<'a>(subject_key: &'a str, severity: Severity) -> NewMessage<'a> {
    NewMessage {
        subject_key,
        notifier: "mail",
        incident: None,
        severity,
        topic: "opened",
        body: "{}",
        next_at: at(0),
    }
}

#[test]
fn what_was_told_is_not_queued_again() {
    let records = Records::new();
    let catalog = records.open();
    assert!(catalog.queue_message(&message("a", Severity::Minor), at(0)).expect("queued"));
    let id = catalog.due_messages(at(1), 10).expect("listed")[0].id.clone();
    catalog.end_attempt(&id, MessageState::Sent, None, at(1), at(1)).expect("recorded");
    assert!(!catalog.queue_message(&message("a", Severity::Minor), at(2)).expect("known"));
    assert_eq!(catalog.due_messages(at(3), 10).expect("listed"), []);
    assert_eq!(catalog.messages(10).expect("listed").len(), 1);
}

#[test]
fn the_worst_news_goes_first_however_much_waits() {
    let records = Records::new();
    let catalog = records.open();
    for (second, severity) in (0..).zip([Severity::Minor; 9].into_iter().chain([Severity::Critical])) {
        let key = second.to_string();
        let new = NewMessage { next_at: at(second), ..message(&key, severity) };
        catalog.queue_message(&new, at(second)).expect("queued");
    }
    let first = catalog.due_messages(at(100), 3).expect("listed");
    assert_eq!(
        first.iter().map(|one| one.severity).collect::<Vec<_>>(),
        [Severity::Critical, Severity::Minor, Severity::Minor]
    );
    assert_eq!(first[1].next_at, at(0));
}
