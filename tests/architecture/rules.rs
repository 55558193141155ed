//! The rules of `ARCHITECTURE.md` that a text can show to be broken.
//!
//! What text can't see (a trait object that carries a neighbour's type, a clock behind a
//! `use ... as`) is left to the compiler's visibility and to `clippy.toml`.

use super::source::{Source, Token, is_word};

/// From the ground up. Folders in one row are neighbours: they never import each other.
const FLOORS: [&[&str]; 7] = [
    &["base"],
    &["codec", "storage", "policy"],
    &["repository", "source", "catalog", "evidence"],
    &["engine"],
    &["drill", "report", "alert"],
    &["app"],
    &["cli", "daemon", "web"],
];

/// The process entry stands above the faces; the library's root only names the floors.
const ROOTS: [&str; 2] = ["main.rs", "lib.rs"];

const PRODUCTION_LINES_MAX: usize = 600;

/// Crates that must stay in their rooms: first segment of a path, then where it may stand.
const ROOMS_OF_CRATES: [(&str, &[&str]); 13] = [
    ("clap", &["src/cli/", "src/daemon/", "src/main.rs"]),
    ("indicatif", &["src/cli/"]),
    ("axum", &["src/web/"]),
    ("tokio", &["src/storage/s3", "src/catalog/sql", "src/web/"]),
    ("aws_sdk_s3", &["src/storage/s3"]),
    ("aws_config", &["src/storage/s3"]),
    ("aws_smithy_http_client", &["src/storage/s3"]),
    ("rustls", &["src/storage/s3", "src/alert/hook.rs"]),
    ("ureq", &["src/alert/hook.rs"]),
    ("lettre", &["src/alert/mail.rs"]),
    ("sqlx", &["src/catalog/sql"]),
    ("toml_edit", &["src/policy/load"]),
    ("fuser", &["src/engine/mount/"]),
];

/// Async code lives here and crosses to threads at the room's door.
const ASYNC_ROOMS: [&str; 3] = ["src/storage/s3", "src/catalog/sql", "src/web/"];

/// Calls that make a local file durable or move it.
const DURABLE_CALLS: [&str; 7] =
    ["sync_all", "sync_data", "renameat", "renameat_with", "fsync", "fdatasync", "syncfs"];

/// What `storage` doesn't know. (A *key* there is S3's word for a name, so that word isn't listed.)
const WORDS_NOT_OF_STORAGE: [&str; 6] =
    ["snapshot", "pack", "repository", "keyring", "passphrase", "manifest"];

/// Words that say nothing about a thing, or another product's word for ours.
const WORDS_NOT_OF_THE_HOUSE: [&str; 10] =
    ["archive", "backend", "vault", "image", "entity", "manager", "helper", "util", "utils", "common"];

/// The rooms that may take stored objects away (never 3).
const ROOMS_THAT_DELETE: [&str; 5] = [
    "src/repository/sweep",
    "src/repository/snapshot.rs",
    "src/repository/snapshot/",
    "src/repository/slots.rs",
    "src/repository/mend.rs",
];

/// Everything that breaks a rule, as `path:line: rule`. A file is its path from the top of the
/// package, with `/`, and its text.
pub(crate) fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        let source = Source::read(path, text);
        for rule in [
            folder_is_known,
            imports_go_down,
            report_reads_records_only,
            mod_rs_only_names,
            file_is_short,
            crates_keep_to_their_rooms,
            async_keeps_to_its_rooms,
            only_base_makes_durable,
            storage_moves_named_bytes,
            codec_and_policy_never_act,
            nothing_unwraps,
            words_are_ours,
            only_the_sweep_deletes,
        ] {
            rule(&source, &mut |line, what| found.push(format!("{path}:{line}: {what}")));
        }
    }
    // Several leaves of one `use` tree break the same rule once.
    found.dedup();
    found
}

type Tell<'a> = &'a mut dyn FnMut(usize, String);

fn height(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|row| row.contains(&floor))
}

fn is_in(source: &Source, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| source.path.starts_with(room))
}

fn folder_is_known(source: &Source, tell: Tell) {
    let Some(floor) = source.floor() else { return };
    if height(floor).is_none() && !ROOTS.contains(&floor) {
        tell(1, format!("`{floor}` is not a floor of the house"));
    }
}

fn imports_go_down(source: &Source, tell: Tell) {
    let Some(own) = source.floor() else { return };
    let own_height = height(own).unwrap_or(FLOORS.len());
    for path in source.paths() {
        let [root, other, ..] = path.segments.as_slice() else { continue };
        let is_ours = root == "crate" || root == "lifeboat";
        let Some(other_height) = height(other).filter(|_| is_ours && other != own) else { continue };
        if other_height > own_height {
            tell(path.line, format!("`{own}` imports `{other}`, a floor above it"));
        } else if other_height == own_height {
            tell(path.line, format!("`{own}` imports `{other}`, its neighbour"));
        }
    }
}

fn report_reads_records_only(source: &Source, tell: Tell) {
    if source.floor() != Some("report") {
        return;
    }
    for path in source.paths() {
        if let [root, other, ..] = path.segments.as_slice()
            && root == "crate"
            && ["engine", "repository", "storage"].contains(&other.as_str())
        {
            tell(path.line, format!("`report` reads records and never imports `{other}`"));
        }
    }
}

fn mod_rs_only_names(source: &Source, tell: Tell) {
    if !source.path.ends_with("/mod.rs") && source.path != "src/lib.rs" {
        return;
    }
    let mut at = 0;
    while let Some(token) = source.tokens.get(at) {
        let Some(end) = end_of_naming(&source.tokens[at..]) else {
            tell(
                token.line,
                "`mod.rs` holds documentation, `mod` lines and re-exports; nothing else".to_owned(),
            );
            return;
        };
        at += end;
    }
}

/// How many tokens the attribute, `mod x;` or `use x;` has that stands first; nothing for any other item.
fn end_of_naming(tokens: &[Token]) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let after =
        |mark: &str, from: usize| tokens[from..].iter().position(|t| t.text == mark).map(|at| from + at + 1);
    match text(0) {
        "#" => {
            let mut depth = 0usize;
            let close = tokens.iter().position(|token| {
                depth = match token.text.as_str() {
                    "[" => depth + 1,
                    "]" => depth - 1,
                    _ => return false,
                };
                depth == 0
            })?;
            Some(close + 1)
        }
        "pub" if text(1) == "(" => {
            let close = after(")", 1)?;
            end_of_naming(&tokens[close..]).map(|end| close + end)
        }
        "pub" => end_of_naming(&tokens[1..]).map(|end| end + 1),
        "mod" if text(2) == ";" => Some(3),
        "use" => after(";", 0),
        _ => None,
    }
}

fn file_is_short(source: &Source, tell: Tell) {
    let lines = source.tests_from_line - 1;
    if lines > PRODUCTION_LINES_MAX {
        tell(lines, format!("{lines} lines of production code; {PRODUCTION_LINES_MAX} are the most"));
    }
}

fn crates_keep_to_their_rooms(source: &Source, tell: Tell) {
    for path in source.paths() {
        for (name, rooms) in ROOMS_OF_CRATES {
            if path.segments[0] == name && !is_in(source, rooms) {
                tell(path.line, format!("`{name}` stays in {}", rooms.join(", ")));
            }
        }
    }
}

fn async_keeps_to_its_rooms(source: &Source, tell: Tell) {
    if is_in(source, &ASYNC_ROOMS) {
        return;
    }
    for token in source.tokens.iter().filter(|t| t.text == "async" || t.text == "await") {
        tell(token.line, format!("`{}` outside {}", token.text, ASYNC_ROOMS.join(", ")));
    }
}

fn only_base_makes_durable(source: &Source, tell: Tell) {
    if source.path == "src/base/durable.rs" {
        return;
    }
    let rule = |name: &str| format!("`{name}`: files are renamed and made durable by base::durable");
    for path in source.production_paths() {
        let last_two = &path.segments[path.segments.len().saturating_sub(2)..];
        if last_two == ["fs", "rename"] {
            tell(path.line, rule("fs::rename"));
        }
    }
    for pair in source.production().windows(2) {
        let [before, token] = pair else { continue };
        let is_call = before.text == "." || before.text == "::";
        if is_call && DURABLE_CALLS.contains(&token.text.as_str()) {
            tell(token.line, rule(&token.text));
        }
    }
}

fn storage_moves_named_bytes(source: &Source, tell: Tell) {
    if source.floor() != Some("storage") {
        return;
    }
    for token in source.production() {
        // The bound of every stored object has its name from the largest of them.
        if token.text == "PACK_BYTES_MAX" {
            continue;
        }
        if let Some(word) = words(&token.text).find(|word| is_one_of(word, &WORDS_NOT_OF_STORAGE)) {
            tell(token.line, format!("`storage` moves named bytes and doesn't know `{word}`"));
        }
    }
}

fn codec_and_policy_never_act(source: &Source, tell: Tell) {
    let (Some(floor @ ("codec" | "policy")), false) = (source.floor(), is_in(source, &["src/policy/load"]))
    else {
        return;
    };
    for path in source.production_paths() {
        if let [root, module, ..] = path.segments.as_slice()
            && root == "std"
            && ["fs", "net", "process", "env", "thread"].contains(&module.as_str())
        {
            tell(path.line, format!("`{floor}` never acts: std::{module}"));
        }
    }
}

fn nothing_unwraps(source: &Source, tell: Tell) {
    if !source.path.starts_with("src/") {
        return;
    }
    for call in source.production().windows(3) {
        let [dot, name, open] = call else { continue };
        let is_unwrap = name.text == "unwrap" || name.text == "unwrap_unchecked";
        if dot.text == "." && is_unwrap && open.text == "(" {
            tell(name.line, "`unwrap` in production".to_owned());
        }
    }
}

fn words_are_ours(source: &Source, tell: Tell) {
    let in_the_path = source.path.trim_end_matches(".rs").split('/').flat_map(words);
    for word in in_the_path.filter(|word| is_one_of(word, &WORDS_NOT_OF_THE_HOUSE)) {
        tell(1, format!("`{word}` names a file or a folder"));
    }
    for pair in source.tokens.windows(2) {
        let [keyword, name] = pair else { continue };
        let names_something = ["struct", "enum", "trait", "type", "mod", "union"]
            .contains(&keyword.text.as_str())
            && is_word(&name.text);
        if !names_something {
            continue;
        }
        if let Some(word) = words(&name.text).find(|word| is_one_of(word, &WORDS_NOT_OF_THE_HOUSE)) {
            tell(name.line, format!("`{word}` in the name of `{}`", name.text));
        }
    }
}

fn only_the_sweep_deletes(source: &Source, tell: Tell) {
    let above_storage = source.floor().and_then(height).is_some_and(|floor| floor >= 2);
    // A catalogue deletes rows, not stored objects.
    if !above_storage || source.floor() == Some("catalog") || is_in(source, &ROOMS_THAT_DELETE) {
        return;
    }
    for call in source.production().windows(3) {
        let [before, name, open] = call else { continue };
        let is_call = (before.text == "." || before.text == "::") && open.text == "(";
        if is_call && name.text == "delete" {
            tell(name.line, format!("stored objects are deleted only in {}", ROOMS_THAT_DELETE.join(", ")));
        }
    }
}

/// The words of `snake_case`, `CamelCase` or `SHOUTING_CASE`, in lower case.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before_is_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase() || c.is_numeric();
    }
    words.into_iter().filter(|word| !word.is_empty())
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    let singular = word.strip_suffix("ies").map(|stem| format!("{stem}y"));
    let singular = singular.as_deref().or_else(|| word.strip_suffix('s')).unwrap_or(word);
    list.contains(&word) || list.contains(&singular)
}
