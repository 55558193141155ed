//! Promises of the evidence folder and the catalogue.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lifeboat::base::clock::{ManualClock, Timestamp};
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::id::{ObjectHash, RepoId, WriterId};
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
        std::fs::rename(&name, reports.join(format!(".pending-{id}.{suffix}"))).expect("renamed");
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
    let again = FinishedReport {
        id: &id,
        json: json.as_bytes(),
        html: b"",
        data: Map::new(),
        repositories: &[],
    };
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
