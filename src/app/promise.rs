//! What was read and promised, remembered by its hash: so that a change is known for one.

use crate::base::clock::Timestamp;
use crate::catalog::{Catalog, CatalogError};
use crate::evidence::sha256;
use crate::policy::model::{Configuration, Policy};

/// The record of what the daemon reads. No policy's name has a colon.
const CONFIGURATION: &str = "configuration:";

/// The hash of all files of a configuration: of lines `FILE HASH`, as `sha256sum` would have it.
pub fn configuration_sha256(configuration: &Configuration) -> String {
    let lines = configuration.files().into_iter().map(|file| format!("{} {}\n", file.file, file.sha256));
    sha256::hex(lines.collect::<String>().as_bytes())
}

/// Remembers the configuration that is in force, and each promise in it. Answers whether it is another
/// than before.
///
/// # Errors
/// Of the catalogue.
pub fn record_configuration(
    catalogue: &Catalog,
    configuration: &Configuration,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let sha256 = configuration_sha256(configuration);
    let is_new = catalogue.policy_seen(CONFIGURATION)?.is_none_or(|seen| seen.sha256 != sha256);
    configuration.policies.iter().try_for_each(|policy| record(catalogue, policy, now))?;
    catalogue.record_policy(CONFIGURATION, &sha256, now)?;
    Ok(is_new)
}

/// The hash of the configuration that is in force.
///
/// # Errors
/// Of the catalogue.
pub fn configuration_in_force(catalogue: &Catalog) -> Result<Option<String>, CatalogError> {
    Ok(catalogue.policy_seen(CONFIGURATION)?.map(|seen| seen.sha256))
}

/// Remembers what a policy promises.
///
/// # Errors
/// Of the catalogue.
pub(super) fn record(catalogue: &Catalog, policy: &Policy, now: Timestamp) -> Result<(), CatalogError> {
    let promise = sha256::hex(policy.promise().as_bytes());
    catalogue.record_policy(&name(policy), &promise, now).map(drop)
}

/// When the promise became what it is, if it was another before; the moment now when it is new to the
/// catalogue although another is known.
pub(super) fn changed_at(
    catalogue: &Catalog,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Timestamp>, CatalogError> {
    let promise = sha256::hex(policy.promise().as_bytes());
    Ok(catalogue.policy_seen(&name(policy))?.and_then(|seen| match seen.sha256 == promise {
        false => Some(now),
        true => (seen.changed_at > seen.first_seen_at).then_some(seen.changed_at),
    }))
}

fn name(policy: &Policy) -> String {
    format!("promise:{}", policy.id)
}
