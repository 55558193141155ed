//! A first policy from five answers.

use std::path::{Path, PathBuf};

use super::error::AppError;
use crate::base::durable::{self, Created};
use crate::base::error::Failure;
use crate::policy::model::PolicyId;

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The policy's name.
    pub name: String,
    /// What is backed up.
    pub sources: Vec<PathBuf>,
    /// Where the first copy goes: a folder on another disk.
    pub disk: Option<PathBuf>,
    /// Where the second one goes: `s3://bucket/prefix`, or a folder that stands elsewhere.
    pub away: Option<Away>,
    /// How much work may be lost, as text: `2h`.
    pub rpo: String,
}

/// The copy that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// `s3://bucket/prefix` or a folder.
    pub url: String,
    /// `https://host`, for a bucket that is not AWS's.
    pub endpoint: Option<String>,
    /// Where it stands.
    pub location: String,
}

/// The policy's text: what was answered, and nothing else; the rest has defaults.
fn text(answers: &Answers) -> String {
    let quoted = |text: &str| toml_text(text);
    let sources: Vec<String> =
        answers.sources.iter().map(|path| quoted(&path.display().to_string())).collect();
    let mut text = format!("source = [{}]\nrpo = {}\n", sources.join(", "), quoted(&answers.rpo));
    if let Some(disk) = &answers.disk {
        let url = format!("file://{}", disk.display());
        text.push_str(&format!("\n[targets.disk]\nurl = {}\n", quoted(&url)));
    }
    if let Some(away) = &answers.away {
        let url = if away.url.contains("://") { away.url.clone() } else { format!("file://{}", away.url) };
        text.push_str(&format!("\n[targets.away]\nurl = {}\n", quoted(&url)));
        if let Some(endpoint) = &away.endpoint {
            text.push_str(&format!("endpoint = {}\n", quoted(endpoint)));
        }
        text.push_str(&format!("location = {}\n", quoted(&away.location)));
    }
    text.push_str("\n[retention]\nhourly = 48\ndaily = 14\nweekly = 8\nmonthly = 12\n");
    text
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Writes `policies/NAME.toml`; answers where.
///
/// # Errors
/// Usage, when the name is none or the policy is there already; when it cannot be written.
pub fn write(config: &Path, answers: &Answers) -> Result<PathBuf, Failure> {
    let usage = |what: String, hint: &str| AppError::Usage { what, hint: hint.to_owned() };
    if PolicyId::new(&answers.name).is_none() {
        let what = format!("`{}` is no name of a policy", answers.name);
        return Err(usage(what, "use 1 to 64 of a-z, 0-9 and -").into());
    }
    let folder = config.join("policies");
    let path = folder.join(format!("{}.toml", answers.name));
    let unwritable = |source| AppError::Unwritable { path: path.clone(), source };
    durable::create_dir_all(&folder).map_err(unwritable)?;
    match durable::create_new(&path, text(answers).as_bytes()).map_err(unwritable)? {
        Created::New => Ok(path),
        Created::Existing => {
            let what = format!("{} is there already, and is not written over", path.display());
            Err(usage(what, "give the policy another --name, or edit the file").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load::{Machine, Observed, load};

    #[test]
    fn what_is_written_loads_whatever_the_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let answers = Answers {
            name: "web".to_owned(),
            sources: vec!["/srv/a \"b\" \\ c".into(), "/etc".into()],
            disk: Some("/mnt/disk".into()),
            away: Some(Away {
                url: "s3://bucket/web".to_owned(),
                endpoint: Some("https://s3.example.com".to_owned()),
                location: "beijing".to_owned(),
            }),
            rpo: "2h".to_owned(),
        };
        write(dir.path(), &answers).expect("written");
        let machine = Machine { host: "hq".to_owned(), timezone: chrono_tz::Tz::UTC };
        let found = load(dir.path(), &machine, &Observed::default()).expect("good");
        assert_eq!(found.policies[0].source.paths, answers.sources);
        assert_eq!(found.policies[0].targets.len(), 2);
        let again = write(dir.path(), &answers).expect_err("it is there");
        assert!(again.message().contains("is there already"), "{}", again.message());
        let bad = Answers { name: "../x".to_owned(), ..answers };
        assert!(write(dir.path(), &bad).is_err());
    }
}
