//! Carries bytes between a client and a server on this machine, and notes when how many went up.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat::base::clock::{Clock, SystemClock};

/// Runs until the test's process ends.
pub(crate) struct Relay {
    address: SocketAddr,
    up: Arc<Mutex<Vec<(Duration, usize)>>>,
    down: Arc<Mutex<Vec<(Duration, usize)>>>,
}

impl Relay {
    /// In front of `http://HOST:PORT`, with times of this clock.
    pub(crate) fn start(endpoint: &str, clock: &Arc<SystemClock>) -> Self {
        let server = endpoint.strip_prefix("http://").expect("the test server speaks http").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let relay =
            Self { address: listener.local_addr().expect("bound"), up: Arc::default(), down: Arc::default() };
        let (up, down, clock) = (relay.up.clone(), relay.down.clone(), clock.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let server = TcpStream::connect(&server).expect("the server answers");
                let ways = [
                    (
                        client.try_clone().expect("a socket"),
                        server.try_clone().expect("a socket"),
                        up.clone(),
                    ),
                    (server, client, down.clone()),
                ];
                for (from, to, seen) in ways {
                    let clock = clock.clone();
                    std::thread::spawn(move || carry(from, to, &seen, &clock));
                }
            }
        });
        relay
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What went to the server since the last call: when, and how many bytes.
    pub(crate) fn take_up(&self) -> Vec<(Duration, usize)> {
        std::mem::take(&mut self.up.lock().expect("nobody panics"))
    }

    /// What came from it.
    pub(crate) fn take_down(&self) -> Vec<(Duration, usize)> {
        std::mem::take(&mut self.down.lock().expect("nobody panics"))
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<(Duration, usize)>>, clock: &SystemClock) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        seen.lock().expect("nobody panics").push((clock.monotonic(), bytes));
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
