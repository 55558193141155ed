//! What reaches the terminal: data on standard output, talk on standard error.
//!
//! A closed pipe is no error: whoever reads us with `head` has what they wanted. Everything a
//! stranger named (files, hosts, snapshots' tags) goes through `base::display` first.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::app::error::AppError;
use crate::base::error::Failure;

/// The version of every `--json` view; raised when a field changes its meaning or goes away.
pub(super) const JSON_VERSION: u32 = 1;

/// How the person or script wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Text for people.
    Text,
    /// JSON for scripts.
    Json,
}

/// Whether a line of data could not be written: a full disk behind a redirection, mostly.
static LOST: AtomicBool = AtomicBool::new(false);

/// The exit code of a run that ended in `code`: what was not written was not done.
pub(super) fn settled(output: Output, code: u8) -> u8 {
    if code != 0 || !LOST.load(Ordering::Relaxed) {
        return code;
    }
    let source = io::Error::other("lines were lost");
    output.failure(&AppError::Unwritable { path: "standard output".into(), source }.into())
}

/// The two streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Text or JSON.
    pub(super) style: Style,
    /// Whether progress is wanted.
    pub(super) quiet: bool,
}

impl Output {
    /// Whether results are wanted as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// One line of data.
    pub(super) fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            // A reader that went away has what it wanted.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => LOST.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Standard output for data that may be long.
    pub(super) fn stream(self) -> Stream {
        Stream { out: BufWriter::with_capacity(STREAM_BYTES, io::stdout().lock()), failed: None }
    }

    /// One JSON value on a line of its own.
    pub(super) fn json<T: Serialize>(&self, value: &T) {
        match serde_json::to_string(value) {
            Ok(text) => self.line(&text),
            Err(error) => self.talk(&format!("this result cannot be written as JSON: {error}")),
        }
    }

    /// One line of talk.
    pub(super) fn talk(&self, text: &str) {
        let mut err = io::stderr().lock();
        finish(writeln!(err, "{text}"));
    }

    /// Prints a failure the way its reader wants it and gives the exit code.
    pub(super) fn failure(&self, failure: &Failure) -> u8 {
        let code = failure.class().exit_code();
        if self.is_json() {
            self.json(&serde_json::json!({
                "version": JSON_VERSION,
                "error": {
                    "code": failure.code(),
                    "message": failure.message(),
                    "next": failure.hint(),
                    "exit": code,
                },
            }));
        }
        self.talk(&format!("error[{}]: {}", failure.code(), escape(&failure.message())));
        if let Some(hint) = failure.hint() {
            self.talk(&format!("  next: {}", escape(&hint)));
        }
        code
    }
}

/// Buffered up to this.
const STREAM_BYTES: usize = 256 * 1024;

/// Long data on its way to standard output. Unlike a line of talk it may not get lost: whoever
/// redirects it to a disk that is full must hear of it.
pub(super) struct Stream {
    out: BufWriter<StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Stream {
    /// Takes bytes; breaks off when nothing more can be written.
    pub(super) fn put(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        match self.out.write_all(bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// One JSON value on a line of its own.
    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> ControlFlow<()> {
        let mut line = serde_json::to_vec(value).unwrap_or_default();
        line.push(b'\n');
        self.put(&line)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When something was not written, unless its reader went away.
    pub(super) fn finish(mut self) -> Result<(), AppError> {
        let failed = self.failed.take().or_else(|| self.out.flush().err());
        match failed {
            Some(source) if source.kind() != io::ErrorKind::BrokenPipe => {
                Err(AppError::Unwritable { path: "standard output".into(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Whether a person watches the progress.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Text with its control characters made visible, so that no name can move the cursor or hide a line.
pub(super) fn escape(text: &str) -> String {
    crate::base::display::text(text)
}

/// What is said below a list that names only the first of so many.
pub(super) fn more(count: u64, named: usize) -> Option<String> {
    let unnamed = count.saturating_sub(u64::try_from(named).unwrap_or(u64::MAX));
    (unnamed > 0).then(|| format!("... and {unnamed} more"))
}

/// A reader that went away has what it wanted; nothing else can be told to anybody.
fn finish(result: io::Result<()>) {
    drop(result);
}

#[cfg(test)]
mod tests {
    use super::more;

    #[test]
    fn what_a_list_leaves_out_is_counted() {
        assert_eq!(more(120, 100).as_deref(), Some("... and 20 more"));
        assert_eq!(more(100, 100), None);
    }
}
