//! Who we are to the store: a private file, or the usual chain within a bounded time.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient};
use zeroize::Zeroizing;

use super::options::S3Options;
use crate::storage::contract::StorageError;

/// Looking for credentials may not take longer: without a network the instance's own service
/// would be asked for minutes.
const CHAIN_SECONDS_MAX: u64 = 15;
/// A file of credentials is a few lines.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The SDK's configuration with credentials that were there just now.
pub(super) async fn load(
    options: &S3Options,
    client: Option<SharedHttpClient>,
    label: &str,
) -> Result<SdkConfig, StorageError> {
    let denied = |reason: String| StorageError::Denied {
        place: label.to_owned(),
        action: "finding credentials".to_owned(),
        reason,
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(client) = client {
        loader = loader.http_client(client);
    }
    let region = options.region.clone().or(options.endpoint.as_ref().map(|_| "us-east-1".to_owned()));
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(file) = &options.credentials_file {
        let credentials = read_file(file).map_err(|error| denied(format!("{}: {error}", file.display())))?;
        loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
    }
    let found = tokio::time::timeout(Duration::from_secs(CHAIN_SECONDS_MAX), async {
        let config = loader.load().await;
        let provider = config.credentials_provider();
        let credentials = match &provider {
            Some(provider) => provider.provide_credentials().await.map(drop).map_err(|e| e.to_string()),
            None => Err("there are none".to_owned()),
        };
        credentials.map(|()| config)
    })
    .await;
    match found {
        Ok(Ok(config)) => Ok(config),
        Ok(Err(reason)) => {
            Err(denied(format!("{reason} (looked in the environment, the profile, and the machine's role)")))
        }
        Err(_) => Err(denied(format!("none came within {CHAIN_SECONDS_MAX} s"))),
    }
}

/// Reads `AWS_*` lines from a file that nobody else may read.
fn read_file(path: &Path) -> io::Result<Credentials> {
    parse(&read_text(path)?)
}

/// The file's text, when nobody else may read it.
pub(super) fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let reason = format!("others may read it (mode {:03o}); run `chmod 600` on it", mode & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// What the text says of a name.
pub(super) fn value_of(text: &str, wanted: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("export ");
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (key.trim() == wanted && !value.is_empty()).then(|| value.to_owned())
    })
}

fn parse(text: &str) -> io::Result<Credentials> {
    let value_of = |wanted: &str| value_of(text, wanted);
    // Names only: a line that is wrong may be a secret.
    let needed = |key: &str| {
        value_of(key)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("there is no line {key}=...")))
    };
    Ok(Credentials::new(
        needed("AWS_ACCESS_KEY_ID")?,
        needed("AWS_SECRET_ACCESS_KEY")?,
        value_of("AWS_SESSION_TOKEN"),
        None,
        "credentials file",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_with_quotes_comments_and_export() {
        let text = "# a comment\nexport AWS_ACCESS_KEY_ID=\"id\"\nAWS_SECRET_ACCESS_KEY = 's=cret'\n\nAWS_SESSION_TOKEN=\n";
        let credentials = parse(text).expect("parsed");
        assert_eq!(credentials.access_key_id(), "id");
        assert_eq!(credentials.secret_access_key(), "s=cret");
        assert_eq!(credentials.session_token(), None);
    }

    #[test]
    fn a_missing_line_is_named_and_no_other_is_shown() {
        let error = parse("AWS_SECRET_ACCESS_KEY=topsecret\nAWS_ACESS_KEY_ID=id\n").expect_err("incomplete");
        assert_eq!(error.to_string(), "there is no line AWS_ACCESS_KEY_ID=...");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n").expect("written");
        let set =
            |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("set");
        set(0o640);
        assert!(read_file(file.path()).is_err_and(|error| error.to_string().contains("chmod 600")));
        set(0o600);
        assert!(read_file(file.path()).is_ok());
    }
}
