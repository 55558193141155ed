//! Secrets stay where they belong: in no argument, no environment, no message, no record, no core
//! dump; and what we make is for its owner alone.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat::base::secret::Secret;
use lifeboat::codec::key_text::KeyText;
use rustix::process::{Pid, Signal, kill_process};

use crate::run::{Bench, Ran, of};

/// What must be found nowhere: a name for messages, and the ways in which it could be written, in
/// small letters.
struct Canary {
    name: &'static str,
    forms: Vec<String>,
}

impl Canary {
    fn text(name: &'static str, text: &str) -> Self {
        Self { name, forms: vec![text.to_ascii_lowercase()] }
    }

    /// 32 bytes, which are letters, and the texts that stand for them.
    fn key(name: &'static str, bytes: [u8; 32], text: &str) -> Self {
        let letters = String::from_utf8(bytes.to_vec()).expect("letters");
        Self {
            name,
            forms: vec![letters.to_ascii_lowercase(), hex::encode(bytes), text.to_ascii_lowercase()],
        }
    }

    #[track_caller]
    fn is_not_in(&self, bytes: &[u8], place: &str) {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let found = self.forms.iter().any(|form| text.contains(form));
        assert!(!found, "the {} is in {place}", self.name);
    }
}

#[track_caller]
fn in_nothing_said(canaries: &[Canary], ran: &Ran, what: &str) {
    for canary in canaries {
        canary.is_not_in(ran.out.as_bytes(), &format!("standard output of {what}"));
        canary.is_not_in(ran.err.as_bytes(), &format!("standard error of {what}"));
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        found.push(path.clone());
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path));
        }
    }
    found
}

/// A store that refuses everybody, and remembers what was said to it.
fn refusing_store() -> (String, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (send, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = vec![0; 64 * 1024];
            let got = stream.read(&mut request).unwrap_or_default();
            request.truncate(got);
            let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
            if send.send(request).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

#[test]
fn no_secret_is_in_what_is_said_recorded_stored_or_seen_by_programs() {
    let bench = Bench::new();
    let (key_bytes, code_bytes) =
        (*b"canary-key-bytes-7Hm3-0123456789", *b"canary-code-bytes-2Vd8-012345678");
    let key_line = KeyText::KeyFile.write(&Secret::new(key_bytes));
    let code_line = KeyText::RecoveryCode.write(&Secret::new(code_bytes));
    let canaries = [
        Canary::text("passphrase", "canary-passphrase-Q4w9"),
        Canary::key("key file", key_bytes, &key_line),
        Canary::key("recovery code", code_bytes, &code_line),
        Canary::text("program's secret", "canary-printed-8Zt2"),
        Canary::text("store's secret", "canary-store-secret-5Rk7"),
    ];
    bench.private("pw", b"canary-passphrase-Q4w9\n");
    bench.private("key", key_line.as_bytes());
    bench.private("code", code_line.as_bytes());
    bench.private("script", b"#!/bin/sh\necho canary-printed-8Zt2\n");
    bench.private("s3", b"AWS_ACCESS_KEY_ID=AKIACANARY\nAWS_SECRET_ACCESS_KEY=canary-store-secret-5Rk7\n");
    let tree = bench.tree("tree", 6);
    let tree = tree.to_str().expect("text");
    let run = |arguments: &[&str]| {
        let mut command = bench.command();
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").args(arguments);
        let ran = of(command.output().expect("the binary starts"));
        in_nothing_said(&canaries, &ran, &arguments.join(" "));
        ran
    };
    let watched = [
        "--stdin-command",
        "seen",
        "--",
        "/bin/sh",
        "-c",
        "tr '\\0' '\\n' </proc/self/environ; tr '\\0' '\\n' </proc/self/cmdline; tr '\\0' '\\n' </proc/$PPID/cmdline; \
         for fd in /proc/self/fd/*; do readlink $fd; done; env",
    ];
    let secrets = [["--password-file", "pw"], ["--key-file", "key"], ["--secret-command", "sh script"]];
    for (number, secret) in secrets.iter().enumerate() {
        let repo = format!("repo{number}");
        let at = ["--repo", repo.as_str(), secret[0], secret[1]];
        run(&[&["repo", "init"], &at[..], &["--no-recovery-kit"]].concat()).exits(0);
        run(&[&["repo", "backup"], &at[..], &[tree]].concat()).exits(0);
        run(&[&["repo", "backup", "--json"], &at[..], &watched[..]].concat()).exits(0);
        let seen = run(&[&["repo", "dump"], &at[..], &["latest", "seen"]].concat()).exits(0).out;
        assert!(seen.contains("/bin/sh") && seen.contains("lifeboat"), "{seen}");
        for name in ["/pw", "/key", "/code"] {
            let name = bench.path(&name[1..]);
            assert!(
                !seen.contains(name.to_str().expect("text")),
                "a program inherits a file with a secret: {seen}"
            );
        }
        run(&[&["repo", "verify", "--deep", "--json"], &at[..]].concat()).exits(0);
        run(&[&["repo", "key", "list"], &at[..]].concat()).exits(0);
    }
    // Wrong secrets and refusals are told without them.
    for wrong in [
        ["--key-file", "pw"],
        ["--password-file", "script"],
        ["--recovery-kit", "code"],
        ["--recovery-kit", "pw"],
    ] {
        run(&["repo", "snapshots", "--repo", "repo0", wrong[0], wrong[1]]).exits(12);
    }
    let (endpoint, heard) = refusing_store();
    let store = ["--repo", "s3://bucket/canary", "--endpoint", &endpoint, "--credentials-file", "s3"];
    let ran = run(&[&["repo", "snapshots"], &store[..], &secrets[0]].concat());
    assert_ne!(ran.code, 0);
    let requests: Vec<u8> = heard.try_iter().flatten().collect();
    assert!(!requests.is_empty(), "the store was asked: {}", ran.err);
    canaries.iter().for_each(|canary| canary.is_not_in(&requests, "what is said to the store"));
    // A site: catalogue, evidence, reports, a drill.
    let config = bench.path("config");
    std::fs::create_dir_all(config.join("policies")).expect("made");
    let site = format!("key_file = {:?}\n", bench.path("key"));
    std::fs::write(config.join("lifeboat.toml"), site).expect("written");
    let policy = format!(
        "source = [{tree:?}]\nrpo = \"2h\"\nrto = \"4h\"\n[targets.disk]\nurl = \"file://{}\"\n",
        bench.path("disk").display()
    );
    std::fs::write(config.join("policies/web.toml"), policy).expect("written");
    for words in
        [&["run", "web"][..], &["verify", "web"], &["drill", "run", "web-weekly"], &["status", "--json"]]
    {
        let ran = run(&[&["--config", "config"], words].concat());
        assert!(matches!(ran.code, 0 | 15 | 16), "{words:?}: {}", ran.err);
    }
    let kept: Vec<PathBuf> = ["state", "disk", "repo0", "repo1", "repo2", "config"]
        .iter()
        .flat_map(|name| files_below(&bench.path(name)))
        .filter(|path| path.is_file())
        .collect();
    assert!(kept.iter().any(|path| path.ends_with("catalogue.db")) && kept.len() > 30, "{}", kept.len());
    for path in kept {
        let bytes = std::fs::read(&path).expect("read");
        canaries.iter().for_each(|canary| canary.is_not_in(&bytes, &path.display().to_string()));
    }
}

#[test]
fn whatever_is_made_is_for_its_owner_alone_even_without_a_umask() {
    let bench = Bench::new();
    let tree = bench.tree("tree", 7);
    let made = bench.path("made");
    std::fs::create_dir(&made).expect("made");
    let open = |arguments: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_lifeboat")]).args(arguments);
        command
            .env("HOME", made.join("home"))
            .env("LIFEBOAT_STATE_DIR", made.join("state"))
            .current_dir(&made);
        of(command.output().expect("the binary starts")).exits(0)
    };
    let tree = tree.to_str().expect("text");
    open(&["repo", "init", "--repo", "repo", "--key-file", "key", "--recovery-kit-out", "kit"]);
    open(&["repo", "backup", "--repo", "repo", "--key-file", "key", tree]);
    open(&["repo", "find", "--repo", "repo", "--key-file", "key", "f*"]);
    open(&["demo", tree]);
    let kept = files_below(&made);
    assert!(kept.iter().any(|path| path.ends_with("catalogue.db")), "the demo's state is among it");
    for path in kept {
        let mode = path.symlink_metadata().expect("there").mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        assert!(path.is_dir() || mode & 0o111 == 0, "{} has mode {mode:o}", path.display());
    }
}

/// A backup of standard input that waits for its input.
fn waiting(bench: &Bench, as_nobody: bool) -> std::process::Child {
    let program = env!("CARGO_BIN_EXE_lifeboat");
    let mut command = if as_nobody {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(["repo", "restore", "--repo", "nowhere", "--recovery-kit", "-", "latest", "--to", "out"]);
    command.env("LIFEBOAT_STATE_DIR", bench.path("state")).current_dir(bench.path("."));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
}

/// Waits until a child is the program itself and reads its input: it sleeps in a read of a pipe.
fn until_it_reads(pid: u32) {
    for _ in 0..2000 {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let at = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if name.trim() == "lifeboat" && (at.contains("pipe") || state.contains(") S ")) {
            return;
        }
        std::thread::yield_now();
        Command::new("true").status().expect("a short while");
    }
    panic!("it never came to read");
}

#[test]
fn a_process_that_holds_keys_leaves_no_core_dump() {
    let bench = Bench::new();
    let mut child = waiting(&bench, false);
    until_it_reads(child.id());
    let mut limits = String::new();
    File::open(format!("/proc/{}/limits", child.id()))
        .expect("limits")
        .read_to_string(&mut limits)
        .expect("read");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"], "{core}");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::ABORT).expect("sent");
    let status = child.wait().expect("ended");
    assert!(status.signal().is_some() && !status.core_dumped(), "{status:?}");
    // The kernel gives what belongs to a process that can't be dumped to root: as somebody else
    // that shows.
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::fs::set_permissions(bench.path("."), std::fs::Permissions::from_mode(0o755)).expect("set");
    }
    let mut child = waiting(&bench, is_root);
    until_it_reads(child.id());
    let owner = std::fs::metadata(format!("/proc/{}/environ", child.id())).expect("there").uid();
    let own = if is_root { 65534 } else { rustix::process::geteuid().as_raw() };
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_ne!(owner, own, "others of the same user can read its memory");
}
