//! Freeing what no snapshot needs, on bare repositories.

use super::plumbing::Plumbing;
use crate::base::error::Failure;
use crate::base::secret::Secret;
use crate::engine;
use crate::engine::prune::{PruneOutcome, PruneRequest};
use crate::repository::access::{Repository, Target};
use crate::storage::place::Access;

impl Plumbing {
    /// Plans, and carries out what is ripe, at all places.
    ///
    /// # Errors
    /// As [`engine::prune::prune`].
    pub fn prune(
        &self,
        urls: &[String],
        passphrase: &Secret<Vec<u8>>,
        request: &PruneRequest,
    ) -> Result<PruneOutcome, Failure> {
        let access = if request.dry_run { Access::Read } else { Access::Write };
        let targets: Result<Vec<Target>, Failure> = urls.iter().map(|url| self.target(url, access)).collect();
        let repository = Repository::open(targets?, passphrase)?.with_cache(self.cache.clone());
        Ok(engine::prune::prune(&repository, request, &self.cx)?)
    }
}
