//! Several hosts back up into one folder while it is pruned, verified and some of it forgotten, all by
//! processes that know nothing of each other. `LIFEBOAT_RACE_SECONDS` says for how long (an ordinary
//! run: three seconds), `LIFEBOAT_SEED` what is drawn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::lab::{Lab, run};

/// The next number of a seed's sequence (SplitMix64).
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// 300 KB that no other number gives.
fn content(number: u64) -> Vec<u8> {
    let mut seed = number;
    (0..300 * 1024 / 8).flat_map(|_| draw(&mut seed, u64::MAX).to_le_bytes()).collect()
}

/// Backs up one tree of contents that come and go, again and again.
fn writes(lab: &Lab, host: &str, over: &AtomicBool, done: &AtomicU64, mut seed: u64) {
    let source = lab.path(host);
    std::fs::create_dir_all(&source).expect("made");
    while !over.load(Ordering::SeqCst) {
        for _ in 0..2 {
            let (file, number) = (draw(&mut seed, 4), draw(&mut seed, 6));
            std::fs::write(source.join(format!("file-{file}")), content(number)).expect("written");
        }
        let mut command = lab.command("backup", &["one"], &["--host", host]);
        run(command.arg(&source)).exits(0);
        done.fetch_add(1, Ordering::SeqCst);
    }
}

fn prunes(lab: &Lab, over: &AtomicBool, done: &AtomicU64) {
    while !over.load(Ordering::SeqCst) {
        lab.repo("prune", &["one"], &["--grace", "1s", "--max-unused", "0", "--accept-more-than-half"])
            .exits(0);
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Keeps the newest few of each host.
fn forgets(lab: &Lab) {
    lab.repo("forget", &["one"], &["--keep-last", "3", "--accept-more-than-half"]).exits(0);
}

#[test]
fn hosts_that_back_up_while_it_is_pruned_and_verified_are_never_refused_and_lose_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut seed = number("LIFEBOAT_SEED").unwrap_or(7);
    let seconds = number("LIFEBOAT_RACE_SECONDS").unwrap_or(3);
    println!("LIFEBOAT_SEED={seed}");
    let lab = Lab::new();
    lab.init(&["one"]);
    let over = AtomicBool::new(false);
    let (backups, pruned, verified) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let (lab, over, backups) = (&lab, &over, &backups);
        for host in ["first", "second"] {
            let seed = draw(&mut seed, u64::MAX);
            scope.spawn(move || writes(lab, host, over, backups, seed));
        }
        scope.spawn(|| prunes(lab, over, &pruned));
        while Instant::now() < until {
            if lab.path("one/s").exists() {
                forgets(lab);
                lab.verify("one", &["--deep"], 0);
                verified.fetch_add(1, Ordering::SeqCst);
            }
            std::thread::yield_now();
        }
        over.store(true, Ordering::SeqCst);
    });
    let snapshots = lab.verify("one", &["--deep"], 0)["snapshots"].as_u64().expect("a number");
    assert!(snapshots > 0);
    let counts = [&backups, &pruned, &verified].map(|count| count.load(Ordering::SeqCst));
    println!("{snapshots} snapshots whole after [backups, prunes, verifications] {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    for host in ["first", "second"] {
        let to = format!("back-{host}");
        let list = lab.repo("snapshots", &["one"], &["--json"]).exits(0).json();
        let of_host = |snapshot: &&serde_json::Value| snapshot["host"] == host;
        let newest = list["snapshots"].as_array().expect("a list").iter().rfind(of_host).expect("a snapshot");
        lab.restore("one", newest["id"].as_str().expect("an id"), &to).exits(0);
    }
}
