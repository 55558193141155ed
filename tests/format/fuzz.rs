//! Every decoder, fed with what no writer of ours makes: seeds, the files of `tests/corpora`, and
//! mutations of both. No input makes one panic, take more than a second, or take memory that its
//! length does not warrant; what is taken is written again as it was read.
//!
//! The ordinary form tries a fixed number of mutations of a fixed seed. `LIFEBOAT_FUZZ_SECONDS`
//! makes it go on for so long in each target, `LIFEBOAT_SEED` begins elsewhere; both are printed
//! with what fails.

#![expect(clippy::disallowed_methods, reason = "a test looks at the clock")]

mod mutate;
mod seeds;
mod targets;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mutate::{Dice, mutate};

/// Address space of the process in which the targets run, in KiB: 512 MiB.
const MEMORY_KIB: u32 = 512 * 1024;
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);

/// A name, which is a folder of `tests/corpora` too, a decoder, and its mutations in the short form.
type Target = (&'static str, fn(&[u8]) -> bool, usize);

const TARGETS: [Target; 16] = [
    ("object", targets::object, 8_000),
    ("pack_trailer", targets::pack_trailer, 8_000),
    ("pack_footer", targets::pack_footer, 4_000),
    ("index_run", targets::index_run, 4_000),
    ("pack_list", targets::pack_list, 20_000),
    ("tree_leaf", targets::tree_leaf, 6_000),
    ("tree_node", targets::tree_node, 300),
    ("snapshot", targets::snapshot, 20_000),
    ("repo_fmt", targets::repo_fmt, 20_000),
    ("key_slot", targets::key_slot, 20),
    ("plan", targets::plan, 4_000),
    ("chunker", targets::chunker, 100),
    ("display", targets::path_display, 4_000),
    ("place", targets::place_url, 4_000),
    ("schedule", targets::schedule, 4_000),
    ("object_name", targets::object_name, 4_000),
];

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds of a target and the files of its corpus.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut all = seeds::of(target);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    all.extend(files.iter().map(|file| std::fs::read(file.path()).expect("a corpus is readable")));
    all
}

fn feed((name, target, _): &Target, input: &[u8], seed: u64) -> bool {
    let start = Instant::now();
    let taken = std::panic::catch_unwind(|| target(input));
    let shown = || format!("{name}, LIFEBOAT_SEED={seed}, input {}", hex::encode(input));
    let Ok(taken) = taken else { panic!("it panicked: {}", shown()) };
    assert!(start.elapsed() <= INPUT_TIME_MAX, "it took {:?}: {}", start.elapsed(), shown());
    taken
}

/// Set for the process with a limit, which this test starts as itself.
const CHILD: &str = "LIFEBOAT_FUZZ_CHILD";

#[expect(clippy::print_stdout, reason = "what was tried is the result")]
fn targets_take_what_comes() {
    let seed = number_from("LIFEBOAT_SEED").unwrap_or(1);
    let seconds = number_from("LIFEBOAT_FUZZ_SECONDS").map(Duration::from_secs);
    for target in &TARGETS {
        let (inputs, mut dice) = (inputs(target.0), Dice::new(seed));
        assert!(!inputs.is_empty(), "{} has nothing to begin with", target.0);
        for input in &inputs {
            assert!(feed(target, input, seed), "{} refuses what is sound", target.0);
        }
        let (start, mut tried, mut taken) = (Instant::now(), 0, 0);
        while seconds.map_or(tried < target.2, |seconds| start.elapsed() < seconds) {
            let base = &inputs[dice.below(inputs.len())];
            let other = &inputs[dice.below(inputs.len())];
            let input = mutate(&mut dice, base, other);
            taken += usize::from(feed(target, &input, seed));
            tried += 1;
        }
        println!("{}: {tried} mutations, {taken} taken, {:?}", target.0, start.elapsed());
    }
}

#[test]
fn every_decoder_survives_hostile_bytes_in_little_memory() {
    if std::env::var_os(CHILD).is_some() {
        return targets_take_what_comes();
    }
    let me = std::env::current_exe().expect("a test knows its file");
    let limited = format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"");
    let mut child = Command::new("sh");
    child.args(["-c", &limited]).arg(me);
    child.args(["--exact", "fuzz::every_decoder_survives_hostile_bytes_in_little_memory", "--nocapture"]);
    let output = child.env(CHILD, "1").env("MALLOC_ARENA_MAX", "1").output().expect("a shell runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{}: {out}\n{err}", output.status);
    print!("{out}");
}
