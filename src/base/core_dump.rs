//! Memory that must not reach a disk: keys live in it.
//!
//! A core dump would write every key of the process into a file, or hand it to whatever program the
//! system collects dumps with. What this can't keep from happening is that memory is swapped out:
//! machines that need that kept from happening encrypt their swap.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps of this process and, until they start another program, those it forks: for
/// the size of files (which programs started from here inherit), and for collectors, who don't ask
/// for it. The same makes the process's memory unreadable to others of the same user.
///
/// # Errors
/// Whatever the system says; what could be done was done.
pub fn forbid() -> io::Result<()> {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}
