//! Requests to web addresses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::error::AlertError;
use super::form::{self, Request};
use super::notice::Notice;
use super::secret;
use crate::base::clock::Timestamp;
use crate::policy::model::Hook;

/// From the first look at the name to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Of an answer so much is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Posts a notice.
///
/// # Errors
/// A file that can't be used; a server that can't be reached or doesn't take it.
pub fn post(hook: &Hook, notice: &Notice, now: Timestamp) -> Result<(), AlertError> {
    let url = secret::read("the address file", &hook.url_file)?;
    let key = hook.secret_file.as_deref().map(|path| secret::read("the secret file", path)).transpose()?;
    let request = form::request(hook.form, notice, key.as_ref().map(|key| key.as_str()), now);
    let answer = send(&agent(hook.ca_file.as_deref())?, &url, &request)?;
    form::refusal(hook.form, &answer).map_or(Ok(()), |cause| Err(AlertError::Refused { cause }))
}

/// Lets a heart beat: asks for an address.
///
/// # Errors
/// As [`post`].
pub fn beat(url_file: &Path) -> Result<(), AlertError> {
    let url = secret::read("the address file", url_file)?;
    let mut answer = agent(None)?.get(url.as_str()).call().map_err(unreached)?;
    read(&mut answer).map(drop)
}

fn send(agent: &Agent, url: &str, request: &Request) -> Result<String, AlertError> {
    let mut call = agent.post(url);
    for (name, value) in &request.headers {
        call = call.header(*name, value);
    }
    for (name, value) in &request.query {
        call = call.query(*name, value);
    }
    let mut answer = call.send(request.body.as_str()).map_err(unreached)?;
    read(&mut answer)
}

fn read(answer: &mut ureq::http::Response<ureq::Body>) -> Result<String, AlertError> {
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    let said: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
    let cause = format!("{} {said}", status.as_u16());
    // What passes by itself is for another attempt; the rest, too, but it says what is wrong.
    Err(if status.is_server_error() || status.as_u16() == 429 {
        AlertError::Unreached { cause }
    } else {
        AlertError::Refused { cause }
    })
}

/// Without the address, which is a secret.
fn unreached(error: ureq::Error) -> AlertError {
    let cause = match error {
        ureq::Error::Timeout(_) => "it took longer than 15 seconds".to_owned(),
        ureq::Error::HostNotFound => "its name is unknown".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the address is none".to_owned(),
        ureq::Error::ConnectionFailed => "nobody answers there".to_owned(),
        ureq::Error::TooManyRedirects => "it sends from place to place".to_owned(),
        ureq::Error::Tls(words) => format!("TLS: {words}"),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        _ => "the request could not be made".to_owned(),
    };
    AlertError::Unreached { cause }
}

fn agent(ca_file: Option<&Path>) -> Result<Agent, AlertError> {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(roots(ca_file)?)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(3)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}

/// The authorities of a file, or the system's.
fn roots(ca_file: Option<&Path>) -> Result<RootCerts, AlertError> {
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs().certs;
        let certificates: Vec<Certificate<'static>> =
            found.iter().map(|one| Certificate::from_der(one.as_ref()).to_owned()).collect();
        return Ok(RootCerts::new_with_certs(&certificates));
    };
    let fail =
        |cause: String| AlertError::Secret { what: "the file of certificates", path: path.to_owned(), cause };
    let bytes = secret::certificates(path)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(fail("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
