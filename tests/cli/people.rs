//! Incidents and telling people: real letters through a real mail server, posts that are checked byte
//! by byte, clocks that run out, and what is never told twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat::app::incidents;
use lifeboat::app::site::{Site, Where};
use lifeboat::app::watch::watch;
use lifeboat::base::clock::{Clock, ManualClock, SystemClock};
use lifeboat::catalog::messages::Message;
use lifeboat::catalog::words::{IncidentState, MessageState};
use lifeboat::engine::context::Context;
use serde_json::Value;

use crate::certificate::self_signed;
use crate::retention::{back_up, evidence, ran, site};
use crate::run::{Bench, eventually, moved};

/// Takes posts and answers them as it was told; ends with the test.
struct Web {
    port: u16,
    taken: Arc<Mutex<Vec<Post>>>,
    status: Arc<Mutex<(u16, &'static str)>>,
}

#[derive(Clone, Debug)]
struct Post {
    head: String,
    body: String,
}

impl Post {
    fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        line.split_once(": ").map(|(_, value)| value.trim())
    }
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (taken, status) = (Arc::default(), Arc::new(Mutex::new((200, "ok"))));
        let web = Self { port, taken: Arc::clone(&taken), status: Arc::clone(&status) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = *status.lock().expect("locked");
                if let Some(post) = serve(stream, answer) {
                    taken.lock().expect("locked").push(post);
                }
            }
        });
        web
    }

    fn answer(&self, status: u16, body: &'static str) {
        *self.status.lock().expect("locked") = (status, body);
    }

    fn posts(&self) -> Vec<Post> {
        self.taken.lock().expect("locked").clone()
    }

    fn topics(&self) -> Vec<String> {
        let of = |post: &Post| {
            serde_json::from_str::<Value>(&post.body).ok()?["topic"].as_str().map(str::to_owned)
        };
        self.posts().iter().filter_map(of).collect()
    }
}

fn serve(stream: TcpStream, (status, body): (u16, &str)) -> Option<Post> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let post = Post { head, body: String::new() };
    let length = post.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    let mut stream = stream;
    let answer =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).ok()?;
    Some(Post { body: String::from_utf8(bytes).ok()?, ..post })
}

/// A mail server that keeps what it is sent in a folder; ended by its own process id.
struct Mail {
    server: Child,
    port: u16,
    folder: PathBuf,
}

impl Mail {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    fn start_with(folder: &Path, more: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/python");
        std::fs::create_dir_all(folder).expect("made");
        let folder = folder.join("letters");
        let server = Command::new(python)
            .args(["-m", "aiosmtpd"])
            .args(more)
            .args(["-n", "-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run scripts/setup: it installs the mail server");
        let mail = Self { server, port, folder };
        eventually("a mail server", || TcpStream::connect(("127.0.0.1", mail.port)).is_ok());
        mail
    }

    fn letters(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.folder.join("new")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read_to_string(path).expect("a letter")).collect()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// A site with people, a web hook (signed) and mail, as far as ports are given.
fn people(bench: &Bench, web: u16, mail: u16) {
    let port = mail.max(25);
    let url = bench.private("hook.url", format!("http://127.0.0.1:{web}/hook").as_bytes());
    let secret = bench.private("hook.secret", b"between us");
    let text = format!(
        "site = \"hq\"\n\
         [contacts.\"li.na\"]\nname = \"李娜\"\nroles = [\"dba\"]\nphone = \"+86-10-5555-0101\"\nmail = \"li.na@example.com\"\n\
         [contacts.\"wang.wei\"]\nname = \"Wang Wei\"\nroles = [\"commander\"]\nmail = \"wang.wei@example.com\"\n\
         [on_call]\npeople = [\"li.na\"]\n\
         [response.minor]\nstart_within = \"30m\"\nnotify = [\"oncall\"]\nescalate = [\"role:commander\"]\n\
         [[notify]]\nkind = \"webhook\"\nurl_file = {url:?}\nsecret_file = {secret:?}\notherwise = \"mail\"\n\
         [[notify]]\nkind = \"mail\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"lifeboat@example.com\"\n\
         on = [\"{}\"]\n",
        if mail == 0 { "nothing" } else { "run" },
    );
    std::fs::write(bench.path("config/lifeboat.toml"), text).expect("written");
}

fn break_source(bench: &Bench) {
    moved(bench.path("source"), bench.path("gone"));
    ran(bench, &["run", "web"]).exits(1);
}

#[test]
fn a_failed_run_is_told_by_post_and_letter_answered_and_over_when_the_next_one_succeeds() {
    let bench = site("");
    let web = Web::start();
    let mail = Mail::start(&bench.path("state-of-mail"));
    people(&bench, web.port, mail.port);
    back_up(&bench, 1);
    break_source(&bench);
    let looked = ran(&bench, &["watch", "--json"]).exits(0).json();
    assert_eq!(
        (&looked["watched"]["incidents"], &looked["watched"]["sent"]),
        (&1.into(), &2.into()),
        "{looked:#}"
    );
    // The post: signed, and what the facts say.
    let post = web.posts().remove(0);
    let told: Value = serde_json::from_str(&post.body).expect("JSON");
    assert_eq!(told["cause"], "run.failed.backup");
    assert_eq!((&told["severity"], &told["policy"]), (&"minor".into(), &"web".into()));
    assert_eq!(told["people"][0]["name"], "李娜");
    let at = post.header("x-lifeboat-timestamp").expect("a time");
    let signed = hmac_sha256("between us", &format!("{at}.{}", post.body));
    assert_eq!(post.header("x-lifeboat-signature"), Some(format!("sha256={signed}").as_str()));
    // The letter: to whoever is on call, and nobody else.
    let letter = mail.letters().remove(0);
    assert!(letter.contains("To: li.na@example.com") && !letter.contains("wang.wei"), "{letter}");
    assert!(letter.contains("Subject: [MINOR] web: the last backup failed"), "{letter}");
    assert!(letter.contains("Auto-Submitted: auto-generated"), "{letter}");
    // Nothing is told twice.
    ran(&bench, &["watch"]).exits(0);
    assert_eq!((web.posts().len(), mail.letters().len()), (1, 1));
    let listed = ran(&bench, &["incident", "list", "--json"]).exits(0).json();
    let id = listed["incidents"][0]["id"].as_str().expect("an id").to_owned();
    ran(&bench, &["incident", "ack", &id, "--by", "li.na"]).exits(0);
    ran(&bench, &["incident", "note", &id, "the disk was not mounted", "--by", "li.na"]).exits(0);
    let early = ran(&bench, &["incident", "resolve", &id, "--verification", "I think so"]).exits(14);
    assert!(early.err.contains("E0818"), "{early:?}");
    moved(bench.path("gone"), bench.path("source"));
    back_up(&bench, 2);
    ran(&bench, &["watch"]).exits(0);
    assert_eq!(web.topics(), ["opened", "answered", "passed"]);
    let shown = ran(&bench, &["incident", "show", &id]).exits(0);
    for part in
        ["reported", "answered by li.na", "the disk was not mounted", "the cause is gone", "over by itself"]
    {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    assert_eq!(ran(&bench, &["incident", "list"]).exits(0).out.trim(), "no incident goes on");
    // Back within a month it is the same incident.
    break_source(&bench);
    ran(&bench, &["watch"]).exits(0);
    let again = ran(&bench, &["incident", "list", "--json"]).exits(0).json();
    assert_eq!(again["incidents"][0]["id"], id.as_str());
    assert_eq!(web.topics().last().map(String::as_str), Some("reopened"));
    for kind in
        ["incident.opened", "incident.responding", "incident.passed", "incident.reported", "message.sent"]
    {
        assert!(!evidence(&bench, kind).is_empty(), "{kind}");
    }
}

/// By openssl: it knows nothing of us.
fn hmac_sha256(key: &str, text: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl");
    openssl.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = openssl.wait_with_output().expect("ended");
    String::from_utf8(output.stdout).expect("text").rsplit(' ').next().expect("a sum").trim().to_owned()
}

/// The site as a process would open it, with a clock of the test's.
fn opened(bench: &Bench, clock: &Arc<ManualClock>) -> Site {
    let mut cx = Context::quiet();
    cx.clock = Arc::clone(clock) as Arc<dyn Clock>;
    let place = Where {
        config: Some(bench.path("config")),
        state_dir: Some(bench.path("state")),
        ..Where::default()
    };
    Site::open(&place, cx).expect("a site")
}

#[test]
fn nobody_answers_and_the_next_one_is_told_and_quiet_hours_keep_what_can_wait() {
    let bench = site("");
    let web = Web::start();
    people(&bench, web.port, 0);
    let file = bench.path("config/lifeboat.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    let quiet = text.replace("otherwise = \"mail\"\n", "quiet = [\"22:00-06:00\"]\n");
    std::fs::write(&file, format!("timezone = \"UTC\"\n{quiet}")).expect("written");
    back_up(&bench, 1);
    break_source(&bench);
    // Tomorrow at 23:30.
    let now = SystemClock::new().now().unix_ms();
    let night = now - now.rem_euclid(86_400_000) + 86_400_000 + 23 * 3_600_000 + 1_800_000;
    let clock = Arc::new(ManualClock::new(lifeboat::base::clock::Timestamp::from_unix_ms(night)));
    let look = || watch(&opened(&bench, &clock)).expect("looked");
    look();
    assert!(web.posts().is_empty(), "it is minor, and it is night");
    clock.advance(Duration::from_secs(6 * 3600 + 3000));
    look();
    let topics = web.topics();
    assert!(topics.contains(&"opened".to_owned()) && topics.contains(&"escalated".to_owned()), "{topics:?}");
    // Each half an hour the next, then everybody, then nobody any more.
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1801));
        look();
    }
    let escalated: Vec<Value> = web
        .posts()
        .iter()
        .map(|post| serde_json::from_str::<Value>(&post.body).expect("JSON"))
        .filter(|told| told["topic"] == "escalated")
        .filter(|told| told["cause"] == "run.failed.backup")
        .collect();
    assert_eq!(escalated[0]["people"][0]["name"], "Wang Wei", "the commander is next");
    assert_eq!(escalated[1]["people"].as_array().map(Vec::len), Some(2), "then everybody");
    assert_eq!(escalated.len(), 12);
}

#[test]
fn what_a_person_opened_is_escalated_like_the_rest_and_over_only_when_a_person_says_so() {
    let bench = site("");
    let web = Web::start();
    people(&bench, web.port, 0);
    let clock = Arc::new(ManualClock::new(SystemClock::new().now()));
    let look = || watch(&opened(&bench, &clock)).expect("looked");
    let severity = lifeboat::catalog::words::Severity::Minor;
    let made = incidents::open(&opened(&bench, &clock), None, severity, "the cellar is wet", "Li Na");
    let id = made.expect("opened").id;
    let known = || incidents::show(&opened(&bench, &clock), &id).expect("shown").incident;
    assert_eq!(known().state, IncidentState::Notified);
    look();
    assert_eq!((known().passed_at, known().state, known().escalations), (None, IncidentState::Notified, 0));
    clock.advance(Duration::from_secs(31 * 60));
    look();
    assert_eq!(known().escalations, 1, "nobody has answered");
    incidents::acknowledge(&opened(&bench, &clock), &id, "Wang Wei").expect("answered");
    clock.advance(Duration::from_secs(86_400));
    look();
    assert_eq!((known().state, known().escalations), (IncidentState::Responding, 1));
    incidents::resolve(&opened(&bench, &clock), &id, "it is dry", "Wang Wei").expect("resolved");
    assert_eq!(known().state, IncidentState::Resolved);
}

#[test]
fn what_cannot_be_told_waits_goes_another_way_too_and_is_given_up_after_a_day() {
    let bench = site("");
    let web = Web::start();
    let mail = Mail::start(&bench.path("state-of-mail"));
    people(&bench, web.port, mail.port);
    let file = bench.path("config/lifeboat.toml");
    let text = std::fs::read_to_string(&file).expect("read").replace("on = [\"run\"]", "on = [\"nothing\"]");
    std::fs::write(&file, text).expect("written");
    back_up(&bench, 1);
    break_source(&bench);
    web.answer(500, "down");
    let clock = Arc::new(ManualClock::new(SystemClock::new().now()));
    let look = || watch(&opened(&bench, &clock)).expect("looked");
    assert_eq!(look().waiting, 1);
    assert_eq!(look().waiting, 0, "not at once again");
    for _ in 0..3 {
        clock.advance(Duration::from_secs(240));
        look();
    }
    assert_eq!(mail.letters().len(), 1, "after three attempts by mail, too");
    web.answer(200, "ok");
    clock.advance(Duration::from_secs(1000));
    look();
    let state = |topic: &str| {
        let all = opened(&bench, &clock).catalogue().expect("a catalogue").messages(50).expect("read");
        all.into_iter()
            .filter(|one| one.topic == topic)
            .map(|one| (one.notifier, one.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(state("opened").len(), 2);
    assert!(state("opened").iter().all(|(_, state)| *state == MessageState::Sent), "{:?}", state("opened"));
    // A day without anybody there.
    web.answer(403, "no");
    let site = opened(&bench, &clock);
    incidents::open(&site, Some("web"), lifeboat::catalog::words::Severity::Critical, "it smells", "li.na")
        .expect("opened");
    for _ in 0..30 {
        clock.advance(Duration::from_secs(3600));
        look();
    }
    let failed = evidence(&bench, "message.failed");
    assert!(failed.iter().any(|line| line["data"]["error_code"] == "E1003"), "{failed:?}");
    let all = site.catalogue().expect("a catalogue").messages(200).expect("read");
    let now = clock.now();
    let is_old = |one: &Message| now.since(one.queued_at) > Duration::from_secs(26 * 3600);
    assert!(all.iter().any(is_old));
    // Of each incident at most: that it was opened and twelve escalations, in two ways.
    let incidents = incidents::list(&site, true).expect("listed").len();
    assert!(incidents <= 4 && all.len() <= incidents * (1 + 12) * 2, "{} of {incidents}", all.len());
    assert!(all.iter().filter(|one| is_old(one)).all(|one| one.state != MessageState::Queued), "{all:#?}");
}

#[test]
fn a_site_of_people_is_tried_out_and_its_mistakes_are_told() {
    let bench = site("");
    let web = Web::start();
    let mail = Mail::start(&bench.path("state-of-mail"));
    people(&bench, web.port, mail.port);
    let told = ran(&bench, &["notify", "test"]).exits(0);
    assert!(told.out.contains("webhook: told") && told.out.contains("mail: told"), "{told:?}");
    assert!(mail.letters()[0].contains("this is a test"));
    // An address that others may read is none, and is not shown.
    let url = bench.path("hook.url");
    std::fs::set_permissions(&url, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
    let refused = ran(&bench, &["notify", "test", "webhook"]).exits(1);
    assert!(refused.err.contains("E1001") && !refused.err.contains("/hook\""), "{refused:?}");
    assert!(ran(&bench, &["notify", "test", "pigeon"]).exits(2).err.contains("known: webhook, mail"));
    for (wrong, told) in [
        ("[on_call]\npeople = [\"nobody\"]\n", "there is no contact `nobody`"),
        ("[response.critical]\nnotify = [\"role:king\"]\n", "there is no contact with the role `king`"),
        ("[response.critical]\nnotify = [\"x:y\"]\n", "names nobody"),
        ("[response.minor]\nstart_within = \"2d\"\n", "for more than a day"),
        ("[contacts.a]\nmail = \"not an address\"\n", "is no address"),
        ("[[notify]]\nkind = \"pagerduty\"\nurl_file = \"/x\"\n", "`notify.1.secret_file` is missing"),
        ("[[notify]]\nkind = \"heartbeat\"\nurl_file = \"/x\"\nevery = \"5s\"\n", "once a minute"),
        ("[[notify]]\nkind = \"webhook\"\nurl = \"https://x/secret\"\n", "url"),
        (
            "[[notify]]\nkind = \"mail\"\nhost = \"h\"\nfrom = \"a@b\"\n[[notify]]\nkind = \"mail\"\nhost = \"h\"\nfrom = \"a@b\"\n",
            "two [[notify]] have one name",
        ),
        ("[[notify]]\nkind = \"carrier\"\n", "`carrier` is not known here"),
    ] {
        std::fs::write(bench.path("config/lifeboat.toml"), wrong).expect("written");
        let checked = ran(&bench, &["check"]).exits(2);
        assert!(checked.err.contains(told), "{told}: {checked:?}");
    }
}

#[test]
fn a_heart_beats_only_so_often_and_only_when_the_look_went_well() {
    let bench = site("");
    let web = Web::start();
    let url = bench.private("heart.url", format!("http://127.0.0.1:{}/ping", web.port).as_bytes());
    let text = format!("[[notify]]\nkind = \"heartbeat\"\nurl_file = {url:?}\nevery = \"10m\"\n");
    std::fs::write(bench.path("config/lifeboat.toml"), text).expect("written");
    let clock = Arc::new(ManualClock::new(SystemClock::new().now()));
    for _ in 0..30 {
        watch(&opened(&bench, &clock)).expect("looked");
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(web.posts().len(), 3);
    assert!(web.posts()[0].head.starts_with("GET /ping"));
    std::fs::write(bench.path("state/catalogue.db"), b"this is no database, and it is long enough")
        .expect("broken");
    clock.advance(Duration::from_secs(3600));
    assert!(watch(&opened(&bench, &clock)).is_err());
    assert_eq!(web.posts().len(), 3, "silence is the alarm");
}

#[test]
fn a_letter_goes_over_tls_that_somebody_vouches_for_or_not_at_all() {
    let bench = site("");
    let extensions = ["subjectAltName=DNS:localhost", "basicConstraints=CA:FALSE"];
    let (key, certificate) = self_signed(&bench.path(""), "/CN=localhost", &extensions);
    let (key, pem) =
        (key.to_str().expect("plain").to_owned(), certificate.to_str().expect("plain").to_owned());
    let mail = Mail::start_with(&bench.path("state-of-mail"), &["--tlscert", &pem, "--tlskey", &key]);
    let notify = |more: &str| {
        let text = format!(
            "[[notify]]\nkind = \"mail\"\nhost = \"localhost\"\nport = {}\nfrom = \"lifeboat@example.com\"\nto = [\"ops@example.com\"]\n{more}",
            mail.port
        );
        std::fs::write(bench.path("config/lifeboat.toml"), text).expect("written");
    };
    notify("");
    let refused = ran(&bench, &["notify", "test"]).exits(1);
    let err = &refused.err;
    assert!(
        err.contains("E1002") && err.to_lowercase().contains("certificate"),
        "nobody vouches for it: {err}"
    );
    assert!(mail.letters().is_empty());
    notify(&format!("ca_file = {pem:?}\n"));
    ran(&bench, &["notify", "test"]).exits(0);
    assert_eq!(mail.letters().len(), 1);
    drop(mail);
    let plain = Mail::start(&bench.path("state-of-mail"));
    let text = std::fs::read_to_string(bench.path("config/lifeboat.toml")).expect("read");
    let port = text.lines().find(|line| line.starts_with("port")).expect("a port").to_owned();
    std::fs::write(
        bench.path("config/lifeboat.toml"),
        text.replace(&port, &format!("port = {}", plain.port)),
    )
    .expect("written");
    ran(&bench, &["notify", "test"]).exits(1);
    assert_eq!(plain.letters().len(), 1, "nothing goes without STARTTLS: the one is from before");
}
