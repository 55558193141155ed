//! Frozen views that a program of the operator makes: LVM, ZFS, a storage box, a cloud's disks.
//!
//! The program is called twice: `HOOK make ROOT...` makes a view of all roots and prints where each
//! stands, every path followed by a zero byte; `HOOK drop ROOT...` takes it away. Both find the view's
//! id in `LIFEBOAT_VIEW` and the host in `LIFEBOAT_HOST`. Before `make` is called, what is being made is
//! recorded, and the record is locked as long as the run lives, or a program of it that outlives it; the
//! kernel gives the lock back however they end. So a record that nobody has locked is of a killed run, and the next run drops its view.
//!
//! The program runs with this process's rights, so nobody else may be able to change it: it and every
//! folder above it belong to root or this user, and only they can write to them. No shell, no
//! environment of ours, no key, a limit in time, bounded output.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::Access;

use super::tool::{self, Call};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::display;
use crate::base::durable::{self, Lock};
use crate::base::entropy;
use crate::codec::hash;

/// Begins every record, so that one of another form is left alone.
const RECORD: &[u8] = b"lifeboat-view-1";
/// Held while records are made or looked through, so that no new one is seen without its lock.
const LOCK: &str = "lock";
/// A record is no longer: some thousand roots.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// Links on the way to a program, as many as the kernel follows.
const LINKS_MAX: usize = 40;
/// A request to stop is heard within this time.
const TURN: Duration = Duration::from_millis(100);
/// The directory bit that lets only owners rename what is theirs, and writing by group or others.
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A program that makes views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path.
    pub program: PathBuf,
    /// So long a call may take before its process group is ended.
    pub limit: Duration,
    /// Where views are recorded while they exist; made when it isn't there.
    pub records: PathBuf,
}

/// A view that a hook made, there as long as this lives.
pub struct HookView {
    hook: Hook,
    clock: Arc<dyn Clock>,
    id: String,
    host: String,
    roots: Vec<PathBuf>,
    places: Vec<PathBuf>,
    record: PathBuf,
    /// Of the record.
    lock: Lock,
    is_there: AtomicBool,
}

impl std::fmt::Debug for HookView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookView").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Who makes a view, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The host's name in the snapshot.
    pub host: &'a str,
    /// Absolute paths without links.
    pub roots: &'a [PathBuf],
}

/// Looks whether a program may be a hook: its real path, which is the one to be started.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn check(program: &Path) -> Result<PathBuf, String> {
    if !program.is_absolute() {
        return Err(format!("{} is not an absolute path", shown(program)));
    }
    let real = walk_there(program)?;
    if !real.is_file() {
        return Err(format!("{} is no regular file", shown(program)));
    }
    rustix::fs::access(&real, Access::EXEC_OK)
        .map_err(|_| format!("{} is not executable", shown(program)))?;
    Ok(real)
}

/// Goes the way to a program step by step, links included, and looks at each step: who can change one
/// decides what is started.
fn walk_there(path: &Path) -> Result<PathBuf, String> {
    let mut left: VecDeque<OsString> = path.components().map(|part| part.as_os_str().to_owned()).collect();
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match part.as_bytes() {
            b"." => continue,
            b".." => {
                real.pop();
                continue;
            }
            _ => real.push(&part),
        }
        let facts = real.symlink_metadata().map_err(|error| format!("{}: {error}", shown(&real)))?;
        may_only_we_change(&real, &facts)?;
        if facts.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(format!("{} leads through too many links", shown(path)));
            }
            let target = real.read_link().map_err(|error| format!("{}: {error}", shown(&real)))?;
            real.pop();
            let further = target.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
            further.into_iter().rev().for_each(|part| left.push_front(part));
        }
    }
    Ok(real)
}

fn may_only_we_change(path: &Path, facts: &Metadata) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    if facts.uid() != 0 && facts.uid() != us {
        return Err(format!("{} belongs to neither root nor this user", shown(path)));
    }
    // In a sticky folder others can add, but not exchange what isn't theirs. A link has no mode.
    let is_kept_apart = facts.is_symlink() || (facts.is_dir() && facts.mode() & STICKY != 0);
    if facts.mode() & WRITABLE_BY_OTHERS != 0 && !is_kept_apart {
        return Err(format!("{} can be changed by its group or by everybody", shown(path)));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    display::path(path.as_os_str().as_bytes())
}

impl HookView {
    /// Drops what killed runs left, and has a view made.
    ///
    /// # Errors
    /// When the program may not be a hook, fails, takes too long, or what it prints is no view of the
    /// roots; then what it may have made has been dropped again.
    pub fn make(
        hook: &Hook,
        wanted: Wanted<'_>,
        cancel: &Cancel,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        // From here on by its real path: what a link leads to may change.
        let hook = &Hook { program: check(&hook.program).map_err(io::Error::other)?, ..hook.clone() };
        durable::create_dir_all(&hook.records)?;
        let whole = lock_patiently(&hook.records.join(LOCK), cancel, clock)?;
        drop_left_behind(hook, clock)?;
        let host_digits = hex::encode(&hash::plain(&[wanted.host.as_bytes()])[..4]);
        let id = format!("lifeboat-{host_digits}-{}", hex::encode(entropy::random::<8>()));
        let record = hook.records.join(&id);
        let text = to_record(&hook.program, wanted);
        if text.len() as u64 > RECORD_BYTES_MAX {
            return Err(io::Error::other("the paths of the roots are longer than 1 MiB together"));
        }
        durable::create_new(&record, &text)?;
        let lock = durable::try_lock(&record)?.ok_or_else(|| io::Error::other("its record is locked"))?;
        drop(whole);
        let mut view = Self {
            hook: hook.clone(),
            clock: Arc::clone(clock),
            id,
            host: wanted.host.to_owned(),
            roots: wanted.roots.to_vec(),
            places: Vec::new(),
            record,
            lock,
            is_there: AtomicBool::new(true),
        };
        // An error drops `view`, and with it whatever was made.
        let said = view.call("make", cancel.clone())?;
        view.places = places(&said, wanted.roots).map_err(io::Error::other)?;
        Ok(view)
    }

    /// Where a root stands in the view.
    pub fn place(&self, root: &Path) -> Option<&Path> {
        self.roots.iter().position(|one| one == root).map(|at| self.places[at].as_path())
    }

    /// Has the view taken away.
    ///
    /// # Errors
    /// What the program says; then the next run tries again.
    pub fn remove(&self) -> io::Result<()> {
        if !self.is_there.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        // A request to stop doesn't end it: what it takes away has to be gone.
        self.call("drop", Cancel::new())?;
        forget(&self.record)
    }

    fn call(&self, word: &str, cancel: Cancel) -> io::Result<Vec<u8>> {
        let view = View {
            program: &self.hook.program,
            id: &self.id,
            host: &self.host,
            roots: &self.roots,
            lock: &self.lock,
        };
        call(view, word, self.hook.limit, cancel, &self.clock)
    }
}

impl Drop for HookView {
    fn drop(&mut self) {
        self.remove().ok();
    }
}

/// One view, by its names.
#[derive(Clone, Copy)]
struct View<'a> {
    program: &'a Path,
    id: &'a str,
    host: &'a str,
    roots: &'a [PathBuf],
    /// Of its record: the program's standard input, so that a `make` that outlives a killed run keeps it.
    lock: &'a Lock,
}

fn call(
    view: View<'_>,
    word: &str,
    limit: Duration,
    cancel: Cancel,
    clock: &Arc<dyn Clock>,
) -> io::Result<Vec<u8>> {
    let arguments: Vec<&OsStr> =
        std::iter::once(OsStr::new(word)).chain(view.roots.iter().map(|root| root.as_os_str())).collect();
    let environment = [("LIFEBOAT_VIEW", OsStr::new(view.id)), ("LIFEBOAT_HOST", OsStr::new(view.host))];
    tool::call(
        Call {
            program: view.program,
            arguments: &arguments,
            environment: &environment,
            stdin: Some(view.lock.file()),
            limit,
            cancel,
        },
        clock,
    )
}

/// The paths that a hook printed, one for each root, each of the root's type.
fn places(said: &[u8], roots: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let Some(said) = said.strip_suffix(b"\0") else {
        return Err("the hook has to print the path of each view, each followed by a zero byte".to_owned());
    };
    let places: Vec<PathBuf> =
        said.split(|byte| *byte == 0).map(|path| PathBuf::from(OsString::from_vec(path.to_vec()))).collect();
    if places.len() != roots.len() {
        return Err(format!("the hook printed {} paths for {} roots", places.len(), roots.len()));
    }
    for (place, root) in places.iter().zip(roots) {
        let shown = shown(place);
        if !place.is_absolute() {
            return Err(format!("the hook printed {shown}, which is not an absolute path"));
        }
        let facts = place.metadata().map_err(|error| format!("the view {shown}: {error}"))?;
        let live = root.metadata().map_err(|error| error.to_string())?;
        if (facts.dev(), facts.ino()) == (live.dev(), live.ino()) {
            return Err(format!("{shown} is the source itself, not a view of it"));
        }
        if facts.file_type() != live.file_type() {
            return Err(format!("the view {shown} is of another type than what it shows"));
        }
    }
    Ok(places)
}

/// Waits for the lock, as long as nobody wants to stop.
fn lock_patiently(path: &Path, cancel: &Cancel, clock: &Arc<dyn Clock>) -> io::Result<Lock> {
    loop {
        match durable::try_lock(path)? {
            Some(lock) => return Ok(lock),
            None if cancel.is_cancelled() => return Err(io::Error::other("it was stopped")),
            None => clock.sleep(TURN),
        }
    }
}

/// Has every view dropped that an earlier run left. One of the same hook that can't be dropped stays
/// recorded and fails the run: snapshots that pile up fill the pool that the source lives in. Another
/// hook's is that one's next run's.
fn drop_left_behind(hook: &Hook, clock: &Arc<dyn Clock>) -> io::Result<()> {
    for entry in std::fs::read_dir(&hook.records)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|name| name.starts_with("lifeboat-")) else { continue };
        let path = entry.path();
        // In use, or gone with the run that made it.
        let Some(lock) = durable::try_lock(&path)? else { continue };
        if entry.metadata()?.len() > RECORD_BYTES_MAX {
            continue;
        }
        let text = std::fs::read(&path)?;
        let Some((program, host, roots)) = from_record(&text) else { continue };
        if program != hook.program {
            continue;
        }
        let left = View { program: &program, id, host: &host, roots: &roots, lock: &lock };
        call(left, "drop", hook.limit, Cancel::new(), clock).map_err(|error| {
            io::Error::other(format!(
                "the view {id} that an earlier run left can't be dropped: {error}; when you have taken it away yourself, remove {}",
                shown(&path)
            ))
        })?;
        forget(&path)?;
    }
    Ok(())
}

fn forget(record: &Path) -> io::Result<()> {
    match std::fs::remove_file(record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Fields that each end with a zero byte: no path has one.
fn to_record(program: &Path, wanted: Wanted<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    let roots = wanted.roots.iter().map(|root| root.as_os_str().as_bytes());
    let fields = [RECORD, program.as_os_str().as_bytes(), wanted.host.as_bytes()];
    for field in fields.into_iter().chain(roots) {
        text.extend_from_slice(field);
        text.push(0);
    }
    text
}

fn from_record(text: &[u8]) -> Option<(PathBuf, String, Vec<PathBuf>)> {
    let mut fields = text.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    if fields.next()? != RECORD {
        return None;
    }
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(field.to_vec()));
    let (program, host) = (path(fields.next()?), String::from_utf8(fields.next()?.to_vec()).ok()?);
    let roots: Vec<PathBuf> = fields.map(path).collect();
    (!roots.is_empty()).then_some((program, host, roots))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::clock::SystemClock;

    struct Stage {
        folder: tempfile::TempDir,
        hook: Hook,
        root: PathBuf,
    }

    /// A hook of these shell lines; `$log` is a file that it may write to.
    fn stage(lines: &str) -> Stage {
        let folder = tempfile::tempdir().expect("made");
        let at = |name: &str| folder.path().join(name);
        let (program, root) = (at("hook"), at("a root\nof two lines"));
        std::fs::create_dir(&root).expect("made");
        std::fs::create_dir(at("view")).expect("made");
        let log = at("log");
        let script = format!(
            "#!/bin/sh\nset -eu\nlog='{}'\nview='{}'\n{lines}\n",
            log.display(),
            at("view").display()
        );
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("set");
        let hook = Hook { program, limit: Duration::from_secs(20), records: at("records") };
        Stage { folder, hook, root }
    }

    impl Stage {
        fn make(&self) -> io::Result<HookView> {
            let wanted = Wanted { host: "harbour", roots: std::slice::from_ref(&self.root) };
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            HookView::make(&self.hook, wanted, &Cancel::new(), &clock)
        }

        fn log(&self) -> String {
            std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
        }

        fn records(&self) -> usize {
            let names = std::fs::read_dir(&self.hook.records).expect("listed");
            names.filter(|name| name.as_ref().expect("an entry").file_name() != LOCK).count()
        }
    }

    const GOOD: &str =
        r#"echo "$1 $LIFEBOAT_HOST $LIFEBOAT_VIEW $#" >>"$log"; [ "$1" = drop ] || printf '%s\0' "$view""#;

    #[test]
    fn a_hook_is_asked_to_make_and_to_drop_by_one_id_with_the_roots_and_nothing_else() {
        let stage = stage(&format!("{GOOD}\nenv >>\"$log.env\"; pwd >>\"$log.env\""));
        let view = stage.make().expect("made");
        assert_eq!(view.place(&stage.root).expect("shown"), stage.folder.path().join("view"));
        assert_eq!(stage.records(), 1);
        view.remove().expect("dropped");
        drop(view);
        let log = stage.log();
        let lines: Vec<&str> = log.lines().collect();
        let id = lines[0].strip_prefix("make harbour ").expect("made first");
        assert_eq!(lines, [format!("make harbour {id}"), format!("drop harbour {id}")], "once each");
        assert!(id.starts_with("lifeboat-") && id.ends_with(" 2"), "{id}");
        assert_eq!(stage.records(), 0);
        let environment = std::fs::read_to_string(stage.folder.path().join("log.env")).expect("written");
        let known = ["LIFEBOAT_VIEW", "LIFEBOAT_HOST", "PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"];
        for line in environment.lines().filter(|line| line.contains('=')) {
            let name = line.split('=').next().expect("a name");
            assert!(known.contains(&name), "{line}");
        }
        assert!(environment.lines().any(|line| line == "/"), "{environment}");
    }

    #[test]
    fn what_no_hook_may_say_is_refused_and_what_it_made_is_dropped() {
        let print = |what: &str| format!("echo $1 >>\"$log\"; [ $1 = drop ] || printf {what}");
        for (lines, expected) in [
            (print("''"), "each followed by a zero byte"),
            (print("'%s' \"$view\""), "each followed by a zero byte"),
            (print("'%s\\0%s\\0' \"$view\" \"$view\""), "2 paths for 1 roots"),
            (print("'view\\0'"), "not an absolute path"),
            (print("'/no/such/place\\0'"), "No such file"),
            (print("'%s\\0' \"$2\""), "the source itself"),
            (print("'/etc/passwd\\0'"), "another type"),
            (print("'\\0'"), "not an absolute path"),
            (
                "echo $1 >>\"$log\"; [ $1 = drop ] || { echo no space in the pool >&2; exit 5; }".into(),
                "no space in the pool",
            ),
            ("echo $1 >>\"$log\"; [ $1 = drop ] || yes | head -c 1000000".into(), "more than it should"),
        ] {
            let stage = stage(&lines);
            let error = stage.make().expect_err(&lines).to_string();
            assert!(error.contains(expected), "{lines}: {error}");
            assert_eq!(stage.log(), "make\ndrop\n", "{lines}");
            assert_eq!(stage.records(), 0, "{lines}");
        }
    }

    #[test]
    fn a_hook_that_hangs_is_ended_and_one_that_cannot_drop_is_asked_again() {
        let mut hanging = stage("echo $1 >>\"$log\"; [ $1 = drop ] || exec sleep 600");
        hanging.hook.limit = Duration::from_millis(200);
        let error = hanging.make().expect_err("it hangs").to_string();
        assert!(error.contains("took too long"), "{error}");
        assert_eq!(hanging.log(), "make\ndrop\n");

        let stage = stage(&format!("{GOOD}\n[ \"$1\" = make ] || [ -e \"$log.ok\" ]"));
        let view = stage.make().expect("made");
        assert!(view.remove().is_err());
        drop(view);
        assert_eq!(stage.records(), 1, "it is still there");
        let error = stage.make().expect_err("the pool fills").to_string();
        assert!(error.contains("can't be dropped"), "{error}");
        std::fs::write(stage.folder.path().join("log.ok"), b"").expect("written");
        drop(stage.make().expect("made"));
        assert_eq!(stage.records(), 0);
        let log = stage.log();
        let words: Vec<&str> = log.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(words, ["make", "drop", "drop", "drop", "make", "drop"]);
    }

    #[test]
    fn a_view_in_use_is_left_alone() {
        let stage = stage(GOOD);
        let (first, second) = (stage.make().expect("made"), stage.make().expect("made"));
        assert_eq!(stage.records(), 2);
        assert!(!stage.log().contains("drop"));
        drop((first, second));
        assert_eq!(stage.records(), 0);
    }

    #[test]
    fn nobody_else_can_change_a_hook() {
        let stage = stage(GOOD);
        let program = &stage.hook.program;
        let set =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
        assert_eq!(check(program).as_ref(), Ok(&program.canonicalize().expect("there")));
        for (path, mode, back, expected) in [
            (program.as_path(), 0o720, 0o700, "can be changed by its group"),
            (program.as_path(), 0o702, 0o700, "or by everybody"),
            (program.as_path(), 0o600, 0o700, "is not executable"),
            (stage.folder.path(), 0o770, 0o700, "can be changed by its group"),
        ] {
            set(path, mode);
            let error = check(program).expect_err("refused");
            assert!(error.contains(expected), "{error}");
            assert!(stage.make().is_err());
            set(path, back);
        }
        assert!(check(Path::new("hook")).expect_err("refused").contains("absolute"));
        assert!(check(&stage.root).expect_err("refused").contains("no regular file"));
        // The way there counts, also through a link.
        let open = stage.folder.path().join("open");
        std::fs::create_dir(&open).expect("made");
        set(&open, 0o777);
        std::os::unix::fs::symlink(program, open.join("hook")).expect("linked");
        assert!(check(&open.join("hook")).expect_err("refused").contains("changed by"));
        // And through a link that leads through a link.
        let front = stage.folder.path().join("front");
        std::os::unix::fs::symlink("open/hook", &front).expect("linked");
        let error = check(&front).expect_err("refused");
        assert!(error.contains("/open can be changed by"), "{error}");
        set(&open, 0o755);
        assert_eq!(check(&front).as_ref(), Ok(&program.canonicalize().expect("there")));
        std::os::unix::fs::symlink("round", stage.folder.path().join("round")).expect("linked");
        assert!(check(&stage.folder.path().join("round")).expect_err("refused").contains("too many links"));
    }
}
