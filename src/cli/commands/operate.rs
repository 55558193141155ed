//! First steps and help: `init`, `doctor`, `support-bundle`, `policy`, `metrics`, `completions`, `man`.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::json;

use super::policy::site;
use super::repo::plumbing;
use crate::app::doctor::{Finding, Health, examine};
use crate::app::error::AppError;
use crate::app::init::{Answers, Away, write};
use crate::app::metrics::metrics;
use crate::app::own;
use crate::app::site::configuration;
use crate::app::support::bundle;
use crate::base::durable;
use crate::base::error::{Class, Failure};
use crate::base::size::format_duration;
use crate::cli::args::{
    Cli, CompletionsArgs, DoctorArgs, InitArgs, ManArgs, MetricsArgs, PolicyCommand, RecoverArgs, SupportArgs,
};
use crate::cli::output::{JSON_VERSION, Output, escape, stderr_is_terminal};
use crate::cli::run::Session;
use crate::policy::load::schema;
use crate::policy::model::{Origin, Setting};

/// An answer is shorter than this.
const ANSWER_BYTES_MAX: u64 = 4096;

/// `init`: a first policy.
pub(in crate::cli) fn init(session: &Session, args: &InitArgs) -> Result<u8, Failure> {
    let config = session.place.config.clone().or_else(|| session.place.environment.config.clone());
    let config = config.unwrap_or_else(|| PathBuf::from("."));
    let out = session.output;
    let asks = args.sources.is_empty() && std::io::stdin().is_terminal() && stderr_is_terminal();
    let answers = if asks { ask(out, args, &mut std::io::stdin().lock()) } else { given(args) };
    let path = write(&config, &answers?)?;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "policy": path }));
        return Ok(0);
    }
    out.line(&format!("wrote {}", path.display()));
    let place =
        if config == Path::new(".") { String::new() } else { format!("--config {} ", config.display()) };
    for (command, what) in [
        ("check".to_owned(), "what it lacks"),
        (format!("run {}", args.name), "the first backup; makes the site key"),
        (
            format!("key kit {} --out recovery-kit", args.name),
            "one page for the safe: without it a lost machine loses all",
        ),
        ("daemon".to_owned(), "from then on by schedule"),
    ] {
        out.talk(&format!("next: lifeboat {place}{command:<36} {what}"));
    }
    Ok(0)
}

fn given(args: &InitArgs) -> Result<Answers, Failure> {
    if args.sources.is_empty() || (args.disk.is_none() && args.away.is_none()) {
        return Err(AppError::Usage {
            what: "nobody is at a terminal to be asked".to_owned(),
            hint: "name --source DIR and --disk DIR, and --away URL with --location PLACE".to_owned(),
        }
        .into());
    }
    let away = args.away.as_ref().map(|url| Away {
        url: url.clone(),
        endpoint: args.endpoint.clone(),
        location: args.location.clone().unwrap_or_else(|| "elsewhere".to_owned()),
    });
    Ok(Answers {
        name: args.name.clone(),
        sources: args.sources.iter().map(|path| absolute(path)).collect(),
        disk: args.disk.as_deref().map(absolute),
        away,
        rpo: args.rpo.clone(),
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Five questions.
fn ask(out: Output, args: &InitArgs, input: &mut dyn BufRead) -> Result<Answers, Failure> {
    let mut question = |text: &str, default: &str| -> Result<String, Failure> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        out.talk(&format!("{text}{shown}"));
        drop(std::io::stderr().flush());
        let mut line = String::new();
        let read = input.take(ANSWER_BYTES_MAX).read_line(&mut line).unwrap_or(0);
        if read == 0 {
            return Err(AppError::Usage {
                what: "the questions were left without an answer".to_owned(),
                hint: "nothing was written; run it again".to_owned(),
            }
            .into());
        }
        let line = line.trim();
        Ok(if line.is_empty() { default.to_owned() } else { line.to_owned() })
    };
    let sources = question("1 of 5  What is to be backed up? Folders, separated by blanks", "/etc /home")?;
    let disk = question("2 of 5  Where does the first copy go? A folder on another disk", "/mnt/backup")?;
    let url = question("3 of 5  And one elsewhere? s3://bucket/prefix, a folder, or nothing", "")?;
    let away = if url.is_empty() {
        None
    } else {
        let endpoint = if url.starts_with("s3://") {
            Some(question("        Its address, when it is not AWS: https://host", "")?)
                .filter(|e| !e.is_empty())
        } else {
            None
        };
        let location = question("4 of 5  Where does that one stand? A town", "elsewhere")?;
        Some(Away { url, endpoint, location })
    };
    let rpo = question("5 of 5  How much work may be lost, at most?", &args.rpo)?;
    Ok(Answers {
        name: args.name.clone(),
        sources: sources.split_whitespace().map(PathBuf::from).collect(),
        disk: Some(PathBuf::from(disk)),
        away,
        rpo,
    })
}

/// `recover`: a lost host is made again.
pub(in crate::cli) fn recover(session: &Session, args: &RecoverArgs) -> Result<u8, Failure> {
    let done = own::recover(&plumbing(session, &args.access), &args.from, &args.kit, &args.to)?;
    let out = session.output;
    let (config, state) = (done.config.display(), done.state.display());
    if out.is_json() {
        out.json(&json!({
            "version": JSON_VERSION, "snapshot": done.snapshot, "config": done.config, "state": done.state,
        }));
        return Ok(0);
    }
    out.line(&format!("the records of {} are back: {config} and {state}", done.taken));
    out.talk(&format!("next: lifeboat --config {config} --state-dir {state} check --online"));
    out.talk("next: move both to their places; put the targets' credentials back, which no backup holds");
    out.talk("next: lifeboat verify, then lifeboat status; the site key is new, other targets get its slot by `lifeboat repo sync`");
    Ok(0)
}

/// `doctor`.
pub(in crate::cli) fn doctor(session: &Session, args: &DoctorArgs) -> Result<u8, Failure> {
    let found = examine(&session.place, &session.cx, args.offline);
    let bad = found.iter().any(|finding| finding.health == Health::Bad);
    let code = if bad { Class::Failed.exit_code() } else { 0 };
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "findings": found }));
        return Ok(code);
    }
    found.iter().for_each(|finding| print_finding(out, finding));
    Ok(code)
}

fn print_finding(out: Output, finding: &Finding) {
    let word = match finding.health {
        Health::Good => "good",
        Health::Doubtful => "LOOK",
        Health::Bad => "BAD",
    };
    let mut lines = finding.seen.iter();
    let first = lines.next().map_or_else(String::new, |line| escape(line));
    out.line(&format!("{word:<5} {:<16} {first}", escape(&finding.about)));
    lines.for_each(|line| out.line(&format!("{:22} {}", "", escape(line))));
    if let Some(next) = &finding.next {
        out.line(&format!("{:22} next: {}", "", escape(next)));
    }
}

/// `support-bundle`.
pub(in crate::cli) fn support(session: &Session, args: &SupportArgs) -> Result<u8, Failure> {
    bundle(&session.place, &session.cx, &args.to, args.with_names)?;
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "file": args.to }));
    } else {
        out.line(&format!("wrote {}: plain text; read it before you send it", args.to.display()));
    }
    Ok(0)
}

/// `policy`.
pub(in crate::cli) fn policy(session: &Session, command: &PolicyCommand) -> Result<u8, Failure> {
    let out = session.output;
    if let PolicyCommand::Schema { of } = command {
        out.line(&format!("{:#}", schema(of.file())));
        return Ok(0);
    }
    let configuration = configuration(&session.place)?;
    match command {
        PolicyCommand::Show { policy, effective } => {
            let known =
                || configuration.policies.iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join(", ");
            let found = configuration.policy(policy).ok_or_else(|| AppError::Unknown {
                what: "policy",
                name: policy.clone(),
                known: known(),
            })?;
            let is_shown = |one: &&Setting| *effective || one.origin != Origin::Default;
            let settings: Vec<&Setting> = found.settings.iter().filter(is_shown).collect();
            if out.is_json() {
                out.json(&json!({ "version": JSON_VERSION, "file": found.version, "settings": settings }));
                return Ok(0);
            }
            out.line(&format!("# {} {}", found.version.file, found.version.sha256));
            for one in settings {
                out.line(&format!("{:<34} = {:<40} # {}", one.key, escape(&one.value), one.origin));
            }
        }
        _ => {
            if out.is_json() {
                let all: Vec<_> = configuration
                    .policies
                    .iter()
                    .map(|one| {
                        json!({
                            "policy": one.id, "tier": one.tier, "owner": one.owner, "file": one.version,
                            "rpo_seconds": one.objective.rpo.as_secs(), "targets": one.targets.len(),
                        })
                    })
                    .collect();
                out.json(&json!({ "version": JSON_VERSION, "policies": all }));
                return Ok(0);
            }
            for one in &configuration.policies {
                out.line(&format!(
                    "{:<20} {:<9} rpo {:<6} {} targets  {}",
                    one.id.as_str(),
                    one.tier.word(),
                    format_duration(one.objective.rpo),
                    one.targets.len(),
                    escape(&one.description),
                ));
            }
        }
    }
    Ok(0)
}

/// `metrics`.
pub(in crate::cli) fn numbers(session: &Session, args: &MetricsArgs) -> Result<u8, Failure> {
    let site = site(session)?;
    if let Some(address) = args.listen {
        super::serve::serve(session, &site, address)?;
        return Ok(0);
    }
    let text = metrics(&site)?;
    text.lines().for_each(|line| session.output.line(line));
    Ok(0)
}

/// `completions`.
pub(in crate::cli) fn completions(session: &Session, args: &CompletionsArgs) -> u8 {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lifeboat", &mut bytes);
    session.output.line(String::from_utf8_lossy(&bytes).trim_end());
    0
}

/// `man`.
pub(in crate::cli) fn man(session: &Session, args: &ManArgs) -> Result<u8, Failure> {
    let unwritable = |source| AppError::Unwritable { path: args.to.clone(), source };
    durable::create_dir_all(&args.to).map_err(unwritable)?;
    clap_mangen::generate_to(Cli::command(), &args.to).map_err(unwritable)?;
    session.output.line(&format!("wrote the pages to {}", args.to.display()));
    Ok(0)
}
