//! `lifeboat key ...`, `lifeboat repo key ...`: what opens a repository.

use serde_json::json;

use super::policy::site;
use super::repo::{optional_secret, plumbing};
use crate::app::keys::{Away, KeyList, Keys, SlotChange, SlotFacts};
use crate::app::secrets::{SecretSource, make_recipient};
use crate::base::durable::Created;
use crate::base::error::{Class, Failure};
use crate::cli::args::{
    KeyCommand, ManyRepos, NewSecretArgs, OptionalSecretArgs, PolicyKeyCommand, RoleArgs,
};
use crate::cli::output::{JSON_VERSION, Output, escape};
use crate::cli::run::Session;
use crate::repository::format::keys::Role;
use crate::repository::format::slot::SlotSecret;

/// Runs one on a bare repository.
pub(super) fn run_repo(session: &Session, command: &KeyCommand) -> Result<u8, Failure> {
    let read = |at: &ManyRepos| at.secret.source().read(&session.cx);
    match command {
        KeyCommand::List(at) => {
            let secret = optional_secret(session, &at.secret)?;
            list(session.output, &plumbing(session, &at.access).keys(&at.repos), secret.as_ref())
        }
        KeyCommand::Add { at, new, role } => {
            add(session, &plumbing(session, &at.access).keys(&at.repos), &read(at)?, new, role)
        }
        KeyCommand::Replace { at, new } => {
            replace(session, &plumbing(session, &at.access).keys(&at.repos), &read(at)?, new)
        }
        KeyCommand::Rotate { at, new } => {
            rotate(session, &plumbing(session, &at.access).keys(&at.repos), &read(at)?, new)
        }
        KeyCommand::Kit(args) => {
            let keys = plumbing(session, &args.at.access);
            super::kit::make(session.output, &keys.keys(&args.at.repos), &read(&args.at)?, &args.out)
        }
        KeyCommand::NewRecipient { file } => {
            let line = make_recipient(file)?;
            let out = session.output;
            if out.is_json() {
                out.json(&json!({ "version": JSON_VERSION, "recipient": line, "file": file }));
            } else {
                out.line(&line);
                out.talk(&format!(
                    "{} opens what is made for this line; keep it, and a copy of it, where nobody looks for it",
                    escape(&file.display().to_string())
                ));
            }
            Ok(0)
        }
        KeyCommand::Remove { at, slot } => {
            remove(session.output, &plumbing(session, &at.access).keys(&at.repos), &read(at)?, slot)
        }
    }
}

/// Runs one on a policy's repository: with the site key, unless another secret is named.
pub(in crate::cli) fn run(session: &Session, command: &PolicyKeyCommand) -> Result<u8, Failure> {
    let site = site(session)?;
    let out = session.output;
    let read = |secret: &OptionalSecretArgs| match secret.source() {
        Some(source) => Ok(source.read(&session.cx)?),
        None => site.secret(),
    };
    match command {
        PolicyKeyCommand::List { policy, secret } => {
            // The slots can be looked at without the site key, too.
            let named = secret.source().is_some() || site.has_secret();
            let secret = if named { Some(read(secret)?) } else { None };
            list(out, &site.keys(site.policy(policy)?), secret.as_ref())
        }
        PolicyKeyCommand::Add { policy, secret, new, role } => {
            add(session, &site.keys(site.policy(policy)?), &read(secret)?, new, role)
        }
        PolicyKeyCommand::Remove { policy, slot, secret } => {
            remove(out, &site.keys(site.policy(policy)?), &read(secret)?, slot)
        }
        PolicyKeyCommand::Kit { policy, file, secret } => {
            super::kit::make(out, &site.keys(site.policy(policy)?), &read(secret)?, file)
        }
    }
}

fn list(out: Output, keys: &Keys<'_>, secret: Option<&SlotSecret>) -> Result<u8, Failure> {
    let list = keys.list(secret)?;
    let damaged = list.slots.iter().any(|slot| slot.damaged.is_some());
    let code = match (damaged, list.away.is_empty()) {
        (true, _) => Class::Damage.exit_code(),
        (false, false) => Class::Partial.exit_code(),
        (false, true) => 0,
    };
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

fn add(
    session: &Session,
    keys: &Keys<'_>,
    secret: &SlotSecret,
    new: &NewSecretArgs,
    role: &RoleArgs,
) -> Result<u8, Failure> {
    let (new, made) = made(session, new)?;
    let change = keys.add(secret, &new, &role.role())?;
    let out = session.output;
    let code = code_of(&change);
    if out.is_json() {
        out.json(&json!({ "version": JSON_VERSION, "exit": code, "added": change, "key_file_made": made }));
        return Ok(code);
    }
    print_added(out, &change);
    if let Role::Host(host) | Role::WriteOnly(host) = role.role() {
        out.talk(&format!(
            "it is for the host {}: `lifeboat repo backup --host {}` with it{}",
            escape(&host),
            escape(&host),
            if matches!(role.role(), Role::WriteOnly(_)) { "; it opens nothing that is stored" } else { "" }
        ));
    }
    Ok(code)
}

fn print_added(out: Output, change: &SlotChange) {
    name_away(out, &change.away, "lacks the slot");
    if !change.away.is_empty() {
        out.talk("  next: the same again when it is there, or `lifeboat repo sync` from one of the others");
    }
    out.line(&format!(
        "slot {} ({}) is at {} of {} places",
        change.slot.short(),
        change.kind,
        change.targets.len(),
        change.targets.len() + change.away.len()
    ));
}

fn replace(
    session: &Session,
    keys: &Keys<'_>,
    secret: &SlotSecret,
    new: &NewSecretArgs,
) -> Result<u8, Failure> {
    let (new, made) = made(session, new)?;
    let (added, removed) = keys.replace(secret, &new)?;
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

fn rotate(
    session: &Session,
    keys: &Keys<'_>,
    secret: &SlotSecret,
    new: &NewSecretArgs,
) -> Result<u8, Failure> {
    let (new, made) = made(session, new)?;
    let (added, older) = keys.rotate(secret, &new)?;
    let out = session.output;
    let code = code_of(&added);
    if out.is_json() {
        out.json(&json!({
            "version": JSON_VERSION, "exit": code, "added": added, "older": older, "key_file_made": made,
        }));
        return Ok(code);
    }
    print_added(out, &added);
    out.talk("a new epoch has begun: what is stored from now on opens with the new secret, and with what you add by it");
    for slot in &older {
        out.talk(&format!(
            "old: slot {} ({}) opens what was stored before, and stores nothing any more",
            slot.id.short(),
            slot.kind
        ));
    }
    if !older.is_empty() {
        out.talk(
            "  next: with the new secret, `lifeboat repo key add` for each host, a new `key kit`, then `key remove` of each old slot",
        );
    }
    Ok(code)
}

fn remove(out: Output, keys: &Keys<'_>, secret: &SlotSecret, slot: &str) -> Result<u8, Failure> {
    let removed = keys.remove(secret, slot)?;
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
        session.output.talk(&format!("key file made: {}", escape(&path.display().to_string())));
    }
    Ok((secret, created == Created::New))
}
