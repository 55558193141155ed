//! Kills and errors at system calls: the N-th call of each kind that makes, writes, names or makes
//! durable. Nothing earlier is harmed, nothing is called done that isn't, and the next backup just
//! works. `LIFEBOAT_TEST_INJECTIONS` asks for more points, `LIFEBOAT_TEST_SEED` for other ones.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, Said, noise, run};

const PLACES: [&str; 2] = ["one", "two"];
const CALLS: [&str; 9] =
    ["openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat2", "mkdir", "fallocate"];
/// Points in a plain run of the tests.
const POINTS: usize = 18;

/// A number from the environment.
fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What the points are drawn by.
fn seed() -> u64 {
    asked("LIFEBOAT_TEST_SEED", 1)
}

/// A repository at two places with one snapshot of a small tree.
fn begun() -> (Lab, String) {
    let strace = Command::new("strace").arg("-V").output();
    assert!(strace.is_ok_and(|output| output.status.success()), "this test needs strace: run scripts/setup");
    let lab = Lab::new();
    let source = lab.path("source");
    std::fs::create_dir_all(source.join("below")).expect("made");
    for number in 0..5u64 {
        std::fs::write(source.join(format!("small-{number}")), noise(number, 2000)).expect("written");
    }
    std::fs::write(source.join("large"), noise(98, 1_200_000)).expect("written");
    std::fs::write(source.join("below/file"), b"in the folder below").expect("written");
    lab.init(&PLACES);
    let first = lab.backup_source(&PLACES)["snapshot"].as_str().expect("an id").to_owned();
    let status = Command::new("cp").arg("-a").args([&source, &lab.path("first")]).status();
    assert!(status.expect("cp runs").success());
    (lab, first)
}

/// A backup under strace, with these options.
fn traced(lab: &Lab, options: &[String]) -> Said {
    let backup = lab.command("backup", &PLACES, &["--json"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options);
    command.arg(backup.get_program()).args(backup.get_args()).arg(lab.path("source"));
    run(command.env("LIFEBOAT_STATE_DIR", lab.path("state")))
}

/// Something new to store, so that no run finds its work done.
fn change(lab: &Lab, round: usize) {
    let seed = 1000 + u64::try_from(round).expect("few rounds");
    std::fs::write(lab.path("source").join(format!("round-{round}")), noise(seed, 150_000)).expect("written");
}

/// Points that a run passes: a call, and how often one thread makes it at most. Drawn by a seed,
/// each kind of call in turn.
fn points(lab: &Lab) -> Vec<(String, u64)> {
    let log = lab.path("trace");
    let options = ["-o", log.to_str().expect("plain"), "-e", &format!("trace={}", CALLS.join(","))];
    change(lab, 9999);
    traced(lab, &options.map(str::to_owned)).exits(0);
    let wanted = usize::try_from(asked("LIFEBOAT_TEST_INJECTIONS", 0)).expect("a small number").max(POINTS);
    let counts = counts(&log);
    assert!(counts.len() >= 5, "the calls are not the ones that the program makes: {counts:?}");
    let mut drawn = Vec::new();
    let mut state = seed();
    for (call, count) in counts.iter().cycle().take(wanted) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        drawn.push((call.clone(), (state >> 33) % count + 1));
    }
    drawn.sort();
    drawn.dedup();
    drawn
}

/// How often one thread makes each call at most: strace counts each thread by itself.
fn counts(log: &Path) -> BTreeMap<String, u64> {
    let mut by_thread: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in std::fs::read_to_string(log).expect("read").lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(rest)) = (words.next(), words.next()) else { continue };
        let call = rest.split('(').next().unwrap_or_default();
        if CALLS.contains(&call) {
            *by_thread.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let known = most.entry(call).or_insert(0);
        *known = count.max(*known);
    }
    most
}

/// What must hold whatever happened: everything listed is whole, the first snapshot is there.
fn holds(lab: &Lab, first: &str, round: usize, case: &str) {
    let place = PLACES[round % 2];
    let list = lab.repo("snapshots", &[place], &["--json"]);
    assert_eq!(list.code, Some(0), "{case}: {list:#?}");
    let snapshots = list.json()["snapshots"].to_string();
    assert!(snapshots.contains(first), "{case}: {snapshots}");
    if round.is_multiple_of(6) {
        lab.restores_whole(place, first, &lab.path("first"));
    }
}

/// The next backup needs nobody's hand and leaves both places whole.
fn goes_on(lab: &Lab, round: usize, case: &str) {
    let next = lab.repo("backup", &PLACES, &[lab.path("source")]);
    assert_eq!(next.code, Some(0), "{case}: {next:#?}");
    let verified = lab.repo("verify", &[PLACES[(round + 1) % 2]], &["--deep"]);
    assert_eq!(verified.code, Some(0), "{case}: {verified:#?}");
}

#[test]
fn killed_at_any_system_call_nothing_earlier_is_harmed_and_the_next_run_just_works() {
    let (lab, first) = begun();
    let mut killed = 0;
    for (round, (call, ordinal)) in points(&lab).into_iter().enumerate() {
        let case = format!("killed at {call} {ordinal} (seed {})", seed());
        change(&lab, round);
        let inject = format!("inject={call}:signal=KILL:when={ordinal}");
        let said = traced(&lab, &["-o", "/dev/null", "-e", &inject].map(str::to_owned));
        killed += usize::from(said.code.is_none());
        assert!(matches!(said.code, None | Some(0)), "{case}: {said:#?}");
        holds(&lab, &first, round, &case);
        goes_on(&lab, round, &case);
    }
    assert!(killed >= POINTS / 2, "only {killed} runs were killed");
    for place in PLACES {
        lab.verify(place, &["--deep"], 0);
        lab.restores_whole(place, "latest", &lab.path("source"));
    }
}

#[test]
fn an_error_of_any_system_call_is_never_called_done() {
    let (lab, first) = begun();
    let mut failed = 0;
    for (round, (call, ordinal)) in points(&lab).into_iter().enumerate() {
        let error = ["EIO", "ENOSPC", "EACCES"][round % 3];
        let case = format!("{error} from {call} {ordinal} (seed {})", seed());
        change(&lab, round);
        let inject = format!("inject={call}:error={error}:when={ordinal}");
        let said = traced(&lab, &["-o", "/dev/null", "-e", &inject].map(str::to_owned));
        assert!(!said.err.contains("panicked"), "{case}: {said:#?}");
        match said.code {
            Some(0) => {
                for place in PLACES {
                    lab.verify(place, &["--deep"], 0);
                    lab.restores_whole(place, "latest", &lab.path("source"));
                }
            }
            Some(3) => {
                failed += 1;
                let outcome = said.json()["outcome"].clone();
                let lags = outcome["lagging"].as_array().is_some_and(|list| !list.is_empty());
                assert!(lags || outcome["unread"]["count"].as_u64() > Some(0), "{case}: {outcome:#}");
            }
            // The loader could not load the program, or it could not say what it had to say.
            Some(127) => {}
            code => {
                failed += 1;
                assert!(code.is_some_and(|code| code != 101), "{case}: {said:#?}");
                assert!(call == "write" || said.err.contains("error["), "{case}: {said:#?}");
            }
        }
        holds(&lab, &first, round, &case);
        goes_on(&lab, round, &case);
    }
    assert!(failed >= 4, "only {failed} errors were noticed: the points are not where the work is");
}
