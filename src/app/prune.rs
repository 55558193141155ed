//! Freeing what no snapshot needs, on bare repositories.

use super::plumbing::Plumbing;
use crate::base::error::Failure;
use crate::engine;
use crate::engine::prune::{PruneOutcome, PruneRequest};
use crate::repository::access::{Repository, Target};
use crate::repository::format::slot::SlotSecret;
use crate::storage::place::Access;

impl Plumbing {
    /// Plans, and carries out what is ripe, at all places.
    ///
    /// # Errors
    /// As [`engine::prune::prune`].
    pub fn prune(
        &self,
        urls: &[String],
        secret: &SlotSecret,
        request: &PruneRequest,
    ) -> Result<PruneOutcome, Failure> {
        let access = if request.dry_run { Access::Read } else { Access::Write };
        let targets: Result<Vec<Target>, Failure> = urls.iter().map(|url| self.target(url, access)).collect();
        let repository = self.at_home(Repository::open(targets?, secret)?);
        Ok(engine::prune::prune(&repository, request, &self.cx)?)
    }
}
