//! Stepping back behind other processes: for the processors, and for the disks.
//!
//! Called while the process has one thread: Linux keeps both of each thread, and those that are
//! started later get what their starter had. A process only ever steps back, so that one that was
//! started quieter than its configuration says stays so.

use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::str::FromStr;

use rustix::process::{getpriority_process, setpriority_process};

/// How a process takes its turn at a disk. Only schedulers that know priorities heed it (BFQ; with
/// `none` and `mq-deadline`, usual for solid-state disks, it changes little or nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoPriority {
    /// When nobody else wants the disk.
    Idle,
    /// Among all others: 0 first, 7 last.
    BestEffort(u8),
}

/// Text that names no turn at a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no priority for disks; idle and best-effort 0 to best-effort 7 are")]
pub struct NotAPriority(String);

impl FromStr for IoPriority {
    type Err = NotAPriority;

    fn from_str(text: &str) -> Result<Self, NotAPriority> {
        let words: Vec<&str> = text.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["idle"] => Ok(Self::Idle),
            ["best-effort", level] if level.len() == 1 => match level.parse() {
                Ok(level @ 0..=7) => Ok(Self::BestEffort(level)),
                _ => Err(NotAPriority(text.chars().take(40).collect())),
            },
            _ => Err(NotAPriority(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for IoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::BestEffort(level) => write!(f, "best-effort {level}"),
        }
    }
}

/// Gives this process this niceness, 0 to 19, unless it is nicer already.
///
/// # Errors
/// The operating system's.
pub fn step_back_cpu(nice: u8) -> io::Result<()> {
    let nice = i32::from(nice.min(19));
    if getpriority_process(None)? < nice {
        setpriority_process(None, nice)?;
    }
    Ok(())
}

/// Gives this process this turn at the disks. The system's own `ionice` does it (util-linux, in
/// every Debian; busybox has one): the call needs unsafe code, and no kept crate wraps it.
///
/// # Errors
/// When there is no `ionice`, or it refuses.
pub fn step_back_io(priority: IoPriority) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let mut ionice = Command::new("ionice");
    match priority {
        IoPriority::Idle => ionice.args(["-c", "3"]),
        IoPriority::BestEffort(level) => ionice.args(["-c", "2", "-n", &level.to_string()]),
    };
    ionice.args(["-p", &pid]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = ionice.status()?;
    if ended.success() { Ok(()) } else { Err(io::Error::other(format!("ionice ended with {ended}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_read_as_written() {
        for (text, priority) in [
            ("idle", IoPriority::Idle),
            ("best-effort 7", IoPriority::BestEffort(7)),
            ("best-effort:0", IoPriority::BestEffort(0)),
        ] {
            assert_eq!(text.parse(), Ok(priority));
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        for text in ["", "realtime", "best-effort", "best-effort 8", "best-effort -1", "idle 3", "7"] {
            assert!(text.parse::<IoPriority>().is_err(), "{text}");
        }
    }
}
