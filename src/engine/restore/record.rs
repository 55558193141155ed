//! The mark of a restore that has not ended, and what may be believed of what stands there.
//!
//! With it the same command goes on after an interruption, without leave to overwrite anything
//! else. When the machine itself stopped meanwhile, sizes and times prove nothing: a file system
//! may have kept them and lost the bytes.

use crate::base::boot::boot_id;
use crate::base::display;
use crate::base::metadata::FileKind;
use crate::codec::hash;
use crate::engine::error::EngineError;
use crate::repository::reader::BlobReader;
use crate::source::files::{Destination, Existing, Marks, SafePath};

use super::outcome::RestoreOutcome;
use super::request::{Mode, RestoreRequest};
use super::select::Selection;

const HEAD: &str = "lifeboat restore 1";
/// Restores of one snapshot that a mark tells of, each in about 120 bytes.
const RECORDS_MAX: usize = 64;

/// What makes a file that stands there the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Its size and its time to the nanosecond.
    Stat,
    /// Its bytes.
    Content,
}

/// How a restore begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Whether what stands there is compared at all, and by what.
    pub(super) compares: Option<Evidence>,
    /// Whether it goes on with an interrupted one.
    pub(super) goes_on: bool,
    /// Whether the machine has run on since all that was begun here.
    pub(super) survived: bool,
}

/// Whose restore has not ended, as a mark says it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// Its selection of paths.
    asked: String,
    /// When the machine was started under which it wrote.
    boot: String,
}

impl Record {
    /// One of which nothing is known but that sizes and times prove nothing.
    fn unknown() -> Self {
        Self { asked: "unknown".to_owned(), boot: "before".to_owned() }
    }
}

/// What the marks in a destination say before anything is written.
struct Look {
    beginning: Beginning,
    boot: String,
    asked: String,
    known: Vec<Record>,
}

impl Look {
    fn at(
        destination: &Destination,
        selection: &Selection<'_>,
        request: &RestoreRequest,
    ) -> Result<Self, EngineError> {
        destination.be_alone()?;
        let boot = boot_id();
        let asked = asked(selection);
        let Marks { own, is_foreign, others } = destination.marks()?;
        let known = records_or_unknown(own.as_deref(), is_foreign);
        let goes_on = known.iter().any(|record| record.asked == asked);
        let is_of_this_boot = |record: &Record| !boot.is_empty() && record.boot == boot;
        let of_others = others.iter().flat_map(|(_, text)| records_or_unknown(Some(text), false));
        let survived = known.iter().cloned().chain(of_others).all(|record| is_of_this_boot(&record));
        let by =
            if survived && request.mode != Mode::WriteAndCheck { Evidence::Stat } else { Evidence::Content };
        let compares = (goes_on || request.existing != Existing::Refuse).then_some(by);
        let beginning = Beginning { compares, goes_on, survived };
        Ok(Self { beginning, boot, asked, known })
    }
}

/// As [`begin`], for who only wants to know: nothing is written.
///
/// # Errors
/// As [`begin`].
pub(super) fn foresee(
    destination: &Destination,
    selection: &Selection<'_>,
    request: &RestoreRequest,
    refuse: impl FnOnce(Beginning) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let beginning = Look::at(destination, selection, request)?.beginning;
    if request.existing == Existing::Refuse { refuse(beginning) } else { Ok(()) }
}

/// Sees to it that no other restore is at work here, reads the marks and leaves one. `refuse` is
/// asked before anything is written, when nothing may be replaced.
///
/// # Errors
/// When another restore is at work, the destination can't be listed or written; what `refuse`
/// says.
pub(super) fn begin(
    destination: &Destination,
    selection: &Selection<'_>,
    request: &RestoreRequest,
    refuse: impl FnOnce(Beginning) -> Result<(), EngineError>,
) -> Result<Beginning, EngineError> {
    let Look { beginning, boot, asked, mut known } = Look::at(destination, selection, request)?;
    if request.existing == Existing::Refuse {
        refuse(beginning)?;
    }
    if beginning.compares.is_some() {
        destination.open_up()?;
    }
    if beginning.goes_on {
        // An older mark of ours tells more than a new one would.
        destination.go_on();
        return Ok(beginning);
    }
    let boot = if beginning.survived { boot } else { "before".to_owned() };
    known.push(Record { asked, boot });
    destination.mark(text(selection, &known).as_bytes())?;
    Ok(beginning)
}

/// A restore has ended: what others of the same snapshot said stays, unless everything was
/// restored. Where the machine had stopped and not all could be restored, sizes and times still
/// prove nothing, and the mark stays.
///
/// # Errors
/// When the mark can't be written or removed.
pub(super) fn end(
    destination: &Destination,
    selection: &Selection<'_>,
    beginning: Beginning,
    is_whole: bool,
) -> Result<(), EngineError> {
    if !beginning.survived && !is_whole {
        return Ok(());
    }
    let mut left = Vec::new();
    if !selection.is_all() {
        let Marks { own, is_foreign, .. } = destination.marks()?;
        let asked = asked(selection);
        left = records_or_unknown(own.as_deref(), is_foreign);
        left.retain(|record| record.asked != asked);
    }
    if left.is_empty() {
        return Ok(destination.unmark()?);
    }
    Ok(destination.mark(text(selection, &left).as_bytes())?)
}

/// A restore that may overwrite and ended well removes what given up restores of other snapshots
/// left: their marks, and unfinished files of paths that this one has, too. Not when the machine
/// stopped in the middle of one: its mark says that sizes and times prove nothing. What stays is
/// named.
///
/// # Errors
/// When the destination can't be listed, or the manifest not be read.
pub(super) fn clear_given_up(
    destination: &Destination,
    (selection, blobs): (&Selection<'_>, &BlobReader<'_>),
    existing: Existing,
    outcome: &mut RestoreOutcome,
) -> Result<(), EngineError> {
    let boot = boot_id();
    let may_clear = existing != Existing::Refuse && outcome.failed.count == 0;
    let mut given_up: Vec<[u8; 32]> = Vec::new();
    for (name, text) in destination.marks()?.others {
        let found = records(&text);
        let is_of_this_boot = !found.is_empty() && found.iter().all(|record| record.boot == boot);
        if may_clear && is_of_this_boot && destination.unmark_other(&name) {
            outcome.cleared += 1;
            given_up.extend(snapshot_of(&text));
        } else {
            outcome.not_ended.push(display::path(&name));
        }
    }
    if given_up.is_empty() {
        return Ok(());
    }
    selection.visit(blobs, &mut |wanted| {
        if wanted.entry.meta.kind == FileKind::File {
            let path = SafePath::new(selection.landing_of(&wanted))?;
            let removed = given_up.iter().filter(|id| destination.remove_unfinished_of(id, &path)).count();
            outcome.cleared += removed as u64;
        }
        Ok(())
    })
}

/// The snapshot of a mark.
fn snapshot_of(text: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.lines().nth(1)?.strip_prefix("snapshot ")?;
    hex::decode(digits).ok()?.try_into().ok()
}

/// Tells one selection of paths from another, however they were spelled.
fn asked(selection: &Selection<'_>) -> String {
    hex::encode(hash::plain(&[&selection.paths().join(&0)]))
}

/// What the mark of one snapshot says; one that can't be read says that nothing is proved.
fn records_or_unknown(text: Option<&[u8]>, is_foreign: bool) -> Vec<Record> {
    match text.map(records) {
        Some(found) if found.is_empty() => vec![Record::unknown()],
        Some(found) => found,
        None if is_foreign => vec![Record::unknown()],
        None => Vec::new(),
    }
}

fn records(text: &[u8]) -> Vec<Record> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().filter(|line| !line.starts_with("snapshot "));
    if lines.next() != Some(HEAD) {
        return Vec::new();
    }
    let mut found = Vec::new();
    while let Some(asked) = lines.next().and_then(|line| line.strip_prefix("asked ")) {
        let boot = lines.next().and_then(|line| line.strip_prefix("boot ")).unwrap_or_default();
        found.push(Record { asked: asked.to_owned(), boot: boot.to_owned() });
    }
    found
}

/// The mark; the oldest of very many are told as one of which nothing is known.
fn text(selection: &Selection<'_>, records: &[Record]) -> String {
    format!("{HEAD}\nsnapshot {}\n{}", hex::encode(selection.snapshot_id()), lines(records))
}

fn lines(records: &[Record]) -> String {
    let unknown = Record::unknown();
    let newest = &records[records.len().saturating_sub(RECORDS_MAX)..];
    let cut = (newest.len() < records.len()).then_some(&unknown);
    cut.into_iter().chain(newest).map(|r| format!("asked {}\nboot {}\n", r.asked, r.boot)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_is_none_says_that_nothing_is_proved() {
        let text = b"lifeboat restore 1\nasked ab\nboot cd\n";
        let record = |asked: &str, boot: &str| Record { asked: asked.to_owned(), boot: boot.to_owned() };
        assert_eq!(records(text), [record("ab", "cd")]);
        let others: [&[u8]; 4] = [b"lifeboat restore 2\nasked ab\nboot cd\n", b"", &[0xff; 64], b"\n"];
        for other in others {
            assert_eq!(records_or_unknown(Some(other), false), [Record::unknown()]);
        }
        assert_eq!(records_or_unknown(None, true), [Record::unknown()]);
        assert_eq!(records_or_unknown(None, false), []);
    }

    #[test]
    fn very_many_records_fit_and_none_is_forgotten_silently() {
        let many: Vec<Record> =
            (0..100).map(|n| Record { asked: format!("{n:064}"), boot: format!("{n:036}") }).collect();
        let text = format!("{HEAD}\nsnapshot ab\n{}", lines(&many));
        assert!(text.len() < 16 * 1024);
        let found = records(text.as_bytes());
        assert_eq!(
            (found.len(), &found[0], found.last()),
            (RECORDS_MAX + 1, &Record::unknown(), many.last())
        );
    }
}
