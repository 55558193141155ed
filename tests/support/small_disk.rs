//! A small file system in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted for a test, unmounted in the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: PathBuf, mib: u32) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root: it mounts");
        std::fs::create_dir_all(&at).expect("made");
        let options = format!("size={mib}m,mode=755");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "lifeboat-test"]).arg(&at).status();
        assert!(status.expect("mount runs").success(), "this test needs the right to mount");
        Self(at)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes so much.
    pub(crate) fn take(&self, mib: usize) {
        std::fs::write(self.0.join("filler"), vec![0; mib << 20]).expect("written");
    }

    /// Takes all the space that is left.
    pub(crate) fn fill(&self) {
        let status = Command::new("sh")
            .args(["-c", "cat /dev/zero > \"$1/filler\" 2>/dev/null; true", "sh"])
            .arg(&self.0)
            .status();
        assert!(status.expect("sh runs").success());
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
