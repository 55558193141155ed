//! The gate for changes that make a promise weaker: what somebody may have done by mistake, or in malice,
//! removes nothing before a person has said that it is meant.
//!
//! Each policy's file is held against what was last agreed. Where it is weaker, a hold is placed; while
//! it stands, nothing of the policy is removed. To release it is to agree. A file that is no longer
//! weaker releases it by itself.

use super::outbox::tell;
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::holds::{Hold, NewHold};
use crate::catalog::promises::Agreed;
use crate::catalog::words::HoldKind;
use crate::catalog::{Catalog, CatalogError};
use crate::policy::model::{Configuration, Policy};
use crate::policy::weaker::{Promise, sentence};

/// Who places and releases these holds when no person does. No user's name has a blank.
const ITSELF: &str = "lifeboat itself";
/// Why a policy that is configured no longer is held.
const GONE: &str = "the policy is no longer configured; its copies stay where they are";

/// Looks at all policies, and at those that are gone.
///
/// # Errors
/// Of the catalogue.
pub fn follow(
    catalogue: &Catalog,
    configuration: &Configuration,
    now: Timestamp,
) -> Result<(), CatalogError> {
    for policy in &configuration.policies {
        follow_policy(catalogue, policy, now)?;
    }
    for gone in gone(catalogue, configuration)? {
        let holds = standing(catalogue, &gone)?;
        if !holds.iter().any(|hold| hold.reason == GONE) {
            catalogue.place_hold(&new(&gone, GONE), now)?;
        }
    }
    Ok(())
}

/// Looks at one.
///
/// # Errors
/// Of the catalogue.
pub(super) fn follow_policy(
    catalogue: &Catalog,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let id = policy.id.as_str();
    let Some(agreed) = catalogue.agreed(id)? else { return agree(catalogue, policy, now) };
    if agreed.version == policy.version.sha256 {
        return release_all(catalogue, &agreed, "it is what it was again", now);
    }
    let weaker = match serde_json::from_str::<Promise>(&agreed.body) {
        Ok(before) => Promise::of(policy).weaker_than(&before),
        Err(error) => vec![format!("what was promised before cannot be read: {error}")],
    };
    if weaker.is_empty() {
        release_all(catalogue, &agreed, "nothing is weaker than what was agreed any more", now)?;
        return agree(catalogue, policy, now);
    }
    let reason = sentence(&weaker);
    let holds = catalogue.holds_since(id, HoldKind::Weakened, agreed.at)?;
    let about_it = || holds.iter().filter(|hold| hold.reason == reason);
    if about_it().any(|hold| hold.released_by.as_deref().is_some_and(|by| by != ITSELF)) {
        // Two processes that looked at once placed one each.
        release_all(catalogue, &agreed, "a person agreed to the same", now)?;
        return agree(catalogue, policy, now);
    }
    if about_it().any(|hold| hold.released_by.is_none()) {
        return Ok(());
    }
    release_all(catalogue, &agreed, "another change has taken its place", now)?;
    catalogue.place_hold(&new(id, &reason), now)?;
    Ok(())
}

/// A person has released a hold: what it was about is agreed.
pub(super) fn released(site: &Site, catalogue: &Catalog, hold: &Hold) -> Result<(), Failure> {
    if hold.kind != HoldKind::Weakened {
        return Ok(());
    }
    match site.configuration.policy(&hold.policy) {
        Some(policy) => follow_policy(catalogue, policy, site.cx.clock.now())?,
        None if hold.reason == GONE => {
            catalogue.end_promise(&hold.policy)?;
            let because = "nothing is promised about the policy any more";
            for other in standing(catalogue, &hold.policy)? {
                catalogue.release_hold(&other.id, ITSELF, because, site.cx.clock.now())?;
            }
        }
        None => {}
    }
    Ok(())
}

/// The policies that are no longer configured, and of which nobody has said that they should not be.
///
/// # Errors
/// When the catalogue cannot be read.
pub fn gone_policies(site: &Site) -> Result<Vec<String>, Failure> {
    Ok(gone(&site.catalogue()?, &site.configuration)?)
}

/// The holds that wait for somebody to agree, after a look at the files as they are.
///
/// # Errors
/// When the catalogue or the evidence log cannot be written.
pub fn unagreed(site: &Site) -> Result<Vec<Hold>, Failure> {
    let catalogue = site.catalogue()?;
    follow(&catalogue, &site.configuration, site.cx.clock.now())?;
    tell(&catalogue, &site.evidence()?)??;
    let mut holds = catalogue.standing_holds(None)?;
    holds.retain(|hold| hold.kind == HoldKind::Weakened);
    Ok(holds)
}

/// The policies that something was promised about and that are no longer configured.
pub(super) fn gone(catalogue: &Catalog, configuration: &Configuration) -> Result<Vec<String>, CatalogError> {
    let mut gone = catalogue.promised()?;
    gone.retain(|id| configuration.policy(id).is_none());
    Ok(gone)
}

fn agree(catalogue: &Catalog, policy: &Policy, at: Timestamp) -> Result<(), CatalogError> {
    catalogue.agree(&Agreed {
        policy: policy.id.as_str().to_owned(),
        version: policy.version.sha256.clone(),
        body: serde_json::to_string(&Promise::of(policy)).unwrap_or_default(),
        at,
    })
}

fn standing(catalogue: &Catalog, policy: &str) -> Result<Vec<Hold>, CatalogError> {
    let mut holds = catalogue.standing_holds(Some(policy))?;
    holds.retain(|hold| hold.kind == HoldKind::Weakened);
    Ok(holds)
}

/// Releases what was placed since the agreement. What is older came back with a log after the catalogue
/// was lost: nobody knows any more what it was held against, so a person looks.
fn release_all(
    catalogue: &Catalog,
    agreed: &Agreed,
    because: &str,
    now: Timestamp,
) -> Result<(), CatalogError> {
    for hold in standing(catalogue, &agreed.policy)? {
        if hold.placed_at >= agreed.at {
            catalogue.release_hold(&hold.id, ITSELF, because, now)?;
        }
    }
    Ok(())
}

fn new<'a>(policy: &'a str, reason: &'a str) -> NewHold<'a> {
    NewHold { policy, kind: HoldKind::Weakened, reason, by: ITSELF }
}
