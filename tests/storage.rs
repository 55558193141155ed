//! Every driver and layer keeps the storage contract, also when the network doesn't.
#![cfg(feature = "testing")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeboat::base::cancel::Cancel;
use lifeboat::base::clock::{Clock, SystemClock};
use lifeboat::base::error::{Class, Classified};
use lifeboat::storage::capabilities::probe;
use lifeboat::storage::conformance::{self, Except};
use lifeboat::storage::contract::{ObjectName, Read, Span, Storage, StorageError, list_all};
use lifeboat::storage::local::LocalStorage;
use lifeboat::storage::memory::MemoryStorage;
use lifeboat::storage::metered::Meter;
use lifeboat::storage::place::{Access, Opening, Place, PlaceOptions};
use lifeboat::storage::retry::RetryPolicy;
use lifeboat::storage::s3::{Create, S3Options, S3Storage, Timeouts};
use lifeboat::storage::throttle::{Rate, Throttle};
use support::certificate::self_signed;
use support::fault_proxy::{BREAKS, Break, FaultProxy};
use support::relay::Relay;

fn name(text: &str) -> ObjectName {
    text.parse().expect("a name")
}

fn open(options: S3Options) -> S3Storage {
    S3Storage::open(options).expect("the credentials are there")
}

/// The usual layers, with pauses that suit a server on the same machine.
fn layers() -> Opening {
    let retry = RetryPolicy {
        first: Duration::from_millis(2),
        longest: Duration::from_millis(50),
        budget: Duration::from_secs(30),
        first_contact: Duration::from_secs(30),
    };
    let meter = Some(Arc::new(Meter::default()));
    Opening { retry, meter, ..Opening::new(Access::Write, Arc::new(SystemClock::new())) }
}

#[test]
fn memory_keeps_the_contract() {
    conformance::run(|| Arc::new(MemoryStorage::new()));
}

#[test]
fn local_keeps_the_contract_with_and_without_layers() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let place = || tempfile::tempdir_in(dir.path()).expect("a folder").keep();
    conformance::run(|| Arc::new(LocalStorage::create(&place()).expect("made")));
    conformance::run(|| layers().layer(Arc::new(LocalStorage::open(&place()).expect("opened"))));
}

#[test]
fn s3_keeps_the_contract() {
    conformance::run_except(&[Except::MixedFolders], || Arc::new(support::s3::storage()));
}

#[test]
fn s3_over_tls_keeps_the_contract() {
    conformance::run_except(&[Except::MixedFolders], || Arc::new(open(support::s3::https_options())));
}

#[test]
fn s3_with_a_certificate_that_nobody_here_vouches_for_is_not_talked_to() {
    let other = tempfile::tempdir().expect("a temporary folder");
    let (_, ca_file) =
        self_signed(other.path(), "/CN=Another authority", &["basicConstraints=critical,CA:TRUE"]);
    let clock = SystemClock::new();
    for ca_file in [None, Some(ca_file)] {
        let storage = layers().layer(Arc::new(open(S3Options { ca_file, ..support::s3::https_options() })));
        let started = clock.monotonic();
        let error = storage.put_new(&name("a"), Bytes::from_static(b"x")).expect_err("not trusted");
        assert!(matches!(error, StorageError::Untrusted { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Unreachable);
        assert!(error.hint().is_some_and(|hint| hint.contains("--ca-file")), "{error}");
        assert!(clock.monotonic() - started < Duration::from_secs(10), "waiting makes no certificate good");
    }
    let storage = open(support::s3::https_options());
    assert_eq!(list_all(&storage, "").expect("listed"), []);
}

#[test]
fn s3_that_looks_first_keeps_all_but_the_race() {
    conformance::run_except(&[Except::MixedFolders, Except::Races], || {
        Arc::new(open(S3Options { create: Create::LookFirst, ..support::s3::options() }))
    });
}

#[test]
fn s3_that_sorts_by_folder_is_noticed_and_never_passed_on() {
    let storage = support::s3::storage();
    for object in ["a/b", "a-b"] {
        storage.put_new(&name(object), Bytes::new()).expect("put");
    }
    match list_all(&storage, "") {
        Ok(stats) => assert!(stats.is_sorted_by(|a, b| a.name < b.name)),
        Err(error) => assert!(error.to_string().contains("not sorted"), "{error}"),
    }
}

#[test]
fn s3_over_a_bad_network_keeps_the_contract() {
    for seed in [1, 2] {
        let proxy = FaultProxy::start(&support::s3::endpoint(), every_nth_from(seed, 7));
        conformance::run_except(&[Except::MixedFolders], || {
            layers().layer(Arc::new(open(S3Options {
                endpoint: Some(proxy.endpoint()),
                ..support::s3::options()
            })))
        });
        assert!(proxy.broken() > 100, "{}", proxy.broken());
    }
}

/// Breaks one request in `one_in` on average, each kind in turn as the mixed number falls.
fn every_nth_from(seed: u64, one_in: u64) -> impl Fn(u64) -> Option<Break> + Send + Sync {
    move |request| {
        let mixed = (request + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed).rotate_left(31);
        let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        let kind = usize::try_from(mixed / one_in).expect("64 bits") % BREAKS.len();
        mixed.is_multiple_of(one_in).then(|| BREAKS[kind])
    }
}

/// Breaks so many per cent of the requests, in every way.
fn percent_from(seed: u64, percent: u64) -> impl Fn(u64) -> Option<Break> + Send + Sync {
    move |request| {
        let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(request);
        let kind = usize::try_from(draw(&mut seed, BREAKS.len() as u64)).expect("small");
        (draw(&mut seed, 100) < percent).then(|| BREAKS[kind])
    }
}

/// The next number of a seed's sequence (SplitMix64).
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// `LIFEBOAT_S3_OPERATIONS` says how many at each rate (150), `LIFEBOAT_SEED` which.
#[test]
fn s3_at_one_fault_in_ten_loses_no_operation_and_at_three_few_and_never_lies() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let operations = number("LIFEBOAT_S3_OPERATIONS").unwrap_or(150);
    let seed = number("LIFEBOAT_SEED").unwrap_or(1);
    for (percent, least) in [(10, 100), (30, 95)] {
        let proxy = FaultProxy::start(&support::s3::endpoint(), percent_from(seed, percent));
        let options = S3Options { endpoint: Some(proxy.endpoint()), ..support::s3::options() };
        let storage = layers().layer(Arc::new(open(options)));
        let mut random = seed;
        // What is there; an object whose last change failed may be either way.
        let mut there: std::collections::BTreeMap<ObjectName, Bytes> = std::collections::BTreeMap::new();
        let mut unsure = std::collections::BTreeSet::new();
        let (mut done, mut failed) = (0, 0);
        for _ in 0..operations {
            let object = name(&format!("p/{:02}", draw(&mut random, 20)));
            let known = there.get(&object).cloned();
            let sure = !unsure.contains(&object);
            let length = usize::try_from(draw(&mut random, 60_000)).expect("small");
            let result = match draw(&mut random, 5) {
                0 | 1 if known.is_none() && sure => {
                    let bytes = Bytes::from(vec![u8::try_from(length % 251).expect("a byte"); length]);
                    let put = storage.put_new(&object, bytes.clone());
                    match put {
                        Ok(_) => drop(there.insert(object, bytes)),
                        Err(_) => drop(unsure.insert(object)),
                    }
                    put.map(|_| ())
                }
                2 if sure => {
                    let gone = storage.delete(&object);
                    match gone {
                        Ok(()) => drop(there.remove(&object)),
                        Err(_) => drop(unsure.insert(object)),
                    }
                    gone
                }
                3 => list_all(storage.as_ref(), "p/").map(|listed| {
                    let mut names: Vec<ObjectName> = listed.into_iter().map(|stat| stat.name).collect();
                    names.retain(|name| !unsure.contains(name));
                    let known: Vec<ObjectName> =
                        there.keys().filter(|name| !unsure.contains(*name)).cloned().collect();
                    assert_eq!(names, known, "a listing that lies");
                }),
                _ => match storage.get(&object, Span::Whole, Read::Medium) {
                    Ok(bytes) => {
                        assert!(!sure || known.as_ref() == Some(&bytes), "other bytes of {object}");
                        Ok(())
                    }
                    Err(StorageError::NotFound { .. }) => {
                        assert!(!sure || known.is_none(), "{object} is said to be gone");
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            match result {
                Ok(()) => done += 1,
                Err(error) => {
                    assert_eq!(error.class(), Class::Unreachable, "{error}");
                    failed += 1;
                }
            }
        }
        eprintln!(
            "{percent} % of requests broken (seed {seed}): {done} of {operations} operations succeeded, {} requests broken",
            proxy.broken()
        );
        assert!(done * 100 >= operations * least, "{percent} %: {failed} of {operations} operations failed");
    }
}

#[test]
fn s3_survives_each_kind_of_break_in_each_operation() {
    for fault in BREAKS {
        // Each operation's first request breaks; what follows it passes.
        let proxy =
            FaultProxy::start(&support::s3::endpoint(), move |n| n.is_multiple_of(2).then_some(fault));
        let options = S3Options { endpoint: Some(proxy.endpoint()), ..support::s3::options() };
        let storage = layers().layer(Arc::new(open(options)));
        let bytes = Bytes::from(vec![0xa5; 300_000]);
        let object = name("p/ab/object");
        let work = || -> Result<(), StorageError> {
            storage.put_new(&object, bytes.clone())?;
            assert!(storage.get(&object, Span::Whole, Read::Medium)? == bytes);
            assert!(storage.get(&object, Span::Last { len: 1000 }, Read::Medium)? == bytes[..1000]);
            assert_eq!(storage.head(&object)?.map(|stat| stat.bytes), Some(300_000));
            assert_eq!(list_all(storage.as_ref(), "p/")?.len(), 1);
            storage.delete(&object)?;
            assert_eq!(storage.head(&object)?, None);
            Ok(())
        };
        work().unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(proxy.broken() >= 4, "{fault:?}");
    }
}

#[test]
fn s3_that_is_broken_for_good_is_unreachable_within_the_budget() {
    for fault in BREAKS {
        let proxy = FaultProxy::start(&support::s3::endpoint(), move |_| Some(fault));
        let mut opening = layers();
        opening.retry.budget = Duration::from_millis(300);
        let storage = opening
            .layer(Arc::new(open(S3Options { endpoint: Some(proxy.endpoint()), ..support::s3::options() })));
        let put = storage.put_new(&name("p/ab/object"), Bytes::from(vec![1; 1000]));
        let error = put.expect_err("broken for good");
        assert_eq!(error.class(), Class::Unreachable, "{fault:?}: {error}");
    }
}

#[test]
fn a_passing_fault_without_the_retry_layer_is_transient() {
    for fault in BREAKS {
        let proxy = FaultProxy::start(&support::s3::endpoint(), move |_| Some(fault));
        let storage = open(S3Options { endpoint: Some(proxy.endpoint()), ..support::s3::options() });
        let error = storage.put_new(&name("a"), Bytes::from_static(b"12")).expect_err("broken");
        assert!(matches!(error, StorageError::Transient { .. }), "{fault:?}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn wrong_credentials_are_denied_and_never_shown() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=topsecret").expect("written");
    let options = S3Options { credentials_file: Some(file.path().to_owned()), ..support::s3::options() };
    let storage = layers().layer(Arc::new(open(options)));
    let errors = [
        storage.put_new(&name("a"), Bytes::new()).expect_err("denied"),
        storage.get(&name("a"), Span::Whole, Read::Quick).expect_err("denied"),
        storage.head(&name("a")).expect_err("denied"),
        list_all(storage.as_ref(), "").expect_err("denied"),
        storage.delete(&name("a")).expect_err("denied"),
    ];
    for error in errors {
        assert_eq!(error.class(), Class::Denied, "{error}");
        assert!(!format!("{error} {error:?}").contains("topsecret"));
    }
}

#[test]
fn credentials_that_cannot_be_read_are_denied_by_file() {
    let options = S3Options { credentials_file: Some("/nonexistent/key".into()), ..S3Options::new("bucket") };
    let options = S3Options { region: Some("eu-central-1".to_owned()), ..options };
    let error = S3Storage::open(options).err().expect("there is no file");
    assert_eq!(error.class(), Class::Denied);
    assert!(error.to_string().contains("/nonexistent/key"), "{error}");
}

#[test]
fn a_missing_bucket_is_no_place_whatever_is_asked() {
    let missing = || open(S3Options { bucket: "nobody-made-this".to_owned(), ..support::s3::options() });
    let object = name("a");
    let errors = [
        missing().get(&object, Span::Whole, Read::Quick).expect_err("missing"),
        missing().get(&object, Span::Last { len: 0 }, Read::Quick).expect_err("missing"),
        missing().head(&object).expect_err("missing"),
        list_all(&missing(), "").expect_err("missing"),
        missing().put_new(&object, Bytes::new()).expect_err("missing"),
    ];
    for error in errors {
        assert!(matches!(error, StorageError::NoPlace { what: "bucket", .. }), "{error:?}");
    }
}

#[test]
fn an_endpoint_that_refuses_or_keeps_silent_is_unreachable_in_bounded_time() {
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let clock = SystemClock::new();
    for address in [refusing, silent.local_addr().expect("bound")] {
        let timeouts = Timeouts {
            connect: Duration::from_secs(1),
            read: Duration::from_millis(300),
            ..Timeouts::default()
        };
        let options =
            S3Options { endpoint: Some(format!("http://{address}")), timeouts, ..support::s3::options() };
        let mut opening = layers();
        opening.retry.budget = Duration::from_secs(1);
        let storage = opening.layer(Arc::new(open(options)));
        let started = clock.monotonic();
        let error = storage.head(&name("a")).expect_err("nobody answers");
        assert_eq!(error.class(), Class::Unreachable, "{error}");
        assert!(clock.monotonic() - started < Duration::from_secs(20));
    }
}

#[test]
fn the_probe_sees_what_the_server_does_and_leaves_nothing() {
    let storage = support::s3::storage();
    let found = probe(&storage, &SystemClock::new()).expect("probed");
    assert!(found.conditional_create && found.checksums && found.can_delete, "{found:?}");
    assert_eq!(found.clock_skew_seconds, 0);
    assert!(list_all(&storage, "").expect("listed").is_empty());
}

#[test]
fn a_place_written_as_url_opens_what_it_says() {
    let options = support::s3::options();
    let defaults =
        PlaceOptions { credentials_file: Some(support::s3::credentials_file()), ..PlaceOptions::default() };
    let url = format!("s3://{}/{}?endpoint={}", options.bucket, options.prefix, support::s3::endpoint());
    let place = Place::parse(&url, &defaults).expect("a place");
    assert!(place.refutes_offsite().is_some(), "loopback is not off-site");
    let storage = place.open(&layers()).expect("opened");
    storage.put_new(&name("a"), Bytes::from_static(b"x")).expect("put");
    let reader = place.open(&Opening { access: Access::Read, ..layers() }).expect("opened");
    assert_eq!(reader.get(&name("a"), Span::Whole, Read::Quick).expect("get"), &b"x"[..]);
    assert!(matches!(reader.delete(&name("a")), Err(StorageError::ReadOnly { .. })));

    let dir = tempfile::tempdir().expect("a temporary folder");
    let place = Place::parse(&format!("file://{}/new", dir.path().display()), &defaults).expect("a place");
    assert!(matches!(place.open(&layers()), Err(StorageError::NoPlace { what: "folder", .. })));
    place.open(&Opening { access: Access::Create, ..layers() }).expect("made");
    place.open(&layers()).expect("opened");
}

fn always(rate: u64) -> Option<Rate> {
    Some(Arc::new(move |_| Some(rate)))
}

#[test]
fn s3_under_a_limit_keeps_the_contract() {
    let clock = Arc::new(SystemClock::new());
    // High enough not to be felt, low enough for steps of the smallest size.
    let throttle = Throttle::new(always(400_000_000), always(400_000_000), clock, Cancel::new());
    conformance::run_except(&[Except::MixedFolders], || {
        Arc::new(open(support::s3::https_options()).throttled(throttle.clone()))
    });
}

#[test]
fn s3_under_a_limit_flows_at_its_rate_whatever_is_in_flight() {
    const RATE: u64 = 4_000_000;
    const OBJECT: usize = 4_000_000;
    let clock = Arc::new(SystemClock::new());
    let relay = Relay::start(&support::s3::endpoint(), &clock);
    let throttle = Throttle::new(always(RATE), always(RATE), clock.clone(), Cancel::new());
    let meter = Arc::new(Meter::default());
    let options = S3Options { endpoint: Some(relay.endpoint()), ..support::s3::options() };
    let driver = Arc::new(open(options).throttled(throttle));
    let storage = Opening { meter: Some(meter.clone()), ..layers() }.layer(driver);
    let names = [name("p/one"), name("p/two")];
    let bodies = [1u8, 2].map(|byte| Bytes::from(vec![byte; OBJECT]));

    let began = clock.monotonic();
    std::thread::scope(|scope| {
        for (name, body) in names.iter().zip(&bodies) {
            let storage = &storage;
            scope.spawn(move || storage.put_new(name, body.clone()).expect("put"));
        }
    });
    check_flow(&relay.take_up(), began, 2 * OBJECT);

    let began = clock.monotonic();
    relay.take_down();
    std::thread::scope(|scope| {
        for (name, body) in names.iter().zip(&bodies) {
            let storage = &storage;
            scope.spawn(move || {
                assert!(storage.get(name, Span::Whole, Read::Quick).expect("get") == body);
            });
        }
    });
    let took = (clock.monotonic() - began).as_secs_f64();
    assert!((1.7..20.0).contains(&took), "two downloads of 4 MB took {took} s at 4 MB/s");
    let usage = meter.usage();
    assert_eq!((usage.puts, usage.gets, usage.failures), (2, 2, 0), "nothing was sent twice");

    /// Never more than the rate allows, and not all of it at the end.
    fn check_flow(seen: &[(Duration, usize)], began: Duration, expected: usize) {
        let rate = f64::from(u32::try_from(RATE).expect("small"));
        let (mut bytes, mut by_half) = (0usize, 0usize);
        for (at, more) in seen {
            bytes += more;
            let seconds = (*at - began).as_secs_f64();
            // What an idle line saved up, a step for each upload, headers and checksums.
            let allowed = rate * (seconds + 0.25) + 2.0 * 256.0 * 1024.0 + 65_536.0;
            let so_far = f64::from(u32::try_from(bytes).expect("small"));
            assert!(so_far <= allowed, "{so_far} bytes after {seconds} s");
            if seconds <= 1.2 {
                by_half = bytes;
            }
        }
        assert!(bytes >= expected, "{bytes}");
        assert!(by_half >= expected / 8, "only {by_half} bytes in the first half");
        let took = (seen[seen.len() - 1].0 - began).as_secs_f64();
        println!("{bytes} bytes in {} pieces over {took:.2} s, {by_half} of them in 1.2 s", seen.len());
        assert!(took >= 1.6, "{took}");
    }
}

#[test]
fn s3_under_a_limit_stops_waiting_when_asked_to() {
    let clock = Arc::new(SystemClock::new());
    let cancel = Cancel::new();
    // 8 MB at 10 KB/s are 13 minutes each way.
    let throttle = Throttle::new(always(10_000), always(10_000), clock.clone(), cancel.clone());
    let options = support::s3::options();
    let object = name("p/there");
    open(options.clone()).put_new(&object, Bytes::from(vec![7; 8_000_000])).expect("put");
    let storage = layers().layer(Arc::new(open(options).throttled(throttle)));
    std::thread::scope(|scope| {
        let put = scope.spawn(|| storage.put_new(&name("p/new"), Bytes::from(vec![0; 8_000_000])));
        let get = scope.spawn(|| storage.get(&object, Span::Whole, Read::Quick));
        clock.sleep(Duration::from_millis(300));
        cancel.cancel();
        let put = put.join().expect("no panic").expect_err("stopped");
        let get = get.join().expect("no panic").expect_err("stopped");
        assert_eq!((put.class(), get.class()), (Class::Cancelled, Class::Cancelled), "{put} {get}");
    });
    assert!(clock.monotonic() < Duration::from_secs(30));
    assert_eq!(storage.head(&name("p/new")).expect("head"), None);
}
