//! The recovery kit: made, confirmed at a terminal, and enough on a machine that has nothing else.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::run::{Bench, of, same};

/// The words of a kit's text file, in order.
fn words(bench: &Bench, text: &str) -> Vec<String> {
    let text = std::fs::read_to_string(bench.path(text)).expect("the kit's text");
    let below = text.split("THE 24 WORDS\n").nth(1).expect("a list of words");
    let list = below.split("\n\n").next().expect("its end");
    list.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic)).map(str::to_owned).collect()
}

#[test]
fn a_fresh_machine_restores_with_nothing_but_the_kit() {
    let bench = Bench::new();
    let tree = bench.tree("tree", 8);
    bench.repo("init", &[&bench.path("repo")], &["--recovery-kit-out", "kit.html"]).exits(0);
    bench.repo("backup", &[&bench.path("repo")], &[tree.to_str().expect("text")]).exits(0);
    for name in ["kit.html", "kit.txt"] {
        let mode = std::fs::metadata(bench.path(name)).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let words = words(&bench, "kit.txt");
    assert_eq!(words.len(), 24, "{words:?}");
    let page = std::fs::read_to_string(bench.path("kit.html")).expect("the page");
    assert!(words.iter().all(|word| page.contains(&format!("<li>{word}</li>"))), "the page has the words");
    for part in ["<svg class=\"qr\"", "LIFEBOAT-RECOVERY-1", "lifeboat repo restore", "file://"] {
        assert!(page.contains(part), "{part}");
    }
    for foreign in ["<script", "http://", "https://", "correct horse"] {
        assert!(!page.contains(foreign), "{foreign} stands in the page");
    }
    // Another machine: no state, no configuration, no passphrase.
    let other = Bench::new();
    std::fs::remove_file(other.path("pw")).expect("removed");
    other.private("words", words.join("\n").as_bytes());
    let short: Vec<&str> = words.iter().map(|word| &word[..word.len().min(4)]).collect();
    for (number, kit) in
        [bench.path("kit.html"), bench.path("kit.txt"), other.path("words")].iter().enumerate()
    {
        let out = other.path(&format!("out{number}"));
        let mut command = other.command();
        command.args(["repo", "restore", "--repo"]).arg(bench.path("repo")).arg("--recovery-kit").arg(kit);
        command.args(["latest", "--verify", "--to"]).arg(&out);
        of(command.output().expect("the binary starts")).exits(0);
        same(&tree, &out);
    }
    // Typed, four letters of each.
    let mut command = other.command();
    command.args(["repo", "snapshots", "--recovery-kit", "-", "--repo"]).arg(bench.path("repo"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(short.join(" ").to_uppercase().as_bytes()).expect("typed");
    of(child.wait_with_output().expect("ends")).exits(0);
    let typed = |text: &str| other.private("words", text.as_bytes());
    for wrong in
        [words[1..].join(" "), words.iter().rev().cloned().collect::<Vec<_>>().join(" "), String::new()]
    {
        typed(&wrong);
        let mut command = other.command();
        command.args(["repo", "snapshots", "--recovery-kit", "words", "--repo"]).arg(bench.path("repo"));
        let said = of(command.output().expect("the binary starts")).exits(12);
        assert!(said.err.contains("E0814") && !said.err.contains(&words[3]), "{}", said.err);
    }
}

#[test]
fn a_kit_is_made_at_any_time_never_over_a_file_and_an_older_one_is_named() {
    let bench = Bench::new();
    let said = bench.repo("init", &[&bench.path("repo")], &[]).exits(0).err;
    assert!(said.contains("NO RECOVERY KIT EXISTS"), "{said}");
    let kit = |arguments: &[&str]| {
        let mut command = bench.command();
        command
            .args(["repo", "key", "kit", "--repo", "repo", "--password-file", "pw", "--out"])
            .args(arguments);
        of(command.output().expect("the binary starts"))
    };
    let made = kit(&["one", "--json"]).exits(0);
    let words = words(&bench, "one.txt");
    assert!(!made.out.contains("LIFEBOAT-RECOVERY") && !made.out.contains(&words.join(" ")), "{}", made.out);
    kit(&["one.txt"]).exits(2);
    let said = kit(&["two"]).exits(0).err;
    assert!(said.contains("an older kit"), "{said}");
    let slots = || {
        let mut command = bench.command();
        command.args(["repo", "key", "list", "--repo", "repo", "--json"]);
        let listed = of(command.output().expect("the binary starts")).exits(0).json();
        listed["keys"]["slots"].as_array().expect("a list").len()
    };
    assert_eq!(slots(), 3, "a refused kit leaves no slot");
    // A kit that can't be written takes its slot away again.
    kit(&["no/such/folder/kit"]).exits(1);
    assert_eq!(slots(), 3);
    for flags in [&["--no-recovery-kit"][..], &["--recovery-kit-out", "three"]] {
        let place = bench.path(flags[0]);
        let said = bench.repo("init", &[&place], &[flags, &["--json"]].concat()).exits(0);
        assert!(!said.err.contains("NO RECOVERY KIT EXISTS"), "{}", said.err);
        assert!(["declined", "made"].contains(&said.json()["recovery_kit"].as_str().expect("a word")));
    }
}

/// What is typed when words of these two numbers are asked for.
type Answer = fn(usize, usize, &[String]) -> String;

/// `repo init` at a terminal; `answer` is given the numbers that are asked for and the kit's words.
fn init_at_a_terminal(bench: &Bench, answers: &[Answer]) -> (i32, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let open =
        || File::options().read(true).write(true).open(name.to_str().expect("text")).expect("the other side");
    let mut command: Command = bench.command();
    command.args(["repo", "init", "--repo", "repo", "--key-file", "key"]);
    let mut child = command.stdin(open()).stdout(Stdio::null()).stderr(open()).spawn().expect("starts");
    drop(command);
    let mut keyboard = File::from(master.try_clone().expect("a second handle"));
    let mut said = String::new();
    let mut screen = BufReader::new(File::from(master));
    let mut answers = answers.iter();
    // Linux ends a terminal whose other side was closed with an error.
    while screen.read_line(&mut said).is_ok_and(|got| got > 0) {
        let last = said.lines().last().unwrap_or_default();
        let Some(question) = last.split("type word ").nth(1) else { continue };
        let numbers: Vec<usize> =
            question.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
        let kit = std::fs::read_dir(bench.path(".")).expect("listed").flatten();
        let text = kit.map(|entry| entry.file_name()).find(|name| name.to_string_lossy().ends_with(".txt"));
        let words = words(bench, text.expect("a kit").to_str().expect("text"));
        // Without an answer the keyboard's end: Ctrl-D at the beginning of a line.
        let typed =
            answers.next().map_or("\u{4}".to_owned(), |answer| answer(numbers[0], numbers[1], &words) + "\n");
        keyboard.write_all(typed.as_bytes()).expect("typed");
    }
    (child.wait().expect("ends").code().unwrap_or(-1), said)
}

fn kits(bench: &Bench) -> usize {
    let entries = std::fs::read_dir(bench.path(".")).expect("listed").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("lifeboat-recovery-kit-")).count()
}

fn recovery_slots(bench: &Bench) -> usize {
    let mut command = bench.command();
    command.args(["repo", "key", "list", "--repo", "repo"]);
    let listed = of(command.output().expect("the binary starts")).exits(0).out;
    listed.lines().filter(|line| line.contains("recovery code")).count()
}

#[test]
fn init_at_a_terminal_asks_for_two_words_until_it_gets_them() {
    let bench = Bench::new();
    let right: Answer = |one, two, words| format!("{} {}", words[one - 1], words[two - 1]);
    let wrong: Answer = |one, two, words| format!("{} {}", words[two - 1], words[one - 1]);
    let no: Answer = |_, _, _| "yes, sure".to_owned();
    let (code, said) = init_at_a_terminal(&bench, &[no, wrong, right]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("type word").count(), 3, "{said}");
    assert_eq!((kits(&bench), recovery_slots(&bench)), (2, 1));
}

#[test]
fn a_kit_that_is_declined_in_words_is_gone_and_one_without_an_answer_is_no_success() {
    let bench = Bench::new();
    let declined: Answer = |_, _, _| "I have no recovery kit".to_owned();
    let (code, said) = init_at_a_terminal(&bench, &[declined]);
    assert_eq!(code, 0, "{said}");
    assert_eq!((kits(&bench), recovery_slots(&bench)), (0, 0), "{said}");
    let bench = Bench::new();
    let (code, said) = init_at_a_terminal(&bench, &[]);
    assert_eq!(code, 14, "{said}");
    assert!(said.contains("E0815"), "{said}");
    assert_eq!((kits(&bench), recovery_slots(&bench)), (2, 1), "what was made stands");
}

#[test]
fn the_kit_of_a_policy_opens_its_targets_without_the_site() {
    let bench = Bench::new();
    let (config, tree) = (bench.path("config"), bench.tree("tree", 2));
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let policy = format!(
        "source = [{tree:?}]\nrpo = \"2h\"\nrto = \"4h\"\n[targets.disk]\nurl = \"file://{}\"\n[targets.nas]\nurl = \"file://{}\"\n",
        bench.path("disk").display(),
        bench.path("nas").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    let lifeboat = |arguments: &[&str]| bench.run([&["--config", "config"], arguments].concat());
    lifeboat(&["run", "web"]).exits(0);
    lifeboat(&["key", "kit", "web", "--out", "kit"]).exits(0);
    lifeboat(&["key", "add", "web", "--new-password-file", "pw"]).exits(0);
    let listed = lifeboat(&["key", "list", "web"]).exits(0).out;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().any(|line| line.contains("key file") && line.contains("opened by")), "{listed}");
    let kit = std::fs::read_to_string(bench.path("kit.txt")).expect("text");
    for place in ["disk", "nas"] {
        assert!(kit.contains(&format!("file://{}", bench.path(place).display())), "{kit}");
    }
    // The site is gone, with its key and its state.
    std::fs::remove_dir_all(bench.path("state")).expect("lost");
    let out = bench.path("out");
    let mut command = bench.command();
    command.args(["repo", "restore", "--recovery-kit", "kit.html", "--repo"]).arg(bench.path("nas"));
    command.args(["latest", "--to", out.to_str().expect("text"), "--verify"]);
    of(command.output().expect("the binary starts")).exits(0);
    same(&tree, &out);
    // The slots are looked at without the site key; with another secret its slot is taken away.
    let listed = lifeboat(&["key", "list", "web"]).exits(0).out;
    let lost = listed.lines().find(|line| line.contains("key file")).expect("its slot");
    assert!(!listed.contains("opened by"), "{listed}");
    lifeboat(&["key", "remove", "web", &lost[..8]]).exits(2);
    lifeboat(&["key", "remove", "web", &lost[..8], "--recovery-kit", "kit.txt"]).exits(0);
    assert_eq!(lifeboat(&["key", "list", "web"]).exits(0).out.lines().count(), 2);
}

#[test]
fn a_place_that_lost_every_slot_opens_with_the_kits_file_and_a_removed_kit_opens_nothing() {
    let bench = Bench::new();
    let (tree, place) = (bench.tree("tree", 3), bench.path("repo"));
    bench.repo("init", &[&place], &["--recovery-kit-out", "kit"]).exits(0);
    bench.repo("backup", &[&place], &[tree.to_str().expect("text")]).exits(0);
    bench.private("words", words(&bench, "kit.txt").join(" ").as_bytes());
    let snapshots = |kit: &str| {
        let mut command = bench.command();
        command.args(["repo", "snapshots", "--repo", "repo", "--recovery-kit", kit]);
        of(command.output().expect("the binary starts")).code
    };
    let kept = bench.path("kept");
    crate::run::moved(place.join("keys"), &kept);
    assert_eq!(["kit.txt", "kit.html", "words"].map(snapshots), [0, 0, 12]);
    // A kit of another repository is none of this one's.
    bench.repo("init", &[&bench.path("other")], &["--recovery-kit-out", "foreign"]).exits(0);
    assert!([12, 13].contains(&snapshots("foreign.txt")));
    std::fs::remove_dir_all(place.join("keys")).ok();
    crate::run::moved(&kept, place.join("keys"));
    let mut command = bench.command();
    command.args(["repo", "key", "list", "--repo", "repo"]);
    let listed = of(command.output().expect("the binary starts")).exits(0).out;
    let slot = listed.lines().find(|line| line.contains("recovery code")).expect("its slot")[..8].to_owned();
    let mut command = bench.command();
    command.args(["repo", "key", "remove", "--repo", "repo", "--password-file", "pw", &slot]);
    of(command.output().expect("the binary starts")).exits(0);
    assert_eq!(["kit.txt", "kit.html", "words"].map(snapshots), [12, 12, 12]);
}
