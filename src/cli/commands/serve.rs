//! The numbers for whoever scrapes them: one answer at a time, and nothing else than these.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::app::error::AppError;
use crate::app::metrics::metrics;
use crate::app::site::Site;
use crate::base::error::Failure;
use crate::cli::run::Session;

/// Of a request so much is read.
const REQUEST_BYTES_MAX: u64 = 8192;
/// Who takes longer to ask or to listen is left.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Numbers of this age are given again: a scrape must not cost what its caller likes.
const FRESH: Duration = Duration::from_secs(10);
/// Between looks whether to stop.
const STEP: Duration = Duration::from_millis(200);

/// Serves `/metrics` until told to stop.
///
/// # Errors
/// When the address can't be listened at.
pub(super) fn serve(session: &Session, site: &Site, address: SocketAddr) -> Result<(), Failure> {
    let failed = |source| AppError::NoListening { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let here = listener.local_addr().map_err(failed)?;
    session.output.talk(&format!("listening at http://{here}/metrics"));
    let clock = &session.cx.clock;
    let mut known: Option<(Duration, String)> = None;
    while !session.cx.cancel.is_cancelled() {
        let Ok((stream, _)) = listener.accept() else {
            clock.sleep(STEP);
            continue;
        };
        let now = clock.monotonic();
        if known.as_ref().is_none_or(|(at, _)| now.saturating_sub(*at) >= FRESH) {
            known = match metrics(site) {
                Ok(text) => Some((now, text)),
                Err(failure) => {
                    session.output.talk(&format!("no numbers: {}", failure.message()));
                    None
                }
            };
        }
        // Whoever asks badly or goes away has no more than that of it.
        drop(answer(&stream, known.as_ref().map(|(_, text)| text.as_str())));
    }
    Ok(())
}

fn answer(stream: &TcpStream, text: Option<&str>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut lines = BufReader::new(stream.take(REQUEST_BYTES_MAX)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, kind, body) = match (first.as_str(), text) {
        (request, _) if !request.starts_with("GET /metrics ") => {
            ("404 Not Found", "text/plain", "/metrics\n")
        }
        (_, Some(text)) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", text),
        (_, None) => ("500 Internal Server Error", "text/plain", "the state cannot be read\n"),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
