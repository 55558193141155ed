//! The evidence folder, for people: its check, and where reports are.

use std::path::{Path, PathBuf};

use super::error::AppError;
use crate::base::error::Failure;
use crate::evidence::key::PublicKey;
use crate::evidence::verify::{Trust, VerifyReport, verify};

/// What the check of a folder found.
pub type Verified = VerifyReport;

/// Checks an evidence folder offline.
///
/// # Errors
/// When there is no such folder, or the key that was named is none.
pub fn verify_folder(dir: &Path, pub_key: Option<&Path>, heads: &[PathBuf]) -> Result<Verified, Failure> {
    let public_key = match pub_key {
        Some(path) => {
            let what = "the public key";
            let text = std::fs::read_to_string(path).map_err(|source| AppError::Unreadable {
                what,
                path: path.to_owned(),
                source,
            })?;
            let key = PublicKey::from_pem(&text).ok_or_else(|| AppError::Usage {
                what: format!("{} is no Ed25519 public key in PEM", path.display()),
                hint: "give the key.pub.pem that you kept when the log was begun".to_owned(),
            })?;
            Some(key)
        }
        None => None,
    };
    Ok(verify(dir, &Trust { public_key, outside_heads: heads.to_vec() })?)
}

/// The JSON of a report: the one named, or the newest.
///
/// # Errors
/// When there is none.
pub fn newest_report(evidence: &Path, id: Option<&str>) -> Result<PathBuf, Failure> {
    let folder = evidence.join("reports");
    let nothing =
        |what: String| AppError::Nothing { what, hint: "`lifeboat drill run` makes one".to_owned() };
    if let Some(id) = id {
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let path = folder.join(format!("{id}.json"));
        return if plain && path.is_file() {
            Ok(path)
        } else {
            Err(nothing(format!("there is no report {}", crate::base::display::text(id))).into())
        };
    }
    let mut reports: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    reports.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    reports.sort();
    reports.pop().ok_or_else(|| nothing("there is no report yet".to_owned()).into())
}
