//! The report's promises: its data keeps the published schema, the schema refuses dishonest
//! reports, and the page shows all of it to everybody, harmlessly.

use lifeboat::base::clock::Timestamp;
use lifeboat::report::drill::{
    Attachment, Check, CheckResult, Cleanup, CleanupOutcome, Copy, DrillReport, Environment, Evidence,
    Finding, Met, OnFail, Phase, Pick, Plan, Problem, Restore, Rpo, Rto, SCHEMA, Scope, Snapshot, Subject,
    Times, Trigger, Verdict,
};
use lifeboat::report::labels::EN;
use lifeboat::report::{Seal, page};
use serde_json::{Value, json};

const SEAL: Seal<'static> =
    Seal { json_sha256: "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef" };

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

fn hash(digit: &str) -> String {
    digit.repeat(64)
}

fn check(id: &str, kind: &str, expected: &str, observed: &str, seconds: f64) -> Check {
    Check {
        id: id.to_owned(),
        kind: kind.to_owned(),
        result: CheckResult::Pass,
        expected: expected.to_owned(),
        observed: observed.to_owned(),
        s: seconds,
        required: true,
        on_fail: OnFail::Fail,
        by: "lifeboat 0.1.0".to_owned(),
        output_sha256: None,
        output: None,
        message: None,
    }
}

fn checks() -> Vec<Check> {
    let mut manifest = check(
        "same-as-backed-up",
        "manifest",
        "every picked entry as recorded: type, size, content, mode, time, link target",
        "203 entries compared: 0 with other content, 0 missing, 0 with other metadata",
        6.81,
    );
    manifest.message = Some("owners compared".to_owned());
    let mut smoke = check(
        "smoke",
        "command",
        "`./smoke.sh --root {restore_root}` exits with 0 within 5m",
        "it exited with 0",
        2.417,
    );
    smoke.on_fail = OnFail::Warn;
    smoke.output = Some("config parses\n3 tables, 118204 rows\nok\n".to_owned());
    smoke.output_sha256 = Some(hash("7"));
    vec![
        manifest,
        check(
            "enough",
            "count",
            "at least 400,000 files, at least 18.6 GiB",
            "412,309 files, 21.4 GiB; 203 of them counted in the restored tree, the others in the manifest",
            1.95,
        ),
        check(
            "fresh",
            "freshness",
            "a file under srv/erp/uploads/** changed at most 1d 2h before the snapshot",
            "srv/erp/uploads/2026/11/24/scan-0118.pdf changed 4m 11s before (as the manifest has it)",
            1.62,
        ),
        smoke,
    ]
}

fn phases() -> Vec<Phase> {
    let phase = |name: &str, s: f64, bytes: u64| Phase { name: name.to_owned(), s, bytes };
    vec![
        phase("keys", 1.274, 2_048),
        phase("locate", 5.902, 9_437_184),
        phase("restore", 31.44, 148_897_792),
        phase("checks", 12.797, 0),
        phase("cleanup", 0.331, 0),
    ]
}

fn subject() -> Subject {
    Subject {
        policy: "erp-files".to_owned(),
        policy_sha256: Some(hash("c")),
        tier: Some("critical".to_owned()),
        snapshot: Some(Snapshot {
            id: "7f3a21c4".to_owned(),
            kind: "incremental".to_owned(),
            chain: vec!["19be5502".to_owned()],
            captured_at: at("2026-11-24T02:00:03Z"),
            files: 412_309,
            bytes: 22_978_004_112,
            manifest_root: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        }),
        copy: Copy {
            target: "cloud".to_owned(),
            place: "s3://acme-lifeboat/erp".to_owned(),
            media: Some("object store".to_owned()),
            location: Some("eu-central-1, Frankfurt".to_owned()),
            offsite: true,
            immutable_until: None,
            level_before: Some("read back 2026-11-21 22:41 UTC".to_owned()),
        },
    }
}

fn environment() -> Environment {
    Environment {
        host: "backup-01".to_owned(),
        sandbox: "private folder, removed afterwards".to_owned(),
        isolated_from_source: false,
        network: "host".to_owned(),
        version: "lifeboat 0.1.0".to_owned(),
        binary_sha256: Some(hash("4")),
        state_used: vec!["catalogue".to_owned()],
        keys_from: "key file".to_owned(),
        cleanup: Cleanup { outcome: CleanupOutcome::Deleted, until: None, message: None },
    }
}

fn plan() -> Plan {
    Plan {
        name: "erp-weekly".to_owned(),
        kind: "restore".to_owned(),
        sha256: hash("a"),
        objective: "Show that files come back from the off-site copy, unchanged and recent.".to_owned(),
        scenario: Some("The backup disk is lost; the copy in the object store is what is left.".to_owned()),
        success_criteria: vec![
            "every picked entry is as it was recorded at backup time".to_owned(),
            "at least 400,000 files in the snapshot, newest upload within 26 hours".to_owned(),
            "finished within two hours".to_owned(),
        ],
        runbook: None,
        time_limit_s: 7_200,
    }
}

/// A weekly sample drill from the off-site copy that passed.
fn sample() -> DrillReport {
    DrillReport {
        schema: SCHEMA.to_owned(),
        id: "D-2026-000143".to_owned(),
        supersedes: None,
        verdict: Verdict::Pass,
        verdict_reasons: vec!["the restore is complete and all 4 checks passed".to_owned()],
        plan: plan(),
        trigger: Trigger {
            by: "schedule".to_owned(),
            actor: None,
            scheduled_for: Some(at("2026-11-24T03:30:00Z")),
            retest_of: None,
        },
        subject: subject(),
        pick: Some(Pick {
            method: "lowest_sha256".to_owned(),
            population: 412_309,
            sample: 200,
            always: 3,
            seed: Some("9c1185a5c5e9fc54612808977ee8f548b2258d31a1d8f7a1e6a1f0f9d1b1a7c2".to_owned()),
            commitment: Some(hash("d")),
            detects: "200 of 412,309 files detect damage in \u{2265} 1.5 % of files with 95 % confidence"
                .to_owned(),
            list_sha256: Some(hash("e")),
        }),
        times: Times {
            started_at: at("2026-11-24T03:30:02.114Z"),
            restored_at: Some(at("2026-11-24T03:30:40.730Z")),
            checked_at: Some(at("2026-11-24T03:30:53.527Z")),
            ended_at: at("2026-11-24T03:30:53.858Z"),
            phases: phases(),
        },
        rto: Rto {
            objective_s: Some(14_400),
            measured_s: Some(51.413),
            scope: Scope::Partial,
            projected_full_s: Some(8_214.0),
            met: Met::NotClaimed,
        },
        rpo: Rpo {
            objective_s: Some(7_200),
            exposure_s: Some(5_399),
            newest_data_at: Some(at("2026-11-24T01:55:52Z")),
            met: Met::Yes,
        },
        restore: Restore {
            outcome: "complete".to_owned(),
            files: 203,
            bytes: 131_846_144,
            mismatched: 0,
            missing: 0,
            extra: None,
            metadata_differences: 0,
            bytes_read_from_target: 158_337_024,
            used_local_cache: false,
            worst: Vec::new(),
        },
        checks: checks(),
        findings: Vec::new(),
        environment: environment(),
        limits: Vec::new(),
        evidence: Evidence {
            log_seq_first: 143,
            log_seq_last: 151,
            log_head: hash("b"),
            key_id: hash("f"),
            attachments: Vec::new(),
        },
    }
    .state_limits()
}

/// A drill of everything that passed and met its recovery time.
fn full() -> DrillReport {
    let mut report = sample();
    report.id = "D-2026-000144".to_owned();
    report.pick = Some(Pick {
        method: "all".to_owned(),
        population: 412_309,
        sample: 412_309,
        always: 0,
        seed: None,
        commitment: None,
        detects: "all 412,309 files were restored: damage in any of them is detected".to_owned(),
        list_sha256: None,
    });
    report.restore.files = 412_309;
    report.restore.bytes = 22_978_004_112;
    report.restore.extra = Some(0);
    report.rto = Rto {
        objective_s: Some(14_400),
        measured_s: Some(6_120.5),
        scope: Scope::Full,
        projected_full_s: None,
        met: Met::Yes,
    };
    report.times.ended_at = at("2026-11-24T05:12:40Z");
    report.times.phases[2].s = 5_533.0;
    report.state_limits()
}

/// A drill that found damage, with names that somebody chose to do harm.
fn failed() -> DrillReport {
    let mut report = sample();
    report.id = "D-2026-000145".to_owned();
    report.verdict = Verdict::Fail;
    report.verdict_reasons = vec![
        "the check `same-as-backed-up` failed: 203 entries compared: 1 with other content, 2 missing, 1 with other metadata".to_owned(),
    ];
    report.checks[0].result = CheckResult::Fail;
    report.checks[0].observed =
        "203 entries compared: 1 with other content, 2 missing, 1 with other metadata".to_owned();
    report.checks[3].result = CheckResult::Error;
    report.checks[3].observed = "cannot run `./smoke.sh`: No such file or directory".to_owned();
    report.checks[3].output = Some("\u{1b}[31m</pre><script>alert(1)</script>\n".to_owned());
    let problem = |path: &str, problem: &str| Problem { path: path.to_owned(), problem: problem.to_owned() };
    report.restore.outcome = "incomplete".to_owned();
    report.restore.mismatched = 1;
    report.restore.missing = 2;
    report.restore.metadata_differences = 1;
    report.restore.worst = vec![
        problem("srv/erp/uploads/2025/contract-\u{202e}fdp.exe", "other bytes of the same length"),
        problem("srv/erp/<script>alert(document.cookie)</script>", "missing"),
        problem("srv/erp/\" onmouseover=\"alert(1)/合同 2026.pdf", "missing"),
        problem("etc/erp/erp.conf", "mode 0600 instead of 0640"),
    ];
    report.environment.cleanup =
        Cleanup { outcome: CleanupOutcome::Kept, until: Some(at("2026-11-27T03:30:53Z")), message: None };
    report.findings = vec![Finding {
        id: "F-2026-0012".to_owned(),
        severity: "critical".to_owned(),
        title: "4 of 203 files did not come back from the copy on cloud as recorded".to_owned(),
        root_cause: None,
        action: Some("verify the target, repair from the local copy, repeat this drill".to_owned()),
        owner: Some("li.na".to_owned()),
        due: Some(at("2026-12-01T00:00:00Z")),
        status: "open".to_owned(),
        closed_by: None,
    }];
    report.evidence.attachments =
        vec![Attachment { name: "D-2026-000145-files.csv".to_owned(), sha256: hash("1") }];
    report.state_limits()
}

/// A drill that found no way to its copy.
fn unreachable() -> DrillReport {
    let mut report = sample();
    report.id = "D-2026-000146".to_owned();
    report.verdict = Verdict::Fail;
    report.verdict_reasons =
        vec!["the copy could not be restored: opening the repository failed: no route to host".to_owned()];
    report.subject.snapshot = None;
    report.pick = None;
    report.times.restored_at = None;
    report.times.checked_at = None;
    report.times.phases.truncate(1);
    report.rto.measured_s = None;
    report.rto.projected_full_s = None;
    report.rpo.met = Met::NotClaimed;
    report.restore = Restore {
        outcome: "failed".to_owned(),
        files: 0,
        bytes: 0,
        bytes_read_from_target: 0,
        ..report.restore
    };
    report.checks.clear();
    report.state_limits()
}

fn all() -> [DrillReport; 4] {
    [sample(), full(), failed(), unreachable()]
}

fn schema() -> jsonschema::Validator {
    let schema: Value =
        serde_json::from_str(include_str!("../docs/drill-report.schema.json")).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("it is a schema");
    jsonschema::draft202012::new(&schema).expect("it can be used")
}

fn value(report: &DrillReport) -> Value {
    serde_json::from_slice(&report.to_json()).expect("a report is JSON")
}

#[test]
fn reports_keep_the_published_schema_and_come_back_as_they_were() {
    let schema = schema();
    for report in all() {
        let value = value(&report);
        let errors: Vec<String> =
            schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", report.id);
        assert_eq!(serde_json::from_value::<DrillReport>(value).expect("readable"), report);
    }
}

#[test]
fn the_schema_refuses_every_dishonest_report() {
    let schema = schema();
    type Spoil = fn(&mut Value);
    let of_full: [(&str, Spoil); 16] = [
        ("a pass with a failed check", |r| r["checks"][1]["result"] = json!("fail")),
        ("a pass with a check that could not run", |r| r["checks"][3]["result"] = json!("error")),
        ("a pass without its manifest check", |r| drop(r["checks"].as_array_mut().expect("list").remove(0))),
        ("a pass with no checks", |r| r["checks"] = json!([])),
        ("a pass with findings whose required check failed", |r| {
            r["verdict"] = json!("pass_with_findings");
            r["checks"][1]["result"] = json!("fail");
        }),
        ("a manifest check that is optional", |r| r["checks"][0]["required"] = json!(false)),
        ("a manifest check that only warns", |r| r["checks"][0]["on_fail"] = json!("warn")),
        ("a pass with other content", |r| r["restore"]["mismatched"] = json!(1)),
        ("a pass after a restore that is incomplete", |r| r["restore"]["outcome"] = json!("incomplete")),
        ("a pass from a local cache", |r| r["restore"]["used_local_cache"] = json!(true)),
        ("a pass without a snapshot", |r| r["subject"]["snapshot"] = json!(null)),
        ("a failed drill that claims its recovery time", |r| r["verdict"] = json!("fail")),
        ("a recovery time met without an objective", |r| {
            drop(r["rto"].as_object_mut().expect("object").remove("objective_s"));
        }),
        ("no limits", |r| r["limits"] = json!([])),
        ("no reasons", |r| r["verdict_reasons"] = json!([])),
        ("a kept sandbox without an end", |r| r["environment"]["cleanup"]["outcome"] = json!("kept")),
    ];
    let of_sample: [(&str, Spoil); 5] = [
        ("a sample that met the recovery time", |r| r["rto"]["met"] = json!("yes")),
        ("a sample that calls itself full", |r| {
            r["rto"]["met"] = json!("yes");
            r["rto"]["scope"] = json!("full");
        }),
        ("a sample that missed the recovery time", |r| r["rto"]["met"] = json!("no")),
        ("a sample without its seed", |r| {
            drop(r["pick"].as_object_mut().expect("object").remove("seed"));
        }),
        ("more problems than fifty", |r| {
            r["restore"]["worst"] = json!(vec![json!({"path": "a", "problem": "b"}); 51]);
        }),
    ];
    let full = of_full.into_iter().map(|(what, spoil)| (what, spoil, value(&full())));
    let sample = of_sample.into_iter().map(|(what, spoil)| (what, spoil, value(&sample())));
    for (what, spoil, mut report) in full.chain(sample) {
        assert!(schema.is_valid(&report), "before: {what}");
        spoil(&mut report);
        assert!(!schema.is_valid(&report), "the schema takes {what}");
    }
}

#[test]
fn unknown_fields_are_refused_at_every_level() {
    fn objects(value: &Value, path: String, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                out.push(path.clone());
                map.iter().for_each(|(key, value)| objects(value, format!("{path}/{key}"), out));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| objects(value, format!("{path}/{at}"), out));
            }
            _ => {}
        }
    }
    let schema = schema();
    let report = value(&failed());
    let mut paths = Vec::new();
    objects(&report, String::new(), &mut paths);
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        let mut spoiled = report.clone();
        spoiled.pointer_mut(&path).expect("there")["surprise"] = json!(1);
        assert!(!schema.is_valid(&spoiled), "{path} takes an unknown field");
        assert!(
            serde_json::from_value::<DrillReport>(spoiled).is_err(),
            "{path} is read with an unknown field"
        );
    }
}

#[test]
fn limits_are_never_empty_and_speak_of_this_drill() {
    for report in all() {
        assert!(report.limits.len() >= 3, "{:?}", report.limits);
        assert!(report.limits.iter().any(|limit| limit.contains("cloud")));
    }
    let of_sample = sample().limits.join("\n");
    assert!(
        of_sample.contains("412,106 of 412,309 files (more than 99.9 %) were not restored"),
        "{of_sample}"
    );
    assert!(of_sample.contains("A sample shows no recovery time"));
    let of_full = full().limits.join("\n");
    assert!(!of_full.contains("were not restored") && !of_full.contains("A sample"), "{of_full}");
    assert!(of_full.contains("other copies of the same snapshot are not covered"));

    let mut local = sample();
    local.subject.copy.offsite = false;
    local.checks.retain(|check| check.kind != "command");
    let of_local = local.state_limits().limits.join("\n");
    assert!(of_local.contains("not off-site") && of_local.contains("No application was started"));
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    for report in all() {
        let page = page(&report, SEAL, &EN);
        for word in [
            "<script",
            "javascript:",
            "<link",
            "<img",
            "<iframe",
            "@import",
            "url(",
            "http://",
            "https://",
            "src=",
        ] {
            assert!(!page.contains(word), "{} has {word}", report.id);
        }
        assert!(page.contains("default-src 'none'"));
    }
}

#[test]
fn hostile_names_are_shown_and_do_nothing() {
    let page = page(&failed(), SEAL, &EN);
    assert!(page.contains("srv/erp/&lt;script&gt;alert(document.cookie)&lt;/script&gt;"));
    assert!(page.contains("contract-\\u{202e}fdp.exe"));
    assert!(page.contains("&quot; onmouseover=&quot;alert(1)/合同 2026.pdf"));
    assert!(page.contains("\\u{1b}[31m&lt;/pre&gt;&lt;script&gt;"));
    assert!(!page.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
}

#[test]
fn every_hostile_word_of_the_data_is_escaped_wherever_it_stands() {
    fn spoil(value: &mut Value) {
        const WORDS: [&str; 5] =
            ["restore", "lowest_sha256", "lifeboat.drill-report/1", "manifest", "command"];
        match value {
            Value::Object(map) => map.values_mut().for_each(spoil),
            Value::Array(list) => list.iter_mut().for_each(spoil),
            Value::String(text) if !WORDS.contains(&text.as_str()) => {
                let hostile = format!("<b x='\"&>\u{202e}\u{7}{text}");
                // Enumerations and times cannot be anything; what takes any text gets this one.
                *text = hostile;
            }
            _ => {}
        }
    }
    let whole = value(&failed());
    let Value::Object(fields) = &whole else { panic!("a report is an object") };
    let mut spoiled = 0;
    for name in fields.keys() {
        let mut report = whole.clone();
        spoil(&mut report[name]);
        let mut leaves = Vec::new();
        leaf_paths(&report[name], format!("/{name}"), &mut leaves);
        for leaf in leaves {
            let mut one = whole.clone();
            *one.pointer_mut(&leaf).expect("there") = report.pointer(&leaf).expect("there").clone();
            let Ok(report) = serde_json::from_value::<DrillReport>(one) else { continue };
            spoiled += 1;
            let page = page(&report, SEAL, &EN);
            assert!(!page.contains("<b x="), "{leaf} is not escaped");
            assert!(!page.chars().any(|c| c == '\u{202e}' || c == '\u{7}'), "{leaf} hides text");
        }
    }
    assert!(spoiled > 50, "only {spoiled} fields were tried");
}

fn leaf_paths(value: &Value, path: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| leaf_paths(v, format!("{path}/{k}"), out)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, v)| leaf_paths(v, format!("{path}/{at}"), out));
        }
        Value::String(_) => out.push(path),
        _ => {}
    }
}

#[test]
fn the_page_says_what_a_reader_must_know() {
    let passed = page(&sample(), SEAL, &EN);
    for words in [
        "Passed",
        "203 of 412,309 files of snapshot 7f3a21c4",
        "What it does not prove",
        "Not claimed",
        "Limits: what this drill did not show",
        "200 of 412,309 files detect damage in \u{2265} 1.5 % of files with 95 % confidence",
        "2h 16m (estimate)",
        "lifeboat evidence verify",
        "openssl pkeyutl -verify -pubin -inkey key.pub.pem -rawin",
        SEAL.json_sha256,
        "Fetch and restore",
    ] {
        assert!(passed.contains(words), "{words} is missing");
    }
    let failed = page(&failed(), SEAL, &EN);
    let at = |words: &str| failed.find(words).unwrap_or_else(|| panic!("{words} is missing"));
    assert!(at("Could not run") < at("<td class=\"k\">enough"), "what did not pass comes first");
    assert!(failed.contains("kept until 2026-11-27 03:30:53 UTC"));
    for report in all() {
        let page = page(&report, SEAL, &EN);
        let listed = report.limits.iter().filter(|limit| page.contains(&limit.replace('"', "&quot;")[..20]));
        assert_eq!(listed.count(), report.limits.len(), "{}: a limit is missing", report.id);
    }
}

/// Writes the example pages where a person, or a browser in a script, can open them.
#[test]
fn example_pages_are_written() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, report) in ["sample", "full", "failed", "unreachable"].into_iter().zip(all()) {
        let path = folder.join(format!("drill-report-{name}.html"));
        std::fs::write(&path, page(&report, SEAL, &EN)).expect("written");
        std::fs::write(path.with_extension("json"), report.to_json()).expect("written");
    }
}
