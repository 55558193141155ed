//! What `ls`, `find`, `diff`, `dump` and `mount` share: opening what they look into.

use super::policy::{parse_time, site};
use super::repo::plumbing;
use crate::app::look::{self, Opened};
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::metadata::FileTime;
use crate::cli::args::{CopyArgs, OneRepo};
use crate::cli::bars::printer;
use crate::cli::output::{Output, Style};
use crate::cli::run::Session;
use crate::repository::manifest::State;

/// A session whose standard output is left to the data: notes and warnings are talk, also when
/// the data is JSON.
pub(super) fn talking(session: &Session) -> Session {
    let output = Output { style: Style::Text, ..session.output };
    let mut cx = session.cx.clone();
    cx.progress = printer(output);
    Session {
        output: session.output,
        cx,
        place: session.place.clone(),
        limits: session.limits,
        traffic: session.traffic.clone(),
    }
}

/// The snapshot of a policy, or the one named, in the copy that is asked for or nearest.
pub(super) fn of_policy(session: &Session, what: &str, copy: &CopyArgs) -> Result<Opened, Failure> {
    let at = copy.at.as_deref().map(parse_time).transpose()?;
    look::by_policy(&site(session)?, what, at, copy.from.as_deref())
}

/// A snapshot of a bare repository.
pub(super) fn of_place(session: &Session, at: &OneRepo, wanted: &str) -> Result<Opened, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let opened = look::by_place(&plumbing(session, &at.access), &at.repo, &secret, wanted)?;
    if wanted == "latest" {
        session.cx.progress.note(format!(
            "snapshot {} of {}, taken {}",
            opened.snapshot.id.short(),
            opened.snapshot.body.host,
            opened.snapshot.body.captured_at.readable()
        ));
    }
    Ok(opened)
}

/// A time as files have it.
pub(super) fn file_time(text: &str) -> Result<FileTime, Failure> {
    let ms = parse_time(text)?.unix_ms();
    let nanos = u32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or_default();
    Ok(FileTime { seconds: ms.div_euclid(1000), nanos })
}

/// A file's time for people, to the second.
pub(super) fn shown(time: FileTime) -> String {
    Timestamp::from_unix_ms(time.seconds.saturating_mul(1000))
        .to_utc()
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// What is said behind an entry that was not read when its snapshot was taken.
pub(super) fn unread_mark(state: State) -> &'static str {
    if state == State::Unread { "  (unread)" } else { "" }
}
