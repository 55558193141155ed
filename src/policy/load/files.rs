//! Finding the configuration folder and reading what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;

use super::policy::Spots;
use super::reader::{Findings, Reader, Section};
use super::site::{self, Machine};
use super::{drill, lint, policy};
use crate::policy::model::{Configuration, DrillId, DrillPlan, Policy, PolicyId, Setting, Site, Version};
use crate::policy::problem::{Complaint, Problem, Problems, Severity, Sort};

const SITE_FILE: &str = "lifeboat.toml";
const POLICIES: &str = "policies";
const DRILLS: &str = "drills";
/// A file written by hand is a hundredth of this.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files in one folder.
const FILES_MAX: usize = 10_000;

/// What was measured and decides about promises; empty before the first run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// By policy: the 95th percentile of the time from a run's start until its copies are confirmed.
    pub time_to_acked: BTreeMap<String, Duration>,
}

/// The configuration folder: `explicit` (from the command line or the environment), or else the
/// first of `usual` that holds `lifeboat.toml` or a `policies` folder.
///
/// # Errors
/// When the explicit one holds neither, or nothing is found.
pub fn find(explicit: Option<&Path>, usual: &[PathBuf]) -> Result<PathBuf, Problems> {
    let holds = |dir: &Path| dir.join(SITE_FILE).is_file() || dir.join(POLICIES).is_dir();
    let candidates: Vec<&Path> = match explicit {
        Some(dir) => vec![dir],
        None => usual.iter().map(PathBuf::as_path).collect(),
    };
    if let Some(dir) = candidates.iter().find(|dir| holds(dir)) {
        return Ok(dir.to_path_buf());
    }
    let tried = candidates.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
    let complaint = Complaint::new(
        Sort::NotFound,
        "no configuration: neither lifeboat.toml nor a folder policies is there",
        "write policies/web.toml there (docs/configuration.md), or name the folder with --config",
    );
    Err(Problems(vec![complaint.in_file(&tried)]))
}

/// Reads `lifeboat.toml`, `policies/*.toml` and `drills/*.toml` of a folder. Nothing else is touched.
///
/// # Errors
/// All problems, warnings among them, when at least one is an error.
pub fn load(dir: &Path, machine: &Machine, observed: &Observed) -> Result<Configuration, Problems> {
    let mut loader = Loader { dir, problems: Vec::new() };
    let site = loader.site(machine);
    let policies = loader.policies(&site);
    let drills = loader.drills(&site, &policies);
    let mut judged = Vec::new();
    let drafts = &policies.drafts;
    drafts.iter().for_each(|draft| judged.extend(lint::policy(draft, &site, &drills, observed)));
    judged.extend(lint::clashes(drafts));
    judged.extend(lint::self_backup(&site, &policies.ids, SITE_FILE));
    loader.problems.append(&mut judged);
    let mut problems = loader.problems;
    problems.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.severity).cmp(&(&b.file, b.line, b.column, b.severity))
    });
    if problems.iter().any(|p| p.severity == Severity::Error) {
        return Err(Problems(problems));
    }
    Ok(Configuration {
        dir: dir.to_owned(),
        site,
        policies: policies.drafts.into_iter().map(|d| d.policy).collect(),
        drills,
        warnings: problems,
    })
}

/// A policy with what is needed to complain about it.
pub(super) struct Draft {
    pub(super) policy: Policy,
    pub(super) spots: Spots,
    pub(super) text: String,
}

/// The policies without errors of their own, and the ids of all.
struct Policies {
    drafts: Vec<Draft>,
    ids: BTreeSet<PolicyId>,
}

struct Loader<'a> {
    dir: &'a Path,
    problems: Vec<Problem>,
}

impl Loader<'_> {
    fn site(&mut self, machine: &Machine) -> Site {
        let (text, version) = match self.text(SITE_FILE) {
            Some(Ok((text, version))) => (text, Some(version)),
            Some(Err(problem)) => {
                self.problems.push(problem);
                (String::new(), None)
            }
            None => (String::new(), None),
        };
        self.parse(SITE_FILE, &text, |root| site::read(root, machine))
            .map(|(site, settings)| Site { settings, version, ..site })
            // The rest of the files is still read, for what else is wrong.
            .unwrap_or_else(|| site::of_machine(machine))
    }

    fn policies(&mut self, site: &Site) -> Policies {
        let mut policies = Policies { drafts: Vec::new(), ids: BTreeSet::new() };
        for (file, stem) in self.files(POLICIES) {
            let id = self.id(&file, &stem, PolicyId::new);
            policies.ids.extend(id.clone());
            let Some((text, version)) = self.read(&file) else { continue };
            // A file of the wrong name is read all the same, for what else is wrong.
            let standing = id.clone().or_else(|| PolicyId::new("unnamed"));
            let read = standing
                .and_then(|id| self.parse(&file, &text, |root| policy::read(id, version, root, site)));
            if let (Some(((policy, spots), settings)), Some(_)) = (read, id) {
                policies.drafts.push(Draft { policy: Policy { settings, ..policy }, spots, text });
            }
        }
        policies
    }

    fn drills(&mut self, site: &Site, policies: &Policies) -> Vec<DrillPlan> {
        let good: Vec<Policy> = policies.drafts.iter().map(|d| d.policy.clone()).collect();
        let known = drill::Known { ids: &policies.ids, policies: &good, site };
        let mut drills = Vec::new();
        for (file, stem) in self.files(DRILLS) {
            let id = self.id(&file, &stem, DrillId::new);
            let Some((text, version)) = self.read(&file) else { continue };
            let standing = id.clone().or_else(|| DrillId::new("unnamed"));
            let read = standing
                .and_then(|id| self.parse(&file, &text, |root| drill::read(id, Some(version), root, &known)));
            if let (Some((plan, settings)), Some(_)) = (read, id) {
                drills.push(DrillPlan { settings, ..plan });
            }
        }
        let mut taken: BTreeSet<DrillId> = drills.iter().map(|d| d.id.clone()).collect();
        for policy in &good {
            if drills.iter().any(|drill: &DrillPlan| drill.policy == policy.id) {
                continue;
            }
            let Some(id) = drill::free_id(&policy.id, &taken) else { continue };
            taken.insert(id.clone());
            let (file, text) = (format!("default drill of {}", policy.id), drill::default_text(&policy.id));
            let read = self.parse(&file, &text, |root| drill::read(id, None, root, &known));
            drills.extend(read.map(|(plan, settings)| DrillPlan { settings, ..plan }));
        }
        drills.sort_by(|a, b| a.id.cmp(&b.id));
        drills
    }

    /// Parses a file and hands its root to `read`; what was found joins the problems. `None` after an error.
    fn parse<T>(
        &mut self,
        file: &str,
        text: &str,
        read: impl FnOnce(Section<'_>) -> Option<T>,
    ) -> Option<(T, Vec<Setting>)> {
        let reader = Reader::new(file, text);
        let value = match toml_edit::Document::parse(text) {
            Ok(document) => read(Section::root(&reader, document.as_table())),
            Err(error) => {
                let cause = error.message().lines().collect::<Vec<_>>().join("; ");
                let complaint = Complaint::new(Sort::Syntax, cause, "correct the TOML (https://toml.io)");
                reader.complain(complaint, error.span().or(Some(0..0)));
                None
            }
        };
        let Findings { problems, settings } = reader.finish();
        let good = problems.is_empty();
        self.problems.extend(problems);
        value.filter(|_| good).map(|value| (value, settings))
    }

    /// The `.toml` files of a folder and their stems, sorted. Other files are warned of: a typo in an
    /// extension must not silently stop a backup.
    fn files(&mut self, folder: &str) -> Vec<(String, String)> {
        let entries = match std::fs::read_dir(self.dir.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.problems.push(unreadable(folder, &error));
                return Vec::new();
            }
        };
        let mut files = Vec::new();
        for entry in entries.take(FILES_MAX + 1) {
            let name = match entry {
                Ok(entry) => entry.file_name().to_string_lossy().into_owned(),
                Err(error) => {
                    self.problems.push(unreadable(folder, &error));
                    continue;
                }
            };
            let file = format!("{folder}/{name}");
            match name.strip_suffix(".toml") {
                _ if name.starts_with('.') || name.ends_with('~') || name.starts_with('#') => {}
                Some(stem) => files.push((file, stem.to_owned())),
                None => {
                    let complaint =
                        Complaint::value("the file is not read: its name doesn't end in .toml", "rename it");
                    self.problems.push(Problem { severity: Severity::Warning, ..complaint.in_file(&file) });
                }
            }
        }
        if files.len() > FILES_MAX {
            let complaint = Complaint::value("too many files", format!("at most {FILES_MAX}"));
            self.problems.push(complaint.in_file(folder));
        }
        files.sort();
        files
    }

    fn id<T>(&mut self, file: &str, stem: &str, new: impl Fn(&str) -> Option<T>) -> Option<T> {
        let id = new(stem);
        if id.is_none() {
            let cause = format!("`{stem}` is no id, and a file's name is its id");
            let complaint = Complaint::value(cause, "rename the file: 1 to 64 of a-z, 0-9 and -, then .toml");
            self.problems.push(complaint.in_file(file));
        }
        id
    }

    fn read(&mut self, file: &str) -> Option<(String, Version)> {
        // It was listed: what is gone now must not silently stop a backup.
        let problem = match self.text(file) {
            Some(Ok(read)) => return Some(read),
            Some(Err(problem)) => problem,
            None => unreadable(file, &io::Error::from(io::ErrorKind::NotFound)),
        };
        self.problems.push(problem);
        None
    }

    /// A file's text and version; `None` when it isn't there.
    fn text(&self, file: &str) -> Option<Result<(String, Version), Problem>> {
        let path = self.dir.join(file);
        let mut bytes = Vec::new();
        let read = std::fs::metadata(&path).and_then(|metadata| {
            if !metadata.is_file() {
                // Opening a pipe would wait for its writer.
                return Err(io::Error::other("it is not a regular file"));
            }
            File::open(&path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
        });
        match read {
            // A link to nothing is there, and was meant to be more.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return None,
            Err(error) => return Some(Err(unreadable(file, &error))),
            Ok(length) if u64::try_from(length).is_ok_and(|l| l > FILE_BYTES_MAX) => {
                let complaint = Complaint::new(Sort::Unreadable, "the file is larger than 1 MiB", "split it");
                return Some(Err(complaint.in_file(file)));
            }
            Ok(_) => {}
        }
        let sha256 = hex::encode(digest::digest(&digest::SHA256, &bytes));
        let version = Version { file: file.to_owned(), sha256 };
        Some(String::from_utf8(bytes).map(|text| (text, version)).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            let cause = format!("the file is not UTF-8 text (byte {place})");
            Complaint::new(Sort::Unreadable, cause, "save it as UTF-8").in_file(file)
        }))
    }
}

fn unreadable(file: &str, error: &io::Error) -> Problem {
    let cause = format!("cannot be read: {error}");
    Complaint::new(Sort::Unreadable, cause, "check the file and its permissions").in_file(file)
}
