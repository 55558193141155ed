//! The JSON Schema of the configuration files, for editors: every key with its type, and what
//! `docs/configuration.md` says of it. A test holds it against the keys that the loader asks for.

use serde_json::{Map, Value, json};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `lifeboat.toml`.
    Site,
    /// `policies/ID.toml`.
    Policy,
    /// `drills/ID.toml`.
    Drill,
}

/// What a value is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Flag,
    Count,
    /// Text with a pattern.
    Like(&'static str),
    Words(&'static [&'static str]),
    Texts,
    TextOrTexts,
    NumberOrText,
    NumberOrTable,
    Table,
}

const DURATION: Kind = Kind::Like("^[0-9]");
const SIZE: Kind = Kind::Like("^[0-9]");
/// `auto`, a share or a size.
const MIN_FREE: Kind = Kind::Like("^(auto|[0-9].*)$");
const PATH: Kind = Kind::Like("^/");

/// The keys of `lifeboat.toml`; `*` stands for a name, `[]` for one of several tables.
const SITE: &[(&str, Kind)] = &[
    ("site", Kind::Text),
    ("timezone", Kind::Text),
    ("state_dir", PATH),
    ("key_file", PATH),
    ("key_command", Kind::Texts),
    ("concurrency", Kind::NumberOrTable),
    ("self_backup", Kind::Text),
    ("evidence.sign_key_file", PATH),
    ("space.state_min_free", MIN_FREE),
    ("limits.workers", Kind::Count),
    ("limits.nice", Kind::Count),
    ("limits.ionice", Kind::Text),
    ("contacts.*.name", Kind::Text),
    ("contacts.*.roles", Kind::Texts),
    ("contacts.*.phone", Kind::Text),
    ("contacts.*.mail", Kind::Text),
    ("contacts.*.deputy", Kind::Text),
    ("vendors.*.name", Kind::Text),
    ("vendors.*.phone", Kind::Text),
    ("vendors.*.mail", Kind::Text),
    ("vendors.*.contract", Kind::Text),
    ("vendors.*.sla", DURATION),
    ("vendors.*.give_them", Kind::Texts),
    ("on_call.people", Kind::Texts),
    ("on_call.turn", Kind::Text),
    ("response.minor.start_within", DURATION),
    ("response.minor.notify", Kind::Texts),
    ("response.minor.escalate", Kind::Texts),
    ("response.serious.start_within", DURATION),
    ("response.serious.notify", Kind::Texts),
    ("response.serious.escalate", Kind::Texts),
    ("response.critical.start_within", DURATION),
    ("response.critical.notify", Kind::Texts),
    ("response.critical.escalate", Kind::Texts),
    (
        "notify.[].kind",
        Kind::Words(&[
            "mail",
            "webhook",
            "slack",
            "dingtalk",
            "wecom",
            "feishu",
            "ntfy",
            "pagerduty",
            "heartbeat",
        ]),
    ),
    ("notify.[].name", Kind::Text),
    ("notify.[].on", Kind::Texts),
    ("notify.[].from_severity", Kind::Words(&["minor", "serious", "critical"])),
    ("notify.[].quiet", Kind::Texts),
    ("notify.[].otherwise", Kind::Text),
    ("notify.[].url_file", PATH),
    ("notify.[].secret_file", PATH),
    ("notify.[].ca_file", PATH),
    ("notify.[].host", Kind::Text),
    ("notify.[].port", Kind::Count),
    ("notify.[].tls", Kind::Words(&["tls", "starttls", "none"])),
    ("notify.[].from", Kind::Text),
    ("notify.[].to", Kind::Texts),
    ("notify.[].credentials_file", PATH),
    ("notify.[].every", DURATION),
];

/// The keys of a policy.
const POLICY: &[(&str, Kind)] = &[
    ("description", Kind::Text),
    ("owner", Kind::Text),
    ("tier", Kind::Words(&["standard", "important", "critical"])),
    ("rpo", DURATION),
    ("rto", DURATION),
    ("compression", Kind::NumberOrText),
    ("legal_hold", Kind::Texts),
    ("residency", Kind::Texts),
    ("source.paths", Kind::Texts),
    ("source.exclude", Kind::Texts),
    ("source.include", Kind::Texts),
    ("source.exclude_larger_than", SIZE),
    ("source.exclude_if_present", Kind::Texts),
    ("source.with_caches", Kind::Flag),
    ("source.must_exist", Kind::Flag),
    ("source.min_files", Kind::Count),
    ("source.max_shrink", Kind::Like("^[0-9]+ *%$")),
    ("source.one_file_system", Kind::Flag),
    ("source.snapshot", Kind::Words(&["none", "auto", "btrfs", "hook"])),
    ("source.snapshot_hook", PATH),
    ("source.snapshot_hook_timeout", DURATION),
    ("schedule.full", Kind::Text),
    ("schedule.incremental", Kind::Text),
    ("schedule.differential", Kind::Text),
    ("schedule.timezone", Kind::Text),
    ("schedule.catch_up", Kind::Words(&["once", "skip"])),
    ("schedule.timeout", DURATION),
    ("schedule.jitter", DURATION),
    ("schedule.blackout", Kind::Texts),
    ("schedule.retry", Kind::Table),
    ("schedule.priority", Kind::Count),
    ("targets.*.url", Kind::Text),
    ("targets.*.endpoint", Kind::Like("^https?://")),
    ("targets.*.region", Kind::Text),
    ("targets.*.path_style", Kind::Flag),
    ("targets.*.credentials_file", PATH),
    ("targets.*.ca_file", PATH),
    ("targets.*.immutable", Kind::Table),
    ("targets.*.min_free", MIN_FREE),
    ("targets.*.upload_limit", Kind::TextOrTexts),
    ("targets.*.download_limit", Kind::TextOrTexts),
    ("targets.*.location", Kind::Text),
    ("targets.*.country", Kind::Like("^[A-Z][A-Z]$")),
    ("targets.*.offline", Kind::Flag),
    ("targets.*.accept_every", Kind::Text),
    ("targets.*.media", Kind::Text),
    ("targets.*.provider", Kind::Text),
    ("rule.copies", Kind::Count),
    ("rule.media", Kind::Count),
    ("rule.offsite", Kind::Count),
    ("rule.immutable_or_offline", Kind::Count),
    ("rule.max_verify_age", DURATION),
    ("rule.count_source", Kind::Flag),
    ("rule.zero_errors", Kind::Flag),
    ("verify.after_run", Kind::Like("^(new|ack|sample [0-9]+%)$")),
    ("verify.deep", Kind::Text),
    ("verify.scrub", Kind::Text),
    ("verify.scrub_period", DURATION),
    ("verify.probe", Kind::Text),
    ("verify.extend_locks", Kind::Text),
    ("retention.last", Kind::Count),
    ("retention.hourly", Kind::Count),
    ("retention.daily", Kind::Count),
    ("retention.weekly", Kind::Count),
    ("retention.monthly", Kind::Count),
    ("retention.yearly", Kind::Count),
    ("retention.within", DURATION),
    ("retention.min_keep", Kind::Count),
    ("retention.prune", Kind::Text),
    ("retention.grace", DURATION),
    ("limits.workers", Kind::Count),
    ("limits.nice", Kind::Count),
    ("limits.ionice", Kind::Text),
];

/// The keys of a drill.
const DRILL: &[(&str, Kind)] = &[
    ("policy", Kind::Text),
    ("when", Kind::Text),
    ("kind", Kind::Words(&["restore"])),
    ("copy", Kind::Text),
    ("snapshot", Kind::Words(&["latest"])),
    ("scope.files", Kind::Text),
    ("scope.always", Kind::Texts),
    ("time_limit", DURATION),
    ("cleanup.pass", Kind::Text),
    ("cleanup.fail", Kind::Text),
    ("check.[].kind", Kind::Words(&["manifest", "count", "exists", "freshness", "command"])),
    ("check.[].id", Kind::Text),
    ("check.[].required", Kind::Flag),
    ("check.[].on_fail", Kind::Words(&["fail", "warn"])),
    ("check.[].timeout", DURATION),
    ("check.[].files", Kind::Text),
    ("check.[].bytes", Kind::Text),
    ("check.[].paths", Kind::Texts),
    ("check.[].min_size", SIZE),
    ("check.[].path", Kind::Text),
    ("check.[].newest", Kind::Text),
    ("check.[].run", Kind::Texts),
    ("check.[].exit", Kind::Count),
];

impl File {
    fn keys(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::Site => SITE,
            Self::Policy => POLICY,
            Self::Drill => DRILL,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Site => "lifeboat.toml",
            Self::Policy => "policies/ID.toml",
            Self::Drill => "drills/ID.toml",
        }
    }
}

/// The schema of a file, JSON Schema 2020-12.
pub fn schema(file: File) -> Value {
    let mut root = table();
    for (key, kind) in file.keys() {
        let parts: Vec<&str> = key.split('.').collect();
        add(&mut root, &parts, key, *kind);
    }
    if file == File::Policy {
        // `source = ["/a"]` is the short form.
        if let Some(source) = root["properties"].get_mut("source") {
            *source = json!({ "anyOf": [kind_of(Kind::Texts), source.take()] });
        }
        root["required"] = json!(["source", "targets"]);
    }
    if file == File::Drill {
        root["required"] = json!(["policy", "when"]);
    }
    let mut whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": file.title(),
    });
    if let (Some(whole), Value::Object(root)) = (whole.as_object_mut(), root) {
        whole.extend(root);
    }
    whole
}

fn table() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn add(into: &mut Value, parts: &[&str], key: &str, kind: Kind) {
    match parts {
        [] => {}
        [last] => {
            let mut value = kind_of(kind);
            if let Some(meaning) = meaning(key) {
                value["description"] = json!(meaning);
            }
            into["properties"][last] = value;
        }
        [first, "*", rest @ ..] => {
            let below = into["properties"].as_object_mut().map(|all| {
                all.entry(*first)
                    .or_insert_with(|| json!({ "type": "object", "additionalProperties": table() }))
            });
            below.into_iter().for_each(|below| add(&mut below["additionalProperties"], rest, key, kind));
        }
        [first, "[]", rest @ ..] => {
            let below = into["properties"]
                .as_object_mut()
                .map(|all| all.entry(*first).or_insert_with(|| json!({ "type": "array", "items": table() })));
            below.into_iter().for_each(|below| add(&mut below["items"], rest, key, kind));
        }
        [first, rest @ ..] => {
            let below = into["properties"].as_object_mut().map(|all| all.entry(*first).or_insert_with(table));
            below.into_iter().for_each(|below| add(below, rest, key, kind));
        }
    }
}

fn kind_of(kind: Kind) -> Value {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count => json!({ "type": "integer", "minimum": 0 }),
        Kind::Like(pattern) => json!({ "type": "string", "pattern": pattern }),
        Kind::Words(words) => json!({ "enum": words }),
        Kind::Texts => texts(),
        Kind::TextOrTexts => json!({ "anyOf": [{ "type": "string" }, texts()] }),
        Kind::NumberOrText => json!({ "type": ["integer", "string"] }),
        Kind::NumberOrTable => json!({ "type": ["integer", "object"] }),
        Kind::Table => Value::Object(Map::from_iter([("type".to_owned(), json!("object"))])),
    }
}

/// What the manual says of a key, without its marks.
fn meaning(key: &str) -> Option<String> {
    let short = key.strip_prefix("targets.*.").unwrap_or(key);
    let row = PAGE.lines().find(|line| {
        let first = line.strip_prefix("| ").and_then(|rest| rest.split(" | ").next());
        first.is_some_and(|cell| cell.split(['`', ' ', ',']).any(|word| word == short))
    })?;
    let text = row.trim_end_matches(" |").rsplit(" | ").next()?;
    Some(text.replace('`', ""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use chrono_tz::Tz;

    use super::*;
    use crate::policy::load::reader::asked;
    use crate::policy::load::{Machine, Observed, load};

    /// `targets.disk.url` as the tables write it.
    fn plain(key: &str) -> String {
        let parts: Vec<&str> = key.split('.').collect();
        let named = ["targets", "contacts", "vendors"];
        let numbered = ["notify", "check"];
        let part = |(at, part): (usize, &&str)| match at.checked_sub(1).map(|before| parts[before]) {
            Some(before) if at == 1 && named.contains(&before) => "*".to_owned(),
            Some(before) if at == 1 && numbered.contains(&before) => "[]".to_owned(),
            _ => (*part).to_owned(),
        };
        parts.iter().enumerate().map(part).collect::<Vec<_>>().join(".")
    }

    #[test]
    fn the_schemas_name_every_key_that_is_read_and_no_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        // Each kind of notifier and check asks for keys of its own.
        let notify: String = ["mail", "pagerduty", "heartbeat"]
            .iter()
            .map(|kind| format!("[[notify]]\nkind = \"{kind}\"\n"))
            .collect();
        let checks: String = ["count", "exists", "freshness", "command"]
            .iter()
            .map(|kind| format!("[[check]]\nkind = \"{kind}\"\n"))
            .collect();
        write(
            "lifeboat.toml",
            &format!(
                "key_command = [\"x\"]\n[contacts.a]\n[vendors.b]\n[on_call]\n[response.minor]\n{notify}"
            ),
        );
        write(
            "policies/p.toml",
            "[source]\nsnapshot = \"hook\"\n[targets.a]\nurl = \"s3://bucket\"\n[retention]\n[limits]\n",
        );
        write("drills/d.toml", &format!("policy = \"p\"\nwhen = \"yearly\"\n[scope]\n{checks}"));
        asked::start();
        drop(load(dir.path(), &Machine { host: "h".to_owned(), timezone: Tz::UTC }, &Observed::default()));
        let mut found: BTreeSet<(String, String)> = BTreeSet::new();
        for (file, key) in asked::take() {
            found.insert((file.split('/').next().unwrap_or_default().to_owned(), plain(&key)));
        }
        for (file, name) in
            [(File::Site, "lifeboat.toml"), (File::Policy, "policies"), (File::Drill, "drills")]
        {
            let known: BTreeSet<String> = file.keys().iter().map(|(key, _)| (*key).to_owned()).collect();
            let asked: BTreeSet<String> =
                found.iter().filter(|(of, _)| of == name).map(|(_, key)| key.clone()).collect();
            // What holds others is a table, not a key.
            let is_key = |key: &&String| !known.iter().any(|other| other.starts_with(&format!("{key}.")));
            let lacking: Vec<_> = asked.iter().filter(is_key).filter(|key| !known.contains(*key)).collect();
            assert!(lacking.is_empty(), "{name}: the schema lacks {lacking:?}");
            let needless: Vec<_> =
                known.difference(&asked).filter(|key| !key.starts_with("source.paths")).collect();
            assert!(needless.is_empty(), "{name}: nobody reads {needless:?}");
        }
    }

    #[test]
    fn the_published_schemas_are_these_and_the_examples_are_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (file, name) in [(File::Site, "lifeboat"), (File::Policy, "policy"), (File::Drill, "drill")] {
            let path = root.join(format!("docs/schema/{name}.schema.json"));
            let expected = format!("{:#}\n", schema(file));
            let published = std::fs::read_to_string(&path).expect("published");
            assert_eq!(published, expected, "run `lifeboat policy schema` anew: {}", path.display());
        }
    }

    #[test]
    fn most_keys_say_what_they_mean() {
        for (key, least) in [("rpo", "lost"), ("source.exclude", "gitignore"), ("targets.*.url", "file:///")]
        {
            let said = meaning(key).unwrap_or_default();
            assert!(said.contains(least), "{key}: {said}");
        }
        let silent: Vec<_> =
            POLICY.iter().map(|(key, _)| *key).filter(|key| meaning(key).is_none()).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }
}
