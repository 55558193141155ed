//! Names of objects (docs/format.md, "Names").

use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, WriterId};
use crate::storage::contract::ObjectName;

/// The object that makes a place a repository.
pub static REPO_FMT: std::sync::LazyLock<ObjectName> =
    std::sync::LazyLock::new(|| ObjectName::new("repo.fmt").expect("a constant name is well formed"));

/// Data packs hold file content; metadata packs hold manifest nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// `p/`
    Data = 1,
    /// `m/`
    Meta = 2,
}

impl PackClass {
    /// From the stored number.
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Data),
            2 => Some(Self::Meta),
            _ => None,
        }
    }

    /// The class of a pack by its object's name; `None` for other objects.
    pub fn of_name(name: &ObjectName) -> Option<Self> {
        match name.as_str().split('/').next() {
            Some("p") => Some(Self::Data),
            Some("m") => Some(Self::Meta),
            _ => None,
        }
    }
}

/// Kinds of objects under `keys/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A key slot.
    Slot,
    /// A writer's certificate.
    Cert,
    /// The announcement of an epoch.
    Epoch,
}

fn name(text: String) -> ObjectName {
    ObjectName::new(text).expect("names made of hexadecimal digits and constants are well formed")
}

/// `p/ab/abcd...`, `m/ab/abcd...`.
pub fn pack_name(class: PackClass, hash: &ObjectHash) -> ObjectName {
    let hex = hash.to_hex();
    let folder = match class {
        PackClass::Data => 'p',
        PackClass::Meta => 'm',
    };
    name(format!("{folder}/{}/{hex}", &hex[..2]))
}

/// `i/<level>/<id>`.
pub fn index_name(level: u8, id: &ObjectHash) -> ObjectName {
    name(format!("i/{level}/{id}"))
}

/// The level and id of an index run.
pub fn parse_index_name(name: &ObjectName) -> Option<(u8, ObjectHash)> {
    let (level, id) = name.as_str().strip_prefix("i/")?.split_once('/')?;
    let parsed = (level.parse().ok()?, id.parse().ok()?);
    // `i/00/...` is another spelling, and so no name of ours.
    (index_name(parsed.0, &parsed.1) == *name).then_some(parsed)
}

/// `keys/slot-<id>`, `keys/cert-<id>`.
pub fn key_name(kind: KeyKind, id: &ObjectHash) -> ObjectName {
    match kind {
        KeyKind::Slot => name(format!("keys/slot-{id}")),
        KeyKind::Cert => name(format!("keys/cert-{id}")),
        KeyKind::Epoch => name(format!("keys/epoch-{id}")),
    }
}

/// The kind and id of a key object.
pub fn parse_key_name(name: &ObjectName) -> Option<(KeyKind, ObjectHash)> {
    let (kind, id) = name.as_str().strip_prefix("keys/")?.split_once('-')?;
    let kind = match kind {
        "slot" => KeyKind::Slot,
        "cert" => KeyKind::Cert,
        "epoch" => KeyKind::Epoch,
        _ => return None,
    };
    Some((kind, id.parse().ok()?))
}

/// A snapshot's name on one target: `s/<time>-<writer8>-<id>.<nonce>`; its confirmation ends in `.ok`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// `20261124T015302Z`; for sorting only.
    pub at: String,
    /// The first 8 digits of the writer's id.
    pub writer8: String,
    /// The snapshot's id.
    pub id: ObjectHash,
    /// Fresh for every attempt to put it.
    pub nonce: [u8; 8],
}

impl SnapshotName {
    /// A name for one attempt.
    pub fn new(at: Timestamp, writer: &WriterId, id: ObjectHash, nonce: [u8; 8]) -> Self {
        Self { at: at.compact(), writer8: writer.short(), id, nonce }
    }

    /// The same snapshot for another attempt.
    #[must_use]
    pub fn with_nonce(&self, nonce: [u8; 8]) -> Self {
        Self { nonce, ..self.clone() }
    }

    /// The object itself.
    pub fn proposal(&self) -> ObjectName {
        name(format!("s/{}-{}-{}.{}", self.at, self.writer8, self.id, hex::encode(self.nonce)))
    }

    /// Its confirmation.
    pub fn confirmation(&self) -> ObjectName {
        name(format!("{}.ok", self.proposal()))
    }
}

/// What stands under `s/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotEntry {
    /// A snapshot object.
    Proposal(SnapshotName),
    /// A confirmation of it.
    Confirmation(SnapshotName),
}

/// Reads a name under `s/`.
pub fn parse_snapshot_name(name: &ObjectName) -> Option<SnapshotEntry> {
    let text = name.as_str().strip_prefix("s/")?;
    let (text, confirmed) = match text.strip_suffix(".ok") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (at, rest) = text.split_once('-')?;
    let (writer8, rest) = rest.split_once('-')?;
    let (id, nonce) = rest.split_once('.')?;
    let time_is_good = at.len() == 16
        && at.bytes().zip(b"ddddddddTddddddZ").all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            letter => byte == *letter,
        });
    let writer_is_good = writer8.len() == 8 && hex::decode(writer8).is_ok();
    if !(time_is_good && writer_is_good) {
        return None;
    }
    let mut bytes = [0u8; 8];
    hex::decode_to_slice(nonce, &mut bytes).ok()?;
    let parsed =
        SnapshotName { at: at.to_owned(), writer8: writer8.to_owned(), id: id.parse().ok()?, nonce: bytes };
    // Only the spelling that we write counts, so that a name has one reading.
    if parsed.proposal().as_str().strip_prefix("s/") != Some(text) {
        return None;
    }
    Some(if confirmed { SnapshotEntry::Confirmation(parsed) } else { SnapshotEntry::Proposal(parsed) })
}

/// `g/<time>-<id>`: a sweep plan.
pub fn plan_name(at: Timestamp, id: &ObjectHash) -> ObjectName {
    name(format!("g/{}-{id}", at.compact()))
}

/// The mark that a plan was carried out: `<plan>.done-<nonce>`.
pub fn done_name(plan: &ObjectName, nonce: [u8; 8]) -> ObjectName {
    name(format!("{plan}.done-{}", hex::encode(nonce)))
}

/// The mark that a plan was found damaged: `<plan>.hurt-<nonce>`.
pub fn hurt_name(plan: &ObjectName, nonce: [u8; 8]) -> ObjectName {
    name(format!("{plan}.hurt-{}", hex::encode(nonce)))
}

/// The plan that such a mark stands for.
pub fn plan_of_hurt(name: &ObjectName) -> Option<ObjectName> {
    let (plan, _) = name.as_str().strip_prefix("g/")?.split_once(".hurt-")?;
    ObjectName::new(format!("g/{plan}")).ok()
}

/// The plan that such a mark stands for.
pub fn plan_of_done(name: &ObjectName) -> Option<ObjectName> {
    let (plan, _) = name.as_str().strip_prefix("g/")?.split_once(".done-")?;
    ObjectName::new(format!("g/{plan}")).ok()
}

/// The snapshot id that a request to forget names: `f/<id>`.
pub fn parse_forget_name(name: &ObjectName) -> Option<ObjectHash> {
    name.as_str().strip_prefix("f/")?.parse().ok()
}

/// `f/<time>-<id>`: a record of removed snapshots.
pub fn removals_name(at: Timestamp, id: &ObjectHash) -> ObjectName {
    name(format!("f/{}-{id}", at.compact()))
}

/// The hash that a record of removed snapshots has by its name.
pub fn parse_removals_name(name: &ObjectName) -> Option<ObjectHash> {
    let (_, id) = name.as_str().strip_prefix("f/")?.split_once('-')?;
    id.parse().ok()
}

/// The hash that an object's bytes must have, by its name; `None` for names that carry none
/// (`repo.fmt`, confirmations, requests to forget, which carry the hash of a snapshot).
pub fn content_hash(name: &ObjectName) -> Option<ObjectHash> {
    if name.as_str().starts_with("f/") {
        return parse_removals_name(name);
    }
    if let Some(entry) = parse_snapshot_name(name) {
        return match entry {
            SnapshotEntry::Proposal(name) => Some(name.id),
            SnapshotEntry::Confirmation(_) => None,
        };
    }
    let last = name.last();
    last.rsplit('-').next().unwrap_or(last).parse().ok()
}
