//! What the manager of services (systemd) is told: that the service is ready, lives, or ends. Where there
//! is no manager, nothing is told.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the manager listens.
#[derive(Clone, Debug, Default)]
pub struct Overseer {
    /// `$NOTIFY_SOCKET`: a path, or a name that begins with `@`.
    pub socket: Option<OsString>,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The schedule is followed from now on.
    Ready,
    /// It lives.
    Alive,
    /// It ends, in order.
    Stopping,
}

impl Overseer {
    /// Tells it. That it doesn't listen is its own affair.
    pub fn tell(&self, sign: Sign) {
        let text = match sign {
            Sign::Ready => "READY=1",
            Sign::Alive => "WATCHDOG=1",
            Sign::Stopping => "STOPPING=1",
        };
        let Some(address) = self.socket.as_ref().and_then(address) else { return };
        if let Ok(socket) = UnixDatagram::unbound()
            && socket.set_nonblocking(true).is_ok()
        {
            drop(socket.send_to_addr(text.as_bytes(), &address));
        }
    }
}

fn address(name: &OsString) -> Option<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_at_a_path_or_a_name_and_nobody_is_no_failure() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let named = format!("lifeboat-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&named).expect("a name");
        for (socket, name) in [
            (UnixDatagram::bind(&path).expect("bound"), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).expect("bound"), format!("@{named}").into()),
        ] {
            Overseer { socket: Some(name) }.tell(Sign::Ready);
            let mut bytes = [0; 32];
            let length = socket.recv(&mut bytes).expect("told");
            assert_eq!(&bytes[..length], b"READY=1");
        }
        Overseer { socket: Some("/nowhere/at/all".into()) }.tell(Sign::Alive);
        Overseer::default().tell(Sign::Stopping);
    }
}
