//! The heads: form, name, signature, and that each names the one before.

use std::path::Path;

use super::result::{Claim, Claims, Trust, VerifyReport, names, read_bounded};
use crate::evidence::error::EvidenceError;
use crate::evidence::head::{HEAD_BYTES_MAX, Head, head_seq, with_sig};
use crate::evidence::key::PublicKey;
use crate::evidence::log::Place;
use crate::evidence::sha256;

pub(super) fn check(
    place: &Place,
    trust: &Trust,
    key: Option<&PublicKey>,
    claims: &mut Claims,
    report: &mut VerifyReport,
) -> Result<(), EvidenceError> {
    let folder = place.heads();
    let mut prev_head = sha256::NONE.to_owned();
    let names = names(&folder)?;
    for name in &names {
        let file = format!("heads/{name}");
        if let Some(head_name) = name.strip_suffix(".sig") {
            let newest_so_far = names.iter().rev().find(|name| !name.ends_with(".sig"));
            let is_orphan = names.binary_search(&head_name.to_owned()).is_err();
            // The signature is written first: after a crash the newest may lack its head.
            if is_orphan && newest_so_far.is_none_or(|newest| head_name < newest.as_str()) {
                report.problem(&file, None, "its head is missing");
            }
            continue;
        }
        let Some(seq) = head_seq(name) else {
            report.problem(&file, None, "it is no file of ours");
            continue;
        };
        let Some((head, hash)) = one(&folder.join(name), &file, key, claims, report) else {
            continue;
        };
        if head.seq != seq {
            report.problem(&file, None, format!("it says line {}, its name says {seq}", head.seq));
        }
        if head.prev_head != prev_head {
            report.problem(&file, None, "it does not name the head before it: one is missing or changed");
        }
        prev_head = hash;
    }
    for path in &trust.outside_heads {
        drop(one(path, &path.display().to_string(), key, claims, report));
    }
    Ok(())
}

fn one(
    path: &Path,
    file: &str,
    key: Option<&PublicKey>,
    claims: &mut Claims,
    report: &mut VerifyReport,
) -> Option<(Head, String)> {
    report.heads += 1;
    let bytes = match read_bounded(path, u64::try_from(HEAD_BYTES_MAX).unwrap_or(u64::MAX)) {
        Ok(bytes) => bytes,
        Err(error) => {
            report.problem(file, None, format!("it cannot be read: {error}"));
            return None;
        }
    };
    let signature = read_bounded(&with_sig(path), 64).unwrap_or_default();
    if !key.is_some_and(|key| key.verifies(&bytes, &signature)) {
        report.problem(file, None, "its signature does not verify");
    }
    let Some(head) = std::str::from_utf8(&bytes).ok().and_then(Head::decode) else {
        report.problem(file, None, "it is not written as a head");
        return None;
    };
    claims.entry(head.seq).or_default().push(Claim {
        file: file.to_owned(),
        hash: head.head.clone(),
        size: Some(head.size),
        genesis: Some(head.log.clone()),
    });
    Some((head, sha256::hex(&bytes)))
}
