//! Letters.

use std::collections::BTreeSet;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

use super::error::AlertError;
use super::notice::Notice;
use super::secret;
use crate::policy::model::{Mail, MailTls};

/// For each word of the conversation.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Sends a notice to the people that it names, and to the notifier's own addresses.
///
/// # Errors
/// A file that can't be used; nobody to write to; a server that can't be reached or doesn't take it.
pub fn send(mail: &Mail, notice: &Notice) -> Result<(), AlertError> {
    let people = notice.people.iter().filter_map(|person| person.mail.as_ref());
    let addresses: BTreeSet<&String> = people.chain(&mail.to).collect();
    if addresses.is_empty() {
        return Err(AlertError::NoAddress);
    }
    let mailbox = |address: &str| -> Result<Mailbox, AlertError> {
        address.parse().map_err(|error| AlertError::Refused { cause: format!("{address}: {error}") })
    };
    let mut letter = Message::builder().from(mailbox(&mail.from)?).subject(notice.subject());
    for address in addresses {
        letter = letter.to(mailbox(address)?);
    }
    // What answers by itself must not answer this.
    let header = |name: &'static str, value: &str| {
        HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
    };
    let letter = letter
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Lifeboat-Incident", &notice.incident))
        .header(ContentType::TEXT_PLAIN)
        .body(notice.text())
        .map_err(|error| AlertError::Refused { cause: error.to_string() })?;
    transport(mail)?.send(&letter).map(drop).map_err(|error| {
        let cause = error.to_string();
        if error.is_permanent() { AlertError::Refused { cause } } else { AlertError::Unreached { cause } }
    })
}

fn transport(mail: &Mail) -> Result<SmtpTransport, AlertError> {
    let mut transport = SmtpTransport::builder_dangerous(&mail.host)
        .port(mail.port)
        .timeout(Some(TIMEOUT))
        .tls(match mail.tls {
            MailTls::Tls => Tls::Wrapper(parameters(mail)?),
            MailTls::StartTls => Tls::Required(parameters(mail)?),
            MailTls::None => Tls::None,
        });
    if let Some(path) = &mail.credentials_file {
        let what = "the credentials file";
        let text = secret::read(what, path)?;
        let mut lines = text.lines().map(str::trim);
        let (Some(user), Some(password)) = (lines.next(), lines.next()) else {
            let cause = "it has to hold the user's name and the password, a line each".to_owned();
            return Err(AlertError::Secret { what, path: path.clone(), cause });
        };
        transport = transport.credentials(Credentials::new(user.to_owned(), password.to_owned()));
    }
    Ok(transport.build())
}

fn parameters(mail: &Mail) -> Result<TlsParameters, AlertError> {
    let mut parameters = TlsParameters::builder(mail.host.clone());
    if let Some(path) = &mail.ca_file {
        let fail = |cause: String| AlertError::Secret {
            what: "the file of certificates",
            path: path.clone(),
            cause,
        };
        let bytes = secret::certificates(path)?;
        let certificate = Certificate::from_pem(&bytes).map_err(|error| fail(error.to_string()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    parameters.build().map_err(|error| AlertError::Unreached { cause: error.to_string() })
}
