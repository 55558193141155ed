//! Large files that are changed in place: which of them are cut into blocks, and what a change adds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, noise};

const MB: u64 = 1_000_000;
const PAGE: u64 = 8192;
/// A length in whole pages, and a long one.
const PAGED_BYTES: u64 = 12_800 * PAGE;

/// A lab with a repository and a file in its source.
fn lab_with(head: &[u8], bytes: u64) -> (Lab, PathBuf) {
    let lab = Lab::new();
    lab.init(&["one"]);
    std::fs::create_dir_all(lab.path("source")).expect("made");
    let path = lab.path("source/file");
    let mut content = noise(bytes, usize::try_from(bytes).expect("fits"));
    content[..head.len()].copy_from_slice(head);
    std::fs::write(&path, content).expect("written");
    (lab, path)
}

fn figure(outcome: &Value, name: &str) -> u64 {
    outcome["stats"][name].as_u64().unwrap_or_else(|| panic!("{name} in {outcome:#}"))
}

/// Plain bytes that a backup of the source stores.
fn adds(lab: &Lab) -> u64 {
    figure(&lab.backup_source(&["one"]), "bytes_new")
}

/// Writes one in so many of the file's pages anew, spread evenly, never the first.
fn rewrite_one_page_in(path: &Path, one_in: u64, seed: u64) -> u64 {
    let file = File::options().write(true).open(path).expect("opened");
    let pages = file.metadata().expect("there").len() / PAGE;
    let chosen = (1..pages).filter(|page| (page * 7919 + seed).is_multiple_of(one_in));
    chosen
        .map(|page| file.write_all_at(&noise(seed << 32 | page, 8192), page * PAGE).expect("written"))
        .count() as u64
}

fn how_cut(lab: &Lab) -> String {
    let said = lab.repo("ls", &["one"], &["latest", "--json"]).exits(0);
    let lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let file = lines.into_iter().find(|entry| entry["path"] == "file").expect("listed");
    file["cut"].as_str().unwrap_or_else(|| panic!("{file:#}")).to_owned()
}

#[track_caller]
fn comes_back(lab: &Lab) {
    lab.verify("one", &["--deep"], 0);
    lab.restores_whole("one", "latest", &lab.path("source"));
}

#[test]
fn one_percent_of_the_pages_of_a_long_file_adds_less_than_a_tenth_of_it() {
    let (lab, path) = lab_with(&[], PAGED_BYTES);
    let first = adds(&lab);
    assert!((PAGED_BYTES..PAGED_BYTES + MB).contains(&first), "{first}");
    assert_eq!(how_cut(&lab), "blocks of 65536");
    let mut before = PAGED_BYTES;
    for round in 1..3 {
        let pages = rewrite_one_page_in(&path, 100, round);
        assert!((120..140).contains(&pages), "{pages}");
        let appended = noise(round, 100 * 8192);
        let file = File::options().write(true).open(&path).expect("opened");
        file.write_all_at(&appended, before).expect("appended");
        before += 100 * PAGE;
        let added = adds(&lab);
        assert!(added < PAGED_BYTES / 10, "round {round} added {added}");
    }
    assert_eq!(how_cut(&lab), "blocks of 65536");
    comes_back(&lab);
    // An unchanged file is kept by all kinds of backups.
    let source = lab.path("source");
    let full = lab.backup(&["one"], &["--full", source.to_str().expect("plain")], 0);
    assert_eq!(figure(&full, "bytes_new"), 0, "{full:#}");
}

#[test]
fn a_known_header_is_believed_at_any_length_and_an_archives_forbids_blocks() {
    for (head, bytes, cut) in [
        (&b"SQLite format 3\0\x10\0"[..], 5_000_001, "blocks of 65536"),
        (b"QFI\xfb\0\0\0\x03", 5_000_001, "blocks of 65536"),
        (b"nothing known", 5_000_001, "content"),
        (b"nothing known", 40_000_001, "content"),
        (&[0x1f, 0x8b, 8], PAGED_BYTES / 2, "content"),
        (b"\0\0\0\x20ftypisom", PAGED_BYTES / 2, "content"),
    ] {
        let (lab, _) = lab_with(head, bytes);
        adds(&lab);
        assert_eq!(how_cut(&lab), cut, "{} of {bytes}", String::from_utf8_lossy(head));
    }
}

#[test]
fn scattered_differences_turn_chunks_into_blocks_at_no_more_than_the_chunks_cost() {
    // No known header and no whole pages: cut by content, as an older version did with all files.
    let (lab, path) = lab_with(&[], PAGED_BYTES + 77);
    adds(&lab);
    assert_eq!(how_cut(&lab), "content");
    let pages = rewrite_one_page_in(&path, 400, 1);
    let second = adds(&lab);
    assert!(pages * PAGE < second && second < PAGED_BYTES / 2, "{pages} pages added {second}");
    assert!(how_cut(&lab).starts_with("content, and blocks of 65536"), "{}", how_cut(&lab));
    comes_back(&lab);
    // The same places again: they are blocks now.
    rewrite_one_page_in(&path, 400, 1 + 400 * 8);
    let third = adds(&lab);
    assert!(third < pages * 3 * 65_536, "{pages} pages added {third} the second time");
    assert!(third * 2 < second, "{third} after {second}");
    comes_back(&lab);
}

#[test]
fn an_insertion_is_followed_by_content_and_blocks_that_moved_are_given_up() {
    let (lab, path) = lab_with(&[], 60 * MB + 77);
    adds(&lab);
    let insert = |path: &Path, at: usize| {
        let mut content = std::fs::read(path).expect("read");
        content.splice(at..at, *b"an insertion");
        std::fs::write(path, content).expect("written");
    };
    insert(&path, 20_000_000);
    let added = adds(&lab);
    assert!(added < 6 * MB, "{added}");
    assert_eq!(how_cut(&lab), "content");
    // Whole pages, so blocks; then everything moves by twelve bytes, and the length tells nothing.
    let (lab, path) = lab_with(&[], PAGED_BYTES / 2);
    adds(&lab);
    assert_eq!(how_cut(&lab), "blocks of 65536");
    insert(&path, 0);
    adds(&lab);
    assert_eq!(how_cut(&lab), "content");
    insert(&path, 30_000_000);
    let added = adds(&lab);
    assert!(added < 6 * MB, "{added}");
    comes_back(&lab);
}

#[test]
fn a_terabyte_of_hole_costs_no_time_and_comes_back_as_a_hole() {
    let (lab, path) = lab_with(b"QFI\xfb", 3 * MB);
    let file = File::options().write(true).open(&path).expect("opened");
    let places: Vec<u64> = (0..300).map(|number| number * (3 << 30) + 12_345).collect();
    for (number, place) in (0u64..).zip(&places) {
        file.write_all_at(&noise(number, 9000), *place).expect("written");
    }
    file.set_len(1 << 40).expect("as long");
    let allocated = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().expect("there"));
    let begun = Instant::now();
    let first = adds(&lab);
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    assert!(first < 12 * MB, "{first}");
    // A hole is filled and another is punched: nothing else is stored again.
    file.write_all_at(&noise(1, 9000), 5 << 30).expect("written");
    let added = adds(&lab);
    assert!(added < MB, "{added}");
    lab.verify("one", &["--deep"], 0);
    lab.restore("one", "latest", "back").exits(0);
    let back = lab.path("back/file");
    assert_eq!(back.metadata().expect("there").len(), 1 << 40);
    assert!(allocated(&back) <= allocated(&path) + 64, "{} blocks of {}", allocated(&back), allocated(&path));
    let back = File::open(&back).expect("opened");
    for (number, place) in (0u64..).zip(&places).skip(1) {
        let mut bytes = vec![0; 9000];
        back.read_exact_at(&mut bytes, *place).expect("read");
        assert!(bytes == noise(number, 9000), "the data at {place}");
    }
}
