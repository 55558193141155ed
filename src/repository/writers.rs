//! Who may store what: the certificates of writers, and the epochs that were announced. Both are the
//! administrator's word in clear, below `keys/` of every target.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::access::{Repository, Target};
use super::error::RepositoryError;
use super::format::cert::WriterCert;
use super::format::epoch;
use super::format::error::FormatError;
use super::format::keys::Role;
use super::format::names::{KeyKind, key_name, parse_key_name};
use crate::base::id::WriterId;
use crate::codec::hash;
use crate::codec::sign::Signer;
use crate::storage::contract::{ObjectName, Read, Span, list_all};

impl Repository {
    /// That no later epoch was announced than this key is of: what was stored with it now could be read
    /// by whoever the new keys were to keep out.
    ///
    /// # Errors
    /// `OldEpoch`.
    pub fn refuse_old_epoch(&self, announced: u32) -> Result<(), RepositoryError> {
        if announced > self.keys().epoch() { Err(FormatError::OldEpoch.into()) } else { Ok(()) }
    }

    /// Who signs index runs that speak for packs of others: the administrator, or a host that reads. A
    /// host that only adds would not be believed.
    ///
    /// # Errors
    /// `WritesOnly`.
    pub(super) fn index_signer(&self) -> Result<Signer, RepositoryError> {
        self.keys().reads()?;
        match self.root().writer() {
            Some(writer) => Ok(Signer::from_seed(writer.seed.expose())),
            None => self.admin(),
        }
    }

    /// Puts the host's certificate on a target unless it is there. Its bytes are always the same. A
    /// host that may not make one only looks: it got one there with its key.
    ///
    /// # Errors
    /// `NoCertificate`; whatever the target says.
    pub fn certify(&self, target: &Target, host: &str, signer: &Signer) -> Result<(), RepositoryError> {
        if self.root().writer().is_some() {
            if self.writers(target)?.public(&signer.id()).is_some() {
                return Ok(());
            }
            let place = target.storage.label().to_owned();
            return Err(RepositoryError::NoCertificate { host: host.to_owned(), place });
        }
        self.put_cert(target, &WriterCert::host(signer.public(), host))
    }

    /// Puts the certificate of a role's host on a target, before the host has a key.
    ///
    /// # Errors
    /// When these are not the administrator's keys; whatever the target says.
    pub(super) fn certify_role(&self, target: &Target, role: &Role) -> Result<(), RepositoryError> {
        let granted = self.root().granted_to(role, &self.format().repo_id)?;
        let Some(writer) = granted.writer() else { return Ok(()) };
        let signer = Signer::from_seed(writer.seed.expose());
        let cert = if granted.add_keys().is_some() {
            WriterCert::write_only(signer.public(), &writer.host)
        } else {
            WriterCert::host(signer.public(), &writer.host)
        };
        self.put_cert(target, &cert)
    }

    fn put_cert(&self, target: &Target, cert: &WriterCert) -> Result<(), RepositoryError> {
        let admin = Signer::from_seed(self.root().admin()?.expose());
        let cert = cert.encode(&self.format().repo_id, &admin)?;
        target.storage.put_new(&key_name(KeyKind::Cert, &cert.name), Bytes::from(cert.bytes))?;
        Ok(())
    }

    /// A host's certificate as this repository would put it: its name and its bytes, which are always
    /// the same.
    ///
    /// # Errors
    /// When this passphrase's slot doesn't grant the administrator's key.
    pub(crate) fn certificate(&self, host: &str) -> Result<(ObjectName, Bytes), RepositoryError> {
        let signer = self.signer(host)?;
        let admin = Signer::from_seed(self.root().admin()?.expose());
        let cert = WriterCert::host(signer.public(), host).encode(&self.format().repo_id, &admin)?;
        Ok((key_name(KeyKind::Cert, &cert.name), Bytes::from(cert.bytes)))
    }

    /// The writers that the administrator's key vouches for on a target, by id. Certificates that
    /// don't verify are left out: what they would vouch for then counts as unsigned. One that is what its
    /// name says is read once in this program's life.
    ///
    /// # Errors
    /// Whatever the target says.
    pub fn writers(&self, target: &Target) -> Result<Writers, RepositoryError> {
        let mut writers = Writers::default();
        for stat in list_all(target.storage.as_ref(), "keys/")? {
            let Some((kind, id)) = parse_key_name(&stat.name).filter(|(kind, _)| *kind != KeyKind::Slot)
            else {
                continue;
            };
            let known = self.said().lock().unwrap_or_else(PoisonError::into_inner).get(&stat.name).cloned();
            let said = match known {
                Some(said) => said,
                None => {
                    let bytes = target.storage.get(&stat.name, Span::Whole, Read::Quick)?;
                    let (repo, admin) = (&self.format().repo_id, &self.format().admin_public);
                    let said = if kind == KeyKind::Epoch {
                        epoch::announced(&bytes, repo, admin).map(Said::Epoch)
                    } else {
                        WriterCert::decode(&bytes, repo, admin).map(Said::Cert)
                    };
                    let Ok(said) = said else { continue };
                    // Another one under this name is what the administrator said, and not what it will be
                    // when the place is mended.
                    if hash::object(&bytes) == id {
                        let mut all = self.said().lock().unwrap_or_else(PoisonError::into_inner);
                        all.insert(stat.name.clone(), said.clone());
                    }
                    said
                }
            };
            match said {
                Said::Cert(cert) => writers.known.push((crate::codec::sign::writer_id(&cert.public), cert)),
                Said::Epoch(number) => writers.epochs.push((number, stat.name)),
            }
        }
        Ok(writers)
    }

    /// As [`Repository::writers`], over several targets.
    ///
    /// # Errors
    /// Whatever a target says.
    pub fn writers_of(&self, targets: &[Target]) -> Result<Writers, RepositoryError> {
        targets.iter().try_fold(Writers::default(), |all, target| Ok(all.and(self.writers(target)?)))
    }
}

/// What was read of these, by name.
pub(super) type Known = Mutex<HashMap<ObjectName, Said>>;

/// What the administrator says in clear.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Cert(WriterCert),
    Epoch(u32),
}

/// The writers that were certified, and the epochs that were announced.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    known: Vec<(WriterId, WriterCert)>,
    epochs: Vec<(u32, ObjectName)>,
}

impl Writers {
    /// The public key of a writer.
    pub fn public(&self, id: &WriterId) -> Option<&[u8; 32]> {
        self.known.iter().find(|(known, _)| known == id).map(|(_, cert)| &cert.public)
    }

    /// The host that a writer may speak for; `None` for one that reads all and is trusted with every
    /// name.
    pub fn only_host(&self, id: &WriterId) -> Option<&str> {
        let mut certs = self.known.iter().filter(|(known, _)| known == id);
        certs.find(|(_, cert)| cert.write_only).map(|(_, cert)| cert.label.as_str())
    }

    /// The writers that only add, sorted: nobody else builds on what they store.
    pub fn write_only(&self) -> Vec<WriterId> {
        let only = self.known.iter().filter(|(_, cert)| cert.write_only);
        let mut ids: Vec<WriterId> = only.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The newest epoch that was announced; 0 when none was.
    pub fn epoch(&self) -> u32 {
        self.epochs.iter().map(|(number, _)| *number).max().unwrap_or(0)
    }

    /// Whether an epoch was announced by another object than this one, too.
    pub(super) fn is_announced_beside(&self, epoch: u32, own: &ObjectName) -> bool {
        self.epochs.iter().any(|(number, name)| *number == epoch && name != own)
    }

    /// The same with what another target says.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        self.epochs.extend(other.epochs);
        self
    }
}
