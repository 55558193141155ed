//! An HTTP/1.1 proxy in this process that breaks some of the requests between client and server.
//!
//! Each connection carries one request: the answer is asked for and passed on with
//! `Connection: close`, so no body has to be understood. The client's headers travel unchanged,
//! which keeps its signature valid.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// `500 InternalError`, without asking the server.
    InternalError,
    /// `503 SlowDown`, without asking the server.
    SlowDown,
    /// `429` that asks for a pause of no seconds, without asking the server.
    TooMany,
    /// `502` with a page of a load balancer, not of S3.
    BadGateway,
    /// The connection ends before the server is asked.
    ResetBefore,
    /// The connection ends in the middle of the request's body.
    ResetInRequest,
    /// The server has done it; half of the answer comes.
    ResetInAnswer,
    /// The server has done it; nothing of the answer comes.
    LostAnswer,
    /// The last byte of the answer is missing.
    ShortAnswer,
}

/// All of them, to draw from.
pub(crate) const BREAKS: [Break; 9] = [
    Break::InternalError,
    Break::SlowDown,
    Break::TooMany,
    Break::BadGateway,
    Break::ResetBefore,
    Break::ResetInRequest,
    Break::ResetInAnswer,
    Break::LostAnswer,
    Break::ShortAnswer,
];

type Choose = dyn Fn(u64) -> Option<Break> + Send + Sync;
type Refuses = dyn Fn(&str) -> bool + Send + Sync;

/// Runs until dropped.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    broken: Arc<AtomicU64>,
    traffic: Arc<Traffic>,
}

/// What went through.
#[derive(Default)]
struct Traffic {
    requests: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

impl FaultProxy {
    /// In front of `http://HOST:PORT`. `choose` gets the number of the request, from 0.
    pub(crate) fn start(
        endpoint: &str,
        choose: impl Fn(u64) -> Option<Break> + Send + Sync + 'static,
    ) -> Self {
        Self::far(endpoint, Duration::ZERO, choose)
    }

    /// The same, far away: each answer takes that long on its way.
    pub(crate) fn far(
        endpoint: &str,
        delay: Duration,
        choose: impl Fn(u64) -> Option<Break> + Send + Sync + 'static,
    ) -> Self {
        Self::between(endpoint, delay, Box::new(choose), Box::new(|_| false))
    }

    /// A store that knows less: requests whose head (in small letters) it `refuses` are answered
    /// `501 NotImplemented`, without asking the server.
    pub(crate) fn lesser(endpoint: &str, refuses: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::between(endpoint, Duration::ZERO, Box::new(|_| None), Box::new(refuses))
    }

    fn between(endpoint: &str, delay: Duration, choose: Box<Choose>, refuses: Box<Refuses>) -> Self {
        let server = endpoint.strip_prefix("http://").expect("the test server speaks http").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, broken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let traffic = Arc::new(Traffic::default());
        let proxy = Self { address, stop: stop.clone(), broken: broken.clone(), traffic: traffic.clone() };
        let (choose, refuses): (Arc<Choose>, Arc<Refuses>) = (choose.into(), refuses.into());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let (server, choose, refuses) = (server.clone(), choose.clone(), refuses.clone());
                let (traffic, broken) = (traffic.clone(), broken.clone());
                std::thread::spawn(move || {
                    let next = || {
                        let fault = choose(traffic.requests.fetch_add(1, Ordering::SeqCst));
                        broken.fetch_add(u64::from(fault.is_some()), Ordering::SeqCst);
                        let now = traffic.now.fetch_add(1, Ordering::SeqCst) + 1;
                        traffic.most.fetch_max(now, Ordering::SeqCst);
                        wait(delay);
                        traffic.now.fetch_sub(1, Ordering::SeqCst);
                        fault
                    };
                    // A client that hangs up is no failure of the proxy.
                    drop(carry(client, &server, next, refuses.as_ref()));
                });
            }
        });
        proxy
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> u64 {
        self.traffic.requests.load(Ordering::SeqCst)
    }

    /// How many requests were on their way at one moment, at most.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.traffic.most.load(Ordering::SeqCst)
    }

    /// How many requests were broken so far.
    pub(crate) fn broken(&self) -> u64 {
        self.broken.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

fn carry(
    mut client: TcpStream,
    server: &str,
    next: impl Fn() -> Option<Break>,
    refuses: &Refuses,
) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let Some((head, mut body)) = read_head(&mut client)? else { return Ok(()) };
    let fault = next();
    if fault == Some(Break::ResetBefore) {
        return Ok(());
    }
    let len = content_length(&head);
    let wanted = if fault == Some(Break::ResetInRequest) { len / 2 } else { len };
    let have = body.len();
    body.resize(wanted.max(have), 0);
    client.read_exact(&mut body[have..])?;
    if fault == Some(Break::ResetInRequest) && len > 0 {
        return Ok(());
    }
    if refuses(&String::from_utf8_lossy(&head).to_ascii_lowercase()) {
        let words = "<Error><Code>NotImplemented</Code><Message>not here</Message></Error>";
        return client.write_all(&canned("501 Not Implemented", "", words));
    }
    let answer = match fault {
        Some(Break::InternalError) => {
            canned("500 Internal Server Error", "", "<Error><Code>InternalError</Code></Error>")
        }
        Some(Break::SlowDown) => {
            canned("503 Service Unavailable", "", "<Error><Code>SlowDown</Code></Error>")
        }
        Some(Break::TooMany) => canned("429 Too Many Requests", "Retry-After: 0\r\n", ""),
        Some(Break::BadGateway) => canned("502 Bad Gateway", "", "<html>bad gateway</html>"),
        _ => ask(server, &head, &body)?,
    };
    let sent = match fault {
        Some(Break::LostAnswer) => 0,
        Some(Break::ResetInAnswer) => answer.len() / 2,
        Some(Break::ShortAnswer) => answer.len().saturating_sub(1),
        _ => answer.len(),
    };
    client.write_all(&answer[..sent])
}

fn canned(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into()
}

/// The head with its empty line, and what of the body came with it; `None` when nothing came.
fn read_head(client: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let got = client.read(&mut piece)?;
        if got == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..got]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok(Some((bytes, body)));
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines()
        .find_map(|line| line.strip_prefix("content-length:").and_then(|value| value.trim().parse().ok()))
        .unwrap_or(0)
}

/// Asks the server and gives its whole answer, without interim ones (`100 Continue`).
fn ask(server: &str, head: &[u8], body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let line_end = head.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
    stream.write_all(&head[..line_end])?;
    stream.write_all(b"Connection: close\r\n")?;
    stream.write_all(&head[line_end..])?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    while answer.starts_with(b"HTTP/1.1 100") {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        answer.drain(..end);
    }
    Ok(answer)
}

/// The distance itself; nothing is synchronised by it.
fn wait(delay: Duration) {
    let (_never, nothing) = std::sync::mpsc::channel::<()>();
    let _ = nothing.recv_timeout(delay);
}
