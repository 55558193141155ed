//! `[targets.NAME]`: the URL taken apart, and what follows from it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Found, Parsed, Section};
use super::{limits, values};
use crate::base::lock::LockRule;
use crate::policy::model::{Place, Target, TargetName};
use crate::policy::problem::{Complaint, Sort};
use crate::policy::room::MinFree;

const LATER: [&str; 2] = ["network", "account"];
/// Keys that only mean something on S3.
const S3_ONLY: [&str; 6] = ["endpoint", "region", "path_style", "credentials_file", "ca_file", "immutable"];
/// Words that a drill's `copy` takes besides a target's name.
const RESERVED: [&str; 5] = ["local", "offsite", "each", "rotate", "random"];

/// Reads one target; the URL keeps its position for complaints that need several targets.
pub(super) fn read(name: &str, section: Section<'_>, zone: Tz) -> Option<Found<Target>> {
    let reader = section.reader();
    let named = TargetName::new(name).filter(|n| !RESERVED.contains(&n.as_str()));
    if named.is_none() {
        let complaint = if RESERVED.contains(&name) {
            let fix = format!("a drill's `copy` takes {}", RESERVED.join(", "));
            Complaint::value(format!("`{name}` can't be the name of a target"), fix)
        } else {
            Complaint::value(format!("`{name}` is no name of a target"), "use 1 to 64 of a-z, 0-9 and -")
        };
        reader.complain(complaint, section.span.clone());
    }
    let url = section.required("url", "\"file:///mnt/backup\"", |v| Ok((values::word(v)?, place(v)?)));
    let folder = matches!(&url, Some(Found { value: (_, Place::Folder(_)), .. }));
    for key in S3_ONLY.into_iter().filter(|key| folder && section.has(key)) {
        let complaint = Complaint::value(format!("`{key}` has no meaning for a folder"), "remove the key");
        reader.complain(complaint, section.span.clone());
    }
    let endpoint = section.optional("endpoint", endpoint);
    let region = section.optional("region", values::word);
    let host = endpoint.as_ref().map(|e| host_of(&e.value).to_owned());
    let style = host.as_deref().is_some_and(needs_path_style);
    let path_style = if folder {
        section.optional("path_style", values::switch)
    } else {
        section.or("path_style", style, values::switch)
    };
    let location = section.optional("location", location);
    let country = section.optional("country", country);
    let offline = section.or("offline", false, values::switch);
    let accept_every = section.or("accept_every", "weekly", every);
    let media = section.or("media", if folder { "disk" } else { "object" }, values::word);
    let provider = if folder {
        section.optional("provider", values::word)
    } else {
        section.or("provider", host.as_deref().unwrap_or("aws"), values::word)
    };
    let credentials_file = section.optional("credentials_file", values::path);
    let ca_file = section.optional("ca_file", values::path);
    let immutable = section.optional("immutable", immutable);
    let is_wrong = section.has("immutable") && immutable.is_none();
    let min_free = min_free(&section, folder);
    let upload_limit = section.optional("upload_limit", |value| limits::rate(value, zone));
    let download_limit = section.optional("download_limit", |value| limits::rate(value, zone));
    section.finish(&LATER);
    (!is_wrong).then_some(())?;
    let url = url?;
    let (written, place) = url.value;
    let target = Target {
        name: named?,
        url: written,
        place,
        endpoint: endpoint.map(|f| f.value),
        region: region.map(|f| f.value),
        path_style: path_style.is_some_and(|f| f.value),
        location: location.map(|f| f.value),
        country: country.map(|f| f.value),
        offline: offline?.value,
        accept_every: accept_every?.value,
        media: media?.value,
        provider: provider.map(|f| f.value),
        credentials_file: credentials_file.map(|f| f.value),
        ca_file: ca_file.map(|f| f.value),
        immutable: immutable.map(|f| f.value),
        min_free: min_free?,
        upload_limit: upload_limit.map(|f| f.value),
        download_limit: download_limit.map(|f| f.value),
    };
    Some(Found { value: target, span: url.span })
}

/// What has to stay free in a folder; of a bucket nobody knows.
fn min_free(section: &Section<'_>, folder: bool) -> Option<MinFree> {
    const KEY: &str = "min_free";
    if folder {
        return section.or(KEY, "auto", values::min_free).map(|found| found.value);
    }
    if let Some(found) = section.optional(KEY, values::min_free) {
        let complaint = Complaint::value(format!("`{KEY}` has no meaning for a bucket"), "remove the key");
        section.reader().complain(complaint, found.span);
    }
    Some(MinFree::default())
}

/// `{ mode = "governance", days = 30 }`.
fn immutable(value: &Value) -> Parsed<LockRule> {
    let fix = "write { mode = \"governance\", days = 30 } (or \"compliance\"), 1 to 3650 days";
    let wrong = |cause: &str| Complaint::value(cause.to_owned(), fix);
    let table = value.as_inline_table().ok_or_else(|| wrong("it is no inline table"))?;
    if let Some((key, _)) = table.iter().find(|(key, _)| !["mode", "days"].contains(key)) {
        return Err(wrong(&format!("`{key}` is not known here")));
    }
    let mode = table.get("mode").and_then(Value::as_str).ok_or_else(|| wrong("it has no `mode`"))?;
    let days = table.get("days").and_then(Value::as_integer).ok_or_else(|| wrong("it has no `days`"))?;
    LockRule::parse(&format!("{mode}:{days}d")).ok_or_else(|| wrong("no lock is like that"))
}

fn place(value: &Value) -> Parsed<Place> {
    let url = values::word(value)?;
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None if url.starts_with('/') => ("file", url.as_str()),
        None => {
            let fix = "write file:///absolute/path or s3://bucket/prefix";
            return Err(Complaint::value("the URL has no scheme and is no absolute path", fix));
        }
    };
    refuse_userinfo(rest)?;
    match scheme {
        "file" => folder(rest),
        "s3" => bucket(rest),
        "http" | "https" => Err(Complaint::value(
            "a target's URL names a bucket, not a web address",
            "write url = \"s3://bucket/prefix\" and put the address into `endpoint`",
        )),
        _ => Err(Complaint::not_yet(
            format!("a target of scheme `{scheme}`"),
            "write file:///absolute/path or s3://bucket/prefix",
        )),
    }
}

fn folder(rest: &str) -> Parsed<Place> {
    if !rest.starts_with('/') {
        let cause = format!("`file://{rest}` is relative, or names a host");
        return Err(Complaint::value(
            cause,
            format!("write three slashes: file:///{}", rest.trim_start_matches('.')),
        ));
    }
    values::absolute(rest)?;
    if rest.chars().all(|c| c == '/') {
        return Err(Complaint::value(
            "the target is the root of the file system",
            "name a folder of its own",
        ));
    }
    // Components drop double and trailing slashes, so that equal folders are equal.
    Ok(Place::Folder(PathBuf::from(rest).components().collect()))
}

fn bucket(rest: &str) -> Parsed<Place> {
    if rest.contains(['?', '#']) {
        let fix = "put endpoint, region and path_style into keys of their own";
        return Err(Complaint::value("the URL carries a query", fix));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) {
        let fix = "write s3://bucket/prefix; a bucket has 3 to 63 of a-z, 0-9, - and .";
        return Err(Complaint::value(format!("`{bucket}` is no bucket's name"), fix));
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Complaint::value("the prefix has an empty, `.` or `..` part", "write s3://bucket/a/b"));
    }
    Ok(Place::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn endpoint(value: &Value) -> Parsed<String> {
    let url = values::word(value)?;
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
    else {
        return Err(Complaint::value(
            "the endpoint is no web address",
            "write https://host or http://host:port",
        ));
    };
    refuse_userinfo(rest)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if host_of(&url).is_empty() || authority.contains(['/', '?', '#', ' ']) {
        let fix = "write https://host or http://host:port, and nothing behind it";
        return Err(Complaint::value("the endpoint is more, or less, than a host", fix));
    }
    Ok(url)
}

fn refuse_userinfo(rest: &str) -> Parsed<()> {
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Err(Complaint::new(
            Sort::Secret,
            "the URL carries a user or a password, and secrets must not stand in this file",
            "put them into a file of their own (mode 0600) and name it in `credentials_file`",
        ));
    }
    Ok(())
}

/// `hq`, `hq/room-b`: parts without spaces around them, broadest first.
/// How often a medium comes by.
fn every(value: &Value) -> Parsed<Duration> {
    let days = match value.as_str() {
        Some("daily") => 1,
        Some("weekly") => 7,
        Some("monthly") => 31,
        _ => return values::duration(value),
    };
    Ok(Duration::from_secs(days * 24 * 3600))
}

/// `CN`, `DE`: the two letters of ISO 3166.
pub(super) fn country(value: &Value) -> Parsed<String> {
    let text = values::word(value)?;
    if text.len() != 2 || !text.bytes().all(|b| b.is_ascii_uppercase()) {
        let fix = "write its two letters, such as \"CN\" or \"DE\"";
        return Err(Complaint::value(format!("`{text}` is no country"), fix));
    }
    Ok(text)
}

fn location(value: &Value) -> Parsed<String> {
    let text = values::word(value)?;
    if text.split('/').any(|part| part.is_empty() || part.trim() != part) {
        let fix = "write the place, broadest part first: \"hq/room-b\"";
        return Err(Complaint::value("the location has an empty part, or spaces around one", fix));
    }
    Ok(text)
}

/// The host of a checked endpoint, without its port and brackets.
fn host_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// `bucket.127.0.0.1` and `bucket.nas` are no names; servers of this sort want the bucket in the path.
fn needs_path_style(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || !host.contains('.')
}

/// Whether two places are one, or one lies inside the other.
pub(super) fn overlap(a: &Target, b: &Target) -> bool {
    match (&a.place, &b.place) {
        (Place::Folder(a), Place::Folder(b)) => a.starts_with(b) || b.starts_with(a),
        (Place::Bucket { bucket, prefix }, Place::Bucket { bucket: other, prefix: other_prefix }) => {
            let inside = |inner: &str, outer: &str| {
                outer.is_empty() || inner == outer || inner.starts_with(&format!("{outer}/"))
            };
            let server = |target: &Target| {
                target.endpoint.as_ref().map(|url| url.trim_end_matches('/').to_ascii_lowercase())
            };
            server(a) == server(b)
                && bucket == other
                && (inside(prefix, other_prefix) || inside(other_prefix, prefix))
        }
        _ => false,
    }
}
