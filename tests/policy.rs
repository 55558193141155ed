//! The configuration's promises: what is taken, what is refused, and how that is said.

#![expect(clippy::unwrap_used, reason = "a test that can't prepare its files has failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono_tz::Tz;
use lifeboat::base::clock::Timestamp;
use lifeboat::base::error::{Class, Classified};
use lifeboat::base::priority::IoPriority;
use lifeboat::policy::limit::Limit;
use lifeboat::policy::load::{Machine, Observed, find, load};
use lifeboat::policy::model::{
    AfterRun, CheckKind, Configuration, CopyChoice, CopyClass, Files, Leftover, Origin, Place,
    SnapshotOfSource, Tier,
};
use lifeboat::policy::problem::{Problems, Severity};
use lifeboat::policy::weaker::Promise;

const MINIMAL: &str = "source = [\"/srv/web\"]\n[targets.disk]\nurl = \"file:///mnt/b\"\n";

fn machine() -> Machine {
    Machine { host: "hq".to_owned(), timezone: Tz::Europe__Berlin }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn read(files: &[(&str, &str)]) -> Result<Configuration, Problems> {
    load(folder(files).path(), &machine(), &Observed::default())
}

/// `line:column code` of each error of one policy file.
fn errors_of(text: &str) -> Vec<String> {
    errors(&[("policies/web.toml", text)])
}

fn errors(files: &[(&str, &str)]) -> Vec<String> {
    let Err(problems) = read(files) else { return Vec::new() };
    let only_errors = problems.0.iter().filter(|p| p.severity == Severity::Error);
    only_errors.map(|p| format!("{}:{} {} {} | {}", p.line, p.column, p.code, p.cause, p.fix)).collect()
}

fn warnings(files: &[(&str, &str)]) -> Vec<String> {
    read(files).unwrap().warnings.into_iter().map(|p| p.cause).collect()
}

#[test]
fn the_examples_load_with_all_their_keys() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let configuration = load(dir, &machine(), &Observed::default()).unwrap();
    let web = configuration.policy("web").unwrap();
    assert_eq!(fs::read_to_string(dir.join("policies/web.toml")).unwrap().lines().count(), 9);
    assert_eq!(web.targets.len(), 2);
    assert_eq!(web.targets[1].class("hq"), CopyClass::Offsite);
    assert_eq!(web.targets[1].provider.as_deref(), Some("s3.cn-north-1.example.com"));
    let standard = configuration.policy("standard-3-2-1").unwrap();
    assert!(standard.settings.iter().filter(|s| s.origin == Origin::Default).count() <= 1);
    assert_eq!(standard.tier, Tier::Important);
    for example in ["critical-immutable", "removable-disk", "two-clouds"] {
        assert!(configuration.policy(example).is_some(), "{example}");
    }
    assert!(configuration.drill("web-weekly").unwrap().version.is_some());
    assert!(configuration.drill("standard-3-2-1-weekly").unwrap().version.is_none());
}

#[test]
fn defaults_are_safe_and_name_their_origin() {
    let configuration = read(&[("policies/web.toml", MINIMAL)]).unwrap();
    let policy = &configuration.policies[0];
    let hour = Duration::from_secs(3600);
    assert_eq!((policy.objective.rpo, policy.objective.rto), (hour * 2, None));
    assert_eq!(policy.schedule.full.spec(), "daily 01:00");
    assert_eq!(policy.schedule.incremental.as_ref().unwrap().spec(), "hourly");
    assert!(policy.schedule.differential.is_none());
    assert_eq!(policy.schedule.timezone, Tz::Europe__Berlin);
    assert!(policy.source.must_exist && policy.rule.count_source && policy.rule.zero_errors);
    assert_eq!((policy.rule.copies, policy.rule.media, policy.rule.offsite), (3, 2, 1));
    assert_eq!(policy.rule.max_verify_age, hour * 24 * 35);
    assert_eq!(policy.verify.after_run, AfterRun::New);
    let origin = |key: &str| policy.settings.iter().find(|s| s.key == key).unwrap().origin.to_string();
    assert_eq!(origin("targets.disk.url"), "policies/web.toml:3");
    assert_eq!(origin("source"), "policies/web.toml:1");
    assert_eq!(origin("rule.copies"), "default");
    let drill = configuration.drill("web-weekly").unwrap();
    assert_eq!((drill.when.spec(), &drill.copy), ("weekly sun 03:30", &CopyChoice::Each));
    assert_eq!(drill.scope.files, Files::Sample(200));
    assert_eq!(drill.cleanup.fail, Leftover::Keep(hour * 72));
}

#[test]
fn the_documentation_names_every_key_with_its_default() {
    let page = include_str!("../docs/configuration.md");
    let drill = "policy = \"web\"\nwhen = \"yearly\"\n";
    let files = [("policies/web.toml", MINIMAL), ("drills/d.toml", drill), ("lifeboat.toml", "")];
    let configuration = read(&files).unwrap();
    let (policy, drill) = (&configuration.policies[0], configuration.drill("d").unwrap());
    let mut defaults = 0;
    for setting in policy.settings.iter().chain(&drill.settings).filter(|s| s.origin == Origin::Default) {
        let key = setting.key.strip_prefix("targets.disk.").unwrap_or(&setting.key);
        let first =
            |line: &str| line.strip_prefix("| ").and_then(|rest| Some(rest.split_once(" | ")?.0.to_owned()));
        let row =
            page.lines().find(|line| first(line).is_some_and(|cell| cell.contains(&format!("`{key}`"))));
        let row = row.unwrap_or_else(|| panic!("no row for {key}"));
        let stated = row.contains(&setting.value) || row.contains(setting.value.trim_matches('"'));
        let in_words = matches!(key, "description" | "schedule.timezone");
        assert!(stated || in_words, "{key} = {}: {row}", setting.value);
        defaults += 1;
    }
    assert!(defaults > 25, "{defaults}");
}

#[test]
fn the_version_is_what_sha256sum_prints() {
    let configuration = read(&[("policies/web.toml", MINIMAL)]).unwrap();
    let version = &configuration.policies[0].version;
    assert_eq!(version.file, "policies/web.toml");
    assert_eq!(
        version.sha256,
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, MINIMAL.as_bytes()))
    );
}

#[test]
fn short_and_long_source_say_the_same() {
    let long = MINIMAL.replace("source = [\"/srv/web\"]", "[source]\npaths = [\"/srv/web\"]");
    let inline = MINIMAL.replace("[\"/srv/web\"]", "{ paths = [\"/srv/web\"] }");
    let source = |text: &str| read(&[("policies/web.toml", text)]).unwrap().policies[0].source.clone();
    assert_eq!(source(MINIMAL), source(&long));
    assert_eq!(source(MINIMAL), source(&inline));
}

#[test]
fn all_problems_come_at_once_with_their_places() {
    let found = errors_of(
        "descripton = \"x\"\nrpo = 7200\nrto = \"4 hours\"\nsource = [\"srv\", 5, \"/etc\"]\n\
         [schedule]\nfull = \"daily 25:00\"\ntimezone = \"Europe/Berlim\"\n[targets.disk]\nurl = \"file://mnt\"\n\
         [targets.Cloud]\nurl = \"ftp://x/y\"\n[rule]\ncopies = -1\n",
    );
    let places: Vec<_> = found.iter().map(|e| e.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "1:1 E0204",
            "2:7 E0206",
            "3:7 E0206",
            "4:11 E0206",
            "4:18 E0206",
            "6:8 E0206",
            "7:12 E0206",
            "9:7 E0206",
            "10:10 E0206",
            "11:7 E0205",
            "13:10 E0206"
        ],
        "{found:#?}"
    );
    assert!(found[0].ends_with("did you mean `description`?"), "{}", found[0]);
    assert!(found[6].contains("Europe/Berlin"), "{}", found[6]);
}

#[test]
fn a_problem_is_shown_with_its_line_and_a_caret() {
    let problems = read(&[("policies/web.toml", &format!("rpoo = \"2h\"\n{MINIMAL}"))]).unwrap_err();
    let shown = problems.to_string();
    let expected = "policies/web.toml:1:1: error[E0204]: unknown key `rpoo`\n  1 | rpoo = \"2h\"\n    | ^^^^\n  \
                    fix: did you mean `rpo`?\n";
    assert!(shown.contains(expected), "{shown}");
    assert_eq!(problems.class(), Class::Usage);
    assert_eq!(problems.class().exit_code(), 2);
    let json = serde_json::to_value(&problems.0).unwrap();
    let first = json.as_array().unwrap().iter().find(|p| p["severity"] == "error").unwrap();
    assert_eq!((&first["line"], &first["column"], &first["code"]), (&1.into(), &1.into(), &"E0204".into()));
}

#[test]
fn rules_of_the_source_are_read_and_bad_ones_are_refused() {
    let with =
        |keys: &str| MINIMAL.replace("[\"/srv/web\"]", &format!("{{ paths = [\"/srv/web\"], {keys} }}"));
    let all = "include = [\"*.pdf\", \"!x\"], exclude_larger_than = \"2 GiB\", exclude_if_present = [\".skip\"], \
               with_caches = true, snapshot = \"btrfs\"";
    let source = read(&[("policies/web.toml", &with(all))]).unwrap().policies[0].source.clone();
    assert_eq!((source.include.len(), source.exclude_larger_than), (2, Some(2 << 30)));
    assert_eq!((source.exclude_if_present, source.with_caches), (vec![".skip".to_owned()], true));
    assert_eq!(source.snapshot, SnapshotOfSource::Btrfs);
    for bad in [
        "include = [\"a{b\"]",
        "exclude_larger_than = 5",
        "exclude_larger_than = \"much\"",
        "exclude_if_present = [\"a/b\"]",
        "exclude_if_present = [\"..\"]",
        "with_caches = \"yes\"",
        "snapshot = \"ext4\"",
    ] {
        let found = errors_of(&with(bad));
        assert!(found.len() == 1 && found[0].contains("E0206"), "{bad}: {found:?}");
    }
    for by_hook in ["snapshot = \"zfs\"", "snapshot = \"lvm\""] {
        let found = errors_of(&with(by_hook));
        assert!(found.len() == 1 && found[0].contains("snapshot-hooks.md"), "{by_hook}: {found:?}");
    }
}

#[test]
fn every_key_of_later_versions_is_refused_by_name() {
    for key in ["network = \"dmz\"", "account = \"x\""] {
        let found = errors_of(&format!("{MINIMAL}{key}\n"));
        assert!(found.len() == 1 && found[0].contains("not yet supported"), "{key}: {found:?}");
    }
    for key in ["hook = []", "dump = []"] {
        let found =
            errors_of(&MINIMAL.replace("[\"/srv/web\"]", &format!("{{ paths = [\"/srv\"], {key} }}")));
        assert!(found.len() == 1 && found[0].contains("not yet supported"), "{key}: {found:?}");
    }
    for text in [
        "language = \"de\"",
        "[space]\nlogs_max = \"5GB\"",
        "[evidence]\ncopies = []",
        "[evidence]\nkeep = \"7y\"",
        "[evidence]\ntimestamp_url = \"\"",
        "[defaults]",
    ] {
        let found = errors(&[("policies/web.toml", MINIMAL), ("lifeboat.toml", text)]);
        assert!(found.len() == 1 && found[0].contains("not yet supported"), "{text}: {found:?}");
    }
}

#[test]
fn limits_are_read_with_their_zone_and_a_policy_s_come_before_the_site_s() {
    let policy = format!(
        "{MINIMAL}upload_limit = [\"5MB/s mon-fri 08:00-18:00\", \"50MB/s\"]\ndownload_limit = \"20 MB/s\"\n\
         [limits]\nnice = 10\nionice = \"best-effort 7\"\n"
    );
    let site = "[limits]\nworkers = 3\nnice = 5\n";
    let configuration = read(&[("policies/web.toml", &policy), ("lifeboat.toml", site)]).unwrap();
    let policy = &configuration.policies[0];
    let limits = policy.limits.or(configuration.site.limits);
    assert_eq!((limits.workers, limits.nice), (Some(3), Some(10)));
    assert_eq!(limits.io, Some(IoPriority::BestEffort(7)));
    let target = &policy.targets[0];
    let at = |time: &str| {
        let moment = Timestamp::parse_rfc3339(time).unwrap();
        let rate = |limit: &Option<Limit>| limit.as_ref().and_then(|limit| limit.at(moment));
        (rate(&target.upload_limit), rate(&target.download_limit))
    };
    // The site's zone is Berlin: an hour ahead of UTC in November. The 24th is a Tuesday.
    assert_eq!(at("2026-11-24T06:59:00Z"), (Some(50_000_000), Some(20_000_000)));
    assert_eq!(at("2026-11-24T07:00:00Z"), (Some(5_000_000), Some(20_000_000)));
    let wrong = [
        ("upload_limit = \"fast\"", "no limit"),
        ("upload_limit = 5", "integer"),
        ("download_limit = []", "empty"),
        ("download_limit = [\"5MB/s\", 7]", "integer"),
    ];
    for (text, word) in wrong {
        let found = errors_of(&format!("{MINIMAL}{text}\n"));
        assert!(found.len() == 1 && found[0].contains(word), "{text}: {found:?}");
    }
    for (text, word) in [
        ("nice = 20", "out of range"),
        ("nice = -5", "negative"),
        ("workers = 0", "out of range"),
        ("ionice = \"realtime\"", "no priority"),
        ("cpu = 3", "unknown key"),
    ] {
        let found =
            errors(&[("policies/web.toml", MINIMAL), ("lifeboat.toml", &format!("[limits]\n{text}\n"))]);
        assert!(found.len() == 1 && found[0].contains(word), "{text}: {found:?}");
    }
    let levels = errors_of(&MINIMAL.replacen("source", "compression = 0\nsource", 1));
    assert!(levels.len() == 1 && levels[0].contains("no way to compress"), "{levels:?}");
}

#[test]
fn every_drill_word_of_later_versions_is_refused_by_name() {
    let drill = |text: &str| {
        let text = format!("policy = \"web\"\nwhen = \"weekly sun 03:30\"\n{text}\n");
        errors(&[("policies/web.toml", MINIMAL), ("drills/d.toml", &text)])
    };
    for kind in
        ["surprise", "full-system", "cold-start", "key-escrow", "provider-loss", "ransomware", "tabletop"]
    {
        let found = drill(&format!("kind = \"{kind}\""));
        assert!(found.len() == 1 && found[0].contains("not yet supported"), "{kind}: {found:?}");
    }
    for kind in ["canary", "postgres", "mysql", "sqlite", "sql", "http", "metadata", "key-escrow"] {
        let found = drill(&format!("[[check]]\nkind = \"{kind}\"\nrows = 5"));
        assert!(found.len() == 1 && found[0].contains("not yet supported"), "{kind}: {found:?}");
    }
    for text in [
        "copy = \"rotate\"",
        "copy = \"random\"",
        "snapshot = \"random\"",
        "snapshot = \"before 6h\"",
        "snapshot = \"at 2026-11-01T00:00:00Z\"",
        "sandbox = { kind = \"host\" }",
        "owner = \"x\"",
        "runbook = \"x\"",
        "window = \"mon\"",
        "announce = \"none\"",
        "participants = []",
        "scenario = \"x\"",
        "facilitator = \"x\"",
        "questions = []",
        "keys = \"recovery-kit\"",
        "policies = []",
        "scope = { dumps = [\"erp\"] }",
    ] {
        let found = drill(text);
        assert!(found.len() == 1 && found[0].contains("not yet supported"), "{text}: {found:?}");
    }
}

#[test]
fn secrets_are_refused_and_never_shown() {
    for text in [
        "secret_key = \"hunter2\"",
        "password = \"hunter2\"",
        "AWS_SECRET_ACCESS_KEY = \"hunter2\"",
        "[targets.s]\nurl = \"s3://me:hunter2@bucket/x\"",
        "[targets.s]\nurl = \"s3://bucket\"\nendpoint = \"https://me:hunter2@host\"",
    ] {
        let problems = read(&[("policies/web.toml", &format!("{MINIMAL}{text}\n"))]).unwrap_err();
        assert!(problems.0.iter().any(|p| p.code == "E0208"), "{text}: {problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
        assert!(!serde_json::to_string(&problems.0).unwrap().contains("hunter2"), "{text}");
    }
    let unfinished = read(&[("policies/web.toml", "password = \"hunter2")]).unwrap_err();
    assert!(!unfinished.to_string().contains("hunter2"), "{unfinished}");
}

#[test]
fn targets_in_each_others_way_are_refused() {
    let policy = |url: &str| format!("source = [\"/srv\"]\n[targets.t]\nurl = \"{url}\"\n");
    let clash = |a: &str, b: &str| {
        !errors(&[("policies/a.toml", &policy(a)), ("policies/b.toml", &policy(b))]).is_empty()
    };
    for (a, b) in [
        ("file:///mnt/b", "file:///mnt/b"),
        ("file:///mnt/b", "file:///mnt//b/"),
        ("file:///mnt/b", "/mnt/b/x"),
        ("s3://bucket/a", "s3://bucket/a/"),
        ("s3://bucket", "s3://bucket/a/b"),
    ] {
        assert!(clash(a, b) && clash(b, a), "{a} {b}");
    }
    for (a, b) in [
        ("file:///mnt/b", "file:///mnt/bb"),
        ("s3://bucket/a", "s3://bucket/ab"),
        ("s3://bucket/a", "s3://other/a"),
    ] {
        assert!(!clash(a, b), "{a} {b}");
    }
    let twice = "source = [\"/srv\"]\n[targets.a]\nurl = \"/mnt/b\"\n[targets.b]\nurl = \"/mnt/b\"\n";
    assert!(errors_of(twice)[0].contains("E0209"));
}

#[test]
fn urls_that_name_no_place_are_refused() {
    for url in [
        "file://mnt/b",
        "file://./b",
        "mnt/b",
        "file:///",
        "file:///a/../b",
        "s3://",
        "s3://UP/x",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "s3://bucket?region=x",
        "https://host/bucket",
        "sftp://host/x",
        "",
        " ",
        "://",
        "file://",
    ] {
        let text = format!("source = [\"/srv\"]\n[targets.t]\nurl = \"{url}\"\n");
        assert_eq!(errors_of(&text).len(), 1, "{url}: {:?}", errors_of(&text));
    }
    let folder = read(&[("policies/web.toml", MINIMAL)]).unwrap().policies[0].targets[0].place.clone();
    assert_eq!(folder, Place::Folder("/mnt/b".into()));
    assert_eq!(errors_of(&format!("{MINIMAL}region = \"x\"\n")).len(), 1);
}

#[test]
fn path_style_follows_the_endpoint_unless_written() {
    for (endpoint, expected) in [
        ("http://127.0.0.1:8333", true),
        ("http://[::1]:8333", true),
        ("http://nas:9000", true),
        ("https://s3.x.org", false),
    ] {
        let text =
            format!("source = [\"/srv\"]\n[targets.t]\nurl = \"s3://bucket\"\nendpoint = \"{endpoint}\"\n");
        assert_eq!(
            read(&[("policies/web.toml", &text)]).unwrap().policies[0].targets[0].path_style,
            expected,
            "{endpoint}"
        );
    }
}

#[test]
fn drills_name_what_exists() {
    let drill = |text: &str| errors(&[("policies/web.toml", MINIMAL), ("drills/d.toml", text)]);
    assert!(drill("policy = \"wbe\"\nwhen = \"yearly\"\n")[0].contains("did you mean \"web\"?"));
    assert!(
        drill("policy = \"web\"\nwhen = \"yearly\"\ncopy = \"disc\"\n")[0].contains("did you mean \"disk\"?")
    );
    assert!(drill("policy = \"web\"\nwhen = \"yearly\"\ncopy = \"offsite\"\n")[0].contains("E0210"));
    assert_eq!(drill("policy = \"web\"\nwhen = \"yearly\"\ncopy = \"disk\"\n"), Vec::<String>::new());
    assert_eq!(drill("").len(), 2);
}

#[test]
fn checks_are_read_with_their_parameters() {
    let text = "policy = \"web\"\nwhen = \"weekly sun 03:30\"\n[scope]\nfiles = \"all\"\nalways = [\"/etc/hosts\"]\n\
        [[check]]\nkind = \"count\"\nfiles = \">= 1000\"\nbytes = \"<= 5GB\"\n\
        [[check]]\nkind = \"freshness\"\npath = \"/srv/**\"\nnewest = \"<= 26h before snapshot\"\n\
        [[check]]\nkind = \"exists\"\npaths = [\"/etc/hosts\"]\n\
        [[check]]\nkind = \"command\"\nrun = [\"./smoke.sh\", \"{restore_root}\"]\nexit = 3\non_fail = \"warn\"\n";
    let configuration = read(&[("policies/web.toml", MINIMAL), ("drills/d.toml", text)]).unwrap();
    let drill = configuration.drill("d").unwrap();
    let words: Vec<_> = drill.checks.iter().map(|c| (c.kind.word(), c.id.as_str())).collect();
    assert_eq!(
        words,
        [
            ("manifest", "manifest"),
            ("count", "count"),
            ("freshness", "freshness-2"),
            ("exists", "exists-3"),
            ("command", "command-4")
        ]
    );
    let CheckKind::Count { files, bytes } = &drill.checks[1].kind else { panic!("no count") };
    assert!(files.unwrap().holds(1000) && !files.unwrap().holds(999) && !bytes.unwrap().holds(5_000_000_001));
    assert_eq!(drill.scope.files, Files::All);
}

#[test]
fn a_drill_never_goes_without_its_manifest() {
    let drill = |check: &str| {
        let text = format!("policy = \"web\"\nwhen = \"yearly\"\n[[check]]\n{check}\n");
        errors(&[("policies/web.toml", MINIMAL), ("drills/d.toml", &text)])
    };
    assert_eq!(drill("kind = \"manifest\"\non_fail = \"warn\"").len(), 1);
    assert_eq!(drill("kind = \"manifest\"\nrequired = false").len(), 1);
    assert_eq!(drill("kind = \"count\"").len(), 1);
    assert_eq!(drill("kind = \"command\"\nrun = []").len(), 1);
    assert_eq!(drill("kind = \"exists\"\npaths = [\"relative\"]").len(), 1);
    assert_eq!(drill("kind = \"count\"\nfiles = \"many\"").len(), 1);
}

#[test]
fn promises_that_cannot_be_kept_are_told() {
    let rpo = |rpo: &str| [format!("rpo = \"{rpo}\"\n{MINIMAL}")];
    assert!(errors_of(&rpo("1h")[0])[0].contains("E0211"));
    assert!(errors_of(&rpo("65m")[0]).is_empty());
    let told = |text: &str, needle: &str| {
        warnings(&[("policies/web.toml", text)]).iter().any(|w| w.contains(needle))
    };
    assert!(told(&rpo("65m")[0], "can't be promised"));
    assert!(!told(&rpo("67m")[0], "can't be promised"));
    let dir = folder(&[("policies/web.toml", MINIMAL)]);
    let slow = Observed { time_to_acked: [("web".to_owned(), Duration::from_secs(3601))].into() };
    let warned = load(dir.path(), &machine(), &slow).unwrap().warnings;
    assert!(warned.iter().any(|w| w.cause.contains("95 % of runs measured")), "{warned:?}");
    assert!(told(MINIMAL, "asks for 3 copies"));
    assert!(told(MINIMAL, "immutable_or_offline = 0"));
    assert!(told(&format!("tier = \"critical\"\n{MINIMAL}"), "asks for 1 immutable or offline"));
    assert!(!told(&format!("tier = \"critical\"\n{MINIMAL}offline = true\n"), "immutable or offline"));
    assert!(told(&format!("{MINIMAL}[rule]\nmax_verify_age = \"30d\"\n"), "only every 31d"));
    assert!(told(&MINIMAL.replace("file:///mnt/b", "s3://bucket"), "location not declared"));
    assert!(told(&MINIMAL.replace("/mnt/b", "/srv/web/b"), "back up itself"));
    let two = format!(
        "{MINIMAL}location = \"x\"\nprovider = \"p\"\n[targets.b]\nurl = \"file:///b\"\nlocation = \"y\"\nprovider = \"p\"\n"
    );
    assert!(told(&two, "one provider"));
    let one_sided = "policy = \"web\"\nwhen = \"yearly\"\ncopy = \"local\"\n";
    let both = format!("{MINIMAL}[targets.b]\nurl = \"file:///b\"\nlocation = \"y\"\n");
    let told = warnings(&[("policies/web.toml", &both), ("drills/d.toml", one_sided)]);
    assert!(told.iter().any(|w| w.contains("no drill ever restores from an off-site copy")), "{told:?}");
}

#[test]
fn files_of_wrong_names_sizes_and_encodings_are_told() {
    assert!(errors(&[("policies/Web Site.toml", MINIMAL)])[0].contains("a file's name is its id"));
    assert!(
        errors(&[("policies/web.toml", &format!("{MINIMAL}#{}", "x".repeat(1 << 20)))])[0].contains("larger")
    );
    let dir = folder(&[("policies/web.toml", MINIMAL), ("policies/web.tml", ""), ("policies/.x.swp", "")]);
    let warned = load(dir.path(), &machine(), &Observed::default()).unwrap().warnings;
    assert_eq!(warned.iter().filter(|w| w.file == "policies/web.tml").count(), 1);
    assert!(!warned.iter().any(|w| w.file.contains("swp")));
    fs::write(dir.path().join("policies/web.toml"), b"# \xff\n").unwrap();
    let problems = load(dir.path(), &machine(), &Observed::default()).unwrap_err();
    assert!(problems.to_string().contains("UTF-8"), "{problems}");
}

#[test]
fn the_first_folder_with_a_configuration_is_found() {
    let (empty, full) = (folder(&[]), folder(&[("policies/web.toml", MINIMAL)]));
    let usual = [empty.path().to_owned(), full.path().to_owned()];
    assert_eq!(find(None, &usual).unwrap(), full.path());
    assert_eq!(find(Some(full.path()), &[]).unwrap(), full.path());
    assert_eq!(find(Some(empty.path()), &usual).unwrap_err().code(), "E0201");
    assert!(find(None, &[]).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(96))]

    #[test]
    fn no_text_makes_the_loader_panic(
        text in "(?s)(source|targets|rule|schedule|check|[\\[\\]{}=.\"', \n]|[0-9a-z/:*-]|\\PC){0,60}"
    ) {
        let files = [("policies/web.toml", text.as_str()), ("drills/d.toml", &text), ("lifeboat.toml", &text)];
        if let Err(problems) = read(&files) {
            proptest::prop_assert!(problems.errors() > 0 && !problems.to_string().is_empty());
        }
    }

    #[test]
    fn a_broken_good_file_never_panics(at in 0usize..1200, junk in "\\PC{0,3}") {
        let good = include_str!("../policies/standard-3-2-1.toml");
        let at = (0..=at.min(good.len())).rev().find(|i| good.is_char_boundary(*i)).unwrap();
        let text = format!("{}{junk}{}", &good[..at], &good[at..]);
        if let Err(problems) = read(&[("policies/web.toml", &text)]) {
            proptest::prop_assert!(problems.errors() > 0);
        }
    }
}

#[test]
fn locks_of_a_target_are_read_and_bad_ones_are_refused() {
    let with = |immutable: &str| {
        format!(
            "source = [\"/srv\"]\n[targets.cloud]\nurl = \"s3://backup/web\"\n{immutable}\n[targets.disk]\nurl = \"file:///mnt/b\"\n"
        )
    };
    let good = with("immutable = { mode = \"compliance\", days = 35 }");
    let targets = read(&[("policies/web.toml", &good)]).unwrap().policies[0].targets.clone();
    let rule = targets.iter().find_map(|target| target.immutable).expect("a rule");
    assert_eq!((rule.mode, rule.days), (lifeboat::base::lock::LockMode::Compliance, 35));
    for bad in [
        "immutable = { days = 3 }",
        "immutable = { mode = \"governance\" }",
        "immutable = { mode = \"for ever\", days = 3 }",
        "immutable = { mode = \"governance\", days = 0 }",
        "immutable = { mode = \"governance\", days = 100000 }",
        "immutable = { mode = \"governance\", days = -1 }",
        "immutable = { mode = \"governance\", days = 3, hold = true }",
        "immutable = true",
    ] {
        let found = errors_of(&with(bad));
        assert!(found.len() == 1 && found[0].contains("E0206"), "{bad}: {found:?}");
    }
    let folder = "source = [\"/srv\"]\n[targets.disk]\nurl = \"file:///mnt/b\"\nimmutable = { mode = \"governance\", days = 3 }\n";
    assert!(errors_of(folder)[0].contains("no meaning for a folder"));
}

#[test]
fn schedules_are_shifted_by_a_jitter_that_is_always_the_same() {
    let text = |jitter: &str| format!("{MINIMAL}[schedule]\njitter = \"{jitter}\"\ntimezone = \"UTC\"\n");
    let first = |id: &str, text: &str| {
        let found = read(&[(&format!("policies/{id}.toml"), text)]).unwrap();
        let plan = &found.policies[0].schedule;
        let start = Timestamp::parse_rfc3339("2026-06-02T00:30:00Z").unwrap();
        (plan.full.next(start).unwrap().at, plan.incremental.as_ref().unwrap().next(start).unwrap().at)
    };
    let plain = first("web", &text("0"));
    let (full, hourly) = first("web", &text("20m"));
    assert_eq!((full, hourly), first("web", &text("20m")), "the same each time");
    assert_eq!(full.since(plain.0), hourly.since(plain.1), "backups of a policy move together");
    let shifts: std::collections::BTreeSet<u64> =
        (0..50).map(|n| first(&format!("p{n}"), &text("20m")).0.since(plain.0).as_secs()).collect();
    assert!(shifts.iter().all(|shift| *shift <= 20 * 60), "{shifts:?}");
    assert!(shifts.len() > 40, "{shifts:?}");
}

#[test]
fn holds_residency_blackouts_and_retries_are_taken_and_their_mistakes_told() {
    let text = "source = [\"/srv\"]\nlegal_hold = [\"2026-03-01..2026-03-31\", \"00ff00ff\"]\nresidency = [\"DE\"]\n\
        [targets.a]\nurl = \"file:///b\"\ncountry = \"DE\"\n[schedule]\nblackout = [\"sat,sun\"]\n\
        retry = { attempts = 5, max = \"1h\" }\npriority = 7\n";
    let found = read(&[("policies/web.toml", text)]).unwrap();
    let policy = &found.policies[0];
    assert_eq!(policy.legal_hold.len(), 2);
    assert_eq!((policy.schedule.retry.attempts, policy.schedule.priority), (5, 7));
    assert!(policy.schedule.blackout.is_some());
    let wrong = |text: &str, needle: &str| {
        let found = errors_of(text);
        assert!(found.iter().any(|error| error.contains(needle)), "{needle}: {found:?}");
    };
    for hold in ["soon", "2026-03-31..2026-03-01", "00ff", "zzzzzzzz"] {
        wrong(&format!("legal_hold = [\"{hold}\"]\n{MINIMAL}"), "is no hold");
    }
    wrong(&format!("residency = [\"DE\"]\n{MINIMAL}"), "doesn't say where it is");
    wrong(&format!("residency = [\"DE\"]\n{MINIMAL}country = \"US\"\n"), "is in US");
    wrong(&format!("{MINIMAL}country = \"Germany\"\n"), "is no country");
    wrong(&format!("{MINIMAL}[schedule]\nblackout = [\"00:00-24:00\"]\n"), "fills the whole week");
    wrong(&format!("{MINIMAL}[schedule]\nblackout = [\"noon\"]\n"), "is no window");
    wrong(&format!("{MINIMAL}[schedule]\nretry = {{ tries = 3 }}\n"), "`tries` is not known here");
    wrong(
        &format!("{MINIMAL}[schedule]\nretry = {{ first = \"2h\", max = \"1h\" }}\n"),
        "the wrong way round",
    );
    wrong(&format!("{MINIMAL}[schedule]\npriority = 101\n"), "out of range");
    wrong(&MINIMAL.replace("[\"/srv/web\"]", "{ paths = [\"/a\"], max_shrink = \"0%\" }"), "is no share");
}

/// What of the second file is weaker than the first.
fn weaker(before: &str, after: &str) -> Vec<String> {
    let promise = |text: &str| {
        let configuration = read(&[("policies/web.toml", text)]).unwrap();
        // As the catalogue keeps it.
        let kept = serde_json::to_string(&Promise::of(configuration.policy("web").unwrap())).unwrap();
        serde_json::from_str::<Promise>(&kept).unwrap()
    };
    promise(after).weaker_than(&promise(before))
}

const KEPT: &str = "[retention]\ndaily = 14\nweekly = 8\nmin_keep = 5\nwithin = \"30d\"";

/// Looks that the second of each pair is weaker than the first, in these words, and not the other way.
fn weaker_one_way(cases: &[(String, String, &str)]) {
    for (strong, weak, named) in cases {
        let found = weaker(strong, weak);
        assert!(found.iter().any(|one| one == named), "{named}: {found:?}");
        let back = weaker(weak, strong);
        let is_other = |one: &String| one.starts_with("targets disk at") || one.starts_with("rpo");
        assert!(back.iter().all(is_other), "{named} the other way: {back:?}");
    }
}

#[test]
fn a_change_that_backs_less_up_or_to_fewer_places_is_named() {
    let top = |line: &str| format!("{line}\n{MINIMAL}");
    let end = |line: &str| format!("{MINIMAL}{line}\n");
    let source = |line: &str| {
        format!("[source]\npaths = [\"/srv/web\"]\n{line}\n[targets.disk]\nurl = \"file:///mnt/b\"\n")
    };
    let bucket = |line: &str| {
        end(&format!("[targets.cloud]\nurl = \"s3://acme/p\"\nendpoint = \"https://s3.example.com\"\n{line}"))
    };
    weaker_one_way(&[
        (top("rpo = \"2h\""), top("rpo = \"4h\""), "rpo: 2h, now 4h"),
        (top("rto = \"4h\""), top(""), "rto is gone"),
        (top("tier = \"important\""), top("tier = \"standard\""), "tier: important, now standard"),
        (
            top("legal_hold = [\"2026-01-01..2026-03-31\"]"),
            top(""),
            "legal_hold 2026-01-01..2026-03-31 is gone",
        ),
        (source(""), source("exclude = [\"*.tmp\"]"), "source.exclude *.tmp is new"),
        (source(""), source("include = [\"etc\"]"), "source.include is new"),
        (source("include = [\"etc\", \"srv\"]"), source("include = [\"etc\"]"), "source.include srv is gone"),
        (source(""), source("exclude_larger_than = \"2 GiB\""), "source.exclude_larger_than is new"),
        (
            source("exclude_larger_than = \"2 GiB\""),
            source("exclude_larger_than = \"1 GiB\""),
            "source.exclude_larger_than: 2147483648 bytes, now 1073741824 bytes",
        ),
        (source(""), source("must_exist = false"), "source.must_exist: yes, now no"),
        (source("min_files = 10"), source(""), "source.min_files: 10, now 1"),
        (source(""), source("max_shrink = \"80%\""), "source.max_shrink: 50 %, now 80 %"),
        (source(""), source("one_file_system = true"), "source.one_file_system: false, now true"),
        (
            MINIMAL.replace("/srv/web", "/srv\", \"/etc"),
            MINIMAL.replace("/srv/web", "/srv"),
            "source.paths /etc is gone",
        ),
        (MINIMAL.to_owned(), MINIMAL.replace("/mnt/b", "/mnt/c"), "targets disk at file:///mnt/b is gone"),
        (bucket(""), MINIMAL.to_owned(), "targets cloud at s3://acme/p is gone"),
        (
            bucket("immutable = { mode = \"compliance\", days = 35 }"),
            bucket("immutable = { mode = \"governance\", days = 35 }"),
            "targets.cloud.immutable.mode: compliance, now governance",
        ),
        (
            bucket("immutable = { mode = \"governance\", days = 35 }"),
            bucket("immutable = { mode = \"governance\", days = 30 }"),
            "targets.cloud.immutable.days: 35, now 30",
        ),
        (
            bucket("immutable = { mode = \"governance\", days = 35 }"),
            bucket(""),
            "targets.cloud.immutable.days is gone",
        ),
    ]);
}

#[test]
fn a_change_that_checks_or_keeps_less_is_named_and_what_adds_is_free() {
    let end = |line: &str| format!("{MINIMAL}{line}\n");
    weaker_one_way(&[
        (end(""), end("[rule]\ncopies = 2"), "rule.copies: 3, now 2"),
        (end(""), end("[rule]\nzero_errors = false"), "rule.zero_errors: yes, now no"),
        (end("[rule]\ncount_source = false"), end(""), "rule.count_source: false, now true"),
        (end(""), end("[rule]\nmax_verify_age = \"70d\""), "rule.max_verify_age: 35d, now 70d"),
        (end(""), end("[verify]\nafter_run = \"ack\""), "verify.after_run: new, now ack"),
        (end(""), end("[verify]\nprobe = \"off\""), "verify.probe is gone"),
        (end(""), end(KEPT), "retention.daily: everything, now 14"),
        (end(KEPT), end(&KEPT.replace("14", "7")), "retention.daily: 14, now 7"),
        (end(KEPT), end(&KEPT.replace("30d", "10d")), "retention.within: 30d, now 10d"),
        (end(KEPT), end(&KEPT.replace("min_keep = 5", "")), "retention.min_keep: 5, now 3"),
        (
            end("[schedule]\nfull = \"daily 01:00\"\nincremental = \"hourly\""),
            format!("rpo = \"2d\"\n{}", end("[schedule]\nfull = \"daily 01:00\"\nincremental = \"off\"")),
            "schedule: a backup at least each: 1h, now 1d 1h",
        ),
    ]);
    // What makes nothing weaker is free.
    for (before, after) in [
        (end(""), end("[schedule]\njitter = \"5m\"\npriority = 80")),
        (end(""), format!("description = \"the shop\"\n{MINIMAL}")),
        (end(""), end("[targets.cloud]\nurl = \"s3://acme/p\"\nendpoint = \"https://s3.example.com\"")),
        (end(KEPT), end(&format!("{KEPT}\nyearly = 7"))),
        (end(KEPT), end("")),
    ] {
        assert_eq!(weaker(&before, &after), Vec::<String>::new());
    }
}
