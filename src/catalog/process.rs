//! Who holds a run: a process of this machine, named so that another one never passes for it.
//!
//! A process id is given out again, also within minutes; together with the machine's boot and
//! the process's start it is not. Reads `/proc`; where that isn't there, every process counts as
//! alive, so that nothing is ever run twice.

use std::path::Path;

use crate::base::boot::boot_id;

use serde::{Deserialize, Serialize};

/// A process that holds a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The kernel's id of this boot; empty where there is none.
    pub boot_id: String,
    /// Process id.
    pub pid: u32,
    /// The process's start, in clock ticks since boot; 0 where that is unknown.
    pub started_ticks: u64,
}

impl Holder {
    /// The process that asks.
    pub fn this_process() -> Self {
        Self::of(std::process::id())
    }

    /// The process of this number.
    pub(crate) fn of(pid: u32) -> Self {
        Self { boot_id: boot_id(), pid, started_ticks: started_ticks(pid).unwrap_or(0) }
    }

    /// Whether that process still exists.
    pub fn is_alive(&self) -> bool {
        let boot_id = boot_id();
        if boot_id.is_empty() || self.boot_id.is_empty() {
            return true;
        }
        self.boot_id == boot_id
            && match started_ticks(self.pid) {
                Some(ticks) => ticks == self.started_ticks,
                // Of another user, where processes are hidden from each other: it counts as alive.
                None => is_hidden(self.pid),
            }
    }
}

/// Whether there is a process with this number that may not be looked at.
fn is_hidden(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::PERM))
}

/// Field 22 of `/proc/PID/stat` (proc(5)); the name before it may hold anything, also brackets.
/// A process that has ended and waits for its parent to notice counts as gone.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
    let state = after_name.next()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    after_name.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_like_are_not() {
        let this = Holder::this_process();
        assert!(this.is_alive());
        assert!(!Holder { started_ticks: this.started_ticks + 1, ..this.clone() }.is_alive());
        assert!(!Holder { boot_id: "another".to_owned(), ..this }.is_alive());
    }

    #[test]
    fn a_child_that_has_ended_is_not_alive_even_before_its_parent_looks() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        let started_ticks = started_ticks(child.id()).expect("it runs");
        let holder = Holder { boot_id: boot_id(), pid: child.id(), started_ticks };
        assert!(holder.is_alive());
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(!holder.is_alive());
    }
}
