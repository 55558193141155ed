//! `lifeboat repo key ...`: what opens a repository.

use serde_json::json;

use super::repo::{optional_secret, plumbing};
use crate::app::keys::{Away, KeyList, SlotChange, SlotFacts};
use crate::app::secrets::SecretSource;
use crate::base::durable::Created;
use crate::base::error::{Class, Failure};
use crate::cli::args::{KeyCommand, ManyRepos, ManyReposKeyOptional, NewSecretArgs};
use crate::cli::output::{JSON_VERSION, Output, escape};
use crate::cli::run::Session;
use crate::repository::format::slot::SlotSecret;

/// Runs one of them.
pub(super) fn run(session: &Session, command: &KeyCommand) -> Result<u8, Failure> {
    match command {
        KeyCommand::List(at) => list(session, at),
        KeyCommand::Add { at, new } => add(session, at, new),
        KeyCommand::Replace { at, new } => replace(session, at, new),
        KeyCommand::Kit(args) => super::kit::run(session, args),
        KeyCommand::Remove { at, slot } => remove(session, at, slot),
    }
}

fn list(session: &Session, at: &ManyReposKeyOptional) -> Result<u8, Failure> {
    let secret = optional_secret(session, &at.secret)?;
    let list = plumbing(session, &at.access).keys(&at.repos, secret.as_ref())?;
    let damaged = list.slots.iter().any(|slot| slot.damaged.is_some());
    let code = match (damaged, list.away.is_empty()) {
        (true, _) => Class::Damage.exit_code(),
        (false, false) => Class::Partial.exit_code(),
        (false, true) => 0,
    };
    let out = session.output;
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "keys": list }));
        return Ok(code);
    }
    print_list(out, &list);
    Ok(code)
}

fn print_list(out: Output, list: &KeyList) {
    for slot in &list.slots {
        out.line(&format!(
            "{}  {:<13}  {}  {}{}",
            slot.id.short(),
            slot.kind,
            slot.put_at.readable(),
            costs(slot),
            if slot.opened { "  opened by the given secret" } else { "" }
        ));
        for target in &slot.missing {
            out.talk(&format!(
                "missing: slot {} at {}; `lifeboat repo sync` brings it there",
                slot.id.short(),
                escape(target)
            ));
        }
        if let Some(what) = &slot.damaged {
            out.talk(&format!("damaged: slot {} {}", slot.id.short(), escape(what)));
        }
    }
    name_away(out, &list.away, "was not looked at");
}

fn costs(slot: &SlotFacts) -> String {
    match (slot.memory_kib, slot.passes) {
        (Some(memory), Some(passes)) => format!("{} MiB, {passes} passes", memory / 1024),
        _ => "-".to_owned(),
    }
}

fn name_away(out: Output, away: &[Away], what: &str) {
    for away in away {
        out.talk(&format!("away: {} {what}: {}", escape(&away.target), escape(&away.reason)));
    }
}

fn add(session: &Session, at: &ManyRepos, new: &NewSecretArgs) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let (new, made) = made(session, new)?;
    let change = plumbing(session, &at.access).add_key(&at.repos, &secret, &new)?;
    let out = session.output;
    let code = code_of(&change);
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "added": change, "key_file_made": made }));
        return Ok(code);
    }
    print_added(out, &change);
    Ok(code)
}

fn print_added(out: Output, change: &SlotChange) {
    name_away(out, &change.away, "lacks the slot");
    if !change.away.is_empty() {
        out.talk("  next: `lifeboat repo sync` from one of the others brings it there");
    }
    out.line(&format!(
        "slot {} ({}) is at {} of {} places",
        change.slot.short(),
        change.kind,
        change.targets.len(),
        change.targets.len() + change.away.len()
    ));
}

fn replace(session: &Session, at: &ManyRepos, new: &NewSecretArgs) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let (new, made) = made(session, new)?;
    let (added, removed) = plumbing(session, &at.access).replace_key(&at.repos, &secret, &new)?;
    let out = session.output;
    let code = code_of(&added).max(code_of(&removed));
    if out.is_json() {
        out.json(&json!({
            "version": JSON_VERSION, "exit": code, "added": added, "removed": removed, "key_file_made": made,
        }));
        return Ok(code);
    }
    print_added(out, &added);
    print_removed(out, &removed);
    Ok(code)
}

fn remove(session: &Session, at: &ManyRepos, slot: &str) -> Result<u8, Failure> {
    let secret = at.secret.source().read(&session.cx)?;
    let removed = plumbing(session, &at.access).remove_key(&at.repos, &secret, slot)?;
    let out = session.output;
    let code = code_of(&removed);
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "removed": removed }));
        return Ok(code);
    }
    print_removed(out, &removed);
    Ok(code)
}

fn print_removed(out: Output, change: &SlotChange) {
    name_away(out, &change.away, "still has the slot");
    if !change.away.is_empty() {
        out.talk("  next: the same again when it is there; a sync from it brings the slot back until then");
    }
    out.line(&format!(
        "slot {} ({}) was taken away at {} of {} places",
        change.slot.short(),
        change.kind,
        change.targets.len(),
        change.targets.len() + change.away.len()
    ));
    out.talk(
        "Who has kept a copy of the slot, or a store that keeps versions, can still open it with the old secret: \
         see docs/keys.md.",
    );
}

fn code_of(change: &SlotChange) -> u8 {
    if change.away.is_empty() { 0 } else { Class::Partial.exit_code() }
}

/// The new secret; a key file that isn't there is made, and named.
fn made(session: &Session, new: &NewSecretArgs) -> Result<(SlotSecret, bool), Failure> {
    let source = new.source();
    let (secret, created) = source.read_or_make(&session.cx)?;
    if let (SecretSource::KeyFile(path), Created::New) = (&source, created) {
        session.cx.progress.note(format!("key file made: {}", path.display()));
    }
    Ok((secret, created == Created::New))
}
