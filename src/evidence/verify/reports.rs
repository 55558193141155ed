//! The reports: signature, hashes, their place in the log, and that picks match their commitment.

use std::collections::BTreeMap;

use super::result::{Claim, Claims, Logged, VerifyReport, names, read_bounded};
use crate::base::limits::OBJECT_BYTES_MAX;
use crate::evidence::error::EvidenceError;
use crate::evidence::key::PublicKey;
use crate::evidence::log::Place;
use crate::evidence::pick::Seed;
use crate::evidence::report::{SUFFIXES, Stated, split_name};
use crate::evidence::sha256;

/// A report as it is on disk.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    json_sha256: Option<String>,
    html_sha256: Option<String>,
    commitment: Option<String>,
}

pub(super) fn check(
    place: &Place,
    key: Option<&PublicKey>,
    claims: &mut Claims,
    report: &mut VerifyReport,
) -> Result<BTreeMap<String, Sealed>, EvidenceError> {
    let folder = place.reports();
    let mut sealed: BTreeMap<String, Sealed> = BTreeMap::new();
    for name in names(&folder)? {
        match split_name(&folder.join(&name)) {
            Some((id, _)) => drop(sealed.entry(id.as_str().to_owned()).or_default()),
            None => report.problem(&format!("reports/{name}"), None, "it is no file of ours"),
        }
    }
    for (id, found) in &mut sealed {
        report.reports += 1;
        let [json, html, sig] = SUFFIXES.map(|suffix| format!("reports/{id}.{suffix}"));
        let bytes_max = u64::try_from(OBJECT_BYTES_MAX).unwrap_or(u64::MAX);
        found.html_sha256 = sha256::of_file(&place.dir().join(&html)).ok();
        let Ok(bytes) = read_bounded(&place.dir().join(&json), bytes_max) else {
            continue;
        };
        found.json_sha256 = Some(sha256::hex(&bytes));
        let signature = read_bounded(&place.dir().join(&sig), 64).unwrap_or_default();
        if !key.is_some_and(|key| key.verifies(&bytes, &signature)) {
            report.problem(&json, None, "its signature does not verify");
        }
        match Stated::read(&bytes) {
            Err(why) => report.problem(&json, None, why),
            Ok(stated) => {
                if stated.id != *id {
                    report.problem(&json, None, format!("it is the report of {}", stated.id));
                }
                let claim = Claim { file: json.clone(), hash: stated.log_head, size: None, genesis: None };
                claims.entry(stated.log_seq).or_default().push(claim);
                if let Some((seed, commitment)) = stated.pick {
                    if Seed::from_hex(&seed).is_none_or(|seed| seed.commitment() != commitment) {
                        report.problem(&json, None, "the pick's seed does not match its commitment");
                    }
                    found.commitment = Some(commitment);
                }
            }
        }
    }
    Ok(sealed)
}

/// Compares the reports with what the log says of them.
pub(super) fn compare(sealed: &BTreeMap<String, Sealed>, logged: &Logged, report: &mut VerifyReport) {
    for (id, finished) in &logged.finished {
        let none = Sealed::default();
        let found = sealed.get(id).unwrap_or(&none);
        let pairs = [
            ("json", &finished.json_sha256, &found.json_sha256),
            ("html", &finished.html_sha256, &found.html_sha256),
        ];
        for (suffix, expected, hash) in pairs {
            let file = format!("reports/{id}.{suffix}");
            match hash {
                None => report.problem(&file, None, "the log has this report, but the file is missing"),
                Some(hash) if hash != expected => {
                    report.problem(&file, None, "it is not the file that was logged")
                }
                Some(_) => {}
            }
        }
        let file = format!("reports/{id}.json");
        let is_committed =
            |commitment: &String| logged.commitments.get(commitment).is_some_and(|seq| *seq < finished.seq);
        if found.commitment.as_ref().is_some_and(|commitment| !is_committed(commitment)) {
            report.problem(&file, None, "the pick's commitment is not in the log before the report");
        }
    }
    for id in sealed.keys().filter(|id| !logged.finished.contains_key(*id)) {
        report.problem(&format!("reports/{id}.json"), None, "the log does not have this report");
    }
}
