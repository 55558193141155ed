//! The mark of a restore that has not ended, and what may be believed of what stands there.
//!
//! With it the same command goes on after an interruption, without leave to overwrite anything
//! else. When the machine itself stopped meanwhile, sizes and times prove nothing: a file system
//! may have kept them and lost the bytes.

use crate::base::boot::boot_id;
use crate::codec::hash;
use crate::engine::error::EngineError;
use crate::source::files::{Destination, Existing, Marks};

use super::request::{Mode, RestoreRequest};

const HEAD: &str = "lifeboat restore 1";

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
}

/// Reads the marks and leaves one.
///
/// # Errors
/// When the destination can't be listed or written.
pub(super) fn begin(
    destination: &Destination,
    request: &RestoreRequest,
    refuse: impl FnOnce() -> Result<(), EngineError>,
) -> Result<Beginning, EngineError> {
    let boot = boot_id();
    let asked = asked(request);
    let Marks { own, others } = destination.marks()?;
    let goes_on = own.as_deref().is_some_and(|text| field(text, "asked") == Some(asked.as_bytes()));
    let is_of_this_boot = |text: &[u8]| !boot.is_empty() && field(text, "boot") == Some(boot.as_bytes());
    let survived = own.iter().chain(&others).all(|text| is_of_this_boot(text));
    let by = if survived && request.mode != Mode::WriteAndCheck { Evidence::Stat } else { Evidence::Content };
    let compares = (goes_on || request.existing != Existing::Refuse).then_some(by);
    if compares.is_none() {
        refuse()?;
    }
    // An older mark of ours tells more than a new one would.
    if !goes_on {
        let boot = if survived { boot.as_str() } else { "before" };
        destination.mark(format!("{HEAD}\nasked {asked}\nboot {boot}\n").as_bytes())?;
    }
    Ok(Beginning { compares, goes_on })
}

/// Tells one selection of paths from another.
fn asked(request: &RestoreRequest) -> String {
    let mut paths: Vec<&[u8]> = request.paths.iter().map(Vec::as_slice).collect();
    paths.sort_unstable();
    hex::encode(hash::plain(&[&paths.join(&0)]))
}

fn field<'t>(text: &'t [u8], name: &str) -> Option<&'t [u8]> {
    let mut lines = text.split(|byte| *byte == b'\n');
    (lines.next() == Some(HEAD.as_bytes())).then_some(())?;
    lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_is_none_says_nothing() {
        let text = b"lifeboat restore 1\nasked ab\nboot cd\n";
        assert_eq!(field(text, "boot"), Some(&b"cd"[..]));
        assert_eq!(field(text, "paths"), None);
        assert_eq!(field(b"lifeboat restore 2\nboot cd\n", "boot"), None);
        assert_eq!(field(b"", "boot"), None);
        assert_eq!(field(&[0xff; 64], "boot"), None);
    }
}
