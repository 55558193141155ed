//! Object Lock and old versions on a real S3 server: what a thief of the credentials can do, and what
//! is left afterwards.

use std::time::Duration;

use lifeboat::base::clock::{Clock, SystemClock};
use lifeboat::base::entropy;
use lifeboat::base::lock::LockRule;
use lifeboat::storage::contract::{ObjectName, Storage, StorageError, list_all};
use lifeboat::storage::s3::{S3Options, S3Storage};
use serde_json::Value;

use crate::fault_proxy::FaultProxy;
use crate::lab::{Lab, plain_source};
use crate::s3;

/// A client of the server, and what runs it.
fn client() -> (aws_sdk_s3::Client, tokio::runtime::Runtime) {
    use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
    let text = std::fs::read_to_string(s3::credentials_file()).expect("credentials");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.expect("the server's credentials have it").to_owned()
    };
    let keys =
        Credentials::new(value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"), None, None, "test");
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(keys)
        .region(Region::new("us-east-1"))
        .endpoint_url(s3::endpoint())
        .force_path_style(true)
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    (aws_sdk_s3::Client::from_conf(config), runtime)
}

/// A new bucket of the server whose objects can be locked (and which therefore keeps versions).
fn locked_bucket() -> String {
    let name = format!("locked-{}", hex::encode(entropy::random::<6>()));
    let (client, runtime) = client();
    let made = client.create_bucket().bucket(&name).object_lock_enabled_for_bucket(true).send();
    runtime.block_on(made).expect("the bucket is made");
    name
}

fn url(bucket: &str, more: &str) -> String {
    format!(
        "s3://{bucket}/web?endpoint={}&credentials_file={}{more}",
        s3::endpoint(),
        s3::credentials_file().display()
    )
}

fn open(bucket: &str, lock: Option<&str>) -> S3Storage {
    let lock = lock.map(|lock| LockRule::parse(lock).expect("a rule"));
    S3Storage::open(S3Options { bucket: bucket.to_owned(), prefix: "web".to_owned(), lock, ..s3::options() })
        .expect("opened")
}

#[test]
fn what_a_thief_does_to_a_locked_bucket_is_undone_by_reading_it_as_of_before() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    let bucket = locked_bucket();
    let locked = url(&bucket, "&lock=compliance:1d");
    lab.init(&[&locked]);
    lab.backup_source(&[&locked]);
    // The server dates in whole seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let before = SystemClock::new().now().rfc3339();
    std::thread::sleep(Duration::from_millis(1_100));
    let thief = open(&bucket, None);
    let guard = thief.guard().expect("it has locks");
    let names: Vec<ObjectName> =
        list_all(&thief, "").expect("listed").into_iter().map(|stat| stat.name).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in &names {
        if name.as_str().starts_with("probe/") {
            continue;
        }
        let lock = guard.lock_of(name).expect("looked at").unwrap_or_else(|| panic!("{name} has no lock"));
        let hours = (lock.until.unix_ms() - SystemClock::new().now().unix_ms()) / 3_600_000;
        assert!((22..=24).contains(&hours), "{name}: {hours} h");
        let refused = guard.destroy(name);
        assert!(matches!(refused, Err(StorageError::Denied { .. })), "{name}: {refused:?}");
        // What every thief's tool does: a plain delete. It is allowed, and only marks.
        thief.delete(name).expect("marked");
        thief.replace(name, bytes::Bytes::from_static(b"ransom")).expect("put on top");
    }
    let said = lab.repo("snapshots", &[&url(&bucket, "")], &["--json"]);
    assert_ne!(said.code, Some(0), "{said:#?}");
    let past = url(&bucket, &format!("&as_of={before}"));
    lab.verify(&past, &["--deep"], 0);
    lab.restores_whole(&past, "latest", &lab.path("source"));
    // Nothing can be written there.
    let said = lab.repo("backup", &[&past], &[lab.path("source").to_str().expect("plain")]);
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("open for reading only"), "{said:#?}");
    let at = lifeboat::base::clock::Timestamp::parse_rfc3339(&before).expect("a time");
    let options =
        S3Options { bucket: bucket.clone(), prefix: "web".to_owned(), as_of: Some(at), ..s3::options() };
    let view = S3Storage::open(options).expect("opened");
    let nothing = bytes::Bytes::new;
    assert!(matches!(view.replace(&names[0], nothing()), Err(StorageError::ReadOnly { .. })));
    assert!(matches!(view.put_new(&names[0], nothing()), Err(StorageError::ReadOnly { .. })));
    assert!(matches!(view.delete(&names[0]), Err(StorageError::ReadOnly { .. })));
    assert!(view.guard().is_none());
    // From there a new place is filled.
    let said =
        lab.repo("sync", &[], &["--from", &past, "--to", lab.path("rescued").to_str().expect("plain")]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    lab.restores_whole("rescued", "latest", &lab.path("source"));
}

#[test]
fn a_probe_says_what_these_credentials_can_do_and_whether_the_lock_holds() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("source-of-nothing")).expect("made");
    let probe = |url: &str, code: i32| -> Value {
        let said = crate::lab::run(lab.bare().args(["repo", "probe", "--json", "--repo", url])).exits(code);
        said.json()["probes"][0].clone()
    };
    let bucket = locked_bucket();
    let held = probe(&url(&bucket, "&lock=compliance:1d"), 0);
    assert_eq!(held["found"]["lock_holds"], true, "{held:#}");
    assert_eq!((&held["found"]["can_destroy"], &held["danger"]), (&false.into(), &Value::Null), "{held:#}");
    // The test's credentials have every right: governance is no obstacle to them, and that is said.
    let passed = probe(&url(&bucket, "&lock=governance:1d"), 14);
    assert_eq!(passed["found"]["lock_holds"], false, "{passed:#}");
    let open = probe(&url(&bucket, ""), 14);
    assert_eq!(open["found"]["can_destroy"], true, "{open:#}");
    assert_eq!(open["found"]["can_overwrite"], false, "old versions are kept: {open:#}");
    assert_eq!((&open["found"]["versioning"], &open["found"]["object_lock"]), (&true.into(), &true.into()));
    // A bucket without versions.
    let plain = url(&s3::options().bucket, "");
    let plain = probe(&plain, 14);
    assert_eq!(
        (&plain["found"]["can_overwrite"], &plain["found"]["can_destroy"]),
        (&true.into(), &true.into())
    );
    // A folder has nothing that would keep its owner from it, and nothing is claimed or warned of.
    let folder = probe(lab.path("source-of-nothing").to_str().expect("plain"), 0);
    assert_eq!(
        (&folder["found"]["can_destroy"], &folder["danger"]),
        (&Value::Null, &Value::Null),
        "{folder:#}"
    );
    // A bucket without locks takes no object that is to be locked: nothing is stored without its lock.
    let asked = url(&s3::options().bucket, "&lock=compliance:1d");
    let said = crate::lab::run(lab.bare().args(["repo", "probe", "--repo", &asked]));
    assert!(said.code == Some(1) || said.code == Some(14), "{said:#?}");
}

#[test]
fn locks_of_what_snapshots_need_are_made_to_last_and_no_others() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    let bucket = locked_bucket();
    let (short, long) = (url(&bucket, "&lock=governance:1d"), url(&bucket, "&lock=governance:30d"));
    lab.init(&[&short]);
    lab.backup_source(&[&short]);
    let storage = open(&bucket, None);
    let litter = ObjectName::new(format!("p/00/{}", "0".repeat(64))).expect("a name");
    storage.put_new(&litter, bytes::Bytes::from_static(b"no pack of anybody")).expect("put");
    let renew = |url: &str| lab.repo("extend-locks", &[url], &["--json"]).exits(0).json()["locks"][0].clone();
    let fresh = renew(&short);
    assert_eq!(fresh["extended"], 0, "{fresh:#}");
    let first = renew(&long);
    assert_eq!(first["extended"], first["objects"], "{first:#}");
    let again = renew(&long);
    assert_eq!((&again["extended"], &again["objects"]), (&0.into(), &first["objects"]), "{again:#}");
    assert!(
        again["locked_until"].as_str().is_some() || again["locked_until"].as_i64().is_some(),
        "{again:#}"
    );
    let guard = storage.guard().expect("it has locks");
    let now = SystemClock::new().now().unix_ms();
    for stat in list_all(&storage, "").expect("listed") {
        let lock = guard.lock_of(&stat.name).expect("looked at");
        let days = lock.map(|lock| (lock.until.unix_ms() - now) / 86_400_000);
        let name = stat.name.as_str();
        match () {
            () if stat.name == litter => assert_eq!(days, None),
            () if name.starts_with("probe/") => {}
            () => assert!(days.is_some_and(|days| days >= 28), "{name}: {days:?}"),
        }
    }
    // Without a rule there is nothing to extend to, and no place on a disk has locks.
    let said = lab.repo("extend-locks", &[&url(&bucket, "")], &["--json"]).exits(1);
    assert!(said.err.contains("no lock is asked for"), "{said:#?}");
    lab.init(&["disk"]);
    let said = lab.repo("extend-locks", &["disk"], &["--json"]).exits(1);
    assert!(said.err.contains("no Object Lock"), "{said:#?}");
}

#[test]
fn a_legal_hold_counts_as_a_lock_without_an_end_and_is_left_as_it_is() {
    use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus};
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    let bucket = locked_bucket();
    let plain = url(&bucket, "");
    lab.init(&[&plain]);
    lab.backup_source(&[&plain]);
    let storage = open(&bucket, None);
    let held = list_all(&storage, "p/").expect("listed").remove(0).name;
    let guard = storage.guard().expect("it has locks");
    assert!(guard.lock_of(&held).expect("looked at").is_none());
    let (client, runtime) = client();
    let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On).build();
    let key = format!("web/{held}");
    let put = client.put_object_legal_hold().bucket(&bucket).key(key).legal_hold(hold).send();
    runtime.block_on(put).expect("held");
    let lock = guard.lock_of(&held).expect("looked at").expect("it is held");
    let years = (lock.until.unix_ms() - SystemClock::new().now().unix_ms()) / (365 * 86_400_000);
    assert!(years > 100, "{lock:?}");
    assert!(matches!(guard.destroy(&held), Err(StorageError::Denied { .. })), "nobody may");
    let locked = url(&bucket, "&lock=governance:30d");
    let said = lab.repo("extend-locks", &[&locked], &["--json"]).exits(0).json()["locks"][0].clone();
    let all = said["objects"].as_u64().expect("a number");
    assert_eq!(said["extended"].as_u64(), Some(all - 1), "all but the one that is held: {said:#}");
    lab.verify(&plain, &["--deep"], 0);
}

/// Neither conditional create nor versions nor locks, as some stores that people run themselves.
#[test]
fn a_store_without_conditions_versions_and_locks_is_found_out_and_serves() {
    let lesser = FaultProxy::lesser(&s3::endpoint(), |head| {
        let line = head.lines().next().unwrap_or_default();
        let asks = |what: &str| line.contains(&format!("?{what}")) || line.contains(&format!("&{what}"));
        head.contains("\r\nif-none-match:")
            || head.contains("\r\nx-amz-object-lock-")
            || ["versioning", "versions", "object-lock", "retention", "legal-hold"].into_iter().any(asks)
    });
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    let options = s3::options();
    let at = |more: &str| {
        format!(
            "s3://{}/{}?endpoint={}&credentials_file={}{more}",
            options.bucket,
            options.prefix,
            lesser.endpoint(),
            s3::credentials_file().display()
        )
    };
    let place = at("");
    let probe =
        crate::lab::run(lab.bare().args(["repo", "probe", "--json", "--repo", &place])).exits(14).json();
    let found = &probe["probes"][0]["found"];
    assert_eq!(found["conditional_create"], false, "{probe:#}");
    assert_eq!((&found["can_destroy"], &found["lock_holds"]), (&true.into(), &Value::Null), "{probe:#}");
    // A lock that was promised is not silently left out.
    let said = lab.repo("init", &[&at("&lock=compliance:1d")], &[] as &[&str]);
    assert!(said.code.is_some_and(|code| code != 0), "{said:#?}");
    lab.init(&[&place]);
    // Made once is made: looked at first, as there is no condition.
    lab.repo("init", &[&place], &[] as &[&str]).exits(1);
    let first = lab.backup_source(&[&place])["snapshot"].as_str().expect("an id").to_owned();
    std::fs::write(lab.path("source").join("more"), crate::lab::noise(1, 300_000)).expect("written");
    lab.backup_source(&[&place]);
    lab.verify(&place, &["--deep"], 0);
    lab.repo("forget", &[&place], &[&first]).exits(0);
    lab.repo("prune", &[&place], &["--grace", "0", "--accept-more-than-half"]).exits(0);
    lab.restores_whole(&place, "latest", &lab.path("source"));
    lab.repo("extend-locks", &[&place], &["--json"]).exits(1);
    assert!(lesser.requests() > 20);
}
