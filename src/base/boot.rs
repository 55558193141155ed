//! Which start of the machine this is.

use std::sync::OnceLock;

/// The kernel's random id of this boot; empty where there is none. Read once: no process outlives it.
pub fn boot_id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    })
    .clone()
}
