//! The recovery kit: a slot of its own, opened by a code that stands on paper and nowhere else.
//!
//! The slot stands before the kit is written, so that no kit is ever printed that opens nothing. A
//! kit that can't be written takes its slot away again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::AppError;
use super::keys::{Keys, SlotChange, put_everywhere};
use super::secrets::SLOT_NAME;
use crate::base::durable::{self, Created};
use crate::base::error::Failure;
use crate::base::id::ObjectHash;
use crate::codec::hash;
use crate::codec::kdf::KdfParams;
use crate::codec::key_text::KeyText;
use crate::codec::words;
use crate::report::kit::Kit;
use crate::repository::access::Repository;
use crate::repository::format::keys::Role;
use crate::repository::format::slot::{KeyObject, SlotMethod, SlotSecret};
use crate::repository::slots;

/// A kit that was made.
pub struct KitMade {
    /// Where its slot is.
    pub slot: SlotChange,
    /// The page for paper.
    pub page: PathBuf,
    /// The same as text.
    pub text: PathBuf,
    /// The 24 words.
    pub words: Vec<&'static str>,
    /// Slots of kits that were made before.
    pub older: Vec<ObjectHash>,
    repository: Repository,
}

impl Keys<'_> {
    /// Makes a recovery kit: `BASE.html` and `BASE.txt`, and its slot at every place that answers.
    ///
    /// # Errors
    /// When `secret` opens no slot that may administer, a file of that name exists or cannot be
    /// written, or no place takes the slot.
    pub fn make_kit(&self, secret: &SlotSecret, base: &Path) -> Result<KitMade, Failure> {
        let (page, text) = files(base);
        for path in [&page, &text] {
            if path.symlink_metadata().is_ok() {
                return Err(AppError::Usage {
                    what: format!("{} is there already, and no kit is written over", path.display()),
                    hint: "name another file with --out".to_owned(),
                }
                .into());
            }
        }
        let (repository, away) = self.reach(secret)?;
        let older = older(&repository)?;
        let code = SlotSecret::new_recovery_code();
        let SlotSecret::RecoveryCode { code: key, .. } = &code else {
            return Err(AppError::Usage { what: "no code".to_owned(), hint: String::new() }.into());
        };
        let made = Arc::new(slots::make(&repository, &Role::Admin, &code, KdfParams::default())?);
        let slot = put_everywhere(&repository, &made, &code, &Role::Admin, away)?;
        let words = words::to_words(key);
        let line = Zeroizing::new(KeyText::RecoveryCode.write(key).to_ascii_uppercase());
        let kit = self.kit(&repository, &made, &words, &line)?;
        let written = write(&page, &kit.page()).and_then(|()| write(&text, &kit.text()));
        let kit = KitMade { slot, page, text, words, older, repository };
        match written {
            Ok(()) => Ok(kit),
            Err(error) => {
                kit.discard()?;
                Err(error.into())
            }
        }
    }

    fn kit<'a>(
        &self,
        repository: &Repository,
        slot: &KeyObject,
        words: &'a [&'static str],
        code: &'a str,
    ) -> Result<Kit<'a>, Failure> {
        let format = repository.format();
        let bytes = format.encode();
        Ok(Kit {
            repository: repository.id().to_hex(),
            slot: slot.name.to_hex(),
            made: self.clock.now().readable(),
            version: env!("CARGO_PKG_VERSION"),
            format_hash: hex::encode(hash::plain(&[&bytes])),
            admin: hex::encode(format.admin_public),
            places: self.places.iter().map(|place| (self.describe)(place)).collect::<Result<_, _>>()?,
            words,
            code,
            objects: [
                ("repo.fmt".to_owned(), STANDARD.encode(&bytes)),
                (format!("{SLOT_NAME}{}", slot.name), STANDARD.encode(&slot.bytes)),
            ],
        })
    }
}

impl KitMade {
    /// Takes the kit back: its files and its slot.
    ///
    /// # Errors
    /// Whatever a place says; the files are gone by then.
    pub fn discard(&self) -> Result<(), Failure> {
        for path in [&self.page, &self.text] {
            // A file that was never written, or is gone, is what is wanted.
            drop(std::fs::remove_file(path));
        }
        for target in self.repository.targets() {
            if self.slot.targets.contains(&target.name) {
                slots::remove(&self.repository, target, &self.slot.slot)?;
            }
        }
        Ok(())
    }
}

fn older(repository: &Repository) -> Result<Vec<ObjectHash>, Failure> {
    let mut found = Vec::new();
    for target in repository.targets() {
        for slot in slots::list(target)?.1 {
            if slot.about.is_ok_and(|head| head.method == Some(SlotMethod::RecoveryCode)) {
                found.push(slot.id);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The two files of a kit.
fn files(base: &Path) -> (PathBuf, PathBuf) {
    let stem = match base.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "txt") => base.with_extension(""),
        _ => base.to_owned(),
    };
    let with = |extension: &str| {
        let mut name = stem.clone().into_os_string();
        name.push(extension);
        PathBuf::from(name)
    };
    (with(".html"), with(".txt"))
}

fn write(path: &Path, text: &str) -> Result<(), AppError> {
    let unwritable = |source| AppError::Unwritable { path: path.to_owned(), source };
    if durable::create_new(path, text.as_bytes()).map_err(unwritable)? == Created::Existing {
        return Err(unwritable(std::io::ErrorKind::AlreadyExists.into()));
    }
    durable::sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kit_is_two_files_whatever_its_name_ends_in() {
        for base in ["dir.d/kit", "dir.d/kit.html", "dir.d/kit.txt"] {
            assert_eq!(files(Path::new(base)), ("dir.d/kit.html".into(), "dir.d/kit.txt".into()));
        }
        assert_eq!(files(Path::new("kit-2026.11")).0, PathBuf::from("kit-2026.11.html"));
    }
}
