//! A child that must not outlive its parent: the parent holds the other end of standard input.
//!
//! The kernel closes that end however the parent ends, a kill included. The death signal of
//! Linux would have to be set between fork and exec, which takes unsafe code, or by the child
//! itself, which leaves a moment in which nobody notices.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::cancel::Cancel;
use super::clock::Clock;

/// Orderly endings get this long before the process kills itself.
const GRACE: Duration = Duration::from_secs(10);

/// Watches standard input on a thread of its own. When it ends, `cancel` is raised, and a process
/// that is still there 10 s later is killed. To be called once, by a process whose parent gave it
/// a pipe.
///
/// # Errors
/// When no thread can be made.
pub fn hold(cancel: Cancel, clock: Arc<dyn Clock>) -> io::Result<()> {
    let watch = move || {
        wait_for_end(io::stdin().lock());
        cancel.cancel();
        clock.sleep(GRACE);
        // Nothing is left to do about a failure.
        kill_process(getpid(), Signal::KILL).ok();
    };
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(watch).map(drop)
}

fn wait_for_end(mut from: impl Read) {
    let mut buffer = [0; 64];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_line_holds_until_the_other_end_is_gone() {
        let (read, mut write) = io::pipe().expect("a pipe");
        let (told, ended) = std::sync::mpsc::channel();
        let watch = std::thread::spawn(move || {
            wait_for_end(read);
            told.send(()).expect("listened to");
        });
        write.write_all(b"bytes are no end").expect("written");
        assert!(ended.try_recv().is_err());
        drop(write);
        ended.recv().expect("told");
        watch.join().expect("ended");
    }
}
