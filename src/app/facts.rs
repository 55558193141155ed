//! What is declared of targets, and what can be found out about them here and now.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::catalog::Catalog;
use crate::policy::copies::{Network, TargetFacts};
use crate::policy::model::{CopyClass, Place, Policy, Target};

/// What is declared of the targets, and what can be found out about them here and now.
pub(super) fn target_facts(policy: &Policy, networks: &mut Networks) -> Vec<TargetFacts> {
    let source_devices: Vec<u64> = policy.source.paths.iter().filter_map(|path| device_of(path)).collect();
    policy
        .targets
        .iter()
        .map(|target| {
            let mut facts = TargetFacts::declared(target);
            match &target.place {
                Place::Folder(path) => {
                    facts.device = device_of(path);
                    facts.on_source_device =
                        facts.device.is_some_and(|device| source_devices.contains(&device));
                }
                Place::Bucket { .. } => {
                    if let Some(endpoint) = &target.endpoint {
                        facts.network = networks.of(endpoint);
                    }
                }
            }
            facts
        })
        .collect()
}

/// Where endpoints lie, each name asked for once.
#[derive(Default)]
pub(super) struct Networks(HashMap<String, Network>);

impl Networks {
    fn of(&mut self, endpoint: &str) -> Network {
        *self.0.entry(endpoint.to_owned()).or_insert_with(|| network_of(endpoint))
    }
}

/// Whether a target is declared to be elsewhere, and its address doesn't say otherwise.
pub(super) fn is_offsite(target: &Target, site: &str) -> bool {
    let is_here = |endpoint: &String| matches!(network_of(endpoint), Network::Loopback | Network::Own);
    target.class(site) == CopyClass::Offsite && !target.endpoint.as_ref().is_some_and(is_here)
}

/// Remembers a fact about a target beside those that are known.
pub(super) fn note(
    catalogue: &Catalog,
    policy: &Policy,
    target: &Target,
    name: &str,
    value: Value,
) -> Result<(), Failure> {
    let known =
        catalogue.targets(policy.id.as_str())?.into_iter().find(|one| one.name == target.name.as_str());
    let mut facts = known.and_then(|one| one.facts.as_object().cloned()).unwrap_or_default();
    facts.insert(name.to_owned(), value);
    let facts = Value::Object(facts);
    Ok(catalogue.record_target_facts(policy.id.as_str(), target.name.as_str(), &target.url, &facts)?)
}

/// When the locks of targets end, where a probe has shown that locks hold there.
pub(super) fn found_locks(
    catalogue: &Catalog,
    policy: &Policy,
    targets: &mut [TargetFacts],
) -> Result<(), Failure> {
    for record in catalogue.targets(policy.id.as_str())? {
        let holds = record.capabilities.get("lock_holds").and_then(Value::as_bool);
        let until = record.facts.get("locked_until").and_then(Value::as_str);
        let until = until.and_then(Timestamp::parse_rfc3339);
        if let Some(facts) = targets.iter_mut().find(|facts| facts.name.as_str() == record.name) {
            facts.lock_until = until.filter(|_| holds == Some(true));
        }
    }
    Ok(())
}

/// The device of a path, or of the nearest folder above it that exists.
fn device_of(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.dev())
}

/// Where an endpoint's addresses lie. A name that does not resolve now is taken for what it says.
fn network_of(endpoint: &str) -> Network {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:443")
    };
    let addresses: Vec<IpAddr> =
        with_port.to_socket_addrs().map(|found| found.map(|a| a.ip()).collect()).unwrap_or_default();
    let is_private = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if addresses.iter().any(IpAddr::is_loopback) {
        Network::Loopback
    } else if addresses.iter().any(is_private) {
        Network::Private
    } else {
        Network::Public
    }
}
