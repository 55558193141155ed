//! What others need to help: one text file, without secrets and, unless asked for, without the names of
//! files, hosts and people.

use std::path::Path;
use std::time::Duration;

use super::doctor::examine;
use super::error::AppError;
use super::promise::configuration_sha256;
use super::site::{Site, Where};
use crate::base::durable::{self, Created};
use crate::base::error::Failure;
use crate::catalog::occurrences::Period;
use crate::engine::context::Context;
use crate::policy::model::{Configuration, Setting};

/// Runs that are listed.
const RUNS_MAX: usize = 200;
/// Events that are listed.
const EVENTS_MAX: u32 = 200;
/// Runs of so much time.
const LATELY: Duration = Duration::from_secs(14 * 86_400);
/// Keys whose values say where and who, not how.
const PRIVATE: [&str; 22] = [
    "source",
    "paths",
    "exclude",
    "include",
    "url",
    "endpoint",
    "location",
    "provider",
    "name",
    "phone",
    "mail",
    "contract",
    "owner",
    "description",
    "site",
    "host",
    "from",
    "to",
    "people",
    "deputy",
    "exclude_if_present",
    "roles",
];

/// Writes the bundle to a new file.
///
/// # Errors
/// When a file of that name is there, or it cannot be written.
pub fn bundle(place: &Where, cx: &Context, to: &Path, with_names: bool) -> Result<(), Failure> {
    let unwritable = |source| AppError::Unwritable { path: to.to_owned(), source };
    match durable::create_new(to, text(place, cx, with_names).as_bytes()).map_err(unwritable)? {
        Created::New => Ok(()),
        Created::Existing => Err(AppError::Usage {
            what: format!("{} is there already", to.display()),
            hint: "name another file with --to".to_owned(),
        }
        .into()),
    }
}

/// The bundle's text. What can't be had is said in its place.
fn text(place: &Where, cx: &Context, with_names: bool) -> String {
    let mut text = String::new();
    let mut section = |title: &str, body: &str| {
        text.push_str(&format!("== {title}\n{}\n\n", body.trim_end()));
    };
    let system = rustix::system::uname();
    section(
        "program",
        &format!(
            "lifeboat {}, {} {} {}, {}",
            env!("CARGO_PKG_VERSION"),
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            system.machine().to_string_lossy(),
            cx.clock.now()
        ),
    );
    let opened = Site::open(place, cx.clone());
    let hide = |line: &str| match &opened {
        Ok(site) if !with_names => hidden(line, &site.configuration),
        _ => line.to_owned(),
    };
    let found = examine(place, cx, true).into_iter().map(|finding| {
        let seen = finding.seen.iter().map(|line| hide(line)).collect::<Vec<_>>().join("\n  ");
        format!("{} {:?}\n  {seen}\n", finding.about, finding.health)
    });
    section("examination", &found.collect::<String>());
    let Ok(site) = &opened else { return text };
    section("configuration", &settings(&site.configuration, with_names));
    match records(site, with_names) {
        Ok(lines) => section("runs of 14 days, and events", &lines),
        Err(failure) => section("runs", &hide(&failure.message())),
    }
    text
}

fn settings(configuration: &Configuration, with_names: bool) -> String {
    let line = |setting: &Setting| {
        let last = setting.key.rsplit('.').next().unwrap_or_default();
        let is_private = PRIVATE.contains(&last) || last.ends_with("_file") || last.ends_with("_command");
        let value = if is_private && !with_names { "(hidden)" } else { setting.value.as_str() };
        format!("{} = {value}  # {}\n", setting.key, setting.origin)
    };
    let mut text = format!("sha256 {}\n", configuration_sha256(configuration));
    text.extend(configuration.site.settings.iter().map(line));
    for policy in &configuration.policies {
        text.push_str(&format!("-- policy {}\n", policy.id));
        text.extend(policy.settings.iter().map(line));
    }
    for drill in &configuration.drills {
        text.push_str(&format!("-- drill {}\n", drill.id));
        text.extend(drill.settings.iter().map(line));
    }
    text
}

fn records(site: &Site, with_names: bool) -> Result<String, Failure> {
    let catalogue = site.catalogue()?;
    let now = site.cx.clock.now();
    let runs = catalogue.runs_in(Period { from: now.minus(LATELY), to: now })?;
    let hide = |line: String| if with_names { line } else { hidden(&line, &site.configuration) };
    let mut text = String::new();
    for run in runs.iter().rev().take(RUNS_MAX) {
        let failure = run.failure.as_ref().map_or_else(String::new, |f| format!(" {} {}", f.code, f.message));
        let line = format!(
            "{} {} {} {} attempt {} {}{failure}\n",
            run.started_at, run.policy, run.job, run.state, run.attempt, run.stats
        );
        text.push_str(&hide(line));
    }
    for event in catalogue.events(EVENTS_MAX)? {
        text.push_str(&hide(format!("{} {} {}\n", event.at, event.kind, event.message)));
    }
    Ok(text)
}

/// A line without paths, addresses and the places that the configuration names.
fn hidden(line: &str, configuration: &Configuration) -> String {
    let mut line = line.to_owned();
    let targets = configuration.policies.iter().flat_map(|policy| &policy.targets);
    let mut names: Vec<String> = vec![configuration.dir.display().to_string()];
    for target in targets {
        names.push(target.url.clone());
        names.extend(target.endpoint.clone());
        names.extend(target.url.split_once("://").map(|(_, rest)| rest.to_owned()));
    }
    for policy in &configuration.policies {
        names.extend(policy.source.paths.iter().map(|path| path.display().to_string()));
    }
    // The longer first: one may be the beginning of another.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names.iter().filter(|name| name.len() > 1) {
        line = line.replace(name.as_str(), "(hidden)");
    }
    // Whatever is left and looks like a path.
    let words = line.split(' ').map(|word| {
        let bare = word.trim_start_matches(['(', '"', '\'', '`']);
        if bare.starts_with('/') && bare.len() > 1 { "(hidden)" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load::{Machine, Observed, load};

    #[test]
    fn what_says_where_and_who_is_hidden() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("policies")).expect("made");
        let text = "source = [\"/srv/payroll\"]\nowner = \"li.na\"\n[targets.disk]\nurl = \"file:///mnt/secret-place\"\n";
        std::fs::write(dir.path().join("policies/web.toml"), text).expect("written");
        let machine = Machine { host: "h".to_owned(), timezone: chrono_tz::Tz::UTC };
        let configuration = load(dir.path(), &machine, &Observed::default()).expect("good");
        let shown = settings(&configuration, false);
        for word in ["payroll", "li.na", "secret-place"] {
            assert!(!shown.contains(word), "{word}: {shown}");
            assert!(settings(&configuration, true).contains(word), "{word}");
        }
        assert!(shown.contains("rpo = \"2h\""), "{shown}");
        let line =
            hidden("/srv/payroll/x cannot be read: (/home/li/y) at file:///mnt/secret-place", &configuration);
        assert_eq!(line, "(hidden)/x cannot be read: (hidden) at (hidden)");
    }
}
